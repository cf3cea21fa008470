//! Names of types for people.

use super::{MAX_CHAIN, Ty, TyKind, TypeSystem};
use crate::universe::DefId;

impl<'u> TypeSystem<'u> {
    /// Full name of a definition: `Namespace.Outer+Inner`.
    pub fn def_name(&self, def: DefId) -> String {
        def_name(self.universe.module(def.module), def.rid)
    }

    /// A type as C# people and reflection write it.
    pub fn type_name(&self, ty: Ty) -> String {
        match self.kind(ty) {
            TyKind::Def(def) => self.def_name(*def),
            TyKind::Inst(def, args) => format!("{}<{}>", self.def_name(*def), self.type_names(args)),
            TyKind::SzArray(t) => format!("{}[]", self.type_name(*t)),
            TyKind::Array(t, rank) if *rank == 1 => format!("{}[*]", self.type_name(*t)),
            TyKind::Array(t, rank) => {
                format!(
                    "{}[{}]",
                    self.type_name(*t),
                    ",".repeat(usize::from(*rank).saturating_sub(1))
                )
            }
            TyKind::ByRef(t) => format!("{}&", self.type_name(*t)),
            TyKind::Ptr(t) => format!("{}*", self.type_name(*t)),
            TyKind::FnPtr(sig) => format!("method {} *({})", self.type_name(sig.ret), self.type_names(&sig.params)),
            TyKind::Param(id) => {
                let row = self.universe.module(id.module).generic_param(id.rid);
                row.map_or_else(|_| "?".to_owned(), |row| row.name.to_owned())
            }
            TyKind::Var(index) => format!("!{index}"),
            TyKind::MVar(index) => format!("!!{index}"),
        }
    }

    pub fn type_names(&self, types: &[Ty]) -> String {
        types.iter().map(|t| self.type_name(*t)).collect::<Vec<_>>().join(", ")
    }
}

/// Full name of a TypeDef row: `Namespace.Outer+Inner`.
pub(crate) fn def_name(module: &corten_metadata::Module, rid: u32) -> String {
    let mut parts = Vec::new();
    let mut current = Some(rid);
    while let Some(rid) = current.filter(|_| parts.len() < MAX_CHAIN) {
        match module.type_def(rid) {
            Ok(row) if row.namespace.is_empty() => parts.push(row.name.to_owned()),
            Ok(row) => parts.push(format!("{}.{}", row.namespace, row.name)),
            Err(_) => parts.push(format!("{rid:#x}")),
        }
        current = module.enclosing_type(rid);
    }
    parts.reverse();
    parts.join("+")
}
