//! Inlining: direct calls are replaced by the body of their target.
//!
//! A body of one block is spliced in place: its values become values of the caller's block and nothing is copied. Larger
//! bodies split the caller's block at the call: arguments go to new locals, every return stores the result and jumps to the
//! rest of the block; values of the block that are needed after the call cross over in locals. Exception regions and stack
//! traces stay as they were: pasted blocks get the protection of the call's block, and pasted instructions name the call
//! they replace ([`InlineSite`]).

use super::devirt;
use super::inline_policy::{self as policy, Candidate};
use super::weights::Scale;
use crate::host_api::{ClassInit, CompilerHost, Convention, MethodInfo, TypeKind};
use crate::ids::{MethodId, TypeId};
use crate::importer::{ImportOptions, import};
use crate::ir::*;
use cranelift_entity::EntityRef;
use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

/// The pass.
pub(super) fn run(func: &mut Func, host: &dyn CompilerHost) {
    inline(func, host, None);
}

/// Looks again at calls of these methods only, and at the calls in what replaces them.
pub(super) fn again(func: &mut Func, host: &dyn CompilerHost, only: &FxHashSet<MethodId>) {
    inline(func, host, Some(only));
}

fn inline(func: &mut Func, host: &dyn CompilerHost, only: Option<&FxHashSet<MethodId>>) {
    let in_loop = policy::blocks_in_loops(func);
    let size = policy::size(func);
    let work = func.blocks.keys().rev().collect();
    let old_sites = func.sites.len();
    let mut inliner = Inliner {
        func,
        host,
        callees: FxHashMap::default(),
        in_loop,
        size,
        first_size: size,
        work,
        old_sites,
        only,
    };
    while let Some(block) = inliner.work.pop() {
        inliner.block(block);
    }
}

/// A method that may be inlined.
struct Callee {
    func: Func,
    info: Arc<MethodInfo>,
    size: usize,
    loops: bool,
    never_returns: bool,
    /// Arguments that the body changes or takes the address of.
    written: Vec<bool>,
    /// What the call would have initialised.
    class_init: Option<(TypeId, u64)>,
}

struct Inliner<'a> {
    func: &'a mut Func,
    host: &'a dyn CompilerHost,
    callees: FxHashMap<MethodId, Result<Rc<Callee>, &'static str>>,
    in_loop: Vec<bool>,
    size: usize,
    first_size: usize,
    work: Vec<Block>,
    /// Calls that were inlined before this run.
    old_sites: usize,
    /// Of the calls that were there before this run, only those of these methods are looked at.
    only: Option<&'a FxHashSet<MethodId>>,
}

/// What becomes of a call.
enum Plan {
    Splice(Rc<Callee>),
    Split(Rc<Callee>),
    /// Control does not come back from it.
    Ends,
}

