//! Concurrent marking: a thread of its own marks the old and the large objects while the program runs.
//!
//! A cycle starts at the end of a minor collection (all roots are marked), goes on beside the program and ends inside the pause
//! of another one, which the marker asks for when it is done: roots are visited again, what the program changed meanwhile is scanned again, the rest is
//! marked, and the heap is swept. The rules that make this sound:
//!
//! - From start to end, the write barrier marks the card of *every* reference that is stored into the heap
//!   ([`crate::barrier::widen`]), not only of young ones. Minor collections, which clean cards, copy them to a second table
//!   (`Layout::changed`). Marked objects on such cards are scanned again, at the latest in the last pause.
//! - The marker never looks at the nursery. What a minor collection moves to the old space counts as scanned: it marks what the
//!   copies refer to, and the marker scans that ([`crate::trace::Shading`]). What is allocated outside of the nursery is marked at
//!   birth, and scanned in the same way when it stops being young (large objects) or in the last pause (pinned ones).
//! - The marker is the only thread that reads objects without being stopped: it reads references as single words. A minor
//!   collection does not wait for it, because the system may have suspended it in the middle of a step: what it is to know goes
//!   to its inbox ([`crate::handover`]), and dead large objects, whose addresses it may hold, are freed once its step is over.
//! - Pauses that start or end a cycle hold the marker's lock, so it stands still between two steps. They can be put off.
//! - Blocks with few live bytes may be chosen for evacuation when a cycle starts. The marker writes down every slot that refers
//!   to them; the last pause copies their objects and corrects those slots. It may come before the marker is done: what of those
//!   blocks is still to be scanned is dropped then, because the copies are scanned.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::gcdesc::{for_each_ref, for_each_ref_in};
use crate::handover::{Grace, Inbox};
use crate::heap::{CollectionReason, Heap, Spaces};
use crate::object::{ObjPtr, mt_flags, size_with_mt};
use crate::old::OldSpace;
use crate::safepoint::ThreadRegistry;
use crate::space::{BLOCK_SIZE, CARD_SIZE, Layout};
use crate::trace::{WorkStack, is_candidate};

/// Objects that the marker scans before it looks whether the collector wants it to stand still.
const STEP: usize = 128;
/// Bytes of a big array that are scanned at once.
const SLICE: usize = 16 << 10;
/// Bytes of heap whose changed cards are scanned at once.
const CLEAN_STEP: usize = 64 << 10;
/// How often the changed cards of the whole heap are scanned beside the program.
const CLEANINGS: u32 = 2;
/// How long a pause that can be put off waits for the marker to stand still.
const PATIENCE: Duration = Duration::from_micros(200);
/// How often a marker that stands still looks whether it still has to.
const HALT: Duration = Duration::from_millis(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No cycle.
    Idle,
    /// The marker has work.
    Marking,
    /// Everything that the marker can find is marked; the next pause ends the cycle.
    Done,
}

/// What is left of a big array.
#[derive(Debug, Clone, Copy)]
struct Rest {
    obj: usize,
    at: usize,
    end: usize,
}

/// What a minor collection has for the marker.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    /// Marked objects that are to be scanned.
    pub gray: Vec<usize>,
    /// Slots of its copies that refer to blocks that are evacuated.
    pub slots: Vec<usize>,
    /// Large objects with changed cards.
    pub large: Vec<usize>,
}

/// The state of a cycle.
#[derive(Debug)]
pub(crate) struct Cycle {
    pub phase: Phase,
    pub work: WorkStack,
    rest: Option<Rest>,
    /// By old block: bytes of marked objects.
    pub live: Vec<u32>,
    /// By old block: to be evacuated at the end?
    pub candidates: Arc<[bool]>,
    /// Slots that refer to such blocks.
    pub slots: Vec<usize>,
    cleanings: u32,
    /// Where the present cleaning of old blocks has come to; `None`: none has begun.
    clean_at: Option<usize>,
    /// Large objects with changed cards (some more than once).
    large: Vec<usize>,
    /// Of the one that is being cleaned: where it is, where the cleaning has come to, and its end.
    large_rest: Option<Rest>,
    /// The marker hesitates now and then where it matters, for tests.
    hesitates: Option<u32>,
    thread: bool,
    pub started: Option<Instant>,
    /// Time of the marker in this cycle.
    pub busy: Duration,
}

