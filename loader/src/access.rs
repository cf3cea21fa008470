//! Accessibility of types and members (ECMA-335 II.23.1.5, II.23.1.10, II.23.1.15, I.8.5.3).

use corten_metadata::{MethodAttributes, TypeAttributes};

use crate::{
    field_desc::FieldDesc, friends::sees_internals, method_desc::MethodDesc, method_table::MethodTable,
    type_def::TypeDefInfo,
};

/// Whether code of type `from` may use a type: it is public (in public types), or `from` sees the internals of its assembly or
/// the members of its enclosing type.
pub fn can_access_type(from: &TypeDefInfo, target: &TypeDefInfo) -> bool {
    use TypeAttributes as A;
    let visibility = target.attributes() & A::VISIBILITY_MASK;
    let Some(outer) = target.enclosing() else {
        return visibility == A::PUBLIC || sees_internals(target.module(), from.module());
    };
    let access = if visibility == A::NESTED_PUBLIC {
        MethodAttributes::PUBLIC
    } else if visibility == A::NESTED_PRIVATE {
        MethodAttributes::PRIVATE
    } else if visibility == A::NESTED_FAMILY {
        MethodAttributes::FAMILY
    } else if visibility == A::NESTED_ASSEMBLY {
        MethodAttributes::ASSEM
    } else if visibility == A::NESTED_FAM_AND_ASSEM {
        MethodAttributes::FAM_AND_ASSEM
    } else {
        MethodAttributes::FAM_OR_ASSEM
    };
    can_access_member(from, outer, access)
}

/// Whether code of type `from` may use a member of `owner` with that access.
pub fn can_access_member(from: &TypeDefInfo, owner: &TypeDefInfo, access: MethodAttributes) -> bool {
    use MethodAttributes as A;
    if !can_access_type(from, owner) {
        return false;
    }
    let assembly = || sees_internals(owner.module(), from.module());
    let family = || self_and_enclosing(from).any(|t| derives(t, owner));
    match access & A::MEMBER_ACCESS_MASK {
        A::PUBLIC => true,
        A::ASSEM => assembly(),
        A::FAMILY => family(),
        A::FAM_OR_ASSEM => assembly() || family(),
        A::FAM_AND_ASSEM => assembly() && family(),
        A::PRIVATE => self_and_enclosing(from).any(|t| t == owner),
        // Compiler controlled: within the module.
        _ => from.module() == owner.module(),
    }
}

/// A type, the type that it is nested in, and so on.
fn self_and_enclosing(from: &TypeDefInfo) -> impl Iterator<Item = &TypeDefInfo> {
    std::iter::successors(Some(from), |t| t.enclosing())
}

fn derives(from: &TypeDefInfo, base: &TypeDefInfo) -> bool {
    std::iter::successors(Some(from), |t| t.parent().map(|p| p.def)).any(|t| t == base)
}

/// Whether a method's code may call `target`. Generic arguments are not looked at. Members without metadata are open to all.
pub fn can_call(from: &'static MethodDesc, target: &'static MethodDesc) -> bool {
    allowed(from, target.owner(), target.attributes())
}

/// Whether a method's code may use a field.
pub fn can_use_field(from: &'static MethodDesc, field: &'static FieldDesc) -> bool {
    // The three low bits mean the same for fields.
    let access = MethodAttributes::from_bits_truncate(field.attributes().bits() & 7);
    allowed(from, field.owner(), access)
}

fn allowed(from: &'static MethodDesc, owner: &'static MethodTable, access: MethodAttributes) -> bool {
    if std::ptr::eq(from.owner(), owner) {
        return true;
    }
    let (Some(me), Some(def)) = (from.owner().class().definition(), owner.class().definition()) else {
        return true;
    };
    if can_access_member(me, def, access) {
        return true;
    }
    // Protected members of an interface are open to what implements it.
    use MethodAttributes as A;
    let family = match access & A::MEMBER_ACCESS_MASK {
        A::FAMILY | A::FAM_OR_ASSEM => can_access_type(me, def),
        A::FAM_AND_ASSEM => sees_internals(def.module(), me.module()) && can_access_type(me, def),
        _ => false,
    };
    family && owner.is_interface() && implements(from.owner(), def)
}

fn implements(mt: &'static MethodTable, interface: &TypeDefInfo) -> bool {
    let all = mt.interfaces().iter();
    all.filter_map(|i| i.class().definition())
        .any(|d| std::ptr::eq(d, interface))
}
