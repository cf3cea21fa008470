//! Internal calls of `System.RuntimeFieldHandle`.

use super::boxing::{ValueBuffer, box_value, unbox_nullable};
use super::invoke::box_pointer;
use super::support::{
    copy_value, ensure_initialized, field_arg, field_info_arg, method_table_of, object_data, read, table_of, type_arg,
};
use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use crate::icall_table;
use crate::thread::Thread;
use crate::type_objects::type_object;
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::{HandleScope, Local, barrier};
use corten_loader::{ElementType, FieldDesc, FieldKind, TypeHandle};
use corten_metadata::FieldAttributes;

extern "C" fn get_name(field: ObjPtr) -> ObjPtr {
    icall_body(|thread| {
        let name = field_info_arg(field)?.name();
        crate::strings::new_string(thread, name)
    })
}

extern "C" fn get_utf8_name(field: usize) -> *const u8 {
    icall_body(|_| Ok(field_arg(field)?.name().as_ptr()))
}

extern "C" fn get_attributes(field: usize) -> i32 {
    icall_body(|_| Ok(i32::from(field_arg(field)?.attributes().bits())))
}

extern "C" fn get_approx_declaring_type(field: usize) -> ObjPtr {
    icall_body(|_| Ok(type_object(field_arg(field)?.owner().handle())))
}

extern "C" fn is_fast_path_supported(field: ObjPtr) -> bool {
    icall_body(|_| {
        let field = field_info_arg(field)?;
        Ok(match field.kind() {
            FieldKind::Instance | FieldKind::Rva(_) => true,
            // Managed code expects static structs behind a reference; ours are stored in place.
            FieldKind::Static => {
                let ty = field.field_type()?;
                ty.is_enum() || ty.cor_element_type() != ElementType::ValueType
            }
            FieldKind::ThreadStatic | FieldKind::Literal => false,
        })
    })
}

extern "C" fn get_instance_field_offset(field: ObjPtr) -> i32 {
    icall_body(|_| {
        let field = field_info_arg(field)?;
        super::support::ensure_layout(field.owner())?;
        Ok(field.offset() as i32)
    })
}

/// Address of a static field on the current thread; runs no initialiser.
fn static_address(thread: &Thread, field: &'static FieldDesc) -> VmResult<*mut u8> {
    match field.kind() {
        FieldKind::ThreadStatic => crate::thread_statics::address(thread, field),
        _ => Ok(corten_loader::statics::static_field_address(field)?),
    }
}

extern "C" fn get_static_field_address(field: ObjPtr) -> usize {
    icall_body(|thread| {
        let field = field_info_arg(field)?;
        Ok(static_address(thread, field)? as usize)
    })
}

extern "C" fn get_token(field: ObjPtr) -> u32 {
    icall_body(|_| Ok(field_info_arg(field)?.token().0))
}

fn prepare(field: &'static FieldDesc, is_initialized: *mut u8) -> VmResult<()> {
    if field.owner().contains_generic_variables() {
        return Err(Raise::new(
            ExceptionKind::InvalidOperation,
            "Late bound operations cannot be performed on fields with types for which Type.ContainsGenericParameters is true.",
        ));
    }
    if field.is_static() {
        if let Err(raise) = ensure_initialized(field.owner()) {
            // Reflection reports a failed initialiser as it reports failed methods.
            crate::exceptions::set_pending(raise);
            return Err(crate::exceptions::create::wrap_pending_in_target_invocation());
        }
    } else {
        super::support::ensure_layout(field.owner())?;
    }
    if !is_initialized.is_null() && (!field.is_static() || field.owner().class().is_initialized()) {
        // SAFETY: managed code passes a reference to its flag.
        unsafe { is_initialized.write(1) };
    }
    Ok(())
}

/// Boxes the field at `address()`.
fn load_field(thread: &Thread, ty: TypeHandle, address: &dyn Fn() -> *mut u8) -> VmResult<ObjPtr> {
    if ty.is_pointer() || ty.is_function_pointer() {
        // SAFETY: a pointer-sized field.
        let value = unsafe { address().cast::<usize>().read() };
        return box_pointer(thread, ty, value);
    }
    match ty.as_method_table() {
        Some(mt) if mt.is_value_type() => box_value(thread, mt, &|| address().cast_const()),
        _ => {
            // SAFETY: a reference field.
            Ok(unsafe { address().cast::<ObjPtr>().read() })
        }
    }
}

