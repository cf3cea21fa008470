//! Vector operations against the same operation on each lane in Rust.

use crate::harness::*;
use corten_jit::builder::FuncBuilder;
use corten_jit::ir::*;

type Bytes = [u8; 16];

/// Compiles `f` over two vectors in memory; stores the vector it gives.
fn compile2(f: impl FnOnce(&mut FuncBuilder, Value, Value) -> Value) -> impl Fn(Bytes, Bytes) -> Bytes {
    let host = Host::new();
    let info = code(&host, sig(VOID, &[I8, I8, I8]), |b| {
        let (x, y, out) = (b.arg(0), b.arg(1), b.arg(2));
        let (x, y, out) = (b.get(x), b.get(y), b.get(out));
        let x = b.load(MemTy::V128, x, 0);
        let y = b.load(MemTy::V128, y, 0);
        let r = f(b, x, y);
        b.store(MemTy::V128, out, 0, r, Barrier::None);
        b.ret(None);
    });
    // SAFETY: the code has that signature.
    let run = unsafe { std::mem::transmute::<usize, extern "C" fn(*const u8, *const u8, *mut u8)>(info.start) };
    move |x, y| {
        let mut out = [0xccu8; 17];
        // One byte off: nothing may need an alignment.
        let mut shifted = [0u8; 33];
        shifted[1..17].copy_from_slice(&x);
        shifted[17..33].copy_from_slice(&y);
        run(shifted[1..].as_ptr(), shifted[17..].as_ptr(), out[1..].as_mut_ptr());
        out[1..].try_into().unwrap()
    }
}

/// Like [`compile2`] for an operation that gives an I32.
fn compile_scalar(f: impl FnOnce(&mut FuncBuilder, Value) -> Value) -> impl Fn(Bytes) -> i32 {
    let host = Host::new();
    let info = code(&host, sig(I4, &[I8]), |b| {
        let x = b.arg(0);
        let x = b.get(x);
        let x = b.load(MemTy::V128, x, 0);
        let r = f(b, x);
        b.ret(Some(r));
    });
    // SAFETY: the code has that signature.
    let run = unsafe { std::mem::transmute::<usize, extern "C" fn(*const u8) -> i32>(info.start) };
    move |x| run(x.as_ptr())
}

/// Edge cases and pseudo-random bytes.
fn samples() -> Vec<Bytes> {
    let mut out: Vec<Bytes> = vec![
        [0; 16],
        [0xff; 16],
        [0x80; 16],
        [0x7f; 16],
        std::array::from_fn(|i| i as u8),
        std::array::from_fn(|i| (i * 17) as u8),
    ];
    for word in [
        1u64,
        i64::MIN as u64,
        i64::MAX as u64,
        0x8000_0000,
        0x7fff_ffff_0000_0001,
        0xffff_0000_8000_7fff,
    ] {
        out.push(std::array::from_fn(|i| word.to_le_bytes()[i % 8]));
    }
    for pair in [
        [0.0f64, -0.0],
        [f64::INFINITY, f64::NEG_INFINITY],
        [1.5, -2.5],
        [1e300, -1e-300],
        [4294967296.5, -2147483649.0],
        [f64::NAN, 0.5],
    ] {
        out.push(std::array::from_fn(|i| pair[i / 8].to_le_bytes()[i % 8]));
        let narrow = pair.map(|x| x as f32);
        out.push(std::array::from_fn(|i| narrow[i / 4 % 2].to_le_bytes()[i % 4]));
        out.push(std::array::from_fn(|i| narrow[(i / 4 + 1) % 2].to_le_bytes()[i % 4]));
    }
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..24 {
        out.push(std::array::from_fn(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        }));
    }
    out
}

/// A Rust type with the lanes of a vector.
trait Element: Copy + PartialEq + std::fmt::Debug {
    const LANE: Lane;
    fn lanes(bytes: Bytes) -> Vec<Self>;
    fn same(self, other: Self) -> bool;
}

