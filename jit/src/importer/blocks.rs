//! IL blocks: leaders, the map to IR blocks, and evaluation stacks across joins.

use super::stack::Entry;
use super::{Importer, Region, Step, Stop, invalid};
use crate::ir::*;
use corten_metadata::EhKind;
use corten_metadata::MethodBody;
use corten_metadata::il::{Decoder, FlowControl, Instruction, Opcode, Operand};
use rustc_hash::{FxHashMap, FxHashSet};

/// Decoded instructions and block starts of a body.
#[derive(Debug)]
pub(crate) struct Layout {
    pub instructions: Vec<Instruction>,
    /// By IL offset, one more than the body has bytes.
    offsets: Vec<AtOffset>,
    /// `starg`/`ldarga` of argument 0 occurs.
    pub this_changes: bool,
    exposed_args: FxHashSet<u32>,
    exposed_locals: FxHashSet<u32>,
}

/// What is at an IL offset.
#[derive(Clone, Copy, Debug)]
struct AtOffset {
    /// Number of the instruction that begins there, or [`NOTHING`].
    instruction: u32,
    /// A block begins there.
    leader: bool,
    /// A backward branch goes there.
    loop_head: bool,
}

const NOTHING: AtOffset = AtOffset {
    instruction: u32::MAX,
    leader: false,
    loop_head: false,
};

impl Layout {
    /// Decodes the whole body. Errors carry the IL offset.
    pub fn new(body: &MethodBody<'_>) -> Result<Layout, (u32, String)> {
        let mut instructions = Vec::with_capacity(body.code.len() / 2);
        let mut offsets = vec![NOTHING; body.code.len() + 1];
        let mut at = 0;
        for item in Decoder::new(body.code) {
            let ins = item.map_err(|e| (at, e.to_string()))?;
            if let Some(o) = offsets.get_mut(ins.offset as usize) {
                o.instruction = instructions.len() as u32;
            }
            at = ins.offset + ins.len;
            instructions.push(ins);
        }
        // Also where nothing gets there.
        if let Some(last) = instructions.last()
            && last.opcode != Opcode::Jmp
            && !matches!(
                last.opcode.flow(),
                FlowControl::Branch | FlowControl::Return | FlowControl::Throw
            )
        {
            return Err((last.offset, "control falls off the end of the method".to_string()));
        }
        let mut layout = Layout {
            instructions,
            offsets,
            this_changes: false,
            exposed_args: FxHashSet::default(),
            exposed_locals: FxHashSet::default(),
        };
        layout.find_leaders(body)?;
        Ok(layout)
    }

    /// Notes the target of a branch at `from`. The end of the body counts as an instruction here: flow into it is found later.
    fn branch_to(&mut self, from: u32, target: u32) -> Result<(), (u32, String)> {
        let end = self.offsets.len() as u32 - 1;
        match self.offsets.get_mut(target as usize) {
            Some(o) if target == end || o.instruction != NOTHING.instruction => {
                o.leader = target != end;
                o.loop_head |= target <= from;
                Ok(())
            }
            _ => Err((
                target,
                "branch into the middle of an instruction or out of the body".to_string(),
            )),
        }
    }

    /// The address of the variable is taken somewhere (index in arguments, then locals).
    pub fn is_exposed(&self, local: Local, il_args: usize) -> bool {
        let n = local.as_u32();
        match n.checked_sub(il_args as u32) {
            Some(n) => self.exposed_locals.contains(&n),
            None => self.exposed_args.contains(&n),
        }
    }

