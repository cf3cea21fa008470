//! Tiered compilation: drives [`corten_tiering`] with the engine's compiler.
//!
//! Tier-0 code of a method counts its calls down in [`MethodDesc::runtime_flags`]; at zero it calls [`call_counted_stub`], which
//! queues the method. A native thread ([`worker`]) compiles what is queued and publishes it. `MethodDesc::code_versions` holds
//! the newest code: its address, its tier and whether it lacks a profile.

mod osr;
pub mod profile;
pub mod report;
mod stub;
mod worker;

pub use osr::{patchpoint, transitions};
pub use profile::{profile_class, profile_target};
pub use stub::call_counted_stub;
pub use worker::{abandon, on_worker};

use crate::error::{ExceptionKind, Raise, VmResult};
use crate::trace_events;
use corten_jit::ir::Pace;
use corten_loader::{MethodDesc, MethodKind};
use corten_metadata::MethodImplAttributes;
use corten_tiering::{Compiler, Config, Promotion, Publisher, Reached, Tier, Unused};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Code of a method and the tier it was made at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Where it starts.
    pub address: usize,
    /// [`Tier::Tier1`] also for what is never recompiled (stubs).
    pub tier: Tier,
    /// What it learns about its calls and branches.
    pub learns: Learns,
}

/// The part of code in collecting a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learns {
    /// Nothing that its promotion waits for.
    Nothing,
    /// Has calls worth profiling, and leaves that to other code.
    Later,
    /// The same of branches, which are no reason to wait.
    BranchesLater,
    /// Profiles its calls.
    Now,
}

// In the word of [`MethodDesc::code_versions`]; code is aligned, so these bits are free.
const TIER: usize = 3;
const LATER: usize = 4;
const BRANCHES_LATER: usize = 8;
const LEARNS: usize = 12;
const BITS: usize = TIER | LEARNS;

/// The newest code of a method.
pub fn newest(md: &MethodDesc) -> Option<Code> {
    let word = md.code_versions.load(Ordering::Acquire) as usize;
    (word != 0).then_some(Code {
        address: word & !BITS,
        tier: match word & TIER {
            0 => Tier::Tier0,
            1 => Tier::Instrumented,
            _ => Tier::Tier1,
        },
        learns: match word & LEARNS {
            0 => Learns::Nothing,
            LATER => Learns::Later,
            BRANCHES_LATER => Learns::BranchesLater,
            _ => Learns::Now,
        },
    })
}

/// Remembers first code, unless there is some already.
pub fn remember_first(md: &MethodDesc, code: Code) {
    let new = word(code) as *mut ();
    let _ = md
        .code_versions
        .compare_exchange(std::ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire);
}

fn word(code: Code) -> usize {
    let tier = match code.tier {
        Tier::Tier0 => 0,
        Tier::Instrumented => 1,
        Tier::Tier1 => 2,
    };
    let learns = match code.learns {
        Learns::Nothing => 0,
        Learns::Later => LATER,
        Learns::BranchesLater => BRANCHES_LATER,
        Learns::Now => LEARNS,
    };
    code.address | tier | learns
}

/// What the tiering crate drives.
pub struct Engine;

impl Compiler for Engine {
    type Method = &'static MethodDesc;
    type Code = Code;
    type Error = Raise;
    fn compile(&self, md: &'static MethodDesc, tier: Tier) -> VmResult<Code> {
        let code = crate::prestub::make_code(md, tier)?;
        if worker::abandoned() {
            // SAFETY: new code of a method; nobody has learnt its address.
            unsafe { crate::reclaim::discard(code.address) };
            return Err(Raise::of(ExceptionKind::InvalidOperation));
        }
        Ok(code)
    }
}

impl Publisher for Engine {
    fn publish(&self, md: &'static MethodDesc, code: Code, tier: Tier) {
        if tier < Tier::Tier1 {
            // Calls that came before publication did not count.
            arm(md);
        }
        if tier > Tier::Tier0 {
            md.code_versions.store(word(code) as *mut (), Ordering::Release);
            if on_worker() && trace_events::enabled() {
                moment("tier-up", md);
            }
        }
        md.publish(code.address);
    }

    fn replaced(&self, md: &'static MethodDesc, by: Code) -> Option<Code> {
        newest(md).filter(|old| old.address != by.address && !crate::engine::keeps_code())
    }

    fn next_tier(&self, md: &'static MethodDesc, from: Tier, hot: bool) -> Tier {
        let learns = newest(md).map_or(Learns::Nothing, |code| code.learns);
        match (from, learns) {
            (Tier::Tier0, Learns::Later) => Tier::Instrumented,
            (Tier::Tier0, Learns::BranchesLater) if !hot => Tier::Instrumented,
            _ => Tier::Tier1,
        }
    }
}

static PROMOTION: OnceLock<Promotion<Engine>> = OnceLock::new();

/// Reads the switches: `DOTNET_` variables, then the properties of `runtimeconfig.json`.
pub fn configure(properties: &[(String, String)]) {
    let property = |name: &str| properties.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let config = Config::read(|name| std::env::var(name).ok(), property);
    // A second start in one process (tests) keeps the first one's switches.
    let _ = PROMOTION.set(Promotion::new(Engine, config));
}

fn promotion() -> &'static Promotion<Engine> {
    PROMOTION.get_or_init(|| {
        let config = Config::read(|name| std::env::var(name).ok(), |_| None);
        Promotion::new(Engine, config)
    })
}