macro_rules! elements {
    ($($t:ty, $lane:ident, $same:expr;)*) => {$(
        impl Element for $t {
            const LANE: Lane = Lane::$lane;
            fn lanes(bytes: Bytes) -> Vec<$t> {
                bytes.chunks(size_of::<$t>()).map(|c| <$t>::from_le_bytes(c.try_into().unwrap())).collect()
            }
            fn same(self, other: $t) -> bool {
                let same: fn($t, $t) -> bool = $same;
                same(self, other)
            }
        }
    )*};
}
elements! {
    i8, I8, |a, b| a == b;
    u8, U8, |a, b| a == b;
    i16, I16, |a, b| a == b;
    u16, U16, |a, b| a == b;
    i32, I32, |a, b| a == b;
    u32, U32, |a, b| a == b;
    i64, I64, |a, b| a == b;
    u64, U64, |a, b| a == b;
    f32, F32, |a, b| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    f64, F64, |a, b| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
}

fn pairs<T: Element, R: Element>(op: VecOp, expected: impl Fn(T, T) -> R) {
    let run = compile2(|b, x, y| b.vector(op, T::LANE, vec![x, y]));
    for x in samples() {
        for y in samples() {
            let found = R::lanes(run(x, y));
            for (i, (a, b)) in T::lanes(x).into_iter().zip(T::lanes(y)).enumerate() {
                let wanted = expected(a, b);
                assert!(
                    found[i].same(wanted),
                    "{op:?} {a:?} {b:?}: {:?}, not {wanted:?}",
                    found[i]
                );
            }
        }
    }
}

fn each<T: Element, R: Element>(op: VecOp, lane: Lane, expected: impl Fn(T) -> R) {
    let run = compile2(|b, x, _| b.vector(op, lane, vec![x]));
    for x in samples() {
        let found = R::lanes(run(x, x));
        for (i, a) in T::lanes(x).into_iter().enumerate() {
            let wanted = expected(a);
            assert!(found[i].same(wanted), "{op:?} {a:?}: {:?}, not {wanted:?}", found[i]);
        }
    }
}

fn minimum(a: f64, b: f64) -> f64 {
    match (a.is_nan() || b.is_nan(), a == b) {
        (true, _) => f64::NAN,
        (_, true) if a.is_sign_negative() => a,
        (_, true) => b,
        _ => a.min(b),
    }
}

macro_rules! integers {
    ($($t:ident)*) => {$({
        pairs::<$t, $t>(VecOp::Add, |a, b| a.wrapping_add(b));
        pairs::<$t, $t>(VecOp::Sub, |a, b| a.wrapping_sub(b));
        pairs::<$t, $t>(VecOp::Mul, |a, b| a.wrapping_mul(b));
        pairs::<$t, $t>(VecOp::Min, |a, b| a.min(b));
        pairs::<$t, $t>(VecOp::Max, |a, b| a.max(b));
        pairs::<$t, $t>(VecOp::And, |a, b| a & b);
        pairs::<$t, $t>(VecOp::AndNot, |a, b| a & !b);
        let mask = |yes: bool| if yes { !(0 as $t) } else { 0 };
        pairs::<$t, $t>(VecOp::Eq, |a, b| mask(a == b));
        pairs::<$t, $t>(VecOp::Ne, |a, b| mask(a != b));
        pairs::<$t, $t>(VecOp::Lt, |a, b| mask(a < b));
        pairs::<$t, $t>(VecOp::Le, |a, b| mask(a <= b));
        pairs::<$t, $t>(VecOp::Gt, |a, b| mask(a > b));
        pairs::<$t, $t>(VecOp::Ge, |a, b| mask(a >= b));
        let lane = <$t as Element>::LANE;
        each::<$t, $t>(VecOp::Neg, lane, |a| (0 as $t).wrapping_sub(a));
        #[allow(unused_comparisons, reason = "for unsigned types")]
        each::<$t, $t>(VecOp::Abs, lane, |a| if a < 0 { (0 as $t).wrapping_sub(a) } else { a });
        for amount in [0u32, 1, 3, 7, 8, 15, 31, 33, 63, 64] {
            let bits = <$t>::BITS;
            let shift = |op| compile2(move |b, x, _| {
                let n = b.iconst32(amount as i32);
                b.vector(op, lane, vec![x, n])
            });
            let (left, right) = (shift(VecOp::Shl), shift(VecOp::Shr));
            let zeroes = shift(VecOp::ShrUn);
            for x in samples() {
                let lanes = <$t>::lanes(x);
                let shl: Vec<$t> = lanes.iter().map(|a| a << (amount % bits)).collect();
                assert_eq!(<$t>::lanes(left(x, x)), shl);
                let signed = (0 as $t).wrapping_sub(1) > 0;
                let shr: Vec<$t> = lanes.iter().map(|a| a >> (amount % bits)).collect();
                let found = if signed { zeroes(x, x) } else { right(x, x) };
                assert_eq!(<$t>::lanes(found), shr);
            }
        }
    })*};
}

