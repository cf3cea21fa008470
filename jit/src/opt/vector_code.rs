//! The code of a vector loop: nodes of an iteration become vectors of several iterations.
//!
//! A node whose elements have the smallest width is one vector, wider ones are several (their *parts*). Additions and
//! the like may be done in fewer bits than they have if no more are wanted of the result.

use super::extremes::Watch;
use super::loop_body::{Body, Effect};
use super::reductions::Reduce;
use super::vectorize::{Place, Plan, negated_float, new_local, place};
use crate::ir::*;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// Vectors that hold a node's elements, in order.
type Parts = SmallVec<[Value; 4]>;

/// Independent accumulators of a sum: an addition takes a cycle, and two to four can start in one.
const ACCUMULATORS: usize = 4;

/// The vector loop and what it needs.
pub(super) struct Code {
    /// The last part of the loop, which counts.
    pub insts: Vec<Inst>,
    /// The part before it and its result: whether to leave early.
    pub early: Option<(Vec<Inst>, Value)>,
    /// Invariants that this conversion must not change.
    pub fits: Vec<(Value, ConvOp)>,
    /// Condition of the next round.
    pub again: Value,
    pub counter: Local,
    pub last: Local,
    /// Vector instructions.
    pub operations: usize,
    /// Invariants in all lanes.
    pub splats: Vec<(Value, Lane, Local)>,
    pub scalars: Vec<(Value, Local)>,
    /// By reduction.
    pub accumulators: Vec<Vec<Local>>,
    /// By reduction: of floats.
    pub watches: Vec<Option<Watch>>,
}

impl Code {
    /// May the results be of no use?
    pub fn is_checked(&self) -> bool {
        self.watches.iter().any(Option::is_some)
    }
}

/// Emits instructions for one block.
pub(super) struct Emitter<'a> {
    pub func: &'a mut Func,
    body: &'a Body,
    pub plan: &'a Plan,
    insts: Vec<Inst>,
    il: u32,
    site: SiteId,
    /// Scalar values of invariant nodes.
    known: FxHashMap<Value, Value>,
    vectors: FxHashMap<(Value, u32, u32), Parts>,
    addresses: Vec<(bool, Value, u32, Value)>,
    splats: Vec<(Value, Lane, Local)>,
    scalars: Vec<(Value, Local)>,
    counter: Option<Value>,
    fits: Vec<(Value, ConvOp)>,
    operations: usize,
}

impl<'a> Emitter<'a> {
    pub fn new(func: &'a mut Func, body: &'a Body, plan: &'a Plan) -> Self {
        Emitter {
            func,
            body,
            plan,
            insts: Vec::new(),
            il: NO_IL,
            site: SiteId::ROOT,
            known: FxHashMap::default(),
            vectors: FxHashMap::default(),
            addresses: Vec::new(),
            splats: Vec::new(),
            scalars: Vec::new(),
            counter: None,
            fits: Vec::new(),
            operations: 0,
        }
    }

    pub fn push(&mut self, op: Op) {
        self.insts.push(Inst {
            op,
            result: None,
            il: self.il,
            site: self.site,
        });
    }

    pub fn emit(&mut self, op: Op, ty: Ty) -> Value {
        let result = self.func.values.push(ty);
        self.insts.push(Inst {
            op,
            result: Some(result),
            il: self.il,
            site: self.site,
        });
        result
    }

    pub fn ty(&self, v: Value) -> Ty {
        self.func.values[v]
    }

    pub fn both(&mut self, a: Option<Value>, b: Value) -> Value {
        match a {
            Some(a) => self.emit(Op::Bin(BinOp::And, a, b), Ty::I32),
            None => b,
        }
    }

    /// Adds a constant to an I64.
    pub fn plus(&mut self, v: Value, n: i64) -> Value {
        if n == 0 {
            return v;
        }
        let n = self.emit(Op::IConst(n), Ty::I64);
        self.emit(Op::Bin(BinOp::Add, v, n), Ty::I64)
    }

    /// Ends the block.
    pub fn finish(self, block: Block, term: Term) {
        let data = &mut self.func.blocks[block];
        data.insts = self.insts;
        data.term = term;
    }

    /// The scalar value of an invariant node.
    pub fn scalar(&mut self, node: Value) -> Value {
        if let Some(&v) = self.known.get(&node) {
            return v;
        }
        let ty = self.body.ty(node);
        let mut op = match self.body.op(node) {
            Some(op) => op.clone(),
            // (Only of nodes that change; there is no such call.)
            None => Op::IConst(0),
        };
        map_uses(&mut op, |v| *v = self.scalar(*v));
        let v = self.emit(op, ty);
        self.known.insert(node, v);
        v
    }

