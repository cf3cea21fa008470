//! Internal calls of `System.RuntimeMethodHandle`.

use super::boxing::{rebox_from_nullable, rebox_to_nullable};
use super::invoke::{self, Receiver};
use super::support::{
    alloc_object, alloc_sz_array, byte_array, corelib, ensure_initialized, is_other_instantiation, method_arg,
    method_info_arg, null_argument, raw_type, read, set_element, table_of, type_arg, write, write_ref,
};
use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use crate::icall_table;
use crate::thread::Thread;
use crate::type_objects::{RUNTIME_TYPE_HANDLE, type_object};
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::object::{ObjPtr, array_data, array_length};
use corten_loader::{MethodDesc, MethodKind, MethodTable, TypeHandle};
use corten_metadata::{EhKind, TypeSig};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::ffi::CString;

extern "C" fn get_attributes(method: usize) -> i32 {
    icall_body(|_| Ok(i32::from(method_arg(method)?.attributes().bits())))
}

extern "C" fn get_impl_attributes(info: ObjPtr) -> i32 {
    icall_body(|_| Ok(i32::from(method_info_arg(info)?.impl_flags().bits())))
}

extern "C" fn get_declaring_type(method: usize) -> ObjPtr {
    icall_body(|_| Ok(type_object(method_arg(method)?.owner().handle())))
}

/// Slot as reflection numbers them: virtual methods by vtable slot, the others behind all virtual ones.
fn slot_of(method: &'static MethodDesc) -> i32 {
    match method.slot() {
        Some(slot) => i32::from(slot),
        None => i32::from(method.owner().num_virtuals()) + i32::from(method.index()),
    }
}

extern "C" fn get_slot(method: usize) -> i32 {
    icall_body(|_| Ok(slot_of(method_arg(method)?)))
}

extern "C" fn get_method_def(info: ObjPtr) -> u32 {
    icall_body(|_| {
        let token = method_info_arg(info)?.token();
        Ok(if token.is_nil() { 0x0600_0000 } else { token.0 })
    })
}

extern "C" fn get_name(method: usize) -> ObjPtr {
    icall_body(|thread| {
        let name = method_arg(method)?.name();
        crate::strings::new_string(thread, name)
    })
}

/// Zero-terminated name; names of methods without metadata (arrays, dynamic) are copied once.
fn terminated_name(method: &'static MethodDesc) -> *const u8 {
    static COPIES: Mutex<Option<FxHashMap<&'static str, usize>>> = Mutex::new(None);
    if !method.token().is_nil() {
        return method.name().as_ptr();
    }
    let mut copies = COPIES.lock();
    let address = *copies
        .get_or_insert_default()
        .entry(method.name())
        .or_insert_with(|| CString::new(method.name()).unwrap_or_default().into_raw() as usize);
    address as *const u8
}

extern "C" fn get_utf8_name(method: usize) -> *const u8 {
    icall_body(|_| Ok(terminated_name(method_arg(method)?)))
}

/// Offsets in `System.Signature`.
const SIGNATURE_METHOD: usize = 64;

extern "C" fn invoke_method(target: ObjPtr, arguments: *const *mut u8, signature: ObjPtr, is_ctor: bool) -> ObjPtr {
    icall_body(|thread| {
        if signature.is_null() {
            return Err(null_argument());
        }
        // SAFETY: Signature.m_pMethod.
        let method = method_arg(unsafe { read::<usize>(signature, SIGNATURE_METHOD) })?;
        invoke_with_addresses(thread, method, target, arguments, is_ctor)
    })
}

