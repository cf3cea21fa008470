//! GC info of precompiled methods, version 3 of CoreCLR's encoding for AMD64 (`vm/gcinfodecoder.cpp`, `inc/gcinfotypes.h`): in which
//! registers and stack slots the references are, by position in the code.
//!
//! Code is interruptible only at calls (*safe points*), or anywhere in *interruptible ranges*. References are in *tracked* slots,
//! which are live at some positions, and in *untracked* ones, which always hold references (or null).

mod bits;
mod liveness;

use crate::error::{Fault, Result};
use crate::reader::Reader;
use bits::Bits;

pub use liveness::Position;

/// What a method returns in rax and rdx.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReturnPart {
    /// No reference.
    Scalar,
    /// A reference to an object.
    Object,
    /// A reference into an object, perhaps.
    ByRef,
}

/// Where a reference may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Location {
    /// In a register, by the processor's number.
    Register(u8),
    /// So many bytes from rsp as it was before the call of the method.
    CallerSp(i32),
    /// So many bytes from rsp.
    Sp(i32),
    /// So many bytes from the frame register ([`GcInfo::stack_base_register`]).
    Frame(i32),
}

/// A register or stack slot that may hold a reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Where.
    pub location: Location,
    /// May refer into an object, or outside the heap.
    pub interior: bool,
    /// The object must not move.
    pub pinned: bool,
}

/// Where the instantiation that shared code runs for is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GenericsContext {
    /// The slot holds a MethodTable.
    MethodTable,
    /// The slot holds a MethodDesc.
    MethodDesc,
    /// The slot holds `this`.
    This,
}

/// GC info of a method. Offsets are bytes from the start of its code; stack slots are relative to rsp before the call of the method
/// unless said otherwise.
#[derive(Clone, Debug)]
pub struct GcInfo<'a> {
    /// Bytes of code, funclets included.
    pub code_length: u32,
    /// What is returned in rax and rdx.
    pub returns: (ReturnPart, ReturnPart),
    /// The method has a variable number of arguments.
    pub is_vararg: bool,
    /// Slot of the stack guard.
    pub gs_cookie: Option<i32>,
    /// Slot with the initial rsp of the method, relative to the initial rsp: for funclets to find the frame.
    pub psp_sym: Option<i32>,
    /// Slot of the instantiation.
    pub generics_context: Option<(GenericsContext, i32)>,
    /// Register that frame-relative slots count from.
    pub stack_base_register: Option<u8>,
    /// A frame is reported by its innermost funclet only.
    pub wants_report_only_leaf: bool,
    /// Slot of the frame that reverse P/Invokes link.
    pub reverse_pinvoke_frame: Option<i32>,
    /// Bytes at rsp for arguments of calls.
    pub outgoing_area: u32,
    /// Return offsets of calls.
    pub safe_points: Vec<u32>,
    /// First offset, and one past the last.
    pub interruptible_ranges: Vec<(u32, u32)>,
    /// All slots, the untracked ones last.
    pub slots: Vec<Slot>,
    /// Number of tracked slots.
    pub tracked: usize,
    /// At the live states.
    states: Bits<'a>,
}

// Lengths of the first chunk of numbers.
const CODE_LENGTH: u32 = 8;
const PROLOG_SIZE: u32 = 5;
const EPILOG_SIZE: u32 = 3;
const SPECIAL_SLOT: u32 = 6;
const STACK_BASE_REGISTER: u32 = 3;
const PRESERVED_AREA: u32 = 4;
const STACK_AREA: u32 = 3;
const SAFE_POINTS: u32 = 2;
const RANGES: u32 = 1;
const RANGE_DELTA: u32 = 6;
const REGISTERS: u32 = 2;
const STACK_SLOTS: u32 = 2;
const UNTRACKED_SLOTS: u32 = 1;
const REGISTER: u32 = 3;
const REGISTER_DELTA: u32 = 2;
const STACK_SLOT: u32 = 6;
const STACK_SLOT_DELTA: u32 = 4;

