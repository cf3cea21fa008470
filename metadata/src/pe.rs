//! The PE/COFF container and the CLI header (ECMA-335 II.25).

use crate::bytes::{range, u16_at, u32_at, u64_at};
use crate::error::{Error, Fault, Result};
use crate::flags::CorFlags;
use crate::image::Image;
use crate::token::Token;

const CLI_DIRECTORY: usize = 14;
const DEBUG_DIRECTORY: usize = 6;
const CLI_HEADER_SIZE: u32 = 72;
const SECTION_HEADER_SIZE: usize = 40;
const DEBUG_ENTRY_SIZE: usize = 28;
/// The Windows loader takes no more sections than this.
const MAX_SECTIONS: usize = 96;

/// An address range inside the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DataDirectory {
    /// Relative virtual address.
    pub rva: u32,
    /// Size in bytes.
    pub size: u32,
}

/// A section header.
#[derive(Clone, Debug)]
pub struct Section {
    /// Name as stored: up to 8 bytes, zero padded.
    pub raw_name: [u8; 8],
    /// RVA of its first byte.
    pub virtual_address: u32,
    /// Size in memory.
    pub virtual_size: u32,
    /// Offset of its data in the file.
    pub raw_offset: u32,
    /// Size of its data in the file.
    pub raw_size: u32,
    /// Characteristics bits.
    pub characteristics: u32,
}

impl Section {
    /// The name up to its first zero; bytes that are not ASCII become `?`.
    pub fn name(&self) -> String {
        self.raw_name
            .iter()
            .take_while(|b| **b != 0)
            .map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '?' })
            .collect()
    }
}

/// An entry of the debug directory.
#[derive(Clone, Copy, Debug)]
pub struct DebugEntry {
    /// Time stamp; the PDB's content id holds the same value.
    pub stamp: u32,
    /// Major version.
    pub major: u16,
    /// Minor version.
    pub minor: u16,
    /// Type: 2 CodeView, 16 reproducible, 17 embedded portable PDB, 19 PDB checksum.
    pub kind: u32,
    /// Size of the data in bytes.
    pub size: u32,
    /// RVA of the data, 0 if it is not mapped.
    pub rva: u32,
    /// File offset of the data.
    pub file_offset: u32,
}

impl DebugEntry {
    /// `kind` of a CodeView entry (names the PDB file).
    pub const CODE_VIEW: u32 = 2;
    /// `kind` of an embedded portable PDB.
    pub const EMBEDDED_PORTABLE_PDB: u32 = 17;
}

/// An opened PE image and its CLI header.
pub struct Pe {
    image: Image,
    machine: u16,
    is_pe32_plus: bool,
    image_base: u64,
    characteristics: u16,
    subsystem: u16,
    section_alignment: u32,
    size_of_image: u32,
    sections: Vec<Section>,
    directories: Vec<DataDirectory>,
    cli_offset: usize,
    runtime_version: (u16, u16),
    cor_flags: CorFlags,
    entry_point: u32,
    metadata: DataDirectory,
    resources: DataDirectory,
    managed_native_header: DataDirectory,
    debug: Vec<DebugEntry>,
}

impl Pe {
    pub(crate) fn parse(image: Image) -> Result<Pe> {
        let b = image.bytes();
        let short = |what, at: usize| Error::bad(Fault::Truncated(what), at);
        if b.get(..2) != Some(b"MZ") {
            return Err(Error::bad(Fault::Magic("DOS header"), 0));
        }
        let pe = u32_at(b, 0x3c).ok_or_else(|| short("DOS header", 0x3c))? as usize;
        if range(b, pe, 4).ok_or_else(|| short("PE header", 0x3c))? != b"PE\0\0" {
            return Err(Error::bad(Fault::Magic("PE header"), pe));
        }
        let coff = pe + 4;
        let coff_header = range(b, coff, 20).ok_or_else(|| short("COFF header", coff))?;
        let half = |at| u16_at(coff_header, at).unwrap_or(0);
        let machine = half(0);
        let section_count = usize::from(half(2));
        let optional_size = usize::from(half(16));
        let characteristics = half(18);
        if section_count > MAX_SECTIONS {
            let fault = Fault::Value {
                field: "NumberOfSections",
                value: section_count as u64,
            };
            return Err(Error::bad(fault, coff + 2));
        }
        let opt_at = coff + 20;
        let opt = range(b, opt_at, optional_size).ok_or_else(|| short("optional header", opt_at))?;
        let opt_short = || short("optional header", opt_at);
        let magic = u16_at(opt, 0).ok_or_else(opt_short)?;
        let is_pe32_plus = match magic {
            0x10b => false,
            0x20b => true,
            _ => {
                let fault = Fault::Value {
                    field: "optional header magic",
                    value: u64::from(magic),
                };
                return Err(Error::bad(fault, opt_at));
            }
        };
        let image_base = if is_pe32_plus {
            u64_at(opt, 24)
        } else {
            u32_at(opt, 28).map(u64::from)
        }
        .ok_or_else(opt_short)?;
        let section_alignment = u32_at(opt, 32).ok_or_else(opt_short)?;
        let size_of_image = u32_at(opt, 56).ok_or_else(opt_short)?;
        let subsystem = u16_at(opt, 68).ok_or_else(opt_short)?;
        let dirs_at = if is_pe32_plus { 112 } else { 96 };
        let dir_count = u32_at(opt, dirs_at - 4).ok_or_else(opt_short)?.min(16) as usize;
        let mut directories = Vec::with_capacity(dir_count);
        for i in 0..dir_count {
            let at = dirs_at + 8 * i;
            let (Some(rva), Some(size)) = (u32_at(opt, at), u32_at(opt, at + 4)) else {
                return Err(short("data directories", opt_at + at));
            };
            directories.push(DataDirectory { rva, size });
        }
        let sections = parse_sections(b, opt_at + optional_size, section_count)?;

        let mut result = Pe {
            machine,
            is_pe32_plus,
            image_base,
            characteristics,
            subsystem,
            section_alignment,
            size_of_image,
            sections,
            directories,
            cli_offset: 0,
            runtime_version: (0, 0),
            cor_flags: CorFlags::empty(),
            entry_point: 0,
            metadata: DataDirectory::default(),
            resources: DataDirectory::default(),
            managed_native_header: DataDirectory::default(),
            debug: Vec::new(),
            image,
        };
        result.parse_cli_header(opt_at + dirs_at + 8 * CLI_DIRECTORY)?;
        result.parse_debug_directory()?;
        Ok(result)
    }

