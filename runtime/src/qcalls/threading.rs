//! Threads, monitors, and waitable objects as Win32-like functions.

use super::environment::set_last_error;
use super::utf16_argument;
use super::wait::{self, errors};
use crate::error::qcall_body;
use crate::icalls::monitor;
use crate::icalls::threading::{self as threads, blocking_qcall, blocking_wait, peer_of_handle};
use crate::qcall_table;
use crate::thread::Thread;
use corten_gc_hooks::object::ObjPtr;

fn me() -> u64 {
    u64::from(Thread::current().managed_id)
}

// --- waitable objects -----------------------------------------------------------------------------------------------------

extern "C" fn create_event(_attributes: usize, name: *const u16, flags: u32, _access: u32) -> usize {
    const MANUAL_RESET: u32 = 1;
    const INITIAL_SET: u32 = 2;
    if !name.is_null() {
        set_last_error(errors::ERROR_NOT_SUPPORTED);
        return 0;
    }
    set_last_error(errors::ERROR_SUCCESS);
    wait::create_event(flags & MANUAL_RESET != 0, flags & INITIAL_SET != 0)
}

/// BOOL result with a Win32 error for failure.
fn succeed_or(ok: bool, error: i32) -> i32 {
    set_last_error(if ok { errors::ERROR_SUCCESS } else { error });
    ok.into()
}

extern "C" fn set_event(handle: usize) -> i32 {
    succeed_or(wait::set_event(handle), errors::ERROR_INVALID_HANDLE)
}

extern "C" fn reset_event(handle: usize) -> i32 {
    succeed_or(wait::reset_event(handle), errors::ERROR_INVALID_HANDLE)
}

extern "C" fn create_semaphore(
    _attributes: usize,
    initial: i32,
    maximum: i32,
    name: *const u16,
    _flags: u32,
    _access: u32,
) -> usize {
    if !name.is_null() {
        set_last_error(errors::ERROR_NOT_SUPPORTED);
        return 0;
    }
    match wait::create_semaphore(initial, maximum) {
        Some(handle) => {
            set_last_error(errors::ERROR_SUCCESS);
            handle
        }
        None => {
            set_last_error(errors::ERROR_INVALID_PARAMETER);
            0
        }
    }
}

extern "C" fn release_semaphore(handle: usize, count: i32, previous: *mut i32) -> i32 {
    match wait::release_semaphore(handle, count) {
        Ok(before) => {
            if !previous.is_null() {
                // SAFETY: managed code passes the address of an int.
                unsafe { *previous = before };
            }
            succeed_or(true, 0)
        }
        Err(error) => succeed_or(false, error),
    }
}

extern "C" fn create_mutex(initially_owned: i32, name: *const u16, _errors: *mut u8, _size: u32) -> usize {
    // SAFETY: managed code passes a NUL-terminated name or null.
    let name = unsafe { utf16_argument(name) };
    let (handle, existed) = wait::create_mutex((initially_owned != 0).then(me), name);
    set_last_error(if existed {
        errors::ERROR_ALREADY_EXISTS
    } else {
        errors::ERROR_SUCCESS
    });
    handle
}

extern "C" fn open_mutex(name: *const u16, _errors: *mut u8, _size: u32) -> usize {
    // SAFETY: managed code passes a NUL-terminated name.
    let name = unsafe { utf16_argument(name) }.unwrap_or_default();
    match wait::open_mutex(&name) {
        Some(handle) => {
            set_last_error(errors::ERROR_SUCCESS);
            handle
        }
        None => {
            set_last_error(errors::ERROR_FILE_NOT_FOUND);
            0
        }
    }
}

extern "C" fn release_mutex(handle: usize) -> i32 {
    match wait::release_mutex(handle, me()) {
        Ok(()) => succeed_or(true, 0),
        Err(error) => succeed_or(false, error),
    }
}

extern "C" fn close_handle(handle: usize) -> i32 {
    succeed_or(wait::close(handle), errors::ERROR_INVALID_HANDLE)
}

/// Wait of thread-pool workers: the one that waited last is released first.
extern "C" fn wait_one_prioritized(handle: usize, timeout_ms: i32) -> i32 {
    blocking_qcall(|| blocking_wait(&[handle], false, timeout_ms, true))
}

