//! Class profiles of calls, filled by instrumented code.

use corten_gc_hooks::object::ObjPtr;
use corten_jit::ids::TypeId;
use corten_jit::profile::ClassProfile;
use corten_loader::{MethodDesc, MethodTable};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Classes that a record tells apart; receivers of others are only counted.
const CLASSES: usize = 4;

/// What was seen at one call. Threads update it without locks: a lost count does no harm.
#[derive(Debug, Default)]
pub struct Record {
    classes: [(AtomicUsize, AtomicU32); CLASSES],
    others: AtomicU32,
}

type Table = RwLock<FxHashMap<(usize, u32), &'static Record>>;

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(Table::default)
}

/// The record of a call, made on first request. Lives for ever.
pub fn record(method: &'static MethodDesc, il: u32) -> &'static Record {
    table()
        .write()
        .entry((method.address(), il))
        .or_insert_with(|| Box::leak(Box::default()))
}

/// What was seen at a call.
pub fn profile(method: &'static MethodDesc, il: u32) -> Option<ClassProfile> {
    Some(table().read().get(&(method.address(), il))?.read())
}

impl Record {
    fn count(&self, class: usize) {
        let bump = |n: &AtomicU32| n.store(n.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
        for (known, count) in &self.classes {
            let mut seen = known.load(Ordering::Relaxed);
            if seen == 0 {
                // Two threads may want the place at once: the second sees the first's class.
                seen = match known.compare_exchange(0, class, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => class,
                    Err(other) => other,
                };
            }
            if seen == class {
                return bump(count);
            }
        }
        bump(&self.others);
    }

    fn read(&self) -> ClassProfile {
        let mut classes: Vec<(TypeId, u32)> = self
            .classes
            .iter()
            .filter_map(|(class, count)| {
                let class = class.load(Ordering::Relaxed);
                // SAFETY: only MethodTables of receivers are stored; those of methods that are tiered live for ever, and
                // collectible ones are not stored.
                let class = (class != 0).then(|| unsafe { &*(class as *const MethodTable) })?;
                Some((crate::jit_host::type_id(class.handle()), count.load(Ordering::Relaxed)))
            })
            .collect();
        classes.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let known: u32 = classes.iter().map(|c| c.1).fold(0, u32::saturating_add);
        ClassProfile {
            total: known.saturating_add(self.others.load(Ordering::Relaxed)),
            classes,
        }
    }
}

/// `Helper::ProfileClass`.
///
/// # Safety
/// `record` is the address of a [`Record`], `object` null or live. Only from generated code, in cooperative mode.
pub unsafe extern "C" fn profile_class(record: *const Record, object: ObjPtr) {
    if object.is_null() {
        return;
    }
    // SAFETY: the caller's promise; word 0 of an object is its MethodTable.
    let (record, class) = unsafe { (&*record, (*object).mt as usize) };
    // SAFETY: the MethodTable of a live object.
    let collectible = unsafe { &*(class as *const MethodTable) }
        .class()
        .collectible()
        .is_some();
    if !collectible {
        record.count(class);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_classes_are_told_apart() {
        let record = Record::default();
        for class in [8, 16, 8, 24, 32, 40, 8] {
            record.count(class);
        }
        let counts = record.classes.each_ref().map(|(_, n)| n.load(Ordering::Relaxed));
        assert_eq!(counts, [3, 1, 1, 1]);
        assert_eq!(record.others.load(Ordering::Relaxed), 1);
    }
}
