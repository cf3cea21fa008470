//! The full monitor that a contended or waited-on lock inflates to.
//!
//! Blocking happens in preemptive mode. Invariant: the inner mutex is held for a few instructions only and never across
//! a mode transition, so a thread in cooperative mode may take it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::safepoint::PreemptiveGuard;
use crate::thread::ThreadHeader;

/// Why a monitor operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MonitorError {
    /// The caller does not own the lock (`SynchronizationLockException`).
    #[error("the calling thread does not own the lock")]
    NotOwner,
    /// `Thread.Interrupt` ended the wait (`ThreadInterruptedException`).
    #[error("the thread was interrupted while it waited")]
    Interrupted,
}

struct Waiter {
    thread: u32,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    owner: u32,
    recursion: u32,
    /// Threads blocked in `enter`.
    entering: u32,
    waiters: VecDeque<Arc<Waiter>>,
}

/// A recursive lock with a condition queue.
#[derive(Default)]
pub struct Monitor {
    state: Mutex<State>,
    entry: Condvar,
}

static CONTENTIONS: AtomicU64 = AtomicU64::new(0);

/// `Monitor.LockContentionCount`: how often a thread had to block to enter.
pub fn contention_count() -> u64 {
    CONTENTIONS.load(Ordering::Relaxed)
}

impl Monitor {
    /// Sets the state taken over from a thin lock. Before the monitor is published.
    pub(crate) fn adopt(&self, owner: u32, recursion: u32) {
        let mut state = self.state.lock();
        state.owner = owner;
        state.recursion = recursion;
    }

    /// Lock number of the owner, 0 if free.
    pub fn owner(&self) -> u32 {
        self.state.lock().owner
    }

