//! Finalization: which objects wait for their finalizer, and in which order they get it.
//!
//! Threads note new objects in their own `ThreadHeader`; a collection gathers the notes. The finalizer thread takes
//! from lists of its own, so that it and the threads that allocate never wait for each other.
//!
//! Invariants: an object is in at most one of the lists per registration; objects in the ready lists are roots; critical
//! finalizers come after all ordinary ones that became ready in the same collection.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::object::{ObjPtr, method_table, sync_word};
use crate::safepoint::PreemptiveGuard;
use crate::syncword::FINALIZER_RUN;
use crate::thread::ThreadHeader;

/// Registered objects. Addresses are kept as numbers; the collector updates them.
#[derive(Default)]
pub(crate) struct Registered {
    young: Vec<usize>,
    old: Vec<usize>,
}

/// Objects whose finalizer is to be run, in order.
#[derive(Default)]
pub(crate) struct Queue {
    objects: VecDeque<usize>,
    /// The first so many are not young: minor collections pass by them.
    settled: usize,
    /// The present collection has seen the first so many.
    seen: usize,
}

impl Queue {
    fn pop(&mut self) -> Option<usize> {
        self.settled = self.settled.saturating_sub(1);
        self.objects.pop_front()
    }

    /// The slots that a collection (a minor one, if not `full`) begins with.
    fn roots(&mut self, full: bool) -> impl Iterator<Item = &mut usize> {
        self.seen = self.objects.len();
        self.objects.range_mut(if full { 0 } else { self.settled }..)
    }

    /// The slots of those that became ready since then.
    fn fresh(&mut self) -> impl Iterator<Item = &mut usize> {
        let from = std::mem::replace(&mut self.seen, self.objects.len());
        self.objects.range_mut(from..)
    }

    /// Notes after a minor collection what is not young any more.
    fn settle(&mut self, is_young: impl Fn(usize) -> bool) {
        let rest = self.objects.range(self.settled..);
        self.settled += rest.take_while(|&&obj| !is_young(obj)).count();
    }
}

/// Objects whose finalizer is to be run.
#[derive(Default)]
pub(crate) struct Ready {
    ordinary: Queue,
    critical: Queue,
}

impl Ready {
    pub fn len(&self) -> usize {
        self.ordinary.objects.len() + self.critical.objects.len()
    }

    /// The slots that a collection (a minor one, if not `full`) begins with.
    pub fn roots(&mut self, full: bool) -> impl Iterator<Item = &mut usize> {
        self.ordinary.roots(full).chain(self.critical.roots(full))
    }

    /// The slots of those that became ready since then.
    pub fn fresh(&mut self) -> impl Iterator<Item = &mut usize> {
        self.ordinary.fresh().chain(self.critical.fresh())
    }

    /// Notes after a minor collection what is not young any more.
    pub fn settle(&mut self, is_young: impl Fn(usize) -> bool) {
        self.ordinary.settle(&is_young);
        self.critical.settle(&is_young);
    }
}

/// All lists, for a collection.
pub(crate) struct Lists<'a> {
    registered: MutexGuard<'a, Registered>,
    pub ready: MutexGuard<'a, Ready>,
}

/// With more objects ready than this, threads that allocate let the finalizer thread catch up after a collection. Finalizing so many
/// takes some milliseconds, unless the finalizers do more than usual.
const BACKLOG: usize = 1 << 16;
/// The finalizer thread is taken to be stuck if it finalizes nothing for so long. (On a machine with much to do it may not run for
/// some time.)
const STUCK_AFTER: Duration = Duration::from_millis(100);
/// Longest time that a thread lets the finalizer thread catch up after one collection.
const CATCH_UP: Duration = Duration::from_millis(1000);
/// How often the thread looks.
const STEP: Duration = Duration::from_millis(5);

/// The queue between the collector and the finalizer thread.
pub struct FinalizerQueue {
    registered: Mutex<Registered>,
    ready: Mutex<Ready>,
    wake: Condvar,
    idle: Condvar,
    control: Mutex<Control>,
    finalized: AtomicU64,
    /// The count when the finalizer thread was taken to be stuck last.
    stuck_at: AtomicU64,
}

