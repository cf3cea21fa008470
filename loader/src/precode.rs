//! Precode: the small pieces of machine code that make a MethodDesc callable before it is compiled.
//!
//! Each MethodDesc has one 32-byte unit:
//! * `+0`  stable entry: `mov r10, md; jmp [r10]`: a permanent address (function pointers, vtable slots);
//! * `+16` temporary entry: `mov r10, md; jmp prestub`: the initial value of `MethodDesc.entry`.
//!
//! Publication protocol (modelled in `tests/loom_publish.rs`): the entry word and the list of vtable slots
//! that show a method are changed under the list's lock, so that a slot registered concurrently with a
//! publication cannot keep an outdated address.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering as StdOrdering},
};

use crate::{
    error::{LoadError, Result},
    method_desc::MethodDesc,
    sync::{EntryWord, Ordering, SlotMutex},
};

/// Offset of the temporary entry in a precode unit.
pub const TEMPORARY_OFFSET: usize = 16;
/// Bytes per precode unit.
pub const PRECODE_SIZE: usize = 32;

/// The word `call [md]` goes through.
pub struct EntryCell(EntryWord);

impl EntryCell {
    /// A cell that holds `entry`.
    pub fn new(entry: usize) -> Self {
        Self(EntryWord::new(entry))
    }
    /// Current target.
    pub fn load(&self, order: Ordering) -> usize {
        self.0.load(order)
    }
    pub(crate) fn store(&self, value: usize, order: Ordering) {
        self.0.store(value, order);
    }
}

/// A vtable slot that shows a method.
#[cfg(not(loom))]
pub type SlotRef = &'static AtomicUsize;
/// A vtable slot that shows a method.
#[cfg(loom)]
pub type SlotRef = loom::sync::Arc<EntryWord>;

/// The vtable slots to patch when a method's code changes.
pub struct BackpatchSlots(SlotMutex<Vec<SlotRef>>);

impl Default for BackpatchSlots {
    fn default() -> Self {
        Self(SlotMutex::new(Vec::new()))
    }
}

/// Publishes `code`: a release store to the entry, then to every registered slot.
pub fn publish(entry: &EntryCell, slots: &BackpatchSlots, code: usize) {
    let list = slots.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    entry.store(code, Ordering::Release);
    for s in list.iter() {
        s.store(code, Ordering::Release);
    }
}

/// Registers a vtable slot and fills it: with published code, or with `stable` while the entry is still
/// `temporary` (so that a caller through the slot keeps r10 = MethodDesc semantics of the precode).
pub fn register_slot(entry: &EntryCell, slots: &BackpatchSlots, slot: SlotRef, stable: usize, temporary: usize) {
    let mut list = slots.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let current = entry.load(Ordering::Acquire);
    slot.store(if current == temporary { stable } else { current }, Ordering::Release);
    list.push(slot);
}

struct CodeArena {
    cursor: usize,
    limit: usize,
    /// `jmp [rip]` to the prestub, in the same arena.
    trampoline: usize,
}

static ARENA: Mutex<CodeArena> = Mutex::new(CodeArena {
    cursor: 0,
    limit: 0,
    trampoline: 0,
});
static PRESTUB: AtomicUsize = AtomicUsize::new(0);
/// Cells that hold the prestub address, one per arena chunk.
static PRESTUB_CELLS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

const ARENA_CHUNK: usize = 32 << 20;

/// `mov r10, imm64`, without the number.
const MOV_R10: [u8; 2] = [0x49, 0xBA];
/// `add rdi, 8`: from a box to its payload.
const ADD_RDI_8: [u8; 4] = [0x48, 0x83, 0xC7, 0x08];
/// `xchg rdi, rsi`: (receiver, return buffer) becomes (return buffer, first argument).
const XCHG_RDI_RSI: [u8; 3] = [0x48, 0x87, 0xF7];

