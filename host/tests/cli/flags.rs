//! What `[MethodImpl]` asks for.

use crate::support::{Ran, Sandbox, fixture};

#[test]
fn method_flags_choose_the_tier_and_the_lock() {
    let Some(framework) = corten_metadata::testing::framework_dir() else {
        eprintln!("skipped: no .NET class library found (set CORTEN_FRAMEWORK)");
        return;
    };
    let sandbox = Sandbox::new();
    let mut command = sandbox.corten();
    command.arg("--framework").arg(framework).arg(fixture("flags.dll"));
    for (name, value) in [
        ("CORTEN_TRACEJIT", "1"),
        ("CORTEN_TRACEINLINE", "1"),
        ("DOTNET_TC_CallCountThreshold", "2"),
        ("DOTNET_TC_CallCountingDelayMs", "0"),
    ] {
        command.env(name, value);
    }
    let ran = Ran::of(&mut command);
    // Every count is exact, so both kinds of methods held their lock, also where they threw.
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "99500\n20000 20000 True False False\n")
    );

    // The kinds of code that a method got, in order.
    let kinds = |method: &str| -> Vec<&str> {
        let start = format!("[jit] Flags.{method}(");
        let lines = ran.stderr.lines().filter(|line| line.starts_with(&start));
        lines
            .filter_map(|line| line.split(" at 0x").nth(1)?.split(", ").nth(1))
            .collect()
    };
    assert_eq!(kinds("Plain"), ["MinOpts"], "NoOptimization");
    assert_eq!(kinds("Fast"), ["Tier1"], "AggressiveOptimization");
    assert_eq!(kinds("Caller").first(), Some(&"Tier0"));
    assert_eq!(kinds("Caller").last(), Some(&"Tier1"));
    let inlined = |method: &str| ran.stderr.contains(&format!(" <- Flags.{method}(Int32): inlined"));
    assert!(inlined("Small") && !inlined("Plain"), "NoOptimization is not inlined");
}
