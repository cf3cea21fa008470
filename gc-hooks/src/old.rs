//! The old space: 32 KB blocks that small survivors are copied into.
//!
//! A block never moves its objects except when a full collection evacuates it as a whole. The start bitmap says where
//! objects begin; after a full mark it is simply replaced by the mark bitmap, which is the sweep. Holes of blocks that
//! are largely empty are used again for bump allocation.

use std::sync::Arc;

use crate::object::{ObjPtr, size_of_object};
use crate::space::{BLOCK_SIZE, Layout};

/// State of one old block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockState {
    /// Holds nothing; pages given back to the system (reads as zero).
    Uncommitted,
    /// Holds nothing; contents undefined.
    Free,
    /// Holds objects.
    Used,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    state: BlockState,
    /// Objects are referred to from outside precise slots: never evacuate.
    keep: bool,
    /// Being evacuated by the running full collection.
    evacuating: bool,
    live_bytes: u32,
}

/// Holes smaller than this many bytes are left alone.
const MIN_HOLE: usize = 256;
/// A block is worth filling again when at most this many bytes are live.
const RECYCLE_BELOW: u32 = (BLOCK_SIZE as u32) / 8 * 5;
/// A block is evacuated when at most this many bytes are live.
const EVACUATE_BELOW: u32 = (BLOCK_SIZE as u32) / 3;

/// Bump run: the next object goes to `cursor`, and must end so that `cursor + size <= limit`.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    cursor: usize,
    limit: usize,
    block: usize,
}

/// State of the old space.
#[derive(Debug)]
pub struct OldSpace {
    blocks: Vec<Block>,
    free: Vec<u32>,
    recyclable: Vec<u32>,
    /// Where small objects go; may be a hole.
    run: Run,
    /// More holes of the block of `run`.
    holes: Vec<Run>,
    /// Where objects go that fit no hole.
    overflow: Run,
    /// Where objects go that must never move.
    pinned: Run,
    used_blocks: usize,
    committed_blocks: usize,
    /// Bytes placed here since the last full collection.
    pub allocated_since_full: usize,
    /// Live bytes found by the last full collection.
    pub live_after_full: usize,
    /// While a concurrent marking is under way, by block: is it evacuated at the end? What is placed here then is marked.
    pub candidates: Option<Arc<[bool]>>,
    /// Objects that the program has placed here meanwhile.
    pub fresh: Vec<usize>,
    /// By block: its live bytes, as far as known, when the marking began.
    live_before: Vec<u32>,
}

impl OldSpace {
    /// An empty old space.
    pub fn new() -> Self {
        Self {
            blocks: Vec::new(),
            free: Vec::new(),
            recyclable: Vec::new(),
            run: Run::default(),
            holes: Vec::new(),
            overflow: Run::default(),
            pinned: Run::default(),
            used_blocks: 0,
            committed_blocks: 0,
            allocated_since_full: 0,
            live_after_full: 0,
            candidates: None,
            fresh: Vec::new(),
            live_before: Vec::new(),
        }
    }

    /// Address behind the last block that was ever used.
    pub fn top(&self, layout: &Layout) -> usize {
        Self::start_of(layout, self.blocks.len())
    }

    /// Bytes of free blocks that are backed by memory.
    pub fn free_committed_bytes(&self) -> usize {
        (self.committed_blocks - self.used_blocks) * BLOCK_SIZE
    }

    /// Bytes of blocks that hold objects.
    pub fn used_bytes(&self) -> usize {
        self.used_blocks * BLOCK_SIZE
    }

    /// Bytes of blocks backed by memory.
    pub fn committed_bytes(&self) -> usize {
        self.committed_blocks * BLOCK_SIZE
    }

    /// Bytes of objects, as far as known (dead ones included until the next full collection).
    pub fn object_bytes(&self) -> usize {
        self.live_after_full + self.allocated_since_full
    }

    fn start_of(layout: &Layout, block: usize) -> usize {
        layout.old.start + block * BLOCK_SIZE
    }

