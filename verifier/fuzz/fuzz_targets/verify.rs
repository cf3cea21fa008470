//! Any bytes as a module: reader and verifier return. The class library is found as in tests (CORTEN_FRAMEWORK).

#![no_main]

use std::sync::LazyLock;

use corten_metadata::{Module, TableId, testing};
use corten_verifier::{AssemblySource, ModuleHandle, Universe, Verifier};

static LIBRARY: LazyLock<Option<ModuleHandle>> = LazyLock::new(|| {
    let dir = testing::framework_dir()?;
    Module::open(&dir.join("System.Private.CoreLib.dll")).ok().map(Into::into)
});

/// Every reference leads to the core library.
struct CoreOnly;

impl AssemblySource for CoreOnly {
    fn find(&self, name: &str) -> Option<ModuleHandle> {
        let known = name.starts_with("System.");
        LIBRARY.clone().filter(|_| known)
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(module) = Module::from_bytes(data, "fuzz") else { return };
    let Ok(universe) = Universe::new(vec![module.into()], &CoreOnly) else { return };
    let mut verifier = Verifier::new(&universe);
    for input in universe.inputs() {
        for rid in 1..=universe.module(input).row_count(TableId::TypeDef).min(1000) {
            verifier.verify_type(input, rid);
        }
        for rid in 1..=universe.module(input).row_count(TableId::MethodDef).min(1000) {
            verifier.verify_method(input, rid);
        }
    }
});
