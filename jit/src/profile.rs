//! Profiles: which classes the receivers of virtual and interface calls have, and which methods delegate calls reach.
//!
//! Instrumented Tier-0 code tells [`Helper::ProfileClass`] each receiver before the call, and [`Helper::ProfileTarget`] each
//! delegate; the host keeps a record for each call, named by its method and IL offset. Tier 1 asks
//! [`CompilerHost::class_profile`] and [`CompilerHost::target_profile`].

use crate::host_api::CompilerHost;
use crate::ids::{MethodId, TypeId};
use crate::ir::*;
use cranelift_entity::EntityRef;

/// What was seen at a call, most frequent first: exact classes of receivers, or methods behind delegates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile<T> {
    /// What was seen and how often.
    pub seen: Vec<(T, u32)>,
    /// All observations, of others too.
    pub total: u32,
}

/// Classes that a receiver had.
pub type ClassProfile = Profile<TypeId>;
/// Methods that delegates called.
pub type TargetProfile = Profile<MethodId>;

impl<T: Copy> Profile<T> {
    /// The most frequent ones: up to `count`, each with at least `each` percent of enough observations, and all together with
    /// at least `all` percent; else none.
    pub fn likely(&self, each: u32, all: u32, count: usize) -> Vec<T> {
        /// Fewer say nothing.
        const ENOUGH: u32 = 10;
        let reaches = |n: u32, percent: u32| u64::from(n) * 100 >= u64::from(self.total) * u64::from(percent);
        let frequent = self.seen.iter().take(count).filter(|&&(_, n)| reaches(n, each));
        let sum = frequent.clone().fold(0, |sum: u32, &(_, n)| sum.saturating_add(n));
        if self.total < ENOUGH || !reaches(sum, all) {
            return Vec::new();
        }
        frequent.map(|&(what, _)| what).collect()
    }
}

/// The receiver of a call whose class or target is worth knowing, and who is told.
fn receiver(op: &Op) -> Option<(Value, Helper)> {
    let Op::Call {
        callee,
        args,
        tail: false,
        ..
    } = op
    else {
        return None;
    };
    let helper = match callee {
        Callee::Vtable { .. } | Callee::Interface { .. } => Helper::ProfileClass,
        Callee::DelegateInvoke => Helper::ProfileTarget,
        _ => return None,
    };
    Some((*args.first()?, helper))
}

/// Does the function have calls to profile?
pub fn has_sites(func: &Func) -> bool {
    func.blocks
        .values()
        .flat_map(|b| &b.insts)
        .any(|i| receiver(&i.op).is_some())
}

/// Makes a function tell the classes of its receivers.
pub fn instrument(func: &mut Func, host: &dyn CompilerHost) {
    let Some(method) = func.method else { return };
    for block in func.blocks.keys().collect::<Vec<_>>() {
        if !func.blocks[block].insts.iter().any(|i| receiver(&i.op).is_some()) {
            continue;
        }
        let old = std::mem::take(&mut func.blocks[block].insts);
        let mut new = Vec::with_capacity(old.len() + 4);
        for inst in old {
            if let Some((object, helper)) = receiver(&inst.op)
                && let Some(cell) = host.profile_cell(method, inst.il)
            {
                let record = func.values.push(Ty::I64);
                new.push(Inst {
                    op: Op::Address(cell),
                    result: Some(record),
                    ..inst.clone()
                });
                new.push(Inst {
                    op: Op::CallHelper {
                        helper,
                        args: vec![record, object],
                    },
                    result: None,
                    ..inst.clone()
                });
            }
            new.push(inst);
        }
        func.blocks[block].insts = new;
    }
}

/// The method and IL offset that an instruction comes from, inlined or not.
pub(crate) fn origin(func: &Func, inst: &Inst) -> Option<(MethodId, u32)> {
    if inst.il == NO_IL {
        return None;
    }
    let method = match inst.site.index() {
        0 => func.method?,
        n => func.sites.get(n - 1)?.method,
    };
    Some((method, inst.il))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_often_enough_is_likely() {
        let likely = |counts: &[u32], total| {
            let seen = counts.iter().zip(1..).map(|(&n, t)| (TypeId(t), n)).collect();
            let profile = Profile { seen, total };
            profile.likely(25, 60, 2).len()
        };
        assert_eq!(likely(&[60, 20], 100), 1);
        assert_eq!(likely(&[60, 40], 100), 2);
        assert_eq!(likely(&[30, 30, 30], 100), 2);
        assert_eq!(likely(&[59, 24], 100), 0);
        assert_eq!(likely(&[9], 9), 0);
        assert_eq!(likely(&[], 100), 0);
    }
}
