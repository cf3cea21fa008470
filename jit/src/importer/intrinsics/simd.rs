//! What the expansions of vector methods share: lanes of types, vectors on the evaluation stack, constants.
//!
//! `Vector128<T>` and `Vector<T>` stay value types on the evaluation stack and at every border. An expansion takes the
//! vector out of the value and puts its result into a new one, which costs nothing where both meet (see `lower::structs` and
//! `opt::pieces`).

use super::super::{Importer, Step};
use crate::ids::TypeId;
use crate::ir::*;

/// How far back in a block the definition of a value is looked for.
const WINDOW: usize = 64;

/// Element type of the lanes by its name.
pub(super) fn lane_of_name(name: &str) -> Option<Lane> {
    Some(match name {
        "System.SByte" => Lane::I8,
        "System.Byte" => Lane::U8,
        "System.Int16" => Lane::I16,
        "System.UInt16" => Lane::U16,
        "System.Int32" => Lane::I32,
        "System.UInt32" => Lane::U32,
        "System.Int64" | "System.IntPtr" => Lane::I64,
        "System.UInt64" | "System.UIntPtr" => Lane::U64,
        "System.Single" => Lane::F32,
        "System.Double" => Lane::F64,
        _ => return None,
    })
}

impl Importer<'_, '_> {
    /// Lanes of a 16-byte vector type with a supported element type.
    pub(super) fn lane_of(&mut self, ty: TypeId) -> Step<Option<Lane>> {
        self.lane_of_size(ty, 16)
    }

    /// Lanes of a vector type of that many bytes.
    pub(super) fn lane_of_size(&mut self, ty: TypeId, bytes: u32) -> Step<Option<Lane>> {
        let info = self.type_info(ty)?;
        if info.vector_size != Some(bytes) {
            return Ok(None);
        }
        match info.instantiation.first() {
            Some(&element) => self.element_lane(element),
            None => Ok(None),
        }
    }

    /// Lane of an element type.
    pub(super) fn element_lane(&mut self, ty: TypeId) -> Step<Option<Lane>> {
        Ok(lane_of_name(&self.type_info(ty)?.name))
    }

    /// The operation that defines a value, if it is near in the current block.
    fn definition(&self, value: Value) -> Option<&Op> {
        let insts = &self.b.func.blocks[self.b.current()].insts;
        let near = insts.iter().rev().take(WINDOW);
        near.into_iter().find(|i| i.result == Some(value)).map(|i| &i.op)
    }

    /// Pops a value of a 16-byte vector type as a vector.
    pub(super) fn pop_vector(&mut self, ty: TypeId) -> Step<Value> {
        let value = self.pop_as(Ty::Struct(ty))?;
        if let Some(Op::StructMake { parts, .. }) = self.definition(value)
            && let &[(0, MemTy::V128, vector)] = &parts[..]
        {
            return Ok(vector);
        }
        Ok(self.b.emit(
            Op::StructField {
                value,
                offset: 0,
                ty: MemTy::V128,
            },
            Ty::V128,
        ))
    }

    /// Pushes a vector as a value of a 16-byte vector type.
    pub(super) fn push_vector(&mut self, vector: Value, ty: TypeId) {
        let parts = vec![(0, MemTy::V128, vector)];
        let value = self.b.emit(Op::StructMake { ty, parts }, Ty::Struct(ty));
        self.push_value(value);
    }

    /// Pops a value of an 8-byte vector type as an integer.
    pub(super) fn pop_half(&mut self, ty: TypeId) -> Step<Value> {
        let value = self.pop_as(Ty::Struct(ty))?;
        let (offset, ty) = (0, MemTy::I64);
        Ok(self.b.emit(Op::StructField { value, offset, ty }, Ty::I64))
    }

    /// Pushes an integer as a value of an 8-byte vector type.
    pub(super) fn push_half(&mut self, bits: Value, ty: TypeId) {
        let parts = vec![(0, MemTy::I64, bits)];
        let value = self.b.emit(Op::StructMake { ty, parts }, Ty::Struct(ty));
        self.push_value(value);
    }

    /// A vector constant.
    pub(super) fn constant(&mut self, bits: u128) -> Value {
        self.b.vector(VecOp::Const(bits), Lane::U8, Vec::new())
    }

