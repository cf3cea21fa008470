//! Type system corner cases of `tests/data/shapes.cs`.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;

use corten_loader::{
    Assembly, ElementType, FieldKind, GenericContext, LoadError, MethodDesc, MethodTable, TypeHandle, WellKnown,
    ensure_full, instantiate, resolve_constrained, resolve_interface, resolve_virtual, static_field_address,
};

fn shapes() -> Option<&'static Assembly> {
    let binder = common::binder()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/shapes.dll");
    Some(binder.load_from_path(&path, 0).expect("shapes.dll"))
}

fn ty(a: &'static Assembly, name: &str) -> &'static MethodTable {
    let d = a.require_type_def("", name).expect(name);
    d.module().typical_type(d.rid()).expect(name)
}

fn over(mt: &'static MethodTable, args: &[TypeHandle]) -> &'static MethodTable {
    instantiate(mt, args)
        .expect("instantiation")
        .as_method_table()
        .expect("MethodTable")
}

/// `Type.Method` reached by a virtual or interface call.
fn reached(on: &'static MethodTable, decl: &'static MethodDesc) -> String {
    match resolve_virtual(on, decl) {
        Ok(m) => format!("{}.{}", m.owner().class().name(), m.name()),
        Err(e) => e.exception_type().1.to_owned(),
    }
}

fn method(mt: &'static MethodTable, name: &str) -> &'static MethodDesc {
    mt.find_method(name).expect(name)
}

#[test]
fn covariant_returns_fill_all_slots() {
    let Some(a) = shapes() else { return };
    let [animal, dog, puppy, pug] = ["Animal", "Dog", "Puppy", "Pug"].map(|n| ty(a, n));
    for decl in [animal, dog, puppy] {
        assert_eq!(reached(pug, method(decl, "Make")), "Pug.Make");
    }
    assert_eq!(reached(puppy, method(animal, "Make")), "Puppy.Make");
    assert_eq!(reached(dog, method(animal, "Tag")), "Dog.Tag");
    assert_eq!(reached(pug, method(animal, "Tag")), "Dog.Tag");
    assert_eq!(reached(pug, method(animal, "Hidden")), "Animal.Hidden");
    assert_eq!(reached(pug, method(dog, "Hidden")), "Pug.Hidden");
}

#[test]
fn default_interface_methods() {
    let Some(a) = shapes() else { return };
    let base = ty(a, "IBase");
    let (m, n) = (method(base, "M"), method(base, "N"));
    assert_eq!(reached(ty(a, "UsesLeft"), m), "ILeft.IBase.M");
    assert_eq!(reached(ty(a, "Diamond"), m), "Diamond.IBase.M");
    assert_eq!(reached(ty(a, "MostSpecific"), m), "IBoth.IBase.M");
    assert_eq!(reached(ty(a, "MostSpecific"), n), "MostSpecific.IBase.N");
    assert_eq!(reached(ty(a, "DimStruct"), m), "IBase.M");
    let r = resolve_constrained(ty(a, "DimStruct").handle(), m).expect("constrained");
    assert!(r.needs_box);
    let r = resolve_constrained(ty(a, "DimStruct").handle(), n).expect("constrained");
    assert!(!r.needs_box && r.method.owner() == ty(a, "DimStruct"));
}

#[test]
fn reimplementation_of_an_interface() {
    let Some(a) = shapes() else { return };
    let shape = ty(a, "IShape");
    for (class, name, area) in [
        ("ShapeBase", "ShapeBase.Name", "ShapeBase.IShape.Area"),
        ("Reimplements", "Reimplements.Name", "ShapeBase.IShape.Area"),
        ("Inherits", "Reimplements.Name", "ShapeBase.IShape.Area"),
    ] {
        assert_eq!(reached(ty(a, class), method(shape, "Name")), name);
        assert_eq!(reached(ty(a, class), method(shape, "Area")), area);
    }
}

#[test]
fn static_virtual_members() {
    let Some(a) = shapes() else { return };
    let call = |t: &'static MethodTable, name: &str| {
        let i = over(ty(a, "IParse`1"), &[t.handle()]);
        let r = resolve_constrained(t.handle(), method(i, name)).expect(name);
        format!("{}.{}", r.method.owner().class().name(), r.method.name())
    };
    let (money, text) = (ty(a, "Money"), ty(a, "Text"));
    assert_eq!(call(money, "Parse"), "Money.Parse");
    assert_eq!(call(money, "Kind"), "IParse`1.Kind");
    assert_eq!(call(money, "op_Addition"), "Money.op_Addition");
    assert_eq!(call(text, "Parse"), "Text.IParse<Text>.Parse");
    assert_eq!(call(text, "Kind"), "Text.IParse<Text>.Kind");
}

#[test]
fn generic_virtual_methods() {
    let Some(a) = shapes() else { return };
    let w = WellKnown::get();
    let visit = method(ty(a, "Visitor"), "Visit")
        .instantiate(&[w.int32.handle()])
        .expect("Visit<int>");
    let m = resolve_virtual(ty(a, "LoudPrinter"), visit).expect("Visit");
    assert_eq!(
        (m.owner(), m.instantiation()),
        (ty(a, "Printer"), &[w.int32.handle()][..])
    );
    assert_eq!(m.signature().expect("sig").params[..], [w.int32.handle()]);
    let args = [w.string.handle(), w.double.handle()];
    let twice = method(ty(a, "Visitor"), "Twice").instantiate(&args).expect("Twice");
    let m = resolve_virtual(ty(a, "LoudPrinter"), twice).expect("Twice");
    assert_eq!((m.owner(), m.instantiation()), (ty(a, "LoudPrinter"), &args[..]));
    assert_eq!(m, resolve_virtual(ty(a, "LoudPrinter"), twice).expect("again"));
    assert_eq!(
        m.typical_definition().expect("typical"),
        method(ty(a, "LoudPrinter"), "Twice")
    );
}

#[test]
fn recursive_generics() {
    let Some(a) = shapes() else { return };
    let w = WellKnown::get();
    let node = over(ty(a, "Node`1"), &[w.int32.handle()]);
    let inner = ty(a, "Node`1")
        .module()
        .find_nested(ty(a, "Node`1").class().typedef().rid(), "Inner");
    let inner = inner.expect("metadata").expect("Inner");
    let inner = over(
        inner.module().typical_type(inner.rid()).expect("Inner"),
        &[w.int32.handle()],
    );
    assert_eq!(
        node.find_field("Next").expect("Next").field_type().expect("type"),
        node.handle()
    );
    let back = inner.find_field("Back").expect("Back").field_type().expect("type");
    assert_eq!(back.instantiation(), [inner.handle()]);
    let e = instantiate(ty(a, "Node`1"), &[w.int32.handle(), w.int32.handle()]).unwrap_err();
    assert!(matches!(e, LoadError::TypeLoad { .. }), "{e}");
    let weird = a.require_type_def("", "Weird`1").expect("definition");
    let e = weird.module().typical_type(weird.rid()).unwrap_err();
    assert!(
        e.to_string().ends_with("because it has recursive generic definition."),
        "{e}"
    );
}

#[test]
fn explicit_layout_and_inline_arrays() {
    let Some(a) = shapes() else { return };
    let union = ty(a, "Union");
    assert_eq!(union.value_size(), 16);
    assert_eq!(union.class().layout().gc_refs[..], [8]);
    assert!(union.class().layout().has_overlap);
    let bad = a.require_type_def("", "BadUnion").expect("definition");
    let e = bad.module().typical_type(bad.rid()).unwrap_err();
    assert!(
        e.to_string()
            .contains("at offset 0 that is incorrectly aligned or overlapped"),
        "{e}"
    );
    let w = WellKnown::get();
    let five = over(ty(a, "Five`1"), &[w.string.handle()]);
    assert_eq!((five.value_size(), five.class().layout().gc_refs.len()), (40, 5));
    let five = over(ty(a, "Five`1"), &[w.int16.handle()]);
    assert_eq!((five.value_size(), five.contains_gc_pointers()), (10, false));
}

#[test]
fn statics() {
    let Some(a) = shapes() else { return };
    let s = ty(a, "Statics");
    let kind = |n: &str| s.find_field(n).expect(n).kind();
    assert_eq!(kind("Number"), FieldKind::Static);
    assert_eq!(kind("PerThread"), FieldKind::ThreadStatic);
    assert_eq!(kind("Literal"), FieldKind::Literal);
    assert!(s.class().cctor().is_some() && !s.class().is_initialized());
    let number = static_field_address(s.find_field("Number").expect("Number")).expect("address");
    // SAFETY: the storage of an int32 that nothing else uses.
    unsafe {
        assert_eq!(*number.cast::<i32>(), 0);
        *number.cast::<i32>() = 7;
    }
    assert!(static_field_address(s.find_field("Literal").expect("Literal")).is_err());
}

#[test]
fn tokens_resolve_in_their_generic_context() {
    let Some(a) = shapes() else { return };
    let w = WellKnown::get();
    let node = over(ty(a, "Node`1"), &[w.char_.handle()]);
    let compare = method(node, "CompareTo");
    assert_eq!(compare.signature().expect("sig").params[..], [node.handle()]);
    assert_eq!(
        compare.signature().expect("sig").ret.cor_element_type(),
        ElementType::I4
    );
    let i = node.interfaces()[0];
    assert_eq!(
        resolve_interface(node, method(i, "CompareTo")).expect("dispatch"),
        compare
    );
    assert_eq!(GenericContext::of_type(node).class_inst, [w.char_.handle()]);
    ensure_full(node).expect("full");
}
