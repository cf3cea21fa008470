//! `System.Threading.Thread`, `WaitHandle`, `Interlocked`: the life of managed threads and how they wait.
//!
//! A thread's native peer ([`Thread`]) is made by `Thread.Initialize` (or when an OS thread is attached) and freed by the
//! finalizer of the managed object, or at the thread's end if that comes later. The managed object is held by a weak handle
//! before the start and by a strong one while the thread runs. A manual-reset event, signalled at the end, serves `Join`.

use crate::error::{ExceptionKind, Neutral, Raise, VmResult, icall_body};
use crate::icall_table;
use crate::managed::ManagedCall;
use crate::objects::{ThreadObject, view};
use crate::peer::Peer;
use crate::qcalls::wait::{self, InterruptCell, WaitOutcome};
use crate::thread::Thread;
use crate::transitions::{enter_cooperative, enter_preemptive};
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::safepoint::{AttachError, ThreadRegistry};
use corten_gc_hooks::thread::ThreadHeader;
use corten_gc_hooks::{HandleKind, Heap, RootVisitor};
use corten_loader::{MethodDesc, MethodTable, WellKnown};
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a thread is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Unstarted,
    /// Started; the OS thread may not run yet.
    Running,
    Stopped,
}

/// What other threads may touch of a thread.
#[derive(Debug)]
pub struct SharedState {
    life: Mutex<Lifecycle>,
    /// `Thread.Interrupt`.
    pub interrupt: InterruptCell,
    /// Nested waits in progress (`ThreadState.WaitSleepJoin`).
    waiting: AtomicU32,
    /// Manual-reset event: the thread has ended.
    ended: usize,
}

#[derive(Debug)]
struct Lifecycle {
    life: Life,
    is_background: bool,
    /// `Thread.IsThreadPoolThread`.
    is_thread_pool: bool,
    /// The managed object was finalized before the OS thread was done with the peer.
    orphaned: bool,
}

impl Drop for SharedState {
    fn drop(&mut self) {
        wait::close(self.ended);
    }
}

/// Per-thread state of this module and of exception dispatch.
#[derive(Debug)]
pub struct InterruptState {
    /// The next throw continues the stack trace that the exception carries.
    pub foreign_exception_raise: Cell<bool>,
    /// FirstChanceException subscribers are running.
    pub in_first_chance: Cell<bool>,
    /// What other threads see.
    pub shared: Arc<SharedState>,
    /// Weak handle to the managed object, null if there is none yet.
    weak: Cell<*mut ObjPtr>,
    /// Arrays of references that managed code registered (`GCFrameRegistration`), innermost first.
    pub gc_frames: Cell<*mut super::gc::GcFrameRegistration>,
}

impl InterruptState {
    /// Reports the references that managed code registered explicitly.
    pub fn visit(&self, visitor: &mut dyn RootVisitor) {
        super::gc::visit_registrations(self.gc_frames.get(), visitor);
    }
}

impl Default for InterruptState {
    fn default() -> Self {
        InterruptState {
            foreign_exception_raise: Cell::new(false),
            in_first_chance: Cell::new(false),
            shared: Arc::new(SharedState {
                life: Mutex::new(Lifecycle {
                    life: Life::Unstarted,
                    is_background: false,
                    is_thread_pool: false,
                    orphaned: false,
                }),
                interrupt: InterruptCell::default(),
                waiting: AtomicU32::new(0),
                ended: wait::create_event(true, false),
            }),
            weak: Cell::new(std::ptr::null_mut()),
            gc_frames: Cell::new(std::ptr::null_mut()),
        }
    }
}

// --- identities -----------------------------------------------------------------------------------------------------------

#[derive(Debug)]
struct Ids {
    free: Vec<u32>,
    next: u32,
}
static IDS: Mutex<Ids> = Mutex::new(Ids {
    free: Vec::new(),
    next: 1,
});

fn new_id() -> u32 {
    let mut ids = IDS.lock();
    ids.free.pop().unwrap_or_else(|| {
        ids.next += 1;
        ids.next - 1
    })
}

