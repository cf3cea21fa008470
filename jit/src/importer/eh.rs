//! Exception regions: protection lists, handlers, `leave`, `endfinally`, filters, synchronized methods.
//!
//! A `leave` through finally clauses sets each clause's selector local to the number of its continuation and jumps to the
//! handler; `endfinally` goes to one dispatch block per clause that switches on the selector (0: entered by an exception,
//! go on with the second pass).

use super::blocks::Slot;
use super::stack::Entry;
use super::{Importer, Region, Step, invalid};
use crate::builder::FuncBuilder;
use crate::host_api::{Convention, Signature, WellKnownType};
use crate::ir::*;
use corten_metadata::EhKind;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;

/// State of one clause.
#[derive(Debug)]
struct ClauseState {
    id: ClauseId,
    reached: bool,
    /// Where `endfinally` goes.
    dispatch: Option<Block>,
    /// Continuation of selector i + 1.
    continuations: Vec<Block>,
}

/// State of all clauses of a method.
#[derive(Debug, Default)]
pub(crate) struct EhState {
    clauses: Vec<ClauseState>,
    /// (finally clause, final IL target) to selector.
    selectors: FxHashMap<(usize, u32), u32>,
    sync: Option<Sync>,
}

/// The implicit protected region of a synchronized method.
#[derive(Clone, Copy, Debug)]
struct Sync {
    clause: ClauseId,
    result: Option<Local>,
    exit: Block,
}

/// Start and length of a region in IL.
type Range = (u32, u32);

fn contains(start: u32, len: u32, offset: u32) -> bool {
    offset >= start && offset - start < len
}

impl Importer<'_, '_> {
    /// Creates every clause of the EH table.
    pub fn setup_clauses(&mut self) -> Step<()> {
        let object = self.host.well_known(WellKnownType::Object);
        for i in 0..self.body.clauses.len() {
            let clause = &self.body.clauses[i];
            let (try_range, handler_range) = (
                (clause.try_offset, clause.try_offset + clause.try_length),
                (clause.handler_offset, clause.handler_offset + clause.handler_length),
            );
            let is_cleanup = matches!(clause.kind, EhKind::Finally | EhKind::Fault);
            let protect = self.protect_at(handler_range.0);
            self.b.set_protect(protect);
            let handler = self.b.create_block();
            let exception_local = self.b.temp(Ty::Ref, object);
            let (record_local, selector_local) = if is_cleanup {
                (Some(self.temp(Ty::I64)), Some(self.temp(Ty::I32)))
            } else {
                (None, None)
            };
            let kind = match self.body.clauses[i].kind {
                EhKind::Finally => ClauseKind::Finally,
                _ => ClauseKind::Fault,
            };
            let id = self.b.func.clauses.push(Clause {
                kind,
                handler,
                exception_local,
                record_local,
                selector_local,
                try_range,
                handler_range,
            });
            self.eh.clauses.push(ClauseState {
                id,
                reached: false,
                dispatch: None,
                continuations: Vec::new(),
            });
        }
        Ok(())
    }

