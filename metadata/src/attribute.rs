//! Values of custom attributes (ECMA-335 II.23.3).
//!
//! The blob does not say how wide an enum is: the reader asks a resolver, because the enum is usually defined in
//! another assembly. Strings and type names are borrowed from the image.

use crate::bytes::{compressed_u32, range};
use crate::error::{Error, Result};
use crate::flags::FieldAttributes;
use crate::module::Module;
use crate::sig::{self, SigError, TypeSig};
use crate::token::{TableId, Token};

/// Deepest nesting of boxed values and arrays.
const MAX_DEPTH: u32 = 32;
/// Most values in one attribute.
const MAX_VALUES: u32 = 1 << 20;

/// A malformed custom attribute value: what, and the byte offset in the blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset} of the value")]
pub struct AttributeError {
    /// Byte offset in the value.
    pub offset: usize,
    /// What is wrong.
    pub kind: AttributeErrorKind,
}

/// What can be wrong with a custom attribute value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeErrorKind {
    /// The value ends too early.
    #[error("unexpected end")]
    End,
    /// The value does not begin with 1.
    #[error("the value does not begin with the prolog 0x0001")]
    Prolog,
    /// A string is not UTF-8 or has a malformed length.
    #[error("malformed string")]
    String,
    /// A type code that cannot stand here.
    #[error("type code {0:#04x} is not valid here")]
    TypeCode(u8),
    /// Neither FIELD (0x53) nor PROPERTY (0x54).
    #[error("named argument of kind {0:#04x}")]
    NamedKind(u8),
    /// The constructor has a parameter of a type that attributes cannot have.
    #[error("constructor parameter {0} has a type that attributes cannot have")]
    Parameter(usize),
    /// More elements than the value can hold.
    #[error("count {0} is too large")]
    Count(u32),
    /// Arrays and boxed values are nested too deeply.
    #[error("values nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// The resolver does not know an enum, so its width is not known. Not a fault of the file.
    #[error("the enum {0} cannot be resolved")]
    UnknownEnum(String),
    /// Bytes are left after the last named argument.
    #[error("bytes left after the last argument")]
    Trailing,
    /// The constructor's signature is malformed.
    #[error("constructor signature: {0}")]
    Signature(SigError),
}

/// Underlying type of an enum or of a primitive argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs)] // the names of TypeSig; values are element types
pub enum Primitive {
    Boolean = 0x02,
    Char = 0x03,
    I1 = 0x04,
    U1 = 0x05,
    I2 = 0x06,
    U2 = 0x07,
    I4 = 0x08,
    U4 = 0x09,
    I8 = 0x0a,
    U8 = 0x0b,
    R4 = 0x0c,
    R8 = 0x0d,
}

impl Primitive {
    /// From an element type code.
    pub const fn from_code(code: u8) -> Option<Primitive> {
        Some(match code {
            0x02 => Primitive::Boolean,
            0x03 => Primitive::Char,
            0x04 => Primitive::I1,
            0x05 => Primitive::U1,
            0x06 => Primitive::I2,
            0x07 => Primitive::U2,
            0x08 => Primitive::I4,
            0x09 => Primitive::U4,
            0x0a => Primitive::I8,
            0x0b => Primitive::U8,
            0x0c => Primitive::R4,
            0x0d => Primitive::R8,
            _ => return None,
        })
    }

    /// Of a signature type, none if it is not primitive.
    pub fn of(ty: &TypeSig) -> Option<Primitive> {
        Some(match ty {
            TypeSig::Boolean => Primitive::Boolean,
            TypeSig::Char => Primitive::Char,
            TypeSig::I1 => Primitive::I1,
            TypeSig::U1 => Primitive::U1,
            TypeSig::I2 => Primitive::I2,
            TypeSig::U2 => Primitive::U2,
            TypeSig::I4 => Primitive::I4,
            TypeSig::U4 => Primitive::U4,
            TypeSig::I8 => Primitive::I8,
            TypeSig::U8 => Primitive::U8,
            TypeSig::R4 => Primitive::R4,
            TypeSig::R8 => Primitive::R8,
            _ => return None,
        })
    }

    /// Size in bytes.
    pub const fn size(self) -> usize {
        match self {
            Primitive::Boolean | Primitive::I1 | Primitive::U1 => 1,
            Primitive::Char | Primitive::I2 | Primitive::U2 => 2,
            Primitive::I4 | Primitive::U4 | Primitive::R4 => 4,
            Primitive::I8 | Primitive::U8 | Primitive::R8 => 8,
        }
    }
}

