//! Generic parameters, and whether type arguments satisfy their constraints (ECMA-335 II.10.1.7).

use std::rc::Rc;

use corten_metadata::{GenericParamAttributes, MethodAttributes, TableId, TypeAttributes};

use super::{Category, LoadFailure, MethodRef, RowId, Ty, TyKind, TypeResult, TypeSystem};
use crate::code::Code;
use crate::universe::DefId;

/// A generic parameter.
pub(crate) struct ParamInfo {
    pub flags: GenericParamAttributes,
    /// As written.
    pub written: Vec<Ty>,
    /// With the owner's parameters as types of their own.
    pub constraints: Vec<Ty>,
}

const CLASS: GenericParamAttributes = GenericParamAttributes::REFERENCE_TYPE_CONSTRAINT;
const STRUCT: GenericParamAttributes = GenericParamAttributes::NOT_NULLABLE_VALUE_TYPE_CONSTRAINT;
const NEW: GenericParamAttributes = GenericParamAttributes::DEFAULT_CONSTRUCTOR_CONSTRAINT;

impl<'u> TypeSystem<'u> {
    pub fn param(&mut self, id: RowId) -> TypeResult<Rc<ParamInfo>> {
        if let Some(known) = self.caches.params.get(&id) {
            return known.clone();
        }
        let result = self.read_param(id).map(Rc::new);
        self.caches.params.insert(id, result.clone());
        result
    }

    fn read_param(&mut self, id: RowId) -> TypeResult<ParamInfo> {
        let image = self.universe.module(id.module);
        let row = image.generic_param(id.rid).map_err(|e| LoadFailure::metadata(&e))?;
        let rid = row.owner.rid();
        let (type_args, method_args) = if row.owner.is(TableId::MethodDef) {
            let method = self.method(RowId { rid, ..id })?;
            let owner = self.def(method.owner)?;
            (self.own_args(&owner.params)?, self.own_args(&method.params)?)
        } else {
            let owner = self.def(DefId { module: id.module, rid })?;
            (self.own_args(&owner.params)?, Vec::new())
        };
        let mut written = Vec::new();
        for rid in image.generic_param_constraints(id.rid) {
            let row = image
                .generic_param_constraint(rid)
                .map_err(|e| LoadFailure::metadata(&e))?;
            written.push(self.written_token(id.module, row.constraint)?);
        }
        let constraints = self.substitute_all(&written, &type_args, &method_args)?;
        Ok(ParamInfo {
            flags: row.flags,
            written,
            constraints,
        })
    }

    /// Whether the arguments of a type satisfy its parameters' constraints.
    pub fn type_constraints_hold(&mut self, ty: Ty) -> TypeResult<bool> {
        let TyKind::Inst(def, args) = self.kind(ty).clone() else {
            return Ok(true);
        };
        let params = self.def(def)?.params.clone();
        self.arguments_fit(&params, &args, &args, &[])
    }

    /// Whether the arguments of a generic method satisfy its parameters' constraints.
    pub fn method_constraints_hold(&mut self, method: &MethodRef<'u>) -> TypeResult<bool> {
        let Some(info) = method.info.as_ref().filter(|_| !method.args.is_empty()) else {
            return Ok(true);
        };
        let owner_args = self.args_of(method.owner);
        self.arguments_fit(&info.params, &method.args, &owner_args, &method.args)
    }

    fn arguments_fit(
        &mut self,
        params: &[RowId],
        args: &[Ty],
        type_args: &[Ty],
        method_args: &[Ty],
    ) -> TypeResult<bool> {
        if params.len() != args.len() {
            return LoadFailure::new(Code::ClassLoadBadFormat, "wrong number of type arguments");
        }
        for (&param, &arg) in params.iter().zip(args) {
            if !self.argument_fits(param, arg, type_args, method_args)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn argument_fits(&mut self, param: RowId, arg: Ty, type_args: &[Ty], method_args: &[Ty]) -> TypeResult<bool> {
        let info = self.param(param)?;
        let category = self.category(arg)?;
        if info.flags.contains(CLASS) && !category.is_reference() && !self.param_guarantees(arg, CLASS)? {
            return Ok(false);
        }
        if info.flags.contains(NEW) && !self.has_default_constructor(arg)? && !self.param_guarantees(arg, NEW)? {
            return Ok(false);
        }
        if info.flags.contains(STRUCT) {
            let is_struct = category.is_value_type() && category != Category::Nullable;
            if !is_struct && !self.param_guarantees(arg, STRUCT)? {
                return Ok(false);
            }
        }
        if !info.flags.contains(GenericParamAttributes::ALLOW_BY_REF_LIKE) && self.may_be_by_ref_like(arg)? {
            return Ok(false);
        }
        for &written in &info.written {
            let constraint = self.substitute(written, type_args, method_args)?;
            // Casts take value types as boxed, which would let an int pass as a Nullable<int>.
            if category.is_value_type() && self.is_value_type(constraint)? && arg != constraint {
                return Ok(false);
            }
            if !self.can_cast(arg, constraint)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn may_be_by_ref_like(&mut self, ty: Ty) -> TypeResult<bool> {
        match *self.kind(ty) {
            TyKind::Param(param) => Ok(self
                .param(param)?
                .flags
                .contains(GenericParamAttributes::ALLOW_BY_REF_LIKE)),
            _ => self.is_by_ref_like(ty),
        }
    }

    /// Whether `arg` is a generic parameter that promises `constraint` itself.
    fn param_guarantees(&mut self, arg: Ty, constraint: GenericParamAttributes) -> TypeResult<bool> {
        let TyKind::Param(param) = *self.kind(arg) else {
            return Ok(false);
        };
        let info = self.param(param)?;
        if info.flags.contains(constraint) || (constraint == NEW && info.flags.contains(STRUCT)) {
            return Ok(true);
        }
        for &base in &info.constraints {
            let category = self.category(base)?;
            if matches!(category, Category::GenericParameter | Category::Interface) {
                continue;
            }
            let is_value_type = category.is_value_type();
            let holds = match constraint {
                CLASS => !is_value_type,
                STRUCT => is_value_type && category != Category::Nullable,
                // A class constraint is an ancestor only, whose constructor says nothing of the argument's.
                _ => is_value_type,
            };
            if holds {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn has_default_constructor(&mut self, ty: Ty) -> TypeResult<bool> {
        if self.is_value_type(ty)? {
            return Ok(true);
        }
        let Some(def) = self.def_of(ty) else { return Ok(false) };
        if self.def(def)?.flags.contains(TypeAttributes::ABSTRACT) {
            return Ok(false);
        }
        let names = self.methods_by_name(def)?;
        for &rid in names.get(".ctor").into_iter().flatten() {
            let Ok(method) = self.method(RowId {
                module: def.module,
                rid,
            }) else {
                continue;
            };
            let access = method.flags & MethodAttributes::MEMBER_ACCESS_MASK;
            if method.sig.params.is_empty() && !method.is_static() && access == MethodAttributes::PUBLIC {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