/// The marker: its state and what wakes it.
pub(crate) struct Marker {
    cycle: Mutex<Cycle>,
    wake: Condvar,
    /// The marker is to stand still until the collector has held it.
    halt: AtomicBool,
    /// Bytes of objects that were scanned in this cycle.
    pub marked: AtomicUsize,
    /// From minor collections.
    pub inbox: Inbox<Handover>,
    /// Whether the marker may still hold an address.
    pub grace: Grace,
    /// End of the old blocks that may have changed cards.
    pub old_top: AtomicUsize,
}

impl Marker {
    pub fn new() -> Self {
        Self {
            cycle: Mutex::new(Cycle {
                phase: Phase::Idle,
                work: WorkStack::new(Vec::new()),
                rest: None,
                live: Vec::new(),
                candidates: Arc::new([]),
                slots: Vec::new(),
                cleanings: 0,
                clean_at: None,
                large: Vec::new(),
                large_rest: None,
                hesitates: None,
                thread: false,
                started: None,
                busy: Duration::ZERO,
            }),
            wake: Condvar::new(),
            halt: AtomicBool::new(false),
            marked: AtomicUsize::new(0),
            inbox: Inbox::new(),
            grace: Grace::new(),
            old_top: AtomicUsize::new(0),
        }
    }

    /// Waits until the marker stands still and keeps it there.
    pub fn hold(&self) -> MutexGuard<'_, Cycle> {
        self.cycle.lock()
    }

    /// As [`Self::hold`], if the marker stands still already.
    pub fn try_hold(&self) -> Option<MutexGuard<'_, Cycle>> {
        let cycle = self.cycle.try_lock()?;
        self.halt.store(false, Ordering::Relaxed);
        Some(cycle)
    }

    /// As [`Self::hold`], if the marker stands still soon. Otherwise it goes on, or stands still when the next pause comes
    /// (`insist`).
    pub fn hold_soon(&self, insist: bool) -> Option<MutexGuard<'_, Cycle>> {
        self.halt.store(true, Ordering::Relaxed);
        let until = Instant::now() + PATIENCE;
        // Whoever sleeps on a busy machine is woken late.
        while Instant::now() < until {
            if let Some(cycle) = self.try_hold() {
                return Some(cycle);
            }
            std::hint::spin_loop();
        }
        self.halt.store(insist, Ordering::Relaxed);
        None
    }

    /// Ends the cycle, unless another pause has done so.
    fn finish(heap: &Heap) {
        ThreadRegistry::get().stop_the_world(None, |world| {
            let is_done = |cycle: MutexGuard<'_, Cycle>| cycle.phase == Phase::Done;
            if heap.marker.try_hold().is_some_and(is_done) {
                heap.collector.lock().collect(heap, world, 0, CollectionReason::Marked);
            }
        });
    }

    /// Lets a marker that has work begin. Its thread is started by the first call.
    pub fn wake(&self, cycle: &mut Cycle) {
        if !cycle.thread {
            let body = || {
                if let Some(heap) = Heap::try_get() {
                    heap.marker.run(heap);
                }
            };
            // Without a thread the cycle ends when the heap has grown too much: the last pause marks everything.
            cycle.thread = std::thread::Builder::new()
                .name("GC marker".to_owned())
                .spawn(body)
                .is_ok();
        }
        self.wake.notify_one();
    }

    fn run(&self, heap: &Heap) {
        let mut cycle = self.cycle.lock();
        loop {
            while cycle.phase != Phase::Marking {
                self.wake.wait(&mut cycle);
            }
            if self.halt.load(Ordering::Relaxed) {
                // It may be called off without notice.
                self.wake.wait_for(&mut cycle, HALT);
                continue;
            }
            let started = Instant::now();
            cycle.step(heap.layout, self);
            cycle.busy += started.elapsed();
            self.grace.step_ends();
            if cycle.phase == Phase::Done {
                // The sooner the cycle ends, the less has changed since.
                MutexGuard::unlocked(&mut cycle, || Self::finish(heap));
            }
            // The collector goes first.
            MutexGuard::bump(&mut cycle);
        }
    }
}

