//! Managed exceptions: creation, two-pass dispatch over managed frames, stack traces, and what happens when nobody catches.
//!
//! No native frame is ever unwound by a managed exception: native code returns an error ([`Raise`]) to its managed caller's call
//! site, where the exception is thrown anew, and calls of managed code from native code catch at the
//! [`EntryFrame`](crate::thread::EntryFrame).

pub mod create;
pub mod dispatch;
pub mod first_chance;
pub mod frames;
pub mod signals;
pub mod termination;
pub mod trace;
pub mod unhandled;

use crate::error::{ExceptionKind, Raise};
use crate::thread::{EntryFrame, Thread};
use corten_loader::{LoadError, MethodDesc};
use std::cell::{Cell, RefCell};

/// Where the second pass ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The handler of a clause of the frame with that frame pointer.
    Clause {
        /// Frame pointer.
        fp: usize,
        /// Index in the method's EH table.
        clause: u32,
    },
    /// The exceptional exit of an entry frame.
    Entry(*mut EntryFrame),
}

/// An exception in its second pass, suspended while a finally or fault handler runs. The handler's landing pad receives the
/// record's number and passes it back to `resume`. The exception object itself travels in the handler's frame.
#[derive(Debug)]
struct DispatchRecord {
    number: usize,
    /// Where it ends.
    target: Target,
    /// Frame whose handler runs.
    current_fp: usize,
    /// Clause of that handler.
    current_clause: u32,
}

/// The exceptions of a thread that are in their second pass, innermost last.
///
/// (They refer to no objects: those are in the frames of the running handlers.)
#[derive(Debug, Default)]
pub struct DispatchRecords {
    records: RefCell<Vec<DispatchRecord>>,
    last: Cell<usize>,
}

impl DispatchRecords {
    /// Where the exception with that record ends.
    pub fn target(&self, number: usize) -> Option<Target> {
        let records = self.records.borrow();
        records.iter().find(|r| r.number == number).map(|r| r.target)
    }

    /// Drops the records of handlers that ran in frames below `stack`.
    pub fn drop_below(&self, stack: usize) {
        self.records.borrow_mut().retain(|r| r.current_fp > stack);
    }

    /// The number of the record to hand to a cleanup handler: the one in use, or a new one. (0 is none.)
    pub fn keep(&self, number: usize, target: Target, current_fp: usize, current_clause: u32) -> usize {
        let mut records = self.records.borrow_mut();
        if let Some(r) = records.iter_mut().find(|r| r.number == number) {
            r.current_fp = current_fp;
            r.current_clause = current_clause;
            return number;
        }
        let number = self.last.get() + 1;
        self.last.set(number);
        records.push(DispatchRecord {
            number,
            target,
            current_fp,
            current_clause,
        });
        number
    }

    /// Drops the record and every one whose handler is left by entering `clause` of the frame at `fp`: those of inner frames,
    /// and those of the same frame unless `clause` is nested in the running handler (inner clauses come first in the EH table).
    pub fn drop_left(&self, fp: usize, clause: u32, number: usize) {
        self.records
            .borrow_mut()
            .retain(|r| r.number != number && (r.current_fp > fp || (r.current_fp == fp && clause < r.current_clause)));
    }
}

/// Makes the pending exception of the current thread from `raise` (cooperative mode; may collect and run managed code).
pub fn set_pending(raise: Raise) {
    match raise {
        Raise::Pending => {}
        Raise::New { kind, message, subject } => {
            let exception = create::create_or_fallback(kind, message.as_deref(), subject.as_deref());
            Thread::current().header.pending_exception.set(exception);
        }
    }
}

/// Raises `raise` at the managed call site of the internal call or helper that is running: replaces the return address which
/// its transition stub recorded. The caller must return to the stub at once.
pub fn raise_at_return(raise: Raise) {
    set_pending(raise);
    let thread = Thread::current();
    if thread.icall_pc.get() == thread.header.transition_pc.get()
        // SAFETY: null or the address that the stub of an internal call holds; MethodDescs are leaked.
        && let Some(method) = unsafe { (thread.icall_method.get() as *const MethodDesc).as_ref() }
        // Allocators have no frame in CoreCLR either.
        && method.name() != "FastAllocateString"
    {
        trace::add_frame_of(thread, method);
    }
    let slot = thread.transition_sp.get() as *mut usize;
    // SAFETY: the transition stub stored the address of its return address, which is still on the stack.
    unsafe {
        thread.hijacked_pc.set(*slot);
        *slot = crate::asm::hijacked_return_stub as *const () as usize;
    }
}

/// The .NET exception that reports a loader error.
pub fn from_load_error(error: &LoadError) -> Raise {
    let kind = match error {
        LoadError::TypeLoad { .. } => ExceptionKind::TypeLoad,
        LoadError::FileNotFound { .. } => ExceptionKind::FileNotFound,
        LoadError::Thrown { exception, .. } => {
            return crate::qcalls::reflection::resolve_failure::raise(exception);
        }
        LoadError::FileLoad { .. } => ExceptionKind::FileLoad,
        LoadError::VoidInSignature => ExceptionKind::Com,
        LoadError::BadImageFormat { .. } | LoadError::BadImageFile { .. } | LoadError::PackingSize { .. } => {
            ExceptionKind::BadImageFormat
        }
        LoadError::MissingMethod { .. } => ExceptionKind::MissingMethod,
        LoadError::MissingField { .. } => ExceptionKind::MissingField,
        LoadError::EntryPointNotFound { .. } => ExceptionKind::EntryPointNotFound,
        LoadError::AmbiguousImplementation { .. } => ExceptionKind::AmbiguousImplementation,
        LoadError::MethodConstraint { .. } => ExceptionKind::Verification,
        LoadError::InvalidProgram { .. } => ExceptionKind::InvalidProgram,
        LoadError::NotSupported { .. } => ExceptionKind::NotSupported,
    };
    match error {
        LoadError::FileNotFound { name, .. } => Raise::about(
            kind,
            format!("Could not load file or assembly '{name}'. The system cannot find the file specified.\n"),
            name,
        ),
        LoadError::TypeLoad { type_name: subject, .. } | LoadError::FileLoad { name: subject, .. } => {
            Raise::about(kind, error.to_string(), subject)
        }
        // Its `FileName` is null, as in CoreCLR; the text names it.
        LoadError::BadImageFile { .. } => Raise::about(kind, error.to_string(), ""),
        // The class's own text is the one CoreCLR shows.
        LoadError::InvalidProgram { .. } => Raise::of(kind),
        other => Raise::new(kind, other.to_string()),
    }
}
