//! `Debugger`, `JitInfo`, stack space checks.

use crate::error::{ExceptionKind, Raise, icall_body};
use crate::icall_table;
use crate::thread::Thread;
use corten_gc_hooks::object::ObjPtr;

/// No debugger can be attached: nobody would take the break.
extern "C" fn debugger_break() {}

extern "C" fn no() -> bool {
    false
}

extern "C" fn debugger_custom_notification(_data: ObjPtr) {}

extern "C" fn compiled_method_count(_current_thread: bool) -> i64 {
    crate::stats::methods_compiled() as i64
}

extern "C" fn compiled_il_bytes(_current_thread: bool) -> i64 {
    crate::stats::il_bytes() as i64
}

/// In ticks of `Stopwatch`: nanoseconds.
extern "C" fn compilation_time(_current_thread: bool) -> i64 {
    crate::stats::compile_time().as_nanos() as i64
}

/// Space that a caller of `EnsureSufficientExecutionStack` may count on, in bytes.
const SUFFICIENT_STACK: usize = 128 << 10;

fn has_sufficient_stack(thread: &Thread) -> bool {
    let here = &raw const thread as usize;
    let (low, _) = thread.stack_limits.get();
    low == 0 || here.saturating_sub(low) > SUFFICIENT_STACK
}

extern "C" fn ensure_sufficient_stack() {
    icall_body(|thread| {
        if has_sufficient_stack(thread) {
            Ok(())
        } else {
            Err(Raise::of(ExceptionKind::InsufficientExecutionStack))
        }
    });
}

extern "C" fn try_ensure_sufficient_stack() -> bool {
    has_sufficient_stack(Thread::current())
}

icall_table! {
    /// Diagnostics.
    TABLE:
    "System.Diagnostics.Debugger" {
        "BreakInternal" => debugger_break,
        "get_IsAttached" => no,
        "IsLogging" => no,
        "CustomNotification" => debugger_custom_notification,
    }
    "System.Runtime.JitInfo" {
        "GetCompiledMethodCount" => compiled_method_count,
        "GetCompiledILBytes" => compiled_il_bytes,
        "GetCompilationTimeInTicks" => compilation_time,
    }
    "System.Runtime.CompilerServices.RuntimeHelpers" {
        "EnsureSufficientExecutionStack" => ensure_sufficient_stack,
        "TryEnsureSufficientExecutionStack" => try_ensure_sufficient_stack,
    }
}
