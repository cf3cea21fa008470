//! The closest common supertype of two references, for paths that join (ECMA-335 III.1.8.1.3).

use super::{Category, MAX_CHAIN, Ty, TyKind, TypeResult, TypeSystem};
use crate::universe::WellKnown;

impl<'u> TypeSystem<'u> {
    pub fn merge_references(&mut self, a: Ty, b: Ty) -> TypeResult<Ty> {
        if a == b {
            return Ok(a);
        }
        let (ka, kb) = (self.category(a)?, self.category(b)?);
        let is_array = |c| matches!(c, Category::Array | Category::SzArray);
        if is_array(ka) && is_array(kb) {
            return self.merge_arrays(a, b);
        }
        if ka == Category::GenericParameter || kb == Category::GenericParameter {
            return if self.can_cast(a, b)? {
                Ok(b)
            } else if self.can_cast(b, a)? {
                Ok(a)
            } else {
                Ok(self.known(WellKnown::Object))
            };
        }
        match (ka == Category::Interface, kb == Category::Interface) {
            (true, true) => {
                if self.interfaces(a)?.contains(&b) {
                    return Ok(b);
                }
                if self.interfaces(b)?.contains(&a) {
                    return Ok(a);
                }
                self.first_common_interface(b, a)
            }
            (false, true) => self.merge_class_with_interface(a, b),
            (true, false) => self.merge_class_with_interface(b, a),
            (false, false) => self.merge_classes(a, b),
        }
    }

    fn merge_class_with_interface(&mut self, class: Ty, interface: Ty) -> TypeResult<Ty> {
        if self.interfaces(class)?.contains(&interface) {
            return Ok(interface);
        }
        self.first_common_interface(interface, class)
    }

    /// The first interface of `a` that `b` has too, else object.
    fn first_common_interface(&mut self, a: Ty, b: Ty) -> TypeResult<Ty> {
        let theirs = self.interfaces(b)?;
        let common = self.interfaces(a)?.iter().copied().find(|i| theirs.contains(i));
        Ok(common.unwrap_or(self.known(WellKnown::Object)))
    }

    fn bases(&mut self, ty: Ty) -> TypeResult<Vec<Ty>> {
        let mut chain = vec![ty];
        while chain.len() < MAX_CHAIN
            && let Some(last) = chain.last()
            && let Some(base) = self.base(*last)?
        {
            chain.push(base);
        }
        Ok(chain)
    }

    fn merge_classes(&mut self, a: Ty, b: Ty) -> TypeResult<Ty> {
        let theirs = self.bases(b)?;
        let common = self.bases(a)?.into_iter().find(|t| theirs.contains(t));
        Ok(common.unwrap_or(self.known(WellKnown::Object)))
    }

    fn merge_arrays(&mut self, a: Ty, b: Ty) -> TypeResult<Ty> {
        let array = self.known(WellKnown::Array);
        let (ea, eb, rank) = match (self.kind(a), self.kind(b)) {
            (TyKind::SzArray(ea), TyKind::SzArray(eb)) => (*ea, *eb, None),
            (TyKind::Array(ea, ra), TyKind::Array(eb, rb)) if ra == rb => (*ea, *eb, Some(*ra)),
            (TyKind::SzArray(ea), TyKind::Array(eb, 1)) | (TyKind::Array(ea, 1), TyKind::SzArray(eb)) => {
                (*ea, *eb, Some(1))
            }
            _ => return Ok(array),
        };
        let element = if ea == eb {
            ea
        } else if self.category(ea)?.is_reference() && self.category(eb)?.is_reference() {
            self.merge_references(ea, eb)?
        } else {
            return Ok(array);
        };
        match rank {
            None => self.sz_array(element),
            Some(rank) => self.intern(TyKind::Array(element, rank)),
        }
    }
}