    #[inline(always)]
    fn index_of(layout: &Layout, address: usize) -> usize {
        (address - layout.old.start) / BLOCK_SIZE
    }

    fn take_free_block(&mut self, layout: &Layout) -> Option<usize> {
        let index = match self.free.pop() {
            Some(index) => index as usize,
            None => {
                let index = self.blocks.len();
                if (index + 1) * BLOCK_SIZE > layout.old.size() {
                    return None;
                }
                self.blocks.push(Block {
                    state: BlockState::Uncommitted,
                    keep: false,
                    evacuating: false,
                    live_bytes: 0,
                });
                index
            }
        };
        let block = &mut self.blocks[index];
        if block.state == BlockState::Uncommitted {
            self.committed_blocks += 1;
        }
        *block = Block {
            state: BlockState::Used,
            keep: false,
            evacuating: false,
            live_bytes: 0,
        };
        self.used_blocks += 1;
        Some(index)
    }

    fn whole_block_run(layout: &Layout, block: usize) -> Run {
        let start = Self::start_of(layout, block);
        Run {
            cursor: start + 8,
            limit: start + BLOCK_SIZE,
            block,
        }
    }

    /// Room for an object of `size` bytes (at most the large threshold); its start bit is set. The memory is not zeroed.
    /// `None` if the address range is used up.
    #[inline]
    pub fn allocate(&mut self, layout: &Layout, size: usize) -> Option<usize> {
        let obj = self.run.cursor;
        if obj + size <= self.run.limit {
            self.run.cursor = obj + size;
            self.blocks[self.run.block].live_bytes += size as u32;
            self.allocated_since_full += size;
            layout.starts.set(obj);
            return Some(obj);
        }
        self.allocate_slow(layout, size)
    }

    #[cold]
    fn allocate_slow(&mut self, layout: &Layout, size: usize) -> Option<usize> {
        if size > MIN_HOLE {
            let whole = self.run.limit.is_multiple_of(BLOCK_SIZE);
            if !whole || self.run.limit - self.run.cursor >= 2048 {
                return self.allocate_overflow(layout, size);
            }
        }
        loop {
            if let Some(hole) = self.holes.pop() {
                self.run = hole;
            } else if let Some(block) = self.recyclable.pop() {
                self.find_holes(layout, block as usize);
                continue;
            } else {
                let block = self.take_free_block(layout)?;
                self.run = Self::whole_block_run(layout, block);
            }
            if self.run.cursor + size <= self.run.limit {
                return self.allocate(layout, size);
            }
            if size > MIN_HOLE {
                return self.allocate_overflow(layout, size);
            }
        }
    }

    fn allocate_overflow(&mut self, layout: &Layout, size: usize) -> Option<usize> {
        if self.overflow.cursor + size > self.overflow.limit {
            let block = self.take_free_block(layout)?;
            self.overflow = Self::whole_block_run(layout, block);
        }
        let obj = self.overflow.cursor;
        self.overflow.cursor += size;
        Some(self.place(layout, obj, size, self.overflow.block))
    }

    /// Room for an object that never moves. Zeroed. Call [`Self::publish_pinned`] before anybody gets its address.
    pub fn allocate_pinned(&mut self, layout: &Layout, size: usize) -> Option<usize> {
        if self.pinned.cursor + size > self.pinned.limit {
            let block = self.take_free_block(layout)?;
            self.blocks[block].keep = true;
            self.pinned = Self::whole_block_run(layout, block);
        }
        let obj = self.pinned.cursor;
        self.pinned.cursor += size;
        // SAFETY: the run is ours and holds no object.
        unsafe { crate::memory::zero(obj - 8, size) };
        Some(self.place(layout, obj, size, self.pinned.block))
    }

    /// Makes a new pinned object, whose type and length are written now, known to a marking that is under way.
    pub fn publish_pinned(&mut self, layout: &Layout, obj: usize) {
        if self.candidates.is_some() {
            layout.marks.insert_shared(obj);
            self.fresh.push(obj);
        }
    }

