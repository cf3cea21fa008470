//! Signatures (ECMA-335 II.23.2).
//!
//! A [`SigReader`] walks a blob; the `parse_*` functions read a whole signature. Nesting is limited to [`MAX_DEPTH`]
//! and the number of types in one signature to [`MAX_NODES`], so memory and stack are bounded whatever the blob says.

use crate::bytes::{compressed_i32, compressed_u32, u64_at};
use crate::token::{TableId, Token};

/// Deepest nesting of types in a signature.
pub const MAX_DEPTH: u32 = 256;
/// Most types in one signature.
pub const MAX_NODES: u32 = 1 << 18;
/// Most parameters, locals or generic arguments in one list.
pub const MAX_COUNT: u32 = 0xffff;
/// Highest rank of an array, as in the reference runtime.
pub const MAX_RANK: u32 = 32;

/// A type in a signature (ECMA-335 II.23.2.12).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TypeSig {
    /// `void`
    Void,
    /// `bool`
    Boolean,
    /// `char`
    Char,
    /// `int8`
    I1,
    /// `unsigned int8`
    U1,
    /// `int16`
    I2,
    /// `unsigned int16`
    U2,
    /// `int32`
    I4,
    /// `unsigned int32`
    U4,
    /// `int64`
    I8,
    /// `unsigned int64`
    U8,
    /// `float32`
    R4,
    /// `float64`
    R8,
    /// `native int`
    I,
    /// `native unsigned int`
    U,
    /// `string`
    String,
    /// `object`
    Object,
    /// `typedref`
    TypedByRef,
    /// A reference type (TypeDef or TypeRef).
    Class(Token),
    /// A value type (TypeDef or TypeRef).
    ValueType(Token),
    /// An instance of a generic type.
    GenericInst {
        /// Whether the definition is a value type.
        is_value_type: bool,
        /// The generic type definition.
        definition: Token,
        /// Type arguments, at least one.
        args: Vec<TypeSig>,
    },
    /// Generic parameter of the type.
    Var(u32),
    /// Generic parameter of the method.
    MVar(u32),
    /// Unmanaged pointer.
    Ptr(Box<TypeSig>),
    /// Managed pointer.
    ByRef(Box<TypeSig>),
    /// One-dimensional zero-based array.
    SzArray(Box<TypeSig>),
    /// General array.
    Array {
        /// Element type.
        element: Box<TypeSig>,
        /// Rank and bounds.
        shape: ArrayShape,
    },
    /// Function pointer.
    FnPtr(Box<MethodSig>),
    /// Pinned local.
    Pinned(Box<TypeSig>),
    /// Custom modifier.
    Modified {
        /// `modreq` rather than `modopt`.
        required: bool,
        /// Modifier type.
        modifier: Token,
        /// Modified type.
        inner: Box<TypeSig>,
    },
    /// A type handle of the running process (ELEMENT_TYPE_INTERNAL); occurs in dynamic methods only.
    Internal(u64),
}

impl TypeSig {
    /// The type without custom modifiers around it.
    pub fn strip_modifiers(&self) -> &TypeSig {
        let mut t = self;
        while let TypeSig::Modified { inner, .. } = t {
            t = inner;
        }
        t
    }

    /// Calls `f` for every token in the type, modifiers and function pointers included.
    pub fn for_each_token(&self, f: &mut dyn FnMut(Token)) {
        match self {
            TypeSig::Class(t) | TypeSig::ValueType(t) => f(*t),
            TypeSig::GenericInst { definition, args, .. } => {
                f(*definition);
                args.iter().for_each(|a| a.for_each_token(f));
            }
            TypeSig::Ptr(t) | TypeSig::ByRef(t) | TypeSig::SzArray(t) | TypeSig::Pinned(t) => t.for_each_token(f),
            TypeSig::Array { element, .. } => element.for_each_token(f),
            TypeSig::FnPtr(m) => m.for_each_token(f),
            TypeSig::Modified { modifier, inner, .. } => {
                f(*modifier);
                inner.for_each_token(f);
            }
            _ => {}
        }
    }
}

/// Shape of a general array (ECMA-335 II.23.2.13).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArrayShape {
    /// Number of dimensions, 1 to [`MAX_RANK`].
    pub rank: u32,
    /// Sizes of the first dimensions.
    pub sizes: Vec<u32>,
    /// Lower bounds of the first dimensions.
    pub lower_bounds: Vec<i32>,
}

