//! What the verifier reports.

use std::fmt;

use corten_metadata::Token;

use crate::code::Code;

/// One rule broken at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Simple name of the assembly.
    pub assembly: String,
    /// Full name of the type, nested types joined with `+`.
    pub type_name: String,
    /// Name of the method, none if the finding is about the type.
    pub method: Option<String>,
    /// MethodDef or TypeDef token.
    pub token: Token,
    /// Offset in the IL, bytes; none if the finding is about the type or the method as a whole.
    pub offset: Option<u32>,
    /// Which rule.
    pub code: Code,
    /// What is wrong, in words.
    pub message: String,
}

/// `[Code] assembly Namespace.Type::Method +0x0012: message`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {} {}", self.code, self.assembly, self.type_name)?;
        if let Some(method) = &self.method {
            write!(f, "::{method}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " +{offset:#06x}")?;
        }
        write!(f, ": {}", self.message)
    }
}
