//! A bounded run of the fuzz targets (`CRATE/fuzz/fuzz_targets/*.rs`), on machines that have cargo-fuzz and a nightly compiler.

use std::process::{Command, Stdio};

use crate::project::Project;
use crate::steps::{Outcome, call};

/// Seconds for one target.
const SECONDS: u32 = 20;

/// Fuzzes every target for a while; a crash is a failure. Without the tools it says so and succeeds.
pub fn fuzz(project: &Project) -> Outcome {
    let targets = project.rust_files("fuzz/fuzz_targets", "")?;
    if targets.is_empty() {
        return Ok(());
    }
    let mut probe = Command::new("cargo");
    probe
        .args(["+nightly", "fuzz", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        eprintln!(
            "    no cargo-fuzz with a nightly compiler: {} targets not run",
            targets.len()
        );
        return Ok(());
    }
    for (folder, target) in targets {
        let mut run = Command::new("cargo");
        run.args([
            "+nightly",
            "fuzz",
            "run",
            &target,
            "--",
            &format!("-max_total_time={SECONDS}"),
        ]);
        call(run.current_dir(project.root.join(folder)))?;
    }
    Ok(())
}
