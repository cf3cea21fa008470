//! Locals that live in registers.
//!
//! A scalar local without references whose address is never taken and that no handler or filter sees becomes a set of SSA
//! values: each block has one parameter for every such local that is live at its start. At most 64 locals (the most used
//! ones) are promoted, so that a set of them is one word.

use crate::ir::{Block, Func, Local, Op, Ty, successors};
use cranelift_entity::EntityRef;

/// Not promoted.
const NO: u8 = u8::MAX;
/// Functions with more blocks keep their locals in memory: too many block parameters slow the allocator down.
const MAX_BLOCKS: usize = 4000;

/// Which locals are promoted and where they are live.
#[derive(Debug, Default)]
pub(super) struct Promotion {
    index: Vec<u8>,
    /// Promoted locals by index.
    pub locals: Vec<Local>,
    /// By block: locals that are live at its start, as bits.
    live_in: Vec<u64>,
}

impl Promotion {
    /// Index of a promoted local.
    pub fn get(&self, local: Local) -> Option<usize> {
        self.index
            .get(local.index())
            .copied()
            .filter(|&i| i != NO)
            .map(usize::from)
    }

    /// Indices of the promoted locals that are live at the start of a block, ascending.
    pub fn live_in(&self, block: Block) -> impl Iterator<Item = usize> + use<> {
        let mut bits = self.live_in.get(block.index()).copied().unwrap_or(0);
        std::iter::from_fn(move || {
            let next = bits.trailing_zeros() as usize;
            bits &= bits.wrapping_sub(1);
            (next < 64).then_some(next)
        })
    }

    /// Nothing is promoted.
    pub fn none(func: &Func) -> Promotion {
        Promotion {
            index: vec![NO; func.locals.len()],
            locals: Vec::new(),
            live_in: vec![0; func.blocks.len()],
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
                matches!(data.ty, Ty::I32 | Ty::I64 | Ty::F32 | Ty::F64)
                    && !exposed[l.index()]
                    && !data.pinned
                    && l.index() >= func.parent_locals.unwrap_or(0)
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
        for inst in func.blocks.values().flat_map(|b| &b.insts) {
            if let Op::LocalGet(l) | Op::LocalSet(l, _) = inst.op
                && let Some(n) = uses.get_mut(l.index())
            {
                *n += 1;
            }
        }
        let mut chosen: Vec<usize> = (0..count).filter(|&i| candidate[i] && uses[i] > 0).collect();
        if chosen.len() > 64 {
            chosen.sort_by_key(|&i| (std::cmp::Reverse(uses[i]), i));
            chosen.truncate(64);
            chosen.sort_unstable();
        }
        promotion.assign(chosen);
        promotion.compute_liveness(func);

        // What a handler needs must be in memory.
        let mut seen_by_handlers = 0u64;
        for clause in func.clauses.values() {
            seen_by_handlers |= promotion.live_in.get(clause.handler.index()).copied().unwrap_or(0);
        }
        if seen_by_handlers != 0 {
            let kept: Vec<usize> = promotion
                .locals
                .iter()
                .enumerate()
                .filter(|(i, _)| seen_by_handlers & (1 << i) == 0)
                .map(|(_, l)| l.index())
                .collect();
            promotion.index.fill(NO);
            promotion.assign(kept);
            promotion.compute_liveness(func);
        }
        promotion
    }

    fn assign(&mut self, chosen: Vec<usize>) {
        for (i, &local) in chosen.iter().enumerate() {
            self.index[local] = i as u8;
        }
        self.locals = chosen.into_iter().map(Local::new).collect();
    }

    fn compute_liveness(&mut self, func: &Func) {
        let n = func.blocks.len();
        self.live_in = vec![0; n];
        if self.locals.is_empty() {
            return;
        }
        let mut used = vec![0u64; n];
        let mut defined = vec![0u64; n];
        let mut predecessors: Vec<Vec<u32>> = vec![Vec::new(); n];
        for (block, data) in func.blocks.iter() {
            let b = block.index();
            for inst in &data.insts {
                match inst.op {
                    Op::LocalGet(l) => {
                        if let Some(i) = self.get(l) {
                            used[b] |= (1 << i) & !defined[b];
                        }
                    }
                    Op::LocalSet(l, _) => {
                        if let Some(i) = self.get(l) {
                            defined[b] |= 1 << i;
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
        self.live_in.copy_from_slice(&used);
        let mut work: Vec<u32> = (0..n as u32).filter(|&b| used[b as usize] != 0).collect();
        while let Some(b) = work.pop() {
            let live = self.live_in[b as usize];
            for &p in &predecessors[b as usize] {
                let p = p as usize;
                let new = self.live_in[p] | (live & !defined[p]);
                if new != self.live_in[p] {
                    self.live_in[p] = new;
                    work.push(p as u32);
                }
            }
        }
    }
}
