//! The metadata root, its streams, and the table stream (ECMA-335 II.24.2).

pub(crate) mod reader;
pub mod schema;

use crate::bytes::{range, u16_at, u32_at, u64_at};
use crate::error::{Error, Fault, Result};
use crate::token::TableId;
use schema::Column;
use std::ops::Range;

/// Tables are numbered 0..64.
pub(crate) const TABLE_SLOTS: usize = 64;
/// No table has more columns.
const MAX_COLUMNS: usize = 9;
/// Streams an image may have; real ones have at most seven.
const MAX_STREAMS: u16 = 64;
/// A row index is three bytes in a token.
const MAX_ROWS: u32 = 0x00ff_ffff;

/// Where the streams are: file offset ranges, empty if absent.
#[derive(Default, Clone, Debug)]
pub(crate) struct Streams {
    pub tables: Option<Range<usize>>,
    pub strings: Range<usize>,
    pub user_strings: Range<usize>,
    pub guids: Range<usize>,
    pub blobs: Range<usize>,
    pub pdb: Option<Range<usize>>,
    pub version: String,
}

impl Streams {
    /// Reads the metadata root at `root` of `file`; `root` must be inside it.
    pub(crate) fn parse(file: &[u8], root: Range<usize>) -> Result<Streams> {
        let m = file
            .get(root.clone())
            .ok_or_else(|| Error::bad(Fault::Truncated("metadata root"), root.start))?;
        let short = |at: usize| Error::bad(Fault::Truncated("metadata root"), root.start + at);
        if u32_at(m, 0).ok_or_else(|| short(0))? != 0x424a_5342 {
            return Err(Error::bad(Fault::Magic("metadata root"), root.start));
        }
        let version_length = u32_at(m, 12).ok_or_else(|| short(12))? as usize;
        if version_length > 255 + 4 {
            let fault = Fault::Value {
                field: "metadata version length",
                value: version_length as u64,
            };
            return Err(Error::bad(fault, root.start + 12));
        }
        let version = range(m, 16, version_length).ok_or_else(|| short(16))?;
        let version = version.split(|b| *b == 0).next().unwrap_or(&[]);
        let mut at = 16 + version_length;
        let count = u16_at(m, at + 2).ok_or_else(|| short(at))?;
        if count > MAX_STREAMS {
            let fault = Fault::Value {
                field: "number of streams",
                value: u64::from(count),
            };
            return Err(Error::bad(fault, root.start + at + 2));
        }
        at += 4;
        let mut s = Streams {
            version: String::from_utf8_lossy(version).into_owned(),
            ..Streams::default()
        };
        let mut seen = 0u32;
        for _ in 0..count {
            let header_at = root.start + at;
            let (Some(offset), Some(size)) = (u32_at(m, at), u32_at(m, at + 4)) else {
                return Err(short(at));
            };
            let rest = m.get(at + 8..).unwrap_or(&[]);
            let name_len = rest.iter().take(32).position(|b| *b == 0);
            let name_len = name_len.ok_or_else(|| Error::bad(Fault::Truncated("stream name"), header_at + 8))?;
            let name = &rest[..name_len];
            at += 8 + (name_len / 4 + 1) * 4;
            let known: Option<(&'static str, u32)> = match name {
                b"#~" => Some(("#~", 0)),
                b"#-" => Some(("#-", 1)),
                b"#Strings" => Some(("#Strings", 2)),
                b"#US" => Some(("#US", 3)),
                b"#GUID" => Some(("#GUID", 4)),
                b"#Blob" => Some(("#Blob", 5)),
                b"#Pdb" => Some(("#Pdb", 6)),
                b"#JTD" => Some(("#JTD", 7)),
                _ => None,
            };
            let Some((name, bit)) = known else { continue };
            if seen & (1 << bit) != 0 {
                return Err(Error::bad(Fault::DuplicateStream(name), header_at));
            }
            seen |= 1 << bit;
            if range(m, offset as usize, size as usize).is_none() {
                return Err(Error::bad(Fault::Truncated(name), header_at));
            }
            let start = root.start + offset as usize;
            let place = start..start + size as usize;
            match bit {
                0 => s.tables = Some(place),
                1 => {
                    let feature = "uncompressed metadata (#- stream: edit-and-continue or unoptimised tables)";
                    return Err(Error::Unsupported {
                        feature,
                        offset: header_at as u64,
                    });
                }
                2 => s.strings = place,
                3 => s.user_strings = place,
                4 => s.guids = place,
                5 => s.blobs = place,
                6 => s.pdb = Some(place),
                _ => {
                    let feature = "edit-and-continue delta (#JTD stream)";
                    return Err(Error::Unsupported {
                        feature,
                        offset: header_at as u64,
                    });
                }
            }
        }
        Ok(s)
    }
}

