//! IR function to machine code, and machine code into memory.

use crate::code_heap::{CodeHeap, CodeHeapError};
use crate::code_map::{
    CallSite, ClauseHandler, ClauseInfo, CodeInfo, CodeKind, CodeMap, GcSlot, HandlerPad, IlRange, InlinedCall,
    SavedRegister,
};
use crate::host_api::{CompilerHost, CpuFeatures};
use crate::ids::MethodId;
use crate::il_map::IlMap;
use crate::ir::{Clause, ClauseKind, Func, Helper, NO_IL, OSR_CALL};
use crate::isa::{IsaError, Targets, Tier};
use crate::lower::{self, LowerError, Promote};
use crate::perf_map::PerfMap;
use crate::{call_counting, disasm, gc_check, gdb};
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{self, ExternalName, LibCall};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::isa::unwind::{UnwindInfo, UnwindInst};
use cranelift_codegen::{CodegenResult, Context, FinalizedMachExceptionHandler, FinalizedRelocTarget};
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;
use std::cell::RefCell;

/// Address space for code.
const DEFAULT_CODE_BYTES: usize = 512 << 20;
/// Larger functions are refused (they would take seconds and gigabytes).
const MAX_INSTRUCTIONS: usize = 400_000;

/// The most IR instructions and bytes of frame that a method may have; larger ones are refused.
pub const LIMITS: (usize, u32) = (MAX_INSTRUCTIONS, lower::MAX_AREA);

/// Why a method has no code.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The IR could not be lowered.
    #[error("{name}: {error}")]
    Lower {
        /// The method.
        name: String,
        /// The reason.
        error: LowerError,
    },
    /// References that the collector would not find: an error of this crate.
    #[error("{name}: GC info: {error}")]
    GcInfo {
        /// The method.
        name: String,
        /// What is wrong.
        error: String,
    },
    /// Cranelift refused or failed.
    #[error("{name}: code generator: {error}")]
    Codegen {
        /// The method.
        name: String,
        /// Cranelift's message.
        error: String,
    },
    /// Code memory.
    #[error("{name}: {error}")]
    Memory {
        /// The method.
        name: String,
        /// The reason.
        error: CodeHeapError,
    },
    /// A displacement does not fit (cannot happen while the region is smaller than 2 GB).
    #[error("{name}: relocation out of range")]
    Range {
        /// The method.
        name: String,
    },
}

/// Why the compiler could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum JitError {
    /// Cranelift.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// Code memory.
    #[error(transparent)]
    Heap(#[from] CodeHeapError),
    /// Memory of the code map.
    #[error("code map: {0}")]
    Map(std::io::Error),
}

#[derive(Clone, Copy, Debug)]
enum RelocKind {
    Abs8,
    Rel32,
}

#[derive(Clone, Copy, Debug)]
enum RelocTarget {
    Address(u64),
    Own(u32),
}

#[derive(Clone, Copy, Debug)]
struct Relocation {
    offset: u32,
    kind: RelocKind,
    target: RelocTarget,
    addend: i64,
}

/// Machine code that is not in its place yet.
#[derive(Debug)]
pub struct CompiledCode {
    name: String,
    method: Option<MethodId>,
    kind: CodeKind,
    bytes: Vec<u8>,
    /// Offset of the entry.
    entry: u32,
    relocs: Vec<Relocation>,
    frame_size: u32,
    saved: Vec<SavedRegister>,
    call_sites: Vec<CallSite>,
    handlers: Vec<HandlerPad>,
    gc_slots: Vec<GcSlot>,
    clauses: Vec<Clause>,
    locals_fp_offset: i32,
    il_map: Vec<IlRange>,
    sites: Vec<InlinedCall>,
    filters: Vec<CompiledCode>,
    /// Only for debuggers.
    unwind: Option<UnwindInfo>,
    tier: Tier,
}

