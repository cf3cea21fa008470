//! IR to CLIF for Tier 0.
//!
//! Every local and every temporary lives in one stack slot, the *area*: locals first ([`FrameLayout`]), then the hidden return
//! buffer pointer, then spill slots of references and temporaries of struct values. All references in the area are reported
//! to the collector at every safepoint and are zeroed at entry, so the area is valid from the first instruction on. A
//! reference that is used after a safepoint is stored to a spill slot where it is defined and loaded again at the first use
//! after the safepoint (`epoch` counts safepoints). No CLIF value ever crosses an IR block.
//!
//! Struct values are places in memory ([`StructPlace`]); a value that is only read before its source can change is an alias of
//! the source instead of a copy.

mod area;
mod arith;
mod calls;
mod casts;
mod control;
mod intrinsics;
mod memory;
mod notes;
mod polls;
mod promote;
mod structs;
mod tiering;
mod uses;
mod vector;
mod x86;

pub(crate) use calls::{DELEGATE_CODE, DELEGATE_STATIC_CODE, DELEGATE_TARGET};
pub(crate) use uses::is_safepoint;

use crate::abi::AbiSignature;
use crate::gc_check::{self, Action, Holder};
use crate::host_api::{CompilerHost, HostError, Signature, TypeInfo, TypeKind};
use crate::ids::TypeId;
use crate::ir::{self as mir, Func, Helper, Inst, NO_IL, Op, ProtectId, SiteId, Ty};
use crate::layout::{AreaSlot, FrameLayout, GcKind};
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{self, InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, types};
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::rc::Rc;
use std::sync::Arc;

/// Why a function cannot be lowered.
#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    /// The host could not describe something.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A feature that code generation lacks.
    #[error("not supported by the code generator: {0}")]
    Unsupported(String),
    /// The IR breaks its own rules.
    #[error("malformed IR: {0}")]
    Malformed(String),
    /// A limit of the code generator was exceeded.
    #[error("method is too large: {0}")]
    TooLarge(String),
}

pub(crate) type Result<T> = std::result::Result<T, LowerError>;

/// What compilation needs besides the CLIF function.
pub(crate) struct Lowered {
    /// Addresses of external functions by the index of their user name.
    pub externs: Vec<u64>,
    /// Stack slot of the area.
    pub area: ir::StackSlot,
    /// References in the area.
    pub gc_slots: Vec<AreaSlot>,
    /// What Cranelift's source locations mean.
    pub positions: Vec<Position>,
    /// Clauses that a `try_call` names.
    pub padded: Vec<bool>,
    /// The way that a `brif` takes more often: 0 its first target, 1 the other.
    pub likely: FxHashMap<ir::Inst, usize>,
    /// For [`gc_check`].
    pub record: Option<Box<gc_check::Record>>,
}

/// Where an instruction comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    /// IL offset in the method of `site`, or `NO_IL`.
    pub il: u32,
    pub site: SiteId,
    pub protect: ProtectId,
}

/// Which locals may live in registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Promote {
    Nothing,
    /// All scalars.
    Everything,
}

/// Largest area that is accepted.
pub(crate) const MAX_AREA: u32 = 1 << 20;
const NONE: u32 = u32::MAX;

/// A place in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Addr {
    /// Offset in the area.
    Frame(u32),
    /// Pointer plus offset.
    Ptr(ir::Value, i32),
}

impl Addr {
    fn plus(self, bytes: u32) -> Addr {
        match self {
            Addr::Frame(o) => Addr::Frame(o + bytes),
            Addr::Ptr(p, o) => Addr::Ptr(p, o.wrapping_add(bytes as i32)),
        }
    }
}

/// Where a struct value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StructPlace {
    /// All zeroes, nowhere.
    Zero,
    /// In memory.
    At(Addr),
    /// In a vector register: the 16-byte vector types.
    Register(ir::Value),
}

