//! Model of a thin lock that is inflated while its owner leaves: exclusion holds and no exit is lost. The mutant
//! (`planted-bug`) leaves with a plain store.
#![cfg(loom)]

use corten_gc_hooks::syncword::{SyncState, ThinResult, install_block, thin_enter, thin_exit};
use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU32;
use loom::sync::{Arc, Mutex};
use loom::thread;

/// A sync block whose monitor can only be tried.
struct Lock {
    word: AtomicU32,
    owner: Mutex<u32>,
    protected: UnsafeCell<u32>,
}

impl Lock {
    fn try_enter(&self, id: u32) -> bool {
        match thin_enter(&self.word, id) {
            ThinResult::Done => return true,
            ThinResult::Inflate => {
                install_block(&self.word, 1, |state| {
                    *self.owner.lock().unwrap() = match state {
                        SyncState::Thin { owner, .. } => owner,
                        _ => 0,
                    };
                });
            }
            ThinResult::Block(_) | ThinResult::NotOwner => {}
        }
        let mut owner = self.owner.lock().unwrap();
        if *owner == 0 {
            *owner = id;
            return true;
        }
        false
    }

    fn exit(&self, id: u32) {
        match thin_exit(&self.word, id) {
            ThinResult::Done => {}
            ThinResult::Block(_) => {
                let mut owner = self.owner.lock().unwrap();
                assert_eq!(*owner, id);
                *owner = 0;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
#[cfg_attr(feature = "planted-bug", should_panic)]
fn inflation_keeps_exclusion() {
    loom::model(|| {
        let lock = Arc::new(Lock {
            word: AtomicU32::new(0),
            owner: Mutex::new(0),
            protected: UnsafeCell::new(0),
        });
        let threads: Vec<_> = [1, 2]
            .into_iter()
            .map(|id| {
                let lock = lock.clone();
                thread::spawn(move || {
                    if lock.try_enter(id) {
                        lock.protected.with_mut(|value| unsafe { *value += 1 });
                        lock.exit(id);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        // Nobody holds it any more.
        assert!(lock.try_enter(3));
    });
}
