//! Interop: finding native functions, and the conversion of values on the way to and from them.
//!
//! Reading order: `native_type` (what metadata asks for), `marshaler` (which conversion), `layout` (native structures),
//! `signature` (plans of whole signatures), `convert` (the conversions), `delegates` (function pointers). The stubs are in
//! `stubs::marshal` and `stubs::marshal_reverse`.

pub(crate) mod convert;
pub(crate) mod currency;
pub(crate) mod custom;
pub(crate) mod delegates;
pub(crate) mod handles;
pub(crate) mod layout;
pub(crate) mod marshaler;
pub(crate) mod native_type;
pub(crate) mod resolvers;
pub(crate) mod signature;
pub(crate) mod text;

use crate::error::{ExceptionKind, Raise, VmResult};
use corten_jit::host_api::{Signature, TypeKind};
use corten_loader::MethodDesc;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use std::ffi::{CStr, CString};
use std::path::PathBuf;

/// MarshalDirectiveException with this text.
pub fn marshal_error(message: impl Into<String>) -> Raise {
    Raise::new(ExceptionKind::MarshalDirective, message)
}

/// Directories in which native libraries are looked for (host property NATIVE_DLL_SEARCH_DIRECTORIES).
static SEARCH: RwLock<Vec<PathBuf>> = RwLock::new(Vec::new());
static LIBRARIES: Mutex<Option<FxHashMap<String, usize>>> = Mutex::new(None);

/// Sets the search directories (startup).
pub fn set_search_directories(dirs: Vec<PathBuf>) {
    *SEARCH.write() = dirs;
}

/// The search directories.
pub fn search_directories() -> Vec<PathBuf> {
    SEARCH.read().clone()
}

/// Native address of a P/Invoke method: a QCall of the engine or a function of a library.
///
/// # Errors
/// DllNotFoundException, EntryPointNotFoundException; NotImplementedException for a QCall the engine lacks.
pub fn resolve(md: &'static MethodDesc) -> VmResult<usize> {
    let import = md.module().metadata().impl_map_of(md.token().rid()).ok_or_else(|| {
        Raise::new(
            ExceptionKind::EntryPointNotFound,
            format!("{} has no ImplMap row", md.display_name()),
        )
    })?;
    let library = md
        .module()
        .metadata()
        .module_ref(import.import_scope)
        .map_err(|e| Raise::new(ExceptionKind::BadImageFormat, e.to_string()))?
        .name;
    let entry = if import.import_name.is_empty() {
        md.name()
    } else {
        import.import_name
    };
    if library == "QCall" {
        return crate::qcalls::find(entry).ok_or_else(|| {
            Raise::new(
                ExceptionKind::NotImplemented,
                format!(
                    "QCall {entry} ({}) is not implemented by this engine.",
                    md.display_name()
                ),
            )
        });
    }
    let handle = resolvers::load_for_import(library, md)?;
    find_symbol(handle, entry).ok_or_else(|| {
        Raise::new(
            ExceptionKind::EntryPointNotFound,
            format!("Unable to find an entry point named '{entry}' in shared library '{library}'."),
        )
    })
}

/// DllNotFoundException with the system's messages (a line each), as CoreCLR words it on Linux.
pub fn not_found(name: &str, messages: &str) -> Raise {
    Raise::new(
        ExceptionKind::DllNotFound,
        format!(
            "Unable to load shared library '{name}' or one of its dependencies. In order to help diagnose loading problems, consider using a tool like strace. If you're using glibc, consider setting the LD_DEBUG environment variable: \n{messages}"
        ),
    )
}

/// dlsym.
pub fn find_symbol(handle: usize, name: &str) -> Option<usize> {
    let name = CString::new(name).ok()?;
    // SAFETY: a handle from dlopen and a C string.
    let p = unsafe { libc::dlsym(handle as *mut _, name.as_ptr()) };
    (!p.is_null()).then_some(p as usize)
}

