//! The wrappers that QCalls receive by value (contract/layouts.md, "Handles and on-stack wrappers").

use crate::error::VmResult;
use crate::icalls::reflection::support::{raw_assembly, raw_module, raw_type};
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{Assembly, MethodTable, Module, TypeHandle};

/// `ObjectHandleOnStack` and `StringHandleOnStack`: the address of a managed local.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct ObjectHandle(*mut ObjPtr);

impl ObjectHandle {
    /// The object (good until the next safepoint).
    pub fn get(self) -> ObjPtr {
        if self.0.is_null() {
            return std::ptr::null_mut();
        }
        // SAFETY: managed code passes the address of a local of the calling frame.
        unsafe { self.0.read() }
    }
    /// Replaces it.
    pub fn set(self, value: ObjPtr) {
        if !self.0.is_null() {
            // SAFETY: as above; a stack slot needs no barrier.
            unsafe { self.0.write(value) }
        }
    }
}

/// `QCallTypeHandle`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct QCallType {
    /// Address of the managed local that keeps the RuntimeType.
    pub slot: *mut ObjPtr,
    /// Raw TypeHandle.
    pub handle: usize,
}

impl QCallType {
    /// The type.
    ///
    /// # Errors
    /// ArgumentNullException for a null handle.
    pub fn ty(self) -> VmResult<TypeHandle> {
        raw_type(self.handle)
    }
    /// The type, which must have a MethodTable.
    ///
    /// # Errors
    /// ArgumentException for pointers and the like.
    pub fn table(self) -> VmResult<&'static MethodTable> {
        crate::icalls::reflection::support::table_of(self.ty()?)
    }
}

/// `QCallModule`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct QCallModule {
    /// Address of the managed local that keeps the RuntimeModule.
    pub slot: *mut ObjPtr,
    /// Module address.
    pub handle: usize,
}

impl QCallModule {
    /// The module.
    ///
    /// # Errors
    /// ArgumentNullException for a null handle.
    pub fn module(self) -> VmResult<&'static Module> {
        raw_module(self.handle)
    }
}

/// `QCallAssembly`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct QCallAssembly {
    /// Address of the managed local that keeps the RuntimeAssembly.
    pub slot: *mut ObjPtr,
    /// Assembly address.
    pub handle: usize,
}

impl QCallAssembly {
    /// The assembly.
    ///
    /// # Errors
    /// ArgumentNullException for a null handle.
    pub fn assembly(self) -> VmResult<&'static Assembly> {
        raw_assembly(self.handle)
    }
}

/// Writes through a pointer to a native local of the managed caller.
pub fn put<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: managed code passes the address of a local.
        unsafe { to.write(value) }
    }
}
