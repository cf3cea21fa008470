//! What the metadata says of a type, method or field definition.

use std::ops::Range;
use std::rc::Rc;

use corten_metadata::{FieldAttributes, MethodAttributes, TableId, Token, TypeAttributes, TypeSig, sig};
use rustc_hash::FxHashMap;

use super::{LoadFailure, RowId, Sig, Ty, TyKind, TypeResult, TypeSystem};
use crate::code::Code;
use crate::universe::{DefId, ModuleId, WellKnown};

/// Coarse kind of a type. The order matters: up to `Double` primitives, up to `Nullable` value types.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Category {
    Void,
    Boolean,
    Char,
    SByte,
    Byte,
    Int16,
    UInt16,
    Int32,
    UInt32,
    Int64,
    UInt64,
    IntPtr,
    UIntPtr,
    Single,
    Double,
    ValueType,
    Enum,
    Nullable,
    Class,
    Interface,
    Array,
    SzArray,
    ByRef,
    Pointer,
    FunctionPointer,
    GenericParameter,
}

impl Category {
    pub fn is_primitive(self) -> bool {
        self <= Category::Double
    }

    pub fn is_value_type(self) -> bool {
        self <= Category::Nullable
    }

    /// Whether values are object references.
    pub fn is_reference(self) -> bool {
        matches!(
            self,
            Category::Class | Category::Interface | Category::Array | Category::SzArray
        )
    }
}

/// A type definition.
#[derive(Clone)]
pub(crate) struct DefInfo<'u> {
    pub id: DefId,
    pub name: &'u str,
    pub namespace: &'u str,
    pub flags: TypeAttributes,
    pub enclosing: Option<DefId>,
    /// As written, with [`TyKind::Var`].
    pub base: Option<Ty>,
    /// Listed by the type itself, as written.
    pub interfaces: Vec<Ty>,
    /// GenericParam rows.
    pub params: Vec<RowId>,
    pub category: Category,
    pub is_by_ref_like: bool,
    pub is_delegate: bool,
    /// Whether a parameter is co- or contravariant.
    pub has_variance: bool,
    pub fields: Range<u32>,
    pub methods: Range<u32>,
}

/// A method definition.
pub(crate) struct MethodInfo<'u> {
    pub id: RowId,
    pub owner: DefId,
    pub name: &'u str,
    pub flags: MethodAttributes,
    /// As written.
    pub sig: Rc<Sig>,
    /// GenericParam rows.
    pub params: Vec<RowId>,
    /// Whether the result is marked with `modreq(IsExternalInit)`: an init-only setter.
    pub is_init_setter: bool,
}

impl MethodInfo<'_> {
    pub fn is_static(&self) -> bool {
        self.flags.contains(MethodAttributes::STATIC)
    }

    pub fn is_virtual(&self) -> bool {
        self.flags.contains(MethodAttributes::VIRTUAL)
    }

    pub fn is_final(&self) -> bool {
        self.flags.contains(MethodAttributes::FINAL)
    }

    pub fn is_abstract(&self) -> bool {
        self.flags.contains(MethodAttributes::ABSTRACT)
    }

    pub fn is_constructor(&self) -> bool {
        self.flags.contains(MethodAttributes::RT_SPECIAL_NAME) && self.name == ".ctor"
    }

    pub fn is_static_constructor(&self) -> bool {
        self.flags.contains(MethodAttributes::RT_SPECIAL_NAME) && self.name == ".cctor"
    }
}

/// A field definition.
pub(crate) struct FieldInfo<'u> {
    pub name: &'u str,
    pub flags: FieldAttributes,
    pub owner: DefId,
    /// As written.
    pub ty: Ty,
}

/// Most definitions read because another one's base or interface needs them.
const MAX_DEF_DEPTH: u32 = 100;

const PRIMITIVES: [(WellKnown, Category); 15] = [
    (WellKnown::Void, Category::Void),
    (WellKnown::Boolean, Category::Boolean),
    (WellKnown::Char, Category::Char),
    (WellKnown::SByte, Category::SByte),
    (WellKnown::Byte, Category::Byte),
    (WellKnown::Int16, Category::Int16),
    (WellKnown::UInt16, Category::UInt16),
    (WellKnown::Int32, Category::Int32),
    (WellKnown::UInt32, Category::UInt32),
    (WellKnown::Int64, Category::Int64),
    (WellKnown::UInt64, Category::UInt64),
    (WellKnown::IntPtr, Category::IntPtr),
    (WellKnown::UIntPtr, Category::UIntPtr),
    (WellKnown::Single, Category::Single),
    (WellKnown::Double, Category::Double),
];

