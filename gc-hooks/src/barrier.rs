//! Write barriers: stores of references into the heap.
//!
//! Every store of a reference into a heap object must go through one of these, so that the collector finds references
//! from old to young objects. A card (512 bytes) is marked when the stored value is in the young part of the address
//! range (nursery or large objects). Stores to frames, statics and other native memory need no barrier; the "checked"
//! form may be used when it is not known where the destination is.

use std::arch::naked_asm;
use std::cell::UnsafeCell;

use crate::object::{ObjPtr, Object};
pub use crate::space::CARD_SHIFT;
use crate::space::Layout;

/// Numbers that the assembly reads. Changed only while no managed code runs.
#[repr(C)]
#[derive(Debug)]
pub struct BarrierBounds {
    /// Start of the part of the heap to which references are recorded: the young part, or all but the frozen objects.
    pub young_start: usize,
    /// Size in bytes of that part.
    pub young_size: usize,
    /// Start of the heap.
    pub heap_start: usize,
    /// Size in bytes of the heap.
    pub heap_size: usize,
    /// Biased card table: card byte of `address` = `card_base + (address >> 9)`.
    pub card_base: usize,
}

#[repr(transparent)]
struct BoundsCell(UnsafeCell<BarrierBounds>);

// SAFETY: written before any reader exists, and later only while the world is stopped.
unsafe impl Sync for BoundsCell {}

static BOUNDS: BoundsCell = BoundsCell(UnsafeCell::new(BarrierBounds {
    young_start: 0,
    young_size: 0,
    heap_start: 0,
    heap_size: 0,
    card_base: 0,
}));

/// Address of the [`BarrierBounds`], for code generators that inline the barrier; they must read it each time.
pub fn barrier_bounds() -> *const BarrierBounds {
    BOUNDS.0.get()
}

/// Makes the barrier record stores of references to old objects, too, or no longer.
///
/// The world is stopped.
pub(crate) fn widen(layout: &Layout, all: bool) {
    let end = if all { layout.old.end } else { layout.large.end };
    // SAFETY: no thread is in a barrier while the world is stopped, and nothing keeps what it read before.
    unsafe { (&raw mut (*BOUNDS.0.get()).young_size).write_volatile(end - layout.nursery.start) };
}

pub(crate) fn publish_bounds(layout: &Layout) {
    // SAFETY: called once while the heap is initialised; no managed code runs yet.
    unsafe {
        *BOUNDS.0.get() = BarrierBounds {
            young_start: layout.nursery.start,
            young_size: layout.large.end - layout.nursery.start,
            heap_start: layout.heap.start,
            heap_size: layout.heap.size(),
            card_base: layout.card_base(),
        };
    }
}

#[inline(always)]
fn bounds() -> BarrierBounds {
    // SAFETY: it changes only while the world is stopped, and its reader is a mutator or the stopper.
    unsafe { BOUNDS.0.get().read_volatile() }
}

/// Stores `value` to `destination`, which is in the heap. C ABI; clobbers rax, rdi and flags only.
///
/// # Safety
/// `destination` is a reference field of a live heap object; cooperative mode.
#[unsafe(naked)]
pub unsafe extern "C" fn corten_write_barrier(destination: *mut ObjPtr, value: ObjPtr) {
    naked_asm!(
        "mov [rdi], rsi",
        "mov rax, rsi",
        "sub rax, [rip + {bounds}]",
        "cmp rax, [rip + {bounds} + 8]",
        "jae 2f",
        "shr rdi, {shift}",
        "add rdi, [rip + {bounds} + 32]",
        "cmp byte ptr [rdi], 0",
        "jne 2f",
        "mov byte ptr [rdi], 1",
        "2: ret",
        bounds = sym BOUNDS,
        shift = const CARD_SHIFT,
    )
}

/// Stores `value` to `destination`, which may be anywhere. C ABI; clobbers rax, rdi and flags only.
///
/// # Safety
/// `destination` is writable and, if in the heap, a reference field of a live object; cooperative mode.
#[unsafe(naked)]
pub unsafe extern "C" fn corten_checked_write_barrier(destination: *mut ObjPtr, value: ObjPtr) {
    naked_asm!(
        "mov [rdi], rsi",
        "mov rax, rdi",
        "sub rax, [rip + {bounds} + 16]",
        "cmp rax, [rip + {bounds} + 24]",
        "jae 2f",
        "mov rax, rsi",
        "sub rax, [rip + {bounds}]",
        "cmp rax, [rip + {bounds} + 8]",
        "jae 2f",
        "shr rdi, {shift}",
        "add rdi, [rip + {bounds} + 32]",
        "cmp byte ptr [rdi], 0",
        "jne 2f",
        "mov byte ptr [rdi], 1",
        "2: ret",
        bounds = sym BOUNDS,
        shift = const CARD_SHIFT,
    )
}

