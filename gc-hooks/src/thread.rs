//! The part of a runtime thread that the collector and generated code share.
//!
//! Generated code keeps the address of this structure in r15 and uses the offsets below as constants.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::monitor::Monitor;
use crate::object::ObjPtr;
use crate::scope::RootFrame;
use crate::sync::AtomicU32;

/// Offset of [`ThreadHeader::alloc_cursor`].
pub const THREAD_ALLOC_CURSOR: i32 = 0;
/// Offset of [`ThreadHeader::alloc_limit`].
pub const THREAD_ALLOC_LIMIT: i32 = 8;
/// Offset of [`ThreadHeader::poll_requested`].
pub const THREAD_POLL_REQUESTED: i32 = 16;
/// Offset of [`ThreadHeader::gc_mode`].
pub const THREAD_GC_MODE: i32 = 20;
/// Offset of [`ThreadHeader::pending_exception`].
pub const THREAD_PENDING_EXCEPTION: i32 = 24;
/// Offset of [`ThreadHeader::transition_pc`].
pub const THREAD_TRANSITION_PC: i32 = 32;
/// Offset of [`ThreadHeader::transition_fp`].
pub const THREAD_TRANSITION_FP: i32 = 40;
/// Offset of [`ThreadHeader::entry_frame`].
pub const THREAD_ENTRY_FRAME: i32 = 48;
/// Offset of the number that [`ThreadHeader::lock_id`] tells.
pub const THREAD_LOCK_ID: i32 = std::mem::offset_of!(ThreadHeader, lock_id) as i32;

/// Value of [`ThreadHeader::gc_mode`]: the thread may touch the managed heap and must reach safepoints.
pub const GC_MODE_COOPERATIVE: u32 = 1;
/// Value of [`ThreadHeader::gc_mode`]: the thread does not touch the managed heap; collections do not wait for it.
pub const GC_MODE_PREEMPTIVE: u32 = 0;

/// Bit of [`ThreadHeader::poll_requested`]: the world is being stopped. The bits are high ones (and positive as a signed number),
/// so that a loop tests its counter of iterations and the request with one comparison.
pub const POLL_SUSPEND: u32 = 1 << 30;
/// Bit of [`ThreadHeader::poll_requested`]: stress mode wants every poll to collect.
pub const POLL_STRESS: u32 = 1 << 29;
/// Bit of [`ThreadHeader::poll_requested`]: free for the runtime (thread interruption and the like). The least of them.
pub const POLL_RUNTIME: u32 = 1 << 28;

/// Prefix of the runtime's thread structure.
///
/// Inline allocation of `size` bytes: `obj = alloc_cursor; next = obj + size; if next > alloc_limit` call the slow
/// path, else `alloc_cursor = next; [obj] = MethodTable`. The memory from the cursor to the limit is zero; the header
/// word of the next object is the word before the cursor.
///
/// All access goes through shared references, because code that was compiled, assembly stubs and Rust functions of the same
/// thread use the structure at the same time. Who may touch what:
/// - Cells belong to the thread that the structure belongs to, and while that is stopped at a safepoint, to who stopped it (the
///   handshake orders the accesses). They make references to the structure stay on their thread.
/// - Atomics are everybody's, while the registry's lock or the runtime keeps the thread from detaching.
///
/// ```compile_fail,E0277
/// fn shared_between_threads<T: Sync>() {}
/// shared_between_threads::<corten_gc_hooks::ThreadHeader>();
/// ```
#[repr(C)]
pub struct ThreadHeader {
    /// Address that the next object gets.
    pub alloc_cursor: Cell<usize>,
    /// The cursor may not pass this address.
    pub alloc_limit: Cell<usize>,
    /// Nonzero: call the safepoint helper. Bits `POLL_*`.
    pub poll_requested: AtomicU32,
    /// [`GC_MODE_COOPERATIVE`] or [`GC_MODE_PREEMPTIVE`].
    pub gc_mode: AtomicU32,
    /// Exception to raise at the managed call site, set by native helpers. Scanned and updated by the collector.
    pub pending_exception: Cell<ObjPtr>,
    /// Return address into managed code of the innermost managed-to-native transition.
    pub transition_pc: Cell<usize>,
    /// Frame pointer of that managed frame.
    pub transition_fp: Cell<usize>,
    /// Chain of native-to-managed entry thunks.
    pub entry_frame: Cell<*mut c_void>,
    /// Innermost handle scope (roots of Rust code).
    pub(crate) scope_top: Cell<*mut RootFrame>,
    /// Retired scope frames for reuse.
    pub(crate) scope_cache: Cell<*mut RootFrame>,
    /// Start of the nursery chunk behind `alloc_cursor`, 0 if none.
    pub(crate) chunk_start: Cell<usize>,
    /// Real end of that chunk; the limit is lower while stress mode disables inline allocation.
    pub(crate) chunk_end: Cell<usize>,
    /// Bytes allocated by this thread apart from the current chunk.
    pub(crate) allocated_before_chunk: Cell<u64>,
    /// Identity of the owner in thin locks, assigned by `attach`; 0 while detached.
    pub(crate) lock_id: std::sync::atomic::AtomicU32,
    /// Whether the thread is in the registry.
    pub(crate) attached: Cell<bool>,
    /// `Thread.Interrupt` was called and no blocking operation has taken note.
    pub(crate) interrupt: std::sync::atomic::AtomicBool,
    /// The monitor that the thread blocks on or is about to.
    pub(crate) blocked_on: AtomicPtr<Monitor>,
    /// New objects with finalizers, until the next collection gathers them.
    pub(crate) finalizable: RefCell<Vec<usize>>,
}