/// Foreground threads that run, besides the main thread.
static FOREGROUND: Mutex<usize> = Mutex::new(0);
static FOREGROUND_CHANGED: Condvar = Condvar::new();

fn foreground_delta(more: bool) {
    let mut n = FOREGROUND.lock();
    *n = if more { *n + 1 } else { n.saturating_sub(1) };
    FOREGROUND_CHANGED.notify_all();
}

/// Blocks the main thread, at its end, until no foreground thread runs.
pub fn wait_for_foreground_threads() {
    let _preemptive = enter_preemptive(Thread::current());
    let mut n = FOREGROUND.lock();
    while *n > 0 {
        FOREGROUND_CHANGED.wait(&mut n);
    }
}

// --- peers ----------------------------------------------------------------------------------------------------------------

/// A peer that is not attached to an OS thread yet.
fn new_peer() -> Box<Thread> {
    peer_with_id(new_id())
}

fn peer_with_id(managed_id: u32) -> Box<Thread> {
    Box::new(Thread {
        header: ThreadHeader::new(),
        tail_target: Cell::new(0),
        tail_stack_bytes: Cell::new(0),
        transition_sp: Cell::new(0),
        hijacked_pc: Cell::new(0),
        icall_pc: Cell::new(0),
        icall_method: Cell::new(0),
        prestub_frames: Cell::new(std::ptr::null_mut()),
        dispatch_records: Default::default(),
        managed_thread: Cell::new(std::ptr::null_mut()),
        managed_id,
        last_pinvoke_error: Cell::new(0),
        thread_statics: Default::default(),
        stack_limits: Cell::new((0, 0)),
        interrupt: InterruptState::default(),
    })
}

/// Makes `peer` the thread structure of the calling OS thread. It stays in preemptive mode.
fn attach(peer: *const Thread) -> Result<(), AttachError> {
    crate::exceptions::signals::set_up_thread();
    // SAFETY: a peer from `new_peer` that no other OS thread uses.
    let thread = unsafe { &*peer };
    thread.stack_limits.set(corten_jit::localloc::stack_limits());
    thread.interrupt.shared.life.lock().life = Life::Running;
    // SAFETY: the peer keeps its address until `detach` below.
    unsafe { ThreadRegistry::get().attach(peer.cast())? };
    Thread::set_current(peer);
    Ok(())
}

/// Attaches the process's main thread and starts the finalizer thread. It stays in preemptive mode.
///
/// # Errors
/// No thread slot is free.
pub fn attach_main_thread() -> Result<(), AttachError> {
    attach(Box::into_raw(new_peer()))?;
    if super::memory::initialize_string_empty().is_err() || crate::exceptions::create::preallocate().is_err() {
        crate::engine::fatal("the class library lacks types that the engine needs");
    }
    super::gc::start_finalizer_thread();
    Ok(())
}

/// Attaches an OS thread that the engine did not make (native code calls in); it counts as a background thread. It stays in
/// preemptive mode.
///
/// # Errors
/// No thread slot is free.
pub fn attach_foreign_thread() -> Result<(), AttachError> {
    let peer = new_peer();
    peer.interrupt.shared.life.lock().is_background = true;
    attach(Box::into_raw(peer))
}

/// Ends the current thread's managed life (cooperative mode).
///
/// # Safety
/// Its peer may be gone afterwards: what [`Thread::current`] gave before must not be used any more.
pub unsafe fn detach_current() {
    let peer = Thread::current_ptr();
    let thread = Thread::current();
    wait::abandon_mutexes(u64::from(thread.managed_id));
    if !thread.managed_thread.get().is_null() {
        // SAFETY: the strong handle made at start; nobody else uses it.
        unsafe { Heap::get().handles().free(thread.managed_thread.get()) };
        thread.managed_thread.set(std::ptr::null_mut());
    }
    ThreadRegistry::get().detach(&thread.header);
    thread.thread_statics.clear();
    Thread::set_current(std::ptr::null_mut());
    let shared = thread.interrupt.shared.clone();
    let mut life = shared.life.lock();
    life.life = Life::Stopped;
    let (orphaned, foreground) = (life.orphaned, !life.is_background);
    drop(life);
    wait::set_event(shared.ended);
    if foreground {
        foreground_delta(false);
    }
    if orphaned {
        free_peer(peer);
    }
}

