//! On-stack replacement: which loops are hot, and who compiles their replacements.

use crate::sync::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use std::hash::Hash;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State<C> {
    /// So many questions came from it.
    Counting(u32),
    /// Some thread compiles its replacement.
    Compiling,
    /// Its replacement must be compiled by a frame's own thread.
    Postponed,
    /// Frames go on there.
    Ready(C),
    /// It has no replacement and never will.
    Refused,
}

/// What the frame at a patchpoint does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<C> {
    /// Stay where it is.
    Stay,
    /// The same, but its method should be promoted.
    Promote,
    /// Have the replacement compiled, by any thread, which reports to [`Patchpoints::compiled`].
    Compile,
    /// Compile the replacement before anything else, and report.
    CompileHere,
    /// Go on there.
    Enter(C),
}

/// How many times the limit of questions a loop waits for the optimised code of its method.
const WAIT: u32 = 10;

/// All patchpoints of a process that were asked about, by a key such as (method, IL offset).
///
/// Invariant: at most one thread is told to compile for a key, and nobody is after it has reported.
pub struct Patchpoints<K, C> {
    states: Mutex<FxHashMap<K, State<C>>>,
    limit: u32,
}

impl<K: Copy + Eq + Hash, C: Copy> Patchpoints<K, C> {
    /// `limit`: a loop is compiled at that question.
    pub fn new(limit: u32) -> Self {
        Patchpoints {
            states: Mutex::new(FxHashMap::default()),
            limit,
        }
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<K, State<C>>> {
        match self.states.lock() {
            Ok(states) => states,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// A frame used its iterations up. `again`: its method was called before. Then optimised code of the method serves the
    /// next calls, and the loop is only replaced if it goes on for long.
    pub fn reached(&self, key: K, again: bool) -> Answer<C> {
        let mut states = self.lock();
        let state = states.entry(key).or_insert(State::Counting(0));
        match state {
            State::Counting(n) => {
                *n = n.saturating_add(1);
                if *n < self.limit {
                    return Answer::Stay;
                }
                if again && *n == self.limit {
                    return Answer::Promote;
                }
                if *n > self.limit && *n < self.limit.saturating_mul(WAIT) {
                    return Answer::Stay;
                }
                *state = State::Compiling;
                Answer::Compile
            }
            State::Postponed => {
                *state = State::Compiling;
                Answer::CompileHere
            }
            State::Compiling | State::Refused => Answer::Stay,
            State::Ready(code) => Answer::Enter(*code),
        }
    }

    /// The thread that was to compile the replacement cannot: the next frame that asks does.
    pub fn postpone(&self, key: K) {
        self.lock().insert(key, State::Postponed);
    }

    /// Forgets the loops of methods whose frames are gone.
    pub fn forget(&self, gone: impl Fn(&K) -> bool) {
        self.lock().retain(|key, _| !gone(key));
    }

    /// The end of what [`Answer::Compile`] asked for: the replacement, or `None` if there is none.
    pub fn compiled(&self, key: K, code: Option<C>) {
        self.lock().insert(key, code.map_or(State::Refused, State::Ready));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_compiled_at_the_limit_and_once() {
        let p = Patchpoints::new(3);
        assert_eq!(p.reached(1, false), Answer::Stay);
        assert_eq!(p.reached(1, false), Answer::Stay);
        assert_eq!(p.reached(2, false), Answer::Stay);
        assert_eq!(p.reached(1, false), Answer::Compile);
        assert_eq!(p.reached(1, false), Answer::Stay);
        p.compiled(1, Some("code"));
        assert_eq!(p.reached(1, false), Answer::Enter("code"));
        p.compiled(2, None);
        assert_eq!(p.reached(2, false), Answer::Stay);
    }

    #[test]
    fn a_frame_compiles_what_another_thread_cannot() {
        let p = Patchpoints::new(1);
        assert_eq!(p.reached(1, false), Answer::Compile);
        assert_eq!(p.reached(1, false), Answer::Stay);
        p.postpone(1);
        assert_eq!(p.reached(1, false), Answer::CompileHere);
        assert_eq!(p.reached(1, false), Answer::Stay);
        p.compiled(1, Some("code"));
        assert_eq!(p.reached(1, false), Answer::Enter("code"));
    }

    #[test]
    fn a_loop_in_a_method_called_again_waits_for_its_code() {
        let p = Patchpoints::<_, ()>::new(2);
        assert_eq!(p.reached(1, false), Answer::Stay);
        assert_eq!(p.reached(1, true), Answer::Promote);
        for _ in 3..2 * WAIT {
            assert_eq!(p.reached(1, true), Answer::Stay);
        }
        assert_eq!(p.reached(1, true), Answer::Compile);
    }
}
