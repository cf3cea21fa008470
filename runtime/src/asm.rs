//! Assembly stubs at the border of managed code (x86-64 SysV). See ARCHITECTURE.md, "Borders".
//!
//! Managed code keeps `Thread*` in r15 and rbp as frame pointer. Every managed-to-native transition stores (return pc, rbp,
//! rsp) in the thread, so that the stack can be walked from there.

use crate::thread::{EntryFrame, Thread, offsets};
use std::arch::naked_asm;

/// Register and stack arguments of a call into managed code.
#[repr(C)]
#[derive(Debug)]
pub struct CallArgs {
    /// rdi, rsi, rdx, rcx, r8, r9.
    pub int: [u64; 6],
    /// xmm0..xmm7 (low 64 bits).
    pub sse: [u64; 8],
    /// First stack argument.
    pub stack: *const u64,
    /// Stack arguments, in words of 8 bytes.
    pub stack_words: usize,
}

/// Registers after the call: rax, rdx, xmm0, xmm1; `rax` is the exception when the thunk returned 1.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct CallResult {
    /// First integer eightbyte.
    pub rax: u64,
    /// Second integer eightbyte.
    pub rdx: u64,
    /// First floating-point eightbyte.
    pub xmm0: u64,
    /// Second floating-point eightbyte.
    pub xmm1: u64,
}

/// Calls managed code. Returns 0, or 1 if an exception arrived (its object in `result.rax`).
///
/// # Safety
/// `target` must be managed code whose signature fits `args`; `thread` the current thread in cooperative mode; `frame` a
/// fresh [`EntryFrame`] that lives until the return.
#[unsafe(naked)]
pub unsafe extern "C" fn call_managed_thunk(
    target: usize,
    args: *const CallArgs,
    result: *mut CallResult,
    thread: *const Thread,
    frame: *mut EntryFrame,
) -> u64 {
    naked_asm!(
        "push rbp", "mov rbp, rsp",
        "push rbx", "push r12", "push r13", "push r14", "push r15",
        "push r8", "push rdx", "sub rsp, 8",
        "mov r15, rcx",
        "mov rax, [r15 + {entry}]", "mov [r8], rax",
        "mov rax, [r15 + {tpc}]", "mov [r8 + 8], rax",
        "mov rax, [r15 + {tfp}]", "mov [r8 + 16], rax",
        "mov rax, [r15 + {tsp}]", "mov [r8 + 24], rax",
        "mov [r8 + 32], rsp",
        "lea rax, [rip + 7f]", "mov [r8 + 40], rax",
        "mov [r15 + {entry}], r8",
        "mov r10, rsi", "mov r11, rdi",
        "mov rsi, [r10 + 112]", "mov rcx, [r10 + 120]",
        "test cl, 1", "jz 3f", "sub rsp, 8",
        "3:", "test rcx, rcx", "jz 4f", "push qword ptr [rsi + rcx*8 - 8]", "dec rcx", "jmp 3b",
        "4:",
        "mov rdi, [r10]", "mov rsi, [r10 + 8]", "mov rdx, [r10 + 16]", "mov rcx, [r10 + 24]", "mov r8, [r10 + 32]", "mov r9, [r10 + 40]",
        "movsd xmm0, qword ptr [r10 + 48]", "movsd xmm1, qword ptr [r10 + 56]", "movsd xmm2, qword ptr [r10 + 64]", "movsd xmm3, qword ptr [r10 + 72]",
        "movsd xmm4, qword ptr [r10 + 80]", "movsd xmm5, qword ptr [r10 + 88]", "movsd xmm6, qword ptr [r10 + 96]", "movsd xmm7, qword ptr [r10 + 104]",
        "call r11",
        "mov r9, [rbp - 56]", "mov [r9], rax", "mov [r9 + 8], rdx", "movsd qword ptr [r9 + 16], xmm0", "movsd qword ptr [r9 + 24], xmm1",
        "xor eax, eax",
        "6:",
        "mov r8, [rbp - 48]",
        "mov rcx, [r8]", "mov [r15 + {entry}], rcx",
        "mov rcx, [r8 + 8]", "mov [r15 + {tpc}], rcx",
        "mov rcx, [r8 + 16]", "mov [r15 + {tfp}], rcx",
        "mov rcx, [r8 + 24]", "mov [r15 + {tsp}], rcx",
        "lea rsp, [rbp - 40]",
        "pop r15", "pop r14", "pop r13", "pop r12", "pop rbx", "pop rbp", "ret",
        // Exceptional exit: the dispatcher restored rsp (resume_sp) and put the exception into rax and the thread into r15.
        "7:",
        "lea rbp, [rsp + 64]", "mov r9, [rbp - 56]", "mov [r9], rax", "mov eax, 1", "jmp 6b",
        entry = const offsets::ENTRY_FRAME,
        tpc = const offsets::TRANSITION_PC,
        tfp = const offsets::TRANSITION_FP,
        tsp = const offsets::TRANSITION_SP,
    )
}

