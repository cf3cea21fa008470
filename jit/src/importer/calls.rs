//! Calls (ECMA-335 III.3.19 - III.3.37, III.4.2, III.4.21, III.2.1).

use super::stack::{Entry, Known};
use super::step::Flow;
use super::{Importer, Region, Step, invalid};
use crate::builder::stack_ty;
use crate::host_api::{Constrained, Convention, Dispatch, MethodInfo, Misuse, Signature, WellKnownType};
use crate::ids::TypeId;
use crate::ir::*;
use corten_metadata::Token;
use corten_metadata::il::Opcode;

impl Importer<'_, '_> {
    /// `call`, `callvirt`
    pub fn call(&mut self, token: Token, mut virtually: bool, index: usize) -> Step<Flow> {
        let mut info = self.host.resolve_method(self.method, token)?;
        if let Some(constrained) = self.prefixes.constrained {
            match self.host.resolve_constrained(constrained, info.id)? {
                Constrained::Direct(method) => {
                    info = self.host.method_info(method)?;
                    virtually = false;
                }
                Constrained::Dereference => self.dereference_this(&info, constrained)?,
                Constrained::Box => self.box_this(&info, constrained)?,
            }
        }
        if info.sig.convention == Convention::VarArg {
            return Err(self.host.misuse(Misuse::Arglist).into());
        }
        if info.is_abstract && !virtually {
            return Err(self.host.misuse(Misuse::AbstractCall).into());
        }
        if let Some(accessor) = info.array_accessor {
            self.array_accessor(accessor, &info)?;
            return Ok(Flow::Next);
        }
        let depth = info.sig.params.len() + usize::from(info.sig.has_this);
        if self.stack.len() < depth {
            return invalid("evaluation stack underflow");
        }
        if let Some(flow) = self.intrinsic(&info, virtually)? {
            self.stats.intrinsics += 1;
            return Ok(flow);
        }
        let tail = self.is_tail_call(index)?;
        self.call_method(&info, virtually, tail)?;
        Ok(Flow::Next)
    }

    /// A `tail.` call that could really be one.
    fn is_tail_call(&mut self, index: usize) -> Step<bool> {
        let layout = self.layout;
        let next = layout.instructions.get(index + 1);
        if self.prefixes.tail && next.is_none_or(|i| i.opcode != Opcode::Ret) {
            return invalid("tail. before a call that no ret follows");
        }
        Ok(self.prefixes.tail
            && self.region == Region::Body
            && !self.info.synchronized
            && layout.inner(index + 1).is_some_and(|i| i.opcode == Opcode::Ret)
            && self.b.func.blocks[self.b.current()].protect.as_u32() == 0)
    }

    /// Index of `this` on the stack before the arguments are popped.
    fn this_index(&self, info: &MethodInfo) -> Step<usize> {
        match self.stack.len().checked_sub(info.sig.params.len() + 1) {
            Some(i) if info.sig.has_this => Ok(i),
            Some(_) => invalid("constrained. call of a static method"),
            None => invalid("evaluation stack underflow"),
        }
    }

    /// Replaces the pointer `this` by the reference it points to.
    fn dereference_this(&mut self, info: &MethodInfo, constrained: TypeId) -> Step<()> {
        let at = self.this_index(info)?;
        let entry = self.stack[at];
        let addr = match entry.ty {
            Ty::ByRef | Ty::I64 => self.coerce(entry, entry.ty)?,
            _ => self.coerce(entry, Ty::ByRef)?,
        };
        self.check_null(&entry, addr);
        let value = self.b.load(MemTy::Ref, addr, 0);
        self.stack[at] = Entry::new(value, Ty::Ref).class(Some(constrained));
        Ok(())
    }

    /// Replaces the pointer `this` by a box of the value it points to.
    fn box_this(&mut self, info: &MethodInfo, constrained: TypeId) -> Step<()> {
        let at = self.this_index(info)?;
        let entry = self.stack[at];
        let addr = match entry.ty {
            Ty::ByRef | Ty::I64 => self.coerce(entry, entry.ty)?,
            _ => self.coerce(entry, Ty::ByRef)?,
        };
        self.check_null(&entry, addr);
        let (ty, mem) = self.value_type(constrained)?;
        let value = self.b.load(mem, addr, 0);
        self.push_value(value);
        self.box_top(&ty)?;
        self.stack[at] = self.pop()?;
        Ok(())
    }

    /// Pops the arguments of a signature, converted to its parameter types (`this` not included).
    pub fn pop_args(&mut self, sig: &Signature) -> Step<Vec<Value>> {
        let mut args = vec![None; sig.params.len()];
        for (slot, &param) in args.iter_mut().zip(sig.params.iter()).rev() {
            let ty = self.value_ty(param)?;
            if ty == Ty::Ref && self.stack.last().is_some_and(|e| e.ty == Ty::I32) {
                return invalid("a number where an object is expected");
            }
            *slot = Some(self.pop_as(ty)?);
        }
        Ok(args.into_iter().flatten().collect())
    }

