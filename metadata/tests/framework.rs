//! Reads the whole .NET class library. Skipped where none is found.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use corten_metadata::attribute::{EnumRef, Primitive};
use corten_metadata::visit::{Summary, visit_with};
use corten_metadata::{Decoder, Module, TableId, Token, testing};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `f` for each module on all processors.
fn for_each_module(files: &[PathBuf], f: impl Fn(&Module) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match Module::open(path) {
                        Ok(module) => f(&module),
                        // Native libraries may lie beside the assemblies.
                        Err(e) if e.to_string().contains("not a managed assembly") => {}
                        Err(e) => panic!("{}: {e}", path.display()),
                    }
                }
            });
        }
    });
}

/// Enums of all modules by namespace and name (`Outer+Inner` for nested ones).
type Enums = HashMap<(String, String), Primitive>;

fn nested_name(module: &Module, rid: u32) -> (String, String) {
    let row = module.type_def(rid).unwrap();
    match module.enclosing_type(rid) {
        Some(outer) => {
            let (namespace, outer) = nested_name(module, outer);
            (namespace, format!("{outer}+{}", row.name))
        }
        None => (row.namespace.to_owned(), row.name.to_owned()),
    }
}

fn reference_name(module: &Module, rid: u32) -> (String, String) {
    let row = module.type_ref(rid).unwrap();
    if row.resolution_scope.is(TableId::TypeRef) {
        let (namespace, outer) = reference_name(module, row.resolution_scope.rid());
        return (namespace, format!("{outer}+{}", row.name));
    }
    (row.namespace.to_owned(), row.name.to_owned())
}

fn collect_enums(files: &[PathBuf]) -> Enums {
    let all = Mutex::new(Enums::new());
    for_each_module(files, |module| {
        let mut found = Enums::new();
        for rid in 1..=module.row_count(TableId::TypeDef) {
            let base = module.type_def(rid).unwrap().extends;
            if !base.is_nil() && module.type_name(base).is_ok_and(|n| n == ("System", "Enum")) {
                found.insert(nested_name(module, rid), module.enum_underlying_type(rid).unwrap());
            }
        }
        all.lock().unwrap().extend(found);
    });
    all.into_inner().unwrap()
}

fn resolve(module: &Module, enums: &Enums, which: EnumRef<'_>) -> Option<Primitive> {
    if let Some(p) = module.resolve_local_enum(which) {
        return Some(p);
    }
    let key = match which {
        EnumRef::Token(t) => reference_name(module, t.rid()),
        EnumRef::Name(name) => {
            let full = name.split(',').next().unwrap();
            let (namespace, name) = full.rsplit_once('.').unwrap_or(("", full));
            (namespace.to_owned(), name.to_owned())
        }
    };
    enums.get(&key).copied()
}

#[test]
fn everything_decodes() {
    let files = testing::framework_assemblies();
    let enums = collect_enums(&files);
    let total = Mutex::new(Summary::default());
    for_each_module(&files, |module| {
        let summary = visit_with(module, &mut |which| resolve(module, &enums, which));
        let s = summary.unwrap_or_else(|e| panic!("{}: {e}", module.path()));
        assert_eq!(s.unresolved_attributes, 0, "{}", module.path());
        let mut t = total.lock().unwrap();
        t.rows += s.rows;
        t.methods += s.methods;
        t.bodies += s.bodies;
        t.instructions += s.instructions;
        t.attributes += s.attributes;
        t.signatures += s.signatures;
        t.clauses += s.clauses;
    });
    if !files.is_empty() {
        let t = total.into_inner().unwrap();
        println!("{t:?}");
        assert!(
            t.bodies > 10_000 && t.instructions > 500_000 && t.attributes > 10_000,
            "{t:?}"
        );
    }
}

