//! Finally handlers are copied for the ways that enter them without an exception.
//!
//! As imported, `leave` sets a clause's selector and jumps to the handler, which exceptions enter too, and the end of the
//! handler asks the selector where to go on. So whatever is needed behind the handler is needed where an exception may come
//! from, and would have to be in memory in all of the protected code. Here each number of the selector gets a copy of the handler that
//! goes on at its place, and the handler itself only resumes exceptions.

use super::cfg::map_targets;
use super::loops::Graph;
use super::unroll::copy_block;
use crate::host_api::CompilerHost;
use crate::ir::*;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;

/// Larger handlers are not copied.
const MAX_BLOCKS: usize = 12;
const MAX_INSTRUCTIONS: usize = 60;
/// Nor are those that are left for more places.
const MAX_COPIES: usize = 4;
/// Clauses times blocks of functions that are looked at.
const MAX_WORK: usize = 1 << 16;

/// The pass.
pub(super) fn run(func: &mut Func, _host: &dyn CompilerHost) {
    if func.clauses.len().saturating_mul(func.blocks.len()) > MAX_WORK {
        return;
    }
    for clause in func.clauses.keys() {
        // (A clause's copies change the graph.)
        let graph = Graph::of(func);
        if let Some(plan) = plan(func, &graph, clause) {
            apply(func, &plan);
        }
    }
}

struct Plan {
    handler: Block,
    selector: Local,
    /// The blocks of the handler.
    region: Vec<Block>,
    /// The last of them, and where it goes: by selector, 0 for exceptions.
    dispatch: Block,
    targets: Vec<Block>,
    /// Blocks that enter without an exception, by selector.
    entries: Vec<(Block, usize)>,
    copies: Vec<usize>,
}

fn plan(func: &Func, graph: &Graph, clause: ClauseId) -> Option<Plan> {
    let data = &func.clauses[clause];
    let (handler, selector) = (data.handler, data.selector_local?);
    let mut region = vec![handler];
    let mut found = None;
    let mut instructions = 0;
    let mut at = 0;
    while let Some(&block) = region.get(at) {
        at += 1;
        instructions += func.blocks[block].insts.len();
        if region.len() > MAX_BLOCKS || instructions > MAX_INSTRUCTIONS {
            return None;
        }
        if let Some(targets) = continuations(func, block, selector) {
            if found.replace((block, targets)).is_some() {
                return None;
            }
            continue;
        }
        successors(&func.blocks[block].term, |s| {
            if !region.contains(&s) {
                region.push(s);
            }
        });
    }
    let (dispatch, targets) = found?;
    // Blocks that protect themselves have handlers that come back.
    let protect = func.blocks[dispatch].protect;
    if region.iter().any(|&b| func.blocks[b].protect != protect) || region.contains(&func.entry) {
        return None;
    }
    let mut entries = Vec::new();
    for &block in &region {
        for &p in graph.preds[block.index()].iter().filter(|p| !region.contains(p)) {
            if block != handler || !matches!(func.blocks[p].term, Term::Jump(_)) {
                return None;
            }
            let number = selected(func, p, selector)?;
            if number == 0 || number >= targets.len() {
                return None;
            }
            entries.push((p, number));
        }
    }
    let mut copies: Vec<usize> = entries.iter().map(|e| e.1).collect();
    copies.sort_unstable();
    copies.dedup();
    let fits = !copies.is_empty() && copies.len() <= MAX_COPIES;
    fits.then_some(Plan {
        handler,
        selector,
        region,
        dispatch,
        targets,
        entries,
        copies,
    })
}

/// Where a block goes that ends by asking the selector: by number.
fn continuations(func: &Func, block: Block, selector: Local) -> Option<Vec<Block>> {
    let data = &func.blocks[block];
    let asks = |v: Value| {
        let mut reads = data.insts.iter().filter(|inst| inst.op == Op::LocalGet(selector));
        let only = reads.next().is_some_and(|inst| inst.result == Some(v)) && reads.next().is_none();
        let mut used = false;
        data.insts
            .iter()
            .for_each(|inst| for_each_use(&inst.op, |u| used |= u == v));
        only && !used
    };
    match &data.term {
        &Term::Branch { cond, then, other } if asks(cond) => Some(vec![other, then]),
        Term::Switch { index, targets, .. } if asks(*index) => Some(targets.clone()),
        _ => None,
    }
}

/// The number that a block sets the selector to.
fn selected(func: &Func, block: Block, selector: Local) -> Option<usize> {
    let insts = &func.blocks[block].insts;
    let value = insts.iter().rev().find_map(|inst| match inst.op {
        Op::LocalSet(l, v) if l == selector => Some(v),
        _ => None,
    })?;
    insts.iter().find_map(|inst| match inst.op {
        Op::IConst(n) if inst.result == Some(value) => usize::try_from(n).ok(),
        _ => None,
    })
}

fn apply(func: &mut Func, plan: &Plan) {
    for &number in &plan.copies {
        let mut names: FxHashMap<Block, Block> = FxHashMap::default();
        for &block in &plan.region {
            let copy = copy_block(func, block, true);
            if plan.copies.len() > 1 {
                func.blocks[copy].weight = None;
            }
            names.insert(block, copy);
        }
        for &block in &plan.region {
            let data = &mut func.blocks[names[&block]];
            if block == plan.dispatch {
                ask_nothing(data, plan.selector);
                data.term = Term::Jump(plan.targets[number]);
            } else {
                map_targets(&mut data.term, |to| *to = names.get(to).copied().unwrap_or(*to));
            }
        }
        for &(entry, _) in plan.entries.iter().filter(|e| e.1 == number) {
            let data = &mut func.blocks[entry];
            data.insts
                .retain(|inst| !matches!(inst.op, Op::LocalSet(l, _) if l == plan.selector));
            data.term = Term::Jump(names[&plan.handler]);
        }
    }
    for &block in &plan.region {
        func.blocks[block].cold = true;
        func.blocks[block].weight = None;
    }
    let data = &mut func.blocks[plan.dispatch];
    ask_nothing(data, plan.selector);
    data.term = Term::Jump(plan.targets[0]);
}

/// (Only the end of the block wanted to know.)
fn ask_nothing(data: &mut BlockData, selector: Local) {
    data.insts.retain(|inst| inst.op != Op::LocalGet(selector));
}