/// Reflection's invoke: `arguments` is an array of argument addresses that the collector keeps up to date.
fn invoke_with_addresses(
    thread: &Thread,
    method: &'static MethodDesc,
    target: ObjPtr,
    arguments: *const *mut u8,
    is_ctor: bool,
) -> VmResult<ObjPtr> {
    if method.contains_generic_variables() {
        return Err(Raise::new(
            ExceptionKind::InvalidOperation,
            "Late bound operations cannot be performed on types or methods for which ContainsGenericParameters is true.",
        ));
    }
    // SAFETY: managed code passes one address per parameter.
    let address = |i: usize| unsafe { arguments.add(i).read() };
    let scope = HandleScope::new(&thread.header);
    let target = scope.root(target);
    if is_ctor {
        let owner = method.owner();
        if owner.is_array() {
            return new_array(thread, owner, method.param_count(), &address);
        }
        if owner.is_string() {
            let factory =
                corten_loader::string_ctor_target(method)?.ok_or_else(|| Raise::of(ExceptionKind::MissingMethod))?;
            return invoke::call(thread, factory, Receiver::None, &address);
        }
        ensure_initialized(owner)?;
        return invoke::construct(thread, method, &address);
    }
    if method.is_static() {
        return invoke::call(thread, method, Receiver::None, &address);
    }
    if target.is_null() {
        return Err(Raise::of(ExceptionKind::NullReference));
    }
    let exact = if method.is_ctor() {
        method
    } else {
        invoke::virtual_target(target.get(), method)?
    };
    match exact.kind() {
        MethodKind::ArrayCtor | MethodKind::ArrayCtorBounds => Err(Raise::of(ExceptionKind::NotSupported)),
        _ => invoke::call(thread, exact, Receiver::Object(target), &address),
    }
}

/// `newobj` of an array type through reflection: lengths, or (lower bound, length) pairs.
fn new_array(
    thread: &Thread,
    array: &'static MethodTable,
    count: usize,
    address: &dyn Fn(usize) -> *mut u8,
) -> VmResult<ObjPtr> {
    let rank = array.array_rank().unwrap_or(1) as usize;
    // SAFETY: every parameter of an array constructor is an int.
    let values: Vec<i32> = (0..count).map(|i| unsafe { address(i).cast::<i32>().read() }).collect();
    let (lengths, bounds): (Vec<i32>, Vec<i32>) = if count == 2 * rank && !array.is_sz_array() {
        (
            values.chunks(2).map(|p| p[1]).collect(),
            values.chunks(2).map(|p| p[0]).collect(),
        )
    } else {
        (values, vec![0; rank])
    };
    if array.is_sz_array() && lengths.len() > 1 {
        return Err(Raise::new(
            ExceptionKind::NotSupported,
            "constructors of jagged arrays through reflection",
        ));
    }
    super::array::create(thread, array, &lengths, &bounds)
}

extern "C" fn rebox_from_nullable_call(source: ObjPtr) -> ObjPtr {
    icall_body(|thread| rebox_from_nullable(thread, source))
}

extern "C" fn rebox_to_nullable_call(source: ObjPtr, nullable: ObjPtr) -> ObjPtr {
    icall_body(|thread| {
        let mt = table_of(type_arg(nullable)?)?;
        rebox_to_nullable(thread, source, mt)
    })
}

extern "C" fn has_method_instantiation(method: usize) -> bool {
    icall_body(|_| Ok(method_arg(method)?.has_method_instantiation()))
}

/// The method that `method` is on exactly `declaring`, with the given method arguments.
pub fn associated_method(
    method: &'static MethodDesc,
    declaring: Option<TypeHandle>,
    arguments: &[TypeHandle],
) -> VmResult<&'static MethodDesc> {
    let mut result = method;
    if let Some(owner) = declaring.and_then(TypeHandle::as_method_table)
        && is_other_instantiation(owner, method.owner())
    {
        result = method.on_owner(owner)?;
        if method.has_method_instantiation() && !method.is_generic_method_definition() && arguments.is_empty() {
            result = result.instantiate(method.instantiation())?;
        }
    }
    if !arguments.is_empty() {
        let definition = result.generic_definition();
        result = if definition.instantiation() == arguments {
            definition
        } else {
            definition.instantiate(arguments)?
        };
    }
    Ok(result)
}

extern "C" fn get_stub_if_needed(method: usize, declaring: ObjPtr, arguments: ObjPtr) -> usize {
    icall_body(|_| {
        let method = method_arg(method)?;
        let declaring = if declaring.is_null() {
            None
        } else {
            Some(type_arg(declaring)?)
        };
        let arguments = runtime_types(arguments)?;
        Ok(associated_method(method, declaring, &arguments)?.address())
    })
}

/// Types in a RuntimeType[] (null: none).
fn runtime_types(array: ObjPtr) -> VmResult<Vec<TypeHandle>> {
    if array.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: a live RuntimeType[]; nothing here reaches a safepoint.
    unsafe {
        let objects = std::slice::from_raw_parts(array_data(array).cast::<ObjPtr>(), array_length(array));
        objects
            .iter()
            .map(|o| {
                if o.is_null() {
                    Err(null_argument())
                } else {
                    raw_type(read(*o, RUNTIME_TYPE_HANDLE))
                }
            })
            .collect()
    }
}

