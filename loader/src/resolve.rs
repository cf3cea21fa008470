//! From tokens and signatures to loaded types, methods and fields, under a generic context.

use corten_metadata::{
    TableId, Token,
    sig::{self, MethodSig, TypeSig},
};

use crate::{
    element_type::ElementType,
    error::{LoadError, Result},
    field_desc::FieldDesc,
    method_desc::{MethodDesc, MethodKind, MethodSignature},
    method_table::MethodTable,
    module::Module,
    sig_compare::{self, Subst},
    type_def::TypeDefInfo,
    type_desc::{FnPtrSignature, calling_convention_byte},
    type_handle::TypeHandle,
    type_loader, well_known,
};

/// What `!n` and `!!n` stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenericContext<'a> {
    /// Arguments of the declaring type.
    pub class_inst: &'a [TypeHandle],
    /// Arguments of the method.
    pub method_inst: &'a [TypeHandle],
}

impl GenericContext<'static> {
    /// Context of a type's own members.
    pub fn of_type(mt: &'static MethodTable) -> Self {
        GenericContext {
            class_inst: mt.instantiation(),
            method_inst: &[],
        }
    }
}

/// A method token resolved.
#[derive(Clone, Debug)]
pub struct ResolvedMethod {
    /// The exact method. For a call on a type that inherits the method, the declaring base's method.
    pub method: &'static MethodDesc,
    /// The type named by the reference (array types for array methods; may derive from the declaring type).
    pub owner: TypeHandle,
    /// Signature at a vararg call site, when it has variable arguments.
    pub call_site: Option<std::sync::Arc<MethodSignature>>,
}

