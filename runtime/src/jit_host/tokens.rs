//! Token resolution in the generic context of the method being compiled.

use super::synthetic::{TARGET, Target};
use super::{EngineHost, field_id, method_id, type_id};
use crate::icalls::reflection::dynamic_method::{self, DynamicToken};
use corten_jit::host_api::*;
use corten_loader::{FieldDesc, MethodDesc, TypeHandle};
use corten_metadata::{CallingConvention, TableId, Token};

impl EngineHost {
    fn dynamic_token(&self, scope: &'static MethodDesc, token: Token) -> HostResult<DynamicToken> {
        dynamic_method::resolve(scope, token).map_err(|e| self.defer_raise(e))
    }

    pub(super) fn token_type(&self, scope: &'static MethodDesc, token: Token) -> HostResult<TypeHandle> {
        if dynamic_method::is_dynamic(scope) {
            return match self.dynamic_token(scope, token)? {
                DynamicToken::Type(t) => Ok(t),
                other => Err(HostError::InvalidProgram(format!("{token:?} is not a type: {other:?}"))),
            };
        }
        self.load(scope.module().resolve_type(token, scope.context()))
    }
    pub(super) fn token_method(&self, scope: &'static MethodDesc, token: Token) -> HostResult<&'static MethodDesc> {
        if token == TARGET
            && let Some(Target::Method(m)) = self.synthetic_target(scope)?
        {
            return Ok(m);
        }
        if dynamic_method::is_dynamic(scope) {
            return match self.dynamic_token(scope, token)? {
                DynamicToken::Method(m) => Ok(m),
                other => Err(HostError::InvalidProgram(format!(
                    "{token:?} is not a method: {other:?}"
                ))),
            };
        }
        self.load(scope.module().resolve_method(token, scope.context()))
            .map(|r| r.method)
    }
    pub(super) fn token_field(&self, scope: &'static MethodDesc, token: Token) -> HostResult<&'static FieldDesc> {
        if token == TARGET
            && let Some(Target::Field(f)) = self.synthetic_target(scope)?
        {
            return Ok(f);
        }
        if dynamic_method::is_dynamic(scope) {
            return match self.dynamic_token(scope, token)? {
                DynamicToken::Field(f) => Ok(f),
                other => Err(HostError::InvalidProgram(format!(
                    "{token:?} is not a field: {other:?}"
                ))),
            };
        }
        self.load(scope.module().resolve_field(token, scope.context()))
    }
    pub(super) fn token_signature(&self, scope: &'static MethodDesc, token: Token) -> HostResult<Signature> {
        let dynamic;
        let s = if dynamic_method::is_dynamic(scope) {
            dynamic = dynamic_method::call_site_signature(scope, token).map_err(|e| self.defer_raise(e))?;
            &dynamic
        } else {
            dynamic = self.load(scope.module().resolve_standalone_sig(token, scope.context()))?;
            &dynamic
        };
        Ok(Signature {
            // An explicit `this` is among the parameters.
            has_this: s.has_this && !s.explicit_this,
            ret: type_id(s.ret),
            params: s.params.iter().map(|t| type_id(*t)).collect(),
            convention: match s.calling_convention {
                CallingConvention::Default => Convention::Managed,
                CallingConvention::VarArg => Convention::VarArg,
                _ => Convention::Unmanaged,
            },
        })
    }
    pub(super) fn token_handle(&self, scope: &'static MethodDesc, token: Token) -> HostResult<TokenHandle> {
        if dynamic_method::is_dynamic(scope) {
            return Ok(match self.dynamic_token(scope, token)? {
                DynamicToken::Type(t) => TokenHandle::Type(type_id(t)),
                DynamicToken::Method(m) => TokenHandle::Method(method_id(m)),
                DynamicToken::Field(f) => TokenHandle::Field(field_id(f)),
            });
        }
        let module = scope.module();
        let is_field = match token.table() {
            Some(TableId::TypeDef | TableId::TypeRef | TableId::TypeSpec) => {
                return self.token_type(scope, token).map(|t| TokenHandle::Type(type_id(t)));
            }
            Some(TableId::MethodDef | TableId::MethodSpec) => false,
            Some(TableId::Field) => true,
            Some(TableId::MemberRef) => {
                let row = module
                    .metadata()
                    .member_ref(token.rid())
                    .map_err(|e| HostError::InvalidProgram(e.to_string()))?;
                corten_metadata::sig::is_field(row.signature)
            }
            _ => return Err(HostError::InvalidProgram(format!("ldtoken of {token:?}"))),
        };
        if is_field {
            self.token_field(scope, token).map(|f| TokenHandle::Field(field_id(f)))
        } else {
            self.token_method(scope, token)
                .map(|m| TokenHandle::Method(method_id(m)))
        }
    }
    pub(super) fn literal(&self, scope: &'static MethodDesc, token: Token) -> HostResult<u64> {
        if dynamic_method::is_dynamic(scope) {
            let string = dynamic_method::string_literal(scope, token).map_err(|e| self.defer_raise(e))?;
            return Ok(string as u64);
        }
        let literal = self.load(scope.module().user_string(token))?;
        crate::strings::literal(&literal.to_vec())
            .map(|o| o as u64)
            .map_err(|_| HostError::InvalidProgram("out of memory for a string literal".into()))
    }
}
