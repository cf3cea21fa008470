//! Models of reclamation: calls and replacements of loops race publication and the look for unused code.
//!
//! "Addresses" are numbers of pieces, whose contents are data: reading one is running it, and freed code holds [`FREED`]. A thread
//! in cooperative mode holds the world for reading, the collector stops the world by holding it for writing. At a safepoint a
//! thread lets the world go for a moment; what it runs then is in its frames, which the collector sees.
#![cfg(loom)]

use corten_tiering::{Answer, Compiler, Config, Patchpoints, Promotion, Publisher, Reached, Tier};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex, RwLock};

const TIER0: usize = 0;
const TIER1: usize = 1;
const LOOP: usize = 2;
const FREED: u32 = 0xcc;
const METHOD: u32 = 7;

struct Engine {
    entry: AtomicUsize,
    code: [UnsafeCell<u32>; 3],
}

impl Engine {
    fn new() -> Engine {
        Engine {
            entry: AtomicUsize::new(TIER0),
            code: [UnsafeCell::new(10), UnsafeCell::new(20), UnsafeCell::new(30)],
        }
    }
    fn run(&self, at: usize) {
        self.code[at].with(|code| assert_ne!(unsafe { *code }, FREED, "freed code runs"));
    }
    fn free(&self, at: usize) {
        self.code[at].with_mut(|code| unsafe { *code = FREED });
    }
}

impl Compiler for Engine {
    type Method = u32;
    type Code = usize;
    type Error = ();
    fn compile(&self, _: u32, _: Tier) -> Result<usize, ()> {
        Ok(TIER1)
    }
}
impl Publisher for Engine {
    fn publish(&self, _: u32, code: usize, _: Tier) {
        self.entry.store(code, Ordering::Release);
    }
    fn replaced(&self, _: u32, by: usize) -> Option<usize> {
        Some(self.entry.load(Ordering::Acquire)).filter(|&old| old != by)
    }
}

struct Process {
    promotion: Promotion<Engine>,
    patchpoints: Patchpoints<u32, usize>,
    world: RwLock<()>,
    /// Code that the calling thread has frames of.
    frames: Mutex<Vec<usize>>,
}

impl Process {
    fn new() -> Arc<Process> {
        let promotion = Promotion::new(Engine::new(), Config::default());
        promotion.publish_first(METHOD, TIER0, Tier::Tier0, 0);
        assert_eq!(promotion.threshold_reached(METHOD), Reached::StartWorker);
        Arc::new(Process {
            promotion,
            patchpoints: Patchpoints::new(1),
            world: RwLock::new(()),
            frames: Mutex::new(Vec::new()),
        })
    }

    fn engine(&self) -> &Engine {
        self.promotion.target()
    }

    /// What the background thread does.
    fn promote(&self) {
        self.promotion.step(u64::MAX, false);
    }

    /// A collection. `looks`: at the stacks.
    fn collect(&self, looks: bool) {
        let _stopped = self.world.write().unwrap();
        let frames = self.frames.lock().unwrap();
        let runs = |code: &usize| looks && frames.contains(code);
        for unused in self.promotion.unused(usize::MAX, runs) {
            self.patchpoints.forget(|&method| method == unused.method);
            self.engine().free(unused.code);
        }
    }

    /// Calls code, which reaches a safepoint.
    fn call(&self, at: usize, held: loom::sync::RwLockReadGuard<'_, ()>) {
        self.engine().run(at);
        self.frames.lock().unwrap().push(at);
        drop(held);
        let _held = self.world.read().unwrap();
        self.engine().run(at);
        self.frames.lock().unwrap().pop();
    }
}

fn in_parallel(process: &Arc<Process>, others: &[fn(&Process)], own: impl FnOnce(&Process)) {
    let threads: Vec<_> = others
        .iter()
        .map(|&other| {
            let process = process.clone();
            loom::thread::spawn(move || other(&process))
        })
        .collect();
    own(process);
    threads.into_iter().for_each(|t| t.join().unwrap());
}

fn calls_race_reclamation(looks: bool) {
    loom::model(move || {
        let process = Process::new();
        let collector: fn(&Process) = if looks {
            |p| p.collect(true)
        } else {
            |p| p.collect(false)
        };
        in_parallel(&process, &[Process::promote, collector], |p| {
            let held = p.world.read().unwrap();
            let at = p.engine().entry.load(Ordering::Acquire);
            p.call(at, held);
        });
        // In the end it goes, once.
        process.collect(true);
        assert_eq!(process.promotion.retired(), (0, 0));
        process.engine().code[TIER0].with(|code| assert_eq!(unsafe { *code }, FREED));
        process.engine().run(TIER1);
    });
}

#[test]
fn code_that_runs_stays() {
    calls_race_reclamation(true);
}

/// The planted bug: the stacks are not looked at.
#[test]
#[should_panic(expected = "freed code runs")]
fn mutant_that_looks_at_no_stack_is_caught() {
    calls_race_reclamation(false);
}

/// The prestub learns an address in preemptive mode, and jumps in cooperative mode.
fn the_prestub_races_reclamation(asks_again: bool) {
    loom::model(move || {
        let process = Process::new();
        in_parallel(&process, &[Process::promote, |p| p.collect(true)], |p| {
            let mut at = p.engine().entry.load(Ordering::Acquire);
            let held = p.world.read().unwrap();
            p.promotion.publish_first(METHOD, TIER0, Tier::Tier0, 0);
            if asks_again {
                at = p.engine().entry.load(Ordering::Acquire);
            }
            p.call(at, held);
        });
    });
}

#[test]
fn the_prestub_asks_again() {
    the_prestub_races_reclamation(true);
}

/// The planted bug: it goes where it wanted to go before.
#[test]
#[should_panic(expected = "freed code runs")]
fn mutant_prestub_that_does_not_ask_again_is_caught() {
    the_prestub_races_reclamation(false);
}

/// A frame of slow code enters the replacement of its loop, which another thread has compiled meanwhile, while its method is
/// promoted and a collection looks for unused code.
#[test]
fn replacements_of_loops_live_as_long_as_the_frames_that_enter_them() {
    loom::model(|| {
        let process = Process::new();
        process.frames.lock().unwrap().push(TIER0);
        assert_eq!(process.patchpoints.reached(METHOD, false), Answer::Compile);
        let compiles = |p: &Process| {
            p.patchpoints.compiled(METHOD, Some(LOOP));
            p.promotion.loop_replaced(METHOD, LOOP);
            p.collect(true);
        };
        in_parallel(&process, &[Process::promote, compiles], |p| {
            let held = p.world.read().unwrap();
            if let Answer::Enter(at) = p.patchpoints.reached(METHOD, false) {
                p.call(at, held);
            }
            p.frames.lock().unwrap().pop();
        });
        // Whichever came first, all slower code goes in the end, and nobody is led there.
        process.collect(true);
        assert_eq!(process.promotion.retired(), (0, 0));
        for code in [TIER0, LOOP] {
            process.engine().code[code].with(|code| assert_eq!(unsafe { *code }, FREED));
        }
        assert!(!matches!(process.patchpoints.reached(METHOD, false), Answer::Enter(_)));
    });
}
