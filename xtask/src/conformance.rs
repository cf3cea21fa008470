//! `cargo xtask conformance`: programs whose behaviour was recorded from CoreCLR, kept beside the project.
//!
//! `conformance/must-pass.txt` lists those that pass (`SET/NAME` a line, `#` starts a comment); one that stops passing is a
//! failure. The lists only grow. A configuration of the engine names its list. Before them, damaged images are inspected.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::malformed::malformed;
use crate::project::Project;
use crate::steps::{Failure, Outcome, Steps, call, start_failure};

/// A way to run the programs.
struct Configuration {
    name: &'static str,
    list: &'static str,
    environment: &'static [(&'static str, &'static str)],
    /// Seconds that a program may run.
    timeout: u32,
    /// Of the listed programs, every how many runs.
    every: usize,
}

/// More failures than this are not a matter of luck.
const MAX_SECOND_TRIES: usize = 3;
/// How often each of them gets another chance: what is wrong fails every time.
const ROUNDS_ALONE: usize = 3;

const CONFIGURATIONS: [Configuration; 7] = [
    Configuration {
        name: "default",
        list: "must-pass.txt",
        environment: &[],
        timeout: 60,
        every: 1,
    },
    Configuration {
        name: "everything optimised",
        list: "must-pass.txt",
        environment: &[("DOTNET_TieredCompilation", "0")],
        timeout: 60,
        every: 1,
    },
    Configuration {
        name: "promoted at once, loops replaced at once",
        list: "must-pass.txt",
        environment: &[
            ("DOTNET_TC_CallCountThreshold", "1"),
            ("DOTNET_TC_CallCountingDelayMs", "0"),
            ("DOTNET_TC_OnStackReplacement_InitialCounter", "1"),
            ("DOTNET_OSR_CounterBump", "1"),
            ("DOTNET_OSR_HitLimit", "1"),
        ],
        timeout: 60,
        every: 1,
    },
    Configuration {
        name: "everything instrumented, loops replaced at random",
        list: "must-pass.txt",
        environment: &[
            ("DOTNET_TieredPGO_InstrumentOnlyHotCode", "0"),
            ("DOTNET_TC_CallCountThreshold", "2"),
            ("DOTNET_TC_CallCountingDelayMs", "0"),
            ("DOTNET_TC_OnStackReplacement_InitialCounter", "1"),
            ("DOTNET_OSR_CounterBump", "1"),
            ("DOTNET_OSR_HitLimit", "1"),
            ("CORTEN_OSRRANDOM", "1"),
        ],
        timeout: 60,
        every: 1,
    },
    Configuration {
        name: "collection at every allocation",
        list: "must-pass-gcstress.txt",
        environment: &[("CORTEN_GCSTRESS", "1")],
        timeout: 120,
        every: 1,
    },
    stress("suspended at random", &[("CORTEN_GCSTRESS", "suspend:1")], 8),
    stress("collection at every safepoint", &[("CORTEN_GCSTRESS", "2")], 16),
];

/// The stress modes, at default tiering and with everything optimised.
const STRESS: [Configuration; 8] = [
    stress("every allocation", &[("CORTEN_GCSTRESS", "1")], 1),
    stress("every allocation, optimised", &[("CORTEN_GCSTRESS", "1"), OPTIMISED], 1),
    stress("every safepoint", &[("CORTEN_GCSTRESS", "2")], 1),
    stress("every safepoint, optimised", &[("CORTEN_GCSTRESS", "2"), OPTIMISED], 1),
    stress("random", &[("CORTEN_GCSTRESS", "random:1")], 1),
    stress("random, optimised", &[("CORTEN_GCSTRESS", "random:2"), OPTIMISED], 1),
    stress("suspended at random", &[("CORTEN_GCSTRESS", "suspend:1")], 1),
    stress(
        "suspended at random, optimised",
        &[("CORTEN_GCSTRESS", "suspend:2"), OPTIMISED],
        1,
    ),
];

const OPTIMISED: (&str, &str) = ("DOTNET_TieredCompilation", "0");

const fn stress(
    name: &'static str,
    environment: &'static [(&'static str, &'static str)],
    every: usize,
) -> Configuration {
    Configuration {
        name,
        list: "must-pass-gcstress.txt",
        environment,
        timeout: 240,
        every,
    }
}

/// What every run needs: the folder of the sets, `corten` and a framework. `None` if the sets are not there.
fn prepare(project: &Project, steps: &mut Steps) -> Result<Option<[PathBuf; 3]>, Failure> {
    let Some(shared) = project.shared().filter(|dir| dir.join("conformance").is_dir()) else {
        eprintln!("    no ../shared/conformance: nothing to run");
        return Ok(None);
    };
    let corten = steps.step("release build", || project.build_release())?;
    let framework = steps.step("framework", || project.ensure_framework(&corten))?;
    Ok(Some([shared, corten, framework]))
}

/// `cargo xtask stress`: runs the programs of `must-pass-gcstress.txt` in all stress modes, or those whose name contains `filter`.
pub fn stress_modes(project: &Project, filter: &str) -> Outcome {
    let mut steps = Steps::default();
    let Some([shared, corten, framework]) = prepare(project, &mut steps)? else {
        return Ok(());
    };
    let mut result = Ok(());
    for configuration in STRESS.iter().filter(|c| c.name.contains(filter)) {
        let outcome = steps.step(configuration.name, || {
            configuration.run(project, &shared, &corten, &framework, &[])
        });
        result = result.and(outcome);
    }
    steps.report();
    result
}

