//! Flags, generics, casting and dispatch on framework types.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

mod common;

use corten_loader::{
    BinderConfig, ElementType, FieldKind, LoadError, MethodKind, MethodTable, TypeHandle, WellKnown, can_cast_to,
    corelib_type, format_type, instantiate, make_array, make_byref, make_pointer, primitive_type, resolve_constrained,
    resolve_interface, resolve_virtual, string_ctor_target,
};

fn generic(ns: &str, name: &str, args: &[TypeHandle]) -> TypeHandle {
    instantiate(corelib_type(ns, name).expect(name), args).expect(name)
}

fn t(name: &str) -> TypeHandle {
    let (ns, n) = name.rsplit_once('.').expect("namespace");
    corelib_type(ns, n).expect(name).handle()
}

fn mt(h: TypeHandle) -> &'static MethodTable {
    h.as_method_table().expect("MethodTable")
}

fn sz(e: TypeHandle) -> TypeHandle {
    make_array(e, 1, true).expect("array")
}

#[test]
fn flags_and_base_sizes_equal_the_reference() {
    if common::binder().is_none() {
        return;
    }
    let int = t("System.Int32");
    let string = t("System.String");
    let object = t("System.Object");
    // (type, flags, base size) as read from CoreCLR 9.0.5; bits 0x2, 0x100, 0x400, 0x800 and 0x2000 are private there.
    let private = 0x2 | 0x100 | 0x400 | 0x800 | 0x2000;
    let cases = [
        (object, 0x0000_0200, 24),
        (int, 0x0007_0800, 24),
        (t("System.Guid"), 0x0004_2800, 32),
        (t("System.DayOfWeek"), 0x0006_0C00, 24),
        (generic("System", "Nullable`1", &[int]), 0x0005_0810, 24),
        (generic("System", "Span`1", &[int]), 0x0004_1810, 32),
        (t("System.IDisposable"), 0x000C_0000, 0),
        (t("System.Collections.Generic.List`1"), 0x2100_0230, 32),
        (generic("System.Collections.Generic", "List`1", &[int]), 0x0100_0210, 32),
        (
            generic("System.Collections.Generic", "List`1", &[string]),
            0x0100_0210,
            32,
        ),
        (t("System.Action"), 0x0100_0400, 64),
        (t("System.Threading.Thread"), 0x0110_0202, 72),
    ];
    for (h, flags, base) in cases {
        let m = mt(h);
        assert_eq!((m.flags() & !private, m.base_size()), (flags & !private, base), "{h}");
    }
    for (h, flags, base) in [
        (string, 0x8000_0002u32, 22),
        (sz(int), 0x800A_0004, 24),
        (sz(string), 0x810A_0008, 24),
        (make_array(int, 2, false).expect("array"), 0x8008_0004, 40),
    ] {
        let m = mt(h);
        assert_eq!((m.flags(), m.base_size()), (flags, base), "{h}");
    }
}

#[test]
fn object_slots_are_in_the_known_order() {
    if common::binder().is_none() {
        return;
    }
    let names: Vec<_> = (0..4)
        .map(|i| WellKnown::get().object.vtable_method(i).expect("slot").name())
        .collect();
    assert_eq!(names, ["Finalize", "ToString", "Equals", "GetHashCode"]);
}

#[test]
fn names_are_formatted_as_dotnet_does() {
    use corten_loader::TypeNameFlags as F;
    if common::binder().is_none() {
        return;
    }
    let list = generic("System.Collections.Generic", "List`1", &[t("System.Int32")]);
    assert_eq!(
        format_type(list, F::NAMESPACE),
        "System.Collections.Generic.List`1[System.Int32]"
    );
    let full = format_type(list, F::NAMESPACE | F::FULL_INST);
    assert!(
        full.starts_with("System.Collections.Generic.List`1[[System.Int32, System.Private.CoreLib, Version="),
        "{full}"
    );
    assert!(full.ends_with("PublicKeyToken=7cec85d7bea7798e]]"), "{full}");
    let open = t("System.Collections.Generic.Dictionary`2");
    assert_eq!(
        format_type(open, F::NAMESPACE),
        "System.Collections.Generic.Dictionary`2[TKey,TValue]"
    );
    assert_eq!(
        format_type(open, F::NAMESPACE | F::FULL_INST),
        "System.Collections.Generic.Dictionary`2"
    );
    let md = make_array(make_pointer(t("System.Byte")), 2, false).expect("array");
    assert_eq!(format_type(make_byref(md), F::NAMESPACE), "System.Byte*[,]&");
}