impl CompiledCode {
    /// Size of the machine code without filters.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Is there no code? (Never.)
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// The compiler back end: code generators, code heap, code map. Shared by all threads.
pub struct Jit {
    targets: Targets,
    heap: CodeHeap,
    map: CodeMap,
    perf: Option<PerfMap>,
    gdb: bool,
    check_gc_info: bool,
}

struct Scratch {
    context: Context,
    registers: regalloc2::Ctx,
    control: ControlPlane,
}

thread_local! {
    static SCRATCH: RefCell<Option<Box<Scratch>>> = const { RefCell::new(None) };
}

impl Jit {
    /// Sets up for the given instruction sets.
    pub fn new(cpu: CpuFeatures) -> Result<Self, JitError> {
        Self::with_code_bytes(cpu, DEFAULT_CODE_BYTES)
    }

    /// The same with another size of the code region.
    pub fn with_code_bytes(cpu: CpuFeatures, bytes: usize) -> Result<Self, JitError> {
        let targets = Targets::new(cpu)?;
        let heap = CodeHeap::new(bytes)?;
        let map = CodeMap::new(&heap).map_err(JitError::Map)?;
        Ok(Jit {
            targets,
            heap,
            map,
            perf: PerfMap::from_environment(),
            gdb: gdb::enabled(),
            check_gc_info: gc_check::enabled(),
        })
    }

    /// The code region.
    pub fn heap(&self) -> &CodeHeap {
        &self.heap
    }

    /// Lookup by program counter.
    pub fn map(&self) -> &CodeMap {
        &self.map
    }

    /// Compiles a function and its filters.
    pub fn compile(&self, func: &Func, host: &dyn CompilerHost, tier: Tier) -> Result<CompiledCode, CompileError> {
        self.compile_one(func, host, tier, None)
    }

    /// Like [`compile`](Self::compile); also returns the CLIF, for tests and diagnostics.
    pub fn compile_with_clif(
        &self,
        func: &Func,
        host: &dyn CompilerHost,
        tier: Tier,
    ) -> Result<(CompiledCode, String), CompileError> {
        let mut text = String::new();
        let code = self.compile_one(func, host, tier, Some(&mut text))?;
        Ok((code, text))
    }

    fn compile_one(
        &self,
        func: &Func,
        host: &dyn CompilerHost,
        tier: Tier,
        clif: Option<&mut String>,
    ) -> Result<CompiledCode, CompileError> {
        let count: usize = func.blocks.values().map(|b| b.insts.len() + 1).sum();
        if count > MAX_INSTRUCTIONS {
            let error = LowerError::TooLarge(format!("{count} instructions"));
            return Err(CompileError::Lower {
                name: func.name.clone(),
                error,
            });
        }
        // The host may compile recursively (through class initialisers of its own): never hold the scratch across that.
        let mut scratch = SCRATCH.take().unwrap_or_else(|| {
            Box::new(Scratch {
                context: Context::new(),
                registers: regalloc2::Ctx::default(),
                control: ControlPlane::default(),
            })
        });
        let mut clif = clif;
        // Optimised handlers may use values that live across calls: then each call needs its own landing pads.
        let all = tier != Tier::Tier0;
        let mut result = self.compile_in(&mut scratch, func, host, tier, clif.as_deref_mut(), all);
        if let Ok(None) = result {
            // A shared landing pad was in unreachable code.
            scratch.context.clear();
            result = self.compile_in(&mut scratch, func, host, tier, clif, true);
        }
        scratch.context.clear();
        SCRATCH.set(Some(scratch));
        let Some(mut code) = result? else {
            return Err(CompileError::Codegen {
                name: func.name.clone(),
                error: "landing pad is missing".into(),
            });
        };
        for filter in &func.filters {
            code.filters.push(self.compile_one(filter, host, tier, None)?);
        }
        Ok(code)
    }

