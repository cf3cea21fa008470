//! From Tier 0 to Tier 1: who is queued, when the queue is served, whose code callers see.

use crate::retired::{Retired, Unused};
use crate::sync::{Mutex, MutexGuard};
use crate::{Compiler, Config, Tier};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Makes code visible to callers.
pub trait Publisher: Compiler {
    /// Later calls of `method` go to `code`. Called under the lock of [`Promotion`]: must not call back into it, nor run
    /// managed code.
    fn publish(&self, method: Self::Method, code: Self::Code, tier: Tier);

    /// The code that calls of `method` reach, if [`publish`](Self::publish) of `by` will end that and its memory is to be given
    /// back once nobody runs it ([`Promotion::unused`]). Called under the same lock, before `publish`.
    fn replaced(&self, method: Self::Method, by: Self::Code) -> Option<Self::Code> {
        let _ = (method, by);
        None
    }

    /// The tier that follows `from`, which is below [`Tier::Tier1`], for a method that was called often. `hot`: it does not wait
    /// for the quiet period.
    fn next_tier(&self, method: Self::Method, from: Tier, hot: bool) -> Tier {
        let _ = (method, from, hot);
        Tier::Tier1
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Runs; below Tier 1 its calls are counted.
    Settled,
    /// Waits for a background thread.
    Queued,
    /// A background thread compiles it.
    Compiling,
    /// The compiler refused the next tier: it stays where it is for good.
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State {
    /// Of the code that callers see.
    tier: Tier,
    phase: Phase,
    /// Does not wait for the quiet period.
    hot: bool,
}

struct Inner<M, C> {
    states: FxHashMap<M, State>,
    retired: Retired<M, C>,
    queue: VecDeque<M>,
    /// The hot ones; goes first. They may be in `queue`, too.
    urgent: VecDeque<M>,
    /// Milliseconds; nothing is promoted before.
    quiet_at: u64,
    worker: bool,
    stopped: bool,
}

/// What a call of [`Promotion::threshold_reached`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached {
    /// Queued, on its way or done before; or not at Tier 0.
    Known,
    /// Queued, a background thread will see it.
    Queued,
    /// Queued, and the caller must start a background thread, which calls [`Promotion::step`] until it answers
    /// [`Step::Ended`].
    StartWorker,
}

/// What a background thread does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// One method was dealt with.
    Worked,
    /// Come back after so many milliseconds (new Tier-0 code restarted the quiet period).
    Wait(u64),
    /// The queue is empty.
    Idle,
    /// The thread ends; the next queued method starts another.
    Ended,
}

/// Methods on their way to Tier 1.
///
/// The caller supplies the time, in milliseconds of any monotonic clock, and the threads.
///
/// Invariants: a method is compiled at most once at each tier; the tier that callers see never falls (a thread that is late
/// with Tier-0 code cannot replace Tier-1 code); a queued method always has a background thread, running or requested by
/// [`Reached::StartWorker`]; code that calls no longer reach is retired in the same step that takes it away from them.
pub struct Promotion<T: Publisher> {
    target: T,
    config: Config,
    inner: Mutex<Inner<T::Method, T::Code>>,
}

impl<T: Publisher> Promotion<T> {
    /// Nothing known yet.
    pub fn new(target: T, config: Config) -> Self {
        Promotion {
            target,
            config,
            inner: Mutex::new(Inner {
                states: FxHashMap::default(),
                retired: Retired::default(),
                queue: VecDeque::new(),
                urgent: VecDeque::new(),
                quiet_at: 0,
                worker: false,
                stopped: false,
            }),
        }
    }