/// Frees a peer whose OS thread, if any, has ended.
fn free_peer(peer: *const Thread) {
    // SAFETY: made by `new_peer`, used by nobody any more.
    let thread = unsafe { Box::from_raw(peer.cast_mut()) };
    if !thread.interrupt.weak.get().is_null() {
        // SAFETY: the weak handle made with the managed object.
        unsafe { Heap::get().handles().free(thread.interrupt.weak.get()) };
    }
    IDS.lock().free.push(thread.managed_id);
}

/// Starts a thread of the engine's own that runs managed code: `body` in cooperative mode, background.
pub fn spawn_background(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let peer = new_peer();
    peer.interrupt.shared.life.lock().is_background = true;
    let peer = Box::into_raw(peer) as usize;
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(1536 << 10)
        .spawn(move || {
            if attach(peer as *const Thread).is_ok() {
                ThreadRegistry::get().leave_preemptive(&Thread::current().header);
                body();
                // SAFETY: the end of this thread.
                unsafe { detach_current() };
            }
        })?;
    Ok(())
}

/// Starts a thread of the engine's own that runs no managed code but may use everything that wants a current thread: `body`
/// in preemptive mode. It takes no managed thread id from the program's.
///
/// # Errors
/// The OS gives no thread.
pub fn spawn_native(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(8 << 20)
        .spawn(move || {
            let peer = peer_with_id(u32::MAX);
            peer.interrupt.shared.life.lock().is_background = true;
            let peer = Box::into_raw(peer);
            if attach(peer).is_ok() {
                body();
                ThreadRegistry::get().leave_preemptive(&Thread::current().header);
                // SAFETY: the end of this thread.
                unsafe { detach_current() };
            }
            // SAFETY: no managed object refers to this peer and its thread ends here.
            drop(unsafe { Box::from_raw(peer) });
        })?;
    Ok(())
}

/// The peer of a managed Thread object.
fn peer_of(this: ObjPtr) -> VmResult<Peer> {
    if this.is_null() {
        return Err(Raise::of(ExceptionKind::NullReference));
    }
    // SAFETY: a live Thread object; its peer lives as long as the object.
    unsafe { Peer::at(view::<ThreadObject>(this).internal_thread) }.ok_or_else(|| Raise::of(ExceptionKind::ThreadState))
}

/// The peer behind a `ThreadHandle`.
///
/// # Safety
/// `handle` came from a live managed Thread.
pub unsafe fn peer_of_handle(handle: usize) -> VmResult<Peer> {
    // SAFETY: the caller's promise.
    unsafe { Peer::at(handle) }.ok_or_else(|| Raise::of(ExceptionKind::ThreadState))
}

fn thread_class() -> VmResult<&'static MethodTable> {
    Ok(WellKnown::get().thread)
}

/// Ties a managed Thread object to its peer.
fn bind(object: ObjPtr, peer: &Thread, strong: bool) {
    const PRIORITY_NORMAL: i32 = 2;
    // SAFETY: a live Thread object; no reference field is written.
    let o = unsafe { view::<ThreadObject>(object) };
    o.internal_thread = std::ptr::from_ref(peer) as usize;
    o.managed_thread_id = peer.managed_id as i32;
    o.priority = PRIORITY_NORMAL;
    let handles = Heap::get().handles();
    peer.interrupt.weak.set(handles.alloc(HandleKind::WeakShort, object));
    if strong {
        peer.managed_thread.set(handles.alloc(HandleKind::Strong, object));
    }
}

