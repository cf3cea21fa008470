//! Verifier of the IR's own rules, run in debug builds and tests.
//!
//! Checked: every operand is defined earlier in the same block, operand and result types fit the operation, targets,
//! locals, protection lists and clauses exist.

use crate::builder::loaded_ty;
use crate::ir::*;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashSet;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{func}: {block}, {place}: {message}")]
pub struct CheckError {
    /// Function name.
    pub func: String,
    /// Block.
    pub block: Block,
    /// Instruction index, or `terminator`.
    pub place: String,
    /// The rule.
    pub message: String,
}

struct Checker<'a> {
    func: &'a Func,
    defined: FxHashSet<Value>,
}

type Checked = Result<(), String>;

/// Checks a function and its filters; the first broken rule is the error.
pub fn check(func: &Func) -> Result<(), CheckError> {
    for (block, data) in &func.blocks {
        let fail = |place: String, message: String| CheckError {
            func: func.name.clone(),
            block,
            place,
            message,
        };
        let mut checker = Checker {
            func,
            defined: FxHashSet::default(),
        };
        for (i, inst) in data.insts.iter().enumerate() {
            checker
                .inst(inst)
                .map_err(|m| fail(format!("instruction {i} ({})", inst.op), m))?;
            if let Some(value) = inst.result
                && !checker.defined.insert(value)
            {
                return Err(fail(format!("instruction {i}"), format!("{value} is defined twice")));
            }
        }
        checker
            .term(&data.term)
            .map_err(|m| fail("terminator".to_string(), m))?;
        let Some(clauses) = func.protects.get(data.protect) else {
            return Err(fail("header".to_string(), format!("{} does not exist", data.protect)));
        };
        if let Some(clause) = clauses.iter().find(|c| func.clauses.get(**c).is_none()) {
            return Err(fail("header".to_string(), format!("{clause} does not exist")));
        }
    }
    for clause in func.clauses.values() {
        let fail = |message: &str| CheckError {
            func: func.name.clone(),
            block: clause.handler,
            place: "clause".to_string(),
            message: message.to_string(),
        };
        if func.blocks.get(clause.handler).is_none() {
            return Err(fail("handler does not exist"));
        }
        if func.locals.get(clause.exception_local).is_none_or(|l| l.ty != Ty::Ref) {
            return Err(fail("exception local is not a reference"));
        }
        let cleanup = matches!(clause.kind, ClauseKind::Finally | ClauseKind::Fault);
        if matches!(clause.kind, ClauseKind::Finally)
            && (clause.record_local.is_none() || clause.selector_local.is_none())
        {
            return Err(fail("finally without record or selector local"));
        }
        if !cleanup && clause.selector_local.is_some() {
            return Err(fail("catch with selector local"));
        }
        if matches!(clause.kind, ClauseKind::Filter(n) if n >= func.filters.len()) {
            return Err(fail("filter does not exist"));
        }
    }
    func.filters.iter().try_for_each(check)
}

