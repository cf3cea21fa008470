//! References in CLIF, behind all optimisations.

use super::{Leaf, Record};
use crate::layout::AreaSlot;
use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::{
    Block, BlockArg, Function, Inst, InstructionData, Opcode, StackSlot, Value, ValueDef, types,
};
use rustc_hash::{FxHashMap, FxHashSet};

/// Where something happens: a block and a number that grows within it. Parameters are at 0, instruction `n` (from 0) at `2n + 2`,
/// and what it passes on to other blocks at `2n + 3`.
type At = (Block, u32);

struct Checker<'a> {
    func: &'a Function,
    record: &'a Record,
    cfg: ControlFlowGraph,
    place: FxHashMap<Inst, At>,
    /// Safepoints of each block, ascending.
    safepoints: FxHashMap<Block, Vec<(u32, Inst)>>,
    uses: FxHashMap<Value, Vec<(Block, u32, Inst)>>,
}

/// Checks the function that Cranelift is about to make code of. `area` is the stack slot that GC info describes, `slots` the
/// references in it. What it finds first is the error.
pub(crate) fn check(func: &Function, area: StackSlot, slots: &[AreaSlot], record: &mut Record) -> Result<(), String> {
    record.find_bases(func);
    let mut checker = Checker {
        func,
        record,
        cfg: ControlFlowGraph::with_function(func),
        place: FxHashMap::default(),
        safepoints: FxHashMap::default(),
        uses: FxHashMap::default(),
    };
    checker.number();
    let references = checker.references(area, slots)?;
    let mut ordered: Vec<&Value> = references.iter().collect();
    ordered.sort_unstable();
    ordered.into_iter().try_for_each(|&v| checker.value(v, &references))
}

/// The values that an instruction hands to its successors, with the successors.
pub(super) fn passed(func: &Function, inst: Inst) -> impl Iterator<Item = (Block, Vec<Option<Value>>)> + '_ {
    let dfg = &func.dfg;
    let calls = dfg.insts[inst].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
    calls.iter().map(|call| {
        let args = call.args(&dfg.value_lists).map(|arg| match arg {
            BlockArg::Value(v) => Some(dfg.resolve_aliases(v)),
            BlockArg::TryCallRet(_) | BlockArg::TryCallExn(_) => None,
        });
        (call.block(&dfg.value_lists), args.collect())
    })
}

