//! `System.Threading.Interlocked`.

use super::super::stack::Entry;
use super::super::{Importer, Step};
use crate::builder::{loaded_ty, mem_ty};
use crate::host_api::MethodInfo;
use crate::ids::TypeId;
use crate::ir::*;

impl Importer<'_, '_> {
    /// Atomic operations on integers, floats (by their bits) and references.
    pub fn interlocked_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        match (&*info.name, info.sig.params.len()) {
            ("CompareExchange", 3) => self.compare_exchange(info.sig.ret),
            ("Exchange", 2) => self.exchange(info.sig.ret),
            ("ExchangeAdd", 2) => self.read_modify_write(AtomicOp::Add, info.sig.ret, false),
            ("Add", 2) => self.read_modify_write(AtomicOp::Add, info.sig.ret, true),
            ("And", 2) => self.read_modify_write(AtomicOp::And, info.sig.ret, false),
            ("Or", 2) => self.read_modify_write(AtomicOp::Or, info.sig.ret, false),
            ("Increment", 1) => self.step_by(info.sig.ret, 1),
            ("Decrement", 1) => self.step_by(info.sig.ret, -1),
            ("Read", 1) => {
                let (_, mem) = self.value_type(info.sig.ret)?;
                self.prefixes.flags.volatile = true;
                let (entry, addr) = self.pop_address()?;
                self.load_through(&entry, addr, mem, None);
                Ok(true)
            }
            ("MemoryBarrier", 0) => {
                self.b.emit_void(Op::Intrinsic {
                    op: IntrinsicOp::Fence,
                    args: Vec::new(),
                });
                Ok(true)
            }
            // Loads are not reordered with loads on x64.
            ("ReadMemoryBarrier", 0) => Ok(true),
            _ => Ok(false),
        }
    }

    /// Integer memory type of the same width for an atomic access of a type; `None` for value types.
    fn atomic_mem(&mut self, ty: TypeId) -> Step<Option<(MemTy, MemTy)>> {
        let info = self.type_info(ty)?;
        Ok(match mem_ty(info.kind, ty) {
            Some(MemTy::F32) => Some((MemTy::F32, MemTy::I32)),
            Some(MemTy::F64) => Some((MemTy::F64, MemTy::I64)),
            Some(MemTy::Struct(_) | MemTy::ByRef) | None => None,
            Some(mem) => Some((mem, mem)),
        })
    }

    fn bits_of(&mut self, value: Value) -> Value {
        match self.b.ty(value) {
            Ty::F32 => self.b.conv(ConvOp::BitcastF32I32, value, Ty::I32),
            Ty::F64 => self.b.conv(ConvOp::BitcastF64I64, value, Ty::I64),
            _ => value,
        }
    }

    fn value_of_bits(&mut self, value: Value, mem: MemTy) -> Value {
        match mem {
            MemTy::F32 => self.b.conv(ConvOp::BitcastI32F32, value, Ty::F32),
            MemTy::F64 => self.b.conv(ConvOp::BitcastI64F64, value, Ty::F64),
            _ => value,
        }
    }

    fn pop_location(&mut self) -> Step<(Entry, Value)> {
        let (entry, addr) = self.pop_address()?;
        self.check_null(&entry, addr);
        Ok((entry, addr))
    }

    fn compare_exchange(&mut self, ty: TypeId) -> Step<bool> {
        let Some((mem, bits)) = self.atomic_mem(ty)? else {
            return Ok(false);
        };
        let comparand = self.pop_as(loaded_ty(mem))?;
        let value = self.pop_as(loaded_ty(mem))?;
        let (_, addr) = self.pop_location()?;
        let old = if mem == MemTy::Ref {
            self.b
                .helper(Helper::CompareExchangeRef, vec![addr, value, comparand], Ty::Ref)
        } else {
            let (expected, value) = (self.bits_of(comparand), self.bits_of(value));
            let old = self.b.emit(
                Op::AtomicCas {
                    ty: bits,
                    addr,
                    expected,
                    value,
                },
                loaded_ty(bits),
            );
            self.value_of_bits(old, mem)
        };
        self.push_typed(old, ty);
        Ok(true)
    }

    fn exchange(&mut self, ty: TypeId) -> Step<bool> {
        let Some((mem, bits)) = self.atomic_mem(ty)? else {
            return Ok(false);
        };
        let value = self.pop_as(loaded_ty(mem))?;
        let (_, addr) = self.pop_location()?;
        let old = if mem == MemTy::Ref {
            self.b.helper(Helper::ExchangeRef, vec![addr, value], Ty::Ref)
        } else {
            let value = self.bits_of(value);
            let op = Op::AtomicRmw {
                op: AtomicOp::Xchg,
                ty: bits,
                addr,
                value,
            };
            let old = self.b.emit(op, loaded_ty(bits));
            self.value_of_bits(old, mem)
        };
        self.push_typed(old, ty);
        Ok(true)
    }

    /// Fetch-and-op on an integer; `new_value` answers the value after instead of before.
    fn read_modify_write(&mut self, op: AtomicOp, ty: TypeId, new_value: bool) -> Step<bool> {
        let Some((mem, bits)) = self.atomic_mem(ty)? else {
            return Ok(false);
        };
        if mem != bits || mem == MemTy::Ref {
            return Ok(false);
        }
        let value = self.pop_as(loaded_ty(mem))?;
        let (_, addr) = self.pop_location()?;
        let mut result = self.b.emit(
            Op::AtomicRmw {
                op,
                ty: mem,
                addr,
                value,
            },
            loaded_ty(mem),
        );
        if new_value {
            result = self.b.bin(BinOp::Add, result, value);
        }
        self.push_value(result);
        Ok(true)
    }

    fn step_by(&mut self, ty: TypeId, by: i64) -> Step<bool> {
        let ty_value = self.value_ty(ty)?;
        if !matches!(ty_value, Ty::I32 | Ty::I64) {
            return Ok(false);
        }
        self.push(Entry::int(ty_value, by));
        self.read_modify_write(AtomicOp::Add, ty, true)
    }
}
