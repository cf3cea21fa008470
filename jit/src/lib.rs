//! IL to machine code, through an IR of our own and Cranelift. (Crate documentation is completed with the crate.)
pub mod host_api;
pub mod ids;
pub mod ir;
pub mod abi;
pub mod code_heap;
pub mod code_map;
pub mod compile;
pub mod disasm;
pub mod frames;
pub mod gdb;
pub mod isa;
pub mod layout;
pub mod localloc;
mod lower;
pub mod perf_map;
pub mod builder;
pub mod importer;
pub mod ir_check;
pub mod ir_print;
#[doc(hidden)]
pub mod testing;
