//! Assignment compatibility (ECMA-335 I.8.7.1, III.4.3), as the reference runtime implements it.

use crate::{
    cast_cache,
    class::{ArrayInfo, LoadLevel},
    element_type::ElementType,
    method_table::MethodTable,
    type_desc::TypeDescKind,
    type_handle::TypeHandle,
    type_loader, well_known,
};

/// Whether a (boxed) value of type `from` can be assigned to `to`. `T` to `Nullable<T>` counts.
pub fn can_cast_to(from: TypeHandle, to: TypeHandle) -> bool {
    if from == to {
        return true;
    }
    if let Some(r) = cast_cache::find(from, to) {
        return r;
    }
    let r = can_cast_uncached(from, to);
    let settled = |t: TypeHandle| t.as_method_table().is_none_or(|m| m.class().level() == LoadLevel::Full);
    if settled(from) && settled(to) {
        cast_cache::remember(from, to, r);
    }
    r
}

/// Whether an object whose type is `mt` is an instance of `to` (`isinst`).
pub fn is_instance_of(mt: &'static MethodTable, to: TypeHandle) -> bool {
    can_cast_to(mt.handle(), to)
}

pub(crate) fn can_cast_uncached(from: TypeHandle, to: TypeHandle) -> bool {
    if from == to {
        return true;
    }
    match (from.as_method_table(), to.as_method_table()) {
        (Some(f), Some(t)) => method_tables(f, t),
        (None, Some(t)) => desc_to_method_table(from, t),
        (_, None) => desc_to_desc(from, to),
    }
}

fn method_tables(from: &'static MethodTable, to: &'static MethodTable) -> bool {
    if type_loader::ensure(from, LoadLevel::Parents).is_err() || type_loader::ensure(to, LoadLevel::Parents).is_err() {
        return false;
    }
    if to.is_nullable() {
        return to.nullable_argument() == Some(from.handle());
    }
    if let Some(t) = to.class().array() {
        return from.class().array().is_some_and(|f| arrays(f, t));
    }
    if to.is_interface() {
        return interface(from, to);
    }
    if from.is_or_derives_from(to) {
        return true;
    }
    if from.is_interface() {
        return to.parent().is_none();
    }
    to.is_delegate() && from.ancestry().any(|a| variant_compatible(a, to))
}

fn interface(from: &'static MethodTable, to: &'static MethodTable) -> bool {
    if from.interfaces().contains(&to) {
        return true;
    }
    if to.has_variance()
        && (variant_compatible(from, to) || from.interfaces().iter().any(|i| variant_compatible(i, to)))
    {
        return true;
    }
    // `T[]` as IList<U> with compatible elements.
    match from.class().array() {
        Some(ArrayInfo { element, sz: true, .. }) if is_array_interface(to) => {
            to.instantiation().first().is_some_and(|u| array_elements(element, *u))
        }
        _ => false,
    }
}

/// `IList<T>`, `ICollection<T>`, `IEnumerable<T>`, `IReadOnlyList<T>`, `IReadOnlyCollection<T>`.
pub(crate) fn is_array_interface(mt: &MethodTable) -> bool {
    mt.class().definition().is_some_and(|d| {
        [
            "IList`1",
            "ICollection`1",
            "IEnumerable`1",
            "IReadOnlyList`1",
            "IReadOnlyCollection`1",
        ]
        .iter()
        .any(|n| d.is_corelib_type("System.Collections.Generic", n))
    })
}

/// Same generic interface or delegate, arguments compatible by variance.
pub(crate) fn variant_compatible(from: &'static MethodTable, to: &'static MethodTable) -> bool {
    let (Some(d), Some(t)) = (from.class().definition(), to.class().definition()) else {
        return false;
    };
    if d != t || !d.has_variance() {
        return false;
    }
    from.instantiation()
        .iter()
        .zip(to.instantiation())
        .zip(d.variance())
        .all(|((a, b), v)| {
            a == b
                || match v {
                    1 => boxed_compatible(*a, *b),
                    2 => boxed_compatible(*b, *a),
                    _ => false,
                }
        })
}

