//! Finding, listing and fetching the framework.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Ran, Sandbox, hello};

/// A `PATH` on which `npm` is this script; the other tools stay.
fn with_npm(sandbox: &Sandbox, script: &str) -> std::ffi::OsString {
    let npm = sandbox.write("bin/npm", format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&npm, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let mut path = sandbox.path("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

fn last_line(ran: &Ran) -> &str {
    ran.stderr.lines().last().unwrap_or_default()
}

#[test]
fn an_installation_is_found_and_preferred() {
    let sandbox = Sandbox::new();
    let best = sandbox.framework("9.0.11");
    sandbox.framework("9.0.2");
    sandbox.framework("8.0.0");
    sandbox.write("home/.cache/corten/framework/9.0.5/System.Private.CoreLib.dll", "");
    let path = sandbox.run(["framework", "path"]);
    assert_eq!(
        (path.code, path.stdout.trim_end()),
        (Some(0), best.to_str().expect("UTF-8"))
    );
    let list = sandbox.run(["framework", "list"]).stdout;
    let versions: Vec<&str> = list
        .lines()
        .filter(|line| line.contains("DOTNET_ROOT") || line.contains("cache"))
        .collect();
    assert_eq!(versions.len(), 4, "{list}");
    assert!(
        versions[0].starts_with("9.0.11 [") && versions[3].starts_with("9.0.5 ["),
        "{list}"
    );
}

#[test]
fn what_an_app_would_get_is_explained() {
    let sandbox = Sandbox::new();
    let framework = sandbox.framework("9.0.5");
    for name in ["System.Console.dll", "System.Linq.dll"] {
        std::fs::write(framework.join(name), "").expect("write");
    }
    let app = sandbox.copy(&hello());
    let ran = sandbox.run([
        "--stats".as_ref(),
        "--explain".as_ref(),
        app.as_os_str(),
        "--stats".as_ref(),
        "two".as_ref(),
    ]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    for part in [
        "arguments: 2\n  0: --stats\n  1: two\n",
        "framework: 9.0.5 in ",
        "assemblies: 4\n  hello: ",
        "System.Globalization.Invariant = true",
        "statistics: yes",
    ] {
        assert!(ran.stdout.contains(part), "no '{part}' in {}", ran.stdout);
    }
}

#[test]
fn installing_without_npm_says_what_is_missing() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.path("empty")).expect("create");
    let ran = Ran::of(
        sandbox
            .corten()
            .env("PATH", sandbox.path("empty"))
            .args(["framework", "install"]),
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    let line = last_line(&ran);
    assert!(
        line.contains("cannot install the .NET 9.0.5 framework: npm is not on this machine"),
        "{line}"
    );
    assert!(line.contains("CORTEN_FRAMEWORK"), "{line}");
}

#[test]
fn installing_without_network_shows_npms_reason() {
    let sandbox = Sandbox::new();
    let path = with_npm(
        &sandbox,
        "echo 'npm error network request failed: getaddrinfo' >&2; exit 1",
    );
    let ran = Ran::of(sandbox.corten().env("PATH", path).args(["framework", "install"]));
    assert_eq!(ran.code, Some(2));
    assert!(
        last_line(&ran).contains("npm error network request failed: getaddrinfo; it needs npm and a network"),
        "{}",
        ran.stderr
    );
    assert!(!sandbox.path("home/.cache/corten/framework/9.0.5").exists());
}

#[test]
fn another_tarball_is_refused_and_nothing_remains() {
    let sandbox = Sandbox::new();
    let path = with_npm(&sandbox, "echo wrong > wrong.tgz");
    let ran = Ran::of(sandbox.corten().env("PATH", path).args(["framework", "install"]));
    assert_eq!(ran.code, Some(2));
    assert!(last_line(&ran).contains("expected 04b53d1e29ec"), "{}", ran.stderr);
    let left = std::fs::read_dir(sandbox.path("home/.cache/corten/framework"))
        .expect("the cache folder")
        .count();
    assert_eq!(left, 0);
}

#[test]
fn installing_twice_does_nothing_the_second_time() {
    let sandbox = Sandbox::new();
    sandbox.write("home/.cache/corten/framework/9.0.5/System.Private.CoreLib.dll", "");
    let path = with_npm(&sandbox, "echo must not run >&2; exit 1");
    let ran = Ran::of(sandbox.corten().env("PATH", path).args(["framework", "install"]));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.trim_end().ends_with("corten/framework/9.0.5"));
}

#[test]
fn without_any_framework_the_ways_to_get_one_are_named() {
    let sandbox = Sandbox::new();
    let found = sandbox.run(["framework", "list"]);
    if found.code == Some(0) {
        println!("skipped: this machine has .NET in a system folder");
        return;
    }
    let app = sandbox.copy(&hello());
    let parts = [
        "no .NET 9.0 framework found",
        "/usr/share/dotnet",
        "corten framework install",
    ];
    found.fails_with(&parts);
    sandbox.run([&app]).fails_with(&parts);
    sandbox.run(["framework", "path"]).fails_with(&parts);
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_failure() {
    let sandbox = Sandbox::new();
    sandbox.framework("9.0.5");
    let app = sandbox.copy(&hello());
    let mut command = sandbox.corten();
    command
        .arg("--explain")
        .arg(app)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    // Fewer bytes than a pipe holds could be written before the reader is gone, so several arguments of 64 KiB are asked back.
    command.args(std::iter::repeat_n("x".repeat(1 << 16), 8));
    let mut child = command.spawn().expect("corten can be started");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
