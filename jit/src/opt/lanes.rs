//! Structs of four floats and vectors are views of the same bytes (`Vector4.AsVector128` and back): a lane that is read from the
//! memory of a struct made of a vector is extracted from the vector, and a vector that is read from the memory of a struct made of
//! four floats is put together from them. Through memory either would wait for the stores of the other form.

use super::dead;
use crate::host_api::CompilerHost;
use crate::ir::{Block, Func, Inst, Lane, MemTy, Op, Term, Ty, Value, VecOp, for_each_use, map_uses, term_use};
use rustc_hash::{FxHashMap, FxHashSet};

/// Bytes of a lane.
const LANE: i64 = 4;

/// A piece of a struct: byte offset, type, value.
type Part = (u32, MemTy, Value);

/// The pass.
pub(super) fn run(func: &mut Func, _host: &dyn CompilerHost) {
    let makes = |func: &Func, b: Block| {
        func.blocks[b]
            .insts
            .iter()
            .any(|i| matches!(i.op, Op::StructMake { .. }))
    };
    let blocks: Vec<Block> = func.blocks.keys().filter(|&b| makes(func, b)).collect();
    let mut changed = false;
    for block in blocks {
        let mut views = Views::of(func, block);
        changed |= views.rewrite(func, block);
    }
    if changed {
        dead::run(func);
    }
}

/// What is known in one block.
struct Views {
    /// Pieces of struct values.
    made: FxHashMap<Value, Vec<Part>>,
    /// Struct values that are bytes of another one: its value and where in it.
    part_of: FxHashMap<Value, (Value, i64)>,
    /// Temporaries that are only read: the struct behind an address.
    addresses: FxHashMap<Value, Value>,
    /// Operations on vectors of floats.
    vectors: FxHashMap<Value, (VecOp, Vec<Value>)>,
    /// Structs whose temporaries somebody may write to.
    written: FxHashSet<Value>,
    replaced: FxHashMap<Value, Value>,
    out: Vec<Inst>,
}

impl Views {
    fn of(func: &Func, block: Block) -> Self {
        let insts = &func.blocks[block].insts;
        let mut addresses = FxHashMap::default();
        for inst in insts {
            if let (Op::StructAddr(s), Some(a)) = (&inst.op, inst.result) {
                addresses.insert(a, *s);
            }
        }
        let mut written = FxHashSet::default();
        let mut note = |v: Value| {
            if let Some(s) = addresses.get(&v) {
                written.insert(*s);
            }
        };
        for inst in insts {
            match inst.op {
                Op::Load { flags, .. } if flags.is_plain() => {}
                ref op => for_each_use(op, &mut note),
            }
        }
        if let Some(v) = term_use(&func.blocks[block].term) {
            note(v);
        }
        addresses.retain(|_, s| !written.contains(s));
        Self {
            made: FxHashMap::default(),
            part_of: FxHashMap::default(),
            addresses,
            vectors: FxHashMap::default(),
            written,
            replaced: FxHashMap::default(),
            out: Vec::with_capacity(insts.len()),
        }
    }

    fn rewrite(&mut self, func: &mut Func, block: Block) -> bool {
        let mut changed = false;
        for mut inst in std::mem::take(&mut func.blocks[block].insts) {
            map_uses(&mut inst.op, |v| *v = self.replaced.get(v).copied().unwrap_or(*v));
            let value = match self.read(&inst.op) {
                Some((MemTy::F32, s, offset)) => self.float(func, &inst, s, offset),
                Some((MemTy::V128, s, offset)) => self.vector(func, &inst, s, offset),
                _ => None,
            };
            if let (Some(value), Some(result)) = (value, inst.result) {
                self.replaced.insert(result, value);
                changed = true;
                continue;
            }
            self.note(&inst);
            self.out.push(inst);
        }
        let data = &mut func.blocks[block];
        data.insts = std::mem::take(&mut self.out);
        if let Term::Return(Some(v)) = &mut data.term {
            *v = self.replaced.get(v).copied().unwrap_or(*v);
        }
        changed
    }

    /// What a read of struct bytes reads: the type, the struct, and where in it.
    fn read(&self, op: &Op) -> Option<(MemTy, Value, i64)> {
        match *op {
            Op::Load { ty, addr, offset, .. } => Some((ty, *self.addresses.get(&addr)?, i64::from(offset))),
            Op::StructField { value, offset, ty } => Some((ty, value, i64::from(offset))),
            _ => None,
        }
    }

