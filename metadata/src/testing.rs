//! Finding the .NET class library for tests.

use std::path::PathBuf;

/// A directory with `System.Private.CoreLib.dll`: `CORTEN_FRAMEWORK`, else the shared framework under `DOTNET_ROOT`,
/// else the caches under `$HOME/.cache`. None if there is none; a test that needs it should then say that it is skipped.
pub fn framework_dir() -> Option<PathBuf> {
    let mut candidates = Vec::new();
    if let Some(dir) = std::env::var_os("CORTEN_FRAMEWORK") {
        candidates.push(PathBuf::from(dir));
    }
    if let Some(root) = std::env::var_os("DOTNET_ROOT") {
        let shared = PathBuf::from(root).join("shared/Microsoft.NETCore.App");
        let versions = std::fs::read_dir(shared)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path());
        let mut versions: Vec<PathBuf> = versions
            .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("9.")))
            .collect();
        versions.sort();
        candidates.extend(versions.pop());
    }
    if let Some(home) = std::env::var_os("HOME").map(PathBuf::from) {
        candidates.push(home.join(".cache/corten/framework/9.0.5"));
        candidates.push(home.join(".cache/corten-ref/net9"));
    }
    candidates
        .into_iter()
        .find(|d| d.join("System.Private.CoreLib.dll").is_file())
}

/// All assemblies of [`framework_dir`], sorted by name; prints that the test is skipped if there is none.
pub fn framework_assemblies() -> Vec<PathBuf> {
    let Some(dir) = framework_dir() else {
        eprintln!("skipped: no .NET class library found (set CORTEN_FRAMEWORK)");
        return Vec::new();
    };
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    let mut files: Vec<PathBuf> = files.filter(|p| p.extension().is_some_and(|e| e == "dll")).collect();
    files.sort();
    files
}
