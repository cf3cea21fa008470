//! `NativeLibrary_*` and the parts of `Marshal` that do not build stubs.

use super::utf16_argument;
use crate::error::{ExceptionKind, Raise, VmResult};
use crate::icalls::threading::blocking_qcall;
use crate::interop;
use crate::qcall_table;
use corten_loader::Assembly;

fn load(name: &str, throw: bool, found: Result<usize, String>) -> VmResult<usize> {
    match found {
        Ok(handle) => Ok(handle),
        Err(messages) if throw => Err(interop::not_found(name, &messages)),
        Err(_) => Ok(0),
    }
}

extern "C" fn load_from_path(path: *const u16, throw: i32) -> usize {
    // SAFETY: managed code passes a NUL-terminated path.
    let path = unsafe { utf16_argument(path) }.unwrap_or_default();
    blocking_qcall(|| {
        let found = interop::open(&path).ok_or_else(|| format!("{}\n", interop::last_error()));
        load(&path, throw != 0, found)
    })
}

extern "C" fn load_by_name(
    name: *const u16,
    _assembly_local: *const usize,
    assembly: usize,
    has_flags: i32,
    flags: u32,
    throw: i32,
) -> usize {
    // SAFETY: managed code passes a NUL-terminated name.
    let name = unsafe { utf16_argument(name) }.unwrap_or_default();
    // SAFETY: null or the address of a leaked Assembly.
    let assembly = unsafe { (assembly as *const Assembly).as_ref() };
    blocking_qcall(|| {
        let own = || assembly.and_then(|a| interop::resolvers::search_paths(a.module(), None));
        let paths = (has_flags != 0).then_some(flags).or_else(own);
        let found = interop::resolvers::load_for(&name, assembly, paths)?;
        load(&name, throw != 0, found)
    })
}

extern "C" fn free_lib(handle: usize) {
    if handle != 0 {
        // SAFETY: a handle from dlopen.
        unsafe { libc::dlclose(handle as *mut libc::c_void) };
    }
}

extern "C" fn get_symbol(handle: usize, name: *const u16, throw: i32) -> usize {
    // SAFETY: managed code passes a NUL-terminated name.
    let name = unsafe { utf16_argument(name) }.unwrap_or_default();
    blocking_qcall(|| match interop::find_symbol(handle, &name) {
        Some(address) => Ok(address),
        None if throw != 0 => Err(Raise::new(
            ExceptionKind::EntryPointNotFound,
            format!("Unable to find an entry point named '{name}' in shared library."),
        )),
        None => Ok(0),
    })
}

qcall_table! {
    /// Native libraries.
    TABLE:
    "NativeLibrary_LoadFromPath" => load_from_path,
    "NativeLibrary_LoadByName" => load_by_name,
    "NativeLibrary_FreeLib" => free_lib,
    "NativeLibrary_GetSymbol" => get_symbol,
}
