//! When to compile what. Knows no IL and no code generator: it is generic over a [`Compiler`].
//!
//! A method's first code: many threads may ask for it at the same time, one compiles it, the others wait and get the same
//! code ([`CodeTable`]). Its second: code that was called often is queued, compiled in the background once the program has
//! been quiet, and published ([`Promotion`], with the switches of [`Config`]).
//!
//! A loop that runs long in one frame is replaced while it runs ([`Patchpoints`]); the frame goes on while another thread compiles
//! the replacement ([`Requests`]).
//!
//! Code that better code has replaced is given back when nobody runs it any more ([`Promotion::unused`]).
//!
//! ```
//! use corten_tiering::{CodeTable, Compiler, Tier};
//! struct Double;
//! impl Compiler for Double {
//!     type Method = u32;
//!     type Code = u32;
//!     type Error = String;
//!     fn compile(&self, method: u32, _tier: Tier) -> Result<u32, String> {
//!         if method == 13 { Err("unlucky".into()) } else { Ok(method * 2) }
//!     }
//! }
//! let table = CodeTable::new(Double);
//! assert_eq!(table.code_of(21, Tier::Tier0), Ok(42));
//! assert_eq!(table.code_of(13, Tier::Tier0), Err("unlucky".to_string()));
//! ```
#![forbid(unsafe_code)]

pub mod code_index;
mod code_table;
mod config;
mod patchpoints;
mod promotion;
mod requests;
mod retired;
pub mod sync;

pub use code_table::CodeTable;
pub use config::Config;
pub use patchpoints::{Answer, Patchpoints};
pub use promotion::{Promotion, Publisher, Reached, Step};
pub use requests::Requests;
pub use retired::{Origin, Unused};

/// How much work goes into code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Compiled fast, for the first calls.
    Tier0,
    /// Compiled fast, and collects a profile.
    Instrumented,
    /// Optimised with what was learnt.
    Tier1,
}

/// Makes code.
pub trait Compiler {
    /// Identity of a method.
    type Method: Copy + Eq + std::hash::Hash;
    /// Installed code, for example its address.
    type Code: Copy;
    /// Why there is none.
    type Error;
    /// Compiles and installs one method. Called by one thread at a time per method, without any lock held.
    ///
    /// # Errors
    /// Whatever makes the method uncompilable; a later request tries again.
    fn compile(&self, method: Self::Method, tier: Tier) -> Result<Self::Code, Self::Error>;
}