/// Runs the listed programs in every configuration; and of the sets in `all` every program, and prints what may be added.
pub fn conformance(project: &Project, all: &[String]) -> Outcome {
    let mut steps = Steps::default();
    let Some([shared, corten, framework]) = prepare(project, &mut steps)? else {
        return Ok(());
    };
    steps.step("reference tools", || {
        call(Command::new(shared.join("tools").join("setup")).stdout(Stdio::null()))
    })?;
    let mut result = steps.step("malformed images", || malformed(&shared, &corten, &framework));
    for configuration in &CONFIGURATIONS {
        let name = format!("conformance, {}", configuration.name);
        let outcome = steps.step(&name, || configuration.run(project, &shared, &corten, &framework, all));
        result = result.and(outcome);
    }
    steps.report();
    result
}

impl Configuration {
    fn run(&self, project: &Project, shared: &Path, corten: &Path, framework: &Path, all: &[String]) -> Outcome {
        let list = project.root.join("conformance").join(self.list);
        let listed = match std::fs::read_to_string(&list) {
            Ok(text) => entries(&text).into_iter().step_by(self.every).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(Failure::io(&list)(error)),
        };
        // A sample cannot tell what is new.
        let all = if self.every == 1 { all } else { &[] };
        if listed.is_empty() && all.is_empty() {
            eprintln!("    {} lists no program", list.display());
            return Ok(());
        }
        let mut filters: Vec<String> = listed.iter().cloned().collect();
        filters.extend(all.iter().map(|set| format!("{set}/*")));
        let mut passed = self.programs_that_pass(shared, corten, framework, &filters, 2)?;
        // What depends on time is tried again alone: on a busy machine two programs at once can be too late for their clocks.
        for _ in 0..ROUNDS_ALONE {
            let again: Vec<String> = listed.difference(&passed).cloned().collect();
            if again.is_empty() || again.len() > MAX_SECOND_TRIES {
                break;
            }
            let steady = self.programs_that_pass(shared, corten, framework, &again, 1)?;
            for name in &steady {
                eprintln!("    UNSTEADY: {name} failed, and passed when it ran again alone");
            }
            passed.extend(steady);
        }
        judge(&listed, &passed, self.list)
    }

    /// Runs the programs that the filters (`SET/NAME`, with `*`) choose.
    fn programs_that_pass(
        &self,
        shared: &Path,
        corten: &Path,
        framework: &Path,
        filters: &[String],
        jobs: u32,
    ) -> Outcome<BTreeSet<String>> {
        let sets: BTreeSet<&str> = filters
            .iter()
            .filter_map(|name| Some(name.split_once('/')?.0))
            .collect();
        let results = tempfile::NamedTempFile::new().map_err(Failure::io(&std::env::temp_dir()))?;
        let mut command = Command::new(shared.join("tools").join("run-conformance"));
        command.arg("--runtime").arg(corten).arg("--json").arg(results.path());
        command.args(["--jobs", &jobs.to_string(), "--timeout", &self.timeout.to_string()]);
        command.args(filters.iter().flat_map(|name| ["--filter", name]));
        command.args(sets.iter().map(|set| shared.join("conformance").join(set)));
        command
            .envs(self.environment.iter().copied())
            .env("CORTEN_FRAMEWORK", framework)
            .stdin(Stdio::null());
        // Its status says whether everything passed; what counts is the list.
        command.status().map_err(|source| start_failure(&command, source))?;
        let text = std::fs::read_to_string(results.path()).map_err(Failure::io(results.path()))?;
        passed(&text)
    }
}

/// Fails if a listed program did not pass, and prints the others that did.
fn judge(listed: &BTreeSet<String>, passed: &BTreeSet<String>, list: &str) -> Outcome {
    let new: Vec<&String> = passed.difference(listed).collect();
    if !new.is_empty() {
        eprintln!("    {} pass and are not in conformance/{list} yet:", new.len());
        new.iter().for_each(|name| eprintln!("{name}"));
    }
    let lost: Vec<&str> = listed.difference(passed).map(String::as_str).collect();
    eprintln!(
        "    {} of {} listed programs pass",
        listed.len() - lost.len(),
        listed.len()
    );
    if lost.is_empty() {
        Ok(())
    } else {
        Err(Failure::Check(format!(
            "in conformance/{list} but failing: {}",
            lost.join(", ")
        )))
    }
}

/// The names in a list.
fn entries(text: &str) -> BTreeSet<String> {
    let names = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The programs that passed, from the runner's report.
fn passed(text: &str) -> Outcome<BTreeSet<String>> {
    let report: serde_json::Value = serde_json::from_str(text)
        .map_err(|e| Failure::Check(format!("the conformance runner left no report: {e}")))?;
    let programs = report
        .get("results")
        .and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten();
    let name = |program: &serde_json::Value| {
        let text = |key: &str| program.get(key)?.as_str().map(str::to_owned);
        program
            .get("passed")?
            .as_bool()?
            .then_some(format!("{}/{}", text("set")?, text("name")?))
    };
    Ok(programs.filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn lists_have_comments() {
        assert_eq!(
            entries("# all\ncore/a\n\n core/b # slow\n"),
            names(&["core/a", "core/b"])
        );
    }

    #[test]
    fn the_report_is_understood() {
        let text = r#"{"results": [{"name": "a", "set": "core", "passed": true}, {"name": "b", "set": "core", "passed": false}]}"#;
        assert_eq!(passed(text).expect("valid"), names(&["core/a"]));
        assert!(passed("").is_err());
    }

    #[test]
    fn only_listed_programs_count() {
        assert!(judge(&names(&["core/a"]), &names(&["core/a", "core/b"]), "x").is_ok());
        let error = judge(&names(&["core/a", "core/c"]), &names(&["core/a"]), "x").expect_err("c is lost");
        assert!(error.to_string().contains("core/c"));
    }
}