    /// The address of element 0 of a place, as a number.
    pub fn address(&mut self, place: &Place) -> Value {
        let base = self.scalar(place.base);
        let v = if self.ty(base) == Ty::I64 {
            base
        } else {
            self.emit(Op::Conv(ConvOp::RefToInt, base), Ty::I64)
        };
        let header = if place.array { 16 } else { 0 };
        self.plus(v, header + i64::from(place.offset))
    }

    pub fn vector(&mut self, op: VecOp, lane: Lane, args: &[Value]) -> Option<Value> {
        if !op.takes(lane) {
            return None;
        }
        self.operations += 1;
        let ty = op.result(lane);
        let args = args.to_vec();
        Some(self.emit(Op::Vector { op, lane, args }, ty))
    }

    /// The vector loop; `None` if it has an operation that there is no vector operation for.
    pub fn loop_code(mut self, unroll: u32) -> Option<Code> {
        let counter = new_local(self.func, Ty::I64);
        let last = new_local(self.func, Ty::I64);
        if self.body.polls {
            self.push(Op::SafepointPoll);
        }
        let i = self.emit(Op::LocalGet(counter), Ty::I64);
        self.counter = Some(i);
        let plan = self.plan;
        let mut accumulators: Vec<Vec<Local>> = vec![Vec::new(); plan.reductions.len()];
        let mut terms: Vec<Vec<Value>> = vec![Vec::new(); plan.reductions.len()];
        for copy in 0..unroll {
            for effect in &self.body.effects {
                match *effect {
                    Effect::Load(v, _) => {
                        self.load(v, copy)?;
                    }
                    Effect::Store {
                        ty,
                        addr,
                        offset,
                        value,
                    } => {
                        let place = place(self.body, addr, offset, ty, plan.counter)?;
                        let parts = self.parts(value, place.size * 8, copy)?;
                        for (n, value) in parts.into_iter().enumerate() {
                            let (addr, offset) = self.element(&place, copy, n)?;
                            self.operations += 1;
                            self.push(Op::Store {
                                ty: MemTy::V128,
                                addr,
                                offset,
                                value,
                                barrier: Barrier::None,
                                flags: MemFlags::default(),
                            });
                        }
                    }
                    Effect::BoundsCheck { .. } | Effect::NullCheck(_) => {}
                }
            }
            for (n, reduction) in plan.reductions.iter().enumerate() {
                let ty = self.func.locals[reduction.local].ty;
                let bits = width(ty);
                for &(term, minus) in &reduction.terms {
                    let parts = self.parts(term, bits, copy)?;
                    terms[n].extend(&parts);
                    for (k, part) in parts.iter().enumerate() {
                        let slot = (copy as usize * parts.len() + k) % ACCUMULATORS;
                        while accumulators[n].len() <= slot {
                            accumulators[n].push(new_local(self.func, Ty::V128));
                        }
                        let local = accumulators[n][slot];
                        let before = self.emit(Op::LocalGet(local), Ty::V128);
                        let after = self.accumulate(reduction.how, minus, bits, before, *part)?;
                        self.push(Op::LocalSet(local, after));
                    }
                }
            }
        }
        let mut watches = Vec::new();
        for (reduction, terms) in plan.reductions.iter().zip(&terms) {
            watches.push(match reduction.how {
                Reduce::Float(how) => Some(self.watch(how, reduction, terms, &watches)?),
                _ => None,
            });
        }
        let mut early = None;
        let mut i = i;
        if !plan.exits.is_empty() {
            let cond = self.any_exit(unroll)?;
            early = Some((std::mem::take(&mut self.insts), cond));
            i = self.emit(Op::LocalGet(counter), Ty::I64);
        }
        let next = self.plus(i, i64::from(plan.lanes * unroll));
        self.push(Op::LocalSet(counter, next));
        let end = self.emit(Op::LocalGet(last), Ty::I64);
        let again = self.emit(Op::Cmp(Cond::Le, next, end), Ty::I32);
        Some(Code {
            insts: self.insts,
            early,
            fits: self.fits,
            again,
            counter,
            last,
            operations: self.operations,
            splats: self.splats,
            scalars: self.scalars,
            accumulators,
            watches,
        })
    }

