//! Runs compiled IR: arithmetic, structs in every ABI class against Rust's C ABI, exceptions, GC slots.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::undocumented_unsafe_blocks,
    clippy::type_complexity,
    improper_ctypes_definitions,
    missing_docs,
    reason = "a test engine of a few lines"
)]

mod abi;
mod arith;
mod budget;
mod calls;
mod casts;
mod exceptions;
mod float_extremes;
mod gc;
mod harness;
mod loops;
mod objects;
mod random;
mod tiers;
mod vector;
