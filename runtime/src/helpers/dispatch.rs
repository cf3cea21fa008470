//! Interface and generic virtual dispatch.

use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use crate::thread::Thread;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{MethodDesc, MethodTable, dispatch};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use std::sync::OnceLock;

/// Where calls of a method go for receivers of a class; immutable. Assembly stubs know the layout.
#[repr(C)]
#[derive(Debug)]
pub struct Resolved {
    /// MethodTable of the receiver.
    pub mt: usize,
    /// The method that is called.
    pub method: usize,
    /// Code to call.
    pub target: usize,
}

type Cache = RwLock<FxHashMap<(usize, usize), &'static Resolved>>;

fn cache() -> &'static Cache {
    static CACHE: OnceLock<Cache> = OnceLock::new();
    CACHE.get_or_init(Default::default)
}

/// (receiver, method) -> code address: ldvirtftn and generic virtual methods.
pub extern "C" fn resolve_virtual(receiver: ObjPtr, method: &'static MethodDesc) -> usize {
    icall_body(|thread| Ok(resolve(thread, receiver, method)?.target))
}

/// Finds where a call goes, once for each class and method.
///
/// # Errors
/// NullReferenceException; no or ambiguous implementation, with the frame of the method in the trace.
pub fn resolve(thread: &Thread, receiver: ObjPtr, method: &'static MethodDesc) -> VmResult<&'static Resolved> {
    if receiver.is_null() {
        return Err(Raise::of(ExceptionKind::NullReference));
    }
    // SAFETY: a live object; its word 0 is its MethodTable.
    let mt: &'static MethodTable = unsafe { &*(*receiver).mt.cast() };
    let key = (mt.address(), method.address());
    if let Some(pair) = cache().read().get(&key) {
        return Ok(pair);
    }
    let found = {
        let _preemptive = crate::transitions::enter_preemptive(thread);
        entry_for(mt, method)
    };
    let target = match found {
        Ok(target) => target,
        Err(raise) => {
            crate::exceptions::set_pending(raise);
            crate::exceptions::trace::add_frame_of(thread, method);
            return Err(Raise::Pending);
        }
    };
    let found = || -> &'static Resolved {
        Box::leak(Box::new(Resolved {
            mt: mt.address(),
            method: method.address(),
            target,
        }))
    };
    Ok(cache().write().entry(key).or_insert_with(found))
}

/// Code address that expects a receiver of exact type `mt` for a call of `method`.
///
/// # Errors
/// No or ambiguous implementation.
pub fn entry_for(mt: &'static MethodTable, method: &'static MethodDesc) -> VmResult<usize> {
    let target = if method.owner().handle().is_interface() {
        dispatch::resolve_interface(mt, method)?
    } else if method.is_virtual() {
        dispatch::resolve_virtual(mt, method)?
    } else {
        method
    };
    entry_taking_object(target)
}

/// Stable code address of a method whose `this` arrives as an object (the unboxing stub for value types).
///
/// # Errors
/// No executable memory.
pub fn entry_taking_object(target: &'static MethodDesc) -> VmResult<usize> {
    if target.is_value_type_instance_method() {
        Ok(target.unboxing_stub()?)
    } else {
        Ok(target.stable_entry())
    }
}
