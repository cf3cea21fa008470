//! ReadyToRun images: precompiled code in assemblies, and all that a runtime has to know to run it.
//!
//! Format: docs/design/coreclr/botr/readytorun-format.md. An image is the usual IL assembly with additional sections:
//!
//! - [`Header`]: version, processor, sections. Every refusal has a reason that can be shown to the user ([`Rejection`]).
//! - [`RuntimeFunctions`]: ranges of code (methods and their funclets) with [`UnwindInfo`], which unwinds their frames, and [`GcInfo`].
//! - [`Image::method`], [`Image::instances`]: where the code of a method is ([`EntryPoint`]), by its row in MethodDef, or for
//!   instantiations by signature and [`hash`] code; and the cells that must be filled before it runs.
//! - [`ImportSections`]: indirection cells, and the [`Fixup`]s that tell what each is to hold, or what must hold for the code; and which
//!   arguments are references while a call through a cell is bound.
//! - [`Image::clauses`]: exception clauses; [`Image::il_map`]: positions in IL.
//!
//! Everything is read on demand and checked where it is read: a damaged image gives a [`FormatError`] that says where, never a panic.
//! To make the code run is the runtime's part.
//!
//! ```no_run
//! let module = corten_metadata::Module::open(std::path::Path::new("System.Linq.dll"))?;
//! match corten_r2r::Image::open(&module)? {
//!     Some(image) => println!("{} functions", image.functions().len()),
//!     None => println!("IL only"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `cargo run -p corten-r2r --example dump IMAGE [METHOD]` shows an image.
#![forbid(unsafe_code)]

mod argument_map;
mod clauses;
mod entry_points;
mod error;
mod fixup;
mod functions;
#[doc(hidden)]
pub mod fuzzing;
pub mod gc_info;
pub mod hash;
mod header;
mod il_map;
mod image;
mod imports;
mod reader;
mod signature;
mod tables;
mod unwind;

pub use argument_map::{ArgumentKind, ArgumentLocation};
pub use clauses::{Clause, HandlerKind};
pub use entry_points::{EntryPoint, Fixups, Instance, Instances};
pub use error::{Fault, FormatError, Result};
pub use fixup::{Fixup, Helper, InstructionSet, LayoutFlags, LookupContext, TypeLayout, What};
pub use functions::{FunctionId, RuntimeFunction, RuntimeFunctions};
pub use gc_info::GcInfo;
pub use header::{Header, HeaderError, Rejection, Section, SectionKind};
pub use il_map::{IlPosition, Mapping};
pub use image::{Image, OpenError};
pub use imports::{CellId, ImportFlags, ImportSection, ImportSections, ImportType};
pub use reader::{Nibbles, Reader};
pub use signature::{FieldSig, MethodFlags, MethodId, MethodSig, Primitive, TypeSig};
pub use unwind::{Frame, UnwindCode, UnwindInfo, UnwindOp};