/// Compatible as references, without boxing.
fn boxed_compatible(from: TypeHandle, to: TypeHandle) -> bool {
    if from.is_value_type() || to.is_value_type() || !is_reference(from) {
        return false;
    }
    can_cast_to(from, to)
}

/// Are all values of the type references? Of a generic parameter that is so if its constraints say it.
fn is_reference(t: TypeHandle) -> bool {
    let Some(TypeDescKind::Variable(v)) = t.as_type_desc().map(|d| d.kind()) else {
        return true;
    };
    v.flags
        .contains(corten_metadata::GenericParamAttributes::REFERENCE_TYPE_CONSTRAINT)
        || derives_from_class(t)
}

/// Is a generic parameter, maybe through another one, constrained to a class that structs do not derive from? As in CoreCLR,
/// `class` as a constraint of the other one does not count.
fn derives_from_class(t: TypeHandle) -> bool {
    let Some(TypeDescKind::Variable(v)) = t.as_type_desc().map(|d| d.kind()) else {
        return false;
    };
    let class = |c: &TypeHandle| match c.as_method_table() {
        Some(mt) => !mt.is_interface() && !["Object", "ValueType", "Enum"].iter().any(|n| is_core(mt, n)),
        None => derives_from_class(*c),
    };
    v.constraints().is_ok_and(|cs| cs.iter().any(class))
}

fn is_core(mt: &'static MethodTable, name: &str) -> bool {
    mt.class()
        .definition()
        .is_some_and(|d| d.is_corelib_type("System", name))
}

fn arrays(from: ArrayInfo, to: ArrayInfo) -> bool {
    if to.sz && !from.sz {
        return false;
    }
    from.rank == to.rank && array_elements(from.element, to.element)
}

/// Array element compatibility: references by assignment, values by representation.
pub(crate) fn array_elements(from: TypeHandle, to: TypeHandle) -> bool {
    if from == to {
        return true;
    }
    if from.is_value_type() || to.is_value_type() {
        if !from.is_value_type() || !to.is_value_type() {
            return false;
        }
        let (a, b) = (from.internal_element_type(), to.internal_element_type());
        return a.is_primitive() && reduced(a) == reduced(b);
    }
    if from
        .as_type_desc()
        .is_some_and(|d| matches!(d.kind(), TypeDescKind::Pointer(_) | TypeDescKind::FnPtr(_)))
    {
        return desc_to_desc(from, to);
    }
    can_cast_to(from, to)
}

/// Representation of array elements: signedness is dropped; `bool` and `char` stay distinct.
fn reduced(e: ElementType) -> ElementType {
    e.reduced()
}

fn desc_to_method_table(from: TypeHandle, to: &'static MethodTable) -> bool {
    let Some(d) = from.as_type_desc() else { return false };
    match d.kind() {
        TypeDescKind::Variable(v) => {
            if to.parent().is_none() && !to.is_interface() {
                return true;
            }
            if v.flags
                .contains(corten_metadata::GenericParamAttributes::NOT_NULLABLE_VALUE_TYPE_CONSTRAINT)
                && well_known::core_type("System", "ValueType").is_ok_and(|m| m == to)
            {
                return true;
            }
            v.constraints()
                .is_ok_and(|cs| cs.iter().any(|c| can_cast_uncached(*c, to.handle())))
        }
        _ => false,
    }
}

fn desc_to_desc(from: TypeHandle, to: TypeHandle) -> bool {
    if from == to {
        return true;
    }
    let (Some(f), Some(t)) = (from.as_type_desc(), to.as_type_desc()) else {
        return false;
    };
    match (f.kind(), t.kind()) {
        (TypeDescKind::Pointer(a), TypeDescKind::Pointer(b)) | (TypeDescKind::ByRef(a), TypeDescKind::ByRef(b)) => {
            if a.is_value_type() || b.is_value_type() {
                let (x, y) = (a.internal_element_type(), b.internal_element_type());
                return a == b || (x.is_primitive() && reduced(x) == reduced(y));
            }
            can_cast_uncached(*a, *b)
        }
        (TypeDescKind::Variable(v), TypeDescKind::Variable(_)) => v
            .constraints()
            .is_ok_and(|cs| cs.iter().any(|c| can_cast_uncached(*c, to))),
        _ => false,
    }
}
