//! The event sources that the class library makes for itself (`EventSource.InitializeDefaultEventSources`), made late.
//!
//! CoreCLR makes them before `Main`. They are a third of what a small program executes and compiles, and nobody can tell that
//! they do not exist until somebody uses event sources: so they are made when a method of `EventSource` or `EventListener` is
//! called for the first time, before it runs. If the process ends before that, there is nothing to dispose of either.

use crate::error::VmResult;
use crate::managed::ManagedCall;
use corten_loader::{MethodDesc, MethodTable, corelib_type};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

const NAMESPACE: &str = "System.Diagnostics.Tracing";
/// Tells whether there may be event sources.
const SUPPORTED: &str = "get_IsSupported";

/// They exist, or never will.
const SETTLED: u8 = 0;
/// Nobody has used event sources.
const PENDING: u8 = 1;
/// The same, and the process ends.
const ENDING: u8 = 2;
static STATE: AtomicU8 = AtomicU8::new(SETTLED);
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
    if WATCHED.set(watched).is_ok() {
        STATE.store(PENDING, Ordering::Release);
    }
    Ok(())
}

/// The process ends: from here on they would be gone again.
pub fn process_ends() {
    // If they were used, nothing changes.
    let _ = STATE.compare_exchange(PENDING, ENDING, Ordering::AcqRel, Ordering::Relaxed);
}

/// `md` is called for the first time: makes the event sources if it may look at them. Returns code to run instead, this time.
/// Cooperative mode; runs managed code.
///
/// # Errors
/// What that code raises.
pub fn before_first_call(md: &'static MethodDesc) -> VmResult<Option<usize>> {
    let state = STATE.load(Ordering::Relaxed);
    let watched = || {
        WATCHED
            .get()
            .is_some_and(|w| w.iter().any(|mt| std::ptr::eq(*mt, md.owner())))
    };
    if state == SETTLED || !watched() {
        return Ok(None);
    }
    let settle = || {
        STATE
            .compare_exchange(state, SETTLED, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    };
    if state == PENDING {
        if md.name() != SUPPORTED && !md.is_cctor() && settle() {
            let method = crate::startup::corelib_method(NAMESPACE, "EventSource", "InitializeDefaultEventSources", 0)?;
            ManagedCall::new().invoke(method)?;
        }
    } else if settle() && md.name() == SUPPORTED {
        // The first who asks is AppContext, which disposes of them.
        return Ok(Some(crate::engine::install_stub(&[0x31, 0xc0, 0xc3]))); // xor eax, eax; ret
    }
    Ok(None)
}