impl Inliner<'_> {
    /// Inlines the calls of a block. Blocks that this makes are put on the work list.
    fn block(&mut self, block: Block) {
        let mut at = 0;
        while at < self.func.blocks[block].insts.len() {
            if !self.func.blocks[block].cold {
                devirt::by_definition(self.func, self.host, block, &mut at);
            }
            let inst = &self.func.blocks[block].insts[at];
            let Op::Call {
                callee: crate::ir::Callee::Direct { method, .. },
                tail,
                ..
            } = &inst.op
            else {
                at += 1;
                continue;
            };
            let (method, tail) = (*method, *tail);
            match self.plan(block, at, method, tail) {
                Ok(Plan::Splice(callee)) => {
                    trace(self.func, self.host, method, "inlined");
                    self.size += callee.size;
                    self.splice(block, at, &callee);
                }
                Ok(Plan::Split(callee)) => {
                    trace(self.func, self.host, method, "inlined");
                    self.size += callee.size;
                    self.split(block, at, &callee);
                    return;
                }
                Ok(Plan::Ends) => {
                    let data = &mut self.func.blocks[block];
                    data.insts.truncate(at + 1);
                    data.term = Term::Unreachable;
                    data.cold = block != self.func.entry;
                    return;
                }
                Err(reason) => {
                    trace(self.func, self.host, method, reason);
                    at += 1;
                }
            }
        }
    }

    fn plan(&mut self, block: Block, at: usize, method: MethodId, tail: bool) -> Result<Plan, &'static str> {
        if tail {
            return Err("a tail. call");
        }
        let old = self.func.blocks[block].insts[at].site.index() <= self.old_sites;
        if old && self.only.is_some_and(|only| !only.contains(&method)) {
            return Err("it was looked at before");
        }
        let data = &self.func.blocks[block];
        // What the profile has not seen may run all the same: what costs nothing is done there, too.
        let never = data.cold && data.weight == Some(0.0);
        if data.cold && !never || matches!(data.term, Term::Unreachable) {
            return Err("the call is cold");
        }
        let inst = &data.insts[at];
        let (depth, recursive) = policy::nesting(self.func, inst.site, method);
        if recursive {
            return Err("recursive");
        }
        let callee = match self.callees.get(&method) {
            Some(known) => known.clone()?,
            None => {
                let made = prepare(self.host, method).map(Rc::new);
                self.callees.insert(method, made.clone());
                made?
            }
        };
        if callee.never_returns {
            return Ok(Plan::Ends);
        }
        let Op::Call { args, .. } = &inst.op else {
            return Err("not a call");
        };
        if args.len() != callee.func.arg_count {
            return Err("arguments do not match");
        }
        let types_match = args
            .iter()
            .zip(callee.func.locals.values())
            .all(|(&a, l)| self.func.values[a] == l.ty);
        if !types_match {
            return Err("argument types do not match");
        }
        let (args, result) = (args.clone(), inst.result);
        let insts = &data.insts[..at];
        let definition = |v: Value| insts.iter().rev().find(|i| i.result == Some(v)).map(|i| &i.op);
        let candidate = Candidate {
            info: &callee.info,
            callee_size: callee.size,
            caller_size: self.size,
            first_size: self.first_size,
            in_loop: self.in_loop.get(block.index()).copied().unwrap_or(false),
            local_address: args
                .iter()
                .any(|&a| matches!(definition(a), Some(Op::LocalAddr(_) | Op::StructAddr(_)))),
            loops: callee.loops,
            heat: if never {
                Some(0.0)
            } else {
                policy::heat(self.func, block)
            },
            constant_argument: args
                .iter()
                .any(|&a| matches!(definition(a), Some(Op::IConst(_) | Op::Null | Op::Address(_)))),
            depth,
        };
        policy::decide(&candidate)?;
        if callee.func.blocks.len() == 1 {
            return Ok(Plan::Splice(callee));
        }
        // The temporary behind such an address lives to the end of the block only.
        let is_temporary = |v: Value| {
            let mut v = v;
            loop {
                match definition(v) {
                    Some(Op::StructAddr(_) | Op::Scratch { .. }) => return true,
                    Some(Op::PtrAdd(base, _)) => v = *base,
                    Some(Op::Conv(_, from)) => v = *from,
                    _ => return false,
                }
            }
        };
        if args.iter().any(|&a| is_temporary(a)) {
            return Err("an argument is the address of a temporary");
        }
        if self.crossing(block, at, result).iter().any(|&v| is_temporary(v)) {
            return Err("the address of a temporary is needed after the call");
        }
        Ok(Plan::Split(callee))
    }

    /// Values defined before instruction `at` of a block and used after it.
    fn crossing(&self, block: Block, at: usize, result: Option<Value>) -> Vec<Value> {
        let data = &self.func.blocks[block];
        let mut inner: Vec<Value> = result.into_iter().collect();
        let mut crossing = Vec::new();
        let mut used = |v: Value, inner: &[Value]| {
            if !inner.contains(&v) && !crossing.contains(&v) {
                crossing.push(v);
            }
        };
        for inst in &data.insts[at + 1..] {
            for_each_use(&inst.op, |v| used(v, &inner));
            inner.extend(inst.result);
        }
        if let Some(v) = term_use(&data.term) {
            used(v, &inner);
        }
        crossing
    }

    /// Records a call that is replaced.
    fn site(&mut self, inst: &Inst, callee: &Callee) -> SiteId {
        self.func.sites.push(InlineSite {
            parent: inst.site,
            call_il: inst.il,
            method: callee.info.id,
        });
        SiteId::new(self.func.sites.len())
    }

    /// What must run before the body, at the position of the call.
    fn class_init(callee: &Callee, call: &Inst) -> Option<Inst> {
        callee.class_init.map(|(ty, flag_address)| Inst {
            op: Op::ClassInit { ty, flag_address },
            result: None,
            il: call.il,
            site: call.site,
        })
    }

    /// The `this` of a value type's method that is called at `at`, if it needs no checks for null: the block shows that it is
    /// none, or nothing here would handle the exception (a fault raises it just as well).
    fn sure_this(&self, block: Block, at: usize, callee: &Callee) -> Option<Value> {
        let before = self.func.blocks[block].insts.get(..=at)?;
        let Op::Call { args, .. } = &before.last()?.op else {
            return None;
        };
        let this = *args.first().filter(|_| callee.func.this_is_byref)?;
        (self.func.clauses.is_empty() || Self::is_address(before, this)).then_some(this)
    }

    fn is_address(before: &[Inst], mut value: Value) -> bool {
        let this = value;
        loop {
            let Some(inst) = before.iter().rev().find(|i| i.result == Some(value)) else {
                return false;
            };
            match inst.op {
                Op::LocalAddr(_) | Op::Address(_) | Op::ElemAddr { .. } | Op::CallHelper { .. } => return true,
                // An object was checked before the address of its field was taken.
                Op::Conv(ConvOp::RefToByRef, _) => return value != this,
                Op::PtrAdd(base, _) => value = base,
                _ => return false,
            }
        }
    }

    /// Replaces a call by a body of one block.
    fn splice(&mut self, block: Block, at: usize, callee: &Callee) {
        let call = self.func.blocks[block].insts[at].clone();
        let Op::Call { args, .. } = &call.op else { return };
        let site = self.site(&call, callee);
        let sure = self.sure_this(block, at, callee);
        let mut paste = Paste::new(self.func, callee, site, &call);
        paste.sure_this = sure;
        paste.out.extend(Self::class_init(callee, &call));
        for (i, &arg) in args.iter().enumerate() {
            let local = Local::new(i);
            let data = &callee.func.locals[local];
            let arg = paste.normalised(arg, self.host, data.type_id);
            if callee.written[i] {
                let new = paste.local(local);
                paste.push(Op::LocalSet(new, arg), None);
            } else {
                paste.arguments[i] = Some(arg);
            }
        }
        let body = &callee.func.blocks[callee.func.entry];
        let mut set: Vec<Local> = Vec::new();
        for inst in &body.insts {
            // Variables start as zero each time.
            if let Op::LocalGet(l) | Op::LocalAddr(l) | Op::LocalSet(l, _) = inst.op
                && l.index() >= callee.func.arg_count
                && !set.contains(&l)
            {
                set.push(l);
                if !matches!(inst.op, Op::LocalSet(..)) {
                    paste.zero(l);
                }
            }
            paste.inst(inst);
        }
        let result = match (&body.term, call.result) {
            (Term::Return(Some(v)), Some(result)) => {
                let v = paste.value(*v);
                let v = paste.normalised(v, self.host, callee.func.sig.ret);
                Some((result, v))
            }
            _ => None,
        };
        paste.unpin();
        let out = std::mem::take(&mut paste.out);
        let data = &mut self.func.blocks[block];
        data.insts.splice(at..=at, out);
        if let Some((old, new)) = result {
            replace_uses(data, old, new);
        }
    }

    /// Replaces a call by a body of several blocks.
    fn split(&mut self, block: Block, at: usize, callee: &Callee) {
        let call = self.func.blocks[block].insts[at].clone();
        let Op::Call { args, .. } = &call.op else { return };
        let crossing = self.crossing(block, at, call.result);
        let site = self.site(&call, callee);

        // The rest of the block.
        let data = &mut self.func.blocks[block];
        let mut rest = BlockData {
            insts: data.insts.split_off(at + 1),
            term: std::mem::replace(&mut data.term, Term::Unreachable),
            term_il: data.term_il,
            term_site: data.term_site,
            protect: data.protect,
            cold: data.cold,
            weight: data.weight,
        };
        data.insts.truncate(at);
        (data.term_il, data.term_site) = (call.il, call.site);
        let protect = data.protect;
        let definitions: Vec<Option<Op>> = crossing
            .iter()
            .map(|&v| data.insts.iter().find(|i| i.result == Some(v)).map(|i| i.op.clone()))
            .collect();

        let sure = self.sure_this(block, at, callee);
        let mut paste = Paste::new(self.func, callee, site, &call);
        paste.sure_this = sure;
        let mut arrive: Vec<Inst> = Vec::new();
        for (&v, definition) in crossing.iter().zip(definitions) {
            let ty = paste.func.values[v];
            let again = paste.func.values.push(ty);
            let op = match definition {
                Some(op @ (Op::IConst(_) | Op::FConst(_) | Op::Null | Op::Address(_) | Op::LocalAddr(_))) => op,
                _ => {
                    let type_id = temporary_type(self.host, ty);
                    let local = paste.func.locals.push(LocalData {
                        ty,
                        type_id,
                        pinned: false,
                        zero_init: false,
                    });
                    paste.push(Op::LocalSet(local, v), None);
                    Op::LocalGet(local)
                }
            };
            arrive.push(Inst {
                op,
                result: Some(again),
                il: call.il,
                site: call.site,
            });
            replace_uses(&mut rest, v, again);
        }
        paste.out.extend(Self::class_init(callee, &call));
        for (i, &arg) in args.iter().enumerate() {
            let new = paste.local(Local::new(i));
            paste.push(Op::LocalSet(new, arg), None);
        }
        for local in variables_read_before_set(&callee.func) {
            paste.zero(local);
        }
        let head = std::mem::take(&mut paste.out);

        // The body.
        let returned = call.result.map(|result| {
            let ty = paste.func.values[result];
            let local = paste.func.locals.push(LocalData {
                ty,
                type_id: callee.func.sig.ret,
                pinned: false,
                zero_init: false,
            });
            (local, result)
        });
        let scale = Scale::of(paste.func.blocks[block].weight, &callee.func);
        let first = paste.func.blocks.len();
        let block_of = |b: Block| Block::new(first + b.index());
        let after = Block::new(first + callee.func.blocks.len());
        for source in callee.func.blocks.values() {
            paste.values.clear();
            for inst in &source.insts {
                paste.inst(inst);
            }
            let term = match &source.term {
                Term::Jump(b) => Term::Jump(block_of(*b)),
                Term::Branch { cond, then, other } => Term::Branch {
                    cond: paste.value(*cond),
                    then: block_of(*then),
                    other: block_of(*other),
                },
                Term::Switch {
                    index,
                    targets,
                    default,
                } => Term::Switch {
                    index: paste.value(*index),
                    targets: targets.iter().map(|&t| block_of(t)).collect(),
                    default: block_of(*default),
                },
                Term::Return(v) => {
                    if let (Some(v), Some((local, _))) = (v, returned) {
                        let v = paste.value(*v);
                        paste.push(Op::LocalSet(local, v), None);
                    }
                    Term::Jump(after)
                }
                Term::Unreachable => Term::Unreachable,
            };
            let data = BlockData {
                insts: std::mem::take(&mut paste.out),
                term,
                term_il: source.term_il,
                term_site: site,
                protect,
                cold: source.cold,
                weight: scale.scaled(source.weight),
            };
            paste.func.blocks.push(data);
        }
        paste.unpin();
        let mut insts = std::mem::take(&mut paste.out);
        if let Some((local, result)) = returned {
            insts.push(Inst {
                op: Op::LocalGet(local),
                result: Some(result),
                il: call.il,
                site: call.site,
            });
        }
        insts.append(&mut arrive);
        insts.append(&mut rest.insts);
        rest.insts = insts;
        self.func.blocks.push(rest);
        let data = &mut self.func.blocks[block];
        data.insts.extend(head);
        data.term = Term::Jump(block_of(callee.func.entry));

        // Loops around the call go on through the new blocks; those of the body are not looked for.
        let in_loop = self.in_loop.get(block.index()).copied().unwrap_or(false);
        self.in_loop.resize(self.func.blocks.len(), in_loop);
        let new = (first..self.func.blocks.len()).rev().map(Block::new);
        self.work.extend(new);
    }
}

