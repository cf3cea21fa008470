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
    let end = rest.iter().take(MAX_NAME + 1).position(|b| *b == 0);
    let end = end.ok_or_else(|| {
        Error::bad(
            Fault::HeapItem {
                heap: "#Strings",
                index,
            },
            at,
        )
    })?;
    std::str::from_utf8(&rest[..end]).map_err(|_| Error::bad(Fault::Utf8(index), at))
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
    let Some((flag, units)) = item.split_last() else {
        return Ok(UserString {
            units: &[],
            has_special: false,
        });
    };
    if units.len() % 2 != 0 {
        let at = place.start + index as usize;
        return Err(Error::bad(Fault::HeapItem { heap: "#US", index }, at));
    }
    Ok(UserString {
        units,
        has_special: *flag != 0,
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
