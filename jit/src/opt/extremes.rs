//! Minima and maxima of floats that a vector loop collects, with the same bits as one element at a time.
//!
//! The order matters in two corners only: between zeroes of different sign, which compare as equal, and with elements that
//! are not numbers. So the loop collects every lane by the rule of the original loop, and watches. If one of the corners
//! decides, its results are of no use, and the original loop does all of it again: it begins with what it would begin with
//! anyway, because the vector loop stores nothing.
//!
//! - `if (x < m) m = x`: elements that are not numbers are passed by, and an `m` that is none stays: so does every lane. Lanes
//!   that end with zeroes of different sign do not tell which of them came first.
//! - `m = m < x ? m : x`: an element that is not a number goes into `m`, and the next one replaces it. Lanes do not know of
//!   each other's, so none may come.
//! - `Math.Min`: what is not a number stays, and which it is depends on the order, so none may come. -0 is less than +0: if
//!   the least number is zero, no element is negative but zeroes, so that all signs together tell whether there was a -0.

use super::reductions::Reduction;
use super::vector_code::{Emitter, lane_of};
use super::vectorize::new_local;
use crate::ir::*;

/// Which of two floats is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FloatExtreme {
    greatest: bool,
    rule: Rule,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    /// As `Math.Min` and `Math.Max`.
    Math,
    /// The new one if it compares so.
    IfSo { or_equal: bool },
    /// The new one unless the opposite compares so.
    UnlessNot { or_equal: bool },
}

/// What the loop notes of an extreme besides the accumulators.
pub(super) struct Watch {
    /// What is collected.
    of: Value,
    /// Scalar; set after the loop.
    pub result: Local,
    /// Has bits if there was an element that is not a number.
    nan: Option<Local>,
    /// All elements, or-ed for a minimum and and-ed for a maximum.
    signs: Option<Local>,
}

impl FloatExtreme {
    pub fn of_math(greatest: bool) -> Self {
        let rule = Rule::Math;
        FloatExtreme { greatest, rule }
    }

    /// The new one replaces the old one if `new cond old`.
    pub fn of_choice(cond: Cond) -> Option<Self> {
        let (greatest, or_equal) = match cond {
            Cond::Lt | Cond::LtUn => (false, false),
            Cond::Le | Cond::LeUn => (false, true),
            Cond::Gt | Cond::GtUn => (true, false),
            Cond::Ge | Cond::GeUn => (true, true),
            Cond::Eq | Cond::Ne | Cond::Unordered => return None,
        };
        let rule = match cond {
            Cond::Lt | Cond::Le | Cond::Gt | Cond::Ge => Rule::IfSo { or_equal },
            _ => Rule::UnlessNot { or_equal },
        };
        Some(FloatExtreme { greatest, rule })
    }

    /// (Of zeroes and signs.)
    fn together(self) -> VecOp {
        if self.greatest { VecOp::And } else { VecOp::Or }
    }
}

