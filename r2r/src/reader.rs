//! A cursor over a range of the image, with the encodings of numbers that the format uses.

use crate::error::{Fault, FormatError, Result};

/// A position in a range of the image. Copies are independent of each other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    rva: u32,
    at: usize,
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// The start of a range at `rva`; `what` it holds is for errors.
    pub fn new(what: &'static str, rva: u32, bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            rva,
            at: 0,
            what,
        }
    }

    /// Offset of the cursor from the start of the range.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Address of the cursor.
    pub fn rva(&self) -> u32 {
        self.rva.wrapping_add(self.at as u32)
    }

    /// Bytes from the cursor to the end of the range.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// A cursor at another offset of the same range.
    pub fn to(&self, at: usize) -> Self {
        Self { at, ..*self }
    }

    /// A cursor `distance` bytes before this one.
    ///
    /// # Errors
    /// The range begins later.
    pub fn back(&self, distance: u32) -> Result<Self> {
        match self.at.checked_sub(distance as usize) {
            Some(at) => Ok(self.to(at)),
            None => Err(self.error(Fault::End)),
        }
    }

    /// An error about what is at the cursor.
    pub fn error(&self, fault: Fault) -> FormatError {
        FormatError {
            what: self.what,
            rva: self.rva(),
            fault,
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.rest().first_chunk::<N>().copied();
        let bytes = bytes.ok_or_else(|| self.error(Fault::End))?;
        self.at += N;
        Ok(bytes)
    }

    /// Skips `count` bytes and returns them.
    ///
    /// # Errors
    /// The range ends before.
    pub fn slice(&mut self, count: usize) -> Result<&'a [u8]> {
        let bytes = self.rest().get(..count).ok_or_else(|| self.error(Fault::End))?;
        self.at += count;
        Ok(bytes)
    }

    /// One byte.
    ///
    /// # Errors
    /// The range ends before.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.take::<1>()?[0])
    }

    /// Two bytes, little-endian.
    ///
    /// # Errors
    /// The range ends before.
    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.take()?))
    }

    /// Four bytes, little-endian.
    ///
    /// # Errors
    /// The range ends before.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    /// The unsigned number of native tables: the low bits of the first byte tell the length (`nativeformatreader.h`).
    ///
    /// # Errors
    /// The range ends before, or the first byte is none that the format uses.
    pub fn unsigned(&mut self) -> Result<u32> {
        let (value, length) = self.variable()?;
        Ok(match length {
            1..=4 => value >> length,
            _ => value,
        })
    }

    /// The signed number of native tables.
    ///
    /// # Errors
    /// As for [`Self::unsigned`].
    pub fn signed(&mut self) -> Result<i32> {
        let (value, length) = self.variable()?;
        Ok(match length {
            1..=3 => ((value << (32 - 8 * length)) as i32) >> (32 - 7 * length),
            4 => value as i32 >> 4,
            _ => value as i32,
        })
    }

    /// The bytes of a number of native tables, with the bits that tell the length, unless it has five.
    fn variable(&mut self) -> Result<(u32, u32)> {
        let first = self.u8()?;
        let length = first.trailing_ones() + 1;
        let value = match length {
            1 => u32::from(first),
            2 => u32::from(first) | u32::from(self.u8()?) << 8,
            3 => u32::from(first) | u32::from(self.u16()?) << 8,
            4 => {
                let [a, b, c] = self.take()?;
                u32::from_le_bytes([first, a, b, c])
            }
            5 => self.u32()?,
            _ => return Err(self.to(self.at - 1).error(Fault::Value(first.into()))),
        };
        Ok((value, length))
    }

    /// The compressed unsigned number of signatures (ECMA-335 II.23.2).
    ///
    /// # Errors
    /// The range ends before, or the first byte is none that the format uses.
    pub fn compressed(&mut self) -> Result<u32> {
        let first = self.u8()?;
        Ok(match first {
            0..=0x7F => first.into(),
            0x80..=0xBF => u32::from_be_bytes([0, 0, first & 0x3F, self.u8()?]),
            0xC0..=0xDF => {
                let [a, b, c] = self.take()?;
                u32::from_be_bytes([first & 0x1F, a, b, c])
            }
            _ => return Err(self.to(self.at - 1).error(Fault::Value(first.into()))),
        })
    }
}

