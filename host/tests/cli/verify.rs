//! `corten verify`.

use std::path::{Path, PathBuf};

use crate::support::{Ran, Sandbox};

fn module(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../verifier/tests/fixtures")
        .join(name)
}

/// Runs it with the class library, if this machine has one.
fn verify(words: &[&str], file: &Path) -> Option<Ran> {
    let Some(framework) = corten_metadata::testing::framework_dir() else {
        eprintln!("skipped: no .NET class library found (set CORTEN_FRAMEWORK)");
        return None;
    };
    let sandbox = Sandbox::new();
    let mut command = sandbox.corten();
    command
        .arg("--framework")
        .arg(framework)
        .arg("verify")
        .args(words)
        .arg(file);
    Some(Ran::of(&mut command))
}

#[test]
fn what_verifies_is_silent() {
    let Some(ran) = verify(&[], &module("safe.dll")) else {
        return;
    };
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""));
}

#[test]
fn findings_are_lines_and_an_exit_code() {
    let Some(ran) = verify(&["--statistics"], &module("rules.dll")) else {
        return;
    };
    assert_eq!(ran.code, Some(1));
    let expected = "[StackUnderflow] rules Rules::Underflow_Invalid_StackUnderflow +0x0000: ";
    assert!(
        ran.stdout.lines().any(|line| line.starts_with(expected)),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("[InterfaceMethodNotImplemented] rules Incomplete_"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stderr.contains(" findings in ") && ran.stderr.contains("StackUnderflow"),
        "{}",
        ran.stderr
    );
}

#[test]
fn filters_select_and_codes_are_ignored() {
    let words = ["--include", "Rules.Underflow", "--exclude", "nothing"];
    let Some(ran) = verify(&words, &module("rules.dll")) else {
        return;
    };
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(1), 1));
    let words = ["-i", "Rules.Underflow", "-g", "StackUnderflow"];
    let Some(ran) = verify(&words, &module("rules.dll")) else {
        return;
    };
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
}

#[test]
fn machines_get_json_and_sarif() {
    let Some(ran) = verify(&["--format", "json"], &module("rules.dll")) else {
        return;
    };
    for line in ran.stdout.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("an object");
        assert_eq!(value["assembly"], "rules");
        assert!(value["offset"].is_u64() || value["method"].is_null(), "{line}");
    }
    let Some(ran) = verify(&["--format", "sarif"], &module("rules.dll")) else {
        return;
    };
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).expect("a document");
    assert_eq!(value["version"], "2.1.0");
}

#[test]
fn bad_input_is_said() {
    let sandbox = Sandbox::new();
    let file = sandbox.copy(&module("rules.dll"));
    let run = |words: &[&str]| {
        let mut command = sandbox.corten();
        command.arg("verify").args(words);
        Ran::of(&mut command)
    };
    let file = file.to_str().expect("UTF-8");
    run(&[]).fails_with(&["INPUTS"]);
    run(&["missing.dll"]).fails_with(&["missing.dll"]);
    run(&["-i", "(", file]).fails_with(&["regular expression"]);
    run(&["-g", "Nonsense", file]).fails_with(&["Nonsense"]);
    run(&["-r", "nowhere", file]).fails_with(&["nowhere"]);
}

#[test]
fn what_does_not_verify_is_not_run() {
    let Some(framework) = corten_metadata::testing::framework_dir() else {
        eprintln!("skipped: no .NET class library found (set CORTEN_FRAMEWORK)");
        return;
    };
    let sandbox = Sandbox::new();
    let app = sandbox.copy(&module("unsafe_app.dll"));
    let mut command = sandbox.corten();
    command.arg("--framework").arg(framework).arg("--verify").arg(app);
    let parts = [
        "unsafe_app.dll: is not verifiable",
        "[Unverifiable]",
        "Program::Main +0x",
    ];
    Ran::of(&mut command).fails_with(&parts);
}
