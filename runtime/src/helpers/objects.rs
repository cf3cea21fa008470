//! Allocation, boxing, class initialisation, statics, polls, locks, mode changes and leaf helpers.

use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use crate::thread::Thread;
use corten_gc_hooks::heap::{AllocFlags, Heap};
use corten_gc_hooks::object::{MethodTableHeader, ObjPtr};
use corten_gc_hooks::safepoint::ThreadRegistry;
use corten_gc_hooks::{HandleScope, Safepoints, barrier};
use corten_loader::{FieldDesc, MethodTable, TypeHandle};

/// (mt) -> new object, zeroed.
pub extern "C" fn new_object(mt: *const MethodTableHeader) -> ObjPtr {
    icall_body(|thread| Ok(Heap::get().alloc_object(&thread.header, mt)?))
}

/// (array mt, length) -> new SZ array.
pub extern "C" fn new_array(mt: *const MethodTableHeader, length: i64) -> ObjPtr {
    icall_body(|thread| alloc_array(thread, mt, length))
}

/// A new SZ array with the checks of `newarr`.
///
/// # Errors
/// OverflowException for a negative length, OutOfMemoryException for an absurd one.
pub fn alloc_array(thread: &Thread, mt: *const MethodTableHeader, length: i64) -> VmResult<ObjPtr> {
    if length < 0 {
        return Err(Raise::of(ExceptionKind::Overflow));
    }
    if length > i64::from(i32::MAX) {
        return Err(Raise::new(
            ExceptionKind::Overflow,
            "Array dimensions exceeded supported range.",
        ));
    }
    if length > 0x7FFF_FFC7 {
        return Err(Raise::new(
            ExceptionKind::OutOfMemory,
            "Array dimensions exceeded supported range.",
        ));
    }
    Ok(Heap::get().alloc_array(&thread.header, mt, length as usize, AllocFlags::empty())?)
}

/// (array type, rank, dims, count) -> new array of any rank; `dims` holds `count` i32: lengths, or pairs of lower bound and
/// length.
///
/// # Safety
/// `dims` points at `count` values.
pub unsafe extern "C" fn new_md_array(array: TypeHandle, _params: i64, dims: *const i32, count: i64) -> ObjPtr {
    icall_body(|thread| {
        // SAFETY: the caller's promise.
        let dims = unsafe { std::slice::from_raw_parts(dims, count as usize) }.to_vec();
        alloc_md_array(thread, array, &dims)
    })
}

/// As `newobj` on an array constructor.
///
/// # Errors
/// OverflowException for negative lengths, OutOfMemoryException when too large.
pub fn alloc_md_array(thread: &Thread, array: TypeHandle, dims: &[i32]) -> VmResult<ObjPtr> {
    let mt = method_table(array)?;
    let rank = mt.array_rank().unwrap_or(1) as usize;
    let has_bounds = !mt.is_sz_array() && dims.len() == 2 * rank;
    if mt.is_sz_array() {
        return jagged(thread, array, dims);
    }
    let (bounds, lengths): (Vec<i32>, Vec<i32>) = if has_bounds {
        (
            dims.iter().step_by(2).copied().collect(),
            dims.iter().skip(1).step_by(2).copied().collect(),
        )
    } else {
        (vec![0; rank], dims.to_vec())
    };
    let mut total: i64 = 1;
    for (&length, &bound) in lengths.iter().zip(&bounds) {
        if length < 0 {
            return Err(Raise::of(ExceptionKind::Overflow));
        }
        if bound as i64 + length as i64 - 1 > i32::MAX as i64 {
            return Err(Raise::new(
                ExceptionKind::ArgumentOutOfRange,
                "Higher indices will exceed Int32.MaxValue because of large lower bound and/or length.",
            ));
        }
        total = total.saturating_mul(length as i64);
    }
    if total > 0x7FFF_FFC7 {
        return Err(Raise::new(
            ExceptionKind::OutOfMemory,
            "Array dimensions exceeded supported range.",
        ));
    }
    let o = Heap::get().alloc_array(&thread.header, mt.as_gc_ptr(), total as usize, AllocFlags::empty())?;
    let base = (o as *mut u8).wrapping_add(16).cast::<i32>();
    for i in 0..rank {
        // SAFETY: a multi-dimensional array has `rank` lengths and `rank` lower bounds after its total length.
        unsafe {
            *base.add(i) = lengths[i];
            *base.add(rank + i) = bounds[i];
        }
    }
    Ok(o)
}

/// `newobj T[][]::.ctor(int, int)`: an SZ array with its inner levels.
fn jagged(thread: &Thread, array: TypeHandle, dims: &[i32]) -> VmResult<ObjPtr> {
    let mt = method_table(array)?;
    let length = dims.first().copied().unwrap_or(0);
    let outer = alloc_array(thread, mt.as_gc_ptr(), length as i64)?;
    if dims.len() < 2 {
        return Ok(outer);
    }
    let scope = HandleScope::new(&thread.header);
    let outer = scope.root(outer);
    let Some(element) = array.element_type() else {
        return Err(Raise::of(ExceptionKind::InvalidProgram));
    };
    let mut safepoints = Safepoints::of(thread);
    for i in 0..length as usize {
        let inner = alloc_md_array(safepoints.thread(), element, &dims[1..])?;
        let outer = outer.borrow(&safepoints).map_or(std::ptr::null_mut(), |o| o.as_ptr());
        let slot = outer.cast::<u8>().wrapping_add(16 + 8 * i).cast::<ObjPtr>();
        // SAFETY: element i of the live outer array.
        unsafe { barrier::store_ref(slot, inner) };
    }
    Ok(outer.get())
}

