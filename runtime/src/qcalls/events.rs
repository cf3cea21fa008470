//! Event tracing: there is no EventPipe and no LTTng. Providers can be created, nothing listens, nothing is recorded.

use crate::qcall_table;
use std::cell::Cell;

/// A provider or event handle that means nothing but is not null.
const DUMMY_HANDLE: usize = 1;

extern "C" fn create_provider(_name: *const u16, _callback: usize, _context: usize) -> usize {
    DUMMY_HANDLE
}

extern "C" fn define_event() -> usize {
    DUMMY_HANDLE
}

extern "C" fn no_handle() -> usize {
    0
}

extern "C" fn no() -> i32 {
    0
}

extern "C" fn nothing() {}

/// Answers "no configuration" with a null string.
extern "C" fn clr_config(_name: *const u16) -> *const u16 {
    std::ptr::null()
}

thread_local! {
    static ACTIVITY: Cell<[u8; 16]> = const { Cell::new([0; 16]) };
}

fn new_activity() -> [u8; 16] {
    let mut id = [0u8; 16];
    // SAFETY: fills the buffer.
    unsafe { libc::getrandom(id.as_mut_ptr().cast(), id.len(), 0) };
    id
}

/// `EventActivityIdControl`: the current thread's activity id.
extern "C" fn activity_id_control(control: u32, id: *mut [u8; 16]) -> i32 {
    const GET: u32 = 1;
    const SET: u32 = 2;
    const CREATE: u32 = 3;
    const GET_SET: u32 = 4;
    const CREATE_SET: u32 = 5;
    // SAFETY: managed code passes the address of a Guid.
    let id = unsafe { &mut *id };
    match control {
        GET => *id = ACTIVITY.get(),
        SET => ACTIVITY.set(*id),
        CREATE => *id = new_activity(),
        GET_SET => *id = ACTIVITY.replace(*id),
        CREATE_SET => *id = ACTIVITY.replace(new_activity()),
        _ => return 1,
    }
    0
}

qcall_table! {
    /// EventPipe, EventSource and the runtime's own event source.
    TABLE:
    "EventPipeInternal_CreateProvider" => create_provider,
    "EventPipeInternal_DefineEvent" => define_event,
    "EventPipeInternal_DeleteProvider" => nothing,
    "EventPipeInternal_Enable" => no_handle,
    "EventPipeInternal_Disable" => nothing,
    "EventPipeInternal_EventActivityIdControl" => activity_id_control,
    "EventPipeInternal_GetNextEvent" => no,
    "EventPipeInternal_GetProvider" => no_handle,
    "EventPipeInternal_GetSessionInfo" => no,
    "EventPipeInternal_SignalSession" => no,
    "EventPipeInternal_WaitForSessionSignal" => no,
    "EventPipeInternal_WriteEventData" => nothing,
    "EventSource_GetClrConfig" => clr_config,
    "IsEventSourceLoggingEnabled" => no,
    "LogEventSource" => nothing,
    "NativeRuntimeEventSource_LogContentionLockCreated" => nothing,
    "NativeRuntimeEventSource_LogContentionStart" => nothing,
    "NativeRuntimeEventSource_LogContentionStop" => nothing,
    "NativeRuntimeEventSource_LogThreadPoolIODequeue" => nothing,
    "NativeRuntimeEventSource_LogThreadPoolIOEnqueue" => nothing,
    "NativeRuntimeEventSource_LogThreadPoolIOPack" => nothing,
    "NativeRuntimeEventSource_LogThreadPoolMinMaxThreads" => nothing,
    "NativeRuntimeEventSource_LogThreadPoolWorkerThreadAdjustmentAdjustment" => nothing,
    "NativeRuntimeEventSource_LogThreadPoolWorkerThreadAdjustmentSample" => nothing,
    "NativeRuntimeEventSource_LogThreadPoolWorkerThreadAdjustmentStats" => nothing,
    "NativeRuntimeEventSource_LogThreadPoolWorkerThreadStart" => nothing,
    "NativeRuntimeEventSource_LogThreadPoolWorkerThreadStop" => nothing,
    "NativeRuntimeEventSource_LogThreadPoolWorkerThreadWait" => nothing,
    "NativeRuntimeEventSource_LogThreadPoolWorkingThreadCount" => nothing,
    "NativeRuntimeEventSource_LogWaitHandleWaitStart" => nothing,
    "NativeRuntimeEventSource_LogWaitHandleWaitStop" => nothing,
    "MultiCoreJIT_InternalSetProfileRoot" => nothing,
    "MultiCoreJIT_InternalStartProfile" => nothing,
}
