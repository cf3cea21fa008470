//! Dominators and natural loops.
//!
//! An exception may leave a protected block between any two instructions, so nothing that a block does is certain to have
//! happened in its handlers: the entry of a handler is a root of the dominator forest, as the function's entry is.

use crate::ir::{Block, Func, successors};
use cranelift_entity::EntityRef;
use smallvec::SmallVec;

const NONE: u32 = u32::MAX;

/// Predecessors, order and dominators of the blocks that are reached.
pub(super) struct Graph {
    /// By block: where control comes from, once for each edge.
    pub preds: Vec<SmallVec<[Block; 2]>>,
    /// Reached blocks in reverse post-order.
    pub order: Vec<Block>,
    /// By block: position in `order`, or `NONE`.
    position: Vec<u32>,
    /// By block: the next dominator, or `NONE` for roots.
    idom: Vec<u32>,
    /// By block: times of entering and leaving it in a walk over the dominator forest.
    span: Vec<(u32, u32)>,
    /// By block: is it the entry of a handler?
    pub handlers: Vec<bool>,
}

impl Graph {
    /// Analyses a function.
    pub fn of(func: &Func) -> Graph {
        let n = func.blocks.len();
        let mut handlers = vec![false; n];
        for clause in func.clauses.values() {
            handlers[clause.handler.index()] = true;
        }
        let order = reverse_post_order(func);
        let mut position = vec![NONE; n];
        for (i, block) in order.iter().enumerate() {
            position[block.index()] = i as u32;
        }
        let mut preds: Vec<SmallVec<[Block; 2]>> = vec![SmallVec::new(); n];
        for &block in &order {
            successors(&func.blocks[block].term, |s| preds[s.index()].push(block));
        }
        let mut graph = Graph {
            preds,
            order,
            position,
            idom: vec![NONE; n],
            span: vec![(0, 0); n],
            handlers,
        };
        graph.dominators(func.entry);
        graph.number();
        graph
    }

    /// Is the block reached from the entry?
    pub fn is_reached(&self, block: Block) -> bool {
        self.position[block.index()] != NONE
    }

    /// Does every path to `b` go through `a`? (`a` may be `b`.)
    pub fn dominates(&self, a: Block, b: Block) -> bool {
        let ((from, to), (x, y)) = (self.span[a.index()], self.span[b.index()]);
        self.is_reached(a) && self.is_reached(b) && from <= x && y <= to
    }

    /// The closest of the blocks that dominate `block` besides itself.
    pub fn idom(&self, block: Block) -> Option<Block> {
        let i = self.idom[block.index()];
        (i != NONE).then(|| Block::new(i as usize))
    }

    /// The algorithm of Cooper, Harvey and Kennedy, with a virtual root above entry and handlers.
    fn dominators(&mut self, entry: Block) {
        let root = self.order.len() as u32;
        // By position; `root` is the virtual root, which counts as earlier than all others.
        let mut idom = vec![NONE; self.order.len()];
        let is_root: Vec<bool> = self
            .order
            .iter()
            .map(|&b| b == entry || self.handlers[b.index()])
            .collect();
        let rank = |p: u32| if p == root { -1 } else { i64::from(p) };
        let mut changed = true;
        while changed {
            changed = false;
            for (i, &block) in self.order.iter().enumerate() {
                let mut new = if is_root[i] { root } else { NONE };
                for p in &self.preds[block.index()] {
                    let p = self.position[p.index()];
                    if idom[p as usize] == NONE {
                        continue;
                    }
                    if new == NONE {
                        new = p;
                        continue;
                    }
                    let mut p = p;
                    while p != new {
                        if rank(p) > rank(new) {
                            p = idom[p as usize];
                        } else {
                            new = idom[new as usize];
                        }
                    }
                }
                if idom[i] != new {
                    idom[i] = new;
                    changed = true;
                }
            }
        }
        for (i, &block) in self.order.iter().enumerate() {
            if idom[i] != root && idom[i] != NONE {
                self.idom[block.index()] = self.order[idom[i] as usize].as_u32();
            }
        }
    }

    fn number(&mut self) {
        let mut children: Vec<Vec<Block>> = vec![Vec::new(); self.idom.len()];
        let mut roots = Vec::new();
        for &block in &self.order {
            match self.idom(block) {
                Some(parent) => children[parent.index()].push(block),
                None => roots.push(block),
            }
        }
        let mut time = 0;
        let mut work: Vec<(Block, bool)> = roots.into_iter().map(|b| (b, false)).collect();
        while let Some((block, leave)) = work.pop() {
            time += 1;
            if leave {
                self.span[block.index()].1 = time;
                continue;
            }
            self.span[block.index()].0 = time;
            work.push((block, true));
            work.extend(children[block.index()].iter().map(|&c| (c, false)));
        }
    }
}

