//! Rewrites blocks for [`promote_structs`](super::promote_structs): struct values become the values of their fields where
//! something wants those, and are put together again only for what needs the whole.
//!
//! A walk from the end of the block finds what is wanted of each struct value; a walk from its start makes it.

use super::promote_structs::{Plan, Promoted, local_addresses};
use super::shapes::{Field, Part, Shape, Shapes, cast};
use crate::builder::loaded_ty;
use crate::ir::*;
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// A value with more fields is stored to memory as a whole.
const MAX_STORES: usize = 8;

/// What is wanted of a struct value.
#[derive(Clone, Copy, Default)]
struct Want {
    /// Fields, as bits.
    fields: u32,
    whole: bool,
}

/// Where a struct value comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Its fields are at hand without a copy in memory.
    Pieces,
    /// It is in memory, or made whole by a call.
    Whole,
}

pub(super) struct Rewriter<'a, 's> {
    plan: &'a Plan,
    shapes: &'a mut Shapes<'s>,
    addresses: FxHashMap<Value, (Local, i64)>,
    wants: FxHashMap<Value, Want>,
    sources: FxHashMap<Value, Source>,
    /// Fields of struct values that were made.
    pieces: FxHashMap<Value, Vec<Option<Value>>>,
    /// Struct values under another name: put together again.
    wholes: FxHashMap<Value, Value>,
    /// Scalars that are replaced.
    replaced: FxHashMap<Value, Value>,
    out: Vec<Inst>,
    il: u32,
    site: SiteId,
}

fn all(shape: &Shape) -> u32 {
    u32::MAX >> (32 - shape.fields.len() as u32)
}

fn mask(first: usize, count: usize) -> u32 {
    (u32::MAX >> (32 - count as u32)) << first
}

impl<'a, 's> Rewriter<'a, 's> {
    pub fn new(plan: &'a Plan, shapes: &'a mut Shapes<'s>) -> Self {
        Rewriter {
            plan,
            shapes,
            addresses: FxHashMap::default(),
            wants: FxHashMap::default(),
            sources: FxHashMap::default(),
            pieces: FxHashMap::default(),
            wholes: FxHashMap::default(),
            replaced: FxHashMap::default(),
            out: Vec::new(),
            il: NO_IL,
            site: SiteId::ROOT,
        }
    }

    pub fn block(&mut self, func: &mut Func, block: Block) {
        let concerned = func.blocks[block].insts.iter().any(|i| match i.op {
            Op::LocalGet(l) | Op::LocalSet(l, _) | Op::LocalAddr(l) => self.plan.locals.contains_key(&l),
            Op::StructField { .. } | Op::StructMake { .. } => true,
            Op::Store {
                ty: MemTy::Struct(_), ..
            } => true,
            _ => false,
        });
        if !concerned {
            return;
        }
        local_addresses(func, block, &mut self.addresses);
        let plan = self.plan;
        self.addresses.retain(|_, (l, _)| plan.locals.contains_key(l));
        self.wants.clear();
        self.sources.clear();
        self.pieces.clear();
        self.wholes.clear();
        self.replaced.clear();
        self.find_sources(func, block);
        self.find_wants(func, block);
        let insts = std::mem::take(&mut func.blocks[block].insts);
        self.out.reserve(insts.len());
        for inst in insts {
            (self.il, self.site) = (inst.il, inst.site);
            self.inst(func, inst);
        }
        (self.il, self.site) = (func.blocks[block].term_il, func.blocks[block].term_site);
        let mut term = std::mem::replace(&mut func.blocks[block].term, Term::Unreachable);
        match &mut term {
            Term::Branch { cond: v, .. } | Term::Switch { index: v, .. } | Term::Return(Some(v)) => {
                *v = self.operand(func, *v);
            }
            Term::Return(None) | Term::Jump(_) | Term::Unreachable => {}
        }
        let data = &mut func.blocks[block];
        data.term = term;
        data.insts = std::mem::take(&mut self.out);
    }

    /// The shape of a struct value.
    fn shape(&mut self, func: &Func, v: Value) -> Option<Rc<Shape>> {
        match func.values[v] {
            Ty::Struct(t) => self.shapes.of(t),
            _ => None,
        }
    }

