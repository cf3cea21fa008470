//! Tracing: what happens to a reference in a minor and in a full collection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::gcdesc::{for_each_ref, for_each_ref_in};
use crate::large::LargeSpace;
use crate::memory::prefetch;
use crate::object::{MethodTableHeader, ObjPtr, Object, size_with_mt};
use crate::old::OldSpace;
use crate::space::{BLOCK_SIZE, CARD_SIZE, Layout, Range};

/// A traversal of the object graph.
pub(crate) trait Trace {
    /// Makes the object that the slot refers to live and updates the slot.
    fn visit(&mut self, slot: *mut ObjPtr);
    /// Follows everything found so far; returns whether anything was, since the last time.
    fn drain(&mut self) -> bool;
    /// Present address of an object if it is live.
    fn locate(&self, obj: usize) -> Option<usize>;
}

/// Bit of an object's first word: the rest is the forwarding address.
pub(crate) const FORWARDED: usize = 1;

/// Where the object at `address` went, if it was forwarded.
#[inline(always)]
fn forwarding(address: usize) -> Result<usize, *const MethodTableHeader> {
    // SAFETY: `address` is an object (forwarded or not), whose first word is readable.
    let word = unsafe { *(address as *const usize) };
    if word & FORWARDED != 0 {
        Ok(word & !FORWARDED)
    } else {
        Err(word as *const MethodTableHeader)
    }
}

/// Copies an object into the old space and leaves a forwarding address.
#[inline(always)]
fn evacuate(layout: &Layout, old: &mut OldSpace, from: usize, size: usize) -> usize {
    let Some(to) = old.allocate(layout, size) else {
        exhausted()
    };
    // SAFETY: the target is fresh memory of `size` bytes whose header word is in front; the source is an object of that
    // size. They do not overlap, because nothing is allocated into blocks that are being emptied.
    unsafe {
        let (source, target) = ((from - 8) as *const u64, (to - 8) as *mut u64);
        if size <= 64 {
            // A call costs more than the copy of a small object.
            for i in 0..size / 8 {
                target.add(i).write_volatile(source.add(i).read());
            }
        } else {
            std::ptr::copy_nonoverlapping(source, target, size / 8);
        }
        *(from as *mut usize) = to | FORWARDED;
    }
    to
}

/// Heaps of at least this many bytes are marked by several threads.
const PARALLEL_FROM: usize = 16 << 20;

/// Entries that wait for their prefetch.
const IN_FLIGHT: usize = 8;

/// A short queue of numbers other than 0: what goes in comes out a few steps later, when what was prefetched for it is there.
#[derive(Debug, Default)]
pub(crate) struct Delay {
    queue: [usize; IN_FLIGHT],
    at: usize,
}

impl Delay {
    /// Puts an item in; another one comes out, or 0.
    #[inline(always)]
    pub fn exchange(&mut self, item: usize) -> usize {
        let other = std::mem::replace(&mut self.queue[self.at], item);
        self.at = (self.at + 1) % IN_FLIGHT;
        other
    }

    /// What is left.
    pub fn rest(self) -> impl Iterator<Item = usize> {
        self.queue.into_iter().filter(|&item| item != 0)
    }
}

/// A work stack with a short queue in front: what leaves the stack is prefetched and comes out a few steps later.
#[derive(Debug)]
pub(crate) struct WorkStack {
    stack: Vec<usize>,
    queue: Delay,
}

impl WorkStack {
    pub fn new(stack: Vec<usize>) -> Self {
        Self {
            stack,
            queue: Delay::default(),
        }
    }

    /// All items.
    pub fn into_vec(mut self) -> Vec<usize> {
        self.stack.extend(self.queue.rest());
        self.stack
    }

    /// Items on the stack (those in the queue not counted).
    pub fn len(&self) -> usize {
        self.stack.len()
    }

    /// Takes the older half of the stack away.
    pub fn split_oldest(&mut self) -> Vec<usize> {
        let rest = self.stack.split_off(self.stack.len() / 2);
        std::mem::replace(&mut self.stack, rest)
    }

    /// Adds an item.
    #[inline(always)]
    pub fn push(&mut self, item: usize) {
        self.stack.push(item);
    }

