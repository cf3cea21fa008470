//! References into the method's own frame, and what calls may do with them: the part of C#'s ref-safety that metadata
//! shows (`scoped` parameters, `out` parameters, `UnscopedRef`).

use corten_metadata::{ParamAttributes, TableId, Token};

use super::stack::{Kind, StackValue};
use super::{Check, MethodVerifier};
use crate::types::{MethodInfo, MethodRef};

const NAMESPACE: &str = "System.Runtime.CompilerServices";

/// Where a call may put references into the frame that it is given.
#[derive(Clone, Copy, Default)]
pub(super) struct Escape {
    /// Into its result.
    pub into_result: bool,
    /// Into its receiver.
    pub into_this: bool,
}

impl Escape {
    pub fn add(&mut self, escapes: bool) {
        self.into_result |= escapes;
        self.into_this |= escapes;
    }

    pub fn add_this(&mut self, escapes: bool) {
        self.into_result |= escapes;
    }
}

impl<'u> MethodVerifier<'_, 'u> {
    /// Whether the method may keep or return a reference given as this argument.
    pub(super) fn escapes(&mut self, method: &MethodRef<'u>, index: usize, declared: StackValue) -> Check<bool> {
        if !self.is_by_ref_like(declared)? {
            return Ok(false);
        }
        let Some(info) = &method.info else { return Ok(true) };
        let image = self.types.universe.module(info.id.module);
        let Ok(row) = image.method_def(info.id.rid) else {
            return Ok(true);
        };
        for rid in row.param_list {
            let Ok(param) = image.param(rid) else { continue };
            if usize::from(param.sequence) != index + 1 {
                continue;
            }
            let is_out = param.flags.contains(ParamAttributes::OUT) && !param.flags.contains(ParamAttributes::IN);
            let token = Token::new(TableId::Param, rid);
            let is_scoped = image.has_attribute(token, NAMESPACE, "ScopedRefAttribute");
            return Ok(!(is_scoped || (is_out && declared.kind == Kind::ByRef)));
        }
        Ok(true)
    }

    /// Whether a method of a value type may return a reference into its receiver.
    pub(super) fn this_escapes(&self, method: &MethodRef<'u>) -> bool {
        method.info.as_ref().is_some_and(|info| self.is_unscoped(info))
    }

    /// Whether the current method, of a value type, may return references into `this`.
    pub(super) fn returns_this(&self) -> bool {
        self.is_unscoped(&self.method)
    }

    /// Whether the method, or the property it reads or writes, is marked with `UnscopedRef`.
    fn is_unscoped(&self, info: &MethodInfo<'u>) -> bool {
        let image = self.types.universe.module(info.id.module);
        let marked = |token| image.has_attribute(token, "System.Diagnostics.CodeAnalysis", "UnscopedRefAttribute");
        if marked(Token::new(TableId::MethodDef, info.id.rid)) {
            return true;
        }
        image.properties_of(info.owner.rid).any(|rid| {
            let property = Token::new(TableId::Property, rid);
            let mut accessors = image.semantics_of(property);
            let is_accessor = |rid| image.method_semantics(rid).is_ok_and(|row| row.method == info.id.rid);
            accessors.any(is_accessor) && marked(property)
        })
    }
}
