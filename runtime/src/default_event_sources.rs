//! The event sources that the class library makes for itself (`EventSource.InitializeDefaultEventSources`), made late.
//!
//! CoreCLR makes them before `Main`. They are a quarter of what a small program executes and compiles, and nobody can tell that
//! they do not exist until somebody uses event sources: so they are made when a method of `EventSource` or `EventListener` is
//! called for the first time, before it runs.

use crate::error::VmResult;
use crate::managed::ManagedCall;
use corten_loader::{MethodDesc, MethodTable, corelib_type};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

const NAMESPACE: &str = "System.Diagnostics.Tracing";
/// What programs that use no event sources call: whether there may be any.
const HARMLESS: [&str; 2] = [".cctor", "get_IsSupported"];

static PENDING: AtomicBool = AtomicBool::new(false);
static WATCHED: OnceLock<[&'static MethodTable; 2]> = OnceLock::new();

/// Makes [`before_first_call`] watch. At startup.
///
/// # Errors
/// Load errors of CoreLib.
pub fn defer() -> VmResult<()> {
    let watched = [
        corelib_type(NAMESPACE, "EventSource")?,
        corelib_type(NAMESPACE, "EventListener")?,
    ];
    PENDING.store(WATCHED.set(watched).is_ok(), Ordering::Release);
    Ok(())
}

/// The process ends: from here on they would be gone again.
pub fn give_up() {
    PENDING.store(false, Ordering::Release);
}

/// `md` is called for the first time: makes the event sources if it may look at them. Cooperative mode; runs managed code.
///
/// # Errors
/// What that code raises.
pub fn before_first_call(md: &'static MethodDesc) -> VmResult<()> {
    if !PENDING.load(Ordering::Relaxed) {
        return Ok(());
    }
    let watched = WATCHED
        .get()
        .is_some_and(|w| w.iter().any(|mt| std::ptr::eq(*mt, md.owner())));
    if !watched || HARMLESS.contains(&md.name()) || !PENDING.swap(false, Ordering::AcqRel) {
        return Ok(());
    }
    let method = crate::startup::corelib_method(NAMESPACE, "EventSource", "InitializeDefaultEventSources", 0)?;
    ManagedCall::new().invoke(method).map(drop)
}
