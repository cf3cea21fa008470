//! The MethodDescs of a type. Most methods of a program are never called and never looked at, so each is made when it is
//! asked for.

use std::sync::atomic::{AtomicPtr, Ordering};

use crate::{
    arena,
    error::Result,
    members,
    method_desc::MethodDesc,
    method_table::MethodTable,
    type_def::{MethodRow, TypeDefInfo},
};

/// One cell per declared method, in metadata order; null until the method is asked for.
pub(crate) struct MethodCells(Box<[AtomicPtr<MethodDesc>]>);

impl MethodCells {
    /// Cells of `count` methods that come from metadata.
    pub(crate) fn empty(count: usize) -> Self {
        MethodCells((0..count).map(|_| AtomicPtr::default()).collect())
    }

    /// Cells of methods that exist.
    pub(crate) fn of(methods: Vec<MethodDesc>) -> Result<Self> {
        let cells = methods
            .into_iter()
            .map(|m| Ok(AtomicPtr::new(leak(m)?)))
            .collect::<Result<_>>()?;
        Ok(MethodCells(cells))
    }
}

/// Gives a MethodDesc its address and its precode.
fn leak(method: MethodDesc) -> Result<*mut MethodDesc> {
    let at = arena::alloc_zeroed(size_of::<MethodDesc>(), align_of::<MethodDesc>()) as *mut MethodDesc;
    // SAFETY: fresh memory of that size and alignment, which is never freed.
    let method = unsafe {
        at.write(method);
        &*at
    };
    crate::precode::attach_precode(std::slice::from_ref(method))?;
    Ok(at)
}

/// The methods that a type declares, in metadata order (array types: Get, Set, Address, .ctor).
#[derive(Clone, Copy)]
pub struct Methods {
    owner: &'static MethodTable,
    cells: &'static [AtomicPtr<MethodDesc>],
}

impl Methods {
    pub(crate) fn new(owner: &'static MethodTable, cells: Option<&'static MethodCells>) -> Self {
        Methods {
            owner,
            cells: cells.map_or(&[], |c| &c.0),
        }
    }

    /// Number of methods.
    pub fn len(self) -> usize {
        self.cells.len()
    }

    /// Are there none?
    pub fn is_empty(self) -> bool {
        self.cells.is_empty()
    }

    /// The method at `index`, if there is one.
    ///
    /// # Errors
    /// BadImageFormat when its signature or generic parameters are malformed; no executable memory.
    pub fn load(self, index: usize) -> Result<Option<&'static MethodDesc>> {
        let Some(cell) = self.cells.get(index) else {
            return Ok(None);
        };
        let known = cell.load(Ordering::Acquire);
        let method = if known.is_null() {
            let Some(def) = self.owner.class().def else {
                return Ok(None);
            };
            let fresh = leak(members::make_method(self.owner, def, index)?)?;
            // Of two threads that make the method one wins; nobody has seen the other one's.
            match cell.compare_exchange(std::ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => fresh,
                Err(theirs) => theirs,
            }
        } else {
            known
        };
        // SAFETY: cells hold addresses of MethodDescs from `leak`, published with release.
        Ok(Some(unsafe { &*method }))
    }

    /// The method at `index`; `None` also when it cannot be made (see [`load`](Self::load)).
    pub fn get(self, index: usize) -> Option<&'static MethodDesc> {
        self.load(index).ok().flatten()
    }

    /// The first method.
    pub fn first(self) -> Option<&'static MethodDesc> {
        self.get(0)
    }

    /// All methods. This makes all of them: where the name is known, [`named`](Self::named) costs less.
    pub fn iter(self) -> impl Iterator<Item = &'static MethodDesc> {
        (0..self.len()).filter_map(move |i| self.get(i))
    }

    /// The methods with this name.
    pub fn named(self, name: &str) -> impl Iterator<Item = &'static MethodDesc> {
        self.filtered(move |_, row| row.is_named(name))
            .filter(move |m| m.name() == name)
    }

    /// The methods whose metadata `wanted` accepts (array types: all).
    pub(crate) fn filtered(
        self,
        wanted: impl Fn(&'static TypeDefInfo, &MethodRow) -> bool,
    ) -> impl Iterator<Item = &'static MethodDesc> {
        let def = self.owner.class().def;
        (0..self.len())
            .filter(move |i| def.is_none_or(|d| d.methods().get(*i).is_some_and(|row| wanted(d, row))))
            .filter_map(move |i| self.get(i))
    }

    /// The method of a MethodDef row.
    pub fn with_rid(self, rid: u32) -> Option<&'static MethodDesc> {
        self.get(self.owner.class().def?.method_index(rid)?)
    }
}

impl IntoIterator for Methods {
    type Item = &'static MethodDesc;
    type IntoIter = Box<dyn Iterator<Item = &'static MethodDesc>>;
    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}
