//! What memory operations touch, and which of them may touch the same bytes.
//!
//! Fields are told apart by the class that declares them and by their offset, elements by their size, statics by their address.
//! A managed or native pointer of unknown origin may lead anywhere; but references are only ever written as references or
//! cleared in whole words.

use super::shapes::scalar_bytes;
use super::ssa_view::{Expr, Num, View};
use crate::host_api::CompilerHost;
use crate::ir::*;
use cranelift_entity::EntityRef;

/// Offset of the first element of an array.
const ARRAY_DATA: i64 = 16;

/// Which part of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Region {
    /// Of an object: offsets are from its start.
    Object,
    /// Of an array with elements of that many bytes: offsets are from the start of the element.
    Element(u32),
    /// At a constant address, which is the offset.
    Static,
    /// A local whose address is taken.
    Frame(Local),
    /// Wherever a pointer leads.
    Anywhere,
}

/// What the bytes hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Contents {
    Reference,
    Scalar,
    /// Several fields, or unknown.
    Mixed,
}

/// Some bytes of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    region: Region,
    /// The number of the object, element or pointer, where numbers are known.
    base: Option<Num>,
    offset: i64,
    /// To the end of the region if `None`.
    bytes: Option<u32>,
    /// Of the class that declares the field ([`MemFlags::family`]), or 0.
    family: u32,
    contents: Contents,
}

impl Place {
    /// What an access of that type at an offset from an address touches; `shape` finds out what the address is.
    fn of(ty: MemTy, region: (Region, Option<Num>, i64, bool), flags: MemFlags, size: Option<u32>) -> Place {
        let (region, base, offset, direct) = region;
        let bytes = match ty {
            MemTy::Struct(_) => size,
            _ => Some(scalar_bytes(ty)),
        };
        Place {
            region,
            base,
            offset,
            bytes,
            family: if direct { flags.family } else { 0 },
            contents: match ty {
                MemTy::Ref => Contents::Reference,
                MemTy::Struct(_) => Contents::Mixed,
                _ => Contents::Scalar,
            },
        }
    }

    /// The number of the object, element or pointer.
    pub fn base(&self) -> Option<Num> {
        self.base
    }

    /// Bytes from the base, or the address of a static.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    fn whole(region: Region) -> Place {
        Place {
            region,
            base: None,
            offset: 0,
            bytes: None,
            family: 0,
            contents: Contents::Mixed,
        }
    }

    fn overlaps(&self, other: &Place) -> bool {
        let ends_before = |a: &Place, b: &Place| a.bytes.is_some_and(|n| a.offset + i64::from(n) <= b.offset);
        !ends_before(self, other) && !ends_before(other, self)
    }

    /// Does one of them hold no reference for certain, and the other one a reference? (Unsafe code may see a reference as a word.)
    fn differs_in_kind(&self, other: &Place) -> bool {
        let apart = |a: &Place, b: &Place| {
            let declared = matches!(b.region, Region::Element(_)) || (b.region == Region::Object && b.family != 0);
            a.contents == Contents::Reference
                && b.contents == Contents::Scalar
                && (declared || b.bytes.is_some_and(|n| n < 8))
        };
        apart(self, other) || apart(other, self)
    }

    /// Are these the same bytes for certain?
    pub fn is(&self, other: &Place) -> bool {
        self.region == other.region
            && self.offset == other.offset
            && self.bytes == other.bytes
            && self.bytes.is_some()
            && match self.region {
                Region::Static | Region::Frame(_) => true,
                _ => self.base.is_some() && self.base == other.base,
            }
    }

    /// May some of the bytes be the same?
    pub fn may_be(&self, other: &Place, view: Option<&View>) -> bool {
        use Region::*;
        if self.differs_in_kind(other) {
            return false;
        }
        if self.base.is_some() && self.base == other.base && self.region == other.region {
            return self.overlaps(other);
        }
        match (self.region, other.region) {
            (Anywhere, _) | (_, Anywhere) => true,
            (Object, Object) => {
                let apart = self.family != other.family && self.family != 0 && other.family != 0;
                !apart && self.overlaps(other)
            }
            (Element(a), Element(b)) if a == b => self.overlaps(other) && !differ(self.base, other.base, view),
            // The data of an array, as seen by unsafe code.
            (Object, Element(_)) => self.is_array_data(),
            (Element(_), Object) => other.is_array_data(),
            (Static, Static) => self.overlaps(other),
            (Frame(a), Frame(b)) => a == b && self.overlaps(other),
            _ => false,
        }
    }

    fn is_array_data(&self) -> bool {
        self.family == 0 && self.bytes.is_none_or(|n| self.offset + i64::from(n) > ARRAY_DATA)
    }
}

