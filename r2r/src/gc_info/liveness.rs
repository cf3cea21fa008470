//! Which slots are live at a position.

use super::bits::Bits;
use super::{GcInfo, Location, Slot};
use crate::error::{Fault, Result};

/// First chunk of the width of offsets.
const POINTER_SIZE: u32 = 3;
/// First chunks of the lengths of runs, where longer and where shorter ones are common.
const SKIP: u32 = 4;
const RUN: u32 = 2;
/// Live states of interruptible code are told for chunks of so many bytes of interruptible code, and as changes within.
const CHUNK: u32 = 64;
const CHUNK_BITS: u32 = 6;

/// Where a frame of a method is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    /// In a call that returns to this offset.
    Return(u32),
    /// Before the instruction at this offset, which may be one behind a call that has returned.
    Instruction(u32),
}

/// Registers that calls preserve: rbx, rbp, r12 to r15.
const PRESERVED: u16 = 1 << 3 | 1 << 5 | 0xF000;

impl GcInfo<'_> {
    /// The slots that hold references at a position, untracked ones included. In a call these are no registers that calls change,
    /// and no stack slots with its arguments.
    ///
    /// A call that is no safe point and in no interruptible range does not return; only untracked slots count then. The same goes for
    /// an instruction where the code is not interruptible, at which no collection may happen.
    ///
    /// # Errors
    /// The live states cannot be read.
    pub fn live_slots(&self, position: Position) -> Result<Vec<Slot>> {
        let mut live = self.tracked_slots(position)?;
        if matches!(position, Position::Return(_)) {
            live.retain(|slot| !self.is_scratch(slot));
        }
        live.extend_from_slice(&self.slots[self.tracked..]);
        Ok(live)
    }

    fn is_scratch(&self, slot: &Slot) -> bool {
        match slot.location {
            Location::Register(number) => PRESERVED & 1 << number == 0,
            Location::Sp(offset) => u32::try_from(offset).is_ok_and(|offset| offset < self.outgoing_area),
            Location::CallerSp(_) | Location::Frame(_) => false,
        }
    }

    fn tracked_slots(&self, position: Position) -> Result<Vec<Slot>> {
        if self.tracked == 0 {
            return Ok(Vec::new());
        }
        let mut states = self.states;
        // With many safe points, equal states are written once, and found through a table of their offsets.
        let offset_bits = if !self.safe_points.is_empty() && states.bit()? {
            Some(states.unsigned(POINTER_SIZE)?.saturating_add(1))
        } else {
            None
        };
        let (Position::Return(offset) | Position::Instruction(offset)) = position;
        if let Ok(index) = self.safe_points.binary_search(&offset) {
            return self.at_safe_point(states, offset_bits, index);
        }
        let offset = match position {
            Position::Return(offset) => offset.saturating_sub(1),
            Position::Instruction(offset) => offset,
        };
        states.skip(self.safe_points.len() * self.tracked);
        self.in_range(states, offset)
    }

    fn at_safe_point(&self, mut states: Bits<'_>, offset_bits: Option<u32>, index: usize) -> Result<Vec<Slot>> {
        let Some(offset_bits) = offset_bits else {
            states.skip(index * self.tracked);
            return self.plain(&mut states);
        };
        if offset_bits > 32 {
            return Err(states.error(Fault::Value(offset_bits)));
        }
        let mut table = states;
        table.skip(index * offset_bits as usize);
        let offset = table.take(offset_bits)?;
        states.skip(self.safe_points.len() * offset_bits as usize);
        let mut state = states.aligned();
        state.skip(offset as usize);
        if state.bit()? {
            self.runs(&mut state)
        } else {
            self.plain(&mut state)
        }
    }

    /// A bit for each tracked slot.
    fn plain(&self, state: &mut Bits<'_>) -> Result<Vec<Slot>> {
        let mut live = Vec::new();
        for &slot in &self.slots[..self.tracked] {
            if state.bit()? {
                live.push(slot);
            }
        }
        Ok(live)
    }

    /// Lengths of runs of slots that are not live and of slots that are, in turn. The first bit tells which have the longer chunks.
    fn runs(&self, state: &mut Bits<'_>) -> Result<Vec<Slot>> {
        let tracked = &self.slots[..self.tracked];
        let mut live = Vec::new();
        let (dead_base, live_base) = if state.bit()? { (RUN, SKIP) } else { (SKIP, RUN) };
        let (mut is_live, mut at) = (false, 0usize);
        // Only the first run may be empty.
        let mut least = 0;
        while at < tracked.len() {
            let count = state.unsigned(if is_live { live_base } else { dead_base })? as usize + least;
            least = 1;
            let run = tracked.get(at..).and_then(|rest| rest.get(..count));
            let run = run.ok_or_else(|| state.error(Fault::Value(count as u32)))?;
            if is_live {
                live.extend_from_slice(run);
            }
            at += count;
            is_live = !is_live;
        }
        Ok(live)
    }

    /// States of interruptible code.
    fn in_range(&self, mut states: Bits<'_>, offset: u32) -> Result<Vec<Slot>> {
        // Position among the bytes that are interruptible.
        let (mut position, mut length) = (None, 0u32);
        for &(begin, end) in &self.interruptible_ranges {
            if (begin..end).contains(&offset) {
                position = Some(length + (offset - begin));
            }
            length = length.saturating_add(end - begin);
        }
        let Some(position) = position else {
            return Ok(Vec::new());
        };
        let pointer_bits = states.unsigned(POINTER_SIZE)?;
        if pointer_bits == 0 {
            return Ok(Vec::new());
        }
        if pointer_bits > 32 {
            return Err(states.error(Fault::Value(pointer_bits)));
        }
        // The nearest chunk before, or this one, that tells anything.
        let this = position / CHUNK;
        let mut chunk = this;
        let pointer = loop {
            let mut table = states;
            table.skip(chunk as usize * pointer_bits as usize);
            match table.take(pointer_bits)? {
                0 if chunk == 0 => return Ok(Vec::new()),
                0 => chunk -= 1,
                pointer => break pointer as usize - 1,
            }
        };
        states.skip(length.div_ceil(CHUNK) as usize * pointer_bits as usize);
        let mut state = states.aligned();
        state.skip(pointer);
        let candidates = if state.bit()? {
            self.runs(&mut state)?
        } else {
            self.plain(&mut state)?
        };
        // The states at the end of the chunk come first, then the changes.
        let mut last = state;
        state.skip(candidates.len());
        let mut live = Vec::new();
        for slot in candidates {
            let mut is_live = last.bit()?;
            if chunk == this {
                while state.bit()? {
                    let change = state.take(CHUNK_BITS)?;
                    if change > position % CHUNK {
                        is_live = !is_live;
                    }
                }
            }
            if is_live {
                live.push(slot);
            }
        }
        Ok(live)
    }
}
