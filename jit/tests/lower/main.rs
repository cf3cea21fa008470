//! Runs compiled IR: arithmetic, structs in every ABI class against Rust's C ABI, exceptions, GC slots.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::undocumented_unsafe_blocks,
    missing_docs
)]

mod abi;
mod arith;
mod calls;
mod exceptions;
mod gc;
mod harness;
mod random;