/// What an IR value is at this moment.
#[derive(Clone, Copy, Debug)]
enum Val {
    Unset,
    /// A CLIF value; `spill` is the area offset of its spill slot or `NONE`; `epoch` when it was last (re)loaded.
    Scalar {
        v: ir::Value,
        epoch: u32,
        spill: u32,
    },
    /// A boolean as I8, not extended yet.
    Flag(ir::Value),
    /// `temp` is the area offset of a temporary that it owns, or `NONE`.
    Struct {
        place: StructPlace,
        temp: u32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum TempKey {
    /// Contains references: only reused for the same type.
    Type(TypeId),
    /// By size in bytes.
    Size(u32),
}

struct CallSig {
    abi: Rc<AbiSignature>,
    sig: ir::SigRef,
}

struct Lowerer<'a> {
    func: &'a Func,
    host: &'a dyn CompilerHost,
    cur: FuncCursor<'a>,
    layout: FrameLayout,
    area: ir::StackSlot,
    area_size: u32,
    gc_slots: Vec<AreaSlot>,
    /// Ranges of the area to zero at entry.
    zero: Vec<(u32, u32)>,
    blocks: Vec<ir::Block>,
    /// Locals whose address is taken.
    exposed: Vec<bool>,
    promotion: promote::Promotion,
    /// Current values of the promoted locals, and the epoch they are of (which counts for references).
    registers: Vec<Option<(ir::Value, u32)>>,
    /// Area offsets of the homes of promoted references, or `NONE`.
    homes: Vec<u32>,
    vals: Vec<Val>,
    // The block at hand: index of definition and last use of each value, number of safepoints before each instruction.
    def: Vec<u32>,
    last_use: Vec<u32>,
    safepoints_before: Vec<u32>,
    epoch: u32,
    block: mir::Block,
    il: u32,
    site: SiteId,
    protect: ProtectId,
    cold: bool,
    /// Tier 0: address of the area, made at the entry. Cranelift folds it into every load and store, so it occupies no register.
    /// Fewer instructions count more there than what alias analysis makes of several addresses.
    base: Option<ir::Value>,
    /// Values of locals that are not promoted: where they are known, and the epoch they are of.
    known: Vec<Option<(ir::Value, ir::Block, u32)>>,
    positions: Vec<Position>,
    /// Protected calls are all `try_call`s (see `calls`).
    all_try_calls: bool,
    /// Clauses that a `try_call` names already.
    padded: Vec<bool>,
    pads: Vec<Option<ir::Block>>,
    throws: FxHashMap<(Helper, ProtectId, u32, SiteId), ir::Block>,
    call_sigs: FxHashMap<Signature, CallSig>,
    sigs: FxHashMap<ir::Signature, ir::SigRef>,
    externs: Vec<u64>,
    extern_refs: FxHashMap<(u64, ir::SigRef), ir::FuncRef>,
    free_spills: [Vec<u32>; 2],
    free_temps: FxHashMap<TempKey, Vec<u32>>,
    types: FxHashMap<TypeId, Arc<TypeInfo>>,
    /// Filters: base of the parent's area.
    parent_base: Option<ir::Value>,
    /// Replacements: area of the Tier-0 frame.
    frame_base: Option<ir::Value>,
    /// Names of the access flags that have been used.
    access_flags: SmallVec<[(MemFlagsData, ir::MemFlags); 4]>,
    /// Area offset of the counter of loop iterations.
    patchpoint_counter: Option<u32>,
    /// Area offset of the saved return buffer pointer.
    ret_buffer: Option<u32>,
    own_abi: AbiSignature,
    /// Code that runs often: size is spent on speed.
    optimised: bool,
    entry: ir::Block,
    loops: Option<Vec<bool>>,
    /// Address of the first counter of blocks.
    counters: Option<(ir::Value, u64)>,
    /// Tier 1 with a profile: edges to each block.
    preds: Option<Vec<u32>>,
    likely: FxHashMap<ir::Inst, usize>,
    /// Dynamic `localloc` is in use.
    side_stack: bool,
    returns: Vec<ir::Inst>,
    record: Option<Box<gc_check::Record>>,
}

/// Lowers `func` into the empty CLIF function `clif`. With `all_try_calls` every protected call gets its own landing pads;
/// `promote`: which locals live in registers where they can; `check`: take notes for [`gc_check`].
pub(crate) fn lower(
    func: &Func,
    host: &dyn CompilerHost,
    clif: &mut ir::Function,
    all_try_calls: bool,
    promote: Promote,
    check: bool,
) -> Result<Lowered> {
    let own_abi = if func.parent_locals.is_some() {
        calls::filter_abi()
    } else {
        if func.sig.convention == crate::host_api::Convention::VarArg {
            return Err(LowerError::Unsupported("variable argument lists".into()));
        }
        AbiSignature::of(&func.sig, host)?
    };
    clif.signature = if func.osr {
        tiering::replacement_signature(&own_abi)
    } else {
        own_abi.clif()
    };
    let mut exposed = vec![false; func.locals.len()];
    for block in func.blocks.values() {
        for inst in &block.insts {
            if let Op::LocalAddr(l) = inst.op {
                exposed[l.index()] = true;
            }
        }
    }
    let promotion = match promote {
        Promote::Nothing => promote::Promotion::none(func),
        Promote::Everything => promote::Promotion::of(func, &exposed),
    };
    let layout = FrameLayout::with_registers(func, host, |l| promotion.get(l).is_some())?;
    if layout.size > MAX_AREA {
        return Err(LowerError::TooLarge(format!("{} bytes of locals", layout.size)));
    }
    let region = clif.dfg.alias_regions.insert(ir::AliasRegionData {
        user_id: 0,
        description: "memory".into(),
    });
    debug_assert_eq!(region, memory_region());
    let area = clif.create_sized_stack_slot(StackSlotData::new(
        StackSlotKind::ExplicitSlot,
        8,
        if layout.align16 { 4 } else { 3 },
    ));
    let entry = clif.dfg.make_block();
    clif.layout.append_block(entry);
    // Nothing jumps to the first block: without promoted locals it needs no block of its own.
    let merged = promote == Promote::Nothing;
    let blocks = func
        .blocks
        .iter()
        .map(|(block, data)| {
            if merged && block == func.entry {
                return entry;
            }
            let b = clif.dfg.make_block();
            clif.layout.append_block(b);
            for i in promotion.expected(block) {
                if let Ok(ty) = Lowerer::clif_type(func.locals[promotion.locals[i]].ty) {
                    clif.dfg.append_block_param(b, ty);
                }
            }
            if data.cold {
                clif.layout.set_cold(b);
            }
            b
        })
        .collect();
    let values = func.values.len();
    let mut lowerer = Lowerer {
        func,
        host,
        cur: FuncCursor::new(clif),
        area,
        area_size: layout.size,
        gc_slots: layout.gc_slots.clone(),
        zero: layout.zero.clone(),
        layout,
        blocks,
        exposed,
        registers: vec![None; promotion.locals.len()],
        homes: vec![NONE; promotion.locals.len()],
        promotion,
        vals: vec![Val::Unset; values],
        def: vec![NONE; values],
        last_use: vec![NONE; values],
        safepoints_before: Vec::new(),
        epoch: 0,
        block: func.entry,
        il: NO_IL,
        site: SiteId::ROOT,
        protect: ProtectId::new(0),
        cold: false,
        base: None,
        known: vec![None; func.locals.len()],
        positions: Vec::new(),
        // A filter's parent base is a value that lives across calls.
        all_try_calls: all_try_calls || func.parent_locals.is_some(),
        padded: vec![false; func.clauses.len()],
        pads: vec![None; func.clauses.len()],
        throws: FxHashMap::default(),
        call_sigs: FxHashMap::default(),
        sigs: FxHashMap::default(),
        externs: Vec::new(),
        extern_refs: FxHashMap::default(),
        free_spills: [Vec::new(), Vec::new()],
        free_temps: FxHashMap::default(),
        types: FxHashMap::default(),
        parent_base: None,
        ret_buffer: None,
        frame_base: None,
        access_flags: SmallVec::new(),
        patchpoint_counter: None,
        own_abi,
        optimised: promote == Promote::Everything,
        entry,
        loops: None,
        counters: None,
        preds: (promote == Promote::Everything).then(|| edges(func)).flatten(),
        likely: FxHashMap::default(),
        side_stack: false,
        returns: Vec::new(),
        record: check.then(Box::default),
    };
    lowerer.run()?;
    lowerer.finish_record();
    let Lowerer {
        externs,
        gc_slots,
        area_size,
        cur,
        positions,
        padded,
        likely,
        record,
        ..
    } = lowerer;
    cur.func.sized_stack_slots[area].size = area_size.max(8);
    Ok(Lowered {
        externs,
        area,
        gc_slots,
        positions,
        padded,
        likely,
        record,
    })
}

/// Edges to each block of a function with a profile.
fn edges(func: &Func) -> Option<Vec<u32>> {
    if func.blocks.values().all(|data| data.weight.is_none()) {
        return None;
    }
    let mut edges = vec![0u32; func.blocks.len()];
    for data in func.blocks.values() {
        mir::successors(&data.term, |b| edges[b.index()] += 1);
    }
    Some(edges)
}

impl<'a> Lowerer<'a> {
    fn run(&mut self) -> Result<()> {
        let func = self.func;
        self.lower_entry()?;
        for (block, data) in func.blocks.iter() {
            self.block = block;
            self.protect = data.protect;
            self.cold = data.cold;
            if func.protects.get(data.protect).is_none() {
                return Err(LowerError::Malformed(format!(
                    "{block} names {} which does not exist",
                    data.protect
                )));
            }
            let start = self.blocks[block.index()];
            self.cur.goto_bottom(start);
            self.registers.fill(None);
            let expected: smallvec::SmallVec<[usize; 8]> = self.promotion.expected(block).collect();
            for (n, i) in expected.into_iter().enumerate() {
                self.set_register(i, self.cur.func.dfg.block_params(start)[n]);
            }
            self.analyse(data)?;
            for (index, inst) in data.insts.iter().enumerate() {
                self.note_place(block, index);
                self.set_position(inst.il, inst.site);
                self.lower_inst(index as u32, inst)
                    .map_err(|e| self.locate(e, &format!("{block}, instruction {index}: {:?}", inst.op)))?;
                self.release_after(index as u32, inst);
            }
            self.note_place(block, data.insts.len());
            self.set_position(data.term_il, data.term_site);
            self.lower_term(&data.term)
                .map_err(|e| self.locate(e, &format!("{block}, terminator")))?;
            if let Some(v) = uses::term_use(&data.term) {
                self.release(v);
            }
        }
        self.zero_area()
    }

