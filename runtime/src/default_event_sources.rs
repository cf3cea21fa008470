//! The class library's own event sources, made late.
//!
//! CoreCLR makes some of them before `Main` (`EventSource.InitializeDefaultEventSources`), others when the task library or the
//! thread pool is used for the first time. Either is a third of what a small program executes and compiles, and nobody can tell
//! that they do not exist until somebody uses event sources: so they are made when a method of `EventSource` or `EventListener`
//! is called for the first time, before it runs. An object that the library has got of one meanwhile has not been constructed: it
//! says that it is not enabled, which is the only question that the library asks. If the process ends before that, there is
//! nothing to dispose of either.

use crate::error::VmResult;
use crate::managed::ManagedCall;
use crate::thread::Thread;
use corten_gc_hooks::handles::HandleKind;
use corten_gc_hooks::heap::Heap;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{MethodDesc, MethodTable, corelib_type};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

const NAMESPACE: &str = "System.Diagnostics.Tracing";
/// Tells whether there may be event sources.
const SUPPORTED: &str = "get_IsSupported";
/// What the library asks its own event sources, enabled or not.
const ENABLED: &str = "IsEnabled";
/// The first one that CoreCLR makes.
const FIRST: &str = "NativeRuntimeEventSource";

/// They exist, or never will.
const SETTLED: u8 = 0;
/// Nobody has used event sources.
const PENDING: u8 = 1;
/// The same, and the process ends.
const ENDING: u8 = 2;
static STATE: AtomicU8 = AtomicU8::new(SETTLED);
/// `EventSource` and `EventListener`.
static WATCHED: OnceLock<[&'static MethodTable; 2]> = OnceLock::new();

/// An event source of the library whose constructor has not run.
struct Postponed {
    constructor: &'static MethodDesc,
    /// Strong handle.
    object: *mut ObjPtr,
}

// SAFETY: handles may be used on any thread.
unsafe impl Send for Postponed {}

/// In the order of their creation. Whoever settles takes them in the same breath.
static POSTPONED: Mutex<Vec<Postponed>> = Mutex::new(Vec::new());

fn postponed() -> MutexGuard<'static, Vec<Postponed>> {
    POSTPONED.lock().unwrap_or_else(PoisonError::into_inner)
}

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
pub fn before_first_call(thread: &Thread, md: &'static MethodDesc) -> VmResult<Option<usize>> {
    let state = STATE.load(Ordering::Relaxed);
    if state == SETTLED {
        return Ok(None);
    }
    let Some(&[source, listener]) = WATCHED.get() else {
        return Ok(None);
    };
    let owner = md.owner();
    if state == PENDING && md.is_ctor() && owner.parent() == Some(source) {
        return Ok(postpone(thread, md).then(nothing));
    }
    if owner != source && owner != listener {
        return Ok(None);
    }
    let name = md.name();
    if state == PENDING {
        if name != SUPPORTED && name != ENABLED && !md.is_cctor() {
            make_all()?;
        }
    } else if name != ENABLED && settle(state).is_some() && name == SUPPORTED {
        // The first who asks is AppContext, which disposes of them.
        return Ok(Some(crate::engine::install_stub(&[0x31, 0xc0, 0xc3]))); // xor eax, eax; ret
    }
    Ok(None)
}

/// Code that returns at once.
fn nothing() -> usize {
    static STUB: OnceLock<usize> = OnceLock::new();
    *STUB.get_or_init(|| crate::engine::install_stub(&[0xc3])) // ret
}

/// Leaves the constructor of one of the library's own event sources for later, if nothing has settled meanwhile.
fn postpone(thread: &Thread, constructor: &'static MethodDesc) -> bool {
    if !constructor.module().is_core_library() || constructor.param_count() != 0 {
        return false;
    }
    let mut list = postponed();
    if STATE.load(Ordering::Relaxed) != PENDING {
        return false;
    }
    // SAFETY: the prestub's frame of this very call, with `this` in the first register; cooperative mode.
    let this = unsafe { *(*thread.prestub_frames.get()).int_registers } as ObjPtr;
    let object = Heap::get().handles().alloc(HandleKind::Strong, this);
    list.push(Postponed { constructor, object });
    true
}

/// Ends the waiting; the sources that were left for later, if it was this call that ended it.
fn settle(state: u8) -> Option<Vec<Postponed>> {
    let mut list = postponed();
    let won = STATE.compare_exchange(state, SETTLED, Ordering::AcqRel, Ordering::Relaxed);
    won.is_ok().then(|| std::mem::take(&mut *list))
}

fn make_all() -> VmResult<()> {
    let Some(list) = settle(PENDING) else {
        return Ok(());
    };
    let (first, others): (Vec<_>, Vec<_>) = list
        .into_iter()
        .partition(|p| p.constructor.owner().class().name() == FIRST);
    construct(first)?;
    let method = crate::startup::corelib_method(NAMESPACE, "EventSource", "InitializeDefaultEventSources", 0)?;
    ManagedCall::new().invoke(method)?;
    construct(others)
}

fn construct(list: Vec<Postponed>) -> VmResult<()> {
    let handles = Heap::get().handles();
    for Postponed { constructor, object } in list {
        // SAFETY: a live strong handle of this module; cooperative mode.
        let this = unsafe { handles.get(object) };
        ManagedCall::new().obj(this).invoke(constructor)?;
        // SAFETY: nobody else knows the handle.
        unsafe { handles.free(object) };
    }
    Ok(())
}
