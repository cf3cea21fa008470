//! Types loaded per second. Loading is once per process, so each iteration asks for an instantiation that no
//! iteration has asked for before: a `ValueTuple` over four digits of a counter.
#![allow(clippy::expect_used, missing_docs)]

use std::{hint::black_box, time::Duration};

use corten_loader::{
    Binder, BinderConfig, ElementType, TypeHandle, WellKnown, corelib_type, instantiate, primitive_type,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn load_types(c: &mut Criterion) {
    let Some(dir) = corten_metadata::testing::framework_dir() else {
        println!("skipped: no framework found (set CORTEN_FRAMEWORK)");
        return;
    };
    Binder::init(BinderConfig::from_directory(&dir).expect("framework directory"));
    let w = WellKnown::init().expect("CoreLib");
    let list = corelib_type("System.Collections.Generic", "List`1").expect("List");
    let tuple = corelib_type("System", "ValueTuple`4").expect("ValueTuple");
    let digits: Vec<TypeHandle> = ElementType::CORELIB
        .iter()
        .filter(|e| **e != ElementType::Void && **e != ElementType::TypedByRef)
        .map(|e| primitive_type(*e).expect("primitive").handle())
        .chain(w.string.interfaces().iter().map(|i| i.handle()))
        .collect();

    let mut group = c.benchmark_group("loader");
    // Loaded types stay: keep the number of iterations, and with it the memory, small.
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500));
    let mut counter = 0usize;
    group.bench_function("instantiate_new_value_tuple", |b| {
        b.iter(|| {
            let mut n = counter;
            counter += 1;
            let args: [TypeHandle; 4] = std::array::from_fn(|_| {
                let d = digits[n % digits.len()];
                n /= digits.len();
                d
            });
            black_box(instantiate(tuple, &args).expect("tuple"))
        });
    });
    group.bench_function("lookup_existing", |b| {
        b.iter(|| black_box(instantiate(list, &[w.int32.handle()]).expect("list")));
    });
    group.finish();
    assert!(
        counter < digits.len().pow(4),
        "the counter wrapped: iterations hit existing types"
    );
}

criterion_group!(benches, load_types);
criterion_main!(benches);
