//! Locks, waits and hash codes of objects that move.
#![cfg(not(loom))]
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corten_gc_hooks::monitor::MonitorError;
use corten_gc_hooks::object::sync_word_value;
use corten_gc_hooks::syncblock::{self, LockError, SyncBlockTable};
use corten_gc_hooks::syncword::{SyncState, decode};
use corten_gc_hooks::{HandleKind, Heap, ObjPtr, PreemptiveGuard};
use support::*;

#[test]
fn hash_codes_survive_moves_and_locks() {
    let _serial = serial();
    let mut thread = attach(2);
    unsafe {
        for locked_first in [false, true] {
            thread.slots[0] = thread.node(1);
            assert_eq!(syncblock::try_hash_code(thread.slots[0]), 0);
            if locked_first {
                assert_eq!(syncblock::enter(&thread.header, thread.slots[0], None), Ok(true));
            }
            let hash = syncblock::hash_code(thread.slots[0]).unwrap();
            assert_ne!(hash, 0);
            for generation in [0, 2] {
                thread.collect(generation);
                assert_eq!(syncblock::hash_code(thread.slots[0]), Ok(hash));
                assert_eq!(syncblock::try_hash_code(thread.slots[0]), hash);
                assert_eq!(syncblock::enter(&thread.header, thread.slots[0], None), Ok(true));
                assert!(syncblock::is_entered(&thread.header, thread.slots[0]));
                syncblock::exit(&thread.header, thread.slots[0]).unwrap();
            }
            if locked_first {
                syncblock::exit(&thread.header, thread.slots[0]).unwrap();
            }
            assert_eq!(
                syncblock::exit(&thread.header, thread.slots[0]),
                Err(LockError::Monitor(MonitorError::NotOwner))
            );
            assert!(matches!(decode(sync_word_value(thread.slots[0])), SyncState::Block(_)));
        }
        let used = SyncBlockTable::get().live_count();
        thread.slots[0] = std::ptr::null_mut();
        thread.collect(2);
        assert!(
            SyncBlockTable::get().live_count() < used,
            "sync blocks of dead objects are freed"
        );
    }
    detach(thread);
}

#[test]
fn contended_lock_excludes() {
    let _serial = serial();
    let mut thread = attach(0);
    let node = thread.node(0);
    let handle = Heap::get().handles().alloc(HandleKind::Strong, node) as usize;
    const THREADS: usize = 4;
    const ROUNDS: usize = 3000;
    let workers: Vec<_> = (0..THREADS)
        .map(|worker| {
            std::thread::spawn(move || {
                let mut thread = attach(1);
                let lock = || unsafe { *(handle as *const ObjPtr) };
                for i in 0..ROUNDS {
                    unsafe {
                        assert_eq!(syncblock::enter(&thread.header, lock(), None), Ok(true));
                        if i % 7 == 0 {
                            assert_eq!(syncblock::enter(&thread.header, lock(), Some(Duration::ZERO)), Ok(true));
                        }
                        let value = value_of(lock());
                        thread.node(i as u64);
                        if i % 500 == worker {
                            thread.collect(0);
                        }
                        *lock().byte_add(24).cast::<u64>() = value + 1;
                        if i % 7 == 0 {
                            syncblock::exit(&thread.header, lock()).unwrap();
                        }
                        syncblock::exit(&thread.header, lock()).unwrap();
                    }
                }
                detach(thread);
            })
        })
        .collect();
    {
        let _outside = PreemptiveGuard::new(&thread.header);
        for worker in workers {
            worker.join().unwrap();
        }
    }
    unsafe {
        assert_eq!(value_of(*(handle as *const ObjPtr)), (THREADS * ROUNDS) as u64);
        Heap::get().handles().free(handle as *mut ObjPtr);
    }
    detach(thread);
}

#[test]
fn wait_pulse_timeout_and_interrupt() {
    let _serial = serial();
    let mut thread = attach(0);
    let node = thread.node(0);
    let handle = Heap::get().handles().alloc(HandleKind::Strong, node) as usize;
    let lock = move || unsafe { *(handle as *const ObjPtr) };
    static HEADER: AtomicUsize = AtomicUsize::new(0);
    let consumer = std::thread::spawn(move || {
        let thread = attach(0);
        HEADER.store(&raw const thread.header as usize, Ordering::Release);
        unsafe {
            // Recursion is given up and restored.
            for _ in 0..3 {
                syncblock::enter(&thread.header, lock(), None).unwrap();
            }
            let mut got = 0;
            while got < 10 {
                while value_of(lock()) == 0 {
                    assert_eq!(syncblock::wait(&thread.header, lock(), None), Ok(true));
                }
                *lock().byte_add(24).cast::<u64>() = 0;
                got += 1;
                syncblock::pulse(&thread.header, lock(), true).unwrap();
            }
            let started = Instant::now();
            assert_eq!(
                syncblock::wait(&thread.header, lock(), Some(Duration::from_millis(20))),
                Ok(false)
            );
            assert!(started.elapsed() >= Duration::from_millis(20));
            let result = syncblock::wait(&thread.header, lock(), None);
            assert_eq!(result, Err(LockError::Monitor(MonitorError::Interrupted)));
            for _ in 0..3 {
                syncblock::exit(&thread.header, lock()).unwrap();
            }
            assert!(syncblock::exit(&thread.header, lock()).is_err());
        }
        // Keep the header alive until the main thread is done with it.
        detach(thread);
    });
    unsafe {
        for i in 0..10 {
            syncblock::enter(&thread.header, lock(), None).unwrap();
            while value_of(lock()) != 0 {
                syncblock::wait(&thread.header, lock(), None).unwrap();
            }
            *lock().byte_add(24).cast::<u64>() = i + 1;
            syncblock::pulse(&thread.header, lock(), false).unwrap();
            syncblock::exit(&thread.header, lock()).unwrap();
            thread.collect(0);
        }
        assert!(syncblock::pulse(&thread.header, lock(), false).is_err());
        let _outside = PreemptiveGuard::new(&thread.header);
        std::thread::sleep(Duration::from_millis(100));
        (*(HEADER.load(Ordering::Acquire) as *const corten_gc_hooks::ThreadHeader)).request_interrupt();
        consumer.join().unwrap();
    }
    unsafe { Heap::get().handles().free(handle as *mut ObjPtr) };
    detach(thread);
}
