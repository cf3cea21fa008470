//! A collection, from the stopped world to the resumed one.
//!
//! Order: take chunks away, gather roots (one stack walk), minor collection (copy survivors of the nursery, adopt large
//! young objects), and for a full one mark and sweep the rest on top. Each part ends with the same steps: dependent
//! handles to a fixed point, weak short handles, finalization, dependent handles again, weak long handles, sync blocks.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::alloc::retire_context;
use crate::concurrent::Handover;
use crate::cycle::Plan;
use crate::finalize::{Fate, Lists};
use crate::handles::HandleKind;
use crate::heap::{CollectionReason, Heap, Spaces};
use crate::laps::Laps;
use crate::memory::prefetch;
use crate::object::ObjPtr;
use crate::old::OldSpace;
use crate::roots::RootVisitor;
use crate::safepoint::World;
use crate::space::{CARD_SIZE, Layout};
use crate::stats::CollectionRecord;
use crate::trace::{MinorTrace, Shading, Trace};

/// The old space may grow at least this much between full collections.
pub(crate) const FULL_BUDGET_MIN: usize = 8 << 20;
/// Large objects may always grow this much between collections.
pub(crate) const LARGE_BUDGET_MIN: usize = 4 << 20;
/// Most bytes of each space that a pause gives back to the system.
const RELEASED_IN_PAUSE: usize = 4 << 20;

/// A byref root: the slot, the object it points into and the distance from that object's start.
#[derive(Debug, Clone, Copy)]
struct ByRef {
    slot: *mut *mut u8,
    base: ObjPtr,
    offset: usize,
}

/// Buffers of a collection, kept between collections.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    slots: Vec<*mut ObjPtr>,
    byrefs: Vec<ByRef>,
    pins: Vec<usize>,
    dirty: Vec<usize>,
    stack: Vec<usize>,
    pub laps: Laps,
}

// SAFETY: the pointers are only used while the world is stopped, under the collector's lock.
unsafe impl Send for Collector {}

/// Sorts what the root provider reports.
struct Gather<'a> {
    layout: &'static Layout,
    spaces: &'a mut Spaces,
    slots: &'a mut Vec<*mut ObjPtr>,
    byrefs: &'a mut Vec<ByRef>,
    pins: &'a mut Vec<usize>,
    verify: bool,
}

/// The object that contains `address`, anywhere in the heap. No object may be forwarded.
pub(crate) fn find_object(layout: &Layout, spaces: &mut Spaces, address: usize) -> Option<usize> {
    if layout.nursery.contains(address) {
        spaces.nursery.find_object(layout, address)
    } else if layout.old.contains(address) {
        spaces.old.find_object(layout, address)
    } else if layout.large.contains(address) {
        spaces.large.find_object(layout, address)
    } else if layout.frozen.contains(address) {
        spaces.frozen.find_object(layout, address)
    } else {
        None
    }
}

impl RootVisitor for Gather<'_> {
    fn slot(&mut self, slot: *mut ObjPtr) {
        // SAFETY: reported slots are valid (contract of `RootVisitor`).
        let address = unsafe { *slot } as usize;
        if self.layout.heap.contains(address) {
            if self.verify && find_object(self.layout, self.spaces, address) != Some(address) {
                crate::verify::bad_root(slot as usize, address);
            }
            self.slots.push(slot);
        }
    }

    fn byref(&mut self, slot: *mut *mut u8) {
        // SAFETY: as above.
        let address = unsafe { *slot } as usize;
        if let Some(base) = find_object(self.layout, self.spaces, address) {
            self.byrefs.push(ByRef {
                slot,
                base: base as ObjPtr,
                offset: address - base,
            });
        }
    }

    fn conservative(&mut self, word: usize) {
        if let Some(base) = find_object(self.layout, self.spaces, word) {
            self.pins.push(base);
        }
    }
}

/// What the finished tracing tells of objects with finalizers.
struct Traced<'a, T> {
    heap: &'a Heap,
    trace: &'a mut T,
}

impl<T: Trace> Fate for Traced<'_, T> {
    fn locate(&mut self, obj: usize) -> Option<usize> {
        self.trace.locate(obj)
    }

    fn stays_young(&self, obj: usize) -> bool {
        self.heap.layout.nursery.contains(obj)
    }

    fn finalize_eagerly(&mut self, obj: ObjPtr) {
        if let Some(provider) = self.heap.provider.get() {
            provider.finalize_eagerly(obj);
        }
    }
}

impl Collector {
    pub fn new() -> Self {
        Self::default()
    }

