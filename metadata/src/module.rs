//! An opened assembly image.

use crate::body::{self, MethodBody};
use crate::error::{Error, Fault, Result};
use crate::heaps::{self, BlobIdx, GuidIdx, StringIdx, UserString};
use crate::il::IlError;
use crate::image::Image;
use crate::lookup::LazyIndexes;
use crate::pe::Pe;
use crate::sig::SigError;
use crate::tables::reader::{Metadata, RowReader};
use crate::tables::{Streams, TABLE_SLOTS, Tables};
use crate::token::{TableId, Token};
use std::path::Path;

/// One opened PE image with CLI metadata. It owns its bytes; everything it returns borrows from it.
///
/// Opening reads the headers only. Rows, heaps, signatures and bodies are read where they lie, on demand, so a damaged
/// row is an error when that row is asked for, not before. [`crate::visit::visit_everything`] checks them all.
pub struct Module {
    path: String,
    pe: Pe,
    pub(crate) metadata: Metadata,
    pub(crate) indexes: LazyIndexes,
}

impl Module {
    /// Opens a file by mapping it.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be mapped, [`Error::BadImage`] if its headers are malformed or it is not managed,
    /// [`Error::Unsupported`] for edit-and-continue and uncompressed images.
    pub fn open(path: &Path) -> Result<Module> {
        Module::new(Image::open(path)?, path.display().to_string(), false)
    }

    /// Opens an image in memory. `name` is what [`Module::path`] reports. Errors as for [`Module::open`].
    pub fn from_bytes(bytes: impl Into<Vec<u8>>, name: &str) -> Result<Module> {
        Module::new(Image::Owned(bytes.into()), name.to_owned(), false)
    }

    /// Opens an image that [`crate::writer::Writer`] made; unlike files it may have indirection tables.
    pub(crate) fn from_writer(bytes: Vec<u8>, name: &str) -> Result<Module> {
        Module::new(Image::Owned(bytes), name.to_owned(), true)
    }

    fn new(image: Image, path: String, indirect: bool) -> Result<Module> {
        let pe = Pe::parse(image)?;
        let dir = pe.metadata_directory();
        let header = pe.cli_header_offset() + 8;
        let fault = Fault::Rva {
            what: "metadata root",
            rva: dir.rva,
        };
        let start = pe.rva_to_offset(dir.rva).ok_or_else(|| Error::bad(fault, header))?;
        if pe.rva_range(dir.rva, dir.size).is_none() {
            return Err(Error::bad(Fault::Truncated("metadata root"), header));
        }
        let file = pe.file_bytes();
        let streams = Streams::parse(file, start..start + dir.size as usize)?;
        let place = streams
            .tables
            .clone()
            .ok_or_else(|| Error::bad(Fault::MissingStream("#~"), start))?;
        let tables = Tables::parse(file, place, &[0; TABLE_SLOTS], indirect)?;
        if tables.rows(TableId::Module) != 1 {
            let fault = Fault::Value {
                field: "rows of table Module",
                value: tables.rows(TableId::Module).into(),
            };
            return Err(Error::bad(fault, start));
        }
        if tables.rows(TableId::Assembly) > 1 {
            let fault = Fault::Value {
                field: "rows of table Assembly",
                value: tables.rows(TableId::Assembly).into(),
            };
            return Err(Error::bad(fault, start));
        }
        Ok(Module {
            path,
            pe,
            metadata: Metadata { streams, tables },
            indexes: LazyIndexes::default(),
        })
    }

    /// Where the image came from, as given when it was opened.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The container: headers, sections, address translation.
    pub fn pe(&self) -> &Pe {
        &self.pe
    }

    /// The whole file.
    pub fn image_bytes(&self) -> &[u8] {
        self.pe.file_bytes()
    }

    /// Version text of the metadata root, such as `v4.0.30319`.
    pub fn metadata_version(&self) -> &str {
        &self.metadata.streams.version
    }

    /// Identity of this build of the module.
    pub fn mvid(&self) -> Result<[u8; 16]> {
        self.row(TableId::Module, 1)?.guid(2)
    }

    /// Number of rows in a table.
    pub fn row_count(&self, table: TableId) -> u32 {
        self.metadata.tables.rows(table)
    }

    /// Size of a row of `table` in this image, bytes.
    pub fn row_size(&self, table: TableId) -> usize {
        usize::from(self.metadata.tables.layout(table).row_size)
    }

    /// Whether `token` names a row that exists (nil does not).
    pub fn has_row(&self, token: Token) -> bool {
        token
            .table()
            .is_some_and(|t| token.rid() != 0 && token.rid() <= self.row_count(t))
    }

    /// Raw cells of a row in column order (see [`crate::tables::schema::columns`]): indices as stored.
    pub fn raw_row(&self, table: TableId, rid: u32) -> Result<Vec<u32>> {
        let rows = self.row_count(table);
        let raw = self.metadata.tables.row(self.image_bytes(), table, rid);
        let raw = raw.ok_or(Error::NoSuchRow { table, rid, rows })?;
        Ok((0..crate::tables::schema::columns(table).len())
            .map(|c| raw.cell(c))
            .collect())
    }

