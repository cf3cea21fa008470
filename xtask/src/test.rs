//! `cargo xtask test`: what CI checks. Dev builds and release builds share one target folder; only loom needs its own, because
//! its flag changes every crate.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::project::Project;
use crate::steps::{Failure, Outcome, Steps, call};
use crate::{compilers, fixtures, fuzz, samples, tiers};

/// Runs all checks; the cheap ones first.
pub fn test(project: &Project) -> Outcome {
    let mut steps = Steps::default();
    let result = all(project, &mut steps);
    steps.report();
    result
}

fn all(project: &Project, steps: &mut Steps) -> Outcome {
    steps.step("format", || call(&mut project.cargo(&["fmt", "--all", "--check"])))?;
    steps.step("lints", || {
        call(&mut project.cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))
    })?;
    steps.step("documentation", || {
        call(
            project
                .cargo(&["doc", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "--deny warnings"),
        )
    })?;
    let corten = steps.step("release build", || project.build_release())?;
    let framework = steps.step("framework", || project.ensure_framework(&corten))?;
    steps.step("tests", || tests(project, &framework))?;
    steps.step("documentation tests", || {
        call(
            project
                .cargo(&["test", "--workspace", "--doc", "--quiet"])
                .env("CORTEN_FRAMEWORK", &framework),
        )
    })?;
    steps.step("loom models", || loom(project))?;
    steps.step("fuzzing", || fuzz::fuzz(project))?;
    steps.step("every method compiles", || {
        call(
            Command::new(&corten)
                .arg("jit-all")
                .arg(framework.join("System.Private.CoreLib.dll"))
                .env("CORTEN_FRAMEWORK", &framework),
        )
    })?;
    steps.step("generated programs", || tiers::tiers(project, &corten, 200, 1))?;
    steps.step("samples", || samples::check(project, &corten))?;
    // Sets the C# compiler up where that is possible, which the last step runs.
    steps.step("fixtures", || fixtures::fixtures(project, true))?;
    steps.step("compilers", || compilers::compilers(project, &corten))
}

/// Unit and integration tests, with nextest (a process per test) if it is installed.
fn tests(project: &Project, framework: &Path) -> Outcome {
    let nextest = Command::new("cargo-nextest")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let runner: &[&str] = match nextest {
        Ok(status) if status.success() => &[
            "nextest",
            "run",
            "--no-fail-fast",
            "--status-level=slow",
            "--no-tests=warn",
        ],
        _ => {
            eprintln!("    cargo-nextest is not installed: using cargo test");
            &["test", "--no-fail-fast", "--quiet"]
        }
    };
    let mut command = project.cargo(runner);
    command
        .args(["--workspace", "--lib", "--bins", "--tests"])
        .env("CORTEN_FRAMEWORK", framework);
    call(&mut command)
}

/// The models are files `tests/loom_*.rs`, empty without `--cfg loom`. Those of a crate with the feature `planted-bug` run a
/// second time with the bug: they expect to fail.
fn loom(project: &Project) -> Outcome {
    for (folder, model) in project.rust_files("tests", "loom_")? {
        let test = project
            .root
            .join(&folder)
            .join("tests")
            .join(&model)
            .with_extension("rs");
        let planted = std::fs::read_to_string(&test)
            .map_err(Failure::io(&test))?
            .contains("planted-bug");
        for bug in [false, true] {
            if bug && !planted {
                continue;
            }
            let mut command =
                project.cargo(&["test", "--release", "--quiet", "--package", &format!("corten-{folder}")]);
            if bug {
                command.args(["--features", "planted-bug"]);
            }
            command
                .args(["--test", &model])
                .env("RUSTFLAGS", "--cfg loom")
                .env("LOOM_MAX_PREEMPTIONS", "3");
            call(command.env("CARGO_TARGET_DIR", project.target.join("loom")))?;
        }
    }
    Ok(())
}
