//! `conv.*` (ECMA-335 III.3.27 - III.3.29).

use super::stack::Entry;
use super::{Importer, Step, invalid};
use crate::host_api::TypeKind;
use crate::ir::*;

impl Importer<'_, '_> {
    /// `conv.<kind>`; `NInt` and `NUInt` are `conv.i` and `conv.u`.
    pub fn convert(&mut self, kind: TypeKind) -> Step<()> {
        let entry = self.pop()?;
        let result = self.convert_entry(entry, kind)?;
        self.push(result);
        Ok(())
    }

    /// An entry converted to a numeric kind.
    pub fn convert_entry(&mut self, entry: Entry, kind: TypeKind) -> Step<Entry> {
        if let Some(n) = entry.as_int()
            && let Some(folded) = fold(n, entry.ty, kind)
        {
            return Ok(folded);
        }
        let on_stack =
            entry.stack_addr && matches!(kind, TypeKind::NInt | TypeKind::NUInt | TypeKind::I8 | TypeKind::U8);
        let mut entry = entry;
        let value = match entry.ty {
            Ty::Ref | Ty::ByRef => self.coerce(entry, Ty::I64)?,
            Ty::Struct(_) => return invalid("conversion of a value type"),
            _ => self.value(&mut entry)?,
        };
        let value = self.convert_value(value, kind)?;
        let mut result = Entry::new(value, self.b.ty(value)).on_stack(on_stack);
        result.non_null = on_stack;
        Ok(result)
    }

    /// A number converted to a numeric kind.
    pub fn convert_value(&mut self, value: Value, kind: TypeKind) -> Step<Value> {
        let from = self.b.ty(value);
        Ok(match kind {
            TypeKind::I1 | TypeKind::U1 | TypeKind::I2 | TypeKind::U2 => {
                let wide = match from {
                    Ty::I32 => value,
                    Ty::I64 => self.b.conv(ConvOp::Trunc, value, Ty::I32),
                    _ => self.b.conv(ConvOp::FloatToI32, value, Ty::I32),
                };
                self.normalise(wide, kind)
            }
            TypeKind::I4 | TypeKind::U4 => match from {
                Ty::I32 => value,
                Ty::I64 => self.b.conv(ConvOp::Trunc, value, Ty::I32),
                _ if kind == TypeKind::I4 => self.b.conv(ConvOp::FloatToI32, value, Ty::I32),
                _ => self.b.conv(ConvOp::FloatToU32, value, Ty::I32),
            },
            TypeKind::I8 | TypeKind::NInt => match from {
                Ty::I32 => self.b.conv(ConvOp::SextI64, value, Ty::I64),
                Ty::I64 => value,
                _ => self.b.conv(ConvOp::FloatToI64, value, Ty::I64),
            },
            TypeKind::U8 | TypeKind::NUInt => match from {
                Ty::I32 => self.b.conv(ConvOp::ZextI64, value, Ty::I64),
                Ty::I64 => value,
                _ => self.b.conv(ConvOp::FloatToU64, value, Ty::I64),
            },
            TypeKind::R4 => match from {
                Ty::F32 => value,
                Ty::F64 => self.b.conv(ConvOp::F64ToF32, value, Ty::F32),
                _ => self.b.conv(ConvOp::I2F32, value, Ty::F32),
            },
            TypeKind::R8 => match from {
                Ty::F64 => value,
                Ty::F32 => self.b.conv(ConvOp::F32ToF64, value, Ty::F64),
                _ => self.b.conv(ConvOp::I2F64, value, Ty::F64),
            },
            _ => return invalid("not a numeric type"),
        })
    }

    /// `conv.r.un`.
    pub fn convert_r_un(&mut self) -> Step<()> {
        let entry = self.pop()?;
        let value = match entry.ty {
            Ty::Ref | Ty::ByRef => self.coerce(entry, Ty::I64)?,
            Ty::Struct(_) => return invalid("conversion of a value type"),
            ty => self.coerce(entry, ty)?,
        };
        let result = match self.b.ty(value) {
            Ty::F64 => value,
            Ty::F32 => self.b.conv(ConvOp::F32ToF64, value, Ty::F64),
            // A following conv.r4 rounds once, from the integer.
            _ if self.next_is_conv_r4() => self.b.conv(ConvOp::U2F32, value, Ty::F32),
            _ => self.b.conv(ConvOp::U2F64, value, Ty::F64),
        };
        self.push_value(result);
        Ok(())
    }

