//! Generated IL programs through Tier 0, Tier 0 with on-stack replacement at random loops, and Tier 1: the same results.
//!
//! `CORTEN_PROGRAMS=N` runs N programs, `CORTEN_SEED=S` begins with seed S.

use crate::harness::{self, JIT, Rng};
use crate::objects::{self, World};
use corten_jit::code_map::CodeInfo;
use corten_jit::ids::MethodId;
use corten_jit::importer::{ImportOptions, import};
use corten_jit::ir::{Helper, Pace};
use corten_jit::isa::Tier;
use corten_jit::testing::MockHost;
use corten_jit::{ir_check, opt};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;

#[derive(Clone, Copy, PartialEq)]
enum T {
    Int,
    Long,
    Double,
}

// Locals: 0-3 int, 4-5 long, 6 double, 7 byte, 8 short, 9-10 struct, 11-13 loop counters, 14 result.
const LOCALS: &str = "int, int, int, int, long, long, double, byte, short, Pair, Pair, int, int, int, int, int&, \
                      Node, int&, int[]";
const COUNTERS: usize = 11;
const RESULT: usize = 14;
/// Points to [`POINTED`] from the first instruction on.
const POINTER: usize = 15;
const POINTED: usize = 3;
/// A node, a pointer into an object or an array, an array: what they are changes.
const NODE: usize = 16;
const INSIDE: usize = 17;
const ARRAY: usize = 18;
const INTS: [&str; 9] = ["0", "1", "-1", "7", "31", "255", "65536", "2147483647", "-2147483648"];

struct Gen {
    rng: Rng,
    out: String,
    labels: usize,
    loops: usize,
    /// Where `break` goes, if the innermost loop is not outside of a protected region.
    exit: Option<usize>,
}

impl Gen {
    fn line(&mut self, text: &str) {
        self.out.push_str("  ");
        self.out.push_str(text);
        self.out.push('\n');
    }
    fn label(&mut self) -> usize {
        self.labels += 1;
        self.labels
    }
    fn mark(&mut self, label: usize) {
        let _ = writeln!(self.out, "L{label}:");
    }
    fn branch(&mut self, how: &str, label: usize) {
        self.line(&format!("{how} L{label}"));
    }

    fn expr(&mut self, ty: T, depth: usize) {
        match ty {
            T::Int => self.int(depth),
            T::Long => self.long(depth),
            T::Double => self.double(depth),
        }
    }

    /// An object: there are at most two.
    fn node(&mut self) {
        let text = match self.rng.below(3) {
            0 => "ldarg.2".to_string(),
            1 => "ldarg.3".to_string(),
            _ => format!("ldloc.s {NODE}"),
        };
        self.line(&text);
        if self.rng.one_in(4) {
            self.line("ldfld Node::next");
        }
    }

    /// An array and an index that mostly fits.
    fn element(&mut self) {
        if self.rng.one_in(2) {
            self.line(&format!("ldloc.s {ARRAY}"));
        } else {
            self.node();
            self.line("ldfld Node::data");
        }
        let index = match self.rng.below(4) {
            0 => "ldc.i4 1".to_string(),
            1 => format!("ldloc.s {}", COUNTERS + self.rng.below(3)),
            n => format!("ldloc.s {n}"),
        };
        self.line(&index);
        match self.rng.below(8) {
            0 => {}
            1 => {
                self.line("ldc.i4.1");
                self.line("add");
            }
            _ => {
                self.line("ldc.i4 3");
                self.line("and");
            }
        }
    }

    /// Reads memory that other statements write.
    fn read(&mut self) {
        match self.rng.below(8) {
            0..=2 => {
                self.node();
                let field = ["Node::x", "Node::z", "Node::small"][self.rng.below(3)];
                self.line(&format!("ldfld {field}"));
            }
            3 => {
                self.node();
                self.line("ldfld Node::other");
                self.line("ldfld Other::r");
            }
            4 | 5 => {
                self.element();
                self.line("ldelem.i4");
            }
            6 => {
                self.line(&format!("ldloc.s {INSIDE}"));
                let load = ["ldind.i4", "ldind.i4", "ldind.u1", "ldind.i2"][self.rng.below(4)];
                self.line(load);
            }
            _ => self.line("ldsfld Node::stat"),
        }
    }

