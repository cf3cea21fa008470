//! Removes block parameters that always hold one value (Tier 1).
//!
//! Lowering gives each block a parameter for every local that it expects in a register. Cranelift removes those that come from
//! one definition, but not those that come from one parameter (`v9` and `v10` in `block2(v7): brif v8, block3(v7),
//! block4(v7)`, `block3(v9)`, `block4(v10)`). They would hide from the optimiser that values are the same, and cost moves.
//!
//! A parameter whose arguments are all one value, or the parameter itself, is that value; replacing it may make others so
//! (Braun et al., Simple and Efficient Construction of Static Single Assignment Form, 2013).

use cranelift_codegen::ir::{Block, BlockArg, BlockCall, Function, Inst, Value};
use cranelift_entity::SecondaryMap;
use rustc_hash::FxHashMap;

/// A block parameter.
struct Param {
    value: Value,
    /// What it is instead.
    same: Option<u32>,
    /// Parameters, or values from elsewhere, that are passed for it; `None` if it is also what a call returns.
    arguments: Option<Vec<u32>>,
    /// Parameters that it is passed for.
    users: Vec<u32>,
}

/// Runs over a function without unreachable blocks.
pub(crate) fn run(func: &mut Function) {
    let Some(entry) = func.layout.entry_block() else { return };
    // Names: parameters, then everything that is passed.
    let mut names: FxHashMap<Value, u32> = FxHashMap::default();
    let mut params: Vec<Param> = Vec::new();
    let mut first: SecondaryMap<Block, u32> = SecondaryMap::new();
    for block in func.layout.blocks().filter(|&b| b != entry) {
        first[block] = params.len() as u32;
        for &value in func.dfg.block_params(block) {
            names.insert(value, params.len() as u32);
            params.push(Param {
                value,
                same: None,
                arguments: Some(Vec::new()),
                users: Vec::new(),
            });
        }
    }
    let count = params.len() as u32;
    if count == 0 {
        return;
    }
    let mut others: Vec<Value> = Vec::new();
    for inst in branches(func) {
        for call in destinations(func, inst) {
            let to = first[call.block(&func.dfg.value_lists)];
            for (i, argument) in call.args(&func.dfg.value_lists).enumerate() {
                let param = to + i as u32;
                let BlockArg::Value(v) = argument else {
                    params[param as usize].arguments = None;
                    continue;
                };
                let v = func.dfg.resolve_aliases(v);
                let name = *names.entry(v).or_insert_with(|| {
                    others.push(v);
                    count + others.len() as u32 - 1
                });
                if let Some(arguments) = &mut params[param as usize].arguments
                    && !arguments.contains(&name)
                {
                    arguments.push(name);
                }
                if name < count {
                    params[name as usize].users.push(param);
                }
            }
        }
    }
    let mut work: Vec<u32> = (0..count).rev().collect();
    let mut any = false;
    while let Some(p) = work.pop() {
        let param = &params[p as usize];
        let (None, Some(arguments)) = (param.same, &param.arguments) else {
            continue;
        };
        let mut only = None;
        let one = arguments.iter().all(|&a| {
            let a = find(&params, a);
            a == p || *only.get_or_insert(a) == a
        });
        if one && let Some(only) = only {
            any = true;
            let param = &mut params[p as usize];
            param.same = Some(only);
            let users = std::mem::take(&mut param.users);
            work.extend(&users);
            if only < count {
                params[only as usize].users.extend(users);
            }
        }
    }
    if any {
        edit(func, &params, &others, &first);
    }
}

/// What a parameter stands for in the end.
fn find(params: &[Param], mut name: u32) -> u32 {
    while let Some(same) = params.get(name as usize).and_then(|p| p.same) {
        name = same;
    }
    name
}

fn edit(func: &mut Function, params: &[Param], others: &[Value], first: &SecondaryMap<Block, u32>) {
    let branches: Vec<Inst> = branches(func).collect();
    for inst in branches {
        let dfg = &mut func.dfg;
        for call in dfg.insts[inst].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables) {
            let block = call.block(&dfg.value_lists);
            let start = first[block] as usize;
            let n = call.len(&dfg.value_lists);
            if params[start.min(params.len())..]
                .iter()
                .take(n)
                .all(|p| p.same.is_none())
            {
                continue;
            }
            let kept: Vec<BlockArg> = call
                .args(&dfg.value_lists)
                .zip(&params[start..])
                .filter(|(_, p)| p.same.is_none())
                .map(|(argument, _)| argument)
                .collect();
            *call = BlockCall::new(block, kept, &mut dfg.value_lists);
        }
    }
    // From the last: removing one moves those behind it.
    for (p, param) in params.iter().enumerate().rev() {
        if param.same.is_none() {
            continue;
        }
        let same = find(params, p as u32) as usize;
        let value = match params.get(same) {
            Some(other) => other.value,
            None => others[same - params.len()],
        };
        func.dfg.remove_block_param(param.value);
        func.dfg.change_to_alias(param.value, value);
    }
}

fn branches(func: &Function) -> impl Iterator<Item = Inst> + '_ {
    func.layout.blocks().filter_map(|b| func.layout.last_inst(b))
}

fn destinations(func: &Function, inst: Inst) -> &[BlockCall] {
    func.dfg.insts[inst].branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_codegen::cursor::{Cursor, FuncCursor};
    use cranelift_codegen::ir::{AbiParam, InstBuilder, types};

    /// A local that all blocks expect, in a loop that changes it or not.
    fn function(changes: bool) -> Function {
        let mut func = Function::new();
        func.signature.params.push(AbiParam::new(types::I64));
        func.signature.returns.push(AbiParam::new(types::I64));
        let blocks: Vec<Block> = (0..5).map(|_| func.dfg.make_block()).collect();
        let params: Vec<Value> = blocks
            .iter()
            .map(|&b| func.dfg.append_block_param(b, types::I64))
            .collect();
        let mut cur = FuncCursor::new(&mut func);
        let pass = |v: Value| [BlockArg::Value(v)];
        cur.insert_block(blocks[0]);
        cur.ins().jump(blocks[1], &pass(params[0]));
        cur.insert_block(blocks[1]);
        cur.ins()
            .brif(params[1], blocks[4], &pass(params[1]), blocks[2], &pass(params[1]));
        cur.insert_block(blocks[2]);
        cur.ins().jump(blocks[3], &pass(params[2]));
        cur.insert_block(blocks[3]);
        let next = if changes {
            cur.ins().iadd(params[3], params[2])
        } else {
            params[3]
        };
        cur.ins().jump(blocks[1], &pass(next));
        cur.insert_block(blocks[4]);
        cur.ins().return_(&[params[4]]);
        func
    }

    fn parameters(func: &Function) -> Vec<usize> {
        func.layout.blocks().map(|b| func.dfg.num_block_params(b)).collect()
    }

    #[test]
    fn a_value_that_does_not_change_is_passed_nowhere() {
        let mut func = function(false);
        run(&mut func);
        assert_eq!(parameters(&func), [1, 0, 0, 0, 0], "{}", func.display());
    }

    #[test]
    fn copies_of_a_parameter_are_the_parameter() {
        let mut func = function(true);
        run(&mut func);
        assert_eq!(parameters(&func), [1, 1, 0, 0, 0], "{}", func.display());
        func.dfg.resolve_all_aliases();
        let flags = cranelift_codegen::settings::Flags::new(cranelift_codegen::settings::builder());
        cranelift_codegen::verify_function(&func, &flags).expect("valid");
    }
}
