//! The class library: what is written in safe code alone has no findings but those of rules that C# knows to be too strict.

use std::collections::BTreeMap;

use corten_metadata::{Module, testing};
use corten_verifier::{Options, ReferencePath, Universe, verify};

use crate::support;

/// Assemblies without unsafe code; their methods do not zero locals, which is all there is to say of them.
const SAFE: [&str; 12] = [
    "Microsoft.CSharp",
    "System.Collections.Concurrent",
    "System.Collections.NonGeneric",
    "System.ComponentModel.Annotations",
    "System.Linq",
    "System.Linq.Parallel",
    "System.Net.WebClient",
    "System.ObjectModel",
    "System.Private.Xml.Linq",
    "System.Reflection.Emit",
    "System.Threading.Channels",
    "System.Transactions.Local",
];

#[test]
fn the_class_library_is_verified_whole() {
    let Some(framework) = support::framework() else { return };
    let mut references = ReferencePath::new();
    references.add(&framework).expect("the class library can be listed");
    let modules = testing::framework_assemblies();
    let modules = modules
        .iter()
        .filter_map(|f| Module::open(f).ok())
        .map(Into::into)
        .collect();
    let universe = Universe::new(modules, &references).expect("the class library is complete");
    let started = std::time::Instant::now();
    let report = verify(&universe, &Options::default());
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in &report.findings {
        *codes.entry(finding.code.name()).or_default() += 1;
    }
    println!(
        "{} methods, {} types in {:?}",
        report.methods,
        report.types,
        started.elapsed()
    );
    println!("{codes:#?}");
    if let Some(path) = std::env::var_os("CORTEN_VERIFY_LOG") {
        let text: String = report.findings.iter().map(|f| format!("{f}\n")).collect();
        std::fs::write(path, text).expect("the log can be written");
    }
    assert!(report.methods > 100_000);
    // The classes of intentionally unverifiable code that docs/framework.md explains.
    let explained = [
        "InitLocals",
        "UnmanagedPointer",
        "ExpectedNumericType",
        "Unverifiable",
        "StackUnexpected",
        "StackByRef",
        "ReturnPtrToStack",
        "ThisMismatch",
    ];
    let unexplained: Vec<_> = codes.keys().filter(|code| !explained.contains(code)).collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
    for finding in report.findings.iter().filter(|f| SAFE.contains(&f.assembly.as_str())) {
        assert_eq!(finding.code.name(), "InitLocals", "{finding}");
    }
}
