//! Collector tests with a mock runtime; the heap verifier runs before and after every collection.
#![cfg(not(loom))]
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::ptr;

use corten_gc_hooks::object::{array_length, size_of_object};
use corten_gc_hooks::{AllocFlags, HandleKind, HandleScope, Heap, ObjPtr, ThreadRegistry};
use support::*;

#[test]
fn a_list_survives_and_garbage_goes() {
    let _serial = serial();
    let mut thread = attach(2);
    for i in 0..5000 {
        let node = thread.node(i);
        set_field(node, 8, thread.slots[0]);
        thread.slots[0] = node;
        thread.node(u64::MAX);
    }
    let before = Heap::get().stats().collections();
    thread.collect(0);
    thread.collect(2);
    assert_eq!(Heap::get().stats().collections(), before + 2);
    let mut node = thread.slots[0];
    for i in (0..5000).rev() {
        assert_eq!(value_of(node), i);
        node = field(node, 8);
    }
    assert!(node.is_null());
    thread.slots[0] = ptr::null_mut();
    thread.collect(2);
    let mut count = 0;
    Heap::get().for_each_object(Some(&thread.header), |_, _| count += 1);
    assert!(count < 100, "{count} objects are left");
    detach(thread);
}

#[test]
fn old_to_young_references_are_found_through_cards() {
    let _serial = serial();
    let mut thread = attach(2);
    let refs = types().refs;
    thread.slots[0] = thread.array(refs, 100);
    thread.slots[1] = thread.array(refs, 20_000);
    thread.collect(0);
    for round in 0..50u64 {
        for i in 0..100 {
            let node = thread.node(round * 1000 + i);
            set_field(thread.slots[0], 16 + i as usize * 8, node);
            let node = thread.node(round * 1000 + i);
            set_field(thread.slots[1], 16 + (i as usize * 197) * 8, node);
        }
        thread.collect(if round % 7 == 0 { 2 } else { 0 });
        for i in 0..100 {
            assert_eq!(value_of(field(thread.slots[0], 16 + i as usize * 8)), round * 1000 + i);
            assert_eq!(
                value_of(field(thread.slots[1], 16 + (i as usize * 197) * 8)),
                round * 1000 + i
            );
        }
    }
    detach(thread);
}

#[test]
fn struct_arrays_are_scanned_at_the_right_offsets() {
    let _serial = serial();
    let mut thread = attach(1);
    for length in [1, 7, 100, 3000] {
        thread.slots[0] = thread.array(types().structs, length);
        for round in 0..3 {
            for i in 0..length {
                for (n, offset) in [8, 16, 32].into_iter().enumerate() {
                    let node = thread.node((i * 3 + n + round) as u64);
                    set_field(thread.slots[0], 16 + i * 40 + offset, node);
                    unsafe { *thread.slots[0].byte_add(16 + i * 40).cast::<u64>() = 0x5555_5555_5555_5555 };
                }
            }
            thread.collect(if round == 1 { 2 } else { 0 });
            for i in 0..length {
                for (n, offset) in [8, 16, 32].into_iter().enumerate() {
                    assert_eq!(
                        value_of(field(thread.slots[0], 16 + i * 40 + offset)),
                        (i * 3 + n + round) as u64
                    );
                }
            }
        }
    }
    detach(thread);
}

#[test]
fn byrefs_follow_their_object() {
    let _serial = serial();
    let mut thread = attach(0);
    let bytes = types().bytes;
    for length in [0usize, 1, 8, 13, 1000, 40_000] {
        for _ in 0..3 {
            thread.node(1);
        }
        let array = thread.array(bytes, length);
        for i in 0..length {
            unsafe { *array.cast::<u8>().add(16 + i) = i as u8 };
        }
        // In the middle and one past the end.
        thread.byrefs = vec![
            unsafe { array.cast::<u8>().add(16 + length / 2) },
            unsafe { array.cast::<u8>().add(16 + length) },
            ptr::null_mut(),
            &raw mut *Box::leak(Box::new(0u8)),
        ];
        let outside = thread.byrefs[3];
        for generation in [0, 2, 2, 0] {
            thread.collect(generation);
            let start = unsafe { thread.byrefs[0].sub(16 + length / 2) }.cast();
            assert_eq!(unsafe { array_length(start) }, length);
            for i in 0..length {
                assert_eq!(unsafe { *start.cast::<u8>().add(16 + i) }, i as u8);
            }
            assert_eq!(
                thread.byrefs[1] as usize - thread.byrefs[0] as usize,
                length - length / 2
            );
            assert!(thread.byrefs[2].is_null());
            assert_eq!(thread.byrefs[3], outside);
        }
    }
    detach(thread);
}

