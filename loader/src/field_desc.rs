//! `FieldDesc`: one field of one exact type.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use corten_metadata::{FieldAttributes, TableId, Token};

use crate::{element_type::ElementType, error::Result, method_table::MethodTable, type_handle::TypeHandle};

/// Where a field lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// In each object or value.
    Instance,
    /// In the static storage of the type.
    Static,
    /// `[ThreadStatic]`: in per-thread storage.
    ThreadStatic,
    /// Initial data mapped from the image; the address of the data.
    Rva(usize),
    /// A compile-time constant without storage.
    Literal,
}

/// A field of an exact type. Leaked with its Class; compared by address.
pub struct FieldDesc {
    pub(crate) owner: &'static MethodTable,
    pub(crate) name: &'static str,
    pub(crate) signature: &'static [u8],
    pub(crate) rid: u32,
    pub(crate) index: u16,
    pub(crate) attributes: FieldAttributes,
    pub(crate) element: ElementType,
    pub(crate) kind: FieldKind,
    pub(crate) offset: AtomicU32,
    pub(crate) ty: OnceLock<TypeHandle>,
}

/// Offset value of a field that has not been placed.
pub const NO_OFFSET: u32 = u32::MAX;

impl FieldDesc {
    /// Declaring type, exact.
    pub fn owner(&self) -> &'static MethodTable {
        self.owner
    }
    /// Field token in the owner's module.
    pub fn token(&self) -> Token {
        Token::new(TableId::Field, self.rid)
    }
    /// Name.
    pub fn name(&self) -> &'static str {
        self.name
    }
    /// Attributes.
    pub fn attributes(&self) -> FieldAttributes {
        self.attributes
    }
    /// Signature blob.
    pub fn signature(&self) -> &'static [u8] {
        self.signature
    }
    /// Position among the declared fields of the owner.
    pub fn index(&self) -> u16 {
        self.index
    }
    /// Where the field lives.
    pub fn kind(&self) -> FieldKind {
        self.kind
    }
    /// Any static kind, including literals.
    pub fn is_static(&self) -> bool {
        self.kind != FieldKind::Instance
    }
    /// `[ThreadStatic]`.
    pub fn is_thread_static(&self) -> bool {
        self.kind == FieldKind::ThreadStatic
    }
    /// Constant without storage.
    pub fn is_literal(&self) -> bool {
        self.kind == FieldKind::Literal
    }
    /// `readonly`.
    pub fn is_init_only(&self) -> bool {
        self.attributes.contains(FieldAttributes::INIT_ONLY)
    }

    /// Byte offset. Instance fields: relative to the first byte of the value, or for classes to the first
    /// byte after the MethodTable pointer; see [`object_offset`](Self::object_offset). Statics: relative to
    /// the base of the type's storage, valid after `ensure_statics`.
    pub fn offset(&self) -> u32 {
        self.offset.load(Ordering::Acquire)
    }

    /// Byte offset of an instance field from the object pointer (of a boxed value for value types).
    pub fn object_offset(&self) -> u32 {
        self.offset() + 8
    }

    /// Kind in the signature as far as known without loading the type: reference kinds are `Class`,
    /// enums and structs `ValueType`.
    pub fn element_type(&self) -> ElementType {
        self.element
    }

    /// Exact type of the field (loads it).
    pub fn field_type(&self) -> Result<TypeHandle> {
        if let Some(t) = self.ty.get() {
            return Ok(*t);
        }
        let t = crate::type_loader::load_field_type(self)?;
        let _ = self.ty.set(t);
        Ok(t)
    }
}

impl PartialEq for FieldDesc {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
impl Eq for FieldDesc {}
impl std::fmt::Debug for FieldDesc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}::{}", self.owner.handle().display_name(), self.name)
    }
}
