//! The hard limit: out of memory is an error that can be survived.
#![cfg(not(loom))]
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

mod support;

use corten_gc_hooks::{AllocFlags, Heap, HeapConfig, OutOfMemory, StressMode};
use support::*;

#[test]
fn the_hard_limit_is_kept_and_memory_comes_back() {
    let limit = 64 << 20;
    let heap = heap_with(HeapConfig {
        nursery_size: 0,
        hard_limit: limit,
        stress: StressMode::Off,
        verify: false,
        concurrent: true,
    });
    let mut thread = attach(1);
    for round in 0..3 {
        // Small objects.
        let mut count = 0u64;
        let error = loop {
            match heap.alloc_object(&thread.header, types().node) {
                Ok(node) => {
                    set_field(node, 8, thread.slots[0]);
                    thread.slots[0] = node;
                    count += 1;
                }
                Err(error) => break error,
            }
        };
        assert_eq!(error, OutOfMemory { requested: 40 });
        assert!(
            count > 600_000,
            "round {round}: only {count} objects of 40 bytes in {limit}"
        );
        assert!(heap.committed_bytes() < limit + limit / 4);
        // After the error the program can still do a little.
        thread.node(1);
        thread.slots[0] = std::ptr::null_mut();
        // Large ones, and all is given back.
        let mut count = 0;
        loop {
            thread.slots.push(std::ptr::null_mut());
            match heap.alloc_array(&thread.header, types().bytes, 1 << 20, AllocFlags::empty()) {
                Ok(array) => *thread.slots.last_mut().unwrap() = array,
                Err(_) => break,
            }
            count += 1;
        }
        assert!((40..64).contains(&count), "round {round}: {count} MB of large objects");
        thread.slots.truncate(1);
        assert!(
            heap.alloc_array(&thread.header, types().bytes, limit, AllocFlags::empty())
                .is_err()
        );
        assert!(
            heap.alloc_array(&thread.header, types().refs, 0x7FFF_FFFF, AllocFlags::empty())
                .is_err()
        );
    }
    thread.collect(2);
    assert!(
        Heap::get().committed_bytes() < limit / 2,
        "{} bytes stay committed",
        heap.committed_bytes()
    );
    detach(thread);
}
