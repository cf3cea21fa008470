//! Exception clauses: which blocks lie in them, and how control may cross their borders (ECMA-335 III.1.7.6, II.19).

use corten_metadata::{EhClause, EhKind};

use super::MethodVerifier;
use super::flow::Block;
use crate::code::Code;

/// An exception clause; ends are exclusive.
#[derive(Clone, Copy)]
pub(super) struct Region {
    pub kind: EhKind,
    pub try_start: u32,
    pub try_end: u32,
    pub handler_start: u32,
    pub handler_end: u32,
}

impl Region {
    pub fn new(clause: &EhClause) -> Region {
        Region {
            kind: clause.kind,
            try_start: clause.try_offset,
            try_end: clause.try_offset.saturating_add(clause.try_length),
            handler_start: clause.handler_offset,
            handler_end: clause.handler_offset.saturating_add(clause.handler_length),
        }
    }

    /// Start of the filter, which ends where the handler starts.
    pub fn filter_start(&self) -> Option<u32> {
        match self.kind {
            EhKind::Filter { filter_offset } => Some(filter_offset),
            _ => None,
        }
    }
}

pub(super) fn index(number: u32) -> usize {
    number as usize
}

/// A choice between what to report for running across a border and for branching across it.
fn crossing(falls_through: bool, falling: Code, branching: Code) -> Code {
    if falls_through { falling } else { branching }
}

impl MethodVerifier<'_, '_> {
    fn region(&self, number: u32) -> Region {
        self.regions[index(number)]
    }

    /// Finds the innermost clauses around each block.
    pub(super) fn find_enclosing_regions(&mut self) {
        for block in &mut self.blocks {
            let at = block.start;
            for (number, region) in (0u32..).zip(&self.regions) {
                let of = |n: u32| self.regions[index(n)];
                if region.try_start <= at && at < region.try_end {
                    let inner = block.try_index.is_none_or(|n| {
                        let known = of(n);
                        known.try_start < region.try_start && known.try_end > region.try_end
                    });
                    if inner {
                        block.try_index = Some(number);
                    }
                }
                if region.handler_start <= at && at < region.handler_end {
                    let inner = block.handler_index.is_none_or(|n| {
                        let known = of(n);
                        known.handler_start < region.handler_start && known.handler_end > region.handler_end
                    });
                    if inner {
                        block.handler_index = Some(number);
                    }
                }
                let in_filter = region
                    .filter_start()
                    .is_some_and(|f| f <= at && at < region.handler_start);
                if in_filter && block.filter_index.is_none() {
                    block.filter_index = Some(number);
                }
            }
        }
    }

    /// Whether control may go from one block to another by a branch or by running on; reports what is wrong.
    pub(super) fn check_branch(&mut self, source: u32, target: u32, falls_through: bool) -> bool {
        let to = &self.blocks[index(target)];
        if !self.is_target.get(index(to.start)).copied().unwrap_or(false) {
            self.report(Code::BadJumpTarget);
            return false;
        }
        let from = &self.blocks[index(source)];
        let wrong = [
            self.wrong_try_crossing(from, to, falls_through),
            self.wrong_filter_crossing(from, to, falls_through),
            self.wrong_handler_crossing(from, to, falls_through),
        ];
        let mut valid = true;
        for code in wrong.into_iter().flatten() {
            self.report(code);
            valid = false;
        }
        valid
    }

    fn wrong_try_crossing(&self, from: &Block, to: &Block, falls_through: bool) -> Option<Code> {
        if from.try_index == to.try_index {
            return None;
        }
        let leaves = Some(crossing(
            falls_through,
            Code::FallthroughException,
            Code::BranchOutOfTry,
        ));
        let Some(target) = to.try_index else { return leaves };
        let target = self.region(target);
        if let Some(source) = from.try_index {
            let source = self.region(source);
            let is_inside = source.try_start <= target.try_start && to.start < source.try_end;
            if !is_inside {
                return leaves;
            }
        }
        // A protected block is entered at its first instruction, and not together with one around it.
        let enters = to.start == target.try_start && self.is_direct_child(from, to);
        (!enters).then_some(Code::BranchIntoTry)
    }

    fn wrong_filter_crossing(&self, from: &Block, to: &Block, falls_through: bool) -> Option<Code> {
        if from.filter_index == to.filter_index {
            return None;
        }
        let enters = crossing(falls_through, Code::FallthroughIntoFilter, Code::BranchIntoFilter);
        let leaves = crossing(falls_through, Code::FallthroughException, Code::BranchOutOfFilter);
        let Some(source) = from.filter_index else {
            return Some(enters);
        };
        Some(match (to.handler_index, to.filter_index) {
            (Some(_), Some(target)) if self.region(source).filter_start() <= self.region(target).filter_start() => {
                enters
            }
            _ => leaves,
        })
    }

    fn wrong_handler_crossing(&self, from: &Block, to: &Block, falls_through: bool) -> Option<Code> {
        if from.handler_index == to.handler_index {
            return None;
        }
        let enters = crossing(falls_through, Code::FallthroughIntoHandler, Code::BranchIntoHandler);
        let Some(source) = from.handler_index else {
            return Some(enters);
        };
        let source = self.region(source);
        if let Some(target) = to.handler_index
            && source.handler_start <= self.region(target).handler_start
        {
            return Some(enters);
        }
        let out = if source.kind == EhKind::Finally {
            Code::BranchOutOfFinally
        } else {
            Code::BranchOutOfHandler
        };
        Some(crossing(falls_through, Code::FallthroughException, out))
    }

