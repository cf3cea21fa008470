//! QCalls of `System.RuntimeMethodHandle` and `System.RuntimeFieldHandle`.

use super::handles::{ObjectHandle, QCallModule, QCallType, put};
use super::runtime_type_handle::is_visible_type;
use crate::error::{ExceptionKind, Raise, qcall_body};
use crate::icalls::reflection::support::{field_arg, method_arg, raw_types, type_array};
use crate::qcall_table;
use crate::type_objects::method_stub_object;
use corten_loader::names::format_type;
use corten_loader::{FieldKind, MethodDesc, MethodTable};
use corten_metadata::MethodAttributes;

extern "C" fn construct_instantiation(method: usize, format: u32, result: ObjectHandle) {
    qcall_body(|thread| {
        let method = method_arg(method)?;
        let flags = super::runtime_type_handle::name_flags(format);
        let names: Vec<String> = method.instantiation().iter().map(|t| format_type(*t, flags)).collect();
        let text = if names.is_empty() {
            String::new()
        } else {
            format!("[{}]", names.join(","))
        };
        result.set(crate::strings::new_string(thread, &text)?);
        Ok(())
    });
}

extern "C" fn get_function_pointer(method: usize) -> usize {
    qcall_body(|_| {
        let method = method_arg(method)?;
        if method.contains_generic_variables() {
            return Err(Raise::new(
                ExceptionKind::InvalidOperation,
                "Could not execute the method because either the method itself or the containing type is not fully instantiated.",
            ));
        }
        Ok(method.stable_entry())
    })
}

extern "C" fn get_is_collectible(method: usize) -> i32 {
    qcall_body(|_| Ok(i32::from(method_arg(method)?.collectible().is_some())))
}

extern "C" fn get_method_instantiation(method: usize, result: ObjectHandle, as_runtime_type: i32) {
    qcall_body(|thread| {
        let arguments = method_arg(method)?.instantiation();
        if !arguments.is_empty() {
            result.set(type_array(thread, arguments, as_runtime_type != 0)?);
        }
        Ok(())
    });
}

extern "C" fn get_typical_method_definition(method: usize, result: ObjectHandle) {
    qcall_body(|_| {
        let method = method_arg(method)?;
        let typical = method.typical_definition()?;
        if typical != method {
            result.set(method_stub_object(typical));
        }
        Ok(())
    });
}

extern "C" fn strip_method_instantiation(method: usize, result: ObjectHandle) {
    qcall_body(|_| {
        let method = method_arg(method)?;
        let definition = method.generic_definition();
        if definition != method {
            result.set(method_stub_object(definition));
        }
        Ok(())
    });
}

/// Whether `caller` sees the attribute constructor: public, same assembly, or an accessible member of a nested scope.
fn is_constructor_visible(
    ctor: &'static MethodDesc,
    attribute: &'static MethodTable,
    from: &'static MethodTable,
) -> bool {
    let same_assembly = ctor.module() == from.module();
    if !is_visible_type(attribute.handle()) && attribute.module() != from.module() {
        return false;
    }
    let access = ctor.attributes() & MethodAttributes::MEMBER_ACCESS_MASK;
    match access {
        MethodAttributes::PUBLIC => true,
        MethodAttributes::ASSEM | MethodAttributes::FAM_OR_ASSEM => {
            corten_loader::friends::sees_internals(ctor.module(), from.module())
        }
        MethodAttributes::FAMILY => from.is_or_derives_from(attribute),
        MethodAttributes::FAM_AND_ASSEM => same_assembly && from.is_or_derives_from(attribute),
        _ => encloses(attribute, from),
    }
}

fn encloses(outer: &'static MethodTable, inner: &'static MethodTable) -> bool {
    let mut at = inner.class().definition();
    while let Some(d) = at {
        if outer.class().definition().is_some_and(|o| std::ptr::eq(o, d)) {
            return true;
        }
        at = d.enclosing();
    }
    false
}

