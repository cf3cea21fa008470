//! `String` and `Buffer`: allocation and moves of references.

use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use crate::icall_table;
use corten_gc_hooks::Heap;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::WellKnown;

/// Longest string that may exist, in UTF-16 units.
const MAX_STRING_LENGTH: i32 = 0x3FFF_FFDF;

/// Assigns `String.Empty`, which no static constructor does: the interned empty string.
///
/// # Errors
/// The class library has no such field, or memory is exhausted.
pub fn initialize_string_empty() -> VmResult<()> {
    let field = WellKnown::get().string.find_field("Empty");
    let field = field.ok_or_else(|| Raise::of(ExceptionKind::MissingField))?;
    let address = corten_loader::static_field_address(field)?;
    let empty = crate::strings::literal(&[])?;
    // SAFETY: the address of a static of reference type; the literal is frozen.
    unsafe { *address.cast::<ObjPtr>() = empty };
    Ok(())
}

extern "C" fn fast_allocate_string(length: i32) -> ObjPtr {
    icall_body(|thread| {
        if !(0..=MAX_STRING_LENGTH).contains(&length) {
            return Err(Raise::of(ExceptionKind::OutOfMemory));
        }
        if length == 0 {
            return Ok(crate::strings::literal(&[])?);
        }
        let mt = WellKnown::get().string.as_gc_ptr();
        Ok(Heap::get().alloc_string(&thread.header, mt, length as usize)?)
    })
}

extern "C" fn bulk_move_with_write_barrier(destination: *mut u8, source: *const u8, bytes: usize) {
    // SAFETY: managed code passes two valid ranges of references, in cooperative mode.
    unsafe { corten_gc_hooks::bulk_move_with_barrier(destination, source, bytes) };
}

icall_table! {
    /// Strings and buffers.
    TABLE:
    "System.String" { "FastAllocateString" => fast_allocate_string }
    "System.Buffer" { "__BulkMoveWithWriteBarrier" => bulk_move_with_write_barrier }
}
