//! `MethodTable`: the run-time identity of every type that objects can have. Its 64-byte prefix is read
//! by CoreLib's managed code; the vtable follows flat at offset 64, the GC descriptor precedes it.

use std::{cell::UnsafeCell, ffi::c_void, sync::atomic::AtomicUsize};

use corten_gc_hooks::object::MethodTableHeader;

use crate::{
    class::Class, element_type::ElementType, field_desc::FieldDesc, method_desc::MethodDesc, methods::Methods,
    module::Module, type_handle::TypeHandle,
};

/// Flag masks of `MethodTable.Flags` as CoreLib 9.0 tests them.
#[allow(missing_docs)]
pub mod flags {
    pub const HAS_COMPONENT_SIZE: u32 = 0x8000_0000;
    pub const CONTAINS_GC_POINTERS: u32 = 0x0100_0000;
    pub const HAS_TYPE_EQUIVALENCE: u32 = 0x0200_0000;
    pub const HAS_FINALIZER: u32 = 0x0010_0000;
    pub const COLLECTIBLE: u32 = 0x0020_0000;
    pub const ICASTABLE: u32 = 0x0040_0000;
    pub const IDYNAMIC_INTERFACE_CASTABLE: u32 = 0x1000_0000;
    pub const CONTAINS_GENERIC_VARIABLES: u32 = 0x2000_0000;
    pub const CATEGORY_MASK: u32 = 0x000F_0000;
    pub const CATEGORY_CLASS: u32 = 0x0000_0000;
    pub const CATEGORY_VALUE_TYPE: u32 = 0x0004_0000;
    pub const CATEGORY_NULLABLE: u32 = 0x0005_0000;
    pub const CATEGORY_PRIMITIVE: u32 = 0x0006_0000;
    pub const CATEGORY_TRUE_PRIMITIVE: u32 = 0x0007_0000;
    pub const CATEGORY_ARRAY: u32 = 0x0008_0000;
    pub const CATEGORY_SZ_ARRAY: u32 = 0x000A_0000;
    pub const CATEGORY_INTERFACE: u32 = 0x000C_0000;
    pub const VALUE_TYPE_MASK: u32 = 0x000C_0000;
    /// Low word bits, valid only without HAS_COMPONENT_SIZE.
    pub const LOW_HAS_DEFAULT_CTOR: u32 = 0x0200;
    pub const LOW_BYREF_LIKE: u32 = 0x1000;
    pub const LOW_GENERIC_INST: u32 = 0x0010;
    pub const LOW_GENERIC_TYPE_DEF: u32 = 0x0030;
    pub const LOW_GENERIC_MASK: u32 = 0x0030;
    pub const LOW_HAS_VARIANCE: u32 = 0x0100;
}

/// Offset of vtable slot 0 from the MethodTable.
pub const VTABLE_OFFSET: usize = 64;

/// A type that objects can have (or an interface, or an open generic definition). Leaked; compared by address.
#[repr(transparent)]
pub struct MethodTable(UnsafeCell<MethodTableHeader>);

// SAFETY: the header is written only by the loader under the loader lock before the type is published;
// later accesses are reads (vtable slots are atomics).
unsafe impl Sync for MethodTable {}
// SAFETY: as above; a MethodTable has no thread affinity.
unsafe impl Send for MethodTable {}

impl PartialEq for MethodTable {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
impl Eq for MethodTable {}
impl std::hash::Hash for MethodTable {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (std::ptr::from_ref(self) as usize).hash(state);
    }
}
impl std::fmt::Debug for MethodTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SAFETY: all MethodTables are leaked ('static).
        let this: &'static MethodTable = unsafe { &*std::ptr::from_ref(self) };
        f.write_str(&this.handle().display_name())
    }
}