// SAFETY: before it is attached, the structure is not tied to the thread that made it; the pointers in it are null, or lead to
// frames that it owns.
unsafe impl Send for ThreadHeader {}

impl ThreadHeader {
    /// A thread that is not yet attached, in preemptive mode.
    pub fn new() -> Self {
        Self {
            alloc_cursor: Cell::new(0),
            alloc_limit: Cell::new(0),
            poll_requested: AtomicU32::new(0),
            gc_mode: AtomicU32::new(GC_MODE_PREEMPTIVE),
            pending_exception: Cell::new(ptr::null_mut()),
            transition_pc: Cell::new(0),
            transition_fp: Cell::new(0),
            entry_frame: Cell::new(ptr::null_mut()),
            scope_top: Cell::new(ptr::null_mut()),
            scope_cache: Cell::new(ptr::null_mut()),
            chunk_start: Cell::new(0),
            chunk_end: Cell::new(0),
            allocated_before_chunk: Cell::new(0),
            lock_id: std::sync::atomic::AtomicU32::new(0),
            attached: Cell::new(false),
            interrupt: std::sync::atomic::AtomicBool::new(false),
            blocked_on: AtomicPtr::new(ptr::null_mut()),
            finalizable: RefCell::default(),
        }
    }

    /// Number that identifies this thread in thin locks (1..=65535), 0 while it is not attached.
    pub fn lock_id(&self) -> u32 {
        self.lock_id.load(Ordering::Relaxed)
    }

    /// Books `size` allocated bytes that are not in the chunk, or are there no more.
    pub(crate) fn count_allocation(&self, size: usize) {
        self.allocated_before_chunk
            .set(self.allocated_before_chunk.get() + size as u64);
    }

    /// Bytes that this thread has allocated on the managed heap since it was attached.
    pub fn allocated_bytes(&self) -> u64 {
        let current = if self.chunk_start.get() != 0 {
            self.alloc_cursor.get() - self.chunk_start.get()
        } else {
            0
        };
        self.allocated_before_chunk.get() + current as u64
    }
}

impl ThreadHeader {
    /// `Thread.Interrupt`: the present or next blocking monitor operation of this thread ends with an interruption.
    /// Callable from any thread while this one is attached (the caller keeps it from detaching).
    pub fn request_interrupt(&self) {
        self.interrupt.store(true, Ordering::SeqCst);
        let monitor = self.blocked_on.load(Ordering::SeqCst);
        if !monitor.is_null() {
            // SAFETY: monitors live in sync blocks, which are never unmapped.
            unsafe { (*monitor).interrupt(self.lock_id()) };
        }
    }

    /// Whether an interruption is pending. Other blocking operations of the runtime check it, too.
    pub fn interrupt_requested(&self) -> bool {
        self.interrupt.load(Ordering::SeqCst)
    }

    /// The interruption was turned into an exception.
    pub fn clear_interrupt(&self) {
        self.interrupt.store(false, Ordering::SeqCst);
    }

    pub(crate) fn set_blocked_on(&self, monitor: Option<&Monitor>) {
        let address = monitor.map_or(ptr::null_mut(), |monitor| ptr::from_ref(monitor).cast_mut());
        self.blocked_on.store(address, Ordering::SeqCst);
    }
}

impl Default for ThreadHeader {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ThreadHeader {
    fn drop(&mut self) {
        crate::safepoint::ThreadRegistry::get().detach(self);
        crate::scope::free_cache(self);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn offsets_are_those_of_generated_code() {
        assert_eq!(offset_of!(ThreadHeader, alloc_cursor), THREAD_ALLOC_CURSOR as usize);
        assert_eq!(offset_of!(ThreadHeader, alloc_limit), THREAD_ALLOC_LIMIT as usize);
        assert_eq!(offset_of!(ThreadHeader, poll_requested), THREAD_POLL_REQUESTED as usize);
        assert_eq!(offset_of!(ThreadHeader, gc_mode), THREAD_GC_MODE as usize);
        assert_eq!(
            offset_of!(ThreadHeader, pending_exception),
            THREAD_PENDING_EXCEPTION as usize
        );
        assert_eq!(offset_of!(ThreadHeader, transition_pc), THREAD_TRANSITION_PC as usize);
        assert_eq!(offset_of!(ThreadHeader, transition_fp), THREAD_TRANSITION_FP as usize);
        assert_eq!(offset_of!(ThreadHeader, entry_frame), THREAD_ENTRY_FRAME as usize);
    }
}
