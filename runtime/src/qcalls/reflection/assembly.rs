//! QCalls of `System.Reflection.RuntimeAssembly`, `Assembly` and `AssemblyName`.

use super::handles::{ObjectHandle, QCallAssembly, put};
use super::load_context::{binder, context_id, resolve_resource};
use crate::error::{ExceptionKind, Raise, VmResult, qcall_body};
use crate::exceptions::trace;
use crate::icalls::reflection::invoke;
use crate::icalls::reflection::support::{
    alloc_sz_array, assembly_arg, byte_array, corelib, frozen_array, set_element, string_array, table_of, utf8, utf16,
};
use crate::icalls::reflection::type_names::{self, split_namespace};
use crate::qcall_table;
use crate::reflection_objects::{assembly_object, module_object};
use crate::thread::Thread;
use crate::type_objects::{method_stub_object, type_object};
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{Assembly, AssemblyName, LoadError, TypeHandle};
use corten_metadata::{TableId, Token};

/// `System.Reflection.NativeAssemblyNameParts`.
#[repr(C)]
#[derive(Debug)]
pub struct NativeNameParts {
    name: *const u16,
    version: [u16; 4],
    culture: *const u16,
    key: *const u8,
    key_length: i32,
    flags: i32,
}

/// Version component that is not given.
const NO_VERSION: u16 = 0xffff;
/// `AssemblyNameFlags.PublicKey`: the key is the full one.
const FLAG_PUBLIC_KEY: i32 = 1;

/// Owner of the memory behind a [`NativeNameParts`].
#[derive(Debug)]
pub struct NameParts {
    name: Vec<u16>,
    version: [u16; 4],
    culture: Vec<u16>,
    key: Vec<u8>,
    flags: i32,
}

