//! Scalar replacement of objects: an object that nothing outside of the function can see becomes locals, one per field.
//!
//! An allocation qualifies if every value that may be its object is known to be ([`Fact::Object`]) wherever it is used, and is
//! only used to read and write fields, to be compared, cast or tested for null. Its fields are what the accesses say they are:
//! the class need not be known beyond that. Objects with finalizers stay.

use super::pieces::Rewriter;
use super::promote_structs::{Plan, Promoted, type_of};
use super::propagate::{Fact, Facts, State, decided};
use super::shapes::{Field, Shape, Shapes, scalar_bytes};
use crate::builder::loaded_ty;
use crate::host_api::CompilerHost;
use crate::ids::TypeId;
use crate::ir::*;
use cranelift_entity::EntityRef;
use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;

/// Allocations looked at in one function.
const MAX_SITES: usize = 64;
/// Objects with more fields stay.
const MAX_FIELDS: usize = 24;
/// Fields further inside of an object are not looked at.
const MAX_OFFSET: u32 = 1 << 16;

/// The pass. Whether it replaced an object.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) -> bool {
    let sites = allocations(func, host);
    if sites.is_empty() {
        return false;
    }
    let Some(facts) = Facts::of(func, host, &sites) else {
        return false;
    };
    let mut shapes = Shapes::new(host);
    let mut search = Search {
        escaped: vec![false; sites.len()],
        accesses: vec![Vec::new(); sites.len()],
        holders: vec![FxHashSet::default(); sites.len()],
        unsure: FxHashSet::default(),
        facts: &facts,
    };
    search.run(func);
    let Search {
        escaped,
        accesses,
        holders,
        unsure,
        ..
    } = search;
    let mut objects: Vec<Option<Object>> = Vec::new();
    for (site, accesses) in accesses.into_iter().enumerate() {
        let seen = escaped[site] || holders[site].iter().any(|l| unsure.contains(l));
        let shape = if seen { None } else { layout(&accesses, &mut shapes) };
        objects.push(shape.map(|shape| Object {
            local: Local::new(0),
            table: 0,
            shape: Rc::new(shape),
            pieces: Vec::new(),
        }));
    }
    if objects.iter().all(Option::is_none) {
        return false;
    }
    let mut plan = Plan {
        locals: FxHashMap::default(),
    };
    for object in objects.iter_mut().flatten() {
        // Never used itself: only its address is named, until the rewriter replaces the accesses.
        object.local = new_local(func, Ty::I64, TypeId(0));
        for field in &object.shape.fields {
            let local = new_local(func, loaded_ty(field.mem), type_of(host, field.mem));
            object.pieces.push(local);
        }
        plan.locals.insert(
            object.local,
            Promoted {
                shape: object.shape.clone(),
                pieces: object.pieces.clone(),
            },
        );
    }
    for ((_, class), object) in sites.iter().zip(&mut objects) {
        if let (Some(object), Ok(info)) = (object, host.type_info(*class)) {
            object.table = info.method_table;
        }
    }
    replace(func, &facts, &objects);
    let mut rewriter = Rewriter::new(&plan, &mut shapes);
    for block in func.blocks.keys().collect::<Vec<_>>() {
        rewriter.block(func, block);
    }
    true
}

fn new_local(func: &mut Func, ty: Ty, type_id: TypeId) -> Local {
    func.locals.push(LocalData {
        ty,
        type_id,
        pinned: false,
        zero_init: false,
    })
}

/// Allocations of objects without side effects: the value and its class.
fn allocations(func: &Func, host: &dyn CompilerHost) -> Vec<(Value, TypeId)> {
    let mut sites = Vec::new();
    for data in func.blocks.values() {
        for (i, inst) in data.insts.iter().enumerate() {
            let Op::CallHelper {
                helper: Helper::NewObject,
                ref args,
            } = inst.op
            else {
                continue;
            };
            let table = data.insts[..i].iter().rev().find(|d| d.result == args.first().copied());
            if let (Some(Op::IConst(table)), Some(result)) = (table.map(|d| &d.op), inst.result)
                && let Some(class) = host.plain_object(*table as u64)
                && sites.len() < MAX_SITES
            {
                sites.push((result, class));
            }
        }
    }
    sites
}

/// An object that is replaced.
struct Object {
    local: Local,
    /// Address of its MethodTable.
    table: u64,
    shape: Rc<Shape>,
    pieces: Vec<Local>,
}

