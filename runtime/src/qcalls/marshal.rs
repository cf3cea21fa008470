//! `MarshalNative_*`, debugger output, stack frame queries, and throwing helpers.

use crate::error::{ExceptionKind, Raise, VmResult, qcall_body};
use crate::exceptions::{create, frames, trace};
use crate::managed::ManagedCall;
use crate::qcall_table;
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{TypeHandle, WellKnown, corelib_type, format_method};

/// The exception class that CoreCLR associates with an HRESULT.
fn kind_of_hresult(hr: i32) -> Option<ExceptionKind> {
    use ExceptionKind as K;
    Some(match hr as u32 {
        0x8000_4001 => K::NotImplemented,
        0x8000_4002 => K::InvalidCast,
        0x8000_4003 => K::NullReference,
        0x8007_000E => K::OutOfMemory,
        0x8007_0057 => K::Argument,
        0x8007_0002 => K::FileNotFound,
        0x8007_000B => K::BadImageFormat,
        0x8002_0012 => K::DivideByZero,
        0x8013_1500 => K::Exception,
        0x8013_1501 => K::SystemException,
        0x8013_1502 => K::ArgumentOutOfRange,
        0x8013_1503 => K::ArrayTypeMismatch,
        0x8013_1506 => K::ExecutionEngine,
        0x8013_1508 => K::IndexOutOfRange,
        0x8013_1509 => K::InvalidOperation,
        0x8013_1511 => K::MissingField,
        0x8013_1513 => K::MissingMethod,
        0x8013_1515 => K::NotSupported,
        0x8013_1516 => K::Overflow,
        0x8013_1518 => K::SynchronizationLock,
        0x8013_1522 => K::TypeLoad,
        0x8013_1523 => K::EntryPointNotFound,
        0x8013_1524 => K::DllNotFound,
        0x8013_1539 => K::PlatformNotSupported,
        0x8013_153A => K::InvalidProgram,
        _ => return None,
    })
}

/// A new exception for a failed HRESULT (cooperative mode).
///
/// # Errors
/// What its creation raises.
pub fn create_for_hresult(hr: i32) -> VmResult<ObjPtr> {
    if let Some(kind) = kind_of_hresult(hr) {
        return create::create(kind, None);
    }
    let thread = Thread::current();
    let mt = corelib_type("System.Runtime.InteropServices", "COMException")?;
    let w = WellKnown::get();
    let constructor = create::constructor(mt, &[w.string.handle(), w.int32.handle()])?;
    let scope = HandleScope::new(&mut thread.header);
    let text = format!("Exception from HRESULT: 0x{hr:08X}");
    let message = scope.root(crate::strings::new_string(thread, &text)?);
    let object = scope.root(create::allocate(thread, mt)?);
    ManagedCall::new()
        .obj(object.get())
        .obj(message.get())
        .int(hr as u32 as u64)
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

extern "C" fn debugger_launch() -> i32 {
    0
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
