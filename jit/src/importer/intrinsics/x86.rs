//! The classes of `System.Runtime.Intrinsics.X86` up to SSE4.2, POPCNT and LZCNT. Their bodies call themselves, so every
//! method of a class that is supported is expanded here; all other classes are answered as unsupported.

use super::super::step::Flow;
use super::super::{Importer, Step};
use crate::host_api::MethodInfo;
use crate::ids::TypeId;
use crate::ir::*;

/// A comparison: operation, whether it is negated; or of order only.
#[derive(Clone, Copy)]
enum Compare {
    Op(VecOp, bool),
    Ordered(bool),
}

fn compare(name: &str) -> Option<Compare> {
    use Compare::{Op, Ordered};
    Some(match name {
        "Equal" => Op(VecOp::Eq, false),
        "NotEqual" => Op(VecOp::Ne, false),
        "LessThan" => Op(VecOp::Lt, false),
        "LessThanOrEqual" => Op(VecOp::Le, false),
        "GreaterThan" => Op(VecOp::Gt, false),
        "GreaterThanOrEqual" => Op(VecOp::Ge, false),
        "NotLessThan" => Op(VecOp::Lt, true),
        "NotLessThanOrEqual" => Op(VecOp::Le, true),
        "NotGreaterThan" => Op(VecOp::Gt, true),
        "NotGreaterThanOrEqual" => Op(VecOp::Ge, true),
        "Ordered" => Ordered(true),
        "Unordered" => Ordered(false),
        _ => return None,
    })
}

/// Condition of a `comiss`-like comparison.
fn scalar_condition(name: &str) -> Option<Cond> {
    Some(match name {
        "Equal" => Cond::Eq,
        "NotEqual" => Cond::Ne,
        "LessThan" => Cond::Lt,
        "LessThanOrEqual" => Cond::Le,
        "GreaterThan" => Cond::Gt,
        "GreaterThanOrEqual" => Cond::Ge,
        _ => return None,
    })
}

fn rounding(name: &str) -> Option<VecOp> {
    Some(match name {
        "Ceiling" | "RoundToPositiveInfinity" => VecOp::Ceil,
        "Floor" | "RoundToNegativeInfinity" => VecOp::Floor,
        "RoundToZero" => VecOp::Trunc,
        // Nothing changes the direction of the thread.
        "RoundToNearestInteger" | "RoundCurrentDirection" => VecOp::Nearest,
        "Sqrt" => VecOp::Sqrt,
        _ => return None,
    })
}

/// Lane-wise operations with the machine's meaning (Min and Max of floats, AndNot and comparisons are elsewhere).
fn binary(name: &str, lane: Lane) -> Option<VecOp> {
    Some(match name {
        "Add" => VecOp::Add,
        "Subtract" => VecOp::Sub,
        "Multiply" if lane.is_float() => VecOp::Mul,
        "MultiplyLow" => VecOp::Mul,
        "Divide" => VecOp::Div,
        "And" => VecOp::And,
        "Or" => VecOp::Or,
        "Xor" => VecOp::Xor,
        "Min" if !lane.is_float() => VecOp::Min,
        "Max" if !lane.is_float() => VecOp::Max,
        "AddSaturate" => VecOp::AddSat,
        "SubtractSaturate" => VecOp::SubSat,
        "Average" => VecOp::Average,
        "MultiplyHigh" => VecOp::MulHigh,
        "MultiplyAddAdjacent" if lane == Lane::I16 => VecOp::MulAddPairs,
        "PackSignedSaturate" => VecOp::NarrowSigned,
        "PackUnsignedSaturate" => VecOp::NarrowUnsigned,
        _ => return None,
    })
    .filter(|op| op.takes(lane))
}

impl Importer<'_, '_> {
    /// What `IsSupported` of a class answers.
    fn x86_supported(&self, class: &str) -> bool {
        let cpu = self.host.cpu();
        match class.strip_suffix("+X64").unwrap_or(class) {
            "Sse" | "Sse2" | "Sse3" | "Ssse3" | "Sse41" | "Sse42" | "Popcnt" => cpu.x64_v2,
            "Lzcnt" => cpu.x64_v2 && cpu.lzcnt,
            _ => false,
        }
    }

