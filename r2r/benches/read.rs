//! Costs of what a runtime does with an image: opening it, finding code, reading fixups, and walking frames.
#![allow(missing_docs)] // the harness's macros make undocumented items

use std::hint::black_box;

use corten_metadata::{Module, testing};
use corten_r2r::gc_info::Position;
use corten_r2r::{EntryPoint, GcInfo, Image};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn read(c: &mut Criterion) {
    let Some(dir) = testing::framework_dir() else {
        eprintln!("skipped: no .NET class library found (set CORTEN_FRAMEWORK)");
        return;
    };
    let Ok(module) = Module::open(&dir.join("System.Private.CoreLib.dll")) else {
        eprintln!("skipped: no core library");
        return;
    };
    let Ok(Some(image)) = Image::open(&module) else {
        eprintln!("skipped: the core library has no precompiled code");
        return;
    };
    let mut group = c.benchmark_group("core library");
    group.sample_size(10);
    group.bench_function("open", |b| b.iter(|| Image::open(black_box(&module)).is_ok()));

    let rids = 1..=image.method_count();
    let entries: Vec<EntryPoint<'_>> = rids
        .clone()
        .filter_map(|rid| image.method(rid).ok().flatten())
        .collect();
    group.throughput(Throughput::Elements(image.method_count().into()));
    group.bench_function("find the code of a method", |b| {
        b.iter(|| {
            rids.clone()
                .filter(|&rid| matches!(image.method(rid), Ok(Some(_))))
                .count()
        });
    });

    let hashes: Vec<u32> = image
        .instances()
        .flatten()
        .map(|instance| instance.bucket << 8 | u32::from(instance.low_hash))
        .collect();
    group.throughput(Throughput::Elements(hashes.len() as u64));
    group.bench_function("find an instance", |b| {
        b.iter(|| {
            hashes
                .iter()
                .map(|&hash| image.instances_with_hash(hash).count())
                .sum::<usize>()
        });
    });

    let cells: Vec<_> = entries.iter().flat_map(EntryPoint::fixups).flatten().collect();
    group.throughput(Throughput::Elements(cells.len() as u64));
    group.bench_function("read a fixup", |b| {
        b.iter(|| {
            cells
                .iter()
                .filter(|&&cell| matches!(image.imports().fixup(cell), Ok(Some(_))))
                .count()
        });
    });

    let functions: Vec<_> = entries.iter().map(|entry| entry.function).collect();
    group.throughput(Throughput::Elements(functions.len() as u64));
    group.bench_function("read unwind and GC info of a function", |b| {
        b.iter(|| {
            let infos = functions
                .iter()
                .filter_map(|&function| image.functions().unwind(function).ok());
            infos.filter(|(_, at)| GcInfo::read(*at).is_ok()).count()
        });
    });

    let infos: Vec<GcInfo<'_>> = functions
        .iter()
        .filter_map(|&function| image.functions().unwind(function).ok())
        .filter_map(|(_, at)| GcInfo::read(at).ok())
        .collect();
    let calls = infos.iter().map(|info| info.safe_points.len() as u64).sum();
    group.throughput(Throughput::Elements(calls));
    group.bench_function("live slots of a call", |b| {
        b.iter(|| {
            let live = infos.iter().flat_map(|info| {
                let calls = info.safe_points.iter();
                calls.filter_map(|&at| info.live_slots(Position::Return(at)).ok())
            });
            live.map(|slots| slots.len()).sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, read);
criterion_main!(benches);
