//! GC descriptor: where the references of an object are.
//!
//! CoreCLR's encoding at negative offsets of the MethodTable. The word at -8 is the number of series. A positive
//! number `n` is followed downwards by `n` pairs (start offset, then byte length minus object size): runs of
//! references. A negative number describes an array of structs: start offset at -16, then `-n` words downwards, each
//! (number of references, bytes to skip), repeated for every element.

use crate::object::{HEADER_SIZE, MethodTableHeader, ObjPtr, mt_flags};

/// A run of consecutive references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Offset in bytes of the first reference from the object pointer.
    pub offset: usize,
    /// Number of references.
    pub count: usize,
}

/// One step of the repeating pattern of a struct array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepeatItem {
    /// Number of consecutive references.
    pub references: u32,
    /// Bytes to skip after them.
    pub skip: u32,
}

/// Builder and reader of GC descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GcDesc {
    /// Instances of fixed size: runs of references in ascending order of offset.
    Fixed(Vec<Series>),
    /// Array of references; element 0 at the offset.
    RefArray {
        /// Offset in bytes of element 0.
        data_offset: usize,
    },
    /// Array of structs that contain references.
    Repeating {
        /// Offset in bytes of the first reference of element 0.
        first_offset: usize,
        /// Pattern of one element, ending where the next element's first reference is.
        items: Vec<RepeatItem>,
    },
}

impl GcDesc {
    /// Descriptor of an instance whose references are at `offsets` (ascending, from the object pointer).
    pub fn from_offsets(offsets: &[usize]) -> Self {
        let mut series: Vec<Series> = Vec::new();
        for &offset in offsets {
            match series.last_mut() {
                Some(last) if last.offset + last.count * 8 == offset => last.count += 1,
                _ => series.push(Series { offset, count: 1 }),
            }
        }
        GcDesc::Fixed(series)
    }

    /// Descriptor of an array whose elements of `element_size` bytes have references at `offsets` (ascending, from the
    /// element's start); element 0 is at `data_offset` from the object pointer.
    pub fn for_struct_array(data_offset: usize, element_size: usize, offsets: &[usize]) -> Self {
        let GcDesc::Fixed(runs) = Self::from_offsets(offsets) else {
            return GcDesc::Fixed(Vec::new());
        };
        let Some(first) = runs.first().map(|run| run.offset) else {
            return GcDesc::Fixed(Vec::new());
        };
        let items = runs
            .iter()
            .enumerate()
            .map(|(i, run)| {
                let next = runs.get(i + 1).map_or(element_size + first, |next| next.offset);
                RepeatItem {
                    references: run.count as u32,
                    skip: (next - run.offset - run.count * 8) as u32,
                }
            })
            .collect();
        GcDesc::Repeating {
            first_offset: data_offset + first,
            items,
        }
    }

    /// The words to place directly before a MethodTable with `base_size`, in memory order (the last one is at -8).
    /// An empty fixed descriptor gives no words: such a type does not set `CONTAINS_GC_POINTERS`.
    pub fn encode(&self, base_size: u32) -> Vec<u64> {
        match self {
            GcDesc::Fixed(series) if series.is_empty() => Vec::new(),
            GcDesc::Fixed(series) => {
                let mut words = Vec::with_capacity(series.len() * 2 + 1);
                for run in series {
                    words.push((run.count as u64 * 8).wrapping_sub(u64::from(base_size)));
                    words.push(run.offset as u64);
                }
                words.push(series.len() as u64);
                words
            }
            GcDesc::RefArray { data_offset } => {
                vec![0u64.wrapping_sub(u64::from(base_size)), *data_offset as u64, 1]
            }
            GcDesc::Repeating { first_offset, items } => {
                let mut words: Vec<u64> = items
                    .iter()
                    .rev()
                    .map(|item| u64::from(item.references) | u64::from(item.skip) << 32)
                    .collect();
                words.push(*first_offset as u64);
                words.push((items.len() as i64).wrapping_neg() as u64);
                words
            }
        }
    }
}

