//! From the host's request to the exit code (contract/startup.md).

use crate::error::{Raise, VmResult};
use crate::managed::ManagedCall;
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::heap::{Heap, HeapConfig};
use corten_gc_hooks::object::ObjPtr;
use corten_loader::collectible::Collectible;
use corten_loader::{Assembly, Binder, BinderConfig, MethodDesc, WellKnown, corelib_type};
use corten_metadata::TableId;
use std::path::PathBuf;
use std::sync::OnceLock;

/// What the host found out: the program, its assemblies and properties.
#[derive(Debug, Clone, Default)]
pub struct RuntimeConfig {
    /// Trusted platform assemblies: simple name and path, framework and application.
    pub tpa: Vec<(String, PathBuf)>,
    /// Runtime properties (`configProperties` and the host's own).
    pub properties: Vec<(String, String)>,
    /// Where P/Invoke looks for libraries (`NATIVE_DLL_SEARCH_DIRECTORIES`).
    pub native_search_dirs: Vec<PathBuf>,
    /// The application assembly.
    pub app: PathBuf,
    /// Arguments after it.
    pub args: Vec<String>,
    /// Print JIT and GC figures at exit.
    pub stats: Option<crate::stats::Part>,
    /// Write events of the compiler and the collector into this file.
    pub trace: Option<PathBuf>,
}

/// Why the engine did not start or the program cannot be run: one line for the user.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine could not be set up on this machine.
    #[error("the engine cannot start: {0}")]
    Engine(String),
    /// An assembly cannot be loaded.
    #[error("{0}")]
    Load(#[from] corten_loader::LoadError),
    /// Not a program.
    #[error("{path}: no entry point; this is a library, run an assembly built as an executable")]
    NoEntryPoint {
        /// The file.
        path: String,
    },
}

/// Runs a program to its end. Returns the exit code; an unhandled exception ends the process with SIGABRT instead.
///
/// # Errors
/// Before managed code runs: see [`StartError`].
pub fn run(config: RuntimeConfig) -> Result<i32, StartError> {
    if let Some(path) = &config.trace {
        crate::trace_events::start(path)
            .map_err(|e| StartError::Engine(format!("cannot write the trace {}: {e}", path.display())))?;
    }
    init(&config)?;
    // Managed handlers take part in resolving assemblies only when a program runs.
    crate::qcalls::reflection::load_context::install().map_err(|e| StartError::Engine(e.to_string()))?;
    let assembly = binder()?.load_from_path(&config.app, 0)?;
    let no_entry = || StartError::NoEntryPoint {
        path: config.app.display().to_string(),
    };
    let token = assembly
        .entry_point()
        .filter(|t| t.table() == Some(TableId::MethodDef))
        .ok_or_else(no_entry)?;
    let entry = assembly.module().typical_method(token.rid())?;
    let _ = ENTRY_ASSEMBLY.set(assembly);
    let code = execute(&config, assembly, entry);
    match code {
        Ok(_) => {}
        Err(raise) => {
            crate::exceptions::set_pending(raise);
            crate::exceptions::unhandled::pending_is_unhandled()
        }
    };
    crate::icalls::threading::wait_for_foreground_threads();
    process_exit();
    // A thread or a ProcessExit handler may have changed it since `Main` returned.
    let code = crate::icalls::environment::exit_code();
    if let Some(part) = config.stats {
        crate::stats::print(part);
    }
    crate::tiering::stop();
    Ok(code)
}

static ENTRY_ASSEMBLY: OnceLock<&'static Assembly> = OnceLock::new();

/// The assembly that `Main` is in.
pub fn entry_assembly() -> Option<&'static Assembly> {
    ENTRY_ASSEMBLY.get().copied()
}

fn binder() -> Result<&'static Binder, StartError> {
    Binder::get().ok_or_else(|| StartError::Engine("no binder".to_string()))
}

/// Sets the engine up for loading and compiling; runs no managed code.
pub(crate) fn init(config: &RuntimeConfig) -> Result<(), StartError> {
    corten_loader::precode::set_prestub(crate::asm::prestub_thunk as *const () as usize);
    Heap::init(HeapConfig::from_environment()).map_err(|e| StartError::Engine(e.to_string()))?;
    Heap::get().set_root_provider(&crate::roots::EngineRoots);
    corten_loader::statics::set_statics_hook(&Statics);
    corten_loader::Binder::init(BinderConfig {
        trusted_assemblies: config.tpa.iter().map(|(_, path)| path.clone()).collect(),
        ..BinderConfig::default()
    });
    binder()?.load_core_library()?;
    WellKnown::init()?;
    crate::engine::init().map_err(StartError::Engine)?;
    crate::tiering::configure(&config.properties);
    crate::interop::set_search_directories(config.native_search_dirs.clone());
    crate::exceptions::signals::install();
    crate::exceptions::termination::install();
    crate::collectible::install();
    crate::icalls::threading::attach_main_thread().map_err(|e| StartError::Engine(e.to_string()))?;
    corten_gc_hooks::safepoint::ThreadRegistry::get().leave_preemptive(&Thread::current().header);
    Ok(())
}

