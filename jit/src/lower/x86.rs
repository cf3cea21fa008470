//! Calls of the functions behind [`X86Op`].
//!
//! They take and give vectors in xmm registers, neither collect nor raise, and keep the thread register.

#![allow(
    improper_ctypes_definitions,
    reason = "the compiler passes __m128i in xmm registers, as generated code does"
)]

use super::{LowerError, Lowerer, Result};
use crate::gc_check::Leaf;
use crate::ir::{Inst, Permutation, Value, X86Op};
use core::arch::x86_64::*;
use cranelift_codegen::ir::{self, AbiParam, InstBuilder};
use cranelift_codegen::isa::CallConv;

fn bytes(v: __m128i) -> [u8; 16] {
    // SAFETY: 16 bytes without invalid values.
    unsafe { std::mem::transmute(v) }
}

fn vector(v: [u8; 16]) -> __m128i {
    // SAFETY: as in `bytes`.
    unsafe { std::mem::transmute(v) }
}

fn singles(v: __m128i) -> [f32; 4] {
    // SAFETY: as in `bytes`.
    unsafe { std::mem::transmute(v) }
}

fn doubles(v: __m128i) -> [f64; 2] {
    // SAFETY: as in `bytes`.
    unsafe { std::mem::transmute(v) }
}

fn permute(p: Permutation, a: __m128i, b: __m128i, imm: u32) -> __m128i {
    let (a, b) = (bytes(a), bytes(b));
    vector(p.order(imm as u8).map(|i| match i {
        0..=15 => a[usize::from(i)],
        16..=31 => b[usize::from(i) - 16],
        _ => 0,
    }))
}

macro_rules! permutations {
    ($($name:ident = $p:expr;)*) => {$(
        extern "C" fn $name(a: __m128i, b: __m128i, imm: u32) -> __m128i {
            permute($p, a, b, imm)
        }
    )*};
}
permutations! {
    shuffle_single = Permutation::ShuffleSingle;
    shuffle_double = Permutation::ShuffleDouble;
    shuffle_32 = Permutation::Shuffle32;
    shuffle_low = Permutation::ShuffleLow16;
    shuffle_high = Permutation::ShuffleHigh16;
    align_right = Permutation::AlignRight;
    shift_left = Permutation::ShiftLeft;
    shift_right = Permutation::ShiftRight;
    blend_2 = Permutation::Blend(2);
    blend_4 = Permutation::Blend(4);
    blend_8 = Permutation::Blend(8);
    insert_single = Permutation::InsertSingle;
}

/// Functions of one instruction: operands, result, expression.
macro_rules! instructions {
    ($($name:ident($($arg:ident: $t:ty),*) -> $ret:ty = $feature:literal $body:expr;)*) => {$(
        extern "C" fn $name($($arg: $t),*) -> $ret {
            #[target_feature(enable = $feature)]
            fn inner($($arg: $t),*) -> $ret {
                $body
            }
            // SAFETY: the operations are only offered where `CpuFeatures::x64_v2` holds, which includes the feature.
            unsafe { inner($($arg),*) }
        }
    )*};
}
instructions! {
    reciprocal(a: __m128i) -> __m128i = "sse2" _mm_castps_si128(_mm_rcp_ps(_mm_castsi128_ps(a)));
    reciprocal_sqrt(a: __m128i) -> __m128i = "sse2" _mm_castps_si128(_mm_rsqrt_ps(_mm_castsi128_ps(a)));
    single_i32(a: __m128i) -> i32 = "sse2" _mm_cvtss_si32(_mm_castsi128_ps(a));
    single_i32_trunc(a: __m128i) -> i32 = "sse2" _mm_cvttss_si32(_mm_castsi128_ps(a));
    single_i64(a: __m128i) -> i64 = "sse2" _mm_cvtss_si64(_mm_castsi128_ps(a));
    single_i64_trunc(a: __m128i) -> i64 = "sse2" _mm_cvttss_si64(_mm_castsi128_ps(a));
    double_i32(a: __m128i) -> i32 = "sse2" _mm_cvtsd_si32(_mm_castsi128_pd(a));
    double_i32_trunc(a: __m128i) -> i32 = "sse2" _mm_cvttsd_si32(_mm_castsi128_pd(a));
    double_i64(a: __m128i) -> i64 = "sse2" _mm_cvtsd_si64(_mm_castsi128_pd(a));
    double_i64_trunc(a: __m128i) -> i64 = "sse2" _mm_cvttsd_si64(_mm_castsi128_pd(a));
    singles_i32(a: __m128i) -> __m128i = "sse2" _mm_cvtps_epi32(_mm_castsi128_ps(a));
    singles_i32_trunc(a: __m128i) -> __m128i = "sse2" _mm_cvttps_epi32(_mm_castsi128_ps(a));
    doubles_i32(a: __m128i) -> __m128i = "sse2" _mm_cvtpd_epi32(_mm_castsi128_pd(a));
    doubles_i32_trunc(a: __m128i) -> __m128i = "sse2" _mm_cvttpd_epi32(_mm_castsi128_pd(a));
    sad(a: __m128i, b: __m128i) -> __m128i = "sse2" _mm_sad_epu8(a, b);
    mul_add_bytes(a: __m128i, b: __m128i) -> __m128i = "ssse3" _mm_maddubs_epi16(a, b);
    mul_high_round(a: __m128i, b: __m128i) -> __m128i = "ssse3" _mm_mulhrs_epi16(a, b);
    sign_8(a: __m128i, b: __m128i) -> __m128i = "ssse3" _mm_sign_epi8(a, b);
    sign_16(a: __m128i, b: __m128i) -> __m128i = "ssse3" _mm_sign_epi16(a, b);
    sign_32(a: __m128i, b: __m128i) -> __m128i = "ssse3" _mm_sign_epi32(a, b);
    min_horizontal(a: __m128i) -> __m128i = "sse4.1" _mm_minpos_epu16(a);
    crc_8(crc: u32, data: u32) -> u32 = "sse4.2" _mm_crc32_u8(crc, data as u8);
    crc_16(crc: u32, data: u32) -> u32 = "sse4.2" _mm_crc32_u16(crc, data as u16);
    crc_32(crc: u32, data: u32) -> u32 = "sse4.2" _mm_crc32_u32(crc, data);
    crc_64(crc: u64, data: u64) -> u64 = "sse4.2" _mm_crc32_u64(crc, data);
}

