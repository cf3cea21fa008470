//! Locals that live in registers.
//!
//! A scalar local whose address is never taken and that no handler or filter sees becomes a set of SSA values: each block has
//! one parameter for every such local that it expects in a register. (Tier 1 only: at Tier 0 every local is in memory.)
//!
//! A reference or managed pointer that is live across a safepoint has a *home* in the
//! area, which every definition stores to and which the collector updates; what was in its register is stale after the
//! safepoint, and the next use loads it again. To the question which locals a block expects in registers, safepoints are
//! therefore like definitions: a reference that is next used behind a call is not passed from block to block. Loop polls do
//! not count as safepoints here: they save and reload registers themselves, out of line (`lower::polls`).
//!
//! Vectors that are set once and live across a safepoint are treated likewise, because no call keeps vector registers: a loop
//! that seldom calls keeps them in registers on the way without calls. (The allocator would keep them in the frame everywhere.)

use super::uses;
use crate::ir::{Block, Func, Local, Op, Ty, successors};
use cranelift_entity::EntityRef;

/// Not promoted.
const NO: u32 = u32::MAX;
/// Functions with more blocks keep their locals in memory: too many block parameters slow the allocator down.
const MAX_BLOCKS: usize = 4000;
/// With more promoted locals, homes are not shared.
const MAX_SHARED: usize = 256;
/// The most locals that are promoted.
const MAX_LOCALS: usize = 512;

/// One set of small numbers for each block.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Sets {
    words: usize,
    bits: Vec<u64>,
}

impl Sets {
    fn new(rows: usize, members: usize) -> Sets {
        let words = members.div_ceil(64);
        Sets {
            words,
            bits: vec![0; rows * words],
        }
    }

    fn row(&self, row: usize) -> &[u64] {
        self.bits.get(row * self.words..(row + 1) * self.words).unwrap_or(&[])
    }

    fn row_mut(&mut self, row: usize) -> &mut [u64] {
        &mut self.bits[row * self.words..(row + 1) * self.words]
    }

    fn insert(&mut self, row: usize, member: usize) {
        self.row_mut(row)[member / 64] |= 1 << (member % 64);
    }

    fn contains(&self, row: usize, member: usize) -> bool {
        self.row(row)
            .get(member / 64)
            .is_some_and(|w| w & (1 << (member % 64)) != 0)
    }

    fn members(&self, row: usize) -> impl Iterator<Item = usize> + '_ {
        self.row(row).iter().enumerate().flat_map(|(i, &word)| {
            let mut word = word;
            std::iter::from_fn(move || {
                let next = word.trailing_zeros() as usize;
                word &= word.wrapping_sub(1);
                (next < 64).then_some(i * 64 + next)
            })
        })
    }
}

/// Which locals are promoted and where they are live.
#[derive(Debug, Default)]
pub(super) struct Promotion {
    index: Vec<u32>,
    /// Promoted locals by index.
    pub locals: Vec<Local>,
    /// By index: references and managed pointers.
    references: Vec<bool>,
    /// By index: loaded from a home after safepoints: references, and vectors that are set once.
    stale: Vec<bool>,
    /// By index: live across a safepoint.
    homes: Vec<bool>,
    /// By index: references that are never needed at the same time share the number of their home.
    places: Vec<usize>,
    /// By block: what it expects in registers.
    expected: Sets,
}

impl Promotion {
    /// Index of a promoted local.
    pub fn get(&self, local: Local) -> Option<usize> {
        self.index
            .get(local.index())
            .copied()
            .filter(|&i| i != NO)
            .map(|i| i as usize)
    }

