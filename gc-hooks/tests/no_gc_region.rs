//! Regions without collections.
#![cfg(not(loom))]
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

mod support;

use corten_gc_hooks::Heap;
use std::sync::atomic::{AtomicI32, Ordering};

use corten_gc_hooks::no_gc_region::{NoGcEnd, NoGcStart, NoGcWatch, NoGcWatcher};
use support::*;

#[test]
fn a_region_keeps_its_promise_and_ends() {
    test_heap();
    let heap = Heap::get();
    let mut thread = attach(1);
    assert_eq!(heap.end_no_gc_region(), NoGcEnd::NotInProgress);
    assert_eq!(
        heap.start_no_gc_region(&thread.header, 10 << 20, None),
        NoGcStart::Started
    );
    assert!(heap.in_no_gc_region());
    let before = heap.stats().collections();
    for i in 0..(9 << 20) / 40 {
        thread.node(i);
    }
    assert_eq!(heap.stats().collections(), before);
    assert_eq!(heap.end_no_gc_region(), NoGcEnd::Kept);
    assert!(!heap.in_no_gc_region());

    assert_eq!(
        heap.start_no_gc_region(&thread.header, 1 << 20, None),
        NoGcStart::Started
    );
    for i in 0..(8 << 20) / 40 {
        thread.node(i);
    }
    assert!(!heap.in_no_gc_region(), "eight times the promise was allocated");
    assert_eq!(heap.end_no_gc_region(), NoGcEnd::NotInProgress);

    assert_eq!(
        heap.start_no_gc_region(&thread.header, 1 << 20, None),
        NoGcStart::Started
    );
    thread.collect(0);
    assert_eq!(heap.end_no_gc_region(), NoGcEnd::NotInProgress);

    static TOLD: AtomicI32 = AtomicI32::new(0);
    let watcher = || -> NoGcWatcher { Box::new(|reached| TOLD.store(if reached { 1 } else { -1 }, Ordering::Relaxed)) };
    assert_eq!(heap.watch_no_gc_region(1000, watcher()), NoGcWatch::NotInProgress);
    assert_eq!(
        heap.start_no_gc_region(&thread.header, 4 << 20, None),
        NoGcStart::Started
    );
    assert_eq!(heap.watch_no_gc_region(5 << 20, watcher()), NoGcWatch::TooMuch);
    assert_eq!(heap.watch_no_gc_region(2 << 20, watcher()), NoGcWatch::Watching);
    assert_eq!(heap.watch_no_gc_region(2 << 20, watcher()), NoGcWatch::Watched);
    for i in 0..(1 << 20) / 40 {
        thread.node(i);
    }
    assert_eq!(TOLD.load(Ordering::Relaxed), 0);
    for i in 0..(2 << 20) / 40 {
        thread.node(i);
    }
    assert_eq!(TOLD.load(Ordering::Relaxed), 1);
    assert_eq!(heap.end_no_gc_region(), NoGcEnd::Kept);
    assert_eq!(
        heap.start_no_gc_region(&thread.header, 4 << 20, None),
        NoGcStart::Started
    );
    assert_eq!(heap.watch_no_gc_region(2 << 20, watcher()), NoGcWatch::Watching);
    thread.collect(0);
    assert_eq!(TOLD.load(Ordering::Relaxed), -1);

    assert_eq!(
        heap.start_no_gc_region(&thread.header, 1 << 40, None),
        NoGcStart::NotEnoughMemory
    );
    assert_eq!(
        heap.start_no_gc_region(&thread.header, 1 << 20, None),
        NoGcStart::Started
    );
    assert_eq!(
        heap.start_no_gc_region(&thread.header, 1 << 20, None),
        NoGcStart::InProgress
    );
    detach(thread);
}
