//! Basic blocks and the walk over them.

use corten_metadata::il::FlowControl;
use corten_metadata::{EhKind, Opcode};

use super::decode::{Operand, decode, switch_targets};
use super::regions::index;
use super::stack::{Flags, Kind, StackValue};
use super::{Check, MethodVerifier, Stop};
use crate::code::Code;
use crate::types::Category;
use crate::universe::WellKnown;

/// How far the walk is with a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Unmarked,
    Pending,
    Walked,
}

/// A stretch of code that is entered at its start only.
pub(super) struct Block {
    pub start: u32,
    pub state: State,
    /// Values on the stack at its start, none before it is known.
    pub entry: Option<Vec<StackValue>>,
    pub this_is_initialized: bool,
    pub starts_try: bool,
    pub starts_filter: bool,
    pub starts_handler: bool,
    /// The clauses whose protected block, handler or filter the block lies in, innermost.
    pub try_index: Option<u32>,
    pub handler_index: Option<u32>,
    pub filter_index: Option<u32>,
    /// Whether a block above leads here.
    pub reached_from_above: bool,
    pub errors: u32,
}

/// What an instruction does to the flow of control.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Next,
    /// The instruction is a prefix of the next one.
    Prefix,
    /// Control does not go to the next instruction, or has been handed on already.
    End,
}

impl MethodVerifier<'_, '_> {
    fn make_block(&mut self, offset: u32) -> Option<u32> {
        let slot = self.block_at.get(offset as usize)?;
        if let Some(index) = slot {
            return Some(*index);
        }
        let number = self.blocks.len() as u32;
        self.block_at[offset as usize] = Some(number);
        self.blocks.push(Block {
            start: offset,
            state: State::Unmarked,
            entry: None,
            this_is_initialized: false,
            starts_try: false,
            starts_filter: false,
            starts_handler: false,
            try_index: None,
            handler_index: None,
            filter_index: None,
            reached_from_above: false,
            errors: 0,
        });
        Some(number)
    }

    fn make_target(&mut self, target: i64) {
        let made = u32::try_from(target).ok().and_then(|t| self.make_block(t));
        self.expect(made.is_some(), Code::BadBranch);
    }

    /// Cuts the code into blocks, at branch targets, behind conditional branches and at exception clauses.
    pub(super) fn find_blocks(&mut self) -> Check {
        self.require(!self.code.is_empty(), Code::CodeSizeZero)?;
        self.make_block(0);
        let code = self.code;
        while (self.offset as usize) < code.len() {
            let Some(decoded) = decode(code, self.offset) else {
                self.report(Code::MethodEnd);
                return Err(Stop::Reported);
            };
            match decoded.operand {
                Operand::Target(target) => {
                    self.make_target(target);
                    if decoded
                        .opcode
                        .is_some_and(|o| o.flow() == FlowControl::ConditionalBranch)
                    {
                        self.make_block(decoded.next);
                    }
                }
                Operand::Switch(start, count) => {
                    for target in switch_targets(code, start, count) {
                        self.make_target(target);
                    }
                    self.make_block(decoded.next);
                }
                _ => {}
            }
            self.offset = decoded.next;
        }
        self.offset = 0;
        for i in 0..self.regions.len() {
            let region = self.regions[i];
            if let Some(block) = self.make_block(region.try_start) {
                self.blocks[block as usize].starts_try = true;
            }
            if let Some(filter) = region.filter_start()
                && let Some(block) = self.make_block(filter)
            {
                self.blocks[block as usize].starts_filter = true;
            }
            if let Some(block) = self.make_block(region.handler_start) {
                self.blocks[block as usize].starts_handler = true;
            }
        }
        Ok(())
    }

    /// A second look at all instructions, now that the blocks are known: where branches may lead, which blocks are reached
    /// from above, whether `this` is ever changed.
    pub(super) fn find_targets(&mut self) {
        let code = self.code;
        let mut at = 0;
        let mut prefixed = false;
        while let Some(decoded) = decode(code, at) {
            if let Some(slot) = self.is_target.get_mut(at as usize) {
                *slot = !prefixed;
            }
            let next = decoded.next;
            match decoded.operand {
                Operand::Target(target) if target >= i64::from(next) => self.mark_reached(target),
                Operand::Switch(start, count) => {
                    for target in switch_targets(code, start, count).filter(|t| *t >= i64::from(next)) {
                        self.mark_reached(target);
                    }
                }
                Operand::Index(0) => {
                    let changes = [Opcode::StargS, Opcode::LdargaS, Opcode::Starg, Opcode::Ldarga];
                    self.modifies_this |= decoded.opcode.is_some_and(|o| changes.contains(&o));
                }
                _ => {}
            }
            let flow = decoded.opcode.map(Opcode::flow);
            prefixed = flow == Some(FlowControl::Prefix);
            let stays = matches!(
                flow,
                Some(FlowControl::Branch | FlowControl::Return | FlowControl::Throw | FlowControl::Prefix)
            ) || decoded.opcode == Some(Opcode::Jmp);
            if !stays {
                self.mark_reached(i64::from(next));
            }
            at = next;
        }
    }

