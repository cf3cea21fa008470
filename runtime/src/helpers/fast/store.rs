//! `stelem.ref`: the element is in range and the value fits because it is null, of exactly the element type, of a class derived
//! from it, or anything at all (`object[]`). Interfaces and variance are the ordinary helper's.

use super::slow_helper;
use crate::thread::offsets;
use corten_gc_hooks::barrier::corten_write_barrier;
use corten_gc_hooks::object::MethodTableHeader;
use std::arch::naked_asm;
use std::mem::offset_of;

/// `Helper::StoreElemRef`: (array, index as i64, value).
///
/// # Safety
/// Only by a call from generated code; rdi is an array of references or null, rdx an object or null.
#[unsafe(naked)]
pub unsafe extern "C" fn store_elem_ref() {
    naked_asm!(
        "test rdi, rdi",
        "jz 9f",
        "mov eax, [rdi + 8]",
        "cmp rsi, rax",
        "jae 9f",
        "test rdx, rdx",
        "jz 3f",
        "mov rax, [rdi]",
        "mov rcx, [rdx]",
        "mov rax, [rax + {element}]",
        "cmp rax, rcx",
        "jne 4f",
        "2:",
        "lea rdi, [rdi + rsi*8 + 16]",
        "mov rsi, rdx",
        "jmp {barrier}",
        "3:",
        "mov [rdi + rsi*8 + 16], rdx",
        "ret",
        // The classes that the value's class derives from; the last one is `object`.
        "4:",
        "mov rcx, [rcx + {parent}]",
        "cmp rax, rcx",
        "je 2b",
        "test rcx, rcx",
        "jnz 4b",
        "9:", slow_helper!(),
        element = const offset_of!(MethodTableHeader, element_type_or_inst),
        parent = const offset_of!(MethodTableHeader, parent),
        barrier = sym corten_write_barrier,
        tpc = const offsets::TRANSITION_PC,
        tfp = const offsets::TRANSITION_FP,
        tsp = const offsets::TRANSITION_SP,
        slow = sym super::super::casting::store_elem_ref)
}
