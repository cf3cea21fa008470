//! `cargo xtask bench`: how fast programs start and run, beside other runtimes if there are any.
//!
//! The programs are the kernels of `benchmarks/kernels.dll`. Each runs in a process of its own and prints a line per
//! repetition. Peers are `dotnet` and `mono` where they are installed, and whatever `--peer NAME=COMMAND` names. Runs are
//! interleaved, so that a busy machine disturbs everybody alike. A kernel with a `NAME.c` beside it is also compared with what gcc
//! makes of that, where there is a gcc.

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::project::Project;
use crate::samples;
use crate::steps::{Failure, Outcome, call, start_failure};

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Processes per program and runtime
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only kernels whose name contains this
    #[arg(long)]
    filter: Option<String>,
    /// Another runtime: the program and its arguments are appended to the command
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<String>,
    /// Where the report goes [default: target/bench.md]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Run the criterion benchmarks of the crates instead
    #[arg(long)]
    crates: bool,
}

#[derive(Clone)]
struct Runtime {
    name: String,
    command: Vec<String>,
}

/// What one runtime did with one program, in milliseconds.
#[derive(Default, Clone, Copy)]
struct Figures {
    /// From the start of the process to the end of its first repetition.
    first: f64,
    /// Fastest repetition.
    best: f64,
    /// Median of the repetitions, of the best run.
    median: f64,
}

/// One process.
struct Run {
    figures: Figures,
    checksum: String,
}

/// Measures; fails only if results differ or Corten does not run a program.
pub fn bench(project: &Project, options: &Options) -> Outcome {
    if options.crates {
        for (folder, name) in project.rust_files("benches", "")? {
            call(&mut project.cargo(&["bench", "--package", &format!("corten-{folder}"), "--bench", &name]))?;
        }
        return Ok(());
    }
    let corten = project.build_release()?;
    project.ensure_framework(&corten)?;
    let dll = project.root.join("benchmarks").join("kernels.dll");
    let mut runtimes = runtimes(&corten, &options.peer)?;
    runtimes.retain(|runtime| runs(runtime, &dll));
    let mut report = String::from("# Benchmarks\n\n");
    let _ = writeln!(
        report,
        "Milliseconds; the least of {} runs of each program. *first*: from the start of the process to the end of its first\nrepetition; *best*: \
         the fastest repetition; *median*: of all repetitions. In brackets: the ratio to {}.\n",
        options.runs,
        runtimes.last().map_or("itself", |r| &r.name)
    );
    start_up(project, &runtimes, options.runs, &mut report)?;
    kernels(&dll, &runtimes, options, &mut report)?;
    native(project, &dll, &runtimes[0], options, &mut report)?;
    let file = options
        .report
        .clone()
        .unwrap_or_else(|| project.target.join("bench.md"));
    std::fs::write(&file, &report).map_err(Failure::io(&file))?;
    print!("{report}");
    eprintln!("    written to {}", file.display());
    Ok(())
}

/// Corten first, the one that ratios refer to last.
fn runtimes(corten: &Path, peers: &[String]) -> Outcome<Vec<Runtime>> {
    let mut all = vec![Runtime {
        name: "corten".into(),
        command: vec![corten.display().to_string()],
    }];
    for name in ["mono", "dotnet"] {
        let found = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()));
        let named = |peer: &String| peer.split_once('=').is_some_and(|(n, _)| n == name);
        if found && !peers.iter().any(named) {
            all.push(Runtime {
                name: name.into(),
                command: vec![name.into()],
            });
        }
    }
    for peer in peers {
        let Some((name, command)) = peer.split_once('=') else {
            return Err(Failure::Check(format!("--peer takes NAME=COMMAND, not {peer}")));
        };
        all.push(Runtime {
            name: name.to_owned(),
            command: command.split_whitespace().map(str::to_owned).collect(),
        });
    }
    Ok(all)
}

/// Does a runtime run the programs at all? Mono, for one, may lack their class library.
fn runs(runtime: &Runtime, dll: &Path) -> bool {
    let lists = |output: std::process::Output| output.status.success() && !output.stdout.is_empty();
    let able = runtime.name == "corten" || runtime.command(dll).output().is_ok_and(lists);
    if !able {
        eprintln!("    {} does not run {}: left out", runtime.name, dll.display());
    }
    able
}