    /// The next item.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<usize> {
        let mut empty = 0;
        loop {
            let next = self.stack.pop().unwrap_or(0);
            if next != 0 {
                prefetch(next);
                empty = 0;
            } else {
                empty += 1;
            }
            let item = self.queue.exchange(next);
            if item != 0 {
                return Some(item);
            }
            if empty > IN_FLIGHT {
                return None;
            }
        }
    }
}

/// There is no way back from the middle of a collection.
#[cold]
pub(crate) fn exhausted() -> ! {
    eprintln!("Fatal error: the managed heap's address range is used up during a collection.");
    std::process::abort();
}

/// Item of a minor collection's stack: an object to be scanned, not a field to be visited.
const WHOLE: usize = 1;
/// With so many fields on the stack, what cards refer to is followed. Some are wanted, so that all are in the cache by then.
const ENOUGH: usize = 16;
/// So many big objects are scanned inside each other.
const MOST_NESTED: u32 = 8;

/// Copies the live objects of the nursery into the old space; large young objects are marked.
///
/// The work items are fields to be visited, and what is found first is copied first, with all that is found from there before its
/// neighbours: objects lie behind each other in the order in which a program that walks through them comes by. (Breadth first, or
/// last found first, the walks of a program that parses and prints documents take twice as many cache misses.)
pub(crate) struct MinorTrace<'a> {
    layout: &'static Layout,
    young: Range,
    pub old: &'a mut OldSpace,
    large: &'a mut LargeSpace,
    stack: Vec<usize>,
    /// Nursery objects are marked.
    pub has_pins: bool,
    /// Something became live since the last [`Trace::drain`].
    any: bool,
    /// Big objects that are being scanned.
    nested: u32,
    stamp: u32,
    /// Fields of cards that wait for what they refer to.
    soon: Delay,
    /// Bytes copied.
    pub promoted: usize,
    /// A concurrent marking is under way.
    pub shading: Option<Shading>,
}

/// What a minor collection does for a concurrent marking. Its copies count as scanned: what they refer to is marked here, because it
/// is in the cache and because they would keep the marker busy otherwise.
#[derive(Debug)]
pub(crate) struct Shading {
    /// Old blocks that are evacuated at the end of the cycle.
    candidates: Arc<[bool]>,
    /// The copies, which the marker may come across before they are marked.
    pub copies: Vec<usize>,
    /// Objects that were marked and are to be scanned.
    pub gray: Vec<usize>,
    /// Slots of copies that refer to `candidates`.
    pub slots: Vec<usize>,
}

impl Shading {
    pub fn new(candidates: Arc<[bool]>) -> Self {
        Self {
            candidates,
            copies: Vec::new(),
            gray: Vec::new(),
            slots: Vec::new(),
        }
    }

    /// Marks the old or large object that a field of a copy refers to.
    #[inline(always)]
    fn shade(&mut self, layout: &Layout, field: *mut ObjPtr, address: usize) {
        if address < layout.large.start || address >= layout.old.end {
            return;
        }
        if is_candidate(layout, &self.candidates, address) {
            self.slots.push(field as usize);
        }
        if layout.marks.insert_shared(address) {
            self.gray.push(address);
        }
    }
}

/// Whether `address` is in an old block that is evacuated at the end of the cycle.
#[inline(always)]
pub(crate) fn is_candidate(layout: &Layout, candidates: &[bool], address: usize) -> bool {
    !candidates.is_empty()
        && layout.old.contains(address)
        && candidates.get((address - layout.old.start) / BLOCK_SIZE) == Some(&true)
}

impl<'a> MinorTrace<'a> {
    pub fn new(
        layout: &'static Layout,
        old: &'a mut OldSpace,
        large: &'a mut LargeSpace,
        stack: Vec<usize>,
        stamp: u32,
        shading: Option<Shading>,
    ) -> Self {
        let young = Range {
            start: layout.nursery.start,
            end: layout.large.end,
        };
        Self {
            layout,
            young,
            old,
            large,
            stack,
            has_pins: false,
            any: false,
            nested: 0,
            stamp,
            soon: Delay::default(),
            promoted: 0,
            shading,
        }
    }

