//! The primitives of this crate: std's, or loom's in model checking builds (`--cfg loom`).

#[cfg(loom)]
pub use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicPtr, Ordering},
};
#[cfg(not(loom))]
pub use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicPtr, Ordering},
};
