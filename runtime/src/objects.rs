//! Typed views of the managed objects that the engine itself reads and writes.
//!
//! Offsets are those of the class library's fields (contract/layouts.md) and of CoreCLR's auto layout; tests pin them. A view
//! is a raw pointer cast: it is good only until the next safepoint. References are stored with [`store`], never directly.

#![allow(missing_docs, reason = "the names are those of the class library's fields")]

use crate::error::{ExceptionKind, Raise, VmResult};
use crate::thread::Thread;
use corten_gc_hooks::heap::{AllocFlags, Heap};
use corten_gc_hooks::object::{self, MethodTableHeader, ObjPtr};
use corten_loader::{MethodTable, TypeHandle};

/// First words of every view.
#[repr(C)]
#[derive(Debug)]
pub struct ObjectHeader {
    pub mt: *const MethodTableHeader,
}

/// `System.String`.
#[repr(C)]
#[derive(Debug)]
pub struct StringObject {
    pub header: ObjectHeader,
    /// UTF-16 code units, without the terminating NUL.
    pub length: u32,
    /// First code unit.
    pub first_char: u16,
}

/// `T[]`: single-dimensional, zero-based.
#[repr(C)]
#[derive(Debug)]
pub struct ArrayObject {
    pub header: ObjectHeader,
    pub length: u32,
    pub padding: u32,
}

/// `System.Exception`.
#[repr(C)]
#[derive(Debug)]
pub struct ExceptionObject {
    pub header: ObjectHeader,
    pub exception_method: ObjPtr,
    pub message: ObjPtr,
    pub data: ObjPtr,
    pub inner_exception: ObjPtr,
    pub help_url: ObjPtr,
    /// Opaque to managed code: see `exceptions::trace`.
    pub stack_trace: ObjPtr,
    pub watson_buckets: ObjPtr,
    pub stack_trace_string: ObjPtr,
    pub remote_stack_trace_string: ObjPtr,
    pub source: ObjPtr,
    pub ip_for_watson_buckets: usize,
    pub xptrs: usize,
    pub xcode: i32,
    pub hresult: i32,
}

/// `System.TypeLoadException`, as far as the engine writes it.
#[repr(C)]
#[derive(Debug)]
pub struct TypeLoadExceptionObject {
    pub base: ExceptionObject,
    /// What `TypeName` answers.
    pub class_name: ObjPtr,
}

/// `System.MulticastDelegate` with its base class.
#[repr(C)]
#[derive(Debug)]
pub struct DelegateObject {
    pub header: ObjectHeader,
    pub target: ObjPtr,
    pub method_base: ObjPtr,
    pub method_ptr: usize,
    pub method_ptr_aux: usize,
    pub invocation_list: ObjPtr,
    pub invocation_count: isize,
}

/// `System.Threading.Thread`.
#[repr(C)]
#[derive(Debug)]
pub struct ThreadObject {
    pub header: ObjectHeader,
    pub execution_context: ObjPtr,
    pub synchronization_context: ObjPtr,
    pub name: ObjPtr,
    pub start_helper: ObjPtr,
    /// Address of the engine's [`Thread`](crate::thread::Thread), 0 before `Initialize`.
    pub internal_thread: usize,
    pub priority: i32,
    pub managed_thread_id: i32,
    pub may_need_reset_for_thread_pool: u8,
}

/// `System.RuntimeType`.
#[repr(C)]
#[derive(Debug)]
pub struct RuntimeTypeObject {
    pub header: ObjectHeader,
    pub keepalive: ObjPtr,
    pub cache: usize,
    /// Raw TypeHandle.
    pub handle: usize,
}

/// `System.Diagnostics.StackFrameHelper`.
#[repr(C)]
#[derive(Debug)]
pub struct StackFrameHelperObject {
    pub header: ObjectHeader,
    pub target_thread: ObjPtr,
    pub offsets: ObjPtr,
    pub il_offsets: ObjPtr,
    pub dynamic_methods: ObjPtr,
    pub method_handles: ObjPtr,
    pub assembly_paths: ObjPtr,
    pub assemblies: ObjPtr,
    pub loaded_pe_addresses: ObjPtr,
    pub loaded_pe_sizes: ObjPtr,
    pub is_file_layout: ObjPtr,
    pub in_memory_pdb_addresses: ObjPtr,
    pub in_memory_pdb_sizes: ObjPtr,
    pub method_tokens: ObjPtr,
    pub file_names: ObjPtr,
    pub line_numbers: ObjPtr,
    pub column_numbers: ObjPtr,
    pub last_frame_from_foreign: ObjPtr,
    pub frame_count: i32,
}

/// `System.WeakReference` and `System.WeakReference<T>`.
#[repr(C)]
#[derive(Debug)]
pub struct WeakReferenceObject {
    pub header: ObjectHeader,
    /// Address of the handle with bits in its low end.
    pub tagged_handle: usize,
}

impl WeakReferenceObject {
    /// All bits that are not the handle's address.
    pub const TAGS: usize = 3;
    /// The handle is a long one.
    pub const TRACKS_RESURRECTION: usize = 1;
}

