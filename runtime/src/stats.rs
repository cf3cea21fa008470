//! `--stats`: figures of a run on stderr.

use crate::engine::STATS;
use std::sync::atomic::Ordering;

/// Prints them.
pub fn print() {
    let ms = STATS.nanoseconds.load(Ordering::Relaxed) as f64 / 1e6;
    let methods = STATS.methods.load(Ordering::Relaxed);
    eprintln!(
        "jit: {methods} methods at Tier 0 in {ms:.1} ms ({:.0} us each), {} stubs, {} KB of code",
        if methods == 0 {
            0.0
        } else {
            ms * 1000.0 / methods as f64
        },
        STATS.stubs.load(Ordering::Relaxed),
        STATS.code_bytes.load(Ordering::Relaxed) / 1024,
    );
    eprintln!("gc: {:?}", corten_gc_hooks::heap::Heap::get().stats());
}
