//! The dispatcher: pass 1 looks for the handler (running filters on the live frames), pass 2 runs finally and fault handlers
//! and enters it.
//!
//! Pass 2 leaves the dispatcher by jumping to a landing pad. The pad of a finally or fault ends in `resume`, which continues
//! pass 2 from that frame with the record it was given. Records of exceptions that were superseded by one thrown in
//! a handler are dropped when the frame of their handler is left.

use super::frames::{Frame, HandlerKind, Step, Walk};
use super::trace::{Origin, TraceBuilder};
use super::{Target, create, first_chance, unhandled};
use crate::asm::{ThrowContext, restore_and_jump};
use crate::error::ExceptionKind;
use crate::managed::ManagedCall;
use crate::thread::{Boundary, Thread};
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::scope::Local;
use corten_loader::{Module, TypeHandle};
use corten_metadata::Token;
use std::sync::atomic::{AtomicU32, Ordering};

static THROWN: AtomicU32 = AtomicU32::new(0);

/// How many exceptions were thrown in this process (`Exception.GetExceptionCount`).
pub fn exceptions_thrown() -> u32 {
    THROWN.load(Ordering::Relaxed)
}

/// `throw`: starts dispatching with a fresh stack trace.
///
/// # Safety
/// Only from the throw stub: `context` is on the stack of `thread`, the current one, in cooperative mode.
pub unsafe extern "C" fn throw_worker(
    exception: ObjPtr,
    _unused: usize,
    context: *mut ThrowContext,
    thread: *const Thread,
) -> ! {
    // SAFETY: the stub's promise.
    let (context, thread) = unsafe { (&mut *context, &*thread) };
    dispatch(thread, exception, context, Origin::Throw)
}

/// `rethrow`: as [`throw_worker`], but the stack trace goes on.
///
/// # Safety
/// As [`throw_worker`].
pub unsafe extern "C" fn rethrow_worker(
    exception: ObjPtr,
    _unused: usize,
    context: *mut ThrowContext,
    thread: *const Thread,
) -> ! {
    // SAFETY: the stub's promise.
    let (context, thread) = unsafe { (&mut *context, &*thread) };
    dispatch(thread, exception, context, Origin::Rethrow)
}

/// A hardware fault in managed code: raises an exception of that kind as if the faulting instruction had called.
///
/// # Safety
/// As [`throw_worker`]; `kind` is an index made by the signal handler.
pub unsafe extern "C" fn fault_worker(
    kind: usize,
    _unused: usize,
    context: *mut ThrowContext,
    thread: *const Thread,
) -> ! {
    // SAFETY: the stub's promise.
    let (context, thread) = unsafe { (&mut *context, &*thread) };
    let kind = match kind {
        0 => ExceptionKind::NullReference,
        1 => ExceptionKind::DivideByZero,
        _ => ExceptionKind::Overflow,
    };
    let exception = create::create_or_fallback(kind, None, None);
    dispatch(thread, exception, context, Origin::Throw)
}

/// An exception that native code raises, a new one or one that it caught from managed code that it had called: the stack trace
/// goes on.
///
/// # Safety
/// As [`throw_worker`].
pub unsafe extern "C" fn raise_worker(
    exception: ObjPtr,
    _unused: usize,
    context: *mut ThrowContext,
    thread: *const Thread,
) -> ! {
    // SAFETY: the stub's promise.
    let (context, thread) = unsafe { (&mut *context, &*thread) };
    dispatch(thread, exception, context, Origin::Native)
}

/// End of a finally or fault handler: continues pass 2 of `record`.
///
/// # Safety
/// As [`throw_worker`]; `record` is the one that the handler's landing pad received.
pub unsafe extern "C" fn resume_worker(
    exception: ObjPtr,
    record: usize,
    context: *mut ThrowContext,
    thread: *const Thread,
) -> ! {
    // SAFETY: the stub's promise.
    let (context, thread) = unsafe { (&mut *context, &*thread) };
    let Some(target) = thread.dispatch_records.target(record) else {
        crate::engine::fatal("a finally handler resumed an exception that is not in flight")
    };
    second_pass(thread, exception, context, target, record)
}