impl<'u> TypeSystem<'u> {
    /// Namespace and name of a TypeRef or TypeDef for messages.
    fn token_name(&self, module: ModuleId, token: Token) -> String {
        match self.universe.module(module).type_name(token) {
            Ok(("", name)) => name.to_owned(),
            Ok((namespace, name)) => format!("{namespace}.{name}"),
            Err(_) => format!("{token:?}"),
        }
    }

    /// The definition a TypeDef or TypeRef token names.
    pub fn named(&self, module: ModuleId, token: Token) -> TypeResult<DefId> {
        match self.universe.resolve(module, token) {
            Some(def) => Ok(def),
            None => self.unresolved(module, token),
        }
    }

    fn unresolved<T>(&self, module: ModuleId, token: Token) -> TypeResult<T> {
        let image = self.universe.module(module);
        let mut scope = token;
        let name = self.token_name(module, token);
        for _ in 0..16 {
            match image.type_ref(scope.rid()) {
                Ok(row) if scope.is(TableId::TypeRef) => scope = row.resolution_scope,
                _ => break,
            }
        }
        if scope.is(TableId::AssemblyRef) {
            let assembly = image.assembly_ref(scope.rid()).map_or("?", |row| row.name);
            return match self.universe.assembly_ref(module, scope.rid()) {
                Some(_) => LoadFailure::new(Code::ClassLoadGeneral, format!("{assembly} does not define {name}")),
                None => LoadFailure::new(
                    Code::FileLoadErrorGeneric,
                    format!("the assembly {assembly}, which defines {name}, is not among the references"),
                ),
            };
        }
        LoadFailure::new(Code::ClassLoadGeneral, format!("the type {name} does not exist"))
    }

    /// A type token as written: TypeDef, TypeRef or TypeSpec.
    pub fn written_token(&mut self, module: ModuleId, token: Token) -> TypeResult<Ty> {
        if !token.is(TableId::TypeSpec) {
            let def = self.named(module, token)?;
            return self.intern(TyKind::Def(def));
        }
        let id = RowId {
            module,
            rid: token.rid(),
        };
        if let Some(known) = self.caches.type_specs.get(&id) {
            return known.clone();
        }
        let result = self.read_type_spec(module, token.rid());
        self.caches.type_specs.insert(id, result.clone());
        result
    }

    fn read_type_spec(&mut self, module: ModuleId, rid: u32) -> TypeResult<Ty> {
        let row = self.universe.module(module).type_spec(rid);
        let row = row.map_err(|e| LoadFailure::metadata(&e))?;
        let written = sig::parse_type_spec(row.signature).map_err(Self::bad_signature)?;
        self.written_type(module, &written)
    }

