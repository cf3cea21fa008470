//! Allocation by the bump pointer of the thread. Stress modes keep the limit at the cursor, so that every allocation comes to
//! the ordinary helper; objects above [`LARGE_THRESHOLD`] and types with finalizers go there, too. The memory between cursor
//! and limit is zero.

use super::{Front, slow_helper};
use crate::thread::offsets;
use corten_gc_hooks::object::mt_flags::HAS_FINALIZER;
use corten_gc_hooks::space::LARGE_THRESHOLD;
use corten_gc_hooks::thread::{THREAD_ALLOC_CURSOR, THREAD_ALLOC_LIMIT};
use std::arch::naked_asm;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `Helper::NewObject`: (MethodTable) -> object.
///
/// # Safety
/// Only by a call from generated code; rdi is the MethodTable of a class that is no array and no string.
#[unsafe(naked)]
pub unsafe extern "C" fn new_object() {
    naked_asm!(
        "mov eax, [rdi + 4]",
        "test dword ptr [rdi], {finalizer}",
        "jnz 2f",
        "cmp eax, {large}",
        "ja 2f",
        "mov rcx, [r15 + {cursor}]",
        "add rax, rcx",
        "cmp rax, [r15 + {limit}]",
        "ja 2f",
        "mov [r15 + {cursor}], rax",
        "mov [rcx], rdi",
        "mov rax, rcx",
        "ret",
        "2:", slow_helper!(),
        finalizer = const HAS_FINALIZER,
        large = const LARGE_THRESHOLD,
        cursor = const THREAD_ALLOC_CURSOR,
        limit = const THREAD_ALLOC_LIMIT,
        tpc = const offsets::TRANSITION_PC,
        tfp = const offsets::TRANSITION_FP,
        tsp = const offsets::TRANSITION_SP,
        slow = sym super::super::objects::new_object)
}

/// `Helper::NewArray`: (MethodTable of a vector, length as i64) -> array. Lengths that are negative or above the large object
/// threshold (an element has a byte at least) are the ordinary helper's.
///
/// # Safety
/// Only by a call from generated code; rdi is the MethodTable of a vector type.
#[unsafe(naked)]
pub unsafe extern "C" fn new_array() {
    naked_asm!(
        "cmp rsi, {large}",
        "ja 2f",
        "movzx eax, word ptr [rdi]",
        "imul rax, rsi",
        "mov ecx, [rdi + 4]",
        "lea rax, [rax + rcx + 7]",
        "and rax, -8",
        "cmp rax, {large}",
        "ja 2f",
        "mov rcx, [r15 + {cursor}]",
        "add rax, rcx",
        "cmp rax, [r15 + {limit}]",
        "ja 2f",
        "mov [r15 + {cursor}], rax",
        "mov [rcx + 8], esi",
        "mov [rcx], rdi",
        "mov rax, rcx",
        "ret",
        "2:", slow_helper!(),
        large = const LARGE_THRESHOLD,
        cursor = const THREAD_ALLOC_CURSOR,
        limit = const THREAD_ALLOC_LIMIT,
        tpc = const offsets::TRANSITION_PC,
        tfp = const offsets::TRANSITION_FP,
        tsp = const offsets::TRANSITION_SP,
        slow = sym super::super::objects::new_array)
}

static STRING_TABLE: AtomicUsize = AtomicUsize::new(0);
static STRING_SLOW: AtomicUsize = AtomicUsize::new(0);

/// Bytes of an empty string: header word, MethodTable, length, terminator.
const STRING_BASE: usize = 22;
/// Longest string that is allocated here, in UTF-16 units.
const STRING_MAX: usize = (LARGE_THRESHOLD - STRING_BASE - 7) / 2;

/// `String.FastAllocateString(int)`. The empty string is one object; it and long strings are the ordinary call's.
#[unsafe(naked)]
unsafe extern "C" fn fast_allocate_string() {
    naked_asm!(
        "lea eax, [rdi - 1]",
        "cmp eax, {longest}",
        "jae 2f",
        "mov ecx, edi",
        "lea rax, [rcx + rcx + {base} + 7]",
        "and rax, -8",
        "mov rcx, [r15 + {cursor}]",
        "add rax, rcx",
        "cmp rax, [r15 + {limit}]",
        "ja 2f",
        "mov rdx, [rip + {table}]",
        "mov [r15 + {cursor}], rax",
        "mov [rcx + 8], edi",
        "mov [rcx], rdx",
        "mov rax, rcx",
        "ret",
        "2: jmp [rip + {slow}]",
        longest = const STRING_MAX,
        base = const STRING_BASE,
        cursor = const THREAD_ALLOC_CURSOR,
        limit = const THREAD_ALLOC_LIMIT,
        table = sym STRING_TABLE,
        slow = sym STRING_SLOW)
}

pub(super) static FRONTS: &[Front] = &[Front {
    class: "System.String",
    method: "FastAllocateString",
    code: fast_allocate_string,
    slow: &STRING_SLOW,
}];

/// Sets what the fronts need before they can be called.
pub(super) fn prepare() {
    let table = corten_loader::WellKnown::get().string.as_gc_ptr();
    STRING_TABLE.store(table as usize, Ordering::Release);
}
