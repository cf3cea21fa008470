//! Arithmetic, logic and shifts (ECMA-335 III.1.5, III.3).

use super::stack::{Entry, Known};
use super::{Importer, Step, invalid};
use crate::ir::*;

fn fold(op: BinOp, ty: Ty, a: i64, b: i64) -> Option<i64> {
    let n = match op {
        BinOp::Add => a.wrapping_add(b),
        BinOp::Sub => a.wrapping_sub(b),
        BinOp::Mul => a.wrapping_mul(b),
        BinOp::And => a & b,
        BinOp::Or => a | b,
        BinOp::Xor => a ^ b,
        BinOp::Div if b != 0 && b != -1 => a / b,
        BinOp::Rem if b != 0 && b != -1 => a % b,
        BinOp::DivUn if b > 0 && a >= 0 => a / b,
        BinOp::RemUn if b > 0 && a >= 0 => a % b,
        _ => return None,
    };
    Some(if ty == Ty::I32 { i64::from(n as i32) } else { n })
}

fn fold_shift(op: BinOp, ty: Ty, a: i64, count: i64) -> Option<i64> {
    Some(match (ty, op) {
        (Ty::I32, BinOp::Shl) => i64::from((a as i32).wrapping_shl(count as u32)),
        (Ty::I32, BinOp::Shr) => i64::from((a as i32).wrapping_shr(count as u32)),
        (Ty::I32, BinOp::ShrUn) => i64::from((a as u32).wrapping_shr(count as u32) as i32),
        (Ty::I64, BinOp::Shl) => a.wrapping_shl(count as u32),
        (Ty::I64, BinOp::Shr) => a.wrapping_shr(count as u32),
        (Ty::I64, BinOp::ShrUn) => (a as u64).wrapping_shr(count as u32) as i64,
        _ => return None,
    })
}

impl Importer<'_, '_> {
    /// `add` … `xor` of two numbers, pointers included.
    pub fn binary(&mut self, op: BinOp) -> Step<()> {
        let b = self.pop()?;
        let a = self.pop()?;
        if let (Known::Int(x), Known::Int(y)) = (a.known, b.known) {
            let ty = if a.ty == Ty::I32 && b.ty == Ty::I32 {
                Ty::I32
            } else {
                Ty::I64
            };
            if let Some(n) = fold(op, ty, x, y) {
                self.push(Entry::int(ty, n));
                return Ok(());
            }
        }
        match (a.ty, b.ty) {
            (Ty::Struct(_), _) | (_, Ty::Struct(_)) => invalid("arithmetic on a value type"),
            (Ty::F32 | Ty::F64, Ty::F32 | Ty::F64) => self.float_binary(op, a, b),
            (Ty::F32 | Ty::F64, _) | (_, Ty::F32 | Ty::F64) => invalid("arithmetic on a float and something else"),
            (Ty::Ref | Ty::ByRef, _) | (_, Ty::Ref | Ty::ByRef) if matches!(op, BinOp::Add | BinOp::Sub) => {
                self.pointer_binary(op, a, b)
            }
            (x, y) => {
                let ty = if x == Ty::I32 && y == Ty::I32 { Ty::I32 } else { Ty::I64 };
                // Adding to an address of a local (as a native pointer) stays one.
                let on_stack = (a.stack_addr || b.stack_addr) && matches!(op, BinOp::Add | BinOp::Sub);
                let divisor = b.as_int();
                let left = self.coerce(a, ty)?;
                let right = self.coerce(b, ty)?;
                let signed = match op {
                    BinOp::Div | BinOp::Rem => Some(true),
                    BinOp::DivUn | BinOp::RemUn => Some(false),
                    _ => None,
                };
                if let Some(signed) = signed {
                    let safe = divisor.is_some_and(|d| d != 0 && (d != -1 || !signed));
                    if !safe {
                        self.b.emit_void(Op::DivCheck {
                            signed,
                            a: left,
                            b: right,
                        });
                    }
                }
                let value = self.b.bin(op, left, right);
                self.push(Entry::new(value, ty).on_stack(on_stack));
                Ok(())
            }
        }
    }

    fn float_binary(&mut self, op: BinOp, a: Entry, b: Entry) -> Step<()> {
        let ty = if a.ty == b.ty { a.ty } else { Ty::F64 };
        let left = self.coerce(a, ty)?;
        let right = self.coerce(b, ty)?;
        let value = match op {
            BinOp::Add | BinOp::Sub | BinOp::Mul | BinOp::Div => self.b.bin(op, left, right),
            BinOp::Rem => {
                let helper = if ty == Ty::F32 {
                    Helper::FmodF32
                } else {
                    Helper::FmodF64
                };
                self.b.helper(helper, vec![left, right], ty)
            }
            _ => return invalid("integer operation on floats"),
        };
        self.push_value(value);
        Ok(())
    }

