//! Boxing, casts, type tokens (ECMA-335 III.4.1 - III.4.33).

use super::stack::{Entry, Known};
use super::step::Flow;
use super::{Importer, Step, invalid};
use crate::builder::{loaded_ty, mem_ty};
use crate::host_api::{TokenHandle, TypeInfo, TypeKind, WellKnownType};
use crate::ids::TypeId;
use crate::ir::*;
use corten_metadata::Token;
use corten_metadata::il::{Instruction, Opcode, Operand};

impl Importer<'_, '_> {
    /// Type handle constant for helpers.
    pub fn type_handle(&mut self, ty: TypeId) -> Value {
        self.b.iconst64(ty.0 as i64)
    }

    /// Whether a value of a value type boxes to a non-null object, without boxing it. `None`: depends on the value.
    fn boxes_to_object(info: &TypeInfo) -> Option<bool> {
        (info.is_value_type && info.nullable_of.is_none()).then_some(true)
    }

    /// `box`, with the patterns that generic code relies on to be free: `box; brtrue`, `box; isinst; brtrue`,
    /// `box; isinst; unbox.any`, `box; unbox.any`, `box; ldnull; ceq/cgt.un`.
    pub fn box_token(&mut self, token: Token, index: usize) -> Step<Flow> {
        let ty = self.host.resolve_type(self.method, token)?;
        let info = self.type_info(ty)?;
        if info.kind == TypeKind::ByRef {
            return invalid("box of a managed pointer");
        }
        if !info.is_value_type {
            return Ok(Flow::Next);
        }
        if let Some(flow) = self.box_pattern(&info, index)? {
            return Ok(flow);
        }
        self.box_top(&info)?;
        Ok(Flow::Next)
    }

    fn token_type(&self, ins: &Instruction) -> Step<Option<TypeId>> {
        match ins.operand {
            Operand::Token(token) => Ok(Some(self.host.resolve_type(self.method, token)?)),
            _ => Ok(None),
        }
    }

    fn box_pattern(&mut self, info: &TypeInfo, index: usize) -> Step<Option<Flow>> {
        let layout = self.layout;
        let Some(second) = layout.inner(index + 1) else {
            return Ok(None);
        };
        match second.opcode {
            Opcode::Brtrue | Opcode::BrtrueS | Opcode::Brfalse | Opcode::BrfalseS => {
                self.box_condition(info)?;
                Ok(Some(Flow::Skip(0)))
            }
            Opcode::Ldnull => match layout.inner(index + 2).map(|i| i.opcode) {
                Some(Opcode::CgtUn) => {
                    self.box_condition(info)?;
                    Ok(Some(Flow::Skip(2)))
                }
                Some(Opcode::Ceq) => {
                    self.box_condition(info)?;
                    self.push_int(0);
                    self.compare(Cond::Eq)?;
                    Ok(Some(Flow::Skip(2)))
                }
                _ => Ok(None),
            },
            Opcode::UnboxAny => {
                let same = self.token_type(second)? == Some(info.id);
                Ok(same.then_some(Flow::Skip(1)))
            }
            Opcode::Isinst => self.box_isinst_pattern(info, second, index),
            _ => Ok(None),
        }
    }

    fn box_isinst_pattern(&mut self, info: &TypeInfo, isinst: &Instruction, index: usize) -> Step<Option<Flow>> {
        let layout = self.layout;
        let Some(target) = self.token_type(isinst)? else {
            return Ok(None);
        };
        let boxed = info.nullable_of.map_or(info.id, |(inner, _)| inner);
        let Some(answer) = self.host.compare_types_for_cast(boxed, target) else {
            return Ok(None);
        };
        let Some(third) = layout.inner(index + 2) else {
            return Ok(None);
        };
        let is_branch = matches!(
            third.opcode,
            Opcode::Brtrue | Opcode::BrtrueS | Opcode::Brfalse | Opcode::BrfalseS
        );
        let null_test = third.opcode == Opcode::Ldnull
            && matches!(
                layout.inner(index + 3).map(|i| i.opcode),
                Some(Opcode::CgtUn | Opcode::Ceq)
            );
        if is_branch || null_test {
            if answer {
                self.box_condition(info)?;
            } else {
                self.pop()?;
                self.push_int(0);
            }
            if null_test {
                if layout.inner(index + 3).map(|i| i.opcode) == Some(Opcode::Ceq) {
                    self.push_int(0);
                    self.compare(Cond::Eq)?;
                }
                return Ok(Some(Flow::Skip(3)));
            }
            return Ok(Some(Flow::Skip(1)));
        }
        let round_trip = third.opcode == Opcode::UnboxAny
            && info.nullable_of.is_none()
            && target == info.id
            && self.token_type(third)? == Some(info.id);
        Ok(round_trip.then_some(Flow::Skip(2)))
    }