/// How a custom attribute refers to an enum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnumRef<'a> {
    /// By token, in the constructor's signature (TypeDef or TypeRef of the attribute's module).
    Token(Token),
    /// By serialised name, possibly assembly qualified.
    Name(&'a str),
}

/// Type of an argument.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ArgumentType<'a> {
    /// A primitive.
    Primitive(Primitive),
    /// `string`
    String,
    /// `System.Type`
    Type,
    /// `object`: the value says its own type.
    Object,
    /// An enum with its underlying type.
    Enum(EnumRef<'a>, Primitive),
    /// One-dimensional array.
    Array(Box<ArgumentType<'a>>),
}

/// Value of an argument.
#[derive(Clone, PartialEq, Debug)]
pub enum AttributeValue<'a> {
    /// `bool`
    Boolean(bool),
    /// `char`, a UTF-16 unit
    Char(u16),
    /// A signed integer of 1 to 8 bytes.
    Int(Primitive, i64),
    /// An unsigned integer of 1 to 8 bytes.
    UInt(Primitive, u64),
    /// `float32`, as its bits
    R4(u32),
    /// `float64`, as its bits
    R8(u64),
    /// `string`
    String(Option<&'a str>),
    /// `System.Type` by serialised name
    Type(Option<&'a str>),
    /// An enum: which, and its value.
    Enum(EnumRef<'a>, Box<AttributeValue<'a>>),
    /// Array; none is null.
    Array(Option<Vec<AttributeValue<'a>>>),
    /// `object`: the type in the value, and the value.
    Boxed(Box<ArgumentType<'a>>, Box<AttributeValue<'a>>),
}

/// A named argument.
#[derive(Clone, PartialEq, Debug)]
pub struct NamedArgument<'a> {
    /// Sets a field rather than a property.
    pub is_field: bool,
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub ty: ArgumentType<'a>,
    /// Its value.
    pub value: AttributeValue<'a>,
}

/// A decoded custom attribute.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CustomAttributeValue<'a> {
    /// Constructor arguments.
    pub fixed: Vec<AttributeValue<'a>>,
    /// Fields and properties set.
    pub named: Vec<NamedArgument<'a>>,
}

impl<'a> CustomAttributeValue<'a> {
    /// The named argument with this name.
    pub fn named(&self, name: &str) -> Option<&AttributeValue<'a>> {
        self.named.iter().find(|n| n.name == name).map(|n| &n.value)
    }
}

