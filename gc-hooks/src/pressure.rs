//! Native memory that managed objects hold (`GC.AddMemoryPressure`): when the program says that much of it came, a collection looks
//! for objects that are dead and would give it back.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::heap::Heap;
use crate::thread::ThreadHeader;

/// Least bytes of native memory that are worth a collection.
const BUDGET_MIN: u64 = 4 << 20;
/// Collections for native memory take at most one part in this many of the time.
const SHARE: u32 = 5;
/// Unless so many times the worthwhile amount was added.
const URGENT: u64 = 16;

/// What the program has told.
#[derive(Debug, Default)]
pub(crate) struct MemoryPressure {
    /// Bytes held now.
    held: AtomicU64,
    /// Bytes added since the last collection for their sake.
    added: AtomicU64,
    /// Bytes held after the last such collection of all generations.
    held_after_full: AtomicU64,
}

impl Heap {
    /// Managed objects hold `bytes` more of native memory. May collect.
    pub fn add_memory_pressure(&self, thread: &ThreadHeader, bytes: u64) {
        let pressure = &self.pressure;
        let held = pressure.held.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let added = pressure.added.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let budget = BUDGET_MIN.max(self.total_memory() as u64 / 3);
        if added < budget {
            return;
        }
        let last = self.stats().last_collection(None);
        let too_soon = last.index != 0 && self.stats().since_last_collection() < last.pause * SHARE;
        if too_soon && added < URGENT * budget {
            return;
        }
        pressure.added.store(0, Relaxed);
        // Objects that survive one collection are old: only a full one finds them dead.
        let full = held
            > pressure
                .held_after_full
                .load(Relaxed)
                .saturating_mul(2)
                .saturating_add(4 * budget);
        self.collect(thread, if full { 2 } else { 0 });
        if full {
            pressure.held_after_full.store(pressure.held.load(Relaxed), Relaxed);
        }
    }

    /// Managed objects hold `bytes` less of native memory.
    pub fn remove_memory_pressure(&self, bytes: u64) {
        // Programs may remove more than they added.
        let less = |held: u64| Some(held.saturating_sub(bytes));
        let _ = self.pressure.held.fetch_update(Relaxed, Relaxed, less);
    }
}
