//! Internal calls of `System.Delegate`, and what binds a delegate to a method.

use super::support::{method_table_of, null_argument, read};
use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use crate::icall_table;
use crate::jit_host::{method_id, type_id};
use crate::stubs::delegate::{self, offsets};
use crate::stubs::{host_error, result_ty};
use crate::thread::Thread;
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::{HandleScope, Local, barrier};
use corten_jit::builder::FuncBuilder;
use corten_jit::host_api::Dispatch;
use corten_jit::ir::Callee;
use corten_loader::{MethodDesc, MethodTable, TypeHandle};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

/// `System.DelegateBindingFlags`.
pub mod flags {
    /// Static methods only.
    pub const STATIC_METHOD_ONLY: i32 = 0x1;
    /// Instance methods only.
    pub const INSTANCE_METHOD_ONLY: i32 = 0x2;
    /// The first argument comes at the call.
    pub const OPEN_DELEGATE_ONLY: i32 = 0x4;
    /// The first argument is bound.
    pub const CLOSED_DELEGATE_ONLY: i32 = 0x8;
    /// A null first argument means an open delegate.
    pub const NEVER_CLOSE_OVER_NULL: i32 = 0x10;
    /// Method names are compared without case.
    pub const CASELESS_MATCHING: i32 = 0x20;
    /// Signatures need only be compatible.
    pub const RELAXED_SIGNATURE: i32 = 0x40;
}

static OPEN_VIRTUAL: RwLock<Option<FxHashMap<(usize, usize), usize>>> = RwLock::new(None);
static MULTICAST: RwLock<Option<FxHashMap<usize, usize>>> = RwLock::new(None);

fn table(raw: usize) -> VmResult<&'static MethodTable> {
    if raw == 0 {
        return Err(null_argument());
    }
    // SAFETY: managed code passes the MethodTable of a delegate object.
    Ok(unsafe { MethodTable::from_ptr(raw as *const _) })
}

extern "C" fn get_multicast_invoke(mt: usize) -> usize {
    MULTICAST.read().as_ref().and_then(|m| m.get(&mt).copied()).unwrap_or(0)
}

/// The multicast stub of a delegate type, made on first request.
///
/// # Errors
/// Compilation failures.
pub fn multicast_invoke_slow(mt: usize) -> VmResult<usize> {
    let invoke = delegate::invoke_method(table(mt)?)?;
    let stub = delegate::multicast_stub(invoke)?;
    MULTICAST.write().get_or_insert_default().insert(mt, stub);
    Ok(stub)
}

extern "C" fn get_invoke_method(mt: usize) -> usize {
    // Managed code wants the method handle, not code.
    icall_body(|_| Ok(delegate::invoke_method(table(mt)?)?.address()))
}

extern "C" fn delegate_construct(this: ObjPtr, target: ObjPtr, code: usize) {
    icall_body(|thread| {
        if this.is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        }
        if code == 0 {
            return Err(null_argument());
        }
        let scope = HandleScope::new(&thread.header);
        let (this, target) = (scope.root(this), scope.root(target));
        delegate::init(thread, this, target, code, None)
    });
}

/// The method that a single-cast delegate calls.
///
/// # Safety
/// `d` is a live delegate.
pub unsafe fn method_of_delegate(d: ObjPtr) -> VmResult<&'static MethodDesc> {
    // SAFETY: a delegate's fields.
    let (code, aux, count) = unsafe {
        (
            read::<usize>(d, offsets::METHOD_PTR),
            read::<usize>(d, offsets::METHOD_PTR_AUX),
            read::<isize>(d, offsets::INVOCATION_COUNT),
        )
    };
    if count == crate::interop::delegates::UNMANAGED_MARKER {
        return delegate::invoke_method(crate::objects::method_table_of(d));
    }
    let entry = if aux != 0 { aux } else { code };
    corten_loader::precode::method_of_precode(entry).ok_or_else(|| {
        Raise::new(
            ExceptionKind::NotSupported,
            "the method of a delegate made from unmanaged code",
        )
    })
}

