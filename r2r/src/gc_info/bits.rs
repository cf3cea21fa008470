//! A cursor over bits, lowest bit of each byte first (`inc/gcinfodecoder.h`).

use crate::error::{Fault, FormatError, Result};

/// A position in GC info. Copies are independent of each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    rva: u32,
    at: usize,
}

impl<'a> Bits<'a> {
    pub fn new(rva: u32, bytes: &'a [u8]) -> Self {
        Self { bytes, rva, at: 0 }
    }

    pub fn to(&self, at: usize) -> Self {
        Self { at, ..*self }
    }

    /// The next position that begins a byte.
    pub fn aligned(&self) -> Self {
        self.to(self.at.saturating_add(7) & !7)
    }

    pub fn skip(&mut self, bits: usize) {
        self.at = self.at.saturating_add(bits);
    }

    pub fn error(&self, fault: Fault) -> FormatError {
        FormatError {
            what: "GC info",
            rva: self.rva.wrapping_add((self.at / 8) as u32),
            fault,
        }
    }

    /// `count` bits, at most 32.
    pub fn take(&mut self, count: u32) -> Result<u32> {
        let mut value = 0u64;
        let first = self.at / 8;
        let shift = self.at % 8;
        let bytes = (shift + count as usize).div_ceil(8);
        for i in 0..bytes {
            let byte = self.bytes.get(first.saturating_add(i));
            value |= u64::from(*byte.ok_or_else(|| self.error(Fault::End))?) << (8 * i);
        }
        self.at += count as usize;
        Ok(((value >> shift) & ((1u64 << count) - 1)) as u32)
    }

    pub fn bit(&mut self) -> Result<bool> {
        Ok(self.take(1)? != 0)
    }

    fn chunks(&mut self, base: u32) -> Result<(u64, u32)> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let chunk = self.take(base + 1)?;
            value |= u64::from(chunk & ((1 << base) - 1)) << shift;
            shift += base;
            if chunk >> base == 0 {
                return Ok((value, shift));
            }
            if shift > 32 {
                return Err(self.error(Fault::Value(value as u32)));
            }
        }
    }

    /// A number in chunks of `base` bits, each followed by a bit that tells whether there is another one.
    pub fn unsigned(&mut self, base: u32) -> Result<u32> {
        let (value, _) = self.chunks(base)?;
        u32::try_from(value).map_err(|_| self.error(Fault::Value(u32::MAX)))
    }

    /// The same, where the highest bit of the last chunk is the sign.
    pub fn signed(&mut self, base: u32) -> Result<i32> {
        let (value, bits) = self.chunks(base)?;
        let extended = ((value << (64 - bits)) as i64) >> (64 - bits);
        i32::try_from(extended).map_err(|_| self.error(Fault::Value(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_chunks() {
        // 0b1_0110 in chunks of three bits: 110 and another, 010 and no other.
        let bits = Bits::new(0, &[0b0010_1110, 0]);
        assert_eq!(bits.to(0).unsigned(3), Ok(0b1_0110));
        assert_eq!(bits.to(0).signed(3), Ok(0b1_0110));
        // 110 and no other: -2.
        assert_eq!(Bits::new(0, &[0b0110]).signed(3), Ok(-2));
        assert!(Bits::new(0, &[0xFF; 20]).unsigned(3).is_err());
        assert!(Bits::new(0, &[]).unsigned(3).is_err());
        let mut bits = Bits::new(0, &[0xAB, 0xCD, 0xEF, 0x12, 0x34]);
        bits.skip(4);
        assert_eq!(bits.take(32), Ok(0x412E_FCDA));
        assert_eq!((bits.at, bits.aligned().at), (36, 40));
    }
}
