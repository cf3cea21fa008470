//! What is worth inlining.
//!
//! The measure is IR instructions of the callee as it was imported for its exact type arguments, where tests of types and
//! constants have already been decided: a better guess at machine code than IL bytes.

use crate::host_api::MethodInfo;
use crate::ir::{Block, Func, Helper, Op, SiteId, Term};

/// Callees of this size are no larger than the call they replace.
const ALWAYS: usize = 16;
/// Without a hint, larger callees stay calls.
const USUAL: usize = 40;
/// The same for calls in loops, and for callees that get addresses of the caller's locals, which can then live in registers.
const FAVOURED: usize = 80;
/// The same for calls that the profile shows to be [`HOT`].
const FAVOURED_HOT: usize = 120;
/// Calls for each call of the function that make a call hot.
const HOT: f32 = 10.0;
/// Calls for each call of the function that a call needs to be worth more than [`ALWAYS`].
const RARE: f32 = 0.02;
/// With `AggressiveInlining`.
const AGGRESSIVE: usize = 600;
/// IL bytes beyond which a callee is not even imported.
pub(super) const MAX_IL: usize = 300;
/// The same with `AggressiveInlining`.
pub(super) const MAX_IL_AGGRESSIVE: usize = 4000;
/// Calls nested in inlined code.
const MAX_DEPTH: usize = 14;
/// A function does not grow beyond this.
const MAX_INSTRUCTIONS: usize = 6000;
/// Growth beyond this only for callees of [`ALWAYS`] or with a hint.
const USUAL_GROWTH: usize = 2500;

/// Counts what a callee costs: cold blocks hardly matter.
pub(super) fn size(func: &Func) -> usize {
    let insts = func.blocks.values().filter(|b| !is_cold(b)).flat_map(|b| &b.insts);
    let cost = |op: &Op| match op {
        Op::LocalGet(_) | Op::LocalAddr(_) | Op::IConst(_) | Op::FConst(_) | Op::Null | Op::LocalSet(..) => 0,
        Op::Call { args, .. } => 3 + args.len(),
        Op::CallHelper { args, .. } => 2 + args.len(),
        _ => 1,
    };
    insts.map(|i| cost(&i.op)).sum::<usize>() + func.blocks.len()
}

fn is_cold(block: &crate::ir::BlockData) -> bool {
    block.cold || matches!(block.term, Term::Unreachable)
}

/// What the decision depends on.
pub(super) struct Candidate<'a> {
    pub info: &'a MethodInfo,
    pub callee_size: usize,
    pub caller_size: usize,
    pub first_size: usize,
    pub in_loop: bool,
    /// How often the call runs for each call of the function, if the profile tells.
    pub heat: Option<f32>,
    /// An argument is the address of a local of the caller.
    pub local_address: bool,
    pub constant_argument: bool,
    /// The callee has a loop.
    pub loops: bool,
    pub depth: usize,
}

/// How often a block runs for each call of the function, if the profile tells. In a replaced loop a call is an iteration.
pub(super) fn heat(func: &Func, block: Block) -> Option<f32> {
    let of = |b: Block| func.blocks[b].weight;
    let entry = match (of(func.entry), &func.blocks[func.entry].term) {
        (None, Term::Jump(next)) => of(*next)?,
        (entry, _) => entry?,
    };
    (entry > 0.0).then_some(of(block)? / entry)
}

