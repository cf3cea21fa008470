//! What the compiler did, and `--stats`: figures of a run on stderr.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a piece of generated code is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeKind {
    /// Fast code that counts its calls.
    Tier0,
    /// Fast code for good (`NoOptimization`, or calls are not counted).
    MinOpts,
    /// Fast code that collects a profile.
    Instrumented,
    /// Optimised.
    Tier1,
    /// Optimised, entered at the loop at that IL offset.
    Osr(u32),
    /// Made by the engine: P/Invokes, delegates…
    Stub,
}

/// Which figures are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Everything.
    All,
    /// The compiler's.
    Jit,
    /// The collector's.
    Gc,
}

#[derive(Debug)]
struct Figures {
    count: AtomicU64,
    nanoseconds: AtomicU64,
    bytes: AtomicU64,
}

impl CodeKind {
    fn index(self) -> usize {
        match self {
            CodeKind::Tier0 => 0,
            CodeKind::MinOpts => 1,
            CodeKind::Tier1 => 2,
            CodeKind::Osr(_) => 3,
            CodeKind::Stub => 4,
            CodeKind::Instrumented => 5,
        }
    }
}

const KINDS: usize = 6;
static FIGURES: [Figures; KINDS] = [const {
    Figures {
        count: AtomicU64::new(0),
        nanoseconds: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    }
}; KINDS];

/// Takes note of new code.
pub fn compiled(kind: CodeKind, time: Duration, bytes: u32) {
    let f = &FIGURES[kind.index()];
    f.count.fetch_add(1, Ordering::Relaxed);
    f.nanoseconds
        .fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    f.bytes.fetch_add(u64::from(bytes), Ordering::Relaxed);
}

const METHODS: [CodeKind; 5] = [
    CodeKind::Tier0,
    CodeKind::Instrumented,
    CodeKind::MinOpts,
    CodeKind::Tier1,
    CodeKind::Osr(0),
];

/// Compilations of methods at any tier so far.
pub fn methods_compiled() -> u64 {
    METHODS
        .iter()
        .map(|k| FIGURES[k.index()].count.load(Ordering::Relaxed))
        .sum()
}

static IL_BYTES: AtomicU64 = AtomicU64::new(0);

/// Takes note of the IL of a method that was compiled, in bytes.
pub fn il_compiled(bytes: usize) {
    IL_BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Bytes of IL that were compiled so far.
pub fn il_bytes() -> u64 {
    IL_BYTES.load(Ordering::Relaxed)
}

/// Time that they took, on all threads together.
pub fn compile_time() -> Duration {
    let ns = METHODS
        .iter()
        .map(|k| FIGURES[k.index()].nanoseconds.load(Ordering::Relaxed));
    Duration::from_nanos(ns.sum())
}

fn line(kind: CodeKind, what: &str) {
    let f = &FIGURES[kind.index()];
    let (count, ns, bytes) = (
        f.count.load(Ordering::Relaxed),
        f.nanoseconds.load(Ordering::Relaxed),
        f.bytes.load(Ordering::Relaxed),
    );
    if count == 0 {
        return;
    }
    eprintln!(
        "jit: {count} {what} in {:.1} ms ({} us each), {} KB of code",
        ns as f64 / 1e6,
        ns / 1000 / count,
        bytes / 1024
    );
}

/// Prints them.
pub fn print(part: Part) {
    if part != Part::Gc {
        print_jit();
    }
    if part != Part::Jit {
        eprintln!("{}", corten_gc_hooks::heap::Heap::get().stats());
    }
}

fn print_jit() {
    line(CodeKind::Tier0, "methods at Tier 0");
    line(CodeKind::Instrumented, "methods instrumented");
    line(CodeKind::MinOpts, "methods not optimised on request");
    line(CodeKind::Tier1, "methods at Tier 1");
    line(CodeKind::Osr(0), "loops replaced on the stack");
    line(CodeKind::Stub, "stubs");
    eprintln!(
        "jit: {} frames replaced on the stack, {} methods wait for Tier 1",
        crate::tiering::transitions(),
        crate::tiering::queue_length()
    );
    for (what, pieces, bytes) in crate::reclaim::freed().filter(|&(_, pieces, _)| pieces != 0) {
        eprintln!("jit: {pieces} {what} given back, {} KB", bytes >> 10);
    }
    let (retired, _) = crate::tiering::retired();
    eprintln!("jit: {retired} pieces of replaced code wait to be given back");
    let (instructions, frame) = corten_jit::compile::LIMITS;
    eprintln!(
        "jit: a method may have {instructions} IR instructions and {} KB of frame",
        frame >> 10
    );
}
