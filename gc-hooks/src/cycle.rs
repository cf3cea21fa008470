//! Full collections: at once, or as the end of a concurrent marking ([`crate::concurrent`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::MutexGuard;

use crate::collect::Collector;
use crate::concurrent::{Cycle, Phase, rescan};
use crate::finalize::Lists;
use crate::heap::{CollectionReason, Heap, Spaces};
use crate::object::ObjPtr;
use crate::trace::{Delay, FullTrace};

/// Marking is not worth a thread when less than this many bytes are in use: it is over in two or three milliseconds.
const CONCURRENT_FROM: usize = 16 << 20;
/// Most live bytes of blocks that the last pause of a concurrent marking evacuates.
const COPIED_IN_LAST_PAUSE: usize = 4 << 20;

/// Objects that a full collection marks before other threads are asked to help: starting them takes about as long.
const ALONE: usize = 50_000;
/// The same for the last pause of a concurrent marking. More would be left to mark only if much was changed, and on a busy machine the
/// others come late and are waited for.
const ALONE_AT_THE_END: usize = 300_000;

/// How long a pause helps a marker that falls behind, at least and at most.
const ASSIST: [Duration; 2] = [Duration::from_millis(4), Duration::from_millis(20)];

/// What a pause does about old objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing.
    Minor,
    /// Starts a concurrent marking.
    Start,
    /// Marks a little: the marker falls behind the program.
    Assist,
    /// Ends the concurrent marking that is under way.
    Finish,
    /// Marks and sweeps at once; a marking that is under way is given up.
    Full,
}

