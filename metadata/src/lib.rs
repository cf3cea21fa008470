//! Reader for .NET assemblies: the PE container, ECMA-335 metadata, signatures, IL and portable PDB.
//!
//! [`Module::open`] maps an image and reads its headers; everything else is decoded where it lies when it is asked for,
//! and borrows from the [`Module`]. Nothing is trusted: a malformed item is an [`Error`] with its file offset, work and
//! memory are bounded by the size of the file, recursion by fixed depths. The crate knows nothing of loaded types or of
//! code generation.
//!
//! # Reading order
//! 1. [`token`]: tables and tokens, the currency of everything else.
//! 2. [`pe`]: headers, sections, address translation; then [`tables`] (streams, column widths, [`tables::schema`]) and
//!    [`heaps`].
//! 3. [`rows`]: what each table holds; the accessors and the lookups across tables are methods of [`Module`].
//! 4. [`sig`] (types), [`body`] (method headers and exception clauses), [`il`] (instructions), [`attribute`] (values of
//!    custom attributes), [`pdb`] (source lines).
//! 5. [`visit`]: reads everything and checks that it hangs together; [`names`] and [`inspect`] print it.
//!
//! # Limits
//! Uncompressed (`#-`) and edit-and-continue images, pointer tables and Windows PDBs are refused with
//! [`Error::Unsupported`] or a wrong magic number; native method bodies are not read. Sorted tables are trusted to be
//! sorted if the image says so: if they are not, lookups miss rows, and [`visit::visit_everything`] tells.
//!
//! # Example
//! ```
//! use corten_metadata::{Decoder, Module, Opcode, sig};
//! use std::path::Path;
//!
//! # fn main() -> Result<(), corten_metadata::Error> {
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/features.dll");
//! let module = Module::open(Path::new(path))?;
//! let code = module.find_type_def("Features", "Code").unwrap();
//! for method in module.type_def(code)?.method_list {
//!     let row = module.method_def(method)?;
//!     let signature = sig::parse_method(row.signature).map_err(|e| module.signature_error(row.signature, e))?;
//!     let Some(body) = module.method_body(method)? else { continue };
//!     let calls = Decoder::new(body.code).flatten().filter(|i| i.opcode == Opcode::Call).count();
//!     println!("{}: {} parameters, {} bytes, {calls} calls", row.name, signature.params.len(), body.code.len());
//! }
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)] // one exception, in the module that maps files
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod attribute;
pub mod body;
mod bytes;
pub mod error;
pub mod flags;
#[doc(hidden)]
pub mod fuzzing;
pub mod heaps;
pub mod il;
mod image;
pub mod inspect;
mod lookup;
mod module;
pub mod names;
pub mod pdb;
pub mod pe;
mod row_access;
pub mod rows;
pub mod sig;
pub mod tables;
#[doc(hidden)]
pub mod testing;
pub mod token;
pub mod visit;
pub mod writer;

pub use body::{EhClause, EhKind, MethodBody};
pub use error::{Error, Fault, Result};
pub use flags::*;
pub use heaps::{BlobIdx, GuidIdx, StringIdx, UserString};
pub use il::{Decoder, IlError, IlErrorKind, Instruction, Opcode, Operand, OperandKind};
pub use module::Module;
pub use names::Names;
pub use pdb::{PortablePdb, SequencePoint};
pub use pe::Pe;
pub use rows::*;
pub use sig::{ArrayShape, CallingConvention, MethodSig, PropertySig, SigError, SigReader, TypeSig};
pub use token::{TableId, Token};
