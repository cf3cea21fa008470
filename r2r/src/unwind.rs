//! Unwind information of AMD64 code: `UNWIND_INFO` of Windows, with an addition of CoreCLR for large frames (`inc/win64unwind.h`),
//! and unwinding by it.

use crate::error::{Fault, Result};
use crate::reader::Reader;

/// One operation of a prolog. The operations are listed last one first, as unwinding undoes them. Registers have the processor's
/// numbers (0 rax, 1 rcx, 2 rdx, 3 rbx, 4 rsp, 5 rbp, …).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnwindOp {
    /// `push register`.
    Push {
        /// Register.
        register: u8,
    },
    /// `sub rsp, bytes`.
    Allocate {
        /// Bytes.
        bytes: u32,
    },
    /// The frame register was set to rsp plus so many bytes.
    SetFrame {
        /// Bytes.
        offset: u32,
    },
    /// A register was stored at rsp plus so many bytes.
    Save {
        /// Register.
        register: u8,
        /// Bytes.
        offset: u32,
    },
}

/// An operation and where in the prolog it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnwindCode {
    /// Offset in the function of the instruction behind the one that does it.
    pub prolog_offset: u8,
    /// What is done.
    pub op: UnwindOp,
}

/// How to get from a frame of a function to its caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnwindInfo {
    /// Bytes of the prolog.
    pub prolog_size: u8,
    /// Register that [`UnwindOp::SetFrame`] sets; 0 if there is none.
    pub frame_register: u8,
    /// Operations of the prolog, last one first.
    pub codes: Vec<UnwindCode>,
}

const UWOP_PUSH_NONVOL: u8 = 0;
const UWOP_ALLOC_LARGE: u8 = 1;
const UWOP_ALLOC_SMALL: u8 = 2;
const UWOP_SET_FPREG: u8 = 3;
const UWOP_SAVE_NONVOL: u8 = 4;
const UWOP_SAVE_NONVOL_FAR: u8 = 5;
/// CoreCLR's own: the offset is in the next two slots, in units of 16 bytes.
const UWOP_SET_FPREG_LARGE: u8 = 11;
/// The function has an exception handler or a termination handler.
const HANDLERS: u8 = 3;

impl UnwindInfo {
    /// Reads the information at the cursor and leaves the cursor behind it, where the GC info of a method begins.
    ///
    /// # Errors
    /// The data ends too soon, or has a version or an operation that .NET's compilers do not use.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let start = *reader;
        let [version_flags, prolog_size, count, frame] = [reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?];
        let (version, flags) = (version_flags & 7, version_flags >> 3);
        if version != 1 || flags & !HANDLERS != 0 {
            return Err(start.error(Fault::Value(version_flags.into())));
        }
        let mut codes = Vec::new();
        let end = reader.offset() + 2 * usize::from(count);
        while reader.offset() < end {
            let at = *reader;
            let prolog_offset = reader.u8()?;
            let code = reader.u8()?;
            let info = code >> 4;
            let op = match code & 15 {
                UWOP_PUSH_NONVOL => UnwindOp::Push { register: info },
                UWOP_ALLOC_SMALL => UnwindOp::Allocate {
                    bytes: u32::from(info) * 8 + 8,
                },
                UWOP_ALLOC_LARGE if info == 0 => UnwindOp::Allocate {
                    bytes: u32::from(reader.u16()?) * 8,
                },
                UWOP_ALLOC_LARGE if info == 1 => UnwindOp::Allocate { bytes: reader.u32()? },
                UWOP_SET_FPREG => UnwindOp::SetFrame {
                    offset: u32::from(frame >> 4) * 16,
                },
                UWOP_SET_FPREG_LARGE => {
                    let units = reader.u32()?;
                    let offset = units.checked_mul(16).ok_or_else(|| at.error(Fault::Value(units)))?;
                    UnwindOp::SetFrame { offset }
                }
                UWOP_SAVE_NONVOL => UnwindOp::Save {
                    register: info,
                    offset: u32::from(reader.u16()?) * 8,
                },
                UWOP_SAVE_NONVOL_FAR => UnwindOp::Save {
                    register: info,
                    offset: reader.u32()?,
                },
                _ => return Err(at.error(Fault::Value(code.into()))),
            };
            codes.push(UnwindCode { prolog_offset, op });
        }
        if reader.offset() != end {
            return Err(start.error(Fault::Value(count.into())));
        }
        if count % 2 == 1 {
            reader.u16()?;
        }
        if flags != 0 {
            // The personality routine, for native unwinders only.
            reader.u32()?;
        }
        Ok(Self {
            prolog_size,
            frame_register: frame & 15,
            codes,
        })
    }
}

/// Numbers of registers.
const RSP: usize = 4;

/// The registers of a frame: those that calls preserve, and where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Frame {
    /// By the processor's number. In a caller's frame only rsp and the registers that calls preserve mean anything.
    pub registers: [u64; 16],
    /// Instruction pointer: where the frame goes on.
    pub ip: u64,
}

impl UnwindInfo {
    /// The frame of the caller. `offset` is the position in the function in bytes: a return address there, or a faulting
    /// instruction. The epilog is not known: unwinding cannot begin in it. `read` gives the word at an address of the stack.
    ///
    /// Returns `None` if `read` does.
    pub fn caller(&self, offset: u32, frame: &Frame, mut read: impl FnMut(u64) -> Option<u64>) -> Option<Frame> {
        let mut caller = *frame;
        let done =
            |code: &&UnwindCode| offset >= u32::from(self.prolog_size) || u32::from(code.prolog_offset) <= offset;
        // Saves are relative to rsp as the prolog leaves it, which the frame register tells where the body moves rsp.
        let set_frame = self.codes.iter().filter(done).find_map(|code| match code.op {
            UnwindOp::SetFrame { offset } => Some(offset),
            _ => None,
        });
        let base = match set_frame {
            Some(offset) => caller.registers[usize::from(self.frame_register)].wrapping_sub(offset.into()),
            None => caller.registers[RSP],
        };
        for code in self.codes.iter().filter(done) {
            let rsp = caller.registers[RSP];
            match code.op {
                UnwindOp::Push { register } => {
                    caller.registers[usize::from(register)] = read(rsp)?;
                    caller.registers[RSP] = rsp.wrapping_add(8);
                }
                UnwindOp::Allocate { bytes } => caller.registers[RSP] = rsp.wrapping_add(bytes.into()),
                UnwindOp::SetFrame { .. } => caller.registers[RSP] = base,
                UnwindOp::Save { register, offset } => {
                    caller.registers[usize::from(register)] = read(base.wrapping_add(offset.into()))?;
                }
            }
        }
        caller.ip = read(caller.registers[RSP])?;
        caller.registers[RSP] = caller.registers[RSP].wrapping_add(8);
        Some(caller)
    }
}
