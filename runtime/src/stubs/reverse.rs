//! Native-to-managed entry of `[UnmanagedCallersOnly]` methods and of delegates passed to native code.
//!
//! The entry stub is `mov r10, target; jmp reverse_thunk`, where `target` is a [`ReverseTarget`]. The thunk attaches the thread if it is foreign, switches to
//! cooperative mode, links an [`EntryFrame`], calls the managed code with the native arguments (the same registers and stack
//! words: the code is either a method with a blittable signature or a stub that marshals) and undoes all that on the way
//! back. An exception that reaches it is unhandled.

use crate::error::VmResult;
use crate::thread::{Boundary, EntryFrame, Thread};
use corten_gc_hooks::heap::Heap;
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::safepoint::{ThreadRegistry, is_cooperative};
use corten_jit::abi::AbiSignature;
use corten_loader::{MethodDesc, MethodTable, TypeHandle};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::arch::naked_asm;

/// What the thunk keeps on its stack frame; filled by [`reverse_enter`].
#[repr(C)]
#[derive(Debug)]
pub struct ReverseFrame {
    /// 0
    pub entry: EntryFrame,
    /// 56: managed code to call.
    pub target: usize,
    /// 64: the thread, for r15.
    pub thread: *const Thread,
    /// 72: stack argument words to copy.
    pub stack_words: usize,
    /// 80: mode to return to (1 = was cooperative).
    pub was_cooperative: usize,
    /// 88: whose thunk it is.
    pub callee: *const ReverseTarget,
}

const _: () = assert!(std::mem::offset_of!(ReverseFrame, target) == 56 && size_of::<ReverseFrame>() == 96);

/// What a thunk leads to. Lives as long as its thunk (for ever).
#[derive(Debug)]
pub struct ReverseTarget {
    /// Code to call, unless `method` is set.
    pub entry: usize,
    /// MethodDesc of an `[UnmanagedCallersOnly]` method, or 0: its current code is called.
    pub method: usize,
    /// Weak handle to the delegate, or null.
    pub delegate: *mut ObjPtr,
    /// Words of stack arguments.
    pub stack_words: usize,
    /// Raw TypeHandle of the delegate type or of the method's owner, for messages.
    pub owner: usize,
}

static STUBS: Mutex<Option<FxHashMap<usize, usize>>> = Mutex::new(None);

type DelegateStubs = Mutex<Option<FxHashMap<usize, (usize, usize)>>>;
static DELEGATE_STUBS: DelegateStubs = Mutex::new(None);

/// Code and words of stack arguments of the stub that calls delegates of class `mt` from native code.
///
/// # Errors
/// MarshalDirectiveException, compilation failures.
pub fn delegate_stub(mt: &'static MethodTable) -> VmResult<(usize, usize)> {
    if let Some(&s) = DELEGATE_STUBS.lock().get_or_insert_default().get(&mt.address()) {
        return Ok(s);
    }
    let made = super::marshal_reverse::build(super::delegate::invoke_method(mt)?)?;
    Ok(*DELEGATE_STUBS
        .lock()
        .get_or_insert_default()
        .entry(mt.address())
        .or_insert(made))
}

/// Makes a thunk for a target that is never freed.
pub fn make_thunk(target: *const ReverseTarget) -> usize {
    let mut code = vec![0x49, 0xBA]; // mov r10, imm64
    code.extend_from_slice(&(target as u64).to_le_bytes());
    code.extend_from_slice(&[0x48, 0xB8]); // mov rax, imm64
    code.extend_from_slice(&(reverse_thunk as *const () as u64).to_le_bytes());
    code.extend_from_slice(&[0xFF, 0xE0]); // jmp rax
    crate::engine::install_stub(&code)
}

/// The delegate whose thunk made this frame.
///
/// # Safety
/// `frame` is the frame of a running thunk of a delegate; cooperative mode.
pub unsafe fn delegate_of_frame(frame: *const ReverseFrame) -> ObjPtr {
    // SAFETY: the caller's promise; targets are never freed.
    let (delegate, owner) = unsafe {
        let callee = &*(*frame).callee;
        (
            Heap::get().handles().get(callee.delegate),
            TypeHandle::from_raw(callee.owner),
        )
    };
    if delegate.is_null() {
        let name = owner.map_or_else(String::new, |t| t.display_name());
        crate::engine::fatal(&format!(
            "A callback was made on a garbage collected delegate of type '{name}'."
        ));
    }
    delegate
}

/// Whether native code calls this method directly.
pub fn is_unmanaged_callers_only(md: &'static MethodDesc) -> bool {
    md.is_static()
        && md.module().metadata().has_attribute(
            md.token(),
            "System.Runtime.InteropServices",
            "UnmanagedCallersOnlyAttribute",
        )
}

/// Native-callable address of a static method with a blittable signature; the same every time.
///
/// # Errors
/// MarshalDirectiveException for signatures that need marshalling.
pub fn native_entry(md: &'static MethodDesc) -> VmResult<usize> {
    if let Some(&a) = STUBS.lock().get_or_insert_default().get(&md.address()) {
        return Ok(a);
    }
    let mut stack_words = 0;
    if let Some(host) = crate::engine::host() {
        let sig = host.method_signature(md).map_err(super::host_error)?;
        crate::interop::check_blittable(md, &sig)?;
        stack_words = AbiSignature::of(&sig, host).map_err(super::host_error)?.stack_bytes as usize / 8;
    }
    let target = Box::leak(Box::new(ReverseTarget {
        entry: 0,
        method: md.address(),
        delegate: std::ptr::null_mut(),
        stack_words,
        owner: md.owner().handle().raw(),
    }));
    let address = make_thunk(target);
    Ok(*STUBS
        .lock()
        .get_or_insert_default()
        .entry(md.address())
        .or_insert(address))
}

