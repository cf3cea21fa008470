//! Cooperative/preemptive mode changes of the current thread.
//!
//! Generated code and internal calls run in cooperative mode (they may hold references; a collection waits for them);
//! P/Invokes, QCalls, the loader and the compiler run in preemptive mode.

use crate::thread::Thread;
use corten_gc_hooks::safepoint::{ThreadRegistry, is_cooperative};

/// Restores the mode it replaced when dropped.
#[derive(Debug)]
pub struct ModeGuard {
    thread: *const Thread,
    restore: Option<Mode>,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Cooperative,
    Preemptive,
}

/// Cooperative until the guard is dropped.
pub fn enter_cooperative(thread: &Thread) -> ModeGuard {
    let switch = !is_cooperative(&thread.header);
    if switch {
        ThreadRegistry::get().leave_preemptive(&thread.header);
    }
    ModeGuard {
        thread,
        restore: switch.then_some(Mode::Preemptive),
    }
}

/// Preemptive until the guard is dropped: no raw reference may be used meanwhile.
pub fn enter_preemptive(thread: &Thread) -> ModeGuard {
    let switch = is_cooperative(&thread.header);
    if switch {
        ThreadRegistry::get().enter_preemptive(&thread.header);
    }
    ModeGuard {
        thread,
        restore: switch.then_some(Mode::Cooperative),
    }
}

impl Drop for ModeGuard {
    fn drop(&mut self) {
        // SAFETY: the guard lives on the stack of the thread it names.
        let header = unsafe { &(*self.thread).header };
        match self.restore {
            Some(Mode::Cooperative) => ThreadRegistry::get().leave_preemptive(header),
            Some(Mode::Preemptive) => ThreadRegistry::get().enter_preemptive(header),
            None => {}
        }
    }
}
