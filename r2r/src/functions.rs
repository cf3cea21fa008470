//! Ranges of code, their unwind information, and where their GC info begins.
//!
//! A method is a run of entries: the method itself, then its funclets (handlers and filters), each with its own unwind information.

use corten_metadata::Module;

use crate::error::{Fault, FormatError, Result};
use crate::reader::Reader;
use crate::unwind::UnwindInfo;

const ENTRY_SIZE: usize = 12;

/// Index of an entry of the table of functions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FunctionId(pub u32);

/// `RUNTIME_FUNCTION`: a range of code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuntimeFunction {
    /// First byte (RVA).
    pub begin: u32,
    /// One past the last byte (RVA).
    pub end: u32,
    /// Unwind information (RVA).
    pub unwind: u32,
}

/// The table of functions, sorted by address.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeFunctions<'a> {
    module: &'a Module,
    table: Reader<'a>,
    count: usize,
}

impl<'a> RuntimeFunctions<'a> {
    pub(crate) fn new(module: &'a Module, table: Reader<'a>) -> Self {
        // The table may end with an entry whose addresses are all ones.
        let mut count = table.rest().len() / ENTRY_SIZE;
        if let Some(last) = count.checked_sub(1)
            && table.to(last * ENTRY_SIZE).u32() == Ok(u32::MAX)
        {
            count = last;
        }
        Self { module, table, count }
    }

    /// Number of functions.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entry of a function.
    ///
    /// # Errors
    /// There is no such entry.
    pub fn get(&self, function: FunctionId) -> Result<RuntimeFunction> {
        let index = function.0 as usize;
        let mut at = self.table.to(index.saturating_mul(ENTRY_SIZE));
        if index >= self.count {
            return Err(at.error(Fault::End));
        }
        Ok(RuntimeFunction {
            begin: at.u32()?,
            end: at.u32()?,
            unwind: at.u32()?,
        })
    }

    /// The function whose code contains `rva`.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn containing(&self, rva: u32) -> Result<Option<FunctionId>> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let function = self.get(FunctionId(middle as u32))?;
            if rva < function.begin {
                high = middle;
            } else if rva >= function.end {
                low = middle + 1;
            } else {
                return Ok(Some(FunctionId(middle as u32)));
            }
        }
        Ok(None)
    }

    /// The code of a function.
    ///
    /// # Errors
    /// The entry leads out of the image.
    pub fn code(&self, function: FunctionId) -> Result<&'a [u8]> {
        let entry = self.get(function)?;
        let bytes = entry.end.checked_sub(entry.begin);
        let bytes = bytes.and_then(|size| self.module.pe().rva_range(entry.begin, size));
        bytes.ok_or(FormatError {
            what: "code",
            rva: entry.begin,
            fault: Fault::End,
        })
    }

    /// How to unwind a frame of a function, and a cursor at its GC info. The GC info of funclets means nothing: that of their
    /// method describes their frames.
    ///
    /// # Errors
    /// The information cannot be read.
    pub fn unwind(&self, function: FunctionId) -> Result<(UnwindInfo, Reader<'a>)> {
        let rva = self.get(function)?.unwind;
        let bytes = self.module.pe().rva_slice(rva).unwrap_or_default();
        let mut reader = Reader::new("unwind information", rva, bytes);
        let info = UnwindInfo::read(&mut reader)?;
        Ok((info, Reader::new("GC info", reader.rva(), reader.rest())))
    }
}
