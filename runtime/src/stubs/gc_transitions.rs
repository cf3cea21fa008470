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

/// `Helper::Poll`: a safepoint that preserves every register, so that loops keep theirs. References in registers are stale
/// afterwards.
///
/// # Safety
/// Only by a call from generated code.
#[unsafe(naked)]
pub unsafe extern "C" fn poll() {
    naked_asm!(
        "push rbp", "mov rbp, rsp",
        "push rax", "push rcx", "push rdx", "push rsi", "push rdi", "push r8", "push r9", "push r10", "push r11",
        "sub rsp, 264",
        "movups [rsp], xmm0", "movups [rsp + 16], xmm1", "movups [rsp + 32], xmm2", "movups [rsp + 48], xmm3",
        "movups [rsp + 64], xmm4", "movups [rsp + 80], xmm5", "movups [rsp + 96], xmm6", "movups [rsp + 112], xmm7",
        "movups [rsp + 128], xmm8", "movups [rsp + 144], xmm9", "movups [rsp + 160], xmm10", "movups [rsp + 176], xmm11",
        "movups [rsp + 192], xmm12", "movups [rsp + 208], xmm13", "movups [rsp + 224], xmm14", "movups [rsp + 240], xmm15",
        "mov rax, [rbp + 8]", "mov [r15 + {tpc}], rax",
        "mov rax, [rbp]", "mov [r15 + {tfp}], rax",
        "lea rax, [rbp + 8]", "mov [r15 + {tsp}], rax",
        "call {worker}",
        "movups xmm0, [rsp]", "movups xmm1, [rsp + 16]", "movups xmm2, [rsp + 32]", "movups xmm3, [rsp + 48]",
        "movups xmm4, [rsp + 64]", "movups xmm5, [rsp + 80]", "movups xmm6, [rsp + 96]", "movups xmm7, [rsp + 112]",
        "movups xmm8, [rsp + 128]", "movups xmm9, [rsp + 144]", "movups xmm10, [rsp + 160]", "movups xmm11, [rsp + 176]",
        "movups xmm12, [rsp + 192]", "movups xmm13, [rsp + 208]", "movups xmm14, [rsp + 224]", "movups xmm15, [rsp + 240]",
        "add rsp, 264",
        "pop r11", "pop r10", "pop r9", "pop r8", "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rax",
        "pop rbp", "ret",
        tpc = const offsets::TRANSITION_PC,
        tfp = const offsets::TRANSITION_FP,
        tsp = const offsets::TRANSITION_SP,
        worker = sym crate::helpers::poll,
    )
}
