//! What belongs to unloadable code: reference slots outside of the heap that count only while their *anchor* is alive, and the
//! edge from every instance of an unloadable type to the anchor.
//!
//! An anchor is an object that never moves; its address is in a slot that lives for ever. When a collection finds the anchor
//! dead, all its slots become null.

use std::sync::OnceLock;

use parking_lot::Mutex;

use crate::object::{MethodTableHeader, ObjPtr};
use crate::trace::Trace;

/// Gives the slot with the anchor of an unloadable type.
pub type EdgeOf = fn(*const MethodTableHeader) -> *mut ObjPtr;

static EDGE: OnceLock<EdgeOf> = OnceLock::new();

/// Sets (once) how the anchor of a type is found; before any MethodTable has the flag `COLLECTIBLE`.
pub fn set_edge(edge: EdgeOf) {
    let _ = EDGE.set(edge);
}

/// The anchor slot of an unloadable type.
#[cold]
pub(crate) fn edge(mt: *const MethodTableHeader) -> Option<*mut ObjPtr> {
    EDGE.get().map(|f| f(mt))
}

#[derive(Debug)]
struct Group {
    anchor: *mut ObjPtr,
    slots: Vec<*mut ObjPtr>,
}

// SAFETY: the slots are only used while the world is stopped, under the lock.
unsafe impl Send for Group {}

/// All anchors with their slots.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: Mutex<Vec<Group>>,
}

impl Groups {
    pub fn add(&self, anchor: *mut ObjPtr, slots: *mut ObjPtr, count: usize) {
        let mut groups = self.groups.lock();
        let at = match groups.iter().position(|g| g.anchor == anchor) {
            Some(at) => at,
            None => {
                groups.push(Group {
                    anchor,
                    slots: Vec::new(),
                });
                groups.len() - 1
            }
        };
        groups[at].slots.extend((0..count).map(|i| slots.wrapping_add(i)));
    }

    pub fn remove(&self, slots: *mut ObjPtr, count: usize) {
        let range = slots..slots.wrapping_add(count);
        for group in self.groups.lock().iter_mut() {
            group.slots.retain(|slot| !range.contains(slot));
        }
    }

    /// Visits the slots of live anchors.
    pub fn visit(&self, trace: &mut impl Trace) {
        for group in self.groups.lock().iter() {
            // SAFETY: the slot lives for ever and holds null or the anchor.
            let anchor = unsafe { *group.anchor } as usize;
            if anchor != 0 && trace.locate(anchor).is_some() {
                group.slots.iter().for_each(|slot| trace.visit(*slot));
            }
        }
    }

    /// Ends the groups of dead anchors.
    pub fn clear(&self, trace: &impl Trace) {
        self.groups.lock().retain(|group| {
            // SAFETY: as above; the slots are valid until they are removed.
            unsafe {
                if trace.locate(*group.anchor as usize).is_some() {
                    return true;
                }
                for slot in &group.slots {
                    **slot = std::ptr::null_mut();
                }
                *group.anchor = std::ptr::null_mut();
            }
            false
        });
    }
}
