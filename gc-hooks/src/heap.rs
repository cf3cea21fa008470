//! The heap: configuration, what it consists of, and the entry to collections.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64 as StdAtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use crate::collect::{Collector, FULL_BUDGET_MIN, LARGE_BUDGET_MIN};
use crate::collectible::Groups;
use crate::concurrent::Marker;
use crate::finalize::FinalizerQueue;
use crate::frozen::FrozenSpace;
use crate::handles::HandleTable;
use crate::large::LargeSpace;
use crate::memory;
use crate::no_gc_region::NoGcRegion;
use crate::nursery::Nursery;
use crate::object::{ObjPtr, size_of_object};
use crate::old::OldSpace;
use crate::pressure::MemoryPressure;
use crate::roots::{RootProvider, StaticRefs};
use crate::safepoint::ThreadRegistry;
use crate::space::{BLOCK_SIZE, LARGE_THRESHOLD, Layout};
use crate::stats::{GcStats, SpaceSizes};
use crate::stress::StressMode;
use crate::thread::ThreadHeader;

/// Longest array in elements (as in CoreCLR).
pub const MAX_ARRAY_LENGTH: usize = 0x7FFF_FFC7;
/// Longest string in UTF-16 units (as in CoreCLR).
pub const MAX_STRING_LENGTH: usize = 0x3FFF_FFDF;

/// The heap cannot satisfy an allocation, even after a full collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("out of memory: {requested} bytes requested")]
pub struct OutOfMemory {
    /// Bytes that were asked for.
    pub requested: usize,
}

/// Why the heap cannot be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// The process has a heap already.
    #[error("the heap is initialised already")]
    AlreadyInitialised,
    /// The system refused the address range.
    #[error("cannot reserve address space for the heap")]
    NoAddressSpace,
}

/// Settings of the heap.
#[derive(Debug, Clone, Copy)]
pub struct HeapConfig {
    /// Bytes allocated between minor collections (`GCgen0size`); 0 = chosen by the machine.
    pub nursery_size: usize,
    /// Most bytes the heap may use (`GCHeapHardLimit`); 0 = no limit.
    pub hard_limit: usize,
    /// When to collect out of turn.
    pub stress: StressMode,
    /// Check the whole heap before and after every collection.
    pub verify: bool,
    /// Mark old objects beside the program (`gcConcurrent`).
    pub concurrent: bool,
}

impl Default for HeapConfig {
    fn default() -> Self {
        Self {
            nursery_size: 0,
            hard_limit: 0,
            stress: StressMode::Off,
            verify: false,
            concurrent: true,
        }
    }
}

impl HeapConfig {
    /// The settings of the environment: `DOTNET_GCgen0size` and `DOTNET_GCHeapHardLimit` (hexadecimal bytes),
    /// `DOTNET_gcConcurrent`, `CORTEN_GCSTRESS` and `CORTEN_HEAPVERIFY`.
    pub fn from_environment() -> Self {
        let hex = |name: &str| {
            let text = std::env::var(name).ok()?;
            usize::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
        };
        Self {
            nursery_size: hex("DOTNET_GCgen0size").unwrap_or(0),
            hard_limit: hex("DOTNET_GCHeapHardLimit").unwrap_or(0),
            stress: StressMode::from_environment(),
            verify: std::env::var("CORTEN_HEAPVERIFY").is_ok_and(|value| value != "0" && !value.is_empty()),
            concurrent: hex("DOTNET_gcConcurrent").is_none_or(|value| value != 0),
        }
    }
}

bitflags::bitflags! {
    /// Wishes about an allocation.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct AllocFlags: u32 {
        /// The object never moves.
        const PINNED = 1;
        /// The caller overwrites all elements; zeroing may be skipped (never for elements with references).
        const UNINIT = 2;
    }
}

/// The spaces, under one lock. Mutators take it for a chunk at a time; the collector holds it while the world is stopped.
#[derive(Debug)]
pub(crate) struct Spaces {
    pub nursery: Nursery,
    pub old: OldSpace,
    pub large: LargeSpace,
    pub frozen: FrozenSpace,
    /// Shared chunk for objects that are too big for what is left of a thread's chunk.
    pub medium: (usize, usize),
    /// Large objects may become this many bytes before a minor collection.
    pub large_budget: usize,
    /// The old space may grow by this many bytes before a full collection.
    pub full_budget: usize,
    /// Bytes by which the heap had grown since then when the present concurrent marking started.
    pub growth_before: usize,
    /// Bytes of old and large objects, dead ones included, when the concurrent marking began.
    pub to_mark: usize,
    /// Free bytes of a space that are not given back to the system.
    pub keep: usize,
    /// A region without collections.
    pub no_gc: Option<NoGcRegion>,
}

