//! Values of static read-only fields, which are constants once the class is initialised: reflection refuses to set them then.

use crate::jit_host::type_id;
use crate::thread::Thread;
use corten_gc_hooks::object::ObjPtr;
use corten_jit::host_api::StaticValue;
use corten_loader::{FieldDesc, FieldKind, MethodTable};

/// See [`corten_jit::host_api::CompilerHost::static_value`].
///
/// Fields of classes without initialiser are left alone: the engine sets some of them (`String.Empty`).
pub(super) fn value(field: &'static FieldDesc) -> Option<StaticValue> {
    let class = field.owner().class();
    let constant = field.is_init_only()
        && field.kind() == FieldKind::Static
        && class.has_cctor()
        && class.is_initialized()
        && class.collectible().is_none();
    if !constant {
        return None;
    }
    let ty = field.field_type().ok()?;
    let address = corten_loader::statics::static_field_address(field).ok()?;
    if ty.is_value_type() {
        let mt = ty.as_method_table().filter(|_| !ty.contains_gc_pointers())?;
        // The compiler uses numbers only; what does not fit is not one.
        let mut bytes = [0u8; 8];
        let size = usize::try_from(mt.value_size()).ok().filter(|&n| n <= bytes.len())?;
        // SAFETY: the address of a static of that size; nothing writes it any more.
        unsafe { std::ptr::copy_nonoverlapping(address, bytes.as_mut_ptr(), size) };
        return Some(StaticValue::Bits(u64::from_le_bytes(bytes)));
    }
    if Thread::current_ptr().is_null() {
        return None;
    }
    let _cooperative = crate::transitions::enter_cooperative(Thread::current());
    // SAFETY: the slot of a static reference; in cooperative mode the object stays where it is until the next safepoint.
    let class: &'static MethodTable = unsafe {
        let object = *address.cast::<ObjPtr>();
        if object.is_null() {
            return None;
        }
        &*(*object).mt.cast()
    };
    class
        .class()
        .collectible()
        .is_none()
        .then(|| StaticValue::Object(type_id(class.handle())))
}
