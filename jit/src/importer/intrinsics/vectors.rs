//! `Vector128`, `Vector128<T>`, `System.Numerics.Vector`, `Vector<T>`: operations with a short machine sequence. All others
//! run their IL bodies, which are made of these.

use super::super::{Importer, Step};
use crate::host_api::MethodInfo;
use crate::ids::TypeId;
use crate::ir::*;

/// Lane-wise operations of two vectors.
fn binary(name: &str, lane: Lane) -> Option<VecOp> {
    let float = lane.is_float();
    Some(match name {
        "Add" | "op_Addition" => VecOp::Add,
        "Subtract" | "op_Subtraction" => VecOp::Sub,
        "Multiply" | "op_Multiply" => VecOp::Mul,
        "Divide" | "op_Division" if float => VecOp::Div,
        "BitwiseAnd" | "op_BitwiseAnd" => VecOp::And,
        "BitwiseOr" | "op_BitwiseOr" => VecOp::Or,
        "Xor" | "op_ExclusiveOr" => VecOp::Xor,
        "AndNot" => VecOp::AndNot,
        "Min" => VecOp::Min,
        "Max" => VecOp::Max,
        "MinNative" if !float => VecOp::Min,
        "MaxNative" if !float => VecOp::Max,
        "AddSaturate" => VecOp::AddSat,
        "SubtractSaturate" => VecOp::SubSat,
        _ => return comparison(name),
    })
    .filter(|op| op.takes(lane))
}

fn comparison(name: &str) -> Option<VecOp> {
    Some(match name {
        "Equals" => VecOp::Eq,
        "LessThan" => VecOp::Lt,
        "LessThanOrEqual" => VecOp::Le,
        "GreaterThan" => VecOp::Gt,
        "GreaterThanOrEqual" => VecOp::Ge,
        _ => return None,
    })
}

/// Lane-wise operations of one vector.
fn unary(name: &str, lane: Lane) -> Option<VecOp> {
    Some(match name {
        "OnesComplement" | "op_OnesComplement" => VecOp::Not,
        "Negate" | "op_UnaryNegation" => VecOp::Neg,
        "Abs" => VecOp::Abs,
        "Sqrt" | "SquareRoot" => VecOp::Sqrt,
        "Floor" => VecOp::Floor,
        "Ceiling" => VecOp::Ceil,
        "Truncate" => VecOp::Trunc,
        "Round" => VecOp::Nearest,
        _ => return None,
    })
    .filter(|op| op.takes(lane))
}

/// The parameters and the result as vectors see them.
struct Shape {
    /// Lane of each parameter that is a 16-byte vector.
    params: smallvec::SmallVec<[Option<Lane>; 4]>,
    ret: Option<Lane>,
}

impl Importer<'_, '_> {
    fn shape(&mut self, info: &MethodInfo) -> Step<Shape> {
        let mut params = smallvec::SmallVec::new();
        for &p in info.sig.params.iter() {
            params.push(self.lane_of(p)?);
        }
        let ret = self.lane_of(info.sig.ret)?;
        Ok(Shape { params, ret })
    }

    fn pop_two(&mut self, info: &MethodInfo) -> Step<(Value, Value)> {
        let y = self.pop_vector(info.sig.params[1])?;
        let x = self.pop_vector(info.sig.params[0])?;
        Ok((x, y))
    }

