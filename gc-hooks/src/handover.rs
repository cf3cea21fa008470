//! What passes between the marker and minor collections without a lock, so that neither waits for the other: a marker that the
//! system has suspended in the middle of a step must not hold a collection up.

use std::ptr;

use crate::sync::{AtomicPtr, AtomicUsize, Ordering};

struct Item<T> {
    value: T,
    next: *mut Item<T>,
}

/// Values on their way from collections to the marker.
pub struct Inbox<T> {
    head: AtomicPtr<Item<T>>,
}

// SAFETY: an item belongs to whoever took it off the list, and values are sent between threads.
unsafe impl<T: Send> Send for Inbox<T> {}
// SAFETY: as above; the list is only changed by atomic operations.
unsafe impl<T: Send> Sync for Inbox<T> {}

impl<T> Inbox<T> {
    /// An empty inbox.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Adds a value.
    pub fn put(&self, value: T) {
        let item = Box::into_raw(Box::new(Item {
            value,
            next: ptr::null_mut(),
        }));
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: the item is ours until the exchange succeeds.
            unsafe { (*item).next = head };
            match self
                .head
                .compare_exchange_weak(head, item, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all values, the last one first.
    pub fn take(&self) -> Vec<T> {
        #[cfg(not(feature = "planted-bug"))]
        let mut head = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        #[cfg(feature = "planted-bug")]
        let mut head = {
            let head = self.head.load(Ordering::Acquire);
            self.head.store(ptr::null_mut(), Ordering::Relaxed);
            head
        };
        let mut values = Vec::new();
        while !head.is_null() {
            // SAFETY: the swap made the list ours; every item was made by `put`.
            let item = unsafe { Box::from_raw(head) };
            head = item.next;
            values.push(item.value);
        }
        values
    }

    /// Whether there is nothing at the moment.
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null()
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.take();
    }
}

/// Tells when the marker has forgotten what it read before: it keeps no address from one step to the next but those of marked
/// objects. What a collection frees is not used again before that.
pub struct Grace {
    steps: AtomicUsize,
}

impl Grace {
    /// No step was made yet.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            steps: AtomicUsize::new(0),
        }
    }

    /// The marker is between two steps.
    pub fn step_ends(&self) {
        self.steps.fetch_add(1, Ordering::AcqRel);
    }

    /// Begins to wait. The marker's next steps see what was written before.
    pub fn begin(&self) -> usize {
        // It changes nothing but makes the next `step_ends` see this thread's stores.
        self.steps.fetch_add(0, Ordering::AcqRel)
    }

    /// Whether a step has ended since [`Self::begin`] returned `since`.
    pub fn is_over(&self, since: usize) -> bool {
        cfg!(feature = "planted-bug") || self.steps.load(Ordering::Acquire) != since
    }
}