    pub fn into_stack(self) -> Vec<usize> {
        self.stack
    }

    /// Keeps an object alive where it is. Before anything else is visited.
    pub fn pin(&mut self, obj: usize) {
        if self.layout.nursery.contains(obj) {
            self.has_pins = true;
            if self.layout.marks.insert(obj) {
                self.stack.push(obj | WHOLE);
            }
        } else if self.layout.large.contains(obj) {
            self.mark_large(obj);
        }
    }

    /// Makes the target of a field live and updates the field. Returns whether the target stays young.
    #[inline(always)]
    fn visit_slot(&mut self, slot: *mut ObjPtr) -> bool {
        // SAFETY: slots are valid references.
        let address = unsafe { *slot } as usize;
        if !self.young.contains(address) {
            return false;
        }
        if !self.layout.nursery.contains(address) {
            self.mark_large(address);
            return false;
        }
        let to = match forwarding(address) {
            Ok(to) => to,
            Err(mt) => {
                if self.has_pins && self.layout.marks.test(address) {
                    return true;
                }
                // SAFETY: the object is whole, it was not forwarded.
                let size = unsafe { size_with_mt(address as ObjPtr, mt) };
                let to = evacuate(self.layout, self.old, address, size);
                self.promoted += size;
                self.any = true;
                if let Some(shading) = &mut self.shading {
                    shading.copies.push(to);
                }
                // SAFETY: the low half of the header word is free; it holds the promotion stamp. `mt` is the type of the copy.
                unsafe {
                    *((to - 8) as *mut u32) = self.stamp;
                    if (*mt).must_scan() {
                        self.push_fields(to as ObjPtr, mt, size);
                    }
                }
                to
            }
        };
        // The marker may be reading the field, and then the copy, which is whole.
        // SAFETY: as above.
        unsafe { AtomicUsize::from_ptr(slot.cast()) }.store(to, Ordering::Release);
        false
    }

    /// As [`Self::visit_field`], but a little later: what the field refers to is on its way into the cache until then.
    #[inline(always)]
    fn visit_soon(&mut self, field: *mut ObjPtr) {
        // SAFETY: fields are valid references.
        let address = unsafe { *field } as usize;
        if self.young.contains(address) {
            prefetch(address);
            prefetch(address + 48);
            let other = self.soon.exchange(field as usize) as *mut ObjPtr;
            if !other.is_null() {
                self.visit_field(other);
                if self.stack.len() >= ENOUGH {
                    self.drain_to(0);
                }
            }
        }
    }

    /// Ends the delay of [`Self::visit_soon`].
    pub fn visit_rest(&mut self) {
        for field in std::mem::take(&mut self.soon).rest() {
            self.visit_field(field as *mut ObjPtr);
        }
        self.drain_to(0);
    }

    #[inline(always)]
    fn visit_field(&mut self, field: *mut ObjPtr) {
        if self.visit_slot(field) && !self.layout.nursery.contains(field as usize) {
            self.layout.mark_card(field as usize);
        }
    }

    /// Puts the fields of a live object on the stack, the first one on top.
    ///
    /// # Safety
    /// The object is whole and not forwarded; `mt` and `size` are its own.
    #[inline(always)]
    unsafe fn push_fields(&mut self, obj: ObjPtr, mt: *const MethodTableHeader, size: usize) {
        let start = self.stack.len();
        // SAFETY: the caller's promise.
        unsafe {
            for_each_ref(obj, mt, size, |field| {
                let address = *field as usize;
                if self.layout.nursery.contains(address) {
                    prefetch(address);
                    self.stack.push(field as usize);
                } else {
                    self.visit_older(field, address);
                }
            });
        }
        self.stack[start..].reverse();
    }

    /// A field of a live object refers to something outside of the nursery, or to nothing.
    #[inline(always)]
    fn visit_older(&mut self, field: *mut ObjPtr, address: usize) {
        if self.young.contains(address) {
            self.mark_large(address);
        }
        if let Some(shading) = &mut self.shading {
            shading.shade(self.layout, field, address);
        }
    }

