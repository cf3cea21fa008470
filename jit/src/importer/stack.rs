//! The evaluation stack (ECMA-335 III.1.1): typed entries, what is known of them, implicit conversions.

use super::{Importer, Step, invalid};
use crate::host_api::TypeKind;
use crate::ids::{MethodId, TypeId};
use crate::ir::*;
use corten_metadata::Token;

/// What the importer knows of a value. Entries with such knowledge may have no IR value yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Known {
    Nothing,
    /// Integer (I32: sign-extended).
    Int(i64),
    Null,
    /// Result of `ldtoken` of a type: a RuntimeTypeHandle.
    TypeHandle(TypeId),
    /// `typeof(T)`: the frozen RuntimeType.
    RuntimeType(TypeId),
    /// `ldtoken` of a field.
    FieldHandle(Token),
    /// Function pointer of that method (`ldftn`, `ldvirtftn`).
    Function(MethodId),
}

/// One evaluation stack slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub value: Option<Value>,
    pub ty: Ty,
    pub known: Known,
    /// Static class of a reference.
    pub class: Option<TypeId>,
    /// `class` is the exact run-time class (if not null).
    pub exact: bool,
    pub non_null: bool,
    /// Address of (a part of) a local of this frame.
    pub stack_addr: bool,
    /// Value just read from that local.
    pub origin: Option<Local>,
    /// Temporary that holds the same value.
    pub home: Option<Local>,
}

impl Entry {
    pub fn new(value: Value, ty: Ty) -> Entry {
        Entry {
            value: Some(value),
            ..Entry::lazy(ty, Known::Nothing)
        }
    }

    pub fn lazy(ty: Ty, known: Known) -> Entry {
        Entry {
            value: None,
            ty,
            known,
            class: None,
            exact: false,
            non_null: matches!(known, Known::RuntimeType(_)),
            stack_addr: false,
            origin: None,
            home: None,
        }
    }

    pub fn int(ty: Ty, value: i64) -> Entry {
        let value = if ty == Ty::I32 { i64::from(value as i32) } else { value };
        Entry::lazy(ty, Known::Int(value))
    }

    pub fn class(mut self, class: Option<TypeId>) -> Entry {
        self.class = class;
        self
    }

    pub fn exact(mut self, class: TypeId) -> Entry {
        self.class = Some(class);
        self.exact = true;
        self.non_null = true;
        self
    }

    pub fn non_null(mut self) -> Entry {
        self.non_null = true;
        self
    }

    pub fn on_stack(mut self, yes: bool) -> Entry {
        self.stack_addr = yes;
        self
    }

    pub fn as_int(&self) -> Option<i64> {
        match self.known {
            Known::Int(n) => Some(n),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.known == Known::Null
    }
}

impl Importer<'_, '_> {
    pub fn push(&mut self, entry: Entry) {
        if let (Some(value), Some(class), true, true) = (entry.value, entry.class, entry.exact, entry.non_null) {
            self.b.func.exact.insert(value, class);
        }
        self.stack.push(entry);
    }

    /// Pushes a value of which nothing more is known.
    pub fn push_value(&mut self, value: Value) {
        let ty = self.b.ty(value);
        self.push(Entry::new(value, ty));
    }

    pub fn push_int(&mut self, value: i32) {
        self.push(Entry::int(Ty::I32, i64::from(value)));
    }

    pub fn push_bool(&mut self, value: bool) {
        self.push_int(i32::from(value));
    }

    /// Pushes a value of a type, with the static class for references.
    pub fn push_typed(&mut self, value: Value, ty: TypeId) {
        let value_ty = self.b.ty(value);
        let class = (value_ty == Ty::Ref).then_some(ty);
        self.push(Entry::new(value, value_ty).class(class));
    }

    pub fn pop(&mut self) -> Step<Entry> {
        match self.stack.pop() {
            Some(entry) => Ok(entry),
            None => invalid("evaluation stack underflow"),
        }
    }

    /// The entry that many below the top.
    pub fn peek(&self, depth: usize) -> Option<&Entry> {
        self.stack.len().checked_sub(depth + 1).map(|i| &self.stack[i])
    }