    /// Methods of the 128-bit vector types; false: call the body.
    pub fn vector_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        if !info.is_static || !info.is_intrinsic {
            return Ok(false);
        }
        // Implementations of ISimdVector are named after the interface.
        let name = info.name.rsplit('.').next().unwrap_or("");
        let shape = self.shape(info)?;
        match (&shape.params[..], shape.ret) {
            ([], Some(lane)) => self.vector_property(info, name, lane),
            (&[Some(_)], Some(_)) if name.starts_with("As") => {
                let v = self.pop_vector(info.sig.params[0])?;
                self.push_vector(v, info.sig.ret);
                Ok(true)
            }
            (&[Some(lane)], ret) => self.vector_of_one(info, name, lane, ret),
            (&[Some(x), Some(y)], Some(_)) => self.vector_of_two(info, name, x, y),
            (&[Some(x), Some(_)], None) => self.answer_of_two(info, name, x),
            (&[Some(x), Some(y), Some(z)], Some(_)) => self.vector_of_three(info, name, [x, y, z]),
            (&[None, Some(lane)], Some(_)) => self.scalar_times_vector(info, name, lane),
            (&[Some(lane), ..], _) => self.vector_and_others(info, name, lane, shape.ret),
            (_, Some(lane)) => self.make_vector(info, name, lane),
            _ => Ok(false),
        }
    }

    /// `Count` and `IsSupported` of a vector type of any size with supported elements.
    pub fn vector_type_property(&mut self, info: &MethodInfo) -> Step<bool> {
        let owner = self.type_info(info.owner)?;
        let (Some(bytes), Some(&element)) = (owner.vector_size, owner.instantiation.first()) else {
            return Ok(false);
        };
        let Some(lane) = self.element_lane(element)? else {
            return Ok(false);
        };
        if &*info.name == "get_Count" {
            self.push_int((bytes / lane.bytes()) as i32);
        } else {
            self.push_bool(true);
        }
        Ok(true)
    }

    /// The checks of element types, which supported ones pass.
    pub fn element_type_check(&mut self, info: &MethodInfo) -> Step<bool> {
        let Some(element) = Self::type_argument(info, 0) else {
            return Ok(false);
        };
        Ok(info.sig.params.is_empty() && self.element_lane(element)?.is_some())
    }

    fn vector_property(&mut self, info: &MethodInfo, name: &str, lane: Lane) -> Step<bool> {
        let one = match lane {
            Lane::F32 => u64::from(1f32.to_bits()),
            Lane::F64 => 1f64.to_bits(),
            _ => 1,
        };
        let bits = match name {
            "get_Zero" => 0,
            "get_AllBitsSet" => u128::MAX,
            "get_One" => Self::repeat(lane, one),
            "get_Indices" => (0..lane.count()).fold(0, |v, i| {
                let element = match lane {
                    Lane::F32 => u64::from((i as f32).to_bits()),
                    Lane::F64 => f64::from(i).to_bits(),
                    _ => u64::from(i),
                };
                v | u128::from(element) << (i * lane.bytes() * 8)
            }),
            _ => return Ok(false),
        };
        let v = self.constant(bits);
        self.push_vector(v, info.sig.ret);
        Ok(true)
    }

    fn vector_of_one(&mut self, info: &MethodInfo, name: &str, lane: Lane, ret: Option<Lane>) -> Step<bool> {
        let param = info.sig.params[0];
        if name == "op_UnaryPlus" {
            return Ok(true);
        }
        if let (Some(op), Some(_)) = (unary(name, lane), ret) {
            let v = self.pop_vector(param)?;
            let v = self.b.vector(op, lane, vec![v]);
            self.push_vector(v, info.sig.ret);
            return Ok(true);
        }
        let (op, lane) = match (name, ret) {
            ("WidenLower", Some(_)) => (VecOp::WidenLow, lane),
            ("WidenUpper", Some(_)) => (VecOp::WidenHigh, lane),
            ("ConvertToSingle" | "ConvertToDouble", Some(to)) if lane.bytes() == to.bytes() => (VecOp::ToFloat, lane),
            ("ConvertToInt32" | "ConvertToUInt32", Some(to)) => (VecOp::ToInt, to),
            ("IsNaN", Some(_)) if lane.is_float() => {
                let v = self.pop_vector(param)?;
                let v = self.b.vector(VecOp::Ne, lane, vec![v, v]);
                self.push_vector(v, info.sig.ret);
                return Ok(true);
            }
            ("ConvertToInt32Native", Some(_)) if lane == Lane::F32 => {
                let v = self.pop_vector(param)?;
                let (op, args) = (X86Op::SinglesToI32Trunc, vec![v]);
                let v = self.b.emit(Op::X86 { op, args }, Ty::V128);
                self.push_vector(v, info.sig.ret);
                return Ok(true);
            }
            ("ToScalar", None) => (VecOp::Extract(0), lane),
            ("ExtractMostSignificantBits", None) => (VecOp::HighBits, lane),
            ("Sum", None) => {
                let v = self.pop_vector(param)?;
                let sum = self.sum_of_lanes(lane, v);
                self.push_value(sum);
                return Ok(true);
            }
            ("GetLower" | "GetUpper", None) if self.lane_of_size(info.sig.ret, 8)? == Some(lane) => {
                let v = self.pop_vector(param)?;
                let index = u8::from(name == "GetUpper");
                let half = self.b.vector(VecOp::Extract(index), Lane::I64, vec![v]);
                self.push_half(half, info.sig.ret);
                return Ok(true);
            }
            _ => return Ok(false),
        };
        if !op.takes(lane) {
            return Ok(false);
        }
        let v = self.pop_vector(param)?;
        let v = self.b.vector(op, lane, vec![v]);
        match ret {
            Some(_) => self.push_vector(v, info.sig.ret),
            None => self.push_value(v),
        }
        Ok(true)
    }

    fn vector_of_two(&mut self, info: &MethodInfo, name: &str, lane: Lane, second: Lane) -> Step<bool> {
        let ret = info.sig.ret;
        if lane == second
            && let Some(op) = binary(name, lane)
        {
            let (x, y) = self.pop_two(info)?;
            let v = self.b.vector(op, lane, vec![x, y]);
            self.push_vector(v, ret);
            return Ok(true);
        }
        let (compare, fits) = match name {
            "MinNative" => (VecOp::Lt, lane == second),
            "MaxNative" => (VecOp::Gt, lane == second),
            "Narrow" if lane == second && VecOp::Narrow.takes(lane) => {
                let (x, y) = self.pop_two(info)?;
                let v = self.b.vector(VecOp::Narrow, lane, vec![x, y]);
                self.push_vector(v, ret);
                return Ok(true);
            }
            "UnpackLow" | "UnpackHigh" if lane == second => {
                let (x, y) = self.pop_two(info)?;
                let v = self.interleave(lane, x, y, name == "UnpackHigh");
                self.push_vector(v, ret);
                return Ok(true);
            }
            "Shuffle" | "ShuffleUnsafe" => return self.vector_shuffle(info, name, lane),
            _ => return Ok(false),
        };
        if !fits {
            return Ok(false);
        }
        let (x, y) = self.pop_two(info)?;
        let mask = self.b.vector(compare, lane, vec![x, y]);
        let v = self.b.vector(VecOp::Select, lane, vec![mask, x, y]);
        self.push_vector(v, ret);
        Ok(true)
    }

    /// Lanes of the low or high halves in turn.
    pub(super) fn interleave(&mut self, lane: Lane, x: Value, y: Value, high: bool) -> Value {
        let size = lane.bytes() as u8;
        let start = if high { 8 } else { 0 };
        let order = std::array::from_fn(|i| {
            let i = i as u8;
            let (element, byte) = (i / size, i % size);
            start + element / 2 * size + byte + if element % 2 == 1 { 16 } else { 0 }
        });
        self.b.vector(VecOp::Shuffle(order), lane, vec![x, y])
    }

    fn vector_shuffle(&mut self, info: &MethodInfo, name: &str, lane: Lane) -> Step<bool> {
        let size = lane.bytes() as u8;
        if let Some(bits) = self.peek_constant(0) {
            let indices = bits.to_le_bytes();
            let (x, _) = self.pop_two(info)?;
            let zero = self.constant(0);
            let order = std::array::from_fn(|i| {
                let i = i as u8;
                let at = usize::from(i / size * size);
                // The whole index counts: one that is out of range in any byte gives zero.
                let rest = &indices[at + 1..at + usize::from(size)];
                if indices[at] >= 16 / size || rest.iter().any(|&b| b != 0) {
                    16
                } else {
                    indices[at] * size + i % size
                }
            });
            let v = self.b.vector(VecOp::Shuffle(order), lane, vec![x, zero]);
            self.push_vector(v, info.sig.ret);
            return Ok(true);
        }
        if size != 1 {
            return Ok(false);
        }
        let op = if name == "ShuffleUnsafe" {
            VecOp::ShuffleBytes
        } else {
            VecOp::Swizzle
        };
        let (x, y) = self.pop_two(info)?;
        let v = self.b.vector(op, lane, vec![x, y]);
        self.push_vector(v, info.sig.ret);
        Ok(true)
    }

    /// Two vectors, an answer that is none.
    fn answer_of_two(&mut self, info: &MethodInfo, name: &str, lane: Lane) -> Step<bool> {
        if name == "Dot" {
            let (x, y) = self.pop_two(info)?;
            let products = self.b.vector(VecOp::Mul, lane, vec![x, y]);
            let sum = self.sum_of_lanes(lane, products);
            self.push_value(sum);
            return Ok(true);
        }
        let (condition, all, negate) = match name {
            "op_Equality" => (VecOp::Eq, true, false),
            "op_Inequality" => (VecOp::Eq, true, true),
            _ => match (name.strip_suffix("All"), name.strip_suffix("Any")) {
                (Some(name), _) => match comparison(name) {
                    Some(op) => (op, true, false),
                    None => return Ok(false),
                },
                (_, Some(name)) => match comparison(name) {
                    Some(op) => (op, false, false),
                    None => return Ok(false),
                },
                _ => return Ok(false),
            },
        };
        let (x, y) = self.pop_two(info)?;
        let mask = self.b.vector(condition, lane, vec![x, y]);
        let op = if all { VecOp::AllTrue } else { VecOp::AnyTrue };
        let flag = self.b.vector(op, lane.bits(), vec![mask]);
        if negate {
            self.push_not(flag);
        } else {
            self.push_value(flag);
        }
        Ok(true)
    }

    fn vector_of_three(&mut self, info: &MethodInfo, name: &str, lanes: [Lane; 3]) -> Step<bool> {
        let lane = lanes[1];
        if !(name == "ConditionalSelect" || name == "MultiplyAddEstimate" && lane.is_float()) {
            return Ok(false);
        }
        let z = self.pop_vector(info.sig.params[2])?;
        let (x, y) = self.pop_two(info)?;
        let v = if name == "ConditionalSelect" {
            self.b.vector(VecOp::Select, lane, vec![x, y, z])
        } else if self.host.cpu().fma {
            self.b.vector(VecOp::Fma, lane, vec![x, y, z])
        } else {
            let product = self.b.vector(VecOp::Mul, lane, vec![x, y]);
            self.b.vector(VecOp::Add, lane, vec![product, z])
        };
        self.push_vector(v, info.sig.ret);
        Ok(true)
    }

    fn scalar_times_vector(&mut self, info: &MethodInfo, name: &str, lane: Lane) -> Step<bool> {
        if !matches!(name, "Multiply" | "op_Multiply") || self.element_lane(info.sig.params[0])? != Some(lane) {
            return Ok(false);
        }
        let v = self.pop_vector(info.sig.params[1])?;
        let x = self.pop_element(lane)?;
        let x = self.b.vector(VecOp::Splat, lane, vec![x]);
        let v = self.b.vector(VecOp::Mul, lane, vec![x, v]);
        self.push_vector(v, info.sig.ret);
        Ok(true)
    }

    /// A vector first, then other things.
    fn vector_and_others(&mut self, info: &MethodInfo, name: &str, lane: Lane, ret: Option<Lane>) -> Step<bool> {
        let count = info.sig.params.len();
        let shift = match name {
            "ShiftLeft" | "op_LeftShift" => Some(VecOp::Shl),
            "ShiftRightArithmetic" | "op_RightShift" if !lane.is_unsigned() => Some(VecOp::Shr),
            "op_RightShift" | "ShiftRightLogical" | "op_UnsignedRightShift" => Some(VecOp::ShrUn),
            _ => None,
        };
        if let (Some(op), 2, Some(_)) = (shift, count, ret) {
            if lane.is_float() || self.stack_ty_of(info.sig.params[1])? != Some(Ty::I32) {
                return Ok(false);
            }
            let amount = self.pop_as(Ty::I32)?;
            let v = self.pop_vector(info.sig.params[0])?;
            let v = self.b.vector(op, lane, vec![v, amount]);
            self.push_vector(v, info.sig.ret);
            return Ok(true);
        }
        match (name, count, ret) {
            ("Multiply" | "op_Multiply" | "Divide" | "op_Division", 2, Some(_)) => {
                let op = if name.contains("ult") { VecOp::Mul } else { VecOp::Div };
                if !op.takes(lane) || self.element_lane(info.sig.params[1])? != Some(lane) {
                    return Ok(false);
                }
                let x = self.pop_element(lane)?;
                let v = self.pop_vector(info.sig.params[0])?;
                let x = self.b.vector(VecOp::Splat, lane, vec![x]);
                let v = self.b.vector(op, lane, vec![v, x]);
                self.push_vector(v, info.sig.ret);
                Ok(true)
            }
            ("GetElement", 2, None) => {
                let Some(index) = self.lane_index(0, lane) else {
                    return Ok(false);
                };
                self.pop()?;
                let v = self.pop_vector(info.sig.params[0])?;
                let x = self.b.vector(VecOp::Extract(index), lane, vec![v]);
                self.push_value(x);
                Ok(true)
            }
            ("WithElement", 3, Some(_)) => {
                let Some(index) = self.lane_index(1, lane) else {
                    return Ok(false);
                };
                let x = self.pop_element(lane)?;
                self.pop()?;
                let v = self.pop_vector(info.sig.params[0])?;
                let v = self.b.vector(VecOp::Insert(index), lane, vec![v, x]);
                self.push_vector(v, info.sig.ret);
                Ok(true)
            }
            ("WithLower" | "WithUpper", 2, Some(_)) if self.lane_of_size(info.sig.params[1], 8)? == Some(lane) => {
                let half = self.pop_half(info.sig.params[1])?;
                let v = self.pop_vector(info.sig.params[0])?;
                let index = u8::from(name == "WithUpper");
                let v = self.b.vector(VecOp::Insert(index), Lane::I64, vec![v, half]);
                self.push_vector(v, info.sig.ret);
                Ok(true)
            }
            ("Store" | "StoreAligned" | "StoreAlignedNonTemporal" | "StoreUnsafe", 2 | 3, None) => {
                let address = match self.vector_address(info, 1)? {
                    true => self.pop_vector_address(count == 3, lane)?,
                    false => return Ok(false),
                };
                let v = self.pop_vector(info.sig.params[0])?;
                self.store_vector(address, v)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// A constant index of a lane on the stack.
    fn lane_index(&self, depth: usize, lane: Lane) -> Option<u8> {
        let index = self.peek(depth)?.as_int()?;
        (0..i64::from(lane.count())).contains(&index).then_some(index as u8)
    }

    /// Are the parameters from `first` on an address of elements and perhaps an index?
    fn vector_address(&mut self, info: &MethodInfo, first: usize) -> Step<bool> {
        let rest = &info.sig.params[first..];
        Ok(match rest {
            [p] => matches!(self.stack_ty_of(*p)?, Some(Ty::ByRef | Ty::I64)),
            [p, index] => {
                self.stack_ty_of(*p)? == Some(Ty::ByRef) && &*self.type_info(*index)?.name == "System.UIntPtr"
            }
            _ => false,
        })
    }

    /// Pops an address and the index of an element.
    fn pop_vector_address(&mut self, indexed: bool, lane: Lane) -> Step<(super::super::stack::Entry, Value)> {
        if !indexed {
            return self.pop_address();
        }
        let mut index = self.pop_as(Ty::I64)?;
        let (entry, base) = self.pop_address()?;
        if lane.bytes() > 1 {
            let size = self.b.iconst64(i64::from(lane.bytes()));
            index = self.b.bin(BinOp::Mul, index, size);
        }
        let address = self.b.ptr_add(base, index);
        Ok((entry, address))
    }

    pub(super) fn store_vector(&mut self, to: (super::super::stack::Entry, Value), v: Value) -> Step<()> {
        self.prefixes.flags.unaligned = Some(1);
        self.store_through(&to.0, to.1, MemTy::V128, v, false)
    }

    pub(super) fn load_vector(&mut self, from: (super::super::stack::Entry, Value), ty: TypeId) -> Step<()> {
        self.prefixes.flags.unaligned = Some(1);
        self.load_through(&from.0, from.1, MemTy::V128, None);
        let v = self.pop_value()?;
        self.push_vector(v, ty);
        Ok(())
    }

    /// Vectors from other things.
    fn make_vector(&mut self, info: &MethodInfo, name: &str, lane: Lane) -> Step<bool> {
        let params = &info.sig.params;
        let ret = info.sig.ret;
        match (name, params.len()) {
            ("Load" | "LoadAligned" | "LoadAlignedNonTemporal" | "LoadUnsafe", n @ 1..=2) => {
                if !self.vector_address(info, 0)? {
                    return Ok(false);
                }
                let address = self.pop_vector_address(n == 2, lane)?;
                self.load_vector(address, ret)?;
                return Ok(true);
            }
            ("Create", 1 | 2) if self.lane_of_size(params[0], 8)? == Some(lane) => {
                let high = self.pop_half(params[params.len() - 1])?;
                let low = if params.len() == 2 {
                    self.pop_half(params[0])?
                } else {
                    high
                };
                let v = self.b.vector(VecOp::Scalar, Lane::I64, vec![low]);
                let v = self.b.vector(VecOp::Insert(1), Lane::I64, vec![v, high]);
                self.push_vector(v, ret);
                return Ok(true);
            }
            _ => {}
        }
        for &p in params.iter() {
            if self.element_lane(p)? != Some(lane) {
                return Ok(false);
            }
        }
        let count = params.len() as u32;
        match name {
            "Create" if count == 1 => {
                if let Some(bits) = self.peek_element(0, lane) {
                    self.pop()?;
                    let v = self.constant(Self::repeat(lane, bits));
                    self.push_vector(v, ret);
                    return Ok(true);
                }
                let x = self.pop_element(lane)?;
                let v = self.b.vector(VecOp::Splat, lane, vec![x]);
                self.push_vector(v, ret);
            }
            "CreateScalar" | "CreateScalarUnsafe" if count == 1 => {
                let x = self.pop_element(lane)?;
                let v = self.b.vector(VecOp::Scalar, lane, vec![x]);
                self.push_vector(v, ret);
            }
            "Create" if count == lane.count() => self.elements(ret, lane)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A vector of elements on the stack: a constant with what is not constant inserted.
    fn elements(&mut self, ret: TypeId, lane: Lane) -> Step<()> {
        let (mut bits, mut variable) = (0, Vec::new());
        for i in (0..lane.count()).rev() {
            match self.peek_element(0, lane) {
                Some(x) => {
                    self.pop()?;
                    bits |= u128::from(x) << (i * lane.bytes() * 8);
                }
                None => variable.push((i as u8, self.pop_element(lane)?)),
            }
        }
        let mut v = match variable.last() {
            Some(&(0, x)) if bits == 0 => {
                variable.pop();
                self.b.vector(VecOp::Scalar, lane, vec![x])
            }
            _ => self.constant(bits),
        };
        for (i, x) in variable.into_iter().rev() {
            v = self.b.vector(VecOp::Insert(i), lane, vec![v, x]);
        }
        self.push_vector(v, ret);
        Ok(())
    }

    /// `Vector64.ToVector128`, whose upper half is zero.
    pub fn half_vector_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        if !matches!(&*info.name, "ToVector128" | "ToVector128Unsafe") || info.sig.params.len() != 1 {
            return Ok(false);
        }
        let param = info.sig.params[0];
        let (from, to) = (self.lane_of_size(param, 8)?, self.lane_of(info.sig.ret)?);
        if from.is_none() || from != to {
            return Ok(false);
        }
        let half = self.pop_half(param)?;
        let v = self.b.vector(VecOp::Scalar, Lane::I64, vec![half]);
        self.push_vector(v, info.sig.ret);
        Ok(true)
    }
}