/// Stores `value` into the field at `address`.
///
/// # Safety
/// `address` is a field of type `ty`; no safepoint since it was computed.
unsafe fn store_field(ty: TypeHandle, address: *mut u8, value: ObjPtr) -> VmResult<()> {
    // SAFETY: the caller's promise.
    unsafe {
        if ty.is_pointer() || ty.is_function_pointer() {
            address.cast::<usize>().write(pointer_value(value));
            return Ok(());
        }
        match ty.as_method_table() {
            Some(mt) if mt.is_nullable() => unbox_nullable(address, mt, value),
            Some(mt) if mt.is_value_type() => {
                if value.is_null() {
                    return Err(Raise::of(ExceptionKind::NullReference));
                }
                copy_value(address, object_data(value), mt);
                Ok(())
            }
            _ => {
                barrier::store_ref(address.cast::<ObjPtr>(), value);
                Ok(())
            }
        }
    }
}

/// The pointer in a boxed `IntPtr` or `System.Reflection.Pointer` (null: 0).
fn pointer_value(value: ObjPtr) -> usize {
    if value.is_null() {
        return 0;
    }
    let offset = if method_table_of(value).is_value_type() { 8 } else { 16 };
    // SAFETY: IntPtr keeps its word at 8, System.Reflection.Pointer its pointer at 16.
    unsafe { read::<usize>(value, offset) }
}

fn instance_address(instance: Local<'_>, field: &'static FieldDesc) -> *mut u8 {
    object_data(instance.get()).wrapping_add(field.offset() as usize)
}

extern "C" fn get_value(
    field: ObjPtr,
    instance: ObjPtr,
    _field_type: ObjPtr,
    _declaring: ObjPtr,
    is_initialized: *mut u8,
) -> ObjPtr {
    icall_body(|thread| {
        let field = field_info_arg(field)?;
        let scope = HandleScope::new(&thread.header);
        let instance = scope.root(instance);
        prepare(field, is_initialized)?;
        let ty = field.field_type()?;
        if field.is_static() {
            let address = static_address(thread, field)?;
            return load_field(thread, ty, &|| address);
        }
        if instance.is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        }
        load_field(thread, ty, &|| instance_address(instance, field))
    })
}

extern "C" fn set_value(
    field: ObjPtr,
    instance: ObjPtr,
    value: ObjPtr,
    _field_type: ObjPtr,
    _declaring: ObjPtr,
    is_initialized: *mut u8,
) {
    icall_body(|thread| {
        let field = field_info_arg(field)?;
        let scope = HandleScope::new(&thread.header);
        let (instance, value) = (scope.root(instance), scope.root(value));
        prepare(field, is_initialized)?;
        let ty = field.field_type()?;
        if field.is_static()
            && field.attributes().contains(FieldAttributes::INIT_ONLY)
            && field.owner().class().is_initialized()
        {
            return Err(Raise::new(
                ExceptionKind::FieldAccess,
                format!(
                    "Cannot set initonly static field '{}' after type '{}' is initialized.",
                    field.name(),
                    field
                        .owner()
                        .class()
                        .definition()
                        .map_or_else(String::new, |d| d.plain_name())
                ),
            ));
        }
        let address = if field.is_static() {
            static_address(thread, field)?
        } else if instance.is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        } else {
            instance_address(instance, field)
        };
        // SAFETY: the address of that field, computed just now.
        unsafe { store_field(ty, address, value.get()) }
    })
}

/// `System.TypedReference`.
#[repr(C)]
struct TypedReference {
    value: *mut u8,
    ty: usize,
}

