//! QCalls of `System.RuntimeTypeHandle` and of the caches behind `RuntimeType` (activation, boxing).

use super::handles::{ObjectHandle, QCallAssembly, QCallType, put};
use crate::error::{ExceptionKind, Raise, VmResult, qcall_body};
use crate::icalls::reflection::boxing::nullable_value_offset;
use crate::icalls::reflection::invoke::{self};
use crate::icalls::reflection::runtime_type_handle::num_virtuals;
use crate::icalls::reflection::support::{
    ensure_initialized, is_other_instantiation, method_arg, raw_type, raw_types, table_of, type_arg, type_array,
};
use crate::qcall_table;
use crate::type_objects::type_object;
use corten_gc_hooks::handles::HandleKind;
use corten_gc_hooks::heap::Heap;
use corten_jit::ir::Helper;
use corten_loader::names::TypeNameFlags;
use corten_loader::{MethodTable, TypeHandle};
use corten_metadata::{MethodAttributes, TypeAttributes};

extern "C" fn get_gc_handle(ty: QCallType, kind: i32) -> usize {
    qcall_body(|_| {
        ty.ty()?;
        let kind = match kind {
            0 => HandleKind::WeakShort,
            1 => HandleKind::WeakLong,
            3 => HandleKind::Pinned,
            _ => HandleKind::Strong,
        };
        Ok(Heap::get().handles().alloc(kind, std::ptr::null_mut()) as usize)
    })
}

extern "C" fn free_gc_handle(_ty: QCallType, handle: usize) -> usize {
    qcall_body(|_| {
        if handle != 0 {
            // SAFETY: managed code returns a handle that it got from `get_gc_handle`.
            unsafe { Heap::get().handles().free(handle as *mut _) };
        }
        Ok(0)
    })
}

/// What an instance is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// `Activator.CreateInstance`.
    Construct,
    /// `RuntimeHelpers.GetUninitializedObject`.
    Uninitialised,
}

/// The type that an instance can be made of without arguments.
///
/// # Errors
/// Why none can be made, in the order of CoreCLR's tests.
fn instantiable(t: TypeHandle, purpose: Purpose) -> VmResult<&'static MethodTable> {
    let raise = |kind, text: &str| Err(Raise::new(kind, text));
    let (wrong, missing) = match purpose {
        Purpose::Construct => (ExceptionKind::MissingMethod, ExceptionKind::MissingMethod),
        Purpose::Uninitialised => (ExceptionKind::Argument, ExceptionKind::MemberAccess),
    };
    if t.is_void() {
        return raise(ExceptionKind::Argument, UNSUPPORTED);
    }
    let Some(mt) = t.as_method_table().filter(|mt| !mt.is_array()) else {
        return raise(wrong, UNSUPPORTED);
    };
    if t.is_delegate() {
        return raise(ExceptionKind::Argument, UNSUPPORTED);
    }
    if mt.is_string() {
        return raise(wrong, NO_EMPTY_STRING);
    }
    if mt.is_interface() {
        return raise(missing, "Cannot create an instance of an interface.");
    }
    if mt.class().attributes().contains(TypeAttributes::ABSTRACT) {
        return raise(missing, "Cannot create an abstract class.");
    }
    if mt.contains_generic_variables() {
        return raise(
            ExceptionKind::MemberAccess,
            "Cannot create a type for which Type.ContainsGenericParameters is true.",
        );
    }
    if mt.is_byref_like() {
        return raise(ExceptionKind::NotSupported, "Cannot create boxed ByRef-like values.");
    }
    Ok(mt)
}

/// Managed address of the allocator `(MethodTable*) -> object`.
fn allocator() -> usize {
    crate::helpers::address(Helper::NewObject) as usize
}

