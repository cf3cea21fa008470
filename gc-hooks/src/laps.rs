//! `CORTEN_TRACEGC=1`: one line on stderr for every collection, with the processor time of its parts in the thread that collects.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cycle::Plan;
use crate::stats::CollectionRecord;

/// Takes the time of a collection's parts, if somebody wants to know.
#[derive(Debug, Default)]
pub(crate) struct Laps {
    last: Option<Duration>,
    parts: Vec<(&'static str, Duration)>,
}

impl Laps {
    /// A collection begins.
    pub fn begin(&mut self) {
        static WANTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        if *WANTED.get_or_init(|| std::env::var_os("CORTEN_TRACEGC").is_some()) {
            self.last = Some(processor_time());
            self.parts.clear();
        }
    }

    /// What was done since the last call was `part`.
    #[inline]
    pub fn lap(&mut self, part: &'static str) {
        if let Some(last) = self.last {
            let now = processor_time();
            self.parts.push((part, now - last));
            self.last = Some(now);
        }
    }

    /// Writes the line.
    pub fn end(&self, plan: Plan, record: &CollectionRecord) {
        if self.last.is_none() {
            return;
        }
        let mut line = format!(
            "gc {}: {plan:?}, {} us (stop {}), {} -> {} KB, {} KB survived,",
            record.index,
            record.pause.as_micros(),
            record.stop_time.as_micros(),
            record.bytes_before >> 10,
            record.bytes_after >> 10,
            record.promoted >> 10,
        );
        let all: Duration = self.parts.iter().map(|part| part.1).sum();
        let _ = write!(line, " {} us of processor time:", all.as_micros());
        for (part, time) in &self.parts {
            let _ = write!(line, " {part} {}", time.as_micros());
        }
        eprintln!("{line}");
    }
}

/// Processor time of the calling thread: on a busy machine the system may have taken the processor away in between.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the structure.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
