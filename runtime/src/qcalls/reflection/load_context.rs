//! Assembly load contexts: the native side of `AssemblyLoadContext`, and the hook through which binding asks managed code.

use super::assembly::{NameParts, name_object};
use super::handles::{ObjectHandle, QCallAssembly};
use super::resolve_failure;
use crate::error::{ExceptionKind, Raise, VmResult, qcall_body};
use crate::icalls::reflection::support::{assembly_arg, corelib, read, table_of, utf16};
use crate::managed::ManagedCall;
use crate::qcall_table;
use crate::reflection_objects::assembly_object;
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::heap::Heap;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::sync::in_leaf_call;
use corten_loader::{Assembly, AssemblyName, Binder, LoadError, MethodDesc, ResolveHook, ResolveStage};
use parking_lot::RwLock;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Native peer of an `AssemblyLoadContext`; leaked.
#[derive(Debug)]
pub struct NativeContext {
    /// The loader's context id; 0 is the default context.
    pub id: u64,
    /// GCHandle of the managed object.
    managed: AtomicUsize,
}

static CONTEXTS: RwLock<Vec<&'static NativeContext>> = RwLock::new(Vec::new());
static NEXT: AtomicU64 = AtomicU64::new(1);
/// Offset of `AssemblyLoadContext._nativeAssemblyLoadContext`.
const NATIVE_CONTEXT: usize = 48;

/// GCHandle of the managed object of a context, 0 if it has none yet.
pub(crate) fn managed_handle(id: u64) -> usize {
    CONTEXTS
        .read()
        .iter()
        .find(|c| c.id == id)
        .map_or(0, |c| c.managed.load(Ordering::Acquire))
}

/// The context behind a native pointer that managed code keeps.
fn context_arg(native: usize) -> VmResult<&'static NativeContext> {
    // SAFETY: managed code only passes what `initialize` returned.
    unsafe { (native as *const NativeContext).as_ref() }.ok_or_else(|| Raise::of(ExceptionKind::ArgumentNull))
}

/// Loader context id of an `AssemblyLoadContext` object (null: the default one).
pub fn context_id(context: ObjPtr) -> VmResult<u64> {
    if context.is_null() {
        return Ok(0);
    }
    // SAFETY: AssemblyLoadContext's field.
    Ok(context_arg(unsafe { read::<usize>(context, NATIVE_CONTEXT) })?.id)
}

extern "C" fn initialize(managed: usize, is_default: i32, is_collectible: i32) -> usize {
    qcall_body(|_| {
        let id = if is_default != 0 { 0 } else { next_context_id() };
        if is_collectible != 0 && id != 0 {
            crate::collectible::create(id, true)?;
        }
        let context: &'static NativeContext = Box::leak(Box::new(NativeContext {
            id,
            managed: AtomicUsize::new(managed),
        }));
        CONTEXTS.write().push(context);
        Ok(std::ptr::from_ref(context) as usize)
    })
}

extern "C" fn prepare_for_release(native: usize, strong: usize) {
    qcall_body(|_| {
        let context = context_arg(native)?;
        let weak = context.managed.swap(strong, Ordering::AcqRel);
        if weak != 0 {
            // SAFETY: the handle that `initialize` was given; nobody else knows it.
            unsafe { Heap::get().handles().free(weak as *mut ObjPtr) };
        }
        if let Some(group) = corten_loader::collectible::of_context(context.id) {
            crate::collectible::release(group, strong);
        }
        Ok(())
    });
}

extern "C" fn get_load_context_for_assembly(assembly: QCallAssembly) -> usize {
    qcall_body(|_| {
        let id = assembly.assembly()?.context();
        Ok(if id == 0 { 0 } else { managed_handle(id) })
    })
}

extern "C" fn load_from_path(native: usize, il: *const u16, native_image: *const u16, result: ObjectHandle) {
    qcall_body(|_| {
        let id = context_arg(native)?.id;
        // SAFETY: managed code passes NUL-terminated strings or null.
        let (il, native_image) = unsafe { (utf16(il), utf16(native_image)) };
        let path = if il.is_empty() { native_image } else { il };
        let assembly = binder()?.load_from_path(Path::new(&path), id)?;
        result.set(assembly_object(assembly)?);
        Ok(())
    });
}

extern "C" fn load_from_stream(
    native: usize,
    data: *const u8,
    length: i32,
    _symbols: *const u8,
    _symbols_length: i32,
    result: ObjectHandle,
) {
    qcall_body(|_| {
        let id = context_arg(native)?.id;
        // SAFETY: managed code passes a pinned array.
        let bytes = unsafe { std::slice::from_raw_parts(data, length.max(0) as usize) }.to_vec();
        let assembly = binder()?.load_from_bytes(bytes, "a stream", id)?;
        result.set(assembly_object(assembly)?);
        Ok(())
    });
}

