//! The ends of a process that goes wrong: unhandled exceptions, fail-fast, stack overflow, access violations.
//!
//! Texts and exit status (SIGABRT) are CoreCLR's.

use super::frames::{Step, Walk};
use super::trace::{self, TraceFrame};
use super::{create, first_chance};
use crate::error::VmResult;
use crate::managed::ManagedCall;
use crate::objects::method_table_of;
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::scope::Local;
use corten_loader::{MethodDesc, TypeHandle, TypeNameFlags, WellKnown, corelib_type, format_type};
use std::io::Write;
use std::sync::OnceLock;

/// Reports an exception that nobody handles: the UnhandledException event, text on stderr. As in CoreCLR 9 the second pass
/// follows; the process ends when it arrives at the top.
pub fn report(thread: &Thread, exception: &Local<'_>) {
    if raise_unhandled_event(thread, exception).is_err() {
        thread.header.pending_exception.set(std::ptr::null_mut());
    }
    let out_of_memory = corelib_type("System", "OutOfMemoryException");
    if out_of_memory.is_ok_and(|class| std::ptr::eq(class, method_table_of(exception.get()))) {
        // Nothing is called that might need memory.
        write_stderr("Out of memory.\n");
        return;
    }
    let text = describe(thread, exception);
    write_stderr(&format!("Unhandled exception. {text}\n"));
}

/// As [`report`], for an exception object that is not rooted yet and has no frames to unwind: ends the process.
pub fn report_object(exception: ObjPtr) -> ! {
    let thread = Thread::current();
    let scope = HandleScope::new(&thread.header);
    let exception = scope.root(exception);
    report(thread, &exception);
    abort()
}

/// [`report`] for the pending exception of the current thread.
pub fn pending_is_unhandled() -> ! {
    let thread = Thread::current();
    let exception = thread.header.pending_exception.replace(std::ptr::null_mut());
    report_object(exception)
}

fn raise_unhandled_event(thread: &Thread, exception: &Local<'_>) -> VmResult<()> {
    static FIELD: OnceLock<usize> = OnceLock::new();
    let handler = first_chance::app_context_event(&FIELD, "UnhandledException");
    if handler.is_null() {
        return Ok(());
    }
    let scope = HandleScope::new(&thread.header);
    let handler = scope.root(handler);
    let w = WellKnown::get();
    let mt = corelib_type("System", "UnhandledExceptionEventArgs")?;
    let constructor = create::constructor(mt, &[w.object.handle(), w.boolean.handle()])?;
    let args = scope.root(create::allocate(thread, mt)?);
    ManagedCall::new()
        .obj(args.get())
        .obj(exception.get())
        .int(1)
        .invoke(constructor)?;
    first_chance::raise_event(&handler, &args)
}

/// `exception.ToString()`, or CoreCLR's words if that fails.
pub fn describe(thread: &Thread, exception: &Local<'_>) -> String {
    let class = method_table_of(exception.get());
    let to_string = WellKnown::get().object.find_method("ToString").and_then(|m| m.slot());
    let text = to_string.and_then(|slot| {
        let result = ManagedCall::new()
            .obj(exception.get())
            .invoke_address(class.vtable_slot(slot));
        match result {
            Ok(r) if r.rax != 0 => Some(crate::strings::to_rust(r.rax as ObjPtr)),
            Ok(_) => Some(String::new()),
            Err(_) => {
                thread.header.pending_exception.set(std::ptr::null_mut());
                None
            }
        }
    });
    text.unwrap_or_else(|| "\n   Cannot print exception string because Exception.ToString() failed.".to_owned())
}

