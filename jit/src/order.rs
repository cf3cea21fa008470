//! Turns branches so that loops stay together, and what runs often follows what runs before it (Tier 1).
//!
//! Cranelift lays blocks out in a reverse postorder that visits the first target of a branch first, which puts it last. A branch
//! that may leave a loop therefore names the way out first: otherwise what comes after the loop would stand in the middle
//! of it, the allocator would keep the loop's values in memory, and the optimiser would forget the loop too early.
//! Of other branches the profile tells which way is taken more often.

use cranelift_codegen::Context;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::{CondCode, IntCC};
use cranelift_codegen::ir::{Block, Function, Inst, InstBuilder, InstructionData, Value, types};
use rustc_hash::FxHashMap;

/// Runs with the control flow and dominators of `context.func` known; dominators are computed again if it changes something.
/// `likely`: the way that a branch takes more often.
pub(crate) fn run(context: &mut Context, likely: &FxHashMap<Inst, usize>) {
    context.compute_loop_analysis();
    if context.loop_analysis.loops().len() == 0 && likely.is_empty() {
        return;
    }
    let wrong: Vec<Inst> = context
        .func
        .layout
        .blocks()
        .filter_map(|block| {
            let last = context.func.layout.last_inst(block)?;
            let InstructionData::Brif { blocks, .. } = &context.func.dfg.insts[last] else {
                return None;
            };
            let [then, other] = blocks.map(|call| around(context, block, call.block(&context.func.dfg.value_lists)));
            (then > other || (then == other && likely.get(&last) == Some(&0))).then_some(last)
        })
        .collect();
    if wrong.is_empty() {
        return;
    }
    for inst in wrong {
        turn(&mut context.func, inst);
    }
    context.compute_cfg();
    context.compute_domtree();
}

/// How many of the loops around `block` are around `target` too.
fn around(context: &Context, block: Block, target: Block) -> usize {
    let mut count = 0;
    let mut inner = context.loop_analysis.innermost_loop(block);
    while let Some(lp) = inner {
        count += usize::from(context.loop_analysis.is_in_loop(target, lp));
        inner = context.loop_analysis.loop_parent(lp);
    }
    count
}

/// Exchanges the targets of a branch.
fn turn(func: &mut Function, branch: Inst) {
    let InstructionData::Brif { arg, .. } = func.dfg.insts[branch] else {
        return;
    };
    let arg = func.dfg.resolve_aliases(arg);
    let opposite = opposite(func, branch, arg);
    if let InstructionData::Brif { arg, blocks, .. } = &mut func.dfg.insts[branch] {
        *arg = opposite;
        blocks.swap(0, 1);
    }
}

fn opposite(func: &mut Function, branch: Inst, condition: Value) -> Value {
    let data = func.dfg.value_def(condition).inst().map(|inst| func.dfg.insts[inst]);
    let mut cur = FuncCursor::new(func).at_inst(branch);
    let position = cur.func.srcloc(branch);
    cur.set_srcloc(position);
    match data {
        Some(InstructionData::IntCompare { cond, args, .. }) => cur.ins().icmp(cond.complement(), args[0], args[1]),
        Some(InstructionData::FloatCompare { cond, args, .. }) => cur.ins().fcmp(cond.complement(), args[0], args[1]),
        _ => {
            let ty = cur.func.dfg.value_type(condition);
            let zero = cur.ins().iconst(if ty.is_int() { ty } else { types::I8 }, 0);
            cur.ins().icmp(IntCC::Equal, condition, zero)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_codegen::ir::{AbiParam, types};

    /// A function of four blocks that are not laid out yet, and its argument.
    fn four_blocks() -> (Function, Vec<Block>, Value) {
        let mut func = Function::new();
        func.signature.params.push(AbiParam::new(types::I64));
        let blocks: Vec<Block> = (0..4).map(|_| func.dfg.make_block()).collect();
        let n = func.dfg.append_block_param(blocks[0], types::I64);
        (func, blocks, n)
    }

    /// Runs the pass over a function.
    fn ordered(func: Function, likely: &FxHashMap<Inst, usize>) -> Context {
        let mut context = Context::for_function(func);
        context.compute_cfg();
        context.compute_domtree();
        run(&mut context, likely);
        context
    }

    #[test]
    fn the_way_out_comes_first() {
        let (mut func, blocks, n) = four_blocks();
        let mut cur = FuncCursor::new(&mut func);
        cur.insert_block(blocks[0]);
        cur.ins().jump(blocks[1], &[]);
        cur.insert_block(blocks[1]);
        let zero = cur.ins().iconst(types::I64, 0);
        let more = cur.ins().icmp(IntCC::SignedLessThan, n, zero);
        cur.ins().brif(more, blocks[2], &[], blocks[3], &[]);
        cur.insert_block(blocks[2]);
        cur.ins().jump(blocks[1], &[]);
        cur.insert_block(blocks[3]);
        cur.ins().return_(&[]);
        let context = ordered(func, &FxHashMap::default());
        let branch = context.func.layout.last_inst(blocks[1]).expect("branch");
        let text = context.func.dfg.display_inst(branch).to_string();
        assert!(text.ends_with("block3, block2"), "{text}");
        let order: Vec<Block> = context.domtree.cfg_rpo().copied().collect();
        assert_eq!(order, blocks, "{}", context.func.display());
    }

    #[test]
    fn the_likely_way_follows() {
        for (way, expected) in [(0, [0, 1, 2, 3]), (1, [0, 2, 1, 3])] {
            let (mut func, blocks, n) = four_blocks();
            let mut cur = FuncCursor::new(&mut func);
            cur.insert_block(blocks[0]);
            let branch = cur.ins().brif(n, blocks[1], &[], blocks[2], &[]);
            for block in [blocks[1], blocks[2]] {
                cur.insert_block(block);
                cur.ins().jump(blocks[3], &[]);
            }
            cur.insert_block(blocks[3]);
            cur.ins().return_(&[]);
            let context = ordered(func, &FxHashMap::from_iter([(branch, way)]));
            let order: Vec<Block> = context.domtree.cfg_rpo().copied().collect();
            assert_eq!(order, expected.map(|i| blocks[i]), "{}", context.func.display());
        }
    }
}
