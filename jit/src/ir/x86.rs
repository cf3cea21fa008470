//! Operations of x86 that Cranelift's IR has no short form for: lowered to calls of small functions.

use super::Ty;

/// A rearrangement of the bytes of two vectors that an 8-bit immediate controls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Permutation {
    /// `shufps`: two lanes of a, then two of b.
    ShuffleSingle,
    /// `shufpd`: one lane of a, then one of b.
    ShuffleDouble,
    /// `pshufd` of a.
    Shuffle32,
    /// `pshuflw` of a.
    ShuffleLow16,
    /// `pshufhw` of a.
    ShuffleHigh16,
    /// `palignr`: a is the upper part.
    AlignRight,
    /// `pslldq` of a.
    ShiftLeft,
    /// `psrldq` of a.
    ShiftRight,
    /// Lanes of that many bytes: of b where the immediate has a bit.
    Blend(u8),
    /// `insertps`: lane of b into a, some lanes zero.
    InsertSingle,
}

impl Permutation {
    /// Byte i of the result: below 16 of a, below 32 of b, 32 is zero.
    pub fn order(self, imm: u8) -> [u8; 16] {
        use Permutation as P;
        let field = |at: usize| imm >> (2 * at) & 3;
        std::array::from_fn(|i| {
            let byte = i as u8;
            match self {
                P::ShuffleSingle => field(i / 4) * 4 + byte % 4 + if i < 8 { 0 } else { 16 },
                P::ShuffleDouble => (imm >> (i / 8) & 1) * 8 + byte % 8 + if i < 8 { 0 } else { 16 },
                P::Shuffle32 => field(i / 4) * 4 + byte % 4,
                P::ShuffleLow16 if i < 8 => field(i / 2) * 2 + byte % 2,
                P::ShuffleHigh16 if i >= 8 => 8 + field(i / 2 - 4) * 2 + byte % 2,
                P::ShuffleLow16 | P::ShuffleHigh16 => byte,
                P::AlignRight => match byte.checked_add(imm) {
                    Some(n @ 0..=15) => 16 + n,
                    Some(n @ 16..=31) => n - 16,
                    _ => 32,
                },
                P::ShiftLeft => byte.checked_sub(imm).unwrap_or(32),
                P::ShiftRight => byte.checked_add(imm).filter(|n| *n < 16).unwrap_or(32),
                P::Blend(size) if imm >> (byte / size) & 1 != 0 => 16 + byte,
                P::Blend(_) => byte,
                P::InsertSingle if imm >> (i / 4) & 1 != 0 => 32,
                P::InsertSingle if byte / 4 == imm >> 4 & 3 => 16 + (imm >> 6) * 4 + byte % 4,
                P::InsertSingle => byte,
            }
        })
    }
}

/// Which function. V stands for a vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum X86Op {
    /// (V, V, immediate) -> V.
    Permute(Permutation),
    /// `rcpps` (V) -> V.
    Reciprocal,
    /// `rsqrtps` (V) -> V.
    ReciprocalSqrt,
    /// `cvtss2si` (V) -> I32.
    SingleToI32,
    /// `cvttss2si` (V) -> I32.
    SingleToI32Trunc,
    /// `cvtss2si` (V) -> I64.
    SingleToI64,
    /// `cvttss2si` (V) -> I64.
    SingleToI64Trunc,
    /// `cvtsd2si` (V) -> I32.
    DoubleToI32,
    /// `cvttsd2si` (V) -> I32.
    DoubleToI32Trunc,
    /// `cvtsd2si` (V) -> I64.
    DoubleToI64,
    /// `cvttsd2si` (V) -> I64.
    DoubleToI64Trunc,
    /// `cvtps2dq` (V) -> V.
    SinglesToI32,
    /// `cvttps2dq` (V) -> V.
    SinglesToI32Trunc,
    /// `cvtpd2dq` (V) -> V.
    DoublesToI32,
    /// `cvttpd2dq` (V) -> V.
    DoublesToI32Trunc,
    /// `maskmovdqu` (V, mask V, address I64).
    MaskMove,
    /// `psadbw` (V, V) -> V.
    SumAbsoluteDifferences,
    /// `pmaddubsw` (V, V) -> V.
    MulAddBytes,
    /// `pmulhrsw` (V, V) -> V.
    MulHighRoundScale,
    /// `psignb` (V, V) -> V.
    Sign8,
    /// `psignw` (V, V) -> V.
    Sign16,
    /// `psignd` (V, V) -> V.
    Sign32,
    /// `phminposuw` (V) -> V.
    MinHorizontal,
    /// `dpps` (V, V, immediate) -> V.
    DotSingle,
    /// `dppd` (V, V, immediate) -> V.
    DotDouble,
    /// `mpsadbw` (V, V, immediate) -> V.
    MultipleSad,
    /// `crc32` (I32, I32) -> I32.
    Crc8,
    /// `crc32` (I32, I32) -> I32.
    Crc16,
    /// `crc32` (I32, I32) -> I32.
    Crc32,
    /// `crc32` (I64, I64) -> I64.
    Crc64,
    /// A lane by a variable index (V, index I32) -> I64: of that many bytes, zero-extended.
    Extract(u8),
    /// A lane of that many bytes by a variable index: (V, I64, index I32) -> V.
    Insert(u8),
}

impl X86Op {
    /// Types of the operands and of the result.
    pub fn signature(self) -> (&'static [Ty], Option<Ty>) {
        use X86Op as X;
        const V: Ty = Ty::V128;
        match self {
            X::Permute(_) | X::DotSingle | X::DotDouble | X::MultipleSad => (&[V, V, Ty::I32], Some(V)),
            X::Reciprocal
            | X::ReciprocalSqrt
            | X::SinglesToI32
            | X::SinglesToI32Trunc
            | X::DoublesToI32
            | X::DoublesToI32Trunc
            | X::MinHorizontal => (&[V], Some(V)),
            X::SingleToI32 | X::SingleToI32Trunc | X::DoubleToI32 | X::DoubleToI32Trunc => (&[V], Some(Ty::I32)),
            X::SingleToI64 | X::SingleToI64Trunc | X::DoubleToI64 | X::DoubleToI64Trunc => (&[V], Some(Ty::I64)),
            X::MaskMove => (&[V, V, Ty::I64], None),
            X::SumAbsoluteDifferences | X::MulAddBytes | X::MulHighRoundScale | X::Sign8 | X::Sign16 | X::Sign32 => {
                (&[V, V], Some(V))
            }
            X::Crc8 | X::Crc16 | X::Crc32 => (&[Ty::I32, Ty::I32], Some(Ty::I32)),
            X::Crc64 => (&[Ty::I64, Ty::I64], Some(Ty::I64)),
            X::Extract(_) => (&[V, Ty::I32], Some(Ty::I64)),
            X::Insert(_) => (&[V, Ty::I64, Ty::I32], Some(V)),
        }
    }
}
