//! Random straight-line functions against an interpreter: spilling, temporaries and aliases of struct values, moving objects.

use crate::harness::*;
use corten_jit::builder::FuncBuilder;
use corten_jit::host_api::TypeKind as K;
use corten_jit::ids::TypeId;
use corten_jit::ir::*;

/// What a value or local holds: integers, references (moved by safepoints), structs {ref, int, ref}.
#[derive(Clone, Copy, Debug, PartialEq)]
enum V {
    Int(i64),
    Ref(i64),
    Struct([i64; 3]),
}

const STEP: i64 = 1000;

fn moved(v: V) -> V {
    let m = |r: i64| if r == 0 { 0 } else { r + STEP };
    match v {
        V::Int(_) => v,
        V::Ref(r) => V::Ref(m(r)),
        V::Struct([a, b, c]) => V::Struct([m(a), b, m(c)]),
    }
}

fn move_objects(slot: &mut usize) {
    // Managed pointers into the stack do not move.
    let on_stack = *slot >= 0x7000_0000_0000;
    if *slot != 0 && !on_stack {
        assert!(*slot >= 1_000_000 && *slot < 100_000_000, "{:#x}", *slot);
        *slot += STEP as usize;
    }
}

extern "C" fn callee(a: [usize; 3]) -> usize {
    a[1]
}

struct Gen<'b> {
    b: &'b mut FuncBuilder,
    rng: Rng,
    pair: TypeId,
    values: Vec<(Value, V)>,
    locals: Vec<(Local, V)>,
    /// A managed pointer to a local, and which.
    pointer: (Local, Option<usize>),
    cell: u64,
    memory: V,
}

