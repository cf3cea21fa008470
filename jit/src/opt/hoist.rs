//! Moves what is the same in every iteration in front of the loop: null checks, range checks, lengths and loads.
//!
//! Nothing is moved past something that can be observed. A check leaves the loop only if it is the first thing in the first
//! block of an iteration that can raise or be seen. A load leaves it if it runs in every iteration, its object is known not to be
//! null (or its element to exist), and nothing in the loop may write what it reads.

use super::loops::{Graph, Loop, natural_loops};
use super::memory::{self, Effects, Summary};
use super::prover::{At, Prover};
use super::ssa_view::{Expr, Num, View};
use super::{cfg, checks, dead};
use crate::builder::loaded_ty;
use crate::host_api::CompilerHost;
use crate::ids::TypeId;
use crate::ir::*;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;

/// One for each level of nested loops, about.
const ROUNDS: usize = 4;
/// The most loops of one function.
const MAX_LOOPS: usize = 40;

/// The pass.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) {
    if natural_loops(&Graph::of(func)).is_empty() {
        return;
    }
    checks::run(func, host);
    make_preheaders(func);
    let mut moved = false;
    for _ in 0..ROUNDS {
        if !round(func, host) {
            break;
        }
        moved = true;
    }
    cfg::simplify(func);
    if moved {
        dead::run(func);
        checks::run(func, host);
    }
}

fn outside(graph: &Graph, l: &Loop) -> Vec<Block> {
    let preds = graph.preds[l.header.index()].iter().copied();
    preds.filter(|p| !l.blocks.contains(p)).collect()
}

/// The block that jumps to the header of the loop, if there is just one way in.
fn preheader(func: &Func, graph: &Graph, l: &Loop) -> Option<Block> {
    let [only] = *outside(graph, l) else { return None };
    let data = &func.blocks[only];
    let same = data.protect == func.blocks[l.header].protect;
    (same && matches!(data.term, Term::Jump(_))).then_some(only)
}

fn make_preheaders(func: &mut Func) {
    let graph = Graph::of(func);
    for l in natural_loops(&graph).iter().take(MAX_LOOPS) {
        make_preheader(func, &graph, l);
    }
}

/// The block that jumps to the header of a loop, made if there is none.
pub(super) fn make_preheader(func: &mut Func, graph: &Graph, l: &Loop) -> Option<Block> {
    let header = l.header;
    if graph.handlers[header.index()] || header == func.entry {
        return None;
    }
    if let Some(block) = preheader(func, graph, l) {
        return Some(block);
    }
    let block = cfg::new_block(func, header);
    func.blocks[block].term = Term::Jump(header);
    for p in outside(graph, l) {
        cfg::map_targets(&mut func.blocks[p].term, |b| {
            if *b == header {
                *b = block;
            }
        });
    }
    Some(block)
}

struct Mover<'a> {
    func: &'a Func,
    view: &'a View,
    prover: &'a Prover<'a>,
    before: Block,
    header: Block,
    writes: Summary,
    /// New instructions of the preheader.
    insts: Vec<Inst>,
    /// Types of the new values.
    new_values: Vec<Ty>,
    new_locals: Vec<Ty>,
    /// Numbers that new locals hold.
    moved: FxHashMap<Num, Local>,
    /// References that are checked in the preheader.
    checked: Vec<Num>,
    rebuilt: FxHashMap<Num, Value>,
    inside: &'a Loop,
    il: u32,
    site: SiteId,
}

/// What an instruction of the loop becomes.
enum Change {
    Gone,
    Get(Local),
}

fn round(func: &mut Func, host: &dyn CompilerHost) -> bool {
    let graph = Graph::of(func);
    let Some(view) = View::of(func, host, &graph) else {
        return false;
    };
    let prover = Prover::new(func, &view, &graph);
    // Positions in these blocks have changed.
    let mut touched = vec![false; func.blocks.len()];
    let mut changed = false;
    for l in natural_loops(&graph).iter().take(MAX_LOOPS) {
        let Some(before) = preheader(func, &graph, l) else {
            continue;
        };
        if touched[before.index()] || l.blocks.iter().any(|b| touched[b.index()]) {
            continue;
        }
        let effects = Effects {
            func,
            host,
            tracked: &view.tracked,
        };
        let mut mover = Mover {
            func,
            view: &view,
            prover: &prover,
            before,
            header: l.header,
            writes: Summary::with_numbers(&effects, &view, &l.blocks),
            insts: Vec::new(),
            new_values: Vec::new(),
            new_locals: Vec::new(),
            moved: FxHashMap::default(),
            checked: Vec::new(),
            rebuilt: FxHashMap::default(),
            inside: l,
            il: NO_IL,
            site: SiteId::ROOT,
        };
        let changes = mover.plan();
        if changes.is_empty() {
            continue;
        }
        let (insts, values, locals) = (mover.insts, mover.new_values, mover.new_locals);
        for ty in values {
            func.values.push(ty);
        }
        for ty in locals {
            func.locals.push(LocalData {
                ty,
                type_id: TypeId(0),
                pinned: false,
                zero_init: false,
            });
        }
        func.blocks[before].insts.extend(insts);
        for block in changes.iter().map(|c| c.0).chain([before]) {
            touched[block.index()] = true;
        }
        apply(func, changes);
        changed = true;
    }
    changed
}