/// Copies instructions of a callee.
struct Paste<'a> {
    func: &'a mut Func,
    callee: &'a Func,
    site: SiteId,
    il: u32,
    call_site: SiteId,
    out: Vec<Inst>,
    locals: Vec<Option<Local>>,
    /// Values that stand for arguments which the body never changes.
    arguments: Vec<Option<Value>>,
    values: FxHashMap<Value, Value>,
    /// `this`, if it needs no checks.
    sure_this: Option<Value>,
}

impl<'a> Paste<'a> {
    fn new(func: &'a mut Func, callee: &'a Callee, site: SiteId, call: &Inst) -> Paste<'a> {
        Paste {
            func,
            callee: &callee.func,
            site,
            il: call.il,
            call_site: call.site,
            out: Vec::new(),
            locals: vec![None; callee.func.locals.len()],
            arguments: vec![None; callee.func.arg_count],
            values: FxHashMap::default(),
            sure_this: None,
        }
    }

    /// Appends an operation at the position of the call.
    fn push(&mut self, op: Op, result: Option<Ty>) -> Option<Value> {
        let result = result.map(|ty| self.func.values.push(ty));
        self.out.push(Inst {
            op,
            result,
            il: self.il,
            site: self.call_site,
        });
        result
    }

    /// The caller's local for one of the callee's.
    fn local(&mut self, local: Local) -> Local {
        if let Some(l) = self.locals[local.index()] {
            return l;
        }
        let data = LocalData {
            zero_init: false,
            ..self.callee.locals[local].clone()
        };
        let new = self.func.locals.push(data);
        self.locals[local.index()] = Some(new);
        new
    }

    fn value(&self, value: Value) -> Value {
        self.values.get(&value).copied().unwrap_or(value)
    }

    /// A value as its small integer type holds it; other values stay.
    fn normalised(&mut self, value: Value, host: &dyn CompilerHost, ty: TypeId) -> Value {
        // (The type of `this` is the owner, for pointers to it, too.)
        let Some(info) = host.type_info(ty).ok().filter(|_| self.func.values[value] == Ty::I32) else {
            return value;
        };
        let op = match info.kind {
            TypeKind::I1 => ConvOp::Sext8,
            TypeKind::U1 => ConvOp::Zext8,
            TypeKind::I2 => ConvOp::Sext16,
            TypeKind::U2 => ConvOp::Zext16,
            _ => return value,
        };
        self.push(Op::Conv(op, value), Some(Ty::I32)).unwrap_or(value)
    }

    /// Sets a variable to zero.
    fn zero(&mut self, local: Local) {
        let data = &self.callee.locals[local];
        let needed = data.zero_init || matches!(data.ty, Ty::Ref | Ty::ByRef | Ty::Struct(_));
        let ty = data.ty;
        let new = self.local(local);
        if needed {
            self.set_zero(new, ty);
        }
    }

    fn set_zero(&mut self, local: Local, ty: Ty) {
        let zero = match ty {
            Ty::I32 | Ty::I64 => self.push(Op::IConst(0), Some(ty)),
            Ty::F32 | Ty::F64 => self.push(Op::FConst(0), Some(ty)),
            Ty::Ref => self.push(Op::Null, Some(ty)),
            Ty::ByRef => {
                let zero = self.push(Op::IConst(0), Some(Ty::I64));
                zero.and_then(|z| self.push(Op::Conv(ConvOp::IntToByRef, z), Some(ty)))
            }
            Ty::V128 => {
                let (op, lane, args) = (VecOp::Const(0), Lane::U8, Vec::new());
                self.push(Op::Vector { op, lane, args }, Some(ty))
            }
            Ty::Struct(t) => self.push(Op::StructZero(t), Some(ty)),
        };
        if let Some(zero) = zero {
            self.push(Op::LocalSet(local, zero), None);
        }
    }

    /// Pasted pinned variables pin nothing any more.
    fn unpin(&mut self) {
        for i in 0..self.locals.len() {
            if let Some(new) = self.locals[i]
                && self.func.locals[new].pinned
            {
                let ty = self.func.locals[new].ty;
                self.set_zero(new, ty);
            }
        }
    }

    /// Copies an instruction.
    fn inst(&mut self, inst: &Inst) {
        if let (Op::LocalGet(l), Some(result)) = (&inst.op, inst.result)
            && let Some(Some(arg)) = self.arguments.get(l.index())
        {
            self.values.insert(result, *arg);
            return;
        }
        if let Op::NullCheck(v) = inst.op
            && self.sure_this.is_some()
            && self.sure_this == self.values.get(&v).copied()
        {
            return;
        }
        let mut op = inst.op.clone();
        map_uses(&mut op, |v| *v = self.values.get(v).copied().unwrap_or(*v));
        if let Op::LocalGet(l) | Op::LocalAddr(l) | Op::LocalSet(l, _) = &mut op {
            *l = self.local(*l);
        }
        let result = inst.result.map(|r| {
            let new = self.func.values.push(self.callee.values[r]);
            self.values.insert(r, new);
            if let Some(&class) = self.callee.exact.get(&r) {
                self.func.exact.insert(new, class);
            }
            new
        });
        self.out.push(Inst {
            op,
            result,
            il: inst.il,
            site: self.site,
        });
    }
}

