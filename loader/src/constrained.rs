//! `constrained.` calls (ECMA-335 III.2.1) and calls of static virtual members.

use crate::{
    dispatch,
    error::{LoadError, Result},
    method_desc::MethodDesc,
    type_handle::TypeHandle,
};

/// How a constrained call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConstrainedResult {
    /// The method to call.
    pub method: &'static MethodDesc,
    /// `this` must be boxed first (the method is inherited from Object, ValueType, Enum or an interface).
    /// The method is already final: no virtual dispatch is needed.
    pub needs_box: bool,
    /// The constrained type is a reference type: load the reference and call `method` virtually.
    pub dereference: bool,
}

/// Resolves `constrained. T callvirt/call decl`.
///
/// # Errors
/// EntryPointNotFound, AmbiguousImplementation, load errors.
pub fn resolve_constrained(constrained: TypeHandle, decl: &'static MethodDesc) -> Result<ConstrainedResult> {
    let Some(mt) = constrained.as_method_table() else {
        return Err(LoadError::InvalidProgram {
            reason: format!("constrained type {constrained} has no methods"),
        });
    };
    if decl.is_static() {
        let method = dispatch::resolve_static_virtual(mt, decl)?;
        return Ok(ConstrainedResult {
            method,
            needs_box: false,
            dereference: false,
        });
    }
    if !mt.is_value_type() {
        return Ok(ConstrainedResult {
            method: decl,
            needs_box: false,
            dereference: true,
        });
    }
    if !decl.is_virtual() {
        // A non-virtual method of Object or of an interface: box; a method of the type itself: direct.
        return Ok(ConstrainedResult {
            method: decl,
            needs_box: decl.owner() != mt,
            dereference: false,
        });
    }
    let method = dispatch::resolve_virtual(mt, decl)?;
    Ok(ConstrainedResult {
        method,
        needs_box: method.owner() != mt,
        dereference: false,
    })
}
