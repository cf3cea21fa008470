//! The process-wide engine: compiler, host interface, CPU features and the way from a MethodDesc to installed code.

use crate::error::{ExceptionKind, Raise, VmResult};
use crate::jit_host::{EngineHost, method_id};
use crate::stats::{self, CodeKind};
use crate::tiering::{Code, Learns, Policy, call_counter, config, pace, policy, report};
use corten_jit::block_counts;
use corten_jit::code_map::CodeInfo;
use corten_jit::compile::{CompileError, Jit};
use corten_jit::host_api::{CompilerHost, CpuFeatures};
use corten_jit::importer::{self, ImportError};
use corten_jit::ir::{Func, Op};
use corten_jit::isa::Tier;
use corten_jit::profile;
use corten_loader::MethodDesc;
use corten_tiering as tiering;
use std::sync::OnceLock;
use std::time::Instant;

struct Engine {
    jit: Jit,
    host: EngineHost,
}

static ENGINE: OnceLock<Engine> = OnceLock::new();

/// Creates the compiler. Once, before any managed code.
///
/// # Errors
/// When the code heap cannot be reserved or the CPU lacks what generated code needs.
pub fn init() -> Result<(), String> {
    let jit = Jit::new(cpu_features()).map_err(|e| e.to_string())?;
    if corten_gc_hooks::stress::is_on() {
        jit.heap().trap_in_freed_code();
    }
    ENGINE
        .set(Engine {
            jit,
            host: EngineHost::default(),
        })
        .map_err(|_| "the engine exists already".to_string())
}

fn engine() -> &'static Engine {
    match ENGINE.get() {
        Some(e) => e,
        None => fatal("the engine is not initialised"),
    }
}

/// The JIT-EE interface, if the engine runs.
pub fn host() -> Option<&'static EngineHost> {
    ENGINE.get().map(|e| &e.host)
}

/// An internal inconsistency that leaves no way on: message on stderr, abort.
pub fn fatal(message: &str) -> ! {
    eprintln!("Fatal error. Internal engine error: {message}");
    std::process::abort()
}

/// Instruction sets that generated code and intrinsics may assume (ARCHITECTURE.md, Decision 1).
pub fn cpu_features() -> CpuFeatures {
    CpuFeatures {
        x64_v2: std::arch::is_x86_feature_detected!("sse4.2") && std::arch::is_x86_feature_detected!("popcnt"),
        lzcnt: std::arch::is_x86_feature_detected!("lzcnt"),
        movbe: std::arch::is_x86_feature_detected!("movbe"),
        bmi1: std::arch::is_x86_feature_detected!("bmi1"),
        bmi2: std::arch::is_x86_feature_detected!("bmi2"),
        // The detection asks for AVX's state, too.
        fma: std::arch::is_x86_feature_detected!("fma"),
        avx: std::arch::is_x86_feature_detected!("avx"),
        avx2: std::arch::is_x86_feature_detected!("avx2"),
    }
}

/// The generated code at an address. Lock-free, async-signal-safe.
pub fn code_at(pc: usize) -> Option<&'static corten_jit::code_map::CodeInfo> {
    ENGINE.get()?.jit.map().lookup(pc)
}

/// Does code stay, whatever becomes of it, because a debugger or profiler knows addresses?
pub fn keeps_code() -> bool {
    engine().jit.addresses_are_known()
}

/// Gives the memory of code back, with its description, unless code stays.
///
/// # Safety
/// As [`corten_jit::compile::Jit::free`].
pub unsafe fn free_code(info: &'static CodeInfo) -> bool {
    if keeps_code() {
        return false;
    }
    // SAFETY: forwarded.
    unsafe { engine().jit.free(info) };
    true
}

/// Copies a stub that keeps an rbp frame of its own into the code heap; stack walks step over it.
pub fn install_frame_stub(name: &str, code: &[u8]) -> usize {
    match engine().jit.install_stub(name, code, Some(0)) {
        Ok(info) => info.start,
        Err(e) => fatal(&e.to_string()),
    }
}

/// Copies position-independent stub code into the code heap.
pub fn install_stub(code: &[u8]) -> usize {
    match engine().jit.install_stub("stub", code, None) {
        Ok(info) => info.start,
        Err(e) => fatal(&e.to_string()),
    }
}

