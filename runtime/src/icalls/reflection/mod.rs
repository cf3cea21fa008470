//! Internal calls of reflection and the type system, one file per managed class, and what they share.

pub mod array;
pub mod boxing;
pub mod delegate;
pub mod dynamic_method;
pub mod dynamic_sig;
pub mod invoke;
pub mod metadata_import;
pub mod runtime_assembly;
pub mod runtime_field_handle;
pub mod runtime_helpers;
pub mod runtime_method_handle;
pub mod runtime_type;
pub mod runtime_type_handle;
pub mod signature;
pub(crate) mod support;
mod type_guid;
pub mod type_names;

use super::ICall;

/// All tables of this area.
pub fn tables() -> Vec<&'static [ICall]> {
    vec![
        array::TABLE,
        delegate::TABLE,
        metadata_import::TABLE,
        runtime_assembly::TABLE,
        runtime_field_handle::TABLE,
        runtime_helpers::TABLE,
        runtime_method_handle::TABLE,
        runtime_type::TABLE,
        runtime_type_handle::TABLE,
        signature::TABLE,
    ]
}
