//! castclass, isinst, unbox and the covariance checks of arrays.

use super::objects::{copy_value, method_table, nullable_value_offset};
use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use corten_gc_hooks::barrier;
use corten_gc_hooks::object::{ObjPtr, array_length};
use corten_loader::cast_cache::{self, Answer};
use corten_loader::{TypeHandle, cast};
use std::arch::naked_asm;

fn type_of(o: ObjPtr) -> TypeHandle {
    // SAFETY: callers checked for null; a live object.
    unsafe { crate::type_objects::type_of(o) }
}

/// Whether a non-null object is of (or castable to) a type.
pub fn is_instance(o: ObjPtr, t: TypeHandle) -> bool {
    let from = type_of(o);
    from == t || cast::can_cast_to(from, t)
}

/// Where a type comes from: its assembly, load context and file.
fn origin(t: TypeHandle) -> String {
    let Some(module) = t.as_method_table().map(|m| m.module()) else {
        return "''".to_owned();
    };
    let (context, path) = module.assembly().map_or((0, ""), |a| (a.context(), a.path()));
    let place = match path {
        "" => "in a byte array".to_owned(),
        path => format!("at location '{path}'"),
    };
    format!(
        "'{}' in the context '{}' {place}",
        module.assembly_display_name(),
        crate::qcalls::reflection::load_context::context_name(context)
    )
}

/// The exception of a failed cast, with CoreCLR's text.
pub fn invalid_cast(o: ObjPtr, t: TypeHandle) -> Raise {
    let from = type_of(o);
    let (a, b) = (from.cast_name(), t.cast_name());
    if a == b {
        return Raise::new(
            ExceptionKind::InvalidCast,
            format!(
                "[A]{a} cannot be cast to [B]{b}. Type A originates from {}. Type B originates from {}.",
                origin(from),
                origin(t)
            ),
        );
    }
    Raise::new(
        ExceptionKind::InvalidCast,
        format!("Unable to cast object of type '{a}' to type '{b}'."),
    )
}

/// (type, obj) -> obj, for an object that [`is_inst`] may not have been asked about.
pub extern "C" fn cast_class(t: TypeHandle, o: ObjPtr) -> ObjPtr {
    icall_body(|_| {
        if o.is_null() || is_instance(o, t) {
            Ok(o)
        } else {
            Err(invalid_cast(o, t))
        }
    })
}

/// (type, obj) -> obj or null. Leaf: the answers that are known come from the cast cache.
///
/// # Safety
/// `obj` is null or a live object; `type` a type handle.
#[unsafe(naked)]
pub unsafe extern "C" fn is_inst(t: TypeHandle, o: ObjPtr) -> ObjPtr {
    naked_asm!(
        "mov rax, rsi",
        "test rsi, rsi", "jz 2f",
        "mov rdx, [rsi]",
        "cmp rdx, rdi", "je 2f",
        "mov rcx, rdx", "rol rcx, {rotation}", "xor rcx, rdi",
        "movabs r8, {multiplier}", "imul rcx, r8", "shr rcx, {shift}",
        "lea r8, [rip + {table}]", "mov rcx, [r8 + rcx * 8]",
        "test rcx, rcx", "jz {unknown}",
        "cmp [rcx + {from}], rdx", "jne {unknown}",
        "cmp [rcx + {to}], rdi", "jne {unknown}",
        "xor edx, edx",
        "cmp byte ptr [rcx + {fits}], 0", "cmove rax, rdx",
        "2:", "ret",
        rotation = const cast_cache::ROTATION,
        multiplier = const cast_cache::MULTIPLIER,
        shift = const 64 - cast_cache::BITS,
        table = sym cast_cache::TABLE,
        from = const std::mem::offset_of!(Answer, from),
        to = const std::mem::offset_of!(Answer, to),
        fits = const std::mem::offset_of!(Answer, fits),
        unknown = sym is_inst_unknown,
    )
}

extern "C" fn is_inst_unknown(t: TypeHandle, o: ObjPtr) -> ObjPtr {
    // Types of objects and of casts that were compiled are loaded, so that this loads nothing but in corner cases.
    if corten_loader::sync::leaf_call(|| is_instance(o, t)) {
        o
    } else {
        std::ptr::null_mut()
    }
}

/// Whether a boxed `from` may be unboxed as `to`: the same type, or both of the same primitive representation (enums and
/// their underlying types, ECMA-335 III.4.32).
pub fn can_unbox(from: TypeHandle, to: TypeHandle) -> bool {
    from == to
        || (from.is_value_type()
            && to.is_value_type()
            && from.internal_element_type() == to.internal_element_type()
            && from.internal_element_type().is_primitive())
}

/// (type, obj) -> address of the value.
pub extern "C" fn unbox(t: TypeHandle, o: ObjPtr) -> *mut u8 {
    icall_body(|_| {
        if o.is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        }
        if !can_unbox(type_of(o), t) {
            return Err(invalid_cast(o, t));
        }
        Ok((o as *mut u8).wrapping_add(8))
    })
}

