//! Everything that can go wrong before the first managed instruction runs. Each message is one line that says what is wrong,
//! where, and what to do.

use std::path::PathBuf;

/// Exit code of every failure of the host itself (bad usage, bad input, no framework). An application's own exit code is passed
/// through unchanged, so scripts that must tell the two apart should look at stderr: the host's lines start with `corten: `.
pub const HOST_FAILURE: u8 = 2;

/// A failure before the application runs; the fault is the user's input or environment.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The command line cannot be understood.
    #[error("{0}; `corten --help` lists the commands and options")]
    Usage(String),
    /// A file or folder cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// What was to be read or written.
        path: PathBuf,
        /// Why it could not be.
        source: std::io::Error,
    },
    /// The application given does not exist.
    #[error("{path}: no such file; give the path of a .NET assembly (APP.dll)", path = .0.display())]
    NoSuchApp(PathBuf),
    /// The application given cannot be run; `reason` says why and what to do.
    #[error("{path}: {reason}", path = .path.display())]
    BadApp {
        /// The file.
        path: PathBuf,
        /// Why it cannot be run, and what to do.
        reason: String,
    },
    /// A `runtimeconfig.json` or `deps.json` is malformed, or asks for what does not exist.
    #[error("{path}: {reason}", path = .path.display())]
    BadConfig {
        /// The JSON file.
        path: PathBuf,
        /// What is wrong in it, and what to do.
        reason: String,
    },
    /// No .NET framework was found, or none that the application can use.
    #[error("{0}")]
    NoFramework(String),
    /// The engine did not start.
    #[error("{0}")]
    Engine(String),
    /// The framework could not be fetched.
    #[error("cannot install the .NET {version} framework: {reason}")]
    Provision {
        /// The version that was to be installed.
        version: &'static str,
        /// Why, and what to do.
        reason: String,
    },
}

impl HostError {
    /// Wraps an I/O error with the path it is about.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        HostError::Io {
            path: path.into(),
            source,
        }
    }
}

/// Puts a message that may span lines (of the JSON parser, of npm) on one line.
pub fn one_line(text: &str) -> String {
    text.split('\n')
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_on_one_line() {
        assert_eq!(one_line("a\n\n  b \n"), "a; b");
        assert_eq!(one_line(""), "");
    }
}