/// Calling convention of a method signature (ECMA-335 II.23.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CallingConvention {
    /// Managed, fixed arguments.
    Default = 0,
    /// Unmanaged cdecl.
    C = 1,
    /// Unmanaged stdcall.
    StdCall = 2,
    /// Unmanaged thiscall.
    ThisCall = 3,
    /// Unmanaged fastcall.
    FastCall = 4,
    /// Managed, variable arguments.
    VarArg = 5,
    /// Unmanaged; modifiers of the return type say which.
    Unmanaged = 9,
}

/// A method signature (ECMA-335 II.23.2.1 to II.23.2.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MethodSig {
    /// Calling convention.
    pub calling_convention: CallingConvention,
    /// HASTHIS: there is a `this` argument.
    pub has_this: bool,
    /// EXPLICITTHIS: `params[0]` is `this`.
    pub explicit_this: bool,
    /// Number of generic parameters, 0 if the method is not generic.
    pub generic_param_count: u32,
    /// Return type.
    pub ret: TypeSig,
    /// Parameter types, without an implicit `this`.
    pub params: Vec<TypeSig>,
    /// Index in `params` of the first variable argument, at a vararg call site.
    pub sentinel: Option<usize>,
}

impl MethodSig {
    /// Calls `f` for every token in the signature.
    pub fn for_each_token(&self, f: &mut dyn FnMut(Token)) {
        self.ret.for_each_token(f);
        self.params.iter().for_each(|p| p.for_each_token(f));
    }
}

/// A property signature (ECMA-335 II.23.2.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PropertySig {
    /// Whether the accessors are instance methods.
    pub has_this: bool,
    /// Type of the property.
    pub ty: TypeSig,
    /// Index parameters.
    pub params: Vec<TypeSig>,
}

/// A malformed signature: what, and the byte offset in the blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset} of the signature")]
pub struct SigError {
    /// Byte offset in the blob.
    pub offset: usize,
    /// What is wrong.
    pub kind: SigErrorKind,
}

/// What can be wrong with a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigErrorKind {
    /// The blob ends too early.
    #[error("unexpected end")]
    End,
    /// A malformed compressed integer.
    #[error("malformed compressed integer")]
    Compressed,
    /// The first byte is not the one this kind of signature begins with.
    #[error("signature header {0:#04x} where {1} was expected")]
    Header(u8, &'static str),
    /// Not an element type, or one that cannot stand here.
    #[error("element type {0:#04x} is not valid here")]
    ElementType(u8),
    /// Types are nested too deeply.
    #[error("types nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// A count is larger than allowed or than the blob can hold.
    #[error("count {0} is too large")]
    Count(u32),
    /// A token's tag or row is not valid.
    #[error("invalid type token {0:#x}")]
    Token(u32),
    /// A rank outside 1 to [`MAX_RANK`], or more bounds than dimensions.
    #[error("invalid array shape")]
    ArrayShape,
    /// A second sentinel, or one where no variable arguments are allowed.
    #[error("misplaced sentinel")]
    Sentinel,
}

type Result<T> = std::result::Result<T, SigError>;

mod element {
    pub const VOID: u8 = 0x01;
    pub const PTR: u8 = 0x0f;
    pub const BYREF: u8 = 0x10;
    pub const VALUETYPE: u8 = 0x11;
    pub const CLASS: u8 = 0x12;
    pub const VAR: u8 = 0x13;
    pub const ARRAY: u8 = 0x14;
    pub const GENERICINST: u8 = 0x15;
    pub const TYPEDBYREF: u8 = 0x16;
    pub const FNPTR: u8 = 0x1b;
    pub const SZARRAY: u8 = 0x1d;
    pub const MVAR: u8 = 0x1e;
    pub const CMOD_REQD: u8 = 0x1f;
    pub const CMOD_OPT: u8 = 0x20;
    pub const INTERNAL: u8 = 0x21;
    pub const SENTINEL: u8 = 0x41;
    pub const PINNED: u8 = 0x45;
}

