//! Where methods' code is, and what must hold before it may run.

use crate::error::{Fault, Result};
use crate::functions::FunctionId;
use crate::image::Image;
use crate::imports::CellId;
use crate::reader::{Nibbles, Reader};
use crate::signature::MethodSig;
use crate::tables::{Entries, Entry};

/// Bits of the number of an entry.
const HAS_FIXUPS: u32 = 1;
const FIXUPS_ELSEWHERE: u32 = 2;

/// Code of a method.
#[derive(Clone, Copy, Debug)]
pub struct EntryPoint<'a> {
    /// The function; its funclets follow it.
    pub function: FunctionId,
    fixups: Option<Reader<'a>>,
}

impl<'a> EntryPoint<'a> {
    pub(crate) fn read(at: Reader<'a>) -> Result<Self> {
        let mut reader = at;
        let number = reader.unsigned()?;
        if number & HAS_FIXUPS == 0 {
            return Ok(Self {
                function: FunctionId(number >> 1),
                fixups: None,
            });
        }
        // Equal lists are written once.
        let list = if number & FIXUPS_ELSEWHERE != 0 {
            let here = reader;
            here.back(reader.unsigned()?)?
        } else {
            reader
        };
        Ok(Self {
            function: FunctionId(number >> 2),
            fixups: Some(list),
        })
    }

    /// Cells that have to be filled, or checked, before the code runs for the first time, in order.
    pub fn fixups(&self) -> Fixups<'a> {
        Fixups {
            digits: self.fixups.map(Nibbles::new),
            section: 0,
            slot: None,
        }
    }
}

/// Iterator of [`EntryPoint::fixups`]. Ends at the first error.
#[derive(Clone, Debug)]
pub struct Fixups<'a> {
    digits: Option<Nibbles<'a>>,
    section: u32,
    /// Last slot of the section; `None` at the start of a section's list.
    slot: Option<u32>,
}

impl Fixups<'_> {
    fn step(&mut self) -> Result<Option<CellId>> {
        let Some(digits) = &mut self.digits else {
            return Ok(None);
        };
        let begins = self.slot.is_none() && self.section == 0;
        if begins {
            self.section = digits.unsigned()?;
            self.slot = Some(digits.unsigned()?);
        } else {
            // Both numbers are distances; 0 ends the list of a section, or all lists.
            let too_far = digits.next_byte().error(Fault::Value(u32::MAX));
            match digits.unsigned()? {
                0 => {
                    let sections = digits.unsigned()?;
                    if sections == 0 {
                        self.digits = None;
                        return Ok(None);
                    }
                    self.section = self.section.checked_add(sections).ok_or(too_far)?;
                    self.slot = Some(digits.unsigned()?);
                }
                slots => self.slot = self.slot.and_then(|slot| slot.checked_add(slots)),
            }
            if self.slot.is_none() {
                return Err(too_far);
            }
        }
        Ok(self.slot.map(|slot| CellId {
            section: self.section,
            slot,
        }))
    }
}

impl Iterator for Fixups<'_> {
    type Item = Result<CellId>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.step();
        if item.is_err() {
            self.digits = None;
        }
        item.transpose()
    }
}

/// Code of an instantiation.
#[derive(Clone, Debug)]
pub struct Instance<'a> {
    /// Which.
    pub method: MethodSig,
    /// Its code.
    pub entry_point: EntryPoint<'a>,
    /// Low byte of its hash code.
    pub low_hash: u8,
    /// Bits of its hash code from the eighth on, as many as the table tells apart.
    pub bucket: u32,
}

impl<'a> Instance<'a> {
    pub(crate) fn read(entry: Entry<'a>) -> Result<Self> {
        let mut reader = entry.contents;
        let method = MethodSig::read(&mut reader)?;
        Ok(Self {
            method,
            entry_point: EntryPoint::read(reader)?,
            low_hash: entry.low_byte,
            bucket: entry.bucket,
        })
    }
}

/// Iterator of [`Image::instances`].
#[derive(Clone, Debug)]
pub struct Instances<'i, 'a> {
    image: &'i Image<'a>,
    entries: Option<Entries<'a>>,
}

impl<'i, 'a> Instances<'i, 'a> {
    pub(crate) fn new(image: &'i Image<'a>, entries: Option<Entries<'a>>) -> Self {
        Self { image, entries }
    }
}

impl<'a> Iterator for Instances<'_, 'a> {
    type Item = Result<Instance<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.as_mut()?.next()?;
        Some(entry.and_then(|entry| self.image.instance(entry)))
    }
}
