//! The prestub: what a method's first call goes through (ARCHITECTURE.md, "The life of a call", step 4).

use crate::asm::PrestubRegisters;
use crate::error::{ExceptionKind, Raise, VmResult};
use crate::thread::{PrestubFrame, Thread};
use corten_loader::{MethodDesc, MethodKind};
use corten_tiering::{CodeTable, Compiler, Config, Tier};
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
    thread: *mut Thread,
) -> usize {
    // SAFETY: the precode passes the address of its (leaked) MethodDesc, the thunk the current thread and its saved
    // registers.
    let (md, thread, int_registers) = unsafe { (&*method, &mut *thread, (&raw mut (*registers).int).cast::<u64>()) };
    let mut frame = PrestubFrame {
        prev: thread.prestub_frames,
        method,
        int_registers,
        stack_args,
    };
    thread.prestub_frames = &mut frame;
    let result = enter(thread, md);
    thread.prestub_frames = frame.prev;
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

fn enter(thread: &mut Thread, md: &'static MethodDesc) -> VmResult<usize> {
    let initialised = trigger_class_init(md)?;
    let code = {
        let _preemptive = crate::transitions::enter_preemptive(thread);
        code_of(md)?
    };
    // Until the initialiser has ended, other threads must come through here and wait for it.
    if initialised {
        md.publish(code);
    }
    Ok(code)
}

/// Runs the initialiser of a precise (not beforefieldinit) type before its first static method or constructor. Returns
/// whether later calls need no such check.
fn trigger_class_init(md: &'static MethodDesc) -> VmResult<bool> {
    let owner = md.owner();
    let class = owner.class();
    if !class.has_cctor() || class.is_before_field_init() || class.is_initialized() || md.is_cctor() {
        return Ok(true);
    }
    if !(md.is_static() || md.is_ctor() || owner.is_value_type()) {
        return Ok(true);
    }
    crate::class_init::ensure(owner)?;
    Ok(class.is_initialized())
}

/// Code of a method, made if necessary. Preemptive mode.
///
/// # Errors
/// Load errors, invalid IL, missing native implementations.
pub fn code_of(md: &'static MethodDesc) -> VmResult<usize> {
    let known = md.code_versions.load(Ordering::Acquire);
    if !known.is_null() {
        return Ok(known as usize);
    }
    static TABLE: OnceLock<CodeTable<EngineCompiler>> = OnceLock::new();
    let code = TABLE
        .get_or_init(|| CodeTable::new(EngineCompiler))
        .code_of(md, first_tier())?;
    md.code_versions.store(code as *mut (), Ordering::Release);
    Ok(code)
}

/// The tier of first compilations: Tier 0, or Tier 1 if tiering is off.
fn first_tier() -> Tier {
    static TIER: OnceLock<Tier> = OnceLock::new();
    *TIER.get_or_init(|| {
        let config = Config::read(|name| std::env::var(name).ok());
        if config.enabled && config.quick_jit {
            Tier::Tier0
        } else {
            Tier::Tier1
        }
    })
}

/// What the tiering crate drives.
struct EngineCompiler;

impl Compiler for EngineCompiler {
    type Method = &'static MethodDesc;
    type Code = usize;
    type Error = Raise;
    fn compile(&self, md: &'static MethodDesc, tier: Tier) -> VmResult<usize> {
        make_code(md, tier)
    }
}

fn make_code(md: &'static MethodDesc, tier: Tier) -> VmResult<usize> {
    match md.kind() {
        MethodKind::Il if md.is_abstract() => Err(Raise::new(
            ExceptionKind::EntryPointNotFound,
            format!("{} is abstract.", md.display_name()),
        )),
        MethodKind::Il
        | MethodKind::Dynamic
        | MethodKind::ArrayGet
        | MethodKind::ArraySet
        | MethodKind::ArrayAddress => crate::engine::compile_il(md, code_generator(tier)),
        MethodKind::InternalCall => crate::stubs::internal_call(md),
        MethodKind::PInvoke => crate::stubs::pinvoke(md),
        MethodKind::DelegateInvoke => crate::stubs::delegate::invoke(md),
        MethodKind::DelegateCtor => crate::stubs::delegate::constructor(md),
        MethodKind::DelegateBeginInvoke | MethodKind::DelegateEndInvoke => {
            Err(Raise::of(ExceptionKind::PlatformNotSupported))
        }
        MethodKind::ArrayCtor | MethodKind::ArrayCtorBounds => Err(Raise::new(
            ExceptionKind::InvalidProgram,
            format!("{} can only be the target of newobj.", md.display_name()),
        )),
    }
}

fn code_generator(tier: Tier) -> corten_jit::isa::Tier {
    match tier {
        Tier::Tier0 => corten_jit::isa::Tier::Tier0,
        Tier::Tier1 => corten_jit::isa::Tier::Tier1,
    }
}
