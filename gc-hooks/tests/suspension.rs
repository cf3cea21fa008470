//! Threads that are suspended at random moments while they allocate, link and walk lists.
#![cfg(not(loom))]
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

mod support;

use corten_gc_hooks::{Heap, HeapConfig, StressMode, ThreadRegistry};
use support::*;

#[test]
fn suspended_threads_keep_their_objects() {
    let heap = heap_with(HeapConfig {
        nursery_size: 256 << 10,
        hard_limit: 0,
        stress: StressMode::Suspend(11),
        verify: false,
        concurrent: true,
    });
    let workers: Vec<_> = (0..3u64)
        .map(|worker| {
            std::thread::spawn(move || {
                let mut thread = attach(4);
                let mut round = 0;
                // Until the world has been stopped for many collections.
                while Heap::get().stats().collections() < 60 {
                    let slot = round % 4;
                    round += 1;
                    thread.slots[slot] = std::ptr::null_mut();
                    for i in 0..500 {
                        let node = thread.node(worker << 32 | i);
                        set_field(node, 8, thread.slots[slot]);
                        thread.slots[slot] = node;
                        ThreadRegistry::get().poll(&thread.header);
                    }
                    for slot in 0..4 {
                        let (mut node, mut left) = (thread.slots[slot], 500);
                        while !node.is_null() {
                            left -= 1;
                            assert_eq!(value_of(node), worker << 32 | left);
                            node = field(node, 8);
                        }
                        assert!(left == 0 || left == 500);
                    }
                }
                detach(thread);
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    assert!(heap.stats().collections() >= 60);
}
