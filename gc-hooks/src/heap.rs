//! The heap: configuration, allocation and the entry to collections.

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
use crate::nursery::Nursery;
use crate::object::{ARRAY_LENGTH_OFFSET, MIN_OBJECT_SIZE, MethodTableHeader, ObjPtr, Object, size_of_object};
use crate::old::OldSpace;
use crate::roots::{RootProvider, StaticRefs};
use crate::safepoint::{ThreadRegistry, is_cooperative};
use crate::space::{BLOCK_SIZE, LARGE_THRESHOLD, Layout};
use crate::stats::GcStats;
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

/// An allocation that fails as often, each time after a collection, has no chance.
const MAX_ATTEMPTS: u32 = 1000;

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
    /// Free bytes of a space that are not given back to the system.
    pub keep: usize,
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
    finalizers: FinalizerQueue,
    pub(crate) stats: GcStats,
    allocated: StdAtomicU64,
    /// Memory of the machine in bytes.
    physical: usize,
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
                keep: FULL_BUDGET_MIN,
            }),
            marker: Marker::new(),
            collector: Mutex::new(Collector::new()),
            provider: OnceLock::new(),
            statics: StaticRefs::default(),
            collectibles: Groups::default(),
            handles: HandleTable::new(),
            finalizers: FinalizerQueue::new(),
            stats: GcStats::default(),
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

    // ---- allocation ----

    /// As [`Self::alloc_fixed`], for an object whose address goes to `cell` before a collection can run.
    ///
    /// # Errors
    /// The old space is full.
    ///
    /// # Safety
    /// As for `alloc_fixed`; `cell` is valid and nobody else writes it meanwhile.
    pub unsafe fn alloc_fixed_into(&self, mt: *const MethodTableHeader, cell: *mut ObjPtr) -> Result<(), OutOfMemory> {
        // SAFETY: the caller's promise.
        unsafe { self.alloc_fixed_with(mt, None, |obj| *cell = obj) }.map(drop)
    }

    /// Allocates an object (or array) that never moves, zeroed, in the old space. Never collects, in any mode; not registered
    /// for finalization.
    ///
    /// # Errors
    /// The old space is full.
    ///
    /// # Safety
    /// `mt` is a MethodTable and fits `length`.
    pub unsafe fn alloc_fixed(&self, mt: *const MethodTableHeader, length: Option<u32>) -> Result<ObjPtr, OutOfMemory> {
        // SAFETY: the caller's promise.
        unsafe { self.alloc_fixed_with(mt, length, |_| {}) }
    }

    unsafe fn alloc_fixed_with(
        &self,
        mt: *const MethodTableHeader,
        length: Option<u32>,
        publish: impl FnOnce(ObjPtr),
    ) -> Result<ObjPtr, OutOfMemory> {
        // SAFETY: the caller's promise.
        let size = unsafe { (*mt).size_with_length(length.unwrap_or(0) as usize) };
        let size = size
            .filter(|s| *s <= LARGE_THRESHOLD)
            .ok_or(OutOfMemory { requested: usize::MAX })?;
        let mut spaces = self.spaces.lock();
        let address = spaces
            .old
            .allocate_pinned(self.layout, size)
            .ok_or(OutOfMemory { requested: size })?;
        self.allocated.fetch_add(size as u64, Relaxed);
        // SAFETY: the memory is zeroed and ours; the lock is held until the object can be walked.
        let obj = unsafe { initialise(address, mt, length) };
        publish(obj);
        Ok(obj)
    }

    /// Allocates an instance of `mt` (not an array or string), zeroed, registered for finalization if its type has a
    /// finalizer. May collect.
    ///
    /// # Errors
    /// No memory within the limit.
    #[inline]
    #[allow(
        clippy::not_unsafe_ptr_arg_deref,
        reason = "MethodTables are never freed; any pointer to one is good"
    )]
    pub fn alloc_object(&self, thread: &mut ThreadHeader, mt: *const MethodTableHeader) -> Result<ObjPtr, OutOfMemory> {
        // SAFETY: a MethodTable is immutable and never freed while it can be allocated from.
        let (size, finalizer) = unsafe { ((*mt).base_size as usize, (*mt).has_finalizer()) };
        let obj = self.alloc_raw(thread, mt, size, None, AllocFlags::empty())?;
        if finalizer {
            // SAFETY: the object was just made and no safepoint has been passed.
            unsafe { self.finalizers.register(obj) };
        }
        Ok(obj)
    }

    /// Allocates an array of `length` elements of the array type `mt`; for a multi-dimensional one the caller writes the
    /// bounds. May collect.
    ///
    /// # Errors
    /// No memory within the limit, or the size overflows.
    #[inline]
    #[allow(
        clippy::not_unsafe_ptr_arg_deref,
        reason = "MethodTables are never freed; any pointer to one is good"
    )]
    pub fn alloc_array(
        &self,
        thread: &mut ThreadHeader,
        mt: *const MethodTableHeader,
        length: usize,
        flags: AllocFlags,
    ) -> Result<ObjPtr, OutOfMemory> {
        // SAFETY: as in `alloc_object`.
        let size = unsafe { (*mt).size_with_length(length) };
        let Some(size) = size.filter(|_| length <= MAX_ARRAY_LENGTH) else {
            return Err(OutOfMemory { requested: usize::MAX });
        };
        self.alloc_raw(thread, mt, size, Some(length as u32), flags)
    }

    /// Allocates a string of `length` UTF-16 units, all zero. May collect.
    ///
    /// # Errors
    /// No memory within the limit, or the size overflows.
    #[inline]
    pub fn alloc_string(
        &self,
        thread: &mut ThreadHeader,
        mt: *const MethodTableHeader,
        length: usize,
    ) -> Result<ObjPtr, OutOfMemory> {
        if length > MAX_STRING_LENGTH {
            return Err(OutOfMemory {
                requested: length.saturating_mul(2),
            });
        }
        self.alloc_array(thread, mt, length, AllocFlags::empty())
    }

    /// Allocates an immortal, never moving object of `size` bytes (header included), zeroed except for its MethodTable.
    /// Its references are roots; stores to them need a barrier. For arrays and strings use [`Self::alloc_frozen_array`].
    ///
    /// # Errors
    /// The frozen range is full.
    pub fn alloc_frozen(&self, mt: *const MethodTableHeader, size: usize) -> Result<ObjPtr, OutOfMemory> {
        self.alloc_frozen_raw(mt, size, None)
    }

    /// Allocates an immortal array or string of `length` components.
    ///
    /// # Errors
    /// The frozen range is full.
    #[allow(
        clippy::not_unsafe_ptr_arg_deref,
        reason = "MethodTables are never freed; any pointer to one is good"
    )]
    pub fn alloc_frozen_array(&self, mt: *const MethodTableHeader, length: usize) -> Result<ObjPtr, OutOfMemory> {
        // SAFETY: as in `alloc_object`.
        let size = unsafe { (*mt).size_with_length(length) };
        match (size, u32::try_from(length)) {
            (Some(size), Ok(length)) => self.alloc_frozen_raw(mt, size, Some(length)),
            _ => Err(OutOfMemory { requested: usize::MAX }),
        }
    }

    fn alloc_frozen_raw(
        &self,
        mt: *const MethodTableHeader,
        size: usize,
        length: Option<u32>,
    ) -> Result<ObjPtr, OutOfMemory> {
        let size = size
            .max(MIN_OBJECT_SIZE)
            .checked_add(7)
            .ok_or(OutOfMemory { requested: size })?
            & !7;
        let mut spaces = self.spaces.lock();
        let address = spaces
            .frozen
            .allocate(self.layout, size)
            .ok_or(OutOfMemory { requested: size })?;
        // SAFETY: the memory is fresh and ours; the lock is held until the object can be walked.
        Ok(unsafe { initialise(address, mt, length) })
    }

    /// Allocates `size` bytes for an object of type `mt`.
    #[inline]
    fn alloc_raw(
        &self,
        thread: &mut ThreadHeader,
        mt: *const MethodTableHeader,
        size: usize,
        length: Option<u32>,
        flags: AllocFlags,
    ) -> Result<ObjPtr, OutOfMemory> {
        let address = thread.alloc_cursor;
        if size <= LARGE_THRESHOLD && address + size <= thread.alloc_limit && !flags.contains(AllocFlags::PINNED) {
            thread.alloc_cursor = address + size;
            // SAFETY: the thread owns the zeroed memory from its cursor to its limit.
            return Ok(unsafe { initialise(address, mt, length) });
        }
        self.alloc_slow(thread, mt, size, length, flags)
    }

    #[cold]
    fn alloc_slow(
        &self,
        thread: &mut ThreadHeader,
        mt: *const MethodTableHeader,
        size: usize,
        length: Option<u32>,
        flags: AllocFlags,
    ) -> Result<ObjPtr, OutOfMemory> {
        debug_assert!(
            is_cooperative(thread) || !thread.attached,
            "allocation in preemptive mode"
        );
        crate::stress::before_allocation(self, thread);
        if size > self.limit() {
            return Err(OutOfMemory { requested: size });
        }
        let (mut attempts, mut full_attempts) = (0, 0);
        loop {
            let request = if size > LARGE_THRESHOLD || flags.contains(AllocFlags::PINNED) {
                self.try_large(mt, size, length, flags)
                    .inspect(|_| thread.allocated_before_chunk += size as u64)
            } else {
                self.try_small(thread, mt, size, length)
            };
            let wanted = match request {
                Ok(obj) => return Ok(obj),
                Err(generation) => generation,
            };
            // Other threads may have taken all that a collection gave: that is no lack of memory.
            attempts += 1;
            let generation = if attempts % 16 == 0 { 2 } else { wanted };
            full_attempts += u32::from(wanted == 2);
            if full_attempts > 2 || attempts > MAX_ATTEMPTS {
                return Err(OutOfMemory { requested: size });
            }
            self.collect_for_allocation(thread, generation, size)?;
        }
    }

    /// Small object: from the thread's chunk, the shared medium chunk or a new chunk. `Err` = collect this generation.
    fn try_small(
        &self,
        thread: &mut ThreadHeader,
        mt: *const MethodTableHeader,
        size: usize,
        length: Option<u32>,
    ) -> Result<ObjPtr, i32> {
        let address = thread.alloc_cursor;
        if address + size <= thread.chunk_end {
            // Stress mode keeps the limit low; the chunk has room.
            thread.alloc_cursor = address + size;
            thread.alloc_limit = if crate::stress::disables_inline_allocation() {
                thread.alloc_cursor
            } else {
                thread.chunk_end
            };
            // SAFETY: the thread owns the zeroed memory from its cursor to the end of its chunk.
            return Ok(unsafe { initialise(address, mt, length) });
        }
        if size > 1024 && thread.chunk_end - thread.alloc_cursor > 1024 {
            return self.try_medium(thread, mt, size, length);
        }
        let extent = crate::stress::chunk_bytes(size);
        let chunk = self.spaces.lock().nursery.take_block(self.layout, extent).ok_or(0)?;
        // SAFETY: the block was just handed to this thread and holds nothing. Whoever walks it stops at the zero word behind
        // the last object, or at the end of the block.
        unsafe { memory::zero(chunk.cursor - 8, (extent + 16).min(BLOCK_SIZE)) };
        retire_context(self, thread);
        self.allocated.fetch_add((chunk.limit - chunk.cursor) as u64, Relaxed);
        thread.chunk_start = chunk.cursor;
        thread.chunk_end = chunk.limit;
        thread.alloc_cursor = chunk.cursor + size;
        thread.alloc_limit = if crate::stress::disables_inline_allocation() {
            thread.alloc_cursor
        } else {
            chunk.limit
        };
        // SAFETY: as above.
        Ok(unsafe { initialise(chunk.cursor, mt, length) })
    }

    fn try_medium(
        &self,
        thread: &mut ThreadHeader,
        mt: *const MethodTableHeader,
        size: usize,
        length: Option<u32>,
    ) -> Result<ObjPtr, i32> {
        let mut spaces = self.spaces.lock();
        if spaces.medium.0 + size > spaces.medium.1 {
            let chunk = spaces.nursery.take_block(self.layout, BLOCK_SIZE).ok_or(0)?;
            // SAFETY: the block was just taken and holds nothing.
            unsafe { memory::zero(chunk.cursor - 8, BLOCK_SIZE) };
            spaces.medium = (chunk.cursor, chunk.limit);
        }
        let address = spaces.medium.0;
        spaces.medium.0 += size;
        self.allocated.fetch_add(size as u64, Relaxed);
        thread.allocated_before_chunk += size as u64;
        // SAFETY: the memory is zeroed and ours; the lock is held until the object can be walked.
        Ok(unsafe { initialise(address, mt, length) })
    }

    /// Large or pinned object. `Err` = collect this generation.
    fn try_large(
        &self,
        mt: *const MethodTableHeader,
        size: usize,
        length: Option<u32>,
        flags: AllocFlags,
    ) -> Result<ObjPtr, i32> {
        let mut spaces = self.spaces.lock();
        let limit = self.limit();
        let small = size <= LARGE_THRESHOLD;
        let bytes = if small {
            size
        } else {
            LargeSpace::run_bytes(size).ok_or(2)?
        };
        if self.used_bytes(&spaces) + bytes > limit {
            return Err(2);
        }
        if small {
            let address = spaces.old.allocate_pinned(self.layout, size).ok_or(2)?;
            self.allocated.fetch_add(size as u64, Relaxed);
            // SAFETY: the memory is zeroed and ours; the lock is held until the object can be walked.
            return Ok(unsafe { initialise(address, mt, length) });
        }
        if spaces.large.young_bytes != 0 && spaces.large.young_bytes + bytes > spaces.large_budget {
            return Err(0);
        }
        let (address, dirty) = spaces.large.allocate(self.layout, size).ok_or(2)?;
        drop(spaces);
        self.allocated.fetch_add(size as u64, Relaxed);
        // SAFETY: the page run is ours alone; lookups do not see it before it is published. A type without references may
        // stay uninitialised if the caller wants so, but its header must be zero.
        let obj = unsafe {
            if dirty {
                let skip = flags.contains(AllocFlags::UNINIT) && !(*mt).contains_gc_pointers();
                memory::zero(address - 8, if skip { 32 } else { size });
            }
            initialise(address, mt, length)
        };
        self.spaces.lock().large.publish(self.layout, address);
        Ok(obj)
    }

    /// Most bytes that objects may use: the hard limit, else what the machine has.
    fn limit(&self) -> usize {
        if self.config.hard_limit != 0 {
            self.config.hard_limit
        } else {
            self.physical
        }
    }

    // ---- collections ----

    fn collect_for_allocation(
        &self,
        thread: &mut ThreadHeader,
        generation: i32,
        size: usize,
    ) -> Result<(), OutOfMemory> {
        if self.provider.get().is_none() {
            // Nobody can tell the roots yet: let the nursery grow instead.
            return self.grow_without_collection(size);
        }
        self.run_collection(thread, generation, CollectionReason::Allocation);
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
    pub fn collect(&self, thread: &mut ThreadHeader, generation: i32) {
        self.run_collection(thread, generation, CollectionReason::Induced);
    }

    /// Collects young objects and starts to mark the others beside the program, unless that is under way; a later collection ends
    /// it. `thread` as for [`Self::collect`].
    pub fn collect_concurrently(&self, thread: &mut ThreadHeader) {
        self.run_collection(thread, 0, CollectionReason::Concurrent);
    }

    pub(crate) fn run_collection(&self, thread: &mut ThreadHeader, generation: i32, reason: CollectionReason) {
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
        let unused = thread.map_or(0, |thread| thread.chunk_end - thread.alloc_cursor);
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
    pub fn for_each_object(&self, thread: Option<&mut ThreadHeader>, mut visit: impl FnMut(ObjPtr, usize)) {
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

/// Writes type and length of a new object.
///
/// # Safety
/// `address` is memory for the object, zeroed as far as it must be, owned by the caller.
#[inline(always)]
unsafe fn initialise(address: usize, mt: *const MethodTableHeader, length: Option<u32>) -> ObjPtr {
    let obj = address as *mut Object;
    // SAFETY: forwarded.
    unsafe {
        if let Some(length) = length {
            *obj.byte_add(ARRAY_LENGTH_OFFSET).cast::<u32>() = length;
        }
        (*obj).mt = mt;
    }
    obj
}

/// Takes the chunk away from a thread and books what it used. World stopped or own thread.
pub(crate) fn retire_context(heap: &Heap, thread: &mut ThreadHeader) {
    if thread.chunk_start == 0 {
        return;
    }
    thread.allocated_before_chunk += (thread.alloc_cursor - thread.chunk_start) as u64;
    heap.allocated
        .fetch_sub((thread.chunk_end - thread.alloc_cursor) as u64, Relaxed);
    thread.chunk_start = 0;
    thread.chunk_end = 0;
    thread.alloc_cursor = 0;
    thread.alloc_limit = 0;
}

/// As [`retire_context`] for a thread that is being detached.
pub(crate) fn retire_allocation_context(thread: &mut ThreadHeader) {
    if let Some(heap) = Heap::try_get() {
        retire_context(heap, thread);
    }
}
