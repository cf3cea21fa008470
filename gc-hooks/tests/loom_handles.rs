//! Model of the handle table's free list: no slot is handed out twice. The mutant (`planted-bug`) looks and takes in two
//! steps.
#![cfg(loom)]

use corten_gc_hooks::handles::SlotPool;
use loom::sync::Arc;
use loom::thread;

#[test]
#[cfg_attr(feature = "planted-bug", should_panic)]
fn slots_are_exclusive() {
    loom::model(|| {
        let pool = Arc::new(SlotPool::new());
        let first = pool.take(|| (4096, vec![3, 2, 1]));
        assert_eq!(first, 1);
        let other = {
            let pool = pool.clone();
            thread::spawn(move || {
                let slot = pool.take(|| (8192, vec![11]));
                assert_ne!(slot, 0);
                slot
            })
        };
        let mine = pool.take(|| (8192, vec![12]));
        pool.give_back(first);
        let theirs = other.join().expect("thread");
        assert_ne!(mine, theirs);
        assert_eq!(pool.live(), 2);
    });
}