    /// Scans an object that may be big: what a field refers to is followed before the next field.
    fn scan(&mut self, obj: ObjPtr) {
        // SAFETY: objects that are scanned are whole and not forwarded.
        unsafe {
            let mt = (*obj).mt;
            let size = size_with_mt(obj, mt);
            if self.nested == MOST_NESTED {
                return self.push_fields(obj, mt, size);
            }
            self.nested += 1;
            let level = self.stack.len();
            for_each_ref(obj, mt, size, |field| {
                let address = *field as usize;
                if self.layout.nursery.contains(address) {
                    self.visit_field(field);
                    self.drain_to(level);
                } else {
                    self.visit_older(field, address);
                }
            });
            self.nested -= 1;
        }
    }

    /// Follows everything on the stack above `level`.
    #[inline(always)]
    fn drain_to(&mut self, level: usize) {
        while self.stack.len() > level
            && let Some(item) = self.stack.pop()
        {
            if item & WHOLE == 0 {
                self.visit_field(item as *mut ObjPtr);
            } else {
                self.scan((item & !WHOLE) as ObjPtr);
            }
        }
    }

    #[cold]
    fn mark_large(&mut self, address: usize) {
        if self.large.is_young(address) && self.layout.marks.insert_shared(young_mark(address)) {
            self.any = true;
            self.stack.push(address | WHOLE);
        }
    }

    /// Scans the references of `obj` with addresses in `low..high`; [`Self::visit_rest`] ends it.
    pub fn scan_part(&mut self, obj: ObjPtr, low: usize, high: usize) {
        // SAFETY: an object outside of the nursery, so never forwarded in a minor collection.
        unsafe {
            let mt = (*obj).mt;
            let size = size_with_mt(obj, mt);
            for_each_ref_in(obj, mt, size, low, high, |field| self.visit_soon(field));
        }
    }

    /// Scans the objects of a card; `first` is the last object that begins at or below it. [`Self::visit_rest`] ends it.
    pub fn scan_card(&mut self, first: Option<usize>, card: usize) {
        let end = card + CARD_SIZE;
        if let Some(obj) = first
            && obj < card
        {
            self.scan_part(obj as ObjPtr, card, end);
        }
        let starts = self.layout.starts;
        starts.for_each(card, end, |obj| self.scan_part(obj as ObjPtr, card, end));
    }
}

impl Trace for MinorTrace<'_> {
    fn visit(&mut self, slot: *mut ObjPtr) {
        self.visit_slot(slot);
        self.drain_to(0);
    }

    fn drain(&mut self) -> bool {
        self.drain_to(0);
        std::mem::take(&mut self.any)
    }

    fn locate(&self, obj: usize) -> Option<usize> {
        if !self.young.contains(obj) {
            return Some(obj);
        }
        if self.layout.nursery.contains(obj) {
            return match forwarding(obj) {
                Ok(to) => Some(to),
                Err(_) => self.layout.marks.test(obj).then_some(obj),
            };
        }
        (!self.large.is_young(obj) || self.layout.marks.test(young_mark(obj))).then_some(obj)
    }
}

/// Address whose mark bit a minor collection uses for the large object at `obj`: its own one belongs to full collections, which
/// may be marking concurrently. No object begins there.
#[inline(always)]
pub(crate) fn young_mark(obj: usize) -> usize {
    obj + 8
}

/// Marks live objects of all spaces; empties the old blocks chosen for evacuation. The work items are marked objects.
pub(crate) struct FullTrace<'a> {
    layout: &'static Layout,
    pub old: &'a mut OldSpace,
    evacuates: bool,
    work: WorkStack,
}

impl<'a> FullTrace<'a> {
    pub fn new(layout: &'static Layout, old: &'a mut OldSpace, evacuates: bool, stack: Vec<usize>) -> Self {
        Self {
            layout,
            old,
            evacuates,
            work: WorkStack::new(stack),
        }
    }

    pub fn into_stack(self) -> Vec<usize> {
        self.work.into_vec()
    }

