//! Throughput of decoding the core library: everything in it, and its IL alone.
#![allow(missing_docs)] // the harness's macros make undocumented items

use corten_metadata::visit::visit_everything;
use corten_metadata::{Decoder, Module, TableId, testing};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn decode(c: &mut Criterion) {
    let Some(dir) = testing::framework_dir() else {
        eprintln!("skipped: no .NET class library found (set CORTEN_FRAMEWORK)");
        return;
    };
    let path = dir.join("System.Private.CoreLib.dll");
    let module = match Module::open(&path) {
        Ok(module) => module,
        Err(e) => {
            eprintln!("skipped: {e}");
            return;
        }
    };
    let mut group = c.benchmark_group("core library");
    group.sample_size(10);

    group.throughput(Throughput::Bytes(module.pe().metadata_directory().size.into()));
    group.bench_function("visit everything (per byte of metadata)", |b| {
        b.iter(|| black_box(visit_everything(&module)).is_ok());
    });

    let rows = 1..=module.row_count(TableId::MethodDef);
    let bodies: Vec<&[u8]> = rows
        .filter_map(|rid| module.method_body(rid).ok().flatten())
        .map(|body| body.code)
        .collect();
    group.throughput(Throughput::Bytes(bodies.iter().map(|c| c.len() as u64).sum()));
    group.bench_function("decode IL (per byte of IL)", |b| {
        b.iter(|| bodies.iter().map(|code| Decoder::new(code).count()).sum::<usize>());
    });

    group.bench_function("open and find a type", |b| {
        b.iter(|| {
            Module::open(&path)
                .ok()
                .and_then(|m| m.find_type_def("System", "String"))
        });
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
