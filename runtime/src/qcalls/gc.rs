//! `GCInterface_*` and the transition forms of handle operations.

use crate::error::qcall_body;
use crate::icalls::gc as icalls;
use crate::icalls::gc_notifications::{RegionWorkItem, watch_region};
use crate::qcall_table;
use crate::thread::Thread;
use corten_gc_hooks::Heap;
use corten_gc_hooks::no_gc_region::NoGcStart;
use corten_gc_hooks::object::{ObjPtr, method_table};

extern "C" fn collect(generation: i32, _mode: i32) {
    qcall_body(|thread| {
        let generation = if generation < 0 { 2 } else { generation };
        Heap::get().collect(&thread.header, generation);
        if generation >= 2 {
            icalls::full_collection_done();
        }
        Ok(())
    });
}

extern "C" fn wait_for_pending_finalizers() {
    if !icalls::is_finalizer_thread(Thread::current()) {
        Heap::get().finalizers().wait_for_pending(None);
    }
}

extern "C" fn next_finalizable_object(target: *mut ObjPtr) -> usize {
    qcall_body(|_| {
        Ok(match icalls::next_finalizable() {
            Some((object, code)) => {
                // SAFETY: `target` is a managed local.
                unsafe { *target = object };
                code
            }
            None => 0,
        })
    })
}

extern "C" fn reregister_for_finalize(object: *mut ObjPtr) {
    qcall_body(|_| {
        // SAFETY: a managed local with a live object.
        unsafe {
            if !(*object).is_null() && method_table(*object).has_finalizer() {
                Heap::get().finalizers().reregister(*object);
            }
        }
        Ok(())
    });
}

extern "C" fn total_memory() -> i64 {
    Heap::get().total_memory() as i64
}

extern "C" fn total_allocated_bytes_precise() -> i64 {
    qcall_body(|thread| Ok(Heap::get().total_allocated(Some(&thread.header)) as i64))
}

extern "C" fn add_memory_pressure(bytes: u64) {
    qcall_body(|thread| {
        Heap::get().add_memory_pressure(&thread.header, bytes);
        Ok(())
    });
}

extern "C" fn remove_memory_pressure(bytes: u64) {
    Heap::get().remove_memory_pressure(bytes);
}

extern "C" fn enable_no_gc_region_callback(item: *mut RegionWorkItem, bytes: i64) -> i32 {
    // SAFETY: managed code passes a complete work item.
    unsafe { watch_region(item, bytes) }
}

/// Gives a `StartNoGCRegionStatus`. A full collection always comes first: it makes the room.
extern "C" fn start_no_gc_region(total: i64, large_known: i32, large: i64, _no_full: i32) -> i32 {
    qcall_body(|thread| {
        let (Ok(total), Ok(large)) = (usize::try_from(total), usize::try_from(large)) else {
            return Ok(NoGcStart::NotEnoughMemory as i32);
        };
        let large = (large_known != 0).then_some(large);
        Ok(Heap::get().start_no_gc_region(&thread.header, total, large) as i32)
    })
}

/// Gives an `EndNoGCRegionStatus`.
extern "C" fn end_no_gc_region() -> i32 {
    Heap::get().end_no_gc_region() as i32
}

/// `GCNotificationStatus.NotApplicable`.
extern "C" fn wait_for_full_gc(_timeout_ms: i32) -> i32 {
    4
}

extern "C" fn generation_budget(generation: i32) -> i64 {
    if generation == 0 {
        Heap::get().config().nursery_size as i64
    } else {
        -1
    }
}

/// `RefreshMemoryStatus`: success, as nothing is cached.
extern "C" fn refresh_memory_limit() -> i32 {
    0
}

/// Reports the configured limits through `callback(context, name, public key, type, value)`.
extern "C" fn enumerate_configuration(context: usize, callback: extern "C" fn(usize, *const u8, *const u8, i32, i64)) {
    const INT64: i32 = 0;
    const BOOLEAN: i32 = 2;
    let config = Heap::get().config();
    let values = [
        (c"ServerGC", c"System.GC.Server", BOOLEAN, 0),
        (
            c"ConcurrentGC",
            c"System.GC.Concurrent",
            BOOLEAN,
            i64::from(config.concurrent),
        ),
        (c"RetainVM", c"System.GC.RetainVM", BOOLEAN, 0),
        (c"HeapCount", c"System.GC.HeapCount", INT64, 1),
        (
            c"GCHeapHardLimit",
            c"System.GC.HeapHardLimit",
            INT64,
            config.hard_limit as i64,
        ),
    ];
    for (name, key, kind, value) in values {
        callback(context, name.as_ptr().cast(), key.as_ptr().cast(), kind, value);
    }
}

extern "C" fn handle_alloc(value: *mut ObjPtr, kind: i32) -> *mut ObjPtr {
    // SAFETY: a managed local.
    qcall_body(|_| icalls::alloc_handle(unsafe { *value }, kind))
}

extern "C" fn handle_free(handle: *mut ObjPtr) {
    qcall_body(|_| {
        // SAFETY: a live handle of the table that is not used any more.
        unsafe { Heap::get().handles().free(handle) };
        Ok(())
    });
}

extern "C" fn dependent_alloc(target: *mut ObjPtr, dependent: *mut ObjPtr) -> *mut ObjPtr {
    // SAFETY: managed locals.
    qcall_body(|_| Ok(unsafe { Heap::get().handles().alloc_dependent(*target, *dependent) }))
}

qcall_table! {
    /// The collector's QCalls.
    TABLE:
    "GCInterface_Collect" => collect,
    "GCInterface_WaitForPendingFinalizers" => wait_for_pending_finalizers,
    "GCInterface_GetNextFinalizableObject" => next_finalizable_object,
    "GCInterface_ReRegisterForFinalize" => reregister_for_finalize,
    "GCInterface_GetTotalMemory" => total_memory,
    "GCInterface_GetTotalAllocatedBytesPrecise" => total_allocated_bytes_precise,
    "GCInterface_AddMemoryPressure" => add_memory_pressure,
    "GCInterface_RemoveMemoryPressure" => remove_memory_pressure,
    "GCInterface_StartNoGCRegion" => start_no_gc_region,
    "GCInterface_EndNoGCRegion" => end_no_gc_region,
    "GCInterface_EnableNoGCRegionCallback" => enable_no_gc_region_callback,
    "GCInterface_WaitForFullGCApproach" => wait_for_full_gc,
    "GCInterface_WaitForFullGCComplete" => wait_for_full_gc,
    "GCInterface_GetGenerationBudget" => generation_budget,
    "GCInterface_RefreshMemoryLimit" => refresh_memory_limit,
    "GCInterface_EnumerateConfigurationValues" => enumerate_configuration,
    "GCHandle_InternalAllocWithGCTransition" => handle_alloc,
    "GCHandle_InternalFreeWithGCTransition" => handle_free,
    "DependentHandle_InternalAllocWithGCTransition" => dependent_alloc,
    "DependentHandle_InternalFreeWithGCTransition" => handle_free,
}
