//! Reader for .NET assemblies.
#![deny(unsafe_code)]

pub mod attribute;
pub mod body;
mod bytes;
pub mod error;
pub mod flags;
pub mod heaps;
pub mod il;
mod image;
mod lookup;
mod module;
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

pub use body::{EhClause, EhKind, MethodBody};
pub use error::{Error, Fault, Result};
pub use flags::*;
pub use heaps::{BlobIdx, GuidIdx, StringIdx, UserString};
pub use il::{Decoder, IlError, IlErrorKind, Instruction, Opcode, Operand, OperandKind};
pub use module::Module;
pub use pdb::{PortablePdb, SequencePoint};
pub use pe::Pe;
pub use rows::*;
pub use sig::{ArrayShape, CallingConvention, MethodSig, PropertySig, SigError, SigReader, TypeSig};
pub use token::{TableId, Token};