/// Does the IL of a method have backward branches? (Not if there is no IL.)
pub fn has_loops(md: &'static MethodDesc) -> bool {
    let body = engine().host.method_body(method_id(md));
    body.is_ok_and(|body| importer::loop_shape(&body).any)
}

/// Does the IL have loops that cannot be replaced while they run? Then the method is optimised at once, as CoreCLR does.
pub fn has_stuck_loops(md: &'static MethodDesc) -> bool {
    let Ok(body) = engine().host.method_body(method_id(md)) else {
        return false;
    };
    // Looking at every instruction is only worth the time where one of the obstacles may be.
    let tail = |code: &[u8]| code.windows(2).any(|w| w == [0xfe, 0x14]) || code.contains(&0x27);
    if body.clauses.is_empty() && !tail(body.code) {
        return false;
    }
    let shape = importer::loop_shape(&body);
    shape.any && (shape.in_cleanup || shape.explicit_tail_calls || shape.filters)
}

/// Compiles the function that goes on where a Tier-0 frame of `md` is at the patchpoint of IL offset `il`. Preemptive mode.
///
/// # Errors
/// What the importer or the code generator does not handle.
pub fn compile_replacement(md: &'static MethodDesc, il: u32) -> VmResult<usize> {
    let e = engine();
    let start = Instant::now();
    let options = importer::ImportOptions {
        replace_at: Some(il),
        ..importer::ImportOptions::default()
    };
    let mut func = importer::import(&e.host, method_id(md), &options).map_err(|err| import_error(md, err))?;
    let info = generate(e, md, &mut func, CodeKind::Osr(il), Tier::Tier1, start)?;
    Ok(info.start)
}

/// Imports and compiles the IL of a method at a tier and installs the code. Preemptive mode.
///
/// # Errors
/// InvalidProgramException for malformed IL, other load errors as their exceptions.
pub fn compile_il(md: &'static MethodDesc, tier: tiering::Tier) -> VmResult<Code> {
    let e = engine();
    let start = Instant::now();
    // Call sites do without the classes that a signature names, the method itself does not.
    if md.kind() == corten_loader::MethodKind::Il {
        md.signature()?;
        // An interface that nobody named may be used by its default implementations alone.
        corten_loader::ensure_full(md.owner())?;
    }
    let (kind, generator) = match tier {
        tiering::Tier::Tier1 => (CodeKind::Tier1, Tier::Tier1),
        tiering::Tier::Instrumented => (CodeKind::Instrumented, Tier::Tier0),
        tiering::Tier::Tier0 if policy(md) == Policy::Tiered => (CodeKind::Tier0, Tier::Tier0),
        tiering::Tier::Tier0 => (CodeKind::MinOpts, Tier::Tier0),
    };
    let counts = matches!(kind, CodeKind::Tier0 | CodeKind::Instrumented);
    let options = importer::ImportOptions {
        patchpoints: pace().filter(|_| counts),
        ..importer::ImportOptions::default()
    };
    let mut func = importer::import(&e.host, method_id(md), &options).map_err(|err| import_error(md, err))?;
    let mut learns = Learns::Nothing;
    if counts && config().profiles {
        let (sites, branches) = (profile::has_sites(&func), block_counts::has_branches(&func));
        // A loop may be replaced before the method is called often: it needs its profile at once.
        let at_once = || !config().instrument_only_hot_code || has_patchpoints(&func);
        learns = if !sites && !branches {
            Learns::Nothing
        } else if kind == CodeKind::Instrumented || at_once() {
            block_counts::instrument(&mut func, &e.host);
            if sites {
                profile::instrument(&mut func, &e.host);
                Learns::Now
            } else {
                Learns::Nothing
            }
        } else if sites {
            Learns::Later
        } else {
            Learns::BranchesLater
        };
    }
    if counts {
        func.call_counter = Some(call_counter(md));
    }
    let info = generate(e, md, &mut func, kind, generator, start)?;
    Ok(Code {
        address: info.entry,
        tier: match kind {
            CodeKind::Tier0 => tiering::Tier::Tier0,
            CodeKind::Instrumented => tiering::Tier::Instrumented,
            _ => tiering::Tier::Tier1,
        },
        learns,
    })
}

