//! What locals hold, seen through all blocks: every value gets a *number*, and values with equal numbers are equal.
//!
//! IR values are local to their block. The view follows private scalar locals from block to block as SSA construction does: where
//! different values meet, the local holds a *phi*. Numbers are expressions over numbers, made unique, so the same computation in
//! two blocks has one number. A number names the value of the *present* iteration: two uses of a phi's number are equal if
//! no edge to the phi's block was taken between them.
//!
//! A load is different from all others, because other threads may write between them: proofs about two loads would be about
//! values that the program need not see. Only who replaces the one load by the value of the other ([`super::loads`]) asks for
//! numbers by the state of memory ([`View::with_memory`]).

use super::fold;
use super::loops::{Graph, Loop, natural_loops};
use super::memory::{self, Effects};
use super::propagate::{narrow_kind, private_locals};
use super::states::{self, Loaded, State, States};
use crate::host_api::CompilerHost;
use crate::ir::*;
use crate::lower::is_safepoint;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::hash_map::Entry;

/// Name of a value; see the module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Num(u32);

/// What a number stands for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Expr {
    /// Result of an operation that is not followed; different from all others.
    Opaque(u32),
    /// What the local holds at the start of the block.
    Phi(Block, Local),
    Int(Ty, i64),
    Float(Ty, u64),
    Address(Ty, u64),
    Null(Ty),
    LocalAddr(Ty, Local),
    Bin(Ty, BinOp, Num, Num),
    Un(UnOp, Num),
    Conv(ConvOp, Num),
    Cmp(Cond, Num, Num),
    Select(Num, Num, Num),
    ArrayLen(Num),
    ElemAddr(Num, Num, u32),
    PtrAdd(Num, Num),
    Intrinsic(IntrinsicOp, SmallVec<[Num; 3]>),
    /// (address, offset, type, state of memory); see [`View::with_memory`].
    Load(Num, i64, MemTy, State),
}

/// Functions with more blocks times locals are not analysed.
const MAX_CELLS: usize = 1 << 20;

/// The view of one function; a changed function needs a new one.
pub(super) struct View {
    exprs: Vec<Expr>,
    tys: Vec<Ty>,
    /// By number: a block in which it is certainly known (where it was first seen); for leaves, where it is defined.
    origins: Vec<Block>,
    index: FxHashMap<Expr, Num>,
    /// By value.
    values: Vec<Num>,
    /// By block: what each local holds at the end; behind the locals a number that differs behind each safepoint.
    ends: Vec<Option<Box<[Num]>>>,
    /// By value: that number, where it is defined.
    epochs: Vec<Num>,
    /// By local: is it followed?
    pub tracked: Vec<bool>,
    narrow: Vec<Option<ConvOp>>,
    /// Lengths of arrays that were made here.
    lengths: FxHashMap<Num, Num>,
}

impl View {
    /// Analyses a function; `None` if it is too large.
    pub fn of(func: &Func, host: &dyn CompilerHost, graph: &Graph) -> Option<View> {
        View::analyse(func, host, graph, false)
    }

    /// The same with equal numbers for loads that read the same bytes with no write between them, and for what was stored there.
    pub fn with_memory(func: &Func, host: &dyn CompilerHost, graph: &Graph) -> Option<View> {
        View::analyse(func, host, graph, true)
    }

