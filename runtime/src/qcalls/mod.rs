//! QCalls: entry points of CoreLib's P/Invokes to module "QCall", in tables keyed by entry name.
//!
//! Each function is `extern "C"` with the native signature of contract/qcalls.tsv and is called in preemptive mode by a
//! P/Invoke stub. Those that touch objects wrap their body in [`qcall_body`](crate::error::qcall_body). Handles of managed
//! locals (`ObjectHandleOnStack` and the like) arrive as the address of the local.

use rustc_hash::FxHashMap;
use std::sync::OnceLock;

pub mod emit;
pub mod environment;
pub mod events;
pub mod gc;
pub mod interop;
pub mod marshal;
pub mod memory;
pub mod native_forms;
pub mod reflection;
pub mod threading;
pub mod wait;

/// One implementation.
#[derive(Clone, Copy, Debug)]
pub struct QCall {
    /// Entry point name.
    pub name: &'static str,
    /// Its code.
    pub function: *const (),
}
// SAFETY: a code address.
unsafe impl Sync for QCall {}
// SAFETY: as above.
unsafe impl Send for QCall {}

/// Builds a static table: `qcall_table! { TABLE: "Buffer_MemMove" => buffer_memmove, .. }`.
#[macro_export]
macro_rules! qcall_table {
    ($(#[$doc:meta])* $table:ident : $($name:literal => $f:path),* $(,)?) => {
        $(#[$doc])*
        pub static $table: &[$crate::qcalls::QCall] = &[$(
            $crate::qcalls::QCall { name: $name, function: $f as *const () },
        )*];
    };
}

/// Every table.
fn tables() -> Vec<&'static [QCall]> {
    let mut all: Vec<&'static [QCall]> = vec![
        crate::collectible::TABLE,
        emit::members::TABLE,
        emit::types::TABLE,
        environment::TABLE,
        events::TABLE,
        gc::TABLE,
        interop::TABLE,
        marshal::TABLE,
        memory::TABLE,
        native_forms::TABLE,
        threading::TABLE,
    ];
    all.extend(reflection::tables());
    all
}

/// Address of the entry point `name`.
pub fn find(name: &str) -> Option<usize> {
    static INDEX: OnceLock<FxHashMap<&'static str, usize>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        tables()
            .into_iter()
            .flatten()
            .map(|q| (q.name, q.function as usize))
            .collect()
    });
    index.get(name).copied()
}

/// Names of all entry points that exist.
pub fn names() -> Vec<&'static str> {
    tables().into_iter().flatten().map(|q| q.name).collect()
}

/// Text of a NUL-terminated UTF-16 string; `None` for null.
///
/// # Safety
/// `text` is null or NUL-terminated.
pub unsafe fn utf16_argument(text: *const u16) -> Option<String> {
    if text.is_null() {
        return None;
    }
    let mut length = 0;
    // SAFETY: the caller's promise.
    let units = unsafe {
        while *text.add(length) != 0 {
            length += 1;
        }
        std::slice::from_raw_parts(text, length)
    };
    Some(String::from_utf16_lossy(units))
}

#[cfg(test)]
mod tests {
    #[test]
    fn entry_points_are_unique_and_found() {
        let mut names = super::names();
        assert!(names.iter().all(|n| super::find(n).is_some()));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
