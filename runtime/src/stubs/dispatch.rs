//! Interface dispatch. A call of an interface method goes to the method's *dispatch stub*, which takes the arguments of the
//! call, looks the receiver's class up in a table of all methods, and jumps to the code for it. Nothing is inline at the call
//! site: where profiles show one class, Tier 1 calls its method directly.
//!
//! Entries of the table are immutable and are never freed: a reader needs no lock.

use crate::asm::PrestubRegisters;
use crate::helpers::{Resolved, resolve};
use crate::thread::{PrestubFrame, Thread, offsets};
use corten_gc_hooks::object::ObjPtr;
use corten_loader::MethodDesc;
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use std::arch::naked_asm;
use std::mem::offset_of;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

const BITS: u32 = 13;
const ROTATION: u32 = 21;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Null or an entry in each slot. A pair of class and method has two slots, its own and that number's neighbour.
static TABLE: [AtomicPtr<Resolved>; 1 << BITS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 1 << BITS];

/// Slot of a pair: the top bits of `(class rotated ^ method) * MULTIPLIER`.
fn slot(mt: usize, method: usize) -> usize {
    let mixed = (mt as u64).rotate_left(ROTATION) ^ method as u64;
    (mixed.wrapping_mul(MULTIPLIER) >> (64 - BITS)) as usize
}

/// Puts an entry into the table. The neighbour is used when the own slot is taken, and replaced when it is, too.
fn publish(entry: &'static Resolved) {
    let own = slot(entry.mt, entry.method);
    let new = std::ptr::from_ref(entry).cast_mut();
    let empty = TABLE[own].compare_exchange(std::ptr::null_mut(), new, Ordering::Release, Ordering::Relaxed);
    if empty.is_err_and(|old| old != new) {
        TABLE[own ^ 1].store(new, Ordering::Release);
    }
}

/// Address that a call of the interface method goes to.
pub fn stub_of(method: &'static MethodDesc) -> usize {
    static STUBS: OnceLock<RwLock<FxHashMap<usize, usize>>> = OnceLock::new();
    let stubs = STUBS.get_or_init(RwLock::default);
    if let Some(&stub) = stubs.read().get(&method.address()) {
        return stub;
    }
    *stubs.write().entry(method.address()).or_insert_with(|| {
        let mut code = vec![0x49, 0xba]; // mov r10, method
        code.extend_from_slice(&(method.address() as u64).to_le_bytes());
        code.extend_from_slice(&[0x49, 0xbb]); // mov r11, thunk
        code.extend_from_slice(&(dispatch_thunk as *const () as u64).to_le_bytes());
        code.extend_from_slice(&[0x41, 0xff, 0xe3]); // jmp r11
        crate::engine::install_stub(&code)
    })
}

/// Target of every dispatch stub: r10 = interface method, arguments as for a call of it. Clobbers rax and r11.
///
/// # Safety
/// Only by a jump from a dispatch stub.
#[unsafe(naked)]
unsafe extern "C" fn dispatch_thunk() {
    naked_asm!(
        // The compiler checks receivers for null, but where it can prove that something else does: the slow path raises.
        "test rdi, rdi", "jz 9f",
        "mov r11, [rdi]", "rol r11, {rotation}", "xor r11, r10",
        "movabs rax, {multiplier}", "imul r11, rax", "shr r11, {shift}",
        "lea rax, [rip + {table}]", "mov r11, [rax + r11 * 8]",
        "test r11, r11", "jz 9f",
        "mov rax, [rdi]",
        "cmp [r11 + {mt}], rax", "jne 2f",
        "cmp [r11 + {method}], r10", "jne 2f",
        "jmp [r11 + {target}]",
        // The neighbour.
        "2:",
        "mov r11, rax", "rol r11, {rotation}", "xor r11, r10",
        "movabs rax, {multiplier}", "imul r11, rax", "shr r11, {shift}", "xor r11, 1",
        "lea rax, [rip + {table}]", "mov r11, [rax + r11 * 8]",
        "test r11, r11", "jz 9f",
        "mov rax, [rdi]",
        "cmp [r11 + {mt}], rax", "jne 9f",
        "cmp [r11 + {method}], r10", "jne 9f",
        "jmp [r11 + {target}]",
        "9:",
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
        rotation = const ROTATION,
        multiplier = const MULTIPLIER,
        shift = const 64 - BITS,
        table = sym TABLE,
        mt = const offset_of!(Resolved, mt),
        method = const offset_of!(Resolved, method),
        target = const offset_of!(Resolved, target),
        tpc = const offsets::TRANSITION_PC,
        tfp = const offsets::TRANSITION_FP,
        tsp = const offsets::TRANSITION_SP,
        worker = sym dispatch_worker)
}

/// What the table does not know: finds the code to jump to. The arguments are reported to the collector by the interface
/// method's signature, as the prestub does.
///
/// # Safety
/// Only from the thunk.
unsafe extern "C" fn dispatch_worker(
    method: *const MethodDesc,
    registers: *mut PrestubRegisters,
    stack_args: *mut u64,
    thread: *const Thread,
) -> usize {
    // SAFETY: the stub passes the address of its (leaked) MethodDesc, the thunk the current thread and its saved registers.
    let (md, thread, int_registers) = unsafe { (&*method, &*thread, (&raw mut (*registers).int).cast::<u64>()) };
    // SAFETY: the receiver is the first argument; nothing was collected yet.
    let receiver = unsafe { *int_registers } as ObjPtr;
    let mut frame = PrestubFrame {
        prev: thread.prestub_frames.get(),
        method,
        int_registers,
        stack_args,
    };
    thread.prestub_frames.set(&mut frame);
    let result = resolve(thread, receiver, md);
    thread.prestub_frames.set(frame.prev);
    match result {
        Ok(found) => {
            publish(found);
            found.target
        }
        Err(raise) => {
            crate::exceptions::set_pending(raise);
            crate::asm::raise_pending_stub as *const () as usize
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_in_its_own_slot_or_the_neighbour() {
        let entries: Vec<&'static Resolved> = (1..=3usize)
            .flat_map(|mt| (1..=2000usize).map(move |method| (mt << 8, method << 6)))
            .map(|(mt, method)| {
                &*Box::leak(Box::new(Resolved {
                    mt,
                    method,
                    target: mt + method,
                }))
            })
            .collect();
        for &entry in &entries {
            publish(entry);
            let own = slot(entry.mt, entry.method);
            let found = [own, own ^ 1].map(|i| TABLE[i].load(Ordering::Acquire).cast_const());
            assert!(found.contains(&std::ptr::from_ref(entry)));
        }
        for (i, cell) in TABLE.iter().enumerate() {
            // SAFETY: entries are leaked.
            if let Some(entry) = unsafe { cell.load(Ordering::Acquire).as_ref() } {
                assert_eq!(slot(entry.mt, entry.method) & !1, i & !1);
            }
        }
    }
}
