//! The same graph under stress: a collection at every allocation and poll, freed memory poisoned, heap verified.
#![cfg(not(loom))]
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

mod support;

use corten_gc_hooks::{HandleKind, Heap, ObjPtr, PreemptiveGuard, StressMode, ThreadRegistry, syncblock};
use support::*;

#[test]
fn threads_share_work_under_random_stress() {
    let _serial = serial();
    let heap = test_heap();
    corten_gc_hooks::stress::configure(StressMode::Random(2026));
    let mut thread = attach(1);
    const THREADS: u64 = 3;
    // A shared array of lists behind one lock; every thread appends its own numbers.
    let array = thread.array(types().refs, 64);
    let shared = heap.handles().alloc(HandleKind::Strong, array) as usize;
    let workers: Vec<_> = (0..THREADS)
        .map(|worker| {
            std::thread::spawn(move || {
                let array = || unsafe { *(shared as *const ObjPtr) };
                let mut thread = attach(1);
                let mut random = Random(worker + 1);
                let mut weak = Vec::new();
                for i in 0..1500u64 {
                    let at = 16 + random.below(64) * 8;
                    thread.slots[0] = thread.node(worker << 32 | i);
                    if i % 10 == 0 {
                        let handle = Heap::get().handles().alloc(HandleKind::WeakShort, thread.slots[0]);
                        weak.push((handle as usize, worker << 32 | i));
                    }
                    unsafe {
                        assert_eq!(syncblock::enter(&thread.header, array(), None), Ok(true));
                        set_field(thread.slots[0], 8, field(array(), at));
                        let bytes = thread.array(types().bytes, random.below(50));
                        set_field(thread.slots[0], 16, bytes);
                        set_field(array(), at, thread.slots[0]);
                        syncblock::exit(&thread.header, array()).unwrap();
                    }
                    ThreadRegistry::get().poll(&thread.header);
                }
                for (handle, value) in weak {
                    unsafe {
                        assert_eq!(
                            value_of(*(handle as *const ObjPtr)),
                            value,
                            "the object is still in a list"
                        );
                        Heap::get().handles().free(handle as *mut ObjPtr);
                    }
                }
                detach(thread);
            })
        })
        .collect();
    {
        let _outside = PreemptiveGuard::new(&thread.header);
        for worker in workers {
            worker.join().unwrap();
        }
    }
    let mut next = [1500u64; THREADS as usize];
    let mut counts = [0u64; THREADS as usize];
    for i in 0..64 {
        let mut node = field(unsafe { *(shared as *const ObjPtr) }, 16 + i * 8);
        next.fill(1500);
        while !node.is_null() {
            let (worker, number) = ((value_of(node) >> 32) as usize, value_of(node) & 0xFFFF_FFFF);
            assert!(number < next[worker], "each thread's numbers fall along a list");
            next[worker] = number;
            counts[worker] += 1;
            node = field(node, 8);
        }
    }
    assert_eq!(counts, [1500; THREADS as usize]);
    unsafe { heap.handles().free(shared as *mut ObjPtr) };
    corten_gc_hooks::stress::configure(StressMode::Off);
    thread.collect(2);
    assert!(heap.stats().to_string().contains("collections"));
    detach(thread);
}

#[test]
fn a_tree_is_built_under_every_stress_mode() {
    let _serial = serial();
    let heap = test_heap();
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
                ThreadRegistry::get().poll(&thread.header);
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
