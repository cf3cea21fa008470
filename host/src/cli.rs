//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::app::{self, LaunchOptions};
use crate::error::HostError;
use crate::framework::{self, Framework};
use crate::inspect;
use crate::jit_all;
use crate::output;
use crate::verify;
use corten_runtime::stats::Part;

/// Runs .NET assemblies.
#[derive(Parser, Debug)]
#[command(
    name = "corten",
    version,
    about = "Runs .NET assemblies",
    override_usage = "corten [OPTIONS] APP.dll [ARG...]\n       corten [OPTIONS] COMMAND",
    after_help = "Everything after APP.dll is passed to the application. An assembly named like a command is run as ./NAME.",
    subcommand_value_name = "COMMAND",
    arg_required_else_help = true
)]
struct Cli {
    /// Use this framework: a folder that holds System.Private.CoreLib.dll, or a .NET installation
    #[arg(long, value_name = "DIR")]
    framework: Option<PathBuf>,
    /// Print what the engine did (methods compiled, collections, times) on stderr at exit; `jit` or `gc`: only that part
    #[arg(long, value_name = "PART", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    stats: Option<StatsPart>,
    /// Write what the compiler and the collector do into FILE, for chrome://tracing or Perfetto
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Refuse to run if code of the application's own assemblies is not verifiable
    #[arg(long)]
    verify: bool,
    /// Print which framework, assemblies and properties the application would get, and do not run it
    #[arg(long)]
    explain: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum StatsPart {
    All,
    Jit,
    Gc,
}

impl From<StatsPart> for Part {
    fn from(part: StatsPart) -> Part {
        match part {
            StatsPart::All => Part::All,
            StatsPart::Jit => Part::Jit,
            StatsPart::Gc => Part::Gc,
        }
    }
}

/// Lets `--stats jit` mean `--stats=jit`, before the application: what else follows `--stats` is the application.
fn join_stats_part(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut out: Vec<OsString> = Vec::new();
    let mut options = true;
    for arg in args {
        let after_stats = options && out.last().is_some_and(|last| last == "--stats");
        if after_stats && (arg == "all" || arg == "jit" || arg == "gc") {
            out.pop();
            let mut joined = OsString::from("--stats=");
            joined.push(arg);
            out.push(joined);
            continue;
        }
        let is_value = out
            .last()
            .is_some_and(|last| last == "--framework" || last == "--trace");
        options &= out.is_empty() || is_value || arg.to_string_lossy().starts_with("--");
        out.push(arg);
    }
    out
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Find, list or fetch the .NET framework (class library)
    Framework {
        #[command(subcommand)]
        action: FrameworkAction,
    },
    /// Show what an assembly contains
    Inspect(inspect::InspectArgs),
    /// Judge the type safety of assemblies without running them
    Verify(verify::VerifyArgs),
    /// Compile every method of assemblies without running them; shows what the compiler rejects
    JitAll(jit_all::JitAllArgs),
    /// The application and its arguments.
    #[command(external_subcommand)]
    Run(Vec<OsString>),
}

#[derive(Subcommand, Debug)]
enum FrameworkAction {
    /// Fetch the framework into the user's cache with npm, unless it is there already
    Install,
    /// List the frameworks found on this machine, in the order in which they are preferred
    List,
    /// Print the folder of the framework that an application would get
    Path,
}

/// Parses the arguments (the first is the program's name) and does what they ask.
///
/// # Errors
/// Bad usage, and every failure that keeps an application from starting.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<ExitCode, HostError> {
    let cli = match Cli::try_parse_from(join_stats_part(args)) {
        Ok(cli) => cli,
        Err(error) => return explain_usage(&error),
    };
    match cli.command {
        Some(Command::Framework { action }) => framework_command(action, cli.framework.as_deref()),
        Some(Command::Inspect(args)) => inspect::run(&args),
        Some(Command::Verify(args)) => verify::run(&args, cli.framework.as_deref()),
        Some(Command::JitAll(args)) => jit_all::run(&args, cli.framework.as_deref()),
        Some(Command::Run(words)) => {
            let mut words = words.into_iter();
            let Some(path) = words.next() else {
                return Err(no_application());
            };
            app::run(LaunchOptions {
                app: PathBuf::from(path),
                args: words.collect(),
                framework: cli.framework,
                stats: cli.stats.map(Part::from),
                trace: cli.trace,
                verify: cli.verify,
                explain: cli.explain,
            })
        }
        None => Err(no_application()),
    }
}