// Flags of the fat header.
const FLAG_BITS: u32 = 10;
const IS_VARARG: u32 = 0x001;
const HAS_GS_COOKIE: u32 = 0x004;
const HAS_PSP_SYM: u32 = 0x008;
const GENERICS_CONTEXT_SHIFT: u32 = 4;
const HAS_STACK_BASE_REGISTER: u32 = 0x040;
const WANTS_REPORT_ONLY_LEAF: u32 = 0x080;
const HAS_PRESERVED_AREA: u32 = 0x100;
const HAS_REVERSE_PINVOKE_FRAME: u32 = 0x200;
/// A security object is of the .NET Framework.
const UNKNOWN: u32 = 0x002;

const RBP: u32 = 5;
const WORD: i32 = 8;

impl<'a> GcInfo<'a> {
    /// Reads the GC info at the cursor ([`crate::RuntimeFunctions::unwind`] gives it).
    ///
    /// # Errors
    /// The data ends too soon, or says what this version cannot say.
    pub fn read(at: Reader<'a>) -> Result<Self> {
        let mut bits = Bits::new(at.rva(), at.rest());
        let b = &mut bits;
        let start = *b;
        let fat = b.bit()?;
        let flags = match fat {
            true => b.take(FLAG_BITS)?,
            false if b.bit()? => HAS_STACK_BASE_REGISTER,
            false => 0,
        };
        if flags & UNKNOWN != 0 {
            return Err(start.error(Fault::Value(flags)));
        }
        let returns = returns(b, fat)?;
        let code_length = b.unsigned(CODE_LENGTH)?;
        let context = match (flags >> GENERICS_CONTEXT_SHIFT) & 3 {
            0 => None,
            1 => Some(GenericsContext::MethodTable),
            2 => Some(GenericsContext::MethodDesc),
            _ => Some(GenericsContext::This),
        };
        if flags & HAS_GS_COOKIE != 0 {
            b.unsigned(PROLOG_SIZE)?;
            b.unsigned(EPILOG_SIZE)?;
        } else if context.is_some() {
            b.unsigned(PROLOG_SIZE)?;
        }
        let slot_if = |b: &mut Bits<'_>, there: bool| there.then(|| stack_offset(b, SPECIAL_SLOT)).transpose();
        let gs_cookie = slot_if(b, flags & HAS_GS_COOKIE != 0)?;
        let psp_sym = slot_if(b, flags & HAS_PSP_SYM != 0)?;
        let context_slot = slot_if(b, context.is_some())?;
        let stack_base_register = match (flags & HAS_STACK_BASE_REGISTER != 0, fat) {
            (false, _) => None,
            (true, false) => Some(RBP as u8),
            (true, true) => {
                let number = b.unsigned(STACK_BASE_REGISTER)?;
                Some(register(b, number ^ RBP)?)
            }
        };
        if flags & HAS_PRESERVED_AREA != 0 {
            b.unsigned(PRESERVED_AREA)?;
        }
        let reverse_pinvoke_frame = slot_if(b, flags & HAS_REVERSE_PINVOKE_FRAME != 0)?;
        let outgoing_area = if fat {
            b.unsigned(STACK_AREA)?.saturating_mul(8)
        } else {
            0
        };
        let safe_point_count = b.unsigned(SAFE_POINTS)?;
        let range_count = if fat { b.unsigned(RANGES)? } else { 0 };
        if safe_point_count > code_length {
            return Err(b.error(Fault::Value(safe_point_count)));
        }
        let offset_bits = bits_for(code_length);
        let mut safe_points = Vec::new();
        for _ in 0..safe_point_count {
            // What is stored is in the call instruction.
            safe_points.push(b.take(offset_bits)?.saturating_add(1));
        }
        let mut interruptible_ranges = Vec::new();
        let mut last = 0u32;
        for _ in 0..range_count {
            let begin = last.saturating_add(b.unsigned(RANGE_DELTA)?);
            last = begin.saturating_add(b.unsigned(RANGE_DELTA)?).saturating_add(1);
            if last > code_length {
                return Err(b.error(Fault::Value(last)));
            }
            interruptible_ranges.push((begin, last));
        }
        let (slots, tracked) = slots(b)?;
        Ok(Self {
            code_length,
            returns,
            is_vararg: flags & IS_VARARG != 0,
            gs_cookie,
            psp_sym,
            generics_context: context.zip(context_slot),
            stack_base_register,
            wants_report_only_leaf: flags & WANTS_REPORT_ONLY_LEAF != 0,
            reverse_pinvoke_frame,
            outgoing_area,
            safe_points,
            interruptible_ranges,
            slots,
            tracked,
            states: bits,
        })
    }
}