/// Finds the underlying type of an enum; none if it does not know it.
pub type EnumResolver<'r> = &'r mut dyn FnMut(EnumRef<'_>) -> Option<Primitive>;

type Parsed<T> = std::result::Result<T, AttributeError>;

struct Reader<'a, 'r> {
    blob: &'a [u8],
    at: usize,
    depth: u32,
    values: u32,
    resolver: EnumResolver<'r>,
}

impl<'a> Reader<'a, '_> {
    fn fail<T>(&self, kind: AttributeErrorKind) -> Parsed<T> {
        Err(AttributeError { offset: self.at, kind })
    }

    fn bytes(&mut self, n: usize) -> Parsed<&'a [u8]> {
        match range(self.blob, self.at, n) {
            Some(b) => {
                self.at += n;
                Ok(b)
            }
            None => self.fail(AttributeErrorKind::End),
        }
    }

    fn byte(&mut self) -> Parsed<u8> {
        Ok(self.bytes(1)?[0])
    }

    /// A SerString (II.23.3): 0xff is null.
    fn string(&mut self) -> Parsed<Option<&'a str>> {
        let rest = self.blob.get(self.at..).unwrap_or(&[]);
        match rest.first() {
            None => return self.fail(AttributeErrorKind::End),
            Some(0xff) => {
                self.at += 1;
                return Ok(None);
            }
            Some(_) => {}
        }
        let Some((len, used)) = compressed_u32(rest) else {
            return self.fail(AttributeErrorKind::String);
        };
        let Some(text) = range(rest, used, len as usize) else {
            return self.fail(AttributeErrorKind::String);
        };
        match std::str::from_utf8(text) {
            Ok(s) => {
                self.at += used + text.len();
                Ok(Some(s))
            }
            Err(_) => self.fail(AttributeErrorKind::String),
        }
    }

    fn resolve(&mut self, which: EnumRef<'a>) -> Parsed<ArgumentType<'a>> {
        match (self.resolver)(which) {
            Some(underlying) => Ok(ArgumentType::Enum(which, underlying)),
            None => self.fail(AttributeErrorKind::UnknownEnum(match which {
                EnumRef::Token(t) => t.to_string(),
                EnumRef::Name(n) => n.to_owned(),
            })),
        }
    }

    /// A FieldOrPropType.
    fn type_code(&mut self) -> Parsed<ArgumentType<'a>> {
        let code = self.byte()?;
        if let Some(p) = Primitive::from_code(code) {
            return Ok(ArgumentType::Primitive(p));
        }
        match code {
            0x0e => Ok(ArgumentType::String),
            0x50 => Ok(ArgumentType::Type),
            0x51 => Ok(ArgumentType::Object),
            0x55 => match self.string()? {
                Some(name) => self.resolve(EnumRef::Name(name)),
                None => self.fail(AttributeErrorKind::String),
            },
            0x1d if self.depth < MAX_DEPTH => {
                self.depth += 1;
                let element = self.type_code();
                self.depth -= 1;
                Ok(ArgumentType::Array(Box::new(element?)))
            }
            0x1d => self.fail(AttributeErrorKind::TooDeep),
            _ => self.fail(AttributeErrorKind::TypeCode(code)),
        }
    }

    fn value(&mut self, ty: &ArgumentType<'a>) -> Parsed<AttributeValue<'a>> {
        if self.depth == MAX_DEPTH {
            return self.fail(AttributeErrorKind::TooDeep);
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return self.fail(AttributeErrorKind::Count(self.values));
        }
        self.depth += 1;
        let value = self.value_inner(ty);
        self.depth -= 1;
        value
    }

    fn value_inner(&mut self, ty: &ArgumentType<'a>) -> Parsed<AttributeValue<'a>> {
        Ok(match ty {
            ArgumentType::Primitive(p) => self.primitive(*p)?,
            ArgumentType::String => AttributeValue::String(self.string()?),
            ArgumentType::Type => AttributeValue::Type(self.string()?),
            ArgumentType::Object => {
                let ty = self.type_code()?;
                let value = self.value(&ty)?;
                AttributeValue::Boxed(Box::new(ty), Box::new(value))
            }
            ArgumentType::Enum(which, underlying) => {
                AttributeValue::Enum(*which, Box::new(self.primitive(*underlying)?))
            }
            ArgumentType::Array(element) => {
                let b = self.bytes(4)?;
                let count = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                if count == u32::MAX {
                    return Ok(AttributeValue::Array(None));
                }
                if count as usize > self.blob.len() - self.at {
                    return self.fail(AttributeErrorKind::Count(count));
                }
                AttributeValue::Array(Some((0..count).map(|_| self.value(element)).collect::<Parsed<_>>()?))
            }
        })
    }

    fn primitive(&mut self, p: Primitive) -> Parsed<AttributeValue<'a>> {
        let mut raw = [0; 8];
        raw[..p.size()].copy_from_slice(self.bytes(p.size())?);
        let bits = u64::from_le_bytes(raw);
        let unused = 64 - 8 * p.size() as u32;
        let signed = (bits as i64) << unused >> unused;
        Ok(match p {
            Primitive::Boolean => AttributeValue::Boolean(bits != 0),
            Primitive::Char => AttributeValue::Char(bits as u16),
            Primitive::I1 | Primitive::I2 | Primitive::I4 | Primitive::I8 => AttributeValue::Int(p, signed),
            Primitive::U1 | Primitive::U2 | Primitive::U4 | Primitive::U8 => AttributeValue::UInt(p, bits),
            Primitive::R4 => AttributeValue::R4(bits as u32),
            Primitive::R8 => AttributeValue::R8(bits),
        })
    }

    fn named(&mut self) -> Parsed<NamedArgument<'a>> {
        let is_field = match self.byte()? {
            0x53 => true,
            0x54 => false,
            other => return self.fail(AttributeErrorKind::NamedKind(other)),
        };
        let ty = self.type_code()?;
        let Some(name) = self.string()? else {
            return self.fail(AttributeErrorKind::String);
        };
        let value = self.value(&ty)?;
        Ok(NamedArgument {
            is_field,
            name,
            ty,
            value,
        })
    }
}

/// Decodes a value whose constructor has parameters of the given types.
pub fn parse_value<'a>(
    blob: &'a [u8],
    fixed: &[ArgumentType<'a>],
    resolver: EnumResolver<'_>,
) -> Parsed<CustomAttributeValue<'a>> {
    if blob.is_empty() && fixed.is_empty() {
        return Ok(CustomAttributeValue::default());
    }
    let mut r = Reader {
        blob,
        at: 0,
        depth: 0,
        values: 0,
        resolver,
    };
    if r.bytes(2)? != [1, 0] {
        r.at = 0;
        return r.fail(AttributeErrorKind::Prolog);
    }
    let fixed = fixed.iter().map(|t| r.value(t)).collect::<Parsed<_>>()?;
    let count = r.bytes(2)?;
    let count = u16::from_le_bytes([count[0], count[1]]);
    let named = (0..count).map(|_| r.named()).collect::<Parsed<_>>()?;
    if r.at != blob.len() {
        return r.fail(AttributeErrorKind::Trailing);
    }
    Ok(CustomAttributeValue { fixed, named })
}

