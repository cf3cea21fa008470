//! Tier 0 compilation speed on synthetic methods: arithmetic, fields, arrays, branches, loops, calls.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    reason = "a test engine of a few lines"
)]

#[path = "../tests/lower/harness.rs"]
#[allow(dead_code)]
mod harness;

use corten_jit::builder::FuncBuilder;
use corten_jit::ids::MethodId;
use corten_jit::ir::*;
use corten_jit::isa::Tier;
use criterion::{Criterion, criterion_group, criterion_main};
use harness::*;

/// One method of some ten statements.
fn method(host: &Host, seed: i32) -> Func {
    build(host, sig(I4, &[REF, REF, I4]), |b| {
        let (object, array, n) = (b.arg(0), b.arg(1), b.arg(2));
        let (i, sum) = (b.temp(Ty::I32, I4), b.temp(Ty::I32, I4));
        let mut il = 0;
        let mut step = |b: &mut FuncBuilder| {
            il += 3;
            b.set_il(il);
        };
        step(b);
        let zero = b.iconst32(seed);
        b.set(i, zero);
        b.set(sum, zero);
        let (head, body, done) = (b.create_block(), b.create_block(), b.create_block());
        b.jump(head);
        b.switch_to(head);
        step(b);
        let x = b.get(i);
        let limit = b.get(n);
        let c = b.cmp(Cond::Lt, x, limit);
        b.branch(c, body, done);
        b.switch_to(body);
        b.emit_void(Op::SafepointPoll);
        step(b);
        let a = b.get(array);
        b.null_check(a);
        let len = b.emit(Op::ArrayLen(a), Ty::I32);
        let x = b.get(i);
        b.emit_void(Op::BoundsCheck { index: x, length: len });
        let p = b.emit(
            Op::ElemAddr {
                array: a,
                index: x,
                size: 4,
            },
            Ty::ByRef,
        );
        let e = b.load(MemTy::I32, p, 0);
        let s = b.get(sum);
        let s = b.bin(BinOp::Add, s, e);
        b.set(sum, s);
        step(b);
        let o = b.get(object);
        b.null_check(o);
        let f = b.load(MemTy::I32, o, 8);
        let k = b.iconst32(seed * 7 + 3);
        let f = b.bin(BinOp::Mul, f, k);
        b.store(MemTy::I32, o, 12, f, Barrier::None);
        step(b);
        let o = b.get(object);
        b.null_check(o);
        let s = b.get(sum);
        let callee = Callee::Vtable {
            method: MethodId(1),
            offset: 96,
        };
        let call = corten_jit::host_api::Signature {
            has_this: true,
            ..sig(I4, &[I4])
        };
        let r = b.emit(
            Op::Call {
                callee,
                sig: call,
                args: vec![o, s],
                tail: false,
            },
            Ty::I32,
        );
        b.set(sum, r);
        step(b);
        let o = b.get(object);
        let callee = Callee::Direct {
            method: MethodId(2),
            entry_slot: 0x1234_5678_9abc,
        };
        let r = b.emit(
            Op::Call {
                callee,
                sig: sig(REF, &[REF]),
                args: vec![o],
                tail: false,
            },
            Ty::Ref,
        );
        b.set(object, r);
        step(b);
        let x = b.get(i);
        let one = b.iconst32(1);
        let x = b.bin(BinOp::Add, x, one);
        b.set(i, x);
        b.jump(head);
        b.switch_to(done);
        step(b);
        let s = b.get(sum);
        b.ret(Some(s));
    })
}

fn tier0(c: &mut Criterion) {
    let host = Host::new();
    let funcs: Vec<Func> = (0..100).map(|i| method(&host, i)).collect();
    let bytes: usize = funcs
        .iter()
        .map(|f| JIT.compile(f, &host, Tier::Tier0).unwrap().len())
        .sum();
    println!("{} bytes of code per method", bytes / funcs.len());
    let mut group = c.benchmark_group("compile");
    group.throughput(criterion::Throughput::Elements(funcs.len() as u64));
    for (name, tier) in [("tier0", Tier::Tier0), ("tier1", Tier::Tier1)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                for f in &funcs {
                    std::hint::black_box(JIT.compile(f, &host, tier).unwrap());
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, tier0);
criterion_main!(benches);