/// Address of a field of what a TypedReference refers to.
///
/// # Safety
/// `reference` is a valid TypedReference.
unsafe fn direct_address(reference: *const TypedReference, field: &'static FieldDesc) -> VmResult<*mut u8> {
    // SAFETY: the caller's promise.
    let reference = unsafe { &*reference };
    let ty = super::support::raw_type(reference.ty)?;
    if ty.is_value_type() {
        return Ok(reference.value.wrapping_add(field.offset() as usize));
    }
    // SAFETY: a TypedReference to a reference type refers to a reference.
    let object = unsafe { reference.value.cast::<ObjPtr>().read() };
    if object.is_null() {
        return Err(Raise::of(ExceptionKind::NullReference));
    }
    Ok(object_data(object).wrapping_add(field.offset() as usize))
}

extern "C" fn get_value_direct(
    field: ObjPtr,
    _field_type: ObjPtr,
    reference: *const TypedReference,
    _context: ObjPtr,
) -> ObjPtr {
    icall_body(|thread| {
        let field = field_info_arg(field)?;
        prepare(field, std::ptr::null_mut())?;
        let ty = field.field_type()?;
        if field.is_static() {
            let address = static_address(thread, field)?;
            return load_field(thread, ty, &|| address);
        }
        // The referent may move when the box is allocated: copy it first.
        // SAFETY: managed code passes the address of its TypedReference.
        let address = unsafe { direct_address(reference, field)? };
        match ty.as_method_table() {
            Some(mt) if mt.is_value_type() => {
                let buffer = ValueBuffer::new(mt);
                // SAFETY: `address` is a field of type `mt`.
                unsafe { std::ptr::copy_nonoverlapping(address, buffer.data(), mt.value_size() as usize) };
                load_field(thread, ty, &|| buffer.data())
            }
            _ => load_field(thread, ty, &|| address),
        }
    })
}

extern "C" fn set_value_direct(
    field: ObjPtr,
    _field_type: ObjPtr,
    reference: *const TypedReference,
    value: ObjPtr,
    _context: ObjPtr,
) {
    icall_body(|thread| {
        let field = field_info_arg(field)?;
        let scope = HandleScope::new(&thread.header);
        let value = scope.root(value);
        prepare(field, std::ptr::null_mut())?;
        let ty = field.field_type()?;
        let address = if field.is_static() {
            static_address(thread, field)?
        } else {
            // SAFETY: managed code passes the address of its TypedReference.
            unsafe { direct_address(reference, field)? }
        };
        // SAFETY: the address of that field, computed just now.
        unsafe { store_field(ty, address, value.get()) }
    })
}

extern "C" fn get_static_field_for_generic_type(field: usize, declaring: ObjPtr) -> usize {
    icall_body(|_| {
        let field = field_arg(field)?;
        let owner = table_of(type_arg(declaring)?)?;
        if owner == field.owner() {
            return Ok(std::ptr::from_ref(field) as usize);
        }
        owner
            .fields()
            .iter()
            .find(|f| f.token() == field.token())
            .map(|f| std::ptr::from_ref(f) as usize)
            .ok_or_else(|| Raise::of(ExceptionKind::Argument))
    })
}

extern "C" fn acquires_context_from_this(_field: usize) -> bool {
    // Every instantiation is exact.
    false
}

extern "C" fn get_loader_allocator(field: usize) -> ObjPtr {
    icall_body(|_| {
        let group = field_arg(field)?.owner().class().collectible();
        Ok(crate::collectible::allocator_of(group))
    })
}

icall_table! {
    /// Field handle calls.
    TABLE: "System.RuntimeFieldHandle" {
        "GetName" => get_name,
        "_GetUtf8Name" => get_utf8_name,
        "GetAttributes" => get_attributes,
        "GetApproxDeclaringType" => get_approx_declaring_type,
        "IsFastPathSupported" => is_fast_path_supported,
        "GetInstanceFieldOffset" => get_instance_field_offset,
        "GetStaticFieldAddress" => get_static_field_address,
        "GetToken" => get_token,
        "GetValue" => get_value,
        "GetValueDirect" => get_value_direct,
        "SetValue" => set_value,
        "SetValueDirect" => set_value_direct,
        "GetStaticFieldForGenericType" => get_static_field_for_generic_type,
        "AcquiresContextFromThis" => acquires_context_from_this,
        "GetLoaderAllocator" => get_loader_allocator,
    }
}
