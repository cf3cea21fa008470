//! `Marshal` and the helpers of interop stubs.

use crate::error::{ExceptionKind, Raise, icall_body};
use crate::icall_table;
use crate::thread::Thread;
use corten_gc_hooks::Heap;
use corten_gc_hooks::object::{MethodTableHeader, ObjPtr};

extern "C" fn get_last_pinvoke_error() -> i32 {
    Thread::current().last_pinvoke_error.get()
}

extern "C" fn set_last_pinvoke_error(error: i32) {
    Thread::current().last_pinvoke_error.set(error);
}

/// Structured exception handling is Windows'.
extern "C" fn no_exception_pointers() -> usize {
    0
}

extern "C" fn no_exception_code() -> i32 {
    0
}

extern "C" fn clear_last_error() {
    // SAFETY: the calling thread's errno.
    unsafe { *libc::__errno_location() = 0 };
}

extern "C" fn set_last_error() {
    // SAFETY: the calling thread's errno.
    Thread::current()
        .last_pinvoke_error
        .set(unsafe { *libc::__errno_location() });
}

/// No BSTR of this platform has an odd byte.
extern "C" fn try_get_string_trail_byte(_string: ObjPtr, data: *mut u8) -> bool {
    // SAFETY: an out parameter.
    unsafe { *data = 0 };
    false
}

extern "C" fn allocate_internal(mt: *const MethodTableHeader) -> ObjPtr {
    icall_body(|thread| {
        if mt.is_null() {
            return Err(Raise::of(ExceptionKind::ArgumentNull));
        }
        Ok(Heap::get().alloc_object(&thread.header, mt)?)
    })
}

icall_table! {
    /// Marshalling.
    TABLE:
    "System.Runtime.InteropServices.Marshal" {
        "GetLastPInvokeError" => get_last_pinvoke_error,
        "SetLastPInvokeError" => set_last_pinvoke_error,
        "GetExceptionPointers" => no_exception_pointers,
        "GetExceptionCode" => no_exception_code,
    }
    "System.StubHelpers.StubHelpers" {
        "ClearLastError" => clear_last_error,
        "SetLastError" => set_last_error,
        "TryGetStringTrailByte" => try_get_string_trail_byte,
        "AllocateInternal" => allocate_internal,
    }
}