/// Bits that hold every number below `bound`.
fn bits_for(bound: u32) -> u32 {
    bound.saturating_sub(1).checked_ilog2().map_or(0, |log| log + 1)
}

fn returns(b: &mut Bits<'_>, fat: bool) -> Result<(ReturnPart, ReturnPart)> {
    let start = *b;
    let kind = b.take(if fat { 4 } else { 2 })?;
    let part = |n: u32| match n {
        0 => Ok(ReturnPart::Scalar),
        1 => Ok(ReturnPart::Object),
        2 => Ok(ReturnPart::ByRef),
        _ => Err(start.error(Fault::Value(kind))),
    };
    Ok((part(kind & 3)?, part(kind >> 2)?))
}

/// Bytes.
fn stack_offset(b: &mut Bits<'_>, base: u32) -> Result<i32> {
    let words = b.signed(base)?;
    words
        .checked_mul(WORD)
        .ok_or_else(|| b.error(Fault::Value(words as u32)))
}

fn register(b: &Bits<'_>, number: u32) -> Result<u8> {
    match u8::try_from(number) {
        Ok(number @ 0..=15) => Ok(number),
        _ => Err(b.error(Fault::Value(number))),
    }
}

/// Two bits about a slot. While both are clear, the next slot has the same.
fn slot_flags(b: &mut Bits<'_>) -> Result<u32> {
    b.take(2)
}

fn slots(b: &mut Bits<'_>) -> Result<(Vec<Slot>, usize)> {
    let registers = if b.bit()? { b.unsigned(REGISTERS)? } else { 0 };
    let (stack, untracked) = if b.bit()? {
        (b.unsigned(STACK_SLOTS)?, b.unsigned(UNTRACKED_SLOTS)?)
    } else {
        (0, 0)
    };
    let mut slots = Vec::new();
    let (mut number, mut flags) = (0u32, 0);
    for i in 0..registers {
        if i == 0 || flags != 0 {
            number = b.unsigned(REGISTER)?;
            flags = slot_flags(b)?;
        } else {
            number = number.saturating_add(b.unsigned(REGISTER_DELTA)?).saturating_add(1);
        }
        slots.push(Slot::new(Location::Register(register(b, number)?), flags));
    }
    for count in [stack, untracked] {
        let (mut words, mut flags) = (0i32, 0);
        for i in 0..count {
            let base = b.take(2)?;
            if i == 0 || flags != 0 {
                words = b.signed(STACK_SLOT)?;
                flags = slot_flags(b)?;
            } else {
                words = words.saturating_add_unsigned(b.unsigned(STACK_SLOT_DELTA)?);
            }
            let offset = words
                .checked_mul(WORD)
                .ok_or_else(|| b.error(Fault::Value(words as u32)))?;
            let location = match base {
                0 => Location::CallerSp(offset),
                1 => Location::Sp(offset),
                2 => Location::Frame(offset),
                _ => return Err(b.error(Fault::Value(base))),
            };
            slots.push(Slot::new(location, flags));
        }
    }
    let tracked = slots.len() - untracked as usize;
    Ok((slots, tracked))
}

impl Slot {
    fn new(location: Location, flags: u32) -> Self {
        Self {
            location,
            interior: flags & 1 != 0,
            pinned: flags & 2 != 0,
        }
    }
}
