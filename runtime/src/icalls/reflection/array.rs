//! Arrays of any rank: creation for reflection, and the internal calls of `System.Array`.

use super::support::{alloc_array, method_table_of, table_of};
use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use crate::icall_table;
use crate::thread::Thread;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{ElementType, MethodTable, TypeHandle};

/// Offset of the lengths of a multi-dimensional array; the lower bounds follow them.
const MD_LENGTHS: usize = 16;

/// Allocates an array of the array type `array`. May collect.
///
/// # Errors
/// OverflowException for negative lengths, OutOfMemoryException, ArgumentOutOfRangeException for bounds that overflow.
pub fn create(thread: &Thread, array: &'static MethodTable, lengths: &[i32], bounds: &[i32]) -> VmResult<ObjPtr> {
    let rank = array.array_rank().unwrap_or(1) as usize;
    if lengths.len() != rank {
        return Err(Raise::of(ExceptionKind::Argument));
    }
    if lengths.iter().any(|l| *l < 0) {
        return Err(Raise::of(ExceptionKind::Overflow));
    }
    if array.is_sz_array() {
        if lengths[0] > 0x7FFF_FFC7 {
            return Err(Raise::new(
                ExceptionKind::OutOfMemory,
                "Array dimensions exceeded supported range.",
            ));
        }
        return alloc_array(thread, array, lengths[0] as usize);
    }
    for (length, bound) in lengths.iter().zip(bounds) {
        if *length > 0 && bound.checked_add(length - 1).is_none() {
            return Err(Raise::new(
                ExceptionKind::ArgumentOutOfRange,
                "Higher indices will exceed Int32.MaxValue because of large lower bound and/or length.",
            ));
        }
    }
    let total = lengths
        .iter()
        .try_fold(1usize, |t, l| t.checked_mul(*l as usize))
        .filter(|t| *t <= i32::MAX as usize);
    let total =
        total.ok_or_else(|| Raise::new(ExceptionKind::OutOfMemory, "Array dimensions exceeded supported range."))?;
    let object = alloc_array(thread, array, total)?;
    let words = object.cast::<u8>().wrapping_add(MD_LENGTHS).cast::<i32>();
    for (i, length) in lengths.iter().enumerate() {
        // SAFETY: an array of that rank has `rank` lengths and `rank` lower bounds at offset 16.
        unsafe {
            words.add(i).write(*length);
            words.add(rank + i).write(bounds.get(i).copied().unwrap_or(0));
        }
    }
    Ok(object)
}

/// CorElementType of the representation: enums give their underlying type, references Class.
pub fn internal_element_type(t: TypeHandle) -> ElementType {
    match t.as_method_table() {
        Some(mt) if !mt.is_value_type() => ElementType::Class,
        _ => t.internal_element_type(),
    }
}

extern "C" fn get_cor_element_type_of_element_type(this: ObjPtr) -> u8 {
    icall_body(|_| {
        if this.is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        }
        let element = method_table_of(this).array_element_type();
        Ok(element.map_or(ElementType::End, internal_element_type) as u8)
    })
}

/// Array type with that element for `Array.CreateInstance`: rank 1 without lower bound is `T[]`.
pub fn array_type(element: TypeHandle, rank: u32, has_bounds: bool) -> VmResult<&'static MethodTable> {
    if element.is_void() {
        return Err(Raise::new(
            ExceptionKind::NotSupported,
            "Arrays of System.Void are not supported.",
        ));
    }
    if element.is_byref() || element.as_type_desc().is_some_and(|d| d.as_variable().is_some()) {
        return Err(Raise::new(ExceptionKind::NotSupported, "Type is not supported."));
    }
    if element.is_byref_like() {
        return Err(Raise::new(
            ExceptionKind::NotSupported,
            "Cannot create arrays of ByRef-like values.",
        ));
    }
    if element.contains_generic_variables() {
        return Err(Raise::new(
            ExceptionKind::NotSupported,
            "Cannot create arrays of open type.",
        ));
    }
    table_of(corten_loader::make_array(element, rank, rank == 1 && !has_bounds)?)
}

icall_table! {
    /// Array calls.
    TABLE: "System.Array" {
        "GetCorElementTypeOfElementType" => get_cor_element_type_of_element_type,
    }
}
