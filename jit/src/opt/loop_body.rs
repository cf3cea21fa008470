//! One iteration of a simple loop as a graph of operations.
//!
//! A loop is simple if every iteration goes the same way until it leaves, and its branches inside only choose between
//! values (both sides are evaluated and the results selected). The instructions are run on symbols: locals that the
//! loop changes begin as [`Node::Start`], all others keep their value, and what each local holds at the end of the iteration
//! tells how it changes.

use super::loops::{Graph, Loop};
use crate::ir::*;
use cranelift_entity::{EntityRef, PrimaryMap};

/// An operation of the iteration; its operands name nodes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// What a local that the loop changes holds when the iteration starts.
    Start(Local),
    /// Operands are nodes.
    Op(Op),
}

/// Something that happens in the iteration, in order.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// A load, by its node; executed under a condition?
    Load(Value, bool),
    Store {
        ty: MemTy,
        addr: Value,
        offset: i32,
        value: Value,
    },
    BoundsCheck {
        index: Value,
        length: Value,
    },
    NullCheck(Value),
}

/// A branch out of the loop.
#[derive(Clone, Debug)]
pub(super) struct Exit {
    pub condition: Value,
    /// Leaves if the condition holds, else if it does not.
    pub exit_if: bool,
    pub target: Block,
    place: Position,
    /// Locals that the loop changes and that this iteration has not set before it leaves here.
    pub unset: Vec<Local>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Position {
    /// The first branch, in the first block.
    First,
    Middle,
    /// Else the next iteration begins.
    Last,
}

/// See the module.
pub(super) struct Body {
    pub nodes: PrimaryMap<Value, (Node, Ty)>,
    /// By node: the same in every iteration.
    invariant: Vec<bool>,
    pub effects: Vec<Effect>,
    /// Condition of going on, or of leaving if `exit_if` is set.
    pub condition: Value,
    pub exit_if: bool,
    pub exit: Block,
    /// The test comes last: the first iteration takes place anyway.
    pub test_last: bool,
    /// Locals that the loop changes, with their values at the end of the iteration.
    pub changed: Vec<(Local, Value)>,
    pub polls: bool,
    /// The other ways out, in order.
    pub exits: Vec<Exit>,
}

/// More instructions are not worth the time.
const MAX_NODES: usize = 200;

/// What the locals hold.
type State = Vec<(Local, Value)>;

struct Reader<'a> {
    func: &'a Func,
    graph: &'a Graph,
    l: &'a Loop,
    /// By local: all its uses are visible.
    private: &'a [bool],
    narrow: &'a [Option<ConvOp>],
    assigned: Vec<Local>,
    body: Body,
    /// By value of the function.
    names: rustc_hash::FxHashMap<Value, Value>,
}

impl Body {
    /// Reads a loop; `None` if it is not simple.
    pub fn read(func: &Func, graph: &Graph, l: &Loop, private: &[bool], narrow: &[Option<ConvOp>]) -> Option<Body> {
        let mut assigned = Vec::new();
        for inst in l.blocks.iter().flat_map(|&b| &func.blocks[b].insts) {
            if let Op::LocalSet(local, _) = inst.op {
                if !private[local.index()] || matches!(func.locals[local].ty, Ty::Struct(_)) {
                    return None;
                }
                if !assigned.contains(&local) {
                    assigned.push(local);
                }
            }
        }
        let mut reader = Reader {
            func,
            graph,
            l,
            private,
            narrow,
            assigned,
            names: rustc_hash::FxHashMap::default(),
            body: Body {
                nodes: PrimaryMap::new(),
                invariant: Vec::new(),
                effects: Vec::new(),
                condition: Value::new(0),
                exit_if: false,
                exit: l.header,
                test_last: false,
                changed: Vec::new(),
                polls: false,
                exits: Vec::new(),
            },
        };
        let mut state = State::new();
        reader.path(&mut state)?;
        for local in reader.assigned.clone() {
            let end = reader.get(&state, local);
            reader.body.changed.push((local, end));
        }
        Some(reader.body)
    }

    /// Makes one of the branches out of the loop the test: the last one, or the first one if `first`. Whether there is one.
    pub fn choose_test(&mut self, first: bool) -> bool {
        let wanted = if first { Position::First } else { Position::Last };
        let Some(i) = self.exits.iter().position(|e| e.place == wanted) else {
            return false;
        };
        let exit = self.exits.remove(i);
        self.condition = exit.condition;
        (self.exit, self.exit_if) = (exit.target, exit.exit_if);
        self.test_last = !first;
        true
    }

