//! Finds the framework and initialises the loader once per test process.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]
#![allow(dead_code)]

use std::sync::OnceLock;

use corten_loader::{Binder, BinderConfig, WellKnown};

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
