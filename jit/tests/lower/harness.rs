//! A tiny engine: types, helpers, an entry thunk and a two-pass unwinder, enough to run compiled IR.

use corten_jit::builder::FuncBuilder;
use corten_jit::code_map::{ClauseHandler, CodeInfo};
use corten_jit::compile::Jit;
use corten_jit::frames::{CalleeSaved, FrameCursor};
use corten_jit::host_api::*;
use corten_jit::ids::{FieldId, MethodId, TypeId};
use corten_jit::ir::{Func, Helper};
use corten_jit::isa::Tier;
use corten_metadata::{MethodBody, Token};
use std::arch::naked_asm;
use std::cell::{Cell, RefCell};
use std::sync::{Arc, LazyLock};

/// Numbers that a seed determines.
pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn of<'t>(&mut self, all: &[&'t str]) -> &'t str {
        all[self.below(all.len())]
    }
}

pub const VOID: TypeId = TypeId(1);
pub const I1: TypeId = TypeId(2);
pub const U1: TypeId = TypeId(3);
pub const I2: TypeId = TypeId(4);
pub const U2: TypeId = TypeId(5);
pub const I4: TypeId = TypeId(6);
pub const I8: TypeId = TypeId(7);
pub const R4: TypeId = TypeId(8);
pub const R8: TypeId = TypeId(9);
pub const REF: TypeId = TypeId(10);
pub const BYREF: TypeId = TypeId(11);
/// First struct type.
pub const STRUCTS: u64 = 100;

pub struct Host {
    pub structs: Vec<Arc<TypeInfo>>,
    /// `Helper::IsInst`.
    pub is_inst: u64,
    /// Where calls of interface methods go.
    pub dispatch_stub: u64,
    /// How Tier 1 records references.
    pub barrier: Option<InlineBarrier>,
}

fn describe(id: TypeId, kind: TypeKind, size: u32, fields: &[(u32, TypeKind)]) -> Arc<TypeInfo> {
    Arc::new(TypeInfo {
        id,
        kind,
        size,
        align: 8,
        is_value_type: true,
        fields: fields
            .iter()
            .map(|&(offset, kind)| FlatField { offset, kind })
            .collect(),
        has_gc_pointers: fields.iter().any(|f| matches!(f.1, TypeKind::Ref | TypeKind::ByRef)),
        vector_size: None,
        vectors: Arc::from([]),
        nullable_of: None,
        is_delegate: false,
        is_interface: false,
        is_exact: true,
        name: Arc::from("T"),
        instantiation: Arc::from([]),
        method_table: 0,
    })
}

impl Host {
    pub fn new() -> Self {
        Host {
            structs: vec![],
            is_inst: throw_other as *const () as u64,
            dispatch_stub: throw_other as *const () as u64,
            barrier: None,
        }
    }
    pub fn add_struct(&mut self, size: u32, fields: &[(u32, TypeKind)]) -> TypeId {
        let id = TypeId(STRUCTS + self.structs.len() as u64);
        self.structs.push(describe(id, TypeKind::Struct, size, fields));
        id
    }
}

fn unused<T>() -> HostResult<T> {
    Err(HostError::InvalidProgram("not in this test".into()))
}

