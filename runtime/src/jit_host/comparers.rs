//! Which class the default comparers of a type have. CoreLib chooses it when it makes them (`ComparerHelpers`); the compiler knows
//! it before, so that comparing values becomes the comparison itself.

use super::types::definition_name;
use corten_loader::{Binder, MethodDesc, MethodTable, TypeHandle, type_loader};

const NAMESPACE: &str = "System.Collections.Generic";

/// Names of an interface, and of the comparers of types that implement it, of enumerations and of others.
struct Family {
    interface: &'static str,
    generic: &'static str,
    enumeration: &'static str,
    object: &'static str,
    string: &'static str,
}

const EQUALITY: Family = Family {
    interface: "System.IEquatable`1",
    generic: "GenericEqualityComparer`1",
    enumeration: "EnumEqualityComparer`1",
    object: "ObjectEqualityComparer`1",
    string: "StringEqualityComparer",
};

const ORDER: Family = Family {
    interface: "System.IComparable`1",
    generic: "GenericComparer`1",
    enumeration: "EnumComparer`1",
    object: "ObjectComparer`1",
    string: "GenericComparer`1",
};

/// The class of what `EqualityComparer<T>.Default` or `Comparer<T>.Default` returns, where `T` is a value type or `string`.
/// (Of other classes it depends on variance, and calls through them stay virtual anyhow.)
pub(super) fn default_comparer(getter: &'static MethodDesc) -> Option<TypeHandle> {
    let owner = getter.owner();
    if getter.name() != "get_Default" || !getter.module().is_core_library() {
        return None;
    }
    let family = match &*definition_name(owner.handle()) {
        "System.Collections.Generic.EqualityComparer`1" => EQUALITY,
        "System.Collections.Generic.Comparer`1" => ORDER,
        _ => return None,
    };
    let &[of] = owner.instantiation() else { return None };
    let mt = of.as_method_table()?;
    let name = if mt.is_string() {
        family.string
    } else if !of.is_value_type() || of.is_nullable() {
        return None;
    } else if of.is_enum() {
        family.enumeration
    } else if implements(mt, family.interface, of) {
        family.generic
    } else {
        family.object
    };
    let core = Binder::get()?.core_library()?;
    let definition = core.find_type_def(NAMESPACE, name).ok()??;
    let definition = definition.module().typical_type(definition.rid()).ok()?;
    if definition.instantiation().is_empty() {
        return Some(definition.handle());
    }
    type_loader::instantiate(definition, &[of]).ok()
}

fn implements(mt: &MethodTable, interface: &str, of: TypeHandle) -> bool {
    let of_itself = |i: &&&MethodTable| i.instantiation() == [of];
    let mut own = mt.interfaces().iter().filter(of_itself);
    own.any(|i| definition_name(i.handle()) == interface)
}
