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
use std::collections::VecDeque;

/// `_invocationCount` of a delegate around a native function pointer.
pub const UNMANAGED_MARKER: isize = -1;

#[derive(Clone, Copy)]
struct Thunk {
    /// Address of the leaked [`ReverseTarget`].
    target: usize,
    code: usize,
}

impl Thunk {
    fn delegate(self) -> ObjPtr {
        // SAFETY: targets live for ever, and their handles as long as they are in the table; cooperative mode.
        unsafe {
            Heap::get()
                .handles()
                .get((*(self.target as *const ReverseTarget)).delegate)
        }
    }
}

/// Thunks of dead delegates wait here until that many others died, so that a late callback is reported, not random.
const QUARANTINE: usize = 1024;

#[derive(Default)]
struct Thunks {
    /// By identity hash code of the delegate.
    by_hash: FxHashMap<u32, Vec<Thunk>>,
    by_code: FxHashMap<usize, Thunk>,
    /// Of dead delegates, oldest first.
    dead: VecDeque<Thunk>,
    sweep_at: usize,
}

static THUNKS: Mutex<Option<Thunks>> = Mutex::new(None);

impl Thunks {
    fn find(&self, hash: u32, delegate: ObjPtr) -> Option<usize> {
        self.by_hash
            .get(&hash)?
            .iter()
            .find(|t| t.delegate() == delegate)
            .map(|t| t.code)
    }

    /// Sets the thunks of dead delegates aside.
    fn sweep(&mut self) {
        let dead = &mut self.dead;
        for list in self.by_hash.values_mut() {
            list.retain(|t| {
                let live = !t.delegate().is_null();
                if !live {
                    dead.push_back(*t);
                }
                live
            });
        }
        self.by_hash.retain(|_, l| !l.is_empty());
        self.by_code.retain(|_, t| !t.delegate().is_null());
        self.sweep_at = (self.by_code.len() * 2).max(QUARANTINE);
    }

    fn add(&mut self, hash: u32, target: ReverseTarget) -> usize {
        if self.by_code.len() >= self.sweep_at {
            self.sweep();
        }
        let old = if self.dead.len() > QUARANTINE {
            self.dead.pop_front()
        } else {
            None
        };
        let thunk = match old {
            Some(t) => {
                // SAFETY: nobody else reads the target of a dead delegate; its handle is not used any more.
                unsafe {
                    let place = t.target as *mut ReverseTarget;
                    Heap::get().handles().free((*place).delegate);
                    place.write(target);
                }
                t
            }
            None => {
                let target = Box::into_raw(Box::new(target));
                Thunk {
                    target: target as usize,
                    code: reverse::make_thunk(target),
                }
            }
        };
        self.by_hash.entry(hash).or_default().push(thunk);
        self.by_code.insert(thunk.code, thunk);
        thunk.code
    }
}

/// Native function pointer of the delegate at `place` (0 for null). Cooperative mode; may compile.
///
/// # Errors
/// MarshalDirectiveException for signatures that cannot be marshalled.
pub fn function_pointer(thread: &Thread, place: Place) -> VmResult<usize> {
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
    if mt.has_instantiation() {
        return Err(Raise::new(
            ExceptionKind::Argument,
            "The specified Type must not be a generic type. (Parameter 'delegate')",
        ));
    }
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
    let handle = Heap::get().handles().alloc(HandleKind::WeakLong, delegate);
    let target = ReverseTarget {
        entry: code,
        method: 0,
        delegate: handle,
        stack_words,
        owner: mt.handle().raw(),
    };
    Ok(table.add(hash, target))
}

/// A delegate of class `mt` that calls `pointer` (null for 0). Cooperative mode; may compile and collect.
///
/// # Errors
/// ArgumentException if the pointer belongs to a delegate of another class, MarshalDirectiveException.
pub fn from_function_pointer(thread: &Thread, pointer: usize, mt: &'static MethodTable) -> VmResult<ObjPtr> {
    if pointer == 0 {
        return Ok(std::ptr::null_mut());
    }
    let own = THUNKS.lock().get_or_insert_default().by_code.get(&pointer).copied();
    if let Some(thunk) = own {
        let delegate = thunk.delegate();
        if !delegate.is_null() {
            if !corten_loader::can_cast_to(method_table_of(delegate).handle(), mt.handle()) {
                return Err(Raise::new(
                    ExceptionKind::InvalidCast,
                    format!(
                        "Unable to cast object of type '{}' to type '{}'.",
                        method_table_of(delegate).handle().cast_name(),
                        mt.handle().cast_name()
                    ),
                ));
            }
            return Ok(delegate);
        }
    }
    let w = WellKnown::get();
    if mt == w.delegate || mt == w.multicast_delegate || !mt.handle().is_delegate() {
        return Err(marshal_error(
            "The type definition of this type contains no delegate signature.",
        ));
    }
    let stub = {
        let _preemptive = crate::transitions::enter_preemptive(thread);
        crate::stubs::marshal::delegate_stub(invoke_method(mt)?)?
    };
    let scope = HandleScope::new(&thread.header);
    let object = scope.root(Heap::get().alloc_object(&thread.header, mt.as_gc_ptr())?);
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
