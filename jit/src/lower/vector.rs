//! 128-bit vectors.
//!
//! A vector value keeps the CLIF type of the operation that made it, and is cast where it is used with other lanes: casts
//! between vector types cost no instruction, but would hide a comparison from the selection that uses it. Where a type must
//! be fixed (block parameters, selections) it is `I8X16`.

use super::{LowerError, Lowerer, Result, Val};
use crate::ir::{Inst, Lane, Value, VecOp};
use cranelift_codegen::ir::condcodes::{CondCode, FloatCC, IntCC};
use cranelift_codegen::ir::{self, Endianness, InstBuilder, MemFlagsData, types};
use cranelift_entity::EntityRef;

/// CLIF vector type of a lane.
pub(super) fn vector_type(lane: Lane) -> ir::Type {
    match lane {
        Lane::I8 | Lane::U8 => types::I8X16,
        Lane::I16 | Lane::U16 => types::I16X8,
        Lane::I32 | Lane::U32 => types::I32X4,
        Lane::I64 | Lane::U64 => types::I64X2,
        Lane::F32 => types::F32X4,
        Lane::F64 => types::F64X2,
    }
}

/// Byte `i` of a shuffle that takes these 4-byte pieces.
fn dwords(pieces: [u8; 4]) -> [u8; 16] {
    std::array::from_fn(|i| pieces[i / 4] * 4 + (i % 4) as u8)
}

