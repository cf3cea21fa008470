//! Arrays: vectors (ECMA-335 III.4.7 - III.4.27) and the accessors of multi-dimensional ones (II.14.2).
//!
//! Layout: total length at 8; for rank r arrays lengths at 16, lower bounds at 16 + 4r, elements at 16 + 8r; vectors have
//! their elements at 16.

use super::stack::Entry;
use super::{Importer, Step, invalid};
use crate::builder::{loaded_ty, mem_ty};
use crate::host_api::{ArrayAccessor, MethodInfo, TypeKind, WellKnownType};
use crate::ids::TypeId;
use crate::ir::*;
use corten_metadata::Token;

/// Offset of the first element of a vector.
const VECTOR_DATA: i64 = 16;

impl Importer<'_, '_> {
    /// `newarr`
    pub fn newarr(&mut self, token: Token) -> Step<()> {
        let element = self.host.resolve_type(self.method, token)?;
        if matches!(self.type_info(element)?.kind, TypeKind::Void | TypeKind::ByRef) {
            return invalid("array of void or of managed pointers");
        }
        let array = self.host.szarray_of(element)?;
        self.new_vector(array)
    }

    fn new_vector(&mut self, array: TypeId) -> Step<()> {
        let table = self.type_info(array)?.method_table;
        let length = self.pop_i64()?;
        let table = self.b.iconst64(table as i64);
        let value = self.b.helper(Helper::NewArray, vec![table, length], Ty::Ref);
        self.push(Entry::new(value, Ty::Ref).exact(array));
        Ok(())
    }

    /// `ldlen`: native unsigned int.
    pub fn ldlen(&mut self) -> Step<()> {
        let array = self.pop_array()?;
        let length = self.b.emit(Op::ArrayLen(array), Ty::I32);
        // `ldlen; conv.i4` is what compilers emit: keep it free of conversions.
        let next = self
            .layout
            .index_of(self.at)
            .and_then(|i| self.layout.inner(i + 1))
            .map(|i| i.opcode);
        let value = if next == Some(corten_metadata::il::Opcode::ConvI4) {
            length
        } else {
            self.b.conv(ConvOp::ZextI64, length, Ty::I64)
        };
        self.push_value(value);
        Ok(())
    }

    /// Pops an array reference and null-checks it.
    pub fn pop_array(&mut self) -> Step<Value> {
        let entry = self.pop()?;
        let array = self.coerce(entry, Ty::Ref)?;
        self.check_null(&entry, array);
        Ok(array)
    }

    fn pop_index(&mut self) -> Step<Value> {
        let entry = self.pop()?;
        match entry.ty {
            Ty::I32 => self.coerce(entry, Ty::I32),
            Ty::I64 | Ty::ByRef | Ty::Ref => self.coerce(entry, Ty::I64),
            _ => invalid("array index is not an integer"),
        }
    }

    /// Checked address of an element of a vector.
    pub fn element_address(&mut self, array: Value, index: Value, size: u32) -> Value {
        let mut length = self.b.emit(Op::ArrayLen(array), Ty::I32);
        if self.b.ty(index) == Ty::I64 {
            length = self.b.conv(ConvOp::ZextI64, length, Ty::I64);
        }
        self.b.emit_void(Op::BoundsCheck { index, length });
        self.b.emit(Op::ElemAddr { array, index, size }, Ty::ByRef)
    }

    /// `ldelem.*`
    pub fn ldelem(&mut self, ty: MemTy, size: u32) -> Step<()> {
        let index = self.pop_index()?;
        let array = self.pop_array()?;
        let addr = self.element_address(array, index, size);
        let value = self.b.load(ty, addr, 0);
        self.push_value(value);
        Ok(())
    }

    /// `ldelem`
    pub fn ldelem_token(&mut self, token: Token) -> Step<()> {
        let ty = self.host.resolve_type(self.method, token)?;
        let (_, mem) = self.value_type(ty)?;
        let size = self.size_of_mem(mem)?;
        self.ldelem(mem, size)?;
        if mem == MemTy::Ref {
            let entry = self.pop()?.class(Some(ty));
            self.push(entry);
        }
        Ok(())
    }

    /// `stelem.*` of anything but references.
    pub fn stelem(&mut self, ty: MemTy, size: u32) -> Step<()> {
        let value = self.pop_as(loaded_ty(ty))?;
        let index = self.pop_index()?;
        let array = self.pop_array()?;
        let addr = self.element_address(array, index, size);
        let barrier = match ty {
            MemTy::Struct(t) if self.has_object_references(t)? => Barrier::Heap,
            _ => Barrier::None,
        };
        self.b.store(ty, addr, 0, value, barrier);
        Ok(())
    }