extern "C" fn is_ca_visible_from_decorated_type(
    attribute: QCallType,
    ctor: usize,
    source: QCallType,
    source_module: QCallModule,
) -> i32 {
    qcall_body(|_| {
        let attribute = attribute.table()?;
        let from = match source.table() {
            Ok(mt) => mt,
            Err(_) => source_module.module()?.global_type()?,
        };
        if ctor == 0 {
            return Ok(i32::from(
                is_visible_type(attribute.handle()) || attribute.module() == from.module(),
            ));
        }
        Ok(i32::from(is_constructor_visible(method_arg(ctor)?, attribute, from)))
    })
}

extern "C" fn destroy(method: usize) {
    if let Ok(md) = method_arg(method) {
        crate::icalls::reflection::dynamic_method::destroy(md);
    }
}

extern "C" fn get_rva_field_info(field: usize, address: *mut usize, size: *mut u32) -> i32 {
    qcall_body(|_| {
        let field = field_arg(field)?;
        match field.kind() {
            FieldKind::Rva(data) => {
                put(address, data);
                put(size, field.field_type()?.size_in_field());
                Ok(1)
            }
            _ => Ok(0),
        }
    })
}

extern "C" fn prepare_method(method: usize, arguments: *const usize, count: i32) {
    qcall_body(|thread| {
        let method = method_arg(method)?;
        if method.is_abstract() {
            return Err(Raise::new(
                ExceptionKind::Argument,
                "Abstract methods cannot be prepared.",
            ));
        }
        // SAFETY: managed code passes an array of that many handles: those of the type, then those of the method.
        let arguments = unsafe { raw_types(arguments, count)? };
        let mut exact = method;
        if !arguments.is_empty() {
            let arity = method
                .owner()
                .class()
                .typical()?
                .instantiation()
                .len()
                .min(arguments.len());
            let (class_inst, method_inst) = arguments.split_at(arity);
            if !class_inst.is_empty() {
                let owner = corten_loader::instantiate(method.owner().class().typical()?, class_inst)?;
                exact = exact.on_owner(crate::icalls::reflection::support::table_of(owner)?)?;
            }
            if !method_inst.is_empty() {
                exact = exact.generic_definition().instantiate(method_inst)?;
            }
        }
        if exact.contains_generic_variables() {
            return Err(Raise::new(
                ExceptionKind::Argument,
                "The given generic instantiation was invalid.",
            ));
        }
        let _preemptive = crate::transitions::enter_preemptive(thread);
        crate::prestub::code_of(exact)?;
        Ok(())
    });
}

extern "C" fn compile_method(method: usize) {
    qcall_body(|thread| {
        let method = method_arg(method)?;
        let _preemptive = crate::transitions::enter_preemptive(thread);
        crate::prestub::code_of(method)?;
        Ok(())
    });
}

qcall_table! {
    /// Method and field handle QCalls.
    TABLE:
    "RuntimeMethodHandle_ConstructInstantiation" => construct_instantiation,
    "RuntimeMethodHandle_GetFunctionPointer" => get_function_pointer,
    "RuntimeMethodHandle_GetIsCollectible" => get_is_collectible,
    "RuntimeMethodHandle_GetMethodInstantiation" => get_method_instantiation,
    "RuntimeMethodHandle_GetTypicalMethodDefinition" => get_typical_method_definition,
    "RuntimeMethodHandle_StripMethodInstantiation" => strip_method_instantiation,
    "RuntimeMethodHandle_IsCAVisibleFromDecoratedType" => is_ca_visible_from_decorated_type,
    "RuntimeMethodHandle_Destroy" => destroy,
    "RuntimeFieldHandle_GetRVAFieldInfo" => get_rva_field_info,
    "ReflectionInvocation_PrepareMethod" => prepare_method,
    "ReflectionInvocation_CompileMethod" => compile_method,
}
