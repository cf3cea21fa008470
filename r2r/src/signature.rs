//! Signatures of types, methods and fields: those of ECMA-335 (II.23.2) with additions of ReadyToRun.

use bitflags::bitflags;
use corten_metadata::{TableId, Token};

use crate::error::{Fault, Result};
use crate::reader::Reader;

/// Compilers of the framework nest a few levels; this many are never needed.
const MAX_DEPTH: u32 = 64;

/// A type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TypeSig {
    /// A type with an element type of its own, from `void` to `object`.
    Primitive(Primitive),
    /// `System.__Canon`: any reference type.
    Canon,
    /// A class by its token (TypeDef, TypeRef or TypeSpec).
    Class(Token),
    /// A value type by its token.
    ValueType(Token),
    /// A generic type with arguments.
    Generic {
        /// The definition: [`TypeSig::Class`] or [`TypeSig::ValueType`], perhaps [`TypeSig::InModule`].
        definition: Box<TypeSig>,
        /// The arguments.
        arguments: Vec<TypeSig>,
    },
    /// Type parameter of the generic type.
    Var(u32),
    /// Type parameter of the generic method.
    MVar(u32),
    /// Unmanaged pointer.
    Pointer(Box<TypeSig>),
    /// Managed pointer.
    ByRef(Box<TypeSig>),
    /// Array with one dimension from 0.
    SzArray(Box<TypeSig>),
    /// Any other array.
    Array {
        /// Element type.
        element: Box<TypeSig>,
        /// Dimensions.
        rank: u32,
        /// Sizes of the first dimensions.
        sizes: Vec<u32>,
        /// Lower bounds of the first dimensions, as compressed.
        lower_bounds: Vec<u32>,
    },
    /// Function pointer.
    FnPtr {
        /// Calling convention byte.
        convention: u8,
        /// Type parameters.
        type_parameters: u32,
        /// Return type, then parameters.
        types: Vec<TypeSig>,
    },
    /// A custom modifier.
    Modified {
        /// `modreq`.
        required: bool,
        /// The modifier.
        modifier: Token,
        /// The modified type.
        inner: Box<TypeSig>,
    },
    /// A pinned local.
    Pinned(Box<TypeSig>),
    /// Tokens within belong to another module, by its index among the assembly references and those of the manifest.
    InModule {
        /// Index of the module.
        module: u32,
        /// The type.
        inner: Box<TypeSig>,
    },
}

/// Types with an element type of their own.
#[allow(missing_docs)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Primitive {
    Void,
    Boolean,
    Char,
    SByte,
    Byte,
    Int16,
    UInt16,
    Int32,
    UInt32,
    Int64,
    UInt64,
    Single,
    Double,
    String,
    TypedReference,
    IntPtr,
    UIntPtr,
    Object,
}

impl Primitive {
    fn from_element_type(element: u8) -> Option<Self> {
        Some(match element {
            0x01 => Self::Void,
            0x02 => Self::Boolean,
            0x03 => Self::Char,
            0x04 => Self::SByte,
            0x05 => Self::Byte,
            0x06 => Self::Int16,
            0x07 => Self::UInt16,
            0x08 => Self::Int32,
            0x09 => Self::UInt32,
            0x0A => Self::Int64,
            0x0B => Self::UInt64,
            0x0C => Self::Single,
            0x0D => Self::Double,
            0x0E => Self::String,
            0x16 => Self::TypedReference,
            0x18 => Self::IntPtr,
            0x19 => Self::UIntPtr,
            0x1C => Self::Object,
            _ => return None,
        })
    }

    /// Name of the type in the namespace `System`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Void => "Void",
            Self::Boolean => "Boolean",
            Self::Char => "Char",
            Self::SByte => "SByte",
            Self::Byte => "Byte",
            Self::Int16 => "Int16",
            Self::UInt16 => "UInt16",
            Self::Int32 => "Int32",
            Self::UInt32 => "UInt32",
            Self::Int64 => "Int64",
            Self::UInt64 => "UInt64",
            Self::Single => "Single",
            Self::Double => "Double",
            Self::String => "String",
            Self::TypedReference => "TypedReference",
            Self::IntPtr => "IntPtr",
            Self::UIntPtr => "UIntPtr",
            Self::Object => "Object",
        }
    }
}

