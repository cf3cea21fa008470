//! Proofs about integers and references at a point of a function.
//!
//! What is known: the conditions of the branches that lead to the point, the checks that did not raise before it, and what the
//! operations imply. All of it becomes differences `a - b <= c`, as in the ABCD algorithm (Bodík, Gupta, Sarkar, PLDI 2000): a
//! proof walks from `a` over facts and definitions to `b`. A phi holds if all its inputs do; meeting it again on the way is an
//! induction over the iterations, sound if the claim did not become stronger.
//!
//! Numbers name values of the present iteration ([`super::ssa_view`]): where a proof goes from a phi to what it
//! was on an incoming edge, the other side must have been defined before the phi's block.

use super::loops::Graph;
use super::ssa_view::{Expr, Num, View};
use crate::ir::*;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};

/// Steps of one proof, and how far it goes from fact to fact.
const FUEL: u32 = 300;
const DEPTH: u32 = 12;
/// No array is longer (`Array.MaxLength` of bytes).
const MAX_ARRAY: i128 = 0x7fff_ffc7;

/// A place in the code.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    block: Block,
    /// Before this instruction; the terminator counts, too.
    index: usize,
    /// On the edge to this block.
    edge: Option<Block>,
}

impl At {
    pub fn before(block: Block, index: usize) -> At {
        At {
            block,
            index,
            edge: None,
        }
    }

    pub fn edge(from: Block, to: Block) -> At {
        At {
            block: from,
            index: usize::MAX,
            edge: Some(to),
        }
    }
}

/// A relation of a number to others.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rel {
    /// self - other <= .1
    Minus(Num, i128),
    /// other - self <= .1
    From(Num, i128),
    /// Unsigned: self < other, or <= if not strict.
    Below(Num, bool),
    /// Not null.
    NonNull,
}

/// Where a relation holds: in that block from the instruction on, and in all that it dominates.
#[derive(Clone, Copy, Debug)]
struct Since {
    block: Block,
    index: usize,
}

type Hypotheses = Vec<(Num, Option<Num>, i128)>;

/// Answers questions about one function.
pub(super) struct Prover<'a> {
    view: &'a View,
    graph: &'a Graph,
    facts: FxHashMap<Num, Vec<(Since, Rel)>>,
    /// Of edges to blocks with other predecessors.
    edges: FxHashMap<(Block, Block), Vec<(Num, Rel)>>,
    fuel: Cell<u32>,
    depth: Cell<u32>,
    upper: RefCell<Hypotheses>,
    lower: RefCell<Vec<(Num, i128)>>,
}

