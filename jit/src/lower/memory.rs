//! Locals, loads, stores, barriers, atomics, array addresses.

use super::structs::{Source, mem_ty};
use super::{Addr, LowerError, Lowerer, NONE, Result, StructPlace, Val, plain};
use crate::abi::scalar_type;
use crate::host_api::{InlineBarrier, TypeKind};
use crate::ids::TypeId;
use crate::ir::{AtomicOp, Barrier, Helper, Inst, Local, MemFlags, MemTy, Op, Ty, Value};
use cranelift_codegen::cursor::Cursor;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, AtomicRmwOp, InstBuilder, MemFlagsData, TrapCode, types};
use cranelift_entity::EntityRef;

/// Offset of an array's length and of its first element (contract: object layout).
const ARRAY_LENGTH: i32 = 8;
const ARRAY_DATA: i32 = 16;

/// Trap of accesses that stand for null checks.
const NULL_REFERENCE: TrapCode = TrapCode::unwrap_user(2);

impl Lowerer<'_> {
    pub(super) fn load_mem(&mut self, ty: MemTy, addr: Addr, flags: MemFlagsData) -> Result<ir::Value> {
        let (p, o) = self.base(addr);
        let whole = match ty {
            MemTy::I32 => Some(types::I32),
            MemTy::I64 | MemTy::Ref | MemTy::ByRef => Some(types::I64),
            MemTy::F32 => Some(types::F32),
            MemTy::F64 => Some(types::F64),
            MemTy::V128 => Some(types::I8X16),
            _ => None,
        };
        if let Some(ty) = whole {
            return Ok(self.load_at(ty, flags, p, o));
        }
        let ins = self.cur.ins();
        Ok(match ty {
            MemTy::I8 => ins.sload8(types::I32, flags, p, o),
            MemTy::U8 => ins.uload8(types::I32, flags, p, o),
            MemTy::I16 => ins.sload16(types::I32, flags, p, o),
            MemTy::U16 => ins.uload16(types::I32, flags, p, o),
            _ => return Err(LowerError::Malformed("struct access where a scalar is needed".into())),
        })
    }

    pub(super) fn store_mem(&mut self, ty: MemTy, v: ir::Value, addr: Addr, flags: MemFlagsData) -> Result<()> {
        let from = self.type_of(v);
        let wanted = match ty {
            MemTy::F32 => types::F32,
            MemTy::F64 => types::F64,
            MemTy::I64 | MemTy::Ref | MemTy::ByRef => types::I64,
            MemTy::I32 if from == types::I64 => types::I64,
            MemTy::V128 if from.is_vector() => from,
            MemTy::V128 => types::I8X16,
            MemTy::I32 => types::I32,
            MemTy::Struct(_) => return Err(LowerError::Malformed("struct access where a scalar is needed".into())),
            _ if from.is_int() => from,
            _ => types::I32,
        };
        if from != wanted {
            return Err(LowerError::Malformed(format!("store of {from} as {ty:?}")));
        }
        let (p, o) = self.base(addr);
        match ty {
            MemTy::I8 | MemTy::U8 => self.cur.ins().istore8(flags, v, p, o),
            MemTy::I16 | MemTy::U16 => self.cur.ins().istore16(flags, v, p, o),
            MemTy::I32 if from == types::I64 => self.cur.ins().istore32(flags, v, p, o),
            _ => {
                self.store_at(flags, v, p, o);
                return Ok(());
            }
        };
        Ok(())
    }

    pub(super) fn lower_memory(&mut self, index: u32, inst: &Inst) -> Result<()> {
        match &inst.op {
            Op::LocalGet(local) => self.lower_local_get(index, self.result(inst)?, *local),
            Op::LocalSet(local, v) => self.lower_local_set(*local, *v),
            Op::LocalAddr(local) => {
                let (addr, _) = self.local_addr(*local)?;
                let p = self.addr_value(addr);
                self.set_plain(self.result(inst)?, p);
                Ok(())
            }
            Op::Load {
                ty,
                addr,
                offset,
                flags,
            } => {
                let p = self.get(*addr)?;
                let from = Addr::Ptr(p, *offset);
                if let MemTy::Struct(id) = ty {
                    return self.set_struct_from(index, self.result(inst)?, *id, from, Source::Memory);
                }
                let v = self.load_mem(*ty, from, access(*flags))?;
                self.set(self.result(inst)?, v);
                Ok(())
            }
            Op::Store {
                ty,
                addr,
                offset,
                value,
                barrier,
                flags,
            } => self.lower_store(*ty, *addr, *offset, *value, *barrier, *flags),
            Op::CopyStruct { ty, dst, src, barrier } => {
                let info = self.type_info(*ty)?;
                let dst = self.get(*dst)?;
                let src = self.get(*src)?;
                if info.has_gc_pointers && *barrier != Barrier::None {
                    self.copy_with_barrier(*ty, dst, src);
                } else {
                    self.copy_struct(Addr::Ptr(dst, 0), Addr::Ptr(src, 0), &info);
                }
                Ok(())
            }
            Op::ZeroStruct { ty, dst } => {
                let size = self.type_info(*ty)?.size;
                let dst = self.get(*dst)?;
                self.zero_memory(Addr::Ptr(dst, 0), size);
                Ok(())
            }
            Op::StructZero(_) => {
                let result = self.result(inst)?;
                self.vals[result.index()] = Val::Struct {
                    place: StructPlace::Zero,
                    temp: NONE,
                };
                Ok(())
            }
            Op::StructField { value, offset, ty } => {
                self.lower_struct_field(index, self.result(inst)?, *value, *offset, *ty)
            }
            Op::StructMake { ty, parts } => self.lower_struct_make(self.result(inst)?, *ty, parts),
            Op::StructAddr(v) => self.lower_struct_addr(self.result(inst)?, *v),
            Op::CopyBlock { dst, src, bytes, .. } => {
                let d = self.get(*dst)?;
                let s = self.get(*src)?;
                let n = self.get_u64(*bytes)?;
                match self.constant(n) {
                    Some(bytes @ 0..=64) => self.copy_memory(Addr::Ptr(d, 0), Addr::Ptr(s, 0), bytes as u32, false),
                    _ => {
                        self.call_leaf(Helper::MemMove, &[d, s, n]);
                    }
                }
                Ok(())
            }
            Op::InitBlock { dst, byte, bytes, .. } => {
                let d = self.get(*dst)?;
                let b = self.get(*byte)?;
                let n = self.get_u64(*bytes)?;
                match (self.constant(b), self.constant(n)) {
                    (Some(0), Some(bytes @ 0..=64)) => self.zero_memory(Addr::Ptr(d, 0), bytes as u32),
                    _ => {
                        self.call_leaf(Helper::MemSet, &[d, b, n]);
                    }
                }
                Ok(())
            }
            Op::ArrayLen(array) => {
                let a = self.get(*array)?;
                let v = self.load_at(types::I32, plain(), a, ARRAY_LENGTH);
                self.set_plain(self.result(inst)?, v);
                Ok(())
            }
            Op::ElemAddr { array, index, size } => self.lower_elem_addr(self.result(inst)?, *array, *index, *size),
            Op::AtomicRmw { op, ty, addr, value } => {
                let p = self.get(*addr)?;
                let x = self.get(*value)?;
                let (clif, x) = self.atomic_operand(*ty, x)?;
                let op = match op {
                    AtomicOp::Add => AtomicRmwOp::Add,
                    AtomicOp::And => AtomicRmwOp::And,
                    AtomicOp::Or => AtomicRmwOp::Or,
                    AtomicOp::Xchg => AtomicRmwOp::Xchg,
                };
                let old = self.cur.ins().atomic_rmw(clif, plain(), op, p, x);
                self.atomic_result(inst, *ty, old)
            }
            Op::AtomicCas {
                ty,
                addr,
                expected,
                value,
            } => {
                let p = self.get(*addr)?;
                let e = self.get(*expected)?;
                let x = self.get(*value)?;
                let (_, e) = self.atomic_operand(*ty, e)?;
                let (_, x) = self.atomic_operand(*ty, x)?;
                let old = self.cur.ins().atomic_cas(plain(), p, e, x);
                self.atomic_result(inst, *ty, old)
            }
            _ => Err(LowerError::Malformed("not a memory operation".into())),
        }
    }

    fn lower_local_get(&mut self, index: u32, result: Value, local: Local) -> Result<()> {
        if let Some(i) = self.promotion.get(local) {
            let v = self.register(i)?;
            self.set(result, v);
            return Ok(());
        }
        if let Some(v) = self.known_value(local) {
            self.set(result, v);
            return Ok(());
        }
        let (addr, kind) = self.local_addr(local)?;
        match self.local_mem(local, kind) {
            Some(mem) => {
                let v = self.load_mem(mem, addr, plain())?;
                self.know_value(local, v);
                self.set(result, v);
                Ok(())
            }
            None => {
                let id = self.struct_type(result)?;
                self.set_struct_from(index, result, id, addr, Source::Local(local))
            }
        }
    }

    /// Memory type of a scalar or vector local.
    fn local_mem(&self, local: Local, kind: TypeKind) -> Option<MemTy> {
        match self.func.locals[local].ty {
            Ty::V128 => Some(MemTy::V128),
            _ => mem_ty(kind),
        }
    }

    fn lower_local_set(&mut self, local: Local, v: Value) -> Result<()> {
        if let Some(i) = self.promotion.get(local) {
            let v = self.get(v)?;
            let v = self.local_value(local, v)?;
            self.define_register(i, v);
            return Ok(());
        }
        let (addr, kind) = self.local_addr(local)?;
        match self.local_mem(local, kind) {
            Some(mem) => {
                let v = self.get(v)?;
                self.store_mem(mem, v, addr, plain())?;
                self.known[local.index()] = None;
                if scalar_type(kind) == self.type_of(v) {
                    self.know_value(local, v);
                }
                Ok(())
            }
            None => {
                let id = self.struct_type(v)?;
                let info = self.type_info(id)?;
                self.store_struct(addr, v, &info)
            }
        }
    }

    /// The value that a local in memory was last stored or loaded as, if that is still good. The single-pass allocator
    /// spills whatever crosses a block, so that another load is better there.
    fn known_value(&self, local: Local) -> Option<ir::Value> {
        let (value, block, epoch) = self.known[local.index()]?;
        (epoch == self.epoch && Some(block) == self.cur.current_block()).then_some(value)
    }

    fn know_value(&mut self, local: Local, value: ir::Value) {
        let parents = self.func.parent_locals.unwrap_or(0);
        if !self.exposed[local.index()] && local.index() >= parents {
            self.known[local.index()] = self.cur.current_block().map(|block| (value, block, self.epoch));
        }
    }

    /// `p` is what was stored to an argument, if it is that as it stands: no part of a struct, and no small integer, whose upper
    /// bits mean nothing.
    pub(super) fn know_argument(&mut self, local: Local, p: ir::Value) {
        let (kind, ty) = (self.layout.place(local).kind, self.type_of(p));
        let whole = !matches!(self.func.locals[local].ty, Ty::Struct(_) | Ty::V128) && scalar_type(kind) == ty;
        if whole && ty.bits() >= 32 {
            self.know_value(local, p);
        }
    }

    /// What a promoted local holds after `v` was stored: small integers are truncated and extended.
    pub(super) fn local_value(&mut self, local: Local, v: ir::Value) -> Result<ir::Value> {
        let kind = self.layout.place(local).kind;
        if self.func.locals[local].ty == Ty::V128 {
            return Ok(self.cast_vector(v, types::I8X16));
        }
        let narrow = scalar_type(kind);
        if narrow.is_int() && narrow.bits() < 32 {
            let n = self.narrow(v, narrow)?;
            return Ok(match kind {
                TypeKind::I1 | TypeKind::I2 => self.cur.ins().sextend(types::I32, n),
                _ => self.cur.ins().uextend(types::I32, n),
            });
        }
        let wanted = Self::clif_type(self.func.locals[local].ty)?;
        let from = self.type_of(v);
        if from != wanted {
            return Err(LowerError::Malformed(format!(
                "store of {from} to {local} of type {wanted}"
            )));
        }
        Ok(v)
    }

    fn lower_store(
        &mut self,
        ty: MemTy,
        addr: Value,
        offset: i32,
        value: Value,
        barrier: Barrier,
        flags: MemFlags,
    ) -> Result<()> {
        if let MemTy::Struct(id) = ty {
            let info = self.type_info(id)?;
            let zero = self.struct_place(value)? == StructPlace::Zero;
            if info.has_gc_pointers && barrier != Barrier::None && !zero {
                let src = self.materialise(value)?;
                let p = self.get(addr)?;
                let dst = self.addr_value(Addr::Ptr(p, offset));
                let src = self.addr_value(src);
                self.copy_with_barrier(id, dst, src);
            } else {
                let p = self.get(addr)?;
                self.store_struct(Addr::Ptr(p, offset), value, &info)?;
            }
            return Ok(());
        }
        let p = self.get(addr)?;
        let v = self.get(value)?;
        let helper = match (ty, barrier) {
            (MemTy::Ref, Barrier::Heap) => Helper::WriteBarrier,
            (MemTy::Ref, Barrier::Checked) => Helper::CheckedWriteBarrier,
            _ => return self.store_mem(ty, v, Addr::Ptr(p, offset), access(flags)),
        };
        if self.constant(v) == Some(0) {
            // Storing null never needs a barrier.
            return self.store_mem(ty, v, Addr::Ptr(p, offset), access(flags));
        }
        let dst = self.addr_value(Addr::Ptr(p, offset));
        match self.host.inline_barrier() {
            Some(barrier) if self.optimised && !self.cold => {
                self.store_mem(ty, v, Addr::Ptr(p, offset), access(flags))?;
                self.record_store(barrier, dst, v, helper == Helper::CheckedWriteBarrier);
            }
            _ => self.call_leaf(helper, &[dst, v]),
        }
        Ok(())
    }

    /// What the write barrier does behind its store; `anywhere`: the destination may be outside of the heap.
    fn record_store(&mut self, barrier: InlineBarrier, dst: ir::Value, value: ir::Value, anywhere: bool) {
        let words = self.iconst(types::I64, barrier.words as i64);
        let (mark, cont) = (self.cold_block(), self.new_block());
        self.unless_in(words, value, (barrier.start, barrier.size), cont);
        if anywhere {
            self.unless_in(words, dst, (barrier.heap_start, barrier.heap_size), cont);
        }
        let table = self.load_at(types::I64, plain(), words, barrier.table);
        let shift = self.iconst(types::I64, i64::from(barrier.shift));
        let card = self.cur.ins().ushr(dst, shift);
        let card = self.cur.ins().iadd(table, card);
        let marked = self.cur.ins().uload8(types::I32, plain(), card, 0);
        self.cur.ins().brif(marked, cont, &[], mark, &[]);
        self.cur.goto_bottom(mark);
        let one = self.iconst(types::I32, 1);
        self.cur.ins().istore8(plain(), one, card, 0);
        self.cur.ins().jump(cont, &[]);
        self.cur.goto_bottom(cont);
    }

    /// Goes to `out` unless an address lies in the range that two of the barrier's words describe.
    fn unless_in(&mut self, words: ir::Value, address: ir::Value, range: (i32, i32), out: ir::Block) {
        let start = self.load_at(types::I64, plain(), words, range.0);
        let size = self.load_at(types::I64, plain(), words, range.1);
        let distance = self.cur.ins().isub(address, start);
        let inside = self.cur.ins().icmp(IntCC::UnsignedLessThan, distance, size);
        let next = self.new_block();
        self.cur.ins().brif(inside, next, &[], out, &[]);
        self.cur.goto_bottom(next);
    }

    pub(super) fn copy_with_barrier(&mut self, ty: TypeId, dst: ir::Value, src: ir::Value) {
        let ty = self.iconst(types::I64, ty.0 as i64);
        self.call_leaf(Helper::CopyStructBarrier, &[dst, src, ty]);
    }

    fn lower_elem_addr(&mut self, result: Value, array: Value, index: Value, size: u32) -> Result<()> {
        let a = self.get(array)?;
        let i = self.get(index)?;
        let p = match self.constant(i) {
            Some(i) if self.type_of(a) == types::I64 => {
                let bytes = (i as u32 as i64) * i64::from(size) + i64::from(ARRAY_DATA);
                let bytes = self.iconst(types::I64, bytes);
                self.cur.ins().iadd(a, bytes)
            }
            _ => {
                let i = self.get_u64(index)?;
                let scaled = if size == 1 {
                    i
                } else if size.is_power_of_two() {
                    let shift = self.iconst(types::I64, i64::from(size.trailing_zeros()));
                    self.cur.ins().ishl(i, shift)
                } else {
                    let size = self.iconst(types::I64, i64::from(size));
                    self.cur.ins().imul(i, size)
                };
                let data = self.iconst(types::I64, i64::from(ARRAY_DATA));
                let start = self.cur.ins().iadd(a, data);
                self.cur.ins().iadd(start, scaled)
            }
        };
        self.set(result, p);
        Ok(())
    }

    fn atomic_operand(&mut self, ty: MemTy, v: ir::Value) -> Result<(ir::Type, ir::Value)> {
        let clif = match ty {
            MemTy::I8 | MemTy::U8 => types::I8,
            MemTy::I16 | MemTy::U16 => types::I16,
            MemTy::I32 => types::I32,
            MemTy::I64 | MemTy::Ref | MemTy::ByRef => types::I64,
            // Floats are exchanged by their bits.
            MemTy::F32 => types::I32,
            MemTy::F64 => types::I64,
            MemTy::V128 | MemTy::Struct(_) => return Err(LowerError::Unsupported("atomic access to a struct".into())),
        };
        let from = self.type_of(v);
        let v = if from.is_float() {
            self.cur.ins().bitcast(clif, MemFlagsData::new(), v)
        } else if from.bits() > clif.bits() {
            self.cur.ins().ireduce(clif, v)
        } else {
            v
        };
        if self.type_of(v) != clif {
            return Err(LowerError::Malformed(format!(
                "atomic {ty:?} with a value of type {from}"
            )));
        }
        Ok((clif, v))
    }

    fn atomic_result(&mut self, inst: &Inst, ty: MemTy, old: ir::Value) -> Result<()> {
        let Some(result) = inst.result else { return Ok(()) };
        let ins = self.cur.ins();
        let v = match ty {
            MemTy::I8 | MemTy::I16 => ins.sextend(types::I32, old),
            MemTy::U8 | MemTy::U16 => ins.uextend(types::I32, old),
            MemTy::F32 => ins.bitcast(types::F32, MemFlagsData::new(), old),
            MemTy::F64 => ins.bitcast(types::F64, MemFlagsData::new(), old),
            _ => old,
        };
        self.set(result, v);
        Ok(())
    }

    pub(super) fn lower_bounds_check(&mut self, index: Value, length: Value) -> Result<()> {
        let i = self.get(index)?;
        let n = self.get(length)?;
        let bad = self.cur.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, i, n);
        self.throw_if(bad, Helper::ThrowIndexOutOfRange);
        Ok(())
    }
}

fn access(flags: MemFlags) -> MemFlagsData {
    // x86-64 orders plain loads and stores as volatile needs (CoreCLR emits no fence either); any alignment is allowed.
    if flags.faults {
        return plain().with_trap_code(Some(NULL_REFERENCE));
    }
    plain()
}
