//! The same graph under stress: a collection at every allocation and poll, freed memory poisoned, heap verified.
#![cfg(not(loom))]
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

mod support;

use corten_gc_hooks::{Heap, HeapConfig, StressMode, ThreadRegistry};
use support::*;

#[test]
fn a_tree_is_built_under_every_stress_mode() {
    let heap = heap_with(HeapConfig {
        nursery_size: 256 << 10,
        hard_limit: 0,
        stress: StressMode::EverySafepoint,
        verify: true,
    });
    for (mode, count) in [
        (StressMode::EverySafepoint, 300),
        (StressMode::EveryAllocation, 400),
        (StressMode::EveryNth(7), 3000),
    ] {
        corten_gc_hooks::stress::configure(mode);
        let mut thread = attach(2);
        let before = heap.stats().collections();
        let mut random = Random(42);
        thread.slots[0] = thread.array(types().refs, 256);
        for i in 0..count {
            let at = 16 + random.below(256) * 8;
            thread.slots[1] = thread.node(i);
            let bytes = thread.array(types().bytes, random.below(100));
            set_field(thread.slots[1], 16, bytes);
            set_field(thread.slots[1], 8, field(thread.slots[0], at));
            set_field(thread.slots[0], at, thread.slots[1]);
            if i % 3 == 0 {
                ThreadRegistry::get().poll(&mut thread.header);
            }
        }
        let expected = match mode {
            StressMode::EveryNth(n) => count * 2 / u64::from(n),
            StressMode::EverySafepoint => count * 2 + count / 3,
            _ => count * 2,
        };
        assert!(heap.stats().collections() - before >= expected);
        let mut seen = vec![false; count as usize];
        for i in 0..256 {
            let mut node = field(thread.slots[0], 16 + i * 8);
            let mut last = u64::MAX;
            while !node.is_null() {
                assert!(value_of(node) < last);
                last = value_of(node);
                assert!(!std::mem::replace(&mut seen[last as usize], true));
                node = field(node, 8);
            }
        }
        assert!(seen.iter().all(|&seen| seen));
        detach(thread);
    }
    corten_gc_hooks::stress::configure(StressMode::Off);
    assert!(Heap::get().stats().pauses().count > 0);
}
