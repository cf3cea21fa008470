//! Signatures as MissingMethodException shows them. Nothing is loaded: the reference may name types that do not exist.

use corten_metadata::sig::{MethodSig, TypeSig};
use corten_metadata::{TableId, Token};

use crate::module::Module;

/// `Int32 N.Class.Name(System.String, Int32 ByRef)` of a reference made in `module` to a member of `class`.
pub(crate) fn method_text(module: &'static Module, class: &str, name: &str, sig: &MethodSig) -> String {
    let mut out = String::new();
    append(&mut out, module, &sig.ret, 0);
    out.push(' ');
    out.push_str(class);
    out.push('.');
    out.push_str(name);
    append_params(&mut out, module, sig, 0);
    out
}

fn append_params(out: &mut String, module: &'static Module, sig: &MethodSig, depth: u32) {
    out.push('(');
    append_list(out, module, &sig.params, depth);
    out.push(')');
}

fn append_list(out: &mut String, module: &'static Module, list: &[TypeSig], depth: u32) {
    for (i, p) in list.iter().enumerate() {
        if i != 0 {
            out.push_str(", ");
        }
        append(out, module, p, depth + 1);
    }
}

/// Namespace and name that a TypeDef or TypeRef row gives, without enclosing types.
fn name_of(module: &'static Module, token: Token) -> String {
    let md = module.metadata();
    let names = match token.table() {
        Some(TableId::TypeDef) => md.type_def(token.rid()).ok().map(|r| (r.namespace, r.name)),
        Some(TableId::TypeRef) => md.type_ref(token.rid()).ok().map(|r| (r.namespace, r.name)),
        _ => None,
    };
    match names {
        Some(("", name)) => name.to_owned(),
        Some((namespace, name)) => format!("{namespace}.{name}"),
        None => String::from("?"),
    }
}

fn append(out: &mut String, module: &'static Module, sig: &TypeSig, depth: u32) {
    if depth > 64 {
        out.push_str("...");
        return;
    }
    let simple = match sig {
        TypeSig::Void => "Void",
        TypeSig::Boolean => "Boolean",
        TypeSig::Char => "Char",
        TypeSig::I1 => "SByte",
        TypeSig::U1 => "Byte",
        TypeSig::I2 => "Int16",
        TypeSig::U2 => "UInt16",
        TypeSig::I4 => "Int32",
        TypeSig::U4 => "UInt32",
        TypeSig::I8 => "Int64",
        TypeSig::U8 => "UInt64",
        TypeSig::R4 => "Single",
        TypeSig::R8 => "Double",
        TypeSig::I => "IntPtr",
        TypeSig::U => "UIntPtr",
        TypeSig::String => "System.String",
        TypeSig::Object => "System.Object",
        TypeSig::TypedByRef => "TypedReference",
        _ => "",
    };
    out.push_str(simple);
    match sig {
        TypeSig::Class(t) | TypeSig::ValueType(t) => out.push_str(&name_of(module, *t)),
        TypeSig::GenericInst { definition, args, .. } => {
            out.push_str(&name_of(module, *definition));
            out.push('<');
            append_list(out, module, args, depth);
            out.push('>');
        }
        TypeSig::Var(n) => out.push_str(&format!("!{n}")),
        TypeSig::MVar(n) => out.push_str(&format!("!!{n}")),
        TypeSig::Ptr(t) => {
            append(out, module, t, depth + 1);
            out.push('*');
        }
        TypeSig::ByRef(t) => {
            append(out, module, t, depth + 1);
            out.push_str(" ByRef");
        }
        TypeSig::SzArray(t) => {
            append(out, module, t, depth + 1);
            out.push_str("[]");
        }
        TypeSig::Array { element, shape } => {
            append(out, module, element, depth + 1);
            out.push('[');
            (1..shape.rank).for_each(|_| out.push(','));
            out.push(']');
        }
        TypeSig::FnPtr(m) => {
            append(out, module, &m.ret, depth + 1);
            out.push(' ');
            append_params(out, module, m, depth);
        }
        TypeSig::Pinned(t) => append(out, module, t, depth + 1),
        TypeSig::Modified { inner, .. } => append(out, module, inner, depth + 1),
        _ => {}
    }
}
