//! Compares static field offsets with those of the reference runtime (what precompiled code contains).
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::type_complexity, missing_docs)]

mod common;

use std::{collections::HashMap, path::Path};

use corten_loader::{FieldKind, ensure_statics, ensure_thread_statics, statics::precompiled_offset};
use corten_metadata::TableId;

fn table() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.join("../../shared/contract/staticlayout.tsv"))
        .or_else(|_| std::fs::read_to_string(root.join("tests/data/staticlayout-sample.tsv")))
        .expect("layout table")
}

#[test]
fn static_offsets_equal_the_reference() {
    let Some(binder) = common::binder() else { return };
    let text = table();
    // (assembly, type, field) -> (block, boxed, offset); names of nested generic types are lossy, hence the list.
    let mut expected: HashMap<(&str, String, &str), Vec<(bool, bool, u32)>> = HashMap::new();
    for line in text.lines().skip(1) {
        let c: Vec<&str> = line.split('\t').collect();
        let [assembly, name, block, note, field, offset, _] = c[..] else {
            continue;
        };
        expected.entry((assembly, name.to_owned(), field)).or_default().push((
            block.ends_with("-gc"),
            note == "boxed",
            offset.parse().expect("offset"),
        ));
    }
    let mut assemblies: Vec<&str> = expected.keys().map(|k| k.0).collect();
    assemblies.sort_unstable();
    assemblies.dedup();
    let (mut compared, mut wrong) = (0, 0);
    for a in assemblies {
        let Ok(assembly) = binder.load_by_name(&corten_loader::AssemblyName::simple(a), 0, None) else {
            continue;
        };
        let module = assembly.module();
        for rid in 1..=module.metadata().row_count(TableId::TypeDef) {
            let Ok(mut mt) = module.typical_type(rid) else { continue };
            if mt.is_generic_type_definition() {
                let Ok(t) = common::over_default_arguments(mt) else {
                    continue;
                };
                mt = t.as_method_table().expect("class");
            }
            let name = common::table_name(mt);
            for f in mt.fields() {
                let Some(want) = expected.get(&(a, name.clone(), f.name())) else {
                    continue;
                };
                match f.kind() {
                    FieldKind::Static => drop(ensure_statics(mt).expect("statics")),
                    FieldKind::ThreadStatic => drop(ensure_thread_statics(mt).expect("thread statics")),
                    _ => continue,
                }
                let (gc, at) = precompiled_offset(f).expect("laid out");
                let boxed = gc && f.field_type().expect("type").is_value_type();
                compared += 1;
                if !want.contains(&(gc, boxed, at)) {
                    wrong += 1;
                    println!("{a} {name}.{}: have {:?}, want {want:?}", f.name(), (gc, boxed, at));
                }
            }
        }
    }
    println!("{compared} static fields compared, {wrong} differ");
    assert!(compared > 50 && wrong == 0);
}