#[test]
fn pinned_objects_stay_and_their_fields_are_updated() {
    let _serial = serial();
    let mut thread = attach(1);
    let mut pinned = Vec::new();
    for i in 0..200 {
        let node = thread.node(i);
        thread.slots[0] = node;
        let child = thread.node(i + 1000);
        let node = thread.slots[0];
        set_field(node, 16, child);
        if i % 2 == 0 {
            pinned.push((node, Some(Heap::get().handles().alloc(HandleKind::Pinned, node))));
        } else {
            thread.conservative.push(node as usize + 20);
            pinned.push((node, None));
        }
        if i % 50 == 49 {
            thread.collect(if i % 100 == 99 { 2 } else { 0 });
        }
    }
    thread.slots[0] = ptr::null_mut();
    for generation in [0, 2, 0, 0, 2] {
        thread.collect(generation);
        for (i, &(node, handle)) in pinned.iter().enumerate() {
            assert_eq!(value_of(node), i as u64);
            assert_eq!(value_of(field(node, 16)), i as u64 + 1000);
            if let Some(handle) = handle {
                assert_eq!(unsafe { *handle }, node);
            }
        }
        for _ in 0..10_000 {
            thread.node(7);
        }
    }
    // Old to retained young.
    thread.slots[0] = thread.array(types().refs, 500);
    thread.collect(0);
    set_field(thread.slots[0], 16 + 8 * 400, pinned[3].0);
    for generation in [0, 0, 2, 0] {
        thread.collect(generation);
        assert_eq!(field(thread.slots[0], 16 + 8 * 400), pinned[3].0);
    }
    thread.conservative.clear();
    for (_, handle) in pinned {
        if let Some(handle) = handle {
            unsafe { Heap::get().handles().free(handle) };
        }
    }
    thread.collect(0);
    assert_eq!(value_of(field(thread.slots[0], 16 + 8 * 400)), 3);
    detach(thread);
}

#[test]
fn handles_behave_as_their_kind() {
    let _serial = serial();
    let mut thread = attach(1);
    let table = Heap::get().handles();
    for generation in [0, 2] {
        // An empty nursery: no collection happens while raw references are held here.
        thread.collect(0);
        let dead = thread.node(1);
        let (short, long) = (
            table.alloc(HandleKind::WeakShort, dead),
            table.alloc(HandleKind::WeakLong, dead),
        );
        let kept = thread.node(2);
        let strong = table.alloc(HandleKind::Strong, kept);
        let weak_kept = table.alloc(HandleKind::WeakShort, kept);
        let finalizable = Heap::get().alloc_object(&thread.header, types().finalizable).unwrap();
        let short_fin = table.alloc(HandleKind::WeakShort, finalizable);
        let long_fin = table.alloc(HandleKind::WeakLong, finalizable);
        if generation == 2 {
            // Let them grow old first; only `kept` is held.
            let scope = HandleScope::new(&thread.header);
            let locals = [unsafe { *short }, unsafe { *short_fin }].map(|obj| scope.root(obj));
            Heap::get().collect(&thread.header, 0);
            assert!(!locals[0].is_null());
        }
        thread.collect(generation);
        unsafe {
            assert!((*short).is_null() && (*long).is_null());
            assert_eq!(value_of(*strong), 2);
            assert_eq!(*weak_kept, *strong);
            assert!((*short_fin).is_null());
            assert!(
                !(*long_fin).is_null(),
                "long weak handles survive until the object's memory goes"
            );
            assert_eq!(Heap::get().finalizers().next_finalizable(), Some(*long_fin));
            assert_eq!(Heap::get().finalizers().next_finalizable(), None);
            thread.collect(2);
            assert!((*long_fin).is_null());
            for handle in [short, long, strong, weak_kept, short_fin, long_fin] {
                table.free(handle);
            }
        }
    }
    detach(thread);
}

