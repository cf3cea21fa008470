//! What is known of each piece of generated code, and how to find it from a program counter.
//!
//! The map has one pointer for every 32 bytes of the code region (address space reserved, committed as touched), so a lookup
//! is one load without locks: signal handlers, stack walks and the collector may use it at any time.

use crate::code_heap::{CODE_ALIGN, CodeHeap};
use crate::ids::{MethodId, TypeId};
use crate::il_map::IlMap;
use crate::layout::GcKind;
use corten_tiering::code_index;
use corten_tiering::sync::AtomicPtr;

/// What a piece of code is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeKind {
    /// A method body.
    Method,
    /// A filter of a method: runs on top of the frames that it inspects.
    Filter,
    /// A stub: not shown in stack traces.
    Stub,
}

/// A callee-saved register in the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavedRegister {
    /// Hardware encoding (3 = rbx, 12-15 = r12-r15).
    pub register: u8,
    /// Offset from the frame pointer.
    pub fp_offset: i32,
}

/// A landing pad of a call site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandlerPad {
    /// Index in [`CodeInfo::clauses`].
    pub clause: u32,
    /// Code offset of the pad: entered with rax = exception, rdx = dispatch record, callee-saved registers of the frame,
    /// rsp = fp - frame size.
    pub pad: u32,
}

/// A call that stack walks look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallSite {
    /// Offset of the return address.
    pub ret: u32,
    /// IL offset, or `NO_IL`.
    pub il: u32,
    first_handler: u32,
    handlers: u32,
}

impl CallSite {
    pub(crate) fn new(ret: u32, il: u32, first_handler: u32, handlers: u32) -> Self {
        CallSite {
            ret,
            il,
            first_handler,
            handlers,
        }
    }
}

/// A frame slot that the collector scans and updates. Valid at every safepoint of the method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GcSlot {
    /// Offset from the frame pointer (negative).
    pub fp_offset: i32,
    /// Reference or managed pointer.
    pub kind: GcKind,
    /// The referent must not move.
    pub pinned: bool,
}

/// Instructions with the same source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IlRange {
    /// Code offset of the first.
    pub start: u32,
    /// IL offset, or `NO_IL`.
    pub il: u32,
    /// 0 for the method's own IL, else an inlined call: element `site - 1` of [`CodeInfo::sites`].
    pub site: u32,
}

impl IlRange {
    fn il(&self) -> Option<u32> {
        (self.il != crate::ir::NO_IL).then_some(self.il)
    }
}

/// A call whose target's body is part of the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InlinedCall {
    /// Whose IL the call is in, numbered as [`IlRange::site`].
    pub parent: u32,
    /// IL offset of the call, or `NO_IL`.
    pub call_il: u32,
    /// The target.
    pub method: MethodId,
}

/// Kind of an EH clause at run time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClauseHandler {
    /// Catches instances of the type.
    Catch(TypeId),
    /// Call this code address as `i32 (exception, locals base)` in the first pass; non-zero accepts.
    Filter(usize),
    /// Runs in the second pass.
    Finally,
    /// Runs in the second pass.
    Fault,
}

/// An EH clause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClauseInfo {
    /// What it does.
    pub handler: ClauseHandler,
    /// IL range of the protected block (start, end).
    pub try_range: (u32, u32),
    /// IL range of the handler.
    pub handler_range: (u32, u32),
}

/// Everything known of one piece of code. Lives as long as the code.
#[derive(Debug)]
pub struct CodeInfo {
    /// The method, if it is one's code.
    pub method: Option<MethodId>,
    /// Body, filter or stub.
    pub kind: CodeKind,
    /// First address.
    pub start: usize,
    /// Where calls go: the first address, or that of a preamble behind the function.
    pub entry: usize,
    /// Size in bytes, with the preamble.
    pub len: u32,
    /// Bytes from rsp to rbp at every call.
    pub frame_size: u32,
    /// The frame is not an rbp frame (some stubs): the walker needs help.
    pub frameless: bool,
    /// Callee-saved registers that the prologue saved.
    pub saved: Box<[SavedRegister]>,
    /// The calls that have landing pads, and those of replacements of loops. Sorted by return offset.
    pub call_sites: Box<[CallSite]>,
    /// Pads of all call sites.
    pub handlers: Box<[HandlerPad]>,
    /// Slots with references.
    pub gc_slots: Box<[GcSlot]>,
    /// EH clauses in the order of the method's table.
    pub clauses: Box<[ClauseInfo]>,
    /// Offset of the area of locals from the frame pointer: what filters get as base.
    pub locals_fp_offset: i32,
    /// Ranges of instructions with the same source.
    pub il_map: IlMap,
    /// Inlined calls, by number less one.
    pub sites: Box<[InlinedCall]>,
}

impl CodeInfo {
    /// Is the address inside?
    pub fn contains(&self, pc: usize) -> bool {
        pc.wrapping_sub(self.start) < self.len as usize
    }

