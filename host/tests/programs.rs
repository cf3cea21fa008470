//! Whole programs whose output was recorded from CoreCLR: `programs/NAME.dll`, its source, and `NAME.out`. Each runs with
//! tiered compilation and with every method optimised at once, and ends with exit code 100.

#![allow(clippy::expect_used, reason = "in tests a broken expectation is the report")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Name, and what is wrong.
fn failures(tiered: bool) -> Vec<(String, String)> {
    let Some(framework) = corten_metadata::testing::framework_dir() else {
        eprintln!("no .NET framework on this machine: nothing tested");
        return Vec::new();
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("programs");
    let mut programs: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of programs")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "dll"))
        .collect();
    programs.sort();
    assert!(!programs.is_empty(), "no programs");
    programs
        .iter()
        .filter_map(|program| {
            let name = program.file_stem()?.to_string_lossy().into_owned();
            run(program, &framework, tiered).map(|reason| (name, reason))
        })
        .collect()
}

fn run(program: &Path, framework: &Path, tiered: bool) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_corten"))
        .arg(program)
        .env("CORTEN_FRAMEWORK", framework)
        .env("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1")
        .env("DOTNET_TieredCompilation", if tiered { "1" } else { "0" })
        .stdin(Stdio::null())
        .output()
        .expect("corten starts");
    let expected = std::fs::read_to_string(program.with_extension("out")).expect("the recorded output");
    let actual = String::from_utf8_lossy(&output.stdout);
    if let Some((a, b)) = expected.lines().zip(actual.lines()).find(|(a, b)| a != b) {
        return Some(format!("expected `{a}`, got `{b}`"));
    }
    if expected != actual || output.status.code() != Some(100) {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Some(format!(
            "{} of {} lines, {}; stderr: {stderr}",
            actual.lines().count(),
            expected.lines().count(),
            output.status
        ));
    }
    None
}

#[test]
fn tiered() {
    assert_eq!(failures(true), []);
}

#[test]
fn optimised() {
    assert_eq!(failures(false), []);
}
