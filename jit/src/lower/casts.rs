//! `castclass`, `isinst` and `unbox`: the common answers inline, the others through the engine's cast cache.

use super::calls::Target;
use super::{LowerError, Lowerer, Result, plain};
use crate::gc_check::Leaf;
use crate::host_api::TypeInfo;
use crate::ids::TypeId;
use crate::ir::{Helper, Inst, Value};
use cranelift_codegen::cursor::Cursor;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, BlockArg, InstBuilder, types};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// What is done inline before the engine is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Inline {
    /// Nothing.
    Nothing,
    /// An object of the very type; others may still fit.
    Same,
    /// An object of the very type; no other fits.
    Exact,
}

impl Lowerer<'_> {
    /// Lowers a cast. Its helpers never collect unless they raise, so that nothing is spilled around them.
    pub(super) fn lower_cast(&mut self, inst: &Inst, helper: Helper, args: &[Value]) -> Result<()> {
        let &[handle, object] = args else {
            return Err(LowerError::Malformed("a cast takes a type and an object".into()));
        };
        let (handle, object) = (self.get(handle)?, self.get(object)?);
        let target = match self.constant(handle) {
            Some(id) if self.optimised => Some(self.type_info(TypeId(id as u64))?),
            _ => None,
        };
        let inline = target.as_deref().map_or(Inline::Nothing, inline_part);
        let table = target.map_or(0, |t: Arc<TypeInfo>| t.method_table);
        let result = match (helper, inline) {
            (Helper::IsInst, Inline::Nothing) => self.ask(handle, object)?,
            (Helper::IsInst, _) => self.inline_isinst(handle, object, table, inline)?,
            (Helper::Unbox, Inline::Nothing) => self.raising(helper, handle, object)?,
            (Helper::Unbox, _) => self.inline_unbox(handle, object, table)?,
            _ => self.inline_castclass(handle, object, table, inline)?,
        };
        if let Some(r) = inst.result {
            self.set(r, result);
        }
        Ok(())
    }

    /// The object or null, from the cast cache.
    fn ask(&mut self, handle: ir::Value, object: ir::Value) -> Result<ir::Value> {
        self.call_leaf_value(Helper::IsInst, &[handle, object], types::I64)
    }

    /// Calls a helper that raises, or returns without having collected.
    fn raising(&mut self, helper: Helper, handle: ir::Value, object: ir::Value) -> Result<ir::Value> {
        let (f, sig) = self.helper_func(helper, &[handle, object], Some(types::I64));
        let result = self.call_as(Target::Func(f), sig, &[handle, object], Some(Leaf::UnlessRaised))?;
        result
            .first()
            .copied()
            .ok_or_else(|| LowerError::Malformed("a cast has a result".into()))
    }

    /// Continues in a new block where `object`'s class is known not to be `table`; branches to `same` where it is and to
    /// `null` where there is no object, with these values.
    fn compare_class(
        &mut self,
        object: ir::Value,
        table: u64,
        null: (ir::Block, SmallVec<[BlockArg; 1]>),
        same: (ir::Block, SmallVec<[BlockArg; 1]>),
    ) {
        let some = self.new_block();
        self.cur.ins().brif(object, some, &[], null.0, &null.1);
        self.cur.goto_bottom(some);
        let class = self.load_at(types::I64, plain(), object, 0);
        let wanted = self.iconst(types::I64, table as i64);
        let equal = self.cur.ins().icmp(IntCC::Equal, class, wanted);
        let other = self.new_block();
        self.cur.ins().brif(equal, same.0, &same.1, other, &[]);
        self.cur.goto_bottom(other);
    }

    fn inline_isinst(&mut self, handle: ir::Value, object: ir::Value, table: u64, inline: Inline) -> Result<ir::Value> {
        let done = self.new_block();
        let result = self.cur.func.dfg.append_block_param(done, types::I64);
        let this: SmallVec<[BlockArg; 1]> = smallvec![BlockArg::Value(object)];
        self.compare_class(object, table, (done, this.clone()), (done, this));
        let answer = match inline {
            Inline::Exact => self.iconst(types::I64, 0),
            _ => self.ask(handle, object)?,
        };
        self.cur.ins().jump(done, &[BlockArg::Value(answer)]);
        self.cur.goto_bottom(done);
        Ok(result)
    }

    fn inline_castclass(
        &mut self,
        handle: ir::Value,
        object: ir::Value,
        table: u64,
        inline: Inline,
    ) -> Result<ir::Value> {
        let (done, failed) = (self.new_block(), self.cold_block());
        if inline != Inline::Nothing {
            self.compare_class(object, table, (done, smallvec![]), (done, smallvec![]));
        }
        if inline == Inline::Exact {
            self.cur.ins().jump(failed, &[]);
        } else {
            let answer = self.ask(handle, object)?;
            let fits = self.cur.ins().icmp(IntCC::Equal, answer, object);
            self.cur.ins().brif(fits, done, &[], failed, &[]);
        }
        self.cur.goto_bottom(failed);
        let cold = std::mem::replace(&mut self.cold, true);
        self.raising(Helper::CastClass, handle, object)?;
        self.trap_unreachable();
        self.cold = cold;
        self.cur.goto_bottom(done);
        Ok(object)
    }

    /// Enumerations and their underlying types unbox as each other: the helper's matter, as are null and failure.
    fn inline_unbox(&mut self, handle: ir::Value, object: ir::Value, table: u64) -> Result<ir::Value> {
        let (done, slow, same) = (self.new_block(), self.cold_block(), self.new_block());
        let result = self.cur.func.dfg.append_block_param(done, types::I64);
        self.compare_class(object, table, (slow, smallvec![]), (same, smallvec![]));
        self.cur.ins().jump(slow, &[]);
        self.cur.goto_bottom(slow);
        let cold = std::mem::replace(&mut self.cold, true);
        let value = self.raising(Helper::Unbox, handle, object)?;
        self.cur.ins().jump(done, &[BlockArg::Value(value)]);
        self.cold = cold;
        self.cur.goto_bottom(same);
        let value = self.cur.ins().iadd_imm_s(object, 8);
        self.cur.ins().jump(done, &[BlockArg::Value(value)]);
        self.cur.goto_bottom(done);
        Ok(result)
    }
}

fn inline_part(target: &TypeInfo) -> Inline {
    match target {
        // No object is of an interface, and a boxed Nullable is an object of its argument.
        t if t.is_interface || t.nullable_of.is_some() || t.method_table == 0 => Inline::Nothing,
        t if t.is_exact => Inline::Exact,
        _ => Inline::Same,
    }
}