    /// Code before the first IL instruction: takes the lock of a synchronized method.
    pub fn start_body(&mut self) -> Step<()> {
        if !self.info.synchronized {
            return Ok(());
        }
        let object = self.host.well_known(WellKnownType::Object);
        let lock = self.b.temp(Ty::Ref, object);
        let value = if self.info.is_static {
            let address = self.host.runtime_type_object(self.info.owner)?;
            self.b.frozen(address)
        } else {
            let this = self.b.arg(0);
            let this = self.b.get(this);
            self.coerce_value(this, Ty::Ref)?
        };
        self.b.set(lock, value);
        self.b.helper_void(Helper::MonitorEnter, vec![value]);
        self.b.set_protect(ProtectId::from_u32(0));
        let start = self.b.current();
        let ret = self.info.sig.ret;
        let result = self.stack_ty_of(ret)?.map(|ty| self.b.temp(ty, ret));
        // Normal exit: unlocks outside of the region.
        let exit = self.b.create_block();
        self.b.switch_to(exit);
        let held = self.b.get(lock);
        self.b.helper_void(Helper::MonitorExit, vec![held]);
        let value = result.map(|local| self.b.get(local));
        self.b.ret(value);
        // Exceptional exit.
        let handler = self.b.create_block();
        self.b.switch_to(handler);
        let exception_local = self.b.temp(Ty::Ref, object);
        let record = self.temp(Ty::I64);
        let selector = self.temp(Ty::I32);
        let held = self.b.get(lock);
        self.b.helper_void(Helper::MonitorExit, vec![held]);
        let exception = self.b.get(exception_local);
        let record_value = self.b.get(record);
        self.b.raise(Helper::Resume, vec![exception, record_value]);
        let end = self.body.code.len() as u32;
        let clause = self.b.func.clauses.push(Clause {
            kind: ClauseKind::Fault,
            handler,
            exception_local,
            record_local: Some(record),
            selector_local: Some(selector),
            try_range: (0, end),
            handler_range: (end, end),
        });
        self.eh.sync = Some(Sync { clause, result, exit });
        // Handler blocks made by `setup_clauses` are inside of the region too.
        for i in 0..self.eh.clauses.len() {
            let protect = self.protect_at(self.body.clauses[i].handler_offset);
            let handler = self.b.func.clauses[self.eh.clauses[i].id].handler;
            self.b.func.blocks[handler].protect = protect;
        }
        self.b.switch_to(start);
        Ok(())
    }

    /// `ret` of a synchronized method: true if handled.
    pub fn synchronized_return(&mut self, value: Option<Value>) -> bool {
        let Some(sync) = self.eh.sync else { return false };
        if let (Some(local), Some(value)) = (sync.result, value) {
            self.b.set(local, value);
        }
        self.b.jump(sync.exit);
        true
    }

    /// Clauses that protect an offset, innermost first.
    pub fn protect_at(&mut self, offset: u32) -> ProtectId {
        let mut list = Vec::new();
        if self.region == Region::Body {
            for (i, clause) in self.body.clauses.iter().enumerate() {
                if contains(clause.try_offset, clause.try_length, offset) {
                    list.push(ClauseId::new(i));
                }
            }
            list.extend(self.eh.sync.map(|s| s.clause));
        }
        self.b.intern_protect(list)
    }

    /// Rejects control flow out of a filter.
    pub fn check_target(&mut self, offset: u32) -> Step<()> {
        if let Region::Filter { clause } = self.region {
            let clause = &self.body.clauses[clause];
            let EhKind::Filter { filter_offset } = clause.kind else {
                return invalid("not a filter");
            };
            if offset < filter_offset || offset >= clause.handler_offset {
                return invalid("branch out of a filter");
            }
        }
        Ok(())
    }

    /// Offset ranges of the innermost try block and handler (or filter) around an offset.
    fn regions_at(&self, offset: u32) -> (Option<Range>, Option<Range>) {
        let (mut protected, mut handler): (Option<Range>, Option<Range>) = (None, None);
        let narrow = |found: &mut Option<Range>, start: u32, len: u32| {
            if contains(start, len, offset) && found.is_none_or(|(_, l)| len < l) {
                *found = Some((start, len));
            }
        };
        for clause in &self.body.clauses {
            narrow(&mut protected, clause.try_offset, clause.try_length);
            narrow(&mut handler, clause.handler_offset, clause.handler_length);
            if let EhKind::Filter { filter_offset } = clause.kind {
                narrow(&mut handler, filter_offset, clause.handler_offset - filter_offset);
            }
        }
        (protected, handler)
    }

