//! Removes loads of what is known: it was loaded or stored before, and nothing has written it since.
//!
//! As the .NET memory model allows, a load may take its value from an earlier one, but none moves to where there was none, and none
//! moves in front of a volatile load, a lock or a call.

use super::dead;
use super::loops::{Graph, natural_loops};
use super::memory;
use super::ssa_view::{Expr, Num, View};
use crate::host_api::CompilerHost;
use crate::ids::TypeId;
use crate::ir::*;
use rustc_hash::FxHashMap;

/// Of the values with one number, this many are tried, the closest first.
const MAX_TRIES: usize = 8;
/// The most values of a function that are kept in new locals.
const MAX_LOCALS: usize = 200;

/// A value and where it is defined.
#[derive(Clone, Copy)]
struct Known {
    value: Value,
    block: Block,
}

/// What becomes of a load.
enum Change {
    /// A constant.
    Op(Op),
    /// A value of the same block, perhaps truncated.
    Same(Value, Option<ConvOp>),
    /// A value of a block that dominates this one.
    Other(Value, Option<ConvOp>),
}

/// The pass.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) {
    let (mut loads, mut accesses) = (0, 0);
    for inst in func.blocks.values().flat_map(|b| &b.insts) {
        loads += u32::from(matches!(inst.op, Op::Load { .. }));
        accesses += u32::from(matches!(inst.op, Op::Load { .. } | Op::Store { .. }));
    }
    if loads == 0 || accesses < 2 {
        return;
    }
    let graph = Graph::of(func);
    let Some(view) = View::with_memory(func, host, &graph) else {
        return;
    };
    let changes = plan(func, &graph, &view);
    if !changes.is_empty() {
        apply(func, &changes);
        dead::run(func);
    }
}

/// The pass again, for functions with loops.
pub(super) fn in_loops(func: &mut Func, host: &dyn CompilerHost) {
    if !natural_loops(&Graph::of(func)).is_empty() {
        run(func, host);
    }
}

/// Numbers that loads ask for: their own, and what they are a truncation of.
fn wanted(func: &Func, view: &View) -> FxHashMap<Num, Vec<Known>> {
    let mut out = FxHashMap::default();
    for inst in func.blocks.values().flat_map(|b| &b.insts) {
        if let (Op::Load { .. }, Some(result)) = (&inst.op, inst.result) {
            let num = view.num(result);
            out.entry(num).or_insert_with(Vec::new);
            if let Expr::Conv(_, part) = *view.expr(num) {
                out.entry(part).or_insert_with(Vec::new);
            }
        }
    }
    out
}

/// What changes, by the value that the load defines.
fn plan(func: &Func, graph: &Graph, view: &View) -> FxHashMap<Value, Change> {
    let mut known = wanted(func, view);
    let mut changes = FxHashMap::default();
    for &block in &graph.order {
        for inst in &func.blocks[block].insts {
            let Some(result) = inst.result else { continue };
            let num = view.num(result);
            if memory::read(view, &inst.op).is_some() {
                let find = |num, conv| find(func, graph, view, &known, result, block, num, conv);
                let change = constant(view, num, func.values[result])
                    .or_else(|| find(num, None))
                    .or_else(|| match *view.expr(num) {
                        Expr::Conv(conv, part) => find(part, Some(conv)),
                        _ => None,
                    });
                if let Some(change) = change {
                    changes.insert(result, change);
                }
            }
            if let Some(values) = known.get_mut(&num) {
                values.push(Known { value: result, block });
            }
        }
    }
    changes
}

fn constant(view: &View, num: Num, ty: Ty) -> Option<Change> {
    if view.ty(num) != ty {
        return None;
    }
    Some(Change::Op(match *view.expr(num) {
        Expr::Int(_, n) => Op::IConst(n),
        Expr::Float(_, bits) => Op::FConst(bits),
        Expr::Null(Ty::Ref) => Op::Null,
        Expr::Address(_, a) => Op::Address(a),
        _ => return None,
    }))
}

