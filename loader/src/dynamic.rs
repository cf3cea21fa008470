//! Methods without metadata: stubs of the runtime and `DynamicMethod`s.

use corten_metadata::{MethodAttributes, MethodImplAttributes};

use crate::{
    error::Result,
    method_desc::{MethodDesc, MethodKind, MethodSignature, NO_SLOT},
    method_table::MethodTable,
    module::Module,
    type_loader,
};

/// Makes a method whose body the runtime supplies (`kind` Dynamic). It is leaked, has precode and an entry
/// like any other, belongs to `owner` for access and context, and its tokens are resolved in `module`.
///
/// # Errors
/// When no executable memory is available.
pub fn new_dynamic_method(
    name: &str,
    owner: &'static MethodTable,
    module: &'static Module,
    signature: MethodSignature,
) -> Result<&'static MethodDesc> {
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let mut attributes = MethodAttributes::PUBLIC;
    if !signature.has_this {
        attributes |= MethodAttributes::STATIC;
    }
    let params = signature.params.len() as u16;
    let chunk: Box<[MethodDesc]> = Box::new([type_loader::blank_method(
        owner,
        module,
        MethodKind::Dynamic,
        0,
        u16::MAX,
        NO_SLOT,
        name,
        &[],
        attributes,
        MethodImplAttributes::empty(),
        params,
        Box::default(),
    )]);
    let chunk: &'static [MethodDesc] = Box::leak(chunk);
    crate::precode::attach_precode(chunk)?;
    let _ = chunk[0].sig.set(Box::new(signature));
    Ok(&chunk[0])
}
