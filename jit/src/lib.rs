//! IL to machine code, through an IR of our own and Cranelift. (Crate documentation is completed with the crate.)
pub mod host_api;
pub mod ids;
pub mod ir;
