//! `MarshalNative_*` about native forms: sizes, offsets, structure stubs, delegates as function pointers.

use crate::error::{ExceptionKind, Raise, VmResult, qcall_body};
use crate::icalls::threading::blocking_qcall;
use crate::interop::convert::Place;
use crate::interop::{delegates, layout};
use crate::jit_host::method_desc;
use crate::qcall_table;
use corten_gc_hooks::object::ObjPtr;
use corten_jit::ids::MethodId;
use corten_loader::{FieldDesc, TypeHandle};

fn type_argument(handle: usize) -> VmResult<TypeHandle> {
    // SAFETY: managed code passes a raw TypeHandle or 0.
    unsafe { TypeHandle::from_raw(handle) }.ok_or_else(|| Raise::new(ExceptionKind::ArgumentNull, "t"))
}

extern "C" fn size_of_helper(_local: usize, handle: usize, throw: i32) -> i32 {
    blocking_qcall(|| {
        let t = type_argument(handle)?;
        match layout::size_of(t) {
            Ok(size) => Ok(size as i32),
            // Without the wish to throw, the size of the managed form serves for what cannot be marshalled.
            Err(_) if throw == 0 => Ok(t.size_in_field() as i32),
            Err(raise) => Err(raise),
        }
    })
}

extern "C" fn offset_of(field: *const FieldDesc) -> isize {
    blocking_qcall(|| {
        // SAFETY: the handle of a RtFieldInfo: a leaked FieldDesc.
        let field = unsafe { &*field };
        let native = layout::of(field.owner())?;
        let own = native.fields.iter().find(|f| std::ptr::eq(f.field, field));
        match own.filter(|_| !native.is_illegal()) {
            Some(f) => Ok(f.native_offset as isize),
            None => Err(layout::cannot_marshal(field.owner().handle())),
        }
    })
}

/// Blittable types need no stub: the caller copies `size` bytes.
extern "C" fn try_get_struct_marshal_stub(handle: usize, stub: *mut usize, size: *mut usize) -> i32 {
    blocking_qcall(|| {
        let t = type_argument(handle)?;
        if t.is_enum() {
            return Ok(0);
        }
        let (code, bytes) = if t.is_value_type() && t.internal_element_type().primitive_size().is_some() {
            // Primitives as they are; `bool` and `char` have no stub of their own either.
            (0, t.size_in_field())
        } else {
            let Some(mt) = t.as_method_table().filter(|m| layout::has_layout(m)) else {
                return Ok(0);
            };
            let native = layout::of(mt)?;
            native.check()?;
            let code = if native.blittable {
                0
            } else {
                crate::stubs::marshal::struct_stub(native)?
            };
            (code, native.size)
        };
        // SAFETY: out parameters.
        unsafe {
            *stub = code;
            *size = bytes as usize;
        }
        Ok(1)
    })
}

/// `Marshal.Prelink`: binds a P/Invoke before its first call.
extern "C" fn prelink(method: usize) {
    blocking_qcall(|| {
        let md = method_desc(MethodId(method as u64));
        if md.is_pinvoke() {
            crate::interop::resolve(md)?;
        }
        Ok(())
    });
}

extern "C" fn function_pointer_for_delegate(delegate: *mut ObjPtr) -> usize {
    qcall_body(|thread| delegates::function_pointer(thread, Place::fixed(delegate.cast())))
}

extern "C" fn delegate_for_function_pointer(pointer: usize, _local: usize, handle: usize, result: *mut ObjPtr) {
    qcall_body(|thread| {
        let t = type_argument(handle)?;
        let mt = t
            .as_method_table()
            .filter(|m| m.handle().is_delegate())
            .ok_or_else(|| {
                Raise::new(
                    ExceptionKind::Argument,
                    "Type must derive from Delegate or MulticastDelegate.",
                )
            })?;
        let delegate = delegates::from_function_pointer(thread, pointer, mt)?;
        // SAFETY: a managed local.
        unsafe { *result = delegate };
        Ok(())
    });
}

qcall_table! {
    /// Native forms of values and delegates.
    TABLE:
    "MarshalNative_SizeOfHelper" => size_of_helper,
    "MarshalNative_OffsetOf" => offset_of,
    "MarshalNative_TryGetStructMarshalStub" => try_get_struct_marshal_stub,
    "MarshalNative_Prelink" => prelink,
    "MarshalNative_GetFunctionPointerForDelegateInternal" => function_pointer_for_delegate,
    "MarshalNative_GetDelegateForFunctionPointerInternal" => delegate_for_function_pointer,
}