    fn compile_in(
        &self,
        scratch: &mut Scratch,
        func: &Func,
        host: &dyn CompilerHost,
        tier: Tier,
        clif: Option<&mut String>,
        all_try_calls: bool,
    ) -> Result<Option<CompiledCode>, CompileError> {
        let context = &mut scratch.context;
        let isa = self.targets.of(tier);
        let promote = match tier {
            Tier::Tier0 => Promote::Nothing,
            Tier::Tier1 => Promote::Everything,
        };
        let clif_func = &mut context.func;
        let lowered = lower::lower(func, host, clif_func, all_try_calls, promote, self.check_gc_info);
        let mut lowered = lowered.map_err(|error| CompileError::Lower {
            name: func.name.clone(),
            error,
        })?;
        let wrong_info = |error: String| CompileError::GcInfo {
            name: func.name.clone(),
            error,
        };
        if let Some(record) = &lowered.record {
            gc_check::ir::check(func, host, &lowered.gc_slots, record).map_err(wrong_info)?;
        }
        if let Some(text) = clif {
            *text = context.func.display().to_string();
        }
        let failed = |error: String| CompileError::Codegen {
            name: func.name.clone(),
            error,
        };
        let prepared = match tier {
            Tier::Tier0 => prepare_quickly(context, isa),
            Tier::Tier1 => {
                let record = lowered.record.as_deref_mut();
                optimise(context, isa, &mut scratch.control, &lowered.likely, record)
            }
        };
        if let (Ok(()), Some(record)) = (&prepared, &mut lowered.record) {
            let checked = gc_check::clif::check(&context.func, lowered.area, &lowered.gc_slots, record);
            checked.map_err(|e| wrong_info(gc_check::with_dump(e, &context.func)))?;
        }
        let compiled = prepared.and_then(|()| {
            let registers = &mut scratch.registers;
            isa.compile_function(&context.func, &context.domtree, registers, false, &mut scratch.control)
        });
        let compiled = match compiled {
            Ok(stencil) => stencil,
            Err(e) => return Err(failed(cranelift_codegen::print_errors::pretty_error(&context.func, e))),
        };
        let buffer = &compiled.buffer;
        let mut code = CompiledCode {
            name: func.name.clone(),
            method: func.method,
            kind: if func.parent_locals.is_some() {
                CodeKind::Filter
            } else {
                CodeKind::Method
            },
            bytes: compiled.code_buffer().to_vec(),
            entry: 0,
            relocs: Vec::with_capacity(buffer.relocs().len() + 1),
            frame_size: 0,
            saved: Vec::new(),
            call_sites: Vec::new(),
            handlers: Vec::new(),
            gc_slots: Vec::with_capacity(lowered.gc_slots.len()),
            clauses: func.clauses.values().cloned().collect(),
            locals_fp_offset: 0,
            il_map: Vec::new(),
            sites: func
                .sites
                .iter()
                .map(|s| InlinedCall {
                    parent: s.parent.as_u32(),
                    call_il: s.call_il,
                    method: s.method,
                })
                .collect(),
            filters: Vec::new(),
            unwind: None,
            tier,
        };
        for reloc in buffer.relocs() {
            let kind = match reloc.kind {
                Reloc::Abs8 => RelocKind::Abs8,
                Reloc::X86PCRel4 | Reloc::X86CallPCRel4 => RelocKind::Rel32,
                other => return Err(failed(format!("unexpected relocation {other:?}"))),
            };
            let target = match &reloc.target {
                FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                    let name = &context.func.params.user_named_funcs()[*name];
                    match lowered.externs.get(name.index as usize) {
                        Some(&address) => RelocTarget::Address(address),
                        None => return Err(failed(format!("unknown function {}", name.index))),
                    }
                }
                FinalizedRelocTarget::ExternalName(ExternalName::LibCall(call)) => match libcall_address(*call) {
                    Some(address) => RelocTarget::Address(address),
                    None => return Err(failed(format!("library call {call} is not available"))),
                },
                FinalizedRelocTarget::Func(offset) => RelocTarget::Own(*offset),
                other => return Err(failed(format!("unexpected relocation target {other:?}"))),
            };
            code.relocs.push(Relocation {
                offset: reloc.offset,
                kind,
                target,
                addend: reloc.addend,
            });
        }
        if let (Some(cell), Some(method)) = (func.call_counter, func.method) {
            let counting = call_counting::append(&mut code.bytes, method, cell);
            code.entry = counting.entry;
            code.relocs.push(Relocation {
                offset: counting.displacement,
                kind: RelocKind::Rel32,
                target: RelocTarget::Address(host.helper_address(Helper::CallCounted)),
                addend: -4,
            });
        }
        let Some(frame) = buffer.frame_layout() else {
            return Err(failed("no frame layout".into()));
        };
        code.frame_size = frame.frame_to_fp_offset;
        code.locals_fp_offset = frame.stackslots[lowered.area].offset as i32 - frame.frame_to_fp_offset as i32;
        let mut clobbers = 0i32;
        for (_, unwind) in &buffer.unwind_info {
            match unwind {
                UnwindInst::DefineNewFrame {
                    offset_downward_to_clobbers,
                    ..
                } => {
                    clobbers = *offset_downward_to_clobbers as i32;
                }
                UnwindInst::SaveReg { clobber_offset, reg } => code.saved.push(SavedRegister {
                    register: reg.hw_enc(),
                    fp_offset: *clobber_offset as i32 - clobbers,
                }),
                _ => {}
            }
        }
        code.gc_slots.extend(lowered.gc_slots.iter().map(|s| GcSlot {
            fp_offset: code.locals_fp_offset + s.offset as i32,
            kind: s.kind,
            pinned: s.pinned,
        }));
        // Ranges of code with the same position: (start, index in `positions`).
        let base = context.func.params.base_srcloc();
        let mut ranges: Vec<(u32, u32)> = Vec::with_capacity(buffer.get_srclocs_sorted().len() + 1);
        let mut end = 0;
        for range in buffer.get_srclocs_sorted() {
            if range.start > end {
                ranges.push((end, u32::MAX));
            }
            ranges.push((range.start, range.loc.expand(base).bits()));
            end = range.end;
        }
        ranges.push((end, u32::MAX));
        for &(start, position) in &ranges {
            let (il, site) = lowered
                .positions
                .get(position as usize)
                .map_or((NO_IL, 0), |p| (p.il, p.site.as_u32()));
            if code.il_map.last().map(|l| (l.il, l.site)) != Some((il, site)) {
                code.il_map.push(IlRange { start, il, site });
            }
        }
        // One landing pad of each clause serves all its calls, unless every call has its own.
        let mut pads: Vec<Option<u32>> = vec![None; func.clauses.len()];
        for site in buffer.call_sites() {
            for handler in site.exception_handlers {
                if let FinalizedMachExceptionHandler::Tag(tag, pad) = handler
                    && let Some(p) = pads.get_mut(tag.as_u32() as usize)
                {
                    p.get_or_insert(*pad);
                }
            }
        }
        let mut lists: Vec<Option<(u32, u32)>> = vec![None; func.protects.len()];
        for site in buffer.call_sites() {
            let at = site.ret_addr.saturating_sub(1);
            let i = ranges.partition_point(|&(start, _)| start <= at);
            let position = i.checked_sub(1).map_or(u32::MAX, |i| ranges[i].1);
            let (il, protect) = match lowered.positions.get(position as usize) {
                Some(p) => (p.il, Some(p.protect)),
                None => (NO_IL, None),
            };
            let first = code.handlers.len() as u32;
            let (first, count) = if all_try_calls || func.parent_locals.is_some() {
                for handler in site.exception_handlers {
                    if let FinalizedMachExceptionHandler::Tag(tag, pad) = handler {
                        code.handlers.push(HandlerPad {
                            clause: tag.as_u32(),
                            pad: *pad,
                        });
                    }
                }
                (first, code.handlers.len() as u32 - first)
            } else if let Some(protect) = protect {
                match lists[protect.index()] {
                    Some(list) => list,
                    None => {
                        for clause in &func.protects[protect] {
                            match pads[clause.index()] {
                                Some(pad) => code.handlers.push(HandlerPad {
                                    clause: clause.index() as u32,
                                    pad,
                                }),
                                None if lowered.padded[clause.index()] => return Ok(None),
                                // Nothing that the clause protects can raise.
                                None => {}
                            }
                        }
                        let list = (first, code.handlers.len() as u32 - first);
                        lists[protect.index()] = Some(list);
                        list
                    }
                }
            } else {
                (first, 0)
            };
            if count > 0 || il == OSR_CALL {
                code.call_sites.push(CallSite::new(site.ret_addr, il, first, count));
            }
        }
        code.call_sites.sort_by_key(|c| c.ret);
        if self.gdb {
            let compiled = compiled.apply_params(&context.func.params);
            if let Ok(Some(UnwindInfo::SystemV(info))) = compiled.create_unwind_info(isa) {
                code.unwind = Some(UnwindInfo::SystemV(info));
            }
        }
        Ok(Some(code))
    }