extern "C" fn get_method_from_canonical(method: usize, declaring: ObjPtr) -> usize {
    icall_body(|_| {
        let method = method_arg(method)?;
        let declaring = if declaring.is_null() {
            None
        } else {
            Some(type_arg(declaring)?)
        };
        Ok(associated_method(method, declaring, &[])?.address())
    })
}

extern "C" fn is_generic_method_definition(method: usize) -> bool {
    icall_body(|_| Ok(method_arg(method)?.is_generic_method_definition()))
}

extern "C" fn is_typical_method_definition(info: ObjPtr) -> bool {
    icall_body(|_| {
        let method = method_info_arg(info)?;
        Ok(method.typical_definition()? == method)
    })
}

extern "C" fn get_generic_parameter_count(method: usize) -> i32 {
    icall_body(|_| Ok(method_arg(method)?.instantiation().len() as i32))
}

extern "C" fn is_dynamic_method(method: usize) -> bool {
    icall_body(|_| Ok(method_arg(method)?.kind() == MethodKind::Dynamic))
}

extern "C" fn get_resolver(method: usize) -> ObjPtr {
    icall_body(|_| {
        let method = method_arg(method)?;
        Ok(super::dynamic_method::resolver_of(method))
    })
}

extern "C" fn is_constructor(method: usize) -> bool {
    icall_body(|_| {
        let method = method_arg(method)?;
        Ok(method.is_rt_special_name() && matches!(method.name(), ".ctor" | ".cctor"))
    })
}

extern "C" fn get_loader_allocator(method: usize) -> ObjPtr {
    icall_body(|_| Ok(crate::collectible::allocator_of(method_arg(method)?.collectible())))
}

/// Offsets in `RuntimeMethodBody`, `RuntimeExceptionHandlingClause` and `RuntimeLocalVariableInfo` (contract/layouts.md).
mod body {
    pub const IL: usize = 8;
    pub const CLAUSES: usize = 16;
    pub const LOCALS: usize = 24;
    pub const LOCAL_SIGNATURE: usize = 40;
    pub const MAX_STACK: usize = 44;
    pub const INIT_LOCALS: usize = 48;
    pub const CLAUSE_BODY: usize = 8;
    pub const CLAUSE_FLAGS: usize = 16;
    pub const CLAUSE_TRY_OFFSET: usize = 20;
    pub const CLAUSE_TRY_LENGTH: usize = 24;
    pub const CLAUSE_HANDLER_OFFSET: usize = 28;
    pub const CLAUSE_HANDLER_LENGTH: usize = 32;
    pub const CLAUSE_TOKEN: usize = 36;
    pub const CLAUSE_FILTER: usize = 40;
    pub const LOCAL_TYPE: usize = 8;
    pub const LOCAL_INDEX: usize = 16;
    pub const LOCAL_PINNED: usize = 20;
}

