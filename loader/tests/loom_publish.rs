//! Loom model of code publication against concurrent registration of vtable slots.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p corten-loader --test loom_publish --release`.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]
#![cfg(loom)]

use corten_loader::precode::{BackpatchSlots, EntryCell, publish, register_slot};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

const TEMPORARY: usize = 1;
const STABLE: usize = 2;
const CODE: usize = 3;
const CODE2: usize = 4;

struct Method {
    entry: EntryCell,
    slots: BackpatchSlots,
    /// Stands for the instructions of the published code.
    written: AtomicUsize,
}

fn method() -> Arc<Method> {
    Arc::new(Method {
        entry: EntryCell::new(TEMPORARY),
        slots: BackpatchSlots::default(),
        written: AtomicUsize::new(0),
    })
}

/// A slot registered while code is published never keeps an outdated address.
#[test]
fn registered_slots_see_the_last_code() {
    loom::model(|| {
        let m = method();
        let slot = Arc::new(AtomicUsize::new(0));
        let publisher = {
            let m = m.clone();
            thread::spawn(move || {
                publish(&m.entry, &m.slots, CODE);
                publish(&m.entry, &m.slots, CODE2);
            })
        };
        register_slot(&m.entry, &m.slots, slot.clone(), STABLE, TEMPORARY);
        publisher.join().unwrap();
        assert_eq!(m.entry.load(Ordering::Acquire), CODE2);
        assert_eq!(slot.load(Ordering::Acquire), CODE2);
    });
}

/// Whoever sees the code address sees the code.
#[test]
fn publication_orders_the_code_before_its_address() {
    loom::model(|| {
        let m = method();
        let slot = Arc::new(AtomicUsize::new(0));
        register_slot(&m.entry, &m.slots, slot.clone(), STABLE, TEMPORARY);
        let publisher = {
            let m = m.clone();
            thread::spawn(move || {
                m.written.store(1, Ordering::Relaxed);
                publish(&m.entry, &m.slots, CODE);
            })
        };
        if slot.load(Ordering::Acquire) == CODE || m.entry.load(Ordering::Acquire) == CODE {
            assert_eq!(m.written.load(Ordering::Relaxed), 1);
        }
        publisher.join().unwrap();
    });
}

/// Planted mutant: reading the entry before taking the lock loses an update; the model must notice.
#[test]
#[should_panic]
fn mutant_reading_the_entry_outside_the_lock_is_caught() {
    loom::model(|| {
        let m = method();
        let slot = Arc::new(AtomicUsize::new(0));
        let publisher = {
            let m = m.clone();
            thread::spawn(move || publish(&m.entry, &m.slots, CODE))
        };
        let stale = m.entry.load(Ordering::Acquire);
        register_slot(&EntryCell::new(stale), &m.slots, slot.clone(), STABLE, TEMPORARY);
        publisher.join().unwrap();
        assert_eq!(slot.load(Ordering::Acquire), CODE);
    });
}
