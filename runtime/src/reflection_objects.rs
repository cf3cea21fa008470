//! The managed faces of assemblies and modules: frozen `RuntimeAssembly` and `RuntimeModule` objects, one per native
//! structure. Types, methods and fields have theirs in [`type_objects`](crate::type_objects).

use crate::error::{ExceptionKind, Raise, VmResult};
use crate::icalls::reflection::support::{ASSEMBLY_DATA, MODULE_DATA, corelib, table_of};
use corten_gc_hooks::barrier;
use corten_gc_hooks::heap::Heap;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::collectible::{self, Collectible};
use corten_loader::{Assembly, Module};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::OnceLock;

/// Offset of `RuntimeAssembly.m_syncRoot`, which keeps a collectible assembly's types alive.
const ASSEMBLY_SYNC_ROOT: usize = 24;
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

/// As [`intern`], for an object of a collectible assembly: the table has the address of its cell.
fn intern_collectible(
    table: &Table,
    key: usize,
    group: &'static Collectible,
    name: &str,
    keep: usize,
    fill: impl FnOnce(ObjPtr),
) -> VmResult<ObjPtr> {
    let mt = table_of(corelib("System.Reflection", name)?)?;
    let mut table = table.lock();
    let cell = *table
        .entry(key)
        .or_insert_with(|| std::ptr::from_mut(Box::leak(Box::new(0usize))) as usize) as *mut ObjPtr;
    // SAFETY: a leaked cell, written under the lock and by the collector only.
    let known = unsafe { cell.read() };
    if !known.is_null() {
        return Ok(known);
    }
    let Some(object) = crate::collectible::fixed_object(group, mt, cell, keep) else {
        return Err(Raise::new(
            ExceptionKind::InvalidOperation,
            "The assembly has been unloaded.",
        ));
    };
    fill(object);
    Ok(object)
}

/// The `RuntimeAssembly` of an assembly.
///
/// # Errors
/// Out of frozen memory.
pub fn assembly_object(assembly: &'static Assembly) -> VmResult<ObjPtr> {
    let key = std::ptr::from_ref(assembly) as usize;
    if let Some(group) = collectible::of_context(assembly.context()) {
        return intern_collectible(assemblies(), key, group, "RuntimeAssembly", ASSEMBLY_SYNC_ROOT, |o| {
            // SAFETY: a fresh object of that layout.
            unsafe { o.cast::<u8>().add(ASSEMBLY_DATA).cast::<usize>().write(key) }
        });
    }
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
    let assembly = crate::icalls::reflection::support::assembly_of(module)?;
    if let Some(group) = collectible::of_context(assembly.context()) {
        let object = assembly_object(assembly)?;
        return intern_collectible(modules(), key, group, "RuntimeModule", MODULE_TYPE, |o| {
            // SAFETY: a fresh object of that layout; the assembly object never moves either.
            unsafe {
                o.cast::<u8>().add(MODULE_DATA).cast::<usize>().write(key);
                o.cast::<u8>().add(MODULE_ASSEMBLY).cast::<ObjPtr>().write(object);
                o.cast::<u8>()
                    .add(MODULE_TYPE)
                    .cast::<ObjPtr>()
                    .write(std::ptr::null_mut());
            }
        });
    }
    intern(modules(), key, || {
        let assembly = assembly_object(assembly)?;
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