#[test]
fn lookups_agree_with_scans() {
    let files = testing::framework_assemblies();
    for_each_module(&files, |m| {
        let mut fields = 0;
        let mut methods = 0;
        for rid in 1..=m.row_count(TableId::TypeDef) {
            let t = m.type_def(rid).unwrap();
            for f in t.field_list.clone() {
                assert_eq!(m.owner_of_field(f), Some(rid));
                fields += 1;
            }
            for method in t.method_list.clone() {
                assert_eq!(m.owner_of_method(method), Some(rid));
                methods += 1;
            }
            match m.enclosing_type(rid) {
                None => assert_eq!(m.find_type_def(t.namespace, t.name), Some(rid)),
                Some(outer) => assert!(m.nested_types(outer).contains(&rid)),
            }
            let token = Token::new(TableId::TypeDef, rid);
            for gp in m.generic_params(token) {
                assert_eq!(m.generic_param(gp).unwrap().owner, token);
            }
            for p in m.properties_of(rid) {
                assert_eq!(m.owner_of_property(p), Some(rid));
                for s in m.semantics_of(Token::new(TableId::Property, p)) {
                    assert_eq!(m.owner_of_method(m.method_semantics(s).unwrap().method), Some(rid));
                }
            }
        }
        assert_eq!(
            (fields, methods),
            (m.row_count(TableId::Field), m.row_count(TableId::MethodDef))
        );
        for rid in 1..=m.row_count(TableId::InterfaceImpl) {
            assert!(m.interface_impls(m.interface_impl(rid).unwrap().class).contains(&rid));
        }
        for rid in 1..=m.row_count(TableId::MethodImpl) {
            assert!(m.method_impls(m.method_impl(rid).unwrap().class).contains(&rid));
        }
        for rid in 1..=m.row_count(TableId::CustomAttribute) {
            assert!(
                m.custom_attributes(m.custom_attribute(rid).unwrap().parent)
                    .contains(&rid)
            );
        }
        for rid in 1..=m.row_count(TableId::FieldRva) {
            let row = m.field_rva(rid).unwrap();
            assert_eq!(m.field_rva_of(row.field), Some(row.rva));
        }
        for rid in 1..=m.row_count(TableId::FieldLayout) {
            let row = m.field_layout(rid).unwrap();
            assert_eq!(m.field_offset(row.field), Some(row.offset));
        }
        for rid in 1..=m.row_count(TableId::ClassLayout) {
            let row = m.class_layout(rid).unwrap();
            assert_eq!(m.class_layout_of(row.parent), Some(row));
        }
        for rid in 1..=m.row_count(TableId::ImplMap) {
            let row = m.impl_map(rid).unwrap();
            assert_eq!(m.impl_map_of(row.member_forwarded.rid()), Some(row));
        }
        for rid in 1..=m.row_count(TableId::Constant) {
            let row = m.constant(rid).unwrap();
            assert_eq!(m.constant_of(row.parent), Some(row));
        }
        for rid in 1..=m.row_count(TableId::GenericParamConstraint) {
            let owner = m.generic_param_constraint(rid).unwrap().owner;
            assert!(m.generic_param_constraints(owner).contains(&rid));
        }
        for rid in 1..=m.row_count(TableId::ExportedType) {
            let row = m.exported_type(rid).unwrap();
            if !row.implementation.is(TableId::ExportedType) {
                assert_eq!(m.find_exported_type(row.namespace, row.name), Some(rid));
            }
        }
    });
}

#[test]
fn core_library_is_as_expected() {
    let Some(dir) = testing::framework_dir() else {
        eprintln!("skipped: no .NET class library found (set CORTEN_FRAMEWORK)");
        return;
    };
    let m = Module::open(&dir.join("System.Private.CoreLib.dll")).unwrap();
    assert_eq!(m.assembly().unwrap().unwrap().name, "System.Private.CoreLib");
    assert!(m.pe().is_pe32_plus() && m.pe().managed_native_header().is_some());
    let string = m.find_type_def("System", "String").unwrap();
    let row = m.type_def(string).unwrap();
    let length = row
        .method_list
        .clone()
        .find(|r| m.method_def(*r).unwrap().name == "IsNullOrEmpty")
        .unwrap();
    let body = m.method_body(length).unwrap().unwrap();
    assert_eq!(
        Decoder::new(body.code).last().unwrap().unwrap().opcode.mnemonic(),
        "ret"
    );
    assert!(m.has_attribute(
        Token::new(TableId::TypeDef, string),
        "System.Runtime.CompilerServices",
        "NullableAttribute"
    ));
    assert_eq!(m.find_type_def("System", "NoSuchType"), None);
    assert!(m.type_def(0).is_err() && m.type_def(u32::MAX).is_err());
}
