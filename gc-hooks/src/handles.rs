//! Handle table: references held by native code and by `GCHandle`.
//!
//! A handle is the address of a slot that holds the object's address, so managed code reads it with one load. Slots
//! live in 4 KB segments aligned to their size; the segment's header tells the kind. Addresses never change.

use crate::object::ObjPtr;
use crate::sync::Mutex;

/// Kinds of handles; the first four numbers are those of `GCHandleType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum HandleKind {
    /// Does not keep the object alive; cleared before the object's finalizer runs.
    WeakShort = 0,
    /// Does not keep the object alive; cleared when the memory is reclaimed.
    WeakLong = 1,
    /// Keeps the object alive.
    Strong = 2,
    /// Keeps the object alive and where it is.
    Pinned = 3,
    /// While the primary is alive, so is the secondary.
    Dependent = 4,
}

const KINDS: usize = 5;
const SEGMENT_SIZE: usize = 4096;
const FIRST_SLOT: usize = 64;
const SLOTS: usize = (SEGMENT_SIZE - FIRST_SLOT) / 8;
/// Distance in bytes from the primary slot of a dependent handle to its secondary.
const SECONDARY: usize = SLOTS / 2 * 8;

/// The type number is not one of [`HandleKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown handle type {0}")]
pub struct UnknownHandleKind(pub u32);

impl TryFrom<u32> for HandleKind {
    type Error = UnknownHandleKind;

    fn try_from(number: u32) -> Result<Self, UnknownHandleKind> {
        Ok(match number {
            0 => HandleKind::WeakShort,
            1 => HandleKind::WeakLong,
            2 => HandleKind::Strong,
            3 => HandleKind::Pinned,
            4 => HandleKind::Dependent,
            other => return Err(UnknownHandleKind(other)),
        })
    }
}

/// Slots of one kind.
pub struct SlotPool {
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    segments: Vec<usize>,
    free: Vec<usize>,
    live: usize,
    /// Most slots ever in use at once. A slot that was never used is taken only when no other is free, in the order of the
    /// segments, so that nothing but the first `peak` slots was ever used.
    peak: usize,
}

impl SlotPool {
    /// An empty pool.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            state: Mutex::new(PoolState::default()),
        }
    }

    /// Takes a slot; `more` makes the addresses of new free slots and their segment when there is none.
    pub fn take(&self, more: impl FnOnce() -> (usize, Vec<usize>)) -> usize {
        #[cfg(feature = "planted-bug")]
        {
            // The mutant looks and takes in two steps.
            let last = self.state.lock().free.last().copied();
            if let Some(slot) = last {
                let mut state = self.state.lock();
                state.free.pop();
                state.live += 1;
                return slot;
            }
        }
        let mut state = self.state.lock();
        state.live += 1;
        state.peak = state.peak.max(state.live);
        if let Some(slot) = state.free.pop() {
            return slot;
        }
        let (segment, mut slots) = more();
        state.segments.push(segment);
        let slot = slots.pop().unwrap_or(0);
        state.free.append(&mut slots);
        slot
    }

    /// Gives a slot back.
    pub fn give_back(&self, slot: usize) {
        let mut state = self.state.lock();
        state.live -= 1;
        state.free.push(slot);
    }

    /// Slots in use.
    pub fn live(&self) -> usize {
        self.state.lock().live
    }
}

/// All handles of the process. Operations that read or write object references need cooperative mode.
pub struct HandleTable {
    pools: [SlotPool; KINDS],
}

fn new_segment(kind: HandleKind) -> (usize, Vec<usize>) {
    let Ok(layout) = std::alloc::Layout::from_size_align(SEGMENT_SIZE, SEGMENT_SIZE) else {
        return (0, Vec::new());
    };
    // SAFETY: the layout has a nonzero size.
    let segment = unsafe { std::alloc::alloc_zeroed(layout) };
    if segment.is_null() {
        std::alloc::handle_alloc_error(layout);
    }
    // SAFETY: the segment is ours and big enough.
    unsafe { *segment.cast::<u32>() = kind as u32 };
    let count = if kind == HandleKind::Dependent {
        SLOTS / 2
    } else {
        SLOTS
    };
    let base = segment as usize;
    (base, (0..count).rev().map(|i| base + FIRST_SLOT + i * 8).collect())
}

impl HandleTable {
    pub(crate) fn new() -> Self {
        Self {
            pools: std::array::from_fn(|_| SlotPool::new()),
        }
    }

    /// Makes a handle to `obj` (may be null). Infallible but for memory.
    #[allow(clippy::not_unsafe_ptr_arg_deref, reason = "the slot is the table's own")]
    pub fn alloc(&self, kind: HandleKind, obj: ObjPtr) -> *mut ObjPtr {
        let slot = self.pools[kind as usize].take(|| new_segment(kind)) as *mut ObjPtr;
        // SAFETY: the slot is ours.
        unsafe { slot.write_volatile(obj) };
        slot
    }

    /// Makes a dependent handle.
    #[allow(clippy::not_unsafe_ptr_arg_deref, reason = "the slot is the table's own")]
    pub fn alloc_dependent(&self, primary: ObjPtr, secondary: ObjPtr) -> *mut ObjPtr {
        let slot =
            self.pools[HandleKind::Dependent as usize].take(|| new_segment(HandleKind::Dependent)) as *mut ObjPtr;
        // SAFETY: the slot and its secondary are ours.
        unsafe {
            slot.byte_add(SECONDARY).write_volatile(secondary);
            slot.write_volatile(primary);
        }
        slot
    }

