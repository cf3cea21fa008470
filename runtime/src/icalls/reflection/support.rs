//! What the reflection calls share: reading their arguments, allocating results, well-known types.

use crate::error::{ExceptionKind, Raise, VmResult};
use crate::thread::Thread;
use corten_gc_hooks::heap::{AllocFlags, Heap};
use corten_gc_hooks::object::{ObjPtr, array_data};
use corten_gc_hooks::{HandleScope, barrier};
use corten_loader::{Assembly, FieldDesc, MethodDesc, MethodTable, Module, TypeHandle};

/// Offset of the handle in every `IRuntimeMethodInfo` (RuntimeMethodInfo, RuntimeConstructorInfo, RuntimeMethodInfoStub).
pub const METHOD_INFO_HANDLE: usize = 80;
/// Offset of the handle in every `IRuntimeFieldInfo` (RtFieldInfo, RuntimeFieldInfoStub).
pub const FIELD_INFO_HANDLE: usize = 56;
/// Offset of `RuntimeModule.m_pData`.
pub const MODULE_DATA: usize = 24;
/// Offset of `RuntimeAssembly.m_assembly`.
pub const ASSEMBLY_DATA: usize = 32;
/// Bytes between an object's address and its first field.
pub const OBJECT_DATA: usize = 8;

/// HRESULT of success.
pub const S_OK: i32 = 0;
/// `CLDB_E_RECORD_NOTFOUND`.
pub const RECORD_NOT_FOUND: i32 = 0x8013_1130_u32 as i32;
/// `COR_E_BADIMAGEFORMAT`.
pub const BAD_IMAGE: i32 = 0x8007_000B_u32 as i32;

/// ArgumentNullException-like failure for a null reference that managed code should have checked.
pub fn null_argument() -> Raise {
    Raise::of(ExceptionKind::ArgumentNull)
}

/// Reads a word-sized field.
///
/// # Safety
/// `obj` is a live object with a `T` at `offset`.
pub unsafe fn read<T: Copy>(obj: ObjPtr, offset: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { obj.cast::<u8>().add(offset).cast::<T>().read() }
}

/// Writes a field that is not a reference.
///
/// # Safety
/// `obj` is a live object with a `T` at `offset`.
pub unsafe fn write<T: Copy>(obj: ObjPtr, offset: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { obj.cast::<u8>().add(offset).cast::<T>().write(value) }
}

/// Writes a reference field.
///
/// # Safety
/// `obj` is a live object with a reference at `offset`.
pub unsafe fn write_ref(obj: ObjPtr, offset: usize, value: ObjPtr) {
    // SAFETY: the caller's promise.
    unsafe { barrier::store_ref(obj.cast::<u8>().add(offset).cast::<ObjPtr>(), value) }
}

/// Exact type of a live object.
pub fn method_table_of(obj: ObjPtr) -> &'static MethodTable {
    // SAFETY: word 0 of an object is a MethodTable of the loader, never freed.
    unsafe { MethodTable::from_ptr((*obj).mt.cast()) }
}

/// Payload of a boxed value (first field of an object).
pub fn object_data(obj: ObjPtr) -> *mut u8 {
    obj.cast::<u8>().wrapping_add(OBJECT_DATA)
}

/// Type behind a RuntimeType argument.
pub fn type_arg(runtime_type: ObjPtr) -> VmResult<TypeHandle> {
    if runtime_type.is_null() {
        return Err(null_argument());
    }
    // SAFETY: RuntimeType objects hold the raw handle at that offset.
    raw_type(unsafe { read::<usize>(runtime_type, crate::type_objects::RUNTIME_TYPE_HANDLE) })
}

/// Type behind a raw handle that came from managed code.
pub fn raw_type(raw: usize) -> VmResult<TypeHandle> {
    // SAFETY: managed code only stores values that the loader handed out, or zero.
    unsafe { TypeHandle::from_raw(raw) }.ok_or_else(null_argument)
}

/// Whether two types are different instantiations of one definition.
pub fn is_other_instantiation(a: &'static MethodTable, b: &'static MethodTable) -> bool {
    a != b
        && a.class()
            .definition()
            .is_some_and(|x| b.class().definition().is_some_and(|y| std::ptr::eq(x, y)))
}

/// The MethodTable of a type that must have one.
pub fn table_of(t: TypeHandle) -> VmResult<&'static MethodTable> {
    t.as_method_table().ok_or_else(|| {
        Raise::new(
            ExceptionKind::Argument,
            format!("{} is not a class, struct or array.", t.display_name()),
        )
    })
}

