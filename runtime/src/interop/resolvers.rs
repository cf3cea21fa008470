//! Managed code that has a say in where a native library is: `NativeLibrary.SetDllImportResolver`,
//! `AssemblyLoadContext.LoadUnmanagedDll` and the event `ResolvingUnmanagedDll`. Preemptive mode; they run managed code.

use super::{load_library, not_found};
use crate::error::VmResult;
use crate::managed::ManagedCall;
use crate::qcalls::reflection::load_context::managed_handle;
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{Assembly, MethodTable, corelib_type};
use std::path::Path;

/// Calls a static method of CoreLib with the library's name and the assembly; a library handle if it gives one.
fn ask(
    class: &'static MethodTable,
    method: &str,
    library: &str,
    assembly: &'static Assembly,
    arrange: impl FnOnce(ManagedCall, ObjPtr, ObjPtr) -> ManagedCall,
) -> VmResult<Option<usize>> {
    let Some(method) = class.find_method(method) else {
        return Ok(None);
    };
    let thread = Thread::current();
    let _cooperative = crate::transitions::enter_cooperative(thread);
    let scope = HandleScope::new(&thread.header);
    let object = scope.root(crate::reflection_objects::assembly_object(assembly)?);
    let name = crate::strings::new_string(thread, library)?;
    let handle = arrange(ManagedCall::new(), name, object.get()).invoke(method)?.rax as usize;
    Ok((handle != 0).then_some(handle))
}

/// The assembly's `DllImportResolver`.
fn import_resolver(library: &str, assembly: &'static Assembly) -> VmResult<Option<usize>> {
    let class = corelib_type("System.Runtime.InteropServices", "NativeLibrary")?;
    ask(
        class,
        "LoadLibraryCallbackStub",
        library,
        assembly,
        |call, name, object| call.obj(name).obj(object).int(0).int(0),
    )
}

/// Loads a native library for an assembly, by the assembly load context's rules and then the platform's. Without success the
/// system's messages.
///
/// # Errors
/// What the context's managed code raises.
pub fn load_for(library: &str, assembly: Option<&'static Assembly>) -> VmResult<Result<usize, String>> {
    let directory = assembly.and_then(|a| Path::new(a.path()).parent());
    let Some(assembly) = assembly.filter(|a| !a.is_core_library()) else {
        return Ok(load_library(library, directory));
    };
    let context = managed_handle(assembly.context());
    let class = corelib_type("System.Runtime.Loader", "AssemblyLoadContext")?;
    if assembly.context() != 0 && context != 0 {
        let found = ask(class, "ResolveUnmanagedDll", library, assembly, |call, name, _| {
            call.obj(name).int(context as u64)
        })?;
        if let Some(handle) = found {
            return Ok(Ok(handle));
        }
    }
    let messages = match load_library(library, directory) {
        Ok(handle) => return Ok(Ok(handle)),
        Err(messages) => messages,
    };
    if context == 0 {
        return Ok(Err(messages));
    }
    let found = ask(
        class,
        "ResolveUnmanagedDllUsingEvent",
        library,
        assembly,
        |call, name, object| call.obj(name).obj(object).int(context as u64),
    )?;
    Ok(found.ok_or(messages))
}

/// The library of a P/Invoke.
///
/// # Errors
/// DllNotFoundException; what resolvers raise.
pub fn load_for_import(library: &str, assembly: Option<&'static Assembly>) -> VmResult<usize> {
    if let Some(a) = assembly.filter(|a| !a.is_core_library())
        && let Some(handle) = import_resolver(library, a)?
    {
        return Ok(handle);
    }
    load_for(library, assembly)?.map_err(|messages| not_found(library, &messages))
}
