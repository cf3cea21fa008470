//! (placeholder)
use crate::sig::SigError;
/// Malformed custom attribute value: what, and the byte offset in the blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset} of the value")]
pub struct AttributeError {
    /// Byte offset in the value.
    pub offset: usize,
    /// What is wrong.
    pub kind: AttributeErrorKind,
}
/// What can be wrong with a custom attribute value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeErrorKind {
    /// End.
    #[error("unexpected end")]
    End,
    /// Sig.
    #[error("{0}")]
    Signature(SigError),
}