macro_rules! bits {
    ($($(#[$doc:meta])* $name:ident = $mask:expr, $value:expr;)*) => {
        $($(#[$doc])* pub fn $name(&self) -> bool { self.flags() & $mask == $value })*
    };
}

impl MethodTable {
    pub(crate) fn header_ptr(&self) -> *mut MethodTableHeader {
        self.0.get()
    }

    fn header(&self) -> &MethodTableHeader {
        // SAFETY: see `Sync`: no concurrent writes after publication, and the loader itself never holds
        // this reference across a write.
        unsafe { &*self.0.get() }
    }

    /// Address as generated code uses it.
    pub fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// The header pointer type of the GC.
    pub fn as_gc_ptr(&self) -> *const MethodTableHeader {
        self.0.get()
    }

    /// The MethodTable behind a header pointer found in an object.
    ///
    /// # Safety
    /// `ptr` must be a MethodTable made by this crate.
    pub unsafe fn from_ptr(ptr: *const c_void) -> &'static MethodTable {
        // SAFETY: the caller's promise; MethodTables are leaked.
        unsafe { &*(ptr as *const MethodTable) }
    }

    /// Handle of this type.
    pub fn handle(&'static self) -> TypeHandle {
        TypeHandle::from_mt(self)
    }

    /// The loader's description of the type.
    pub fn class(&self) -> &'static Class {
        // SAFETY: set at allocation to a leaked Class and never changed.
        unsafe { &*(self.header().class as *const Class) }
    }

    /// Defining module (for arrays: that of the innermost element).
    pub fn module(&self) -> &'static Module {
        self.class().module()
    }

    /// Raw flags word.
    pub fn flags(&self) -> u32 {
        self.header().flags
    }

    bits! {
        /// Array or string.
        has_component_size = flags::HAS_COMPONENT_SIZE, flags::HAS_COMPONENT_SIZE;
        /// Objects of this type contain references.
        contains_gc_pointers = flags::CONTAINS_GC_POINTERS, flags::CONTAINS_GC_POINTERS;
        /// Overrides `Object.Finalize`.
        has_finalizer = flags::HAS_FINALIZER, flags::HAS_FINALIZER;
        /// Open type (some argument contains a generic variable).
        contains_generic_variables = flags::CONTAINS_GENERIC_VARIABLES, flags::CONTAINS_GENERIC_VARIABLES;
        /// Interface.
        is_interface = flags::CATEGORY_MASK, flags::CATEGORY_INTERFACE;
        /// Value type of any kind.
        is_value_type = flags::VALUE_TYPE_MASK, flags::CATEGORY_VALUE_TYPE;
        /// `Nullable<T>`.
        is_nullable = flags::CATEGORY_MASK, flags::CATEGORY_NULLABLE;
        /// Boolean, Char, numbers, IntPtr, UIntPtr (not enums).
        is_true_primitive = flags::CATEGORY_MASK, flags::CATEGORY_TRUE_PRIMITIVE;
        /// `T[]`.
        is_sz_array = flags::CATEGORY_MASK, flags::CATEGORY_SZ_ARRAY;
        /// Array of any rank.
        is_array = 0x000C_0000, flags::CATEGORY_ARRAY;
        /// `ref struct`.
        is_byref_like = flags::HAS_COMPONENT_SIZE | flags::LOW_BYREF_LIKE, flags::LOW_BYREF_LIKE;
        /// `List<>` (an uninstantiated generic definition).
        is_generic_type_definition = flags::HAS_COMPONENT_SIZE | flags::LOW_GENERIC_MASK, flags::LOW_GENERIC_TYPE_DEF;
        /// Has a public or non-public parameterless constructor.
        has_default_constructor = flags::HAS_COMPONENT_SIZE | flags::LOW_HAS_DEFAULT_CTOR, flags::LOW_HAS_DEFAULT_CTOR;
        /// `IDynamicInterfaceCastable`.
        is_dynamic_interface_castable = flags::IDYNAMIC_INTERFACE_CASTABLE, flags::IDYNAMIC_INTERFACE_CASTABLE;
    }

    /// Generic interface or delegate with a variant parameter.
    pub fn has_variance(&self) -> bool {
        self.class().definition().is_some_and(|d| d.has_variance())
    }

    /// Has type arguments (including a generic definition's own variables).
    pub fn has_instantiation(&self) -> bool {
        !self.class().instantiation().is_empty()
    }

    /// Exact type arguments; empty for non-generic types and arrays.
    pub fn instantiation(&self) -> &'static [TypeHandle] {
        self.class().instantiation()
    }

    /// Enum type.
    pub fn is_enum(&self) -> bool {
        self.class().definition().is_some_and(|d| d.is_enum())
    }

    /// Delegate type.
    pub fn is_delegate(&self) -> bool {
        self.class().definition().is_some_and(|d| d.is_delegate())
    }

    /// `System.String`.
    pub fn is_string(&self) -> bool {
        self.has_component_size() && !self.is_array()
    }

    /// Object size in bytes including header, without components.
    pub fn base_size(&self) -> u32 {
        self.header().base_size
    }

    /// Bytes per array element or character, 0 when there are none.
    pub fn component_size(&self) -> u32 {
        if self.has_component_size() {
            self.flags() & 0xFFFF
        } else {
            0
        }
    }

    /// Bytes of a value of this value type; for classes, bytes of all instance fields including bases.
    pub fn value_size(&self) -> u32 {
        self.class().instance_size()
    }

    /// Number of vtable slots.
    pub fn num_virtuals(&self) -> u16 {
        self.header().num_virtuals
    }

    /// Base class.
    pub fn parent(&self) -> Option<&'static MethodTable> {
        let p = self.header().parent as *const MethodTable;
        // SAFETY: null or a leaked MethodTable written by the loader.
        unsafe { p.as_ref() }
    }

    /// All implemented interfaces, exact, bases' first, without duplicates.
    pub fn interfaces(&self) -> &'static [&'static MethodTable] {
        self.class().interfaces()
    }

    /// Array rank (1 for SZ arrays).
    pub fn array_rank(&self) -> Option<u32> {
        self.class().array().map(|a| a.rank)
    }

    /// Element type of an array.
    pub fn array_element_type(&self) -> Option<TypeHandle> {
        self.class().array().map(|a| a.element)
    }

    /// The `T` of `Nullable<T>`.
    pub fn nullable_argument(&self) -> Option<TypeHandle> {
        if self.is_nullable() {
            self.instantiation().first().copied()
        } else {
            None
        }
    }

    /// See [`TypeHandle::cor_element_type`].
    pub fn signature_element_type(&self) -> ElementType {
        if let Some(a) = self.class().array() {
            return if a.sz { ElementType::SzArray } else { ElementType::Array };
        }
        match self.flags() & flags::CATEGORY_MASK {
            flags::CATEGORY_TRUE_PRIMITIVE => self.internal_element_type(),
            flags::CATEGORY_VALUE_TYPE if self.internal_element_type() == ElementType::Void => ElementType::Void,
            _ if self.is_value_type() => ElementType::ValueType,
            _ => ElementType::Class,
        }
    }

    /// See [`TypeHandle::internal_element_type`].
    pub fn internal_element_type(&self) -> ElementType {
        match self.class().definition() {
            Some(d) => d.element_type(),
            None => self.signature_element_type(),
        }
    }

    /// Atomic word of vtable slot `i`, which generated code loads and publication patches.
    pub fn vtable_slot_cell(&self, i: u16) -> Option<&'static AtomicUsize> {
        if i >= self.num_virtuals() {
            return None;
        }
        // SAFETY: `num_virtuals` words follow the 64-byte header in the same leaked allocation and are
        // accessed only as atomics.
        Some(unsafe { &*((self.address() + VTABLE_OFFSET + 8 * usize::from(i)) as *const AtomicUsize) })
    }

    /// Current content of vtable slot `i` (0 if out of range).
    pub fn vtable_slot(&self, i: u16) -> usize {
        self.vtable_slot_cell(i)
            .map_or(0, |c| c.load(std::sync::atomic::Ordering::Acquire))
    }

    /// The method that occupies vtable slot `i`.
    pub fn vtable_method(&self, i: u16) -> Option<&'static MethodDesc> {
        self.class().vtable().get(usize::from(i)).copied()
    }

    /// Byte offset of vtable slot `i` from the MethodTable.
    pub fn vtable_slot_offset(i: u16) -> usize {
        VTABLE_OFFSET + 8 * usize::from(i)
    }

    /// Methods declared by this type, in metadata order (array types: .ctor, Get, Set, Address).
    pub fn methods(&'static self) -> Methods {
        self.class().methods()
    }

    /// Fields declared by this type, in metadata order.
    pub fn fields(&self) -> &'static [FieldDesc] {
        self.class().fields()
    }

    /// Declared method by name (first match).
    pub fn find_method(&'static self, name: &str) -> Option<&'static MethodDesc> {
        self.methods().named(name).next()
    }

    /// Declared method by name and parameter count (without `this`).
    pub fn find_method_with_params(&'static self, name: &str, params: usize) -> Option<&'static MethodDesc> {
        self.methods().named(name).find(|m| m.param_count() == params)
    }

    /// Declared field by name.
    pub fn find_field(&self, name: &str) -> Option<&'static FieldDesc> {
        self.fields().iter().find(|f| f.name() == name)
    }

    /// Whether `ancestor` is this type or one of its base classes.
    pub fn is_or_derives_from(&'static self, ancestor: &MethodTable) -> bool {
        let mut t = Some(self);
        while let Some(m) = t {
            if m == ancestor {
                return true;
            }
            t = m.parent();
        }
        false
    }

    /// Iterates over this type and its base classes, most derived first.
    pub fn ancestry(&'static self) -> impl Iterator<Item = &'static MethodTable> {
        std::iter::successors(Some(self), |m| m.parent())
    }
}
