//! Address space and pages from the operating system.

use std::ptr;

/// Size of a page in bytes.
pub const PAGE_SIZE: usize = 4096;

/// Reserves `size` bytes of zeroed, lazily committed memory aligned to `align` (a power of two). `None` if the system
/// has no such range. Never given back.
pub fn reserve(size: usize, align: usize) -> Option<usize> {
    let total = size.checked_add(align)?;
    // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no existing memory.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            total,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return None;
    }
    Some((address as usize + align - 1) & !(align - 1))
}

/// Gives the pages of a range back to the system; it reads as zero afterwards.
///
/// # Safety
/// The range is page aligned, part of a reservation and holds nothing of value.
pub unsafe fn decommit(address: usize, size: usize) {
    // SAFETY: the caller owns the range.
    let result = unsafe { libc::madvise(address as *mut libc::c_void, size, libc::MADV_DONTNEED) };
    if result != 0 {
        // SAFETY: as above. Locked pages cannot be dropped; the promise "reads as zero" still holds.
        unsafe { zero(address, size) };
    }
}

/// Asks for huge pages in a range: fewer page faults and address translations for memory that is used as a whole.
///
/// # Safety
/// The range is part of a reservation.
pub unsafe fn advise_huge(address: usize, size: usize) {
    // SAFETY: advice changes no contents; it may be refused.
    unsafe { libc::madvise(address as *mut libc::c_void, size, libc::MADV_HUGEPAGE) };
}

/// Asks the processor to fetch the line of an address; any address will do.
#[inline(always)]
pub fn prefetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect but on caches.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address as *const i8);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Fills a range with zero bytes.
///
/// # Safety
/// The range is writable and owned by the caller.
#[inline]
pub unsafe fn zero(address: usize, size: usize) {
    // SAFETY: forwarded.
    unsafe { ptr::write_bytes(address as *mut u8, 0, size) };
}

/// Physical memory of the machine in bytes (4 GB if unknown).
pub fn physical_memory() -> usize {
    // SAFETY: sysconf has no preconditions.
    let (pages, page) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    match (usize::try_from(pages), usize::try_from(page)) {
        (Ok(pages), Ok(page)) if pages > 0 && page > 0 => pages.saturating_mul(page),
        _ => 4 << 30,
    }
}

const MEMBARRIER_CMD_PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

/// Registers the process for [`membarrier`]. Harmless if the kernel lacks it.
pub fn register_membarrier() {
    // SAFETY: the system call takes two integers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0) };
}

/// Makes every running thread of the process execute a memory barrier. Without kernel support it does nothing: the
/// stopper then depends on its repeated look at the mode words.
pub fn membarrier() {
    // SAFETY: as in `register_membarrier`.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0) };
}
