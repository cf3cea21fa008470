//! Generated loops that look for the least and the greatest floats, at Tier 0 and at Tier 1, against a model: the same bits,
//! also with zeroes of both signs, infinities, and payloads of what is not a number.
//!
//! `CORTEN_PROGRAMS=N` runs N programs, `CORTEN_SEED=S` begins with seed S.

use crate::harness::{self, Rng};
use crate::loops::{compile_text, has_vectors};
use corten_jit::isa::Tier;
use std::fmt::Write;

/// A conditional branch that skips the assignment.
#[derive(Clone, Copy, Debug)]
enum Skip {
    Less { or_equal: bool, unordered: bool },
    Greater { or_equal: bool, unordered: bool },
}

#[derive(Clone, Copy, Debug)]
enum Term {
    /// Element of one of the arrays, so far ahead of the counter.
    Element {
        array: usize,
        ahead: usize,
    },
    Negated(usize),
}

#[derive(Clone, Copy, Debug)]
enum Kept {
    /// `if (!(term skip m)) m = term`, or with `m` on the left.
    Branch { skip: Skip, term_first: bool },
    /// `m = Math.Min(m, term)` and the like.
    Math { greatest: bool, term_first: bool },
}

#[derive(Clone, Copy, Debug)]
enum Statement {
    Collect {
        local: usize,
        term: Term,
        kept: Kept,
    },
    /// `b[i] = choice(a[i], b[i])`
    Map {
        from: Term,
        with: Term,
        kept: Kept,
    },
}

struct Program {
    double: bool,
    statements: Vec<Statement>,
    /// Elements at the end that are not visited.
    margin: usize,
}

fn skip(rng: &mut Rng) -> Skip {
    let (or_equal, unordered) = (rng.one_in(2), rng.one_in(2));
    if rng.one_in(2) {
        Skip::Less { or_equal, unordered }
    } else {
        Skip::Greater { or_equal, unordered }
    }
}

fn kept(rng: &mut Rng) -> Kept {
    let term_first = rng.one_in(2);
    if rng.one_in(2) {
        let greatest = rng.one_in(2);
        Kept::Math { greatest, term_first }
    } else {
        let skip = skip(rng);
        Kept::Branch { skip, term_first }
    }
}

fn term(rng: &mut Rng) -> Term {
    match rng.below(6) {
        0 => Term::Negated(rng.below(2)),
        1 => Term::Element { array: 0, ahead: 1 },
        n => Term::Element { array: n % 2, ahead: 0 },
    }
}

fn generate(rng: &mut Rng) -> Program {
    let maps = rng.one_in(4);
    let statements = (0..1 + rng.below(2))
        .map(|local| match maps {
            true if local == 0 || rng.one_in(8) => Statement::Map {
                from: term(rng),
                with: term(rng),
                kept: kept(rng),
            },
            _ => Statement::Collect {
                local,
                term: term(rng),
                kept: kept(rng),
            },
        })
        .collect();
    Program {
        double: rng.one_in(2),
        statements,
        margin: 1 + rng.below(2),
    }
}

impl Program {
    /// Arguments: arrays a, b and c, and the number of rounds. Locals: counter, collectors, another element.
    fn text(&self) -> String {
        let (name, suffix) = if self.double { ("double", "r8") } else { ("float", "r4") };
        let class = if self.double { "System.Math" } else { "System.MathF" };
        let mut out = format!(
            ".class {class}\n\
             .method static {name} {class}::Min({name},{name}) as Min\n\
             .method static {name} {class}::Max({name},{name}) as Max\n\
             .test F int ({name}[], {name}[], {name}[], int)\n\
             .locals init (int, {name}, {name}, {name}, {name})\n"
        );
        let mut label = 0;
        for local in 1..3 {
            let _ = writeln!(out, "ldarg.2\nldc.i4 {}\nldelem.{suffix}\nstloc.{local}", local - 1);
        }
        let _ = writeln!(out, "br test\nbody:");
        for statement in &self.statements {
            match *statement {
                Statement::Collect { local, term, kept } => {
                    let m = format!("ldloc.{}", local + 1);
                    let term = term_text(term, suffix);
                    choice_text(&mut out, &mut label, &m, &term, kept, local + 1);
                }
                Statement::Map { from, with, kept } => {
                    let _ = writeln!(out, "{}\nstloc.3", term_text(from, suffix));
                    let with = format!("{}\nstloc.s 4\nldloc.s 4", term_text(with, suffix));
                    choice_text(&mut out, &mut label, "ldloc.3", &with, kept, 3);
                    let _ = writeln!(out, "ldarg.1\nldloc.0\nldloc.3\nstelem.{suffix}");
                }
            }
        }
        let _ = writeln!(out, "ldloc.0\nldc.i4.1\nadd\nstloc.0\ntest: ldloc.0\nldarg.3\nblt body");
        for local in 1..3 {
            let _ = writeln!(out, "ldarg.2\nldc.i4 {}\nldloc.{local}\nstelem.{suffix}", local - 1);
        }
        let _ = writeln!(out, "ldloc.0\nret\n.end");
        out
    }

