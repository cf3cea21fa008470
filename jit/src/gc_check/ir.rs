//! What lowering saved, against liveness of the IR.

use super::{Action, Holder, Record};
use crate::host_api::CompilerHost;
use crate::ir::{Block, BlockData, Func, Local, Op, Ty, Value, for_each_use, successors, term_use};
use crate::layout::{AreaSlot, GcKind, gc_pieces};
use crate::lower::is_safepoint;
use cranelift_entity::EntityRef;
use rustc_hash::{FxHashMap, FxHashSet};

/// By index of a promoted reference: is it live?
type Live = Vec<bool>;
/// Slots that hold the current value of promoted locals.
type Homes = FxHashSet<(u32, Local)>;

struct Checker<'a> {
    func: &'a Func,
    slots: FxHashMap<u32, GcKind>,
    /// Actions by block.
    actions: Vec<Vec<(u32, Action)>>,
    /// Promoted references and managed pointers, and the indices of them by local.
    promoted: Vec<Local>,
    index: FxHashMap<Local, usize>,
    /// Promoted references that are live at the start of each block.
    live_in: Vec<Live>,
    /// At the start of each block; `None`: not reached yet.
    homes_in: Vec<Option<Homes>>,
}

/// Checks a lowered function; what it finds first is the error.
pub(crate) fn check(func: &Func, host: &dyn CompilerHost, slots: &[AreaSlot], record: &Record) -> Result<(), String> {
    memory(func, host, slots, record)?;
    let n = func.blocks.len();
    let mut actions = vec![Vec::new(); n];
    let mut entry = Vec::new();
    for &(block, index, action) in &record.actions {
        match block {
            Some(block) => actions[block.index()].push((index, action)),
            None => entry.push(action),
        }
    }
    let is_promoted =
        |&l: &Local| record.places[l.index()].is_none() && matches!(func.locals[l].ty, Ty::Ref | Ty::ByRef);
    let promoted: Vec<Local> = func.locals.keys().filter(is_promoted).collect();
    let mut checker = Checker {
        func,
        slots: slots.iter().map(|s| (s.offset, s.kind)).collect(),
        actions,
        index: promoted.iter().enumerate().map(|(i, &l)| (l, i)).collect(),
        promoted,
        live_in: Vec::new(),
        homes_in: vec![None; n],
    };
    checker.liveness();
    checker.homes_in[func.entry.index()] = Some(checker.homes_at_entry(&entry));
    checker.flow()?;
    for (block, data) in &func.blocks {
        if let Some(homes) = checker.homes_in[block.index()].clone() {
            checker.block(block, data, homes, true)?;
        }
    }
    Ok(())
}

/// Locals in memory: GC info names their references, and everything it names is valid from the start.
fn memory(func: &Func, host: &dyn CompilerHost, slots: &[AreaSlot], record: &Record) -> Result<(), String> {
    let mut received: FxHashSet<u32> = record.ret_buffer.into_iter().collect();
    for (l, place) in record.places.iter().enumerate() {
        let Some(place) = place.filter(|p| !p.in_parent) else {
            continue;
        };
        let local = Local::new(l);
        let mut pieces = Vec::new();
        match func.locals[local].ty {
            Ty::Ref => pieces.push((0, GcKind::Ref)),
            Ty::ByRef => pieces.push((0, GcKind::ByRef)),
            Ty::Struct(id) => pieces.extend(gc_pieces(&*host.type_info(id).map_err(|e| e.to_string())?)),
            _ => {}
        }
        for (offset, kind) in pieces {
            let offset = place.offset + offset;
            if !slots.iter().any(|s| s.offset == offset && s.kind == kind) {
                return Err(format!(
                    "{local} holds a {kind:?} at {offset}, which GC info does not name"
                ));
            }
            if l < func.arg_count {
                received.insert(offset);
            }
        }
    }
    for slot in slots {
        let cleared = |&(o, n): &(u32, u32)| o <= slot.offset && slot.offset + 8 <= o + n;
        if !received.contains(&slot.offset) && !record.cleared.iter().any(cleared) {
            return Err(format!("the slot at {} is not cleared at entry", slot.offset));
        }
    }
    Ok(())
}

