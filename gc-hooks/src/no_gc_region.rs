//! Regions without collections (`GC.TryStartNoGCRegion`): room for a promised number of bytes is made beforehand.
//!
//! The region is the budgets of the nursery and of the large objects, raised by what was promised. The first collection in it ends
//! it. A [`NoGcWatcher`] is told when a number of bytes has been allocated in it.

use std::sync::atomic::Ordering::Relaxed;

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
    /// There was none, or a collection has ended it. (CoreCLR does not tell why either, although it has numbers for that.)
    NotInProgress = 1,
}

/// What became of the wish to watch a region; the numbers are those of `EnableNoGCRegionCallbackStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoGcWatch {
    /// The watcher will be told.
    Watching = 0,
    /// No region is under way.
    NotInProgress = 1,
    /// The region promises less.
    TooMuch = 2,
    /// There is a watcher already.
    Watched = 3,
}

/// Is told once: `true` when the watched number of bytes has been allocated, `false` when the region ended before. Called in any mode,
/// under the heap's locks: it takes note of it, and does nothing else.
pub type NoGcWatcher = Box<dyn FnOnce(bool) + Send>;

/// A region under way.
pub(crate) struct NoGcRegion {
    nursery_budget: usize,
    /// Bytes promised.
    total: usize,
    /// Bytes allocated by the process when it began.
    allocated: u64,
    /// Who wants to know when how many bytes were allocated.
    watcher: Option<(u64, NoGcWatcher)>,
    watched: bool,
}

impl std::fmt::Debug for NoGcRegion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NoGcRegion")
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl Heap {
    /// Begins a region in which `total` bytes can be allocated without a collection, of which `large` are of large objects if that
    /// is known. Collects first, to have the room.
    pub fn start_no_gc_region(&self, thread: &ThreadHeader, total: usize, large: Option<usize>) -> NoGcStart {
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
            total,
            allocated: self.allocated.load(Relaxed),
            watcher: None,
            watched: false,
        });
        NoGcStart::Started
    }

    /// Ends the region and tells how it went.
    pub fn end_no_gc_region(&self) -> NoGcEnd {
        let mut spaces = self.spaces.lock();
        if spaces.no_gc.is_none() {
            return NoGcEnd::NotInProgress;
        }
        end(self, &mut spaces);
        NoGcEnd::Kept
    }

    /// Whether a region is under way that no collection has ended.
    pub fn in_no_gc_region(&self) -> bool {
        self.spaces.lock().no_gc.is_some()
    }

    /// Has `watcher` told when `bytes` have been allocated in the region.
    pub fn watch_no_gc_region(&self, bytes: usize, watcher: NoGcWatcher) -> NoGcWatch {
        let mut spaces = self.spaces.lock();
        let Some(region) = &mut spaces.no_gc else {
            return NoGcWatch::NotInProgress;
        };
        if region.watched {
            return NoGcWatch::Watched;
        }
        if bytes > region.total {
            return NoGcWatch::TooMuch;
        }
        region.watched = true;
        region.watcher = Some((region.allocated + bytes as u64, watcher));
        NoGcWatch::Watching
    }
}

fn end(heap: &Heap, spaces: &mut Spaces) {
    memory_was_taken(heap, spaces);
    if let Some(region) = spaces.no_gc.take() {
        spaces.nursery.set_budget(region.nursery_budget);
        if let Some((_, watcher)) = region.watcher {
            watcher(false);
        }
    }
}

/// A collection takes place.
pub(crate) fn collection_begins(heap: &Heap, spaces: &mut Spaces) {
    if spaces.no_gc.is_some() {
        end(heap, spaces);
    }
}

/// A chunk or a large object was handed out.
pub(crate) fn memory_was_taken(heap: &Heap, spaces: &mut Spaces) {
    let allocated = heap.allocated.load(Relaxed);
    if let Some(region) = &mut spaces.no_gc
        && let Some((_, watcher)) = region.watcher.take_if(|(at, _)| *at <= allocated)
    {
        watcher(true);
    }
}