/// A member token resolved: what `ldtoken` accepts.
#[derive(Clone, Debug)]
pub enum ResolvedMember {
    /// A type.
    Type(TypeHandle),
    /// A method.
    Method(ResolvedMethod),
    /// A field.
    Field(&'static FieldDesc),
}

/// Text about a type variable of something that is not generic, as CoreCLR words it.
const FORMAT: &str = "=An attempt was made to load a program with an incorrect format.\n (0x8007000B)";

/// The CoreLib element that a signature names directly (void, primitives, string, object, typedref).
pub(crate) fn primitive_of(sig: &TypeSig) -> Option<ElementType> {
    Some(match sig {
        TypeSig::Void => ElementType::Void,
        TypeSig::Boolean => ElementType::Boolean,
        TypeSig::Char => ElementType::Char,
        TypeSig::I1 => ElementType::I1,
        TypeSig::U1 => ElementType::U1,
        TypeSig::I2 => ElementType::I2,
        TypeSig::U2 => ElementType::U2,
        TypeSig::I4 => ElementType::I4,
        TypeSig::U4 => ElementType::U4,
        TypeSig::I8 => ElementType::I8,
        TypeSig::U8 => ElementType::U8,
        TypeSig::R4 => ElementType::R4,
        TypeSig::R8 => ElementType::R8,
        TypeSig::I => ElementType::I,
        TypeSig::U => ElementType::U,
        TypeSig::String => ElementType::String,
        TypeSig::Object => ElementType::Object,
        TypeSig::TypedByRef => ElementType::TypedByRef,
        _ => return None,
    })
}

/// Whether a generic variable occurs.
pub(crate) fn is_open(sig: &TypeSig) -> bool {
    match sig {
        TypeSig::Var(_) | TypeSig::MVar(_) => true,
        TypeSig::GenericInst { args, .. } => args.iter().any(is_open),
        TypeSig::Ptr(t) | TypeSig::ByRef(t) | TypeSig::SzArray(t) | TypeSig::Pinned(t) => is_open(t),
        TypeSig::Array { element, .. } => is_open(element),
        TypeSig::Modified { inner, .. } => is_open(inner),
        TypeSig::FnPtr(m) => is_open(&m.ret) || m.params.iter().any(is_open),
        _ => false,
    }
}

impl Module {
    /// Type of a signature, at level Allocated.
    pub(crate) fn load_sig(&'static self, sig: &TypeSig, ctx: GenericContext<'_>) -> Result<TypeHandle> {
        if let Some(e) = primitive_of(sig) {
            return Ok(well_known::core_element(e)?.handle());
        }
        match sig {
            TypeSig::Class(t) | TypeSig::ValueType(t) => self.load_token(*t, ctx),
            TypeSig::GenericInst { definition, args, .. } => {
                let def = self.resolve_type_def(*definition)?;
                let _depth = type_loader::Depth::enter(|| def.type_load(type_loader::RECURSIVE))?;
                let args = args
                    .iter()
                    .map(|a| self.load_sig(a, ctx))
                    .collect::<Result<Box<[_]>>>()?;
                Ok(type_loader::allocate(def, args)?.handle())
            }
            TypeSig::Var(n) => ctx
                .class_inst
                .get(*n as usize)
                .copied()
                .ok_or_else(|| self.bad_image(FORMAT)),
            TypeSig::MVar(n) => ctx
                .method_inst
                .get(*n as usize)
                .copied()
                .ok_or_else(|| self.bad_image(FORMAT)),
            TypeSig::Ptr(t) => Ok(type_loader::make_pointer(self.load_sig(t, ctx)?)),
            TypeSig::ByRef(t) => Ok(type_loader::make_byref(self.load_sig(t, ctx)?)),
            TypeSig::SzArray(t) => Ok(type_loader::allocate_array(self.load_sig(t, ctx)?, 1, true)?.handle()),
            TypeSig::Array { element, shape } => {
                Ok(type_loader::allocate_array(self.load_sig(element, ctx)?, shape.rank, false)?.handle())
            }
            TypeSig::FnPtr(m) => Ok(type_loader::make_fnptr(FnPtrSignature {
                calling_convention: calling_convention_byte(m.calling_convention, m.has_this, m.explicit_this),
                ret: self.load_sig(&m.ret, ctx)?,
                params: m.params.iter().map(|p| self.load_sig(p, ctx)).collect::<Result<_>>()?,
            })),
            TypeSig::Pinned(t) => self.load_sig(t, ctx),
            TypeSig::Modified { inner, .. } => self.load_sig(inner, ctx),
            TypeSig::Internal(raw) => {
                // SAFETY: ELEMENT_TYPE_INTERNAL occurs only in signatures that CoreLib builds at run time from
                // RuntimeTypeHandle values of this process.
                unsafe { TypeHandle::from_raw(*raw as usize) }
                    .ok_or_else(|| self.bad_image("null type handle in a signature"))
            }
            _ => Err(self.bad_image(format!("unsupported signature element {sig:?}"))),
        }
    }

    /// Type of a TypeDef, TypeRef or TypeSpec token, at level Allocated.
    pub(crate) fn load_token(&'static self, token: Token, ctx: GenericContext<'_>) -> Result<TypeHandle> {
        match token.table() {
            Some(TableId::TypeDef) => Ok(self.typical_allocated(token.rid())?.handle()),
            Some(TableId::TypeRef) => {
                let def = self.resolve_type_def(token)?;
                Ok(def.module().typical_allocated(def.rid())?.handle())
            }
            Some(TableId::TypeSpec) => {
                if let Some(t) = read(&self.closed_types).get(&token.0) {
                    return Ok(*t);
                }
                let blob = self
                    .metadata()
                    .type_spec(token.rid())
                    .map_err(|e| self.bad_image(e))?
                    .signature;
                let sig = sig::parse_type_spec(blob).map_err(|e| self.bad_image(e))?;
                self.load_sig(&sig, ctx)
            }
            _ => Err(self.bad_image("=Bad class token.")),
        }
    }

