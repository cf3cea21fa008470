//! What keeps objects alive from outside the heap.

use parking_lot::Mutex;

use crate::object::ObjPtr;
use crate::safepoint::World;
use crate::thread::ThreadHeader;

/// Receives roots during a collection. The reported slots must stay valid, and must not be written by others, until the
/// collection ends: the collector keeps their addresses and updates them later.
pub trait RootVisitor {
    /// A slot that holds a reference to an object's start, or null.
    fn slot(&mut self, slot: *mut ObjPtr);
    /// A slot that holds a byref: into an object (one past its end included), into other memory, or null.
    fn byref(&mut self, slot: *mut *mut u8);
    /// A word that may or may not point into an object. Such an object stays alive and where it is. Pinned locals are
    /// reported like this, too.
    fn conservative(&mut self, word: usize);
}

/// Reports the roots that the heap does not know itself: managed frames, thread statics, the runtime's own tables.
/// Called with the world stopped, on the collecting thread; must not allocate managed objects or wait for other threads.
/// (The heap itself visits handle scopes, `pending_exception`, handles, static ranges, frozen objects and finalizers.)
pub trait RootProvider: Sync {
    /// Visits the roots of one stopped thread.
    fn visit_thread(&self, thread: *const ThreadHeader, visitor: &mut dyn RootVisitor);
    /// Visits roots that belong to no thread.
    fn visit_globals(&self, visitor: &mut dyn RootVisitor);
    /// Does what the finalizer of `obj` would do. The object's type has
    /// [`HAS_EAGER_FINALIZER`](crate::object::mt_flags::HAS_EAGER_FINALIZER) and nothing refers to it, but for other objects that
    /// wait for their finalizers; the world is stopped. May end handles, and must not allocate on the managed heap.
    fn finalize_eagerly(&self, obj: ObjPtr);
    /// A collection ends, the world is still stopped: the time for what else needs that. `at_once`: the program asked for the
    /// collection, and does not mind how long it takes.
    fn collected(&self, world: &World<'_>, at_once: bool) {
        let _ = (world, at_once);
    }
}

/// Ranges of references in non-heap memory.
#[derive(Default)]
pub(crate) struct StaticRefs {
    ranges: Mutex<Vec<(usize, usize)>>,
}

impl StaticRefs {
    pub fn add(&self, slots: *mut ObjPtr, count: usize) {
        self.ranges.lock().push((slots as usize, count));
    }

    pub fn remove(&self, slots: *mut ObjPtr) {
        self.ranges.lock().retain(|range| range.0 != slots as usize);
    }

    pub fn for_each(&self, mut visit: impl FnMut(*mut ObjPtr)) {
        for &(start, count) in self.ranges.lock().iter() {
            for i in 0..count {
                visit((start + i * 8) as *mut ObjPtr);
            }
        }
    }
}
