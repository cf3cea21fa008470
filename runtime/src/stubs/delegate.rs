//! Delegates: construction and the stubs behind `_methodPtr` (contract/layouts.md, "Delegates").
//!
//! * closed: `_target` = receiver, `_methodPtr` = code;
//! * open static: `_target` = the delegate, `_methodPtr` = shuffle stub, `_methodPtrAux` = code;
//! * multicast: `_target` = the delegate, `_methodPtr` = multicast stub, `_invocationList`, `_invocationCount`.

use super::{host_error, result_ty};
use crate::error::{ExceptionKind, Raise, VmResult};
use crate::jit_host::{method_id, type_id};
use crate::thread::Thread;
use corten_gc_hooks::barrier::store_ref;
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::scope::Local as Rooted;
use corten_jit::abi::AbiSignature;
use corten_jit::builder::FuncBuilder;
use corten_jit::host_api::Signature;
use corten_jit::ir::{BinOp, Callee, Cond, ConvOp, MemTy, Ty, Value};
use corten_loader::{MethodDesc, MethodTable};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::OnceLock;

/// Field offsets of Delegate and MulticastDelegate.
pub mod offsets {
    /// `_target`.
    pub const TARGET: usize = 8;
    /// `_methodBase`.
    pub const METHOD_BASE: usize = 16;
    /// `_methodPtr`.
    pub const METHOD_PTR: usize = 24;
    /// `_methodPtrAux`.
    pub const METHOD_PTR_AUX: usize = 32;
    /// `_invocationList`.
    pub const INVOCATION_LIST: usize = 40;
    /// `_invocationCount`.
    pub const INVOCATION_COUNT: usize = 48;
}
use offsets::*;

fn field(o: ObjPtr, offset: usize) -> *mut usize {
    (o as *mut u8).wrapping_add(offset).cast()
}

/// The `Invoke` method of a delegate type.
///
/// # Errors
/// If the type has none (not a delegate).
pub fn invoke_method(mt: &'static MethodTable) -> VmResult<&'static MethodDesc> {
    mt.find_method("Invoke").ok_or_else(|| {
        Raise::new(
            ExceptionKind::InvalidOperation,
            format!("{} has no Invoke", mt.handle()),
        )
    })
}

/// Finds the method behind a stable entry address (a function pointer made by `ldftn`), if it is one.
pub fn method_of_entry(code: usize) -> Option<&'static MethodDesc> {
    corten_loader::precode::method_of_precode(code)
}

/// Initialises a delegate object. `code` is a code address taking the receiver as its first argument for instance methods;
/// `method` the method if known.
///
/// # Errors
/// Null receiver of an instance method (ArgumentException as CoreCLR), or stub compilation failures.
pub fn init(
    _thread: &Thread,
    delegate: Rooted<'_>,
    target: Rooted<'_>,
    code: usize,
    method: Option<&'static MethodDesc>,
) -> VmResult<()> {
    let method = method.or_else(|| method_of_entry(code));
    // SAFETY: a live delegate object.
    if let Some(group) = method.and_then(|m| m.collectible()) {
        // The code must not be unloaded before the delegate.
        let allocator = crate::collectible::allocator_of(Some(group));
        // SAFETY: a live delegate object.
        unsafe { store_ref(field(delegate.get(), METHOD_BASE).cast(), allocator) };
    }
    // SAFETY: a live delegate object.
    let delegate_type: &'static MethodTable = unsafe { &*(*delegate.get()).mt.cast() };
    let invoke = invoke_method(delegate_type)?;
    let invoke_params = invoke.signature()?.params.len();
    let (is_static, params) = match method {
        Some(m) => (m.is_static(), m.signature()?.params.len()),
        None => (target.is_null(), invoke_params),
    };
    let open = if is_static {
        params == invoke_params
    } else {
        params + 1 == invoke_params
    };
    if open && target.is_null() {
        let shuffle = shuffle_stub(invoke)?;
        // SAFETY: a live delegate object.
        unsafe {
            store_ref(field(delegate.get(), TARGET).cast(), delegate.get());
            *field(delegate.get(), METHOD_PTR) = shuffle;
            *field(delegate.get(), METHOD_PTR_AUX) = code;
        }
        return Ok(());
    }
    if !is_static && target.is_null() {
        return Err(Raise::new(
            ExceptionKind::Argument,
            "Delegate to an instance method cannot have null 'this'.",
        ));
    }
    let entry = match method {
        Some(m) => closed_entry(m, code)?,
        None => code,
    };
    // SAFETY: as above.
    unsafe {
        store_ref(field(delegate.get(), TARGET).cast(), target.get());
        *field(delegate.get(), METHOD_PTR) = entry;
        *field(delegate.get(), METHOD_PTR_AUX) = 0;
    }
    Ok(())
}