/// MethodTable behind a type handle.
///
/// # Errors
/// InvalidProgram for pointers and the like, which have none.
pub fn method_table(t: TypeHandle) -> VmResult<&'static MethodTable> {
    t.as_method_table()
        .ok_or_else(|| Raise::new(ExceptionKind::InvalidProgram, format!("{t} has no objects")))
}

/// (type, address of the value) -> boxed value; null for an empty Nullable.
///
/// # Safety
/// `value` points at a value of the type; it may be interior to a movable object only if no collection can move it (the
/// compiler passes frame addresses).
pub unsafe extern "C" fn box_value(t: TypeHandle, value: *const u8) -> ObjPtr {
    icall_body(|thread| {
        // SAFETY: the caller's promise.
        unsafe { box_from(thread, t, value) }
    })
}

/// See [`box_value`]. `value` is read after the allocation, so it must not point into a movable object.
///
/// # Errors
/// OutOfMemoryException.
///
/// # Safety
/// As [`box_value`].
pub unsafe fn box_from(thread: &Thread, t: TypeHandle, value: *const u8) -> VmResult<ObjPtr> {
    let mt = method_table(t)?;
    let (payload_mt, source) = match t.nullable_argument() {
        Some(inner) => {
            // SAFETY: `hasValue` is the byte at 0.
            if unsafe { *value } == 0 {
                return Ok(std::ptr::null_mut());
            }
            let offset = nullable_value_offset(mt);
            (method_table(inner)?, value.wrapping_add(offset))
        }
        None => (mt, value),
    };
    let o = Heap::get().alloc_object(&thread.header, payload_mt.as_gc_ptr())?;
    // SAFETY: the new object's payload has the size of the value, and so has the source.
    unsafe { copy_value(payload_mt, (o as *mut u8).wrapping_add(8), source) };
    Ok(o)
}

/// Copies a value of type `mt`, with write barriers if it holds references.
///
/// # Safety
/// Both addresses are of values of that type and do not overlap partially.
pub unsafe fn copy_value(mt: &'static MethodTable, dst: *mut u8, src: *const u8) {
    let size = mt.value_size() as usize;
    // SAFETY: the caller's promise.
    unsafe {
        if mt.contains_gc_pointers() {
            // A value with references has a size that is a multiple of 8.
            barrier::bulk_move_with_barrier(dst, src, size);
        } else {
            std::ptr::copy(src, dst, size);
        }
    }
}

/// Offset of `value` in a Nullable&lt;T&gt;.
pub fn nullable_value_offset(mt: &'static MethodTable) -> usize {
    mt.find_field("value").map_or(0, |f| f.offset() as usize)
}

/// (type handle) -> RuntimeType object; null for the type of a TypedReference that was never made.
pub extern "C" fn runtime_type_of_handle(t: Option<TypeHandle>) -> ObjPtr {
    t.map_or(std::ptr::null_mut(), crate::type_objects::type_object)
}

/// (type handle): runs the class initialiser if needed.
pub extern "C" fn class_init(t: TypeHandle) {
    icall_body(|_| crate::class_init::ensure(method_table(t)?));
}

/// (field) -> address on this thread.
pub extern "C" fn thread_static_address(field: &'static FieldDesc) -> *mut u8 {
    icall_body(|thread| crate::thread_statics::address(thread, field))
}

/// Safepoint.
pub extern "C" fn poll() {
    icall_body(|thread| {
        ThreadRegistry::get().poll(&thread.header);
        Ok(())
    });
}

/// Locks an object (Synchronized methods).
pub extern "C" fn monitor_enter(o: ObjPtr) {
    icall_body(|thread| crate::icalls::monitor::enter(thread, o, -1).map(drop));
}

/// Unlocks an object.
pub extern "C" fn monitor_exit(o: ObjPtr) {
    icall_body(|thread| crate::icalls::monitor::exit(thread, o));
}

/// Before a native call made by a stub.
pub extern "C" fn enter_preemptive() {
    ThreadRegistry::get().enter_preemptive(&Thread::current().header);
}

/// After a native call made by a stub: waits for a collection to end, then raises what a QCall left pending.
pub extern "C" fn leave_preemptive() {
    icall_body(|thread| {
        // The native function's errno is read afterwards by managed code; waiting for a collection must not change it.
        // SAFETY: the C library's errno cell of this thread.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        let saved = unsafe { *errno };
        ThreadRegistry::get().leave_preemptive(&thread.header);
        // SAFETY: as above.
        unsafe { *errno = saved };
        if thread.header.pending_exception.get().is_null() {
            Ok(())
        } else {
            Err(Raise::Pending)
        }
    });
}

/// (dst, src, type): copies a value with references. Leaf.
///
/// # Safety
/// Both point at values of the type.
pub unsafe extern "C" fn copy_struct_barrier(dst: *mut u8, src: *const u8, t: TypeHandle) {
    let size = t.as_method_table().map_or(8, |m| m.value_size() as usize);
    // SAFETY: the caller's promise.
    unsafe { barrier::bulk_move_with_barrier(dst, src, size) };
}

/// IEEE remainder of `rem` on F64. Leaf.
pub extern "C" fn fmod(a: f64, b: f64) -> f64 {
    a % b
}

/// IEEE remainder of `rem` on F32. Leaf.
pub extern "C" fn fmodf(a: f32, b: f32) -> f32 {
    a % b
}
