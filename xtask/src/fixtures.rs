//! `cargo xtask fixtures`: test assemblies and the sources they are built from.
//!
//! A fixture is a `NAME.cs` with a `NAME.dll` beside it that is kept in the repository, so that no compiler is needed to run the
//! tests. Its first line may be `// csc: OPTIONS`. Roslyn is deterministic: the same compiler makes the same bytes, so a
//! fixture is checked by building it again and comparing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project::Project;
use crate::steps::{Failure, Outcome, call};

/// Rebuilds every fixture, or with `check` compares what its source gives with what is there. Without a compiler it says so
/// and succeeds.
pub fn fixtures(project: &Project, check: bool) -> Outcome {
    let Some(compiler) = compiler(project) else {
        eprintln!(
            "    no C# compiler (CORTEN_CSC, ../shared/tools/csc): fixtures not {}",
            if check { "checked" } else { "built" }
        );
        return Ok(());
    };
    let mut sources = Vec::new();
    collect(&project.root, &mut sources)?;
    sources.sort();
    let work = tempfile::tempdir().map_err(Failure::io(&env::temp_dir()))?;
    let mut different = Vec::new();
    for source in &sources {
        let dll = source.with_extension("dll");
        let shown = dll.strip_prefix(&project.root).unwrap_or(&dll).display().to_string();
        // Compiled under its own name, which the assembly gets.
        let built = work.path().join(dll.file_name().unwrap_or_default());
        compile(&compiler, source, &built)?;
        let same =
            std::fs::read(&built).map_err(Failure::io(&built))? == std::fs::read(&dll).map_err(Failure::io(&dll))?;
        if same {
            continue;
        }
        if check {
            different.push(shown);
        } else {
            std::fs::copy(&built, &dll).map_err(Failure::io(&dll))?;
            eprintln!("    rebuilt {shown}");
        }
    }
    eprintln!("    {} fixtures", sources.len());
    if different.is_empty() {
        return Ok(());
    }
    Err(Failure::Check(format!(
        "not what their sources give (run `cargo xtask fixtures`): {}",
        different.join(", ")
    )))
}

/// A command that takes csc's options, `-out:` and source files.
fn compiler(project: &Project) -> Option<PathBuf> {
    if let Some(command) = env::var_os("CORTEN_CSC").filter(|command| !command.is_empty()) {
        return Some(command.into());
    }
    let shared = project.shared()?;
    // The tool is a front for a compiler that its setup fetches.
    let ready = Command::new(shared.join("tools").join("setup"))
        .output()
        .is_ok_and(|output| output.status.success());
    ready.then(|| shared.join("tools").join("csc"))
}

/// The C# files that have an assembly beside them, in all folders but hidden ones and build output.
fn collect(dir: &Path, sources: &mut Vec<PathBuf>) -> Outcome {
    for entry in std::fs::read_dir(dir).map_err(Failure::io(dir))? {
        let path = entry.map_err(Failure::io(dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !path.is_symlink() && !name.starts_with('.') && name != "target" {
            collect(&path, sources)?;
        } else if name.ends_with(".cs") && path.with_extension("dll").is_file() {
            sources.push(path);
        }
    }
    Ok(())
}

fn compile(compiler: &Path, source: &Path, out: &Path) -> Outcome {
    let text = std::fs::read_to_string(source).map_err(Failure::io(source))?;
    let mut command = Command::new(compiler);
    command.args(options(&text)).arg(format!("-out:{}", out.display()));
    // By its bare name: the path of a source may get into the assembly.
    command
        .arg(source.file_name().unwrap_or_default())
        .current_dir(source.parent().unwrap_or(Path::new(".")));
    call(&mut command)
}

/// The options named by a source's first line.
fn options(text: &str) -> Vec<&str> {
    let first = text.trim_start_matches('\u{feff}').lines().next().unwrap_or_default();
    first
        .strip_prefix("// csc:")
        .map(|options| options.split_whitespace().collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_in_the_first_line_only() {
        assert_eq!(options("// csc: -lib -O0\nclass C {}"), ["-lib", "-O0"]);
        assert!(options("class C {}\n// csc: -lib").is_empty());
        assert!(options("").is_empty());
    }
}