    fn mark_reached(&mut self, target: i64) {
        if let Some(block) = self.block_starting_at(target) {
            self.blocks[block as usize].reached_from_above = true;
        }
    }

    pub(super) fn block_starting_at(&self, target: i64) -> Option<u32> {
        *self.block_at.get(usize::try_from(target).ok()?)?
    }

    /// Walks all blocks that are reached.
    pub(super) fn walk(&mut self) -> Check {
        self.blocks[0].state = State::Pending;
        self.pending.push(0);
        while let Some(block) = self.pending.pop() {
            self.enter_block(block)?;
            self.current = Some(block);
            self.walk_block(block)?;
            self.blocks[index(block)].state = State::Walked;
        }
        Ok(())
    }

    pub(super) fn mark(&mut self, block: u32) {
        let state = &mut self.blocks[index(block)].state;
        if *state == State::Unmarked {
            *state = State::Pending;
            self.pending.push(block);
        }
    }

    fn enter_block(&mut self, number: u32) -> Check {
        let block = &self.blocks[index(number)];
        let (start, starts_try, starts_filter, starts_handler) =
            (block.start, block.starts_try, block.starts_filter, block.starts_handler);
        self.delegate_start = None;
        self.this_is_initialized = block.this_is_initialized;
        self.offset = start;
        if starts_try {
            let is_empty = block.entry.as_ref().is_none_or(Vec::is_empty);
            self.expect(is_empty, Code::TryNonEmptyStack);
            for i in 0..self.regions.len() {
                let region = self.regions[i];
                if region.try_start != start {
                    continue;
                }
                let filter = region.filter_start().and_then(|f| self.block_starting_at(i64::from(f)));
                let handler = self.block_starting_at(i64::from(region.handler_start));
                for block in filter.into_iter().chain(handler) {
                    self.propagate_this(block);
                    self.mark(block);
                }
            }
        }
        if starts_filter || starts_handler {
            self.enter_handler(number, starts_handler)?;
        }
        let block = &self.blocks[index(number)];
        self.stack.clear();
        if let Some(entry) = &block.entry {
            self.stack.extend_from_slice(entry);
        }
        if !self.stack.is_empty() && !starts_try && !starts_filter && !starts_handler {
            // III.1.7.5: one pass from above must be enough to know the depth of the stack.
            let reached = block.reached_from_above;
            self.expect(reached, Code::BackwardBranch);
        }
        Ok(())
    }

    /// The stack at the start of a filter or handler is given by its clause.
    fn enter_handler(&mut self, number: u32, is_handler: bool) -> Check {
        let block = &self.blocks[index(number)];
        let clause = if is_handler {
            block.handler_index
        } else {
            block.filter_index
        };
        let depth = block.entry.as_ref().map(Vec::len);
        let Some(region) = clause.and_then(|i| self.regions.get(index(i)).copied()) else {
            return Ok(());
        };
        let entry = match region.kind {
            EhKind::Catch(token) => {
                self.expect(depth.is_none_or(|d| d == 1), Code::FilterOrCatchUnexpectedStack);
                let caught = self.resolve_type(token)?;
                let is_by_ref = self.types.category(caught)? == Category::ByRef;
                self.expect(!is_by_ref, Code::CatchByRef);
                vec![StackValue::reference(caught)]
            }
            EhKind::Filter { .. } => {
                self.expect(depth.is_none_or(|d| d == 1), Code::FilterOrCatchUnexpectedStack);
                vec![StackValue::reference(self.known(WellKnown::Object))]
            }
            EhKind::Finally | EhKind::Fault => {
                self.expect(depth.is_none_or(|d| d == 0), Code::FinOrFaultNonEmptyStack);
                Vec::new()
            }
        };
        self.blocks[index(number)].entry = Some(entry);
        Ok(())
    }