/// Registers static reference slots with the heap.
struct Statics;
impl corten_loader::statics::StaticsHook for Statics {
    fn register_static_refs(&self, slots: *mut usize, count: usize) {
        // SAFETY: static storage is never freed, and its reference slots hold null or objects.
        unsafe { Heap::get().register_static_refs(slots.cast::<ObjPtr>(), count) };
    }
    fn register_collectible_refs(&self, group: &'static Collectible, slots: *mut usize, count: usize) {
        crate::collectible::register(group, slots.cast(), count);
    }
    fn keep_alive(&self, group: &'static Collectible, other: &'static Collectible) {
        crate::collectible::keep_alive(group, other);
    }
}

/// Finds a method of a CoreLib class by name and parameter count.
///
/// # Errors
/// Load errors; a missing method is a MissingMethodException.
pub fn corelib_method(ns: &str, class: &str, method: &str, params: usize) -> VmResult<&'static MethodDesc> {
    let t = corelib_type(ns, class)?;
    t.find_method_with_params(method, params).ok_or_else(|| {
        Raise::new(
            crate::error::ExceptionKind::MissingMethod,
            format!("Method not found: '{ns}.{class}.{method}'."),
        )
    })
}

fn utf16z(s: &str) -> Vec<u16> {
    s.encode_utf16().chain(std::iter::once(0)).collect()
}

fn execute(config: &RuntimeConfig, app: &'static Assembly, entry: &'static MethodDesc) -> VmResult<i32> {
    init_cast_cache()?;
    // 1. AppContext.Setup(char** names, char** values, int count)
    let names: Vec<Vec<u16>> = config.properties.iter().map(|(k, _)| utf16z(k)).collect();
    let values: Vec<Vec<u16>> = config.properties.iter().map(|(_, v)| utf16z(v)).collect();
    let name_ptrs: Vec<*const u16> = names.iter().map(|v| v.as_ptr()).collect();
    let value_ptrs: Vec<*const u16> = values.iter().map(|v| v.as_ptr()).collect();
    ManagedCall::new()
        .ptr(name_ptrs.as_ptr())
        .ptr(value_ptrs.as_ptr())
        .int(name_ptrs.len() as u64)
        .invoke(corelib_method("System", "AppContext", "Setup", 3)?)?;
    // 2. EventSource.InitializeDefaultEventSources(), later
    crate::default_event_sources::defer()?;
    // 3. Environment.InitializeCommandLineArgs(char* exePath, int argc, char** argv)
    let exe = utf16z(&config.app.to_string_lossy());
    let args: Vec<Vec<u16>> = config.args.iter().map(|a| utf16z(a)).collect();
    let arg_ptrs: Vec<*const u16> = args.iter().map(|v| v.as_ptr()).collect();
    let array = ManagedCall::new()
        .ptr(exe.as_ptr())
        .int(arg_ptrs.len() as u64)
        .ptr(arg_ptrs.as_ptr())
        .invoke(corelib_method("System", "Environment", "InitializeCommandLineArgs", 3)?)?
        .rax as ObjPtr;
    let thread = Thread::current();
    let scope = HandleScope::new(&thread.header);
    let array = scope.root(array);
    // 4. <Module>..cctor of the application
    crate::class_init::ensure(app.module().global_type()?)?;
    // 5. StartupHookProvider.ManagedStartup(char* diagnosticStartupHooks), which does nothing where there are no hooks.
    if config.properties.iter().any(|(name, _)| name == "STARTUP_HOOKS") {
        let empty = [0u16];
        ManagedCall::new().ptr(empty.as_ptr()).invoke(corelib_method(
            "System",
            "StartupHookProvider",
            "ManagedStartup",
            1,
        )?)?;
    }
    // 6. Main
    let mut call = ManagedCall::new().top_level();
    if !entry.signature()?.params.is_empty() {
        call = call.obj(array.get());
    }
    let result = call.invoke(entry)?;
    let returns_int = !entry.signature()?.ret.is_void();
    Ok(if returns_int {
        crate::icalls::environment::latched_exit_code(result.rax as i32)
    } else {
        crate::icalls::environment::exit_code()
    })
}

/// `CastHelpers.s_table`: a legal empty table (contract/layouts.md, "Cast cache").
fn init_cast_cache() -> VmResult<()> {
    let mt = corelib_type("System.Runtime.CompilerServices", "CastHelpers")?;
    let Some(field) = mt.find_field("s_table") else {
        return Ok(());
    };
    let int_array = corten_loader::type_loader::make_array(WellKnown::get().int32.handle(), 1, true)?;
    let thread = Thread::current();
    let array = crate::helpers::alloc_array(thread, crate::helpers::method_table(int_array)?.as_gc_ptr(), 18)?;
    let data = (array as *mut u8).wrapping_add(16).cast::<i32>();
    // SAFETY: an int[18]; HashShift at 0, TableMask at 4 (first 24 bytes are the header area).
    unsafe {
        *data = 63;
        *data.add(1) = 1;
        *corten_loader::statics::static_field_address(field)?.cast::<ObjPtr>() = array;
    }
    Ok(())
}

/// Step 9 of contract/startup.md: ProcessExit handlers.
pub fn process_exit() {
    crate::default_event_sources::process_ends();
    let done = corelib_method("System", "AppContext", "OnProcessExit", 0).and_then(|m| ManagedCall::new().invoke(m));
    if done.is_err() {
        crate::exceptions::unhandled::pending_is_unhandled();
    }
}
