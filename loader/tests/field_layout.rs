//! Compares instance layouts with those of the reference runtime.
//!
//! `tests/data/fieldlayout-sample.tsv` is a sample of offsets read from a real CoreCLR 9.0.5; the full table is used
//! instead when it is found beside the workspace.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

mod common;

use std::{collections::HashMap, path::Path};

use corten_loader::Class;
use corten_metadata::{FieldAttributes, TableId};

/// Offsets by field name, and the size column.
#[derive(Default, Debug, Clone, PartialEq)]
struct Expected {
    size: u32,
    fields: Vec<(String, u32)>,
}

fn table() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let full = root.join("../../shared/contract/fieldlayout.tsv");
    std::fs::read_to_string(full)
        .or_else(|_| std::fs::read_to_string(root.join("tests/data/fieldlayout-sample.tsv")))
        .expect("layout table")
}

fn instance_fields(c: &Class) -> Vec<(String, u32)> {
    let object_relative = !c.method_table().is_value_type();
    c.fields()
        .iter()
        .filter(|f| !f.attributes().contains(FieldAttributes::STATIC))
        .map(|f| {
            (
                f.name().to_owned(),
                if object_relative { f.object_offset() } else { f.offset() },
            )
        })
        .collect()
}

#[test]
fn offsets_equal_the_reference() {
    let Some(binder) = common::binder() else { return };
    let text = table();
    // Several types may have the same (lossy) name; a row that repeats a field starts another one.
    let mut expected: HashMap<(&str, &str), Vec<Expected>> = HashMap::new();
    for line in text.lines().skip(1) {
        let c: Vec<&str> = line.split('\t').collect();
        let [assembly, name, _, size, field, offset, _] = c[..] else {
            continue;
        };
        let list = expected.entry((assembly, name)).or_default();
        let entry = (field.to_owned(), offset.parse().expect("offset"));
        let size = size.parse().expect("size");
        match list.last_mut() {
            Some(e)
                if e.size == size
                    && e.fields.last().is_none_or(|l| l.1 <= entry.1)
                    && !e.fields.iter().any(|f| f.0 == entry.0) =>
            {
                e.fields.push(entry)
            }
            _ => list.push(Expected {
                size,
                fields: vec![entry],
            }),
        }
    }
    let mut assemblies: Vec<&str> = expected.keys().map(|k| k.0).collect();
    assemblies.sort_unstable();
    assemblies.dedup();
    let (mut compared, mut wrong, mut unloadable) = (0, 0, 0);
    for a in assemblies {
        let name = corten_loader::AssemblyName::simple(a);
        let Ok(assembly) = binder.load_by_name(&name, 0, None) else {
            continue;
        };
        let module = assembly.module();
        for rid in 1..=module.metadata().row_count(TableId::TypeDef) {
            let Ok(mut mt) = module.typical_type(rid) else { continue };
            if mt.is_generic_type_definition() {
                match common::over_default_arguments(mt) {
                    Ok(t) => mt = t.as_method_table().expect("class"),
                    Err(_) => {
                        unloadable += 1;
                        continue;
                    }
                }
            }
            let key = common::table_name(mt);
            let Some(want) = expected.get(&(a, key.as_str())) else {
                continue;
            };
            // The reference machine has 256-bit vectors, here `Vector<T>` is 128 bits.
            if key.starts_with("System.Numerics.Vector`1") || key.starts_with("System.Numerics.VectorDebugView`1") {
                continue;
            }
            let mut have = instance_fields(mt.class());
            have.sort_by_key(|f| f.1);
            let size = if mt.is_value_type() {
                mt.base_size() - 16
            } else {
                mt.base_size()
            };
            compared += 1;
            let same = want.iter().any(|w| {
                let mut f = w.fields.clone();
                let mut h = have.clone();
                f.sort();
                h.sort();
                // Two nested generic types of one (lossy) name may have been merged.
                w.size == size && (f == h || (mt.has_instantiation() && h.iter().all(|x| f.contains(x))))
            });
            if !same {
                wrong += 1;
                if wrong <= 40 {
                    println!("{a} {key}: have {size} {have:?}\n    want {want:?}");
                }
            }
        }
    }
    println!("{compared} types compared, {wrong} differ, {unloadable} not instantiable over object/int");
    assert!(compared > 50 && wrong == 0);
}
