//! Operations on 128-bit vectors ([`Ty::V128`](super::Ty)).
//!
//! A vector value is 16 bytes without a type of its elements: the operation names the [`Lane`], and reading the same value
//! with other lanes costs nothing. Lane 0 is the one at the lowest address.

/// Type of the elements that an operation works on. Signedness matters to comparisons, minimum and maximum, widening,
/// saturation, conversions and extraction; others take either.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Lane {
    /// 16 signed bytes.
    I8,
    /// 16 bytes.
    U8,
    /// 8 signed 16-bit integers.
    I16,
    /// 8 unsigned 16-bit integers.
    U16,
    /// 4 signed 32-bit integers.
    I32,
    /// 4 unsigned 32-bit integers.
    U32,
    /// 2 signed 64-bit integers.
    I64,
    /// 2 unsigned 64-bit integers.
    U64,
    /// 4 single precision numbers.
    F32,
    /// 2 double precision numbers.
    F64,
}

impl Lane {
    /// Bytes of an element.
    pub fn bytes(self) -> u32 {
        match self {
            Lane::I8 | Lane::U8 => 1,
            Lane::I16 | Lane::U16 => 2,
            Lane::I32 | Lane::U32 | Lane::F32 => 4,
            Lane::I64 | Lane::U64 | Lane::F64 => 8,
        }
    }

    /// Number of elements in a vector.
    pub fn count(self) -> u32 {
        16 / self.bytes()
    }

    /// Floating point?
    pub fn is_float(self) -> bool {
        matches!(self, Lane::F32 | Lane::F64)
    }

    /// Integer without sign?
    pub fn is_unsigned(self) -> bool {
        matches!(self, Lane::U8 | Lane::U16 | Lane::U32 | Lane::U64)
    }

    /// Stack type of one element.
    pub fn scalar(self) -> super::Ty {
        match self {
            Lane::I64 | Lane::U64 => super::Ty::I64,
            Lane::F32 => super::Ty::F32,
            Lane::F64 => super::Ty::F64,
            _ => super::Ty::I32,
        }
    }

    /// The integer lane of the same width, without sign.
    pub fn bits(self) -> Lane {
        match self.bytes() {
            1 => Lane::U8,
            2 => Lane::U16,
            4 => Lane::U32,
            _ => Lane::U64,
        }
    }

    /// The signed integer lane of the same width.
    pub fn signed(self) -> Lane {
        match self.bytes() {
            1 => Lane::I8,
            2 => Lane::I16,
            4 => Lane::I32,
            _ => Lane::I64,
        }
    }
}

/// What a vector operation does. Operands are vectors and so is the result, unless it says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum VecOp {
    /// A constant: byte 0 is the lowest. No operands.
    Const(u128),
    /// (scalar): in every lane.
    Splat,
    /// (scalar): in lane 0, zeroes in the others.
    Scalar,
    /// (vector) -> scalar: that lane; narrow ones are extended by the lane's sign.
    Extract(u8),
    /// (vector, scalar): with that lane replaced.
    Insert(u8),
    /// (vector) -> I32: bit i is the highest bit of lane i.
    HighBits,
    /// (vector) -> I32: 1 if any bit is set.
    AnyTrue,
    /// (vector) -> I32: 1 if no (integer) lane is zero.
    AllTrue,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
    /// (a, b): a & !b.
    AndNot,
    /// Complement of all bits.
    Not,
    /// (mask, a, b): bits of a where the mask has ones, else of b.
    Select,
    /// Wraps around.
    Add,
    /// Wraps around.
    Sub,
    /// Low half of the product.
    Mul,
    /// Floats only.
    Div,
    /// Two's complement; flips the sign of floats.
    Neg,
    /// Magnitude; the least signed integer stays.
    Abs,
    /// Of floats as `Math.Min`: the first NaN wins as it is, -0 is less than +0.
    Min,
    /// See `Min`.
    Max,
    /// Saturating; 8 and 16 bits only.
    AddSat,
    /// Saturating; 8 and 16 bits only.
    SubSat,
    /// Unsigned rounding average; 8 and 16 bits only.
    Average,
    /// High half of the product; 16 bits only.
    MulHigh,
    /// Products of signed 16-bit lanes, sums of neighbours: 32-bit lanes. The lane given is I16.
    MulAddPairs,
    /// (x, y, z): `x * y + z` with one rounding; floats only.
    Fma,
    /// Lanes of all ones where equal.
    Eq,
    /// Lanes of all ones where not equal (or unordered).
    Ne,
    /// Ordered; by the lane's sign.
    Lt,
    /// Ordered; by the lane's sign.
    Le,
    /// Ordered; by the lane's sign.
    Gt,
    /// Ordered; by the lane's sign.
    Ge,
    /// Lanes of all ones where one of the two is not a number; floats only.
    Unordered,
    /// (vector, I32): all lanes by the same amount, modulo the width.
    Shl,
    /// (vector, I32): fills with the sign; modulo the width.
    Shr,
    /// (vector, I32): fills with zeroes; modulo the width.
    ShrUn,
    /// Square root, correctly rounded.
    Sqrt,
    /// Rounds toward negative infinity.
    Floor,
    /// Rounds toward positive infinity.
    Ceil,
    /// Rounds toward zero.
    Trunc,
    /// Rounds to nearest, ties to even.
    Nearest,
    /// Float of the lane's width from integers of the lane (I32, U32, I64, U64).
    ToFloat,
    /// Integers of the lane (I32, U32) from floats, saturating; NaN gives 0.
    ToInt,
    /// The lower half's lanes, twice as wide (F32 to F64 too). The lane is the operand's.
    WidenLow,
    /// The upper half's lanes, twice as wide.
    WidenHigh,
    /// (low, high): integers truncated to half the width, F64 rounded to F32. The lane is the operands'.
    Narrow,
    /// (low, high): signed lanes (16, 32 bits) saturated to signed ones of half the width.
    NarrowSigned,
    /// (low, high): signed lanes (16, 32 bits) saturated to unsigned ones of half the width.
    NarrowUnsigned,
    /// (a, b): byte i of the result is byte `n[i]` of a followed by b.
    Shuffle([u8; 16]),
    /// (vector, indices): byte i is byte `index[i]`, 0 where the index is above 15.
    Swizzle,
    /// (vector, indices): as `pshufb`: 0 where the index's highest bit is set, else by its low four bits.
    ShuffleBytes,
}