#[allow(clippy::too_many_arguments)]
fn find(
    func: &Func,
    graph: &Graph,
    view: &View,
    known: &FxHashMap<Num, Vec<Known>>,
    load: Value,
    block: Block,
    num: Num,
    conv: Option<ConvOp>,
) -> Option<Change> {
    let values = known.get(&num)?;
    let is_reference = matches!(func.values[load], Ty::Ref | Ty::ByRef);
    let found = values.iter().rev().take(MAX_TRIES).find(|k| {
        let near = k.block == block;
        let reached = near || (graph.dominates(k.block, block) && !func.blocks[block].cold);
        // A reference that lives across a safepoint is stored and loaded again: nothing is won.
        let stays = !is_reference || view.same_epoch(k.value, load);
        reached && stays && func.values[k.value] == func.values[load]
    })?;
    Some(if found.block == block {
        Change::Same(found.value, conv)
    } else {
        Change::Other(found.value, conv)
    })
}

fn apply(func: &mut Func, changes: &FxHashMap<Value, Change>) {
    // Locals of the values that other blocks need.
    let mut kept: FxHashMap<Value, Option<Local>> = FxHashMap::default();
    for change in changes.values() {
        if let Change::Other(value, _) = *change {
            kept.insert(value, None);
        }
    }
    let mut order: Vec<Value> = kept.keys().copied().collect();
    order.sort_unstable();
    for value in order.into_iter().take(MAX_LOCALS) {
        let local = func.locals.push(LocalData {
            ty: func.values[value],
            type_id: TypeId(0),
            pinned: false,
            zero_init: false,
        });
        kept.insert(value, Some(local));
    }
    let Func { blocks, values, .. } = func;
    for data in blocks.values_mut() {
        let mut replaced: FxHashMap<Value, Value> = FxHashMap::default();
        let old = std::mem::take(&mut data.insts);
        data.insts.reserve(old.len());
        for mut inst in old {
            if !replaced.is_empty() {
                map_uses(&mut inst.op, |v| *v = replaced.get(v).copied().unwrap_or(*v));
            }
            let Some(result) = inst.result else {
                data.insts.push(inst);
                continue;
            };
            match changes.get(&result) {
                None => {}
                Some(Change::Op(op)) => inst.op = op.clone(),
                Some(&Change::Same(value, conv)) => {
                    let value = replaced.get(&value).copied().unwrap_or(value);
                    match conv {
                        Some(conv) => inst.op = Op::Conv(conv, value),
                        None => {
                            replaced.insert(result, value);
                            // Somebody may want the value by this name.
                            if let Some(&Some(local)) = kept.get(&result) {
                                data.insts.push(Inst {
                                    op: Op::LocalSet(local, value),
                                    result: None,
                                    ..inst
                                });
                            }
                            continue;
                        }
                    }
                }
                Some(&Change::Other(value, conv)) => {
                    if let Some(&Some(local)) = kept.get(&value) {
                        match conv {
                            Some(conv) => {
                                let whole = values.push(values[value]);
                                data.insts.push(Inst {
                                    op: Op::LocalGet(local),
                                    result: Some(whole),
                                    ..inst
                                });
                                inst.op = Op::Conv(conv, whole);
                            }
                            None => inst.op = Op::LocalGet(local),
                        }
                    }
                }
            }
            let set = kept.get(&result).copied().flatten().map(|local| Inst {
                op: Op::LocalSet(local, result),
                result: None,
                ..inst
            });
            data.insts.push(inst);
            data.insts.extend(set);
        }
        if !replaced.is_empty() {
            let swap = |v: &mut Value| *v = replaced.get(v).copied().unwrap_or(*v);
            map_term_use(&mut data.term, swap);
        }
    }
}

fn map_term_use(term: &mut Term, f: impl FnOnce(&mut Value)) {
    match term {
        Term::Branch { cond, .. } => f(cond),
        Term::Switch { index, .. } => f(index),
        Term::Return(Some(v)) => f(v),
        Term::Return(None) | Term::Jump(_) | Term::Unreachable => {}
    }
}
