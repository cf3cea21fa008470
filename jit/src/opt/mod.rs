//! The optimiser: passes over IR between import and lowering, at Tier 1, but for [`prepare`].
//!
//! Every pass takes and leaves IR that [`ir_check`](crate::ir_check) accepts. Values are local to their block; what crosses
//! blocks goes through locals, which lowering keeps in registers.

mod cfg;
mod checks;
mod dead;
mod devirt;
mod escape;
mod extremes;
mod finally;
mod fold;
mod forward;
mod guess;
mod hoist;
mod implicit;
mod inline;
mod inline_policy;
mod lanes;
mod loads;
mod loop_body;
mod loops;
mod memory;
mod pieces;
mod promote_structs;
mod propagate;
mod prover;
mod reductions;
mod rotate;
mod scalars;
mod search;
mod shapes;
mod ssa_view;
mod states;
mod strength;
mod thread;
mod unroll;
mod vector_code;
mod vector_ends;
mod vectorize;
mod version;
mod weights;

pub(crate) use weights::likelier;

use crate::host_api::CompilerHost;
use crate::ir::Func;

/// The passes, in the order they run.
const PASSES: &[(&str, Pass)] = &[
    ("weights", weights::run),
    ("guess", guess::run),
    ("inline", inline::run),
    ("finally", finally::run),
    ("scalars", scalars::run),
    ("devirt", devirt::run),
    ("lanes", lanes::run),
    ("loads", loads::run),
    ("checks", checks::run),
    ("rotate", rotate::run),
    // The test in front of a loop reads what the one at its end reads.
    ("loads", loads::in_loops),
    ("hoist", hoist::run),
    ("vectorize", vectorize::run),
    ("version", version::run),
    ("strength", strength::run),
    ("unroll", unroll::run),
    ("implicit", implicit::run),
];

type Pass = fn(&mut Func, &dyn CompilerHost);

/// Names of the passes, in the order they run.
pub fn pass_names() -> impl Iterator<Item = &'static str> {
    PASSES.iter().map(|p| p.0)
}

/// What Tier 0 runs because code generation has less to do afterwards. `enabled` as for [`optimise`].
pub fn prepare(func: &mut Func, host: &dyn CompilerHost, enabled: impl Fn(&str) -> bool) {
    if enabled("implicit") {
        implicit::run(func, host);
    }
}

/// Optimises a function. `enabled` chooses among the passes by name: all of them by default.
pub fn optimise(func: &mut Func, host: &dyn CompilerHost, enabled: impl Fn(&str) -> bool) {
    for &(name, pass) in PASSES {
        if !enabled(name) {
            continue;
        }
        pass(func, host);
        #[cfg(debug_assertions)]
        if let Err(error) = crate::ir_check::check(func) {
            unreachable!("after pass {name}: {error}\n{}", crate::ir_print::print(func));
        }
    }
    dead::compact_locals(func);
}
