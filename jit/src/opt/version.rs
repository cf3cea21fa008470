//! Loop versioning: a small loop whose range checks depend on what is only known at run time becomes two.
//!
//! In front of it come tests of what would make the checks superfluous: that the counter does not start below zero, that the
//! loop's limit is not above the lengths that its indexes are compared with, and that arrays are not null. If they hold, a copy
//! of the loop runs, in which [`super::checks`] then proves the checks by these tests and removes them. The original loop does
//! the rest: it raises what it raised before.

use super::cfg::map_targets;
use super::checks;
use super::loops::{Graph, Loop, natural_loops};
use super::unroll::{copy_block, seldom_repeats, weight};
use super::vectorize::{negated, swapped};
use crate::host_api::CompilerHost;
use crate::ir::*;
use cranelift_entity::EntityRef;

/// Loops with more blocks or instructions are left alone.
const MAX_BLOCKS: usize = 8;
const MAX_INSTS: usize = 60;
/// Larger functions are left alone.
const MAX_FUNC_BLOCKS: usize = 400;
/// The most loops of one function.
const MAX_LOOPS: usize = 4;
/// The most tests in front of one.
const MAX_TESTS: usize = 6;
/// The largest distance of an index from the counter.
const MAX_AHEAD: i64 = 1 << 16;

/// The pass.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) {
    let is_check = |i: &Inst| matches!(i.op, Op::BoundsCheck { .. });
    let count = |func: &Func| {
        func.blocks
            .values()
            .flat_map(|b| &b.insts)
            .filter(|i| is_check(i))
            .count()
    };
    if func.blocks.len() > MAX_FUNC_BLOCKS || count(func) == 0 {
        return;
    }
    let graph = Graph::of(func);
    let mut found: Vec<(Loop, Vec<Test>)> = natural_loops(&graph)
        .into_iter()
        .filter(|l| l.innermost && l.blocks.len() <= MAX_BLOCKS && !func.short_loops.contains(&l.header))
        .filter(|l| !seldom_repeats(func, &graph, l))
        .filter_map(|l| tests(func, &graph, &l).map(|t| (l, t)))
        .collect();
    found.truncate(MAX_LOOPS);
    if found.is_empty() {
        return;
    }
    let before = func.clone();
    let mut checks_copied = 0;
    for (l, tests) in &found {
        checks_copied += l
            .blocks
            .iter()
            .flat_map(|&b| &func.blocks[b].insts)
            .filter(|i| is_check(i))
            .count();
        split(func, l, tests);
    }
    let short = std::mem::take(&mut func.short_loops);
    let blocks = func.blocks.len();
    checks::run(func, host);
    // (Where branches were decided, blocks have other names: the few loops that are unrolled in vain do no harm.)
    if func.blocks.len() == blocks {
        func.short_loops = short;
    }
    if count(func) >= count(&before) + checks_copied {
        *func = before;
    }
}

/// A number that is the same in every iteration and can be had in front of the loop.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fixed {
    Int(i64),
    Local(Local),
    /// Length of the array in the local.
    Length(Local),
}

/// Something and a distance from it.
type Sum = (Fixed, i64);

/// Something that is tested in front of a loop.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Test {
    NotNull(Local),
    /// The local is not below the number.
    AtLeast(Local, i64),
    /// (a + n) is at most, or below if `strict`, (b + m).
    Order {
        a: Sum,
        b: Sum,
        strict: bool,
    },
}

/// How blocks of a loop name what is the same in all iterations.
struct Reader<'a> {
    func: &'a Func,
    assigned: Vec<Local>,
}

