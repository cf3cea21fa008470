//! Operands of operations and targets of terminators.

use super::{Block, Callee, Op, Term, Value};

/// Calls `$f` with references to every operand of `$op`. Written once for shared and mutable ones: `$all` iterates over a list.
macro_rules! operands {
    ($op:expr, $f:ident, $all:ident $(, $m:tt)?) => {{
        let (op, mut f) = ($op, $f);
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
            | Op::Patchpoint { .. }
            | Op::CountBlock { .. }
            | Op::FrameBase => {}
            Op::LocalSet(_, v)
            | Op::Un(_, v)
            | Op::Conv(_, v)
            | Op::ConvOvf(_, v)
            | Op::CkFinite(v)
            | Op::StructAddr(v)
            | Op::NullCheck(v)
            | Op::ArrayLen(v) => f(v),
            Op::Bin(_, a, b) | Op::BinOvf(_, a, b) | Op::Cmp(_, a, b) | Op::PtrAdd(a, b) => {
                f(a);
                f(b);
            }
            Op::DivCheck { a, b, .. } => {
                f(a);
                f(b);
            }
            Op::Select {
                cond,
                if_true,
                if_false,
            } => {
                f(cond);
                f(if_true);
                f(if_false);
            }
            Op::Load { addr, .. } => f(addr),
            Op::Store { addr, value, .. } => {
                f(addr);
                f(value);
            }
            Op::CopyStruct { dst, src, .. } => {
                f(dst);
                f(src);
            }
            Op::ZeroStruct { dst, .. } => f(dst),
            Op::StructField { value, .. } => f(value),
            Op::StructMake { parts, .. } => parts.$all().for_each(|p| f(&$($m)? p.2)),
            Op::CopyBlock { dst, src, bytes, .. } => {
                f(dst);
                f(src);
                f(bytes);
            }
            Op::InitBlock { dst, byte, bytes, .. } => {
                f(dst);
                f(byte);
                f(bytes);
            }
            Op::BoundsCheck { index, length } => {
                f(index);
                f(length);
            }
            Op::ElemAddr { array, index, .. } => {
                f(array);
                f(index);
            }
            Op::CallHelper { args, .. } | Op::Intrinsic { args, .. } | Op::Vector { args, .. } | Op::X86 { args, .. } => {
                args.$all().for_each(f);
            }
            Op::Call { callee, args, .. } => {
                if let Callee::Pointer { target } | Callee::Native { target } = callee {
                    f(target);
                }
                args.$all().for_each(f);
            }
            Op::LocAlloc { bytes, .. } => f(bytes),
            Op::AtomicRmw { addr, value, .. } => {
                f(addr);
                f(value);
            }
            Op::AtomicCas {
                addr, expected, value, ..
            } => {
                f(addr);
                f(expected);
                f(value);
            }
        }
    }};
}

/// Calls `f` with every operand of `op`.
pub(crate) fn for_each_use(op: &Op, mut f: impl FnMut(Value)) {
    let f = |v: &Value| f(*v);
    operands!(op, f, iter)
}

/// Calls `f` with every operand of `op`, to change it.
pub(crate) fn map_uses(op: &mut Op, f: impl FnMut(&mut Value)) {
    operands!(op, f, iter_mut, mut)
}

/// The operand of a terminator.
pub(crate) fn term_use(term: &Term) -> Option<Value> {
    match term {
        Term::Branch { cond, .. } => Some(*cond),
        Term::Switch { index, .. } => Some(*index),
        Term::Return(v) => *v,
        Term::Jump(_) | Term::Unreachable => None,
    }
}

/// Calls `f` with every target of a terminator, once for each edge.
pub(crate) fn successors(term: &Term, mut f: impl FnMut(Block)) {
    match term {
        Term::Jump(b) => f(*b),
        Term::Branch { then, other, .. } => {
            f(*then);
            f(*other);
        }
        Term::Switch { targets, default, .. } => targets.iter().chain([default]).for_each(|&b| f(b)),
        Term::Return(_) | Term::Unreachable => {}
    }
}