    /// The blocks that start in a range of offsets, the last first.
    fn blocks_between(&self, after: i64, before: u32) -> impl Iterator<Item = &Block> {
        let range = (after + 1).max(0) as usize..index(before).min(self.block_at.len());
        // Once too much has been looked at, nothing more is: the method is out of proportion.
        let left = self.scans.get().checked_sub(range.len() as u64);
        self.scans.set(left.unwrap_or(0));
        let slots = self.block_at.get(range).filter(|_| left.is_some()).unwrap_or(&[]);
        slots.iter().rev().filter_map(|slot| self.blocks.get(index((*slot)?)))
    }

    /// Whether no other protected block lies between the two.
    fn is_direct_child(&self, outer: &Block, inner: &Block) -> bool {
        let Some(inner) = inner.try_index else { return true };
        let inner = self.region(inner);
        let mut between = self.blocks_between(i64::from(outer.start), inner.try_start);
        !between.any(|block| {
            let other = block
                .try_index
                .filter(|_| block.starts_try && block.try_index != outer.try_index);
            other.is_some_and(|n| self.region(n).try_end > inner.try_start)
        })
    }

    /// Whether a protected block can be entered by leaving another: no clause around it that is not also around the other.
    fn is_disjoint(&self, target: Region, source: Region) -> bool {
        if source.try_start <= target.try_start && source.try_end >= target.try_end {
            return false;
        }
        let separates =
            |start: u32, end: u32| end > target.try_start && (start > source.try_start || end <= source.try_start);
        !self.blocks_between(-1, target.try_start).any(|block| {
            let of = |starts: bool, number: Option<u32>| number.filter(|_| starts).map(|n| self.region(n));
            of(block.starts_try, block.try_index).is_some_and(|r| separates(r.try_start, r.try_end))
                || of(block.starts_handler, block.handler_index)
                    .is_some_and(|r| separates(r.handler_start, r.handler_end))
                || of(block.starts_filter, block.filter_index)
                    .is_some_and(|r| separates(r.filter_start().unwrap_or(r.handler_start), r.handler_start))
        })
    }

    /// Reports what is wrong with a `leave` from one block to another.
    pub(super) fn check_leave(&mut self, source: u32, target: u32) {
        let to = &self.blocks[index(target)];
        if !self.is_target.get(index(to.start)).copied().unwrap_or(false) {
            self.report(Code::BadJumpTarget);
            return;
        }
        for code in self.wrong_leave(&self.blocks[index(source)], to) {
            self.report(code);
        }
    }

    fn wrong_leave(&self, from: &Block, to: &Block) -> Vec<Code> {
        let mut wrong = Vec::new();
        if from.filter_index.is_some() && from.filter_index != to.filter_index {
            wrong.push(Code::LeaveOutOfFilter);
        }
        let left_handler = from.handler_index.filter(|_| from.handler_index != to.handler_index);
        match left_handler.map(|n| self.region(n).kind) {
            Some(EhKind::Fault) => wrong.push(Code::LeaveOutOfFault),
            Some(EhKind::Finally) => wrong.push(Code::LeaveOutOfFinally),
            _ => {}
        }
        // Out of a protected block: to one around it, to the start of another, or outside all.
        let mut enters_try = false;
        let left_try = from.try_index.filter(|_| from.try_index != to.try_index);
        if let (Some(source), Some(target)) = (left_try, to.try_index) {
            let (source, target) = (self.region(source), self.region(target));
            let is_around = target.try_start <= source.try_start && from.start < target.try_end;
            if !is_around {
                let source_is_around = source.try_start <= target.try_start && source.try_end > target.try_start;
                enters_try = to.start != target.try_start
                    || if source_is_around {
                        !self.is_direct_child(from, to)
                    } else {
                        !self.is_disjoint(target, source)
                    };
            }
        }
        if enters_try {
            wrong.push(Code::LeaveIntoTry);
        }
        // Out of a handler: also back into its own protected block.
        if let (Some(handler), Some(target)) = (left_handler, to.try_index) {
            let (source, target_region) = (self.region(handler), self.region(target));
            let is_around =
                target_region.try_start <= source.handler_start && target_region.try_end >= source.handler_start;
            let starts = to.start == target_region.try_start && self.is_disjoint(target_region, source);
            if target != handler && !is_around && !starts {
                wrong.push(Code::LeaveIntoTry);
            }
        }
        let contains = |start: u32, end: u32| start <= from.start && from.start <= end;
        if let Some(target) = to.handler_index.filter(|_| from.handler_index != to.handler_index) {
            let region = self.region(target);
            if !contains(region.handler_start, region.handler_end) {
                wrong.push(Code::LeaveIntoHandler);
            }
        }
        if let Some(target) = to.filter_index.filter(|_| from.filter_index != to.filter_index) {
            let region = self.region(target);
            if !contains(
                region.filter_start().unwrap_or(region.handler_start),
                region.handler_start,
            ) {
                wrong.push(Code::LeaveIntoFilter);
            }
        }
        if let Some(target) = to.try_index.filter(|_| !enters_try && from.try_index != to.try_index) {
            let region = self.region(target);
            let from_its_handler = from.handler_index == Some(target);
            if to.start != region.try_start && !from_its_handler && !contains(region.try_start, region.try_end) {
                wrong.push(Code::LeaveIntoTry);
            }
        }
        wrong
    }
}