pub(super) fn reverse_post_order(func: &Func) -> Vec<Block> {
    let mut seen = vec![false; func.blocks.len()];
    let mut protects_seen = vec![false; func.protects.len()];
    let mut out = Vec::new();
    let mut work = vec![(func.entry, false)];
    while let Some((block, leave)) = work.pop() {
        if leave {
            out.push(block);
            continue;
        }
        if std::mem::replace(&mut seen[block.index()], true) {
            continue;
        }
        work.push((block, true));
        let data = &func.blocks[block];
        if !std::mem::replace(&mut protects_seen[data.protect.index()], true) {
            let clauses = &func.protects[data.protect];
            work.extend(clauses.iter().map(|&c| (func.clauses[c].handler, false)));
        }
        successors(&data.term, |s| work.push((s, false)));
    }
    out.reverse();
    out
}

/// A natural loop: the blocks from which a back-edge to the header is reached without passing the header.
#[derive(Debug, Clone)]
pub(super) struct Loop {
    /// Dominates the others; every iteration starts here.
    pub header: Block,
    /// All of them, the header first.
    pub blocks: Vec<Block>,
    /// No other loop is inside.
    pub innermost: bool,
}

/// All natural loops, inner ones before the loops around them.
pub(super) fn natural_loops(graph: &Graph) -> Vec<Loop> {
    let mut out: Vec<Loop> = Vec::new();
    for &header in &graph.order {
        let latches: SmallVec<[Block; 2]> = graph.preds[header.index()]
            .iter()
            .copied()
            .filter(|&p| graph.dominates(header, p))
            .collect();
        if latches.is_empty() {
            continue;
        }
        let mut blocks = vec![header];
        let mut seen = vec![false; graph.preds.len()];
        seen[header.index()] = true;
        let mut work: Vec<Block> = latches.to_vec();
        while let Some(block) = work.pop() {
            if std::mem::replace(&mut seen[block.index()], true) {
                continue;
            }
            blocks.push(block);
            work.extend(graph.preds[block.index()].iter().copied());
        }
        out.push(Loop {
            header,
            blocks,
            innermost: true,
        });
    }
    let headers: Vec<Block> = out.iter().map(|l| l.header).collect();
    for l in &mut out {
        l.innermost = !headers.iter().any(|&h| h != l.header && l.blocks.contains(&h));
    }
    out.sort_by_key(|l| l.blocks.len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::FuncBuilder;
    use crate::host_api::Signature;
    use crate::ir::Term;

    fn graph(edges: &[&[u32]]) -> (Func, Graph) {
        let signature = Signature {
            has_this: false,
            ret: crate::ids::TypeId(0),
            params: [].into(),
            convention: crate::host_api::Convention::Managed,
        };
        let mut builder = FuncBuilder::empty("t".into(), None, signature);
        for _ in 1..edges.len() {
            builder.create_block();
        }
        let mut func = builder.finish();
        for (i, targets) in edges.iter().enumerate() {
            let to = |n: u32| Block::from_u32(n);
            let value = crate::ir::Value::from_u32(0);
            func.blocks[Block::new(i)].term = match **targets {
                [] => Term::Return(None),
                [a] => Term::Jump(to(a)),
                [a, b, ..] => Term::Branch {
                    cond: value,
                    then: to(a),
                    other: to(b),
                },
            };
        }
        let graph = Graph::of(&func);
        (func, graph)
    }

    #[test]
    fn nested_loops_and_dominators() {
        // 0 -> 1; 1 -> 2, 5; 2 -> 3; 3 -> 3, 4; 4 -> 1; 5.
        let (_, g) = graph(&[&[1], &[2, 5], &[3], &[3, 4], &[1], &[]]);
        let b = Block::from_u32;
        assert!(g.dominates(b(1), b(5)) && g.dominates(b(3), b(4)));
        assert!(!g.dominates(b(2), b(5)) && !g.dominates(b(4), b(1)));
        let loops = natural_loops(&g);
        assert_eq!(loops.len(), 2);
        assert_eq!((loops[0].header, loops[0].innermost), (b(3), true));
        assert_eq!((loops[1].header, loops[1].blocks.len()), (b(1), 4));
        assert!(!loops[1].innermost);
    }
}