const FIELD: u8 = 0x06;
const LOCALS: u8 = 0x07;
const PROPERTY: u8 = 0x08;
const METHOD_SPEC: u8 = 0x0a;
const GENERIC: u8 = 0x10;
const HAS_THIS: u8 = 0x20;
const EXPLICIT_THIS: u8 = 0x40;

/// What may stand at a place in a signature besides ordinary types.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allow {
    /// `void` anywhere: whether it makes sense there is for the user of the signature to say, as in CoreCLR.
    Plain,
    /// `pinned` too: locals.
    Pinned,
}

/// Incremental reader of a signature blob.
#[derive(Clone, Debug)]
pub struct SigReader<'a> {
    blob: &'a [u8],
    at: usize,
    depth: u32,
    nodes: u32,
}

impl<'a> SigReader<'a> {
    /// A reader at the start of `blob`.
    pub fn new(blob: &'a [u8]) -> SigReader<'a> {
        SigReader {
            blob,
            at: 0,
            depth: 0,
            nodes: 0,
        }
    }

    /// Offset of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Whether all bytes are consumed.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.blob.len()
    }

    fn error<T>(&self, offset: usize, kind: SigErrorKind) -> Result<T> {
        Err(SigError { offset, kind })
    }

    /// The next byte, not consumed.
    pub fn peek(&self) -> Result<u8> {
        match self.blob.get(self.at) {
            Some(b) => Ok(*b),
            None => self.error(self.at, SigErrorKind::End),
        }
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8> {
        let b = self.peek()?;
        self.at += 1;
        Ok(b)
    }

    fn compressed<T>(&mut self, decode: fn(&[u8]) -> Option<(T, usize)>) -> Result<T> {
        let rest = self.blob.get(self.at..).unwrap_or(&[]);
        match decode(rest) {
            Some((value, used)) => {
                self.at += used;
                Ok(value)
            }
            None if rest.is_empty() => self.error(self.at, SigErrorKind::End),
            None => self.error(self.at, SigErrorKind::Compressed),
        }
    }

    /// A compressed unsigned integer.
    pub fn unsigned(&mut self) -> Result<u32> {
        self.compressed(compressed_u32)
    }

    /// A compressed signed integer.
    pub fn signed(&mut self) -> Result<i32> {
        self.compressed(compressed_i32)
    }

    /// A count of items that take at least one byte each.
    fn count(&mut self) -> Result<u32> {
        let at = self.at;
        let n = self.unsigned()?;
        if n > MAX_COUNT || n as usize > self.blob.len() - self.at {
            return self.error(at, SigErrorKind::Count(n));
        }
        Ok(n)
    }

    /// A TypeDefOrRefOrSpecEncoded token (II.23.2.8).
    pub fn type_token(&mut self) -> Result<Token> {
        let at = self.at;
        let raw = self.unsigned()?;
        let table = match raw & 3 {
            0 => TableId::TypeDef,
            1 => TableId::TypeRef,
            2 => TableId::TypeSpec,
            _ => return self.error(at, SigErrorKind::Token(raw)),
        };
        let rid = raw >> 2;
        if rid == 0 || rid > 0x00ff_ffff {
            return self.error(at, SigErrorKind::Token(raw));
        }
        Ok(Token::new(table, rid))
    }

    /// A type token after CLASS, VALUETYPE or GENERICINST: the reference runtime takes no TypeSpec there.
    fn named_type(&mut self) -> Result<Token> {
        let at = self.at;
        let token = self.type_token()?;
        if token.is(TableId::TypeSpec) {
            self.error(at, SigErrorKind::Token(token.0))
        } else {
            Ok(token)
        }
    }

    /// A type that may stand as a field, parameter, element or argument.
    pub fn ty(&mut self) -> Result<TypeSig> {
        self.type_in(Allow::Plain)
    }

    /// A return type.
    pub fn return_type(&mut self) -> Result<TypeSig> {
        self.type_in(Allow::Plain)
    }

    /// The type of a local: `pinned` too.
    pub fn local_type(&mut self) -> Result<TypeSig> {
        self.type_in(Allow::Pinned)
    }

    fn type_in(&mut self, allow: Allow) -> Result<TypeSig> {
        if self.depth == MAX_DEPTH {
            return self.error(self.at, SigErrorKind::TooDeep);
        }
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return self.error(self.at, SigErrorKind::Count(self.nodes));
        }
        self.depth += 1;
        let result = self.type_inner(allow);
        self.depth -= 1;
        result
    }