impl Collector {
    /// Decides what a pause for `generation` does, and makes the marker stand still for what needs that. If it does not do so in
    /// time, only young objects are collected, unless the pause is for more than that.
    pub(crate) fn plan<'a>(
        heap: &'a Heap,
        spaces: &Spaces,
        generation: i32,
        reason: CollectionReason,
    ) -> (Plan, Option<MutexGuard<'a, Cycle>>) {
        let cycle = heap.marker.try_hold();
        let phase = match &cycle {
            Some(cycle) => cycle.phase,
            None if spaces.old.candidates.is_some() => Phase::Marking,
            None => Phase::Idle,
        };
        let plan = Self::wish(heap, spaces, phase, generation, reason);
        if plan == Plan::Minor || cycle.is_some() {
            return (plan, cycle);
        }
        if plan == Plan::Full || matches!(reason, CollectionReason::Concurrent | CollectionReason::Stress) {
            return (plan, Some(heap.marker.hold()));
        }
        // It must end some time.
        match heap.marker.hold_soon(plan == Plan::Finish) {
            Some(cycle) => (plan, Some(cycle)),
            None => (Plan::Minor, None),
        }
    }

    fn wish(heap: &Heap, spaces: &Spaces, phase: Phase, generation: i32, reason: CollectionReason) -> Plan {
        if generation >= 2 {
            return Plan::Full;
        }
        let wanted = reason == CollectionReason::Concurrent || reason == CollectionReason::Stress && generation == 1;
        if phase != Phase::Idle {
            let growth = spaces.old.allocated_since_full + spaces.large.promoted_since_full;
            let too_long = growth > spaces.full_budget.saturating_mul(2) || Self::near_limit(heap, spaces, growth);
            return if phase == Phase::Done || too_long {
                Plan::Finish
            } else if Self::lag(heap, spaces) > 1.0 {
                Plan::Assist
            } else {
                Plan::Minor
            };
        }
        if wanted && heap.config.concurrent {
            return Plan::Start;
        }
        if reason != CollectionReason::Allocation {
            return Plan::Minor;
        }
        let growth = spaces.old.allocated_since_full + spaces.large.promoted_since_full;
        let concurrent = heap.config.concurrent && heap.used_bytes(spaces) >= CONCURRENT_FROM;
        if Self::near_limit(heap, spaces, growth) {
            Plan::Full
        } else if concurrent && growth > spaces.full_budget / 4 * 3 {
            // Early, because the program goes on allocating until the end.
            Plan::Start
        } else if growth > spaces.full_budget {
            Plan::Full
        } else {
            Plan::Minor
        }
    }

    /// How far the marker is behind the program: above 1, too much comes into the heap until it is done. What dies meanwhile, and
    /// that may be as much as what comes, is only found by the next cycle.
    fn lag(heap: &Heap, spaces: &Spaces) -> f64 {
        let growth = spaces.old.allocated_since_full + spaces.large.promoted_since_full;
        let came = growth - spaces.growth_before.min(growth);
        let marked = heap.marker.marked.load(Ordering::Relaxed) as f64;
        let bearable = (spaces.full_budget / 3).max(2 * spaces.nursery.budget_bytes()) as f64;
        came as f64 / bearable * spaces.to_mark as f64 / marked.max(1.0)
    }

    /// How long this pause helps the marker.
    pub(crate) fn assistance(heap: &Heap, spaces: &Spaces) -> Duration {
        let [least, most] = ASSIST;
        least.mul_f64(Self::lag(heap, spaces).clamp(1.0, 100.0)).min(most)
    }

    fn near_limit(heap: &Heap, spaces: &Spaces, growth: usize) -> bool {
        let limit = heap.config.hard_limit;
        limit != 0 && heap.used_bytes(spaces) + spaces.nursery.budget_bytes() > limit && growth > limit / 16
    }

    /// Starts a concurrent marking, at the end of a minor collection.
    pub(crate) fn start_cycle(
        &mut self,
        heap: &Heap,
        spaces: &mut Spaces,
        lists: &mut Lists<'_>,
        cycle: &mut Cycle,
        reason: CollectionReason,
    ) {
        let layout = heap.layout;
        let Spaces { old, large, frozen, .. } = spaces;
        let stress = reason == CollectionReason::Stress || heap.config.verify;
        let candidates = old.choose_candidates(if stress { usize::MAX } else { COPIED_IN_LAST_PAUSE }, stress);
        let candidates: Arc<[bool]> = candidates.into();
        layout.take_changed_cards(layout.large.start, large.top(), |_| {});
        layout.take_changed_cards(layout.old.start, old.top(layout), |_| {});
        let mut trace = FullTrace::new(layout, old, false, Vec::new());
        frozen.for_each_object(layout, |obj| trace.scan(obj));
        self.trace_roots(heap, lists, &mut trace, true);
        // What pinned nursery objects refer to is found in the last pause, with them.
        let stack = trace.into_stack();
        let (young, stack): (Vec<usize>, Vec<usize>) = stack.into_iter().partition(|&obj| layout.nursery.contains(obj));
        young.iter().for_each(|&obj| layout.marks.clear(obj));
        old.begin_marking(candidates.clone());
        large.marking = true;
        crate::barrier::widen(layout, true);
        spaces.growth_before = old.allocated_since_full + large.promoted_since_full;
        spaces.to_mark = old.object_bytes() + large.used_bytes();
        heap.marker.marked.store(0, Ordering::Relaxed);
        cycle.start(stack, candidates, heap.config.verify);
        self.laps.lap("start");
    }

    /// Gives a concurrent marking up.
    pub(crate) fn abandon_cycle(heap: &Heap, spaces: &mut Spaces, cycle: &mut Cycle) {
        spaces.old.clear_marks(heap.layout);
        spaces.large.clear_marks(heap.layout);
        Self::end_cycle(heap, spaces, cycle);
    }

    fn end_cycle(heap: &Heap, spaces: &mut Spaces, cycle: &mut Cycle) {
        spaces.old.end_marking();
        spaces.large.marking = false;
        crate::barrier::widen(heap.layout, false);
        heap.marker.inbox.take();
        cycle.reset();
    }

    /// The last part of a concurrent marking, on top of a minor collection. Returns whether blocks were evacuated.
    pub(crate) fn finish_cycle(
        &mut self,
        heap: &Heap,
        spaces: &mut Spaces,
        lists: &mut Lists<'_>,
        cycle: &mut Cycle,
    ) -> bool {
        let layout = heap.layout;
        let bytes = heap.used_bytes(spaces);
        let mut candidates = cycle.candidates.to_vec();
        for &pin in self.pins().iter().filter(|&&pin| layout.old.contains(pin)) {
            if let Some(candidate) = candidates.get_mut((pin - layout.old.start) / crate::space::BLOCK_SIZE) {
                *candidate = false;
            }
        }
        cycle.receive(&heap.marker.inbox);
        let mut work = cycle.take_work();
        work.append(&mut spaces.old.fresh);
        let evacuates = spaces.old.begin_last_part(&cycle.live, &candidates);
        if evacuates {
            // A cycle that ends before the marker is done. What is in these blocks is copied when a slot refers to it, and the copy
            // is scanned; by the time these were, they would hold forwarding addresses.
            work.retain(|&obj| !layout.old.contains(obj) || !spaces.old.is_evacuating(layout, obj));
        }
        self.laps.lap("begin");
        // Changed fields: what the minor collections have noted, this one included, and what they left dirty.
        let mut changed = Vec::new();
        let mut fields = Vec::new();
        let mut delay = Delay::default();
        let large_top = spaces.large.top();
        let old_top = spaces.old.top(layout);
        for (low, high) in [(layout.large.start, large_top), (layout.old.start, old_top)] {
            layout.take_changed_cards(low, high, |card| changed.push(card));
            layout.for_each_dirty_card(low, high, |card| changed.push(card));
        }
        self.laps.lap("changed taken");
        let old = &spaces.old;
        let is_missing = |field: usize| {
            // SAFETY: a field of a live object with a reference to the heap; the world is stopped.
            let address = unsafe { *(field as *const usize) };
            !layout.marks.test(address)
                || evacuates && layout.old.contains(address) && old.is_evacuating(layout, address)
        };
        for card in changed {
            rescan(layout, spaces, card, |field| {
                // SAFETY: a field of a live object; the world is stopped.
                let address = unsafe { *field } as usize;
                if layout.heap.contains(address) && address < layout.frozen.start {
                    layout.marks.prefetch(address);
                    let other = delay.exchange(field as usize);
                    if other != 0 && is_missing(other) {
                        fields.push(other as *mut ObjPtr);
                    }
                }
            });
        }
        fields.extend(
            delay
                .rest()
                .filter(|&field| is_missing(field))
                .map(|field| field as *mut ObjPtr),
        );
        self.laps.lap("changed");
        let mut trace = FullTrace::new(layout, &mut spaces.old, evacuates, work);
        for &pin in self.pins() {
            trace.keep(pin);
        }
        trace.correct(&std::mem::take(&mut cycle.slots));
        self.laps.lap("slots");
        for field in fields {
            trace.visit_field(field);
        }
        spaces.frozen.for_each_object(layout, |obj| trace.scan(obj));
        self.trace_roots(heap, lists, &mut trace, true);
        self.laps.lap("mark roots");
        trace.drain_parallel(bytes, ALONE_AT_THE_END);
        self.laps.lap("mark");
        self.finish_tracing(heap, lists, &mut trace, true);
        drop(trace);
        self.laps.lap("mark rest");
        Self::sweep(heap, spaces);
        self.laps.lap("sweep");
        Self::end_cycle(heap, spaces, cycle);
        evacuates
    }

    /// Marks and sweeps everything, on top of a minor collection. Returns whether blocks were evacuated.
    pub(crate) fn full(
        &mut self,
        heap: &Heap,
        spaces: &mut Spaces,
        lists: &mut Lists<'_>,
        reason: CollectionReason,
    ) -> bool {
        let bytes = heap.used_bytes(spaces);
        let layout = heap.layout;
        let Spaces { old, frozen, .. } = spaces;
        // The minor collection has drained the pending roots; slots now hold the new addresses.
        let evacuates = old.prepare_full(reason == CollectionReason::Stress);
        for &pin in self.pins() {
            if layout.old.contains(pin) {
                old.pin_block(layout, pin);
            }
        }
        let mut trace = FullTrace::new(layout, old, evacuates, self.take_stack());
        for &pin in self.pins() {
            trace.keep(pin);
        }
        frozen.for_each_object(layout, |obj| trace.scan(obj));
        self.trace_roots(heap, lists, &mut trace, true);
        // Where the heap is verified, the parallel code is on trial, too: now and then, because starting threads takes time.
        let trial = heap.config.verify && heap.stats.collections().is_multiple_of(8);
        trace.drain_parallel(bytes, if trial { 0 } else { ALONE });
        self.finish_tracing(heap, lists, &mut trace, true);
        let stack = trace.into_stack();
        self.return_stack(stack);
        self.laps.lap("mark");
        Self::sweep(heap, spaces);
        self.laps.lap("sweep");
        evacuates
    }

    fn sweep(heap: &Heap, spaces: &mut Spaces) {
        let layout = heap.layout;
        spaces.old.finish_full(layout, crate::stress::poison());
        spaces.large.finish_full(layout);
        spaces.nursery.finish_full(layout);
    }
}
