//! Golden tests: every `filetests/**/*.ilt` is run by the directive in its first line (`; test: import`), and its result
//! must be the `;;` lines at its end. `CORTEN_BLESS=1` rewrites them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};

/// Turns the text of a test into its result.
type Runner = fn(&str) -> Result<String, String>;

/// Runners by directive. Add yours here.
const RUNNERS: &[(&str, Runner)] = &[
    ("import", corten_jit::testing::import_text),
    ("tier1", corten_jit::testing::tier1_text),
    ("devirt", |text| corten_jit::testing::optimise_text(text, "devirt")),
    ("vectorize", |text| {
        corten_jit::testing::pass_text(text, &["scalars", "checks", "rotate", "hoist"], "vectorize")
    }),
    ("unroll", |text| {
        corten_jit::testing::pass_text(text, &["scalars", "checks", "rotate", "hoist"], "unroll")
    }),
    ("strength", |text| {
        corten_jit::testing::pass_text(text, &["scalars", "checks", "rotate", "hoist"], "strength")
    }),
    ("version", |text| {
        corten_jit::testing::pass_text(text, &["scalars", "checks", "rotate", "hoist"], "version")
    }),
    ("rotate", |text| {
        corten_jit::testing::pass_text(text, &["scalars", "checks"], "rotate")
    }),
    ("hoist", |text| {
        corten_jit::testing::pass_text(text, &["scalars", "loads", "checks", "rotate"], "hoist")
    }),
    ("finally", |text| corten_jit::testing::pass_text(text, &[], "finally")),
    ("thread", |text| corten_jit::testing::pass_text(text, &[], "scalars")),
    ("loads", |text| {
        corten_jit::testing::pass_text(text, &["scalars", "checks"], "loads")
    }),
    ("implicit", |text| {
        corten_jit::testing::pass_text(text, &["scalars", "checks"], "implicit")
    }),
    ("checks", |text| {
        corten_jit::testing::pass_text(text, &["scalars"], "checks")
    }),
    ("weights", |text| corten_jit::testing::optimise_text(text, "weights")),
    ("inline with weights", |text| {
        corten_jit::testing::pass_text(text, &["weights"], "inline")
    }),
    ("count blocks", corten_jit::testing::count_blocks_text),
    ("guess", |text| corten_jit::testing::optimise_text(text, "guess")),
    ("inline", |text| corten_jit::testing::optimise_text(text, "inline")),
    ("scalars", |text| corten_jit::testing::optimise_text(text, "scalars")),
];

const MARK: &str = ";; ";

fn collect(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, out);
        } else if path.extension().is_some_and(|e| e == "ilt") {
            out.push(path);
        }
    }
}

fn run(path: &Path, bless: bool) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let source: String = text
        .lines()
        .filter(|l| !l.starts_with(";;"))
        .map(|l| format!("{l}\n"))
        .collect();
    let source = format!("{}\n", source.trim_end());
    let expected: String = text
        .lines()
        .filter_map(|l| l.strip_prefix(MARK))
        .map(|l| format!("{l}\n"))
        .collect();
    let directive = source
        .lines()
        .next()
        .and_then(|l| l.strip_prefix("; test: "))
        .unwrap_or("")
        .trim();
    let runner = RUNNERS.iter().find(|(name, _)| *name == directive);
    let (_, runner) = runner.ok_or_else(|| format!("unknown directive `{directive}`"))?;
    let found = runner(&source)?;
    if found == expected {
        return Ok(());
    }
    if bless {
        let mut out = source;
        out.push('\n');
        for line in found.lines() {
            out.push_str(MARK);
            out.push_str(line);
            out.push('\n');
        }
        return std::fs::write(path, out).map_err(|e| e.to_string());
    }
    let line = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
    let line = line.unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
    Err(format!(
        "differs at line {}:\n  found    {}\n  expected {}\n(CORTEN_BLESS=1 accepts the new result)",
        line + 1,
        found.lines().nth(line).unwrap_or("<end>"),
        expected.lines().nth(line).unwrap_or("<end>"),
    ))
}

#[test]
fn filetests() {
    let bless = std::env::var_os("CORTEN_BLESS").is_some();
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests"), &mut files);
    files.sort();
    assert!(!files.is_empty(), "no filetests found");
    let mut failures = Vec::new();
    for path in &files {
        if let Err(error) = run(path, bless) {
            failures.push(format!("{}: {error}", path.display()));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        files.len(),
        failures.join("\n")
    );
}
