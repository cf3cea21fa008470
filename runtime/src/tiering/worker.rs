//! Background threads that compile. One promotes methods, one compiles replacements. They are known to the runtime, always in preemptive mode (collections do not wait for
//! them), and run no managed code.

use super::{config, now, promotion};
use corten_tiering::Step;
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

static LOCK: Mutex<()> = Mutex::new(());
static WORK: Condvar = Condvar::new();

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Not a background thread.
    Other,
    Working,
    /// A background thread, and the compilation at hand must not be used.
    Abandoned,
}

thread_local! {
    static ROLE: Cell<Role> = const { Cell::new(Role::Other) };
}

/// Is this a background thread?
pub fn on_worker() -> bool {
    ROLE.get() != Role::Other
}

/// Gives the compilation at hand up: it would need what only a managed thread can do.
pub fn abandon() {
    ROLE.set(Role::Abandoned);
}

/// Whether [`abandon`] was called since the last question.
pub(super) fn abandoned() -> bool {
    let yes = ROLE.get() == Role::Abandoned;
    if yes {
        ROLE.set(Role::Working);
    }
    yes
}

/// Something was queued, or the end has come.
pub(super) fn wake() {
    let _lock = LOCK.lock();
    WORK.notify_all();
}

/// Starts the background thread.
pub(super) fn start() {
    if !spawn("TieredCompilation", run) {
        // No thread, no promotion: the program goes on at Tier 0.
        promotion().stop();
    }
}

/// Runs `body` as a background thread that compiles. False: there is no such thread.
pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> bool {
    let started = crate::icalls::threading::spawn_native(name, move || {
        ROLE.set(Role::Working);
        body();
    });
    started.is_ok()
}

fn run() {
    let mut expired = false;
    loop {
        let step = catch_unwind(AssertUnwindSafe(|| promotion().step(now(), expired)));
        expired = match step {
            // A compiler that gives up by unwinding leaves its method at Tier 0.
            Ok(Step::Worked) => {
                crate::reclaim::replaced();
                false
            }
            Err(_) => false,
            Ok(Step::Ended) => return,
            Ok(Step::Wait(ms)) => {
                let mut lock = LOCK.lock();
                WORK.wait_for(&mut lock, Duration::from_millis(ms));
                false
            }
            Ok(Step::Idle) => {
                let mut lock = LOCK.lock();
                promotion().queue_length() == 0 && WORK.wait_for(&mut lock, config().worker_timeout).timed_out()
            }
        };
    }
}