    /// Ends a handle.
    ///
    /// # Safety
    /// `handle` came from this table and is not used any more.
    pub unsafe fn free(&self, handle: *mut ObjPtr) {
        // SAFETY: forwarded.
        unsafe {
            let kind = self.kind_of(handle);
            handle.write_volatile(std::ptr::null_mut());
            if kind == HandleKind::Dependent {
                handle.byte_add(SECONDARY).write_volatile(std::ptr::null_mut());
            }
            self.pools[kind as usize].give_back(handle as usize);
        }
    }

    /// Kind of a handle.
    ///
    /// # Safety
    /// `handle` came from this table.
    pub unsafe fn kind_of(&self, handle: *mut ObjPtr) -> HandleKind {
        // SAFETY: the handle lies in a segment aligned to its size, whose first word is the kind.
        let number = unsafe { *((handle as usize & !(SEGMENT_SIZE - 1)) as *const u32) };
        HandleKind::try_from(number).unwrap_or(HandleKind::Strong)
    }

    /// The object of a handle.
    ///
    /// # Safety
    /// `handle` is a live handle; cooperative mode.
    #[inline]
    pub unsafe fn get(&self, handle: *mut ObjPtr) -> ObjPtr {
        // SAFETY: forwarded.
        unsafe { handle.read_volatile() }
    }

    /// Replaces the object of a handle.
    ///
    /// # Safety
    /// As for [`Self::get`].
    #[inline]
    pub unsafe fn set(&self, handle: *mut ObjPtr, obj: ObjPtr) {
        // SAFETY: forwarded.
        unsafe { handle.write_volatile(obj) };
    }

    /// Atomically replaces the object of a handle if it is `expected`; returns what was there.
    ///
    /// # Safety
    /// As for [`Self::get`].
    pub unsafe fn compare_exchange(&self, handle: *mut ObjPtr, value: ObjPtr, expected: ObjPtr) -> ObjPtr {
        // SAFETY: forwarded; handles are not in the heap, so the barrier part does nothing.
        unsafe { crate::barrier::compare_exchange_ref(handle, value, expected) }
    }

    /// The secondary of a dependent handle.
    ///
    /// # Safety
    /// `handle` is a live dependent handle; cooperative mode.
    pub unsafe fn secondary(&self, handle: *mut ObjPtr) -> ObjPtr {
        // SAFETY: forwarded.
        unsafe { handle.byte_add(SECONDARY).read_volatile() }
    }

    /// Replaces the secondary of a dependent handle.
    ///
    /// # Safety
    /// As for [`Self::secondary`].
    pub unsafe fn set_secondary(&self, handle: *mut ObjPtr, obj: ObjPtr) {
        // SAFETY: forwarded.
        unsafe { handle.byte_add(SECONDARY).write_volatile(obj) };
    }

    /// Handles of a kind that are in use.
    pub fn count(&self, kind: HandleKind) -> usize {
        self.pools[kind as usize].live()
    }

    /// Visits every slot of a kind that is not null, with the world stopped.
    pub(crate) fn for_each(&self, kind: HandleKind, mut visit: impl FnMut(*mut ObjPtr)) {
        let count = if kind == HandleKind::Dependent {
            SLOTS / 2
        } else {
            SLOTS
        };
        let state = self.pools[kind as usize].state.lock();
        let mut rest = state.peak;
        for &segment in &state.segments {
            let first = (segment + FIRST_SLOT) as *mut ObjPtr;
            let used = count.min(rest);
            rest -= used;
            for i in 0..used {
                // SAFETY: segments are never freed.
                unsafe {
                    let slot = first.add(i);
                    if !(*slot).is_null() {
                        visit(slot);
                    }
                }
            }
        }
    }

    /// Visits (primary slot, secondary slot) of every dependent handle with a primary.
    pub(crate) fn for_each_dependent(&self, mut visit: impl FnMut(*mut ObjPtr, *mut ObjPtr)) {
        self.for_each(HandleKind::Dependent, |slot| {
            visit(slot, slot.wrapping_byte_add(SECONDARY))
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn slots_are_reused_and_know_their_kind() {
        let table = HandleTable::new();
        let strong = table.alloc(HandleKind::Strong, 0x1000 as ObjPtr);
        let dependent = table.alloc_dependent(0x2000 as ObjPtr, 0x3000 as ObjPtr);
        // SAFETY: the handles are live; nothing is dereferenced.
        unsafe {
            assert_eq!(table.kind_of(strong), HandleKind::Strong);
            assert_eq!(table.kind_of(dependent), HandleKind::Dependent);
            assert_eq!(table.secondary(dependent) as usize, 0x3000);
            assert_eq!(
                table.compare_exchange(strong, 0x8 as ObjPtr, std::ptr::null_mut()) as usize,
                0x1000
            );
            table.free(strong);
            assert_eq!(table.alloc(HandleKind::Strong, std::ptr::null_mut()), strong);
        }
        let many: Vec<_> = (0..2000)
            .map(|_| table.alloc(HandleKind::WeakShort, 8 as ObjPtr))
            .collect();
        let mut seen = 0;
        table.for_each(HandleKind::WeakShort, |_| seen += 1);
        assert_eq!(seen, many.len());
        assert_eq!(table.count(HandleKind::WeakShort), 2000);
        // Every slot in use is visited, whatever was freed and taken in between.
        for (i, &slot) in many.iter().enumerate() {
            if i % 3 != 0 {
                // SAFETY: the handle is live and not used any more.
                unsafe { table.free(slot) };
            }
        }
        for _ in 0..500 {
            table.alloc(HandleKind::WeakShort, 8 as ObjPtr);
        }
        seen = 0;
        table.for_each(HandleKind::WeakShort, |_| seen += 1);
        assert_eq!(seen, 667 + 500);
    }
}
