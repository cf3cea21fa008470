//! States of memory, and what loads read in them.
//!
//! Every write makes a new state from the one before it; where paths meet there is a state of its own. A load goes back from its
//! state over writes that cannot touch what it reads, over loops that do not write it, and over meetings whose paths all lead to
//! the same answer.

use super::loops::{Graph, Loop};
use super::memory::{Effect, Effects, Place, Summary};
use super::ssa_view::{Num, View};
use crate::ir::*;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;

/// Name of a state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct State(u32);

/// At the entry; also that of what nothing ever changes.
pub(super) const ENTRY: State = State(0);

/// How a state came about.
#[derive(Debug)]
enum Change {
    /// By anything: it has nothing in common with any other.
    Anything,
    /// From that state by a write; a scalar that was stored, with its type.
    Write(State, Place, Option<(Num, MemTy)>),
    /// Where paths meet, at the start of the block.
    Meeting(Block),
}

/// What a load gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Loaded {
    /// The bytes have not changed since that state.
    Since(State),
    /// What the write that led to that state stored.
    Stored(Num, MemTy, State),
}

/// What a load reads: address, offset and type.
type Key = (Num, i64, MemTy);

/// Steps from state to state for one load.
const FUEL: u32 = 150;

/// The states of one function, as they are found.
pub(super) struct States<'a> {
    graph: &'a Graph,
    changes: Vec<Change>,
    /// By block: the state at its end.
    ends: Vec<Option<State>>,
    /// What loops write, by header.
    loops: FxHashMap<Block, Summary>,
    /// Answers where paths meet.
    seen: FxHashMap<(State, Key), Loaded>,
}

impl<'a> States<'a> {
    pub fn new(graph: &'a Graph, effects: &Effects<'_>, loops: &[Loop]) -> Self {
        States {
            graph,
            changes: vec![Change::Anything],
            ends: vec![None; graph.preds.len()],
            loops: loops
                .iter()
                .map(|l| (l.header, Summary::of(effects, &l.blocks)))
                .collect(),
            seen: FxHashMap::default(),
        }
    }

    fn make(&mut self, change: Change) -> State {
        self.changes.push(change);
        State(self.changes.len() as u32 - 1)
    }

    /// The state at the start of a block, when those of all blocks before it in reverse post-order are known.
    pub fn start(&mut self, entry: Block, block: Block) -> State {
        let preds = &self.graph.preds[block.index()];
        if block == entry {
            return ENTRY;
        }
        let mut known = preds.iter().filter_map(|p| self.ends[p.index()]);
        let waiting = |p: &Block| self.ends[p.index()].is_none();
        let first = known.next().filter(|_| !self.graph.handlers[block.index()]);
        let Some(first) = first else {
            return self.make(Change::Anything);
        };
        let same = known.all(|s| s == first);
        if preds.iter().any(waiting) {
            let natural = preds
                .iter()
                .filter(|p| waiting(p))
                .all(|&p| self.graph.dominates(block, p));
            match self.loops.get(&block).filter(|_| natural) {
                None => return self.make(Change::Anything),
                Some(summary) if summary.is_empty() && same => return first,
                _ => {}
            }
        } else if same {
            return first;
        }
        self.make(Change::Meeting(block))
    }

    pub fn end(&mut self, block: Block, state: State) {
        self.ends[block.index()] = Some(state);
    }

    /// The state behind an operation.
    pub fn step(&mut self, view: &View, state: State, effect: Effect) -> State {
        match effect {
            Effect::Nothing => state,
            Effect::Anything => self.make(Change::Anything),
            Effect::Write(place, value) => {
                let value = value.map(|(v, ty)| (view.num(v), ty));
                self.make(Change::Write(state, place, value))
            }
        }
    }

    /// What a load of those bytes gives in a state.
    pub fn load(&mut self, view: &View, state: State, place: &Place, key: Key) -> Loaded {
        let mut fuel = FUEL;
        self.look(view, state, place, key, &mut fuel)
    }

    fn look(&mut self, view: &View, mut state: State, place: &Place, key: Key, fuel: &mut u32) -> Loaded {
        loop {
            let Some(left) = fuel.checked_sub(1) else {
                return Loaded::Since(state);
            };
            *fuel = left;
            match &self.changes[state.0 as usize] {
                Change::Anything => return Loaded::Since(state),
                Change::Write(before, written, value) => match *value {
                    Some((value, ty)) if written.is(place) => return Loaded::Stored(value, ty, state),
                    _ if written.may_be(place, Some(view)) => return Loaded::Since(state),
                    _ => state = *before,
                },
                &Change::Meeting(block) => {
                    if let Some(&answer) = self.seen.get(&(state, key)) {
                        return answer;
                    }
                    let answer = self.meeting(view, state, block, place, key, fuel);
                    self.seen.insert((state, key), answer);
                    return answer;
                }
            }
        }
    }

    fn meeting(&mut self, view: &View, state: State, block: Block, place: &Place, key: Key, fuel: &mut u32) -> Loaded {
        let new = Loaded::Since(state);
        if self.loops.get(&block).is_some_and(|l| l.may_write(place, None)) {
            return new;
        }
        let graph = self.graph;
        let mut answer = None;
        // What comes around the loop was asked above.
        for &p in graph.preds[block.index()]
            .iter()
            .filter(|&&p| !graph.dominates(block, p))
        {
            let Some(end) = self.ends[p.index()] else { return new };
            let found = self.look(view, end, place, key, fuel);
            if *answer.get_or_insert(found) != found {
                return new;
            }
        }
        answer.unwrap_or(new)
    }
}