    fn locate(&self, error: LowerError, place: &str) -> LowerError {
        match error {
            LowerError::Malformed(m) => LowerError::Malformed(format!("{m} ({place})")),
            LowerError::Unsupported(m) => LowerError::Unsupported(format!("{m} ({place})")),
            other => other,
        }
    }

    /// Fills the tables about the values of a block.
    fn analyse(&mut self, data: &mir::BlockData) -> Result<()> {
        self.safepoints_before.clear();
        let mut count = 0;
        let mut bad = None;
        let values = self.vals.len();
        for (i, inst) in data.insts.iter().enumerate() {
            uses::for_each_use(&inst.op, |v| {
                if v.index() < values {
                    self.last_use[v.index()] = i as u32;
                } else {
                    bad = Some(v);
                }
            });
            if let Some(r) = inst.result {
                if r.index() >= values {
                    bad = Some(r);
                } else {
                    self.def[r.index()] = i as u32;
                }
            }
            self.safepoints_before.push(count);
            count += u32::from(uses::is_safepoint(&inst.op));
        }
        self.safepoints_before.push(count);
        if let Some(v) = uses::term_use(&data.term) {
            if v.index() < values {
                self.last_use[v.index()] = data.insts.len() as u32;
            } else {
                bad = Some(v);
            }
        }
        match bad {
            Some(v) => Err(LowerError::Malformed(format!("{v} is not declared"))),
            None => Ok(()),
        }
    }