    fn find_leaders(&mut self, body: &MethodBody<'_>) -> Result<(), (u32, String)> {
        let instructions = std::mem::take(&mut self.instructions);
        for ins in &instructions {
            match &ins.operand {
                Operand::Branch(target) => self.branch_to(ins.offset, *target)?,
                Operand::Switch(targets) => {
                    for target in targets.iter() {
                        self.branch_to(ins.offset, *target)?;
                    }
                }
                _ => {}
            }
            match ins.opcode.flow() {
                FlowControl::Next | FlowControl::Call | FlowControl::Prefix | FlowControl::Break => {}
                _ => {
                    let next = ins.offset + ins.len;
                    self.branch_to(ins.offset, next)?;
                }
            }
            let variable = match ins.operand {
                Operand::U8(n) => u32::from(n),
                Operand::U16(n) => u32::from(n),
                _ => continue,
            };
            match ins.opcode {
                Opcode::Ldarga | Opcode::LdargaS => {
                    self.exposed_args.insert(variable);
                    self.this_changes |= variable == 0;
                }
                Opcode::Starg | Opcode::StargS => self.this_changes |= variable == 0,
                Opcode::Ldloca | Opcode::LdlocaS => {
                    self.exposed_locals.insert(variable);
                }
                _ => {}
            }
        }
        self.instructions = instructions;
        let end = body.code.len() as u32;
        for clause in &body.clauses {
            let ranges = [
                (clause.try_offset, clause.try_length),
                (clause.handler_offset, clause.handler_length),
            ];
            for (start, len) in ranges {
                let stop = start
                    .checked_add(len)
                    .filter(|s| *s <= end && (*s == end || self.is_instruction(*s)));
                let Some(stop) = stop.filter(|_| len > 0 && self.is_instruction(start)) else {
                    return Err((start, "protected region does not cover whole instructions".to_string()));
                };
                self.offsets[start as usize].leader = true;
                if stop < end {
                    self.offsets[stop as usize].leader = true;
                }
            }
            if let EhKind::Filter { filter_offset } = clause.kind {
                if !self.is_instruction(filter_offset) || filter_offset >= clause.handler_offset {
                    return Err((filter_offset, "misplaced filter".to_string()));
                }
                self.check_filter(body, filter_offset, clause.handler_offset)?;
                self.offsets[filter_offset as usize].leader = true;
            }
        }
        Ok(())
    }

    /// A filter ends with its only `endfilter` (ECMA-335 III.3.34), and nothing is protected inside of it (CoreCLR's rule).
    fn check_filter(&self, body: &MethodBody, start: u32, end: u32) -> Result<(), (u32, String)> {
        let inside = |offset: u32| (start..end).contains(&offset);
        if let Some(c) = body.clauses.iter().find(|c| inside(c.try_offset)) {
            return Err((c.try_offset, "protected region inside of a filter".to_string()));
        }
        let first = self
            .instructions
            .iter()
            .find(|i| inside(i.offset) && i.opcode == Opcode::Endfilter);
        match first {
            Some(i) if i.offset + i.len == end => Ok(()),
            Some(i) => Err((i.offset, "endfilter is not the end of its filter".to_string())),
            None => Err((start, "filter without endfilter".to_string())),
        }
    }

    fn at(&self, offset: u32) -> AtOffset {
        self.offsets.get(offset as usize).copied().unwrap_or(NOTHING)
    }

    fn is_instruction(&self, offset: u32) -> bool {
        self.index_of(offset).is_some()
    }

    /// Does a backward branch go there?
    pub fn is_loop_head(&self, offset: u32) -> bool {
        self.at(offset).loop_head
    }

    /// Index of the instruction at an offset.
    pub fn index_of(&self, offset: u32) -> Option<usize> {
        let o = self.at(offset);
        (o.instruction != NOTHING.instruction).then_some(o.instruction as usize)
    }

    pub fn is_leader(&self, offset: u32) -> bool {
        self.at(offset).leader
    }

    /// The instruction, if control only gets there from the one before it.
    pub fn inner(&self, index: usize) -> Option<&Instruction> {
        self.instructions.get(index).filter(|i| !self.is_leader(i.offset))
    }
}

/// One stack slot at the entry of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub local: Local,
    pub ty: Ty,
}

/// An IL block that is reachable.
#[derive(Debug)]
pub(crate) struct IlBlock {
    pub block: Block,
    pub entry: Vec<Slot>,
}

/// Reachable IL blocks by offset.
#[derive(Debug, Default)]
pub(crate) struct BlockMap {
    map: FxHashMap<u32, IlBlock>,
    /// Offsets still to import.
    pub queue: Vec<u32>,
}

impl BlockMap {
    /// The IR blocks that IL blocks begin with, by IL offset.
    pub fn starts(&self) -> Vec<(u32, Block)> {
        let mut starts: Vec<(u32, Block)> = self.map.iter().map(|(&il, at)| (il, at.block)).collect();
        starts.sort_unstable();
        starts
    }
}