/// What `_methodPtr` of a delegate closed over `method`'s receiver or first argument holds; `code` is the method's own entry.
///
/// # Errors
/// Types of the signature that do not load.
pub fn closed_entry(method: &'static MethodDesc, code: usize) -> VmResult<usize> {
    if method.is_value_type_instance_method() {
        return Ok(method.unboxing_stub()?);
    }
    if method.is_static() {
        // The delegate's caller passes (receiver, return buffer), the method takes (return buffer, first argument).
        let host = crate::engine::compiler_host();
        let info = host.method_info(method_id(method)).map_err(host_error)?;
        let abi = AbiSignature::of(&info.sig, host).map_err(host_error)?;
        if abi.ret_buffer.is_some() {
            return Ok(method.receiver_first_stub()?);
        }
    }
    Ok(code)
}

type StubTable = Mutex<Option<FxHashMap<(u8, usize), usize>>>;
static STUBS: StubTable = Mutex::new(None);

fn cached(kind: u8, invoke: &'static MethodDesc, make: impl FnOnce() -> VmResult<usize>) -> VmResult<usize> {
    let key = (kind, invoke.address());
    if let Some(&a) = STUBS.lock().get_or_insert_default().get(&key) {
        return Ok(a);
    }
    let a = make()?;
    Ok(*STUBS.lock().get_or_insert_default().entry(key).or_insert(a))
}

fn builder(invoke: &'static MethodDesc, name: &str) -> VmResult<FuncBuilder> {
    let host = crate::engine::compiler_host();
    let info = host.method_info(method_id(invoke)).map_err(host_error)?;
    let owner = host.type_info(type_id(invoke.owner().handle())).map_err(host_error)?;
    FuncBuilder::new(
        host,
        format!("{name}({})", invoke.display_name()),
        None,
        info.sig.clone(),
        Some(&owner),
    )
    .map_err(host_error)
}

fn arguments(b: &mut FuncBuilder, from: usize) -> Vec<Value> {
    (from..b.func.arg_count)
        .map(|i| {
            let l = b.arg(i);
            b.get(l)
        })
        .collect()
}

/// The shuffle of every signature whose arguments are all in registers: the target's integer arguments are one register
/// lower (the delegate was the first), the others where they are. `mov rax, [rdi + 32]; mov rdi, rsi; mov rsi, rdx;
/// mov rdx, rcx; mov rcx, r8; mov r8, r9; jmp rax`.
const REGISTER_SHUFFLE: [u8; 21] = [
    0x48, 0x8B, 0x47, 0x20, 0x48, 0x89, 0xF7, 0x48, 0x89, 0xD6, 0x48, 0x89, 0xCA, 0x4C, 0x89, 0xC1, 0x4D, 0x89, 0xC8,
    0xFF, 0xE0,
];
const _: () = assert!(METHOD_PTR_AUX == 0x20);