/// Calls `visit(first, count)` for every run of references of `obj`, in no particular order.
///
/// # Safety
/// `obj` is an object of type `mt` and `size` bytes whose fields after the first word are intact.
#[inline(always)]
pub unsafe fn for_each_run(
    obj: ObjPtr,
    mt: *const MethodTableHeader,
    size: usize,
    mut visit: impl FnMut(*mut ObjPtr, usize),
) {
    // SAFETY: a type with CONTAINS_GC_POINTERS has a descriptor in front of it, built by `encode`, whose runs lie in
    // the object.
    unsafe {
        if !(*mt).contains_gc_pointers() {
            return;
        }
        let words = mt.cast::<i64>();
        let count = *words.sub(1);
        let base = obj.cast::<u8>();
        if count > 0 {
            for i in 0..count as usize {
                let start = *words.sub(2 + 2 * i) as usize;
                let bytes = (*words.sub(3 + 2 * i) as usize).wrapping_add(size);
                visit(base.add(start).cast(), bytes / 8);
            }
        } else {
            let items = count.unsigned_abs() as usize;
            let end = base.add(size - HEADER_SIZE);
            let mut at = base.add(*words.sub(2) as usize);
            while at < end {
                for i in 0..items {
                    let item = *words.sub(3 + i) as u64;
                    let references = (item & 0xFFFF_FFFF) as usize;
                    visit(at.cast(), references);
                    at = at.add(references * 8 + (item >> 32) as usize);
                }
            }
        }
    }
}

/// Calls `visit` with the address of every reference field of `obj`, and of the slot that keeps an unloadable type alive.
///
/// # Safety
/// As for [`for_each_run`].
#[inline(always)]
pub unsafe fn for_each_ref(obj: ObjPtr, mt: *const MethodTableHeader, size: usize, mut visit: impl FnMut(*mut ObjPtr)) {
    // SAFETY: forwarded; every run lies in the object.
    unsafe {
        if (*mt).flags & mt_flags::COLLECTIBLE != 0
            && let Some(anchor) = crate::collectible::edge(mt)
        {
            visit(anchor);
        }
        for_each_run(obj, mt, size, |first, count| {
            for i in 0..count {
                visit(first.add(i));
            }
        });
    }
}

/// Like [`for_each_ref`], but only references whose address is in `low..high`.
///
/// # Safety
/// As for [`for_each_run`].
#[inline(always)]
pub unsafe fn for_each_ref_in(
    obj: ObjPtr,
    mt: *const MethodTableHeader,
    size: usize,
    low: usize,
    high: usize,
    mut visit: impl FnMut(*mut ObjPtr),
) {
    // SAFETY: forwarded; addresses are clamped to the run, and whole elements before `low` are skipped.
    unsafe {
        let mut clamp = |first: *mut ObjPtr, count: usize| {
            let begin = first as usize;
            let end = begin + count * 8;
            let mut at = begin.max((low + 7) & !7);
            let stop = end.min(high);
            while at < stop {
                visit(at as *mut ObjPtr);
                at += 8;
            }
        };
        let words = mt.cast::<i64>();
        if !(*mt).contains_gc_pointers() || *words.sub(1) >= 0 {
            for_each_run(obj, mt, size, clamp);
            return;
        }
        let items = (*words.sub(1)).unsigned_abs() as usize;
        let item = |i: usize| {
            let word = *words.sub(3 + i) as u64;
            ((word & 0xFFFF_FFFF) as usize, (word >> 32) as usize)
        };
        let element: usize = (0..items).map(|i| item(i).0 * 8 + item(i).1).sum();
        let first = obj as usize + *words.sub(2) as usize;
        let end = (obj as usize + size - HEADER_SIZE).min(high);
        let mut at = first + low.saturating_sub(first) / element * element;
        while at < end {
            for i in 0..items {
                let (references, skip) = item(i);
                clamp(at as *mut ObjPtr, references);
                at += references * 8 + skip;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn fixed_series_are_merged_and_encoded() {
        let desc = GcDesc::from_offsets(&[8, 16, 40]);
        assert_eq!(
            desc,
            GcDesc::Fixed(vec![Series { offset: 8, count: 2 }, Series { offset: 40, count: 1 }])
        );
        let words = desc.encode(56);
        assert_eq!(words, vec![16u64.wrapping_sub(56), 8, 8u64.wrapping_sub(56), 40, 2]);
    }

    #[test]
    fn struct_array_pattern_wraps_to_the_next_element() {
        // struct { long a; object b; object c; int d; } : 32 bytes, references at 8 and 16.
        let desc = GcDesc::for_struct_array(16, 32, &[8, 16]);
        assert_eq!(
            desc,
            GcDesc::Repeating {
                first_offset: 24,
                items: vec![RepeatItem {
                    references: 2,
                    skip: 16
                }]
            }
        );
        assert_eq!(desc.encode(24), vec![2 | 16 << 32, 24, u64::MAX]);
    }
}