    /// File offset of a row; of the end of the table's place if there is no such row.
    pub fn row_offset(&self, table: TableId, rid: u32) -> usize {
        let layout = self.metadata.tables.layout(table);
        layout.start + (rid.clamp(1, layout.rows + 1) as usize - 1) * usize::from(layout.row_size)
    }

    pub(crate) fn row(&self, table: TableId, rid: u32) -> Result<RowReader<'_>> {
        self.metadata.row(self.image_bytes(), table, rid)
    }

    /// A string of the `#Strings` heap.
    pub fn string(&self, index: StringIdx) -> Result<&str> {
        heaps::string(self.image_bytes(), &self.metadata.streams.strings, index.0)
    }

    /// Whether a string of the `#Strings` heap is `text`.
    pub fn string_is(&self, index: StringIdx, text: &str) -> bool {
        heaps::string_is(self.image_bytes(), &self.metadata.streams.strings, index.0, text)
    }

    /// An item of the `#Blob` heap.
    pub fn blob(&self, index: BlobIdx) -> Result<&[u8]> {
        heaps::blob(self.image_bytes(), &self.metadata.streams.blobs, "#Blob", index.0)
    }

    /// A GUID of the `#GUID` heap; all zero for index 0.
    pub fn guid(&self, index: GuidIdx) -> Result<[u8; 16]> {
        heaps::guid(self.image_bytes(), &self.metadata.streams.guids, index.0)
    }

    /// The text of an `ldstr` token (0x70xxxxxx).
    pub fn user_string(&self, token: Token) -> Result<UserString<'_>> {
        heaps::user_string(self.image_bytes(), &self.metadata.streams.user_strings, token.rid())
    }

    /// The whole `#US` heap, to walk its strings; [`Module::user_strings`] does so.
    pub fn user_string_heap(&self) -> &[u8] {
        self.image_bytes()
            .get(self.metadata.streams.user_strings.clone())
            .unwrap_or(&[])
    }

    /// All user strings with their tokens, up to the first malformed one.
    pub fn user_strings(&self) -> impl Iterator<Item = (Token, UserString<'_>)> {
        let heap = self.user_string_heap();
        let mut at = 1usize;
        std::iter::from_fn(move || {
            let rest = heap.get(at..).filter(|r| !r.is_empty())?;
            let (len, used) = crate::bytes::compressed_u32(rest)?;
            let token = Token(u32::from(Token::USER_STRING) << 24 | at as u32);
            let text = self.user_string(token).ok()?;
            at += used + len as usize;
            Some((token, text))
        })
    }

    /// The body of a method, none if it has no RVA.
    ///
    /// # Errors
    /// [`Error::BadImage`] if the header, the code or the exception sections are malformed;
    /// [`Error::Unsupported`] for native bodies.
    pub fn method_body(&self, method_rid: u32) -> Result<Option<MethodBody<'_>>> {
        body::read(self, method_rid)
    }

    /// Data of a resource stored in this image, none if another file or assembly holds it.
    pub fn manifest_resource_data(&self, rid: u32) -> Result<Option<&[u8]>> {
        let row = self.manifest_resource(rid)?;
        if !row.implementation.is_nil() {
            return Ok(None);
        }
        let dir = self.pe.resources_directory();
        let header = self.pe.cli_header_offset() + 24;
        let fault = Fault::Rva {
            what: "resources",
            rva: dir.rva,
        };
        let all = self
            .pe
            .rva_range(dir.rva, dir.size)
            .ok_or_else(|| Error::bad(fault, header))?;
        let at = row.offset as usize;
        let data =
            crate::bytes::u32_at(all, at).and_then(|len| crate::bytes::range(all, at.checked_add(4)?, len as usize));
        data.map(Some)
            .ok_or_else(|| Error::bad(Fault::Truncated("resource"), self.offset_of(all) + at.min(all.len())))
    }

    /// File offset of a slice that was borrowed from this module; 0 for any other slice.
    pub fn offset_of(&self, slice: &[u8]) -> usize {
        let file = self.image_bytes();
        let base = file.as_ptr() as usize;
        let at = slice.as_ptr() as usize;
        if (base..=base + file.len()).contains(&at) {
            at - base
        } else {
            0
        }
    }

    /// Wraps a signature error with the file offset of `signature`, which must come from this module.
    pub fn signature_error(&self, signature: &[u8], source: SigError) -> Error {
        Error::Signature {
            offset: (self.offset_of(signature) + source.offset) as u64,
            source,
        }
    }

    /// Wraps an IL error with the file offset of `code`, which must come from this module.
    pub fn il_error(&self, code: &[u8], source: IlError) -> Error {
        Error::Il {
            offset: self.offset_of(code) as u64 + u64::from(source.offset),
            source,
        }
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