/// The managed Thread object of the current thread, made on first request.
///
/// # Errors
/// OutOfMemoryException.
pub fn current_thread_object(thread: &Thread) -> VmResult<ObjPtr> {
    if thread.managed_thread.get().is_null() {
        let mt = thread_class()?;
        let object = Heap::get().alloc_object(&thread.header, mt.as_gc_ptr())?;
        bind(object, thread, true);
    }
    // SAFETY: a live strong handle.
    Ok(unsafe { *thread.managed_thread.get() })
}

// --- starting -------------------------------------------------------------------------------------------------------------

fn start_callback() -> VmResult<&'static MethodDesc> {
    thread_class()?.find_method("StartCallback").ok_or_else(|| {
        Raise::new(
            ExceptionKind::MissingMethod,
            "Method not found: 'Thread.StartCallback'.",
        )
    })
}

/// `ThreadNative_Start` in cooperative mode. `stack_size` 0 = default.
///
/// # Errors
/// ThreadStateException if it was started before, OutOfMemoryException if the OS gives no thread.
pub fn start(peer: Peer, stack_size: usize, name: Option<String>) -> VmResult<()> {
    const DEFAULT_STACK: usize = 8 << 20;
    const MINIMUM_STACK: usize = 256 << 10;
    let callback = start_callback()?;
    let foreground;
    {
        let shared = peer.shared();
        let mut life = shared.life.lock();
        if life.life != Life::Unstarted {
            return Err(Raise::new(
                ExceptionKind::ThreadState,
                "Thread is running or terminated; it cannot restart.",
            ));
        }
        life.life = Life::Running;
        foreground = !life.is_background;
    }
    // SAFETY: it was unstarted a moment ago and we are the ones who start it.
    let unstarted = unsafe { peer.unstarted() };
    let handles = Heap::get().handles();
    // SAFETY: the weak handle is live and the object too: the caller holds it.
    let object = unsafe { handles.get(unstarted.interrupt.weak.get()) };
    unstarted.managed_thread.set(handles.alloc(HandleKind::Strong, object));
    if foreground {
        foreground_delta(true);
    }
    let address = peer.as_ptr() as usize;
    let size = if stack_size == 0 {
        DEFAULT_STACK
    } else {
        stack_size.max(MINIMUM_STACK)
    };
    let runs = Arc::new((Mutex::new(false), Condvar::new()));
    let announced = runs.clone();
    let spawned = std::thread::Builder::new().stack_size(size).spawn(move || {
        let peer = address as *const Thread;
        if attach(peer).is_err() {
            crate::engine::fatal("too many threads");
        }
        if let Some(name) = name {
            set_os_name(&name);
        }
        let thread = Thread::current();
        *announced.0.lock() = true;
        announced.1.notify_one();
        drop(announced);
        ThreadRegistry::get().leave_preemptive(&thread.header);
        // SAFETY: the strong handle made above.
        let object = unsafe { *thread.managed_thread.get() };
        // An exception never comes back: the boundary is the top level.
        let _ = ManagedCall::new().top_level().obj(object).invoke(callback);
        // SAFETY: the end of this thread.
        unsafe { detach_current() };
    });
    if spawned.is_err() {
        if foreground {
            foreground_delta(false);
        }
        // SAFETY: the handle was made above; no thread uses it.
        unsafe { handles.free(unstarted.managed_thread.replace(std::ptr::null_mut())) };
        peer.shared().life.lock().life = Life::Unstarted;
        return Err(Raise::of(ExceptionKind::OutOfMemory));
    }
    // As in CoreCLR, the thread runs when its start returns.
    let _preemptive = enter_preemptive(Thread::current());
    let mut running = runs.0.lock();
    while !*running {
        runs.1.wait(&mut running);
    }
    Ok(())
}

/// Names the current OS thread (at most 15 bytes are kept).
pub fn set_os_name(name: &str) {
    let mut bytes: Vec<u8> = name.bytes().filter(|b| *b != 0).take(15).collect();
    bytes.push(0);
    // SAFETY: a NUL-terminated name of legal length.
    unsafe { libc::pthread_setname_np(libc::pthread_self(), bytes.as_ptr().cast()) };
}

