//! All interfaces of a type.

use std::rc::Rc;

use super::{LoadFailure, MAX_CHAIN, Ty, TyKind, TypeResult, TypeSystem};
use crate::code::Code;
use crate::universe::WellKnown;

/// Most interfaces of one type.
const MAX_INTERFACES: usize = 10_000;

impl<'u> TypeSystem<'u> {
    /// Every interface of a type, inherited ones and those of interfaces included. Generic parameters and pointers have
    /// none.
    pub fn interfaces(&mut self, ty: Ty) -> TypeResult<Rc<[Ty]>> {
        if let Some(known) = self.caches.interfaces.get(&ty) {
            return Ok(known.clone());
        }
        if self.caches.computing.len() > MAX_CHAIN / 10 || self.caches.computing.contains(&ty) {
            return LoadFailure::new(
                Code::ClassLoadGeneral,
                "interfaces form a cycle or are nested too deeply",
            );
        }
        self.caches.computing.push(ty);
        let result = self.compute_interfaces(ty);
        self.caches.computing.pop();
        let result: Rc<[Ty]> = result?.into();
        self.caches.interfaces.insert(ty, result.clone());
        Ok(result)
    }

    fn compute_interfaces(&mut self, ty: Ty) -> TypeResult<Vec<Ty>> {
        let mut all = Vec::new();
        let def = match self.kind(ty).clone() {
            TyKind::Def(def) => def,
            TyKind::Inst(def, args) => {
                // From the definition's own, which are found once for all instances.
                let open = self.intern(TyKind::Def(def))?;
                let open = self.interfaces(open)?;
                for &interface in open.iter() {
                    let interface = self.substitute(interface, &args, &[])?;
                    if !all.contains(&interface) {
                        all.push(interface);
                    }
                }
                return Ok(all);
            }
            TyKind::SzArray(element) => return self.array_interfaces(Some(element)),
            TyKind::Array(..) => return self.array_interfaces(None),
            _ => return Ok(all),
        };
        let info = self.def(def)?;
        if let Some(base) = info.base {
            all.extend(self.interfaces(base)?.iter().copied());
        }
        for &interface in &info.interfaces {
            let inherited = self.interfaces(interface)?;
            for &one in std::iter::once(&interface).chain(inherited.iter()) {
                if !all.contains(&one) {
                    all.push(one);
                }
            }
            if all.len() > MAX_INTERFACES {
                return LoadFailure::new(Code::ClassLoadGeneral, "too many interfaces");
            }
        }
        Ok(all)
    }

    fn array_interfaces(&mut self, element: Option<Ty>) -> TypeResult<Vec<Ty>> {
        let array = self.known(WellKnown::Array);
        let mut all = self.interfaces(array)?.to_vec();
        let Some(element) = element else { return Ok(all) };
        if self.category(element)?.is_value_type() || !matches!(self.kind(element), TyKind::Ptr(_) | TyKind::FnPtr(_)) {
            for which in [
                WellKnown::IList,
                WellKnown::ICollection,
                WellKnown::IEnumerable,
                WellKnown::IReadOnlyList,
                WellKnown::IReadOnlyCollection,
            ] {
                let def = self.universe.well_known_def(which);
                all.push(self.intern(TyKind::Inst(def, Rc::new([element])))?);
            }
        }
        Ok(all)
    }

    /// The interfaces a type lists itself, with its arguments put in.
    pub fn listed_interfaces(&mut self, ty: Ty) -> TypeResult<Vec<Ty>> {
        let Some(def) = self.def_of(ty) else {
            return Ok(Vec::new());
        };
        let listed = self.def(def)?.interfaces.clone();
        let args = self.args_of(ty);
        self.substitute_all(&listed, &args, &[])
    }
}
