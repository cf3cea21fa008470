//! Parallel marking: several threads share the marking of a big heap, and the evacuation of sparse blocks.
//!
//! Every worker has a stack of marked objects; when others are hungry it gives half away through a shared pool. Mark
//! bits are set atomically, live bytes are counted per worker and added up at the end. Marking ends when all workers
//! are hungry and the pool is empty. An object of a block that is evacuated is copied into a block of the worker; the
//! worker whose compare-and-swap of the forwarding address succeeds wins, the other takes its copy back.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::gcdesc::for_each_ref;
use crate::object::{MethodTableHeader, ObjPtr, size_with_mt};
use crate::old::OldSpace;
use crate::space::{BLOCK_SIZE, Layout};
use crate::trace::{FORWARDED, WorkStack, exhausted};

/// More workers gain little on the memory bus.
const MAX_WORKERS: usize = 4;
/// A stack longer than this may be shared.
const SHARE_ABOVE: usize = 128;

struct Shared<'a> {
    /// Hands out blocks for copies.
    old: Mutex<&'a mut OldSpace>,
    /// By block: is it evacuated? Empty if none is. Blocks that are made meanwhile are not listed.
    evacuating: Vec<bool>,
    pool: Mutex<Vec<Vec<usize>>>,
    hungry: AtomicUsize,
    workers: AtomicUsize,
}

/// Number of threads worth using on this machine; `CORTEN_GCWORKERS` overrides it.
pub(crate) fn workers() -> usize {
    static WORKERS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *WORKERS.get_or_init(|| {
        let wish = std::env::var("CORTEN_GCWORKERS")
            .ok()
            .and_then(|text| text.trim().parse().ok());
        wish.or_else(|| std::thread::available_parallelism().ok().map(|n| n.get()))
            .unwrap_or(1)
            .clamp(1, MAX_WORKERS)
    })
}

