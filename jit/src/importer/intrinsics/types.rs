//! `System.Type`: tests of types that are known while importing.

use super::super::stack::{Entry, Known};
use super::super::{Importer, Step};
use crate::host_api::{MethodInfo, WellKnownType};
use crate::ir::*;

impl Importer<'_, '_> {
    /// `typeof` and comparisons of types. Branches on the answers prune generic code.
    pub fn type_intrinsic(&mut self, info: &MethodInfo) -> Step<bool> {
        match (&*info.name, info.sig.params.len()) {
            ("GetTypeFromHandle", 1) => {
                let entry = self.pop()?;
                if let Known::TypeHandle(ty) = entry.known {
                    self.push(Entry::lazy(Ty::Ref, Known::RuntimeType(ty)));
                    return Ok(true);
                }
                let handle = self.host.well_known(WellKnownType::RuntimeTypeHandle);
                let value = self.coerce(entry, Ty::Struct(handle))?;
                let object = self.b.emit(
                    Op::StructField {
                        value,
                        offset: 0,
                        ty: MemTy::Ref,
                    },
                    Ty::Ref,
                );
                self.push_value(object);
                Ok(true)
            }
            ("op_Equality", 2) => self.type_equality(Cond::Eq),
            ("op_Inequality", 2) => self.type_equality(Cond::Ne),
            ("get_IsValueType", 0) => {
                let Some(ty) = self.peek(0).and_then(Self::known_type) else {
                    return Ok(false);
                };
                let answer = self.type_info(ty)?.is_value_type;
                self.pop()?;
                self.push_bool(answer);
                Ok(true)
            }
            ("get_TypeHandle", 0) => {
                let Some(ty) = self.peek(0).and_then(Self::known_type) else {
                    return Ok(false);
                };
                self.pop()?;
                let handle = self.host.well_known(WellKnownType::RuntimeTypeHandle);
                self.push(Entry::lazy(Ty::Struct(handle), Known::TypeHandle(ty)));
                Ok(true)
            }
            ("IsAssignableFrom", 1) => self.type_assignable(0, 1),
            ("IsAssignableTo", 1) => self.type_assignable(1, 0),
            _ => Ok(false),
        }
    }

    /// Reference comparison, if one side is known to be a RuntimeType.
    fn type_equality(&mut self, cond: Cond) -> Step<bool> {
        let runtime_type = |e: Option<&Entry>| e.is_some_and(|e| matches!(e.known, Known::RuntimeType(_)));
        if !runtime_type(self.peek(0)) && !runtime_type(self.peek(1)) {
            return Ok(false);
        }
        self.compare(cond)?;
        Ok(true)
    }

    /// `from` and `to` are stack depths.
    fn type_assignable(&mut self, from: usize, to: usize) -> Step<bool> {
        let from = self.peek(from).and_then(Self::known_type);
        let to = self.peek(to).and_then(Self::known_type);
        let (Some(from), Some(to)) = (from, to) else {
            return Ok(false);
        };
        // Reflection also relates enums, pointers and nullables: answer only the plain case.
        let (from_info, to_info) = (self.type_info(from)?, self.type_info(to)?);
        if to_info.is_value_type && from != to || from_info.nullable_of.is_some() {
            return Ok(false);
        }
        let Some(answer) = self.host.compare_types_for_cast(from, to) else {
            return Ok(false);
        };
        if !answer && !from_info.is_exact {
            // "A value of that class may be castable" is not the question here, but do not guess.
            return Ok(false);
        }
        self.pop()?;
        self.pop()?;
        self.push_bool(answer);
        Ok(true)
    }
}