/// Replaces a value in all operands of a block.
pub(super) fn replace_uses(data: &mut BlockData, old: Value, new: Value) {
    let swap = |v: &mut Value| {
        if *v == old {
            *v = new;
        }
    };
    for inst in &mut data.insts {
        map_uses(&mut inst.op, swap);
    }
    match &mut data.term {
        Term::Branch { cond, .. } => swap(cond),
        Term::Switch { index, .. } => swap(index),
        Term::Return(Some(v)) => swap(v),
        Term::Return(None) | Term::Jump(_) | Term::Unreachable => {}
    }
}

/// Imports a method and finds out whether it can be inlined at all.
fn prepare(host: &dyn CompilerHost, method: MethodId) -> Result<Callee, &'static str> {
    let info = host.method_info(method).map_err(|_| "it cannot be loaded")?;
    if info.no_inlining {
        return Err("NoInlining");
    }
    if info.synchronized || info.is_abstract || info.sig.convention != Convention::Managed {
        return Err("synchronized, abstract or variable arguments");
    }
    let body = host.method_body(method).map_err(|_| "it has no IL")?;
    let limit = if info.aggressive_inlining {
        policy::MAX_IL_AGGRESSIVE
    } else {
        policy::MAX_IL
    };
    if body.code.len() > limit {
        return Err("its IL is too large");
    }
    if !body.clauses.is_empty() {
        return Err("it has exception handlers");
    }
    let locals = host.local_types(method).map_err(|_| "its variables cannot be loaded")?;
    let looks_at_callers = |ty: TypeId| {
        host.type_info(ty)
            .is_ok_and(|t| &*t.name == "System.Threading.StackCrawlMark")
    };
    if locals.iter().any(|&(ty, _)| looks_at_callers(ty)) {
        return Err("it looks at its caller");
    }
    let options = ImportOptions {
        trust_this: false,
        ..ImportOptions::default()
    };
    let mut func = import(host, method, &options).map_err(|_| "it does not compile")?;
    super::weights::run(&mut func, host);
    let size = policy::size(&func);
    super::guess::run(&mut func, host);
    if let Some(reason) = policy::obstacle(&func) {
        return Err(reason);
    }
    let class_init = match host.class_init_before(method) {
        Ok(ClassInit::NotNeeded) => None,
        Ok(ClassInit::Check { flag_address }) => Some((info.owner, flag_address)),
        Err(_) => return Err("its class cannot be initialised"),
    };
    let mut written = vec![false; func.arg_count];
    for inst in func.blocks.values().flat_map(|b| &b.insts) {
        if let Op::LocalSet(l, _) | Op::LocalAddr(l) = inst.op
            && let Some(w) = written.get_mut(l.index())
        {
            *w = true;
        }
    }
    Ok(Callee {
        size,
        loops: policy::blocks_in_loops(&func).contains(&true),
        never_returns: policy::never_returns(&func),
        written,
        class_init,
        info,
        func,
    })
}

