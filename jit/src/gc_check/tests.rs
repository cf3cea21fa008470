//! The checker accepts what lowering does and finds what is planted.

use super::{Action, Leaf, Record, clif, ir as gc_ir};
use crate::builder::FuncBuilder;
use crate::host_api::{Convention, Signature};
use crate::ids::TypeId;
use crate::ir::{Func, Helper, Op, Ty};
use crate::lower::{self, Lowered, Promote};
use crate::testing::MockHost;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    self as cl, AbiParam, BlockArg, Function, InstBuilder, InstructionData, MemFlagsData, Opcode, Value, types,
};

const OBJECT: TypeId = TypeId(1);

/// `f(x, y)`: a loop with a call, behind which both arguments, a local and a temporary are needed.
fn sample(host: &MockHost) -> Func {
    let sig = Signature {
        has_this: false,
        ret: OBJECT,
        params: [OBJECT, OBJECT].into(),
        convention: Convention::Managed,
    };
    let mut b = FuncBuilder::new(host, "sample".into(), None, sig, None).unwrap();
    let (x, y) = (b.arg(0), b.arg(1));
    let z = b.temp(Ty::Ref, OBJECT);
    let (body, end) = (b.create_block(), b.create_block());
    let vx = b.get(x);
    b.set(z, vx);
    b.jump(body);
    b.switch_to(body);
    let temporary = b.get(y);
    b.helper_void(Helper::Poll, vec![]);
    let again = b.get(z);
    let same = b.cmp(crate::ir::Cond::Eq, temporary, again);
    let vy = b.get(y);
    b.set(z, vy);
    b.emit_void(Op::SafepointPoll);
    b.branch(same, body, end);
    b.switch_to(end);
    b.helper_void(Helper::Poll, vec![]);
    let vz = b.get(z);
    let pick = b.create_block();
    let other = b.create_block();
    b.branch(vz, pick, other);
    b.switch_to(pick);
    let vz = b.get(z);
    b.ret(Some(vz));
    b.switch_to(other);
    let vx = b.get(x);
    b.ret(Some(vx));
    b.finish()
}

fn lowered(func: &Func, host: &MockHost, promote: Promote) -> (Function, Lowered, Box<Record>) {
    let mut clif = Function::new();
    let mut lowered = lower::lower(func, host, &mut clif, true, promote, true).unwrap();
    let mut record = lowered.record.take().unwrap();
    record.resolve_aliases(&clif);
    (clif, lowered, record)
}

#[test]
fn what_lowering_does_is_right() {
    let host = MockHost::parse("").unwrap();
    let func = sample(&host);
    for promote in [Promote::Nothing, Promote::Everything] {
        let (clif, lowered, mut record) = lowered(&func, &host, promote);
        assert_eq!(gc_ir::check(&func, &host, &lowered.gc_slots, &record), Ok(()));
        assert_eq!(clif::check(&clif, lowered.area, &lowered.gc_slots, &mut record), Ok(()));
        assert!(record.actions.iter().any(|a| matches!(a.2, Action::Saved(..))));
    }
}

#[test]
fn every_save_is_missed() {
    let host = MockHost::parse("").unwrap();
    let func = sample(&host);
    let (_, lowered, mut record) = lowered(&func, &host, Promote::Everything);
    for n in 0..record.actions.len() {
        if matches!(record.actions[n].2, Action::Saved(..)) {
            let action = record.actions.remove(n);
            let found = gc_ir::check(&func, &host, &lowered.gc_slots, &record);
            assert!(found.is_err(), "without {action:?}");
            record.actions.insert(n, action);
        }
    }
}

#[test]
fn every_slot_of_the_gc_info_is_missed() {
    let host = MockHost::parse("").unwrap();
    let func = sample(&host);
    for promote in [Promote::Nothing, Promote::Everything] {
        let (_, lowered, record) = lowered(&func, &host, promote);
        for n in 0..lowered.gc_slots.len() {
            let mut slots = lowered.gc_slots.clone();
            slots.remove(n);
            assert!(gc_ir::check(&func, &host, &slots, &record).is_err(), "{n} of {slots:?}");
        }
    }
}

#[test]
fn a_slot_is_not_shared_by_what_is_needed_at_the_same_time() {
    let host = MockHost::parse("").unwrap();
    let func = sample(&host);
    let (_, lowered, mut record) = lowered(&func, &host, Promote::Everything);
    let slots: Vec<u32> = lowered.gc_slots.iter().map(|s| s.offset).collect();
    let (a, b) = (slots[0], slots[1]);
    for (_, _, action) in &mut record.actions {
        if let Action::Saved(slot, _) | Action::Loaded(slot, _) = action
            && *slot == b
        {
            *slot = a;
        }
    }
    assert!(gc_ir::check(&func, &host, &lowered.gc_slots, &record).is_err());
}

#[test]
fn slots_must_be_cleared_at_entry() {
    let host = MockHost::parse("").unwrap();
    let func = sample(&host);
    let (_, lowered, mut record) = lowered(&func, &host, Promote::Everything);
    record.cleared.clear();
    let found = gc_ir::check(&func, &host, &lowered.gc_slots, &record).unwrap_err();
    assert!(found.contains("not cleared"), "{found}");
}

