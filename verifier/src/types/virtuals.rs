//! Which method of a class implements a method of its interface (ECMA-335 II.12.2).
//!
//! The question asked here is only whether there is one: an explicit override on the class or a base class, a virtual
//! method there with the interface method's name and signature, or a default implementation that is the most specific one.

use super::{MAX_CHAIN, MethodInfo, RowId, Sig, Ty, TypeResult, TypeSystem};
use crate::universe::DefId;
use std::rc::Rc;

/// An explicit override of a type: what is overridden, and by which method.
pub(crate) struct Override<'u> {
    pub declaring: Ty,
    pub declaration: Rc<MethodInfo<'u>>,
    pub body: Rc<MethodInfo<'u>>,
}

impl<'u> TypeSystem<'u> {
    /// The explicit overrides of a type, with its arguments put in. Records that do not resolve are left out.
    pub fn overrides(&mut self, ty: Ty) -> TypeResult<Vec<Override<'u>>> {
        let Some(def) = self.def_of(ty) else {
            return Ok(Vec::new());
        };
        let image = self.universe.module(def.module);
        let context = super::Context {
            module: def.module,
            type_args: self.args_of(ty),
            method_args: Rc::new([]),
        };
        let mut found = Vec::new();
        for rid in image.method_impls(def.rid) {
            let Ok(row) = image.method_impl(rid) else { continue };
            let declaration = self.resolve_token(&context, row.declaration);
            let body = self.resolve_token(&context, row.body);
            if let (Ok(Some(super::Member::Method(declaration))), Ok(Some(super::Member::Method(body)))) =
                (declaration, body)
                && let (Some(info), Some(body)) = (declaration.info, body.info)
            {
                found.push(Override {
                    declaring: declaration.owner,
                    declaration: info,
                    body,
                });
            }
        }
        Ok(found)
    }

    /// Whether a class has an implementation of a method of an interface (`owner`, with arguments).
    pub fn implements(&mut self, class: Ty, owner: Ty, method: &MethodInfo<'u>) -> TypeResult<bool> {
        let owner_args = self.args_of(owner);
        let wanted = self.substitute_sig(&method.sig, &owner_args, &[])?;
        let mut current = Some(class);
        for _ in 0..MAX_CHAIN {
            let Some(ty) = current else { break };
            let explicit = self.overrides(ty)?;
            if explicit
                .iter()
                .any(|o| o.declaring == owner && o.declaration.id == method.id)
            {
                return Ok(true);
            }
            if self.find_virtual(ty, method.name, &wanted)?.is_some() {
                return Ok(true);
            }
            current = self.base(ty)?;
        }
        self.has_default(class, owner, method)
    }

    /// A virtual method of the type itself with this name and signature.
    pub fn find_virtual(&mut self, ty: Ty, name: &str, wanted: &Sig) -> TypeResult<Option<Rc<MethodInfo<'u>>>> {
        let Some(def) = self.def_of(ty) else { return Ok(None) };
        let args = self.args_of(ty);
        let names = self.methods_by_name(def)?;
        for &rid in names.get(name).into_iter().flatten() {
            let Ok(candidate) = self.method(RowId {
                module: def.module,
                rid,
            }) else {
                continue;
            };
            if candidate.is_virtual() && self.substitute_sig(&candidate.sig, &args, &[])? == *wanted {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    /// Whether one of the interfaces of a class gives the method a body, and no other does that is not less specific.
    fn has_default(&mut self, class: Ty, owner: Ty, method: &MethodInfo<'u>) -> TypeResult<bool> {
        let mut best: Option<Ty> = None;
        let mut is_ambiguous = false;
        for &interface in self.interfaces(class)?.iter() {
            let inherited = self.interfaces(interface)?;
            if !inherited.contains(&owner) {
                continue;
            }
            let explicit = self.overrides(interface)?;
            if !explicit
                .iter()
                .any(|o| o.declaring == owner && o.declaration.id == method.id)
            {
                continue;
            }
            match best {
                Some(known) if !inherited.contains(&known) => {
                    is_ambiguous |= !self.interfaces(known)?.contains(&interface);
                }
                _ => {
                    best = Some(interface);
                    is_ambiguous = false;
                }
            }
        }
        Ok(best.is_some() && !is_ambiguous)
    }

    /// The methods of a type definition that load.
    pub fn methods_of(&mut self, def: DefId) -> TypeResult<Vec<Rc<MethodInfo<'u>>>> {
        let rows = self.def(def)?.methods.clone();
        let load = |rid| {
            self.method(RowId {
                module: def.module,
                rid,
            })
            .ok()
        };
        Ok(rows.filter_map(load).collect())
    }
}