/// The managed heap of the process.
pub struct Heap {
    pub(crate) layout: &'static Layout,
    pub(crate) config: HeapConfig,
    pub(crate) spaces: Mutex<Spaces>,
    pub(crate) marker: Marker,
    pub(crate) collector: Mutex<Collector>,
    pub(crate) provider: OnceLock<&'static dyn RootProvider>,
    pub(crate) statics: StaticRefs,
    pub(crate) collectibles: Groups,
    handles: HandleTable,
    pub(crate) finalizers: FinalizerQueue,
    pub(crate) stats: GcStats,
    pub(crate) pressure: MemoryPressure,
    pub(crate) allocated: StdAtomicU64,
    /// Memory of the machine in bytes.
    pub(crate) physical: usize,
}

static HEAP: OnceLock<Heap> = OnceLock::new();

/// What a collection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectionReason {
    /// An allocation found no room.
    Allocation,
    /// `GC.Collect` or the like.
    Induced,
    /// Stress mode.
    Stress,
    /// A concurrent marking is to start.
    Concurrent,
    /// The marker is done.
    Marked,
}

impl Heap {
    /// Sets up the process's heap.
    ///
    /// # Errors
    /// The heap exists already, or there is no address space for it.
    pub fn init(config: HeapConfig) -> Result<&'static Heap, InitError> {
        if HEAP.get().is_some() {
            return Err(InitError::AlreadyInitialised);
        }
        let heap = Self::build(config)?;
        let mut fresh = false;
        let heap = HEAP.get_or_init(|| {
            fresh = true;
            heap
        });
        if fresh {
            Ok(heap)
        } else {
            Err(InitError::AlreadyInitialised)
        }
    }

    fn build(config: HeapConfig) -> Result<Heap, InitError> {
        memory::register_membarrier();
        let physical = memory::physical_memory();
        let mut nursery = if config.nursery_size != 0 {
            config.nursery_size
        } else {
            default_nursery_size(physical)
        };
        if config.hard_limit != 0 {
            nursery = nursery.min(config.hard_limit / 8);
        }
        let nursery = nursery.clamp(8 * BLOCK_SIZE, 1 << 30);
        let capacity = if config.hard_limit != 0 {
            config.hard_limit * 2
        } else {
            physical * 2
        };
        let layout = Layout::init((nursery * 4).max(256 << 20), capacity.clamp(1 << 30, 96 << 30))
            .ok_or(InitError::NoAddressSpace)?;
        crate::stress::configure(config.stress);
        Ok(Heap {
            layout,
            config,
            spaces: Mutex::new(Spaces {
                nursery: Nursery::new(nursery),
                old: OldSpace::new(),
                large: LargeSpace::new(layout),
                frozen: FrozenSpace::new(layout),
                medium: (0, 0),
                large_budget: LARGE_BUDGET_MIN,
                full_budget: FULL_BUDGET_MIN,
                growth_before: 0,
                to_mark: 0,
                keep: FULL_BUDGET_MIN,
                no_gc: None,
            }),
            marker: Marker::new(),
            collector: Mutex::new(Collector::new()),
            provider: OnceLock::new(),
            statics: StaticRefs::default(),
            collectibles: Groups::default(),
            handles: HandleTable::new(),
            finalizers: FinalizerQueue::new(),
            stats: GcStats::default(),
            pressure: MemoryPressure::default(),
            allocated: StdAtomicU64::new(0),
            physical,
        })
    }

    /// The process's heap, if it was initialised.
    #[inline]
    pub fn try_get() -> Option<&'static Heap> {
        HEAP.get()
    }

    /// The process's heap.
    ///
    /// # Panics
    /// If [`Heap::init`] was not called: a defect of the program's start, not of its input.
    #[inline]
    pub fn get() -> &'static Heap {
        match HEAP.get() {
            Some(heap) => heap,
            None => panic!("Heap::init was not called"),
        }
    }

    /// Sets who reports the roots that the heap does not know itself. Only the first call counts.
    pub fn set_root_provider(&self, provider: &'static dyn RootProvider) {
        let _ = self.provider.set(provider);
    }

    /// The settings.
    pub fn config(&self) -> &HeapConfig {
        &self.config
    }

    /// The handle table.
    pub fn handles(&self) -> &HandleTable {
        &self.handles
    }

    /// The finalizer queue.
    pub fn finalizers(&self) -> &FinalizerQueue {
        &self.finalizers
    }

    /// Figures.
    pub fn stats(&self) -> &GcStats {
        &self.stats
    }

    /// Address ranges.
    pub fn layout(&self) -> &'static Layout {
        self.layout
    }

    /// Whether an address is in the heap's range.
    #[inline]
    pub fn contains(&self, address: usize) -> bool {
        self.layout.heap.contains(address)
    }

    /// Reports `count` references of non-heap memory at `slots` as roots from now on (statics of a loaded type). Stores
    /// to them need no barrier.
    ///
    /// # Safety
    /// The slots stay valid until [`Self::unregister_static_refs`], and hold null or objects.
    pub unsafe fn register_static_refs(&self, slots: *mut ObjPtr, count: usize) {
        self.statics.add(slots, count);
    }

    /// Ends the report of the slots at `slots`.
    pub fn unregister_static_refs(&self, slots: *mut ObjPtr) {
        self.statics.remove(slots);
    }

    /// Reports `count` references at `slots` while the object in `anchor` is alive ([`crate::collectible`]); after that they
    /// are null. Stores to them need no barrier.
    ///
    /// # Safety
    /// `anchor` lives for ever and holds an object that never moves; the slots stay valid until
    /// [`Self::unregister_anchored_refs`], and hold null or objects.
    pub unsafe fn register_anchored_refs(&self, anchor: *mut ObjPtr, slots: *mut ObjPtr, count: usize) {
        self.collectibles.add(anchor, slots, count);
    }

    /// Ends the report of these slots.
    pub fn unregister_anchored_refs(&self, slots: *mut ObjPtr, count: usize) {
        self.collectibles.remove(slots, count);
    }

    pub(crate) fn collect_for_allocation(
        &self,
        thread: &ThreadHeader,
        generation: i32,
        size: usize,
    ) -> Result<(), OutOfMemory> {
        if self.provider.get().is_none() {
            // Nobody can tell the roots yet: let the nursery grow instead.
            return self.grow_without_collection(size);
        }
        self.run_collection(thread, generation, CollectionReason::Allocation);
        self.finalizers.let_catch_up(thread);
        let limit = self.config.hard_limit;
        if limit != 0 {
            let spaces = self.spaces.lock();
            let needed = if size > LARGE_THRESHOLD {
                size
            } else {
                spaces.nursery.budget_bytes()
            };
            let over = self.used_bytes(&spaces) + needed > limit;
            drop(spaces);
            if over {
                self.run_collection(thread, 2, CollectionReason::Allocation);
                let spaces = self.spaces.lock();
                if self.used_bytes(&spaces) + needed > limit {
                    return Err(OutOfMemory { requested: size });
                }
            }
        }
        Ok(())
    }

    fn grow_without_collection(&self, size: usize) -> Result<(), OutOfMemory> {
        let mut spaces = self.spaces.lock();
        let budget = spaces.nursery.budget_bytes();
        if budget >= self.layout.nursery.size() {
            return Err(OutOfMemory { requested: size });
        }
        spaces.nursery.set_budget((budget * 2).min(self.layout.nursery.size()));
        spaces.large_budget = spaces.large_budget.saturating_mul(2).max(size * 2);
        Ok(())
    }

    /// Collects generation 0 (young objects), 1 (the same) or 2 (everything). `thread` is the current thread, in either
    /// mode; raw references it holds are stale afterwards.
    pub fn collect(&self, thread: &ThreadHeader, generation: i32) {
        self.run_collection(thread, generation, CollectionReason::Induced);
    }

    /// Collects young objects and starts to mark the others beside the program, unless that is under way; a later collection ends
    /// it. `thread` as for [`Self::collect`].
    pub fn collect_concurrently(&self, thread: &ThreadHeader) {
        self.run_collection(thread, 0, CollectionReason::Concurrent);
    }

    pub(crate) fn run_collection(&self, thread: &ThreadHeader, generation: i32, reason: CollectionReason) {
        if self.provider.get().is_none() {
            return;
        }
        let before = self.stats.collections();
        ThreadRegistry::get().stop_the_world(Some(thread), |world| {
            // Another thread may have collected while we waited for the right to.
            if reason == CollectionReason::Allocation && self.stats.collections() != before {
                return;
            }
            let mut collector = self.collector.lock();
            collector.collect(self, world, generation.clamp(0, 2), reason);
        });
    }

    /// Bytes of memory that hold objects or are set aside for the nursery.
    pub(crate) fn used_bytes(&self, spaces: &Spaces) -> usize {
        spaces.nursery.used_bytes()
            + spaces.old.used_bytes()
            + spaces.large.used_bytes()
            + spaces.frozen.used_bytes(self.layout)
    }

    /// Bytes of objects by space, as far as known.
    pub(crate) fn sizes(&self, spaces: &Spaces) -> SpaceSizes {
        SpaceSizes {
            nursery: spaces.nursery.used_bytes(),
            old: spaces.old.object_bytes(),
            large: spaces.large.used_bytes(),
        }
    }

    /// Bytes of objects by space now, as far as known.
    pub fn space_sizes(&self) -> SpaceSizes {
        self.sizes(&self.spaces.lock())
    }

    /// Bytes in use by objects, dead ones included until they are collected (`GC.GetTotalMemory`).
    pub fn total_memory(&self) -> usize {
        let spaces = self.spaces.lock();
        spaces.nursery.used_bytes()
            + spaces.old.object_bytes()
            + spaces.large.used_bytes()
            + spaces.frozen.used_bytes(self.layout)
    }

    /// Bytes backed by memory.
    pub fn committed_bytes(&self) -> usize {
        let spaces = self.spaces.lock();
        spaces.nursery.budget_bytes().max(spaces.nursery.used_bytes())
            + spaces.old.committed_bytes()
            + spaces.large.committed_bytes()
            + spaces.frozen.used_bytes(self.layout)
    }

    /// Bytes allocated since the start. What is left in the chunks of other threads counts as allocated; pass the
    /// current thread for a figure exact for it.
    pub fn total_allocated(&self, thread: Option<&ThreadHeader>) -> u64 {
        let unused = thread.map_or(0, |thread| thread.chunk_end.get() - thread.alloc_cursor.get());
        self.allocated.load(Relaxed).saturating_sub(unused as u64)
    }

    /// Generation of an object as `GC.GetGeneration` tells it: 0 young, 1 survived its last collection, 2 older (objects
    /// of 85,000 bytes and more: always 2), `i32::MAX` frozen.
    ///
    /// # Safety
    /// `obj` is a live object; cooperative mode.
    pub unsafe fn generation_of(&self, obj: ObjPtr) -> i32 {
        let address = obj as usize;
        if self.layout.nursery.contains(address) {
            return 0;
        }
        if self.layout.frozen.contains(address) || !self.layout.heap.contains(address) {
            return i32::MAX;
        }
        if self.layout.large.contains(address) {
            // SAFETY: forwarded.
            if unsafe { size_of_object(obj) } >= REPORTED_LARGE {
                return 2;
            }
            if self.spaces.lock().large.is_young(address) {
                return 0;
            }
        }
        // SAFETY: every object is preceded by its header; the low half holds the promotion stamp.
        let stamp = unsafe { *obj.byte_sub(8).cast::<u32>() };
        if stamp == self.stats.promotion_stamp() { 1 } else { 2 }
    }

    /// Visits all objects of the heap with the world stopped. For diagnostics and tests.
    pub fn for_each_object(&self, thread: Option<&ThreadHeader>, mut visit: impl FnMut(ObjPtr, usize)) {
        ThreadRegistry::get().stop_the_world(thread, |_| {
            let spaces = self.spaces.lock();
            let mut each = |obj: ObjPtr| {
                // SAFETY: the world is stopped and the spaces report objects only.
                visit(obj, unsafe { size_of_object(obj) });
            };
            spaces.nursery.for_each_object(self.layout, &mut each);
            spaces.old.for_each_object(self.layout, &mut each);
            spaces.large.for_each_object(self.layout, &mut each);
            spaces.frozen.for_each_object(self.layout, &mut each);
        });
    }
}

/// Programs expect objects of at least this many bytes to be in the oldest generation from the start, and no others.
const REPORTED_LARGE: usize = 85_000;

/// Nursery bytes if nothing is configured. Measured: twice as many save 2 to 4 % of the time of programs that allocate much
/// and cost as much memory as they are.
fn default_nursery_size(physical: usize) -> usize {
    (physical / 1024).clamp(4 << 20, 8 << 20)
}
