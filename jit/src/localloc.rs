//! Memory of `localloc`.
//!
//! Cranelift addresses its frames from the stack pointer, so a frame cannot grow. Dynamic `localloc` memory comes from a
//! side stack of the thread instead. Each block remembers the frame that owns it; because frames are strictly nested on the
//! machine stack, a block whose owner lies at a lower address than the allocating frame belongs to a frame that is gone
//! (returned or unwound) and is released by the next allocation. Blocks of an equal frame address may belong to an earlier
//! call with the same frame; they are kept until an outer frame allocates or too many of them exist.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::cell::RefCell;

/// Alignment that native `alloca` gives.
const ALIGN: usize = 16;

struct Block {
    frame: usize,
    memory: *mut u8,
    layout: Layout,
}

#[derive(Default)]
struct SideStack {
    blocks: Vec<Block>,
}

impl Drop for SideStack {
    fn drop(&mut self) {
        for block in self.blocks.drain(..) {
            // SAFETY: allocated with this layout below, released once.
            unsafe { dealloc(block.memory, block.layout) };
        }
    }
}

thread_local! {
    static STACK: RefCell<SideStack> = RefCell::default();
}

/// What [`allocate`] answers if the memory would not fit the thread's stack: the caller reports a stack overflow.
pub const OVERFLOW: usize = usize::MAX;

/// Whether `bytes` more would fit the stack of the current thread below `frame` if they, and what it has already, were there.
fn fits(frame: usize, bytes: usize, taken: usize) -> bool {
    thread_local! {
        static LOWEST: usize = stack_limits().0;
    }
    let lowest = LOWEST.with(|l| *l);
    lowest == 0 || frame < lowest || taken.saturating_add(bytes) < frame - lowest
}

/// Lowest and highest address of the current thread's stack; zeros if unknown.
pub fn stack_limits() -> (usize, usize) {
    // SAFETY: pthread_getattr_np fills the attributes of the calling thread, which are destroyed afterwards.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return (0, 0);
        }
        let (mut base, mut size) = (std::ptr::null_mut(), 0);
        libc::pthread_attr_getstack(&attributes, &mut base, &mut size);
        libc::pthread_attr_destroy(&mut attributes);
        (base as usize, base as usize + size)
    }
}

/// Allocates `bytes` for the frame at `frame` (its frame pointer); null for 0 bytes, [`OVERFLOW`] if they are too many.
pub extern "C" fn allocate(frame: usize, bytes: usize, zero: u32) -> *mut u8 {
    let Some(layout) = bytes
        .checked_next_multiple_of(ALIGN)
        .and_then(|size| Layout::from_size_align(size, ALIGN).ok())
        .filter(|l| l.size() > 0)
    else {
        if bytes == 0 {
            return std::ptr::null_mut();
        }
        return OVERFLOW as *mut u8;
    };
    STACK.with_borrow_mut(|stack| {
        while let Some(top) = stack.blocks.last() {
            if top.frame >= frame {
                break;
            }
            if let Some(block) = stack.blocks.pop() {
                // SAFETY: allocated with this layout, released once; its frame no longer exists.
                unsafe { dealloc(block.memory, block.layout) };
            }
        }
        let taken = stack.blocks.iter().map(|b| b.layout.size()).sum();
        if !fits(frame, layout.size(), taken) {
            return OVERFLOW as *mut u8;
        }
        // SAFETY: the layout has a non-zero size.
        let memory = unsafe { if zero != 0 { alloc_zeroed(layout) } else { alloc(layout) } };
        if memory.is_null() {
            return OVERFLOW as *mut u8;
        }
        stack.blocks.push(Block { frame, memory, layout });
        memory
    })
}

/// Releases everything that the frame at `frame` and frames below it allocated: called when the frame returns.
pub extern "C" fn release(frame: usize) {
    STACK.with_borrow_mut(|stack| {
        while let Some(block) = stack.blocks.pop_if(|b| b.frame <= frame) {
            // SAFETY: allocated with this layout, released once; its frame is about to return.
            unsafe { dealloc(block.memory, block.layout) };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_frames_are_released_by_outer_ones() {
        let outer = allocate(1000, 24, 1);
        let inner = allocate(500, 100, 0);
        assert!(!outer.is_null() && !inner.is_null() && (outer as usize).is_multiple_of(ALIGN));
        allocate(1000, 8, 0);
        STACK.with_borrow(|s| assert_eq!(s.blocks.iter().map(|b| b.frame).collect::<Vec<_>>(), [1000, 1000]));
        release(1000);
        STACK.with_borrow(|s| assert!(s.blocks.is_empty()));
        assert!(allocate(1000, 0, 0).is_null());
    }

    #[test]
    fn what_the_stack_could_not_hold_is_refused() {
        let here = 0u8;
        let frame = &raw const here as usize;
        assert_eq!(allocate(frame, 1 << 40, 0) as usize, OVERFLOW);
        assert_eq!(allocate(frame, usize::MAX, 0) as usize, OVERFLOW);
        let room = frame - stack_limits().0;
        assert_ne!(allocate(frame, room / 2, 0) as usize, OVERFLOW);
        assert_eq!(allocate(frame, room / 2 + 64, 0) as usize, OVERFLOW);
        release(frame);
    }
}
