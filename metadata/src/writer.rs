//! Metadata under construction: tables and heaps that grow, and images of their present state (ECMA-335 II.22, II.24).
//!
//! Rows keep their numbers for good, in whatever order they were added. Lists (the methods of a type, say) go through
//! indirection tables, and tables that nobody holds tokens of are sorted when an image is made.

use crate::error::Result;
use crate::module::Module;
use crate::tables::TABLE_SLOTS;
use crate::tables::schema::{self, CodedIndex, Column};
use crate::token::{TableId, Token};
use std::collections::HashMap;

const COLUMNS: usize = 9;
const METADATA_RVA: u32 = 0x2000;
/// Bodies and field data have a section of their own, so that their addresses do not depend on the metadata's size.
const DATA_RVA: u32 = 0x4000_0000;
const FILE_ALIGNMENT: usize = 0x200;
const CLI_HEADER_SIZE: usize = 72;

type Row = [u32; COLUMNS];

/// A module under construction.
pub struct Writer {
    tables: Vec<Vec<Row>>,
    /// Owner of each row of Field, MethodDef, Param, Event and Property, by row - 1.
    owners: HashMap<TableId, Vec<u32>>,
    strings: Vec<u8>,
    string_index: HashMap<String, u32>,
    blobs: Vec<u8>,
    blob_index: HashMap<Vec<u8>, u32>,
    user_strings: Vec<u8>,
    guids: Vec<u8>,
    data: Vec<u8>,
    unique: HashMap<(TableId, Row), u32>,
}

fn le(out: &mut Vec<u8>, value: u32, width: usize) {
    out.extend_from_slice(&value.to_le_bytes()[..width]);
}

/// Appends a compressed unsigned integer (ECMA-335 II.23.2).
pub fn compress(out: &mut Vec<u8>, v: u32) {
    match v {
        0..0x80 => out.push(v as u8),
        0x80..0x4000 => out.extend_from_slice(&(v as u16 | 0x8000).to_be_bytes()),
        _ => out.extend_from_slice(&(v | 0xc000_0000).to_be_bytes()),
    }
}

/// The raw cell of a coded index; nil tokens are 0.
fn coded(kind: CodedIndex, token: Token) -> u32 {
    kind.encode(token).unwrap_or(0)
}

impl Default for Writer {
    fn default() -> Self {
        Writer {
            tables: vec![Vec::new(); TABLE_SLOTS],
            owners: HashMap::new(),
            strings: vec![0],
            string_index: HashMap::new(),
            blobs: vec![0],
            blob_index: HashMap::new(),
            user_strings: vec![0],
            guids: Vec::new(),
            data: Vec::new(),
            unique: HashMap::new(),
        }
    }
}

