//! Visibility and accessibility (ECMA-335 I.8.5.3), with `InternalsVisibleTo` and `IgnoresAccessChecksTo`.

use corten_metadata::{FieldAttributes, MethodAttributes, TypeAttributes};

use super::{FieldRef, MAX_CHAIN, MethodRef, Sig, Ty, TyKind, TypeResult, TypeSystem};
use crate::universe::DefId;

const PUBLIC: MethodAttributes = MethodAttributes::PUBLIC;

impl<'u> TypeSystem<'u> {
    /// Whether code in `from` may name the type.
    pub fn can_access_type(&mut self, from: DefId, ty: Ty) -> TypeResult<bool> {
        match self.kind(ty).clone() {
            TyKind::Param(_) | TyKind::Var(_) | TyKind::MVar(_) => Ok(true),
            TyKind::SzArray(t) | TyKind::Array(t, _) | TyKind::ByRef(t) | TyKind::Ptr(t) => {
                self.can_access_type(from, t)
            }
            TyKind::FnPtr(sig) => self.can_access_signature(from, &sig),
            TyKind::Def(def) => self.can_access_def_cached(from, def, ty),
            TyKind::Inst(def, args) => {
                for &arg in args.iter() {
                    if !self.can_access_type(from, arg)? {
                        return Ok(false);
                    }
                }
                let open = self.intern(TyKind::Def(def))?;
                self.can_access_def_cached(from, def, open)
            }
        }
    }

    fn can_access_def_cached(&mut self, from: DefId, def: DefId, open: Ty) -> TypeResult<bool> {
        if let Some(&known) = self.caches.accessible.get(&(from, open)) {
            return Ok(known);
        }
        let result = self.can_access_def(from, def, 0)?;
        self.caches.accessible.insert((from, open), result);
        Ok(result)
    }

    fn can_access_def(&mut self, from: DefId, def: DefId, depth: usize) -> TypeResult<bool> {
        if depth > 64 {
            return Ok(false);
        }
        if self.universe.ignores_access_checks(from.module, def.module) {
            return Ok(true);
        }
        let info = self.def(def)?;
        let visibility = info.flags & TypeAttributes::VISIBILITY_MASK;
        let Some(enclosing) = info.enclosing else {
            return Ok(
                visibility == TypeAttributes::PUBLIC || self.universe.grants_friend_access(def.module, from.module)
            );
        };
        let as_member = match visibility {
            TypeAttributes::NESTED_PRIVATE => MethodAttributes::PRIVATE,
            TypeAttributes::NESTED_FAMILY => MethodAttributes::FAMILY,
            TypeAttributes::NESTED_ASSEMBLY => MethodAttributes::ASSEM,
            TypeAttributes::NESTED_FAM_AND_ASSEM => MethodAttributes::FAM_AND_ASSEM,
            TypeAttributes::NESTED_FAM_OR_ASSEM => MethodAttributes::FAM_OR_ASSEM,
            _ => PUBLIC,
        };
        if !self.can_access_def(from, enclosing, depth + 1)? {
            return Ok(false);
        }
        self.can_access_member_of(from, enclosing, as_member, None)
    }

    /// Whether code in `from` may use the method, through a receiver of type `instance` (none: static, or not known).
    pub fn can_access_method(&mut self, from: DefId, method: &MethodRef<'u>, instance: Option<Ty>) -> TypeResult<bool> {
        for &arg in method.args.iter() {
            if !self.can_access_type(from, arg)? {
                return Ok(false);
            }
        }
        if let Some(info) = &method.info {
            let access = info.flags & MethodAttributes::MEMBER_ACCESS_MASK;
            if !self.can_access_member(from, method.owner, access, instance)? {
                return Ok(false);
            }
        }
        self.can_access_signature(from, &method.sig)
    }

