//! `[MarshalAs(UnmanagedType.CustomMarshaler)]`: objects with the `ICustomMarshaler` interface.

use super::marshal_error;
use crate::error::VmResult;
use crate::managed::ManagedCall;
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::handles::HandleKind;
use corten_gc_hooks::heap::Heap;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{AssemblyName, Binder, MethodDesc, MethodTable, Module, WellKnown, corelib_type};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::atomic::{AtomicPtr, Ordering};

/// One marshaler type with one cookie; the marshaler object is made on first use.
#[derive(Debug)]
pub struct CustomMarshaler {
    ty: &'static MethodTable,
    cookie: String,
    /// Strong handle.
    instance: AtomicPtr<ObjPtr>,
}

type Table = Mutex<Option<FxHashMap<(usize, String), &'static CustomMarshaler>>>;
static KNOWN: Table = Mutex::new(None);

thread_local! {
    static SCOPE: std::cell::Cell<Option<&'static Module>> = const { std::cell::Cell::new(None) };
}

/// Runs `f` with `module` as the place where unqualified type names are looked up.
pub fn in_module<T>(module: &'static Module, f: impl FnOnce() -> T) -> T {
    let old = SCOPE.replace(Some(module));
    let result = f();
    SCOPE.set(old);
    result
}

fn find_type(name: &str) -> VmResult<&'static MethodTable> {
    let missing = || marshal_error(format!("The custom marshaler type '{name}' cannot be found."));
    let module = match name.split_once(',') {
        Some((_, assembly)) => {
            let binder = Binder::get().ok_or_else(missing)?;
            binder
                .load_by_name(&AssemblyName::parse(assembly.trim()), 0, None)?
                .module()
        }
        None => SCOPE.get().ok_or_else(missing)?,
    };
    let rid = module
        .metadata()
        .find_type_by_reflection_name(name)
        .ok_or_else(missing)?;
    Ok(module.typical_type(rid)?)
}

impl CustomMarshaler {
    /// The marshaler named by a `MarshalAs` attribute.
    ///
    /// # Errors
    /// MarshalDirectiveException if there is no such type, load errors.
    pub fn find(type_name: &str, cookie: &str) -> VmResult<&'static CustomMarshaler> {
        let ty = find_type(type_name)?;
        let key = (ty.address(), cookie.to_string());
        let mut table = KNOWN.lock();
        let table = table.get_or_insert_default();
        Ok(table.entry(key).or_insert_with(|| {
            Box::leak(Box::new(CustomMarshaler {
                ty,
                cookie: cookie.to_string(),
                instance: AtomicPtr::new(std::ptr::null_mut()),
            }))
        }))
    }

    /// The marshaler object (cooperative mode; may run its `GetInstance`).
    fn instance(&self, thread: &Thread) -> VmResult<ObjPtr> {
        let handles = Heap::get().handles();
        let known = self.instance.load(Ordering::Acquire);
        if !known.is_null() {
            // SAFETY: a strong handle that is never freed.
            return Ok(unsafe { handles.get(known) });
        }
        let string = WellKnown::get().string.handle();
        let get = self
            .ty
            .methods()
            .named("GetInstance")
            .find(|m| m.is_static() && m.signature().is_ok_and(|s| *s.params == [string]));
        let get = get.ok_or_else(|| {
            crate::error::Raise::new(
                crate::error::ExceptionKind::Argument,
                format!(
                    "Custom marshaler '{}' does not implement a static GetInstance method that takes a single string parameter and returns an ICustomMarshaler.",
                    self.ty.handle().display_name()
                ),
            )
        })?;
        let cookie = crate::strings::new_string(thread, &self.cookie)?;
        let object = ManagedCall::new().obj(cookie).invoke(get)?.rax as ObjPtr;
        if object.is_null() {
            return Err(marshal_error(format!(
                "GetInstance of '{}' returned null.",
                self.ty.handle().display_name()
            )));
        }
        let handle = handles.alloc(HandleKind::Strong, object);
        if self
            .instance
            .compare_exchange(std::ptr::null_mut(), handle, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            // SAFETY: nobody else saw this handle.
            unsafe { handles.free(handle) };
        }
        // SAFETY: a strong handle that is never freed.
        Ok(unsafe { handles.get(self.instance.load(Ordering::Acquire)) })
    }

    fn call(&self, thread: &Thread, method: &str, argument: impl FnOnce() -> u64) -> VmResult<u64> {
        let interface = corelib_type("System.Runtime.InteropServices", "ICustomMarshaler")?;
        let declared: &'static MethodDesc = interface
            .find_method(method)
            .ok_or_else(|| marshal_error("ICustomMarshaler is incomplete."))?;
        let scope = HandleScope::new(&thread.header);
        let object = scope.root(self.instance(thread)?);
        let target = corten_loader::resolve_interface(crate::objects::method_table_of(object.get()), declared)?;
        Ok(ManagedCall::new().obj(object.get()).int(argument()).invoke(target)?.rax)
    }

    /// `MarshalManagedToNative` of the object in `slot`; null stays null.
    pub fn to_native(&self, thread: &Thread, slot: *const ObjPtr) -> VmResult<usize> {
        // SAFETY: callers pass a rooted slot.
        if unsafe { (*slot).is_null() } {
            return Ok(0);
        }
        // SAFETY: as above, read right before the call.
        Ok(self.call(thread, "MarshalManagedToNative", || unsafe { *slot as u64 })? as usize)
    }

    /// `MarshalNativeToManaged`; null stays null.
    pub fn to_managed(&self, thread: &Thread, native: usize) -> VmResult<ObjPtr> {
        if native == 0 {
            return Ok(std::ptr::null_mut());
        }
        Ok(self.call(thread, "MarshalNativeToManaged", || native as u64)? as ObjPtr)
    }

    /// `CleanUpNativeData`.
    pub fn clean_native(&self, thread: &Thread, native: usize) -> VmResult<()> {
        if native != 0 {
            self.call(thread, "CleanUpNativeData", || native as u64)?;
        }
        Ok(())
    }
}
