//! Explicit tail calls (`tail.` prefix and `jmp`): the callee's frame replaces the caller's.
//!
//! The caller computes the target and the arguments as for an ordinary call, stores target and sizes of the stack arguments
//! in the thread and calls [`tail_call_stub`]. The stub restores the callee-saved registers that the caller's prologue
//! saved (the code map knows where) and
//!
//! * if the stack arguments fit where the caller's own came in: moves them there, drops the caller's frame and jumps;
//! * else: turns the caller's frame into that of the *dispatcher*, a few instructions in the code heap that call the target
//!   with the stack arguments below and return its result. If the caller itself was called by a dispatcher, that one's frame
//!   is used again.
//!
//! Either way a chain of tail calls runs in constant stack.

use crate::thread::offsets;
use std::arch::naked_asm;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Callee-saved registers on their way back.
#[repr(C)]
#[derive(Debug)]
pub struct SavedRegisters {
    rbx: usize,
    r12: usize,
    r13: usize,
    r14: usize,
}

/// `call r11; mov rsp, rbp; pop rbp; ret`. In the code heap, so that stack walks know its frames.
const DISPATCHER: [u8; 8] = [0x41, 0xFF, 0xD3, 0x48, 0x89, 0xEC, 0x5D, 0xC3];
/// Offset of the return address of its call.
const DISPATCHER_RETURN: usize = 3;
static DISPATCHER_ADDRESS: AtomicUsize = AtomicUsize::new(0);

/// Entry address of the stub for generated code; installs the dispatcher.
pub fn entry() -> usize {
    if DISPATCHER_ADDRESS.load(Ordering::Acquire) == 0 {
        let address = crate::engine::install_frame_stub("TailCallDispatcher", &DISPATCHER);
        DISPATCHER_ADDRESS.store(address, Ordering::Release);
    }
    tail_call_stub as *const () as usize
}

/// See the module documentation. Entered by a call from managed code; never returns to it.
#[unsafe(naked)]
unsafe extern "C" fn tail_call_stub() {
    naked_asm!(
        "sub rsp, 232",
        "movups [rsp], xmm0", "movups [rsp + 16], xmm1", "movups [rsp + 32], xmm2", "movups [rsp + 48], xmm3",
        "movups [rsp + 64], xmm4", "movups [rsp + 80], xmm5", "movups [rsp + 96], xmm6", "movups [rsp + 112], xmm7",
        "mov [rsp + 128], rdi", "mov [rsp + 136], rsi", "mov [rsp + 144], rdx", "mov [rsp + 152], rcx", "mov [rsp + 160], r8", "mov [rsp + 168], r9",
        "mov [rsp + 176], rbx", "mov [rsp + 184], r12", "mov [rsp + 192], r13", "mov [rsp + 200], r14",
        "mov rdi, [rsp + 232]", "mov rsi, rbp", "lea rdx, [rsp + 176]",
        "call {restore}",
        // rax = frame pointer of the dispatcher to use, or 0 if the arguments fit.
        "mov ecx, dword ptr [r15 + {bytes}]",
        "mov r11, [r15 + {target}]",
        "mov rbx, [rsp + 176]", "mov r12, [rsp + 184]", "mov r13, [rsp + 192]", "mov r14, [rsp + 200]",
        "test rax, rax", "jnz 3f",
        // Copy over the caller's own stack arguments.
        "lea rsi, [rsp + 240]", "lea rdi, [rbp + 16]", "shr rcx, 3", "rep movsq",
        "xor r10d, r10d",
        "2:",
        "movups xmm0, [rsp]", "movups xmm1, [rsp + 16]", "movups xmm2, [rsp + 32]", "movups xmm3, [rsp + 48]",
        "movups xmm4, [rsp + 64]", "movups xmm5, [rsp + 80]", "movups xmm6, [rsp + 96]", "movups xmm7, [rsp + 112]",
        "mov rdi, [rsp + 128]", "mov rsi, [rsp + 136]", "mov rdx, [rsp + 144]", "mov rcx, [rsp + 152]", "mov r8, [rsp + 160]", "mov r9, [rsp + 168]",
        "test r10, r10", "jnz 4f",
        "mov rsp, rbp", "pop rbp", "jmp r11",
        // Copy below the dispatcher's frame; the destination is higher than the source, so from the end.
        "3:",
        "mov rbp, rax",
        "lea rdx, [rcx + 15]", "and rdx, -16",
        "mov r10, rbp", "sub r10, rdx",
        "lea rsi, [rsp + rcx + 232]", "lea rdi, [r10 + rcx - 8]", "shr rcx, 3",
        "std", "rep movsq", "cld",
        "jmp 2b",
        "4:", "mov rsp, r10", "jmp qword ptr [rip + {dispatcher}]",
        restore = sym prepare,
        dispatcher = sym DISPATCHER_ADDRESS,
        bytes = const offsets::TAIL_STACK_BYTES,
        target = const offsets::TAIL_TARGET)
}

/// Reads back what the prologue of the frame at `fp` saved; decides where the stack arguments go (see the stub).
///
/// # Safety
/// `pc` is a return address in the managed frame at `fp`; `registers` is writable.
unsafe extern "C" fn prepare(pc: usize, fp: usize, registers: *mut SavedRegisters) -> usize {
    let Some(info) = crate::engine::code_at(pc) else {
        crate::engine::fatal("a tail call from outside managed code")
    };
    // SAFETY: the stub's frame.
    let registers = unsafe { &mut *registers };
    for saved in &info.saved {
        // SAFETY: the prologue stored the register there.
        let value = unsafe { *(fp.wrapping_add_signed(saved.fp_offset as isize) as *const usize) };
        match saved.register {
            3 => registers.rbx = value,
            12 => registers.r12 = value,
            13 => registers.r13 = value,
            14 => registers.r14 = value,
            _ => {}
        }
    }
    let sizes = crate::thread::Thread::current().tail_stack_bytes.get();
    let (callee, caller) = (sizes as u32, (sizes >> 32) as u32);
    if callee <= caller {
        return 0;
    }
    // SAFETY: a managed frame: [fp] is the caller's frame pointer, [fp + 8] the return address.
    let (outer_fp, return_pc) = unsafe { (*(fp as *const usize), *((fp + 8) as *const usize)) };
    if return_pc == DISPATCHER_ADDRESS.load(Ordering::Acquire) + DISPATCHER_RETURN {
        outer_fp
    } else {
        fp
    }
}
