//! Stress modes: collections at the worst moments.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::heap::{CollectionReason, Heap};
use crate::space::BLOCK_SIZE;
use crate::thread::ThreadHeader;

/// When to collect out of turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StressMode {
    /// Never.
    #[default]
    Off,
    /// At every allocation.
    EveryAllocation,
    /// At every allocation and every safepoint poll.
    EverySafepoint,
    /// At every Nth allocation.
    EveryNth(u32),
    /// At random allocations, one in 32 on average, by seed.
    Random(u32),
    /// The world is stopped at random moments, by seed, from another thread: all roots are checked then, and sometimes there is a
    /// collection (`suspension.rs`).
    Suspend(u32),
}

impl StressMode {
    /// The mode of a `CORTEN_GCSTRESS` number: 0 off, 1 every allocation, 2 every safepoint, N >= 3 every Nth
    /// allocation.
    pub fn from_number(number: u32) -> Self {
        match number {
            0 => StressMode::Off,
            1 => StressMode::EveryAllocation,
            2 => StressMode::EverySafepoint,
            n => StressMode::EveryNth(n),
        }
    }

    /// The mode of a `CORTEN_GCSTRESS` text: a number (see [`Self::from_number`]), `random:SEED` or `suspend:SEED`. Off if it is
    /// none of them.
    pub fn from_text(text: &str) -> Self {
        let text = text.trim();
        if let Some(seed) = text.strip_prefix("suspend:") {
            return seed.parse().map_or(StressMode::Off, StressMode::Suspend);
        }
        if let Some(seed) = text.strip_prefix("random:") {
            return seed.parse().map_or(StressMode::Off, StressMode::Random);
        }
        text.parse().map_or(StressMode::Off, Self::from_number)
    }

    /// The mode that `CORTEN_GCSTRESS` asks for.
    pub fn from_environment() -> Self {
        std::env::var("CORTEN_GCSTRESS").map_or(StressMode::Off, |text| Self::from_text(&text))
    }
}

/// Every Nth allocation collects; 0 = never.
static PERIOD: AtomicU32 = AtomicU32::new(0);
static POLLS: AtomicU32 = AtomicU32::new(0);
static POISON: AtomicU32 = AtomicU32::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);
/// State of the generator of the random mode; 0 = another mode.
static RANDOM: AtomicU64 = AtomicU64::new(0);

/// Every this many stress collections one is full, and one more for every [`FULL_COST`] bytes of the heap: what full collections
/// cost in all stays in proportion to the minor ones.
const FULL_EVERY: u64 = 16;
/// See [`FULL_EVERY`].
const FULL_COST: u64 = 16 << 10;

/// After so many collections in a row the modes that collect always take every second opportunity, after as many again every
/// fourth and so on: a program that allocates ten million objects ends in bounded time, and has seen 200,000 collections.
const THIN_AFTER: u64 = 20_000;

/// Every how many opportunities there is a collection, at opportunity number `count`.
fn thinning(count: u64) -> u64 {
    // Opportunities of the phases: N, 2 N, 4 N…
    1 << (count / THIN_AFTER + 1).ilog2()
}

/// Bytes of a nursery chunk in which an object of `size` bytes is placed. While stress is on, a chunk serves few allocations, and
/// there is no point in clearing more.
pub(crate) fn chunk_bytes(size: usize) -> usize {
    if disables_inline_allocation() {
        (size + 8).clamp(1024, BLOCK_SIZE)
    } else {
        BLOCK_SIZE
    }
}

