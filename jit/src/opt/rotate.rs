//! Loop inversion: the test of a loop that stands at its top is copied in front of the loop, and what remains of it comes last.
//!
//! An iteration then takes one jump instead of two, and there is a block that runs exactly if the first iteration does (the
//! *preheader*), where [`super::hoist`] puts what is the same in all iterations.

use super::cfg::map_targets;
use super::loops::{Graph, natural_loops};
use crate::host_api::CompilerHost;
use crate::ir::*;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;

/// Longer tests are not copied.
const MAX_TEST: usize = 24;
/// Larger functions are left alone.
const MAX_BLOCKS: usize = 600;
/// The most loops of one function.
const MAX_LOOPS: usize = 24;

/// The pass.
pub(super) fn run(func: &mut Func, _host: &dyn CompilerHost) {
    let mut done: Vec<Block> = Vec::new();
    while done.len() < MAX_LOOPS && func.blocks.len() <= MAX_BLOCKS {
        let graph = Graph::of(func);
        let candidate = natural_loops(&graph).into_iter().find_map(|l| {
            let header = l.header;
            if done.contains(&header) || header == func.entry || graph.handlers[header.index()] || l.blocks.len() == 1 {
                return None;
            }
            let Term::Branch { then, other, .. } = func.blocks[header].term else {
                return None;
            };
            let first = match (l.blocks.contains(&then), l.blocks.contains(&other)) {
                (true, false) => then,
                (false, true) => other,
                _ => return None,
            };
            // The test may stand at the end already, and this be another way out.
            let tested = |p: &Block| match func.blocks[*p].term {
                Term::Branch { then, other, .. } => !l.blocks.contains(&then) || !l.blocks.contains(&other),
                _ => false,
            };
            let mut latches = graph.preds[header.index()].iter().filter(|p| l.blocks.contains(p));
            if latches.all(tested) {
                return None;
            }
            // (Another loop's header would get a second loop's edges.)
            if graph.preds[first.index()].len() != 1 || !may_copy(&func.blocks[header]) {
                return None;
            }
            let outside: Vec<Block> = graph.preds[header.index()]
                .iter()
                .copied()
                .filter(|p| !l.blocks.contains(p))
                .collect();
            (!outside.is_empty()).then_some((header, first, outside))
        });
        let Some((header, first, outside)) = candidate else {
            break;
        };
        done.push(header);
        rotate(func, header, first, &outside);
    }
    if !done.is_empty() {
        super::cfg::simplify(func);
    }
}

fn may_copy(data: &BlockData) -> bool {
    data.insts.len() <= MAX_TEST
        && data.insts.iter().all(|inst| match inst.op {
            Op::NullCheck(_) | Op::BoundsCheck { .. } | Op::LocalSet(..) | Op::SafepointPoll => true,
            // Their memory belongs to the instruction.
            Op::Scratch { .. } | Op::StructAddr(_) => false,
            ref op => super::dead::is_removable(op),
        })
}

fn rotate(func: &mut Func, header: Block, first: Block, outside: &[Block]) {
    let mut test = func.blocks[header].clone();
    test.weight = None;
    let mut names: FxHashMap<Value, Value> = FxHashMap::default();
    test.insts.retain(|inst| inst.op != Op::SafepointPoll);
    for inst in &mut test.insts {
        map_uses(&mut inst.op, |v| *v = names.get(v).copied().unwrap_or(*v));
        if let Some(result) = &mut inst.result {
            let ty = func.values[*result];
            let new = func.values.push(ty);
            names.insert(*result, new);
            *result = new;
        }
    }
    if let Term::Branch { cond, .. } = &mut test.term {
        *cond = names.get(cond).copied().unwrap_or(*cond);
    }
    let body = &func.blocks[first];
    let before = BlockData {
        insts: Vec::new(),
        term: Term::Jump(first),
        term_il: test.term_il,
        term_site: test.term_site,
        protect: body.protect,
        cold: body.cold,
        weight: None,
    };
    let before = func.blocks.push(before);
    map_targets(&mut test.term, |b| {
        if *b == first {
            *b = before;
        }
    });
    let test = func.blocks.push(test);
    for &p in outside {
        map_targets(&mut func.blocks[p].term, |b| {
            if *b == header {
                *b = test;
            }
        });
    }
}