/// Whole processes of the samples, but for the one that runs for a given time.
fn start_up(project: &Project, runtimes: &[Runtime], runs: usize, report: &mut String) -> Outcome {
    header(report, "sample, whole process", runtimes, &["least", "median"]);
    for sample in samples::find(project)?.into_iter().filter(|s| s.name != "soak") {
        let mut times = vec![Vec::new(); runtimes.len()];
        for _ in 0..runs.max(3) {
            for (runtime, times) in runtimes.iter().zip(&mut times) {
                let mut command = runtime.command(&sample.dll);
                command.args(&sample.args).stdout(Stdio::null()).stderr(Stdio::null());
                let start = Instant::now();
                let status = command.status().map_err(|source| start_failure(&command, source))?;
                if status.success() {
                    times.push(ms(start.elapsed()));
                } else if runtime.name == "corten" {
                    return Err(Failure::Check(format!("{} ended with {status}", sample.name)));
                }
            }
        }
        let rows = times.iter_mut().map(|t| {
            t.sort_by(f64::total_cmp);
            Some(vec![*t.first()?, *t.get(t.len() / 2)?])
        });
        row(report, &sample.name, &rows.collect::<Vec<_>>());
    }
    report.push('\n');
    Ok(())
}

fn kernels(dll: &Path, runtimes: &[Runtime], options: &Options, report: &mut String) -> Outcome {
    let mut list = runtimes[0].command(dll);
    let output = list.output().map_err(|source| start_failure(&list, source))?;
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let wanted = |name: &&str| options.filter.as_deref().is_none_or(|f| name.contains(f));
    let names: Vec<&str> = names.lines().filter(wanted).collect();
    header(report, "kernel", runtimes, &["first", "best", "median"]);
    let mut ratios = vec![Vec::new(); 3];
    for name in names {
        let mut best: Vec<Option<Figures>> = vec![None; runtimes.len()];
        let mut checksum: Option<String> = None;
        for _ in 0..options.runs.max(1) {
            for (runtime, best) in runtimes.iter().zip(&mut best) {
                let Some(run) = runtime.run(dll, name)? else {
                    if runtime.name == "corten" {
                        return Err(Failure::Check(format!("{name} does not run")));
                    }
                    continue;
                };
                let expected = checksum.get_or_insert_with(|| run.checksum.clone());
                if *expected != run.checksum {
                    let text = format!("{name} on {}: {}, expected {expected}", runtime.name, run.checksum);
                    return Err(Failure::Check(text));
                }
                *best = Some(best.map_or(run.figures, |b| b.least(run.figures)));
            }
        }
        let rows: Vec<Option<Vec<f64>>> = best.iter().map(|b| Some(b.as_ref()?.list().to_vec())).collect();
        if let (Some(Some(ours)), Some(Some(reference))) = (rows.first(), rows.last()) {
            for (i, ratios) in ratios.iter_mut().enumerate() {
                ratios.push(ours[i] / reference[i]);
            }
        }
        row(report, name, &rows);
        eprintln!("    {name}");
    }
    if runtimes.len() > 1 {
        let mean = |list: &[f64]| (list.iter().map(|x| x.ln()).sum::<f64>() / list.len().max(1) as f64).exp();
        let [first, best, median] = [0, 1, 2].map(|i| mean(&ratios[i]));
        let _ = writeln!(
            report,
            "\nGeometric mean of corten's ratios: first {first:.2}, best {best:.2}, median {median:.2}."
        );
    }
    Ok(())
}

/// Kernels that are there in C too, by gcc -O3 for any x86-64.
fn native(project: &Project, dll: &Path, corten: &Runtime, options: &Options, report: &mut String) -> Outcome {
    let work = tempfile::tempdir().map_err(Failure::io(&std::env::temp_dir()))?;
    let runtimes = [
        corten.clone(),
        Runtime {
            name: "gcc -O3".into(),
            command: Vec::new(),
        },
    ];
    let folder = project.root.join("benchmarks");
    let mut sources: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(Failure::io(&folder))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "c"))
        .collect();
    sources.sort();
    let mut rows = Vec::new();
    for source in sources {
        let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if options.filter.as_deref().is_some_and(|f| !name.contains(f)) {
            continue;
        }
        let program = work.path().join(&name);
        let mut gcc = Command::new("gcc");
        gcc.args(["-O3", "-o"]).arg(&program).arg(&source);
        match gcc.status() {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(Failure::Check(format!("gcc {}: {status}", source.display()))),
            Err(error) => {
                eprintln!("    no gcc ({error}): {name} is not compared with C");
                continue;
            }
        }
        let mut best = [None, None];
        for _ in 0..options.runs.max(1) {
            let runs = [corten.run(dll, &name)?, run(Command::new(&program), &name)?];
            let [Some(ours), Some(theirs)] = &runs else {
                return Err(Failure::Check(format!("{name} does not run")));
            };
            if ours.checksum != theirs.checksum {
                let text = format!("{name}: {}, in C {}", ours.checksum, theirs.checksum);
                return Err(Failure::Check(text));
            }
            for (best, run) in best.iter_mut().zip(runs.into_iter().flatten()) {
                *best = Some(best.map_or(run.figures, |b: Figures| b.least(run.figures)));
            }
        }
        rows.push((name, best.map(|b| Some(b?.list().to_vec()))));
    }
    if !rows.is_empty() {
        report.push('\n');
        header(report, "kernel", &runtimes, &["first", "best", "median"]);
    }
    for (name, figures) in rows {
        row(report, &name, &figures);
    }
    Ok(())
}