    fn boxed(&mut self, allow: Allow) -> Result<Box<TypeSig>> {
        self.type_in(allow).map(Box::new)
    }

    fn type_inner(&mut self, allow: Allow) -> Result<TypeSig> {
        let at = self.at;
        let code = self.byte()?;
        Ok(match code {
            element::VOID => TypeSig::Void,
            0x02 => TypeSig::Boolean,
            0x03 => TypeSig::Char,
            0x04 => TypeSig::I1,
            0x05 => TypeSig::U1,
            0x06 => TypeSig::I2,
            0x07 => TypeSig::U2,
            0x08 => TypeSig::I4,
            0x09 => TypeSig::U4,
            0x0a => TypeSig::I8,
            0x0b => TypeSig::U8,
            0x0c => TypeSig::R4,
            0x0d => TypeSig::R8,
            0x0e => TypeSig::String,
            element::PTR => TypeSig::Ptr(self.boxed(Allow::Plain)?),
            element::BYREF => TypeSig::ByRef(self.boxed(Allow::Plain)?),
            element::VALUETYPE => TypeSig::ValueType(self.named_type()?),
            element::CLASS => TypeSig::Class(self.named_type()?),
            element::VAR => TypeSig::Var(self.unsigned()?),
            element::MVAR => TypeSig::MVar(self.unsigned()?),
            element::ARRAY => {
                let element = self.boxed(Allow::Plain)?;
                TypeSig::Array {
                    element,
                    shape: self.array_shape()?,
                }
            }
            element::GENERICINST => self.generic_inst()?,
            element::TYPEDBYREF => TypeSig::TypedByRef,
            0x18 => TypeSig::I,
            0x19 => TypeSig::U,
            element::FNPTR => TypeSig::FnPtr(Box::new(self.method()?)),
            0x1c => TypeSig::Object,
            element::SZARRAY => TypeSig::SzArray(self.boxed(Allow::Plain)?),
            element::CMOD_REQD | element::CMOD_OPT => {
                let modifier = self.type_token()?;
                let inner = self.boxed(allow)?;
                TypeSig::Modified {
                    required: code == element::CMOD_REQD,
                    modifier,
                    inner,
                }
            }
            element::INTERNAL => match u64_at(self.blob, self.at) {
                Some(handle) => {
                    self.at += 8;
                    TypeSig::Internal(handle)
                }
                None => return self.error(self.at, SigErrorKind::End),
            },
            element::PINNED if allow == Allow::Pinned => TypeSig::Pinned(self.boxed(Allow::Pinned)?),
            _ => return self.error(at, SigErrorKind::ElementType(code)),
        })
    }

    fn generic_inst(&mut self) -> Result<TypeSig> {
        let at = self.at;
        let is_value_type = match self.byte()? {
            element::CLASS => false,
            element::VALUETYPE => true,
            other => return self.error(at, SigErrorKind::ElementType(other)),
        };
        let definition = self.named_type()?;
        let args = self.generic_args()?;
        Ok(TypeSig::GenericInst {
            is_value_type,
            definition,
            args,
        })
    }

    fn generic_args(&mut self) -> Result<Vec<TypeSig>> {
        let at = self.at;
        let count = self.count()?;
        if count == 0 {
            return self.error(at, SigErrorKind::Count(0));
        }
        (0..count).map(|_| self.ty()).collect()
    }

    fn array_shape(&mut self) -> Result<ArrayShape> {
        let at = self.at;
        let rank = self.unsigned()?;
        if rank == 0 || rank > MAX_RANK {
            return self.error(at, SigErrorKind::ArrayShape);
        }
        let bounded = |this: &mut Self| -> Result<u32> {
            let n = this.unsigned()?;
            if n > rank {
                this.error(at, SigErrorKind::ArrayShape)
            } else {
                Ok(n)
            }
        };
        let sizes = (0..bounded(self)?).map(|_| self.unsigned()).collect::<Result<_>>()?;
        let lower_bounds = (0..bounded(self)?).map(|_| self.signed()).collect::<Result<_>>()?;
        Ok(ArrayShape {
            rank,
            sizes,
            lower_bounds,
        })
    }

