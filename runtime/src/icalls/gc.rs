//! `System.GC`, `GCHandle`, `DependentHandle`, `GCSettings`, `GCFrameRegistration`, and the finalizer thread.

use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use crate::icall_table;
use crate::managed::ManagedCall;
use crate::objects::{GcGenerationInfo, GcMemoryInfoObject, method_table_of, view};
use crate::thread::Thread;
use crate::transitions::enter_preemptive;
use corten_gc_hooks::object::{MethodTableHeader, ObjPtr, method_table};
use corten_gc_hooks::stats::{CollectionKind, SpaceSizes};
use corten_gc_hooks::{AllocFlags, HandleKind, Heap, RootVisitor};
use corten_loader::{WellKnown, corelib_type};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

// --- finalizer thread -----------------------------------------------------------------------------------------------------

static FINALIZER_ID: AtomicU32 = AtomicU32::new(0);
static FINALIZER_STOPS: AtomicBool = AtomicBool::new(false);

/// Starts the thread that runs finalizers. It runs no managed code before there is something to finalize.
pub fn start_finalizer_thread() {
    let spawned = super::threading::spawn_background(".NET Finalizer", finalizer_loop);
    if spawned.is_err() {
        crate::engine::fatal("the finalizer thread cannot be started");
    }
}

fn finalizer_loop() {
    let thread = Thread::current();
    FINALIZER_ID.store(thread.managed_id, Ordering::Relaxed);
    let queue = Heap::get().finalizers();
    let run = corelib_type("System", "GC")
        .ok()
        .and_then(|t| t.find_method("RunFinalizers"));
    loop {
        {
            let _preemptive = enter_preemptive(Thread::current());
            if !queue.wait_for_work(None) {
                continue;
            }
            super::gc_notifications::run_due_items();
        }
        if let Some(run) = run
            && !FINALIZER_STOPS.load(Ordering::Relaxed)
        {
            // A finalizer's exception is unhandled: it never comes back.
            let _ = ManagedCall::new().top_level().invoke(run);
        }
        queue.work_done();
    }
}

/// Whether the current thread runs finalizers.
pub fn is_finalizer_thread(thread: &Thread) -> bool {
    FINALIZER_ID.load(Ordering::Relaxed) == thread.managed_id
}

/// No finalizer is begun any more (the process exits).
pub fn stop_finalizing() {
    FINALIZER_STOPS.store(true, Ordering::Relaxed);
}

/// The next object to finalize and the code of its `Finalize`.
pub fn next_finalizable() -> Option<(ObjPtr, usize)> {
    static SLOT: OnceLock<Option<u16>> = OnceLock::new();
    let object = Heap::get().finalizers().next_finalizable()?;
    let slot = *SLOT.get_or_init(|| WellKnown::get().object.find_method("Finalize")?.slot());
    Some((object, method_table_of(object).vtable_slot(slot?)))
}

// --- GC -------------------------------------------------------------------------------------------------------------------

/// `GC_ALLOC_FLAGS`.
const ALLOC_ZEROING_OPTIONAL: i32 = 0x10;
const ALLOC_PINNED: i32 = 0x40;
/// `Array.MaxLength`.
const MAX_ARRAY_LENGTH: usize = 0x7FFF_FFC7;

extern "C" fn allocate_new_array(mt: *const MethodTableHeader, length: i32, flags: i32) -> ObjPtr {
    icall_body(|thread| {
        let length = usize::try_from(length).map_err(|_| Raise::of(ExceptionKind::Overflow))?;
        if length > MAX_ARRAY_LENGTH {
            return Err(Raise::new(
                ExceptionKind::OutOfMemory,
                "Array dimensions exceeded supported range.",
            ));
        }
        let mut wishes = AllocFlags::empty();
        // SAFETY: managed code passes the MethodTable of an array type.
        let has_references = unsafe { (*mt).contains_gc_pointers() };
        if flags & ALLOC_ZEROING_OPTIONAL != 0 && !has_references {
            wishes |= AllocFlags::UNINIT;
        }
        if flags & ALLOC_PINNED != 0 {
            wishes |= AllocFlags::PINNED;
        }
        Ok(Heap::get().alloc_array(&thread.header, mt, length, wishes)?)
    })
}

extern "C" fn get_max_generation() -> i32 {
    2
}

extern "C" fn collection_count(generation: i32, _special: i32) -> i32 {
    Heap::get().stats().collection_count(generation) as i32
}

