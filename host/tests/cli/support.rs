//! Running the command in a chosen environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// An empty home without .NET, and a folder for the test's files.
pub struct Sandbox {
    dir: TempDir,
}

/// A finished run.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Self {
        Sandbox {
            dir: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("has a parent")).expect("create folders");
        std::fs::write(&path, content).expect("write a file");
        path
    }

    /// Copies an assembly of `tests/fixtures` or `samples` here.
    pub fn copy(&self, from: &Path) -> PathBuf {
        let name = from.file_name().and_then(|name| name.to_str()).expect("a file name");
        self.write(name, std::fs::read(from).expect("the fixture is readable"))
    }

    /// A folder that discovery takes for a framework of this version; it only looks at the names.
    pub fn framework(&self, version: &str) -> PathBuf {
        let file = format!("dotnet/shared/Microsoft.NETCore.App/{version}/System.Private.CoreLib.dll");
        self.write(&file, "").parent().expect("has a parent").to_owned()
    }

    /// The command in an environment where nothing of this machine's .NET settings counts.
    pub fn corten(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
        command.env_clear().current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("HOME", self.path("home"))
            .env("DOTNET_ROOT", self.path("dotnet"));
        command
    }

    /// Runs it with these arguments.
    pub fn run<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        Ran::of(self.corten().args(args))
    }
}

impl Ran {
    pub fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("corten can be started");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ran {
            code: status.code(),
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }

    /// Asserts that it failed as the host fails: code 2, nothing on stdout, one line on stderr with all these parts.
    #[track_caller]
    pub fn fails_with(&self, parts: &[&str]) {
        let line = self.stderr.trim_end_matches('\n');
        assert_eq!(self.code, Some(2), "stderr: {line}");
        assert_eq!(self.stdout, "");
        assert!(
            line.starts_with("corten: ") && !line.contains('\n'),
            "not one line: {line}"
        );
        assert!(!line.contains("panicked"), "{line}");
        for part in parts {
            assert!(line.contains(part), "no '{part}' in: {line}");
        }
    }
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn hello() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples/hello/hello.dll")
}
