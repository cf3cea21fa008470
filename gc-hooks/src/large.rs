//! Large objects: page runs, never moved, young until the first collection they survive.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;

use crate::memory::{self, PAGE_SIZE};
use crate::object::{ObjPtr, size_of_object};
use crate::space::Layout;
use crate::trace::young_mark;

#[derive(Debug, Clone, Copy)]
struct LargeObject {
    /// Bytes of the page run.
    bytes: usize,
    young: bool,
}

#[derive(Debug, Clone, Copy)]
struct FreeRun {
    bytes: usize,
    /// Holds old data; must be zeroed before use.
    dirty: bool,
}

/// State of the large object space. Keys are the start of the page run; the object is 8 bytes behind.
#[derive(Debug)]
pub struct LargeSpace {
    objects: BTreeMap<usize, LargeObject>,
    free: BTreeMap<usize, FreeRun>,
    /// Young objects (page run starts).
    young: FxHashSet<usize>,
    /// First page never used.
    top: usize,
    used: usize,
    dirty_free: usize,
    /// Bytes of young objects.
    pub young_bytes: usize,
    /// Page runs (start, bytes) of dead objects whose addresses the marker may still hold. Their mark bits are set, so that it does
    /// not look at them.
    limbo: Vec<(usize, usize)>,
    /// When the wait for the marker began ([`crate::handover::Grace`]).
    pub limbo_since: usize,
    /// Bytes that became old since the last full collection.
    pub promoted_since_full: usize,
    /// A concurrent marking is under way: new objects are marked.
    pub marking: bool,
}

impl LargeSpace {
    /// An empty space.
    pub fn new(layout: &Layout) -> Self {
        Self {
            objects: BTreeMap::new(),
            free: BTreeMap::new(),
            young: FxHashSet::default(),
            top: layout.large.start,
            used: 0,
            dirty_free: 0,
            young_bytes: 0,
            limbo: Vec::new(),
            limbo_since: 0,
            promoted_since_full: 0,
            marking: false,
        }
    }

    /// First page never used.
    pub fn top(&self) -> usize {
        self.top
    }

    /// The object whose page run contains `address`.
    pub fn object_of_page(&self, address: usize) -> Option<usize> {
        let (&start, object) = self.objects.range(..=address).next_back()?;
        (address < start + object.bytes).then_some(start + 8)
    }

    /// Bytes of page runs that hold objects.
    pub fn used_bytes(&self) -> usize {
        self.used
    }

    /// Bytes backed by memory, as far as known.
    pub fn committed_bytes(&self) -> usize {
        self.used + self.dirty_free
    }

    /// Bytes of free page runs that are still backed by memory.
    pub fn free_dirty_bytes(&self) -> usize {
        self.dirty_free
    }

    /// Bytes of the page run for an object of `size` bytes.
    pub fn run_bytes(size: usize) -> Option<usize> {
        // One word more, so that one past the end is still inside the run.
        Some(size.checked_add(8 + PAGE_SIZE - 1)? & !(PAGE_SIZE - 1))
    }

    /// Takes a page run for a young object of `size` bytes; returns the object's address and whether the memory has to
    /// be zeroed by the caller. `None` if the address range is used up.
    pub fn allocate(&mut self, layout: &Layout, size: usize) -> Option<(usize, bool)> {
        let bytes = Self::run_bytes(size)?;
        // Memory that is there already comes first.
        let fits = |dirty: bool| move |(_, run): &(&usize, &FreeRun)| run.dirty == dirty && run.bytes >= bytes;
        let dirty = self.free.iter().find(fits(true));
        let found = dirty.or_else(|| self.free.iter().find(fits(false)));
        let found = found.map(|(&start, &run)| (start, run));
        let (start, dirty) = match found {
            Some((start, run)) => {
                self.free.remove(&start);
                if run.bytes > bytes {
                    self.free.insert(
                        start + bytes,
                        FreeRun {
                            bytes: run.bytes - bytes,
                            dirty: run.dirty,
                        },
                    );
                }
                if run.dirty {
                    self.dirty_free -= bytes;
                }
                (start, run.dirty)
            }
            None => {
                if bytes > layout.large.end - self.top {
                    return None;
                }
                let start = self.top;
                self.top += bytes;
                (start, false)
            }
        };
        self.objects.insert(start, LargeObject { bytes, young: true });
        self.young.insert(start);
        self.used += bytes;
        self.young_bytes += bytes;
        if self.marking {
            layout.marks.insert_shared(start + 8);
        }
        Some((start + 8, dirty))
    }

    /// Publishes an allocated object to lookups: to be called once its MethodTable and length are written.
    pub fn publish(&self, layout: &Layout, obj: usize) {
        layout.starts.set(obj);
    }

    /// The object that contains `address` (from its MethodTable word to one past its end).
    pub fn find_object(&self, layout: &Layout, address: usize) -> Option<usize> {
        let (&start, object) = self.objects.range(..=address).next_back()?;
        if address < start + 8 || address >= start + object.bytes || !layout.starts.test(start + 8) {
            return None;
        }
        // SAFETY: a start bit is set only for an initialised object.
        let size = unsafe { size_of_object((start + 8) as ObjPtr) };
        (address <= start + size).then_some(start + 8)
    }

    /// Whether the object at `obj` is young.
    pub fn is_young(&self, obj: usize) -> bool {
        !self.young.is_empty() && self.young.contains(&(obj - 8))
    }

