//! Names of types and methods as .NET displays them.

use bitflags::bitflags;

use crate::{method_desc::MethodDesc, type_def::TypeDefInfo, type_desc::TypeDescKind, type_handle::TypeHandle};

bitflags! {
    /// What a type name contains (values of CoreLib's `TypeNameFormatFlags`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TypeNameFlags: u32 {
        /// Simple name only.
        const BASIC = 0;
        /// Namespace and enclosing types.
        const NAMESPACE = 1;
        /// Generic arguments in full (assembly-qualified), none for open definitions.
        const FULL_INST = 2;
        /// Append the assembly's display name.
        const ASSEMBLY = 4;
        /// Assembly names without version, culture and key.
        const NO_VERSION = 8;
        /// C#-like `<...>` around arguments.
        const ANGLE_BRACKETS = 0x40;
        /// Without the enclosing types of the type itself; those of its generic arguments stay. Not a flag of CoreLib's: the
        /// engine names types so in the texts of failed casts.
        const OUTER_UNNAMED = 0x100_0000;
    }
}

/// Formats a type as `RuntimeTypeHandle.ConstructName` does.
pub fn format_type(t: TypeHandle, flags: TypeNameFlags) -> String {
    let mut out = String::new();
    append(&mut out, t, flags, 0);
    if flags.contains(TypeNameFlags::ASSEMBLY)
        && let Some(module) = defining_module(t)
    {
        out.push_str(", ");
        match module.assembly() {
            Some(a) if flags.contains(TypeNameFlags::NO_VERSION) => out.push_str(a.simple_name()),
            Some(a) => out.push_str(&a.display_name()),
            None => out.push_str(module.metadata().path()),
        }
    }
    out
}

fn defining_module(t: TypeHandle) -> Option<&'static crate::module::Module> {
    match t.as_type_desc() {
        None => t.as_method_table().map(|m| m.module()),
        Some(d) => match d.kind() {
            TypeDescKind::Pointer(e) | TypeDescKind::ByRef(e) => defining_module(*e),
            TypeDescKind::FnPtr(s) => defining_module(s.ret),
            TypeDescKind::Variable(v) => Some(v.module),
        },
    }
}

fn escape(out: &mut String, name: &str) {
    for c in name.chars() {
        if matches!(c, ',' | '[' | ']' | '&' | '*' | '+' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
}

fn append_def(out: &mut String, d: &TypeDefInfo, flags: TypeNameFlags) {
    if flags.contains(TypeNameFlags::NAMESPACE) {
        if let Some(e) = d.enclosing() {
            if flags.contains(TypeNameFlags::OUTER_UNNAMED) {
                return escape(out, d.name());
            }
            append_def(out, e, flags);
            out.push('+');
        } else if !d.namespace().is_empty() {
            escape(out, d.namespace());
            out.push('.');
        }
    }
    escape(out, d.name());
}

fn append(out: &mut String, t: TypeHandle, flags: TypeNameFlags, depth: u32) {
    if depth > 64 {
        out.push_str("...");
        return;
    }
    if let Some(d) = t.as_type_desc() {
        match d.kind() {
            TypeDescKind::Pointer(e) => {
                append(out, *e, flags, depth + 1);
                out.push('*');
            }
            TypeDescKind::ByRef(e) => {
                append(out, *e, flags, depth + 1);
                out.push('&');
            }
            // As a simple name they have none.
            TypeDescKind::FnPtr(_) if flags == TypeNameFlags::BASIC => {}
            TypeDescKind::FnPtr(s) => {
                append(out, s.ret, flags, depth + 1);
                out.push('(');
                for (i, p) in s.params.iter().enumerate() {
                    if i != 0 {
                        out.push_str(", ");
                    }
                    append(out, *p, flags, depth + 1);
                }
                out.push(')');
            }
            TypeDescKind::Variable(v) => out.push_str(v.name),
        }
        return;
    }
    let Some(mt) = t.as_method_table() else { return };
    if let Some(a) = mt.class().array() {
        append(out, a.element, flags, depth + 1);
        out.push('[');
        if !a.sz && a.rank == 1 {
            out.push('*');
        }
        for _ in 1..a.rank {
            out.push(',');
        }
        out.push(']');
        return;
    }
    let Some(def) = mt.class().definition() else { return };
    append_def(out, def, flags);
    let args = mt.instantiation();
    let full = flags.contains(TypeNameFlags::FULL_INST);
    if args.is_empty()
        || !flags.intersects(TypeNameFlags::NAMESPACE | TypeNameFlags::ASSEMBLY)
        || (full && mt.is_generic_type_definition())
    {
        return;
    }
    let angle = flags.contains(TypeNameFlags::ANGLE_BRACKETS);
    out.push(if angle { '<' } else { '[' });
    for (i, a) in args.iter().enumerate() {
        if i != 0 {
            out.push(',');
        }
        if full && !a.is_generic_variable() {
            out.push('[');
            let inner = TypeNameFlags::NAMESPACE
                | TypeNameFlags::FULL_INST
                | TypeNameFlags::ASSEMBLY
                | (flags & TypeNameFlags::NO_VERSION);
            out.push_str(&format_type(*a, inner));
            out.push(']');
        } else {
            append(
                out,
                *a,
                TypeNameFlags::NAMESPACE | (flags & TypeNameFlags::ANGLE_BRACKETS),
                depth + 1,
            );
        }
    }
    out.push(if angle { '>' } else { ']' });
}

/// `Namespace.Type.Method(Param, ..)` for messages; parameter types are left out if they cannot be loaded.
pub fn format_method(m: &'static MethodDesc) -> String {
    let mut out = m.owner().handle().display_name();
    out.push('.');
    out.push_str(m.name());
    if m.has_method_instantiation() {
        out.push('[');
        for (i, a) in m.instantiation().iter().enumerate() {
            if i != 0 {
                out.push(',');
            }
            append(&mut out, *a, TypeNameFlags::NAMESPACE, 0);
        }
        out.push(']');
    }
    if let Ok(s) = m.signature() {
        out.push('(');
        for (i, p) in s.params.iter().enumerate() {
            if i != 0 {
                out.push_str(", ");
            }
            append(&mut out, *p, TypeNameFlags::BASIC, 0);
        }
        out.push(')');
    }
    out
}