    /// A method signature with its header.
    pub fn method(&mut self) -> Result<MethodSig> {
        let at = self.at;
        let header = self.byte()?;
        let calling_convention = match header & 0x0f {
            0 => CallingConvention::Default,
            1 => CallingConvention::C,
            2 => CallingConvention::StdCall,
            3 => CallingConvention::ThisCall,
            4 => CallingConvention::FastCall,
            5 => CallingConvention::VarArg,
            9 => CallingConvention::Unmanaged,
            _ => return self.error(at, SigErrorKind::Header(header, "a method")),
        };
        let generic_param_count = if header & GENERIC != 0 {
            let at = self.at;
            match self.unsigned()? {
                n if n == 0 || n > MAX_COUNT => return self.error(at, SigErrorKind::Count(n)),
                n => n,
            }
        } else {
            0
        };
        let count = self.count()?;
        let ret = self.return_type()?;
        let mut params = Vec::new();
        let mut sentinel = None;
        for i in 0..count as usize {
            if self.peek()? == element::SENTINEL {
                // Some writers mark the fixed part of unmanaged vararg calls (cdecl) in this way too.
                let allowed = matches!(calling_convention, CallingConvention::VarArg | CallingConvention::C);
                if sentinel.is_some() || !allowed {
                    return self.error(self.at, SigErrorKind::Sentinel);
                }
                sentinel = Some(i);
                self.at += 1;
            }
            params.push(self.ty()?);
        }
        Ok(MethodSig {
            calling_convention,
            has_this: header & HAS_THIS != 0,
            explicit_this: header & EXPLICIT_THIS != 0,
            generic_param_count,
            ret,
            params,
            sentinel,
        })
    }
}

fn expect_header<'a>(blob: &'a [u8], header: u8, what: &'static str) -> Result<SigReader<'a>> {
    let mut r = SigReader::new(blob);
    let found = r.byte()?;
    if found != header {
        r.error(0, SigErrorKind::Header(found, what))
    } else {
        Ok(r)
    }
}

/// Reads a method signature (MethodDefSig, MethodRefSig or StandAloneMethodSig).
pub fn parse_method(blob: &[u8]) -> Result<MethodSig> {
    SigReader::new(blob).method()
}

/// Reads a field signature (II.23.2.4).
pub fn parse_field(blob: &[u8]) -> Result<TypeSig> {
    expect_header(blob, FIELD, "a field")?.ty()
}

/// Reads the types of locals (II.23.2.6).
pub fn parse_locals(blob: &[u8]) -> Result<Vec<TypeSig>> {
    let mut r = expect_header(blob, LOCALS, "locals")?;
    let count = r.count()?;
    (0..count).map(|_| r.local_type()).collect()
}

/// Reads a type specification (II.23.2.14). `void` is taken: `ldtoken void` needs it.
pub fn parse_type_spec(blob: &[u8]) -> Result<TypeSig> {
    SigReader::new(blob).return_type()
}

/// Reads the arguments of a method instantiation (II.23.2.15).
pub fn parse_method_spec(blob: &[u8]) -> Result<Vec<TypeSig>> {
    expect_header(blob, METHOD_SPEC, "a method instantiation")?.generic_args()
}

/// Reads a property signature (II.23.2.5).
pub fn parse_property(blob: &[u8]) -> Result<PropertySig> {
    let mut r = SigReader::new(blob);
    let header = r.byte()?;
    if header & !HAS_THIS != PROPERTY {
        return r.error(0, SigErrorKind::Header(header, "a property"));
    }
    let count = r.count()?;
    let ty = r.ty()?;
    let params = (0..count).map(|_| r.ty()).collect::<Result<_>>()?;
    Ok(PropertySig {
        has_this: header & HAS_THIS != 0,
        ty,
        params,
    })
}

/// Whether a MemberRef or StandAloneSig signature is a field's.
pub fn is_field(blob: &[u8]) -> bool {
    blob.first() == Some(&FIELD)
}

/// Whether a MemberRef or StandAloneSig signature is a method's.
pub fn is_method(blob: &[u8]) -> bool {
    blob.first().is_some_and(|b| matches!(b & 0x0f, 0..=5 | 9))
}

/// Whether a StandAloneSig signature is one of locals.
pub fn is_locals(blob: &[u8]) -> bool {
    blob.first() == Some(&LOCALS)
}

