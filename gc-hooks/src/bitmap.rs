//! Side bitmaps: one bit for every 8 bytes of the heap range.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory;

/// A bitmap over an address range. The words live in lazily committed memory of their own.
#[derive(Debug, Clone, Copy)]
pub struct Bitmap {
    words: *mut u64,
    base: usize,
}

// SAFETY: the bitmap is plain memory; who may write which part is the heap's protocol (space lock or stopped world).
unsafe impl Send for Bitmap {}
// SAFETY: as above.
unsafe impl Sync for Bitmap {}

impl Bitmap {
    /// Bytes of heap that one word covers.
    pub const BYTES_PER_WORD: usize = 512;

    /// A bitmap for `size` bytes at `base` (aligned to 512). `None` if there is no address space.
    pub fn new(base: usize, size: usize) -> Option<Self> {
        let words = memory::reserve(size / 64 + 4096, 4096)? as *mut u64;
        Some(Self { words, base })
    }

    #[inline(always)]
    fn locate(&self, address: usize) -> (*mut u64, u32) {
        let bit = (address - self.base) >> 3;
        (self.words.wrapping_add(bit >> 6), (bit & 63) as u32)
    }

    /// Asks the processor to fetch the word of `address`.
    #[inline(always)]
    pub fn prefetch(&self, address: usize) {
        memory::prefetch(self.locate(address).0 as usize);
    }

    /// Sets the bit of `address`. Others may read the word meanwhile, but not write it.
    #[inline(always)]
    pub fn set(&self, address: usize) {
        let (word, bit) = self.locate(address);
        // SAFETY: the address lies in the covered range, so the word is mapped.
        let word = unsafe { AtomicU64::from_ptr(word) };
        word.store(word.load(Ordering::Relaxed) | 1 << bit, Ordering::Release);
    }

    /// Clears the bit of `address`.
    #[inline(always)]
    pub fn clear(&self, address: usize) {
        let (word, bit) = self.locate(address);
        // SAFETY: as in `set`.
        unsafe { *word &= !(1 << bit) };
    }

    /// Whether the bit of `address` is set.
    #[inline(always)]
    pub fn test(&self, address: usize) -> bool {
        let (word, bit) = self.locate(address);
        // SAFETY: as in `set`; bits of others in the word may be set meanwhile by `insert_shared`.
        unsafe { AtomicU64::from_ptr(word) }.load(Ordering::Acquire) >> bit & 1 != 0
    }

    /// Sets the bit and tells whether it was clear.
    #[inline(always)]
    pub fn insert(&self, address: usize) -> bool {
        let (word, bit) = self.locate(address);
        // SAFETY: as in `set`.
        unsafe {
            let old = *word;
            *word = old | 1 << bit;
            old >> bit & 1 == 0
        }
    }

    /// As [`Self::insert`], while other threads do the same.
    #[inline(always)]
    pub fn insert_shared(&self, address: usize) -> bool {
        let (word, bit) = self.locate(address);
        // SAFETY: as in `set`; all concurrent accesses are atomic.
        let word = unsafe { AtomicU64::from_ptr(word) };
        let mask = 1u64 << bit;
        word.load(Ordering::Relaxed) & mask == 0 && word.fetch_or(mask, Ordering::AcqRel) & mask == 0
    }

    /// Sets the bits of `addresses`, those of neighbours together, while other threads use [`Self::insert_shared`].
    pub fn set_all_shared(&self, addresses: &[usize]) {
        let mut rest = addresses;
        while let Some(&first) = rest.first() {
            let (word, _) = self.locate(first);
            let count = rest
                .iter()
                .take_while(|&&address| self.locate(address).0 == word)
                .count();
            let (together, others) = rest.split_at(count);
            let mask = together
                .iter()
                .fold(0, |mask, &address| mask | 1 << self.locate(address).1);
            // SAFETY: as in `set`; all concurrent accesses are atomic.
            unsafe { AtomicU64::from_ptr(word) }.fetch_or(mask, Ordering::AcqRel);
            rest = others;
        }
    }