    fn note(&mut self, inst: &Inst) {
        let Some(result) = inst.result else { return };
        match &inst.op {
            Op::StructMake { parts, .. } => {
                self.made.insert(result, parts.clone());
            }
            Op::Vector {
                op: op @ (VecOp::Scalar | VecOp::Splat | VecOp::Insert(_) | VecOp::Extract(_)),
                lane: Lane::F32,
                args,
            } => {
                self.vectors.insert(result, (*op, args.clone()));
            }
            op => {
                if let Some((MemTy::Struct(_), s, offset)) = self.read(op)
                    && !self.written.contains(&s)
                {
                    let (base, at) = self.part_of.get(&s).copied().unwrap_or((s, 0));
                    self.part_of.insert(result, (base, at + offset));
                }
            }
        }
    }

    /// The pieces of a struct, and where in them it begins.
    fn pieces(&self, s: Value) -> Option<(&[Part], i64)> {
        let (base, at) = self.part_of.get(&s).copied().unwrap_or((s, 0));
        if self.written.contains(&s) || self.written.contains(&base) {
            return None;
        }
        Some((self.made.get(&base)?, at))
    }

    fn piece(&self, s: Value, offset: i64, ty: MemTy) -> Option<Value> {
        let (parts, at) = self.pieces(s)?;
        let found = |p: &&Part| i64::from(p.0) == at + offset && p.1 == ty;
        parts.iter().find(found).map(|p| p.2)
    }

    fn float(&mut self, func: &mut Func, inst: &Inst, s: Value, offset: i64) -> Option<Value> {
        if let Some(v) = self.piece(s, offset, MemTy::F32) {
            return Some(v);
        }
        let (vector, lane) = (0..4).find_map(|lane| {
            let v = self.piece(s, offset - i64::from(lane) * LANE, MemTy::V128)?;
            Some((v, lane))
        })?;
        Some(self.extract(func, inst, vector, lane))
    }

    fn extract(&mut self, func: &mut Func, inst: &Inst, mut vector: Value, lane: u8) -> Value {
        loop {
            match self.vectors.get(&vector) {
                Some((VecOp::Insert(i), args)) if *i == lane => return args[1],
                Some((VecOp::Insert(_), args)) => vector = args[0],
                Some((VecOp::Splat, args)) => return args[0],
                Some((VecOp::Scalar, args)) if lane == 0 => return args[0],
                _ => return self.emit(func, inst, VecOp::Extract(lane), vec![vector], Ty::F32),
            }
        }
    }

    fn vector(&mut self, func: &mut Func, inst: &Inst, s: Value, offset: i64) -> Option<Value> {
        if let Some(v) = self.piece(s, offset, MemTy::V128) {
            return Some(v);
        }
        let lanes: Vec<Value> = (0..4)
            .map(|i| self.piece(s, offset + i * LANE, MemTy::F32))
            .collect::<Option<_>>()?;
        if let Some(whole) = self.taken_apart(&lanes) {
            return Some(whole);
        }
        if lanes.iter().all(|v| *v == lanes[0]) {
            return Some(self.emit(func, inst, VecOp::Splat, vec![lanes[0]], Ty::V128));
        }
        let mut v = self.emit(func, inst, VecOp::Scalar, vec![lanes[0]], Ty::V128);
        for (i, &lane) in (1..4).zip(&lanes[1..]) {
            v = self.emit(func, inst, VecOp::Insert(i), vec![v, lane], Ty::V128);
        }
        Some(v)
    }

    /// The vector whose lanes these are, in order.
    fn taken_apart(&self, lanes: &[Value]) -> Option<Value> {
        let mut whole = None;
        for (i, v) in (0u8..).zip(lanes) {
            let (VecOp::Extract(lane), args) = self.vectors.get(v)? else {
                return None;
            };
            if *lane != i || whole.is_some_and(|w| w != args[0]) {
                return None;
            }
            whole = args.first().copied();
        }
        whole
    }

