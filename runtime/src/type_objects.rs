//! The managed faces of loader structures: RuntimeType objects and handle stubs. They never move, so that their addresses
//! can be constants in code; all but the RuntimeTypes of collectible types are frozen.

use corten_gc_hooks::heap::Heap;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{FieldDesc, MethodDesc, TypeHandle, corelib_type};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::OnceLock;

#[derive(Default)]
struct Objects {
    types: FxHashMap<usize, usize>,
    methods: FxHashMap<usize, usize>,
    fields: FxHashMap<usize, usize>,
}

fn objects() -> &'static Mutex<Objects> {
    static O: OnceLock<Mutex<Objects>> = OnceLock::new();
    O.get_or_init(Default::default)
}

/// Allocates a frozen object of a CoreLib class; running out of frozen space ends the process (it is bounded by the number
/// of types).
fn frozen(ns: &str, name: &str) -> ObjPtr {
    let mt = match corelib_type(ns, name) {
        Ok(mt) => mt,
        Err(e) => crate::engine::fatal(&format!("{ns}.{name} cannot be loaded: {e}")),
    };
    match Heap::get().alloc_frozen(mt.as_gc_ptr(), mt.base_size() as usize) {
        Ok(o) => o,
        Err(_) => crate::engine::fatal("out of memory in the frozen space"),
    }
}

/// A raw TypeHandle that is known to be one.
fn handle(raw: usize) -> TypeHandle {
    // SAFETY: callers read it from places that hold TypeHandles only.
    match unsafe { TypeHandle::from_raw(raw) } {
        Some(t) => t,
        None => crate::engine::fatal("a null TypeHandle"),
    }
}

fn word(o: ObjPtr, offset: usize) -> *mut usize {
    (o as *mut u8).wrapping_add(offset).cast()
}

/// Offset of `RuntimeType.m_keepalive`.
const RUNTIME_TYPE_KEEPALIVE: usize = 8;
/// Offset of `RuntimeType.m_handle`.
pub const RUNTIME_TYPE_HANDLE: usize = 24;
/// Offset of `RuntimeMethodInfoStub.m_value`.
pub const METHOD_STUB_VALUE: usize = 80;
/// Offset of `RuntimeFieldInfoStub.m_fieldHandle`.
pub const FIELD_STUB_HANDLE: usize = 56;

/// The RuntimeType object of a type (`typeof(T)`), made on first request.
pub fn type_object(t: TypeHandle) -> ObjPtr {
    let cell = match t.as_type_desc() {
        Some(d) => &d.exposed_object,
        None => match t.as_method_table() {
            Some(m) => &m.class().exposed_object,
            None => crate::engine::fatal("a TypeHandle that is neither MethodTable nor TypeDesc"),
        },
    };
    let p = cell.load(std::sync::atomic::Ordering::Acquire);
    if p != 0 {
        return p as ObjPtr;
    }
    let mut table = objects().lock();
    if let Some(&p) = table.types.get(&t.raw()) {
        return p as ObjPtr;
    }
    if let Some(group) = t.collectible()
        && let Ok(mt) = corelib_type("System", "RuntimeType")
    {
        let p = cell.load(std::sync::atomic::Ordering::Acquire);
        if p != 0 {
            return p as ObjPtr;
        }
        let slot = cell.as_ptr().cast::<ObjPtr>();
        if let Some(o) = crate::collectible::fixed_object(group, mt, slot, RUNTIME_TYPE_KEEPALIVE) {
            // SAFETY: a fresh object of RuntimeType's layout.
            unsafe { *word(o, RUNTIME_TYPE_HANDLE) = t.raw() };
            return o;
        }
    }
    let o = frozen("System", "RuntimeType");
    // SAFETY: a fresh object of RuntimeType's layout.
    unsafe { *word(o, RUNTIME_TYPE_HANDLE) = t.raw() };
    table.types.insert(t.raw(), o as usize);
    cell.store(o as usize, std::sync::atomic::Ordering::Release);
    o
}

/// TypeHandle of a RuntimeType object.
pub fn type_handle_of(runtime_type: ObjPtr) -> TypeHandle {
    // SAFETY: RuntimeType objects hold a valid TypeHandle in m_handle.
    handle(unsafe { *word(runtime_type, RUNTIME_TYPE_HANDLE) })
}

/// Frozen `RuntimeMethodInfoStub` of a method (`ldtoken method`).
pub fn method_stub_object(m: &'static MethodDesc) -> ObjPtr {
    let key = m as *const MethodDesc as usize;
    let mut table = objects().lock();
    if let Some(&p) = table.methods.get(&key) {
        return p as ObjPtr;
    }
    let o = frozen("System", "RuntimeMethodInfoStub");
    // SAFETY: a fresh object of that layout.
    unsafe { *word(o, METHOD_STUB_VALUE) = key };
    table.methods.insert(key, o as usize);
    o
}

/// Frozen `RuntimeFieldInfoStub` of a field (`ldtoken field`).
pub fn field_stub_object(f: &'static FieldDesc) -> ObjPtr {
    let key = f as *const FieldDesc as usize;
    let mut table = objects().lock();
    if let Some(&p) = table.fields.get(&key) {
        return p as ObjPtr;
    }
    let o = frozen("System", "RuntimeFieldInfoStub");
    // SAFETY: a fresh object of that layout.
    unsafe { *word(o, FIELD_STUB_HANDLE) = key };
    table.fields.insert(key, o as usize);
    o
}

/// The exact type of an object.
///
/// # Safety
/// `o` is a live object; no safepoint meanwhile.
pub unsafe fn type_of(o: ObjPtr) -> TypeHandle {
    // SAFETY: word 0 of an object is its MethodTable, whose address is its TypeHandle.
    handle(unsafe { (*o).mt } as usize)
}

/// RuntimeType object of an object's exact type.
///
/// # Safety
/// As [`type_of`].
pub unsafe fn type_object_of(o: ObjPtr) -> ObjPtr {
    // SAFETY: the caller's promise.
    type_object(unsafe { type_of(o) })
}