/// Layout of one table: where it is and how wide its columns are.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct TableLayout {
    /// File offset of row 1.
    pub start: usize,
    pub rows: u32,
    pub row_size: u8,
    /// Offset of each column in the row.
    column_offset: [u8; MAX_COLUMNS],
    /// Width of each column: 2 or 4.
    column_width: [u8; MAX_COLUMNS],
}

/// The table stream: layouts only, rows are read from the image on demand.
#[derive(Debug)]
pub(crate) struct Tables {
    layouts: Box<[TableLayout; TABLE_SLOTS]>,
    /// Rows a reference may name: the image's own tables, and for a PDB also those of its assembly.
    reference_rows: [u32; TABLE_SLOTS],
    pub sorted: u64,
}

impl Tables {
    /// Parses the stream at `place` of `file`. `foreign_rows` are row counts of another image's tables that this
    /// stream refers to (portable PDB); all zero otherwise.
    pub(crate) fn parse(
        file: &[u8],
        place: Range<usize>,
        foreign_rows: &[u32; TABLE_SLOTS],
        indirect: bool,
    ) -> Result<Tables> {
        let base = place.start;
        let short = |at: usize| Error::bad(Fault::Truncated("table stream"), base + at);
        let s = file.get(place).ok_or_else(|| short(0))?;
        let heap_sizes = *s.get(6).ok_or_else(|| short(6))?;
        let major = *s.get(4).ok_or_else(|| short(4))?;
        if !(1..=2).contains(&major) {
            let fault = Fault::Value {
                field: "table stream version",
                value: u64::from(major),
            };
            return Err(Error::bad(fault, base + 4));
        }
        if heap_sizes & 0x20 != 0 {
            let feature = "edit-and-continue delta (heap size flag 0x20)";
            return Err(Error::Unsupported {
                feature,
                offset: (base + 6) as u64,
            });
        }
        let valid = u64_at(s, 8).ok_or_else(|| short(8))?;
        let sorted = u64_at(s, 16).ok_or_else(|| short(16))?;
        let mut at = 24;
        let mut layouts = Box::new([TableLayout::default(); TABLE_SLOTS]);
        let mut reference_rows = *foreign_rows;
        for number in 0..TABLE_SLOTS {
            if valid >> number & 1 == 0 {
                continue;
            }
            let rows = u32_at(s, at).ok_or_else(|| short(at))?;
            let Some(table) = TableId::from_u8(number as u8) else {
                let fault = Fault::Value {
                    field: "table number",
                    value: number as u64,
                };
                return Err(Error::bad(fault, base + 8));
            };
            if rows > MAX_ROWS {
                let fault = Fault::Value {
                    field: "row count",
                    value: u64::from(rows),
                };
                return Err(Error::bad(fault, base + at));
            }
            if rows != 0 && !indirect {
                reject_unsupported_table(table, base + at)?;
            }
            layouts[number].rows = rows;
            reference_rows[number] = reference_rows[number].max(rows);
            at += 4;
        }
        if heap_sizes & 0x40 != 0 {
            at += 4; // extra data, which nothing reads
        }
        for table in TableId::ALL {
            let layout = &mut layouts[*table as usize];
            lay_out_columns(layout, *table, heap_sizes, &reference_rows);
            layout.start = base + at;
            let bytes = u64::from(layout.rows) * u64::from(layout.row_size);
            let room = s.len().saturating_sub(at) as u64;
            if bytes > room {
                return Err(Error::bad(Fault::Truncated("table rows"), base + at));
            }
            at += bytes as usize;
        }
        Ok(Tables {
            layouts,
            reference_rows,
            sorted,
        })
    }

    pub(crate) fn rows(&self, table: TableId) -> u32 {
        self.layouts[table as usize].rows
    }

    pub(crate) fn layout(&self, table: TableId) -> &TableLayout {
        &self.layouts[table as usize]
    }

