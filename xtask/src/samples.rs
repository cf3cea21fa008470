//! The samples: `samples/NAME/NAME.dll` with the stdout recorded from CoreCLR in `NAME.out`, and arguments in `NAME.args`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::project::Project;
use crate::steps::{Failure, Outcome, start_failure};

/// One sample.
pub struct Sample {
    /// The name of its folder and assembly.
    pub name: String,
    /// The assembly.
    pub dll: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    expected: Vec<u8>,
}

/// Every sample with an expected output, sorted by name.
pub fn find(project: &Project) -> Outcome<Vec<Sample>> {
    let dir = project.root.join("samples");
    let mut samples = Vec::new();
    for entry in std::fs::read_dir(&dir).map_err(Failure::io(&dir))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let file = |extension: &str| entry.path().join(format!("{name}.{extension}"));
        if let Ok(expected) = std::fs::read(file("out")) {
            let args = std::fs::read_to_string(file("args")).unwrap_or_default();
            samples.push(Sample {
                dll: file("dll"),
                args: args.lines().map(str::to_owned).collect(),
                name,
                expected,
            });
        }
    }
    samples.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(samples)
}

/// Runs every sample and compares its output and exit code (0).
pub fn check(project: &Project, corten: &Path) -> Outcome {
    let mut failed = Vec::new();
    for sample in find(project)? {
        match sample.run(corten)? {
            None => eprintln!("    {}: ok", sample.name),
            Some(reason) => {
                eprintln!("    {}: {reason}", sample.name);
                failed.push(sample.name);
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Check(format!("samples failed: {}", failed.join(", "))))
    }
}

impl Sample {
    /// Runs it once; `Some` says what is wrong.
    fn run(&self, corten: &Path) -> Outcome<Option<String>> {
        let mut command = self.command(corten);
        let output = command.output().map_err(|source| start_failure(&command, source))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Ok(Some(format!("{}; stderr: {}", output.status, stderr.trim_end())));
        }
        Ok((output.stdout != self.expected).then(|| first_difference(&self.expected, &output.stdout)))
    }

    /// The command that runs it, without stdin.
    pub fn command(&self, corten: &Path) -> Command {
        let mut command = Command::new(corten);
        command.arg(&self.dll).args(&self.args).stdin(Stdio::null());
        command
    }
}

/// Where two outputs begin to differ.
pub fn first_difference(expected: &[u8], actual: &[u8]) -> String {
    let (expected, actual) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(actual));
    let (mut left, mut right) = (expected.lines(), actual.lines());
    for line in 1_u32.. {
        match (left.next(), right.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => {
                let show = |text: Option<&str>| text.map_or("nothing".to_owned(), |text| format!("\"{text}\""));
                return format!("line {line} of stdout: expected {}, got {}", show(a), show(b));
            }
        }
    }
    "stdout differs in its line ends".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_shown() {
        assert_eq!(
            first_difference(b"a\nb\n", b"a\nc\n"),
            "line 2 of stdout: expected \"b\", got \"c\""
        );
        assert_eq!(
            first_difference(b"a\nb\n", b"a\n"),
            "line 2 of stdout: expected \"b\", got nothing"
        );
        assert_eq!(first_difference(b"a\n", b"a"), "stdout differs in its line ends");
    }
}