fn dispatch(thread: &Thread, exception: ObjPtr, context: &mut ThrowContext, origin: Origin) -> ! {
    // Frames below this one are dead: so are records of handlers that ran in them.
    let here = context as *const ThrowContext as usize;
    thread.dispatch_records.drop_below(here);
    THROWN.fetch_add(1, Ordering::Relaxed);
    let (exception, target) = first_pass(thread, exception, context, origin);
    second_pass(thread, exception, context, target, 0)
}

/// Finds the handler. Returns the exception's present address.
fn first_pass(thread: &Thread, exception: ObjPtr, context: &ThrowContext, origin: Origin) -> (ObjPtr, Target) {
    let scope = HandleScope::new(&thread.header);
    let exception = scope.root(exception);
    if exception.is_null() {
        exception.set(create::create_or_fallback(ExceptionKind::NullReference, None, None));
    }
    create::wrap_if_not_exception(thread, &exception);
    let continues = thread.interrupt.foreign_exception_raise.take();
    let mut builder = TraceBuilder::start(&exception, origin, continues);
    first_chance::notify(thread, &exception);

    let mut walk = Walk::at(context.pc, context.rbp, thread.header.entry_frame.get().cast());
    loop {
        match walk.step() {
            Step::Managed(frame) => {
                builder.push(&frame);
                if let Some(clause) = find_handler(thread, &frame, &exception, &mut builder) {
                    builder.flush(thread, &exception);
                    return (exception.get(), Target::Clause { fp: frame.fp, clause });
                }
            }
            Step::Entry(entry) => {
                builder.flush(thread, &exception);
                // SAFETY: entry frames are live on this thread's stack.
                if unsafe { (*entry).boundary } == Boundary::TopLevel {
                    unhandled::report(thread, &exception);
                }
                return (exception.get(), Target::Entry(entry));
            }
            Step::End => crate::engine::fatal("an exception was thrown outside managed code"),
        }
    }
}

/// The clause of `frame`'s call site that catches the exception.
fn find_handler(thread: &Thread, frame: &Frame, exception: &Local<'_>, builder: &mut TraceBuilder) -> Option<u32> {
    for handler in frame.handlers() {
        let taken = match frame.clause(handler.clause) {
            HandlerKind::Cleanup => false,
            HandlerKind::Catch(class) => catches(seen_by(frame, exception.get()), class),
            HandlerKind::Filter(function) => {
                builder.flush(thread, exception);
                let scope = HandleScope::new(&thread.header);
                let seen = scope.root(seen_by(frame, exception.get()));
                run_filter(thread, function, &seen, frame.locals_base())
            }
        };
        if taken {
            return Some(handler.clause);
        }
    }
    None
}

/// Whether a catch clause of class `class` (raw TypeHandle) takes the exception.
fn catches(exception: ObjPtr, class: usize) -> bool {
    // SAFETY: the compiler's clause table holds valid TypeHandles; the exception is a live object and nothing here reaches a
    // safepoint.
    let (class, actual) = unsafe {
        (
            TypeHandle::from_raw(class),
            TypeHandle::from_raw((*exception).mt as usize),
        )
    };
    let (Some(class), Some(actual)) = (class, actual) else {
        return false;
    };
    match (actual.as_method_table(), class.as_method_table()) {
        (Some(a), Some(c)) if !class.is_interface() => a.is_or_derives_from(c),
        _ => corten_loader::can_cast_to(actual, class),
    }
}

/// What code of the frame's module sees: an object that is not an Exception travels wrapped, and modules without
/// `[RuntimeCompatibility(WrapNonExceptionThrows = true)]` get the object itself (ECMA-335 III.4.31).
fn seen_by(frame: &Frame, exception: ObjPtr) -> ObjPtr {
    /// Offset of `RuntimeWrappedException._wrappedException`.
    const WRAPPED: usize = 112;
    // SAFETY: a live object; nothing here reaches a safepoint.
    let actual = unsafe { crate::type_objects::type_of(exception) };
    let is_wrapper = actual
        .as_method_table()
        .and_then(|mt| mt.class().definition())
        .is_some_and(|d| d.is_corelib_type("System.Runtime.CompilerServices", "RuntimeWrappedException"));
    if !is_wrapper || frame.method().is_none_or(|m| wraps(m.module())) {
        return exception;
    }
    // SAFETY: the field of an object of that class.
    unsafe { *(exception as *const u8).add(WRAPPED).cast::<ObjPtr>() }
}

