//! Which operations are safepoints, which write memory, which blocks are in cycles.

use crate::ir::{Helper, Op, successors};
pub(super) use crate::ir::{for_each_use, term_use};

/// Whether a collection can happen during an operation, once it has taken its operands.
pub(crate) fn is_safepoint(op: &Op) -> bool {
    match op {
        Op::CallHelper { helper, .. } if !is_leaf(*helper) && !is_cast(*helper) => true,
        Op::Call { .. } | Op::ClassInit { .. } | Op::SafepointPoll | Op::Patchpoint { .. } => true,
        _ => false,
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
            | Helper::ProfileClass
            | Helper::ProfileTarget
    )
}

/// Casts raise, or return without having collected.
pub(super) fn is_cast(helper: Helper) -> bool {
    matches!(helper, Helper::CastClass | Helper::IsInst | Helper::Unbox)
}

/// Operations that may write memory that a struct value was read from.
pub(super) fn writes_memory(op: &Op) -> bool {
    if matches!(op, Op::CallHelper { helper, .. } if is_cast(*helper)) {
        return false;
    }
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
            | Op::Patchpoint { .. }
            | Op::X86 {
                op: crate::ir::X86Op::MaskMove,
                ..
            }
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
            let mut out = Vec::new();
            successors(&b.term, |t| out.push(t.index()));
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
