//! Running steps: each is announced, timed, and the first that fails ends the task.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A program could not be started.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A program ended with a failure; it has said why itself.
    #[error("failed: {command} ({status})")]
    Status {
        /// The command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A program was still running at its limit and has been ended.
    #[error("ended after {seconds} s: {command}")]
    TooLong {
        /// The command line.
        command: String,
        /// The limit.
        seconds: u64,
    },
    /// A file or folder could not be used.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A check of our own did not hold.
    #[error("{0}")]
    Check(String),
}

impl Failure {
    /// Wraps an I/O error with its path.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Failure + use<> {
        let path = path.to_owned();
        move |source| Failure::Io { path, source }
    }
}

/// The result of a step.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Runs steps and remembers how long each took.
#[derive(Default)]
pub struct Steps {
    times: Vec<(String, Duration)>,
}

impl Steps {
    /// Announces and runs one step.
    pub fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        eprintln!("==> {name}");
        let start = Instant::now();
        let result = work();
        let time = start.elapsed();
        eprintln!(
            "<== {name}: {} in {:.1} s",
            if result.is_ok() { "ok" } else { "FAILED" },
            time.as_secs_f64()
        );
        self.times.push((name.to_owned(), time));
        result
    }

    /// Prints the time of every step and their sum.
    pub fn report(&self) {
        eprintln!();
        for (name, time) in &self.times {
            eprintln!("{:>8.1} s  {name}", time.as_secs_f64());
        }
        let total: Duration = self.times.iter().map(|(_, time)| *time).sum();
        eprintln!("{:>8.1} s  in all", total.as_secs_f64());
    }
}

/// Runs a program with our stdout and stderr; its failure is ours.
pub fn call(command: &mut Command) -> Outcome {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|source| start_failure(command, source))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::Status {
            command: describe(command),
            status,
        })
    }
}

/// As [`call`], but a program that is still running after `limit` is ended, which is a failure.
pub fn call_within(command: &mut Command, limit: Duration) -> Outcome {
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .map_err(|source| start_failure(command, source))?;
    let start = Instant::now();
    loop {
        let state = child.try_wait().map_err(|source| start_failure(command, source))?;
        if let Some(status) = state {
            return if status.success() {
                Ok(())
            } else {
                Err(Failure::Status {
                    command: describe(command),
                    status,
                })
            };
        }
        if start.elapsed() > limit {
            // It may have ended meanwhile: then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure::TooLong {
                command: describe(command),
                seconds: limit.as_secs(),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program and returns its stdout; `None` if it ended with a failure.
pub fn capture(command: &mut Command) -> Outcome<Option<String>> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| start_failure(command, source))?;
    Ok(output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The failure of starting `command`.
pub fn start_failure(command: &Command, source: std::io::Error) -> Failure {
    Failure::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    }
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_over_its_limit_is_ended() {
        let limit = Duration::from_millis(100);
        let result = call_within(Command::new("sleep").arg("60"), limit);
        assert!(matches!(result, Err(Failure::TooLong { .. })));
        assert!(call_within(&mut Command::new("true"), Duration::from_secs(60)).is_ok());
        let result = call_within(&mut Command::new("false"), Duration::from_secs(60));
        assert!(matches!(result, Err(Failure::Status { .. })));
    }
}