fn terminated(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

impl NameParts {
    /// From a loader name.
    pub fn of(name: &AssemblyName) -> NameParts {
        let version = name.version.map_or([NO_VERSION; 4], |(a, b, c, d)| [a, b, c, d]);
        NameParts {
            name: terminated(&name.name),
            version,
            culture: terminated(&name.culture),
            key: name.public_key_token.map(|t| t.to_vec()).unwrap_or_default(),
            flags: 0,
        }
    }

    fn native(&self) -> NativeNameParts {
        NativeNameParts {
            name: self.name.as_ptr(),
            version: self.version,
            culture: self.culture.as_ptr(),
            key: self.key.as_ptr(),
            key_length: self.key.len() as i32,
            flags: self.flags,
        }
    }
}

impl NativeNameParts {
    /// The loader's form.
    ///
    /// # Safety
    /// The pointers are valid as managed code passes them.
    pub unsafe fn to_name(&self) -> AssemblyName {
        // SAFETY: the caller's promise.
        let (name, culture, key) = unsafe {
            let key: &[u8] = if self.key.is_null() || self.key_length <= 0 {
                &[]
            } else {
                std::slice::from_raw_parts(self.key, self.key_length as usize)
            };
            (utf16(self.name), utf16(self.culture), key)
        };
        let [a, b, c, d] = self.version;
        let or_zero = |v: u16| if v == NO_VERSION { 0 } else { v };
        let token = if key.len() == 8 && self.flags & FLAG_PUBLIC_KEY == 0 {
            key.try_into().ok()
        } else if key.len() > 8 {
            Some(corten_loader::binder::public_key_token(key))
        } else {
            None
        };
        AssemblyName {
            name,
            version: (a != NO_VERSION).then(|| (a, or_zero(b), or_zero(c), or_zero(d))),
            culture: if culture.eq_ignore_ascii_case("neutral") {
                String::new()
            } else {
                culture
            },
            public_key_token: token,
        }
    }
}

/// A `System.Reflection.AssemblyName` object. May collect.
///
/// # Errors
/// Out of memory, or what the constructor throws.
pub fn name_object(thread: &Thread, parts: &NameParts) -> VmResult<ObjPtr> {
    let mt = table_of(corelib("System.Reflection", "AssemblyName")?)?;
    let ctor = mt
        .methods()
        .named(".ctor")
        .filter(|m| m.is_ctor() && m.param_count() == 1)
        .find(|m| m.signature().is_ok_and(|s| s.params[0].is_pointer()))
        .ok_or_else(|| {
            Raise::new(
                ExceptionKind::MissingMethod,
                "AssemblyName..ctor(NativeAssemblyNameParts*)",
            )
        })?;
    let native = parts.native();
    let mut argument = &raw const native;
    let address = (&raw mut argument).cast::<u8>();
    invoke::construct(thread, ctor, &|_| address)
}

fn set_string(result: ObjectHandle, text: &str) -> VmResult<()> {
    let thread = Thread::current();
    result.set(crate::strings::new_string(thread, text)?);
    Ok(())
}

extern "C" fn internal_load(
    parts: *const NativeNameParts,
    requesting: ObjectHandle,
    stack_mark: *const i32,
    throw_on_file_not_found: i32,
    context: ObjectHandle,
    result: ObjectHandle,
) {
    qcall_body(|thread| {
        // SAFETY: managed code passes a valid structure.
        let name = unsafe { (*parts).to_name() };
        if name.name.is_empty() {
            return Err(Raise::new(ExceptionKind::Argument, "String cannot have zero length."));
        }
        let requester = if !requesting.get().is_null() {
            Some(assembly_arg(requesting.get())?)
        } else {
            trace::find_caller(thread, stack_mark).and_then(|m| m.module().assembly())
        };
        let id = if !context.get().is_null() {
            context_id(context.get())?
        } else {
            requester.map_or(0, |a| a.context())
        };
        let loaded = {
            let _preemptive = crate::transitions::enter_preemptive(thread);
            binder()?.load_by_name(&name, id, requester)
        };
        match loaded {
            Ok(assembly) => result.set(assembly_object(assembly)?),
            Err(LoadError::FileNotFound { .. }) if throw_on_file_not_found == 0 => result.set(std::ptr::null_mut()),
            // A load by name that finds only a lower version finds nothing.
            Err(LoadError::FileLoad { name, .. }) if is_lower_version(&name, id) => {
                if throw_on_file_not_found != 0 {
                    return Err(LoadError::FileNotFound {
                        name,
                        probed: Vec::new(),
                    }
                    .into());
                }
                result.set(std::ptr::null_mut());
            }
            Err(e) => return Err(e.into()),
        }
        Ok(())
    });
}

/// Whether an assembly of that name is loaded in a version lower than the one asked for.
fn is_lower_version(display_name: &str, context: u64) -> bool {
    let wanted = AssemblyName::parse(display_name);
    let loaded = binder().ok().and_then(|b| {
        b.find_loaded(context, &wanted.name)
            .or_else(|| b.find_loaded(0, &wanted.name))
    });
    loaded.is_some_and(|a| wanted.version.is_some_and(|v| a.version() < v))
}

extern "C" fn get_executing_assembly(stack_mark: *const i32, result: ObjectHandle) {
    qcall_body(|thread| {
        if let Some(assembly) = trace::find_caller(thread, stack_mark).and_then(|m| m.module().assembly()) {
            result.set(assembly_object(assembly)?);
        }
        Ok(())
    });
}

extern "C" fn get_entry_assembly(result: ObjectHandle) {
    qcall_body(|_| {
        if let Some(assembly) = crate::startup::entry_assembly() {
            result.set(assembly_object(assembly)?);
        }
        Ok(())
    });
}

/// All assemblies but those that were unloaded.
fn loaded() -> VmResult<Vec<&'static Assembly>> {
    let dead = |a: &&'static Assembly| {
        corten_loader::collectible::of_context(a.context()).is_some_and(|group| group.is_dead())
    };
    Ok(binder()?.assemblies().into_iter().filter(|a| !dead(a)).collect())
}

extern "C" fn get_assembly_count() -> u32 {
    loaded().map_or(0, |list| list.len() as u32)
}

extern "C" fn get_loaded_assemblies(result: ObjectHandle) {
    qcall_body(|thread| {
        let objects: Vec<ObjPtr> = loaded()?.into_iter().map(assembly_object).collect::<VmResult<_>>()?;
        result.set(frozen_array(
            thread,
            corelib("System.Reflection", "Assembly")?,
            &objects,
        )?);
        Ok(())
    });
}

