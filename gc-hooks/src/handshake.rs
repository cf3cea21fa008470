//! The stop-the-world handshake between one stopper and the mutator threads.
//!
//! A mutator that leaves preemptive mode announces itself (`mode = cooperative`) and then looks at its poll word; the
//! stopper sets the poll word and then looks at the mode. A sequentially consistent fence on both sides makes sure that
//! at least one of them sees the other. Invariant: between [`Handshake::stop`] and [`Handshake::resume`] no thread
//! passed to `stop` is in cooperative mode.

use crate::sync::{AtomicU32, Condvar, Mutex, Ordering, fence};
use crate::thread::{GC_MODE_COOPERATIVE, GC_MODE_PREEMPTIVE, POLL_SUSPEND};

/// The two words of a thread that take part.
#[derive(Clone, Copy)]
pub struct Gate<'a> {
    /// Poll word; bit [`POLL_SUSPEND`] asks the thread to stop.
    pub poll: &'a AtomicU32,
    /// Mode word.
    pub mode: &'a AtomicU32,
}

/// Shared state of the handshake.
pub struct Handshake {
    /// Whether the world is stopped or being stopped.
    stopped: Mutex<bool>,
    /// Signalled when a thread gets to preemptive mode while it is asked to stop.
    parked: Condvar,
    /// Signalled when the world goes on.
    resumed: Condvar,
}

impl Handshake {
    /// A handshake with the world running.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            stopped: Mutex::new(false),
            parked: Condvar::new(),
            resumed: Condvar::new(),
        }
    }

    /// The thread stops touching the heap. Never blocks for long.
    #[inline]
    pub fn enter_preemptive(&self, gate: Gate<'_>) {
        gate.mode.store(GC_MODE_PREEMPTIVE, Ordering::Release);
        fence(Ordering::SeqCst);
        if gate.poll.load(Ordering::Relaxed) & POLL_SUSPEND != 0 {
            self.announce();
        }
    }

    /// The thread wants to touch the heap again. Blocks while the world is stopped.
    #[inline]
    pub fn leave_preemptive(&self, gate: Gate<'_>) {
        loop {
            gate.mode.store(GC_MODE_COOPERATIVE, Ordering::Relaxed);
            #[cfg(not(feature = "planted-bug"))]
            fence(Ordering::SeqCst);
            if gate.poll.load(Ordering::Relaxed) & POLL_SUSPEND == 0 {
                // Pairs with the release in `resume`: what the stopper did is visible.
                fence(Ordering::Acquire);
                return;
            }
            self.wait_outside(gate);
        }
    }

    #[cold]
    fn announce(&self) {
        let _guard = self.stopped.lock();
        self.parked.notify_all();
    }

    #[cold]
    fn wait_outside(&self, gate: Gate<'_>) {
        gate.mode.store(GC_MODE_PREEMPTIVE, Ordering::Release);
        let mut stopped = self.stopped.lock();
        self.parked.notify_all();
        while *stopped {
            self.resumed.wait(&mut stopped);
        }
    }

    /// Asks `gates` to stop and waits until none is in cooperative mode. One stopper at a time (the thread registry's
    /// lock sees to that); the stopper itself must be in preemptive mode or not among the gates.
    pub fn stop<'a>(&self, gates: impl Iterator<Item = Gate<'a>> + Clone) {
        *self.stopped.lock() = true;
        for gate in gates.clone() {
            gate.poll.fetch_or(POLL_SUSPEND, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        process_wide_barrier();
        for gate in gates {
            self.wait_for(gate);
        }
    }

    #[cfg(loom)]
    fn wait_for(&self, gate: Gate<'_>) {
        let mut stopped = self.stopped.lock();
        while gate.mode.load(Ordering::Acquire) == GC_MODE_COOPERATIVE {
            self.parked.wait(&mut stopped);
        }
    }

    #[cfg(not(loom))]
    fn wait_for(&self, gate: Gate<'_>) {
        for spins in 0..200 {
            if gate.mode.load(Ordering::Acquire) != GC_MODE_COOPERATIVE {
                return;
            }
            if spins < 100 {
                crate::sync::spin_hint()
            } else {
                std::thread::yield_now()
            }
        }
        let mut stopped = self.stopped.lock();
        while gate.mode.load(Ordering::Acquire) == GC_MODE_COOPERATIVE {
            // Generated code enters preemptive mode with a plain store and does not signal: look again now and then.
            self.parked
                .wait_for(&mut stopped, std::time::Duration::from_micros(100));
        }
    }

    /// Lets the world go on.
    pub fn resume<'a>(&self, gates: impl Iterator<Item = Gate<'a>>) {
        let mut stopped = self.stopped.lock();
        for gate in gates {
            gate.poll.fetch_and(!POLL_SUSPEND, Ordering::Release);
        }
        *stopped = false;
        self.resumed.notify_all();
    }
}

/// Makes every running thread of the process execute a full fence, so that inline transitions in generated code need
/// no fence of their own between the store of the mode and the load of the poll word.
#[cfg(not(loom))]
fn process_wide_barrier() {
    crate::memory::membarrier();
}

#[cfg(loom)]
fn process_wide_barrier() {}
