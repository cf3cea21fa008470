//! `Math`, `MathF`, `BitOperations`, `BinaryPrimitives`, `BitConverter`.

use super::super::{Importer, Step};
use crate::host_api::{MethodInfo, TypeKind};
use crate::ir::*;

impl Importer<'_, '_> {
    fn is_float(&mut self, info: &MethodInfo) -> Step<Option<Ty>> {
        let ty = self.stack_ty_of(info.sig.ret)?;
        Ok(ty.filter(|t| matches!(t, Ty::F32 | Ty::F64)))
    }

    fn pop_many(&mut self, count: usize, ty: Ty) -> Step<Vec<Value>> {
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(self.pop_as(ty)?);
        }
        values.reverse();
        Ok(values)
    }

    /// Floating-point functions that are one machine idea, and the estimates.
    pub fn math_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        let count = info.sig.params.len();
        if &*info.name == "ConvertToIntegerNative" && count == 1 {
            return self.convert_to_integer_native(info);
        }
        let Some(ty) = self.is_float(info)? else {
            return Ok(false);
        };
        match (&*info.name, count) {
            ("ReciprocalEstimate", 1) => {
                let value = self.pop_as(ty)?;
                self.reciprocal(value, ty);
                return Ok(true);
            }
            ("ReciprocalSqrtEstimate", 1) => {
                let value = self.pop_as(ty)?;
                let root = self.b.emit(
                    Op::Intrinsic {
                        op: IntrinsicOp::Sqrt,
                        args: vec![value],
                    },
                    ty,
                );
                self.reciprocal(root, ty);
                return Ok(true);
            }
            ("MultiplyAddEstimate", 3) => {
                let args = self.pop_many(3, ty)?;
                // Which of the two it is shows in the result: as CoreCLR does on such a processor.
                let value = if self.host.cpu().fma {
                    let op = IntrinsicOp::Fma;
                    self.b.emit(Op::Intrinsic { op, args }, ty)
                } else {
                    let product = self.b.bin(BinOp::Mul, args[0], args[1]);
                    self.b.bin(BinOp::Add, product, args[2])
                };
                self.push_value(value);
                return Ok(true);
            }
            _ => {}
        }
        let op = match (&*info.name, count) {
            ("Sqrt", 1) => IntrinsicOp::Sqrt,
            ("Abs", 1) => IntrinsicOp::Abs,
            ("Floor", 1) => IntrinsicOp::Floor,
            ("Ceiling", 1) => IntrinsicOp::Ceil,
            ("Truncate", 1) => IntrinsicOp::Trunc,
            ("Round", 1) => IntrinsicOp::RoundEven,
            ("CopySign", 2) => IntrinsicOp::CopySign,
            ("Min", 2) => IntrinsicOp::Min,
            ("Max", 2) => IntrinsicOp::Max,
            ("FusedMultiplyAdd", 3) if self.host.cpu().fma => IntrinsicOp::Fma,
            _ => return Ok(false),
        };
        if !self.options.optional_intrinsics {
            return Ok(false);
        }
        let args = self.pop_many(count, ty)?;
        let value = self.b.emit(Op::Intrinsic { op, args }, ty);
        self.push_value(value);
        Ok(true)
    }

    fn reciprocal(&mut self, value: Value, ty: Ty) {
        let bits = if ty == Ty::F32 {
            u64::from(1f32.to_bits())
        } else {
            1f64.to_bits()
        };
        let one = self.b.emit(Op::FConst(bits), ty);
        let value = self.b.bin(BinOp::Div, one, value);
        self.push_value(value);
    }

    /// `double.ConvertToIntegerNative<TInteger>`: the body recurses for primitive TInteger.
    fn convert_to_integer_native(&mut self, info: &MethodInfo) -> Step<bool> {
        let Some(target) = Self::type_argument(info, 0) else {
            return Ok(false);
        };
        match self.primitive_kind(target)? {
            Some(TypeKind::R4 | TypeKind::R8) | None => Ok(false),
            Some(kind) => {
                if self.host.cpu().x64_v2 && !matches!(kind, TypeKind::U4 | TypeKind::U8 | TypeKind::NUInt) {
                    return self.truncate_natively(info, kind);
                }
                self.convert(kind)?;
                Ok(true)
            }
        }
    }

    /// Conversion of a float to a signed or narrow integer by `cvttss2si`: numbers out of range become the least integer.
    fn truncate_natively(&mut self, info: &MethodInfo, kind: TypeKind) -> Step<bool> {
        let Some(from @ (Ty::F32 | Ty::F64)) = self.stack_ty_of(info.sig.params[0])? else {
            return Ok(false);
        };
        let wide = matches!(kind, TypeKind::I8 | TypeKind::NInt);
        let (lane, op) = match (from, wide) {
            (Ty::F32, false) => (Lane::F32, X86Op::SingleToI32Trunc),
            (Ty::F32, true) => (Lane::F32, X86Op::SingleToI64Trunc),
            (_, false) => (Lane::F64, X86Op::DoubleToI32Trunc),
            (_, true) => (Lane::F64, X86Op::DoubleToI64Trunc),
        };
        let value = self.pop_as(from)?;
        let vector = self.b.vector(VecOp::Scalar, lane, vec![value]);
        let ty = if wide { Ty::I64 } else { Ty::I32 };
        let (op, args) = (op, vec![vector]);
        let value = self.b.emit(Op::X86 { op, args }, ty);
        let value = self.normalise(value, kind);
        self.push_value(value);
        Ok(true)
    }

    /// `BitOperations.*` on 32 and 64 bits.
    pub fn bit_operations_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        let Some(&param) = info.sig.params.first() else {
            return Ok(false);
        };
        let Some(ty @ (Ty::I32 | Ty::I64)) = self.stack_ty_of(param)? else {
            return Ok(false);
        };
        if !matches!(
            self.primitive_kind(param)?,
            Some(TypeKind::I4 | TypeKind::U4 | TypeKind::I8 | TypeKind::U8 | TypeKind::NInt | TypeKind::NUInt)
        ) {
            return Ok(false);
        }
        match (&*info.name, info.sig.params.len()) {
            ("PopCount", 1) => self.count_bits(IntrinsicOp::PopCount, ty)?,
            ("LeadingZeroCount", 1) => self.count_bits(IntrinsicOp::LeadingZeros, ty)?,
            ("TrailingZeroCount", 1) => self.count_bits(IntrinsicOp::TrailingZeros, ty)?,
            ("Log2", 1) => {
                let value = self.pop_as(ty)?;
                let one = self.b.emit(Op::IConst(1), ty);
                let value = self.b.bin(BinOp::Or, value, one);
                self.push_value(value);
                self.count_bits(IntrinsicOp::LeadingZeros, ty)?;
                let zeros = self.pop_as(Ty::I32)?;
                let top = self.b.iconst32(if ty == Ty::I32 { 31 } else { 63 });
                let value = self.b.bin(BinOp::Xor, zeros, top);
                self.push_value(value);
            }
            ("RotateLeft", 2) => self.rotate(IntrinsicOp::RotateLeft, ty)?,
            ("RotateRight", 2) => self.rotate(IntrinsicOp::RotateRight, ty)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn count_bits(&mut self, op: IntrinsicOp, ty: Ty) -> Step<()> {
        let value = self.pop_as(ty)?;
        let mut value = self.b.emit(Op::Intrinsic { op, args: vec![value] }, ty);
        if ty == Ty::I64 {
            value = self.b.conv(ConvOp::Trunc, value, Ty::I32);
        }
        self.push_value(value);
        Ok(())
    }

    fn rotate(&mut self, op: IntrinsicOp, ty: Ty) -> Step<()> {
        let count = self.pop_as(Ty::I32)?;
        let value = self.pop_as(ty)?;
        let value = self.b.emit(
            Op::Intrinsic {
                op,
                args: vec![value, count],
            },
            ty,
        );
        self.push_value(value);
        Ok(())
    }

    /// `BinaryPrimitives.ReverseEndianness` of one integer.
    pub fn binary_primitives_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        if &*info.name != "ReverseEndianness" || info.sig.params.len() != 1 {
            return Ok(false);
        }
        let Some(kind) = self.primitive_kind(info.sig.params[0])? else {
            return Ok(false);
        };
        let (op, ty) = match kind {
            TypeKind::I1 | TypeKind::U1 => return Ok(true),
            TypeKind::I2 | TypeKind::U2 => (IntrinsicOp::ByteSwap16, Ty::I32),
            TypeKind::I4 | TypeKind::U4 => (IntrinsicOp::ByteSwap, Ty::I32),
            TypeKind::I8 | TypeKind::U8 | TypeKind::NInt | TypeKind::NUInt => (IntrinsicOp::ByteSwap, Ty::I64),
            _ => return Ok(false),
        };
        let value = self.pop_as(ty)?;
        let value = self.b.emit(Op::Intrinsic { op, args: vec![value] }, ty);
        let value = if kind == TypeKind::I2 {
            self.normalise(value, kind)
        } else {
            value
        };
        self.push_value(value);
        Ok(true)
    }

    /// Bit-pattern conversions.
    pub fn bit_converter_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        let (op, from, to) = match &*info.name {
            "SingleToInt32Bits" | "SingleToUInt32Bits" => (ConvOp::BitcastF32I32, Ty::F32, Ty::I32),
            "Int32BitsToSingle" | "UInt32BitsToSingle" => (ConvOp::BitcastI32F32, Ty::I32, Ty::F32),
            "DoubleToInt64Bits" | "DoubleToUInt64Bits" => (ConvOp::BitcastF64I64, Ty::F64, Ty::I64),
            "Int64BitsToDouble" | "UInt64BitsToDouble" => (ConvOp::BitcastI64F64, Ty::I64, Ty::F64),
            _ => return Ok(false),
        };
        let value = self.pop_as(from)?;
        let value = self.b.conv(op, value, to);
        self.push_value(value);
        Ok(true)
    }
}
