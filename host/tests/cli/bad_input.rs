//! Whatever is wrong with the input, the user gets one line that says so.

use crate::support::{Ran, Sandbox, fixture, hello};

fn runtime_config(framework: &str) -> String {
    format!(r#"{{ "runtimeOptions": {{ "framework": {framework} }} }}"#)
}

#[test]
fn what_is_no_assembly() {
    let sandbox = Sandbox::new();
    sandbox.framework("9.0.5");
    sandbox
        .run(["nowhere.dll"])
        .fails_with(&["nowhere.dll: no such file", "APP.dll"]);
    sandbox.run(["."]).fails_with(&["is a folder"]);
    let text = sandbox.write("notes.txt", "Not a program.\n");
    sandbox
        .run([text])
        .fails_with(&["notes.txt: is not a .NET assembly but a text file", "APP.dll"]);
    let empty = sandbox.write("empty.dll", "");
    sandbox.run([empty]).fails_with(&["an empty file"]);
    let script = sandbox.write("tool", "#!/bin/sh\n");
    sandbox.run([script]).fails_with(&["a script"]);
    let noise = sandbox.write("noise.dll", [1, 2, 3]);
    sandbox.run([noise]).fails_with(&["a file of another kind"]);
    sandbox
        .run([env!("CARGO_BIN_EXE_corten")])
        .fails_with(&["is not a .NET assembly but a native ELF"]);
}

#[test]
fn a_native_launcher_leads_to_its_assembly() {
    let sandbox = Sandbox::new();
    sandbox.copy(&hello());
    let launcher = sandbox.write("hello", b"\x7fELF\x02\x01\x01");
    sandbox
        .run([launcher])
        .fails_with(&["native ELF", "did you mean", "hello.dll?"]);
}

#[test]
fn truncated_assemblies() {
    let sandbox = Sandbox::new();
    sandbox.framework("9.0.5");
    let whole = std::fs::read(hello()).expect("the sample is there");
    for length in (2..whole.len()).step_by(whole.len() / 48) {
        let path = sandbox.write("cut.dll", &whole[..length]);
        sandbox.run([path]).fails_with(&["cut.dll: "]);
    }
}

#[test]
fn a_pe_file_without_managed_code() {
    let sandbox = Sandbox::new();
    let mut image = std::fs::read(hello()).expect("the sample is there");
    // PE32: the CLI header's entry is the 15th data directory, 96 + 14 * 8 bytes into the optional header.
    let pe = u32::from_le_bytes(image[0x3c..0x40].try_into().expect("four bytes")) as usize;
    image[pe + 24 + 208..pe + 24 + 216].fill(0);
    let path = sandbox.write("native.dll", image);
    sandbox
        .run([path])
        .fails_with(&["native.dll: ", "not a valid .NET assembly"]);
}

#[test]
fn a_library_has_no_entry_point() {
    let sandbox = Sandbox::new();
    sandbox.framework("9.0.5");
    sandbox
        .run([fixture("library.dll")])
        .fails_with(&["library.dll: has no entry point", "Main"]);
}

#[test]
fn a_missing_reference_is_named_with_where_it_was_looked_for() {
    let sandbox = Sandbox::new();
    let framework = sandbox.framework("9.0.5");
    for name in ["System.Runtime.dll", "System.Console.dll"] {
        std::fs::write(framework.join(name), "").expect("write");
    }
    let app = sandbox.copy(&fixture("needs_library.dll"));
    sandbox
        .run([&app])
        .fails_with(&["Main uses the assembly library 0.0.0.0", "9.0.5", "copy library.dll to"]);
    let optional = sandbox.copy(&fixture("may_need_library.dll"));
    let explained = sandbox.run(["--explain".as_ref(), optional.as_os_str()]);
    assert!(
        explained
            .stdout
            .contains("missing reference: library 0.0.0.0 (an error only where it is used)")
    );
    sandbox.copy(&fixture("library.dll"));
    let explained = sandbox.run(["--explain".as_ref(), app.as_os_str()]);
    assert_eq!(explained.code, Some(0), "{}", explained.stderr);
    assert!(!explained.stdout.contains("missing reference"), "{}", explained.stdout);
}

#[test]
fn a_wrong_framework_version() {
    let sandbox = Sandbox::new();
    sandbox.framework("9.0.3");
    sandbox.framework("10.0.1");
    let app = sandbox.copy(&hello());
    let cases = [
        (
            r#"{"name": "Microsoft.NETCore.App", "version": "8.0.4"}"#,
            "8.0.4 (rollForward Minor)",
        ),
        (
            r#"{"name": "Microsoft.NETCore.App", "version": "10.0.0"}"#,
            "10.0.0 (rollForward Minor)",
        ),
        (
            r#"{"name": "Microsoft.NETCore.App", "version": "9.0.4"}"#,
            "9.0.4 (rollForward Minor)",
        ),
        (
            r#"{"name": "Microsoft.NETCore.App", "version": "9.0.2", "rollForward": "Disable"}"#,
            "9.0.2 (rollForward Disable)",
        ),
    ];
    for (framework, asked) in cases {
        sandbox.write("hello.runtimeconfig.json", runtime_config(framework));
        let parts = [
            "hello.runtimeconfig.json asks for Microsoft.NETCore.App",
            asked,
            "9.0.3 in ",
            "10.0.1 in ",
        ];
        sandbox.run([&app]).fails_with(&parts);
    }
    sandbox.write("hello.runtimeconfig.json", runtime_config(cases[0].0));
    let moved = Ran::of(
        sandbox
            .corten()
            .env("DOTNET_ROLL_FORWARD", "Major")
            .arg("--explain")
            .arg(&app),
    );
    assert!(
        moved.stdout.contains("framework: 9.0.3 in "),
        "{}{}",
        moved.stdout,
        moved.stderr
    );
}

#[test]
fn damaged_configuration() {
    let sandbox = Sandbox::new();
    sandbox.framework("9.0.5");
    let app = sandbox.copy(&hello());
    sandbox.write("hello.runtimeconfig.json", "{ \"runtimeOptions\": ");
    sandbox
        .run([&app])
        .fails_with(&["hello.runtimeconfig.json: not valid: ", "line 1"]);
    sandbox.write(
        "hello.runtimeconfig.json",
        runtime_config(r#"{"name": "Microsoft.AspNetCore.App", "version": "9.0.0"}"#),
    );
    sandbox.run([&app]).fails_with(&["Microsoft.AspNetCore.App"]);
    sandbox.write(
        "hello.runtimeconfig.json",
        runtime_config(r#"{"name": "Microsoft.NETCore.App", "version": "9.0.0"}"#),
    );
    sandbox.write("hello.deps.json", "[]");
    sandbox.run([&app]).fails_with(&["hello.deps.json: not valid"]);
    sandbox.write(
        "hello.deps.json",
        r#"{"runtimeTarget": "T", "targets": {"T": {"Pkg/1.2.3": {"runtime": {"lib/net9.0/Pkg.dll": {}}}}}}"#,
    );
    sandbox
        .run([&app])
        .fails_with(&["hello.deps.json: lists Pkg.dll of Pkg 1.2.3", "does not exist"]);
}

#[test]
fn a_wrong_framework_folder() {
    let sandbox = Sandbox::new();
    let app = sandbox.copy(&hello());
    let options = [
        "--framework".as_ref(),
        sandbox.path("nothing").into_os_string().leak(),
        app.as_os_str(),
    ];
    sandbox
        .run(options)
        .fails_with(&["named by --framework", "System.Private.CoreLib.dll"]);
    let mut command = sandbox.corten();
    Ran::of(command.env("CORTEN_FRAMEWORK", sandbox.path("home")).arg(&app)).fails_with(&["named by CORTEN_FRAMEWORK"]);
    sandbox.write("home/System.Private.CoreLib.dll", "MZ but not really");
    Ran::of(&mut command).fails_with(&["System.Private.CoreLib.dll: is not a valid .NET assembly"]);
}

#[test]
fn bad_usage() {
    let sandbox = Sandbox::new();
    let app = sandbox.copy(&hello());
    sandbox
        .run(["--bogus".as_ref(), app.as_os_str()])
        .fails_with(&["--bogus", "corten --help"]);
    sandbox
        .run(["--framework"])
        .fails_with(&["--framework", "corten --help"]);
    sandbox.run(["framework", "frobnicate"]).fails_with(&["frobnicate"]);
    sandbox.run(["--stats"]).fails_with(&["no application given"]);
    sandbox.run(["inspect", "nowhere.dll"]).fails_with(&["nowhere.dll"]);
}
