//! Access through pointers; boxes; casts; tokens; what is never verifiable.

use corten_metadata::Token;

use super::stack::{Flags, Kind, StackValue};
use super::{Check, MethodVerifier};
use crate::code::Code;
use crate::types::{Category, Member, Ty};
use crate::universe::WellKnown;

impl MethodVerifier<'_, '_> {
    fn require_by_ref(&mut self, value: StackValue) -> Check<Ty> {
        self.require_found(value.kind == Kind::ByRef, Code::StackByRef, value)?;
        Ok(value.ty.unwrap_or(self.known(WellKnown::Object)))
    }

    /// `ldind`, `ldobj`; no type: `ldind.ref`.
    pub(super) fn load_indirect(&mut self, ty: Option<Ty>) -> Check {
        self.take_memory_prefixes();
        let address = self.pop()?;
        let target = self.require_by_ref(address)?;
        let loaded = match ty {
            Some(ty) => {
                let from = self.types.verification_type(target)?;
                let to = self.types.verification_type(ty)?;
                self.check_type_assignable(from, to, false)?;
                ty
            }
            None => {
                self.check_reference_type(target)?;
                target
            }
        };
        let value = self.value_of(loaded)?;
        self.push(value)
    }

    /// `stind`, `stobj`; no type: `stind.ref`.
    pub(super) fn store_indirect(&mut self, ty: Option<Ty>) -> Check {
        self.take_memory_prefixes();
        let value = self.pop()?;
        let address = self.pop()?;
        self.expect(!address.has(Flags::READ_ONLY), Code::ReadOnlyIllegalWrite);
        let target = self.require_by_ref(address)?;
        let stored = self.value_of(ty.unwrap_or(target))?;
        let held = self.value_of(target)?;
        if stored.kind != held.kind {
            self.report_mismatch(Code::StackUnexpected, stored, held);
        } else {
            self.check_assignable(stored, held)?;
        }
        self.check_assignable(value, stored)
    }

    pub(super) fn init_object(&mut self, token: Token) -> Check {
        let ty = self.resolve_type(token)?;
        let address = self.pop()?;
        self.expect_found(address.kind == Kind::ByRef, Code::StackByRef, address);
        self.check_assignable(address, StackValue::by_ref(ty))
    }

    pub(super) fn copy_object(&mut self, token: Token) -> Check {
        self.resolve_type(token)?;
        let source = self.pop()?;
        let target = self.pop()?;
        self.expect_found(source.kind == Kind::ByRef, Code::StackByRef, source);
        self.expect_found(target.kind == Kind::ByRef, Code::StackByRef, target);
        Ok(())
    }

    pub(super) fn box_value(&mut self, token: Token) -> Check {
        let ty = self.resolve_type(token)?;
        let value = self.pop()?;
        let expected = self.value_of(ty)?;
        let is_by_ref_like = self.is_by_ref_like(expected)?;
        self.expect_found(!is_by_ref_like, Code::BoxByRef, expected);
        let category = self.types.category(ty)?;
        let is_boxable =
            category.is_value_type() || category == Category::GenericParameter || expected.kind == Kind::ObjRef;
        self.expect(is_boxable, Code::ExpectedValClassObjRefVariable);
        let holds = self.types.type_constraints_hold(ty)?;
        self.expect(holds, Code::UnsatisfiedBoxOperand);
        let visible = self.types.can_access_type(self.owner, ty)?;
        self.expect_access(visible, Code::TypeAccess, ty);
        self.check_assignable(value, expected)?;
        let boxed = match self.types.args_of(ty).first() {
            Some(inner) if category == Category::Nullable => *inner,
            _ => ty,
        };
        self.push(StackValue::reference(boxed))
    }

    pub(super) fn unbox(&mut self, token: Token, any: bool) -> Check {
        let ty = self.resolve_type(token)?;
        let object = self.pop()?;
        self.expect_reference(object);
        let value = if any {
            self.value_of(ty)?
        } else {
            let is_value_type = self.types.is_value_type(ty)?;
            self.expect(is_value_type, Code::ValueTypeExpected);
            StackValue::by_ref(ty).with(Flags::READ_ONLY).with(Flags::PERMANENT)
        };
        self.push(value)
    }