fn find_type(assembly: &'static Assembly, parts: &[String]) -> VmResult<Option<TypeHandle>> {
    type_names::find_in_assembly(assembly, parts)
}

extern "C" fn get_type_core(
    assembly: QCallAssembly,
    name: *const u8,
    nested: *const *const u8,
    nested_count: i32,
    result: ObjectHandle,
) {
    qcall_body(|_| {
        // SAFETY: managed code passes NUL-terminated UTF-8 names.
        let parts: Vec<String> = unsafe {
            let nested = (0..nested_count.max(0) as usize).map(|i| utf8(nested.add(i).read()));
            std::iter::once(utf8(name)).chain(nested).collect()
        };
        if let Some(t) = find_type(assembly.assembly()?, &parts)? {
            result.set(type_object(t));
        }
        Ok(())
    });
}

/// Exact spelling of a type name that is given in any case.
fn spelled(assembly: &'static Assembly, parts: &[String]) -> VmResult<Option<Vec<String>>> {
    let metadata = assembly.module().metadata();
    let bad = |e| assembly.module().bad_image(e);
    let Some((outer, nested)) = parts.split_first() else {
        return Ok(None);
    };
    let (namespace, name) = split_namespace(outer);
    let matches =
        |ns: &str, n: &str| ns.to_lowercase() == namespace.to_lowercase() && n.to_lowercase() == name.to_lowercase();
    let mut found = None;
    for rid in 1..=metadata.row_count(TableId::TypeDef) {
        let row = metadata.type_def(rid).map_err(bad)?;
        if metadata.enclosing_type(rid).is_none() && matches(row.namespace, row.name) {
            found = Some((rid, row.namespace, row.name));
            break;
        }
    }
    let Some((mut rid, namespace, name)) = found else {
        for rid in 1..=metadata.row_count(TableId::ExportedType) {
            let row = metadata.exported_type(rid).map_err(bad)?;
            if nested.is_empty() && matches(row.namespace, row.name) {
                return Ok(Some(vec![join(row.namespace, row.name)]));
            }
        }
        return Ok(None);
    };
    let mut result = vec![join(namespace, name)];
    for part in nested {
        let mut next = None;
        for candidate in metadata.nested_types(rid) {
            let row = metadata.type_def(candidate).map_err(bad)?;
            if row.name.to_lowercase() == part.to_lowercase() {
                next = Some((candidate, row.name));
                break;
            }
        }
        let Some((candidate, name)) = next else {
            return Ok(None);
        };
        rid = candidate;
        result.push(name.to_owned());
    }
    Ok(Some(result))
}

