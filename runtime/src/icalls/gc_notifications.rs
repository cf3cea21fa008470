//! `GC.RegisterNoGCRegionCallback`: work items that the finalizer thread runs when enough was allocated in a region without
//! collections, or when the region has ended before.

use corten_gc_hooks::Heap;
use corten_gc_hooks::no_gc_region::NoGcWatch;
use parking_lot::Mutex;

/// `GC.NoGCRegionCallbackFinalizerWorkItem`, native memory that its callback frees.
#[repr(C)]
pub struct RegionWorkItem {
    next: *mut RegionWorkItem,
    callback: extern "C" fn(*mut RegionWorkItem),
    scheduled: bool,
    abandoned: bool,
    action: usize,
}

/// Items that are due.
static DUE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// `GCInterface_EnableNoGCRegionCallback`: gives an `EnableNoGCRegionCallbackStatus`. On success the item belongs to the engine until its
/// callback runs.
///
/// # Safety
/// `item` is a complete work item.
pub unsafe fn watch_region(item: *mut RegionWorkItem, bytes: i64) -> i32 {
    let Ok(bytes) = usize::try_from(bytes) else {
        return NoGcWatch::TooMuch as i32;
    };
    let address = item as usize;
    let watcher = move |reached: bool| {
        let item = address as *mut RegionWorkItem;
        // SAFETY: the item is ours until its callback runs.
        unsafe {
            (*item).scheduled = true;
            (*item).abandoned = !reached;
        }
        DUE.lock().push(address);
        Heap::get().finalizers().signal();
    };
    Heap::get().watch_no_gc_region(bytes, Box::new(watcher)) as i32
}

/// Finalizer thread, in preemptive mode: runs what is due.
pub fn run_due_items() {
    for address in std::mem::take(&mut *DUE.lock()) {
        let item = address as *mut RegionWorkItem;
        // SAFETY: a complete work item, which its callback frees.
        unsafe { ((*item).callback)(item) };
    }
}
