//! Scalar replacement: the passes that make locals visible to each other, until nothing changes.

use super::{dead, escape, forward, promote_structs, thread};
use crate::host_api::CompilerHost;
use crate::ir::Func;

/// An address that is stored in a promoted field shows up one round later; deeper nests than this stay in memory.
const ROUNDS: usize = 4;

/// The pass.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) {
    forward::run(func, host);
    // Most locals of inlined methods are gone: without them all analyses have less to do.
    dead::compact_locals(func);
    for _ in 0..ROUNDS {
        let structs = promote_structs::run(func, host);
        if !escape::run(func, host) && !structs {
            break;
        }
        forward::run(func, host);
    }
    thread::run(func, host);
    dead::compact_locals(func);
}