    fn walk_block(&mut self, number: u32) -> Check {
        self.next = self.blocks[index(number)].start;
        let code = self.code;
        loop {
            self.offset = self.next;
            let Some(decoded) = decode(code, self.offset) else {
                self.report(Code::MethodEnd);
                return Err(Stop::Reported);
            };
            self.next = decoded.next;
            self.fuel = self.fuel.saturating_sub(1);
            if self.fuel == 0 {
                return self.give_up("the types on the stack do not settle");
            }
            match self.execute(decoded.opcode, decoded.operand)? {
                Then::Prefix => continue,
                Then::End => {
                    self.end_instruction();
                    return Ok(());
                }
                Then::Next => self.end_instruction(),
            }
            if self.next as usize >= code.len() {
                self.report(Code::MethodFallthrough);
                return Ok(());
            }
            if let Some(next) = self.block_starting_at(i64::from(self.next)) {
                return self.propagate(next, true);
            }
        }
    }

    /// The block a branch leads to. None if it leads out of the code, which has been reported.
    pub(super) fn branch_target(&mut self, target: i64) -> Check<Option<u32>> {
        if target < 0 || target >= self.code.len() as i64 {
            return Ok(None);
        }
        let block = self.block_starting_at(target);
        // Only instructions that themselves start inside others lead to where no block starts.
        self.require(block.is_some(), Code::BadJumpTarget)?;
        Ok(block)
    }

    pub(super) fn propagate_this(&mut self, next: u32) {
        let now = self.this_is_initialized;
        let next = &mut self.blocks[index(next)];
        if next.state == State::Unmarked {
            next.this_is_initialized = now;
            return;
        }
        if next.this_is_initialized && !now && next.state == State::Walked && next.errors == 0 {
            next.state = State::Unmarked;
        }
        next.this_is_initialized &= now;
    }

    /// Hands the stack to a successor of the current block.
    pub(super) fn propagate(&mut self, next: u32, falls_through: bool) -> Check {
        let Some(current) = self.current else { return Ok(()) };
        if !self.check_branch(current, next, falls_through) || self.blocks[index(current)].errors > 0 {
            return Ok(());
        }
        self.propagate_this(next);
        self.fuel = self.fuel.saturating_sub(self.stack.len() as u64);
        let block = &self.blocks[index(next)];
        if let Some(mut entry) = block.entry.clone() {
            let unchanged = block.errors > 0 || block.state == State::Pending;
            self.require(entry.len() == self.stack.len(), Code::PathStackDepth)?;
            let mut changed = false;
            for (i, slot) in entry.iter_mut().enumerate() {
                let merged = self.join(*slot, self.stack[i])?;
                changed |= merged != *slot;
                *slot = merged;
            }
            if changed {
                let block = &mut self.blocks[index(next)];
                block.entry = Some(entry);
                if !unchanged {
                    block.state = State::Unmarked;
                }
            }
        } else {
            let Some(room) = self.room.checked_sub(self.stack.len()) else {
                return self.give_up("too many values are on the stack at the starts of blocks");
            };
            self.room = room;
            self.blocks[index(next)].entry = Some(self.stack.clone());
        }
        self.mark(next);
        Ok(())
    }

    /// What a stack slot holds if it comes as `known` on one path and as `new` on another.
    fn join(&mut self, known: StackValue, new: StackValue) -> Check<StackValue> {
        if known.kind != new.kind {
            self.report_mismatch(Code::PathStackUnexpected, known, new);
            return Err(Stop::Reported);
        }
        let mut merged = known;
        if known.ty != new.ty && !self.is_assignable(new, known)? {
            merged = match (known.kind, known.ty, new.ty) {
                (Kind::ObjRef, None, Some(_)) => new,
                (Kind::ObjRef, Some(a), Some(b)) => StackValue::reference(self.types.merge_references(a, b)?),
                _ => {
                    self.report_mismatch(Code::PathStackUnexpected, known, new);
                    return Err(Stop::Reported);
                }
            };
        }
        // What restricts the value on one path restricts it from then on.
        if new.flags.has(Flags::READ_ONLY) {
            merged.flags.set(Flags::READ_ONLY);
        }
        if new.flags.has(Flags::FRAME) {
            merged.flags.set(Flags::FRAME);
        }
        if !new.flags.has(Flags::PERMANENT) {
            merged.flags.clear(Flags::PERMANENT);
        }
        if known.flags.has(Flags::THIS) != new.flags.has(Flags::THIS) {
            // While 'this' is uninitialised every value that may be it is restricted; later it is the licence of base calls.
            if self.tracks_this && !self.this_is_initialized {
                merged.flags.set(Flags::THIS);
            } else {
                merged.flags.clear(Flags::THIS);
            }
        }
        Ok(merged)
    }
}
