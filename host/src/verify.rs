//! `corten verify`: judges the type safety of assemblies without running them.

use std::collections::HashMap;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use corten_metadata::{Error, Fault, Module};
use corten_verifier::{Code, Filter, Format, ModuleHandle, Options, ReferencePath, Report, Universe, format};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::app::image;
use crate::error::{HostError, one_line};
use crate::framework;
use crate::output;

/// Exit code if there are findings; failures to verify have the host's own.
const FOUND: u8 = 1;

/// Arguments of `corten verify`. Exit code 0: everything verifies; 1: there are findings; 2: verification was not possible.
#[derive(clap::Args, Debug)]
pub struct VerifyArgs {
    /// Assemblies to verify, or folders of them
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// Look here for referenced assemblies, before the inputs' folders and the framework: a file or a folder
    #[arg(short, long, value_name = "PATH")]
    references: Vec<PathBuf>,
    /// Verify only members whose name, as `[assembly]Namespace.Type.Method`, matches one of these regular expressions
    #[arg(short, long, value_name = "REGEX")]
    include: Vec<String>,
    /// Do not verify members whose name matches
    #[arg(short, long, value_name = "REGEX")]
    exclude: Vec<String>,
    /// Do not report findings with this code
    #[arg(short = 'g', long, value_name = "CODE")]
    ignore_error: Vec<String>,
    /// How to write findings
    #[arg(long, value_enum, default_value_t)]
    format: FormatArg,
    /// Print on stderr how much was verified and how many findings each code has
    #[arg(short, long)]
    statistics: bool,
    /// Use this many threads instead of one for each processor
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, Default)]
enum FormatArg {
    /// One line a finding
    #[default]
    Text,
    /// One JSON object a line
    Json,
    /// One SARIF 2.1.0 document
    Sarif,
}

/// Verifies and prints what was found.
///
/// # Errors
/// An input or reference cannot be read, there is no core library, or a pattern or code is malformed.
pub fn run(args: &VerifyArgs, framework: Option<&Path>) -> Result<ExitCode, HostError> {
    let filter = filter(args)?;
    let inputs = open_inputs(&args.inputs)?;
    let references = references(args, &inputs, framework)?;
    let files: HashMap<String, String> = inputs
        .iter()
        .map(|(path, module)| (assembly_name(module), path.display().to_string()))
        .collect();
    let modules = inputs.into_iter().map(|(_, module)| module).collect();
    let universe = Universe::new(modules, &references).map_err(|error| HostError::BadApp {
        path: args.inputs[0].clone(),
        reason: error.to_string(),
    })?;
    let report = verify(&universe, filter, args.jobs);
    let format = match args.format {
        FormatArg::Text => Format::Text,
        FormatArg::Json => Format::Json,
        FormatArg::Sarif => Format::Sarif,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let written =
        format::write(format, &report.findings, &|name| files.get(name).cloned(), &mut out).and_then(|()| out.flush());
    output::ignore_closed(written)?;
    if args.statistics {
        print_statistics(&report);
    }
    Ok(if report.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FOUND)
    })
}

/// Checks that the application and the assemblies it brings along verify. Those of the framework are trusted.
///
/// # Errors
/// One of them cannot be read or has findings; the first is told.
pub fn require_verifiable(app: &Path, assemblies: &[(String, PathBuf)], framework: &Path) -> Result<(), HostError> {
    let mut references = ReferencePath::new();
    let mut files = vec![app];
    for (_, path) in assemblies {
        references.add(path).map_err(|error| HostError::io(path, error))?;
        if !path.starts_with(framework) && path != app {
            files.push(path);
        }
    }
    let mut modules = Vec::new();
    for &file in &files {
        modules.push(image::open(file)?.into());
    }
    let refused = |path: &Path, reason: String| HostError::BadApp {
        path: path.to_owned(),
        reason,
    };
    let universe = Universe::new(modules, &references).map_err(|error| refused(app, error.to_string()))?;
    let report = corten_verifier::verify(&universe, &Options::default());
    let Some(first) = report.findings.first() else {
        return Ok(());
    };
    let named = universe
        .inputs()
        .zip(&files)
        .find(|(id, _)| universe.name(*id) == first.assembly);
    let path = named.map_or(app, |(_, file)| *file);
    let count = report.findings.len();
    let reason = format!("is not verifiable, so --verify does not run it; {count} findings, the first: {first}");
    Err(refused(path, reason))
}

