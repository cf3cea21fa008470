//! Checked access to the cells of a row: heap items are resolved, references are verified to exist.

use super::schema::{self, Column};
use super::{RawRow, Streams, Tables};
use crate::error::{Error, Fault, Result};
use crate::heaps::{self, BlobIdx, StringIdx};
use crate::token::{TableId, Token};
use std::ops::Range;

/// Streams and tables of one metadata root (an assembly's, or a portable PDB's).
#[derive(Debug)]
pub(crate) struct Metadata {
    pub streams: Streams,
    pub tables: Tables,
}

impl Metadata {
    /// Opens a row for reading.
    pub(crate) fn row<'a>(&'a self, file: &'a [u8], table: TableId, rid: u32) -> Result<RowReader<'a>> {
        match self.tables.row(file, table, rid) {
            Some(raw) => Ok(RowReader {
                metadata: self,
                file,
                raw,
                table,
                rid,
            }),
            None => Err(Error::NoSuchRow {
                table,
                rid,
                rows: self.tables.rows(table),
            }),
        }
    }
}

/// A row whose cells are read with checks. Column numbers are those of [`schema::columns`].
#[derive(Clone, Copy)]
pub(crate) struct RowReader<'a> {
    metadata: &'a Metadata,
    file: &'a [u8],
    raw: RawRow<'a>,
    table: TableId,
    rid: u32,
}

impl<'a> RowReader<'a> {
    fn column_name(&self, column: usize) -> &'static str {
        schema::columns(self.table)[column].0
    }

    pub(crate) fn u16(&self, column: usize) -> u16 {
        self.raw.cell(column) as u16
    }

    pub(crate) fn u32(&self, column: usize) -> u32 {
        self.raw.cell(column)
    }

    pub(crate) fn str(&self, column: usize) -> Result<&'a str> {
        heaps::string(self.file, &self.metadata.streams.strings, self.raw.cell(column))
    }

    pub(crate) fn blob(&self, column: usize) -> Result<&'a [u8]> {
        heaps::blob(self.file, &self.metadata.streams.blobs, "#Blob", self.raw.cell(column))
    }

    /// Where the string of a column is.
    pub(crate) fn string_index(&self, column: usize) -> Result<StringIdx> {
        let index = self.raw.cell(column);
        heaps::check_index(&self.metadata.streams.strings, "#Strings", index)?;
        Ok(StringIdx(index))
    }

    /// Where the item of a column is.
    pub(crate) fn blob_index(&self, column: usize) -> Result<BlobIdx> {
        let index = self.raw.cell(column);
        heaps::check_index(&self.metadata.streams.blobs, "#Blob", index)?;
        Ok(BlobIdx(index))
    }

    pub(crate) fn guid(&self, column: usize) -> Result<[u8; 16]> {
        heaps::guid(self.file, &self.metadata.streams.guids, self.raw.cell(column))
    }

    fn dangling(&self, column: usize, target: Token) -> Error {
        let fault = Fault::RowReference {
            table: self.table,
            rid: self.rid,
            column: self.column_name(column),
            target,
        };
        Error::bad(fault, self.raw.offset(column))
    }

    /// A row number of a fixed table. Zero (nil) is passed on.
    pub(crate) fn reference(&self, column: usize) -> Result<u32> {
        let rid = self.raw.cell(column);
        let Column::Row(target) = schema::columns(self.table)[column].1 else {
            debug_assert!(false, "column {column} of {:?} is not a row reference", self.table);
            return Ok(rid);
        };
        if rid > self.metadata.tables.reference_rows(target) {
            return Err(self.dangling(column, Token::new(target, rid)));
        }
        Ok(rid)
    }

    /// A row number that must not be nil.
    pub(crate) fn required(&self, column: usize) -> Result<u32> {
        match self.reference(column)? {
            0 => {
                let Column::Row(target) = schema::columns(self.table)[column].1 else {
                    return Ok(0);
                };
                Err(self.dangling(column, Token::new(target, 0)))
            }
            rid => Ok(rid),
        }
    }

    /// A coded index. Nil tokens are passed on.
    pub(crate) fn coded(&self, column: usize) -> Result<Token> {
        let value = self.raw.cell(column);
        let Column::Coded(kind) = schema::columns(self.table)[column].1 else {
            debug_assert!(false, "column {column} of {:?} is not a coded index", self.table);
            return Ok(Token::NIL);
        };
        let Some(token) = kind.decode(value) else {
            let column_name = self.column_name(column);
            let fault = Fault::CodedIndex {
                table: self.table,
                rid: self.rid,
                column: column_name,
                value,
            };
            return Err(Error::bad(fault, self.raw.offset(column)));
        };
        let rows = token.table().map_or(0, |t| self.metadata.tables.reference_rows(t));
        if token.rid() > rows {
            return Err(self.dangling(column, token));
        }
        Ok(token)
    }

    /// A coded index that must not be nil.
    pub(crate) fn required_coded(&self, column: usize) -> Result<Token> {
        let token = self.coded(column)?;
        if token.is_nil() {
            Err(self.dangling(column, token))
        } else {
            Ok(token)
        }
    }

    /// The rows of a list column: from this row's value to the next row's, or to the end of the target table.
    pub(crate) fn list(&self, column: usize) -> Result<Range<u32>> {
        let Column::List(target) = schema::columns(self.table)[column].1 else {
            debug_assert!(false, "column {column} of {:?} is not a list", self.table);
            return Ok(0..0);
        };
        let tables = &self.metadata.tables;
        let limit = tables.rows(target) + 1;
        let start = self.raw.cell(column);
        let next = self
            .rid
            .checked_add(1)
            .and_then(|r| tables.row(self.file, self.table, r));
        let end = next.map_or(limit, |n| n.cell(column));
        // Some writers leave the column 0 where the target table is empty.
        if limit == 1 && start == 0 && end <= 1 {
            return Ok(1..1);
        }
        if start == 0 || start > end || end > limit {
            let column_name = self.column_name(column);
            let fault = Fault::ListRange {
                table: self.table,
                rid: self.rid,
                column: column_name,
                start,
                end,
            };
            return Err(Error::bad(fault, self.raw.offset(column)));
        }
        Ok(start..end)
    }
}