impl Reader<'_> {
    fn op(&self, block: Block, v: Value) -> Option<&Op> {
        let insts = &self.func.blocks[block].insts;
        insts.iter().find(|i| i.result == Some(v)).map(|i| &i.op)
    }

    fn int(&self, block: Block, v: Value) -> Option<i64> {
        match *self.op(block, v)? {
            Op::IConst(n) if self.func.values[v] == Ty::I32 => Some(i64::from(n as i32)),
            _ => None,
        }
    }

    /// The value as something and a distance from it.
    fn sum(&self, block: Block, v: Value) -> Option<(Value, i64)> {
        let near = |n: i64| n.abs() <= MAX_AHEAD;
        match *self.op(block, v)? {
            Op::Bin(BinOp::Add, x, y) => match (self.int(block, x), self.int(block, y)) {
                (_, Some(n)) if near(n) => Some((x, n)),
                (Some(n), _) if near(n) => Some((y, n)),
                _ => None,
            },
            Op::Bin(BinOp::Sub, x, y) => self.int(block, y).filter(|&n| near(n)).map(|n| (x, -n)),
            _ => Some((v, 0)),
        }
    }

    fn fixed(&self, block: Block, v: Value) -> Option<Sum> {
        if self.func.values[v] != Ty::I32 {
            return None;
        }
        let (v, ahead) = self.sum(block, v)?;
        let local = |v: Value| match *self.op(block, v)? {
            Op::LocalGet(l) if !self.assigned.contains(&l) => Some(l),
            _ => None,
        };
        let fixed = match *self.op(block, v)? {
            Op::IConst(_) => Fixed::Int(self.int(block, v)?),
            Op::LocalGet(_) => Fixed::Local(local(v)?),
            Op::ArrayLen(array) => Fixed::Length(local(array)?),
            _ => return None,
        };
        Some((fixed, ahead))
    }

    /// A local of the loop and a distance from it. (Where in the iteration it is read does not matter here: if the tests are
    /// the wrong ones, the checks stay.)
    fn counter(&self, block: Block, v: Value) -> Option<(Local, i64)> {
        let (v, ahead) = self.sum(block, v)?;
        match *self.op(block, v)? {
            Op::LocalGet(l) if self.assigned.contains(&l) && self.func.locals[l].ty == Ty::I32 => Some((l, ahead)),
            _ => None,
        }
    }
}

/// What to test in front of a loop so that its range checks hold.
fn tests(func: &Func, graph: &Graph, l: &Loop) -> Option<Vec<Test>> {
    let insts = || l.blocks.iter().flat_map(|&b| &func.blocks[b].insts);
    if insts().count() > MAX_INSTS
        || !insts().any(|i| matches!(i.op, Op::BoundsCheck { .. }))
        || l.header == func.entry
        || func.blocks[l.header].cold
        || l.blocks
            .iter()
            .any(|&b| graph.handlers[b.index()] || weight(func, b).is_none())
    {
        return None;
    }
    let mut reader = Reader {
        func,
        assigned: Vec::new(),
    };
    let mut sets = Vec::new();
    for inst in insts() {
        if let Op::LocalSet(local, v) = inst.op {
            reader.assigned.push(local);
            sets.push((local, v));
        }
    }
    // The loop goes on while a counter is below a limit (and the counter goes up by little).
    let mut limits: Vec<(Local, Sum, bool)> = Vec::new();
    for &block in &l.blocks {
        let Term::Branch { cond, then, other } = func.blocks[block].term else {
            continue;
        };
        let stay = match (l.blocks.contains(&then), l.blocks.contains(&other)) {
            (true, false) => true,
            (false, true) => false,
            _ => continue,
        };
        let Some(&Op::Cmp(cond, a, b)) = reader.op(block, cond) else {
            continue;
        };
        let Some(cond) = (if stay { Some(cond) } else { negated(cond) }) else {
            continue;
        };
        for (cond, a, b) in [(Some(cond), a, b), (swapped(cond), b, a)] {
            let (Some((counter, _)), Some(limit)) = (reader.counter(block, a), reader.fixed(block, b)) else {
                continue;
            };
            match cond {
                Some(Cond::Lt) => limits.push((counter, limit, true)),
                Some(Cond::Le) => limits.push((counter, limit, false)),
                _ => {}
            }
        }
    }
    limits.retain(|&(counter, ..)| {
        let mut of = sets.iter().filter(|s| s.0 == counter);
        let (Some(&(_, v)), None) = (of.next(), of.next()) else {
            return false;
        };
        let block = l
            .blocks
            .iter()
            .find(|&&b| func.blocks[b].insts.iter().any(|i| i.result == Some(v)));
        block.is_some_and(|&b| matches!(reader.counter(b, v), Some((c, n)) if c == counter && n > 0))
    });
    let mut lows: Vec<(Local, i64)> = Vec::new();
    let mut orders: Vec<(Sum, Sum, bool)> = Vec::new();
    let mut out = Vec::new();
    let mut add = |test: Test| {
        if !out.contains(&test) {
            out.push(test);
        }
    };
    for &block in &l.blocks {
        for inst in &func.blocks[block].insts {
            let Op::BoundsCheck { index, length } = inst.op else {
                continue;
            };
            let (Some((counter, ahead)), Some(length)) = (reader.counter(block, index), reader.fixed(block, length))
            else {
                continue;
            };
            let Some(&(_, limit, below)) = limits.iter().find(|x| x.0 == counter) else {
                continue;
            };
            for (fixed, _) in [limit, length] {
                if let Fixed::Length(array) = fixed {
                    add(Test::NotNull(array));
                }
            }
            // (One test for each counter, and for each limit and length: that of the farthest index.)
            lows.push((counter, -ahead));
            if limit != length || ahead > 0 || !below {
                orders.push((limit, (length.0, length.1 - ahead), !below));
            }
        }
    }
    for &(counter, _) in &lows {
        let most = lows.iter().filter(|x| x.0 == counter).map(|x| x.1).max();
        add(Test::AtLeast(counter, most.unwrap_or(0)));
    }
    for &(a, b, strict) in &orders {
        let same = orders.iter().filter(|x| x.0 == a && x.1.0 == b.0 && x.2 == strict);
        let b = (b.0, same.map(|x| x.1.1).min().unwrap_or(b.1));
        add(Test::Order { a, b, strict });
    }
    (!out.is_empty() && out.len() <= MAX_TESTS).then_some(out)
}

