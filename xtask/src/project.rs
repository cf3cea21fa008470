//! The project's folders, and the two things that several tasks need: the release binary and the framework.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::steps::{Failure, Outcome, call, capture};

/// The workspace on this machine.
pub struct Project {
    /// The folder with the workspace's Cargo.toml.
    pub root: PathBuf,
    /// Where cargo builds.
    pub target: PathBuf,
}

impl Project {
    /// Asks cargo.
    pub fn find() -> Outcome<Self> {
        // The manifest folder of this crate, whatever folder the user is in.
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap_or(Path::new("."))
            .join("Cargo.toml");
        let mut metadata = Command::new(cargo_program());
        metadata
            .args(["metadata", "--format-version=1", "--no-deps", "--manifest-path"])
            .arg(&manifest);
        let text = capture(&mut metadata)?.ok_or_else(|| Failure::Check("cargo metadata failed".to_owned()))?;
        let json: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| Failure::Check(format!("cargo metadata: {e}")))?;
        let folder = |key: &str| {
            let value = json.get(key).and_then(serde_json::Value::as_str);
            value
                .map(PathBuf::from)
                .ok_or_else(|| Failure::Check(format!("cargo metadata has no {key}")))
        };
        Ok(Project {
            root: folder("workspace_root")?,
            target: folder("target_directory")?,
        })
    }

    /// A cargo command in the workspace's root.
    pub fn cargo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(cargo_program());
        command.args(args).current_dir(&self.root);
        command
    }

    /// Builds `corten` in release mode; returns the binary.
    pub fn build_release(&self) -> Outcome<PathBuf> {
        call(&mut self.cargo(&["build", "--release", "--package", "corten-host", "--bin", "corten"]))?;
        Ok(self.target.join("release").join("corten"))
    }

    /// The framework folder that `corten` finds; fetches one if there is none.
    pub fn ensure_framework(&self, corten: &Path) -> Outcome<PathBuf> {
        if let Some(dir) = capture(Command::new(corten).args(["framework", "path"]))? {
            return Ok(PathBuf::from(dir.trim_end()));
        }
        let mut install = Command::new(corten);
        install
            .args(["framework", "install"])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        let output = install
            .output()
            .map_err(|source| crate::steps::start_failure(&install, source))?;
        if !output.status.success() {
            return Err(Failure::Check("there is no .NET framework to run with".to_owned()));
        }
        Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()))
    }

    /// The folder that is shared beside the project, if this machine has it: conformance programs and tools.
    pub fn shared(&self) -> Option<PathBuf> {
        Some(self.root.parent()?.join("shared")).filter(|dir| dir.is_dir())
    }

    /// The folders of the workspace's members that have a manifest, sorted.
    pub fn crates(&self) -> Outcome<Vec<PathBuf>> {
        let entries = std::fs::read_dir(&self.root).map_err(Failure::io(&self.root))?;
        let mut dirs: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|dir| dir.join("Cargo.toml").is_file())
            .collect();
        dirs.sort();
        Ok(dirs)
    }

    /// The Rust files in `folder` of every crate whose name starts with `prefix`: (name of the crate's folder, file stem).
    pub fn rust_files(&self, folder: &str, prefix: &str) -> Outcome<Vec<(String, String)>> {
        let mut found = Vec::new();
        for dir in self.crates()? {
            for entry in std::fs::read_dir(dir.join(folder)).into_iter().flatten().flatten() {
                let path = entry.path();
                let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if path.extension().is_some_and(|extension| extension == "rs") && stem.starts_with(prefix) {
                    found.push((name.to_owned(), stem.to_owned()));
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

fn cargo_program() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