    /// Visits every initialised object.
    pub fn for_each_object(&self, layout: &Layout, mut visit: impl FnMut(ObjPtr)) {
        for &start in self.objects.keys() {
            if layout.starts.test(start + 8) {
                visit((start + 8) as ObjPtr);
            }
        }
    }

    /// Visits the page runs of old objects: (object, start of run, end of run).
    pub fn for_each_old(&self, mut visit: impl FnMut(ObjPtr, usize, usize)) {
        for (&start, object) in &self.objects {
            if !object.young {
                visit((start + 8) as ObjPtr, start, start + object.bytes);
            }
        }
    }

    fn release(&mut self, layout: &Layout, start: usize) {
        if let Some(bytes) = self.remove(layout, start) {
            self.free_run(layout, start, bytes);
        }
    }

    /// Forgets an object; its page run is not free yet. Returns the bytes of the run.
    fn remove(&mut self, layout: &Layout, start: usize) -> Option<usize> {
        let object = self.objects.remove(&start)?;
        layout.starts.clear(start + 8);
        layout.clear_cards(start, start + object.bytes);
        Some(object.bytes)
    }

    fn free_run(&mut self, layout: &Layout, start: usize, bytes: usize) {
        let end = start + bytes;
        self.used -= bytes;
        layout.marks.clear(start + 8);
        let mut run = FreeRun { bytes, dirty: true };
        let mut run_start = start;
        self.dirty_free += bytes;
        if let Some(next) = self.free.get(&end).copied()
            && next.dirty
        {
            self.free.remove(&end);
            run.bytes += next.bytes;
        }
        if let Some((&before, previous)) = self.free.range(..start).next_back()
            && before + previous.bytes == start
            && previous.dirty
        {
            run_start = before;
            run.bytes += previous.bytes;
        }
        self.free.insert(run_start, run);
    }

    /// Frees what [`Self::finish_minor`] has put off. The marker has ended a step since.
    pub fn free_limbo(&mut self, layout: &Layout) {
        for (start, bytes) in std::mem::take(&mut self.limbo) {
            self.free_run(layout, start, bytes);
        }
    }

    /// After a minor mark: unmarked young objects are freed, marked ones become old and get the promotion stamp. Clears
    /// their mark bits. Returns the bytes that became old. If the marker is in the middle of a
    /// step (`put_off`), memory is freed by [`Self::free_limbo`] later.
    pub fn finish_minor(&mut self, layout: &Layout, stamp: u32, put_off: bool) -> usize {
        let mut promoted = 0;
        for start in std::mem::take(&mut self.young) {
            if layout.marks.test(young_mark(start + 8)) {
                layout.marks.clear_shared(young_mark(start + 8));
                // SAFETY: the low half of a live object's header word is free for the stamp.
                unsafe { *(start as *mut u32) = stamp };
                if let Some(object) = self.objects.get_mut(&start) {
                    object.young = false;
                    promoted += object.bytes;
                }
            } else if put_off {
                let bytes = self.remove(layout, start);
                self.limbo.extend(bytes.map(|bytes| (start, bytes)));
            } else {
                self.release(layout, start);
            }
        }
        self.young_bytes = 0;
        self.promoted_since_full += promoted;
        promoted
    }

    /// Clears the mark bits of a marking that is given up.
    pub fn clear_marks(&self, layout: &Layout) {
        self.objects.keys().for_each(|&start| layout.marks.clear(start + 8));
    }

    /// After a full mark: frees unmarked objects, clears mark bits. Returns the bytes that stay.
    pub fn finish_full(&mut self, layout: &Layout) -> usize {
        let dead: Vec<usize> = self
            .objects
            .keys()
            .copied()
            .filter(|&start| !layout.marks.test(start + 8))
            .collect();
        for start in dead {
            self.release(layout, start);
        }
        for &start in self.objects.keys() {
            layout.marks.clear(start + 8);
        }
        self.promoted_since_full = 0;
        self.used
    }

    /// Gives free page runs beyond `keep` bytes back to the system, at most `most` bytes and high addresses first, and merges
    /// neighbours; returns the bytes released.
    pub fn decommit(&mut self, keep: usize, most: usize) -> usize {
        let mut released = 0;
        let mut runs: Vec<(usize, FreeRun)> = Vec::new();
        for (start, run) in std::mem::take(&mut self.free).into_iter().rev() {
            let excess = self.dirty_free.saturating_sub(keep).min(most - released);
            let bytes = if run.dirty {
                run.bytes.min(excess) & !(PAGE_SIZE - 1)
            } else {
                0
            };
            if bytes == 0 {
                runs.push((start, run));
                continue;
            }
            let rest = run.bytes - bytes;
            // SAFETY: the run is free, its start and the bytes are multiples of the page size.
            unsafe { memory::decommit(start + rest, bytes) };
            released += bytes;
            self.dirty_free -= bytes;
            runs.push((start + rest, FreeRun { bytes, dirty: false }));
            if rest != 0 {
                runs.push((
                    start,
                    FreeRun {
                        bytes: rest,
                        dirty: true,
                    },
                ));
            }
        }
        let mut merged: BTreeMap<usize, FreeRun> = BTreeMap::new();
        for (start, run) in runs.into_iter().rev() {
            if let Some((&before, previous)) = merged.iter_mut().next_back()
                && before + previous.bytes == start
                && previous.dirty == run.dirty
            {
                previous.bytes += run.bytes;
                continue;
            }
            merged.insert(start, run);
        }
        if let Some((&last, run)) = merged.iter().next_back()
            && last + run.bytes == self.top
            && !run.dirty
        {
            self.top = last;
            merged.remove(&last);
        }
        self.free = merged;
        released
    }
}