/// The fields that accesses show; `None` if some access does not touch whole fields.
fn layout(accesses: &[(u32, MemTy)], shapes: &mut Shapes<'_>) -> Option<Shape> {
    let mut fields: Vec<Field> = Vec::new();
    for &(offset, mem) in accesses {
        match mem {
            MemTy::Struct(t) => fields.extend(shapes.of(t)?.fields.iter().map(|f| Field {
                offset: offset + f.offset,
                mem: f.mem,
            })),
            mem => fields.push(Field { offset, mem }),
        }
    }
    fields.sort_by_key(|f| (f.offset, scalar_bytes(f.mem)));
    fields.dedup();
    let overlap = |w: &[Field]| w[1].offset < w[0].offset + scalar_bytes(w[0].mem);
    if fields.len() > MAX_FIELDS || fields.windows(2).any(overlap) {
        return None;
    }
    // Larger than any object: structs may have padding at their end.
    let size = u32::MAX;
    let shape = Shape { fields, size };
    let all = accesses
        .iter()
        .all(|&(offset, mem)| shapes.part(&shape, i64::from(offset), mem).is_some());
    all.then_some(shape)
}

struct Search<'a> {
    facts: &'a Facts<'a>,
    escaped: Vec<bool>,
    /// Offset and type of each access to the object's fields.
    accesses: Vec<Vec<(u32, MemTy)>>,
    /// Locals that hold the object at some point.
    holders: Vec<FxHashSet<Local>>,
    /// Locals that are read where it is not known what they hold.
    unsure: FxHashSet<Local>,
}

impl Search<'_> {
    fn run(&mut self, func: &Func) {
        let facts = self.facts;
        let mut scratch = Facts::scratch(func);
        let mut were: FxHashMap<Value, u32> = FxHashMap::default();
        for (block, data) in func.blocks.iter() {
            let Some(mut state) = facts.start(func, block, &mut scratch) else {
                continue;
            };
            were.clear();
            for inst in &data.insts {
                self.inst(func, inst, &state, &were);
                state.step(inst, facts.site(inst));
                if let Some(result) = inst.result
                    && let Fact::Object(site, _) = state.value(result)
                {
                    were.insert(result, site);
                }
            }
            if let Some(v) = term_use(&data.term)
                && let Some(site) = object(&state, &were, v)
            {
                self.escaped[site as usize] |= decided(&data.term, &state).is_none();
            }
            state.finish(&mut scratch);
        }
    }

    fn access(&mut self, site: u32, offset: i64, ty: MemTy) {
        let site = site as usize;
        let Ok(offset) = u32::try_from(offset) else {
            self.escaped[site] = true;
            return;
        };
        match ty {
            // The MethodTable.
            MemTy::I64 if offset == 0 => {}
            _ if !(8..MAX_OFFSET).contains(&offset) => self.escaped[site] = true,
            ty => self.accesses[site].push((offset, ty)),
        }
    }

    fn inst(&mut self, func: &Func, inst: &Inst, state: &State<'_>, were: &FxHashMap<Value, u32>) {
        let known = |v: Value| match state.value(v) {
            Fact::Object(site, offset) => Some((site, offset)),
            _ => None,
        };
        match inst.op {
            Op::LocalGet(l) => {
                match state.local(l) {
                    Fact::Any => self.unsure.insert(l),
                    Fact::Copy(m) => self.unsure.insert(m),
                    _ => false,
                };
            }
            Op::LocalSet(l, v) => {
                if let Some((site, _)) = known(v)
                    && self.facts.is_tracked(l)
                {
                    self.holders[site as usize].insert(l);
                    return;
                }
                self.escape(state, were, v);
            }
            Op::Load { ty, addr, offset, .. } => match known(addr) {
                Some((site, base)) => self.access(site, base + i64::from(offset), ty),
                None => self.escape(state, were, addr),
            },
            Op::Store {
                ty,
                addr,
                offset,
                value,
                ..
            } => {
                self.escape(state, were, value);
                match known(addr) {
                    // Nothing writes the MethodTable.
                    Some((site, base)) if base + i64::from(offset) >= 8 => {
                        self.access(site, base + i64::from(offset), ty);
                    }
                    _ => self.escape(state, were, addr),
                }
            }
            Op::CopyStruct { ty, dst, src, .. } => {
                for v in [dst, src] {
                    match known(v) {
                        Some((site, base)) => self.access(site, base, MemTy::Struct(ty)),
                        None => self.escape(state, were, v),
                    }
                }
            }
            Op::ZeroStruct { ty, dst } => match known(dst) {
                Some((site, base)) => self.access(site, base, MemTy::Struct(ty)),
                None => self.escape(state, were, dst),
            },
            Op::NullCheck(v) if known(v).is_some() => {}
            Op::Cmp(..) | Op::PtrAdd(..) | Op::Conv(..) | Op::CallHelper { .. }
                if inst
                    .result
                    .is_some_and(|r| state.eval(&inst.op, func.values[r]) != Fact::Any) => {}
            ref op => for_each_use(op, |v| self.escape(state, were, v)),
        }
    }

    /// The value is used in a way that is not followed.
    fn escape(&mut self, state: &State<'_>, were: &FxHashMap<Value, u32>, v: Value) {
        if let Some(site) = object(state, were, v) {
            self.escaped[site as usize] = true;
        }
    }
}

/// The allocation whose object a value is or was.
fn object(state: &State<'_>, were: &FxHashMap<Value, u32>, v: Value) -> Option<u32> {
    match state.value(v) {
        Fact::Object(site, _) => Some(site),
        _ => were.get(&v).copied(),
    }
}

