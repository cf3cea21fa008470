//! Strings in native memory. `Ansi` means UTF-8 on this platform; memory comes from `malloc`, which is what
//! `Marshal.AllocCoTaskMem` and `Marshal.AllocHGlobal` use here, too.

use crate::error::{ExceptionKind, Raise, VmResult};

/// Form of a native string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextKind {
    /// NUL-terminated UTF-8.
    Utf8,
    /// NUL-terminated UTF-16.
    Wide,
    /// Length-prefixed UTF-16 (bytes in the 4 bytes before the pointer).
    BStr,
    /// Length-prefixed UTF-8.
    AnsiBStr,
}

/// Bytes between the start of the block of a BSTR and its first character.
const BSTR_PREFIX: usize = 8;

/// Zeroed native memory (CoTaskMem).
///
/// # Errors
/// OutOfMemoryException.
pub fn allocate(bytes: usize) -> VmResult<*mut u8> {
    // SAFETY: calloc has no preconditions.
    let p = unsafe { libc::calloc(bytes.max(1), 1) };
    if p.is_null() {
        Err(Raise::of(ExceptionKind::OutOfMemory))
    } else {
        Ok(p.cast())
    }
}

/// Frees memory of [`allocate`] (null allowed).
///
/// # Safety
/// `p` came from `malloc` and is not used any more.
pub unsafe fn free(p: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { libc::free(p.cast()) }
}

/// UTF-8 of UTF-16 units, lone surrogates replaced.
pub fn utf8(units: &[u16]) -> Vec<u8> {
    let mut out = Vec::with_capacity(units.len() + 8);
    let mut buffer = [0; 4];
    for c in char::decode_utf16(units.iter().copied()) {
        out.extend_from_slice(
            c.unwrap_or(char::REPLACEMENT_CHARACTER)
                .encode_utf8(&mut buffer)
                .as_bytes(),
        );
    }
    out
}

/// UTF-16 of UTF-8 bytes, malformed sequences replaced.
pub fn utf16(bytes: &[u8]) -> Vec<u16> {
    String::from_utf8_lossy(bytes).encode_utf16().collect()
}

/// A fresh native string.
///
/// # Errors
/// OutOfMemoryException.
pub fn to_native(kind: TextKind, units: &[u16]) -> VmResult<*mut u8> {
    let wide_bytes = |units: &[u16]| units.iter().flat_map(|u| u.to_le_bytes()).collect::<Vec<u8>>();
    let (bytes, prefix) = match kind {
        TextKind::Utf8 => (utf8(units), 0),
        TextKind::Wide => (wide_bytes(units), 0),
        TextKind::BStr => (wide_bytes(units), BSTR_PREFIX),
        TextKind::AnsiBStr => (utf8(units), BSTR_PREFIX),
    };
    let block = allocate(prefix + bytes.len() + 2)?;
    // SAFETY: the block has room for prefix, bytes and a (zero) terminator.
    unsafe {
        let p = block.add(prefix);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), p, bytes.len());
        if prefix != 0 {
            p.sub(4).cast::<u32>().write_unaligned(bytes.len() as u32);
        }
        Ok(p)
    }
}

/// UTF-16 units of a native string; `None` for null.
///
/// # Safety
/// `p` is null or a string of that kind.
pub unsafe fn read(kind: TextKind, p: *const u8) -> Option<Vec<u16>> {
    if p.is_null() {
        return None;
    }
    // SAFETY: the caller's promise; each form says where its string ends.
    unsafe {
        Some(match kind {
            TextKind::Utf8 => utf16(std::ffi::CStr::from_ptr(p.cast()).to_bytes()),
            TextKind::Wide => {
                let mut units = Vec::new();
                loop {
                    let u = p.cast::<u16>().add(units.len()).read_unaligned();
                    if u == 0 {
                        break units;
                    }
                    units.push(u);
                }
            }
            TextKind::BStr => {
                let bytes = p.sub(4).cast::<u32>().read_unaligned() as usize;
                (0..bytes / 2)
                    .map(|i| p.cast::<u16>().add(i).read_unaligned())
                    .collect()
            }
            TextKind::AnsiBStr => {
                let bytes = p.sub(4).cast::<u32>().read_unaligned() as usize;
                utf16(std::slice::from_raw_parts(p, bytes))
            }
        })
    }
}

/// Frees a native string (null allowed).
///
/// # Safety
/// `p` is null or a string of that kind made by [`to_native`] or by native code with the same allocator.
pub unsafe fn free_text(kind: TextKind, p: *mut u8) {
    if p.is_null() {
        return;
    }
    let prefix = match kind {
        TextKind::Utf8 | TextKind::Wide => 0,
        TextKind::BStr | TextKind::AnsiBStr => BSTR_PREFIX,
    };
    // SAFETY: the caller's promise.
    unsafe { free(p.sub(prefix)) }
}

/// First byte of the UTF-8 form of a character: a `char` as a native `char`.
pub fn ansi_char(unit: u16) -> u8 {
    utf8(&[unit])[0]
}

/// The reverse: bytes that are no character of their own are replaced.
pub fn wide_char(byte: u8) -> u16 {
    if byte < 0x80 { u16::from(byte) } else { 0xFFFD }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_way_there_and_back() {
        let text: Vec<u16> = "aé中😀".encode_utf16().collect();
        for kind in [TextKind::Utf8, TextKind::Wide, TextKind::BStr, TextKind::AnsiBStr] {
            let p = to_native(kind, &text).unwrap();
            // SAFETY: a string just made.
            unsafe {
                assert_eq!(read(kind, p).unwrap(), text);
                free_text(kind, p);
            }
        }
        let with_nul: Vec<u16> = vec![98, 0, 114];
        let p = to_native(TextKind::BStr, &with_nul).unwrap();
        // SAFETY: a string just made.
        unsafe {
            assert_eq!(read(TextKind::BStr, p).unwrap(), with_nul);
            free_text(TextKind::BStr, p);
            assert!(read(TextKind::Wide, std::ptr::null()).is_none());
        }
    }

    #[test]
    fn single_characters() {
        assert_eq!((ansi_char(107), wide_char(75), wide_char(0xC3)), (107, 75, 0xFFFD));
        assert_eq!(ansi_char(0xE9), 0xC3);
    }
}