fn apply(func: &mut Func, changes: Vec<(Block, usize, Change)>) {
    for (block, i, change) in changes.into_iter().rev() {
        match change {
            Change::Gone => {
                func.blocks[block].insts.remove(i);
            }
            Change::Get(local) => func.blocks[block].insts[i].op = Op::LocalGet(local),
        }
    }
}

impl Mover<'_> {
    fn plan(&mut self) -> Vec<(Block, usize, Change)> {
        let mut changes = Vec::new();
        // Something in front raises or can be seen.
        let mut late = false;
        let guarded = !self.func.protects[self.func.blocks[self.header].protect].is_empty();
        for (i, inst) in self.func.blocks[self.header].insts.iter().enumerate() {
            (self.il, self.site) = (inst.il, inst.site);
            match inst.op {
                Op::NullCheck(v) => {
                    let num = self.view.num(v);
                    if !late && let Some(value) = self.rebuild(num) {
                        self.push(Op::NullCheck(value));
                        self.checked.push(num);
                        changes.push((self.header, i, Change::Gone));
                    } else {
                        late = true;
                    }
                }
                Op::BoundsCheck { index, length } => {
                    let (index, length) = (self.view.num(index), self.view.num(length));
                    if !late && let (Some(index), Some(length)) = (self.rebuild(index), self.rebuild(length)) {
                        self.push(Op::BoundsCheck { index, length });
                        changes.push((self.header, i, Change::Gone));
                    } else {
                        late = true;
                    }
                }
                Op::ArrayLen(array) => self.length(array, inst, self.header, i, &mut changes),
                Op::Load { ty, addr, flags, .. } if !flags.volatile && !matches!(ty, MemTy::Struct(_)) => {
                    let num = self.view.num(addr);
                    if let Some(&local) = inst.result.and_then(|r| self.moved.get(&self.view.num(r))) {
                        changes.push((self.header, i, Change::Get(local)));
                        continue;
                    }
                    let valid = match self.view.expr(num) {
                        // Its checks came before, and all of them were moved.
                        Expr::ElemAddr(array, ..) => !late && self.is_checked(*array),
                        // A static variable.
                        Expr::Address(..) => true,
                        _ => self.func.values[addr] == Ty::Ref && self.is_checked(num),
                    };
                    if valid {
                        self.load(num, inst, self.header, i, &mut changes);
                    }
                }
                // A handler may read the local.
                Op::LocalSet(..) => late |= guarded,
                Op::SafepointPoll | Op::LocalGet(_) => {}
                ref op => late |= !dead::is_removable(op),
            }
        }
        let (func, inside, header) = (self.func, self.inside, self.header);
        for &block in inside.blocks.iter().filter(|&&b| b != header) {
            for (i, inst) in func.blocks[block].insts.iter().enumerate() {
                (self.il, self.site) = (inst.il, inst.site);
                match inst.op {
                    Op::ArrayLen(array) => self.length(array, inst, block, i, &mut changes),
                    Op::Load { addr, .. } if self.is_in_every_object(&inst.op) => {
                        let num = self.view.num(addr);
                        self.load(num, inst, block, i, &mut changes);
                    }
                    _ => {}
                }
            }
        }
        changes
    }

    /// A load that may be done too early, because every object has the bytes (the length of a string, a first field).
    fn is_in_every_object(&self, op: &Op) -> bool {
        let &Op::Load {
            ty,
            addr,
            offset,
            flags,
        } = op
        else {
            return false;
        };
        let bytes = super::shapes::scalar_bytes(ty) as i32;
        let inside = bytes > 0 && offset >= 8 && offset + bytes <= 16;
        inside && !flags.volatile && self.func.values[addr] == Ty::Ref && self.is_checked(self.view.num(addr))
    }

    /// Moves a load from an address that is good in front of the loop.
    fn load(&mut self, num: Num, inst: &Inst, block: Block, i: usize, changes: &mut Vec<(Block, usize, Change)>) {
        let Op::Load { ty, offset, flags, .. } = inst.op else {
            return;
        };
        let Some(result) = inst.result else { return };
        if let Some(&local) = self.moved.get(&self.view.num(result)) {
            changes.push((block, i, Change::Get(local)));
            return;
        }
        if memory::read(self.view, &inst.op).is_some_and(|place| !self.writes.may_write(&place, Some(self.view)))
            && let Some(addr) = self.rebuild(num)
        {
            let op = Op::Load {
                ty,
                addr,
                offset,
                flags,
            };
            let value = self.emit(op, loaded_ty(ty));
            let local = self.keep(value, loaded_ty(ty));
            self.moved.insert(self.view.num(result), local);
            changes.push((block, i, Change::Get(local)));
        }
    }

    fn length(&mut self, array: Value, inst: &Inst, block: Block, i: usize, changes: &mut Vec<(Block, usize, Change)>) {
        let Some(result) = inst.result else { return };
        let num = self.view.num(result);
        if let Some(&local) = self.moved.get(&num) {
            changes.push((block, i, Change::Get(local)));
            return;
        }
        let array = self.view.num(array);
        if self.is_checked(array)
            && let Some(array) = self.rebuild(array)
        {
            let value = self.emit(Op::ArrayLen(array), Ty::I32);
            let local = self.keep(value, Ty::I32);
            self.moved.insert(num, local);
            changes.push((block, i, Change::Get(local)));
        }
    }

    /// Is the reference known not to be null in front of the loop?
    fn is_checked(&self, num: Num) -> bool {
        self.checked.contains(&num) || self.prover.non_null(num, At::edge(self.before, self.header))
    }

    fn push(&mut self, op: Op) {
        self.insts.push(Inst {
            op,
            result: None,
            il: self.il,
            site: self.site,
        });
    }

    fn emit(&mut self, op: Op, ty: Ty) -> Value {
        let result = Value::new(self.func.values.len() + self.new_values.len());
        self.new_values.push(ty);
        self.insts.push(Inst {
            op,
            result: Some(result),
            il: self.il,
            site: self.site,
        });
        result
    }

    /// Puts a value into a new local.
    fn keep(&mut self, value: Value, ty: Ty) -> Local {
        let local = Local::new(self.func.locals.len() + self.new_locals.len());
        self.new_locals.push(ty);
        self.push(Op::LocalSet(local, value));
        local
    }

    /// The value of a number in the preheader, if it can be had there.
    fn rebuild(&mut self, num: Num) -> Option<Value> {
        if let Some(&v) = self.rebuilt.get(&num) {
            return Some(v);
        }
        let ty = self.view.ty(num);
        let mark = (self.insts.len(), self.new_values.len());
        let op = self.recipe(num);
        let Some(op) = op else {
            self.insts.truncate(mark.0);
            self.new_values.truncate(mark.1);
            let values = self.func.values.len() + mark.1;
            self.rebuilt.retain(|_, v| v.index() < values);
            return None;
        };
        let v = self.emit(op, ty);
        self.rebuilt.insert(num, v);
        Some(v)
    }

    fn recipe(&mut self, num: Num) -> Option<Op> {
        if let Some(&local) = self.moved.get(&num) {
            return Some(Op::LocalGet(local));
        }
        let constant = match *self.view.expr(num) {
            Expr::Int(_, n) => Some(Op::IConst(n)),
            Expr::Float(_, bits) => Some(Op::FConst(bits)),
            Expr::Address(_, a) => Some(Op::Address(a)),
            _ => None,
        };
        if constant.is_some() {
            return constant;
        }
        let local =
            self.func.locals.keys().find(|&l| {
                self.func.locals[l].ty == self.view.ty(num) && self.view.at_end(self.before, l) == Some(num)
            });
        if let Some(local) = local {
            return Some(Op::LocalGet(local));
        }
        match self.view.expr(num).clone() {
            Expr::Bin(_, op, a, b) if !matches!(op, BinOp::Div | BinOp::DivUn | BinOp::Rem | BinOp::RemUn) => {
                Some(Op::Bin(op, self.rebuild(a)?, self.rebuild(b)?))
            }
            Expr::Un(op, a) => Some(Op::Un(op, self.rebuild(a)?)),
            Expr::Conv(op, a) => Some(Op::Conv(op, self.rebuild(a)?)),
            Expr::ArrayLen(a) if self.is_checked(a) => Some(Op::ArrayLen(self.rebuild(a)?)),
            Expr::ElemAddr(a, i, size) if self.is_checked(a) => Some(Op::ElemAddr {
                array: self.rebuild(a)?,
                index: self.rebuild(i)?,
                size,
            }),
            Expr::PtrAdd(a, b) => Some(Op::PtrAdd(self.rebuild(a)?, self.rebuild(b)?)),
            _ => None,
        }
    }
}
