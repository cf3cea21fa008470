//! Internal calls: native implementations of CoreLib methods marked `InternalCall`, in tables keyed by class and method.
//!
//! Each function is `extern "C"` with the managed method's exact ABI (`this` first), runs in cooperative mode and is entered
//! through a transition stub. References arrive as raw [`ObjPtr`](corten_gc_hooks::object::ObjPtr)s: root them in a `HandleScope` before anything that can
//! reach a safepoint. Fallible ones wrap their body in [`icall_body`](crate::error::icall_body).

use corten_loader::{TypeHandle, TypeNameFlags, format_type};
use rustc_hash::FxHashMap;
use std::sync::OnceLock;

pub mod diagnostics;
pub mod environment;
pub mod gc;
pub mod gc_notifications;
pub mod interop;
pub mod math;
pub mod memory;
pub mod monitor;
pub mod reflection;
pub mod threading;

/// One implementation.
#[derive(Clone, Copy, Debug)]
pub struct ICall {
    /// `Namespace.Type` (nested: `Outer+Inner`), as in contract/internalcalls.tsv but with the `System.` prefix.
    pub class: &'static str,
    /// Method name; overloads add the parameter list as `Name(int,ref byte)` (then the exact form wins over the bare name).
    pub method: &'static str,
    /// Code address; the signature is that of the managed declaration.
    pub function: *const (),
}
// SAFETY: a code address.
unsafe impl Sync for ICall {}
// SAFETY: as above.
unsafe impl Send for ICall {}

/// Builds a static table: `icall_table! { TABLE: "System.Math" { "Sin" => sin, "Cos" => cos } "System.GC" { .. } }`.
#[macro_export]
macro_rules! icall_table {
    ($(#[$doc:meta])* $table:ident : $($class:literal { $($method:literal => $f:path),* $(,)? })*) => {
        $(#[$doc])*
        pub static $table: &[$crate::icalls::ICall] = &[$($(
            $crate::icalls::ICall { class: $class, method: $method, function: $f as *const () },
        )*)*];
    };
}

/// All tables.
fn tables() -> Vec<&'static [ICall]> {
    let mut all: Vec<&'static [ICall]> = vec![threading::TABLE];
    all.extend(super::icalls::index::tables());
    all
}

/// Finds the implementation of `class::method`; `signature` is the parameter list `(int,ref byte)`.
pub fn find(class: &str, method: &str, signature: &str) -> Option<usize> {
    static INDEX: OnceLock<FxHashMap<(&'static str, &'static str), usize>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        tables()
            .into_iter()
            .flatten()
            .map(|c| ((c.class, c.method), c.function as usize))
            .collect()
    });
    let full = format!("{method}{signature}");
    let exact = index.get(&(class, full.as_str())).copied();
    exact.or_else(|| index.get(&(class, method)).copied())
}

/// Name of a parameter type in the keys of overloaded internal calls: `int`, `ref byte`, otherwise the simple name.
pub fn short_type_name(t: TypeHandle) -> String {
    if t.is_byref()
        && let Some(referent) = t.element_type()
    {
        return format!("ref {}", short_type_name(referent));
    }
    let name = format_type(t, TypeNameFlags::BASIC);
    let keyword = match name.as_str() {
        "Boolean" => "bool",
        "SByte" => "sbyte",
        "Byte" => "byte",
        "Char" => "char",
        "Int16" => "short",
        "UInt16" => "ushort",
        "Int32" => "int",
        "UInt32" => "uint",
        "Int64" => "long",
        "UInt64" => "ulong",
        "IntPtr" => "nint",
        "UIntPtr" => "nuint",
        "Single" => "float",
        "Double" => "double",
        "String" => "string",
        "Object" => "object",
        _ => return name,
    };
    keyword.to_owned()
}

/// Tables by managed area; a new file of internal calls is added here.
pub mod index {
    use super::ICall;
    /// Every table but `threading`'s.
    pub fn tables() -> Vec<&'static [ICall]> {
        let mut all = vec![
            super::diagnostics::TABLE,
            super::environment::TABLE,
            super::gc::TABLE,
            super::interop::TABLE,
            super::math::TABLE,
            super::memory::TABLE,
            super::monitor::TABLE,
            crate::exceptions::trace::TABLE,
        ];
        all.extend(super::reflection::tables());
        all
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn methods_are_implemented_once() {
        let mut seen = std::collections::HashSet::new();
        for call in super::tables().into_iter().flatten() {
            assert!(
                seen.insert((call.class, call.method)),
                "{}::{} twice",
                call.class,
                call.method
            );
        }
        assert!(super::find("System.Math", "Sqrt", "(double)").is_some());
        assert!(super::find("System.Math", "NoSuchMethod", "()").is_none());
    }
}
