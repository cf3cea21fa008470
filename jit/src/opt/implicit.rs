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

/// Faults at addresses below this are null references (the engine's signal handler, as in CoreCLR).
const NULL_AREA: i32 = 4096;
/// Bytes of the largest access.
const LARGEST: i32 = 16;
/// Offset of an array's length (contract: object layout).
const ARRAY_LENGTH: i32 = 8;

/// The pass.
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
        let mut i = 0;
        while i < data.insts.len() {
            let Op::NullCheck(v) = data.insts[i].op else {
                i += 1;
                continue;
            };
            if let Some(at) = access(&data.insts, i, v) {
                let check = data.insts.remove(i);
                let inst = &mut data.insts[at - 1];
                mark(&mut inst.op);
                (inst.il, inst.site) = (check.il, check.site);
            } else {
                if values[v] == Ty::Ref {
                    let inst = &mut data.insts[i];
                    inst.result = Some(values.push(Ty::I64));
                    inst.op = Op::Load {
                        ty: MemTy::I64,
                        addr: v,
                        offset: 0,
                        flags: FAULTS,
                    };
                }
                i += 1;
            }
        }
    }
}

const FAULTS: MemFlags = MemFlags {
    volatile: false,
    unaligned: None,
    faults: true,
};

/// The access through `v` that comes before anything else that can be noticed after the check at `check`.
fn access(insts: &[Inst], check: usize, v: Value) -> Option<usize> {
    for (i, inst) in insts.iter().enumerate().skip(check + 1) {
        match inst.op {
            Op::Load { ty, addr, offset, .. } | Op::Store { ty, addr, offset, .. } if addr == v => {
                let near = (0..=NULL_AREA - LARGEST).contains(&offset);
                return (near && !matches!(ty, MemTy::Struct(_))).then_some(i);
            }
            Op::ArrayLen(array) if array == v => return Some(i),
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