    /// Writes memory, or changes which memory is meant.
    fn write(&mut self) {
        match self.rng.below(14) {
            0..=2 => {
                self.node();
                self.int(1);
                let field = ["Node::x", "Node::z", "Node::small"][self.rng.below(3)];
                self.line(&format!("stfld {field}"));
            }
            3 => {
                self.node();
                self.long(1);
                self.line("stfld Node::y");
            }
            4 => {
                self.node();
                self.node();
                self.line("stfld Node::next");
            }
            5 => {
                self.node();
                self.line("ldfld Node::other");
                self.int(1);
                self.line("stfld Other::r");
            }
            6 | 7 => {
                self.element();
                self.int(1);
                self.line("stelem.i4");
            }
            8 => {
                self.node();
                self.line(&format!("stloc.s {NODE}"));
            }
            9 => {
                match self.rng.below(4) {
                    0 => self.line("ldsflda Node::stat"),
                    1 => {
                        self.element();
                        self.line("ldelema int");
                    }
                    n => {
                        self.node();
                        self.line(["ldflda Node::x", "ldflda Node::z"][n - 2]);
                    }
                }
                self.line(&format!("stloc.s {INSIDE}"));
            }
            10 => {
                self.line(&format!("ldloc.s {INSIDE}"));
                self.int(1);
                let store = ["stind.i4", "stind.i4", "stind.i1"][self.rng.below(3)];
                self.line(store);
            }
            11 => {
                self.node();
                self.line("ldfld Node::data");
                if self.rng.one_in(2) {
                    self.line(&format!("stloc.s {ARRAY}"));
                } else {
                    self.line("pop");
                    self.node();
                    self.line(&format!("ldloc.s {ARRAY}"));
                    self.line("stfld Node::data");
                }
            }
            12 => {
                self.node();
                self.int(1);
                self.line("call Node::Write");
            }
            _ => {
                self.int(1);
                self.line("stsfld Node::stat");
            }
        }
    }

    fn int(&mut self, depth: usize) {
        if self.rng.one_in(4) {
            return self.read();
        }
        if depth == 0 {
            let text = match self.rng.below(6) {
                0 => format!("ldc.i4 {}", INTS[self.rng.below(INTS.len())]),
                1 => "ldarg.0".to_string(),
                2 => format!("ldloc.s {}", 7 + self.rng.below(2)),
                3 => format!("ldloc.s {}", COUNTERS + self.rng.below(3)),
                _ => format!("ldloc.s {}", self.rng.below(4)),
            };
            return self.line(&text);
        }
        match self.rng.below(12) {
            0..=3 => {
                let op = ["add", "sub", "mul", "and", "or", "xor"][self.rng.below(6)];
                self.int(depth - 1);
                self.int(depth - 1);
                self.line(op);
            }
            4 => {
                let op = ["shl", "shr", "shr.un"][self.rng.below(3)];
                self.int(depth - 1);
                self.int(depth - 1);
                self.line("ldc.i4 31");
                self.line("and");
                self.line(op);
            }
            5 => {
                let op = ["div", "rem", "div.un", "rem.un", "add.ovf", "mul.ovf.un"][self.rng.below(6)];
                self.int(depth - 1);
                self.int(depth - 1);
                self.line(op);
            }
            6 => {
                let ty = [T::Int, T::Long, T::Double][self.rng.below(3)];
                let op = ["ceq", "clt", "cgt", "clt.un", "cgt.un"][self.rng.below(5)];
                self.expr(ty, depth - 1);
                self.expr(ty, depth - 1);
                self.line(op);
            }
            7 => {
                let op = ["conv.i4", "conv.u1", "conv.i2", "conv.ovf.i4"][self.rng.below(4)];
                self.long(depth - 1);
                self.line(op);
            }
            8 => {
                self.double(depth - 1);
                self.line("conv.i4");
            }
            9 => {
                let op = ["neg", "not"][self.rng.below(2)];
                self.int(depth - 1);
                self.line(op);
            }
            10 => {
                let at = 9 + self.rng.below(2);
                let load = ["ldloc.s", "ldloca.s"][self.rng.below(2)];
                self.line(&format!("{load} {at}"));
                self.line("ldfld Pair::x");
            }
            _ => {
                let at = self.rng.below(2);
                self.line(&format!("ldloca.s {at}"));
                self.line("ldind.i4");
            }
        }
    }

