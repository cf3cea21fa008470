//! On-stack replacement: what a patchpoint's question is answered.

use super::config;
use crate::error::icall_body;
use corten_loader::MethodDesc;
use corten_tiering::{Answer, Patchpoints};
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

/// `Helper::Patchpoint`: address of a function that finishes the frame's method from the loop at `il`, or 0.
pub extern "C" fn patchpoint(method: &'static MethodDesc, il: u64) -> usize {
    icall_body(|thread| {
        let il = u32::try_from(il).unwrap_or(u32::MAX);
        if not_this_time() {
            return Ok(0);
        }
        let key = (method.address(), il);
        let code = match table().reached(key, super::called_again(method)) {
            Answer::Stay => return Ok(0),
            Answer::Promote => {
                super::hot(method);
                return Ok(0);
            }
            Answer::Enter(code) => code,
            Answer::Compile => {
                let _preemptive = crate::transitions::enter_preemptive(thread);
                let code = crate::engine::compile_replacement(method, il).ok();
                table().compiled(key, code);
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
