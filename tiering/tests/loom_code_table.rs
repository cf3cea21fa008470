//! Model: two threads ask for the same method; it is compiled once and both get the code.
#![cfg(loom)]

use corten_tiering::{CodeTable, Compiler, Tier};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};

struct Once(AtomicUsize);
impl Compiler for Once {
    type Method = u32;
    type Code = usize;
    type Error = ();
    fn compile(&self, _: u32, _: Tier) -> Result<usize, ()> {
        Ok(self.0.fetch_add(1, Ordering::Relaxed) + 7)
    }
}

#[test]
fn compiled_once() {
    loom::model(|| {
        let table = Arc::new(CodeTable::new(Once(AtomicUsize::new(0))));
        let other = table.clone();
        let t = loom::thread::spawn(move || other.code_of(1, Tier::Tier0));
        assert_eq!(table.code_of(1, Tier::Tier0), Ok(7));
        assert_eq!(t.join().unwrap(), Ok(7));
        assert_eq!(table.compiler().0.load(Ordering::Relaxed), 1);
    });
}

/// The planted bug: looking and marking under two separate lockings. The model must catch it.
#[test]
#[should_panic]
fn the_mutant_without_atomic_marking_is_caught() {
    loom::model(|| {
        let done = Arc::new(loom::sync::Mutex::new(false));
        let compiled = Arc::new(AtomicUsize::new(0));
        let ask = |done: &loom::sync::Mutex<bool>, compiled: &AtomicUsize| {
            let known = *done.lock().unwrap();
            if !known {
                compiled.fetch_add(1, Ordering::Relaxed);
                *done.lock().unwrap() = true;
            }
        };
        let (d, c) = (done.clone(), compiled.clone());
        let t = loom::thread::spawn(move || ask(&d, &c));
        ask(&done, &compiled);
        t.join().unwrap();
        assert_eq!(compiled.load(Ordering::Relaxed), 1);
    });
}