/// What a wrong optimisation would do: takes a value that was saved instead of loading it again after the call.
#[test]
fn a_reference_that_is_not_loaded_again_is_found() {
    let host = MockHost::parse("").unwrap();
    let func = sample(&host);
    let (mut clif, lowered, mut record) = lowered(&func, &host, Promote::Everything);
    let insts: Vec<cl::Inst> = clif.layout.blocks().flat_map(|b| clif.layout.block_insts(b)).collect();
    let address = |clif: &Function, v: Value| match clif.dfg.value_def(v).inst().map(|i| clif.dfg.insts[i]) {
        Some(InstructionData::StackAddr { offset, .. }) => Some(i32::from(offset)),
        _ => None,
    };
    let stores: Vec<(i32, Value)> = insts
        .iter()
        .filter_map(|&i| match clif.dfg.insts[i] {
            InstructionData::Store { args, .. } => Some((address(&clif, args[1])?, args[0])),
            _ => None,
        })
        .collect();
    let mut planted = 0;
    for inst in insts {
        let InstructionData::Load {
            opcode: Opcode::Load,
            arg,
            ..
        } = clif.dfg.insts[inst]
        else {
            continue;
        };
        let Some(at) = address(&clif, arg) else { continue };
        // The entry block saves the arguments: what it saves dominates everything.
        let saved = stores
            .iter()
            .find(|(to, v)| *to == at && matches!(clif.dfg.value_def(*v), cl::ValueDef::Param(..)));
        if let Some(&(_, saved)) = saved {
            let result = clif.dfg.inst_results(inst)[0];
            clif.dfg.clear_results(inst);
            clif.layout.remove_inst(inst);
            clif.dfg.change_to_alias(result, saved);
            planted += 1;
        }
    }
    assert!(planted > 0);
    let found = clif::check(&clif, lowered.area, &lowered.gc_slots, &mut record).unwrap_err();
    assert!(found.contains("lives across"), "{found}");
}

/// `block0(v0): v1 = load v0; call; <rest>`.
fn with_call(rest: impl FnOnce(&mut FuncCursor<'_>, Value, Value), leaf: Option<Leaf>) -> Result<(), String> {
    let mut func = Function::new();
    func.signature.params.push(AbiParam::new(types::I64));
    let block = func.dfg.make_block();
    let object = func.dfg.append_block_param(block, types::I64);
    let area = func.create_sized_stack_slot(cl::StackSlotData::new(cl::StackSlotKind::ExplicitSlot, 8, 3));
    let sig = func.import_signature(cl::Signature::new(cranelift_codegen::isa::CallConv::SystemV));
    let name = func.declare_imported_user_function(cl::UserExternalName { namespace: 0, index: 0 });
    let callee = func.import_function(cl::ExtFuncData {
        name: cl::ExternalName::user(name),
        signature: sig,
        colocated: true,
        patchable: false,
    });
    let mut record = Record::default();
    let mut cur = FuncCursor::new(&mut func);
    cur.insert_block(block);
    let loaded = cur.ins().load(types::I64, MemFlagsData::new(), object, 8);
    record.reference(object);
    record.reference(loaded);
    let call = cur.ins().call(callee, &[]);
    if let Some(leaf) = leaf {
        record.leaf(call, leaf);
    }
    rest(&mut cur, object, loaded);
    clif::check(&func, area, &[], &mut record)
}

#[test]
fn derived_addresses_are_references() {
    let addressed = |cur: &mut FuncCursor<'_>, _: Value, loaded: Value| {
        next_block(cur);
        let at = cur.ins().iadd_imm_s(loaded, 16);
        cur.ins().load(types::I64, MemFlagsData::new(), at, 0);
        cur.ins().return_(&[]);
    };
    assert!(with_call(addressed, None).is_err());
    assert_eq!(with_call(addressed, Some(Leaf::Always)), Ok(()));
    assert_eq!(with_call(addressed, Some(Leaf::UnlessRaised)), Ok(()));
}

/// Goes on in a new block.
fn next_block(cur: &mut FuncCursor<'_>) {
    let block = cur.func.dfg.make_block();
    cur.ins().jump(block, &[]);
    cur.insert_block(block);
}

#[test]
fn what_is_passed_on_is_needed() {
    let passed = |cur: &mut FuncCursor<'_>, object: Value, _: Value| {
        let block = cur.func.dfg.make_block();
        cur.func.dfg.append_block_param(block, types::I64);
        cur.ins().jump(block, &[BlockArg::Value(object)]);
        cur.insert_block(block);
        cur.ins().return_(&[]);
    };
    assert!(with_call(passed, None).is_err());
}

#[test]
fn comparisons_of_what_is_equally_old_are_right() {
    use cranelift_codegen::ir::condcodes::IntCC;
    let both_old = |cur: &mut FuncCursor<'_>, object: Value, loaded: Value| {
        cur.ins().icmp(IntCC::Equal, object, loaded);
        cur.ins().return_(&[]);
    };
    assert_eq!(with_call(both_old, None), Ok(()));
    let used = |cur: &mut FuncCursor<'_>, object: Value, _: Value| {
        cur.ins().load(types::I64, MemFlagsData::new(), object, 0);
        cur.ins().return_(&[]);
    };
    assert!(with_call(used, None).is_err());
}

/// The optimiser drops additions of nothing, so what goes in is as fixed as what comes out.
#[test]
fn what_nothing_is_added_to_is_as_fixed_as_the_sum() {
    let fixed = |n: i64| {
        let mut func = Function::new();
        func.signature.params.push(AbiParam::new(types::I64));
        let block = func.dfg.make_block();
        let pinned = func.dfg.append_block_param(block, types::I64);
        let mut cur = FuncCursor::new(&mut func);
        cur.insert_block(block);
        let n = cur.ins().iconst(types::I64, n);
        let sum = cur.ins().iadd(pinned, n);
        cur.ins().return_(&[]);
        let mut record = Record::default();
        record.reference(pinned);
        record.fixed(sum);
        record.resolve_aliases(&func);
        (record.fixed.contains(&pinned), record.bases.contains(&pinned))
    };
    assert_eq!(fixed(0), (true, true));
    assert_eq!(fixed(8), (false, true));
}