    /// Branches and falling through stay in their handler and try block; a try block is entered at its start (I.12.4.2.8).
    pub fn check_flow(&self, target: u32) -> Step<()> {
        if self.body.clauses.is_empty() {
            return Ok(());
        }
        let (from_try, from_handler) = self.regions_at(self.at);
        let (to_try, to_handler) = self.regions_at(target);
        if from_handler != to_handler {
            return invalid("branch into or out of a handler");
        }
        if from_try == to_try {
            return Ok(());
        }
        if let Some((start, len)) = from_try
            && !contains(start, len, target)
        {
            return invalid("branch out of a try block");
        }
        // Every try block that does not contain the source is entered at its start.
        for clause in &self.body.clauses {
            let (start, len) = (clause.try_offset, clause.try_length);
            if contains(start, len, target) && !contains(start, len, self.at) && start != target {
                return invalid("branch into a try block");
            }
        }
        Ok(())
    }

    /// `ret` and `jmp` are outside of try blocks and handlers.
    pub fn check_return(&self) -> Step<()> {
        if self.region != Region::Body || self.regions_at(self.at) != (None, None) {
            return invalid("return from a protected region");
        }
        Ok(())
    }

    /// Makes the handlers of all clauses that protect an offset reachable.
    pub fn reach_clauses(&mut self, offset: u32) -> Step<()> {
        if self.region != Region::Body {
            return Ok(());
        }
        for i in 0..self.eh.clauses.len() {
            let clause = &self.body.clauses[i];
            if self.eh.clauses[i].reached || !contains(clause.try_offset, clause.try_length, offset) {
                continue;
            }
            self.eh.clauses[i].reached = true;
            let handler_offset = clause.handler_offset;
            let id = self.eh.clauses[i].id;
            let handler = self.b.func.clauses[id].handler;
            let exception = self.b.func.clauses[id].exception_local;
            let entry = match self.body.clauses[i].kind {
                EhKind::Catch(token) => {
                    let ty = self.host.resolve_type(self.method, token)?;
                    self.b.func.clauses[id].kind = ClauseKind::Catch(ty);
                    vec![Slot {
                        local: exception,
                        ty: Ty::Ref,
                    }]
                }
                EhKind::Filter { filter_offset } => {
                    let filter = self.import_filter(i, filter_offset)?;
                    self.b.func.filters.push(filter);
                    self.b.func.clauses[id].kind = ClauseKind::Filter(self.b.func.filters.len() - 1);
                    vec![Slot {
                        local: exception,
                        ty: Ty::Ref,
                    }]
                }
                EhKind::Finally | EhKind::Fault => Vec::new(),
            };
            if !matches!(self.body.clauses[i].kind, EhKind::Finally) {
                self.b.func.blocks[handler].cold = true;
            }
            self.enter_at(handler_offset, handler, entry)?;
            self.reach_clauses(handler_offset)?;
        }
        Ok(())
    }

    fn import_filter(&mut self, clause: usize, offset: u32) -> Step<Func> {
        let object = self.host.well_known(WellKnownType::Object);
        let sig = Signature {
            has_this: false,
            ret: self.host.well_known(WellKnownType::Int32),
            params: [object, self.host.well_known(WellKnownType::IntPtr)].into(),
            convention: Convention::Managed,
        };
        let name = format!("{}$filter{clause}", self.b.func.name);
        let mut b = FuncBuilder::empty(name, Some(self.method), sig);
        let parent = self.il_args + self.il_locals;
        for data in self.b.func.locals.values().take(parent) {
            b.push_local(data.clone());
        }
        b.func.parent_locals = Some(parent);
        b.func.this_is_byref = self.b.func.this_is_byref;
        b.func.init_locals = self.b.func.init_locals;
        let exception = b.temp(Ty::Ref, object);
        let mut inner = Importer::new(
            self.host,
            self.method,
            self.info.clone(),
            self.owner.clone(),
            self.options,
            self.body,
            self.layout,
            b,
            self.il_args,
            self.il_locals,
            Region::Filter { clause },
            self.widened,
        );
        let outcome = inner.run_filter(offset, exception);
        let (at, stats, func) = (inner.at, inner.stats, inner.b.finish());
        if let Err(stop) = outcome {
            self.at = at;
            return Err(stop);
        }
        self.stats.il_instructions += stats.il_instructions;
        self.stats.intrinsics += stats.intrinsics;
        Ok(func)
    }

