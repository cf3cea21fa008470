//! Type initialisers: the lock, recursion and failure rules of ECMA-335 II.10.5.3 and I.8.9.5.
//!
//! * The thread that runs an initialiser may use the type meanwhile (recursion).
//! * Other threads wait, unless waiting would close a cycle of waiting threads: then they go on with the half-initialised
//!   type.
//! * A failed initialiser raises the same TypeInitializationException at every later use.

use crate::error::{Raise, VmResult};
use crate::managed::ManagedCall;
use crate::thread::Thread;
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::safepoint::{ThreadRegistry, is_cooperative};
use corten_gc_hooks::{HandleKind, Heap};
use corten_loader::MethodTable;
use corten_loader::init_table::{Begin, InitTable};
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

/// By address of the MethodTable. A failure is the strong handle (address of its slot) to the TypeInitializationException.
static TABLE: LazyLock<InitTable<usize, usize>> = LazyLock::new(InitTable::new);

/// Makes sure that the initialiser of `mt` has run (or is being run by this thread).
///
/// # Errors
/// The TypeInitializationException, or a load error while preparing statics.
pub fn ensure(mt: &'static MethodTable) -> VmResult<()> {
    let class = mt.class();
    if class.is_initialized() {
        return Ok(());
    }
    slow(mt)
}

#[cold]
fn slow(mt: &'static MethodTable) -> VmResult<()> {
    let key = mt.address();
    let thread = Thread::current();
    let header = &thread.header;
    let registry = ThreadRegistry::get();
    // Blocking happens in preemptive mode.
    let before_waiting = || {
        let was_cooperative = is_cooperative(header);
        if was_cooperative {
            registry.enter_preemptive(header);
        }
        was_cooperative
    };
    let after_waiting = |was_cooperative| {
        if was_cooperative {
            registry.leave_preemptive(header);
        }
    };
    let done = || mt.class().is_initialized();
    match TABLE.begin(key, thread.managed_id, done, before_waiting, after_waiting) {
        Begin::GoOn => return Ok(()),
        Begin::Run => {}
        Begin::Failed(handle) => {
            let thread = Thread::current();
            let _coop = crate::transitions::enter_cooperative(thread);
            // SAFETY: a strong handle that is never freed.
            thread
                .header
                .pending_exception
                .set(unsafe { *(handle as *const ObjPtr) });
            crate::exceptions::trace::begin_again(thread.header.pending_exception.get());
            return Err(Raise::Pending);
        }
    }
    let result = run(mt);
    match result {
        Ok(()) => TABLE.succeeded(key, || mt.class().init_state.store(1, Ordering::Release)),
        Err(_) => {
            // `run` left the TypeInitializationException pending.
            let exception = Thread::current().header.pending_exception.get();
            let handle = match mt.class().collectible() {
                // It goes with the type.
                Some(group) => {
                    let cell = std::ptr::from_mut(Box::leak(Box::new(exception as usize))).cast();
                    crate::collectible::register(group, cell, 1);
                    cell
                }
                None => Heap::get().handles().alloc(HandleKind::Strong, exception),
            };
            TABLE.failed(key, handle as usize);
        }
    }
    result
}

/// Runs the initialiser in cooperative mode; on failure a TypeInitializationException is pending.
fn run(mt: &'static MethodTable) -> VmResult<()> {
    let thread = Thread::current();
    let _coop = crate::transitions::enter_cooperative(thread);
    let outcome = (|| {
        corten_loader::statics::ensure_statics(mt)?;
        if let Some(cctor) = mt.class().cctor() {
            ManagedCall::new().invoke(cctor)?;
        }
        Ok(())
    })();
    match outcome {
        Ok(()) => Ok(()),
        Err(raise) => {
            crate::exceptions::set_pending(raise);
            crate::exceptions::create::wrap_pending_in_type_initialization(mt)?;
            Err(Raise::Pending)
        }
    }
}
