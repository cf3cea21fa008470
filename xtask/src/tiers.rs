//! `cargo xtask tiers`: generated methods do the same at all tiers.
//!
//! The program `samples/tiers` generates methods with reflection emit and runs each many times; it prints a line per seed. The
//! lines of all configurations must be equal. (What CoreCLR printed for the first seeds is recorded in `tiers.out`, without
//! optimisation: its optimiser lets a few exceptions overtake others.)

use std::path::Path;
use std::process::{Command, Stdio};

use crate::project::Project;
use crate::samples::first_difference;
use crate::steps::{Failure, Outcome, start_failure};

/// Runs of each method. Few, because every run of a configuration that counts down from two changes something.
const RUNS: u32 = 8;

type Environment = &'static [(&'static str, &'static str)];

const REPLACED: [(&str, &str); 5] = [
    ("DOTNET_TC_CallCountThreshold", "2"),
    ("DOTNET_TC_CallCountingDelayMs", "0"),
    ("DOTNET_TC_OnStackReplacement_InitialCounter", "1"),
    ("DOTNET_OSR_CounterBump", "1"),
    ("DOTNET_OSR_HitLimit", "1"),
];

const CONFIGURATIONS: [(&str, &[Environment]); 5] = [
    (
        "Tier 0",
        &[&[("DOTNET_TC_CallCounting", "0"), ("DOTNET_TC_OnStackReplacement", "0")]],
    ),
    ("Tier 1", &[&[("DOTNET_TieredCompilation", "0")]]),
    ("promoted and replaced at once", &[&REPLACED]),
    (
        "instrumented, replaced at random",
        &[
            &REPLACED,
            &[
                ("DOTNET_TieredPGO_InstrumentOnlyHotCode", "0"),
                ("CORTEN_OSRRANDOM", "7"),
            ],
        ],
    ),
    (
        "the same with collections",
        &[&REPLACED, &[("CORTEN_OSRRANDOM", "3"), ("CORTEN_GCSTRESS", "50")]],
    ),
];

/// Runs `programs` generated programs from seed `first` on.
pub fn tiers(project: &Project, corten: &Path, programs: u32, first: u32) -> Outcome {
    let dll = project.root.join("samples").join("tiers").join("tiers.dll");
    let mut expected: Option<Vec<u8>> = None;
    for (name, environment) in CONFIGURATIONS {
        let mut command = Command::new(corten);
        command.arg(&dll).args([programs, first, RUNS].map(|n| n.to_string()));
        command.envs(environment.iter().copied().flatten().copied());
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|source| start_failure(&command, source))?;
        if !output.status.success() {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            let tail: Vec<&str> = text.lines().rev().take(5).collect();
            return Err(Failure::Check(format!(
                "{name}: {}: {}",
                output.status,
                tail.join("; ")
            )));
        }
        match &expected {
            None => expected = Some(output.stdout),
            Some(expected) if *expected == output.stdout => {}
            Some(expected) => {
                let difference = first_difference(expected, &output.stdout);
                return Err(Failure::Check(format!("{name} differs from Tier 0: {difference}")));
            }
        }
        eprintln!("    {name}: {programs} programs");
    }
    Ok(())
}
