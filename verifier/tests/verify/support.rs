//! Verdicts in names, as the public ILVerify test-suite gives them, and modules to compare them with.
//!
//! `Name_Valid` and `Name_Invalid_Code1.Code2` judge a method, `special.Name.real_Valid` the method `real` of the same type
//! and signature, `Name_ValidType_Valid` and `Name_InvalidType_Code1@Code2` a type. Every other method and type verifies.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use corten_metadata::{Module, TableId, testing};
use corten_verifier::{Options, ReferencePath, Universe, verify};

/// The class library, if there is one on this machine.
pub fn framework() -> Option<PathBuf> {
    let dir = testing::framework_dir();
    if dir.is_none() {
        eprintln!("skipped: no .NET class library found (set CORTEN_FRAMEWORK)");
    }
    dir
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A module with all it may refer to: the class library and its own folder.
pub fn universe(file: &Path, framework: &Path) -> Universe {
    let mut references = ReferencePath::new();
    references
        .add(file.parent().expect("in a folder"))
        .expect("the folder can be listed");
    references.add(framework).expect("the class library can be listed");
    let module = Module::open(file).expect("the module is readable");
    Universe::new(vec![module.into()], &references).expect("the class library is complete")
}

/// What a name demands: sorted codes, none if the name says nothing.
fn verdict(name: &str, valid: &str, invalid: &str, separator: char) -> Option<Vec<String>> {
    if name.ends_with(valid) {
        return Some(Vec::new());
    }
    let (_, codes) = name.rsplit_once(invalid)?;
    let mut codes: Vec<String> = codes.split(separator).map(str::to_owned).collect();
    codes.sort();
    Some(codes)
}

/// Compares a module's findings with the verdicts in its names. Gives how many names had one, and what differs.
pub fn judge(file: &Path, framework: &Path) -> (usize, Vec<String>) {
    let universe = universe(file, framework);
    let input = universe.inputs().next().expect("one input");
    let module = universe.module(input);
    let mut found: HashMap<u32, Vec<String>> = HashMap::new();
    let mut texts: HashMap<u32, Vec<String>> = HashMap::new();
    for finding in verify(&universe, &Options::default()).findings {
        found
            .entry(finding.token.0)
            .or_default()
            .push(finding.code.name().to_owned());
        texts.entry(finding.token.0).or_default().push(finding.to_string());
    }
    let mut judged = 0;
    let mut wrong = Vec::new();
    let mut compare = |token: u32, name: &str, expected: Vec<String>| {
        let mut codes = found.get(&token).cloned().unwrap_or_default();
        codes.sort();
        if codes != expected {
            let texts = texts.get(&token).map(|t| t.join("\n    ")).unwrap_or_default();
            wrong.push(format!("{name}: found {codes:?}, expected {expected:?}\n    {texts}"));
        }
    };
    for rid in 1..=module.row_count(TableId::TypeDef) {
        let row = module.type_def(rid).expect("a type");
        let expected = verdict(row.name, "_ValidType_Valid", "_InvalidType_", '@');
        judged += usize::from(expected.is_some());
        compare(0x0200_0000 | rid, row.name, expected.unwrap_or_default());
        let methods: Vec<_> = row
            .method_list
            .clone()
            .map(|m| (m, module.method_def(m).expect("a method")))
            .collect();
        let mut real = HashMap::new();
        for (rid, method) in &methods {
            let Some(expected) = verdict(method.name, "_Valid", "_Invalid_", '.') else {
                continue;
            };
            judged += 1;
            let Some(rest) = method.name.strip_prefix("special.") else {
                real.insert(*rid, expected);
                continue;
            };
            let name = rest.split_once('.').expect("names its method").1;
            let name = name
                .rsplit_once("_Valid")
                .or_else(|| name.split_once("_Invalid_"))
                .expect("has a verdict")
                .0;
            let target = methods
                .iter()
                .find(|(_, m)| m.name == name && m.signature == method.signature);
            real.insert(target.expect("the method it judges exists").0, expected);
        }
        for (rid, method) in &methods {
            compare(0x0600_0000 | rid, method.name, real.remove(rid).unwrap_or_default());
        }
    }
    (judged, wrong)
}