    /// The compiler and publisher.
    pub fn target(&self) -> &T {
        &self.target
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T::Method, T::Code>> {
        match self.inner.lock() {
            Ok(inner) => inner,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// The switches.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tier a first compilation uses. `eligible` is false for methods that are never tiered (dynamic methods,
    /// AggressiveOptimization), `loops` says whether the IL has backward branches.
    pub fn first_tier(&self, eligible: bool, loops: bool) -> Tier {
        let c = &self.config;
        if c.enabled && c.quick_jit && eligible && (c.quick_jit_for_loops || !loops) {
            Tier::Tier0
        } else {
            Tier::Tier1
        }
    }

    /// Publishes the code of a first compilation, unless optimised code is out already. A new method at Tier 0 restarts the
    /// quiet period.
    pub fn publish_first(&self, method: T::Method, code: T::Code, tier: Tier, now: u64) {
        let mut inner = self.lock();
        let settled = State {
            tier,
            phase: Phase::Settled,
            hot: false,
        };
        let before = inner.states.get(&method).map(|known| known.tier);
        match before {
            Some(known) if known > tier => return,
            Some(known) if known == tier => {}
            Some(_) => {
                inner.states.insert(method, settled);
            }
            None => {
                if tier == Tier::Tier0 {
                    let quiet = u64::try_from(self.config.quiet_period.as_millis()).unwrap_or(u64::MAX);
                    inner.quiet_at = inner.quiet_at.max(now.saturating_add(quiet));
                }
                inner.states.insert(method, settled);
            }
        }
        self.publish(&mut inner, method, code, before, tier);
    }

    /// Lets calls reach `code`, and retires what they reached before, which was of tier `from`.
    fn publish(
        &self,
        inner: &mut Inner<T::Method, T::Code>,
        method: T::Method,
        code: T::Code,
        from: Option<Tier>,
        tier: Tier,
    ) {
        let old = self.target.replaced(method, code);
        self.target.publish(method, code, tier);
        if let (Some(old), Some(from)) = (old, from) {
            inner.retired.body(method, old, from);
        }
        if tier == Tier::Tier1 {
            inner.retired.loops_of(method);
        }
    }

    /// There is new code that replaces a loop of `method` in frames of its code below Tier 1: it goes when that code goes.
    pub fn loop_replaced(&self, method: T::Method, code: T::Code) {
        let mut inner = self.lock();
        // Compiled too late?
        let last = inner.states.get(&method).is_some_and(|state| state.tier == Tier::Tier1);
        inner.retired.replacement(method, code, last);
    }

    /// Pieces of code that calls no longer reach, and how many of them came since the last [`unused`](Self::unused).
    pub fn retired(&self) -> (usize, usize) {
        self.lock().retired.counts()
    }

    /// Takes out retired code that nobody runs, of whole methods, until there are `enough` pieces. It may be freed.
    ///
    /// While this runs no thread may take an address of code from where publication puts it and keep it for later: all threads
    /// that run code are stopped, and those that were stopped between taking an address and going there take it again (modelled
    /// in `tests/loom_reclamation.rs`). `runs` says whether a frame of a piece is on some stack.
    pub fn unused(&self, enough: usize, runs: impl FnMut(&T::Code) -> bool) -> Vec<Unused<T::Method, T::Code>> {
        self.lock().retired.unused(enough, runs)
    }

    /// Tier-0 code counted down to zero. Any number of threads may report the same method.
    pub fn threshold_reached(&self, method: T::Method) -> Reached {
        let mut inner = self.lock();
        if inner.stopped {
            return Reached::Known;
        }
        let hot = match inner.states.get_mut(&method) {
            Some(state) if state.tier < Tier::Tier1 && state.phase == Phase::Settled => {
                state.phase = Phase::Queued;
                state.hot
            }
            _ => return Reached::Known,
        };
        if hot {
            inner.urgent.push_back(method);
        } else {
            inner.queue.push_back(method);
        }
        Self::reached(&mut inner)
    }

    /// So much time goes into `method` that its promotion does not wait for the quiet period: unoptimised code may cost more
    /// than compiling takes from a program that starts. Any number of threads may report the same method.
    pub fn hot(&self, method: T::Method) -> Reached {
        let mut inner = self.lock();
        if inner.stopped {
            return Reached::Known;
        }
        match inner.states.get_mut(&method) {
            Some(state) if state.tier < Tier::Tier1 && !state.hot => {
                state.hot = true;
                match state.phase {
                    Phase::Settled | Phase::Queued => state.phase = Phase::Queued,
                    Phase::Compiling | Phase::Refused => return Reached::Known,
                }
            }
            _ => return Reached::Known,
        }
        inner.urgent.push_back(method);
        Self::reached(&mut inner)
    }

    /// A method was queued.
    fn reached(inner: &mut Inner<T::Method, T::Code>) -> Reached {
        if std::mem::replace(&mut inner.worker, true) {
            Reached::Queued
        } else {
            Reached::StartWorker
        }
    }

    /// One step of a background thread. `expired`: it has been idle for [`Config::worker_timeout`] and wants to end.
    pub fn step(&self, now: u64, expired: bool) -> Step {
        let (method, from, hot) = {
            let mut inner = self.lock();
            let empty = inner.queue.is_empty() && inner.urgent.is_empty();
            if inner.stopped || (expired && empty) {
                inner.worker = false;
                return Step::Ended;
            }
            let quiet = now >= inner.quiet_at;
            let next = match inner.urgent.pop_front() {
                None if empty => return Step::Idle,
                None if !quiet => return Step::Wait(inner.quiet_at - now),
                None => inner.queue.pop_front(),
                urgent => urgent,
            };
            let Some(method) = next else {
                return Step::Idle;
            };
            match inner.states.get_mut(&method) {
                Some(state) if state.phase == Phase::Queued => {
                    state.phase = Phase::Compiling;
                    (method, state.tier, state.hot)
                }
                // It was queued again because it is hot, and this is the older request.
                _ => return Step::Worked,
            }
        };
        let next = self.target.next_tier(method, from, hot);
        // If the compiler unwinds, the method stays marked and where it is.
        let result = self.target.compile(method, next);
        let mut inner = self.lock();
        let hot = inner.states.get(&method).is_some_and(|state| state.hot);
        match result {
            Ok(code) => {
                let state = State {
                    tier: next,
                    phase: Phase::Settled,
                    hot,
                };
                inner.states.insert(method, state);
                self.publish(&mut inner, method, code, Some(from), next);
            }
            Err(_) => {
                let state = State {
                    tier: from,
                    phase: Phase::Refused,
                    hot,
                };
                inner.states.insert(method, state);
            }
        }
        Step::Worked
    }

    /// Ends background work: at process exit.
    pub fn stop(&self) {
        let mut inner = self.lock();
        inner.stopped = true;
        inner.queue.clear();
        inner.urgent.clear();
    }

    /// Methods that wait for a background thread.
    pub fn queue_length(&self) -> usize {
        let inner = self.lock();
        inner.queue.len() + inner.urgent.len()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[derive(Default)]
    struct Log(RefCell<Vec<(u32, Tier)>>);
    impl Compiler for Log {
        type Method = u32;
        type Code = ();
        type Error = ();
        fn compile(&self, method: u32, _: Tier) -> Result<(), ()> {
            if method == 13 { Err(()) } else { Ok(()) }
        }
    }
    impl Publisher for Log {
        fn publish(&self, method: u32, (): (), tier: Tier) {
            self.0.borrow_mut().push((method, tier));
        }
    }

    #[test]
    fn a_hot_method_is_promoted_once_and_after_the_quiet_period() {
        let p = Promotion::new(Log::default(), Config::default());
        assert_eq!(p.threshold_reached(1), Reached::Known);
        p.publish_first(1, (), Tier::Tier0, 1000);
        assert_eq!(p.threshold_reached(1), Reached::StartWorker);
        assert_eq!(p.threshold_reached(1), Reached::Known);
        assert_eq!(p.step(1050, false), Step::Wait(50));
        p.publish_first(2, (), Tier::Tier0, 1060);
        assert_eq!(p.threshold_reached(2), Reached::Queued);
        assert_eq!(p.step(1100, false), Step::Wait(60));
        assert_eq!(p.step(1160, false), Step::Worked);
        assert_eq!(p.step(1160, true), Step::Worked);
        assert_eq!(p.step(1160, false), Step::Idle);
        assert_eq!(p.step(1160, true), Step::Ended);
        // Late Tier-0 code does not replace the better one.
        p.publish_first(1, (), Tier::Tier0, 1170);
        let expected = [(1, Tier::Tier0), (2, Tier::Tier0), (1, Tier::Tier1), (2, Tier::Tier1)];
        assert_eq!(*p.target().0.borrow(), expected);
    }

    #[test]
    fn hot_methods_do_not_wait() {
        let p = Promotion::new(Profiling(Log::default()), Config::default());
        assert_eq!(p.hot(1), Reached::Known);
        for m in 1..=3 {
            p.publish_first(m, (), Tier::Tier0, 1000);
        }
        assert_eq!(p.threshold_reached(3), Reached::StartWorker);
        assert_eq!(p.threshold_reached(2), Reached::Queued);
        assert_eq!(p.hot(2), Reached::Queued);
        assert_eq!(p.hot(2), Reached::Known);
        // Method 1 is counted no more calls before it is reported, and its profile is not waited for either.
        assert_eq!(p.hot(1), Reached::Queued);
        assert_eq!(p.step(1001, false), Step::Worked);
        assert_eq!(p.step(1001, false), Step::Worked);
        assert_eq!(p.step(1001, false), Step::Wait(99));
        assert_eq!(p.threshold_reached(1), Reached::Queued);
        assert_eq!(p.step(1001, false), Step::Worked);
        assert_eq!(p.queue_length(), 2);
        // The older request of method 2 compiles nothing.
        assert_eq!(p.step(1100, false), Step::Worked);
        assert_eq!(p.step(1100, false), Step::Worked);
        assert_eq!(p.step(1100, false), Step::Idle);
        let tiers = p.target().0.0.borrow();
        let expected = [
            (2, Tier::Tier1),
            (1, Tier::Instrumented),
            (1, Tier::Tier1),
            (3, Tier::Tier1),
        ];
        assert_eq!(tiers[3..], expected);
    }

    struct Profiling(Log);
    impl Compiler for Profiling {
        type Method = u32;
        type Code = ();
        type Error = ();
        fn compile(&self, _: u32, _: Tier) -> Result<(), ()> {
            Ok(())
        }
    }
    impl Publisher for Profiling {
        fn publish(&self, method: u32, (): (), tier: Tier) {
            self.0.publish(method, (), tier);
        }
        fn next_tier(&self, method: u32, from: Tier, _: bool) -> Tier {
            if method == 1 && from == Tier::Tier0 {
                Tier::Instrumented
            } else {
                Tier::Tier1
            }
        }
    }

    #[test]
    fn profiles_are_collected_on_the_way() {
        let p = Promotion::new(Profiling(Log::default()), Config::default());
        p.publish_first(1, (), Tier::Tier0, 0);
        p.publish_first(2, (), Tier::Tier0, 0);
        for reached in [Reached::StartWorker, Reached::Queued] {
            assert_eq!(p.threshold_reached(1), reached);
            assert_eq!(p.step(100, false), Step::Worked);
            // Late Tier-0 code changes nothing.
            p.publish_first(1, (), Tier::Tier0, 0);
        }
        assert_eq!(p.threshold_reached(1), Reached::Known);
        p.threshold_reached(2);
        assert_eq!(p.step(100, false), Step::Worked);
        let log = &p.target().0.0;
        let expected = [
            (1, Tier::Tier0),
            (2, Tier::Tier0),
            (1, Tier::Instrumented),
            (1, Tier::Tier1),
            (2, Tier::Tier1),
        ];
        assert_eq!(*log.borrow(), expected);
    }

    #[test]
    fn a_refused_method_stays_where_it_is() {
        let p = Promotion::new(Log::default(), Config::default());
        p.publish_first(13, (), Tier::Tier0, 0);
        assert_eq!(p.threshold_reached(13), Reached::StartWorker);
        assert_eq!(p.step(100, false), Step::Worked);
        assert_eq!(p.threshold_reached(13), Reached::Known);
        assert_eq!(*p.target().0.borrow(), [(13, Tier::Tier0)]);
    }

    #[test]
    fn switches_choose_the_first_tier() {
        let with = |name: &'static str, eligible, loops| {
            let config = Config::read(|n| (n == name).then(|| "0".to_string()), |_| None);
            Promotion::new(Log::default(), config).first_tier(eligible, loops)
        };
        assert_eq!(with("", true, true), Tier::Tier0);
        assert_eq!(with("", false, false), Tier::Tier1);
        assert_eq!(with("DOTNET_TieredCompilation", true, false), Tier::Tier1);
        assert_eq!(with("DOTNET_TC_QuickJit", true, false), Tier::Tier1);
        assert_eq!(with("DOTNET_TC_QuickJitForLoops", true, false), Tier::Tier0);
        assert_eq!(with("DOTNET_TC_QuickJitForLoops", true, true), Tier::Tier1);
    }

    #[test]
    fn nothing_starts_after_the_end() {
        let p = Promotion::new(Log::default(), Config::default());
        p.publish_first(1, (), Tier::Tier0, 0);
        p.publish_first(2, (), Tier::Tier0, 0);
        assert_eq!(p.threshold_reached(1), Reached::StartWorker);
        p.stop();
        assert_eq!(p.queue_length(), 0);
        assert_eq!(p.threshold_reached(2), Reached::Known);
        assert_eq!(p.step(1000, false), Step::Ended);
    }
}
