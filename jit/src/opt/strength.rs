//! Strength reduction: where a loop multiplies its counter by the size of an element, a second counter of bytes goes along.
//!
//! Sizes of 1, 2, 4 and 8 bytes are part of addresses and are left alone. What goes along is an integer, the distance from the
//! object's start or from the first element: the address is made of it and of the object where it is used, so a moving collector has nothing to correct, and no
//! pointer past an object's end is kept.
//!
//! Loops with calls are left alone: a register that lives across them costs more than a multiplication.
//!
//! The byte counter has 64 bits and does not overflow when the counter does; so it must be certain that the counter does not:
//! it is never negative (then an overflow would show), or every iteration uses it as the index of an element, which is less than the
//! longest array's length.

use super::dead;
use super::hoist::make_preheader;
use super::loops::{Graph, Loop, natural_loops};
use super::prover::{At, Prover};
use super::ssa_view::{Expr, Num, View};
use crate::host_api::CompilerHost;
use crate::ids::TypeId;
use crate::ir::*;

/// Offset of the first element of an array.
const ARRAY_DATA: i64 = 16;
/// The most byte counters of a loop: each takes a register.
const MAX_COUNTERS: usize = 3;
/// The most loops of one function.
const MAX_LOOPS: usize = 40;
/// Counters that go by more, and elements that are further from the counter, are left alone; see the module.
const MAX_DISTANCE: i64 = 16;
/// Larger elements are left alone.
const MAX_SIZE: i64 = 1 << 16;

/// The pass.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) {
    if !func.blocks.values().any(|data| has_products(func, data)) {
        return;
    }
    let graph = Graph::of(func);
    let loops = natural_loops(&graph);
    if loops.is_empty() {
        return;
    }
    let Some(view) = View::of(func, host, &graph) else {
        return;
    };
    let prover = Prover::new(func, &view, &graph);
    let mut plans = Vec::new();
    // Blocks of the loops inside: what does not change there is moved out of them.
    let mut inside = vec![false; func.blocks.len()];
    for l in loops.iter().take(MAX_LOOPS) {
        if !has_calls(func, l) {
            let counters = plan(func, &graph, &view, &prover, l, &inside);
            plans.extend((!counters.is_empty()).then_some((l, counters)));
        }
        for block in &l.blocks {
            inside[block.as_u32() as usize] = true;
        }
    }
    if plans.is_empty() {
        return;
    }
    for (l, counters) in plans {
        if let Some(before) = make_preheader(func, &graph, l) {
            counters.into_iter().for_each(|counter| apply(func, before, counter));
        }
    }
    dead::run(func);
}

/// Is there something that this pass knows to reduce?
fn has_products(func: &Func, data: &BlockData) -> bool {
    data.insts.iter().any(|inst| match inst.op {
        Op::ElemAddr { size, .. } => is_reducible(i64::from(size)),
        Op::Bin(BinOp::Mul, a, b) => {
            let is_size = |i: &Inst| matches!(i.op, Op::IConst(n) if is_reducible(n) && !is_power_of_two(n));
            inst.result.is_some_and(|r| func.values[r] == Ty::I64)
                && data
                    .insts
                    .iter()
                    .any(|i| i.result.is_some_and(|r| r == a || r == b) && is_size(i))
        }
        _ => false,
    })
}

fn is_reducible(size: i64) -> bool {
    !matches!(size, 1 | 2 | 4 | 8) && (3..=MAX_SIZE).contains(&size)
}

/// Does an iteration call anything, but for seldom ways?
fn has_calls(func: &Func, l: &Loop) -> bool {
    let warm = l.blocks.iter().map(|&b| &func.blocks[b]).filter(|data| !data.cold);
    let mut insts = warm.flat_map(|data| &data.insts);
    insts.any(|i| matches!(i.op, Op::Call { .. } | Op::CallHelper { .. }))
}

/// A multiplication of a loop's counter.
#[derive(Clone, Copy, Debug)]
struct Use {
    block: Block,
    result: Value,
    /// The array whose element it is the address of; of other products `None`.
    array: Option<Value>,
    /// Added to the counter.
    distance: i64,
}

