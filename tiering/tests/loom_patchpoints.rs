//! Models of on-stack replacement: two frames of one loop reach the limit; a replacement is made while the method is promoted.
#![cfg(loom)]

use corten_tiering::{Answer, Compiler, Config, Patchpoints, Promotion, Publisher, Reached, Requests, Step, Tier};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::time::Duration;

#[test]
fn two_frames_compile_one_replacement() {
    loom::model(|| {
        let p = Arc::new(Patchpoints::new(1));
        let compiled = Arc::new(AtomicUsize::new(0));
        let frame = |p: Arc<Patchpoints<u32, usize>>, compiled: Arc<AtomicUsize>| match p.reached(7, false) {
            Answer::Compile | Answer::CompileHere => {
                compiled.fetch_add(1, Ordering::Relaxed);
                p.compiled(7, Some(1));
            }
            Answer::Enter(code) => assert_eq!(code, 1),
            Answer::Stay | Answer::Promote => {}
        };
        let other = (p.clone(), compiled.clone());
        let t = thread::spawn(move || frame(other.0, other.1));
        frame(p.clone(), compiled.clone());
        t.join().unwrap();
        assert_eq!(compiled.load(Ordering::Relaxed), 1);
        assert_eq!(p.reached(7, false), Answer::Enter(1));
    });
}

/// Two loops are compiled by servers that end when there is nothing left: neither request is lost, neither is served twice.
#[test]
fn replacements_compiled_by_another_thread_arrive() {
    loom::model(|| {
        let p = Arc::new(Patchpoints::<u32, u32>::new(1));
        let requests = Arc::new(Requests::default());
        let frame = |p: Arc<Patchpoints<u32, u32>>, requests: Arc<Requests<u32>>, loop_: u32| {
            assert_eq!(p.reached(loop_, false), Answer::Compile);
            if requests.push(loop_) {
                // The server: another thread in the engine.
                while let Some(key) = requests.take() {
                    assert_eq!(p.reached(key, false), Answer::Stay);
                    p.compiled(key, Some(key * 10));
                }
            }
        };
        let other = (p.clone(), requests.clone());
        let t = thread::spawn(move || frame(other.0, other.1, 1));
        frame(p.clone(), requests.clone(), 2);
        t.join().unwrap();
        assert_eq!(p.reached(1, false), Answer::Enter(10));
        assert_eq!(p.reached(2, false), Answer::Enter(20));
        assert!(requests.withdraw().is_empty());
    });
}

/// What a frame in its loop and later callers see of one method. Code 0 is Tier 0, 1 is Tier 1; the replacement is 2.
#[derive(Default)]
struct Target {
    entry: AtomicUsize,
}
impl Compiler for Target {
    type Method = u32;
    type Code = usize;
    type Error = ();
    fn compile(&self, _: u32, _: Tier) -> Result<usize, ()> {
        Ok(1)
    }
}
impl Publisher for Target {
    fn publish(&self, _: u32, code: usize, _: Tier) {
        self.entry.store(code, Ordering::Release);
    }
}

#[test]
fn promotion_and_replacement_do_not_touch_each_other() {
    loom::model(|| {
        let config = Config {
            quiet_period: Duration::ZERO,
            ..Config::default()
        };
        let promotion = Arc::new(Promotion::new(Target::default(), config));
        let patchpoints = Arc::new(Patchpoints::new(1));
        promotion.publish_first(7, 0, Tier::Tier0, 0);
        let (p, q) = (promotion.clone(), patchpoints.clone());
        let frame = thread::spawn(move || {
            if q.reached((7, 3), false) == Answer::Compile {
                q.compiled((7, 3), Some(2));
            }
            // The frame's method may be published again by a late caller.
            p.publish_first(7, 0, Tier::Tier0, 0);
        });
        if promotion.threshold_reached(7) == Reached::StartWorker {
            assert_eq!(promotion.step(0, false), Step::Worked);
        }
        frame.join().unwrap();
        assert_eq!(patchpoints.reached((7, 3), false), Answer::Enter(2));
        assert_eq!(promotion.target().entry.load(Ordering::Acquire), 1);
    });
}

/// The bug that the lock guards against: looking and then marking in two steps.
#[test]
#[should_panic(expected = "compiled twice")]
fn the_model_sees_two_compilations_without_the_lock() {
    loom::model(|| {
        let state = Arc::new(AtomicUsize::new(0));
        let compiled = Arc::new(AtomicUsize::new(0));
        let frame = |state: Arc<AtomicUsize>, compiled: Arc<AtomicUsize>| {
            if state.load(Ordering::Acquire) == 0 {
                state.store(1, Ordering::Release);
                assert_eq!(compiled.fetch_add(1, Ordering::Relaxed), 0, "compiled twice");
            }
        };
        let other = (state.clone(), compiled.clone());
        let t = thread::spawn(move || frame(other.0, other.1));
        frame(state, compiled);
        t.join().unwrap();
    });
}
