//! Sync blocks and the operations of `System.Threading.Monitor` and `RuntimeHelpers.GetHashCode` on objects.
//!
//! A sync block belongs to one object, which it refers to weakly; it is freed when the object dies. Blocks never move
//! and their memory is never given back, so a pointer to a monitor stays valid while its object is rooted.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::monitor::{Monitor, MonitorError};
use crate::object::{ObjPtr, sync_word};
use crate::scope::HandleScope;
use crate::syncword::{SyncState, ThinResult, VALUE_MASK, decode, install_block, install_hash, thin_enter, thin_exit};
use crate::thread::ThreadHeader;

/// What does not fit into the sync word of an object.
#[derive(Default)]
pub struct SyncBlock {
    /// The object, not kept alive; 0 while the block is free.
    object: AtomicUsize,
    /// Hash code, 0 if none was asked for.
    hash: AtomicU32,
    /// The lock.
    pub monitor: Monitor,
}

const CHUNK: usize = 1024;
const CHUNKS: usize = 1 << 14;

#[derive(Default)]
struct Allocation {
    free: Vec<u32>,
    /// First index never used; 0 is not an index.
    next: u32,
}

/// Table of all sync blocks, indexed by the number in the sync word.
pub struct SyncBlockTable {
    chunks: Box<[AtomicPtr<SyncBlock>]>,
    allocation: Mutex<Allocation>,
}

/// The table is full (16 million blocks).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many sync blocks")]
pub struct TooManySyncBlocks;

impl SyncBlockTable {
    /// The process's table.
    pub fn get() -> &'static SyncBlockTable {
        static TABLE: OnceLock<SyncBlockTable> = OnceLock::new();
        TABLE.get_or_init(|| SyncBlockTable {
            chunks: (0..CHUNKS).map(|_| AtomicPtr::default()).collect(),
            allocation: Mutex::new(Allocation {
                free: Vec::new(),
                next: 1,
            }),
        })
    }

    /// The block with a number that came from a sync word.
    pub fn block(&self, index: u32) -> &SyncBlock {
        let chunk = self.chunks[index as usize / CHUNK].load(Ordering::Acquire);
        // SAFETY: an index from a sync word was allocated, so its chunk exists; chunks are never freed.
        unsafe { &*chunk.add(index as usize % CHUNK) }
    }

    /// Number of blocks in use.
    pub fn live_count(&self) -> usize {
        let allocation = self.allocation.lock();
        allocation.next as usize - 1 - allocation.free.len()
    }

    fn allocate(&self) -> Result<u32, TooManySyncBlocks> {
        let mut allocation = self.allocation.lock();
        if let Some(index) = allocation.free.pop() {
            return Ok(index);
        }
        let index = allocation.next;
        let slot = self.chunks.get(index as usize / CHUNK).ok_or(TooManySyncBlocks)?;
        if slot.load(Ordering::Relaxed).is_null() {
            let chunk: Vec<SyncBlock> = (0..CHUNK).map(|_| SyncBlock::default()).collect();
            slot.store(Box::leak(chunk.into_boxed_slice()).as_mut_ptr(), Ordering::Release);
        }
        allocation.next += 1;
        Ok(index)
    }

    fn free(&self, index: u32) {
        let block = self.block(index);
        block.object.store(0, Ordering::Relaxed);
        block.hash.store(0, Ordering::Relaxed);
        block.monitor.adopt(0, 0);
        self.allocation.lock().free.push(index);
    }

    /// The object's sync block, made if it has none.
    ///
    /// # Safety
    /// `obj` is a live object; cooperative mode.
    ///
    /// # Errors
    /// The table is full.
    pub unsafe fn inflate(&self, obj: ObjPtr) -> Result<&SyncBlock, TooManySyncBlocks> {
        // SAFETY: forwarded.
        let word = unsafe { sync_word(obj) };
        if let SyncState::Block(index) = decode(word.load(crate::sync::Ordering::Acquire)) {
            return Ok(self.block(index));
        }
        let fresh = self.allocate()?;
        let block = self.block(fresh);
        block.object.store(obj as usize, Ordering::Relaxed);
        let winner = install_block(word, fresh, |state| {
            block.monitor.adopt(0, 0);
            block.hash.store(0, Ordering::Relaxed);
            match state {
                SyncState::Thin { owner, recursion } => block.monitor.adopt(owner, recursion),
                SyncState::Hash(hash) => block.hash.store(hash, Ordering::Relaxed),
                SyncState::Empty | SyncState::Block(_) => {}
            }
        });
        if winner != fresh {
            self.free(fresh);
        }
        Ok(self.block(winner))
    }

    /// After tracing: blocks of dead objects are freed, others learn the new address.
    pub(crate) fn scan(&self, mut locate: impl FnMut(usize) -> Option<usize>) {
        let next = self.allocation.lock().next;
        for index in 1..next {
            let block = self.block(index);
            let object = block.object.load(Ordering::Relaxed);
            if object == 0 {
                continue;
            }
            match locate(object) {
                Some(now) => block.object.store(now, Ordering::Relaxed),
                None => self.free(index),
            }
        }
    }
}

