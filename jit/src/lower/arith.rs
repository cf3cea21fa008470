//! Arithmetic, comparisons, conversions.

use super::{LowerError, Lowerer, Result, Val};
use crate::ir::{BinOp, Cond, ConvOp, ConvOvf, Helper, Inst, Op, OvfOp, Ty, UnOp, Value};
use cranelift_codegen::ir::condcodes::{CondCode, FloatCC, IntCC};
use cranelift_codegen::ir::{self, InstBuilder, MemFlagsData, types};
use cranelift_entity::EntityRef;

impl Lowerer<'_> {
    pub(super) fn lower_arith(&mut self, inst: &Inst) -> Result<()> {
        match inst.op {
            Op::Bin(op, a, b) => {
                let v = self.binary(op, a, b)?;
                self.set(self.result(inst)?, v);
            }
            Op::BinOvf(op, a, b) => {
                let v = self.checked(op, a, b)?;
                self.set(self.result(inst)?, v);
            }
            Op::DivCheck { signed, a, b } => self.div_check(signed, a, b)?,
            Op::Un(op, a) => {
                let v = self.get(a)?;
                let float = self.type_of(v).is_float();
                let v = match op {
                    UnOp::Neg if float => self.cur.ins().fneg(v),
                    UnOp::Neg => self.cur.ins().ineg(v),
                    UnOp::Not if float => return Err(LowerError::Malformed("not of a float".into())),
                    UnOp::Not => self.cur.ins().bnot(v),
                };
                self.set_plain(self.result(inst)?, v);
            }
            Op::Conv(op, a) => {
                let v = self.convert(op, a)?;
                self.set(self.result(inst)?, v);
            }
            Op::ConvOvf(conv, a) => {
                let v = self.get(a)?;
                let v = if self.type_of(v).is_float() {
                    self.checked_from_float(conv, v)?
                } else {
                    self.checked_from_int(conv, v)
                };
                self.set_plain(self.result(inst)?, v);
            }
            Op::Cmp(cond, a, b) => {
                let flag = match self.same_or_opposite(cond, a, b)? {
                    Some(flag) => flag,
                    None => self.compare(cond, a, b)?,
                };
                let result = self.result(inst)?;
                self.vals[result.index()] = Val::Flag(flag);
            }
            Op::CkFinite(a) => {
                let v = self.get(a)?;
                let magnitude = self.cur.ins().fabs(v);
                let infinity = match self.type_of(v) {
                    types::F32 => self.cur.ins().f32const(f32::INFINITY),
                    types::F64 => self.cur.ins().f64const(f64::INFINITY),
                    ty => return Err(LowerError::Malformed(format!("ckfinite of {ty}"))),
                };
                let finite = self.cur.ins().fcmp(FloatCC::LessThan, magnitude, infinity);
                self.throw_unless(finite, Helper::ThrowArithmetic);
                if let Some(r) = inst.result {
                    self.set_plain(r, v);
                }
            }
            Op::Select {
                cond,
                if_true,
                if_false,
            } => {
                let c = self.get_cond(cond)?;
                let a = self.get(if_true)?;
                let b = self.get(if_false)?;
                let v = self.cur.ins().select(c, a, b);
                self.set(self.result(inst)?, v);
            }
            _ => return Err(LowerError::Malformed("not an arithmetic operation".into())),
        }
        Ok(())
    }

    /// Operands of a binary operation, an I32 widened by sign if the other is 64 bits wide (native int with int32).
    fn operands(&mut self, a: Value, b: Value) -> Result<(ir::Value, ir::Value, ir::Type)> {
        let mut x = self.get(a)?;
        let mut y = self.get(b)?;
        match (self.type_of(x), self.type_of(y)) {
            (types::I32, types::I64) => x = self.cur.ins().sextend(types::I64, x),
            (types::I64, types::I32) => y = self.cur.ins().sextend(types::I64, y),
            (s, t) if s != t => return Err(LowerError::Malformed(format!("operands of types {s} and {t}"))),
            _ => {}
        }
        Ok((x, y, self.type_of(x)))
    }

    fn binary(&mut self, op: BinOp, a: Value, b: Value) -> Result<ir::Value> {
        if matches!(op, BinOp::Shl | BinOp::Shr | BinOp::ShrUn) {
            let x = self.get(a)?;
            let n = self.get(b)?;
            let ins = self.cur.ins();
            return Ok(match op {
                BinOp::Shl => ins.ishl(x, n),
                BinOp::Shr => ins.sshr(x, n),
                _ => ins.ushr(x, n),
            });
        }
        let (x, y, ty) = self.operands(a, b)?;
        if ty.is_float() {
            if op == BinOp::Rem {
                let helper = if ty == types::F64 {
                    Helper::FmodF64
                } else {
                    Helper::FmodF32
                };
                return self.call_leaf_value(helper, &[x, y], ty);
            }
            let ins = self.cur.ins();
            return Ok(match op {
                BinOp::Add => ins.fadd(x, y),
                BinOp::Sub => ins.fsub(x, y),
                BinOp::Mul => ins.fmul(x, y),
                BinOp::Div => ins.fdiv(x, y),
                _ => return Err(LowerError::Malformed(format!("{op:?} of floats"))),
            });
        }
        let ins = self.cur.ins();
        Ok(match op {
            BinOp::Add => ins.iadd(x, y),
            BinOp::Sub => ins.isub(x, y),
            BinOp::Mul => ins.imul(x, y),
            BinOp::Div => ins.sdiv(x, y),
            BinOp::DivUn => ins.udiv(x, y),
            BinOp::Rem => ins.srem(x, y),
            BinOp::RemUn => ins.urem(x, y),
            BinOp::And => ins.band(x, y),
            BinOp::Or => ins.bor(x, y),
            BinOp::Xor => ins.bxor(x, y),
            BinOp::Shl | BinOp::Shr | BinOp::ShrUn => return Err(LowerError::Malformed("shift".into())),
        })
    }

    fn checked(&mut self, op: OvfOp, a: Value, b: Value) -> Result<ir::Value> {
        let (x, y, ty) = self.operands(a, b)?;
        if ty.is_float() {
            return Err(LowerError::Malformed("overflow check of floats".into()));
        }
        let ins = self.cur.ins();
        let (v, overflow) = match op {
            OvfOp::Add => ins.sadd_overflow(x, y),
            OvfOp::AddUn => ins.uadd_overflow(x, y),
            OvfOp::Sub => ins.ssub_overflow(x, y),
            OvfOp::SubUn => ins.usub_overflow(x, y),
            OvfOp::Mul => ins.smul_overflow(x, y),
            OvfOp::MulUn => ins.umul_overflow(x, y),
        };
        self.throw_if(overflow, Helper::ThrowOverflow);
        Ok(v)
    }

    fn div_check(&mut self, signed: bool, a: Value, b: Value) -> Result<()> {
        let (x, y, ty) = self.operands(a, b)?;
        let divisor = self.constant(y);
        if divisor.is_none_or(|d| d == 0) {
            self.throw_unless(y, Helper::ThrowDivideByZero);
        }
        if signed && divisor.is_none_or(|d| d == -1) {
            let minus_one = self.iconst(ty, -1);
            let min = self.iconst(
                ty,
                if ty == types::I32 {
                    i64::from(i32::MIN)
                } else {
                    i64::MIN
                },
            );
            let is_minus_one = self.cur.ins().icmp(IntCC::Equal, y, minus_one);
            let is_min = self.cur.ins().icmp(IntCC::Equal, x, min);
            let both = self.cur.ins().band(is_minus_one, is_min);
            self.throw_if(both, Helper::ThrowOverflow);
        }
        Ok(())
    }

    /// The flag of a comparison that is compared with zero, or that of the opposite comparison. (`!(a < b)` compiles to that.)
    fn same_or_opposite(&mut self, cond: Cond, a: Value, b: Value) -> Result<Option<ir::Value>> {
        let Val::Flag(flag) = self.vals[a.index()] else {
            return Ok(None);
        };
        let b = self.get(b)?;
        if !matches!(cond, Cond::Eq | Cond::Ne) || self.constant(b) != Some(0) {
            return Ok(None);
        }
        if cond == Cond::Ne {
            return Ok(Some(flag));
        }
        let dfg = &self.cur.func.dfg;
        let Some(inst) = dfg.value_def(flag).inst() else {
            return Ok(None);
        };
        Ok(match dfg.insts[inst] {
            ir::InstructionData::FloatCompare { cond, args: [x, y], .. } => {
                Some(self.cur.ins().fcmp(cond.complement(), x, y))
            }
            // (What is wider may be a reference, which must not be looked at behind a safepoint.)
            ir::InstructionData::IntCompare { cond, args: [x, y], .. } if dfg.value_type(x) == types::I32 => {
                Some(self.cur.ins().icmp(cond.complement(), x, y))
            }
            _ => None,
        })
    }

    fn compare(&mut self, cond: Cond, a: Value, b: Value) -> Result<ir::Value> {
        let (x, y, ty) = self.operands(a, b)?;
        if ty.is_float() {
            let cc = match cond {
                Cond::Eq => FloatCC::Equal,
                Cond::Ne => FloatCC::NotEqual,
                Cond::Lt => FloatCC::LessThan,
                Cond::Le => FloatCC::LessThanOrEqual,
                Cond::Gt => FloatCC::GreaterThan,
                Cond::Ge => FloatCC::GreaterThanOrEqual,
                Cond::LtUn => FloatCC::UnorderedOrLessThan,
                Cond::LeUn => FloatCC::UnorderedOrLessThanOrEqual,
                Cond::GtUn => FloatCC::UnorderedOrGreaterThan,
                Cond::GeUn => FloatCC::UnorderedOrGreaterThanOrEqual,
                Cond::Unordered => FloatCC::Unordered,
            };
            return Ok(self.cur.ins().fcmp(cc, x, y));
        }
        let cc = match cond {
            Cond::Eq => IntCC::Equal,
            Cond::Ne => IntCC::NotEqual,
            Cond::Lt => IntCC::SignedLessThan,
            Cond::Le => IntCC::SignedLessThanOrEqual,
            Cond::Gt => IntCC::SignedGreaterThan,
            Cond::Ge => IntCC::SignedGreaterThanOrEqual,
            Cond::LtUn => IntCC::UnsignedLessThan,
            Cond::LeUn => IntCC::UnsignedLessThanOrEqual,
            Cond::GtUn => IntCC::UnsignedGreaterThan,
            Cond::GeUn => IntCC::UnsignedGreaterThanOrEqual,
            Cond::Unordered => return Err(LowerError::Malformed("unordered comparison of integers".into())),
        };
        Ok(self.cur.ins().icmp(cc, x, y))
    }

    fn convert(&mut self, op: ConvOp, a: Value) -> Result<ir::Value> {
        use ConvOp as C;
        let v = self.get(a)?;
        let ty = self.type_of(v);
        let float_source = ty.is_float();
        let wants_float = matches!(
            op,
            C::FloatToI32
                | C::FloatToU32
                | C::FloatToI64
                | C::FloatToU64
                | C::F32ToF64
                | C::F64ToF32
                | C::BitcastF32I32
                | C::BitcastF64I64
        );
        if float_source != wants_float {
            return Err(LowerError::Malformed(format!("{op:?} of {ty}")));
        }
        let bits = MemFlagsData::new();
        if let (C::SextI64 | C::ZextI64 | C::Trunc, Some(n)) = (op, self.constant(v)) {
            return Ok(match op {
                C::Trunc => self.iconst(types::I32, n),
                C::ZextI64 if ty == types::I32 => self.iconst(types::I64, i64::from(n as u32)),
                _ => self.iconst(types::I64, n),
            });
        }
        Ok(match op {
            C::Sext8 | C::Zext8 | C::Sext16 | C::Zext16 => {
                let narrow = if matches!(op, C::Sext8 | C::Zext8) {
                    types::I8
                } else {
                    types::I16
                };
                let n = self.cur.ins().ireduce(narrow, v);
                if matches!(op, C::Sext8 | C::Sext16) {
                    self.cur.ins().sextend(types::I32, n)
                } else {
                    self.cur.ins().uextend(types::I32, n)
                }
            }
            C::Trunc if ty == types::I64 => self.cur.ins().ireduce(types::I32, v),
            C::SextI64 if ty == types::I32 => self.cur.ins().sextend(types::I64, v),
            C::ZextI64 if ty == types::I32 => self.cur.ins().uextend(types::I64, v),
            C::Trunc | C::SextI64 | C::ZextI64 => v,
            C::FloatToI32 => self.cur.ins().fcvt_to_sint_sat(types::I32, v),
            C::FloatToU32 => self.cur.ins().fcvt_to_uint_sat(types::I32, v),
            C::FloatToI64 => self.cur.ins().fcvt_to_sint_sat(types::I64, v),
            C::FloatToU64 => self.cur.ins().fcvt_to_uint_sat(types::I64, v),
            C::I2F32 => self.cur.ins().fcvt_from_sint(types::F32, v),
            C::I2F64 => self.cur.ins().fcvt_from_sint(types::F64, v),
            C::U2F32 => self.cur.ins().fcvt_from_uint(types::F32, v),
            C::U2F64 => self.cur.ins().fcvt_from_uint(types::F64, v),
            C::F32ToF64 if ty == types::F32 => self.cur.ins().fpromote(types::F64, v),
            C::F64ToF32 if ty == types::F64 => self.cur.ins().fdemote(types::F32, v),
            C::F32ToF64 | C::F64ToF32 => v,
            C::RefToInt | C::IntToByRef | C::RefToByRef | C::ByRefToRef => v,
            C::BitcastF32I32 => self.cur.ins().bitcast(types::I32, bits, v),
            C::BitcastI32F32 => self.cur.ins().bitcast(types::F32, bits, v),
            C::BitcastF64I64 => self.cur.ins().bitcast(types::I64, bits, v),
            C::BitcastI64F64 => self.cur.ins().bitcast(types::F64, bits, v),
        })
    }

    /// `conv.ovf` of a float: in range after truncation towards zero, else OverflowException (NaN too).
    fn checked_from_float(&mut self, conv: ConvOvf, v: ir::Value) -> Result<ir::Value> {
        let x = if self.type_of(v) == types::F32 {
            self.cur.ins().fpromote(types::F64, v)
        } else {
            v
        };
        let (low, low_cc, high) = match (conv.signed, conv.bits) {
            // -2^63 - 1 is not representable: the bound itself is allowed.
            (true, 64) => (
                -9_223_372_036_854_775_808.0,
                FloatCC::GreaterThanOrEqual,
                9_223_372_036_854_775_808.0,
            ),
            (true, n) => {
                let half = f64::from(1u32 << (n - 1));
                (-half - 1.0, FloatCC::GreaterThan, half)
            }
            (false, n) => (-1.0, FloatCC::GreaterThan, 2f64.powi(i32::from(n))),
        };
        let low = self.cur.ins().f64const(low);
        let high = self.cur.ins().f64const(high);
        let above = self.cur.ins().fcmp(low_cc, x, low);
        self.throw_unless(above, Helper::ThrowOverflow);
        let below = self.cur.ins().fcmp(FloatCC::LessThan, x, high);
        self.throw_unless(below, Helper::ThrowOverflow);
        let ins = self.cur.ins();
        Ok(match (conv.signed, conv.bits) {
            (true, 64) => ins.fcvt_to_sint_sat(types::I64, x),
            (true, _) => ins.fcvt_to_sint_sat(types::I32, x),
            (false, 64) => ins.fcvt_to_uint_sat(types::I64, x),
            (false, _) => ins.fcvt_to_uint_sat(types::I32, x),
        })
    }

    fn checked_from_int(&mut self, conv: ConvOvf, v: ir::Value) -> ir::Value {
        let from = self.type_of(v);
        let from_bits = from.bits() as u8;
        let bits = conv.bits;
        let zero = |s: &mut Self| s.iconst(from, 0);
        if conv.from_unsigned {
            // The target's largest value, unless every source value fits.
            let value_bits = if conv.signed { bits - 1 } else { bits };
            if value_bits < from_bits {
                let max = self.iconst(from, ((1u64 << value_bits) - 1) as i64);
                let bad = self.cur.ins().icmp(IntCC::UnsignedGreaterThan, v, max);
                self.throw_if(bad, Helper::ThrowOverflow);
            }
        } else if conv.signed {
            if bits < from_bits {
                let narrow = match bits {
                    8 => types::I8,
                    16 => types::I16,
                    _ => types::I32,
                };
                let n = self.cur.ins().ireduce(narrow, v);
                let back = self.cur.ins().sextend(from, n);
                let bad = self.cur.ins().icmp(IntCC::NotEqual, back, v);
                self.throw_if(bad, Helper::ThrowOverflow);
            }
        } else if bits >= from_bits {
            let z = zero(self);
            let bad = self.cur.ins().icmp(IntCC::SignedLessThan, v, z);
            self.throw_if(bad, Helper::ThrowOverflow);
        } else {
            let max = self.iconst(from, ((1u64 << bits) - 1) as i64);
            let bad = self.cur.ins().icmp(IntCC::UnsignedGreaterThan, v, max);
            self.throw_if(bad, Helper::ThrowOverflow);
        }
        match (bits == 64, from == types::I64) {
            (true, false) if conv.from_unsigned => self.cur.ins().uextend(types::I64, v),
            (true, false) => self.cur.ins().sextend(types::I64, v),
            (false, true) => self.cur.ins().ireduce(types::I32, v),
            _ => v,
        }
    }

    /// Lowers constants.
    pub(super) fn lower_constant(&mut self, inst: &Inst) -> Result<()> {
        let result = self.result(inst)?;
        let ty = self.func.values[result];
        let v = match (&inst.op, ty) {
            (Op::IConst(n), Ty::I32) => self.iconst(types::I32, *n),
            (Op::IConst(n), Ty::I64 | Ty::Ref | Ty::ByRef) => self.iconst(types::I64, *n),
            (Op::FConst(bits), Ty::F32) => {
                // Accept the bits of either width: the importer stores F32 constants as 32 bits.
                self.cur.ins().f32const(ir::immediates::Ieee32::with_bits(*bits as u32))
            }
            (Op::FConst(bits), Ty::F64) => self.cur.ins().f64const(ir::immediates::Ieee64::with_bits(*bits)),
            (Op::Null, Ty::Ref | Ty::ByRef | Ty::I64) => self.iconst(types::I64, 0),
            (Op::Address(a), Ty::Ref | Ty::ByRef | Ty::I64) => self.iconst(types::I64, *a as i64),
            (op, ty) => return Err(LowerError::Malformed(format!("{op:?} of type {ty:?}"))),
        };
        self.set_plain(result, v);
        Ok(())
    }
}