    fn next_is_conv_r4(&self) -> bool {
        self.layout
            .index_of(self.at)
            .and_then(|i| self.layout.inner(i + 1))
            .is_some_and(|next| next.opcode == corten_metadata::il::Opcode::ConvR4)
    }

    /// `conv.ovf.*`.
    pub fn convert_ovf(&mut self, kind: TypeKind, from_unsigned: bool) -> Step<()> {
        let (bits, signed) = match kind {
            TypeKind::I1 => (8, true),
            TypeKind::U1 => (8, false),
            TypeKind::I2 => (16, true),
            TypeKind::U2 => (16, false),
            TypeKind::I4 => (32, true),
            TypeKind::U4 => (32, false),
            TypeKind::I8 | TypeKind::NInt => (64, true),
            TypeKind::U8 | TypeKind::NUInt => (64, false),
            _ => return invalid("not an integer type"),
        };
        let entry = self.pop()?;
        if let Some(n) = entry.as_int()
            && let Some(folded) = fold_ovf(n, entry.ty, bits, signed, from_unsigned)
        {
            self.push(folded);
            return Ok(());
        }
        let value = match entry.ty {
            Ty::Ref | Ty::ByRef => self.coerce(entry, Ty::I64)?,
            Ty::Struct(_) => return invalid("conversion of a value type"),
            ty => self.coerce(entry, ty)?,
        };
        let from = self.b.ty(value);
        let is_float = matches!(from, Ty::F32 | Ty::F64);
        let result = match (from, bits) {
            (Ty::I32, 64) if from_unsigned => self.b.conv(ConvOp::ZextI64, value, Ty::I64),
            (Ty::I32, 64) if signed => self.b.conv(ConvOp::SextI64, value, Ty::I64),
            (Ty::I32, 32) | (Ty::I64, 64) if signed != from_unsigned => value,
            _ => {
                let ty = if bits == 64 { Ty::I64 } else { Ty::I32 };
                let conv = ConvOvf {
                    bits,
                    signed,
                    from_unsigned: from_unsigned && !is_float,
                };
                self.b.emit(Op::ConvOvf(conv, value), ty)
            }
        };
        let on_stack = entry.stack_addr && bits == 64;
        self.push(Entry::new(result, self.b.ty(result)).on_stack(on_stack));
        Ok(())
    }
}

fn fold(n: i64, from: Ty, kind: TypeKind) -> Option<Entry> {
    Some(match kind {
        TypeKind::I1 => Entry::int(Ty::I32, i64::from(n as i8)),
        TypeKind::U1 => Entry::int(Ty::I32, i64::from(n as u8)),
        TypeKind::I2 => Entry::int(Ty::I32, i64::from(n as i16)),
        TypeKind::U2 => Entry::int(Ty::I32, i64::from(n as u16)),
        TypeKind::I4 | TypeKind::U4 => Entry::int(Ty::I32, i64::from(n as i32)),
        TypeKind::I8 | TypeKind::NInt => Entry::int(Ty::I64, n),
        TypeKind::U8 | TypeKind::NUInt => Entry::int(Ty::I64, if from == Ty::I32 { i64::from(n as u32) } else { n }),
        _ => return None,
    })
}

fn fold_ovf(n: i64, from: Ty, bits: u8, signed: bool, from_unsigned: bool) -> Option<Entry> {
    let n = match (from, from_unsigned) {
        (Ty::I32, true) => i128::from(n as u32),
        (_, true) => i128::from(n as u64),
        (_, false) => i128::from(n),
    };
    let range = if signed {
        -(1i128 << (bits - 1))..(1i128 << (bits - 1))
    } else {
        0..(1i128 << bits)
    };
    if !range.contains(&n) {
        return None;
    }
    let ty = if bits == 64 { Ty::I64 } else { Ty::I32 };
    Some(Entry::int(ty, n as i64))
}
