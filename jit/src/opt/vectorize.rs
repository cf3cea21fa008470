//! Vector loops: counted loops over arrays, spans and pointers run 128 bits at a time.
//!
//! The original loop stays. In front of it come a guard, which finds out how far every access is in range and that arrays are
//! not null and memory does not overlap, and a loop that handles whole blocks of elements as far as that. What is left, and
//! every exception, is the original loop's, which goes on with the counter and the sums that the vector loop leaves. So the
//! vector loop needs no checks, and exceptions come exactly where they would come anyway.
//!
//! A loop may also leave early, by a comparison of elements (a search, or a comparison of two arrays). The vector loop then
//! stops in front of the block that has such an element, and the original loop finds which it is.
//!
//! Integer sums and the like are split over several accumulators. Sums of floats are left alone: another order of additions
//! gives another result. Extremes of floats depend on the order in corners only, which are found afterwards (`extremes.rs`).

use super::cfg::{map_targets, new_block};
use super::loop_body::{Body, Effect, Exit, Node};
use super::loops::{Graph, Loop, natural_loops};
use super::propagate::{narrow_kind, private_locals};
use super::reductions::{Reduce, Reduction, reduction};
use super::vector_code::{Code, Emitter};
use crate::host_api::CompilerHost;
use crate::ids::TypeId;
use crate::ir::*;
use cranelift_entity::EntityRef;

/// Larger loops are not looked at.
const MAX_BLOCKS: usize = 8;
/// Vector operations of one round of the loop, about.
const MAX_OPERATIONS: usize = 64;

/// The pass.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) {
    let graph = Graph::of(func);
    let loops = natural_loops(&graph);
    if loops.is_empty() {
        return;
    }
    let private = private_locals(func);
    let narrow: Vec<_> = func.locals.keys().map(|l| narrow_kind(func, host, l)).collect();
    for l in loops.iter().filter(|l| l.innermost && l.blocks.len() <= MAX_BLOCKS) {
        let Some(mut body) = Body::read(func, &graph, l, &private, &narrow) else {
            continue;
        };
        if let Some(plan) = plan(func, &mut body) {
            apply(func, &graph, l, &body, &plan);
        }
    }
}

/// Where an access goes: element `i + ahead` of memory at `base`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Place {
    /// An array, else a managed pointer or an address.
    pub array: bool,
    pub base: Value,
    pub ahead: i64,
    /// Bytes of an element, and of the offset added to the address.
    pub size: u32,
    pub offset: i32,
}

/// What is to be done.
pub(super) struct Plan {
    pub counter: Local,
    pub wide: bool,
    /// The counter stays below these (a node, and how much is subtracted from it); the first is the loop's own.
    limits: Vec<(Value, i64)>,
    /// The least value of the counter.
    least: i64,
    /// Arrays that must not be null.
    arrays: Vec<Value>,
    /// (store, load): must not overlap within a block.
    apart: Vec<(Place, Place)>,
    pub reductions: Vec<Reduction>,
    /// Locals that go up with the counter, and by how much.
    pub inductions: Vec<(Local, Value)>,
    pub stores: Vec<(MemTy, Place, Value)>,
    /// Elements of a vector of the smallest type.
    pub lanes: u32,
    /// Conditions of leaving early, and the value with which they do.
    pub exits: Vec<(Value, bool)>,
}

