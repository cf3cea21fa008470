//! The engine's thread: the collector's [`ThreadHeader`] first (generated code addresses it through r15), then what the
//! assembly stubs and the rest of the runtime need.

use crate::exceptions::DispatchRecords;
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::thread::ThreadHeader;
use std::cell::Cell;
use std::mem::offset_of;

/// A native-to-managed transition (a call of managed code from Rust); lives on the native stack and links the managed
/// segments of a thread's stack.
#[repr(C)]
#[derive(Debug)]
pub struct EntryFrame {
    /// Next outer one.
    pub prev: *mut EntryFrame,
    /// Transition that was current when managed code was entered (where the outer managed segment ends); 0 = none.
    pub saved_pc: usize,
    /// Frame pointer (rbp) of the caller.
    pub saved_fp: usize,
    /// Stack pointer of the caller.
    pub saved_sp: usize,
    /// Stack pointer at which the exceptional exit resumes.
    pub resume_sp: usize,
    /// Code address of the exceptional exit.
    pub resume_pc: usize,
    /// What happens to an exception that reaches this frame.
    pub boundary: Boundary,
}

/// What an exception that reaches an [`EntryFrame`] does.
#[repr(u64)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Boundary {
    /// The Rust caller receives it as an error (it is caught there).
    Caught = 0,
    /// Nobody above: unhandled, the process ends without running finally blocks.
    TopLevel = 1,
}

/// Arguments of a method that are still in registers and on the stack while the prestub runs; scanned by the collector
/// with the method's signature.
#[repr(C)]
#[derive(Debug)]
pub struct PrestubFrame {
    /// The next frame outwards, or null.
    pub prev: *mut PrestubFrame,
    /// The method that is called; its signature says which arguments hold references.
    pub method: *const corten_loader::MethodDesc,
    /// rdi, rsi, rdx, rcx, r8, r9.
    pub int_registers: *mut u64,
    /// First stack argument.
    pub stack_args: *mut u64,
}

/// One managed thread.
///
/// References to it are shared and stay on its thread: compiled code and assembly stubs, which hold its address in r15, and the
/// Rust functions that they call use it at the same time. Cells belong to the thread (as in [`ThreadHeader`], to who stopped it
/// while it is stopped). Other threads have a [`Peer`](crate::peer::Peer), which leads to atomics and
/// [`InterruptState::shared`](crate::icalls::threading::InterruptState::shared) only.
#[repr(C)]
pub struct Thread {
    /// What the collector knows of the thread; must stay first.
    pub header: ThreadHeader,
    /// Address that the tail call stub jumps to.
    pub tail_target: Cell<usize>,
    /// Bytes of stack arguments of that call (low half) and of the calling method itself (high half).
    pub tail_stack_bytes: Cell<usize>,
    /// Stack pointer at the innermost managed-to-native transition: address of the return address into managed code.
    pub transition_sp: Cell<usize>,
    /// Original return address when a native helper asked for an exception to be raised at its return.
    pub hijacked_pc: Cell<usize>,
    /// Return address of the last call of an internal call, and its MethodDesc: an exception raised at that address gets a
    /// frame for it.
    pub icall_pc: Cell<usize>,
    /// MethodDesc of the internal call that is running (see `icall_pc`).
    pub icall_method: Cell<usize>,
    /// Prestub calls in progress, innermost first.
    pub prestub_frames: Cell<*mut PrestubFrame>,
    /// Exceptions in their second pass, innermost last.
    pub dispatch_records: DispatchRecords,
    /// Handle (strong) to the managed `System.Threading.Thread`, or null.
    pub managed_thread: Cell<*mut ObjPtr>,
    /// Managed thread id (small, from 1).
    pub managed_id: u32,
    /// `Marshal.GetLastPInvokeError`.
    pub last_pinvoke_error: Cell<i32>,
    /// Thread static storage: blocks by type index, allocated on demand, in native memory.
    pub thread_statics: crate::thread_statics::ThreadStatics,
    /// Lowest usable address and end of the stack.
    pub stack_limits: Cell<(usize, usize)>,
    /// `Thread.Interrupt` requests and what the thread waits for.
    pub interrupt: crate::icalls::threading::InterruptState,
}

/// Offsets from r15 used by the assembly stubs.
pub mod offsets {
    use super::*;
    /// The exception that a native helper asked to raise.
    pub const PENDING_EXCEPTION: usize = offset_of!(Thread, header) + offset_of!(ThreadHeader, pending_exception);
    /// Return address into managed code of the innermost transition.
    pub const TRANSITION_PC: usize = offset_of!(Thread, header) + offset_of!(ThreadHeader, transition_pc);
    /// Frame pointer of the managed caller of the innermost transition.
    pub const TRANSITION_FP: usize = offset_of!(Thread, header) + offset_of!(ThreadHeader, transition_fp);
    /// Innermost [`EntryFrame`].
    pub const ENTRY_FRAME: usize = offset_of!(Thread, header) + offset_of!(ThreadHeader, entry_frame);
    /// See [`Thread::tail_target`].
    pub const TAIL_TARGET: usize = offset_of!(Thread, tail_target);
    /// See [`Thread::tail_stack_bytes`].
    pub const TAIL_STACK_BYTES: usize = offset_of!(Thread, tail_stack_bytes);
    /// First word of the table of thread static blocks.
    pub const THREAD_STATICS_BASE: usize = offset_of!(Thread, thread_statics) + crate::thread_statics::BASE_OFFSET;
    /// Size of that table in bytes.
    pub const THREAD_STATICS_BYTES: usize = offset_of!(Thread, thread_statics) + crate::thread_statics::BYTES_OFFSET;
    /// See [`Thread::transition_sp`].
    pub const TRANSITION_SP: usize = offset_of!(Thread, transition_sp);
    /// See [`Thread::hijacked_pc`].
    pub const HIJACKED_PC: usize = offset_of!(Thread, hijacked_pc);
    /// See [`Thread::icall_pc`].
    pub const ICALL_PC: usize = offset_of!(Thread, icall_pc);
    /// See [`Thread::icall_method`].
    pub const ICALL_METHOD: usize = offset_of!(Thread, icall_method);
}

thread_local! {
    static CURRENT: Cell<*const Thread> = const { Cell::new(std::ptr::null()) };
}

impl Thread {
    /// The current thread, or null if this OS thread was never attached.
    #[inline]
    pub fn current_ptr() -> *const Thread {
        CURRENT.with(|c| c.get())
    }

    /// The current thread.
    #[inline]
    pub fn current() -> &'static Thread {
        let p = Self::current_ptr();
        assert!(!p.is_null(), "not a managed thread");
        // SAFETY: `attach` set it to a Thread that stays until `detach_current`, whose caller promises that this reference is
        // used no more. It cannot go to another thread, because the structure has cells.
        unsafe { &*p }
    }

    /// Makes `thread` the current one of this OS thread.
    pub fn set_current(thread: *const Thread) {
        CURRENT.with(|c| c.set(thread));
    }
}
