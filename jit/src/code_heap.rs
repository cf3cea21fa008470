//! Memory for generated code.
//!
//! One anonymous region is reserved within 2 GB of the executable, so that generated code reaches native helpers and itself
//! with 32-bit displacements (anonymous because `perf` ignores the map file for file-backed memory). Targets that are
//! farther away are reached through veneers (`jmp [rip+0]; .quad target`), one per target.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Code blocks start at multiples of this, and one entry of the code map covers this many bytes.
pub const CODE_ALIGN: usize = 32;
const VENEER_BYTES: usize = 16;
/// `int3`: who runs freed code stops at once.
const TRAP: u8 = 0xcc;
/// Freed bytes that are not used again, so that they trap, when freed code is filled.
const QUARANTINE: usize = 4 << 20;

/// Why code memory is not available.
#[derive(Debug, thiserror::Error)]
pub enum CodeHeapError {
    /// The operating system refused the reservation.
    #[error("cannot reserve {bytes} bytes for code: {error}")]
    Reserve {
        /// Size asked.
        bytes: usize,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The region is full.
    #[error("code heap is full ({bytes} more bytes wanted)")]
    Full {
        /// Size asked.
        bytes: usize,
    },
}

struct Space {
    top: usize,
    free: FreeBlocks,
    /// Freed blocks that wait, filled with traps: (offset, bytes).
    quarantine: VecDeque<(usize, usize)>,
    quarantined: usize,
    veneers: FxHashMap<u64, usize>,
}

/// Free blocks, in multiples of `CODE_ALIGN`. No two of them touch.
#[derive(Default)]
struct FreeBlocks {
    /// Bytes by offset.
    blocks: BTreeMap<usize, usize>,
    /// The same as (bytes, offset).
    sizes: BTreeSet<(usize, usize)>,
}

impl FreeBlocks {
    fn remove(&mut self, offset: usize, bytes: usize) {
        self.blocks.remove(&offset);
        self.sizes.remove(&(bytes, offset));
    }

    fn insert(&mut self, offset: usize, bytes: usize) {
        self.blocks.insert(offset, bytes);
        self.sizes.insert((bytes, offset));
    }

    /// Adds a block, together with its neighbours.
    fn add(&mut self, mut offset: usize, mut bytes: usize) {
        if let Some((&before, &n)) = self.blocks.range(..offset).next_back()
            && before + n == offset
        {
            self.remove(before, n);
            (offset, bytes) = (before, n + bytes);
        }
        if let Some(&n) = self.blocks.get(&(offset + bytes)) {
            self.remove(offset + bytes, n);
            bytes += n;
        }
        self.insert(offset, bytes);
    }

    /// Takes `bytes` from the smallest block that has them.
    fn take(&mut self, bytes: usize) -> Option<usize> {
        let &(n, offset) = self.sizes.range((bytes, 0)..).next()?;
        self.remove(offset, n);
        if n > bytes {
            self.insert(offset + bytes, n - bytes);
        }
        Some(offset)
    }
}

/// The code region.
pub struct CodeHeap {
    base: *mut u8,
    code_bytes: usize,
    space: Mutex<Space>,
    used: AtomicU64,
    fill: AtomicBool,
}

// SAFETY: the region is process memory; allocation state is behind a lock, blocks are handed out once.
unsafe impl Send for CodeHeap {}
// SAFETY: as above.
unsafe impl Sync for CodeHeap {}

impl CodeHeap {
    /// Reserves `bytes` of address space for code (committed as it is touched).
    pub fn new(bytes: usize) -> Result<Self, CodeHeapError> {
        let code_bytes = bytes.next_multiple_of(1 << 20);
        let base =
            reserve_near(Self::new as *const () as usize, code_bytes).map_err(|error| CodeHeapError::Reserve {
                bytes: code_bytes,
                error,
            })?;
        Ok(CodeHeap {
            base,
            code_bytes,
            space: Mutex::new(Space {
                top: CODE_ALIGN,
                free: FreeBlocks::default(),
                quarantine: VecDeque::new(),
                quarantined: 0,
                veneers: FxHashMap::default(),
            }),
            used: AtomicU64::new(0),
            fill: AtomicBool::new(cfg!(debug_assertions)),
        })
    }

    /// First address of the code part.
    pub fn base(&self) -> usize {
        self.base as usize
    }

    /// Size of the code part.
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }

    /// Is this an address in the code part?
    pub fn contains(&self, pc: usize) -> bool {
        pc.wrapping_sub(self.base as usize) < self.code_bytes
    }

    /// Bytes of code in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes a block of at least `bytes` bytes, aligned to [`CODE_ALIGN`].
    pub fn allocate(&self, bytes: usize) -> Result<*mut u8, CodeHeapError> {
        self.allocate_in(&mut self.space.lock(), bytes)
    }

    fn allocate_in(&self, space: &mut Space, bytes: usize) -> Result<*mut u8, CodeHeapError> {
        let size = bytes.max(1).next_multiple_of(CODE_ALIGN);
        let offset = match space.free.take(size) {
            Some(offset) => offset,
            None => {
                let offset = space.top;
                if size > self.code_bytes - offset {
                    return Err(CodeHeapError::Full { bytes });
                }
                space.top += size;
                offset
            }
        };
        self.used.fetch_add(size as u64, Ordering::Relaxed);
        // SAFETY: offset + size is inside the region.
        Ok(unsafe { self.base.add(offset) })
    }

    /// From now on freed code is filled with traps, and used again late (debug builds always do so).
    pub fn trap_in_freed_code(&self) {
        self.fill.store(true, Ordering::Relaxed);
    }