impl Gen<'_> {
    fn pick(&mut self, want: fn(&V) -> bool) -> Option<(Value, V)> {
        let fit: Vec<_> = self.values.iter().copied().filter(|v| want(&v.1)).collect();
        if fit.is_empty() {
            None
        } else {
            Some(fit[self.rng.below(fit.len())])
        }
    }
    fn push(&mut self, op: Op, v: V) {
        let ty = match v {
            V::Int(_) => Ty::I64,
            V::Ref(_) => Ty::Ref,
            V::Struct(_) => Ty::Struct(self.pair),
        };
        let value = self.b.emit(op, ty);
        self.values.push((value, v));
    }
    fn safepoint(&mut self) {
        for v in self.values.iter_mut() {
            v.1 = moved(v.1);
        }
        for l in self.locals.iter_mut() {
            l.1 = moved(l.1);
        }
    }
    /// Reads or writes a local, or a field of one, through its address.
    fn through_address(&mut self) {
        let i = match self.pointer.1 {
            Some(i) if self.rng.below(2) == 0 => i,
            _ => self.rng.below(self.locals.len()),
        };
        let (local, v) = self.locals[i];
        let mut p = if self.pointer.1 == Some(i) && self.rng.below(2) == 0 {
            self.b.get(self.pointer.0)
        } else {
            self.b.local_addr(local)
        };
        if self.rng.below(3) == 0 {
            self.b.null_check(p);
        }
        let field = self.rng.below(3);
        let (mem, part) = match v {
            V::Int(_) => (MemTy::I64, v),
            V::Ref(_) => (MemTy::Ref, v),
            V::Struct(f) if field == 1 => (MemTy::I64, V::Int(f[1])),
            V::Struct(f) => (MemTy::Ref, V::Ref(f[field])),
        };
        let mut offset = 0;
        if let V::Struct(_) = v {
            // Some of the distance in the pointer, some in the access.
            offset = field as i32 * 8;
            if self.rng.below(2) == 0 {
                p = self.b.ptr_add_const(p, i64::from(offset));
                offset = 0;
            }
        }
        if self.rng.below(2) == 0 {
            let flags = MemFlags::default();
            return self.push(
                Op::Load {
                    ty: mem,
                    addr: p,
                    offset,
                    flags,
                },
                part,
            );
        }
        let want: fn(&V) -> bool = match part {
            V::Int(_) => |v| matches!(v, V::Int(_)),
            _ => |v| matches!(v, V::Ref(_)),
        };
        if let Some((value, new)) = self.pick(want) {
            self.b.store(mem, p, offset, value, Barrier::None);
            self.locals[i].1 = match (v, new) {
                (V::Struct(mut f), V::Int(n) | V::Ref(n)) => {
                    f[field] = n;
                    V::Struct(f)
                }
                _ => new,
            };
        }
    }
    fn step(&mut self) {
        let is_int = |v: &V| matches!(v, V::Int(_));
        let is_ref = |v: &V| matches!(v, V::Ref(_));
        let is_struct = |v: &V| matches!(v, V::Struct(_));
        match self.rng.below(19) {
            14 => self.through_address(),
            15 => {
                // Copies between locals, or clears one.
                let (i, j) = (self.rng.below(self.locals.len()), self.rng.below(self.locals.len()));
                let ((to, a), (from, v)) = (self.locals[i], self.locals[j]);
                if let (V::Struct(_), V::Struct(_)) = (a, v) {
                    let dst = self.b.local_addr(to);
                    let ty = self.pair;
                    if i == j {
                        self.b.emit_void(Op::ZeroStruct { ty, dst });
                        self.locals[i].1 = V::Struct([0; 3]);
                    } else {
                        let src = self.b.local_addr(from);
                        let barrier = Barrier::None;
                        self.b.emit_void(Op::CopyStruct { ty, dst, src, barrier });
                        self.locals[i].1 = v;
                    }
                }
            }
            16 => {
                // Points somewhere else.
                let i = self.rng.below(self.locals.len());
                let p = self.b.local_addr(self.locals[i].0);
                self.b.set(self.pointer.0, p);
                self.pointer.1 = Some(i);
            }
            17 | 18 => self.through_address(),
            0 => {
                let n = self.rng.below(1 << 20) as i64;
                self.push(Op::IConst(n), V::Int(n));
            }
            1..=3 => {
                let (l, v) = self.locals[self.rng.below(self.locals.len())];
                self.push(Op::LocalGet(l), v);
            }
            4 | 5 => {
                let i = self.rng.below(self.locals.len());
                let want: fn(&V) -> bool = match self.locals[i].1 {
                    V::Int(_) => is_int,
                    V::Ref(_) => is_ref,
                    V::Struct(_) => is_struct,
                };
                if let Some((value, v)) = self.pick(want) {
                    let l = self.locals[i].0;
                    self.b.set(l, value);
                    self.locals[i].1 = v;
                }
            }
            6 => {
                if let (Some((x, V::Int(a))), Some((y, V::Int(c)))) = (self.pick(is_int), self.pick(is_int)) {
                    self.push(Op::Bin(BinOp::Mul, x, y), V::Int(a.wrapping_mul(c)));
                }
            }
            7 => {
                self.b.emit_void(Op::CallHelper {
                    helper: Helper::Poll,
                    args: vec![],
                });
                self.safepoint();
            }
            8 => {
                if let (Some((x, V::Ref(a))), Some((y, V::Int(n))), Some((z, V::Ref(c)))) =
                    (self.pick(is_ref), self.pick(is_int), self.pick(is_ref))
                {
                    let parts = vec![(0, MemTy::Ref, x), (8, MemTy::I64, y), (16, MemTy::Ref, z)];
                    self.push(Op::StructMake { ty: self.pair, parts }, V::Struct([a, n, c]));
                }
            }
            9 | 10 => {
                if let Some((s, V::Struct(f))) = self.pick(is_struct) {
                    match self.rng.below(3) {
                        0 => self.push(
                            Op::StructField {
                                value: s,
                                offset: 0,
                                ty: MemTy::Ref,
                            },
                            V::Ref(f[0]),
                        ),
                        1 => self.push(
                            Op::StructField {
                                value: s,
                                offset: 8,
                                ty: MemTy::I64,
                            },
                            V::Int(f[1]),
                        ),
                        _ => self.push(
                            Op::StructField {
                                value: s,
                                offset: 16,
                                ty: MemTy::Ref,
                            },
                            V::Ref(f[2]),
                        ),
                    }
                }
            }
            11 => {
                // A call with the struct by value on the stack: also a safepoint, but nothing moves.
                if let Some((s, V::Struct(f))) = self.pick(is_struct) {
                    let target = self.b.address(callee as *const () as u64);
                    let op = Op::Call {
                        callee: Callee::Native { target },
                        sig: sig(I8, &[self.pair]),
                        args: vec![s],
                        tail: false,
                    };
                    self.push(op, V::Int(f[1]));
                }
            }
            12 => {
                // Memory that is not scanned: integers only in the references.
                if let Some((s, v @ V::Struct([0, _, 0]))) = self.pick(|v| matches!(v, V::Struct([0, _, 0]))) {
                    let p = self.b.address(self.cell);
                    self.b.store(MemTy::Struct(self.pair), p, 0, s, Barrier::None);
                    self.memory = v;
                } else {
                    self.push(Op::StructZero(self.pair), V::Struct([0; 3]));
                }
            }
            _ => {
                let p = self.b.address(self.cell);
                let op = Op::Load {
                    ty: MemTy::Struct(self.pair),
                    addr: p,
                    offset: 0,
                    flags: MemFlags::default(),
                };
                let v = self.memory;
                self.push(op, v);
            }
        }
    }
}