/// `System.GCMemoryInfoData`.
#[repr(C)]
#[derive(Debug)]
pub struct GcMemoryInfoObject {
    pub header: ObjectHeader,
    pub high_memory_load_threshold: i64,
    pub total_available_memory: i64,
    pub memory_load: i64,
    pub heap_size: i64,
    pub fragmented: i64,
    pub total_committed: i64,
    pub promoted: i64,
    pub pinned_objects: i64,
    pub finalization_pending: i64,
    pub index: i64,
    pub generation: i32,
    pub pause_time_percentage: i32,
    pub compacted: u8,
    pub concurrent: u8,
    pub generations: [GcGenerationInfo; 5],
    /// In 100 ns ticks.
    pub pause_durations: [i64; 2],
}

/// `System.GCGenerationInfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GcGenerationInfo {
    pub size_before: i64,
    pub fragmentation_before: i64,
    pub size_after: i64,
    pub fragmentation_after: i64,
}

/// Views `obj` as `T`.
///
/// # Safety
/// `obj` is a live, non-null object of the class that `T` describes, and no safepoint is reached while the reference lives.
#[inline]
pub unsafe fn view<'a, T>(obj: ObjPtr) -> &'a mut T {
    // SAFETY: the caller's promise.
    unsafe { &mut *obj.cast::<T>() }
}

/// Elements of a single-dimensional array of unmanaged `T`.
///
/// # Safety
/// `obj` is a live `T[]`, and no safepoint is reached while the slice lives.
#[inline]
pub unsafe fn elements<'a, T>(obj: ObjPtr) -> &'a mut [T] {
    // SAFETY: the caller's promise; elements begin at `array_data`.
    unsafe { std::slice::from_raw_parts_mut(object::array_data(obj).cast::<T>(), object::array_length(obj)) }
}

/// Stores `value` into `slot`, a reference field of a heap object.
///
/// # Safety
/// `slot` lies in a live heap object (or frozen object) and holds a reference.
#[inline]
pub unsafe fn store(slot: *mut ObjPtr, value: ObjPtr) {
    // SAFETY: the caller's promise.
    unsafe { corten_gc_hooks::barrier::store_ref(slot, value) }
}

/// A zeroed `element[]` of `length` elements (cooperative mode; may collect).
///
/// # Errors
/// OutOfMemoryException, or a load error of the array type.
pub fn new_array(thread: &Thread, element: TypeHandle, length: usize) -> VmResult<ObjPtr> {
    let array = corten_loader::make_array(element, 1, true)?;
    let Some(mt) = array.as_method_table() else {
        return Err(Raise::of(ExceptionKind::TypeLoad));
    };
    Ok(Heap::get().alloc_array(&thread.header, mt.as_gc_ptr(), length, AllocFlags::empty())?)
}

/// The loader's view of a live object's type.
#[inline]
#[allow(clippy::not_unsafe_ptr_arg_deref)] // every ObjPtr of the engine is null or live
pub fn method_table_of(obj: ObjPtr) -> &'static MethodTable {
    // SAFETY: word 0 of an object is the address of a MethodTable of the loader, never freed.
    unsafe { &*(*obj).mt.cast::<MethodTable>() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn offsets_are_the_class_library_s() {
        assert_eq!(offset_of!(StringObject, length), 8);
        assert_eq!(offset_of!(StringObject, first_char), 12);
        assert_eq!(offset_of!(ArrayObject, length), 8);
        assert_eq!(size_of::<ArrayObject>(), 16);
        assert_eq!(offset_of!(ExceptionObject, exception_method), 8);
        assert_eq!(offset_of!(ExceptionObject, message), 16);
        assert_eq!(offset_of!(ExceptionObject, inner_exception), 32);
        assert_eq!(offset_of!(ExceptionObject, stack_trace), 48);
        assert_eq!(offset_of!(ExceptionObject, stack_trace_string), 64);
        assert_eq!(offset_of!(ExceptionObject, remote_stack_trace_string), 72);
        assert_eq!(offset_of!(ExceptionObject, xcode), 104);
        assert_eq!(offset_of!(ExceptionObject, hresult), 108);
        assert_eq!(offset_of!(DelegateObject, target), 8);
        assert_eq!(offset_of!(DelegateObject, method_ptr), 24);
        assert_eq!(offset_of!(DelegateObject, invocation_list), 40);
        assert_eq!(offset_of!(DelegateObject, invocation_count), 48);
        assert_eq!(offset_of!(ThreadObject, name), 24);
        assert_eq!(offset_of!(ThreadObject, start_helper), 32);
        assert_eq!(offset_of!(ThreadObject, internal_thread), 40);
        assert_eq!(offset_of!(ThreadObject, managed_thread_id), 52);
        assert_eq!(offset_of!(RuntimeTypeObject, handle), 24);
        assert_eq!(offset_of!(StackFrameHelperObject, il_offsets), 24);
        assert_eq!(offset_of!(StackFrameHelperObject, method_handles), 40);
        assert_eq!(offset_of!(StackFrameHelperObject, last_frame_from_foreign), 136);
        assert_eq!(offset_of!(StackFrameHelperObject, frame_count), 144);
        assert_eq!(offset_of!(WeakReferenceObject, tagged_handle), 8);
        assert_eq!(offset_of!(GcMemoryInfoObject, compacted), 96);
        assert_eq!(offset_of!(GcMemoryInfoObject, generations), 104);
        assert_eq!(offset_of!(GcMemoryInfoObject, pause_durations), 264);
    }
}
