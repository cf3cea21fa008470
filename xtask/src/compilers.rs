//! Two compilers that nobody here wrote run on Corten: Roslyn compiles a program of 500 lines to the same bytes as on the
//! reference, and Mono's `mcs` compiles hello. Each is left out, with a message, where it is not installed.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::project::Project;
use crate::steps::{Failure, Outcome, call_within};

const HELLO: &str = "class Hello { static void Main() { System.Console.WriteLine(\"hello\"); } }\n";
const MCS: &str = "/usr/lib/mono/4.5/mcs.exe";

/// What one compilation may take: it needs a few seconds.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs both.
pub fn compilers(project: &Project, corten: &Path) -> Outcome {
    roslyn(project, corten)?;
    mcs(corten)
}

/// The folder that the shared tools set up: the reference runtime, its framework and Roslyn.
fn reference(project: &Project) -> Option<PathBuf> {
    project.shared()?;
    let folder = match env::var_os("CORTEN_REF") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env::var_os("HOME")?).join(".cache/corten-ref"),
    };
    folder.join("roslyn/rcsc.exe").is_file().then_some(folder)
}

fn roslyn(project: &Project, corten: &Path) -> Outcome {
    let Some(reference) = reference(project) else {
        eprintln!("    Roslyn is not set up (../shared/tools/setup): left out");
        return Ok(());
    };
    let work = tempfile::tempdir().map_err(Failure::io(&env::temp_dir()))?;
    let source = work.path().join("program.cs");
    std::fs::write(&source, program()).map_err(Failure::io(&source))?;
    let framework = reference.join("net9");
    let compiler = reference.join("roslyn/rcsc.exe");
    let compile = |mut command: Command, folder: &str| -> Outcome<Vec<u8>> {
        let out = work.path().join(folder);
        std::fs::create_dir(&out).map_err(Failure::io(&out))?;
        let out = out.join("program.dll");
        command
            .arg(&compiler)
            .arg(format!("-refdir:{}", framework.display()))
            .arg(format!("-out:{}", out.display()))
            .arg("program.cs")
            .current_dir(work.path());
        call_within(&mut command, LIMIT)?;
        std::fs::read(&out).map_err(Failure::io(&out))
    };
    let mut on_reference = Command::new(reference.join("corerun"));
    on_reference.arg(&framework);
    let expected = match compile(on_reference, "reference") {
        Ok(expected) => expected,
        Err(failure) => {
            eprintln!("    Roslyn does not run on the reference here ({failure}): left out");
            return Ok(());
        }
    };
    if compile(Command::new(corten), "corten")? != expected {
        return Err(Failure::Check("Roslyn made another assembly on Corten".into()));
    }
    eprintln!(
        "    Roslyn: {} lines, {} bytes, as on the reference",
        program().lines().count(),
        expected.len()
    );
    Ok(())
}

fn mcs(corten: &Path) -> Outcome {
    let library = Path::new(MCS).with_file_name("mscorlib.dll");
    if !Path::new(MCS).is_file() || !library.is_file() {
        eprintln!("    {MCS} is not installed: left out");
        return Ok(());
    }
    let work = tempfile::tempdir().map_err(Failure::io(&env::temp_dir()))?;
    let source = work.path().join("hello.cs");
    std::fs::write(&source, HELLO).map_err(Failure::io(&source))?;
    let out = work.path().join("hello.exe");
    call_within(
        Command::new(corten)
            .arg(MCS)
            .arg("-nostdlib")
            .arg(format!("-r:{}", library.display()))
            .arg(format!("-out:{}", out.display()))
            .arg(&source),
        LIMIT,
    )?;
    let image = std::fs::read(&out).map_err(Failure::io(&out))?;
    if !image.starts_with(b"MZ") {
        return Err(Failure::Check("mcs made no assembly".into()));
    }
    eprintln!("    mcs: {} bytes", image.len());
    Ok(())
}

/// A C# program of more than 500 lines with a bit of everything.
fn program() -> String {
    let mut text = String::from(
        "using System;\nusing System.Collections.Generic;\nusing System.Linq;\nusing System.Threading.Tasks;\n\n",
    );
    for i in 0..40 {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "record Item{i}(int Key, string Name) {{
    public int Sum(params int[] values) => values.Where(v => v % {step} == 0).Sum() + Key;
}}
class Box{i}<T> where T : IComparable<T> {{
    readonly List<T> items = new();
    public T this[int at] {{ get => items[at]; set => items.Insert(at, value); }}
    public IEnumerable<T> Above(T limit) {{ foreach (var x in items) if (x.CompareTo(limit) > 0) yield return x; }}
    public async Task<int> CountAsync() {{ await Task.Yield(); lock (items) return items.Count; }}
    public string Kind(object o) => o switch {{ int n when n > {i} => $\"big {{n}}\", string {{ Length: > 3 }} s => s[^2..], null => \"null\", _ => \"other\" }};
    public Func<int, int> Adder(int a) => b => {{ try {{ return checked(a + b); }} catch (OverflowException) {{ return {i}; }} finally {{ a++; }} }};
}}
enum Flag{i} : byte {{ None, First = 1 << ({i} % 8), Last = 255 }}
",
            step = i + 1
        );
    }
    text.push_str("static class Program {\n    static async Task Main() {\n");
    for i in 0..40 {
        let _ = writeln!(
            text,
            "        var box{i} = new Box{i}<int>(); box{i}[0] = {i}; Console.WriteLine(new Item{i}({i}, \"n\").Sum(1, 2, 3) + await box{i}.CountAsync() + box{i}.Kind({i}) + Flag{i}.Last);"
        );
    }
    text.push_str("    }\n}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_has_500_lines() {
        assert!(program().lines().count() >= 500);
    }
}
