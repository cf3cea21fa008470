//! Arguments and locals; return.

use super::stack::{Flags, Kind, StackValue};
use super::{Check, MethodVerifier, Stop};
use crate::code::Code;
use crate::types::{Category, Ty};
use crate::universe::WellKnown;

impl MethodVerifier<'_, '_> {
    fn argument(&mut self, index: u16) -> Check<Ty> {
        let found = match (self.this_ty, index) {
            (Some(this), 0) => Some(this),
            (Some(_), _) => self.params.get(usize::from(index) - 1).copied(),
            (None, _) => self.params.get(usize::from(index)).copied(),
        };
        match found {
            Some(ty) => Ok(ty),
            None => {
                self.report(Code::UnrecognizedArgumentNumber);
                Err(Stop::Reported)
            }
        }
    }

    fn local(&mut self, index: u16) -> Check<Ty> {
        match self.locals.get(usize::from(index)) {
            Some(ty) => Ok(*ty),
            None => {
                self.report(Code::UnrecognizedLocalNumber);
                Err(Stop::Reported)
            }
        }
    }

    fn is_this(&self, index: u16) -> bool {
        index == 0 && self.this_ty.is_some()
    }

    fn expect_no_pointer(&mut self, ty: Ty) -> Check {
        let is_pointer = self.types.category(ty)? == Category::Pointer;
        self.expect(!is_pointer, Code::UnmanagedPointer);
        Ok(())
    }

    pub(super) fn load_argument(&mut self, index: u16) -> Check {
        let ty = self.argument(index)?;
        self.expect_no_pointer(ty)?;
        let mut value = self.value_of(ty)?;
        let is_this = self.is_this(index);
        if value.kind == Kind::ByRef && (!is_this || self.returns_this()) {
            // What a caller points to lives at least as long as the call.
            value.flags.set(Flags::PERMANENT);
        }
        if is_this {
            value.flags.set(Flags::THIS);
        }
        self.push(value)
    }

    pub(super) fn load_local(&mut self, index: u16) -> Check {
        let ty = self.local(index)?;
        self.expect(self.init_locals, Code::InitLocals);
        self.expect_no_pointer(ty)?;
        let mut value = self.value_of(ty)?;
        if value.kind == Kind::ValueType && self.frame_locals[usize::from(index)] {
            value.flags.set(Flags::FRAME);
        }
        self.push(value)
    }

    pub(super) fn store_argument(&mut self, index: u16) -> Check {
        let ty = self.argument(index)?;
        let value = self.pop()?;
        if self.tracks_this && !self.this_is_initialized {
            self.expect(index != 0, Code::ThisUninitStore);
        }
        let declared = self.value_of(ty)?;
        self.check_assignable(value, declared)
    }

    pub(super) fn store_local(&mut self, index: u16) -> Check {
        let ty = self.local(index)?;
        let value = self.pop()?;
        let declared = self.value_of(ty)?;
        if value.kind == Kind::ValueType && value.has(Flags::FRAME) {
            self.frame_locals[usize::from(index)] = true;
        }
        self.check_assignable(value, declared)
    }

    pub(super) fn address_of_argument(&mut self, index: u16) -> Check {
        let ty = self.argument(index)?;
        let is_by_ref = self.types.category(ty)? == Category::ByRef;
        self.expect(!is_by_ref, Code::ByrefOfByref);
        let mut value = StackValue::by_ref(ty).with(Flags::FRAME);
        if self.is_this(index) {
            value.flags.set(Flags::THIS);
            self.expect(!self.tracks_this || self.this_is_initialized, Code::ThisUninitStore);
        }
        self.push(value)
    }

    pub(super) fn address_of_local(&mut self, index: u16) -> Check {
        let ty = self.local(index)?;
        self.expect(self.init_locals, Code::InitLocals);
        let is_by_ref = self.types.category(ty)? == Category::ByRef;
        self.expect(!is_by_ref, Code::ByrefOfByref);
        let mut value = StackValue::by_ref(ty).with(Flags::FRAME);
        value.extra = Some(u32::from(index));
        self.push(value)
    }

    pub(super) fn ret(&mut self) -> Check {
        if self.tracks_this {
            let is_object = self.this_ty == Some(self.known(WellKnown::Object));
            self.expect(self.this_is_initialized || is_object, Code::ThisUninitReturn);
        }
        if let Some(block) = self.current.map(|n| &self.blocks[n as usize]) {
            let (filter, try_block, handler) = (block.filter_index, block.try_index, block.handler_index);
            self.expect(filter.is_none(), Code::ReturnFromFilter);
            self.expect(try_block.is_none(), Code::ReturnFromTry);
            self.expect(handler.is_none(), Code::ReturnFromHandler);
        }
        let declared = self.ret;
        let depth = self.stack.len();
        if declared == self.known(WellKnown::Void) {
            if let Some(top) = self.stack.last().copied() {
                self.expect_found(false, Code::ReturnVoid, top);
            }
            return Ok(());
        }
        if depth == 0 {
            self.report(Code::ReturnMissing);
            return Ok(());
        }
        self.expect(depth == 1, Code::ReturnEmpty);
        let value = self.pop()?;
        let expected = self.value_of(declared)?;
        self.check_assignable(value, expected)?;
        let stays = match expected.kind {
            Kind::ByRef => value.has(Flags::PERMANENT),
            _ => !(value.has(Flags::FRAME) && self.types.is_by_ref_like(declared)?),
        };
        self.expect(stays, Code::ReturnPtrToStack);
        Ok(())
    }
}