/// `IsBackground = value`.
///
/// # Errors
/// ThreadStateException if the thread has ended.
pub fn set_background(peer: Peer, value: bool) -> VmResult<()> {
    let shared = peer.shared();
    let mut life = shared.life.lock();
    match life.life {
        Life::Stopped => return Err(dead()),
        Life::Running if life.is_background != value && peer.managed_id() != 1 => foreground_delta(!value),
        _ => {}
    }
    life.is_background = value;
    Ok(())
}

fn dead() -> Raise {
    Raise::new(ExceptionKind::ThreadState, "Thread is dead; state cannot be accessed.")
}

// --- waiting --------------------------------------------------------------------------------------------------------------

/// Waits in preemptive mode, interruptibly. No handles: sleeps.
///
/// # Errors
/// ThreadInterruptedException.
pub fn blocking_wait(handles: &[usize], all: bool, timeout_ms: i32, lifo: bool) -> VmResult<i32> {
    let outcome = {
        let thread = Thread::current();
        let _preemptive = enter_preemptive(thread);
        let waiting = Waiting::new(thread);
        wait::wait(
            handles,
            all,
            timeout_ms,
            u64::from(thread.managed_id),
            lifo,
            Some(&waiting.0.interrupt),
        )
    };
    match outcome {
        WaitOutcome::Code(code) => Ok(code),
        WaitOutcome::Interrupted => {
            Thread::current().header.clear_interrupt();
            Err(Raise::of(ExceptionKind::ThreadInterrupted))
        }
        WaitOutcome::InvalidHandle => Err(Raise::new(ExceptionKind::InvalidOperation, "The handle is invalid.")),
    }
}

/// While it lives, the thread's state shows that it waits.
#[derive(Debug)]
pub struct Waiting(Arc<SharedState>);