    fn analyse(func: &Func, host: &dyn CompilerHost, graph: &Graph, memory: bool) -> Option<View> {
        if func.blocks.len().saturating_mul(func.locals.len()) > MAX_CELLS {
            return None;
        }
        let private = private_locals(func);
        let tracked = func
            .locals
            .iter()
            .map(|(l, data)| private[l.index()] && !matches!(data.ty, Ty::Struct(_)))
            .collect();
        // About as many as there are values.
        let room = func.values.len();
        let mut view = View {
            exprs: Vec::with_capacity(room),
            tys: Vec::with_capacity(room),
            origins: Vec::with_capacity(room),
            index: FxHashMap::with_capacity_and_hasher(room, Default::default()),
            values: vec![Num(0); func.values.len()],
            ends: vec![None; func.blocks.len()],
            epochs: vec![Num(0); if memory { func.values.len() } else { 0 }],
            tracked,
            narrow: func.locals.keys().map(|l| narrow_kind(func, host, l)).collect(),
            lengths: FxHashMap::default(),
        };
        // Number 0 stands for values of blocks that are not reached.
        view.opaque(Ty::I32, func.entry);
        let loops = natural_loops(graph);
        let assigned = assigned_in_loops(func, &loops, &view.narrow);
        let tracked = view.tracked.clone();
        let effects = Effects {
            func,
            host,
            tracked: &tracked,
        };
        let mut states = memory.then(|| States::new(graph, &effects, &loops));
        for &block in &graph.order {
            let mut locals = view.start(func, graph, block, assigned.get(&block));
            let mut state = states.as_mut().map_or(states::ENTRY, |s| s.start(func.entry, block));
            for inst in &func.blocks[block].insts {
                let loaded = states.as_mut().and_then(|s| view.load(func, block, inst, s, state));
                view.step(func, block, inst, loaded, &mut locals);
                if let Some(states) = &mut states {
                    let effect = effects.by_numbers(&view, &inst.op);
                    state = states.step(&view, state, effect);
                }
            }
            if let Some(states) = &mut states {
                states.end(block, state);
            }
            view.ends[block.index()] = Some(locals);
        }
        Some(view)
    }

    /// The number of a value.
    pub fn num(&self, value: Value) -> Num {
        self.values.get(value.index()).copied().unwrap_or(Num(0))
    }

    pub fn expr(&self, num: Num) -> &Expr {
        &self.exprs[num.0 as usize]
    }

    pub fn ty(&self, num: Num) -> Ty {
        self.tys[num.0 as usize]
    }

    /// The constant, if it is one.
    pub fn int(&self, num: Num) -> Option<i64> {
        match self.expr(num) {
            Expr::Int(_, n) => Some(*n),
            _ => None,
        }
    }

    /// The number of an expression that occurs in the function.
    pub fn find(&self, expr: &Expr) -> Option<Num> {
        self.index.get(expr).copied()
    }

    /// What a followed local holds at the end of a block.
    pub fn at_end(&self, block: Block, local: Local) -> Option<Num> {
        let state = self.ends[block.index()].as_ref()?;
        self.is_tracked(local).then(|| state[local.index()])
    }

    /// The length that the array was made with, if it was made here.
    pub fn made_with(&self, array: Num) -> Option<Num> {
        self.lengths.get(&array).copied()
    }

    /// Was there no safepoint between the definitions of two values, of which one dominates the other? ([`View::with_memory`])
    pub fn same_epoch(&self, a: Value, b: Value) -> bool {
        self.epochs.get(a.index()) == self.epochs.get(b.index())
    }

    /// Does a block of `inside` define the number or a part of it?
    pub fn depends(&self, num: Num, inside: &dyn Fn(Block) -> bool) -> bool {
        match self.expr(num) {
            Expr::Opaque(_) | Expr::Phi(..) => inside(self.origins[num.0 as usize]),
            Expr::Load(..) => true,
            expr => {
                let mut found = false;
                operands(expr, |n| found = found || self.depends(n, inside));
                found
            }
        }
    }

    fn intern(&mut self, expr: Expr, ty: Ty, block: Block) -> Num {
        let num = Num(self.exprs.len() as u32);
        match self.index.entry(expr) {
            Entry::Occupied(known) => return *known.get(),
            Entry::Vacant(new) => {
                self.exprs.push(new.key().clone());
                new.insert(num);
            }
        }
        self.tys.push(ty);
        self.origins.push(block);
        num
    }

    fn opaque(&mut self, ty: Ty, block: Block) -> Num {
        self.intern(Expr::Opaque(self.exprs.len() as u32), ty, block)
    }