    /// What the arrays hold afterwards.
    fn model(&self, a: &[u64], b: &mut [u64], c: &mut [u64], rounds: usize) {
        for i in 0..rounds {
            for statement in &self.statements {
                match *statement {
                    Statement::Collect { local, term, kept } => {
                        let x = self.term(term, i, a, b);
                        c[local] = self.choose(kept, c[local], x);
                    }
                    Statement::Map { from, with, kept } => {
                        let (x, y) = (self.term(from, i, a, b), self.term(with, i, a, b));
                        b[i] = self.choose(kept, x, y);
                    }
                }
            }
        }
    }

    fn sign(&self) -> u64 {
        if self.double { 1 << 63 } else { 1 << 31 }
    }

    fn term(&self, term: Term, i: usize, a: &[u64], b: &[u64]) -> u64 {
        match term {
            Term::Element { array: 0, ahead } => a[i + ahead],
            Term::Element { ahead, .. } => b[i + ahead],
            Term::Negated(0) => a[i] ^ self.sign(),
            Term::Negated(_) => b[i] ^ self.sign(),
        }
    }

    fn number(&self, bits: u64) -> f64 {
        if self.double {
            f64::from_bits(bits)
        } else {
            f64::from(f32::from_bits(bits as u32))
        }
    }

    fn choose(&self, kept: Kept, m: u64, x: u64) -> u64 {
        match kept {
            Kept::Branch { skip, term_first } => {
                let (p, q) = if term_first { (x, m) } else { (m, x) };
                let (p, q) = (self.number(p), self.number(q));
                let nan = p.is_nan() || q.is_nan();
                let skips = match skip {
                    Skip::Less { or_equal, unordered } => p < q || (or_equal && p == q) || (unordered && nan),
                    Skip::Greater { or_equal, unordered } => p > q || (or_equal && p == q) || (unordered && nan),
                };
                if skips { m } else { x }
            }
            Kept::Math { greatest, term_first } => {
                let (p, q) = if term_first { (x, m) } else { (m, x) };
                let (first, second) = (self.number(p), self.number(q));
                let is_second = match () {
                    () if first.is_nan() => false,
                    () if second.is_nan() => true,
                    () if first == second => (q & self.sign() != 0) != greatest && p != q,
                    () => (second < first) != greatest,
                };
                if is_second { q } else { p }
            }
        }
    }

    fn value(&self, rng: &mut Rng, flavour: usize) -> u64 {
        let common = [0.0, -0.0, 1.0, -1.0, 2.5, -7.25, 1e10, -3e-5];
        let x: f64 = match flavour {
            // Zeroes, mostly of one sign, and what is not less, or not greater.
            0 => [0.0, 0.0, 1.0, 3.0, 1e-20][rng.below(5)],
            1 => [-0.0, -0.0, -1.0, -3.0][rng.below(4)],
            2 => [0.0, -0.0, 5.0][rng.below(3)],
            3 => [0.0, -0.0, -5.0][rng.below(3)],
            4 if rng.one_in(40) => -0.0,
            4 => [0.0, 0.0, 9.0][rng.below(3)],
            5 => f64::from(rng.below(100_000) as i32 - 50_000),
            6 => common[rng.below(common.len())],
            _ if rng.one_in(12) => [f64::INFINITY, f64::NEG_INFINITY][rng.below(2)],
            _ => f64::from(rng.below(1000) as i32),
        };
        if (flavour >= 6 && rng.one_in(50)) || (flavour == 8 && rng.one_in(2)) {
            return self.nan(rng);
        }
        if self.double {
            x.to_bits()
        } else {
            u64::from((x as f32).to_bits())
        }
    }