// --- monitors -------------------------------------------------------------------------------------------------------------

extern "C" fn monitor_wait(object: *const ObjPtr, timeout_ms: i32) -> i32 {
    // SAFETY: a managed local.
    qcall_body(|thread| Ok(monitor::wait(thread, unsafe { *object }, timeout_ms)?.into()))
}

extern "C" fn monitor_pulse(object: *const ObjPtr) {
    // SAFETY: a managed local.
    qcall_body(|thread| monitor::pulse(thread, unsafe { *object }, false));
}

extern "C" fn monitor_pulse_all(object: *const ObjPtr) {
    // SAFETY: a managed local.
    qcall_body(|thread| monitor::pulse(thread, unsafe { *object }, true));
}

extern "C" fn lock_contention_count() -> i64 {
    monitor::contention_count()
}

// --- threads --------------------------------------------------------------------------------------------------------------

extern "C" fn thread_start(handle: usize, stack_size: i32, _priority: i32, name: *const u16) {
    // SAFETY: managed code passes a NUL-terminated name or null.
    let name = unsafe { utf16_argument(name) };
    // SAFETY: a ThreadHandle of a live Thread.
    qcall_body(|_| threads::start(unsafe { peer_of_handle(handle) }?, stack_size.max(0) as usize, name));
}

extern "C" fn thread_set_is_background(handle: usize, value: i32) {
    // SAFETY: a ThreadHandle of a live Thread.
    qcall_body(|_| threads::set_background(unsafe { peer_of_handle(handle) }?, value != 0));
}

extern "C" fn thread_inform_name_change(handle: usize, name: *const u16, _length: i32) {
    if handle == Thread::current_ptr() as usize {
        // SAFETY: managed code passes a NUL-terminated name or null.
        if let Some(name) = unsafe { utf16_argument(name) } {
            threads::set_os_name(&name);
        }
    }
}

extern "C" fn thread_interrupt(handle: usize) {
    qcall_body(|_| {
        // SAFETY: a ThreadHandle of a live Thread.
        threads::interrupt(unsafe { peer_of_handle(handle) }?);
        Ok(())
    });
}

extern "C" fn thread_sleep(timeout_ms: i32) {
    if timeout_ms == 0 {
        std::thread::yield_now();
        let thread = Thread::current();
        if thread.interrupt.shared.interrupt.is_requested() {
            blocking_qcall(|| Err::<(), _>(threads::interruption_consumed(thread)));
        }
        return;
    }
    blocking_qcall(|| blocking_wait(&[], false, timeout_ms, false).map(drop));
}

extern "C" fn thread_yield() -> i32 {
    std::thread::yield_now();
    1
}

extern "C" fn thread_spin_wait(iterations: i32) {
    for _ in 0..iterations {
        std::hint::spin_loop();
    }
}

extern "C" fn current_os_thread_id() -> u64 {
    // SAFETY: a plain query.
    unsafe { libc::gettid() as u64 }
}

qcall_table! {
    /// Threads, monitors, waitable objects.
    TABLE:
    "CreateEventExW" => create_event,
    "SetEvent" => set_event,
    "ResetEvent" => reset_event,
    "CreateSemaphoreExW" => create_semaphore,
    "ReleaseSemaphore" => release_semaphore,
    "PAL_CreateMutexW" => create_mutex,
    "PAL_OpenMutexW" => open_mutex,
    "ReleaseMutex" => release_mutex,
    "CloseHandle" => close_handle,
    "WaitHandle_CorWaitOnePrioritizedNative" => wait_one_prioritized,
    "Monitor_Wait" => monitor_wait,
    "Monitor_Pulse" => monitor_pulse,
    "Monitor_PulseAll" => monitor_pulse_all,
    "Monitor_GetLockContentionCount" => lock_contention_count,
    "ThreadNative_Start" => thread_start,
    "ThreadNative_SetIsBackground" => thread_set_is_background,
    "ThreadNative_InformThreadNameChange" => thread_inform_name_change,
    "ThreadNative_Interrupt" => thread_interrupt,
    "ThreadNative_Sleep" => thread_sleep,
    "ThreadNative_YieldThread" => thread_yield,
    "ThreadNative_SpinWait" => thread_spin_wait,
    "ThreadNative_GetCurrentOSThreadId" => current_os_thread_id,
}