    fn start(&mut self, func: &Func, graph: &Graph, block: Block, assigned: Option<&Vec<Assigned>>) -> Box<[Num]> {
        let epoch = (Local::new(func.locals.len()), Ty::I64);
        let locals = func.locals.iter().map(|(l, data)| (l, data.ty)).chain([epoch]);
        if block == func.entry {
            let zero = |l: Local| func.locals.get(l).is_some_and(|data| data.zero_init);
            return locals
                .map(|(l, ty)| match ty {
                    _ if l.index() < func.arg_count || !self.is_tracked(l) => self.opaque(ty, block),
                    Ty::I32 | Ty::I64 if zero(l) => self.intern(Expr::Int(ty, 0), ty, block),
                    Ty::Ref | Ty::ByRef => self.intern(Expr::Null(ty), ty, block),
                    _ => self.opaque(ty, block),
                })
                .collect();
        }
        let handler = graph.handlers[block.index()];
        let preds = &graph.preds[block.index()];
        if let [pred] = preds[..]
            && let Some(end) = &self.ends[pred.index()]
            && !handler
        {
            return end.clone();
        }
        let mut waiting = preds.iter().filter(|p| self.ends[p.index()].is_none()).peekable();
        let pending = waiting.peek().is_some();
        let natural = waiting.all(|&p| graph.dominates(block, p));
        let met = (!handler).then(|| self.meet(preds, assigned.filter(|_| natural), pending));
        let (mut out, differing) = met.flatten().unwrap_or_else(|| {
            let count = func.locals.len() + 1;
            (vec![Num(0); count].into(), (0..count).collect())
        });
        for i in differing {
            let local = Local::new(i);
            let ty = func.locals.get(local).map_or(Ty::I64, |data| data.ty);
            out[i] = self.intern(Expr::Phi(block, local), ty, block);
        }
        out
    }

    /// What locals hold where edges meet, and those of which that is not one value. `assigned`: how back-edges that are `pending`
    /// change locals, if that is known.
    fn meet(
        &self,
        preds: &[Block],
        assigned: Option<&Vec<Assigned>>,
        pending: bool,
    ) -> Option<(Box<[Num]>, Vec<usize>)> {
        // What the edges bring that are known already.
        let known: SmallVec<[&[Num]; 4]> = preds.iter().filter_map(|p| self.ends[p.index()].as_deref()).collect();
        let (&first, others) = known.split_first()?;
        let agrees = |i: usize| others.iter().all(|nums| nums[i] == first[i]);
        let kept = |i: usize| {
            assigned.is_some_and(|a| match a[i] {
                Assigned::Never => true,
                Assigned::Copy(from) => {
                    let from = from.index();
                    a[from] == Assigned::Never && agrees(from) && first[from] == first[i]
                }
                Assigned::Anyhow => false,
            })
        };
        let differing = (0..first.len()).filter(|&i| !agrees(i) || (pending && !kept(i)));
        Some((first.into(), differing.collect()))
    }

    fn is_tracked(&self, local: Local) -> bool {
        self.tracked.get(local.index()) == Some(&true)
    }

    /// The number of what a load gives, if it can be told from the states of memory.
    fn load(&mut self, func: &Func, block: Block, inst: &Inst, states: &mut States<'_>, state: State) -> Option<Num> {
        let place = memory::read(self, &inst.op)?;
        let Op::Load { ty: mem, addr, .. } = inst.op else {
            return None;
        };
        let ty = func.values[inst.result?];
        let (base, offset) = (place.base().unwrap_or(self.num(addr)), place.offset());
        let state = if memory::is_method_table(func, &inst.op) {
            states::ENTRY
        } else {
            match states.load(self, state, &place, (base, offset, mem)) {
                Loaded::Since(state) => state,
                Loaded::Stored(value, stored, state) => match truncation(mem) {
                    Some(conv) if self.ty(value) == ty => return Some(self.conv(conv, value, ty, block)),
                    None if self.ty(value) == ty && stored == mem => return Some(value),
                    _ => state,
                },
            }
        };
        Some(self.intern(Expr::Load(base, offset, mem, state), ty, block))
    }

    fn step(&mut self, func: &Func, block: Block, inst: &Inst, loaded: Option<Num>, state: &mut [Num]) {
        if clobbers_references(&inst.op)
            && let Some(epoch) = state.last_mut()
        {
            *epoch = self.opaque(Ty::I64, block);
        }
        if let Op::LocalSet(l, v) = inst.op {
            let num = self.num(v);
            let narrow = self.narrow[l.index()];
            state[l.index()] = match narrow {
                Some(conv) => self.conv(conv, num, Ty::I32, block),
                None => num,
            };
        }
        let Some(result) = inst.result else { return };
        let ty = func.values[result];
        let num = loaded.unwrap_or_else(|| self.evaluate(&inst.op, ty, block, state));
        self.values[result.index()] = num;
        if let (Some(epoch), Some(&now)) = (self.epochs.get_mut(result.index()), state.last()) {
            *epoch = now;
        }
    }

