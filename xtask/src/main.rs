//! Project tasks: `cargo xtask COMMAND`.

mod bench;
mod compilers;
mod conformance;
mod fixtures;
mod fuzz;
mod malformed;
mod project;
mod run;
mod samples;
mod steps;
mod test;
mod tiers;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use project::Project;

/// Project tasks.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build Corten in release mode, fetch the framework if there is none, and run an application
    Run {
        /// The assembly and its arguments
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "APP.dll"
        )]
        words: Vec<OsString>,
    },
    /// Everything CI checks: format, lints, docs, tests, models, samples, fixtures
    Test,
    /// Compile with Roslyn and mcs running on Corten, where they are installed
    Compilers,
    /// Rebuild the test assemblies from their sources
    Fixtures {
        /// Change nothing; fail if an assembly is not what its source gives
        #[arg(long)]
        check: bool,
    },
    /// Run generated programs at all tiers and compare
    Tiers {
        /// How many
        #[arg(long, default_value_t = 10_000)]
        programs: u32,
        /// The first seed
        #[arg(long, default_value_t = 1)]
        seed: u32,
    },
    /// Run the benchmarks and write a report
    Bench(bench::Options),
    /// Run the conformance programs that are listed for it in all stress modes
    Stress {
        /// Only modes whose name contains this
        #[arg(default_value = "")]
        filter: String,
    },
    /// Run the shared conformance programs that are listed as passing
    Conformance {
        /// Run every program of these sets (core if none is named), and print the unlisted ones that pass
        #[arg(long, value_name = "SET", num_args = 0.., default_missing_value = "core")]
        all: Option<Vec<String>>,
    },
}

fn main() -> ExitCode {
    let task = Cli::parse().task;
    let project = match Project::find() {
        Ok(project) => project,
        Err(error) => return fail(&error),
    };
    let result = match task {
        Task::Run { words } => return run::run(&project, &words).unwrap_or_else(|error| fail(&error)),
        Task::Test => test::test(&project),
        Task::Compilers => project
            .build_release()
            .and_then(|corten| compilers::compilers(&project, &corten)),
        Task::Fixtures { check } => fixtures::fixtures(&project, check),
        Task::Tiers { programs, seed } => project.build_release().and_then(|corten| {
            project.ensure_framework(&corten)?;
            tiers::tiers(&project, &corten, programs, seed)
        }),
        Task::Bench(options) => bench::bench(&project, &options),
        Task::Stress { filter } => conformance::stress_modes(&project, &filter),
        Task::Conformance { all } => conformance::conformance(&project, &all.unwrap_or_default()),
    };
    result.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

fn fail(error: &steps::Failure) -> ExitCode {
    eprintln!("xtask: {error}");
    ExitCode::FAILURE
}
