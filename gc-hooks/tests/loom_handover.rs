//! Models of what passes between the marker and minor collections. The mutants (`planted-bug`) empty the inbox in two steps and
//! wait for no step of the marker.
#![cfg(loom)]

use corten_gc_hooks::handover::{Grace, Inbox};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

#[test]
#[cfg_attr(feature = "planted-bug", should_panic)]
fn nothing_in_the_inbox_is_lost() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new());
        let collector = {
            let inbox = inbox.clone();
            thread::spawn(move || {
                inbox.put(1);
                inbox.put(2);
            })
        };
        let mut sum: i32 = inbox.take().iter().sum();
        sum += inbox.take().iter().sum::<i32>();
        collector.join().expect("collector");
        sum += inbox.take().iter().sum::<i32>();
        assert_eq!(sum, 3);
        assert!(inbox.is_empty());
    });
}

/// A large object, which was marked when it was made, as all of them while marking is under way.
struct Model {
    grace: Grace,
    /// A field that refers to it.
    field: AtomicUsize,
    mark: AtomicBool,
    memory: UnsafeCell<u32>,
}

impl Model {
    /// A step of the marker: it reads the field, and scans what is there unless it is marked.
    fn step(&self) {
        if self.field.load(Ordering::Acquire) != 0 && !self.mark.swap(true, Ordering::AcqRel) {
            self.memory.with(|memory| assert_ne!(unsafe { *memory }, 0xDEAD));
        }
        self.grace.step_ends();
    }
}

#[test]
#[cfg_attr(feature = "planted-bug", should_panic)]
fn a_dead_large_object_stays_until_the_marker_has_forgotten_it() {
    loom::model(|| {
        let model = Arc::new(Model {
            grace: Grace::new(),
            field: AtomicUsize::new(1),
            mark: AtomicBool::new(true),
            memory: UnsafeCell::new(1),
        });
        let marker = {
            let model = model.clone();
            thread::spawn(move || {
                model.step();
                model.step();
            })
        };
        // The program drops the object; a collection finds it dead, a later one frees it.
        model.field.store(0, Ordering::Relaxed);
        let since = model.grace.begin();
        if model.grace.is_over(since) {
            model.mark.store(false, Ordering::Relaxed);
            model.memory.with_mut(|memory| unsafe { *memory = 0xDEAD });
        }
        marker.join().expect("marker");
    });
}
