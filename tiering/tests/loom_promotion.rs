//! Models of promotion: two callers reach the threshold, publication races a late first publication, a background thread
//! that ends races a method being queued. Each with the bug it guards against planted.
#![cfg(loom)]

use corten_tiering::{Compiler, Config, Promotion, Publisher, Reached, Step, Tier};
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::time::Duration;

#[derive(Default)]
struct Target {
    compiled: AtomicUsize,
    entry: AtomicUsize,
}
impl Compiler for Target {
    type Method = u32;
    type Code = usize;
    type Error = ();
    fn compile(&self, _: u32, _: Tier) -> Result<usize, ()> {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        Ok(1)
    }
}
impl Publisher for Target {
    fn publish(&self, _: u32, code: usize, _: Tier) {
        self.entry.store(code, Ordering::Release);
    }
}

fn promotion() -> Arc<Promotion<Target>> {
    let config = Config {
        quiet_period: Duration::ZERO,
        ..Config::default()
    };
    Arc::new(Promotion::new(Target::default(), config))
}

#[test]
fn two_callers_at_the_threshold_queue_once() {
    loom::model(|| {
        let p = promotion();
        p.publish_first(7, 0, Tier::Tier0, 0);
        let other = p.clone();
        let t = thread::spawn(move || other.threshold_reached(7));
        let answers = [p.threshold_reached(7), t.join().unwrap()];
        assert_eq!(answers.iter().filter(|a| **a == Reached::StartWorker).count(), 1);
        assert_eq!(p.step(0, false), Step::Worked);
        assert_eq!(p.step(0, false), Step::Idle);
        assert_eq!(p.target().compiled.load(Ordering::Relaxed), 1);
    });
}

/// A method becomes hot while it reaches the threshold, waits or is compiled: it is compiled once.
#[test]
fn hot_methods_are_compiled_once() {
    loom::model(|| {
        let p = promotion();
        p.publish_first(7, 0, Tier::Tier0, 0);
        let (a, b) = (p.clone(), p.clone());
        let hot = thread::spawn(move || a.hot(7));
        let counted = thread::spawn(move || b.threshold_reached(7));
        p.step(0, false);
        let answers = [hot.join().unwrap(), counted.join().unwrap()];
        assert!(answers.iter().filter(|a| **a == Reached::StartWorker).count() <= 1);
        while p.step(0, false) == Step::Worked {}
        assert_eq!(p.target().compiled.load(Ordering::Relaxed), 1);
        assert_eq!(p.target().entry.load(Ordering::Acquire), 1);
        assert_eq!(p.queue_length(), 0);
    });
}

#[test]
fn late_tier0_code_does_not_replace_tier1() {
    loom::model(|| {
        let p = promotion();
        p.publish_first(7, 0, Tier::Tier0, 0);
        p.threshold_reached(7);
        let late = p.clone();
        let t = thread::spawn(move || late.publish_first(7, 0, Tier::Tier0, 0));
        assert_eq!(p.step(0, false), Step::Worked);
        t.join().unwrap();
        assert_eq!(p.target().entry.load(Ordering::Acquire), 1);
    });
}

#[test]
fn a_queued_method_has_a_thread() {
    loom::model(|| {
        let p = promotion();
        p.publish_first(1, 0, Tier::Tier0, 0);
        p.publish_first(2, 0, Tier::Tier0, 0);
        assert_eq!(p.threshold_reached(1), Reached::StartWorker);
        assert_eq!(p.step(0, false), Step::Worked);
        let ending = p.clone();
        let t = thread::spawn(move || ending.step(0, true));
        let reached = p.threshold_reached(2);
        let alive = t.join().unwrap() != Step::Ended;
        assert!(alive != (reached == Reached::StartWorker));
    });
}

/// Looking at the state and changing it under two lockings.
#[test]
#[should_panic]
fn mutant_two_lockings_queue_twice() {
    loom::model(|| {
        let queued = Arc::new(Mutex::new(false));
        let jobs = Arc::new(AtomicUsize::new(0));
        let reach = |queued: &Mutex<bool>, jobs: &AtomicUsize| {
            let known = *queued.lock().unwrap();
            if !known {
                *queued.lock().unwrap() = true;
                jobs.fetch_add(1, Ordering::Relaxed);
            }
        };
        let (q, j) = (queued.clone(), jobs.clone());
        let t = thread::spawn(move || reach(&q, &j));
        reach(&queued, &jobs);
        t.join().unwrap();
        assert_eq!(jobs.load(Ordering::Relaxed), 1);
    });
}

/// Deciding under the lock, publishing after it.
#[test]
#[should_panic]
fn mutant_publication_outside_of_the_lock_falls_back() {
    loom::model(|| {
        let optimised = Arc::new(Mutex::new(false));
        let entry = Arc::new(AtomicUsize::new(0));
        let (o, e) = (optimised.clone(), entry.clone());
        let t = thread::spawn(move || {
            let late = *o.lock().unwrap();
            if !late {
                e.store(0, Ordering::Release);
            }
        });
        *optimised.lock().unwrap() = true;
        entry.store(1, Ordering::Release);
        t.join().unwrap();
        assert_eq!(entry.load(Ordering::Acquire), 1);
    });
}

/// The ending thread clears its mark after it left the lock.
#[test]
#[should_panic]
fn mutant_mark_cleared_late_strands_a_method() {
    loom::model(|| {
        let queue = Arc::new(Mutex::new(0));
        let worker = Arc::new(AtomicBool::new(true));
        let (q, w) = (queue.clone(), worker.clone());
        let t = thread::spawn(move || {
            let empty = *q.lock().unwrap() == 0;
            if empty {
                w.store(false, Ordering::Release);
            }
            empty
        });
        *queue.lock().unwrap() += 1;
        let start = !worker.swap(true, Ordering::AcqRel);
        let ended = t.join().unwrap();
        assert!(!ended || start);
    });
}
