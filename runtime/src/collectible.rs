//! Collectible load contexts and dynamic assemblies: the runtime's side of [`corten_loader::collectible`].
//!
//! The *anchor* of a group is an `object[]` that never moves. Slot 0 refers to the managed `LoaderAllocator`, whose `m_slots` is
//! the anchor, so both live and die together. What keeps them alive: instances of the group's types (the collector follows
//! an edge from each), type and assembly objects (they hold the anchor), frames of its code, and until `Unload` a strong handle.
//! When they are dead, statics, type objects and assembly objects of the group are null; the finalizer of the
//! `LoaderAllocatorScout` then calls [`LoaderAllocator_Destroy`](TABLE), which lets the `AssemblyLoadContext` go.

use crate::error::{Raise, VmResult, qcall_body};
use crate::exceptions::create::{allocate, constructor};
use crate::managed::ManagedCall;
use crate::objects::store;
use crate::qcall_table;
use crate::reclaim::OwnedCode;
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::handles::HandleKind;
use corten_gc_hooks::heap::Heap;
use corten_gc_hooks::object::{MethodTableHeader, ObjPtr, array_data};
use corten_loader::collectible::{self, Collectible};
use corten_loader::{Class, MethodTable, TypeHandle, WellKnown, corelib_type};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Offset of `LoaderAllocator.m_scout`.
const SCOUT: usize = 8;
/// Offset of `LoaderAllocator.m_slots`.
const SLOTS: usize = 16;
/// Offset of `LoaderAllocatorScout.m_nativeLoaderAllocator`.
const SCOUT_NATIVE: usize = 8;

/// Native peer of a `LoaderAllocator`; leaked.
#[derive(Debug)]
struct Native {
    /// Tells, with resurrection, whether the `LoaderAllocator` is still there.
    alive: usize,
    /// Keeps it alive until the context is unloaded; 0 then.
    strong: AtomicUsize,
    /// Strong handle to the `AssemblyLoadContext`, given up when the group is gone.
    context: AtomicUsize,
    code: OwnedCode,
}

fn slot(object: ObjPtr, offset: usize) -> *mut ObjPtr {
    object.cast::<u8>().wrapping_add(offset).cast()
}

/// The anchor slot of the type of an object, for the collector.
fn edge(mt: *const MethodTableHeader) -> *mut ObjPtr {
    static NONE: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: the loader's MethodTables live for ever and point to their classes.
    let class = unsafe { &*(*mt).class.cast::<Class>() };
    class
        .collectible()
        .map_or(NONE.as_ptr(), Collectible::anchor_slot)
        .cast()
}

/// Tells the collector how types of collectible groups keep them alive (startup).
pub fn install() {
    corten_gc_hooks::collectible::set_edge(edge);
}

/// An `object[]` that never moves.
fn fixed_array(length: u32) -> VmResult<ObjPtr> {
    let array = corten_loader::make_array(WellKnown::get().object.handle(), 1, true)?;
    let mt: &'static MethodTable = array
        .as_method_table()
        .ok_or_else(|| Raise::of(crate::error::ExceptionKind::TypeLoad))?;
    // SAFETY: an array type and its length.
    Ok(unsafe { Heap::get().alloc_fixed(mt.as_gc_ptr(), Some(length)) }?)
}

/// Makes load context `context` collectible; nothing is loaded into it yet. With `held` it stays until [`release`], else
/// until nothing refers to what is in it. The result is the `LoaderAllocator` object, which the caller must keep reachable.
///
/// # Errors
/// No memory.
pub fn create(context: u64, held: bool) -> VmResult<(&'static Collectible, ObjPtr)> {
    let thread = Thread::current();
    let scope = HandleScope::new(&thread.header);
    let mt = corelib_type("System.Reflection", "LoaderAllocator")?;
    let allocator = scope.root(allocate(thread, mt)?);
    ManagedCall::new().obj(allocator.get()).invoke(constructor(mt, &[])?)?;
    let anchor = fixed_array(1)?;
    let handles = Heap::get().handles();
    let native: &'static Native = Box::leak(Box::new(Native {
        alive: handles.alloc(HandleKind::WeakLong, allocator.get()) as usize,
        strong: AtomicUsize::new(if held {
            handles.alloc(HandleKind::Strong, allocator.get()) as usize
        } else {
            0
        }),
        context: AtomicUsize::new(0),
        code: OwnedCode::default(),
    }));
    // SAFETY: live objects of those layouts; nothing here reaches a safepoint.
    unsafe {
        store(array_data(anchor).cast(), allocator.get());
        store(slot(allocator.get(), SLOTS), anchor);
        let scout = slot(allocator.get(), SCOUT).read();
        slot(scout, SCOUT_NATIVE)
            .cast::<usize>()
            .write(std::ptr::from_ref(native) as usize);
    }
    let group = collectible::register(context, anchor as usize);
    group
        .runtime_data
        .store(std::ptr::from_ref(native) as usize, Ordering::Release);
    // SAFETY: the group is leaked, the anchor never moves.
    unsafe { Heap::get().register_anchored_refs(group.anchor_slot().cast(), std::ptr::null_mut(), 0) };
    Ok((group, allocator.get()))
}

