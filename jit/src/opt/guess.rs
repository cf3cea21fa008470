//! Guarded devirtualisation: a virtual, interface or delegate call that nearly always reaches one of a few methods becomes tests
//! and direct calls, which the inliner may replace by the methods' bodies; what passes no test takes the call as it was.
//!
//! A virtual or interface call tests the receiver's class. A delegate call tests the code address in the delegate: of closed
//! delegates `_methodPtr`, of static methods `_methodPtrAux`.

use crate::builder::stack_ty;
use crate::host_api::{CompilerHost, MethodInfo, Signature};
use crate::ids::TypeId;
use crate::ir::*;
use crate::lower::{DELEGATE_CODE, DELEGATE_STATIC_CODE, DELEGATE_TARGET};
use crate::profile;
use std::sync::Arc;

/// Least share of the observations that a target must have, in percent.
const LIKELY_PERCENT: u32 = 25;
/// Least share that all targets together must have.
const COVERED_PERCENT: u32 = 60;
/// Tests at one call.
const MAX_TESTS: usize = 3;
/// Only what may be inlined is worth a test; not so at interface calls, which cost more than the test.
const MAX_IL: usize = 200;
/// Calls that are changed in one function.
const MAX_GUESSES: usize = 32;

/// What a target wants as its first argument.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiver {
    /// The object of the call.
    Object,
    /// The value in the box.
    Payload,
    /// What the delegate is closed over.
    Target,
    /// None.
    Nothing,
}

/// A guess about one call.
struct Guess {
    /// Word of the object that tells.
    offset: i32,
    /// Its value if the guess is right.
    expected: u64,
    receiver: Receiver,
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
            let found = guess(func, host, block, at);
            if !found.is_empty() {
                work.push(split(func, host, block, at, &found));
                guesses += 1;
                break;
            }
        }
        if guesses == MAX_GUESSES {
            return;
        }
    }
}

/// The guesses about a call, most likely first.
fn guess(func: &Func, host: &dyn CompilerHost, block: Block, at: usize) -> Vec<Guess> {
    let inst = &func.blocks[block].insts[at];
    let Op::Call {
        callee,
        tail: false,
        sig,
        ..
    } = &inst.op
    else {
        return Vec::new();
    };
    let guesses = match callee {
        Callee::Vtable { method, .. } | Callee::Interface { method } => {
            let small_only = matches!(callee, Callee::Vtable { .. });
            let profile = profile::origin(func, inst).and_then(|(caller, il)| host.class_profile(caller, il));
            let likely = profile.map(|p| p.likely(LIKELY_PERCENT, COVERED_PERCENT, MAX_TESTS));
            let guess = |class| {
                let class = host.type_info(class).ok().filter(|c| c.method_table != 0)?;
                let target = host.method_on_class(class.id, *method)?;
                // Methods that a value type inherits take the box.
                let of_value = host.type_info(target.owner).ok()?.is_value_type;
                let usable = usable(host, &target, small_only);
                usable.then_some(Guess {
                    offset: 0,
                    expected: class.method_table,
                    receiver: if of_value { Receiver::Payload } else { Receiver::Object },
                    target,
                })
            };
            likely.unwrap_or_default().into_iter().filter_map(guess).collect()
        }
        Callee::DelegateInvoke => {
            let profile = profile::origin(func, inst).and_then(|(caller, il)| host.target_profile(caller, il));
            let likely = profile.map(|p| p.likely(LIKELY_PERCENT, COVERED_PERCENT, MAX_TESTS));
            let guess = |method| {
                let target = host.method_info(method).ok()?;
                let expected = host.stable_entry(method).ok()?;
                let usable = usable(host, &target, true) && same_types(host, sig, &target.sig);
                let (offset, receiver) = if target.is_static {
                    (DELEGATE_STATIC_CODE, Receiver::Nothing)
                } else {
                    (DELEGATE_CODE, Receiver::Target)
                };
                usable.then_some(Guess {
                    offset,
                    expected,
                    receiver,
                    target,
                })
            };
            likely.unwrap_or_default().into_iter().filter_map(guess).collect()
        }
        _ => Vec::new(),
    };
    if guesses.is_empty() || needs_temporaries(&func.blocks[block], at) {
        return Vec::new();
    }
    guesses
}

fn usable(host: &dyn CompilerHost, target: &MethodInfo, small_only: bool) -> bool {
    let small = || host.method_body(target.id).is_ok_and(|body| body.code.len() <= MAX_IL);
    !target.is_abstract && !target.synchronized && (!small_only || (!target.no_inlining && small()))
}