/// `TypeDefOrRef` coded token (ECMA-335 II.23.2.8).
fn type_token(reader: &mut Reader<'_>) -> Result<Token> {
    let at = *reader;
    let coded = reader.compressed()?;
    let table = match coded & 3 {
        0 => TableId::TypeDef,
        1 => TableId::TypeRef,
        2 => TableId::TypeSpec,
        _ => return Err(at.error(Fault::Value(coded))),
    };
    Ok(Token::new(table, coded >> 2))
}

impl TypeSig {
    /// Reads a type at the cursor.
    ///
    /// # Errors
    /// The data ends too soon, or is no type.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Self::read_nested(reader, 0)
    }

    fn list(reader: &mut Reader<'_>, count: u32, depth: u32) -> Result<Vec<Self>> {
        // No capacity in advance: the count may be a lie.
        let mut types = Vec::new();
        for _ in 0..count {
            types.push(Self::read_nested(reader, depth)?);
        }
        Ok(types)
    }

    fn read_nested(reader: &mut Reader<'_>, depth: u32) -> Result<Self> {
        let at = *reader;
        if depth > MAX_DEPTH {
            return Err(at.error(Fault::Depth));
        }
        let element = reader.u8()?;
        let inner = |reader: &mut Reader<'_>| Self::read_nested(reader, depth + 1).map(Box::new);
        Ok(match element {
            0x0F => Self::Pointer(inner(reader)?),
            0x10 => Self::ByRef(inner(reader)?),
            0x11 => Self::ValueType(type_token(reader)?),
            0x12 => Self::Class(type_token(reader)?),
            0x13 => Self::Var(reader.compressed()?),
            0x14 => {
                let element = inner(reader)?;
                let rank = reader.compressed()?;
                let mut numbers = || {
                    let count = reader.compressed()?;
                    (0..count).map(|_| reader.compressed()).collect::<Result<Vec<_>>>()
                };
                Self::Array {
                    element,
                    rank,
                    sizes: numbers()?,
                    lower_bounds: numbers()?,
                }
            }
            0x15 => {
                let definition = inner(reader)?;
                let count = reader.compressed()?;
                Self::Generic {
                    definition,
                    arguments: Self::list(reader, count, depth + 1)?,
                }
            }
            0x1B => {
                let convention = reader.u8()?;
                let type_parameters = if convention & 0x10 != 0 {
                    reader.compressed()?
                } else {
                    0
                };
                let count = reader.compressed()?;
                Self::FnPtr {
                    convention,
                    type_parameters,
                    types: Self::list(reader, count.saturating_add(1), depth + 1)?,
                }
            }
            0x1D => Self::SzArray(inner(reader)?),
            0x1E => Self::MVar(reader.compressed()?),
            0x1F | 0x20 => Self::Modified {
                required: element == 0x1F,
                modifier: type_token(reader)?,
                inner: inner(reader)?,
            },
            0x3E => Self::Canon,
            0x3F => Self::InModule {
                module: reader.compressed()?,
                inner: inner(reader)?,
            },
            0x45 => Self::Pinned(inner(reader)?),
            other => {
                let primitive = Primitive::from_element_type(other);
                Self::Primitive(primitive.ok_or_else(|| at.error(Fault::Value(other.into())))?)
            }
        })
    }
}

bitflags! {
    /// `ReadyToRunMethodSigFlags`.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct MethodFlags: u32 {
        /// The entry that takes a boxed value.
        const UNBOXING_STUB = 0x01;
        /// The entry that passes the exact instantiation to shared code.
        const INSTANTIATING_STUB = 0x02;
        /// Arguments of the generic method follow.
        const METHOD_INSTANTIATION = 0x04;
        /// The number is a slot, not a token.
        const SLOT_INSTEAD_OF_TOKEN = 0x08;
        /// The number is a row of MemberRef, not of MethodDef.
        const MEMBER_REF_TOKEN = 0x10;
        /// A type that constrains the call follows.
        const CONSTRAINED = 0x20;
        /// The type that has the method comes before the number.
        const OWNER_TYPE = 0x40;
        /// Tokens belong to another module, whose index comes first.
        const UPDATE_CONTEXT = 0x80;
    }
}