#[test]
fn integer_lanes() {
    integers!(i8 u8 i16 u16 i32 u32 i64 u64);
}

macro_rules! floats {
    ($($t:ident $bits:ident)*) => {$({
        pairs::<$t, $t>(VecOp::Add, |a, b| a + b);
        pairs::<$t, $t>(VecOp::Sub, |a, b| a - b);
        pairs::<$t, $t>(VecOp::Mul, |a, b| a * b);
        pairs::<$t, $t>(VecOp::Div, |a, b| a / b);
        pairs::<$t, $t>(VecOp::Min, |a, b| minimum(f64::from(a), f64::from(b)) as $t);
        pairs::<$t, $t>(VecOp::Max, |a, b| -minimum(-f64::from(a), -f64::from(b)) as $t);
        let mask = |yes: bool| if yes { $bits::MAX } else { 0 };
        pairs::<$t, $bits>(VecOp::Eq, |a, b| mask(a == b));
        pairs::<$t, $bits>(VecOp::Ne, |a, b| mask(a != b));
        pairs::<$t, $bits>(VecOp::Lt, |a, b| mask(a < b));
        pairs::<$t, $bits>(VecOp::Le, |a, b| mask(a <= b));
        pairs::<$t, $bits>(VecOp::Gt, |a, b| mask(a > b));
        pairs::<$t, $bits>(VecOp::Ge, |a, b| mask(a >= b));
        let lane = <$t as Element>::LANE;
        each::<$t, $t>(VecOp::Neg, lane, |a| -a);
        each::<$t, $t>(VecOp::Abs, lane, |a| a.abs());
        each::<$t, $t>(VecOp::Sqrt, lane, |a| a.sqrt());
        each::<$t, $t>(VecOp::Floor, lane, |a| a.floor());
        each::<$t, $t>(VecOp::Ceil, lane, |a| a.ceil());
        each::<$t, $t>(VecOp::Trunc, lane, |a| a.trunc());
        each::<$t, $t>(VecOp::Nearest, lane, |a| a.round_ties_even());
    })*};
}

#[test]
fn float_lanes() {
    floats!(f32 u32 f64 u64);
    each::<i32, f32>(VecOp::ToFloat, Lane::I32, |a| a as f32);
    each::<u32, f32>(VecOp::ToFloat, Lane::U32, |a| a as f32);
    each::<i64, f64>(VecOp::ToFloat, Lane::I64, |a| a as f64);
    each::<u64, f64>(VecOp::ToFloat, Lane::U64, |a| a as f64);
    each::<f32, i32>(VecOp::ToInt, Lane::I32, |a| a as i32);
    each::<f32, u32>(VecOp::ToInt, Lane::U32, |a| a as u32);
}

