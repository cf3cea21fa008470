//! Stepping over frames of generated code: all that can be done from [`CodeInfo`] alone.
//!
//! Generated code keeps rbp frames, and every prologue that saves callee-saved registers says where. A cursor therefore
//! recovers the registers of each caller, which landing pads need (System V `try_call` assumes that rbx and r12-r15 survive).

use crate::code_map::{CallSite, CodeInfo, CodeMap, HandlerPad};

/// The callee-saved registers, at their values at a call.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CalleeSaved {
    /// rbx.
    pub rbx: usize,
    /// r12.
    pub r12: usize,
    /// r13.
    pub r13: usize,
    /// r14.
    pub r14: usize,
    /// r15: the thread, never saved by generated code.
    pub r15: usize,
}

impl CalleeSaved {
    /// The register with this hardware encoding.
    pub fn get_mut(&mut self, register: u8) -> Option<&mut usize> {
        Some(match register {
            3 => &mut self.rbx,
            12 => &mut self.r12,
            13 => &mut self.r13,
            14 => &mut self.r14,
            15 => &mut self.r15,
            _ => return None,
        })
    }
}

/// A position in a stack of frames: a call (by its return address) in the frame at `fp`.
#[derive(Clone, Copy, Debug)]
pub struct FrameCursor {
    /// Return address in the code of the frame.
    pub pc: usize,
    /// Frame pointer (rbp).
    pub fp: usize,
    /// Callee-saved registers at the call.
    pub registers: CalleeSaved,
}

impl FrameCursor {
    /// The code of the frame; `None` if it is not generated code.
    pub fn info(&self, map: &CodeMap) -> Option<&'static CodeInfo> {
        // A return address may be the first byte after the code if the call was the last instruction.
        map.lookup(self.pc).or_else(|| map.lookup(self.pc.wrapping_sub(1)))
    }

    /// Stack pointer at the call.
    pub fn sp(&self, info: &CodeInfo) -> usize {
        self.fp.wrapping_sub(info.frame_size as usize)
    }

    /// The call site and its landing pads.
    pub fn handlers<'i>(&self, info: &'i CodeInfo) -> Option<(&'i CallSite, &'i [HandlerPad])> {
        let site = info.call_site(self.pc)?;
        Some((site, info.handlers(site)))
    }

    /// Moves to the caller.
    ///
    /// # Safety
    /// The cursor must denote a live rbp frame of the code `info`.
    pub unsafe fn step(&mut self, info: &CodeInfo) {
        for saved in &info.saved {
            let at = self.fp.wrapping_add_signed(saved.fp_offset as isize) as *const usize;
            if let Some(register) = self.registers.get_mut(saved.register) {
                // SAFETY: the prologue stored the register there.
                *register = unsafe { at.read() };
            }
        }
        // SAFETY: an rbp frame starts with the caller's rbp and the return address.
        unsafe {
            let frame = self.fp as *const usize;
            self.pc = frame.add(1).read();
            self.fp = frame.read();
        }
    }
}