    /// Puts code (and its filters) into its final place and makes it known to the code map.
    pub fn install(&self, code: CompiledCode) -> Result<&'static CodeInfo, CompileError> {
        let mut filters = Vec::with_capacity(code.filters.len());
        for filter in code.filters {
            filters.push(self.install(filter)?.start);
        }
        let memory = |error| CompileError::Memory {
            name: code.name.clone(),
            error,
        };
        let len = code.bytes.len();
        let block = self.heap.allocate(len).map_err(memory)?;
        let start = block as usize;
        let mut bytes = code.bytes;
        for reloc in &code.relocs {
            let at = reloc.offset as usize;
            let target = match reloc.target {
                RelocTarget::Address(a) => a,
                RelocTarget::Own(offset) => start as u64 + u64::from(offset),
            };
            match reloc.kind {
                RelocKind::Abs8 => {
                    let value = target.wrapping_add_signed(reloc.addend);
                    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
                }
                RelocKind::Rel32 => {
                    let from = (start + at) as u64;
                    let mut distance = target.wrapping_add_signed(reloc.addend).wrapping_sub(from) as i64;
                    if i32::try_from(distance).is_err() {
                        let veneer = self.heap.veneer(target).map_err(memory)? as u64;
                        distance = veneer.wrapping_add_signed(reloc.addend).wrapping_sub(from) as i64;
                    }
                    let Ok(distance) = i32::try_from(distance) else {
                        return Err(CompileError::Range { name: code.name });
                    };
                    bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
                }
            }
        }
        // SAFETY: a fresh block of at least that size in the code region.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), block, len) };
        let clauses = code
            .clauses
            .iter()
            .map(|clause| ClauseInfo {
                handler: match &clause.kind {
                    ClauseKind::Catch(ty) => ClauseHandler::Catch(*ty),
                    ClauseKind::Filter(i) => ClauseHandler::Filter(filters.get(*i).copied().unwrap_or(0)),
                    ClauseKind::Finally => ClauseHandler::Finally,
                    ClauseKind::Fault => ClauseHandler::Fault,
                },
                try_range: clause.try_range,
                handler_range: clause.handler_range,
            })
            .collect();
        let (name, unwind, tier) = (code.name, code.unwind, code.tier);
        let info = CodeInfo {
            method: code.method,
            kind: code.kind,
            start,
            entry: start + code.entry as usize,
            len: len as u32,
            frame_size: code.frame_size,
            frameless: false,
            saved: code.saved.into(),
            call_sites: code.call_sites.into(),
            handlers: code.handlers.into(),
            gc_slots: code.gc_slots.into(),
            clauses,
            locals_fp_offset: code.locals_fp_offset,
            il_map: IlMap::new(&code.il_map),
            sites: code.sites.into(),
        };
        let info = self.publish(&name, info);
        disasm::print_if_asked(&name, info);
        if let Some(UnwindInfo::SystemV(unwind)) = &unwind {
            gdb::register(&name, info, unwind, self.targets.of(tier));
        }
        Ok(info)
    }

    /// Compiles and installs.
    pub fn compile_and_install(
        &self,
        func: &Func,
        host: &dyn CompilerHost,
        tier: Tier,
    ) -> Result<&'static CodeInfo, CompileError> {
        self.install(self.compile(func, host, tier)?)
    }

    /// Installs a hand-made stub: position-independent machine code. `frame_size` is the distance from rsp to rbp at its
    /// calls if it keeps an rbp frame, `None` if it is frameless (jumps or calls nothing).
    pub fn install_stub(
        &self,
        name: &str,
        bytes: &[u8],
        frame_size: Option<u32>,
    ) -> Result<&'static CodeInfo, CompileError> {
        let block = self.heap.allocate(bytes.len()).map_err(|error| CompileError::Memory {
            name: name.to_owned(),
            error,
        })?;
        // SAFETY: a fresh block of at least that size in the code region.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), block, bytes.len()) };
        let info = CodeInfo {
            method: None,
            kind: CodeKind::Stub,
            start: block as usize,
            entry: block as usize,
            len: bytes.len() as u32,
            frame_size: frame_size.unwrap_or(0),
            frameless: frame_size.is_none(),
            saved: Box::new([]),
            call_sites: Box::new([]),
            handlers: Box::new([]),
            gc_slots: Box::new([]),
            clauses: Box::new([]),
            locals_fp_offset: 0,
            il_map: IlMap::default(),
            sites: Box::new([]),
        };
        Ok(self.publish(name, info))
    }

    fn publish(&self, name: &str, info: CodeInfo) -> &'static CodeInfo {
        let info = self.map.insert(Box::new(info));
        if let Some(perf) = &self.perf {
            perf.add(name, info);
        }
        info
    }

    /// Does somebody outside of the process (perf, a debugger) keep addresses of code? Then no code should be freed: its address
    /// would become that of other code.
    pub fn addresses_are_known(&self) -> bool {
        self.perf.is_some() || self.gdb
    }

    /// Gives the memory of code, of its filters, and of their descriptions back.
    ///
    /// # Safety
    /// Nothing may execute the code any more: no stack, no entry slot, no vtable, no delegate refers to it. Nobody has kept the
    /// description or looks for it (by an address in the code) at this time.
    pub unsafe fn free(&self, info: &'static CodeInfo) {
        for clause in &info.clauses {
            if let ClauseHandler::Filter(address) = clause.handler
                && let Some(filter) = self.map.lookup(address)
            {
                // SAFETY: only frames of `info` run on top of its filters.
                unsafe { self.free(filter) };
            }
        }
        let (start, bytes) = (info.start as *mut u8, info.len as usize);
        // SAFETY: the caller's promise; `info` is not used any more.
        unsafe {
            drop(self.map.remove(info));
            self.heap.free(start, bytes);
        }
    }
}

