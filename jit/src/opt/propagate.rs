//! What is known of scalar locals at each point: a data-flow analysis.
//!
//! The lattice is flat: not reached yet, one fact ([`Fact`]), or any value. Edges that a known condition excludes are not
//! followed, so code under a decided test contributes nothing. An exception may leave a protected block between any two
//! instructions: what its handlers know is the meet of all states of the block.
//!
//! Most locals (those of inlined methods) are set in each block that reads them: between blocks only the others have facts.

use super::fold;
use super::loops::reverse_post_order;
use crate::host_api::{CompilerHost, TypeKind};
use crate::ids::TypeId;
use crate::ir::*;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;

/// What is known of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fact {
    /// Nothing.
    Any,
    /// This integer (I32: sign-extended).
    Int(i64),
    /// A float with these bits.
    Float(u64),
    /// The null reference or a null managed pointer.
    Null,
    /// This constant address.
    Address(u64),
    /// The address of a local plus bytes.
    Local(Local, i64),
    /// The present value of another local.
    Copy(Local),
    /// Some object of exactly this class.
    Exact(TypeId),
    /// The object that this allocation made last, or a pointer into it: bytes from its start.
    Object(u32, i64),
}

impl Fact {
    fn meet(self, other: Fact) -> Fact {
        if self == other { self } else { Fact::Any }
    }

    /// Is a value with this fact different from zero?
    pub(super) fn truth(self) -> Option<bool> {
        match self {
            Fact::Int(n) => Some(n != 0),
            Fact::Null => Some(false),
            Fact::Address(a) => Some(a != 0),
            Fact::Local(..) | Fact::Object(..) | Fact::Exact(_) => Some(true),
            _ => None,
        }
    }
}

/// States are kept for functions of up to this many blocks times locals.
const MAX_CELLS: usize = 1 << 20;

/// Small integer type of a local, if it has one: a store to it truncates.
pub(super) fn narrow_kind(func: &Func, host: &dyn CompilerHost, local: Local) -> Option<ConvOp> {
    let data = &func.locals[local];
    if data.ty != Ty::I32 || data.type_id == TypeId(0) {
        return None;
    }
    match host.type_info(data.type_id).ok()?.kind {
        TypeKind::I1 => Some(ConvOp::Sext8),
        TypeKind::U1 => Some(ConvOp::Zext8),
        TypeKind::I2 => Some(ConvOp::Sext16),
        TypeKind::U2 => Some(ConvOp::Zext16),
        _ => None,
    }
}

/// Locals whose accesses are all visible: no address, no filter, no landing pad touches them.
pub(super) fn private_locals(func: &Func) -> Vec<bool> {
    let mut private: Vec<bool> = func.locals.values().map(|data| !data.pinned).collect();
    for inst in func.blocks.values().flat_map(|b| &b.insts) {
        if let Op::LocalAddr(l) = inst.op {
            private[l.index()] = false;
        }
    }
    for l in outside_uses(func) {
        private[l.index()] = false;
    }
    private
}

/// Locals that landing pads or filters use.
pub(super) fn outside_uses(func: &Func) -> Vec<Local> {
    let mut out = Vec::new();
    for clause in func.clauses.values() {
        out.push(clause.exception_local);
        out.extend(clause.record_local);
        out.extend(clause.selector_local);
    }
    for filter in &func.filters {
        for inst in filter.blocks.values().flat_map(|b| &b.insts) {
            if let Op::LocalGet(l) | Op::LocalSet(l, _) | Op::LocalAddr(l) = inst.op
                && l.index() < func.locals.len()
            {
                out.push(l);
            }
        }
    }
    out
}

/// Locals that some block reads before it sets them, if it does.
fn read_before_set(func: &Func) -> Vec<bool> {
    let mut read = vec![false; func.locals.len()];
    // The last block that set a local, and one.
    let mut set = vec![0; func.locals.len()];
    for (block, data) in func.blocks.iter() {
        let here = block.index() + 1;
        for inst in &data.insts {
            match inst.op {
                Op::LocalSet(l, _) => set[l.index()] = here,
                Op::LocalGet(l) => read[l.index()] |= set[l.index()] != here,
                _ => {}
            }
        }
    }
    read
}