/// The generic definition a type specification instantiates, or the type it names; none for other types.
pub fn definition_of_type_spec(blob: &[u8]) -> Result<Option<Token>> {
    let mut r = SigReader::new(blob);
    match r.byte()? {
        element::GENERICINST => {
            r.byte()?;
            r.named_type().map(Some)
        }
        element::CLASS | element::VALUETYPE => r.named_type().map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_method() {
        // instance generic<1> void (ref !!0, int32[], List<string>)
        let blob = [0x30, 1, 3, 0x01, 0x10, 0x1e, 0, 0x1d, 0x08, 0x15, 0x12, 0x49, 1, 0x0e];
        let m = parse_method(&blob).unwrap();
        assert!(m.has_this && !m.explicit_this && m.generic_param_count == 1);
        assert_eq!(m.ret, TypeSig::Void);
        assert_eq!(m.params[0], TypeSig::ByRef(Box::new(TypeSig::MVar(0))));
        assert_eq!(m.params[1], TypeSig::SzArray(Box::new(TypeSig::I4)));
        let list = TypeSig::GenericInst {
            is_value_type: false,
            definition: Token(0x0100_0012),
            args: vec![TypeSig::String],
        };
        assert_eq!(m.params[2], list);
    }

    #[test]
    fn reads_array_shapes_and_modifiers() {
        let t = parse_type_spec(&[0x14, 0x08, 2, 1, 3, 2, 0, 0x7f]).unwrap();
        let shape = ArrayShape {
            rank: 2,
            sizes: vec![3],
            lower_bounds: vec![0, -1],
        };
        assert_eq!(
            t,
            TypeSig::Array {
                element: Box::new(TypeSig::I4),
                shape
            }
        );
        let f = parse_field(&[0x06, 0x1f, 0x49, 0x08]).unwrap();
        assert_eq!(f.strip_modifiers(), &TypeSig::I4);
        let l = parse_locals(&[0x07, 2, 0x45, 0x10, 0x05, 0x0f, 0x01]).unwrap();
        assert_eq!(l[1], TypeSig::Ptr(Box::new(TypeSig::Void)));
    }

    #[test]
    fn vararg_sentinel() {
        let m = parse_method(&[0x05, 2, 0x01, 0x08, 0x41, 0x0e]).unwrap();
        assert_eq!(m.sentinel, Some(1));
        assert_eq!(
            parse_method(&[0x00, 1, 0x01, 0x41, 0x0e]).unwrap_err().kind,
            SigErrorKind::Sentinel
        );
    }

    #[test]
    fn rejects_what_is_malformed() {
        let kind = |b: &[u8]| parse_type_spec(b).unwrap_err().kind;
        assert_eq!(kind(&[]), SigErrorKind::End);
        assert_eq!(
            parse_type_spec(&[0x1d, 0x01]),
            Ok(TypeSig::SzArray(Box::new(TypeSig::Void)))
        );
        assert_eq!(parse_type_spec(&[0x01]), Ok(TypeSig::Void));
        assert_eq!(parse_field(&[0x06, 0x01]), Ok(TypeSig::Void));
        assert_eq!(kind(&[0x1d, 0x45]), SigErrorKind::ElementType(0x45));
        assert_eq!(kind(&[0x45, 0x08]), SigErrorKind::ElementType(0x45));
        assert_eq!(kind(&[0x14, 0x08, 33, 0, 0]), SigErrorKind::ArrayShape);
        assert_eq!(kind(&[0x14, 0x08, 1, 2, 0, 0]), SigErrorKind::ArrayShape);
        assert_eq!(kind(&[0x12, 0x03]), SigErrorKind::Token(3));
        assert_eq!(kind(&vec![0x1d; 100_000]), SigErrorKind::TooDeep);
        assert_eq!(
            kind(&[0x15, 0x12, 0x49, 0xdf, 0xff, 0xff, 0xff]),
            SigErrorKind::Count(0x1fff_ffff)
        );
        let e = parse_method(&[0x00, 0xc0, 0xff, 0xff, 0xff, 0x01]).unwrap_err();
        assert_eq!((e.offset, e.kind), (1, SigErrorKind::Count(0x00ff_ffff)));
    }
}
