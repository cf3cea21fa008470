//! Object model: what a managed object looks like in memory.
//!
//! The layouts are CoreCLR's, because the class library's own managed code reads them: header word at -8,
//! `MethodTable*` at 0, first field at 8. Generated code uses the same numbers; `offset_of!` tests pin them.

use std::ffi::c_void;

use crate::sync::{AtomicU32, Ordering};

/// Reference to a managed object: the address of its `MethodTable*` word. Null is allowed.
pub type ObjPtr = *mut Object;

/// Size in bytes of the header word in front of every object.
pub const HEADER_SIZE: usize = 8;
/// Smallest object in bytes, header included.
pub const MIN_OBJECT_SIZE: usize = 24;
/// Alignment in bytes of every object.
pub const OBJECT_ALIGN: usize = 8;
/// Offset in bytes of the length of an array or string from the object pointer.
pub const ARRAY_LENGTH_OFFSET: usize = 8;
/// Offset in bytes of element 0 of a single-dimensional array.
pub const SZARRAY_DATA_OFFSET: usize = 16;
/// Offset in bytes of the first character of a string.
pub const STRING_DATA_OFFSET: usize = 12;
/// `base_size` of System.String: 8 header, 8 MethodTable, 4 length, 2 terminating NUL.
pub const STRING_BASE_SIZE: u32 = 22;
/// Offset of the flat vtable from the MethodTable pointer.
pub const VTABLE_OFFSET: usize = 64;

/// Flag masks of [`MethodTableHeader::flags`].
pub mod mt_flags {
    /// The type is an array or string; the low 16 bits hold the component size in bytes.
    pub const HAS_COMPONENT_SIZE: u32 = 0x8000_0000;
    /// Instances contain object references; a GC descriptor precedes the MethodTable.
    pub const CONTAINS_GC_POINTERS: u32 = 0x0100_0000;
    /// Instances have a finalizer that must run.
    pub const HAS_FINALIZER: u32 = 0x0010_0000;
    /// The finalizer runs after all ordinary ones (CriticalFinalizerObject). Only when HAS_COMPONENT_SIZE is clear.
    pub const HAS_CRITICAL_FINALIZER: u32 = 0x0000_0002;
    /// The collector does the finalizer's work itself ([`crate::RootProvider::finalize_eagerly`]). Only with HAS_FINALIZER and when
    /// HAS_COMPONENT_SIZE is clear; CoreCLR and CoreLib leave this bit unused.
    pub const HAS_EAGER_FINALIZER: u32 = 0x0000_0001;
    /// The type has a default constructor (only when HAS_COMPONENT_SIZE is clear).
    pub const HAS_DEFAULT_CONSTRUCTOR: u32 = 0x0000_0200;
    /// Byref-like type (only when HAS_COMPONENT_SIZE is clear).
    pub const IS_BYREF_LIKE: u32 = 0x0000_1000;
    /// Type equivalence (COM interop types).
    pub const HAS_TYPE_EQUIVALENCE: u32 = 0x0200_0000;
    /// The type is open: it contains generic variables.
    pub const CONTAINS_GENERIC_VARIABLES: u32 = 0x2000_0000;
    /// Mask of the tests that make an interface cast non-trivial.
    pub const NON_TRIVIAL_INTERFACE_CAST: u32 = 0x504C_0000;
    /// Implements IDynamicInterfaceCastable.
    pub const IDYNAMIC_INTERFACE_CASTABLE: u32 = 0x1000_0000;
    /// Implements ICastable.
    pub const ICASTABLE: u32 = 0x0040_0000;
    /// Mask of the generics state in the low bits (only when HAS_COMPONENT_SIZE is clear).
    pub const GENERICS_MASK: u32 = 0x0000_0030;
    /// Exact instantiation.
    pub const GENERICS_GENERIC_INST: u32 = 0x0000_0010;
    /// Shared canonical instantiation.
    pub const GENERICS_SHARED_INST: u32 = 0x0000_0020;
    /// Generic type definition.
    pub const GENERICS_TYPICAL_INST: u32 = 0x0000_0030;
    /// Mask of the type category.
    pub const CATEGORY_MASK: u32 = 0x000F_0000;
    /// Mask and value that tell a value type.
    pub const CATEGORY_VALUE_TYPE_MASK: u32 = 0x000C_0000;
    /// Category: plain class.
    pub const CATEGORY_CLASS: u32 = 0x0000_0000;
    /// Category: value type.
    pub const CATEGORY_VALUE_TYPE: u32 = 0x0004_0000;
    /// Category: Nullable`1.
    pub const CATEGORY_NULLABLE: u32 = 0x0005_0000;
    /// Category: enum or handle wrapper laid out as a primitive.
    pub const CATEGORY_PRIMITIVE_VALUE_TYPE: u32 = 0x0006_0000;
    /// Category: primitive.
    pub const CATEGORY_TRUE_PRIMITIVE: u32 = 0x0007_0000;
    /// Category: multi-dimensional array.
    pub const CATEGORY_ARRAY: u32 = 0x0008_0000;
    /// Category: single-dimensional zero-based array.
    pub const CATEGORY_SZ_ARRAY: u32 = 0x000A_0000;
    /// Category: interface.
    pub const CATEGORY_INTERFACE: u32 = 0x000C_0000;
    /// Instances belong to a collectible assembly.
    pub const COLLECTIBLE: u32 = 0x0020_0000;
}