extern "C" fn get_method_body(info: ObjPtr, _declaring: ObjPtr) -> ObjPtr {
    icall_body(|thread| {
        let method = method_info_arg(info)?;
        let Some(il) = method.body()? else {
            return Ok(std::ptr::null_mut());
        };
        let scope = HandleScope::new(&thread.header);
        let result = scope.root(alloc_object(
            thread,
            table_of(corelib("System.Reflection", "RuntimeMethodBody")?)?,
        )?);
        let code = byte_array(thread, il.code)?;
        // SAFETY: RuntimeMethodBody's fields.
        unsafe {
            write_ref(result.get(), body::IL, code);
            write(result.get(), body::MAX_STACK, i32::from(il.max_stack));
            write(result.get(), body::INIT_LOCALS, u8::from(il.init_locals));
            write(result.get(), body::LOCAL_SIGNATURE, il.local_var_sig.map_or(0, |t| t.0));
        }
        let clause_type = corelib("System.Reflection", "RuntimeExceptionHandlingClause")?;
        let clause_base = corelib("System.Reflection", "ExceptionHandlingClause")?;
        let clauses = scope.root(alloc_sz_array(thread, clause_base, il.clauses.len())?);
        for (i, clause) in il.clauses.iter().enumerate() {
            let o = alloc_object(thread, table_of(clause_type)?)?;
            let (flags, token, filter) = match &clause.kind {
                EhKind::Catch(t) => (0, t.0, 0),
                EhKind::Filter { filter_offset } => (1, 0, *filter_offset),
                EhKind::Finally => (2, 0, 0),
                EhKind::Fault => (4, 0, 0),
            };
            // SAFETY: RuntimeExceptionHandlingClause's fields.
            unsafe {
                write_ref(o, body::CLAUSE_BODY, result.get());
                write(o, body::CLAUSE_FLAGS, flags);
                write(o, body::CLAUSE_TRY_OFFSET, clause.try_offset);
                write(o, body::CLAUSE_TRY_LENGTH, clause.try_length);
                write(o, body::CLAUSE_HANDLER_OFFSET, clause.handler_offset);
                write(o, body::CLAUSE_HANDLER_LENGTH, clause.handler_length);
                write(o, body::CLAUSE_TOKEN, token);
                write(o, body::CLAUSE_FILTER, filter);
                set_element(clauses.get(), i, o);
            }
        }
        // SAFETY: as above.
        unsafe { write_ref(result.get(), body::CLAUSES, clauses.get()) };
        let locals = local_types(method, il.local_var_sig)?;
        let local_type = corelib("System.Reflection", "RuntimeLocalVariableInfo")?;
        let local_base = corelib("System.Reflection", "LocalVariableInfo")?;
        let array = scope.root(alloc_sz_array(thread, local_base, locals.len())?);
        for (i, (ty, pinned)) in locals.iter().enumerate() {
            let o = alloc_object(thread, table_of(local_type)?)?;
            // SAFETY: RuntimeLocalVariableInfo's fields.
            unsafe {
                write_ref(o, body::LOCAL_TYPE, type_object(*ty));
                write(o, body::LOCAL_INDEX, i as i32);
                write(o, body::LOCAL_PINNED, u8::from(*pinned));
                set_element(array.get(), i, o);
            }
        }
        // SAFETY: as above.
        unsafe { write_ref(result.get(), body::LOCALS, array.get()) };
        Ok(result.get())
    })
}

fn local_types(
    method: &'static MethodDesc,
    token: Option<corten_metadata::Token>,
) -> VmResult<Vec<(TypeHandle, bool)>> {
    let Some(token) = token else {
        return Ok(Vec::new());
    };
    let module = method.module();
    let row = module
        .metadata()
        .stand_alone_sig(token.rid())
        .map_err(|e| module.bad_image(e))?;
    let locals = corten_metadata::sig::parse_locals(row.signature).map_err(|e| module.bad_image(e))?;
    let mut result = Vec::with_capacity(locals.len());
    for local in &locals {
        let mut ty = local.strip_modifiers();
        let mut pinned = false;
        while let TypeSig::Pinned(inner) = ty {
            pinned = true;
            ty = inner.strip_modifiers();
        }
        result.push((module.resolve_type_sig(ty, method.context())?, pinned));
    }
    Ok(result)
}

icall_table! {
    /// Method handle calls.
    TABLE: "System.RuntimeMethodHandle" {
        "GetAttributes" => get_attributes,
        "GetImplAttributes" => get_impl_attributes,
        "GetDeclaringType" => get_declaring_type,
        "GetSlot" => get_slot,
        "GetMethodDef" => get_method_def,
        "GetName" => get_name,
        "_GetUtf8Name" => get_utf8_name,
        "InvokeMethod" => invoke_method,
        "ReboxFromNullable" => rebox_from_nullable_call,
        "ReboxToNullable" => rebox_to_nullable_call,
        "HasMethodInstantiation" => has_method_instantiation,
        "GetStubIfNeeded" => get_stub_if_needed,
        "GetMethodFromCanonical" => get_method_from_canonical,
        "IsGenericMethodDefinition" => is_generic_method_definition,
        "IsTypicalMethodDefinition" => is_typical_method_definition,
        "GetGenericParameterCount" => get_generic_parameter_count,
        "IsDynamicMethod" => is_dynamic_method,
        "GetResolver" => get_resolver,
        "GetMethodBody" => get_method_body,
        "IsConstructor" => is_constructor,
        "GetLoaderAllocator" => get_loader_allocator,
    }
}