    pub(crate) fn reference_rows(&self, table: TableId) -> u32 {
        self.reference_rows[table as usize]
    }

    /// One column of all rows.
    pub(crate) fn column<'a>(&self, file: &'a [u8], table: TableId, column: usize) -> RawColumn<'a> {
        let layout = self.layout(table);
        let size = usize::from(layout.row_size);
        let end = layout.start + layout.rows as usize * size;
        RawColumn {
            bytes: file.get(layout.start..end).unwrap_or(&[]),
            row_size: size,
            offset: usize::from(layout.column_offset[column]),
            wide: layout.column_width[column] != 2,
        }
    }

    /// The raw cells of a row, none if there is no such row.
    pub(crate) fn row<'a>(&'a self, file: &'a [u8], table: TableId, rid: u32) -> Option<RawRow<'a>> {
        let layout = self.layout(table);
        if rid == 0 || rid > layout.rows {
            return None;
        }
        let size = usize::from(layout.row_size);
        let start = layout.start + (rid as usize - 1) * size;
        let bytes = file.get(start..start + size)?;
        Some(RawRow { bytes, layout, start })
    }
}

fn reject_unsupported_table(table: TableId, at: usize) -> Result<()> {
    let feature = match table {
        TableId::FieldPtr | TableId::MethodPtr | TableId::ParamPtr | TableId::EventPtr | TableId::PropertyPtr => {
            "indirection tables (FieldPtr, MethodPtr, ParamPtr, EventPtr, PropertyPtr)"
        }
        TableId::EncLog | TableId::EncMap => "edit-and-continue tables (EncLog, EncMap)",
        _ => return Ok(()),
    };
    Err(Error::Unsupported {
        feature,
        offset: at as u64,
    })
}

fn lay_out_columns(layout: &mut TableLayout, table: TableId, heap_sizes: u8, rows: &[u32; TABLE_SLOTS]) {
    let heap = |bit: u8| if heap_sizes & bit != 0 { 4 } else { 2 };
    let mut offset = 0;
    for (i, (_, column)) in schema::columns(table).iter().enumerate() {
        let width = match column {
            Column::U16 => 2,
            Column::U32 => 4,
            Column::Str => heap(1),
            Column::Guid => heap(2),
            Column::Blob => heap(4),
            Column::Row(t) | Column::List(t) => {
                if rows[*t as usize] > 0xffff {
                    4
                } else {
                    2
                }
            }
            Column::Coded(kind) => {
                let limit = 1u32 << (16 - kind.tag_bits());
                let wide = kind.tables().iter().flatten().any(|t| rows[*t as usize] >= limit);
                if wide { 4 } else { 2 }
            }
        };
        layout.column_offset[i] = offset;
        layout.column_width[i] = width;
        offset += width;
    }
    layout.row_size = offset;
}

/// One column of a table, for searches.
#[derive(Clone, Copy)]
pub(crate) struct RawColumn<'a> {
    bytes: &'a [u8],
    row_size: usize,
    offset: usize,
    wide: bool,
}

impl RawColumn<'_> {
    /// Raw value in row `rid`; 0 if there is no such row.
    pub(crate) fn get(&self, rid: u32) -> u32 {
        let Some(row) = (rid as usize).checked_sub(1) else {
            return 0;
        };
        let at = row * self.row_size + self.offset;
        if self.wide {
            u32_at(self.bytes, at).unwrap_or(0)
        } else {
            u16_at(self.bytes, at).map_or(0, u32::from)
        }
    }
}

/// One row's bytes with the widths of its columns.
#[derive(Clone, Copy)]
pub(crate) struct RawRow<'a> {
    bytes: &'a [u8],
    layout: &'a TableLayout,
    start: usize,
}

impl RawRow<'_> {
    /// Raw value of a column.
    pub(crate) fn cell(&self, column: usize) -> u32 {
        let at = usize::from(self.layout.column_offset[column]);
        if self.layout.column_width[column] == 2 {
            u16_at(self.bytes, at).map_or(0, u32::from)
        } else {
            u32_at(self.bytes, at).unwrap_or(0)
        }
    }

    /// File offset of a column.
    pub(crate) fn offset(&self, column: usize) -> usize {
        self.start + usize::from(self.layout.column_offset[column])
    }
}