/// Method behind a `RuntimeMethodHandleInternal`.
pub fn method_arg(handle: usize) -> VmResult<&'static MethodDesc> {
    if handle == 0 {
        return Err(null_argument());
    }
    // SAFETY: as for `raw_type`.
    Ok(unsafe { MethodDesc::from_ptr(handle) })
}

/// Method behind an `IRuntimeMethodInfo`.
pub fn method_info_arg(info: ObjPtr) -> VmResult<&'static MethodDesc> {
    if info.is_null() {
        return Err(null_argument());
    }
    // SAFETY: all implementations keep the handle at the same offset.
    method_arg(unsafe { read::<usize>(info, METHOD_INFO_HANDLE) })
}

/// Field behind a `RuntimeFieldHandleInternal`.
pub fn field_arg(handle: usize) -> VmResult<&'static FieldDesc> {
    // SAFETY: managed code only stores addresses of leaked FieldDescs, or zero.
    unsafe { (handle as *const FieldDesc).as_ref() }.ok_or_else(null_argument)
}

/// Field behind an `IRuntimeFieldInfo`.
pub fn field_info_arg(info: ObjPtr) -> VmResult<&'static FieldDesc> {
    if info.is_null() {
        return Err(null_argument());
    }
    // SAFETY: both implementations keep the handle at that offset.
    field_arg(unsafe { read::<usize>(info, FIELD_INFO_HANDLE) })
}

/// Module behind a raw scope handle.
pub fn raw_module(handle: usize) -> VmResult<&'static Module> {
    // SAFETY: managed code only stores addresses of leaked Modules, or zero.
    unsafe { (handle as *const Module).as_ref() }.ok_or_else(null_argument)
}

/// Module behind a RuntimeModule.
pub fn module_arg(module: ObjPtr) -> VmResult<&'static Module> {
    if module.is_null() {
        return Err(null_argument());
    }
    // SAFETY: RuntimeModule keeps the pointer at that offset.
    raw_module(unsafe { read::<usize>(module, MODULE_DATA) })
}

/// Assembly of a module.
pub fn assembly_of(module: &'static Module) -> VmResult<&'static Assembly> {
    module
        .assembly()
        .ok_or_else(|| Raise::new(ExceptionKind::BadImageFormat, "a module without assembly"))
}

/// Assembly behind a raw handle.
pub fn raw_assembly(handle: usize) -> VmResult<&'static Assembly> {
    // SAFETY: managed code only stores addresses of leaked Assemblies, or zero.
    unsafe { (handle as *const Assembly).as_ref() }.ok_or_else(null_argument)
}

/// Assembly behind a RuntimeAssembly.
pub fn assembly_arg(assembly: ObjPtr) -> VmResult<&'static Assembly> {
    if assembly.is_null() {
        return Err(null_argument());
    }
    // SAFETY: RuntimeAssembly keeps the pointer at that offset.
    raw_assembly(unsafe { read::<usize>(assembly, ASSEMBLY_DATA) })
}

/// Types behind an array of raw handles.
///
/// # Safety
/// `handles` points to `count` words, or `count` is 0.
pub unsafe fn raw_types(handles: *const usize, count: i32) -> VmResult<Vec<TypeHandle>> {
    if handles.is_null() || count <= 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(handles, count as usize) }
        .iter()
        .map(|h| raw_type(*h))
        .collect()
}

/// A CoreLib type by name.
pub fn corelib(namespace: &str, name: &str) -> VmResult<TypeHandle> {
    Ok(corten_loader::corelib_type(namespace, name)?.handle())
}

/// `System.Object`.
pub fn object_type() -> VmResult<TypeHandle> {
    corelib("System", "Object")
}

/// `System.String`.
pub fn string_type() -> VmResult<TypeHandle> {
    corelib("System", "String")
}

/// The frozen RuntimeType of `t`, or null.
pub fn type_or_null(t: Option<TypeHandle>) -> ObjPtr {
    t.map_or(std::ptr::null_mut(), crate::type_objects::type_object)
}

/// `element[]`.
pub fn sz_array_of(element: TypeHandle) -> VmResult<&'static MethodTable> {
    table_of(corten_loader::make_array(element, 1, true)?)
}

/// A zeroed object. May collect.
pub fn alloc_object(thread: &Thread, mt: &'static MethodTable) -> VmResult<ObjPtr> {
    Ok(Heap::get().alloc_object(&thread.header, mt.as_gc_ptr())?)
}

/// A zeroed array of an array type. May collect.
pub fn alloc_array(thread: &Thread, array: &'static MethodTable, length: usize) -> VmResult<ObjPtr> {
    Ok(Heap::get().alloc_array(&thread.header, array.as_gc_ptr(), length, AllocFlags::empty())?)
}