extern "C" fn get_activation_info(
    runtime_type: ObjectHandle,
    allocate: *mut usize,
    argument: *mut usize,
    ref_ctor: *mut usize,
    value_ctor: *mut usize,
    is_public: *mut i32,
) {
    qcall_body(|_| {
        let ty = type_arg(runtime_type.get())?;
        let mt = instantiable(ty, Purpose::Construct)?;
        put(allocate, 0);
        put(argument, 0);
        put(ref_ctor, 0);
        put(value_ctor, 0);
        put(is_public, 1);
        if mt.is_nullable() {
            // CreateInstance of a Nullable is null: managed code supplies the allocator.
            return Ok(());
        }
        // A constructor runs the type initialiser itself, so that its failure surfaces from the constructor call.
        if mt.class().default_constructor().is_none() {
            ensure_initialized_for_allocation(mt)?;
        }
        put(allocate, allocator());
        put(argument, mt.address());
        match mt.class().default_constructor() {
            Some(ctor) => {
                let visibility = ctor.attributes() & MethodAttributes::MEMBER_ACCESS_MASK;
                put(is_public, i32::from(visibility == MethodAttributes::PUBLIC));
                if mt.is_value_type() {
                    put(ref_ctor, ctor.unboxing_stub()?);
                    put(value_ctor, ctor.stable_entry());
                } else {
                    put(ref_ctor, ctor.stable_entry());
                }
            }
            None if mt.is_value_type() => {}
            None => {
                return Err(Raise::new(
                    ExceptionKind::MissingMethod,
                    "No parameterless constructor defined.",
                ));
            }
        }
        Ok(())
    });
}

/// Types with precise initialisation are initialised before their first instance exists.
fn ensure_initialized_for_allocation(mt: &'static MethodTable) -> VmResult<()> {
    if mt.class().is_before_field_init() {
        Ok(())
    } else {
        ensure_initialized(mt)
    }
}

const NO_EMPTY_STRING: &str = "Uninitialized Strings cannot be created.";
const UNSUPPORTED: &str = "Type is not supported.";

extern "C" fn get_create_uninitialized_info(ty: QCallType, allocate: *mut usize, argument: *mut usize) {
    qcall_body(|_| {
        let mut mt = instantiable(ty.ty()?, Purpose::Uninitialised)?;
        if let Some(inner) = mt.nullable_argument() {
            mt = table_of(inner)?;
        }
        ensure_initialized_for_allocation(mt)?;
        put(allocate, allocator());
        put(argument, mt.address());
        Ok(())
    });
}

extern "C" fn get_box_info(
    ty: QCallType,
    allocate: *mut usize,
    argument: *mut usize,
    nullable_offset: *mut i32,
    size: *mut u32,
) {
    qcall_body(|_| {
        let mt = ty.table()?;
        if mt.handle().is_void() {
            return Err(Raise::new(ExceptionKind::Argument, UNSUPPORTED));
        }
        if mt.is_byref_like() {
            return Err(Raise::new(
                ExceptionKind::NotSupported,
                "Cannot create boxed ByRef-like values.",
            ));
        }
        let mut boxed = mt;
        put(nullable_offset, 0);
        if let Some(inner) = mt.nullable_argument() {
            boxed = table_of(inner)?;
            put(nullable_offset, nullable_value_offset(mt)? as i32);
        }
        ensure_initialized_for_allocation(boxed)?;
        put(allocate, allocator());
        put(argument, boxed.address());
        put(size, boxed.value_size());
        Ok(())
    });
}

extern "C" fn get_instantiation(ty: QCallType, result: ObjectHandle, as_runtime_type: i32) {
    qcall_body(|thread| {
        let t = ty.ty()?;
        if !t.instantiation().is_empty() {
            result.set(type_array(thread, t.instantiation(), as_runtime_type != 0)?);
        }
        Ok(())
    });
}

extern "C" fn instantiate(ty: QCallType, arguments: *const usize, count: i32, result: ObjectHandle) {
    qcall_body(|_| {
        // SAFETY: managed code passes an array of that many handles.
        let arguments = unsafe { raw_types(arguments, count)? };
        let definition = ty.table()?;
        result.set(type_object(corten_loader::instantiate(definition, &arguments)?));
        Ok(())
    });
}

extern "C" fn create_instance_for_another_generic_parameter(
    ty: QCallType,
    arguments: *const usize,
    count: i32,
    result: ObjectHandle,
) {
    qcall_body(|thread| {
        // SAFETY: managed code passes an array of that many handles.
        let arguments = unsafe { raw_types(arguments, count)? };
        let definition = ty.table()?.class().typical()?;
        let mt = table_of(corten_loader::instantiate(definition, &arguments)?)?;
        ensure_initialized_for_allocation(mt)?;
        let ctor = mt
            .class()
            .default_constructor()
            .ok_or_else(|| Raise::of(ExceptionKind::MissingMethod))?;
        result.set(invoke::construct(thread, ctor, &|_| std::ptr::null_mut())?);
        Ok(())
    });
}

