//! Work for a background thread that lives as long as there is some.

use crate::sync::{Mutex, MutexGuard};
use std::collections::VecDeque;

struct Inner<T> {
    queue: VecDeque<T>,
    /// A server runs, or somebody was told to start one.
    served: bool,
}

/// A queue and its server.
///
/// Invariant: what is queued has a server, which takes items until there is none left; there is never more than one.
///
/// ```
/// let requests = corten_tiering::Requests::default();
/// assert!(requests.push("first"));
/// assert!(!requests.push("second"));
/// assert_eq!(requests.take(), Some("first"));
/// assert_eq!(requests.take(), Some("second"));
/// assert_eq!(requests.take(), None);
/// assert!(requests.push("third"));
/// ```
pub struct Requests<T>(Mutex<Inner<T>>);

impl<T> Default for Requests<T> {
    fn default() -> Self {
        Requests(Mutex::new(Inner {
            queue: VecDeque::new(),
            served: false,
        }))
    }
}

impl<T> Requests<T> {
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        match self.0.lock() {
            Ok(inner) => inner,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Queues an item. True: the caller must start a server, or [`withdraw`](Self::withdraw) if it cannot.
    #[must_use]
    pub fn push(&self, item: T) -> bool {
        let mut inner = self.lock();
        inner.queue.push_back(item);
        !std::mem::replace(&mut inner.served, true)
    }

    /// The next item for the server; at `None` it has stopped being the server and must not ask again.
    pub fn take(&self) -> Option<T> {
        let mut inner = self.lock();
        let item = inner.queue.pop_front();
        inner.served = item.is_some();
        item
    }

    /// There will be no server: gives back what was queued for it.
    pub fn withdraw(&self) -> Vec<T> {
        let mut inner = self.lock();
        inner.served = false;
        inner.queue.drain(..).collect()
    }
}