    fn place(&mut self, layout: &Layout, obj: usize, size: usize, block: usize) -> usize {
        self.blocks[block].live_bytes += size as u32;
        self.allocated_since_full += size;
        layout.starts.set(obj);
        obj
    }

    /// Collects the holes of a block between its objects.
    fn find_holes(&mut self, layout: &Layout, block: usize) {
        let start = Self::start_of(layout, block);
        let mut free_from = start + 8;
        let holes = &mut self.holes;
        let mut push = |from: usize, to: usize| {
            if to >= from + MIN_HOLE {
                holes.push(Run {
                    cursor: from,
                    limit: to,
                    block,
                });
            }
        };
        layout.starts.for_each(start, start + BLOCK_SIZE, |obj| {
            push(free_from, obj);
            // SAFETY: a start bit is set only for a live object.
            free_from = obj + unsafe { size_of_object(obj as ObjPtr) };
        });
        push(free_from, start + BLOCK_SIZE);
    }

    /// The object that contains `address` (from its MethodTable word to one past its end).
    pub fn find_object(&self, layout: &Layout, address: usize) -> Option<usize> {
        let index = Self::index_of(layout, address);
        if self.blocks.get(index)?.state != BlockState::Used {
            return None;
        }
        let obj = layout.starts.find_at_or_below(address, Self::start_of(layout, index))?;
        // SAFETY: a start bit is set only for a live object.
        let size = unsafe { size_of_object(obj as ObjPtr) };
        (address <= obj + size - 8).then_some(obj)
    }

    /// Start of the last object of the block of `address` that begins at or below `address`.
    pub fn object_at_or_below(layout: &Layout, address: usize) -> Option<usize> {
        let index = Self::index_of(layout, address);
        layout.starts.find_at_or_below(address, Self::start_of(layout, index))
    }

    /// Calls `visit` with the address range of every run of blocks that hold objects.
    pub fn for_each_used_range(&self, layout: &Layout, mut visit: impl FnMut(usize, usize)) {
        let mut index = 0;
        while index < self.blocks.len() {
            if self.blocks[index].state != BlockState::Used {
                index += 1;
                continue;
            }
            let first = index;
            while index < self.blocks.len() && self.blocks[index].state == BlockState::Used {
                index += 1;
            }
            visit(Self::start_of(layout, first), Self::start_of(layout, index));
        }
    }

    /// Visits every object.
    pub fn for_each_object(&self, layout: &Layout, mut visit: impl FnMut(ObjPtr)) {
        self.for_each_used_range(layout, |low, high| {
            layout.starts.for_each(low, high, |obj| visit(obj as ObjPtr))
        });
    }

    /// Forbids the evacuation of the block of `address` in the coming full collection.
    pub fn pin_block(&mut self, layout: &Layout, address: usize) {
        let index = Self::index_of(layout, address);
        if let Some(block) = self.blocks.get_mut(index)
            && block.evacuating
        {
            block.evacuating = false;
            block.live_bytes = 0;
        }
    }

    /// Whether the block of `address` is being evacuated.
    #[inline(always)]
    pub fn is_evacuating(&self, layout: &Layout, address: usize) -> bool {
        self.blocks[Self::index_of(layout, address)].evacuating
    }

    /// Whether a quarter of the used bytes is holes, so that evacuation pays.
    fn is_fragmented(&self) -> bool {
        let used = self.used_bytes();
        let live = |block: &Block| {
            if block.state == BlockState::Used {
                block.live_bytes as usize
            } else {
                0
            }
        };
        used > 64 * BLOCK_SIZE && self.blocks.iter().map(live).sum::<usize>() < used / 4 * 3
    }

    /// Whether a block is sparse and all its objects may move.
    fn can_be_evacuated(&self, index: usize) -> bool {
        let block = &self.blocks[index];
        let is_filled = |run: &Run| run.limit != 0 && run.block == index;
        block.state == BlockState::Used
            && !block.keep
            && block.live_bytes <= EVACUATE_BELOW
            && ![&self.run, &self.overflow, &self.pinned].into_iter().any(is_filled)
    }

