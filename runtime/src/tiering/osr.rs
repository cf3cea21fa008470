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

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Patchpoints::new(config().patchpoint_hits))
}

/// `Helper::Patchpoint`: address of a function that finishes the frame's method from the loop at `il`, or 0.
pub extern "C" fn patchpoint(method: &'static MethodDesc, il: u64) -> usize {
    icall_body(|thread| {
        let il = u32::try_from(il).unwrap_or(u32::MAX);
        let key = (method.address(), il);
        let code = match table().reached(key) {
            Answer::Stay => return Ok(0),
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
