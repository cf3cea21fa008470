//! Checker of GC info: does the collector know every reference that is needed after a safepoint?
//!
//! Lowering decides where references are while the collector runs (`lower/promote.rs`, spill slots of temporaries), and it does so
//! with its own notion of liveness; Cranelift then moves code around. This checker trusts neither. It looks twice:
//!
//! - [`ir`]: from liveness of the IR, computed anew, and a record of what lowering saved and loaded where: at each safepoint, every
//!   reference that is used later is in a slot of the GC info, every load from a slot finds there what it expects (slots are shared),
//!   and all slots are cleared before anything can collect.
//! - [`clif`]: in the function that Cranelift makes code of, behind all optimisations: no value that is a reference or derived from
//!   one lives across a safepoint, so that none can be in a register or in a spill slot of the register allocator there, and no
//!   reference comes from frame memory that GC info does not name.
//!
//! Runs in debug builds and where `CORTEN_GCSTRESS` or `CORTEN_GCCHECK` is set. A finding is an error of the compilation.

pub(crate) mod clif;
pub(crate) mod ir;
#[cfg(test)]
mod tests;

use crate::ir as mir;
use crate::layout::LocalPlace;
use cranelift_codegen::ir as cl;
use rustc_hash::{FxHashMap, FxHashSet};

/// What a slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Holder {
    /// A value of the block at hand.
    Value(mir::Value),
    /// A promoted local.
    Local(mir::Local),
}

/// What lowering did at an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Stored a reference to the slot with this area offset.
    Saved(u32, Holder),
    /// Loaded it again.
    Loaded(u32, Holder),
    /// Took a value for an address that never moves.
    Fixed(mir::Value),
}

/// Calls that are no safepoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leaf {
    /// Neither collects nor raises.
    Always,
    /// Raises, which may collect, or has not collected.
    UnlessRaised,
}

/// What lowering knows and the checks need.
#[derive(Default, Debug)]
pub(crate) struct Record {
    /// Actions in order, with the block (none: the entry sequence) and the index of the instruction (or of the terminator).
    actions: Vec<(Option<mir::Block>, u32, Action)>,
    at: (Option<mir::Block>, u32),
    /// CLIF values that are references or managed pointers, and those that are (also) something that never moves.
    references: FxHashSet<cl::Value>,
    fixed: FxHashSet<cl::Value>,
    /// References that something fixed is computed from: the addresses of what is pinned. The optimiser may compute it again.
    bases: FxHashSet<cl::Value>,
    leaves: FxHashMap<cl::Inst, Leaf>,
    /// Ranges of the area that are cleared at entry: (offset, bytes).
    pub cleared: Vec<(u32, u32)>,
    /// Slot of the return buffer's address, stored at entry.
    pub ret_buffer: Option<u32>,
    /// By local: its place in memory, or `None` where it is in a register.
    pub places: Vec<Option<LocalPlace>>,
}

impl Record {
    /// What follows belongs to this instruction.
    pub fn go_to(&mut self, block: mir::Block, index: usize) {
        self.at = (Some(block), index as u32);
    }

    /// Lowering did this.
    pub fn action(&mut self, action: Action) {
        self.actions.push((self.at.0, self.at.1, action));
    }

    /// A CLIF value is a reference or managed pointer.
    pub fn reference(&mut self, value: cl::Value) {
        self.references.insert(value);
    }

    /// A CLIF value is (also) something that the collector need not know.
    pub fn fixed(&mut self, value: cl::Value) {
        self.fixed.insert(value);
    }

    /// Follows the aliases that a pass has made, while they are there.
    pub fn resolve_aliases(&mut self, func: &cl::Function) {
        let dfg = &func.dfg;
        for set in [&mut self.references, &mut self.fixed] {
            *set = set.iter().map(|&v| dfg.resolve_aliases(v)).collect();
        }
        self.find_bases(func);
    }

    /// Finds what fixed values are computed from. An optimisation may have put something else there since the last time.
    pub fn find_bases(&mut self, func: &cl::Function) {
        let dfg = &func.dfg;
        let mut work: Vec<cl::Value> = self.fixed.iter().copied().filter(|&v| is_present(func, v)).collect();
        let mut given: FxHashMap<cl::Value, Vec<cl::Value>> = FxHashMap::default();
        for inst in func.layout.blocks().flat_map(|b| func.layout.block_insts(b)) {
            for (block, args) in clif::passed(func, inst) {
                for (&param, arg) in dfg.block_params(block).iter().zip(args) {
                    given.entry(param).or_default().extend(arg);
                }
            }
        }
        while let Some(v) = work.pop() {
            if self.fixed.contains(&v)
                && let Some(same) = clif::added_to_nothing(func, v)
                && self.fixed.insert(same)
            {
                // The optimiser uses what is the same number.
                work.push(same);
            }
            let from = match dfg.value_def(v) {
                cl::ValueDef::Param(..) => given.get(&v).map_or(&[][..], |args| args),
                cl::ValueDef::Result(inst, _) if is_address(dfg.insts[inst].opcode()) => dfg.inst_args(inst),
                _ => &[],
            };
            let from = from.iter().map(|&a| dfg.resolve_aliases(a));
            work.extend(from.filter(|&a| self.bases.insert(a)));
        }
    }

    /// A call is no safepoint.
    pub fn leaf(&mut self, call: cl::Inst, leaf: Leaf) {
        self.leaves.insert(call, leaf);
    }
}

/// Is a value still part of the function?
fn is_present(func: &cl::Function, v: cl::Value) -> bool {
    match func.dfg.value_is_attached(v).then(|| func.dfg.value_def(v)) {
        Some(cl::ValueDef::Result(inst, _)) => func.layout.inst_block(inst).is_some(),
        Some(cl::ValueDef::Param(block, _)) => func.layout.is_block_inserted(block),
        _ => false,
    }
}

/// Operations whose result is in the object that an operand is in.
fn is_address(opcode: cl::Opcode) -> bool {
    matches!(
        opcode,
        cl::Opcode::Iadd
            | cl::Opcode::Isub
            | cl::Opcode::Select
            | cl::Opcode::SelectSpectreGuard
            | cl::Opcode::Bitselect
    )
}

/// A finding, with the function that it is about where `CORTEN_GCCHECK=dump` asks for it.
pub(crate) fn with_dump(finding: String, func: &cl::Function) -> String {
    match std::env::var("CORTEN_GCCHECK").as_deref() {
        Ok("dump") => format!("{finding}\n{}", func.display()),
        _ => finding,
    }
}

/// Is the checker on?
pub(crate) fn enabled() -> bool {
    let asked = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty() && v != "0");
    cfg!(debug_assertions) || asked("CORTEN_GCSTRESS") || asked("CORTEN_GCCHECK")
}
