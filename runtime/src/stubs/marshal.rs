//! Stubs that call native code: P/Invokes, and delegates made from function pointers.
//!
//! A stub passes what it can by itself (numbers, blittable structs, pinned managed pointers and objects). For the rest it has an
//! *area* on its frame: addresses of the managed values, room for the native ones. `marshal_in` fills the native ones before
//! the call, `marshal_out` brings results back and frees what was allocated.

use super::marshal_calls as calls;
use super::{host_error, result_ty};
use crate::error::VmResult;
use crate::interop::signature::{self, Direction, ParamPlan, Pass, Plan};
use crate::jit_host::{method_id, type_handle, type_id};
use corten_jit::builder::{FuncBuilder, mem_ty, stack_ty};
use corten_jit::host_api::{Convention, Signature, WellKnownType};
use corten_jit::ids::TypeId;
use corten_jit::ir::{Barrier, Callee, Cond, ConvOp, Helper, Local, LocalData, MemTy, Op, Ty, Value};
use corten_loader::{MethodDesc, TypeHandle};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// Where the native function is.
enum Target {
    Address(usize),
    /// In the delegate that is the stub's first argument.
    Delegate,
    /// In the stub's last argument.
    LastArgument,
}

fn well_known(w: WellKnownType) -> TypeId {
    crate::engine::compiler_host().well_known(w)
}

/// Signature of the helpers in [`calls`].
fn words(ret: WellKnownType, count: usize) -> Signature {
    Signature {
        has_this: false,
        ret: well_known(ret),
        params: vec![well_known(WellKnownType::IntPtr); count].into(),
        convention: Convention::Managed,
    }
}

/// Memory type of a value of this type.
pub(super) fn memory_type(t: TypeId) -> VmResult<MemTy> {
    let info = crate::engine::compiler_host().type_info(t).map_err(host_error)?;
    mem_ty(info.kind, t).ok_or_else(|| crate::interop::marshal_error("A value of type void."))
}

/// A zeroed local for a value of this type.
pub(super) fn zeroed_local(b: &mut FuncBuilder, t: TypeId) -> VmResult<Local> {
    let info = crate::engine::compiler_host().type_info(t).map_err(host_error)?;
    let ty = stack_ty(info.kind, t).ok_or_else(|| crate::interop::marshal_error("A value of type void."))?;
    Ok(b.push_local(LocalData {
        ty,
        type_id: t,
        pinned: false,
        zero_init: true,
    }))
}

/// The area on the stub's frame.
pub(super) struct Area(Local);

impl Area {
    /// Reserves it.
    pub(super) fn new(b: &mut FuncBuilder, bytes: u32) -> Area {
        let at = b.emit(Op::Scratch { bytes }, Ty::I64);
        let local = b.temp(Ty::I64, well_known(WellKnownType::IntPtr));
        b.set(local, at);
        Area(local)
    }
    /// Its address.
    pub(super) fn address(&self, b: &mut FuncBuilder) -> Value {
        b.get(self.0)
    }
    /// Notes where managed value `i` is.
    pub(super) fn set_value(&self, b: &mut FuncBuilder, i: usize, managed: Local) {
        let at = b.local_addr(managed);
        let at = b.conv(ConvOp::RefToInt, at, Ty::I64);
        let base = self.address(b);
        b.store(MemTy::I64, base, Plan::value_word(i) as i32, at, Barrier::None);
    }
    /// Calls one of the helpers with (plan, area, extra...).
    pub(super) fn call(&self, b: &mut FuncBuilder, helper: usize, plan: &'static Plan, extra: Option<Value>) {
        let target = b.address(helper as u64);
        let plan = b.address(std::ptr::from_ref(plan) as u64);
        let area = self.address(b);
        let mut args = vec![plan, area];
        args.extend(extra);
        let sig = words(WellKnownType::Void, args.len());
        b.call(Callee::Pointer { target }, sig, args, None, false);
    }
}

/// 0 or 1 of a managed or native boolean.
pub(super) fn boolean(b: &mut FuncBuilder, v: Value) -> Value {
    let zero = b.iconst32(0);
    b.cmp(Cond::Ne, v, zero)
}