impl Checker<'_> {
    fn insts(&self) -> impl Iterator<Item = (Block, Inst)> + '_ {
        let layout = &self.func.layout;
        layout.blocks().flat_map(|b| layout.block_insts(b).map(move |i| (b, i)))
    }

    /// Finds places, uses and safepoints.
    fn number(&mut self) {
        let func = self.func;
        for block in func.layout.blocks() {
            for (n, inst) in func.layout.block_insts(block).enumerate() {
                let at = 2 * n as u32 + 2;
                self.place.insert(inst, (block, at));
                for &v in func.dfg.inst_args(inst) {
                    self.uses
                        .entry(func.dfg.resolve_aliases(v))
                        .or_default()
                        .push((block, at, inst));
                }
                for (_, args) in passed(func, inst) {
                    for v in args.into_iter().flatten() {
                        self.uses.entry(v).or_default().push((block, at + 1, inst));
                    }
                }
                let opcode = func.dfg.insts[inst].opcode();
                // What raises leaves the block, unless it is the terminator with ways for both.
                let safepoint = match self.record.leaves.get(&inst) {
                    Some(Leaf::Always) => false,
                    Some(Leaf::UnlessRaised) => opcode.is_terminator(),
                    None => true,
                };
                if opcode.is_call() && safepoint {
                    self.safepoints.entry(block).or_default().push((at, inst));
                }
            }
        }
    }

    /// Offset in the area that an access to memory is at.
    fn area_offset(&self, inst: Inst, area: StackSlot) -> Option<u32> {
        let dfg = &self.func.dfg;
        let offset = match dfg.insts[inst] {
            InstructionData::Load { offset, .. } | InstructionData::Store { offset, .. } => {
                i64::from(i32::from(offset))
            }
            _ => return None,
        };
        let address = match dfg.insts[inst] {
            InstructionData::Store { args, .. } => args[1],
            InstructionData::Load { arg, .. } => arg,
            _ => return None,
        };
        let (mut v, mut offset) = (dfg.resolve_aliases(address), offset);
        loop {
            let ValueDef::Result(def, _) = dfg.value_def(v) else {
                return None;
            };
            match dfg.insts[def] {
                InstructionData::StackAddr {
                    stack_slot, offset: o, ..
                } => {
                    return (stack_slot == area)
                        .then(|| u32::try_from(offset + i64::from(i32::from(o))).ok())
                        .flatten();
                }
                InstructionData::Binary {
                    opcode: Opcode::Iadd,
                    args: [base, n],
                } => {
                    offset += constant(self.func, n)?;
                    v = dfg.resolve_aliases(base);
                }
                _ => return None,
            }
        }
    }

    /// All values that are references, managed pointers or derived from one.
    fn references(&self, area: StackSlot, slots: &[AreaSlot]) -> Result<FxHashSet<Value>, String> {
        let dfg = &self.func.dfg;
        let named: FxHashSet<u32> = slots.iter().map(|s| s.offset).collect();
        let (marked, fixed) = (&self.record.references, &self.record.fixed);
        let mut found: FxHashSet<Value> = FxHashSet::default();
        for block in self.func.layout.blocks() {
            found.extend(dfg.block_params(block).iter().filter(|v| marked.contains(v)));
        }
        for (block, inst) in self.insts() {
            let results = dfg.inst_results(inst);
            let data = &dfg.insts[inst];
            let offset = data.opcode().can_load().then(|| self.area_offset(inst, area)).flatten();
            for v in results {
                if let Some(offset) = offset
                    && dfg.value_type(*v) == types::I64
                    && marked.contains(v)
                    && !fixed.contains(v)
                    && !named.contains(&offset)
                    && !self.in_local(offset)
                {
                    return Err(format!(
                        "{v} in {block} is a reference from the frame at {offset}, which GC info does not name"
                    ));
                }
                let source = data.opcode().can_load() || data.opcode().is_call();
                let from_slot = offset.is_some_and(|o| named.contains(&o)) && dfg.value_type(*v) == types::I64;
                if source && marked.contains(v) || from_slot {
                    found.insert(*v);
                }
            }
        }
        found.retain(|v| !fixed.contains(v));
        // Addresses in objects, selections, and what blocks are given.
        let mut changed = true;
        while changed {
            changed = false;
            let mut new = Vec::new();
            for (_, inst) in self.insts() {
                new.extend(self.derived(inst, &found));
            }
            new.retain(|v| dfg.value_type(*v) == types::I64 && !fixed.contains(v));
            for v in new {
                changed |= found.insert(v);
            }
        }
        Ok(found)
    }

    /// Is that part of a local? Code may read one as what it is not (`Unsafe.As`), on a way that it never goes.
    fn in_local(&self, offset: u32) -> bool {
        let places = self.record.places.iter().flatten();
        places
            .filter(|p| !p.in_parent)
            .any(|p| (p.offset..p.offset + p.size).contains(&offset))
    }

    /// Results and parameters that become references because of an instruction's operands.
    fn derived(&self, inst: Inst, found: &FxHashSet<Value>) -> Vec<Value> {
        let dfg = &self.func.dfg;
        let mut out = Vec::new();
        for (block, args) in passed(self.func, inst) {
            for (arg, &param) in args.iter().zip(dfg.block_params(block)) {
                if arg.is_some_and(|a| found.contains(&a)) && !found.contains(&param) {
                    out.push(param);
                }
            }
        }
        let reference = dfg
            .inst_results(inst)
            .iter()
            .any(|v| self.record.references.contains(v));
        let is = |n: usize| {
            dfg.inst_args(inst)
                .get(n)
                .map(|&v| dfg.resolve_aliases(v))
                .is_some_and(|v| found.contains(&v) && (reference || !self.record.bases.contains(&v)))
        };
        let yes = match dfg.insts[inst].opcode() {
            Opcode::Iadd => is(0) != is(1),
            Opcode::Isub => is(0) && !is(1),
            Opcode::Select | Opcode::SelectSpectreGuard | Opcode::Bitselect => is(1) || is(2),
            _ => false,
        };
        if yes {
            out.extend(dfg.inst_results(inst).iter().filter(|v| !found.contains(v)));
        }
        out
    }

    /// No safepoint is between a reference's definition and its uses.
    fn value(&self, v: Value, references: &FxHashSet<Value>) -> Result<(), String> {
        let dfg = &self.func.dfg;
        for &(block, at, inst) in self.uses.get(&v).map_or(&[][..], |u| u) {
            let Some((safepoint, place)) = self.passed_safepoint(v, (block, at)) else {
                continue;
            };
            let others = dfg.inst_args(inst).iter().map(|&w| dfg.resolve_aliases(w));
            let mut others = others.filter(|w| *w != v && references.contains(w));
            if self.record.bases.contains(&v) && super::is_address(dfg.insts[inst].opcode()) {
                continue;
            }
            let operand = at % 2 == 0;
            if operand
                && self.is_snapshot(inst, references)
                && others.all(|w| self.passed_safepoint(w, (block, at)).is_some())
            {
                continue;
            }
            return Err(format!(
                "{v}, a reference, lives across the safepoint {safepoint} in {place} ({}) to {inst} in {block} ({})",
                dfg.display_inst(safepoint),
                dfg.display_inst(inst)
            ));
        }
        Ok(())
    }

    /// Numbers made of references mean what they meant before a safepoint that the optimiser has moved them behind, if all their
    /// operands are from before it: whether references are equal, how far managed pointers are apart. None may become an
    /// address.
    fn is_snapshot(&self, inst: Inst, references: &FxHashSet<Value>) -> bool {
        let opcode = self.func.dfg.insts[inst].opcode();
        let pure = !opcode.can_load()
            && !opcode.can_store()
            && !opcode.is_call()
            && !opcode.is_terminator()
            && !opcode.other_side_effects();
        let number = self.func.dfg.inst_results(inst).iter().all(|r| !references.contains(r));
        pure && number || opcode == Opcode::Brif
    }

    /// A safepoint that may be passed between the definition of a value and a place of use.
    fn passed_safepoint(&self, v: Value, (block, at): At) -> Option<(Inst, Block)> {
        let def = match self.func.dfg.value_def(v) {
            ValueDef::Param(block, _) => (block, 0),
            ValueDef::Result(inst, _) => *self.place.get(&inst)?,
            ValueDef::Union(..) => return None,
        };
        // From the use back to the definition or the start of the block.
        if block == def.0 && at > def.1 {
            return self.safepoint_in(block, def.1, at);
        }
        let mut found = self.safepoint_in(block, 0, at);
        let mut seen: FxHashSet<Block> = FxHashSet::default();
        let mut work = vec![block];
        while let (None, Some(block)) = (found, work.pop()) {
            for pred in self.cfg.pred_iter(block) {
                let from = if pred.block == def.0 { def.1 } else { 0 };
                let last = self.place.get(&pred.inst).map_or(u32::MAX, |p| p.1);
                let to = if self.returns_uncollected(pred.inst, block) {
                    last
                } else {
                    u32::MAX
                };
                found = found.or_else(|| self.safepoint_in(pred.block, from, to));
                if pred.block != def.0 && seen.insert(pred.block) {
                    work.push(pred.block);
                }
            }
        }
        found
    }

    /// The first safepoint in a block after `from` and before `to`.
    fn safepoint_in(&self, block: Block, from: u32, to: u32) -> Option<(Inst, Block)> {
        let safepoints = self.safepoints.get(&block)?;
        let first = safepoints.partition_point(|s| s.0 <= from);
        safepoints.get(first).filter(|s| s.0 < to).map(|s| (s.1, block))
    }

    /// Does a call that collects only when it raises go on in `block` when it does not?
    fn returns_uncollected(&self, call: Inst, block: Block) -> bool {
        let dfg = &self.func.dfg;
        let table = match dfg.insts[call] {
            InstructionData::TryCall { exception, .. } | InstructionData::TryCallIndirect { exception, .. } => {
                exception
            }
            _ => return false,
        };
        let normal = dfg.exception_tables[table].normal_return().block(&dfg.value_lists);
        self.record.leaves.get(&call) == Some(&Leaf::UnlessRaised) && normal == block
    }
}

/// What `v` is if it is the sum of that and zero.
pub(super) fn added_to_nothing(func: &Function, v: Value) -> Option<Value> {
    let inst = func.dfg.value_def(v).inst()?;
    match func.dfg.insts[inst] {
        InstructionData::Binary {
            opcode: Opcode::Iadd,
            args: [a, b],
        } if constant(func, b) == Some(0) => Some(func.dfg.resolve_aliases(a)),
        _ => None,
    }
}

fn constant(func: &Function, v: Value) -> Option<i64> {
    let inst = func.dfg.value_def(func.dfg.resolve_aliases(v)).inst()?;
    match func.dfg.insts[inst] {
        InstructionData::UnaryImm {
            opcode: Opcode::Iconst,
            imm,
        } => Some(imm.bits()),
        _ => None,
    }
}