/// Are these addresses of elements with different indices?
fn differ(a: Option<Num>, b: Option<Num>, view: Option<&View>) -> bool {
    let (Some(a), Some(b), Some(view)) = (a, b, view) else {
        return false;
    };
    let (Expr::ElemAddr(_, i, _), Expr::ElemAddr(_, j, _)) = (view.expr(a), view.expr(b)) else {
        return false;
    };
    let split = |n: Num| match *view.expr(n) {
        Expr::Int(_, c) => (None, c),
        Expr::Bin(_, BinOp::Add, x, y) => match view.int(y) {
            Some(c) => (Some(x), c),
            None => (Some(n), 0),
        },
        _ => (Some(n), 0),
    };
    let ((x, c), (y, d)) = (split(*i), split(*j));
    x == y && view.ty(*i) == view.ty(*j) && c != d
}

/// Where an address is, as far as the numbers tell: the last field says that it is an object itself.
fn region_of(view: &View, addr: Num, offset: i32) -> (Region, Option<Num>, i64, bool) {
    let (mut num, mut offset) = (addr, i64::from(offset));
    let mut direct = true;
    loop {
        if view.ty(num) == Ty::Ref {
            return (Region::Object, Some(num), offset, direct);
        }
        direct = false;
        match *view.expr(num) {
            Expr::PtrAdd(a, b) => match view.int(b) {
                Some(n) => (num, offset) = (a, offset.wrapping_add(n)),
                None => break,
            },
            Expr::Conv(ConvOp::RefToByRef, a) if view.ty(a) == Ty::Ref => num = a,
            Expr::ElemAddr(_, _, size) => return (Region::Element(size), Some(num), offset, false),
            Expr::Address(_, a) => return (Region::Static, None, offset.wrapping_add(a as i64), false),
            Expr::LocalAddr(_, l) => return (Region::Frame(l), None, offset, false),
            _ => break,
        }
    }
    (Region::Anywhere, Some(num), offset, false)
}

/// Addresses are made a few instructions before they are used.
const NEAR: usize = 64;

/// The same as far as the instructions of one block tell.
fn region_in_block(func: &Func, defs: &[Inst], addr: Value, offset: i32) -> (Region, Option<Num>, i64, bool) {
    let (mut value, mut offset) = (addr, i64::from(offset));
    let mut direct = true;
    let def = |v: Value| {
        let mut near = defs.iter().rev().take(NEAR);
        near.find(|i| i.result == Some(v)).map(|i| &i.op)
    };
    // A chain of a few operations.
    for _ in 0..8 {
        if func.values[value] == Ty::Ref {
            return (Region::Object, None, offset, direct);
        }
        direct = false;
        match def(value) {
            Some(&Op::PtrAdd(a, b)) => match def(b) {
                Some(&Op::IConst(n)) => (value, offset) = (a, offset.wrapping_add(n)),
                _ => break,
            },
            Some(&Op::Conv(ConvOp::RefToByRef, a)) if func.values[a] == Ty::Ref => value = a,
            Some(&Op::ElemAddr { size, .. }) => return (Region::Element(size), None, offset, false),
            Some(&Op::Address(a)) => return (Region::Static, None, offset.wrapping_add(a as i64), false),
            Some(&Op::LocalAddr(l)) => return (Region::Frame(l), None, offset, false),
            _ => break,
        }
    }
    (Region::Anywhere, None, offset, false)
}

/// What a load reads, if it is one that may be replaced by another: no volatile one.
pub(super) fn read(view: &View, op: &Op) -> Option<Place> {
    let &Op::Load {
        ty,
        addr,
        offset,
        flags,
    } = op
    else {
        return None;
    };
    if flags.volatile || matches!(ty, MemTy::Struct(_)) {
        return None;
    }
    Some(Place::of(ty, region_of(view, view.num(addr), offset), flags, None))
}

/// Is it the MethodTable of an object, which never changes?
pub(super) fn is_method_table(func: &Func, op: &Op) -> bool {
    matches!(*op, Op::Load { ty: MemTy::I64, addr, offset: 0, .. } if func.values[addr] == Ty::Ref)
}

/// What an operation does to memory.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Effect {
    Nothing,
    /// Writes there; a scalar that is stored, with its type.
    Write(Place, Option<(Value, MemTy)>),
    /// May write anything, or keeps loads from moving in front of it.
    Anything,
}

/// Finds what operations do.
pub(super) struct Effects<'a> {
    pub func: &'a Func,
    pub host: &'a dyn CompilerHost,
    /// By local: does no address lead to it?
    pub tracked: &'a [bool],
}