thread_local! {
    static HASH_SEED: Cell<u32> = const { Cell::new(0) };
}

fn new_hash() -> u32 {
    static SEEDS: AtomicU32 = AtomicU32::new(0x9E37_79B9);
    HASH_SEED.with(|seed| {
        let mut value = seed.get();
        if value == 0 {
            value = SEEDS.fetch_add(0x6D2B_79F5, Ordering::Relaxed) | 1;
        }
        loop {
            value ^= value << 13;
            value ^= value >> 17;
            value ^= value << 5;
            let hash = value >> 6 & VALUE_MASK;
            if hash != 0 {
                seed.set(value);
                return hash;
            }
        }
    })
}

/// `RuntimeHelpers.GetHashCode`: the object's identity hash code (1..2^26), the same for its whole life.
///
/// # Safety
/// `obj` is a live object; cooperative mode.
///
/// # Errors
/// A sync block is needed and the table is full.
pub unsafe fn hash_code(obj: ObjPtr) -> Result<u32, TooManySyncBlocks> {
    // SAFETY: forwarded.
    let word = unsafe { sync_word(obj) };
    if let SyncState::Hash(hash) = decode(word.load(crate::sync::Ordering::Relaxed)) {
        return Ok(hash);
    }
    let fresh = new_hash();
    if let Ok(hash) = install_hash(word, fresh) {
        return Ok(hash);
    }
    // SAFETY: forwarded.
    let block = unsafe { SyncBlockTable::get().inflate(obj)? };
    match block
        .hash
        .compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed)
    {
        Ok(_) => Ok(fresh),
        Err(known) => Ok(known),
    }
}

/// `RuntimeHelpers.TryGetHashCode`: the hash code if the object has one, else 0.
///
/// # Safety
/// As for [`hash_code`].
pub unsafe fn try_hash_code(obj: ObjPtr) -> u32 {
    // SAFETY: forwarded.
    match decode(unsafe { sync_word(obj) }.load(crate::sync::Ordering::Acquire)) {
        SyncState::Hash(hash) => hash,
        SyncState::Block(index) => SyncBlockTable::get().block(index).hash.load(Ordering::Relaxed),
        SyncState::Empty | SyncState::Thin { .. } => 0,
    }
}

/// Why a lock operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Ownership or interruption.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// No sync block left.
    #[error(transparent)]
    TooManySyncBlocks(#[from] TooManySyncBlocks),
}

/// `Monitor.Enter` / `TryEnter`: enters the object's lock, blocking at most `timeout` (`None` = forever) in preemptive
/// mode: a safepoint. Returns whether the lock was taken.
///
/// # Safety
/// `obj` is a live object; the thread is the current one, attached, in cooperative mode.
///
/// # Errors
/// The thread was interrupted, or no sync block is left.
#[inline]
pub unsafe fn enter(thread: &ThreadHeader, obj: ObjPtr, timeout: Option<Duration>) -> Result<bool, LockError> {
    // SAFETY: forwarded.
    unsafe {
        match thin_enter(sync_word(obj), thread.lock_id()) {
            ThinResult::Done => Ok(true),
            _ => enter_slow(thread, obj, timeout),
        }
    }
}