    /// Whether any of the elements leaves the loop.
    fn any_exit(&mut self, unroll: u32) -> Option<Value> {
        let mut any: Option<Value> = None;
        for copy in 0..unroll {
            for &(cond, exit_if) in &self.plan.exits {
                let (mask, bits, inverse) = self.compare(cond, copy, true)?;
                for mut part in mask {
                    if exit_if == inverse {
                        part = self.vector(VecOp::Not, integer(bits, false), &[part])?;
                    }
                    any = Some(match any {
                        None => part,
                        Some(any) => self.vector(VecOp::Or, Lane::U8, &[any, part])?,
                    });
                }
            }
        }
        self.vector(VecOp::AnyTrue, Lane::U8, &[any?])
    }

    /// Lane by lane, what a collector holds after one more vector.
    pub fn accumulate(&mut self, how: Reduce, minus: bool, bits: u32, a: Value, b: Value) -> Option<Value> {
        let lane = integer(bits, matches!(how, Reduce::MinUn | Reduce::MaxUn));
        let op = match how {
            Reduce::Add if minus => VecOp::Sub,
            Reduce::Add => VecOp::Add,
            Reduce::And => VecOp::And,
            Reduce::Or => VecOp::Or,
            Reduce::Xor => VecOp::Xor,
            // There is no instruction for 64 bits.
            Reduce::Min | Reduce::MinUn if bits == 64 => {
                let mask = self.vector(VecOp::Lt, lane, &[a, b])?;
                return self.vector(VecOp::Select, lane, &[mask, a, b]);
            }
            Reduce::Max | Reduce::MaxUn if bits == 64 => {
                let mask = self.vector(VecOp::Gt, lane, &[a, b])?;
                return self.vector(VecOp::Select, lane, &[mask, a, b]);
            }
            Reduce::Float(how) => return self.choose(how, bits, a, b),
            Reduce::Min | Reduce::MinUn => VecOp::Min,
            Reduce::Max | Reduce::MaxUn => VecOp::Max,
        };
        self.vector(op, lane, &[a, b])
    }

    /// Address and offset of part `n` of a place.
    fn element(&mut self, place: &Place, copy: u32, n: usize) -> Option<(Value, i32)> {
        let known = self
            .addresses
            .iter()
            .find(|a| (a.0, a.1, a.2) == (place.array, place.base, place.size));
        let addr = match known {
            Some(a) => a.3,
            None => {
                let base = self.invariant(place.base);
                let index = self.counter?;
                let addr = if place.array {
                    let size = place.size;
                    let array = base;
                    self.emit(Op::ElemAddr { array, index, size }, Ty::ByRef)
                } else {
                    let ty = self.ty(base);
                    let size = self.emit(Op::IConst(i64::from(place.size)), Ty::I64);
                    let distance = self.emit(Op::Bin(BinOp::Mul, index, size), Ty::I64);
                    self.emit(Op::PtrAdd(base, distance), ty)
                };
                self.addresses.push((place.array, place.base, place.size, addr));
                addr
            }
        };
        let elements = place.ahead + i64::from(copy * self.plan.lanes);
        let offset = elements * i64::from(place.size) + i64::from(place.offset) + 16 * n as i64;
        Some((addr, i32::try_from(offset).ok()?))
    }

    /// An invariant scalar inside of the loop.
    fn invariant(&mut self, node: Value) -> Value {
        if let Some(&v) = self.known.get(&node) {
            return v;
        }
        let ty = self.body.ty(node);
        let v = match self.body.op(node) {
            Some(&Op::LocalGet(l)) => self.emit(Op::LocalGet(l), ty),
            _ => {
                let local = new_local(self.func, ty);
                self.scalars.push((node, local));
                self.emit(Op::LocalGet(local), ty)
            }
        };
        self.known.insert(node, v);
        v
    }

    fn load(&mut self, node: Value, copy: u32) -> Option<(Parts, u32, bool)> {
        let &Op::Load { ty, addr, offset, .. } = self.body.op(node)? else {
            return None;
        };
        let place = place(self.body, addr, offset, ty, self.plan.counter)?;
        let bits = place.size * 8;
        let signed = matches!(ty, MemTy::I8 | MemTy::I16);
        let key = (node, bits, copy);
        if let Some(parts) = self.vectors.get(&key) {
            return Some((parts.clone(), bits, signed));
        }
        let mut parts = Parts::new();
        for n in 0..(self.plan.lanes * place.size / 16) as usize {
            let (addr, offset) = self.element(&place, copy, n)?;
            self.operations += 1;
            let flags = MemFlags::default();
            let ty = MemTy::V128;
            parts.push(self.emit(
                Op::Load {
                    ty,
                    addr,
                    offset,
                    flags,
                },
                Ty::V128,
            ));
        }
        self.vectors.insert(key, parts.clone());
        Some((parts, bits, signed))
    }