/// Prefix of every MethodTable; the flat vtable follows at offset [`VTABLE_OFFSET`], the GC descriptor precedes it.
#[repr(C)]
#[derive(Debug)]
pub struct MethodTableHeader {
    /// Flags ([`mt_flags`]); the low half is the component size if `HAS_COMPONENT_SIZE`.
    pub flags: u32,
    /// Instance size in bytes: header + MethodTable word + fields, rounded up to 8 (strings: 22).
    pub base_size: u32,
    /// More flags; the token's row number in bits 8..31.
    pub flags2: u32,
    /// Number of virtual slots.
    pub num_virtuals: u16,
    /// Number of entries of the interface map.
    pub num_interfaces: u16,
    /// Base type, null for System.Object and interfaces.
    pub parent: *const MethodTableHeader,
    /// The loader's module.
    pub module: *const c_void,
    /// Data that managed code shares with the VM.
    pub aux: *mut MethodTableAux,
    /// The loader's class.
    pub class: *const c_void,
    /// Element type handle of arrays, per-instantiation info otherwise.
    pub element_type_or_inst: usize,
    /// Interface map.
    pub interface_map: *const *const MethodTableHeader,
}

// SAFETY: a MethodTable is immutable after publication except for `aux.flags`, which is atomic.
unsafe impl Sync for MethodTableHeader {}
// SAFETY: as above; it is never freed either.
unsafe impl Send for MethodTableHeader {}

/// Auxiliary data; only `flags` is known to managed code (bit 0x2 computed, 0x4 can compare bits).
#[repr(C)]
#[derive(Debug)]
pub struct MethodTableAux {
    /// Contract bits.
    pub flags: AtomicU32,
    /// Padding, kept zero.
    pub reserved: u32,
    /// Cached RuntimeType object or handle of the type (loader's and runtime's business).
    pub exposed_type: usize,
}

impl MethodTableHeader {
    /// Whether instances have a length (arrays, strings).
    #[inline]
    pub fn has_component_size(&self) -> bool {
        self.flags & mt_flags::HAS_COMPONENT_SIZE != 0
    }

    /// Size of one component in bytes; meaningful if [`Self::has_component_size`].
    #[inline]
    pub fn component_size(&self) -> usize {
        (self.flags & 0xFFFF) as usize
    }

    /// Whether instances contain references.
    #[inline]
    pub fn contains_gc_pointers(&self) -> bool {
        self.flags & mt_flags::CONTAINS_GC_POINTERS != 0
    }

    /// Whether a collection must look at instances: they contain references, or keep their unloadable type alive.
    #[inline]
    pub fn must_scan(&self) -> bool {
        self.flags & (mt_flags::CONTAINS_GC_POINTERS | mt_flags::COLLECTIBLE) != 0
    }

    /// Whether instances need finalization.
    #[inline]
    pub fn has_finalizer(&self) -> bool {
        self.flags & mt_flags::HAS_FINALIZER != 0
    }

    /// Whether the finalizer runs after the ordinary ones.
    #[inline]
    pub fn has_critical_finalizer(&self) -> bool {
        self.has_finalizer() && !self.has_component_size() && self.flags & mt_flags::HAS_CRITICAL_FINALIZER != 0
    }

    /// Whether the collector does the finalizer's work itself.
    #[inline]
    pub fn has_eager_finalizer(&self) -> bool {
        self.has_finalizer() && !self.has_component_size() && self.flags & mt_flags::HAS_EAGER_FINALIZER != 0
    }

    /// Total size in bytes of an instance with `length` components, rounded up to 8. `None` on overflow.
    #[inline]
    pub fn size_with_length(&self, length: usize) -> Option<usize> {
        let base = self.base_size as usize;
        if !self.has_component_size() {
            return Some(base);
        }
        let payload = self.component_size().checked_mul(length)?;
        let total = base.checked_add(payload)?.checked_add(7)?;
        Some(total & !7)
    }
}

/// The part of an object that every object has.
#[repr(C)]
#[derive(Debug)]
pub struct Object {
    /// The object's type.
    pub mt: *const MethodTableHeader,
}

