//! Exact devirtualisation: virtual and interface calls on objects whose class is known become direct calls, casts of them are
//! decided. What that lets the inliner do comes next.
//!
//! Classes are known of new objects, boxes, literals and static read-only fields ([`Func::exact`]).

use super::propagate::{Fact, Facts};
use super::{inline, scalars};
use crate::host_api::CompilerHost;
use crate::ids::{MethodId, TypeId};
use crate::ir::*;
use rustc_hash::FxHashSet;

/// What was inlined may show more classes.
const ROUNDS: usize = 3;

/// The pass.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) {
    for _ in 0..ROUNDS {
        let Some(targets) = by_flow(func, host) else { return };
        inline::again(func, host, &targets);
        scalars::run(func, host);
    }
}

/// Changes calls and casts by what is known at each point. `None`: there were none; else the methods now called.
fn by_flow(func: &mut Func, host: &dyn CompilerHost) -> Option<FxHashSet<MethodId>> {
    if !func
        .blocks
        .values()
        .flat_map(|b| &b.insts)
        .any(|i| object(&i.op).is_some())
    {
        return None;
    }
    let facts = Facts::of(func, host, &[])?;
    let mut scratch = Facts::scratch(func);
    let mut found: Vec<(Block, usize, TypeId)> = Vec::new();
    for (block, data) in func.blocks.iter() {
        let Some(mut state) = facts.start(func, block, &mut scratch) else {
            continue;
        };
        for (at, inst) in data.insts.iter().enumerate() {
            if let Some(object) = object(&inst.op)
                && let Fact::Exact(class) = state.value(object)
            {
                found.push((block, at, class));
            }
            state.step(inst, None);
        }
        state.finish(&mut scratch);
    }
    let mut targets = FxHashSet::default();
    let mut changed = false;
    // From the end, so that positions stay right.
    for (block, at, class) in found.into_iter().rev() {
        if let Some((_, target)) = call(func, host, block, at, class) {
            targets.insert(target);
            changed = true;
        } else {
            changed |= cast(func, host, block, at, class);
        }
    }
    changed.then_some(targets)
}

/// The object whose class matters to an operation.
fn object(op: &Op) -> Option<Value> {
    match op {
        Op::Call {
            callee: Callee::Vtable { .. } | Callee::Interface { .. },
            args,
            ..
        } => args.first().copied(),
        Op::CallHelper {
            helper: Helper::CastClass | Helper::IsInst | Helper::Unbox,
            args,
        } => args.get(1).copied(),
        _ => None,
    }
}

/// Makes a call direct if the definition of its receiver tells the class. `at` stays the index of the call.
pub(super) fn by_definition(func: &mut Func, host: &dyn CompilerHost, block: Block, at: &mut usize) {
    let receiver = object(&func.blocks[block].insts[*at].op);
    if let Some(&class) = receiver.and_then(|v| func.exact.get(&v))
        && let Some((inserted, _)) = call(func, host, block, *at, class)
    {
        *at += inserted;
    }
}

/// Makes a call on an object of a class direct: how many instructions came before it, and the method it calls.
fn call(func: &mut Func, host: &dyn CompilerHost, block: Block, at: usize, class: TypeId) -> Option<(usize, MethodId)> {
    let inst = &mut func.blocks[block].insts[at];
    let Op::Call { callee, args, .. } = &mut inst.op else {
        return None;
    };
    let (Callee::Vtable { method, .. } | Callee::Interface { method }) = callee else {
        return None;
    };
    let target = host.method_on_class(class, *method).filter(|t| !t.is_abstract)?;
    // Methods that a value type inherits take the box.
    let payload = host.type_info(target.owner).ok()?.is_value_type;
    *callee = Callee::Direct {
        method: target.id,
        entry_slot: target.entry_slot,
    };
    if !payload {
        return Some((0, target.id));
    }
    let object = args[0];
    let before = payload_of(func, block, at, object);
    if let Op::Call { args, .. } = &mut func.blocks[block].insts[at + before.1].op {
        args[0] = before.0;
    }
    Some((before.1, target.id))
}

/// Puts the address of the value in a box before an instruction: the address, and how many instructions it took.
fn payload_of(func: &mut Func, block: Block, at: usize, object: Value) -> (Value, usize) {
    let bytes = func.values.push(Ty::I64);
    let base = func.values.push(Ty::ByRef);
    let data = func.values.push(Ty::ByRef);
    let at_call = func.blocks[block].insts[at].clone();
    let inst = |op, result| Inst {
        op,
        result: Some(result),
        ..at_call.clone()
    };
    let new = [
        inst(Op::Conv(ConvOp::RefToByRef, object), base),
        inst(Op::IConst(8), bytes),
        inst(Op::PtrAdd(base, bytes), data),
    ];
    let count = new.len();
    func.blocks[block].insts.splice(at..at, new);
    (data, count)
}

/// Decides a cast of an object of a class. Whether it did.
fn cast(func: &mut Func, host: &dyn CompilerHost, block: Block, at: usize, class: TypeId) -> bool {
    let data = &func.blocks[block];
    let inst = &data.insts[at];
    let (Op::CallHelper { helper, args }, Some(result)) = (&inst.op, inst.result) else {
        return false;
    };
    let (helper, object) = (*helper, args[1]);
    let to = data.insts[..at].iter().rev().find(|i| i.result == Some(args[0]));
    let Some(Op::IConst(to)) = to.map(|i| &i.op) else {
        return false;
    };
    let to = TypeId(*to as u64);
    match (helper, host.compare_types_for_cast(class, to)) {
        (Helper::Unbox, _) if to == class => {
            let (data, count) = payload_of(func, block, at, object);
            func.blocks[block].insts.remove(at + count);
            inline::replace_uses(&mut func.blocks[block], result, data);
        }
        (Helper::CastClass | Helper::IsInst, Some(true)) => {
            let data = &mut func.blocks[block];
            data.insts.remove(at);
            inline::replace_uses(data, result, object);
        }
        (Helper::IsInst, Some(false)) => func.blocks[block].insts[at].op = Op::Null,
        _ => return false,
    }
    true
}