#[test]
fn dependent_handles_keep_chains_alive() {
    let _serial = serial();
    let mut thread = attach(1);
    let table = Heap::get().handles();
    for generation in [0, 2] {
        // An empty nursery: no collection happens while raw references are held here.
        thread.collect(0);
        // root -> d1 -> d2 -> d3, made in an order that needs several rounds.
        let nodes: Vec<ObjPtr> = (0..4).map(|i| thread.node(i)).collect();
        thread.slots[0] = nodes[0];
        let handles: Vec<_> = (0..3)
            .rev()
            .map(|i| table.alloc_dependent(nodes[i], nodes[i + 1]))
            .collect();
        let unreachable = thread.node(9);
        let lost = table.alloc_dependent(unreachable, nodes[1]);
        thread.collect(generation);
        unsafe {
            for (i, &handle) in handles.iter().rev().enumerate() {
                assert_eq!(value_of(*handle), i as u64);
                assert_eq!(value_of(table.secondary(handle)), i as u64 + 1);
            }
            assert!((*lost).is_null() && table.secondary(lost).is_null());
            thread.slots[0] = ptr::null_mut();
            thread.collect(2);
            for handle in handles {
                assert!((*handle).is_null() && table.secondary(handle).is_null());
                table.free(handle);
            }
            table.free(lost);
        }
    }
    detach(thread);
}

#[test]
fn an_object_without_fields_may_be_the_key_of_another_dependent_handle() {
    let _serial = serial();
    for generation in [0, 2] {
        let mut thread = attach(1);
        let table = Heap::get().handles();
        let key = thread.array(types().bytes, 5);
        let value = thread.node(7);
        // The handles are looked at in this order: the key of the first one becomes live with the second one.
        let first = table.alloc_dependent(key, value);
        thread.slots[0] = thread.node(1);
        let second = table.alloc_dependent(thread.slots[0], key);
        thread.collect(generation);
        unsafe {
            assert_eq!(table.secondary(second), table.get(first), "generation {generation}");
            assert!(!table.get(first).is_null());
            assert_eq!(value_of(table.secondary(first)), 7);
            assert_ne!(Heap::get().generation_of(table.secondary(first)), 0, "it was copied");
            table.free(first);
            table.free(second);
        }
        detach(thread);
    }
}

#[test]
fn finalizers_run_once_critical_last() {
    let _serial = serial();
    let mut thread = attach(1);
    let heap = Heap::get();
    let queue = heap.finalizers();
    for i in 0..10u64 {
        let mt = if i % 2 == 0 {
            types().critical
        } else {
            types().finalizable
        };
        let obj = heap.alloc_object(&thread.header, mt).unwrap();
        unsafe { *obj.byte_add(24).cast::<u64>() = i };
        if i == 5 {
            unsafe { queue.suppress(obj) };
        }
        if i == 7 {
            thread.slots[0] = obj;
        }
    }
    thread.collect(2);
    let mut order = Vec::new();
    let mut resurrected = ptr::null_mut();
    while let Some(obj) = queue.next_finalizable() {
        order.push(value_of(obj));
        if value_of(obj) == 3 {
            resurrected = obj;
        }
    }
    assert_eq!(order, [1, 3, 9, 0, 2, 4, 6, 8]);
    assert_eq!(value_of(thread.slots[0]), 7);
    unsafe { queue.reregister(resurrected) };
    thread.slots[0] = resurrected;
    thread.collect(2);
    // Number 7 died, number 3 is held.
    assert_eq!(queue.next_finalizable().map(value_of), Some(7));
    assert_eq!(queue.next_finalizable(), None);
    thread.slots[0] = ptr::null_mut();
    thread.collect(2);
    assert_eq!(queue.next_finalizable().map(value_of), Some(3));
    thread.collect(2);
    assert_eq!(queue.next_finalizable(), None);
    detach(thread);
}