impl Checker<'_> {
    fn ty(&self, value: Value) -> Result<Ty, String> {
        if !self.defined.contains(&value) {
            return Err(format!("{value} is not defined here"));
        }
        Ok(self.func.values[value])
    }

    fn want(&self, value: Value, ty: Ty) -> Checked {
        let found = self.ty(value)?;
        if found == ty {
            Ok(())
        } else {
            Err(format!("{value} is {found}, {ty} expected"))
        }
    }

    fn same(&self, a: Value, b: Value) -> Result<Ty, String> {
        let (x, y) = (self.ty(a)?, self.ty(b)?);
        if x == y {
            Ok(x)
        } else {
            Err(format!("{a} is {x}, {b} is {y}"))
        }
    }

    fn address(&self, value: Value) -> Checked {
        match self.ty(value)? {
            Ty::Ref | Ty::ByRef | Ty::I64 => Ok(()),
            other => Err(format!("{value} is {other}, an address is expected")),
        }
    }

    fn integer(&self, value: Value) -> Result<Ty, String> {
        match self.ty(value)? {
            ty @ (Ty::I32 | Ty::I64) => Ok(ty),
            other => Err(format!("{value} is {other}, an integer is expected")),
        }
    }

    fn local(&self, local: Local) -> Result<Ty, String> {
        match self.func.locals.get(local) {
            Some(data) => Ok(data.ty),
            None => Err(format!("{local} does not exist")),
        }
    }

    fn block(&self, block: Block) -> Checked {
        if self.func.blocks.get(block).is_some() {
            Ok(())
        } else {
            Err(format!("{block} does not exist"))
        }
    }

    fn conv(&self, op: ConvOp, value: Value) -> Result<Ty, String> {
        let from = self.ty(value)?;
        let float = matches!(from, Ty::F32 | Ty::F64);
        let int = matches!(from, Ty::I32 | Ty::I64);
        let (ok, to) = match op {
            ConvOp::Sext8 | ConvOp::Zext8 | ConvOp::Sext16 | ConvOp::Zext16 => (from == Ty::I32, Ty::I32),
            ConvOp::Trunc => (from == Ty::I64, Ty::I32),
            ConvOp::SextI64 | ConvOp::ZextI64 => (from == Ty::I32, Ty::I64),
            ConvOp::FloatToI32 | ConvOp::FloatToU32 => (float, Ty::I32),
            ConvOp::FloatToI64 | ConvOp::FloatToU64 => (float, Ty::I64),
            ConvOp::I2F32 | ConvOp::U2F32 => (int, Ty::F32),
            ConvOp::I2F64 | ConvOp::U2F64 => (int, Ty::F64),
            ConvOp::F32ToF64 => (from == Ty::F32, Ty::F64),
            ConvOp::F64ToF32 => (from == Ty::F64, Ty::F32),
            ConvOp::RefToInt => (matches!(from, Ty::Ref | Ty::ByRef), Ty::I64),
            ConvOp::IntToByRef => (from == Ty::I64, Ty::ByRef),
            ConvOp::RefToByRef => (from == Ty::Ref, Ty::ByRef),
            ConvOp::ByRefToRef => (from == Ty::ByRef, Ty::Ref),
            ConvOp::BitcastF32I32 => (from == Ty::F32, Ty::I32),
            ConvOp::BitcastI32F32 => (from == Ty::I32, Ty::F32),
            ConvOp::BitcastF64I64 => (from == Ty::F64, Ty::I64),
            ConvOp::BitcastI64F64 => (from == Ty::I64, Ty::F64),
        };
        if ok {
            Ok(to)
        } else {
            Err(format!("conversion of {from}"))
        }
    }

    /// Checks operands; the result type if the operation determines it.
    fn op(&self, op: &Op) -> Result<Option<Ty>, String> {
        Ok(match op {
            Op::IConst(_) | Op::FConst(_) | Op::Address(_) | Op::CurrentThread => None,
            Op::Null => Some(Ty::Ref),
            Op::LocalGet(l) => Some(self.local(*l)?),
            Op::LocalSet(l, v) => {
                self.want(*v, self.local(*l)?)?;
                None
            }
            Op::LocalAddr(l) => {
                self.local(*l)?;
                None
            }
            Op::Bin(BinOp::Shl | BinOp::Shr | BinOp::ShrUn, a, b) => {
                self.want(*b, Ty::I32)?;
                Some(self.integer(*a)?)
            }
            Op::Bin(_, a, b) | Op::BinOvf(_, a, b) => Some(self.same(*a, *b)?),
            Op::DivCheck { a, b, .. } => {
                self.same(*a, *b)?;
                self.integer(*a)?;
                None
            }
            Op::Un(_, a) => Some(self.ty(*a)?),
            Op::Conv(op, a) => Some(self.conv(*op, *a)?),
            Op::ConvOvf(c, a) => {
                self.ty(*a)?;
                Some(if c.bits == 64 { Ty::I64 } else { Ty::I32 })
            }
            Op::Cmp(_, a, b) => {
                if let Ty::Struct(_) = self.same(*a, *b)? {
                    return Err("comparison of structs".to_string());
                }
                Some(Ty::I32)
            }
            Op::CkFinite(a) => match self.ty(*a)? {
                Ty::F32 | Ty::F64 => None,
                other => return Err(format!("ckfinite of {other}")),
            },
            Op::Select {
                cond,
                if_true,
                if_false,
            } => {
                self.want(*cond, Ty::I32)?;
                Some(self.same(*if_true, *if_false)?)
            }
            Op::Load { ty, addr, .. } => {
                self.address(*addr)?;
                Some(loaded_ty(*ty))
            }
            Op::Store { ty, addr, value, .. } => {
                self.address(*addr)?;
                self.want(*value, loaded_ty(*ty))?;
                None
            }
            Op::CopyStruct { dst, src, .. } => {
                self.address(*dst)?;
                self.address(*src)?;
                None
            }
            Op::ZeroStruct { dst, .. } => {
                self.address(*dst)?;
                None
            }
            Op::StructZero(t) => Some(Ty::Struct(*t)),
            Op::StructField { value, ty, .. } => match self.ty(*value)? {
                Ty::Struct(_) => Some(loaded_ty(*ty)),
                other => return Err(format!("field of {other}")),
            },
            Op::StructMake { ty, parts } => {
                for (_, mem, value) in parts {
                    self.want(*value, loaded_ty(*mem))?;
                }
                Some(Ty::Struct(*ty))
            }
            Op::StructAddr(v) => match self.ty(*v)? {
                Ty::Struct(_) => Some(Ty::ByRef),
                other => return Err(format!("address of {other}")),
            },
            Op::CopyBlock { dst, src, bytes, .. } => {
                self.address(*dst)?;
                self.address(*src)?;
                self.want(*bytes, Ty::I64)?;
                None
            }
            Op::InitBlock { dst, byte, bytes, .. } => {
                self.address(*dst)?;
                self.want(*byte, Ty::I32)?;
                self.want(*bytes, Ty::I64)?;
                None
            }
            Op::NullCheck(v) => {
                self.address(*v)?;
                None
            }
            Op::BoundsCheck { index, length } => {
                self.same(*index, *length)?;
                self.integer(*index)?;
                None
            }
            Op::ArrayLen(v) => {
                self.want(*v, Ty::Ref)?;
                Some(Ty::I32)
            }
            Op::ElemAddr { array, index, .. } => {
                self.want(*array, Ty::Ref)?;
                self.integer(*index)?;
                Some(Ty::ByRef)
            }
            Op::PtrAdd(a, b) => {
                self.want(*b, Ty::I64)?;
                match self.ty(*a)? {
                    ty @ (Ty::ByRef | Ty::I64) => Some(ty),
                    other => return Err(format!("pointer arithmetic on {other}")),
                }
            }
            Op::CallHelper { args, .. } => {
                for arg in args {
                    self.ty(*arg)?;
                }
                None
            }
            Op::Call { callee, sig, args, .. } => {
                if let Callee::Pointer { target } | Callee::Native { target } = callee {
                    self.want(*target, Ty::I64)?;
                }
                for arg in args {
                    self.ty(*arg)?;
                }
                let wanted = sig.params.len() + usize::from(sig.has_this);
                if args.len() != wanted {
                    return Err(format!("{} arguments, {wanted} expected", args.len()));
                }
                None
            }
            Op::ClassInit { .. }
            | Op::SafepointPoll
            | Op::CountBlock { .. }
            | Op::Patchpoint { .. }
            | Op::FrameBase => None,
            Op::Scratch { .. } => Some(Ty::I64),
            Op::LocAlloc { bytes, .. } => {
                self.want(*bytes, Ty::I64)?;
                Some(Ty::I64)
            }
            Op::Intrinsic { args, .. } => {
                for arg in args {
                    self.ty(*arg)?;
                }
                args.first().map(|a| self.ty(*a)).transpose()?
            }
            Op::Vector { op, lane, args } => {
                if !op.takes(*lane) || args.len() != op.arity() {
                    return Err(format!("{op:?} of {} operands with lanes {lane:?}", args.len()));
                }
                for (i, arg) in args.iter().enumerate() {
                    self.want(*arg, op.operand(i, *lane))?;
                }
                Some(op.result(*lane))
            }
            Op::X86 { op, args } => {
                let (params, ret) = op.signature();
                if args.len() != params.len() {
                    return Err(format!("{op:?} of {} operands", args.len()));
                }
                for (&arg, &ty) in args.iter().zip(params) {
                    self.want(arg, ty)?;
                }
                ret
            }
            Op::AtomicRmw { ty, addr, value, .. } => {
                self.address(*addr)?;
                self.want(*value, loaded_ty(*ty))?;
                Some(loaded_ty(*ty))
            }
            Op::AtomicCas {
                ty,
                addr,
                expected,
                value,
            } => {
                self.address(*addr)?;
                self.want(*expected, loaded_ty(*ty))?;
                self.want(*value, loaded_ty(*ty))?;
                Some(loaded_ty(*ty))
            }
        })
    }

    fn inst(&self, inst: &Inst) -> Checked {
        let wanted = self.op(&inst.op)?;
        let Some(result) = inst.result else {
            let optional = matches!(inst.op, Op::CallHelper { .. } | Op::Call { .. } | Op::Intrinsic { .. });
            return if wanted.is_none() || optional {
                Ok(())
            } else {
                Err("result is dropped".to_string())
            };
        };
        if result.index() >= self.func.values.len() {
            return Err(format!("{result} does not exist"));
        }
        let ty = self.func.values[result];
        match wanted {
            Some(wanted) if wanted != ty => Err(format!("result is {ty}, {wanted} expected")),
            _ => Ok(()),
        }
    }

    fn term(&self, term: &Term) -> Checked {
        match term {
            Term::Jump(b) => self.block(*b),
            Term::Branch { cond, then, other } => {
                if !matches!(self.ty(*cond)?, Ty::I32 | Ty::I64 | Ty::Ref | Ty::ByRef) {
                    return Err("condition is not an integer or reference".to_string());
                }
                self.block(*then)?;
                self.block(*other)
            }
            Term::Switch {
                index,
                targets,
                default,
            } => {
                self.want(*index, Ty::I32)?;
                targets.iter().try_for_each(|b| self.block(*b))?;
                self.block(*default)
            }
            Term::Return(Some(v)) => self.ty(*v).map(|_| ()),
            Term::Return(None) | Term::Unreachable => Ok(()),
        }
    }
}
