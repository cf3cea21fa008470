//! The prestub: what a method's first call goes through (ARCHITECTURE.md, "The life of a call", step 4).

use crate::asm::PrestubRegisters;
use crate::error::{ExceptionKind, Raise, VmResult};
use crate::thread::{PrestubFrame, Thread};
use crate::tiering::{self, Code, Learns, Policy};
use corten_loader::{MethodDesc, MethodKind};
use corten_tiering::{CodeTable, Tier};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// Called by [`prestub_thunk`](crate::asm::prestub_thunk) with the argument registers saved; returns the address to jump to
/// with the arguments restored.
///
/// # Safety
/// Only from the thunk.
pub unsafe extern "C" fn prestub_worker(
    method: *const MethodDesc,
    registers: *mut PrestubRegisters,
    stack_args: *mut u64,
    thread: *const Thread,
) -> usize {
    // SAFETY: the precode passes the address of its (leaked) MethodDesc, the thunk the current thread and its saved
    // registers.
    let (md, thread, int_registers) = unsafe { (&*method, &*thread, (&raw mut (*registers).int).cast::<u64>()) };
    let mut frame = PrestubFrame {
        prev: thread.prestub_frames.get(),
        method,
        int_registers,
        stack_args,
    };
    thread.prestub_frames.set(&mut frame);
    let result = enter(thread, md);
    thread.prestub_frames.set(frame.prev);
    match result {
        Ok(code) => code,
        Err(raise) => {
            crate::exceptions::set_pending(raise);
            crate::exceptions::trace::add_frame_of(thread, md);
            if md.is_pinvoke() {
                // CoreCLR shows the method and its marshalling stub.
                crate::exceptions::trace::add_frame_of(thread, md);
            }
            crate::asm::raise_pending_stub as *const () as usize
        }
    }
}

fn enter(thread: &Thread, md: &'static MethodDesc) -> VmResult<usize> {
    if let Some(code) = crate::default_event_sources::before_first_call(thread, md)? {
        return Ok(code);
    }
    let initialised = trigger_class_init(md)?;
    let code = {
        let _preemptive = crate::transitions::enter_preemptive(thread);
        code_of(md)?
    };
    // Until the initialiser has ended, other threads must come through here and wait for it.
    if initialised {
        tiering::publish_first(md, code);
    }
    // Better code may have come while the thread was preemptive, and the memory of `code` may have been given back. What is the
    // newest now stays: the thread reaches no safepoint before it is there.
    Ok(tiering::newest(md).unwrap_or(code).address)
}

/// Runs the initialiser of a precise (not beforefieldinit) type before its first static method or constructor. Returns
/// whether later calls need no such check.
fn trigger_class_init(md: &'static MethodDesc) -> VmResult<bool> {
    if !needs_class_init(md) {
        return Ok(true);
    }
    crate::class_init::ensure(md.owner())?;
    Ok(md.owner().class().is_initialized())
}

/// Must a call of `md` run its type's initialiser, which has not run?
pub fn needs_class_init(md: &'static MethodDesc) -> bool {
    let owner = md.owner();
    let class = owner.class();
    if !class.has_cctor() || class.is_before_field_init() || class.is_initialized() || md.is_cctor() {
        return false;
    }
    md.is_static() || md.is_ctor() || owner.is_value_type()
}

/// Code of a method, made if necessary. Preemptive mode.
///
/// # Errors
/// Load errors, invalid IL, missing native implementations.
pub fn code_of(md: &'static MethodDesc) -> VmResult<Code> {
    if let Some(code) = tiering::newest(md) {
        return Ok(code);
    }
    let tier = match tiering::policy(md) {
        Policy::Tiered | Policy::Unoptimised => Tier::Tier0,
        Policy::Optimised => Tier::Tier1,
    };
    let code = table().code_of(md, tier)?;
    tiering::remember_first(md, code);
    Ok(tiering::newest(md).unwrap_or(code))
}

fn table() -> &'static CodeTable<tiering::Engine> {
    static TABLE: OnceLock<CodeTable<tiering::Engine>> = OnceLock::new();
    TABLE.get_or_init(|| CodeTable::new(tiering::Engine))
}

/// Forgets the code of a method that is dead: a call, which should not come, would enter the prestub.
pub(crate) fn forget(md: &'static MethodDesc) {
    md.reset_entry();
    md.code_versions.store(std::ptr::null_mut(), Ordering::Release);
    table().forget(md);
}

/// Compiles a method, or makes its stub.
///
/// # Errors
/// Load errors, invalid IL, missing native implementations.
pub(crate) fn make_code(md: &'static MethodDesc, tier: Tier) -> VmResult<Code> {
    let stub = |address| Code {
        address,
        tier: Tier::Tier1,
        learns: Learns::Nothing,
    };
    match md.kind() {
        MethodKind::Il if md.is_abstract() && md.is_static() => Err(Raise::new(
            ExceptionKind::BadImageFormat,
            "An attempt was made to load a program with an incorrect format.\n (0x8007000B)",
        )),
        MethodKind::Il if md.is_abstract() => Err(Raise::new(
            ExceptionKind::EntryPointNotFound,
            format!("{} is abstract.", md.display_name()),
        )),
        MethodKind::Il
        | MethodKind::Dynamic
        | MethodKind::ArrayGet
        | MethodKind::ArraySet
        | MethodKind::ArrayAddress => crate::engine::compile_il(md, tier),
        MethodKind::InternalCall => crate::stubs::internal_call(md).map(stub),
        MethodKind::PInvoke => crate::stubs::pinvoke(md).map(stub),
        MethodKind::DelegateInvoke => crate::stubs::delegate::invoke(md).map(stub),
        MethodKind::DelegateCtor => crate::stubs::delegate::constructor(md).map(stub),
        MethodKind::DelegateBeginInvoke | MethodKind::DelegateEndInvoke => {
            Err(Raise::of(ExceptionKind::PlatformNotSupported))
        }
        MethodKind::ArrayCtor | MethodKind::ArrayCtorBounds => Err(Raise::new(
            ExceptionKind::InvalidProgram,
            format!("{} can only be the target of newobj.", md.display_name()),
        )),
    }
}
