//! Readable names for tokens and signatures.
//!
//! Everything here returns text, never an error: what cannot be read is shown as its token.

use crate::module::Module;
use crate::sig::{self, CallingConvention, MethodSig, TypeSig};
use crate::token::{TableId, Token};
use std::fmt::Write;

/// Nesting of types followed for a name.
const MAX_NESTING: u32 = 64;
/// Names stop growing about here, bytes.
const MAX_TEXT: usize = 1 << 16;

/// Names the items of one module.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    module: &'a Module,
}

impl<'a> Names<'a> {
    /// Names for `module`.
    pub fn new(module: &'a Module) -> Names<'a> {
        Names { module }
    }

    /// Full name of a type token: `Namespace.Outer/Nested`; a TypeSpec is spelled out.
    pub fn type_token(&self, token: Token) -> String {
        self.named_type(token, 0).unwrap_or_else(|| token.to_string())
    }

    fn named_type(&self, token: Token, depth: u32) -> Option<String> {
        if depth > MAX_NESTING {
            return None;
        }
        let m = self.module;
        if token.is(TableId::TypeSpec) {
            let ty = sig::parse_type_spec(m.type_spec(token.rid()).ok()?.signature).ok()?;
            return Some(self.type_sig(&ty));
        }
        let (namespace, name) = m.type_name(token).ok()?;
        let outer = match token.table()? {
            TableId::TypeDef => m.enclosing_type(token.rid()).map(|r| Token::new(TableId::TypeDef, r)),
            TableId::TypeRef => Some(m.type_ref(token.rid()).ok()?.resolution_scope).filter(|t| t.is(TableId::TypeRef)),
            TableId::ExportedType => {
                Some(m.exported_type(token.rid()).ok()?.implementation).filter(|t| t.is(TableId::ExportedType))
            }
            _ => None,
        };
        Some(match outer {
            Some(outer) => format!("{}/{name}", self.named_type(outer, depth + 1)?),
            None if namespace.is_empty() => name.to_owned(),
            None => format!("{namespace}.{name}"),
        })
    }

    /// A type in a signature, in the notation of IL assembly without assembly names.
    pub fn type_sig(&self, ty: &TypeSig) -> String {
        let mut out = String::new();
        self.write_type(&mut out, ty);
        out
    }

    fn write_type(&self, out: &mut String, ty: &TypeSig) {
        if out.len() > MAX_TEXT {
            return;
        }
        let simple = match ty {
            TypeSig::Void => "void",
            TypeSig::Boolean => "bool",
            TypeSig::Char => "char",
            TypeSig::I1 => "int8",
            TypeSig::U1 => "uint8",
            TypeSig::I2 => "int16",
            TypeSig::U2 => "uint16",
            TypeSig::I4 => "int32",
            TypeSig::U4 => "uint32",
            TypeSig::I8 => "int64",
            TypeSig::U8 => "uint64",
            TypeSig::R4 => "float32",
            TypeSig::R8 => "float64",
            TypeSig::I => "native int",
            TypeSig::U => "native uint",
            TypeSig::String => "string",
            TypeSig::Object => "object",
            TypeSig::TypedByRef => "typedref",
            _ => "",
        };
        out.push_str(simple);
        match ty {
            TypeSig::Class(t) | TypeSig::ValueType(t) => out.push_str(&self.type_token(*t)),
            TypeSig::GenericInst { definition, args, .. } => {
                out.push_str(&self.type_token(*definition));
                self.write_list(out, '<', args, '>');
            }
            TypeSig::Var(n) => write_text(out, format_args!("!{n}")),
            TypeSig::MVar(n) => write_text(out, format_args!("!!{n}")),
            TypeSig::Ptr(t) => self.write_suffixed(out, t, "*"),
            TypeSig::ByRef(t) => self.write_suffixed(out, t, "&"),
            TypeSig::SzArray(t) => self.write_suffixed(out, t, "[]"),
            TypeSig::Array { element, shape } => {
                self.write_suffixed(out, element, "[");
                for d in 0..shape.rank as usize {
                    if d != 0 {
                        out.push(',');
                    }
                    let low = shape.lower_bounds.get(d).copied().unwrap_or(0);
                    match shape.sizes.get(d) {
                        Some(size) => {
                            write_text(out, format_args!("{low}...{}", i64::from(low) + i64::from(*size) - 1))
                        }
                        None if low != 0 => write_text(out, format_args!("{low}...")),
                        None => {}
                    }
                }
                out.push(']');
            }
            TypeSig::FnPtr(m) => {
                out.push_str("method ");
                self.write_method(out, m, "*");
            }
            TypeSig::Pinned(t) => self.write_suffixed(out, t, " pinned"),
            TypeSig::Modified {
                required,
                modifier,
                inner,
            } => {
                self.write_type(out, inner);
                // A TypeSpec here is not spelled out: it could contain itself.
                let name = if modifier.is(TableId::TypeSpec) {
                    modifier.to_string()
                } else {
                    self.type_token(*modifier)
                };
                write_text(
                    out,
                    format_args!(" {}({name})", if *required { "modreq" } else { "modopt" }),
                );
            }
            TypeSig::Internal(handle) => write_text(out, format_args!("handle {handle:#x}")),
            _ => {}
        }
    }

    fn write_suffixed(&self, out: &mut String, ty: &TypeSig, suffix: &str) {
        self.write_type(out, ty);
        out.push_str(suffix);
    }

    fn write_list(&self, out: &mut String, open: char, types: &[TypeSig], close: char) {
        out.push(open);
        for (i, t) in types.iter().enumerate() {
            if i != 0 {
                out.push_str(", ");
            }
            self.write_type(out, t);
        }
        out.push(close);
    }

    fn write_method(&self, out: &mut String, m: &MethodSig, name: &str) {
        if m.has_this {
            out.push_str("instance ");
        }
        if m.explicit_this {
            out.push_str("explicit ");
        }
        out.push_str(match m.calling_convention {
            CallingConvention::Default => "",
            CallingConvention::C => "unmanaged cdecl ",
            CallingConvention::StdCall => "unmanaged stdcall ",
            CallingConvention::ThisCall => "unmanaged thiscall ",
            CallingConvention::FastCall => "unmanaged fastcall ",
            CallingConvention::VarArg => "vararg ",
            CallingConvention::Unmanaged => "unmanaged ",
        });
        self.write_type(out, &m.ret);
        write_text(out, format_args!(" {name}("));
        for (i, p) in m.params.iter().enumerate() {
            if i != 0 {
                out.push_str(", ");
            }
            if m.sentinel == Some(i) {
                out.push_str("..., ");
            }
            self.write_type(out, p);
        }
        out.push(')');
    }

    /// A method signature with a name: `instance int32 Type::Name(string)`.
    pub fn method_sig(&self, signature: &MethodSig, name: &str) -> String {
        let mut out = String::new();
        self.write_method(&mut out, signature, name);
        out
    }

    /// Any token: a type by name, a member with its type and signature, a string in quotes.
    pub fn token(&self, token: Token) -> String {
        self.described(token).unwrap_or_else(|| token.to_string())
    }

    fn described(&self, token: Token) -> Option<String> {
        let m = self.module;
        if token.is_user_string() {
            return Some(format!("{:?}", m.user_string(token).ok()?.to_string_lossy()));
        }
        let rid = token.rid();
        match token.table()? {
            TableId::TypeDef | TableId::TypeRef | TableId::TypeSpec | TableId::ExportedType => {
                self.named_type(token, 0)
            }
            TableId::MethodDef => {
                let row = m.method_def(rid).ok()?;
                let owner = self.owner_name(m.owner_of_method(rid));
                self.member(row.signature, &owner, row.name)
            }
            TableId::Field => {
                let row = m.field(rid).ok()?;
                let owner = self.owner_name(m.owner_of_field(rid));
                self.member(row.signature, &owner, row.name)
            }
            TableId::MemberRef => {
                let row = m.member_ref(rid).ok()?;
                let owner = match row.class.table() {
                    Some(TableId::MethodDef) => self.owner_name(m.owner_of_method(row.class.rid())),
                    Some(TableId::ModuleRef) => m.module_ref(row.class.rid()).ok()?.name.to_owned(),
                    _ => self.type_token(row.class),
                };
                self.member(row.signature, &owner, row.name)
            }
            TableId::MethodSpec => {
                let row = m.method_spec(rid).ok()?;
                let args = sig::parse_method_spec(row.instantiation).ok()?;
                let mut out = self.described(row.method)?;
                self.write_list(&mut out, '<', &args, '>');
                Some(out)
            }
            TableId::StandAloneSig => {
                let blob = m.stand_alone_sig(rid).ok()?.signature;
                Some(self.method_sig(&sig::parse_method(blob).ok()?, "*"))
            }
            TableId::AssemblyRef => Some(m.assembly_ref(rid).ok()?.name.to_owned()),
            TableId::ModuleRef => Some(m.module_ref(rid).ok()?.name.to_owned()),
            TableId::File => Some(m.file(rid).ok()?.name.to_owned()),
            _ => None,
        }
    }

    fn owner_name(&self, typedef: Option<u32>) -> String {
        typedef.map_or_else(|| "?".to_owned(), |r| self.type_token(Token::new(TableId::TypeDef, r)))
    }

    fn member(&self, signature: &[u8], owner: &str, name: &str) -> Option<String> {
        let full = format!("{owner}::{name}");
        if sig::is_field(signature) {
            Some(format!("{} {full}", self.type_sig(&sig::parse_field(signature).ok()?)))
        } else {
            Some(self.method_sig(&sig::parse_method(signature).ok()?, &full))
        }
    }
}

fn write_text(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}
