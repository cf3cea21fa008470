//! `cargo xtask bench`: the criterion benchmarks of the crates, then the start-up time of the samples.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::project::Project;
use crate::samples;
use crate::steps::{Failure, Outcome, call, start_failure};

const RUNS: usize = 10;

/// Runs everything; prints, judges nothing.
pub fn bench(project: &Project) -> Outcome {
    for (folder, name) in project.rust_files("benches", "")? {
        call(&mut project.cargo(&["bench", "--package", &format!("corten-{folder}"), "--bench", &name]))?;
    }
    let corten = project.build_release()?;
    project.ensure_framework(&corten)?;
    for sample in samples::find(project)? {
        let mut times = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            let mut command = sample.command(&corten);
            let start = Instant::now();
            let status = command
                .stdout(Stdio::null())
                .status()
                .map_err(|source| start_failure(&command, source))?;
            times.push(start.elapsed());
            if !status.success() {
                return Err(Failure::Check(format!("{} ended with {status}", sample.name)));
            }
        }
        times.sort();
        let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
        println!(
            "{:<10} {RUNS} runs: fastest {:.0} ms, median {:.0} ms, slowest {:.0} ms",
            sample.name,
            ms(times.first()),
            ms(times.get(RUNS / 2)),
            ms(times.last())
        );
    }
    Ok(())
}