/// From `System.TypeNameFormatFlags`.
pub fn name_flags(format: u32) -> TypeNameFlags {
    const FORMAT_NO_VERSION: u32 = 0x10;
    let mut flags = TypeNameFlags::empty();
    let pairs = [
        (1, TypeNameFlags::NAMESPACE),
        (2, TypeNameFlags::FULL_INST),
        (4, TypeNameFlags::ASSEMBLY),
        (FORMAT_NO_VERSION, TypeNameFlags::NO_VERSION),
        (0x40, TypeNameFlags::ANGLE_BRACKETS),
    ];
    for (bit, flag) in pairs {
        if format & bit != 0 {
            flags |= flag;
        }
    }
    flags
}

extern "C" fn construct_name(ty: QCallType, format: u32, result: ObjectHandle) {
    qcall_body(|thread| {
        let (t, flags) = (ty.ty()?, name_flags(format));
        // Function pointers have no simple name.
        let name = if t.is_function_pointer() && !flags.contains(TypeNameFlags::NAMESPACE) {
            String::new()
        } else {
            corten_loader::format_type(t, flags)
        };
        result.set(crate::strings::new_string(thread, &name)?);
        Ok(())
    });
}

extern "C" fn get_constraints(ty: QCallType, result: ObjectHandle) {
    qcall_body(|thread| {
        let t = ty.ty()?;
        let Some(variable) = t.as_type_desc().and_then(|d| d.as_variable()) else {
            return Err(Raise::new(
                ExceptionKind::Argument,
                "Method may only be called on a Type for which Type.IsGenericParameter is true.",
            ));
        };
        let constraints = variable.constraints()?;
        result.set(type_array(thread, &constraints, false)?);
        Ok(())
    });
}

extern "C" fn get_generic_type_definition(ty: QCallType, result: ObjectHandle) {
    qcall_body(|_| {
        result.set(type_object(ty.table()?.class().typical()?.handle()));
        Ok(())
    });
}

extern "C" fn make_array(ty: QCallType, rank: i32, result: ObjectHandle) {
    qcall_body(|_| {
        let t = corten_loader::make_array(ty.ty()?, rank.max(1) as u32, false)?;
        result.set(type_object(t));
        Ok(())
    });
}

extern "C" fn make_sz_array(ty: QCallType, result: ObjectHandle) {
    qcall_body(|_| {
        result.set(type_object(corten_loader::make_array(ty.ty()?, 1, true)?));
        Ok(())
    });
}

extern "C" fn make_byref(ty: QCallType, result: ObjectHandle) {
    qcall_body(|_| {
        let t = ty.ty()?;
        if t.is_byref() {
            return Err(of_byref(t, "ByRef of"));
        }
        result.set(type_object(corten_loader::make_byref(t)));
        Ok(())
    });
}

extern "C" fn make_pointer(ty: QCallType, result: ObjectHandle) {
    qcall_body(|_| {
        let t = ty.ty()?;
        if t.is_byref() {
            return Err(of_byref(t, "pointer to"));
        }
        result.set(type_object(corten_loader::make_pointer(t)));
        Ok(())
    });
}

fn of_byref(t: TypeHandle, wanted: &str) -> Raise {
    let element = t.element_type().unwrap_or(t);
    let assembly = element
        .as_method_table()
        .map_or_else(String::new, |mt| mt.module().assembly_display_name());
    Raise::new(
        ExceptionKind::TypeLoad,
        format!(
            "Could not create a {wanted} a ByRef. Type: '{}'. Assembly: '{assembly}'.",
            t.display_name()
        ),
    )
}

extern "C" fn is_collectible(ty: QCallType) -> i32 {
    qcall_body(|_| Ok(i32::from(crate::collectible::is_collectible(ty.ty()?))))
}

extern "C" fn register_collectible_type_dependency(_ty: QCallType, _assembly: QCallAssembly) {}

/// Whether a type can be seen from outside its assembly.
pub fn is_visible_type(t: TypeHandle) -> bool {
    if let Some(element) = t.element_type() {
        return is_visible_type(element);
    }
    let Some(mt) = t.as_method_table() else {
        return true;
    };
    let mut definition = mt.class().definition();
    while let Some(d) = definition {
        let visibility = d.attributes() & TypeAttributes::VISIBILITY_MASK;
        let outer = d.enclosing();
        let wanted = if outer.is_some() {
            TypeAttributes::NESTED_PUBLIC
        } else {
            TypeAttributes::PUBLIC
        };
        if visibility != wanted {
            return false;
        }
        definition = outer;
    }
    mt.instantiation().iter().all(|a| is_visible_type(*a))
}

extern "C" fn is_visible(ty: QCallType) -> i32 {
    qcall_body(|_| Ok(i32::from(is_visible_type(ty.ty()?))))
}