#[test]
fn eager_finalizers_run_in_the_collection_that_finds_their_object_dead() {
    let _serial = serial();
    let mut thread = attach(2);
    let heap = Heap::get();
    let before = heap.handles().count(HandleKind::WeakShort);
    thread.slots[0] = thread.node(1);
    for i in 0..100 {
        let weak = heap.alloc_object(&thread.header, types().weak).unwrap();
        let handle = heap.handles().alloc(HandleKind::WeakShort, thread.slots[0]);
        unsafe { *weak.byte_add(8).cast::<usize>() = handle as usize };
        if i == 50 {
            thread.slots[1] = weak;
        }
        if i == 60 {
            // `GC.SuppressFinalize`: its handle is nobody's business.
            unsafe { heap.finalizers().suppress(weak) };
        }
    }
    assert_eq!(heap.handles().count(HandleKind::WeakShort), before + 100);
    thread.collect(0);
    assert_eq!(heap.handles().count(HandleKind::WeakShort), before + 2);
    assert_eq!(
        heap.finalizers().next_finalizable(),
        None,
        "nothing is left to the finalizer thread"
    );
    let handle = unsafe { *thread.slots[1].byte_add(8).cast::<*mut ObjPtr>() };
    assert_eq!(unsafe { *handle }, thread.slots[0]);
    thread.slots[1] = ptr::null_mut();
    thread.collect(2);
    assert_eq!(heap.handles().count(HandleKind::WeakShort), before + 1);
    detach(thread);
}

#[test]
fn finalizable_objects_that_were_pinned_in_the_nursery_are_followed() {
    let _serial = serial();
    let mut thread = attach(1);
    let queue = Heap::get().finalizers();
    let obj = Heap::get().alloc_object(&thread.header, types().finalizable).unwrap();
    unsafe { *obj.byte_add(24).cast::<u64>() = 77 };
    thread.slots[0] = obj;
    thread.conservative.push(obj as usize);
    thread.collect(0);
    assert_eq!(thread.slots[0], obj, "pinned");
    thread.conservative.clear();
    thread.collect(0);
    assert_ne!(thread.slots[0], obj, "moved");
    thread.collect(2);
    assert_eq!(queue.next_finalizable(), None, "it is alive");
    thread.slots[0] = ptr::null_mut();
    thread.collect(2);
    assert_eq!(queue.next_finalizable().map(value_of), Some(77));
    detach(thread);
}

#[test]
fn frozen_objects_and_statics_are_roots() {
    let _serial = serial();
    let mut thread = attach(0);
    let heap = Heap::get();
    let frozen = heap.alloc_frozen(types().node, 40).unwrap();
    let statics = Box::leak(vec![ptr::null_mut(); 10].into_boxed_slice());
    unsafe { heap.register_static_refs(statics.as_mut_ptr(), statics.len()) };
    let node = thread.node(5);
    set_field(frozen, 8, node);
    statics[3] = thread.node(6);
    for generation in [0, 2, 2] {
        thread.collect(generation);
        assert_eq!(value_of(field(frozen, 8)), 5);
        assert_eq!(value_of(statics[3]), 6);
    }
    assert_eq!(unsafe { heap.generation_of(frozen) }, i32::MAX);
    heap.unregister_static_refs(statics.as_mut_ptr());
    set_field(frozen, 8, ptr::null_mut());
    detach(thread);
}

#[test]
fn pinned_allocations_never_move() {
    let _serial = serial();
    let mut thread = attach(20);
    let heap = Heap::get();
    let mut addresses = Vec::new();
    for i in 0..20 {
        let length = [3, 100, 5000, 50_000][i % 4];
        let array = heap
            .alloc_array(&thread.header, types().bytes, length, AllocFlags::PINNED)
            .unwrap();
        assert!((0..length).all(|i| unsafe { *array.cast::<u8>().add(16 + i) } == 0));
        thread.slots[i] = array;
        addresses.push(array);
    }
    for generation in [0, 2, 2] {
        thread.collect(generation);
        assert_eq!(thread.slots, addresses);
    }
    detach(thread);
}

#[test]
fn generations_are_told_as_expected() {
    let _serial = serial();
    let mut thread = attach(1);
    let heap = Heap::get();
    thread.slots[0] = thread.node(1);
    unsafe {
        assert_eq!(heap.generation_of(thread.slots[0]), 0);
        thread.collect(2);
        assert_eq!(heap.generation_of(thread.slots[0]), 1);
        thread.collect(2);
        assert_eq!(heap.generation_of(thread.slots[0]), 2);
    }
    detach(thread);
}