    /// As [`Trace::drain`], with several threads if there are more than `alone` objects to mark in a big heap.
    pub fn drain_parallel(&mut self, heap_bytes: usize, alone: usize) {
        for _ in 0..alone {
            match self.work.pop() {
                Some(obj) => self.scan(obj as ObjPtr),
                None => return,
            }
        }
        if (alone == 0 || heap_bytes >= PARALLEL_FROM) && crate::parallel::workers() > 1 {
            let mut stack = std::mem::replace(&mut self.work, WorkStack::new(Vec::new())).into_vec();
            crate::parallel::mark(self.layout, self.old, self.evacuates, &mut stack);
        } else {
            self.drain();
        }
    }

    /// Keeps a pinned object alive; its block is not evacuated.
    pub fn keep(&mut self, obj: usize) {
        let mut slot = obj as ObjPtr;
        self.visit_slot(&raw mut slot);
    }

    #[inline(always)]
    fn visit_slot(&mut self, slot: *mut ObjPtr) {
        // SAFETY: slots are valid references.
        let address = unsafe { *slot } as usize;
        let layout = self.layout;
        if !layout.heap.contains(address) || address >= layout.frozen.start {
            return;
        }
        if self.evacuates && layout.old.contains(address) && self.old.is_evacuating(layout, address) {
            let to = match forwarding(address) {
                Ok(to) => to,
                Err(mt) => {
                    // SAFETY: the object is whole, it was not forwarded.
                    let size = unsafe { size_with_mt(address as ObjPtr, mt) };
                    let to = evacuate(layout, self.old, address, size);
                    // It is counted when it is scanned.
                    self.old.uncount(layout, to, size);
                    layout.marks.set(to);
                    self.work.push(to);
                    to
                }
            };
            // SAFETY: as above.
            unsafe { *slot = to as ObjPtr };
        } else if layout.marks.insert(address) {
            self.work.push(address);
        }
    }

    /// Visits a field of an object that was marked and scanned before.
    pub fn visit_field(&mut self, field: *mut ObjPtr) {
        self.visit_slot(field);
        // SAFETY: fields are valid references.
        let address = unsafe { *field } as usize;
        if self.layout.nursery.contains(address) && !self.layout.nursery.contains(field as usize) {
            self.layout.mark_card(field as usize);
        }
    }

    /// Corrects slots that held references into blocks that are evacuated; they may hold other ones now.
    pub fn correct(&mut self, slots: &[usize]) {
        let mut soon = Delay::default();
        for (i, &slot) in slots.iter().enumerate() {
            if let Some(&later) = slots.get(i + IN_FLIGHT) {
                prefetch(later);
            }
            // SAFETY: the slot belongs to an object that was marked in this cycle: its memory is still there.
            let address = unsafe { *(slot as *const usize) };
            if self.layout.old.contains(address) && self.old.is_evacuating(self.layout, address) {
                prefetch(address);
                let other = soon.exchange(slot);
                if other != 0 {
                    self.visit_slot(other as *mut ObjPtr);
                }
            }
        }
        soon.rest().for_each(|slot| self.visit_slot(slot as *mut ObjPtr));
    }

    /// Visits the references of an object.
    #[inline(always)]
    pub fn scan(&mut self, obj: *mut Object) {
        let layout = self.layout;
        // SAFETY: marked objects are whole and not forwarded.
        unsafe {
            let mt = (*obj).mt;
            let size = size_with_mt(obj, mt);
            if layout.old.contains(obj as usize) {
                self.old.count_live(layout, obj as usize, size);
            }
            for_each_ref(obj, mt, size, |field| {
                self.visit_slot(field);
                if layout.nursery.contains(*field as usize) && !layout.nursery.contains(field as usize) {
                    layout.mark_card(field as usize);
                }
            });
        }
    }
}

impl Trace for FullTrace<'_> {
    fn visit(&mut self, slot: *mut ObjPtr) {
        self.visit_slot(slot);
    }

    fn drain(&mut self) -> bool {
        let mut any = false;
        while let Some(obj) = self.work.pop() {
            any = true;
            self.scan(obj as ObjPtr);
        }
        any
    }

    fn locate(&self, obj: usize) -> Option<usize> {
        let layout = self.layout;
        if !layout.heap.contains(obj) || layout.frozen.contains(obj) {
            return Some(obj);
        }
        if layout.old.contains(obj) && self.old.is_evacuating(layout, obj) {
            return forwarding(obj).ok();
        }
        layout.marks.test(obj).then_some(obj)
    }
}
