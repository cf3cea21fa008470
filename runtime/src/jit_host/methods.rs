//! Methods as the compiler sees them.

use super::{EngineHost, method_id, type_id};
use corten_gc_hooks::object::MethodTableHeader;
use corten_jit::host_api::*;
use corten_jit::ids::TypeId;
use corten_loader::MethodDesc;
use corten_metadata::{EhKind, MethodAttributes, MethodBody, MethodImplAttributes};

impl EngineHost {
    pub(super) fn make_method_info(&self, m: &'static MethodDesc) -> HostResult<MethodInfo> {
        let owner = self.owner_of(m);
        let impl_flags = m.impl_flags();
        let attrs = m.attributes();
        let is_constructor = m.name() == ".ctor";
        let string_factory = if is_constructor && owner == corten_loader::well_known().string {
            self.load(corten_loader::string_constructor_factory(m))?.map(method_id)
        } else {
            None
        };
        let array_accessor = m.array_accessor().map(|a| match a {
            corten_loader::ArrayMethod::Get => ArrayAccessor::Get,
            corten_loader::ArrayMethod::Set => ArrayAccessor::Set,
            corten_loader::ArrayMethod::Address => ArrayAccessor::Address,
            corten_loader::ArrayMethod::Ctor => ArrayAccessor::Ctor,
        });
        Ok(MethodInfo {
            id: method_id(m),
            owner: type_id(owner),
            sig: self.method_signature(m)?,
            owner_name: owner.definition_name().into(),
            name: m.name().into(),
            instantiation: m.instantiation().iter().map(|t| type_id(*t)).collect(),
            is_static: m.is_static(),
            is_virtual: m.is_virtual(),
            is_abstract: attrs.contains(MethodAttributes::ABSTRACT),
            is_intrinsic: m.is_intrinsic(),
            is_constructor,
            no_inlining: impl_flags.contains(MethodImplAttributes::NO_INLINING),
            aggressive_inlining: impl_flags.contains(MethodImplAttributes::AGGRESSIVE_INLINING),
            synchronized: impl_flags.contains(MethodImplAttributes::SYNCHRONIZED),
            dispatch: self.dispatch_of(m),
            entry_slot: m.entry_slot_address() as u64,
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
            return if m.instantiation().is_empty() { Dispatch::Interface } else { Dispatch::GenericVirtual };
        }
        if m.attributes().contains(MethodAttributes::FINAL) || owner.is_sealed() {
            return Dispatch::Direct;
        }
        if !m.instantiation().is_empty() {
            return Dispatch::GenericVirtual;
        }
        match m.slot() {
            Some(s) => Dispatch::Vtable { offset: (size_of::<MethodTableHeader>() + 8 * s as usize) as u32 },
            None => Dispatch::Direct,
        }
    }

    /// Closed signature.
    pub fn method_signature(&self, m: &'static MethodDesc) -> HostResult<Signature> {
        let s = self.load(m.signature())?;
        let vararg = s.calling_convention == corten_metadata::CallingConvention::VarArg;
        Ok(Signature {
            has_this: s.has_this,
            ret: type_id(s.ret),
            params: s.params.iter().map(|t| type_id(*t)).collect(),
            convention: if vararg { Convention::VarArg } else { Convention::Managed },
        })
    }

    pub(super) fn il_body(&self, m: &'static MethodDesc) -> HostResult<MethodBody<'static>> {
        match m.body() {
            Ok(Some(b)) => Ok(b),
            Ok(None) => Err(HostError::InvalidProgram(format!("{} has no IL body", m.display_name()))),
            Err(e) => Err(HostError::InvalidProgram(e.to_string())),
        }
    }

    pub(super) fn make_local_types(&self, m: &'static MethodDesc) -> HostResult<Vec<(TypeId, bool)>> {
        let body = self.il_body(m)?;
        let Some(token) = body.local_var_sig else { return Ok(Vec::new()) };
        let locals = self.load(m.module().resolve_locals(token, &m.generic_context()))?;
        Ok(locals.into_iter().map(|(t, pinned)| (type_id(t), pinned)).collect())
    }

    /// Catch types of a body, resolved (used by the exception dispatcher's tests).
    pub fn catch_tokens(body: &MethodBody<'_>) -> Vec<corten_metadata::Token> {
        body.clauses.iter().filter_map(|c| if let EhKind::Catch(t) = c.kind { Some(t) } else { None }).collect()
    }
}
