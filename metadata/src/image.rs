//! The bytes of an image: a read-only file mapping or an owned buffer.
//!
//! This is the only module with unsafe code: mapping a file cannot be expressed otherwise.

use crate::error::{Error, Result};
use std::fs::File;
use std::path::Path;

/// Bytes of an opened image.
pub(crate) enum Image {
    Mapped(memmap2::Mmap),
    Owned(Vec<u8>),
}

impl Image {
    pub(crate) fn open(path: &Path) -> Result<Image> {
        let io = |e: std::io::Error| Error::Io {
            path: path.display().to_string(),
            kind: e.kind(),
            message: e.to_string(),
        };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Ok(Image::Owned(Vec::new())); // an empty mapping is an error on some systems
        }
        // SAFETY: the mapping is private and read-only. Its contents change only if another process writes to the
        // file while it is mapped; like every loader that maps its images we require that files are replaced, not
        // rewritten in place. No value is derived from the bytes that would be unsound if they changed between two
        // reads, except `&str`, which is validated anew on each access.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
        Ok(Image::Mapped(map))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Image::Mapped(m) => m,
            Image::Owned(v) => v,
        }
    }
}