impl Checker<'_> {
    /// Handlers of a block.
    fn handlers<'s>(&'s self, data: &BlockData) -> impl Iterator<Item = Block> + 's {
        let clauses = self.func.protects.get(data.protect).map_or(&[][..], |c| c);
        clauses
            .iter()
            .filter_map(|&c| self.func.clauses.get(c))
            .map(|c| c.handler)
    }

    /// Live at the end of a block whose handlers need `handlers`.
    fn live_out(&self, data: &BlockData, handlers: &Live) -> Live {
        let mut live = handlers.clone();
        successors(&data.term, |s| self.add_live_in(&mut live, s));
        live
    }

    fn add_live_in(&self, live: &mut Live, block: Block) {
        for (l, s) in live.iter_mut().zip(&self.live_in[block.index()]) {
            *l |= s;
        }
    }

    /// Steps backwards over an instruction.
    fn step_back(&self, live: &mut Live, op: &Op, handlers: &Live) {
        match *op {
            Op::LocalGet(l) => {
                if let Some(&i) = self.index.get(&l) {
                    live[i] = true;
                }
            }
            Op::LocalSet(l, _) => {
                if let Some(&i) = self.index.get(&l) {
                    live[i] = handlers[i];
                }
            }
            _ => {}
        }
    }

    /// What the handlers of a block need.
    fn handlers_need(&self, data: &BlockData) -> Live {
        let mut live = vec![false; self.promoted.len()];
        self.handlers(data)
            .for_each(|handler| self.add_live_in(&mut live, handler));
        live
    }

    fn liveness(&mut self) {
        self.live_in = vec![vec![false; self.promoted.len()]; self.func.blocks.len()];
        let mut changed = true;
        while changed {
            changed = false;
            for (block, data) in self.func.blocks.iter().rev() {
                let handlers = self.handlers_need(data);
                let mut live = self.live_out(data, &handlers);
                for inst in data.insts.iter().rev() {
                    self.step_back(&mut live, &inst.op, &handlers);
                }
                if live != self.live_in[block.index()] {
                    self.live_in[block.index()] = live;
                    changed = true;
                }
            }
        }
    }

    /// Homes are zero at entry, and so are all locals but arguments.
    fn homes_at_entry(&self, entry: &[Action]) -> Homes {
        let mut homes = Homes::default();
        for (_, action) in self.actions.iter().flatten() {
            if let Action::Saved(slot, Holder::Local(local)) | Action::Loaded(slot, Holder::Local(local)) = *action
                && local.index() >= self.func.arg_count
            {
                homes.insert((slot, local));
            }
        }
        for action in entry {
            if let Action::Saved(slot, Holder::Local(local)) = *action {
                homes.retain(|h| h.0 != slot);
                homes.insert((slot, local));
            }
        }
        homes
    }

    /// Finds what homes hold at the start of each block, whatever path led there.
    fn flow(&mut self) -> Result<(), String> {
        let mut work = vec![self.func.entry];
        while let Some(block) = work.pop() {
            let data = &self.func.blocks[block];
            let Some(homes) = self.homes_in[block.index()].clone() else {
                continue;
            };
            let out = self.block(block, data, homes, false)?;
            let mut next = Vec::new();
            successors(&data.term, |s| next.push((s, out.clone())));
            // Nothing promoted is live where an exception arrives.
            next.extend(self.handlers(data).map(|h| (h, Homes::default())));
            for (to, out) in next {
                let old = &mut self.homes_in[to.index()];
                let new: Homes = match old {
                    Some(old) => old.intersection(&out).copied().collect(),
                    None => out,
                };
                if old.as_ref() != Some(&new) {
                    *old = Some(new);
                    work.push(to);
                }
            }
        }
        Ok(())
    }

    /// Goes through a block; with `report`, broken rules are errors.
    fn block(&self, block: Block, data: &BlockData, mut homes: Homes, report: bool) -> Result<Homes, String> {
        let n = data.insts.len();
        let mut last_use: FxHashMap<Value, usize> = FxHashMap::default();
        for (i, inst) in data.insts.iter().enumerate() {
            for_each_use(&inst.op, |v| _ = last_use.insert(v, i));
        }
        if let Some(v) = term_use(&data.term) {
            last_use.insert(v, n);
        }
        let live_after = if report {
            self.live_after(data)
        } else {
            FxHashMap::default()
        };
        let mut values: FxHashMap<u32, Value> = FxHashMap::default();
        let mut defined: Vec<Value> = Vec::new();
        let mut fixed: FxHashSet<Value> = FxHashSet::default();
        let mut actions = self.actions[block.index()].iter().peekable();
        for i in 0..=n {
            let op = data.insts.get(i).map(|inst| &inst.op);
            if let Some(&Op::LocalSet(l, _)) = op {
                homes.retain(|h| h.1 != l);
            }
            let before = (op == Some(&Op::SafepointPoll)).then(|| homes.clone());
            let place = || format!("{block}, instruction {i}");
            while let Some((_, action)) = actions.next_if(|a| a.0 as usize <= i) {
                match *action {
                    Action::Saved(slot, holder) => {
                        homes.retain(|h| h.0 != slot);
                        values.remove(&slot);
                        match holder {
                            Holder::Local(l) => _ = homes.insert((slot, l)),
                            Holder::Value(v) => _ = values.insert(slot, v),
                        }
                    }
                    Action::Loaded(slot, holder) if report => {
                        let there = match holder {
                            Holder::Local(l) => homes.contains(&(slot, l)),
                            Holder::Value(v) => values.get(&slot) == Some(&v),
                        };
                        if !there {
                            return Err(format!("{}: {holder:?} is not in the slot at {slot}", place()));
                        }
                    }
                    Action::Loaded(..) => {}
                    Action::Fixed(v) => _ = fixed.insert(v),
                }
            }
            if report && op.is_some_and(is_safepoint) {
                if let Some(live) = live_after.get(&i) {
                    self.locals_known(&homes, live)
                        .map_err(|e| format!("{}: {e}", place()))?;
                }
                defined.retain(|v| last_use.get(v).is_some_and(|&u| u > i) && !fixed.contains(v));
                for &v in &defined {
                    if !values
                        .iter()
                        .any(|(s, &x)| x == v && self.fits(*s, self.func.values[v]))
                    {
                        return Err(format!("{}: {v} is needed later and in no slot", place()));
                    }
                }
            }
            // The poll saves in its cold path only.
            if let Some(before) = before {
                homes.retain(|h| before.contains(h));
            }
            if let Some(v) = data.insts.get(i).and_then(|inst| inst.result)
                && matches!(self.func.values[v], Ty::Ref | Ty::ByRef)
            {
                defined.push(v);
            }
        }
        Ok(homes)
    }

    /// Live promoted references behind each safepoint, by index of the instruction.
    fn live_after(&self, data: &BlockData) -> FxHashMap<usize, Live> {
        let handlers = self.handlers_need(data);
        let mut live = self.live_out(data, &handlers);
        let mut after = FxHashMap::default();
        for (i, inst) in data.insts.iter().enumerate().rev() {
            if is_safepoint(&inst.op) {
                after.insert(i, live.clone());
            }
            self.step_back(&mut live, &inst.op, &handlers);
        }
        after
    }

    fn locals_known(&self, homes: &Homes, live: &Live) -> Result<(), String> {
        for &local in live
            .iter()
            .zip(&self.promoted)
            .filter_map(|(&live, l)| live.then_some(l))
        {
            let ty = self.func.locals[local].ty;
            if !homes.iter().any(|h| h.1 == local && self.fits(h.0, ty)) {
                return Err(format!("{local} is needed later and in no slot"));
            }
        }
        Ok(())
    }

    /// Does GC info name the slot for such a value?
    fn fits(&self, slot: u32, ty: Ty) -> bool {
        match self.slots.get(&slot) {
            Some(GcKind::ByRef) => true,
            Some(GcKind::Ref) => ty == Ty::Ref,
            None => false,
        }
    }
}
