//! `/tmp/perf-PID.map` for Linux `perf` (`DOTNET_PerfMapEnabled=1`).

use crate::code_map::CodeInfo;
use parking_lot::Mutex;
use std::fs::File;
use std::io::{BufWriter, Write};

/// The open map file.
pub struct PerfMap {
    file: Mutex<BufWriter<File>>,
}

impl PerfMap {
    /// Opens the map if the environment asks for it.
    pub fn from_environment() -> Option<Self> {
        let value = std::env::var("DOTNET_PerfMapEnabled").ok()?;
        if value.trim_start_matches("0x").trim_start_matches('0').is_empty() {
            return None;
        }
        let dir = std::env::var("DOTNET_PerfMapJitDumpPath").unwrap_or_else(|_| "/tmp".into());
        let file = File::create(format!("{dir}/perf-{}.map", std::process::id())).ok()?;
        Some(PerfMap {
            file: Mutex::new(BufWriter::new(file)),
        })
    }

    /// Adds a line. Failures are ignored: a profile must not break the program.
    pub fn add(&self, name: &str, info: &CodeInfo) {
        let mut file = self.file.lock();
        let _ = writeln!(file, "{:x} {:x} {name}", info.start, info.len);
        let _ = file.flush();
    }
}
