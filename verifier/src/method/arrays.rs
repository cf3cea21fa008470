//! One-dimensional arrays.

use corten_metadata::Token;

use super::prefixes::Prefixes;
use super::stack::{Flags, Kind, StackValue};
use super::{Check, MethodVerifier};
use crate::code::Code;
use crate::types::{Ty, TyKind};
use crate::universe::WellKnown;

impl MethodVerifier<'_, '_> {
    pub(super) fn new_array(&mut self, token: Token) -> Check {
        let element = self.resolve_type(token)?;
        let length = self.pop()?;
        let fits = matches!(length.kind, Kind::Int32 | Kind::NativeInt);
        self.expect_found(fits, Code::StackUnexpected, length);
        let stored = self.value_of(element)?;
        let is_by_ref_like = self.is_by_ref_like(stored)?;
        self.expect(!is_by_ref_like, Code::ArrayByRef);
        let array = self.types.sz_array(element)?;
        self.push(StackValue::reference(array))
    }

    fn expect_array(&mut self, array: StackValue) {
        let is_array = array.kind == Kind::ObjRef
            && array
                .ty
                .is_none_or(|ty| matches!(self.types.kind(ty), TyKind::SzArray(_)));
        self.expect_found(is_array, Code::ExpectedArray, array);
    }

    /// Takes index and array; the array's element type, none for null and for what is no array.
    fn pop_array(&mut self) -> Check<Option<Ty>> {
        let index = self.pop()?;
        let array = self.pop()?;
        let fits = matches!(index.kind, Kind::Int32 | Kind::NativeInt);
        self.require_found(fits, Code::StackUnexpected, index)?;
        self.expect_array(array);
        Ok(match array.ty.map(|ty| self.types.kind(ty).clone()) {
            Some(TyKind::SzArray(element) | TyKind::Array(element, _)) if array.kind == Kind::ObjRef => Some(element),
            _ => None,
        })
    }

    /// `ldelem`; no type: `ldelem.ref`.
    pub(super) fn load_element(&mut self, ty: Option<Ty>) -> Check {
        let actual = self.pop_array()?;
        match (actual, ty) {
            (Some(actual), Some(ty)) => {
                let actual = self.types.verification_type(actual)?;
                self.check_type_assignable(actual, ty, true)?;
            }
            (Some(actual), None) => self.check_reference_type(actual)?,
            (None, _) => {}
        }
        let value = match ty.or(actual) {
            Some(ty) => self.value_of(ty)?,
            None => StackValue::null(),
        };
        self.push(value)
    }

    /// `stelem`; no type: `stelem.ref`.
    pub(super) fn store_element(&mut self, ty: Option<Ty>) -> Check {
        let value = self.pop()?;
        let actual = self.pop_array()?;
        match (actual, ty) {
            (Some(actual), Some(ty)) => {
                let actual = self.types.verification_type(actual)?;
                self.check_type_assignable(ty, actual, true)?;
            }
            (Some(actual), None) => self.check_reference_type(actual)?,
            (None, _) => {}
        }
        match ty.or(actual) {
            Some(ty) => {
                let stored = self.value_of(ty)?;
                self.check_assignable(value, stored)
            }
            None => {
                // Storing in null: any reference will do.
                let object = StackValue::reference(self.known(WellKnown::Object));
                self.check_assignable(value, object)
            }
        }
    }

    pub(super) fn address_of_element(&mut self, token: Token) -> Check {
        let ty = self.resolve_type(token)?;
        if let Some(actual) = self.pop_array()?
            && actual != ty
            && self.types.reduced(actual)? != self.types.reduced(ty)?
        {
            let (found, expected) = (self.types.type_name(actual), self.types.type_name(ty));
            self.report_types(Code::StackUnexpectedArrayType, &found, &expected);
        }
        let mut value = StackValue::by_ref(ty).with(Flags::PERMANENT);
        if self.prefixes.take(Prefixes::READ_ONLY) {
            value.flags.set(Flags::READ_ONLY);
        }
        self.push(value)
    }

    pub(super) fn load_length(&mut self) -> Check {
        let array = self.pop()?;
        self.expect_array(array);
        self.push(StackValue::primitive(Kind::NativeInt))
    }
}
