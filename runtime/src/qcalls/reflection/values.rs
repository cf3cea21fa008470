//! QCalls of `System.Array`, `System.Enum`, `System.ValueType`, `RuntimeHelpers` and `MethodBase`.

use super::handles::{ObjectHandle, QCallType, put};
use crate::error::{ExceptionKind, Raise, VmResult, qcall_body};
use crate::exceptions::trace;
use crate::icalls::reflection::array::{self, array_type};
use crate::icalls::reflection::support::{
    alloc_object, alloc_sz_array, corelib, ensure_initialized, ensure_layout, method_table_of, object_data,
    string_array, table_of,
};
use crate::qcall_table;
use corten_gc_hooks::heap::{AllocFlags, Heap};
use corten_gc_hooks::object::{MethodTableAux, ObjPtr, array_data, array_length};
use corten_loader::{ElementType, FieldDesc, MethodDesc, MethodTable};
use std::sync::atomic::Ordering;

extern "C" fn array_create_instance(
    ty: QCallType,
    rank: i32,
    lengths: *const i32,
    bounds: *const i32,
    from_array_type: i32,
    result: ObjectHandle,
) {
    qcall_body(|thread| {
        let rank = rank.max(0) as usize;
        // SAFETY: managed code passes `rank` lengths, and as many lower bounds or null.
        let (lengths, bounds) = unsafe {
            let lengths = std::slice::from_raw_parts(lengths, rank).to_vec();
            let bounds = if bounds.is_null() {
                vec![0; rank]
            } else {
                std::slice::from_raw_parts(bounds, rank).to_vec()
            };
            (lengths, bounds)
        };
        let mt = if from_array_type != 0 {
            ty.table()?
        } else {
            let has_bounds = bounds.iter().any(|b| *b != 0);
            array_type(ty.ty()?, rank as u32, has_bounds)?
        };
        result.set(array::create(thread, mt, &lengths, &bounds)?);
        Ok(())
    });
}

extern "C" fn array_element_constructor(array: QCallType) -> usize {
    qcall_body(|_| {
        let element = array
            .table()?
            .array_element_type()
            .ok_or_else(|| Raise::of(ExceptionKind::Argument))?;
        let mt = table_of(element)?;
        ensure_initialized(mt)?;
        let ctor = mt
            .class()
            .default_constructor()
            .ok_or_else(|| Raise::of(ExceptionKind::MissingMethod))?;
        Ok(ctor.stable_entry())
    })
}

/// Unsigned storage of an enum's representation, as `Enum` keeps values.
fn storage(element: ElementType) -> ElementType {
    use ElementType as E;
    match element {
        E::I1 | E::Boolean => E::U1,
        E::I2 => E::U2,
        E::I4 => E::U4,
        E::I8 => E::U8,
        E::I => E::U,
        other => other,
    }
}

