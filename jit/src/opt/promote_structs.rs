//! Scalar replacement of struct locals, and of scalar locals whose address does not leave the function.
//!
//! A struct local that is only read and written as a whole or by fields at constant offsets becomes one local per scalar field
//! ([`Shape`](super::shapes::Shape)). A scalar local that is read and written through its address only in plain sight becomes
//! an ordinary local. Struct values that are only taken apart are never made (see [`pieces`](super::pieces)).
//!
//! Every access stays where it was, so handlers see the same values at each point.

use super::pieces::Rewriter;
use super::propagate::{narrow_kind, outside_uses};
use super::shapes::{Field, Part, Shape, Shapes, scalar_bytes};
use crate::host_api::{CompilerHost, WellKnownType};
use crate::ids::TypeId;
use crate::ir::*;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// The pass. Whether it changed anything that makes another round worthwhile.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) -> bool {
    let mut shapes = Shapes::new(host);
    let promoted = choose(func, host, &mut shapes);
    let mut plan = Plan {
        locals: FxHashMap::default(),
    };
    let mut arguments = Vec::new();
    for (local, shape) in promoted {
        if !matches!(func.locals[local].ty, Ty::Struct(_)) {
            plan.locals.insert(
                local,
                Promoted {
                    shape,
                    pieces: vec![local],
                },
            );
            continue;
        }
        let zero_init = func.locals[local].zero_init;
        let pieces = shape
            .fields
            .iter()
            .map(|f| {
                func.locals.push(LocalData {
                    ty: crate::builder::loaded_ty(f.mem),
                    type_id: type_of(host, f.mem),
                    pinned: false,
                    zero_init,
                })
            })
            .collect();
        if local.index() < func.arg_count {
            arguments.push(local);
        }
        plan.locals.insert(local, Promoted { shape, pieces });
    }
    let changed = !plan.locals.is_empty();
    let mut rewriter = Rewriter::new(&plan, &mut shapes);
    for block in func.blocks.keys().collect::<Vec<_>>() {
        rewriter.block(func, block);
    }
    for local in arguments {
        if let Some(promoted) = plan.locals.get(&local) {
            split_argument(func, local, promoted);
        }
    }
    changed
}

/// A local that is replaced.
pub(super) struct Promoted {
    pub shape: Rc<Shape>,
    /// One local per field; of a scalar itself.
    pub pieces: Vec<Local>,
}

/// What is replaced.
pub(super) struct Plan {
    pub locals: FxHashMap<Local, Promoted>,
}

/// Type of a local that holds a field.
pub(super) fn type_of(host: &dyn CompilerHost, mem: MemTy) -> TypeId {
    if mem == MemTy::V128 {
        return TypeId(0);
    }
    host.well_known(match mem {
        MemTy::I8 => WellKnownType::SByte,
        MemTy::U8 => WellKnownType::Byte,
        MemTy::I16 => WellKnownType::Int16,
        MemTy::U16 => WellKnownType::UInt16,
        MemTy::I32 => WellKnownType::Int32,
        MemTy::I64 | MemTy::ByRef => WellKnownType::IntPtr,
        MemTy::F32 => WellKnownType::Single,
        MemTy::F64 => WellKnownType::Double,
        MemTy::Ref | MemTy::V128 | MemTy::Struct(_) => WellKnownType::Object,
    })
}

/// Fills the locals of an argument's fields at entry.
fn split_argument(func: &mut Func, local: Local, promoted: &Promoted) {
    let ty = func.locals[local].ty;
    let mut out = Vec::new();
    let inst = |op, result| Inst {
        op,
        result,
        il: NO_IL,
        site: SiteId::ROOT,
    };
    let whole = func.values.push(ty);
    out.push(inst(Op::LocalGet(local), Some(whole)));
    for (field, &piece) in promoted.shape.fields.iter().zip(&promoted.pieces) {
        let v = func.values.push(crate::builder::loaded_ty(field.mem));
        out.push(inst(
            Op::StructField {
                value: whole,
                offset: field.offset,
                ty: field.mem,
            },
            Some(v),
        ));
        out.push(inst(Op::LocalSet(piece, v), None));
    }
    let entry = &mut func.blocks[func.entry].insts;
    out.append(entry);
    *entry = out;
}

/// Addresses of locals among the values of a block: local and offset.
pub(super) fn local_addresses(func: &Func, block: Block, out: &mut FxHashMap<Value, (Local, i64)>) {
    out.clear();
    let mut ints: FxHashMap<Value, i64> = FxHashMap::default();
    for inst in &func.blocks[block].insts {
        let Some(result) = inst.result else { continue };
        match inst.op {
            Op::LocalAddr(l) => {
                out.insert(result, (l, 0));
            }
            Op::IConst(n) => {
                ints.insert(result, n);
            }
            Op::PtrAdd(a, b) => {
                if let (Some(&(l, offset)), Some(n)) = (out.get(&a), ints.get(&b)) {
                    out.insert(result, (l, offset.wrapping_add(*n)));
                }
            }
            _ => {}
        }
    }
}

#[derive(Clone, Default)]
struct Candidate {
    shape: Option<Rc<Shape>>,
    exposed: bool,
    gets: u32,
    sets: u32,
    /// Accesses to fields.
    fields: u32,
    /// Reads of the whole value for something that wants it in memory.
    wholes: u32,
}

