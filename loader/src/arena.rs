//! Memory of loaded structures: bump allocated, zeroed, never freed.

use std::sync::Mutex;

const CHUNK: usize = 1 << 20;

struct Bump {
    cursor: usize,
    limit: usize,
}

static BUMP: Mutex<Bump> = Mutex::new(Bump { cursor: 0, limit: 0 });

/// Allocates `size` zeroed bytes aligned to `align` (a power of two) that live forever. Zero when the
/// system is out of memory is impossible: the process aborts as the global allocator does.
pub(crate) fn alloc_zeroed(size: usize, align: usize) -> usize {
    if size > CHUNK / 4 {
        return map(size.next_multiple_of(4096)).0;
    }
    let mut b = BUMP.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut at = b.cursor.next_multiple_of(align);
    if b.cursor == 0 || at + size > b.limit {
        let (start, end) = map(CHUNK);
        b.limit = end;
        at = start.next_multiple_of(align);
    }
    b.cursor = at + size;
    at
}

fn map(size: usize) -> (usize, usize) {
    // SAFETY: an anonymous private mapping at an address of the kernel's choice.
    let p = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if p == libc::MAP_FAILED {
        let layout = std::alloc::Layout::from_size_align(size, 4096).unwrap_or(std::alloc::Layout::new::<u8>());
        std::alloc::handle_alloc_error(layout);
    }
    (p as usize, p as usize + size)
}
