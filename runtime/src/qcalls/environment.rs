//! Environment variables, exit, fail-fast, processor count, and texts of native resources.

use super::utf16_argument;
use super::wait::errors;
use crate::error::qcall_body;
use crate::exceptions::unhandled;
use crate::icalls::environment;
use crate::qcall_table;
use crate::thread::Thread;
use corten_gc_hooks::object::ObjPtr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sets what `Marshal.GetLastSystemError` reads: Win32-like functions report their error there.
pub fn set_last_error(error: i32) {
    // SAFETY: the calling thread's errno.
    unsafe { *libc::__errno_location() = error };
}

/// Units of a NUL-terminated UTF-16 string.
///
/// # Safety
/// `text` is NUL-terminated.
unsafe fn units<'a>(text: *const u16) -> &'a [u16] {
    let mut length = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while *text.add(length) != 0 {
            length += 1;
        }
        std::slice::from_raw_parts(text, length)
    }
}

extern "C" fn get_environment_variable(name: *const u16, buffer: *mut u16, size: u32) -> u32 {
    // SAFETY: managed code passes a NUL-terminated name.
    let value = environment::variable(unsafe { units(name) });
    let Some(value) = value else {
        set_last_error(errors::ERROR_ENVVAR_NOT_FOUND);
        return 0;
    };
    if value.len() >= size as usize {
        set_last_error(errors::ERROR_SUCCESS);
        return value.len() as u32 + 1;
    }
    // SAFETY: the buffer has room for `size` units.
    unsafe {
        std::ptr::copy_nonoverlapping(value.as_ptr(), buffer, value.len());
        *buffer.add(value.len()) = 0;
    }
    set_last_error(errors::ERROR_SUCCESS);
    value.len() as u32
}

extern "C" fn set_environment_variable(name: *const u16, value: *const u16) -> i32 {
    // SAFETY: managed code passes NUL-terminated strings; the value may be null.
    let done = unsafe { environment::set_variable(units(name), (!value.is_null()).then(|| units(value))) };
    if !done {
        set_last_error(errors::ERROR_ENVVAR_NOT_FOUND);
    }
    done.into()
}

extern "C" fn get_environment_strings() -> *mut u16 {
    let block = environment::block();
    // SAFETY: fresh memory of that size, freed by `free_environment_strings`.
    unsafe {
        let memory = libc::malloc(block.len() * 2).cast::<u16>();
        if !memory.is_null() {
            std::ptr::copy_nonoverlapping(block.as_ptr(), memory, block.len());
        }
        memory
    }
}

extern "C" fn free_environment_strings(block: *mut u16) -> i32 {
    // SAFETY: made by `get_environment_strings`.
    unsafe { libc::free(block.cast()) };
    1
}

extern "C" fn get_processor_count() -> i32 {
    let configured = std::env::var("DOTNET_PROCESSOR_COUNT")
        .ok()
        .and_then(|v| v.trim().parse::<u16>().ok());
    match configured {
        Some(n) if n > 0 => n.into(),
        _ => std::thread::available_parallelism().map_or(1, |n| n.get() as i32),
    }
}

/// Ends the process after the ProcessExit handlers; a second thread that exits meanwhile waits for the end.
pub fn exit_process(code: i32) -> ! {
    static EXITING: AtomicBool = AtomicBool::new(false);
    environment::latched_exit_code(code);
    let thread = Thread::current();
    if EXITING.swap(true, Ordering::SeqCst) {
        let _preemptive = crate::transitions::enter_preemptive(thread);
        loop {
            std::thread::park();
        }
    }
    {
        let _cooperative = crate::transitions::enter_cooperative(thread);
        crate::startup::process_exit();
    }
    let _preemptive = crate::transitions::enter_preemptive(thread);
    // SAFETY: runs exit handlers of native libraries, as the host's own exit does.
    unsafe { libc::exit(environment::exit_code()) }
}

extern "C" fn environment_exit(code: i32) {
    exit_process(code)
}

extern "C" fn environment_fail_fast(
    _mark: *const i32,
    message: *const u16,
    exception: *const ObjPtr,
    source: *const u16,
) {
    // SAFETY: managed code passes NUL-terminated strings or null.
    let (message, source) = unsafe { (utf16_argument(message), utf16_argument(source)) };
    qcall_body(|thread| -> crate::error::VmResult<()> {
        // SAFETY: a managed local.
        unhandled::fail_fast(thread, message.as_deref(), source.as_deref(), unsafe { *exception })
    });
}

/// Stores a new string in a managed local.
fn return_string(target: *mut ObjPtr, text: &str) {
    qcall_body(|thread| {
        let s = crate::strings::new_string(thread, text)?;
        // SAFETY: a managed local.
        unsafe { *target = s };
        Ok(())
    });
}

/// `ExceptionMessageKind`.
extern "C" fn message_from_native_resources(kind: i32, target: *mut ObjPtr) {
    return_string(
        target,
        match kind {
            1 => "Thread was being aborted.",
            2 => "Thread was interrupted from a waiting state.",
            _ => "Insufficient memory to continue the execution of the program.",
        },
    );
}

/// Text of an HRESULT of the loading functions.
fn hresult_text(hr: i32) -> String {
    match hr as u32 {
        0x8007_0002 => "The system cannot find the file specified.".to_owned(),
        0x8007_0003 => "The system cannot find the path specified.".to_owned(),
        0x8007_0005 => "Access is denied.".to_owned(),
        0x8007_000B => "An attempt was made to load a program with an incorrect format.".to_owned(),
        0x8013_1621 => "General loader error.".to_owned(),
        0x8013_1040 => "The located assembly's manifest definition does not match the assembly reference.".to_owned(),
        other => format!("0x{other:08X}"),
    }
}

extern "C" fn file_load_message_for_hr(hr: i32, target: *mut ObjPtr) {
    return_string(target, &hresult_text(hr));
}

extern "C" fn file_load_message(_hr: i32, target: *mut ObjPtr) {
    return_string(target, "Could not load file or assembly '{0}'. {1}");
}

extern "C" fn type_load_message(_resource: i32, target: *mut ObjPtr) {
    return_string(target, "Could not load type '{0}' from assembly '{1}'.");
}

/// No system message table: the class library then shows the number.
extern "C" fn format_message(
    _flags: i32,
    _source: usize,
    _message: u32,
    _language: i32,
    _buffer: *mut u16,
    _size: i32,
    _arguments: usize,
) -> i32 {
    const ERROR_MR_MID_NOT_FOUND: i32 = 317;
    set_last_error(ERROR_MR_MID_NOT_FOUND);
    0
}

qcall_table! {
    /// Environment and resources.
    TABLE:
    "GetEnvironmentVariableW" => get_environment_variable,
    "SetEnvironmentVariableW" => set_environment_variable,
    "GetEnvironmentStringsW" => get_environment_strings,
    "FreeEnvironmentStringsW" => free_environment_strings,
    "Environment_GetProcessorCount" => get_processor_count,
    "Environment_Exit" => environment_exit,
    "Environment_FailFast" => environment_fail_fast,
    "ExceptionNative_GetMessageFromNativeResources" => message_from_native_resources,
    "FileLoadException_GetMessageForHR" => file_load_message_for_hr,
    "GetFileLoadExceptionMessage" => file_load_message,
    "GetTypeLoadExceptionMessage" => type_load_message,
    "FormatMessageW" => format_message,
}
