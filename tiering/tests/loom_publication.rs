//! Models of publication: what calls see while code is published, replaced and reclaimed.
//!
//! The engine publishes with one release store to a method's entry word, after the code is complete; calls load the word and
//! jump. Code is freed when the collector has found that no thread can call it any more, which threads tell it at safepoints:
//! that of an unloaded context here, that which better code has replaced in `loom_reclamation.rs`.
#![cfg(loom)]

use corten_tiering::{Compiler, Config, Promotion, Publisher, Reached, Step, Tier};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// One method: its entry word, and code at the "addresses" 0 (Tier 0) and 1 (Tier 1), which is data here.
struct Method {
    entry: AtomicUsize,
    code: [UnsafeCell<u32>; 2],
    order: Ordering,
}

impl Method {
    fn new(order: Ordering) -> Method {
        Method {
            entry: AtomicUsize::new(0),
            code: [UnsafeCell::new(10), UnsafeCell::new(0)],
            order,
        }
    }
    /// A call: what the code at the entry word says.
    fn call(&self) -> u32 {
        let at = self.entry.load(Ordering::Acquire);
        self.code[at].with(|code| unsafe { *code })
    }
}

impl Compiler for Method {
    type Method = u32;
    type Code = usize;
    type Error = ();
    fn compile(&self, _: u32, tier: Tier) -> Result<usize, ()> {
        if tier == Tier::Tier1 {
            self.code[1].with_mut(|code| unsafe { *code = 20 });
            return Ok(1);
        }
        Ok(0)
    }
}
impl Publisher for Method {
    fn publish(&self, _: u32, code: usize, _: Tier) {
        self.entry.store(code, self.order);
    }
}

fn calls_race_publication(order: Ordering) {
    loom::model(move || {
        let p = Arc::new(Promotion::new(Method::new(order), Config::default()));
        p.publish_first(1, 0, Tier::Tier0, 0);
        assert_eq!(p.threshold_reached(1), Reached::StartWorker);
        let worker = p.clone();
        let t = loom::thread::spawn(move || assert_eq!(worker.step(u64::MAX, false), Step::Worked));
        let first = p.target().call();
        let second = p.target().call();
        // Either code, never half of one, and never back.
        assert!(matches!((first, second), (10, 10) | (10, 20) | (20, 20)));
        t.join().unwrap();
        assert_eq!(p.target().call(), 20);
    });
}

#[test]
fn a_call_sees_complete_code() {
    calls_race_publication(Ordering::Release);
}

/// The planted bug: the address may be seen before the code.
#[test]
#[should_panic]
fn mutant_relaxed_publication_is_caught() {
    calls_race_publication(Ordering::Relaxed);
}

/// A caller of collectible code and the collector that unloads it. The caller holds a reference to the context's anchor while
/// it calls (a root), drops it at a safepoint; the collector frees only what no stopped thread holds.
fn unloading_races_calls(waits_for_safepoint: bool) {
    loom::model(move || {
        let method = Arc::new(Method::new(Ordering::Release));
        let held = Arc::new(AtomicBool::new(true));
        let (m, h) = (method.clone(), held.clone());
        let caller = loom::thread::spawn(move || {
            assert_eq!(m.call(), 10);
            // The frame is gone: the next safepoint says so.
            h.store(false, Ordering::Release);
        });
        if !waits_for_safepoint || !held.load(Ordering::Acquire) {
            method.code[0].with_mut(|code| unsafe { *code = 0xcc });
        }
        caller.join().unwrap();
    });
}

#[test]
fn code_is_freed_only_after_its_callers_left() {
    unloading_races_calls(true);
}

/// The planted bug: unloading looks at no thread.
#[test]
#[should_panic]
fn mutant_unloading_at_once_is_caught() {
    unloading_races_calls(false);
}