/// A fresh context id.
pub fn next_context_id() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The process-wide binder.
pub fn binder() -> VmResult<&'static Binder> {
    Binder::get().ok_or_else(|| Raise::new(ExceptionKind::InvalidOperation, "the assembly binder is not started"))
}

extern "C" fn trace_three(_a: usize, _b: usize, _c: usize, _d: usize, _e: usize) -> i32 {
    1
}

/// Asks `AssemblyLoadContext` and its events for assemblies that the binder does not find.
#[derive(Debug)]
pub struct ManagedResolver;

static RESOLVER: ManagedResolver = ManagedResolver;

/// Lets managed code take part in binding. Call once after the binder exists.
///
/// # Errors
/// When there is no binder yet.
pub fn install() -> VmResult<()> {
    binder()?.set_resolve_hook(&RESOLVER);
    Ok(())
}

fn context_method(name: &str, params: usize) -> VmResult<&'static MethodDesc> {
    let mt = table_of(corelib("System.Runtime.Loader", "AssemblyLoadContext")?)?;
    mt.find_method_with_params(name, params)
        .ok_or_else(|| Raise::new(ExceptionKind::MissingMethod, format!("AssemblyLoadContext.{name}")))
}

/// GCHandle of the managed object of a context; the default one is made on demand.
fn ensure_managed(id: u64) -> VmResult<usize> {
    let handle = managed_handle(id);
    if handle != 0 || id != 0 {
        return Ok(handle);
    }
    ManagedCall::new().invoke(context_method("InitializeDefaultContext", 0)?)?;
    Ok(managed_handle(0))
}

/// What `AssemblyLoadContext.ToString` says of a context; "Default" for the default one, empty if that fails.
pub(crate) fn context_name(id: u64) -> String {
    let handle = managed_handle(id);
    if id == 0 || handle == 0 {
        return "Default".to_owned();
    }
    // SAFETY: a live GCHandle: the context keeps it until it is unloaded, then another one that is strong.
    let context = unsafe { *(handle as *const ObjPtr) };
    if context.is_null() {
        return String::new();
    }
    context_method("ToString", 0)
        .and_then(|method| ManagedCall::new().obj(context).invoke(method))
        .map_or_else(
            |_| String::new(),
            |result| crate::strings::to_rust(result.rax as ObjPtr),
        )
}

impl ManagedResolver {
    fn call(
        thread: &Thread,
        method: &'static MethodDesc,
        handle: usize,
        name: &AssemblyName,
    ) -> VmResult<Option<&'static Assembly>> {
        let scope = HandleScope::new(&thread.header);
        let name = scope.root(name_object(thread, &NameParts::of(name))?);
        let result = ManagedCall::new().int(handle as u64).obj(name.get()).invoke(method)?;
        let assembly = result.rax as ObjPtr;
        if assembly.is_null() {
            Ok(None)
        } else {
            assembly_arg(assembly).map(Some)
        }
    }

    fn app_domain_event(
        thread: &Thread,
        name: &AssemblyName,
        requesting: Option<&'static Assembly>,
    ) -> VmResult<Option<&'static Assembly>> {
        let scope = HandleScope::new(&thread.header);
        let text = scope.root(crate::strings::new_string(thread, &name.to_string())?);
        let requesting = match requesting {
            Some(a) => assembly_object(a)?,
            None => std::ptr::null_mut(),
        };
        let result = ManagedCall::new()
            .obj(requesting)
            .obj(text.get())
            .invoke(context_method("OnAssemblyResolve", 2)?)?;
        let assembly = result.rax as ObjPtr;
        if assembly.is_null() {
            Ok(None)
        } else {
            assembly_arg(assembly).map(Some)
        }
    }

    fn ask(
        stage: ResolveStage,
        context: u64,
        name: &AssemblyName,
        requesting: Option<&'static Assembly>,
    ) -> VmResult<Option<&'static Assembly>> {
        let thread = Thread::current();
        let _cooperative = crate::transitions::enter_cooperative(thread);
        let handle = ensure_managed(context)?;
        match stage {
            ResolveStage::ContextLoad => Self::call(thread, context_method("Resolve", 2)?, handle, name),
            ResolveStage::NotFound => {
                if !name.culture.is_empty() {
                    let satellite = context_method("ResolveSatelliteAssembly", 2)?;
                    if let Some(a) = Self::call(thread, satellite, handle, name)? {
                        return Ok(Some(a));
                    }
                }
                let event = context_method("ResolveUsingResolvingEvent", 2)?;
                if let Some(a) = Self::call(thread, event, handle, name)? {
                    return Ok(Some(a));
                }
                Self::app_domain_event(thread, name, requesting)
            }
        }
    }
}