    fn evaluate(&mut self, op: &Op, ty: Ty, block: Block, state: &[Num]) -> Num {
        let expr = match op {
            Op::IConst(n) => match ty {
                Ty::I32 => Expr::Int(ty, i64::from(*n as i32)),
                Ty::I64 => Expr::Int(ty, *n),
                _ if *n == 0 => Expr::Null(ty),
                _ => Expr::Address(ty, *n as u64),
            },
            Op::FConst(bits) => Expr::Float(ty, *bits),
            Op::Null if ty == Ty::I64 => Expr::Int(ty, 0),
            Op::Null => Expr::Null(ty),
            Op::Address(a) => Expr::Address(ty, *a),
            Op::LocalGet(l) if self.tracked[l.index()] => return state[l.index()],
            Op::LocalAddr(l) => Expr::LocalAddr(ty, *l),
            Op::Bin(op, a, b) => return self.bin(*op, self.num(*a), self.num(*b), ty, block),
            Op::Un(op, a) => {
                let a = self.num(*a);
                match self.int(a).and_then(|n| fold::un(*op, ty, n)) {
                    Some(n) => Expr::Int(ty, n),
                    None => Expr::Un(*op, a),
                }
            }
            Op::Conv(op, a) => return self.conv(*op, self.num(*a), ty, block),
            Op::Cmp(cond, a, b) => {
                let (a, b) = (self.num(*a), self.num(*b));
                let known = match (self.int(a), self.int(b)) {
                    (Some(x), Some(y)) => fold::cmp(*cond, self.ty(a), x, y),
                    _ => None,
                };
                match known {
                    Some(known) => Expr::Int(ty, i64::from(known)),
                    None => Expr::Cmp(*cond, a, b),
                }
            }
            Op::Select {
                cond,
                if_true,
                if_false,
            } => Expr::Select(self.num(*cond), self.num(*if_true), self.num(*if_false)),
            Op::ArrayLen(a) => {
                let a = self.num(*a);
                if let Some(&length) = self.lengths.get(&a) {
                    return length;
                }
                Expr::ArrayLen(a)
            }
            Op::CallHelper {
                helper: Helper::NewArray,
                args,
            } => {
                let array = self.opaque(ty, block);
                let length = args.get(1).map(|&n| self.num(n));
                if let Some(n) = length
                    && let Expr::Conv(ConvOp::SextI64, n) = *self.expr(n)
                {
                    self.lengths.insert(array, n);
                } else if let Some(Expr::Int(_, n)) = length.map(|n| self.expr(n).clone())
                    && i32::try_from(n).is_ok()
                {
                    let length = self.intern(Expr::Int(Ty::I32, n), Ty::I32, block);
                    self.lengths.insert(array, length);
                }
                return array;
            }
            Op::ElemAddr { array, index, size } => Expr::ElemAddr(self.num(*array), self.num(*index), *size),
            Op::PtrAdd(a, b) => Expr::PtrAdd(self.num(*a), self.num(*b)),
            Op::Intrinsic { op, args } if !matches!(op, IntrinsicOp::SpinWait | IntrinsicOp::Fence) => {
                Expr::Intrinsic(*op, args.iter().map(|&a| self.num(a)).collect())
            }
            _ => return self.opaque(ty, block),
        };
        self.intern(expr, ty, block)
    }

    fn bin(&mut self, op: BinOp, a: Num, b: Num, ty: Ty, block: Block) -> Num {
        let (mut op, mut a, mut b) = (op, a, b);
        if let (Some(x), Some(y)) = (self.int(a), self.int(b))
            && let Some(n) = fold::bin(op, ty, x, y)
        {
            return self.intern(Expr::Int(ty, n), ty, block);
        }
        let integer = matches!(ty, Ty::I32 | Ty::I64);
        if integer
            && op == BinOp::Sub
            && let Some(n) = self.int(b)
            && let Some(minus) = fold::un(UnOp::Neg, ty, n)
        {
            // One form for a difference by a constant.
            op = BinOp::Add;
            b = self.intern(Expr::Int(ty, minus), ty, block);
        }
        let commutes = matches!(op, BinOp::Add | BinOp::Mul | BinOp::And | BinOp::Or | BinOp::Xor);
        if integer && commutes && (self.int(a).is_some() || (self.int(b).is_none() && a > b)) {
            (a, b) = (b, a);
        }
        if integer && op == BinOp::Add {
            match (self.int(b), self.expr(a).clone()) {
                (Some(0), _) => return a,
                (Some(n), Expr::Bin(_, BinOp::Add, x, y)) => {
                    if let Some(m) = self.int(y)
                        && let Some(sum) = fold::bin(BinOp::Add, ty, n, m)
                    {
                        let y = self.intern(Expr::Int(ty, sum), ty, block);
                        return if sum == 0 { x } else { self.bin(op, x, y, ty, block) };
                    }
                }
                _ => {}
            }
        }
        self.intern(Expr::Bin(ty, op, a, b), ty, block)
    }

