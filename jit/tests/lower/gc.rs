use crate::harness::*;
use corten_jit::host_api::{InlineBarrier, TypeKind as K};
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

#[test]
fn stores_of_young_references_are_recorded_inline() {
    // References from 0x1000 to 0x2000 count; a byte of the table stands for 16 bytes of the heap, which is `heap`.
    #[repr(align(16))]
    struct Heap([usize; 16]);
    let mut heap = Heap([0; 16]);
    let start = heap.0.as_mut_ptr() as usize;
    let mut cards = [0u8; 8];
    let table = (&raw mut cards as usize).wrapping_sub(start >> 4);
    let words = [0x1000, 0x1000, start, size_of::<Heap>(), table];
    let mut host = Host::new();
    host.barrier = Some(InlineBarrier {
        words: words.as_ptr() as u64,
        start: 0,
        size: 8,
        heap_start: 16,
        heap_size: 24,
        table: 32,
        shift: 4,
    });
    let store = |barrier| {
        let func = build(&host, sig(VOID, &[BYREF, REF]), |b| {
            let (dst, value) = (b.arg(0), b.arg(1));
            let (dst, value) = (b.get(dst), b.get(value));
            b.store(MemTy::Ref, dst, 8, value, barrier);
            b.ret(None);
        });
        compile_optimised(&host, &func).1
    };
    let [heap_only, checked] = [Barrier::Heap, Barrier::Checked].map(store);
    let mut elsewhere = [0usize; 2];
    // (code, destination, value, card that is marked)
    let cases = [
        (heap_only, start, 0x1000, Some(0)),
        (heap_only, start + 16, 0xfff, None),
        (heap_only, start + 24, 0x1fff, Some(2)),
        (heap_only, start + 48, 0x2000, None),
        (checked, start + 64, 0x1234, Some(4)),
        (checked, &raw mut elsewhere as usize, 0x1235, None),
        (checked, start + 96, 0, None),
    ];
    for (code, dst, value, card) in cases {
        cards = [0; 8];
        run(code, [dst, value, 0, 0]).unwrap();
        // SAFETY: a part of `heap` or `elsewhere`.
        assert_eq!(unsafe { *((dst + 8) as *const usize).as_ref().unwrap() }, value);
        let marked: Vec<usize> = (0..8).filter(|&i| cards[i] != 0).collect();
        assert_eq!(marked, Vec::from_iter(card), "{value:#x} at {dst:#x}");
    }
}
