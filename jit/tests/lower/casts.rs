//! Casts at both tiers: what is answered inline, what the engine is asked, what is raised.

use crate::harness::*;
use corten_jit::host_api::TypeKind as K;
use corten_jit::ids::TypeId;
use corten_jit::ir::*;
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    static ASKED: Cell<u32> = const { Cell::new(0) };
}

/// The class of an object is its first word; class 0x40 fits every type whose handle is even.
extern "C" fn is_inst(ty: u64, object: *const u64) -> *const u64 {
    ASKED.set(ASKED.get() + 1);
    if object.is_null() || (unsafe { *object } == 0x40 && ty & 1 == 0) {
        object
    } else {
        std::ptr::null()
    }
}

/// Unboxes class 0x40 as any type.
fn host() -> (Host, [TypeId; 3]) {
    let mut host = Host::new();
    host.is_inst = is_inst as *const () as u64;
    let ids = [(); 3].map(|()| host.add_struct(8, &[(0, K::I8)]));
    for (i, id) in ids.iter().enumerate() {
        let info = Arc::get_mut(&mut host.structs[(id.0 - STRUCTS) as usize]).unwrap();
        info.method_table = 0x10 * (i as u64 + 1);
        info.is_exact = i == 0;
        info.is_interface = i == 2;
    }
    (host, ids)
}

fn cast(host: &Host, helper: Helper, ty: TypeId, optimise: bool) -> &'static corten_jit::code_map::CodeInfo {
    let func = build(host, sig(REF, &[REF]), |b| {
        let x = b.arg(0);
        let object = b.get(x);
        let handle = b.iconst64(ty.0 as i64);
        let result = b.helper(helper, vec![handle, object], Ty::Ref);
        b.ret(Some(result));
    });
    if optimise {
        compile_optimised(host, &func).1
    } else {
        compile(host, &func)
    }
}

/// Result of a cast and how often the engine was asked.
fn ask(code: &corten_jit::code_map::CodeInfo, object: usize) -> (Result<usize, usize>, u32) {
    ASKED.set(0);
    (run(code, [object, 0, 0, 0]), ASKED.get())
}

#[test]
fn casts_answer_alike_at_both_tiers_and_inline_what_can_be() {
    let (host, [exact, open, interface]) = host();
    let objects: [[u64; 2]; 5] = [[0x10, 0], [0x20, 0], [0x30, 0], [0x40, 0], [0x50, 0]];
    for (ty, table) in [(exact, 0x10), (open, 0x20), (interface, 0)] {
        for object in objects.iter().map(|o| o.as_ptr() as usize).chain([0]) {
            let class = if object == 0 {
                0
            } else {
                unsafe { *(object as *const u64) }
            };
            // No object but one of its own class is of an exact type, whatever the mock of the engine says.
            let fits = class == table && table != 0 || class == 0x40 && ty.0 & 1 == 0 && ty != exact;
            let answer = if fits { object } else { 0 };
            let inline = ty == exact || ty != interface && (class == table || object == 0);
            let isinst = cast(&host, Helper::IsInst, ty, true);
            assert_eq!(
                ask(isinst, object),
                (Ok(answer), u32::from(!inline)),
                "isinst {ty:?} {class:#x}"
            );
            let castclass = cast(&host, Helper::CastClass, ty, true);
            let expected = if fits || object == 0 { Ok(object) } else { Err(1006) };
            assert_eq!(
                ask(castclass, object),
                (expected, u32::from(!inline)),
                "castclass {ty:?} {class:#x}"
            );
            if ty != exact && !(class == table && table != 0) {
                assert_eq!(ask(cast(&host, Helper::IsInst, ty, false), object), (Ok(answer), 1));
                assert_eq!(ask(cast(&host, Helper::CastClass, ty, false), object), (expected, 1));
            }
        }
    }
}

#[test]
fn unboxing_the_very_class_is_inline() {
    let (host, [exact, ..]) = host();
    let own = [0x10u64, 7];
    let other = [0x50u64, 7];
    let unbox = cast(&host, Helper::Unbox, exact, true);
    assert_eq!(
        run(unbox, [own.as_ptr() as usize, 0, 0, 0]),
        Ok(own.as_ptr() as usize + 8)
    );
    // The others are the helper's matter: in this engine it raises.
    assert_eq!(run(unbox, [other.as_ptr() as usize, 0, 0, 0]), Err(1006));
    assert_eq!(run(unbox, [0, 0, 0, 0]), Err(1006));
}
