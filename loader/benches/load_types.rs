//! Types loaded per second. Loading is once per process, so each iteration instantiates generics anew.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use corten_loader::{Binder, BinderConfig, TypeHandle, WellKnown, corelib_type, instantiate};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn load_types(c: &mut Criterion) {
    let Some(dir) = corten_metadata::testing::framework_dir() else {
        println!("skipped: no framework found (set CORTEN_FRAMEWORK)");
        return;
    };
    Binder::init(BinderConfig::from_directory(&dir).expect("framework directory"));
    let w = WellKnown::init().expect("CoreLib");
    let list = corelib_type("System.Collections.Generic", "List`1").expect("List");
    let pair = corelib_type("System.Collections.Generic", "KeyValuePair`2").expect("KeyValuePair");

    let mut group = c.benchmark_group("loader");
    group.throughput(Throughput::Elements(1));
    // A new struct argument each time: KeyValuePair<int, previous>.
    let mut arg: TypeHandle = w.int32.handle();
    let mut depth = 0;
    let mut bases = w.array.interfaces().iter().map(|i| i.handle()).cycle();
    group.bench_function("instantiate_list_of_new_struct", |b| {
        b.iter(|| {
            if depth == 40 {
                // Start another chain from a different argument.
                arg = instantiate(
                    pair,
                    &[
                        bases.next().unwrap_or(arg),
                        arg.instantiation().first().copied().unwrap_or(arg),
                    ],
                )
                .expect("pair");
                depth = 0;
            }
            arg = instantiate(pair, &[w.int32.handle(), arg]).expect("pair");
            depth += 1;
            black_box(instantiate(list, &[arg]).expect("list"))
        });
    });
    group.bench_function("lookup_existing", |b| {
        b.iter(|| black_box(instantiate(list, &[w.int32.handle()]).expect("list")))
    });
    group.finish();
}

criterion_group!(benches, load_types);
criterion_main!(benches);