    /// Replaces the value on top by "its box would not be null".
    fn box_condition(&mut self, info: &TypeInfo) -> Step<()> {
        let entry = self.pop()?;
        match Self::boxes_to_object(info) {
            Some(answer) => self.push_bool(answer),
            None => {
                let value = self.coerce(entry, Ty::Struct(info.id))?;
                let has_value = self.b.emit(
                    Op::StructField {
                        value,
                        offset: 0,
                        ty: MemTy::U8,
                    },
                    Ty::I32,
                );
                self.push_value(has_value);
            }
        }
        Ok(())
    }

    /// Boxes the value on top.
    pub fn box_top(&mut self, info: &TypeInfo) -> Step<()> {
        if self.host.is_byref_like(info.id) {
            return invalid(format!("box of {}", info.name));
        }
        let entry = self.pop()?;
        let ty = self.value_ty(info.id)?;
        let value = self.coerce(entry, ty)?;
        let object = self.box_value(info, value)?;
        let mut entry = Entry::new(object, Ty::Ref);
        match info.nullable_of {
            Some((inner, _)) => {
                entry.class = Some(inner);
                entry.exact = true;
            }
            None => entry = entry.exact(info.id),
        }
        self.push(entry);
        Ok(())
    }

    /// Boxes a value.
    fn box_value(&mut self, info: &TypeInfo, value: Value) -> Step<Value> {
        if info.nullable_of.is_some() {
            let addr = self.b.emit(Op::StructAddr(value), Ty::ByRef);
            let handle = self.type_handle(info.id);
            return Ok(self.b.helper(Helper::Box, vec![handle, addr], Ty::Ref));
        }
        let Some(mem) = mem_ty(info.kind, info.id) else {
            return invalid("box of void");
        };
        let table = self.b.iconst64(info.method_table as i64);
        let object = self.b.helper(Helper::NewObject, vec![table], Ty::Ref);
        let barrier = match mem {
            MemTy::Struct(t) if self.has_object_references(t)? => Barrier::Heap,
            _ => Barrier::None,
        };
        self.b.store(mem, object, 8, value, barrier);
        Ok(object)
    }

    /// `unbox`
    pub fn unbox(&mut self, token: Token) -> Step<()> {
        let ty = self.host.resolve_type(self.method, token)?;
        self.unbox_type(ty)
    }

    /// Unboxes the object on top to a managed pointer.
    pub fn unbox_type(&mut self, ty: TypeId) -> Step<()> {
        let info = self.type_info(ty)?;
        if !info.is_value_type {
            return invalid("unbox of a reference type");
        }
        let object = self.pop_as(Ty::Ref)?;
        if info.nullable_of.is_some() {
            let local = self.unbox_nullable(ty, object)?;
            let addr = self.b.local_addr(local);
            self.push(Entry::new(addr, Ty::ByRef).non_null().on_stack(true));
            return Ok(());
        }
        let handle = self.type_handle(ty);
        let addr = self.b.helper(Helper::Unbox, vec![handle, object], Ty::ByRef);
        self.push(Entry::new(addr, Ty::ByRef).non_null());
        Ok(())
    }

    fn unbox_nullable(&mut self, ty: TypeId, object: Value) -> Step<Local> {
        let local = self.b.temp(Ty::Struct(ty), ty);
        let addr = self.b.local_addr(local);
        let handle = self.type_handle(ty);
        self.b.helper_void(Helper::UnboxNullable, vec![handle, object, addr]);
        Ok(local)
    }

