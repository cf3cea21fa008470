//! Frozen objects: immortal, never moved, their references are roots.

use crate::object::{ObjPtr, size_of_object};
use crate::space::Layout;

/// State of the frozen space.
#[derive(Debug)]
pub struct FrozenSpace {
    cursor: usize,
}

impl FrozenSpace {
    /// An empty space.
    pub fn new(layout: &Layout) -> Self {
        Self {
            cursor: layout.frozen.start + 8,
        }
    }

    /// Room for an object of `size` bytes, zeroed; its start bit is set. `None` if the range is used up.
    pub fn allocate(&mut self, layout: &Layout, size: usize) -> Option<usize> {
        let obj = self.cursor;
        let next = obj.checked_add(size)?;
        if next > layout.frozen.end {
            return None;
        }
        self.cursor = next;
        layout.starts.set(obj);
        Some(obj)
    }

    /// Bytes in use.
    pub fn used_bytes(&self, layout: &Layout) -> usize {
        self.cursor - 8 - layout.frozen.start
    }

    /// The part of the address range in use, its end rounded up to 4096.
    pub fn extent(&self, layout: &Layout) -> (usize, usize) {
        (layout.frozen.start, (self.cursor + 4095) & !4095)
    }

    /// Start of the last object that begins at or below `address`.
    pub fn object_at_or_below(&self, layout: &Layout, address: usize) -> Option<usize> {
        layout.starts.find_at_or_below(address, layout.frozen.start)
    }

    /// The object that contains `address`.
    pub fn find_object(&self, layout: &Layout, address: usize) -> Option<usize> {
        let obj = self.object_at_or_below(layout, address)?;
        // SAFETY: a start bit is set only for an initialised object.
        let size = unsafe { size_of_object(obj as ObjPtr) };
        (address <= obj + size - 8).then_some(obj)
    }

    /// Visits every object.
    pub fn for_each_object(&self, layout: &Layout, mut visit: impl FnMut(ObjPtr)) {
        let (low, high) = self.extent(layout);
        layout.starts.for_each(low, high, |obj| visit(obj as ObjPtr));
    }
}