    /// Loads the type a TypeDef, TypeRef or TypeSpec token names. A token of a generic definition gives the
    /// open definition.
    ///
    /// # Errors
    /// Any load error of the type.
    pub fn resolve_type(&'static self, token: Token, ctx: GenericContext<'_>) -> Result<TypeHandle> {
        if token.is(TableId::TypeSpec)
            && let Some(t) = read(&self.closed_types).get(&token.0)
        {
            return Ok(*t);
        }
        let t = self.load_token(token, ctx)?;
        type_loader::ensure_full_handle(t)?;
        if token.is(TableId::TypeSpec) {
            let blob = self
                .metadata()
                .type_spec(token.rid())
                .map_err(|e| self.bad_image(e))?
                .signature;
            let sig = sig::parse_type_spec(blob).map_err(|e| self.bad_image(e))?;
            if !is_open(&sig) {
                write(&self.closed_types).insert(token.0, t);
            }
        }
        Ok(t)
    }

    /// Loads the type of a signature.
    ///
    /// # Errors
    /// Any load error of the type.
    pub fn resolve_type_sig(&'static self, sig: &TypeSig, ctx: GenericContext<'_>) -> Result<TypeHandle> {
        let t = self.load_sig(sig, ctx)?;
        type_loader::ensure_full_handle(t)?;
        Ok(t)
    }

    /// Resolves all types of a method signature.
    ///
    /// # Errors
    /// Any load error of a type.
    pub fn resolve_method_sig(&'static self, sig: &MethodSig, ctx: GenericContext<'_>) -> Result<MethodSignature> {
        Ok(MethodSignature {
            has_this: sig.has_this,
            explicit_this: sig.explicit_this,
            calling_convention: sig.calling_convention,
            generic_param_count: sig.generic_param_count,
            ret: self.resolve_type_sig(&sig.ret, ctx)?,
            params: sig
                .params
                .iter()
                .map(|p| self.resolve_type_sig(p, ctx))
                .collect::<Result<_>>()?,
            sentinel: sig.sentinel,
        })
    }

    /// Resolves a method signature; classes that cannot be loaded become `object`.
    pub(crate) fn resolve_lenient_sig(
        &'static self,
        sig: &MethodSig,
        ctx: GenericContext<'_>,
    ) -> Result<MethodSignature> {
        let lenient = |t: &TypeSig| match (self.resolve_type_sig(t, ctx), t) {
            (
                Err(_),
                TypeSig::Class(_)
                | TypeSig::GenericInst {
                    is_value_type: false, ..
                }
                | TypeSig::SzArray(_),
            ) => Ok(well_known::core_element(ElementType::Object)?.handle()),
            (answer, _) => answer,
        };
        Ok(MethodSignature {
            has_this: sig.has_this,
            explicit_this: sig.explicit_this,
            calling_convention: sig.calling_convention,
            generic_param_count: sig.generic_param_count,
            ret: lenient(&sig.ret)?,
            params: sig.params.iter().map(lenient).collect::<Result<_>>()?,
            sentinel: sig.sentinel,
        })
    }

    /// Resolves a StandAloneSig token of method kind (`calli`).
    ///
    /// # Errors
    /// BadImageFormat or type load errors.
    pub fn resolve_standalone_sig(&'static self, token: Token, ctx: GenericContext<'_>) -> Result<MethodSignature> {
        let blob = self
            .metadata()
            .stand_alone_sig(token.rid())
            .map_err(|e| self.bad_image(e))?
            .signature;
        let sig = sig::parse_method(blob).map_err(|e| self.bad_image(e))?;
        self.resolve_method_sig(&sig, ctx)
    }

    /// Types of the locals of a method body; the flag tells pinned locals.
    ///
    /// # Errors
    /// BadImageFormat or type load errors.
    pub fn resolve_locals(&'static self, token: Token, ctx: GenericContext<'_>) -> Result<Vec<(TypeHandle, bool)>> {
        let blob = self
            .metadata()
            .stand_alone_sig(token.rid())
            .map_err(|e| self.bad_image(e))?
            .signature;
        let locals = sig::parse_locals(blob).map_err(|e| self.bad_image(e))?;
        locals
            .iter()
            .map(|l| Ok((self.resolve_type_sig(l, ctx)?, is_pinned(l))))
            .collect()
    }