    /// `stelem.ref`: with the covariance check.
    pub fn stelem_ref(&mut self) -> Step<()> {
        let entry = self.pop()?;
        let always_fits = entry.is_null()
            || self
                .peek(1)
                .copied()
                .is_some_and(|array| self.store_fits(&array, &entry));
        let value = self.coerce(entry, Ty::Ref)?;
        if always_fits {
            let index = self.pop_index()?;
            let array = self.pop_array()?;
            let addr = self.element_address(array, index, 8);
            let barrier = if entry.is_null() { Barrier::None } else { Barrier::Heap };
            self.b.store(MemTy::Ref, addr, 0, value, barrier);
            return Ok(());
        }
        let index = self.pop_i64()?;
        let array = self.pop_as(Ty::Ref)?;
        self.b.helper_void(Helper::StoreElemRef, vec![array, index, value]);
        Ok(())
    }

    /// Static answer to the covariance check: the array's exact type is known and every value of the static class of
    /// `value` is one of its elements.
    fn store_fits(&mut self, array: &Entry, value: &Entry) -> bool {
        let Some(ty) = array.class else { return false };
        let exact = array.exact || self.type_info(ty).is_ok_and(|info| info.is_exact);
        let Some(element) = self.host.element_type(ty).ok().filter(|_| exact) else {
            return false;
        };
        element == self.host.well_known(WellKnownType::Object)
            || value
                .class
                .is_some_and(|class| self.host.compare_types_for_cast(class, element) == Some(true))
    }

    /// `stelem`
    pub fn stelem_token(&mut self, token: Token) -> Step<()> {
        let ty = self.host.resolve_type(self.method, token)?;
        let (_, mem) = self.value_type(ty)?;
        if mem == MemTy::Ref {
            return self.stelem_ref();
        }
        let size = self.size_of_mem(mem)?;
        self.stelem(mem, size)
    }

    /// `ldelema`: exact type check for references unless `readonly.` or no array can be of another type.
    pub fn ldelema(&mut self, token: Token) -> Step<()> {
        let ty = self.host.resolve_type(self.method, token)?;
        self.ldelema_type(ty)
    }

    fn ldelema_type(&mut self, ty: TypeId) -> Step<()> {
        let (info, mem) = self.value_type(ty)?;
        if mem == MemTy::Ref && !self.prefixes.readonly && !info.is_exact {
            let index = self.pop_i64()?;
            let array = self.pop_as(Ty::Ref)?;
            let handle = self.type_handle(ty);
            let addr = self.b.helper(Helper::LdElemaRef, vec![array, index, handle], Ty::ByRef);
            self.push(Entry::new(addr, Ty::ByRef).non_null());
            return Ok(());
        }
        let size = self.size_of_mem(mem)?;
        let index = self.pop_index()?;
        let array = self.pop_array()?;
        let addr = self.element_address(array, index, size);
        self.push(Entry::new(addr, Ty::ByRef).non_null());
        Ok(())
    }

    /// Data of a vector: address of element 0, even if there is none.
    pub fn vector_data(&mut self, array: Value) -> Step<Value> {
        let base = self.coerce_value(array, Ty::ByRef)?;
        Ok(self.b.ptr_add_const(base, VECTOR_DATA))
    }

    /// A call of an accessor of an array type.
    pub fn array_accessor(&mut self, accessor: ArrayAccessor, info: &MethodInfo) -> Step<()> {
        let element = self.host.element_type(info.owner)?;
        let (element_info, mem) = self.value_type(element)?;
        if self.host.szarray_of(element)? == info.owner {
            return self.vector_accessor(accessor, element, mem);
        }
        match accessor {
            ArrayAccessor::Ctor => invalid("call of an array constructor"),
            ArrayAccessor::Get => {
                let (_, addr) = self.md_element(info.sig.params.len(), mem, None)?;
                let value = self.b.load(mem, addr, 0);
                self.push_typed(value, element);
                Ok(())
            }
            ArrayAccessor::Set => {
                let Some(rank) = info.sig.params.len().checked_sub(1) else {
                    return invalid("array Set without value");
                };
                let entry = self.pop()?;
                let is_null = entry.is_null();
                let value = self.coerce(entry, loaded_ty(mem))?;
                let (array, addr) = self.md_element(rank, mem, None)?;
                if mem == MemTy::Ref && !is_null && !element_info.is_exact {
                    self.b.helper_void(Helper::ArrayStoreCheck, vec![array, value]);
                }
                let barrier = match mem {
                    MemTy::Ref if !is_null => Barrier::Heap,
                    MemTy::Struct(t) if self.has_object_references(t)? => Barrier::Heap,
                    _ => Barrier::None,
                };
                self.b.store(mem, addr, 0, value, barrier);
                Ok(())
            }
            ArrayAccessor::Address => {
                let check = (mem == MemTy::Ref && !self.prefixes.readonly && !element_info.is_exact).then_some(element);
                let (_, addr) = self.md_element(info.sig.params.len(), mem, check)?;
                self.push(Entry::new(addr, Ty::ByRef).non_null());
                Ok(())
            }
        }
    }

