//! The mode changes around native calls that stubs and compiled code make (`Helper::EnterPreemptive`, `LeavePreemptive`), in
//! assembly: a P/Invoke of a short function costs little more than the call. Slow paths go on in Rust.
//!
//! Both record the transition as every runtime helper does. Leaving uses an exchange: the store of the mode must be visible
//! before the poll word is read (see `corten_gc_hooks::safepoint`).

use crate::helpers::{enter_preemptive, leave_preemptive};
use crate::thread::offsets;
use corten_gc_hooks::thread::{
    GC_MODE_COOPERATIVE, GC_MODE_PREEMPTIVE, POLL_SUSPEND, THREAD_GC_MODE, THREAD_POLL_REQUESTED,
};
use std::arch::naked_asm;

/// Cooperative to preemptive. Clobbers rax.
///
/// # Safety
/// Only generated code of an attached thread in cooperative mode calls it (r15 = thread, rbp = frame).
#[unsafe(naked)]
pub unsafe extern "C" fn enter() {
    naked_asm!(
        "mov rax, [rsp]", "mov [r15 + {tpc}], rax", "mov [r15 + {tfp}], rbp", "mov [r15 + {tsp}], rsp",
        "mov dword ptr [r15 + {mode}], {preemptive}",
        "test dword ptr [r15 + {poll}], {suspend}",
        "jnz {slow}",
        "ret",
        tpc = const offsets::TRANSITION_PC,
        tfp = const offsets::TRANSITION_FP,
        tsp = const offsets::TRANSITION_SP,
        mode = const THREAD_GC_MODE,
        poll = const THREAD_POLL_REQUESTED,
        preemptive = const GC_MODE_PREEMPTIVE,
        suspend = const POLL_SUSPEND,
        slow = sym enter_preemptive)
}

/// Preemptive to cooperative; waits for a collection to end, then raises what a QCall left pending. Clobbers rax.
///
/// # Safety
/// Only generated code of an attached thread in preemptive mode calls it (r15 = thread, rbp = frame).
#[unsafe(naked)]
pub unsafe extern "C" fn leave() {
    naked_asm!(
        "mov rax, [rsp]", "mov [r15 + {tpc}], rax", "mov [r15 + {tfp}], rbp", "mov [r15 + {tsp}], rsp",
        "mov eax, {cooperative}",
        "xchg [r15 + {mode}], eax",
        "test dword ptr [r15 + {poll}], {suspend}",
        "jnz {slow}",
        "cmp qword ptr [r15 + {pending}], 0",
        "jne {slow}",
        "ret",
        tpc = const offsets::TRANSITION_PC,
        tfp = const offsets::TRANSITION_FP,
        tsp = const offsets::TRANSITION_SP,
        mode = const THREAD_GC_MODE,
        poll = const THREAD_POLL_REQUESTED,
        pending = const offsets::PENDING_EXCEPTION,
        cooperative = const GC_MODE_COOPERATIVE,
        suspend = const POLL_SUSPEND,
        slow = sym leave_preemptive)
}