/// [`Context::optimize`] without what finds nothing in Tier-0 code: it has no aliases and hardly any block parameters.
fn prepare_quickly(context: &mut Context, isa: &dyn TargetIsa) -> CodegenResult<()> {
    context.verify_if(isa)?;
    context.compute_cfg();
    context.compute_domtree();
    if context.func.layout.blocks().all(|b| context.domtree.is_reachable(b)) {
        return Ok(());
    }
    context.eliminate_unreachable_code(isa)
}

/// [`Context::optimize`], with what it leaves of block parameters and in loops.
fn optimise(
    context: &mut Context,
    isa: &dyn TargetIsa,
    control: &mut ControlPlane,
    likely: &FxHashMap<ir::Inst, usize>,
    record: Option<&mut gc_check::Record>,
) -> CodegenResult<()> {
    context.verify_if(isa)?;
    context.compute_cfg();
    context.compute_domtree();
    context.eliminate_unreachable_code(isa)?;
    context.remove_constant_phis(isa)?;
    crate::phis::run(&mut context.func);
    crate::order::run(context, likely);
    if let Some(record) = record {
        record.resolve_aliases(&context.func);
    }
    context.func.dfg.resolve_all_aliases();
    context.egraph_pass(isa, control)?;
    crate::licm::run(context);
    context.verify_if(isa)
}