    /// As [`Self::clear`], while other threads use [`Self::insert_shared`].
    #[inline(always)]
    pub fn clear_shared(&self, address: usize) {
        let (word, bit) = self.locate(address);
        // SAFETY: as in `set`; all concurrent accesses are atomic.
        unsafe { AtomicU64::from_ptr(word) }.fetch_and(!(1 << bit), Ordering::AcqRel);
    }

    #[inline(always)]
    fn read(word: *mut u64) -> u64 {
        // SAFETY: callers give words of the covered range; who writes them meanwhile does so atomically.
        unsafe { AtomicU64::from_ptr(word) }.load(Ordering::Acquire)
    }

    /// Address of the nearest set bit at or below `address`, not below `low`. Bits may be set meanwhile.
    pub fn find_at_or_below(&self, address: usize, low: usize) -> Option<usize> {
        let (mut word, bit) = self.locate(address);
        let (first, _) = self.locate(low);
        // SAFETY: all words from `low` to `address` are mapped.
        unsafe {
            let mut value = Self::read(word) & (u64::MAX >> (63 - bit));
            loop {
                if value != 0 {
                    let index = word.offset_from(self.words) as usize;
                    let found = self.base + ((index << 6) + 63 - value.leading_zeros() as usize) * 8;
                    return (found >= low).then_some(found);
                }
                if word <= first {
                    return None;
                }
                word = word.sub(1);
                value = Self::read(word);
            }
        }
    }

    /// Calls `visit` with the address of every set bit in `low..high` (both aligned to 512), ascending. Bits may be set meanwhile.
    pub fn for_each(&self, low: usize, high: usize, mut visit: impl FnMut(usize)) {
        let mut address = low;
        while address < high {
            let (word, _) = self.locate(address);
            let mut value = Self::read(word);
            while value != 0 {
                visit(address + value.trailing_zeros() as usize * 8);
                value &= value - 1;
            }
            address += Self::BYTES_PER_WORD;
        }
    }

    /// Whether any bit in `low..high` (aligned to 512) is set.
    pub fn any(&self, low: usize, high: usize) -> bool {
        let (mut word, _) = self.locate(low);
        let (end, _) = self.locate(high);
        while word < end {
            // SAFETY: the word covers part of the range.
            if unsafe { *word } != 0 {
                return true;
            }
            word = word.wrapping_add(1);
        }
        false
    }

    /// Clears all bits in `low..high` (aligned to 512).
    pub fn clear_range(&self, low: usize, high: usize) {
        let (word, _) = self.locate(low);
        // SAFETY: the words cover exactly the range.
        unsafe { std::ptr::write_bytes(word, 0, (high - low) / Self::BYTES_PER_WORD) };
    }

    /// Copies the bits in `low..high` (aligned to 512) from `other`, a bitmap of the same range.
    pub fn copy_range(&self, other: &Bitmap, low: usize, high: usize) {
        let (to, _) = self.locate(low);
        let (from, _) = other.locate(low);
        // SAFETY: two different bitmaps do not overlap; the words cover exactly the range.
        unsafe { std::ptr::copy_nonoverlapping(from, to, (high - low) / Self::BYTES_PER_WORD) };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest_bit_below() {
        let base = 0x10000;
        let map = Bitmap::new(base, 0x10000).expect("address space");
        map.set(base + 8);
        map.set(base + 0x1000);
        assert_eq!(map.find_at_or_below(base + 0x2000, base), Some(base + 0x1000));
        assert_eq!(map.find_at_or_below(base + 0xFF8, base), Some(base + 8));
        assert_eq!(map.find_at_or_below(base, base), None);
        assert_eq!(map.find_at_or_below(base + 0x2000, base + 0x1800), None);
        assert!(!map.insert(base + 8));
        let mut seen = Vec::new();
        map.for_each(base, base + 0x10000, |a| seen.push(a - base));
        assert_eq!(seen, [8, 0x1000]);
        map.set_all_shared(&[base + 0x2000, base + 0x2010, base + 0x3000, base + 0x2018]);
        assert!([0x2000, 0x2010, 0x2018, 0x3000].iter().all(|at| map.test(base + at)));
        assert!(!map.test(base + 0x2008));
        map.clear_range(base, base + 0x10000);
        assert!(!map.any(base, base + 0x10000));
    }
}
