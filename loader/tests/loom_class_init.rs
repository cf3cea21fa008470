//! Loom model of lazy type initialisation: an initialiser runs once, whoever goes on sees what it wrote, and threads that
//! initialise each other's types do not wait for ever. The mutant (`planted-bug`) forgets who ran an initialiser before it says
//! that it has run; another one, below, sets the flag too weakly.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p corten-loader --test loom_class_init --release`.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]
#![cfg(loom)]

use corten_loader::init_table::{Begin, InitTable};
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

struct Type {
    done: AtomicUsize,
    statics: UnsafeCell<u32>,
}

struct Model {
    table: InitTable<usize, ()>,
    types: [Type; 2],
}

fn model() -> Arc<Model> {
    Arc::new(Model {
        table: InitTable::new(),
        types: std::array::from_fn(|_| Type {
            done: AtomicUsize::new(0),
            statics: UnsafeCell::new(0),
        }),
    })
}

impl Model {
    /// Uses type `key` on thread `me`; `body` is the rest of its initialiser.
    fn ensure(&self, key: usize, me: u32, mark: Ordering, body: impl FnOnce()) {
        let ty = &self.types[key];
        if ty.done.load(Ordering::Acquire) == 1 {
            return;
        }
        let done = || ty.done.load(Ordering::Acquire) == 1;
        match self.table.begin(key, me, done, || (), |()| ()) {
            Begin::GoOn => {}
            Begin::Failed(()) => panic!("nothing failed"),
            Begin::Run => {
                // Loom reports a second initialiser, and a reader that is not ordered after this.
                ty.statics.with_mut(|statics| unsafe { *statics += 1 });
                body();
                self.table.succeeded(key, || ty.done.store(1, mark));
            }
        }
    }
}

fn once(mark: Ordering) {
    loom::model(move || {
        let m = model();
        let other = {
            let m = m.clone();
            thread::spawn(move || {
                m.ensure(0, 2, mark, || ());
                m.types[0].statics.with(|statics| assert_eq!(unsafe { *statics }, 1));
            })
        };
        m.ensure(0, 1, mark, || ());
        m.types[0].statics.with(|statics| assert_eq!(unsafe { *statics }, 1));
        other.join().unwrap();
    });
}

#[test]
#[cfg_attr(feature = "planted-bug", should_panic)]
fn an_initialiser_runs_once_and_before_any_use() {
    once(Ordering::Release);
}

/// Planted mutant: a flag that does not order the statics before itself.
#[test]
#[should_panic]
fn mutant_with_a_relaxed_flag_is_caught() {
    once(Ordering::Relaxed);
}

#[test]
#[cfg(not(feature = "planted-bug"))]
fn cycles_of_two_threads_do_not_deadlock() {
    loom::model(|| {
        let m = model();
        let other = {
            let m = m.clone();
            thread::spawn(move || m.ensure(1, 2, Ordering::Release, || m.ensure(0, 2, Ordering::Release, || ())))
        };
        m.ensure(0, 1, Ordering::Release, || m.ensure(1, 1, Ordering::Release, || ()));
        other.join().unwrap();
        assert!(m.types.iter().all(|ty| ty.done.load(Ordering::Acquire) == 1));
    });
}