/// dlopen of one path or soname.
pub fn open(path: &str) -> Option<usize> {
    let c = CString::new(path).ok()?;
    // SAFETY: a C string.
    let h = unsafe { libc::dlopen(c.as_ptr(), libc::RTLD_LAZY) };
    (!h.is_null()).then_some(h as usize)
}

/// Text of the last dlopen error.
pub fn last_error() -> String {
    // SAFETY: dlerror returns null or a C string valid until the next call on this thread.
    unsafe {
        let e = libc::dlerror();
        if e.is_null() {
            String::new()
        } else {
            CStr::from_ptr(e).to_string_lossy().into_owned()
        }
    }
}

/// File names that a P/Invoke name may stand for, in the order in which CoreCLR tries them on Linux.
fn variations(name: &str) -> Vec<String> {
    if name.starts_with('/') {
        return vec![name.to_string()];
    }
    let prefixes: &[&str] = if name.contains('/') { &[""] } else { &["", "lib"] };
    let has_suffix = name.ends_with(".so") || name.contains(".so.");
    let suffixes = if has_suffix { ["", ".so"] } else { [".so", ""] };
    suffixes
        .iter()
        .flat_map(|s| prefixes.iter().map(move |p| format!("{p}{name}{s}")))
        .collect()
}

/// Loads a library by P/Invoke name: each of its [`variations`] in the search directories, beside the assembly and then by the
/// system's rules. Without success the system's messages about the directories, a line each.
///
/// # Errors
/// Those lines.
pub fn load_library(name: &str, assembly_dir: Option<&std::path::Path>) -> Result<usize, String> {
    if let Some(&h) = LIBRARIES.lock().get_or_insert_default().get(name) {
        return Ok(h);
    }
    let mut dirs = search_directories();
    if let Some(dir) = assembly_dir.filter(|d| !d.as_os_str().is_empty() && !dirs.iter().any(|x| x == d)) {
        dirs.push(dir.to_path_buf());
    }
    let mut messages = String::new();
    let mut handle = None;
    'found: for variation in variations(name) {
        for dir in &dirs {
            // Not `join`: an absolute name is appended, too.
            handle = open(&format!(
                "{}/{variation}",
                dir.display().to_string().trim_end_matches('/')
            ));
            if handle.is_some() {
                break 'found;
            }
            messages.push_str(&last_error());
            messages.push('\n');
        }
        // `libc` itself is a linker script on glibc systems; the loader knows it as libc.so.6.
        handle = match variation.as_str() {
            "libc" | "libc.so" => open("libc.so.6"),
            other => open(other),
        };
        if handle.is_some() {
            break;
        }
    }
    match handle {
        Some(h) => {
            LIBRARIES.lock().get_or_insert_default().insert(name.to_string(), h);
            Ok(h)
        }
        None => Err(messages),
    }
}

/// `[SuppressGCTransition]`.
pub fn suppresses_gc_transition(md: &'static MethodDesc) -> bool {
    md.module().metadata().has_attribute(
        md.token(),
        "System.Runtime.InteropServices",
        "SuppressGCTransitionAttribute",
    )
}

/// Only signatures whose managed and native forms are the same need no marshalling.
///
/// # Errors
/// MarshalDirectiveException that names the parameter type which would need it.
pub fn check_blittable(md: &'static MethodDesc, sig: &Signature) -> VmResult<()> {
    let host = crate::engine::compiler_host();
    for &t in sig.params.iter().chain(std::iter::once(&sig.ret)) {
        let info = host.type_info(t).map_err(crate::stubs::host_error)?;
        let is_reference = info.kind == TypeKind::Ref
            || (info.kind == TypeKind::Struct && info.fields.iter().any(|f| f.kind == TypeKind::Ref));
        if is_reference {
            return Err(Raise::new(
                ExceptionKind::MarshalDirective,
                format!(
                    "{}: marshalling of a parameter of type '{}' is not supported yet.",
                    md.display_name(),
                    info.name
                ),
            ));
        }
    }
    Ok(())
}
