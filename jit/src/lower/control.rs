//! Entry, dispatch over operations, terminators, throw blocks, landing pads.

use super::{Addr, LowerError, Lowerer, Result};
use crate::abi::{ArgLoc, RetLoc};
use crate::gc_check::Leaf;
use crate::ir::{ClauseId, Helper, Inst, Op, ProtectId, Term, Ty, Value};
use crate::layout::{AreaSlot, GcKind};
use crate::localloc;
use cranelift_codegen::cursor::Cursor;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, BlockArg, InstBuilder, JumpTableData, TrapCode, types};
use cranelift_codegen::isa::CallConv;
use cranelift_entity::EntityRef;
use smallvec::SmallVec;

/// Trap after calls that never return.
const UNREACHABLE: TrapCode = TrapCode::unwrap_user(1);
/// Bytes of the frame that optimised code clears without a call, which would need its arguments saved.
const INLINE_ZEROES: u32 = 256;
/// Faults below this address are null references, as in CoreCLR.
const NULL_AREA: i64 = 4096;
/// Constant `localloc`s up to this size live in the frame if they are not in a loop.
const FRAME_LOCALLOC: i64 = 2048;

impl Lowerer<'_> {
    /// Receives the arguments.
    pub(super) fn lower_entry(&mut self) -> Result<()> {
        let entry = self.entry;
        self.set_position(crate::ir::NO_IL, crate::ir::SiteId::ROOT);
        let params: Vec<ir::Value> = {
            let func = &mut *self.cur.func;
            let types: Vec<ir::Type> = func.signature.params.iter().map(|p| p.value_type).collect();
            types
                .into_iter()
                .map(|ty| func.dfg.append_block_param(entry, ty))
                .collect()
        };
        self.cur.goto_bottom(entry);
        if !self.optimised {
            self.base = Some(self.area_addr(0));
        }
        if let Some(parents) = self.func.parent_locals {
            self.parent_base = Some(params[1]);
            if self.func.locals.len() <= parents {
                return Err(LowerError::Malformed("filter without an exception local".into()));
            }
            let exception = crate::ir::Local::new(parents);
            match self.promotion.get(exception) {
                Some(i) => self.define_register(i, params[0]),
                None => {
                    let (addr, _) = self.local_addr(exception)?;
                    self.store(params[0], addr);
                }
            }
        } else if self.func.osr {
            self.receive_frame(&params)?;
        } else {
            self.receive(&params)?;
        }
        self.start_patchpoint_counter()?;
        self.zero_registers()?;
        let (first, args) = self.edge(self.func.entry)?;
        if first != entry {
            self.cur.ins().jump(first, &args);
        }
        Ok(())
    }

    fn receive(&mut self, params: &[ir::Value]) -> Result<()> {
        let abi = self.own_abi.clone();
        let expected = usize::from(abi.this.is_some()) + abi.args.len();
        if self.func.arg_count != expected || self.func.locals.len() < expected {
            return Err(LowerError::Malformed(format!(
                "{} argument locals, the signature has {expected}",
                self.func.arg_count
            )));
        }
        let mut next = params.iter().copied();
        let mut local = 0;
        if abi.this.is_some() {
            if let Some(p) = next.next() {
                match self.promotion.get(crate::ir::Local::new(0)) {
                    Some(i) => self.define_register(i, p),
                    None => {
                        let (addr, _) = self.local_addr(crate::ir::Local::new(0))?;
                        self.store(p, addr);
                        self.know_argument(crate::ir::Local::new(0), p);
                    }
                }
            }
            local = 1;
        }
        if abi.ret_buffer.is_some()
            && let Some(p) = next.next()
        {
            self.keep_return_buffer(p)?;
        }
        // Registers first: copying big arguments may call memmove.
        let mut big = Vec::new();
        for arg in &abi.args {
            if let Some(i) = self.promotion.get(crate::ir::Local::new(local)) {
                if let Some(p) = next.next() {
                    let p = self.local_value(crate::ir::Local::new(local), p)?;
                    self.define_register(i, p);
                }
                local += 1;
                continue;
            }
            let (addr, _) = self.local_addr(crate::ir::Local::new(local))?;
            match arg {
                ArgLoc::Pieces(pieces) => {
                    for piece in pieces {
                        if let Some(p) = next.next() {
                            self.store(p, addr.plus(piece.offset));
                            self.know_argument(crate::ir::Local::new(local), p);
                        }
                    }
                }
                ArgLoc::Memory { .. } => {
                    if let Some(p) = next.next() {
                        big.push((p, addr, self.layout.locals[local].size));
                    }
                }
            }
            local += 1;
        }
        for (p, addr, size) in big {
            // The caller's copy was written in large pieces, and nobody else looks at either.
            self.copy_memory(addr, Addr::Ptr(p, 0), size, false);
        }
        Ok(())
    }

    /// Stores the address of the return buffer.
    pub(super) fn keep_return_buffer(&mut self, p: ir::Value) -> Result<()> {
        let offset = self.alloc_area(8)?;
        self.ret_buffer = Some(offset);
        // The buffer may be in the heap (precompiled callers).
        self.gc_slots.push(AreaSlot {
            offset,
            kind: GcKind::ByRef,
            pinned: false,
        });
        self.store(p, Addr::Frame(offset));
        Ok(())
    }

    /// Clears what the collector may look at, at the very start of the function.
    pub(super) fn zero_area(&mut self) -> Result<()> {
        self.release_side_stack();
        let zero = std::mem::take(&mut self.zero);
        if zero.is_empty() {
            return Ok(());
        }
        let Some(first) = self.cur.func.layout.first_inst(self.entry) else {
            return Ok(());
        };
        self.cur.goto_inst(first);
        if self.base.is_some() {
            self.cur.next_inst();
        }
        self.protect = ProtectId::new(0);
        self.set_position(crate::ir::NO_IL, crate::ir::SiteId::ROOT);
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for (offset, bytes) in zero {
            match merged.last_mut() {
                Some((o, n)) if *o + *n == offset => *n += bytes,
                _ => merged.push((offset, bytes)),
            }
        }
        if let Some(record) = &mut self.record {
            record.cleared = merged.clone();
        }
        for (offset, bytes) in merged {
            if self.optimised && bytes <= INLINE_ZEROES {
                self.zero_inline(Addr::Frame(offset), bytes);
            } else {
                self.zero_memory(Addr::Frame(offset), bytes);
            }
        }
        Ok(())
    }

    pub(super) fn lower_inst(&mut self, index: u32, inst: &Inst) -> Result<()> {
        match &inst.op {
            Op::IConst(_) | Op::FConst(_) | Op::Null | Op::Address(_) => self.lower_constant(inst),
            Op::Bin(..)
            | Op::BinOvf(..)
            | Op::DivCheck { .. }
            | Op::Un(..)
            | Op::Conv(..)
            | Op::ConvOvf(..)
            | Op::Cmp(..)
            | Op::CkFinite(_)
            | Op::Select { .. } => self.lower_arith(inst),
            Op::NullCheck(v) => {
                if self.func.values[*v] == Ty::I64 {
                    // A native pointer: the whole first page counts as null, which a reference cannot point into.
                    let p = self.get(*v)?;
                    let limit = self.iconst(types::I64, NULL_AREA);
                    let null = self.cur.ins().icmp(IntCC::UnsignedLessThan, p, limit);
                    self.throw_if(null, Helper::ThrowNullReference);
                    return Ok(());
                }
                let p = self.get_cond(*v)?;
                self.throw_unless(p, Helper::ThrowNullReference);
                Ok(())
            }
            Op::BoundsCheck { index, length } => self.lower_bounds_check(*index, *length),
            Op::PtrAdd(a, b) => {
                let p = self.get(*a)?;
                let n = self.get(*b)?;
                let v = self.cur.ins().iadd(p, n);
                self.set(self.result(inst)?, v);
                Ok(())
            }
            Op::CallHelper { helper, args } => self.lower_call_helper(inst, *helper, args),
            Op::Call {
                callee,
                sig,
                args,
                tail,
            } => self.lower_call(inst, callee, sig, args, *tail),
            Op::ClassInit { ty, flag_address } => {
                let flag = self.iconst(types::I64, *flag_address as i64);
                let flag = self.load_at(types::I8, super::plain(), flag, 0);
                let (cold, cont) = (self.cold_block(), self.new_block());
                self.cur.ins().brif(flag, cont, &[], cold, &[]);
                self.cur.goto_bottom(cold);
                let ty = self.iconst(types::I64, ty.0 as i64);
                self.call_helper(Helper::ClassInit, &[ty], None);
                self.cur.ins().jump(cont, &[]);
                self.cur.goto_bottom(cont);
                Ok(())
            }
            Op::SafepointPoll => self.lower_poll(index),
            Op::Patchpoint { il } => self.lower_patchpoint(*il, index),
            Op::CountBlock { cell } => {
                self.lower_count_block(*cell);
                Ok(())
            }
            Op::FrameBase => {
                let base = self
                    .frame_base
                    .ok_or_else(|| LowerError::Malformed("frame base outside of a replacement".into()))?;
                self.set_plain(self.result(inst)?, base);
                Ok(())
            }
            Op::LocAlloc { bytes, zero } => self.lower_localloc(inst, *bytes, *zero),
            Op::Scratch { bytes } => {
                let offset = self.alloc_area(*bytes)?;
                let p = self.area_addr(offset);
                self.set_plain(self.result(inst)?, p);
                Ok(())
            }
            Op::Intrinsic { op, args } => self.lower_intrinsic(inst, *op, args),
            Op::X86 { op, args } => self.lower_x86(inst, *op, args),
            Op::Vector { op, lane, args } => self.lower_vector(inst, *op, *lane, args),
            Op::CurrentThread => {
                let thread = self.cur.ins().get_pinned_reg(types::I64);
                self.set_plain(self.result(inst)?, thread);
                Ok(())
            }
            _ => self.lower_memory(index, inst),
        }
    }

    pub(super) fn lower_term(&mut self, term: &Term) -> Result<()> {
        match term {
            Term::Jump(b) => {
                let (b, args) = self.edge(*b)?;
                self.cur.ins().jump(b, &args);
            }
            Term::Branch { cond, then, other } => {
                let c = self.get_cond(*cond)?;
                let likely = self.likelier(*then, *other);
                let ((then, then_args), (other, other_args)) = (self.edge(*then)?, self.edge(*other)?);
                let branch = self.cur.ins().brif(c, then, &then_args, other, &other_args);
                if let Some(way) = likely {
                    self.likely.insert(branch, way);
                }
            }
            Term::Switch {
                index,
                targets,
                default,
            } => {
                let i = self.get(*index)?;
                if self.type_of(i) != types::I32 {
                    return Err(LowerError::Malformed("switch on something else than I32".into()));
                }
                let (default, default_args) = self.edge(*default)?;
                let targets = targets.iter().map(|&t| self.edge(t)).collect::<Result<Vec<_>>>()?;
                let dfg = &mut self.cur.func.dfg;
                let default = dfg.block_call(default, &default_args);
                let table: Vec<_> = targets.iter().map(|(t, args)| dfg.block_call(*t, args)).collect();
                let table = self.cur.func.create_jump_table(JumpTableData::new(default, &table));
                self.cur.ins().br_table(i, table);
            }
            Term::Return(v) => self.lower_return(*v)?,
            Term::Unreachable => {
                self.cur.ins().trap(UNREACHABLE);
            }
        }
        Ok(())
    }

    /// Which way of a branch is taken more often, if the profile tells.
    fn likelier(&self, then: crate::ir::Block, other: crate::ir::Block) -> Option<usize> {
        let preds = self.preds.as_ref()?;
        crate::opt::likelier(self.func, preds, self.block, then, other)
    }

    /// A block and the values of the promoted locals that it expects.
    fn edge(&mut self, block: crate::ir::Block) -> Result<(ir::Block, SmallVec<[BlockArg; 8]>)> {
        let target = self.target(block)?;
        let expected: SmallVec<[usize; 8]> = self.promotion.expected(block).collect();
        let args = expected
            .into_iter()
            .map(|i| self.register(i).map(BlockArg::Value))
            .collect::<Result<_>>()?;
        Ok((target, args))
    }

    /// Promoted locals start as zero.
    fn zero_registers(&mut self) -> Result<()> {
        let expected: SmallVec<[usize; 8]> = self.promotion.expected(self.func.entry).collect();
        for i in expected {
            if self.registers[i].is_none() {
                let v = match Self::clif_type(self.func.locals[self.promotion.locals[i]].ty)? {
                    types::F32 => self.cur.ins().f32const(0.0),
                    types::F64 => self.cur.ins().f64const(0.0),
                    types::I8X16 => self.zero_vector(),
                    ty => self.iconst(ty, 0),
                };
                self.set_register(i, v);
            }
        }
        Ok(())
    }

    fn target(&self, block: crate::ir::Block) -> Result<ir::Block> {
        self.blocks
            .get(block.index())
            .copied()
            .ok_or_else(|| LowerError::Malformed(format!("{block} does not exist")))
    }

    fn lower_return(&mut self, v: Option<Value>) -> Result<()> {
        if self.func.parent_locals.is_some() {
            let Some(v) = v else {
                return Err(LowerError::Malformed("filter without a result".into()));
            };
            let v = self.get(v)?;
            self.cur.ins().return_(&[v]);
            return Ok(());
        }
        let ret = self.own_abi.ret.clone();
        let mut out = Vec::new();
        match (&ret, v) {
            (RetLoc::Void, _) => {}
            (_, None) => return Err(LowerError::Malformed("return without a value".into())),
            (RetLoc::Pieces(pieces), Some(v)) => match pieces[0].kind {
                Some(_) => {
                    let v = self.get(v)?;
                    let v = self.narrow(v, pieces[0].clif_type())?;
                    out.push(v);
                }
                None => self.struct_pieces(v, pieces, &mut out)?,
            },
            (RetLoc::Buffer, Some(v)) => {
                let ty = self.struct_type(v)?;
                let info = self.type_info(ty)?;
                let buffer = self
                    .ret_buffer
                    .ok_or_else(|| LowerError::Malformed("no return buffer".into()))?;
                if info.has_gc_pointers {
                    let src = self.materialise(v)?;
                    let src = self.addr_value(src);
                    let dst = self.load(types::I64, Addr::Frame(buffer));
                    self.copy_with_barrier(ty, dst, src);
                } else {
                    let dst = self.load(types::I64, Addr::Frame(buffer));
                    self.store_struct(Addr::Ptr(dst, 0), v, &info)?;
                }
                let p = self.load(types::I64, Addr::Frame(buffer));
                out.push(p);
            }
        }
        let ret = self.cur.ins().return_(&out);
        self.returns.push(ret);
        Ok(())
    }

    // --- raising

    pub(super) fn throw_if(&mut self, cond: ir::Value, helper: Helper) {
        let cold = self.throw_block(helper);
        let cont = self.new_block();
        self.cur.ins().brif(cond, cold, &[], cont, &[]);
        self.cur.goto_bottom(cont);
    }

    pub(super) fn throw_unless(&mut self, cond: ir::Value, helper: Helper) {
        let cold = self.throw_block(helper);
        let cont = self.new_block();
        self.cur.ins().brif(cond, cont, &[], cold, &[]);
        self.cur.goto_bottom(cont);
    }

    /// The block that raises here: shared by everything at the same IL offset under the same protection.
    fn throw_block(&mut self, helper: Helper) -> ir::Block {
        let key = (helper, self.protect, self.il, self.site);
        if let Some(&b) = self.throws.get(&key) {
            return b;
        }
        let back = self.cur.position();
        let block = self.cold_block();
        self.throws.insert(key, block);
        self.cur.goto_bottom(block);
        let cold = std::mem::replace(&mut self.cold, true);
        let epoch = self.epoch;
        self.call_noreturn(helper);
        self.epoch = epoch;
        self.cold = cold;
        self.cur.set_position(back);
        block
    }

    pub(super) fn trap_unreachable(&mut self) {
        self.cur.ins().trap(UNREACHABLE);
    }

    /// Landing pad of a clause: stores the exception (and the dispatch record) and enters the handler.
    pub(super) fn landing_pad(&mut self, clause: ClauseId) -> Result<ir::Block> {
        if let Some(b) = self.pads.get(clause.index()).copied().flatten() {
            return Ok(b);
        }
        let data = self
            .func
            .clauses
            .get(clause)
            .ok_or_else(|| LowerError::Malformed(format!("{clause} does not exist")))?;
        let handler = self.target(data.handler)?;
        let back = self.cur.position();
        let pad = self.cold_block();
        let exception = self.cur.func.dfg.append_block_param(pad, types::I64);
        let record = self.cur.func.dfg.append_block_param(pad, types::I64);
        self.pads[clause.index()] = Some(pad);
        self.cur.goto_bottom(pad);
        let (addr, _) = self.local_addr(data.exception_local)?;
        self.store(exception, addr);
        if let Some(local) = data.record_local {
            let (addr, _) = self.local_addr(local)?;
            self.store(record, addr);
        }
        if let Some(local) = data.selector_local {
            let (addr, _) = self.local_addr(local)?;
            let zero = self.iconst(types::I32, 0);
            self.store(zero, addr);
        }
        self.cur.ins().jump(handler, &[]);
        self.cur.set_position(back);
        Ok(pad)
    }

    // --- localloc

    fn lower_localloc(&mut self, inst: &Inst, bytes: Value, zero: bool) -> Result<()> {
        let result = self.result(inst)?;
        let n = self.get_u64(bytes)?;
        match self.constant(n) {
            Some(0) => {
                let null = self.iconst(types::I64, 0);
                self.set_plain(result, null);
                return Ok(());
            }
            Some(size @ 1..=FRAME_LOCALLOC) if !self.in_loop() => {
                let offset = self.alloc_area((size as u32).next_multiple_of(16) + 8)?;
                // Two 8-byte alignments are possible: keep 16 as natively (the area itself is 8-aligned).
                let mut p = self.area_addr(offset + 8);
                let mask = self.iconst(types::I64, -16);
                p = self.cur.ins().band(p, mask);
                if zero {
                    self.zero_memory(Addr::Ptr(p, 0), size as u32);
                }
                self.set_plain(result, p);
                return Ok(());
            }
            _ => {}
        }
        self.side_stack = true;
        let mut sig = ir::Signature::new(CallConv::SystemV);
        for ty in [types::I64, types::I64, types::I32] {
            sig.params.push(ir::AbiParam::new(ty));
        }
        sig.returns.push(ir::AbiParam::new(types::I64));
        let sig = self.import_sig(sig);
        let target = self.extern_func(
            localloc::allocate as extern "C" fn(usize, usize, u32) -> *mut u8 as usize as u64,
            sig,
        );
        let frame = self.cur.ins().get_frame_pointer(types::I64);
        let flag = self.iconst(types::I32, i64::from(zero));
        let call = self.cur.ins().call(target, &[frame, n, flag]);
        self.note_leaf(call, Leaf::Always);
        let p = self.cur.func.dfg.inst_results(call)[0];
        let overflow = self.iconst(types::I64, localloc::OVERFLOW as i64);
        let overflow = self.cur.ins().icmp(IntCC::Equal, p, overflow);
        self.throw_if(overflow, Helper::StackProbe);
        self.set_plain(result, p);
        Ok(())
    }

    /// Gives the memory of dynamic `localloc`s back before every return.
    fn release_side_stack(&mut self) {
        if !self.side_stack {
            return;
        }
        let mut sig = ir::Signature::new(CallConv::SystemV);
        sig.params.push(ir::AbiParam::new(types::I64));
        let sig = self.import_sig(sig);
        let target = self.extern_func(localloc::release as extern "C" fn(usize) as usize as u64, sig);
        for ret in std::mem::take(&mut self.returns) {
            self.cur.goto_inst(ret);
            let frame = self.cur.ins().get_frame_pointer(types::I64);
            let call = self.cur.ins().call(target, &[frame]);
            self.note_leaf(call, Leaf::Always);
        }
    }

    /// Can the block at hand reach itself?
    fn in_loop(&mut self) -> bool {
        if self.loops.is_none() {
            self.loops = Some(super::uses::blocks_in_cycles(self.func));
        }
        self.loops.as_ref().is_none_or(|l| l[self.block.index()])
    }
}
