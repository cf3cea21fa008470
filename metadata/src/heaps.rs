//! The `#Strings`, `#Blob`, `#US` and `#GUID` heaps (ECMA-335 II.24.2.3 to II.24.2.5).

use crate::bytes::compressed_u32;
use crate::error::{Error, Fault, Result};
use std::fmt;
use std::ops::Range;

/// Index into `#Strings`, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct StringIdx(pub u32);
/// Index into `#Blob`, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct BlobIdx(pub u32);
/// Index into `#GUID`, 1-based, counting GUIDs; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct GuidIdx(pub u32);

/// Longest name accepted, in bytes. The reference runtime limits type names to 1024 characters; this bound only keeps
/// the work on a hostile image linear.
const MAX_NAME: usize = 0xffff;

/// A string of the `#US` heap: UTF-16 code units, possibly unpaired surrogates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UserString<'a> {
    units: &'a [u8],
    has_special: bool,
}

impl<'a> UserString<'a> {
    /// Length in UTF-16 code units.
    pub fn len(&self) -> usize {
        self.units.len() / 2
    }

    /// Whether the string is empty.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// The code units.
    pub fn units(&self) -> impl ExactSizeIterator<Item = u16> + 'a {
        self.units.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]]))
    }

    /// The code units as a vector.
    pub fn to_vec(&self) -> Vec<u16> {
        self.units().collect()
    }

    /// The units as stored: little-endian bytes, an even number of them.
    pub fn bytes(&self) -> &'a [u8] {
        self.units
    }

    /// The flag byte after the text: set if some character needs more than a plain comparison.
    pub fn has_special(&self) -> bool {
        self.has_special
    }

    /// The text with unpaired surrogates replaced by U+FFFD.
    pub fn to_string_lossy(&self) -> String {
        char::decode_utf16(self.units())
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    }
}

impl fmt::Debug for UserString<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string_lossy())
    }
}

/// Fails if `index` is neither 0 nor inside the heap at `place`.
pub(crate) fn check_index(place: &Range<usize>, heap: &'static str, index: u32) -> Result<()> {
    let size = place.len();
    if index == 0 || (index as usize) < size {
        return Ok(());
    }
    Err(Error::bad(Fault::HeapIndex { heap, index, size }, place.start))
}

/// Bytes before the first zero, eight at a time: names are short, and there are many.
fn until_zero(bytes: &[u8]) -> Option<&[u8]> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let w = u64::from_le_bytes(*word);
        // The lowest byte with its top bit set is the first zero (higher ones may be false).
        let zeros = w.wrapping_sub(ONES) & !w & (ONES << 7);
        if zeros != 0 {
            return bytes.get(..8 * i + zeros.trailing_zeros() as usize / 8);
        }
    }
    let n = rest.iter().position(|b| *b == 0)?;
    bytes.get(..8 * words.len() + n)
}

/// Whether the string at `index` of the heap at `place` is `text`.
pub(crate) fn string_is(file: &[u8], place: &Range<usize>, index: u32, text: &str) -> bool {
    if index == 0 {
        return text.is_empty();
    }
    let heap = file.get(place.clone()).unwrap_or(&[]);
    let rest = heap.get(index as usize..).and_then(|r| r.strip_prefix(text.as_bytes()));
    rest.is_some_and(|r| r.first() == Some(&0))
}

/// A zero-terminated UTF-8 string at `index` of the heap at `place`.
pub(crate) fn string<'a>(file: &'a [u8], place: &Range<usize>, index: u32) -> Result<&'a str> {
    if index == 0 {
        return Ok("");
    }
    let heap = file.get(place.clone()).unwrap_or(&[]);
    let at = place.start + index as usize;
    let Some(rest) = heap.get(index as usize..).filter(|r| !r.is_empty()) else {
        return Err(Error::bad(
            Fault::HeapIndex {
                heap: "#Strings",
                index,
                size: heap.len(),
            },
            place.start,
        ));
    };
    let text = until_zero(rest.get(..=MAX_NAME).unwrap_or(rest)).ok_or_else(|| {
        Error::bad(
            Fault::HeapItem {
                heap: "#Strings",
                index,
            },
            at,
        )
    })?;
    std::str::from_utf8(text).map_err(|_| Error::bad(Fault::Utf8(index), at))
}

