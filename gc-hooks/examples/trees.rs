//! Builds and drops binary trees on the managed heap and prints what the collector did.
//!
//! `cargo run --release -p corten-gc-hooks --example trees [depth]`
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use corten_gc_hooks::{Heap, HeapConfig};
use support::*;

fn build(thread: &mut TestThread, depth: u32, slot: usize) {
    thread.slots[slot] = thread.node(1);
    if depth == 0 {
        return;
    }
    for offset in [8, 16] {
        build(thread, depth - 1, slot + 1);
        set_field(thread.slots[slot], offset, thread.slots[slot + 1]);
    }
    thread.slots[slot + 1] = std::ptr::null_mut();
}

fn count(node: corten_gc_hooks::ObjPtr) -> u64 {
    if node.is_null() {
        0
    } else {
        1 + count(field(node, 8)) + count(field(node, 16))
    }
}

fn main() {
    let depth: u32 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(18);
    let heap = heap_with(HeapConfig::from_environment());
    let mut thread = attach(64);
    let started = Instant::now();
    build(&mut thread, depth, 0);
    let long_lived = count(thread.slots[0]);
    for d in (4..=depth).step_by(4) {
        let rounds = 1u64 << (depth - d + 4);
        let mut total = 0;
        for _ in 0..rounds {
            build(&mut thread, d, 1);
            total += count(thread.slots[1]);
        }
        println!("{rounds} trees of depth {d}: {total} nodes");
    }
    thread.slots[1] = std::ptr::null_mut();
    println!(
        "long lived: {} of {long_lived} nodes, {:?}",
        count(thread.slots[0]),
        started.elapsed()
    );
    for _ in 0..3 {
        let now = Instant::now();
        thread.collect(2);
        println!(
            "full collection: {:?}, {} MB in use",
            now.elapsed(),
            Heap::get().total_memory() >> 20
        );
    }
    let stats = heap.stats();
    println!(
        "collections: {} (full {}), promoted {} MB, allocated {} MB",
        stats.collections(),
        stats.collection_count(2),
        stats.promoted_bytes() >> 20,
        heap.total_allocated(Some(&thread.header)) >> 20,
    );
    println!("pauses (us): {:?}", stats.pauses());
    detach(thread);
}