    /// Before a full mark: chooses the blocks to evacuate (if there are holes enough, or `force`) and resets the live counts. Returns
    /// whether any block is evacuated.
    pub fn prepare_full(&mut self, force: bool) -> bool {
        let wanted = force || self.is_fragmented();
        self.run = Run::default();
        self.overflow = Run::default();
        self.holes.clear();
        self.recyclable.clear();
        let mut any = false;
        for index in 0..self.blocks.len() {
            let evacuating = wanted && self.can_be_evacuated(index);
            let block = &mut self.blocks[index];
            block.evacuating = evacuating;
            if block.state == BlockState::Used && !evacuating {
                block.live_bytes = 0;
            }
            any |= evacuating;
        }
        any
    }

    /// Chooses blocks that a concurrent marking evacuates at its end: the emptiest ones, with at most `copied` live bytes
    /// together (as far as known), if there are holes enough, or `force`. Nothing is placed in them any more.
    pub fn choose_candidates(&mut self, copied: usize, force: bool) -> Vec<bool> {
        if !force && !self.is_fragmented() {
            return Vec::new();
        }
        let mut sparse: Vec<(u32, usize)> = (0..self.blocks.len())
            .filter(|&index| self.can_be_evacuated(index))
            .map(|index| (self.blocks[index].live_bytes, index))
            .collect();
        sparse.sort_unstable();
        let mut chosen = vec![false; self.blocks.len()];
        let mut left = copied;
        for (bytes, index) in sparse {
            let Some(rest) = left.checked_sub(bytes as usize) else {
                break;
            };
            left = rest;
            chosen[index] = true;
        }
        self.recyclable.retain(|&block| !chosen[block as usize]);
        chosen
    }

    /// A concurrent marking begins.
    pub fn begin_marking(&mut self, candidates: Arc<[bool]>) {
        self.candidates = Some(candidates);
        self.fresh.clear();
        self.live_before = self.blocks.iter().map(|block| block.live_bytes).collect();
    }

    /// A concurrent marking is over, or given up.
    pub fn end_marking(&mut self) {
        self.candidates = None;
        self.fresh = Vec::new();
        self.live_before = Vec::new();
    }