impl Module {
    /// Decodes the value of a CustomAttribute row. `resolver` gives the underlying types of enums;
    /// [`Module::resolve_local_enum`] knows those of this module.
    ///
    /// # Errors
    /// [`Error::Attribute`] for a malformed value, and with [`AttributeErrorKind::UnknownEnum`] if the resolver does
    /// not know an enum; other errors for malformed rows and signatures.
    pub fn custom_attribute_value(&self, rid: u32, resolver: EnumResolver<'_>) -> Result<CustomAttributeValue<'_>> {
        let row = self.custom_attribute(rid)?;
        let (owner, signature) = match row.ctor.table() {
            Some(TableId::MemberRef) => {
                let m = self.member_ref(row.ctor.rid())?;
                (m.class, m.signature)
            }
            _ => (Token::NIL, self.method_def(row.ctor.rid())?.signature),
        };
        let method = sig::parse_method(signature).map_err(|e| self.signature_error(signature, e))?;
        let class_args = self.instance_arguments(owner)?;
        let wrap = |source: AttributeError| {
            let offset = (self.offset_of(row.value) + source.offset) as u64;
            Error::Attribute { offset, source }
        };
        let mut fixed = Vec::new();
        for (i, p) in method.params.iter().enumerate() {
            match self.argument_type(p, &class_args, resolver, 0) {
                Ok(t) => fixed.push(t),
                Err(None) => {
                    return Err(wrap(AttributeError {
                        offset: 0,
                        kind: AttributeErrorKind::Parameter(i),
                    }));
                }
                Err(Some(token)) => {
                    let kind = AttributeErrorKind::UnknownEnum(token.to_string());
                    return Err(wrap(AttributeError { offset: 0, kind }));
                }
            }
        }
        parse_value(row.value, &fixed, resolver).map_err(wrap)
    }

    /// Type arguments of the generic instance a TypeSpec stands for; none for other tokens.
    fn instance_arguments(&self, owner: Token) -> Result<Vec<TypeSig>> {
        if !owner.is(TableId::TypeSpec) {
            return Ok(Vec::new());
        }
        let blob = self.type_spec(owner.rid())?.signature;
        match sig::parse_type_spec(blob).map_err(|e| self.signature_error(blob, e))? {
            TypeSig::GenericInst { args, .. } => Ok(args),
            _ => Ok(Vec::new()),
        }
    }

    /// Maps a parameter type; `Err(Some)` is an enum that cannot be resolved, `Err(None)` an impossible type.
    fn argument_type(
        &self,
        ty: &TypeSig,
        class_args: &[TypeSig],
        resolver: EnumResolver<'_>,
        depth: u32,
    ) -> std::result::Result<ArgumentType<'static>, Option<Token>> {
        if depth > MAX_DEPTH {
            return Err(None);
        }
        if let Some(p) = Primitive::of(ty) {
            return Ok(ArgumentType::Primitive(p));
        }
        match ty {
            TypeSig::String => Ok(ArgumentType::String),
            TypeSig::Object => Ok(ArgumentType::Object),
            TypeSig::Class(token) => match self.type_name(*token) {
                Ok(("System", "Type")) => Ok(ArgumentType::Type),
                _ => Err(None),
            },
            TypeSig::ValueType(token) => match resolver(EnumRef::Token(*token)) {
                Some(p) => Ok(ArgumentType::Enum(EnumRef::Token(*token), p)),
                None => Err(Some(*token)),
            },
            TypeSig::SzArray(element) => {
                let element = self.argument_type(element, class_args, resolver, depth + 1)?;
                Ok(ArgumentType::Array(Box::new(element)))
            }
            // Arguments of a generic attribute; they cannot be type parameters themselves.
            TypeSig::Var(n) => match class_args.get(*n as usize) {
                Some(arg) => self.argument_type(arg, &[], resolver, depth + 1),
                None => Err(None),
            },
            TypeSig::Modified { inner, .. } => self.argument_type(inner, class_args, resolver, depth + 1),
            _ => Err(None),
        }
    }