    fn long(&mut self, depth: usize) {
        if depth == 0 {
            let text = match self.rng.below(4) {
                0 => "ldarg.1".to_string(),
                1 => format!("ldc.i8 {}", INTS[self.rng.below(INTS.len())]),
                2 => {
                    self.node();
                    "ldfld Node::y".to_string()
                }
                _ => format!("ldloc.s {}", 4 + self.rng.below(2)),
            };
            return self.line(&text);
        }
        match self.rng.below(5) {
            0 | 1 => {
                let op = ["add", "sub", "mul", "xor", "and", "div", "sub.ovf"][self.rng.below(7)];
                self.long(depth - 1);
                self.long(depth - 1);
                self.line(op);
            }
            2 => {
                let op = ["conv.i8", "conv.u8"][self.rng.below(2)];
                self.int(depth - 1);
                self.line(op);
            }
            3 => {
                self.double(depth - 1);
                self.line("conv.i8");
            }
            _ => {
                self.line("ldloc.s 9");
                self.line("ldfld Pair::y");
            }
        }
    }

    fn double(&mut self, depth: usize) {
        if depth == 0 {
            let text = ["ldloc.s 6", "ldc.r8 1.5", "ldc.r8 -0.25"][self.rng.below(3)];
            return self.line(text);
        }
        if self.rng.one_in(2) {
            let op = ["add", "sub", "mul", "div"][self.rng.below(4)];
            self.double(depth - 1);
            self.double(depth - 1);
            self.line(op);
        } else {
            let ty = [T::Int, T::Long][self.rng.below(2)];
            self.expr(ty, depth - 1);
            self.line("conv.r8");
        }
    }

    fn statements(&mut self, depth: usize) {
        for _ in 0..1 + self.rng.below(4) {
            self.statement(depth);
        }
    }

    fn statement(&mut self, depth: usize) {
        let choice = if depth == 0 {
            self.rng.below(8).min(6)
        } else {
            self.rng.below(19)
        };
        let size = self.rng.below(4);
        match choice {
            0 | 1 => {
                self.int(size);
                let at = [0, 1, 2, 3, 7, 8][self.rng.below(6)];
                self.line(&format!("stloc.s {at}"));
            }
            2 => {
                self.long(size);
                let at = 4 + self.rng.below(2);
                self.line(&format!("stloc.s {at}"));
            }
            3 => {
                self.double(size);
                self.line("stloc.s 6");
            }
            4 => {
                let at = 9 + self.rng.below(2);
                self.line(&format!("ldloca.s {at}"));
                if self.rng.one_in(2) {
                    self.int(size);
                    self.line("stfld Pair::x");
                } else {
                    self.long(size);
                    self.line("stfld Pair::y");
                }
            }
            5 => match self.rng.below(4) {
                0 => {
                    self.line(&format!("ldloc.s {POINTER}"));
                    self.int(size);
                    self.line("stind.i4");
                }
                1 => {
                    self.line("ldloc.s 9");
                    self.line("stloc.s 10");
                }
                2 => {
                    self.line("ldloca.s 1");
                    self.int(size);
                    self.line("stind.i4");
                }
                _ => {
                    self.int(size);
                    self.line("starg.s 0");
                }
            },
            6 => self.write(),
            7 | 14 => {
                let (other, end) = (self.label(), self.label());
                self.int(2);
                self.branch("brfalse", other);
                self.statements(depth - 1);
                self.branch("br", end);
                self.mark(other);
                self.statements(depth - 1);
                self.mark(end);
            }
            8..=10 if self.loops < 3 => self.count(depth),
            11 => self.protect(depth, "catch object"),
            12 => self.protect(depth, "finally"),
            15.. => self.write(),
            _ => match self.exit {
                Some(exit) => {
                    self.int(2);
                    self.branch("brtrue", exit);
                }
                None => self.statement(0),
            },
        }
    }