    /// The last part of a concurrent marking begins: bytes found live by block so far, without what was placed here meanwhile, and
    /// the blocks to evacuate.
    pub fn begin_last_part(&mut self, found: &[u32], evacuating: &[bool]) -> bool {
        let mut any = false;
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let of = |bytes: &[u32]| bytes.get(index).copied().unwrap_or(0);
            // A block that was taken meanwhile was empty before.
            block.live_bytes = block.live_bytes - of(&self.live_before) + of(found);
            block.evacuating =
                block.state == BlockState::Used && !block.keep && evacuating.get(index).copied().unwrap_or(false);
            any |= block.evacuating;
        }
        any
    }

    /// Clears the mark bits of a marking that is given up.
    pub fn clear_marks(&self, layout: &Layout) {
        self.for_each_used_range(layout, |low, high| layout.marks.clear_range(low, high));
    }

    /// By block: is it being evacuated?
    pub fn evacuating_blocks(&self) -> Vec<bool> {
        self.blocks.iter().map(|block| block.evacuating).collect()
    }

    /// A free block for copies made by one worker: address of the first object and end. Nothing in it is counted.
    pub fn take_whole_block(&mut self, layout: &Layout) -> Option<(usize, usize)> {
        let block = self.take_free_block(layout)?;
        let run = Self::whole_block_run(layout, block);
        Some((run.cursor, run.limit))
    }

    /// As [`Self::allocate`], for an object that is counted when it is scanned.
    pub fn room_uncounted(&mut self, layout: &Layout, size: usize) -> Option<usize> {
        let address = self.allocate(layout, size)?;
        self.uncount(layout, address, size);
        Some(address)
    }

    /// Takes back the count of an allocation.
    pub fn uncount(&mut self, layout: &Layout, address: usize, size: usize) {
        self.blocks[Self::index_of(layout, address)].live_bytes -= size as u32;
    }

    /// Blocks ever used.
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Adds live bytes counted elsewhere, by block.
    pub fn add_live(&mut self, live: &[u32]) {
        for (block, bytes) in self.blocks.iter_mut().zip(live) {
            block.live_bytes += bytes;
        }
    }

    /// Counts a marked object.
    #[inline(always)]
    pub fn count_live(&mut self, layout: &Layout, address: usize, size: usize) {
        self.blocks[Self::index_of(layout, address)].live_bytes += size as u32;
    }

    /// After a full mark: sweeps, frees evacuated and empty blocks, finds blocks to fill again. Returns live bytes.
    pub fn finish_full(&mut self, layout: &Layout, poison: Option<u8>) -> usize {
        let mut live = 0;
        let pinned_block = (self.pinned.limit != 0).then_some(self.pinned.block);
        let current = [self.run.block, self.overflow.block];
        let current_valid = [self.run.limit != 0, self.overflow.limit != 0];
        self.recyclable.clear();
        for index in (0..self.blocks.len()).rev() {
            if self.blocks[index].state != BlockState::Used {
                continue;
            }
            let start = Self::start_of(layout, index);
            let end = start + BLOCK_SIZE;
            let block = &mut self.blocks[index];
            let in_use = Some(index) == pinned_block
                || (current_valid[0] && current[0] == index)
                || (current_valid[1] && current[1] == index);
            if block.evacuating {
                layout.marks.clear_range(start, end);
                layout.starts.clear_range(start, end);
                block.live_bytes = 0;
                block.evacuating = false;
            } else {
                layout.starts.copy_range(&layout.marks, start, end);
                layout.marks.clear_range(start, end);
            }
            live += block.live_bytes as usize;
            if block.live_bytes == 0 && !in_use {
                block.state = BlockState::Free;
                block.keep = false;
                self.used_blocks -= 1;
                self.free.push(index as u32);
                layout.clear_cards(start, end);
                if let Some(byte) = poison {
                    // SAFETY: nothing in the block is live.
                    unsafe { std::ptr::write_bytes(start as *mut u8, byte, BLOCK_SIZE) };
                }
            } else if block.live_bytes <= RECYCLE_BELOW && !in_use && !block.keep {
                self.recyclable.push(index as u32);
            }
        }
        self.live_after_full = live;
        self.allocated_since_full = 0;
        live
    }

    /// Gives free blocks beyond `keep` bytes back to the system, at most `most` bytes of them; returns the bytes released.
    pub fn decommit(&mut self, layout: &Layout, keep: usize, most: usize) -> usize {
        let mut excess = self.free_committed_bytes().saturating_sub(keep).min(most) / BLOCK_SIZE;
        if excess == 0 {
            return 0;
        }
        // Low addresses are kept: they are at the end of the list.
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        let mut released = 0;
        // Neighbours go together: a system call costs more than the pages.
        let mut range = (0, 0);
        // SAFETY: blocks that are free hold nothing.
        let release = |(low, high): (usize, usize)| unsafe { crate::memory::decommit(low, high - low) };
        for &index in &self.free {
            if excess == 0 {
                break;
            }
            let block = &mut self.blocks[index as usize];
            if block.state == BlockState::Free {
                let start = Self::start_of(layout, index as usize);
                if start + BLOCK_SIZE == range.0 {
                    range.0 = start;
                } else {
                    if range.1 != 0 {
                        release(range);
                    }
                    range = (start, start + BLOCK_SIZE);
                }
                block.state = BlockState::Uncommitted;
                self.committed_blocks -= 1;
                released += BLOCK_SIZE;
                excess -= 1;
            }
        }
        if range.1 != 0 {
            release(range);
        }
        released
    }
}
