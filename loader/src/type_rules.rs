//! Rules for type definitions that do not influence slots and layout (ECMA-335 II.10.3, II.12.2, II.9.7). They are checked for
//! assemblies that have not been precompiled: a compiler that checked them made the others.

use corten_metadata::{MethodAttributes, MethodImplAttributes, TypeAttributes, sig};

use crate::{
    cast,
    element_type::ElementType,
    error::{LoadError, Result},
    field_desc::FieldKind,
    method_desc::MethodDesc,
    method_table::MethodTable,
    resolve::GenericContext,
    type_def::{MethodRow, TypeDefInfo},
    type_handle::TypeHandle,
    variance,
    vtable::shape::SlotMethod,
};

/// Checks a type whose vtable is complete.
///
/// # Errors
/// TypeLoad, worded as CoreCLR does.
pub(crate) fn check(mt: &'static MethodTable) -> Result<()> {
    let Some(def) = mt.class().definition() else {
        return Ok(());
    };
    if def.module().metadata().pe().managed_native_header().is_some() {
        return Ok(());
    }
    check_statics(mt, def)?;
    variance::check(def)?;
    if !def.is_interface() {
        if !def.is_delegate() && def.variance().iter().any(|v| *v != 0) {
            return Err(def.type_load(
                "because it declares a covariant or contravariant type parameter and is not an interface or delegate",
            ));
        }
        check_methods(def)?;
        check_returns(mt, def)?;
    }
    Ok(())
}

/// Static fields of value types: those types must exist and must not be byref-like.
fn check_statics(mt: &'static MethodTable, def: &'static TypeDefInfo) -> Result<()> {
    for field in mt.fields() {
        let stored = matches!(field.kind(), FieldKind::Static | FieldKind::ThreadStatic);
        if !stored || field.element_type() != ElementType::ValueType {
            continue;
        }
        let signature = sig::parse_field(field.signature()).map_err(|e| mt.module().bad_image(e))?;
        let ty = mt.module().load_sig(&signature, GenericContext::of_type(mt))?;
        if ty.is_byref_like() {
            return Err(def.type_load("=A ByRef or ByRef-like type cannot be used as the type for a static field."));
        }
    }
    Ok(())
}

fn about(def: &TypeDefInfo, start: &str, end: &str) -> LoadError {
    let assembly = def.module().assembly_display_name();
    def.type_load(format!(
        "={start} in type '{}' from assembly '{assembly}' {end}.",
        def.plain_name()
    ))
}

fn check_methods(def: &'static TypeDefInfo) -> Result<()> {
    let is_static_virtual =
        |a: MethodAttributes| a.contains(MethodAttributes::STATIC) && a.contains(MethodAttributes::VIRTUAL);
    if def.methods().iter().any(|m| is_static_virtual(m.attributes)) {
        return Err(def.type_load("=Virtual Static Method."));
    }
    for m in def.methods() {
        check_method(def, m)?;
    }
    if def.is_delegate() && !def.attributes().contains(TypeAttributes::SEALED) {
        return Err(def.type_load("because delegate classes must be sealed"));
    }
    if def.is_delegate() && !def.methods().iter().any(|m| m.is_named("Invoke")) {
        return Err(def.type_load("=Missing definition for required runtime implemented delegate method."));
    }
    let shape = def.vtable_shape()?;
    let row = |m: &SlotMethod| m.def.methods().get(usize::from(m.index)).copied();
    if let Some(parent) = def.parent() {
        let inherited = &parent.def.vtable_shape()?.slots;
        for (slot, own) in &shape.own {
            let (Some(base), Some(mine)) = (inherited.get(usize::from(*slot)), def.methods().get(usize::from(*own)))
            else {
                continue;
            };
            let by_name = shape.method_slots.get(usize::from(*own)) == Some(slot);
            if let Some(theirs) = row(base).filter(|_| by_name)
                && reduces_access(base.def, theirs.attributes, def, mine.attributes)
            {
                return Err(about(
                    def,
                    &format!("Derived method '{}'", mine.name()),
                    "cannot reduce access",
                ));
            }
        }
    }
    if !def.attributes().contains(TypeAttributes::ABSTRACT) {
        let missing = shape
            .slots
            .iter()
            .filter_map(row)
            .find(|m| m.attributes.contains(MethodAttributes::ABSTRACT));
        if let Some(m) = missing {
            return Err(about(
                def,
                &format!("Method '{}'", m.name()),
                "does not have an implementation",
            ));
        }
    }
    Ok(())
}

fn check_method(def: &TypeDefInfo, m: &MethodRow) -> Result<()> {
    let (a, i) = (m.attributes, m.impl_flags);
    if i.contains(MethodImplAttributes::SYNCHRONIZED) && def.is_value_type() {
        return Err(def.type_load("=Synchronized Method in Value Type."));
    }
    let by_runtime = i & MethodImplAttributes::CODE_TYPE_MASK == MethodImplAttributes::RUNTIME;
    if by_runtime && !i.contains(MethodImplAttributes::INTERNAL_CALL) && !def.is_delegate() {
        return Err(def.type_load("=Bad use of Runtime Impl attribute."));
    }
    // Convention, then the number of parameters.
    let is_static_initializer = || a.contains(MethodAttributes::STATIC) && m.signature().get(1) == Some(&0);
    if a.contains(MethodAttributes::RT_SPECIAL_NAME) && m.is_named(".cctor") && !is_static_initializer() {
        return Err(def.type_load(""));
    }
    Ok(())
}

fn reduces_access(base: &TypeDefInfo, theirs: MethodAttributes, def: &TypeDefInfo, mine: MethodAttributes) -> bool {
    use MethodAttributes as A;
    let (theirs, mine) = (theirs & A::MEMBER_ACCESS_MASK, mine & A::MEMBER_ACCESS_MASK);
    // Elsewhere the assembly part of `protected internal` means nothing.
    let narrowed = theirs == A::FAM_OR_ASSEM && mine == A::FAMILY && base.module() != def.module();
    mine.bits() < theirs.bits() && !narrowed
}

/// A method override may return a more derived class than its declaration, nothing else.
fn check_returns(mt: &'static MethodTable, def: &'static TypeDefInfo) -> Result<()> {
    for (declaration, own) in &def.vtable_shape()?.class_impls {
        let Some(owner) = mt.ancestry().find(|a| a.class().definition() == Some(declaration.def)) else {
            continue;
        };
        crate::type_loader::ensure_methods(owner)?;
        let declared = owner.methods().get(usize::from(declaration.index));
        let body = mt.methods().get(usize::from(*own));
        let (Some(declared), Some(body)) = (declared, body) else {
            continue;
        };
        if !compatible(body.signature()?.ret, declared.signature()?.ret) {
            let name = |m: &'static MethodDesc| m.display_name();
            return Err(def.type_load(format!(
                "=Return type in method '{}' on type '{}' from assembly '{}' is not compatible with base type method '{}'.",
                name(body),
                mt.handle(),
                def.module().assembly_display_name(),
                name(declared)
            )));
        }
    }
    Ok(())
}

fn compatible(body: TypeHandle, declared: TypeHandle) -> bool {
    let is_reference = |t: TypeHandle| !t.is_value_type() && !t.is_byref() && !t.is_void() && !t.is_pointer();
    // Method variables of the body and the declaration are different types.
    let open = |t: TypeHandle| t.contains_generic_variables();
    body == declared
        || open(body)
        || open(declared)
        || is_reference(body) && is_reference(declared) && cast::can_cast_to(body, declared)
}