    /// `endfilter`: ends the filter with its verdict.
    pub fn end_filter(&mut self) -> Step<()> {
        if self.region == Region::Body {
            return invalid("endfilter outside of a filter");
        }
        let value = self.pop_as(Ty::I32)?;
        self.b.ret(Some(value));
        Ok(())
    }

    /// Innermost clause of one of the kinds whose handler contains the current instruction.
    pub(super) fn innermost_handler(&self, wanted: impl Fn(&EhKind) -> bool) -> Option<usize> {
        let at = self.at;
        self.body
            .clauses
            .iter()
            .enumerate()
            .filter(|(_, c)| wanted(&c.kind) && contains(c.handler_offset, c.handler_length, at))
            .min_by_key(|(_, c)| c.handler_length)
            .map(|(i, _)| i)
    }

    /// `leave`: empties the stack and runs the finally clauses on the way.
    pub fn leave(&mut self, target: u32) -> Step<()> {
        if self.region != Region::Body {
            return invalid("leave in a filter");
        }
        self.stack.clear();
        let at = self.at;
        if let Some(handler) = self.innermost_handler(|_| true) {
            let clause = &self.body.clauses[handler];
            if matches!(clause.kind, EhKind::Finally | EhKind::Fault)
                && !contains(clause.handler_offset, clause.handler_length, target)
            {
                return invalid("leave out of a finally or fault handler");
            }
        }
        let chain: Vec<usize> = self
            .body
            .clauses
            .iter()
            .enumerate()
            .filter(|(_, c)| {
                matches!(c.kind, EhKind::Finally)
                    && contains(c.try_offset, c.try_length, at)
                    && !contains(c.try_offset, c.try_length, target)
            })
            .map(|(i, _)| i)
            .collect();
        if target <= at {
            self.b.emit_void(Op::SafepointPoll);
        }
        self.leave_through(&chain, target)
    }

    fn leave_through(&mut self, chain: &[usize], target: u32) -> Step<()> {
        let Some((&first, rest)) = chain.split_first() else {
            let block = self.edge(target)?;
            self.b.jump(block);
            return Ok(());
        };
        let selector = match self.eh.selectors.get(&(first, target)) {
            Some(&s) => s,
            None => {
                let here = self.b.current();
                self.b.set_protect(ProtectId::from_u32(0));
                let continuation = self.b.create_block();
                let list = &mut self.eh.clauses[first].continuations;
                list.push(continuation);
                let selector = list.len() as u32;
                self.eh.selectors.insert((first, target), selector);
                self.b.switch_to(continuation);
                self.leave_through(rest, target)?;
                self.b.switch_to(here);
                selector
            }
        };
        let id = self.eh.clauses[first].id;
        let (handler, local) = (self.b.func.clauses[id].handler, self.b.func.clauses[id].selector_local);
        let value = self.b.iconst32(selector as i32);
        if let Some(local) = local {
            self.b.set(local, value);
        }
        self.b.jump(handler);
        Ok(())
    }