/// Sets the address of the prestub thunk: assembly that receives the MethodDesc in r10 and all argument
/// registers untouched, makes code, and jumps to it.
pub fn set_prestub(thunk: usize) {
    PRESTUB.store(thunk, StdOrdering::Release);
    for cell in PRESTUB_CELLS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .iter()
    {
        // SAFETY: cells live in arena chunks that are never unmapped, 8-aligned.
        unsafe { (*(*cell as *const AtomicUsize)).store(thunk, StdOrdering::Release) };
    }
}

/// Maps `size` bytes read-write-execute within 2 GB of this executable's code if possible.
fn map_near_code(size: usize) -> Option<usize> {
    let anchor = set_prestub as *const () as usize & !0xF_FFFF;
    let try_at = |hint: usize| {
        // SAFETY: anonymous mapping; MAP_FIXED_NOREPLACE never replaces an existing one.
        let p = unsafe {
            libc::mmap(
                hint as *mut libc::c_void,
                size,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                libc::MAP_PRIVATE
                    | libc::MAP_ANONYMOUS
                    | libc::MAP_NORESERVE
                    | if hint != 0 { libc::MAP_FIXED_NOREPLACE } else { 0 },
                -1,
                0,
            )
        };
        if p == libc::MAP_FAILED {
            return None;
        }
        if hint != 0 && p as usize != hint {
            // SAFETY: unmapping what was just mapped (an old kernel ignored MAP_FIXED_NOREPLACE).
            unsafe { libc::munmap(p, size) };
            return None;
        }
        Some(p as usize)
    };
    (1..56usize)
        .filter_map(|k| anchor.checked_sub(k * size))
        .find_map(try_at)
        .or_else(|| try_at(0))
}

fn with_arena<T>(bytes: usize, f: impl FnOnce(usize, usize) -> T) -> Result<T> {
    let mut a = ARENA.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if a.cursor + bytes > a.limit {
        let size = ARENA_CHUNK.max((bytes + 64).next_multiple_of(4096));
        let base = map_near_code(size).ok_or_else(|| LoadError::NotSupported {
            what: "executable memory is not available".into(),
        })?;
        // Unit 0: cell at +0, `ud2` at +8, trampoline at +16: jmp [rip-22] (FF 25 disp32).
        let ud2 = base + 8;
        let prestub = PRESTUB.load(StdOrdering::Acquire);
        // SAFETY: fresh private mapping of at least 64 bytes.
        unsafe {
            (base as *mut usize).write(if prestub == 0 { ud2 } else { prestub });
            (ud2 as *mut [u8; 2]).write([0x0F, 0x0B]);
            (base as *mut u8).add(16).cast::<[u8; 2]>().write([0xFF, 0x25]);
            (base as *mut u8).add(18).cast::<i32>().write_unaligned(-22);
        }
        PRESTUB_CELLS
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(base);
        a.trampoline = base + 16;
        a.cursor = base + 32;
        a.limit = base + size;
    }
    let at = a.cursor;
    a.cursor += bytes.next_multiple_of(16);
    Ok(f(at, a.trampoline))
}

/// Gives each MethodDesc of a freshly made chunk its precode unit and initial entry.
pub(crate) fn attach_precode(chunk: &[MethodDesc]) -> Result<()> {
    if chunk.is_empty() {
        return Ok(());
    }
    with_arena(chunk.len() * PRECODE_SIZE, |mut at, trampoline| {
        for md in chunk {
            let addr = (md.address() as u64).to_le_bytes();
            let mut unit = [0xCCu8; PRECODE_SIZE];
            // mov r10, imm64
            unit[0..2].copy_from_slice(&MOV_R10);
            unit[2..10].copy_from_slice(&addr);
            // jmp [r10]
            unit[10..13].copy_from_slice(&[0x41, 0xFF, 0x22]);
            // mov r10, imm64
            unit[16..18].copy_from_slice(&MOV_R10);
            unit[18..26].copy_from_slice(&addr);
            // jmp rel32 trampoline
            unit[26] = 0xE9;
            let rel = (trampoline as i64 - (at as i64 + 31)) as i32;
            unit[27..31].copy_from_slice(&rel.to_le_bytes());
            // SAFETY: `at` is inside the arena, reserved for this chunk by `with_arena`.
            unsafe { (at as *mut [u8; PRECODE_SIZE]).write(unit) };
            md.precode.store(at, StdOrdering::Release);
            md.entry.store(at + TEMPORARY_OFFSET, Ordering::Release);
            at += PRECODE_SIZE;
        }
    })
}

