//! Structs of every ABI class in and out, checked against functions compiled for the C ABI.

use crate::harness::*;
use corten_jit::host_api::TypeKind;
use corten_jit::host_api::TypeKind as K;
use corten_jit::ids::TypeId;
use corten_jit::ir::*;

macro_rules! c_struct {
    ($name:ident { $($f:ident: $t:ty),* }) => {
        #[repr(C)]
        #[derive(Clone, Copy, PartialEq, Debug, Default)]
        struct $name { $($f: $t),* }
    };
}
c_struct!(Ii { a: i64, b: i64 });
c_struct!(If { a: i64, b: f64 });
c_struct!(Fi { a: f64, b: i64 });
c_struct!(Ff { a: f64, b: f64 });
c_struct!(F2 { a: f32, b: f32 });
c_struct!(F3 { a: f32, b: f32, c: f32 });
c_struct!(Mix { a: i32, b: f32 });
c_struct!(B3 { a: u8, b: u8, c: u8 });
c_struct!(S12 { a: i32, b: i32, c: i32 });
c_struct!(Big { a: i64, b: f64, c: i32 });
c_struct!(One { a: f64 });

/// A function (int, T, double, T) -> T that calls `target` with the same arguments through its entry slot.
fn forward(size: u32, fields: &[(u32, TypeKind)], target: usize) -> usize {
    let mut host = Host::new();
    let t = host.add_struct(size, fields);
    let s = sig(t, &[I4, t, R8, t]);
    let slot: &'static usize = Box::leak(Box::new(target));
    let info = code(&host, s.clone(), |b| {
        let args: Vec<_> = (0..4).map(|i| b.arg(i)).collect();
        let args: Vec<_> = args.into_iter().map(|a| b.get(a)).collect();
        let callee = Callee::Direct {
            method: corten_jit::ids::MethodId(1),
            entry_slot: std::ptr::from_ref(slot) as u64,
        };
        let r = b.emit(
            Op::Call {
                callee,
                sig: s,
                args,
                tail: false,
            },
            Ty::Struct(t),
        );
        b.ret(Some(r));
    });
    info.start
}

macro_rules! round_trip {
    ($name:ident, $t:ident, $fields:expr, $make:expr) => {
        #[test]
        fn $name() {
            extern "C" fn oracle(n: i32, x: $t, d: f64, y: $t) -> $t {
                assert_eq!((n, d), (42, 2.5));
                assert_eq!(x, $make(1));
                if n == 42 { y } else { x }
            }
            let f = forward(size_of::<$t>() as u32, $fields, oracle as *const () as usize);
            let f: extern "C" fn(i32, $t, f64, $t) -> $t = unsafe { std::mem::transmute(f) };
            assert_eq!(f(42, $make(1), 2.5, $make(9)), $make(9));
        }
    };
}

round_trip!(ii, Ii, &[(0, K::I8), (8, K::I8)], |n: i64| Ii { a: n, b: -n });
round_trip!(int_float, If, &[(0, K::I8), (8, K::R8)], |n: i64| If {
    a: n,
    b: 0.5 + n as f64
});
round_trip!(float_int, Fi, &[(0, K::R8), (8, K::I8)], |n: i64| Fi {
    a: 0.5 + n as f64,
    b: n
});
round_trip!(ff, Ff, &[(0, K::R8), (8, K::R8)], |n: i64| Ff { a: n as f64, b: 0.25 });
round_trip!(f2, F2, &[(0, K::R4), (4, K::R4)], |n: i64| F2 { a: n as f32, b: 7.5 });
round_trip!(f3, F3, &[(0, K::R4), (4, K::R4), (8, K::R4)], |n: i64| F3 {
    a: n as f32,
    b: 7.5,
    c: -1.0
});
round_trip!(mix, Mix, &[(0, K::I4), (4, K::R4)], |n: i64| Mix {
    a: n as i32,
    b: 7.5
});
round_trip!(b3, B3, &[(0, K::U1), (1, K::U1), (2, K::U1)], |n: i64| B3 {
    a: n as u8,
    b: 200,
    c: 3
});
round_trip!(s12, S12, &[(0, K::I4), (4, K::I4), (8, K::I4)], |n: i64| S12 {
    a: n as i32,
    b: -5,
    c: 1 << 30
});
round_trip!(big, Big, &[(0, K::I8), (8, K::R8), (16, K::I4)], |n: i64| Big {
    a: n,
    b: 1.5,
    c: 77
});
round_trip!(one, One, &[(0, K::R8)], |n: i64| One { a: n as f64 });

