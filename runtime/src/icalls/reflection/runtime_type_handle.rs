//! Internal calls of `System.RuntimeTypeHandle`.

use super::support::{
    corelib, method_table_of, name_pointer, null_argument, raw_types, table_of, type_arg, type_array, type_or_null,
};
use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use crate::icall_table;
use crate::reflection_objects::{assembly_object, module_object};
use crate::type_objects::{method_stub_object, type_object};
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{ElementType, FieldDesc, GenericVariable, MethodDesc, MethodTable, Module, TypeHandle};

/// TypeDef token of types without definition.
const NIL_TYPE_DEF: u32 = 0x0200_0000;
/// `TypeAttributes.Public`.
const PUBLIC: u32 = 1;

/// Module that a type belongs to (constructed types: that of their innermost element).
pub fn module_of(t: TypeHandle) -> VmResult<&'static Module> {
    if let Some(mt) = t.as_method_table() {
        return Ok(mt.module());
    }
    if let Some(variable) = t.as_type_desc().and_then(|d| d.as_variable()) {
        return Ok(variable.module);
    }
    match t.element_type() {
        Some(element) => module_of(element),
        None => Ok(table_of(corelib("System", "Object")?)?.module()),
    }
}

/// A type and its inherited layers, as reflection numbers virtual methods: those of an interface are its own.
pub fn virtual_method_at(mt: &'static MethodTable, slot: u16) -> Option<&'static MethodDesc> {
    if mt.is_interface() {
        return mt.methods().iter().find(|m| m.slot() == Some(slot));
    }
    mt.vtable_method(slot)
}

/// Number of virtual slots as reflection sees them.
pub fn num_virtuals(mt: &'static MethodTable) -> usize {
    if mt.is_interface() {
        return mt.methods().iter().filter(|m| m.slot().is_some()).count();
    }
    usize::from(mt.num_virtuals())
}

extern "C" fn is_instance_of_type(ty: ObjPtr, object: ObjPtr) -> bool {
    icall_body(|_| {
        let ty = type_arg(ty)?;
        if object.is_null() {
            return Ok(false);
        }
        Ok(corten_loader::cast::can_cast_to(method_table_of(object).handle(), ty))
    })
}

extern "C" fn get_cor_element_type(ty: ObjPtr) -> u8 {
    icall_body(|_| Ok(type_arg(ty)?.cor_element_type() as u8))
}

extern "C" fn get_assembly(ty: ObjPtr) -> ObjPtr {
    icall_body(|_| assembly_object(super::support::assembly_of(module_of(type_arg(ty)?)?)?))
}

extern "C" fn get_module(ty: ObjPtr) -> ObjPtr {
    icall_body(|_| module_object(module_of(type_arg(ty)?)?))
}

extern "C" fn get_base_type(ty: ObjPtr) -> ObjPtr {
    icall_body(|_| {
        let parent = type_arg(ty)?.as_method_table().and_then(|mt| mt.parent());
        Ok(type_or_null(parent.map(|p| p.handle())))
    })
}

extern "C" fn get_attributes(ty: ObjPtr) -> u32 {
    icall_body(|_| {
        let t = type_arg(ty)?;
        Ok(match t.as_method_table() {
            Some(mt) => mt.class().attributes().bits(),
            None => PUBLIC,
        })
    })
}

extern "C" fn get_element_type(ty: ObjPtr) -> ObjPtr {
    icall_body(|_| Ok(type_or_null(type_arg(ty)?.element_type())))
}

extern "C" fn compare_canonical_handles(left: ObjPtr, right: ObjPtr) -> bool {
    icall_body(|_| {
        let (left, right) = (type_arg(left)?, type_arg(right)?);
        // Every instantiation is exact: its own canonical form.
        Ok(left == right)
    })
}

extern "C" fn get_array_rank(ty: ObjPtr) -> i32 {
    icall_body(|_| {
        let t = type_arg(ty)?;
        t.as_method_table()
            .and_then(|mt| mt.array_rank())
            .map(|r| r as i32)
            .ok_or_else(|| Raise::new(ExceptionKind::Argument, "Must be an array type."))
    })
}

extern "C" fn get_token(ty: ObjPtr) -> u32 {
    icall_body(|_| {
        let t = type_arg(ty)?;
        if let Some(variable) = t.as_type_desc().and_then(|d| d.as_variable()) {
            return Ok(variable.token.0);
        }
        Ok(t.as_method_table()
            .map(|mt| mt.class().typedef())
            .filter(|t| !t.is_nil())
            .map_or(NIL_TYPE_DEF, |t| t.0))
    })
}

extern "C" fn get_method_at(ty: ObjPtr, slot: i32) -> usize {
    icall_body(|_| {
        let mt = table_of(type_arg(ty)?)?;
        let virtuals = num_virtuals(mt);
        if slot < 0 {
            return Err(Raise::of(ExceptionKind::Argument));
        }
        if slot as usize >= virtuals {
            // Static virtual methods follow.
            let mut statics = mt.methods().iter().filter(|m| m.is_static() && m.is_virtual());
            let found = statics.nth(slot as usize - virtuals);
            return found.map_or(Err(Raise::of(ExceptionKind::Argument)), |m| Ok(m.address()));
        }
        Ok(virtual_method_at(mt, slot as u16).map_or(0, |m| m.address()))
    })
}

extern "C" fn get_argument_types_from_function_pointer(ty: ObjPtr) -> ObjPtr {
    icall_body(|thread| {
        let t = type_arg(ty)?;
        let Some(signature) = t.as_type_desc().and_then(|d| d.as_fn_ptr()) else {
            return Err(Raise::of(ExceptionKind::InvalidOperation));
        };
        let types: Vec<TypeHandle> = std::iter::once(signature.ret)
            .chain(signature.params.iter().copied())
            .collect();
        type_array(thread, &types, false)
    })
}

extern "C" fn is_unmanaged_function_pointer(ty: ObjPtr) -> bool {
    icall_body(|_| {
        let t = type_arg(ty)?;
        Ok(t.as_type_desc()
            .and_then(|d| d.as_fn_ptr())
            .is_some_and(|s| matches!(s.calling_convention & 0x0f, 1..=4 | 9)))
    })
}

extern "C" fn get_first_introduced_method(ty: ObjPtr) -> usize {
    icall_body(|_| {
        let t = type_arg(ty)?;
        Ok(t.as_method_table()
            .and_then(|mt| mt.methods().first())
            .map_or(0, |m| m.address()))
    })
}

extern "C" fn get_next_introduced_method(method: *mut usize) {
    icall_body(|_| {
        // SAFETY: managed code passes a reference to its enumerator's handle.
        let current = super::support::method_arg(unsafe { method.read() })?;
        let methods = current.owner().methods();
        let next = methods.get(usize::from(current.index()) + 1).map_or(0, |m| m.address());
        // SAFETY: as above.
        unsafe { method.write(next) };
        Ok(())
    })
}

/// Fields that reflection takes from the loader: instance ones first, then statics; constants come from metadata.
pub fn reflected_fields(mt: &'static MethodTable) -> Vec<&'static FieldDesc> {
    let fields = mt.fields();
    let instance = fields.iter().filter(|f| !f.is_static());
    instance
        .chain(fields.iter().filter(|f| f.is_static() && !f.is_literal()))
        .collect()
}

extern "C" fn get_fields(ty: ObjPtr, result: *mut usize, count: *mut i32) -> bool {
    icall_body(|_| {
        let t = type_arg(ty)?;
        // SAFETY: managed code passes the address of its capacity.
        let capacity = unsafe { count.read() }.max(0) as usize;
        let fields = t.as_method_table().map(reflected_fields).unwrap_or_default();
        // SAFETY: as above; `result` has room for `capacity` words.
        unsafe {
            count.write(fields.len() as i32);
            if fields.len() > capacity {
                return Ok(false);
            }
            for (i, f) in fields.iter().enumerate() {
                result.add(i).write(std::ptr::from_ref(*f) as usize);
            }
        }
        Ok(true)
    })
}

extern "C" fn get_interfaces(ty: ObjPtr) -> ObjPtr {
    icall_body(|thread| {
        let t = type_arg(ty)?;
        // Managed code adds the generic interfaces of `T[]`.
        let interfaces: Vec<TypeHandle> = t
            .as_method_table()
            .and_then(|mt| if mt.is_array() { mt.parent() } else { Some(mt) })
            .map(|mt| mt.interfaces().iter().map(|i| i.handle()).collect())
            .unwrap_or_default();
        for i in &interfaces {
            i.as_method_table().map_or(Ok(()), corten_loader::ensure_full)?;
        }
        type_array(thread, &interfaces, false)
    })
}

extern "C" fn get_num_virtuals(ty: ObjPtr) -> i32 {
    icall_body(|_| Ok(type_arg(ty)?.as_method_table().map_or(0, num_virtuals) as i32))
}

extern "C" fn get_utf8_name(ty: ObjPtr) -> *const u8 {
    icall_body(|_| {
        let t = type_arg(ty)?;
        if let Some(variable) = t.as_type_desc().and_then(|d| d.as_variable()) {
            return Ok(name_pointer(variable.name));
        }
        match t.as_method_table().and_then(|mt| mt.class().definition()) {
            Some(definition) => Ok(name_pointer(definition.name())),
            None => Err(Raise::new(
                ExceptionKind::Argument,
                format!("{} has no metadata name", t.display_name()),
            )),
        }
    })
}

extern "C" fn can_cast_to(ty: ObjPtr, target: ObjPtr) -> bool {
    icall_body(|_| {
        let (ty, target) = (type_arg(ty)?, type_arg(target)?);
        Ok(corten_loader::cast::can_cast_to(ty, target))
    })
}

extern "C" fn get_declaring_type(ty: ObjPtr) -> ObjPtr {
    icall_body(|_| {
        let t = type_arg(ty)?;
        if let Some(desc) = t.as_type_desc() {
            return Ok(match desc.as_variable() {
                Some(variable) => type_object(variable.declaring_type()?.handle()),
                None => std::ptr::null_mut(),
            });
        }
        let Some(outer) = t.as_method_table().and_then(|mt| mt.class().enclosing()) else {
            return Ok(std::ptr::null_mut());
        };
        Ok(type_object(outer.module().typical_type(outer.rid())?.handle()))
    })
}

extern "C" fn get_declaring_method(ty: ObjPtr) -> ObjPtr {
    icall_body(|_| {
        let t = type_arg(ty)?;
        let Some(variable) = t.as_type_desc().and_then(|d| d.as_variable()) else {
            return Ok(std::ptr::null_mut());
        };
        Ok(variable
            .declaring_method()?
            .map_or(std::ptr::null_mut(), method_stub_object))
    })
}

extern "C" fn is_generic_variable(ty: ObjPtr) -> bool {
    icall_body(|_| Ok(type_arg(ty)?.is_generic_variable()))
}

extern "C" fn get_generic_variable_index(ty: ObjPtr) -> i32 {
    icall_body(|_| {
        let t = type_arg(ty)?;
        t.as_type_desc()
            .and_then(|d| d.as_variable())
            .map(|v| i32::from(v.index))
            .ok_or_else(|| Raise::of(ExceptionKind::InvalidOperation))
    })
}

extern "C" fn contains_generic_variables(ty: ObjPtr) -> bool {
    icall_body(|_| Ok(type_arg(ty)?.contains_generic_variables()))
}

extern "C" fn satisfies_constraints(
    parameter: ObjPtr,
    type_context: *const usize,
    type_count: i32,
    method_context: *const usize,
    method_count: i32,
    argument: ObjPtr,
) -> bool {
    icall_body(|_| {
        let (parameter, argument) = (type_arg(parameter)?, type_arg(argument)?);
        let Some(variable) = parameter.as_type_desc().and_then(|d| d.as_variable()) else {
            return Err(null_argument());
        };
        // SAFETY: managed code passes two arrays of that many handles.
        let (class_inst, method_inst) = unsafe {
            (
                raw_types(type_context, type_count)?,
                raw_types(method_context, method_count)?,
            )
        };
        let context = corten_loader::GenericContext {
            class_inst: &class_inst,
            method_inst: &method_inst,
        };
        satisfies(variable, argument, context)
    })
}

/// Whether `argument` may stand for one generic parameter (ECMA-335 II.10.1.7).
fn satisfies(
    variable: &GenericVariable,
    argument: TypeHandle,
    context: corten_loader::GenericContext<'_>,
) -> VmResult<bool> {
    use corten_metadata::GenericParamAttributes as Flags;
    let f = variable.flags;
    if argument.is_byref() || argument.is_void() || argument.is_pointer() {
        return Ok(false);
    }
    let mt = argument.as_method_table();
    let has_public_ctor = mt.is_some_and(|mt| {
        mt.is_value_type()
            || !mt
                .class()
                .attributes()
                .contains(corten_metadata::TypeAttributes::ABSTRACT)
                && mt.class().default_constructor().is_some_and(|c| {
                    let access = c.attributes() & corten_metadata::MethodAttributes::MEMBER_ACCESS_MASK;
                    access == corten_metadata::MethodAttributes::PUBLIC
                })
    });
    if argument.is_byref_like() && !f.contains(Flags::ALLOW_BY_REF_LIKE)
        || f.contains(Flags::REFERENCE_TYPE_CONSTRAINT) && argument.is_value_type()
        || f.contains(Flags::NOT_NULLABLE_VALUE_TYPE_CONSTRAINT)
            && (!argument.is_value_type() || argument.is_nullable())
        || f.contains(Flags::DEFAULT_CONSTRUCTOR_CONSTRAINT) && !has_public_ctor && !argument.is_generic_variable()
    {
        return Ok(false);
    }
    let metadata = variable.module.metadata();
    for rid in metadata.generic_param_constraints(variable.token.rid()) {
        let row = metadata
            .generic_param_constraint(rid)
            .map_err(|e| variable.module.bad_image(e))?;
        let constraint = match variable.module.resolve_type(row.constraint, context) {
            // A constraint that the argument itself makes impossible is not satisfied.
            Err(corten_loader::LoadError::TypeLoad { .. }) => return Ok(false),
            other => other?,
        };
        if !corten_loader::cast::can_cast_to(argument, constraint) {
            return Ok(false);
        }
    }
    Ok(true)
}

extern "C" fn is_equivalent_to(left: ObjPtr, right: ObjPtr) -> bool {
    left == right
}

/// Whether the type's CorElementType is that of a primitive.
pub fn is_primitive(t: TypeHandle) -> bool {
    t.cor_element_type().is_primitive() && t.cor_element_type() != ElementType::End
}

icall_table! {
    /// Type handle calls.
    TABLE: "System.RuntimeTypeHandle" {
        "IsInstanceOfType" => is_instance_of_type,
        "GetCorElementType" => get_cor_element_type,
        "GetAssembly" => get_assembly,
        "GetModule" => get_module,
        "GetBaseType" => get_base_type,
        "GetAttributes" => get_attributes,
        "GetElementType" => get_element_type,
        "CompareCanonicalHandles" => compare_canonical_handles,
        "GetArrayRank" => get_array_rank,
        "GetToken" => get_token,
        "GetMethodAt" => get_method_at,
        "GetArgumentTypesFromFunctionPointer" => get_argument_types_from_function_pointer,
        "IsUnmanagedFunctionPointer" => is_unmanaged_function_pointer,
        "GetFirstIntroducedMethod" => get_first_introduced_method,
        "GetNextIntroducedMethod" => get_next_introduced_method,
        "GetFields" => get_fields,
        "GetInterfaces" => get_interfaces,
        "GetNumVirtuals" => get_num_virtuals,
        "_GetUtf8Name" => get_utf8_name,
        "CanCastTo" => can_cast_to,
        "GetDeclaringType" => get_declaring_type,
        "GetDeclaringMethod" => get_declaring_method,
        "IsGenericVariable" => is_generic_variable,
        "GetGenericVariableIndex" => get_generic_variable_index,
        "ContainsGenericVariables" => contains_generic_variables,
        "SatisfiesConstraints" => satisfies_constraints,
        "IsEquivalentTo" => is_equivalent_to,
    }
}
