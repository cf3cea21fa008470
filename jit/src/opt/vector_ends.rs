//! What comes before a vector loop, and after it.

use super::reductions::{Reduce, Reduction};
use super::vector_code::{Code, Emitter, lane_of, width};
use crate::ir::*;

impl Emitter<'_> {
    /// Before the vector loop: what it needs in registers.
    pub fn prepare(&mut self, code: &Code) {
        for &(node, local) in &code.scalars {
            let v = self.scalar(node);
            self.push(Op::LocalSet(local, v));
        }
        for &(node, lane, local) in &code.splats {
            let mut v = self.scalar(node);
            if self.ty(v) == Ty::I64 && lane.scalar() == Ty::I32 {
                v = self.emit(Op::Conv(ConvOp::Trunc, v), Ty::I32);
            }
            let args = vec![v];
            let op = VecOp::Splat;
            let v = self.emit(Op::Vector { op, lane, args }, Ty::V128);
            self.push(Op::LocalSet(local, v));
        }
        for (reduction, locals) in self.plan.reductions.iter().zip(&code.accumulators) {
            let ty = self.func.locals[reduction.local].ty;
            let lane = lane_of(ty);
            let neutral = match reduction.how {
                Reduce::Add | Reduce::Or | Reduce::Xor => Some(0),
                Reduce::And => Some(u128::MAX),
                _ => None,
            };
            let start = if let Some(bits) = neutral {
                let (op, args) = (VecOp::Const(bits), Vec::new());
                self.emit(Op::Vector { op, lane, args }, Ty::V128)
            } else {
                let v = self.emit(Op::LocalGet(reduction.local), ty);
                let (op, args) = (VecOp::Splat, vec![v]);
                self.emit(Op::Vector { op, lane, args }, Ty::V128)
            };
            for &local in locals {
                self.push(Op::LocalSet(local, start));
            }
        }
        for (reduction, watch) in self.plan.reductions.iter().zip(&code.watches) {
            if let Some(watch) = watch {
                self.begin(watch, reduction.local);
            }
        }
    }

    /// After the vector loop: finds the results that are watched, and whether they are of no use.
    pub fn check(&mut self, code: &Code) -> Option<Value> {
        let mut bad = None;
        for ((reduction, locals), watch) in self.plan.reductions.iter().zip(&code.accumulators).zip(&code.watches) {
            if let (Reduce::Float(how), Some(watch)) = (reduction.how, watch) {
                let total = self.total(reduction, locals)?;
                bad = Some(self.judge(how, watch, total, locals, bad)?);
            }
        }
        self.vector(VecOp::AnyTrue, Lane::U8, &[bad?])
    }

    /// What the accumulators hold together, in the first lane.
    fn total(&mut self, reduction: &Reduction, locals: &[Local]) -> Option<Value> {
        let bits = width(self.func.locals[reduction.local].ty);
        let mut total: Option<Value> = None;
        for &local in locals {
            let v = self.emit(Op::LocalGet(local), Ty::V128);
            total = Some(match total {
                None => v,
                Some(total) => self.accumulate(reduction.how, false, bits, total, v)?,
            });
        }
        self.fold(total?, bits, |e, a, b| e.accumulate(reduction.how, false, bits, a, b))
    }

    /// All lanes together, in the first lane.
    pub fn fold(
        &mut self,
        mut v: Value,
        bits: u32,
        mut put: impl FnMut(&mut Self, Value, Value) -> Option<Value>,
    ) -> Option<Value> {
        let mut half = 8u8;
        while u32::from(half) * 8 >= bits {
            let bytes = std::array::from_fn(|i| (i as u8 + half) % 16);
            let other = self.vector(VecOp::Shuffle(bytes), Lane::U8, &[v, v])?;
            v = put(self, v, other)?;
            half /= 2;
        }
        Some(v)
    }

    /// After the vector loop, while the original counter still says where it began: what goes up with the counter.
    pub fn induce(&mut self, code: &Code) {
        for &(local, step) in &self.plan.inductions {
            let ty = self.func.locals[local].ty;
            let before = self.emit(Op::LocalGet(self.plan.counter), self.func.locals[self.plan.counter].ty);
            let now = self.emit(Op::LocalGet(code.counter), Ty::I64);
            let before = match self.plan.wide {
                true => before,
                false => self.emit(Op::Conv(ConvOp::SextI64, before), Ty::I64),
            };
            let mut times = self.emit(Op::Bin(BinOp::Sub, now, before), Ty::I64);
            if ty == Ty::I32 {
                times = self.emit(Op::Conv(ConvOp::Trunc, times), Ty::I32);
            }
            let step = self.scalar(step);
            let distance = self.emit(Op::Bin(BinOp::Mul, times, step), ty);
            let value = self.emit(Op::LocalGet(local), ty);
            let value = self.emit(Op::Bin(BinOp::Add, value, distance), ty);
            self.push(Op::LocalSet(local, value));
        }
    }

    /// After the vector loop: the accumulators' elements go to the locals.
    pub fn collect(&mut self, code: &Code) -> Option<()> {
        for (n, (reduction, locals)) in self.plan.reductions.iter().zip(&code.accumulators).enumerate() {
            let ty = self.func.locals[reduction.local].ty;
            if let Some(watch) = &code.watches[n] {
                let total = self.emit(Op::LocalGet(watch.result), ty);
                self.push(Op::LocalSet(reduction.local, total));
                continue;
            }
            let sum = self.total(reduction, locals)?;
            let mut total = self.vector(VecOp::Extract(0), lane_of(ty), &[sum])?;
            let scalar = match reduction.how {
                Reduce::Add => Some(BinOp::Add),
                Reduce::And => Some(BinOp::And),
                Reduce::Or => Some(BinOp::Or),
                Reduce::Xor => Some(BinOp::Xor),
                Reduce::Min | Reduce::Max | Reduce::MinUn | Reduce::MaxUn | Reduce::Float(_) => None,
            };
            if let Some(op) = scalar {
                let before = self.emit(Op::LocalGet(reduction.local), ty);
                total = self.emit(Op::Bin(op, before, total), ty);
            }
            self.push(Op::LocalSet(reduction.local, total));
        }
        Some(())
    }
}