/// (Nullable type, obj, destination): unbox.any to a Nullable; null gives an empty one.
///
/// # Safety
/// `destination` points at a value of the type.
pub unsafe extern "C" fn unbox_nullable(t: TypeHandle, o: ObjPtr, destination: *mut u8) {
    // SAFETY: the caller's promise.
    icall_body(|_| unsafe { write_nullable(t, o, destination) });
}

/// See [`unbox_nullable`].
///
/// # Errors
/// InvalidCastException.
///
/// # Safety
/// As [`unbox_nullable`].
pub unsafe fn write_nullable(t: TypeHandle, o: ObjPtr, destination: *mut u8) -> VmResult<()> {
    let mt = method_table(t)?;
    let Some(inner) = t.nullable_argument() else {
        return Err(Raise::of(ExceptionKind::InvalidProgram));
    };
    if o.is_null() {
        // SAFETY: the destination holds a whole Nullable.
        unsafe { std::ptr::write_bytes(destination, 0, mt.value_size() as usize) };
        return Ok(());
    }
    // A "true" boxed Nullable<T> (made by the reflection services) is copied as it is.
    let same = type_of(o) == t;
    // Unlike plain unboxing, the type must be exactly T: no enum as its underlying type.
    if !same && type_of(o) != inner {
        return Err(invalid_cast(o, t));
    }
    let source = (o as *const u8).wrapping_add(8);
    // SAFETY: both sides have the sizes of their types.
    unsafe {
        if same {
            copy_value(mt, destination, source);
            return Ok(());
        }
        *destination = 1;
        copy_value(method_table(inner)?, destination.add(nullable_value_offset(mt)), source);
    }
    Ok(())
}

fn element_slot(array: ObjPtr, index: i64) -> VmResult<*mut ObjPtr> {
    if array.is_null() {
        return Err(Raise::of(ExceptionKind::NullReference));
    }
    // SAFETY: a live array.
    if index as u64 >= unsafe { array_length(array) } as u64 {
        return Err(Raise::of(ExceptionKind::IndexOutOfRange));
    }
    Ok((array as *mut u8).wrapping_add(16 + 8 * index as usize).cast())
}

fn element_type(array: ObjPtr) -> Option<TypeHandle> {
    type_of(array).element_type()
}

/// Raises ArrayTypeMismatch unless `value` may be stored into the array.
///
/// # Errors
/// ArrayTypeMismatchException.
pub fn check_store(array: ObjPtr, value: ObjPtr) -> VmResult<()> {
    if value.is_null() {
        return Ok(());
    }
    match element_type(array) {
        Some(e) if is_instance(value, e) => Ok(()),
        _ => Err(Raise::of(ExceptionKind::ArrayTypeMismatch)),
    }
}

/// (array, index, obj): stelem.ref.
pub extern "C" fn store_elem_ref(array: ObjPtr, index: i64, value: ObjPtr) {
    icall_body(|_| {
        let slot = element_slot(array, index)?;
        check_store(array, value)?;
        // SAFETY: the checked element of a live array.
        unsafe { barrier::store_ref(slot, value) };
        Ok(())
    });
}

/// (array, index, element type) -> address of the element; exact type check of `ldelema`.
pub extern "C" fn ldelema_ref(array: ObjPtr, index: i64, element: TypeHandle) -> *mut ObjPtr {
    icall_body(|_| {
        let slot = element_slot(array, index)?;
        if element_type(array) != Some(element) {
            return Err(Raise::of(ExceptionKind::ArrayTypeMismatch));
        }
        Ok(slot)
    })
}

/// (multi-dimensional array, value): covariance check of `Set`.
pub extern "C" fn array_store_check(array: ObjPtr, value: ObjPtr) {
    icall_body(|_| {
        if array.is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        }
        check_store(array, value)
    });
}

/// (multi-dimensional array, element type): exact type check of `Address`.
pub extern "C" fn array_address_check(array: ObjPtr, element: TypeHandle) {
    icall_body(|_| {
        if array.is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        }
        if element_type(array) != Some(element) {
            return Err(Raise::of(ExceptionKind::ArrayTypeMismatch));
        }
        Ok(())
    });
}

/// (type, TypedReference address) -> its pointer, if of exactly that type.
///
/// # Safety
/// `typed_reference` points at one.
pub unsafe extern "C" fn refanyval(t: TypeHandle, typed_reference: *const [usize; 2]) -> usize {
    icall_body(|_| {
        // SAFETY: the caller's promise: {pointer, type handle}.
        let [pointer, handle] = unsafe { *typed_reference };
        if handle == t.raw() {
            Ok(pointer)
        } else {
            Err(Raise::of(ExceptionKind::InvalidCast))
        }
    })
}