    /// Is `v` used after a safepoint that follows its definition?
    fn crosses_safepoint(&self, v: mir::Value) -> bool {
        let (def, last) = (self.def[v.index()], self.last_use[v.index()]);
        if last == NONE || last <= def {
            return false;
        }
        self.safepoints_before[last as usize] > self.safepoints_before[def as usize + 1]
    }

    fn release_after(&mut self, index: u32, inst: &Inst) {
        let mut dead: smallvec::SmallVec<[mir::Value; 8]> = smallvec::SmallVec::new();
        uses::for_each_use(&inst.op, |v| {
            if self.last_use[v.index()] == index {
                dead.push(v);
            }
        });
        dead.extend(inst.result.filter(|r| self.last_use[r.index()] == NONE));
        for v in dead {
            self.release(v);
        }
    }

    /// Gives the slot of a dead value back.
    fn release(&mut self, v: mir::Value) {
        match std::mem::replace(&mut self.vals[v.index()], Val::Unset) {
            Val::Scalar { spill, .. } if spill != NONE => {
                let kind = usize::from(self.func.values[v] == Ty::ByRef);
                self.free_spills[kind].push(spill);
            }
            Val::Struct { temp, .. } if temp != NONE => {
                if let Ty::Struct(id) = self.func.values[v]
                    && let Some(info) = self.types.get(&id)
                {
                    let key = temp_key(info);
                    self.free_temps.entry(key).or_default().push(temp);
                }
            }
            _ => {}
        }
    }