/// A zeroed `element[]`. May collect.
pub fn alloc_sz_array(thread: &Thread, element: TypeHandle, length: usize) -> VmResult<ObjPtr> {
    let array = sz_array_of(element)?;
    alloc_array(thread, array, length)
}

/// Stores a reference array element.
///
/// # Safety
/// `array` is a live array of references longer than `index`.
pub unsafe fn set_element(array: ObjPtr, index: usize, value: ObjPtr) {
    // SAFETY: the caller's promise.
    unsafe { barrier::store_ref(array_data(array).cast::<ObjPtr>().add(index), value) }
}

/// An array with these references, which must not move (frozen objects). May collect.
pub fn frozen_array(thread: &Thread, element: TypeHandle, items: &[ObjPtr]) -> VmResult<ObjPtr> {
    let array = alloc_sz_array(thread, element, items.len())?;
    for (i, item) in items.iter().enumerate() {
        // SAFETY: the array was made with that length.
        unsafe { set_element(array, i, *item) };
    }
    Ok(array)
}

/// `Type[]` or `RuntimeType[]` of these types. May collect.
pub fn type_array(thread: &Thread, types: &[TypeHandle], as_runtime_type: bool) -> VmResult<ObjPtr> {
    let element = corelib("System", if as_runtime_type { "RuntimeType" } else { "Type" })?;
    let objects: Vec<ObjPtr> = types.iter().map(|t| crate::type_objects::type_object(*t)).collect();
    frozen_array(thread, element, &objects)
}

/// `byte[]` with a copy of `bytes`. May collect.
pub fn byte_array(thread: &Thread, bytes: &[u8]) -> VmResult<ObjPtr> {
    let array = alloc_sz_array(thread, corelib("System", "Byte")?, bytes.len())?;
    // SAFETY: a fresh byte array of that length.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), array_data(array), bytes.len()) };
    Ok(array)
}

/// `string[]`. May collect.
pub fn string_array(thread: &Thread, items: &[&str]) -> VmResult<ObjPtr> {
    let scope = HandleScope::new(&thread.header);
    let array = scope.root(alloc_sz_array(thread, string_type()?, items.len())?);
    for (i, item) in items.iter().enumerate() {
        let s = crate::strings::new_string(thread, item)?;
        // SAFETY: the array was made with that length.
        unsafe { set_element(array.get(), i, s) };
    }
    Ok(array.get())
}

/// A NUL-terminated UTF-8 string.
///
/// # Safety
/// `text` is null or NUL-terminated.
pub unsafe fn utf8(text: *const u8) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { std::ffi::CStr::from_ptr(text.cast()) }
        .to_string_lossy()
        .into_owned()
}

/// A NUL-terminated UTF-16 string.
///
/// # Safety
/// `text` is null or NUL-terminated.
pub unsafe fn utf16(text: *const u16) -> String {
    if text.is_null() {
        return String::new();
    }
    let mut n = 0;
    // SAFETY: the caller's promise.
    let units = unsafe {
        while *text.add(n) != 0 {
            n += 1;
        }
        std::slice::from_raw_parts(text, n)
    };
    String::from_utf16_lossy(units)
}

/// Copies a value into an object, static or other place that may need the write barrier.
///
/// # Safety
/// `to` and `from` hold a value of value type `mt`.
pub unsafe fn copy_value(to: *mut u8, from: *const u8, mt: &MethodTable) {
    let size = mt.value_size() as usize;
    // SAFETY: the caller's promise; types with references have a size and alignment of 8.
    unsafe {
        if mt.contains_gc_pointers() {
            barrier::bulk_move_with_barrier(to, from, size);
        } else {
            std::ptr::copy(from, to, size);
        }
    }
}

/// Makes sure that the instance layout of a type is known.
pub fn ensure_layout(mt: &'static MethodTable) -> VmResult<()> {
    Ok(corten_loader::type_loader::ensure(
        mt,
        corten_loader::LoadLevel::Layout,
    )?)
}

/// Runs the static constructor of a type if it has not run.
pub fn ensure_initialized(mt: &'static MethodTable) -> VmResult<()> {
    crate::class_init::ensure(mt)
}

/// Address of a zero-terminated name in the metadata string heap.
pub fn name_pointer(name: &'static str) -> *const u8 {
    name.as_ptr()
}

/// Resolves a parsed type signature of `module` with these generic arguments.
pub fn resolve_sig(
    module: &'static Module,
    signature: &corten_metadata::TypeSig,
    class_inst: &[TypeHandle],
    method_inst: &[TypeHandle],
) -> VmResult<TypeHandle> {
    let context = corten_loader::GenericContext {
        class_inst,
        method_inst,
    };
    Ok(module.resolve_type_sig(signature, context)?)
}