    /// Accessor of a vector: means the element instruction.
    fn vector_accessor(&mut self, accessor: ArrayAccessor, element: TypeId, mem: MemTy) -> Step<()> {
        let size = self.size_of_mem(mem)?;
        match accessor {
            ArrayAccessor::Ctor => invalid("call of an array constructor"),
            ArrayAccessor::Get => self.ldelem(mem, size),
            ArrayAccessor::Set if mem == MemTy::Ref => self.stelem_ref(),
            ArrayAccessor::Set => self.stelem(mem, size),
            ArrayAccessor::Address => self.ldelema_type(element),
        }
    }

    /// Pops array and indices; checked address of the element.
    fn md_element(&mut self, rank: usize, mem: MemTy, check: Option<TypeId>) -> Step<(Value, Value)> {
        if rank == 0 {
            return invalid("array accessor without index");
        }
        let mut indices = vec![None; rank];
        for slot in indices.iter_mut().rev() {
            *slot = Some(self.pop_as(Ty::I32)?);
        }
        let array = self.pop_array()?;
        if let Some(element) = check {
            let handle = self.type_handle(element);
            self.b.helper_void(Helper::ArrayAddressCheck, vec![array, handle]);
        }
        let size = self.size_of_mem(mem)?;
        let mut flat: Option<Value> = None;
        for (dimension, index) in indices.into_iter().flatten().enumerate() {
            let length = self.b.load(MemTy::I32, array, 16 + 4 * dimension as i32);
            let lower = self.b.load(MemTy::I32, array, 16 + 4 * (rank + dimension) as i32);
            let index = self.b.bin(BinOp::Sub, index, lower);
            self.b.emit_void(Op::BoundsCheck { index, length });
            let index = self.b.conv(ConvOp::ZextI64, index, Ty::I64);
            flat = Some(match flat {
                None => index,
                Some(outer) => {
                    let length = self.b.conv(ConvOp::ZextI64, length, Ty::I64);
                    let scaled = self.b.bin(BinOp::Mul, outer, length);
                    self.b.bin(BinOp::Add, scaled, index)
                }
            });
        }
        let Some(flat) = flat else {
            return invalid("array accessor without index");
        };
        let size = self.b.iconst64(i64::from(size));
        let bytes = self.b.bin(BinOp::Mul, flat, size);
        let base = self.coerce_value(array, Ty::ByRef)?;
        let base = self.b.ptr_add_const(base, 16 + 8 * rank as i64);
        let addr = self.b.ptr_add(base, bytes);
        Ok((array, addr))
    }

    /// `newobj` of a constructor of an array type.
    pub fn new_md_array(&mut self, info: &MethodInfo) -> Step<()> {
        let count = info.sig.params.len();
        let element = self.host.element_type(info.owner)?;
        if count == 1 && self.host.szarray_of(element)? == info.owner {
            return self.new_vector(info.owner);
        }
        let mut dims = vec![None; count];
        for slot in dims.iter_mut().rev() {
            *slot = Some(self.pop_as(Ty::I32)?);
        }
        let scratch = self.b.emit(
            Op::Scratch {
                bytes: (4 * count.max(1)) as u32,
            },
            Ty::I64,
        );
        for (i, value) in dims.into_iter().flatten().enumerate() {
            self.b.store(MemTy::I32, scratch, 4 * i as i32, value, Barrier::None);
        }
        let handle = self.type_handle(info.owner);
        let rank = self.b.iconst64(count as i64);
        let count = self.b.iconst64(count as i64);
        let value = self
            .b
            .helper(Helper::NewMdArray, vec![handle, rank, scratch, count], Ty::Ref);
        self.push(Entry::new(value, Ty::Ref).exact(info.owner));
        Ok(())
    }

    /// Memory type of an element type, for intrinsics over spans and arrays.
    pub fn element_mem(&mut self, ty: TypeId) -> Step<(MemTy, u32)> {
        let info = self.type_info(ty)?;
        match mem_ty(info.kind, ty) {
            Some(mem) => Ok((mem, info.size)),
            None => invalid("void has no values"),
        }
    }
}
