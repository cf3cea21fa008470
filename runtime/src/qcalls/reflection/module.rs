//! QCalls of `System.ModuleHandle` and `System.Reflection.RuntimeModule`.

use super::handles::{ObjectHandle, QCallModule, put};
use crate::error::{ExceptionKind, Raise, VmResult, qcall_body};
use crate::exceptions;
use crate::icalls::reflection::support::{
    alloc_sz_array, corelib, ensure_initialized, frozen_array, raw_types, set_element, table_of,
};
use crate::managed::ManagedCall;
use crate::qcall_table;
use crate::thread::Thread;
use crate::type_objects::{field_stub_object, type_object};
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{GenericContext, LoadError, Module, TypeHandle};
use corten_metadata::{CorFlags, TableId, Token};

extern "C" fn get_module_type(module: QCallModule, result: ObjectHandle) {
    qcall_body(|_| {
        result.set(type_object(module.module()?.global_type()?.handle()));
        Ok(())
    });
}

extern "C" fn get_pe_kind(module: QCallModule, kind: *mut i32, machine: *mut i32) {
    const IL_ONLY: i32 = 1;
    const REQUIRED_32_BIT: i32 = 2;
    const PE32_PLUS: i32 = 4;
    const PREFERRED_32_BIT: i32 = 0x10;
    const I386: i32 = 0x14c;
    qcall_body(|_| {
        let pe = module.module()?.metadata().pe();
        let flags = pe.cor_flags();
        if pe.managed_native_header().is_some() {
            // Precompiled images show themselves as the platform-neutral IL they contain.
            put(kind, IL_ONLY);
            put(machine, I386);
            return Ok(());
        }
        let mut result = 0;
        if flags.contains(CorFlags::IL_ONLY) {
            result |= IL_ONLY;
        }
        let (required, preferred) = (
            flags.contains(CorFlags::REQUIRES_32BIT),
            flags.contains(CorFlags::PREFERS_32BIT),
        );
        if required && preferred {
            result |= PREFERRED_32_BIT;
        } else if required {
            result |= REQUIRED_32_BIT;
        }
        if pe.is_pe32_plus() {
            result |= PE32_PLUS;
        }
        put(kind, result);
        put(machine, i32::from(pe.machine()));
        Ok(())
    });
}

/// Generic arguments as managed code passes them for token resolution.
///
/// # Safety
/// Both arrays have the given lengths.
unsafe fn arguments(
    types: *const usize,
    type_count: i32,
    methods: *const usize,
    method_count: i32,
) -> VmResult<(Vec<TypeHandle>, Vec<TypeHandle>)> {
    // SAFETY: the caller's promise.
    unsafe { Ok((raw_types(types, type_count)?, raw_types(methods, method_count)?)) }
}

/// Without arguments the variables of the token's own declaration stand for themselves.
fn with_defaults(
    module: &'static Module,
    token: Token,
    class_inst: Vec<TypeHandle>,
    method_inst: Vec<TypeHandle>,
) -> VmResult<(Vec<TypeHandle>, Vec<TypeHandle>)> {
    if !class_inst.is_empty() || !token.is(TableId::Field) && !token.is(TableId::MethodDef) {
        return Ok((class_inst, method_inst));
    }
    let metadata = module.metadata();
    let owner = if token.is(TableId::Field) {
        metadata.owner_of_field(token.rid())
    } else {
        metadata.owner_of_method(token.rid())
    };
    match owner {
        Some(rid) => Ok((module.typical_type(rid)?.instantiation().to_vec(), method_inst)),
        None => Ok((class_inst, method_inst)),
    }
}

extern "C" fn resolve_type(
    module: QCallModule,
    token: u32,
    types: *const usize,
    type_count: i32,
    methods: *const usize,
    method_count: i32,
    result: ObjectHandle,
) {
    qcall_body(|_| {
        let module = module.module()?;
        // SAFETY: managed code passes arrays of those lengths.
        let (class_inst, method_inst) = unsafe { arguments(types, type_count, methods, method_count)? };
        let token = Token(token);
        let t = if token.is(TableId::TypeDef) {
            module.typical_type(token.rid())?.handle()
        } else {
            module.resolve_type(
                token,
                GenericContext {
                    class_inst: &class_inst,
                    method_inst: &method_inst,
                },
            )?
        };
        result.set(type_object(t));
        Ok(())
    });
}

extern "C" fn resolve_method(
    module: QCallModule,
    token: u32,
    types: *const usize,
    type_count: i32,
    methods: *const usize,
    method_count: i32,
) -> usize {
    qcall_body(|_| {
        let module = module.module()?;
        // SAFETY: managed code passes arrays of those lengths.
        let (class_inst, method_inst) = unsafe { arguments(types, type_count, methods, method_count)? };
        let token = Token(token);
        if token.is(TableId::MethodDef) && class_inst.is_empty() && method_inst.is_empty() {
            return Ok(module.typical_method(token.rid())?.address());
        }
        let (class_inst, method_inst) = with_defaults(module, token, class_inst, method_inst)?;
        let context = GenericContext {
            class_inst: &class_inst,
            method_inst: &method_inst,
        };
        Ok(module.resolve_method(token, context)?.method.address())
    })
}