#[test]
fn random_functions_compute_what_the_interpreter_does() {
    let mut host = Host::new();
    let pair = host.add_struct(24, &[(0, K::Ref), (8, K::I8), (16, K::Ref)]);
    ON_POLL.set(Some(move_objects));
    let rounds = if std::env::var_os("MANY").is_some() { 20000 } else { 400 };
    for seed in 0..rounds {
        let cell: &'static mut [u64; 3] = Box::leak(Box::new([0, 5, 0]));
        let mut want = 0i64;
        let func = build(&host, sig(I8, &[REF, I8, REF, pair]), |b| {
            let mut locals: Vec<(Local, V)> = vec![
                (b.arg(0), V::Ref(1_000_000)),
                (b.arg(1), V::Int(77)),
                (b.arg(2), V::Ref(2_000_000)),
            ];
            locals.push((b.arg(3), V::Struct([3_000_000, 9, 0])));
            for _ in 0..2 {
                locals.push((b.temp(Ty::Ref, REF), V::Ref(0)));
                locals.push((b.temp(Ty::Struct(pair), pair), V::Struct([0; 3])));
            }
            let mut rng = Rng(seed * 7919 + 1);
            let steps = 5 + rng.below(60);
            let address = cell.as_ptr() as u64;
            let pointer = b.temp(Ty::ByRef, BYREF);
            let mut g = Gen {
                b,
                rng,
                pair,
                values: vec![],
                locals,
                pointer: (pointer, None),
                cell: address,
                memory: V::Struct([0, 5, 0]),
            };
            for _ in 0..steps {
                g.step();
            }
            // Checksum over some values and all locals.
            let mut sum = g.b.iconst64(0);
            let count = g.values.len();
            let picks: Vec<_> = (0..6)
                .filter(|_| count > 0)
                .map(|_| g.values[g.rng.below(count)])
                .collect();
            let from_locals: Vec<_> = g.locals.clone();
            let mut all = picks;
            for (l, v) in from_locals {
                let value = g.b.get(l);
                all.push((value, v));
            }
            for (value, v) in all {
                let parts: Vec<(Value, i64)> = match v {
                    V::Int(n) => vec![(value, n)],
                    V::Ref(r) => vec![(g.b.conv(ConvOp::RefToInt, value, Ty::I64), r)],
                    V::Struct(f) => [(0, f[0]), (8, f[1]), (16, f[2])]
                        .into_iter()
                        .map(|(offset, n)| {
                            (
                                g.b.emit(
                                    Op::StructField {
                                        value,
                                        offset,
                                        ty: MemTy::I64,
                                    },
                                    Ty::I64,
                                ),
                                n,
                            )
                        })
                        .collect(),
                };
                for (p, n) in parts {
                    let k = g.b.iconst64(31);
                    sum = g.b.bin(BinOp::Mul, sum, k);
                    sum = g.b.bin(BinOp::Add, sum, p);
                    want = want.wrapping_mul(31).wrapping_add(n);
                }
            }
            g.b.ret(Some(sum));
        });
        for optimised in [false, true] {
            *cell = [0, 5, 0];
            let (func, inner) = if optimised {
                compile_optimised(&host, &func)
            } else {
                (func.clone(), compile(&host, &func))
            };
            let slot: &'static usize = Box::leak(Box::new(inner.start));
            // An outer function makes the struct argument.
            let outer = code(&host, sig(I8, &[REF, I8, REF, REF]), |b| {
                let args: Vec<_> = (0..4).map(|i| b.arg(i)).collect();
                let args: Vec<_> = args.into_iter().map(|a| b.get(a)).collect();
                let nine = b.iconst64(9);
                let s = b.emit(
                    Op::StructMake {
                        ty: pair,
                        parts: vec![(0, MemTy::Ref, args[3]), (8, MemTy::I64, nine)],
                    },
                    Ty::Struct(pair),
                );
                let callee = Callee::Direct {
                    method: corten_jit::ids::MethodId(1),
                    entry_slot: slot as *const _ as u64,
                };
                let r = b.emit(
                    Op::Call {
                        callee,
                        sig: sig(I8, &[REF, I8, REF, pair]),
                        args: vec![args[0], args[1], args[2], s],
                        tail: false,
                    },
                    Ty::I64,
                );
                b.ret(Some(r));
            });
            let got = run(outer, [1_000_000, 77, 2_000_000, 3_000_000]).unwrap() as i64;
            if got != want {
                panic!(
                    "seed {seed}, optimised: {optimised}: {got} instead of {want}\n{}",
                    corten_jit::ir_print::print(&func)
                );
            }
        }
    }
    ON_POLL.set(None);
}