    /// Pops `this` as an instance method of `owner` wants it.
    fn pop_this(&mut self, owner: TypeId) -> Step<(Entry, Value)> {
        let is_value_type = self.type_info(owner)?.is_value_type;
        let entry = self.pop()?;
        let value = match (is_value_type, entry.ty) {
            (true, Ty::Ref) => {
                // A boxed value: its data.
                let object = self.coerce(entry, Ty::ByRef)?;
                self.b.ptr_add_const(object, 8)
            }
            (true, Ty::Struct(_)) => return invalid("value as this"),
            (true, _) => self.coerce(entry, Ty::ByRef)?,
            (false, _) => self.coerce(entry, Ty::Ref)?,
        };
        Ok((entry, value))
    }

    /// Calls a method with the arguments on the stack.
    pub fn call_method(&mut self, info: &MethodInfo, virtually: bool, tail: bool) -> Step<()> {
        let mut args = self.pop_args(&info.sig)?;
        let mut callee = Callee::Direct {
            method: info.id,
            entry_slot: info.entry_slot,
        };
        if info.sig.has_this {
            let (entry, this) = self.pop_this(info.owner)?;
            args.insert(0, this);
            if virtually || info.is_delegate_invoke {
                self.check_null(&entry, this);
            }
            if info.is_delegate_invoke {
                callee = Callee::DelegateInvoke;
            } else if virtually && info.is_virtual {
                callee = self.virtual_callee(info, this);
            }
        }
        self.emit_call(callee, &info.sig, args, tail)
    }

    fn virtual_callee(&mut self, info: &MethodInfo, this: Value) -> Callee {
        match info.dispatch {
            Dispatch::Direct => Callee::Direct {
                method: info.id,
                entry_slot: info.entry_slot,
            },
            Dispatch::Vtable { offset } => Callee::Vtable {
                method: info.id,
                offset,
            },
            Dispatch::Interface => Callee::Interface { method: info.id },
            Dispatch::GenericVirtual => {
                let method = self.b.iconst64(info.id.0 as i64);
                let target = self.b.helper(Helper::ResolveVirtual, vec![this, method], Ty::I64);
                Callee::Pointer { target }
            }
        }
    }

    /// Emits a call and pushes its result.
    pub fn emit_call(&mut self, callee: Callee, sig: &Signature, args: Vec<Value>, tail: bool) -> Step<()> {
        let ret = self.type_info(sig.ret)?;
        let ret_ty = stack_ty(ret.kind, sig.ret);
        if let Some(value) = self.b.call(callee, sig.clone(), args, ret_ty, tail) {
            self.push_typed(value, sig.ret);
        }
        Ok(())
    }

    /// `EqualityComparer<T>.Default` and its like.
    pub fn default_comparer(&mut self, info: &MethodInfo) -> Step<bool> {
        let Some(class) = self.host.default_comparer(info.id) else {
            return Ok(false);
        };
        let callee = Callee::Getter {
            method: info.id,
            entry_slot: info.entry_slot,
        };
        self.emit_call(callee, &info.sig, Vec::new(), false)?;
        let comparer = self.pop()?.exact(class);
        self.push(comparer);
        Ok(true)
    }

    /// `calli`
    pub fn calli(&mut self, token: Token, index: usize) -> Step<()> {
        let tail = self.is_tail_call(index)?;
        let sig = self.host.resolve_signature(self.method, token)?;
        let function = self.pop()?;
        let target = self.coerce(function, Ty::I64)?;
        let mut args = self.pop_args(&sig)?;
        if sig.has_this {
            let mut this = self.pop()?;
            let value = self.value(&mut this)?;
            args.insert(0, value);
        }
        match sig.convention {
            Convention::VarArg => Err(self.host.misuse(Misuse::Arglist).into()),
            Convention::Managed => self.emit_call(Callee::Pointer { target }, &sig, args, tail),
            Convention::Unmanaged | Convention::UnmanagedSuppressGc => {
                match self.host.native_call_stub(self.method, &sig)? {
                    None => self.call_native(target, &sig, args),
                    Some(stub) => {
                        let word = self.host.well_known(WellKnownType::IntPtr);
                        args.push(target);
                        let sig = Signature {
                            params: sig.params.iter().copied().chain([word]).collect(),
                            convention: Convention::Managed,
                            ..sig
                        };
                        let target = self.b.address(stub);
                        self.emit_call(Callee::Pointer { target }, &sig, args, false)
                    }
                }
            }
        }
    }

