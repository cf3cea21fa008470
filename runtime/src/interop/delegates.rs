//! Delegates as function pointers and the reverse.
//!
//! A delegate that goes to native code gets a thunk, once for its life; the thunk knows it by a long weak handle, so native code
//! must keep it alive (as .NET demands). A function pointer that comes from native code becomes a delegate whose
//! `_methodPtr` is the marshalling stub of its type and whose `_methodPtrAux` is the pointer (`_invocationCount` -1).

use super::convert::Place;
use super::marshal_error;
use crate::error::{ExceptionKind, Raise, VmResult};
use crate::objects::{DelegateObject, method_table_of, view};
use crate::stubs::delegate::invoke_method;
use crate::stubs::reverse::{self, ReverseTarget};
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::barrier::store_ref;
use corten_gc_hooks::handles::HandleKind;
use corten_gc_hooks::heap::Heap;
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::syncblock;
use corten_loader::{MethodTable, WellKnown};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// `_invocationCount` of a delegate around a native function pointer.
const UNMANAGED_MARKER: isize = -1;

#[derive(Clone, Copy)]
struct Thunk {
    /// Weak handle to the delegate.
    handle: usize,
    code: usize,
}

#[derive(Default)]
struct Thunks {
    /// By identity hash code of the delegate.
    by_hash: FxHashMap<u32, Vec<Thunk>>,
    /// Weak handle by code address.
    by_code: FxHashMap<usize, usize>,
    live: usize,
    sweep_at: usize,
}

static THUNKS: Mutex<Option<Thunks>> = Mutex::new(None);

fn target_of(handle: usize) -> ObjPtr {
    // SAFETY: handles in the table are live; cooperative mode.
    unsafe { Heap::get().handles().get(handle as *mut ObjPtr) }
}

impl Thunks {
    fn find(&self, hash: u32, delegate: ObjPtr) -> Option<usize> {
        self.by_hash.get(&hash)?.iter().find(|t| target_of(t.handle) == delegate).map(|t| t.code)
    }

    /// Forgets thunks whose delegates died. Their code stays (a late call is reported, not random), but the weak handle of a
    /// dead delegate remains null for ever, so it is kept too.
    fn sweep(&mut self) {
        for list in self.by_hash.values_mut() {
            list.retain(|t| !target_of(t.handle).is_null());
        }
        self.by_hash.retain(|_, l| !l.is_empty());
        let by_code = &mut self.by_code;
        by_code.retain(|_, h| !target_of(*h).is_null());
        self.live = by_code.len();
        self.sweep_at = (self.live * 2).max(1024);
    }
}

/// Native function pointer of the delegate at `place` (0 for null). Cooperative mode; may compile.
///
/// # Errors
/// MarshalDirectiveException for signatures that cannot be marshalled.
pub fn function_pointer(thread: &mut Thread, place: Place) -> VmResult<usize> {
    let delegate = place.reference();
    if delegate.is_null() {
        return Ok(0);
    }
    // SAFETY: a live delegate; no safepoint while it is read.
    let d = unsafe { view::<DelegateObject>(delegate) };
    if d.invocation_count == UNMANAGED_MARKER {
        return Ok(d.method_ptr_aux);
    }
    // SAFETY: a live object; cooperative mode.
    let hash = unsafe { syncblock::hash_code(delegate) }.map_err(|_| Raise::of(ExceptionKind::OutOfMemory))?;
    if let Some(code) = THUNKS.lock().get_or_insert_default().find(hash, delegate) {
        return Ok(code);
    }
    let mt = method_table_of(delegate);
    let (code, stack_words) = {
        let _preemptive = crate::transitions::enter_preemptive(thread);
        reverse::delegate_stub(mt)?
    };
    let mut table = THUNKS.lock();
    let table = table.get_or_insert_default();
    let delegate = place.reference();
    if let Some(code) = table.find(hash, delegate) {
        return Ok(code);
    }
    if table.live >= table.sweep_at {
        table.sweep();
    }
    let handle = Heap::get().handles().alloc(HandleKind::WeakLong, delegate);
    let target = ReverseTarget { entry: code, method: 0, delegate: handle, stack_words, name: mt.handle().raw() };
    let code = reverse::make_thunk(target);
    table.by_hash.entry(hash).or_default().push(Thunk { handle: handle as usize, code });
    table.by_code.insert(code, handle as usize);
    table.live += 1;
    Ok(code)
}

/// A delegate of class `mt` that calls `pointer` (null for 0). Cooperative mode; may compile and collect.
///
/// # Errors
/// ArgumentException if the pointer belongs to a delegate of another class, MarshalDirectiveException.
pub fn from_function_pointer(thread: &mut Thread, pointer: usize, mt: &'static MethodTable) -> VmResult<ObjPtr> {
    if pointer == 0 {
        return Ok(std::ptr::null_mut());
    }
    let own = THUNKS.lock().get_or_insert_default().by_code.get(&pointer).copied();
    if let Some(handle) = own {
        let delegate = target_of(handle);
        if !delegate.is_null() {
            if !corten_loader::can_cast_to(method_table_of(delegate).handle(), mt.handle()) {
                return Err(Raise::new(
                    ExceptionKind::InvalidCast,
                    format!(
                        "Unable to cast object of type '{}' to type '{}'.",
                        method_table_of(delegate).handle().display_name(),
                        mt.handle().display_name()
                    ),
                ));
            }
            return Ok(delegate);
        }
    }
    let w = WellKnown::get();
    if mt == w.delegate || mt == w.multicast_delegate || !mt.handle().is_delegate() {
        return Err(marshal_error("The type definition of this type contains no delegate signature."));
    }
    let stub = {
        let _preemptive = crate::transitions::enter_preemptive(thread);
        crate::stubs::marshal::delegate_stub(invoke_method(mt)?)?
    };
    let scope = HandleScope::new(&mut thread.header);
    let object = scope.root(Heap::get().alloc_object(&mut thread.header, mt.as_gc_ptr())?);
    // SAFETY: a fresh delegate; no safepoint while it is filled.
    unsafe {
        let d = view::<DelegateObject>(object.get());
        store_ref(&raw mut d.target, object.get());
        d.method_ptr = stub;
        d.method_ptr_aux = pointer;
        d.invocation_count = UNMANAGED_MARKER;
    }
    Ok(object.get())
}
