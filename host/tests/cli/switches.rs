//! The switches and views of tiered compilation.

use crate::support::{Ran, Sandbox, fixture};

/// Runs the program with these variables; what was compiled of it as `NAME TIER`, in order. `None`: there is no class library.
fn compiled(variables: &[(&str, &str)]) -> Option<Vec<String>> {
    let framework = corten_metadata::testing::framework_dir()?;
    let sandbox = Sandbox::new();
    let list = sandbox.path("compiled.txt");
    let mut command = sandbox.corten();
    command.arg("--framework").arg(framework).arg(fixture("switches.dll"));
    command
        .env("DOTNET_JitDisasmSummary", "1")
        .env("DOTNET_JitStdOutFile", &list);
    command.envs(variables.iter().copied());
    let ran = Ran::of(&mut command);
    // The list went into the file.
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "-1109637472\n1499500\n1499500\n"),
        "{variables:?}: {}",
        ran.stderr
    );
    let text = std::fs::read_to_string(list).expect("the list of compiled methods");
    let lines = text.lines().filter_map(|line| {
        let (method, rest) = line.split_once("compiled Switches.")?.1.split_once('(')?;
        let tier = rest.split_once(" [")?.1.split(',').next()?;
        Some(format!("{method} {tier}"))
    });
    Some(lines.collect())
}

/// Loops are replaced at the first question, and that is asked after one iteration.
const AT_ONCE: [(&str, &str); 2] = [
    ("DOTNET_OSR_HitLimit", "1"),
    ("DOTNET_TC_OnStackReplacement_InitialCounter", "1"),
];

#[test]
fn loops_are_replaced_where_and_when_the_switches_say() {
    let Some(methods) = compiled(&AT_ONCE) else {
        eprintln!("skipped: no .NET class library found (set CORTEN_FRAMEWORK)");
        return;
    };
    let has = |methods: &[String], what: &str| methods.iter().any(|m| m == what);
    assert!(
        has(&methods, "Loop Tier0") && has(&methods, "Loop Tier1-OSR @0x6"),
        "{methods:?}"
    );
    assert!(has(&methods, "CallOften Tier1-OSR @0x6"), "{methods:?}");

    let off = [AT_ONCE[0], AT_ONCE[1], ("DOTNET_TC_OnStackReplacement", "0")];
    let never = [("DOTNET_OSR_HitLimit", "7FFFFFFF")];
    for variables in [&off[..], &never[..]] {
        let methods = compiled(variables).unwrap_or_default();
        assert!(has(&methods, "Loop Tier0"), "{variables:?}: {methods:?}");
        assert!(!methods.iter().any(|m| m.contains("OSR")), "{variables:?}: {methods:?}");
    }
}

#[test]
fn the_first_tier_is_what_the_switches_say() {
    let Some(methods) = compiled(&[("DOTNET_TC_QuickJit", "0")]) else {
        return;
    };
    assert_eq!(
        methods,
        [
            "Main FullOpts",
            "Loop FullOpts",
            "CallOften FullOpts",
            "Called FullOpts"
        ]
    );
    let methods = compiled(&[("DOTNET_TC_QuickJitForLoops", "0")]).unwrap_or_default();
    assert_eq!(
        methods[..4],
        ["Main Tier0", "Loop FullOpts", "CallOften FullOpts", "Called Tier0"]
    );
}

#[test]
fn an_idle_background_thread_ends_after_its_timeout() {
    let Some(framework) = corten_metadata::testing::framework_dir() else {
        return;
    };
    let sandbox = Sandbox::new();
    // In hexadecimal milliseconds; the program waits for two seconds.
    for (timeout, expected) in [("1", "goes"), ("EA60", "stays")] {
        let mut command = sandbox.corten();
        command
            .arg("--framework")
            .arg(&framework)
            .arg(fixture("switches.dll"))
            .arg("worker");
        command.env("DOTNET_TC_CallCountingDelayMs", "0");
        command.env("DOTNET_TC_BackgroundWorkerTimeoutMs", timeout);
        let ran = Ran::of(&mut command);
        let words: Vec<&str> = ran.stdout.split_whitespace().skip(2).collect();
        assert_eq!(words, ["comes", expected], "{}", ran.stderr);
    }
}

#[test]
fn a_trace_has_events_of_compilation_tiers_loops_and_collections() {
    let Some(framework) = corten_metadata::testing::framework_dir() else {
        return;
    };
    let sandbox = Sandbox::new();
    let trace = sandbox.path("trace.json");
    let mut command = sandbox.corten();
    command.arg("--framework").arg(framework).arg("--trace").arg(&trace);
    command.arg(fixture("switches.dll")).envs(AT_ONCE);
    let ran = Ran::of(&mut command);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let text = std::fs::read_to_string(trace).expect("the trace");
    for event in [
        r#""cat":"jit""#,
        r#""name":"tier-up""#,
        r#""name":"OSR""#,
        r#""cat":"gc""#,
        "Switches.Loop",
    ] {
        assert!(text.contains(event), "no {event}");
    }
}

/// What `--stats jit` says at the end of `programs/NAME.dll`, which runs well.
fn jit_stats(name: &str) -> Option<String> {
    let Some(framework) = corten_metadata::testing::framework_dir() else {
        eprintln!("skipped: no .NET class library found (set CORTEN_FRAMEWORK)");
        return None;
    };
    let sandbox = Sandbox::new();
    let mut command = sandbox.corten();
    command.arg("--framework").arg(framework).args(["--stats", "jit"]);
    let programs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let ran = Ran::of(command.arg(programs.join(name)));
    assert_eq!(ran.code, Some(100), "{}", ran.stderr);
    Some(ran.stderr)
}

/// How many `what` were given back.
fn given_back(stats: &str, what: &str) -> u32 {
    let lines = stats.lines().filter_map(|line| line.strip_prefix("jit: "));
    let count = lines.filter_map(|line| line.split_once(' ').filter(|(_, rest)| rest.starts_with(what)));
    count.filter_map(|(count, _)| count.parse::<u32>().ok()).sum()
}

/// Four rounds of 300 dynamic methods and 10 unloadable assemblies each, and their filters.
#[test]
fn dead_code_is_given_back() {
    let Some(stats) = jit_stats("dead_code.dll") else {
        return;
    };
    assert!(given_back(&stats, "pieces of dead code given back") > 1000, "{stats}");
}

/// A program that is hot for a second and collects several times.
#[test]
fn replaced_code_is_given_back() {
    let Some(stats) = jit_stats("replaced_code.dll") else {
        return;
    };
    assert!(
        given_back(&stats, "replaced methods at Tier 0 given back") > 20,
        "{stats}"
    );
    assert!(
        given_back(&stats, "replaced instrumented methods given back") > 5,
        "{stats}"
    );
    assert!(given_back(&stats, "replacements of loops given back") > 0, "{stats}");
}