    fn parse_cli_header(&mut self, directory_at: usize) -> Result<()> {
        let dir = self.directory(CLI_DIRECTORY);
        if dir.rva == 0 {
            return Err(Error::bad(Fault::NotManaged, directory_at));
        }
        let fault = Fault::Rva {
            what: "CLI header",
            rva: dir.rva,
        };
        let at = self
            .rva_to_offset(dir.rva)
            .ok_or_else(|| Error::bad(fault, directory_at))?;
        let short = || Error::bad(Fault::Truncated("CLI header"), at);
        if dir.size < CLI_HEADER_SIZE {
            return Err(short());
        }
        let h = self.rva_range(dir.rva, CLI_HEADER_SIZE).ok_or_else(short)?;
        let word = |at| u32_at(h, at).unwrap_or(0);
        let directory = |at| DataDirectory {
            rva: word(at),
            size: word(at + 4),
        };
        if word(0) < CLI_HEADER_SIZE {
            return Err(Error::bad(
                Fault::Value {
                    field: "CLI header size",
                    value: u64::from(word(0)),
                },
                at,
            ));
        }
        let runtime_version = (u16_at(h, 4).unwrap_or(0), u16_at(h, 6).unwrap_or(0));
        let (metadata, resources, native) = (directory(8), directory(24), directory(64));
        let (flags, entry_point) = (word(16), word(20));
        self.cli_offset = at;
        self.runtime_version = runtime_version;
        self.metadata = metadata;
        self.cor_flags = CorFlags::from_bits_retain(flags);
        self.entry_point = entry_point;
        self.resources = resources;
        self.managed_native_header = native;
        Ok(())
    }

    fn parse_debug_directory(&mut self) -> Result<()> {
        let dir = self.directory(DEBUG_DIRECTORY);
        if dir.rva == 0 || dir.size == 0 {
            return Ok(());
        }
        // A debug directory is advice: one that leaves the image is treated as absent, as other loaders do.
        let Some(data) = self.rva_range(dir.rva, dir.size) else {
            return Ok(());
        };
        let entries = data.chunks_exact(DEBUG_ENTRY_SIZE).map(|e| {
            let word = |at| u32_at(e, at).unwrap_or(0);
            let half = |at| u16_at(e, at).unwrap_or(0);
            DebugEntry {
                stamp: word(4),
                major: half(8),
                minor: half(10),
                kind: word(12),
                size: word(16),
                rva: word(20),
                file_offset: word(24),
            }
        });
        let entries: Vec<DebugEntry> = entries.collect();
        self.debug = entries;
        Ok(())
    }

    /// COFF machine as stored (framework images for Linux have it exclusive-or'ed with 0x7b79).
    pub fn machine(&self) -> u16 {
        self.machine
    }

    /// Whether the optional header is PE32+.
    pub fn is_pe32_plus(&self) -> bool {
        self.is_pe32_plus
    }

    /// Preferred load address.
    pub fn image_base(&self) -> u64 {
        self.image_base
    }

    /// COFF characteristics; 0x2000 marks a DLL.
    pub fn characteristics(&self) -> u16 {
        self.characteristics
    }

    /// Windows subsystem: 2 graphical, 3 console.
    pub fn subsystem(&self) -> u16 {
        self.subsystem
    }