fn header(report: &mut String, what: &str, runtimes: &[Runtime], columns: &[&str]) {
    let cells: Vec<String> = runtimes
        .iter()
        .flat_map(|r| columns.iter().map(move |c| format!("{} {c}", r.name)))
        .collect();
    let _ = writeln!(
        report,
        "| {what} | {} |\n|---|{}",
        cells.join(" | "),
        "---:|".repeat(cells.len())
    );
}

/// A line of a table; ratios refer to the last runtime.
fn row(report: &mut String, name: &str, figures: &[Option<Vec<f64>>]) {
    let columns = figures.iter().flatten().map(Vec::len).max().unwrap_or(0);
    let reference = figures.last().and_then(Option::as_ref);
    let _ = write!(report, "| {name} |");
    for (i, figures_of) in figures.iter().enumerate() {
        for column in 0..columns {
            let value = figures_of.as_ref().and_then(|f| f.get(column));
            let against = reference.and_then(|r| r.get(column)).filter(|_| i + 1 < figures.len());
            let _ = match (value, against) {
                (None, _) => write!(report, " - |"),
                (Some(v), Some(r)) => write!(report, " {v:.2} ({:.2}) |", v / r),
                (Some(v), None) => write!(report, " {v:.2} |"),
            };
        }
    }
    report.push('\n');
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Figures {
    fn list(self) -> [f64; 3] {
        [self.first, self.best, self.median]
    }
    fn least(self, other: Figures) -> Figures {
        Figures {
            first: self.first.min(other.first),
            best: self.best.min(other.best),
            median: self.median.min(other.median),
        }
    }
}

impl Runtime {
    fn command(&self, dll: &Path) -> Command {
        let mut words = self.command.iter();
        let mut command = Command::new(words.next().map_or("", String::as_str));
        command.args(words).arg(dll).stdin(Stdio::null());
        command
    }

    /// `None` if the runtime does not run it.
    fn run(&self, dll: &Path, kernel: &str) -> Outcome<Option<Run>> {
        run(self.command(dll), kernel)
    }
}

/// Runs a program that takes a kernel's name; `None` if it fails.
fn run(mut command: Command, kernel: &str) -> Outcome<Option<Run>> {
    command
        .arg(kernel)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().map_err(|source| start_failure(&command, source))?;
    let (mut first, mut times, mut checksum) = (None, Vec::new(), None);
    for line in child
        .stdout
        .take()
        .into_iter()
        .flat_map(|out| BufReader::new(out).lines())
    {
        let line = line.unwrap_or_default();
        if let Some(rest) = line.strip_prefix("iter ") {
            first.get_or_insert_with(|| ms(start.elapsed()));
            times.extend(
                rest.split(' ')
                    .nth(1)
                    .and_then(|ns| ns.parse::<f64>().ok())
                    .map(|ns| ns / 1e6),
            );
        } else if let Some(value) = line.strip_prefix("checksum ") {
            checksum = Some(value.to_owned());
        }
    }
    let status = child.wait().map_err(|source| start_failure(&command, source))?;
    times.sort_by(f64::total_cmp);
    Ok(match (first, times.first(), checksum) {
        (Some(first), Some(&best), Some(checksum)) if status.success() => Some(Run {
            figures: Figures {
                first,
                best,
                median: times[times.len() / 2],
            },
            checksum,
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_refer_to_the_last_runtime() {
        let mut text = String::new();
        row(&mut text, "x", &[Some(vec![3.0]), None, Some(vec![2.0])]);
        assert_eq!(text, "| x | 3.00 (1.50) | - | 2.00 |\n");
    }

    #[test]
    fn a_peer_needs_a_name() {
        assert!(runtimes(Path::new("corten"), &["mono".to_owned()]).is_err());
        let all = runtimes(Path::new("corten"), &["fast=run --quick".to_owned()]).expect("valid");
        // Ratios refer to the last one: behind what was found on the machine.
        let last = all.last().expect("at least corten");
        assert_eq!((last.name.as_str(), last.command.len()), ("fast", 2));
    }
}
