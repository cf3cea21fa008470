//! `MarshalNative_*`, debugger output, stack frame queries, and throwing helpers.

use crate::error::{ExceptionKind, Raise, VmResult, qcall_body};
use crate::exceptions::{create, frames, trace};
use crate::managed::ManagedCall;
use crate::objects::{ExceptionObject, view};
use crate::qcall_table;
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{TypeHandle, WellKnown, corelib_type, format_method};

/// The exception class that stands for an HRESULT: namespace and name.
fn class_of_hresult(hr: i32) -> Option<(&'static str, &'static str)> {
    Some(match hr as u32 {
        0x8000_4001 => ("System", "NotImplementedException"),
        0x8000_4002 => ("System", "InvalidCastException"),
        0x8000_4003 => ("System", "NullReferenceException"),
        0x8007_0002 => ("System.IO", "FileNotFoundException"),
        0x8007_0003 => ("System.IO", "DirectoryNotFoundException"),
        0x8007_0005 => ("System", "UnauthorizedAccessException"),
        0x8007_000B => ("System", "BadImageFormatException"),
        0x8007_000E => ("System", "OutOfMemoryException"),
        0x8007_0057 => ("System", "ArgumentException"),
        0x8007_00CE => ("System.IO", "PathTooLongException"),
        0x8007_03E9 => ("System", "StackOverflowException"),
        0x8002_0012 => ("System", "DivideByZeroException"),
        0x8013_1430 => ("System.Security.Cryptography", "CryptographicException"),
        0x8013_1500 => ("System", "Exception"),
        0x8013_1501 => ("System", "SystemException"),
        0x8013_1502 => ("System", "ArgumentOutOfRangeException"),
        0x8013_1503 => ("System", "ArrayTypeMismatchException"),
        0x8013_1506 => ("System", "ExecutionEngineException"),
        0x8013_1508 => ("System", "IndexOutOfRangeException"),
        0x8013_1509 => ("System", "InvalidOperationException"),
        0x8013_150A => ("System.Security", "SecurityException"),
        0x8013_150C => ("System.Runtime.Serialization", "SerializationException"),
        0x8013_1511 => ("System", "MissingFieldException"),
        0x8013_1512 => ("System", "MissingMemberException"),
        0x8013_1513 => ("System", "MissingMethodException"),
        0x8013_1515 => ("System", "NotSupportedException"),
        0x8013_1516 => ("System", "OverflowException"),
        0x8013_1517 => ("System", "RankException"),
        0x8013_1518 => ("System.Threading", "SynchronizationLockException"),
        0x8013_1519 => ("System.Threading", "ThreadInterruptedException"),
        0x8013_1520 => ("System.Threading", "ThreadStateException"),
        0x8013_1522 => ("System", "TypeLoadException"),
        0x8013_1523 => ("System", "EntryPointNotFoundException"),
        0x8013_1524 => ("System", "DllNotFoundException"),
        0x8013_1537 => ("System", "FormatException"),
        0x8013_1539 => ("System", "PlatformNotSupportedException"),
        0x8013_153A => ("System", "InvalidProgramException"),
        0x8013_153B => ("System", "OperationCanceledException"),
        0x8013_1541 => ("System", "DataMisalignedException"),
        0x8013_1543 => ("System", "TypeAccessException"),
        0x8013_1620 => ("System.IO", "IOException"),
        0x8013_1621 => ("System.IO", "FileLoadException"),
        _ => return None,
    })
}

/// The message of an HRESULT where CoreCLR takes the system's text instead of the class's own.
fn text_of_hresult(hr: i32) -> Option<String> {
    let (text, name) = match hr as u32 {
        0x8000_4005 => return Some("Unexpected HRESULT has been returned from a call to a COM component.".to_owned()),
        0x8007_0002 => ("The system cannot find the file specified.\n", ""),
        0x8007_0003 => ("The system cannot find the path specified.\n", ""),
        0x8007_0005 => ("Access is denied.\n", " (E_ACCESSDENIED)"),
        0x8007_0006 => ("The handle is invalid.\n", " (E_HANDLE)"),
        0x8007_000B => ("An attempt was made to load a program with an incorrect format.\n", ""),
        0x8013_150A => ("An error relating to security occurred.", ""),
        0x8013_152D => ("The wait completed due to an abandoned mutex.", ""),
        0x8013_1577 => ("The given key was not present in the dictionary.", ""),
        0x8013_1623 => ("Runtime operation halted by call to System.Environment.FailFast().", ""),
        _ => return None,
    };
    Some(format!("{text} (0x{hr:08X}{name})"))
}