impl Emitter<'_> {
    /// Lane by lane, the one of `old` and `new` that is kept.
    pub fn choose(&mut self, how: FloatExtreme, bits: u32, old: Value, new: Value) -> Option<Value> {
        let lane = float(bits);
        let (inverse, or_equal) = match how.rule {
            Rule::Math => (false, false),
            Rule::IfSo { or_equal } => (false, or_equal),
            Rule::UnlessNot { or_equal } => (true, !or_equal),
        };
        let op = match (how.greatest != inverse, or_equal) {
            (false, false) => VecOp::Lt,
            (false, true) => VecOp::Le,
            (true, false) => VecOp::Gt,
            (true, true) => VecOp::Ge,
        };
        let mask = self.vector(op, lane, &[new, old])?;
        let (then, other) = if inverse { (old, new) } else { (new, old) };
        self.vector(VecOp::Select, lane, &[mask, then, other])
    }

    /// In the loop: looks at the elements of a round.
    pub fn watch(
        &mut self,
        how: FloatExtreme,
        reduction: &Reduction,
        elements: &[Value],
        others: &[Option<Watch>],
    ) -> Option<Watch> {
        let ty = self.func.locals[reduction.local].ty;
        let lane = lane_of(ty);
        let of = reduction.terms.first()?.0;
        let mut watch = Watch {
            of,
            result: new_local(self.func, ty),
            nan: None,
            signs: None,
        };
        if !matches!(how.rule, Rule::IfSo { .. }) {
            let same = |w: &&Watch| w.of == of && w.nan.is_some();
            watch.nan = match others.iter().flatten().find(same) {
                Some(other) => other.nan,
                None => {
                    let mut masks = Vec::new();
                    for pair in elements.chunks(2) {
                        let (a, b) = (*pair.first()?, *pair.last()?);
                        masks.push(self.vector(VecOp::Unordered, lane, &[a, b])?);
                    }
                    Some(self.note(VecOp::Or, masks)?)
                }
            };
        }
        if how.rule == Rule::Math {
            watch.signs = Some(self.note(how.together(), elements.to_vec())?);
        }
        Some(watch)
    }

    /// Puts vectors into a new local. (Pairwise: what a round waits for is one operation.)
    fn note(&mut self, op: VecOp, mut vectors: Vec<Value>) -> Option<Local> {
        while vectors.len() > 1 {
            let mut half = Vec::new();
            for pair in vectors.chunks(2) {
                half.push(match *pair {
                    [a, b] => self.vector(op, Lane::U8, &[a, b])?,
                    [a] => a,
                    _ => return None,
                });
            }
            vectors = half;
        }
        let local = new_local(self.func, Ty::V128);
        let before = self.emit(Op::LocalGet(local), Ty::V128);
        let after = self.vector(op, Lane::U8, &[before, *vectors.first()?])?;
        self.push(Op::LocalSet(local, after));
        Some(local)
    }

    /// Before the loop.
    pub fn begin(&mut self, watch: &Watch, collector: Local) {
        if let Some(nan) = watch.nan {
            let zero = self.constant(0);
            self.push(Op::LocalSet(nan, zero));
        }
        if let Some(signs) = watch.signs {
            let ty = self.func.locals[collector].ty;
            let v = self.emit(Op::LocalGet(collector), ty);
            let (op, lane, args) = (VecOp::Splat, lane_of(ty), vec![v]);
            let v = self.emit(Op::Vector { op, lane, args }, Ty::V128);
            self.push(Op::LocalSet(signs, v));
        }
    }

    /// After the loop: the result, of which the first lane of `total` has what the lanes have together. Bits are added to
    /// `bad` if it is of no use.
    pub fn judge(
        &mut self,
        how: FloatExtreme,
        watch: &Watch,
        total: Value,
        accumulators: &[Local],
        mut bad: Option<Value>,
    ) -> Option<Value> {
        let ty = self.func.locals[watch.result].ty;
        let lane = lane_of(ty);
        let bits = lane.bytes() * 8;
        let mut total = total;
        if let Some(nan) = watch.nan {
            let v = self.emit(Op::LocalGet(nan), Ty::V128);
            bad = Some(self.any(bad, v)?);
        }
        if let Some(signs) = watch.signs {
            let v = self.emit(Op::LocalGet(signs), Ty::V128);
            let op = how.together();
            let v = self.fold(v, bits, |e, a, b| e.vector(op, Lane::U8, &[a, b]))?;
            let sign_bit = match lane {
                Lane::F32 => 0x8000_0000_8000_0000_8000_0000_8000_0000,
                _ => 0x8000_0000_0000_0000_8000_0000_0000_0000,
            };
            let sign_bit = self.constant(sign_bit);
            let sign = self.vector(VecOp::And, Lane::U8, &[v, sign_bit])?;
            let zero = self.constant(0);
            let is_zero = self.vector(VecOp::Eq, lane, &[total, zero])?;
            total = self.vector(VecOp::Select, lane, &[is_zero, sign, total])?;
        } else {
            // Zeroes of different sign were passed on by no lane.
            let bytes = std::array::from_fn(|i| (i as u32 % lane.bytes()) as u8);
            total = self.vector(VecOp::Shuffle(bytes), Lane::U8, &[total, total])?;
            for &local in accumulators {
                // Equal, but not the same.
                let v = self.emit(Op::LocalGet(local), Ty::V128);
                let equal = self.vector(VecOp::Eq, lane, &[v, total])?;
                let same = self.vector(VecOp::Eq, lane.bits(), &[v, total])?;
                let differs = self.vector(VecOp::AndNot, Lane::U8, &[equal, same])?;
                bad = Some(self.any(bad, differs)?);
            }
        }
        let result = self.vector(VecOp::Extract(0), lane, &[total])?;
        self.push(Op::LocalSet(watch.result, result));
        bad
    }

    fn any(&mut self, a: Option<Value>, b: Value) -> Option<Value> {
        match a {
            Some(a) => self.vector(VecOp::Or, Lane::U8, &[a, b]),
            None => Some(b),
        }
    }

    fn constant(&mut self, bits: u128) -> Value {
        let (op, lane, args) = (VecOp::Const(bits), Lane::U8, Vec::new());
        self.emit(Op::Vector { op, lane, args }, Ty::V128)
    }
}

fn float(bits: u32) -> Lane {
    if bits == 32 { Lane::F32 } else { Lane::F64 }
}