    /// What is known of a type definition.
    pub fn def(&mut self, id: DefId) -> TypeResult<Rc<DefInfo<'u>>> {
        if let Some(known) = self.caches.defs.get(&id) {
            return known.clone();
        }
        // A definition that needs itself while it is read (class A : B<A>) sees only its parameters.
        let shell = self.read_shell(id);
        self.caches.defs.insert(id, shell.clone().map(Rc::new));
        if self.caches.def_depth == MAX_DEF_DEPTH {
            return LoadFailure::new(
                Code::ClassLoadGeneral,
                "base types and interfaces are nested too deeply",
            );
        }
        self.caches.def_depth += 1;
        let result = shell.and_then(|info| self.complete(info)).map(Rc::new);
        self.caches.def_depth -= 1;
        self.caches.defs.insert(id, result.clone());
        result
    }

    fn read_shell(&mut self, id: DefId) -> TypeResult<DefInfo<'u>> {
        let universe = self.universe;
        let image = universe.module(id.module);
        let row = image.type_def(id.rid).map_err(|e| LoadFailure::metadata(&e))?;
        let token = Token::new(TableId::TypeDef, id.rid);
        let params = image.generic_params(token).map(|rid| RowId { module: id.module, rid });
        let params: Vec<RowId> = params.collect();
        let variant = |p: &RowId| image.generic_param(p.rid).is_ok_and(|row| row.flags.bits() & 3 != 0);
        let attribute = "IsByRefLikeAttribute";
        Ok(DefInfo {
            id,
            name: row.name,
            namespace: row.namespace,
            flags: row.flags,
            enclosing: image.enclosing_type(id.rid).map(|rid| DefId { rid, ..id }),
            base: None,
            interfaces: Vec::new(),
            has_variance: params.iter().any(variant),
            params,
            category: self.category_of_row(id, row.flags, row.extends),
            is_by_ref_like: image.has_attribute(token, "System.Runtime.CompilerServices", attribute),
            is_delegate: self.extends(id, row.extends, WellKnown::MulticastDelegate),
            fields: row.field_list,
            methods: row.method_list,
        })
    }

    fn extends(&self, id: DefId, base: Token, which: WellKnown) -> bool {
        !base.is_nil() && self.universe.resolve(id.module, base) == Some(self.universe.well_known_def(which))
    }

    fn category_of_row(&self, id: DefId, flags: TypeAttributes, base: Token) -> Category {
        if let Some(which) = self.universe.well_known(id) {
            if let Some((_, category)) = PRIMITIVES.iter().find(|(w, _)| *w == which) {
                return *category;
            }
            match which {
                WellKnown::Nullable => return Category::Nullable,
                WellKnown::Enum | WellKnown::ValueType => return Category::Class,
                _ => {}
            }
        }
        if flags.contains(TypeAttributes::INTERFACE) {
            Category::Interface
        } else if self.extends(id, base, WellKnown::Enum) {
            Category::Enum
        } else if self.extends(id, base, WellKnown::ValueType) {
            Category::ValueType
        } else {
            Category::Class
        }
    }

    fn complete(&mut self, mut info: DefInfo<'u>) -> TypeResult<DefInfo<'u>> {
        let id = info.id;
        let universe = self.universe;
        let image = universe.module(id.module);
        let row = image.type_def(id.rid).map_err(|e| LoadFailure::metadata(&e))?;
        if !row.extends.is_nil() {
            info.base = Some(self.written_token(id.module, row.extends)?);
        }
        for rid in image.interface_impls(id.rid) {
            let row = image.interface_impl(rid).map_err(|e| LoadFailure::metadata(&e))?;
            info.interfaces.push(self.written_token(id.module, row.interface)?);
        }
        Ok(info)
    }

    /// The type a definition is inside itself: with its own parameters as arguments.
    pub fn own_type(&mut self, def: DefId) -> TypeResult<Ty> {
        let info = self.def(def)?;
        let args = self.own_args(&info.params)?;
        self.instance(def, args.into())
    }

    pub fn own_args(&mut self, params: &[RowId]) -> TypeResult<Vec<Ty>> {
        params.iter().map(|p| self.intern(TyKind::Param(*p))).collect()
    }

    /// What is known of a method definition.
    pub fn method(&mut self, id: RowId) -> TypeResult<Rc<MethodInfo<'u>>> {
        if let Some(known) = self.caches.methods.get(&id) {
            return known.clone();
        }
        let result = self.read_method(id).map(Rc::new);
        self.caches.methods.insert(id, result.clone());
        result
    }

    fn read_method(&mut self, id: RowId) -> TypeResult<MethodInfo<'u>> {
        let universe = self.universe;
        let image = universe.module(id.module);
        let row = image.method_def(id.rid).map_err(|e| LoadFailure::metadata(&e))?;
        let Some(owner) = image.owner_of_method(id.rid) else {
            return LoadFailure::new(Code::BadImageFormatGeneric, "the method belongs to no type");
        };
        let parsed = sig::parse_method(row.signature).map_err(Self::bad_signature)?;
        let params = image.generic_params(Token::new(TableId::MethodDef, id.rid));
        let params: Vec<RowId> = params.map(|rid| RowId { rid, ..id }).collect();
        if params.len() as u32 != parsed.generic_param_count {
            return LoadFailure::new(
                Code::BadImageFormatGeneric,
                "generic parameters do not agree with the signature",
            );
        }
        let is_static = row.flags.contains(MethodAttributes::STATIC);
        if is_static == parsed.has_this {
            return LoadFailure::new(
                Code::BadImageFormatGeneric,
                "static flag does not agree with the signature",
            );
        }
        Ok(MethodInfo {
            id,
            owner: DefId {
                module: id.module,
                rid: owner,
            },
            name: row.name,
            flags: row.flags,
            is_init_setter: self.is_marked_init(id.module, &parsed.ret),
            sig: Rc::new(self.written_sig(id.module, &parsed)?),
            params,
        })
    }

    fn is_marked_init(&self, module: ModuleId, ret: &TypeSig) -> bool {
        let mut ty = ret;
        while let TypeSig::Modified { modifier, inner, .. } = ty {
            let name = self.universe.module(module).type_name(*modifier);
            if name.is_ok_and(|n| n == ("System.Runtime.CompilerServices", "IsExternalInit")) {
                return true;
            }
            ty = inner;
        }
        false
    }

    /// What is known of a field definition.
    pub fn field(&mut self, id: RowId) -> TypeResult<Rc<FieldInfo<'u>>> {
        if let Some(known) = self.caches.fields.get(&id) {
            return known.clone();
        }
        let result = self.read_field(id).map(Rc::new);
        self.caches.fields.insert(id, result.clone());
        result
    }

    fn read_field(&mut self, id: RowId) -> TypeResult<FieldInfo<'u>> {
        let universe = self.universe;
        let image = universe.module(id.module);
        let row = image.field(id.rid).map_err(|e| LoadFailure::metadata(&e))?;
        let Some(owner) = image.owner_of_field(id.rid) else {
            return LoadFailure::new(Code::BadImageFormatGeneric, "the field belongs to no type");
        };
        let written = sig::parse_field(row.signature).map_err(Self::bad_signature)?;
        Ok(FieldInfo {
            name: row.name,
            flags: row.flags,
            owner: DefId {
                module: id.module,
                rid: owner,
            },
            ty: self.written_type(id.module, &written)?,
        })
    }

    /// MethodDef rows of a type by name.
    pub fn methods_by_name(&mut self, def: DefId) -> TypeResult<Rc<FxHashMap<&'u str, Vec<u32>>>> {
        if let Some(known) = self.caches.method_names.get(&def) {
            return Ok(known.clone());
        }
        let image = self.universe.module(def.module);
        let mut names: FxHashMap<&'u str, Vec<u32>> = FxHashMap::default();
        for rid in self.def(def)?.methods.clone() {
            if let Ok(row) = image.method_def(rid) {
                names.entry(row.name).or_default().push(rid);
            }
        }
        let names = Rc::new(names);
        self.caches.method_names.insert(def, names.clone());
        Ok(names)
    }

    pub fn category(&mut self, ty: Ty) -> TypeResult<Category> {
        Ok(match self.kind(ty) {
            TyKind::Def(def) | TyKind::Inst(def, _) => {
                let def = *def;
                self.def(def)?.category
            }
            TyKind::SzArray(_) => Category::SzArray,
            TyKind::Array(..) => Category::Array,
            TyKind::ByRef(_) => Category::ByRef,
            TyKind::Ptr(_) => Category::Pointer,
            TyKind::FnPtr(_) => Category::FunctionPointer,
            TyKind::Param(_) | TyKind::Var(_) | TyKind::MVar(_) => Category::GenericParameter,
        })
    }

    pub fn is_value_type(&mut self, ty: Ty) -> TypeResult<bool> {
        Ok(self.category(ty)?.is_value_type())
    }

    pub fn is_by_ref_like(&mut self, ty: Ty) -> TypeResult<bool> {
        match self.def_of(ty) {
            Some(def) => Ok(self.def(def)?.is_by_ref_like),
            None => Ok(false),
        }
    }

    /// The integer type under an enumeration; other types are their own.
    pub fn underlying(&mut self, ty: Ty) -> TypeResult<Ty> {
        let Some(def) = self.def_of(ty) else { return Ok(ty) };
        if self.def(def)?.category != Category::Enum {
            return Ok(ty);
        }
        if let Some(&known) = self.caches.enum_underlying.get(&def) {
            return Ok(known);
        }
        for rid in self.def(def)?.fields.clone() {
            let field = self.field(RowId {
                module: def.module,
                rid,
            })?;
            if !field.flags.contains(FieldAttributes::STATIC) {
                if !self.category(field.ty)?.is_primitive() {
                    break;
                }
                self.caches.enum_underlying.insert(def, field.ty);
                return Ok(field.ty);
            }
        }
        LoadFailure::new(Code::ClassLoadGeneral, "an enumeration without underlying integer type")
    }

    /// The base type; none for System.Object, interfaces, pointers and generic parameters.
    pub fn base(&mut self, ty: Ty) -> TypeResult<Option<Ty>> {
        match self.kind(ty) {
            TyKind::Def(def) | TyKind::Inst(def, _) => {
                let def = *def;
                match self.def(def)?.base {
                    Some(base) => {
                        let args = self.args_of(ty);
                        self.substitute(base, &args, &[]).map(Some)
                    }
                    None => Ok(None),
                }
            }
            TyKind::SzArray(_) | TyKind::Array(..) => Ok(Some(self.known(WellKnown::Array))),
            _ => Ok(None),
        }
    }
}

impl TypeSystem<'_> {
    /// Whether a type is known to be a value type by what has been read of it already.
    pub fn is_known_value_type(&self, ty: Ty) -> bool {
        let info = self.def_of(ty).and_then(|def| self.caches.defs.get(&def));
        matches!(info, Some(Ok(info)) if info.category.is_value_type())
    }
}