    /// `unbox.any`
    pub fn unbox_any(&mut self, token: Token) -> Step<()> {
        let ty = self.host.resolve_type(self.method, token)?;
        let info = self.type_info(ty)?;
        if !info.is_value_type {
            return self.castclass(ty);
        }
        if info.nullable_of.is_some() {
            let object = self.pop_as(Ty::Ref)?;
            let local = self.unbox_nullable(ty, object)?;
            let value = self.b.get(local);
            self.push_value(value);
            return Ok(());
        }
        let (_, mem) = self.value_type(ty)?;
        let exact = self
            .peek(0)
            .is_some_and(|e| e.exact && e.class == Some(ty) && e.non_null);
        if exact {
            let object = self.pop_as(Ty::Ref)?;
            let value = self.b.load(mem, object, 8);
            self.push_value(value);
            return Ok(());
        }
        self.unbox_type(ty)?;
        let addr = self.pop_value()?;
        let value = self.b.emit(
            Op::Load {
                ty: mem,
                addr,
                offset: 0,
                flags: MemFlags::default(),
            },
            loaded_ty(mem),
        );
        self.push_value(value);
        Ok(())
    }

    /// Static answer to a cast of an entry.
    fn static_cast(&self, entry: &Entry, to: TypeId) -> Option<bool> {
        if to == self.host.well_known(WellKnownType::Object) {
            return Some(true);
        }
        let class = entry.class?;
        match self.host.compare_types_for_cast(class, to)? {
            true => Some(true),
            // A derived class could still implement the target.
            false => entry.exact.then_some(false),
        }
    }

    /// `castclass`
    pub fn castclass(&mut self, ty: TypeId) -> Step<()> {
        let entry = self.pop()?;
        let info = self.type_info(ty)?;
        if info.kind == TypeKind::ByRef {
            return invalid("castclass to a managed pointer");
        }
        let ty = info.nullable_of.map_or(ty, |(inner, _)| inner);
        if entry.is_null() || self.static_cast(&entry, ty) == Some(true) {
            self.push(entry);
            return Ok(());
        }
        self.host.load_for_cast(ty)?;
        let object = self.coerce(entry, Ty::Ref)?;
        let handle = self.type_handle(ty);
        let result = self.b.helper(Helper::CastClass, vec![handle, object], Ty::Ref);
        let mut result = Entry::new(result, Ty::Ref).class(Some(ty));
        result.non_null = entry.non_null;
        self.push(result);
        Ok(())
    }

    /// `isinst`
    pub fn isinst(&mut self, ty: TypeId) -> Step<()> {
        let entry = self.pop()?;
        if entry.is_null() {
            self.push(entry);
            return Ok(());
        }
        let info = self.type_info(ty)?;
        if info.kind == TypeKind::ByRef {
            return invalid("isinst to a managed pointer");
        }
        let boxed = info.nullable_of.map_or(ty, |(inner, _)| inner);
        match self.static_cast(&entry, boxed) {
            Some(true) => self.push(entry),
            Some(false) => self.push(Entry::lazy(Ty::Ref, Known::Null)),
            None => {
                self.host.load_for_cast(boxed)?;
                let object = self.coerce(entry, Ty::Ref)?;
                let handle = self.type_handle(boxed);
                let result = self.b.helper(Helper::IsInst, vec![handle, object], Ty::Ref);
                self.push(Entry::new(result, Ty::Ref).class(Some(boxed)));
            }
        }
        Ok(())
    }

    /// `ldtoken`
    pub fn ldtoken(&mut self, token: Token) -> Step<()> {
        let handle = self.host.resolve_handle(self.method, token)?;
        let (well_known, known) = match handle {
            TokenHandle::Type(ty) => {
                let struct_ty = self.host.well_known(WellKnownType::RuntimeTypeHandle);
                self.push(Entry::lazy(Ty::Struct(struct_ty), Known::TypeHandle(ty)));
                return Ok(());
            }
            TokenHandle::Method(_) => (WellKnownType::RuntimeMethodHandle, Known::Nothing),
            TokenHandle::Field(_) => (WellKnownType::RuntimeFieldHandle, Known::FieldHandle(token)),
        };
        let address = self.host.runtime_handle_object(handle)?;
        let object = self.b.frozen(address);
        let value = self.handle_struct(well_known, object);
        let mut entry = Entry::new(value, self.b.ty(value));
        entry.known = known;
        self.push(entry);
        Ok(())
    }

    /// Kind of a value type that is one primitive.
    pub fn primitive_kind(&mut self, ty: TypeId) -> Step<Option<TypeKind>> {
        let kind = self.type_info(ty)?.kind;
        Ok(match kind {
            TypeKind::Void | TypeKind::Ref | TypeKind::ByRef | TypeKind::Struct => None,
            other => Some(other),
        })
    }
}
