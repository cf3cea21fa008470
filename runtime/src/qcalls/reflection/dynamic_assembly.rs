//! `AppDomain_CreateDynamicAssembly`: an assembly without file. Its image is written here: one module with the type
//! `<Module>` and nothing else (ECMA-335 II.22, II.24, II.25), which is what `DynamicMethod` needs to live in.

use super::assembly::NativeNameParts;
use super::handles::ObjectHandle;
use super::load_context::{binder, next_context_id};
use crate::error::qcall_body;
use crate::qcall_table;
use crate::reflection_objects::assembly_object;
use corten_gc_hooks::HandleScope;
use corten_loader::{Assembly, AssemblyName};
use corten_metadata::{TableId, writer::Writer};
use parking_lot::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name of the module, as CoreCLR calls it.
const MODULE_NAME: &str = "RefEmit_InMemoryManifestModule";

static DYNAMIC: RwLock<Vec<usize>> = RwLock::new(Vec::new());

/// Whether an assembly was made by [`AppDomain_CreateDynamicAssembly`](TABLE).
pub fn is_dynamic(assembly: &'static Assembly) -> bool {
    assembly.is_dynamic() || DYNAMIC.read().contains(&(std::ptr::from_ref(assembly) as usize))
}

/// The metadata of a new dynamic assembly: module, `<Module>` and manifest.
fn new_writer(name: &AssemblyName, mvid: u64) -> Writer {
    const SHA1: u32 = 0x8004;
    let mut w = Writer::default();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mvid.to_le_bytes());
    id[8..].copy_from_slice(&(mvid.rotate_left(32) ^ 0x5bd1_e995_9e37_79b9).to_le_bytes());
    let (module, global, guid) = (w.string(MODULE_NAME), w.string("<Module>"), w.guid(id));
    w.add(TableId::Module, &[0, module, guid]);
    w.add(TableId::TypeDef, &[0, global]);
    let (simple, culture) = (w.string(&name.name), w.string(&name.culture));
    let (a, b, c, d) = name.version.unwrap_or_default();
    w.add(
        TableId::Assembly,
        &[SHA1, a.into(), b.into(), c.into(), d.into(), 0, 0, simple, culture],
    );
    w
}

extern "C" fn create_dynamic_assembly(
    _context: ObjectHandle,
    name: *const NativeNameParts,
    _hash: i32,
    access: i32,
    result: ObjectHandle,
) {
    static MVID: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);
    /// Bit of `AssemblyBuilderAccess`.
    const COLLECT: i32 = 8;
    qcall_body(|thread| {
        // SAFETY: managed code passes a valid structure.
        let name = unsafe { (*name).to_name() };
        let mvid = MVID.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let writer = new_writer(&name, mvid);
        // A context of its own: dynamic assemblies may share names, and no reference binds to them.
        let context = next_context_id();
        let scope = HandleScope::new(&thread.header);
        // Until the assembly object refers to it.
        let _allocator = match access & COLLECT {
            0 => None,
            _ => Some(scope.root(crate::collectible::create(context, false)?.1)),
        };
        let assembly = binder()?.load_from_bytes(writer.image(), &name.name, context)?;
        assembly.module().make_dynamic(writer);
        DYNAMIC.write().push(std::ptr::from_ref(assembly) as usize);
        result.set(assembly_object(assembly)?);
        Ok(())
    });
}

qcall_table! {
    /// Dynamic assembly QCalls.
    TABLE:
    "AppDomain_CreateDynamicAssembly" => create_dynamic_assembly,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_image_is_a_valid_module() {
        let name = AssemblyName {
            version: Some((1, 2, 3, 4)),
            ..AssemblyName::simple("Dyn")
        };
        let module = new_writer(&name, 7).snapshot("Dyn").unwrap();
        let row = module.assembly().unwrap().unwrap();
        assert_eq!((row.name, row.version, row.culture), ("Dyn", (1, 2, 3, 4), ""));
        assert_eq!(module.module_row().unwrap().name, MODULE_NAME);
        assert_eq!(module.type_def(1).unwrap().name, "<Module>");
    }
}
