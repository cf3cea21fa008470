//! The conformance corpus next to the project, where it and an assembler exist.

use std::path::Path;
use std::process::Command;

use crate::support;

#[test]
fn the_corpus_is_judged_as_its_names_say() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/verify");
    let (Ok(entries), Some(framework)) = (std::fs::read_dir(&corpus), support::framework()) else {
        eprintln!("skipped: no corpus at {}", corpus.display());
        return;
    };
    if Command::new("ilasm").arg("--version").output().is_err() {
        eprintln!("skipped: no ilasm");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut files: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "il"));
    files.sort();
    let mut modules = Vec::new();
    for file in files {
        let dll = dir.path().join(file.file_stem().expect("a name")).with_extension("dll");
        let assembled = Command::new("ilasm")
            .args(["/dll", "/quiet", &format!("/output:{}", dll.display())])
            .arg(&file)
            .output()
            .expect("ilasm runs");
        assert!(assembled.status.success(), "{}: {assembled:?}", file.display());
        modules.push(dll);
    }
    let mut judged = 0;
    let mut wrong = Vec::new();
    for module in modules {
        let (count, differing) = support::judge(&module, &framework);
        judged += count;
        wrong.extend(differing.into_iter().map(|d| format!("{}: {d}", module.display())));
    }
    println!("{judged} verdicts, {} wrong", wrong.len());
    assert!(
        wrong.is_empty(),
        "{} of {judged} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
