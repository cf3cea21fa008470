//! Function pointers and delegates (ECMA-335 III.3.41, III.4.18, II.14.6).

use super::stack::{Entry, Known};
use super::{Importer, Step};
use crate::host_api::{Dispatch, MethodInfo};
use crate::ir::*;
use crate::lower::{DELEGATE_CODE, DELEGATE_TARGET};
use corten_metadata::Token;

impl Importer<'_, '_> {
    /// `ldftn`
    pub fn ldftn(&mut self, token: Token) -> Step<()> {
        let mut info = self.host.resolve_method(self.method, token)?;
        if let Some(constrained) = self.prefixes.constrained {
            // Static virtual method of a constrained type.
            if let crate::host_api::Constrained::Direct(method) = self.host.resolve_constrained(constrained, info.id)? {
                info = self.host.method_info(method)?;
            }
        }
        if info.is_abstract {
            return Err(self.host.misuse(crate::host_api::Misuse::AbstractCall).into());
        }
        let address = self.host.stable_entry(info.id)?;
        let value = self.b.address(address);
        self.push_function(value, &info);
        Ok(())
    }

    fn push_function(&mut self, value: Value, info: &MethodInfo) {
        let mut entry = Entry::new(value, Ty::I64);
        entry.known = Known::Function(info.id);
        self.push(entry);
    }

    /// `ldvirtftn`
    pub fn ldvirtftn(&mut self, token: Token) -> Step<()> {
        let info = self.host.resolve_method(self.method, token)?;
        let entry = self.pop()?;
        let object = self.coerce(entry, Ty::Ref)?;
        // As CoreCLR, the object of a method that cannot be overridden is not looked at.
        let value = if info.dispatch == Dispatch::Direct {
            let address = self.host.stable_entry(info.id)?;
            self.b.address(address)
        } else {
            self.check_null(&entry, object);
            let method = self.b.iconst64(info.id.0 as i64);
            self.b.helper(Helper::ResolveVirtual, vec![object, method], Ty::I64)
        };
        self.push_function(value, &info);
        Ok(())
    }

    /// `newobj` of a delegate: stack is target, function pointer.
    pub fn new_delegate(&mut self, info: &MethodInfo) -> Step<()> {
        let function = self.pop()?;
        let method = match function.known {
            Known::Function(method) => method.0,
            _ => 0,
        };
        let code = self.coerce(function, Ty::I64)?;
        let closed = match (function.known, self.peek(0)) {
            (Known::Function(method), Some(target)) => target.non_null && self.host.closes_simply(method),
            _ => false,
        };
        let target = self.pop_as(Ty::Ref)?;
        let table = self.type_info(info.owner)?.method_table;
        let table = self.b.iconst64(table as i64);
        let delegate = self.b.helper(Helper::NewObject, vec![table], Ty::Ref);
        if closed {
            self.b
                .store(MemTy::Ref, delegate, DELEGATE_TARGET, target, Barrier::Heap);
            self.b.store(MemTy::I64, delegate, DELEGATE_CODE, code, Barrier::None);
        } else {
            let method = self.b.iconst64(method as i64);
            self.b
                .helper_void(Helper::InitDelegate, vec![delegate, target, code, method]);
        }
        self.push(Entry::new(delegate, Ty::Ref).exact(info.owner));
        Ok(())
    }
}
