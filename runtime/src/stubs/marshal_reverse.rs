//! Stubs through which native code calls a delegate: native signature outside, `Invoke` inside.

use super::marshal::{Area, boolean, memory_type, zeroed_local};
use super::{host_error, marshal_calls as calls};
use crate::error::VmResult;
use crate::interop::signature::{self, Direction, Pass, Plan};
use crate::jit_host::{method_id, type_id};
use corten_jit::abi::AbiSignature;
use corten_jit::builder::{FuncBuilder, stack_ty};
use corten_jit::host_api::{Convention, Signature, WellKnownType};
use corten_jit::ir::{Barrier, Callee, ConvOp, Ty};
use corten_loader::MethodDesc;

/// Compiles the stub for delegates with this `Invoke`; its address and the words of its stack arguments.
///
/// # Errors
/// MarshalDirectiveException, compilation failures.
pub fn build(invoke: &'static MethodDesc) -> VmResult<(usize, usize)> {
    let plan: &'static Plan = Box::leak(Box::new(signature::plan(invoke, Direction::Reverse)?));
    let host = crate::engine::compiler_host();
    let managed = host.method_info(method_id(invoke)).map_err(host_error)?.sig.clone();
    let native = Signature {
        has_this: false,
        ret: plan.ret.as_ref().map_or(managed.ret, |r| r.native),
        params: plan.params.iter().map(|p| p.native).collect(),
        convention: Convention::Managed,
    };
    let stack_words = AbiSignature::of(&native, host).map_err(host_error)?.stack_bytes as usize / 8;
    let name = format!("NativeCallback({})", invoke.display_name());
    let mut b = FuncBuilder::new(host, name, None, native, None).map_err(host_error)?;

    let object = host.well_known(WellKnownType::Object);
    let delegate = b.temp(Ty::Ref, object);
    let get = b.address(calls::callback_target_stub() as u64);
    let none = Signature {
        has_this: false,
        ret: object,
        params: [].into(),
        convention: Convention::Managed,
    };
    if let Some(v) = b.call(Callee::Pointer { target: get }, none, vec![], Some(Ty::Ref), false) {
        b.set(delegate, v);
    }
    let area = plan.converts.then(|| Area::new(&mut b, plan.area));
    let mut locals = Vec::with_capacity(plan.params.len());
    for (i, p) in plan.params.iter().enumerate() {
        let value = if p.byref {
            p.managed.element_type().unwrap_or(p.managed)
        } else {
            p.managed
        };
        let local = match (&p.pass, &area) {
            (Pass::Convert, Some(area)) => {
                let local = zeroed_local(&mut b, type_id(value))?;
                area.set_value(&mut b, i, local);
                Some(local)
            }
            _ => None,
        };
        locals.push(local);
        if let Some(area) = &area {
            let arg = b.arg(i);
            let v = b.get(arg);
            let base = area.address(&mut b);
            b.store(memory_type(p.native)?, base, p.slot as i32, v, Barrier::None);
        }
    }
    if let Some(area) = &area {
        area.call(&mut b, calls::reverse_in_stub(), plan, None);
    }
    let mut args = vec![b.get(delegate)];
    for (i, p) in plan.params.iter().enumerate() {
        let v = match locals[i] {
            Some(l) if p.byref => b.local_addr(l),
            Some(l) => b.get(l),
            None => {
                let arg = b.arg(i);
                let v = b.get(arg);
                match p.pass {
                    Pass::Bool => boolean(&mut b, v),
                    Pass::PinByRef => b.conv(ConvOp::IntToByRef, v, Ty::ByRef),
                    _ => v,
                }
            }
        };
        args.push(v);
    }
    let ret_info = host.type_info(managed.ret).map_err(host_error)?;
    let ret_ty = stack_ty(ret_info.kind, managed.ret);
    let result = b.call(Callee::DelegateInvoke, managed.clone(), args, ret_ty, false);
    let ret_local = match result {
        Some(v) => {
            let local = zeroed_local(&mut b, managed.ret)?;
            b.set(local, v);
            Some(local)
        }
        None => None,
    };
    if let Some(area) = &area {
        if let Some(l) = ret_local {
            area.set_value(&mut b, plan.params.len(), l);
        }
        area.call(&mut b, calls::reverse_out_stub(), plan, None);
    }
    let value = match (&plan.ret, ret_local) {
        (Some(r), Some(local)) => Some(match (&r.pass, &area) {
            (Pass::Convert, Some(area)) => {
                let base = area.address(&mut b);
                b.load(memory_type(r.native)?, base, r.slot as i32)
            }
            (Pass::Bool, _) => {
                let v = b.get(local);
                boolean(&mut b, v)
            }
            (Pass::PinByRef | Pass::PinObject { .. }, _) => {
                let v = b.get(local);
                b.conv(ConvOp::RefToInt, v, Ty::I64)
            }
            _ => b.get(local),
        }),
        _ => None,
    };
    b.ret(value);
    Ok((crate::engine::compile_stub(&b.finish())?, stack_words))
}