impl CompilerHost for Host {
    fn method_info(&self, _: MethodId) -> HostResult<Arc<MethodInfo>> {
        unused()
    }
    fn method_body(&self, _: MethodId) -> HostResult<MethodBody<'_>> {
        unused()
    }
    fn local_types(&self, _: MethodId) -> HostResult<Vec<(TypeId, bool)>> {
        unused()
    }
    fn method_display(&self, _: MethodId) -> String {
        String::new()
    }
    fn type_info(&self, ty: TypeId) -> HostResult<Arc<TypeInfo>> {
        if ty.0 >= STRUCTS {
            return Ok(self.structs[(ty.0 - STRUCTS) as usize].clone());
        }
        let (kind, size) = match ty {
            VOID => (TypeKind::Void, 0),
            I1 => (TypeKind::I1, 1),
            U1 => (TypeKind::U1, 1),
            I2 => (TypeKind::I2, 2),
            U2 => (TypeKind::U2, 2),
            I4 => (TypeKind::I4, 4),
            I8 => (TypeKind::I8, 8),
            R4 => (TypeKind::R4, 4),
            R8 => (TypeKind::R8, 8),
            REF => (TypeKind::Ref, 8),
            BYREF => (TypeKind::ByRef, 8),
            _ => return unused(),
        };
        Ok(describe(ty, kind, size, &[]))
    }
    fn well_known(&self, _: WellKnownType) -> TypeId {
        REF
    }
    fn byref_of(&self, _: TypeId) -> HostResult<TypeId> {
        Ok(BYREF)
    }
    fn element_type(&self, _: TypeId) -> HostResult<TypeId> {
        unused()
    }
    fn szarray_of(&self, _: TypeId) -> HostResult<TypeId> {
        unused()
    }
    fn dispatch_stub(&self, _: MethodId) -> HostResult<u64> {
        Ok(self.dispatch_stub)
    }
    fn compare_types_for_cast(&self, _: TypeId, _: TypeId) -> Option<bool> {
        None
    }
    fn class_init(&self, _: TypeId, _: MethodId) -> HostResult<ClassInit> {
        unused()
    }
    fn resolve_type(&self, _: MethodId, _: Token) -> HostResult<TypeId> {
        unused()
    }
    fn resolve_method(&self, _: MethodId, _: Token) -> HostResult<Arc<MethodInfo>> {
        unused()
    }
    fn resolve_field(&self, _: MethodId, _: Token) -> HostResult<Arc<FieldInfo>> {
        unused()
    }
    fn resolve_signature(&self, _: MethodId, _: Token) -> HostResult<Signature> {
        unused()
    }
    fn resolve_handle(&self, _: MethodId, _: Token) -> HostResult<TokenHandle> {
        unused()
    }
    fn resolve_constrained(&self, _: TypeId, _: MethodId) -> HostResult<Constrained> {
        unused()
    }
    fn field_by_name(&self, _: TypeId, _: &str) -> Option<Arc<FieldInfo>> {
        let _: FieldId;
        None
    }
    fn string_literal(&self, _: MethodId, _: Token) -> HostResult<u64> {
        unused()
    }
    fn runtime_type_object(&self, _: TypeId) -> HostResult<u64> {
        unused()
    }
    fn runtime_handle_object(&self, _: TokenHandle) -> HostResult<u64> {
        unused()
    }
    fn stable_entry(&self, _: MethodId) -> HostResult<u64> {
        unused()
    }
    fn helper_address(&self, h: Helper) -> u64 {
        match h {
            Helper::IsInst => self.is_inst,
            _ => helper(h),
        }
    }
    fn inline_barrier(&self) -> Option<InlineBarrier> {
        self.barrier
    }
    fn cpu(&self) -> CpuFeatures {
        CPU
    }
}

/// Address of a helper of this engine.
pub fn helper(helper: Helper) -> u64 {
    let p: *const () = match helper {
        Helper::MemMove => libc::memmove as *const (),
        Helper::MemSet => libc::memset as *const (),
        Helper::FmodF64 => fmod64 as *const (),
        Helper::FmodF32 => fmod32 as *const (),
        Helper::WriteBarrier | Helper::CheckedWriteBarrier => barrier as *const (),
        Helper::CopyStructBarrier => copy_barrier as *const (),
        Helper::Throw => throw_stub as *const (),
        Helper::Resume => resume_stub as *const (),
        Helper::ThrowNullReference => throw_null as *const (),
        Helper::ThrowIndexOutOfRange => throw_index as *const (),
        Helper::ThrowDivideByZero => throw_divide as *const (),
        Helper::ThrowOverflow => throw_overflow as *const (),
        Helper::ThrowArithmetic => throw_arithmetic as *const (),
        Helper::Poll => poll_stub as *const (),
        _ => throw_other as *const (),
    };
    p as u64
}