/// Stores the bytes whose mask byte has its highest bit set.
extern "C" fn mask_move(a: __m128i, mask: __m128i, to: *mut u8) {
    for (i, (a, m)) in bytes(a).into_iter().zip(bytes(mask)).enumerate() {
        if m >= 0x80 {
            // SAFETY: the program asked to write these bytes.
            unsafe { to.add(i).write(a) };
        }
    }
}

extern "C" fn dot_single(a: __m128i, b: __m128i, imm: u32) -> __m128i {
    let (a, b) = (singles(a), singles(b));
    let p: [f32; 4] = std::array::from_fn(|i| if imm >> (4 + i) & 1 != 0 { a[i] * b[i] } else { 0.0 });
    let sum = (p[0] + p[1]) + (p[2] + p[3]);
    let lanes: [f32; 4] = std::array::from_fn(|i| if imm >> i & 1 != 0 { sum } else { 0.0 });
    // SAFETY: 16 bytes without invalid values.
    unsafe { std::mem::transmute(lanes) }
}

extern "C" fn dot_double(a: __m128i, b: __m128i, imm: u32) -> __m128i {
    let (a, b) = (doubles(a), doubles(b));
    let p: [f64; 2] = std::array::from_fn(|i| if imm >> (4 + i) & 1 != 0 { a[i] * b[i] } else { 0.0 });
    let sum = p[0] + p[1];
    let lanes: [f64; 2] = std::array::from_fn(|i| if imm >> i & 1 != 0 { sum } else { 0.0 });
    // SAFETY: 16 bytes without invalid values.
    unsafe { std::mem::transmute(lanes) }
}

extern "C" fn multiple_sad(a: __m128i, b: __m128i, imm: u32) -> __m128i {
    let (a, b) = (bytes(a), bytes(b));
    let (from, block) = ((imm as usize >> 2 & 1) * 4, (imm as usize & 3) * 4);
    let sums: [u16; 8] = std::array::from_fn(|i| {
        let pairs = (0..4).map(|k| a[from + i + k].abs_diff(b[block + k]));
        pairs.map(u16::from).sum()
    });
    // SAFETY: 16 bytes without invalid values.
    unsafe { std::mem::transmute(sums) }
}

fn lane<const N: usize>(index: u32) -> usize {
    index as usize % (16 / N) * N
}

extern "C" fn extract<const N: usize>(a: __m128i, index: u32) -> u64 {
    let mut out = [0; 8];
    out[..N].copy_from_slice(&bytes(a)[lane::<N>(index)..][..N]);
    u64::from_le_bytes(out)
}

extern "C" fn insert<const N: usize>(a: __m128i, value: u64, index: u32) -> __m128i {
    let mut out = bytes(a);
    out[lane::<N>(index)..][..N].copy_from_slice(&value.to_le_bytes()[..N]);
    vector(out)
}

