//! Finds the framework and initialises the loader once per test process.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]
#![allow(dead_code)]

use std::sync::OnceLock;

use corten_loader::{Binder, BinderConfig, LoadError, MethodTable, TypeHandle, WellKnown, instantiate};

/// The binder over the framework, or `None` (after saying so) when there is none on this machine.
pub fn binder() -> Option<&'static Binder> {
    static ONCE: OnceLock<Option<&'static Binder>> = OnceLock::new();
    *ONCE.get_or_init(|| {
        let Some(dir) = corten_metadata::testing::framework_dir() else {
            println!("skipped: no framework found (set CORTEN_FRAMEWORK)");
            return None;
        };
        let config = BinderConfig::from_directory(&dir).expect("framework directory is readable");
        let binder = Binder::init(config);
        WellKnown::init().expect("CoreLib loads");
        Some(binder)
    })
}

/// The naming of the table: generic types show only their innermost declaring type.
pub fn table_name(mt: &'static MethodTable) -> String {
    if !mt.has_instantiation() {
        return mt.class().definition().map(|d| d.full_name()).unwrap_or_default();
    }
    let d = mt.class().definition().expect("not an array");
    let mut outer = d;
    while let Some(e) = outer.enclosing() {
        outer = e;
    }
    let nested = d.enclosing().map_or(String::new(), |e| format!("{}+", e.name()));
    let args: Vec<String> = mt.instantiation().iter().map(|a| a.display_name()).collect();
    format!("{}.{}{}<{}>", outer.namespace(), nested, d.name(), args.join(","))
}

/// The type over `int` where a struct is required and `object` elsewhere.
pub fn over_default_arguments(mt: &'static MethodTable) -> Result<TypeHandle, LoadError> {
    let w = WellKnown::get();
    let args: Vec<TypeHandle> = mt
        .instantiation()
        .iter()
        .map(|v| {
            let v = v.as_type_desc().and_then(|d| d.as_variable()).expect("definition");
            if v.flags.bits() & 8 != 0 {
                w.int32.handle()
            } else {
                w.object.handle()
            }
        })
        .collect();
    instantiate(mt, &args)
}
