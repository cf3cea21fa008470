//! Figures about collections.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Bytes of objects by space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpaceSizes {
    /// Young objects, with what is unused in their blocks.
    pub nursery: usize,
    /// Old objects.
    pub old: usize,
    /// Large objects.
    pub large: usize,
}

/// What one collection did.
#[derive(Debug, Clone, Copy, Default)]
pub struct CollectionRecord {
    /// 1 for the first collection.
    pub index: u64,
    /// Generation that was collected.
    pub generation: i32,
    /// Time from asking threads to stop until they all had.
    pub stop_time: Duration,
    /// Time that threads stood still, `stop_time` included.
    pub pause: Duration,
    /// Bytes in use before (nursery, old and large blocks).
    pub bytes_before: usize,
    /// Bytes in use after.
    pub bytes_after: usize,
    /// The same by space.
    pub before: SpaceSizes,
    /// The same by space.
    pub after: SpaceSizes,
    /// Bytes that survived the nursery.
    pub promoted: usize,
    /// Objects pinned by handles or conservative roots.
    pub pinned_objects: usize,
    /// Bytes of holes in old blocks.
    pub fragmented: usize,
    /// Objects that became ready for finalization, together with those that were waiting.
    pub finalization_pending: usize,
    /// Whether blocks were evacuated.
    pub compacted: bool,
    /// Whether it ended a concurrent marking.
    pub concurrent: bool,
}

/// Kinds of collections (`GCKind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectionKind {
    /// Of young objects only.
    Young,
    /// Of all objects, in one pause.
    FullAtOnce,
    /// Of all objects, marked beside the program.
    Concurrent,
}

static OBSERVER: std::sync::OnceLock<fn(&CollectionRecord)> = std::sync::OnceLock::new();

/// Has `observer` called at the end of every collection, while the world is stopped. The first one stays.
pub fn observe(observer: fn(&CollectionRecord)) {
    let _ = OBSERVER.set(observer);
}

/// Counters since the start.
#[derive(Default)]
pub struct GcStats {
    counts: [AtomicU64; 3],
    induced: AtomicU64,
    concurrent: AtomicU64,
    abandoned: AtomicU64,
    marker_nanos: AtomicU64,
    promotion_stamp: AtomicU32,
    promoted_bytes: AtomicU64,
    pause_nanos: AtomicU64,
    history: Mutex<History>,
}

#[derive(Default)]
struct History {
    pauses: Vec<u32>,
    /// By generation; the last one is for concurrent markings.
    last: [CollectionRecord; 4],
    started: Option<Instant>,
    ended: Option<Instant>,
}

/// Pauses of the process in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PauseSummary {
    /// Number of pauses.
    pub count: usize,
    /// Median.
    pub p50: u32,
    /// 99th percentile.
    pub p99: u32,
    /// Longest.
    pub max: u32,
    /// Sum.
    pub total: u64,
}

impl GcStats {
    /// `GC.CollectionCount(generation)`: collections of that generation or an older one.
    pub fn collection_count(&self, generation: i32) -> u64 {
        usize::try_from(generation)
            .ok()
            .and_then(|g| self.counts.get(g))
            .map_or(0, |count| count.load(Relaxed))
    }

    /// All collections.
    pub fn collections(&self) -> u64 {
        self.counts[0].load(Relaxed)
    }

    /// Collections that the program asked for.
    pub fn induced_collections(&self) -> u64 {
        self.induced.load(Relaxed)
    }

    /// Bytes that survived the nursery since the start.
    pub fn promoted_bytes(&self) -> u64 {
        self.promoted_bytes.load(Relaxed)
    }

    /// Time that threads stood still since the start.
    pub fn total_pause(&self) -> Duration {
        Duration::from_nanos(self.pause_nanos.load(Relaxed))
    }

    /// Share of the time since the first collection that threads stood still, in percent.
    pub fn pause_percentage(&self) -> f64 {
        match self.history.lock().started {
            Some(started) => 100.0 * self.total_pause().as_secs_f64() / started.elapsed().as_secs_f64().max(1e-9),
            None => 0.0,
        }
    }

    /// The last collection, or the last one of a kind.
    pub fn last_collection(&self, kind: Option<CollectionKind>) -> CollectionRecord {
        let history = self.history.lock();
        let records = match kind {
            None => &history.last[..],
            Some(CollectionKind::Young) => &history.last[..2],
            Some(CollectionKind::FullAtOnce) => &history.last[2..3],
            Some(CollectionKind::Concurrent) => &history.last[3..],
        };
        records
            .iter()
            .copied()
            .max_by_key(|record| record.index)
            .unwrap_or_default()
    }

