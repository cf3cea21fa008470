//! Internal calls of `RuntimeHelpers` and `CastHelpers` that deal with types, boxes and casts.

use super::boxing::{ValueBuffer, box_value, same_unboxed_type, unbox_nullable};
use super::support::{method_table_of, object_data, raw_type, table_of};
use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use crate::icall_table;
use corten_gc_hooks::barrier;
use corten_gc_hooks::object::{ObjPtr, size_of_object};
use corten_loader::{MethodTable, TypeHandle};

fn table(raw: usize) -> VmResult<&'static MethodTable> {
    table_of(raw_type(raw)?)
}

extern "C" fn box_call(mt: usize, data: *const u8) -> ObjPtr {
    icall_body(|thread| {
        let mt = table(mt)?;
        if data.is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        }
        // The value may be inside a heap object that moves when the box is allocated: copy it first.
        let buffer = ValueBuffer::new(mt);
        // SAFETY: managed code passes a reference to a value of that type; no safepoint since.
        unsafe { std::ptr::copy_nonoverlapping(data, buffer.data(), mt.value_size() as usize) };
        box_value(thread, mt, &|| buffer.data())
    })
}

extern "C" fn unbox_nullable_call(destination: *mut u8, mt: usize, object: ObjPtr) {
    icall_body(|_| {
        let mt = table(mt)?;
        // SAFETY: managed code passes a reference to a value of that nullable type.
        unsafe { unbox_nullable(destination, mt, object) }
    });
}

extern "C" fn prepare_delegate(_delegate: ObjPtr) {}

extern "C" fn content_equals(left: ObjPtr, right: ObjPtr) -> bool {
    icall_body(|_| {
        if left.is_null() || right.is_null() {
            return Ok(left == right);
        }
        if method_table_of(left) != method_table_of(right) {
            return Ok(false);
        }
        // SAFETY: two live objects of the same type; 16 bytes of a size are header and MethodTable.
        unsafe {
            let size = size_of_object(left).saturating_sub(16);
            if size != size_of_object(right).saturating_sub(16) {
                return Ok(false);
            }
            let bytes = |o: ObjPtr| std::slice::from_raw_parts(object_data(o), size);
            Ok(bytes(left) == bytes(right))
        }
    })
}

fn is_instance(object: ObjPtr, t: TypeHandle) -> bool {
    corten_loader::cast::can_cast_to(method_table_of(object).handle(), t)
}

extern "C" fn is_instance_of_any(handle: usize, object: ObjPtr) -> ObjPtr {
    icall_body(|_| {
        if object.is_null() {
            return Ok(object);
        }
        Ok(if is_instance(object, raw_type(handle)?) {
            object
        } else {
            std::ptr::null_mut()
        })
    })
}

extern "C" fn chk_cast_any(handle: usize, object: ObjPtr) -> ObjPtr {
    icall_body(|_| {
        if object.is_null() {
            return Ok(object);
        }
        let t = raw_type(handle)?;
        if is_instance(object, t) {
            Ok(object)
        } else {
            Err(crate::helpers::invalid_cast(object, t))
        }
    })
}

extern "C" fn unbox_helper(handle: usize, object: ObjPtr) -> *mut u8 {
    icall_body(|_| {
        if object.is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        }
        let t = raw_type(handle)?;
        if same_unboxed_type(method_table_of(object), table_of(t)?) {
            Ok(object_data(object))
        } else {
            Err(crate::helpers::invalid_cast(object, t))
        }
    })
}

extern "C" fn write_barrier(destination: *mut ObjPtr, value: ObjPtr) {
    // SAFETY: managed code passes a reference to a reference.
    unsafe { barrier::store_ref(destination, value) }
}

icall_table! {
    /// Boxing and casting calls.
    TABLE: "System.Runtime.CompilerServices.RuntimeHelpers" {
        "Box" => box_call,
        "Unbox_Nullable" => unbox_nullable_call,
        "PrepareDelegate" => prepare_delegate,
        "ContentEquals" => content_equals,
    }
    "System.Runtime.CompilerServices.CastHelpers" {
        "IsInstanceOfAny_NoCacheLookup" => is_instance_of_any,
        "ChkCastAny_NoCacheLookup" => chk_cast_any,
        "Unbox_Helper" => unbox_helper,
        "WriteBarrier" => write_barrier,
    }
}
