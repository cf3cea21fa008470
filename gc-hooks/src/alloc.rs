//! Allocation: from a thread's chunk, a new chunk, the large or the old space; and when to collect for it.

use std::sync::atomic::Ordering::Relaxed;

use crate::heap::{AllocFlags, Heap, MAX_ARRAY_LENGTH, MAX_STRING_LENGTH, OutOfMemory};
use crate::large::LargeSpace;
use crate::memory;
use crate::object::{ARRAY_LENGTH_OFFSET, MIN_OBJECT_SIZE, MethodTableHeader, ObjPtr, Object};
use crate::safepoint::is_cooperative;
use crate::space::{BLOCK_SIZE, LARGE_THRESHOLD};
use crate::thread::ThreadHeader;

/// An allocation that fails as often, each time after a collection, has no chance.
const MAX_ATTEMPTS: u32 = 1000;

impl Heap {
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
        spaces.old.publish_pinned(self.layout, address);
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
    pub fn alloc_object(&self, thread: &ThreadHeader, mt: *const MethodTableHeader) -> Result<ObjPtr, OutOfMemory> {
        // SAFETY: a MethodTable is immutable and never freed while it can be allocated from.
        let (size, finalizer) = unsafe { ((*mt).base_size as usize, (*mt).has_finalizer()) };
        let obj = self.alloc_raw(
            thread,
            Request {
                mt,
                size,
                length: None,
                flags: AllocFlags::empty(),
            },
        )?;
        if finalizer {
            // No safepoint has been passed: nothing else has seen the object.
            thread.finalizable.borrow_mut().push(obj as usize);
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
        thread: &ThreadHeader,
        mt: *const MethodTableHeader,
        length: usize,
        flags: AllocFlags,
    ) -> Result<ObjPtr, OutOfMemory> {
        // SAFETY: as in `alloc_object`.
        let size = unsafe { (*mt).size_with_length(length) };
        let Some(size) = size.filter(|_| length <= MAX_ARRAY_LENGTH) else {
            return Err(OutOfMemory { requested: usize::MAX });
        };
        self.alloc_raw(
            thread,
            Request {
                mt,
                size,
                length: Some(length as u32),
                flags,
            },
        )
    }

    /// Allocates a string of `length` UTF-16 units, all zero. May collect.
    ///
    /// # Errors
    /// No memory within the limit, or the size overflows.
    #[inline]
    pub fn alloc_string(
        &self,
        thread: &ThreadHeader,
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

    /// Allocates an object.
    #[inline]
    fn alloc_raw(&self, thread: &ThreadHeader, request: Request) -> Result<ObjPtr, OutOfMemory> {
        let (address, size) = (thread.alloc_cursor.get(), request.size);
        if size <= LARGE_THRESHOLD
            && address + size <= thread.alloc_limit.get()
            && !request.flags.contains(AllocFlags::PINNED)
        {
            thread.alloc_cursor.set(address + size);
            // SAFETY: the thread owns the zeroed memory from its cursor to its limit.
            return Ok(unsafe { request.initialise(address) });
        }
        self.alloc_slow(thread, request)
    }

    #[cold]
    fn alloc_slow(&self, thread: &ThreadHeader, request: Request) -> Result<ObjPtr, OutOfMemory> {
        debug_assert!(
            is_cooperative(thread) || !thread.attached.get(),
            "allocation in preemptive mode"
        );
        crate::stress::before_allocation(self, thread);
        let size = request.size;
        if size > self.limit() {
            return Err(OutOfMemory { requested: size });
        }
        let (mut attempts, mut full_attempts) = (0, 0);
        loop {
            let outcome = if size > LARGE_THRESHOLD || request.flags.contains(AllocFlags::PINNED) {
                self.try_large(request).inspect(|_| thread.count_allocation(size))
            } else {
                self.try_small(thread, request)
            };
            let wanted = match outcome {
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
    fn try_small(&self, thread: &ThreadHeader, request: Request) -> Result<ObjPtr, i32> {
        let size = request.size;
        if thread.alloc_cursor.get() + size <= thread.chunk_end.get() {
            // Stress mode keeps the limit low; the chunk has room.
            // SAFETY: the thread owns the zeroed memory from its cursor to the end of its chunk.
            return Ok(unsafe { request.initialise(take_from_chunk(thread, size)) });
        }
        if size > 1024 && thread.chunk_end.get() - thread.alloc_cursor.get() > 1024 {
            return self.try_medium(thread, request);
        }
        let extent = crate::stress::chunk_bytes(size);
        let mut spaces = self.spaces.lock();
        let chunk = spaces.nursery.take_block(self.layout, extent).ok_or(0)?;
        if spaces.no_gc.is_some() {
            crate::no_gc_region::memory_was_taken(self, &mut spaces);
        }
        drop(spaces);
        // SAFETY: the block was just handed to this thread and holds nothing. Whoever walks it stops at the zero word behind
        // the last object, or at the end of the block.
        unsafe { memory::zero(chunk.cursor - 8, (extent + 16).min(BLOCK_SIZE)) };
        retire_context(self, thread);
        self.allocated.fetch_add((chunk.limit - chunk.cursor) as u64, Relaxed);
        thread.chunk_start.set(chunk.cursor);
        thread.chunk_end.set(chunk.limit);
        thread.alloc_cursor.set(chunk.cursor);
        // SAFETY: as above.
        Ok(unsafe { request.initialise(take_from_chunk(thread, size)) })
    }

    fn try_medium(&self, thread: &ThreadHeader, request: Request) -> Result<ObjPtr, i32> {
        let size = request.size;
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
        thread.count_allocation(size);
        // SAFETY: the memory is zeroed and ours; the lock is held until the object can be walked.
        Ok(unsafe { request.initialise(address) })
    }

    /// Large or pinned object. `Err` = collect this generation.
    fn try_large(&self, request: Request) -> Result<ObjPtr, i32> {
        let size = request.size;
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
            let obj = unsafe { request.initialise(address) };
            spaces.old.publish_pinned(self.layout, address);
            return Ok(obj);
        }
        if spaces.large.young_bytes != 0 && spaces.large.young_bytes + bytes > spaces.large_budget {
            return Err(0);
        }
        let (address, dirty) = spaces.large.allocate(self.layout, size).ok_or(2)?;
        if spaces.no_gc.is_some() {
            crate::no_gc_region::memory_was_taken(self, &mut spaces);
        }
        drop(spaces);
        self.allocated.fetch_add(size as u64, Relaxed);
        // SAFETY: the page run is ours alone; lookups do not see it before it is published. A type without references may
        // stay uninitialised if the caller wants so, but its header must be zero.
        let obj = unsafe {
            if dirty {
                let skip = request.flags.contains(AllocFlags::UNINIT) && !(*request.mt).contains_gc_pointers();
                memory::zero(address - 8, if skip { 32 } else { size });
            }
            request.initialise(address)
        };
        self.spaces.lock().large.publish(self.layout, address);
        Ok(obj)
    }

    /// Most bytes that objects may use: the hard limit, else what the machine has.
    pub(crate) fn limit(&self) -> usize {
        if self.config.hard_limit != 0 {
            self.config.hard_limit
        } else {
            self.physical
        }
    }
}

/// What is to be allocated.
#[derive(Clone, Copy)]
struct Request {
    mt: *const MethodTableHeader,
    /// Bytes.
    size: usize,
    /// Of an array or string.
    length: Option<u32>,
    flags: AllocFlags,
}

impl Request {
    /// # Safety
    /// As for [`initialise`].
    #[inline(always)]
    unsafe fn initialise(self, address: usize) -> ObjPtr {
        // SAFETY: forwarded.
        unsafe { initialise(address, self.mt, self.length) }
    }
}

/// Takes `size` bytes of a thread's chunk, where there is room for them. The rest is for inline allocation, except in stress mode.
fn take_from_chunk(thread: &ThreadHeader, size: usize) -> usize {
    let address = thread.alloc_cursor.get();
    thread.alloc_cursor.set(address + size);
    thread.alloc_limit.set(if crate::stress::disables_inline_allocation() {
        thread.alloc_cursor.get()
    } else {
        thread.chunk_end.get()
    });
    address
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

/// Takes the chunk away from a thread, books what it used, and takes over its notes about objects with finalizers. World stopped
/// or own thread.
pub(crate) fn retire_context(heap: &Heap, thread: &ThreadHeader) {
    heap.finalizers().gather(thread);
    if thread.chunk_start.get() == 0 {
        return;
    }
    thread.count_allocation(thread.alloc_cursor.get() - thread.chunk_start.get());
    heap.allocated
        .fetch_sub((thread.chunk_end.get() - thread.alloc_cursor.get()) as u64, Relaxed);
    thread.chunk_start.set(0);
    thread.chunk_end.set(0);
    thread.alloc_cursor.set(0);
    thread.alloc_limit.set(0);
}

/// As [`retire_context`] for a thread that is being detached.
pub(crate) fn retire_allocation_context(thread: &ThreadHeader) {
    if let Some(heap) = Heap::try_get() {
        retire_context(heap, thread);
    }
}