/// Whether to inline; the reason if not.
pub(super) fn decide(c: &Candidate<'_>) -> Result<(), &'static str> {
    if c.depth > MAX_DEPTH {
        return Err("nested too deeply");
    }
    if c.caller_size + c.callee_size > MAX_INSTRUCTIONS {
        return Err("the caller is too large");
    }
    if c.info.aggressive_inlining {
        return if c.callee_size <= AGGRESSIVE {
            Ok(())
        } else {
            Err("too large in spite of the hint")
        };
    }
    if c.callee_size <= ALWAYS {
        return Ok(());
    }
    if c.heat.is_some_and(|heat| heat < RARE) {
        return Err("the call is rare or never ran");
    }
    if c.caller_size > c.first_size + USUAL_GROWTH {
        return Err("the budget is used up");
    }
    if c.loops && !c.local_address {
        // The call costs little beside the loop, which gets the registers for itself.
        return Err("it has a loop");
    }
    let favoured = c.in_loop || c.local_address || c.constant_argument;
    let limit = match c.heat {
        Some(heat) if heat >= HOT => FAVOURED_HOT,
        _ if favoured => FAVOURED,
        _ => USUAL,
    };
    if c.callee_size <= limit {
        Ok(())
    } else {
        Err("too large")
    }
}

/// Does control never come back from a call of `func`?
pub(super) fn never_returns(func: &Func) -> bool {
    !func.blocks.values().any(|b| matches!(b.term, Term::Return(_)))
}

/// Why a body cannot be pasted into another function, whatever its size.
pub(super) fn obstacle(func: &Func) -> Option<&'static str> {
    if !func.clauses.is_empty() {
        return Some("it has exception handlers");
    }
    for inst in func.blocks.values().flat_map(|b| &b.insts) {
        match &inst.op {
            Op::LocAlloc { .. } => return Some("it uses localloc"),
            Op::Call { tail: true, .. } => return Some("it makes a tail. call"),
            Op::CallHelper { helper, .. } => match helper {
                Helper::ThrowDeferred => return Some("something in it cannot be loaded"),
                Helper::EnterPreemptive | Helper::TailCall => return Some("it calls native code"),
                Helper::MonitorEnter | Helper::MonitorExit => return Some("it is synchronized"),
                _ => {}
            },
            _ => {}
        }
    }
    None
}

/// How deep in inlined code an instruction is, and whether `method` is among the methods around it.
pub(super) fn nesting(func: &Func, mut site: SiteId, method: crate::ids::MethodId) -> (usize, bool) {
    let mut depth = 0;
    while let Some(call) = (site.as_u32() as usize).checked_sub(1).and_then(|i| func.sites.get(i)) {
        if call.method == method {
            return (depth, true);
        }
        depth += 1;
        site = call.parent;
    }
    (depth, func.method == Some(method))
}

/// Which blocks are in loops.
pub(super) fn blocks_in_loops(func: &Func) -> Vec<bool> {
    use cranelift_entity::EntityRef;
    // Depth-first numbering: a block is in a loop if a block reached from it closes a cycle back to it or before it.
    let n = func.blocks.len();
    let mut state = vec![0u8; n];
    let mut order = Vec::with_capacity(n);
    let mut headers = Vec::new();
    let mut predecessors: Vec<Vec<Block>> = vec![Vec::new(); n];
    for (block, data) in func.blocks.iter() {
        crate::ir::successors(&data.term, |s| predecessors[s.index()].push(block));
    }
    let mut stack = vec![(func.entry, false)];
    stack.extend(func.clauses.values().map(|c| (c.handler, false)));
    while let Some((block, done)) = stack.pop() {
        if done {
            state[block.index()] = 2;
            order.push(block);
            continue;
        }
        if state[block.index()] != 0 {
            continue;
        }
        state[block.index()] = 1;
        stack.push((block, true));
        crate::ir::successors(&func.blocks[block].term, |s| match state[s.index()] {
            0 => stack.push((s, false)),
            1 => headers.push((s, block)),
            _ => {}
        });
    }
    let mut in_loop = vec![false; n];
    for (header, latch) in headers {
        // The natural loop: what reaches the latch without passing the header.
        in_loop[header.index()] = true;
        let mut work = vec![latch];
        while let Some(b) = work.pop() {
            if !std::mem::replace(&mut in_loop[b.index()], true) {
                work.extend(&predecessors[b.index()]);
            }
        }
    }
    in_loop
}
