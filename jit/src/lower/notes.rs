//! Notes for the checker of GC info (`crate::gc_check`), where it is on.

use super::Lowerer;
use crate::gc_check::{Action, Leaf};
use crate::ir as mir;
use cranelift_codegen::ir;
use cranelift_entity::EntityRef;

impl Lowerer<'_> {
    /// What follows belongs to this instruction.
    pub(super) fn note_place(&mut self, block: mir::Block, index: usize) {
        if let Some(record) = &mut self.record {
            record.go_to(block, index);
        }
    }

    /// This was done with a reference.
    pub(super) fn note(&mut self, action: Action) {
        if let Some(record) = &mut self.record {
            record.action(action);
        }
    }

    /// That is a reference or a managed pointer.
    pub(super) fn note_reference(&mut self, v: ir::Value) {
        if let Some(record) = &mut self.record {
            record.reference(v);
        }
    }

    /// That is (also) something that never moves.
    pub(super) fn note_fixed(&mut self, v: ir::Value) {
        if let Some(record) = &mut self.record {
            record.fixed(v);
        }
    }

    /// That call is no safepoint.
    pub(super) fn note_leaf(&mut self, call: ir::Inst, leaf: Leaf) {
        if let Some(record) = &mut self.record {
            record.leaf(call, leaf);
        }
    }

    /// Everything is lowered.
    pub(super) fn finish_record(&mut self) {
        if let Some(record) = &mut self.record {
            record.ret_buffer = self.ret_buffer;
            let places = self.layout.locals.iter().enumerate();
            let in_memory = |l: usize| self.promotion.get(mir::Local::new(l)).is_none();
            record.places = places.map(|(l, place)| in_memory(l).then_some(*place)).collect();
        }
    }
}