    fn emit(&mut self, func: &mut Func, inst: &Inst, op: VecOp, args: Vec<Value>, ty: Ty) -> Value {
        let result = func.values.push(ty);
        let made = Inst {
            op: Op::Vector {
                op,
                lane: Lane::F32,
                args,
            },
            result: Some(result),
            il: inst.il,
            site: inst.site,
        };
        self.note(&made);
        self.out.push(made);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::FuncBuilder;
    use crate::host_api::{Convention, Signature};
    use crate::ids::TypeId;
    use crate::ir::{Barrier, MemFlags};

    const STRUCT: TypeId = TypeId(1);

    fn load(b: &mut FuncBuilder, ty: MemTy, addr: Value, offset: i32, result: Ty) -> Value {
        let flags = MemFlags::default();
        let op = Op::Load {
            ty,
            addr,
            offset,
            flags,
        };
        b.emit(op, result)
    }

    fn temporary(b: &mut FuncBuilder, parts: Vec<Part>) -> Value {
        let made = b.emit(Op::StructMake { ty: STRUCT, parts }, Ty::Struct(STRUCT));
        b.emit(Op::StructAddr(made), Ty::ByRef)
    }

    /// A vector as a struct, read as floats, which are a struct again, read as a vector. `write`: the first temporary is changed.
    fn there_and_back(order: [i32; 4], write: bool) -> Func {
        let signature = Signature {
            has_this: false,
            ret: TypeId(0),
            params: [].into(),
            convention: Convention::Managed,
        };
        let mut b = FuncBuilder::empty("t".into(), None, signature);
        let one = b.emit(Op::FConst(0x3f80_0000), Ty::F32);
        let vector = b.vector(VecOp::Splat, Lane::F32, vec![one]);
        let vector = b.vector(VecOp::Add, Lane::F32, vec![vector, vector]);
        let first = temporary(&mut b, vec![(0, MemTy::V128, vector)]);
        if write {
            b.emit_void(Op::Store {
                ty: MemTy::F32,
                addr: first,
                offset: 4,
                value: one,
                barrier: Barrier::None,
                flags: MemFlags::default(),
            });
        }
        let floats = order.map(|i| load(&mut b, MemTy::F32, first, 4 * i, Ty::F32));
        let parts = (0..4).zip(floats).map(|(i, v)| (4 * i, MemTy::F32, v)).collect();
        let second = temporary(&mut b, parts);
        let back = load(&mut b, MemTy::V128, second, 0, Ty::V128);
        b.ret(Some(back));
        b.finish()
    }

    fn rewritten(order: [i32; 4], write: bool) -> (Func, Vec<Op>) {
        let mut func = there_and_back(order, write);
        let block = func.blocks.keys().next().unwrap();
        if Views::of(&func, block).rewrite(&mut func, block) {
            dead::run(&mut func);
        }
        let ops = func.blocks[block].insts.iter().map(|i| i.op.clone()).collect();
        (func, ops)
    }

    fn vector_ops(ops: &[Op]) -> Vec<VecOp> {
        let op = |o: &Op| match o {
            Op::Vector { op, .. } => Some(*op),
            _ => None,
        };
        ops.iter().filter_map(op).collect()
    }

    #[test]
    fn what_was_taken_apart_is_whole_again() {
        let (func, ops) = rewritten([0, 1, 2, 3], false);
        assert_eq!(vector_ops(&ops), [VecOp::Splat, VecOp::Add]);
        assert_eq!(ops.len(), 3);
        let block = func.blocks.keys().next().unwrap();
        let last = func.blocks[block].insts.last().and_then(|i| i.result);
        assert!(matches!(func.blocks[block].term, Term::Return(v) if v == last));
    }

    #[test]
    fn another_order_is_extracted_and_inserted() {
        use VecOp::{Add, Extract, Insert, Scalar, Splat};
        let (_, ops) = rewritten([1, 0, 3, 2], false);
        let expected = [
            Splat,
            Add,
            Extract(1),
            Extract(0),
            Extract(3),
            Extract(2),
            Scalar,
            Insert(1),
            Insert(2),
            Insert(3),
        ];
        assert_eq!(vector_ops(&ops), expected);
        assert!(!ops.iter().any(|o| matches!(o, Op::Load { .. } | Op::StructMake { .. })));
    }

    #[test]
    fn temporaries_that_are_written_stay() {
        let (_, ops) = rewritten([0, 1, 2, 3], true);
        let loads = ops.iter().filter(|o| matches!(o, Op::Load { ty: MemTy::F32, .. }));
        assert_eq!(loads.count(), 4);
    }
}
