//! `TypeHandle`: the one-word identity of a loaded type, as managed code sees it.

use std::{fmt, num::NonZeroUsize};

use crate::{
    element_type::ElementType,
    method_table::MethodTable,
    type_desc::{TypeDesc, TypeDescKind},
};

/// A loaded type: a `MethodTable*`, or (bit 1 set) a [`TypeDesc`] for pointers, byrefs, function
/// pointers and generic variables. Compared by address; valid forever.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeHandle(NonZeroUsize);

/// Bit of the raw value that distinguishes a TypeDesc.
pub const TYPE_DESC_BIT: usize = 2;

impl TypeHandle {
    /// Rebuilds a handle from its raw value; `None` for 0.
    ///
    /// # Safety
    /// `raw` must be 0 or have come from [`raw`](Self::raw).
    pub unsafe fn from_raw(raw: usize) -> Option<Self> {
        NonZeroUsize::new(raw).map(Self)
    }

    /// The word that managed code stores (`RuntimeType.m_handle`).
    pub fn raw(self) -> usize {
        self.0.get()
    }

    /// Handle of a MethodTable.
    pub fn of(mt: &'static MethodTable) -> Self {
        mt.handle()
    }

    pub(crate) fn from_mt(mt: &'static MethodTable) -> Self {
        let raw = std::ptr::from_ref(mt) as usize;
        // SAFETY: a reference is never null.
        Self(unsafe { NonZeroUsize::new_unchecked(raw) })
    }

    pub(crate) fn from_desc(desc: &'static TypeDesc) -> Self {
        let raw = std::ptr::from_ref(desc) as usize | TYPE_DESC_BIT;
        // SAFETY: a reference is never null.
        Self(unsafe { NonZeroUsize::new_unchecked(raw) })
    }