pub const CPU: CpuFeatures = CpuFeatures {
    x64_v2: true,
    lzcnt: true,
    movbe: false,
    bmi1: true,
    bmi2: false,
    fma: false,
    avx: false,
    avx2: false,
};
pub static JIT: LazyLock<Jit> = LazyLock::new(|| {
    let cpu = CpuFeatures {
        avx: std::arch::is_x86_feature_detected!("avx"),
        avx2: std::arch::is_x86_feature_detected!("avx2"),
        ..CPU
    };
    Jit::with_code_bytes(cpu, 512 << 20).unwrap()
});

extern "C" fn fmod64(a: f64, b: f64) -> f64 {
    a % b
}
extern "C" fn fmod32(a: f32, b: f32) -> f32 {
    a % b
}
thread_local! {
    /// Number of the type whose clauses catch everything, besides [`REF`].
    pub static CATCH_ALL: Cell<u64> = const { Cell::new(0) };
    pub static BARRIERS: Cell<u32> = const { Cell::new(0) };
    pub static POLLS: RefCell<Vec<FrameCursor>> = const { RefCell::new(Vec::new()) };
    /// What a poll does with each reference slot.
    pub static ON_POLL: Cell<Option<fn(&mut usize)>> = const { Cell::new(None) };
    static ENTRY_FP: Cell<usize> = const { Cell::new(0) };
    static TARGET: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
}
extern "C" fn barrier(dst: *mut usize, v: usize) {
    BARRIERS.set(BARRIERS.get() + 1);
    unsafe { *dst = v };
}
extern "C" fn copy_barrier(dst: *mut u8, src: *const u8, ty: u64) {
    BARRIERS.set(BARRIERS.get() + 1);
    // Tests only use 24-byte structs with references here.
    let _ = ty;
    unsafe { std::ptr::copy(src, dst, 24) };
}
/// Register image that the stubs push, low address first.
#[repr(C)]
pub struct Image {
    pad: usize,
    r15: usize,
    r14: usize,
    r13: usize,
    r12: usize,
    rbx: usize,
    rbp: usize,
    ret: usize,
}

macro_rules! stub {
    ($name:ident, $target:path, $($extra:literal),*) => {
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!(
                "push rbp", "mov rbp, rsp", "push rbx", "push r12", "push r13", "push r14", "push r15", "push 0",
                $($extra,)*
                "mov rdx, rsp", "call {f}", "add rsp, 8", "pop r15", "pop r14", "pop r13", "pop r12", "pop rbx", "pop rbp",
                "ret",
                f = sym $target)
        }
    };
}
stub!(throw_stub, raise, "mov rsi, 0");
stub!(resume_stub, resume, "nop");

/// Preserves every register, as loop polls want.
#[unsafe(naked)]
pub unsafe extern "C" fn poll_stub() {
    naked_asm!(
        "push rbp", "mov rbp, rsp", "push rbx", "push r12", "push r13", "push r14", "push r15", "push 0",
        "push rax", "push rcx", "push rdx", "push rsi", "push rdi", "push r8", "push r9", "push r10", "push r11",
        "sub rsp, 264",
        "movups [rsp], xmm0", "movups [rsp + 16], xmm1", "movups [rsp + 32], xmm2", "movups [rsp + 48], xmm3",
        "movups [rsp + 64], xmm4", "movups [rsp + 80], xmm5", "movups [rsp + 96], xmm6", "movups [rsp + 112], xmm7",
        "movups [rsp + 128], xmm8", "movups [rsp + 144], xmm9", "movups [rsp + 160], xmm10", "movups [rsp + 176], xmm11",
        "movups [rsp + 192], xmm12", "movups [rsp + 208], xmm13", "movups [rsp + 224], xmm14", "movups [rsp + 240], xmm15",
        "lea rdx, [rbp - 48]", "call {f}",
        "movups xmm0, [rsp]", "movups xmm1, [rsp + 16]", "movups xmm2, [rsp + 32]", "movups xmm3, [rsp + 48]",
        "movups xmm4, [rsp + 64]", "movups xmm5, [rsp + 80]", "movups xmm6, [rsp + 96]", "movups xmm7, [rsp + 112]",
        "movups xmm8, [rsp + 128]", "movups xmm9, [rsp + 144]", "movups xmm10, [rsp + 160]", "movups xmm11, [rsp + 176]",
        "movups xmm12, [rsp + 192]", "movups xmm13, [rsp + 208]", "movups xmm14, [rsp + 224]", "movups xmm15, [rsp + 240]",
        "add rsp, 264",
        "pop r11", "pop r10", "pop r9", "pop r8", "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rax",
        "lea rsp, [rbp]", "pop rbp", "ret",
        f = sym poll)
}

