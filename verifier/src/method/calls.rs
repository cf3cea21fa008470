//! `call`, `callvirt`, `newobj`, `calli`, function pointers.

use corten_metadata::{Opcode, TableId, Token, TypeAttributes, sig};

use super::frame::Escape;
use super::prefixes::Prefixes;
use super::stack::{Flags, Kind, StackValue};
use super::{Check, MethodVerifier, Stop};
use crate::code::Code;
use crate::types::{Category, LoadFailure, MethodRef, Ty, TyKind};
use crate::universe::WellKnown;

impl<'u> MethodVerifier<'_, 'u> {
    pub(super) fn call(&mut self, opcode: Opcode, token: Token) -> Check {
        let is_new = opcode == Opcode::Newobj;
        let method = self.resolve_method(token)?;
        let is_static = method.is_static();
        let mut constrained = None;
        let mut is_tail = false;
        if !is_new {
            let applies = opcode == Opcode::Callvirt || self.is_static_virtual(&method)?;
            if applies && self.prefixes.take(Prefixes::CONSTRAINED) {
                constrained = self.constrained;
            }
            is_tail = self.prefixes.take(Prefixes::TAIL);
        }
        let static_constraint = constrained.filter(|_| is_static && opcode == Opcode::Call);
        if let Some(ty) = static_constraint {
            self.expect_implements(ty, &method)?;
        }
        match opcode {
            Opcode::Callvirt => {
                self.expect(!is_static, Code::CallVirtOnStatic);
                let on_value_type = !is_static && self.types.is_value_type(method.owner)?;
                self.expect(!on_value_type, Code::CallVirtOnValueType);
            }
            Opcode::Call => self.expect(!method.is_abstract() || static_constraint.is_some(), Code::CallAbstract),
            _ => {}
        }
        let escape = if is_new && !is_static && self.is_delegate(method.owner)? {
            self.create_delegate(&method)?;
            Escape::default()
        } else {
            self.pop_arguments(&method, is_tail)?
        };
        if is_new {
            return self.finish_new(&method, escape);
        }
        let (instance, escape) = if is_static {
            (None, escape)
        } else {
            self.pop_this(opcode, &method, constrained, is_tail, escape)?
        };
        self.check_callee(&method, instance)?;
        if is_tail {
            self.check_tail_call(&method)?;
        }
        self.push_result(&method, escape)
    }

    fn is_delegate(&mut self, ty: Ty) -> Check<bool> {
        match self.types.def_of(ty) {
            Some(def) => Ok(self.types.def(def)?.is_delegate),
            None => Ok(false),
        }
    }

    fn is_static_virtual(&mut self, method: &MethodRef<'u>) -> Check<bool> {
        let on_interface = self.types.category(method.owner)? == Category::Interface;
        Ok(method.is_static() && method.is_virtual() && on_interface)
    }

    /// That the operand of `constrained.` implements the interface of a static virtual method.
    fn expect_implements(&mut self, ty: Ty, method: &MethodRef<'u>) -> Check {
        if !self.types.can_cast(ty, method.owner)? {
            let (ty, interface) = (self.types.type_name(ty), self.types.type_name(method.owner));
            self.report_types(Code::ConstrainedTypeNoInterfaceImpl, &ty, &interface);
        }
        Ok(())
    }

    fn pop_arguments(&mut self, method: &MethodRef<'u>, is_tail: bool) -> Check<Escape> {
        let mut escape = Escape::default();
        for (i, &param) in method.sig.params.iter().enumerate().rev() {
            let actual = self.pop_any()?;
            let declared = self.value_of(param)?;
            self.check_assignable(actual, declared)?;
            if is_tail {
                self.expect_found(declared.kind != Kind::ByRef, Code::TailByRef, declared);
            }
            if actual.has(Flags::FRAME) {
                escape.add(self.escapes(method, i, declared)?);
            }
        }
        Ok(escape)
    }

    fn finish_new(&mut self, method: &MethodRef<'u>, escape: Escape) -> Check {
        self.expect(method.is_constructor(), Code::CtorExpected);
        if method.is_static() || method.is_abstract() {
            self.report(Code::CtorSig);
        } else if let Some(element) = self.types.element_of(method.owner) {
            let stored = self.value_of(element)?;
            let is_by_ref_like = self.is_by_ref_like(stored)?;
            self.expect(!is_by_ref_like, Code::ArrayByRef);
        } else if let Some(def) = self.types.def_of(method.owner) {
            let is_abstract = self.types.def(def)?.flags.contains(TypeAttributes::ABSTRACT);
            self.expect_access(!is_abstract, Code::NewobjAbstractClass, method.owner);
        }
        self.check_callee(method, None)?;
        let mut value = self.value_of(method.owner)?;
        if value.kind == Kind::ValueType && escape.into_result {
            value.flags.set(Flags::FRAME);
        }
        self.push(value)
    }

    /// Takes the receiver and checks it. Gives the type to check access through.
    fn pop_this(
        &mut self,
        opcode: Opcode,
        method: &MethodRef<'u>,
        constrained: Option<Ty>,
        is_tail: bool,
        mut escape: Escape,
    ) -> Check<(Option<Ty>, Escape)> {
        let mut receiver = self.pop_any()?;
        let instance = receiver.ty;
        let mut expected = if self.types.is_value_type(method.owner)? {
            StackValue::by_ref(method.owner)
        } else {
            StackValue::reference(method.owner)
        };
        if receiver.kind == Kind::ByRef && receiver.has(Flags::FRAME) {
            escape.add_this(self.this_escapes(method));
        }
        if escape.into_this
            && let Some(local) = receiver.extra.filter(|_| receiver.kind == Kind::ByRef)
            && let Some(slot) = self.frame_locals.get_mut(local as usize)
        {
            *slot = true;
        }
        if method.is_constructor() {
            self.call_constructor(method, receiver)?;
        }
        if let Some(constrained) = constrained {
            self.expect_found(
                receiver.kind == Kind::ByRef,
                Code::ConstrainedCallWithNonByRefThis,
                receiver,
            );
            if receiver.ty != Some(constrained) {
                self.report_mismatch(Code::StackUnexpected, receiver, StackValue::by_ref(constrained));
            }
            receiver = StackValue::reference(constrained);
        }
        if expected.kind == Kind::ByRef && receiver.kind == Kind::ByRef && receiver.has(Flags::READ_ONLY) {
            expected.flags.set(Flags::READ_ONLY);
        }
        self.check_assignable(receiver, expected)?;
        if opcode == Opcode::Call && self.may_be_overridden(method)? && !self.is_boxed_value(receiver)? {
            let is_own = receiver.has(Flags::THIS) && !self.modifies_this;
            self.expect(is_own, Code::ThisMismatch);
        }
        if is_tail {
            self.expect_found(expected.kind != Kind::ByRef, Code::TailByRef, expected);
            self.expect(constrained.is_none(), Code::TailByRef);
        }
        Ok((instance, escape))
    }

    /// A constructor called as a method: the base constructor on `this`, or one of a value type.
    fn call_constructor(&mut self, method: &MethodRef<'u>, receiver: StackValue) -> Check {
        let base = match self.this_ty {
            Some(ty) if self.tracks_this => self.types.base(ty)?,
            _ => None,
        };
        let is_own = Some(method.owner) == self.this_ty || Some(method.owner) == base;
        if self.tracks_this && receiver.has(Flags::THIS) && is_own {
            self.this_is_initialized = true;
            return Ok(());
        }
        let on_value_type = match receiver.ty {
            Some(ty) if receiver.kind == Kind::ByRef => self.types.is_value_type(ty)?,
            _ => false,
        };
        self.expect(on_value_type, Code::CallCtor);
        Ok(())
    }

    /// Whether the method called without `callvirt` could have been overridden.
    pub(super) fn may_be_overridden(&mut self, method: &MethodRef<'u>) -> Check<bool> {
        if !method.is_virtual() || method.is_final() {
            return Ok(false);
        }
        let Some(def) = self.types.def_of(method.owner) else {
            return Ok(true);
        };
        Ok(!self.types.def(def)?.flags.contains(TypeAttributes::SEALED))
    }

    pub(super) fn is_boxed_value(&mut self, value: StackValue) -> Check<bool> {
        match value.ty {
            Some(ty) if value.kind == Kind::ObjRef => Ok(self.types.is_value_type(ty)?),
            _ => Ok(false),
        }
    }

    /// Constraints and accessibility of a method that is called or pointed to.
    fn check_callee(&mut self, method: &MethodRef<'u>, instance: Option<Ty>) -> Check {
        if !self.types.type_constraints_hold(method.owner)? {
            self.expect_access(false, Code::UnsatisfiedMethodParentInst, method.owner);
        } else if !self.types.method_constraints_hold(method)? {
            let message = format!(
                "{}: {}::{}<{}>",
                Code::UnsatisfiedMethodInst.description(),
                self.types.type_name(method.owner),
                method.name,
                self.types.type_names(&method.args)
            );
            self.push_finding(Code::UnsatisfiedMethodInst, message);
        }
        if !self.types.can_access_method(self.owner, method, instance)? {
            let owner = self.types.type_name(method.owner);
            let message = format!("{}: {owner}::{}", Code::MethodAccess.description(), method.name);
            self.push_finding(Code::MethodAccess, message);
        }
        Ok(())
    }

    fn check_tail_call(&mut self, method: &MethodRef<'u>) -> Check {
        let void = self.known(WellKnown::Void);
        let (callee, caller) = (method.sig.ret, self.ret);
        if callee == void || caller == void {
            self.expect(callee == caller, Code::TailRetVoid);
        } else {
            let result = self.value_of(callee)?;
            let expected = self.value_of(caller)?;
            if !self.is_assignable(result, expected)? {
                self.report_mismatch(Code::TailRetType, result, expected);
            }
        }
        self.expect(self.stack.is_empty(), Code::TailStackEmpty);
        let next_is_ret = self.code.get(self.next as usize) == Some(&(Opcode::Ret as u8));
        self.expect(next_is_ret, Code::TailRet);
        Ok(())
    }

    fn push_result(&mut self, method: &MethodRef<'u>, escape: Escape) -> Check {
        let ret = method.sig.ret;
        if ret == self.known(WellKnown::Void) {
            return Ok(());
        }
        let mut value = self.value_of(ret)?;
        if self.prefixes.take(Prefixes::READ_ONLY) {
            let of_array = matches!(self.types.kind(method.owner), TyKind::SzArray(_) | TyKind::Array(..));
            if of_array && value.kind == Kind::ByRef {
                value.flags.set(Flags::READ_ONLY);
            } else {
                self.report(Code::ReadonlyUnexpectedCallee);
            }
        }
        if value.kind == Kind::ByRef {
            value.flags.set(if escape.into_result {
                Flags::FRAME
            } else {
                Flags::PERMANENT
            });
        } else if value.kind == Kind::ValueType && escape.into_result {
            value.flags.set(Flags::FRAME);
        }
        self.push(value)
    }

    /// `calli` is never verifiable; its effect on the stack still is what its signature says.
    pub(super) fn call_indirect(&mut self, token: Token) -> Check {
        self.report(Code::Unverifiable);
        self.prefixes.take(Prefixes::TAIL);
        let module = self.types.universe.module(self.context.module);
        let row = match module.stand_alone_sig(token.rid()) {
            Ok(row) if token.is(TableId::StandAloneSig) => row,
            _ => {
                self.report(Code::TokenResolve);
                return Err(Stop::Reported);
            }
        };
        let written = match sig::parse_method(row.signature) {
            Ok(written) => self.types.written_sig(self.context.module, &written)?,
            Err(error) => {
                let failed = LoadFailure::new(Code::BadImageFormatGeneric, format!("bad signature: {error}"));
                return Ok(failed?);
            }
        };
        let context = self.context.clone();
        let sig = self
            .types
            .substitute_sig(&written, &context.type_args, &context.method_args)?;
        let function = self.pop()?;
        self.expect_found(function.kind == Kind::NativeInt, Code::StackMethod, function);
        for &param in sig.params.iter().rev() {
            let actual = self.pop_any()?;
            let declared = self.value_of(param)?;
            self.check_assignable(actual, declared)?;
        }
        if sig.has_this {
            self.pop_any()?;
        }
        if sig.ret != self.known(WellKnown::Void) {
            let value = self.value_of(sig.ret)?;
            self.push(value)?;
        }
        Ok(())
    }

    /// `ldftn` and `ldvirtftn`.
    pub(super) fn load_function(&mut self, token: Token, is_virtual: bool) -> Check {
        let method = self.resolve_method(token)?;
        self.expect(!method.is_constructor(), Code::LdftnCtor);
        let mut instance = None;
        if is_virtual {
            self.expect(!method.is_static(), Code::LdvirtftnOnStatic);
            let receiver = self.pop()?;
            instance = receiver.ty;
            self.expect_reference(receiver);
            self.check_assignable(receiver, StackValue::reference(method.owner))?;
        } else {
            self.delegate_start = Some(self.offset);
            if self.is_static_virtual(&method)?
                && self.prefixes.take(Prefixes::CONSTRAINED)
                && let Some(constrained) = self.constrained
            {
                self.expect_implements(constrained, &method)?;
            }
        }
        self.check_callee(&method, instance)?;
        let mut value = StackValue::primitive(Kind::NativeInt);
        let functions = &mut self.functions;
        let index = *self.function_of.entry(token).or_insert_with(|| {
            functions.push(method);
            functions.len() as u32 - 1
        });
        value.extra = Some(index);
        self.push(value)
    }
}
