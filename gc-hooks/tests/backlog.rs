//! Threads that make objects with finalizers faster than the finalizer thread gets rid of them are slowed down.
#![cfg(not(loom))]
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corten_gc_hooks::Heap;
use corten_gc_hooks::safepoint::{PreemptiveGuard, ThreadRegistry};
use corten_gc_hooks::thread::ThreadHeader;
use support::*;

/// Makes `count` objects with finalizers and drops them; returns the most that waited for their finalizers at any time.
fn make(count: usize) -> usize {
    let thread = attach(0);
    let heap = Heap::get();
    let mut most = 0;
    for i in 0..count {
        heap.alloc_object(&thread.header, types().finalizable).unwrap();
        if i % 1000 == 0 {
            most = most.max(heap.finalizers().pending_count());
        }
    }
    detach(thread);
    most
}

/// Runs as the finalizer thread until told to end; each object takes as long as `finalize`.
fn finalizer(ends: &AtomicBool, finalize: impl Fn(&ThreadHeader)) {
    let thread = attach(0);
    let queue = Heap::get().finalizers();
    while !ends.load(Ordering::SeqCst) {
        {
            let _preemptive = PreemptiveGuard::new(&thread.header);
            queue.wait_for_work(Some(Duration::from_millis(1)));
        }
        while queue.next_finalizable().is_some() {
            finalize(&thread.header);
            ThreadRegistry::get().poll(&thread.header);
        }
        queue.work_done();
    }
    detach(thread);
}

#[test]
fn producers_wait_for_a_slow_finalizer_but_not_for_one_that_is_stuck() {
    let _serial = serial();
    let ends = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        scope.spawn(|| {
            finalizer(&ends, |_| {
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_micros(5) {}
            })
        });
        let most = make(400_000);
        ends.store(true, Ordering::SeqCst);
        most
    });
    assert!(most > 0, "the finalizer thread was behind");
    assert!(most < 150_000, "{most} objects waited");

    // A finalizer that waits for the very thread that makes objects.
    let (ends, begun) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            finalizer(&ends, |thread| {
                if begun.fetch_add(1, Ordering::SeqCst) == 0 {
                    while !ends.load(Ordering::SeqCst) {
                        std::thread::yield_now();
                        ThreadRegistry::get().poll(thread);
                    }
                }
            })
        });
        let most = make(100_000);
        assert!(most > 90_000, "{most} objects waited");
        ends.store(true, Ordering::SeqCst);
    });
}