/// A length-prefixed item at `index` of the heap at `place`.
pub(crate) fn blob<'a>(file: &'a [u8], place: &Range<usize>, heap_name: &'static str, index: u32) -> Result<&'a [u8]> {
    if index == 0 {
        return Ok(&[]);
    }
    let heap = file.get(place.clone()).unwrap_or(&[]);
    let at = place.start + index as usize;
    let Some(rest) = heap.get(index as usize..).filter(|r| !r.is_empty()) else {
        return Err(Error::bad(
            Fault::HeapIndex {
                heap: heap_name,
                index,
                size: heap.len(),
            },
            place.start,
        ));
    };
    let item = compressed_u32(rest).and_then(|(len, used)| rest.get(used..used + len as usize));
    item.ok_or_else(|| Error::bad(Fault::HeapItem { heap: heap_name, index }, at))
}

/// The user string at `index` of the heap at `place`.
pub(crate) fn user_string<'a>(file: &'a [u8], place: &Range<usize>, index: u32) -> Result<UserString<'a>> {
    let item = blob(file, place, "#US", index)?;
    // Some writers leave the flag byte out; the reference runtime takes an even length as text alone.
    Ok(match item.split_last() {
        Some((flag, units)) if units.len() % 2 == 0 => UserString {
            units,
            has_special: *flag != 0,
        },
        _ => UserString {
            units: item,
            has_special: !item.is_empty(),
        },
    })
}

/// GUID number `index`; all zero for index 0.
pub(crate) fn guid(file: &[u8], place: &Range<usize>, index: u32) -> Result<[u8; 16]> {
    if index == 0 {
        return Ok([0; 16]);
    }
    let heap = file.get(place.clone()).unwrap_or(&[]);
    let start = (index as usize - 1).checked_mul(16);
    let bytes = start.and_then(|s| heap.get(s..)).and_then(|b| b.first_chunk::<16>());
    bytes.copied().ok_or_else(|| {
        Error::bad(
            Fault::HeapIndex {
                heap: "#GUID",
                index,
                size: heap.len(),
            },
            place.start,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_blobs() {
        let heap = b"..\0name\0\xff\0tail";
        let place = 2..heap.len();
        assert_eq!(string(heap, &place, 0).unwrap(), "");
        assert_eq!(string(heap, &place, 1).unwrap(), "name");
        assert_eq!(string(heap, &place, 3).unwrap(), "me");
        let offset = |i| string(heap, &place, i).unwrap_err().offset();
        assert_eq!((offset(6), offset(8), offset(99)), (Some(8), Some(10), Some(2)));
        let heap = [0, 2, 7, 8, 5, 1];
        assert_eq!(blob(&heap, &(0..6), "#Blob", 1).unwrap(), [7, 8]);
        assert!(blob(&heap, &(0..6), "#Blob", 4).is_err());
        assert_eq!(guid(&heap, &(0..6), 0).unwrap(), [0; 16]);
        assert!(guid(&heap, &(0..6), 1).is_err() && guid(&heap, &(0..6), u32::MAX).is_err());
    }

    #[test]
    fn user_strings_with_and_without_flag() {
        let heap = [0, 5, b'a', 0, 0x3d, 0xd8, 1, 2, b'b', 0, 1, 0];
        let text = |i| user_string(&heap, &(0..12), i).unwrap();
        assert_eq!((text(1).to_vec(), text(1).has_special()), (vec![0x61, 0xd83d], true));
        assert_eq!(text(1).to_string_lossy(), "a\u{fffd}");
        assert_eq!(text(7).to_vec(), [0x62]);
        assert!(text(10).is_empty() && !text(10).has_special());
    }
}