/// Rewrites allocations and uses of the objects.
fn replace(func: &mut Func, facts: &Facts<'_>, objects: &[Option<Object>]) {
    let mut scratch = Facts::scratch(func);
    let mut new_blocks: Vec<(Block, Vec<Inst>, Option<Block>)> = Vec::new();
    let mut values: Vec<Ty> = Vec::new();
    let first = func.values.len();
    for (block, data) in func.blocks.iter() {
        let Some(mut state) = facts.start(func, block, &mut scratch) else {
            continue;
        };
        let mut out = Out {
            insts: Vec::with_capacity(data.insts.len()),
            values: &mut values,
            first,
        };
        for inst in &data.insts {
            out.inst(func, facts, objects, inst, &state);
            state.step(inst, facts.site(inst));
        }
        let jump = match data.term {
            Term::Jump(_) => None,
            ref term => decided(term, &state),
        };
        new_blocks.push((block, out.insts, jump));
        state.finish(&mut scratch);
    }
    for ty in values {
        func.values.push(ty);
    }
    for (block, insts, jump) in new_blocks {
        let data = &mut func.blocks[block];
        data.insts = insts;
        if let Some(to) = jump {
            data.term = Term::Jump(to);
        }
    }
}

/// The new instructions of a block.
struct Out<'a> {
    insts: Vec<Inst>,
    /// Types of the values that are new, from number `first` on.
    values: &'a mut Vec<Ty>,
    first: usize,
}

impl Out<'_> {
    fn push(&mut self, at: &Inst, op: Op, result: Option<Value>) {
        self.insts.push(Inst {
            op,
            result,
            il: at.il,
            site: at.site,
        });
    }

    fn emit(&mut self, at: &Inst, op: Op, ty: Ty) -> Value {
        let result = Value::new(self.first + self.values.len());
        self.values.push(ty);
        self.push(at, op, Some(result));
        result
    }

    /// The address in the local that stands for an object.
    fn address(&mut self, at: &Inst, local: Local, offset: i64) -> Value {
        let base = self.emit(at, Op::LocalAddr(local), Ty::ByRef);
        if offset == 0 {
            return base;
        }
        let bytes = self.emit(at, Op::IConst(offset), Ty::I64);
        self.emit(at, Op::PtrAdd(base, bytes), Ty::ByRef)
    }

    fn inst(&mut self, func: &Func, facts: &Facts<'_>, objects: &[Option<Object>], inst: &Inst, state: &State<'_>) {
        let replaced = |v: Value| match state.value(v) {
            Fact::Object(site, offset) => objects[site as usize].as_ref().map(|o| (o, offset)),
            _ => None,
        };
        if let Some(object) = facts.site(inst).and_then(|s| objects[s as usize].as_ref()) {
            for (field, &local) in object.shape.fields.iter().zip(&object.pieces) {
                let ty = loaded_ty(field.mem);
                let zero = match ty {
                    Ty::F32 | Ty::F64 => Op::FConst(0),
                    Ty::Ref => Op::Null,
                    _ => Op::IConst(0),
                };
                let zero = self.emit(inst, zero, ty);
                self.push(inst, Op::LocalSet(local, zero), None);
            }
            return;
        }
        if let Some(result) = inst.result {
            match state.eval(&inst.op, func.values[result]) {
                Fact::Object(site, _) if objects[site as usize].is_some() => return,
                Fact::Null if matches!(inst.op, Op::CallHelper { .. }) => {
                    return self.push(inst, Op::Null, Some(result));
                }
                Fact::Int(n) if matches!(inst.op, Op::Cmp(..)) => {
                    return self.push(inst, Op::IConst(n), Some(result));
                }
                _ => {}
            }
        }
        let mut op = inst.op.clone();
        match &mut op {
            Op::LocalSet(_, v) | Op::NullCheck(v) if replaced(*v).is_some() => return,
            Op::Load { addr, offset, .. } => {
                if let Some((object, base)) = replaced(*addr) {
                    if base + i64::from(*offset) == 0 {
                        return self.push(inst, Op::IConst(object.table as i64), inst.result);
                    }
                    *addr = self.address(inst, object.local, base);
                }
            }
            Op::Store { addr, barrier, .. } => {
                if let Some((object, base)) = replaced(*addr) {
                    *addr = self.address(inst, object.local, base);
                    *barrier = Barrier::None;
                }
            }
            Op::CopyStruct { dst, src, .. } => {
                for v in [dst, src] {
                    if let Some((object, base)) = replaced(*v) {
                        *v = self.address(inst, object.local, base);
                    }
                }
            }
            Op::ZeroStruct { dst, .. } => {
                if let Some((object, base)) = replaced(*dst) {
                    *dst = self.address(inst, object.local, base);
                }
            }
            _ => {}
        }
        self.push(inst, op, inst.result);
    }
}