    /// The IR value of an entry, made now if it was only known.
    pub fn value(&mut self, entry: &mut Entry) -> Step<Value> {
        if let Some(value) = entry.value {
            return Ok(value);
        }
        let value = match entry.known {
            Known::Int(n) => self.b.emit(Op::IConst(n), entry.ty),
            Known::Null => self.b.null(),
            Known::RuntimeType(t) => {
                let address = self.host.runtime_type_object(t)?;
                self.b.frozen(address)
            }
            Known::TypeHandle(t) => {
                let address = self.host.runtime_type_object(t)?;
                let object = self.b.frozen(address);
                self.handle_struct(crate::host_api::WellKnownType::RuntimeTypeHandle, object)
            }
            Known::Nothing | Known::FieldHandle(_) | Known::Function(_) => {
                return invalid("stack entry without value");
            }
        };
        entry.value = Some(value);
        Ok(value)
    }

    /// A handle struct of one object reference.
    pub fn handle_struct(&mut self, ty: crate::host_api::WellKnownType, object: Value) -> Value {
        let ty = self.host.well_known(ty);
        self.b.emit(
            Op::StructMake {
                ty,
                parts: vec![(0, MemTy::Ref, object)],
            },
            Ty::Struct(ty),
        )
    }

    /// Pops and makes the value.
    pub fn pop_value(&mut self) -> Step<Value> {
        let mut entry = self.pop()?;
        self.value(&mut entry)
    }

    /// Pops a value as that type (III.1.6 implicit conversions, and what CoreCLR tolerates).
    pub fn pop_as(&mut self, ty: Ty) -> Step<Value> {
        let entry = self.pop()?;
        self.coerce(entry, ty)
    }

    /// Pops an index, length or offset: I32 is sign-extended to I64.
    pub fn pop_i64(&mut self) -> Step<Value> {
        self.pop_as(Ty::I64)
    }

    /// The value of an entry as that type.
    pub fn coerce(&mut self, mut entry: Entry, to: Ty) -> Step<Value> {
        if let (Known::Int(n), None) = (entry.known, entry.value) {
            match to {
                Ty::I32 => return Ok(self.b.iconst32(n as i32)),
                Ty::I64 => return Ok(self.b.iconst64(n)),
                Ty::Ref if n == 0 => return Ok(self.b.null()),
                _ => {}
            }
        }
        let value = self.value(&mut entry)?;
        self.coerce_value(value, to)
    }

    /// A value as another type.
    pub fn coerce_value(&mut self, value: Value, to: Ty) -> Step<Value> {
        let from = self.b.ty(value);
        if from == to {
            return Ok(value);
        }
        Ok(match (from, to) {
            (Ty::I32, Ty::I64) => self.b.conv(ConvOp::SextI64, value, to),
            (Ty::I64, Ty::I32) => self.b.conv(ConvOp::Trunc, value, to),
            (Ty::F32, Ty::F64) => self.b.conv(ConvOp::F32ToF64, value, to),
            (Ty::F64, Ty::F32) => self.b.conv(ConvOp::F64ToF32, value, to),
            (Ty::ByRef | Ty::Ref, Ty::I64) => self.b.conv(ConvOp::RefToInt, value, to),
            (Ty::ByRef | Ty::Ref, Ty::I32) => {
                let wide = self.b.conv(ConvOp::RefToInt, value, Ty::I64);
                self.b.conv(ConvOp::Trunc, wide, to)
            }
            (Ty::Ref, Ty::ByRef) => self.b.conv(ConvOp::RefToByRef, value, to),
            (Ty::ByRef, Ty::Ref) => self.b.conv(ConvOp::ByRefToRef, value, to),
            (Ty::I64, Ty::ByRef) => self.b.conv(ConvOp::IntToByRef, value, to),
            (Ty::I32, Ty::ByRef) => {
                let wide = self.b.conv(ConvOp::SextI64, value, Ty::I64);
                self.b.conv(ConvOp::IntToByRef, wide, to)
            }
            (Ty::I64 | Ty::I32, Ty::Ref) => {
                let byref = self.coerce_value(value, Ty::ByRef)?;
                self.b.conv(ConvOp::ByRefToRef, byref, to)
            }
            (Ty::Struct(a), Ty::Struct(b)) => {
                if self.type_info(a)?.size < self.type_info(b)?.size {
                    return invalid("value of another value type expected");
                }
                let addr = self.b.emit(Op::StructAddr(value), Ty::ByRef);
                self.b.load(MemTy::Struct(b), addr, 0)
            }
            (Ty::Struct(a), scalar) => {
                let mem = self.scalar_like(a, scalar)?;
                self.b.emit(
                    Op::StructField {
                        value,
                        offset: 0,
                        ty: mem,
                    },
                    scalar,
                )
            }
            (scalar, Ty::Struct(b)) => {
                let mem = self.scalar_like(b, scalar)?;
                self.b.emit(
                    Op::StructMake {
                        ty: b,
                        parts: vec![(0, mem, value)],
                    },
                    to,
                )
            }
            (Ty::F32 | Ty::F64, _) | (_, Ty::F32 | Ty::F64) => {
                return invalid(format!("{from} where {to} is expected"));
            }
            _ => return invalid(format!("{from} where {to} is expected")),
        })
    }