/// The locals to replace.
fn choose(func: &Func, host: &dyn CompilerHost, shapes: &mut Shapes<'_>) -> Vec<(Local, Rc<Shape>)> {
    let parents = func.parent_locals.unwrap_or(0);
    let mut candidates: Vec<Candidate> = func
        .locals
        .iter()
        .map(|(l, data)| {
            let shape = match data.ty {
                _ if data.pinned || l.index() < parents => None,
                Ty::Struct(t) => shapes.of(t),
                ty => Some(Rc::new(scalar_shape(func, host, l, ty))),
            };
            Candidate {
                shape,
                ..Candidate::default()
            }
        })
        .collect();
    for l in outside_uses(func) {
        candidates[l.index()].shape = None;
    }
    let mut addresses = FxHashMap::default();
    let mut gets: FxHashMap<Value, Local> = FxHashMap::default();
    for (block, data) in func.blocks.iter() {
        local_addresses(func, block, &mut addresses);
        gets.clear();
        for inst in &data.insts {
            match inst.op {
                Op::LocalAddr(l) => candidates[l.index()].exposed = true,
                Op::LocalGet(l) => candidates[l.index()].gets += 1,
                Op::LocalSet(l, _) => candidates[l.index()].sets += 1,
                _ => {}
            }
            look(inst, shapes, &addresses, &mut gets, &mut candidates);
        }
        if let Some(v) = term_use(&data.term) {
            if let Some((l, _)) = addresses.get(&v) {
                candidates[l.index()].shape = None;
            }
            if let Some(l) = gets.get(&v) {
                candidates[l.index()].wholes += 1;
            }
        }
    }
    func.locals
        .iter()
        .filter_map(|(l, data)| {
            let c = &candidates[l.index()];
            let shape = c.shape.clone()?;
            let wanted = match data.ty {
                Ty::Struct(_) => {
                    // An argument that is read once at most is taken apart where it is.
                    let least = u32::from(l.index() < func.arg_count);
                    let used = c.exposed || c.sets > 0 || c.gets > least;
                    used && (shape.fields.len() <= 4 || c.fields >= c.wholes)
                }
                _ => c.exposed,
            };
            wanted.then_some((l, shape))
        })
        .collect()
}

fn scalar_shape(func: &Func, host: &dyn CompilerHost, local: Local, ty: Ty) -> Shape {
    let mem = match (ty, narrow_kind(func, host, local)) {
        (_, Some(ConvOp::Sext8)) => MemTy::I8,
        (_, Some(ConvOp::Zext8)) => MemTy::U8,
        (_, Some(ConvOp::Sext16)) => MemTy::I16,
        (_, Some(_)) => MemTy::U16,
        (Ty::I32, None) => MemTy::I32,
        (Ty::I64 | Ty::Struct(_), None) => MemTy::I64,
        (Ty::F32, None) => MemTy::F32,
        (Ty::F64, None) => MemTy::F64,
        (Ty::Ref, None) => MemTy::Ref,
        (Ty::ByRef, None) => MemTy::ByRef,
        (Ty::V128, None) => MemTy::V128,
    };
    Shape {
        fields: vec![Field { offset: 0, mem }],
        size: scalar_bytes(mem),
    }
}

/// Excludes the locals whose address an instruction uses in another way than for an access to a field.
fn look(
    inst: &Inst,
    shapes: &mut Shapes<'_>,
    addresses: &FxHashMap<Value, (Local, i64)>,
    gets: &mut FxHashMap<Value, Local>,
    candidates: &mut [Candidate],
) {
    let mut access = |candidates: &mut [Candidate], addr: Value, offset: i32, ty: MemTy| {
        let Some(&(l, base)) = addresses.get(&addr) else { return };
        let c = &mut candidates[l.index()];
        let Some(shape) = &c.shape else { return };
        match shapes.part(shape, base + i64::from(offset), ty) {
            Some(Part::Scalar(_)) => c.fields += 1,
            Some(Part::Fields(..)) => {}
            None => c.shape = None,
        }
    };
    let escape = |candidates: &mut [Candidate], v: Value| {
        if let Some((l, _)) = addresses.get(&v) {
            candidates[l.index()].shape = None;
        }
    };
    match inst.op {
        Op::Load { ty, addr, offset, .. } => access(candidates, addr, offset, ty),
        Op::Store {
            ty,
            addr,
            offset,
            value,
            ..
        } => {
            access(candidates, addr, offset, ty);
            escape(candidates, value);
        }
        Op::CopyStruct { ty, dst, src, .. } => {
            access(candidates, dst, 0, MemTy::Struct(ty));
            access(candidates, src, 0, MemTy::Struct(ty));
        }
        Op::ZeroStruct { ty, dst } => access(candidates, dst, 0, MemTy::Struct(ty)),
        Op::NullCheck(_) => {}
        Op::PtrAdd(a, _) if inst.result.is_some_and(|r| addresses.contains_key(&r)) => {
            let _ = a;
        }
        Op::LocalGet(l) => {
            if let (Some(result), Some(Candidate { shape: Some(_), .. })) = (inst.result, candidates.get(l.index())) {
                gets.insert(result, l);
            }
        }
        Op::LocalSet(l, v) => {
            if !gets.contains_key(&v) {
                candidates[l.index()].fields += 1;
            }
            escape(candidates, v);
        }
        Op::StructField { value, .. } => {
            if let Some(l) = gets.get(&value) {
                candidates[l.index()].fields += 1;
            }
        }
        ref op => for_each_use(op, |v| {
            escape(candidates, v);
            if let Some(l) = gets.get(&v) {
                candidates[l.index()].wholes += 1;
            }
        }),
    }
}