    /// Collects `generation`. The world is stopped.
    pub fn collect(&mut self, heap: &Heap, world: &World<'_>, generation: i32, reason: CollectionReason) {
        let started = Instant::now();
        self.laps.begin();
        let mut spaces = heap.spaces.lock();
        let spaces = &mut *spaces;
        let mut record = CollectionRecord {
            generation,
            stop_time: world.stop_time,
            bytes_before: heap.used_bytes(spaces),
            before: heap.sizes(spaces),
            ..CollectionRecord::default()
        };
        for thread in world.threads() {
            // SAFETY: the thread is stopped.
            retire_context(heap, unsafe { &*thread });
        }
        spaces.medium = (0, 0);
        if heap.config.verify {
            crate::verify::check_or_abort(heap, spaces, "before a collection");
        }
        self.gather(heap, world, spaces, heap.config.verify);
        record.pinned_objects = self.pins.len();
        self.laps.lap("roots");
        crate::no_gc_region::collection_begins(heap, spaces);
        let (plan, mut cycle) = Self::plan(heap, spaces, generation, reason);
        if matches!(plan, Plan::Finish | Plan::Full) {
            record.generation = 2;
        }
        heap.stats.begin(record.generation, reason == CollectionReason::Induced);
        if let (Plan::Full, Some(cycle)) = (plan, &mut cycle)
            && cycle.is_active()
        {
            Self::abandon_cycle(heap, spaces, cycle);
            heap.stats.cycle_abandoned();
        }
        let growth = spaces.old.allocated_since_full + spaces.large.promoted_since_full;
        let mut meanwhile = 0;
        let mut lists = heap.finalizers().lists();
        self.laps.lap("plan");
        record.promoted = self.minor(heap, spaces, &mut lists, cycle.is_some());
        if let Some(cycle) = &mut cycle {
            match plan {
                Plan::Minor => {}
                Plan::Assist => {
                    cycle.receive(&heap.marker.inbox);
                    cycle.assist(heap.layout, Self::assistance(heap, spaces), &heap.marker);
                }
                Plan::Start => self.start_cycle(heap, spaces, &mut lists, cycle, reason),
                Plan::Finish => {
                    record.concurrent = true;
                    meanwhile = growth.saturating_sub(spaces.growth_before);
                    heap.stats.cycle_finished(cycle.busy);
                    record.compacted = self.finish_cycle(heap, spaces, &mut lists, cycle);
                }
                Plan::Full => record.compacted = self.full(heap, spaces, &mut lists, reason),
            }
        }
        if record.generation == 2 {
            Self::set_budgets(heap, spaces, meanwhile);
        }
        Self::release_memory(heap, spaces, reason);
        if let Some(provider) = heap.provider.get() {
            provider.collected(world, reason == CollectionReason::Induced);
        }
        self.laps.lap("release");
        record.finalization_pending = lists.ready.len();
        drop(lists);
        if record.finalization_pending != 0 {
            heap.finalizers().signal();
        }
        if heap.config.verify {
            crate::verify::check_or_abort(heap, spaces, "after a collection");
        }
        record.bytes_after = heap.used_bytes(spaces);
        record.after = heap.sizes(spaces);
        record.fragmented = spaces.old.used_bytes().saturating_sub(spaces.old.object_bytes());
        record.pause = world.stop_time + started.elapsed();
        heap.stats.finish(&mut record);
        self.laps.end(plan, &record);
        if let Some(cycle) = &mut cycle
            && cycle.is_active()
        {
            heap.marker.wake(cycle);
        }
    }

    /// Sets how much the heap may grow until the next full collection. `meanwhile`: bytes that became old while a concurrent
    /// marking was under way.
    fn set_budgets(heap: &Heap, spaces: &mut Spaces, meanwhile: usize) {
        let found = spaces.old.live_after_full + spaces.large.used_bytes();
        // What died meanwhile counts as live. As much as came, if the heap does not grow.
        let live = found - meanwhile.min(found / 2);
        let nursery = spaces.nursery.budget_bytes();
        spaces.full_budget = (live / 4 * 3).max(FULL_BUDGET_MIN);
        spaces.large_budget = (live / 4).max(LARGE_BUDGET_MIN);
        if heap.config.hard_limit != 0 {
            spaces.large_budget = spaces.large_budget.min(heap.config.hard_limit / 4);
        }
        spaces.keep = nursery / 2 + live / 8;
    }

