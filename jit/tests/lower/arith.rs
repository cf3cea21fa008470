use crate::harness::*;
use corten_jit::ids::TypeId;
use corten_jit::ir::*;

macro_rules! as_fn {
    ($info:expr, $t:ty) => {
        unsafe { std::mem::transmute::<usize, $t>($info.start) }
    };
}

fn binary(ty: TypeId, op: BinOp) -> &'static corten_jit::code_map::CodeInfo {
    let host = Host::new();
    code(&host, sig(ty, &[ty, ty]), |b| {
        let (x, y) = (b.arg(0), b.arg(1));
        let x = b.get(x);
        let y = b.get(y);
        let r = b.bin(op, x, y);
        b.ret(Some(r));
    })
}

#[test]
fn integers() {
    let add = as_fn!(binary(I4, BinOp::Add), extern "C" fn(i32, i32) -> i32);
    assert_eq!(add(i32::MAX, 1), i32::MIN);
    let shr = as_fn!(binary(I4, BinOp::Shr), extern "C" fn(i32, i32) -> i32);
    assert_eq!(shr(-8, 33), -4);
    let mul = as_fn!(binary(I8, BinOp::Mul), extern "C" fn(i64, i64) -> i64);
    assert_eq!(mul(1 << 40, 3), 3 << 40);
    let div = as_fn!(binary(I8, BinOp::DivUn), extern "C" fn(u64, u64) -> u64);
    assert_eq!(div(u64::MAX, 2), u64::MAX / 2);
}

#[test]
fn floats() {
    let rem = as_fn!(binary(R8, BinOp::Rem), extern "C" fn(f64, f64) -> f64);
    assert_eq!(rem(7.5, 2.0), 1.5);
    let div = as_fn!(binary(R4, BinOp::Div), extern "C" fn(f32, f32) -> f32);
    assert_eq!(div(1.0, 4.0), 0.25);
}

fn convert(from: TypeId, to: TypeId, op: ConvOp, ty: Ty) -> &'static corten_jit::code_map::CodeInfo {
    let host = Host::new();
    code(&host, sig(to, &[from]), |b| {
        let x = b.arg(0);
        let x = b.get(x);
        let r = b.conv(op, x, ty);
        b.ret(Some(r));
    })
}

#[test]
fn conversions_saturate() {
    let f = as_fn!(convert(R8, I4, ConvOp::FloatToI32, Ty::I32), extern "C" fn(f64) -> i32);
    assert_eq!([f(1e10), f(-1e10), f(f64::NAN), f(-1.9)], [i32::MAX, i32::MIN, 0, -1]);
    let f = as_fn!(convert(R8, I4, ConvOp::FloatToU32, Ty::I32), extern "C" fn(f64) -> u32);
    assert_eq!([f(1e10), f(-5.0), f(f64::NAN), f(4e9)], [u32::MAX, 0, 0, 4_000_000_000]);
    let f = as_fn!(convert(R8, I8, ConvOp::FloatToI64, Ty::I64), extern "C" fn(f64) -> i64);
    assert_eq!([f(1e30), f(-1e30), f(f64::NAN)], [i64::MAX, i64::MIN, 0]);
    let f = as_fn!(convert(R4, I8, ConvOp::FloatToU64, Ty::I64), extern "C" fn(f32) -> u64);
    assert_eq!([f(1e30), f(-1.0), f(1.5)], [u64::MAX, 0, 1]);
    let f = as_fn!(convert(I8, R8, ConvOp::U2F64, Ty::F64), extern "C" fn(u64) -> f64);
    for v in [0, 1, u64::MAX, 1 << 63, (1 << 63) + 1025, 0x8000_0000_0000_0401] {
        assert_eq!(f(v), v as f64);
    }
    let f = as_fn!(convert(I8, R4, ConvOp::U2F32, Ty::F32), extern "C" fn(u64) -> f32);
    for v in [0, 1, u64::MAX, (1 << 40) + (1 << 16) + 1] {
        assert_eq!(f(v), v as f32);
    }
    let f = as_fn!(convert(I4, R8, ConvOp::U2F64, Ty::F64), extern "C" fn(u32) -> f64);
    assert_eq!(f(u32::MAX), u32::MAX as f64);
    let f = as_fn!(convert(I4, I4, ConvOp::Sext8, Ty::I32), extern "C" fn(i32) -> i32);
    assert_eq!(f(0x1ff), -1);
    let f = as_fn!(convert(I4, I4, ConvOp::Zext16, Ty::I32), extern "C" fn(i32) -> i32);
    assert_eq!(f(-1), 0xffff);
}

