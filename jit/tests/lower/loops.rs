//! Generated loops over arrays, at Tier 0 and at Tier 1: the same results, exceptions and contents of the arrays.
//!
//! Searches with early exits, comparisons of arrays, counts, sums, dot products, extremes and maps, over elements of every
//! primitive type, and over fields of structs; with indexes that run out of range, null arrays, arrays that are the same, and every number of rounds.
//!
//! `CORTEN_PROGRAMS=N` runs N programs, `CORTEN_SEED=S` begins with seed S.

use crate::harness::{self, JIT, Rng};
use corten_jit::code_map::CodeInfo;
use corten_jit::importer::{ImportOptions, import};
use corten_jit::ir::{BlockData, Func, Inst, Op, Ty, VecOp};
use corten_jit::isa::Tier;
use corten_jit::testing::MockHost;
use corten_jit::{ir_check, opt};
use std::fmt::Write;

struct Element {
    name: &'static str,
    suffix: &'static str,
    bytes: usize,
    /// From an int, and from the type on the stack to an int.
    from_int: &'static str,
    to_int: &'static str,
    /// Local that collects them, and whether it is a float.
    stack: &'static str,
    float: bool,
    /// Size of the struct around it, if there is one, and its offset.
    stride: usize,
    offset: usize,
}

const fn element(
    name: &'static str,
    suffix: &'static str,
    bytes: usize,
    from_int: &'static str,
    stack: &'static str,
) -> Element {
    let float = matches!(stack.as_bytes()[0], b'f' | b'd');
    let wide = bytes == 8 || float;
    Element {
        name,
        suffix,
        bytes,
        from_int,
        to_int: if wide { "conv.i4" } else { "nop" },
        stack,
        float,
        stride: bytes,
        offset: 0,
    }
}

/// The field of a struct.
const fn field(e: Element, stride: usize, offset: usize) -> Element {
    Element { stride, offset, ..e }
}

const ELEMENTS: [Element; 14] = [
    element("sbyte", "i1", 1, "conv.i1", "int"),
    element("byte", "u1", 1, "conv.u1", "int"),
    element("short", "i2", 2, "conv.i2", "int"),
    element("char", "u2", 2, "conv.u2", "int"),
    element("int", "i4", 4, "nop", "int"),
    element("uint", "u4", 4, "nop", "int"),
    element("long", "i8", 8, "conv.i8", "long"),
    element("ulong", "i8", 8, "conv.u8", "long"),
    element("float", "r4", 4, "conv.r4", "float"),
    element("double", "r8", 8, "conv.r8", "double"),
    field(element("int", "i4", 4, "nop", "int"), 12, 4),
    field(element("byte", "u1", 1, "conv.u1", "int"), 3, 1),
    field(element("long", "i8", 8, "conv.i8", "long"), 24, 16),
    field(element("double", "r8", 8, "conv.r8", "double"), 16, 8),
];

impl Element {
    fn is_field(&self) -> bool {
        self.stride != self.bytes
    }
}

struct Gen<'e> {
    rng: Rng,
    e: &'e Element,
    out: String,
    labels: usize,
}

// Arguments: a, b, x, n. Locals: counter, two collectors of the element's stack type, two ints, the result, an element.
const COUNTER: usize = 0;
const SUM: usize = 1;
const NUMBER: usize = 3;
const SECOND: usize = 4;
const CURRENT: usize = 6;

