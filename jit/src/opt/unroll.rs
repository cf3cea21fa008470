//! Unrolling: a small loop becomes several copies of itself, one after the other.
//!
//! What is copied are the blocks of the loop that an iteration without calls and inner loops goes through; the loop's other
//! blocks exist once. Every copy keeps all its tests and checks, so nothing has to be known about how often the loop runs, and
//! exceptions come where they came before. What is saved: all polls but one, the jumps back and the moves on them, and what the
//! code generator finds to be the same or to differ by a constant in the next copy (counters become displacements).
//!
//! The copies come first and the original blocks last, so that every way round the loop goes through the first header.

use super::cfg::map_targets;
use super::loops::{Graph, Loop, natural_loops};
use crate::host_api::CompilerHost;
use crate::ir::*;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;

/// Iterations through more blocks are not copied, and larger loops not looked at.
const MAX_BLOCKS: usize = 8;
const MAX_LOOP_BLOCKS: usize = 40;
/// Operations of an iteration (see [`weight`]) that is copied three times, and of one that is copied once.
const SMALL: usize = 10;
const MEDIUM: usize = 20;
/// The same of iterations with vectors, which somebody wrote to be fast.
const SMALL_VECTOR: usize = 20;
const MEDIUM_VECTOR: usize = 40;
/// The most instructions that one function gets.
const MAX_GROWTH: usize = 600;
/// Larger functions are left alone.
const MAX_FUNC_BLOCKS: usize = 1000;

/// The pass.
pub(super) fn run(func: &mut Func, _host: &dyn CompilerHost) {
    if func.blocks.len() > MAX_FUNC_BLOCKS {
        return;
    }
    let graph = Graph::of(func);
    let loops = natural_loops(&graph);
    let mut room = MAX_GROWTH;
    // Inner loops come first. The loops around them do not copy them, so they need not know that these have changed.
    for l in &loops {
        let header = l.header;
        if l.blocks.len() > MAX_LOOP_BLOCKS
            || func.short_loops.contains(&header)
            || func.blocks[header].cold
            || seldom_repeats(func, &graph, l)
        {
            continue;
        }
        let Some((blocks, weight)) = iteration(func, &graph, l, &loops) else {
            continue;
        };
        let vector = |b: &Block| {
            let results = func.blocks[*b].insts.iter().filter_map(|i| i.result);
            results.into_iter().any(|r| func.values[r] == Ty::V128)
        };
        let (small, medium) = match blocks.iter().any(vector) {
            true => (SMALL_VECTOR, MEDIUM_VECTOR),
            // (A loop with calls or loops inside has other things to do.)
            false if blocks.len() < l.blocks.len() => continue,
            false => (SMALL, MEDIUM),
        };
        let copies = match weight {
            w if w <= small => 3,
            w if w <= medium => 1,
            _ => continue,
        };
        let insts: usize = blocks.iter().map(|&b| func.blocks[b].insts.len()).sum();
        if insts * copies <= room {
            room -= insts * copies;
            unroll(func, &blocks, copies);
        }
    }
}

/// Does the profile say that the loop has hardly more than two iterations?
pub(super) fn seldom_repeats(func: &Func, graph: &Graph, l: &Loop) -> bool {
    let mut outside = graph.preds[l.header.index()].iter().filter(|p| !l.blocks.contains(p));
    let (Some(&before), None) = (outside.next(), outside.next()) else {
        return false;
    };
    match (func.blocks[before].weight, func.blocks[l.header].weight) {
        (Some(entered), Some(iterations)) => iterations < 2.5 * entered,
        _ => false,
    }
}

