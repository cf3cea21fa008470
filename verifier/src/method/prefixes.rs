//! Prefixes: each must be used up by the instruction that follows.

use super::{Check, MethodVerifier};
use crate::code::Code;

/// The prefixes that wait for their instruction.
#[derive(Clone, Copy, Default)]
pub(super) struct Prefixes(u8);

impl Prefixes {
    pub const READ_ONLY: u8 = 1;
    pub const UNALIGNED: u8 = 2;
    pub const VOLATILE: u8 = 4;
    pub const TAIL: u8 = 8;
    pub const CONSTRAINED: u8 = 16;

    /// Removes a prefix; whether it was there.
    pub fn take(&mut self, prefix: u8) -> bool {
        let had = self.0 & prefix != 0;
        self.0 &= !prefix;
        had
    }

    pub fn has(self, prefix: u8) -> bool {
        self.0 & prefix != 0
    }
}

impl MethodVerifier<'_, '_> {
    /// Adds a prefix to those waiting; all but `compatible` ones are out of place before it.
    pub(super) fn add_prefix(&mut self, prefix: u8, compatible: u8) {
        self.check_prefixes(compatible);
        self.prefixes.0 |= prefix;
    }

    /// Reports the prefixes that nothing has used.
    fn check_prefixes(&mut self, except: u8) {
        let left = Prefixes(self.prefixes.0 & !except);
        for (prefix, code) in [
            (Prefixes::UNALIGNED, Code::Unaligned),
            (Prefixes::TAIL, Code::TailCall),
            (Prefixes::VOLATILE, Code::Volatile),
            (Prefixes::READ_ONLY, Code::ReadOnly),
            (Prefixes::CONSTRAINED, Code::Constrained),
        ] {
            self.expect(!left.has(prefix), code);
        }
    }

    pub(super) fn end_instruction(&mut self) {
        self.check_prefixes(0);
        self.prefixes = Prefixes::default();
    }

    /// Uses up the prefixes of memory accesses.
    pub(super) fn take_memory_prefixes(&mut self) {
        self.prefixes.take(Prefixes::UNALIGNED);
        self.prefixes.take(Prefixes::VOLATILE);
    }

    pub(super) fn tail_prefix(&mut self) {
        self.add_prefix(Prefixes::TAIL, 0);
        let block = self.current.map(|n| &self.blocks[n as usize]);
        let outside =
            block.is_none_or(|b| b.try_index.is_none() && b.filter_index.is_none() && b.handler_index.is_none());
        self.expect(outside, Code::TailCallInsideER);
    }

    pub(super) fn constrained_prefix(&mut self, token: corten_metadata::Token) -> Check {
        self.add_prefix(Prefixes::CONSTRAINED, 0);
        self.constrained = Some(self.resolve_type(token)?);
        Ok(())
    }
}