impl Gen<'_> {
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "  {text}");
    }

    /// An element of one of the arrays, at the counter or near it.
    fn load(&mut self) {
        let array = self.rng.below(2);
        self.address(array);
        self.value();
    }

    /// The element whose array and index are on the stack.
    fn value(&mut self) {
        if self.e.is_field() {
            self.line("ldelema S");
            self.line("ldfld S::v");
        } else {
            let suffix = self.e.suffix;
            self.line(&format!("ldelem.{suffix}"));
        }
    }

    fn address(&mut self, array: usize) {
        self.line(&format!("ldarg.{array}"));
        self.line("ldloc.0");
        if self.rng.one_in(5) {
            let n = self.rng.of(&["1", "2", "-1", "3"]);
            self.line(&format!("ldc.i4 {n}"));
            self.line("add");
        }
    }

    /// Something to compare elements with.
    fn other(&mut self) {
        match self.rng.below(4) {
            0 => self.load(),
            1 => {
                let n = self.rng.of(&["0", "7", "-1", "200", "40000", "-129"]);
                self.line(&format!("ldc.i4 {n}"));
                self.convert(false);
            }
            _ => {
                let exact = self.rng.one_in(2);
                self.line("ldarg.2");
                self.convert(exact);
            }
        }
    }

    /// An int as a value to compare with, or as one that an array of the type may hold.
    fn convert(&mut self, exact: bool) {
        let conv = match self.e.stack {
            "int" if !exact => "nop",
            _ => self.e.from_int,
        };
        self.line(conv);
    }

    fn comparison(&mut self) -> &'static str {
        let all = ["beq", "bne.un", "blt", "bgt", "bge", "ble"];
        let mut all = all.to_vec();
        if self.e.float || self.rng.one_in(3) {
            all.extend(["blt.un", "bge.un"]);
        } else {
            all.extend(["beq", "bne.un"]);
        }
        self.rng.of(&all)
    }

    fn label(&mut self) -> String {
        self.labels += 1;
        format!("L{}", self.labels)
    }

    fn leave(&mut self) {
        self.load();
        self.other();
        let how = self.comparison();
        self.line(&format!("{how} found"));
    }

    fn statement(&mut self, leaves: bool) {
        let e = self.e;
        match self.rng.below(9) {
            0..=2 if leaves => self.leave(),
            0 => {
                let skip = self.label();
                self.load();
                self.other();
                let how = self.comparison();
                self.line(&format!("{how} {skip}"));
                self.add(NUMBER);
                let _ = writeln!(self.out, "{skip}:");
                self.line("nop");
            }
            1 => self.add(SECOND),
            2 => {
                // A dot product.
                self.line(&format!("ldloc.{SUM}"));
                self.load();
                self.load();
                self.line("mul");
                self.line("add");
                self.line(&format!("stloc.{SUM}"));
            }
            3 => {
                let op = if e.float {
                    "add"
                } else {
                    self.rng.of(&["add", "sub", "xor", "or", "and"])
                };
                self.line(&format!("ldloc.{SUM}"));
                self.load();
                self.line(op);
                self.line(&format!("stloc.{SUM}"));
            }
            4 | 5 => {
                // The least or the greatest.
                let (skip, at) = (self.label(), [SUM, SUM + 1, CURRENT][self.rng.below(3)]);
                let how = self.rng.of(&["bge", "ble", "bgt", "blt", "bge.un", "ble.un"]);
                self.address(0);
                self.value();
                self.line(&format!("ldloc.s {at}"));
                self.line(&format!("{how} {skip}"));
                self.address(0);
                self.value();
                self.line(&format!("stloc.s {at}"));
                let _ = writeln!(self.out, "{skip}:");
                self.line("nop");
            }
            6 => {
                self.load();
                self.line(&format!("stloc.s {CURRENT}"));
            }
            _ => {
                let array = self.rng.below(2);
                self.address(array);
                if e.is_field() {
                    self.line("ldelema S");
                }
                self.load();
                self.other();
                self.line(if e.float { "add" } else { "xor" });
                if e.is_field() {
                    self.line("stfld S::v");
                } else {
                    let suffix = e.suffix.replace('u', "i");
                    self.line(&format!("stelem.{suffix}"));
                }
            }
        }
    }

    fn add(&mut self, local: usize) {
        let n = self.rng.of(&["1", "1", "3", "-2"]);
        self.line(&format!("ldloc.s {local}"));
        self.line(&format!("ldc.i4 {n}"));
        self.line("add");
        self.line(&format!("stloc.s {local}"));
    }

    fn limit(&mut self) {
        match self.rng.below(5) {
            0 => self.line("ldarg.3"),
            n => {
                self.line(if n == 1 { "ldarg.1" } else { "ldarg.0" });
                self.line("ldlen");
                self.line("conv.i4");
                if self.rng.one_in(6) {
                    self.line("ldc.i4.3");
                    self.line("sub");
                }
            }
        }
    }

    fn program(&mut self) {
        let start = self
            .rng
            .of(&["ldc.i4.0", "ldc.i4.0", "ldc.i4.0", "ldc.i4.1", "ldc.i4.m1", "ldarg.3"]);
        self.line(start);
        self.line("stloc.0");
        if !self.rng.one_in(4) {
            self.line("br test");
        }
        let _ = writeln!(self.out, "body:");
        let leaves = !self.rng.one_in(3);
        if leaves {
            self.leave();
        } else {
            // (Something must end it.)
            self.load();
            self.line(&format!("stloc.s {CURRENT}"));
        }
        for _ in 0..self.rng.below(3) {
            self.statement(leaves);
        }
        self.line("ldloc.0");
        let step = if self.rng.one_in(8) { "ldc.i4.2" } else { "ldc.i4.1" };
        self.line(step);
        self.line("add");
        self.line("stloc.0");
        let _ = writeln!(self.out, "test:");
        self.line("ldloc.0");
        self.limit();
        let how = self.rng.of(&["blt", "blt", "blt", "ble", "bne.un", "blt.un"]);
        self.line(&format!("{how} body"));
        self.line("ldc.i4 1000");
        self.line("stloc.s 5");
        self.line("br done");
        let _ = writeln!(self.out, "found:");
        self.line("ldc.i4 77");
        self.line("stloc.s 5");
        let _ = writeln!(self.out, "done:");
        self.line("ldloc.s 5");
        for local in [COUNTER, SUM, SUM + 1, NUMBER, SECOND, CURRENT] {
            self.line("ldc.i4 31");
            self.line("mul");
            self.line(&format!("ldloc.s {local}"));
            if matches!(local, 1 | 2 | CURRENT) {
                self.line(self.e.to_int);
            }
            self.line("add");
        }
        self.line("ret");
    }
}