extern "C" fn get_generation(object: ObjPtr) -> i32 {
    icall_body(|_| {
        if object.is_null() {
            return Err(Raise::new(ExceptionKind::ArgumentNull, "obj"));
        }
        // SAFETY: a live object, cooperative mode.
        Ok(unsafe { Heap::get().generation_of(object) })
    })
}

extern "C" fn suppress_finalize(object: ObjPtr) {
    // SAFETY: managed code checked for null; a live object.
    unsafe {
        if method_table(object).has_finalizer() {
            Heap::get().finalizers().suppress(object);
        }
    }
}

extern "C" fn allocated_bytes_for_current_thread() -> i64 {
    Thread::current().header.allocated_bytes() as i64
}

extern "C" fn total_allocated_bytes() -> i64 {
    Heap::get().total_allocated(Some(&Thread::current().header)) as i64
}

extern "C" fn segment_size() -> u64 {
    // Regions of CoreCLR are 4 MiB; the number is informative only.
    4 << 20
}

extern "C" fn percent_time_in_gc() -> i32 {
    Heap::get().stats().pause_percentage() as i32
}

extern "C" fn generation_size(generation: i32) -> u64 {
    by_generation(Heap::get().space_sizes())
        .get(generation as usize)
        .map_or(0, |&size| size as u64)
}

/// What CoreCLR calls generations 0 to 4; 3 is large objects. Objects are old after one collection, and pinned ones are among them.
fn by_generation(sizes: SpaceSizes) -> [i64; 5] {
    [sizes.nursery as i64, 0, sizes.old as i64, sizes.large as i64, 0]
}

extern "C" fn register_for_full_gc_notification(_generation: i32, _large: i32) -> bool {
    false
}

extern "C" fn cancel_full_gc_notification() -> bool {
    false
}

extern "C" fn total_pause_duration() -> i64 {
    (Heap::get().stats().total_pause().as_nanos() / 100) as i64
}

/// Physical memory in bytes, or the heap's hard limit.
fn available_memory() -> i64 {
    let limit = Heap::get().config().hard_limit;
    if limit != 0 {
        return limit as i64;
    }
    // SAFETY: plain queries.
    unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) * libc::sysconf(libc::_SC_PAGESIZE) }
}

fn memory_load() -> i64 {
    // SAFETY: plain queries.
    let free = unsafe { libc::sysconf(libc::_SC_AVPHYS_PAGES) * libc::sysconf(libc::_SC_PAGESIZE) };
    (available_memory() - free).max(0)
}

extern "C" fn get_memory_info(data: ObjPtr, kind: i32) {
    let heap = Heap::get();
    // GCKind: Any 0, Ephemeral 1, FullBlocking 2, Background 3.
    let kind = match kind {
        0 => None,
        1 => Some(CollectionKind::Young),
        2 => Some(CollectionKind::FullAtOnce),
        _ => Some(CollectionKind::Concurrent),
    };
    let record = heap.stats().last_collection(kind);
    // SAFETY: a live GCMemoryInfoData without references.
    let d = unsafe { view::<GcMemoryInfoObject>(data) };
    d.total_available_memory = available_memory();
    d.high_memory_load_threshold = d.total_available_memory / 10 * 9;
    if record.index == 0 {
        return;
    }
    d.memory_load = memory_load();
    d.heap_size = record.bytes_after as i64;
    d.fragmented = record.fragmented as i64;
    d.total_committed = heap.committed_bytes() as i64;
    d.promoted = record.promoted as i64;
    d.pinned_objects = record.pinned_objects as i64;
    d.finalization_pending = record.finalization_pending as i64;
    d.index = record.index as i64;
    d.generation = record.generation;
    d.pause_time_percentage = (heap.stats().pause_percentage() * 100.0) as i32;
    d.compacted = record.compacted.into();
    d.concurrent = record.concurrent.into();
    let (before, after) = (by_generation(record.before), by_generation(record.after));
    d.generations = std::array::from_fn(|g| GcGenerationInfo {
        size_before: before[g],
        fragmentation_before: 0,
        size_after: after[g],
        fragmentation_after: if g == 2 { record.fragmented as i64 } else { 0 },
    });
    d.pause_durations = [(record.pause.as_nanos() / 100) as i64, 0];
}

// --- settings -------------------------------------------------------------------------------------------------------------

/// `GCLatencyMode.Interactive`.
static LATENCY_MODE: AtomicI32 = AtomicI32::new(1);
/// `GCLargeObjectHeapCompactionMode.Default`.
static LOH_COMPACTION: AtomicI32 = AtomicI32::new(1);