impl Lowerer<'_> {
    /// The same bits as another vector type.
    pub(super) fn cast_vector(&mut self, v: ir::Value, ty: ir::Type) -> ir::Value {
        if self.type_of(v) == ty {
            return v;
        }
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.cur.ins().bitcast(ty, flags, v)
    }

    /// Sixteen zero bytes.
    pub(super) fn zero_vector(&mut self) -> ir::Value {
        self.vector_constant(types::I8X16, [0; 16])
    }

    /// A vector operand as it is.
    pub(super) fn vector_value(&mut self, v: Value) -> Result<ir::Value> {
        let value = match self.vals[v.index()] {
            Val::Scalar { v, .. } => v,
            _ => self.get(v)?,
        };
        if !self.type_of(value).is_vector() {
            return Err(LowerError::Malformed(format!("{v} is no vector")));
        }
        Ok(value)
    }

    /// A vector operand with these lanes.
    fn vector(&mut self, v: Value, ty: ir::Type) -> Result<ir::Value> {
        let value = self.vector_value(v)?;
        Ok(self.cast_vector(value, ty))
    }

    /// An operand with the integer lanes it has, or bytes.
    fn bits(&mut self, v: Value) -> Result<ir::Value> {
        let value = self.vector_value(v)?;
        if self.type_of(value).lane_type().is_int() {
            Ok(value)
        } else {
            Ok(self.cast_vector(value, types::I8X16))
        }
    }

    fn vector_constant(&mut self, ty: ir::Type, bytes: [u8; 16]) -> ir::Value {
        let data = self.cur.func.dfg.constants.insert(bytes.to_vec().into());
        self.cur.ins().vconst(ty, data)
    }

    /// The vector whose elements a mask compares with zero, for being equal.
    fn compared_with_zero(&self, mask: ir::Value) -> Option<ir::Value> {
        let dfg = &self.cur.func.dfg;
        let data = |v| Some(&dfg.insts[dfg.value_def(v).inst()?]);
        let &ir::InstructionData::IntCompare {
            cond: IntCC::Equal,
            args: [x, y],
            ..
        } = data(mask)?
        else {
            return None;
        };
        let is_zero = |v| match data(v) {
            Some(ir::InstructionData::UnaryConst {
                opcode: ir::Opcode::Vconst,
                constant_handle,
            }) => dfg.constants.get(*constant_handle).as_slice().iter().all(|&b| b == 0),
            _ => false,
        };
        match (is_zero(x), is_zero(y)) {
            (_, true) => Some(x),
            (true, _) => Some(y),
            _ => None,
        }
    }

    /// Is the mask the result of comparing floats of that vector type?
    fn is_comparison_of(&self, mask: ir::Value, ty: ir::Type) -> bool {
        let dfg = &self.cur.func.dfg;
        match dfg.value_def(mask).inst().map(|i| &dfg.insts[i]) {
            Some(ir::InstructionData::FloatCompare { args: [x, _], .. }) => dfg.value_type(*x) == ty,
            _ => false,
        }
    }

    /// A constant of equal 16-bit pieces.
    fn words(&mut self, ty: ir::Type, word: u16) -> ir::Value {
        let [lo, hi] = word.to_le_bytes();
        self.vector_constant(ty, std::array::from_fn(|i| if i % 2 == 0 { lo } else { hi }))
    }

    fn shuffle(&mut self, a: ir::Value, b: ir::Value, bytes: [u8; 16]) -> ir::Value {
        let a = self.cast_vector(a, types::I8X16);
        let b = self.cast_vector(b, types::I8X16);
        // Of one vector it is one instruction.
        let b = if bytes.iter().all(|&i| i < 16) { a } else { b };
        let mask = self.cur.func.dfg.immediates.push(bytes.to_vec().into());
        self.cur.ins().shuffle(a, b, mask)
    }

    /// A scalar operand in the type of one element.
    fn element(&mut self, v: Value, lane: Lane) -> Result<ir::Value> {
        let value = self.get(v)?;
        let wanted = vector_type(lane).lane_type();
        let from = self.type_of(value);
        if from == wanted {
            return Ok(value);
        }
        if from == types::I32 && wanted.is_int() && wanted.bits() < 32 {
            return Ok(self.cur.ins().ireduce(wanted, value));
        }
        Err(LowerError::Malformed(format!("element of type {from} for {lane:?}")))
    }

    /// An element as its scalar stack type.
    fn extend_element(&mut self, v: ir::Value, lane: Lane) -> ir::Value {
        match lane {
            Lane::I8 | Lane::I16 => self.cur.ins().sextend(types::I32, v),
            Lane::U8 | Lane::U16 => self.cur.ins().uextend(types::I32, v),
            _ => v,
        }
    }

    /// Lowers a vector operation.
    pub(super) fn lower_vector(&mut self, inst: &Inst, op: VecOp, lane: Lane, args: &[Value]) -> Result<()> {
        use VecOp as V;
        if !op.takes(lane) || args.len() != op.arity() {
            return Err(LowerError::Malformed(format!("{op:?} of {lane:?}")));
        }
        let result = self.result(inst)?;
        let ty = vector_type(lane);
        let float = lane.is_float();
        let v = match op {
            V::Const(bits) => self.vector_constant(ty, bits.to_le_bytes()),
            V::Splat => {
                let x = self.element(args[0], lane)?;
                self.cur.ins().splat(ty, x)
            }
            V::Scalar if lane.bytes() < 4 => {
                let x = self.element(args[0], lane)?;
                let x = self.cur.ins().uextend(types::I32, x);
                self.cur.ins().scalar_to_vector(types::I32X4, x)
            }
            V::Scalar => {
                let x = self.element(args[0], lane)?;
                self.cur.ins().scalar_to_vector(ty, x)
            }
            V::Extract(i) => {
                let x = self.vector(args[0], ty)?;
                let x = self.cur.ins().extractlane(x, i);
                self.extend_element(x, lane)
            }
            V::Insert(i) => {
                let x = self.vector(args[0], ty)?;
                let y = self.element(args[1], lane)?;
                self.cur.ins().insertlane(x, y, i)
            }
            V::HighBits => {
                let x = self.vector(args[0], vector_type(lane.bits()))?;
                self.cur.ins().vhigh_bits(types::I32, x)
            }
            V::AnyTrue => {
                let x = self.bits(args[0])?;
                let flag = self.cur.ins().vany_true(x);
                self.vals[result.index()] = Val::Flag(flag);
                return Ok(());
            }
            V::AllTrue => {
                let x = self.vector(args[0], ty)?;
                let flag = match self.compared_with_zero(x) {
                    Some(x) => {
                        let any = self.cur.ins().vany_true(x);
                        let zero = self.iconst(types::I8, 0);
                        self.cur.ins().icmp(IntCC::Equal, any, zero)
                    }
                    None => self.cur.ins().vall_true(x),
                };
                self.vals[result.index()] = Val::Flag(flag);
                return Ok(());
            }
            V::And | V::Or | V::Xor | V::AndNot => {
                let x = self.bits(args[0])?;
                let shape = self.type_of(x);
                let y = self.vector(args[1], shape)?;
                match op {
                    V::And => self.cur.ins().band(x, y),
                    V::Or => self.cur.ins().bor(x, y),
                    V::Xor => self.cur.ins().bxor(x, y),
                    _ => {
                        let y = self.cur.ins().bnot(y);
                        self.cur.ins().band(x, y)
                    }
                }
            }
            V::Not => {
                let x = self.bits(args[0])?;
                self.cur.ins().bnot(x)
            }
            V::Select => {
                let mask = self.bits(args[0])?;
                // With the type of what is compared, a selection of the less or the greater one is one instruction.
                let (mask, shape) = if float && self.is_comparison_of(mask, ty) {
                    (self.cast_vector(mask, ty), ty)
                } else {
                    (mask, self.type_of(mask))
                };
                let x = self.vector(args[1], shape)?;
                let y = self.vector(args[2], shape)?;
                self.cur.ins().bitselect(mask, x, y)
            }
            V::Fma => {
                let x = self.vector(args[0], ty)?;
                let y = self.vector(args[1], ty)?;
                let z = self.vector(args[2], ty)?;
                self.cur.ins().fma(x, y, z)
            }
            V::Shl | V::Shr | V::ShrUn => {
                let x = self.vector(args[0], ty)?;
                let n = self.get(args[1])?;
                match op {
                    V::Shl => self.cur.ins().ishl(x, n),
                    V::Shr => self.cur.ins().sshr(x, n),
                    _ => self.cur.ins().ushr(x, n),
                }
            }
            V::Shuffle(bytes) => {
                let x = self.vector(args[0], types::I8X16)?;
                let y = self.vector(args[1], types::I8X16)?;
                self.shuffle(x, y, bytes)
            }
            V::Swizzle | V::ShuffleBytes => {
                let x = self.vector(args[0], types::I8X16)?;
                let y = self.vector(args[1], types::I8X16)?;
                if op == V::Swizzle {
                    self.cur.ins().swizzle(x, y)
                } else {
                    self.cur.ins().x86_pshufb(x, y)
                }
            }
            V::ToFloat | V::ToInt => self.convert_vector(op, lane, args[0])?,
            V::WidenLow | V::WidenHigh => self.widen(op == V::WidenLow, lane, args[0])?,
            V::Narrow => {
                let x = self.vector(args[0], ty)?;
                let y = self.vector(args[1], ty)?;
                self.narrow_vectors(lane, x, y)
            }
            V::NarrowSigned | V::NarrowUnsigned => {
                let x = self.vector(args[0], ty)?;
                let y = self.vector(args[1], ty)?;
                if op == V::NarrowSigned {
                    self.cur.ins().snarrow(x, y)
                } else {
                    self.cur.ins().unarrow(x, y)
                }
            }
            _ if op.arity() == 1 => {
                let x = self.vector(args[0], ty)?;
                let unsigned = lane.is_unsigned();
                let ins = self.cur.ins();
                match op {
                    V::Neg if float => ins.fneg(x),
                    V::Neg => ins.ineg(x),
                    V::Abs if float => ins.fabs(x),
                    V::Abs if unsigned => x,
                    V::Abs => ins.iabs(x),
                    V::Sqrt => ins.sqrt(x),
                    V::Floor => ins.floor(x),
                    V::Ceil => ins.ceil(x),
                    V::Trunc => ins.trunc(x),
                    V::Nearest => ins.nearest(x),
                    _ => return Err(LowerError::Malformed(format!("{op:?} is no unary operation"))),
                }
            }
            _ => {
                let x = self.vector(args[0], ty)?;
                let y = self.vector(args[1], ty)?;
                self.vector_pair(op, lane, x, y)?
            }
        };
        self.set_plain(result, v);
        Ok(())
    }

    /// Operations on pairs of lanes.
    fn vector_pair(&mut self, op: VecOp, lane: Lane, x: ir::Value, y: ir::Value) -> Result<ir::Value> {
        use VecOp as V;
        let (float, unsigned) = (lane.is_float(), lane.is_unsigned());
        if let Some((int, signless, ordered)) = condition(op) {
            return Ok(match (float, unsigned) {
                // (Instruction selection knows minima and maxima by "less" only.)
                (true, _) if matches!(op, V::Gt | V::Ge) => self.cur.ins().fcmp(ordered.swap_args(), y, x),
                (true, _) => self.cur.ins().fcmp(ordered, x, y),
                (_, true) => self.cur.ins().icmp(signless, x, y),
                _ => self.cur.ins().icmp(int, x, y),
            });
        }
        if op == V::Mul && lane.bytes() == 1 {
            return Ok(self.multiply_bytes(x, y));
        }
        if op == V::MulHigh {
            return Ok(self.multiply_high(unsigned, x, y));
        }
        if matches!(op, V::Min | V::Max) && lane == Lane::U64 {
            // The back end has no unsigned minimum of this width.
            let less = self.cur.ins().icmp(IntCC::UnsignedLessThan, x, y);
            let (a, b) = if op == V::Min { (x, y) } else { (y, x) };
            return Ok(self.cur.ins().bitselect(less, a, b));
        }
        if matches!(op, V::Min | V::Max) && float {
            return Ok(self.float_extreme(op == V::Max, x, y));
        }
        let ins = self.cur.ins();
        Ok(match op {
            V::Unordered => ins.fcmp(FloatCC::Unordered, x, y),
            V::Add if float => ins.fadd(x, y),
            V::Add => ins.iadd(x, y),
            V::Sub if float => ins.fsub(x, y),
            V::Sub => ins.isub(x, y),
            V::Mul if float => ins.fmul(x, y),
            V::Mul => ins.imul(x, y),
            V::Div => ins.fdiv(x, y),
            V::Min if unsigned => ins.umin(x, y),
            V::Max if unsigned => ins.umax(x, y),
            V::Min => ins.smin(x, y),
            V::Max => ins.smax(x, y),
            V::AddSat if unsigned => ins.uadd_sat(x, y),
            V::AddSat => ins.sadd_sat(x, y),
            V::SubSat if unsigned => ins.usub_sat(x, y),
            V::SubSat => ins.ssub_sat(x, y),
            V::Average => ins.avg_round(x, y),
            V::MulAddPairs => {
                // The shape that instruction selection knows as `pmaddwd`.
                let (a, b) = (self.cur.ins().swiden_low(x), self.cur.ins().swiden_low(y));
                let (c, d) = (self.cur.ins().swiden_high(x), self.cur.ins().swiden_high(y));
                let (low, high) = (self.cur.ins().imul(a, b), self.cur.ins().imul(c, d));
                self.cur.ins().iadd_pairwise(low, high)
            }
            _ => return Err(LowerError::Malformed(format!("{op:?} of two vectors"))),
        })
    }

    /// `Math.Min` or `Math.Max` of every lane: the first operand that is not a number, bit by bit as it is, else the extreme
    /// one, -0 being less than +0. (CLIF's own minimum makes another NaN.)
    pub(super) fn float_extreme(&mut self, greatest: bool, x: ir::Value, y: ir::Value) -> ir::Value {
        let ty = self.type_of(x);
        let bits = ty.as_int();
        // The machine's: `y` where equal or unordered.
        let (a, b) = if greatest { (y, x) } else { (x, y) };
        let chosen = self.cur.ins().fcmp(FloatCC::LessThan, a, b);
        let chosen = self.cast_vector(chosen, ty);
        let extreme = self.cur.ins().bitselect(chosen, x, y);
        let extreme = self.cast_vector(extreme, bits);
        // Equal numbers differ in the sign of zeroes at most.
        let equal = self.cur.ins().fcmp(FloatCC::Equal, x, y);
        let plain = self.cast_vector(x, bits);
        let extreme = if greatest {
            let inverse = self.cur.ins().bnot(plain);
            let wrong = self.cur.ins().band(equal, inverse);
            let right = self.cur.ins().bnot(wrong);
            self.cur.ins().band(extreme, right)
        } else {
            let more = self.cur.ins().band(equal, plain);
            self.cur.ins().bor(extreme, more)
        };
        let nan = self.cur.ins().fcmp(FloatCC::Unordered, x, x);
        let v = self.cur.ins().bitselect(nan, plain, extreme);
        self.cast_vector(v, ty)
    }

    /// There is no multiplication of bytes: even and odd ones are multiplied as words.
    fn multiply_bytes(&mut self, x: ir::Value, y: ir::Value) -> ir::Value {
        let x = self.cast_vector(x, types::I16X8);
        let y = self.cast_vector(y, types::I16X8);
        let (low_byte, high_byte) = (self.words(types::I16X8, 0x00ff), self.words(types::I16X8, 0xff00));
        let even = self.cur.ins().imul(x, y);
        let even = self.cur.ins().band(even, low_byte);
        let eight = self.iconst(types::I32, 8);
        let x = self.cur.ins().ushr(x, eight);
        let y = self.cur.ins().band(y, high_byte);
        let odd = self.cur.ins().imul(x, y);
        let v = self.cur.ins().bor(even, odd);
        self.cast_vector(v, types::I8X16)
    }

    fn multiply_high(&mut self, unsigned: bool, x: ir::Value, y: ir::Value) -> ir::Value {
        let sixteen = self.iconst(types::I32, 16);
        let mut half = |high: bool| {
            let ins = self.cur.ins();
            let a = match (unsigned, high) {
                (true, false) => ins.uwiden_low(x),
                (true, true) => ins.uwiden_high(x),
                (false, false) => ins.swiden_low(x),
                (false, true) => ins.swiden_high(x),
            };
            let ins = self.cur.ins();
            let b = match (unsigned, high) {
                (true, false) => ins.uwiden_low(y),
                (true, true) => ins.uwiden_high(y),
                (false, false) => ins.swiden_low(y),
                (false, true) => ins.swiden_high(y),
            };
            let product = self.cur.ins().imul(a, b);
            if unsigned {
                self.cur.ins().ushr(product, sixteen)
            } else {
                self.cur.ins().sshr(product, sixteen)
            }
        };
        let (low, high) = (half(false), half(true));
        if unsigned {
            self.cur.ins().unarrow(low, high)
        } else {
            self.cur.ins().snarrow(low, high)
        }
    }

    fn convert_vector(&mut self, op: VecOp, lane: Lane, v: Value) -> Result<ir::Value> {
        let (ints, floats) = match lane.bytes() {
            4 => (types::I32X4, types::F32X4),
            _ => (types::I64X2, types::F64X2),
        };
        if op == VecOp::ToFloat {
            let x = self.vector(v, ints)?;
            return Ok(if lane.is_unsigned() {
                self.cur.ins().fcvt_from_uint(floats, x)
            } else {
                self.cur.ins().fcvt_from_sint(floats, x)
            });
        }
        let x = self.vector(v, floats)?;
        Ok(if lane.is_unsigned() {
            self.cur.ins().fcvt_to_uint_sat(ints, x)
        } else {
            self.cur.ins().fcvt_to_sint_sat(ints, x)
        })
    }

    fn widen(&mut self, low: bool, lane: Lane, v: Value) -> Result<ir::Value> {
        let x = self.vector(v, vector_type(lane))?;
        if lane == Lane::F32 {
            let x = if low {
                x
            } else {
                self.shuffle(x, x, dwords([2, 3, 2, 3]))
            };
            let x = self.cast_vector(x, types::F32X4);
            return Ok(self.cur.ins().fvpromote_low(x));
        }
        let ins = self.cur.ins();
        Ok(match (low, lane.is_unsigned()) {
            (true, true) => ins.uwiden_low(x),
            (true, false) => ins.swiden_low(x),
            (false, true) => ins.uwiden_high(x),
            (false, false) => ins.swiden_high(x),
        })
    }

    fn narrow_vectors(&mut self, lane: Lane, x: ir::Value, y: ir::Value) -> ir::Value {
        match lane.bytes() {
            2 => {
                let mask = self.words(types::I16X8, 0x00ff);
                let (x, y) = (self.cur.ins().band(x, mask), self.cur.ins().band(y, mask));
                self.cur.ins().unarrow(x, y)
            }
            4 => {
                let mask =
                    self.vector_constant(types::I32X4, std::array::from_fn(|i| if i % 4 < 2 { 0xff } else { 0 }));
                let (x, y) = (self.cur.ins().band(x, mask), self.cur.ins().band(y, mask));
                self.cur.ins().unarrow(x, y)
            }
            _ if lane == Lane::F64 => {
                let (x, y) = (self.cur.ins().fvdemote(x), self.cur.ins().fvdemote(y));
                let v = self.shuffle(x, y, dwords([0, 1, 4, 5]));
                self.cast_vector(v, types::F32X4)
            }
            _ => {
                let v = self.shuffle(x, y, dwords([0, 2, 4, 6]));
                self.cast_vector(v, types::I32X4)
            }
        }
    }
}

/// Conditions of a comparison: of signed integers, of unsigned ones, of floats.
fn condition(op: VecOp) -> Option<(IntCC, IntCC, FloatCC)> {
    Some(match op {
        VecOp::Eq => (IntCC::Equal, IntCC::Equal, FloatCC::Equal),
        VecOp::Ne => (IntCC::NotEqual, IntCC::NotEqual, FloatCC::NotEqual),
        VecOp::Lt => (IntCC::SignedLessThan, IntCC::UnsignedLessThan, FloatCC::LessThan),
        VecOp::Le => (
            IntCC::SignedLessThanOrEqual,
            IntCC::UnsignedLessThanOrEqual,
            FloatCC::LessThanOrEqual,
        ),
        VecOp::Gt => (
            IntCC::SignedGreaterThan,
            IntCC::UnsignedGreaterThan,
            FloatCC::GreaterThan,
        ),
        VecOp::Ge => (
            IntCC::SignedGreaterThanOrEqual,
            IntCC::UnsignedGreaterThanOrEqual,
            FloatCC::GreaterThanOrEqual,
        ),
        _ => return None,
    })
}
