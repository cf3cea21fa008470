//! Arithmetic, comparison, conversion; the instructions of exception handling.

use corten_metadata::{EhKind, Opcode};

use super::stack::{Kind, StackValue};
use super::{Check, MethodVerifier};
use crate::code::Code;

impl MethodVerifier<'_, '_> {
    /// An operation on two numbers, or on two integers only.
    pub(super) fn binary(&mut self, integers_only: bool) -> Check {
        let upper = self.pop()?;
        let lower = self.pop()?;
        for value in [upper, lower] {
            if integers_only {
                self.require_integer(value)?;
            } else {
                self.require_number(value)?;
            }
        }
        let result = upper.kind.max(lower.kind);
        if upper.kind != lower.kind && result != Kind::NativeInt {
            self.report_mismatch(Code::StackUnexpected, lower, upper);
        }
        self.push(StackValue::primitive(result))
    }

    pub(super) fn shift(&mut self) -> Check {
        let distance = self.pop()?;
        let value = self.pop()?;
        let fits = matches!(distance.kind, Kind::Int32 | Kind::NativeInt);
        self.expect_found(fits, Code::StackUnexpected, distance);
        self.require_integer(value)?;
        self.push(StackValue::primitive(value.kind))
    }

    pub(super) fn unary(&mut self, integers_only: bool) -> Check {
        let value = self.pop()?;
        if integers_only {
            self.require_integer(value)?;
        } else {
            self.require_number(value)?;
        }
        self.push(StackValue::primitive(value.kind))
    }

    pub(super) fn compare(&mut self, opcode: Opcode) -> Check {
        let upper = self.pop()?;
        let lower = self.pop()?;
        if !Self::is_comparable(upper, lower, opcode) {
            self.report_mismatch(Code::StackUnexpected, upper, lower);
        }
        Ok(())
    }

    pub(super) fn convert(&mut self, to: Kind) -> Check {
        let value = self.pop()?;
        self.require_number(value)?;
        self.push(StackValue::primitive(to))
    }

    pub(super) fn check_finite(&mut self) -> Check {
        let value = self.pop()?;
        self.expect_found(value.kind == Kind::Float, Code::ExpectedFloatType, value);
        self.push(value)
    }

    pub(super) fn throw(&mut self) -> Check {
        let value = self.pop()?;
        self.expect_reference(value);
        self.stack.clear();
        Ok(())
    }

    /// Kind and bounds of the handler around the current instruction.
    fn handler(&self) -> Option<super::regions::Region> {
        let block = self.blocks.get(self.current? as usize)?;
        self.regions.get(block.handler_index? as usize).copied()
    }

    pub(super) fn rethrow(&mut self) {
        let is_valid = self.handler().is_some_and(|handler| match handler.kind {
            EhKind::Catch(_) => true,
            EhKind::Filter { .. } => handler.handler_start <= self.next && self.next <= handler.handler_end,
            EhKind::Finally | EhKind::Fault => false,
        });
        self.expect(is_valid, Code::Rethrow);
    }

    pub(super) fn end_finally(&mut self) {
        let handler = self.handler();
        let is_valid = handler.is_some_and(|h| matches!(h.kind, EhKind::Finally | EhKind::Fault));
        self.expect(is_valid, Code::Endfinally);
        self.stack.clear();
    }

    pub(super) fn end_filter(&mut self) -> Check {
        let block = self.current.and_then(|n| self.blocks.get(n as usize));
        let filter = block.and_then(|b| self.regions.get(b.filter_index? as usize));
        let is_end = filter.is_some_and(|f| f.handler_start == self.next);
        let is_inside = filter.is_some();
        self.expect(is_end, Code::Endfilter);
        if !is_inside {
            return Ok(());
        }
        let result = self.pop_any()?;
        self.expect_found(result.kind == Kind::Int32, Code::StackUnexpected, result);
        self.expect(self.stack.is_empty(), Code::EndfilterStack);
        Ok(())
    }
}