impl Effects<'_> {
    /// The effect of an operation; addresses are found among the numbers of `view`.
    pub fn by_numbers(&self, view: &View, op: &Op) -> Effect {
        self.effect(op, |addr, offset| region_of(view, view.num(addr), offset))
    }

    /// The effect of the operation behind `before` in one block.
    pub fn in_block(&self, before: &[Inst], op: &Op) -> Effect {
        self.effect(op, |addr, offset| region_in_block(self.func, before, addr, offset))
    }

    fn effect(&self, op: &Op, region: impl Fn(Value, i32) -> (Region, Option<Num>, i64, bool)) -> Effect {
        let size = |ty| self.host.type_info(ty).ok().map(|info| info.size);
        match *op {
            Op::LocalSet(l, _) if !self.tracked[l.index()] => Effect::Write(Place::whole(Region::Frame(l)), None),
            Op::Load { flags, .. } if flags.volatile => Effect::Anything,
            Op::Store { flags, .. } if flags.volatile => Effect::Anything,
            Op::Store {
                ty,
                addr,
                offset,
                value,
                flags,
                ..
            } => {
                let size = match ty {
                    MemTy::Struct(id) => size(id),
                    _ => None,
                };
                let scalar = !matches!(ty, MemTy::Struct(_));
                let place = Place::of(ty, region(addr, offset), flags, size);
                Effect::Write(place, scalar.then_some((value, ty)))
            }
            Op::CopyStruct { ty, dst, .. } | Op::ZeroStruct { ty, dst } => {
                let place = Place::of(MemTy::Struct(ty), region(dst, 0), MemFlags::default(), size(ty));
                Effect::Write(place, None)
            }
            Op::CallHelper { helper, .. } => match helper {
                Helper::FmodF64
                | Helper::FmodF32
                | Helper::NewObject
                | Helper::NewArray
                | Helper::NewMdArray
                | Helper::Box
                | Helper::Unbox
                | Helper::CastClass
                | Helper::IsInst
                | Helper::LdElemaRef
                | Helper::ArrayStoreCheck
                | Helper::ArrayAddressCheck
                | Helper::RuntimeTypeOfHandle
                | Helper::ThreadStaticAddress
                | Helper::ProfileClass
                | Helper::ProfileTarget => Effect::Nothing,
                Helper::StoreElemRef => {
                    let place = Place {
                        contents: Contents::Reference,
                        ..Place::whole(Region::Element(8))
                    };
                    Effect::Write(place, None)
                }
                _ => Effect::Anything,
            },
            Op::CopyBlock { .. }
            | Op::InitBlock { .. }
            | Op::Call { .. }
            | Op::ClassInit { .. }
            | Op::LocAlloc { .. }
            | Op::AtomicRmw { .. }
            | Op::AtomicCas { .. }
            | Op::Patchpoint { .. }
            | Op::Intrinsic {
                op: IntrinsicOp::Fence | IntrinsicOp::SpinWait,
                ..
            }
            | Op::X86 {
                op: X86Op::MaskMove, ..
            } => Effect::Anything,
            _ => Effect::Nothing,
        }
    }
}

/// What the blocks of a loop write.
#[derive(Debug, Default)]
pub(super) struct Summary {
    writes: Vec<Place>,
    anything: bool,
}

/// More different writes than this count as any.
const MAX_WRITES: usize = 48;

impl Summary {
    /// Of some blocks.
    pub fn of(effects: &Effects<'_>, blocks: &[Block]) -> Summary {
        let mut summary = Summary::default();
        for &block in blocks {
            let insts = &effects.func.blocks[block].insts;
            for (i, inst) in insts.iter().enumerate() {
                summary.add(effects.in_block(&insts[..i], &inst.op));
                if summary.anything {
                    return summary;
                }
            }
        }
        summary
    }

    /// The same with the numbers of addresses, for questions about places that the loop does not change.
    pub fn with_numbers(effects: &Effects<'_>, view: &View, blocks: &[Block]) -> Summary {
        let mut summary = Summary::default();
        for inst in blocks.iter().flat_map(|&b| &effects.func.blocks[b].insts) {
            summary.add(effects.by_numbers(view, &inst.op));
        }
        summary
    }

    fn add(&mut self, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Anything => self.anything = true,
            Effect::Write(place, _) if self.writes.contains(&place) => {}
            Effect::Write(place, _) => {
                self.writes.push(place);
                self.anything |= self.writes.len() > MAX_WRITES;
            }
        }
    }

    /// Is nothing written?
    pub fn is_empty(&self) -> bool {
        !self.anything && self.writes.is_empty()
    }

    /// May these bytes be written?
    pub fn may_write(&self, place: &Place, view: Option<&View>) -> bool {
        self.anything || self.writes.iter().any(|w| w.may_be(place, view))
    }
}