extern "C" fn get_num_virtuals_and_static_virtuals(ty: QCallType) -> i32 {
    qcall_body(|_| {
        let mt = ty.table()?;
        let statics = mt.methods().iter().filter(|m| m.is_static() && m.is_virtual()).count();
        Ok((num_virtuals(mt) + statics) as i32)
    })
}

extern "C" fn verify_interface_is_implemented(ty: QCallType, interface: QCallType) {
    qcall_body(|_| {
        let (mt, interface) = (ty.table()?, interface.table()?);
        if mt.is_interface() {
            return Err(Raise::new(
                ExceptionKind::Argument,
                "'this' type cannot be an interface itself.",
            ));
        }
        if !interface.is_interface() {
            return Err(Raise::new(ExceptionKind::Argument, "Type passed must be an interface."));
        }
        if mt == interface || corten_loader::cast::can_cast_to(mt.handle(), interface.handle()) {
            return Ok(());
        }
        Err(Raise::new(ExceptionKind::Argument, "Interface not found."))
    });
}

extern "C" fn get_interface_method_implementation(ty: QCallType, interface: QCallType, method: usize) -> usize {
    qcall_body(|_| {
        let mt = ty.table()?;
        let mut method = method_arg(method)?;
        let owner = interface.table()?;
        if is_other_instantiation(owner, method.owner()) {
            method = method.on_owner(owner)?;
        }
        if method.is_static() {
            return Ok(corten_loader::resolve_static_virtual(mt, method).map_or(0, |m| m.address()));
        }
        match corten_loader::dispatch::resolve_interface(mt, method) {
            Ok(target) => Ok(target.address()),
            Err(_) => Ok(0),
        }
    })
}

extern "C" fn can_cast_to_no_cache_lookup(from: usize, to: usize) -> i32 {
    qcall_body(|_| {
        Ok(i32::from(corten_loader::cast::can_cast_to(
            raw_type(from)?,
            raw_type(to)?,
        )))
    })
}

extern "C" fn are_types_equivalent(left: usize, right: usize) -> i32 {
    i32::from(left == right)
}

extern "C" fn allocate_type_associated_memory(_ty: QCallType, size: u32) -> usize {
    // Types are never unloaded: plain zeroed memory.
    Box::leak(vec![0u64; (size as usize).div_ceil(8).max(1)].into_boxed_slice()).as_ptr() as usize
}

qcall_table! {
    /// Type handle QCalls.
    TABLE:
    "QCall_GetGCHandleForTypeHandle" => get_gc_handle,
    "QCall_FreeGCHandleForTypeHandle" => free_gc_handle,
    "RuntimeTypeHandle_GetActivationInfo" => get_activation_info,
    "ReflectionSerialization_GetCreateUninitializedObjectInfo" => get_create_uninitialized_info,
    "ReflectionInvocation_GetBoxInfo" => get_box_info,
    "RuntimeTypeHandle_GetInstantiation" => get_instantiation,
    "RuntimeTypeHandle_Instantiate" => instantiate,
    "RuntimeTypeHandle_CreateInstanceForAnotherGenericParameter" => create_instance_for_another_generic_parameter,
    "RuntimeTypeHandle_ConstructName" => construct_name,
    "RuntimeTypeHandle_GetConstraints" => get_constraints,
    "RuntimeTypeHandle_GetGenericTypeDefinition" => get_generic_type_definition,
    "RuntimeTypeHandle_MakeArray" => make_array,
    "RuntimeTypeHandle_MakeSZArray" => make_sz_array,
    "RuntimeTypeHandle_MakeByRef" => make_byref,
    "RuntimeTypeHandle_MakePointer" => make_pointer,
    "RuntimeTypeHandle_IsCollectible" => is_collectible,
    "RuntimeTypeHandle_RegisterCollectibleTypeDependency" => register_collectible_type_dependency,
    "RuntimeTypeHandle_IsVisible" => is_visible,
    "RuntimeTypeHandle_GetNumVirtualsAndStaticVirtuals" => get_num_virtuals_and_static_virtuals,
    "RuntimeTypeHandle_VerifyInterfaceIsImplemented" => verify_interface_is_implemented,
    "RuntimeTypeHandle_GetInterfaceMethodImplementation" => get_interface_method_implementation,
    "RuntimeTypeHandle_AllocateTypeAssociatedMemory" => allocate_type_associated_memory,
    "TypeHandle_CanCastTo_NoCacheLookup" => can_cast_to_no_cache_lookup,
    "MethodTable_AreTypesEquivalent" => are_types_equivalent,
}