fn plan(func: &Func, body: &mut Body) -> Option<Plan> {
    let all = body.exits.clone();
    let mut found = body.choose_test(false).then(|| counter(body)).flatten();
    if found.is_none() {
        body.exits = all;
        found = body.choose_test(true).then(|| counter(body)).flatten();
    }
    let (counter, limit) = found?;
    let exits = super::search::exits(body)?;
    let early = !exits.is_empty();
    let mut plan = Plan {
        counter,
        wide: func.locals[counter].ty == Ty::I64,
        limits: vec![limit],
        least: 0,
        arrays: Vec::new(),
        apart: Vec::new(),
        reductions: Vec::new(),
        inductions: Vec::new(),
        stores: Vec::new(),
        lanes: 0,
        exits,
    };
    let mut smallest = 8;
    let mut loads = Vec::new();
    for effect in body.effects.clone() {
        match effect {
            Effect::NullCheck(v) => {
                // (An address a little above one that is not null is not null.)
                let base = match (body.op(v), sum_of(body, v)) {
                    (_, Some((base, distance))) if affine_bytes(body, distance, counter) => base,
                    (None, _) => return None,
                    _ => v,
                };
                if !body.is_invariant(base) {
                    return None;
                }
                if !plan.arrays.contains(&base) {
                    plan.arrays.push(base);
                }
            }
            Effect::BoundsCheck { index, length } => {
                let ahead = affine(body, index, counter)?;
                if !body.is_invariant(length) {
                    return None;
                }
                plan.limits.push((length, ahead));
                plan.least = plan.least.max(-ahead);
            }
            Effect::Load(_, true) => return None,
            Effect::Load(v, false) => {
                let &Op::Load { ty, addr, offset, .. } = body.op(v)? else {
                    return None;
                };
                let place = place(body, addr, offset, ty, counter)?;
                smallest = smallest.min(place.size);
                loads.push((place, plan.stores.is_empty()));
            }
            Effect::Store {
                ty,
                addr,
                offset,
                value,
            } => {
                let place = place(body, addr, offset, ty, counter)?;
                smallest = smallest.min(place.size);
                if !plan.stores.is_empty() {
                    return None;
                }
                plan.stores.push((ty, place, value));
            }
        }
    }
    if loads.is_empty() {
        return None;
    }
    if early {
        // Elements are read that the loop would not come to. A pointer's limit says nothing about them.
        for (place, _) in &loads {
            if place.array {
                let length = body.add(Node::Op(Op::ArrayLen(place.base)), Ty::I32);
                if !plan.limits.contains(&(length, place.ahead)) {
                    plan.limits.push((length, place.ahead));
                }
            } else if body.ty(place.base) != Ty::ByRef {
                return None;
            }
        }
    }
    // Sums with wide numbers might wrap around.
    if plan
        .limits
        .iter()
        .any(|&(n, minus)| minus != 0 && body.ty(n) == Ty::I64)
    {
        return None;
    }
    for place in loads.iter().map(|l| &l.0).chain(plan.stores.iter().map(|s| &s.1)) {
        // Indexes are computed without wrapping around.
        plan.least = plan.least.max(-place.ahead);
        if place.ahead > 0 {
            let most = body.add(Node::Op(Op::IConst(i64::from(i32::MAX))), Ty::I32);
            plan.limits.push((most, place.ahead));
        }
        if place.array && !plan.arrays.contains(&place.base) {
            plan.arrays.push(place.base);
        }
    }
    for &(_, store, _) in &plan.stores {
        for &(load, earlier) in &loads {
            let near = load.ahead == store.ahead || (earlier && load.ahead > store.ahead);
            if store.base == load.base {
                // What is read must not have been written by an earlier iteration.
                if load.size != store.size || load.offset != store.offset || !near {
                    return None;
                }
            } else if store.array && load.array {
                // Different arrays, or one array.
                // Arrays of elements of another size are other arrays.
                if !near && load.size == store.size {
                    return None;
                }
            } else {
                if load.ahead != store.ahead || load.size != store.size {
                    return None;
                }
                plan.apart.push((store, load));
            }
        }
    }
    // Variables of one iteration are nobody's business.
    let changed: Vec<(Local, Value)> = body
        .changed
        .iter()
        .copied()
        .filter(|&(local, _)| {
            let early = |e: &Exit| e.unset.contains(&local) && live_at(func, e.target, local);
            uses_start(body, local) || live_at(func, body.exit, local) || body.exits.iter().any(early)
        })
        .collect();
    for &(local, end) in &changed {
        if local == counter || body.is_start(end, local) {
            continue;
        }
        if let Some(step) = step(body, local, end) {
            plan.inductions.push((local, step));
            continue;
        }
        let found = reduction(body, &changed, local, end)?;
        smallest = smallest.min(if matches!(body.ty(end), Ty::I32 | Ty::F32) {
            4
        } else {
            8
        });
        plan.reductions.push(found);
    }
    // These may have to be done again.
    if !plan.stores.is_empty() && plan.reductions.iter().any(|r| matches!(r.how, Reduce::Float(_))) {
        return None;
    }
    let collects = !plan.reductions.is_empty() || !plan.stores.is_empty();
    if collects == early {
        return None;
    }
    plan.lanes = 16 / smallest;
    Some(plan)
}