    /// Time since the last collection ended.
    pub fn since_last_collection(&self) -> Duration {
        self.history.lock().ended.map_or(Duration::MAX, |ended| ended.elapsed())
    }

    /// Distribution of the pauses.
    pub fn pauses(&self) -> PauseSummary {
        let mut pauses = self.history.lock().pauses.clone();
        pauses.sort_unstable();
        let at = |percent: usize| {
            pauses
                .get(pauses.len().saturating_sub(1) * percent / 100)
                .copied()
                .unwrap_or(0)
        };
        PauseSummary {
            count: pauses.len(),
            p50: at(50),
            p99: at(99),
            max: at(100),
            total: pauses.iter().map(|&pause| u64::from(pause)).sum(),
        }
    }

    /// Stamp written into objects that the present collection promotes. It changes with every collection of
    /// generation 1 or 2.
    pub(crate) fn promotion_stamp(&self) -> u32 {
        self.promotion_stamp.load(Relaxed)
    }

    /// Full collections whose marking was concurrent, and concurrent markings that were given up for a full collection at once.
    pub fn concurrent_collections(&self) -> (u64, u64) {
        (self.concurrent.load(Relaxed), self.abandoned.load(Relaxed))
    }

    pub(crate) fn cycle_finished(&self, marker: Duration) {
        self.concurrent.fetch_add(1, Relaxed);
        self.marker_nanos.fetch_add(marker.as_nanos() as u64, Relaxed);
    }

    pub(crate) fn cycle_abandoned(&self) {
        self.abandoned.fetch_add(1, Relaxed);
    }

    pub(crate) fn begin(&self, generation: i32, induced: bool) {
        for count in &self.counts[..=generation.clamp(0, 2) as usize] {
            count.fetch_add(1, Relaxed);
        }
        if induced {
            self.induced.fetch_add(1, Relaxed);
        }
        if generation > 0 {
            self.promotion_stamp.fetch_add(1, Relaxed);
        }
        self.history.lock().started.get_or_insert_with(Instant::now);
    }

    pub(crate) fn finish(&self, record: &mut CollectionRecord) {
        record.index = self.collections();
        self.promoted_bytes.fetch_add(record.promoted as u64, Relaxed);
        self.pause_nanos.fetch_add(record.pause.as_nanos() as u64, Relaxed);
        if let Some(observer) = OBSERVER.get() {
            observer(record);
        }
        let mut history = self.history.lock();
        let kind = if record.concurrent {
            3
        } else {
            record.generation.clamp(0, 2)
        };
        history.last[kind as usize] = *record;
        history.ended = Some(Instant::now());
        if history.pauses.len() >= 1 << 16 {
            // Keep every second sample; the distribution stays.
            let mut odd = false;
            history.pauses.retain(|_| {
                odd = !odd;
                odd
            });
        }
        history
            .pauses
            .push(record.pause.as_micros().min(u128::from(u32::MAX)) as u32);
    }
}

impl fmt::Debug for GcStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text of `--stats gc`.
impl fmt::Display for GcStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        let full = self.collection_count(2);
        let pauses = self.pauses();
        let last = self.last_collection(None);
        writeln!(
            f,
            "gc: {} collections (minor {}, full {full}, induced {}); {} marked concurrently in {:.1} ms, {} given up",
            self.collections(),
            self.collections() - full,
            self.induced_collections(),
            self.concurrent_collections().0,
            self.marker_nanos.load(Relaxed) as f64 / 1e6,
            self.concurrent_collections().1,
        )?;
        writeln!(
            f,
            "gc: pauses p50 {} us, p99 {} us, max {} us, total {:.1} ms ({:.1} % of the time)",
            pauses.p50,
            pauses.p99,
            pauses.max,
            pauses.total as f64 / 1000.0,
            self.pause_percentage(),
        )?;
        writeln!(
            f,
            "gc: survived the nursery {:.1} MB; last collection (generation {}): {:.1} MB -> {:.1} MB, {} pinned objects, \
             {:.1} MB of holes",
            megabytes(self.promoted_bytes() as usize),
            last.generation,
            megabytes(last.bytes_before),
            megabytes(last.bytes_after),
            last.pinned_objects,
            megabytes(last.fragmented),
        )
    }
}