    /// A call of native code with blittable arguments, in preemptive mode unless the transition is suppressed.
    fn call_native(&mut self, target: Value, sig: &Signature, args: Vec<Value>) -> Step<()> {
        let transition = sig.convention == Convention::Unmanaged;
        if transition {
            self.b.helper_void(Helper::EnterPreemptive, Vec::new());
        }
        let ret = self.type_info(sig.ret)?;
        let result = self.b.call(
            Callee::Native { target },
            sig.clone(),
            args,
            stack_ty(ret.kind, sig.ret),
            false,
        );
        if transition {
            self.b.helper_void(Helper::LeavePreemptive, Vec::new());
        }
        if let Some(value) = result {
            let value = self.normalise(value, ret.kind);
            self.push_typed(value, sig.ret);
        }
        Ok(())
    }

    /// `jmp`: calls with the current arguments and returns.
    pub fn jmp(&mut self, token: Token) -> Step<()> {
        let info = self.host.resolve_method(self.method, token)?;
        if !self.stack.is_empty() {
            return invalid("jmp with a non-empty stack");
        }
        self.check_return()?;
        for i in 0..self.il_args {
            let entry = self.local_entry(Local::from_u32(i as u32));
            self.push(entry);
        }
        self.call_method(&info, false, true)?;
        self.ret()
    }

    /// `newobj`
    pub fn newobj(&mut self, token: Token) -> Step<()> {
        let info = self.host.resolve_method(self.method, token)?;
        if !info.sig.has_this || !info.is_constructor {
            return invalid(format!("newobj of {}, which is not a constructor", info.name));
        }
        if let Some(factory) = info.string_factory {
            let factory = self.host.method_info(factory)?;
            let args = self.pop_args(&info.sig)?;
            let callee = Callee::Direct {
                method: factory.id,
                entry_slot: factory.entry_slot,
            };
            // Instance signatures of the factories take an ignored `this`.
            let args = if factory.sig.has_this {
                let null = self.b.null();
                std::iter::once(null).chain(args).collect()
            } else {
                args
            };
            self.emit_call(callee, &factory.sig, args, false)?;
            let entry = self.pop()?.exact(info.owner);
            self.push(entry);
            return Ok(());
        }
        if info.array_accessor.is_some() {
            return self.new_md_array(&info);
        }
        if info.is_delegate_ctor {
            return self.new_delegate(&info);
        }
        if self.new_nullable(&info)? {
            return Ok(());
        }
        let owner = self.type_info(info.owner)?;
        if owner.is_value_type {
            return self.new_value(&info);
        }
        if self.host.is_abstract_class(info.owner) {
            return Err(self.host.misuse(Misuse::AbstractNew).into());
        }
        let args = self.pop_args(&info.sig)?;
        let table = self.b.iconst64(owner.method_table as i64);
        let object = self.b.helper(Helper::NewObject, vec![table], Ty::Ref);
        if !is_object_ctor(&info) {
            let callee = Callee::Direct {
                method: info.id,
                entry_slot: info.entry_slot,
            };
            let args = std::iter::once(object).chain(args).collect();
            self.emit_call(callee, &info.sig, args, false)?;
        }
        self.push(Entry::new(object, Ty::Ref).exact(info.owner));
        Ok(())
    }

    /// `newobj` of a value type: constructs in a zeroed temporary.
    fn new_value(&mut self, info: &MethodInfo) -> Step<()> {
        let args = self.pop_args(&info.sig)?;
        let ty = self.value_ty(info.owner)?;
        let local = self.b.temp(ty, info.owner);
        let zero = self.zero_of(ty);
        self.b.set(local, zero);
        let addr = self.b.local_addr(local);
        let callee = Callee::Direct {
            method: info.id,
            entry_slot: info.entry_slot,
        };
        let args = std::iter::once(addr).chain(args).collect();
        self.emit_call(callee, &info.sig, args, false)?;
        let value = self.b.get(local);
        self.push_value(value);
        Ok(())
    }

    /// `new Nullable<T>(value)`
    fn new_nullable(&mut self, info: &MethodInfo) -> Step<bool> {
        let owner = self.type_info(info.owner)?;
        let Some((inner, offset)) = owner.nullable_of else {
            return Ok(false);
        };
        if info.sig.params.len() != 1 {
            return Ok(false);
        }
        let (_, mem) = self.value_type(inner)?;
        let value = self.pop_as(crate::builder::loaded_ty(mem))?;
        let one = self.b.iconst32(1);
        let parts = vec![(0, MemTy::U8, one), (offset, mem, value)];
        let result = self
            .b
            .emit(Op::StructMake { ty: info.owner, parts }, Ty::Struct(info.owner));
        self.push_value(result);
        Ok(true)
    }

    /// The type that a `typeof` entry names.
    pub fn known_type(entry: &Entry) -> Option<TypeId> {
        match entry.known {
            Known::RuntimeType(ty) => Some(ty),
            _ => None,
        }
    }
}

/// `Object..ctor`, which does nothing.
pub(crate) fn is_object_ctor(info: &MethodInfo) -> bool {
    info.is_constructor && &*info.owner_name == "System.Object"
}