    /// `endfinally`, `endfault`.
    pub fn end_finally(&mut self) -> Step<()> {
        if self.region != Region::Body {
            return invalid("endfinally in a filter");
        }
        let Some(clause) = self.innermost_handler(|k| matches!(k, EhKind::Finally | EhKind::Fault)) else {
            return invalid("endfinally outside of a finally or fault handler");
        };
        self.stack.clear();
        let dispatch = match self.eh.clauses[clause].dispatch {
            Some(block) => block,
            None => {
                // What protects the handler as a whole; a try block inside may begin where the handler does.
                let handler = &self.body.clauses[clause];
                let (start, end) = (handler.handler_offset, handler.handler_offset + handler.handler_length);
                let at_start = self.protect_at(start);
                let mut around = self.b.func.protects[at_start].clone();
                around.retain(|c| {
                    self.body
                        .clauses
                        .get(c.as_u32() as usize)
                        .is_none_or(|o| o.try_offset <= start && o.try_offset + o.try_length >= end)
                });
                let protect = self.b.intern_protect(around);
                self.b.set_protect(protect);
                let block = self.b.create_block();
                self.eh.clauses[clause].dispatch = Some(block);
                block
            }
        };
        self.b.jump(dispatch);
        Ok(())
    }

    /// Fills the dispatch blocks of finally handlers, once all continuations are known.
    pub fn finish_clauses(&mut self) {
        for i in 0..self.eh.clauses.len() {
            let state = &self.eh.clauses[i];
            let Some(dispatch) = state.dispatch else { continue };
            let continuations = state.continuations.clone();
            let clause = self.b.func.clauses[state.id].clone();
            let (Some(record), Some(selector)) = (clause.record_local, clause.selector_local) else {
                continue;
            };
            self.b.set_il(clause.handler_range.1.saturating_sub(1));
            let protect = self.b.func.blocks[dispatch].protect;
            self.b.set_protect(protect);
            self.b.switch_to(dispatch);
            let resume = if continuations.is_empty() {
                dispatch
            } else {
                let resume = self.b.create_block();
                let value = self.b.get(selector);
                if let [only] = continuations[..] {
                    self.b.branch(value, only, resume);
                } else {
                    let targets = std::iter::once(resume).chain(continuations).collect();
                    self.b.terminate(Term::Switch {
                        index: value,
                        targets,
                        default: resume,
                    });
                }
                resume
            };
            self.b.switch_to(resume);
            let exception = self.b.get(clause.exception_local);
            let record = self.b.get(record);
            self.b.raise(Helper::Resume, vec![exception, record]);
        }
    }

    /// `throw`.
    pub fn throw(&mut self) -> Step<()> {
        let value = self.pop_as(Ty::Ref)?;
        self.b.raise(Helper::Throw, vec![value]);
        Ok(())
    }

    /// `rethrow`: of the exception of the innermost catch handler.
    pub fn rethrow(&mut self) -> Step<()> {
        if self.region != Region::Body {
            return invalid("rethrow in a filter");
        }
        let Some(clause) = self.innermost_handler(|k| matches!(k, EhKind::Catch(_) | EhKind::Filter { .. })) else {
            return invalid("rethrow outside of a catch handler");
        };
        let id = self.eh.clauses[clause].id;
        let local = self.b.func.clauses[id].exception_local;
        let value = self.b.get(local);
        self.b.raise(Helper::Rethrow, vec![value]);
        Ok(())
    }

    /// Ends the block by the exception that the host described.
    pub fn throw_deferred(&mut self, cookie: u64) {
        let cookie = self.b.iconst64(cookie as i64);
        self.b.raise(Helper::ThrowDeferred, vec![cookie]);
    }

    /// The entry of a value read from a local that may be the non-null `this`.
    pub fn local_entry(&mut self, local: Local) -> Entry {
        let value = self.b.get(local);
        let ty = self.b.ty(value);
        let mut entry = Entry::new(value, ty);
        entry.origin = Some(local);
        if ty == Ty::Ref {
            entry.class = Some(self.b.func.locals[local].type_id);
        }
        if local.as_u32() == 0
            && self.info.sig.has_this
            && self.owner.is_value_type
            && !self.layout.this_changes
            && self.options.trust_this
            && self.body.clauses.is_empty()
        {
            entry.non_null = true;
        }
        entry
    }
}