fn checked(from: TypeId, bits: u8, signed: bool, from_unsigned: bool) -> impl Fn(usize) -> Option<i64> {
    let host = Host::new();
    let to = if bits == 64 { I8 } else { I4 };
    let ty = if bits == 64 { Ty::I64 } else { Ty::I32 };
    let info = code(&host, sig(to, &[from]), |b| {
        let x = b.arg(0);
        let x = b.get(x);
        let r = b.emit(
            Op::ConvOvf(
                ConvOvf {
                    bits,
                    signed,
                    from_unsigned,
                },
                x,
            ),
            ty,
        );
        b.ret(Some(r));
    });
    move |x| {
        run(info, [x, 0, 0, 0])
            .ok()
            .map(|r| if bits == 64 { r as i64 } else { i64::from(r as i32) })
    }
}

#[test]
fn checked_integer_conversions() {
    let samples: [i64; 16] = [
        0,
        1,
        -1,
        127,
        128,
        -128,
        -129,
        255,
        256,
        65535,
        65536,
        i32::MAX as i64,
        i32::MIN as i64,
        0x8000_0000,
        i64::MAX,
        i64::MIN,
    ];
    for bits in [8u8, 16, 32, 64] {
        for signed in [false, true] {
            for un in [false, true] {
                for wide in [false, true] {
                    let f = checked(if wide { I8 } else { I4 }, bits, signed, un);
                    for s in samples {
                        let value: i128 = match (wide, un) {
                            (true, true) => i128::from(s as u64),
                            (true, false) => i128::from(s),
                            (false, true) => i128::from(s as u32),
                            (false, false) => i128::from(s as i32),
                        };
                        let (low, high) = if signed {
                            (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
                        } else {
                            (0, (1i128 << bits) - 1)
                        };
                        let want = (low..=high).contains(&value).then_some(if bits == 64 {
                            value as i64
                        } else {
                            i64::from(value as i32)
                        });
                        assert_eq!(f(s as usize), want, "{value} to {bits} signed {signed}");
                    }
                }
            }
        }
    }
}

#[test]
fn checked_float_conversions() {
    let host = Host::new();
    let make = |bits: u8, signed: bool| {
        let (to, ty) = if bits == 64 { (I8, Ty::I64) } else { (I4, Ty::I32) };
        let info = code(&host, sig(to, &[I8]), |b| {
            let x = b.arg(0);
            let x = b.get(x);
            let x = b.conv(ConvOp::BitcastI64F64, x, Ty::F64);
            let r = b.emit(
                Op::ConvOvf(
                    ConvOvf {
                        bits,
                        signed,
                        from_unsigned: false,
                    },
                    x,
                ),
                ty,
            );
            b.ret(Some(r));
        });
        move |v: f64| run(info, [v.to_bits() as usize, 0, 0, 0]).map(|r| r as u64)
    };
    let i4 = make(32, true);
    assert_eq!(i4(2147483647.9), Ok(2147483647));
    assert_eq!(i4(2147483648.0), Err(1004));
    assert_eq!(i4(-2147483648.9).map(|r| r as i32), Ok(i32::MIN));
    assert_eq!(i4(-2147483649.0), Err(1004));
    assert_eq!(i4(f64::NAN), Err(1004));
    let u1 = make(8, false);
    assert_eq!(
        (u1(255.9), u1(256.0), u1(-0.9), u1(-1.0)),
        (Ok(255), Err(1004), Ok(0), Err(1004))
    );
    let i8 = make(64, true);
    assert_eq!(i8(-9223372036854775808.0).map(|r| r as i64), Ok(i64::MIN));
    assert_eq!(i8(9223372036854775808.0), Err(1004));
    let u8 = make(64, false);
    assert_eq!(u8(18446744073709549568.0), Ok(18446744073709549568));
    assert_eq!(u8(18446744073709551616.0), Err(1004));
}

#[test]
fn overflow_and_division() {
    let host = Host::new();
    let make = |op: OvfOp| {
        code(&host, sig(I4, &[I4, I4]), |b| {
            let (x, y) = (b.arg(0), b.arg(1));
            let x = b.get(x);
            let y = b.get(y);
            let r = b.emit(Op::BinOvf(op, x, y), Ty::I32);
            b.ret(Some(r));
        })
    };
    assert_eq!(run(make(OvfOp::Add), [i32::MAX as usize, 1, 0, 0]), Err(1004));
    assert_eq!(run(make(OvfOp::AddUn), [7, 1, 0, 0]), Ok(8));
    assert_eq!(run(make(OvfOp::MulUn), [0x10000, 0x10000, 0, 0]), Err(1004));
    assert_eq!(run(make(OvfOp::SubUn), [0, 1, 0, 0]), Err(1004));
    let div = code(&host, sig(I4, &[I4, I4]), |b| {
        let (x, y) = (b.arg(0), b.arg(1));
        let x = b.get(x);
        let y = b.get(y);
        b.emit_void(Op::DivCheck {
            signed: true,
            a: x,
            b: y,
        });
        let r = b.bin(BinOp::Div, x, y);
        b.ret(Some(r));
    });
    assert_eq!(run(div, [1, 0, 0, 0]), Err(1003));
    assert_eq!(run(div, [i32::MIN as u32 as usize, u32::MAX as usize, 0, 0]), Err(1004));
    assert_eq!(run(div, [20, -3i32 as u32 as usize, 0, 0]).map(|r| r as i32), Ok(-6));
}

#[test]
fn min_max_follow_ieee_2019() {
    let host = Host::new();
    let make = |op: IntrinsicOp| {
        let info = code(&host, sig(R8, &[R8, R8]), |b| {
            let (x, y) = (b.arg(0), b.arg(1));
            let x = b.get(x);
            let y = b.get(y);
            let r = b.emit(Op::Intrinsic { op, args: vec![x, y] }, Ty::F64);
            b.ret(Some(r));
        });
        as_fn!(info, extern "C" fn(f64, f64) -> f64)
    };
    let (min, max) = (make(IntrinsicOp::Min), make(IntrinsicOp::Max));
    assert!(min(f64::NAN, 1.0).is_nan() && max(1.0, f64::NAN).is_nan());
    assert!(min(0.0, -0.0).is_sign_negative() && max(-0.0, 0.0).is_sign_positive());
    assert_eq!((min(1.0, 2.0), max(1.0, 2.0)), (1.0, 2.0));
}

#[test]
fn bits() {
    let host = Host::new();
    let make = |op: IntrinsicOp, ty: TypeId, t: Ty| {
        let info = code(&host, sig(ty, &[ty]), |b| {
            let x = b.arg(0);
            let x = b.get(x);
            let r = b.emit(Op::Intrinsic { op, args: vec![x] }, t);
            b.ret(Some(r));
        });
        move |x: usize| run(info, [x, 0, 0, 0]).unwrap()
    };
    assert_eq!(make(IntrinsicOp::PopCount, I8, Ty::I64)(0xff00ff), 16);
    assert_eq!(make(IntrinsicOp::LeadingZeros, I4, Ty::I32)(1), 31);
    assert_eq!(make(IntrinsicOp::LeadingZeros, I4, Ty::I32)(0), 32);
    assert_eq!(make(IntrinsicOp::TrailingZeros, I8, Ty::I64)(8), 3);
    assert_eq!(make(IntrinsicOp::ByteSwap, I4, Ty::I32)(0x1122_3344), 0x4433_2211);
    assert_eq!(make(IntrinsicOp::ByteSwap16, I4, Ty::I32)(0x1122), 0x2211);
}

#[test]
fn atomics_of_every_width() {
    let host = Host::new();
    for (mem, ty, bytes) in [
        (MemTy::U8, I4, 1usize),
        (MemTy::I16, I4, 2),
        (MemTy::I32, I4, 4),
        (MemTy::I64, I8, 8),
    ] {
        let t = if ty == I8 { Ty::I64 } else { Ty::I32 };
        let add = code(&host, sig(ty, &[I8, ty]), |b| {
            let (p, v) = (b.arg(0), b.arg(1));
            let p = b.get(p);
            let v = b.get(v);
            let r = b.emit(
                Op::AtomicRmw {
                    op: AtomicOp::Add,
                    ty: mem,
                    addr: p,
                    value: v,
                },
                t,
            );
            b.ret(Some(r));
        });
        let cas = code(&host, sig(ty, &[I8, ty, ty]), |b| {
            let (p, e, v) = (b.arg(0), b.arg(1), b.arg(2));
            let p = b.get(p);
            let e = b.get(e);
            let v = b.get(v);
            let r = b.emit(
                Op::AtomicCas {
                    ty: mem,
                    addr: p,
                    expected: e,
                    value: v,
                },
                t,
            );
            b.ret(Some(r));
        });
        let mut cell = u64::MAX;
        let at = &raw mut cell as usize;
        let old = run(add, [at, 2, 0, 0]).unwrap() as u64;
        assert_eq!(old & 0x7f, 0x7f, "{bytes}");
        let low = if bytes == 8 { u64::MAX } else { (1 << (bytes * 8)) - 1 };
        assert_eq!(cell & low, 1);
        assert_eq!(cell | low, u64::MAX);
        assert_eq!(run(cas, [at, 1, 77, 0]).unwrap() as u32, 1);
        assert_eq!(cell & low, 77);
        assert_eq!(run(cas, [at, 1, 78, 0]).unwrap() as u32, 77);
        assert_eq!(cell & low, 77);
    }
}

#[test]
fn narrow_locals_truncate_and_extend() {
    let host = Host::new();
    let info = code(&host, sig(I4, &[I4, I1]), |b| {
        let local = b.temp(Ty::I32, U1);
        let x = b.arg(0);
        let x = b.get(x);
        b.set(local, x);
        let x = b.get(local);
        let y = b.arg(1);
        let y = b.get(y);
        let r = b.bin(BinOp::Add, x, y);
        b.ret(Some(r));
    });
    let f = as_fn!(info, extern "C" fn(i32, i32) -> i32);
    assert_eq!(f(0x1fe, 0xff), 253);
}

#[test]
fn loops_switches_and_branches() {
    let host = Host::new();
    // Sum of i for i < n, with a poll at the back edge.
    let info = code(&host, sig(I4, &[I4]), |b| {
        let (i, s) = (b.temp(Ty::I32, I4), b.temp(Ty::I32, I4));
        let zero = b.iconst32(0);
        b.set(i, zero);
        b.set(s, zero);
        let (head, body, done) = (b.create_block(), b.create_block(), b.create_block());
        b.jump(head);
        b.switch_to(head);
        let x = b.get(i);
        let n = b.arg(0);
        let n = b.get(n);
        let c = b.cmp(Cond::Lt, x, n);
        b.branch(c, body, done);
        b.switch_to(body);
        b.emit_void(Op::SafepointPoll);
        let x = b.get(i);
        let t = b.get(s);
        let t = b.bin(BinOp::Add, t, x);
        b.set(s, t);
        let one = b.iconst32(1);
        let x = b.bin(BinOp::Add, x, one);
        b.set(i, x);
        b.jump(head);
        b.switch_to(done);
        let t = b.get(s);
        b.ret(Some(t));
    });
    assert_eq!(run(info, [100, 0, 0, 0]), Ok(4950));
    let info = code(&host, sig(I4, &[I4]), |b| {
        let blocks: Vec<_> = (0..4).map(|_| b.create_block()).collect();
        let x = b.arg(0);
        let x = b.get(x);
        b.terminate(Term::Switch {
            index: x,
            targets: blocks[..3].to_vec(),
            default: blocks[3],
        });
        for (i, &block) in blocks.iter().enumerate() {
            b.switch_to(block);
            let v = b.iconst32(i as i32 * 10);
            b.ret(Some(v));
        }
    });
    for (x, want) in [(0, 0), (2, 20), (3, 30), (usize::MAX, 30)] {
        assert_eq!(run(info, [x, 0, 0, 0]), Ok(want));
    }
}

#[test]
fn localloc_in_frame_and_dynamic() {
    let host = Host::new();
    let info = code(&host, sig(I8, &[I8]), |b| {
        let n = b.arg(0);
        let n = b.get(n);
        let p = b.emit(Op::LocAlloc { bytes: n, zero: true }, Ty::I64);
        let sixteen = b.iconst64(16);
        let q = b.emit(
            Op::LocAlloc {
                bytes: sixteen,
                zero: true,
            },
            Ty::I64,
        );
        let x = b.load(MemTy::I64, p, 0);
        let y = b.load(MemTy::I64, q, 8);
        b.store(MemTy::I64, p, 0, n, Barrier::None);
        b.store(MemTy::I64, q, 8, n, Barrier::None);
        let r = b.bin(BinOp::Add, x, y);
        let z = b.load(MemTy::I64, p, 0);
        let r = b.bin(BinOp::Add, r, z);
        let fifteen = b.iconst64(15);
        let a = b.bin(BinOp::And, q, fifteen);
        let r = b.bin(BinOp::Add, r, a);
        b.ret(Some(r));
    });
    assert_eq!(run(info, [4096, 0, 0, 0]), Ok(4096));
}