/// Does an effect or another local's value read what the local held before?
fn uses_start(body: &Body, local: Local) -> bool {
    body.nodes.values().any(|(node, _)| *node == Node::Start(local))
}

/// The counter and its limit, of a loop whose counter goes up by one.
fn counter(body: &Body) -> Option<(Local, (Value, i64))> {
    let &Op::Cmp(cond, a, b) = body.op(body.condition)? else {
        return None;
    };
    let cond = if body.exit_if { negated(cond)? } else { cond };
    let (cond, a, b) = if body.is_invariant(a) {
        (swapped(cond)?, b, a)
    } else {
        (cond, a, b)
    };
    let &(counter, end) = body.changed.iter().find(|&&(local, end)| {
        if body.test_last {
            end == a
        } else {
            body.is_start(a, local)
        }
    })?;
    if !body.is_invariant(b) || !matches!(body.ty(b), Ty::I32 | Ty::I64) {
        return None;
    }
    let extra = match cond {
        // (A negative limit of an unsigned comparison gives the vector loop nothing to do.)
        // (The vector loop stays below the limit, so that what is not equal to it is less.)
        Cond::Lt | Cond::LtUn | Cond::Ne => 0,
        Cond::Le => -1,
        _ => return None,
    };
    match *body.op(end)? {
        Op::Bin(BinOp::Add, x, y) if body.is_start(x, counter) && body.int(y) == Some(1) => {}
        _ => return None,
    }
    Some((counter, (b, extra)))
}

/// The opposite of a comparison of integers.
pub(super) fn negated(cond: Cond) -> Option<Cond> {
    Some(match cond {
        Cond::Eq => Cond::Ne,
        Cond::Ne => Cond::Eq,
        Cond::Lt => Cond::Ge,
        Cond::Ge => Cond::Lt,
        Cond::Gt => Cond::Le,
        Cond::Le => Cond::Gt,
        Cond::LtUn => Cond::GeUn,
        Cond::GeUn => Cond::LtUn,
        Cond::GtUn => Cond::LeUn,
        Cond::LeUn => Cond::GtUn,
        Cond::Unordered => return None,
    })
}

/// The opposite of a comparison of floats: ordered becomes "or unordered".
pub(super) fn negated_float(cond: Cond) -> Option<Cond> {
    Some(match cond {
        Cond::Eq => Cond::Ne,
        Cond::Ne => Cond::Eq,
        Cond::Lt => Cond::GeUn,
        Cond::Ge => Cond::LtUn,
        Cond::Gt => Cond::LeUn,
        Cond::Le => Cond::GtUn,
        Cond::LtUn => Cond::Ge,
        Cond::GeUn => Cond::Lt,
        Cond::GtUn => Cond::Le,
        Cond::LeUn => Cond::Gt,
        Cond::Unordered => return None,
    })
}

pub(super) fn swapped(cond: Cond) -> Option<Cond> {
    Some(match cond {
        Cond::Eq | Cond::Ne => cond,
        Cond::Lt => Cond::Gt,
        Cond::Gt => Cond::Lt,
        Cond::Le => Cond::Ge,
        Cond::Ge => Cond::Le,
        Cond::LtUn => Cond::GtUn,
        Cond::GtUn => Cond::LtUn,
        Cond::LeUn => Cond::GeUn,
        Cond::GeUn => Cond::LeUn,
        Cond::Unordered => return None,
    })
}

