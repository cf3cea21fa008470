//! Memory of dead code: that of `DynamicMethod`s and of collectible groups goes back to the code heap when their managed owners are
//! gone. Code of other methods stays, also when better code has replaced it (callers may still hold its address).
//!
//! What makes code dead: the owner (`DynamicResolver`, `LoaderAllocator`) is kept alive by delegates and reflection objects, and by
//! frames of its code and calls that wait for it ([`crate::roots`]). When the owner's finalizer runs, nothing can get there any
//! more: entries, vtable slots and dispatch tables are only reached through methods and classes of the same owner.
//! Descriptions ([`CodeInfo`]) and MethodDescs stay; recorded stack traces refer to those.

use crate::icalls::reflection::dynamic_method;
use corten_jit::code_map::CodeInfo;
use corten_loader::MethodDesc;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Code that dies together.
#[derive(Debug, Default)]
pub struct OwnedCode(Mutex<Vec<&'static CodeInfo>>);

static PIECES: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

impl OwnedCode {
    /// Gives the memory back.
    ///
    /// # Safety
    /// The owner is dead: no frame, delegate or entry leads to the code, and none will.
    pub unsafe fn free(&self) {
        for info in std::mem::take(&mut *self.0.lock()) {
            PIECES.fetch_add(1, Ordering::Relaxed);
            BYTES.fetch_add(u64::from(info.len), Ordering::Relaxed);
            // SAFETY: the caller's promise.
            unsafe { crate::engine::free_code(info) };
        }
    }
}

/// Takes note of new code of `md`, before anybody learns its address.
pub fn installed(md: &'static MethodDesc, info: &'static CodeInfo) {
    let owned = match dynamic_method::code_of(md) {
        Some(owned) => Some(owned),
        None => md.collectible().and_then(crate::collectible::code_of),
    };
    if let Some(owned) = owned {
        owned.0.lock().push(info);
    }
}

/// Pieces of code that were given back, and their bytes.
pub fn freed() -> (u64, u64) {
    (PIECES.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed))
}