/// Registers saved by [`prestub_thunk`], low to high addresses.
#[repr(C)]
#[derive(Debug)]
pub struct PrestubRegisters {
    /// xmm0..xmm7, 16 bytes each.
    pub sse: [[u64; 2]; 8],
    /// rdi, rsi, rdx, rcx, r8, r9.
    pub int: [u64; 6],
}

/// Target of every temporary entry point: r10 = MethodDesc. Saves the argument registers, asks
/// [`prestub_worker`](crate::prestub::prestub_worker) for the code and jumps there.
///
/// # Safety
/// Only by a jump from a temporary entry point.
#[unsafe(naked)]
pub unsafe extern "C" fn prestub_thunk() {
    naked_asm!(
        "push rbp", "mov rbp, rsp",
        "sub rsp, 176",
        "movups [rsp], xmm0", "movups [rsp + 16], xmm1", "movups [rsp + 32], xmm2", "movups [rsp + 48], xmm3",
        "movups [rsp + 64], xmm4", "movups [rsp + 80], xmm5", "movups [rsp + 96], xmm6", "movups [rsp + 112], xmm7",
        "mov [rsp + 128], rdi", "mov [rsp + 136], rsi", "mov [rsp + 144], rdx", "mov [rsp + 152], rcx", "mov [rsp + 160], r8", "mov [rsp + 168], r9",
        "mov rax, [rbp + 8]", "mov [r15 + {tpc}], rax",
        "mov rax, [rbp]", "mov [r15 + {tfp}], rax",
        "lea rax, [rbp + 8]", "mov [r15 + {tsp}], rax",
        "mov rdi, r10", "mov rsi, rsp", "lea rdx, [rbp + 16]", "mov rcx, r15",
        "call {worker}",
        "movups xmm0, [rsp]", "movups xmm1, [rsp + 16]", "movups xmm2, [rsp + 32]", "movups xmm3, [rsp + 48]",
        "movups xmm4, [rsp + 64]", "movups xmm5, [rsp + 80]", "movups xmm6, [rsp + 96]", "movups xmm7, [rsp + 112]",
        "mov rdi, [rsp + 128]", "mov rsi, [rsp + 136]", "mov rdx, [rsp + 144]", "mov rcx, [rsp + 152]", "mov r8, [rsp + 160]", "mov r9, [rsp + 168]",
        "mov rsp, rbp", "pop rbp",
        "jmp rax",
        tpc = const offsets::TRANSITION_PC,
        tfp = const offsets::TRANSITION_FP,
        tsp = const offsets::TRANSITION_SP,
        worker = sym crate::prestub::prestub_worker,
    )
}

/// Callee-saved registers at a throw, as [`throw_stub`] pushes them (low to high).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ThrowContext {
    /// Keeps the stack aligned to 16 bytes.
    pub pad: usize,
    /// Callee-saved: the `Thread` in managed code.
    pub r15: usize,
    /// Callee-saved.
    pub r14: usize,
    /// Callee-saved.
    pub r13: usize,
    /// Callee-saved.
    pub r12: usize,
    /// Callee-saved.
    pub rbx: usize,
    /// Frame pointer of the throwing managed frame.
    pub rbp: usize,
    /// Return address into the throwing managed frame.
    pub pc: usize,
}

macro_rules! throw_entry {
    ($(#[$doc:meta])* $name:ident => $worker:path) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// Only by a call from managed code.
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!(
                "push rbp", "mov rbp, rsp",
                "push rbx", "push r12", "push r13", "push r14", "push r15", "push 0",
                "mov rax, [rbp + 8]", "mov [r15 + {tpc}], rax",
                "mov rax, [rbp]", "mov [r15 + {tfp}], rax",
                "lea rax, [rbp + 8]", "mov [r15 + {tsp}], rax",
                "mov rdx, rsp", "mov rcx, r15",
                "call {f}", "ud2",
                tpc = const offsets::TRANSITION_PC,
                tfp = const offsets::TRANSITION_FP,
                tsp = const offsets::TRANSITION_SP,
                f = sym $worker)
        }
    };
}

