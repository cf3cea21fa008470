//! Portable PDB: source positions of IL (the Portable PDB v1.0 specification of .NET).

use crate::bytes::{compressed_i32, compressed_u32, u32_at, u64_at};
use crate::error::{Error, Fault, Result};
use crate::heaps;
use crate::image::Image;
use crate::module::Module;
use crate::pe::DebugEntry;
use crate::tables::reader::Metadata;
use crate::tables::{Streams, TABLE_SLOTS, Tables};
use crate::token::{TableId, Token};
use std::path::Path;

/// Start line that marks a hidden sequence point in other tools; kept out of [`SequencePoint`].
pub const HIDDEN_LINE: u32 = 0x00fe_efee;
/// Largest embedded PDB accepted, bytes after decompression.
const MAX_EMBEDDED: usize = 128 << 20;
/// Deflate cannot expand more than this.
const MAX_DEFLATE_RATIO: usize = 1040;
const EMBEDDED_MAGIC: u32 = 0x4244_504d;
const ID_SIZE: usize = 20;

/// A portable PDB, from a file or embedded in an assembly.
pub struct PortablePdb {
    image: Image,
    metadata: Metadata,
    id: [u8; ID_SIZE],
    entry_point: Token,
}

/// A place in the source that belongs to an IL offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequencePoint {
    /// Offset in the method's IL.
    pub il_offset: u32,
    /// Document row, see [`PortablePdb::document_name`]; 0 for none.
    pub document: u32,
    /// First line, from 1; 0 if hidden.
    pub start_line: u32,
    /// First column, from 1; 0 if hidden.
    pub start_column: u32,
    /// Last line.
    pub end_line: u32,
    /// Column after the last character.
    pub end_column: u32,
    /// No source belongs to this code.
    pub hidden: bool,
}

/// A named local with the range of IL in which it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalVariable<'a> {
    /// Number of the local.
    pub index: u16,
    /// Its name.
    pub name: &'a str,
    /// Start of its scope.
    pub start_offset: u32,
    /// Length of its scope, bytes of IL.
    pub length: u32,
}

impl PortablePdb {
    /// Opens a `.pdb` file by mapping it. Windows PDBs fail with a wrong magic number.
    pub fn open(path: &Path) -> Result<PortablePdb> {
        PortablePdb::new(Image::open(path)?)
    }

