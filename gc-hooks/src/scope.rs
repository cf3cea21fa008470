//! Roots of Rust code: handle scopes and typed handles.
//!
//! A raw [`ObjPtr`] must not live across a safepoint, because a collection moves objects. Rust code keeps an object in
//! a [`Local`], whose slot the collector updates, and asks it for the address when it needs that. A function that needs
//! an address for more than one access takes its right to reach safepoints in hand ([`Safepoints`]): whoever may reach one
//! needs the thread, the thread is only to be had by borrowing the right mutably, and [`Local::borrow`] borrows it, too. So a
//! reference that is kept too long does not compile.
//!
//! ```
//! use corten_gc_hooks::{HandleScope, Safepoints, ThreadHeader};
//! fn collects(_: &ThreadHeader) {}
//! let thread = ThreadHeader::new();
//! let scope = HandleScope::new(&thread);
//! let local = scope.root(std::ptr::null_mut());
//! let mut safepoints = Safepoints::of(&thread);
//! assert!(local.borrow(&safepoints).is_none());
//! collects(safepoints.thread());
//! assert!(local.borrow(&safepoints).is_none());
//! ```
//!
//! ```compile_fail,E0502
//! use corten_gc_hooks::{HandleScope, Safepoints, ThreadHeader};
//! fn collects(_: &ThreadHeader) {}
//! let thread = ThreadHeader::new();
//! let scope = HandleScope::new(&thread);
//! let local = scope.root(std::ptr::null_mut());
//! let mut safepoints = Safepoints::of(&thread);
//! let raw = local.borrow(&safepoints);
//! collects(safepoints.thread()); // a safepoint: `raw` may be stale
//! drop(raw.map(|r| r.as_ptr()));
//! ```

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use crate::object::{ObjPtr, Object};
use crate::thread::ThreadHeader;

const INLINE_SLOTS: usize = 16;

/// Slots of one handle scope; linked into its thread, address stable.
pub struct RootFrame {
    previous: *mut RootFrame,
    used: Cell<usize>,
    slots: [Cell<ObjPtr>; INLINE_SLOTS],
    /// Boxed: slots keep their addresses when the vector grows.
    #[allow(clippy::vec_box, reason = "the addresses of the slots must not change")]
    overflow: Cell<Vec<Box<[Cell<ObjPtr>; INLINE_SLOTS]>>>,
}

impl RootFrame {
    fn new() -> Self {
        Self {
            previous: ptr::null_mut(),
            used: Cell::new(0),
            slots: [const { Cell::new(ptr::null_mut()) }; INLINE_SLOTS],
            overflow: Cell::new(Vec::new()),
        }
    }

    fn push(&self, obj: ObjPtr) -> *mut ObjPtr {
        let index = self.used.get();
        self.used.set(index + 1);
        if index < INLINE_SLOTS {
            self.slots[index].set(obj);
            return self.slots[index].as_ptr();
        }
        let mut overflow = self.overflow.take();
        let (chunk, at) = (index / INLINE_SLOTS - 1, index % INLINE_SLOTS);
        if chunk == overflow.len() {
            overflow.push(Box::new([const { Cell::new(ptr::null_mut()) }; INLINE_SLOTS]));
        }
        overflow[chunk][at].set(obj);
        let slot = overflow[chunk][at].as_ptr();
        self.overflow.set(overflow);
        slot
    }

    fn for_each(&self, visit: &mut dyn FnMut(*mut ObjPtr)) {
        let used = self.used.get();
        for slot in self.slots.iter().take(used) {
            visit(slot.as_ptr());
        }
        let overflow = self.overflow.take();
        let rest = used.saturating_sub(INLINE_SLOTS);
        for slot in overflow.iter().flat_map(|chunk| chunk.iter()).take(rest) {
            visit(slot.as_ptr());
        }
        self.overflow.set(overflow);
    }
}

/// A region of Rust code whose [`Local`]s are roots. Scopes of a thread nest.
pub struct HandleScope<'t> {
    thread: &'t ThreadHeader,
    frame: *mut RootFrame,
}

impl std::fmt::Debug for HandleScope<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandleScope").field("frame", &self.frame).finish()
    }
}

impl<'t> HandleScope<'t> {
    /// Opens a scope on `thread`, the current thread.
    pub fn new(thread: &'t ThreadHeader) -> Self {
        let cached = thread.scope_cache.get();
        let frame = if cached.is_null() {
            Box::into_raw(Box::new(RootFrame::new()))
        } else {
            // SAFETY: cached frames are owned by the thread and unused.
            thread.scope_cache.set(unsafe { (*cached).previous });
            cached
        };
        // SAFETY: the frame is exclusively ours until it is linked.
        unsafe { (*frame).previous = thread.scope_top.get() };
        thread.scope_top.set(frame);
        Self { thread, frame }
    }