/// `Environment.FailFast`: message, frames, text of the exception, abort. `source` (failed assertions) stands before the
/// message, which then holds the frames itself.
pub fn fail_fast(thread: &Thread, message: Option<&str>, source: Option<&str>, exception: ObjPtr) -> ! {
    let scope = HandleScope::new(&thread.header);
    let exception = scope.root(exception);
    let message = message.unwrap_or("Runtime operation halted by call to System.Environment.FailFast(). (0x80131623)");
    let mut text = String::from("Process terminated. ");
    if let Some(source) = source {
        text.push_str(source);
        text.push('\n');
    }
    text.push_str(message);
    text.push('\n');
    if source.is_none() {
        for line in native_frames(Walk::from_transition(thread)) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    if !exception.is_null() {
        text.push_str(&describe(thread, &exception));
    }
    write_stderr(&text);
    abort()
}

/// A stack overflow of the current thread, seen at its innermost transition.
pub fn stack_overflow() -> ! {
    stack_overflow_at(Walk::from_transition(Thread::current()))
}

/// A stack overflow: CoreCLR's text with repeated frames folded, abort.
pub(super) fn stack_overflow_at(walk: Walk) -> ! {
    let mut methods: Vec<&'static MethodDesc> = Vec::new();
    let mut walk = walk;
    loop {
        match walk.step() {
            Step::Managed(f) => methods.extend(f.method()),
            Step::Entry(_) => {}
            Step::End => break,
        }
    }
    let mut text = String::from("Stack overflow.\n");
    let line = |m: &'static MethodDesc| format!("   at {}\n", native_signature(m));
    let (start, period, count) = find_repetition(&methods);
    for m in &methods[..start] {
        text.push_str(&line(m));
    }
    if count > 1 {
        text.push_str(&format!("Repeated {count} times:\n--------------------------------\n"));
        for m in &methods[start..start + period] {
            text.push_str(&line(m));
        }
        text.push_str("--------------------------------\n");
    }
    for m in &methods[start + period * count..] {
        text.push_str(&line(m));
    }
    write_stderr(&text);
    abort()
}

/// The longest repetition that begins near the innermost frame: (start, period, count), count 0 if there is none.
fn find_repetition(methods: &[&'static MethodDesc]) -> (usize, usize, usize) {
    let same = |a: usize, b: usize| std::ptr::eq(methods[a], methods[b]);
    let mut best = (0, 0, 0);
    for start in 0..methods.len().min(16) {
        for period in 1..=64.min((methods.len() - start) / 2) {
            let mut end = start + period;
            while end < methods.len() && same(end, end - period) {
                end += 1;
            }
            let count = (end - start) / period;
            if count > 1 && count * period > best.1 * best.2 {
                best = (start, period, count);
                if count * period > methods.len() / 2 {
                    return best;
                }
            }
        }
    }
    best
}

/// A hardware fault that is no managed exception.
pub(super) fn access_violation(walk: Walk) -> ! {
    let mut text = String::from(
        "Fatal error. System.AccessViolationException: Attempted to read or write protected memory. This is often an indication that other memory is corrupt.\n",
    );
    for line in native_frames(walk) {
        text.push_str(&line);
        text.push('\n');
    }
    write_stderr(&text);
    abort()
}

fn native_frames(mut walk: Walk) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        match walk.step() {
            Step::Managed(f) => lines.extend(
                f.traced_methods()
                    .map(|(m, _)| format!("   at {}", native_signature(m))),
            ),
            Step::Entry(_) => {}
            Step::End => return lines,
        }
    }
}

/// `Namespace.Type.Method(full parameter types)`, as CoreCLR's own stack listings have it.
fn native_signature(m: &'static MethodDesc) -> String {
    let params = match m.signature() {
        Ok(s) => s.params.iter().map(|p| parameter(*p)).collect::<Vec<_>>().join(", "),
        Err(_) => "?".to_owned(),
    };
    format!("{}.{}({params})", m.owner().handle().display_name(), m.name())
}

/// A parameter type: primitives by their simple names, all others in full, managed pointers as `T ByRef`.
fn parameter(t: TypeHandle) -> String {
    let suffix = if t.is_byref() {
        " ByRef"
    } else if t.is_pointer() {
        "*"
    } else {
        let primitive = t.as_method_table().is_some_and(|mt| mt.is_true_primitive());
        return match primitive {
            true => format_type(t, TypeNameFlags::BASIC),
            false => t.display_name(),
        };
    };
    t.element_type()
        .map_or_else(|| t.display_name(), |e| parameter(e) + suffix)
}

/// The frames of the current thread in that format, for `Environment.FailFast` and the like.
pub fn current_stack(thread: &Thread) -> Vec<TraceFrame> {
    trace::current_frames(thread)
}

/// Writes to stderr, whatever state the process is in.
pub fn write_stderr(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// SIGABRT with the default action.
pub fn abort() -> ! {
    // SAFETY: plain libc calls; resetting the handler makes sure that the process dies.
    unsafe {
        libc::signal(libc::SIGABRT, libc::SIG_DFL);
        libc::abort()
    }
}