    /// Whether nobody uses the monitor in any way.
    pub fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.owner == 0 && state.entering == 0 && state.waiters.is_empty()
    }

    fn try_take(state: &mut State, thread: u32) -> bool {
        if state.owner == 0 {
            state.owner = thread;
            state.recursion = 0;
            true
        } else if state.owner == thread {
            state.recursion += 1;
            true
        } else {
            false
        }
    }

    /// Enters; blocks at most `timeout` (`None` = forever). Returns whether the lock was taken.
    ///
    /// # Errors
    /// The thread was interrupted while it blocked.
    pub fn enter(&self, thread: &ThreadHeader, timeout: Option<Duration>) -> Result<bool, MonitorError> {
        let id = thread.lock_id();
        for spins in 0..40 {
            if Self::try_take(&mut self.state.lock(), id) {
                return Ok(true);
            }
            if timeout == Some(Duration::ZERO) {
                return Ok(false);
            }
            for _ in 0..spins {
                std::hint::spin_loop();
            }
        }
        CONTENTIONS.fetch_add(1, Ordering::Relaxed);
        self.block(thread, timeout, Self::block_to_enter)
    }

    /// Has `thread` blocked by `body`, which gets the time when to give up.
    fn block(
        &self,
        thread: &ThreadHeader,
        timeout: Option<Duration>,
        body: fn(&Self, &ThreadHeader, Option<Instant>) -> Result<bool, MonitorError>,
    ) -> Result<bool, MonitorError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        thread.set_blocked_on(Some(self));
        let outcome = {
            let guard = PreemptiveGuard::new(thread);
            let outcome = body(self, &guard, deadline);
            // The inner lock is free again; leaving preemptive mode may block.
            drop(guard);
            outcome
        };
        thread.set_blocked_on(None);
        if outcome == Err(MonitorError::Interrupted) {
            thread.clear_interrupt();
        }
        outcome
    }

    fn block_to_enter(&self, thread: &ThreadHeader, deadline: Option<Instant>) -> Result<bool, MonitorError> {
        let id = thread.lock_id();
        let mut state = self.state.lock();
        state.entering += 1;
        let outcome = loop {
            if Self::try_take(&mut state, id) {
                break Ok(true);
            }
            if thread.interrupt_requested() {
                break Err(MonitorError::Interrupted);
            }
            match deadline {
                None => self.entry.wait(&mut state),
                Some(deadline) => {
                    if self.entry.wait_until(&mut state, deadline).timed_out() {
                        break Ok(Self::try_take(&mut state, id));
                    }
                }
            }
        };
        state.entering -= 1;
        outcome
    }

    fn release(&self, state: &mut MutexGuard<'_, State>) {
        state.owner = 0;
        state.recursion = 0;
        if state.entering != 0 {
            self.entry.notify_one();
        }
    }

    /// Leaves once.
    ///
    /// # Errors
    /// The caller does not own the lock.
    pub fn exit(&self, id: u32) -> Result<(), MonitorError> {
        let mut state = self.state.lock();
        if state.owner != id {
            return Err(MonitorError::NotOwner);
        }
        if state.recursion != 0 {
            state.recursion -= 1;
        } else {
            self.release(&mut state);
        }
        Ok(())
    }

    /// Leaves the lock completely, waits for a pulse, at most `timeout`, and enters again as often as before. Returns
    /// whether a pulse came.
    ///
    /// # Errors
    /// The caller does not own the lock, or it was interrupted (the lock is held again then, too).
    pub fn wait(&self, thread: &ThreadHeader, timeout: Option<Duration>) -> Result<bool, MonitorError> {
        let id = thread.lock_id();
        if self.owner() != id {
            return Err(MonitorError::NotOwner);
        }
        self.block(thread, timeout, Self::block_to_wait)
    }

    fn block_to_wait(&self, thread: &ThreadHeader, deadline: Option<Instant>) -> Result<bool, MonitorError> {
        let id = thread.lock_id();
        let waiter = Arc::new(Waiter {
            thread: id,
            wake: Condvar::new(),
        });
        let mut state = self.state.lock();
        if thread.interrupt_requested() {
            return Err(MonitorError::Interrupted);
        }
        let recursion = state.recursion;
        state.waiters.push_back(waiter.clone());
        self.release(&mut state);
        let is_queued = |state: &State| state.waiters.iter().any(|other| Arc::ptr_eq(other, &waiter));
        let mut outcome = Ok(true);
        while is_queued(&state) {
            if thread.interrupt_requested() {
                outcome = Err(MonitorError::Interrupted);
                break;
            }
            let timed_out = match deadline {
                Some(deadline) => waiter.wake.wait_until(&mut state, deadline).timed_out(),
                None => {
                    waiter.wake.wait(&mut state);
                    false
                }
            };
            if timed_out && is_queued(&state) {
                outcome = Ok(false);
                break;
            }
        }
        state.waiters.retain(|other| !Arc::ptr_eq(other, &waiter));
        state.entering += 1;
        while state.owner != 0 {
            self.entry.wait(&mut state);
        }
        state.entering -= 1;
        state.owner = id;
        state.recursion = recursion;
        outcome
    }

    /// Wakes the longest-waiting thread, or all.
    ///
    /// # Errors
    /// The caller does not own the lock.
    pub fn pulse(&self, id: u32, all: bool) -> Result<(), MonitorError> {
        let mut state = self.state.lock();
        if state.owner != id {
            return Err(MonitorError::NotOwner);
        }
        while let Some(waiter) = state.waiters.pop_front() {
            waiter.wake.notify_one();
            if !all {
                break;
            }
        }
        Ok(())
    }

    /// Wakes thread `id` with an interruption if it blocks here.
    pub(crate) fn interrupt(&self, id: u32) {
        // The flag of the thread is set already; under the lock, so that a thread about to sleep is not missed.
        let state = self.state.lock();
        for waiter in &state.waiters {
            if waiter.thread == id {
                waiter.wake.notify_one();
            }
        }
        self.entry.notify_all();
    }
}