fn pinned(b: &mut FuncBuilder, arg: Local) -> Local {
    let data = LocalData {
        pinned: true,
        ..b.func.locals[arg].clone()
    };
    let pin = b.push_local(data);
    let v = b.get(arg);
    b.set(pin, v);
    pin
}

fn native_argument(
    b: &mut FuncBuilder,
    p: &ParamPlan,
    arg: Local,
    pin: Option<Local>,
    area: Option<&Area>,
) -> VmResult<Value> {
    let source = b.get(pin.unwrap_or(arg));
    Ok(match (&p.pass, area) {
        (Pass::Direct, _) => source,
        (Pass::Bool, _) => boolean(b, source),
        (Pass::PinByRef, _) => b.conv(ConvOp::RefToInt, source, Ty::I64),
        (Pass::PinObject { offset }, _) => {
            let object = b.conv(ConvOp::RefToInt, source, Ty::I64);
            let data = b.ptr_add_const(object, i64::from(*offset));
            let zero = b.iconst64(0);
            let is_null = b.cmp(Cond::Eq, object, zero);
            b.emit(
                Op::Select {
                    cond: is_null,
                    if_true: zero,
                    if_false: data,
                },
                Ty::I64,
            )
        }
        (Pass::Convert, Some(area)) => {
            let base = area.address(b);
            b.load(memory_type(p.native)?, base, p.slot as i32)
        }
        (Pass::Convert, None) => return Err(crate::interop::marshal_error("A conversion without an area.")),
    })
}

