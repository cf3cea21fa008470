//! Tokens in code to types, methods and fields.

use std::rc::Rc;

use corten_metadata::{TableId, Token, sig};

use super::signature::Convention;
use super::{FieldInfo, LoadFailure, MAX_CHAIN, MethodInfo, RowId, Sig, Ty, TyKind, TypeResult, TypeSystem};
use crate::code::Code;
use crate::universe::{ModuleId, WellKnown};

/// What generic parameters stand for in the code at hand.
#[derive(Clone)]
pub(crate) struct Context {
    pub module: ModuleId,
    pub type_args: Rc<[Ty]>,
    pub method_args: Rc<[Ty]>,
}

/// A method as code refers to it.
#[derive(Clone)]
pub(crate) struct MethodRef<'u> {
    /// Type it belongs to, with arguments.
    pub owner: Ty,
    /// None for the methods of arrays, which the runtime provides.
    pub info: Option<Rc<MethodInfo<'u>>>,
    pub name: &'u str,
    /// Arguments of a generic method.
    pub args: Rc<[Ty]>,
    /// With all arguments put in.
    pub sig: Rc<Sig>,
}

/// A field as code refers to it.
#[derive(Clone)]
pub(crate) struct FieldRef<'u> {
    /// Type it belongs to, with arguments.
    pub owner: Ty,
    pub info: Rc<FieldInfo<'u>>,
    /// Its type with arguments put in.
    pub ty: Ty,
}

/// What a token in code names.
pub(crate) enum Member<'u> {
    Type(Ty),
    Method(MethodRef<'u>),
    Field(FieldRef<'u>),
    /// Something else that exists: a string, a signature, an assembly.
    Other,
}

/// Where a MemberRef leads: how many base types up, and the row there.
#[derive(Clone, Copy)]
pub(super) struct Found {
    levels: u32,
    row: RowId,
}

impl MethodRef<'_> {
    pub fn is_static(&self) -> bool {
        !self.sig.has_this
    }

    pub fn is_virtual(&self) -> bool {
        self.info.as_ref().is_some_and(|i| i.is_virtual())
    }

    pub fn is_final(&self) -> bool {
        self.info.as_ref().is_some_and(|i| i.is_final())
    }

    pub fn is_abstract(&self) -> bool {
        self.info.as_ref().is_some_and(|i| i.is_abstract())
    }

    pub fn is_constructor(&self) -> bool {
        match &self.info {
            Some(info) => info.is_constructor(),
            None => self.name == ".ctor",
        }
    }
}