    fn promoted(&self, local: Local) -> Option<&'a Promoted> {
        self.plan.locals.get(&local)
    }

    /// The promoted struct local behind a local, not a scalar.
    fn promoted_struct(&self, func: &Func, local: Local) -> Option<&'a Promoted> {
        self.promoted(local)
            .filter(|_| matches!(func.locals[local].ty, Ty::Struct(_)))
    }

    /// The part of a promoted local that an access touches.
    fn access(&mut self, addr: Value, offset: i32, ty: MemTy) -> Option<(&'a Promoted, Part)> {
        let &(l, base) = self.addresses.get(&addr)?;
        let promoted = self.promoted(l)?;
        let part = self.shapes.part(&promoted.shape, base + i64::from(offset), ty)?;
        Some((promoted, part))
    }

    fn source(&self, v: Value) -> Source {
        self.sources.get(&v).copied().unwrap_or(Source::Whole)
    }

    fn find_sources(&mut self, func: &Func, block: Block) {
        for inst in &func.blocks[block].insts {
            let Some(result) = inst.result else { continue };
            if self.shape(func, result).is_none() {
                continue;
            }
            let source = match &inst.op {
                Op::StructMake { ty, parts } => {
                    let (ty, parts) = (*ty, parts.clone());
                    if self.make_is_plain(func, ty, &parts) {
                        Source::Pieces
                    } else {
                        Source::Whole
                    }
                }
                Op::StructZero(_) => Source::Pieces,
                Op::LocalGet(l) if self.promoted_struct(func, *l).is_some() => Source::Pieces,
                Op::Load { addr, .. } if self.addresses.contains_key(addr) => Source::Pieces,
                Op::StructField { value, offset, ty } => match self.field_part(func, *value, *offset, *ty) {
                    Some(_) => self.source(*value),
                    None => Source::Whole,
                },
                _ => Source::Whole,
            };
            self.sources.insert(result, source);
        }
    }

    /// Does every part of a made struct lie on whole fields?
    fn make_is_plain(&mut self, func: &Func, ty: crate::ids::TypeId, parts: &[(u32, MemTy, Value)]) -> bool {
        let Some(shape) = self.shapes.of(ty) else { return false };
        parts.iter().all(
            |&(offset, mem, v)| match self.shapes.part(&shape, i64::from(offset), mem) {
                Some(Part::Scalar(i)) => shape.fields[i].mem == mem || cast(mem, shape.fields[i].mem).is_some(),
                Some(Part::Fields(..)) => matches!(func.values[v], Ty::Struct(_)),
                None => false,
            },
        )
    }

    fn field_part(&mut self, func: &Func, value: Value, offset: u32, ty: MemTy) -> Option<Part> {
        let shape = self.shape(func, value)?;
        self.shapes.part(&shape, i64::from(offset), ty)
    }

    // --- what is wanted

    fn want(&mut self, v: Value) -> Want {
        self.wants.get(&v).copied().unwrap_or_default()
    }

    fn want_fields(&mut self, v: Value, fields: u32) {
        self.wants.entry(v).or_default().fields |= fields;
    }

    /// The whole of a value is wanted: all its fields if those are at hand.
    fn want_whole(&mut self, func: &Func, v: Value) {
        if !matches!(func.values[v], Ty::Struct(_)) {
            return;
        }
        self.wants.entry(v).or_default().whole = true;
        if self.source(v) == Source::Pieces
            && let Some(shape) = self.shape(func, v)
        {
            self.want_fields(v, all(&shape));
        }
    }

    fn want_all(&mut self, func: &Func, v: Value) {
        match self.shape(func, v) {
            Some(shape) => self.want_fields(v, all(&shape)),
            None => self.want_whole(func, v),
        }
    }

    /// Is a store of this value to memory split?
    fn splits(&mut self, func: &Func, v: Value, flags: MemFlags) -> bool {
        self.source(v) == Source::Pieces
            && flags.is_plain()
            && self.shape(func, v).is_some_and(|s| s.fields.len() <= MAX_STORES)
    }

    fn find_wants(&mut self, func: &Func, block: Block) {
        let data = &func.blocks[block];
        if let Some(v) = term_use(&data.term) {
            self.want_whole(func, v);
        }
        for inst in data.insts.iter().rev() {
            match inst.op {
                Op::StructField { value, offset, ty } => {
                    let Some(result) = inst.result else { continue };
                    match self.field_part(func, value, offset, ty) {
                        Some(Part::Scalar(i)) => self.want_fields(value, 1 << i),
                        Some(Part::Fields(first, count)) => {
                            let want = self.want(result);
                            if want.whole && self.source(result) == Source::Whole {
                                self.want_whole(func, value);
                            }
                            let fields = if want.whole { mask(0, count) } else { want.fields };
                            if fields != 0 && (self.source(value) == Source::Pieces || !want.whole) {
                                self.want_fields(value, fields << first);
                            }
                        }
                        None => self.want_whole(func, value),
                    }
                }
                Op::LocalSet(l, v) if matches!(func.values[v], Ty::Struct(_)) => {
                    if self.promoted_struct(func, l).is_some() {
                        self.want_all(func, v);
                    } else {
                        self.want_whole(func, v);
                    }
                }
                Op::Store {
                    ty: MemTy::Struct(_),
                    addr,
                    value,
                    flags,
                    ..
                } => {
                    if self.addresses.contains_key(&addr) || self.splits(func, value, flags) {
                        self.want_all(func, value);
                    } else {
                        self.want_whole(func, value);
                    }
                }
                Op::StructMake { ref parts, .. } => {
                    let Some(result) = inst.result else { continue };
                    let want = self.want(result);
                    if self.source(result) == Source::Whole {
                        for &(_, _, v) in parts {
                            self.want_whole(func, v);
                        }
                        continue;
                    }
                    let Some(shape) = self.shape(func, result) else {
                        continue;
                    };
                    for &(offset, mem, v) in parts {
                        if let Some(Part::Fields(first, count)) = self.shapes.part(&shape, i64::from(offset), mem) {
                            let fields = (want.fields >> first) & mask(0, count);
                            self.want_fields(v, fields);
                        }
                    }
                }
                ref op => for_each_use(op, |v| self.want_whole(func, v)),
            }
        }
    }

    // --- making it

    fn emit(&mut self, func: &mut Func, op: Op, ty: Ty) -> Value {
        let result = func.values.push(ty);
        self.push(op, Some(result));
        result
    }

    fn push(&mut self, op: Op, result: Option<Value>) {
        self.out.push(Inst {
            op,
            result,
            il: self.il,
            site: self.site,
        });
    }

    fn zero(&mut self, func: &mut Func, mem: MemTy) -> Value {
        let ty = loaded_ty(mem);
        let op = match ty {
            Ty::F32 | Ty::F64 => Op::FConst(0),
            Ty::V128 => Op::Vector {
                op: VecOp::Const(0),
                lane: Lane::U8,
                args: Vec::new(),
            },
            Ty::Ref => Op::Null,
            _ => Op::IConst(0),
        };
        self.emit(func, op, ty)
    }

    /// A value of a field read or stored as another type of the same bytes.
    fn cast(&mut self, func: &mut Func, v: Value, from: MemTy, to: MemTy) -> Value {
        if from == to {
            return v;
        }
        match cast(from, to) {
            Some((op, ty)) => self.emit(func, Op::Conv(op, v), ty),
            None => v,
        }
    }

    /// A value as memory of that type holds it.
    fn fit(&mut self, func: &mut Func, v: Value, mem: MemTy) -> Value {
        let op = match mem {
            MemTy::I8 => ConvOp::Sext8,
            MemTy::U8 => ConvOp::Zext8,
            MemTy::I16 => ConvOp::Sext16,
            MemTy::U16 => ConvOp::Zext16,
            _ => return v,
        };
        self.emit(func, Op::Conv(op, v), Ty::I32)
    }

    fn operand(&mut self, func: &mut Func, v: Value) -> Value {
        match func.values[v] {
            Ty::Struct(_) => self.whole(func, v),
            _ => self.replaced.get(&v).copied().unwrap_or(v),
        }
    }

    /// A struct value as a whole.
    fn whole(&mut self, func: &mut Func, v: Value) -> Value {
        if self.source(v) == Source::Whole {
            return v;
        }
        if let Some(&made) = self.wholes.get(&v) {
            return made;
        }
        let (Ty::Struct(ty), Some(shape)) = (func.values[v], self.shape(func, v)) else {
            return v;
        };
        debug_assert!(self.want(v).fields == all(&shape), "the whole of {v} was not wanted");
        let mut parts = Vec::with_capacity(shape.fields.len());
        for (i, field) in shape.fields.iter().enumerate() {
            if let Some(p) = self.pieces.get(&v).and_then(|p| p.get(i).copied().flatten()) {
                parts.push((field.offset, field.mem, p));
            }
        }
        let op = if parts.is_empty() {
            Op::StructZero(ty)
        } else {
            Op::StructMake { ty, parts }
        };
        let made = self.emit(func, op, Ty::Struct(ty));
        self.wholes.insert(v, made);
        made
    }

    /// A field of a struct value. Fields that were not made are zero.
    fn piece(&mut self, func: &mut Func, v: Value, shape: &Shape, i: usize) -> Value {
        if let Some(p) = self.pieces.get(&v).and_then(|p| p.get(i).copied().flatten()) {
            return p;
        }
        let field = shape.fields[i];
        if self.source(v) == Source::Pieces {
            debug_assert!(self.want(v).fields & (1 << i) != 0, "field {i} of {v} was not wanted");
            return self.zero(func, field.mem);
        }
        let op = Op::StructField {
            value: v,
            offset: field.offset,
            ty: field.mem,
        };
        self.emit(func, op, loaded_ty(field.mem))
    }

    fn wanted(shape: &Shape, want: Want) -> impl Iterator<Item = (usize, Field)> + '_ {
        let fields = shape.fields.iter().copied().enumerate();
        fields.filter(move |(i, _)| want.fields & (1 << i) != 0)
    }

    fn inst(&mut self, func: &mut Func, mut inst: Inst) {
        if let Some(result) = inst.result
            && matches!(func.values[result], Ty::Struct(_))
        {
            return self.definition(func, inst, result);
        }
        match inst.op {
            Op::StructField { value, offset, ty } => {
                let part = self.field_part(func, value, offset, ty);
                if let (Some(Part::Scalar(i)), Some(shape), Some(result)) = (part, self.shape(func, value), inst.result)
                {
                    let v = self.piece(func, value, &shape, i);
                    let v = self.cast(func, v, shape.fields[i].mem, ty);
                    self.replaced.insert(result, v);
                    return;
                }
            }
            Op::LocalAddr(l) if self.promoted(l).is_some() => return,
            Op::PtrAdd(..) if inst.result.is_some_and(|r| self.addresses.contains_key(&r)) => return,
            Op::NullCheck(v) if self.addresses.contains_key(&v) => return,
            Op::LocalSet(l, v) => {
                if let Some(promoted) = self.promoted_struct(func, l) {
                    return self.set_pieces(func, promoted, 0, v);
                }
            }
            Op::Load { ty, addr, offset, .. } => {
                if let (Some((promoted, Part::Scalar(i))), Some(result)) = (self.access(addr, offset, ty), inst.result)
                {
                    let mem = promoted.shape.fields[i].mem;
                    let v = self.emit(func, Op::LocalGet(promoted.pieces[i]), loaded_ty(mem));
                    let v = self.cast(func, v, mem, ty);
                    self.replaced.insert(result, v);
                    return;
                }
            }
            Op::Store {
                ty,
                addr,
                offset,
                value,
                barrier,
                flags,
            } => {
                match self.access(addr, offset, ty) {
                    Some((promoted, Part::Scalar(i))) => {
                        let v = self.operand(func, value);
                        let v = self.cast(func, v, ty, promoted.shape.fields[i].mem);
                        return self.push(Op::LocalSet(promoted.pieces[i], v), None);
                    }
                    Some((promoted, Part::Fields(first, _))) => return self.set_pieces(func, promoted, first, value),
                    None => {}
                }
                if matches!(ty, MemTy::Struct(_)) && self.splits(func, value, flags) {
                    let addr = self.operand(func, addr);
                    return self.store_pieces(func, value, addr, offset, (barrier, flags));
                }
            }
            Op::CopyStruct { ty, dst, src, barrier } => {
                let mem = MemTy::Struct(ty);
                let (to, from) = (self.access(dst, 0, mem), self.access(src, 0, mem));
                if to.is_some() || from.is_some() {
                    return self.copy(func, mem, (to, dst), (from, src), barrier);
                }
            }
            Op::ZeroStruct { ty, dst } => {
                if let Some((promoted, Part::Fields(first, count))) = self.access(dst, 0, MemTy::Struct(ty)) {
                    for i in first..first + count {
                        let v = self.zero(func, promoted.shape.fields[i].mem);
                        self.push(Op::LocalSet(promoted.pieces[i], v), None);
                    }
                    return;
                }
            }
            _ => {}
        }
        self.rename(func, &mut inst);
        self.out.push(inst);
    }

    fn rename(&mut self, func: &mut Func, inst: &mut Inst) {
        // Wholes are made before the instruction.
        map_uses(&mut inst.op, |v| *v = self.operand(func, *v));
    }

    fn set_pieces(&mut self, func: &mut Func, promoted: &Promoted, first: usize, v: Value) {
        let Some(shape) = self.shape(func, v) else { return };
        let values: Vec<Value> = (0..shape.fields.len())
            .map(|i| self.piece(func, v, &shape, i))
            .collect();
        for (i, p) in values.into_iter().enumerate() {
            self.push(Op::LocalSet(promoted.pieces[first + i], p), None);
        }
    }

    fn store_pieces(&mut self, func: &mut Func, v: Value, addr: Value, offset: i32, how: (Barrier, MemFlags)) {
        let Some(shape) = self.shape(func, v) else { return };
        let made = self.pieces.get(&v).is_some_and(|p| p.iter().any(Option::is_some));
        if let (false, Ty::Struct(ty)) = (made, func.values[v]) {
            // Only zeroes.
            let value = self.emit(func, Op::StructZero(ty), Ty::Struct(ty));
            return self.push(
                Op::Store {
                    ty: MemTy::Struct(ty),
                    addr,
                    offset,
                    value,
                    barrier: how.0,
                    flags: how.1,
                },
                None,
            );
        }
        for (i, field) in shape.fields.iter().enumerate() {
            let value = self.piece(func, v, &shape, i);
            self.store_field(*field, addr, offset, value, how);
        }
    }

    fn store_field(&mut self, field: Field, addr: Value, offset: i32, value: Value, how: (Barrier, MemFlags)) {
        let barrier = match field.mem {
            MemTy::Ref => how.0,
            _ => Barrier::None,
        };
        self.push(
            Op::Store {
                ty: field.mem,
                addr,
                offset: offset + field.offset as i32,
                value,
                barrier,
                flags: how.1,
            },
            None,
        );
    }

    fn copy(
        &mut self,
        func: &mut Func,
        mem: MemTy,
        (to, dst): (Option<(&Promoted, Part)>, Value),
        (from, src): (Option<(&Promoted, Part)>, Value),
        barrier: Barrier,
    ) {
        let MemTy::Struct(ty) = mem else { return };
        let Some(shape) = self.shapes.of(ty) else { return };
        let (dst, src) = (self.operand(func, dst), self.operand(func, src));
        let mut values = Vec::with_capacity(shape.fields.len());
        for (i, field) in shape.fields.iter().enumerate() {
            let op = match from {
                Some((promoted, Part::Fields(first, _))) => Op::LocalGet(promoted.pieces[first + i]),
                _ => Op::Load {
                    ty: field.mem,
                    addr: src,
                    offset: field.offset as i32,
                    flags: MemFlags::default(),
                },
            };
            values.push(self.emit(func, op, loaded_ty(field.mem)));
        }
        for (i, (field, v)) in shape.fields.iter().zip(values).enumerate() {
            match to {
                Some((promoted, Part::Fields(first, _))) => {
                    self.push(Op::LocalSet(promoted.pieces[first + i], v), None);
                }
                _ => self.store_field(*field, dst, 0, v, (barrier, MemFlags::default())),
            }
        }
    }

    /// An instruction that defines a struct value.
    fn definition(&mut self, func: &mut Func, mut inst: Inst, result: Value) {
        let want = self.want(result);
        let Some(shape) = self.shape(func, result) else {
            self.rename(func, &mut inst);
            return self.out.push(inst);
        };
        let mut pieces = vec![None; shape.fields.len()];
        if self.source(result) == Source::Pieces {
            match &inst.op {
                Op::LocalGet(l) => {
                    if let Some(promoted) = self.promoted(*l) {
                        for (i, field) in Self::wanted(&shape, want) {
                            let op = Op::LocalGet(promoted.pieces[i]);
                            pieces[i] = Some(self.emit(func, op, loaded_ty(field.mem)));
                        }
                    }
                }
                Op::Load { ty, addr, offset, .. } => {
                    if let Some((promoted, Part::Fields(first, _))) = self.access(*addr, *offset, *ty) {
                        for (i, field) in Self::wanted(&shape, want) {
                            let op = Op::LocalGet(promoted.pieces[first + i]);
                            pieces[i] = Some(self.emit(func, op, loaded_ty(field.mem)));
                        }
                    }
                }
                Op::StructMake { parts, .. } => {
                    for &(offset, mem, v) in parts {
                        match self.shapes.part(&shape, i64::from(offset), mem) {
                            Some(Part::Scalar(i)) if want.fields & (1 << i) != 0 => {
                                let v = self.operand(func, v);
                                let v = self.cast(func, v, mem, shape.fields[i].mem);
                                pieces[i] = Some(self.fit(func, v, shape.fields[i].mem));
                            }
                            Some(Part::Fields(first, count)) => {
                                let Some(inner) = self.shape(func, v) else { continue };
                                for i in 0..count {
                                    if want.fields & (1 << (first + i)) != 0 {
                                        pieces[first + i] = Some(self.piece(func, v, &inner, i));
                                    }
                                }
                            }
                            _ => {}
                        }
                    }
                }
                Op::StructField { value, offset, ty } => {
                    let (value, offset, ty) = (*value, *offset, *ty);
                    if let (Some(Part::Fields(first, _)), Some(outer)) =
                        (self.field_part(func, value, offset, ty), self.shape(func, value))
                    {
                        for (i, _) in Self::wanted(&shape, want) {
                            pieces[i] = Some(self.piece(func, value, &outer, first + i));
                        }
                    }
                }
                // Zero.
                _ => {}
            }
            self.pieces.insert(result, pieces);
            return;
        }
        match inst.op {
            // Only some fields of what is in memory: load those.
            Op::Load {
                ty: MemTy::Struct(_),
                addr,
                offset,
                flags,
            } if !want.whole && !flags.volatile => {
                let addr = self.operand(func, addr);
                for (i, field) in Self::wanted(&shape, want) {
                    let op = Op::Load {
                        ty: field.mem,
                        addr,
                        offset: offset + field.offset as i32,
                        flags,
                    };
                    pieces[i] = Some(self.emit(func, op, loaded_ty(field.mem)));
                }
                self.pieces.insert(result, pieces);
                return;
            }
            // Only fields of a part of another value.
            Op::StructField { value, offset, ty } if !want.whole => {
                if let (Some(Part::Fields(first, _)), Some(outer)) =
                    (self.field_part(func, value, offset, ty), self.shape(func, value))
                {
                    for (i, _) in Self::wanted(&shape, want) {
                        pieces[i] = Some(self.piece(func, value, &outer, first + i));
                    }
                    self.pieces.insert(result, pieces);
                    return;
                }
            }
            _ => {}
        }
        self.rename(func, &mut inst);
        self.out.push(inst);
        for (i, field) in Self::wanted(&shape, want) {
            let op = Op::StructField {
                value: result,
                offset: field.offset,
                ty: field.mem,
            };
            pieces[i] = Some(self.emit(func, op, loaded_ty(field.mem)));
        }
        self.pieces.insert(result, pieces);
    }
}
