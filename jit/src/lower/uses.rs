//! Operands of operations, and which operations are safepoints.

use crate::ir::{Callee, Helper, Op, Term, Value};

/// Calls `f` with every operand of `op`.
pub(super) fn for_each_use(op: &Op, mut f: impl FnMut(Value)) {
    match op {
        Op::IConst(_)
        | Op::FConst(_)
        | Op::Null
        | Op::Address(_)
        | Op::LocalGet(_)
        | Op::LocalAddr(_)
        | Op::StructZero(_)
        | Op::ClassInit { .. }
        | Op::Scratch { .. }
        | Op::CurrentThread
        | Op::SafepointPoll
        | Op::CountCall { .. } => {}
        Op::LocalSet(_, v)
        | Op::Un(_, v)
        | Op::Conv(_, v)
        | Op::ConvOvf(_, v)
        | Op::CkFinite(v)
        | Op::StructAddr(v)
        | Op::NullCheck(v)
        | Op::ArrayLen(v) => f(*v),
        Op::Bin(_, a, b) | Op::BinOvf(_, a, b) | Op::Cmp(_, a, b) | Op::PtrAdd(a, b) => {
            f(*a);
            f(*b);
        }
        Op::DivCheck { a, b, .. } => {
            f(*a);
            f(*b);
        }
        Op::Select {
            cond,
            if_true,
            if_false,
        } => {
            f(*cond);
            f(*if_true);
            f(*if_false);
        }
        Op::Load { addr, .. } => f(*addr),
        Op::Store { addr, value, .. } => {
            f(*addr);
            f(*value);
        }
        Op::CopyStruct { dst, src, .. } => {
            f(*dst);
            f(*src);
        }
        Op::ZeroStruct { dst, .. } => f(*dst),
        Op::StructField { value, .. } => f(*value),
        Op::StructMake { parts, .. } => parts.iter().for_each(|p| f(p.2)),
        Op::CopyBlock { dst, src, bytes, .. } => {
            f(*dst);
            f(*src);
            f(*bytes);
        }
        Op::InitBlock { dst, byte, bytes, .. } => {
            f(*dst);
            f(*byte);
            f(*bytes);
        }
        Op::BoundsCheck { index, length } => {
            f(*index);
            f(*length);
        }
        Op::ElemAddr { array, index, .. } => {
            f(*array);
            f(*index);
        }
        Op::CallHelper { args, .. } | Op::Intrinsic { args, .. } => args.iter().copied().for_each(f),
        Op::Call { callee, args, .. } => {
            if let Callee::Pointer { target } | Callee::Native { target } = callee {
                f(*target);
            }
            args.iter().copied().for_each(f);
        }
        Op::LocAlloc { bytes, .. } => f(*bytes),
        Op::AtomicRmw { addr, value, .. } => {
            f(*addr);
            f(*value);
        }
        Op::AtomicCas {
            addr, expected, value, ..
        } => {
            f(*addr);
            f(*expected);
            f(*value);
        }
    }
}

/// The operand of a terminator.
pub(super) fn term_use(term: &Term) -> Option<Value> {
    match term {
        Term::Branch { cond, .. } => Some(*cond),
        Term::Switch { index, .. } => Some(*index),
        Term::Return(v) => *v,
        Term::Jump(_) | Term::Unreachable => None,
    }
}

/// Whether a collection can happen during an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Safepoint {
    /// Never.
    No,
    /// Once the operands are consumed.
    Late,
    /// Also before the operands are consumed, so that they live across it.
    Early,
}

pub(super) fn safepoint(op: &Op) -> Safepoint {
    match op {
        Op::CallHelper { helper, .. } if !is_leaf(*helper) => Safepoint::Late,
        Op::Call {
            callee: Callee::Interface { .. },
            ..
        } => Safepoint::Early,
        Op::Call { .. } | Op::ClassInit { .. } | Op::SafepointPoll => Safepoint::Late,
        _ => Safepoint::No,
    }
}

/// Helpers that neither collect nor raise.
pub(super) fn is_leaf(helper: Helper) -> bool {
    matches!(
        helper,
        Helper::WriteBarrier
            | Helper::CheckedWriteBarrier
            | Helper::CopyStructBarrier
            | Helper::MemMove
            | Helper::MemSet
            | Helper::FmodF64
            | Helper::FmodF32
            | Helper::ExchangeRef
            | Helper::CompareExchangeRef
    )
}

/// Operations that may write memory that a struct value was read from.
pub(super) fn writes_memory(op: &Op) -> bool {
    matches!(
        op,
        Op::Store { .. }
            | Op::CopyStruct { .. }
            | Op::ZeroStruct { .. }
            | Op::CopyBlock { .. }
            | Op::InitBlock { .. }
            | Op::CallHelper { .. }
            | Op::Call { .. }
            | Op::ClassInit { .. }
            | Op::SafepointPoll
            | Op::AtomicRmw { .. }
            | Op::AtomicCas { .. }
    )
}

/// For each block: can it reach itself? (exception edges included)
pub(super) fn blocks_in_cycles(func: &crate::ir::Func) -> Vec<bool> {
    use cranelift_entity::EntityRef;
    let n = func.blocks.len();
    let successors: Vec<Vec<usize>> = func
        .blocks
        .values()
        .map(|b| {
            let mut out: Vec<usize> = match &b.term {
                Term::Jump(t) => vec![t.index()],
                Term::Branch { then, other, .. } => vec![then.index(), other.index()],
                Term::Switch { targets, default, .. } => targets.iter().chain([default]).map(|t| t.index()).collect(),
                Term::Return(_) | Term::Unreachable => vec![],
            };
            if let Some(clauses) = func.protects.get(b.protect) {
                out.extend(
                    clauses
                        .iter()
                        .filter_map(|&c| func.clauses.get(c))
                        .map(|c| c.handler.index()),
                );
            }
            out
        })
        .collect();
    // Only asked for functions with localloc: a search from each block is good enough, bounded for huge ones.
    if n > 400 {
        return vec![true; n];
    }
    (0..n)
        .map(|start| {
            let mut seen = vec![false; n];
            let mut work = successors[start].clone();
            while let Some(b) = work.pop() {
                if b == start {
                    return true;
                }
                if b < n && !std::mem::replace(&mut seen[b], true) {
                    work.extend(&successors[b]);
                }
            }
            false
        })
        .collect()
}