fn no_application() -> HostError {
    HostError::Usage("no application given".to_owned())
}

/// Help and version go to stdout as they are; an error becomes one line.
fn explain_usage(error: &clap::Error) -> Result<ExitCode, HostError> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output::print(error)?;
            Ok(ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            eprint!("{error}");
            Ok(ExitCode::from(crate::error::HOST_FAILURE))
        }
        _ => {
            let text = error.to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            Err(HostError::Usage(
                crate::error::one_line(first.trim_start_matches("error: ")).replace(":; ", ": "),
            ))
        }
    }
}

fn framework_command(action: FrameworkAction, chosen: Option<&std::path::Path>) -> Result<ExitCode, HostError> {
    let search = framework::Search::from_environment(chosen);
    match action {
        FrameworkAction::Install => {
            let dir = framework::provision::install()?;
            output::print(format_args!("{}\n", dir.display()))?;
        }
        FrameworkAction::List => {
            let found = search.find_all()?;
            if found.is_empty() {
                return Err(search.nothing_found());
            }
            for framework in found {
                let Framework { version, dir, origin } = framework;
                output::print(format_args!("{version} [{}] ({origin})\n", dir.display()))?;
            }
        }
        FrameworkAction::Path => {
            let framework = search.resolve(&framework::Request::any())?;
            output::print(format_args!("{}\n", framework.dir.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(join_stats_part(
            std::iter::once(&"corten").chain(words).map(OsString::from),
        ))
    }

    #[test]
    fn everything_after_the_app_is_the_apps() {
        let cli = parse(&["--stats", "a.dll", "--stats", "--framework", "x", "--", "-y"]).expect("parses");
        assert!(cli.stats == Some(StatsPart::All) && cli.framework.is_none());
        let Some(Command::Run(words)) = cli.command else {
            panic!("not a run: {cli:?}")
        };
        assert_eq!(words, ["a.dll", "--stats", "--framework", "x", "--", "-y"]);
    }

    #[test]
    fn statistics_may_be_of_one_part() {
        for (words, part) in [
            (&["--stats", "jit", "a.dll", "--stats", "gc"][..], StatsPart::Jit),
            (&["--framework", "x", "--stats=gc", "a.dll"], StatsPart::Gc),
            (&["--framework", "x", "--stats", "gc", "a.dll", "jit"], StatsPart::Gc),
            (&["--stats", "a.dll"], StatsPart::All),
            (&["--stats", "./jit"], StatsPart::All),
        ] {
            let cli = parse(words).expect("parses");
            assert_eq!(cli.stats, Some(part), "{words:?}");
            let Some(Command::Run(run)) = cli.command else {
                panic!("not a run: {words:?}")
            };
            assert!(
                words.ends_with(&run.iter().map(|w| w.to_str().expect("text")).collect::<Vec<_>>()),
                "{run:?}"
            );
        }
        let cli = parse(&["a.dll", "--stats", "jit"]).expect("parses");
        assert_eq!(cli.stats, None);
    }

    #[test]
    fn unknown_flags_are_errors() {
        let error = parse(&["--bogus", "a.dll"]).expect_err("must fail");
        let text = explain_usage(&error).expect_err("an error").to_string();
        assert!(text.starts_with("unexpected argument '--bogus' found"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }

    #[test]
    fn missing_values_and_bad_actions_fit_on_one_line() {
        for words in [&["--framework"][..], &["framework", "frobnicate"], &["inspect"]] {
            let error = parse(words).expect_err("must fail");
            let text = explain_usage(&error).expect_err("an error").to_string();
            assert!(!text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