#[test]
fn many_mixed_arguments_use_the_stack() {
    extern "C" fn oracle(a: i64, b: i64, c: i64, d: i64, e: i64, s: Ii, f: i64, g: i8, h: u16, x: f32, t: Big) -> i64 {
        a + 2 * b
            + 3 * c
            + 4 * d
            + 5 * e
            + 6 * s.a
            + 7 * s.b
            + 8 * f
            + 9 * i64::from(g)
            + i64::from(h)
            + x as i64
            + t.a
            + i64::from(t.c)
    }
    let mut host = Host::new();
    let pair = host.add_struct(16, &[(0, K::I8), (8, K::I8)]);
    let big = host.add_struct(24, &[(0, K::I8), (8, K::R8), (16, K::I4)]);
    let params: [TypeId; 11] = [I8, I8, I8, I8, I8, pair, I8, I1, U2, R4, big];
    let s = sig(I8, &params);
    let info = code(&host, s.clone(), |b| {
        let args: Vec<_> = (0..11).map(|i| b.arg(i)).collect();
        let args: Vec<_> = args.into_iter().map(|a| b.get(a)).collect();
        let target = b.address(oracle as *const () as u64);
        let callee = Callee::Native { target };
        let r = b.emit(
            Op::Call {
                callee,
                sig: s,
                args,
                tail: false,
            },
            Ty::I64,
        );
        b.ret(Some(r));
    });
    type F = extern "C" fn(i64, i64, i64, i64, i64, Ii, i64, i8, u16, f32, Big) -> i64;
    let f: F = unsafe { std::mem::transmute(info.start) };
    let call = |f: F| {
        f(
            1,
            2,
            3,
            4,
            5,
            Ii { a: 6, b: 7 },
            8,
            -9,
            60000,
            11.5,
            Big { a: 12, b: 0.0, c: 13 },
        )
    };
    assert_eq!(call(f), call(oracle));
}

#[test]
fn struct_fields_make_and_locals() {
    let mut host = Host::new();
    let pair = host.add_struct(16, &[(0, K::I8), (8, K::R8)]);
    // swap-like: build, store to a local, take an alias, change the local, read the old value.
    let info = code(&host, sig(I8, &[pair]), |b| {
        let arg = b.arg(0);
        let local = b.temp(Ty::Struct(pair), pair);
        let v = b.get(arg);
        b.set(local, v);
        let old = b.get(local);
        let n = b.iconst64(1000);
        let x = b.emit(
            Op::StructField {
                value: old,
                offset: 8,
                ty: MemTy::F64,
            },
            Ty::F64,
        );
        let new = b.emit(
            Op::StructMake {
                ty: pair,
                parts: vec![(0, MemTy::I64, n), (8, MemTy::F64, x)],
            },
            Ty::Struct(pair),
        );
        b.set(local, new);
        let a = b.emit(
            Op::StructField {
                value: old,
                offset: 0,
                ty: MemTy::I64,
            },
            Ty::I64,
        );
        let now = b.get(local);
        let c = b.emit(
            Op::StructField {
                value: now,
                offset: 0,
                ty: MemTy::I64,
            },
            Ty::I64,
        );
        let zero = b.emit(Op::StructZero(pair), Ty::Struct(pair));
        let z = b.emit(
            Op::StructField {
                value: zero,
                offset: 0,
                ty: MemTy::I64,
            },
            Ty::I64,
        );
        let p = b.emit(Op::StructAddr(zero), Ty::ByRef);
        let z2 = b.load(MemTy::I64, p, 8);
        let r = b.bin(BinOp::Add, a, c);
        let r = b.bin(BinOp::Add, r, z);
        let r = b.bin(BinOp::Add, r, z2);
        b.ret(Some(r));
    });
    let f: extern "C" fn(If) -> i64 = unsafe { std::mem::transmute(info.start) };
    assert_eq!(f(If { a: 5, b: 1.0 }), 1005);
}
