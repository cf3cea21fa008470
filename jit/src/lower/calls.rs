//! Calls of methods, helpers and native code; try calls.

use super::{Addr, CallSig, LowerError, Lowerer, Result, plain, temp_key, uses};
use crate::abi::{AbiSignature, ArgLoc, RetLoc};
use crate::gc_check::Leaf;
use crate::host_api::{Convention, Signature, ThreadStaticTable, TypeInfo, TypeKind};
use crate::ids::{MethodId, TypeId};
use crate::ir::{Callee, Helper, Inst, Ty, Value};
use cranelift_codegen::cursor::Cursor;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    self, AbiParam, BlockArg, BlockCall, ExceptionTableData, ExceptionTableItem, ExceptionTag, ExtFuncData,
    ExternalName, InstBuilder, UserExternalName, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_entity::EntityRef;
use smallvec::SmallVec;
use std::rc::Rc;
use std::sync::Arc;

/// Delegate fields (contract: layouts): the first argument of the target and its code address.
pub(crate) const DELEGATE_TARGET: i32 = 8;
pub(crate) const DELEGATE_CODE: i32 = 24;
/// Code of the static method that an open delegate calls.
pub(crate) const DELEGATE_STATIC_CODE: i32 = 32;

/// `i32 (exception, parent's area)`.
pub(super) fn filter_abi() -> AbiSignature {
    let scalar = |kind| TypeInfo {
        id: TypeId(0),
        kind,
        size: crate::abi::scalar_size(kind),
        align: 8,
        is_value_type: true,
        fields: Arc::from([]),
        has_gc_pointers: false,
        vector_size: None,
        vectors: Arc::from([]),
        nullable_of: None,
        is_delegate: false,
        is_interface: false,
        is_exact: true,
        name: Arc::from(""),
        instantiation: Arc::from([]),
        method_table: 0,
    };
    let (r, p, i) = (scalar(TypeKind::Ref), scalar(TypeKind::NInt), scalar(TypeKind::I4));
    AbiSignature::from_types(false, &i, [&r, &p].into_iter())
}

#[derive(Clone, Copy)]
pub(super) enum Target {
    Func(ir::FuncRef),
    Pointer(ir::Value),
}

