//! Regions without collections.
#![cfg(not(loom))]
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

mod support;

use corten_gc_hooks::Heap;
use corten_gc_hooks::no_gc_region::{NoGcEnd, NoGcStart};
use support::*;

#[test]
fn a_region_keeps_its_promise_and_ends() {
    test_heap();
    let heap = Heap::get();
    let mut thread = attach(1);
    assert_eq!(heap.end_no_gc_region(), NoGcEnd::NotInProgress);
    assert_eq!(
        heap.start_no_gc_region(&mut thread.header, 10 << 20, None),
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
        heap.start_no_gc_region(&mut thread.header, 1 << 20, None),
        NoGcStart::Started
    );
    for i in 0..(8 << 20) / 40 {
        thread.node(i);
    }
    assert!(!heap.in_no_gc_region(), "eight times the promise was allocated");
    assert_eq!(heap.end_no_gc_region(), NoGcEnd::Exceeded);

    assert_eq!(
        heap.start_no_gc_region(&mut thread.header, 1 << 20, None),
        NoGcStart::Started
    );
    thread.collect(0);
    assert_eq!(heap.end_no_gc_region(), NoGcEnd::Induced);

    assert_eq!(
        heap.start_no_gc_region(&mut thread.header, 1 << 40, None),
        NoGcStart::NotEnoughMemory
    );
    assert_eq!(
        heap.start_no_gc_region(&mut thread.header, 1 << 20, None),
        NoGcStart::Started
    );
    assert_eq!(
        heap.start_no_gc_region(&mut thread.header, 1 << 20, None),
        NoGcStart::InProgress
    );
    detach(thread);
}
