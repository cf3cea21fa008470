//! (under construction)
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod code;
mod filter;
mod finding;
mod method;
mod source;
mod type_rules;
mod types;
mod universe;
mod verifier;

pub use code::{Code, UnknownCode};
pub use filter::{BadPattern, Filter};
pub use finding::Finding;
pub use source::{AssemblySource, ModuleHandle, ReferencePath};
pub use universe::{DefId, ModuleId, Universe, UniverseError};
pub use verifier::{Options, Report, Verifier, verify, verify_modules};
