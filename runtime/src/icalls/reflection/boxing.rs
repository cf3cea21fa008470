//! Boxing, unboxing and the Nullable rules (ECMA-335 III.4.1, III.4.32), and native buffers for values that contain
//! references while managed code fills them.

use super::support::{alloc_object, copy_value, method_table_of, object_data};
use crate::error::{ExceptionKind, Raise, VmResult};
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::heap::Heap;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{ElementType, MethodTable, TypeHandle};

/// Offset of `value` in a `Nullable<T>`; `hasValue` is the byte at 0.
pub fn nullable_value_offset(nullable: &'static MethodTable) -> VmResult<usize> {
    super::support::ensure_layout(nullable)?;
    nullable
        .find_field("value")
        .map(|f| f.offset() as usize)
        .ok_or_else(|| Raise::new(ExceptionKind::TypeLoad, "Nullable`1 has no field 'value'"))
}

/// Boxes the value at `source()`, which is asked for the address after the allocation (it may be an interior pointer of a
/// rooted object). Nullables box to null or to their T. May collect.
pub fn box_value(thread: &Thread, mt: &'static MethodTable, source: &dyn Fn() -> *const u8) -> VmResult<ObjPtr> {
    if let Some(argument) = mt.nullable_argument() {
        // SAFETY: `source` gives the address of a Nullable, whose first byte is hasValue.
        if unsafe { source().read() } == 0 {
            return Ok(std::ptr::null_mut());
        }
        let offset = nullable_value_offset(mt)?;
        let inner = super::support::table_of(argument)?;
        return box_exact(thread, inner, &|| source().wrapping_add(offset));
    }
    box_exact(thread, mt, source)
}

/// Boxes as exactly `mt`, also a `Nullable<T>` as itself. May collect.
pub fn box_exact(thread: &Thread, mt: &'static MethodTable, source: &dyn Fn() -> *const u8) -> VmResult<ObjPtr> {
    let boxed = alloc_object(thread, mt)?;
    // SAFETY: the new object holds a value of `mt`, and the source is one.
    unsafe { copy_value(object_data(boxed), source(), mt) };
    Ok(boxed)
}

/// Writes `object` (a boxed T or null) as `Nullable<T>` to `destination`.
///
/// # Safety
/// `destination` has room for a value of the nullable type `mt`.
pub unsafe fn unbox_nullable(destination: *mut u8, mt: &'static MethodTable, object: ObjPtr) -> VmResult<()> {
    let size = mt.value_size() as usize;
    if object.is_null() {
        // SAFETY: the caller's promise; zero words are no references.
        unsafe { std::ptr::write_bytes(destination, 0, size) };
        return Ok(());
    }
    let actual = method_table_of(object);
    let argument = mt.nullable_argument().and_then(TypeHandle::as_method_table);
    if actual == mt {
        // A Nullable boxed as itself (reflection does that).
        // SAFETY: the caller's promise.
        unsafe { copy_value(destination, object_data(object), mt) };
        return Ok(());
    }
    match argument {
        Some(inner) if same_unboxed_type(actual, inner) => {
            let offset = nullable_value_offset(mt)?;
            // SAFETY: the caller's promise; the box holds a value of the argument type.
            unsafe {
                destination.write(1);
                copy_value(destination.add(offset), object_data(object), inner);
            }
            Ok(())
        }
        _ => Err(Raise::of(ExceptionKind::InvalidCast)),
    }
}

/// Whether a box of `actual` may be unboxed as `wanted`: the same type, or enums and primitives of the same representation.
pub fn same_unboxed_type(actual: &'static MethodTable, wanted: &'static MethodTable) -> bool {
    actual == wanted
        || (is_primitive_like(actual)
            && is_primitive_like(wanted)
            && actual.internal_element_type() == wanted.internal_element_type())
}

fn is_primitive_like(mt: &'static MethodTable) -> bool {
    mt.is_enum() || mt.is_true_primitive()
}

/// Bytes of a primitive in memory.
pub fn primitive_size(element: ElementType) -> usize {
    element.primitive_size().unwrap_or(8) as usize
}

/// Native memory for one value of a value type, whose references are roots while it lives.
#[derive(Debug)]
pub struct ValueBuffer {
    words: Box<[u64]>,
    /// First slot of each registered run of references.
    roots: Vec<*mut ObjPtr>,
}

impl ValueBuffer {
    /// A zeroed value of `mt`.
    pub fn new(mt: &'static MethodTable) -> ValueBuffer {
        let words = vec![0u64; (mt.value_size() as usize).div_ceil(8).max(2)].into_boxed_slice();
        let mut buffer = ValueBuffer {
            words,
            roots: Vec::new(),
        };
        let offsets = &mt.class().layout().gc_refs;
        let mut i = 0;
        while i < offsets.len() {
            let run = offsets[i..]
                .iter()
                .enumerate()
                .take_while(|(k, o)| **o == offsets[i] + 8 * *k as u32)
                .count();
            let slots = buffer.data().wrapping_add(offsets[i] as usize).cast::<ObjPtr>();
            // SAFETY: the slots are null words of the buffer, which unregisters them when it is dropped.
            unsafe { Heap::get().register_static_refs(slots, run) };
            buffer.roots.push(slots);
            i += run;
        }
        buffer
    }

    /// Address of the value.
    pub fn data(&self) -> *mut u8 {
        self.words.as_ptr().cast::<u8>().cast_mut()
    }
}

impl Drop for ValueBuffer {
    fn drop(&mut self) {
        for slots in &self.roots {
            Heap::get().unregister_static_refs(*slots);
        }
    }
}

/// `RuntimeMethodHandle.ReboxToNullable`: a `Nullable<T>` boxed as itself from a boxed T or null. May collect.
pub fn rebox_to_nullable(thread: &Thread, source: ObjPtr, nullable: &'static MethodTable) -> VmResult<ObjPtr> {
    let scope = HandleScope::new(&thread.header);
    let source = scope.root(source);
    let result = alloc_object(thread, nullable)?;
    // SAFETY: the payload of the new box is a value of the nullable type.
    unsafe { unbox_nullable(object_data(result), nullable, source.get())? };
    Ok(result)
}

/// `RuntimeMethodHandle.ReboxFromNullable`: the usual boxed form of a `Nullable<T>` that is boxed as itself. May collect.
pub fn rebox_from_nullable(thread: &Thread, source: ObjPtr) -> VmResult<ObjPtr> {
    if source.is_null() {
        return Ok(source);
    }
    let mt = method_table_of(source);
    if !mt.is_nullable() {
        return Ok(source);
    }
    let scope = HandleScope::new(&thread.header);
    let source = scope.root(source);
    box_value(thread, mt, &|| object_data(source.get()))
}