impl<'u> TypeSystem<'u> {
    /// What a token names. None if it names nothing that code can refer to, or nothing that exists.
    pub fn resolve_token(&mut self, context: &Context, token: Token) -> TypeResult<Option<Member<'u>>> {
        let module = context.module;
        let image = self.universe.module(module);
        if token.is_user_string() {
            return Ok(image.user_string(token).is_ok().then_some(Member::Other));
        }
        if !image.has_row(token) {
            return Ok(None);
        }
        let row = RowId {
            module,
            rid: token.rid(),
        };
        Ok(Some(match token.table() {
            Some(TableId::TypeDef | TableId::TypeRef | TableId::TypeSpec) => {
                let written = self.written_token(module, token)?;
                Member::Type(self.substitute(written, &context.type_args, &context.method_args)?)
            }
            Some(TableId::MethodDef) => Member::Method(self.method_def_ref(row)?),
            Some(TableId::Field) => {
                let info = self.field(row)?;
                let owner = self.intern(TyKind::Def(info.owner))?;
                let ty = info.ty;
                Member::Field(FieldRef { owner, info, ty })
            }
            Some(TableId::MemberRef) => return self.member_ref(context, row).map(Some),
            Some(TableId::MethodSpec) => return self.method_spec(context, row).map(|m| m.map(Member::Method)),
            Some(TableId::StandAloneSig | TableId::AssemblyRef | TableId::ModuleRef) => Member::Other,
            _ => return Ok(None),
        }))
    }

    /// A method by its definition, without type arguments.
    pub fn method_def_ref(&mut self, row: RowId) -> TypeResult<MethodRef<'u>> {
        let info = self.method(row)?;
        Ok(MethodRef {
            owner: self.intern(TyKind::Def(info.owner))?,
            name: info.name,
            args: Rc::new([]),
            sig: info.sig.clone(),
            info: Some(info),
        })
    }

    fn method_spec(&mut self, context: &Context, row: RowId) -> TypeResult<Option<MethodRef<'u>>> {
        let image = self.universe.module(context.module);
        let spec = image.method_spec(row.rid).map_err(|e| LoadFailure::metadata(&e))?;
        let written = sig::parse_method_spec(spec.instantiation).map_err(Self::bad_signature)?;
        let Some(Member::Method(generic)) = self.resolve_token(context, spec.method)? else {
            return Ok(None);
        };
        let mut args = Vec::with_capacity(written.len());
        for arg in &written {
            let arg = self.written_type(context.module, arg)?;
            args.push(self.substitute(arg, &context.type_args, &context.method_args)?);
        }
        let Some(info) = generic.info.clone().filter(|i| i.params.len() == args.len()) else {
            return LoadFailure::new(
                Code::BadImageFormatGeneric,
                "wrong number of type arguments of a method",
            );
        };
        let owner_args = self.args_of(generic.owner);
        let sig = self.substitute_sig(&info.sig, &owner_args, &args)?;
        Ok(Some(MethodRef {
            sig: Rc::new(sig),
            args: args.into(),
            ..generic
        }))
    }

    fn member_ref(&mut self, context: &Context, id: RowId) -> TypeResult<Member<'u>> {
        let module = context.module;
        let row = self.universe.module(module).member_ref(id.rid);
        let row = row.map_err(|e| LoadFailure::metadata(&e))?;
        let parent = match row.class.table() {
            Some(TableId::TypeDef | TableId::TypeRef | TableId::TypeSpec) => {
                let written = self.written_token(module, row.class)?;
                self.substitute(written, &context.type_args, &context.method_args)?
            }
            // The call site signature of a vararg method.
            Some(TableId::MethodDef) => {
                let rid = row.class.rid();
                let mut target = self.method_def_ref(RowId { module, rid })?;
                target.sig = Rc::new(self.parse_sig(module, row.signature)?);
                return Ok(Member::Method(target));
            }
            _ => return LoadFailure::new(Code::MissingMethod, format!("{} lies in another module", row.name)),
        };
        if sig::is_field(row.signature) {
            return self
                .member_field(id, parent, row.name, row.signature)
                .map(Member::Field);
        }
        let written = self.parse_sig(module, row.signature)?;
        if matches!(self.kind(parent), TyKind::SzArray(_) | TyKind::Array(..))
            && let Some(method) = self.array_method(parent, row.name, &written, context)?
        {
            return Ok(Member::Method(method));
        }
        self.member_method(id, parent, row.name, written, context)
            .map(Member::Method)
    }

    /// A method that the runtime gives arrays (ECMA-335 II.14.2).
    fn array_method(
        &mut self,
        owner: Ty,
        name: &'u str,
        written: &Sig,
        context: &Context,
    ) -> TypeResult<Option<MethodRef<'u>>> {
        let (element, rank) = match *self.kind(owner) {
            TyKind::SzArray(element) => (element, 1),
            TyKind::Array(element, rank) => (element, usize::from(rank)),
            _ => return Ok(None),
        };
        let void = self.known(WellKnown::Void);
        let index = self.known(WellKnown::Int32);
        let count = written.params.len();
        let mut params = vec![index; rank];
        let ret = match name {
            "Get" => element,
            "Address" => self.by_ref(element)?,
            "Set" => {
                params.push(element);
                void
            }
            ".ctor" => {
                // Lengths, lower bounds with lengths, or lengths of arrays of arrays.
                params = vec![index; count];
                void
            }
            _ => return Ok(None),
        };
        let actual = self.substitute_sig(written, &context.type_args, &context.method_args)?;
        if params.len() != count || !written.has_this {
            return self.missing(Code::MissingMethod, owner, name);
        }
        // What the array provides is written with the element's parameter (!0) by some compilers, with the type by others.
        let sig = Sig { ret, params, ..actual };
        Ok(Some(MethodRef {
            owner,
            info: None,
            name,
            args: Rc::new([]),
            sig: Rc::new(sig),
        }))
    }

    fn missing<T>(&mut self, code: Code, owner: Ty, name: &str) -> TypeResult<T> {
        let owner = self.type_name(owner);
        let message = format!("{owner} has no matching member {name}");
        LoadFailure::new(code, message)
    }

    fn member_field(&mut self, id: RowId, parent: Ty, name: &'u str, blob: &[u8]) -> TypeResult<FieldRef<'u>> {
        let mut owner = parent;
        let found = match self.caches.member_refs.get(&id) {
            Some(found) => *found,
            None => {
                let written = sig::parse_field(blob).map_err(Self::bad_signature)?;
                let written = self.written_type(id.module, &written)?;
                let found = self.find_field(parent, name, written)?;
                self.caches.member_refs.insert(id, found);
                found
            }
        };
        for _ in 0..found.levels {
            owner = self.base(owner)?.unwrap_or(owner);
        }
        let info = self.field(found.row)?;
        let args = self.args_of(owner);
        let ty = self.substitute(info.ty, &args, &[])?;
        Ok(FieldRef { owner, info, ty })
    }

    fn find_field(&mut self, parent: Ty, name: &str, written: Ty) -> TypeResult<Found> {
        let parent_args = self.args_of(parent);
        let mut current = parent;
        // As in ILVerify, a field of the name will do if none has the type that the reference gives.
        let mut by_name = None;
        for levels in 0..MAX_CHAIN as u32 {
            let Some(def) = self.def_of(current) else { break };
            let args = self.args_of(current);
            let image = self.universe.module(def.module);
            for rid in self.def(def)?.fields.clone() {
                if image.field(rid).is_ok_and(|row| row.name == name) {
                    let row = RowId {
                        module: def.module,
                        rid,
                    };
                    let declared = self.field(row)?.ty;
                    let same = declared == written
                        || self.substitute(declared, &args, &[])? == self.substitute(written, &parent_args, &[])?;
                    if same {
                        return Ok(Found { levels, row });
                    }
                    by_name.get_or_insert(Found { levels, row });
                }
            }
            match self.base(current)? {
                Some(base) => current = base,
                None => break,
            }
        }
        match by_name {
            Some(found) => Ok(found),
            None => self.missing(Code::MissingField, parent, name),
        }
    }

    fn member_method(
        &mut self,
        id: RowId,
        parent: Ty,
        name: &'u str,
        written: Sig,
        context: &Context,
    ) -> TypeResult<MethodRef<'u>> {
        let found = match self.caches.member_refs.get(&id) {
            Some(found) => *found,
            None => {
                let found = self.find_method(parent, name, &written)?;
                self.caches.member_refs.insert(id, found);
                found
            }
        };
        let mut owner = parent;
        for _ in 0..found.levels {
            owner = self.base(owner)?.unwrap_or(owner);
        }
        let info = self.method(found.row)?;
        let args = self.args_of(owner);
        let sig = if info.sig.convention == Convention::VarArg {
            self.substitute_sig(&written, &context.type_args, &context.method_args)?
        } else {
            self.substitute_sig(&info.sig, &args, &[])?
        };
        Ok(MethodRef {
            owner,
            info: Some(info),
            name,
            args: Rc::new([]),
            sig: Rc::new(sig),
        })
    }

    fn find_method(&mut self, parent: Ty, name: &str, written: &Sig) -> TypeResult<Found> {
        let parent_args = self.args_of(parent);
        let mut current = Some(parent);
        let mut levels = 0;
        while let Some(ty) = current.filter(|_| levels < MAX_CHAIN as u32) {
            if let Some(def) = self.def_of(ty) {
                let args = self.args_of(ty);
                let names = self.methods_by_name(def)?;
                for &rid in names.get(name).into_iter().flatten() {
                    let row = RowId {
                        module: def.module,
                        rid,
                    };
                    // A method whose signature does not load cannot be the one meant.
                    let Ok(info) = self.method(row) else { continue };
                    if self.same_signature(&info.sig, &args, written, &parent_args)? {
                        return Ok(Found { levels, row });
                    }
                }
            }
            current = self.base(ty)?;
            levels += 1;
        }
        self.missing(Code::MissingMethod, parent, name)
    }

    /// Whether a declared signature, with its type's arguments, is the one a reference gives.
    fn same_signature(&mut self, declared: &Sig, args: &[Ty], written: &Sig, parent_args: &[Ty]) -> TypeResult<bool> {
        if declared.has_this != written.has_this
            || declared.generic_count != written.generic_count
            || declared.convention != written.convention
        {
            return Ok(false);
        }
        let vararg = declared.convention == Convention::VarArg && written.params.len() >= declared.params.len();
        if declared.params.len() != written.params.len() && !vararg {
            return Ok(false);
        }
        if declared.ret == written.ret && declared.params.iter().eq(written.params.iter()) {
            return Ok(true);
        }
        let declared = self.substitute_sig(declared, args, &[])?;
        let written = self.substitute_sig(written, parent_args, &[])?;
        let same = declared.params.iter().zip(&written.params).all(|(a, b)| a == b);
        Ok(same && declared.ret == written.ret)
    }
}
