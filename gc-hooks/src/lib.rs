//! Object model, heap, collector, handles, safepoints and monitors of the Corten runtime.
//!
//! This crate never knows metadata: a type is a [`MethodTableHeader`] whose GC descriptor says where references are.
//! How frames are walked is the business of the [`RootProvider`].
//!
//! Reading order: [`object`] and [`gcdesc`] (what an object is), [`space`] (the heap's address range), [`heap`] and
//! `alloc` (allocation), `collect`, `cycle` and `trace` (a collection), `concurrent` and [`handover`] (marking beside the program),
//! [`barrier`] (how old-to-young references are found), [`safepoint`] and [`handshake`] (stopping threads), [`scope`] (roots of Rust code), [`handles`], [`finalize`],
//! [`syncword`], [`syncblock`] and [`monitor`] (hash codes and locks), [`stress`], `suspension` and [`verify`] (proof).
//!
//! # Figures
//!
//! `cargo bench -p corten-gc-hooks`, on two cores of an AMD EPYC virtual machine:
//!
//! | what | time |
//! |---|---|
//! | allocation of an object of 40 bytes, collections included | 1.2 ns |
//! | allocation of `byte[16]`, `byte[1000]`, `byte[100000]` | 2.1 ns, 12 ns, 0.96 us |
//! | barrier: young value, old value, checked with a destination outside of the heap | 1.2 ns, 1.0 ns, 1.5 ns |
//! | 64k objects of 40 bytes are made and survive a minor collection | 3.3 ms |
//! | full collection of 2^17 and 2^21 live objects of 40 bytes | 1.8 ms, 23 ms |
//! | full collection of an empty heap | 58 us |
//! | a handle is made and freed | 29 ns |
//!
//! Old objects are marked concurrently once 16 MB are in use, so what a pause takes depends on the nursery and on what the program
//! changed, not on the size of the heap. `benchmarks/heaps.dll SHAPE` keeps 200 MB alive in different shapes
//! (`corten --stats benchmarks/heaps.dll trees`; `CORTEN_TRACEGC=1` tells what pauses consist of). Processor time of pauses there: minor
//! collections of 3 to 15 ms where nearly all of the nursery survives or 38,000 changed cards have to be scanned, 2 ms and less otherwise;
//! the last pause of a concurrent marking takes up to 15 ms more, helping a marker that falls behind up to 20 ms. Marking at once
//! (`DOTNET_gcConcurrent=0`) takes 35 to 180 ms.
//!
//! # Proof
//!
//! The models `tests/loom_*.rs` (handshake, handles, thin locks, what minor collections hand to the marker) run in `cargo xtask test`, and again with the feature
//! `planted-bug`, where they must fail. `tests/concurrent.rs` moves references about while they are marked; it fails when the write
//! barrier is not widened, and when changed cards are forgotten. Miri does not apply: the heap is mapped memory with addresses kept as
//! integers, and the barriers are assembly. Runs under stress verify the heap instead (`CORTEN_GCSTRESS`, `CORTEN_HEAPVERIFY`).
//!
//! ThreadSanitizer needs a nightly compiler with `rust-src`; it does not see the barriers (assembly) and not the kernel's
//! `membarrier`, on which inline transitions rely, so reports about `ThreadHeader::gc_mode` are expected:
//!
//! ```text
//! RUSTFLAGS=-Zsanitizer=thread cargo +nightly test -Zbuild-std --target x86_64-unknown-linux-gnu -p corten-gc-hooks --tests
//! ```

mod alloc;
pub mod barrier;
pub mod bitmap;
mod collect;
pub mod collectible;
mod concurrent;
mod cycle;
pub mod finalize;
pub mod frozen;
pub mod gcdesc;
pub mod handles;
pub mod handover;
pub mod handshake;
pub mod heap;
mod laps;
mod large;
pub mod memory;
pub mod monitor;
pub mod no_gc_region;
mod nursery;
pub mod object;
mod old;
mod parallel;
mod pressure;
pub mod roots;
pub mod safepoint;
pub mod scope;
pub mod space;
pub mod stats;
pub mod stress;
mod suspension;
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
pub use scope::{HandleScope, Local, Ref, Safepoints};
pub use stress::StressMode;
pub use thread::ThreadHeader;
