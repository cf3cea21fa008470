//! `--trace FILE`: events in the Trace Event Format that browsers (chrome://tracing, Perfetto) show: a JSON array, one event a
//! line. Its closing bracket is optional there, so that a trace of a program that died is readable too.

use corten_gc_hooks::stats::CollectionRecord;
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

struct Trace {
    file: Mutex<BufWriter<File>>,
    began: Instant,
}

static TRACE: OnceLock<Trace> = OnceLock::new();

/// Value of an event's argument.
#[derive(Clone, Debug)]
pub enum Argument {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

impl From<u32> for Argument {
    fn from(n: u32) -> Self {
        Argument::Number(n.into())
    }
}
impl From<usize> for Argument {
    fn from(n: usize) -> Self {
        Argument::Number(n as u64)
    }
}
impl From<String> for Argument {
    fn from(text: String) -> Self {
        Argument::Text(text)
    }
}

/// Something that happened.
#[derive(Debug)]
pub struct Event<'a> {
    /// What the box in the picture says.
    pub name: &'a str,
    /// `jit`, `tiering`, `gc`.
    pub category: &'a str,
    /// When it began.
    pub start: Instant,
    /// How long it took; `None` for a moment.
    pub duration: Option<Duration>,
    /// Further facts.
    pub arguments: &'a [(&'a str, Argument)],
}

/// Starts tracing into a file. The end of the process completes it.
///
/// # Errors
/// The file cannot be written.
pub fn start(path: &Path) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(b"[\n")?;
    let trace = Trace {
        file: Mutex::new(file),
        began: Instant::now(),
    };
    if TRACE.set(trace).is_ok() {
        corten_gc_hooks::stats::observe(collection);
        // SAFETY: a function without arguments that may run at any time.
        unsafe { libc::atexit(finish) };
    }
    Ok(())
}

extern "C" fn finish() {
    if let Some(trace) = TRACE.get() {
        let mut file = trace.file.lock();
        let pid = std::process::id();
        // Nobody is left to be told of a failure.
        let _ = writeln!(
            file,
            "{{\"name\":\"end\",\"ph\":\"i\",\"pid\":{pid},\"tid\":{pid},\"ts\":{},\"s\":\"p\"}}]",
            stamp(trace, Instant::now())
        );
        let _ = file.flush();
    }
}

/// Is there anybody to record events for?
pub fn enabled() -> bool {
    TRACE.get().is_some()
}

fn stamp(trace: &Trace, at: Instant) -> String {
    micros(at.saturating_duration_since(trace.began))
}

fn micros(time: Duration) -> String {
    format!("{}.{:03}", time.as_micros(), time.as_nanos() % 1000)
}

/// Records an event of the current OS thread.
pub fn record(event: &Event<'_>) {
    let Some(trace) = TRACE.get() else { return };
    // SAFETY: no arguments, no effects.
    let tid = unsafe { libc::gettid() };
    let line = format_event(event, &stamp(trace, event.start), std::process::id(), tid);
    // A full disk loses events, not the program.
    let _ = trace.file.lock().write_all(line.as_bytes());
}

fn format_event(event: &Event<'_>, stamp: &str, pid: u32, tid: i32) -> String {
    let mut line = String::with_capacity(200);
    line.push_str("{\"name\":");
    quote(&mut line, event.name);
    line.push_str(",\"cat\":");
    quote(&mut line, event.category);
    match event.duration {
        Some(d) => {
            let _ = write!(line, ",\"ph\":\"X\",\"dur\":{}", micros(d));
        }
        None => line.push_str(",\"ph\":\"i\",\"s\":\"t\""),
    }
    let _ = write!(line, ",\"pid\":{pid},\"tid\":{tid},\"ts\":{stamp},\"args\":{{");
    for (i, (name, value)) in event.arguments.iter().enumerate() {
        if i > 0 {
            line.push(',');
        }
        quote(&mut line, name);
        line.push(':');
        match value {
            Argument::Number(n) => {
                let _ = write!(line, "{n}");
            }
            Argument::Text(text) => quote(&mut line, text),
        }
    }
    line.push_str("}},\n");
    line
}

/// A JSON string.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A collection has ended; the world is still stopped.
fn collection(record: &CollectionRecord) {
    let end = Instant::now();
    self::record(&Event {
        name: &format!("GC {}", record.generation),
        category: "gc",
        start: end.checked_sub(record.pause).unwrap_or(end),
        duration: Some(record.pause),
        arguments: &[
            ("bytesBefore", record.bytes_before.into()),
            ("bytesAfter", record.bytes_after.into()),
            ("promoted", record.promoted.into()),
            ("stopMicroseconds", (record.stop_time.as_micros() as usize).into()),
        ],
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_json() {
        let event = Event {
            name: "A\"B\\\n",
            category: "jit",
            start: Instant::now(),
            duration: Some(Duration::from_nanos(1_002_003)),
            arguments: &[("tier", "Tier0".to_string().into()), ("codeBytes", 7u32.into())],
        };
        assert_eq!(
            format_event(&event, "5.000", 1, 2),
            "{\"name\":\"A\\\"B\\\\\\u000a\",\"cat\":\"jit\",\"ph\":\"X\",\"dur\":1002.003,\"pid\":1,\"tid\":2,\"ts\":5.000,\
             \"args\":{\"tier\":\"Tier0\",\"codeBytes\":7}},\n"
        );
    }
}