    /// Gives free memory back to the system. It takes time in proportion, so a pause that the program did not ask for gives back a
    /// part only, unless memory is limited.
    fn release_memory(heap: &Heap, spaces: &mut Spaces, reason: CollectionReason) {
        let at_once = reason == CollectionReason::Induced || heap.config.hard_limit != 0;
        let most = if at_once { usize::MAX } else { RELEASED_IN_PAUSE };
        spaces.old.decommit(heap.layout, spaces.keep, most);
        // Until the next collection that much is allocated again at most.
        let keep = spaces.large_budget;
        if spaces.large.free_dirty_bytes() > keep + LARGE_BUDGET_MIN / 2 {
            spaces.large.decommit(keep, most);
        }
    }

    /// Checks that all roots of the stopped world hold null or objects; ends the process otherwise.
    pub(crate) fn check_roots(&mut self, heap: &Heap, world: &World<'_>) {
        let mut spaces = heap.spaces.lock();
        for thread in world.threads() {
            // Objects in chunks are found by walking them: what is behind the cursor is no object.
            // SAFETY: the thread is stopped.
            retire_context(heap, unsafe { &*thread });
        }
        spaces.medium = (0, 0);
        self.gather(heap, world, &mut spaces, true);
    }

    fn gather(&mut self, heap: &Heap, world: &World<'_>, spaces: &mut Spaces, verify: bool) {
        self.slots.clear();
        self.byrefs.clear();
        self.pins.clear();
        let mut gather = Gather {
            layout: heap.layout,
            spaces,
            slots: &mut self.slots,
            byrefs: &mut self.byrefs,
            pins: &mut self.pins,
            verify,
        };
        for thread in world.threads() {
            // SAFETY: the thread is stopped.
            unsafe {
                gather.slot((*thread).pending_exception.as_ptr());
                crate::scope::for_each_root(&*thread, &mut |slot| gather.slot(slot));
            }
            if let Some(provider) = heap.provider.get() {
                provider.visit_thread(thread, &mut gather);
            }
        }
        if let Some(provider) = heap.provider.get() {
            provider.visit_globals(&mut gather);
        }
        heap.handles().for_each(HandleKind::Pinned, |slot| {
            // SAFETY: the slot is a live handle with an object.
            let address = unsafe { *slot } as usize;
            if heap.layout.heap.contains(address) {
                gather.pins.push(address);
            }
        });
    }

    /// Visits all strong roots with `trace`; the caller drains it. What is known to be old is left out, if not `full`.
    pub(crate) fn trace_roots(&mut self, heap: &Heap, lists: &mut Lists<'_>, trace: &mut impl Trace, full: bool) {
        for &slot in &self.slots {
            trace.visit(slot);
        }
        for byref in &mut self.byrefs {
            trace.visit(&raw mut byref.base);
        }
        heap.statics.for_each(|slot| trace.visit(slot));
        heap.handles().for_each(HandleKind::Strong, |slot| trace.visit(slot));
        for obj in lists.ready.roots(full) {
            trace.visit(std::ptr::from_mut(obj).cast());
        }
    }

    /// Keeps the secondaries of live primaries and the slots of live anchors alive, to a fixed point.
    fn trace_dependents(heap: &Heap, trace: &mut impl Trace) {
        loop {
            heap.handles().for_each_dependent(|primary, secondary| {
                // SAFETY: the slots are live handles; the primary is not null.
                unsafe {
                    if trace.locate(*primary as usize).is_some() {
                        trace.visit(secondary);
                    }
                }
            });
            heap.collectibles.visit(trace);
            if !trace.drain() {
                return;
            }
        }
    }

    fn clear_weak(heap: &Heap, kind: HandleKind, trace: &mut impl Trace) {
        heap.handles().for_each(kind, |slot| {
            // SAFETY: the slot is a live handle with an object.
            unsafe { *slot = trace.locate(*slot as usize).unwrap_or(0) as ObjPtr };
        });
    }

    /// Everything that depends on what is reachable.
    pub(crate) fn finish_tracing(&mut self, heap: &Heap, lists: &mut Lists<'_>, trace: &mut impl Trace, full: bool) {
        Self::trace_dependents(heap, trace);
        Self::clear_weak(heap, HandleKind::WeakShort, trace);
        if lists.scan(full, &mut Traced { heap, trace }) {
            for obj in lists.ready.fresh() {
                trace.visit(std::ptr::from_mut(obj).cast());
            }
            trace.drain();
            Self::trace_dependents(heap, trace);
        }
        Self::clear_weak(heap, HandleKind::WeakLong, trace);
        heap.handles().for_each_dependent(|primary, secondary| {
            // SAFETY: the slots are live handles; the primary is not null.
            unsafe {
                match trace.locate(*primary as usize) {
                    Some(now) => *primary = now as ObjPtr,
                    None => {
                        *primary = std::ptr::null_mut();
                        *secondary = std::ptr::null_mut();
                    }
                }
            }
        });
        heap.collectibles.clear(trace);
        crate::syncblock::SyncBlockTable::get().scan(|obj| trace.locate(obj));
        for byref in &self.byrefs {
            // SAFETY: reported slots are valid until the collection ends.
            unsafe { *byref.slot = byref.base.cast::<u8>().add(byref.offset) };
        }
    }