extern "C" fn enum_values_and_names(ty: QCallType, values: ObjectHandle, names: ObjectHandle, get_names: i32) {
    qcall_body(|thread| {
        let mt = ty.table()?;
        if !mt.is_enum() {
            return Err(Raise::new(ExceptionKind::Argument, "Type provided must be an Enum."));
        }
        let element = storage(mt.internal_element_type());
        let size = element.primitive_size().unwrap_or(8) as usize;
        let metadata = mt.module().metadata();
        let mut items: Vec<(u64, &'static str)> = Vec::new();
        for field in mt.fields().iter().filter(|f| f.is_literal()) {
            let Some(constant) = metadata.constant_of(field.token()) else {
                continue;
            };
            let mut bytes = [0u8; 8];
            let n = constant.value.len().min(size);
            bytes[..n].copy_from_slice(&constant.value[..n]);
            items.push((u64::from_le_bytes(bytes), field.name()));
        }
        // In the order of the metadata: `Enum` sorts them, which decides between names of equal values.
        let name = element
            .corelib_name()
            .ok_or_else(|| Raise::of(ExceptionKind::Argument))?;
        let array = alloc_sz_array(thread, corelib("System", name)?, items.len())?;
        values.set(array);
        for (i, (value, _)) in items.iter().enumerate() {
            // SAFETY: a fresh array of elements of `size` bytes.
            unsafe {
                std::ptr::copy_nonoverlapping(value.to_le_bytes().as_ptr(), array_data(array).add(i * size), size)
            };
        }
        if get_names != 0 {
            let text: Vec<&str> = items.iter().map(|i| i.1).collect();
            names.set(string_array(thread, &text)?);
        }
        Ok(())
    });
}

/// Whether a class overrides a virtual method that `System.ValueType` declares or overrides.
fn overrides_value_type(mt: &'static MethodTable, name: &str) -> VmResult<bool> {
    let value_type = table_of(corelib("System", "ValueType")?)?;
    let slot = value_type
        .methods()
        .named(name)
        .find(|m| m.is_virtual())
        .and_then(|m| m.slot());
    Ok(slot
        .and_then(|s| mt.vtable_method(s))
        .is_some_and(|m| m.owner() != value_type))
}

fn instance_fields(mt: &'static MethodTable) -> impl Iterator<Item = &'static FieldDesc> {
    mt.fields().iter().filter(|f| !f.is_static())
}

/// Whether values of `mt` are equal exactly if their bytes are.
pub fn can_compare_bits(mt: &'static MethodTable) -> VmResult<bool> {
    ensure_layout(mt)?;
    if mt.contains_gc_pointers()
        || mt.class().layout().not_tightly_packed
        || overrides_value_type(mt, "Equals")?
        || overrides_value_type(mt, "GetHashCode")?
    {
        return Ok(false);
    }
    for field in instance_fields(mt) {
        let ty = field.field_type()?;
        match ty.internal_element_type() {
            ElementType::R4 | ElementType::R8 => return Ok(false),
            ElementType::ValueType if !can_compare_bits(table_of(ty)?)? => return Ok(false),
            _ => {}
        }
    }
    Ok(true)
}

/// Flag bits of the auxiliary data that managed code tests.
const CHECKED_CAN_COMPARE_BITS: u32 = 0x2;
const CAN_COMPARE_BITS: u32 = 0x4;

fn method_table(raw: usize) -> VmResult<&'static MethodTable> {
    if raw == 0 {
        return Err(Raise::of(ExceptionKind::ArgumentNull));
    }
    // SAFETY: managed code passes a MethodTable.
    Ok(unsafe { MethodTable::from_ptr(raw as *const _) })
}

extern "C" fn can_compare_bits_call(mt: usize) -> i32 {
    qcall_body(|_| {
        let mt = method_table(mt)?;
        let result = can_compare_bits(mt)?;
        // SAFETY: every MethodTable has auxiliary data; only its atomic flags are touched.
        unsafe {
            let aux: *const MethodTableAux = (*mt.as_gc_ptr()).aux;
            if !aux.is_null() {
                let bits = CHECKED_CAN_COMPARE_BITS | if result { CAN_COMPARE_BITS } else { 0 };
                (*aux).flags.fetch_or(bits, Ordering::Release);
            }
        }
        Ok(i32::from(result))
    })
}

/// `ValueType.ValueTypeHashCodeStrategy`.
mod strategy {
    pub const NONE: i32 = 0;
    pub const REFERENCE_FIELD: i32 = 1;
    pub const DOUBLE_FIELD: i32 = 2;
    pub const SINGLE_FIELD: i32 = 3;
    pub const FAST_GET_HASH_CODE: i32 = 4;
    pub const VALUE_TYPE_OVERRIDE: i32 = 5;
}

struct HashField {
    strategy: i32,
    offset: u32,
    size: u32,
    mt: usize,
}

fn hash_field(mt: &'static MethodTable, object: ObjectHandle, base: u32) -> VmResult<HashField> {
    ensure_layout(mt)?;
    for field in instance_fields(mt) {
        let ty = field.field_type()?;
        let offset = base + field.offset();
        let found = |strategy, size, mt| HashField {
            strategy,
            offset,
            size,
            mt,
        };
        if ty.is_reference_type() && !ty.is_pointer() {
            // SAFETY: a reference field of the boxed value.
            let value = unsafe { object_data(object.get()).add(offset as usize).cast::<ObjPtr>().read() };
            if value.is_null() {
                continue;
            }
            return Ok(found(strategy::REFERENCE_FIELD, 0, 0));
        }
        match ty.internal_element_type() {
            ElementType::R8 => return Ok(found(strategy::DOUBLE_FIELD, 0, 0)),
            ElementType::R4 => return Ok(found(strategy::SINGLE_FIELD, 0, 0)),
            ElementType::ValueType => {
                let inner = table_of(ty)?;
                if can_compare_bits(inner)? {
                    return Ok(found(strategy::FAST_GET_HASH_CODE, ty.size_in_field(), 0));
                }
                if overrides_value_type(inner, "GetHashCode")? {
                    return Ok(found(strategy::VALUE_TYPE_OVERRIDE, 0, inner.address()));
                }
                return hash_field(inner, object, offset);
            }
            _ => return Ok(found(strategy::FAST_GET_HASH_CODE, ty.size_in_field(), 0)),
        }
    }
    Ok(HashField {
        strategy: strategy::NONE,
        offset: 0,
        size: 0,
        mt: 0,
    })
}

extern "C" fn get_hash_code_strategy(
    mt: usize,
    object: ObjectHandle,
    field_offset: *mut u32,
    field_size: *mut u32,
    field_mt: *mut usize,
) -> i32 {
    qcall_body(|_| {
        let found = hash_field(method_table(mt)?, object, 0)?;
        put(field_offset, found.offset);
        put(field_size, found.size);
        put(field_mt, found.mt);
        Ok(found.strategy)
    })
}

extern "C" fn allocate_uninitialized_clone(object: ObjectHandle) {
    qcall_body(|thread| {
        if object.get().is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        }
        let mt = method_table_of(object.get());
        let clone = if mt.is_string() {
            // SAFETY: a live string.
            let length = unsafe { array_length(object.get()) };
            Heap::get().alloc_string(&thread.header, mt.as_gc_ptr(), length)?
        } else if mt.is_array() {
            // SAFETY: a live array.
            let length = unsafe { array_length(object.get()) };
            Heap::get().alloc_array(&thread.header, mt.as_gc_ptr(), length, AllocFlags::empty())?
        } else {
            alloc_object(thread, mt)?
        };
        object.set(clone);
        Ok(())
    });
}