/// The switches in force.
pub fn config() -> &'static Config {
    promotion().config()
}

/// What becomes of a method's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// First at Tier 0, which counts calls.
    Tiered,
    /// At Tier 0 for good (`NoOptimization`, or nothing is counted).
    Unoptimised,
    /// Optimised at once.
    Optimised,
}

/// How `md` is compiled. CoreCLR's rules: dynamic methods, stubs and collectible
/// code are never tiered.
pub fn policy(md: &'static MethodDesc) -> Policy {
    let config = config();
    let flags = md.impl_flags();
    if flags.contains(MethodImplAttributes::NO_OPTIMIZATION) {
        return Policy::Unoptimised;
    }
    let eligible = md.kind() == MethodKind::Il && !flags.contains(MethodImplAttributes::AGGRESSIVE_OPTIMIZATION);
    let eligible =
        eligible && md.collectible().is_none() && !(config.on_stack_replacement && crate::engine::has_stuck_loops(md));
    let loops = || crate::engine::has_loops(md);
    if promotion().first_tier(eligible, eligible && !config.quick_jit_for_loops && loops()) == Tier::Tier1 {
        Policy::Optimised
    } else if config.call_counting {
        Policy::Tiered
    } else {
        Policy::Unoptimised
    }
}

/// Sets the call counter of a method whose Tier-0 code is about to be published.
fn arm(md: &MethodDesc) {
    md.runtime_flags.store(config().call_count_threshold, Ordering::Relaxed);
}

/// The pace of patchpoints, if loops are replaced while they run.
pub fn pace() -> Option<Pace> {
    let config = config();
    config.on_stack_replacement.then_some(Pace {
        first: config.patchpoint_counter,
        next: config.patchpoint_bump,
    })
}

/// Address of a method's call counter.
pub fn call_counter(md: &'static MethodDesc) -> u64 {
    std::ptr::from_ref(&md.runtime_flags) as u64
}

/// Lets callers reach `code`, unless better code is out already.
pub fn publish_first(md: &'static MethodDesc, code: Code) {
    promotion().publish_first(md, code, code.tier, now());
}

/// Milliseconds since the first question.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Code of `md` below Tier 1 counted down to zero: queues it, or makes haste if it waits already. Any mode; reaches no
/// safepoint.
fn call_counted(md: &'static MethodDesc) {
    let reached = promotion().threshold_reached(md);
    if reached == Reached::Known {
        alert(promotion().hot(md));
    } else {
        let more = if needs_no_quiet(md) {
            config().hot_calls()
        } else {
            config().very_hot_calls()
        };
        md.runtime_flags.store(more, Ordering::Relaxed);
        alert(reached);
    }
}

/// Loops of `md` run long: it is promoted before the program has become quiet, unless its profile would be poorer for it. Any mode;
/// reaches no safepoint.
fn hot(md: &'static MethodDesc) {
    if needs_no_quiet(md) {
        alert(promotion().hot(md));
    }
}

/// Would the profile of `md` be no better for waiting? One of calls would: the first caller of a method often is not its only one.
fn needs_no_quiet(md: &'static MethodDesc) -> bool {
    newest(md).is_some_and(|code| matches!(code.learns, Learns::Nothing | Learns::BranchesLater))
}

fn alert(reached: Reached) {
    match reached {
        Reached::Known => {}
        Reached::Queued => worker::wake(),
        Reached::StartWorker => worker::start(),
    }
}

/// Was `md`, which is running code that counts its calls, called at least twice?
fn called_again(md: &MethodDesc) -> bool {
    let (left, threshold) = (md.runtime_flags.load(Ordering::Relaxed), config().call_count_threshold);
    // More than the threshold is left when it was reached before.
    left > threshold || left.saturating_add(2) <= threshold
}

/// Something that happened to a method just now, for `--trace`.
fn moment(what: &str, md: &'static MethodDesc) {
    trace_events::record(&trace_events::Event {
        name: what,
        category: "tiering",
        start: Instant::now(),
        duration: None,
        arguments: &[("method", md.display_name().into())],
    });
}

/// Methods that wait for the background thread.
pub fn queue_length() -> usize {
    PROMOTION.get().map_or(0, Promotion::queue_length)
}

/// Takes note of new code, at `address`, that replaces a loop of `md`.
fn loop_replaced(md: &'static MethodDesc, address: usize) {
    if crate::engine::keeps_code() {
        return;
    }
    let code = Code {
        address,
        tier: Tier::Tier1,
        learns: Learns::Nothing,
    };
    promotion().loop_replaced(md, code);
}

/// Pieces of code that calls no longer reach, and how many of them are new.
pub fn retired() -> (usize, usize) {
    PROMOTION.get().map_or((0, 0), Promotion::retired)
}

/// Takes out retired code that nobody runs; see [`Promotion::unused`]. The world is stopped.
pub fn unused(enough: usize, runs: impl FnMut(&Code) -> bool) -> Vec<Unused<&'static MethodDesc, Code>> {
    let unused = promotion().unused(enough, runs);
    osr::forget(&unused);
    unused
}

/// Ends background compilation, at process exit.
pub fn stop() {
    if let Some(p) = PROMOTION.get() {
        p.stop();
        worker::wake();
    }
}