    /// Methods of the X86 classes.
    pub fn x86_intrinsic(&mut self, class: &str, info: &MethodInfo) -> Step<Option<Flow>> {
        if !info.is_static || !self.x86_supported(class) {
            return self.hardware_intrinsic(info);
        }
        if &*info.name == "get_IsSupported" {
            self.push_bool(true);
            return Ok(Some(Flow::Next));
        }
        if self.x86_scalars(info)? || self.x86_memory(info)? || self.x86_vectors(info)? {
            return Ok(Some(Flow::Next));
        }
        self.hardware_intrinsic(info)
    }

    fn x86(&mut self, op: X86Op, args: Vec<Value>) -> Value {
        let ty = op.signature().1.unwrap_or(Ty::V128);
        self.b.emit(Op::X86 { op, args }, ty)
    }

    fn fence(&mut self) {
        let (op, args) = (IntrinsicOp::Fence, Vec::new());
        self.b.emit_void(Op::Intrinsic { op, args });
    }

    /// Methods without vectors.
    fn x86_scalars(&mut self, info: &MethodInfo) -> Step<bool> {
        let name = &*info.name;
        match name {
            "PopCount" | "LeadingZeroCount" => {
                let op = if name == "PopCount" {
                    IntrinsicOp::PopCount
                } else {
                    IntrinsicOp::LeadingZeros
                };
                let ty = self.value_ty(info.sig.params[0])?;
                let v = self.pop_as(ty)?;
                let v = self.b.emit(Op::Intrinsic { op, args: vec![v] }, ty);
                let ret = self.value_ty(info.sig.ret)?;
                let v = self.coerce_value(v, ret)?;
                self.push_value(v);
            }
            "Crc32" => {
                let op = match self.element_lane(info.sig.params[1])? {
                    Some(Lane::U8) => X86Op::Crc8,
                    Some(Lane::U16) => X86Op::Crc16,
                    Some(Lane::U32) => X86Op::Crc32,
                    _ => X86Op::Crc64,
                };
                let ty = op.signature().0[0];
                let data = self.pop_as(ty)?;
                let crc = self.pop_as(ty)?;
                let v = self.x86(op, vec![crc, data]);
                self.push_value(v);
            }
            // Prefetching changes nothing that a program sees.
            "Prefetch0" | "Prefetch1" | "Prefetch2" | "PrefetchNonTemporal" => {
                self.pop()?;
            }
            "StoreFence" | "LoadFence" | "MemoryFence" => self.fence(),
            "StoreNonTemporal" => {
                let (_, mem) = self.value_type(info.sig.params[1])?;
                let v = self.pop_as(crate::builder::loaded_ty(mem))?;
                let (entry, addr) = self.pop_address()?;
                self.store_through(&entry, addr, mem, v, false)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Lane of what a pointer type points to.
    fn pointee_lane(&mut self, ty: TypeId) -> Step<Option<Lane>> {
        match self.host.element_type(ty) {
            Ok(element) => self.element_lane(element),
            Err(_) => Ok(None),
        }
    }

    fn lane_mem(lane: Lane) -> MemTy {
        match lane {
            Lane::I8 => MemTy::I8,
            Lane::U8 => MemTy::U8,
            Lane::I16 => MemTy::I16,
            Lane::U16 => MemTy::U16,
            Lane::I32 | Lane::U32 => MemTy::I32,
            Lane::I64 | Lane::U64 => MemTy::I64,
            Lane::F32 => MemTy::F32,
            Lane::F64 => MemTy::F64,
        }
    }

    /// Loads a scalar through the address on the stack.
    fn load_scalar(&mut self, mem: MemTy) -> Step<Value> {
        let (entry, addr) = self.pop_address()?;
        self.prefixes.flags.unaligned = Some(1);
        self.load_through(&entry, addr, mem, None);
        self.pop_value()
    }

    /// Loads and stores.
    fn x86_memory(&mut self, info: &MethodInfo) -> Step<bool> {
        let (name, ret) = (&*info.name, info.sig.ret);
        let params = info.sig.params.clone();
        match (name, params.len()) {
            ("LoadVector128" | "LoadAlignedVector128" | "LoadDquVector128" | "LoadAlignedVector128NonTemporal", 1) => {
                let from = self.pop_address()?;
                self.load_vector(from, ret)?;
            }
            ("LoadScalarVector128" | "LoadAndDuplicateToVector128", 1) => {
                let Some(lane) = self.lane_of(ret)? else {
                    return Ok(false);
                };
                let v = self.load_scalar(Self::lane_mem(lane))?;
                let op = if name == "LoadScalarVector128" {
                    VecOp::Scalar
                } else {
                    VecOp::Splat
                };
                let v = self.b.vector(op, lane, vec![v]);
                self.push_vector(v, ret);
            }
            ("LoadHigh" | "LoadLow", 2) => {
                let half = self.load_scalar(MemTy::I64)?;
                let v = self.pop_vector(params[0])?;
                let op = VecOp::Insert(u8::from(name == "LoadHigh"));
                let v = self.b.vector(op, Lane::I64, vec![v, half]);
                self.push_vector(v, ret);
            }
            ("ConvertToVector128Int16" | "ConvertToVector128Int32" | "ConvertToVector128Int64", 1)
                if self.lane_of(params[0])?.is_none() =>
            {
                let (Some(from), Some(to)) = (self.pointee_lane(params[0])?, self.lane_of(ret)?) else {
                    return Ok(false);
                };
                // Only the bytes that are widened are read.
                let bytes = from.bytes() * to.count();
                let mem = match bytes {
                    2 => MemTy::U16,
                    4 => MemTy::I32,
                    _ => MemTy::I64,
                };
                let v = self.load_scalar(mem)?;
                let lane = if bytes == 8 { Lane::I64 } else { Lane::I32 };
                let v = self.b.vector(VecOp::Scalar, lane, vec![v]);
                let v = self.widen_to(from, to, v);
                self.push_vector(v, ret);
            }
            ("Store" | "StoreAligned" | "StoreAlignedNonTemporal", 2) => {
                let v = self.pop_vector(params[1])?;
                let to = self.pop_address()?;
                self.store_vector(to, v)?;
            }
            ("StoreScalar" | "StoreHigh" | "StoreLow", 2) => {
                let Some(own) = self.lane_of(params[1])? else {
                    return Ok(false);
                };
                let (lane, index) = match name {
                    "StoreScalar" => (own, 0),
                    _ => (Lane::I64, u8::from(name == "StoreHigh")),
                };
                let v = self.pop_vector(params[1])?;
                let v = self.b.vector(VecOp::Extract(index), lane, vec![v]);
                let (entry, addr) = self.pop_address()?;
                self.prefixes.flags.unaligned = Some(1);
                self.store_through(&entry, addr, Self::lane_mem(lane), v, false)?;
            }
            ("MaskMove", 3) => {
                let (entry, addr) = self.pop_address()?;
                self.check_null(&entry, addr);
                let addr = self.coerce_value(addr, Ty::I64)?;
                let mask = self.pop_vector(params[1])?;
                let v = self.pop_vector(params[0])?;
                let (op, args) = (X86Op::MaskMove, vec![v, mask, addr]);
                self.b.emit_void(Op::X86 { op, args });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Widens the low lanes step by step.
    fn widen_to(&mut self, from: Lane, to: Lane, mut v: Value) -> Value {
        let mut lane = from;
        while lane.bytes() < to.bytes() {
            v = self.b.vector(VecOp::WidenLow, lane, vec![v]);
            lane = match (lane.bytes(), lane.is_unsigned()) {
                (1, false) => Lane::I16,
                (1, true) => Lane::U16,
                (2, false) => Lane::I32,
                (2, true) => Lane::U32,
                (_, false) => Lane::I64,
                (_, true) => Lane::U64,
            };
        }
        v
    }

    /// Lane 0 of `low` over the other lanes of `rest`.
    fn with_low_lane(&mut self, lane: Lane, rest: Value, low: Value) -> Value {
        let x = self.b.vector(VecOp::Extract(0), lane, vec![low]);
        self.b.vector(VecOp::Insert(0), lane, vec![rest, x])
    }

    /// Methods with vectors.
    fn x86_vectors(&mut self, info: &MethodInfo) -> Step<bool> {
        let (name, ret) = (&*info.name, info.sig.ret);
        let params = info.sig.params.clone();
        let mut lanes: smallvec::SmallVec<[Option<Lane>; 4]> = smallvec::SmallVec::new();
        for &p in params.iter() {
            lanes.push(self.lane_of(p)?);
        }
        let to = self.lane_of(ret)?;
        match (&lanes[..], to) {
            (&[Some(lane)], Some(to)) => {
                let Some(result) = self.x86_unary(name, params[0], lane, to)? else {
                    return Ok(false);
                };
                self.push_vector(result, ret);
            }
            (&[Some(lane)], None) => {
                let op = match (name, lane, self.value_ty(ret)?) {
                    ("MoveMask", ..) => VecOp::HighBits,
                    ("ConvertToInt32" | "ConvertToUInt32" | "ConvertToInt64" | "ConvertToUInt64", ..)
                        if !lane.is_float() =>
                    {
                        VecOp::Extract(0)
                    }
                    (_, Lane::F32 | Lane::F64, ty) => {
                        let op = match (name, lane, ty) {
                            ("ConvertToInt32", Lane::F32, _) => X86Op::SingleToI32,
                            ("ConvertToInt32WithTruncation", Lane::F32, _) => X86Op::SingleToI32Trunc,
                            ("ConvertToInt64", Lane::F32, _) => X86Op::SingleToI64,
                            ("ConvertToInt64WithTruncation", Lane::F32, _) => X86Op::SingleToI64Trunc,
                            ("ConvertToInt32", _, _) => X86Op::DoubleToI32,
                            ("ConvertToInt32WithTruncation", _, _) => X86Op::DoubleToI32Trunc,
                            ("ConvertToInt64", _, _) => X86Op::DoubleToI64,
                            ("ConvertToInt64WithTruncation", _, _) => X86Op::DoubleToI64Trunc,
                            _ => return Ok(false),
                        };
                        let v = self.pop_vector(params[0])?;
                        let v = self.x86(op, vec![v]);
                        self.push_value(v);
                        return Ok(true);
                    }
                    _ => return Ok(false),
                };
                let v = self.pop_vector(params[0])?;
                let v = self.b.vector(op, lane, vec![v]);
                self.push_value(v);
            }
            (&[Some(a), Some(b)], Some(to)) => {
                return self.x86_binary(info, a, b, to);
            }
            (&[Some(lane), Some(_)], None) => return self.x86_test(info, lane),
            (&[Some(lane), None], Some(to)) => return self.x86_by_scalar(info, lane, to),
            (&[Some(lane), None], None) if name == "Extract" => {
                return self.x86_extract(info, lane);
            }
            (&[Some(lane), Some(_), None], Some(_)) => return self.x86_by_immediate(info, lane),
            (&[Some(lane), None, None], Some(_)) if name == "Insert" => return self.x86_insert(info, lane),
            (&[Some(lane), Some(_), Some(_)], Some(_)) if name == "BlendVariable" => {
                let mask = self.pop_vector(params[2])?;
                let y = self.pop_vector(params[1])?;
                let x = self.pop_vector(params[0])?;
                // The instructions look at the highest bit of each lane: of bytes for all integers.
                let lane = if lane.is_float() { lane.signed() } else { Lane::I8 };
                let top = self.b.iconst32(lane.bytes() as i32 * 8 - 1);
                let mask = self.b.vector(VecOp::Shr, lane, vec![mask, top]);
                let v = self.b.vector(VecOp::Select, lane, vec![mask, y, x]);
                self.push_vector(v, ret);
            }
            (&[None], Some(to)) if name.starts_with("ConvertScalarToVector128") => {
                let x = self.pop_element(to)?;
                let v = self.b.vector(VecOp::Scalar, to, vec![x]);
                self.push_vector(v, ret);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn x86_unary(&mut self, name: &str, param: TypeId, lane: Lane, to: Lane) -> Step<Option<Value>> {
        let (base, scalar) = match name.strip_suffix("Scalar") {
            Some(base) => (base, true),
            None => (name, false),
        };
        if let Some(op) = rounding(base).filter(|op| op.takes(lane)) {
            let x = self.pop_vector(param)?;
            let v = self.b.vector(op, lane, vec![x]);
            return Ok(Some(if scalar { self.with_low_lane(lane, x, v) } else { v }));
        }
        let approximation = match base {
            "Reciprocal" => Some(X86Op::Reciprocal),
            "ReciprocalSqrt" => Some(X86Op::ReciprocalSqrt),
            _ => None,
        };
        if let Some(op) = approximation {
            let x = self.pop_vector(param)?;
            let v = self.x86(op, vec![x]);
            return Ok(Some(if scalar { self.with_low_lane(lane, x, v) } else { v }));
        }
        let call = match (name, lane) {
            ("ConvertToVector128Int32", Lane::F32) => Some(X86Op::SinglesToI32),
            ("ConvertToVector128Int32WithTruncation", Lane::F32) => Some(X86Op::SinglesToI32Trunc),
            ("ConvertToVector128Int32", Lane::F64) => Some(X86Op::DoublesToI32),
            ("ConvertToVector128Int32WithTruncation", Lane::F64) => Some(X86Op::DoublesToI32Trunc),
            ("MinHorizontal", _) => Some(X86Op::MinHorizontal),
            _ => None,
        };
        if let Some(op) = call {
            let x = self.pop_vector(param)?;
            return Ok(Some(self.x86(op, vec![x])));
        }
        let order: [u8; 4] = match name {
            "MoveAndDuplicate" => [0, 1, 0, 1],
            "MoveHighAndDuplicate" => [1, 1, 3, 3],
            "MoveLowAndDuplicate" => [0, 0, 2, 2],
            _ => {
                return self.x86_conversion(name, param, lane, to);
            }
        };
        let x = self.pop_vector(param)?;
        let order = std::array::from_fn(|i| order[i / 4] * 4 + (i % 4) as u8);
        Ok(Some(self.b.vector(VecOp::Shuffle(order), lane, vec![x, x])))
    }

    fn x86_conversion(&mut self, name: &str, param: TypeId, lane: Lane, to: Lane) -> Step<Option<Value>> {
        if !(matches!(name, "Abs" | "MoveScalar") || name.starts_with("ConvertToVector128")) {
            return Ok(None);
        }
        let x = self.pop_vector(param)?;
        Ok(Some(match (name, lane) {
            ("Abs", _) => self.b.vector(VecOp::Abs, lane, vec![x]),
            ("MoveScalar", _) => {
                let x = self.b.vector(VecOp::Extract(0), Lane::I64, vec![x]);
                self.b.vector(VecOp::Scalar, Lane::I64, vec![x])
            }
            ("ConvertToVector128Double", Lane::I32) => {
                let x = self.b.vector(VecOp::WidenLow, lane, vec![x]);
                self.b.vector(VecOp::ToFloat, Lane::I64, vec![x])
            }
            ("ConvertToVector128Double", _) => self.b.vector(VecOp::WidenLow, Lane::F32, vec![x]),
            ("ConvertToVector128Single", Lane::I32) => self.b.vector(VecOp::ToFloat, lane, vec![x]),
            ("ConvertToVector128Single", _) => {
                let zero = self.constant(0);
                self.b.vector(VecOp::Narrow, Lane::F64, vec![x, zero])
            }
            _ => self.widen_to(lane, to, x),
        }))
    }

    /// Lanes by a comparison.
    fn x86_compare(&mut self, how: Compare, lane: Lane, x: Value, y: Value) -> Value {
        match how {
            Compare::Op(op, negate) => {
                let v = self.b.vector(op, lane, vec![x, y]);
                if negate {
                    self.b.vector(VecOp::Not, lane, vec![v])
                } else {
                    v
                }
            }
            Compare::Ordered(ordered) => {
                let (each, both) = if ordered {
                    (VecOp::Eq, VecOp::And)
                } else {
                    (VecOp::Ne, VecOp::Or)
                };
                let x = self.b.vector(each, lane, vec![x, x]);
                let y = self.b.vector(each, lane, vec![y, y]);
                self.b.vector(both, lane, vec![x, y])
            }
        }
    }

    /// Even or odd lanes of two vectors.
    fn every_second(&mut self, lane: Lane, x: Value, y: Value, odd: bool) -> Value {
        let size = lane.bytes() as u8;
        let order = std::array::from_fn(|i| {
            let i = i as u8;
            i / size * size * 2 + if odd { size } else { 0 } + i % size
        });
        self.b.vector(VecOp::Shuffle(order), lane, vec![x, y])
    }

    /// Two vectors that give one.
    fn x86_binary(&mut self, info: &MethodInfo, lane: Lane, second: Lane, to: Lane) -> Step<bool> {
        let (name, ret) = (&*info.name, info.sig.ret);
        let y = self.pop_vector(info.sig.params[1])?;
        let x = self.pop_vector(info.sig.params[0])?;
        let (base, scalar) = match name.strip_suffix("Scalar") {
            Some(base) if lane.is_float() && base != "Move" => (base, true),
            _ => (name, false),
        };
        let horizontal = |name: &str| match name {
            "HorizontalAdd" => Some(VecOp::Add),
            "HorizontalSubtract" => Some(VecOp::Sub),
            "HorizontalAddSaturate" => Some(VecOp::AddSat),
            "HorizontalSubtractSaturate" => Some(VecOp::SubSat),
            _ => None,
        };
        let v = if let Some(op) = binary(base, lane) {
            self.b.vector(op, lane, vec![x, y])
        } else if let (true, Some(op)) = (scalar, rounding(base)) {
            // The upper lanes come from the first, the value from the second.
            self.b.vector(op, lane, vec![y])
        } else if let Some(how) = name.strip_prefix("CompareScalar").and_then(compare) {
            let v = self.x86_compare(how, lane, x, y);
            let v = self.with_low_lane(lane, x, v);
            self.push_vector(v, ret);
            return Ok(true);
        } else if let Some(how) = name.strip_prefix("Compare").and_then(compare) {
            self.x86_compare(how, lane, x, y)
        } else if let Some(op) = horizontal(base) {
            let even = self.every_second(lane, x, y, false);
            let odd = self.every_second(lane, x, y, true);
            self.b.vector(op, lane, vec![even, odd])
        } else {
            match base {
                "AndNot" => self.b.vector(VecOp::AndNot, lane, vec![y, x]),
                "Min" | "Max" => {
                    let op = if base == "Min" { VecOp::Lt } else { VecOp::Gt };
                    let mask = self.b.vector(op, lane, vec![x, y]);
                    self.b.vector(VecOp::Select, lane, vec![mask, x, y])
                }
                "AddSubtract" => {
                    let sum = self.b.vector(VecOp::Add, lane, vec![x, y]);
                    let difference = self.b.vector(VecOp::Sub, lane, vec![x, y]);
                    let size = lane.bytes() as u8;
                    let order = std::array::from_fn(|i| i as u8 + if i as u8 / size % 2 == 1 { 16 } else { 0 });
                    self.b.vector(VecOp::Shuffle(order), lane, vec![difference, sum])
                }
                "UnpackLow" | "UnpackHigh" => self.interleave(lane, x, y, base == "UnpackHigh"),
                "MoveScalar" => self.with_low_lane(lane, x, y),
                "MoveHighToLow" => self.move_halves(lane, [y, x], [1, 1]),
                "MoveLowToHigh" => self.move_halves(lane, [x, y], [0, 0]),
                "Multiply" => {
                    // Of the even 32-bit lanes: 64-bit products.
                    let x = self.every_second(lane, x, x, false);
                    let y = self.every_second(lane, y, y, false);
                    let x = self.b.vector(VecOp::WidenLow, lane, vec![x]);
                    let y = self.b.vector(VecOp::WidenLow, lane, vec![y]);
                    self.b.vector(VecOp::Mul, to, vec![x, y])
                }
                "ShiftLeftLogical" | "ShiftRightLogical" | "ShiftRightArithmetic" => {
                    let amount = self.b.vector(VecOp::Extract(0), Lane::I64, vec![y]);
                    self.shift_unmasked(shift(base), lane, x, amount)
                }
                "Shuffle" => self.b.vector(VecOp::ShuffleBytes, lane, vec![x, y]),
                "ConvertScalarToVector128Double" => {
                    let wide = self.b.vector(VecOp::WidenLow, second, vec![y]);
                    self.with_low_lane(Lane::F64, x, wide)
                }
                "ConvertScalarToVector128Single" => {
                    let narrow = self.b.vector(VecOp::Narrow, second, vec![y, y]);
                    self.with_low_lane(Lane::F32, x, narrow)
                }
                _ => {
                    let op = match (base, lane) {
                        ("Reciprocal" | "ReciprocalSqrt", _) => {
                            let op = if base == "Reciprocal" {
                                X86Op::Reciprocal
                            } else {
                                X86Op::ReciprocalSqrt
                            };
                            let v = self.x86(op, vec![y]);
                            let v = self.with_low_lane(lane, x, v);
                            self.push_vector(v, ret);
                            return Ok(true);
                        }
                        ("SumAbsoluteDifferences", _) => X86Op::SumAbsoluteDifferences,
                        ("MultiplyAddAdjacent", _) => X86Op::MulAddBytes,
                        ("MultiplyHighRoundScale", _) => X86Op::MulHighRoundScale,
                        ("Sign", Lane::I8) => X86Op::Sign8,
                        ("Sign", Lane::I16) => X86Op::Sign16,
                        ("Sign", _) => X86Op::Sign32,
                        _ => return self.put_back(info, x, y),
                    };
                    self.x86(op, vec![x, y])
                }
            }
        };
        let v = if scalar { self.with_low_lane(lane, x, v) } else { v };
        self.push_vector(v, ret);
        Ok(true)
    }

    /// An unknown method: its operands go back onto the stack.
    fn put_back(&mut self, info: &MethodInfo, x: Value, y: Value) -> Step<bool> {
        self.push_vector(x, info.sig.params[0]);
        self.push_vector(y, info.sig.params[1]);
        Ok(false)
    }

    /// 8-byte halves: of the first vector, then of the second.
    fn move_halves(&mut self, lane: Lane, from: [Value; 2], half: [u8; 2]) -> Value {
        let order = std::array::from_fn(|i| {
            let second = i / 8;
            half[second] * 8 + (i % 8) as u8 + if second == 1 { 16 } else { 0 }
        });
        self.b.vector(VecOp::Shuffle(order), lane, from.to_vec())
    }

    /// Two vectors that give an answer.
    fn x86_test(&mut self, info: &MethodInfo, lane: Lane) -> Step<bool> {
        let name = &*info.name;
        let ordered = name
            .strip_prefix("CompareScalarOrdered")
            .or_else(|| name.strip_prefix("CompareScalarUnordered"));
        let condition = ordered.and_then(scalar_condition);
        if condition.is_none() && !matches!(name, "TestZ" | "TestC" | "TestNotZAndNotC") {
            return Ok(false);
        }
        let y = self.pop_vector(info.sig.params[1])?;
        let x = self.pop_vector(info.sig.params[0])?;
        if let Some(condition) = condition {
            let x = self.b.vector(VecOp::Extract(0), lane, vec![x]);
            let y = self.b.vector(VecOp::Extract(0), lane, vec![y]);
            let v = self.b.cmp(condition, x, y);
            self.push_value(v);
            return Ok(true);
        }
        let mut any = |op, args| {
            let v = self.b.vector(op, Lane::U8, args);
            self.b.vector(VecOp::AnyTrue, Lane::U8, vec![v])
        };
        match name {
            "TestZ" => {
                let v = any(VecOp::And, vec![x, y]);
                self.push_not(v);
            }
            "TestC" => {
                let v = any(VecOp::AndNot, vec![y, x]);
                self.push_not(v);
            }
            _ => {
                let both = any(VecOp::And, vec![x, y]);
                let rest = any(VecOp::AndNot, vec![y, x]);
                let v = self.b.bin(BinOp::And, both, rest);
                self.push_value(v);
            }
        }
        Ok(true)
    }

    /// A permutation by an immediate that may be known.
    fn permute(&mut self, p: Permutation, lane: Lane, x: Value, y: Value, imm: (Option<i64>, Value)) -> Value {
        let Some(n) = imm.0 else {
            return self.x86(X86Op::Permute(p), vec![x, y, imm.1]);
        };
        let order = p.order(n as u8);
        if order.iter().all(|&i| i < 32) {
            return self.b.vector(VecOp::Shuffle(order), lane, vec![x, y]);
        }
        let zero = self.constant(0);
        if order.iter().any(|&i| i < 16) && order.iter().any(|&i| (16..32).contains(&i)) {
            // Three sources: shuffle, then clear.
            let picked = order.map(|i| if i < 32 { i } else { 0 });
            let v = self.b.vector(VecOp::Shuffle(picked), lane, vec![x, y]);
            let keep = order.map(|i| if i < 32 { 0xff } else { 0 });
            let keep = self.constant(u128::from_le_bytes(keep));
            return self.b.vector(VecOp::And, lane, vec![v, keep]);
        }
        let from = if order.iter().any(|&i| i < 16) { x } else { y };
        let order = order.map(|i| if i < 32 { i % 16 } else { 16 });
        self.b.vector(VecOp::Shuffle(order), lane, vec![from, zero])
    }

    /// Pops an immediate: its value if it is known, and as a value.
    fn pop_immediate(&mut self) -> Step<(Option<i64>, Value)> {
        let known = self.peek(0).and_then(|e| e.as_int());
        let value = self.pop_as(Ty::I32)?;
        Ok((known, value))
    }

    /// A vector and a scalar that give a vector.
    fn x86_by_scalar(&mut self, info: &MethodInfo, lane: Lane, to: Lane) -> Step<bool> {
        let (name, ret, param) = (&*info.name, info.sig.ret, info.sig.params[0]);
        let permutation = match name {
            "Shuffle" => Some(Permutation::Shuffle32),
            "ShuffleLow" => Some(Permutation::ShuffleLow16),
            "ShuffleHigh" => Some(Permutation::ShuffleHigh16),
            "ShiftLeftLogical128BitLane" => Some(Permutation::ShiftLeft),
            "ShiftRightLogical128BitLane" => Some(Permutation::ShiftRight),
            _ => None,
        };
        let v = match name {
            _ if permutation.is_some() => {
                let imm = self.pop_immediate()?;
                let x = self.pop_vector(param)?;
                let Some(p) = permutation else { return Ok(false) };
                self.permute(p, lane, x, x, imm)
            }
            "ShiftLeftLogical" | "ShiftRightLogical" | "ShiftRightArithmetic" => {
                let (known, amount) = self.pop_immediate()?;
                let x = self.pop_vector(param)?;
                match known {
                    Some(n) if (n as u8) < (lane.bytes() * 8) as u8 => {
                        self.b.vector(shift(name), lane, vec![x, amount])
                    }
                    _ => {
                        let amount = self.b.conv(ConvOp::Zext8, amount, Ty::I32);
                        self.shift_unmasked(shift(name), lane, x, amount)
                    }
                }
            }
            "ConvertScalarToVector128Single" | "ConvertScalarToVector128Double" => {
                let ty = self.value_ty(info.sig.params[1])?;
                let n = self.pop_as(ty)?;
                let x = self.pop_vector(param)?;
                let op = if to == Lane::F32 { ConvOp::I2F32 } else { ConvOp::I2F64 };
                let n = self.b.conv(op, n, to.scalar());
                self.b.vector(VecOp::Insert(0), to, vec![x, n])
            }
            _ => return Ok(false),
        };
        self.push_vector(v, ret);
        Ok(true)
    }

    /// Two vectors and an immediate.
    fn x86_by_immediate(&mut self, info: &MethodInfo, lane: Lane) -> Step<bool> {
        use Permutation as P;
        let op = match (&*info.name, lane) {
            ("Shuffle", Lane::F32) => X86Op::Permute(P::ShuffleSingle),
            ("Shuffle", Lane::F64) => X86Op::Permute(P::ShuffleDouble),
            ("AlignRight", _) => X86Op::Permute(P::AlignRight),
            ("Blend", _) => X86Op::Permute(P::Blend(lane.bytes() as u8)),
            ("Insert", Lane::F32) => X86Op::Permute(P::InsertSingle),
            ("DotProduct", Lane::F32) => X86Op::DotSingle,
            ("DotProduct", Lane::F64) => X86Op::DotDouble,
            ("MultipleSumAbsoluteDifferences", _) => X86Op::MultipleSad,
            _ => return Ok(false),
        };
        let imm = self.pop_immediate()?;
        let y = self.pop_vector(info.sig.params[1])?;
        let x = self.pop_vector(info.sig.params[0])?;
        let v = match op {
            X86Op::Permute(p) => self.permute(p, lane, x, y, imm),
            _ => self.x86(op, vec![x, y, imm.1]),
        };
        self.push_vector(v, info.sig.ret);
        Ok(true)
    }

    fn x86_extract(&mut self, info: &MethodInfo, lane: Lane) -> Step<bool> {
        let (known, index) = self.pop_immediate()?;
        let x = self.pop_vector(info.sig.params[0])?;
        if let Some(n) = known {
            let i = n as u8 % lane.count() as u8;
            let v = self.b.vector(VecOp::Extract(i), lane, vec![x]);
            self.push_value(v);
            return Ok(true);
        }
        let v = self.x86(X86Op::Extract(lane.bytes() as u8), vec![x, index]);
        let v = match lane.scalar() {
            Ty::I64 => v,
            Ty::F32 => {
                let v = self.b.conv(ConvOp::Trunc, v, Ty::I32);
                self.b.conv(ConvOp::BitcastI32F32, v, Ty::F32)
            }
            _ => self.b.conv(ConvOp::Trunc, v, Ty::I32),
        };
        self.push_value(v);
        Ok(true)
    }

    fn x86_insert(&mut self, info: &MethodInfo, lane: Lane) -> Step<bool> {
        let (known, index) = self.pop_immediate()?;
        let value = self.pop_element(lane)?;
        let x = self.pop_vector(info.sig.params[0])?;
        let v = match known {
            Some(n) => {
                let i = n as u8 % lane.count() as u8;
                self.b.vector(VecOp::Insert(i), lane, vec![x, value])
            }
            None => {
                let value = self.coerce_value(value, Ty::I64)?;
                self.x86(X86Op::Insert(lane.bytes() as u8), vec![x, value, index])
            }
        };
        self.push_vector(v, info.sig.ret);
        Ok(true)
    }
}

fn shift(name: &str) -> VecOp {
    match name {
        "ShiftLeftLogical" => VecOp::Shl,
        "ShiftRightLogical" => VecOp::ShrUn,
        _ => VecOp::Shr,
    }
}