    /// The elements of a node, `bits` wide.
    fn parts(&mut self, node: Value, bits: u32, copy: u32) -> Option<Parts> {
        if self.plan.lanes * bits < 128 {
            return None;
        }
        if let Some(parts) = self.vectors.get(&(node, bits, copy)) {
            return Some(parts.clone());
        }
        let parts = if self.body.is_invariant(node) {
            self.splat(node, bits)?
        } else {
            self.compute(node, bits, copy)?
        };
        self.vectors.insert((node, bits, copy), parts.clone());
        Some(parts)
    }

    fn splat(&mut self, node: Value, bits: u32) -> Option<Parts> {
        let lane = match self.body.ty(node) {
            Ty::F32 => Lane::F32,
            Ty::F64 => Lane::F64,
            Ty::I32 if bits <= 32 => integer(bits, false),
            Ty::I64 => integer(bits, false),
            _ => return None,
        };
        if lane.bytes() * 8 != bits {
            return None;
        }
        let known = self.splats.iter().find(|s| s.0 == node && s.1 == lane).map(|s| s.2);
        let local = known.unwrap_or_else(|| {
            let local = new_local(self.func, Ty::V128);
            self.splats.push((node, lane, local));
            local
        });
        let v = self.emit(Op::LocalGet(local), Ty::V128);
        Some(SmallVec::from_elem(v, (self.plan.lanes * bits / 128) as usize))
    }

    fn compute(&mut self, node: Value, bits: u32, copy: u32) -> Option<Parts> {
        let ty = self.body.ty(node);
        let op = self.body.op(node)?.clone();
        let natural = width(ty);
        let float = matches!(ty, Ty::F32 | Ty::F64);
        if bits > natural || (float && bits != natural) {
            return None;
        }
        let lane = if float { lane_of(ty) } else { integer(bits, false) };
        match op {
            Op::Load { .. } => {
                let (parts, from, signed) = self.load(node, copy)?;
                self.resize(parts, from, bits, signed)
            }
            Op::Bin(op, a, b) => {
                let vector = match op {
                    BinOp::Add => VecOp::Add,
                    BinOp::Sub => VecOp::Sub,
                    BinOp::Mul => VecOp::Mul,
                    BinOp::Div if float => VecOp::Div,
                    BinOp::And => VecOp::And,
                    BinOp::Or => VecOp::Or,
                    BinOp::Xor => VecOp::Xor,
                    BinOp::Shl | BinOp::Shr | BinOp::ShrUn => return self.shift(op, a, b, natural, bits, copy),
                    _ => return None,
                };
                self.zip(vector, lane, a, b, bits, copy)
            }
            Op::Un(op, a) => {
                let vector = match op {
                    UnOp::Neg => VecOp::Neg,
                    UnOp::Not => VecOp::Not,
                };
                let a = self.parts(a, bits, copy)?;
                a.into_iter().map(|a| self.vector(vector, lane, &[a])).collect()
            }
            Op::Conv(op, a) => self.convert(op, a, bits, copy),
            Op::Cmp(..) => {
                let mask = self.mask(node, bits, copy)?;
                let one = self.one(lane)?;
                mask.into_iter()
                    .map(|m| self.vector(VecOp::And, lane, &[m, one]))
                    .collect()
            }
            Op::Select {
                cond,
                if_true,
                if_false,
            } => {
                let (mask, from, inverse) = self.compare(cond, copy, false)?;
                let mask = self.resize(mask, from, bits, true)?;
                let mut a = self.parts(if_true, bits, copy)?;
                let mut b = self.parts(if_false, bits, copy)?;
                if inverse {
                    std::mem::swap(&mut a, &mut b);
                }
                (0..mask.len())
                    .map(|n| self.vector(VecOp::Select, lane, &[mask[n], a[n], b[n]]))
                    .collect()
            }
            Op::Intrinsic {
                op: op @ (IntrinsicOp::Min | IntrinsicOp::Max),
                args,
            } if float => {
                let &[a, b] = args.as_slice() else {
                    return None;
                };
                let vector = if op == IntrinsicOp::Min { VecOp::Min } else { VecOp::Max };
                self.zip(vector, lane, a, b, bits, copy)
            }
            Op::Intrinsic { op, args } if float => {
                let vector = match op {
                    IntrinsicOp::Sqrt => VecOp::Sqrt,
                    IntrinsicOp::Abs => VecOp::Abs,
                    IntrinsicOp::Floor => VecOp::Floor,
                    IntrinsicOp::Ceil => VecOp::Ceil,
                    IntrinsicOp::Trunc => VecOp::Trunc,
                    IntrinsicOp::RoundEven => VecOp::Nearest,
                    _ => return None,
                };
                let a = self.parts(*args.first()?, bits, copy)?;
                a.into_iter().map(|a| self.vector(vector, lane, &[a])).collect()
            }
            _ => None,
        }
    }