impl Writer {
    /// Index of a string in `#Strings`.
    pub fn string(&mut self, text: &str) -> u32 {
        let text = text.split('\0').next().unwrap_or("");
        if text.is_empty() {
            return 0;
        }
        if let Some(at) = self.string_index.get(text) {
            return *at;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.string_index.insert(text.to_owned(), at);
        at
    }

    /// Index of an item in `#Blob`.
    pub fn blob(&mut self, bytes: &[u8]) -> u32 {
        if bytes.is_empty() {
            return 0;
        }
        if let Some(at) = self.blob_index.get(bytes) {
            return *at;
        }
        let at = self.blobs.len() as u32;
        compress(&mut self.blobs, bytes.len() as u32);
        self.blobs.extend_from_slice(bytes);
        self.blob_index.insert(bytes.to_vec(), at);
        at
    }

    /// Index of a GUID in `#GUID`.
    pub fn guid(&mut self, guid: [u8; 16]) -> u32 {
        self.guids.extend_from_slice(&guid);
        (self.guids.len() / 16) as u32
    }

    /// Token of a new literal in `#US`.
    pub fn user_string(&mut self, units: &[u16]) -> Token {
        let at = self.user_strings.len() as u32;
        compress(&mut self.user_strings, units.len() as u32 * 2 + 1);
        units.iter().for_each(|u| le(&mut self.user_strings, u32::from(*u), 2));
        let special = units
            .iter()
            .any(|u| *u >= 0x80 || *u < 0x20 || *u == 0x27 || *u == 0x2d);
        self.user_strings.push(u8::from(special));
        Token(u32::from(Token::USER_STRING) << 24 | at)
    }

    /// RVA of data added to the image, aligned to 8 bytes.
    pub fn data(&mut self, bytes: &[u8]) -> u32 {
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        let at = self.data.len() as u32;
        self.data.extend_from_slice(bytes);
        DATA_RVA + at
    }

    /// Adds a row of raw cells; a coded index is given as its raw value.
    pub fn add(&mut self, table: TableId, cells: &[u32]) -> Token {
        let mut row = [0; COLUMNS];
        row[..cells.len()].copy_from_slice(cells);
        let rows = &mut self.tables[table as usize];
        rows.push(row);
        Token::new(table, rows.len() as u32)
    }

    /// Adds a row unless there is an equal one.
    pub fn add_unique(&mut self, table: TableId, cells: &[u32]) -> Token {
        let mut row = [0; COLUMNS];
        row[..cells.len()].copy_from_slice(cells);
        if let Some(rid) = self.unique.get(&(table, row)) {
            return Token::new(table, *rid);
        }
        let token = self.add(table, cells);
        self.unique.insert((table, row), token.rid());
        token
    }

    /// Adds a row to the list of `owner` (a TypeDef or MethodDef row; for properties and events a row of their map).
    pub fn add_owned(&mut self, table: TableId, owner: u32, cells: &[u32]) -> Token {
        self.owners.entry(table).or_default().push(owner);
        self.add(table, cells)
    }

    /// Number of rows.
    pub fn row_count(&self, table: TableId) -> u32 {
        self.tables[table as usize].len() as u32
    }

    /// Raw cell of a row, 0 if there is none.
    pub fn cell(&self, token: Token, column: usize) -> u32 {
        let row = token
            .table()
            .and_then(|t| self.tables[t as usize].get((token.rid() as usize).wrapping_sub(1)));
        row.map_or(0, |r| r[column])
    }

    /// Replaces a raw cell; nothing happens if there is no such row.
    pub fn set(&mut self, token: Token, column: usize, value: u32) {
        let row = token
            .table()
            .and_then(|t| self.tables[t as usize].get_mut((token.rid() as usize).wrapping_sub(1)));
        if let Some(r) = row {
            r[column] = value;
        }
    }

    /// Row in `table` whose raw `column` equals `value`.
    pub fn find(&self, table: TableId, column: usize, value: u32) -> Option<Token> {
        let at = self.tables[table as usize].iter().position(|r| r[column] == value)?;
        Some(Token::new(table, at as u32 + 1))
    }

    /// The parameter `sequence` of a method.
    pub fn find_param(&self, method: u32, sequence: u32) -> Option<Token> {
        let owners = self.owners.get(&TableId::Param)?;
        let at = (0..owners.len())
            .find(|i| owners[*i] == method && self.tables[TableId::Param as usize][*i][1] == sequence)?;
        Some(Token::new(TableId::Param, at as u32 + 1))
    }

    /// Text at an index of `#Strings`.
    pub fn string_at(&self, index: u32) -> String {
        let rest = self.strings.get(index as usize..).unwrap_or(&[]);
        String::from_utf8_lossy(rest.split(|b| *b == 0).next().unwrap_or(&[])).into_owned()
    }

    /// Item at an index of `#Blob`.
    pub fn blob_at(&self, index: u32) -> Vec<u8> {
        let rest = self.blobs.get(index as usize..).unwrap_or(&[]);
        let Some((len, used)) = crate::bytes::compressed_u32(rest) else {
            return Vec::new();
        };
        rest.get(used..used + len as usize).unwrap_or(&[]).to_vec()
    }

    // ---- coded indices, named by use ----

    /// Raw TypeDefOrRef.
    pub fn type_ref_cell(token: Token) -> u32 {
        coded(CodedIndex::TypeDefOrRef, token)
    }
    /// Raw MemberRefParent.
    pub fn member_parent_cell(token: Token) -> u32 {
        coded(CodedIndex::MemberRefParent, token)
    }
    /// Raw HasCustomAttribute.
    pub fn attribute_parent_cell(token: Token) -> u32 {
        coded(CodedIndex::HasCustomAttribute, token)
    }
    /// Raw CustomAttributeType.
    pub fn attribute_ctor_cell(token: Token) -> u32 {
        coded(CodedIndex::CustomAttributeType, token)
    }
    /// Raw HasConstant.
    pub fn constant_parent_cell(token: Token) -> u32 {
        coded(CodedIndex::HasConstant, token)
    }
    /// Raw HasFieldMarshal.
    pub fn field_marshal_cell(token: Token) -> u32 {
        coded(CodedIndex::HasFieldMarshal, token)
    }
    /// Raw HasSemantics.
    pub fn semantics_cell(token: Token) -> u32 {
        coded(CodedIndex::HasSemantics, token)
    }
    /// Raw MethodDefOrRef.
    pub fn method_cell(token: Token) -> u32 {
        coded(CodedIndex::MethodDefOrRef, token)
    }
    /// Raw MemberForwarded.
    pub fn forwarded_cell(token: Token) -> u32 {
        coded(CodedIndex::MemberForwarded, token)
    }
    /// Raw ResolutionScope.
    pub fn scope_cell(token: Token) -> u32 {
        coded(CodedIndex::ResolutionScope, token)
    }
    /// Raw TypeOrMethodDef.
    pub fn generic_owner_cell(token: Token) -> u32 {
        coded(CodedIndex::TypeOrMethodDef, token)
    }

    // ---- images ----

    /// Opens the present state.
    ///
    /// # Errors
    /// When the tables contradict each other.
    pub fn snapshot(&self, name: &str) -> Result<Module> {
        Module::from_writer(self.image(), name)
    }

    fn final_tables(&self) -> Vec<Vec<Row>> {
        let mut tables = self.tables.clone();
        for (owner, column, target, pointers) in [
            (TableId::TypeDef, 4, TableId::Field, TableId::FieldPtr),
            (TableId::TypeDef, 5, TableId::MethodDef, TableId::MethodPtr),
            (TableId::MethodDef, 5, TableId::Param, TableId::ParamPtr),
            (TableId::EventMap, 1, TableId::Event, TableId::EventPtr),
            (TableId::PropertyMap, 1, TableId::Property, TableId::PropertyPtr),
        ] {
            let empty = Vec::new();
            let owners = self.owners.get(&target).unwrap_or(&empty);
            let mut order: Vec<u32> = (1..=owners.len() as u32).collect();
            let sequence = |rid: u32| {
                if target == TableId::Param {
                    self.cell(Token::new(target, rid), 1)
                } else {
                    rid
                }
            };
            order.sort_by_key(|rid| (owners[*rid as usize - 1], sequence(*rid)));
            let mut at = 0;
            for (i, row) in tables[owner as usize].iter_mut().enumerate() {
                while at < order.len() && owners[order[at] as usize - 1] < i as u32 + 1 {
                    at += 1;
                }
                row[column] = at as u32 + 1;
            }
            tables[pointers as usize] = order
                .iter()
                .map(|rid| {
                    let mut row = [0; COLUMNS];
                    row[0] = *rid;
                    row
                })
                .collect();
        }
        for table in TableId::ALL {
            // Tokens of generic parameters are in use; those of one owner are neighbours anyway.
            if let Some(column) = schema::sort_column(*table).filter(|_| *table != TableId::GenericParam) {
                tables[*table as usize].sort_by_key(|r| r[column]);
            }
        }
        tables
    }

    fn table_stream(&self) -> Vec<u8> {
        let tables = self.final_tables();
        let mut out = vec![0, 0, 0, 0, 2, 0, 7, 1];
        let (mut valid, mut sorted) = (0u64, 0u64);
        for table in TableId::ALL {
            if !tables[*table as usize].is_empty() {
                valid |= 1 << *table as u8;
            }
            if schema::sort_column(*table).is_some() && *table != TableId::GenericParam {
                sorted |= 1 << *table as u8;
            }
        }
        out.extend_from_slice(&valid.to_le_bytes());
        out.extend_from_slice(&sorted.to_le_bytes());
        tables
            .iter()
            .filter(|t| !t.is_empty())
            .for_each(|t| le(&mut out, t.len() as u32, 4));
        let rows = |t: TableId| tables[t as usize].len();
        for table in TableId::ALL {
            let widths: Vec<usize> = schema::columns(*table)
                .iter()
                .map(|(_, column)| match column {
                    Column::U16 => 2,
                    Column::U32 | Column::Str | Column::Guid | Column::Blob => 4,
                    Column::Row(t) | Column::List(t) => {
                        if rows(*t) > 0xffff {
                            4
                        } else {
                            2
                        }
                    }
                    Column::Coded(kind) => {
                        let limit = 1usize << (16 - kind.tag_bits());
                        if kind.tables().iter().flatten().any(|t| rows(*t) >= limit) {
                            4
                        } else {
                            2
                        }
                    }
                })
                .collect();
            for row in &tables[*table as usize] {
                row.iter().zip(&widths).for_each(|(v, w)| le(&mut out, *v, *w));
            }
        }
        out
    }

    fn metadata(&self) -> Vec<u8> {
        let padded = |bytes: &[u8]| {
            let mut v = bytes.to_vec();
            v.resize(v.len().next_multiple_of(4), 0);
            v
        };
        let streams: [(&[u8], Vec<u8>); 5] = [
            (b"#~\0\0", padded(&self.table_stream())),
            (b"#Strings\0\0\0\0", padded(&self.strings)),
            (b"#US\0", padded(&self.user_strings)),
            (b"#GUID\0\0\0", padded(&self.guids)),
            (b"#Blob\0\0\0", padded(&self.blobs)),
        ];
        let mut root = b"BSJB\x01\0\x01\0\0\0\0\0\x0c\0\0\0v4.0.30319\0\0\0\0".to_vec();
        le(&mut root, streams.len() as u32, 2);
        let mut at = root.len() + streams.iter().map(|(n, _)| 8 + n.len()).sum::<usize>();
        for (name, bytes) in &streams {
            le(&mut root, at as u32, 4);
            le(&mut root, bytes.len() as u32, 4);
            root.extend_from_slice(name);
            at += bytes.len();
        }
        streams.iter().for_each(|(_, bytes)| root.extend_from_slice(bytes));
        root
    }

    /// A PE32 library: one section with the CLI header and the metadata, one with bodies and data (ECMA-335 II.25).
    pub fn image(&self) -> Vec<u8> {
        let metadata = self.metadata();
        let text = CLI_HEADER_SIZE + metadata.len();
        let text_raw = text.next_multiple_of(FILE_ALIGNMENT);
        let data_raw = self.data.len().next_multiple_of(FILE_ALIGNMENT);
        let mut pe = b"MZ".to_vec();
        pe.resize(0x3c, 0);
        le(&mut pe, 0x80, 4);
        pe.resize(0x80, 0);
        pe.extend_from_slice(b"PE\0\0");
        for (v, w) in [(0x14c, 2), (2, 2), (0, 4), (0, 4), (0, 4), (0xe0, 2), (0x2102, 2)] {
            le(&mut pe, v, w);
        }
        let optional = pe.len();
        pe.resize(optional + 0xe0, 0);
        let mut patch =
            |at: usize, v: u32, w: usize| pe[optional + at..optional + at + w].copy_from_slice(&v.to_le_bytes()[..w]);
        patch(0, 0x10b, 2);
        patch(2, 48, 1);
        patch(28, 0x1000_0000, 4);
        patch(32, 0x2000, 4);
        patch(36, FILE_ALIGNMENT as u32, 4);
        patch(40, 4, 2);
        patch(48, 4, 2);
        patch(56, DATA_RVA + data_raw as u32, 4);
        patch(60, FILE_ALIGNMENT as u32, 4);
        patch(68, 3, 2);
        patch(70, 0x8540, 2);
        patch(92, 16, 4);
        patch(96 + 8 * 14, METADATA_RVA, 4);
        patch(96 + 8 * 14 + 4, CLI_HEADER_SIZE as u32, 4);
        let mut section = |name: &[u8; 8], size: usize, rva: u32, raw: usize, offset: usize, flags: u32| {
            pe.extend_from_slice(name);
            for v in [size as u32, rva, raw as u32, offset as u32, 0, 0, 0, flags] {
                le(&mut pe, v, 4);
            }
        };
        section(
            b".text\0\0\0",
            text,
            METADATA_RVA,
            text_raw,
            FILE_ALIGNMENT,
            0x6000_0020,
        );
        section(
            b".sdata\0\0",
            self.data.len(),
            DATA_RVA,
            data_raw,
            FILE_ALIGNMENT + text_raw,
            0x4000_0040,
        );
        pe.resize(FILE_ALIGNMENT, 0);
        for (v, w) in [
            (CLI_HEADER_SIZE as u32, 4),
            (2, 2),
            (5, 2),
            (METADATA_RVA + CLI_HEADER_SIZE as u32, 4),
            (metadata.len() as u32, 4),
            (1, 4),
        ] {
            le(&mut pe, v, w);
        }
        pe.resize(FILE_ALIGNMENT + CLI_HEADER_SIZE, 0);
        pe.extend_from_slice(&metadata);
        pe.resize(FILE_ALIGNMENT + text_raw, 0);
        pe.extend_from_slice(&self.data);
        pe.resize(FILE_ALIGNMENT + text_raw + data_raw, 0);
        pe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_interleaved_types_are_told_apart() {
        let mut w = Writer::default();
        let name = w.string("m");
        let guid = w.guid([1; 16]);
        w.add(TableId::Module, &[0, name, guid]);
        for t in ["<Module>", "A", "B"] {
            let name = w.string(t);
            w.add(TableId::TypeDef, &[0, name]);
        }
        for (owner, name) in [(3, "b1"), (2, "a1"), (3, "b2"), (2, "a2")] {
            let name = w.string(name);
            let sig = w.blob(&[0, 0, 1]);
            w.add_owned(TableId::MethodDef, owner, &[0, 0, 0, name, sig]);
        }
        let m = w.snapshot("m").unwrap();
        let methods = |rid| {
            m.list_rows(TableId::MethodDef, m.type_def(rid).unwrap().method_list)
                .collect::<Vec<_>>()
        };
        assert_eq!((methods(1), methods(2), methods(3)), (vec![], vec![2, 4], vec![1, 3]));
        assert_eq!((m.owner_of_method(1), m.owner_of_method(2)), (Some(3), Some(2)));
        assert_eq!(m.method_def(3).unwrap().name, "b2");
    }
}
