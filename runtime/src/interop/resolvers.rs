//! Managed code that has a say in where a native library is: `NativeLibrary.SetDllImportResolver`,
//! `AssemblyLoadContext.LoadUnmanagedDll` and the event `ResolvingUnmanagedDll`. Preemptive mode; they run managed code.

use super::{load_library, not_found};
use crate::error::VmResult;
use crate::managed::ManagedCall;
use crate::qcalls::reflection::load_context::managed_handle;
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{Assembly, MethodDesc, MethodTable, Module, corelib_type};
use corten_metadata::{TableId, Token};
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

/// `DllImportSearchPath.AssemblyDirectory`.
const ASSEMBLY_DIRECTORY: u32 = 2;

/// The `[DefaultDllImportSearchPaths]` of a P/Invoke or else of its assembly.
pub fn search_paths(module: &'static Module, import: Option<Token>) -> Option<u32> {
    let metadata = module.metadata();
    let rid = [import, Some(Token::new(TableId::Assembly, 1))]
        .into_iter()
        .flatten()
        .find_map(|parent| {
            metadata.find_attribute(
                parent,
                "System.Runtime.InteropServices",
                "DefaultDllImportSearchPathsAttribute",
            )
        })?;
    // A prolog of two bytes, then the number.
    let value = metadata.custom_attribute(rid).ok()?.value;
    Some(u32::from_le_bytes(value.get(2..6)?.try_into().ok()?))
}

/// The assembly's `DllImportResolver`.
fn import_resolver(library: &str, assembly: &'static Assembly, paths: Option<u32>) -> VmResult<Option<usize>> {
    let class = corelib_type("System.Runtime.InteropServices", "NativeLibrary")?;
    ask(
        class,
        "LoadLibraryCallbackStub",
        library,
        assembly,
        |call, name, object| {
            call.obj(name)
                .obj(object)
                .int(u64::from(paths.is_some()))
                .int(u64::from(paths.unwrap_or(0)))
        },
    )
}

/// Loads a native library for an assembly, by the assembly load context's rules and then the platform's. `paths` are a
/// `DllImportSearchPath`, of which only the assembly's directory has a meaning here. Without success the system's messages.
///
/// # Errors
/// What the context's managed code raises.
pub fn load_for(
    library: &str,
    assembly: Option<&'static Assembly>,
    paths: Option<u32>,
) -> VmResult<Result<usize, String>> {
    let directory = assembly
        .filter(|_| paths.is_none_or(|p| p & ASSEMBLY_DIRECTORY != 0))
        .and_then(|a| Path::new(a.path()).parent());
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
pub fn load_for_import(library: &str, import: &'static MethodDesc) -> VmResult<usize> {
    let assembly = import.module().assembly();
    let paths = search_paths(import.module(), Some(import.token()));
    if let Some(a) = assembly.filter(|a| !a.is_core_library())
        && let Some(handle) = import_resolver(library, a, paths)?
    {
        return Ok(handle);
    }
    load_for(library, assembly, paths)?.map_err(|messages| not_found(library, &messages))
}