/// Numbers of four-bit digits, low half of each byte first. A digit holds three bits of the number, the highest first; the fourth bit
/// says that another one follows (`inc/nibblestream.h`).
#[derive(Clone, Debug)]
pub struct Nibbles<'a> {
    reader: Reader<'a>,
    high: Option<u8>,
}

impl<'a> Nibbles<'a> {
    /// Begins at the cursor of `reader`.
    pub fn new(reader: Reader<'a>) -> Self {
        Self { reader, high: None }
    }

    /// The next number.
    ///
    /// # Errors
    /// The range ends before.
    pub fn unsigned(&mut self) -> Result<u32> {
        let mut value = 0u32;
        loop {
            let digit = match self.high.take() {
                Some(high) => high,
                None => {
                    let byte = self.reader.u8()?;
                    self.high = Some(byte >> 4);
                    byte & 15
                }
            };
            value = value << 3 | u32::from(digit & 7);
            if digit & 8 == 0 {
                return Ok(value);
            }
        }
    }

    /// The byte behind the last one that was begun.
    pub fn next_byte(&self) -> Reader<'a> {
        self.reader
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> Reader<'_> {
        Reader::new("test", 0x1000, bytes)
    }

    #[test]
    fn numbers_of_native_tables() {
        for (bytes, value) in [
            (&[0x54][..], 42),
            (&[0xFE], 127),
            (&[0x01, 0x02], 128),
            (&[0xFB, 0xFF, 0xFF], 0x1F_FFFF),
            (&[0x07, 0, 0, 0x10], 0x100_0000),
            (&[0x0F, 0x78, 0x56, 0x34, 0x12], 0x1234_5678),
        ] {
            assert_eq!(reader(bytes).unsigned(), Ok(value), "{bytes:x?}");
        }
        for (bytes, value) in [
            (&[0x54][..], 42),
            (&[0xFE], -1),
            (&[0x80], -64),
            (&[0xFD, 0xFF], -1),
            (&[0x01, 0x80], -0x2000),
            (&[0xFB, 0xFF, 0xFF], -1),
            (&[0xF7, 0xFF, 0xFF, 0xFF], -1),
            (&[0x07, 0, 0, 0x10], 0x100_0000),
            (&[0x0F, 0xFE, 0xFF, 0xFF, 0xFF], -2),
        ] {
            assert_eq!(reader(bytes).signed(), Ok(value), "{bytes:x?}");
        }
        let error = reader(&[0x1F, 0]).unsigned().map_err(|e| e.to_string());
        assert_eq!(error, Err("test at RVA 0x1000: 0x1f has no meaning there".into()));
        let error = reader(&[0x0F, 0]).signed().map_err(|e| e.to_string());
        assert_eq!(error, Err("test at RVA 0x1001: the data ends there".into()));
    }

    #[test]
    fn compressed_numbers_and_digits() {
        assert_eq!(reader(&[0x7F]).compressed(), Ok(0x7F));
        assert_eq!(reader(&[0xAE, 0x57]).compressed(), Ok(0x2E57));
        assert_eq!(reader(&[0xDF, 0xFF, 0xFF, 0xFF]).compressed(), Ok(0x1FFF_FFFF));
        assert!(reader(&[0xE0]).compressed().is_err());
        // 5, then 0o17 in two digits, then 1.
        let mut digits = Nibbles::new(reader(&[0x95, 0x17]));
        assert_eq!(
            (digits.unsigned(), digits.unsigned(), digits.unsigned()),
            (Ok(5), Ok(0o17), Ok(1))
        );
        assert!(digits.unsigned().is_err());
    }
}