    fn one(&mut self, lane: Lane) -> Option<Value> {
        let bytes = lane.bytes() as usize;
        let one = u128::from_le_bytes(std::array::from_fn(|i| u8::from(i % bytes == 0)));
        self.vector(VecOp::Const(one), lane, &[])
    }

    fn zip(&mut self, op: VecOp, lane: Lane, a: Value, b: Value, bits: u32, copy: u32) -> Option<Parts> {
        let a = self.parts(a, bits, copy)?;
        let b = self.parts(b, bits, copy)?;
        (0..a.len()).map(|n| self.vector(op, lane, &[a[n], b[n]])).collect()
    }

    fn shift(&mut self, op: BinOp, a: Value, amount: Value, natural: u32, bits: u32, copy: u32) -> Option<Parts> {
        if !self.body.is_invariant(amount) {
            return None;
        }
        let vector = match op {
            BinOp::Shl => VecOp::Shl,
            BinOp::Shr => VecOp::Shr,
            _ => VecOp::ShrUn,
        };
        let lane = integer(natural, op == BinOp::ShrUn);
        let a = self.parts(a, natural, copy)?;
        let amount = self.invariant(amount);
        let parts: Parts = a
            .into_iter()
            .map(|a| self.vector(vector, lane, &[a, amount]))
            .collect::<Option<_>>()?;
        self.resize(parts, natural, bits, false)
    }

    fn convert(&mut self, op: ConvOp, a: Value, bits: u32, copy: u32) -> Option<Parts> {
        let (from, signed) = match op {
            ConvOp::Sext8 => (8, true),
            ConvOp::Zext8 => (8, false),
            ConvOp::Sext16 => (16, true),
            ConvOp::Zext16 => (16, false),
            ConvOp::SextI64 => (32, true),
            ConvOp::ZextI64 => (32, false),
            ConvOp::Trunc => (32, false),
            ConvOp::F32ToF64 => {
                let parts = self.parts(a, 32, copy)?;
                return self.widen(parts, Lane::F32);
            }
            ConvOp::I2F32 if self.body.ty(a) == Ty::I32 => {
                let parts = self.parts(a, 32, copy)?;
                return parts
                    .into_iter()
                    .map(|a| self.vector(VecOp::ToFloat, Lane::I32, &[a]))
                    .collect();
            }
            _ => return None,
        };
        if !matches!(self.body.ty(a), Ty::I32 | Ty::I64) {
            return None;
        }
        let parts = self.parts(a, bits.min(from), copy)?;
        self.resize(parts, bits.min(from), bits, signed)
    }

    /// All ones or zeroes by a comparison.
    fn mask(&mut self, cond: Value, bits: u32, copy: u32) -> Option<Parts> {
        let (mut parts, from, inverse) = self.compare(cond, copy, false)?;
        if inverse {
            for part in &mut parts {
                *part = self.vector(VecOp::Not, integer(from, false), &[*part])?;
            }
        }
        self.resize(parts, from, bits, true)
    }

