//! Loop polls, and references in registers.

use super::{Addr, LowerError, Lowerer, NONE, Result, plain};
use crate::gc_check::{Action, Holder};
use crate::ir::{Helper, Local, Op, successors};
use crate::layout::GcKind;
use cranelift_codegen::cursor::Cursor;
use cranelift_codegen::ir::{self, BlockArg, InstBuilder, types};
use cranelift_codegen::isa::CallConv;
use smallvec::SmallVec;

/// `Thread` field that is non-zero when a safepoint poll must call the engine (offset from r15).
pub(super) const THREAD_POLL_FLAG: i32 = 16;

impl Lowerer<'_> {
    /// Asks whether the engine wants the thread to stop. The helper preserves every register, and references that are in
    /// registers are saved and reloaded beside the call: a loop pays for a load, a test and a branch.
    pub(super) fn lower_poll(&mut self, index: u32) -> Result<()> {
        let kept = self.references_in_use(index);
        let vectors: SmallVec<[(usize, ir::Value); 8]> = (0..self.promotion.locals.len())
            .filter(|&i| self.promotion.goes_stale(i) && !self.promotion.is_reference(i))
            .filter_map(|i| Some((i, self.valid_register(i)?)))
            .collect();
        let thread = self.cur.ins().get_pinned_reg(types::I64);
        let flag = self.load_at(types::I32, plain(), thread, THREAD_POLL_FLAG);
        let (cold, cont) = (self.cold_block(), self.new_block());
        let old: SmallVec<[BlockArg; 8]> = kept.iter().map(|&(_, v)| BlockArg::Value(v)).collect();
        self.cur.ins().brif(flag, cold, &[], cont, &old);
        self.cur.goto_bottom(cold);
        for &(i, v) in &kept {
            if !self.promotion.has_home(i) {
                self.save_home(i, v);
            }
        }
        let sig = self.import_sig(ir::Signature::new(CallConv::PreserveAll));
        let helper = self.extern_func(self.host.helper_address(Helper::Poll), sig);
        self.cur.ins().call(helper, &[]);
        let mut new: SmallVec<[BlockArg; 8]> = SmallVec::new();
        for &(i, _) in &kept {
            new.push(self.load_home(i)?.into());
        }
        self.cur.ins().jump(cont, &new);
        self.cur.goto_bottom(cont);
        self.epoch += 1;
        for (i, v) in vectors {
            self.set_register(i, v);
        }
        for &(i, _) in &kept {
            let v = self.cur.func.dfg.append_block_param(cont, types::I64);
            self.set_register(i, v);
        }
        Ok(())
    }

    /// References that are in registers before instruction `index` of the block and needed there after it.
    fn references_in_use(&self, index: u32) -> SmallVec<[(usize, ir::Value); 8]> {
        let data = &self.func.blocks[self.block];
        let rest = data.insts.get(index as usize + 1..).unwrap_or(&[]);
        let needed = |i: usize| {
            let local = self.promotion.locals[i];
            let first = rest.iter().find_map(|inst| match inst.op {
                Op::LocalGet(l) if l == local => Some(true),
                Op::LocalSet(l, _) if l == local => Some(false),
                _ => None,
            });
            first.unwrap_or_else(|| {
                let mut expected = false;
                successors(&data.term, |s| expected |= self.promotion.expects(s, i));
                expected
            })
        };
        (0..self.promotion.locals.len())
            .filter(|&i| self.promotion.is_reference(i))
            .filter_map(|i| Some((i, self.valid_register(i)?)))
            .filter(|&(i, _)| needed(i))
            .collect()
    }

    /// The value of a promoted local, if its register holds it now.
    fn valid_register(&self, index: usize) -> Option<ir::Value> {
        let (value, epoch) = self.registers[index]?;
        (!self.promotion.goes_stale(index) || epoch == self.epoch).then_some(value)
    }

    /// Notes the value of a promoted local.
    pub(super) fn set_register(&mut self, index: usize, value: ir::Value) {
        if self.promotion.is_reference(index) {
            self.note_reference(value);
        } else {
            self.note_fixed(value);
        }
        self.registers[index] = Some((value, self.epoch));
    }

    /// Gives a promoted local a new value.
    pub(super) fn define_register(&mut self, index: usize, value: ir::Value) {
        self.set_register(index, value);
        if self.promotion.has_home(index) {
            self.save_home(index, value);
        }
    }

    fn save_home(&mut self, index: usize, value: ir::Value) {
        let home = self.home(index);
        self.store(value, Addr::Frame(home));
        if self.promotion.is_reference(index) {
            self.note(Action::Saved(home, Holder::Local(self.promotion.locals[index])));
        }
    }

    fn load_home(&mut self, index: usize) -> Result<ir::Value> {
        let home = self.home(index);
        let local = self.promotion.locals[index];
        if self.promotion.is_reference(index) {
            self.note(Action::Loaded(home, Holder::Local(local)));
        }
        let ty = Self::clif_type(self.func.locals[local].ty)?;
        Ok(self.load(ty, Addr::Frame(home)))
    }

    /// The value of a promoted local, loaded from its home if a safepoint has passed.
    pub(super) fn register(&mut self, index: usize) -> Result<ir::Value> {
        if let Some(value) = self.valid_register(index) {
            return Ok(value);
        }
        if !self.promotion.has_home(index) {
            let local = self.promotion.locals[index];
            return Err(LowerError::Malformed(format!("{local} has no value here")));
        }
        let value = self.load_home(index)?;
        self.set_register(index, value);
        Ok(value)
    }

    /// Where a local is across safepoints. That of a reference is zero from the start, so always valid.
    fn home(&mut self, index: usize) -> u32 {
        let local: Local = self.promotion.locals[index];
        let index = self.promotion.place(index);
        if self.homes[index] == NONE && self.func.locals[local].ty == crate::ir::Ty::V128 {
            self.homes[index] = self.area_size;
            self.area_size += 16;
        }
        if self.homes[index] == NONE {
            let kind = if self.func.locals[local].ty == crate::ir::Ty::ByRef {
                GcKind::ByRef
            } else {
                GcKind::Ref
            };
            self.homes[index] = self.new_gc_slot(kind);
        }
        self.homes[index]
    }
}