impl Waiting {
    /// The current thread begins a wait.
    pub fn new(thread: &Thread) -> Waiting {
        let shared = thread.interrupt.shared.clone();
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(shared)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Body of a QCall that blocks: runs in preemptive mode, errors become the pending exception.
pub fn blocking_qcall<T: Neutral>(body: impl FnOnce() -> VmResult<T>) -> T {
    match body() {
        Ok(value) => value,
        Err(raise) => {
            let _cooperative = enter_cooperative(Thread::current());
            crate::exceptions::set_pending(raise);
            T::neutral()
        }
    }
}

/// `Thread.Interrupt`: ends the present or next blocking operation of `peer`'s thread.
pub fn interrupt(peer: Peer) {
    peer.interrupt_monitors();
    peer.shared().interrupt.interrupt();
}

/// Takes note that a monitor operation of the current thread was interrupted.
pub fn interruption_consumed(thread: &Thread) -> Raise {
    thread.header.clear_interrupt();
    thread.interrupt.shared.interrupt.take();
    Raise::of(ExceptionKind::ThreadInterrupted)
}

/// Locks an object for a synchronized method. May block.
///
/// # Errors
/// As [`monitor::enter`](super::monitor::enter).
pub fn monitor_enter(thread: &Thread, object: ObjPtr) -> VmResult<()> {
    super::monitor::enter(thread, object, -1).map(drop)
}

/// Unlocks it.
///
/// # Errors
/// As [`monitor::exit`](super::monitor::exit).
pub fn monitor_exit(thread: &Thread, object: ObjPtr) -> VmResult<()> {
    super::monitor::exit(thread, object)
}

// --- internal calls -------------------------------------------------------------------------------------------------------

extern "C" fn internal_get_current_thread() -> usize {
    Thread::current_ptr() as usize
}

extern "C" fn get_current_thread() -> ObjPtr {
    icall_body(current_thread_object)
}

extern "C" fn initialize(this: ObjPtr) {
    let peer = Box::leak(new_peer());
    bind(this, peer, false);
}

extern "C" fn internal_finalize(this: ObjPtr) {
    // SAFETY: a Thread object in its finalizer; the peer is freed once, as the field is cleared.
    let peer = unsafe { Peer::at(std::mem::take(&mut view::<ThreadObject>(this).internal_thread)) };
    let Some(peer) = peer else {
        return;
    };
    let shared = peer.shared();
    let mut life = shared.life.lock();
    if life.life == Life::Running {
        life.orphaned = true;
        return;
    }
    drop(life);
    free_peer(peer.as_ptr());
}

fn life_of(this: ObjPtr) -> VmResult<(Life, bool)> {
    let shared = peer_of(this)?.shared();
    let life = shared.life.lock();
    Ok((life.life, life.is_background))
}

extern "C" fn is_alive(this: ObjPtr) -> bool {
    icall_body(|_| Ok(life_of(this)?.0 == Life::Running))
}

extern "C" fn get_is_background(this: ObjPtr) -> bool {
    icall_body(|_| match life_of(this)? {
        (Life::Stopped, _) => Err(dead()),
        (_, background) => Ok(background),
    })
}

extern "C" fn get_is_thread_pool(this: ObjPtr) -> bool {
    icall_body(|_| Ok(peer_of(this)?.shared().life.lock().is_thread_pool))
}

extern "C" fn set_is_thread_pool(this: ObjPtr, value: bool) {
    icall_body(|_| {
        peer_of(this)?.shared().life.lock().is_thread_pool = value;
        Ok(())
    });
}

extern "C" fn get_priority(this: ObjPtr) -> i32 {
    icall_body(|_| {
        if life_of(this)?.0 == Life::Stopped {
            return Err(Raise::new(
                ExceptionKind::ThreadState,
                "Thread is dead; priority cannot be accessed.",
            ));
        }
        // SAFETY: a live Thread object.
        Ok(unsafe { view::<ThreadObject>(this) }.priority)
    })
}

extern "C" fn set_priority(this: ObjPtr, priority: i32) {
    icall_body(|_| {
        // ThreadPriority.Lowest to ThreadPriority.Highest.
        if !(0..=4).contains(&priority) {
            return Err(Raise::new(
                ExceptionKind::ArgumentOutOfRange,
                "Value of flags is invalid.",
            ));
        }
        if life_of(this)?.0 == Life::Stopped {
            return Err(Raise::new(
                ExceptionKind::ThreadState,
                "Thread is dead; priority cannot be accessed.",
            ));
        }
        // SAFETY: a live Thread object. The OS priority of a thread needs privileges and stays as it is, as on CoreCLR/Unix.
        unsafe { view::<ThreadObject>(this) }.priority = priority;
        Ok(())
    });
}

/// Bits of `System.Threading.ThreadState`.
mod thread_state {
    pub const BACKGROUND: i32 = 4;
    pub const UNSTARTED: i32 = 8;
    pub const STOPPED: i32 = 16;
    pub const WAIT_SLEEP_JOIN: i32 = 32;
}

extern "C" fn get_thread_state(this: ObjPtr) -> i32 {
    icall_body(|_| {
        let (life, background) = life_of(this)?;
        let shared = peer_of(this)?.shared();
        let mut state = match life {
            Life::Unstarted => thread_state::UNSTARTED,
            Life::Running => 0,
            Life::Stopped => thread_state::STOPPED,
        };
        if life != Life::Stopped && background {
            state |= thread_state::BACKGROUND;
        }
        if life == Life::Running && shared.waiting.load(Ordering::Relaxed) > 0 {
            state |= thread_state::WAIT_SLEEP_JOIN;
        }
        Ok(state)
    })
}

extern "C" fn join(this: ObjPtr, timeout_ms: i32) -> bool {
    icall_body(|_| {
        let shared = peer_of(this)?.shared();
        if timeout_ms < -1 {
            return Err(Raise::about(
                ExceptionKind::ArgumentOutOfRange,
                "Number must be either non-negative and less than or equal to Int32.MaxValue or -1.",
                "millisecondsTimeout",
            ));
        }
        if shared.life.lock().life == Life::Unstarted {
            return Err(Raise::new(ExceptionKind::ThreadState, "Thread has not been started."));
        }
        Ok(blocking_wait(&[shared.ended], false, timeout_ms, false)? == 0)
    })
}

extern "C" fn optimal_max_spin_waits() -> i32 {
    7
}

/// No thread-pool setting from the environment: the enumeration ends at once.
extern "C" fn next_config_value(_index: i32, value: *mut u32, is_boolean: *mut bool, name: *mut *const u16) -> i32 {
    // SAFETY: managed code passes the addresses of its out parameters.
    unsafe {
        *value = 0;
        *is_boolean = false;
        *name = std::ptr::null();
    }
    -1
}

extern "C" fn wait_one(handle: usize, timeout_ms: i32, _trivial: bool) -> i32 {
    icall_body(|_| blocking_wait(&[handle], false, timeout_ms, false))
}

extern "C" fn wait_multiple(handles: *const usize, count: i32, all: bool, timeout_ms: i32) -> i32 {
    icall_body(|_| {
        // SAFETY: managed code passes an array of that many handles in native memory or on its stack.
        let handles = unsafe { std::slice::from_raw_parts(handles, count.max(0) as usize) }.to_vec();
        if all && (1..handles.len()).any(|i| handles[..i].contains(&handles[i])) {
            return Err(crate::exceptions::create::raise_named(
                "System",
                "DuplicateWaitObjectException",
                None,
            ));
        }
        blocking_wait(&handles, all, timeout_ms, false)
    })
}

extern "C" fn signal_and_wait(to_signal: usize, to_wait: usize, timeout_ms: i32) -> i32 {
    icall_body(|thread| {
        if let Err(error) = wait::signal(to_signal, u64::from(thread.managed_id)) {
            return Ok(error);
        }
        blocking_wait(&[to_wait], false, timeout_ms, false)
    })
}

extern "C" fn exchange_object(location: *mut ObjPtr, value: ObjPtr) -> ObjPtr {
    icall_body(|_| {
        if location.is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        }
        // SAFETY: a managed pointer to a reference.
        Ok(unsafe { corten_gc_hooks::exchange_ref(location, value) })
    })
}

extern "C" fn compare_exchange_object(location: *mut ObjPtr, value: ObjPtr, comparand: ObjPtr) -> ObjPtr {
    icall_body(|_| {
        if location.is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        }
        // SAFETY: a managed pointer to a reference.
        Ok(unsafe { corten_gc_hooks::compare_exchange_ref(location, value, comparand) })
    })
}