    /// Keeps `obj` alive and updated until the scope ends.
    pub fn root(&self, obj: ObjPtr) -> Local<'_> {
        // SAFETY: the frame lives until this scope is dropped.
        let slot = unsafe { (*self.frame).push(obj) };
        // SAFETY: `push` returns the address of a slot.
        let slot = unsafe { NonNull::new_unchecked(slot) };
        Local {
            slot,
            scope: PhantomData,
        }
    }
}

impl Drop for HandleScope<'_> {
    fn drop(&mut self) {
        // SAFETY: the frame is linked into the thread, and frames between
        // the top and ours belong to scopes that are still open (they stay linked).
        unsafe {
            let mut link: *mut *mut RootFrame = self.thread.scope_top.as_ptr();
            while !(*link).is_null() && *link != self.frame {
                link = &raw mut (**link).previous;
            }
            if !(*link).is_null() {
                *link = (*self.frame).previous;
            }
            (*self.frame).used.set(0);
            (*self.frame).previous = self.thread.scope_cache.get();
            self.thread.scope_cache.set(self.frame);
        }
    }
}

/// A rooted object of a [`HandleScope`].
#[derive(Debug, Clone, Copy)]
pub struct Local<'scope> {
    slot: NonNull<ObjPtr>,
    scope: PhantomData<&'scope ()>,
}

impl Local<'_> {
    /// The object's present address. It is good only until the next safepoint; see [`Self::borrow`].
    #[inline]
    pub fn get(&self) -> ObjPtr {
        // SAFETY: the slot lives as long as the scope.
        unsafe { self.slot.as_ptr().read() }
    }

    /// Replaces the object.
    #[inline]
    #[allow(clippy::not_unsafe_ptr_arg_deref, reason = "the slot is the scope's own")]
    pub fn set(&self, obj: ObjPtr) {
        // SAFETY: the slot lives as long as the scope, and only its thread writes it while it runs.
        unsafe { self.slot.as_ptr().write(obj) }
    }

    /// Address of the slot: what an `ObjectHandleOnStack` of a QCall holds.
    #[inline]
    pub fn slot(&self) -> *mut ObjPtr {
        self.slot.as_ptr()
    }

    /// The object for as long as no safepoint can be reached.
    #[inline]
    pub fn borrow<'a, T>(&self, _: &'a Safepoints<'_, T>) -> Option<Ref<'a>> {
        NonNull::new(self.get()).map(|object| Ref {
            object,
            safepoints: PhantomData,
        })
    }

    /// Whether the reference is null.
    #[inline]
    pub fn is_null(&self) -> bool {
        self.get().is_null()
    }
}

/// A raw reference that does not outlive the next safepoint.
#[derive(Debug, Clone, Copy)]
pub struct Ref<'a> {
    object: NonNull<Object>,
    safepoints: PhantomData<&'a ()>,
}

impl Ref<'_> {
    /// The address.
    #[inline]
    pub fn as_ptr(self) -> ObjPtr {
        self.object.as_ptr()
    }
}

/// The right of a function to reach safepoints: its thread, which it uses in no other way. `T` is what the functions that it calls
/// take for a thread.
pub struct Safepoints<'t, T = ThreadHeader>(&'t T);

impl<'t, T> Safepoints<'t, T> {
    /// The right of the current thread.
    pub fn of(thread: &'t T) -> Self {
        Self(thread)
    }

    /// The thread, for a function that may reach a safepoint: borrowed objects end here.
    #[inline]
    pub fn thread(&mut self) -> &T {
        self.0
    }
}

impl<T> std::fmt::Debug for Safepoints<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Safepoints")
    }
}

/// Visits every slot of every open scope of `thread`.
pub(crate) fn for_each_root(thread: &ThreadHeader, visit: &mut dyn FnMut(*mut ObjPtr)) {
    let mut frame = thread.scope_top.get();
    while !frame.is_null() {
        // SAFETY: linked frames are live; the thread is stopped (or it is the caller's own).
        unsafe {
            (*frame).for_each(visit);
            frame = (*frame).previous;
        }
    }
}

/// Frees the retired frames of a thread that goes away.
pub(crate) fn free_cache(thread: &ThreadHeader) {
    let mut frame = thread.scope_cache.replace(ptr::null_mut());
    while !frame.is_null() {
        // SAFETY: cached frames came from `Box::into_raw` and nothing else refers to them.
        let owned = unsafe { Box::from_raw(frame) };
        frame = owned.previous;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn scopes_nest_and_report_their_slots() {
        let thread = ThreadHeader::new();
        let outer = HandleScope::new(&thread);
        let first = outer.root(8 as ObjPtr);
        {
            let inner = HandleScope::new(&thread);
            for i in 0..40 {
                inner.root((16 + i * 8) as ObjPtr);
            }
            outer.root(ptr::null_mut());
            let mut count = 0;
            for_each_root(&thread, &mut |slot| {
                // SAFETY: the slot is live.
                unsafe { *slot = (*slot).wrapping_byte_add(8) };
                count += 1;
            });
            assert_eq!(count, 42);
        }
        assert_eq!(first.get() as usize, 16);
        drop(outer);
        assert!(thread.scope_top.get().is_null());
    }
}
