//! Memory of code that nobody runs any more goes back to the code heap, with all that is known of the code. There are two kinds.
//!
//! *Dead* code is that of `DynamicMethod`s and of collectible groups whose managed owners (`DynamicResolver`, `LoaderAllocator`) are
//! gone. Delegates and reflection objects keep an owner alive, and so do frames of its code and calls that wait for it
//! ([`crate::roots`]). When its finalizer has run, nothing can get there any more: entries, vtable slots and dispatch tables are
//! only reached through methods and classes of the same owner.
//!
//! *Replaced* code is that of methods that have better code, and of replaced loops ([`corten_tiering::Promotion::unused`]). Its address
//! was nowhere but in the method's entry word, in vtable slots and in the table of patchpoints. Function pointers, delegates and
//! dispatch tables hold stable entries; code that calls other code directly calls only what is never replaced. So after publication it
//! is left to the threads that run it, and to those on their way there. The latter reach no safepoint between reading the address and
//! having a frame, with one exception: the prestub compiles in preemptive mode and therefore reads the address again.
//!
//! Both are freed at the end of collections, while the world is stopped: then nobody is on the way, and all frames can be seen. If
//! many methods were replaced and the program does not collect, it is stopped for that alone.
//! Captured stack traces name methods and offsets, not addresses. Methods' profiles stay, for the sake of methods that inline them.

use crate::exceptions::frames::{Step, Walk};
use crate::icalls::reflection::dynamic_method;
use crate::thread::Thread;
use corten_gc_hooks::safepoint::{ThreadRegistry, World};
use corten_gc_hooks::stress;
use corten_jit::code_map::CodeInfo;
use corten_loader::MethodDesc;
use corten_tiering::{Origin, Tier};
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many newly replaced pieces are worth a look at all stacks.
const WORTHWHILE: usize = 32;
/// So many are worth stopping the program.
const WORTH_A_PAUSE: usize = 256;
/// Most pieces that are freed in a pause which the program did not ask for.
const FREED_IN_PAUSE: usize = 256;

/// Code that dies together.
#[derive(Debug, Default)]
pub struct OwnedCode(Mutex<Vec<&'static CodeInfo>>);

/// Dead code, until the next collection.
static DEAD: Mutex<Vec<&'static CodeInfo>> = Mutex::new(Vec::new());

impl OwnedCode {
    /// Gives the memory back, soon.
    ///
    /// # Safety
    /// The owner is dead: no frame, delegate or entry leads to the code, and none will.
    pub unsafe fn free(&self) {
        DEAD.lock().append(&mut self.0.lock());
    }
}

/// Takes note of new code of `md`, before anybody learns its address.
pub fn installed(md: &'static MethodDesc, info: &'static CodeInfo) {
    let owned = match dynamic_method::code_of(md) {
        Some(owned) => Some(owned),
        None => md.collectible().and_then(crate::collectible::code_of),
    };
    if let Some(owned) = owned {
        owned.0.lock().push(info);
    }
}

/// Frees new code that will not be used.
///
/// # Safety
/// Nobody else has learnt the address.
pub unsafe fn discard(address: usize) {
    if let Some(info) = crate::engine::code_at(address) {
        // SAFETY: the caller's promise.
        unsafe { crate::engine::free_code(info) };
    }
}

/// A collection ends, the world is still stopped: frees what nobody runs. `at_once`: all of it.
pub fn collected(world: &World<'_>, at_once: bool) {
    for info in std::mem::take(&mut *DEAD.lock()) {
        // SAFETY: the promise made to `OwnedCode::free`, and nobody looks for code at this time.
        unsafe { free(info, DEAD_CODE) };
    }
    let (retired, fresh) = crate::tiering::retired();
    let eager = cfg!(debug_assertions) || stress::is_on();
    let look = match fresh {
        0 => at_once && retired > 0,
        n => at_once || eager || n >= WORTHWHILE,
    };
    if !look {
        return;
    }
    let running = running(world);
    let enough = if at_once { usize::MAX } else { FREED_IN_PAUSE };
    let info = |address| crate::engine::code_at(address);
    let unused = crate::tiering::unused(enough, |code| {
        info(code.address).is_none_or(|info| running.contains(&info.start))
    });
    for piece in unused {
        let reason = match piece.origin {
            Origin::Body(Tier::Tier0) => TIER0,
            Origin::Body(_) => INSTRUMENTED,
            Origin::Loop => LOOPS,
        };
        if let Some(info) = info(piece.code.address) {
            // SAFETY: calls do not reach the code, since publication; threads on the way there have arrived, because the world is
            // stopped, and have no frame of it; frames that could enter the replacement of a loop are gone, too. (A filter runs
            // on top of a frame of the code that it belongs to.) Other threads look code up in cooperative mode, which none of
            // them is in, or to find their own frames.
            unsafe { free(info, reason) };
        }
    }
}

/// The background compiler has replaced something. Called on its thread.
pub fn replaced() {
    if crate::tiering::retired().1 >= WORTH_A_PAUSE {
        ThreadRegistry::get().stop_the_world(Some(&Thread::current().header), |world| collected(world, false));
    }
}

/// Start addresses of all code that has a frame on some stack.
fn running(world: &World<'_>) -> FxHashSet<usize> {
    let mut running = FxHashSet::default();
    let mut last = 0;
    for thread in world.threads() {
        // SAFETY: ThreadHeader is the first field of Thread (repr(C)) and every attached header belongs to one; the world is
        // stopped.
        let mut walk = Walk::from_transition(unsafe { &*thread.cast::<Thread>() });
        loop {
            match walk.step() {
                Step::Managed(frame) => {
                    // Recursion comes in rows.
                    if std::mem::replace(&mut last, frame.code.start) != frame.code.start {
                        running.insert(frame.code.start);
                    }
                }
                Step::Entry(_) => {}
                Step::End => break,
            }
        }
    }
    running
}

struct Freed {
    what: &'static str,
    pieces: AtomicU64,
    bytes: AtomicU64,
}

const TIER0: usize = 0;
const INSTRUMENTED: usize = 1;
const LOOPS: usize = 2;
const DEAD_CODE: usize = 3;

static FREED: [Freed; 4] = {
    const fn of(what: &'static str) -> Freed {
        Freed {
            what,
            pieces: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }
    [
        of("replaced methods at Tier 0"),
        of("replaced instrumented methods"),
        of("replacements of loops"),
        of("pieces of dead code"),
    ]
};

/// # Safety
/// As [`crate::engine::free_code`].
unsafe fn free(info: &'static CodeInfo, reason: usize) {
    let bytes = u64::from(info.len);
    // SAFETY: the caller's promise.
    if unsafe { crate::engine::free_code(info) } {
        FREED[reason].pieces.fetch_add(1, Ordering::Relaxed);
        FREED[reason].bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What was given back: its kind, how many pieces, their bytes.
pub fn freed() -> impl Iterator<Item = (&'static str, u64, u64)> {
    FREED.iter().map(|kind| {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (kind.what, load(&kind.pieces), load(&kind.bytes))
    })
}
