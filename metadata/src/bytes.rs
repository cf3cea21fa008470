//! Bounded little-endian reads. Nothing here panics on short input.

/// Reads a little-endian `u16` at `at`.
pub(crate) fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*b.get(at..)?.first_chunk()?))
}

/// Reads a little-endian `u32` at `at`.
pub(crate) fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*b.get(at..)?.first_chunk()?))
}

/// Reads a little-endian `u64` at `at`.
pub(crate) fn u64_at(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*b.get(at..)?.first_chunk()?))
}

/// A sub-slice by offset and length, none if it leaves `b`.
pub(crate) fn range(b: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    b.get(at..at.checked_add(len)?)
}

/// Decodes a compressed unsigned integer at the start of `b` (ECMA-335 II.23.2): value and bytes used.
pub(crate) fn compressed_u32(b: &[u8]) -> Option<(u32, usize)> {
    let b0 = *b.first()?;
    if b0 & 0x80 == 0 {
        Some((u32::from(b0), 1))
    } else if b0 & 0xc0 == 0x80 {
        Some((u32::from(b0 & 0x3f) << 8 | u32::from(*b.get(1)?), 2))
    } else if b0 & 0xe0 == 0xc0 {
        let rest = b.get(1..4)?;
        Some((
            u32::from(b0 & 0x1f) << 24 | u32::from(rest[0]) << 16 | u32::from(rest[1]) << 8 | u32::from(rest[2]),
            4,
        ))
    } else {
        None
    }
}

/// Decodes a compressed signed integer (ECMA-335 II.23.2): value and bytes used.
pub(crate) fn compressed_i32(b: &[u8]) -> Option<(i32, usize)> {
    let (raw, used) = compressed_u32(b)?;
    let magnitude = (raw >> 1) as i32;
    if raw & 1 == 0 {
        return Some((magnitude, used));
    }
    let bias = match used {
        1 => 0x40,
        2 => 0x2000,
        _ => 0x1000_0000,
    };
    Some((magnitude - bias, used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_examples_of_the_standard() {
        let u = |b: &[u8]| compressed_u32(b);
        assert_eq!(u(&[0x03]), Some((3, 1)));
        assert_eq!(u(&[0x7f]), Some((0x7f, 1)));
        assert_eq!(u(&[0x80, 0x80]), Some((0x80, 2)));
        assert_eq!(u(&[0xae, 0x57]), Some((0x2e57, 2)));
        assert_eq!(u(&[0xbf, 0xff]), Some((0x3fff, 2)));
        assert_eq!(u(&[0xc0, 0x00, 0x40, 0x00]), Some((0x4000, 4)));
        assert_eq!(u(&[0xdf, 0xff, 0xff, 0xff]), Some((0x1fff_ffff, 4)));
        assert_eq!(u(&[0xff]), None);
        assert_eq!(u(&[0xc0, 0, 0]), None);
        let i = |b: &[u8]| compressed_i32(b).map(|x| x.0);
        assert_eq!(i(&[0x06]), Some(3));
        assert_eq!(i(&[0x7b]), Some(-3));
        assert_eq!(i(&[0x80, 0x80]), Some(64));
        assert_eq!(i(&[0x01]), Some(-64));
        assert_eq!(i(&[0xc0, 0x00, 0x40, 0x00]), Some(8192));
        assert_eq!(i(&[0x80, 0x01]), Some(-8192));
        assert_eq!(i(&[0xdf, 0xff, 0xff, 0xfe]), Some(268_435_455));
        assert_eq!(i(&[0xc0, 0x00, 0x00, 0x01]), Some(-268_435_456));
    }
}