/// A new exception for a failed HRESULT (cooperative mode).
///
/// # Errors
/// What its creation raises.
pub fn create_for_hresult(hr: i32) -> VmResult<ObjPtr> {
    let thread = Thread::current();
    let w = WellKnown::get();
    // A class that this class library does not have is reported like an unknown number.
    let known = class_of_hresult(hr).and_then(|(namespace, name)| corelib_type(namespace, name).ok());
    let scope = HandleScope::new(&thread.header);
    if let Some(mt) = known {
        let text = text_of_hresult(hr);
        let string = [w.string.handle()];
        let constructor = create::constructor(mt, if text.is_some() { &string } else { &[] })?;
        let message = text.map(|text| crate::strings::new_string(thread, &text)).transpose()?;
        let message = message.map(|message| scope.root(message));
        let object = scope.root(create::allocate(thread, mt)?);
        let mut call = ManagedCall::new().obj(object.get());
        if let Some(message) = message {
            call = call.obj(message.get());
        }
        call.invoke(constructor)?;
        // SAFETY: a live exception; no safepoint meanwhile.
        unsafe { view::<ExceptionObject>(object.get()).hresult = hr };
        return Ok(object.get());
    }
    let mt = corelib_type("System.Runtime.InteropServices", "COMException")?;
    let constructor = create::constructor(mt, &[w.string.handle(), w.int32.handle()])?;
    let text = text_of_hresult(hr).unwrap_or_else(|| format!("Error {} (0x{hr:08X})", hr as u32));
    let message = scope.root(crate::strings::new_string(thread, &text)?);
    let object = scope.root(create::allocate(thread, mt)?);
    ManagedCall::new()
        .obj(object.get())
        .obj(message.get())
        .int(u64::from(hr as u32))
        .invoke(constructor)?;
    Ok(object.get())
}

extern "C" fn exception_for_hr(hr: i32, _info: usize, result: *mut ObjPtr) {
    qcall_body(|_| {
        let exception = create_for_hresult(hr)?;
        // SAFETY: a managed local.
        unsafe { *result = exception };
        Ok(())
    });
}

// --- diagnostics ----------------------------------------------------------------------------------------------------------

/// Nothing can be launched; CoreCLR reports success in that case, too.
extern "C" fn debugger_launch() -> i32 {
    1
}

extern "C" fn debugger_log(_level: i32, _category: *const u16, _message: *const u16) {}

extern "C" fn method_from_native_ip(ip: usize) -> usize {
    frames::lookup(ip).and_then(|c| c.method).map_or(0, |m| m.0 as usize)
}

/// The method of the innermost frame of a captured stack trace, as an `IRuntimeMethodInfo`.
extern "C" fn method_from_stack_trace(stack_trace: *const ObjPtr, result: *mut ObjPtr) {
    qcall_body(|_| {
        // SAFETY: managed locals; the first holds an exception's `_stackTrace`.
        unsafe {
            *result = match trace::frames_of(*stack_trace).first() {
                Some(frame) => crate::type_objects::method_stub_object(frame.method),
                None => std::ptr::null_mut(),
            };
        }
        Ok(())
    });
}

// --- throwing -------------------------------------------------------------------------------------------------------------

fn describe_dispatch(target: usize, interface: usize, method: usize) -> (String, String, String) {
    // SAFETY: managed code passes MethodTables and a MethodDesc of the loader, or null.
    unsafe {
        let name = |raw| TypeHandle::from_raw(raw).map_or_else(String::new, |t| t.display_name());
        let method = (method as *const corten_loader::MethodDesc)
            .as_ref()
            .map_or_else(String::new, format_method);
        (name(target), name(interface), method)
    }
}

extern "C" fn throw_ambiguous_resolution(target: usize, interface: usize, method: usize) {
    let (target, interface, method) = describe_dispatch(target, interface, method);
    qcall_body(|_| {
        Err::<(), _>(Raise::new(
            ExceptionKind::AmbiguousImplementation,
            format!(
                "Could not call method '{method}' on interface '{interface}' with type '{target}' because there are multiple incompatible interface methods overriding this method."
            ),
        ))
    });
}

extern "C" fn throw_entry_point_not_found(target: usize, interface: usize, method: usize) {
    let (target, interface, method) = describe_dispatch(target, interface, method);
    qcall_body(|_| {
        Err::<(), _>(Raise::new(
            ExceptionKind::EntryPointNotFound,
            format!("Entry point was not found: '{method}' of '{interface}' on '{target}'."),
        ))
    });
}

qcall_table! {
    /// Marshalling, diagnostics, throwing.
    TABLE:
    "MarshalNative_GetExceptionForHR" => exception_for_hr,
    "DebugDebugger_Launch" => debugger_launch,
    "DebugDebugger_Log" => debugger_log,
    "StackFrame_GetMethodDescFromNativeIP" => method_from_native_ip,
    "ExceptionNative_GetMethodFromStackTrace" => method_from_stack_trace,
    "ExceptionNative_ThrowAmbiguousResolutionException" => throw_ambiguous_resolution,
    "ExceptionNative_ThrowEntryPointNotFoundException" => throw_entry_point_not_found,
}