    /// Resolves a MethodDef, MemberRef or MethodSpec token.
    ///
    /// # Errors
    /// MissingMethod, or load errors of the types involved.
    pub fn resolve_method(&'static self, token: Token, ctx: GenericContext<'_>) -> Result<ResolvedMethod> {
        if let Some(m) = read(&self.closed_methods).get(&token.0) {
            return Ok(m.clone());
        }
        let (resolved, open) = self.resolve_method_uncached(token, ctx)?;
        if !open {
            write(&self.closed_methods).insert(token.0, resolved.clone());
        }
        Ok(resolved)
    }

    fn resolve_method_uncached(&'static self, token: Token, ctx: GenericContext<'_>) -> Result<(ResolvedMethod, bool)> {
        match token.table() {
            Some(TableId::MethodDef) => {
                let method = self.typical_method(token.rid())?;
                type_loader::ensure_full(method.owner())?;
                Ok((
                    ResolvedMethod {
                        method,
                        owner: method.owner().handle(),
                        call_site: None,
                    },
                    false,
                ))
            }
            Some(TableId::MemberRef) => self.resolve_member_ref_method(token.rid(), ctx),
            Some(TableId::MethodSpec) => {
                let row = self
                    .metadata()
                    .method_spec(token.rid())
                    .map_err(|e| self.bad_image(e))?;
                let sigs = sig::parse_method_spec(row.instantiation).map_err(|e| self.bad_image(e))?;
                let (generic, mut open) = if row.method.is(TableId::MethodSpec) {
                    return Err(self.bad_image("MethodSpec of a MethodSpec"));
                } else {
                    self.resolve_method_uncached(row.method, ctx)?
                };
                open |= sigs.iter().any(is_open);
                let args = sigs
                    .iter()
                    .map(|s| self.resolve_type_sig(s, ctx))
                    .collect::<Result<Vec<_>>>()?;
                let method = crate::generics::instantiate_method(generic.method, &args)?;
                Ok((
                    ResolvedMethod {
                        method,
                        owner: generic.owner,
                        call_site: None,
                    },
                    open,
                ))
            }
            _ => Err(self.bad_image("=Bad method token.")),
        }
    }

    fn resolve_member_ref_method(&'static self, rid: u32, ctx: GenericContext<'_>) -> Result<(ResolvedMethod, bool)> {
        let row = self.metadata().member_ref(rid).map_err(|e| self.bad_image(e))?;
        let msig = sig::parse_method(row.signature).map_err(|e| self.bad_image(e))?;
        let call_site = |ctx| -> Result<Option<std::sync::Arc<MethodSignature>>> {
            if msig.calling_convention == corten_metadata::CallingConvention::VarArg {
                Ok(Some(std::sync::Arc::new(self.resolve_method_sig(&msig, ctx)?)))
            } else {
                Ok(None)
            }
        };
        if row.class.is(TableId::MethodDef) {
            let method = self.typical_method(row.class.rid())?;
            return Ok((
                ResolvedMethod {
                    method,
                    owner: method.owner().handle(),
                    call_site: call_site(ctx)?,
                },
                true,
            ));
        }
        if row.class.is(TableId::ModuleRef) {
            return Err(LoadError::NotSupported {
                what: "global functions of other modules".into(),
            });
        }
        let owner = self.resolve_type(row.class, ctx)?;
        let open = row.class.is(TableId::TypeSpec) && !read(&self.closed_types).contains_key(&row.class.0);
        let method = find_method_by_ref(owner, row.name, &msig, self)?;
        // Types in vararg call sites are expressed in the caller's context.
        let call_site = call_site(ctx)?;
        Ok((
            ResolvedMethod {
                method,
                owner,
                call_site,
            },
            open,
        ))
    }

