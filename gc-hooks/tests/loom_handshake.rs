//! Model of the stop-the-world handshake: no mutator is in cooperative mode while the world is stopped.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p corten-gc-hooks --release --test loom_handshake`; with
//! `--features planted-bug` the fence between the two looks is missing and loom must find the failure.
#![cfg(loom)]

use corten_gc_hooks::handshake::{Gate, Handshake};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use loom::thread;

struct Thread {
    poll: AtomicU32,
    mode: AtomicU32,
}

struct Model {
    handshake: Handshake,
    threads: [Thread; 1],
    /// The "heap": loom reports any access by a mutator that races with the collector's.
    heap: UnsafeCell<u32>,
}

fn gate(thread: &Thread) -> Gate<'_> {
    Gate {
        poll: &thread.poll,
        mode: &thread.mode,
    }
}

fn explore() {
    loom::model(|| {
        let model = Arc::new(Model {
            handshake: Handshake::new(),
            threads: std::array::from_fn(|_| Thread {
                poll: AtomicU32::new(0),
                mode: AtomicU32::new(0),
            }),
            heap: UnsafeCell::new(0),
        });
        let mutator = {
            let model = model.clone();
            thread::spawn(move || {
                let gate = gate(&model.threads[0]);
                model.handshake.leave_preemptive(gate);
                // Cooperative: the heap is ours.
                model.heap.with_mut(|heap| unsafe { *heap += 1 });
                model.handshake.enter_preemptive(gate);
            })
        };
        model.handshake.stop(model.threads.iter().map(gate));
        model.heap.with_mut(|heap| unsafe { *heap += 10 });
        model.handshake.resume(model.threads.iter().map(gate));
        mutator.join().expect("mutator");
        model.heap.with(|heap| assert_eq!(unsafe { *heap }, 11));
    });
}

#[test]
#[cfg_attr(feature = "planted-bug", should_panic)]
fn the_stopped_world_is_stopped() {
    explore();
}
