//! Random suspension: a thread that stops the world at random moments (`CORTEN_GCSTRESS=suspend:SEED`).
//!
//! Each time the stacks of all threads are walked and every root must hold null or an object; one time in eight there is a
//! collection as well. Unlike the other stress modes it leaves allocation fast, so threads are stopped in the midst of optimised
//! loops, in transitions and while they wait for each other.

use std::time::Duration;

use crate::heap::{CollectionReason, Heap};
use crate::safepoint::ThreadRegistry;

/// Longest time between two suspensions, in microseconds.
const LONGEST: u64 = 400;

/// Starts the thread. A system that has no thread for it runs without this stress, and says so.
pub(crate) fn start(seed: u32) {
    let mut state = (u64::from(seed) << 1 | 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let body = move || {
        loop {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            std::thread::sleep(Duration::from_micros((state >> 20) % LONGEST));
            if let Some(heap) = Heap::try_get().filter(|heap| heap.provider.get().is_some()) {
                suspend(heap, state >> 40);
            }
        }
    };
    if let Err(error) = std::thread::Builder::new()
        .name("suspension stress".to_owned())
        .spawn(body)
    {
        eprintln!("CORTEN_GCSTRESS=suspend has no effect: {error}");
    }
}

fn suspend(heap: &Heap, random: u64) {
    ThreadRegistry::get().stop_the_world(None, |world| {
        let mut collector = heap.collector.lock();
        match random % 64 {
            0 => collector.collect(heap, world, 2, CollectionReason::Stress),
            1 => collector.collect(heap, world, 1, CollectionReason::Stress),
            n if n < 8 => collector.collect(heap, world, 0, CollectionReason::Stress),
            _ => collector.check_roots(heap, world),
        }
    });
}