extern "C" fn run_class_constructor(ty: QCallType) {
    qcall_body(|_| {
        let t = ty.ty()?;
        match t.as_method_table() {
            Some(mt) if !mt.contains_generic_variables() => ensure_initialized(mt),
            _ => Ok(()),
        }
    });
}

extern "C" fn size_of(ty: QCallType) -> i32 {
    // No transition: nothing may be raised.
    let known = ty.ty().ok().filter(|t| !t.contains_generic_variables());
    known.map_or(0, |t| t.size_in_field() as i32)
}

extern "C" fn get_current_method(stack_mark: *const i32) -> usize {
    qcall_body(|thread| {
        // CoreCLR cannot tell the instantiation of shared code, so it answers with the definition.
        let caller = trace::find_caller(thread, stack_mark).map(MethodDesc::typical_definition);
        Ok(caller.transpose()?.map_or(0, MethodDesc::address))
    })
}

extern "C" fn equals_case_insensitive(left: *const u8, right: *const u8, size: i32) -> i32 {
    let size = size.max(0) as usize;
    if left.is_null() || right.is_null() {
        return i32::from(left == right);
    }
    // SAFETY: managed code passes two UTF-8 strings of that many bytes.
    let (a, b) = unsafe {
        (
            std::slice::from_raw_parts(left, size),
            std::slice::from_raw_parts(right, size),
        )
    };
    let lower = |s: &[u8]| String::from_utf8_lossy(s).to_lowercase();
    i32::from(lower(a) == lower(b))
}

qcall_table! {
    /// Value and array QCalls.
    TABLE:
    "Array_CreateInstance" => array_create_instance,
    "Array_GetElementConstructorEntrypoint" => array_element_constructor,
    "Enum_GetValuesAndNames" => enum_values_and_names,
    "MethodTable_CanCompareBitsOrUseFastGetHashCode" => can_compare_bits_call,
    "ValueType_GetHashCodeStrategy" => get_hash_code_strategy,
    "ObjectNative_AllocateUninitializedClone" => allocate_uninitialized_clone,
    "ReflectionInvocation_RunClassConstructor" => run_class_constructor,
    "ReflectionInvocation_SizeOf" => size_of,
    "MethodBase_GetCurrentMethod" => get_current_method,
    "MdUtf8String_EqualsCaseInsensitive" => equals_case_insensitive,
}
