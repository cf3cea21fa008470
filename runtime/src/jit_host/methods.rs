//! Methods as the compiler sees them.

use super::{EngineHost, method_id, type_id};
use crate::icalls::reflection::dynamic_method;
use corten_gc_hooks::object::MethodTableHeader;
use corten_jit::host_api::*;
use corten_jit::ids::TypeId;
use corten_loader::{MethodDesc, MethodKind};
use corten_metadata::{EhKind, MethodBody, MethodImplAttributes, TypeAttributes};

impl EngineHost {
    pub(super) fn make_method_info(&self, m: &'static MethodDesc) -> HostResult<MethodInfo> {
        let owner = self.owner_of(m);
        let impl_flags = m.impl_flags();
        let is_constructor = m.is_ctor() || m.name() == ".ctor";
        let string_factory = if is_constructor && m.owner().is_string() {
            self.load(corten_loader::string_ctor_target(m))?.map(method_id)
        } else {
            None
        };
        let array_accessor = match m.kind() {
            MethodKind::ArrayGet => Some(ArrayAccessor::Get),
            MethodKind::ArraySet => Some(ArrayAccessor::Set),
            MethodKind::ArrayAddress => Some(ArrayAccessor::Address),
            MethodKind::ArrayCtor | MethodKind::ArrayCtorBounds => Some(ArrayAccessor::Ctor),
            _ => None,
        };
        Ok(MethodInfo {
            id: method_id(m),
            owner: type_id(owner),
            sig: self.method_signature(m)?,
            owner_name: self.shared.name(&super::types::definition_name(owner)),
            name: self.shared.name(m.name()),
            instantiation: self.shared.types(m.instantiation().iter().map(|t| type_id(*t))),
            is_static: m.is_static(),
            is_virtual: m.is_virtual(),
            is_abstract: m.is_abstract(),
            is_intrinsic: is_intrinsic(m),
            is_constructor,
            // What must not be optimised would be as a part of its caller.
            no_inlining: impl_flags
                .intersects(MethodImplAttributes::NO_INLINING.union(MethodImplAttributes::NO_OPTIMIZATION)),
            aggressive_inlining: impl_flags.contains(MethodImplAttributes::AGGRESSIVE_INLINING),
            synchronized: impl_flags.contains(MethodImplAttributes::SYNCHRONIZED),
            dispatch: self.dispatch_of(m),
            entry_slot: m.address() as u64,
            is_delegate_invoke: owner.is_delegate() && m.name() == "Invoke",
            is_delegate_ctor: owner.is_delegate() && is_constructor,
            string_factory,
            array_accessor,
        })
    }

    fn dispatch_of(&self, m: &'static MethodDesc) -> Dispatch {
        if m.is_static() || !m.is_virtual() {
            return Dispatch::Direct;
        }
        let owner = self.owner_of(m);
        if owner.is_interface() {
            return if m.instantiation().is_empty() {
                Dispatch::Interface
            } else {
                Dispatch::GenericVirtual
            };
        }
        if m.is_final() || m.owner().class().attributes().contains(TypeAttributes::SEALED) {
            return Dispatch::Direct;
        }
        if !m.instantiation().is_empty() {
            return Dispatch::GenericVirtual;
        }
        match m.slot() {
            Some(s) => Dispatch::Vtable {
                offset: (size_of::<MethodTableHeader>() + 8 * s as usize) as u32,
            },
            None => Dispatch::Direct,
        }
    }

    /// Closed signature.
    pub fn method_signature(&self, m: &'static MethodDesc) -> HostResult<Signature> {
        let lenient;
        let s = match m.signature() {
            Ok(s) => s,
            Err(e) => {
                lenient = self.load(m.call_site_signature().map_err(|_| e))?;
                &lenient
            }
        };
        if s.calling_convention == corten_metadata::CallingConvention::VarArg {
            return Err(self.misuse(Misuse::Arglist));
        }
        Ok(Signature {
            has_this: s.has_this,
            ret: type_id(s.ret),
            params: self.shared.types(s.params.iter().map(|t| type_id(*t))),
            convention: Convention::Managed,
        })
    }

    pub(super) fn il_body(&self, m: &'static MethodDesc) -> HostResult<MethodBody<'static>> {
        if dynamic_method::is_dynamic(m) {
            return dynamic_method::method_body(m).map_err(|e| self.defer_raise(e));
        }
        match m.body() {
            Ok(Some(b)) => Ok(b),
            Ok(None) => self
                .synthetic_body(m)?
                .ok_or_else(|| HostError::InvalidProgram(format!("{} has no IL body", m.display_name()))),
            Err(e) => Err(HostError::InvalidProgram(e.to_string())),
        }
    }

    pub(super) fn make_local_types(&self, m: &'static MethodDesc) -> HostResult<Vec<(TypeId, bool)>> {
        if dynamic_method::is_dynamic(m) {
            let body = dynamic_method::body(m).map_err(|e| self.defer_raise(e))?;
            return Ok(body.locals.iter().map(|(t, pinned)| (type_id(*t), *pinned)).collect());
        }
        let body = self.il_body(m)?;
        let Some(token) = body.local_var_sig else {
            return Ok(Vec::new());
        };
        let locals = self.load(m.module().resolve_locals(token, m.context()))?;
        Ok(locals.into_iter().map(|(t, pinned)| (type_id(t), pinned)).collect())
    }

    /// Catch types of a body, resolved (used by the exception dispatcher's tests).
    pub fn catch_tokens(body: &MethodBody<'_>) -> Vec<corten_metadata::Token> {
        body.clauses
            .iter()
            .filter_map(|c| if let EhKind::Catch(t) = c.kind { Some(t) } else { None })
            .collect()
    }
}

/// `[Intrinsic]` on the method or its type, in CoreLib only.
fn is_intrinsic(m: &'static MethodDesc) -> bool {
    if !m.module().is_core_library() || m.token().is_nil() {
        return false;
    }
    m.owner().class().definition().is_some_and(|d| d.is_intrinsic())
        || m.module()
            .metadata()
            .has_attribute(m.token(), "System.Runtime.CompilerServices", "IntrinsicAttribute")
}
