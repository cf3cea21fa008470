//! Who wants to know what was compiled: `--stats`, `--trace`, `DOTNET_JitDisasmSummary`.

use crate::stats::{self, CodeKind};
use crate::trace_events::{self, Event};
use corten_loader::MethodDesc;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// New code of `md`, whose compilation began at `start`.
pub fn compiled(md: &'static MethodDesc, kind: CodeKind, start: Instant, bytes: u32) {
    let time = start.elapsed();
    stats::compiled(kind, time, bytes);
    stats::il_compiled(il_size(md));
    if trace_events::enabled() {
        trace_events::record(&Event {
            name: &md.display_name(),
            category: "jit",
            start,
            duration: Some(time),
            arguments: &[
                ("tier", tier_name(kind).into()),
                ("ilBytes", il_size(md).into()),
                ("codeBytes", bytes.into()),
            ],
        });
    }
    if summary_wanted() {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let line = format!(
            "{number:4}: JIT compiled {} [{}, IL size={}, code size={bytes}]\n",
            md.display_name(),
            tier_name(kind),
            il_size(md),
        );
        write_line(&line);
    }
}

/// As CoreCLR's JIT calls it.
fn tier_name(kind: CodeKind) -> String {
    match kind {
        CodeKind::Tier0 => "Tier0".into(),
        CodeKind::Instrumented => "Instrumented Tier0".into(),
        CodeKind::MinOpts => "MinOpts".into(),
        CodeKind::Tier1 if crate::tiering::on_worker() => "Tier1".into(),
        CodeKind::Tier1 => "FullOpts".into(),
        CodeKind::Osr(il) => format!("Tier1-OSR @0x{il:x}"),
        CodeKind::Stub => "Stub".into(),
    }
}

fn il_size(md: &'static MethodDesc) -> usize {
    md.body().ok().flatten().map_or(0, |body| body.code.len())
}

fn summary_wanted() -> bool {
    static WANTED: OnceLock<bool> = OnceLock::new();
    *WANTED.get_or_init(|| std::env::var("DOTNET_JitDisasmSummary").is_ok_and(|v| !matches!(v.trim(), "" | "0")))
}

/// To the file `DOTNET_JitStdOutFile`, or the standard output. Failures are ignored: diagnostics must not break the program.
fn write_line(line: &str) {
    match std::env::var("DOTNET_JitStdOutFile") {
        Ok(path) => {
            if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path) {
                let _ = file.write_all(line.as_bytes());
            }
        }
        Err(_) => {
            let _ = std::io::stdout().write_all(line.as_bytes());
        }
    }
}
