//! Indirect access and memory blocks (ECMA-335 III.3, III.4).

use super::stack::{Entry, mem_size};
use super::{Importer, Region, Step, invalid};
use crate::builder::{loaded_ty, mem_ty, stack_ty};
use crate::host_api::{TypeInfo, WellKnownType};
use crate::ids::TypeId;
use crate::ir::*;
use corten_metadata::Token;

impl Importer<'_, '_> {
    /// Barrier of a store of that type through an address.
    pub fn barrier_for(&mut self, ty: MemTy, on_stack: bool, value_is_null: bool) -> Step<Barrier> {
        Ok(match ty {
            _ if on_stack || value_is_null => Barrier::None,
            MemTy::Ref => Barrier::Checked,
            MemTy::Struct(t) if self.has_object_references(t)? => Barrier::Checked,
            _ => Barrier::None,
        })
    }

    /// Whether a value type holds object references (not only managed pointers).
    pub fn has_object_references(&mut self, ty: TypeId) -> Step<bool> {
        let info = self.type_info(ty)?;
        Ok(info.has_gc_pointers
            && (info.fields.is_empty() || info.fields.iter().any(|f| f.kind == crate::host_api::TypeKind::Ref)))
    }

    /// Type information and memory type of a type that has values.
    pub fn value_type(&mut self, ty: TypeId) -> Step<(std::sync::Arc<TypeInfo>, MemTy)> {
        let info = self.type_info(ty)?;
        match mem_ty(info.kind, ty) {
            Some(mem) => Ok((info, mem)),
            None => invalid("void has no values"),
        }
    }

    /// Loads through an address entry and pushes; `class` is the static class of a reference.
    pub fn load_through(&mut self, entry: &Entry, addr: Value, ty: MemTy, class: Option<TypeId>) {
        self.check_null(entry, addr);
        let flags = self.prefixes.flags;
        let value = self.b.emit(
            Op::Load {
                ty,
                addr,
                offset: 0,
                flags,
            },
            loaded_ty(ty),
        );
        let class = class.filter(|_| ty == MemTy::Ref);
        self.push(Entry::new(value, loaded_ty(ty)).class(class));
    }

    /// Stores through an address entry.
    pub fn store_through(&mut self, entry: &Entry, addr: Value, ty: MemTy, value: Value, is_null: bool) -> Step<()> {
        self.check_null(entry, addr);
        let barrier = self.barrier_for(ty, entry.stack_addr, is_null)?;
        let flags = self.prefixes.flags;
        self.b.emit_void(Op::Store {
            ty,
            addr,
            offset: 0,
            value,
            barrier,
            flags,
        });
        Ok(())
    }

    /// `ldind.*`
    pub fn load_indirect(&mut self, ty: MemTy) -> Step<()> {
        let (entry, addr) = self.pop_address()?;
        self.load_through(&entry, addr, ty, None);
        Ok(())
    }

    /// `stind.*`
    pub fn store_indirect(&mut self, ty: MemTy) -> Step<()> {
        let value = self.pop()?;
        let is_null = value.is_null();
        let value = self.coerce(value, loaded_ty(ty))?;
        let (entry, addr) = self.pop_address()?;
        self.store_through(&entry, addr, ty, value, is_null)
    }

    /// `ldobj`
    pub fn ldobj(&mut self, token: Token) -> Step<()> {
        let ty = self.host.resolve_type(self.method, token)?;
        let (_, mem) = self.value_type(ty)?;
        let (entry, addr) = self.pop_address()?;
        self.load_through(&entry, addr, mem, Some(ty));
        Ok(())
    }

    /// `stobj`
    pub fn stobj(&mut self, token: Token) -> Step<()> {
        let ty = self.host.resolve_type(self.method, token)?;
        let (_, mem) = self.value_type(ty)?;
        let value = self.pop()?;
        let is_null = value.is_null();
        let value = self.coerce(value, loaded_ty(mem))?;
        let (entry, addr) = self.pop_address()?;
        self.store_through(&entry, addr, mem, value, is_null)
    }

