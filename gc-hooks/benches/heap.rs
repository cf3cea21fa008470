//! Allocation, barriers, collections and handles.
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use corten_gc_hooks::{HandleKind, Heap, HeapConfig, StressMode, corten_checked_write_barrier};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::*;

fn heap() -> &'static Heap {
    heap_with(HeapConfig {
        nursery_size: 0,
        hard_limit: 0,
        stress: StressMode::Off,
        verify: false,
        concurrent: false,
    })
}

fn allocation(c: &mut Criterion) {
    let heap = heap();
    let mut thread = attach(1);
    let mut group = c.benchmark_group("alloc");
    group.throughput(Throughput::Elements(1));
    group.bench_function("object 40 B", |b| {
        b.iter(|| black_box(heap.alloc_object(&thread.header, types().node).unwrap()));
    });
    for length in [16, 1000, 100_000] {
        group.bench_with_input(BenchmarkId::new("byte[]", length), &length, |b, &length| {
            b.iter(|| black_box(thread.array(types().bytes, length)));
        });
    }
    group.finish();
    detach(thread);
}

fn barrier(c: &mut Criterion) {
    heap();
    let mut thread = attach(2);
    thread.slots[0] = thread.array(types().refs, 1000);
    thread.collect(2);
    thread.slots[1] = thread.node(1);
    let (old, young) = (thread.slots[0], thread.slots[1]);
    let mut group = c.benchmark_group("barrier");
    group.bench_function("old to young", |b| {
        b.iter(|| set_field(black_box(old), 16, black_box(young)))
    });
    group.bench_function("old to old", |b| {
        b.iter(|| set_field(black_box(old), 16, black_box(old)))
    });
    group.bench_function("checked, stack", |b| {
        let mut slot = std::ptr::null_mut();
        b.iter(|| unsafe { corten_checked_write_barrier(black_box(&mut slot), black_box(young)) });
    });
    group.finish();
    detach(thread);
}

fn build_tree(thread: &mut TestThread, depth: u32, slot: usize) {
    thread.slots[slot] = thread.node(u64::from(depth));
    if depth == 0 {
        return;
    }
    for offset in [8, 16] {
        build_tree(thread, depth - 1, slot + 1);
        set_field(thread.slots[slot], offset, thread.slots[slot + 1]);
    }
}

fn collections(c: &mut Criterion) {
    heap();
    let mut thread = attach(64);
    let mut group = c.benchmark_group("collect");
    group.sample_size(10);
    group.bench_function("minor, 64k objects survive", |b| {
        b.iter_with_setup(
            || (),
            |()| {
                build_tree(&mut thread, 15, 0);
                thread.collect(0);
            },
        );
    });
    for depth in [16, 20] {
        build_tree(&mut thread, depth, 0);
        thread.collect(2);
        group.bench_with_input(BenchmarkId::new("full, objects 2^", depth + 1), &depth, |b, _| {
            b.iter(|| thread.collect(2));
        });
    }
    thread.slots.fill(std::ptr::null_mut());
    thread.collect(2);
    group.bench_function("full, empty heap", |b| b.iter(|| thread.collect(2)));
    group.finish();
    detach(thread);
}

fn handles(c: &mut Criterion) {
    let heap = heap();
    let mut thread = attach(1);
    thread.slots[0] = thread.node(1);
    let obj = thread.slots[0];
    let mut group = c.benchmark_group("handles");
    group.bench_function("alloc and free", |b| {
        b.iter(|| unsafe {
            heap.handles()
                .free(black_box(heap.handles().alloc(HandleKind::Strong, obj)))
        });
    });
    group.finish();
    detach(thread);
}

criterion_group!(benches, allocation, barrier, collections, handles);
criterion_main!(benches);
