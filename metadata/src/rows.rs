//! Typed rows of the metadata tables (ECMA-335 II.22).
//!
//! A *coded* index becomes a [`Token`] (nil where the column may be empty), an index into one table becomes a row
//! number, a list becomes a range of row numbers (end exclusive). References are checked to exist before a row is
//! returned, so following one cannot fail for being out of range.

use crate::flags::*;
use crate::heaps::{BlobIdx, StringIdx};
use crate::token::Token;
use std::ops::Range;

/// The module row (ECMA-335 II.22.30).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleRow<'a> {
    /// Reserved, 0.
    pub generation: u16,
    /// File name.
    pub name: &'a str,
    /// Identity of this build of the module.
    pub mvid: [u8; 16],
}

/// A type of another module (ECMA-335 II.22.38).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeRefRow<'a> {
    /// Module, ModuleRef, AssemblyRef, or the TypeRef of the enclosing type; nil: look in ExportedType.
    pub resolution_scope: Token,
    /// Name.
    pub name: &'a str,
    /// Namespace, empty for none.
    pub namespace: &'a str,
}

/// A type defined here (ECMA-335 II.22.37).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeDefRow<'a> {
    /// Flags.
    pub flags: TypeAttributes,
    /// Name.
    pub name: &'a str,
    /// Namespace, empty for none and for nested types.
    pub namespace: &'a str,
    /// Base type (TypeDef, TypeRef, TypeSpec), nil for none.
    pub extends: Token,
    /// Its Field rows.
    pub field_list: Range<u32>,
    /// Its MethodDef rows.
    pub method_list: Range<u32>,
}

/// A field (ECMA-335 II.22.15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRow<'a> {
    /// Flags.
    pub flags: FieldAttributes,
    /// Name.
    pub name: &'a str,
    /// Signature, see [`crate::sig::parse_field`].
    pub signature: &'a [u8],
}

/// A method (ECMA-335 II.22.26).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodDefRow<'a> {
    /// RVA of the body, 0 for none.
    pub rva: u32,
    /// Implementation flags.
    pub impl_flags: MethodImplAttributes,
    /// Flags.
    pub flags: MethodAttributes,
    /// Name.
    pub name: &'a str,
    /// Signature, see [`crate::sig::parse_method`].
    pub signature: &'a [u8],
    /// Its Param rows.
    pub param_list: Range<u32>,
}

/// What loading a type needs of a method row (ECMA-335 II.22.26); the indices lie inside their heaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodDefCells {
    /// Implementation flags.
    pub impl_flags: MethodImplAttributes,
    /// Flags.
    pub flags: MethodAttributes,
    /// Name.
    pub name: StringIdx,
    /// Signature, see [`crate::sig::parse_method`].
    pub signature: BlobIdx,
}

/// A parameter (ECMA-335 II.22.33).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamRow<'a> {
    /// Flags.
    pub flags: ParamAttributes,
    /// 1-based position; 0 is the return value.
    pub sequence: u16,
    /// Name.
    pub name: &'a str,
}

/// An interface a type implements (ECMA-335 II.22.23).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceImplRow {
    /// TypeDef row.
    pub class: u32,
    /// The interface (TypeDef, TypeRef, TypeSpec).
    pub interface: Token,
}

/// A member of another type (ECMA-335 II.22.25).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRefRow<'a> {
    /// Owner (TypeDef, TypeRef, ModuleRef, MethodDef, TypeSpec).
    pub class: Token,
    /// Name.
    pub name: &'a str,
    /// Field or method signature, see [`crate::sig::is_field`].
    pub signature: &'a [u8],
}

/// A compile-time constant (ECMA-335 II.22.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConstantRow<'a> {
    /// ELEMENT_TYPE of the value; 0x12 (CLASS) is null.
    pub ty: u8,
    /// Field, Param or Property.
    pub parent: Token,
    /// Little-endian value; UTF-16 for strings.
    pub value: &'a [u8],
}

/// A custom attribute (ECMA-335 II.22.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomAttributeRow<'a> {
    /// What it is applied to.
    pub parent: Token,
    /// Its constructor (MethodDef or MemberRef).
    pub ctor: Token,
    /// Arguments, see [`crate::attribute`].
    pub value: &'a [u8],
}

/// A marshalling descriptor (ECMA-335 II.22.17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMarshalRow<'a> {
    /// Field or Param.
    pub parent: Token,
    /// Descriptor (II.23.4).
    pub native_type: &'a [u8],
}

/// Declarative security (ECMA-335 II.22.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclSecurityRow<'a> {
    /// Action.
    pub action: u16,
    /// TypeDef, MethodDef or Assembly.
    pub parent: Token,
    /// Permission set.
    pub permission_set: &'a [u8],
}

/// Packing and size of a class (ECMA-335 II.22.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassLayoutRow {
    /// Packing in bytes, 0 for the default.
    pub packing_size: u16,
    /// Minimal size in bytes.
    pub class_size: u32,
    /// TypeDef row.
    pub parent: u32,
}

/// An explicit field offset (ECMA-335 II.22.16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldLayoutRow {
    /// Offset in bytes.
    pub offset: u32,
    /// Field row.
    pub field: u32,
}

/// A signature of locals or for `calli` (ECMA-335 II.22.36).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandAloneSigRow<'a> {
    /// Signature.
    pub signature: &'a [u8],
}