/// A counter of bytes.
#[derive(Debug)]
struct ByteCounter {
    latches: Vec<Block>,
    counter: Local,
    step: i64,
    size: i64,
    uses: Vec<Use>,
}

fn plan(func: &Func, graph: &Graph, view: &View, prover: &Prover<'_>, l: &Loop, inside: &[bool]) -> Vec<ByteCounter> {
    let preds = graph.preds[l.header.as_u32() as usize].iter().copied();
    let latches: Vec<Block> = preds.filter(|p| l.blocks.contains(p)).collect();
    // What is added at their ends must not be seen in the same iteration.
    let mut ends = true;
    for &latch in &latches {
        successors(&func.blocks[latch].term, |s| {
            ends &= s == l.header || !l.blocks.contains(&s)
        });
    }
    if !ends {
        return Vec::new();
    }
    let mut counters: Vec<ByteCounter> = Vec::new();
    for &block in &l.blocks {
        let data = &func.blocks[block];
        if inside[block.as_u32() as usize] || data.cold {
            continue;
        }
        for inst in &data.insts {
            let Some((num, size, array)) = product(view, inst) else {
                continue;
            };
            let Some(result) = inst.result else { continue };
            let Some((counter, distance)) = counter_of(view, l.header, num) else {
                continue;
            };
            let known = counters.iter().position(|c| c.counter == counter && c.size == size);
            let at = match known {
                Some(at) => at,
                None => {
                    let Some(step) = step(view, &latches, l.header, counter) else {
                        continue;
                    };
                    counters.push(ByteCounter {
                        latches: latches.clone(),
                        counter,
                        step,
                        size,
                        uses: Vec::new(),
                    });
                    counters.len() - 1
                }
            };
            counters[at].uses.push(Use {
                block,
                result,
                array,
                distance,
            });
        }
    }
    for c in &mut counters {
        let is_never_negative = view
            .find(&Expr::Phi(l.header, c.counter))
            .zip(view.find(&Expr::Int(Ty::I32, 0)))
            .is_some_and(|(phi, zero)| prover.compare(Cond::Ge, phi, zero, At::before(l.header, 0)) == Some(true));
        let in_each = |u: &Use| u.array.is_some() && latches.iter().all(|&b| graph.dominates(u.block, b));
        if is_never_negative {
            // (Of a product it is not known that the sum fits.)
            c.uses.retain(|u| u.array.is_some() || u.distance == 0);
        } else if c.uses.iter().any(in_each) {
            c.uses.retain(|u| u.array.is_some());
        } else {
            c.uses.clear();
        }
    }
    counters.retain(|c| !c.uses.is_empty());
    counters.truncate(MAX_COUNTERS);
    counters
}