/// Switches the mode. Threads attached before keep polling as they did.
pub fn configure(mode: StressMode) {
    let (period, polls) = match mode {
        StressMode::Off => (0, 0),
        StressMode::EveryAllocation => (1, 0),
        StressMode::EverySafepoint => (1, 1),
        StressMode::EveryNth(n) => (n, 0),
        StressMode::Random(_) => (1, 0),
        StressMode::Suspend(_) => (0, 0),
    };
    let state = match mode {
        StressMode::Random(seed) => (u64::from(seed) << 1 | 1).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        _ => 0,
    };
    RANDOM.store(state, Relaxed);
    POLLS.store(polls, Relaxed);
    POISON.store(u32::from(mode != StressMode::Off), Relaxed);
    PERIOD.store(period, Relaxed);
    if let StressMode::Suspend(seed) = mode {
        crate::suspension::start(seed);
    }
}

/// Whether every allocation must take the slow path.
#[inline]
pub fn disables_inline_allocation() -> bool {
    PERIOD.load(Relaxed) != 0
}

/// Whether polls collect.
pub fn polls_collect() -> bool {
    POLLS.load(Relaxed) != 0
}

/// Whether any stress mode is on.
pub fn is_on() -> bool {
    POISON.load(Relaxed) != 0
}

/// Fill for memory that was freed, while stress is on: a stale reference then leads to a non-canonical address.
pub(crate) fn poison() -> Option<u8> {
    is_on().then_some(0xDB)
}

fn collect(heap: &Heap, thread: &ThreadHeader, count: u64) {
    let every = FULL_EVERY + heap.total_memory() as u64 / FULL_COST;
    // Half way between two full collections a concurrent marking starts. What is not marked by the next one is given up.
    let generation = match count % every {
        0 => 2,
        n if n == every / 2 => 1,
        _ => 0,
    };
    heap.run_collection(thread, generation, CollectionReason::Stress);
}

/// Collects at opportunity `count`, unless it is left out.
fn thinned(heap: &Heap, thread: &ThreadHeader, count: u64) {
    static COLLECTIONS: AtomicU64 = AtomicU64::new(0);
    if count.is_multiple_of(thinning(count)) {
        collect(heap, thread, COLLECTIONS.fetch_add(1, Relaxed));
    }
}

/// Hook of the allocation slow path.
pub(crate) fn before_allocation(heap: &Heap, thread: &ThreadHeader) {
    let period = u64::from(PERIOD.load(Relaxed));
    if period == 0 {
        return;
    }
    let mut state = RANDOM.load(Relaxed);
    if state != 0 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // A lost update only makes another sequence; with one thread the sequence depends on the seed alone.
        RANDOM.store(state, Relaxed);
        if !(state >> 32).is_multiple_of(32) {
            return;
        }
    }
    let count = COUNT.fetch_add(1, Relaxed);
    if count.is_multiple_of(period) {
        thinned(heap, thread, count / period);
    }
}

/// Hook of the poll slow path.
pub(crate) fn poll(thread: &ThreadHeader) {
    if let Some(heap) = Heap::try_get()
        && polls_collect()
    {
        thinned(heap, thread, COUNT.fetch_add(1, Relaxed));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_environment() {
        assert_eq!(StressMode::from_text("0"), StressMode::Off);
        assert_eq!(StressMode::from_text("1"), StressMode::EveryAllocation);
        assert_eq!(StressMode::from_text("2"), StressMode::EverySafepoint);
        assert_eq!(StressMode::from_text("50"), StressMode::EveryNth(50));
        assert_eq!(StressMode::from_text("random:7"), StressMode::Random(7));
        assert_eq!(StressMode::from_text("suspend:9"), StressMode::Suspend(9));
        assert_eq!(StressMode::from_text("often"), StressMode::Off);
    }

    #[test]
    fn stress_thins_out() {
        assert_eq!(thinning(0), 1);
        assert_eq!(thinning(THIN_AFTER - 1), 1);
        assert_eq!(thinning(THIN_AFTER), 2);
        assert_eq!(thinning(3 * THIN_AFTER - 1), 2);
        assert_eq!(thinning(3 * THIN_AFTER), 4);
        let collections = (0..10_000_000).filter(|&n: &u64| n.is_multiple_of(thinning(n))).count();
        assert!((150_000..200_000).contains(&collections), "{collections}");
    }
}