/// After a full blocking collection `CompactOnce` is over.
pub fn full_collection_done() {
    LOH_COMPACTION.store(1, Ordering::Relaxed);
}

extern "C" fn is_server_gc() -> bool {
    false
}
extern "C" fn get_latency_mode() -> i32 {
    /// `GCLatencyMode.NoGCRegion`.
    const NO_GC_REGION: i32 = 4;
    if Heap::get().in_no_gc_region() {
        return NO_GC_REGION;
    }
    LATENCY_MODE.load(Ordering::Relaxed)
}
/// Gives a `SetLatencyModeStatus`: 1 in a region without collections.
extern "C" fn set_latency_mode(mode: i32) -> i32 {
    if Heap::get().in_no_gc_region() {
        return 1;
    }
    LATENCY_MODE.store(mode, Ordering::Relaxed);
    0
}
extern "C" fn get_loh_compaction_mode() -> i32 {
    LOH_COMPACTION.load(Ordering::Relaxed)
}
extern "C" fn set_loh_compaction_mode(mode: i32) {
    LOH_COMPACTION.store(mode, Ordering::Relaxed);
}

// --- handles --------------------------------------------------------------------------------------------------------------

/// Makes a handle; the kinds of dependent and unknown handles are refused.
///
/// # Errors
/// ArgumentOutOfRangeException.
pub fn alloc_handle(object: ObjPtr, kind: i32) -> VmResult<*mut ObjPtr> {
    let kind = u32::try_from(kind).ok().and_then(|k| HandleKind::try_from(k).ok());
    match kind {
        Some(kind) if kind != HandleKind::Dependent => Ok(Heap::get().handles().alloc(kind, object)),
        _ => Err(Raise::new(ExceptionKind::ArgumentOutOfRange, "type")),
    }
}

extern "C" fn handle_alloc(object: ObjPtr, kind: i32) -> *mut ObjPtr {
    icall_body(|_| alloc_handle(object, kind))
}

extern "C" fn handle_free(handle: *mut ObjPtr) -> bool {
    // SAFETY: managed code frees a handle of the table, once.
    unsafe { Heap::get().handles().free(handle) };
    true
}

extern "C" fn handle_set(handle: *mut ObjPtr, value: ObjPtr) {
    // SAFETY: a live handle; cooperative mode.
    unsafe { Heap::get().handles().set(handle, value) };
}

extern "C" fn handle_compare_exchange(handle: *mut ObjPtr, value: ObjPtr, expected: ObjPtr) -> ObjPtr {
    // SAFETY: a live handle; cooperative mode.
    unsafe { Heap::get().handles().compare_exchange(handle, value, expected) }
}

extern "C" fn dependent_alloc(target: ObjPtr, dependent: ObjPtr) -> *mut ObjPtr {
    Heap::get().handles().alloc_dependent(target, dependent)
}

extern "C" fn dependent_get(handle: *mut ObjPtr) -> ObjPtr {
    let handles = Heap::get().handles();
    // SAFETY: a live dependent handle; cooperative mode.
    unsafe {
        if handles.get(handle).is_null() {
            std::ptr::null_mut()
        } else {
            handles.secondary(handle)
        }
    }
}

extern "C" fn dependent_get_both(handle: *mut ObjPtr, dependent: *mut ObjPtr) -> ObjPtr {
    let handles = Heap::get().handles();
    // SAFETY: a live dependent handle; the out parameter is a local or a field (then the barrier counts). There is no
    // safepoint between the two reads.
    unsafe {
        let target = handles.get(handle);
        let value = if target.is_null() {
            std::ptr::null_mut()
        } else {
            handles.secondary(handle)
        };
        corten_gc_hooks::store_ref(dependent, value);
        target
    }
}

extern "C" fn dependent_set(handle: *mut ObjPtr, dependent: ObjPtr) {
    // SAFETY: a live dependent handle; cooperative mode.
    unsafe { Heap::get().handles().set_secondary(handle, dependent) };
}

extern "C" fn dependent_clear_target(handle: *mut ObjPtr) {
    // SAFETY: a live dependent handle; cooperative mode.
    unsafe { Heap::get().handles().set(handle, std::ptr::null_mut()) };
}

extern "C" fn has_interop_info(_target: ObjPtr) -> bool {
    false
}

// --- explicit registrations -----------------------------------------------------------------------------------------------

