//! Accessibility of the members that a method's code names.

use crate::error::{ExceptionKind, Raise};
use crate::icalls::reflection::dynamic_method;
use corten_loader::{FieldDesc, MethodDesc, access};
use corten_metadata::TypeAttributes;

/// Code that the engine writes itself, and what dynamic methods got from their creator, is not checked here.
fn is_checked(from: &'static MethodDesc) -> bool {
    !from.module().is_core_library() && !dynamic_method::is_dynamic(from)
}

pub(super) fn may_call(from: &'static MethodDesc, target: &'static MethodDesc) -> bool {
    // Constructing an abstract class is another error.
    let of_abstract = || target.is_ctor() && target.owner().class().attributes().contains(TypeAttributes::ABSTRACT);
    !is_checked(from) || access::can_call(from, target) || of_abstract()
}

pub(super) fn may_use_field(from: &'static MethodDesc, field: &'static FieldDesc) -> bool {
    !is_checked(from) || access::can_use_field(from, field)
}

pub(super) fn denied_call(from: &'static MethodDesc, target: &'static MethodDesc) -> Raise {
    Raise::new(
        ExceptionKind::MethodAccess,
        format!(
            "Attempt by method '{}' to access method '{}' failed.",
            from.display_name(),
            target.display_name()
        ),
    )
}

pub(super) fn denied_field(from: &'static MethodDesc, field: &'static FieldDesc) -> Raise {
    Raise::new(
        ExceptionKind::FieldAccess,
        format!(
            "Attempt by method '{}' to access field '{}.{}' failed.",
            from.display_name(),
            field.owner().handle().display_name(),
            field.name()
        ),
    )
}
