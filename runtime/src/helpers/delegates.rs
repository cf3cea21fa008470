//! Delegate construction.

use crate::error::{ExceptionKind, Raise, icall_body};
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::MethodDesc;

/// (delegate, target, code, method or null): the body of `newobj` on a delegate type after allocation. `code` is what the
/// delegate calls; `method` tells its shape, or is null if the compiler did not see the `ldftn`.
///
/// # Safety
/// `method` is null or a MethodDesc.
pub unsafe extern "C" fn init_delegate(delegate: ObjPtr, target: ObjPtr, code: usize, method: *const MethodDesc) {
    icall_body(|thread| {
        if code == 0 {
            return Err(Raise::new(ExceptionKind::ArgumentNull, "method"));
        }
        let scope = HandleScope::new(&thread.header);
        let delegate = scope.root(delegate);
        let target = scope.root(target);
        // SAFETY: the caller's promise; MethodDescs are leaked.
        let method = unsafe { method.as_ref() };
        crate::stubs::delegate::init(thread, delegate, target, code, method)
    });
}
