//! Removes stores to locals that nothing reads, operations whose results nothing uses, and the unused locals themselves.

use super::propagate::outside_uses;
use crate::ir::*;
use cranelift_entity::{EntityRef, PrimaryMap};

/// Rounds of "no reads, so no stores, so fewer reads".
const ROUNDS: usize = 6;

/// The pass.
pub(super) fn run(func: &mut Func) {
    let mut outside = vec![false; func.locals.len()];
    for l in outside_uses(func) {
        outside[l.index()] = true;
    }
    let mut used = vec![false; func.values.len()];
    for _ in 0..ROUNDS {
        let mut read = outside.clone();
        for (l, data) in func.locals.iter() {
            read[l.index()] |= data.pinned;
        }
        for inst in func.blocks.values().flat_map(|b| &b.insts) {
            if let Op::LocalGet(l) | Op::LocalAddr(l) = inst.op {
                read[l.index()] = true;
            }
        }
        let mut changed = false;
        for data in func.blocks.values_mut() {
            changed |= sweep(data, &read, &mut used);
        }
        if !changed {
            break;
        }
    }
}

/// Removes dead instructions of a block, from its end. Whether reads of locals went away.
fn sweep(data: &mut BlockData, read: &[bool], used: &mut [bool]) -> bool {
    for result in data.insts.iter().filter_map(|i| i.result) {
        used[result.index()] = false;
    }
    if let Some(v) = term_use(&data.term) {
        used[v.index()] = true;
    }
    let mut changed = false;
    let mut any = false;
    let mut keep = vec![true; data.insts.len()];
    for (i, inst) in data.insts.iter().enumerate().rev() {
        let needed = match inst.op {
            Op::LocalSet(l, _) => read[l.index()],
            ref op => inst.result.is_some_and(|r| used[r.index()]) || !is_removable(op),
        };
        if needed {
            for_each_use(&inst.op, |v| used[v.index()] = true);
        } else {
            keep[i] = false;
            any = true;
            changed |= matches!(inst.op, Op::LocalGet(_) | Op::LocalAddr(_));
        }
    }
    if any {
        let mut keep = keep.into_iter();
        data.insts.retain(|_| keep.next().unwrap_or(true));
    }
    changed
}

/// Operations that do nothing but compute their result.
pub(super) fn is_removable(op: &Op) -> bool {
    match op {
        Op::IConst(_)
        | Op::FConst(_)
        | Op::Null
        | Op::Address(_)
        | Op::LocalGet(_)
        | Op::LocalAddr(_)
        | Op::Bin(..)
        | Op::Un(..)
        | Op::Conv(..)
        | Op::Cmp(..)
        | Op::Select { .. }
        | Op::StructZero(_)
        | Op::StructField { .. }
        | Op::StructMake { .. }
        | Op::StructAddr(_)
        | Op::ArrayLen(_)
        | Op::ElemAddr { .. }
        | Op::PtrAdd(..)
        | Op::Scratch { .. }
        | Op::Vector { .. }
        | Op::CurrentThread => true,
        Op::Call {
            callee: Callee::Getter { .. },
            ..
        } => true,
        // What was checked for null cannot fault.
        Op::Load { flags, .. } => !flags.volatile && !flags.faults,
        Op::X86 { op, .. } => *op != X86Op::MaskMove,
        Op::Intrinsic { op, .. } => !matches!(op, IntrinsicOp::SpinWait | IntrinsicOp::Fence),
        _ => false,
    }
}

/// Removes locals that nothing mentions, so that they take no room in the frame.
pub(super) fn compact_locals(func: &mut Func) {
    // Filters know the locals by their numbers.
    if !func.filters.is_empty() || func.parent_locals.is_some() {
        return;
    }
    let mut used = vec![false; func.locals.len()];
    used[..func.arg_count].fill(true);
    for l in outside_uses(func) {
        used[l.index()] = true;
    }
    for inst in func.blocks.values().flat_map(|b| &b.insts) {
        if let Op::LocalGet(l) | Op::LocalAddr(l) | Op::LocalSet(l, _) = inst.op {
            used[l.index()] = true;
        }
    }
    if used.iter().all(|&u| u) {
        return;
    }
    let mut names = vec![Local::new(0); used.len()];
    let mut locals = PrimaryMap::new();
    for (l, data) in std::mem::take(&mut func.locals) {
        if used[l.index()] {
            names[l.index()] = locals.push(data);
        }
    }
    func.locals = locals;
    let rename = |l: &mut Local| *l = names[l.index()];
    for inst in func.blocks.values_mut().flat_map(|b| &mut b.insts) {
        if let Op::LocalGet(l) | Op::LocalAddr(l) | Op::LocalSet(l, _) = &mut inst.op {
            rename(l);
        }
    }
    for clause in func.clauses.values_mut() {
        rename(&mut clause.exception_local);
        clause.record_local.iter_mut().for_each(rename);
        clause.selector_local.iter_mut().for_each(rename);
    }
}