    /// A loop of at most six rounds, tested at its end or at its start.
    fn count(&mut self, depth: usize) {
        let counter = COUNTERS + self.loops;
        self.loops += 1;
        let (head, test, end) = (self.label(), self.label(), self.label());
        let before = self.exit.replace(end);
        self.line("ldc.i4.0");
        self.line(&format!("stloc.s {counter}"));
        if self.rng.one_in(2) {
            self.branch("br", test);
        }
        self.mark(head);
        self.statements(depth - 1);
        self.line(&format!("ldloc.s {counter}"));
        self.line("ldc.i4.1");
        self.line("add");
        self.line(&format!("stloc.s {counter}"));
        self.mark(test);
        self.line(&format!("ldloc.s {counter}"));
        let rounds = 1 + self.rng.below(6);
        self.line(&format!("ldc.i4 {rounds}"));
        self.branch("blt", head);
        self.mark(end);
        self.exit = before;
        self.loops -= 1;
    }

    fn protect(&mut self, depth: usize, kind: &str) {
        let [start, handler, handler_end] = [self.label(), self.label(), self.label()];
        let before = self.exit.take();
        self.mark(start);
        self.statements(depth - 1);
        self.branch("leave", handler_end);
        self.mark(handler);
        if kind == "finally" {
            self.statements(depth - 1);
            self.line("endfinally");
        } else {
            self.line("pop");
            self.statements(depth - 1);
            self.branch("leave", handler_end);
        }
        self.mark(handler_end);
        self.exit = before;
        // Inner clauses come first: they are closed first.
        self.out
            .push_str(&format!(".try L{start} L{handler} {kind} L{handler} L{handler_end}\n"));
    }

    /// Mixes every local into the result.
    fn finish(&mut self) {
        self.line("ldloc.s 14");
        for (local, conv) in [
            (0, ""),
            (1, ""),
            (2, ""),
            (3, ""),
            (4, "conv.i4"),
            (5, "conv.i4"),
            (6, "conv.i4"),
            (7, ""),
            (8, ""),
        ] {
            self.line("ldc.i4 31");
            self.line("mul");
            self.line(&format!("ldloc.s {local}"));
            if !conv.is_empty() {
                self.line(conv);
            }
            self.line("add");
        }
        for at in [9, 10] {
            self.line("ldc.i4 31");
            self.line("mul");
            self.line(&format!("ldloc.s {at}"));
            self.line("ldfld Pair::x");
            self.line("add");
            self.line(&format!("ldloc.s {at}"));
            self.line("ldfld Pair::y");
            self.line("conv.i4");
            self.line("xor");
        }
        self.line("ret");
    }
}

fn program(seed: u64) -> String {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5555);
    rng.below(2);
    let mut g = Gen {
        rng,
        out: String::new(),
        labels: 0,
        loops: 0,
        exit: None,
    };
    g.line(&format!("ldloca.s {POINTED}"));
    g.line(&format!("stloc.s {POINTER}"));
    g.line("ldarg.3");
    g.line(&format!("stloc.s {NODE}"));
    g.line("ldarg.2");
    g.line("ldflda Node::x");
    g.line(&format!("stloc.s {INSIDE}"));
    g.line("ldarg.3");
    g.line("ldfld Node::data");
    g.line(&format!("stloc.s {ARRAY}"));
    for _ in 0..3 {
        g.statements(3);
        // A label at an end needs an instruction to stand at.
        g.line("nop");
    }
    g.line("ldarg.0");
    g.line(&format!("stloc.s {RESULT}"));
    g.finish();
    format!(
        ".struct Pair 16 {{ int 0, long 8 }}\n.field Pair int x 0\n.field Pair long y 8\n{}.test F int (int, long, Node, Node)\n\
         .locals init ({LOCALS})\n{}.end\n",
        objects::DECLARATIONS,
        g.out
    )
}