stub!(throw_null, raise, "mov edi, 1001");
stub!(throw_index, raise, "mov edi, 1002");
stub!(throw_divide, raise, "mov edi, 1003");
stub!(throw_overflow, raise, "mov edi, 1004");
stub!(throw_arithmetic, raise, "mov edi, 1005");
stub!(throw_other, raise, "mov edi, 1006");

/// enter(function, args[4], &entry frame, thread): calls managed code, returns rax.
#[unsafe(naked)]
unsafe extern "C" fn enter(_f: usize, _args: *const usize, _fp: *mut usize, _thread: *const u8) -> usize {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push r15",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push 0",
        "mov [rdx], rbp",
        "mov r15, rcx",
        "mov rax, rdi",
        "mov r10, rsi",
        "mov rdi, [r10]",
        "mov rsi, [r10+8]",
        "mov rdx, [r10+16]",
        "mov rcx, [r10+24]",
        "call rax",
        "add rsp, 8",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop r15",
        "pop rbp",
        "ret"
    )
}

#[unsafe(naked)]
unsafe extern "C" fn restore(
    _regs: *const CalleeSaved,
    _sp: usize,
    _pc: usize,
    _fp: usize,
    _exc: usize,
    _rec: usize,
) -> ! {
    naked_asm!(
        "mov rbx, [rdi]",
        "mov r12, [rdi+8]",
        "mov r13, [rdi+16]",
        "mov r14, [rdi+24]",
        "mov r15, [rdi+32]",
        "mov rbp, rcx",
        "mov rsp, rsi",
        "mov r10, rdx",
        "mov rax, r8",
        "mov rdx, r9",
        "jmp r10"
    )
}

/// Thread block: the poll flag at offset 16.
pub static mut THREAD: [u32; 16] = [0; 16];

pub fn run(code: &CodeInfo, args: [usize; 4]) -> Result<usize, usize> {
    let mut fp = 0usize;
    let saved = ENTRY_FP.get();
    UNHANDLED.set(0);
    // The entry frame is known before managed code runs only inside `enter`: publish a cell.
    ENTRY_CELL.set(&raw mut fp);
    let r = unsafe { enter(code.start, args.as_ptr(), &raw mut fp, (&raw const THREAD).cast()) };
    ENTRY_FP.set(saved);
    match UNHANDLED.get() {
        0 => Ok(r),
        e => Err(e),
    }
}
thread_local! {
    static ENTRY_CELL: Cell<*mut usize> = const { Cell::new(std::ptr::null_mut()) };
    static UNHANDLED: Cell<usize> = const { Cell::new(0) };
}

fn cursor(image: &Image) -> FrameCursor {
    FrameCursor {
        pc: image.ret,
        fp: image.rbp,
        registers: CalleeSaved {
            rbx: image.rbx,
            r12: image.r12,
            r13: image.r13,
            r14: image.r14,
            r15: image.r15,
        },
    }
}

extern "C" fn raise(exception: usize, _unused: usize, image: *const Image) {
    let first = cursor(unsafe { &*image });
    let mut c = first;
    let entry = unsafe { *ENTRY_CELL.get() };
    let mut target = (0, 0);
    'search: while c.fp != entry {
        let info = c.info(JIT.map()).expect("managed frame");
        if let Some((_, handlers)) = c.handlers(info) {
            for h in handlers {
                let takes = match info.clauses[h.clause as usize].handler {
                    ClauseHandler::Catch(ty) => ty == REF || ty.0 == CATCH_ALL.get() || ty.0 == exception as u64,
                    ClauseHandler::Filter(code) => {
                        let f: extern "C" fn(usize, usize) -> i32 = unsafe { std::mem::transmute(code) };
                        f(exception, info.locals_base(c.fp)) != 0
                    }
                    _ => false,
                };
                if takes {
                    target = (c.fp, h.clause);
                    break 'search;
                }
            }
        }
        unsafe { c.step(info) };
    }
    TARGET.set(target);
    second_pass(exception, first)
}

