//! What Tier-0 code does for its own promotion.

use super::{Lowerer, plain};
use crate::ir::Helper;
use cranelift_codegen::cursor::Cursor;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, AbiParam, InstBuilder, types};
use cranelift_codegen::isa::CallConv;

impl Lowerer<'_> {
    /// Counts the call down; the helper preserves every register, so that nothing is spilled for a call that is made once.
    pub(super) fn lower_count_call(&mut self, cell: u64) {
        let Some(method) = self.func.method else { return };
        let address = self.iconst(types::I64, cell as i64);
        let count = self.cur.ins().load(types::I32, plain(), address, 0);
        let one = self.iconst(types::I32, 1);
        let left = self.cur.ins().isub(count, one);
        self.cur.ins().store(plain(), left, address, 0);
        let zero = self.iconst(types::I32, 0);
        let reached = self.cur.ins().icmp(IntCC::Equal, left, zero);
        let (cold, cont) = (self.cold_block(), self.new_block());
        self.cur.ins().brif(reached, cold, &[], cont, &[]);
        self.cur.goto_bottom(cold);
        let mut sig = ir::Signature::new(CallConv::PreserveAll);
        sig.params.push(AbiParam::new(types::I64));
        let sig = self.import_sig(sig);
        let helper = self.extern_func(self.host.helper_address(Helper::CallCounted), sig);
        let method = self.iconst(types::I64, method.0 as i64);
        self.cur.ins().call(helper, &[method]);
        self.cur.ins().jump(cont, &[]);
        self.cur.goto_bottom(cont);
    }
}