    /// All ones or zeroes by a comparison, how many bits each has (if `narrow`, as few as the elements that are compared),
    /// and whether it is the other way round.
    fn compare(&mut self, cond: Value, copy: u32, narrow: bool) -> Option<(Parts, u32, bool)> {
        let &Op::Cmp(op, a, b) = self.body.op(cond)? else {
            return None;
        };
        let ty = self.body.ty(a);
        let mut bits = width(ty);
        let mut unsigned = matches!(op, Cond::LtUn | Cond::LeUn | Cond::GtUn | Cond::GeUn);
        if narrow && let Some(conv) = self.common_width(a, b) {
            (bits, unsigned) = match conv {
                ConvOp::Sext8 => (8, unsigned),
                ConvOp::Zext8 => (8, true),
                ConvOp::Sext16 => (16, unsigned),
                _ => (16, true),
            };
        }
        let lane = match ty {
            Ty::F32 | Ty::F64 => lane_of(ty),
            Ty::I32 | Ty::I64 => integer(bits, unsigned),
            _ => return None,
        };
        // (That is "or unordered".)
        let inverse = lane.is_float() && unsigned;
        let op = if inverse { negated_float(op)? } else { op };
        let vector = match op {
            Cond::Eq => VecOp::Eq,
            Cond::Ne => VecOp::Ne,
            Cond::Lt | Cond::LtUn => VecOp::Lt,
            Cond::Le | Cond::LeUn => VecOp::Le,
            Cond::Gt | Cond::GtUn => VecOp::Gt,
            Cond::Ge | Cond::GeUn => VecOp::Ge,
            Cond::Unordered => return None,
        };
        Some((self.zip(vector, lane, a, b, bits, copy)?, bits, inverse))
    }

    /// The extension that both operands of a comparison are the result of, so that fewer bits tell. An invariant is tested
    /// in front of the loop.
    fn common_width(&mut self, a: Value, b: Value) -> Option<ConvOp> {
        match (self.extension(a), self.extension(b)) {
            (Some(x), Some(y)) => (x == y).then_some(x),
            (Some(x), None) => self.fit(b, x).then_some(x),
            (None, Some(y)) => self.fit(a, y).then_some(y),
            _ => None,
        }
    }

    fn fit(&mut self, node: Value, conv: ConvOp) -> bool {
        if let Some(n) = self.body.int(node) {
            return super::fold::conv(conv, n) == Some(n);
        }
        let invariant = self.body.is_invariant(node);
        if invariant && !self.fits.contains(&(node, conv)) {
            self.fits.push((node, conv));
        }
        invariant
    }

    fn extension(&self, node: Value) -> Option<ConvOp> {
        match *self.body.op(node)? {
            Op::Load { ty, .. } => match ty {
                MemTy::I8 => Some(ConvOp::Sext8),
                MemTy::U8 => Some(ConvOp::Zext8),
                MemTy::I16 => Some(ConvOp::Sext16),
                MemTy::U16 => Some(ConvOp::Zext16),
                _ => None,
            },
            Op::Conv(conv @ (ConvOp::Sext8 | ConvOp::Zext8 | ConvOp::Sext16 | ConvOp::Zext16), _) => {
                (!self.body.is_invariant(node)).then_some(conv)
            }
            _ => None,
        }
    }

    /// Elements of another width: extended or truncated.
    fn resize(&mut self, mut parts: Parts, mut from: u32, to: u32, signed: bool) -> Option<Parts> {
        while from < to {
            parts = self.widen(parts, integer(from, !signed))?;
            from *= 2;
        }
        while from > to {
            let lane = integer(from, true);
            let mut narrow = Parts::new();
            for pair in parts.chunks(2) {
                let &[low, high] = pair else { return None };
                narrow.push(self.vector(VecOp::Narrow, lane, &[low, high])?);
            }
            parts = narrow;
            from /= 2;
        }
        Some(parts)
    }

    fn widen(&mut self, parts: Parts, lane: Lane) -> Option<Parts> {
        let mut wide = Parts::new();
        for part in parts {
            wide.push(self.vector(VecOp::WidenLow, lane, &[part])?);
            wide.push(self.vector(VecOp::WidenHigh, lane, &[part])?);
        }
        Some(wide)
    }
}

/// Bits of a scalar.
pub(super) fn width(ty: Ty) -> u32 {
    match ty {
        Ty::I32 | Ty::F32 => 32,
        _ => 64,
    }
}

/// The lane of a scalar of that type.
pub(super) fn lane_of(ty: Ty) -> Lane {
    match ty {
        Ty::F32 => Lane::F32,
        Ty::F64 => Lane::F64,
        _ => integer(width(ty), false),
    }
}

fn integer(bits: u32, unsigned: bool) -> Lane {
    let signed = match bits {
        8 => Lane::I8,
        16 => Lane::I16,
        32 => Lane::I32,
        _ => Lane::I64,
    };
    if unsigned { signed.bits() } else { signed }
}
