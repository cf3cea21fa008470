//! `System.Runtime.CompilerServices.Unsafe`, `Volatile`, and parts of `MemoryMarshal`.

use super::super::stack::Entry;
use super::super::{Importer, Step};
use crate::builder::{loaded_ty, mem_ty};
use crate::host_api::{MethodInfo, TypeKind};
use crate::ids::TypeId;
use crate::ir::*;

impl Importer<'_, '_> {
    /// `Unsafe.*`. Every method whose body throws is expanded.
    pub fn unsafe_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        let t = Self::type_argument(info, 0);
        match (&*info.name, t) {
            ("As", Some(_)) if info.instantiation.len() == 1 => {
                let entry = self.pop()?;
                if entry.ty == Ty::Ref {
                    self.push(entry);
                } else {
                    let value = self.coerce(entry, Ty::Ref)?;
                    self.push_value(value);
                }
            }
            ("As" | "AsRef", Some(_)) => self.as_byref()?,
            ("AsPointer", Some(_)) => self.convert(TypeKind::NUInt)?,
            ("SizeOf", Some(ty)) => {
                let size = self.type_info(ty)?.size;
                self.push_int(size as i32);
            }
            ("Add", Some(ty)) => self.offset_pointer(Some(ty), false)?,
            ("Subtract", Some(ty)) => self.offset_pointer(Some(ty), true)?,
            ("AddByteOffset", Some(_)) => self.offset_pointer(None, false)?,
            ("SubtractByteOffset", Some(_)) => self.offset_pointer(None, true)?,
            ("AreSame", Some(_)) => self.compare(Cond::Eq)?,
            ("IsAddressGreaterThan", Some(_)) => self.compare_addresses(Cond::GtUn)?,
            ("IsAddressGreaterThanOrEqualTo", Some(_)) => self.compare_addresses(Cond::GeUn)?,
            ("IsAddressLessThan", Some(_)) => self.compare_addresses(Cond::LtUn)?,
            ("IsAddressLessThanOrEqualTo", Some(_)) => self.compare_addresses(Cond::LeUn)?,
            ("ByteOffset", Some(_)) => {
                let target = self.pop_as(Ty::I64)?;
                let origin = self.pop_as(Ty::I64)?;
                let value = self.b.bin(BinOp::Sub, target, origin);
                self.push_value(value);
            }
            ("Copy", Some(ty)) => {
                let (src_entry, src) = self.pop_address()?;
                let (dst_entry, dst) = self.pop_address()?;
                self.copy_value(ty, (&dst_entry, dst), (&src_entry, src))?;
            }
            ("CopyBlock", None) => self.cpblk()?,
            ("CopyBlockUnaligned", None) => {
                self.prefixes.flags.unaligned = Some(1);
                self.cpblk()?;
            }
            ("InitBlock", None) => self.initblk()?,
            ("InitBlockUnaligned", None) => {
                self.prefixes.flags.unaligned = Some(1);
                self.initblk()?;
            }
            ("Read", Some(ty)) => self.read(ty, None)?,
            ("ReadUnaligned", Some(ty)) => self.read(ty, Some(1))?,
            ("Write", Some(ty)) => self.write(ty, None)?,
            ("WriteUnaligned", Some(ty)) => self.write(ty, Some(1))?,
            ("SkipInit", Some(_)) => {
                self.pop()?;
            }
            ("NullRef", Some(_)) => {
                let value = self.zero_of(Ty::ByRef);
                self.push_value(value);
            }
            ("IsNullRef", Some(_)) => {
                let value = self.pop_as(Ty::I64)?;
                let zero = self.b.iconst64(0);
                let value = self.b.cmp(Cond::Eq, value, zero);
                self.push_value(value);
            }
            ("Unbox", Some(ty)) => self.unbox_type(ty)?,
            ("BitCast", Some(from)) => match Self::type_argument(info, 1) {
                Some(to) => return self.bit_cast(from, to),
                None => return Ok(false),
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The pointer on top as a managed pointer.
    fn as_byref(&mut self) -> Step<()> {
        let entry = self.pop()?;
        let value = self.coerce(entry, Ty::ByRef)?;
        let mut result = Entry::new(value, Ty::ByRef).on_stack(entry.stack_addr);
        result.non_null = entry.non_null;
        result.origin = entry.origin;
        self.push(result);
        Ok(())
    }

    /// Pointer plus or minus an offset, in elements of a type or in bytes.
    fn offset_pointer(&mut self, element: Option<TypeId>, subtract: bool) -> Step<()> {
        let size = match element {
            Some(ty) => i64::from(self.type_info(ty)?.size),
            None => 1,
        };
        let offset = self.pop()?;
        let (base, addr) = self.pop_address()?;
        let bytes = match offset.as_int() {
            Some(n) => {
                let bytes = n.wrapping_mul(size);
                self.b.iconst64(if subtract { bytes.wrapping_neg() } else { bytes })
            }
            None => {
                let mut value = self.coerce(offset, Ty::I64)?;
                if size != 1 {
                    let size = self.b.iconst64(size);
                    value = self.b.bin(BinOp::Mul, value, size);
                }
                if subtract {
                    value = self.b.emit(Op::Un(UnOp::Neg, value), Ty::I64);
                }
                value
            }
        };
        let value = self.b.ptr_add(addr, bytes);
        let ty = self.b.ty(value);
        let mut entry = Entry::new(value, ty).on_stack(base.stack_addr);
        entry.non_null = base.non_null;
        self.push(entry);
        Ok(())
    }

    fn compare_addresses(&mut self, cond: Cond) -> Step<()> {
        let right = self.pop_as(Ty::I64)?;
        let left = self.pop_as(Ty::I64)?;
        let value = self.b.cmp(cond, left, right);
        self.push_value(value);
        Ok(())
    }

    fn read(&mut self, ty: TypeId, unaligned: Option<u8>) -> Step<()> {
        let (_, mem) = self.value_type(ty)?;
        self.prefixes.flags.unaligned = unaligned;
        let (entry, addr) = self.pop_address()?;
        self.load_through(&entry, addr, mem, Some(ty));
        Ok(())
    }

    fn write(&mut self, ty: TypeId, unaligned: Option<u8>) -> Step<()> {
        let (_, mem) = self.value_type(ty)?;
        self.prefixes.flags.unaligned = unaligned;
        let value = self.pop()?;
        let is_null = value.is_null();
        let value = self.coerce(value, loaded_ty(mem))?;
        let (entry, addr) = self.pop_address()?;
        self.store_through(&entry, addr, mem, value, is_null)
    }

    /// `Unsafe.BitCast`: false (use the IL body, which throws) if the sizes differ.
    fn bit_cast(&mut self, from: TypeId, to: TypeId) -> Step<bool> {
        let (from_info, to_info) = (self.type_info(from)?, self.type_info(to)?);
        let (Some(from_mem), Some(to_mem)) = (mem_ty(from_info.kind, from), mem_ty(to_info.kind, to)) else {
            return Ok(false);
        };
        if from_info.size != to_info.size || !from_info.is_value_type || !to_info.is_value_type {
            return Ok(false);
        }
        if from_info.vector_size == Some(16) && to_info.vector_size == Some(16) {
            let vector = self.pop_vector(from)?;
            self.push_vector(vector, to);
            return Ok(true);
        }
        let value = self.pop_as(loaded_ty(from_mem))?;
        let result = match (loaded_ty(from_mem), loaded_ty(to_mem)) {
            (Ty::I32, Ty::I32) => self.normalise(value, to_info.kind),
            (a, b) if a == b => value,
            (Ty::I32, Ty::F32) => self.b.conv(ConvOp::BitcastI32F32, value, Ty::F32),
            (Ty::F32, Ty::I32) => self.b.conv(ConvOp::BitcastF32I32, value, Ty::I32),
            (Ty::I64, Ty::F64) => self.b.conv(ConvOp::BitcastI64F64, value, Ty::F64),
            (Ty::F64, Ty::I64) => self.b.conv(ConvOp::BitcastF64I64, value, Ty::I64),
            (Ty::Struct(_), _) => {
                let addr = self.b.emit(Op::StructAddr(value), Ty::ByRef);
                self.b.load(to_mem, addr, 0)
            }
            (_, Ty::Struct(_)) => self.b.emit(
                Op::StructMake {
                    ty: to,
                    parts: vec![(0, from_mem, value)],
                },
                Ty::Struct(to),
            ),
            _ => {
                self.push_value(value);
                return Ok(false);
            }
        };
        self.push_value(result);
        Ok(true)
    }

    /// `Volatile.Read`, `Volatile.Write`.
    pub fn volatile_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        match (&*info.name, info.sig.params.len()) {
            ("Read", 1) => {
                self.prefixes.flags.volatile = true;
                let (_, mem) = self.value_type(info.sig.ret)?;
                let (entry, addr) = self.pop_address()?;
                self.load_through(&entry, addr, mem, Some(info.sig.ret));
                Ok(true)
            }
            ("Write", 2) => {
                self.prefixes.flags.volatile = true;
                let (_, mem) = self.value_type(info.sig.params[1])?;
                let value = self.pop()?;
                let is_null = value.is_null();
                let value = self.coerce(value, loaded_ty(mem))?;
                let (entry, addr) = self.pop_address()?;
                self.store_through(&entry, addr, mem, value, is_null)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// `MemoryMarshal.GetArrayDataReference<T>`, `GetReference`.
    pub fn memory_marshal_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        match (&*info.name, info.instantiation.len(), info.sig.params.len()) {
            ("GetArrayDataReference", 1, 1) => {
                let array = self.pop_array()?;
                let addr = self.vector_data(array)?;
                self.push(Entry::new(addr, Ty::ByRef).non_null());
                Ok(true)
            }
            ("GetReference", 1, 1) if self.options.optional_intrinsics => {
                let ty = self.value_ty(info.sig.params[0])?;
                if !matches!(ty, Ty::Struct(_)) {
                    return Ok(false);
                }
                let value = self.pop_as(ty)?;
                let addr = self.b.emit(
                    Op::StructField {
                        value,
                        offset: 0,
                        ty: MemTy::ByRef,
                    },
                    Ty::ByRef,
                );
                self.push_value(addr);
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}