    /// `castclass` and `isinst`.
    pub(super) fn cast(&mut self, token: Token) -> Check {
        let ty = self.resolve_type(token)?;
        let object = self.pop()?;
        self.expect_reference(object);
        let visible = self.types.can_access_type(self.owner, ty)?;
        self.expect_access(visible, Code::TypeAccess, ty);
        self.push(StackValue::reference(ty))
    }

    /// Records a finding that names a type, unless it is accessible.
    pub(super) fn expect_access(&mut self, is_accessible: bool, code: Code, ty: Ty) {
        if !is_accessible {
            let message = format!("{}: {}", code.description(), self.types.type_name(ty));
            self.push_finding(code, message);
        }
    }

    pub(super) fn load_string(&mut self, token: Token) -> Check {
        let module = self.types.universe.module(self.context.module);
        let is_string = token.is_user_string() && module.user_string(token).is_ok();
        self.expect(is_string, Code::StringOperand);
        self.push(StackValue::reference(self.known(WellKnown::String)))
    }

    pub(super) fn load_token(&mut self, token: Token) -> Check {
        let Some(member) = self.types.resolve_token(&self.context, token)? else {
            self.push_finding(Code::TokenResolve, format!("token {token:?} does not resolve"));
            return Err(super::Stop::Reported);
        };
        let handle = match member {
            Member::Type(_) => WellKnown::RuntimeTypeHandle,
            Member::Method(_) => WellKnown::RuntimeMethodHandle,
            Member::Field(_) => WellKnown::RuntimeFieldHandle,
            Member::Other => {
                self.report(Code::TokenResolve);
                return Err(super::Stop::Reported);
            }
        };
        self.push(StackValue::value(self.known(handle)))
    }

    pub(super) fn local_allocate(&mut self) -> Check {
        self.report(Code::Unverifiable);
        let size = self.pop()?;
        self.expect(self.stack.is_empty(), Code::LocallocStackNotEmpty);
        self.require_integer(size)?;
        self.push(StackValue::primitive(Kind::NativeInt))
    }

    /// `cpblk` and `initblk`.
    pub(super) fn block_operation(&mut self, fills: bool) -> Check {
        self.take_memory_prefixes();
        self.report(Code::Unverifiable);
        let size = self.pop()?;
        let value = self.pop()?;
        self.pop()?;
        self.require_integer(size)?;
        if fills {
            self.require_integer(value)?;
        }
        Ok(())
    }

    pub(super) fn make_typed_reference(&mut self, token: Token) -> Check {
        let ty = self.resolve_type(token)?;
        let address = self.pop()?;
        self.expect(!address.has(Flags::READ_ONLY), Code::ReadOnlyIllegalWrite);
        self.check_assignable(address, StackValue::by_ref(ty))?;
        let mut value = StackValue::value(self.known(WellKnown::TypedReference));
        if !address.has(Flags::PERMANENT) {
            value.flags.set(Flags::FRAME);
        }
        self.push(value)
    }

    fn pop_typed_reference(&mut self) -> Check<StackValue> {
        let value = self.pop()?;
        let expected = StackValue::value(self.known(WellKnown::TypedReference));
        self.check_assignable(value, expected)?;
        Ok(value)
    }

    pub(super) fn typed_reference_value(&mut self, token: Token) -> Check {
        let ty = self.resolve_type(token)?;
        let reference = self.pop_typed_reference()?;
        let mut value = StackValue::by_ref(ty);
        value.flags.set(if reference.has(Flags::FRAME) {
            Flags::FRAME
        } else {
            Flags::PERMANENT
        });
        self.push(value)
    }

    pub(super) fn typed_reference_type(&mut self) -> Check {
        self.pop_typed_reference()?;
        self.push(StackValue::value(self.known(WellKnown::RuntimeTypeHandle)))
    }
}