/// Copies the reference at `[rsi]` to `[rdi]` (anywhere), leaves rdi and rsi advanced by 8. Clobbers rax, rcx and flags
/// only: precompiled code relies on exactly this. Not callable from Rust, whose ABI does not know that rdi and rsi are
/// results.
///
/// # Safety
/// Assembly and generated code only; as for [`corten_checked_write_barrier`].
#[unsafe(naked)]
pub unsafe extern "C" fn corten_byref_write_barrier() {
    naked_asm!(
        "mov rcx, [rsi]",
        "mov [rdi], rcx",
        "mov rax, rdi",
        "sub rax, [rip + {bounds} + 16]",
        "cmp rax, [rip + {bounds} + 24]",
        "jae 2f",
        "sub rcx, [rip + {bounds}]",
        "cmp rcx, [rip + {bounds} + 8]",
        "jae 2f",
        "mov rax, rdi",
        "shr rax, {shift}",
        "add rax, [rip + {bounds} + 32]",
        "cmp byte ptr [rax], 0",
        "jne 2f",
        "mov byte ptr [rax], 1",
        "2: add rdi, 8",
        "add rsi, 8",
        "ret",
        bounds = sym BOUNDS,
        shift = const CARD_SHIFT,
    )
}

/// Records that a reference to `value` was stored at `destination` by other means.
#[inline]
pub fn record_store(destination: *mut ObjPtr, value: ObjPtr) {
    let bounds = bounds();
    let at = destination as usize;
    if (value as usize).wrapping_sub(bounds.young_start) < bounds.young_size
        && at.wrapping_sub(bounds.heap_start) < bounds.heap_size
    {
        let card = bounds.card_base.wrapping_add(at >> CARD_SHIFT) as *mut u8;
        // SAFETY: the card table covers the heap.
        unsafe { *card = 1 };
    }
}

/// Stores a reference anywhere, with barrier.
///
/// # Safety
/// As for [`corten_checked_write_barrier`].
#[inline]
pub unsafe fn store_ref(destination: *mut ObjPtr, value: ObjPtr) {
    // SAFETY: the destination is writable; another thread may read it, so the store is atomic.
    unsafe {
        (*destination.cast::<std::sync::atomic::AtomicPtr<Object>>()).store(value, std::sync::atomic::Ordering::Release)
    };
    record_store(destination, value);
}

/// Records that `length` bytes at `destination` were overwritten with values that may be references.
#[inline]
pub fn record_bulk_store(destination: *mut u8, length: usize) {
    let bounds = bounds();
    let start = destination as usize;
    if length == 0 || start.wrapping_sub(bounds.heap_start) >= bounds.heap_size {
        return;
    }
    let first = bounds.card_base.wrapping_add(start >> CARD_SHIFT);
    let last = bounds.card_base.wrapping_add((start + length - 1) >> CARD_SHIFT);
    // SAFETY: the card table covers the heap.
    unsafe { std::ptr::write_bytes(first as *mut u8, 1, last - first + 1) };
}

/// Copies `length` bytes (a multiple of 8, may overlap) that may contain references, word by word so that a concurrent
/// reader never sees half a reference, with barrier.
///
/// # Safety
/// Both ranges are valid; cooperative mode.
pub unsafe extern "C" fn bulk_move_with_barrier(destination: *mut u8, source: *const u8, length: usize) {
    let words = length / 8;
    let (to, from) = (destination.cast::<u64>(), source.cast::<u64>());
    // SAFETY: forwarded; the direction of the copy respects overlap.
    unsafe {
        if (to as usize).wrapping_sub(from as usize) >= length {
            for i in 0..words {
                to.add(i).write_volatile(from.add(i).read());
            }
        } else {
            for i in (0..words).rev() {
                to.add(i).write_volatile(from.add(i).read());
            }
        }
    }
    record_bulk_store(destination, length);
}

/// Atomically replaces the reference at `destination`; returns the old one.
///
/// # Safety
/// As for [`corten_checked_write_barrier`].
pub unsafe extern "C" fn exchange_ref(destination: *mut ObjPtr, value: ObjPtr) -> ObjPtr {
    // SAFETY: forwarded.
    let old = unsafe {
        (*destination.cast::<std::sync::atomic::AtomicPtr<Object>>()).swap(value, std::sync::atomic::Ordering::SeqCst)
    };
    record_store(destination, value);
    old
}

/// Atomically replaces the reference at `destination` if it is `expected`; returns what was there.
///
/// # Safety
/// As for [`corten_checked_write_barrier`].
pub unsafe extern "C" fn compare_exchange_ref(destination: *mut ObjPtr, value: ObjPtr, expected: ObjPtr) -> ObjPtr {
    use std::sync::atomic::{AtomicPtr, Ordering};
    // SAFETY: forwarded.
    let result = unsafe {
        (*destination.cast::<AtomicPtr<Object>>()).compare_exchange(expected, value, Ordering::SeqCst, Ordering::SeqCst)
    };
    match result {
        Ok(old) => {
            record_store(destination, value);
            old
        }
        Err(actual) => actual,
    }
}
