//! Loads every type of every framework assembly.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeMap;

use corten_loader::LoadError;
use corten_metadata::TableId;

#[test]
fn every_framework_type_loads() {
    let Some(binder) = common::binder() else { return };
    let mut paths: Vec<_> = binder.trusted_paths().map(|p| p.to_owned()).collect();
    paths.sort();
    let start = std::time::Instant::now();
    let (mut ok, mut reasons) = (0u32, BTreeMap::<String, (u32, String)>::new());
    for p in paths {
        let assembly = match binder.load_from_path(&p, 0) {
            Ok(a) => a,
            Err(LoadError::BadImageFormat { .. }) => continue,
            Err(e) => panic!("{}: {e}", p.display()),
        };
        let module = assembly.module();
        for rid in 1..=module.metadata().row_count(TableId::TypeDef) {
            match module.typical_type(rid) {
                Ok(_) => ok += 1,
                Err(e) => {
                    let key = match &e {
                        LoadError::TypeLoad { reason, .. } => format!("TypeLoad {reason}"),
                        other => other.to_string(),
                    };
                    let name = module
                        .type_def(rid)
                        .map_or_else(|_| format!("{rid:#x}"), |d| d.full_name());
                    let entry = reasons
                        .entry(key)
                        .or_insert((0, format!("{}: {name}: {e}", assembly.simple_name())));
                    entry.0 += 1;
                }
            }
        }
    }
    println!("{ok} types in {:?}", start.elapsed());
    for (reason, (n, example)) in &reasons {
        println!("{n:6} {reason}\n        e.g. {example}");
    }
    assert!(reasons.is_empty());
}
