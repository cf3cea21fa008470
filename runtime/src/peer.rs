//! Threads as other threads see them.

use crate::icalls::threading::SharedState;
use crate::thread::Thread;
use std::ptr::NonNull;
use std::sync::Arc;

/// A thread structure that may be another thread's: leads to what is shared only.
#[derive(Clone, Copy, Debug)]
pub struct Peer(NonNull<Thread>);

impl Peer {
    /// The thread structure at an address; `None` if it is 0.
    ///
    /// # Safety
    /// It is a thread structure, and not freed while the peer is in use. (Its managed object keeps it.)
    pub unsafe fn at(address: usize) -> Option<Peer> {
        NonNull::new(address as *mut Thread).map(Peer)
    }

    /// Its address.
    pub fn as_ptr(self) -> *const Thread {
        self.0.as_ptr()
    }

    /// What its thread and others may touch.
    pub fn shared(self) -> Arc<SharedState> {
        // SAFETY: the structure lives (contract of `at`); this field is set when it is made, and synchronises itself.
        unsafe { (*self.as_ptr()).interrupt.shared.clone() }
    }

    /// `Thread.ManagedThreadId`.
    pub fn managed_id(self) -> u32 {
        // SAFETY: as above; it never changes.
        unsafe { (*self.as_ptr()).managed_id }
    }

    /// Ends the present or next monitor operation of its thread.
    pub fn interrupt_monitors(self) {
        // SAFETY: as above; only atomics are used, and the monitor that they lead to lives for ever.
        unsafe { (*self.as_ptr()).header.request_interrupt() };
    }

    /// The whole structure, of a thread that has not begun.
    ///
    /// # Safety
    /// It is not attached, and the caller alone decides whether it will be.
    pub unsafe fn unstarted(self) -> &'static Thread {
        // SAFETY: no thread has it yet (contract).
        unsafe { self.0.as_ref() }
    }
}