    /// The MethodTable, unless this is a TypeDesc.
    pub fn as_method_table(self) -> Option<&'static MethodTable> {
        if self.raw() & TYPE_DESC_BIT != 0 {
            return None;
        }
        // SAFETY: invariant of TypeHandle: bit clear means a leaked MethodTable.
        Some(unsafe { &*(self.raw() as *const MethodTable) })
    }

    /// The TypeDesc, unless this is a MethodTable.
    pub fn as_type_desc(self) -> Option<&'static TypeDesc> {
        if self.raw() & TYPE_DESC_BIT == 0 {
            return None;
        }
        // SAFETY: invariant of TypeHandle: bit set means a leaked TypeDesc.
        Some(unsafe { &*((self.raw() & !TYPE_DESC_BIT) as *const TypeDesc) })
    }

    /// Element type of an array, pointer or byref.
    pub fn element_type(self) -> Option<TypeHandle> {
        match self.as_type_desc() {
            Some(d) => match d.kind() {
                TypeDescKind::Pointer(e) | TypeDescKind::ByRef(e) => Some(*e),
                _ => None,
            },
            None => self.as_method_table().and_then(|m| m.array_element_type()),
        }
    }

    /// Kind of the type in a signature: enums are `ValueType`, string and object `Class`.
    pub fn cor_element_type(self) -> ElementType {
        match self.as_type_desc() {
            Some(d) => d.element_kind(),
            None => self
                .as_method_table()
                .map_or(ElementType::End, |m| m.signature_element_type()),
        }
    }

    /// Kind of the representation: enums give their underlying primitive.
    pub fn internal_element_type(self) -> ElementType {
        match self.as_type_desc() {
            Some(d) => d.element_kind(),
            None => self
                .as_method_table()
                .map_or(ElementType::End, |m| m.internal_element_type()),
        }
    }

    fn mt_is(self, f: impl FnOnce(&'static MethodTable) -> bool) -> bool {
        self.as_method_table().is_some_and(f)
    }

    /// Value type (structs, enums, primitives, void). Pointers, byrefs and variables are not.
    pub fn is_value_type(self) -> bool {
        self.mt_is(|m| m.is_value_type())
    }
    /// `T` or `!!T`.
    pub fn is_generic_variable(self) -> bool {
        self.as_type_desc()
            .is_some_and(|d| matches!(d.kind(), TypeDescKind::Variable(_)))
    }
    /// `T*`.
    pub fn is_pointer(self) -> bool {
        self.as_type_desc()
            .is_some_and(|d| matches!(d.kind(), TypeDescKind::Pointer(_)))
    }
    /// `T&`.
    pub fn is_byref(self) -> bool {
        self.as_type_desc()
            .is_some_and(|d| matches!(d.kind(), TypeDescKind::ByRef(_)))
    }
    /// A function pointer.
    pub fn is_function_pointer(self) -> bool {
        self.as_type_desc()
            .is_some_and(|d| matches!(d.kind(), TypeDescKind::FnPtr(_)))
    }
    /// Whether a generic variable occurs anywhere inside.
    pub fn contains_generic_variables(self) -> bool {
        match self.as_type_desc() {
            Some(d) => d.contains_generic_variables(),
            None => self.mt_is(|m| m.contains_generic_variables()),
        }
    }
    /// A value of this type is one object reference (class, interface, array, string...).
    /// Generic variables count as references (open types are never executed).
    pub fn is_reference_type(self) -> bool {
        match self.as_type_desc() {
            Some(d) => matches!(d.kind(), TypeDescKind::Variable(_)),
            None => !self.is_value_type(),
        }
    }
    /// Array of any rank.
    pub fn is_array(self) -> bool {
        self.mt_is(|m| m.is_array())
    }
    /// Interface.
    pub fn is_interface(self) -> bool {
        self.mt_is(|m| m.is_interface())
    }
    /// Enum (not `System.Enum` itself).
    pub fn is_enum(self) -> bool {
        self.mt_is(|m| m.is_enum())
    }
    /// Underlying primitive kind of an enum.
    pub fn enum_underlying(self) -> Option<ElementType> {
        self.as_method_table()
            .filter(|m| m.is_enum())
            .map(|m| m.internal_element_type())
    }
    /// `Nullable<T>`.
    pub fn is_nullable(self) -> bool {
        self.mt_is(|m| m.is_nullable())
    }
    /// The `T` of `Nullable<T>`.
    pub fn nullable_argument(self) -> Option<TypeHandle> {
        self.as_method_table().and_then(|m| m.nullable_argument())
    }
    /// Delegate type (derived from `MulticastDelegate`).
    pub fn is_delegate(self) -> bool {
        self.mt_is(|m| m.is_delegate())
    }
    /// `ref struct`.
    pub fn is_byref_like(self) -> bool {
        self.mt_is(|m| m.is_byref_like())
    }
    /// `System.Void`.
    pub fn is_void(self) -> bool {
        self.cor_element_type() == ElementType::Void
    }
    /// Exact generic arguments (empty for non-generic types, arrays and TypeDescs).
    pub fn instantiation(self) -> &'static [TypeHandle] {
        self.as_method_table().map_or(&[], |m| m.instantiation())
    }

    /// Bytes that a field, local or array element of this type takes: value size for value types,
    /// 8 for references, pointers and byrefs, 0 for void.
    pub fn size_in_field(self) -> u32 {
        match self.as_method_table() {
            Some(_) if self.is_void() => 0,
            Some(m) if m.is_value_type() => m.value_size(),
            _ => 8,
        }
    }

    /// Alignment of a field of this type in bytes (1..64).
    pub fn align(self) -> u32 {
        match self.as_method_table() {
            Some(m) if m.is_value_type() => m.class().field_alignment(),
            _ => 8,
        }
    }

    /// Whether a field of this type contains an object reference (references themselves do).
    pub fn contains_gc_pointers(self) -> bool {
        match self.as_type_desc() {
            Some(d) => matches!(d.kind(), TypeDescKind::Variable(_)),
            None => self.mt_is(|m| !m.is_value_type() || m.contains_gc_pointers()),
        }
    }

    /// Full name including generic arguments, for messages.
    pub fn display_name(self) -> String {
        crate::names::format_type(self, crate::names::TypeNameFlags::NAMESPACE)
    }

    /// The name in the text of a failed cast: as [`Self::display_name`], but without the types that enclose it.
    pub fn cast_name(self) -> String {
        use crate::names::TypeNameFlags;
        crate::names::format_type(self, TypeNameFlags::NAMESPACE | TypeNameFlags::OUTER_UNNAMED)
    }
}

impl fmt::Debug for TypeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display_name())
    }
}

impl fmt::Display for TypeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display_name())
    }
}