fn filter(args: &VerifyArgs) -> Result<Filter, HostError> {
    let mut filter = Filter::new();
    let usage = |error: &dyn std::error::Error| HostError::Usage(one_line(&error.to_string()));
    for pattern in &args.include {
        filter.include(pattern).map_err(|e| usage(&e))?;
    }
    for pattern in &args.exclude {
        filter.exclude(pattern).map_err(|e| usage(&e))?;
    }
    for name in &args.ignore_error {
        filter.ignore(name.parse::<Code>().map_err(|e| usage(&e))?);
    }
    Ok(filter)
}

/// Opens the inputs; of a folder, every managed assembly.
fn open_inputs(paths: &[PathBuf]) -> Result<Vec<(PathBuf, ModuleHandle)>, HostError> {
    let mut inputs = Vec::new();
    for path in paths {
        let found = std::fs::metadata(path).map_err(|error| HostError::io(path, error))?;
        if !found.is_dir() {
            inputs.push((path.clone(), image::open(path)?.into()));
            continue;
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|error| HostError::io(path, error))? {
            files.push(entry.map_err(|error| HostError::io(path, error))?.path());
        }
        files.retain(|file| file.extension().is_some_and(|e| e == "dll" || e == "exe"));
        files.sort();
        for file in files {
            match Module::open(&file) {
                Ok(module) => inputs.push((file, module.into())),
                // Native libraries and launchers lie in the same folders.
                Err(Error::BadImage {
                    fault: Fault::NotManaged | Fault::Magic(_),
                    ..
                }) => {}
                Err(_) => inputs.push((file.clone(), image::open(&file)?.into())),
            }
        }
    }
    if inputs.is_empty() {
        return Err(HostError::Usage("no assemblies in the folders given".to_owned()));
    }
    Ok(inputs)
}

/// Explicit references first, then the inputs' neighbours, then the framework.
fn references(
    args: &VerifyArgs,
    inputs: &[(PathBuf, ModuleHandle)],
    framework: Option<&Path>,
) -> Result<ReferencePath, HostError> {
    let mut references = ReferencePath::new();
    for path in &args.references {
        references.add(path).map_err(|error| HostError::io(path, error))?;
    }
    for (path, _) in inputs {
        let folder = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        references.add(folder).map_err(|error| HostError::io(folder, error))?;
    }
    let search = framework::Search::from_environment(framework);
    match search.resolve(&framework::Request::any()) {
        Ok(found) => references
            .add(&found.dir)
            .map_err(|error| HostError::io(found.dir, error))?,
        // The references may hold a core library of their own; if not, that is said.
        Err(error) if framework.is_some() || args.references.is_empty() => return Err(error),
        Err(_) => {}
    }
    Ok(references)
}

fn assembly_name(module: &Module) -> String {
    match module.assembly() {
        Ok(Some(row)) => row.name.to_owned(),
        _ => module
            .module_row()
            .map_or_else(|_| String::new(), |row| row.name.to_owned()),
    }
}

/// Verifies with a progress bar if stderr is a terminal.
fn verify(universe: &Universe, filter: Filter, threads: Option<NonZeroUsize>) -> Report {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} methods and types, {eta} left") {
        bar.set_style(style);
    }
    let progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let options = Options {
        filter,
        threads,
        progress: Some(&progress),
    };
    let report = corten_verifier::verify(universe, &options);
    bar.finish_and_clear();
    report
}

fn print_statistics(report: &Report) {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for finding in &report.findings {
        let name = finding.code.name();
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    eprintln!(
        "{} findings in {} methods and {} types",
        report.findings.len(),
        report.methods,
        report.types
    );
    for (name, count) in counts {
        eprintln!("{count:8} {name}");
    }
}
