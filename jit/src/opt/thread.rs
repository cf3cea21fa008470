//! Jump threading: where a block does nothing but test what the block before it has just set, the test is made there.
//!
//! `a && b` in a method that was inlined sets a local to 0 or 1 on each path, and then the local is tested where the paths meet.
//! With a copy of the test at the end of each path, constants decide it and comparisons become branches. What only hands the local on
//! in front of the test, as the ends of methods in methods do, is copied as well.

use super::loops::Graph;
use super::{cfg, dead, forward};
use crate::host_api::CompilerHost;
use crate::ir::*;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;

/// Longer tests are not copied.
const MAX_TEST: usize = 8;
/// The most copies in one function.
const MAX_COPIES: usize = 64;
/// Each decided test may be one that decides another.
const ROUNDS: usize = 3;

/// The pass.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) {
    let mut left = MAX_COPIES;
    for _ in 0..ROUNDS {
        let pairs = find(func, left);
        if pairs.is_empty() {
            return;
        }
        left -= pairs.len();
        for (from, test) in pairs {
            copy(func, from, test);
        }
        forward::run(func, host);
        cfg::simplify(func);
    }
}

/// Blocks that end with a jump to a test of what they set, and those tests.
fn find(func: &Func, limit: usize) -> Vec<(Block, Block)> {
    let mut tests: FxHashMap<Block, Vec<Local>> = func
        .blocks
        .iter()
        .filter_map(|(block, data)| Some((block, tested(data)?)))
        .collect();
    let passes: Vec<(Block, Vec<Local>)> = func
        .blocks
        .iter()
        .filter_map(|(block, data)| Some((block, handed_on(data, &tests)?)))
        .collect();
    tests.extend(passes);
    if tests.is_empty() || limit == 0 {
        return Vec::new();
    }
    let mut out: Vec<(Block, Block)> = Vec::new();
    for (from, data) in func.blocks.iter() {
        if let Term::Jump(test) = data.term
            && test != from
            && data.protect == func.blocks[test].protect
            && tests.get(&test).is_some_and(|locals| sets(data, locals))
        {
            out.push((from, test));
        }
    }
    if !out.is_empty() {
        // The test of a loop is the business of another pass; and what a copy goes to must not be copied from.
        let graph = Graph::of(func);
        let is_header = |b: Block| graph.preds[b.index()].iter().any(|&p| graph.dominates(b, p));
        out.retain(|&(from, test)| graph.is_reached(from) && !is_header(test));
    }
    out.truncate(limit);
    out
}

/// The locals that a block reads, if it only tests them.
fn tested(data: &BlockData) -> Option<Vec<Local>> {
    match data.term {
        Term::Branch { .. } => read(data),
        _ => None,
    }
}

/// The locals that a block reads, if it only hands them on to a test.
fn handed_on(data: &BlockData, tests: &FxHashMap<Block, Vec<Local>>) -> Option<Vec<Local>> {
    let Term::Jump(to) = data.term else { return None };
    let locals = tests.get(&to)?;
    let sets = |i: &Inst| matches!(i.op, Op::LocalSet(l, _) if locals.contains(&l));
    if data.insts.iter().any(sets) { read(data) } else { None }
}

/// The locals that a block reads, if it is short and has no effect but on locals.
fn read(data: &BlockData) -> Option<Vec<Local>> {
    if data.insts.len() > MAX_TEST {
        return None;
    }
    let mut locals = Vec::new();
    for inst in &data.insts {
        match inst.op {
            Op::LocalGet(l) => locals.push(l),
            Op::LocalSet(..) => {}
            // Their memory belongs to the instruction.
            Op::Scratch { .. } | Op::StructAddr(_) | Op::Load { .. } => return None,
            ref op if dead::is_removable(op) => {}
            _ => return None,
        }
    }
    (!locals.is_empty()).then_some(locals)
}

/// Does the block set one of the locals to a constant or to the outcome of a comparison?
fn sets(data: &BlockData, locals: &[Local]) -> bool {
    locals.iter().any(|&local| {
        let set = data.insts.iter().rev().find_map(|i| match i.op {
            Op::LocalSet(l, v) if l == local => Some(v),
            _ => None,
        });
        let Some(value) = set else { return false };
        let mut def = data.insts.iter().find(|i| i.result == Some(value)).map(|i| &i.op);
        if let Some(&Op::Conv(_, v)) = def {
            def = data.insts.iter().find(|i| i.result == Some(v)).map(|i| &i.op);
        }
        matches!(def, Some(Op::IConst(_) | Op::Null | Op::Cmp(..)))
    })
}

/// Puts a copy of `test` at the end of `from`, which jumps there.
fn copy(func: &mut Func, from: Block, test: Block) {
    let BlockData {
        insts,
        term,
        term_il,
        term_site,
        ..
    } = super::unroll::copied(func, test);
    // (What goes through the copy no longer goes through the test.)
    if let (Some(all), Some(less)) = (func.blocks[test].weight, func.blocks[from].weight) {
        func.blocks[test].weight = Some((all - less).max(0.0));
    }
    let data = &mut func.blocks[from];
    data.insts.extend(insts);
    (data.term, data.term_il, data.term_site) = (term, term_il, term_site);
}
