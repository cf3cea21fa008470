//! `READYTORUN_HEADER` and its section table.

use corten_metadata::Module;

use crate::reader::Reader;

/// `READYTORUN_SIGNATURE`: "RTR" and a zero.
const SIGNATURE: u32 = 0x0052_5452;
/// COFF machine of AMD64 code for Linux (0x8664 xor 0x7B79).
const MACHINE_LINUX_X64: u16 = 0xFD1D;
/// The one format version of .NET 9 images.
const MAJOR: u16 = 10;

/// Kind of a section (`ReadyToRunSectionType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum SectionKind {
    /// Name of the compiler (a C string).
    CompilerIdentifier,
    /// Indirection cells and their fixup signatures.
    ImportSections,
    /// Code ranges with unwind and GC info.
    RuntimeFunctions,
    /// Entry points by MethodDef RID.
    MethodDefEntryPoints,
    /// Exception clauses by method.
    ExceptionInfo,
    /// IL to native maps.
    DebugInfo,
    /// Range of the lazy binding thunks.
    DelayLoadMethodCallThunks,
    /// Types by name hash.
    AvailableTypes,
    /// Entry points of generic instantiations.
    InstanceMethodEntryPoints,
    /// Any other, by number.
    Other(u32),
}

impl From<u32> for SectionKind {
    fn from(n: u32) -> Self {
        match n {
            100 => Self::CompilerIdentifier,
            101 => Self::ImportSections,
            102 => Self::RuntimeFunctions,
            103 => Self::MethodDefEntryPoints,
            104 => Self::ExceptionInfo,
            105 => Self::DebugInfo,
            106 => Self::DelayLoadMethodCallThunks,
            108 => Self::AvailableTypes,
            109 => Self::InstanceMethodEntryPoints,
            n => Self::Other(n),
        }
    }
}

/// One section of the precompiled part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// Relative virtual address.
    pub rva: u32,
    /// Bytes.
    pub size: u32,
}

/// The header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Format version.
    pub major: u16,
    /// Format version.
    pub minor: u16,
    /// `READYTORUN_FLAG_*`.
    pub flags: u32,
    /// COFF machine, xor-ed with the operating system's number.
    pub machine: u16,
    /// In file order.
    pub sections: Vec<Section>,
}

/// A header that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// The directory entry points outside the image.
    #[error("the precompiled header at RVA {rva:#x} ({size} bytes) is outside the image")]
    OutOfImage {
        /// Address.
        rva: u32,
        /// Bytes.
        size: u32,
    },
    /// Shorter than its own section count says.
    #[error("the precompiled header has {have} bytes, its {sections} sections need {need}")]
    Truncated {
        /// Bytes present.
        have: usize,
        /// Bytes needed.
        need: usize,
        /// Section count.
        sections: u32,
    },
    /// A section points outside the image.
    #[error("section {kind:?} at RVA {rva:#x} ({size} bytes) is outside the image")]
    SectionOutOfImage {
        /// Which.
        kind: SectionKind,
        /// Address.
        rva: u32,
        /// Bytes.
        size: u32,
    },
}

/// Why an image's code is not used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejection {
    /// Other format version.
    #[error("format version {major}.{minor}, this engine reads {MAJOR}.x")]
    Version {
        /// Major number.
        major: u16,
        /// Minor number.
        minor: u16,
    },
    /// Code for another processor or system.
    #[error("code for machine {0:#06x}, this engine runs x86-64 Linux ({MACHINE_LINUX_X64:#06x})")]
    Machine(u16),
    /// A section without which nothing can run is absent.
    #[error("section {0:?} is missing")]
    MissingSection(SectionKind),
}

impl Header {
    /// Reads the header; `None` if the image has no precompiled code.
    ///
    /// # Errors
    /// A header that contradicts the image.
    pub fn read(module: &Module) -> Result<Option<Header>, HeaderError> {
        let pe = module.pe();
        let Some((rva, size)) = pe.managed_native_header() else {
            return Ok(None);
        };
        let bytes = pe.rva_range(rva, size).ok_or(HeaderError::OutOfImage { rva, size })?;
        let mut reader = Reader::new("header", rva, bytes);
        if reader.u32() != Ok(SIGNATURE) {
            return Ok(None);
        }
        let truncated = |sections: u32| HeaderError::Truncated {
            have: bytes.len(),
            need: 16 + 12 * sections as usize,
            sections,
        };
        let (Ok(major), Ok(minor), Ok(flags), Ok(count)) = (reader.u16(), reader.u16(), reader.u32(), reader.u32())
        else {
            return Err(truncated(0));
        };
        let mut sections = Vec::new();
        for _ in 0..count {
            let (Ok(kind), Ok(rva), Ok(size)) = (reader.u32(), reader.u32(), reader.u32()) else {
                return Err(truncated(count));
            };
            let kind = SectionKind::from(kind);
            if pe.rva_range(rva, size).is_none() {
                return Err(HeaderError::SectionOutOfImage { kind, rva, size });
            }
            sections.push(Section { kind, rva, size });
        }
        Ok(Some(Header {
            major,
            minor,
            flags,
            machine: pe.machine(),
            sections,
        }))
    }

    /// The section of a kind.
    pub fn section(&self, kind: SectionKind) -> Option<Section> {
        self.sections.iter().copied().find(|s| s.kind == kind)
    }

    /// Why this engine could not use the code; `None` if nothing in the header speaks against it.
    pub fn rejection(&self) -> Option<Rejection> {
        if self.major != MAJOR {
            return Some(Rejection::Version {
                major: self.major,
                minor: self.minor,
            });
        }
        if self.machine != MACHINE_LINUX_X64 {
            return Some(Rejection::Machine(self.machine));
        }
        [
            SectionKind::ImportSections,
            SectionKind::RuntimeFunctions,
            SectionKind::MethodDefEntryPoints,
            SectionKind::DelayLoadMethodCallThunks,
        ]
        .into_iter()
        .find(|k| self.section(*k).is_none())
        .map(Rejection::MissingSection)
    }
}
