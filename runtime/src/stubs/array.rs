//! Accessors of arrays as callable methods (reflection, delegates); the compiler expands direct calls itself.

use super::{builder_for, host_error};
use crate::error::VmResult;
use crate::jit_host::method_id;
use corten_loader::MethodDesc;

/// Code of `Get`, `Set`, `Address` or `.ctor` of an array type: a body that contains just the expanded call.
///
/// # Errors
/// What the compiler reports.
pub fn accessor(md: &'static MethodDesc) -> VmResult<usize> {
    let mut b = builder_for(md)?;
    corten_jit::importer::emit_array_accessor(crate::engine::compiler_host(), &mut b, method_id(md)).map_err(host_error)?;
    crate::engine::compile_stub(&b.finish())
}