    fn conv(&mut self, op: ConvOp, a: Num, ty: Ty, block: Block) -> Num {
        let known = match (self.int(a), ty) {
            (Some(n), Ty::I32 | Ty::I64) => fold::conv(op, n),
            _ => None,
        };
        let small = matches!(op, ConvOp::Sext8 | ConvOp::Zext8 | ConvOp::Sext16 | ConvOp::Zext16);
        match (known, self.expr(a)) {
            (Some(n), _) => self.intern(Expr::Int(ty, n), ty, block),
            (_, Expr::Conv(before, _)) if *before == op && small => a,
            (_, Expr::Conv(ConvOp::SextI64 | ConvOp::ZextI64, x)) if op == ConvOp::Trunc => *x,
            _ => self.intern(Expr::Conv(op, a), ty, block),
        }
    }
}

/// Calls `f` with every part of an expression.
pub(super) fn operands(expr: &Expr, mut f: impl FnMut(Num)) {
    match expr {
        Expr::Opaque(_)
        | Expr::Phi(..)
        | Expr::Int(..)
        | Expr::Float(..)
        | Expr::Address(..)
        | Expr::Null(_)
        | Expr::LocalAddr(..) => {}
        Expr::Un(_, a) | Expr::Conv(_, a) | Expr::ArrayLen(a) | Expr::Load(a, ..) => f(*a),
        Expr::Bin(_, _, a, b) | Expr::Cmp(_, a, b) | Expr::ElemAddr(a, b, _) | Expr::PtrAdd(a, b) => {
            f(*a);
            f(*b);
        }
        Expr::Select(a, b, c) => {
            f(*a);
            f(*b);
            f(*c);
        }
        Expr::Intrinsic(_, args) => args.iter().copied().for_each(f),
    }
}

/// What a load of a small integer does to the value that was stored.
fn truncation(mem: MemTy) -> Option<ConvOp> {
    match mem {
        MemTy::I8 => Some(ConvOp::Sext8),
        MemTy::U8 => Some(ConvOp::Zext8),
        MemTy::I16 => Some(ConvOp::Sext16),
        MemTy::U16 => Some(ConvOp::Zext16),
        _ => None,
    }
}

/// May references be stale behind the operation, so that they are loaded again from the frame?
fn clobbers_references(op: &Op) -> bool {
    *op != Op::SafepointPoll && is_safepoint(op)
}

/// How a loop sets a local.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Assigned {
    Never,
    /// Only to what that other one holds.
    Copy(Local),
    Anyhow,
}

/// By header of a loop: how locals are set inside, and behind them whether it has safepoints.
fn assigned_in_loops(func: &Func, loops: &[Loop], narrow: &[Option<ConvOp>]) -> FxHashMap<Block, Vec<Assigned>> {
    let mut out = FxHashMap::default();
    let mut gets: FxHashMap<Value, Local> = FxHashMap::default();
    for l in loops {
        let epoch = func.locals.len();
        let mut assigned = vec![Assigned::Never; epoch + 1];
        for inst in l.blocks.iter().flat_map(|&b| &func.blocks[b].insts) {
            match inst.op {
                Op::LocalGet(from) => gets.extend(inst.result.map(|r| (r, from))),
                Op::LocalSet(local, v) => {
                    let how = match gets.get(&v) {
                        Some(&from) if narrow[local.index()].is_none() => Assigned::Copy(from),
                        _ => Assigned::Anyhow,
                    };
                    let old = &mut assigned[local.index()];
                    *old = if *old == Assigned::Never || *old == how {
                        how
                    } else {
                        Assigned::Anyhow
                    };
                }
                ref op if clobbers_references(op) => assigned[epoch] = Assigned::Anyhow,
                _ => {}
            }
        }
        out.insert(l.header, assigned);
    }
    out
}
