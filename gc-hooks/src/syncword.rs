//! The sync word of the object header: thin lock, hash code or sync block index, by compare-and-swap.
//!
//! Bits (as in CoreCLR): 31..28 flags; 27 = the low 26 bits are a hash code (26 set) or a sync block index (26 clear);
//! else bits 15..0 are the owner of a thin lock (0 = free) and bits 21..16 its recursion. Invariant: once a word holds
//! a sync block index it keeps it for the life of the object.

use crate::sync::{AtomicU32, Ordering};

/// String without characters above 0x7F (free for the runtime).
pub const STRING_NO_HIGH_CHARS: u32 = 0x8000_0000;
/// The object's finalizer is suppressed.
pub const FINALIZER_RUN: u32 = 0x4000_0000;
/// Reserved for the collector.
pub const GC_RESERVE: u32 = 0x2000_0000;
/// The low bits are a hash code or a sync block index.
pub const IS_HASH_OR_INDEX: u32 = 0x0800_0000;
/// With [`IS_HASH_OR_INDEX`]: a hash code.
pub const IS_HASH: u32 = 0x0400_0000;
/// Mask of hash code and sync block index.
pub const VALUE_MASK: u32 = 0x03FF_FFFF;
/// Mask of the flags that every transition keeps.
pub const FLAGS_MASK: u32 = 0xF000_0000;
/// Mask of the thin lock's owner.
pub const OWNER_MASK: u32 = 0x0000_FFFF;
/// Mask of the thin lock's recursion (times entered beyond the first).
pub const RECURSION_MASK: u32 = 0x003F_0000;
/// One recursion.
pub const RECURSION_ONE: u32 = 0x0001_0000;

/// What a sync word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncState {
    /// Nothing: not locked, no hash code.
    Empty,
    /// Locked by `owner`, entered `recursion` times beyond the first.
    Thin {
        /// Lock number of the owner.
        owner: u32,
        /// Times entered beyond the first.
        recursion: u32,
    },
    /// Hash code, not locked.
    Hash(u32),
    /// Everything is in this sync block.
    Block(u32),
}

/// Decodes a sync word.
#[inline]
pub fn decode(word: u32) -> SyncState {
    if word & IS_HASH_OR_INDEX != 0 {
        let value = word & VALUE_MASK;
        if word & IS_HASH != 0 {
            SyncState::Hash(value)
        } else {
            SyncState::Block(value)
        }
    } else if word & OWNER_MASK != 0 {
        SyncState::Thin {
            owner: word & OWNER_MASK,
            recursion: (word & RECURSION_MASK) / RECURSION_ONE,
        }
    } else {
        SyncState::Empty
    }
}

/// Outcome of an attempt to enter or leave by the thin lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinResult {
    /// Done.
    Done,
    /// The thin lock is not enough (contention, hash code, deep recursion): go on with a sync block.
    Inflate,
    /// There is a sync block already.
    Block(u32),
    /// Leave: the caller does not own the lock.
    NotOwner,
}

/// Tries to enter the lock of `word` for thread `owner` (1..=65535).
#[inline]
pub fn thin_enter(word: &AtomicU32, owner: u32) -> ThinResult {
    loop {
        let old = word.load(Ordering::Relaxed);
        let new = match decode(old) {
            SyncState::Empty => old | owner,
            SyncState::Thin {
                owner: holder,
                recursion,
            } if holder == owner => {
                if recursion == RECURSION_MASK / RECURSION_ONE {
                    return ThinResult::Inflate;
                }
                old + RECURSION_ONE
            }
            SyncState::Thin { .. } | SyncState::Hash(_) => return ThinResult::Inflate,
            SyncState::Block(index) => return ThinResult::Block(index),
        };
        if word
            .compare_exchange_weak(old, new, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
        {
            return ThinResult::Done;
        }
    }
}

/// Tries to leave the lock of `word`, entered by thread `owner`.
#[inline]
pub fn thin_exit(word: &AtomicU32, owner: u32) -> ThinResult {
    loop {
        let old = word.load(Ordering::Relaxed);
        let new = match decode(old) {
            SyncState::Thin {
                owner: holder,
                recursion,
            } if holder == owner => {
                if recursion == 0 {
                    old & !OWNER_MASK
                } else {
                    old - RECURSION_ONE
                }
            }
            SyncState::Block(index) => return ThinResult::Block(index),
            _ => return ThinResult::NotOwner,
        };
        #[cfg(feature = "planted-bug")]
        {
            // The mutant overwrites an inflation that happened in between.
            word.store(new, Ordering::Release);
            return ThinResult::Done;
        }
        #[cfg(not(feature = "planted-bug"))]
        if word
            .compare_exchange_weak(old, new, Ordering::Release, Ordering::Relaxed)
            .is_ok()
        {
            return ThinResult::Done;
        }
    }
}

/// Puts sync block `index` into `word`. `prepare` is told what the word said and fills the block before it is published;
/// it may be called more than once. Returns the index that the word holds at the end: another thread may have won.
pub fn install_block(word: &AtomicU32, index: u32, mut prepare: impl FnMut(SyncState)) -> u32 {
    loop {
        let old = word.load(Ordering::Acquire);
        let state = decode(old);
        if let SyncState::Block(winner) = state {
            return winner;
        }
        prepare(state);
        let new = old & FLAGS_MASK | IS_HASH_OR_INDEX | index;
        if word
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            return index;
        }
    }
}

/// Tries to give `word` the hash code `hash`. Returns the hash code if there is one now.
///
/// # Errors
/// The word is in use for a lock: the hash code belongs into a sync block (`Some(index)` if there is one).
pub fn install_hash(word: &AtomicU32, hash: u32) -> Result<u32, Option<u32>> {
    loop {
        let old = word.load(Ordering::Relaxed);
        match decode(old) {
            SyncState::Hash(known) => return Ok(known),
            SyncState::Block(index) => return Err(Some(index)),
            SyncState::Thin { .. } => return Err(None),
            SyncState::Empty => {
                let new = old & FLAGS_MASK | IS_HASH_OR_INDEX | IS_HASH | hash & VALUE_MASK;
                if word
                    .compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
                {
                    return Ok(hash & VALUE_MASK);
                }
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn thin_lock_counts_and_inflates() {
        let word = AtomicU32::new(FINALIZER_RUN);
        for _ in 0..64 {
            assert_eq!(thin_enter(&word, 7), ThinResult::Done);
        }
        assert_eq!(thin_enter(&word, 7), ThinResult::Inflate);
        assert_eq!(thin_enter(&word, 8), ThinResult::Inflate);
        assert_eq!(thin_exit(&word, 8), ThinResult::NotOwner);
        assert_eq!(install_hash(&word, 5), Err(None));
        let mut seen = None;
        assert_eq!(install_block(&word, 33, |state| seen = Some(state)), 33);
        assert_eq!(
            seen,
            Some(SyncState::Thin {
                owner: 7,
                recursion: 63
            })
        );
        assert_eq!(install_block(&word, 34, |_| ()), 33);
        assert_eq!(thin_exit(&word, 7), ThinResult::Block(33));
        assert_eq!(word.load(Ordering::Relaxed), FINALIZER_RUN | IS_HASH_OR_INDEX | 33);
    }

    #[test]
    fn hash_code_is_kept() {
        let word = AtomicU32::new(0);
        assert_eq!(install_hash(&word, 99), Ok(99));
        assert_eq!(install_hash(&word, 100), Ok(99));
        assert_eq!(thin_enter(&word, 1), ThinResult::Inflate);
    }
}