/// Whether a value of `from` may be passed where `to` is expected in a relaxed delegate binding: reference conversions, or
/// the same type, or an enum and its underlying type.
fn assignable(from: TypeHandle, to: TypeHandle) -> bool {
    if from == to {
        return true;
    }
    if from.is_byref() || to.is_byref() {
        return false;
    }
    if from.is_value_type() || to.is_value_type() {
        let same = |t: TypeHandle| t.is_enum() || t.cor_element_type().is_primitive();
        return same(from) && same(to) && from.internal_element_type() == to.internal_element_type();
    }
    corten_loader::cast::can_cast_to(from, to)
}

/// How a delegate type and a method fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// All arguments come at the call.
    Open,
    /// The first one is bound.
    Closed,
}

fn compatible(from: TypeHandle, to: TypeHandle, relaxed: bool) -> bool {
    if relaxed { assignable(from, to) } else { from == to }
}

/// Type of `this` as a parameter.
fn this_type(method: &'static MethodDesc) -> VmResult<TypeHandle> {
    let owner = method.owner().handle();
    Ok(if method.owner().is_value_type() {
        corten_loader::make_byref(owner)
    } else {
        owner
    })
}

/// Decides whether and how `method` fits the delegate type's Invoke.
///
/// # Errors
/// Load errors of signature types.
pub fn match_signature(
    invoke: &'static MethodDesc,
    method: &'static MethodDesc,
    first_is_null: bool,
    binding: i32,
) -> VmResult<Option<Binding>> {
    if method.is_static() && binding & flags::INSTANCE_METHOD_ONLY != 0
        || !method.is_static() && binding & flags::STATIC_METHOD_ONLY != 0
    {
        return Ok(None);
    }
    let (delegate, target) = (invoke.signature()?, method.signature()?);
    let mut formal = Vec::new();
    if !method.is_static() {
        formal.push(this_type(method)?);
    }
    formal.extend(target.params.iter().copied());
    let relaxed = binding & flags::RELAXED_SIGNATURE != 0;
    let shape = if formal.len() == delegate.params.len() {
        Binding::Open
    } else if formal.len() == delegate.params.len() + 1 {
        Binding::Closed
    } else {
        return Ok(None);
    };
    match shape {
        Binding::Open if binding & flags::CLOSED_DELEGATE_ONLY != 0 || !first_is_null => return Ok(None),
        Binding::Closed if binding & flags::OPEN_DELEGATE_ONLY != 0 => return Ok(None),
        Binding::Closed if first_is_null && binding & flags::NEVER_CLOSE_OVER_NULL != 0 => return Ok(None),
        _ => {}
    }
    let rest = if shape == Binding::Closed {
        &formal[1..]
    } else {
        &formal[..]
    };
    for (i, (given, wanted)) in delegate.params.iter().zip(rest).enumerate() {
        // `this` of an open instance delegate is checked with reference conversions in any case.
        let relaxed = relaxed || (i == 0 && shape == Binding::Open && !method.is_static());
        if !compatible(*given, *wanted, relaxed) {
            return Ok(None);
        }
    }
    if !compatible(target.ret, delegate.ret, relaxed) {
        return Ok(None);
    }
    Ok(Some(shape))
}

/// Whether the object may be the bound first argument of `method`.
///
/// # Errors
/// Load errors of signature types.
pub fn accepts_first(method: &'static MethodDesc, first: ObjPtr) -> VmResult<bool> {
    if first.is_null() {
        return Ok(method.is_static());
    }
    let actual = method_table_of(first).handle();
    if !method.is_static() {
        return Ok(corten_loader::cast::can_cast_to(actual, method.owner().handle()));
    }
    match method.signature()?.params.first() {
        Some(p) if p.is_value_type() || p.is_byref() => Ok(false),
        Some(p) => Ok(corten_loader::cast::can_cast_to(actual, *p)),
        None => Ok(false),
    }
}

