//! Which arguments of a call through a lazily bound cell are references, for collections while the cell is being bound: then the
//! arguments are where the caller put them, and nobody else knows of them (`inc/gcrefmap.h`).

use crate::error::{Fault, Result};
use crate::reader::Reader;

/// Cells between two entries of the index.
const STRIDE: u32 = 1024;
/// Argument registers, and the words between them and the arguments on the stack in CoreCLR's `TransitionBlock`: registers that calls
/// preserve and the return address.
const REGISTERS: u32 = 6;
const BETWEEN: u32 = 7;

/// Where an argument is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArgumentLocation {
    /// In an argument register: 0 rdi, 1 rsi, 2 rdx, 3 rcx, 4 r8, 5 r9.
    Register(u8),
    /// In a word behind the return address, counted from 0.
    Stack(u32),
}

/// What an argument is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArgumentKind {
    /// A reference to an object.
    Reference,
    /// A reference into an object, perhaps.
    Interior,
    /// A hidden argument: the instantiated method, which keeps its collectible assembly alive.
    MethodContext,
    /// A hidden argument: the MethodTable, which keeps its collectible assembly alive.
    TypeContext,
    /// Describes variable arguments.
    VarargCookie,
}

/// Bits, seven in a byte; the eighth says that another byte follows.
struct SevenBits<'a> {
    reader: Reader<'a>,
    byte: u8,
    left: u8,
    more: bool,
}

impl SevenBits<'_> {
    fn bit(&mut self) -> Result<u32> {
        if self.left == 0 {
            if !self.more {
                // Zeros at the end are left out.
                return Ok(0);
            }
            let byte = self.reader.u8()?;
            (self.byte, self.more, self.left) = (byte & 0x7F, byte & 0x80 != 0, 7);
        }
        let bit = self.byte & 1;
        self.byte >>= 1;
        self.left -= 1;
        Ok(bit.into())
    }

    fn two_bits(&mut self) -> Result<u32> {
        Ok(self.bit()? | self.bit()? << 1)
    }

    /// A number in chunks of three bits, each followed by a bit that tells whether there is another one.
    fn number(&mut self) -> Result<u32> {
        let mut value = 0;
        for shift in (0..30).step_by(3) {
            value |= (self.bit()? | self.bit()? << 1 | self.bit()? << 2) << shift;
            if self.bit()? == 0 {
                return Ok(value);
            }
        }
        Err(self.reader.error(Fault::Value(value)))
    }

    fn is_empty(&self) -> bool {
        !self.more && self.byte == 0
    }
}

/// Reads the map of cell `slot` of a section whose maps begin at the cursor.
pub(crate) fn read(maps: Reader<'_>, slot: u32) -> Result<Vec<(ArgumentLocation, ArgumentKind)>> {
    // The index tells where every 1024th map is; the others are passed one by one.
    let index = maps
        .to(maps.offset().saturating_add((slot / STRIDE) as usize * 4))
        .u32()?;
    let mut at = maps.to(maps.offset().saturating_add(index as usize));
    for _ in 0..slot % STRIDE {
        while at.u8()? & 0x80 != 0 {}
    }
    let mut bits = SevenBits {
        reader: at,
        byte: 0,
        left: 0,
        more: true,
    };
    let mut arguments = Vec::new();
    let mut position = 0u32;
    loop {
        let kind = match bits.two_bits()? {
            0 => None,
            1 => Some(ArgumentKind::Reference),
            2 => Some(ArgumentKind::Interior),
            _ => {
                let extended = bits.number()?;
                if extended & 1 == 0 {
                    // Many words that are nothing.
                    position = position.saturating_add((extended >> 1) + 3);
                    None
                } else {
                    Some(match extended >> 1 {
                        0 => ArgumentKind::MethodContext,
                        1 => ArgumentKind::TypeContext,
                        2 => ArgumentKind::VarargCookie,
                        other => return Err(at.error(Fault::Value(other))),
                    })
                }
            }
        };
        if let Some(kind) = kind {
            let location = match position {
                0..REGISTERS => ArgumentLocation::Register(position as u8),
                _ => match position.checked_sub(REGISTERS + BETWEEN) {
                    Some(word) => ArgumentLocation::Stack(word),
                    None => return Err(at.error(Fault::Value(position))),
                },
            };
            arguments.push((location, kind));
        }
        position = position.saturating_add(1);
        if bits.is_empty() {
            return Ok(arguments);
        }
    }
}