/// A method.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MethodSig {
    /// What is there and what it is.
    pub flags: MethodFlags,
    /// Index of the module that the tokens belong to, if it is not the image's.
    pub module: Option<u32>,
    /// The type that has the method, where the token does not tell enough.
    pub owner: Option<TypeSig>,
    /// The method, or its slot.
    pub method: MethodId,
    /// Arguments of the generic method.
    pub instantiation: Vec<TypeSig>,
    /// The type that constrains a call.
    pub constrained: Option<TypeSig>,
}

/// How a [`MethodSig`] names its method.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MethodId {
    /// MethodDef or MemberRef.
    Token(Token),
    /// Slot of the owner.
    Slot(u32),
}

impl MethodSig {
    /// A method that its token alone tells.
    pub fn of_token(token: Token) -> Self {
        Self {
            flags: MethodFlags::empty(),
            module: None,
            owner: None,
            method: MethodId::Token(token),
            instantiation: Vec::new(),
            constrained: None,
        }
    }

    /// Reads a method at the cursor.
    ///
    /// # Errors
    /// The data ends too soon, or is no method.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let at = *reader;
        let bits = reader.compressed()?;
        let flags = MethodFlags::from_bits(bits).ok_or_else(|| at.error(Fault::Value(bits)))?;
        let module = flags
            .contains(MethodFlags::UPDATE_CONTEXT)
            .then(|| reader.compressed())
            .transpose()?;
        let owner = flags
            .contains(MethodFlags::OWNER_TYPE)
            .then(|| TypeSig::read(reader))
            .transpose()?;
        let number = reader.compressed()?;
        let method = if flags.contains(MethodFlags::SLOT_INSTEAD_OF_TOKEN) {
            MethodId::Slot(number)
        } else if flags.contains(MethodFlags::MEMBER_REF_TOKEN) {
            MethodId::Token(Token::new(TableId::MemberRef, number))
        } else {
            MethodId::Token(Token::new(TableId::MethodDef, number))
        };
        let instantiation = if flags.contains(MethodFlags::METHOD_INSTANTIATION) {
            let count = reader.compressed()?;
            TypeSig::list(reader, count, 0)?
        } else {
            Vec::new()
        };
        let constrained = flags
            .contains(MethodFlags::CONSTRAINED)
            .then(|| TypeSig::read(reader))
            .transpose()?;
        Ok(Self {
            flags,
            module,
            owner,
            method,
            instantiation,
            constrained,
        })
    }
}

/// A field.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FieldSig {
    /// The type that has the field, where the token does not tell enough.
    pub owner: Option<TypeSig>,
    /// Field or MemberRef.
    pub field: Token,
}

/// `ReadyToRunFieldSigFlags`.
const FIELD_MEMBER_REF: u32 = 0x10;
const FIELD_OWNER_TYPE: u32 = 0x40;

impl FieldSig {
    /// Reads a field at the cursor.
    ///
    /// # Errors
    /// The data ends too soon, or is no field.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let at = *reader;
        let flags = reader.compressed()?;
        if flags & !(FIELD_MEMBER_REF | FIELD_OWNER_TYPE) != 0 {
            return Err(at.error(Fault::Value(flags)));
        }
        let owner = if flags & FIELD_OWNER_TYPE != 0 {
            Some(TypeSig::read(reader)?)
        } else {
            None
        };
        let table = if flags & FIELD_MEMBER_REF != 0 {
            TableId::MemberRef
        } else {
            TableId::Field
        };
        Ok(Self {
            owner,
            field: Token::new(table, reader.compressed()?),
        })
    }
}