fn native(group: &'static Collectible) -> Option<&'static Native> {
    // SAFETY: null or a leaked Native.
    unsafe { (group.runtime_data.load(Ordering::Acquire) as *const Native).as_ref() }
}

/// Where code of the group is noted.
pub fn code_of(group: &'static Collectible) -> Option<&'static OwnedCode> {
    native(group).map(|native| &native.code)
}

/// The context was unloaded: from now on only references keep the group. `context` is a strong handle to the
/// `AssemblyLoadContext`, which lives as long as the group.
pub fn release(group: &'static Collectible, context: usize) {
    let Some(native) = native(group) else { return };
    native.context.store(context, Ordering::Release);
    let strong = native.strong.swap(0, Ordering::AcqRel);
    if strong != 0 {
        // SAFETY: the handle made in `create`, freed once.
        unsafe { Heap::get().handles().free(strong as *mut ObjPtr) };
    }
}

/// The `LoaderAllocator` object of a group; null when it is gone. Cooperative mode.
pub fn allocator_of(group: Option<&'static Collectible>) -> ObjPtr {
    let anchor = group.map_or(0, |g| g.anchor.load(Ordering::Acquire)) as ObjPtr;
    if anchor.is_null() {
        return anchor;
    }
    // SAFETY: a live anchor with one element.
    unsafe { array_data(anchor).cast::<ObjPtr>().read() }
}

/// Reports slots that hold null or objects while the group lives.
pub fn register(group: &'static Collectible, slots: *mut ObjPtr, count: usize) {
    // SAFETY: the callers' slots live for ever or are unregistered; the anchor never moves.
    unsafe { Heap::get().register_anchored_refs(group.anchor_slot().cast(), slots, count) };
}

/// A new object that never moves and lives in `cell` as long as the group; `None` if the group is gone. Its reference at
/// `keep` is the anchor. In any mode; the caller sees to it that the group stays alive meanwhile.
pub fn fixed_object(
    group: &'static Collectible,
    mt: &'static MethodTable,
    cell: *mut ObjPtr,
    keep: usize,
) -> Option<ObjPtr> {
    let anchor = group.anchor.load(Ordering::Acquire) as ObjPtr;
    if anchor.is_null() {
        return None;
    }
    register(group, cell, 1);
    // SAFETY: an instance of a class without finalizer, made into a slot that is reported. The anchor is in the old space as
    // the object is, so the store needs no barrier.
    unsafe {
        Heap::get().alloc_fixed_into(mt.as_gc_ptr(), cell).ok()?;
        let object = cell.read();
        slot(object, keep).write(anchor);
        Some(object)
    }
}

/// Makes `group` keep `other` alive.
pub fn keep_alive(group: &'static Collectible, other: &'static Collectible) {
    let cell: &'static mut usize = Box::leak(Box::new(other.anchor.load(Ordering::Acquire)));
    register(group, std::ptr::from_mut(cell).cast(), 1);
}

/// Whether a type belongs to a collectible group.
pub fn is_collectible(t: TypeHandle) -> bool {
    t.collectible().is_some()
}

extern "C" fn destroy(native: usize) -> i32 {
    qcall_body(|_| {
        // SAFETY: what `create` stored in the scout.
        let Some(native) = (unsafe { (native as *const Native).as_ref() }) else {
            return Ok(1);
        };
        // SAFETY: a handle that is freed below only, when the scout runs for the last time.
        if !unsafe { (native.alive as *const ObjPtr).read() }.is_null() {
            return Ok(0);
        }
        let handles = Heap::get().handles();
        let context = native.context.swap(0, Ordering::AcqRel);
        for handle in [native.alive, context].into_iter().filter(|h| *h != 0) {
            // SAFETY: handles of this group, freed once.
            unsafe { handles.free(handle as *mut ObjPtr) };
        }
        // SAFETY: the `LoaderAllocator` is dead: frames, delegates and instances would have kept it.
        unsafe { native.code.free() };
        Ok(1)
    })
}

qcall_table! {
    /// The scout's call.
    TABLE:
    "LoaderAllocator_Destroy" => destroy,
}