/// The state at one point of a block.
pub(super) struct State<'a> {
    func: &'a Func,
    facts: &'a Facts<'a>,
    room: Scratch,
    /// Some local may be a copy of another.
    copies: bool,
}

/// See [`Facts::scratch`].
#[derive(Default)]
pub(super) struct Scratch {
    /// By local; of those that do not cross blocks the last fact in another block, until they are set.
    locals: Vec<Fact>,
    /// How often each local was set, to tell old copies from new ones.
    versions: Vec<u32>,
    /// Facts of the block's values so far, with the version of the local they are a copy of.
    values: Vec<(Fact, u32)>,
}

impl State<'_> {
    /// What is known of a value of the block.
    pub fn value(&self, v: Value) -> Fact {
        match self.room.values[v.index()] {
            (Fact::Copy(l), version) if self.room.versions[l.index()] != version => Fact::Any,
            (fact, _) => fact,
        }
    }

    fn define(&mut self, v: Value, fact: Fact) {
        let version = match fact {
            Fact::Copy(l) => self.room.versions[l.index()],
            _ => 0,
        };
        self.room.values[v.index()] = (fact, version);
    }

    fn int(&self, v: Value) -> Option<i64> {
        match self.value(v) {
            Fact::Int(n) => Some(n),
            _ => None,
        }
    }

    /// What the operation computes, seen from before it.
    pub fn eval(&self, op: &Op, ty: Ty) -> Fact {
        let int = |n: Option<i64>| n.map_or(Fact::Any, Fact::Int);
        match *op {
            Op::IConst(n) => match ty {
                Ty::I32 => Fact::Int(i64::from(n as i32)),
                Ty::I64 => Fact::Int(n),
                Ty::ByRef | Ty::Ref if n == 0 => Fact::Null,
                _ => Fact::Any,
            },
            Op::FConst(bits) => Fact::Float(bits),
            Op::Null if ty == Ty::I64 => Fact::Int(0),
            Op::Null => Fact::Null,
            Op::Address(a) => Fact::Address(a),
            Op::LocalGet(l) => match self.local(l) {
                Fact::Any if self.facts.tracked[l.index()] => Fact::Copy(l),
                fact => fact,
            },
            Op::LocalAddr(l) => Fact::Local(l, 0),
            Op::PtrAdd(a, b) => match (self.value(a), self.int(b)) {
                (Fact::Local(l, offset), Some(n)) => Fact::Local(l, offset.wrapping_add(n)),
                (Fact::Object(s, offset), Some(n)) => Fact::Object(s, offset.wrapping_add(n)),
                (fact, Some(0)) => fact,
                _ => Fact::Any,
            },
            Op::Bin(op, a, b) => match (self.int(a), self.int(b)) {
                (Some(a), Some(b)) => int(fold::bin(op, ty, a, b)),
                _ => Fact::Any,
            },
            Op::Un(op, a) => int(self.int(a).and_then(|a| fold::un(op, ty, a))),
            Op::Conv(ConvOp::IntToByRef, a) if self.int(a) == Some(0) => Fact::Null,
            Op::Conv(ConvOp::RefToByRef, a) => match self.value(a) {
                fact @ Fact::Object(..) => fact,
                _ => Fact::Any,
            },
            Op::CallHelper { helper, ref args } => self.cast(helper, args),
            Op::Load {
                ty: MemTy::I64,
                addr,
                offset: 0,
                ..
            } => match self.value(addr) {
                Fact::Exact(class) => self.facts.method_table(class).map_or(Fact::Any, Fact::Address),
                _ => Fact::Any,
            },
            Op::Conv(op, a) => int(self.int(a).and_then(|a| fold::conv(op, a))),
            Op::Cmp(cond, a, b) => int(self.compare(cond, a, b).map(i64::from)),
            Op::Select {
                cond,
                if_true,
                if_false,
            } => match self.int(cond) {
                Some(0) => self.value(if_false),
                Some(_) => self.value(if_true),
                None => Fact::Any,
            },
            _ => Fact::Any,
        }
    }

    /// Casts of objects whose class is known.
    fn cast(&self, helper: Helper, args: &[Value]) -> Fact {
        let &[handle, object] = args else { return Fact::Any };
        let (Some(to), Fact::Object(site, 0)) = (self.int(handle), self.value(object)) else {
            return Fact::Any;
        };
        let (to, class) = (TypeId(to as u64), self.facts.classes[site as usize]);
        match helper {
            Helper::Unbox if to == class => Fact::Object(site, 8),
            Helper::CastClass | Helper::IsInst => match (self.facts.host.compare_types_for_cast(class, to), helper) {
                (Some(true), _) => Fact::Object(site, 0),
                (Some(false), Helper::IsInst) => Fact::Null,
                _ => Fact::Any,
            },
            _ => Fact::Any,
        }
    }

    fn compare(&self, cond: Cond, a: Value, b: Value) -> Option<bool> {
        let ty = self.func.values[a];
        let (x, y) = (self.value(a), self.value(b));
        let number = |fact| match fact {
            Fact::Address(a) if ty == Ty::I64 => Fact::Int(a as i64),
            fact => fact,
        };
        if let (Fact::Int(x), Fact::Int(y)) = (number(x), number(y)) {
            return fold::cmp(cond, ty, x, y);
        }
        if !matches!(ty, Ty::Ref | Ty::ByRef) {
            return None;
        }
        let same = match (x, y) {
            (Fact::Null, Fact::Null) => true,
            (Fact::Null, other) | (other, Fact::Null) if other.truth() == Some(true) => {
                // Null is less than any address.
                let null_first = x == Fact::Null;
                return Some(match cond {
                    Cond::Eq => false,
                    Cond::Ne => true,
                    Cond::GtUn | Cond::GeUn => !null_first,
                    Cond::LtUn | Cond::LeUn => null_first,
                    _ => return None,
                });
            }
            (Fact::Local(l, o), Fact::Local(m, p)) if l == m => o == p,
            (Fact::Object(s, o), Fact::Object(t, p)) => s == t && o == p,
            (Fact::Address(x), Fact::Address(y)) => x == y,
            _ => return None,
        };
        match cond {
            Cond::Eq => Some(same),
            Cond::Ne => Some(!same),
            _ => None,
        }
    }

    /// What is known of a local that was set in the block or crosses blocks.
    pub fn local(&self, local: Local) -> Fact {
        self.room.locals[local.index()]
    }

    /// What the blocks behind this one may know.
    fn crossing(&self) -> impl Iterator<Item = Fact> {
        self.facts.crossing.iter().map(|&l| self.local(l))
    }

    /// Gives the room back.
    pub fn finish(self, scratch: &mut Scratch) {
        *scratch = self.room;
    }

    /// Records the result of an instruction.
    pub fn step(&mut self, inst: &Inst, site: Option<u32>) {
        if let Some(site) = site {
            // References to the object that this allocation made before are not to its new one.
            let values = self.room.values.iter_mut().map(|v| &mut v.0);
            for fact in self.room.locals.iter_mut().chain(values) {
                if matches!(fact, Fact::Object(s, _) if *s == site) {
                    *fact = Fact::Any;
                }
            }
        }
        if let Op::LocalSet(l, v) = inst.op {
            self.set(l, self.value(v));
        }
        if let Some(result) = inst.result {
            let fact = match site {
                Some(site) => Fact::Object(site, 0),
                None => match self.eval(&inst.op, self.func.values[result]) {
                    Fact::Any => self.func.exact.get(&result).map_or(Fact::Any, |&c| Fact::Exact(c)),
                    fact => fact,
                },
            };
            self.define(result, fact);
        }
    }

    fn set(&mut self, local: Local, fact: Fact) {
        let i = local.index();
        if !self.facts.tracked[i] || fact == Fact::Copy(local) {
            return;
        }
        self.room.versions[i] += 1;
        if self.copies {
            for other in &mut self.room.locals {
                if *other == Fact::Copy(local) {
                    *other = Fact::Any;
                }
            }
        }
        self.room.locals[i] = match (fact, self.facts.narrow[i]) {
            (Fact::Int(n), Some(op)) => fold::conv(op, n).map_or(Fact::Any, Fact::Int),
            (Fact::Copy(from), narrow) => {
                let same = self.facts.narrow[from.index()] == narrow || narrow.is_none();
                let types = self.func.locals[from].ty == self.func.locals[local].ty;
                if same && types {
                    self.copies = true;
                    fact
                } else {
                    Fact::Any
                }
            }
            (fact, _) => fact,
        };
    }
}

