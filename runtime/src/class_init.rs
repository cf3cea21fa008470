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
use corten_gc_hooks::{HandleKind, Heap};
use corten_loader::MethodTable;
use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashMap;

enum State {
    /// By the thread with that managed id.
    Running(u32),
    /// Strong handle (address of its slot) to the TypeInitializationException.
    Failed(usize),
}

#[derive(Default)]
struct Table {
    /// By address of the MethodTable; initialised types are not in it.
    states: FxHashMap<usize, State>,
    /// Thread id -> type it waits for.
    waiting: FxHashMap<u32, usize>,
}

static TABLE: Mutex<Option<Table>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

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
    let me = thread.managed_id;
    {
        let mut guard = TABLE.lock();
        loop {
            if mt.class().is_initialized() {
                return Ok(());
            }
            let table = guard.get_or_insert_with(Table::default);
            match table.states.get(&key) {
                None => {
                    table.states.insert(key, State::Running(me));
                    break;
                }
                Some(State::Failed(handle)) => {
                    let slot = *handle as *const ObjPtr;
                    drop(guard);
                    let thread = Thread::current();
                    let _coop = crate::transitions::enter_cooperative(thread);
                    // SAFETY: a strong handle that is never freed.
                    thread.header.pending_exception = unsafe { *slot };
                    crate::exceptions::trace::begin_again(thread.header.pending_exception);
                    return Err(Raise::Pending);
                }
                Some(State::Running(owner)) if *owner == me => return Ok(()),
                Some(State::Running(owner)) => {
                    if waits_for(table, *owner, me) {
                        return Ok(());
                    }
                    table.waiting.insert(me, key);
                    {
                        // Blocking in preemptive mode: the lock is taken again before the mode is restored, and nobody
                        // holds it across a safepoint.
                        let registry = corten_gc_hooks::safepoint::ThreadRegistry::get();
                        let was_cooperative = corten_gc_hooks::safepoint::is_cooperative(&thread.header);
                        if was_cooperative {
                            registry.enter_preemptive(&thread.header);
                        }
                        CHANGED.wait(&mut guard);
                        if let Some(t) = guard.as_mut() {
                            t.waiting.remove(&me);
                        }
                        if was_cooperative {
                            parking_lot::MutexGuard::unlocked(&mut guard, || registry.leave_preemptive(&thread.header));
                        }
                    }
                }
            }
        }
    }
    let result = run(mt);
    let mut guard = TABLE.lock();
    let table = guard.get_or_insert_with(Table::default);
    match result {
        Ok(()) => {
            mt.class().init_state.store(1, std::sync::atomic::Ordering::Release);
            table.states.remove(&key);
        }
        Err(_) => {
            // `run` left the TypeInitializationException pending.
            let exception = Thread::current().header.pending_exception;
            let handle = match mt.class().collectible() {
                // It goes with the type.
                Some(group) => {
                    let cell = std::ptr::from_mut(Box::leak(Box::new(exception as usize))).cast();
                    crate::collectible::register(group, cell, 1);
                    cell
                }
                None => Heap::get().handles().alloc(HandleKind::Strong, exception),
            };
            table.states.insert(key, State::Failed(handle as usize));
        }
    }
    CHANGED.notify_all();
    result
}

/// Whether `thread` waits, directly or through others, for a type that `target` is initialising.
fn waits_for(table: &Table, thread: u32, target: u32) -> bool {
    let mut at = thread;
    for _ in 0..table.waiting.len() + 1 {
        let Some(ty) = table.waiting.get(&at) else { return false };
        let Some(State::Running(owner)) = table.states.get(ty) else {
            return false;
        };
        if *owner == target {
            return true;
        }
        at = *owner;
    }
    false
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