    /// `cpobj`
    pub fn cpobj(&mut self, token: Token) -> Step<()> {
        let ty = self.host.resolve_type(self.method, token)?;
        let (src_entry, src) = self.pop_address()?;
        let (dst_entry, dst) = self.pop_address()?;
        self.copy_value(ty, (&dst_entry, dst), (&src_entry, src))
    }

    /// Copies a value from address to address.
    pub fn copy_value(&mut self, ty: TypeId, dst: (&Entry, Value), src: (&Entry, Value)) -> Step<()> {
        let (_, mem) = self.value_type(ty)?;
        self.check_null(src.0, src.1);
        self.check_null(dst.0, dst.1);
        let barrier = self.barrier_for(mem, dst.0.stack_addr, false)?;
        let flags = self.prefixes.flags;
        if let (MemTy::Struct(_), None, false) = (mem, flags.unaligned, flags.volatile) {
            self.b.emit_void(Op::CopyStruct {
                ty,
                dst: dst.1,
                src: src.1,
                barrier,
            });
        } else {
            let value = self.b.emit(
                Op::Load {
                    ty: mem,
                    addr: src.1,
                    offset: 0,
                    flags,
                },
                loaded_ty(mem),
            );
            self.b.emit_void(Op::Store {
                ty: mem,
                addr: dst.1,
                offset: 0,
                value,
                barrier,
                flags,
            });
        }
        Ok(())
    }

    /// `initobj`
    pub fn initobj(&mut self, token: Token) -> Step<()> {
        let ty = self.host.resolve_type(self.method, token)?;
        let (entry, addr) = self.pop_address()?;
        self.check_null(&entry, addr);
        let (_, mem) = self.value_type(ty)?;
        match mem {
            MemTy::Struct(_) => self.b.emit_void(Op::ZeroStruct { ty, dst: addr }),
            _ => {
                let zero = self.zero_of(loaded_ty(mem));
                self.b.store(mem, addr, 0, zero, Barrier::None);
            }
        }
        Ok(())
    }

    /// The zero value of a type.
    pub fn zero_of(&mut self, ty: Ty) -> Value {
        match ty {
            Ty::I32 => self.b.iconst32(0),
            Ty::I64 => self.b.iconst64(0),
            Ty::F32 | Ty::F64 => self.b.emit(Op::FConst(0), ty),
            Ty::Ref => self.b.null(),
            Ty::ByRef => {
                let zero = self.b.iconst64(0);
                self.b.conv(ConvOp::IntToByRef, zero, Ty::ByRef)
            }
            Ty::V128 => self.b.vector(VecOp::Const(0), Lane::U8, Vec::new()),
            Ty::Struct(t) => self.b.emit(Op::StructZero(t), ty),
        }
    }

    /// Pops a byte count: unsigned.
    fn pop_bytes(&mut self) -> Step<Value> {
        let entry = self.pop()?;
        self.unsigned_i64(entry)
    }

    /// An unsigned integer as I64: int32 is zero-extended.
    pub fn unsigned_i64(&mut self, entry: Entry) -> Step<Value> {
        match (entry.ty, entry.as_int()) {
            (Ty::I32, Some(n)) => Ok(self.b.iconst64(i64::from(n as u32))),
            (Ty::I32, None) => {
                let value = self.coerce(entry, Ty::I32)?;
                Ok(self.b.conv(ConvOp::ZextI64, value, Ty::I64))
            }
            _ => self.coerce(entry, Ty::I64),
        }
    }

    /// `cpblk`
    pub fn cpblk(&mut self) -> Step<()> {
        let zero_length = self.peek(0).and_then(Entry::as_int) == Some(0);
        let bytes = self.pop_bytes()?;
        let (src_entry, src) = self.pop_address()?;
        let (dst_entry, dst) = self.pop_address()?;
        if zero_length {
            return Ok(());
        }
        if self.const_value(bytes).is_some() {
            self.check_null(&src_entry, src);
            self.check_null(&dst_entry, dst);
        }
        let flags = self.prefixes.flags;
        self.b.emit_void(Op::CopyBlock { dst, src, bytes, flags });
        Ok(())
    }