    /// Resolves a FieldDef or MemberRef token to a field of an exact type.
    ///
    /// # Errors
    /// MissingField, or load errors of the types involved.
    pub fn resolve_field(&'static self, token: Token, ctx: GenericContext<'_>) -> Result<&'static FieldDesc> {
        if let Some(f) = read(&self.closed_fields).get(&token.0) {
            return Ok(f);
        }
        let (owner, name, blob) = match token.table() {
            Some(TableId::Field) => {
                let owner = self
                    .metadata()
                    .owner_of_field(token.rid())
                    .ok_or_else(|| self.bad_image("field without owner"))?;
                let mt = self.typical_type(owner)?;
                let rids = self.type_def(owner)?.field_rids();
                let f = mt
                    .fields()
                    .get(rids.iter().position(|r| *r == token.rid()).unwrap_or(usize::MAX))
                    .ok_or_else(|| self.bad_image("no such field"))?;
                write(&self.closed_fields).insert(token.0, f);
                return Ok(f);
            }
            Some(TableId::MemberRef) => {
                let row = self.metadata().member_ref(token.rid()).map_err(|e| self.bad_image(e))?;
                (row.class, row.name, row.signature)
            }
            _ => return Err(self.bad_image("=Bad field token.")),
        };
        let th = self.resolve_type(owner, ctx)?;
        let wanted = sig::parse_field(blob).map_err(|e| self.bad_image(e))?;
        let found = find_field_by_ref(th, name, &wanted, self)?;
        if !owner.is(TableId::TypeSpec) || read(&self.closed_types).contains_key(&owner.0) {
            write(&self.closed_fields).insert(token.0, found);
        }
        Ok(found)
    }

    /// Resolves any token `ldtoken` accepts.
    ///
    /// # Errors
    /// As the specific resolver.
    pub fn resolve_member(&'static self, token: Token, ctx: GenericContext<'_>) -> Result<ResolvedMember> {
        match token.table() {
            Some(TableId::TypeDef | TableId::TypeRef | TableId::TypeSpec) => {
                self.resolve_type(token, ctx).map(ResolvedMember::Type)
            }
            Some(TableId::MethodDef | TableId::MethodSpec) => {
                self.resolve_method(token, ctx).map(ResolvedMember::Method)
            }
            Some(TableId::Field) => self.resolve_field(token, ctx).map(ResolvedMember::Field),
            Some(TableId::MemberRef) => {
                let row = self.metadata().member_ref(token.rid()).map_err(|e| self.bad_image(e))?;
                if sig::is_field(row.signature) {
                    self.resolve_field(token, ctx).map(ResolvedMember::Field)
                } else {
                    self.resolve_method(token, ctx).map(ResolvedMember::Method)
                }
            }
            _ => Err(self.bad_image(format!("{token:?} is not a type, method or field"))),
        }
    }
}

fn is_pinned(sig: &TypeSig) -> bool {
    match sig {
        TypeSig::Pinned(_) => true,
        TypeSig::Modified { inner, .. } => is_pinned(inner),
        _ => false,
    }
}

/// Callback of [`walk_bases`].
type BaseVisitor<'v, T> = dyn FnMut(&'static TypeDefInfo, Option<&Subst<'_>>, usize) -> Result<Option<T>> + 'v;

/// Walks `def` and its base classes; `f(def, subst to read its signatures in terms of the start, depth)`.
pub(crate) fn walk_bases<T>(start: &'static TypeDefInfo, f: &mut BaseVisitor<'_, T>) -> Result<Option<T>> {
    fn go<T>(
        def: &'static TypeDefInfo,
        subst: Option<&Subst<'_>>,
        depth: usize,
        f: &mut BaseVisitor<'_, T>,
    ) -> Result<Option<T>> {
        if let Some(t) = f(def, subst, depth)? {
            return Ok(Some(t));
        }
        match def.parent() {
            None => Ok(None),
            Some(p) => {
                let s = Subst {
                    module: def.module(),
                    args: &p.args,
                    next: subst,
                };
                go(p.def, Some(&s), depth + 1, f)
            }
        }
    }
    go(start, None, 0, f)
}

/// Namespace and name of a type's definition, as messages about missing members show them.
fn short_name(t: TypeHandle) -> String {
    match t.as_method_table().and_then(|mt| mt.class().definition()) {
        Some(d) if d.namespace().is_empty() => d.name().to_owned(),
        Some(d) => format!("{}.{}", d.namespace(), d.name()),
        None => t.display_name(),
    }
}