/// The events of a type (ECMA-335 II.22.12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventMapRow {
    /// TypeDef row.
    pub parent: u32,
    /// Its Event rows.
    pub event_list: Range<u32>,
}

/// An event (ECMA-335 II.22.13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow<'a> {
    /// Flags.
    pub flags: EventAttributes,
    /// Name.
    pub name: &'a str,
    /// Delegate type.
    pub event_type: Token,
}

/// The properties of a type (ECMA-335 II.22.35).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyMapRow {
    /// TypeDef row.
    pub parent: u32,
    /// Its Property rows.
    pub property_list: Range<u32>,
}

/// A property (ECMA-335 II.22.34).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyRow<'a> {
    /// Flags.
    pub flags: PropertyAttributes,
    /// Name.
    pub name: &'a str,
    /// Signature, see [`crate::sig::parse_property`].
    pub signature: &'a [u8],
}

/// An accessor (ECMA-335 II.22.28).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodSemanticsRow {
    /// Role.
    pub semantics: MethodSemanticsAttributes,
    /// MethodDef row.
    pub method: u32,
    /// Event or Property.
    pub association: Token,
}

/// An explicit override (ECMA-335 II.22.27).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodImplRow {
    /// TypeDef row.
    pub class: u32,
    /// Implementing method.
    pub body: Token,
    /// Method that is overridden.
    pub declaration: Token,
}

/// Another module or a native library (ECMA-335 II.22.31).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleRefRow<'a> {
    /// Name.
    pub name: &'a str,
}

/// A constructed type (ECMA-335 II.22.39).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeSpecRow<'a> {
    /// Signature, see [`crate::sig::parse_type_spec`].
    pub signature: &'a [u8],
}

/// A P/Invoke target (ECMA-335 II.22.22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImplMapRow<'a> {
    /// Flags.
    pub mapping_flags: PInvokeAttributes,
    /// MethodDef (or Field).
    pub member_forwarded: Token,
    /// Name in the library; empty: the method's name.
    pub import_name: &'a str,
    /// ModuleRef row, 0 for none.
    pub import_scope: u32,
}

/// Initial data of a static field (ECMA-335 II.22.18).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRvaRow {
    /// RVA of the data.
    pub rva: u32,
    /// Field row.
    pub field: u32,
}

/// A referenced assembly (ECMA-335 II.22.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssemblyRefRow<'a> {
    /// Major, minor, build, revision.
    pub version: (u16, u16, u16, u16),
    /// Flags.
    pub flags: AssemblyFlags,
    /// Public key or its token, by the flags; empty for none.
    pub public_key_or_token: &'a [u8],
    /// Simple name.
    pub name: &'a str,
    /// Culture, empty for neutral.
    pub culture: &'a str,
    /// Hash of the file, usually empty.
    pub hash: &'a [u8],
}

/// Another file of the assembly (ECMA-335 II.22.19).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow<'a> {
    /// Flags.
    pub flags: FileAttributes,
    /// File name.
    pub name: &'a str,
    /// Hash of the file.
    pub hash: &'a [u8],
}

/// A type of another module that the assembly exports, or a forwarder (ECMA-335 II.22.14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedTypeRow<'a> {
    /// Flags.
    pub flags: TypeAttributes,
    /// Hint: TypeDef token in the other module.
    pub type_def_id: u32,
    /// Name.
    pub name: &'a str,
    /// Namespace.
    pub namespace: &'a str,
    /// File, AssemblyRef (forwarder) or the ExportedType that encloses it.
    pub implementation: Token,
}

/// A resource (ECMA-335 II.22.24).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestResourceRow<'a> {
    /// Offset in the resources of the image or file.
    pub offset: u32,
    /// Flags.
    pub flags: ManifestResourceAttributes,
    /// Name.
    pub name: &'a str,
    /// File or AssemblyRef that holds it; nil: this image.
    pub implementation: Token,
}

/// A nested type (ECMA-335 II.22.32).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NestedClassRow {
    /// TypeDef row of the nested type.
    pub nested: u32,
    /// TypeDef row of the type around it.
    pub enclosing: u32,
}

/// A generic parameter (ECMA-335 II.22.20).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenericParamRow<'a> {
    /// 0-based position.
    pub number: u16,
    /// Variance and special constraints.
    pub flags: GenericParamAttributes,
    /// TypeDef or MethodDef.
    pub owner: Token,
    /// Name.
    pub name: &'a str,
}

/// An instantiation of a generic method (ECMA-335 II.22.29).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodSpecRow<'a> {
    /// MethodDef or MemberRef.
    pub method: Token,
    /// Arguments, see [`crate::sig::parse_method_spec`].
    pub instantiation: &'a [u8],
}

/// A constraint of a generic parameter (ECMA-335 II.22.21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenericParamConstraintRow {
    /// GenericParam row.
    pub owner: u32,
    /// Type it must derive from or implement.
    pub constraint: Token,
}

/// The manifest (ECMA-335 II.22.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssemblyRow<'a> {
    /// Hash algorithm of the File rows (0x8004: SHA-1).
    pub hash_algorithm: u32,
    /// Major, minor, build, revision.
    pub version: (u16, u16, u16, u16),
    /// Flags.
    pub flags: AssemblyFlags,
    /// Public key, empty for none.
    pub public_key: &'a [u8],
    /// Simple name.
    pub name: &'a str,
    /// Culture, empty for neutral.
    pub culture: &'a str,
}
