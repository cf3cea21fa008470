//! Opaque identities that the compiler passes back and forth with its host.
//!
//! The JIT never looks behind them: it asks [`CompilerHost`](crate::host_api::CompilerHost). For the engine they are the
//! addresses of loader structures; for filetests they are indices into a table.

/// A closed (fully instantiated) type: the raw TypeHandle of the engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u64);
/// An exact method (exact owner, exact method instantiation).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MethodId(pub u64);
/// A field of an exact type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub u64);

macro_rules! debug_id {
    ($t:ident, $p:literal) => {
        impl std::fmt::Debug for $t {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($p, "{:x}"), self.0)
            }
        }
    };
}
debug_id!(TypeId, "type:");
debug_id!(MethodId, "method:");
debug_id!(FieldId, "field:");