/// The number that is added to the counter, if that is all. Valid accesses have indexes that are not negative, so
/// extensions change nothing.
fn affine(body: &Body, node: Value, counter: Local) -> Option<i64> {
    if body.is_start(node, counter) {
        return Some(0);
    }
    match *body.op(node)? {
        Op::Bin(BinOp::Add, x, y) => match (body.int(x), body.int(y)) {
            (None, Some(n)) => small(affine(body, x, counter)?.checked_add(n)?),
            (Some(n), None) => small(affine(body, y, counter)?.checked_add(n)?),
            _ => None,
        },
        Op::Bin(BinOp::Sub, x, y) => small(affine(body, x, counter)?.checked_sub(body.int(y)?)?),
        Op::Conv(ConvOp::SextI64 | ConvOp::ZextI64, x) => affine(body, x, counter),
        _ => None,
    }
}

fn small(n: i64) -> Option<i64> {
    (n.abs() < 1 << 16).then_some(n)
}

/// Where a load or store goes, if it goes through memory element by element.
pub(super) fn place(body: &Body, addr: Value, offset: i32, ty: MemTy, counter: Local) -> Option<Place> {
    let bytes = super::shapes::scalar_bytes(ty);
    let place = match *body.op(addr)? {
        Op::ElemAddr { array, index, size } => Place {
            array: true,
            base: array,
            ahead: affine(body, index, counter)?,
            size,
            offset,
        },
        _ => {
            let (base, distance) = sum_of(body, addr)?;
            let (index, size) = scaled(body, distance)?;
            Place {
                array: false,
                base,
                ahead: affine(body, index, counter)?,
                size: u32::try_from(size).ok()?,
                offset,
            }
        }
    };
    let fits = place.size == bytes && bytes > 0 && body.is_invariant(place.base);
    fits.then_some(place)
}

/// The parts of an address: what stays the same, and the distance from there.
fn sum_of(body: &Body, addr: Value) -> Option<(Value, Value)> {
    match *body.op(addr)? {
        Op::PtrAdd(base, distance) => Some((base, distance)),
        Op::Bin(BinOp::Add, x, y) if body.ty(addr) == Ty::I64 => match (body.is_invariant(x), body.is_invariant(y)) {
            (true, false) => Some((x, y)),
            (false, true) => Some((y, x)),
            _ => None,
        },
        _ => None,
    }
}

/// The index and the size of its elements that make up a distance in bytes.
fn scaled(body: &Body, distance: Value) -> Option<(Value, i64)> {
    Some(match *body.op(distance)? {
        Op::Bin(BinOp::Mul, x, y) => match (body.int(x), body.int(y)) {
            (None, Some(n)) => (x, n),
            (Some(n), None) => (y, n),
            _ => return None,
        },
        Op::Bin(BinOp::Shl, x, y) => (x, 1 << (body.int(y)? & 63)),
        _ => (distance, 1),
    })
}

fn affine_bytes(body: &Body, distance: Value, counter: Local) -> bool {
    scaled(body, distance).is_some_and(|(index, _)| affine(body, index, counter).is_some_and(|ahead| ahead >= 0))
}

/// What is added to a local in every iteration. (Nothing that vectors compute may read it.)
fn step(body: &Body, local: Local, end: Value) -> Option<Value> {
    let ty = body.ty(end);
    match *body.op(end)? {
        _ if !matches!(ty, Ty::I32 | Ty::I64) => None,
        Op::Bin(BinOp::Add, x, y) if body.is_start(x, local) && body.is_invariant(y) => Some(y),
        Op::Bin(BinOp::Add, x, y) if body.is_start(y, local) && body.is_invariant(x) => Some(x),
        _ => None,
    }
}