    /// Reads a portable PDB in memory.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<PortablePdb> {
        PortablePdb::new(Image::Owned(bytes.into()))
    }

    fn new(image: Image) -> Result<PortablePdb> {
        let file = image.bytes();
        let streams = Streams::parse(file, 0..file.len())?;
        let missing = |name| Error::bad(Fault::MissingStream(name), 0);
        let place = streams.pdb.clone().ok_or_else(|| missing("#Pdb"))?;
        let tables_place = streams.tables.clone().ok_or_else(|| missing("#~"))?;
        let short = || Error::bad(Fault::Truncated("#Pdb"), place.start);
        let p = file.get(place.clone()).ok_or_else(short)?;
        let id = *p.first_chunk::<ID_SIZE>().ok_or_else(short)?;
        let entry_point = Token(u32_at(p, ID_SIZE).ok_or_else(short)?);
        let referenced = u64_at(p, ID_SIZE + 4).ok_or_else(short)?;
        let mut rows = [0; TABLE_SLOTS];
        let mut at = ID_SIZE + 12;
        for (number, count) in rows.iter_mut().enumerate() {
            if referenced >> number & 1 != 0 {
                *count = u32_at(p, at).ok_or_else(short)?.min(0x00ff_ffff);
                at += 4;
            }
        }
        let tables = Tables::parse(file, tables_place, &rows, false)?;
        Ok(PortablePdb {
            image,
            metadata: Metadata { streams, tables },
            id,
            entry_point,
        })
    }

    /// The PDB's identity: a GUID and the stamp that the assembly's debug directory repeats.
    pub fn id(&self) -> &[u8; 20] {
        &self.id
    }

    /// MethodDef of the entry point, nil for a library.
    pub fn entry_point(&self) -> Token {
        self.entry_point
    }

    /// The whole PDB.
    pub fn bytes(&self) -> &[u8] {
        self.image.bytes()
    }

    fn file(&self) -> &[u8] {
        self.image.bytes()
    }

    /// Rows of a table.
    pub fn row_count(&self, table: TableId) -> u32 {
        self.metadata.tables.rows(table)
    }

    /// Path of a source file (Document row).
    pub fn document_name(&self, rid: u32) -> Result<String> {
        let row = self.metadata.row(self.file(), TableId::Document, rid)?;
        let blob = row.blob(0)?;
        let malformed = || self.bad_blob("document name", blob);
        // A separator character, then blob indices of the parts (0 is an empty part).
        let Some((separator, mut rest)) = blob.split_first() else {
            return Ok(String::new());
        };
        let mut name = String::new();
        let mut first = true;
        while !rest.is_empty() {
            let (index, used) = compressed_u32(rest).ok_or_else(malformed)?;
            rest = &rest[used..];
            if !first && *separator != 0 {
                name.push(char::from(*separator));
            }
            first = false;
            let part = heaps::blob(self.file(), &self.metadata.streams.blobs, "#Blob", index)?;
            name.push_str(std::str::from_utf8(part).map_err(|_| malformed())?);
            if name.len() > 0xffff {
                return Err(malformed());
            }
        }
        Ok(name)
    }

    fn bad_blob(&self, what: &'static str, blob: &[u8]) -> Error {
        let at = (blob.as_ptr() as usize).saturating_sub(self.file().as_ptr() as usize);
        Error::bad(Fault::Truncated(what), at.min(self.file().len()))
    }

    /// Sequence points of a method (MethodDef row), in order of IL offset; empty if it has none.
    pub fn sequence_points(&self, method_rid: u32) -> Result<Vec<SequencePoint>> {
        if method_rid > self.row_count(TableId::MethodDebugInformation) {
            return Ok(Vec::new());
        }
        let row = self
            .metadata
            .row(self.file(), TableId::MethodDebugInformation, method_rid)?;
        let document = row.reference(0)?;
        let blob = row.blob(1)?;
        if blob.is_empty() {
            return Ok(Vec::new());
        }
        parse_sequence_points(blob, document, self.row_count(TableId::Document))
            .ok_or_else(|| self.bad_blob("sequence points", blob))
    }

    /// The sequence point that covers an IL offset: the last visible one at or before it.
    pub fn find_line(&self, method_rid: u32, il_offset: u32) -> Result<Option<SequencePoint>> {
        let points = self.sequence_points(method_rid)?;
        Ok(points
            .into_iter()
            .take_while(|p| p.il_offset <= il_offset)
            .filter(|p| !p.hidden)
            .last())
    }

    /// Named locals of a method (MethodDef row).
    pub fn local_variables(&self, method_rid: u32) -> Result<Vec<LocalVariable<'_>>> {
        let file = self.file();
        let mut result = Vec::new();
        for rid in 1..=self.row_count(TableId::LocalScope) {
            let row = self.metadata.row(file, TableId::LocalScope, rid)?;
            match row.reference(0)? {
                m if m < method_rid => continue,
                m if m > method_rid => break, // sorted by method
                _ => {}
            }
            for variable in row.list(2)? {
                let v = self.metadata.row(file, TableId::LocalVariable, variable)?;
                let (start_offset, length) = (row.u32(4), row.u32(5));
                result.push(LocalVariable {
                    index: v.u16(1),
                    name: v.str(2)?,
                    start_offset,
                    length,
                });
            }
        }
        Ok(result)
    }
}

fn parse_sequence_points(blob: &[u8], document: u32, documents: u32) -> Option<Vec<SequencePoint>> {
    let mut at = 0;
    let unsigned = |at: &mut usize| -> Option<u32> {
        let (v, used) = compressed_u32(blob.get(*at..)?)?;
        *at += used;
        Some(v)
    };
    let signed = |at: &mut usize| -> Option<i32> {
        let (v, used) = compressed_i32(blob.get(*at..)?)?;
        *at += used;
        Some(v)
    };
    let _locals = unsigned(&mut at)?;
    let mut document = document;
    if document == 0 {
        document = unsigned(&mut at)?;
    }
    let mut points: Vec<SequencePoint> = Vec::new();
    let mut il_offset = 0u32;
    let mut last_visible: Option<(u32, u32)> = None;
    while at < blob.len() {
        let delta = unsigned(&mut at)?;
        if delta == 0 && !points.is_empty() {
            document = unsigned(&mut at)?;
            continue;
        }
        if document > documents {
            return None;
        }
        il_offset = il_offset.checked_add(delta)?;
        let lines = unsigned(&mut at)?;
        let columns = if lines == 0 {
            unsigned(&mut at)? as i32
        } else {
            signed(&mut at)?
        };
        if lines == 0 && columns == 0 {
            let zero = SequencePoint {
                il_offset,
                document,
                start_line: 0,
                start_column: 0,
                end_line: 0,
                end_column: 0,
                hidden: true,
            };
            points.push(zero);
            continue;
        }
        let (start_line, start_column) = match last_visible {
            None => (unsigned(&mut at)?, unsigned(&mut at)?),
            Some((line, column)) => (
                line.checked_add_signed(signed(&mut at)?)?,
                column.checked_add_signed(signed(&mut at)?)?,
            ),
        };
        last_visible = Some((start_line, start_column));
        points.push(SequencePoint {
            il_offset,
            document,
            start_line,
            start_column,
            end_line: start_line.checked_add(lines)?,
            end_column: start_column.checked_add_signed(columns)?,
            hidden: false,
        });
    }
    Some(points)
}

