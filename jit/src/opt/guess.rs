//! Guarded devirtualisation: a virtual or interface call whose receiver nearly always has one class becomes a test of the class
//! and a direct call, which the inliner may replace by the method's body; other receivers take the call as it was.

use crate::host_api::{CompilerHost, MethodInfo, TypeInfo};
use crate::ir::*;
use crate::profile;
use std::sync::Arc;

/// Share of the observations that a class must have.
const LIKELY_PERCENT: u32 = 60;
/// Only what may be inlined is worth a test.
const MAX_IL: usize = 200;
/// Calls that are changed in one function.
const MAX_GUESSES: usize = 32;

/// A guess about one call.
struct Guess {
    class: Arc<TypeInfo>,
    target: Arc<MethodInfo>,
}

/// The pass.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) {
    let mut work: Vec<Block> = func.blocks.keys().collect();
    let mut guesses = 0;
    while let Some(block) = work.pop() {
        if func.blocks[block].cold {
            continue;
        }
        for at in 0..func.blocks[block].insts.len() {
            if let Some(guess) = guess(func, host, block, at) {
                work.push(split(func, host, block, at, &guess));
                guesses += 1;
                break;
            }
        }
        if guesses == MAX_GUESSES {
            return;
        }
    }
}

fn guess(func: &Func, host: &dyn CompilerHost, block: Block, at: usize) -> Option<Guess> {
    let inst = &func.blocks[block].insts[at];
    let Op::Call {
        callee: Callee::Vtable { method, .. } | Callee::Interface { method },
        tail: false,
        ..
    } = &inst.op
    else {
        return None;
    };
    if needs_temporaries(&func.blocks[block], at) {
        return None;
    }
    let (caller, il) = profile::origin(func, inst)?;
    let class = host.class_profile(caller, il)?.likely(LIKELY_PERCENT)?;
    let class = host.type_info(class).ok()?;
    let target = host.method_on_class(class.id, *method)?;
    let small = || host.method_body(target.id).is_ok_and(|body| body.code.len() <= MAX_IL);
    (class.method_table != 0 && !target.is_abstract && !target.no_inlining && !target.synchronized && small())
        .then_some(Guess { class, target })
}

/// Is the address of a temporary, which lives to the end of the block only, used by the call or after it?
fn needs_temporaries(data: &BlockData, at: usize) -> bool {
    let mut temporaries: Vec<Value> = Vec::new();
    for inst in &data.insts[..at] {
        let address = match &inst.op {
            Op::StructAddr(_) | Op::Scratch { .. } => true,
            Op::PtrAdd(base, _) => temporaries.contains(base),
            Op::Conv(_, from) => temporaries.contains(from),
            _ => false,
        };
        temporaries.extend(inst.result.filter(|_| address));
    }
    let mut used = false;
    for inst in &data.insts[at..] {
        for_each_use(&inst.op, |v| used |= temporaries.contains(&v));
    }
    used || term_use(&data.term).is_some_and(|v| temporaries.contains(&v))
}

