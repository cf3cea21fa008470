//! Profiles, filled by instrumented code: of calls (classes of receivers, code addresses in delegates) and of blocks.

use corten_gc_hooks::object::ObjPtr;
use corten_jit::profile::{ClassProfile, Profile, TargetProfile};
use corten_loader::{MethodDesc, MethodKind, MethodTable};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Classes or code addresses that a record tells apart; others are only counted.
const KEYS: usize = 4;

/// What was seen at one call. Threads update it without locks: a lost count does no harm.
#[derive(Debug, Default)]
pub struct Record {
    keys: [(AtomicUsize, AtomicU32); KEYS],
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

/// Counters of a method's blocks. Threads update them without locks: a lost count does no harm.
struct Blocks {
    offsets: Box<[u32]>,
    counts: Box<[AtomicU32]>,
}

type BlockTable = RwLock<FxHashMap<usize, &'static Blocks>>;

fn block_table() -> &'static BlockTable {
    static TABLE: OnceLock<BlockTable> = OnceLock::new();
    TABLE.get_or_init(BlockTable::default)
}

/// The counters of the blocks at these IL offsets, made on first request. They live for ever.
pub fn block_counters(method: &'static MethodDesc, offsets: &[u32]) -> &'static [AtomicU32] {
    let mut table = block_table().write();
    if let Some(known) = table.get(&method.address())
        && *known.offsets == *offsets
    {
        return &known.counts;
    }
    let blocks: &'static Blocks = Box::leak(Box::new(Blocks {
        offsets: offsets.into(),
        counts: offsets.iter().map(|_| AtomicU32::new(0)).collect(),
    }));
    table.insert(method.address(), blocks);
    &blocks.counts
}

/// What these counters have counted, by IL offset.
pub fn block_counts(method: &'static MethodDesc) -> Option<Vec<(u32, u32)>> {
    let blocks = *block_table().read().get(&method.address())?;
    let counts = blocks.counts.iter().map(|n| n.load(Ordering::Relaxed));
    Some(blocks.offsets.iter().copied().zip(counts).collect())
}

fn seen(method: &'static MethodDesc, il: u32) -> Option<Profile<usize>> {
    Some(table().read().get(&(method.address(), il))?.read())
}

fn map<T>(profile: Profile<usize>, what: impl Fn(usize) -> Option<T>) -> Profile<T> {
    let seen = profile.seen.into_iter().filter_map(|(key, n)| Some((what(key)?, n)));
    Profile {
        seen: seen.collect(),
        total: profile.total,
    }
}

/// Classes of the receivers of a virtual or interface call.
pub fn classes(method: &'static MethodDesc, il: u32) -> Option<ClassProfile> {
    let class = |key| {
        // SAFETY: only MethodTables of receivers are stored at such calls, and not those of collectible classes.
        let class = unsafe { &*(key as *const MethodTable) };
        Some(crate::jit_host::type_id(class.handle()))
    };
    Some(map(seen(method, il)?, class))
}

/// Methods that a delegate call reached.
pub fn targets(method: &'static MethodDesc, il: u32) -> Option<TargetProfile> {
    let target = |code| {
        let target = crate::stubs::delegate::method_of_entry(code)?;
        let plain = target.kind() == MethodKind::Il
            && target.collectible().is_none()
            && !target.is_value_type_instance_method()
            && target.stable_entry() == code;
        plain.then(|| crate::jit_host::method_id(target))
    };
    Some(map(seen(method, il)?, target))
}

impl Record {
    fn count(&self, key: usize) {
        let bump = |n: &AtomicU32| n.store(n.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
        for (known, count) in &self.keys {
            let mut seen = known.load(Ordering::Relaxed);
            if seen == 0 {
                // Two threads may want the place at once: the second sees the first's key.
                seen = match known.compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => key,
                    Err(other) => other,
                };
            }
            if seen == key {
                return bump(count);
            }
        }
        bump(&self.others);
    }

    fn read(&self) -> Profile<usize> {
        let keys = self.keys.iter();
        let mut seen: Vec<(usize, u32)> = keys
            .map(|(key, count)| (key.load(Ordering::Relaxed), count.load(Ordering::Relaxed)))
            .filter(|&(key, _)| key != 0)
            .collect();
        seen.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let known: u32 = seen.iter().map(|c| c.1).fold(0, u32::saturating_add);
        Profile {
            total: known.saturating_add(self.others.load(Ordering::Relaxed)),
            seen,
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

/// `Helper::ProfileTarget`.
///
/// # Safety
/// `record` is the address of a [`Record`], `delegate` null or a live delegate. Only from generated code, in cooperative mode.
pub unsafe extern "C" fn profile_target(record: *const Record, delegate: ObjPtr) {
    use crate::stubs::delegate::offsets::{METHOD_PTR, METHOD_PTR_AUX};
    if delegate.is_null() {
        return;
    }
    let word = |offset: usize| (delegate as *const u8).wrapping_add(offset).cast::<usize>();
    // SAFETY: the caller's promise, and the layout of delegates.
    let (record, code, of_static) = unsafe { (&*record, *word(METHOD_PTR), *word(METHOD_PTR_AUX)) };
    record.count(if of_static == 0 { code } else { of_static });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_keys_are_told_apart() {
        let record = Record::default();
        for class in [8, 16, 8, 24, 32, 40, 8] {
            record.count(class);
        }
        let counts = record.keys.each_ref().map(|(_, n)| n.load(Ordering::Relaxed));
        assert_eq!(counts, [3, 1, 1, 1]);
        assert_eq!(record.others.load(Ordering::Relaxed), 1);
    }
}
