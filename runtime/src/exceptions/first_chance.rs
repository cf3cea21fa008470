//! `AppContext.FirstChanceException` and the static delegate fields of AppContext that the engine reads.

use super::create;
use crate::error::VmResult;
use crate::managed::ManagedCall;
use crate::objects::method_table_of;
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::scope::Local;
use corten_loader::{WellKnown, corelib_type};
use std::sync::OnceLock;

/// Value of a static field of `System.AppContext` that holds an event's delegate; null without subscribers.
pub(super) fn app_context_event(cell: &'static OnceLock<usize>, name: &str) -> ObjPtr {
    let address = *cell.get_or_init(|| {
        let field = corelib_type("System", "AppContext")
            .ok()
            .and_then(|t| t.find_field(name));
        field
            .and_then(|f| corten_loader::statics::static_field_address(f).ok())
            .map_or(0, |p| p as usize)
    });
    if address == 0 {
        return std::ptr::null_mut();
    }
    // SAFETY: the address of a reference-typed static field, valid for ever.
    unsafe { *(address as *const ObjPtr) }
}

/// Calls `Invoke(null, args)` of an `EventHandler`-shaped delegate.
pub(super) fn raise_event(handler: &Local<'_>, args: &Local<'_>) -> VmResult<()> {
    if let Some(invoke) = method_table_of(handler.get()).find_method("Invoke") {
        ManagedCall::new()
            .obj(handler.get())
            .obj(std::ptr::null_mut())
            .obj(args.get())
            .invoke(invoke)?;
    }
    Ok(())
}

/// Tells subscribers of `AppDomain.FirstChanceException` before a handler is looked for. What they throw is swallowed, and
/// exceptions that they throw are not announced.
pub(super) fn notify(thread: &Thread, exception: &Local<'_>) {
    static FIELD: OnceLock<usize> = OnceLock::new();
    if thread.interrupt.in_first_chance.get() {
        return;
    }
    let handler = app_context_event(&FIELD, "FirstChanceException");
    if handler.is_null() {
        return;
    }
    thread.interrupt.in_first_chance.set(true);
    if announce(thread, handler, exception).is_err() {
        thread.header.pending_exception.set(std::ptr::null_mut());
    }
    thread.interrupt.in_first_chance.set(false);
}

fn announce(thread: &Thread, handler: ObjPtr, exception: &Local<'_>) -> VmResult<()> {
    let scope = HandleScope::new(&thread.header);
    let handler = scope.root(handler);
    let mt = corelib_type("System.Runtime.ExceptionServices", "FirstChanceExceptionEventArgs")?;
    let constructor = create::constructor(mt, &[WellKnown::get().exception.handle()])?;
    let args = scope.root(create::allocate(thread, mt)?);
    ManagedCall::new()
        .obj(args.get())
        .obj(exception.get())
        .invoke(constructor)?;
    raise_event(&handler, &args)
}
