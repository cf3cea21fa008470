//! `corten jit-all`: compiles all methods of assemblies without running them.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use corten_metadata::Module;
use corten_runtime::jit_all::{self, Report};

use crate::app;
use crate::error::{HostError, one_line};
use crate::output;

/// Exit code if the compiler failed on a method.
const FAILED: u8 = 1;

/// Arguments of `corten jit-all`. Exit code 0: everything compiles; 1: the compiler failed on a method; 2: it was not possible
/// to begin.
#[derive(clap::Args, Debug)]
pub struct JitAllArgs {
    /// Assemblies, or folders of them
    #[arg(required = true, value_name = "ASSEMBLY")]
    inputs: Vec<PathBuf>,
}

/// Compiles and prints how it went: errors, the slowest methods, figures.
///
/// # Errors
/// An input cannot be read, there is no framework, or the engine does not start.
pub fn run(args: &JitAllArgs, framework: Option<&Path>) -> Result<ExitCode, HostError> {
    let assemblies = assemblies(&args.inputs)?;
    let [first, ..] = assemblies.as_slice() else {
        return Err(HostError::Usage("no assemblies in the folders given".to_owned()));
    };
    let config = app::configure_without_entry(first, framework)?;
    let report = jit_all::run(&config, &assemblies).map_err(|e| HostError::Engine(one_line(&e.to_string())))?;
    output::print(describe(&report))?;
    Ok(if report.internal_errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// Files as they are; of a folder, its managed assemblies.
fn assemblies(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, HostError> {
    let mut found = Vec::new();
    for input in inputs {
        let input = std::path::absolute(input).map_err(|e| HostError::io(input, e))?;
        if !std::fs::metadata(&input)
            .map_err(|e| HostError::io(&input, e))?
            .is_dir()
        {
            found.push(input);
            continue;
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&input).map_err(|e| HostError::io(&input, e))? {
            files.push(entry.map_err(|e| HostError::io(&input, e))?.path());
        }
        files.retain(|f| f.extension().is_some_and(|e| e == "dll" || e == "exe") && Module::open(f).is_ok());
        files.sort();
        found.append(&mut files);
    }
    Ok(found)
}

fn describe(report: &Report) -> String {
    let mut text = String::new();
    let mut list = |title: &str, items: &[(String, String)]| {
        for (what, why) in items {
            let _ = writeln!(text, "{title}: {what}: {}", one_line(why));
        }
    };
    list("internal error", &report.internal_errors);
    list("rejected", &report.rejected);
    for message in &report.deferred {
        let _ = writeln!(text, "raised when run: {}", one_line(message));
    }
    for (time, method) in &report.slowest {
        let _ = writeln!(text, "slow: {:9.3} ms {method}", time.as_secs_f64() * 1e3);
    }
    let seconds = report.elapsed.as_secs_f64();
    let _ = writeln!(
        text,
        "{} methods ({} of instantiations) in {seconds:.2} s, {:.0} methods/s, {} bytes of code",
        report.methods,
        report.instantiated,
        report.methods as f64 / seconds.max(1e-9),
        report.code_bytes
    );
    let _ = writeln!(
        text,
        "{} internal errors, {} rejected, {} distinct exceptions raised when run",
        report.internal_errors.len(),
        report.rejected.len(),
        report.deferred.len()
    );
    text
}
