//! Publication of code to readers without locks: a table with one pointer for each granule of the code range.
//!
//! Stack walks, signal handlers and the collector look code up at any time, while compilers add code and unloading removes it.
//! The description is complete before the first pointer to it is stored, and the pointer is stored with release ordering
//! before anybody learns the code's address. Modelled in `tests/loom_code_index.rs`.

use crate::sync::{AtomicPtr, Ordering};

/// Stores `record` (null: forgets) in the slots of all granules of a piece of code.
pub fn publish<'a, T: 'a>(slots: impl Iterator<Item = &'a AtomicPtr<T>>, record: *mut T) {
    // The mutant does not order the record before its address.
    let order = if cfg!(feature = "planted-bug") {
        Ordering::Relaxed
    } else {
        Ordering::Release
    };
    for slot in slots {
        slot.store(record, order);
    }
}

/// The record of a granule, or null.
pub fn find<T>(slot: &AtomicPtr<T>) -> *mut T {
    slot.load(Ordering::Acquire)
}
