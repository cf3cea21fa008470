//! Creation of delegates: the instructions that must make the function pointer, and whether function and delegate fit
//! (ECMA-335 III.4.21, II.14.6).

use corten_metadata::Opcode;

use super::decode::decode;
use super::stack::{Flags, Kind, StackValue};
use super::{Check, MethodVerifier};
use crate::code::Code;
use crate::types::{MethodRef, RowId, Sig, Ty};

/// Bytes of `ldftn TOKEN` and of `dup, ldvirtftn TOKEN`.
const LDFTN_LEN: u32 = 6;
const DUP_LDVIRTFTN_LEN: u32 = 7;

impl<'u> MethodVerifier<'_, 'u> {
    /// `newobj` of a delegate's constructor, up to the arguments.
    pub(super) fn create_delegate(&mut self, constructor: &MethodRef<'u>) -> Check {
        let [object_type, function_type] = constructor.sig.params[..] else {
            self.report(Code::DelegateCtor);
            for _ in 0..constructor.sig.params.len() {
                self.pop()?;
            }
            return Ok(());
        };
        let object = self.value_of(object_type)?;
        let function = self.value_of(function_type)?;
        self.expect_found(function.kind == Kind::NativeInt, Code::DelegateCtorSigI, function);
        let actual_function = self.pop()?;
        let actual_object = self.pop()?;
        let target = match actual_function.extra {
            Some(index) if actual_function.kind == Kind::NativeInt => self.functions.get(index as usize).cloned(),
            _ => None,
        };
        self.expect_found(target.is_some(), Code::StackMethod, actual_function);
        self.check_assignable(actual_object, object)?;
        let is_object = actual_object.kind == Kind::ObjRef;
        self.expect_found(is_object, Code::DelegateCtorSigO, actual_object);
        let Some(target) = target else { return Ok(()) };
        self.check_delegate_pattern(&target, actual_object)?;
        // `ldvirtftn` has judged the object already.
        let was_judged = self.delegate_start.map(|start| self.opcode_at(start)) == Some(Some(Opcode::Dup));
        let receiver = if was_judged {
            Some(target.owner)
        } else {
            actual_object.ty
        };
        if is_object && !self.fits_delegate(&target, constructor.owner, receiver)? {
            let message = format!(
                "{}: {}::{} for {}",
                Code::DelegateCtor.description(),
                self.types.type_name(target.owner),
                target.name,
                self.types.type_name(constructor.owner)
            );
            self.push_finding(Code::DelegateCtor, message);
        }
        Ok(())
    }

    fn opcode_at(&self, offset: u32) -> Option<Opcode> {
        decode(self.code, offset)?.opcode
    }

    fn check_delegate_pattern(&mut self, target: &MethodRef<'u>, object: StackValue) -> Check {
        let Some(start) = self.delegate_start else {
            self.report(Code::DelegatePattern);
            return Ok(());
        };
        let len = self.offset.saturating_sub(start);
        if len == LDFTN_LEN && self.opcode_at(start) == Some(Opcode::Ldftn) {
            if self.may_be_overridden(target)? && !self.is_boxed_value(object)? {
                let is_own = object.has(Flags::THIS) && !self.modifies_this;
                self.expect(is_own, Code::LdftnNonFinalVirtual);
            }
            return Ok(());
        }
        let is_virtual = len == DUP_LDVIRTFTN_LEN
            && self.opcode_at(start) == Some(Opcode::Dup)
            && self.opcode_at(start + 1) == Some(Opcode::Ldvirtftn);
        self.expect(is_virtual, Code::DelegatePattern);
        Ok(())
    }

    /// Signature of the delegate's Invoke.
    fn invoke_signature(&mut self, delegate: Ty) -> Check<Option<Sig>> {
        let Some(def) = self.types.def_of(delegate) else {
            return Ok(None);
        };
        let names = self.types.methods_by_name(def)?;
        let Some(&rid) = names.get("Invoke").and_then(|rows| rows.first()) else {
            return Ok(None);
        };
        let invoke = self.types.method(RowId {
            module: def.module,
            rid,
        })?;
        let args = self.types.args_of(delegate);
        Ok(Some(self.types.substitute_sig(&invoke.sig, &args, &[])?))
    }

    /// Whether a delegate of the type can be made of the function and, if given, the receiver.
    fn fits_delegate(&mut self, target: &MethodRef<'u>, delegate: Ty, receiver: Option<Ty>) -> Check<bool> {
        let Some(invoke) = self.invoke_signature(delegate)? else {
            return Ok(false);
        };
        if target.sig.convention != invoke.convention || !self.is_type_assignable(target.sig.ret, invoke.ret, false)? {
            return Ok(false);
        }
        // What the function takes, receiver first.
        let mut wanted = target.sig.params.clone();
        if !target.is_static() {
            wanted.insert(0, target.owner);
        }
        // What it is given: by the call of the delegate alone (open), or by the delegate's receiver first (closed).
        let mut given = invoke.params.clone();
        if wanted.len() == given.len() {
            if receiver.is_some() && !wanted.is_empty() {
                return Ok(false);
            }
            if !target.is_static() && self.types.is_value_type(target.owner)? {
                wanted[0] = self.types.by_ref(target.owner)?;
            }
        } else if wanted.len() == given.len() + 1 {
            let Some(receiver) = receiver else { return Ok(false) };
            given.insert(0, receiver);
        } else {
            return Ok(false);
        }
        for (given, wanted) in given.into_iter().zip(wanted) {
            if !self.is_type_assignable(given, wanted, false)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