/// The result: states at the starts of blocks.
pub(super) struct Facts<'h> {
    host: &'h dyn CompilerHost,
    tracked: Vec<bool>,
    narrow: Vec<Option<ConvOp>>,
    /// Locals that are followed and read in some block that has not set them before.
    crossing: Vec<Local>,
    /// By block: facts of those; `None` if it is not reached.
    entries: Vec<Option<Box<[Fact]>>>,
    /// Allocations by the value they define.
    sites: FxHashMap<Value, u32>,
    /// Exact class of the object of each allocation.
    classes: Vec<TypeId>,
}

impl<'h> Facts<'h> {
    /// Analyses a function; `None` if it is too large. `sites`: allocations to follow, the value they define and its class.
    pub fn of(func: &Func, host: &'h dyn CompilerHost, sites: &[(Value, TypeId)]) -> Option<Facts<'h>> {
        if func.blocks.len().saturating_mul(func.locals.len()) > MAX_CELLS {
            return None;
        }
        let private = private_locals(func);
        let tracked: Vec<bool> = func
            .locals
            .iter()
            .map(|(l, data)| private[l.index()] && !matches!(data.ty, Ty::Struct(_)))
            .collect();
        let crosses = read_before_set(func);
        let follows = |l: &Local| tracked[l.index()] && crosses[l.index()];
        let crossing = func.locals.keys().filter(follows).collect();
        let narrow = func.locals.keys().map(|l| narrow_kind(func, host, l)).collect();
        let mut facts = Facts {
            host,
            tracked,
            narrow,
            crossing,
            entries: vec![None; func.blocks.len()],
            sites: sites.iter().zip(0..).map(|(s, n)| (s.0, n)).collect(),
            classes: sites.iter().map(|s| s.1).collect(),
        };
        facts.solve(func);
        Some(facts)
    }

    /// Address of a class's MethodTable.
    fn method_table(&self, class: TypeId) -> Option<u64> {
        let info = self.host.type_info(class).ok()?;
        (info.method_table != 0).then_some(info.method_table)
    }

    /// Is the local one whose values are followed?
    pub fn is_tracked(&self, local: Local) -> bool {
        self.tracked[local.index()]
    }

    /// The site of an allocation.
    pub fn site(&self, inst: &Inst) -> Option<u32> {
        if self.sites.is_empty() {
            return None;
        }
        inst.result.and_then(|r| self.sites.get(&r).copied())
    }

    /// Room for facts, to be passed from block to block.
    pub fn scratch(func: &Func) -> Scratch {
        Scratch {
            locals: vec![Fact::Any; func.locals.len()],
            versions: vec![0; func.locals.len()],
            values: vec![(Fact::Any, 0); func.values.len()],
        }
    }

    /// The state at the start of a reached block.
    pub fn start<'a>(&'a self, func: &'a Func, block: Block, scratch: &mut Scratch) -> Option<State<'a>> {
        let known = self.entries[block.index()].as_ref()?;
        let mut room = std::mem::take(scratch);
        for (l, &fact) in self.crossing.iter().zip(known) {
            room.locals[l.index()] = fact;
        }
        Some(State {
            func,
            facts: self,
            copies: known.iter().any(|f| matches!(f, Fact::Copy(_))),
            room,
        })
    }

    fn solve(&mut self, func: &Func) {
        let entry: Box<[Fact]> = self
            .crossing
            .iter()
            .map(|&l| {
                let data = &func.locals[l];
                match data.ty {
                    _ if l.index() < func.arg_count => Fact::Any,
                    Ty::Ref | Ty::ByRef => Fact::Null,
                    Ty::I32 | Ty::I64 if data.zero_init => Fact::Int(0),
                    Ty::F32 | Ty::F64 if data.zero_init => Fact::Float(0),
                    _ => Fact::Any,
                }
            })
            .collect();
        self.entries[func.entry.index()] = Some(entry);
        // In this order a block comes after those before it, but for loops.
        let order = reverse_post_order(func);
        let mut position = vec![0; func.blocks.len()];
        for (&block, i) in order.iter().zip(0_u32..) {
            position[block.index()] = i;
        }
        let mut work = std::collections::BTreeSet::from([position[func.entry.index()]]);
        let mut scratch = Facts::scratch(func);
        let mut at_end: Vec<Fact> = Vec::new();
        while let Some(first) = work.pop_first() {
            let block = order[first as usize];
            let data = &func.blocks[block];
            let Some(mut state) = self.start(func, block, &mut scratch) else {
                continue;
            };
            let mut at_exception =
                (!func.protects[data.protect].is_empty()).then(|| state.crossing().collect::<Vec<_>>());
            for inst in &data.insts {
                let site = self.site(inst);
                state.step(inst, site);
                if let Some(at_exception) = &mut at_exception
                    && (site.is_some() || matches!(inst.op, Op::LocalSet(..)))
                {
                    for (known, now) in at_exception.iter_mut().zip(state.crossing()) {
                        *known = known.meet(now);
                    }
                }
            }
            let mut out: smallvec::SmallVec<[Block; 4]> = smallvec::SmallVec::new();
            live_targets(&data.term, &state, |b| out.push(b));
            at_end.clear();
            at_end.extend(state.crossing());
            state.finish(&mut scratch);
            for to in out {
                if self.join(to, &at_end) {
                    work.insert(position[to.index()]);
                }
            }
            if let Some(at_exception) = at_exception {
                for &clause in &func.protects[data.protect] {
                    let handler = func.clauses[clause].handler;
                    if self.join(handler, &at_exception) {
                        work.insert(position[handler.index()]);
                    }
                }
            }
        }
    }

    fn join(&mut self, block: Block, state: &[Fact]) -> bool {
        match &mut self.entries[block.index()] {
            slot @ None => {
                *slot = Some(state.into());
                true
            }
            Some(known) => {
                let mut changed = false;
                for (known, new) in known.iter_mut().zip(state) {
                    let met = known.meet(*new);
                    changed |= met != *known;
                    *known = met;
                }
                changed
            }
        }
    }
}

/// Where a terminator may go, as far as its operand is known.
pub(super) fn live_targets(term: &Term, state: &State<'_>, mut f: impl FnMut(Block)) {
    match decided(term, state) {
        Some(block) => f(block),
        None => successors(term, f),
    }
}

/// The only target of a terminator whose operand is known.
pub(super) fn decided(term: &Term, state: &State<'_>) -> Option<Block> {
    match term {
        Term::Branch { cond, then, other } => {
            let truth = state.value(*cond).truth()?;
            Some(if truth { *then } else { *other })
        }
        Term::Switch {
            index,
            targets,
            default,
        } => {
            let Fact::Int(n) = state.value(*index) else { return None };
            Some(*targets.get(n as u32 as usize).unwrap_or(default))
        }
        _ => None,
    }
}