/// Random control flow over integer locals of several widths, some with their address taken, some used in a handler.
#[test]
fn random_control_flow_keeps_locals_right() {
    const LOCALS: usize = 9;
    // i64, i64, i64 (exposed), i32, i32, u8, i16, i64, i32
    let kinds = [I8, I8, I8, I4, I4, U1, I2, I8, I4];
    let truncate = |local: usize, v: i64| match kinds[local] {
        I4 => i64::from(v as i32),
        U1 => i64::from(v as u8),
        I2 => i64::from(v as i16),
        _ => v,
    };
    let host = Host::new();
    let rounds = if std::env::var_os("MANY").is_some() { 10000 } else { 300 };
    for seed in 0..rounds {
        let mut rng = Rng(seed * 104729 + 3);
        let blocks = 2 + rng.below(8);
        // (destination, a, b, operation); then (condition local, then, else). Target `blocks` is the exit.
        let program: Vec<(Vec<(usize, usize, usize, usize)>, (usize, usize, usize))> = (0..blocks)
            .map(|_| {
                let ops = (0..rng.below(6))
                    .map(|_| (rng.below(LOCALS), rng.below(LOCALS), rng.below(LOCALS), rng.below(5)))
                    .collect();
                (ops, (rng.below(LOCALS), rng.below(blocks + 1), rng.below(blocks + 1)))
            })
            .collect();
        let start: Vec<i64> = (0..LOCALS)
            .map(|i| if i < 3 { rng.below(1000) as i64 } else { 0 })
            .collect();

        let func = build(&host, sig(I8, &[I8, I8, I8]), |b| {
            let mut locals: Vec<Local> = (0..3).map(|i| b.arg(i)).collect();
            for &kind in &kinds[3..] {
                let local = b.temp(if kind == I8 { Ty::I64 } else { Ty::I32 }, kind);
                let zero = if kind == I8 { b.iconst64(0) } else { b.iconst32(0) };
                b.set(local, zero);
                locals.push(local);
            }
            let fuel = b.temp(Ty::I32, I4);
            let n = b.iconst32(40);
            b.set(fuel, n);
            let exposed = b.local_addr(locals[2]);
            let _ = exposed;
            let heads: Vec<Block> = (0..=blocks).map(|_| b.create_block()).collect();
            b.jump(heads[0]);
            let wide = |b: &mut FuncBuilder, i: usize| {
                let v = b.get(locals[i]);
                if kinds[i] == I8 {
                    v
                } else {
                    b.conv(ConvOp::SextI64, v, Ty::I64)
                }
            };
            for (i, (ops, (cond, then, other))) in program.iter().enumerate() {
                b.switch_to(heads[i]);
                for &(d, x, y, op) in ops {
                    let x = wide(b, x);
                    let y = wide(b, y);
                    let op = [BinOp::Add, BinOp::Sub, BinOp::Mul, BinOp::Xor, BinOp::And][op];
                    let mut v = b.bin(op, x, y);
                    if kinds[d] != I8 {
                        v = b.conv(ConvOp::Trunc, v, Ty::I32);
                    }
                    if d == 2 {
                        // Through its address.
                        let p = b.local_addr(locals[2]);
                        b.store(MemTy::I64, p, 0, v, Barrier::None);
                    } else {
                        b.set(locals[d], v);
                    }
                }
                b.emit_void(Op::SafepointPoll);
                let f = b.get(fuel);
                let one = b.iconst32(1);
                let f = b.bin(BinOp::Sub, f, one);
                b.set(fuel, f);
                let more = b.create_block();
                b.branch(f, more, heads[blocks]);
                b.switch_to(more);
                let c = wide(b, *cond);
                let three = b.iconst64(3);
                let c = b.bin(BinOp::And, c, three);
                b.branch(c, heads[*then], heads[*other]);
            }
            b.switch_to(heads[blocks]);
            let mut sum = b.iconst64(0);
            for i in 0..LOCALS {
                let v = wide(b, i);
                let k = b.iconst64(31);
                sum = b.bin(BinOp::Mul, sum, k);
                sum = b.bin(BinOp::Add, sum, v);
            }
            b.ret(Some(sum));
        });

        let mut state = start.clone();
        let (mut at, mut fuel) = (0, 40);
        while at != blocks {
            let (ops, (cond, then, other)) = &program[at];
            for &(d, x, y, op) in ops {
                let (x, y) = (state[x], state[y]);
                let v = match op {
                    0 => x.wrapping_add(y),
                    1 => x.wrapping_sub(y),
                    2 => x.wrapping_mul(y),
                    3 => x ^ y,
                    _ => x & y,
                };
                state[d] = truncate(d, v);
            }
            fuel -= 1;
            if fuel == 0 {
                break;
            }
            at = if state[*cond] & 3 != 0 { *then } else { *other };
        }
        let want = state.iter().fold(0i64, |s, &v| s.wrapping_mul(31).wrapping_add(v));
        let plain = (func.clone(), compile(&host, &func));
        for (func, info) in [plain, compile_optimised(&host, &func)] {
            let got = run(info, [start[0] as usize, start[1] as usize, start[2] as usize, 0]).unwrap() as i64;
            if got != want {
                panic!(
                    "seed {seed}: {got} instead of {want}\n{}",
                    corten_jit::ir_print::print(&func)
                );
            }
        }
    }
}
