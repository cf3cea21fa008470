//! The managed faces of assemblies and modules: frozen `RuntimeAssembly` and `RuntimeModule` objects, one per native
//! structure. Types, methods and fields have theirs in [`type_objects`](crate::type_objects).

use crate::error::VmResult;
use crate::icalls::reflection::support::{ASSEMBLY_DATA, MODULE_DATA, corelib, table_of};
use corten_gc_hooks::barrier;
use corten_gc_hooks::heap::Heap;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{Assembly, Module};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::OnceLock;

/// Offset of `RuntimeModule.m_runtimeType`.
const MODULE_TYPE: usize = 8;
/// Offset of `RuntimeModule.m_runtimeAssembly`.
const MODULE_ASSEMBLY: usize = 16;

type Table = Mutex<FxHashMap<usize, usize>>;

fn assemblies() -> &'static Table {
    static T: OnceLock<Table> = OnceLock::new();
    T.get_or_init(Default::default)
}

fn modules() -> &'static Table {
    static T: OnceLock<Table> = OnceLock::new();
    T.get_or_init(Default::default)
}

fn frozen(name: &str) -> VmResult<ObjPtr> {
    let mt = table_of(corelib("System.Reflection", name)?)?;
    Ok(Heap::get().alloc_frozen(mt.as_gc_ptr(), mt.base_size() as usize)?)
}

/// Interns `make()` under `key`: the loser of a race leaves an unused frozen object behind.
fn intern(table: &Table, key: usize, make: impl FnOnce() -> VmResult<ObjPtr>) -> VmResult<ObjPtr> {
    if let Some(&p) = table.lock().get(&key) {
        return Ok(p as ObjPtr);
    }
    let made = make()? as usize;
    Ok(*table.lock().entry(key).or_insert(made) as ObjPtr)
}

/// The `RuntimeAssembly` of an assembly.
///
/// # Errors
/// Out of frozen memory.
pub fn assembly_object(assembly: &'static Assembly) -> VmResult<ObjPtr> {
    let key = std::ptr::from_ref(assembly) as usize;
    intern(assemblies(), key, || {
        let o = frozen("RuntimeAssembly")?;
        // SAFETY: a fresh object of that layout.
        unsafe { o.cast::<u8>().add(ASSEMBLY_DATA).cast::<usize>().write(key) };
        Ok(o)
    })
}

/// The `RuntimeModule` of a module.
///
/// # Errors
/// Out of frozen memory.
pub fn module_object(module: &'static Module) -> VmResult<ObjPtr> {
    let key = std::ptr::from_ref(module) as usize;
    intern(modules(), key, || {
        let assembly = assembly_object(crate::icalls::reflection::support::assembly_of(module)?)?;
        let o = frozen("RuntimeModule")?;
        // SAFETY: a fresh object of that layout; the assembly object is frozen.
        unsafe {
            o.cast::<u8>().add(MODULE_DATA).cast::<usize>().write(key);
            barrier::store_ref(o.cast::<u8>().add(MODULE_ASSEMBLY).cast::<ObjPtr>(), assembly);
            barrier::store_ref(o.cast::<u8>().add(MODULE_TYPE).cast::<ObjPtr>(), std::ptr::null_mut());
        }
        Ok(o)
    })
}
