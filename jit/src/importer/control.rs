//! Branches, comparisons, `switch`, `ret`.

use super::stack::{Entry, Known};
use super::{Importer, Region, Step, invalid};
use crate::builder::stack_ty;
use crate::host_api::TypeKind;
use crate::ir::*;

fn holds(cond: Cond, a: i64, b: i64, ty: Ty) -> bool {
    let (ua, ub) = if ty == Ty::I32 {
        (a as u32 as u64, b as u32 as u64)
    } else {
        (a as u64, b as u64)
    };
    match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::LtUn => ua < ub,
        Cond::LeUn => ua <= ub,
        Cond::GtUn => ua > ub,
        Cond::GeUn => ua >= ub,
        Cond::Unordered => false,
    }
}

impl Importer<'_, '_> {
    /// A comparison of two entries whose answer is known.
    fn fold_compare(&self, cond: Cond, a: &Entry, b: &Entry) -> Option<bool> {
        match (a.known, b.known) {
            (Known::Int(x), Known::Int(y)) => {
                let ty = if a.ty == Ty::I32 && b.ty == Ty::I32 {
                    Ty::I32
                } else {
                    Ty::I64
                };
                Some(holds(cond, x, y, ty))
            }
            (Known::RuntimeType(x), Known::RuntimeType(y)) => match cond {
                Cond::Eq => Some(x == y),
                Cond::Ne | Cond::GtUn => Some(x != y),
                _ => None,
            },
            (Known::Null, Known::Null) => Some(holds(cond, 0, 0, Ty::I64)),
            _ => {
                let other = match (a.is_null(), b.is_null()) {
                    (true, _) => b,
                    (_, true) => a,
                    _ => return None,
                };
                if !other.non_null {
                    return None;
                }
                match cond {
                    Cond::Eq => Some(false),
                    Cond::Ne => Some(true),
                    Cond::GtUn if b.is_null() => Some(true),
                    Cond::LtUn if a.is_null() => Some(true),
                    _ => None,
                }
            }
        }
    }

    /// Two entries as values of the same comparable type.
    fn comparable(&mut self, a: Entry, b: Entry) -> Step<(Value, Value)> {
        let ty = match (a.ty, b.ty) {
            (Ty::Struct(x), _) | (_, Ty::Struct(x)) => {
                return invalid(format!("comparison of value type {x:?}"));
            }
            (x, y) if x == y => x,
            (Ty::F32 | Ty::F64, Ty::F32 | Ty::F64) => Ty::F64,
            (Ty::F32 | Ty::F64, _) | (_, Ty::F32 | Ty::F64) => {
                return invalid("comparison of a float with something else");
            }
            (Ty::Ref, Ty::ByRef) | (Ty::ByRef, Ty::Ref) => Ty::ByRef,
            _ => Ty::I64,
        };
        Ok((self.coerce(a, ty)?, self.coerce(b, ty)?))
    }

    /// `ceq`, `cgt`, `clt` and their unsigned forms.
    pub fn compare(&mut self, cond: Cond) -> Step<()> {
        let b = self.pop()?;
        let a = self.pop()?;
        if let Some(answer) = self.fold_compare(cond, &a, &b) {
            self.push_bool(answer);
            return Ok(());
        }
        let value = self.compare_values(cond, a, b)?;
        self.push_value(value);
        Ok(())
    }

    fn compare_values(&mut self, cond: Cond, a: Entry, b: Entry) -> Step<Value> {
        // `x > null` unsigned is how compilers write `x != null`.
        let cond = match cond {
            Cond::GtUn if b.is_null() || b.known == Known::Int(0) => Cond::Ne,
            Cond::LtUn if a.is_null() => Cond::Ne,
            c => c,
        };
        let (x, y) = self.comparable(a, b)?;
        Ok(self.b.cmp(cond, x, y))
    }

    fn poll_back_edge(&mut self, target: u32) {
        if target <= self.at && !self.polls_at(target) {
            self.b.emit_void(Op::SafepointPoll);
        }
    }

    /// `br`, and falling through.
    pub fn jump_to(&mut self, target: u32) -> Step<()> {
        self.check_flow(target)?;
        self.poll_back_edge(target);
        let block = self.edge(target)?;
        self.b.jump(block);
        Ok(())
    }

    fn decided(&mut self, taken: bool, target: u32, next: u32) -> Step<()> {
        self.stats.folded_branches += 1;
        self.jump_to(if taken { target } else { next })
    }

