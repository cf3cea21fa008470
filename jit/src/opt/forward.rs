//! Forwarding: constants, addresses of locals and copies replace reads of locals, values replace reads in their own block,
//! decided branches become jumps.

use super::propagate::{Fact, Facts, State, decided, narrow_kind, private_locals};
use super::{cfg, dead};
use crate::host_api::CompilerHost;
use crate::ir::*;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;

/// The pass.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) {
    cfg::simplify(func);
    if let Some(facts) = Facts::of(func, host, &[]) {
        let mut edits = FxHashMap::default();
        let mut scratch = Facts::scratch(func);
        for block in func.blocks.keys() {
            let Some(mut state) = facts.start(func, block, &mut scratch) else {
                continue;
            };
            if let Some(edit) = plan(func, block, &mut state) {
                edits.insert(block, edit);
            }
            state.finish(&mut scratch);
        }
        for (block, edit) in edits {
            apply(func, block, edit);
        }
        cfg::simplify(func);
    }
    let private = private_locals(func);
    let narrow: Vec<_> = func.locals.keys().map(|l| narrow_kind(func, host, l)).collect();
    let mut forwarder = Forwarder {
        private: &private,
        narrow: &narrow,
        known: vec![(0, None); func.locals.len()],
        epoch: 0,
        replaced: FxHashMap::default(),
    };
    for block in func.blocks.keys().collect::<Vec<_>>() {
        forwarder.block(func, block);
    }
    dead::run(func);
}

/// What an instruction becomes.
enum Change {
    /// This operation, with the same result.
    Op(Op),
    /// The address of a local plus bytes.
    LocalPlus(Local, i64),
    Nothing,
}

struct Edit {
    insts: Vec<(usize, Change)>,
    jump: Option<Block>,
}

/// Walks a block; what can be replaced, if anything.
fn plan(func: &Func, block: Block, state: &mut State<'_>) -> Option<Edit> {
    let data = &func.blocks[block];
    let mut insts = Vec::new();
    for (i, inst) in data.insts.iter().enumerate() {
        if let Some(change) = change(func, inst, state) {
            insts.push((i, change));
        }
        state.step(inst, None);
    }
    let jump = match data.term {
        Term::Jump(_) => None,
        ref term => decided(term, state),
    };
    (jump.is_some() || !insts.is_empty()).then_some(Edit { insts, jump })
}

fn change(func: &Func, inst: &Inst, state: &State<'_>) -> Option<Change> {
    match inst.op {
        Op::NullCheck(v) if state.value(v).truth() == Some(true) => return Some(Change::Nothing),
        Op::DivCheck { signed, b, .. } => {
            return match state.value(b) {
                Fact::Int(0) => None,
                Fact::Int(-1) if signed => None,
                Fact::Int(_) => Some(Change::Nothing),
                _ => None,
            };
        }
        Op::LocalGet(_)
        | Op::Bin(..)
        | Op::Un(..)
        | Op::Conv(..)
        | Op::Cmp(..)
        | Op::Select { .. }
        | Op::PtrAdd(..)
        | Op::Load { .. } => {}
        _ => return None,
    }
    let ty = func.values[inst.result?];
    let is_get = matches!(inst.op, Op::LocalGet(_));
    let op = match (state.eval(&inst.op, ty), ty) {
        (Fact::Int(n), Ty::I32 | Ty::I64) => Op::IConst(n),
        (Fact::Float(bits), Ty::F32 | Ty::F64) if is_get => Op::FConst(bits),
        (Fact::Null, Ty::Ref) => Op::Null,
        (Fact::Null, Ty::ByRef) => Op::IConst(0),
        (Fact::Address(a), Ty::I64 | Ty::Ref | Ty::ByRef) if is_get => Op::Address(a),
        (Fact::Address(a), Ty::I64) if matches!(inst.op, Op::Load { .. }) => Op::Address(a),
        (Fact::Local(l, offset), Ty::I64 | Ty::ByRef) if is_get => return Some(Change::LocalPlus(l, offset)),
        (Fact::Copy(from), _) if is_get && inst.op != Op::LocalGet(from) && func.locals[from].ty == ty => {
            Op::LocalGet(from)
        }
        _ => return None,
    };
    (op != inst.op).then_some(Change::Op(op))
}