impl Importer<'_, '_> {
    /// Registers the block at an offset with the given entry slots (handlers).
    pub fn enter_at(&mut self, offset: u32, block: Block, entry: Vec<Slot>) -> Step<()> {
        if self.blocks.map.contains_key(&offset) {
            return invalid("a handler is entered by other means");
        }
        self.blocks.map.insert(offset, IlBlock { block, entry });
        self.blocks.queue.push(offset);
        Ok(())
    }

    /// Widest type of two at a join; `None` if they do not mix.
    fn join(&mut self, a: Ty, b: Ty) -> Step<Option<Ty>> {
        Ok(match (a, b) {
            (a, b) if a == b => Some(a),
            (Ty::I32, Ty::I64) | (Ty::I64, Ty::I32) => Some(Ty::I64),
            (Ty::F32, Ty::F64) | (Ty::F64, Ty::F32) => Some(Ty::F64),
            (Ty::Ref | Ty::ByRef | Ty::I64 | Ty::I32, Ty::Ref | Ty::ByRef | Ty::I64 | Ty::I32) => Some(Ty::ByRef),
            (Ty::Struct(x), Ty::Struct(y)) => (self.type_info(x)?.size == self.type_info(y)?.size).then_some(a),
            _ => None,
        })
    }

    /// Checks the current stack against a known entry; asks for a restart if a slot is too narrow.
    fn agree(&mut self, offset: u32) -> Step<()> {
        let slots: Vec<Ty> = self.blocks.map[&offset].entry.iter().map(|s| s.ty).collect();
        if slots.len() != self.stack.len() {
            return invalid(format!(
                "stack depth {} at a join with depth {} (IL_{offset:04x})",
                self.stack.len(),
                slots.len()
            ));
        }
        let mut restart = false;
        for (i, slot) in slots.into_iter().enumerate() {
            let ty = self.stack[i].ty;
            match self.join(slot, ty)? {
                Some(joined) if joined == slot => {}
                Some(joined) => {
                    self.widened.insert((offset, i), joined);
                    restart = true;
                }
                None => return invalid(format!("{ty} meets {slot} at a join (IL_{offset:04x})")),
            }
        }
        if restart { Err(Stop::Restart) } else { Ok(()) }
    }

    /// Gives every stack entry a temporary of its own, typed for a new block at `offset`.
    fn make_homes(&mut self, offset: u32) -> Step<Vec<Slot>> {
        let mut slots: Vec<Slot> = Vec::with_capacity(self.stack.len());
        for i in 0..self.stack.len() {
            let mut entry = self.stack[i];
            let ty = self.widened.get(&(offset, i)).copied().unwrap_or(entry.ty);
            if let Some(home) = entry.home
                && entry.ty == ty
                && slots.iter().all(|s| s.local != home)
            {
                slots.push(Slot { local: home, ty });
                continue;
            }
            let local = self.temp(ty);
            let value = self.coerce(entry, ty)?;
            self.b.set(local, value);
            if entry.ty == ty {
                entry.home = Some(local);
                entry.value = Some(value);
                self.stack[i] = entry;
            }
            slots.push(Slot { local, ty });
        }
        Ok(slots)
    }

    fn new_target(&mut self, offset: u32, entry: Vec<Slot>) -> Step<Block> {
        self.check_target(offset)?;
        let protect = self.protect_at(offset);
        self.b.set_protect(protect);
        let block = self.b.create_block();
        self.blocks.map.insert(offset, IlBlock { block, entry });
        self.blocks.queue.push(offset);
        self.reach_clauses(offset)?;
        Ok(block)
    }

    /// The IR block of the only successor of the current block; the stack is stored for it.
    pub fn edge(&mut self, offset: u32) -> Step<Block> {
        if self.blocks.map.contains_key(&offset) {
            self.agree(offset)?;
            self.store_for(offset)
        } else {
            let slots = self.make_homes(offset)?;
            self.new_target(offset, slots)
        }
    }

