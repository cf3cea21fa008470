//! Conditions of leaving a loop early that vectors can tell.

use super::loop_body::{Body, Node};
use super::vectorize::negated;
use crate::ir::*;
use cranelift_entity::EntityRef;

/// The comparisons with which the loop is left early, and the outcome that leaves. `None` if one of them is of another kind.
///
/// Only comparisons of elements with each other and with what stays the same are taken. What the counter is compared with may
/// be what keeps accesses in range.
pub(super) fn exits(body: &mut Body) -> Option<Vec<(Value, bool)>> {
    let mut out = Vec::new();
    for exit in body.exits.clone() {
        split(body, exit.condition, exit.exit_if, &mut out)?;
    }
    for &(condition, _) in &out {
        if !is_of_elements(body, condition) {
            return None;
        }
    }
    Some(out)
}

/// Takes a condition apart into comparisons of which each alone leaves the loop.
fn split(body: &mut Body, condition: Value, exit_if: bool, out: &mut Vec<(Value, bool)>) -> Option<()> {
    match *body.op(condition)? {
        Op::Bin(BinOp::Or, a, b) if exit_if && is_truth(body, a) && is_truth(body, b) => {
            split(body, a, true, out)?;
            split(body, b, true, out)
        }
        Op::Bin(BinOp::And, a, b) if !exit_if && is_truth(body, a) && is_truth(body, b) => {
            split(body, a, false, out)?;
            split(body, b, false, out)
        }
        Op::Cmp(cond @ (Cond::Eq | Cond::Ne), a, b) if is_truth(body, a) && body.int(b) == Some(0) => {
            split(body, a, exit_if == (cond == Cond::Ne), out)
        }
        Op::Cmp(cond, a, b) if !exit_if && matches!(body.ty(a), Ty::I32 | Ty::I64) => {
            let node = body.add(Node::Op(Op::Cmp(negated(cond)?, a, b)), Ty::I32);
            out.push((node, true));
            Some(())
        }
        Op::Cmp(..) => {
            out.push((condition, exit_if));
            Some(())
        }
        _ => {
            let ty = body.ty(condition);
            if !matches!(ty, Ty::I32 | Ty::I64) {
                return None;
            }
            let zero = body.add(Node::Op(Op::IConst(0)), ty);
            let cond = if exit_if { Cond::Ne } else { Cond::Eq };
            let node = body.add(Node::Op(Op::Cmp(cond, condition, zero)), Ty::I32);
            out.push((node, true));
            Some(())
        }
    }
}

/// Is the value 0 or 1?
fn is_truth(body: &Body, node: Value) -> bool {
    matches!(body.op(node), Some(Op::Cmp(..)))
}

/// Does the value come from loads and from what stays the same only?
fn is_of_elements(body: &Body, node: Value) -> bool {
    let mut loads = false;
    let mut seen = vec![false; body.nodes.len()];
    let mut work = vec![node];
    while let Some(node) = work.pop() {
        if std::mem::replace(&mut seen[node.index()], true) {
            continue;
        }
        match body.op(node) {
            None => return false,
            Some(Op::Load { .. }) => loads = true,
            Some(op) => for_each_use(op, |v| work.push(v)),
        }
    }
    loads
}
