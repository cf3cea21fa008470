//! Clean-up of the control-flow graph: jumps over empty blocks, chains of blocks, blocks that are never reached.

use crate::ir::{Block, BlockData, Func, NO_IL, ProtectId, SiteId, Term, successors};
use cranelift_entity::{EntityRef, PrimaryMap};

/// Calls `f` with every target of a terminator, to change it.
pub(super) fn map_targets(term: &mut Term, mut f: impl FnMut(&mut Block)) {
    match term {
        Term::Jump(b) => f(b),
        Term::Branch { then, other, .. } => {
            f(then);
            f(other);
        }
        Term::Switch { targets, default, .. } => {
            targets.iter_mut().for_each(&mut f);
            f(default);
        }
        Term::Return(_) | Term::Unreachable => {}
    }
}

/// Which blocks can be reached from the entry, through exceptions, too.
pub(super) fn reachable(func: &Func) -> Vec<bool> {
    let mut seen = vec![false; func.blocks.len()];
    let mut protects_seen = vec![false; func.protects.len()];
    let mut work = vec![func.entry];
    while let Some(block) = work.pop() {
        if std::mem::replace(&mut seen[block.index()], true) {
            continue;
        }
        let data = &func.blocks[block];
        successors(&data.term, |s| work.push(s));
        if !std::mem::replace(&mut protects_seen[data.protect.index()], true) {
            work.extend(func.protects[data.protect].iter().map(|&c| func.clauses[c].handler));
        }
    }
    seen
}

/// Makes jumps to empty blocks go where those lead, joins blocks with their only successor where that has no other
/// predecessor, and removes what cannot be reached. Whether anything changed.
pub(super) fn simplify(func: &mut Func) -> bool {
    let mut changed = skip_empty(func);
    let live = reachable(func);
    changed |= merge_chains(func, &live);
    changed |= remove_unreachable(func);
    changed
}

fn skip_empty(func: &mut Func) -> bool {
    let target: Vec<Option<Block>> = func
        .blocks
        .values()
        .map(|data| match data.term {
            Term::Jump(to) if data.insts.is_empty() => Some(to),
            _ => None,
        })
        .collect();
    if target.iter().all(Option::is_none) {
        return false;
    }
    let resolve = |mut block: Block| {
        // Empty blocks may form a cycle.
        for _ in 0..8 {
            match target[block.index()] {
                Some(next) if next != block => block = next,
                _ => break,
            }
        }
        block
    };
    let mut changed = false;
    for data in func.blocks.values_mut() {
        map_targets(&mut data.term, |b| {
            let to = resolve(*b);
            changed |= to != *b;
            *b = to;
        });
        if let Term::Branch { then, other, .. } = data.term
            && then == other
        {
            data.term = Term::Jump(then);
            changed = true;
        }
    }
    changed
}

fn merge_chains(func: &mut Func, live: &[bool]) -> bool {
    let mut edges = vec![0u32; func.blocks.len()];
    for (block, data) in func.blocks.iter() {
        if live[block.index()] {
            successors(&data.term, |s| edges[s.index()] += 1);
        }
    }
    edges[func.entry.index()] += 1;
    for clause in func.clauses.values() {
        edges[clause.handler.index()] += 1;
    }
    let mut changed = false;
    for (index, _) in live.iter().enumerate().filter(|(_, live)| **live) {
        let block = Block::new(index);
        while let Term::Jump(next) = func.blocks[block].term {
            if next == block || edges[next.index()] != 1 || func.blocks[next].protect != func.blocks[block].protect {
                break;
            }
            edges[next.index()] = 0;
            let rest = std::mem::replace(&mut func.blocks[next], dead_block());
            let data = &mut func.blocks[block];
            data.insts.extend(rest.insts);
            data.term = rest.term;
            (data.term_il, data.term_site) = (rest.term_il, rest.term_site);
            data.cold |= rest.cold && index != func.entry.index();
            changed = true;
        }
    }
    changed
}

fn dead_block() -> BlockData {
    BlockData {
        insts: Vec::new(),
        term: Term::Unreachable,
        term_il: NO_IL,
        term_site: SiteId::ROOT,
        protect: ProtectId::new(0),
        cold: true,
        weight: None,
    }
}

fn remove_unreachable(func: &mut Func) -> bool {
    let live = reachable(func);
    let mut keep = live.clone();
    for clause in func.clauses.values() {
        keep[clause.handler.index()] = true;
    }
    if keep.iter().all(|&k| k) && live.iter().all(|&l| l) {
        return false;
    }
    let mut changed = false;
    let mut names = vec![Block::new(0); keep.len()];
    let mut blocks = PrimaryMap::new();
    for (block, data) in std::mem::take(&mut func.blocks) {
        if !keep[block.index()] {
            changed = true;
            continue;
        }
        // The handler of a clause that protects nothing must exist.
        names[block.index()] = blocks.push(if live[block.index()] { data } else { dead_block() });
    }
    for data in blocks.values_mut() {
        map_targets(&mut data.term, |b| *b = names[b.index()]);
    }
    func.blocks = blocks;
    func.entry = names[func.entry.index()];
    for clause in func.clauses.values_mut() {
        clause.handler = names[clause.handler.index()];
    }
    changed
}

/// A block without instructions, under the protection of another one.
pub(super) fn new_block(func: &mut Func, like: Block) -> Block {
    let data = &func.blocks[like];
    let data = BlockData {
        insts: Vec::new(),
        term: Term::Unreachable,
        term_il: data.term_il,
        term_site: data.term_site,
        protect: data.protect,
        cold: data.cold,
        weight: None,
    };
    func.blocks.push(data)
}
