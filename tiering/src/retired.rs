//! Code that better code has replaced, until nobody runs it any more.
//!
//! A piece of code is *current* (calls reach it), *retired* (calls do not, but frames may still be in it) or *unused* (its memory
//! may be given back). Publication makes it retired; a look at all stacks, with all threads stopped, finds what is unused. That
//! does not change back: nobody finds the address of retired code any more, so no frame of it can come.
//!
//! Code that replaces loops is reached from the frames of a method's slower code only, at any time while they live. So it is
//! retired when the method has its last tier, and the code of a method below that tier goes together.

use crate::Tier;
use rustc_hash::FxHashMap;
use std::hash::Hash;

/// What a piece of code was made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Origin {
    /// Calls of a method, at a tier.
    Body(Tier),
    /// The rest of a frame that was in a loop.
    Loop,
}

/// Code that may be freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unused<M, C> {
    /// Whose it was.
    pub method: M,
    /// The code.
    pub code: C,
    /// What it was for.
    pub origin: Origin,
}

pub(crate) struct Retired<M, C> {
    /// Replacements of loops, current as long as frames may enter them.
    loops: FxHashMap<M, Vec<C>>,
    methods: FxHashMap<M, Vec<(C, Origin)>>,
    pieces: usize,
    /// Since somebody looked for unused ones.
    fresh: usize,
}

impl<M, C> Default for Retired<M, C> {
    fn default() -> Self {
        Retired {
            loops: FxHashMap::default(),
            methods: FxHashMap::default(),
            pieces: 0,
            fresh: 0,
        }
    }
}

impl<M: Copy + Eq + Hash, C: Copy> Retired<M, C> {
    fn retire(&mut self, method: M, code: C, origin: Origin) {
        self.methods.entry(method).or_default().push((code, origin));
        self.pieces += 1;
        self.fresh += 1;
    }

    /// Calls of `method` do not reach `code` any more, which is of tier `tier`.
    pub(crate) fn body(&mut self, method: M, code: C, tier: Tier) {
        self.retire(method, code, Origin::Body(tier));
    }

    /// Code that replaces a loop of `method` was made. `last`: the method has its last tier.
    pub(crate) fn replacement(&mut self, method: M, code: C, last: bool) {
        if last {
            self.retire(method, code, Origin::Loop);
        } else {
            self.loops.entry(method).or_default().push(code);
        }
    }

    /// The method has its last tier.
    pub(crate) fn loops_of(&mut self, method: M) {
        for code in self.loops.remove(&method).unwrap_or_default() {
            self.retire(method, code, Origin::Loop);
        }
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.pieces, self.fresh)
    }

    pub(crate) fn unused(&mut self, enough: usize, mut runs: impl FnMut(&C) -> bool) -> Vec<Unused<M, C>> {
        let mut found = Vec::new();
        self.methods.retain(|&method, pieces| {
            let keep = found.len() >= enough || pieces.iter().any(|(code, _)| runs(code));
            if !keep {
                found.extend(pieces.iter().map(|&(code, origin)| Unused { method, code, origin }));
            }
            keep
        });
        self.pieces -= found.len();
        self.fresh = if found.len() >= enough { self.pieces } else { 0 };
        found
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn codes(unused: &[Unused<u32, &'static str>]) -> Vec<&'static str> {
        let mut codes: Vec<_> = unused.iter().map(|u| u.code).collect();
        codes.sort_unstable();
        codes
    }

    #[test]
    fn code_of_a_method_goes_when_none_of_it_runs() {
        let mut retired = Retired::default();
        retired.replacement(1, "loop", false);
        retired.body(1, "fast", Tier::Tier0);
        // The instrumented code is current: its frames may enter the loop's replacement.
        assert_eq!(codes(&retired.unused(9, |_| false)), ["fast"]);
        retired.body(1, "counting", Tier::Instrumented);
        retired.loops_of(1);
        retired.body(2, "other", Tier::Tier0);
        assert_eq!(retired.counts(), (3, 3));
        assert_eq!(codes(&retired.unused(9, |&code| code == "counting")), ["other"]);
        assert_eq!(retired.counts(), (2, 0));
        assert_eq!(codes(&retired.unused(9, |_| false)), ["counting", "loop"]);
        assert_eq!(retired.counts(), (0, 0));
    }

    #[test]
    fn a_replacement_that_comes_late_is_retired_at_once() {
        let mut retired = Retired::default();
        retired.replacement(1, "late", true);
        let unused = retired.unused(9, |_| false);
        assert_eq!(codes(&unused), ["late"]);
        assert_eq!(unused[0].origin, Origin::Loop);
    }

    #[test]
    fn no_more_than_enough_at_a_time() {
        let mut retired = Retired::default();
        for method in 0..10 {
            retired.body(method, "a", Tier::Tier0);
            retired.body(method, "b", Tier::Instrumented);
        }
        assert_eq!(retired.unused(3, |_| false).len(), 4);
        assert_eq!(retired.counts(), (16, 16));
        assert_eq!(retired.unused(usize::MAX, |_| false).len(), 16);
    }
}
