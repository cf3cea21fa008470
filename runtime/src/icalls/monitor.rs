//! `System.Threading.Monitor` and identity hash codes, over the collector's sync words and sync blocks.

// Arguments of internal calls are live objects by the calling convention of managed code.
#![allow(clippy::not_unsafe_ptr_arg_deref)]

use super::gc::GcFrameRegistration;
use super::threading::{Waiting, interruption_consumed};
use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use crate::icall_table;
use crate::thread::Thread;
use corten_gc_hooks::monitor::MonitorError;
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::syncblock::{self, LockError};
use std::time::Duration;

fn raise_of(thread: &Thread, error: LockError) -> Raise {
    match error {
        LockError::Monitor(MonitorError::Interrupted) => interruption_consumed(thread),
        LockError::Monitor(MonitorError::NotOwner) => Raise::of(ExceptionKind::SynchronizationLock),
        _ => Raise::of(ExceptionKind::OutOfMemory),
    }
}

fn not_null(object: ObjPtr) -> VmResult<()> {
    if object.is_null() {
        Err(Raise::of(ExceptionKind::ArgumentNull))
    } else {
        Ok(())
    }
}

fn timeout(milliseconds: i32) -> Option<Duration> {
    (milliseconds >= 0).then(|| Duration::from_millis(milliseconds as u64))
}

/// `Monitor.Enter` with a timeout in milliseconds, -1 for ever. May block: a safepoint.
///
/// # Errors
/// ArgumentNullException, ThreadInterruptedException, OutOfMemoryException.
pub fn enter(thread: &Thread, object: ObjPtr, timeout_ms: i32) -> VmResult<bool> {
    not_null(object)?;
    // SAFETY: a live object; the current thread, cooperative. Without waiting this is no safepoint.
    let at_once = unsafe { syncblock::enter(&thread.header, object, Some(Duration::ZERO)) };
    if timeout_ms == 0 || !matches!(at_once, Ok(false)) {
        return at_once.map_err(|e| raise_of(thread, e));
    }
    let _waiting = Waiting::new(thread);
    // SAFETY: as above; `object` has not moved yet.
    let result = unsafe { syncblock::enter(&thread.header, object, timeout(timeout_ms)) };
    result.map_err(|e| raise_of(thread, e))
}

/// `Monitor.Exit`.
///
/// # Errors
/// ArgumentNullException, SynchronizationLockException.
pub fn exit(thread: &Thread, object: ObjPtr) -> VmResult<()> {
    not_null(object)?;
    // SAFETY: a live object, cooperative mode.
    unsafe { syncblock::exit(&thread.header, object) }.map_err(|e| raise_of(thread, e))
}

/// `Monitor.Wait`: whether a pulse came in time. A safepoint.
///
/// # Errors
/// SynchronizationLockException, ThreadInterruptedException.
pub fn wait(thread: &Thread, object: ObjPtr, timeout_ms: i32) -> VmResult<bool> {
    not_null(object)?;
    let _waiting = Waiting::new(thread);
    // SAFETY: a live object; the current thread, cooperative.
    let result = unsafe { syncblock::wait(&thread.header, object, timeout(timeout_ms)) };
    result.map_err(|e| raise_of(thread, e))
}

/// `Monitor.Pulse` and `PulseAll`.
///
/// # Errors
/// SynchronizationLockException.
pub fn pulse(thread: &Thread, object: ObjPtr, all: bool) -> VmResult<()> {
    not_null(object)?;
    // SAFETY: a live object, cooperative mode.
    unsafe { syncblock::pulse(&thread.header, object, all) }.map_err(|e| raise_of(thread, e))
}

/// `Monitor.LockContentionCount`.
pub fn contention_count() -> i64 {
    corten_gc_hooks::monitor::contention_count() as i64
}

extern "C" fn monitor_enter(object: ObjPtr) {
    icall_body(|thread| enter(thread, object, -1).map(drop));
}

extern "C" fn monitor_reliable_enter(object: ObjPtr, taken: *mut bool) {
    reliable_enter(object, -1, taken);
}

extern "C" fn monitor_reliable_enter_timeout(object: ObjPtr, timeout_ms: i32, taken: *mut bool) {
    if timeout_ms < -1 && !object.is_null() {
        return icall_body(|_| Err(Raise::of(ExceptionKind::ArgumentOutOfRange)));
    }
    reliable_enter(object, timeout_ms, taken);
}

/// Enters and tells through a managed pointer, which may lie in a heap object (an iterator's hoisted local): it is reported
/// as an interior reference while the thread blocks.
fn reliable_enter(object: ObjPtr, timeout_ms: i32, taken: *mut bool) {
    icall_body(|thread| {
        let mut address = taken.cast::<u8>();
        let mut registration = GcFrameRegistration::interior(&mut address, 1);
        registration.link(thread);
        let entered = enter(thread, object, timeout_ms);
        registration.unlink(thread);
        if entered? {
            // SAFETY: a managed pointer to a boolean, updated by the collector.
            unsafe { *address.cast::<bool>() = true };
        }
        Ok(())
    });
}

extern "C" fn monitor_exit(object: ObjPtr) {
    icall_body(|thread| exit(thread, object));
}

extern "C" fn monitor_is_entered(object: ObjPtr) -> bool {
    icall_body(|thread| {
        not_null(object)?;
        // SAFETY: a live object, cooperative mode.
        Ok(unsafe { syncblock::is_entered(&thread.header, object) })
    })
}

extern "C" fn get_hash_code(object: ObjPtr) -> i32 {
    icall_body(|_| {
        if object.is_null() {
            return Ok(0);
        }
        // SAFETY: a live object, cooperative mode.
        match unsafe { syncblock::hash_code(object) } {
            Ok(hash) => Ok(hash as i32),
            Err(_) => Err(Raise::of(ExceptionKind::OutOfMemory)),
        }
    })
}

extern "C" fn try_get_hash_code(object: ObjPtr) -> i32 {
    if object.is_null() {
        return 0;
    }
    // SAFETY: a live object, cooperative mode.
    unsafe { syncblock::try_hash_code(object) as i32 }
}

icall_table! {
    /// Monitors and hash codes.
    TABLE:
    "System.Threading.Monitor" {
        "Enter" => monitor_enter,
        "ReliableEnter" => monitor_reliable_enter,
        "ReliableEnterTimeout" => monitor_reliable_enter_timeout,
        "Exit" => monitor_exit,
        "IsEnteredNative" => monitor_is_entered,
    }
    "System.Runtime.CompilerServices.RuntimeHelpers" {
        "GetHashCode" => get_hash_code,
        "TryGetHashCode" => try_get_hash_code,
    }
}