    /// Whether code in `from` may use the field, through a receiver of type `instance`.
    pub fn can_access_field(&mut self, from: DefId, field: &FieldRef<'u>, instance: Option<Ty>) -> TypeResult<bool> {
        let access = match field.info.flags & FieldAttributes::FIELD_ACCESS_MASK {
            FieldAttributes::PRIVATE => MethodAttributes::PRIVATE,
            FieldAttributes::FAM_AND_ASSEM => MethodAttributes::FAM_AND_ASSEM,
            FieldAttributes::ASSEMBLY => MethodAttributes::ASSEM,
            FieldAttributes::FAMILY => MethodAttributes::FAMILY,
            FieldAttributes::FAM_OR_ASSEM => MethodAttributes::FAM_OR_ASSEM,
            FieldAttributes::PUBLIC => PUBLIC,
            _ => MethodAttributes::COMPILER_CONTROLLED,
        };
        Ok(self.can_access_member(from, field.owner, access, instance)? && self.can_access_type(from, field.ty)?)
    }

    fn can_access_signature(&mut self, from: DefId, sig: &Sig) -> TypeResult<bool> {
        for &ty in std::iter::once(&sig.ret).chain(&sig.params) {
            if !self.can_access_type(from, ty)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn can_access_member(
        &mut self,
        from: DefId,
        owner: Ty,
        access: MethodAttributes,
        instance: Option<Ty>,
    ) -> TypeResult<bool> {
        if !self.can_access_type(from, owner)? {
            return Ok(false);
        }
        match self.def_of(owner) {
            Some(def) => self.can_access_member_of(from, def, access, instance),
            None => Ok(true),
        }
    }

    /// As [`Self::can_access_member`], once the owner is known to be accessible.
    fn can_access_member_of(
        &mut self,
        from: DefId,
        owner: DefId,
        access: MethodAttributes,
        instance: Option<Ty>,
    ) -> TypeResult<bool> {
        if access == PUBLIC || self.universe.ignores_access_checks(from.module, owner.module) {
            return Ok(true);
        }
        let friend = self.universe.grants_friend_access(owner.module, from.module);
        match access {
            MethodAttributes::COMPILER_CONTROLLED => return Ok(from.module == owner.module),
            MethodAttributes::ASSEM => return Ok(friend),
            MethodAttributes::FAM_AND_ASSEM if !friend => return Ok(false),
            MethodAttributes::FAM_OR_ASSEM if friend => return Ok(true),
            _ => {}
        }
        // A nested type may do what the types around it may.
        let mut current = Some(from);
        for _ in 0..MAX_CHAIN {
            let Some(def) = current else { break };
            if def == owner {
                return Ok(true);
            }
            if access != MethodAttributes::PRIVATE && self.is_family_accessible(from, def, owner, instance)? {
                return Ok(true);
            }
            current = self.def(def)?.enclosing;
        }
        Ok(false)
    }

    /// Whether `current` derives from `owner` and `instance` (or a type around it) derives from `current`.
    fn is_family_accessible(
        &mut self,
        from: DefId,
        current: DefId,
        owner: DefId,
        instance: Option<Ty>,
    ) -> TypeResult<bool> {
        let instance = match instance {
            Some(ty) => ty,
            None => self.intern(TyKind::Def(from))?,
        };
        if matches!(self.kind(instance), TyKind::Param(_)) {
            let owner = self.intern(TyKind::Def(owner))?;
            return self.can_cast(instance, owner);
        }
        let mut around = Some(instance);
        for _ in 0..MAX_CHAIN {
            let Some(ty) = around else { break };
            if self.derives_from(ty, current)? {
                let own = self.intern(TyKind::Def(current))?;
                return self.derives_from(own, owner);
            }
            around = match self.def_of(ty) {
                Some(def) => match self.def(def)?.enclosing {
                    Some(enclosing) => Some(self.intern(TyKind::Def(enclosing))?),
                    None => None,
                },
                None => None,
            };
        }
        Ok(false)
    }

    /// Whether a type or one of its base types is an instance of `ancestor`.
    pub fn derives_from(&mut self, ty: Ty, ancestor: DefId) -> TypeResult<bool> {
        let mut current = Some(ty);
        for _ in 0..MAX_CHAIN {
            let Some(ty) = current else { break };
            if self.def_of(ty) == Some(ancestor) {
                return Ok(true);
            }
            current = self.base(ty)?;
        }
        Ok(false)
    }
}
