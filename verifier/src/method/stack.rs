//! Values on the stack, and what can be assigned to and compared with what (ECMA-335 III.1.8).

use corten_metadata::Opcode;

use super::{Check, MethodVerifier, Stop};
use crate::code::Code;
use crate::types::{Category, Ty, TyKind};
use crate::universe::WellKnown;

/// Kind of a value. The order is used: arithmetic on two numbers gives the greater kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Int32,
    Int64,
    NativeInt,
    Float,
    ByRef,
    ObjRef,
    /// A value type, or a generic parameter that is not boxed.
    ValueType,
}

/// What else is known of a value.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Flags(u8);

impl Flags {
    /// A managed pointer that must not be written through.
    pub const READ_ONLY: u8 = 1;
    /// A managed pointer to something that outlives the method.
    pub const PERMANENT: u8 = 2;
    /// The `this` the method was called with.
    pub const THIS: u8 = 4;
    /// Refers to the frame of the method: to a local or argument, directly or inside a by-ref-like value.
    pub const FRAME: u8 = 8;

    pub fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    pub fn set(&mut self, flag: u8) {
        self.0 |= flag;
    }

    pub fn clear(&mut self, flag: u8) {
        self.0 &= !flag;
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct StackValue {
    pub kind: Kind,
    /// Type of the value (value types), of the object as far as known (references; none: null), or of what is pointed to.
    pub ty: Option<Ty>,
    pub flags: Flags,
    /// For a native integer: the function it points to, as an index; for a managed pointer: the local it points to.
    pub extra: Option<u32>,
}

impl PartialEq for StackValue {
    fn eq(&self, other: &StackValue) -> bool {
        self.kind == other.kind && self.ty == other.ty && self.flags == other.flags
    }
}

impl StackValue {
    pub fn primitive(kind: Kind) -> StackValue {
        StackValue {
            kind,
            ty: None,
            flags: Flags::default(),
            extra: None,
        }
    }

    fn typed(kind: Kind, ty: Ty) -> StackValue {
        StackValue {
            ty: Some(ty),
            ..StackValue::primitive(kind)
        }
    }

    pub fn null() -> StackValue {
        StackValue::primitive(Kind::ObjRef)
    }

    pub fn reference(ty: Ty) -> StackValue {
        StackValue::typed(Kind::ObjRef, ty)
    }

    pub fn value(ty: Ty) -> StackValue {
        StackValue::typed(Kind::ValueType, ty)
    }

    pub fn by_ref(ty: Ty) -> StackValue {
        StackValue::typed(Kind::ByRef, ty)
    }

    pub fn with(mut self, flag: u8) -> StackValue {
        self.flags.set(flag);
        self
    }

    pub fn has(self, flag: u8) -> bool {
        self.flags.has(flag)
    }

    pub fn is_number(self) -> bool {
        self.kind <= Kind::Float
    }

    pub fn is_integer(self) -> bool {
        self.kind <= Kind::NativeInt
    }
}

impl MethodVerifier<'_, '_> {
    pub(super) fn push(&mut self, value: StackValue) -> Check {
        self.require(self.stack.len() < self.max_stack, Code::StackOverflow)?;
        self.stack.push(value);
        Ok(())
    }

    /// Takes a value that may be the uninitialised `this`.
    pub(super) fn pop_any(&mut self) -> Check<StackValue> {
        match self.stack.pop() {
            Some(value) => Ok(value),
            None => {
                self.report(Code::StackUnderflow);
                Err(Stop::Reported)
            }
        }
    }

    pub(super) fn pop(&mut self) -> Check<StackValue> {
        let value = self.pop_any()?;
        let is_uninitialized = self.tracks_this && value.has(Flags::THIS) && !self.this_is_initialized;
        self.expect_found(!is_uninitialized, Code::UninitStack, value);
        Ok(value)
    }

    /// The value of a location of this type once it is loaded.
    pub(super) fn value_of(&mut self, ty: Ty) -> Check<StackValue> {
        let kind = match self.types.category(ty)? {
            Category::Boolean
            | Category::Char
            | Category::SByte
            | Category::Byte
            | Category::Int16
            | Category::UInt16
            | Category::Int32
            | Category::UInt32 => Kind::Int32,
            Category::Int64 | Category::UInt64 => Kind::Int64,
            Category::Single | Category::Double => Kind::Float,
            Category::IntPtr | Category::UIntPtr | Category::Pointer | Category::FunctionPointer => Kind::NativeInt,
            Category::Enum => {
                let underlying = self.types.underlying(ty)?;
                return self.value_of(underlying);
            }
            Category::ByRef => {
                let target = self.types.element_of(ty).unwrap_or(ty);
                return Ok(StackValue::by_ref(target));
            }
            Category::Void | Category::ValueType | Category::Nullable | Category::GenericParameter => {
                return Ok(StackValue::value(ty));
            }
            Category::Class | Category::Interface | Category::Array | Category::SzArray => {
                return Ok(StackValue::reference(ty));
            }
        };
        Ok(StackValue::primitive(kind))
    }

    pub(super) fn describe(&self, value: StackValue) -> String {
        let name = |ty: Option<Ty>| ty.map_or_else(|| "null".to_owned(), |t| self.types.type_name(t));
        match value.kind {
            Kind::Int32 => "int32".to_owned(),
            Kind::Int64 => "int64".to_owned(),
            Kind::NativeInt if value.extra.is_some() => "function pointer".to_owned(),
            Kind::NativeInt => "native int".to_owned(),
            Kind::Float => "float".to_owned(),
            Kind::ByRef if value.has(Flags::READ_ONLY) => format!("readonly {}&", name(value.ty)),
            Kind::ByRef => format!("{}&", name(value.ty)),
            Kind::ObjRef if self.is_unboxed(value.ty) => format!("boxed {}", name(value.ty)),
            Kind::ObjRef => name(value.ty),
            Kind::ValueType => format!("value {}", name(value.ty)),
        }
    }

    /// Whether a reference to the type is one to a box.
    fn is_unboxed(&self, ty: Option<Ty>) -> bool {
        ty.is_some_and(|ty| matches!(self.types.kind(ty), TyKind::Param(_)) || self.types.is_known_value_type(ty))
    }

    /// Whether a value that is on the stack can go where `to` is expected.
    pub(super) fn is_assignable(&mut self, from: StackValue, to: StackValue) -> Check<bool> {
        let same = from.kind == to.kind && from.ty == to.ty;
        if same && from.has(Flags::READ_ONLY) == to.has(Flags::READ_ONLY) {
            return Ok(true);
        }
        Ok(match (from.kind, to.kind) {
            (Kind::ObjRef, Kind::ObjRef) => match (from.ty, to.ty) {
                (None, Some(_)) => true,
                (Some(from), Some(to)) => self.types.can_cast(from, to)?,
                (_, None) => false,
            },
            (Kind::ByRef, Kind::ByRef) => to.has(Flags::READ_ONLY) && from.ty == to.ty,
            // I.8.7.3: an int32 is widened where a native integer is expected.
            (Kind::Int32, Kind::NativeInt) => true,
            _ => false,
        })
    }

    pub(super) fn check_assignable(&mut self, from: StackValue, to: StackValue) -> Check {
        if !self.is_assignable(from, to)? {
            self.report_mismatch(Code::StackUnexpected, from, to);
        }
        Ok(())
    }

    /// Whether a location's type can stand for another's: references by inheritance, everything else exactly, or with
    /// `by_size` integers of one size.
    pub(super) fn is_type_assignable(&mut self, from: Ty, to: Ty, by_size: bool) -> Check<bool> {
        if from == to {
            return Ok(true);
        }
        if self.types.is_value_type(from)? || self.types.is_value_type(to)? {
            return Ok(by_size && self.types.reduced(from)? == self.types.reduced(to)?);
        }
        Ok(self.types.can_cast(from, to)?)
    }

    pub(super) fn check_type_assignable(&mut self, from: Ty, to: Ty, by_size: bool) -> Check {
        if !self.is_type_assignable(from, to, by_size)? {
            let (from, to) = (self.types.type_name(from), self.types.type_name(to));
            self.report_types(Code::StackUnexpected, &from, &to);
        }
        Ok(())
    }

    /// That a location of the type holds references.
    pub(super) fn check_reference_type(&mut self, ty: Ty) -> Check {
        let object = self.known(WellKnown::Object);
        self.check_type_assignable(ty, object, false)
    }

    pub(super) fn expect_reference(&mut self, value: StackValue) {
        self.expect_found(value.kind == Kind::ObjRef, Code::StackObjRef, value);
    }

    pub(super) fn require_number(&mut self, value: StackValue) -> Check {
        self.require_found(value.is_number(), Code::ExpectedNumericType, value)
    }

    pub(super) fn require_integer(&mut self, value: StackValue) -> Check {
        self.require_found(value.is_integer(), Code::ExpectedIntegerType, value)
    }

    /// Whether two values can be compared by the instruction (ECMA-335 III.1.5, table 4); `a` is the upper one.
    pub(super) fn is_comparable(a: StackValue, b: StackValue, opcode: Opcode) -> bool {
        if a.kind == b.kind && a.ty == b.ty {
            return true;
        }
        let equality = matches!(
            opcode,
            Opcode::Beq | Opcode::BeqS | Opcode::BneUn | Opcode::BneUnS | Opcode::Ceq
        );
        match (a.kind, b.kind) {
            (Kind::ObjRef, Kind::ObjRef) => equality || opcode == Opcode::CgtUn,
            (Kind::ByRef, Kind::ByRef) => true,
            (Kind::ByRef, Kind::NativeInt) | (Kind::NativeInt, Kind::ByRef) => equality,
            (Kind::Int32, Kind::Int64 | Kind::NativeInt) | (Kind::NativeInt, Kind::Int32) => true,
            _ => false,
        }
    }

    /// Whether a value is a managed pointer or, other than for tail calls, a value of a by-ref-like type.
    pub(super) fn is_by_ref_like(&mut self, value: StackValue) -> Check<bool> {
        Ok(match (value.kind, value.ty) {
            (Kind::ByRef, _) => true,
            (Kind::ValueType, Some(ty)) => self.types.is_by_ref_like(ty)?,
            _ => false,
        })
    }
}