/// May the value that a local has at the start of a block be read?
fn live_at(func: &Func, block: Block, local: Local) -> bool {
    let mut seen = vec![false; func.blocks.len()];
    let mut work = vec![block];
    while let Some(block) = work.pop() {
        if std::mem::replace(&mut seen[block.index()], true) {
            continue;
        }
        let data = &func.blocks[block];
        let first = data.insts.iter().find_map(|inst| match inst.op {
            Op::LocalGet(l) if l == local => Some(true),
            Op::LocalSet(l, _) if l == local => Some(false),
            _ => None,
        });
        match first {
            Some(true) => return true,
            // A handler may see the value before it is set.
            Some(false) if func.protects[data.protect].is_empty() => continue,
            _ => {}
        }
        successors(&data.term, |s| work.push(s));
        work.extend(func.protects[data.protect].iter().map(|&c| func.clauses[c].handler));
    }
    false
}

fn apply(func: &mut Func, graph: &Graph, l: &Loop, body: &Body, plan: &Plan) {
    let mut unroll = match () {
        // (The original loop goes over the last block once more.)
        () if !plan.exits.is_empty() && plan.lanes < 16 => 4,
        () if plan.reductions.is_empty() => 2,
        // (What they note needs registers, too.)
        () if plan
            .reductions
            .iter()
            .filter(|r| matches!(r.how, Reduce::Float(_)))
            .count()
            > 1 =>
        {
            2
        }
        () => 4,
    };
    // Wider values than the smallest take several vectors each.
    let code = loop {
        let Some(code) = Emitter::new(func, body, plan).loop_code(unroll) else {
            return;
        };
        if code.operations <= MAX_OPERATIONS || unroll == 1 {
            break code;
        }
        unroll /= 2;
    };
    let block_elements = i64::from(plan.lanes * unroll);
    let header = l.header;
    let guard = guard(func, body, plan, header, block_elements, &code);
    func.short_loops.push(header);
    for &p in &graph.preds[header.index()] {
        if !l.blocks.contains(&p) {
            map_targets(&mut func.blocks[p].term, |b| {
                if *b == header {
                    *b = guard;
                }
            });
        }
    }
}

