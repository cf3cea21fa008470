//! Walking managed frames: the one place that knows the code map's interface.
//!
//! A thread's stack is a list of *segments* of managed frames, innermost first. Each segment begins at a managed-to-native
//! transition and ends at an [`EntryFrame`], whose `saved_*` fields tell where the next outer segment begins.

use crate::asm::ThrowContext;
use crate::thread::{EntryFrame, Thread};
use corten_jit::code_map::{ClauseHandler, CodeInfo, CodeKind};
use corten_jit::ir::OSR_CALL;
use corten_loader::{MethodDesc, MethodKind};

/// The generated code that contains `pc`. Lock-free, usable in signal handlers.
#[inline]
pub fn lookup(pc: usize) -> Option<&'static CodeInfo> {
    crate::engine::code_at(pc)
}

/// The generated code of the call that returns to `pc` (which may be just behind the code).
#[inline]
fn lookup_return(pc: usize) -> Option<&'static CodeInfo> {
    lookup(pc).or_else(|| lookup(pc.wrapping_sub(1)))
}

/// A managed frame at a call site.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Return address in the frame's code.
    pub pc: usize,
    /// Frame pointer.
    pub fp: usize,
    /// What is known of its code.
    pub code: &'static CodeInfo,
}

/// A clause whose landing pad is listed at a call site.
#[derive(Clone, Copy, Debug)]
pub struct Handler {
    /// Index in the method's EH table.
    pub clause: u32,
    /// Address of the landing pad.
    pub pad: usize,
}

/// Kind of an EH clause (ECMA-335 II.25.4.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandlerKind {
    /// Raw TypeHandle of the class.
    Catch(usize),
    /// Address of the filter function `i32 (exception, locals base)`.
    Filter(usize),
    /// Finally or fault.
    Cleanup,
}

/// One step of a stack walk.
#[derive(Debug)]
pub enum Step {
    /// A frame of generated code.
    Managed(Frame),
    /// The segment ends at this native-to-managed call.
    Entry(*mut EntryFrame),
    /// The outermost end.
    End,
}

/// Cursor over the frames of the current thread (or of a stopped one).
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    pc: usize,
    fp: usize,
    entry: *mut EntryFrame,
    /// The last step was `entry`'s end.
    at_entry: bool,
}

impl Walk {
    /// From the innermost transition of `thread`.
    pub fn from_transition(thread: &Thread) -> Walk {
        Walk::at(
            thread.header.transition_pc.get(),
            thread.header.transition_fp.get(),
            thread.header.entry_frame.get().cast(),
        )
    }

    /// From a frame given by its return address and frame pointer; `entry` is the innermost entry frame.
    pub fn at(pc: usize, fp: usize, entry: *mut EntryFrame) -> Walk {
        Walk {
            pc,
            fp,
            entry,
            at_entry: false,
        }
    }

    /// The next frame outwards.
    pub fn step(&mut self) -> Step {
        if self.at_entry {
            self.at_entry = false;
            // SAFETY: entry frames are live on the stack of the walked thread.
            let e = unsafe { &*self.entry };
            (self.pc, self.fp, self.entry) = (e.saved_pc, e.saved_fp, e.prev);
        }
        match lookup_return(self.pc) {
            Some(code) => {
                let frame = Frame {
                    pc: self.pc,
                    fp: self.fp,
                    code,
                };
                (self.pc, self.fp) = frame.caller();
                Step::Managed(frame)
            }
            None if self.entry.is_null() => Step::End,
            None => {
                self.at_entry = true;
                Step::Entry(self.entry)
            }
        }
    }
}

impl Frame {
    /// Return address and frame pointer of the caller.
    pub fn caller(&self) -> (usize, usize) {
        // SAFETY: managed frames keep the rbp chain: [fp] is the caller's frame pointer, [fp + 8] the return address.
        unsafe { (*((self.fp + 8) as *const usize), *(self.fp as *const usize)) }
    }

