//! JIT helpers: the services that generated code calls ([`Helper`]). Those that may collect or raise are entered through a
//! transition stub; leaf ones are called directly.

mod casting;
mod delegates;
mod dispatch;
mod fast;
mod objects;
pub use casting::{can_unbox, check_store, invalid_cast, is_instance, write_nullable};
pub use dispatch::{Resolved, entry_for, entry_taking_object, resolve};
pub use fast::internal_call_front;
pub use objects::{alloc_array, alloc_md_array, box_from, copy_value, method_table, nullable_value_offset};
pub(crate) use objects::{enter_preemptive, leave_preemptive, poll};
mod throwing;

use crate::asm;
use corten_jit::ir::Helper;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const COUNT: usize = 96;
static ADDRESSES: [AtomicU64; COUNT] = [const { AtomicU64::new(0) }; COUNT];
static INSTALLED: OnceLock<()> = OnceLock::new();

/// Entry address of a helper for generated code.
pub fn address(h: Helper) -> u64 {
    INSTALLED.get_or_init(install);
    ADDRESSES[h as usize].load(Ordering::Relaxed)
}

/// How a helper is entered.
enum Entry {
    /// Directly: leaf, or assembly that records the transition itself.
    Direct(*const ()),
    /// Through a stub that records the transition.
    Transition(*const ()),
}

fn install() {
    use Entry::{Direct, Transition};
    use Helper as H;
    let table: &[(Helper, Entry)] = &[
        (H::NewObject, Direct(fast::new_object as *const ())),
        (H::NewArray, Direct(fast::new_array as *const ())),
        (H::NewMdArray, Transition(objects::new_md_array as *const ())),
        (H::Box, Transition(objects::box_value as *const ())),
        (H::Unbox, Transition(casting::unbox as *const ())),
        (H::UnboxNullable, Transition(casting::unbox_nullable as *const ())),
        (H::CastClass, Transition(casting::cast_class as *const ())),
        (H::IsInst, Direct(casting::is_inst as *const ())),
        (H::StoreElemRef, Direct(fast::store_elem_ref as *const ())),
        (H::LdElemaRef, Transition(casting::ldelema_ref as *const ())),
        (H::ArrayStoreCheck, Transition(casting::array_store_check as *const ())),
        (
            H::ArrayAddressCheck,
            Transition(casting::array_address_check as *const ()),
        ),
        (H::RefAnyVal, Transition(casting::refanyval as *const ())),
        (
            H::RuntimeTypeOfHandle,
            Transition(objects::runtime_type_of_handle as *const ()),
        ),
        (H::ClassInit, Transition(objects::class_init as *const ())),
        (
            H::ThreadStaticAddress,
            Transition(objects::thread_static_address as *const ()),
        ),
        (H::ResolveVirtual, Transition(dispatch::resolve_virtual as *const ())),
        (H::InitDelegate, Transition(delegates::init_delegate as *const ())),
        (H::TailCall, Direct(crate::stubs::tail_call::entry() as *const ())),
        (H::Throw, Direct(asm::throw_stub as *const ())),
        (H::Rethrow, Direct(asm::rethrow_stub as *const ())),
        (H::Resume, Direct(asm::resume_stub as *const ())),
        (H::ThrowNullReference, Transition(throwing::null_reference as *const ())),
        (
            H::ThrowIndexOutOfRange,
            Transition(throwing::index_out_of_range as *const ()),
        ),
        (H::ThrowDivideByZero, Transition(throwing::divide_by_zero as *const ())),
        (H::ThrowOverflow, Transition(throwing::overflow as *const ())),
        (H::ThrowArithmetic, Transition(throwing::overflow as *const ())),
        (
            H::ThrowPlatformNotSupported,
            Transition(throwing::platform_not_supported as *const ()),
        ),
        (
            H::ThrowInvalidProgram,
            Transition(throwing::invalid_program as *const ()),
        ),
        (H::ThrowDeferred, Transition(throwing::deferred as *const ())),
        (H::StackProbe, Transition(throwing::stack_probe as *const ())),
        (H::CallCounted, Direct(crate::tiering::call_counted_stub as *const ())),
        (H::ProfileClass, Direct(crate::tiering::profile_class as *const ())),
        (H::ProfileTarget, Direct(crate::tiering::profile_target as *const ())),
        (H::Patchpoint, Transition(crate::tiering::patchpoint as *const ())),
        (H::Poll, Direct(crate::stubs::gc_transitions::poll as *const ())),
        (H::MonitorEnter, Direct(fast::monitor_enter as *const ())),
        (H::MonitorExit, Direct(fast::monitor_exit as *const ())),
        (
            H::EnterPreemptive,
            Direct(crate::stubs::gc_transitions::enter as *const ()),
        ),
        (
            H::LeavePreemptive,
            Direct(crate::stubs::gc_transitions::leave as *const ()),
        ),
        (
            H::WriteBarrier,
            Direct(corten_gc_hooks::barrier::corten_write_barrier as *const ()),
        ),
        (
            H::CheckedWriteBarrier,
            Direct(corten_gc_hooks::barrier::corten_checked_write_barrier as *const ()),
        ),
        (H::CopyStructBarrier, Direct(objects::copy_struct_barrier as *const ())),
        (H::MemMove, Direct(libc::memmove as *const ())),
        (H::MemSet, Direct(libc::memset as *const ())),
        (H::FmodF64, Direct(objects::fmod as *const ())),
        (H::FmodF32, Direct(objects::fmodf as *const ())),
        (
            H::ExchangeRef,
            Direct(corten_gc_hooks::barrier::exchange_ref as *const ()),
        ),
        (
            H::CompareExchangeRef,
            Direct(corten_gc_hooks::barrier::compare_exchange_ref as *const ()),
        ),
    ];
    for (helper, entry) in table {
        let address = match entry {
            Direct(f) => *f as u64,
            Transition(f) => crate::engine::install_stub(&asm::transition_stub_code(*f as usize)) as u64,
        };
        ADDRESSES[*helper as usize].store(address, Ordering::Relaxed);
    }
}