    /// Stores the stack in the entry temporaries of a known block.
    fn store_for(&mut self, offset: u32) -> Step<Block> {
        let known = &self.blocks.map[&offset];
        let block = known.block;
        let slots = known.entry.clone();
        for (i, slot) in slots.iter().enumerate() {
            let entry = self.stack[i];
            if entry.home != Some(slot.local) || entry.ty != slot.ty {
                let value = self.coerce(entry, slot.ty)?;
                self.b.set(slot.local, value);
            }
        }
        Ok(block)
    }

    /// Call before [`Importer::edge_of_many`], while the current block still accepts instructions: every entry gets a
    /// temporary.
    pub fn prepare_edges(&mut self) -> Step<()> {
        for i in 0..self.stack.len() {
            let mut entry = self.stack[i];
            let taken = (0..i).any(|j| self.stack[j].home.is_some() && self.stack[j].home == entry.home);
            if entry.home.is_some() && !taken {
                continue;
            }
            let local = self.temp(entry.ty);
            let value = self.value(&mut entry)?;
            self.b.set(local, value);
            entry.home = Some(local);
            self.stack[i] = entry;
        }
        Ok(())
    }

    /// The IR block for one of several successors: an extra block on the edge if temporaries must be moved.
    pub fn edge_of_many(&mut self, offset: u32) -> Step<Block> {
        let here = self.b.current();
        let direct = match self.blocks.map.get(&offset) {
            None => {
                (0..self.stack.len()).all(|i| self.widened.get(&(offset, i)).is_none_or(|ty| *ty == self.stack[i].ty))
            }
            Some(known) => {
                known.entry.len() == self.stack.len()
                    && known
                        .entry
                        .iter()
                        .zip(&self.stack)
                        .all(|(s, e)| e.home == Some(s.local) && e.ty == s.ty)
            }
        };
        if direct {
            return match self.blocks.map.get(&offset) {
                Some(known) => Ok(known.block),
                None => {
                    let slots = self.make_homes(offset)?;
                    self.new_target(offset, slots)
                }
            };
        }
        let none = ProtectId::from_u32(0);
        self.b.set_protect(none);
        let bridge = self.b.create_block();
        self.b.switch_to(bridge);
        let saved = self.stack.clone();
        for entry in &mut self.stack {
            if let Some(home) = entry.home {
                *entry = Entry::new(self.b.get(home), entry.ty);
            }
        }
        let target = self.edge(offset)?;
        self.b.jump(target);
        self.stack = saved;
        self.b.switch_to(here);
        Ok(bridge)
    }

    /// Makes a block current and its entry stack the current stack.
    pub fn open_block(&mut self, offset: u32) {
        let known = &self.blocks.map[&offset];
        let block = known.block;
        let slots = known.entry.clone();
        self.b.switch_to(block);
        self.stack.clear();
        self.non_null.clear();
        self.initialised.clear();
        for slot in slots {
            let value = self.b.get(slot.local);
            let mut entry = Entry::new(value, slot.ty);
            entry.home = Some(slot.local);
            self.stack.push(entry);
        }
        if self.options.patchpoints.is_some() && self.is_patchpoint(offset) {
            self.b.emit_void(Op::Patchpoint { il: offset });
        }
    }

    /// Can a frame be replaced at this block? The evaluation stack is empty, and no dispatch of an exception is under way.
    fn is_patchpoint(&self, offset: u32) -> bool {
        self.may_replace_at(offset) && self.blocks.map.get(&offset).is_some_and(|b| b.entry.is_empty())
    }

    fn may_replace_at(&self, offset: u32) -> bool {
        self.region == Region::Body && self.layout.is_loop_head(offset) && !super::loops::in_cleanup(self.body, offset)
    }

    /// Does a branch to a loop head, which leaves the evaluation stack as it is now, need no poll because a patchpoint polls there?
    pub fn polls_at(&self, head: u32) -> bool {
        self.options.patchpoints.is_some() && self.stack.is_empty() && self.may_replace_at(head)
    }

    /// The block of a patchpoint, if it was reached.
    pub fn loop_block(&self, offset: u32) -> Option<Block> {
        let known = self.blocks.map.get(&offset)?;
        self.is_patchpoint(offset).then_some(known.block)
    }
}
