//! Profiles: which classes the receivers of virtual and interface calls have.
//!
//! Instrumented Tier-0 code tells [`Helper::ProfileClass`] each receiver before the call; the host keeps a record for each
//! call, named by its method and IL offset. Tier 1 asks [`CompilerHost::class_profile`].

use crate::host_api::CompilerHost;
use crate::ids::{MethodId, TypeId};
use crate::ir::*;
use cranelift_entity::EntityRef;

/// Classes that a receiver had, most frequent first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassProfile {
    /// Exact classes and how often each was seen.
    pub classes: Vec<(TypeId, u32)>,
    /// All receivers that were seen, of other classes too.
    pub total: u32,
}

impl ClassProfile {
    /// The most frequent class, if it has at least `percent` of enough observations.
    pub fn likely(&self, percent: u32) -> Option<TypeId> {
        /// Fewer say nothing.
        const ENOUGH: u32 = 10;
        let &(class, count) = self.classes.first()?;
        let share = u64::from(count) * 100;
        (self.total >= ENOUGH && share >= u64::from(self.total) * u64::from(percent)).then_some(class)
    }
}

/// The receiver of a call whose class is worth knowing.
fn receiver(op: &Op) -> Option<Value> {
    match op {
        Op::Call {
            callee: Callee::Vtable { .. } | Callee::Interface { .. },
            args,
            tail: false,
            ..
        } => args.first().copied(),
        _ => None,
    }
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
            if let Some(object) = receiver(&inst.op)
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
                        helper: Helper::ProfileClass,
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
    fn a_class_is_likely_if_it_was_seen_often_enough() {
        let profile = |counts: &[(u64, u32)], total| ClassProfile {
            classes: counts.iter().map(|&(t, n)| (TypeId(t), n)).collect(),
            total,
        };
        assert_eq!(profile(&[(1, 60), (2, 40)], 100).likely(60), Some(TypeId(1)));
        assert_eq!(profile(&[(1, 60), (2, 41)], 101).likely(60), None);
        assert_eq!(profile(&[(1, 9)], 9).likely(60), None);
        assert_eq!(profile(&[], 100).likely(1), None);
    }
}