    fn set_position(&mut self, il: u32, site: SiteId) {
        (self.il, self.site) = (il, site);
        let key = Position {
            il,
            site,
            protect: self.protect,
        };
        if self.positions.last() != Some(&key) {
            self.positions.push(key);
        }
        self.cur.set_srcloc(ir::SourceLoc::new(self.positions.len() as u32 - 1));
    }

    // --- values

    fn clif_type(ty: Ty) -> Result<ir::Type> {
        Ok(match ty {
            Ty::I32 => types::I32,
            Ty::F32 => types::F32,
            Ty::F64 => types::F64,
            Ty::I64 | Ty::Ref | Ty::ByRef => types::I64,
            Ty::V128 => types::I8X16,
            Ty::Struct(_) => return Err(LowerError::Malformed("struct where a scalar is needed".into())),
        })
    }

    /// The CLIF value of a scalar, valid now.
    fn get(&mut self, v: mir::Value) -> Result<ir::Value> {
        match self.vals[v.index()] {
            Val::Scalar { v: value, epoch, spill } => {
                if spill == NONE || epoch == self.epoch {
                    if self.func.values[v] == Ty::V128 {
                        return Ok(self.cast_vector(value, types::I8X16));
                    }
                    return Ok(value);
                }
                let value = self.load(types::I64, Addr::Frame(spill));
                self.note_reference(value);
                self.note(Action::Loaded(spill, Holder::Value(v)));
                self.vals[v.index()] = Val::Scalar {
                    v: value,
                    epoch: self.epoch,
                    spill,
                };
                Ok(value)
            }
            Val::Flag(flag) => {
                let value = self.cur.ins().uextend(types::I32, flag);
                self.vals[v.index()] = Val::Scalar {
                    v: value,
                    epoch: self.epoch,
                    spill: NONE,
                };
                Ok(value)
            }
            Val::Struct { .. } => Err(LowerError::Malformed(format!("{v} is a struct, a scalar is needed"))),
            Val::Unset => Err(LowerError::Malformed(format!(
                "{v} is not defined before its use in the block"
            ))),
        }
    }

    /// Like [`get`](Self::get), widened to 64 bits without sign.
    fn get_u64(&mut self, v: mir::Value) -> Result<ir::Value> {
        let value = self.get(v)?;
        Ok(match self.type_of(value) {
            types::I32 => self.cur.ins().uextend(types::I64, value),
            _ => value,
        })
    }

    /// A value for a branch condition: any integer type.
    fn get_cond(&mut self, v: mir::Value) -> Result<ir::Value> {
        match self.vals[v.index()] {
            Val::Flag(flag) => Ok(flag),
            _ => self.get(v),
        }
    }

