//! Throughput of verification, in methods.
#![allow(missing_docs)] // the harness's macros make undocumented items

use corten_metadata::{Module, testing};
use corten_verifier::{Options, ReferencePath, Universe, verify};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::num::NonZeroUsize;

fn universe(names: &[&str]) -> Option<Universe> {
    let dir = testing::framework_dir()?;
    let mut references = ReferencePath::new();
    references.add(&dir).ok()?;
    let files = testing::framework_assemblies().into_iter();
    let wanted =
        |f: &std::path::PathBuf| names.is_empty() || f.file_stem().is_some_and(|s| names.iter().any(|n| s == *n));
    let modules = files.filter(wanted).filter_map(|f| Module::open(&f).ok());
    Universe::new(modules.map(Into::into).collect(), &references).ok()
}

fn throughput(c: &mut Criterion) {
    let mut group = c.benchmark_group("verify");
    group.sample_size(10);
    for (title, names) in [
        ("core library", &["System.Private.CoreLib"][..]),
        ("XML", &["System.Private.Xml"]),
        ("whole class library", &[]),
    ] {
        let Some(universe) = universe(names) else {
            eprintln!("skipped: no .NET class library found (set CORTEN_FRAMEWORK)");
            return;
        };
        let methods = verify(&universe, &Options::default()).methods;
        group.throughput(Throughput::Elements(methods as u64));
        for threads in [NonZeroUsize::new(1), None] {
            let title = format!(
                "{title}, {}",
                if threads.is_some() {
                    "one thread"
                } else {
                    "all processors"
                }
            );
            group.bench_function(title, |b| {
                b.iter(|| {
                    black_box(verify(
                        &universe,
                        &Options {
                            threads,
                            ..Options::default()
                        },
                    ))
                    .methods
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, throughput);
criterion_main!(benches);