#[test]
fn narrow_lanes() {
    pairs::<i8, i8>(VecOp::AddSat, i8::saturating_add);
    pairs::<u8, u8>(VecOp::AddSat, u8::saturating_add);
    pairs::<i16, i16>(VecOp::SubSat, i16::saturating_sub);
    pairs::<u16, u16>(VecOp::SubSat, u16::saturating_sub);
    pairs::<u8, u8>(VecOp::Average, |a, b| (u16::from(a) + u16::from(b)).div_ceil(2) as u8);
    pairs::<i16, i16>(VecOp::MulHigh, |a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16);
    pairs::<u16, u16>(VecOp::MulHigh, |a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16);
    let run = compile2(|b, x, y| b.vector(VecOp::MulAddPairs, Lane::I16, vec![x, y]));
    for x in samples() {
        for y in samples() {
            let (a, b) = (i16::lanes(x), i16::lanes(y));
            let products: Vec<i32> = a.iter().zip(b).map(|(&a, b)| i32::from(a) * i32::from(b)).collect();
            let wanted: Vec<i32> = products.chunks(2).map(|p| p[0].wrapping_add(p[1])).collect();
            assert_eq!(i32::lanes(run(x, y)), wanted);
        }
    }
}

macro_rules! widths {
    ($($from:ident $to:ident)*) => {$({
        let lane = <$from as Element>::LANE;
        let low = compile2(|b, x, _| b.vector(VecOp::WidenLow, lane, vec![x]));
        let high = compile2(|b, x, _| b.vector(VecOp::WidenHigh, lane, vec![x]));
        let narrow = compile2(|b, x, y| b.vector(VecOp::Narrow, <$to as Element>::LANE, vec![x, y]));
        for x in samples() {
            let lanes = <$from>::lanes(x);
            let wide: Vec<$to> = lanes.iter().map(|&a| $to::from(a)).collect();
            let half = wide.len() / 2;
            let found: Vec<$to> = $to::lanes(low(x, x)).into_iter().chain($to::lanes(high(x, x))).collect();
            assert!(found.iter().zip(&wide).all(|(a, b)| a.same(*b)), "{found:?} {wide:?} {half}");
            for y in samples() {
                let all = $to::lanes(x).into_iter().chain($to::lanes(y));
                let wanted: Vec<$from> = all.map(|a| a as $from).collect();
                let found = <$from>::lanes(narrow(x, y));
                assert!(found.iter().zip(&wanted).all(|(a, b)| a.same(*b)), "{found:?} {wanted:?}");
            }
        }
    })*};
}

#[test]
fn widths() {
    widths!(i8 i16 u8 u16 i16 i32 u16 u32 i32 i64 u32 u64 f32 f64);
    let signed = compile2(|b, x, y| b.vector(VecOp::NarrowSigned, Lane::I16, vec![x, y]));
    let unsigned = compile2(|b, x, y| b.vector(VecOp::NarrowUnsigned, Lane::I32, vec![x, y]));
    for x in samples() {
        for y in samples() {
            let all: Vec<i16> = i16::lanes(x).into_iter().chain(i16::lanes(y)).collect();
            let wanted: Vec<i8> = all.iter().map(|&a| a.clamp(-128, 127) as i8).collect();
            assert_eq!(i8::lanes(signed(x, y)), wanted);
            let all: Vec<i32> = i32::lanes(x).into_iter().chain(i32::lanes(y)).collect();
            let wanted: Vec<u16> = all.iter().map(|&a| a.clamp(0, 65535) as u16).collect();
            assert_eq!(u16::lanes(unsigned(x, y)), wanted);
        }
    }
}

