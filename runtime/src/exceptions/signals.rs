//! Hardware faults: SIGSEGV, SIGBUS and SIGFPE on alternate signal stacks.
//!
//! * A fault in managed code at an address in the first page is a NullReferenceException, an integer division fault a
//!   DivideByZeroException or OverflowException: the handler makes the faulting instruction look like a call of the throwing
//!   stub. (Tier-0 code checks explicitly; this is the fallback and the way of code that relies on the hardware.)
//! * The same in a frameless leaf helper called by managed code (write barriers, copies) counts for its caller.
//! * A fault near the end of the thread's stack is a stack overflow: reported, fatal.
//! * Everything else is an access violation: reported, fatal.

use super::frames::{Walk, lookup};
use super::unhandled;
use crate::thread::{Thread, offsets};
use std::arch::naked_asm;

/// Faults below this address are null references, as in CoreCLR.
const NULL_AREA: usize = 4096;
/// How far from the stack's end a fault still counts as an overflow of it.
const GUARD_DISTANCE: usize = 256 << 10;
const ALTERNATE_STACK_SIZE: usize = 256 << 10;

const FAULT_NULL: usize = 0;
const FAULT_DIVIDE: usize = 1;
const FAULT_OVERFLOW: usize = 2;

/// Entered by a faked call from the faulting instruction; rdi = kind of fault.
#[unsafe(naked)]
unsafe extern "C" fn fault_stub() {
    naked_asm!(
        "push rbp", "mov rbp, rsp",
        "push rbx", "push r12", "push r13", "push r14", "push r15", "push 0",
        "mov rax, [rbp + 8]", "mov [r15 + {tpc}], rax",
        "mov rax, [rbp]", "mov [r15 + {tfp}], rax",
        "lea rax, [rbp + 8]", "mov [r15 + {tsp}], rax",
        "mov rdx, rsp", "mov rcx, r15",
        "and rsp, -16",
        "call {worker}", "ud2",
        tpc = const offsets::TRANSITION_PC,
        tfp = const offsets::TRANSITION_FP,
        tsp = const offsets::TRANSITION_SP,
        worker = sym super::dispatch::fault_worker)
}

/// Installs the process's handlers.
pub fn install() {
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE] {
        // SAFETY: a valid sigaction with a handler of the three-argument form.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// Gives the current OS thread an alternate signal stack; called when it is attached. The memory is kept until the thread
/// ends.
pub fn set_up_thread() {
    struct AlternateStack(*mut libc::c_void);
    impl Drop for AlternateStack {
        fn drop(&mut self) {
            // SAFETY: the stack is disabled first, then its memory, mapped below, is unmapped.
            unsafe {
                let mut off: libc::stack_t = std::mem::zeroed();
                off.ss_flags = libc::SS_DISABLE;
                libc::sigaltstack(&off, std::ptr::null_mut());
                libc::munmap(self.0, ALTERNATE_STACK_SIZE);
            }
        }
    }
    thread_local! {
        static STACK: std::cell::RefCell<Option<AlternateStack>> = const { std::cell::RefCell::new(None) };
    }
    STACK.with(|cell| {
        let mut cell = cell.borrow_mut();
        if cell.is_some() {
            return;
        }
        // SAFETY: an anonymous private mapping; sigaltstack gets its bounds.
        unsafe {
            let memory = libc::mmap(
                std::ptr::null_mut(),
                ALTERNATE_STACK_SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if memory == libc::MAP_FAILED {
                return;
            }
            let stack = libc::stack_t {
                ss_sp: memory,
                ss_flags: 0,
                ss_size: ALTERNATE_STACK_SIZE,
            };
            libc::sigaltstack(&stack, std::ptr::null_mut());
            *cell = Some(AlternateStack(memory));
        }
    });
}

extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo and ucontext.
    let (address, registers) = unsafe {
        (
            (*info).si_addr() as usize,
            &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs,
        )
    };
    let thread = Thread::current_ptr();
    if thread.is_null() {
        return fall_back(signal);
    }
    // SAFETY: the current thread's structure; it was interrupted, so nobody else uses it.
    let thread = unsafe { &*thread };
    let rip = registers[libc::REG_RIP as usize] as usize;
    let rsp = registers[libc::REG_RSP as usize] as usize;
    let rbp = registers[libc::REG_RBP as usize] as usize;
    let managed = lookup(rip).is_some();
    let in_managed_thread = registers[libc::REG_R15 as usize] as usize == thread as *const Thread as usize;

    if signal == libc::SIGFPE {
        if managed && in_managed_thread {
            // SAFETY: the faulting instruction is readable.
            let kind = if unsafe { is_unsigned_division(rip as *const u8) } {
                FAULT_DIVIDE
            } else {
                FAULT_OVERFLOW
            };
            return fake_call(registers, kind, rip + 1);
        }
        return fall_back(signal);
    }
    if address < NULL_AREA && in_managed_thread {
        if managed {
            // One past the instruction's first byte: inside the method, but never the return address of a call, so that no
            // landing pad of another instruction is taken.
            return fake_call(registers, FAULT_NULL, rip + 1);
        }
        // SAFETY: the stack pointer of the interrupted code is readable.
        let return_address = unsafe { *(rsp as *const usize) };
        if lookup(return_address).is_some() {
            registers[libc::REG_RDI as usize] = FAULT_NULL as i64;
            registers[libc::REG_RIP as usize] = fault_stub as *const () as i64;
            return;
        }
    }
    let walk = if managed {
        Walk::at(rip, rbp, thread.header.entry_frame.get().cast())
    } else {
        Walk::from_transition(thread)
    };
    let (low, _) = thread.stack_limits.get();
    if low != 0 && address.abs_diff(rsp) < GUARD_DISTANCE && address < low + GUARD_DISTANCE {
        unhandled::stack_overflow_at(walk);
    }
    unhandled::access_violation(walk)
}

/// Makes the interrupted code continue as if it had called [`fault_stub`] from `return_address`.
fn fake_call(registers: &mut [libc::greg_t; 23], kind: usize, return_address: usize) {
    let rsp = registers[libc::REG_RSP as usize] as usize - 8;
    // SAFETY: below the stack pointer of managed code, which has no red zone (frames are fully allocated).
    unsafe { *(rsp as *mut usize) = return_address };
    registers[libc::REG_RSP as usize] = rsp as i64;
    registers[libc::REG_RDI as usize] = kind as i64;
    registers[libc::REG_RIP as usize] = fault_stub as *const () as i64;
}

/// Whether the instruction at `code` is `div` (opcode F6/F7 /6) rather than `idiv` (/7).
///
/// # Safety
/// `code` points to an instruction.
unsafe fn is_unsigned_division(mut code: *const u8) -> bool {
    // SAFETY: instructions end with ModRM after at most a few prefixes.
    unsafe {
        while *code == 0x66 || *code & 0xF0 == 0x40 {
            code = code.add(1);
        }
        matches!(*code, 0xF6 | 0xF7) && (*code.add(1) >> 3) & 7 == 6
    }
}

/// Not ours: the default action, by returning to the faulting instruction without a handler.
fn fall_back(signal: libc::c_int) {
    // SAFETY: restores the default action.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}