/// The MethodTable of `obj`.
///
/// # Safety
/// `obj` is a live, non-null object and no collection runs.
#[inline]
pub unsafe fn method_table<'a>(obj: ObjPtr) -> &'a MethodTableHeader {
    // SAFETY: the caller guarantees a live object, whose first word is its MethodTable, never freed.
    unsafe { &*(*obj).mt }
}

/// Length in components of an array or string.
///
/// # Safety
/// `obj` is a live array or string.
#[inline]
pub unsafe fn array_length(obj: ObjPtr) -> usize {
    // SAFETY: arrays and strings keep their 32-bit length at offset 8.
    unsafe { *obj.byte_add(ARRAY_LENGTH_OFFSET).cast::<u32>() as usize }
}

/// Size of `obj` in bytes, header included, rounded up to 8.
///
/// # Safety
/// `obj` is a live, non-null object with a valid MethodTable.
#[inline]
pub unsafe fn size_of_object(obj: ObjPtr) -> usize {
    // SAFETY: forwarded to the caller's guarantee.
    unsafe { size_with_mt(obj, (*obj).mt) }
}

/// Size of `obj` in bytes if its type is `mt` (the collector uses it while the first word holds a forwarding address).
///
/// # Safety
/// `obj` is an object of type `mt` whose fields after the first word are intact.
#[inline]
pub unsafe fn size_with_mt(obj: ObjPtr, mt: *const MethodTableHeader) -> usize {
    // SAFETY: `mt` is a MethodTable; arrays and strings have their length at offset 8.
    unsafe {
        let flags = (*mt).flags;
        let mut size = (*mt).base_size as usize;
        if flags & mt_flags::HAS_COMPONENT_SIZE != 0 {
            size += (flags & 0xFFFF) as usize * array_length(obj);
        }
        (size + 7) & !7
    }
}

/// Address of element 0 of an array of any rank (or of the first character's word of nothing else).
///
/// # Safety
/// `obj` is a live array.
#[inline]
pub unsafe fn array_data(obj: ObjPtr) -> *mut u8 {
    // SAFETY: element 0 is at object + BaseSize - 8 for every array.
    unsafe { obj.cast::<u8>().add((*(*obj).mt).base_size as usize - HEADER_SIZE) }
}

/// Address of the first UTF-16 character of a string.
///
/// # Safety
/// `obj` is a live string.
#[inline]
pub unsafe fn string_data(obj: ObjPtr) -> *mut u16 {
    // SAFETY: the characters begin at offset 12.
    unsafe { obj.byte_add(STRING_DATA_OFFSET).cast::<u16>() }
}

/// The characters of a string.
///
/// # Safety
/// `obj` is a live string and stays where it is for `'a` (no safepoint).
#[inline]
pub unsafe fn string_chars<'a>(obj: ObjPtr) -> &'a [u16] {
    // SAFETY: the string holds `length` characters at its data address.
    unsafe { std::slice::from_raw_parts(string_data(obj), array_length(obj)) }
}

/// The sync word (thin lock, hash code or sync block index) at -4.
///
/// # Safety
/// `obj` is a live, non-null object and stays where it is for `'a` (no safepoint).
#[inline]
pub unsafe fn sync_word<'a>(obj: ObjPtr) -> &'a AtomicU32 {
    // SAFETY: every object is preceded by its header word; the upper half is the sync word.
    unsafe { &*obj.byte_sub(4).cast::<AtomicU32>() }
}

/// Reads the sync word without ordering.
///
/// # Safety
/// As for [`sync_word`].
#[inline]
pub unsafe fn sync_word_value(obj: ObjPtr) -> u32 {
    // SAFETY: forwarded.
    unsafe { sync_word(obj).load(Ordering::Relaxed) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn method_table_prefix_matches_the_contract() {
        assert_eq!(size_of::<MethodTableHeader>(), VTABLE_OFFSET);
        assert_eq!(offset_of!(MethodTableHeader, flags), 0);
        assert_eq!(offset_of!(MethodTableHeader, base_size), 4);
        assert_eq!(offset_of!(MethodTableHeader, flags2), 8);
        assert_eq!(offset_of!(MethodTableHeader, num_virtuals), 12);
        assert_eq!(offset_of!(MethodTableHeader, num_interfaces), 14);
        assert_eq!(offset_of!(MethodTableHeader, parent), 16);
        assert_eq!(offset_of!(MethodTableHeader, module), 24);
        assert_eq!(offset_of!(MethodTableHeader, aux), 32);
        assert_eq!(offset_of!(MethodTableHeader, class), 40);
        assert_eq!(offset_of!(MethodTableHeader, element_type_or_inst), 48);
        assert_eq!(offset_of!(MethodTableHeader, interface_map), 56);
        assert_eq!(offset_of!(MethodTableAux, flags), 0);
    }
}