/// Are the parameters and results of two methods alike on the evaluation stack?
fn same_types(host: &dyn CompilerHost, a: &Signature, b: &Signature) -> bool {
    let same = |a: TypeId, b: TypeId| {
        a == b
            || match (host.type_info(a), host.type_info(b)) {
                (Ok(a), Ok(b)) => a.kind == b.kind && stack_ty(a.kind, a.id) == stack_ty(b.kind, b.id),
                _ => false,
            }
    };
    let pairs = || a.params.iter().zip(b.params.iter());
    a.params.len() == b.params.len() && same(a.ret, b.ret) && pairs().all(|(&a, &b)| same(a, b))
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
fn split(func: &mut Func, host: &dyn CompilerHost, block: Block, at: usize, guesses: &[Guess]) -> Block {
    let data = &mut func.blocks[block];
    let mut rest = BlockData {
        insts: data.insts.split_off(at + 1),
        term: std::mem::replace(&mut data.term, Term::Unreachable),
        term_il: data.term_il,
        term_site: data.term_site,
        protect: data.protect,
        cold: data.cold,
        weight: data.weight,
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

    let block_of = |func: &mut Func, insts, term, cold| {
        func.blocks.push(BlockData {
            insts,
            term,
            term_il: call.il,
            term_site: call.site,
            protect,
            cold,
            weight: None,
        })
    };
    let way = |func: &mut Func, guess: Option<&Guess>| {
        let mut insts = Vec::new();
        let mut values = Vec::new();
        let receiver = guess.map_or(Receiver::Object, |g| g.receiver);
        for (i, &(local, ty)) in arguments.iter().enumerate() {
            if i == 0 && receiver == Receiver::Nothing {
                continue;
            }
            let value = func.values.push(ty);
            insts.push(inst(Op::LocalGet(local), Some(value)));
            values.push(value);
        }
        match receiver {
            Receiver::Payload => {
                let object = func.values.push(Ty::ByRef);
                insts.push(inst(Op::Conv(ConvOp::RefToByRef, values[0]), Some(object)));
                let header = func.values.push(Ty::I64);
                insts.push(inst(Op::IConst(8), Some(header)));
                let data = func.values.push(Ty::ByRef);
                insts.push(inst(Op::PtrAdd(object, header), Some(data)));
                values[0] = data;
            }
            Receiver::Target => {
                let target = func.values.push(Ty::Ref);
                insts.push(inst(load(MemTy::Ref, values[0], DELEGATE_TARGET), Some(target)));
                values[0] = target;
            }
            Receiver::Object | Receiver::Nothing => {}
        }
        let value = result.map(|(_, ty)| func.values.push(ty));
        let (callee, sig) = match guess {
            None => (callee.clone(), sig.clone()),
            Some(Guess { receiver, target, .. }) => {
                let callee = Callee::Direct {
                    method: target.id,
                    entry_slot: target.entry_slot,
                };
                let own = matches!(receiver, Receiver::Target | Receiver::Nothing);
                (callee, if own { target.sig.clone() } else { sig.clone() })
            }
        };
        let op = Op::Call {
            callee,
            sig,
            args: values,
            tail: false,
        };
        insts.push(inst(op, value));
        if let (Some((local, _)), Some(value)) = (result, value) {
            insts.push(inst(Op::LocalSet(local, value), None));
        }
        block_of(func, insts, Term::Jump(after), guess.is_none())
    };
    // The tests: the last one first, because each names the next.
    let mut other = way(func, None);
    for (i, guess) in guesses.iter().enumerate().rev() {
        let then = way(func, Some(guess));
        let mut insts = Vec::new();
        let object = if i == 0 {
            args[0]
        } else {
            let object = func.values.push(arguments[0].1);
            insts.push(inst(Op::LocalGet(arguments[0].0), Some(object)));
            object
        };
        let found = func.values.push(Ty::I64);
        insts.push(inst(load(MemTy::I64, object, guess.offset), Some(found)));
        let expected = func.values.push(Ty::I64);
        insts.push(inst(Op::Address(guess.expected), Some(expected)));
        let cond = func.values.push(Ty::I32);
        insts.push(inst(Op::Cmp(Cond::Eq, found, expected), Some(cond)));
        let term = Term::Branch { cond, then, other };
        if i > 0 {
            other = block_of(func, insts, term, false);
            continue;
        }
        head.append(&mut insts);
        let data = &mut func.blocks[block];
        data.insts.append(&mut head);
        data.term = term;
        (data.term_il, data.term_site) = (call.il, call.site);
    }
    after
}

fn load(ty: MemTy, addr: Value, offset: i32) -> Op {
    Op::Load {
        ty,
        addr,
        offset,
        flags: MemFlags::default(),
    }
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