fn join(namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

extern "C" fn get_type_core_ignore_case(
    assembly: QCallAssembly,
    name: *const u16,
    nested: *const *const u16,
    nested_count: i32,
    result: ObjectHandle,
) {
    qcall_body(|_| {
        // SAFETY: managed code passes NUL-terminated UTF-16 names.
        let parts: Vec<String> = unsafe {
            let nested = (0..nested_count.max(0) as usize).map(|i| utf16(nested.add(i).read()));
            std::iter::once(utf16(name)).chain(nested).collect()
        };
        let assembly = assembly.assembly()?;
        if let Some(exact) = spelled(assembly, &parts)?
            && let Some(t) = find_type(assembly, &exact)?
        {
            result.set(type_object(t));
        }
        Ok(())
    });
}

extern "C" fn get_forwarded_type(assembly: QCallAssembly, token: u32, result: ObjectHandle) {
    qcall_body(|_| {
        let assembly = assembly.assembly()?;
        let token = Token(token);
        let metadata = assembly.module().metadata();
        let row = metadata
            .exported_type(token.rid())
            .map_err(|e| assembly.module().bad_image(e))?;
        if !row.implementation.is(TableId::AssemblyRef) {
            return Ok(());
        }
        if let Some(t) = find_type(assembly, &[join(row.namespace, row.name)])? {
            result.set(type_object(t));
        }
        Ok(())
    });
}

extern "C" fn get_exported_types(assembly: QCallAssembly, result: ObjectHandle) {
    qcall_body(|thread| {
        let assembly = assembly.assembly()?;
        let module = assembly.module();
        let metadata = module.metadata();
        let mut types = Vec::new();
        for rid in 2..=metadata.row_count(TableId::TypeDef) {
            let t = module.typical_type(rid)?.handle();
            let mut definition = t.as_method_table().and_then(|mt| mt.class().definition());
            let mut visible = true;
            while let Some(d) = definition {
                let access = d.attributes() & corten_metadata::TypeAttributes::VISIBILITY_MASK;
                let nested = d.enclosing().is_some();
                visible &= access
                    == if nested {
                        corten_metadata::TypeAttributes::NESTED_PUBLIC
                    } else {
                        corten_metadata::TypeAttributes::PUBLIC
                    };
                definition = d.enclosing();
            }
            if visible {
                types.push(t);
            }
        }
        let objects: Vec<ObjPtr> = types.into_iter().map(type_object).collect();
        result.set(frozen_array(thread, corelib("System", "Type")?, &objects)?);
        Ok(())
    });
}

extern "C" fn get_full_name(assembly: QCallAssembly, result: ObjectHandle) {
    qcall_body(|_| set_string(result, &assembly.assembly()?.display_name()));
}

extern "C" fn get_simple_name(assembly: QCallAssembly, result: ObjectHandle) {
    qcall_body(|_| set_string(result, assembly.assembly()?.simple_name()));
}

extern "C" fn get_locale(assembly: QCallAssembly, result: ObjectHandle) {
    qcall_body(|_| set_string(result, assembly.assembly()?.culture()));
}

extern "C" fn get_location(assembly: QCallAssembly, result: ObjectHandle) {
    qcall_body(|_| set_string(result, assembly.assembly()?.path()));
}

extern "C" fn get_code_base(assembly: QCallAssembly, result: ObjectHandle) -> i32 {
    qcall_body(|_| {
        let path = assembly.assembly()?.path();
        if path.is_empty() {
            return Ok(0);
        }
        set_string(result, &format!("file://{path}"))?;
        Ok(1)
    })
}

extern "C" fn get_image_runtime_version(assembly: QCallAssembly, result: ObjectHandle) {
    qcall_body(|_| set_string(result, assembly.assembly()?.module().metadata().metadata_version()));
}

extern "C" fn get_version(
    assembly: QCallAssembly,
    major: *mut i32,
    minor: *mut i32,
    build: *mut i32,
    revision: *mut i32,
) {
    qcall_body(|_| {
        let (a, b, c, d) = assembly.assembly()?.version();
        put(major, i32::from(a));
        put(minor, i32::from(b));
        put(build, i32::from(c));
        put(revision, i32::from(d));
        Ok(())
    });
}

fn row(assembly: &'static Assembly) -> VmResult<Option<corten_metadata::AssemblyRow<'static>>> {
    Ok(assembly
        .module()
        .metadata()
        .assembly()
        .map_err(|e| assembly.module().bad_image(e))?)
}

extern "C" fn get_public_key(assembly: QCallAssembly, result: ObjectHandle) {
    qcall_body(|thread| {
        let key = row(assembly.assembly()?)?.map_or(&[][..], |r| r.public_key);
        result.set(byte_array(thread, key)?);
        Ok(())
    });
}

extern "C" fn get_flags(assembly: QCallAssembly) -> i32 {
    qcall_body(|_| Ok(row(assembly.assembly()?)?.map_or(0, |r| r.flags.bits() as i32)))
}

extern "C" fn get_hash_algorithm(assembly: QCallAssembly) -> i32 {
    qcall_body(|_| Ok(row(assembly.assembly()?)?.map_or(0, |r| r.hash_algorithm as i32)))
}

extern "C" fn get_is_collectible(assembly: QCallAssembly) -> i32 {
    qcall_body(|_| {
        let context = assembly.assembly()?.context();
        Ok(i32::from(corten_loader::collectible::of_context(context).is_some()))
    })
}

extern "C" fn get_entry_point(assembly: QCallAssembly, result: ObjectHandle) {
    qcall_body(|_| {
        let assembly = assembly.assembly()?;
        if let Some(token) = assembly.entry_point().filter(|t| t.is(TableId::MethodDef)) {
            result.set(method_stub_object(assembly.module().typical_method(token.rid())?));
        }
        Ok(())
    });
}

extern "C" fn get_modules(assembly: QCallAssembly, _load: i32, _resource: i32, result: ObjectHandle) {
    qcall_body(|thread| {
        let module = module_object(assembly.assembly()?.module())?;
        result.set(frozen_array(
            thread,
            corelib("System.Reflection", "RuntimeModule")?,
            &[module],
        )?);
        Ok(())
    });
}

extern "C" fn get_module(assembly: QCallAssembly, name: *const u16, result: ObjectHandle) {
    qcall_body(|_| {
        // SAFETY: managed code passes a NUL-terminated string.
        let name = unsafe { utf16(name) };
        let module = assembly.assembly()?.module();
        if module.name().eq_ignore_ascii_case(&name) {
            result.set(module_object(module)?);
        }
        Ok(())
    });
}

extern "C" fn get_manifest_resource_names(assembly: QCallAssembly, result: ObjectHandle) {
    qcall_body(|thread| {
        let metadata = assembly.assembly()?.module().metadata();
        let names: Vec<&str> = (1..=metadata.row_count(TableId::ManifestResource))
            .filter_map(|rid| metadata.manifest_resource(rid).ok().map(|r| r.name))
            .collect();
        result.set(string_array(thread, &names)?);
        Ok(())
    });
}

fn find_resource(
    assembly: &'static Assembly,
    name: &str,
) -> Option<(u32, corten_metadata::ManifestResourceRow<'static>)> {
    let metadata = assembly.module().metadata();
    (1..=metadata.row_count(TableId::ManifestResource))
        .filter_map(|rid| metadata.manifest_resource(rid).ok().map(|r| (rid, r)))
        .find(|(_, r)| r.name == name)
}

extern "C" fn get_manifest_resource_info(
    assembly: QCallAssembly,
    name: *const u16,
    referenced: ObjectHandle,
    file_name: ObjectHandle,
) -> i32 {
    const EMBEDDED: i32 = 1;
    const CONTAINED_IN_ANOTHER_ASSEMBLY: i32 = 2;
    const CONTAINED_IN_MANIFEST_FILE: i32 = 4;
    qcall_body(|_| {
        let assembly = assembly.assembly()?;
        // SAFETY: managed code passes a NUL-terminated string.
        let name = unsafe { utf16(name) };
        let Some((_, row)) = find_resource(assembly, &name) else {
            return Ok(-1);
        };
        match row.implementation.table() {
            _ if row.implementation.is_nil() => Ok(EMBEDDED | CONTAINED_IN_MANIFEST_FILE),
            Some(TableId::AssemblyRef) => {
                let target = assembly.module().resolve_assembly_ref(row.implementation.rid())?;
                referenced.set(assembly_object(target)?);
                Ok(CONTAINED_IN_ANOTHER_ASSEMBLY)
            }
            Some(TableId::File) => {
                let file = assembly.module().metadata().file(row.implementation.rid());
                set_string(file_name, file.map_err(|e| assembly.module().bad_image(e))?.name)?;
                Ok(0)
            }
            _ => Ok(-1),
        }
    })
}

extern "C" fn get_resource(assembly: QCallAssembly, name: *const u16, length: *mut u32) -> *const u8 {
    qcall_body(|_| {
        // SAFETY: managed code passes a NUL-terminated string.
        let name = unsafe { utf16(name) };
        if name.is_empty() {
            return Err(Raise::new(ExceptionKind::Argument, "String cannot have zero length."));
        }
        let assembly = assembly.assembly()?;
        let data = resource(assembly, &name, length, 0)?;
        if !data.is_null() {
            return Ok(data);
        }
        match resolve_resource(assembly, &name)? {
            Some(answer) => resource(answer, &name, length, 0),
            None => Ok(data),
        }
    })
}

fn resource(assembly: &'static Assembly, name: &str, length: *mut u32, depth: u32) -> VmResult<*const u8> {
    put(length, 0);
    let Some((rid, row)) = find_resource(assembly, name) else {
        return Ok(std::ptr::null());
    };
    if row.implementation.is(TableId::AssemblyRef) && depth < 16 {
        let target = assembly.module().resolve_assembly_ref(row.implementation.rid())?;
        return resource(target, name, length, depth + 1);
    }
    let module = assembly.module();
    match module
        .metadata()
        .manifest_resource_data(rid)
        .map_err(|e| module.bad_image(e))?
    {
        Some(data) => {
            put(length, data.len() as u32);
            Ok(data.as_ptr())
        }
        None => Ok(std::ptr::null()),
    }
}

extern "C" fn get_referenced_assemblies(assembly: QCallAssembly, result: ObjectHandle) {
    qcall_body(|thread| {
        let module = assembly.assembly()?.module();
        let count = module.metadata().row_count(TableId::AssemblyRef);
        let scope = HandleScope::new(&thread.header);
        let array = scope.root(alloc_sz_array(
            thread,
            corelib("System.Reflection", "AssemblyName")?,
            count as usize,
        )?);
        for rid in 1..=count {
            let name = name_object(thread, &NameParts::of(&module.assembly_ref_name(rid)?))?;
            // SAFETY: the array has `count` elements.
            unsafe { set_element(array.get(), rid as usize - 1, name) };
        }
        result.set(array.get());
        Ok(())
    });
}

extern "C" fn try_get_raw_metadata(assembly: QCallAssembly, blob: *mut *const u8, length: *mut i32) -> i32 {
    qcall_body(|_| {
        let pe = assembly.assembly()?.module().metadata().pe();
        let directory = pe.metadata_directory();
        match pe.rva_range(directory.rva, directory.size) {
            Some(data) => {
                put(blob, data.as_ptr());
                put(length, data.len() as i32);
                Ok(1)
            }
            None => Ok(0),
        }
    })
}

extern "C" fn is_apply_update_supported() -> i32 {
    0
}

qcall_table! {
    /// Assembly QCalls.
    TABLE:
    "AssemblyNative_InternalLoad" => internal_load,
    "AssemblyNative_GetExecutingAssembly" => get_executing_assembly,
    "AssemblyNative_GetEntryAssembly" => get_entry_assembly,
    "AssemblyNative_GetAssemblyCount" => get_assembly_count,
    "AssemblyNative_GetLoadedAssemblies" => get_loaded_assemblies,
    "AssemblyNative_GetTypeCore" => get_type_core,
    "AssemblyNative_GetTypeCoreIgnoreCase" => get_type_core_ignore_case,
    "AssemblyNative_GetForwardedType" => get_forwarded_type,
    "AssemblyNative_GetExportedTypes" => get_exported_types,
    "AssemblyNative_GetFullName" => get_full_name,
    "AssemblyNative_GetSimpleName" => get_simple_name,
    "AssemblyNative_GetLocale" => get_locale,
    "AssemblyNative_GetLocation" => get_location,
    "AssemblyNative_GetCodeBase" => get_code_base,
    "AssemblyNative_GetImageRuntimeVersion" => get_image_runtime_version,
    "AssemblyNative_GetVersion" => get_version,
    "AssemblyNative_GetPublicKey" => get_public_key,
    "AssemblyNative_GetFlags" => get_flags,
    "AssemblyNative_GetHashAlgorithm" => get_hash_algorithm,
    "AssemblyNative_GetIsCollectible" => get_is_collectible,
    "AssemblyNative_GetEntryPoint" => get_entry_point,
    "AssemblyNative_GetModules" => get_modules,
    "AssemblyNative_GetModule" => get_module,
    "AssemblyNative_GetManifestResourceNames" => get_manifest_resource_names,
    "AssemblyNative_GetManifestResourceInfo" => get_manifest_resource_info,
    "AssemblyNative_GetResource" => get_resource,
    "AssemblyNative_GetReferencedAssemblies" => get_referenced_assemblies,
    "AssemblyNative_InternalTryGetRawMetadata" => try_get_raw_metadata,
    "AssemblyNative_IsApplyUpdateSupported" => is_apply_update_supported,
}
