//! Copying and clearing memory, interned strings, barriers, CPUID.

use crate::error::qcall_body;
use crate::qcall_table;
use corten_gc_hooks::object::ObjPtr;
use std::sync::OnceLock;
use std::sync::atomic::{Ordering, fence};

extern "C" fn memmove(destination: *mut u8, source: *const u8, length: usize) {
    // SAFETY: managed code passes valid ranges without references (it pins them).
    unsafe { std::ptr::copy(source, destination, length) };
}

extern "C" fn clear(memory: *mut u8, length: usize) {
    // SAFETY: managed code passes a valid range.
    unsafe { std::ptr::write_bytes(memory, 0, length) };
}

/// A barrier on every thread of the process.
extern "C" fn memory_barrier_process_wide() {
    const PRIVATE_EXPEDITED: libc::c_int = 8;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 16;
    const GLOBAL: libc::c_int = 1;
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    // SAFETY: the membarrier system call takes no pointers.
    let call = |command: libc::c_int| unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 };
    fence(Ordering::SeqCst);
    if !(*REGISTERED.get_or_init(|| call(REGISTER_PRIVATE_EXPEDITED)) && call(PRIVATE_EXPEDITED)) {
        call(GLOBAL);
    }
    fence(Ordering::SeqCst);
}

extern "C" fn intern(string: *mut ObjPtr) {
    qcall_body(|_| {
        // SAFETY: a managed local with a string.
        unsafe { *string = crate::strings::intern(*string) };
        Ok(())
    });
}

extern "C" fn is_interned(string: *mut ObjPtr) {
    qcall_body(|_| {
        // SAFETY: a managed local with a string.
        unsafe {
            *string = crate::strings::is_interned(&crate::strings::to_utf16(*string)).unwrap_or(std::ptr::null_mut());
        }
        Ok(())
    });
}

extern "C" fn cpuid(info: *mut [i32; 4], function: i32, sub_function: i32) {
    let r = std::arch::x86_64::__cpuid_count(function as u32, sub_function as u32);
    // SAFETY: managed code passes the address of four integers.
    unsafe { *info = [r.eax as i32, r.ebx as i32, r.ecx as i32, r.edx as i32] };
}

qcall_table! {
    /// Memory and strings.
    TABLE:
    "Buffer_MemMove" => memmove,
    "Buffer_Clear" => clear,
    "Interlocked_MemoryBarrierProcessWide" => memory_barrier_process_wide,
    "String_Intern" => intern,
    "String_IsInterned" => is_interned,
    "X86BaseCpuId" => cpuid,
}
