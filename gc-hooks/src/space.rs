//! The heap's address range and how it is divided.
//!
//! One reservation holds, in this order, the nursery, large objects, old blocks and frozen objects. "Young" objects can
//! only be in the first two parts, so that one range check tells the write barrier whether a card is needed. Side tables
//! (object starts, marks, cards) cover the whole range.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::barrier;
use crate::bitmap::Bitmap;
use crate::memory;

/// Size in bytes of a block of the nursery and of the old space.
pub const BLOCK_SIZE: usize = 32 << 10;
/// Size in bytes of a region, the alignment of the parts of the heap.
pub const REGION_SIZE: usize = 4 << 20;
/// Objects bigger than this many bytes are large: never moved.
pub const LARGE_THRESHOLD: usize = 16 << 10;
/// log2 of the bytes that one card covers.
pub const CARD_SHIFT: usize = 9;
/// Bytes that one card covers.
pub const CARD_SIZE: usize = 1 << CARD_SHIFT;

/// A half-open address range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: usize,
    /// First address behind.
    pub end: usize,
}

impl Range {
    /// Whether `address` is inside.
    #[inline(always)]
    pub fn contains(self, address: usize) -> bool {
        address.wrapping_sub(self.start) < self.end - self.start
    }

    /// Length in bytes.
    pub fn size(self) -> usize {
        self.end - self.start
    }
}

/// Where everything is. Immutable after initialisation.
#[derive(Debug)]
pub struct Layout {
    /// The whole heap.
    pub heap: Range,
    /// Young small objects.
    pub nursery: Range,
    /// Large objects of any age.
    pub large: Range,
    /// Old small objects.
    pub old: Range,
    /// Immortal objects.
    pub frozen: Range,
    /// Object starts (old, large, frozen always; nursery blocks on demand).
    pub starts: Bitmap,
    /// Mark bits; all clear between collections.
    pub marks: Bitmap,
    /// Card table, biased: the card of `address` is at `cards + (address >> CARD_SHIFT)`.
    cards: usize,
    /// As the card table: cards that were dirty at a minor collection while a concurrent marking is under way.
    changed: usize,
}

static LAYOUT: OnceLock<Layout> = OnceLock::new();