/// The blocks that a simple iteration goes through, the header first, and what it costs.
fn iteration(func: &Func, graph: &Graph, l: &Loop, loops: &[Loop]) -> Option<(Vec<Block>, usize)> {
    let inner = |b: Block| {
        !l.innermost
            && loops
                .iter()
                .any(|o| o.header != l.header && o.blocks.len() < l.blocks.len() && o.blocks.contains(&b))
    };
    let weights: Vec<Option<usize>> = l
        .blocks
        .iter()
        .map(|&b| weight(func, b).filter(|_| !graph.handlers[b.index()] && !inner(b)))
        .collect();
    let simple = |b: Block| l.blocks.iter().position(|&x| x == b).filter(|&i| weights[i].is_some());
    simple(l.header)?;
    let mut reached = vec![l.header];
    let mut i = 0;
    while let Some(&block) = reached.get(i) {
        i += 1;
        successors(&func.blocks[block].term, |s| {
            if simple(s).is_some() && !reached.contains(&s) {
                reached.push(s);
            }
        });
    }
    // From the blocks that go back to the header.
    let mut leads: Vec<Block> = graph.preds[l.header.index()].iter().copied().collect();
    leads.retain(|b| reached.contains(b));
    if leads.is_empty() {
        return None;
    }
    let mut i = 0;
    while let Some(&block) = leads.get(i) {
        i += 1;
        if block == l.header {
            continue;
        }
        for &p in &graph.preds[block.index()] {
            if reached.contains(&p) && !leads.contains(&p) {
                leads.push(p);
            }
        }
    }
    reached.retain(|b| leads.contains(b));
    if reached.first() != Some(&l.header) || reached.len() > MAX_BLOCKS {
        return None;
    }
    let weight = reached.iter().filter_map(|&b| weights[simple(b)?]).sum();
    Some((reached, weight))
}

/// About how many machine instructions a block takes; `None` if it must not be copied or has calls, beside which
/// the rest does not count.
pub(super) fn weight(func: &Func, block: Block) -> Option<usize> {
    let data = &func.blocks[block];
    let mut weight = match data.term {
        Term::Switch { .. } => return None,
        Term::Branch { .. } => 1,
        _ => 0,
    };
    for inst in &data.insts {
        if let Some(result) = inst.result
            && matches!(func.values[result], Ty::Struct(_))
        {
            return None;
        }
        match inst.op {
            Op::LocalGet(_)
            | Op::LocalSet(..)
            | Op::IConst(_)
            | Op::SafepointPoll
            | Op::Cmp(..)
            | Op::Conv(ConvOp::RefToByRef, _) => {}
            Op::Call { .. }
            | Op::CallHelper { .. }
            | Op::ClassInit { .. }
            | Op::LocAlloc { .. }
            | Op::Scratch { .. }
            | Op::StructAddr(_)
            | Op::X86 { .. }
            | Op::AtomicRmw { .. }
            | Op::AtomicCas { .. }
            | Op::Patchpoint { .. } => return None,
            Op::Store { barrier, .. } if barrier != Barrier::None => weight += 4,
            _ => weight += 1,
        }
    }
    Some(weight)
}

/// Puts copies in front of the loop that `blocks`, the header first, are an iteration of.
fn unroll(func: &mut Func, blocks: &[Block], copies: usize) {
    let header = blocks[0];
    let originals = func.blocks.len();
    let names: Vec<Vec<Block>> = (0..copies)
        .map(|_| blocks.iter().map(|&b| copy_block(func, b, false)).collect())
        .collect();
    let headers: Vec<Block> = names.iter().map(|n| n[0]).chain([header]).collect();
    for (names, &next) in names.iter().zip(&headers[1..]) {
        for &block in names {
            map_targets(&mut func.blocks[block].term, |to| {
                if *to == header {
                    *to = next;
                } else if let Some(i) = blocks.iter().position(|b| b == to) {
                    *to = names[i];
                }
            });
        }
    }
    for data in func.blocks.values_mut().take(originals) {
        map_targets(&mut data.term, |to| {
            if *to == header {
                *to = headers[0];
            }
        });
    }
}

/// A copy of a block with its own values, with or without polls.
pub(super) fn copy_block(func: &mut Func, block: Block, polls: bool) -> Block {
    let mut data = copied(func, block);
    data.insts.retain(|inst| polls || inst.op != Op::SafepointPoll);
    func.blocks.push(data)
}

/// What a copy of a block with its own values consists of.
pub(super) fn copied(func: &mut Func, block: Block) -> BlockData {
    let mut data = func.blocks[block].clone();
    let mut names: FxHashMap<Value, Value> = FxHashMap::default();
    for inst in &mut data.insts {
        map_uses(&mut inst.op, |v| *v = names.get(v).copied().unwrap_or(*v));
        if let Some(result) = &mut inst.result {
            let new = func.values.push(func.values[*result]);
            if let Some(&class) = func.exact.get(result) {
                func.exact.insert(new, class);
            }
            names.insert(*result, new);
            *result = new;
        }
    }
    match &mut data.term {
        Term::Branch { cond: v, .. } | Term::Switch { index: v, .. } | Term::Return(Some(v)) => {
            *v = names.get(v).copied().unwrap_or(*v);
        }
        Term::Jump(_) | Term::Return(None) | Term::Unreachable => {}
    }
    data
}
