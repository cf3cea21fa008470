//! Thread registry, mode transitions and stopping the world.
//!
//! A thread in cooperative mode may hold raw object references and must reach a safepoint (a poll, an allocation, a
//! transition) soon. A thread in preemptive mode promises not to touch the heap; a collection does not wait for it.
//! Invariants: a thread never blocks in cooperative mode; the registry lock is only taken in preemptive mode and is
//! held while the world is stopped, so threads neither come nor go during a collection.

use std::ops::Deref;
use std::sync::OnceLock;

use parking_lot::Mutex;

use crate::handshake::{Gate, Handshake};
use crate::sync::Ordering;
use crate::thread::{GC_MODE_COOPERATIVE, GC_MODE_PREEMPTIVE, POLL_RUNTIME, POLL_STRESS, ThreadHeader};

#[derive(Clone, Copy)]
struct ThreadPtr(*const ThreadHeader);

// SAFETY: registered threads outlive their registration (`attach` contract) and only atomics are shared while they run.
unsafe impl Send for ThreadPtr {}

#[derive(Default)]
struct Threads {
    list: Vec<ThreadPtr>,
    free_lock_ids: Vec<u32>,
    next_lock_id: u32,
}

/// All threads that may touch the managed heap.
pub struct ThreadRegistry {
    threads: Mutex<Threads>,
    handshake: Handshake,
}

/// Largest thin-lock owner number.
pub const MAX_LOCK_ID: u32 = 0xFFFF;

/// Why a thread cannot be attached.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AttachError {
    /// The thread is in the registry already.
    #[error("the thread is attached already")]
    AlreadyAttached,
    /// All 65535 lock owner numbers are in use.
    #[error("too many threads: no lock owner number is left")]
    TooManyThreads,
}

fn gate(thread: &ThreadHeader) -> Gate<'_> {
    Gate {
        poll: &thread.poll_requested,
        mode: &thread.gc_mode,
    }
}

/// A gate of a registered thread, usable while the registry lock is held.
fn registered_gate<'a>(thread: ThreadPtr) -> Gate<'a> {
    // SAFETY: registered threads stay valid until `detach`, which needs the registry lock; only the two atomics are
    // reached, through raw places, so no reference to the thread's other fields is made.
    unsafe {
        Gate {
            poll: &(*thread.0).poll_requested,
            mode: &(*thread.0).gc_mode,
        }
    }
}

impl ThreadRegistry {
    /// The process's registry.
    pub fn get() -> &'static ThreadRegistry {
        static REGISTRY: OnceLock<ThreadRegistry> = OnceLock::new();
        REGISTRY.get_or_init(|| ThreadRegistry {
            threads: Mutex::default(),
            handshake: Handshake::new(),
        })
    }

    /// Adds the current thread. It stays in preemptive mode. Blocks while the world is stopped.
    ///
    /// # Safety
    /// The structure at `address` keeps its address and lives until [`Self::detach`]; it belongs to the calling thread.
    ///
    /// # Errors
    /// The thread is attached already, or no lock owner number is free.
    pub unsafe fn attach(&self, address: *const ThreadHeader) -> Result<(), AttachError> {
        // SAFETY: it belongs to this thread and lives (contract).
        let thread = unsafe { &*address };
        if thread.attached.get() {
            return Err(AttachError::AlreadyAttached);
        }
        let mut threads = self.threads.lock();
        let lock_id = match threads.free_lock_ids.pop() {
            Some(id) => id,
            None if threads.next_lock_id < MAX_LOCK_ID => {
                threads.next_lock_id += 1;
                threads.next_lock_id
            }
            None => return Err(AttachError::TooManyThreads),
        };
        thread.lock_id.store(lock_id, std::sync::atomic::Ordering::Relaxed);
        thread.attached.set(true);
        thread.gc_mode.store(GC_MODE_PREEMPTIVE, Ordering::Release);
        if crate::stress::polls_collect() {
            thread.poll_requested.fetch_or(POLL_STRESS, Ordering::Relaxed);
        }
        threads.list.push(ThreadPtr(address));
        Ok(())
    }

    /// Removes the current thread; its mode becomes preemptive first. Blocks while the world is stopped.
    pub fn detach(&self, thread: &ThreadHeader) {
        if !thread.attached.get() {
            return;
        }
        if is_cooperative(thread) {
            self.enter_preemptive(thread);
        }
        let mut threads = self.threads.lock();
        crate::alloc::retire_allocation_context(thread);
        let address = std::ptr::from_ref(thread);
        threads.list.retain(|other| other.0 != address);
        threads.free_lock_ids.push(thread.lock_id());
        thread.lock_id.store(0, std::sync::atomic::Ordering::Relaxed);
        thread.attached.set(false);
    }

    /// Number of attached threads.
    pub fn thread_count(&self) -> usize {
        self.threads.lock().list.len()
    }

    /// Cooperative to preemptive.
    #[inline]
    pub fn enter_preemptive(&self, thread: &ThreadHeader) {
        self.handshake.enter_preemptive(gate(thread));
    }

    /// Preemptive to cooperative; waits while the world is stopped.
    #[inline]
    pub fn leave_preemptive(&self, thread: &ThreadHeader) {
        self.handshake.leave_preemptive(gate(thread));
    }

    /// Slow path of a poll: stops here if asked to, collects in the stress mode that wants it.
    pub fn poll(&self, thread: &ThreadHeader) {
        if thread.poll_requested.load(Ordering::Relaxed) & POLL_STRESS != 0 {
            crate::stress::poll(thread);
        }
        if is_cooperative(thread) {
            self.enter_preemptive(thread);
            self.leave_preemptive(thread);
        }
    }

    /// Sets [`POLL_RUNTIME`] on an attached thread, found by `find`; its next poll takes the slow path.
    pub fn request_poll(&self, find: impl Fn(*const ThreadHeader) -> bool) -> bool {
        let threads = self.threads.lock();
        for thread in &threads.list {
            if find(thread.0) {
                registered_gate(*thread).poll.fetch_or(POLL_RUNTIME, Ordering::Release);
                return true;
            }
        }
        false
    }

    /// Stops all other threads, runs `work`, lets them go on. `current` is the calling thread if it is attached; it is
    /// in preemptive mode while it waits for other stoppers, and returns in the mode it came in.
    pub fn stop_the_world<R>(&self, current: Option<&ThreadHeader>, work: impl FnOnce(&mut World<'_>) -> R) -> R {
        let was_cooperative = current.as_ref().is_some_and(|thread| is_cooperative(thread));
        if let Some(thread) = &current
            && was_cooperative
        {
            self.enter_preemptive(thread);
        }
        let result = {
            let threads = self.threads.lock();
            let started = std::time::Instant::now();
            let gates = threads.list.iter().map(|thread| registered_gate(*thread));
            self.handshake.stop(gates.clone());
            let mut world = World {
                threads: &threads.list,
                stop_time: started.elapsed(),
            };
            let result = work(&mut world);
            self.handshake.resume(gates);
            result
        };
        if let Some(thread) = &current
            && was_cooperative
        {
            self.leave_preemptive(thread);
        }
        result
    }
}

