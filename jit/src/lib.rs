//! The just-in-time compiler: IL to machine code, through an IR of our own and Cranelift.
//!
//! ```text
//! IL body --importer--> ir::Func --lower--> CLIF --Cranelift--> CompiledCode --install--> CodeInfo
//! ```
//!
//! * [`importer`] turns IL into [`ir`]: the rules of the evaluation stack, exception regions made explicit, intrinsics.
//!   [`builder`] makes the same IR by hand (stubs of the engine); [`ir_check`] verifies it, [`ir_print`] shows it.
//! * `lower` turns IR into CLIF: calling convention ([`abi`]), places of locals ([`layout`]), references in reported frame
//!   slots, landing pads, [`localloc`].
//! * [`compile`] runs Cranelift ([`isa`]) and puts the result into the [`code_heap`]; [`code_map`] finds the
//!   description of any code address again; [`frames`] walks over frames of generated code with it.
//! * [`disasm`], [`perf_map`] and [`gdb`] show generated code to people and tools.
//!
//! The compiler knows nothing of the engine: what it needs comes through [`host_api::CompilerHost`], so it runs and is
//! tested without a VM.

pub mod abi;
pub mod block_counts;
pub mod builder;
mod call_counting;
mod captures;
pub mod code_heap;
pub mod code_map;
pub mod compile;
pub mod disasm;
pub mod frames;
mod gc_check;
pub mod gdb;
pub mod host_api;
pub mod ids;
pub mod il_map;
pub mod importer;
pub mod ir;
pub mod ir_check;
pub mod ir_print;
pub mod isa;
pub mod layout;
mod licm;
pub mod localloc;
mod lower;
pub mod opt;
mod order;
pub mod osr;
pub mod perf_map;
mod phis;
pub mod profile;
#[doc(hidden)]
pub mod testing;
