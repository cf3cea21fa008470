//! Regions without collections (`GC.TryStartNoGCRegion`): room for a promised number of bytes is made beforehand.
//!
//! The region is the budgets of the nursery and of the large objects, raised by what was promised. The first collection in it ends
//! it; [`Heap::end_no_gc_region`] tells whether there was one.

use crate::collect::LARGE_BUDGET_MIN;
use crate::heap::{Heap, Spaces};
use crate::space::BLOCK_SIZE;
use crate::thread::ThreadHeader;

/// What became of a wish for a region; the numbers are those of `StartNoGCRegionStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoGcStart {
    /// The region has begun.
    Started = 0,
    /// There is not so much memory, or the nursery cannot be so big. (CoreCLR's 2, "too large", is of times of segments.)
    NotEnoughMemory = 1,
    /// A region has begun already.
    InProgress = 3,
}

/// How a region ended; the numbers are those of `EndNoGCRegionStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoGcEnd {
    /// Without a collection.
    Kept = 0,
    /// There was none, or it was ended before.
    NotInProgress = 1,
    /// Somebody asked for a collection.
    Induced = 2,
    /// More was allocated than promised.
    Exceeded = 3,
}

/// A region under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoGcRegion {
    nursery_budget: usize,
    /// The collection that ended it.
    ended: Option<NoGcEnd>,
}

impl Heap {
    /// Begins a region in which `total` bytes can be allocated without a collection, of which `large` are of large objects if that
    /// is known. Collects first, to have the room.
    pub fn start_no_gc_region(&self, thread: &mut ThreadHeader, total: usize, large: Option<usize>) -> NoGcStart {
        // As in CoreCLR, the attempt ends the region that is under way.
        if self.end_no_gc_region() != NoGcEnd::NotInProgress {
            return NoGcStart::InProgress;
        }
        let small = total.saturating_sub(large.unwrap_or(0));
        // Threads leave parts of their chunks unused.
        let room = small.saturating_add(small / 8).saturating_add(64 * BLOCK_SIZE);
        if large.is_some_and(|large| large > total) || room > self.layout.nursery.size() {
            return NoGcStart::NotEnoughMemory;
        }
        self.collect(thread, 2);
        let mut spaces = self.spaces.lock();
        let large = large.unwrap_or(total);
        if self.used_bytes(&spaces) + room + large > self.limit() {
            return NoGcStart::NotEnoughMemory;
        }
        let nursery_budget = spaces.nursery.budget_bytes();
        spaces
            .nursery
            .set_budget((nursery_budget + room).min(self.layout.nursery.size()));
        spaces.large_budget = spaces.large_budget.max(large + large / 8 + LARGE_BUDGET_MIN);
        spaces.no_gc = Some(NoGcRegion {
            nursery_budget,
            ended: None,
        });
        NoGcStart::Started
    }

    /// Ends the region and tells how it went.
    pub fn end_no_gc_region(&self) -> NoGcEnd {
        let mut spaces = self.spaces.lock();
        match spaces.no_gc.take() {
            None => NoGcEnd::NotInProgress,
            Some(region) => {
                spaces.nursery.set_budget(region.nursery_budget);
                region.ended.unwrap_or(NoGcEnd::Kept)
            }
        }
    }

    /// Whether a region is under way that no collection has ended.
    pub fn in_no_gc_region(&self) -> bool {
        self.spaces.lock().no_gc.is_some_and(|region| region.ended.is_none())
    }
}

/// A collection takes place.
pub(crate) fn collection_begins(spaces: &mut Spaces, induced: bool) {
    if let Some(region) = &mut spaces.no_gc
        && region.ended.is_none()
    {
        region.ended = Some(if induced { NoGcEnd::Induced } else { NoGcEnd::Exceeded });
        let budget = region.nursery_budget;
        spaces.nursery.set_budget(budget);
    }
}