impl Cycle {
    /// Whether a cycle is under way.
    pub fn is_active(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// Starts a cycle with the marked objects on `stack`. `tested`: the marker hesitates now and then.
    pub fn start(&mut self, stack: Vec<usize>, candidates: Arc<[bool]>, tested: bool) {
        self.phase = Phase::Marking;
        self.work = WorkStack::new(stack);
        self.candidates = candidates;
        self.live.clear();
        self.cleanings = 0;
        self.clean_at = None;
        self.hesitates = tested.then_some(1);
        self.started = Some(Instant::now());
        self.busy = Duration::ZERO;
    }

    /// Ends the cycle, by completion or because it is given up.
    pub fn reset(&mut self) {
        self.phase = Phase::Idle;
        self.work = WorkStack::new(Vec::new());
        self.rest = None;
        self.large = Vec::new();
        self.large_rest = None;
        self.candidates = Arc::new([]);
        self.slots = Vec::new();
        self.started = None;
    }

    /// Takes the marked objects that are still to be scanned. Of a big array that is half done, all of it is.
    pub fn take_work(&mut self) -> Vec<usize> {
        let mut stack = std::mem::replace(&mut self.work, WorkStack::new(Vec::new())).into_vec();
        stack.extend(self.rest.take().map(|rest| rest.obj));
        stack
    }

    /// Takes what minor collections have put into the inbox.
    pub fn receive(&mut self, inbox: &Inbox<Handover>) {
        for handover in inbox.take() {
            handover.gray.into_iter().for_each(|obj| self.work.push(obj));
            self.slots.extend(handover.slots);
            self.large.extend(handover.large);
        }
    }

    /// Marks for some time while the world is stopped.
    pub fn assist(&mut self, layout: &Layout, time: Duration, marker: &Marker) {
        let started = Instant::now();
        let mut bytes = 0;
        'all: while started.elapsed() < time {
            for _ in 0..STEP {
                if let Some(rest) = self.rest.take() {
                    self.slice(layout, rest);
                } else if let Some(obj) = self.work.pop() {
                    bytes += self.scan(layout, obj);
                } else {
                    break 'all;
                }
            }
        }
        marker.marked.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Does a little.
    fn step(&mut self, layout: &Layout, marker: &Marker) {
        if let Some(rest) = self.rest.take() {
            self.slice(layout, rest);
            return;
        }
        self.receive(&marker.inbox);
        let mut bytes = 0;
        for _ in 0..STEP {
            let Some(obj) = self.work.pop() else {
                if bytes == 0 {
                    self.clean(layout, marker);
                }
                break;
            };
            bytes += self.scan(layout, obj);
            if self.rest.is_some() || bytes > 2 * SLICE {
                break;
            }
        }
        marker.marked.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Scans a marked object; returns its size.
    fn scan(&mut self, layout: &Layout, obj: usize) -> usize {
        let object = obj as ObjPtr;
        // SAFETY: marked objects are whole; neither their type nor their size changes, and nothing outside of the nursery moves
        // while the marker runs. Nursery objects are never on its stack.
        unsafe {
            let mt = (*object).mt;
            let size = size_with_mt(object, mt);
            if layout.old.contains(obj) {
                let block = (obj - layout.old.start) / BLOCK_SIZE;
                if block >= self.live.len() {
                    self.live.resize(block + 256, 0);
                }
                self.live[block] += size as u32;
            } else if size > 2 * SLICE && (*mt).contains_gc_pointers() {
                if (*mt).flags & mt_flags::COLLECTIBLE != 0
                    && let Some(anchor) = crate::collectible::edge(mt)
                {
                    self.visit(layout, anchor);
                }
                self.rest = Some(Rest {
                    obj,
                    at: obj,
                    end: obj + size,
                });
                return size;
            }
            for_each_ref(object, mt, size, |field| self.visit(layout, field));
            size
        }
    }

    fn slice(&mut self, layout: &Layout, rest: Rest) {
        let object = rest.obj as ObjPtr;
        let end = (rest.at + SLICE).min(rest.end);
        // SAFETY: as in `scan`.
        unsafe {
            let mt = (*object).mt;
            let size = size_with_mt(object, mt);
            for_each_ref_in(object, mt, size, rest.at, end, |field| self.visit(layout, field));
        }
        if end < rest.end {
            self.rest = Some(Rest { at: end, ..rest });
        }
    }

    /// Marks the target of a field of a marked object.
    #[inline(always)]
    fn visit(&mut self, layout: &Layout, field: *mut ObjPtr) {
        // SAFETY: fields are aligned words that live as long as their object; the program may be writing it.
        let address = unsafe { AtomicUsize::from_ptr(field.cast()) }.load(Ordering::Acquire);
        if address < layout.large.start || address >= layout.old.end {
            return;
        }
        if self.hesitates.is_some() {
            self.hesitate();
        }
        if is_candidate(layout, &self.candidates, address) {
            self.slots.push(field as usize);
        }
        if layout.marks.insert_shared(address) {
            self.work.push(address);
        }
    }

    /// Gives the program and the collector time between the look at a field and what follows from it.
    #[cold]
    fn hesitate(&mut self) {
        let Some(count) = &mut self.hesitates else {
            return;
        };
        *count = count.wrapping_mul(0x9E37_79B9).wrapping_add(0x7F4A_7C15);
        if *count >> 20 == 0 {
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Scans marked objects again that were changed, of a part of the heap: large objects first, then old blocks. The
    /// marker is done when that was done often enough.
    fn clean(&mut self, layout: &Layout, marker: &Marker) {
        if self.cleanings == CLEANINGS {
            if marker.inbox.is_empty() {
                self.phase = Phase::Done;
            }
            return;
        }
        let top = marker.old_top.load(Ordering::Acquire);
        let mut cards = Vec::new();
        if self.clean_at.is_none() {
            if self.large_rest.is_none() {
                self.large_rest = self.large.pop().map(|obj| {
                    // SAFETY: old large objects are whole, and are not freed while marking is under way.
                    let end = unsafe { crate::object::size_of_object(obj as ObjPtr) } + obj;
                    Rest { obj, at: obj - 8, end }
                });
            }
            if let Some(rest) = self.large_rest.take() {
                let end = (rest.at + CLEAN_STEP).min(rest.end);
                layout.take_changed_cards(rest.at, end, |card| cards.push(card));
                for card in cards {
                    rescan_object(layout, rest.obj, card, |field| self.visit(layout, field));
                }
                if end < rest.end {
                    self.large_rest = Some(Rest { at: end, ..rest });
                }
                return;
            }
        }
        let low = self.clean_at.unwrap_or(layout.old.start);
        let high = (low + CLEAN_STEP).min(top.max(low));
        layout.take_changed_cards(low, high, |card| cards.push(card));
        for card in cards {
            rescan_block(layout, card, |field| self.visit(layout, field));
        }
        self.clean_at = if high >= top {
            self.cleanings += 1;
            None
        } else {
            Some(high)
        };
    }
}

/// Calls `visit` with the reference fields on a card that belong to marked objects, blocks that are evacuated left out: their
/// objects are scanned when they are copied. The world is stopped.
pub(crate) fn rescan(layout: &Layout, spaces: &Spaces, card: usize, visit: impl FnMut(*mut ObjPtr)) {
    if layout.large.contains(card) {
        if let Some(obj) = spaces.large.object_of_page(card) {
            rescan_object(layout, obj, card, visit);
        }
    } else if !spaces.old.is_evacuating(layout, card) {
        rescan_block(layout, card, visit);
    }
}

/// Calls `visit` with the reference fields of an object on a card, if it is marked.
fn rescan_object(layout: &Layout, obj: usize, card: usize, visit: impl FnMut(*mut ObjPtr)) {
    if layout.marks.test(obj) {
        let object = obj as ObjPtr;
        // SAFETY: marked objects outside of the nursery are whole and not forwarded.
        unsafe {
            let mt = (*object).mt;
            let size = size_with_mt(object, mt);
            for_each_ref_in(object, mt, size, card, card + CARD_SIZE, visit);
        }
    }
}

/// Calls `visit` with the reference fields of marked objects on a card of an old block. The program may be running: what is not
/// marked yet may not be whole.
fn rescan_block(layout: &Layout, card: usize, mut visit: impl FnMut(*mut ObjPtr)) {
    if let Some(first) = OldSpace::object_at_or_below(layout, card)
        && first < card
    {
        rescan_object(layout, first, card, &mut visit);
    }
    layout.starts.for_each(card, card + CARD_SIZE, |obj| {
        rescan_object(layout, obj, card, &mut visit)
    });
}