/// The 32-bit number that an instruction multiplies, by what, and the array if the product becomes the address of an element.
fn product(view: &View, inst: &Inst) -> Option<(Num, i64, Option<Value>)> {
    match inst.op {
        Op::ElemAddr { array, index, size } if is_reducible(i64::from(size)) => {
            Some((view.num(index), i64::from(size), Some(array)))
        }
        Op::Bin(BinOp::Mul, ..) => {
            let Expr::Bin(Ty::I64, BinOp::Mul, a, b) = *view.expr(view.num(inst.result?)) else {
                return None;
            };
            let size = view.int(b)?;
            match *view.expr(a) {
                Expr::Conv(ConvOp::SextI64 | ConvOp::ZextI64, num) if is_reducible(size) && !is_power_of_two(size) => {
                    Some((num, size, None))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Such products are shifts.
fn is_power_of_two(size: i64) -> bool {
    size & (size - 1) == 0
}

/// The local whose value at the header the number is, and what is added to it.
fn counter_of(view: &View, header: Block, num: Num) -> Option<(Local, i64)> {
    match *view.expr(num) {
        Expr::Phi(block, local) if block == header && view.ty(num) == Ty::I32 => Some((local, 0)),
        Expr::Bin(Ty::I32, BinOp::Add, a, b) => {
            let distance = view.int(b)?;
            match *view.expr(a) {
                Expr::Phi(block, local) if block == header && distance.abs() <= MAX_DISTANCE => Some((local, distance)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// How a counter changes from iteration to iteration.
fn step(view: &View, latches: &[Block], header: Block, counter: Local) -> Option<i64> {
    let mut step = None;
    for &latch in latches {
        let (local, distance) = counter_of(view, header, view.at_end(latch, counter)?)?;
        if local != counter || distance == 0 || *step.get_or_insert(distance) != distance {
            return None;
        }
    }
    step
}

fn apply(func: &mut Func, before: Block, c: ByteCounter) {
    let bytes = func.locals.push(LocalData {
        ty: Ty::I64,
        type_id: TypeId(0),
        pinned: false,
        zero_init: false,
    });
    let (il, site) = (func.blocks[before].term_il, func.blocks[before].term_site);
    let mut code = Code {
        values: &mut func.values,
        insts: Vec::new(),
        il,
        site,
    };
    let counter = code.emit(Op::LocalGet(c.counter), Ty::I32);
    let counter = code.emit(Op::Conv(ConvOp::SextI64, counter), Ty::I64);
    let size = code.emit(Op::IConst(c.size), Ty::I64);
    let mut first = code.emit(Op::Bin(BinOp::Mul, counter, size), Ty::I64);
    // Distances from the object's start, unless other pointers need them, too.
    let included = match c.uses.iter().all(|u| u.array.is_some()) {
        true => ARRAY_DATA,
        false => 0,
    };
    if included != 0 {
        let data = code.emit(Op::IConst(included), Ty::I64);
        first = code.emit(Op::Bin(BinOp::Add, first, data), Ty::I64);
    }
    code.set(bytes, first);
    let insts = code.insts;
    func.blocks[before].insts.extend(insts);
    for latch in c.latches {
        let data = &mut func.blocks[latch];
        let mut code = Code {
            values: &mut func.values,
            insts: Vec::new(),
            il: data.term_il,
            site: data.term_site,
        };
        let old = code.emit(Op::LocalGet(bytes), Ty::I64);
        let step = code.emit(Op::IConst(c.step * c.size), Ty::I64);
        let new = code.emit(Op::Bin(BinOp::Add, old, step), Ty::I64);
        code.set(bytes, new);
        data.insts.append(&mut code.insts);
    }
    for u in c.uses {
        let data = &mut func.blocks[u.block];
        let Some(i) = data.insts.iter().position(|i| i.result == Some(u.result)) else {
            continue;
        };
        let inst = &data.insts[i];
        let mut code = Code {
            values: &mut func.values,
            insts: Vec::new(),
            il: inst.il,
            site: inst.site,
        };
        let op = match u.array {
            None => Op::LocalGet(bytes),
            Some(array) => {
                let object = code.emit(Op::Conv(ConvOp::RefToByRef, array), Ty::ByRef);
                let distance = code.emit(Op::LocalGet(bytes), Ty::I64);
                match ARRAY_DATA - included + u.distance * c.size {
                    0 => Op::PtrAdd(object, distance),
                    rest => {
                        let at = code.emit(Op::PtrAdd(object, distance), Ty::ByRef);
                        let rest = code.emit(Op::IConst(rest), Ty::I64);
                        Op::PtrAdd(at, rest)
                    }
                }
            }
        };
        let insts = code.insts;
        data.insts[i].op = op;
        data.insts.splice(i..i, insts);
    }
}

/// New instructions.
struct Code<'a> {
    values: &'a mut cranelift_entity::PrimaryMap<Value, Ty>,
    insts: Vec<Inst>,
    il: u32,
    site: SiteId,
}

impl Code<'_> {
    fn emit(&mut self, op: Op, ty: Ty) -> Value {
        let value = self.values.push(ty);
        self.insts.push(Inst {
            op,
            result: Some(value),
            il: self.il,
            site: self.site,
        });
        value
    }

    fn set(&mut self, local: Local, value: Value) {
        self.insts.push(Inst {
            op: Op::LocalSet(local, value),
            result: None,
            il: self.il,
            site: self.site,
        });
    }
}