impl Lowerer<'_> {
    pub(super) fn import_sig(&mut self, sig: ir::Signature) -> ir::SigRef {
        if let Some(&s) = self.sigs.get(&sig) {
            return s;
        }
        let s = self.cur.func.import_signature(sig.clone());
        self.sigs.insert(sig, s);
        s
    }

    /// A function at a fixed address, called pc-relative (the code heap makes veneers where that is too far).
    pub(super) fn extern_func(&mut self, address: u64, signature: ir::SigRef) -> ir::FuncRef {
        if let Some(&f) = self.extern_refs.get(&(address, signature)) {
            return f;
        }
        let index = self.externs.len() as u32;
        self.externs.push(address);
        let name = self
            .cur
            .func
            .declare_imported_user_function(UserExternalName::new(0, index));
        let f = self.cur.func.import_function(ExtFuncData {
            name: ExternalName::user(name),
            signature,
            colocated: true,
            patchable: false,
        });
        self.extern_refs.insert((address, signature), f);
        f
    }

    pub(super) fn helper_func(
        &mut self,
        helper: Helper,
        args: &[ir::Value],
        ret: Option<ir::Type>,
    ) -> (ir::FuncRef, ir::SigRef) {
        let mut sig = ir::Signature::new(CallConv::SystemV);
        sig.params.extend(args.iter().map(|&a| AbiParam::new(self.type_of(a))));
        sig.returns.extend(ret.map(AbiParam::new));
        let sig = self.import_sig(sig);
        let address = self.host.helper_address(helper);
        (self.extern_func(address, sig), sig)
    }

    /// Calls a helper that neither collects nor raises.
    pub(super) fn call_leaf(&mut self, helper: Helper, args: &[ir::Value]) {
        let (f, _) = self.helper_func(helper, args, None);
        let call = self.cur.ins().call(f, args);
        self.note_leaf(call, Leaf::Always);
    }

    pub(super) fn call_leaf_value(&mut self, helper: Helper, args: &[ir::Value], ty: ir::Type) -> Result<ir::Value> {
        let (f, _) = self.helper_func(helper, args, Some(ty));
        let call = self.cur.ins().call(f, args);
        self.note_leaf(call, Leaf::Always);
        Ok(self.cur.func.dfg.inst_results(call)[0])
    }

    /// Calls a helper that may collect or raise.
    pub(super) fn call_helper(
        &mut self,
        helper: Helper,
        args: &[ir::Value],
        ret: Option<ir::Type>,
    ) -> Option<ir::Value> {
        let (f, sig) = self.helper_func(helper, args, ret);
        // A malformed protection list was rejected before any call is lowered.
        self.call_raw(Target::Func(f), sig, args).ok()?.first().copied()
    }

    /// Calls a helper without arguments that never returns, and ends the block.
    pub(super) fn call_noreturn(&mut self, helper: Helper) {
        self.call_helper(helper, &[], None);
        self.trap_unreachable();
    }

    /// Emits a call that is a safepoint and may raise: a `try_call` where clauses protect it.
    pub(super) fn call_raw(
        &mut self,
        target: Target,
        sig: ir::SigRef,
        args: &[ir::Value],
    ) -> Result<SmallVec<[ir::Value; 2]>> {
        self.call_as(target, sig, args, None)
    }

    /// [`call_raw`](Self::call_raw), of a function that may be no safepoint.
    pub(super) fn call_as(
        &mut self,
        target: Target,
        sig: ir::SigRef,
        args: &[ir::Value],
        leaf: Option<Leaf>,
    ) -> Result<SmallVec<[ir::Value; 2]>> {
        let epochs = u32::from(leaf.is_none());
        let clauses = &self.func.protects[self.protect];
        // Handlers read nothing but the area, so one landing pad per clause serves every call that the clause protects:
        // only the first call of each clause is a `try_call`, the others find its pads through their position.
        let known = !self.all_try_calls && clauses.iter().all(|c| self.padded.get(c.index()) == Some(&true));
        if known {
            let call = match target {
                Target::Func(f) => self.cur.ins().call(f, args),
                Target::Pointer(p) => self.cur.ins().call_indirect(sig, p, args),
            };
            if let Some(leaf) = leaf {
                self.note_leaf(call, leaf);
            }
            self.epoch += epochs;
            return Ok(self.cur.func.dfg.inst_results(call).into());
        }
        let mut items = Vec::with_capacity(clauses.len());
        for &clause in clauses {
            let pad = self.landing_pad(clause)?;
            self.padded[clause.index()] = true;
            let pool = &mut self.cur.func.dfg.value_lists;
            let call = BlockCall::new(pad, [BlockArg::TryCallExn(0), BlockArg::TryCallExn(1)], pool);
            items.push(ExceptionTableItem::Tag(ExceptionTag::new(clause.index()), call));
        }
        let cont = self.new_block();
        let returns: SmallVec<[ir::Type; 2]> = self.cur.func.dfg.signatures[sig]
            .returns
            .iter()
            .map(|r| r.value_type)
            .collect();
        let params: SmallVec<[ir::Value; 2]> = returns
            .iter()
            .map(|&ty| self.cur.func.dfg.append_block_param(cont, ty))
            .collect();
        let pool = &mut self.cur.func.dfg.value_lists;
        let normal = BlockCall::new(cont, (0..returns.len() as u32).map(BlockArg::TryCallRet), pool);
        let table = self
            .cur
            .func
            .dfg
            .exception_tables
            .push(ExceptionTableData::new(sig, normal, items));
        let call = match target {
            Target::Func(f) => self.cur.ins().try_call(f, args, table),
            Target::Pointer(p) => self.cur.ins().try_call_indirect(p, args, table),
        };
        if let Some(leaf) = leaf {
            self.note_leaf(call, leaf);
        }
        self.cur.goto_bottom(cont);
        self.epoch += epochs;
        Ok(params)
    }

    /// Address of a thread static: in the thread's table, or asked for.
    fn lower_thread_static(&mut self, inst: &Inst, args: [Value; 3], table: ThreadStaticTable) -> Result<()> {
        let [key, entry, offset] = [self.get(args[0])?, self.get(args[1])?, self.get(args[2])?];
        let (there, ready) = (self.new_block(), self.new_block());
        let (cold, cont) = (self.cold_block(), self.new_block());
        let address = self.cur.func.dfg.append_block_param(cont, types::I64);
        let thread = self.cur.ins().get_pinned_reg(types::I64);
        let bytes = self.load_at(types::I64, plain(), thread, table.bytes);
        let inside = self.cur.ins().icmp(IntCC::UnsignedLessThan, entry, bytes);
        self.cur.ins().brif(inside, there, &[], cold, &[]);
        self.cur.goto_bottom(there);
        let base = self.load_at(types::I64, plain(), thread, table.base);
        let entry = self.cur.ins().iadd(base, entry);
        let block = self.load_at(types::I64, plain(), entry, 0);
        self.cur.ins().brif(block, ready, &[], cold, &[]);
        self.cur.goto_bottom(ready);
        let found = self.cur.ins().iadd(block, offset);
        self.cur.ins().jump(cont, &[BlockArg::Value(found)]);
        self.cur.goto_bottom(cold);
        let (f, sig) = self.helper_func(Helper::ThreadStaticAddress, &[key], Some(types::I64));
        let made = self.call_raw(Target::Func(f), sig, &[key])?;
        let made = made.first().copied().map(BlockArg::Value);
        self.cur.ins().jump(cont, made.as_slice());
        self.cur.goto_bottom(cont);
        self.set(self.result(inst)?, address);
        Ok(())
    }

    pub(super) fn lower_call_helper(&mut self, inst: &Inst, helper: Helper, args: &[Value]) -> Result<()> {
        if uses::is_cast(helper) {
            return self.lower_cast(inst, helper, args);
        }
        if let (Helper::ThreadStaticAddress, &[key, entry, offset]) = (helper, args)
            && let Some(table) = self.host.thread_static_table()
        {
            return self.lower_thread_static(inst, [key, entry, offset], table);
        }
        let mut values: SmallVec<[ir::Value; 4]> = SmallVec::new();
        for &a in args {
            values.push(match self.func.values[a] {
                // Struct operands of helpers are passed by address.
                Ty::Struct(_) => {
                    let addr = self.materialise(a)?;
                    self.addr_value(addr)
                }
                _ => self.get(a)?,
            });
        }
        let ret = match inst.result {
            Some(r) => Some(Self::clif_type(self.func.values[r])?),
            None => None,
        };
        let (f, sig) = self.helper_func(helper, &values, ret);
        let value = if uses::is_leaf(helper) {
            let call = self.cur.ins().call(f, &values);
            self.note_leaf(call, Leaf::Always);
            self.cur.func.dfg.inst_results(call).first().copied()
        } else {
            self.call_raw(Target::Func(f), sig, &values)?.first().copied()
        };
        if let (Some(r), Some(v)) = (inst.result, value) {
            self.set(r, v);
        }
        Ok(())
    }

    fn call_sig(&mut self, sig: &Signature) -> Result<(Rc<AbiSignature>, ir::SigRef)> {
        if let Some(c) = self.call_sigs.get(sig) {
            return Ok((c.abi.clone(), c.sig));
        }
        if sig.convention == Convention::VarArg {
            return Err(LowerError::Unsupported("call with a variable argument list".into()));
        }
        let abi = Rc::new(AbiSignature::of(sig, self.host)?);
        let clif = self.import_sig(abi.clif());
        self.call_sigs.insert(
            sig.clone(),
            CallSig {
                abi: abi.clone(),
                sig: clif,
            },
        );
        Ok((abi, clif))
    }

    /// Offsets of the thread's tail call fields if a call with this ABI, followed by a return, can replace the frame of this
    /// function: nothing protects it, and its result goes where this function's result goes.
    fn tail_call_fields(&self, abi: &AbiSignature, callee: &Callee) -> Option<(i32, i32)> {
        let own = &self.own_abi;
        let same_result = match (&abi.ret, &own.ret) {
            (RetLoc::Pieces(a), RetLoc::Pieces(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.place == b.place && a.kind == b.kind)
            }
            (a, b) => a == b,
        };
        let possible = same_result
            && self.func.parent_locals.is_none()
            && self.func.protects[self.protect].is_empty()
            && !matches!(callee, Callee::Native { .. });
        if possible { self.host.tail_call_fields() } else { None }
    }

    pub(super) fn lower_call(
        &mut self,
        inst: &Inst,
        callee: &Callee,
        sig: &Signature,
        args: &[Value],
        tail: bool,
    ) -> Result<()> {
        let (abi, clif_sig) = self.call_sig(sig)?;
        let tail = if tail {
            self.tail_call_fields(&abi, callee)
        } else {
            None
        };
        let declared = usize::from(abi.this.is_some()) + abi.args.len();
        if args.len() != declared {
            return Err(LowerError::Malformed(format!(
                "call with {} arguments, {declared} declared",
                args.len()
            )));
        }
        let receiver = || {
            args.first()
                .copied()
                .ok_or_else(|| LowerError::Malformed("call without receiver".into()))
        };
        let mut stub = None;
        let target = match callee {
            Callee::Direct { method, entry_slot } | Callee::Getter { method, entry_slot } => {
                // (Asked once: another thread may publish code meanwhile.)
                stub = self.near_entry(*method).filter(|_| tail.is_none());
                if stub.is_some() {
                    None
                } else {
                    let slot = self.iconst(types::I64, *entry_slot as i64);
                    Some(self.load_at(types::I64, plain(), slot, 0))
                }
            }
            Callee::Vtable { offset, .. } => {
                let this = self.get(receiver()?)?;
                let mt = self.load_at(types::I64, plain(), this, 0);
                Some(self.load_at(types::I64, plain(), mt, *offset as i32))
            }
            Callee::Interface { method } => {
                let address = self.host.dispatch_stub(*method)?;
                stub = Some(address);
                tail.map(|_| self.iconst(types::I64, address as i64))
            }
            Callee::Pointer { target } | Callee::Native { target } => Some(self.get(*target)?),
            Callee::DelegateInvoke => {
                let delegate = self.get(receiver()?)?;
                Some(self.load_at(types::I64, plain(), delegate, DELEGATE_CODE))
            }
        };
        let ret_info = match (&abi.ret, inst.result) {
            (RetLoc::Void, _) => None,
            (RetLoc::Pieces(p), _) if p[0].kind.is_some() => None,
            _ => Some(self.type_info(sig.ret)?),
        };
        let ret_temp = match &ret_info {
            Some(info) => Some(self.alloc_temp(info)?),
            None => None,
        };

        let mut values = Vec::with_capacity(declared + 2);
        let mut loose_temps: SmallVec<[(TypeId, u32); 2]> = SmallVec::new();
        let mut rest = args;
        if abi.this.is_some() {
            let mut this = self.get(receiver()?)?;
            if *callee == Callee::DelegateInvoke {
                this = self.load_at(types::I64, plain(), this, DELEGATE_TARGET);
            }
            values.push(this);
            rest = &args[1..];
        }
        if let (Some(_), Some(temp)) = (abi.ret_buffer, ret_temp) {
            let p = match (tail, self.ret_buffer) {
                (Some(_), Some(own)) => self.load(types::I64, Addr::Frame(own)),
                _ => self.area_addr(temp),
            };
            values.push(p);
        }
        for (&arg, loc) in rest.iter().zip(&abi.args) {
            match loc {
                ArgLoc::Pieces(pieces) if pieces[0].kind.is_some() => {
                    let v = self.get(arg)?;
                    let v = self.narrow(v, pieces[0].clif_type())?;
                    values.push(v);
                }
                ArgLoc::Pieces(pieces) => self.struct_pieces(arg, pieces, &mut values)?,
                ArgLoc::Memory { .. } => {
                    let p = self.memory_argument(arg, &mut loose_temps)?;
                    values.push(p);
                }
            }
        }
        let target = match (tail, stub, target) {
            (None, Some(address), _) => Target::Func(self.extern_func(address, clif_sig)),
            (None, None, Some(target)) => Target::Pointer(target),
            (_, _, None) => return Err(LowerError::Malformed("call without a target".into())),
            (Some((target_field, bytes_field)), _, Some(target)) => {
                let thread = self.cur.ins().get_pinned_reg(types::I64);
                let own = i64::from(self.own_abi.stack_bytes);
                let bytes = self.iconst(types::I64, own << 32 | i64::from(abi.stack_bytes));
                self.store_at(plain(), target, thread, target_field);
                self.store_at(plain(), bytes, thread, bytes_field);
                let stub = self.host.helper_address(Helper::TailCall);
                // What follows the call (taking the result, returning it) is never reached.
                Target::Func(self.extern_func(stub, clif_sig))
            }
        };
        let results = self.call_raw(target, clif_sig, &values)?;
        for (ty, temp) in loose_temps {
            let info = self.type_info(ty)?;
            self.free_temps.entry(temp_key(&info)).or_default().push(temp);
        }
        self.take_result(inst, sig, &abi, &results, ret_temp)
    }

    /// Where `method` can be called without its entry word: at its code if that stays what it is; from code that will not run
    /// often at its stable entry, which is one instruction instead of three for Cranelift and one more jump for the processor.
    /// Stubs, which have no method, are never made again and call through the entry word.
    fn near_entry(&self, method: MethodId) -> Option<u64> {
        if self.func.method.is_none() {
            None
        } else if self.optimised {
            self.host.final_code(method)
        } else {
            self.host.near_entry(method)
        }
    }

    /// Address of a struct that Cranelift copies to the stack argument area in whole words.
    fn memory_argument(&mut self, v: Value, loose: &mut SmallVec<[(TypeId, u32); 2]>) -> Result<ir::Value> {
        let ty = self.struct_type(v)?;
        let info = self.type_info(ty)?;
        let mut addr = self.materialise(v)?;
        if !matches!(addr, Addr::Frame(_)) && info.size % 8 != 0 {
            let temp = self.alloc_temp(&info)?;
            self.copy_struct(Addr::Frame(temp), addr, &info);
            loose.push((ty, temp));
            addr = Addr::Frame(temp);
        }
        Ok(self.addr_value(addr))
    }

    fn take_result(
        &mut self,
        inst: &Inst,
        sig: &Signature,
        abi: &AbiSignature,
        results: &[ir::Value],
        temp: Option<u32>,
    ) -> Result<()> {
        if let RetLoc::Pieces(pieces) = &abi.ret {
            if let Some(kind) = pieces[0].kind {
                let (Some(result), Some(&v)) = (inst.result, results.first()) else {
                    return Ok(());
                };
                let v = match kind {
                    TypeKind::I1 | TypeKind::I2 => self.cur.ins().sextend(types::I32, v),
                    TypeKind::U1 | TypeKind::U2 => self.cur.ins().uextend(types::I32, v),
                    _ => v,
                };
                let wanted = Self::clif_type(self.func.values[result])?;
                let v = self.narrow(v, wanted)?;
                self.set(result, v);
                return Ok(());
            }
            if let Some(temp) = temp {
                for (piece, &v) in pieces.iter().zip(results) {
                    self.store(v, Addr::Frame(temp + piece.offset));
                }
            }
        }
        let Some(temp) = temp else {
            return match inst.result {
                Some(_) => Err(LowerError::Malformed("result of a void call".into())),
                None => Ok(()),
            };
        };
        match inst.result {
            Some(r) => self.set_temp(r, temp),
            None => {
                let info = self.type_info(sig.ret)?;
                self.free_temps.entry(temp_key(&info)).or_default().push(temp);
            }
        }
        Ok(())
    }

    /// Makes a scalar fit an ABI type: narrows or widens integers, converts between float widths.
    pub(super) fn narrow(&mut self, v: ir::Value, ty: ir::Type) -> Result<ir::Value> {
        let from = self.type_of(v);
        if from == ty {
            return Ok(v);
        }
        Ok(match (from.is_int(), ty.is_int()) {
            (true, true) if from.bits() > ty.bits() => self.cur.ins().ireduce(ty, v),
            (true, true) => self.cur.ins().sextend(ty, v),
            (false, false) if ty == types::F64 => self.cur.ins().fpromote(ty, v),
            (false, false) => self.cur.ins().fdemote(ty, v),
            _ => return Err(LowerError::Malformed(format!("{from} where {ty} is expected"))),
        })
    }
}