    /// `initblk`
    pub fn initblk(&mut self) -> Step<()> {
        let zero_length = self.peek(0).and_then(Entry::as_int) == Some(0);
        let bytes = self.pop_bytes()?;
        let byte = self.pop_as(Ty::I32)?;
        let (dst_entry, dst) = self.pop_address()?;
        if zero_length {
            return Ok(());
        }
        if self.const_value(bytes).is_some() {
            self.check_null(&dst_entry, dst);
        }
        let flags = self.prefixes.flags;
        self.b.emit_void(Op::InitBlock {
            dst,
            byte,
            bytes,
            flags,
        });
        Ok(())
    }

    /// The constant just emitted as the last instruction with that result, if it is one.
    fn const_value(&self, value: Value) -> Option<i64> {
        let insts = &self.b.func.blocks[self.b.current()].insts;
        insts
            .iter()
            .rev()
            .take(4)
            .find(|i| i.result == Some(value))
            .and_then(|i| match i.op {
                Op::IConst(n) => Some(n),
                _ => None,
            })
    }

    /// `localloc`
    pub fn localloc(&mut self) -> Step<()> {
        if self.innermost_handler(|_| true).is_some() || self.region != Region::Body {
            return invalid("localloc in an exception handler or filter");
        }
        let bytes = self.pop_bytes()?;
        if !self.stack.is_empty() {
            return invalid("localloc with other values on the stack");
        }
        let zero = self.body.init_locals;
        let value = self.b.emit(Op::LocAlloc { bytes, zero }, Ty::I64);
        self.push(Entry::new(value, Ty::I64).on_stack(true));
        Ok(())
    }

    /// `mkrefany`: a TypedReference of an address and a type.
    pub fn mkrefany(&mut self, token: Token) -> Step<()> {
        let ty = self.host.resolve_type(self.method, token)?;
        let address = self.pop_as(Ty::ByRef)?;
        let handle = self.b.iconst64(ty.0 as i64);
        let typed_reference = self.host.well_known(WellKnownType::TypedReference);
        let parts = vec![(0, MemTy::ByRef, address), (8, MemTy::I64, handle)];
        let value = self.b.emit(
            Op::StructMake {
                ty: typed_reference,
                parts,
            },
            Ty::Struct(typed_reference),
        );
        self.push_value(value);
        Ok(())
    }

    fn pop_typed_reference(&mut self) -> Step<Value> {
        let ty = self.host.well_known(WellKnownType::TypedReference);
        self.pop_as(Ty::Struct(ty))
    }

    /// `refanytype`: the RuntimeTypeHandle inside of a TypedReference.
    pub fn refanytype(&mut self) -> Step<()> {
        let value = self.pop_typed_reference()?;
        let handle = self.b.emit(
            Op::StructField {
                value,
                offset: 8,
                ty: MemTy::I64,
            },
            Ty::I64,
        );
        let object = self.b.helper(Helper::RuntimeTypeOfHandle, vec![handle], Ty::Ref);
        let value = self.handle_struct(WellKnownType::RuntimeTypeHandle, object);
        self.push_value(value);
        Ok(())
    }

    /// `refanyval`: the address inside of a TypedReference of exactly that type.
    pub fn refanyval(&mut self, token: Token) -> Step<()> {
        let ty = self.host.resolve_type(self.method, token)?;
        let value = self.pop_typed_reference()?;
        let addr = self.b.emit(Op::StructAddr(value), Ty::ByRef);
        let handle = self.b.iconst64(ty.0 as i64);
        let value = self.b.helper(Helper::RefAnyVal, vec![handle, addr], Ty::ByRef);
        self.push_value(value);
        Ok(())
    }

    /// Stack type of the values of a type, which must have some.
    pub fn value_ty(&mut self, ty: TypeId) -> Step<Ty> {
        let info = self.type_info(ty)?;
        match stack_ty(info.kind, ty) {
            Some(ty) => Ok(ty),
            None => invalid("void has no values"),
        }
    }

    /// Natural size of a scalar memory type or of a value type.
    pub fn size_of_mem(&mut self, ty: MemTy) -> Step<u32> {
        Ok(match ty {
            MemTy::Struct(t) => self.type_info(t)?.size,
            scalar => mem_size(scalar) as u32,
        })
    }
}