fn limits(ty: Ty) -> (i128, i128) {
    match ty {
        Ty::I32 => (i128::from(i32::MIN), i128::from(i32::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    }
}

fn is_integer(ty: Ty) -> bool {
    matches!(ty, Ty::I32 | Ty::I64)
}

impl<'a> Prover<'a> {
    /// Collects what branches and checks say.
    pub fn new(func: &Func, view: &'a View, graph: &'a Graph) -> Prover<'a> {
        let mut prover = Prover {
            view,
            graph,
            facts: FxHashMap::default(),
            edges: FxHashMap::default(),
            fuel: Cell::new(0),
            depth: Cell::new(0),
            upper: RefCell::default(),
            lower: RefCell::default(),
        };
        for &block in &graph.order {
            prover.checks(func, block);
            if let Term::Branch { cond, then, other } = func.blocks[block].term
                && then != other
            {
                let cond = view.num(cond);
                for (to, truth) in [(then, true), (other, false)] {
                    let mut facts = Vec::new();
                    assume(view, cond, truth, &mut facts);
                    if facts.is_empty() {
                        continue;
                    }
                    if graph.preds[to.index()].len() == 1 && !graph.handlers[to.index()] {
                        let since = Since { block: to, index: 0 };
                        facts.into_iter().for_each(|(n, rel)| prover.note(n, since, rel));
                    } else {
                        prover.edges.insert((block, to), facts);
                    }
                }
            }
        }
        prover
    }

    fn note(&mut self, num: Num, since: Since, rel: Rel) {
        self.facts.entry(num).or_default().push((since, rel));
    }

    fn checks(&mut self, func: &Func, block: Block) {
        let view = self.view;
        for (i, inst) in func.blocks[block].insts.iter().enumerate() {
            let since = Since { block, index: i + 1 };
            match inst.op {
                Op::NullCheck(v) => self.note(view.num(v), since, Rel::NonNull),
                Op::BoundsCheck { index, length } => {
                    let (index, length) = (view.num(index), view.num(length));
                    self.note(index, since, Rel::Below(length, true));
                }
                Op::CallHelper {
                    helper: Helper::NewObject | Helper::NewArray | Helper::NewMdArray,
                    ..
                } => {
                    let Some(result) = inst.result.map(|r| view.num(r)) else {
                        continue;
                    };
                    self.note(result, since, Rel::NonNull);
                    if let Some(length) = view.made_with(result)
                        && let Some(zero) = view.find(&Expr::Int(Ty::I32, 0))
                    {
                        self.note(length, since, Rel::From(zero, 0));
                        self.note(length, since, Rel::NonNull);
                    }
                }
                _ => {}
            }
        }
    }

    fn holds(&self, since: Since, at: At) -> bool {
        if since.block == at.block {
            since.index <= at.index
        } else {
            self.graph.dominates(since.block, at.block)
        }
    }

    /// Calls `f` with what is known of a number at a point, until it says true.
    fn any_fact(&self, num: Num, at: At, mut f: impl FnMut(Rel) -> bool) -> bool {
        if let Some(to) = at.edge
            && let Some(facts) = self.edges.get(&(at.block, to))
            && facts.iter().any(|&(n, rel)| n == num && f(rel))
        {
            return true;
        }
        let facts = self.facts.get(&num).map_or(&[][..], |f| f);
        facts.iter().rev().any(|&(since, rel)| self.holds(since, at) && f(rel))
    }

    /// Is the reference or managed pointer not null?
    pub fn non_null(&self, num: Num, at: At) -> bool {
        self.fuel.set(FUEL);
        self.not_null(num, at, 4)
    }

    fn not_null(&self, num: Num, at: At, depth: u32) -> bool {
        match *self.view.expr(num) {
            Expr::Address(_, a) => return a != 0,
            Expr::LocalAddr(..) | Expr::ElemAddr(..) => return true,
            Expr::Null(_) => return false,
            _ => {}
        }
        if self.any_fact(num, at, |rel| rel == Rel::NonNull) {
            return true;
        }
        if depth == 0 {
            return false;
        }
        match *self.view.expr(num) {
            Expr::Select(_, a, b) => self.not_null(a, at, depth - 1) && self.not_null(b, at, depth - 1),
            Expr::Phi(block, local) => {
                let preds = &self.graph.preds[block.index()];
                !preds.is_empty()
                    && !self.graph.handlers[block.index()]
                    && preds.iter().all(|&p| {
                        let input = self.view.at_end(p, local);
                        input.is_some_and(|n| n == num || self.not_null(n, At::edge(p, block), depth - 1))
                    })
            }
            _ => false,
        }
    }

    /// Is a comparison decided?
    pub fn compare(&self, cond: Cond, a: Num, b: Num, at: At) -> Option<bool> {
        let ty = self.view.ty(a);
        if matches!(ty, Ty::Ref | Ty::ByRef) {
            let other = match (self.view.expr(a), self.view.expr(b)) {
                (_, Expr::Null(_)) => a,
                (Expr::Null(_), _) if matches!(cond, Cond::Eq | Cond::Ne) => b,
                _ => return None,
            };
            let answer = match cond {
                Cond::Eq | Cond::LeUn => false,
                Cond::Ne | Cond::GtUn => true,
                _ => return None,
            };
            return self.non_null(other, at).then_some(answer);
        }
        if !is_integer(ty) || self.view.ty(b) != ty {
            return None;
        }
        let less = |a, b, strict: bool| self.less(a, b, strict, at);
        let below = |a, b, strict: bool| self.below(a, b, strict, at);
        let either = |yes: bool, no: &dyn Fn() -> bool| {
            if yes { Some(true) } else { no().then_some(false) }
        };
        match cond {
            Cond::Lt => either(less(a, b, true), &|| less(b, a, false)),
            Cond::Le => either(less(a, b, false), &|| less(b, a, true)),
            Cond::Gt => either(less(b, a, true), &|| less(a, b, false)),
            Cond::Ge => either(less(b, a, false), &|| less(a, b, true)),
            Cond::LtUn => either(below(a, b, true), &|| below(b, a, false)),
            Cond::LeUn => either(below(a, b, false), &|| below(b, a, true)),
            Cond::GtUn => either(below(b, a, true), &|| below(a, b, false)),
            Cond::GeUn => either(below(b, a, false), &|| below(a, b, true)),
            Cond::Eq | Cond::Ne if less(a, b, true) || less(b, a, true) => Some(cond == Cond::Ne),
            _ => None,
        }
    }

    /// Is `a` less than `b`, or equal if not `strict`, as signed integers?
    pub fn less(&self, a: Num, b: Num, strict: bool, at: At) -> bool {
        self.fuel.set(FUEL);
        self.at_most(a, Some(b), -i128::from(strict), at)
    }

    /// The same of unsigned integers.
    pub fn below(&self, a: Num, b: Num, strict: bool, at: At) -> bool {
        if self.any_fact(
            a,
            at,
            |rel| matches!(rel, Rel::Below(other, s) if other == b && (s || !strict)),
        ) {
            return true;
        }
        self.fuel.set(FUEL);
        if !self.at_least(a, 0, at) {
            return false;
        }
        self.fuel.set(FUEL);
        self.at_most(a, Some(b), -i128::from(strict), at)
    }

    fn spend(&self) -> bool {
        let fuel = self.fuel.get();
        self.fuel.set(fuel.saturating_sub(1));
        fuel > 0
    }

    /// Is everything of `num` defined before the start of the block?
    fn is_older(&self, num: Num, block: Block) -> bool {
        let inside = |b: Block| b == block || !self.graph.dominates(b, block);
        !self.view.depends(num, &inside)
    }

    /// a - b <= c? (`b` is 0 if `None`.)
    fn at_most(&self, a: Num, b: Option<Num>, c: i128, at: At) -> bool {
        let ty = self.view.ty(a);
        if Some(a) == b {
            return c >= 0;
        }
        if !is_integer(ty) || !self.spend() {
            return false;
        }
        if let Some(b) = b
            && let Some(n) = self.view.int(b)
        {
            return self.at_most(a, None, c + i128::from(n), at);
        }
        if let Some(n) = self.view.int(a) {
            let n = i128::from(n);
            return match b {
                None => n <= c,
                Some(b) => self.at_least(b, n - c, at),
            };
        }
        if b.is_none() && c >= self.greatest(a) {
            return true;
        }
        if let Expr::Phi(..) = self.view.expr(a) {
            let assumed = self.upper.borrow().iter().find(|h| h.0 == a && h.1 == b).map(|h| h.2);
            if let Some(before) = assumed {
                return c >= before;
            }
        }
        self.deeper(|| {
            self.at_most_by_facts(a, b, c, at)
                || self.at_most_by_definition(a, b, c, at)
                || b.is_some_and(|b| self.at_most_by_difference(a, b, c, at))
        })
    }

    /// The greatest and the least value that the kind of operation can give.
    fn greatest(&self, num: Num) -> i128 {
        match self.view.expr(num) {
            Expr::ArrayLen(_) => MAX_ARRAY,
            Expr::Cmp(..) => 1,
            Expr::Conv(ConvOp::Zext8, _) => 255,
            Expr::Conv(ConvOp::Sext8, _) => 127,
            Expr::Conv(ConvOp::Zext16, _) => 65535,
            Expr::Conv(ConvOp::Sext16, _) => 32767,
            Expr::Conv(ConvOp::ZextI64, _) => i128::from(u32::MAX),
            Expr::Conv(ConvOp::SextI64, _) => i128::from(i32::MAX),
            Expr::Intrinsic(IntrinsicOp::PopCount | IntrinsicOp::LeadingZeros | IntrinsicOp::TrailingZeros, _) => 64,
            _ => limits(self.view.ty(num)).1,
        }
    }

    fn least(&self, num: Num) -> i128 {
        match self.view.expr(num) {
            Expr::ArrayLen(_)
            | Expr::Cmp(..)
            | Expr::Conv(ConvOp::Zext8 | ConvOp::Zext16 | ConvOp::ZextI64, _)
            | Expr::Intrinsic(IntrinsicOp::PopCount | IntrinsicOp::LeadingZeros | IntrinsicOp::TrailingZeros, _) => 0,
            Expr::Conv(ConvOp::Sext8, _) => -128,
            Expr::Conv(ConvOp::Sext16, _) => -32768,
            Expr::Conv(ConvOp::SextI64, _) => i128::from(i32::MIN),
            _ => limits(self.view.ty(num)).0,
        }
    }

    fn deeper(&self, f: impl FnOnce() -> bool) -> bool {
        if self.depth.get() >= DEPTH {
            return false;
        }
        self.depth.set(self.depth.get() + 1);
        let answer = f();
        self.depth.set(self.depth.get() - 1);
        answer
    }

    fn at_most_by_facts(&self, a: Num, b: Option<Num>, c: i128, at: At) -> bool {
        self.any_fact(a, at, |rel| match rel {
            Rel::Minus(other, k) => self.at_most(other, b, c - k, at),
            Rel::Below(other, strict) => {
                self.at_least(other, 0, at) && self.at_most(other, b, c + i128::from(strict), at)
            }
            _ => false,
        })
    }

    /// By what is known of `b - a`, if the function computes it.
    fn at_most_by_difference(&self, a: Num, b: Num, c: i128, at: At) -> bool {
        let ty = self.view.ty(a);
        let Some(difference) = self.view.find(&Expr::Bin(ty, BinOp::Sub, b, a)) else {
            return false;
        };
        // (Its facts only: what its operands say was asked already.)
        let great = self.any_fact(difference, at, |rel| match rel {
            Rel::From(other, k) => self.at_least(other, k - c, at),
            _ => false,
        });
        great && self.at_least(a, 0, at) && self.at_least(b, 0, at)
    }

    fn at_most_by_definition(&self, a: Num, b: Option<Num>, c: i128, at: At) -> bool {
        let ty = self.view.ty(a);
        let (min, max) = limits(ty);
        match self.view.expr(a).clone() {
            Expr::Bin(_, BinOp::Add, x, y) => {
                let Some(k) = self.view.int(y).map(i128::from) else {
                    return false;
                };
                let exact = if k > 0 {
                    self.at_most(x, None, max - k, at)
                } else {
                    self.at_least(x, min - k, at)
                };
                exact && self.at_most(x, b, c - k, at)
            }
            Expr::Bin(_, BinOp::Sub, x, y) => {
                self.at_least(y, 0, at) && self.at_least(x, 0, at) && self.at_most(x, b, c, at)
            }
            Expr::Bin(_, BinOp::And, x, y) => {
                (self.at_least(y, 0, at) && self.at_most(y, b, c, at))
                    || (self.at_least(x, 0, at) && self.at_most(x, b, c, at))
            }
            Expr::Bin(_, BinOp::ShrUn | BinOp::Shr, x, y) => {
                let width = if ty == Ty::I32 { 31 } else { 63 };
                let amount = self.view.int(y).map_or(0, |n| n & width);
                let unsigned = matches!(self.view.expr(a), Expr::Bin(_, BinOp::ShrUn, ..));
                let all = i128::from(if ty == Ty::I32 { u64::from(u32::MAX) } else { u64::MAX });
                if b.is_none() && unsigned && amount > 0 && c >= all >> amount {
                    return true;
                }
                if !self.at_least(x, 0, at) {
                    return false;
                }
                match b {
                    None if c >= 0 => self.at_most(x, None, (c << amount) + ((1 << amount) - 1), at),
                    _ => self.at_most(x, b, c, at),
                }
            }
            Expr::Bin(_, BinOp::Div, x, y) => {
                let positive = self.view.int(y).is_some_and(|n| n > 0);
                positive && self.at_least(x, 0, at) && self.at_most(x, b, c, at)
            }
            Expr::Bin(_, BinOp::Rem | BinOp::RemUn, _, y) => self.at_least(y, 1, at) && self.at_most(y, b, c + 1, at),
            Expr::Select(cond, x, y) => {
                let least = matches!(*self.view.expr(cond), Expr::Cmp(Cond::Lt | Cond::Le, p, q) if p == x && q == y);
                let first = self.at_most(x, b, c, at);
                if least {
                    first || self.at_most(y, b, c, at)
                } else {
                    first && self.at_most(y, b, c, at)
                }
            }
            Expr::Conv(op, x) => match (op, b) {
                (ConvOp::SextI64, None) => self.at_most(x, None, c, at),
                (ConvOp::ZextI64, None) => self.at_least(x, 0, at) && self.at_most(x, None, c, at),
                (ConvOp::SextI64, Some(b)) => match *self.view.expr(b) {
                    Expr::Conv(ConvOp::SextI64, y) => self.at_most(x, Some(y), c, at),
                    Expr::Conv(ConvOp::ZextI64, y) => self.at_least(y, 0, at) && self.at_most(x, Some(y), c, at),
                    _ => false,
                },
                (ConvOp::ZextI64, Some(b)) => match *self.view.expr(b) {
                    Expr::Conv(ConvOp::SextI64, y) => self.at_least(x, 0, at) && self.at_most(x, Some(y), c, at),
                    Expr::Conv(ConvOp::ZextI64, y) => {
                        self.at_least(x, 0, at) && self.at_least(y, 0, at) && self.at_most(x, Some(y), c, at)
                    }
                    _ => false,
                },
                _ => false,
            },
            Expr::Phi(block, local) => {
                if b.is_some_and(|b| !self.is_older(b, block)) {
                    return false;
                }
                self.upper.borrow_mut().push((a, b, c));
                let all = self.all_inputs(block, local, |n, at| self.at_most(n, b, c, at));
                self.upper.borrow_mut().pop();
                all
            }
            _ => false,
        }
    }

    fn all_inputs(&self, block: Block, local: Local, f: impl Fn(Num, At) -> bool) -> bool {
        let preds = &self.graph.preds[block.index()];
        !preds.is_empty()
            && !self.graph.handlers[block.index()]
            && preds.iter().all(|&p| {
                let input = self.view.at_end(p, local);
                input.is_some_and(|n| f(n, At::edge(p, block)))
            })
    }

    /// a >= c?
    fn at_least(&self, a: Num, c: i128, at: At) -> bool {
        let ty = self.view.ty(a);
        if !is_integer(ty) || !self.spend() {
            return false;
        }
        if let Some(n) = self.view.int(a) {
            return i128::from(n) >= c;
        }
        if c <= self.least(a) {
            return true;
        }
        if let Expr::Phi(..) = self.view.expr(a) {
            let assumed = self.lower.borrow().iter().find(|h| h.0 == a).map(|h| h.1);
            if let Some(before) = assumed {
                return c <= before;
            }
        }
        self.deeper(|| self.at_least_by_facts(a, c, at) || self.at_least_by_definition(a, c, at))
    }

    fn at_least_by_facts(&self, a: Num, c: i128, at: At) -> bool {
        self.any_fact(a, at, |rel| match rel {
            Rel::From(other, k) => self.at_least(other, c + k, at),
            Rel::Below(other, _) => c <= 0 && self.at_least(other, 0, at),
            _ => false,
        })
    }

    fn at_least_by_definition(&self, a: Num, c: i128, at: At) -> bool {
        let ty = self.view.ty(a);
        let (min, max) = limits(ty);
        match self.view.expr(a).clone() {
            Expr::Bin(_, BinOp::Add, x, y) => {
                let Some(k) = self.view.int(y).map(i128::from) else {
                    return false;
                };
                let exact = if k > 0 {
                    self.at_most(x, None, max - k, at)
                } else {
                    self.at_least(x, min - k, at)
                };
                exact && self.at_least(x, c - k, at)
            }
            // (The difference of numbers that are not negative does not wrap around.)
            Expr::Bin(_, BinOp::Sub, x, y) => {
                self.at_least(x, 0, at) && self.at_least(y, 0, at) && self.at_most(y, Some(x), -c, at)
            }
            Expr::Bin(_, BinOp::And, x, y) => c <= 0 && (self.at_least(y, 0, at) || self.at_least(x, 0, at)),
            Expr::Bin(_, BinOp::ShrUn, x, y) => {
                let width = if ty == Ty::I32 { 31 } else { 63 };
                let shifted = self.view.int(y).is_some_and(|n| n & width > 0);
                c <= 0 && (shifted || self.at_least(x, 0, at))
            }
            Expr::Bin(_, BinOp::Shr, x, _) | Expr::Bin(_, BinOp::Rem, x, _) => c <= 0 && self.at_least(x, 0, at),
            Expr::Bin(_, BinOp::RemUn, _, y) => c <= 0 && self.at_least(y, 0, at),
            Expr::Bin(_, BinOp::Div, x, y) => {
                c <= 0 && self.view.int(y).is_some_and(|n| n > 0) && self.at_least(x, 0, at)
            }
            Expr::Select(_, x, y) => self.at_least(x, c, at) && self.at_least(y, c, at),
            Expr::Conv(ConvOp::SextI64 | ConvOp::ZextI64, x) => self.at_least(x, c, at),
            Expr::Phi(block, local) => {
                self.lower.borrow_mut().push((a, c));
                let all = self.all_inputs(block, local, |n, at| self.at_least(n, c, at));
                self.lower.borrow_mut().pop();
                all
            }
            _ => false,
        }
    }
}

/// What a condition says if it is true or false.
fn assume(view: &View, cond: Num, truth: bool, out: &mut Vec<(Num, Rel)>) {
    let Expr::Cmp(op, a, b) = *view.expr(cond) else {
        if truth && matches!(view.ty(cond), Ty::Ref | Ty::ByRef) {
            out.push((cond, Rel::NonNull));
        }
        return;
    };
    // A comparison of a comparison with zero.
    if view.int(b) == Some(0)
        && matches!(view.expr(a), Expr::Cmp(..))
        && let Some(same) = match op {
            Cond::Eq => Some(false),
            Cond::Ne | Cond::GtUn => Some(true),
            _ => None,
        }
    {
        return assume(view, a, truth == same, out);
    }
    match view.ty(a) {
        Ty::I32 | Ty::I64 => {}
        Ty::Ref | Ty::ByRef => {
            let non_null = match op {
                Cond::Eq | Cond::LeUn => !truth,
                Cond::Ne | Cond::GtUn => truth,
                _ => false,
            };
            if non_null && matches!(view.expr(b), Expr::Null(_)) {
                out.push((a, Rel::NonNull));
            }
            return;
        }
        // The negation of a comparison of floats is not a comparison.
        _ => return,
    }
    let op = if truth {
        op
    } else {
        match op {
            Cond::Eq => Cond::Ne,
            Cond::Ne => Cond::Eq,
            Cond::Lt => Cond::Ge,
            Cond::Le => Cond::Gt,
            Cond::Gt => Cond::Le,
            Cond::Ge => Cond::Lt,
            Cond::LtUn => Cond::GeUn,
            Cond::LeUn => Cond::GtUn,
            Cond::GtUn => Cond::LeUn,
            Cond::GeUn => Cond::LtUn,
            Cond::Unordered => return,
        }
    };
    let mut minus = |a: Num, b: Num, k: i128| {
        out.push((a, Rel::Minus(b, k)));
        out.push((b, Rel::From(a, k)));
    };
    match op {
        Cond::Lt => minus(a, b, -1),
        Cond::Le => minus(a, b, 0),
        Cond::Gt => minus(b, a, -1),
        Cond::Ge => minus(b, a, 0),
        Cond::Eq => {
            minus(a, b, 0);
            minus(b, a, 0);
        }
        Cond::LtUn => out.push((a, Rel::Below(b, true))),
        Cond::LeUn => out.push((a, Rel::Below(b, false))),
        Cond::GtUn => out.push((b, Rel::Below(a, true))),
        Cond::GeUn => out.push((b, Rel::Below(a, false))),
        Cond::Ne | Cond::Unordered => {}
    }
}