#[test]
fn casting_follows_the_rules() {
    if common::binder().is_none() {
        return;
    }
    let (int, uint, long, object, string) = (
        t("System.Int32"),
        t("System.UInt32"),
        t("System.Int64"),
        t("System.Object"),
        t("System.String"),
    );
    let enumerable = |x| generic("System.Collections.Generic", "IEnumerable`1", &[x]);
    let ilist = |x| generic("System.Collections.Generic", "IList`1", &[x]);
    let yes = [
        (string, object),
        (int, object),
        (int, t("System.ValueType")),
        (t("System.DayOfWeek"), t("System.Enum")),
        (t("System.IDisposable"), object),
        (sz(string), sz(object)),
        (sz(int), sz(uint)),
        (sz(t("System.DayOfWeek")), sz(int)),
        (sz(int), t("System.Array")),
        (sz(int), ilist(int)),
        (sz(int), ilist(uint)),
        (sz(string), enumerable(object)),
        (sz(string), ilist(object)),
        (sz(sz(string)), enumerable(enumerable(object))),
        (enumerable(string), enumerable(object)),
        (
            generic("System", "Action`1", &[object]),
            generic("System", "Action`1", &[string]),
        ),
        (
            generic("System", "Func`1", &[string]),
            generic("System", "Func`1", &[object]),
        ),
        (
            generic("System.Collections.Generic", "List`1", &[string]),
            enumerable(object),
        ),
        (int, generic("System", "Nullable`1", &[int])),
        (int, generic("System", "IComparable`1", &[int])),
    ];
    for (a, b) in yes {
        assert!(can_cast_to(a, b), "{a} -> {b}");
    }
    let no = [
        (object, string),
        (int, long),
        (sz(int), sz(long)),
        (sz(int), sz(object)),
        (sz(object), sz(string)),
        (sz(int), ilist(long)),
        (enumerable(int), enumerable(object)),
        (enumerable(object), enumerable(string)),
        (ilist(string), ilist(object)),
        (
            generic("System", "Func`1", &[int]),
            generic("System", "Func`1", &[object]),
        ),
        (generic("System", "Nullable`1", &[int]), int),
        (make_array(int, 2, false).expect("array"), sz(int)),
    ];
    for (a, b) in no {
        assert!(!can_cast_to(a, b), "{a} -> {b}");
    }
}

#[test]
fn interface_dispatch_reaches_the_implementation() {
    if common::binder().is_none() {
        return;
    }
    let int = t("System.Int32");
    let string = t("System.String");
    let object = t("System.Object");
    let method = |h: TypeHandle, name: &str| mt(h).find_method(name).expect("method");
    // Implicit implementation.
    let list = generic("System.Collections.Generic", "List`1", &[int]);
    let add = method(generic("System.Collections.Generic", "ICollection`1", &[int]), "Add");
    let m = resolve_interface(mt(list), add).expect("Add");
    assert!(m.owner() == mt(list) && m.name() == "Add");
    // Explicit implementation.
    let get = method(
        generic("System.Collections.Generic", "IEnumerable`1", &[int]),
        "GetEnumerator",
    );
    let m = resolve_interface(mt(list), get).expect("GetEnumerator");
    assert!(m.name().ends_with("IEnumerable<T>.GetEnumerator"), "{}", m.name());
    // Variance: IEnumerable<object> on List<string>.
    let strings = generic("System.Collections.Generic", "List`1", &[string]);
    let get = method(
        generic("System.Collections.Generic", "IEnumerable`1", &[object]),
        "GetEnumerator",
    );
    assert_eq!(
        resolve_interface(mt(strings), get).expect("variant").owner(),
        mt(strings)
    );
    // Arrays go to SZArrayHelper over the interface's argument.
    let m = resolve_interface(mt(sz(string)), get).expect("array");
    assert_eq!(m.owner(), WellKnown::get().sz_array_helper);
    assert_eq!(m.instantiation(), [object]);
    // Non-generic interfaces of arrays are those of System.Array.
    let count = method(t("System.Collections.ICollection"), "get_Count");
    assert_eq!(
        resolve_interface(mt(sz(int)), count).expect("Count").owner(),
        WellKnown::get().array
    );
    // Virtual dispatch.
    let to_string = method(object, "ToString");
    assert_eq!(resolve_virtual(mt(int), to_string).expect("ToString").owner(), mt(int));
    assert_eq!(
        resolve_virtual(mt(sz(int)), to_string).expect("ToString").owner(),
        mt(object)
    );
    // Missing implementation.
    let dispose = method(t("System.IDisposable"), "Dispose");
    assert!(matches!(
        resolve_interface(mt(string), dispose),
        Err(LoadError::EntryPointNotFound { .. })
    ));
}