    /// Empties the nursery. Returns the bytes that survived. `still`: the marker is not in the middle of a step.
    fn minor(&mut self, heap: &Heap, spaces: &mut Spaces, lists: &mut Lists<'_>, still: bool) -> usize {
        let layout = heap.layout;
        // Cards first: they are taken from the table before anything marks new ones.
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.clear();
        spaces.old.for_each_used_range(layout, |low, high| {
            layout.take_dirty_cards(low, high, |card| dirty.push(card));
        });
        let (low, high) = spaces.frozen.extent(layout);
        layout.take_dirty_cards(low, high, |card| dirty.push(card));
        let mut large_dirty: Vec<(ObjPtr, usize)> = Vec::new();
        spaces.large.for_each_old(|obj, low, high| {
            // SAFETY: old large objects are initialised.
            if unsafe { (*(*obj).mt).contains_gc_pointers() } {
                layout.take_dirty_cards(low, high, |card| large_dirty.push((obj, card)));
            }
        });

        let Spaces {
            nursery,
            old,
            large,
            frozen,
            ..
        } = spaces;
        self.laps.lap("cards taken");
        let stamp = heap.stats.promotion_stamp();
        let shading = old.candidates.clone().map(Shading::new);
        let marking = shading.is_some();
        let mut handover = Handover::default();
        if marking {
            // Also what is not young is recorded then.
            dirty.iter().for_each(|&card| layout.note_changed(card));
            for &(obj, card) in &large_dirty {
                layout.note_changed(card);
                if handover.large.last() != Some(&(obj as usize)) {
                    handover.large.push(obj as usize);
                }
            }
        }
        let mut trace = MinorTrace::new(layout, old, large, std::mem::take(&mut self.stack), stamp, shading);
        for &pin in &self.pins {
            trace.pin(pin);
        }
        for (i, &card) in dirty.iter().enumerate() {
            if let Some(&soon) = dirty.get(i + 3) {
                // Changed cards are far from each other: the processor does not foresee them.
                (soon..soon + CARD_SIZE).step_by(64).for_each(prefetch);
            }
            let first = if layout.frozen.contains(card) {
                frozen.object_at_or_below(layout, card)
            } else {
                OldSpace::object_at_or_below(layout, card)
            };
            trace.scan_card(first, card);
        }
        for &(obj, card) in &large_dirty {
            trace.scan_part(obj, card, card + CARD_SIZE);
        }
        trace.visit_rest();
        self.laps.lap("cards");
        self.trace_roots(heap, lists, &mut trace, false);
        trace.drain();
        self.laps.lap("copy");
        self.finish_tracing(heap, lists, &mut trace, false);
        lists.ready.settle(|obj| layout.nursery.contains(obj));
        let promoted = trace.promoted;
        let has_pins = trace.has_pins;
        if let Some(shading) = trace.shading.take() {
            layout.marks.set_all_shared(&shading.copies);
            (handover.gray, handover.slots) = (shading.gray, shading.slots);
        }
        self.stack = trace.into_stack();
        self.dirty = dirty;
        nursery.finish_minor(layout, has_pins, crate::stress::poison());
        if still || heap.marker.grace.is_over(large.limbo_since) {
            large.free_limbo(layout);
        }
        let large_promoted = large.finish_minor(layout, stamp, !still);
        if !still {
            large.limbo_since = heap.marker.grace.begin();
        }
        if marking {
            heap.marker.old_top.store(old.top(layout), Ordering::Release);
            heap.marker.inbox.put(handover);
        }
        self.laps.lap("minor rest");
        promoted + large_promoted
    }

    /// Pinned objects, found by the last stack walk.
    pub(crate) fn pins(&self) -> &[usize] {
        &self.pins
    }

    /// The empty stack of the last trace, for the next one.
    pub(crate) fn take_stack(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.stack)
    }

    /// Keeps an empty stack.
    pub(crate) fn return_stack(&mut self, stack: Vec<usize>) {
        self.stack = stack;
    }
}
