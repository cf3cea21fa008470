//! `corten inspect`.

use crate::support::{Ran, Sandbox, fixture, hello};

fn inspect(words: &[&str], file: &std::path::Path) -> String {
    let sandbox = Sandbox::new();
    let ran = Ran::of(sandbox.corten().arg("inspect").args(words).arg(file));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    ran.stdout
}

#[test]
fn the_overview_names_assembly_and_references() {
    let text = inspect(&[], &hello());
    for part in ["hello", "System.Private.CoreLib", "System.Linq"] {
        assert!(text.contains(part), "no '{part}' in {text}");
    }
}

#[test]
fn each_view_shows_its_part() {
    assert!(inspect(&["--types"], &fixture("library.dll")).contains("Library"));
    assert!(inspect(&["--methods"], &fixture("library.dll")).contains("Greeting"));
    let tables = inspect(&["--tables"], &hello());
    assert!(tables.contains("TypeDef") && tables.contains("AssemblyRef"), "{tables}");
    let il = inspect(&["--il", "Library::Greeting"], &fixture("library.dll"));
    assert!(
        il.contains("ldstr") && il.contains("hello from the library") && il.contains("ret"),
        "{il}"
    );
}

#[test]
fn views_can_be_combined() {
    let text = inspect(&["--types", "--tables"], &fixture("library.dll"));
    assert!(text.contains("Library") && text.contains("MethodDef"), "{text}");
}

#[test]
fn what_is_not_there_is_named() {
    let sandbox = Sandbox::new();
    let file = sandbox.copy(&fixture("library.dll"));
    let show = |method: &str| sandbox.run(["inspect".as_ref(), "--il".as_ref(), method.as_ref(), file.as_os_str()]);
    show("Library::Missing").fails_with(&["library.dll: ", "Missing"]);
    show("Nothing::Greeting").fails_with(&["Nothing"]);
    show("Greeting").fails_with(&["Namespace.Type::Method"]);
}