    /// Indices of the promoted locals that a block expects in registers, ascending.
    pub fn expected(&self, block: Block) -> impl Iterator<Item = usize> + '_ {
        self.expected.members(block.index())
    }

    /// Does a block expect a local in a register?
    pub fn expects(&self, block: Block, index: usize) -> bool {
        self.expected.contains(block.index(), index)
    }

    /// Is it a reference or a managed pointer?
    pub fn is_reference(&self, index: usize) -> bool {
        self.references.get(index) == Some(&true)
    }

    /// Is what is in its register of no use after a safepoint?
    pub fn goes_stale(&self, index: usize) -> bool {
        self.stale.get(index) == Some(&true)
    }

    /// Must every definition be stored to its home?
    pub fn has_home(&self, index: usize) -> bool {
        self.homes.get(index) == Some(&true)
    }

    /// Number of its home, below the number of promoted locals.
    pub fn place(&self, index: usize) -> usize {
        self.places.get(index).copied().unwrap_or(index)
    }

    /// Nothing is promoted.
    pub fn none(func: &Func) -> Promotion {
        Promotion {
            index: vec![NO; func.locals.len()],
            expected: Sets::new(func.blocks.len(), 0),
            ..Promotion::default()
        }
    }

    /// Chooses the locals of `func`; `exposed`: locals whose address is taken.
    pub fn of(func: &Func, exposed: &[bool]) -> Promotion {
        let count = func.locals.len();
        let mut promotion = Promotion::none(func);
        if func.blocks.len() > MAX_BLOCKS {
            return promotion;
        }
        let mut candidate: Vec<bool> = func
            .locals
            .iter()
            .map(|(l, data)| {
                let scalar = !matches!(data.ty, Ty::Struct(_));
                scalar && !exposed[l.index()] && !data.pinned && l.index() >= func.parent_locals.unwrap_or(0)
            })
            .collect();
        let mut exclude = |l: Local| {
            if let Some(c) = candidate.get_mut(l.index()) {
                *c = false;
            }
        };
        for clause in func.clauses.values() {
            exclude(clause.exception_local);
            clause
                .record_local
                .into_iter()
                .chain(clause.selector_local)
                .for_each(&mut exclude);
        }
        for filter in &func.filters {
            for inst in filter.blocks.values().flat_map(|b| &b.insts) {
                if let Op::LocalGet(l) | Op::LocalSet(l, _) | Op::LocalAddr(l) = inst.op {
                    exclude(l);
                }
            }
        }
        let mut uses = vec![0u32; count];
        let mut sets = vec![0u32; count];
        for inst in func.blocks.values().flat_map(|b| &b.insts) {
            if let Op::LocalGet(l) | Op::LocalSet(l, _) = inst.op
                && let Some(n) = uses.get_mut(l.index())
            {
                *n += 1;
                sets[l.index()] += u32::from(matches!(inst.op, Op::LocalSet(..)));
            }
        }
        let mut chosen: Vec<usize> = (0..count).filter(|&i| candidate[i] && uses[i] > 0).collect();
        if chosen.len() > MAX_LOCALS {
            chosen.sort_by_key(|&i| (std::cmp::Reverse(uses[i]), i));
            chosen.truncate(MAX_LOCALS);
            chosen.sort_unstable();
        }
        promotion.assign(func, chosen);
        let mut live = promotion.liveness(func, false);

        // What a handler needs must be in memory.
        let mut kept: Vec<bool> = vec![true; promotion.locals.len()];
        for clause in func.clauses.values() {
            live.members(clause.handler.index()).for_each(|i| kept[i] = false);
        }
        if kept.contains(&false) {
            let kept = (0..kept.len()).filter(|&i| kept[i]);
            let kept = kept.map(|i| promotion.locals[i].index()).collect();
            promotion.index.fill(NO);
            promotion.assign(func, kept);
            live = promotion.liveness(func, false);
        }
        for (i, &local) in promotion.locals.iter().enumerate() {
            // (What is live at the entry has an initial value, too.)
            promotion.stale[i] |=
                func.locals[local].ty == Ty::V128 && sets[local.index()] == 1 && !live.contains(func.entry.index(), i);
        }
        if promotion.stale.contains(&true) {
            promotion.find_homes(func, &live);
            promotion.share_homes(func, &live);
            promotion.expected = promotion.liveness(func, true);
        } else {
            promotion.expected = live;
        }
        promotion
    }

    fn assign(&mut self, func: &Func, chosen: Vec<usize>) {
        for (i, &local) in chosen.iter().enumerate() {
            self.index[local] = i as u32;
        }
        self.locals = chosen.into_iter().map(Local::new).collect();
        let is_reference = |l: &Local| matches!(func.locals[*l].ty, Ty::Ref | Ty::ByRef);
        self.references = self.locals.iter().map(is_reference).collect();
        self.stale = self.references.clone();
        self.homes = vec![false; self.locals.len()];
        self.places = (0..self.locals.len()).collect();
    }

    /// Locals that are live at the start of each block. With `safepoints_kill`, what goes stale is dead before a safepoint.
    fn liveness(&self, func: &Func, safepoints_kill: bool) -> Sets {
        let n = func.blocks.len();
        let mut live_in = Sets::new(n, self.locals.len());
        if self.locals.is_empty() {
            return live_in;
        }
        let mut stale = Sets::new(1, self.locals.len());
        for i in (0..self.locals.len()).filter(|&i| self.stale[i]) {
            stale.insert(0, i);
        }
        let mut defined = live_in.clone();
        let mut predecessors: Vec<Vec<u32>> = vec![Vec::new(); n];
        for (block, data) in func.blocks.iter() {
            let b = block.index();
            for inst in &data.insts {
                match inst.op {
                    Op::LocalGet(l) => {
                        if let Some(i) = self.get(l).filter(|&i| !defined.contains(b, i)) {
                            live_in.insert(b, i);
                        }
                    }
                    Op::LocalSet(l, _) => {
                        if let Some(i) = self.get(l) {
                            defined.insert(b, i);
                        }
                    }
                    ref op if safepoints_kill && clobbers_references(op) => {
                        for (d, r) in defined.row_mut(b).iter_mut().zip(stale.row(0)) {
                            *d |= r;
                        }
                    }
                    _ => {}
                }
            }
            successors(&data.term, |s| {
                if let Some(p) = predecessors.get_mut(s.index()) {
                    p.push(b as u32);
                }
            });
            // An exception leaves the block anywhere: what its handlers need is live throughout, and excluded later.
            if let Some(clauses) = func.protects.get(data.protect) {
                for clause in clauses.iter().filter_map(|&c| func.clauses.get(c)) {
                    if let Some(p) = predecessors.get_mut(clause.handler.index()) {
                        p.push(b as u32);
                    }
                }
            }
        }
        let mut work: Vec<u32> = (0..n as u32).collect();
        while let Some(b) = work.pop() {
            for &p in &predecessors[b as usize] {
                let mut changed = false;
                for w in 0..live_in.words {
                    let live = live_in.row(b as usize)[w] & !defined.row(p as usize)[w];
                    let old = &mut live_in.row_mut(p as usize)[w];
                    changed |= *old | live != *old;
                    *old |= live;
                }
                if changed {
                    work.push(p);
                }
            }
        }
        live_in
    }

    /// Gives locals that are not live at the same time one home. A definition writes to the home, so it interferes with
    /// everything that is live behind it; arguments and initial values are defined at the entry.
    fn share_homes(&mut self, func: &Func, live_in: &Sets) {
        // A replacement receives all locals at its entry.
        let n = self.locals.len();
        if func.osr || n > MAX_SHARED {
            return;
        }
        let mut neighbours = Sets::new(n, n);
        let mut entry: Vec<usize> = live_in.members(func.entry.index()).collect();
        entry.extend((0..n).filter(|&i| self.locals[i].index() < func.arg_count));
        for &a in &entry {
            for &b in &entry {
                neighbours.insert(a, b);
            }
        }
        for data in func.blocks.values() {
            let mut live = Sets::new(1, n);
            successors(&data.term, |s| {
                for (l, s) in live.row_mut(0).iter_mut().zip(live_in.row(s.index())) {
                    *l |= s;
                }
            });
            for inst in data.insts.iter().rev() {
                match inst.op {
                    Op::LocalGet(l) => {
                        if let Some(i) = self.get(l) {
                            live.insert(0, i);
                        }
                    }
                    Op::LocalSet(l, _) => {
                        if let Some(i) = self.get(l) {
                            live.row_mut(0)[i / 64] &= !(1 << (i % 64));
                            for other in live.members(0) {
                                neighbours.insert(i, other);
                                neighbours.insert(other, i);
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        // The first of those that share gives the number.
        for i in (0..n).filter(|&i| self.stale[i]) {
            let ty = func.locals[self.locals[i]].ty;
            let first = (0..i).find(|&f| {
                let fits = self.stale[f] && self.places[f] == f && func.locals[self.locals[f]].ty == ty;
                fits && (f..i).all(|j| self.places[j] != f || !neighbours.contains(i, j))
            });
            if let Some(first) = first {
                self.places[i] = first;
            }
        }
    }

    /// Finds what goes stale and is live across safepoints.
    fn find_homes(&mut self, func: &Func, live_in: &Sets) {
        for data in func.blocks.values() {
            let mut live = Sets::new(1, self.locals.len());
            successors(&data.term, |s| {
                for (l, s) in live.row_mut(0).iter_mut().zip(live_in.row(s.index())) {
                    *l |= s;
                }
            });
            for inst in data.insts.iter().rev() {
                match inst.op {
                    Op::LocalGet(l) => {
                        if let Some(i) = self.get(l) {
                            live.insert(0, i);
                        }
                    }
                    Op::LocalSet(l, _) => {
                        if let Some(i) = self.get(l) {
                            live.row_mut(0)[i / 64] &= !(1 << (i % 64));
                        }
                    }
                    ref op if clobbers_references(op) => {
                        for i in live.members(0).filter(|&i| self.stale[i]) {
                            self.homes[i] = true;
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

/// May a collection move what references in registers refer to?
fn clobbers_references(op: &Op) -> bool {
    *op != Op::SafepointPoll && uses::is_safepoint(op)
}