extern "C" fn current_managed_thread_id() -> i32 {
    Thread::current().managed_id as i32
}

icall_table! {
    /// Threads and waits.
    TABLE:
    "System.Threading.Thread" {
        "InternalGetCurrentThread" => internal_get_current_thread,
        "GetCurrentThreadNative" => get_current_thread,
        "Initialize" => initialize,
        "InternalFinalize" => internal_finalize,
        "get_IsAlive" => is_alive,
        "GetIsBackground" => get_is_background,
        "get_IsThreadPoolThread" => get_is_thread_pool,
        "set_IsThreadPoolThread" => set_is_thread_pool,
        "GetPriorityNative" => get_priority,
        "SetPriorityNative" => set_priority,
        "GetThreadStateNative" => get_thread_state,
        "Join" => join,
        "get_OptimalMaxSpinWaitsPerSpinIteration" => optimal_max_spin_waits,
    }
    "System.Threading.ThreadPool" { "GetNextConfigUInt32Value" => next_config_value }
    "System.Threading.WaitHandle" {
        "WaitOneCore" => wait_one,
        "WaitMultipleIgnoringSyncContext" => wait_multiple,
        "SignalAndWaitNative" => signal_and_wait,
    }
    "System.Threading.Interlocked" {
        "ExchangeObject" => exchange_object,
        "CompareExchangeObject" => compare_exchange_object,
    }
    "System.Environment" { "get_CurrentManagedThreadId" => current_managed_thread_id }
}
