//! On-stack replacement: what a patchpoint's question is answered.

use super::{Code, config};
use crate::error::icall_body;
use corten_gc_hooks::safepoint::ThreadRegistry;
use corten_jit::ir::Pace;
use corten_loader::MethodDesc;
use corten_tiering::{Answer, Patchpoints, Requests, Unused};
use rustc_hash::FxHashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

type Table = Patchpoints<(usize, u32), usize>;

static ENTERED: AtomicU64 = AtomicU64::new(0);

/// Frames that were replaced so far.
pub fn transitions() -> u64 {
    ENTERED.load(Ordering::Relaxed)
}

/// `CORTEN_OSRRANDOM=SEED` lets every other question pass, at random: loops are left at different iterations.
fn not_this_time() -> bool {
    static SEED: OnceLock<Option<u64>> = OnceLock::new();
    static STATE: AtomicU64 = AtomicU64::new(0);
    let seed = SEED.get_or_init(|| std::env::var("CORTEN_OSRRANDOM").ok()?.parse().ok());
    let Some(seed) = seed else { return false };
    let n = STATE.fetch_add(1, Ordering::Relaxed).wrapping_add(*seed);
    // SplitMix64
    let z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 63) != 0
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Patchpoints::new(config().patchpoint_hits))
}

/// Loops whose replacements a background thread compiles.
fn requests() -> &'static Requests<(&'static MethodDesc, u32)> {
    static REQUESTS: OnceLock<Requests<(&'static MethodDesc, u32)>> = OnceLock::new();
    REQUESTS.get_or_init(Requests::default)
}

/// Do frames go on while their replacement is compiled? Not where there is one processor, which would do both, and not when loops
/// are replaced at the first question or at random (stress), which has to happen at that moment.
fn in_background() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        processors > 1 && config().patchpoint_hits > 1 && std::env::var_os("CORTEN_OSRRANDOM").is_none()
    })
}

fn key(method: &'static MethodDesc, il: u32) -> (usize, u32) {
    (method.address(), il)
}

/// Has a replacement compiled by the background thread.
fn request(method: &'static MethodDesc, il: u32) {
    if requests().push((method, il)) && !super::worker::spawn("LoopCompilation", serve) {
        for (method, il) in requests().withdraw() {
            table().postpone(key(method, il));
        }
    }
}

/// Frames of the loop at `il` go on at `code`, if there is any.
fn compiled(method: &'static MethodDesc, il: u32, code: Option<usize>) {
    table().compiled(key(method, il), code);
    if let Some(code) = code {
        super::loop_replaced(method, code);
    }
}

/// Forgets the loops of methods whose slower code is gone.
pub(super) fn forget(gone: &[Unused<&'static MethodDesc, Code>]) {
    let methods: FxHashSet<usize> = gone.iter().map(|unused| unused.method.address()).collect();
    if !methods.is_empty() {
        table().forget(|(method, _)| methods.contains(method));
    }
}

/// The background thread.
fn serve() {
    while let Some((method, il)) = requests().take() {
        // A compiler that gives up by unwinding leaves the loop as it is.
        let code = catch_unwind(AssertUnwindSafe(|| crate::engine::compile_replacement(method, il).ok()));
        if super::worker::abandoned() {
            if let Ok(Some(code)) = code {
                // SAFETY: new code; nobody has learnt its address.
                unsafe { crate::reclaim::discard(code) };
            }
            table().postpone(key(method, il));
        } else if let Ok(code) = code {
            compiled(method, il, code);
        }
    }
}

/// `Helper::Patchpoint`: address of a function that finishes the frame's method from the loop at `il`, or 0.
pub extern "C" fn patchpoint(method: &'static MethodDesc, il: u64, counter: *mut i32) -> usize {
    icall_body(|thread| {
        // SAFETY: generated code passes the address of the counter in its frame.
        if unsafe { *counter } >= 0 {
            ThreadRegistry::get().poll(&thread.header);
            return Ok(0);
        }
        // SAFETY: as above.
        unsafe { *counter = Pace::counter(config().patchpoint_bump) };
        let il = u32::try_from(il).unwrap_or(u32::MAX);
        if not_this_time() {
            return Ok(0);
        }
        let key = key(method, il);
        let code = match table().reached(key, super::called_again(method)) {
            Answer::Stay => return Ok(0),
            Answer::Promote => {
                super::hot(method);
                return Ok(0);
            }
            Answer::Enter(code) => code,
            Answer::Compile if in_background() => {
                request(method, il);
                return Ok(0);
            }
            Answer::Compile | Answer::CompileHere => {
                let _preemptive = crate::transitions::enter_preemptive(thread);
                let code = crate::engine::compile_replacement(method, il).ok();
                compiled(method, il, code);
                // (The frame that asks keeps the code: it is of the same method.)
                match code {
                    Some(code) => code,
                    None => return Ok(0),
                }
            }
        };
        ENTERED.fetch_add(1, Ordering::Relaxed);
        if crate::trace_events::enabled() {
            super::moment("OSR", method);
        }
        Ok(code)
    })
}
