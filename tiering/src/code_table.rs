//! One compilation per method, however many threads ask.

use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::{Compiler, Tier};
use rustc_hash::FxHashMap;

enum State<C> {
    /// Some thread compiles it.
    InProgress,
    /// Done.
    Ready(C),
}

/// Code of methods, compiled on first request.
///
/// Invariant: between the moment a thread marks a method as in progress and the moment it removes the mark, no other thread
/// calls [`Compiler::compile`] for that method. The mark is removed on success, on error and on unwinding.
pub struct CodeTable<T: Compiler> {
    compiler: T,
    states: Mutex<States<T>>,
    changed: Condvar,
}

struct States<T: Compiler> {
    methods: FxHashMap<T::Method, State<T::Code>>,
    /// Threads that wait for a change. There are hardly ever any, and waking nobody is a system call, too.
    waiting: usize,
}

/// Removes the in-progress mark if compilation fails or unwinds.
struct Mark<'a, T: Compiler> {
    table: &'a CodeTable<T>,
    method: T::Method,
    result: Option<T::Code>,
}

impl<T: Compiler> Drop for Mark<'_, T> {
    fn drop(&mut self) {
        let mut states = self.table.lock();
        match self.result {
            Some(code) => states.methods.insert(self.method, State::Ready(code)),
            None => states.methods.remove(&self.method),
        };
        if states.waiting > 0 {
            self.table.changed.notify_all();
        }
    }
}

impl<T: Compiler> CodeTable<T> {
    /// An empty table.
    pub fn new(compiler: T) -> Self {
        CodeTable {
            compiler,
            states: Mutex::new(States {
                methods: FxHashMap::default(),
                waiting: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// The compiler.
    pub fn compiler(&self) -> &T {
        &self.compiler
    }

    fn lock(&self) -> MutexGuard<'_, States<T>> {
        match self.states.lock() {
            Ok(states) => states,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Forgets the code of a method that is dead: nobody asks for it any more.
    pub fn forget(&self, method: T::Method) {
        let mut states = self.lock();
        if let Some(State::Ready(_)) = states.methods.get(&method) {
            states.methods.remove(&method);
        }
    }

    /// Code of `method`: known, made by this thread at `tier`, or waited for.
    ///
    /// # Errors
    /// The compiler's error, if this thread was the one that compiled.
    pub fn code_of(&self, method: T::Method, tier: Tier) -> Result<T::Code, T::Error> {
        let mut states = self.lock();
        loop {
            match states.methods.get(&method) {
                Some(State::Ready(code)) => return Ok(*code),
                Some(State::InProgress) => {
                    states.waiting += 1;
                    states = match self.changed.wait(states) {
                        Ok(s) => s,
                        Err(poisoned) => poisoned.into_inner(),
                    };
                    states.waiting -= 1;
                }
                None => {
                    states.methods.insert(method, State::InProgress);
                    drop(states);
                    let mut mark = Mark {
                        table: self,
                        method,
                        result: None,
                    };
                    let code = self.compiler.compile(method, tier)?;
                    mark.result = Some(code);
                    return Ok(code);
                }
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counting(AtomicUsize);
    impl Compiler for Counting {
        type Method = u32;
        type Code = u32;
        type Error = ();
        fn compile(&self, method: u32, _: Tier) -> Result<u32, ()> {
            std::thread::sleep(std::time::Duration::from_millis(2));
            let n = self.0.fetch_add(1, Ordering::Relaxed);
            if n == 0 { Err(()) } else { Ok(method + 1) }
        }
    }

    #[test]
    fn an_error_is_not_kept_and_success_is() {
        let table = CodeTable::new(Counting(AtomicUsize::new(0)));
        assert_eq!(table.code_of(1, Tier::Tier0), Err(()));
        std::thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| assert_eq!(table.code_of(1, Tier::Tier0), Ok(2)));
            }
        });
        assert_eq!(table.compiler().0.load(Ordering::Relaxed), 2);
    }
}
