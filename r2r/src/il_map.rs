//! Which IL the positions in precompiled code stand for (the bounds in `DebugInfo`; `vm/debuginfostore.cpp`).

use crate::error::Result;
use crate::functions::FunctionId;
use crate::reader::{Nibbles, Reader};
use crate::tables::SparseArray;

/// Added to IL offsets in the data, so that the special ones are not negative.
const SPECIAL: u32 = 3;

/// Position in the IL of a method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IlPosition {
    /// Offset of an instruction.
    Offset(u32),
    /// Code that no IL stands for.
    None,
    /// Behind this the method is entered.
    Prolog,
    /// From here on the method is left.
    Epilog,
}

/// A position in code and what it stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Offset from the start of the method's code, in bytes.
    pub native: u32,
    /// Position in IL.
    pub il: IlPosition,
    /// `ICorDebugInfo::SourceTypes`: bit 1: the evaluation stack is empty there; 2: a call site; others as CoreCLR has them.
    pub source: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct IlMaps<'a> {
    maps: SparseArray<'a>,
}

impl<'a> IlMaps<'a> {
    pub fn new(section: Reader<'a>) -> Result<Self> {
        Ok(Self {
            maps: SparseArray::new(section)?,
        })
    }

    pub fn of(&self, function: FunctionId) -> Result<Vec<Mapping>> {
        let Some(entry) = self.maps.get(function.0)? else {
            return Ok(Vec::new());
        };
        // Equal maps are written once: the entry may tell how far back.
        let mut at = entry;
        let back = at.unsigned()?;
        let start = if back == 0 { at } else { entry.back(back)? };
        let mut lengths = Nibbles::new(start);
        let (bytes, _variables) = (lengths.unsigned()?, lengths.unsigned()?);
        let mut at = lengths.next_byte();
        let bounds = Reader::new("IL map", at.rva(), at.slice(bytes as usize)?);
        let mut mappings = Vec::new();
        if bytes == 0 {
            return Ok(mappings);
        }
        let mut digits = Nibbles::new(bounds);
        let count = digits.unsigned()?;
        let mut native = 0u32;
        for _ in 0..count {
            native = native.wrapping_add(digits.unsigned()?);
            let il = digits.unsigned()?;
            mappings.push(Mapping {
                native,
                il: match il.wrapping_sub(SPECIAL) {
                    0xFFFF_FFFF => IlPosition::None,
                    0xFFFF_FFFE => IlPosition::Prolog,
                    0xFFFF_FFFD => IlPosition::Epilog,
                    offset => IlPosition::Offset(offset),
                },
                source: digits.unsigned()?,
            });
        }
        Ok(mappings)
    }
}
