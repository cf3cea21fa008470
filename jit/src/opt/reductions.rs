//! Locals in which a loop collects something: sums, products of bits, extremes.

use super::extremes::FloatExtreme;
use super::loop_body::{Body, Effect, Node};
use super::vectorize::{negated, negated_float, swapped};
use crate::ir::*;
use cranelift_entity::EntityRef;
use smallvec::SmallVec;

/// How the parts of a sum or the like are put together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reduce {
    Add,
    And,
    Or,
    Xor,
    Min,
    Max,
    MinUn,
    MaxUn,
    /// Of floats.
    Float(FloatExtreme),
}

/// A local that collects something.
#[derive(Clone, Debug)]
pub(super) struct Reduction {
    pub local: Local,
    pub how: Reduce,
    /// What is collected, and whether it is subtracted.
    pub terms: SmallVec<[(Value, bool); 2]>,
}

/// How a local collects values, if it does nothing else.
pub(super) fn reduction(body: &mut Body, changed: &[(Local, Value)], local: Local, end: Value) -> Option<Reduction> {
    let ty = body.ty(end);
    let float = matches!(ty, Ty::F32 | Ty::F64);
    if !float && !matches!(ty, Ty::I32 | Ty::I64) {
        return None;
    }
    let start = body.nodes.iter().find(|(_, n)| n.0 == Node::Start(local))?.0;
    let mut terms = SmallVec::new();
    let how = match extreme(body, start, end) {
        Some((how, x)) => {
            terms.push((x, false));
            how
        }
        None if float => return None,
        None => match *body.op(end)? {
            Op::Bin(op @ (BinOp::And | BinOp::Or | BinOp::Xor), x, y) => {
                terms.push((if x == start { y } else { x }, false));
                if x != start && y != start {
                    return None;
                }
                match op {
                    BinOp::And => Reduce::And,
                    BinOp::Or => Reduce::Or,
                    _ => Reduce::Xor,
                }
            }
            _ => {
                sum(body, start, end, &mut terms)?;
                Reduce::Add
            }
        },
    };
    // Nothing else may read it.
    let mut alone = true;
    let mut seen = vec![false; body.nodes.len()];
    let mut work: Vec<Value> = terms.iter().map(|t| t.0).collect();
    for effect in &body.effects {
        match *effect {
            Effect::Store { addr, value, .. } => work.extend([addr, value]),
            Effect::Load(v, _) => work.push(v),
            Effect::BoundsCheck { index, length } => work.extend([index, length]),
            Effect::NullCheck(v) => work.push(v),
        }
    }
    work.push(body.condition);
    work.extend(changed.iter().filter(|c| c.0 != local).map(|c| c.1));
    while let Some(node) = work.pop() {
        if node == start {
            alone = false;
        }
        if !std::mem::replace(&mut seen[node.index()], true)
            && let Some(op) = body.op(node)
        {
            for_each_use(op, |v| work.push(v));
        }
    }
    alone.then_some(Reduction { local, how, terms })
}

/// A choice of the greater or smaller of the local and something.
fn extreme(body: &Body, start: Value, end: Value) -> Option<(Reduce, Value)> {
    if let Op::Intrinsic { op, args } = body.op(end)? {
        let greatest = match op {
            IntrinsicOp::Min => false,
            IntrinsicOp::Max => true,
            _ => return None,
        };
        let &[a, b] = args.as_slice() else {
            return None;
        };
        let x = match (a == start, b == start) {
            (true, false) => b,
            (false, true) => a,
            _ => return None,
        };
        return Some((Reduce::Float(FloatExtreme::of_math(greatest)), x));
    }
    let &Op::Select {
        cond,
        if_true,
        if_false,
    } = body.op(end)?
    else {
        return None;
    };
    let &Op::Cmp(cond, mut p, mut q) = body.op(cond)? else {
        return None;
    };
    let (x, mut cond) = match (if_true == start, if_false == start) {
        (false, true) => (if_true, cond),
        (true, false) if matches!(body.ty(p), Ty::F32 | Ty::F64) => (if_false, negated_float(cond)?),
        (true, false) => (if_false, negated(cond)?),
        _ => return None,
    };
    if p == start && q == x {
        (p, q) = (q, p);
        cond = swapped(cond)?;
    }
    if p != x || q != start {
        return None;
    }
    // Chosen if `x cond local`.
    if matches!(body.ty(end), Ty::F32 | Ty::F64) {
        return (body.ty(p) == body.ty(end)).then_some((Reduce::Float(FloatExtreme::of_choice(cond)?), x));
    }
    let how = match cond {
        Cond::Gt | Cond::Ge => Reduce::Max,
        Cond::Lt | Cond::Le => Reduce::Min,
        Cond::GtUn | Cond::GeUn => Reduce::MaxUn,
        Cond::LtUn | Cond::LeUn => Reduce::MinUn,
        _ => return None,
    };
    Some((how, x))
}

fn sum(body: &mut Body, start: Value, end: Value, terms: &mut SmallVec<[(Value, bool); 2]>) -> Option<()> {
    if end == start {
        return (!terms.is_empty()).then_some(());
    }
    match *body.op(end)? {
        Op::Bin(BinOp::Add, x, y) => {
            let (rest, term) = if contains(body, x, start) { (x, y) } else { (y, x) };
            terms.push((term, false));
            sum(body, start, rest, terms)
        }
        Op::Bin(BinOp::Sub, x, y) => {
            terms.push((y, true));
            sum(body, start, x, terms)
        }
        // if (c) t += x
        Op::Select {
            cond,
            if_true,
            if_false,
        } => {
            let ty = body.ty(end);
            let changed = if if_false == start { if_true } else { if_false };
            let kept = if if_false == start { if_false } else { if_true };
            if kept != start {
                return None;
            }
            let (rest, term, minus) = match *body.op(changed)? {
                Op::Bin(BinOp::Add, x, y) if x == start => (x, y, false),
                Op::Bin(BinOp::Add, x, y) if y == start => (y, x, false),
                Op::Bin(BinOp::Sub, x, y) if x == start => (x, y, true),
                _ => return None,
            };
            let zero = body.add(Node::Op(Op::IConst(0)), ty);
            let (a, b) = if if_false == start { (term, zero) } else { (zero, term) };
            let choice = body.add(
                Node::Op(Op::Select {
                    cond,
                    if_true: a,
                    if_false: b,
                }),
                ty,
            );
            terms.push((choice, minus));
            sum(body, start, rest, terms)
        }
        _ => None,
    }
}

fn contains(body: &Body, node: Value, part: Value) -> bool {
    if node == part {
        return true;
    }
    let mut found = false;
    if let Some(op) = body.op(node) {
        for_each_use(op, |v| found = found || contains(body, v, part));
    }
    found
}
