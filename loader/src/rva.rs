//! Fields with initial data in the image.

use corten_metadata::sig::TypeSig;

use crate::{error::Result, method_table::MethodTable, module::Module, resolve::primitive_of, type_handle::TypeHandle};

/// Address of an RVA field's data: inside the image when it is aligned there, otherwise an aligned copy.
pub(crate) fn field_data(
    module: &'static Module,
    rid: u32,
    sig: &TypeSig,
    owner: &'static MethodTable,
) -> Result<usize> {
    let md = module.metadata();
    let bad = || module.bad_image("a field's RVA is outside the image");
    let rva = md.field_rva_of(rid).ok_or_else(bad)?;
    let size = data_size(module, sig, owner);
    let data = md.pe().rva_slice(rva).ok_or_else(bad)?;
    if (data.as_ptr() as usize).is_multiple_of(8) && data.len() >= size {
        return Ok(data.as_ptr() as usize);
    }
    let mut copies = module
        .rva_copies
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(a) = copies.get(&rid) {
        return Ok(*a);
    }
    let size = if size == 0 { data.len().min(4096) } else { size };
    let at = crate::arena::alloc_zeroed(size.max(8), 16);
    // SAFETY: `at` has `size` bytes; at most that many are copied from the slice.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), at as *mut u8, size.min(data.len())) };
    copies.insert(rid, at);
    Ok(at)
}

/// Size of the field's data in bytes, from metadata alone where possible.
fn data_size(module: &'static Module, sig: &TypeSig, _owner: &'static MethodTable) -> usize {
    if let Some(s) = primitive_of(sig).and_then(|e| e.primitive_size()) {
        return s as usize;
    }
    match sig.strip_modifiers() {
        TypeSig::ValueType(t) => {
            let Ok(def) = module.resolve_type_def(*t) else { return 0 };
            let declared = def
                .module()
                .metadata()
                .class_layout_of(def.rid())
                .map_or(0, |l| l.class_size as usize);
            declared.max(def.element_type().primitive_size().unwrap_or(0) as usize)
        }
        _ => 0,
    }
}

/// Number of bytes of an RVA field (the size of its type).
///
/// # Errors
/// When the field's type cannot be loaded.
pub fn field_size(ty: TypeHandle) -> u32 {
    ty.size_in_field()
}
