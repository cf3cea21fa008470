//! Names and lists of types that many descriptions have in common, kept once: a large program's compiler asks about tens of
//! thousands of methods, and every second one is a constructor or takes nothing.

use corten_jit::ids::TypeId;
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use std::hash::Hash;
use std::sync::Arc;

/// The tables.
#[derive(Default)]
pub(super) struct Shared {
    names: Table<str>,
    types: Table<[TypeId]>,
}

struct Table<T: ?Sized>(Mutex<FxHashSet<Arc<T>>>);

impl<T: ?Sized> Default for Table<T> {
    fn default() -> Self {
        Table(Mutex::default())
    }
}

impl<T: ?Sized + Eq + Hash> Table<T> {
    fn get<'a>(&self, what: &'a T) -> Arc<T>
    where
        Arc<T>: From<&'a T>,
    {
        let mut table = self.0.lock();
        if let Some(known) = table.get(what) {
            return known.clone();
        }
        let new: Arc<T> = what.into();
        table.insert(new.clone());
        new
    }
}

impl Shared {
    pub(super) fn name(&self, name: &str) -> Arc<str> {
        self.names.get(name)
    }

    pub(super) fn types(&self, types: impl Iterator<Item = TypeId>) -> Arc<[TypeId]> {
        let types: smallvec::SmallVec<[TypeId; 8]> = types.collect();
        self.types.get(&types)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_are_one() {
        let shared = Shared::default();
        let list = |n: u64| shared.types((0..n).map(TypeId));
        assert!(Arc::ptr_eq(&list(3), &list(3)));
        assert!(!Arc::ptr_eq(&list(3), &list(4)));
        assert_eq!(*list(2), [TypeId(0), TypeId(1)]);
        assert!(Arc::ptr_eq(&shared.name(".ctor"), &shared.name(".ctor")));
    }
}