#[test]
fn lanes_in_and_out() {
    for x in samples() {
        let bytes = i8::lanes(x);
        for i in [0u8, 5, 15] {
            let get = compile_scalar(|b, x| b.vector(VecOp::Extract(i), Lane::I8, vec![x]));
            assert_eq!(get(x), i32::from(bytes[usize::from(i)]));
        }
        let get = compile_scalar(|b, x| b.vector(VecOp::Extract(7), Lane::U16, vec![x]));
        assert_eq!(get(x), i32::from(u16::lanes(x)[7]));
        let set = compile2(|b, x, y| {
            let n = b.vector(VecOp::Extract(2), Lane::U16, vec![y]);
            b.vector(VecOp::Insert(5), Lane::U16, vec![x, n])
        });
        let mut wanted = u16::lanes(x);
        wanted[5] = wanted[2];
        assert_eq!(u16::lanes(set(x, x)), wanted);
        let splat = compile2(|b, x, _| {
            let n = b.vector(VecOp::Extract(1), Lane::F32, vec![x]);
            b.vector(VecOp::Splat, Lane::F32, vec![n])
        });
        assert_eq!(u32::lanes(splat(x, x)), [u32::lanes(x)[1]; 4]);
        let scalar = compile2(|b, x, _| {
            let n = b.vector(VecOp::Extract(3), Lane::I8, vec![x]);
            b.vector(VecOp::Scalar, Lane::I8, vec![n])
        });
        let mut wanted = [0; 16];
        wanted[0] = x[3];
        assert_eq!(scalar(x, x), wanted);
    }
}

#[test]
fn tests_of_all_lanes() {
    let bits = compile_scalar(|b, x| b.vector(VecOp::HighBits, Lane::I16, vec![x]));
    let float_bits = compile_scalar(|b, x| b.vector(VecOp::HighBits, Lane::F64, vec![x]));
    let any = compile_scalar(|b, x| b.vector(VecOp::AnyTrue, Lane::U8, vec![x]));
    let all = compile_scalar(|b, x| b.vector(VecOp::AllTrue, Lane::U32, vec![x]));
    for x in samples() {
        let wanted = i16::lanes(x)
            .iter()
            .enumerate()
            .map(|(i, a)| i32::from(*a < 0) << i)
            .sum::<i32>();
        assert_eq!(bits(x), wanted);
        let wanted = i64::lanes(x)
            .iter()
            .enumerate()
            .map(|(i, a)| i32::from(*a < 0) << i)
            .sum::<i32>();
        assert_eq!(float_bits(x), wanted);
        assert_eq!(any(x) != 0, x != [0; 16]);
        assert_eq!(all(x) != 0, u32::lanes(x).iter().all(|&a| a != 0));
    }
}

#[test]
fn selections_and_shuffles() {
    let select = compile2(|b, x, y| {
        let mask = b.vector(VecOp::Gt, Lane::I16, vec![x, y]);
        b.vector(VecOp::Select, Lane::I16, vec![mask, x, y])
    });
    let order = std::array::from_fn(|i| (31 - 2 * i) as u8);
    let shuffle = compile2(|b, x, y| b.vector(VecOp::Shuffle(order), Lane::U8, vec![x, y]));
    let swizzle = compile2(|b, x, y| b.vector(VecOp::Swizzle, Lane::U8, vec![x, y]));
    let pshufb = compile2(|b, x, y| b.vector(VecOp::ShuffleBytes, Lane::U8, vec![x, y]));
    for x in samples() {
        for y in samples() {
            let wanted: Vec<i16> = i16::lanes(x)
                .into_iter()
                .zip(i16::lanes(y))
                .map(|(a, b)| a.max(b))
                .collect();
            assert_eq!(i16::lanes(select(x, y)), wanted);
            let both: Vec<u8> = x.into_iter().chain(y).collect();
            assert_eq!(shuffle(x, y).to_vec(), order.map(|i| both[usize::from(i)]).to_vec());
            assert_eq!(swizzle(x, y), y.map(|i| if i > 15 { 0 } else { x[usize::from(i)] }));
            assert_eq!(
                pshufb(x, y),
                y.map(|i| if i > 127 { 0 } else { x[usize::from(i & 15)] })
            );
        }
    }
}

