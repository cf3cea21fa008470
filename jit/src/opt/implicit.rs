//! Null checks that the hardware does.
//!
//! A load or store through null faults, and the engine turns the fault into a NullReferenceException. So the access that
//! follows a null check at once stands for it ([`MemFlags::faults`]), and any other check of an object becomes a load of its
//! first word, which calls through the vtable need anyway. This saves a test and a branch for each check, and a block that
//! raises.
//!
//! A faulting instruction has no landing pad: what is inside of a `try` keeps its checks, and so do filters.

use crate::host_api::CompilerHost;
use crate::ir::*;
use cranelift_entity::packed_option::ReservedValue;

/// Faults at addresses below this are null references (the engine's signal handler, as in CoreCLR).
const NULL_AREA: i32 = 4096;
/// Bytes of the largest access.
const LARGEST: i32 = 16;
/// So many instructions after a check are looked at.
const WINDOW: usize = 64;
/// Offset of an array's length (contract: object layout).
const ARRAY_LENGTH: i32 = 8;

/// The pass. It takes less time than it saves: Tier 0 runs it, too.
pub(super) fn run(func: &mut Func, _: &dyn CompilerHost) {
    if func.parent_locals.is_some() {
        return;
    }
    let Func {
        blocks,
        values,
        protects,
        ..
    } = func;
    for data in blocks.values_mut() {
        if !protects[data.protect].is_empty() {
            continue;
        }
        let insts = &mut data.insts;
        let mut gone = false;
        for i in 0..insts.len() {
            let Op::NullCheck(v) = insts[i].op else { continue };
            if let Some(at) = access(insts, i, v) {
                let (il, site) = (insts[i].il, insts[i].site);
                mark(&mut insts[at].op);
                (insts[at].il, insts[at].site) = (il, site);
                // What stands for nothing: removed below, all at once.
                insts[i].op = Op::NullCheck(Value::reserved_value());
                gone = true;
            } else if values[v] == Ty::Ref {
                insts[i].result = Some(values.push(Ty::I64));
                insts[i].op = Op::Load {
                    ty: MemTy::I64,
                    addr: v,
                    offset: 0,
                    flags: FAULTS,
                };
            }
        }
        if gone {
            insts.retain(|inst| !matches!(inst.op, Op::NullCheck(v) if v.is_reserved_value()));
        }
    }
}

const FAULTS: MemFlags = MemFlags {
    volatile: false,
    unaligned: None,
    faults: true,
    family: 0,
};

/// The access through `v` that comes before anything else that can be noticed after the check at `check`.
fn access(insts: &[Inst], check: usize, v: Value) -> Option<usize> {
    for (i, inst) in insts.iter().enumerate().skip(check + 1).take(WINDOW) {
        match inst.op {
            Op::Load { ty, addr, offset, .. } | Op::Store { ty, addr, offset, .. } if addr == v => {
                let near = (0..=NULL_AREA - LARGEST).contains(&offset);
                return (near && !matches!(ty, MemTy::Struct(_))).then_some(i);
            }
            Op::ArrayLen(array) if array == v => return Some(i),
            Op::NullCheck(v) if v.is_reserved_value() => {}
            Op::IConst(_)
            | Op::FConst(_)
            | Op::Null
            | Op::Address(_)
            | Op::Bin(..)
            | Op::Un(..)
            | Op::Conv(..)
            | Op::Cmp(..)
            | Op::Select { .. }
            | Op::PtrAdd(..)
            | Op::LocalGet(_)
            | Op::LocalSet(..) => {}
            _ => return None,
        }
    }
    None
}

fn mark(op: &mut Op) {
    match op {
        Op::Load { flags, .. } | Op::Store { flags, .. } => flags.faults = true,
        Op::ArrayLen(array) => {
            *op = Op::Load {
                ty: MemTy::I32,
                addr: *array,
                offset: ARRAY_LENGTH,
                flags: FAULTS,
            };
        }
        _ => {}
    }
}