    pub fn op(&self, node: Value) -> Option<&Op> {
        match &self.nodes[node].0 {
            Node::Op(op) => Some(op),
            Node::Start(_) => None,
        }
    }

    pub fn ty(&self, node: Value) -> Ty {
        self.nodes[node].1
    }

    pub fn is_invariant(&self, node: Value) -> bool {
        self.invariant[node.index()]
    }

    pub fn is_start(&self, node: Value, local: Local) -> bool {
        self.nodes[node].0 == Node::Start(local)
    }

    pub fn int(&self, node: Value) -> Option<i64> {
        match self.op(node)? {
            Op::IConst(n) if self.ty(node) == Ty::I32 => Some(i64::from(*n as i32)),
            Op::IConst(n) => Some(*n),
            _ => None,
        }
    }

    /// Does the conversion change nothing, because that is how the value was loaded?
    fn has_range_of(&self, node: Value, conv: ConvOp) -> bool {
        let loaded = match self.op(node) {
            Some(Op::Load { ty, .. }) => ty,
            _ => return false,
        };
        matches!(
            (loaded, conv),
            (MemTy::I8, ConvOp::Sext8)
                | (MemTy::U8, ConvOp::Zext8)
                | (MemTy::I16, ConvOp::Sext16)
                | (MemTy::U16, ConvOp::Zext16)
        )
    }

    /// Adds a node, or finds it.
    pub fn add(&mut self, node: Node, ty: Ty) -> Value {
        if !matches!(node, Node::Op(Op::Load { .. }))
            && let Some((v, _)) = self.nodes.iter().find(|(_, n)| n.1 == ty && n.0 == node)
        {
            return v;
        }
        let invariant = match &node {
            Node::Start(_) => false,
            Node::Op(Op::Load { .. }) => false,
            Node::Op(op) => {
                let mut all = true;
                for_each_use(op, |v| all = all && self.invariant[v.index()]);
                all
            }
        };
        self.invariant.push(invariant);
        self.nodes.push((node, ty))
    }
}

