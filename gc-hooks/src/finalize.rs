//! Finalization: which objects wait for their finalizer, and in which order they get it.
//!
//! Invariants: an object is in at most one of the lists per registration; objects in the ready lists are roots; critical
//! finalizers come after all ordinary ones that became ready in the same collection.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::object::{ObjPtr, method_table, sync_word};
use crate::syncword::FINALIZER_RUN;

/// Registered objects and those ready for finalization. Addresses are kept as numbers; the collector updates them.
#[derive(Default)]
pub(crate) struct Lists {
    pub young: Vec<usize>,
    pub old: Vec<usize>,
    pub ready: VecDeque<usize>,
    pub ready_critical: VecDeque<usize>,
}

/// The queue between the collector and the finalizer thread.
pub struct FinalizerQueue {
    pub(crate) lists: Mutex<Lists>,
    wake: Condvar,
    idle: Condvar,
    control: Mutex<Control>,
    finalized: AtomicU64,
}

#[derive(Default)]
struct Control {
    /// Finalizers may be ready.
    signalled: bool,
    /// The finalizer thread works.
    busy: bool,
    /// Number of times the finalizer thread found the queue empty.
    drained: u64,
}

impl FinalizerQueue {
    pub(crate) fn new() -> Self {
        Self {
            lists: Mutex::default(),
            wake: Condvar::new(),
            idle: Condvar::new(),
            control: Mutex::default(),
            finalized: AtomicU64::new(0),
        }
    }

    /// Registers a new object for finalization.
    ///
    /// # Safety
    /// `obj` is a live object; cooperative mode.
    pub unsafe fn register(&self, obj: ObjPtr) {
        self.lists.lock().young.push(obj as usize);
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
            // SAFETY: forwarded.
            unsafe { self.register(obj) };
        }
    }

    /// Takes the next object whose finalizer is to be run; ordinary ones first. Cooperative mode.
    pub fn next_finalizable(&self) -> Option<ObjPtr> {
        let mut lists = self.lists.lock();
        loop {
            let Lists {
                ready, ready_critical, ..
            } = &mut *lists;
            let obj = ready.pop_front().or_else(|| ready_critical.pop_front())? as ObjPtr;
            // SAFETY: objects in the ready lists are roots.
            let old = unsafe { sync_word(obj) }.fetch_and(!FINALIZER_RUN, crate::sync::Ordering::SeqCst);
            if old & FINALIZER_RUN == 0 {
                self.finalized.fetch_add(1, Ordering::Relaxed);
                return Some(obj);
            }
        }
    }

    /// Objects ready for finalization now.
    pub fn pending_count(&self) -> usize {
        let lists = self.lists.lock();
        lists.ready.len() + lists.ready_critical.len()
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

impl Lists {
    /// Decides about registered objects after marking: the dead whose finalizer is suppressed are dropped, other dead
    /// ones become ready, live ones stay. `locate` gives the object's present address if it is live. Returns whether
    /// any became ready. What `stays_young` (pinned in the nursery) is looked at again by the next minor collection, which may
    /// move it or find it dead.
    pub(crate) fn scan(
        &mut self,
        full: bool,
        stays_young: impl Fn(usize) -> bool,
        mut locate: impl FnMut(usize) -> Option<usize>,
    ) -> bool {
        let Lists {
            young,
            old,
            ready,
            ready_critical,
        } = self;
        let mut any = false;
        let mut sift = |obj: usize, keep: &mut dyn FnMut(usize)| match locate(obj) {
            Some(now) => keep(now),
            None => {
                let object = obj as ObjPtr;
                // SAFETY: the collector has not reclaimed or moved unmarked objects yet.
                unsafe {
                    let word = sync_word(object);
                    if word.load(crate::sync::Ordering::Relaxed) & FINALIZER_RUN != 0 {
                        word.fetch_and(!FINALIZER_RUN, crate::sync::Ordering::Relaxed);
                    } else if method_table(object).has_critical_finalizer() {
                        ready_critical.push_back(obj);
                        any = true;
                    } else {
                        ready.push_back(obj);
                        any = true;
                    }
                }
            }
        };
        if full {
            let mut write = 0;
            for read in 0..old.len() {
                let obj = old[read];
                let mut kept = None;
                sift(obj, &mut |now| kept = Some(now));
                if let Some(now) = kept {
                    old[write] = now;
                    write += 1;
                }
            }
            old.truncate(write);
        }
        for obj in std::mem::take(young) {
            sift(obj, &mut |now| {
                if stays_young(now) {
                    young.push(now)
                } else {
                    old.push(now)
                }
            });
        }
        any
    }
}
