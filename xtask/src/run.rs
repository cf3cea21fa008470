//! `cargo xtask run APP.dll [ARG...]`: from a fresh clone to a running program.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

use crate::project::Project;
use crate::steps::{Outcome, start_failure};

/// Builds, provisions and runs; the exit code is the application's, or 128 + N if signal N ended it.
pub fn run(project: &Project, words: &[OsString]) -> Outcome<ExitCode> {
    let corten = project.build_release()?;
    project.ensure_framework(&corten)?;
    let mut command = Command::new(&corten);
    command.args(words);
    let status = command.status().map_err(|source| start_failure(&command, source))?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX),
    ))
}
