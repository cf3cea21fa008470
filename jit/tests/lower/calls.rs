use crate::harness::*;
use corten_jit::host_api::Signature;
use corten_jit::ids::MethodId;
use corten_jit::ir::*;

fn method(ret: corten_jit::ids::TypeId) -> Signature {
    Signature {
        has_this: true,
        ..sig(ret, &[I4])
    }
}

extern "C" fn seven_plus(this: *const usize, n: i32) -> i32 {
    n + 7 + unsafe { *this.add(1) } as i32
}

fn caller(callee: Callee) -> &'static corten_jit::code_map::CodeInfo {
    caller_in(&Host::new(), callee)
}

fn caller_in(host: &Host, callee: Callee) -> &'static corten_jit::code_map::CodeInfo {
    code(host, sig(I4, &[REF, I4]), |b| {
        let (o, n) = (b.arg(0), b.arg(1));
        let o = b.get(o);
        let n = b.get(n);
        b.null_check(o);
        let r = b.emit(
            Op::Call {
                callee,
                sig: method(I4),
                args: vec![o, n],
                tail: false,
            },
            Ty::I32,
        );
        b.ret(Some(r));
    })
}

#[test]
fn vtable_and_delegate() {
    let vtable = [0usize, 0, 0, seven_plus as *const () as usize];
    let object = [vtable.as_ptr() as usize, 100];
    let f = caller(Callee::Vtable {
        method: MethodId(1),
        offset: 24,
    });
    assert_eq!(run(f, [object.as_ptr() as usize, 5, 0, 0]), Ok(112));
    assert_eq!(run(f, [0, 5, 0, 0]), Err(1001));
    let delegate = [0usize, object.as_ptr() as usize, 0, seven_plus as *const () as usize];
    let f = caller(Callee::DelegateInvoke);
    assert_eq!(run(f, [delegate.as_ptr() as usize, 1, 0, 0]), Ok(108));
}

#[test]
fn interface_calls_go_to_the_dispatch_stub_with_their_arguments() {
    let mut host = Host::new();
    host.dispatch_stub = seven_plus as *const () as u64;
    let a = [0x111usize, 100];
    let f = caller_in(&host, Callee::Interface { method: MethodId(1) });
    assert_eq!(run(f, [a.as_ptr() as usize, 5, 0, 0]), Ok(112));
    assert_eq!(run(f, [0, 5, 0, 0]), Err(1001));
}

#[test]
fn barriers_and_arrays() {
    let mut host = Host::new();
    let refs = host.add_struct(
        24,
        &[
            (0, corten_jit::host_api::TypeKind::Ref),
            (8, corten_jit::host_api::TypeKind::I8),
            (16, corten_jit::host_api::TypeKind::Ref),
        ],
    );
    // a[i] = v with checks; returns length.
    let info = code(&host, sig(I4, &[REF, I4, REF]), |b| {
        let args: Vec<_> = (0..3).map(|i| b.arg(i)).collect();
        let args: Vec<_> = args.into_iter().map(|a| b.get(a)).collect();
        b.null_check(args[0]);
        let n = b.emit(Op::ArrayLen(args[0]), Ty::I32);
        b.emit_void(Op::BoundsCheck {
            index: args[1],
            length: n,
        });
        let p = b.emit(
            Op::ElemAddr {
                array: args[0],
                index: args[1],
                size: 8,
            },
            Ty::ByRef,
        );
        b.store(MemTy::Ref, p, 0, args[2], Barrier::Heap);
        b.ret(Some(n));
    });
    let mut array = [0usize, 3, 0, 0, 0];
    BARRIERS.set(0);
    assert_eq!(run(info, [array.as_mut_ptr() as usize, 2, 55, 0]), Ok(3));
    assert_eq!((array[4], BARRIERS.get()), (55, 1));
    assert_eq!(run(info, [array.as_mut_ptr() as usize, 3, 55, 0]), Err(1002));
    assert_eq!(
        run(info, [array.as_mut_ptr() as usize, u32::MAX as usize, 55, 0]),
        Err(1002)
    );
    // *dst = *src for a struct with references, through a value.
    let info = code(&host, sig(VOID, &[BYREF, BYREF]), |b| {
        let (d, s) = (b.arg(0), b.arg(1));
        let d = b.get(d);
        let s = b.get(s);
        let v = b.emit(
            Op::Load {
                ty: MemTy::Struct(refs),
                addr: s,
                offset: 0,
                flags: MemFlags::default(),
            },
            Ty::Struct(refs),
        );
        b.store(MemTy::Struct(refs), d, 0, v, Barrier::Checked);
        b.ret(None);
    });
    let (src, mut dst) = ([1usize, 2, 3], [0usize; 3]);
    run(info, [dst.as_mut_ptr() as usize, src.as_ptr() as usize, 0, 0]).unwrap();
    assert_eq!((dst, BARRIERS.get()), (src, 2));
}