#[test]
fn big_heaps_are_marked_by_several_threads() {
    let _serial = serial();
    let mut thread = attach(3);
    const COUNT: usize = 150_000;
    // An array of nodes, each with 120 bytes and a random neighbour.
    thread.slots[0] = thread.array(types().refs, COUNT);
    let mut random = Random(7);
    for i in 0..COUNT {
        thread.slots[1] = thread.node(i as u64);
        let bytes = thread.array(types().bytes, 120);
        set_field(thread.slots[1], 16, bytes);
        set_field(thread.slots[0], 16 + i * 8, thread.slots[1]);
        let neighbour = field(thread.slots[0], 16 + random.below(i + 1) * 8);
        set_field(thread.slots[1], 8, neighbour);
    }
    thread.slots[1] = ptr::null_mut();
    thread.collect(2);
    for i in (0..COUNT).filter(|i| i % 3 != 0) {
        set_field(thread.slots[0], 16 + i * 8, ptr::null_mut());
    }
    // The second of these moves sparse blocks.
    for _ in 0..3 {
        thread.collect(2);
        for i in (0..COUNT).step_by(3) {
            let node = field(thread.slots[0], 16 + i * 8);
            assert_eq!(value_of(node), i as u64);
            assert!(value_of(field(node, 8)) <= i as u64);
            assert_eq!(unsafe { array_length(field(node, 16)) }, 120);
        }
    }
    detach(thread);
}

/// Shadow of a random object graph outside the heap: what every object must hold.
struct Shadow {
    fields: Vec<Option<u64>>,
    fill: u8,
}

fn slot_offset(kind: usize, index: usize) -> usize {
    match kind {
        0 => 8 + index * 8,
        1 => 16 + index * 8,
        _ => 16 + index / 3 * 40 + [8, 16, 32][index % 3],
    }
}

#[test]
fn random_graphs_keep_their_shape_for_many_collections() {
    let _serial = serial();
    let mut thread = attach(64);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let table = Heap::get().handles();
    let mut shadows: HashMap<u64, Shadow> = HashMap::new();
    let mut weak: Vec<(*mut ObjPtr, u64)> = Vec::new();
    let mut next_id = 1u64;
    let start = Heap::get().stats().collections();
    let rounds = if cfg!(debug_assertions) { 400 } else { 3000 };
    for round in 0..rounds {
        for _ in 0..random.below(60) {
            // A node { array, bytes, id }; the array's slots refer to other nodes.
            let id = next_id;
            next_id += 1;
            let kind = 1 + random.below(2);
            let count = match random.below(20) {
                0 => 3 * random.below(1500),
                1..=3 => 3 * random.below(100),
                _ => 3 * random.below(5),
            };
            let slot = random.below(64);
            thread.slots[slot] = thread.node(id);
            let array = if kind == 1 {
                thread.array(types().refs, count)
            } else {
                thread.array(types().structs, count / 3)
            };
            set_field(thread.slots[slot], 8, array);
            let fill = random.next() as u8;
            let longest = if random.below(50) == 0 { 30_000 } else { 60 };
            let length = random.below(longest);
            let bytes = thread.array(types().bytes, length);
            unsafe { bytes.cast::<u8>().add(16).write_bytes(fill, length) };
            set_field(thread.slots[slot], 16, bytes);
            let mut fields = vec![None; count];
            for _ in 0..random.below(4).min(count) {
                let (index, target) = (random.below(count), thread.slots[random.below(64)]);
                if !target.is_null() {
                    let array = field(thread.slots[slot], 8);
                    set_field(array, slot_offset(kind, index), target);
                    fields[index] = Some(value_of(target));
                }
            }
            shadows.insert(id, Shadow { fields, fill });
            if random.below(10) == 0 {
                weak.push((table.alloc(HandleKind::WeakShort, thread.slots[slot]), id));
            }
            if random.below(200) == 0 {
                thread.conservative.push(thread.slots[slot] as usize + random.below(40));
            }
            // Sometimes an older object gets a new edge.
            let other = thread.slots[random.below(64)];
            if !other.is_null() {
                let shadow = shadows.get_mut(&value_of(other)).unwrap();
                if !shadow.fields.is_empty() {
                    let index = random.below(shadow.fields.len());
                    let target = thread.slots[random.below(64)];
                    let array = field(other, 8);
                    let kind = if unsafe { (*array).mt } == types().refs { 1 } else { 2 };
                    set_field(array, slot_offset(kind, index), target);
                    shadow.fields[index] = (!target.is_null()).then(|| value_of(target));
                }
            }
        }
        if random.below(3) == 0 {
            thread.slots[random.below(64)] = ptr::null_mut();
        }
        if random.below(40) == 0 {
            for slot in &mut thread.slots[..48] {
                *slot = ptr::null_mut();
            }
            thread.conservative.clear();
        }
        let roots: Vec<ObjPtr> = thread.slots.clone();
        thread.byrefs = roots
            .iter()
            .filter(|r| !r.is_null())
            .map(|&r| (r as usize + random.below(33)) as *mut u8)
            .collect();
        let distances: Vec<(usize, usize)> = roots
            .iter()
            .enumerate()
            .filter(|(_, r)| !r.is_null())
            .map(|(i, _)| (i, 0))
            .collect();
        let before: Vec<usize> = distances
            .iter()
            .zip(&thread.byrefs)
            .map(|(&(i, _), &b)| b as usize - roots[i] as usize)
            .collect();
        // Full collections at once and concurrent markings take turns; one of eight of those is given up.
        match round % 16 {
            0 => thread.collect(2),
            2 | 7 | 12 | 15 => Heap::get().collect_concurrently(&thread.header),
            _ => thread.collect(0),
        }
        for ((&(i, _), &b), &distance) in distances.iter().zip(&thread.byrefs).zip(&before) {
            assert_eq!(b as usize - thread.slots[i] as usize, distance);
        }
        thread.byrefs.clear();
        // Walk the live graph and compare.
        let mut seen: HashMap<u64, ObjPtr> = HashMap::new();
        let mut stack: Vec<ObjPtr> = thread.slots.iter().copied().filter(|r| !r.is_null()).collect();
        while let Some(node) = stack.pop() {
            let id = value_of(node);
            if let Some(&known) = seen.get(&id) {
                assert_eq!(known, node, "object {id} exists twice");
                continue;
            }
            seen.insert(id, node);
            let shadow = &shadows[&id];
            let array = field(node, 8);
            let kind = if unsafe { (*array).mt } == types().refs { 1 } else { 2 };
            for (index, expected) in shadow.fields.iter().enumerate() {
                let target = field(array, slot_offset(kind, index));
                assert_eq!((!target.is_null()).then(|| value_of(target)), *expected);
                if !target.is_null() {
                    stack.push(target);
                }
            }
            let bytes = field(node, 16);
            let length = unsafe { array_length(bytes) };
            assert!((0..length).all(|i| unsafe { *bytes.cast::<u8>().add(16 + i) } == shadow.fill));
            assert_eq!(unsafe { size_of_object(bytes) }, (24 + length + 7) & !7);
        }
        weak.retain(|&(handle, id)| unsafe {
            if (*handle).is_null() {
                assert!(!seen.contains_key(&id), "weak handle of live object {id} was cleared");
                table.free(handle);
                false
            } else {
                assert_eq!(value_of(*handle), id);
                true
            }
        });
    }
    assert!(Heap::get().stats().collections() - start >= rounds);
    for (handle, _) in weak {
        unsafe { table.free(handle) };
    }
    detach(thread);
}