/// The blocks in front of the loop; the first of them.
fn guard(func: &mut Func, body: &Body, plan: &Plan, header: Block, elements: i64, code: &Code) -> Block {
    let nulls = new_block(func, header);
    let limits = new_block(func, header);
    let enter = new_block(func, header);
    let vector = new_block(func, header);
    let leave = new_block(func, header);
    let done = if code.is_checked() {
        new_block(func, header)
    } else {
        leave
    };
    func.short_loops.push(vector);

    let mut e = Emitter::new(func, body, plan);
    let mut ok = None;
    for &array in &plan.arrays {
        let v = e.scalar(array);
        let ty = e.ty(v);
        let null = e.emit(if ty == Ty::Ref { Op::Null } else { Op::IConst(0) }, ty);
        let test = e.emit(Op::Cmp(Cond::Ne, v, null), Ty::I32);
        ok = Some(e.both(ok, test));
    }
    let term = match ok {
        Some(cond) => Term::Branch {
            cond,
            then: limits,
            other: header,
        },
        None => Term::Jump(limits),
    };
    e.finish(nulls, term);

    // last: the greatest counter with which a whole block is in range.
    let mut e = Emitter::new(func, body, plan);
    let mut last: Option<Value> = None;
    for &(node, minus) in &plan.limits {
        let n = e.scalar(node);
        let n = if e.ty(n) == Ty::I32 {
            e.emit(Op::Conv(ConvOp::SextI64, n), Ty::I64)
        } else {
            n
        };
        let n = e.plus(n, -minus);
        last = Some(match last {
            None => n,
            Some(m) => {
                let less = e.emit(Op::Cmp(Cond::Lt, n, m), Ty::I32);
                e.emit(
                    Op::Select {
                        cond: less,
                        if_true: n,
                        if_false: m,
                    },
                    Ty::I64,
                )
            }
        });
    }
    let counter_ty = e.func.locals[plan.counter].ty;
    let i = e.emit(Op::LocalGet(plan.counter), counter_ty);
    let i = if plan.wide {
        i
    } else {
        e.emit(Op::Conv(ConvOp::SextI64, i), Ty::I64)
    };
    let zero = e.emit(Op::IConst(0), Ty::I64);
    let limit = last.unwrap_or(zero);
    let last = e.plus(limit, -elements);
    let least = e.emit(Op::IConst(plan.least), Ty::I64);
    let start = e.emit(Op::Cmp(Cond::Ge, i, least), Ty::I32);
    let room = e.emit(Op::Cmp(Cond::Le, i, last), Ty::I32);
    // (The subtraction from a 64-bit limit may have wrapped.)
    let sane = e.emit(Op::Cmp(Cond::Ge, limit, zero), Ty::I32);
    let mut ok = e.both(Some(start), room);
    ok = e.both(Some(ok), sane);
    for (store, load) in &plan.apart {
        let (to, from) = (e.address(store), e.address(load));
        let distance = e.emit(Op::Bin(BinOp::Sub, to, from), Ty::I64);
        let distance = e.plus(distance, -1);
        let bytes = e.emit(Op::IConst(elements * i64::from(store.size) - 1), Ty::I64);
        let apart = e.emit(Op::Cmp(Cond::GeUn, distance, bytes), Ty::I32);
        ok = e.both(Some(ok), apart);
    }
    for &(node, conv) in &code.fits {
        let v = e.scalar(node);
        let narrow = e.emit(Op::Conv(conv, v), Ty::I32);
        let fits = e.emit(Op::Cmp(Cond::Eq, narrow, v), Ty::I32);
        ok = e.both(Some(ok), fits);
    }
    e.push(Op::LocalSet(code.counter, i));
    e.push(Op::LocalSet(code.last, last));
    e.finish(
        limits,
        Term::Branch {
            cond: ok,
            then: enter,
            other: header,
        },
    );

    let mut e = Emitter::new(func, body, plan);
    e.prepare(code);
    e.finish(enter, Term::Jump(vector));

    // (An early exit is taken before the counter goes on.)
    let mut last_part = vector;
    if let Some((insts, cond)) = &code.early {
        last_part = new_block(func, header);
        let data = &mut func.blocks[vector];
        data.insts = insts.clone();
        data.term = Term::Branch {
            cond: *cond,
            then: done,
            other: last_part,
        };
    }
    let data = &mut func.blocks[last_part];
    data.insts = code.insts.clone();
    data.term = Term::Branch {
        cond: code.again,
        then: vector,
        other: done,
    };
    if code.is_checked() {
        let mut e = Emitter::new(func, body, plan);
        if let Some(cond) = e.check(code) {
            e.finish(
                done,
                Term::Branch {
                    cond,
                    then: header,
                    other: leave,
                },
            );
        }
    }

    let mut e = Emitter::new(func, body, plan);
    e.induce(code);
    let i = e.emit(Op::LocalGet(code.counter), Ty::I64);
    let i = if plan.wide {
        i
    } else {
        e.emit(Op::Conv(ConvOp::Trunc, i), Ty::I32)
    };
    e.push(Op::LocalSet(plan.counter, i));
    let _ = e.collect(code);
    let term = match (body.test_last, plan.limits.first()) {
        (true, Some(&(limit, minus))) => {
            let n = e.scalar(limit);
            let cond = if minus == 0 { Cond::Lt } else { Cond::Le };
            let cond = e.emit(Op::Cmp(cond, i, n), Ty::I32);
            Term::Branch {
                cond,
                then: header,
                other: body.exit,
            }
        }
        _ => Term::Jump(header),
    };
    e.finish(leave, term);
    nulls
}

/// A local for something that the vector loop needs.
pub(super) fn new_local(func: &mut Func, ty: Ty) -> Local {
    func.locals.push(LocalData {
        ty,
        type_id: TypeId(0),
        pinned: false,
        zero_init: false,
    })
}