impl VecOp {
    /// Number of operands.
    pub fn arity(self) -> usize {
        use VecOp as V;
        match self {
            V::Const(_) => 0,
            V::Splat
            | V::Scalar
            | V::Extract(_)
            | V::HighBits
            | V::AnyTrue
            | V::AllTrue
            | V::Not
            | V::Neg
            | V::Abs
            | V::Sqrt
            | V::Floor
            | V::Ceil
            | V::Trunc
            | V::Nearest
            | V::ToFloat
            | V::ToInt
            | V::WidenLow
            | V::WidenHigh => 1,
            V::Select | V::Fma => 3,
            _ => 2,
        }
    }

    /// Type of an operand.
    pub fn operand(self, index: usize, lane: Lane) -> super::Ty {
        use VecOp as V;
        match (self, index) {
            (V::Splat | V::Scalar, _) | (V::Insert(_), 1) => lane.scalar(),
            (V::Shl | V::Shr | V::ShrUn, 1) => super::Ty::I32,
            _ => super::Ty::V128,
        }
    }

    /// Type of the result.
    pub fn result(self, lane: Lane) -> super::Ty {
        match self {
            VecOp::Extract(_) => lane.scalar(),
            VecOp::HighBits | VecOp::AnyTrue | VecOp::AllTrue => super::Ty::I32,
            _ => super::Ty::V128,
        }
    }

    /// Is the operation defined for that lane?
    pub fn takes(self, lane: Lane) -> bool {
        use VecOp as V;
        let float = lane.is_float();
        match self {
            V::Extract(i) | V::Insert(i) => u32::from(i) < lane.count(),
            V::Unordered | V::Fma | V::Div | V::Sqrt | V::Floor | V::Ceil | V::Trunc | V::Nearest => float,
            V::AddSat | V::SubSat => lane.bytes() <= 2,
            V::Average => matches!(lane, Lane::U8 | Lane::U16),
            V::MulHigh => lane.bytes() == 2,
            V::MulAddPairs => lane == Lane::I16,
            V::AllTrue | V::Shl | V::Shr | V::ShrUn => !float,
            V::ToFloat => !float && lane.bytes() >= 4,
            V::ToInt => matches!(lane, Lane::I32 | Lane::U32),
            V::WidenLow | V::WidenHigh => lane.bytes() <= 4,
            V::Narrow => lane.bytes() >= 2 && lane != Lane::F32,
            V::NarrowSigned | V::NarrowUnsigned => matches!(lane, Lane::I16 | Lane::I32),
            V::Shuffle(bytes) => bytes.iter().all(|&b| b < 32),
            _ => true,
        }
    }
}