/// Copies the loop and puts the tests in front.
fn split(func: &mut Func, l: &Loop, tests: &[Test]) {
    let originals = func.blocks.len();
    let names: Vec<Block> = l.blocks.iter().map(|&b| copy_block(func, b, true)).collect();
    for &block in &names {
        map_targets(&mut func.blocks[block].term, |to| {
            if let Some(i) = l.blocks.iter().position(|b| b == to) {
                *to = names[i];
            }
        });
    }
    // Null tests come first: lengths are read behind them.
    let (nulls, rest): (Vec<Test>, Vec<Test>) = tests.iter().partition(|t| matches!(t, Test::NotNull(_)));
    // (What a test says holds in a block that only it leads to.)
    let mut then = func.blocks.push(BlockData {
        insts: Vec::new(),
        term: Term::Jump(names[0]),
        weight: None,
        ..func.blocks[l.header].clone()
    });
    for tests in [rest, nulls] {
        for &test in tests.iter().rev() {
            then = guard(func, l.header, then, test);
        }
    }
    for block in (0..originals).map(Block::new).filter(|b| !l.blocks.contains(b)) {
        map_targets(&mut func.blocks[block].term, |to| {
            if *to == l.header {
                *to = then;
            }
        });
    }
    func.short_loops.push(l.header);
}

/// A block that goes to `then` if the test holds, else to the loop.
fn guard(func: &mut Func, header: Block, then: Block, test: Test) -> Block {
    let mut insts = Vec::new();
    let values = &mut func.values;
    let locals = &func.locals;
    let mut emit = |op: Op, ty: Ty| {
        let result = values.push(ty);
        insts.push(Inst {
            op,
            result: Some(result),
            il: NO_IL,
            site: SiteId::ROOT,
        });
        result
    };
    let number = |emit: &mut dyn FnMut(Op, Ty) -> Value, (fixed, ahead): Sum| {
        let v = match fixed {
            Fixed::Int(n) => emit(Op::IConst(n), Ty::I32),
            Fixed::Local(l) => emit(Op::LocalGet(l), Ty::I32),
            Fixed::Length(l) => {
                let array = emit(Op::LocalGet(l), Ty::Ref);
                emit(Op::ArrayLen(array), Ty::I32)
            }
        };
        if ahead == 0 {
            return v;
        }
        let n = emit(Op::IConst(ahead), Ty::I32);
        emit(Op::Bin(BinOp::Add, v, n), Ty::I32)
    };
    let cond = match test {
        Test::NotNull(l) => {
            let v = emit(Op::LocalGet(l), locals[l].ty);
            let null = emit(Op::Null, locals[l].ty);
            emit(Op::Cmp(Cond::Ne, v, null), Ty::I32)
        }
        Test::AtLeast(l, n) => {
            let v = emit(Op::LocalGet(l), Ty::I32);
            let n = emit(Op::IConst(n), Ty::I32);
            emit(Op::Cmp(Cond::Ge, v, n), Ty::I32)
        }
        Test::Order { a, b, strict } => {
            let a = number(&mut emit, a);
            let b = number(&mut emit, b);
            let cond = if strict { Cond::Lt } else { Cond::Le };
            emit(Op::Cmp(cond, a, b), Ty::I32)
        }
    };
    let guard = super::cfg::new_block(func, header);
    func.blocks[guard].insts = insts;
    func.blocks[guard].term = Term::Branch {
        cond,
        then,
        other: header,
    };
    guard
}