/// Splits the block at the call; returns the block with what follows it.
fn split(func: &mut Func, host: &dyn CompilerHost, block: Block, at: usize, guess: &Guess) -> Block {
    let data = &mut func.blocks[block];
    let mut rest = BlockData {
        insts: data.insts.split_off(at + 1),
        term: std::mem::replace(&mut data.term, Term::Unreachable),
        term_il: data.term_il,
        term_site: data.term_site,
        protect: data.protect,
        cold: data.cold,
    };
    let Some(call) = data.insts.pop() else { return block };
    let Op::Call { callee, sig, args, .. } = &call.op else {
        return block;
    };
    let defined: Vec<Value> = data.insts.iter().filter_map(|i| i.result).collect();
    let protect = data.protect;

    // Values that are used after the call.
    let mut needed: Vec<Value> = Vec::new();
    let mut need = |v: Value| {
        if !needed.contains(&v) {
            needed.push(v);
        }
    };
    rest.insts.iter().for_each(|i| for_each_use(&i.op, &mut need));
    term_use(&rest.term).into_iter().for_each(&mut need);
    needed.retain(|v| defined.contains(v));

    let inst = |op, result| Inst {
        op,
        result,
        ..call.clone()
    };
    let mut head = Vec::new();
    let local_of = |func: &mut Func, head: &mut Vec<Inst>, value: Value| {
        let ty = func.values[value];
        let local = new_local(func, host, ty);
        head.push(inst(Op::LocalSet(local, value), None));
        (local, ty)
    };
    let arguments: Vec<(Local, Ty)> = args.iter().map(|&v| local_of(func, &mut head, v)).collect();
    let mut arrive = Vec::new();
    for &value in &needed {
        let (local, ty) = local_of(func, &mut head, value);
        let again = func.values.push(ty);
        arrive.push(inst(Op::LocalGet(local), Some(again)));
        replace_uses(&mut rest, value, again);
    }
    let result = call.result.map(|value| {
        let ty = func.values[value];
        let local = new_local(func, host, ty);
        arrive.push(inst(Op::LocalGet(local), Some(value)));
        (local, ty)
    });
    arrive.append(&mut rest.insts);
    rest.insts = arrive;
    let after = func.blocks.push(rest);

    // The test.
    let found = func.values.push(Ty::I64);
    let load = Op::Load {
        ty: MemTy::I64,
        addr: args[0],
        offset: 0,
        flags: MemFlags::default(),
    };
    head.push(inst(load, Some(found)));
    let expected = func.values.push(Ty::I64);
    head.push(inst(Op::Address(guess.class.method_table), Some(expected)));
    let same = func.values.push(Ty::I32);
    head.push(inst(Op::Cmp(Cond::Eq, found, expected), Some(same)));

    let way = |func: &mut Func, callee: Callee, payload: bool| {
        let mut insts = Vec::new();
        let mut values = Vec::new();
        for &(local, ty) in &arguments {
            let value = func.values.push(ty);
            insts.push(inst(Op::LocalGet(local), Some(value)));
            values.push(value);
        }
        if payload {
            // The method of a value type wants the boxed value itself.
            let object = func.values.push(Ty::ByRef);
            insts.push(inst(Op::Conv(ConvOp::RefToByRef, values[0]), Some(object)));
            let header = func.values.push(Ty::I64);
            insts.push(inst(Op::IConst(8), Some(header)));
            let data = func.values.push(Ty::ByRef);
            insts.push(inst(Op::PtrAdd(object, header), Some(data)));
            values[0] = data;
        }
        let value = result.map(|(_, ty)| func.values.push(ty));
        let direct = Op::Call {
            callee,
            sig: sig.clone(),
            args: values,
            tail: false,
        };
        insts.push(inst(direct, value));
        if let (Some((local, _)), Some(value)) = (result, value) {
            insts.push(inst(Op::LocalSet(local, value), None));
        }
        func.blocks.push(BlockData {
            insts,
            term: Term::Jump(after),
            term_il: call.il,
            term_site: call.site,
            protect,
            cold: false,
        })
    };
    let direct = Callee::Direct {
        method: guess.target.id,
        entry_slot: guess.target.entry_slot,
    };
    let fast = way(func, direct, guess.class.is_value_type);
    let slow = way(func, callee.clone(), false);
    func.blocks[slow].cold = true;
    let data = &mut func.blocks[block];
    data.insts.extend(head);
    data.term = Term::Branch {
        cond: same,
        then: fast,
        other: slow,
    };
    (data.term_il, data.term_site) = (call.il, call.site);
    after
}

fn new_local(func: &mut Func, host: &dyn CompilerHost, ty: Ty) -> Local {
    func.locals.push(LocalData {
        ty,
        type_id: super::inline::temporary_type(host, ty),
        pinned: false,
        zero_init: false,
    })
}

fn replace_uses(data: &mut BlockData, old: Value, new: Value) {
    super::inline::replace_uses(data, old, new);
}
