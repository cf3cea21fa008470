//! `RuntimeHelpers`, and small members of `Object`, `String`, `Array`, `Span`, `Nullable`, `Activator`.

use super::super::stack::{Entry, Known};
use super::super::{Importer, Step};
use crate::builder::mem_ty;
use crate::host_api::{FieldPlace, MethodInfo, TypeKind};
use crate::ids::TypeId;
use crate::ir::*;

/// Offset of `_length` in Span and ReadOnlySpan; `_reference` is at 0.
const SPAN_LENGTH: i32 = 8;
/// Offsets of the length and first character of a String.
const STRING_LENGTH: i32 = 8;
const STRING_CHARS: i32 = 12;
/// Offset of the total length of any array.
const ARRAY_LENGTH: i32 = 8;

impl Importer<'_, '_> {
    /// `RuntimeHelpers.*`
    pub fn runtime_helpers_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        let t = Self::type_argument(info, 0);
        match (&*info.name, t) {
            ("IsReferenceOrContainsReferences", Some(ty)) => {
                let info = self.type_info(ty)?;
                self.push_bool(info.has_gc_pointers || !info.is_value_type);
            }
            ("IsBitwiseEquatable", Some(ty)) => {
                let kind = self.primitive_kind(ty)?;
                self.push_bool(kind.is_some_and(|k| !matches!(k, TypeKind::R4 | TypeKind::R8)));
            }
            ("IsKnownConstant", _) => {
                for _ in 0..info.sig.params.len() {
                    self.pop()?;
                }
                self.push_bool(false);
            }
            ("GetMethodTable", None) => {
                let entry = self.pop()?;
                let object = self.coerce(entry, Ty::Ref)?;
                self.check_null(&entry, object);
                let value = self.b.load(MemTy::I64, object, 0);
                self.push_value(value);
            }
            ("EnumEquals", Some(ty)) if self.primitive_kind(ty)?.is_some() => self.compare(Cond::Eq)?,
            ("EnumCompareTo", Some(ty)) => match self.primitive_kind(ty)? {
                Some(kind) => self.enum_compare(kind)?,
                None => return Ok(false),
            },
            ("CreateSpan", Some(ty)) if self.options.optional_intrinsics => return self.create_span(info, ty),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `x.CompareTo(y)` of the underlying integers.
    fn enum_compare(&mut self, kind: TypeKind) -> Step<()> {
        let wide = matches!(kind, TypeKind::I8 | TypeKind::U8 | TypeKind::NInt | TypeKind::NUInt);
        let ty = if wide { Ty::I64 } else { Ty::I32 };
        let y = self.pop_as(ty)?;
        let x = self.pop_as(ty)?;
        let (gt, lt) = match kind {
            // Narrow integers answer their difference.
            TypeKind::I1 | TypeKind::U1 | TypeKind::I2 | TypeKind::U2 => {
                let value = self.b.bin(BinOp::Sub, x, y);
                self.push_value(value);
                return Ok(());
            }
            TypeKind::U4 | TypeKind::U8 | TypeKind::NUInt => (Cond::GtUn, Cond::LtUn),
            _ => (Cond::Gt, Cond::Lt),
        };
        let greater = self.b.cmp(gt, x, y);
        let less = self.b.cmp(lt, x, y);
        let value = self.b.bin(BinOp::Sub, greater, less);
        self.push_value(value);
        Ok(())
    }

    /// `RuntimeHelpers.CreateSpan<T>(field)` of an RVA field: a span over its data.
    fn create_span(&mut self, info: &MethodInfo, element: TypeId) -> Step<bool> {
        let Some(&Entry {
            known: Known::FieldHandle(token),
            ..
        }) = self.peek(0)
        else {
            return Ok(false);
        };
        let field = self.host.resolve_field(self.method, token)?;
        let FieldPlace::Static { address } = field.place else {
            return Ok(false);
        };
        let bytes = self.type_info(field.ty)?.size;
        let size = self.type_info(element)?.size;
        let Ty::Struct(span) = self.value_ty(info.sig.ret)? else {
            return Ok(false);
        };
        if size == 0 {
            return Ok(false);
        }
        self.pop()?;
        let data = self.b.emit(Op::Address(address), Ty::ByRef);
        let length = self.b.iconst32((bytes / size) as i32);
        let parts = vec![(0, MemTy::ByRef, data), (SPAN_LENGTH as u32, MemTy::I32, length)];
        let value = self.b.emit(Op::StructMake { ty: span, parts }, Ty::Struct(span));
        self.push_value(value);
        Ok(true)
    }

    /// `Object..ctor` does nothing.
    pub fn object_intrinsic(&mut self, info: &MethodInfo, virtually: bool) -> bool {
        if virtually || !super::super::calls::is_object_ctor(info) {
            return false;
        }
        self.stack.pop().is_some()
    }

    fn pop_object(&mut self) -> Step<Value> {
        let entry = self.pop()?;
        let object = self.coerce(entry, Ty::Ref)?;
        self.check_null(&entry, object);
        Ok(object)
    }

    /// `String.Length`, `String.Chars`.
    pub fn string_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        match (&*info.name, info.sig.params.len()) {
            ("get_Length", 0) => {
                let object = self.pop_object()?;
                let value = self.b.load(MemTy::I32, object, STRING_LENGTH);
                self.push_value(value);
                Ok(true)
            }
            ("get_Chars", 1) => {
                let index = self.pop_as(Ty::I32)?;
                let object = self.pop_object()?;
                let length = self.b.load(MemTy::I32, object, STRING_LENGTH);
                self.b.emit_void(Op::BoundsCheck { index, length });
                let base = self.coerce_value(object, Ty::ByRef)?;
                let addr = self.scaled(base, index, 2);
                let value = self.b.load(MemTy::U16, addr, STRING_CHARS);
                self.push_value(value);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Base plus a checked I32 index times a size.
    fn scaled(&mut self, base: Value, index: Value, size: u32) -> Value {
        let index = self.b.conv(ConvOp::ZextI64, index, Ty::I64);
        let bytes = if size == 1 {
            index
        } else {
            let size = self.b.iconst64(i64::from(size));
            self.b.bin(BinOp::Mul, index, size)
        };
        self.b.ptr_add(base, bytes)
    }

    /// `Array.Length`.
    pub fn array_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        if &*info.name != "get_Length" || !info.sig.has_this {
            return Ok(false);
        }
        let object = self.pop_object()?;
        let value = self.b.load(MemTy::I32, object, ARRAY_LENGTH);
        self.push_value(value);
        Ok(true)
    }

    fn pop_this_pointer(&mut self) -> Step<Value> {
        let (entry, addr) = self.pop_address()?;
        self.check_null(&entry, addr);
        Ok(addr)
    }

    /// `Length`, `IsEmpty` and the indexer of spans.
    pub fn span_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        if !info.sig.has_this {
            return Ok(false);
        }
        match (&*info.name, info.sig.params.len()) {
            ("get_Length", 0) => {
                let this = self.pop_this_pointer()?;
                let value = self.b.load(MemTy::I32, this, SPAN_LENGTH);
                self.push_value(value);
            }
            ("get_IsEmpty", 0) => {
                let this = self.pop_this_pointer()?;
                let length = self.b.load(MemTy::I32, this, SPAN_LENGTH);
                let zero = self.b.iconst32(0);
                let value = self.b.cmp(Cond::Eq, length, zero);
                self.push_value(value);
            }
            ("get_Item", 1) => {
                let owner = self.type_info(info.owner)?;
                let Some(&element) = owner.instantiation.first() else {
                    return Ok(false);
                };
                let (_, size) = self.element_mem(element)?;
                let index = self.pop_as(Ty::I32)?;
                let this = self.pop_this_pointer()?;
                let length = self.b.load(MemTy::I32, this, SPAN_LENGTH);
                self.b.emit_void(Op::BoundsCheck { index, length });
                let base = self.b.load(MemTy::ByRef, this, 0);
                let addr = self.scaled(base, index, size);
                self.push(Entry::new(addr, Ty::ByRef).non_null());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `HasValue` and `GetValueOrDefault()` of nullables.
    pub fn nullable_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        let Some((inner, offset)) = self.type_info(info.owner)?.nullable_of else {
            return Ok(false);
        };
        match (&*info.name, info.sig.params.len()) {
            ("get_HasValue", 0) => {
                let this = self.pop_this_pointer()?;
                let value = self.b.load(MemTy::U8, this, 0);
                self.push_value(value);
            }
            ("GetValueOrDefault", 0) => {
                let inner_info = self.type_info(inner)?;
                let Some(mem) = mem_ty(inner_info.kind, inner) else {
                    return Ok(false);
                };
                let this = self.pop_this_pointer()?;
                let value = self.b.load(mem, this, offset as i32);
                self.push_typed(value, inner);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `Activator.CreateInstance<T>()` of primitives (other value types may declare a constructor).
    pub fn activator_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        let Some(ty) = Self::type_argument(info, 0) else {
            return Ok(false);
        };
        if &*info.name != "CreateInstance" || !info.sig.params.is_empty() || self.primitive_kind(ty)?.is_none() {
            return Ok(false);
        }
        let ty = self.value_ty(ty)?;
        let value = self.zero_of(ty);
        self.push_value(value);
        Ok(true)
    }
}