/// See the module documentation. r10 = ReverseTarget.
#[unsafe(naked)]
unsafe extern "C" fn reverse_thunk() {
    naked_asm!(
        "push rbp", "mov rbp, rsp",
        "push rbx", "push r12", "push r13", "push r14", "push r15", "sub rsp, 8",
        // rbp-48 so far; ReverseFrame at rbp-144 (96 bytes), saved registers at rbp-320 (176 bytes)
        "sub rsp, 272",
        "movups [rsp], xmm0", "movups [rsp + 16], xmm1", "movups [rsp + 32], xmm2", "movups [rsp + 48], xmm3",
        "movups [rsp + 64], xmm4", "movups [rsp + 80], xmm5", "movups [rsp + 96], xmm6", "movups [rsp + 112], xmm7",
        "mov [rsp + 128], rdi", "mov [rsp + 136], rsi", "mov [rsp + 144], rdx", "mov [rsp + 152], rcx", "mov [rsp + 160], r8", "mov [rsp + 168], r9",
        "mov rdi, r10", "lea rsi, [rbp - 144]",
        "call {enter}",
        "mov r15, [rbp - 144 + 64]", "mov r11, [rbp - 144 + 56]", "mov r10, [rbp - 144 + 72]",
        "movups xmm0, [rsp]", "movups xmm1, [rsp + 16]", "movups xmm2, [rsp + 32]", "movups xmm3, [rsp + 48]",
        "movups xmm4, [rsp + 64]", "movups xmm5, [rsp + 80]", "movups xmm6, [rsp + 96]", "movups xmm7, [rsp + 112]",
        "mov rdi, [rsp + 128]", "mov rsi, [rsp + 136]", "mov rdx, [rsp + 144]", "mov rcx, [rsp + 152]", "mov r8, [rsp + 160]", "mov r9, [rsp + 168]",
        "test r10b, 1", "jz 3f", "sub rsp, 8",
        "3:", "test r10, r10", "jz 4f", "push qword ptr [rbp + r10*8 + 8]", "dec r10", "jmp 3b",
        "4:", "call r11",
        "lea rsp, [rbp - 320]",
        "mov [rsp], rax", "mov [rsp + 8], rdx", "movups [rsp + 16], xmm0", "movups [rsp + 32], xmm1",
        "lea rdi, [rbp - 144]",
        "call {leave}",
        "mov rax, [rsp]", "mov rdx, [rsp + 8]", "movups xmm0, [rsp + 16]", "movups xmm1, [rsp + 32]",
        "lea rsp, [rbp - 40]",
        "pop r15", "pop r14", "pop r13", "pop r12", "pop rbx", "pop rbp", "ret",
        enter = sym reverse_enter,
        leave = sym reverse_leave)
}

/// Attaches and switches; fills the frame.
unsafe extern "C" fn reverse_enter(callee: &'static ReverseTarget, frame: *mut ReverseFrame) {
    if Thread::current_ptr().is_null()
        && let Err(e) = crate::icalls::threading::attach_foreign_thread()
    {
        crate::engine::fatal(&format!(
            "a native thread that calls managed code cannot be attached: {e}"
        ));
    }
    let thread = Thread::current();
    let was_cooperative = is_cooperative(&thread.header);
    if !was_cooperative {
        ThreadRegistry::get().leave_preemptive(&thread.header);
    }
    let target = match callee.method {
        0 => callee.entry,
        // SAFETY: the address of a leaked MethodDesc.
        md => unsafe { MethodDesc::from_ptr(md) }.entry(),
    };
    // SAFETY: the thunk's frame has room for the structure; it is live until `reverse_leave`.
    unsafe {
        frame.write(ReverseFrame {
            entry: EntryFrame {
                prev: thread.header.entry_frame.get().cast(),
                saved_pc: thread.header.transition_pc.get(),
                saved_fp: thread.header.transition_fp.get(),
                saved_sp: thread.transition_sp.get(),
                resume_sp: 0,
                resume_pc: 0,
                boundary: Boundary::TopLevel,
            },
            target,
            thread,
            stack_words: callee.stack_words,
            was_cooperative: usize::from(was_cooperative),
            callee,
        });
    }
    thread.header.entry_frame.set(frame.cast());
}

/// Undoes [`reverse_enter`].
unsafe extern "C" fn reverse_leave(frame: *mut ReverseFrame) {
    // SAFETY: the frame of the thunk that calls this.
    let (f, thread) = unsafe { (&*frame, &*(*frame).thread) };
    thread.header.entry_frame.set(f.entry.prev.cast());
    thread.header.transition_pc.set(f.entry.saved_pc);
    thread.header.transition_fp.set(f.entry.saved_fp);
    thread.transition_sp.set(f.entry.saved_sp);
    if f.was_cooperative == 0 {
        ThreadRegistry::get().enter_preemptive(&thread.header);
    }
}
