//! `corten inspect`: shows what an assembly contains.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use corten_metadata::Module;
use corten_metadata::inspect::{self as views, InspectError};

use crate::app::image;
use crate::error::{HostError, one_line};

/// Arguments of `corten inspect`. Without a view it prints an overview, for which it reads and checks the whole image.
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

/// Prints the views asked for, or the overview.
///
/// # Errors
/// The file cannot be read or is malformed, or the method does not exist.
pub fn run(args: &InspectArgs) -> Result<ExitCode, HostError> {
    let module = image::open(&args.file)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = print(args, &module, &mut out).and_then(|()| Ok(out.flush()?));
    match printed {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // The reader has seen enough.
        Err(InspectError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(InspectError::Write(error)) => Err(HostError::io("stdout", error)),
        Err(error) => Err(HostError::BadApp {
            path: args.file.clone(),
            reason: one_line(&error.to_string()),
        }),
    }
}

fn print(args: &InspectArgs, module: &Module, out: &mut dyn Write) -> Result<(), InspectError> {
    if args.tables {
        views::tables(module, out)?;
    }
    if args.types {
        views::types(module, out)?;
    }
    if args.methods {
        views::methods(module, out)?;
    }
    if let Some(method) = &args.il {
        views::il(module, method, out)?;
    }
    let no_view = !(args.tables || args.types || args.methods || args.il.is_some());
    if no_view { views::overview(module, out) } else { Ok(()) }
}
