//! Assembly in front of the hottest helpers and internal calls: what most calls need is done without a Rust frame and without
//! recording a transition; everything else goes on in the ordinary helper with all arguments untouched.
//!
//! The code runs in cooperative mode between two safepoints, so that no collection can interrupt it. It is entered by calls of
//! generated code only (r15 = thread, rbp = frame of the caller) and clobbers rax, rcx, rdx and flags besides what it stores.

mod alloc;
mod lock;
mod store;

pub use alloc::{new_array, new_object};
pub use lock::{monitor_enter, monitor_exit};
pub use store::store_elem_ref;

use std::sync::atomic::{AtomicUsize, Ordering};

/// Records the transition of a helper (as the stubs of [`crate::asm::transition_stub_code`] do) and goes on at `{slow}`.
/// The operands `tpc`, `tfp`, `tsp` are those of [`crate::thread::offsets`]. Clobbers rax.
macro_rules! slow_helper {
    () => {
        "mov rax, [rsp]\n mov [r15 + {tpc}], rax\n mov [r15 + {tfp}], rbp\n mov [r15 + {tsp}], rsp\n jmp {slow}"
    };
}
pub(crate) use slow_helper;

/// An internal call with an assembly front.
struct Front {
    class: &'static str,
    method: &'static str,
    code: unsafe extern "C" fn(),
    /// Where the front goes on: the ordinary entry of the internal call.
    slow: &'static AtomicUsize,
}

/// The entry of an internal call whose ordinary entry is `slow`: its assembly front, if it has one.
pub fn internal_call_front(class: &str, method: &str, slow: usize) -> Option<usize> {
    alloc::prepare();
    let front = alloc::FRONTS
        .iter()
        .chain(lock::FRONTS)
        .find(|f| f.class == class && f.method == method)?;
    front.slow.store(slow, Ordering::Release);
    // Entries of methods are aligned (their low bits are used elsewhere), functions are not.
    let mut code = vec![0x48, 0xB8]; // mov rax, imm64
    code.extend_from_slice(&(front.code as usize as u64).to_le_bytes());
    code.extend_from_slice(&[0xFF, 0xE0]); // jmp rax
    Some(crate::engine::install_stub(&code))
}
