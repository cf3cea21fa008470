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
use corten_gc_hooks::RootVisitor;
use corten_loader::{LoadError, MethodDesc};

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
/// address of this record and passes it back to `resume`. The exception object itself travels in the handler's frame.
#[derive(Debug)]
pub struct DispatchRecord {
    /// Where it ends.
    pub target: Target,
    /// Frame whose handler runs.
    pub current_fp: usize,
    /// Clause of that handler.
    pub current_clause: u32,
}

impl DispatchRecord {
    /// Reports references (none: the exception object is in the frame of the running handler).
    pub fn visit(&mut self, _visitor: &mut dyn RootVisitor) {}
}

/// Makes the pending exception of the current thread from `raise` (cooperative mode; may collect and run managed code).
pub fn set_pending(raise: Raise) {
    match raise {
        Raise::Pending => {}
        Raise::New { kind, message, subject } => {
            let exception = create::create_or_fallback(kind, message.as_deref(), subject.as_deref());
            Thread::current().header.pending_exception = exception;
        }
    }
}

/// Raises `raise` at the managed call site of the internal call or helper that is running: replaces the return address which
/// its transition stub recorded. The caller must return to the stub at once.
pub fn raise_at_return(raise: Raise) {
    set_pending(raise);
    let thread = Thread::current();
    if thread.icall_pc == thread.header.transition_pc
        // SAFETY: null or the address that the stub of an internal call holds; MethodDescs are leaked.
        && let Some(method) = unsafe { (thread.icall_method as *const MethodDesc).as_ref() }
        // Allocators have no frame in CoreCLR either.
        && method.name() != "FastAllocateString"
    {
        trace::add_frame_of(thread, method);
    }
    let slot = thread.transition_sp as *mut usize;
    // SAFETY: the transition stub stored the address of its return address, which is still on the stack.
    unsafe {
        thread.hijacked_pc = *slot;
        *slot = crate::asm::hijacked_return_stub as *const () as usize;
    }
}

/// The .NET exception that reports a loader error.
pub fn from_load_error(error: &LoadError) -> Raise {
    let kind = match error {
        LoadError::TypeLoad { .. } => ExceptionKind::TypeLoad,
        LoadError::FileNotFound { .. } => ExceptionKind::FileNotFound,
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