fn has_patchpoints(func: &Func) -> bool {
    let mut insts = func.blocks.values().flat_map(|b| &b.insts);
    insts.any(|i| matches!(i.op, Op::Patchpoint { .. }))
}

fn generate(
    e: &Engine,
    md: &'static MethodDesc,
    func: &mut Func,
    kind: CodeKind,
    tier: Tier,
    start: Instant,
) -> VmResult<&'static CodeInfo> {
    if let Some(filter) = dump_filter()
        && md.display_name().contains(filter)
    {
        eprintln!("{}", corten_jit::ir_print::print(func));
    }
    if tier == Tier::Tier0 {
        corten_jit::opt::prepare(func, &e.host, pass_enabled);
    } else {
        corten_jit::opt::optimise(func, &e.host, pass_enabled);
        if dump_filter().is_some_and(|f| func.name.contains(f)) {
            eprintln!("; optimised\n{}", corten_jit::ir_print::print(func));
        }
    }
    let info = install(e, func, md.display_name(), tier)?;
    crate::reclaim::installed(md, info);
    let elapsed = start.elapsed();
    report::compiled(md, kind, start, info.len);
    if trace_compiles() {
        eprintln!(
            "[jit] {} at {:#x}, {kind:?}, in {} us",
            md.display_name(),
            info.start,
            elapsed.as_micros()
        );
    }
    Ok(info)
}

fn import_error(md: &'static MethodDesc, e: ImportError) -> Raise {
    if trace_compiles() {
        eprintln!("[jit] {} rejected: {e}", md.display_name());
    }
    match e {
        ImportError::Host(e) => crate::stubs::host_error(e),
        ImportError::Unsupported { .. } => {
            Raise::new(ExceptionKind::NotSupported, format!("{}: {e}", md.display_name()))
        }
        _ => Raise::of(ExceptionKind::InvalidProgram),
    }
}

/// Compiles a stub given as IR.
///
/// # Errors
/// NotSupportedException if the compiler refuses it.
pub fn compile_stub(func: &Func) -> VmResult<usize> {
    let start = Instant::now();
    let info = install(engine(), func, func.name.clone(), Tier::Tier0)?;
    stats::compiled(CodeKind::Stub, start.elapsed(), info.len);
    Ok(info.start)
}

fn install(e: &Engine, func: &Func, name: String, tier: Tier) -> VmResult<&'static CodeInfo> {
    e.jit.compile_and_install(func, &e.host, tier).map_err(|err| {
        let kind = match err {
            // The next collection would corrupt the heap.
            CompileError::GcInfo { .. } => fatal(&err.to_string()),
            CompileError::Memory { .. } => ExceptionKind::OutOfMemory,
            _ => ExceptionKind::InvalidProgram,
        };
        Raise::new(kind, format!("{name}: the compiler failed: {err}"))
    })
}

fn trace_compiles() -> bool {
    static T: OnceLock<bool> = OnceLock::new();
    *T.get_or_init(|| std::env::var_os("CORTEN_TRACEJIT").is_some())
}

/// `CORTEN_JIT_PASSES="-inline,-hoist"` leaves passes out, to find which one breaks something.
fn pass_enabled(name: &str) -> bool {
    static OFF: OnceLock<Vec<String>> = OnceLock::new();
    let off = OFF.get_or_init(|| {
        let list = std::env::var("CORTEN_JIT_PASSES").unwrap_or_default();
        list.split(',')
            .filter_map(|p| p.trim().strip_prefix('-').map(str::to_owned))
            .collect()
    });
    !off.iter().any(|p| p == name)
}

fn dump_filter() -> Option<&'static str> {
    static T: OnceLock<Option<String>> = OnceLock::new();
    T.get_or_init(|| std::env::var("CORTEN_DUMPIR").ok()).as_deref()
}

/// Compiles without installing; size of the code in bytes.
///
/// # Errors
/// The compiler's message.
pub fn compile_only(func: &Func) -> Result<usize, String> {
    let e = engine();
    e.jit
        .compile(func, &e.host, Tier::Tier0)
        .map(|c| c.len())
        .map_err(|e| e.to_string())
}

/// The host as a trait object, for code that only needs the interface.
pub fn compiler_host() -> &'static dyn CompilerHost {
    &engine().host
}