/// Builds the stub: the arguments from `first` on are those of the plan.
fn build(mut b: FuncBuilder, plan: Plan, first: usize, target: Target, transition: bool) -> VmResult<usize> {
    let plan: &'static Plan = Box::leak(Box::new(plan));
    let host = crate::engine::compiler_host();
    let managed_ret = b.func.sig.ret;
    let area = plan.converts.then(|| Area::new(&mut b, plan.area));
    let ret_local = match &plan.ret {
        Some(_) => Some(zeroed_local(&mut b, managed_ret)?),
        None => None,
    };
    let mut pins = Vec::with_capacity(plan.params.len());
    for (i, p) in plan.params.iter().enumerate() {
        let arg = b.arg(first + i);
        pins.push(match p.pass {
            Pass::PinByRef | Pass::PinObject { .. } => Some(pinned(&mut b, arg)),
            _ => None,
        });
        if let Some(area) = &area {
            area.set_value(&mut b, i, arg);
        }
    }
    if let Some(area) = &area {
        if let Some(l) = ret_local {
            area.set_value(&mut b, plan.params.len(), l);
        }
        area.call(&mut b, calls::marshal_in_stub(), plan, None);
    }
    let mut args = Vec::with_capacity(plan.params.len() + 1);
    let mut params: Vec<TypeId> = Vec::with_capacity(plan.params.len() + 1);
    for (i, p) in plan.params.iter().enumerate() {
        let arg = b.arg(first + i);
        args.push(native_argument(&mut b, p, arg, pins[i], area.as_ref())?);
        params.push(p.native);
    }
    let native_ret = match (&plan.ret, plan.preserve_sig) {
        (_, false) => well_known(WellKnownType::Int32),
        (Some(r), true) => r.native,
        (None, true) => well_known(WellKnownType::Void),
    };
    if let (Some(r), Some(area), false) = (&plan.ret, &area, plan.preserve_sig) {
        let base = area.address(&mut b);
        args.push(b.ptr_add_const(base, i64::from(r.storage)));
        params.push(well_known(WellKnownType::IntPtr));
    }
    let address = match target {
        Target::Address(a) => b.address(a as u64),
        Target::Delegate => {
            let this = b.arg(0);
            let this = b.get(this);
            b.load(MemTy::I64, this, super::delegate::offsets::METHOD_PTR_AUX as i32)
        }
        Target::LastArgument => {
            let pointer = b.arg(first + plan.params.len());
            b.get(pointer)
        }
    };
    if transition {
        b.helper_void(Helper::EnterPreemptive, vec![]);
    }
    if plan.set_last_error {
        let clear = b.address(calls::clear_errno as *const () as u64);
        b.call(
            Callee::Native { target: clear },
            words(WellKnownType::Void, 0),
            vec![],
            None,
            false,
        );
    }
    let native_sig = Signature {
        has_this: false,
        ret: native_ret,
        params: params.into(),
        convention: Convention::Unmanaged,
    };
    let ret_info = host.type_info(native_ret).map_err(host_error)?;
    let ret_ty = stack_ty(ret_info.kind, native_ret);
    let result = b.call(Callee::Native { target: address }, native_sig, args, ret_ty, false);
    let result = result.map(|v| {
        let ty = b.ty(v);
        let local = b.temp(ty, native_ret);
        b.set(local, v);
        local
    });
    if plan.set_last_error {
        let save = b.address(calls::save_errno as *const () as u64);
        b.call(
            Callee::Native { target: save },
            words(WellKnownType::Void, 0),
            vec![],
            None,
            false,
        );
    }
    if transition {
        b.helper_void(Helper::LeavePreemptive, vec![]);
    }
    if let (Some(r), Some(result), Some(local), true) = (&plan.ret, result, ret_local, plan.preserve_sig) {
        let v = b.get(result);
        match (&r.pass, &area) {
            (Pass::Direct, _) => b.set(local, v),
            (Pass::Bool, _) => {
                let v = boolean(&mut b, v);
                b.set(local, v);
            }
            (Pass::PinByRef | Pass::PinObject { .. }, _) => {
                let v = b.conv(ConvOp::IntToByRef, v, Ty::ByRef);
                b.set(local, v);
            }
            (Pass::Convert, Some(area)) => {
                let base = area.address(&mut b);
                b.store(memory_type(r.native)?, base, r.slot as i32, v, Barrier::None);
            }
            (Pass::Convert, None) => return Err(crate::interop::marshal_error("A conversion without an area.")),
        }
    }
    if let Some(area) = &area {
        let hresult = match (plan.preserve_sig, result) {
            (false, Some(hr)) => {
                let v = b.get(hr);
                b.conv(ConvOp::SextI64, v, Ty::I64)
            }
            _ => b.iconst64(0),
        };
        area.call(&mut b, calls::marshal_out_stub(), plan, Some(hresult));
    }
    let value = ret_local.map(|l| b.get(l));
    b.ret(value);
    crate::engine::compile_stub(&b.finish())
}

/// Code of a P/Invoke or QCall.
///
/// # Errors
/// DllNotFoundException, EntryPointNotFoundException, MarshalDirectiveException, compilation failures.
pub fn pinvoke(md: &'static MethodDesc) -> VmResult<usize> {
    // A signature that cannot be marshalled is an error before the library is asked for.
    let plan = signature::plan(md, Direction::Forward)?;
    let target = crate::interop::resolve(md)?;
    let b = super::builder_for(md)?;
    let transition = !crate::interop::suppresses_gc_transition(md);
    build(b, plan, 0, Target::Address(target), transition)
}

type StubTable = Mutex<Option<FxHashMap<usize, usize>>>;
static DELEGATE_STUBS: StubTable = Mutex::new(None);

/// Stub behind `_methodPtr` of the delegates of one class that wrap native function pointers.
///
/// # Errors
/// MarshalDirectiveException, compilation failures.
pub fn delegate_stub(invoke: &'static MethodDesc) -> VmResult<usize> {
    if let Some(&a) = DELEGATE_STUBS.lock().get_or_insert_default().get(&invoke.address()) {
        return Ok(a);
    }
    let plan = signature::plan(invoke, Direction::Forward)?;
    let host = crate::engine::compiler_host();
    let info = host.method_info(method_id(invoke)).map_err(host_error)?;
    let owner = host.type_info(type_id(invoke.owner().handle())).map_err(host_error)?;
    let name = format!("NativeFunction({})", invoke.display_name());
    let b = FuncBuilder::new(host, name, None, info.sig.clone(), Some(&owner)).map_err(host_error)?;
    let code = build(b, plan, 1, Target::Delegate, true)?;
    Ok(*DELEGATE_STUBS
        .lock()
        .get_or_insert_default()
        .entry(invoke.address())
        .or_insert(code))
}

