//! Damaged images: a generator beside the project mutates a good assembly in thousands of ways. Whatever the damage, `corten
//! inspect` must end in time, within bounded memory, with success or its own error code.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::steps::{Failure, Outcome, call, start_failure};

/// Seconds for one image; a sound reader needs milliseconds.
const TIME_LIMIT: &str = "10";
/// KiB of address space, most of it reserved by the allocator and never touched. It stops what is sized by an unchecked count.
const ADDRESS_SPACE: &str = "4194304";
/// The code with which `corten` reports bad input.
const REPORTED: i32 = 2;
/// The overview reads and checks everything; the other views print what they can.
const VIEWS: [&[&str]; 2] = [&[], &["--tables", "--types", "--methods"]];
/// Commands that load the types and compile or verify the bodies of every image of this many; none of them runs any.
const ENGINE: [&str; 2] = ["jit-all", "verify"];
const ENGINE_STEP: usize = 64;
/// The code with which those commands say that they found something.
const FOUND: i32 = 1;
/// Failures that are shown; the rest is counted.
const SHOWN: usize = 10;

/// Generates the images and inspects all of them.
pub fn malformed(shared: &Path, corten: &Path, framework: &Path) -> Outcome {
    let source = shared.join("conformance").join("malformed");
    let work = tempfile::tempdir().map_err(Failure::io(&std::env::temp_dir()))?;
    let seed = work.path().join("seed.dll");
    let mut ilasm = Command::new("ilasm");
    ilasm
        .args(["/quiet", "/exe"])
        .arg(format!("/output:{}", seed.display()))
        .arg(source.join("seed.il"));
    call(ilasm.stdout(Stdio::null()))?;
    let images = work.path().join("images");
    call(
        Command::new("python3")
            .arg(source.join("generate.py"))
            .arg(&seed)
            .arg(&images)
            .stdout(Stdio::null()),
    )?;
    let entries = std::fs::read_dir(&images).map_err(Failure::io(&images))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "dll"));
    paths.sort();

    let failures = inspect_all(&paths, corten, framework)?;
    eprintln!("    {} images, {} failures", paths.len(), failures.len());
    for failure in failures.iter().take(SHOWN) {
        eprintln!("    {failure}");
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Failure::Check("malformed images are not handled".to_owned()))
    }
}

/// Spreads the images over the processors.
fn inspect_all(paths: &[PathBuf], corten: &Path, framework: &Path) -> Outcome<Vec<String>> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failures = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = paths.get(index) else { break };
            for views in VIEWS {
                failures.extend(inspect(path, views, corten)?);
            }
            if index.is_multiple_of(ENGINE_STEP) {
                for command in ENGINE {
                    failures.extend(judge(path, command, corten, framework)?);
                }
            }
        }
        Ok(failures)
    };
    let results: Vec<Outcome<Vec<String>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let died = |_| Err(Failure::Check("a worker died".to_owned()));
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(died))
            .collect()
    });
    let mut failures = results.into_iter().collect::<Outcome<Vec<_>>>()?.concat();
    failures.sort();
    Ok(failures)
}

/// Compiles or verifies one image; `Some` says what went wrong. (The engine reserves more address space than the limit of the
/// other runs.)
fn judge(path: &Path, what: &str, corten: &Path, framework: &Path) -> Outcome<Option<String>> {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", TIME_LIMIT]).arg(corten).arg(what).arg(path);
    command.env("CORTEN_FRAMEWORK", framework);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let Output { status, stderr, .. } = command.output().map_err(|source| start_failure(&command, source))?;
    let text = String::from_utf8_lossy(&stderr);
    let good = matches!(status.code(), Some(0 | FOUND | REPORTED)) && !text.contains("panicked");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let reason = text.lines().next().unwrap_or_default();
    Ok((!good).then(|| format!("{name}: {what}: {status}: {reason}")))
}

/// Inspects one image; `Some` says what went wrong.
fn inspect(path: &Path, views: &[&str], corten: &Path) -> Outcome<Option<String>> {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -v $0; exec timeout -s KILL \"$@\"",
            ADDRESS_SPACE,
            TIME_LIMIT,
        ])
        .arg(corten);
    command.arg("inspect").args(views).arg(path);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let Output { status, stderr, .. } = command.output().map_err(|source| start_failure(&command, source))?;
    let text = String::from_utf8_lossy(&stderr);
    let lines = text.lines().count();
    let good = match status.code() {
        Some(0) => lines == 0,
        Some(REPORTED) => lines == 1,
        _ => false,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let how = status
        .signal()
        .map_or_else(|| status.to_string(), |signal| format!("signal {signal}"));
    Ok((!good).then(|| format!("{name}: {how}: {}", text.lines().next().unwrap_or_default())))
}