extern "C" fn resolve_field(
    module: QCallModule,
    token: u32,
    types: *const usize,
    type_count: i32,
    methods: *const usize,
    method_count: i32,
    result: ObjectHandle,
) {
    qcall_body(|_| {
        let module = module.module()?;
        // SAFETY: managed code passes arrays of those lengths.
        let (class_inst, method_inst) = unsafe { arguments(types, type_count, methods, method_count)? };
        let token = Token(token);
        let (class_inst, method_inst) = with_defaults(module, token, class_inst, method_inst)?;
        let context = GenericContext {
            class_inst: &class_inst,
            method_inst: &method_inst,
        };
        result.set(field_stub_object(module.resolve_field(token, context)?));
        Ok(())
    });
}

extern "C" fn get_scope_name(module: QCallModule, result: ObjectHandle) {
    qcall_body(|thread| {
        let name = module.module()?.name();
        result.set(crate::strings::new_string(thread, name)?);
        Ok(())
    });
}

extern "C" fn get_fully_qualified_name(module: QCallModule, result: ObjectHandle) {
    qcall_body(|thread| {
        let assembly = module.module()?.assembly();
        let path = assembly.map_or("", |a| a.path());
        let is_dynamic = assembly.is_some_and(|a| a.is_dynamic());
        let text = match path {
            _ if is_dynamic => "<In Memory Module>",
            "" => "<Unknown>",
            path => path,
        };
        result.set(crate::strings::new_string(thread, text)?);
        Ok(())
    });
}

extern "C" fn get_types(module: QCallModule, result: ObjectHandle) {
    qcall_body(|thread| {
        let module = module.module()?;
        let count = module.metadata().row_count(TableId::TypeDef);
        let mut failures = Vec::new();
        let objects: Vec<ObjPtr> = (2..=count)
            .map(|rid| match module.typical_type(rid) {
                Ok(mt) => type_object(mt.handle()),
                Err(error) => {
                    failures.push(error);
                    std::ptr::null_mut()
                }
            })
            .collect();
        let types = frozen_array(thread, corelib("System", "RuntimeType")?, &objects)?;
        if failures.is_empty() {
            result.set(types);
            return Ok(());
        }
        Err(load_exception(thread, types, failures))
    });
}

/// The ReflectionTypeLoadException about types that do not load: null in `types`.
fn load_exception(thread: &Thread, types: ObjPtr, failures: Vec<LoadError>) -> Raise {
    let scope = HandleScope::new(&thread.header);
    let types = scope.root(types);
    let made = (|| {
        let mt = table_of(corelib("System.Reflection", "ReflectionTypeLoadException")?)?;
        let exception_type = corelib("System", "Exception")?;
        let causes = scope.root(alloc_sz_array(Thread::current(), exception_type, failures.len())?);
        for (i, failure) in failures.iter().enumerate() {
            exceptions::set_pending(failure.clone().into());
            let cause = thread.header.pending_exception.replace(std::ptr::null_mut());
            // SAFETY: the array has one element for each failure.
            unsafe { set_element(causes.get(), i, cause) };
        }
        let constructor = mt
            .find_method_with_params(".ctor", 3)
            .ok_or_else(|| Raise::new(ExceptionKind::MissingMethod, "ReflectionTypeLoadException..ctor"))?;
        let text = "Unable to load one or more of the requested types.";
        let message = scope.root(crate::strings::new_string(Thread::current(), text)?);
        let exception = scope.root(exceptions::create::allocate(Thread::current(), mt)?);
        ManagedCall::new()
            .obj(exception.get())
            .obj(types.get())
            .obj(causes.get())
            .obj(message.get())
            .invoke(constructor)?;
        Thread::current().header.pending_exception.set(exception.get());
        Ok(())
    })();
    made.err().unwrap_or(Raise::Pending)
}

extern "C" fn run_module_constructor(module: QCallModule) {
    qcall_body(|_| ensure_initialized(module.module()?.global_type()?));
}

qcall_table! {
    /// Module QCalls.
    TABLE:
    "ModuleHandle_GetModuleType" => get_module_type,
    "ModuleHandle_GetPEKind" => get_pe_kind,
    "ModuleHandle_ResolveType" => resolve_type,
    "ModuleHandle_ResolveMethod" => resolve_method,
    "ModuleHandle_ResolveField" => resolve_field,
    "RuntimeModule_GetScopeName" => get_scope_name,
    "RuntimeModule_GetFullyQualifiedName" => get_fully_qualified_name,
    "RuntimeModule_GetTypes" => get_types,
    "ReflectionInvocation_RunModuleConstructor" => run_module_constructor,
}