impl Reader<'_> {
    fn get(&mut self, state: &State, local: Local) -> Value {
        if let Some(&(_, v)) = state.iter().find(|s| s.0 == local) {
            return v;
        }
        let ty = self.func.locals[local].ty;
        self.body.add(Node::Start(local), ty)
    }

    fn set(state: &mut State, local: Local, value: Value) {
        match state.iter_mut().find(|s| s.0 == local) {
            Some(slot) => slot.1 = value,
            None => state.push((local, value)),
        }
    }

    /// Follows control through one iteration.
    fn path(&mut self, state: &mut State) -> Option<()> {
        let header = self.l.header;
        let mut block = header;
        loop {
            self.block(block, state, false)?;
            let next = match self.func.blocks[block].term {
                Term::Jump(to) => to,
                Term::Branch { cond, then, other } => {
                    let cond = *self.names.get(&cond)?;
                    let inside = |b: Block| self.l.blocks.contains(&b);
                    let (stay, exit, exit_if) = match (inside(then), inside(other)) {
                        (true, true) if then != header && other != header => {
                            block = self.choose(cond, then, other, state)?;
                            continue;
                        }
                        (true, false) => (then, other, false),
                        (false, true) => (other, then, true),
                        _ => return None,
                    };
                    let place = match block {
                        _ if stay == header => Position::Last,
                        _ if block == header => Position::First,
                        _ => Position::Middle,
                    };
                    let set = |local: Local| {
                        let value = state.iter().find(|s| s.0 == local);
                        value.is_some_and(|&(_, v)| !self.body.is_start(v, local))
                    };
                    let unset = self.assigned.iter().copied().filter(|&l| !set(l)).collect();
                    self.body.exits.push(Exit {
                        condition: cond,
                        exit_if,
                        target: exit,
                        place,
                        unset,
                    });
                    stay
                }
                _ => return None,
            };
            if next == header {
                return (!self.body.exits.is_empty()).then_some(());
            }
            if !self.l.blocks.contains(&next) {
                return None;
            }
            block = next;
        }
    }

    /// The block where the two sides of a branch meet, after both.
    fn choose(&mut self, cond: Value, then: Block, other: Block, state: &mut State) -> Option<Block> {
        let side = |b: Block| match self.func.blocks[b].term {
            Term::Jump(to) if self.graph.preds[b.index()].len() == 1 && b != self.l.header => Some(to),
            _ => None,
        };
        let (first, second, meet) = match (side(then), side(other)) {
            (Some(a), Some(b)) if a == b => (Some(then), Some(other), a),
            (Some(a), _) if a == other => (Some(then), None, other),
            (_, Some(b)) if b == then => (None, Some(other), then),
            _ => return None,
        };
        let (mut yes, mut no) = (state.clone(), state.clone());
        for (block, state) in [(first, &mut yes), (second, &mut no)] {
            if let Some(block) = block {
                if !self.l.blocks.contains(&block) {
                    return None;
                }
                self.block(block, state, true)?;
            }
        }
        for local in self.assigned.clone() {
            let (a, b) = (self.get(&yes, local), self.get(&no, local));
            let value = if a == b {
                a
            } else {
                let ty = self.func.locals[local].ty;
                let select = Op::Select {
                    cond,
                    if_true: a,
                    if_false: b,
                };
                self.body.add(Node::Op(select), ty)
            };
            Reader::set(state, local, value);
        }
        Some(meet)
    }

    fn block(&mut self, block: Block, state: &mut State, conditional: bool) -> Option<()> {
        let data = &self.func.blocks[block];
        for inst in &data.insts {
            if self.body.nodes.len() > MAX_NODES {
                return None;
            }
            self.inst(inst, state, conditional)?;
        }
        Some(())
    }

    fn inst(&mut self, inst: &Inst, state: &mut State, conditional: bool) -> Option<()> {
        let mut op = inst.op.clone();
        let mut known = true;
        map_uses(&mut op, |v| match self.names.get(v) {
            Some(&node) => *v = node,
            None => known = false,
        });
        if !known {
            return None;
        }
        let node = match op {
            Op::LocalSet(local, v) => {
                let v = match self.narrow[local.index()] {
                    Some(conv) if self.body.has_range_of(v, conv) => v,
                    Some(conv) => self.body.add(Node::Op(Op::Conv(conv, v)), Ty::I32),
                    None => v,
                };
                Reader::set(state, local, v);
                return Some(());
            }
            Op::LocalGet(local) if self.assigned.contains(&local) => self.get(state, local),
            Op::LocalGet(local) => {
                let ty = self.func.locals[local].ty;
                if !self.private[local.index()] || matches!(ty, Ty::Struct(_)) {
                    return None;
                }
                self.body.add(Node::Op(op), ty)
            }
            Op::SafepointPoll => {
                self.body.polls = true;
                return Some(());
            }
            Op::NullCheck(v) => {
                self.body.effects.push(Effect::NullCheck(v));
                return Some(());
            }
            Op::BoundsCheck { index, length } => {
                self.body.effects.push(Effect::BoundsCheck { index, length });
                return Some(());
            }
            Op::Load { flags, ref ty, .. } => {
                if flags.volatile || matches!(ty, MemTy::Ref | MemTy::ByRef | MemTy::Struct(_)) {
                    return None;
                }
                let node = self.load(op, self.func.values[inst.result?], conditional);
                self.names.insert(inst.result?, node);
                return Some(());
            }
            Op::Store {
                ty,
                addr,
                offset,
                value,
                flags,
                ..
            } => {
                if flags.volatile || conditional || matches!(ty, MemTy::Ref | MemTy::ByRef | MemTy::Struct(_)) {
                    return None;
                }
                self.body.effects.push(Effect::Store {
                    ty,
                    addr,
                    offset,
                    value,
                });
                return Some(());
            }
            Op::IConst(_)
            | Op::FConst(_)
            | Op::Null
            | Op::Address(_)
            | Op::Bin(..)
            | Op::Un(..)
            | Op::Conv(..)
            | Op::Cmp(..)
            | Op::Select { .. }
            | Op::ArrayLen(_)
            | Op::ElemAddr { .. }
            | Op::PtrAdd(..)
            | Op::Intrinsic { .. } => self.body.add(Node::Op(op), self.func.values[inst.result?]),
            _ => return None,
        };
        self.names.insert(inst.result?, node);
        Some(())
    }

    /// The same load as before, unless memory was written since.
    fn load(&mut self, op: Op, ty: Ty, conditional: bool) -> Value {
        for effect in self.body.effects.iter().rev() {
            match *effect {
                Effect::Store { .. } => break,
                Effect::Load(v, under) if self.body.op(v) == Some(&op) && (!under || conditional) => return v,
                _ => {}
            }
        }
        let node = self.body.add(Node::Op(op), ty);
        self.body.effects.push(Effect::Load(node, conditional));
        node
    }
}
