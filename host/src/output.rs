//! Writing to stdout. A reader that has seen enough (`corten inspect FILE | head`) is no failure.

use std::fmt::Display;
use std::io::{self, Write};

use crate::error::HostError;

/// Prints to stdout, without a line end of its own.
///
/// # Errors
/// stdout cannot be written to, other than by the reader having closed it.
pub fn print(text: impl Display) -> Result<(), HostError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    ignore_closed(write!(out, "{text}").and_then(|()| out.flush()))
}

/// Turns a failure to write to stdout into an error, other than by the reader having closed it.
///
/// # Errors
/// See above.
pub fn ignore_closed(written: io::Result<()>) -> Result<(), HostError> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(HostError::io("stdout", error)),
        _ => Ok(()),
    }
}