    /// Gives a block back.
    ///
    /// # Safety
    /// It came from [`allocate`](Self::allocate) with the same size, and nothing will execute it any more.
    pub unsafe fn free(&self, block: *mut u8, bytes: usize) {
        let size = bytes.max(1).next_multiple_of(CODE_ALIGN);
        let offset = block as usize - self.base as usize;
        let fill = self.fill.load(Ordering::Relaxed);
        if fill {
            // SAFETY: a block of that size, which is nobody else's.
            unsafe { block.write_bytes(TRAP, size) };
        }
        let mut space = self.space.lock();
        self.used.fetch_sub(size as u64, Ordering::Relaxed);
        if !fill {
            space.free.add(offset, size);
            return;
        }
        space.quarantine.push_back((offset, size));
        space.quarantined += size;
        while space.quarantined > QUARANTINE
            && let Some((offset, size)) = space.quarantine.pop_front()
        {
            space.quarantined -= size;
            space.free.add(offset, size);
        }
    }

    /// Address of a jump to `target` inside the region.
    pub fn veneer(&self, target: u64) -> Result<usize, CodeHeapError> {
        let mut space = self.space.lock();
        if let Some(&at) = space.veneers.get(&target) {
            return Ok(at);
        }
        let block = self.allocate_in(&mut space, VENEER_BYTES)?;
        let mut code = [0u8; VENEER_BYTES];
        code[..6].copy_from_slice(&[0xff, 0x25, 0, 0, 0, 0]); // jmp qword ptr [rip+0]
        code[6..14].copy_from_slice(&target.to_le_bytes());
        // SAFETY: a fresh block of that size.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), block, VENEER_BYTES) };
        space.veneers.insert(target, block as usize);
        Ok(block as usize)
    }
}

impl Drop for CodeHeap {
    fn drop(&mut self) {
        // SAFETY: our own mapping; whoever drops the heap guarantees that no code of it is running.
        unsafe { libc::munmap(self.base.cast(), self.code_bytes) };
    }
}

/// Maps `bytes` readable, writable and executable, as near to `code` as possible.
fn reserve_near(code: usize, bytes: usize) -> std::io::Result<*mut u8> {
    const STEP: usize = 64 << 20;
    const REACH: usize = 0x7000_0000;
    let map = |hint: usize| {
        // SAFETY: a new anonymous mapping; the hint replaces nothing without MAP_FIXED.
        let p = unsafe {
            libc::mmap(
                hint as *mut libc::c_void,
                bytes,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if p == libc::MAP_FAILED {
            Err(std::io::Error::last_os_error())
        } else {
            Ok(p.cast::<u8>())
        }
    };
    let near = |p: *mut u8| {
        let p = p as usize;
        p.abs_diff(code) < REACH && (p + bytes).abs_diff(code) < REACH
    };
    let mut hint = (code & !(STEP - 1)).saturating_sub(bytes.next_multiple_of(STEP));
    while code.saturating_sub(hint) < REACH && hint > STEP {
        let p = map(hint)?;
        if near(p) {
            return Ok(p);
        }
        // SAFETY: just mapped by us, not in use.
        unsafe { libc::munmap(p.cast(), bytes) };
        hint = hint.saturating_sub(STEP);
    }
    // Too far: veneers will do.
    map(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_reused_and_veneers_jump() {
        extern "C" fn seven() -> u32 {
            7
        }
        let heap = CodeHeap::new(1 << 20).unwrap();
        heap.fill.store(false, Ordering::Relaxed);
        let a = heap.allocate(100).unwrap();
        let b = heap.allocate(10).unwrap();
        assert_eq!(b as usize - a as usize, 128);
        // SAFETY: nothing runs in this heap.
        unsafe { heap.free(a, 100) };
        assert_eq!(heap.allocate(64).unwrap(), a);
        let v = heap.veneer(seven as extern "C" fn() -> u32 as usize as u64).unwrap();
        assert_eq!(v, heap.veneer(seven as extern "C" fn() -> u32 as usize as u64).unwrap());
        // SAFETY: the veneer jumps to a function of this type.
        let f: extern "C" fn() -> u32 = unsafe { std::mem::transmute(v) };
        assert_eq!(f(), 7);
        assert!((heap.base()).abs_diff(CodeHeap::new as *const () as usize) < 1 << 31);
    }

    #[test]
    fn freed_code_traps_and_is_used_again_late() {
        let heap = CodeHeap::new(16 << 20).unwrap();
        heap.trap_in_freed_code();
        let a = heap.allocate(1 << 20).unwrap();
        // SAFETY: nothing runs in this heap; the block is still mapped.
        unsafe {
            a.write_bytes(0x90, 1 << 20);
            heap.free(a, 1 << 20);
            assert_eq!((*a, *a.add((1 << 20) - 1)), (TRAP, TRAP));
        }
        let others: Vec<*mut u8> = (0..5).map(|_| heap.allocate(1 << 20).unwrap()).collect();
        assert!(!others.contains(&a));
        // SAFETY: as above.
        others.iter().for_each(|&b| unsafe { heap.free(b, 1 << 20) });
        assert_eq!(heap.allocate(1 << 20).unwrap(), a);
        assert_eq!(heap.used(), 1 << 20);
    }

    #[test]
    fn free_blocks_join_their_neighbours() {
        let mut free = FreeBlocks::default();
        free.add(0, 32);
        free.add(96, 32);
        free.add(160, 64);
        assert_eq!(free.take(64), Some(160));
        free.add(32, 64);
        assert_eq!(free.blocks, BTreeMap::from([(0, 128)]));
        assert_eq!(free.take(96), Some(0));
        assert_eq!(free.sizes, BTreeSet::from([(32, 96)]));
        assert_eq!(free.take(64), None);
    }
}
