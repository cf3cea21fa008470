//! The loader lock: one global reentrant lock under which all loading happens.

use std::cell::Cell;
use std::sync::OnceLock;

use parking_lot::{ReentrantMutex, ReentrantMutexGuard};

static LOADER_LOCK: ReentrantMutex<()> = ReentrantMutex::new(());

/// Holds the loader lock until dropped. No managed allocation may happen while it is held.
pub type LoaderGuard = ReentrantMutexGuard<'static, ()>;

/// What a thread does around a blocking wait for the loader lock (the runtime: become preemptive, so that
/// a collection does not wait for this thread).
pub trait BlockingHook: Sync {
    /// About to block; the result is passed to [`leave`](Self::leave).
    fn enter(&self) -> usize;
    /// The lock has been taken.
    fn leave(&self, token: usize);
}

static BLOCKING: OnceLock<&'static dyn BlockingHook> = OnceLock::new();

/// Installs the hook (once, at startup).
pub fn set_blocking_hook(hook: &'static dyn BlockingHook) {
    let _ = BLOCKING.set(hook);
}

thread_local! {
    static LEAF: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` on behalf of compiled code that does not expect a collection: the thread stays cooperative when it waits for the
/// loader lock (whose owner never waits for a collection, so this ends), and nobody may run managed code
/// ([`in_leaf_call`]).
pub fn leaf_call<R>(f: impl FnOnce() -> R) -> R {
    let before = LEAF.replace(true);
    let result = f();
    LEAF.set(before);
    result
}

/// Whether this thread must not run managed code now.
pub fn in_leaf_call() -> bool {
    LEAF.get()
}

/// Enters the loader lock (reentrant on one thread).
pub fn enter_loader() -> LoaderGuard {
    if let Some(guard) = LOADER_LOCK.try_lock() {
        return guard;
    }
    match BLOCKING.get().filter(|_| !in_leaf_call()) {
        None => LOADER_LOCK.lock(),
        Some(hook) => {
            let mut token = hook.enter();
            // `leave` may wait for a collection to end; a thread that waits for the world to be stopped must
            // not own the loader lock, so the lock is taken only with `try_lock` after leaving.
            loop {
                drop(LOADER_LOCK.lock());
                hook.leave(token);
                if let Some(guard) = LOADER_LOCK.try_lock() {
                    return guard;
                }
                token = hook.enter();
            }
        }
    }
}

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex as SlotMutex,
    atomic::{AtomicUsize as EntryWord, Ordering},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex as SlotMutex,
    atomic::{AtomicUsize as EntryWord, Ordering},
};
