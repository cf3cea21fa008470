//! Concurrent marking against threads that move references about. The heap verifier runs before and after every collection: an
//! object that the marker lost is found at the end of the cycle.
#![cfg(not(loom))]
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

mod support;

use std::ptr;

use corten_gc_hooks::{AllocFlags, HandleKind, Heap, ObjPtr, ThreadRegistry};
use support::*;

/// Collects young objects until the cycle that is under way is over.
fn finish_cycle(thread: &mut TestThread) {
    let before = Heap::get().stats().concurrent_collections().0;
    for _ in 0..10_000 {
        thread.collect(0);
        if Heap::get().stats().concurrent_collections().0 != before {
            return;
        }
        let _outside = corten_gc_hooks::PreemptiveGuard::new(&thread.header);
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
    panic!("the marker does not come to an end");
}

const SLOTS: usize = 20_000;
const CHAIN: u64 = 4;

/// A large array of chains of nodes; the values of a chain are `start..start + CHAIN`.
fn chains(thread: &mut TestThread, root: usize) {
    thread.slots[root] = thread.array(types().refs, SLOTS);
    for i in 0..SLOTS {
        for n in (0..CHAIN).rev() {
            let node = thread.node(i as u64 * CHAIN + n);
            set_field(node, 8, field(thread.slots[root], 16 + i * 8));
            set_field(thread.slots[root], 16 + i * 8, node);
        }
    }
}

/// Every chain is still whole; adds their values up.
fn sum(array: ObjPtr) -> u64 {
    let mut sum = 0;
    for i in 0..SLOTS {
        let mut node = field(array, 16 + i * 8);
        let first = if node.is_null() { 0 } else { value_of(node) };
        let mut count = 0;
        while !node.is_null() {
            assert_eq!(value_of(node), first + count);
            sum += value_of(node);
            count += 1;
            node = field(node, 8);
        }
        assert!(count == 0 || count == CHAIN, "a chain of {count}");
    }
    sum
}

#[test]
fn references_that_move_while_marking_are_not_lost() {
    let _serial = serial();
    let threads: Vec<_> = (0..3u64)
        .map(|number| {
            std::thread::spawn(move || {
                let mut thread = attach(4);
                let mut random = Random(number * 7919 + 3);
                chains(&mut thread, 0);
                thread.collect(0);
                let expected = sum(thread.slots[0]);
                let rounds = if cfg!(debug_assertions) { 40 } else { 200 };
                for round in 0..rounds {
                    if random.below(4) == 0 {
                        Heap::get().collect_concurrently(&thread.header);
                    } else if random.below(30) == 0 {
                        thread.collect(2);
                    }
                    // Two chains change places by way of a register, a root and a fresh object; for a moment one of them is
                    // nowhere in the old space.
                    for _ in 0..20_000 {
                        let (a, b) = (16 + random.below(SLOTS) * 8, 16 + random.below(SLOTS) * 8);
                        let array = thread.slots[0];
                        let (x, y) = (field(array, a), field(array, b));
                        match random.below(3) {
                            0 => {
                                set_field(array, a, ptr::null_mut());
                                set_field(array, b, x);
                                set_field(array, a, y);
                            }
                            1 => {
                                thread.slots[1] = x;
                                set_field(array, a, y);
                                ThreadRegistry::get().poll(&thread.header);
                                let array = thread.slots[0];
                                set_field(array, b, thread.slots[1]);
                                thread.slots[1] = ptr::null_mut();
                            }
                            _ => {
                                let keeper = thread.node(0);
                                let array = thread.slots[0];
                                set_field(keeper, 8, field(array, a));
                                set_field(array, a, field(array, b));
                                set_field(array, b, field(keeper, 8));
                            }
                        }
                    }
                    // A chain is replaced by a new one.
                    let slot = random.below(SLOTS);
                    let first = field(thread.slots[0], 16 + slot * 8);
                    let start = value_of(first);
                    thread.slots[2] = ptr::null_mut();
                    for n in (0..CHAIN).rev() {
                        let node = thread.node(start + n);
                        set_field(node, 8, thread.slots[2]);
                        thread.slots[2] = node;
                    }
                    set_field(thread.slots[0], 16 + slot * 8, thread.slots[2]);
                    if round % 20 == 0 {
                        assert_eq!(sum(thread.slots[0]), expected);
                    }
                }
                assert_eq!(sum(thread.slots[0]), expected);
                detach(thread);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let (finished, abandoned) = Heap::get().stats().concurrent_collections();
    assert!(finished > 0, "no cycle came to its end ({abandoned} given up)");
}

#[test]
fn a_cycle_frees_what_was_dead_when_it_started() {
    let _serial = serial();
    let mut thread = attach(2);
    chains(&mut thread, 0);
    chains(&mut thread, 1);
    thread.collect(2);
    let used = Heap::get().total_memory();
    thread.slots[1] = ptr::null_mut();
    let full = Heap::get().stats().collection_count(2);
    Heap::get().collect_concurrently(&thread.header);
    finish_cycle(&mut thread);
    assert_eq!(Heap::get().stats().collection_count(2), full + 1);
    let left = Heap::get().total_memory();
    assert!(left < used / 4 * 3, "{used} bytes before, {left} after");
    sum(thread.slots[0]);
    detach(thread);
}

#[test]
fn a_full_collection_gives_a_cycle_up() {
    let _serial = serial();
    let mut thread = attach(2);
    chains(&mut thread, 0);
    chains(&mut thread, 1);
    thread.collect(0);
    let expected = sum(thread.slots[0]);
    Heap::get().collect_concurrently(&thread.header);
    thread.slots[1] = ptr::null_mut();
    let used = Heap::get().total_memory();
    thread.collect(2);
    assert!(
        Heap::get().total_memory() < used,
        "garbage made during the cycle is collected"
    );
    assert_eq!(sum(thread.slots[0]), expected);
    detach(thread);
}

#[test]
fn what_is_allocated_while_marking_survives() {
    let _serial = serial();
    let mut thread = attach(4);
    chains(&mut thread, 0);
    let weak = Heap::get().handles().alloc(HandleKind::WeakShort, ptr::null_mut());
    for round in 0..20u64 {
        thread.collect(0);
        let old = field(thread.slots[0], 16);
        Heap::get().collect_concurrently(&thread.header);
        // A large array, a pinned one and a small one, made while marking runs; only they refer to the first chain then.
        let old = if round == 0 { old } else { field(thread.slots[0], 16) };
        thread.slots[3] = old;
        set_field(thread.slots[0], 16, ptr::null_mut());
        thread.slots[1] = thread.array(types().refs, 5000);
        set_field(thread.slots[1], 16 + 4999 * 8, thread.slots[3]);
        thread.slots[2] = Heap::get()
            .alloc_array(&thread.header, types().refs, 3, AllocFlags::PINNED)
            .unwrap();
        set_field(thread.slots[2], 16, field(thread.slots[1], 16 + 4999 * 8));
        thread.slots[3] = ptr::null_mut();
        if round % 2 == 0 {
            thread.slots[1] = ptr::null_mut();
        } else {
            thread.slots[2] = ptr::null_mut();
        }
        unsafe {
            *weak = if round % 2 == 0 {
                thread.slots[2]
            } else {
                thread.slots[1]
            }
        };
        finish_cycle(&mut thread);
        let holder = unsafe { *weak };
        assert!(!holder.is_null());
        let chain = field(holder, if round % 2 == 0 { 16 } else { 16 + 4999 * 8 });
        let (mut node, mut count) = (chain, 0);
        while !node.is_null() {
            assert_eq!(value_of(node), count);
            count += 1;
            node = field(node, 8);
        }
        assert_eq!(count, CHAIN);
        set_field(thread.slots[0], 16, chain);
        thread.slots[1] = ptr::null_mut();
        thread.slots[2] = ptr::null_mut();
    }
    unsafe { Heap::get().handles().free(weak) };
    detach(thread);
}

#[test]
fn large_objects_that_die_while_the_marker_looks_at_them_do_no_harm() {
    let _serial = serial();
    let mut thread = attach(2);
    let mut random = Random(11);
    chains(&mut thread, 0);
    thread.slots[1] = thread.array(types().refs, SLOTS);
    thread.collect(0);
    let expected = sum(thread.slots[0]);
    for _ in 0..if cfg!(debug_assertions) { 40 } else { 300 } {
        Heap::get().collect_concurrently(&thread.header);
        for _ in 0..20 {
            // Old fields refer to large young objects for a moment; most of them are gone at the next collection, and their memory
            // is used for others of other sizes.
            for _ in 0..8 {
                let large = thread.array(types().refs, 2100 + random.below(9) * 500);
                set_field(large, 16, field(thread.slots[0], 16 + random.below(SLOTS) * 8));
                for _ in 0..SLOTS / 8 {
                    set_field(thread.slots[1], 16 + random.below(SLOTS) * 8, large);
                }
            }
            for i in 0..SLOTS {
                set_field(thread.slots[1], 16 + i * 8, ptr::null_mut());
            }
            thread.collect(0);
        }
    }
    assert_eq!(sum(thread.slots[0]), expected);
    detach(thread);
}

#[test]
fn a_cycle_ends_although_nobody_allocates() {
    let _serial = serial();
    let mut thread = attach(1);
    chains(&mut thread, 0);
    thread.collect(2);
    let before = Heap::get().stats().concurrent_collections().0;
    Heap::get().collect_concurrently(&thread.header);
    {
        let _outside = corten_gc_hooks::PreemptiveGuard::new(&thread.header);
        let since = std::time::Instant::now();
        while Heap::get().stats().concurrent_collections().0 == before {
            assert!(since.elapsed().as_secs() < 60, "the cycle does not end");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    sum(thread.slots[0]);
    detach(thread);
}