/// Vectors in locals cross blocks in registers.
#[test]
fn locals_of_vectors() {
    let host = Host::new();
    let info = code(&host, sig(VOID, &[I8, I8, I4]), |b| {
        let (data, out, count) = (b.arg(0), b.arg(1), b.arg(2));
        let sum = b.temp(Ty::V128, corten_jit::ids::TypeId(0));
        let zero = b.vector(VecOp::Const(0), Lane::U32, vec![]);
        b.set(sum, zero);
        let (head, body, done) = (b.create_block(), b.create_block(), b.create_block());
        b.jump(head);
        b.switch_to(head);
        let n = b.get(count);
        b.branch(n, body, done);
        b.switch_to(body);
        let p = b.get(data);
        let x = b.load(MemTy::V128, p, 0);
        let s = b.get(sum);
        let s = b.vector(VecOp::Add, Lane::U32, vec![s, x]);
        b.set(sum, s);
        let p = b.ptr_add_const(p, 16);
        b.set(data, p);
        let n = b.get(count);
        let one = b.iconst32(1);
        let n = b.bin(BinOp::Sub, n, one);
        b.set(count, n);
        b.jump(head);
        b.switch_to(done);
        let s = b.get(sum);
        let p = b.get(out);
        b.store(MemTy::V128, p, 0, s, Barrier::None);
        b.ret(None);
    });
    // SAFETY: the code has that signature.
    let run = unsafe { std::mem::transmute::<usize, extern "C" fn(*const u32, *mut u32, i32)>(info.start) };
    let data: Vec<u32> = (0..40).collect();
    let mut out = [0u32; 4];
    run(data.as_ptr(), out.as_mut_ptr(), 10);
    assert_eq!(out, [180, 190, 200, 210]);
}

/// Operations that the machine has are one instruction, without calls.
#[test]
fn instructions() {
    let cases = [
        (VecOp::Add, Lane::U8, "paddb"),
        (VecOp::Sub, Lane::I64, "psubq"),
        (VecOp::Mul, Lane::I32, "pmulld"),
        (VecOp::Mul, Lane::F32, "mulps"),
        (VecOp::Min, Lane::U16, "pminuw"),
        (VecOp::Max, Lane::I8, "pmaxsb"),
        (VecOp::Eq, Lane::U16, "pcmpeqw"),
        (VecOp::Gt, Lane::I64, "pcmpgtq"),
        (VecOp::Lt, Lane::F64, "cmpltpd"),
        (VecOp::AndNot, Lane::U8, "pandn"),
        (VecOp::SubSat, Lane::U8, "psubusb"),
        (VecOp::NarrowUnsigned, Lane::I16, "packuswb"),
        (VecOp::MulAddPairs, Lane::I16, "pmaddwd"),
        (VecOp::ShuffleBytes, Lane::U8, "pshufb"),
    ];
    for (op, lane, wanted) in cases {
        let host = Host::new();
        let func = build(&host, sig(VOID, &[I8]), |b| {
            let p = b.arg(0);
            let p = b.get(p);
            let x = b.load(MemTy::V128, p, 0);
            let y = b.load(MemTy::V128, p, 16);
            let r = b.vector(op, lane, vec![x, y]);
            b.store(MemTy::V128, p, 0, r, Barrier::None);
            b.ret(None);
        });
        let (_, info) = compile_optimised(&host, &func);
        let code = corten_jit::disasm::disassemble("", info);
        // (With a `v` where the processor has AVX.)
        let is_it = |word: &str| word.strip_prefix('v').unwrap_or(word) == wanted;
        let found = code.lines().any(|l| l.split_whitespace().any(is_it));
        assert!(
            found && !code.contains("call"),
            "{op:?} of {lane:?} is not {wanted}:\n{code}"
        );
    }
}