/// Marks everything reachable from the marked objects on `stack`, which is empty afterwards.
pub(crate) fn mark(layout: &'static Layout, old: &mut OldSpace, evacuates: bool, stack: &mut Vec<usize>) {
    let workers = workers();
    let mut parts: Vec<Vec<usize>> = vec![Vec::new(); workers];
    for (i, obj) in stack.drain(..).enumerate() {
        parts[i % workers].push(obj);
    }
    let blocks = old.block_count();
    let evacuating = if evacuates { old.evacuating_blocks() } else { Vec::new() };
    let shared = Shared {
        old: Mutex::new(old),
        evacuating,
        pool: Mutex::new(Vec::new()),
        hungry: AtomicUsize::new(0),
        workers: AtomicUsize::new(workers),
    };
    let own = parts.pop().unwrap_or_default();
    std::thread::scope(|scope| {
        let shared = &shared;
        let mut others = Vec::new();
        for part in parts {
            // A thread that cannot be started leaves its part to the others.
            let part = std::sync::Arc::new(Mutex::new(part));
            let taken = part.clone();
            let body = move || Worker::new(layout, shared, std::mem::take(&mut *taken.lock()), blocks).run();
            match std::thread::Builder::new().spawn_scoped(scope, body) {
                Ok(handle) => others.push(handle),
                Err(_) => {
                    shared.pool.lock().push(std::mem::take(&mut *part.lock()));
                    shared.workers.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        let mine = Worker::new(layout, shared, own, blocks).run();
        shared.old.lock().add_live(&mine);
        for other in others {
            match other.join() {
                Ok(live) => shared.old.lock().add_live(&live),
                // A worker that failed has left objects unmarked: the heap is lost.
                Err(_) => std::process::abort(),
            }
        }
    });
}

struct Worker<'a> {
    layout: &'static Layout,
    shared: &'a Shared<'a>,
    work: WorkStack,
    live: Vec<u32>,
    /// Where the next copy goes and the end of that block.
    cursor: usize,
    limit: usize,
}

impl<'a> Worker<'a> {
    fn new(layout: &'static Layout, shared: &'a Shared<'a>, stack: Vec<usize>, blocks: usize) -> Self {
        Self {
            layout,
            shared,
            work: WorkStack::new(stack),
            live: vec![0; blocks],
            cursor: 0,
            limit: 0,
        }
    }

    fn run(mut self) -> Vec<u32> {
        loop {
            while let Some(obj) = self.work.pop() {
                self.scan(obj as ObjPtr);
                if self.work.len() > SHARE_ABOVE && self.shared.hungry.load(Ordering::Relaxed) != 0 {
                    let half = self.work.split_oldest();
                    self.shared.pool.lock().push(half);
                }
            }
            if !self.find_work() {
                return self.live;
            }
        }
    }

    /// Takes work from the pool; false when there is none any more anywhere.
    fn find_work(&mut self) -> bool {
        let shared = self.shared;
        // Under the pool's lock the count of hungry workers and the pool agree: a worker that is not hungry may still
        // fill the pool, a hungry one cannot.
        let mut counted = false;
        loop {
            {
                let mut pool = shared.pool.lock();
                if let Some(stack) = pool.pop() {
                    if counted {
                        shared.hungry.fetch_sub(1, Ordering::Relaxed);
                    }
                    self.work = WorkStack::new(stack);
                    return true;
                }
                if !counted {
                    counted = true;
                    shared.hungry.fetch_add(1, Ordering::Relaxed);
                }
                if shared.hungry.load(Ordering::Relaxed) == shared.workers.load(Ordering::Relaxed) {
                    return false;
                }
            }
            for _ in 0..64 {
                std::hint::spin_loop();
            }
            std::thread::yield_now();
        }
    }

    #[inline(always)]
    fn scan(&mut self, obj: ObjPtr) {
        let layout = self.layout;
        // SAFETY: marked objects are whole; nothing is moved while this runs. Two workers never scan the same object.
        unsafe {
            let mt = (*obj).mt;
            let size = size_with_mt(obj, mt);
            if layout.old.contains(obj as usize) {
                let block = (obj as usize - layout.old.start) / BLOCK_SIZE;
                if block >= self.live.len() {
                    self.live.resize(block + 64, 0);
                }
                self.live[block] += size as u32;
            }
            for_each_ref(obj, mt, size, |field| {
                let address = *field as usize;
                if !layout.heap.contains(address) || address >= layout.frozen.start {
                    return;
                }
                if !self.shared.evacuating.is_empty()
                    && layout.old.contains(address)
                    && self.shared.evacuating.get((address - layout.old.start) / BLOCK_SIZE) == Some(&true)
                {
                    *field = self.evacuated(address) as ObjPtr;
                    return;
                }
                if layout.nursery.contains(address) && !layout.nursery.contains(field as usize) {
                    layout.mark_card_shared(field as usize);
                }
                if layout.marks.insert_shared(address) {
                    self.work.push(address);
                }
            });
        }
    }

    /// Where the object at `address`, in a block that is evacuated, is now: copies it unless somebody did.
    fn evacuated(&mut self, address: usize) -> usize {
        // SAFETY: the first word of an object in such a block is its MethodTable or its forwarding address; every worker
        // accesses it atomically.
        let word = unsafe { AtomicUsize::from_ptr(address as *mut usize) };
        let seen = word.load(Ordering::Acquire);
        if seen & FORWARDED != 0 {
            return seen & !FORWARDED;
        }
        let mt = seen as *const MethodTableHeader;
        // SAFETY: the rest of the object does not change while its block is evacuated: only copies are scanned.
        let size = unsafe { size_with_mt(address as ObjPtr, mt) };
        let to = self.room(size);
        // SAFETY: the target is ours, outside of blocks that are evacuated, and holds no object yet. The first word is
        // written from `seen`, because another worker may be changing it.
        unsafe {
            let (source, target) = ((address - 8) as *const u64, (to - 8) as *mut u64);
            *target = *source;
            *target.add(1) = seen as u64;
            std::ptr::copy_nonoverlapping(source.add(2), target.add(2), size / 8 - 2);
        }
        match word.compare_exchange(seen, to | FORWARDED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.layout.marks.insert_shared(to);
                self.work.push(to);
                to
            }
            Err(other) => {
                // Room from the shared run is lost until the next collection finds the hole.
                if self.cursor == to + size {
                    self.cursor = to;
                }
                other & !FORWARDED
            }
        }
    }

    /// Room for a copy of `size` bytes.
    fn room(&mut self, size: usize) -> usize {
        if self.cursor + size > self.limit {
            let mut old = self.shared.old.lock();
            if self.limit - self.cursor >= 2048 {
                // Too much to give up for one big object.
                return old.room_uncounted(self.layout, size).unwrap_or_else(|| exhausted());
            }
            let run = old.take_whole_block(self.layout);
            (self.cursor, self.limit) = run.unwrap_or_else(|| exhausted());
        }
        let to = self.cursor;
        self.cursor += size;
        to
    }
}
