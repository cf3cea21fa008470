//! Profiles of blocks: how often control took which way.
//!
//! Instrumented Tier-0 code counts ([`Op::CountBlock`]) the calls and, of each branch, all ways but one: what goes in comes out,
//! so the rest follows from these (`opt/weights.rs`). The host keeps the counters of a method, named by IL offset, for
//! [`CompilerHost::block_counts`].

use crate::host_api::CompilerHost;
use crate::ir::*;
use cranelift_entity::EntityRef;

/// Functions with more counters than this are not counted: it would make them too large.
const MAX_COUNTERS: usize = 256;

/// Is there anything to learn: a branch both of whose ways may be taken?
pub fn has_branches(func: &Func) -> bool {
    func.blocks.values().any(|data| is_decision(func, &data.term))
}

/// Ways that do not raise at once.
fn is_decision(func: &Func, term: &Term) -> bool {
    let mut ways = 0;
    successors(term, |b| ways += usize::from(!is_cold(&func.blocks[b])));
    ways > 1
}

fn is_cold(data: &BlockData) -> bool {
    data.cold || matches!(data.term, Term::Unreachable)
}

/// The blocks to count, with their IL offsets.
fn counted(func: &Func) -> Vec<(u32, Block)> {
    let mut edges = vec![0u32; func.blocks.len()];
    for data in func.blocks.values() {
        successors(&data.term, |b| edges[b.index()] += 1);
    }
    let mut wanted = vec![false; func.blocks.len()];
    wanted[func.entry.index()] = true;
    if let Term::Jump(first) = func.blocks[func.entry].term {
        wanted[first.index()] = true;
    }
    for data in func.blocks.values().filter(|data| is_decision(func, &data.term)) {
        // One way needs no counter: one that joins others, else the last. Ways that join others do not tell anything alone.
        let (mut alone, mut joined) = (Vec::new(), Vec::new());
        successors(&data.term, |b| {
            if edges[b.index()] == 1 {
                alone.push(b)
            } else {
                joined.push(b)
            }
        });
        match joined.len() {
            0 => drop(alone.pop()),
            1 => {}
            _ => alone.append(&mut joined),
        }
        alone.iter().for_each(|b| wanted[b.index()] = true);
    }
    let mut blocks: Vec<(u32, Block)> = func
        .il_blocks
        .iter()
        .copied()
        .filter(|&(_, b)| wanted[b.index()] && !is_cold(&func.blocks[b]))
        .collect();
    blocks.sort_unstable();
    blocks.dedup_by_key(|b| b.0);
    blocks
}

/// Makes a function, as it was imported, count its blocks. Whether it does.
pub fn instrument(func: &mut Func, host: &dyn CompilerHost) -> bool {
    let Some(method) = func.method else { return false };
    let blocks = counted(func);
    if blocks.len() < 2 || blocks.len() > MAX_COUNTERS {
        return false;
    }
    let offsets: Vec<u32> = blocks.iter().map(|b| b.0).collect();
    let Some(cells) = host.block_counters(method, &offsets) else {
        return false;
    };
    for ((_, block), i) in blocks.into_iter().zip(0..) {
        let insts = &mut func.blocks[block].insts;
        // A patchpoint stays first.
        let at = usize::from(matches!(
            insts.first(),
            Some(Inst {
                op: Op::Patchpoint { .. },
                ..
            })
        ));
        let count = Inst {
            op: Op::CountBlock { cell: cells + i * 4 },
            result: None,
            il: NO_IL,
            site: SiteId::ROOT,
        };
        insts.insert(at, count);
    }
    true
}
