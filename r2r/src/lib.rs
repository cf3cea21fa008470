//! ReadyToRun images: whether an assembly carries precompiled code, of which version, and whether this engine could use it.
//!
//! Format: docs/design/coreclr/botr/readytorun-format.md. What is here now is the header and its sections; fixups, entry
//! points, unwind and GC info come later. Every refusal has a reason that can be shown to the user ([`Rejection`]).
//!
//! ```no_run
//! let module = corten_metadata::Module::open(std::path::Path::new("System.Linq.dll"))?;
//! match corten_r2r::Header::read(&module)? {
//!     Some(header) => println!("R2R {}.{}, {} sections", header.major, header.minor, header.sections.len()),
//!     None => println!("IL only"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod header;

pub use header::{Header, HeaderError, Rejection, Section, SectionKind};