/// Stub of open static delegates: drops the delegate argument and goes to `_methodPtrAux`, leaving no frame.
///
/// # Errors
/// Compilation failures.
pub fn shuffle_stub(invoke: &'static MethodDesc) -> VmResult<usize> {
    cached(0, invoke, || {
        let mut b = builder(invoke, "DelegateShuffle")?;
        let sig = b.func.sig.clone();
        let abi = AbiSignature::of(&sig, crate::engine::compiler_host()).map_err(host_error)?;
        if abi.stack_bytes == 0 {
            static SHARED: OnceLock<usize> = OnceLock::new();
            return Ok(*SHARED.get_or_init(|| crate::engine::install_stub(&REGISTER_SHUFFLE)));
        }
        let this = b.arg(0);
        let this = b.get(this);
        let target = b.load(MemTy::I64, this, METHOD_PTR_AUX as i32);
        let args = arguments(&mut b, 1);
        let ret = result_ty(&sig)?;
        let open = Signature { has_this: false, ..sig };
        let v = b.call(Callee::Pointer { target }, open, args, ret, true);
        b.ret(v);
        crate::engine::compile_stub(&b.finish())
    })
}

/// Stub of multicast delegates: invokes each delegate of the list, returns the last result.
///
/// # Errors
/// Compilation failures.
pub fn multicast_stub(invoke: &'static MethodDesc) -> VmResult<usize> {
    cached(1, invoke, || {
        let mut b = builder(invoke, "DelegateMulticast")?;
        let sig = b.func.sig.clone();
        let ret = result_ty(&sig)?;
        let host = crate::engine::compiler_host();
        let int = host.well_known(corten_jit::host_api::WellKnownType::Int64);
        let index = b.temp(Ty::I64, int);
        let result = ret.map(|ty| b.temp(ty, sig.ret));
        let zero = b.iconst64(0);
        b.set(index, zero);
        let (body, done) = (b.create_block(), b.create_block());
        b.jump(body);
        b.switch_to(body);
        let this = b.arg(0);
        let this = b.get(this);
        let list = b.load(MemTy::Ref, this, INVOCATION_LIST as i32);
        let list = b.conv(ConvOp::RefToByRef, list, Ty::ByRef);
        let i = b.get(index);
        let three = b.iconst32(3);
        let offset = b.bin(BinOp::Shl, i, three);
        let slot = b.ptr_add(list, offset);
        let one_delegate = b.load(MemTy::Ref, slot, 16);
        let mut args = vec![one_delegate];
        args.extend(arguments(&mut b, 1));
        let v = b.call(Callee::DelegateInvoke, sig, args, ret, false);
        if let (Some(v), Some(l)) = (v, result) {
            b.set(l, v);
        }
        let i = b.get(index);
        let one = b.iconst64(1);
        let next = b.bin(BinOp::Add, i, one);
        b.set(index, next);
        let this = b.arg(0);
        let this = b.get(this);
        let count = b.load(MemTy::I64, this, INVOCATION_COUNT as i32);
        let next = b.get(index);
        let more = b.cmp(Cond::Lt, next, count);
        b.branch(more, body, done);
        b.switch_to(done);
        let v = result.map(|l| b.get(l));
        b.ret(v);
        crate::engine::compile_stub(&b.finish())
    })
}

/// `Invoke` as a callable method (reflection, function pointers): jumps through the delegate.
///
/// # Errors
/// Compilation failures.
pub fn invoke(md: &'static MethodDesc) -> VmResult<usize> {
    let mut b = builder(md, "DelegateInvoke")?;
    let sig = b.func.sig.clone();
    let ret = result_ty(&sig)?;
    let this = b.arg(0);
    let this_value = b.get(this);
    b.null_check(this_value);
    let args = arguments(&mut b, 0);
    let v = b.call(Callee::DelegateInvoke, sig, args, ret, false);
    b.ret(v);
    crate::engine::compile_stub(&b.finish())
}

/// The delegate constructor `(object, native int)` as a callable method (reflection).
///
/// # Errors
/// Compilation failures.
pub fn constructor(md: &'static MethodDesc) -> VmResult<usize> {
    let mut b = super::builder_for(md)?;
    let mut args = arguments(&mut b, 0);
    let unknown = b.iconst64(0);
    args.push(unknown);
    b.helper_void(corten_jit::ir::Helper::InitDelegate, args);
    b.ret(None);
    crate::engine::compile_stub(&b.finish())
}