    /// Underlying type of an enum defined in this module; none for other types.
    pub fn enum_underlying_type(&self, typedef_rid: u32) -> Option<Primitive> {
        let fields = self.type_def(typedef_rid).ok()?.field_list;
        for rid in self.list_rows(crate::token::TableId::Field, fields) {
            let field = self.field(rid).ok()?;
            if !field.flags.contains(FieldAttributes::STATIC) {
                return Primitive::of(sig::parse_field(field.signature).ok()?.strip_modifiers());
            }
        }
        None
    }

    /// Resolves an enum that is defined in this module, by TypeDef token or by name.
    pub fn resolve_local_enum(&self, which: EnumRef<'_>) -> Option<Primitive> {
        let rid = match which {
            EnumRef::Token(t) if t.is(TableId::TypeDef) => t.rid(),
            EnumRef::Token(_) => return None,
            EnumRef::Name(name) => self.find_type_by_reflection_name(name)?,
        };
        self.enum_underlying_type(rid)
    }

    /// A type of this module by the name reflection gives it: `Namespace.Outer+Nested`, an assembly name after a comma
    /// is ignored (TypeDef row). Escaped characters are not handled.
    pub fn find_type_by_reflection_name(&self, name: &str) -> Option<u32> {
        let full = name.split(',').next().unwrap_or(name).trim();
        let mut parts = full.split('+');
        let (namespace, simple) = match parts.next()?.rsplit_once('.') {
            Some(split) => split,
            None => ("", full.split('+').next()?),
        };
        let mut rid = self.find_type_def(namespace, simple)?;
        for nested in parts {
            rid = self.find_nested_type(rid, nested)?;
        }
        Some(rid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(blob: &'a [u8], fixed: &[ArgumentType<'a>]) -> Parsed<CustomAttributeValue<'a>> {
        parse_value(blob, fixed, &mut |e| match e {
            EnumRef::Name("E") => Some(Primitive::U2),
            _ => None,
        })
    }

    #[test]
    fn fixed_and_named() {
        let blob = [
            1, 0, 0xfe, 0xff, 2, b'h', b'i', 1, 0, 0x54, 0x55, 1, b'E', 1, b'P', 7, 0,
        ];
        let v = parse(&blob, &[ArgumentType::Primitive(Primitive::I2), ArgumentType::String]).unwrap();
        assert_eq!(
            v.fixed,
            [
                AttributeValue::Int(Primitive::I2, -2),
                AttributeValue::String(Some("hi"))
            ]
        );
        let value = AttributeValue::UInt(Primitive::U2, 7);
        assert_eq!(
            v.named("P"),
            Some(&AttributeValue::Enum(EnumRef::Name("E"), Box::new(value)))
        );
    }

    #[test]
    fn boxed_arrays_and_nulls() {
        let object_array = ArgumentType::Array(Box::new(ArgumentType::Object));
        let blob = [1, 0, 2, 0, 0, 0, 0x0e, 0xff, 0x1d, 0x51, 0xff, 0xff, 0xff, 0xff, 0, 0];
        let v = parse(&blob, &[object_array]).unwrap();
        let AttributeValue::Array(Some(items)) = &v.fixed[0] else {
            panic!()
        };
        assert!(matches!(&items[0], AttributeValue::Boxed(_, v) if **v == AttributeValue::String(None)));
        assert!(matches!(&items[1], AttributeValue::Boxed(_, v) if **v == AttributeValue::Array(None)));
    }

    #[test]
    fn faults() {
        let kind = |b: &[u8], f: &[ArgumentType<'static>]| parse_value(b, f, &mut |_| None).unwrap_err().kind;
        assert_eq!(kind(&[2, 0, 0, 0], &[]), AttributeErrorKind::Prolog);
        assert_eq!(kind(&[1, 0], &[]), AttributeErrorKind::End);
        assert_eq!(kind(&[1, 0, 0, 0, 9], &[]), AttributeErrorKind::Trailing);
        assert_eq!(kind(&[1, 0, 1, 0, 0x50], &[]), AttributeErrorKind::NamedKind(0x50));
        let array = ArgumentType::Array(Box::new(ArgumentType::Primitive(Primitive::U1)));
        assert_eq!(
            kind(&[1, 0, 0, 0, 0, 0x7f, 0], &[array]),
            AttributeErrorKind::Count(0x7f00_0000)
        );
        let mut deep = vec![1, 0];
        deep.resize(10_000, 0x51);
        assert_eq!(kind(&deep, &[ArgumentType::Object]), AttributeErrorKind::TooDeep);
        let mut arrays = vec![1, 0];
        arrays.resize(10_000, 0x1d);
        assert_eq!(kind(&arrays, &[ArgumentType::Object]), AttributeErrorKind::TooDeep);
    }
}
