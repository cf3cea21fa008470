//! QCalls of reflection and the type system, one file per managed class.

pub mod assembly;
pub mod custom_attribute;
pub mod delegate;
pub mod dynamic_assembly;
pub(crate) mod handles;
pub(crate) mod load_context;
pub mod metadata_import;
pub mod module;
pub(crate) mod resolve_failure;
pub mod runtime_method_handle;
pub mod runtime_type_handle;
pub mod values;

use super::QCall;

/// All tables of this area.
pub fn tables() -> Vec<&'static [QCall]> {
    vec![
        assembly::TABLE,
        custom_attribute::TABLE,
        delegate::TABLE,
        dynamic_assembly::TABLE,
        load_context::TABLE,
        metadata_import::TABLE,
        module::TABLE,
        runtime_method_handle::TABLE,
        runtime_type_handle::TABLE,
        values::TABLE,
    ]
}
