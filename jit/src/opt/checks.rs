//! Removes null and range checks that cannot fail, and decides comparisons that have only one outcome.
//!
//! A check is removed, never moved: what is left raises where it did before.

use super::loops::Graph;
use super::prover::{At, Prover};
use super::ssa_view::View;
use super::{cfg, dead};
use crate::host_api::CompilerHost;
use crate::ir::*;

/// Each decided branch may decide others.
const ROUNDS: usize = 3;

/// The pass.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) {
    for _ in 0..ROUNDS {
        if !round(func, host) {
            break;
        }
    }
}

/// Whether branches were decided.
fn round(func: &mut Func, host: &dyn CompilerHost) -> bool {
    let interesting = |op: &Op| matches!(op, Op::NullCheck(_) | Op::BoundsCheck { .. } | Op::Cmp(..));
    if !func.blocks.values().flat_map(|b| &b.insts).any(|i| interesting(&i.op)) {
        return false;
    }
    let graph = Graph::of(func);
    let Some(view) = View::of(func, host, &graph) else {
        return false;
    };
    let prover = Prover::new(func, &view, &graph);
    let mut removed: Vec<(Block, usize)> = Vec::new();
    let mut decided: Vec<(Block, usize, bool)> = Vec::new();
    for &block in &graph.order {
        for (i, inst) in func.blocks[block].insts.iter().enumerate() {
            let at = At::before(block, i);
            match inst.op {
                Op::NullCheck(v) if prover.non_null(view.num(v), at) => removed.push((block, i)),
                Op::BoundsCheck { index, length } if prover.below(view.num(index), view.num(length), true, at) => {
                    removed.push((block, i));
                }
                Op::Cmp(cond, a, b) => {
                    if let Some(truth) = prover.compare(cond, view.num(a), view.num(b), at) {
                        decided.push((block, i, truth));
                    }
                }
                _ => {}
            }
        }
    }
    for &(block, i, truth) in &decided {
        func.blocks[block].insts[i].op = Op::IConst(i64::from(truth));
    }
    for &(block, i) in removed.iter().rev() {
        func.blocks[block].insts.remove(i);
    }
    let mut jumps = false;
    for data in func.blocks.values_mut() {
        if let Term::Branch { cond, then, other } = data.term
            && let Some(n) = data
                .insts
                .iter()
                .find(|i| i.result == Some(cond))
                .and_then(|i| match i.op {
                    Op::IConst(n) => Some(n),
                    _ => None,
                })
        {
            data.term = Term::Jump(if n != 0 { then } else { other });
            jumps = true;
        }
    }
    if jumps {
        cfg::simplify(func);
    }
    if jumps || !removed.is_empty() || !decided.is_empty() {
        dead::run(func);
    }
    jumps
}