extern "C" fn resume(exception: usize, record: usize, image: *const Image) {
    assert_eq!(record, 7777);
    second_pass(exception, cursor(unsafe { &*image }))
}

fn second_pass(exception: usize, mut c: FrameCursor) {
    let entry = unsafe { *ENTRY_CELL.get() };
    while c.fp != entry {
        let info = c.info(JIT.map()).expect("managed frame");
        if let Some((_, handlers)) = c.handlers(info) {
            for h in handlers {
                let is_cleanup = matches!(
                    info.clauses[h.clause as usize].handler,
                    ClauseHandler::Finally | ClauseHandler::Fault
                );
                if is_cleanup || TARGET.get() == (c.fp, h.clause) {
                    unsafe {
                        restore(
                            &c.registers,
                            c.sp(info),
                            info.start + h.pad as usize,
                            c.fp,
                            exception,
                            7777,
                        )
                    }
                }
            }
        }
        unsafe { c.step(info) };
    }
    // Nobody: return from `enter` with a mark. rsp of the entry frame = its fp - 48 (six pushes).
    UNHANDLED.set(exception);
    unsafe { restore(&c.registers, entry - 48, c.pc, entry, 0, 0) }
}

extern "C" fn poll(_a: usize, _b: usize, image: *const Image) {
    let mut c = cursor(unsafe { &*image });
    let entry = unsafe { *ENTRY_CELL.get() };
    while c.fp != entry {
        let info = c.info(JIT.map()).expect("managed frame");
        POLLS.with_borrow_mut(|p| p.push(c));
        for slot in &info.gc_slots {
            let at = c.fp.wrapping_add_signed(slot.fp_offset as isize) as *mut usize;
            if let Some(f) = ON_POLL.get() {
                f(unsafe { &mut *at });
            }
        }
        unsafe { c.step(info) };
    }
}

pub fn sig(ret: TypeId, params: &[TypeId]) -> Signature {
    Signature {
        has_this: false,
        ret,
        params: params.into(),
        convention: Convention::Managed,
    }
}

pub fn build(host: &Host, s: Signature, f: impl FnOnce(&mut FuncBuilder)) -> Func {
    let mut b = FuncBuilder::new(host, "test".into(), None, s, None).unwrap();
    f(&mut b);
    b.finish()
}

pub fn compile(host: &Host, func: &Func) -> &'static CodeInfo {
    let tier = if std::env::var_os("TIER1").is_some() {
        Tier::Tier1
    } else {
        Tier::Tier0
    };
    let (code, clif) = match JIT.compile_with_clif(func, host, tier) {
        Ok(c) => c,
        Err(e) => panic!("{e}"),
    };
    let info = JIT.install(code).unwrap();
    if std::env::var_os("DIS").is_some() {
        eprintln!("{clif}\n{}", corten_jit::disasm::disassemble(&func.name, info));
    }
    info
}

/// Compiles a function with the optimiser's passes, but those that need method bodies.
pub fn compile_optimised(host: &Host, func: &Func) -> (Func, &'static CodeInfo) {
    let mut func = func.clone();
    corten_jit::opt::optimise(&mut func, host, |pass| pass != "inline");
    corten_jit::ir_check::check(&func).unwrap();
    let code = JIT.compile(&func, host, Tier::Tier1).unwrap();
    (func, JIT.install(code).unwrap())
}

pub fn code(host: &Host, s: Signature, f: impl FnOnce(&mut FuncBuilder)) -> &'static CodeInfo {
    compile(host, &build(host, s, f))
}