    fn type_of(&self, v: ir::Value) -> ir::Type {
        self.cur.func.dfg.value_type(v)
    }

    /// Constant behind a CLIF value.
    fn constant(&self, v: ir::Value) -> Option<i64> {
        let inst = self.cur.func.dfg.value_def(v).inst()?;
        match self.cur.func.dfg.insts[inst] {
            ir::InstructionData::UnaryImm {
                opcode: ir::Opcode::Iconst,
                imm,
            } => {
                let bits = imm.bits();
                Some(if self.type_of(v) == types::I32 {
                    i64::from(bits as i32)
                } else {
                    bits
                })
            }
            _ => None,
        }
    }

    fn iconst(&mut self, ty: ir::Type, value: i64) -> ir::Value {
        let value = match ty {
            types::I8 => i64::from(value as u8),
            types::I16 => i64::from(value as u16),
            types::I32 => i64::from(value as u32),
            _ => value,
        };
        self.cur.ins().iconst(ty, value)
    }

    /// Records the result of an instruction and spills it if needed.
    fn set(&mut self, result: mir::Value, v: ir::Value) {
        let ty = self.func.values[result];
        let mut spill = NONE;
        if matches!(ty, Ty::Ref | Ty::ByRef) && self.crosses_safepoint(result) {
            let kind = if ty == Ty::Ref { GcKind::Ref } else { GcKind::ByRef };
            spill = self.alloc_spill(kind);
            self.store(v, Addr::Frame(spill));
            self.note(Action::Saved(spill, Holder::Value(result)));
        }
        match ty {
            Ty::Ref | Ty::ByRef => self.note_reference(v),
            _ => self.note_fixed(v),
        }
        self.vals[result.index()] = Val::Scalar {
            v,
            epoch: self.epoch,
            spill,
        };
    }

    /// Records a result that never moves (constants, stack addresses, plain integers).
    fn set_plain(&mut self, result: mir::Value, v: ir::Value) {
        self.note(Action::Fixed(result));
        self.note_fixed(v);
        self.vals[result.index()] = Val::Scalar {
            v,
            epoch: self.epoch,
            spill: NONE,
        };
    }

    fn result(&self, inst: &Inst) -> Result<mir::Value> {
        inst.result
            .ok_or_else(|| LowerError::Malformed("an operation with a value has no result".into()))
    }

    fn type_info(&mut self, ty: TypeId) -> Result<Arc<TypeInfo>> {
        if let Some(info) = self.types.get(&ty) {
            return Ok(info.clone());
        }
        let info = self.host.type_info(ty)?;
        self.types.insert(ty, info.clone());
        Ok(info)
    }

    // --- blocks

    fn new_block(&mut self) -> ir::Block {
        let b = self.cur.func.dfg.make_block();
        self.cur.func.layout.append_block(b);
        if self.cold {
            self.cur.func.layout.set_cold(b);
        }
        b
    }

    fn cold_block(&mut self) -> ir::Block {
        let b = self.new_block();
        self.cur.func.layout.set_cold(b);
        b
    }
}

/// Flags of every access to memory: it faults nowhere and lies in the one region of [`memory_region`].
fn plain() -> MemFlagsData {
    MemFlagsData::new()
        .with_notrap()
        .with_alias_region(Some(memory_region()))
}

/// The alias region of all memory.
///
/// One region for everything excludes no alias. It is named all the same because Cranelift 0.135 eliminates dead stores wrongly
/// without: there, a store that follows another one on some path does not count as its observer, and a store is lost whose
/// value a load sees on that path (found by `jit/tests/lower/tiers.rs`).
fn memory_region() -> ir::AliasRegion {
    ir::AliasRegion::from_u32(0)
}

fn temp_key(info: &TypeInfo) -> TempKey {
    if info.has_gc_pointers {
        TempKey::Type(info.id)
    } else {
        TempKey::Size(info.size.max(1).next_multiple_of(8))
    }
}
