//! Who runs a type's initialiser, who waits, who goes on: the protocol of ECMA-335 II.10.5.3 and I.8.9.5, without the types.
//!
//! * The first thread that asks runs the initialiser; it may use the type meanwhile (recursion).
//! * Others wait, unless waiting would close a cycle of waiting threads: then they go on with the half-initialised type.
//! * A failure is told to everybody who asks later.
//!
//! The caller keeps the flag that says "initialised", which its readers load without any lock; [`InitTable::succeeded`] sets
//! it under the lock. Modelled in `tests/loom_class_init.rs`.

use rustc_hash::FxHashMap;
use std::hash::Hash;

#[cfg(loom)]
use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::{Condvar, Mutex, MutexGuard};

enum State<F> {
    /// By the thread with that id.
    Running(u32),
    Failed(F),
}

struct Table<K, F> {
    /// Types whose initialiser runs or has failed.
    states: FxHashMap<K, State<F>>,
    /// Thread id -> type it waits for.
    waiting: FxHashMap<u32, K>,
}

/// What a thread that wants to use a type does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin<F> {
    /// Uses it.
    GoOn,
    /// Runs the initialiser, then reports by [`InitTable::succeeded`] or [`InitTable::failed`].
    Run,
    /// Raises what was reported.
    Failed(F),
}

/// The types that are being initialised. `K` names a type, `F` a failure.
pub struct InitTable<K, F> {
    table: Mutex<Table<K, F>>,
    changed: Condvar,
}

impl<K: Copy + Eq + Hash, F: Copy> Default for InitTable<K, F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy + Eq + Hash, F: Copy> InitTable<K, F> {
    /// An empty table.
    pub fn new() -> Self {
        Self {
            table: Mutex::new(Table {
                states: FxHashMap::default(),
                waiting: FxHashMap::default(),
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table<K, F>> {
        self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Thread `me` wants to use the type `key`; `done` tells whether it is initialised. The thread waits between
    /// `before_waiting`, which is called with the lock held, and `after_waiting`, which may block and is called without it.
    pub fn begin<T>(
        &self,
        key: K,
        me: u32,
        done: impl Fn() -> bool,
        before_waiting: impl Fn() -> T,
        after_waiting: impl Fn(T),
    ) -> Begin<F> {
        let mut table = self.lock();
        loop {
            if done() {
                return Begin::GoOn;
            }
            let owner = match table.states.get(&key) {
                None => {
                    table.states.insert(key, State::Running(me));
                    return Begin::Run;
                }
                Some(State::Failed(failure)) => return Begin::Failed(*failure),
                Some(State::Running(owner)) => *owner,
            };
            if owner == me || table.waits_for(owner, me) {
                return Begin::GoOn;
            }
            table.waiting.insert(me, key);
            let token = before_waiting();
            table = self
                .changed
                .wait(table)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            table.waiting.remove(&me);
            drop(table);
            after_waiting(token);
            table = self.lock();
        }
    }

    /// The initialiser has run; `mark` sets the flag that `done` of [`begin`](Self::begin) reads, with release ordering.
    pub fn succeeded(&self, key: K, mark: impl FnOnce()) {
        let mut table = self.lock();
        // The mutant forgets who ran the initialiser before it says that it has run.
        if cfg!(feature = "planted-bug") {
            table.states.remove(&key);
            drop(table);
            mark();
        } else {
            mark();
            table.states.remove(&key);
            drop(table);
        }
        self.changed.notify_all();
    }

    /// The initialiser has failed.
    pub fn failed(&self, key: K, failure: F) {
        self.lock().states.insert(key, State::Failed(failure));
        self.changed.notify_all();
    }
}

impl<K: Copy + Eq + Hash, F> Table<K, F> {
    /// Whether `thread` waits, directly or through others, for a type that `target` is initialising.
    fn waits_for(&self, thread: u32, target: u32) -> bool {
        let mut at = thread;
        for _ in 0..=self.waiting.len() {
            let Some(key) = self.waiting.get(&at) else { return false };
            let Some(State::Running(owner)) = self.states.get(key) else {
                return false;
            };
            if *owner == target {
                return true;
            }
            at = *owner;
        }
        false
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn recursion_success_and_failure() {
        let table: InitTable<u32, &str> = InitTable::new();
        let done = Cell::new(false);
        let ask = |key, me| table.begin(key, me, || done.get(), || (), |()| ());
        assert_eq!(ask(7, 1), Begin::Run);
        assert_eq!(ask(7, 1), Begin::GoOn);
        table.succeeded(7, || done.set(true));
        assert_eq!(ask(7, 2), Begin::GoOn);
        done.set(false);
        assert_eq!(ask(8, 1), Begin::Run);
        table.failed(8, "sorry");
        assert_eq!(ask(8, 2), Begin::Failed("sorry"));
        assert_eq!(ask(8, 1), Begin::Failed("sorry"));
    }
}