impl Module {
    /// The portable PDB of this module: the embedded one, else a file beside the module whose id matches. None if
    /// there is none that can be read; [`Module::load_portable_pdb`] says why.
    pub fn portable_pdb(&self) -> Option<PortablePdb> {
        self.load_portable_pdb().ok().flatten()
    }

    /// As [`Module::portable_pdb`], with errors. A PDB that belongs to another build counts as absent.
    pub fn load_portable_pdb(&self) -> Result<Option<PortablePdb>> {
        if let Some(embedded) = self.embedded_pdb()? {
            return Ok(Some(embedded));
        }
        let debug = self.pe().debug_directory();
        let Some(entry) = debug.iter().find(|e| e.kind == DebugEntry::CODE_VIEW) else {
            return Ok(None);
        };
        let Some(data) = self.pe().debug_data(entry) else {
            return Ok(None);
        };
        if data.get(..4) != Some(b"RSDS") || data.len() < 24 {
            return Ok(None);
        }
        let beside = Path::new(self.path());
        let recorded = data[24..].split(|b| *b == 0).next().unwrap_or(&[]);
        let recorded = String::from_utf8_lossy(recorded);
        let file_name = recorded.rsplit(['/', '\\']).next().unwrap_or("");
        for candidate in [beside.with_extension("pdb"), beside.with_file_name(file_name)] {
            if !candidate.is_file() {
                continue;
            }
            let pdb = PortablePdb::open(&candidate)?;
            if pdb.id[..16] == data[4..20] && pdb.id[16..] == entry.stamp.to_le_bytes() {
                return Ok(Some(pdb));
            }
        }
        Ok(None)
    }

    /// The PDB embedded in the image (debug directory entry 17), none if there is none.
    pub fn embedded_pdb(&self) -> Result<Option<PortablePdb>> {
        let debug = self.pe().debug_directory();
        let Some(entry) = debug.iter().find(|e| e.kind == DebugEntry::EMBEDDED_PORTABLE_PDB) else {
            return Ok(None);
        };
        let at = entry.file_offset as usize;
        let truncated = || Error::bad(Fault::Truncated("embedded PDB"), at);
        let data = self.pe().debug_data(entry).ok_or_else(truncated)?;
        if u32_at(data, 0).ok_or_else(truncated)? != EMBEDDED_MAGIC {
            return Err(Error::bad(Fault::Magic("embedded PDB"), at));
        }
        let size = u32_at(data, 4).ok_or_else(truncated)? as usize;
        let compressed = &data[8..];
        if size > MAX_EMBEDDED || size / MAX_DEFLATE_RATIO > compressed.len() {
            return Err(Error::bad(
                Fault::Value {
                    field: "embedded PDB size",
                    value: size as u64,
                },
                at + 4,
            ));
        }
        let plain = miniz_oxide::inflate::decompress_to_vec_with_limit(compressed, size);
        let plain = plain.map_err(|_| Error::bad(Fault::Compressed("embedded PDB"), at + 8))?;
        if plain.len() != size {
            return Err(Error::bad(Fault::Compressed("embedded PDB"), at + 8));
        }
        PortablePdb::from_bytes(plain).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_points_are_deltas() {
        // locals 1; +0: 0 lines 5 columns at 10:9; +3 hidden; +4: 2 lines -3 columns, +1 line +0
        let blob = [1, 0, 0, 5, 10, 9, 3, 0, 0, 4, 2, 0x7b, 2, 0];
        let p = parse_sequence_points(&blob, 1, 1).unwrap();
        assert_eq!(
            (p[0].start_line, p[0].start_column, p[0].end_line, p[0].end_column),
            (10, 9, 10, 14)
        );
        assert!(p[1].hidden && p[1].il_offset == 3);
        assert_eq!(
            (p[2].il_offset, p[2].start_line, p[2].end_line, p[2].end_column),
            (7, 11, 13, 6)
        );
        for cut in [3, 5, 11, 13] {
            assert_eq!(parse_sequence_points(&blob[..cut], 1, 1), None);
        }
    }
}
