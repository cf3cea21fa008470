//! Concurrent markings that a pause has to end before the marker is done, because memory is limited.
#![cfg(not(loom))]
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

mod support;

use std::ptr;
use std::time::Duration;

use corten_gc_hooks::stats::CollectionKind;
use corten_gc_hooks::{HeapConfig, PreemptiveGuard, StressMode};
use support::*;

const LIMIT: usize = 64 << 20;
const NODES: usize = 300_000;
/// One in so many stays alive.
const EVERY: usize = 5;
/// Value of a node in front of another one.
const HIDES: u64 = u64::MAX;

/// An array of nodes in blocks that are mostly empty, so that they are evacuated.
fn sparse(thread: &mut TestThread) {
    thread.slots[0] = thread.array(types().refs, NODES);
    for n in 0..NODES {
        let node = thread.node(n as u64);
        set_field(thread.slots[0], 16 + n * 8, node);
    }
    thread.collect(0);
    for n in (0..NODES).filter(|n| n % EVERY != 0) {
        set_field(thread.slots[0], 16 + n * 8, ptr::null_mut());
    }
    thread.collect(2);
}

/// Puts new nodes in front of some: a minor collection copies them, and what they refer to is evacuated.
fn hide(thread: &mut TestThread) {
    for n in (0..NODES).step_by(100 * EVERY) {
        let node = thread.node(HIDES);
        set_field(node, 16, field(thread.slots[0], 16 + n * 8));
        set_field(thread.slots[0], 16 + n * 8, node);
    }
}

fn check(thread: &TestThread) {
    for n in (0..NODES).step_by(EVERY) {
        let mut node = field(thread.slots[0], 16 + n * 8);
        if value_of(node) == HIDES {
            node = field(node, 16);
        }
        assert_eq!(value_of(node), n as u64);
    }
}

/// The marker has come upon objects of blocks that the pause evacuates, and has not scanned all of them.
#[test]
fn what_the_marker_has_not_scanned_may_be_evacuated() {
    // The verifier makes the marker hesitate and chooses all sparse blocks.
    let heap = heap_with(HeapConfig {
        nursery_size: 1 << 20,
        hard_limit: LIMIT,
        stress: StressMode::Off,
        verify: true,
        concurrent: true,
    });
    let mut thread = attach(2);
    let mut evacuated = 0;
    for round in 0..10 {
        sparse(&mut thread);
        // The heap grows up to the limit: the next collection ends the cycle, whatever the marker is at.
        let used = heap.stats().last_collection(None).bytes_after;
        thread.slots[1] = thread.array(types().bytes, LIMIT - used - (512 << 10));
        let finished = heap.stats().concurrent_collections().0;
        heap.collect_concurrently(&thread.header);
        {
            let _outside = PreemptiveGuard::new(&thread.header);
            std::thread::sleep(Duration::from_micros(round * 1000));
        }
        hide(&mut thread);
        // It may pass by a marker in the middle of a step.
        let first = heap.stats().collection_count(0);
        while heap.stats().concurrent_collections().0 == finished {
            thread.collect(0);
            assert!(
                heap.stats().collection_count(0) < first + 100,
                "the cycle is not cut short"
            );
        }
        evacuated += usize::from(heap.stats().last_collection(Some(CollectionKind::Concurrent)).compacted);
        check(&thread);
        thread.slots.fill(ptr::null_mut());
    }
    assert!(evacuated > 0, "nothing was evacuated");
    detach(thread);
}
