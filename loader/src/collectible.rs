//! What is unloaded together: the types and code of one collectible load context or dynamic assembly.
//!
//! The collector decides when: while anything refers to an instance, a type object or running code, the group's *anchor*
//! object is alive. Structures of the loader and code stay in memory after that (nothing can refer to them); what unloading
//! gives back are the objects that statics, type objects and caches held.

use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicUsize, Ordering},
};

use crate::type_handle::TypeHandle;

/// A group of types that is unloaded as a whole. Leaked; compared by address.
#[derive(Debug)]
pub struct Collectible {
    /// Address of the anchor object, 0 when the group is dead.
    pub anchor: AtomicUsize,
    /// Load context that the group belongs to.
    context: u64,
    /// Free for the runtime.
    pub runtime_data: AtomicUsize,
}

static ALL: RwLock<Vec<&'static Collectible>> = RwLock::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Makes a load context collectible, before anything is loaded into it. `anchor` is the address of its anchor object.
pub fn register(context: u64, anchor: usize) -> &'static Collectible {
    let group: &'static Collectible = Box::leak(Box::new(Collectible {
        anchor: AtomicUsize::new(anchor),
        context,
        runtime_data: AtomicUsize::new(0),
    }));
    ALL.write().unwrap_or_else(PoisonError::into_inner).push(group);
    COUNT.fetch_add(1, Ordering::Release);
    group
}

/// Whether there ever was a collectible context.
#[inline]
pub fn any() -> bool {
    COUNT.load(Ordering::Acquire) != 0
}

/// The group of a load context, if it is collectible.
pub fn of_context(context: u64) -> Option<&'static Collectible> {
    if !any() || context == 0 {
        return None;
    }
    let all = ALL.read().unwrap_or_else(PoisonError::into_inner);
    all.iter().find(|g| g.context == context).copied()
}

/// The youngest of several groups: it can be told to keep the others alive.
pub(crate) fn youngest(groups: impl Iterator<Item = &'static Collectible>) -> Option<&'static Collectible> {
    groups.max_by_key(|g| g.context)
}

impl PartialEq for Collectible {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Collectible {
    /// Whether everything of the group is gone.
    pub fn is_dead(&self) -> bool {
        self.anchor.load(Ordering::Acquire) == 0
    }
    /// The slot with the address of the anchor.
    pub fn anchor_slot(&self) -> *mut usize {
        self.anchor.as_ptr()
    }
}

impl TypeHandle {
    /// The collectible group of a type, generic arguments and element types included.
    pub fn collectible(self) -> Option<&'static Collectible> {
        use crate::type_desc::TypeDescKind as K;
        if !any() {
            return None;
        }
        match self.as_type_desc().map(|d| d.kind()) {
            None => self.as_method_table()?.class().collectible(),
            Some(K::Pointer(e) | K::ByRef(e)) => e.collectible(),
            Some(K::FnPtr(s)) => youngest(
                std::iter::once(&s.ret)
                    .chain(s.params.iter())
                    .filter_map(|t| t.collectible()),
            ),
            Some(K::Variable(v)) => v.module.assembly().and_then(|a| of_context(a.context())),
        }
    }
}
