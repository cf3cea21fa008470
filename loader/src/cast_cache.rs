//! What casts were found to answer: a table that compiled code reads without a lock.
//!
//! Answers are immutable once published, and are never freed (types are not, either): a reader follows one pointer and
//! compares both types. Two pairs of types with the same slot replace each other there; the full map behind the table
//! remembers both.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::type_handle::TypeHandle;

/// Number of index bits.
pub const BITS: u32 = 13;
/// Multiplier of the index computation.
pub const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// Left rotation of the object's type in the index computation.
pub const ROTATION: u32 = 21;

/// One answer. Assembly stubs know the layout.
#[repr(C)]
#[derive(Debug)]
pub struct Answer {
    /// Type of the object.
    pub from: usize,
    /// Type it is cast to.
    pub to: usize,
    /// Whether it can be.
    pub fits: bool,
}

/// The table: null or an [`Answer`] in each slot.
pub static TABLE: [AtomicPtr<Answer>; 1 << BITS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 1 << BITS];

type All = Mutex<FxHashMap<(TypeHandle, TypeHandle), &'static Answer>>;

fn all() -> &'static All {
    static ALL: OnceLock<All> = OnceLock::new();
    ALL.get_or_init(All::default)
}

/// Slot of a pair of types: the top bits of `(from rotated ^ to) * MULTIPLIER`.
fn slot(from: TypeHandle, to: TypeHandle) -> &'static AtomicPtr<Answer> {
    let mixed = (from.raw() as u64).rotate_left(ROTATION) ^ to.raw() as u64;
    &TABLE[(mixed.wrapping_mul(MULTIPLIER) >> (64 - BITS)) as usize]
}

/// The answer, if it is known.
pub(crate) fn find(from: TypeHandle, to: TypeHandle) -> Option<bool> {
    let slot = slot(from, to);
    // SAFETY: slots point at immutable answers that live for ever.
    if let Some(answer) = unsafe { slot.load(Ordering::Acquire).as_ref() }
        && answer.from == from.raw()
        && answer.to == to.raw()
    {
        return Some(answer.fits);
    }
    let answer: &'static Answer = all().lock().get(&(from, to)).copied()?;
    slot.store(std::ptr::from_ref(answer).cast_mut(), Ordering::Release);
    Some(answer.fits)
}

/// Remembers an answer for ever.
pub(crate) fn remember(from: TypeHandle, to: TypeHandle, fits: bool) {
    let answer = *all().lock().entry((from, to)).or_insert_with(|| {
        Box::leak(Box::new(Answer {
            from: from.raw(),
            to: to.raw(),
            fits,
        }))
    });
    slot(from, to).store(std::ptr::from_ref(answer).cast_mut(), Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(raw: usize) -> TypeHandle {
        // SAFETY: the cache compares handles and never follows them.
        unsafe { TypeHandle::from_raw(raw) }.unwrap_or_else(|| unreachable!("not null"))
    }

    #[test]
    fn pairs_that_share_a_slot_keep_their_answers() {
        let pairs: Vec<_> = (1..40_000usize)
            .map(|i| (handle(i << 6), handle((i % 97 + 1) << 6)))
            .collect();
        for (i, &(from, to)) in pairs.iter().enumerate() {
            assert_eq!(find(from, to), None);
            remember(from, to, i % 3 == 0);
        }
        for (i, &(from, to)) in pairs.iter().enumerate() {
            assert_eq!(find(from, to), Some(i % 3 == 0), "pair {i}");
        }
    }
}