    /// The call that returns to `pc`, if it is in the list.
    pub fn call_site(&self, pc: usize) -> Option<&CallSite> {
        let offset = u32::try_from(pc.wrapping_sub(self.start)).ok()?;
        let i = self.call_sites.binary_search_by_key(&offset, |c| c.ret).ok()?;
        Some(&self.call_sites[i])
    }

    /// Pads of a call site, innermost clause first.
    pub fn handlers(&self, site: &CallSite) -> &[HandlerPad] {
        let first = site.first_handler as usize;
        self.handlers.get(first..first + site.handlers as usize).unwrap_or(&[])
    }

    /// The source of the instruction at code offset `offset` (for a return address, pass the address minus one).
    fn range(&self, offset: u32) -> Option<IlRange> {
        self.il_map.find(offset)
    }

    /// IL offset of the instruction at code offset `offset`, in the method whose IL it is: the last of
    /// [`source`](Self::source)'s methods is that of the code.
    pub fn il_offset(&self, offset: u32) -> Option<u32> {
        self.range(offset)?.il()
    }

    /// Whose IL the instruction at code offset `offset` is: the innermost inlined method first, the code's own last, each
    /// with an IL offset if it is known.
    pub fn source(&self, offset: u32) -> impl Iterator<Item = (Option<MethodId>, Option<u32>)> + '_ {
        let range = self.range(offset);
        let mut next = Some((range.map_or(0, |r| r.site), range.and_then(|r| r.il())));
        std::iter::from_fn(move || {
            let (site, il) = next?;
            let call = (site as usize).checked_sub(1).and_then(|i| self.sites.get(i));
            next = call.map(|c| (c.parent, (c.call_il != crate::ir::NO_IL).then_some(c.call_il)));
            Some((call.map_or(self.method, |c| Some(c.method)), il))
        })
    }

    /// Base of the locals of a frame of this code.
    pub fn locals_base(&self, fp: usize) -> usize {
        fp.wrapping_add_signed(self.locals_fp_offset as isize)
    }
}

/// Finds [`CodeInfo`] by address.
pub struct CodeMap {
    base: usize,
    code_bytes: usize,
    table: *mut AtomicPtr<CodeInfo>,
}

// SAFETY: the table is only accessed atomically.
unsafe impl Send for CodeMap {}
// SAFETY: as above.
unsafe impl Sync for CodeMap {}

impl CodeMap {
    /// A map for the code part of `heap`.
    pub fn new(heap: &CodeHeap) -> std::io::Result<Self> {
        let bytes = heap.code_bytes() / CODE_ALIGN * size_of::<AtomicPtr<CodeInfo>>();
        // SAFETY: a new private mapping.
        let p = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if p == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        Ok(CodeMap {
            base: heap.base(),
            code_bytes: heap.code_bytes(),
            table: p.cast(),
        })
    }

    fn slot(&self, pc: usize) -> Option<&AtomicPtr<CodeInfo>> {
        let offset = pc.wrapping_sub(self.base);
        if offset >= self.code_bytes {
            return None;
        }
        // SAFETY: inside the table; zeroed memory is a valid null pointer.
        Some(unsafe { &*self.table.add(offset / CODE_ALIGN) })
    }

    /// The code at an address. Lock-free, async-signal-safe.
    ///
    /// The description lives as long as the code, which the runtime frees when no frame of it is left ([`crate::compile::Jit::free`]).
    pub fn lookup(&self, pc: usize) -> Option<&'static CodeInfo> {
        let p = code_index::find(self.slot(pc)?);
        if p.is_null() {
            return None;
        }
        // SAFETY: descriptions are removed before they are freed.
        let info: &'static CodeInfo = unsafe { &*p };
        info.contains(pc).then_some(info)
    }

    /// Makes code findable.
    pub fn insert(&self, info: Box<CodeInfo>) -> &'static CodeInfo {
        let pointer = Box::into_raw(info);
        // SAFETY: just made, and freed by nobody but who calls `remove`.
        let info: &'static CodeInfo = unsafe { &*pointer };
        self.fill(info, pointer);
        info
    }

    /// Forgets code; its description.
    ///
    /// # Safety
    /// `info` came from [`insert`](Self::insert). The description is used by nobody any more, and by the caller only until the box
    /// is dropped.
    pub unsafe fn remove(&self, info: &'static CodeInfo) -> Option<Box<CodeInfo>> {
        let pointer = code_index::find(self.slot(info.start)?);
        self.fill(info, std::ptr::null_mut());
        // SAFETY: what `insert` made of a box, once: the map does not have it any more.
        (std::ptr::eq(pointer, info)).then(|| unsafe { Box::from_raw(pointer) })
    }

    fn fill(&self, info: &CodeInfo, value: *mut CodeInfo) {
        let granules = (info.start..info.start + info.len as usize).step_by(CODE_ALIGN);
        code_index::publish(granules.filter_map(|pc| self.slot(pc)), value);
    }
}

impl Drop for CodeMap {
    fn drop(&mut self) {
        let bytes = self.code_bytes / CODE_ALIGN * size_of::<AtomicPtr<CodeInfo>>();
        // SAFETY: our own mapping.
        unsafe { libc::munmap(self.table.cast(), bytes) };
    }
}