#[derive(Default)]
struct Control {
    /// Finalizers may be ready.
    signalled: bool,
    /// The finalizer thread works.
    busy: bool,
    /// Number of times the finalizer thread found the queue empty.
    drained: u64,
    /// The thread that runs finalizers, once it waited for work.
    finalizer: Option<ThreadId>,
}

impl FinalizerQueue {
    pub(crate) fn new() -> Self {
        Self {
            registered: Mutex::default(),
            ready: Mutex::default(),
            wake: Condvar::new(),
            idle: Condvar::new(),
            control: Mutex::default(),
            finalized: AtomicU64::new(0),
            stuck_at: AtomicU64::new(u64::MAX),
        }
    }

    /// Takes over what a thread has noted. World stopped or own thread.
    pub(crate) fn gather(&self, thread: &ThreadHeader) {
        let mut finalizable = thread.finalizable.borrow_mut();
        if !finalizable.is_empty() {
            self.registered.lock().young.append(&mut finalizable);
        }
    }

    /// The lists, for a collection.
    pub(crate) fn lists(&self) -> Lists<'_> {
        Lists {
            registered: self.registered.lock(),
            ready: self.ready.lock(),
        }
    }

    /// `GC.SuppressFinalize`: the finalizer does not run.
    ///
    /// # Safety
    /// `obj` is a live object whose type has a finalizer; cooperative mode.
    pub unsafe fn suppress(&self, obj: ObjPtr) {
        // SAFETY: forwarded.
        unsafe { sync_word(obj) }.fetch_or(FINALIZER_RUN, crate::sync::Ordering::SeqCst);
    }

    /// `GC.ReRegisterForFinalize`: the finalizer runs (once more).
    ///
    /// # Safety
    /// As for [`Self::suppress`].
    pub unsafe fn reregister(&self, obj: ObjPtr) {
        // SAFETY: forwarded.
        let old = unsafe { sync_word(obj) }.fetch_and(!FINALIZER_RUN, crate::sync::Ordering::SeqCst);
        if old & FINALIZER_RUN == 0 {
            self.registered.lock().young.push(obj as usize);
        }
    }

    /// Takes the next object whose finalizer is to be run; ordinary ones first. Cooperative mode.
    pub fn next_finalizable(&self) -> Option<ObjPtr> {
        let mut ready = self.ready.lock();
        loop {
            let obj = ready.ordinary.pop().or_else(|| ready.critical.pop())? as ObjPtr;
            // SAFETY: objects in the ready lists are roots.
            let word = unsafe { sync_word(obj) };
            // Only a suppressed one is written: the others' memory is touched by their finalizer first.
            let suppressed = word.load(crate::sync::Ordering::Relaxed) & FINALIZER_RUN != 0
                && word.fetch_and(!FINALIZER_RUN, crate::sync::Ordering::SeqCst) & FINALIZER_RUN != 0;
            if !suppressed {
                self.finalized.fetch_add(1, Ordering::Relaxed);
                return Some(obj);
            }
        }
    }

    /// Objects ready for finalization now.
    pub fn pending_count(&self) -> usize {
        self.ready.lock().len()
    }

    /// Objects handed out by [`Self::next_finalizable`] so far.
    pub fn finalized_count(&self) -> u64 {
        self.finalized.load(Ordering::Relaxed)
    }

    /// Called by the collector after it made objects ready, and by [`Self::wait_for_pending`].
    pub fn signal(&self) {
        self.control.lock().signalled = true;
        self.wake.notify_all();
    }

    /// Finalizer thread, in preemptive mode: waits until there may be work, at most `timeout`. Returns whether there
    /// may be.
    pub fn wait_for_work(&self, timeout: Option<Duration>) -> bool {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut control = self.control.lock();
        control.finalizer = Some(std::thread::current().id());
        while !control.signalled {
            match deadline {
                None => self.wake.wait(&mut control),
                Some(deadline) => {
                    if self.wake.wait_until(&mut control, deadline).timed_out() {
                        return control.signalled;
                    }
                }
            }
        }
        control.signalled = false;
        control.busy = true;
        true
    }

    /// Slows a thread that allocates down while too many objects are ready, because memory would grow without bound otherwise: the
    /// thread may well make objects faster than the finalizer thread gets rid of them. It waits no longer if no finalizer ends (one
    /// may wait for this very thread), and not again before one does. The thread is in cooperative mode, and comes back in it; raw
    /// references are stale then.
    pub(crate) fn let_catch_up(&self, thread: &ThreadHeader) {
        if self.pending_count() <= BACKLOG || self.control.lock().finalizer == Some(std::thread::current().id()) {
            return;
        }
        let mut finalized = self.finalized_count();
        if self.stuck_at.load(Ordering::Relaxed) == finalized {
            return;
        }
        let _preemptive = PreemptiveGuard::new(thread);
        let begin = Instant::now();
        let mut progress = begin;
        while begin.elapsed() < CATCH_UP && self.pending_count() > BACKLOG / 2 {
            self.idle.wait_for(&mut self.control.lock(), STEP);
            let before = std::mem::replace(&mut finalized, self.finalized_count());
            if finalized != before {
                progress = Instant::now();
            } else if progress.elapsed() > STUCK_AFTER {
                self.stuck_at.store(finalized, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Finalizer thread: the queue was found empty after the last [`Self::wait_for_work`].
    pub fn work_done(&self) {
        let mut control = self.control.lock();
        control.busy = false;
        control.drained += 1;
        self.idle.notify_all();
    }

    /// `GC.WaitForPendingFinalizers`, in preemptive mode: waits until the finalizer thread found its queue empty.
    /// Returns false if `timeout` passed before.
    pub fn wait_for_pending(&self, timeout: Option<Duration>) -> bool {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut control = self.control.lock();
        // A pass that runs now may have missed what is ready now, so wait for the one after it.
        let target = control.drained + if control.busy { 2 } else { 1 };
        control.signalled = true;
        self.wake.notify_all();
        while control.drained < target {
            if !control.busy && !control.signalled {
                control.signalled = true;
                self.wake.notify_all();
            }
            match deadline {
                None => self.idle.wait(&mut control),
                Some(deadline) => {
                    if self.idle.wait_until(&mut control, deadline).timed_out() {
                        return false;
                    }
                }
            }
        }
        true
    }
}

/// What a collection knows about registered objects.
pub(crate) trait Fate {
    /// The present address of an object if it is live.
    fn locate(&mut self, obj: usize) -> Option<usize>;
    /// Whether an object (pinned in the nursery) is looked at again by the next minor collection, which may move it or find it
    /// dead.
    fn stays_young(&self, obj: usize) -> bool;
    /// Does what the finalizer of a dead object with [`crate::object::mt_flags::HAS_EAGER_FINALIZER`] would do.
    fn finalize_eagerly(&mut self, obj: ObjPtr);
}

impl Lists<'_> {
    /// Decides about registered objects after marking: the dead whose finalizer is suppressed are dropped, other dead
    /// ones are finalized at once or become ready, live ones stay. Returns whether any became ready.
    pub(crate) fn scan(&mut self, full: bool, fate: &mut impl Fate) -> bool {
        let Registered { young, old } = &mut *self.registered;
        let ready = &mut *self.ready;
        let before = ready.len();
        let mut sift = |fate: &mut dyn Fate, obj: usize| {
            let now = fate.locate(obj);
            if now.is_none() {
                let object = obj as ObjPtr;
                // SAFETY: the collector has not reclaimed or moved unmarked objects yet.
                unsafe {
                    let word = sync_word(object);
                    let mt = method_table(object);
                    if word.load(crate::sync::Ordering::Relaxed) & FINALIZER_RUN != 0 {
                        word.fetch_and(!FINALIZER_RUN, crate::sync::Ordering::Relaxed);
                    } else if mt.has_eager_finalizer() {
                        fate.finalize_eagerly(object);
                    } else if mt.has_critical_finalizer() {
                        ready.critical.objects.push_back(obj);
                    } else {
                        ready.ordinary.objects.push_back(obj);
                    }
                }
            }
            now
        };
        if full {
            let mut write = 0;
            for read in 0..old.len() {
                if let Some(now) = sift(fate, old[read]) {
                    old[write] = now;
                    write += 1;
                }
            }
            old.truncate(write);
        }
        let mut kept = 0;
        for read in 0..young.len() {
            if let Some(now) = sift(fate, young[read]) {
                if fate.stays_young(now) {
                    young[kept] = now;
                    kept += 1;
                } else {
                    old.push(now);
                }
            }
        }
        young.truncate(kept);
        ready.len() != before
    }
}
