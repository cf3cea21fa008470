//! What Tier-0 code does for its own promotion.

use super::polls::THREAD_POLL_FLAG;
use super::{Addr, Lowerer, Result, plain};
use crate::abi::{AbiSignature, scalar_type};
use crate::ir::{Helper, OSR_CALL, Pace, ProtectId};
use cranelift_codegen::cursor::Cursor;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, AbiParam, InstBuilder, types};
use cranelift_entity::EntityRef;

/// Native signature of a replacement: (area of the Tier-0 frame, return buffer if the method has one), results as the method.
pub(super) fn replacement_signature(method: &AbiSignature) -> ir::Signature {
    let mut sig = method.clif();
    let params = 1 + usize::from(method.ret_buffer.is_some());
    sig.params = vec![AbiParam::new(types::I64); params];
    sig
}

impl Lowerer<'_> {
    /// Counts a block. All counters are addressed from that of the entry, which comes first.
    pub(super) fn lower_count_block(&mut self, cell: u64) {
        let (base, first) = match self.counters {
            Some(known) => known,
            None => {
                let base = self.iconst(types::I64, cell as i64);
                if self.cur.current_block() == Some(self.entry) {
                    self.counters = Some((base, cell));
                }
                (base, cell)
            }
        };
        let offset = cell.wrapping_sub(first) as i32;
        let count = self.load_at(types::I32, plain(), base, offset);
        let one = self.iconst(types::I32, 1);
        let count = self.cur.ins().iadd(count, one);
        self.store_at(plain(), count, base, offset);
    }

    /// Entry of a replacement.
    pub(super) fn receive_frame(&mut self, params: &[ir::Value]) -> Result<()> {
        self.frame_base = params.first().copied();
        match params.get(1) {
            Some(&buffer) => self.keep_return_buffer(buffer),
            None => Ok(()),
        }
    }

    /// Sets the frame's counter of loop iterations.
    pub(super) fn start_patchpoint_counter(&mut self) -> Result<()> {
        let Some(pace) = self.func.patchpoints else {
            return Ok(());
        };
        let offset = self.alloc_area(8)?;
        self.patchpoint_counter = Some(offset);
        let first = self.iconst(types::I32, i64::from(Pace::counter(pace.first)));
        self.store(first, Addr::Frame(offset));
        Ok(())
    }

    /// Counts an iteration; when the counter is used up, asks for a replacement and lets it finish the method. It is a safepoint
    /// poll, too.
    pub(super) fn lower_patchpoint(&mut self, il: u32, index: u32) -> Result<()> {
        let (Some(counter), Some(method)) = (self.patchpoint_counter, self.func.method) else {
            return self.lower_poll(index);
        };
        let count = self.load(types::I32, Addr::Frame(counter));
        let one = self.iconst(types::I32, 1);
        let left = self.cur.ins().isub(count, one);
        self.store(left, Addr::Frame(counter));
        let thread = self.cur.ins().get_pinned_reg(types::I64);
        let request = self.load_at(types::I32, plain(), thread, THREAD_POLL_FLAG);
        let stop = self.cur.ins().icmp(IntCC::SignedLessThan, left, request);
        let (cold, cont) = (self.cold_block(), self.new_block());
        self.cur.ins().brif(stop, cold, &[], cont, &[]);
        self.cur.goto_bottom(cold);
        // Neither call is protected: the question raises nothing, and the replacement has the clauses itself.
        let (protect, at, site) = (self.protect, self.il, self.site);
        self.protect = ProtectId::new(0);
        self.set_position(at, site);
        self.store_registers()?;
        let arguments = [
            self.iconst(types::I64, method.0 as i64),
            self.iconst(types::I64, i64::from(il)),
            self.area_addr(counter),
        ];
        let code = self.call_helper(Helper::Patchpoint, &arguments, Some(types::I64));
        if let Some(code) = code {
            let go = self.cold_block();
            self.cur.ins().brif(code, go, &[], cont, &[]);
            self.cur.goto_bottom(go);
            self.set_position(OSR_CALL, site);
            let mut arguments = vec![self.area_addr(0)];
            if let Some(buffer) = self.ret_buffer {
                arguments.push(self.load(types::I64, Addr::Frame(buffer)));
            }
            let sig = self.import_sig(replacement_signature(&self.own_abi));
            let call = self.cur.ins().call_indirect(sig, code, &arguments);
            self.epoch += 1;
            let results = self.cur.func.dfg.inst_results(call).to_vec();
            let end = self.cur.ins().return_(&results);
            self.returns.push(end);
        }
        self.protect = protect;
        self.set_position(at, site);
        self.cur.goto_bottom(cont);
        Ok(())
    }

    /// Puts the locals that live in registers here into their homes.
    fn store_registers(&mut self) -> Result<()> {
        let live: Vec<usize> = self.promotion.expected(self.block).collect();
        for i in live {
            let local = self.promotion.locals[i];
            if local.index() >= self.func.fixed_locals {
                continue;
            }
            let (addr, kind) = self.local_addr(local)?;
            if let Some((v, _)) = self.registers[i] {
                let v = match scalar_type(kind) {
                    narrow if narrow.is_int() && narrow.bits() < 32 => self.narrow(v, narrow)?,
                    _ => v,
                };
                self.store(v, addr);
            }
        }
        Ok(())
    }
}