/// Whether `thread` is in cooperative mode.
#[inline]
pub fn is_cooperative(thread: &ThreadHeader) -> bool {
    thread.gc_mode.load(Ordering::Relaxed) == GC_MODE_COOPERATIVE
}

/// The stopped world.
pub struct World<'a> {
    threads: &'a [ThreadPtr],
    /// How long it took until every thread had stopped.
    pub stop_time: std::time::Duration,
}

impl World<'_> {
    /// The attached threads, all stopped.
    pub fn threads(&self) -> impl Iterator<Item = *const ThreadHeader> + '_ {
        self.threads.iter().map(|thread| thread.0)
    }
}

/// Preemptive mode for the life of the guard: for blocking calls made by a thread in cooperative mode.
pub struct PreemptiveGuard<'a> {
    thread: &'a ThreadHeader,
    switched: bool,
}

impl<'a> PreemptiveGuard<'a> {
    /// Switches to preemptive mode unless the thread is in it already.
    pub fn new(thread: &'a ThreadHeader) -> Self {
        let switched = is_cooperative(thread);
        if switched {
            ThreadRegistry::get().enter_preemptive(thread);
        }
        Self { thread, switched }
    }
}

impl Deref for PreemptiveGuard<'_> {
    type Target = ThreadHeader;
    fn deref(&self) -> &ThreadHeader {
        self.thread
    }
}

impl Drop for PreemptiveGuard<'_> {
    fn drop(&mut self) {
        if self.switched {
            ThreadRegistry::get().leave_preemptive(self.thread);
        }
    }
}

/// Cooperative mode for the life of the guard: for native code that wants to touch the heap.
pub struct CooperativeGuard<'a> {
    thread: &'a ThreadHeader,
    switched: bool,
}

impl<'a> CooperativeGuard<'a> {
    /// Switches to cooperative mode unless the thread is in it already.
    pub fn new(thread: &'a ThreadHeader) -> Self {
        let switched = !is_cooperative(thread);
        if switched {
            ThreadRegistry::get().leave_preemptive(thread);
        }
        Self { thread, switched }
    }
}

impl Deref for CooperativeGuard<'_> {
    type Target = ThreadHeader;
    fn deref(&self) -> &ThreadHeader {
        self.thread
    }
}

impl Drop for CooperativeGuard<'_> {
    fn drop(&mut self) {
        if self.switched {
            ThreadRegistry::get().enter_preemptive(self.thread);
        }
    }
}
