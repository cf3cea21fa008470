//! Managed strings: creation, conversion, literals and interning.

use crate::error::VmResult;
use crate::thread::Thread;
use corten_gc_hooks::heap::{Heap, OutOfMemory};
use corten_gc_hooks::object::{ObjPtr, string_chars, string_data};
use corten_loader::WellKnown;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::OnceLock;

/// A new string with these UTF-16 units. May collect.
pub fn new_string_utf16(thread: &Thread, units: &[u16]) -> VmResult<ObjPtr> {
    let mt = WellKnown::get().string.as_gc_ptr();
    let s = Heap::get().alloc_string(&thread.header, mt, units.len())?;
    // SAFETY: the new string has room for `len` units and its terminator.
    unsafe { std::ptr::copy_nonoverlapping(units.as_ptr(), string_data(s), units.len()) };
    Ok(s)
}

/// A new string from UTF-8. May collect.
pub fn new_string(thread: &Thread, text: &str) -> VmResult<ObjPtr> {
    let units: Vec<u16> = text.encode_utf16().collect();
    new_string_utf16(thread, &units)
}

/// Units of a string object, copied. Null gives an empty vector.
pub fn to_utf16(s: ObjPtr) -> Vec<u16> {
    if s.is_null() {
        return Vec::new();
    }
    // SAFETY: a live String object; no safepoint while it is read.
    unsafe { string_chars(s) }.to_vec()
}

/// UTF-8 copy of a string object (lone surrogates replaced). Null gives "".
pub fn to_rust(s: ObjPtr) -> String {
    String::from_utf16_lossy(&to_utf16(s))
}

type InternTable = Mutex<FxHashMap<Box<[u16]>, usize>>;

fn interned() -> &'static InternTable {
    static TABLE: OnceLock<InternTable> = OnceLock::new();
    TABLE.get_or_init(Default::default)
}

/// The interned string with these units: a frozen object, the same for every literal of equal content.
///
/// # Errors
/// Only when memory for the frozen object is exhausted.
pub fn literal(units: &[u16]) -> Result<ObjPtr, OutOfMemory> {
    let mut table = interned().lock();
    if let Some(&p) = table.get(units) {
        return Ok(p as ObjPtr);
    }
    let mt = WellKnown::get().string;
    let s = Heap::get().alloc_frozen_array(mt.as_gc_ptr(), units.len())?;
    // SAFETY: a fresh string with room for the units, not yet visible to anybody.
    unsafe { std::ptr::copy_nonoverlapping(units.as_ptr(), string_data(s), units.len()) };
    table.insert(units.into(), s as usize);
    Ok(s)
}

/// `String.Intern`: the interned string of the same content; if there is none, `string` itself, which is pinned and kept
/// for ever so that its address can be a constant in code like that of a literal (cooperative mode).
pub fn intern(string: ObjPtr) -> ObjPtr {
    let units = to_utf16(string);
    let mut table = interned().lock();
    let address = *table.entry(units.into()).or_insert_with(|| {
        Heap::get().handles().alloc(corten_gc_hooks::HandleKind::Pinned, string);
        string as usize
    });
    address as ObjPtr
}

/// The interned string of that content, if there is one.
pub fn is_interned(units: &[u16]) -> Option<ObjPtr> {
    interned().lock().get(units).map(|p| *p as ObjPtr)
}