impl Layout {
    /// Reserves the range. `capacity` is the number of bytes that each of the old and the large part should be able to
    /// hold; it is halved until the system agrees.
    pub fn init(nursery_capacity: usize, capacity: usize) -> Option<&'static Layout> {
        let round = |size: usize| (size + REGION_SIZE - 1) & !(REGION_SIZE - 1);
        let mut capacity = round(capacity);
        let nursery_size = round(nursery_capacity);
        let layout = loop {
            let frozen_size = round(capacity / 8);
            let total = nursery_size + 2 * capacity + frozen_size;
            if let Some(layout) = Self::reserve(total, nursery_size, capacity, frozen_size) {
                break layout;
            }
            if capacity <= 4 * REGION_SIZE {
                return None;
            }
            capacity = round(capacity / 2);
        };
        let layout = LAYOUT.get_or_init(|| layout);
        // SAFETY: both are parts of the reservation.
        unsafe {
            memory::advise_huge(layout.nursery.start, layout.nursery.size());
            memory::advise_huge(layout.old.start, layout.old.size());
        }
        barrier::publish_bounds(layout);
        Some(layout)
    }

    fn reserve(total: usize, nursery: usize, capacity: usize, frozen: usize) -> Option<Layout> {
        let start = memory::reserve(total, REGION_SIZE)?;
        let starts = Bitmap::new(start, total)?;
        let marks = Bitmap::new(start, total)?;
        let cards = memory::reserve((total >> CARD_SHIFT) + 4096, 4096)?;
        let changed = memory::reserve((total >> CARD_SHIFT) + 4096, 4096)?;
        let part = |offset: usize, size: usize| Range {
            start: start + offset,
            end: start + offset + size,
        };
        Some(Layout {
            heap: part(0, total),
            nursery: part(0, nursery),
            large: part(nursery, capacity),
            old: part(nursery + capacity, capacity),
            frozen: part(nursery + 2 * capacity, frozen),
            starts,
            marks,
            cards: cards.wrapping_sub(start >> CARD_SHIFT),
            changed: changed.wrapping_sub(start >> CARD_SHIFT),
        })
    }

    /// The layout, if the heap was initialised.
    pub fn get() -> Option<&'static Layout> {
        LAYOUT.get()
    }

    /// Biased base of the card table.
    pub fn card_base(&self) -> usize {
        self.cards
    }

    /// Address of the card byte of a heap address.
    #[inline(always)]
    pub fn card_of(&self, address: usize) -> *mut u8 {
        self.cards.wrapping_add(address >> CARD_SHIFT) as *mut u8
    }

    /// Marks the card of a heap address.
    #[inline(always)]
    pub fn mark_card(&self, address: usize) {
        // SAFETY: the card table covers the heap.
        unsafe { *self.card_of(address) = 1 };
    }

    /// As [`Self::mark_card`], while other threads do the same.
    #[inline(always)]
    pub fn mark_card_shared(&self, address: usize) {
        // SAFETY: the card table covers the heap; all concurrent accesses are atomic.
        unsafe { std::sync::atomic::AtomicU8::from_ptr(self.card_of(address)) }
            .store(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// Clears the cards of a range (aligned to the card size).
    pub fn clear_cards(&self, low: usize, high: usize) {
        // SAFETY: the card table covers the heap.
        unsafe { std::ptr::write_bytes(self.card_of(low), 0, (high - low) >> CARD_SHIFT) };
    }

    /// Calls `visit` with every dirty card of `low..high` (aligned to 4096), and cleans it before.
    pub fn take_dirty_cards(&self, low: usize, high: usize, visit: impl FnMut(usize)) {
        self.scan_table(self.cards, low, high, true, visit);
    }

    /// As [`Self::take_dirty_cards`]; the cards stay dirty.
    pub fn for_each_dirty_card(&self, low: usize, high: usize, visit: impl FnMut(usize)) {
        self.scan_table(self.cards, low, high, false, visit);
    }

    /// Remembers that a card was dirty; the marker may be taking cards meanwhile.
    pub fn note_changed(&self, card: usize) {
        let byte = self.changed.wrapping_add(card >> CARD_SHIFT);
        // SAFETY: the table covers the heap; whoever else accesses its words meanwhile does it atomically and as a whole.
        unsafe { AtomicU64::from_ptr((byte & !7) as *mut u64) }.fetch_or(1 << (byte % 8 * 8), Ordering::Release);
    }

    /// Calls `visit` with every remembered card of `low..high` (aligned to 4096), and forgets it before. Others may note cards
    /// meanwhile.
    pub fn take_changed_cards(&self, low: usize, high: usize, mut visit: impl FnMut(usize)) {
        for address in (low..high).step_by(8 * CARD_SIZE) {
            let word = self.changed.wrapping_add(address >> CARD_SHIFT);
            // SAFETY: the table covers the heap, and this is one of its words, because the heap and the table are page aligned.
            let word = unsafe { AtomicU64::from_ptr(word as *mut u64) };
            if word.load(Ordering::Relaxed) != 0 {
                visit_bytes(word.swap(0, Ordering::AcqRel), address, &mut visit);
            }
        }
    }

    fn scan_table(&self, table: usize, low: usize, high: usize, clean: bool, mut visit: impl FnMut(usize)) {
        let cards_per_word = 8 * CARD_SIZE;
        let mut address = low;
        while address < high {
            let word = table.wrapping_add(address >> CARD_SHIFT) as *mut u64;
            // SAFETY: the table covers the heap; a range aligned to 4096 begins at a word of the table because the table and
            // the heap start are page aligned.
            let value = unsafe { word.read_unaligned() };
            if value != 0 {
                if clean {
                    // SAFETY: as above.
                    unsafe { word.write_unaligned(0) };
                }
                visit_bytes(value, address, &mut visit);
            }
            address += cards_per_word;
        }
    }
}

/// Calls `visit` with the cards of the bytes of `word` that are not zero; the first one is at `address`.
fn visit_bytes(word: u64, address: usize, visit: &mut impl FnMut(usize)) {
    for i in 0..8 {
        if word >> (8 * i) & 0xFF != 0 {
            visit(address + i * CARD_SIZE);
        }
    }
}