    /// Memory type by which a wrapper struct and a scalar of its size have the same bytes.
    fn scalar_like(&mut self, ty: TypeId, scalar: Ty) -> Step<MemTy> {
        let info = self.type_info(ty)?;
        match plain_mem(scalar) {
            Some(mem) if mem_size(mem) == u64::from(info.size) && !info.has_gc_pointers => Ok(mem),
            _ => invalid(format!("{scalar} meets value type {}", info.name)),
        }
    }

    /// A value truncated and extended as a narrow integer type requires.
    pub fn normalise(&mut self, value: Value, kind: TypeKind) -> Value {
        let op = match kind {
            TypeKind::I1 => ConvOp::Sext8,
            TypeKind::U1 => ConvOp::Zext8,
            TypeKind::I2 => ConvOp::Sext16,
            TypeKind::U2 => ConvOp::Zext16,
            _ => return value,
        };
        self.b.conv(op, value, Ty::I32)
    }

    /// Pops an address: managed pointer, native pointer, or whatever legal code uses as such. The entry keeps knowledge,
    /// the value is ByRef or I64.
    pub fn pop_address(&mut self) -> Step<(Entry, Value)> {
        let entry = self.pop()?;
        let value = match entry.ty {
            Ty::Ref => self.coerce(entry, Ty::ByRef)?,
            Ty::I32 => self.coerce(entry, Ty::I64)?,
            Ty::ByRef | Ty::I64 => {
                let ty = entry.ty;
                self.coerce(entry, ty)?
            }
            _ => return invalid("address expected"),
        };
        Ok((entry, value))
    }

    /// Null check of a value unless it is known not to be null.
    pub fn check_null(&mut self, entry: &Entry, value: Value) {
        if entry.non_null || entry.stack_addr {
            return;
        }
        if let Some(local) = entry.origin.filter(|l| !self.layout.is_exposed(*l, self.il_args)) {
            if self.non_null.contains(&local) {
                return;
            }
            self.non_null.push(local);
        }
        if self.b.ty(value) != Ty::Ref && !self.options.check_pointers {
            return;
        }
        // The first pages are never mapped: a small constant address faults like null.
        let value = match entry.known {
            Known::Int(n) if (1..0x1_0000).contains(&n) => self.b.iconst64(0),
            _ => value,
        };
        self.b.null_check(value);
    }

    /// Forgets what was known of a local.
    pub fn local_changed(&mut self, local: Local) {
        self.non_null.retain(|l| *l != local);
        for entry in &mut self.stack {
            if entry.origin == Some(local) {
                entry.origin = None;
            }
        }
    }
}

/// Memory type of the same width.
pub(crate) fn plain_mem(ty: Ty) -> Option<MemTy> {
    Some(match ty {
        Ty::I32 => MemTy::I32,
        Ty::I64 => MemTy::I64,
        Ty::F32 => MemTy::F32,
        Ty::F64 => MemTy::F64,
        Ty::Ref => MemTy::Ref,
        Ty::ByRef => MemTy::ByRef,
        Ty::V128 => MemTy::V128,
        Ty::Struct(_) => return None,
    })
}

/// Bytes of a scalar access; 0 for structs.
pub(crate) fn mem_size(ty: MemTy) -> u64 {
    match ty {
        MemTy::I8 | MemTy::U8 => 1,
        MemTy::I16 | MemTy::U16 => 2,
        MemTy::I32 | MemTy::F32 => 4,
        MemTy::I64 | MemTy::F64 | MemTy::Ref | MemTy::ByRef => 8,
        MemTy::V128 => 16,
        MemTy::Struct(_) => 0,
    }
}
