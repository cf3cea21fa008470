//! On-stack replacement: a function that goes on where a Tier-0 frame of the same method is.
//!
//! A Tier-0 function with patchpoints ([`Func::patchpoints`]) keeps a home in memory for every *fixed* local: arguments, IL
//! locals and what the importer adds for clauses and locks, whose numbers depend on the method alone. Their offsets depend on
//! their types alone ([`FrameLayout`]). At a patchpoint, where the evaluation stack is empty, nothing else lives. The
//! replacement gets the address of that area (and of the return buffer), loads the locals, goes on at the loop and returns the
//! method's result, which the Tier-0 frame returns in turn. That frame stays on the stack: locals whose address somebody may
//! know (`captured_locals`) stay where they are, the others are moved, so that the old frame keeps no object alive.

use crate::captures::captured_locals;
use crate::host_api::{CompilerHost, HostError, TypeKind};
use crate::ir::*;
use crate::layout::{FrameLayout, LocalPlace};
use cranelift_entity::EntityRef;

/// Why a method cannot be replaced at some point.
#[derive(Debug, thiserror::Error)]
pub enum OsrError {
    /// The host could not describe a type.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The method has what replacement does not handle.
    #[error("on-stack replacement: {0}")]
    Unsupported(&'static str),
}

/// Turns a freshly imported method into the replacement that enters at `target`, a block that starts with an empty evaluation
/// stack.
///
/// # Errors
/// See [`OsrError`].
pub fn enter_at(func: &mut Func, target: Block, host: &dyn CompilerHost) -> Result<(), OsrError> {
    if !func.filters.is_empty() {
        return Err(OsrError::Unsupported("filters look into the frame"));
    }
    let layout = FrameLayout::of(func, host)?;
    let fixed = func.fixed_locals.min(func.locals.len());
    func.fixed_locals = 0;
    func.osr = true;
    func.arg_count = 0;
    let entry = func.blocks.push(BlockData {
        insts: Vec::new(),
        term: Term::Jump(target),
        term_il: NO_IL,
        term_site: SiteId::ROOT,
        protect: ProtectId::new(0),
        cold: false,
        weight: None,
    });
    func.entry = entry;

    // An address may have been taken where only the old frame has been, and be known since.
    let mut exposed = captured_locals(func, host);
    clear_unreachable(func);
    let mut used = vec![false; func.locals.len()];
    for inst in func.blocks.values().flat_map(|b| &b.insts) {
        if let Op::LocalGet(l) | Op::LocalAddr(l) = inst.op {
            used[l.index()] = true;
        }
    }
    for clause in func.clauses.values() {
        exposed[clause.exception_local.index()] = false;
    }
    stay(func, &layout, |l| l.index() < fixed && exposed[l.index()]);
    let mut insts = Vec::new();
    for local in func.locals.keys().take(fixed) {
        if used[local.index()] && !exposed[local.index()] {
            let place = layout.place(local);
            let bytes = place.offset..place.offset + place.size;
            let has_references = layout.gc_slots.iter().any(|s| bytes.contains(&s.offset));
            take(func, &mut insts, local, place, has_references);
        }
    }
    func.blocks[entry].insts = insts;
    Ok(())
}

/// Empties blocks that the new entry does not reach.
fn clear_unreachable(func: &mut Func) {
    let mut reached = vec![false; func.blocks.len()];
    let mut work = vec![func.entry];
    while let Some(block) = work.pop() {
        if std::mem::replace(&mut reached[block.index()], true) {
            continue;
        }
        let data = &func.blocks[block];
        match &data.term {
            Term::Jump(b) => work.push(*b),
            Term::Branch { then, other, .. } => work.extend([*then, *other]),
            Term::Switch { targets, default, .. } => work.extend(targets.iter().chain([default])),
            Term::Return(_) | Term::Unreachable => {}
        }
        work.extend(func.protects[data.protect].iter().map(|&c| func.clauses[c].handler));
    }
    for (block, data) in func.blocks.iter_mut() {
        if !reached[block.index()] {
            data.insts.clear();
            data.term = Term::Unreachable;
        }
    }
}

/// How a local is read from its home.
fn mem_ty(place: LocalPlace, ty: Ty) -> MemTy {
    match (place.kind, ty) {
        (_, Ty::Struct(id)) => MemTy::Struct(id),
        (TypeKind::I1, _) => MemTy::I8,
        (TypeKind::U1, _) => MemTy::U8,
        (TypeKind::I2, _) => MemTy::I16,
        (TypeKind::U2, _) => MemTy::U16,
        (_, Ty::I32) => MemTy::I32,
        (_, Ty::I64) => MemTy::I64,
        (_, Ty::F32) => MemTy::F32,
        (_, Ty::F64) => MemTy::F64,
        (_, Ty::V128) => MemTy::V128,
        (_, Ty::Ref) => MemTy::Ref,
        (_, Ty::ByRef) => MemTy::ByRef,
    }
}

fn emit(func: &mut Func, insts: &mut Vec<Inst>, op: Op, ty: Ty) -> Value {
    let value = func.values.push(ty);
    insts.push(Inst {
        op,
        result: Some(value),
        il: NO_IL,
        site: SiteId::ROOT,
    });
    value
}

/// Rewrites the uses of locals that stay in the Tier-0 frame.
fn stay(func: &mut Func, layout: &FrameLayout, stays: impl Fn(Local) -> bool) {
    let blocks: Vec<Block> = func.blocks.keys().collect();
    for block in blocks {
        let old = std::mem::take(&mut func.blocks[block].insts);
        let mut new = Vec::with_capacity(old.len());
        for mut inst in old {
            let local = match inst.op {
                Op::LocalGet(l) | Op::LocalSet(l, _) | Op::LocalAddr(l) if stays(l) => l,
                _ => {
                    new.push(inst);
                    continue;
                }
            };
            let place = layout.place(local);
            let ty = mem_ty(place, func.locals[local].ty);
            let offset = place.offset as i32;
            inst.op = match inst.op {
                Op::LocalSet(_, value) => Op::Store {
                    ty,
                    addr: emit(func, &mut new, Op::FrameBase, Ty::I64),
                    offset,
                    value,
                    barrier: Barrier::None,
                    flags: MemFlags::default(),
                },
                Op::LocalAddr(_) => {
                    let pointer = inst.result.map_or(Ty::ByRef, |r| func.values[r]);
                    let base = emit(func, &mut new, Op::FrameBase, pointer);
                    let bytes = emit(func, &mut new, Op::IConst(i64::from(offset)), Ty::I64);
                    Op::PtrAdd(base, bytes)
                }
                _ => Op::Load {
                    ty,
                    addr: emit(func, &mut new, Op::FrameBase, Ty::I64),
                    offset,
                    flags: MemFlags::default(),
                },
            };
            new.push(inst);
        }
        func.blocks[block].insts = new;
    }
}

/// Moves a local out of the Tier-0 frame.
fn take(func: &mut Func, insts: &mut Vec<Inst>, local: Local, place: LocalPlace, has_references: bool) {
    let ty = func.locals[local].ty;
    let mem = mem_ty(place, ty);
    let offset = place.offset as i32;
    let void = |insts: &mut Vec<Inst>, op| {
        insts.push(Inst {
            op,
            result: None,
            il: NO_IL,
            site: SiteId::ROOT,
        })
    };
    let addr = emit(func, insts, Op::FrameBase, Ty::I64);
    let load = Op::Load {
        ty: mem,
        addr,
        offset,
        flags: MemFlags::default(),
    };
    let value = emit(func, insts, load, ty);
    void(insts, Op::LocalSet(local, value));
    match ty {
        Ty::Ref | Ty::ByRef => {
            // A null byref is written as a null reference: same bits, and no barrier is needed on the stack.
            let null = emit(func, insts, Op::Null, Ty::Ref);
            void(
                insts,
                Op::Store {
                    ty: MemTy::Ref,
                    addr,
                    offset,
                    value: null,
                    barrier: Barrier::None,
                    flags: MemFlags::default(),
                },
            );
        }
        Ty::Struct(id) if has_references => {
            let bytes = emit(func, insts, Op::IConst(i64::from(offset)), Ty::I64);
            let dst = emit(func, insts, Op::PtrAdd(addr, bytes), Ty::I64);
            void(insts, Op::ZeroStruct { ty: id, dst });
        }
        _ => {}
    }
}