#[test]
fn threads_allocate_and_collect_together() {
    let _serial = serial();
    let workers: Vec<_> = (0..4u64)
        .map(|worker| {
            std::thread::spawn(move || {
                let mut thread = attach(8);
                let mut random = Random(worker + 77);
                for round in 0..300u64 {
                    let slot = random.below(8);
                    thread.slots[slot] = ptr::null_mut();
                    for i in 0..200 {
                        let node = thread.node(worker << 32 | round << 16 | i);
                        set_field(node, 8, thread.slots[slot]);
                        thread.slots[slot] = node;
                        if i % 16 == 0 {
                            ThreadRegistry::get().poll(&thread.header);
                        }
                    }
                    if random.below(40) == 0 {
                        thread.collect(if random.below(3) == 0 { 2 } else { 0 });
                    }
                    if random.below(20) == 0 {
                        let _outside = corten_gc_hooks::PreemptiveGuard::new(&thread.header);
                        std::thread::sleep(std::time::Duration::from_micros(200));
                    }
                    for slot in 0..8 {
                        let mut node = thread.slots[slot];
                        let mut expected = 200;
                        while !node.is_null() {
                            expected -= 1;
                            assert_eq!(value_of(node) >> 32, worker);
                            assert_eq!(value_of(node) & 0xFFFF, expected);
                            node = field(node, 8);
                        }
                        assert!(expected == 0 || expected == 200);
                    }
                }
                detach(thread);
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
}