    /// Bits of a vector that is known to be constant.
    pub(super) fn constant_bits(&self, vector: Value) -> Option<u128> {
        match self.definition(vector) {
            Some(&Op::Vector {
                op: VecOp::Const(bits), ..
            }) => Some(bits),
            _ => None,
        }
    }

    /// Bits of the vector that a value on the stack is, if it is constant.
    pub(super) fn peek_constant(&self, depth: usize) -> Option<u128> {
        let value = self.peek(depth)?.value?;
        match self.definition(value) {
            Some(Op::StructMake { parts, .. }) => match parts[..] {
                [(0, MemTy::V128, vector)] => self.constant_bits(vector),
                _ => None,
            },
            Some(Op::StructZero(_)) => Some(0),
            _ => None,
        }
    }

    /// Bits of one element on the stack, if it is constant.
    pub(super) fn peek_element(&self, depth: usize, lane: Lane) -> Option<u64> {
        let entry = self.peek(depth)?;
        let bits = match entry.as_int() {
            Some(n) if !lane.is_float() => n as u64,
            Some(_) => return None,
            None => match self.definition(entry.value?) {
                Some(&Op::FConst(bits)) if lane.is_float() && entry.ty == lane.scalar() => bits,
                _ => return None,
            },
        };
        let width = lane.bytes() * 8;
        Some(if width == 64 { bits } else { bits & ((1 << width) - 1) })
    }

    /// Every lane with the same bits.
    pub(super) fn repeat(lane: Lane, bits: u64) -> u128 {
        (0..lane.count()).fold(0, |v, i| v | u128::from(bits) << (i * lane.bytes() * 8))
    }

    /// Pops an element: the scalar of a lane.
    pub(super) fn pop_element(&mut self, lane: Lane) -> Step<Value> {
        self.pop_as(lane.scalar())
    }

    /// Pushes an I32 of 0 or 1 as its complement.
    pub(super) fn push_not(&mut self, flag: Value) {
        let zero = self.b.iconst32(0);
        let value = self.b.cmp(Cond::Eq, flag, zero);
        self.push_value(value);
    }

    /// Sum of the lanes: pairs first, as the class library adds floats.
    pub(super) fn sum_of_lanes(&mut self, lane: Lane, vector: Value) -> Value {
        let mut sum = vector;
        let mut distance = if lane.is_float() { lane.bytes() } else { 8 };
        loop {
            // Exchanges blocks of that many bytes.
            let order = std::array::from_fn(|i| i as u8 ^ distance as u8);
            let other = self.b.vector(VecOp::Shuffle(order), lane, vec![sum, sum]);
            sum = self.b.vector(VecOp::Add, lane, vec![sum, other]);
            let done = if lane.is_float() { 8 } else { lane.bytes() };
            if distance == done {
                break;
            }
            distance = if lane.is_float() { distance * 2 } else { distance / 2 };
        }
        self.b.vector(VecOp::Extract(0), lane, vec![sum])
    }

    /// Shifts by an amount that is not taken modulo the width: too large ones give zeroes or signs.
    pub(super) fn shift_unmasked(&mut self, op: VecOp, lane: Lane, vector: Value, amount: Value) -> Value {
        let width = i64::from(lane.bytes() * 8);
        let amount = match self.b.ty(amount) {
            Ty::I32 => self.b.conv(ConvOp::ZextI64, amount, Ty::I64),
            _ => amount,
        };
        let limit = self.b.iconst64(width);
        let small = self.b.cmp(Cond::LtUn, amount, limit);
        let low = self.b.conv(ConvOp::Trunc, amount, Ty::I32);
        if op == VecOp::Shr {
            let most = self.b.iconst32(width as i32 - 1);
            let amount = self.b.emit(
                Op::Select {
                    cond: small,
                    if_true: low,
                    if_false: most,
                },
                Ty::I32,
            );
            return self.b.vector(op, lane, vec![vector, amount]);
        }
        let shifted = self.b.vector(op, lane, vec![vector, low]);
        let mask = self.b.emit(Op::Un(UnOp::Neg, small), Ty::I32);
        let mask = self.b.vector(VecOp::Splat, Lane::I32, vec![mask]);
        self.b.vector(VecOp::And, lane, vec![shifted, mask])
    }
}