fn program(seed: u64, e: &Element) -> String {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234);
    rng.below(2);
    let mut g = Gen {
        rng,
        e,
        out: String::new(),
        labels: 0,
    };
    g.program();
    let (name, stack) = (e.name, e.stack);
    let (structure, array) = if e.is_field() {
        let text = format!(
            ".struct S {} {{ {name} {} }}\n.field S {name} v {}\n",
            e.stride, e.offset, e.offset
        );
        (text, "S")
    } else {
        (String::new(), name)
    };
    format!(
        "{structure}.test F int ({array}[], {array}[], int, int)\n.locals init (int, {stack}, {stack}, int, int, int, {name})\n{}.end\n",
        g.out
    )
}

/// The code of the test in `text`, and the IR that it is made of.
pub fn compile_text(text: &str, tier: Tier, seed: u64) -> (&'static CodeInfo, Func) {
    let mut host = MockHost::parse(text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
    host.set_helpers(harness::helper);
    let method = host.tests()[0];
    let mut func =
        import(&host, method, &ImportOptions::default()).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
    if tier == Tier::Tier1 {
        // (These tests handle no signals.)
        opt::optimise(&mut func, &host, |pass| pass != "implicit");
    }
    ir_check::check(&func).unwrap();
    let code = JIT
        .compile_and_install(&func, &host, tier)
        .unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
    (code, func)
}

/// Whether the code has vectors.
pub fn has_vectors(func: &Func) -> bool {
    func.values.values().any(|&ty| ty == Ty::V128)
}

/// The code, whether it has a vector loop, and whether that is left early.
fn compile(text: &str, tier: Tier, seed: u64) -> (&'static CodeInfo, bool, bool) {
    let (code, func) = compile_text(text, tier, seed);
    let tests = |b: &BlockData| {
        let any = |i: &Inst| matches!(i.op, Op::Vector { op: VecOp::AnyTrue, .. });
        b.insts.iter().any(any)
    };
    let early = func.blocks.values().any(tests);
    (code, has_vectors(&func), early)
}

/// An array as in memory: MethodTable, length, elements, and something behind.
fn array(rng: &mut Rng, e: &Element, base: i32) -> Vec<u64> {
    let length = if rng.one_in(3) { rng.below(6) } else { rng.below(140) };
    let mut words = vec![0u64; 2 + (length * e.stride).div_ceil(8) + 1];
    words[1] = length as u64;
    let odd = 1 + rng.below(60);
    for i in 0..length {
        let n = if rng.one_in(odd) {
            rng.below(70000) as i32 - 1000
        } else {
            base
        };
        let bytes = match (e.float, e.bytes) {
            (true, 4) if n % 64 == 5 => f32::NAN.to_le_bytes().to_vec(),
            (true, 8) if n % 64 == 5 => f64::NAN.to_le_bytes().to_vec(),
            (true, 4) => (n as f32).to_le_bytes().to_vec(),
            (true, _) => f64::from(n).to_le_bytes().to_vec(),
            _ => i64::from(n).to_le_bytes()[..e.bytes].to_vec(),
        };
        for (k, byte) in bytes.into_iter().enumerate() {
            let at = i * e.stride + e.offset + k;
            words[2 + at / 8] |= u64::from(byte) << (at % 8 * 8);
        }
    }
    words
}

fn check(seed: u64) -> (bool, bool) {
    let e = &ELEMENTS[seed as usize % ELEMENTS.len()];
    let text = program(seed, e);
    let (first, ..) = compile(&text, Tier::Tier0, seed);
    let (second, vectors, early) = compile(&text, Tier::Tier1, seed);
    let mut rng = Rng(seed ^ 0xabcdef);
    for round in 0..12 {
        let x = [0, 7, -1, 200, 77][rng.below(5)];
        let base = if rng.one_in(2) { x } else { 7 };
        let a = array(&mut rng, e, base);
        let mut b = array(&mut rng, e, 7);
        if rng.one_in(2) {
            b = a.clone();
        }
        let (null, same) = (rng.below(20), rng.one_in(8));
        let n = match rng.below(6) {
            0 => -1,
            1 => i32::MAX,
            2 => rng.below(8) as i32,
            3 => a[1] as i32 + 2,
            _ => a[1] as i32,
        };
        let run = |code: &CodeInfo| {
            let (mut a, mut b) = (a.clone(), b.clone());
            let first = if null == 0 { 0 } else { a.as_mut_ptr() as usize };
            let second = match null {
                1 => 0,
                _ if same => first,
                _ => b.as_mut_ptr() as usize,
            };
            let result = harness::run(code, [first, second, x as u32 as usize, n as u32 as usize]);
            (result.map(|r| r as u32), a, b)
        };
        let (expected, found) = (run(first), run(second));
        assert!(
            expected == found,
            "seed {seed}, round {round}, x {x}, n {n}, null {null}, same {same}:\n{:?}\n{:?}\n{text}\n{a:x?}\n{b:x?}",
            expected.0,
            found.0
        );
    }
    (vectors, early)
}

#[test]
fn loops_do_the_same_at_both_tiers() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let first = number("CORTEN_SEED").unwrap_or(1);
    let count = number("CORTEN_PROGRAMS").unwrap_or(1000);
    let (mut vectors, mut early) = (0, 0);
    for seed in first..first + count {
        let (v, e) = check(seed);
        vectors += u64::from(v);
        early += u64::from(e);
    }
    assert!(
        count < 300 || (vectors > count / 8 && early > count / 20),
        "only {vectors} vector loops, {early} of them with early exits"
    );
}
