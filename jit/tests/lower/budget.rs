//! Methods of a size that only generators write compile in bounded time and memory at both tiers, and do what they say.

use crate::harness;
use crate::tiers::{compile, helpers};
use corten_jit::importer::ImportOptions;
use corten_jit::isa::Tier;
use corten_jit::testing::MockHost;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Generous: a slow machine, an unoptimised build, Cranelift's verifier.
const TIME: Duration = Duration::from_secs(60);
/// Of memory that the process has touched at its peak.
const MEMORY: usize = 2 << 30;

/// Bytes.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Compiles `int F(int, long)` at both tiers; the results for the arguments must be those of `model`.
fn check(text: &str, min_il: usize, model: impl Fn(i32) -> i32) {
    let mut host = MockHost::parse(text).unwrap();
    host.set_helpers(helpers);
    harness::CATCH_ALL.set(1);
    let method = host.tests()[0];
    let il = host.body_size(method);
    assert!(il >= min_il, "{il} bytes of IL");
    for tier in [Tier::Tier0, Tier::Tier1] {
        let start = Instant::now();
        let code = compile(&host, method, &ImportOptions::default(), tier);
        let time = start.elapsed();
        assert!(time < TIME, "{tier:?} took {time:?}");
        for a in [0, 1, 77, 499, 4999, 5000, -1] {
            let got = harness::run(code, [a as u32 as usize, 0, 0, 0]).map(|r| r as i32);
            assert_eq!(got, Ok(model(a)), "{tier:?}, argument {a}");
        }
    }
    assert!(peak_memory() < MEMORY, "{} bytes", peak_memory());
}

#[test]
fn a_hundred_kilobytes_of_il() {
    let mut text = String::from(".test F int (int, long)\n.locals init (int, int)\n");
    let rounds = 5000;
    for i in 0..rounds {
        let _ = write!(
            text,
            "ldloc.0\nldarg.0\nldc.i4 {i}\nxor\nadd\nstloc.0\nldloc.0\nldc.i4 0\nbge L{i}\nldloc.1\nldc.i4 1\nadd\nstloc.1\nL{i}:\n"
        );
    }
    text.push_str("ldloc.0\nldloc.1\nadd\nret\n.end\n");
    check(&text, 100 << 10, |a| {
        let (mut x, mut y) = (0i32, 0);
        for i in 0..rounds {
            x = x.wrapping_add(a ^ i);
            y += i32::from(x < 0);
        }
        x.wrapping_add(y)
    });
}

#[test]
fn two_thousand_locals() {
    let count = 2000;
    let mut text = format!(
        ".test F int (int, long)\n.locals init ({})\n",
        vec!["int"; count].join(", ")
    );
    for i in 0..count {
        let _ = write!(text, "ldarg.0\nldc.i4 {i}\nadd\nstloc {i}\n");
    }
    text.push_str("ldarg.0\nbrfalse SUM\nldc.i4 7\nstloc 3\nSUM:\nldc.i4 0\n");
    for i in 0..count {
        let _ = write!(text, "ldc.i4 3\nmul\nldloc {i}\nadd\n");
    }
    text.push_str("ret\n.end\n");
    check(&text, 20_000, |a| {
        (0..count as i32).fold(0i32, |s, i| {
            let local = if i == 3 && a != 0 { 7 } else { a.wrapping_add(i) };
            s.wrapping_mul(3).wrapping_add(local)
        })
    });
}

#[test]
fn five_hundred_protected_regions() {
    let count = 500;
    let mut text = String::from(".test F int (int, long)\n.locals init (int)\n");
    let mut clauses = String::new();
    for i in 0..count {
        // Throws where the argument is `i`.
        let _ = write!(
            text,
            "T{i}:\nldloc.0\nldc.i4 {i}\nldarg.0\nldc.i4 {i}\nsub\ndiv\nadd\nstloc.0\nleave E{i}\nH{i}:\n"
        );
        if i % 2 == 0 {
            let _ = write!(
                text,
                "pop\nldloc.0\nldc.i4 1000\nadd\nstloc.0\nleave E{i}\nE{i}:\nnop\n"
            );
            let _ = writeln!(clauses, ".try T{i} H{i} catch object H{i} E{i}");
        } else {
            let _ = write!(text, "ldloc.0\nldc.i4 3\nadd\nstloc.0\nendfinally\nE{i}:\nnop\n");
            let _ = writeln!(clauses, ".try T{i} H{i} finally H{i} E{i}");
        }
    }
    // Around all of them, so that a finally's exception is caught.
    text.insert_str(text.find("T0:").unwrap(), "ALL:\n");
    let _ = write!(
        text,
        "leave OUT\nCAUGHT:\npop\nldloc.0\nldc.i4 5\nmul\nstloc.0\nleave OUT\nOUT:\nldloc.0\nret\n{clauses}.try ALL CAUGHT catch object CAUGHT OUT\n.end\n"
    );
    check(&text, 10_000, |a| {
        let mut x = 0i32;
        for i in 0..count {
            let thrown = a == i;
            if !thrown {
                x = x.wrapping_add(i.wrapping_div(a.wrapping_sub(i)));
            }
            match (i % 2 == 0, thrown) {
                (true, true) => x = x.wrapping_add(1000),
                (false, _) => x = x.wrapping_add(3),
                _ => {}
            }
            if i % 2 == 1 && thrown {
                return x.wrapping_mul(5);
            }
        }
        x
    });
}

#[test]
fn a_switch_of_five_thousand_cases() {
    let count = 5000;
    let targets: Vec<String> = (0..count).map(|i| format!("C{i}")).collect();
    let mut text = format!(
        ".test F int (int, long)\nldarg.0\nswitch ({})\nldc.i4 -5\nret\n",
        targets.join(", ")
    );
    for i in 0..count {
        let _ = write!(text, "C{i}:\nldarg.0\nldc.i4 {}\nmul\nret\n", i % 97);
    }
    text.push_str(".end\n");
    check(&text, 50_000, |a| match a {
        0..5000 => a.wrapping_mul(a % 97),
        _ => -5,
    });
}