    /// `beq`, `blt.un` … As in CoreCLR, unsigned branches zero-extend an int32 that meets a
    /// native int unless it is a constant; `cgt.un` and `clt.un` do not.
    pub fn branch_compare(&mut self, cond: Cond, target: u32, next: u32) -> Step<()> {
        let mut b = self.pop()?;
        let mut a = self.pop()?;
        // `bne.un` is the only branch on `Ne`.
        if matches!(cond, Cond::Ne | Cond::LtUn | Cond::LeUn | Cond::GtUn | Cond::GeUn) {
            match (a.ty, b.ty) {
                (Ty::I32, Ty::I64) if a.as_int().is_none() => a = self.zero_extended(a)?,
                (Ty::I64, Ty::I32) if b.as_int().is_none() => b = self.zero_extended(b)?,
                _ => {}
            }
        }
        if let Some(answer) = self.fold_compare(cond, &a, &b) {
            return self.decided(answer, target, next);
        }
        if target == next {
            return self.jump_to(next);
        }
        self.poll_back_edge(target);
        self.prepare_edges()?;
        let value = self.compare_values(cond, a, b)?;
        self.two_way(value, target, next)
    }

    /// `brtrue`, `brfalse`.
    pub fn branch_bool(&mut self, when: bool, target: u32, next: u32) -> Step<()> {
        let entry = self.pop()?;
        if matches!(entry.ty, Ty::Struct(_)) {
            return invalid("branch on a value type");
        }
        let truth = match entry.known {
            Known::Int(n) => Some(n != 0),
            Known::Null => Some(false),
            _ if entry.non_null && matches!(entry.ty, Ty::Ref | Ty::ByRef) => Some(true),
            _ => None,
        };
        if let Some(truth) = truth {
            return self.decided(truth == when, target, next);
        }
        if target == next {
            return self.jump_to(next);
        }
        self.poll_back_edge(target);
        self.prepare_edges()?;
        let mut entry = entry;
        let value = match entry.ty {
            Ty::Struct(_) => return invalid("branch on a value type"),
            Ty::F32 | Ty::F64 => {
                let value = self.value(&mut entry)?;
                let zero = self.b.emit(Op::FConst(0), entry.ty);
                self.b.cmp(Cond::Ne, value, zero)
            }
            _ => self.value(&mut entry)?,
        };
        if when {
            self.two_way(value, target, next)
        } else {
            self.two_way(value, next, target)
        }
    }

    fn two_way(&mut self, cond: Value, then: u32, other: u32) -> Step<()> {
        self.check_flow(then)?;
        self.check_flow(other)?;
        let then = self.edge_of_many(then)?;
        let other = self.edge_of_many(other)?;
        self.b.branch(cond, then, other);
        Ok(())
    }

    /// `switch`.
    pub fn switch(&mut self, targets: &[u32], next: u32) -> Step<()> {
        let entry = self.pop()?;
        if let Some(n) = entry.as_int() {
            self.stats.folded_branches += 1;
            let target = usize::try_from(n as u32).ok().and_then(|n| targets.get(n)).copied();
            return self.jump_to(target.unwrap_or(next));
        }
        if targets.iter().any(|t| *t <= self.at && !self.polls_at(*t)) {
            self.b.emit_void(Op::SafepointPoll);
        }
        self.prepare_edges()?;
        let index = self.coerce(entry, Ty::I32)?;
        let mut blocks = Vec::with_capacity(targets.len());
        for (i, &target) in targets.iter().enumerate() {
            let known = targets[..i].iter().position(|t| *t == target);
            let block = match known {
                Some(j) => blocks[j],
                None => {
                    self.check_flow(target)?;
                    self.edge_of_many(target)?
                }
            };
            blocks.push(block);
        }
        self.check_flow(next)?;
        let default = self.edge_of_many(next)?;
        self.b.terminate(Term::Switch {
            index,
            targets: blocks,
            default,
        });
        Ok(())
    }

    /// `ret`.
    pub fn ret(&mut self) -> Step<()> {
        if self.region != Region::Body {
            return invalid("ret in a filter");
        }
        self.check_return()?;
        let info = self.type_info(self.own_sig().ret)?;
        let value = match stack_ty(info.kind, info.id) {
            Some(ty) => {
                let entry = self.pop()?;
                let small = entry.as_int().is_some_and(|n| fits(n, info.kind));
                let value = self.coerce(entry, ty)?;
                Some(if small { value } else { self.normalise(value, info.kind) })
            }
            None => None,
        };
        if !self.stack.is_empty() {
            return invalid("ret leaves values on the stack");
        }
        if !self.synchronized_return(value) {
            self.b.ret(value);
        }
        Ok(())
    }
}

/// A constant that a narrow type holds unchanged.
fn fits(n: i64, kind: TypeKind) -> bool {
    match kind {
        TypeKind::I1 => i8::try_from(n).is_ok(),
        TypeKind::U1 => u8::try_from(n).is_ok(),
        TypeKind::I2 => i16::try_from(n).is_ok(),
        TypeKind::U2 => u16::try_from(n).is_ok(),
        _ => true,
    }
}
