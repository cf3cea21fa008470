//! Fields: receivers, access, initonly.

use corten_metadata::{FieldAttributes, Token};

use super::stack::{Flags, Kind, StackValue};
use super::{Check, MethodVerifier};
use crate::code::Code;
use crate::types::{FieldRef, Ty};

impl<'u> MethodVerifier<'_, 'u> {
    fn is_static(field: &FieldRef<'_>) -> bool {
        field.info.flags.contains(FieldAttributes::STATIC)
    }

    fn is_init_only(field: &FieldRef<'_>) -> bool {
        field.info.flags.contains(FieldAttributes::INIT_ONLY)
    }

    /// Takes the receiver and checks it against the field's type.
    fn pop_receiver(&mut self, field: &FieldRef<'u>, for_reading: bool) -> Check<StackValue> {
        let mut receiver = self.pop_any()?;
        if receiver.kind == Kind::ValueType
            && let Some(ty) = receiver.ty
        {
            // A value serves as the address of a copy.
            let flags = receiver.flags;
            receiver = StackValue::by_ref(ty);
            receiver.flags = flags;
        }
        let mut expected = if self.types.is_value_type(field.owner)? {
            StackValue::by_ref(field.owner)
        } else {
            StackValue::reference(field.owner)
        };
        if for_reading && expected.kind == Kind::ByRef {
            expected.flags.set(Flags::READ_ONLY);
        }
        self.check_assignable(receiver, expected)?;
        Ok(receiver)
    }

    fn expect_field_access(&mut self, field: &FieldRef<'u>, instance: Option<Ty>) -> Check {
        if !self.types.can_access_field(self.owner, field, instance)? {
            let owner = self.types.type_name(field.owner);
            let message = format!("{}: {owner}::{}", Code::FieldAccess.description(), field.info.name);
            self.push_finding(Code::FieldAccess, message);
        }
        Ok(())
    }

    /// Whether the current method may change a static initonly field.
    fn expect_static_init(&mut self, field: &FieldRef<'u>) {
        let allowed = self.method.is_static_constructor() && field.owner == self.owner_ty;
        self.expect(allowed || !Self::is_init_only(field), Code::InitOnly);
    }

    pub(super) fn load_field(&mut self, token: Token, is_static: bool) -> Check {
        self.take_memory_prefixes();
        let field = self.resolve_field(token)?;
        let mut from_frame = false;
        let instance = if is_static {
            self.expect(Self::is_static(&field), Code::ExpectedStaticField);
            None
        } else {
            let receiver = self.pop_receiver(&field, true)?;
            from_frame = receiver.has(Flags::FRAME) && self.is_frame_content(receiver);
            receiver.ty
        };
        self.expect_field_access(&field, instance)?;
        let mut value = self.value_of(field.ty)?;
        if value.kind == Kind::ByRef {
            // A ref field: what it points to outlives the value that holds it, unless that was made of the frame.
            value
                .flags
                .set(if from_frame { Flags::FRAME } else { Flags::PERMANENT });
        } else if from_frame && value.kind == Kind::ValueType {
            value.flags.set(Flags::FRAME);
        }
        self.push(value)
    }

    /// Whether what a receiver holds may refer to the frame: the address of a local that holds such a value.
    fn is_frame_content(&self, receiver: StackValue) -> bool {
        match receiver.extra {
            Some(local) => self.frame_locals.get(local as usize).copied().unwrap_or(false),
            None => false,
        }
    }

    pub(super) fn address_of_field(&mut self, token: Token, is_static: bool) -> Check {
        let field = self.resolve_field(token)?;
        let mut value = StackValue::by_ref(field.ty);
        let instance = if is_static {
            self.expect(Self::is_static(&field), Code::ExpectedStaticField);
            // The address of an initonly field may be taken anywhere, as C# does for reading: ILVerify does not track it.
            value.flags.set(Flags::PERMANENT);
            None
        } else {
            let receiver = self.pop_receiver(&field, false)?;
            if receiver.kind == Kind::ObjRef || receiver.has(Flags::PERMANENT) {
                value.flags.set(Flags::PERMANENT);
            }
            if receiver.kind == Kind::ByRef && receiver.has(Flags::FRAME) {
                value.flags.set(Flags::FRAME);
            }
            receiver.ty
        };
        self.expect_field_access(&field, instance)?;
        self.push(value)
    }

    pub(super) fn store_field(&mut self, token: Token, is_static: bool) -> Check {
        self.take_memory_prefixes();
        let value = self.pop()?;
        let field = self.resolve_field(token)?;
        let instance = if is_static {
            self.expect(Self::is_static(&field), Code::ExpectedStaticField);
            self.expect_static_init(&field);
            None
        } else {
            let receiver = self.pop_receiver(&field, false)?;
            if Self::is_init_only(&field) {
                let is_own = field.owner == self.owner_ty && receiver.has(Flags::THIS);
                let may_init = self.method.is_constructor() || self.method.is_init_setter;
                self.expect(is_own && may_init, Code::InitOnly);
            }
            receiver.ty
        };
        let holds = self.types.type_constraints_hold(field.owner)?;
        self.expect_access(holds, Code::UnsatisfiedFieldParentInst, field.owner);
        self.expect_field_access(&field, instance)?;
        let declared = self.value_of(field.ty)?;
        self.check_assignable(value, declared)
    }
}
