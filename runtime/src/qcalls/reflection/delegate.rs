//! QCalls of `System.Delegate`.

use super::handles::{ObjectHandle, QCallType};
use crate::error::{ExceptionKind, Raise, VmResult, qcall_body};
use crate::icalls::reflection::delegate::{
    accepts_first, bind, flags, match_signature, method_of_delegate, multicast_invoke_slow,
};
use crate::icalls::reflection::runtime_method_handle::associated_method;
use crate::icalls::reflection::support::{alloc_object, method_arg, method_table_of, utf8};
use crate::qcall_table;
use crate::stubs::delegate::invoke_method;
use crate::thread::Thread;
use crate::type_objects::method_stub_object;
use corten_gc_hooks::{HandleScope, Local};
use corten_loader::{MethodDesc, MethodTable, TypeHandle};

extern "C" fn internal_alloc(ty: QCallType, result: ObjectHandle) {
    qcall_body(|thread| {
        result.set(alloc_object(thread, ty.table()?)?);
        Ok(())
    });
}

extern "C" fn internal_alloc_like(d: ObjectHandle) {
    qcall_body(|thread| {
        if d.get().is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        }
        let mt = method_table_of(d.get());
        d.set(alloc_object(thread, mt)?);
        Ok(())
    });
}

/// Binds if the method fits.
fn try_bind(
    thread: &Thread,
    d: Local<'_>,
    target: Local<'_>,
    method: &'static MethodDesc,
    binding: i32,
) -> VmResult<bool> {
    let invoke = invoke_method(method_table_of(d.get()))?;
    let Some(shape) = match_signature(invoke, method, target.is_null(), binding)? else {
        return Ok(false);
    };
    if !target.is_null() && !accepts_first(method, target.get())? {
        return Ok(false);
    }
    bind(thread, d, target, method, shape)?;
    Ok(true)
}

extern "C" fn bind_to_method_info(
    d: ObjectHandle,
    target: ObjectHandle,
    method: usize,
    declaring: QCallType,
    binding: i32,
) -> i32 {
    qcall_body(|thread| {
        let scope = HandleScope::new(&thread.header);
        let (d, target) = (scope.root(d.get()), scope.root(target.get()));
        let mut method = method_arg(method)?;
        if declaring.handle != 0 {
            method = associated_method(method, Some(declaring.ty()?), &[])?;
        }
        Ok(i32::from(try_bind(thread, d, target, method, binding)?))
    })
}

extern "C" fn bind_to_method_name(
    d: ObjectHandle,
    target: ObjectHandle,
    ty: QCallType,
    name: *const u8,
    binding: i32,
) -> i32 {
    qcall_body(|thread| {
        let scope = HandleScope::new(&thread.header);
        let (d, target) = (scope.root(d.get()), scope.root(target.get()));
        // SAFETY: managed code passes a NUL-terminated UTF-8 name.
        let name = unsafe { utf8(name) };
        let caseless = binding & flags::CASELESS_MATCHING != 0;
        let matches = |m: &MethodDesc| {
            if caseless {
                m.name().to_lowercase() == name.to_lowercase()
            } else {
                m.name() == name
            }
        };
        let mut at: Option<&'static MethodTable> = ty.ty().ok().and_then(TypeHandle::as_method_table);
        while let Some(mt) = at {
            for method in mt
                .methods()
                .iter()
                .filter(|m| matches(m) && !m.is_generic_method_definition())
            {
                // Inherited static methods are not searched.
                if method.is_static() && mt.handle() != ty.ty()? {
                    continue;
                }
                if try_bind(thread, d, target, method, binding)? {
                    return Ok(1);
                }
            }
            at = mt.parent();
        }
        Ok(0)
    })
}

extern "C" fn find_method_handle(d: ObjectHandle, result: ObjectHandle) {
    qcall_body(|_| {
        // SAFETY: managed code passes a delegate.
        let method = unsafe { method_of_delegate(d.get())? };
        result.set(method_stub_object(method));
        Ok(())
    });
}

extern "C" fn internal_equal_method_handles(left: ObjectHandle, right: ObjectHandle) -> i32 {
    qcall_body(|_| {
        // SAFETY: managed code passes two delegates.
        let (a, b) = unsafe { (method_of_delegate(left.get())?, method_of_delegate(right.get())?) };
        Ok(i32::from(a == b))
    })
}

extern "C" fn get_multicast_invoke_slow(mt: usize) -> usize {
    qcall_body(|_| multicast_invoke_slow(mt))
}

extern "C" fn adjust_target(target: ObjectHandle, code: usize) -> usize {
    qcall_body(|_| {
        if target.get().is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        }
        // Methods of value types are entered with the box through their unboxing stub.
        match corten_loader::precode::method_of_precode(code) {
            Some(m) if m.is_value_type_instance_method() => Ok(m.unboxing_stub()?),
            _ => Ok(code),
        }
    })
}

qcall_table! {
    /// Delegate QCalls.
    TABLE:
    "Delegate_InternalAlloc" => internal_alloc,
    "Delegate_InternalAllocLike" => internal_alloc_like,
    "Delegate_BindToMethodInfo" => bind_to_method_info,
    "Delegate_BindToMethodName" => bind_to_method_name,
    "Delegate_FindMethodHandle" => find_method_handle,
    "Delegate_InternalEqualMethodHandles" => internal_equal_method_handles,
    "Delegate_GetMulticastInvokeSlow" => get_multicast_invoke_slow,
    "Delegate_AdjustTarget" => adjust_target,
}
