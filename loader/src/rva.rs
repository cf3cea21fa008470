//! Fields with initial data in the image.

use corten_metadata::{pe::Section, sig::TypeSig};

use crate::{error::Result, module::Module, resolve::primitive_of};

/// IMAGE_SCN_MEM_WRITE.
const WRITABLE: u32 = 0x8000_0000;
/// Larger writable sections are not copied but used field by field.
const MAX_SECTION_COPY: u32 = 64 << 20;

/// Address of an RVA field's data. Data in a writable section is moved to writable memory with the whole section, so
/// that neighbours stay neighbours; data elsewhere is used in place when it is aligned, otherwise copied.
pub(crate) fn field_data(module: &'static Module, rid: u32, sig: &TypeSig) -> Result<usize> {
    let md = module.metadata();
    let bad = || module.bad_image("a field's RVA is outside the image");
    let rva = md.field_rva_of(rid).ok_or_else(bad)?;
    let size = data_size(module, sig);
    let section =
        md.pe().sections().iter().find(|s| {
            (s.virtual_address..s.virtual_address.saturating_add(s.virtual_size.max(s.raw_size))).contains(&rva)
        });
    if let Some(s) = section
        && s.characteristics & WRITABLE != 0
        && s.virtual_size.max(s.raw_size) <= MAX_SECTION_COPY
    {
        return Ok(section_copy(module, s) + (rva - s.virtual_address) as usize);
    }
    let data = md.pe().rva_slice(rva).ok_or_else(bad)?;
    if (data.as_ptr() as usize).is_multiple_of(8) && data.len() >= size {
        return Ok(data.as_ptr() as usize);
    }
    let size = if size == 0 { data.len().min(4096) } else { size };
    Ok(copy(module, u64::from(rid), data, size))
}

fn section_copy(module: &'static Module, s: &Section) -> usize {
    let data = module.metadata().pe().rva_slice(s.virtual_address).unwrap_or(&[]);
    // The tail of the file's section beyond its size in memory is not part of it.
    let data = &data[..data.len().min(s.virtual_size as usize)];
    let size = s.virtual_size.max(s.raw_size) as usize;
    copy(module, 1 << 32 | u64::from(s.virtual_address), data, size)
}

/// A writable copy of `data`, zero-extended to `size` bytes, made once per `key`.
fn copy(module: &'static Module, key: u64, data: &[u8], size: usize) -> usize {
    let mut copies = module
        .rva_copies
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    *copies.entry(key).or_insert_with(|| {
        let at = crate::arena::alloc_zeroed(size.max(8), 16);
        // SAFETY: `at` has `size` bytes; at most that many are copied from the slice.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), at as *mut u8, size.min(data.len())) };
        at
    })
}

/// Size of the field's data in bytes, from metadata alone; 0 when only its type knows.
fn data_size(module: &'static Module, sig: &TypeSig) -> usize {
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