struct Replacing {
    host: *const MockHost,
    method: MethodId,
    rng: Rng,
    made: HashMap<u64, usize>,
    next: u32,
    entered: usize,
}

thread_local! {
    static REPLACING: RefCell<Option<Replacing>> = const { RefCell::new(None) };
}

/// `Helper::Patchpoint` of these tests.
extern "C" fn patchpoint(_method: u64, il: u64, counter: &mut i32) -> usize {
    if *counter >= 0 {
        return 0;
    }
    REPLACING.with_borrow_mut(|r| {
        let Some(r) = r else { return 0 };
        *counter = Pace::counter(r.next);
        if !r.rng.one_in(3) {
            return 0;
        }
        r.entered += 1;
        if let Some(&code) = r.made.get(&il) {
            return code;
        }
        // The host outlives the run.
        let host = unsafe { &*r.host };
        let options = ImportOptions {
            replace_at: Some(il as u32),
            ..ImportOptions::default()
        };
        let code = compile(host, r.method, &options, Tier::Tier1).start;
        r.made.insert(il, code);
        code
    })
}

pub fn helpers(helper: Helper) -> u64 {
    match helper {
        Helper::Patchpoint => patchpoint as *const () as u64,
        other => harness::helper(other),
    }
}

pub fn compile(host: &MockHost, method: MethodId, options: &ImportOptions, tier: Tier) -> &'static CodeInfo {
    let mut func = import(host, method, options).unwrap_or_else(|e| panic!("{e}"));
    ir_check::check(&func).unwrap();
    if tier == Tier::Tier1 {
        opt::optimise(&mut func, host, |_| true);
        ir_check::check(&func).unwrap();
    }
    JIT.compile_and_install(&func, host, tier)
        .unwrap_or_else(|e| panic!("{e}"))
}

const ARGUMENTS: [(i32, i64); 3] = [(0, 0), (5, -3), (i32::MIN, 1 << 40)];

/// Results (or exceptions) and what the runs left in memory.
fn outcomes(code: &CodeInfo) -> Vec<(Result<u32, usize>, u64)> {
    let run = |(i, &(a, b)): (usize, &(i32, i64))| {
        let mut world = World::new(i == 1);
        let [n, m] = world.arguments();
        let result = harness::run(code, [a as u32 as usize, b as usize, n, m]).map(|r| r as u32);
        (result, world.digest())
    };
    ARGUMENTS.iter().enumerate().map(run).collect()
}

/// Runs a program in every way; returns how many frames were replaced.
fn check(seed: u64) -> usize {
    let text = program(seed);
    let mut host = MockHost::parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
    host.set_helpers(helpers);
    harness::CATCH_ALL.set(1);
    let method = host.tests()[0];
    let plain = ImportOptions::default();
    let expected = outcomes(compile(&host, method, &plain, Tier::Tier0));
    let optimised = outcomes(compile(&host, method, &plain, Tier::Tier1));
    assert_eq!(expected, optimised, "seed {seed}, Tier 0 and Tier 1\n{text}");
    let mut rng = Rng(seed);
    let first = 1 + rng.below(4) as u32;
    let next = 1 + rng.below(3) as u32;
    let patched = ImportOptions {
        patchpoints: Some(Pace { first, next }),
        ..plain
    };
    let code = compile(&host, method, &patched, Tier::Tier0);
    REPLACING.set(Some(Replacing {
        host: &raw const host,
        method,
        rng,
        made: HashMap::new(),
        next,
        entered: 0,
    }));
    let replaced = outcomes(code);
    let entered = REPLACING.take().map_or(0, |r| r.entered);
    assert_eq!(expected, replaced, "seed {seed}, with replacement\n{text}");
    entered
}

#[test]
fn generated_programs_do_the_same_at_all_tiers() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let first = number("CORTEN_SEED").unwrap_or(1);
    let count = number("CORTEN_PROGRAMS").unwrap_or(1000);
    let entered: usize = (first..first + count).map(check).sum();
    assert!(count < 100 || entered > 20, "only {entered} frames were replaced");
}
