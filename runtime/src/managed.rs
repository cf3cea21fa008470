//! Calling managed code from Rust.

use crate::asm::{CallArgs, CallResult, call_managed_thunk};
use crate::error::{Raise, VmResult};
use crate::thread::{Boundary, EntryFrame, Thread};
use corten_gc_hooks::object::ObjPtr;
use corten_loader::MethodDesc;

/// Arguments for a managed call, placed as the managed ABI does (integers, references and doubles only; other shapes go
/// through reflection's generic invoke). Raw references are put here last, right before [`ManagedCall::invoke`]; nothing in
/// between may reach a safepoint.
#[derive(Debug)]
pub struct ManagedCall {
    int: [u64; 6],
    sse: [u64; 8],
    n_int: usize,
    n_sse: usize,
    stack: Vec<u64>,
    boundary: Boundary,
}

impl Default for ManagedCall {
    fn default() -> Self {
        Self::new()
    }
}

impl ManagedCall {
    /// No arguments yet; exceptions come back as errors.
    pub fn new() -> ManagedCall {
        ManagedCall {
            int: [0; 6],
            sse: [0; 8],
            n_int: 0,
            n_sse: 0,
            stack: Vec::new(),
            boundary: Boundary::Caught,
        }
    }
    /// An exception that arrives is unhandled (thread start, `Main`).
    pub fn top_level(mut self) -> ManagedCall {
        self.boundary = Boundary::TopLevel;
        self
    }
    /// An INTEGER class argument.
    pub fn int(mut self, v: u64) -> ManagedCall {
        if self.n_int < 6 {
            self.int[self.n_int] = v;
            self.n_int += 1;
        } else {
            self.stack.push(v);
        }
        self
    }
    /// A reference.
    pub fn obj(self, o: ObjPtr) -> ManagedCall {
        self.int(o as u64)
    }
    /// A pointer or managed pointer.
    pub fn ptr<T>(self, p: *const T) -> ManagedCall {
        self.int(p as u64)
    }
    /// An SSE class argument (bits).
    pub fn sse(mut self, bits: u64) -> ManagedCall {
        if self.n_sse < 8 {
            self.sse[self.n_sse] = bits;
            self.n_sse += 1;
        } else {
            self.stack.push(bits);
        }
        self
    }
    /// A word that goes on the stack in any case (struct passed in memory).
    pub fn stack_word(mut self, v: u64) -> ManagedCall {
        self.stack.push(v);
        self
    }

    /// Calls `method`. An exception comes back as `Raise::Pending` (object in `Thread.pending_exception`).
    pub fn invoke(self, method: &'static MethodDesc) -> VmResult<CallResult> {
        self.invoke_address(method.entry())
    }

    /// Calls code at `target` that follows the managed ABI.
    pub fn invoke_address(self, target: usize) -> VmResult<CallResult> {
        let thread = Thread::current();
        let args = CallArgs {
            int: self.int,
            sse: self.sse,
            stack: self.stack.as_ptr(),
            stack_words: self.stack.len(),
        };
        let mut result = CallResult::default();
        let mut frame = EntryFrame {
            prev: std::ptr::null_mut(),
            saved_pc: 0,
            saved_fp: 0,
            saved_sp: 0,
            resume_sp: 0,
            resume_pc: 0,
            boundary: self.boundary,
        };
        let icall = (thread.icall_pc.get(), thread.icall_method.get());
        // SAFETY: `target` follows the managed ABI with these arguments (the caller's promise by choosing the method), the
        // frame lives until the thunk returns, and the thread is current and cooperative.
        let status = unsafe { call_managed_thunk(target, &args, &mut result, thread, &mut frame) };
        // Managed code has called other internal calls meanwhile.
        thread.icall_pc.set(icall.0);
        thread.icall_method.set(icall.1);
        if status == 0 {
            Ok(result)
        } else {
            thread.header.pending_exception.set(result.rax as ObjPtr);
            Err(Raise::Pending)
        }
    }
}