    /// Managed pointer arithmetic: pointer ± integer is a pointer, pointer - pointer an integer.
    fn pointer_binary(&mut self, op: BinOp, a: Entry, b: Entry) -> Step<()> {
        let is_pointer = |e: &Entry| matches!(e.ty, Ty::Ref | Ty::ByRef);
        let (a, b) = if op == BinOp::Add && !is_pointer(&a) {
            (b, a)
        } else {
            (a, b)
        };
        if is_pointer(&b) {
            let left = self.coerce(a, Ty::I64)?;
            let right = self.coerce(b, Ty::I64)?;
            let value = self.b.bin(op, left, right);
            self.push_value(value);
            return Ok(());
        }
        let base = self.coerce(a, Ty::ByRef)?;
        let offset = match (op, b.as_int()) {
            (BinOp::Sub, Some(n)) => self.b.iconst64(n.wrapping_neg()),
            (BinOp::Sub, None) => {
                let n = self.coerce(b, Ty::I64)?;
                self.b.emit(Op::Un(UnOp::Neg, n), Ty::I64)
            }
            _ => self.coerce(b, Ty::I64)?,
        };
        let value = self.b.ptr_add(base, offset);
        let mut entry = Entry::new(value, Ty::ByRef).on_stack(a.stack_addr);
        entry.non_null = a.non_null;
        self.push(entry);
        Ok(())
    }

    /// `add.ovf` …
    pub fn binary_ovf(&mut self, op: OvfOp) -> Step<()> {
        let b = self.pop()?;
        let a = self.pop()?;
        match (a.ty, b.ty) {
            (Ty::I32, Ty::I32) | (Ty::I64, Ty::I64) => {}
            (Ty::I32, Ty::I64) | (Ty::I64, Ty::I32) => {}
            (Ty::Ref | Ty::ByRef, _) | (_, Ty::Ref | Ty::ByRef) => {
                return match op {
                    OvfOp::Add | OvfOp::AddUn => self.pointer_binary(BinOp::Add, a, b),
                    OvfOp::Sub | OvfOp::SubUn => self.pointer_binary(BinOp::Sub, a, b),
                    _ => invalid("checked multiplication of pointers"),
                };
            }
            _ => return invalid("checked arithmetic on something that is not an integer"),
        }
        let ty = if a.ty == Ty::I32 && b.ty == Ty::I32 {
            Ty::I32
        } else {
            Ty::I64
        };
        let on_stack = (a.stack_addr || b.stack_addr) && !matches!(op, OvfOp::Mul | OvfOp::MulUn);
        let unsigned = matches!(op, OvfOp::AddUn | OvfOp::SubUn | OvfOp::MulUn);
        let left = self.widen_ovf(a, ty, unsigned)?;
        let right = self.widen_ovf(b, ty, unsigned)?;
        let value = self.b.emit(Op::BinOvf(op, left, right), ty);
        self.push(Entry::new(value, ty).on_stack(on_stack));
        Ok(())
    }

    /// Unsigned checked operations zero-extend an int32 that meets a native int.
    fn widen_ovf(&mut self, entry: Entry, ty: Ty, unsigned: bool) -> Step<Value> {
        if unsigned && entry.ty == Ty::I32 && ty == Ty::I64 {
            let wide = self.zero_extended(entry)?;
            return self.coerce(wide, ty);
        }
        self.coerce(entry, ty)
    }

    /// An int32 as the native int with the same low half and no high half.
    pub(super) fn zero_extended(&mut self, entry: Entry) -> Step<Entry> {
        if let Some(n) = entry.as_int() {
            return Ok(Entry::int(Ty::I64, i64::from(n as u32)));
        }
        let value = self.coerce(entry, Ty::I32)?;
        let value = self.b.conv(ConvOp::ZextI64, value, Ty::I64);
        Ok(Entry::new(value, Ty::I64))
    }

    /// `shl`, `shr`, `shr.un`: the count is masked by the width as x64 does.
    pub fn shift(&mut self, op: BinOp) -> Step<()> {
        let count = self.pop()?;
        let a = self.pop()?;
        let ty = match a.ty {
            Ty::I32 => Ty::I32,
            Ty::I64 | Ty::ByRef | Ty::Ref => Ty::I64,
            _ => return invalid("shift of something that is not an integer"),
        };
        if let (Known::Int(x), Known::Int(n)) = (a.known, count.known)
            && let Some(n) = fold_shift(op, ty, x, n)
        {
            self.push(Entry::int(ty, n));
            return Ok(());
        }
        let value = self.coerce(a, ty)?;
        let count = self.coerce(count, Ty::I32)?;
        let result = self.b.bin(op, value, count);
        self.push_value(result);
        Ok(())
    }

    /// `neg`, `not`.
    pub fn unary(&mut self, op: UnOp) -> Step<()> {
        let a = self.pop()?;
        if let Known::Int(n) = a.known {
            let n = if op == UnOp::Neg { n.wrapping_neg() } else { !n };
            self.push(Entry::int(a.ty, n));
            return Ok(());
        }
        let ty = match (a.ty, op) {
            (Ty::I32, _) => Ty::I32,
            (Ty::I64 | Ty::ByRef | Ty::Ref, _) => Ty::I64,
            (Ty::F32 | Ty::F64, UnOp::Neg) => a.ty,
            _ => return invalid("operand is not a number"),
        };
        let value = self.coerce(a, ty)?;
        let result = self.b.emit(Op::Un(op, value), ty);
        self.push_value(result);
        Ok(())
    }

    /// `ckfinite`.
    pub fn check_finite(&mut self) -> Step<()> {
        let a = self.pop()?;
        if !matches!(a.ty, Ty::F32 | Ty::F64) {
            return invalid("ckfinite of something that is not a float");
        }
        let value = self.coerce(a, a.ty)?;
        self.b.emit_void(Op::CkFinite(value));
        self.push_value(value);
        Ok(())
    }
}
