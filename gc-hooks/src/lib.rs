//! Object model, heap, collector, handles, safepoints and monitors of the Corten runtime.
//!
//! This crate never knows metadata: a type is a [`MethodTableHeader`] whose GC descriptor says where references are.
//! How frames are walked is the business of the [`RootProvider`].
//!
//! Reading order: [`object`] and [`gcdesc`] (what an object is), [`space`] (the heap's address range), [`heap`]
//! (allocation), `collect` and `trace` (a collection), [`barrier`] (how old-to-young references are found),
//! [`safepoint`] and [`handshake`] (stopping threads), [`scope`] (roots of Rust code), [`handles`], [`finalize`],
//! [`syncword`], [`syncblock`] and [`monitor`] (hash codes and locks), [`stress`] and [`verify`] (proof).

pub mod barrier;
pub mod bitmap;
mod collect;
pub mod collectible;
pub mod finalize;
pub mod frozen;
pub mod gcdesc;
pub mod handles;
pub mod handshake;
pub mod heap;
mod large;
pub mod memory;
pub mod monitor;
mod nursery;
pub mod object;
mod old;
mod parallel;
pub mod roots;
pub mod safepoint;
pub mod scope;
pub mod space;
pub mod stats;
pub mod stress;
pub mod sync;
pub mod syncblock;
pub mod syncword;
pub mod thread;
mod trace;
pub mod verify;

pub use barrier::{
    barrier_bounds, bulk_move_with_barrier, compare_exchange_ref, corten_byref_write_barrier,
    corten_checked_write_barrier, corten_write_barrier, exchange_ref, store_ref,
};
pub use finalize::FinalizerQueue;
pub use gcdesc::GcDesc;
pub use handles::{HandleKind, HandleTable};
pub use heap::{AllocFlags, Heap, HeapConfig, InitError, OutOfMemory};
pub use object::{MethodTableAux, MethodTableHeader, ObjPtr, Object, mt_flags};
pub use roots::{RootProvider, RootVisitor};
pub use safepoint::{CooperativeGuard, PreemptiveGuard, ThreadRegistry, World};
pub use scope::{HandleScope, Local, Ref};
pub use stress::StressMode;
pub use thread::ThreadHeader;