#[cold]
unsafe fn enter_slow(thread: &ThreadHeader, obj: ObjPtr, timeout: Option<Duration>) -> Result<bool, LockError> {
    // SAFETY: forwarded; short critical sections end before a sync block is worth it.
    unsafe {
        for _ in 0..50 {
            if !matches!(decode(sync_word(obj).load(crate::sync::Ordering::Relaxed)), SyncState::Thin { owner, .. } if owner != thread.lock_id())
            {
                break;
            }
            std::hint::spin_loop();
        }
        if thin_enter(sync_word(obj), thread.lock_id()) == ThinResult::Done {
            return Ok(true);
        }
        if timeout == Some(Duration::ZERO)
            && matches!(decode(sync_word(obj).load(crate::sync::Ordering::Relaxed)), SyncState::Thin { owner, .. } if owner != thread.lock_id())
        {
            return Ok(false);
        }
        let block = SyncBlockTable::get().inflate(obj)?;
        // The block lives as long as its object: keep that while we wait.
        let scope = HandleScope::new(thread);
        let _kept = scope.root(obj);
        Ok(block.monitor.enter(thread, timeout)?)
    }
}

/// `Monitor.Exit`.
///
/// # Safety
/// `obj` is a live object; cooperative mode.
///
/// # Errors
/// The thread does not own the lock.
#[inline]
pub unsafe fn exit(thread: &ThreadHeader, obj: ObjPtr) -> Result<(), LockError> {
    // SAFETY: forwarded.
    match thin_exit(unsafe { sync_word(obj) }, thread.lock_id()) {
        ThinResult::Done => Ok(()),
        ThinResult::Block(index) => Ok(SyncBlockTable::get().block(index).monitor.exit(thread.lock_id())?),
        ThinResult::Inflate | ThinResult::NotOwner => Err(MonitorError::NotOwner.into()),
    }
}

/// `Monitor.Wait`: a safepoint. Returns whether a pulse came before `timeout` passed.
///
/// # Safety
/// As for [`enter`].
///
/// # Errors
/// The thread does not own the lock or was interrupted, or no sync block is left.
pub unsafe fn wait(thread: &ThreadHeader, obj: ObjPtr, timeout: Option<Duration>) -> Result<bool, LockError> {
    // SAFETY: forwarded.
    unsafe {
        if !is_entered(thread, obj) {
            return Err(MonitorError::NotOwner.into());
        }
        let block = SyncBlockTable::get().inflate(obj)?;
        let scope = HandleScope::new(thread);
        let _kept = scope.root(obj);
        Ok(block.monitor.wait(thread, timeout)?)
    }
}

/// `Monitor.Pulse` and `PulseAll`.
///
/// # Safety
/// As for [`exit`].
///
/// # Errors
/// The thread does not own the lock.
pub unsafe fn pulse(thread: &ThreadHeader, obj: ObjPtr, all: bool) -> Result<(), LockError> {
    // SAFETY: forwarded.
    match decode(unsafe { sync_word(obj) }.load(crate::sync::Ordering::Acquire)) {
        // Nobody can be waiting on a thin lock.
        SyncState::Thin { owner, .. } if owner == thread.lock_id() => Ok(()),
        SyncState::Block(index) => Ok(SyncBlockTable::get()
            .block(index)
            .monitor
            .pulse(thread.lock_id(), all)?),
        _ => Err(MonitorError::NotOwner.into()),
    }
}

/// Lock number of the thread that owns the object's lock, 0 if none.
///
/// # Safety
/// As for [`exit`].
pub unsafe fn lock_owner(obj: ObjPtr) -> u32 {
    // SAFETY: forwarded.
    match decode(unsafe { sync_word(obj) }.load(crate::sync::Ordering::Acquire)) {
        SyncState::Thin { owner, .. } => owner,
        SyncState::Block(index) => SyncBlockTable::get().block(index).monitor.owner(),
        SyncState::Empty | SyncState::Hash(_) => 0,
    }
}

/// `Monitor.IsEntered`.
///
/// # Safety
/// As for [`exit`].
pub unsafe fn is_entered(thread: &ThreadHeader, obj: ObjPtr) -> bool {
    // SAFETY: forwarded.
    unsafe { lock_owner(obj) == thread.lock_id() }
}