    /// Alignment of sections in memory, bytes.
    pub fn section_alignment(&self) -> u32 {
        self.section_alignment
    }

    /// Size of the image when mapped, bytes.
    pub fn size_of_image(&self) -> u32 {
        self.size_of_image
    }

    /// Section headers in file order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Data directory `index` (0 exports .. 14 CLI header), all zero if absent.
    pub fn directory(&self, index: usize) -> DataDirectory {
        self.directories.get(index).copied().unwrap_or_default()
    }

    /// Flags of the CLI header.
    pub fn cor_flags(&self) -> CorFlags {
        self.cor_flags
    }

    /// Runtime version in the CLI header (major, minor): 2.5 for every current compiler.
    pub fn runtime_version(&self) -> (u16, u16) {
        self.runtime_version
    }

    /// Token of the entry point (MethodDef or File), none for a library or a native entry point.
    pub fn entry_point_token(&self) -> Option<Token> {
        let native = self.cor_flags.contains(CorFlags::NATIVE_ENTRY_POINT);
        (self.entry_point != 0 && !native).then_some(Token(self.entry_point))
    }

    /// Where the metadata root is.
    pub fn metadata_directory(&self) -> DataDirectory {
        self.metadata
    }

    /// Where the manifest resources are.
    pub fn resources_directory(&self) -> DataDirectory {
        self.resources
    }

    /// The managed native header (precompiled code): (RVA, size), none if absent.
    pub fn managed_native_header(&self) -> Option<(u32, u32)> {
        let d = self.managed_native_header;
        (d.rva != 0 && d.size != 0).then_some((d.rva, d.size))
    }

    /// Entries of the debug directory; empty if there is none.
    pub fn debug_directory(&self) -> &[DebugEntry] {
        &self.debug
    }

    /// Data of a debug directory entry, none if it is not in the file.
    pub fn debug_data(&self, entry: &DebugEntry) -> Option<&[u8]> {
        range(self.file_bytes(), entry.file_offset as usize, entry.size as usize)
    }

    /// The whole file.
    pub fn file_bytes(&self) -> &[u8] {
        self.image.bytes()
    }

    /// File offset of the CLI header.
    pub fn cli_header_offset(&self) -> usize {
        self.cli_offset
    }

    /// File offset of an RVA that has data in the file.
    pub fn rva_to_offset(&self, rva: u32) -> Option<usize> {
        self.locate(rva).map(|(start, _)| start)
    }

    /// Bytes from an RVA to the end of its section's data in the file.
    pub fn rva_slice(&self, rva: u32) -> Option<&[u8]> {
        let (start, end) = self.locate(rva)?;
        self.file_bytes().get(start..end)
    }

    /// `len` bytes at an RVA, none unless all are in one section's data.
    pub fn rva_range(&self, rva: u32, len: u32) -> Option<&[u8]> {
        self.rva_slice(rva)?.get(..len as usize)
    }

    /// File offsets of an RVA and of the end of its section.
    fn locate(&self, rva: u32) -> Option<(usize, usize)> {
        let section = self.sections.iter().find(|s| {
            let size = s.virtual_size.max(s.raw_size);
            rva >= s.virtual_address && rva - s.virtual_address < size
        })?;
        let delta = rva - section.virtual_address;
        if delta >= section.raw_size {
            return None;
        }
        let start = section.raw_offset as usize + delta as usize;
        let end = (section.raw_offset as usize + section.raw_size as usize).min(self.file_bytes().len());
        (start < end).then_some((start, end))
    }
}

fn parse_sections(b: &[u8], at: usize, count: usize) -> Result<Vec<Section>> {
    let table =
        range(b, at, count * SECTION_HEADER_SIZE).ok_or_else(|| Error::bad(Fault::Truncated("section table"), at))?;
    let mut sections = Vec::with_capacity(count);
    for (i, h) in table.chunks_exact(SECTION_HEADER_SIZE).enumerate() {
        let word = |at| u32_at(h, at).unwrap_or(0);
        let mut raw_name = [0; 8];
        raw_name.copy_from_slice(&h[..8]);
        let s = Section {
            raw_name,
            virtual_size: word(8),
            virtual_address: word(12),
            raw_size: word(16),
            raw_offset: word(20),
            characteristics: word(36),
        };
        let header_at = at + i * SECTION_HEADER_SIZE;
        if s.raw_size != 0 && u64::from(s.raw_offset) + u64::from(s.raw_size) > b.len() as u64 {
            return Err(Error::bad(Fault::Truncated("section data"), header_at + 16));
        }
        let size = u64::from(s.virtual_size.max(s.raw_size));
        if u64::from(s.virtual_address) + size > u64::from(u32::MAX) {
            let fault = Fault::Value {
                field: "section VirtualAddress",
                value: u64::from(s.virtual_address),
            };
            return Err(Error::bad(fault, header_at + 12));
        }
        sections.push(s);
    }
    Ok(sections)
}