throw_entry! {
    /// `Helper::Throw`: rdi = exception object (null allowed). Workers get (rdi, rsi, &ThrowContext, thread).
    throw_stub => crate::exceptions::dispatch::throw_worker
}
throw_entry! {
    /// Raises an exception that native code hands on: rdi = exception object; its stack trace goes on.
    raise_stub => crate::exceptions::dispatch::raise_worker
}
throw_entry! {
    /// `Helper::Rethrow`: rdi = exception object.
    rethrow_stub => crate::exceptions::dispatch::rethrow_worker
}
throw_entry! {
    /// `Helper::Resume`: rdi = exception object, rsi = dispatch record.
    resume_stub => crate::exceptions::dispatch::resume_worker
}

/// Reached by `jmp` with the stack as at a call from managed code, or by the hijacked return of a native helper through
/// [`hijacked_return_stub`]: raises `Thread.pending_exception` at that call site.
///
/// # Safety
/// Only by a jump, with the stack as at a call from managed code.
#[unsafe(naked)]
pub unsafe extern "C" fn raise_pending_stub() {
    naked_asm!(
        "mov rdi, [r15 + {pending}]",
        "mov qword ptr [r15 + {pending}], 0",
        "jmp {raise}",
        pending = const offsets::PENDING_EXCEPTION,
        raise = sym raise_stub)
}

/// A native helper that wants to raise replaces its return address by this one (the original is in
/// `Thread.hijacked_pc`).
///
/// # Safety
/// Only as a return address.
#[unsafe(naked)]
pub unsafe extern "C" fn hijacked_return_stub() {
    naked_asm!(
        "push qword ptr [r15 + {pc}]",
        "jmp {raise}",
        pc = const offsets::HIJACKED_PC,
        raise = sym raise_pending_stub)
}

/// Leaves the dispatcher: loads callee-saved registers from `context`, rbp = `fp`, rsp = `sp`, payloads into rax/rdx, jumps to
/// `pc`.
///
/// # Safety
/// The target must be a landing pad of the frame described (or an entry frame's exceptional exit).
#[unsafe(naked)]
pub unsafe extern "C" fn restore_and_jump(
    context: *const ThrowContext,
    fp: usize,
    sp: usize,
    pc: usize,
    payload0: usize,
    payload1: usize,
) -> ! {
    naked_asm!(
        "mov r15, [rdi + 8]",
        "mov r14, [rdi + 16]",
        "mov r13, [rdi + 24]",
        "mov r12, [rdi + 32]",
        "mov rbx, [rdi + 40]",
        "mov rbp, rsi",
        "mov rsp, rdx",
        "mov rax, r8",
        "mov rdx, r9",
        "jmp rcx"
    )
}

/// Machine code of a stub that records the transition and tail-jumps to `target` with all arguments untouched: the entry
/// of every runtime helper and internal call. Clobbers rax.
pub fn transition_stub_code(target: usize) -> Vec<u8> {
    stub_code(target, None)
}

/// As [`transition_stub_code`] for an internal call: notes which one it is, so that stack traces can show it.
pub fn internal_call_stub_code(target: usize, method: usize) -> Vec<u8> {
    stub_code(target, Some(method))
}

fn stub_code(target: usize, method: Option<usize>) -> Vec<u8> {
    let mut c = Vec::with_capacity(72);
    let store = |c: &mut Vec<u8>, modrm_reg: u8, off: usize| {
        // mov [r15 + disp32], reg
        let rex = 0x49 | if modrm_reg >= 8 { 4 } else { 0 };
        c.extend_from_slice(&[rex, 0x89, 0x80 | ((modrm_reg & 7) << 3) | 7]);
        c.extend_from_slice(&(off as i32).to_le_bytes());
    };
    c.extend_from_slice(&[0x48, 0x8B, 0x04, 0x24]); // mov rax, [rsp]
    store(&mut c, 0, offsets::TRANSITION_PC);
    store(&mut c, 5, offsets::TRANSITION_FP);
    store(&mut c, 4, offsets::TRANSITION_SP);
    if let Some(method) = method {
        store(&mut c, 0, offsets::ICALL_PC);
        c.extend_from_slice(&[0x48, 0xB8]); // mov rax, imm64
        c.extend_from_slice(&(method as u64).to_le_bytes());
        store(&mut c, 0, offsets::ICALL_METHOD);
    }
    c.extend_from_slice(&[0x48, 0xB8]); // mov rax, imm64
    c.extend_from_slice(&(target as u64).to_le_bytes());
    c.extend_from_slice(&[0xFF, 0xE0]); // jmp rax
    c
}
