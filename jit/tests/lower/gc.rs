use crate::harness::*;
use corten_jit::host_api::TypeKind as K;
use corten_jit::ir::*;

/// "Moves" every object: addresses between 1000 and 2000 become 1000 larger.
fn move_objects(slot: &mut usize) {
    assert!(*slot == 0 || (1000..9000).contains(slot), "slot holds {:#x}", *slot);
    if *slot != 0 {
        *slot += 1000;
    }
}

#[test]
fn references_are_updated_across_safepoints() {
    let mut host = Host::new();
    let pair = host.add_struct(16, &[(0, K::Ref), (8, K::Ref)]);
    // Values, locals, struct locals and struct values, all across polls.
    let info = code(&host, sig(I8, &[REF, REF]), |b| {
        let (x, y) = (b.arg(0), b.arg(1));
        let unset = b.temp(Ty::Ref, REF);
        let s = b.temp(Ty::Struct(pair), pair);
        let vx = b.get(x);
        let vy = b.get(y);
        let made = b.emit(
            Op::StructMake {
                ty: pair,
                parts: vec![(0, MemTy::Ref, vx), (8, MemTy::Ref, vy)],
            },
            Ty::Struct(pair),
        );
        b.emit_void(Op::CallHelper {
            helper: Helper::Poll,
            args: vec![],
        });
        b.set(s, made);
        b.emit_void(Op::CallHelper {
            helper: Helper::Poll,
            args: vec![],
        });
        let mut sum = b.iconst64(0);
        let vs = b.get(s);
        let a = b.emit(
            Op::StructField {
                value: vs,
                offset: 8,
                ty: MemTy::Ref,
            },
            Ty::Ref,
        );
        let u = b.get(unset);
        let again = b.get(x);
        for v in [vx, vy, a, u, again] {
            let v = b.conv(ConvOp::RefToInt, v, Ty::I64);
            sum = b.bin(BinOp::Add, sum, v);
        }
        b.ret(Some(sum));
    });
    ON_POLL.set(Some(move_objects));
    // x: 1000 -> 3000, y: 1500 -> 3500
    assert_eq!(run(info, [1000, 1500, 0, 0]), Ok(3000 + 3500 + 3500 + 3000));
    ON_POLL.set(None);
}

#[test]
fn slots_are_zero_before_they_are_set() {
    let mut host = Host::new();
    let fields: Vec<(u32, K)> = (0..40)
        .map(|i| (i * 8, if i % 2 == 0 { K::Ref } else { K::I8 }))
        .collect();
    let large = host.add_struct(320, &fields);
    let dirty = code(&host, sig(I8, &[I8]), |b| {
        // Fills its frame with rubbish.
        let n = b.arg(0);
        let n = b.get(n);
        for _ in 0..60 {
            let l = b.temp(Ty::I64, I8);
            b.set(l, n);
        }
        b.ret(Some(n));
    });
    let clean = code(&host, sig(I8, &[REF]), |b| {
        let _big = b.temp(Ty::Struct(large), large);
        let refs: Vec<_> = (0..10).map(|_| b.temp(Ty::Ref, REF)).collect();
        let x = b.arg(0);
        let vx = b.get(x);
        b.emit_void(Op::CallHelper {
            helper: Helper::Poll,
            args: vec![],
        });
        b.set(refs[3], vx);
        let r = b.get(refs[3]);
        let r = b.conv(ConvOp::RefToInt, r, Ty::I64);
        b.ret(Some(r));
    });
    ON_POLL.set(Some(move_objects));
    for _ in 0..3 {
        run(dirty, [0xdead_beef_dead, 0, 0, 0]).unwrap();
        assert_eq!(run(clean, [1234, 0, 0, 0]), Ok(2234));
    }
    ON_POLL.set(None);
    assert!(clean.gc_slots.len() >= 20 + 10 + 2);
}

#[test]
fn poll_updates_values_loaded_before_it() {
    let host = Host::new();
    let info = code(&host, sig(I8, &[REF]), |b| {
        let x = b.arg(0);
        let v = b.get(x);
        b.emit_void(Op::SafepointPoll);
        let r = b.conv(ConvOp::RefToInt, v, Ty::I64);
        b.ret(Some(r));
    });
    ON_POLL.set(Some(move_objects));
    assert_eq!(run(info, [1000, 0, 0, 0]), Ok(1000));
    unsafe { THREAD[4] = 1 };
    assert_eq!(run(info, [1000, 0, 0, 0]), Ok(2000));
    unsafe { THREAD[4] = 0 };
    ON_POLL.set(None);
}