/// `System.Runtime.GCFrameRegistration`: an array of references on the stack of managed code.
#[repr(C)]
#[derive(Debug)]
pub struct GcFrameRegistration {
    /// Next outer registration (reserved field of the managed struct).
    next: *mut GcFrameRegistration,
    reserved: usize,
    slots: *mut *mut u8,
    count: u32,
    maybe_interior: i32,
}

impl GcFrameRegistration {
    /// A registration of `count` managed pointers at `slots`.
    pub fn interior(slots: *mut *mut u8, count: u32) -> GcFrameRegistration {
        GcFrameRegistration {
            next: std::ptr::null_mut(),
            reserved: 0,
            slots,
            count,
            maybe_interior: 1,
        }
    }

    /// Makes the slots roots of `thread`, the current one, until [`Self::unlink`]; neither may move meanwhile.
    pub fn link(&mut self, thread: &Thread) {
        self.next = thread.interrupt.gc_frames.get();
        thread.interrupt.gc_frames.set(self);
    }

    /// Ends the registration, and those of inner frames that were left by an exception.
    pub fn unlink(&mut self, thread: &Thread) {
        let mut at = thread.interrupt.gc_frames.get();
        let this: *mut GcFrameRegistration = self;
        while !at.is_null() && at != this {
            // SAFETY: linked registrations are on the stack of this thread.
            at = unsafe { (*at).next };
        }
        if at == this {
            thread.interrupt.gc_frames.set(self.next);
        }
    }
}

extern "C" fn register_gc_frame(registration: *mut GcFrameRegistration) {
    // SAFETY: managed code keeps the registration on its stack until it is unregistered.
    unsafe { (*registration).link(Thread::current()) };
}

extern "C" fn unregister_gc_frame(registration: *mut GcFrameRegistration) {
    // SAFETY: as above.
    unsafe { (*registration).unlink(Thread::current()) };
}

/// Reports the references of a chain of registrations.
pub(super) fn visit_registrations(mut registration: *mut GcFrameRegistration, visitor: &mut dyn RootVisitor) {
    while !registration.is_null() {
        // SAFETY: as in `unregister_gc_frame`; the thread is stopped.
        let r = unsafe { &*registration };
        for i in 0..r.count as usize {
            let slot = r.slots.wrapping_add(i);
            if r.maybe_interior != 0 {
                visitor.byref(slot);
            } else {
                visitor.slot(slot.cast::<ObjPtr>());
            }
        }
        registration = r.next;
    }
}

icall_table! {
    /// Collector, handles, settings.
    TABLE:
    "System.GC" {
        "AllocateNewArray" => allocate_new_array,
        "GetMaxGeneration" => get_max_generation,
        "_CollectionCount" => collection_count,
        "GetGeneration" => get_generation,
        "_SuppressFinalize" => suppress_finalize,
        "GetAllocatedBytesForCurrentThread" => allocated_bytes_for_current_thread,
        "GetTotalAllocatedBytesApproximate" => total_allocated_bytes,
        "GetSegmentSize" => segment_size,
        "GetLastGCPercentTimeInGC" => percent_time_in_gc,
        "GetGenerationSize" => generation_size,
        "_RegisterForFullGCNotification" => register_for_full_gc_notification,
        "_CancelFullGCNotification" => cancel_full_gc_notification,
        "_GetTotalPauseDuration" => total_pause_duration,
        "GetMemoryInfo" => get_memory_info,
    }
    "System.Runtime.GCSettings" {
        "get_IsServerGC" => is_server_gc,
        "GetGCLatencyMode" => get_latency_mode,
        "SetGCLatencyMode" => set_latency_mode,
        "GetLOHCompactionMode" => get_loh_compaction_mode,
        "SetLOHCompactionMode" => set_loh_compaction_mode,
    }
    "System.Runtime.InteropServices.GCHandle" {
        "_InternalAlloc" => handle_alloc,
        "_InternalFree" => handle_free,
        "InternalSet" => handle_set,
        "InternalCompareExchange" => handle_compare_exchange,
    }
    "System.Runtime.DependentHandle" {
        "InternalAlloc" => dependent_alloc,
        "InternalGetDependent" => dependent_get,
        "InternalGetTargetAndDependent" => dependent_get_both,
        "InternalSetDependent" => dependent_set,
        "InternalSetTargetToNull" => dependent_clear_target,
        "InternalFree" => handle_free,
    }
    "System.ComAwareWeakReference" { "HasInteropInfo" => has_interop_info }
    "System.Runtime.GCFrameRegistration" {
        "RegisterForGCReporting" => register_gc_frame,
        "UnregisterForGCReporting" => unregister_gc_frame,
    }
}
