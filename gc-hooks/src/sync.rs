//! The one place that chooses between the real synchronisation primitives and loom's models.
//!
//! Concurrent protocols of this crate (safepoint handshake, handle free list, monitor) are written
//! against these names, so `RUSTFLAGS="--cfg loom" cargo test` explores their interleavings.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(loom)]
pub use model::{Condvar, Mutex, MutexGuard};
#[cfg(not(loom))]
pub use parking_lot::{Condvar, Mutex, MutexGuard};

/// Gives up the processor while spinning.
#[cfg(not(loom))]
pub fn spin_hint() {
    std::hint::spin_loop();
}

/// Gives up the processor while spinning.
#[cfg(loom)]
pub fn spin_hint() {
    loom::thread::yield_now();
}

/// Loom's mutex and condition variable in the shape of `parking_lot`'s (no poisoning).
#[cfg(loom)]
mod model {
    /// Guard of [`Mutex`]; the option is empty only while its thread waits on a [`Condvar`].
    pub struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    impl<T> std::ops::Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            match &self.0 {
                Some(guard) => guard,
                None => unreachable!("guard taken by a wait"),
            }
        }
    }

    impl<T> std::ops::DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            match &mut self.0 {
                Some(guard) => guard,
                None => unreachable!("guard taken by a wait"),
            }
        }
    }

    /// Model of a mutual exclusion lock.
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// A new unlocked mutex.
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        /// Acquires the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            match self.0.lock() {
                Ok(guard) => MutexGuard(Some(guard)),
                Err(poisoned) => MutexGuard(Some(poisoned.into_inner())),
            }
        }
    }

    /// Model of a condition variable.
    pub struct Condvar(loom::sync::Condvar);

    impl Condvar {
        /// A new condition variable.
        #[allow(clippy::new_without_default)]
        pub fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        /// Waits for a notification.
        pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            if let Some(inner) = guard.0.take() {
                guard.0 = Some(match self.0.wait(inner) {
                    Ok(inner) => inner,
                    Err(poisoned) => poisoned.into_inner(),
                });
            }
        }

        /// Wakes one waiter.
        pub fn notify_one(&self) {
            self.0.notify_one();
        }

        /// Wakes all waiters.
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
