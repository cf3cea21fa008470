//! What the profile says of blocks: each gets the number of times that it ran, and what never ran becomes cold.
//!
//! A way that was never taken is cold if the branch that leads there was reached often enough to tell. A replaced loop
//! ([`Func::osr`]) is still running: nothing is known of what follows it.

use super::loops::Graph;
use crate::host_api::CompilerHost;
use crate::ir::*;
use cranelift_entity::EntityRef;

/// So often a way must have been possible before it counts as one that is never taken.
const ENOUGH: f32 = 30.0;
/// Rounds in which weights spread; each goes through the whole function in order.
const ROUNDS: usize = 8;
/// Differences of counts that mean nothing.
const LOST: f32 = 2.0;

/// The pass; for functions as they were imported.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) {
    let il_blocks = std::mem::take(&mut func.il_blocks);
    let Some(counts) = func.method.and_then(|method| host.block_counts(method)) else {
        return;
    };
    for (il, block) in il_blocks {
        if let Ok(i) = counts.binary_search_by_key(&il, |c| c.0) {
            func.blocks[block].weight = Some(counts[i].1 as f32);
        }
    }
    let graph = Graph::of(func);
    if func.osr {
        // What came before the loop ran once for each call.
        let calls = counts.first().filter(|c| c.0 == 0).map(|c| (c.1 as f32).max(1.0));
        func.blocks[func.entry].weight = calls;
    }
    if let (None, Term::Jump(first)) = (func.blocks[func.entry].weight, &func.blocks[func.entry].term)
        && graph.preds[first.index()].len() == 1
    {
        func.blocks[func.entry].weight = func.blocks[*first].weight;
    }
    for _ in 0..ROUNDS {
        if !spread(func, &graph) {
            break;
        }
    }
    if func.osr {
        forget_what_follows(func, &graph);
    }
    mark_cold(func, &graph);
}

/// Forgets the weights of blocks that do not lead back to the replaced loop.
fn forget_what_follows(func: &mut Func, graph: &Graph) {
    let Term::Jump(header) = func.blocks[func.entry].term else {
        return;
    };
    let mut around = vec![false; func.blocks.len()];
    let mut work = vec![header];
    while let Some(block) = work.pop() {
        if !std::mem::replace(&mut around[block.index()], true) {
            work.extend(&graph.preds[block.index()]);
        }
    }
    for (block, data) in func.blocks.iter_mut() {
        if !around[block.index()] {
            data.weight = None;
        }
    }
}

/// How often the edge from `p` to `s` was taken.
fn edge(func: &Func, graph: &Graph, p: Block, s: Block) -> Option<f32> {
    let alone = |b: Block| match graph.preds[b.index()].as_slice() {
        [_] if !graph.handlers[b.index()] => func.blocks[b].weight,
        _ => None,
    };
    let total = func.blocks[p].weight;
    if let Some(weight) = alone(s) {
        return Some(weight);
    }
    let mut others = Some(0.0);
    let mut ways = 0;
    successors(&func.blocks[p].term, |b| {
        if b == s {
            ways += 1;
        } else if !ends(&func.blocks[b]) {
            others = others.zip(alone(b)).map(|(sum, weight)| sum + weight);
        }
    });
    let weight = (total? - others?).max(0.0);
    // A frame in between may be missing; so may a count that two threads made at once.
    let none = weight <= LOST && total? >= LOST * 500.0;
    (ways == 1).then_some(if none { 0.0 } else { weight })
}

/// Nobody comes back from there, and nobody counts who goes.
fn ends(data: &BlockData) -> bool {
    data.cold || matches!(data.term, Term::Unreachable)
}

/// What goes in comes out. Whether something became known.
fn spread(func: &mut Func, graph: &Graph) -> bool {
    let mut changed = false;
    for &block in &graph.order {
        let preds = &graph.preds[block.index()];
        let data = &func.blocks[block];
        let open = data.weight.is_none() && block != func.entry && !graph.handlers[block.index()] && !ends(data);
        if !open || preds.is_empty() {
            continue;
        }
        let sum = preds.iter().map(|&p| edge(func, graph, p, block)).sum::<Option<f32>>();
        if sum.is_some() {
            func.blocks[block].weight = sum;
            changed = true;
        }
    }
    changed
}

fn mark_cold(func: &mut Func, graph: &Graph) {
    let entered = func.blocks[func.entry].weight.unwrap_or(0.0);
    // Cold ways continue: what only cold blocks lead to is cold, too.
    for _ in 0..ROUNDS {
        let mut changed = false;
        for block in func.blocks.keys().collect::<Vec<_>>() {
            let data = &func.blocks[block];
            if data.cold || block == func.entry || data.weight != Some(0.0) {
                continue;
            }
            let preds = &graph.preds[block.index()];
            let sure = if graph.handlers[block.index()] {
                entered >= ENOUGH
            } else {
                !preds.is_empty()
                    && preds.iter().all(|&p| {
                        let before = &func.blocks[p];
                        before.cold || before.weight.is_some_and(|w| w >= ENOUGH)
                    })
            };
            if sure {
                func.blocks[block].cold = true;
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

/// How the weights of a callee's blocks become those of the copy that replaces a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale(Option<f32>);

impl Scale {
    /// For a call in a block of weight `call`.
    pub(super) fn of(call: Option<f32>, callee: &Func) -> Scale {
        let entry = callee.blocks[callee.entry].weight.filter(|&w| w > 0.0);
        Scale(call.zip(entry).map(|(call, entry)| call / entry))
    }

    /// The weight of the copy.
    pub(super) fn scaled(self, weight: Option<f32>) -> Option<f32> {
        Some(weight? * self.0?)
    }
}

/// Which way of a branch is taken more often, where that is known: 0 the first, 1 the other. `edges`: to each block.
pub(crate) fn likelier(func: &Func, edges: &[u32], block: Block, then: Block, other: Block) -> Option<usize> {
    /// How much more often.
    const CLEARLY: f32 = 1.5;
    let weight = |b: Block| func.blocks[b].weight;
    let alone = |b: Block| edges.get(b.index()) == Some(&1);
    let (a, b) = match (alone(then), alone(other)) {
        (true, true) => (weight(then)?, weight(other)?),
        (true, false) => (weight(then)?, weight(block)? - weight(then)?),
        (false, true) => (weight(block)? - weight(other)?, weight(other)?),
        (false, false) => return None,
    };
    if a > b * CLEARLY {
        Some(0)
    } else if b > a * CLEARLY {
        Some(1)
    } else {
        None
    }
}