/// Variables (not arguments) that may be read before they are set: all but those that the entry block sets first.
fn variables_read_before_set(func: &Func) -> Vec<Local> {
    let mut first_is_set = vec![None; func.locals.len()];
    for inst in &func.blocks[func.entry].insts {
        if let Op::LocalGet(l) | Op::LocalAddr(l) | Op::LocalSet(l, _) = inst.op {
            first_is_set[l.index()].get_or_insert(matches!(inst.op, Op::LocalSet(..)));
        }
    }
    let used = func.blocks.values().flat_map(|b| &b.insts).filter_map(|i| match i.op {
        Op::LocalGet(l) | Op::LocalAddr(l) => Some(l),
        _ => None,
    });
    let mut needed = vec![false; func.locals.len()];
    used.for_each(|l| needed[l.index()] = true);
    func.locals
        .keys()
        .skip(func.arg_count)
        .filter(|l| needed[l.index()] && first_is_set[l.index()] != Some(true))
        .collect()
}

/// The type of a temporary for values of a stack type.
pub(super) fn temporary_type(host: &dyn CompilerHost, ty: Ty) -> TypeId {
    use crate::host_api::WellKnownType as W;
    host.well_known(match ty {
        Ty::I32 => W::Int32,
        Ty::I64 | Ty::ByRef => W::IntPtr,
        Ty::F32 => W::Single,
        Ty::F64 => W::Double,
        Ty::Ref => W::Object,
        Ty::V128 => return TypeId(0),
        Ty::Struct(t) => return t,
    })
}

/// `CORTEN_TRACEINLINE=1`: what became of every call, on standard error.
fn trace(caller: &Func, host: &dyn CompilerHost, callee: MethodId, outcome: &str) {
    static ON: OnceLock<bool> = OnceLock::new();
    if *ON.get_or_init(|| std::env::var_os("CORTEN_TRACEINLINE").is_some()) {
        eprintln!("[inline] {} <- {}: {outcome}", caller.name, host.method_display(callee));
    }
}