/// `add rdi, 8; mov r10, md; jmp [r10]`, made once per method.
pub(crate) fn unboxing_stub(md: &MethodDesc) -> Result<usize> {
    adapter(md, &ADD_RDI_8)
}

/// `xchg rdi, rsi; mov r10, md; jmp [r10]`, made once per static method.
pub(crate) fn receiver_first_stub(md: &MethodDesc) -> Result<usize> {
    adapter(md, &XCHG_RDI_RSI)
}

/// The method's other entry. An instance method of a value type needs one that unboxes, a static method one that takes what a
/// delegate is closed over first; no method needs both.
fn adapter(md: &MethodDesc, before: &[u8]) -> Result<usize> {
    let existing = md.adapter.load(StdOrdering::Acquire);
    if existing != 0 {
        return Ok(existing);
    }
    let _guard = crate::sync::enter_loader();
    let existing = md.adapter.load(StdOrdering::Acquire);
    if existing != 0 {
        return Ok(existing);
    }
    let mut code = [0xCCu8; 32];
    let jump = before.len();
    code[..jump].copy_from_slice(before);
    code[jump..jump + 2].copy_from_slice(&MOV_R10);
    code[jump + 2..jump + 10].copy_from_slice(&(md.address() as u64).to_le_bytes());
    code[jump + 10..jump + 13].copy_from_slice(&[0x41, 0xFF, 0x22]);
    let at = with_arena(32, |at, _| {
        // SAFETY: `at` is 32 reserved bytes of the arena.
        unsafe { (at as *mut [u8; 32]).write(code) };
        at
    })?;
    md.adapter.store(at, StdOrdering::Release);
    Ok(at)
}

/// If `pc` lies in precode or one of these stubs (for diagnostics and stack walks).
pub fn is_precode_address(pc: usize) -> bool {
    PRESTUB_CELLS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .iter()
        .any(|base| (*base..*base + ARENA_CHUNK).contains(&pc))
}

/// The MethodDesc behind a stable or temporary entry address or a stub of those below.
pub fn method_of_precode(pc: usize) -> Option<&'static MethodDesc> {
    if !is_precode_address(pc) || !pc.is_multiple_of(16) {
        return None;
    }
    // SAFETY: inside a mapped arena chunk, 16-aligned; every unit is 16 readable bytes.
    let unit = unsafe { *(pc as *const [u8; 16]) };
    let rest = [&ADD_RDI_8[..], &XCHG_RDI_RSI]
        .into_iter()
        .find_map(|b| unit.strip_prefix(b));
    let imm = rest.unwrap_or(&unit).strip_prefix(&MOV_R10)?.get(..8)?;
    let addr = u64::from_le_bytes(imm.try_into().ok()?) as usize;
    // SAFETY: only `attach_precode` and `unboxing_stub` write units, with leaked MethodDescs.
    Some(unsafe { MethodDesc::from_ptr(addr) })
}

/// Fills and registers a vtable slot that shows `md`.
#[cfg(not(loom))]
pub(crate) fn fill_slot(md: &'static MethodDesc, cell: SlotRef) {
    register_slot(&md.entry, &md.slots, cell, md.stable_entry(), md.temporary_entry());
}

/// Vtable cells are not loom atomics; models register slots themselves.
#[cfg(loom)]
pub(crate) fn fill_slot(md: &'static MethodDesc, cell: &'static AtomicUsize) {
    cell.store(md.stable_entry(), StdOrdering::Release);
}