#[test]
fn constrained_calls() {
    if common::binder().is_none() {
        return;
    }
    let int = t("System.Int32");
    let hash = mt(t("System.Object")).find_method("GetHashCode").expect("method");
    let r = resolve_constrained(int, hash).expect("GetHashCode");
    assert!(r.method.owner() == mt(int) && !r.needs_box && !r.dereference);
    let get_type = mt(t("System.Object")).find_method("GetType").expect("method");
    assert!(resolve_constrained(int, get_type).expect("GetType").needs_box);
    let day = t("System.DayOfWeek");
    let r = resolve_constrained(day, hash).expect("enum");
    assert!(r.needs_box && r.method.owner() == WellKnown::get().enum_);
    assert!(
        resolve_constrained(t("System.String"), hash)
            .expect("string")
            .dereference
    );
    // Static virtual members: INumberBase<int>.Zero and the operator of IAdditionOperators.
    let number = generic("System.Numerics", "INumberBase`1", &[int]);
    let zero = mt(number).find_method("get_Zero").expect("Zero");
    let r = resolve_constrained(int, zero).expect("Zero");
    assert!(r.method.is_static() && r.method.owner() == mt(int), "{:?}", r.method);
    let add = generic("System.Numerics", "IAdditionOperators`3", &[int, int, int]);
    let plus = mt(add).find_method("op_Addition").expect("op_Addition");
    assert_eq!(
        resolve_constrained(int, plus).expect("op_Addition").method.owner(),
        mt(int)
    );
}

#[test]
fn recursive_generics_and_constraints() {
    if common::binder().is_none() {
        return;
    }
    let int = t("System.Int32");
    let mut h = int;
    for _ in 0..20 {
        h = generic("System.Collections.Generic", "List`1", &[h]);
    }
    assert!(mt(h).base_size() == 32);
    // Nullable<string> violates `struct`.
    let e = instantiate(
        corelib_type("System", "Nullable`1").expect("Nullable"),
        &[t("System.String")],
    );
    assert!(matches!(e, Err(LoadError::TypeLoad { .. })), "{e:?}");
    let e = instantiate(
        corelib_type("System.Collections.Generic", "List`1").expect("List"),
        &[generic("System", "Span`1", &[int])],
    );
    assert!(matches!(e, Err(LoadError::TypeLoad { .. })), "{e:?}");
    let d = generic("System.Collections.Generic", "Dictionary`2", &[t("System.String"), int]);
    let entries = mt(d).find_field("_entries").expect("field").field_type().expect("type");
    assert_eq!(
        entries.element_type().expect("array").instantiation(),
        [t("System.String"), int]
    );
}

#[test]
fn fields_statics_and_methods() {
    if common::binder().is_none() {
        return;
    }
    let decimal = mt(t("System.Decimal"));
    let one = decimal.find_field("One").expect("One");
    assert_eq!(one.kind(), FieldKind::Static);
    let a = corten_loader::static_field_address(one).expect("address");
    assert!(!a.is_null());
    let current = mt(t("System.Threading.Thread"))
        .find_field("t_currentThread")
        .expect("field");
    assert_eq!(current.kind(), FieldKind::ThreadStatic);
    let string = WellKnown::get().string;
    let mut n = 0;
    for c in string.methods().iter().filter(|m| m.is_ctor()) {
        let target = string_ctor_target(c).expect("target").expect("some");
        assert_eq!(
            target.signature().expect("sig").params,
            c.signature().expect("sig").params
        );
        n += 1;
    }
    assert_eq!(n, 9);
    let action = mt(t("System.Action"));
    assert_eq!(
        action.find_method("Invoke").expect("Invoke").kind(),
        MethodKind::DelegateInvoke
    );
    let array = mt(make_array(t("System.Int32"), 3, false).expect("array"));
    let set = array.find_method("Set").expect("Set");
    assert_eq!(
        (set.kind(), set.signature().expect("sig").params.len()),
        (MethodKind::ArraySet, 4)
    );
    assert_eq!(primitive_type(ElementType::R8).expect("double").base_size(), 24);
    let _ = BinderConfig::default();
}

#[test]
fn precode_of_every_method_is_valid() {
    if common::binder().is_none() {
        return;
    }
    let m = WellKnown::get().string.find_method("get_Length").expect("Length");
    assert_eq!(m.entry(), m.temporary_entry());
    assert!(!m.has_code());
    assert_eq!(corten_loader::precode::method_of_precode(m.stable_entry()), Some(m));
    assert_eq!(corten_loader::precode::method_of_precode(m.temporary_entry()), Some(m));
    let hash = WellKnown::get()
        .string
        .find_method_with_params("GetHashCode", 0)
        .expect("GetHashCode");
    let slot = hash.slot().expect("virtual");
    assert_eq!(WellKnown::get().string.vtable_slot(slot), hash.stable_entry());
    hash.publish(0x1234_5678);
    assert_eq!(
        (hash.entry(), WellKnown::get().string.vtable_slot(slot)),
        (0x1234_5678, 0x1234_5678)
    );
    hash.reset_entry();
    assert!(!hash.has_code());
}