    /// Of either sign, quiet or signalling, with a payload.
    fn nan(&self, rng: &mut Rng) -> u64 {
        let payload = 1 + rng.below(1000) as u64;
        let (infinity, quiet) = if self.double {
            (0x7ff0_0000_0000_0000, 1 << 51)
        } else {
            (0x7f80_0000, 1 << 22)
        };
        let mut bits = infinity | payload;
        if rng.one_in(2) {
            bits |= quiet;
        }
        if rng.one_in(2) {
            bits |= self.sign();
        }
        bits
    }

    /// An array as in memory: MethodTable, length, elements, and something behind.
    fn memory(&self, values: &[u64]) -> Vec<u64> {
        let size = if self.double { 1 } else { 2 };
        let mut words = vec![0; 3 + values.len().div_ceil(size)];
        words[1] = values.len() as u64;
        for (i, v) in values.iter().enumerate() {
            words[2 + i / size] |= v << (i % size * 32);
        }
        words
    }
}

fn term_text(term: Term, suffix: &str) -> String {
    match term {
        Term::Element { array, ahead: 0 } => format!("ldarg.{array}\nldloc.0\nldelem.{suffix}"),
        Term::Element { array, ahead } => format!("ldarg.{array}\nldloc.0\nldc.i4 {ahead}\nadd\nldelem.{suffix}"),
        Term::Negated(array) => format!("ldarg.{array}\nldloc.0\nldelem.{suffix}\nneg"),
    }
}

/// Leaves the choice in a local.
fn choice_text(out: &mut String, label: &mut usize, m: &str, term: &str, kept: Kept, local: usize) {
    match kept {
        Kept::Branch { skip, term_first } => {
            *label += 1;
            let (first, second) = if term_first { (term, m) } else { (m, term) };
            let (base, or_equal, unordered) = match skip {
                Skip::Less { or_equal, unordered } => (["blt", "ble"], or_equal, unordered),
                Skip::Greater { or_equal, unordered } => (["bgt", "bge"], or_equal, unordered),
            };
            let how = base[usize::from(or_equal)];
            let un = if unordered { ".un" } else { "" };
            let _ = writeln!(
                out,
                "{first}\n{second}\n{how}{un} S{label}\n{term}\nstloc.s {local}\nS{label}: nop"
            );
        }
        Kept::Math { greatest, term_first } => {
            let (first, second) = if term_first { (term, m) } else { (m, term) };
            let name = if greatest { "Max" } else { "Min" };
            let _ = writeln!(out, "{first}\n{second}\ncall {name}\nstloc.s {local}");
        }
    }
}

/// Whether the loop became a vector loop.
fn check(seed: u64) -> bool {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x777);
    rng.below(2);
    let program = generate(&mut rng);
    let text = program.text();
    let (first, _) = compile_text(&text, Tier::Tier0, seed);
    let (second, func) = compile_text(&text, Tier::Tier1, seed);
    let vectors = has_vectors(&func);
    for round in 0..24 {
        let length = program.margin + if rng.one_in(3) { rng.below(6) } else { rng.below(150) };
        let flavour = rng.below(9);
        let mut values = |n: usize| -> Vec<u64> { (0..n).map(|_| program.value(&mut rng, flavour)).collect() };
        let (a, b, c) = (values(length), values(length), values(2));
        let rounds = length - program.margin;
        let (mut b1, mut c1) = (b.clone(), c.clone());
        program.model(&a, &mut b1, &mut c1, rounds);
        let expected = [program.memory(&a), program.memory(&b1), program.memory(&c1)];
        for code in [first, second] {
            let mut found = [program.memory(&a), program.memory(&b), program.memory(&c)];
            let [x, y, z] = found.each_mut().map(|v| v.as_mut_ptr() as usize);
            let result = harness::run(code, [x, y, z, rounds]).map(|r| r as u32 as usize);
            let tier = if std::ptr::eq(code, first) { 0 } else { 1 };
            assert!(
                result == Ok(rounds) && found == expected,
                "seed {seed}, round {round}, tier {tier}: {result:?} of {rounds}\n{text}\na {a:x?}\nb {b:x?}\nc {c:x?}\nb {:x?}\nb {:x?}\nc {:x?}\nc {:x?}\n{:?}",
                expected[1],
                found[1],
                expected[2],
                found[2],
                program.statements
            );
        }
    }
    vectors
}

#[test]
fn extremes_of_floats_are_those_of_one_element_at_a_time() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let first = number("CORTEN_SEED").unwrap_or(1);
    let count = number("CORTEN_PROGRAMS").unwrap_or(1500);
    let vectors = (first..first + count).filter(|&seed| check(seed)).count() as u64;
    assert!(count < 300 || vectors > count / 2, "only {vectors} vector loops");
}
