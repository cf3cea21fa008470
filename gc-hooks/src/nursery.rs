//! The nursery: blocks handed to threads as bump chunks.
//!
//! A minor collection empties every block except those that hold pinned objects; these keep exactly the pinned objects
//! (their start bits tell where) and get no new ones until the pins are gone.

use crate::object::{ObjPtr, Object, size_of_object};
use crate::space::{BLOCK_SIZE, Layout};

/// State of one nursery block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockState {
    /// Holds nothing; contents undefined.
    Free,
    /// Handed out since the last collection; objects from its start up to the first zero word.
    Active,
    /// Active, and its start bits were computed.
    ActiveWithStarts,
    /// Holds only objects that were pinned at the last collection; start bits valid.
    Retained,
}

/// Allocation state of the nursery.
#[derive(Debug)]
pub struct Nursery {
    states: Vec<BlockState>,
    /// By block: bytes that may hold objects since it was handed out.
    extents: Vec<u32>,
    free: Vec<u32>,
    /// Blocks handed out since the last collection.
    active: Vec<u32>,
    /// Blocks that hold pinned objects.
    retained: Vec<u32>,
    budget: usize,
}

/// A chunk of nursery memory: objects may be placed from `cursor` while they end at or before `limit`.
#[derive(Debug, Clone, Copy)]
pub struct Chunk {
    /// Address of the first object.
    pub cursor: usize,
    /// End for the cursor.
    pub limit: usize,
}

impl Nursery {
    /// A nursery that hands out `budget` bytes between collections.
    pub fn new(budget: usize) -> Self {
        Self {
            states: Vec::new(),
            extents: Vec::new(),
            free: Vec::new(),
            active: Vec::new(),
            retained: Vec::new(),
            budget: (budget / BLOCK_SIZE).max(4),
        }
    }

    /// Bytes handed out between collections.
    pub fn budget_bytes(&self) -> usize {
        self.budget * BLOCK_SIZE
    }

    /// Changes the budget.
    pub fn set_budget(&mut self, bytes: usize) {
        self.budget = (bytes / BLOCK_SIZE).max(4);
    }

    /// Bytes in blocks that hold objects.
    pub fn used_bytes(&self) -> usize {
        (self.active.len() + self.retained.len()) * BLOCK_SIZE
    }

    /// Takes a block, of which the first `extent` bytes are going to be used; `None` when the budget is used up. The memory is
    /// not zeroed.
    pub fn take_block(&mut self, layout: &Layout, extent: usize) -> Option<Chunk> {
        if self.active.len() >= self.budget {
            return None;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = self.states.len();
                if (index + 1) * BLOCK_SIZE > layout.nursery.size() {
                    return None;
                }
                self.states.push(BlockState::Free);
                self.extents.push(0);
                index as u32
            }
        };
        self.states[index as usize] = BlockState::Active;
        self.extents[index as usize] = extent as u32;
        self.active.push(index);
        let start = layout.nursery.start + index as usize * BLOCK_SIZE;
        Some(Chunk {
            cursor: start + 8,
            limit: start + extent,
        })
    }

    /// Number of the block of an address in the nursery, if the block was ever used.
    pub fn block_of(&self, layout: &Layout, address: usize) -> Option<usize> {
        let index = (address - layout.nursery.start) / BLOCK_SIZE;
        (index < self.states.len()).then_some(index)
    }

    /// The object that contains `address` (from its MethodTable word to one past its end), computing start bits on
    /// demand. No object may be forwarded yet.
    pub fn find_object(&mut self, layout: &Layout, address: usize) -> Option<usize> {
        let index = self.block_of(layout, address)?;
        let start = layout.nursery.start + index * BLOCK_SIZE;
        match self.states[index] {
            BlockState::Free => return None,
            BlockState::Active => {
                walk_block(start, |obj| layout.starts.set(obj as usize));
                self.states[index] = BlockState::ActiveWithStarts;
            }
            BlockState::ActiveWithStarts | BlockState::Retained => {}
        }
        let obj = layout.starts.find_at_or_below(address, start)?;
        // SAFETY: a start bit is set only for a live object.
        let size = unsafe { size_of_object(obj as ObjPtr) };
        (address <= obj + size - 8).then_some(obj)
    }

    /// Visits every object in the nursery. No object may be forwarded.
    pub fn for_each_object(&self, layout: &Layout, mut visit: impl FnMut(ObjPtr)) {
        for &index in self.active.iter().chain(&self.retained) {
            let start = layout.nursery.start + index as usize * BLOCK_SIZE;
            if self.states[index as usize] == BlockState::Retained {
                layout
                    .starts
                    .for_each(start, start + BLOCK_SIZE, |obj| visit(obj as ObjPtr));
            } else {
                walk_block(start, &mut visit);
            }
        }
    }

    /// After a minor collection: blocks with mark bits are retained with exactly the marked objects, all others are
    /// free. Clears the mark bits. Without pins there are none. `poison` fills what is free.
    pub fn finish_minor(&mut self, layout: &Layout, has_pins: bool, poison: Option<u8>) {
        let mut blocks = std::mem::take(&mut self.active);
        blocks.append(&mut self.retained);
        // Low addresses are reused first.
        blocks.sort_unstable_by(|a, b| b.cmp(a));
        for index in blocks {
            let start = layout.nursery.start + index as usize * BLOCK_SIZE;
            let end = start + BLOCK_SIZE;
            let had_starts = self.states[index as usize] != BlockState::Active;
            if has_pins && layout.marks.any(start, end) {
                layout.starts.copy_range(&layout.marks, start, end);
                layout.marks.clear_range(start, end);
                self.states[index as usize] = BlockState::Retained;
                self.retained.push(index);
                continue;
            }
            if had_starts {
                layout.starts.clear_range(start, end);
            }
            if let Some(byte) = poison {
                // SAFETY: nothing in the block is live.
                unsafe { std::ptr::write_bytes(start as *mut u8, byte, self.extents[index as usize] as usize) };
            }
            self.states[index as usize] = BlockState::Free;
            self.free.push(index);
        }
    }

    /// Clears the mark bits that a full collection set on pinned nursery objects.
    pub fn finish_full(&mut self, layout: &Layout) {
        for &index in &self.retained {
            let start = layout.nursery.start + index as usize * BLOCK_SIZE;
            layout.marks.clear_range(start, start + BLOCK_SIZE);
        }
    }
}

/// Visits the objects of an active block in address order.
fn walk_block(start: usize, mut visit: impl FnMut(ObjPtr)) {
    let mut at = start + 8;
    while at + 16 <= start + BLOCK_SIZE {
        let obj = at as *mut Object;
        // SAFETY: an active block holds objects back to back from its start and zero bytes behind the last.
        unsafe {
            if (*obj).mt.is_null() {
                break;
            }
            let size = size_of_object(obj);
            visit(obj);
            at += size;
        }
    }
}
