//! What managed code throws that was asked for an assembly (`AssemblyLoadContext.Load`, resolve events): CoreCLR reports it as a
//! FileLoadException, FileNotFoundException or BadImageFormatException about the assembly, by the HRESULT, around the original.

use crate::error::{ExceptionKind, Raise, VmResult};
use crate::exceptions::create;
use crate::objects::{ExceptionObject, store, view};
use crate::thread::Thread;
use corten_gc_hooks::handles::HandleKind;
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::{HandleScope, Heap};
use corten_loader::{LoadError, ThrownException};

/// A strong handle of an exception.
#[derive(Debug)]
struct Held(usize);

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the handle is this value's own.
        unsafe { Heap::get().handles().free(self.0 as *mut ObjPtr) };
    }
}

/// How the class library's exceptions for loaded files name an HRESULT.
fn text_of(hr: u32) -> String {
    let text = match hr {
        0x8007_0002 => return "The system cannot find the file specified.\n".to_owned(),
        0x8007_0003 => return "The system cannot find the path specified.\n".to_owned(),
        0x8007_0005 => return "Access is denied.\n".to_owned(),
        0x8007_000B => return "An attempt was made to load a program with an incorrect format.\n".to_owned(),
        0x8013_1018 => return "The module was expected to contain an assembly manifest.".to_owned(),
        0x8013_1524 => return "Could not find the specified DllImport Dll.".to_owned(),
        0x8000_4001 => return format!("Error {hr} (0x{hr:08X} (E_NOTIMPL))"),
        0x8000_4002 => return format!("Error {hr} (0x{hr:08X} (E_NOINTERFACE))"),
        0x8000_4003 => return format!("Error {hr} (0x{hr:08X} (E_POINTER))"),
        0x8000_4005 => return format!("Error {hr} (0x{hr:08X} (E_FAIL))"),
        0x8000_FFFF => return format!("Error {hr} (0x{hr:08X} (E_UNEXPECTED))"),
        0x8007_0057 => return format!("The parameter is incorrect.\n (0x{hr:08X} (E_INVALIDARG))"),
        0x8007_0006 => return format!("The handle is invalid.\n (0x{hr:08X} (E_HANDLE))"),
        0x8007_0216 => "Arithmetic result exceeded 32 bits.\n",
        0x8013_1040 => "The located assembly's manifest definition does not match the assembly reference.",
        0x8013_1047 => "The given assembly name was invalid.",
        0x8013_1107 => "Old version error.",
        0x8013_1500 => "General Exception",
        0x8013_1501 => "System.Exception",
        0x8013_1502 => "An argument was out of its legal range.",
        0x8013_1503 => "Attempted to store an object of the wrong type in an array.",
        0x8013_1505 => "Operation timed out.",
        0x8013_1506 => "Internal CLR error.",
        0x8013_1507 => "Access to this field is denied.",
        0x8013_1508 => "Array subscript out of range.",
        0x8013_1509 => "An operation is not legal in the current state.",
        0x8013_150A => "An error relating to security occurred.",
        0x8013_150C => "An error relating to serialization occurred.",
        0x8013_150D => "A verification failure has occurred.",
        0x8013_1511 => "Field does not exist.",
        0x8013_1512 => "Member does not exist.",
        0x8013_1513 => "Method does not exist.",
        0x8013_1515 => "Operation is not supported.",
        0x8013_1516 => "Arithmetic, casting or conversion operation overflowed or underflowed.",
        0x8013_1517 => "An array has the wrong number of dimensions for a particular operation.",
        0x8013_1518 => "This operation must be called from a synchronized block.",
        0x8013_151A => "Access to this member is denied.",
        0x8013_1520 => "Thread is in an invalid state for this operation.",
        0x8013_1522 => "Could not find or load a type.",
        0x8013_1523 => "Could not find the specified DllImport entrypoint.",
        0x8013_1534 => "Uncaught exception during type initialization.",
        0x8013_1537 => "The format of one argument does not meet the contract of the method.",
        0x8013_1539 => "Operation is not supported on this platform.",
        0x8013_153B => "The operation was cancelled.",
        0x8013_1577 => "The given key was not present in the dictionary.",
        0x8013_1600 => "Application exception",
        0x8013_1604 => "Uncaught exception thrown by method called through Reflection.",
        0x8013_1605 => "Custom attribute has invalid format.",
        0x8013_1620 => "Error during managed I/O.",
        0x8013_1621 => "Could not find or load a specific file.",
        0x8013_1622 => "The object has already been disposed.",
        _ => return format!("Error {hr} (0x{hr:08X})"),
    };
    format!("{text} (0x{hr:08X})")
}

/// The class of exception that an HRESULT asks for; `None` for what concerns the thread and not the assembly.
fn kind_of(hr: u32) -> Option<ExceptionKind> {
    match hr {
        // Interrupted, aborted, out of memory, out of stack.
        0x8013_1519 | 0x8013_1530 | 0x8007_000E | 0x8007_03E9 => None,
        0x8007_0002 | 0x8007_0003 | 0x8007_0015 | 0x8007_0035 | 0x8007_0043 | 0x8007_007B | 0x8007_0485 => {
            Some(ExceptionKind::FileNotFound)
        }
        0x8007_000B | 0x8013_1018 | 0x8013_1107 => Some(ExceptionKind::BadImageFormat),
        _ => Some(ExceptionKind::FileLoad),
    }
}

/// Makes the pending exception the failure to load the assembly `name`. Cooperative mode; may collect.
///
/// # Errors
/// What the creation of the exception raises.
pub fn take_pending(name: &str) -> VmResult<LoadError> {
    let thread = Thread::current();
    let original = thread.header.pending_exception.replace(std::ptr::null_mut());
    if original.is_null() {
        return Err(Raise::of(ExceptionKind::FileLoad));
    }
    let scope = HandleScope::new(&thread.header);
    let original = scope.root(original);
    // SAFETY: a live exception.
    let hr = unsafe { view::<ExceptionObject>(original.get()).hresult };
    let text = text_of(hr as u32);
    let exception = match kind_of(hr as u32) {
        None => original.get(),
        Some(kind) => {
            let message = format!("Could not load file or assembly '{name}'. {text}");
            let wrapper = create::create(kind, Some(&message), Some(name))?;
            // SAFETY: live exceptions; no safepoint since the wrapper was made.
            unsafe {
                let fields = view::<ExceptionObject>(wrapper);
                store(&mut fields.inner_exception, original.get());
                fields.hresult = hr;
            }
            wrapper
        }
    };
    let handle = Heap::get().handles().alloc(HandleKind::Strong, exception) as usize;
    Ok(LoadError::Thrown {
        name: name.to_owned(),
        message: text,
        exception: ThrownException::new(Held(handle)),
    })
}

/// Makes the exception pending again.
pub fn raise(exception: &ThrownException) -> Raise {
    let thread = Thread::current();
    let _cooperative = crate::transitions::enter_cooperative(thread);
    if let Some(held) = exception.get::<Held>() {
        // SAFETY: a live handle.
        thread
            .header
            .pending_exception
            .set(unsafe { *(held.0 as *const ObjPtr) });
    }
    Raise::Pending
}