type CallStubs = Mutex<Option<FxHashMap<(bool, Vec<TypeId>), usize>>>;
static CALL_STUBS: CallStubs = Mutex::new(None);

/// Managed code behind a `calli` of a native function whose arguments or result need conversion: takes the arguments, then the
/// function. `None` if they travel as they are.
///
/// # Errors
/// MarshalDirectiveException, compilation failures.
pub fn native_call_stub(md: &'static MethodDesc, sig: &Signature) -> VmResult<Option<usize>> {
    let handles: Vec<TypeHandle> = sig.params.iter().map(|t| type_handle(*t)).collect();
    let Some(plan) = signature::plan_call(md, &handles, type_handle(sig.ret))? else {
        return Ok(None);
    };
    let transition = sig.convention == Convention::Unmanaged;
    let mut params = sig.params.to_vec();
    params.push(well_known(WellKnownType::IntPtr));
    let key = (transition, params.iter().copied().chain([sig.ret]).collect::<Vec<_>>());
    if let Some(&a) = CALL_STUBS.lock().get_or_insert_default().get(&key) {
        return Ok(Some(a));
    }
    let host = crate::engine::compiler_host();
    let stub = Signature {
        has_this: false,
        ret: sig.ret,
        params: params.into(),
        convention: Convention::Managed,
    };
    let b = FuncBuilder::new(host, "NativeCall".to_string(), None, stub, None).map_err(host_error)?;
    let code = build(b, plan, 0, Target::LastArgument, transition)?;
    Ok(Some(
        *CALL_STUBS.lock().get_or_insert_default().entry(key).or_insert(code),
    ))
}

static STRUCT_STUBS: StubTable = Mutex::new(None);

/// Managed code `(ref byte managed, byte* native, int operation, ref CleanupWorkListElement)` that converts a structure:
/// what `Marshal.StructureToPtr` and its like call.
///
/// # Errors
/// Compilation failures.
pub fn struct_stub(layout: &'static crate::interop::layout::NativeLayout) -> VmResult<usize> {
    if let Some(&a) = STRUCT_STUBS.lock().get_or_insert_default().get(&layout.ty.address()) {
        return Ok(a);
    }
    let host = crate::engine::compiler_host();
    let byte = well_known(WellKnownType::Byte);
    let byref = host.byref_of(byte).map_err(host_error)?;
    let word = well_known(WellKnownType::IntPtr);
    let sig = Signature {
        has_this: false,
        ret: well_known(WellKnownType::Void),
        params: [byref, word, well_known(WellKnownType::Int32), byref].into(),
        convention: Convention::Managed,
    };
    debug_assert!(result_ty(&sig)?.is_none());
    let name = format!("StructMarshal({})", layout.ty.handle().display_name());
    let mut b = FuncBuilder::new(host, name, None, sig, None).map_err(host_error)?;
    let target = b.address(calls::struct_marshal_stub() as u64);
    let layout_word = b.address(std::ptr::from_ref(layout) as u64);
    let (managed, native, operation) = (b.arg(0), b.arg(1), b.arg(2));
    let slot = b.local_addr(managed);
    let slot = b.conv(ConvOp::RefToInt, slot, Ty::I64);
    let native = b.get(native);
    let operation = b.get(operation);
    let operation = b.conv(ConvOp::ZextI64, operation, Ty::I64);
    let args = vec![layout_word, slot, native, operation];
    b.call(
        Callee::Pointer { target },
        words(WellKnownType::Void, 4),
        args,
        None,
        false,
    );
    b.ret(None);
    let code = crate::engine::compile_stub(&b.finish())?;
    Ok(*STRUCT_STUBS
        .lock()
        .get_or_insert_default()
        .entry(layout.ty.address())
        .or_insert(code))
}