fn libcall_address(call: LibCall) -> Option<u64> {
    unsafe extern "C" {
        fn fma(a: f64, b: f64, c: f64) -> f64;
        fn fmaf(a: f32, b: f32, c: f32) -> f32;
        fn floor(a: f64) -> f64;
        fn floorf(a: f32) -> f32;
        fn ceil(a: f64) -> f64;
        fn ceilf(a: f32) -> f32;
        fn trunc(a: f64) -> f64;
        fn truncf(a: f32) -> f32;
        fn rint(a: f64) -> f64;
        fn rintf(a: f32) -> f32;
    }
    let p: *const () = match call {
        LibCall::Memcpy => libc::memcpy as *const (),
        LibCall::Memmove => libc::memmove as *const (),
        LibCall::Memset => libc::memset as *const (),
        LibCall::Memcmp => libc::memcmp as *const (),
        LibCall::FmaF64 => fma as *const (),
        LibCall::FmaF32 => fmaf as *const (),
        LibCall::FloorF64 => floor as *const (),
        LibCall::FloorF32 => floorf as *const (),
        LibCall::CeilF64 => ceil as *const (),
        LibCall::CeilF32 => ceilf as *const (),
        LibCall::TruncF64 => trunc as *const (),
        LibCall::TruncF32 => truncf as *const (),
        LibCall::NearestF64 => rint as *const (),
        LibCall::NearestF32 => rintf as *const (),
        _ => return None,
    };
    Some(p as u64)
}
