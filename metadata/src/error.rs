//! The errors of this crate. Every structural fault carries the file offset where it was found.

use crate::attribute::AttributeError;
use crate::il::IlError;
use crate::sig::SigError;
use crate::token::{TableId, Token};

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why an image, or one item of it, could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be opened or mapped (environment).
    #[error("cannot open {path}: {message}")]
    Io {
        /// File that was asked for.
        path: String,
        /// Kind reported by the operating system.
        kind: std::io::ErrorKind,
        /// Text reported by the operating system.
        message: String,
    },
    /// The image breaks the format (fault of the file).
    #[error("bad image: {fault} (file offset {offset:#x})")]
    BadImage {
        /// What is wrong.
        fault: Fault,
        /// Offset in the file.
        offset: u64,
    },
    /// The image is legal, but of a kind this reader does not read.
    #[error("unsupported image: {feature} (file offset {offset:#x})")]
    Unsupported {
        /// What is not supported.
        feature: &'static str,
        /// Offset in the file.
        offset: u64,
    },
    /// A row that does not exist was asked for (fault of a token in the file or of the caller).
    #[error("no row {rid} in table {table:?}, which has {rows}")]
    NoSuchRow {
        /// Table asked.
        table: TableId,
        /// 1-based row asked.
        rid: u32,
        /// Rows the table has.
        rows: u32,
    },
    /// A signature blob is malformed (fault of the file).
    #[error("bad signature: {source} (file offset {offset:#x})")]
    Signature {
        /// Offset in the file of the byte at fault.
        offset: u64,
        /// What is wrong; its own offset counts from the start of the signature.
        source: SigError,
    },
    /// An IL stream is malformed (fault of the file).
    #[error("bad IL: {source} (file offset {offset:#x})")]
    Il {
        /// Offset in the file of the instruction at fault.
        offset: u64,
        /// What is wrong; its own offset counts from the start of the code.
        source: IlError,
    },
    /// A custom attribute value is malformed (fault of the file).
    #[error("bad custom attribute value: {source} (file offset {offset:#x})")]
    Attribute {
        /// Offset in the file of the byte at fault.
        offset: u64,
        /// What is wrong; its own offset counts from the start of the value.
        source: AttributeError,
    },
}

impl Error {
    pub(crate) fn bad(fault: Fault, offset: usize) -> Error {
        Error::BadImage {
            fault,
            offset: offset as u64,
        }
    }

    /// File offset of the fault, where there is one.
    pub fn offset(&self) -> Option<u64> {
        match self {
            Error::BadImage { offset, .. }
            | Error::Unsupported { offset, .. }
            | Error::Signature { offset, .. }
            | Error::Il { offset, .. }
            | Error::Attribute { offset, .. } => Some(*offset),
            Error::Io { .. } | Error::NoSuchRow { .. } => None,
        }
    }
}

/// Structural faults of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Data ends inside the named structure.
    #[error("{0} reaches beyond its container")]
    Truncated(&'static str),
    /// A magic number is wrong.
    #[error("{0} does not begin with its signature")]
    Magic(&'static str),
    /// The PE file has no CLI header: it is native code.
    #[error("no CLI header: not a managed assembly")]
    NotManaged,
    /// A relative virtual address is not inside any section's data.
    #[error("{what} at RVA {rva:#x}, which is outside every section")]
    Rva {
        /// What was looked for there.
        what: &'static str,
        /// The address.
        rva: u32,
    },
    /// A header field holds a value outside its range.
    #[error("{field} has the invalid value {value:#x}")]
    Value {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A needed metadata stream is missing.
    #[error("no {0} stream")]
    MissingStream(&'static str),
    /// A stream occurs twice.
    #[error("stream {0} occurs twice")]
    DuplicateStream(&'static str),
    /// A heap index lies outside its heap.
    #[error("{heap} index {index:#x} is outside the heap of {size:#x} bytes")]
    HeapIndex {
        /// Heap name, such as `#Strings`.
        heap: &'static str,
        /// The index.
        index: u32,
        /// Heap size in bytes (for `#GUID` too).
        size: usize,
    },
    /// A heap item has no end inside its heap, or a broken length prefix.
    #[error("{heap} item at {index:#x} has a malformed length or end")]
    HeapItem {
        /// Heap name.
        heap: &'static str,
        /// The index.
        index: u32,
    },
    /// A name is not UTF-8.
    #[error("the string at #Strings index {0:#x} is not UTF-8")]
    Utf8(u32),
    /// A coded index has a tag that means no table (ECMA-335 II.24.2.6).
    #[error("{column} of row {rid} of {table:?} has the invalid coded index {value:#x}")]
    CodedIndex {
        /// Table of the row.
        table: TableId,
        /// 1-based row.
        rid: u32,
        /// Column.
        column: &'static str,
        /// Raw value.
        value: u32,
    },
    /// A column points outside its target table.
    #[error("{column} of row {rid} of {table:?} refers to {target:?}, which does not exist")]
    RowReference {
        /// Table of the row.
        table: TableId,
        /// 1-based row.
        rid: u32,
        /// Column.
        column: &'static str,
        /// The dangling reference.
        target: Token,
    },
    /// A list column (fields, methods, parameters...) decreases or leaves its table.
    #[error("{column} of row {rid} of {table:?} gives the invalid range {start}..{end}")]
    ListRange {
        /// Table of the row.
        table: TableId,
        /// 1-based row.
        rid: u32,
        /// Column.
        column: &'static str,
        /// First row of the range.
        start: u32,
        /// One past the last row of the range.
        end: u32,
    },
    /// A table that must be sorted is not.
    #[error("table {table:?} is not sorted at row {rid}")]
    Unsorted {
        /// The table.
        table: TableId,
        /// First row that is smaller than its predecessor.
        rid: u32,
    },
    /// A chain of enclosing or parent rows closes on itself.
    #[error("row {rid} of {table:?} is its own ancestor")]
    Cycle {
        /// The table.
        table: TableId,
        /// 1-based row.
        rid: u32,
    },
    /// A token in IL or a signature does not name a row of a table allowed there.
    #[error("token {token:?} is not valid as {used_as}")]
    Token {
        /// The token.
        token: Token,
        /// What it was used as.
        used_as: &'static str,
    },
    /// A method body header or its sections are malformed.
    #[error("method body of {method:?}: {what}")]
    Body {
        /// The method.
        method: Token,
        /// What is wrong.
        what: &'static str,
    },
    /// Compressed data is broken or longer than it claims.
    #[error("{0}: compressed data is malformed")]
    Compressed(&'static str),
}