/// Finds the method a MemberRef names on `owner` or its base classes.
pub(crate) fn find_method_by_ref(
    owner: TypeHandle,
    name: &str,
    msig: &MethodSig,
    module: &'static Module,
) -> Result<&'static MethodDesc> {
    let missing = || LoadError::MissingMethod {
        class: short_name(owner),
        method: name.to_owned(),
        signature: crate::sig_text::method_text(module, &short_name(owner), name, msig),
    };
    let mt = owner.as_method_table().ok_or_else(missing)?;
    type_loader::ensure_methods(mt)?;
    let fixed = msig.sentinel.unwrap_or(msig.params.len());
    if let Some(_a) = mt.class().array()
        && let Some(m) = mt.find_method_with_params(name, fixed)
    {
        return Ok(m);
    }
    let start = match mt.class().definition() {
        Some(d) => d,
        None => well_known::core_def("System", "Array")?,
    };
    let base_depth = usize::from(mt.class().definition().is_none());
    let found = walk_bases(start, &mut |def, subst, depth| {
        for (i, m) in def.methods().iter().enumerate() {
            if m.is_named(name) && sig_compare::method_ref_matches(module, msig, def.module(), m.signature(), subst)? {
                let exact = mt.ancestry().nth(depth + base_depth).ok_or_else(missing)?;
                type_loader::ensure_methods(exact)?;
                return exact.methods().load(i);
            }
        }
        Ok(None)
    })?;
    match found {
        Some(m) => Ok(m),
        None if mt.is_interface() && name != ".ctor" => {
            let object = well_known::core_element(ElementType::Object)?;
            if mt == object {
                Err(missing())
            } else {
                find_method_by_ref(object.handle(), name, msig, module).map_err(|_| missing())
            }
        }
        None => Err(missing()),
    }
}

fn find_field_by_ref(
    owner: TypeHandle,
    name: &str,
    wanted: &TypeSig,
    module: &'static Module,
) -> Result<&'static FieldDesc> {
    let missing = || LoadError::MissingField {
        class: short_name(owner),
        field: name.to_owned(),
    };
    // A field reference names the declaring class itself: inherited fields are not searched.
    let mt = owner.as_method_table().ok_or_else(missing)?;
    for f in mt.fields().iter().filter(|f| f.name() == name) {
        let have = sig::parse_field(f.signature()).map_err(|e| mt.module().bad_image(e))?;
        if sig_compare::types_equal(module, wanted, None, mt.module(), &have, None)? {
            return Ok(f);
        }
    }
    Err(missing())
}

/// Exact signature of a MethodDesc.
pub(crate) fn resolve_method_desc_signature(md: &'static MethodDesc) -> Result<MethodSignature> {
    if let Some(a) = md.owner.class().array() {
        return array_method_signature(md, a);
    }
    if md.kind == MethodKind::Dynamic {
        return Err(LoadError::InvalidProgram {
            reason: format!("dynamic method {} has no signature", md.name),
        });
    }
    let sig = md.parse_signature()?;
    md.module.resolve_method_sig(&sig, md.context())
}

fn array_method_signature(md: &'static MethodDesc, a: crate::class::ArrayInfo) -> Result<MethodSignature> {
    let int = well_known::core_element(ElementType::I4)?.handle();
    let void = well_known::core_element(ElementType::Void)?.handle();
    let rank = a.rank as usize;
    let (ret, params) = match md.kind {
        MethodKind::ArrayGet => (a.element, vec![int; rank]),
        MethodKind::ArraySet => {
            let mut p = vec![int; rank];
            p.push(a.element);
            (void, p)
        }
        MethodKind::ArrayAddress => (type_loader::make_byref(a.element), vec![int; rank]),
        _ => (void, vec![int; md.param_count()]),
    };
    Ok(MethodSignature {
        has_this: true,
        explicit_this: false,
        calling_convention: corten_metadata::CallingConvention::Default,
        generic_param_count: 0,
        ret,
        params: params.into(),
        sentinel: None,
    })
}

pub(crate) fn read<T>(lock: &std::sync::RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(crate) fn write<T>(lock: &std::sync::RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}
