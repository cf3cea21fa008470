//! Indirection cells: words of the image's data through which its code reaches everything outside.

use bitflags::bitflags;
use corten_metadata::Module;

use crate::argument_map::{self, ArgumentKind, ArgumentLocation};
use crate::error::{Fault, FormatError, Result};
use crate::fixup::Fixup;
use crate::reader::Reader;

const SECTION_SIZE: usize = 20;
const CELL_SIZE: u8 = 8;

bitflags! {
    /// `CORCOMPILE_IMPORT_FLAGS`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct ImportFlags: u16 {
        /// All cells are filled when the image is loaded.
        const EAGER = 1;
        /// Cells hold addresses of code: at first that of a thunk that fills the cell.
        const PCODE = 4;
    }
}

/// What the cells of a section are for (`CORCOMPILE_IMPORT_TYPE`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImportType {
    /// Anything.
    Unknown,
    /// Targets of calls through stubs that find the method of the object.
    StubDispatch,
    /// String literals.
    StringHandle,
    /// Any other, by number.
    Other(u8),
}

/// A cell, by its section and its place in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CellId {
    /// Index of the section.
    pub section: u32,
    /// Index of the cell.
    pub slot: u32,
}

/// A table of cells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImportSection {
    /// The first cell (RVA).
    pub cells: u32,
    /// Number of cells.
    pub count: u32,
    /// When and how cells are filled.
    pub flags: ImportFlags,
    /// What they are for.
    pub kind: ImportType,
    /// Addresses of the signatures, a word each (RVA); 0 if there are none.
    signatures: u32,
    /// Maps of the references among the arguments of calls through the cells (RVA); 0 if there are none.
    argument_maps: u32,
}

/// All sections.
#[derive(Clone, Debug)]
pub struct ImportSections<'a> {
    module: &'a Module,
    sections: Vec<ImportSection>,
}

impl<'a> ImportSections<'a> {
    pub(crate) fn new(module: &'a Module, mut table: Reader<'a>) -> Result<Self> {
        let mut sections = Vec::new();
        while table.rest().len() >= SECTION_SIZE {
            let start = table;
            let (cells, bytes) = (table.u32()?, table.u32()?);
            let flags = ImportFlags::from_bits_retain(table.u16()?);
            let kind = match table.u8()? {
                0 => ImportType::Unknown,
                2 => ImportType::StubDispatch,
                3 => ImportType::StringHandle,
                other => ImportType::Other(other),
            };
            let cell_size = table.u8()?;
            if cell_size != CELL_SIZE || module.pe().rva_range(cells, bytes).is_none() {
                return Err(start.error(Fault::Value(cell_size.into())));
            }
            sections.push(ImportSection {
                cells,
                count: bytes / u32::from(cell_size),
                flags,
                kind,
                signatures: table.u32()?,
                argument_maps: table.u32()?,
            });
        }
        Ok(Self { module, sections })
    }

    /// The sections.
    pub fn sections(&self) -> &[ImportSection] {
        &self.sections
    }

    /// Address of a cell (RVA).
    ///
    /// # Errors
    /// There is no such cell.
    pub fn cell_rva(&self, cell: CellId) -> Result<u32> {
        match self.sections.get(cell.section as usize) {
            Some(section) if cell.slot < section.count => Ok(section.cells + cell.slot * u32::from(CELL_SIZE)),
            _ => Err(FormatError {
                what: "cell",
                rva: cell.section,
                fault: Fault::Value(cell.slot),
            }),
        }
    }

    /// The cell at an address (RVA).
    pub fn cell_at(&self, rva: u32) -> Option<CellId> {
        let position = |section: &ImportSection| {
            let offset = rva.checked_sub(section.cells)?;
            let slot = offset / u32::from(CELL_SIZE);
            (offset % u32::from(CELL_SIZE) == 0 && slot < section.count).then_some(slot)
        };
        self.sections.iter().enumerate().find_map(|(index, section)| {
            let section_index = index as u32;
            position(section).map(|slot| CellId {
                section: section_index,
                slot,
            })
        })
    }

    /// A cursor at the signature that tells what a cell is to hold; `None` if it has none.
    ///
    /// # Errors
    /// There is no such cell, or its signature is outside the image.
    pub fn signature(&self, cell: CellId) -> Result<Option<Reader<'a>>> {
        self.cell_rva(cell)?;
        let Some(section) = self.sections.get(cell.section as usize).filter(|s| s.signatures != 0) else {
            return Ok(None);
        };
        let at = section.signatures.wrapping_add(cell.slot.wrapping_mul(4));
        let word = self.module.pe().rva_slice(at).unwrap_or_default();
        let rva = Reader::new("address of a signature", at, word).u32()?;
        if rva == 0 {
            return Ok(None);
        }
        let bytes = self.module.pe().rva_slice(rva).unwrap_or_default();
        Ok(Some(Reader::new("signature", rva, bytes)))
    }

    /// Which arguments of a call through a cell are references; `None` if its section does not say.
    ///
    /// # Errors
    /// There is no such cell, or its map cannot be read.
    pub fn argument_map(&self, cell: CellId) -> Result<Option<Vec<(ArgumentLocation, ArgumentKind)>>> {
        self.cell_rva(cell)?;
        let section = self.sections.get(cell.section as usize);
        let Some(maps) = section.map(|s| s.argument_maps).filter(|&maps| maps != 0) else {
            return Ok(None);
        };
        let bytes = self.module.pe().rva_slice(maps).unwrap_or_default();
        argument_map::read(Reader::new("argument map", maps, bytes), cell.slot).map(Some)
    }

    /// What a cell is to hold; `None` if it has no signature.
    ///
    /// # Errors
    /// There is no such cell, or its signature cannot be read.
    pub fn fixup(&self, cell: CellId) -> Result<Option<Fixup>> {
        self.signature(cell)?.map(|mut at| Fixup::read(&mut at)).transpose()
    }
}