fn apply(func: &mut Func, block: Block, edit: Edit) {
    let mut changes = edit.insts.into_iter().peekable();
    let values = &mut func.values;
    let data = &mut func.blocks[block];
    let old = std::mem::take(&mut data.insts);
    data.insts.reserve(old.len());
    for (i, mut inst) in old.into_iter().enumerate() {
        let Some((_, change)) = changes.next_if(|c| c.0 == i) else {
            data.insts.push(inst);
            continue;
        };
        match change {
            Change::Nothing => continue,
            Change::Op(op) => inst.op = op,
            Change::LocalPlus(l, 0) => inst.op = Op::LocalAddr(l),
            Change::LocalPlus(l, offset) => {
                let ty = inst.result.map_or(Ty::ByRef, |r| values[r]);
                let base = values.push(ty);
                let bytes = values.push(Ty::I64);
                let at = Inst {
                    op: Op::LocalAddr(l),
                    result: Some(base),
                    ..inst
                };
                data.insts.push(at.clone());
                data.insts.push(Inst {
                    op: Op::IConst(offset),
                    result: Some(bytes),
                    ..at
                });
                inst = Inst {
                    op: Op::PtrAdd(base, bytes),
                    ..inst
                };
            }
        }
        data.insts.push(inst);
    }
    if let Some(to) = edit.jump {
        data.term = Term::Jump(to);
    }
}

/// Replaces reads of scalar locals by values of the same block.
struct Forwarder<'a> {
    private: &'a [bool],
    narrow: &'a [Option<ConvOp>],
    /// By local: the value it holds now, if set in the present epoch.
    known: Vec<(u32, Option<Value>)>,
    epoch: u32,
    replaced: FxHashMap<Value, Value>,
}

impl Forwarder<'_> {
    fn block(&mut self, func: &mut Func, block: Block) {
        self.epoch += 1;
        self.replaced.clear();
        let locals = &func.locals;
        let Forwarder {
            private,
            narrow,
            known,
            epoch,
            replaced,
        } = self;
        let data = &mut func.blocks[block];
        let usable = |l: Local| private[l.index()] && !matches!(locals[l].ty, Ty::Struct(_));
        // Small values that are as their local holds them.
        let mut fitting: FxHashMap<Value, ConvOp> = FxHashMap::default();
        data.insts.retain_mut(|inst| {
            map_uses(&mut inst.op, |v| *v = replaced.get(v).copied().unwrap_or(*v));
            match inst.op {
                Op::LocalGet(l) if usable(l) => {
                    let Some(result) = inst.result else { return true };
                    match known[l.index()] {
                        (e, Some(v)) if e == *epoch => match narrow[l.index()] {
                            Some(conv) if fitting.get(&v) != Some(&conv) => {
                                inst.op = Op::Conv(conv, v);
                                fitting.insert(result, conv);
                                known[l.index()] = (*epoch, Some(result));
                                true
                            }
                            _ => {
                                replaced.insert(result, v);
                                false
                            }
                        },
                        _ => {
                            known[l.index()] = (*epoch, Some(result));
                            if let Some(conv) = narrow[l.index()] {
                                fitting.insert(result, conv);
                            }
                            true
                        }
                    }
                }
                Op::LocalSet(l, v) if usable(l) => {
                    let same = known[l.index()] == (*epoch, Some(v));
                    known[l.index()] = (*epoch, Some(v));
                    // (Of a small local the value known may not be truncated yet; storing it again changes nothing.)
                    !same
                }
                Op::Conv(conv @ (ConvOp::Sext8 | ConvOp::Zext8 | ConvOp::Sext16 | ConvOp::Zext16), v) => {
                    let Some(result) = inst.result else { return true };
                    if fitting.get(&v) == Some(&conv) {
                        replaced.insert(result, v);
                        return false;
                    }
                    fitting.insert(result, conv);
                    true
                }
                Op::Load { ty, .. } => {
                    let conv = match ty {
                        MemTy::I8 => ConvOp::Sext8,
                        MemTy::U8 => ConvOp::Zext8,
                        MemTy::I16 => ConvOp::Sext16,
                        MemTy::U16 => ConvOp::Zext16,
                        _ => return true,
                    };
                    fitting.extend(inst.result.map(|r| (r, conv)));
                    true
                }
                Op::Cmp(..) => {
                    fitting.extend(inst.result.map(|r| (r, ConvOp::Zext8)));
                    true
                }
                _ => true,
            }
        });
        let swap = |v: &mut Value| *v = replaced.get(v).copied().unwrap_or(*v);
        match &mut data.term {
            Term::Branch { cond, .. } => swap(cond),
            Term::Switch { index, .. } => swap(index),
            Term::Return(Some(v)) => swap(v),
            Term::Return(None) | Term::Jump(_) | Term::Unreachable => {}
        }
    }
}