fn address(op: X86Op) -> Option<*const ()> {
    use Permutation as P;
    use X86Op as X;
    Some(match op {
        X::Permute(P::ShuffleSingle) => shuffle_single as *const (),
        X::Permute(P::ShuffleDouble) => shuffle_double as *const (),
        X::Permute(P::Shuffle32) => shuffle_32 as *const (),
        X::Permute(P::ShuffleLow16) => shuffle_low as *const (),
        X::Permute(P::ShuffleHigh16) => shuffle_high as *const (),
        X::Permute(P::AlignRight) => align_right as *const (),
        X::Permute(P::ShiftLeft) => shift_left as *const (),
        X::Permute(P::ShiftRight) => shift_right as *const (),
        X::Permute(P::Blend(2)) => blend_2 as *const (),
        X::Permute(P::Blend(4)) => blend_4 as *const (),
        X::Permute(P::Blend(8)) => blend_8 as *const (),
        X::Permute(P::InsertSingle) => insert_single as *const (),
        X::Reciprocal => reciprocal as *const (),
        X::ReciprocalSqrt => reciprocal_sqrt as *const (),
        X::SingleToI32 => single_i32 as *const (),
        X::SingleToI32Trunc => single_i32_trunc as *const (),
        X::SingleToI64 => single_i64 as *const (),
        X::SingleToI64Trunc => single_i64_trunc as *const (),
        X::DoubleToI32 => double_i32 as *const (),
        X::DoubleToI32Trunc => double_i32_trunc as *const (),
        X::DoubleToI64 => double_i64 as *const (),
        X::DoubleToI64Trunc => double_i64_trunc as *const (),
        X::SinglesToI32 => singles_i32 as *const (),
        X::SinglesToI32Trunc => singles_i32_trunc as *const (),
        X::DoublesToI32 => doubles_i32 as *const (),
        X::DoublesToI32Trunc => doubles_i32_trunc as *const (),
        X::MaskMove => mask_move as *const (),
        X::SumAbsoluteDifferences => sad as *const (),
        X::MulAddBytes => mul_add_bytes as *const (),
        X::MulHighRoundScale => mul_high_round as *const (),
        X::Sign8 => sign_8 as *const (),
        X::Sign16 => sign_16 as *const (),
        X::Sign32 => sign_32 as *const (),
        X::MinHorizontal => min_horizontal as *const (),
        X::DotSingle => dot_single as *const (),
        X::DotDouble => dot_double as *const (),
        X::MultipleSad => multiple_sad as *const (),
        X::Crc8 => crc_8 as *const (),
        X::Crc16 => crc_16 as *const (),
        X::Crc32 => crc_32 as *const (),
        X::Crc64 => crc_64 as *const (),
        X::Extract(1) => extract::<1> as *const (),
        X::Extract(2) => extract::<2> as *const (),
        X::Extract(4) => extract::<4> as *const (),
        X::Extract(8) => extract::<8> as *const (),
        X::Insert(1) => insert::<1> as *const (),
        X::Insert(2) => insert::<2> as *const (),
        X::Insert(4) => insert::<4> as *const (),
        X::Insert(8) => insert::<8> as *const (),
        X::Permute(P::Blend(_)) | X::Extract(_) | X::Insert(_) => return None,
    })
}

impl Lowerer<'_> {
    pub(super) fn lower_x86(&mut self, inst: &Inst, op: X86Op, args: &[Value]) -> Result<()> {
        let (params, ret) = op.signature();
        let target = address(op).ok_or_else(|| LowerError::Malformed(format!("{op:?}")))?;
        if args.len() != params.len() || inst.result.is_some() != ret.is_some() {
            return Err(LowerError::Malformed(format!("{op:?} with {} operands", args.len())));
        }
        let mut sig = ir::Signature::new(CallConv::SystemV);
        let mut values = Vec::with_capacity(args.len());
        for (&arg, &ty) in args.iter().zip(params) {
            let v = self.get(arg)?;
            let wanted = Self::clif_type(ty)?;
            if self.type_of(v) != wanted {
                return Err(LowerError::Malformed(format!("{op:?} of {}", self.type_of(v))));
            }
            sig.params.push(AbiParam::new(wanted));
            values.push(v);
        }
        if let Some(ret) = ret {
            sig.returns.push(AbiParam::new(Self::clif_type(ret)?));
        }
        let sig = self.import_sig(sig);
        let f = self.extern_func(target as u64, sig);
        let call = self.cur.ins().call(f, &values);
        self.note_leaf(call, Leaf::Always);
        let result = self.cur.func.dfg.inst_results(call).first().copied();
        if let (Some(value), Some(v)) = (inst.result, result) {
            self.set_plain(value, v);
        }
        Ok(())
    }
}