/// Fills a freshly allocated delegate object.
///
/// # Errors
/// Null `this`, stub compilation failures.
pub fn bind(
    thread: &Thread,
    d: Local<'_>,
    first: Local<'_>,
    method: &'static MethodDesc,
    binding: Binding,
) -> VmResult<()> {
    if binding == Binding::Closed && first.is_null() {
        // Closed over null: an ordinary closed delegate whose receiver is null. A virtual method is not dispatched.
        let entry = delegate::closed_entry(method, method.stable_entry())?;
        // SAFETY: a live delegate.
        unsafe {
            let base = d.get().cast::<u8>();
            barrier::store_ref(base.add(offsets::TARGET).cast::<ObjPtr>(), std::ptr::null_mut());
            base.add(offsets::METHOD_PTR).cast::<usize>().write(entry);
            base.add(offsets::METHOD_PTR_AUX).cast::<usize>().write(0);
        }
        return Ok(());
    }
    if binding == Binding::Open && !method.is_static() && (method.is_virtual() || method.owner().is_value_type()) {
        return bind_open_instance(thread, d, method);
    }
    let exact = match binding {
        Binding::Closed if !method.is_static() => super::invoke::virtual_target(first.get(), method)?,
        _ => method,
    };
    delegate::init(thread, d, first, exact.stable_entry(), Some(exact))
}

/// Open instance delegates: value type methods take the managed pointer that the delegate passes; virtual methods are
/// dispatched on the first argument.
fn bind_open_instance(thread: &Thread, d: Local<'_>, method: &'static MethodDesc) -> VmResult<()> {
    if !method.is_virtual() || method.is_final() || method.owner().is_value_type() {
        let scope = HandleScope::new(&thread.header);
        let none = scope.root(std::ptr::null_mut());
        return delegate::init(thread, d, none, method.stable_entry(), Some(method));
    }
    let invoke = delegate::invoke_method(method_table_of(d.get()))?;
    let stub = open_virtual_stub(invoke, method)?;
    // SAFETY: a live delegate.
    unsafe {
        let base = d.get().cast::<u8>();
        barrier::store_ref(base.add(offsets::TARGET).cast::<ObjPtr>(), d.get());
        base.add(offsets::METHOD_PTR).cast::<usize>().write(stub);
        base.add(offsets::METHOD_PTR_AUX)
            .cast::<usize>()
            .write(method.stable_entry());
    }
    Ok(())
}

/// Stub of open delegates to a virtual method: drops the delegate argument and calls virtually.
fn open_virtual_stub(invoke: &'static MethodDesc, method: &'static MethodDesc) -> VmResult<usize> {
    let key = (invoke.address(), method.address());
    if let Some(stub) = OPEN_VIRTUAL.read().as_ref().and_then(|m| m.get(&key)) {
        return Ok(*stub);
    }
    let host = crate::engine::compiler_host();
    let info = host.method_info(method_id(invoke)).map_err(host_error)?;
    let owner = host.type_info(type_id(invoke.owner().handle())).map_err(host_error)?;
    let target = host.method_info(method_id(method)).map_err(host_error)?;
    let name = format!("DelegateOpenVirtual({})", method.display_name());
    let mut b = FuncBuilder::new(host, name, None, info.sig.clone(), Some(&owner)).map_err(host_error)?;
    let mut arguments = Vec::new();
    for i in 1..b.func.arg_count {
        let local = b.arg(i);
        arguments.push(b.get(local));
    }
    if let Some(receiver) = arguments.first() {
        b.null_check(*receiver);
    }
    let callee = match target.dispatch {
        Dispatch::Direct => Callee::Direct {
            method: target.id,
            entry_slot: target.entry_slot,
        },
        Dispatch::Vtable { offset } => Callee::Vtable {
            method: target.id,
            offset,
        },
        Dispatch::Interface => Callee::Interface { method: target.id },
        Dispatch::GenericVirtual => {
            return Err(Raise::new(
                ExceptionKind::NotSupported,
                format!("open delegates to the generic virtual method {}", method.display_name()),
            ));
        }
    };
    let ret = result_ty(&target.sig)?;
    let value = b.call(callee, target.sig.clone(), arguments, ret, false);
    b.ret(value);
    let stub = crate::engine::compile_stub(&b.finish())?;
    Ok(*OPEN_VIRTUAL.write().get_or_insert_default().entry(key).or_insert(stub))
}

icall_table! {
    /// Delegate calls.
    TABLE: "System.Delegate" {
        "GetMulticastInvoke" => get_multicast_invoke,
        "GetInvokeMethod" => get_invoke_method,
        "DelegateConstruct" => delegate_construct,
    }
}
