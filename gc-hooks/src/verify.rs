//! Heap verifier: checks that every reference leads to an object and that the card table misses nothing.

use std::sync::OnceLock;

use parking_lot::{Mutex, MutexGuard};

use crate::bitmap::Bitmap;
use crate::gcdesc::for_each_ref;
use crate::handles::HandleKind;
use crate::heap::{Heap, Spaces};
use crate::object::{MIN_OBJECT_SIZE, ObjPtr, size_with_mt};
use crate::space::Layout;

/// A defect of the heap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeapDefect {
    /// A field does not hold null or the address of an object.
    #[error("field {field:#x} of object {object:#x} (MethodTable {mt:#x}) holds {value:#x}, which is no object")]
    BadReference {
        /// Object that has the field.
        object: usize,
        /// Address of the field.
        field: usize,
        /// MethodTable of the object.
        mt: usize,
        /// What the field holds.
        value: usize,
    },
    /// An object's MethodTable or size makes no sense.
    #[error("object {object:#x} has MethodTable {mt:#x} and size {size}")]
    BadObject {
        /// The object.
        object: usize,
        /// Its first word.
        mt: usize,
        /// Its computed size.
        size: usize,
    },
    /// An old object refers to a young one, and the card of the field is clean.
    #[error("field {field:#x} of old object {object:#x} holds young {value:#x}, but its card is clean")]
    MissingCard {
        /// Object that has the field.
        object: usize,
        /// Address of the field.
        field: usize,
        /// The young object.
        value: usize,
    },
    /// A handle does not hold null or the address of an object.
    #[error("{kind:?} handle {handle:#x} holds {value:#x}, which is no object")]
    BadHandle {
        /// Kind of the handle.
        kind: HandleKind,
        /// Its address.
        handle: usize,
        /// What it holds.
        value: usize,
    },
    /// A registered static does not hold null or the address of an object.
    #[error("static {slot:#x} holds {value:#x}, which is no object")]
    BadStatic {
        /// Its address.
        slot: usize,
        /// What it holds.
        value: usize,
    },
}

/// Where objects begin: a bitmap of the verifier's own, empty between two checks.
struct Known<'a> {
    starts: MutexGuard<'static, Option<Bitmap>>,
    objects: &'a [ObjPtr],
}

impl<'a> Known<'a> {
    fn of(layout: &Layout, objects: &'a [ObjPtr]) -> Self {
        static STARTS: OnceLock<Mutex<Option<Bitmap>>> = OnceLock::new();
        let starts = STARTS.get_or_init(|| Mutex::new(Bitmap::new(layout.heap.start, layout.heap.size())));
        let starts = starts.lock();
        if let Some(map) = &*starts {
            objects.iter().for_each(|&obj| map.set(obj as usize));
        }
        Self { starts, objects }
    }

    fn contains(&self, address: usize) -> bool {
        address.is_multiple_of(8) && self.starts.as_ref().is_none_or(|map| map.test(address))
    }
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        if let Some(map) = &*self.starts {
            self.objects.iter().for_each(|&obj| map.clear(obj as usize));
        }
    }
}

/// Checks all objects, handles and statics. The world is stopped and chunks are retired.
pub(crate) fn check(heap: &Heap, spaces: &Spaces) -> Result<usize, HeapDefect> {
    let layout = heap.layout;
    let mut objects: Vec<ObjPtr> = Vec::new();
    spaces.nursery.for_each_object(layout, |obj| objects.push(obj));
    spaces.old.for_each_object(layout, |obj| objects.push(obj));
    spaces.large.for_each_object(layout, |obj| objects.push(obj));
    spaces.frozen.for_each_object(layout, |obj| objects.push(obj));
    let known = Known::of(layout, &objects);
    let is_object = |value: usize| value == 0 || !layout.heap.contains(value) || known.contains(value);
    let is_young =
        |value: usize| layout.nursery.contains(value) || layout.large.contains(value) && spaces.large.is_young(value);
    for &obj in &objects {
        let object = obj as usize;
        // SAFETY: the spaces report object starts; the MethodTable is checked before use as far as possible.
        unsafe {
            let mt = (*obj).mt;
            if mt.is_null() || !(mt as usize).is_multiple_of(8) || layout.heap.contains(mt as usize) {
                return Err(HeapDefect::BadObject {
                    object,
                    mt: mt as usize,
                    size: 0,
                });
            }
            let size = size_with_mt(obj, mt);
            if size < MIN_OBJECT_SIZE {
                return Err(HeapDefect::BadObject {
                    object,
                    mt: mt as usize,
                    size,
                });
            }
            let mut defect = None;
            for_each_ref(obj, mt, size, |slot| {
                let (field, value) = (slot as usize, *slot as usize);
                if !is_object(value) {
                    defect.get_or_insert(HeapDefect::BadReference {
                        object,
                        field,
                        mt: mt as usize,
                        value,
                    });
                } else if !is_young(object) && is_young(value) && *layout.card_of(field) == 0 {
                    defect.get_or_insert(HeapDefect::MissingCard { object, field, value });
                }
            });
            if let Some(defect) = defect {
                return Err(defect);
            }
        }
    }
    let kinds = [
        HandleKind::WeakShort,
        HandleKind::WeakLong,
        HandleKind::Strong,
        HandleKind::Pinned,
        HandleKind::Dependent,
    ];
    for kind in kinds {
        let mut defect = None;
        heap.handles().for_each(kind, |slot| {
            // SAFETY: the slot is a live handle.
            let value = unsafe { *slot } as usize;
            if !is_object(value) {
                defect.get_or_insert(HeapDefect::BadHandle {
                    kind,
                    handle: slot as usize,
                    value,
                });
            }
        });
        if let Some(defect) = defect {
            return Err(defect);
        }
    }
    let mut defect = None;
    heap.statics.for_each(|slot| {
        // SAFETY: registered slots are valid.
        let value = unsafe { *slot } as usize;
        if !is_object(value) {
            defect.get_or_insert(HeapDefect::BadStatic {
                slot: slot as usize,
                value,
            });
        }
    });
    match defect {
        Some(defect) => Err(defect),
        None => Ok(objects.len()),
    }
}

/// Checks and ends the process with a message if something is wrong: going on would hide the cause.
pub(crate) fn check_or_abort(heap: &Heap, spaces: &Spaces, when: &str) {
    if let Err(defect) = check(heap, spaces) {
        eprintln!(
            "Fatal error: the heap is damaged {when} ({} collections so far): {defect}",
            heap.stats().collections()
        );
        std::process::abort();
    }
}

/// Ends the process: a root does not hold an object.
#[cold]
pub(crate) fn bad_root(slot: usize, value: usize) -> ! {
    eprintln!("Fatal error: root slot {slot:#x} holds {value:#x}, which is in the heap but no object");
    std::process::abort();
}

impl Heap {
    /// Stops the world and checks the heap. Returns the number of objects.
    ///
    /// # Errors
    /// The first defect found.
    pub fn verify(&self, thread: &crate::thread::ThreadHeader) -> Result<usize, HeapDefect> {
        crate::safepoint::ThreadRegistry::get().stop_the_world(Some(thread), |_| {
            let spaces = self.spaces.lock();
            check(self, &spaces)
        })
    }
}
