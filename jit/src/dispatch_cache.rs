//! The second level of interface dispatch: a table of (MethodTable, method) -> code for call sites that see several types.
//!
//! A call site's own cell remembers the last type that the engine resolved. When another type arrives, this table is asked
//! (a leaf call of a few nanoseconds) before the engine is. Entries are immutable and published with one store.

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

const BITS: u32 = 13;
/// Entries made before replacing stops: replaced ones are never freed, somebody may be reading them.
const MAX_ENTRIES: usize = 1 << 17;

struct Entry {
    mt: usize,
    method: u64,
    target: usize,
}

static TABLE: [AtomicPtr<Entry>; 1 << BITS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 1 << BITS];
static MADE: AtomicUsize = AtomicUsize::new(0);

fn index(mt: usize, method: u64) -> usize {
    let mixed = (mt as u64 ^ method.rotate_left(21)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - BITS)) as usize
}

fn find(slot: usize, mt: usize, method: u64) -> Option<usize> {
    let p = TABLE[slot].load(Ordering::Acquire);
    // SAFETY: entries are leaked and immutable.
    let entry = unsafe { p.as_ref() }?;
    (entry.mt == mt && entry.method == method).then_some(entry.target)
}

/// Code address for a receiver's MethodTable and an interface method, or 0.
pub(crate) extern "C" fn lookup(mt: usize, method: u64) -> usize {
    let slot = index(mt, method);
    find(slot, mt, method)
        .or_else(|| find(slot ^ 1, mt, method))
        .unwrap_or(0)
}

/// Remembers what the engine resolved, if it put it into the call site's cell (it does not for receivers whose answer is
/// their own).
///
/// # Safety
/// `cell` is a call site's cell: it points at an immutable pair (MethodTable, code).
pub(crate) unsafe extern "C" fn remember(mt: usize, method: u64, cell: *const AtomicPtr<[usize; 2]>) {
    // SAFETY: the caller's promise.
    let [cached, target] = unsafe { *(*cell).load(Ordering::Acquire) };
    if cached != mt || lookup(mt, method) != 0 {
        return;
    }
    let mut slot = index(mt, method);
    if !TABLE[slot].load(Ordering::Relaxed).is_null() {
        slot ^= 1;
    }
    if MADE.fetch_add(1, Ordering::Relaxed) < MAX_ENTRIES {
        let entry = Box::leak(Box::new(Entry { mt, method, target }));
        TABLE[slot].store(entry, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_what_the_cell_holds() {
        let pair = [0x1000usize, 0x2000];
        let cell = AtomicPtr::new((&raw const pair).cast_mut());
        assert_eq!(lookup(0x1000, 77), 0);
        // SAFETY: a cell that points at a pair.
        unsafe {
            remember(0x1008, 77, &cell);
            remember(0x1000, 77, &cell);
        }
        assert_eq!(
            (lookup(0x1000, 77), lookup(0x1008, 77), lookup(0x1000, 78)),
            (0x2000, 0, 0)
        );
    }
}
