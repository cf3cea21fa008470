//! Verification of type safety (ECMA-335 III) from metadata alone: nothing is executed and nothing is loaded.
//!
//! [`verify`] judges the methods and types of the inputs of a [`Universe`]: the modules to verify and all they refer to.
//! Rules, codes and the order of checks are ILVerify's, so its suppression lists and expectations carry over; where that
//! tool is known to be wrong this one follows the standard, see [Differences from ILVerify](#differences-from-ilverify).
//!
//! # Example
//! ```
//! use corten_metadata::Module;
//! use corten_verifier::{Format, Options, ReferencePath, Universe, format, verify};
//! use std::path::Path;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let Some(framework) = corten_metadata::testing::framework_dir() else { return Ok(()) };
//! # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rules.dll");
//! let mut references = ReferencePath::new();
//! references.add(&framework)?; // the folder of System.Private.CoreLib.dll
//! let input = Module::open(Path::new(file))?;
//! let universe = Universe::new(vec![input.into()], &references)?;
//!
//! let report = verify(&universe, &Options::default());
//! println!("{} findings in {} methods", report.findings.len(), report.methods);
//! format::write(Format::Text, &report.findings, &|_| None, &mut std::io::stdout())?;
//! # assert!(!report.findings.is_empty());
//! # Ok(())
//! # }
//! ```
//! [`Verifier`] judges single methods, for an engine that asks before it compiles one; [`AssemblySource`] lets such an
//! engine answer references with the modules it has loaded.
//!
//! # Reading order
//! 1. [`Universe`] and [`AssemblySource`]: modules and references.
//! 2. `types`: types as interned numbers, resolution, casts, constraints, accessibility.
//! 3. `method`: the walk over a body; its module page lists the files by family of instructions.
//! 4. `type_rules`: rules about types as a whole.
//! 5. [`Verifier`], [`Filter`], [`mod@format`]: what is verified, and how it is told.
//!
//! # Invariants
//! - No input makes the verifier panic or run on: recursion, nesting, chains and the number of steps are bounded, and what
//!   does not resolve is a finding.
//! - The universe does not change once built. Threads share it and nothing else; each has its own caches.
//!
//! # Differences from ILVerify
//! - An `int32` is assignable to `native int` (ECMA-335 I.8.7.3).
//! - A managed pointer that came in as an argument may be returned. A by-ref-like value may be returned unless it visibly
//!   holds a reference to the method's frame: made by a call that was given the address of a local or argument for a
//!   parameter that is not `scoped` or `out`. The same rule decides about managed pointers that calls return.
//! - By-ref-like values cannot be boxed or be elements of arrays.
//! - `constrained.` is allowed before `call` and `ldftn` of a static virtual method of an interface.
//! - Where paths join, a value keeps the restrictions that it has on any of them.
//! - `calli`, `arglist` and typed references have their effect on the stack; `calli` is [`Code::Unverifiable`].
//! - The length of a new array must be an integer that indexes arrays.
//! - Type rules that a loader would enforce are findings with the code [`Code::ClassLoadGeneral`]: sealed base types, base
//!   types and interfaces whose constraints their arguments break, overridden final methods, by-ref-like fields outside
//!   by-ref-like types, values that contain themselves, references that share bytes with numbers.
//! - A friend assembly is recognised by its name and, if `InternalsVisibleTo` gives one, its full public key.
//!
//! The page `docs/framework.md` explains what is found in the class library.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod code;
mod filter;
mod finding;
pub mod format;
mod method;
mod source;
mod type_rules;
mod types;
mod universe;
mod verifier;

pub use code::{Code, UnknownCode};
pub use filter::{BadPattern, Filter};
pub use finding::Finding;
pub use format::Format;
pub use source::{AssemblySource, ModuleHandle, ReferencePath};
pub use universe::{DefId, ModuleId, Universe, UniverseError};
pub use verifier::{Options, Report, Verifier, verify, verify_modules};
