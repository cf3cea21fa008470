//! Moves what Cranelift computes again and again in front of loops (Tier 1).
//!
//! Cranelift's optimiser places a pure operation where its result is needed first, and in front of the loops whose values it
//! does not need; but it forgets a loop as soon as it has seen a block that leaves it (every check has one), and what comes
//! after that stays inside. So after it, whatever is pure and has all its operands from outside of a loop goes to the end of
//! the block in front of it. Cheap operations that fold into their users stay.

use cranelift_codegen::Context;
use cranelift_codegen::ir::{Block, Function, Inst, Opcode, Value, ValueDef};
use cranelift_codegen::loop_analysis::Loop;

/// Moves invariant operations out of the loops of `context.func`. The optimiser has found loops and dominators; if it has
/// removed edges since, dominators still are dominators.
pub(crate) fn run(context: &mut Context) {
    if context.loop_analysis.loops().len() == 0 {
        return;
    }
    let blocks: Vec<Block> = context.domtree.cfg_rpo().copied().collect();
    for block in blocks {
        if context.loop_analysis.innermost_loop(block).is_none() || context.func.layout.is_cold(block) {
            continue;
        }
        let mut next = context.func.layout.first_inst(block);
        while let Some(inst) = next {
            next = context.func.layout.next_inst(inst);
            if let Some(target) = target(context, block, inst) {
                let layout = &mut context.func.layout;
                if let Some(last) = layout.last_inst(target) {
                    layout.remove_inst(inst);
                    layout.insert_inst(inst, last);
                }
            }
        }
    }
}

/// The block that an instruction may move to: in front of the outermost loop that gives it no operand.
fn target(context: &Context, block: Block, inst: Inst) -> Option<Block> {
    let func = &context.func;
    if !is_worth_moving(func, inst) {
        return None;
    }
    let mut found = None;
    let mut inner = context.loop_analysis.innermost_loop(block);
    while let Some(lp) = inner {
        let invariant = func.dfg.inst_values(inst).all(|v| !is_in(context, v, lp));
        let header = context.loop_analysis.loop_header(lp);
        let Some(front) = context.domtree.idom(header).filter(|_| invariant) else {
            break;
        };
        found = Some(front);
        inner = context.loop_analysis.loop_parent(lp);
    }
    found
}

fn is_in(context: &Context, v: Value, lp: Loop) -> bool {
    let block = match context.func.dfg.value_def(v) {
        ValueDef::Result(inst, _) => context.func.layout.inst_block(inst),
        ValueDef::Param(block, _) => Some(block),
        ValueDef::Union(..) => None,
    };
    block.is_none_or(|block| context.loop_analysis.is_in_loop(block, lp))
}

/// Pure, and more than what the code generator makes part of another instruction.
fn is_worth_moving(func: &Function, inst: Inst) -> bool {
    let data = &func.dfg.insts[inst];
    let opcode = data.opcode();
    let results = func.dfg.inst_results(inst);
    let &[result] = results else { return false };
    if opcode.can_load()
        || opcode.can_store()
        || opcode.can_trap()
        || opcode.is_call()
        || opcode.is_branch()
        || opcode.is_terminator()
        || opcode.other_side_effects()
    {
        return false;
    }
    if func.dfg.value_type(result).is_vector() {
        return true;
    }
    matches!(
        opcode,
        Opcode::Imul
            | Opcode::Umulhi
            | Opcode::Smulhi
            | Opcode::Fadd
            | Opcode::Fsub
            | Opcode::Fmul
            | Opcode::Fdiv
            | Opcode::Sqrt
            | Opcode::Popcnt
            | Opcode::Clz
            | Opcode::Ctz
            | Opcode::Sextend
            | Opcode::FcvtFromSint
            | Opcode::FcvtFromUint
            | Opcode::Fpromote
            | Opcode::Fdemote
            | Opcode::ExtractVector
            | Opcode::Extractlane
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_codegen::cursor::{Cursor, FuncCursor};
    use cranelift_codegen::ir::{AbiParam, BlockArg, InstBuilder, types};

    #[test]
    fn invariants_go_in_front_of_the_outermost_loop_they_can() {
        // block1 and block2 are loops, one in the other; v0 and v1 are the arguments.
        let mut func = Function::new();
        func.signature.params.extend([AbiParam::new(types::I64); 2]);
        let blocks: Vec<Block> = (0..4).map(|_| func.dfg.make_block()).collect();
        let a = func.dfg.append_block_param(blocks[0], types::I64);
        let b = func.dfg.append_block_param(blocks[0], types::I64);
        let i = func.dfg.append_block_param(blocks[1], types::I64);
        let mut cur = FuncCursor::new(&mut func);
        cur.insert_block(blocks[0]);
        cur.ins().jump(blocks[1], &[BlockArg::Value(a)]);
        cur.insert_block(blocks[1]);
        cur.ins().jump(blocks[2], &[]);
        cur.insert_block(blocks[2]);
        let outside = cur.ins().imul(a, b);
        let between = cur.ins().imul(outside, i);
        let cheap = cur.ins().iadd(a, b);
        let again = cur
            .ins()
            .icmp(cranelift_codegen::ir::condcodes::IntCC::Equal, between, cheap);
        cur.ins().brif(again, blocks[2], &[], blocks[3], &[]);
        cur.insert_block(blocks[3]);
        cur.ins().jump(blocks[1], &[BlockArg::Value(between)]);
        let mut context = Context::for_function(func);
        context.compute_cfg();
        context.compute_domtree();
        context.compute_loop_analysis();
        run(&mut context);
        let place = |v: Value| match context.func.dfg.value_def(v) {
            ValueDef::Result(inst, _) => context.func.layout.inst_block(inst),
            _ => None,
        };
        let places = [outside, between, cheap].map(place);
        assert_eq!(places, [0, 1, 2].map(|i| Some(blocks[i])), "{}", context.func.display());
    }
}