    /// The methods that are active in the frame with their IL offsets: inlined ones first, innermost first. Nothing for
    /// stubs.
    pub fn traced_methods(&self) -> impl Iterator<Item = (&'static MethodDesc, Option<u32>)> + use<> {
        let (code, call) = (self.code, self.native_offset().wrapping_sub(1));
        self.traced_method().into_iter().flat_map(move |_| {
            // SAFETY: the engine compiles methods under the addresses of their (leaked) MethodDescs.
            let method = |id: corten_jit::ids::MethodId| unsafe { &*(id.0 as *const MethodDesc) };
            let sources = code.source(call);
            sources.filter_map(move |(id, il)| Some((method(id?), il)))
        })
    }

    /// The method that the code belongs to.
    pub fn method(&self) -> Option<&'static MethodDesc> {
        let address = self.code.method?.0 as *const MethodDesc;
        // SAFETY: the engine compiles methods under the addresses of their (leaked) MethodDescs.
        (!address.is_null()).then(|| unsafe { &*address })
    }

    /// The method if the frame belongs in stack traces: not a stub.
    pub fn traced_method(&self) -> Option<&'static MethodDesc> {
        if self.code.kind == CodeKind::Stub || self.is_replaced() {
            return None;
        }
        self.method()
            .filter(|m| matches!(m.kind(), MethodKind::Il | MethodKind::Dynamic))
    }

    /// Is it a Tier-0 frame whose method goes on in the frame that it called?
    pub fn is_replaced(&self) -> bool {
        self.code.call_site(self.pc).is_some_and(|site| site.il == OSR_CALL)
    }

    /// Byte offset of the return address in the code.
    pub fn native_offset(&self) -> u32 {
        self.pc.wrapping_sub(self.code.start) as u32
    }

    /// Stack pointer at the call site.
    pub fn sp(&self) -> usize {
        self.fp.wrapping_sub(self.code.frame_size as usize)
    }

    /// Landing pads of the call site, innermost clause first.
    pub fn handlers(&self) -> impl Iterator<Item = Handler> + use<> {
        let code = self.code;
        let pads = code.call_site(self.pc).map_or(&[][..], |site| code.handlers(site));
        pads.iter().map(move |h| Handler {
            clause: h.clause,
            pad: code.start + h.pad as usize,
        })
    }

    /// Kind of a clause of this method.
    pub fn clause(&self, clause: u32) -> HandlerKind {
        match self.code.clauses.get(clause as usize).map(|c| c.handler) {
            Some(ClauseHandler::Catch(class)) => HandlerKind::Catch(class.0 as usize),
            Some(ClauseHandler::Filter(function)) => HandlerKind::Filter(function),
            Some(ClauseHandler::Finally | ClauseHandler::Fault) => HandlerKind::Cleanup,
            None => crate::engine::fatal("a call site names a clause that its method lacks"),
        }
    }

    /// Base address of the locals, for filters.
    pub fn locals_base(&self) -> usize {
        self.code.locals_base(self.fp)
    }

    /// Puts the callee-saved registers of the caller, which this frame saved, into `context`.
    pub fn restore_callee_saved(&self, context: &mut ThrowContext) {
        for saved in &self.code.saved {
            let Some(target) = context.register(saved.register) else {
                continue;
            };
            // SAFETY: the prologue stored the register there.
            *target = unsafe { *(self.fp.wrapping_add_signed(saved.fp_offset as isize) as *const usize) };
        }
    }
}

impl ThrowContext {
    /// A callee-saved register by its hardware number.
    fn register(&mut self, number: u8) -> Option<&mut usize> {
        match number {
            3 => Some(&mut self.rbx),
            12 => Some(&mut self.r12),
            13 => Some(&mut self.r13),
            14 => Some(&mut self.r14),
            // r15 is the thread, the same in every frame; rbp is the frame chain.
            _ => None,
        }
    }
}
