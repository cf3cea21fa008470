//! Internal calls of `System.Reflection.RuntimeAssembly`, `System.ModuleHandle` and `AssemblyLoadContext`.

use super::support::{assembly_arg, module_arg};
use crate::error::icall_body;
use crate::icall_table;
use crate::reflection_objects::module_object;
use corten_gc_hooks::object::ObjPtr;

extern "C" fn is_dynamic(assembly: ObjPtr) -> bool {
    icall_body(|_| {
        Ok(crate::qcalls::reflection::dynamic_assembly::is_dynamic(assembly_arg(
            assembly,
        )?))
    })
}

extern "C" fn get_manifest_module(assembly: ObjPtr) -> ObjPtr {
    icall_body(|_| module_object(assembly_arg(assembly)?.module()))
}

extern "C" fn get_assembly_token(assembly: ObjPtr) -> u32 {
    icall_body(|_| assembly_arg(assembly).map(|_| 0x2000_0001))
}

extern "C" fn get_module_token(module: ObjPtr) -> u32 {
    icall_body(|_| module_arg(module).map(|_| 1))
}

extern "C" fn get_md_stream_version(module: ObjPtr) -> i32 {
    icall_body(|_| module_arg(module).map(|_| 0x2_0000))
}

extern "C" fn is_tracing_enabled() -> bool {
    false
}

icall_table! {
    /// Assembly and module calls.
    TABLE: "System.Reflection.RuntimeAssembly" {
        "FCallIsDynamic" => is_dynamic,
        "GetManifestModule" => get_manifest_module,
        "GetToken" => get_assembly_token,
    }
    "System.ModuleHandle" {
        "GetToken" => get_module_token,
        "GetMDStreamVersion" => get_md_stream_version,
        "GetDynamicMethod" => super::dynamic_method::get_dynamic_method,
    }
    "System.Runtime.Loader.AssemblyLoadContext" {
        "IsTracingEnabled" => is_tracing_enabled,
    }
}