/// Whether a module asks for wrapped exceptions; compilers of C# always do.
fn wraps(module: &'static Module) -> bool {
    const PROPERTY: &[u8] = b"WrapNonExceptionThrows\x01";
    let metadata = module.metadata();
    metadata
        .find_attribute(
            Token(0x2000_0001),
            "System.Runtime.CompilerServices",
            "RuntimeCompatibilityAttribute",
        )
        .and_then(|rid| metadata.custom_attribute(rid).ok())
        .is_some_and(|row| row.value.windows(PROPERTY.len()).any(|w| w == PROPERTY))
}

/// Runs a filter on its live frame. What it throws is swallowed: the filter says no.
fn run_filter(thread: &Thread, function: usize, exception: &Local<'_>, locals: usize) -> bool {
    let result = ManagedCall::new()
        .obj(exception.get())
        .int(locals as u64)
        .invoke_address(function);
    match result {
        // Of the values that a filter may give only 1 says yes (ECMA-335 III.3.34).
        Ok(r) => r.rax as u32 == 1,
        Err(_) => {
            thread.header.pending_exception.set(std::ptr::null_mut());
            false
        }
    }
}

/// Runs cleanup handlers up to the target and enters it. Reaches no safepoint, so `exception` may be raw.
fn second_pass(thread: &Thread, exception: ObjPtr, context: &mut ThrowContext, target: Target, record: usize) -> ! {
    let mut walk = Walk::at(context.pc, context.rbp, thread.header.entry_frame.get().cast());
    loop {
        match walk.step() {
            Step::Managed(frame) => {
                for handler in frame.handlers() {
                    let is_target = target
                        == Target::Clause {
                            fp: frame.fp,
                            clause: handler.clause,
                        };
                    if is_target {
                        thread.dispatch_records.drop_left(frame.fp, handler.clause, record);
                        enter(context, &frame, handler.pad, seen_by(&frame, exception), 0);
                    }
                    if frame.clause(handler.clause) == HandlerKind::Cleanup {
                        let record = thread.dispatch_records.keep(record, target, frame.fp, handler.clause);
                        enter(context, &frame, handler.pad, exception, record);
                    }
                }
                frame.restore_callee_saved(context);
            }
            Step::Entry(entry) => {
                debug_assert_eq!(target, Target::Entry(entry));
                // SAFETY: entry frames are live on this thread's stack.
                if unsafe { (*entry).boundary } == Boundary::TopLevel {
                    // It was reported in the first pass.
                    unhandled::abort();
                }
                thread.dispatch_records.drop_left(entry as usize, u32::MAX, record);
                // SAFETY: the entry frame is live; its resume point is the exceptional exit of the call thunk, which
                // restores every callee-saved register from its own frame.
                unsafe {
                    let e = &*entry;
                    restore_and_jump(context, 0, e.resume_sp, e.resume_pc, exception as usize, 0)
                }
            }
            Step::End => crate::engine::fatal("the handler found for an exception has vanished"),
        }
    }
}

fn enter(context: &ThrowContext, frame: &Frame, pad: usize, exception: ObjPtr, record: usize) -> ! {
    // SAFETY: `pad` is a landing pad of the frame's call site, and `context` holds the callee-saved registers as they were at
    // that call.
    unsafe { restore_and_jump(context, frame.fp, frame.sp(), pad, exception as usize, record) }
}

/// `Exception.PrepareForForeignExceptionRaise`: the next throw on this thread continues the trace that the object carries.
pub fn continue_trace_at_next_throw(thread: &Thread) {
    thread.interrupt.foreign_exception_raise.set(true);
}