impl ResolveHook for ManagedResolver {
    fn resolve(
        &self,
        stage: ResolveStage,
        context: u64,
        name: &AssemblyName,
        requesting: Option<&'static Assembly>,
    ) -> Result<Option<&'static Assembly>, LoadError> {
        if crate::tiering::on_worker() {
            // Managed code decides, and it does not run here: the method is not optimised this time.
            crate::tiering::abandon();
            return Ok(None);
        }
        if in_leaf_call() {
            return Ok(None);
        }
        match Self::ask(stage, context, name, requesting) {
            Ok(a) => Ok(a),
            Err(raise) => {
                let reason = match raise {
                    Raise::Pending => {
                        let _cooperative = crate::transitions::enter_cooperative(Thread::current());
                        match resolve_failure::take_pending(&name.to_string()) {
                            Ok(thrown) => return Err(thrown),
                            Err(raise) => raise.to_string(),
                        }
                    }
                    Raise::New { message, .. } => message.unwrap_or_default(),
                };
                Err(LoadError::FileLoad {
                    name: name.to_string(),
                    reason,
                })
            }
        }
    }

    fn loaded(&self, assembly: &'static Assembly) {
        if crate::tiering::on_worker() || in_leaf_call() {
            let raise = move || {
                if let Err(Raise::Pending) = raise_assembly_load(assembly) {
                    Thread::current().header.pending_exception.set(std::ptr::null_mut());
                }
            };
            // Without a thread the event is lost; nothing else depends on it.
            let _ = crate::icalls::threading::spawn_background("AssemblyLoad", raise);
            return;
        }
        // Nobody listens before the class exists; a failing handler does not fail the load.
        if let Err(Raise::Pending) = raise_assembly_load(assembly) {
            Thread::current().header.pending_exception.set(std::ptr::null_mut());
        }
    }
}

/// The `AppDomain.TypeResolve` event for a type that a module under construction needs. Returns whether a handler answered.
///
/// # Errors
/// What a handler throws.
pub fn resolve_type(module: &'static corten_loader::Module, name: &str) -> VmResult<bool> {
    let assembly = crate::icalls::reflection::support::assembly_of(module)?;
    ask_handlers("OnTypeResolve", assembly, name, |_| Ok(())).map(|answer| answer.is_some())
}

/// The `AppDomain.ResourceResolve` event for a resource that the assembly has not got. Returns the handler's answer.
///
/// # Errors
/// What a handler throws.
pub fn resolve_resource(assembly: &'static Assembly, name: &str) -> VmResult<Option<&'static Assembly>> {
    ask_handlers("OnResourceResolve", assembly, name, assembly_arg)
}

/// Raises an event whose handlers answer with an assembly; `read` makes something of the answer.
fn ask_handlers<T>(
    event: &str,
    assembly: &'static Assembly,
    name: &str,
    read: impl FnOnce(ObjPtr) -> VmResult<T>,
) -> VmResult<Option<T>> {
    let thread = Thread::current();
    let _cooperative = crate::transitions::enter_cooperative(thread);
    let scope = HandleScope::new(&thread.header);
    let assembly = scope.root(assembly_object(assembly)?);
    let text = crate::strings::new_string(thread, name)?;
    let answer = ManagedCall::new()
        .obj(assembly.get())
        .obj(text)
        .invoke(context_method(event, 2)?)?;
    match answer.rax {
        0 => Ok(None),
        object => read(object as ObjPtr).map(Some),
    }
}

/// The `AppDomain.AssemblyLoad` event, if anybody listens.
fn raise_assembly_load(assembly: &'static Assembly) -> VmResult<()> {
    if crate::startup::entry_assembly().is_none() || Thread::current_ptr().is_null() {
        return Ok(());
    }
    let mt = table_of(corelib("System.Runtime.Loader", "AssemblyLoadContext")?)?;
    let Some(field) = mt.find_field("AssemblyLoad").filter(|_| mt.class().is_initialized()) else {
        return Ok(());
    };
    let slot = corten_loader::static_field_address(field)?.cast::<ObjPtr>();
    let thread = Thread::current();
    let _cooperative = crate::transitions::enter_cooperative(thread);
    // SAFETY: the address of a static reference field.
    if unsafe { slot.read() }.is_null() {
        return Ok(());
    }
    let object = assembly_object(assembly)?;
    ManagedCall::new()
        .obj(object)
        .invoke(context_method("OnAssemblyLoad", 1)?)?;
    Ok(())
}

qcall_table! {
    /// Load context QCalls.
    TABLE:
    "AssemblyNative_InitializeAssemblyLoadContext" => initialize,
    "AssemblyNative_PrepareForAssemblyLoadContextRelease" => prepare_for_release,
    "AssemblyNative_GetLoadContextForAssembly" => get_load_context_for_assembly,
    "AssemblyNative_LoadFromPath" => load_from_path,
    "AssemblyNative_LoadFromStream" => load_from_stream,
    "AssemblyNative_TraceResolvingHandlerInvoked" => trace_three,
    "AssemblyNative_TraceAssemblyResolveHandlerInvoked" => trace_three,
    "AssemblyNative_TraceAssemblyLoadFromResolveHandlerInvoked" => trace_three,
    "AssemblyNative_TraceSatelliteSubdirectoryPathProbed" => trace_three,
}
