//! What is wrong with an image.

/// Contents of an image that contradict the format. The code they belong to cannot be used; the image's IL can.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} at RVA {rva:#x}: {fault}")]
pub struct FormatError {
    /// What was being read.
    pub what: &'static str,
    /// Where.
    pub rva: u32,
    /// What is wrong there.
    pub fault: Fault,
}

/// Kind of a [`FormatError`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// The data ends too soon, or an offset leads out of it.
    #[error("the data ends there")]
    End,
    /// A number that has no meaning in this place.
    #[error("{0:#x} has no meaning there")]
    Value(u32),
    /// Signatures in signatures, deeper than any compiler makes them.
    #[error("nested too deeply")]
    Depth,
}

/// Result of reading a part of an image.
pub type Result<T> = std::result::Result<T, FormatError>;
