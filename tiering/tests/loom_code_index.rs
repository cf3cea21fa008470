//! Loom model of the code map's readers: whoever finds a record sees it whole, also while code is removed. With
//! `--features planted-bug` publication does not order the record before its address, and loom must find the failure.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]
#![cfg(loom)]

use corten_tiering::code_index::{find, publish};
use loom::{
    cell::UnsafeCell,
    sync::{Arc, atomic::AtomicPtr},
    thread,
};

/// What is known of a piece of code.
struct Record {
    length: UnsafeCell<usize>,
}

#[test]
#[cfg_attr(feature = "planted-bug", should_panic)]
fn readers_see_whole_records() {
    loom::model(|| {
        let table: Arc<[AtomicPtr<Record>; 2]> = Arc::new(std::array::from_fn(|_| AtomicPtr::default()));
        let record = Arc::new(Record {
            length: UnsafeCell::new(0),
        });
        let address = Arc::as_ptr(&record).cast_mut();
        let reader = {
            let (table, record) = (table.clone(), record.clone());
            thread::spawn(move || {
                for slot in table.iter() {
                    let found = find(slot);
                    if !found.is_null() {
                        assert_eq!(found, Arc::as_ptr(&record).cast_mut());
                        // The record is kept alive by both threads; loom reports a read that is not ordered after the write.
                        record.length.with(|length| assert_eq!(unsafe { *length }, 2));
                    }
                }
            })
        };
        record.length.with_mut(|length| unsafe { *length = 2 });
        publish(table.iter(), address);
        publish(table.iter(), std::ptr::null_mut());
        reader.join().unwrap();
        assert!(table.iter().all(|slot| find(slot).is_null()));
    });
}
