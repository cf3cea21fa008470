//! Several threads load the same types at once.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

mod common;

use std::sync::Barrier;

use corten_loader::{LoadLevel, WellKnown, corelib_type, instantiate, make_array, resolve_interface};
use corten_metadata::TableId;

const THREADS: usize = 4;

#[test]
fn concurrent_loading_gives_one_identity() {
    let Some(binder) = common::binder() else { return };
    let module = binder.load_core_library().expect("CoreLib").module();
    let rows = module.metadata().row_count(TableId::TypeDef);
    let barrier = Barrier::new(THREADS);
    let results: Vec<Vec<usize>> = std::thread::scope(|s| {
        let handles: Vec<_> = (0..THREADS)
            .map(|t| {
                let barrier = &barrier;
                s.spawn(move || {
                    barrier.wait();
                    let mut seen = vec![0; rows as usize + 1];
                    for k in 0..rows {
                        // Each thread starts elsewhere and walks in its own direction.
                        let at = (k + rows / THREADS as u32 * t as u32) % rows;
                        let rid = if t % 2 == 0 { at + 1 } else { rows - at };
                        let mt = module.typical_type(rid).expect("loads");
                        assert_eq!(mt.class().level(), LoadLevel::Full);
                        assert_eq!(mt.class().vtable().len(), usize::from(mt.num_virtuals()));
                        seen[rid as usize] = mt.address();
                    }
                    seen
                })
            })
            .collect();
        handles.into_iter().map(|h| h.join().expect("thread")).collect()
    });
    assert!(results.iter().all(|r| *r == results[0]));
}

#[test]
fn concurrent_instantiation_and_dispatch() {
    if common::binder().is_none() {
        return;
    }
    let w = WellKnown::get();
    let list = corelib_type("System.Collections.Generic", "List`1").expect("List");
    let icollection = corelib_type("System.Collections.Generic", "ICollection`1").expect("ICollection");
    let barrier = Barrier::new(THREADS);
    let results: Vec<Vec<usize>> = std::thread::scope(|s| {
        let handles: Vec<_> = (0..THREADS)
            .map(|_| {
                let barrier = &barrier;
                s.spawn(move || {
                    barrier.wait();
                    let mut seen = Vec::new();
                    let mut arg = w.int64.handle();
                    for _ in 0..30 {
                        let l = instantiate(list, &[arg]).expect("List");
                        let i = instantiate(icollection, &[arg]).expect("ICollection");
                        let count = i
                            .as_method_table()
                            .expect("mt")
                            .find_method("get_Count")
                            .expect("get_Count");
                        let m = resolve_interface(l.as_method_table().expect("mt"), count).expect("dispatch");
                        seen.extend([l.raw(), m.address(), m.stable_entry()]);
                        arg = make_array(l, 1, true).expect("array");
                    }
                    seen
                })
            })
            .collect();
        handles.into_iter().map(|h| h.join().expect("thread")).collect()
    });
    assert!(results.iter().all(|r| *r == results[0]));
}
