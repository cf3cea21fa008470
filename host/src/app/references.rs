//! Finds references of the application that cannot be satisfied, before the engine starts.
//!
//! A missing assembly is not always a fault: the code that needs it may never run, or a handler of an event may supply it. Only
//! what `Main` itself uses is needed for certain, because `Main` cannot be compiled without it; unless a module initializer,
//! which runs before, may supply it.

use std::collections::{BTreeSet, HashSet};

use corten_metadata::il::{Decoder, Operand};
use corten_metadata::sig::{self, TypeSig};
use corten_metadata::{Module, TableId, Token};

use super::image;

/// A reference that is neither in the framework nor beside the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingReference {
    pub name: String,
    pub version: (u16, u16, u16, u16),
    /// `Main` cannot run without it.
    pub needed_by_main: bool,
}

/// The application's references that are not among `known` (simple names). Metadata that cannot be read is left to the engine,
/// which reports it where it matters.
pub fn missing<'a>(app: &Module, known: impl Iterator<Item = &'a str>) -> Vec<MissingReference> {
    let known: HashSet<String> = known.map(str::to_ascii_lowercase).collect();
    let rows = (1..=app.row_count(TableId::AssemblyRef)).filter_map(|rid| Some((rid, app.assembly_ref(rid).ok()?)));
    let absent: Vec<_> = rows
        .filter(|(_, row)| !known.contains(&row.name.to_ascii_lowercase()))
        .collect();
    if absent.is_empty() {
        return Vec::new();
    }
    let used = if has_module_initializer(app) {
        BTreeSet::new()
    } else {
        used_by_main(app)
    };
    let describe = |(rid, row): &(u32, corten_metadata::AssemblyRefRow<'_>)| MissingReference {
        name: row.name.to_owned(),
        version: row.version,
        needed_by_main: used.contains(rid),
    };
    absent.iter().map(describe).collect()
}

/// Whether `<Module>` (always the first type) has a class constructor.
fn has_module_initializer(app: &Module) -> bool {
    let Ok(module_type) = app.type_def(1) else { return false };
    module_type
        .method_list
        .clone()
        .any(|rid| app.method_def(rid).is_ok_and(|method| method.name == ".cctor"))
}

/// The AssemblyRef rows that the entry method's code names.
fn used_by_main(app: &Module) -> BTreeSet<u32> {
    let mut used = BTreeSet::new();
    let body = image::entry_point(app).and_then(|entry| app.method_body(entry.rid()).ok().flatten());
    let Some(body) = body else { return used };
    for instruction in Decoder::new(body.code).flatten() {
        if let Operand::Token(token) = instruction.operand {
            add_token(app, token, &mut used);
        }
    }
    used
}

/// Follows a token to the assembly that defines what it names. `None`-like outcomes (own types, damaged rows) add nothing.
fn add_token(app: &Module, token: Token, used: &mut BTreeSet<u32>) {
    let rid = token.rid();
    match token.table() {
        Some(TableId::AssemblyRef) => {
            used.insert(rid);
        }
        Some(TableId::TypeRef) => {
            // The scope of a nested type is its enclosing type; a malformed chain could be a cycle, so it is bounded.
            let mut scope = token;
            for _ in 0..app.row_count(TableId::TypeRef) {
                match app.type_ref(scope.rid()) {
                    Ok(row) if row.resolution_scope.table() == Some(TableId::TypeRef) => scope = row.resolution_scope,
                    Ok(row) if row.resolution_scope.table() == Some(TableId::AssemblyRef) => {
                        used.insert(row.resolution_scope.rid());
                        return;
                    }
                    _ => return,
                }
            }
        }
        Some(TableId::MemberRef) => {
            // A parent that is a method (vararg call site) or a module adds nothing.
            if let Ok(row) = app.member_ref(rid)
                && matches!(row.class.table(), Some(TableId::TypeRef | TableId::TypeSpec))
            {
                add_token(app, row.class, used);
            }
        }
        Some(TableId::MethodSpec) => {
            if let Ok(row) = app.method_spec(rid) {
                if row.method.table() == Some(TableId::MemberRef) {
                    add_token(app, row.method, used);
                }
                sig::parse_method_spec(row.instantiation)
                    .iter()
                    .flatten()
                    .for_each(|arg| add_type(app, arg, used));
            }
        }
        Some(TableId::TypeSpec) => {
            if let Ok(row) = app.type_spec(rid)
                && let Ok(ty) = sig::parse_type_spec(row.signature)
            {
                add_type(app, &ty, used);
            }
        }
        _ => {}
    }
}

fn add_type(app: &Module, ty: &TypeSig, used: &mut BTreeSet<u32>) {
    match ty {
        TypeSig::Class(token) | TypeSig::ValueType(token) if token.table() == Some(TableId::TypeRef) => {
            add_token(app, *token, used);
        }
        TypeSig::GenericInst { definition, args, .. } => {
            if definition.table() == Some(TableId::TypeRef) {
                add_token(app, *definition, used);
            }
            args.iter().for_each(|arg| add_type(app, arg, used));
        }
        TypeSig::Ptr(inner) | TypeSig::ByRef(inner) | TypeSig::SzArray(inner) | TypeSig::Pinned(inner) => {
            add_type(app, inner, used);
        }
        TypeSig::Array { element, .. } => add_type(app, element, used),
        TypeSig::Modified { inner, .. } => add_type(app, inner, used),
        _ => {}
    }
}
