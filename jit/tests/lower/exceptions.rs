use crate::harness::*;
use corten_jit::builder::FuncBuilder;
use corten_jit::ids::TypeId;
use corten_jit::ir::*;

fn local(b: &mut FuncBuilder, ty: Ty, id: TypeId) -> Local {
    b.temp(ty, id)
}

fn clause(b: &mut FuncBuilder, kind: ClauseKind, handler: Block) -> (ClauseId, Local, Local) {
    let exception_local = local(b, Ty::Ref, REF);
    let record = local(b, Ty::I64, I8);
    let selector = local(b, Ty::I32, I4);
    let cleanup = matches!(kind, ClauseKind::Finally | ClauseKind::Fault);
    let id = b.func.clauses.push(Clause {
        kind,
        handler,
        exception_local,
        record_local: cleanup.then_some(record),
        selector_local: cleanup.then_some(selector),
        try_range: (0, 0),
        handler_range: (0, 0),
    });
    (id, exception_local, record)
}

/// try { try { if (x == 0) null check; else throw x } finally { *log += 1 } } catch (T) { return exc + 1 }
fn try_finally_catch(catches: TypeId) -> &'static corten_jit::code_map::CodeInfo {
    let host = Host::new();
    code(&host, sig(I8, &[REF, I8]), |b| {
        let (handler, finally) = (b.create_block(), b.create_block());
        let (outer, caught, _) = clause(b, ClauseKind::Catch(catches), handler);
        let (inner, in_flight, record) = clause(b, ClauseKind::Finally, finally);
        let x = b.arg(0);
        let log = b.arg(1);
        let both = b.intern_protect(vec![inner, outer]);
        let only_outer = b.intern_protect(vec![outer]);
        b.set_protect(both);
        let body = b.create_block();
        let after = b.create_block();
        b.jump(body);
        b.switch_to(body);
        b.set_il(5);
        let v = b.get(x);
        b.null_check(v);
        b.branch(v, after, after);
        b.switch_to(after);
        b.set_il(7);
        let v = b.get(x);
        b.helper_void(Helper::Throw, vec![v]);
        b.terminate(Term::Unreachable);
        b.func.blocks[finally].protect = only_outer;
        b.switch_to(finally);
        let p = b.get(log);
        let n = b.load(MemTy::I64, p, 0);
        let one = b.iconst64(1);
        let n = b.bin(BinOp::Add, n, one);
        b.store(MemTy::I64, p, 0, n, Barrier::None);
        let e = b.get(in_flight);
        let r = b.get(record);
        b.helper_void(Helper::Resume, vec![e, r]);
        b.terminate(Term::Unreachable);
        b.switch_to(handler);
        let e = b.get(caught);
        let e = b.conv(ConvOp::RefToInt, e, Ty::I64);
        let one = b.iconst64(1);
        let e = b.bin(BinOp::Add, e, one);
        b.ret(Some(e));
    })
}

#[test]
fn finally_then_catch() {
    let f = try_finally_catch(REF);
    let mut log = 0usize;
    let at = &raw mut log as usize;
    assert_eq!(run(f, [0, at, 0, 0]), Ok(1002));
    assert_eq!(run(f, [500, at, 0, 0]), Ok(501));
    assert_eq!(log, 2);
    // The return address of a throw maps to the IL offset.
    let ils: Vec<u32> = f.call_sites.iter().map(|c| c.il).collect();
    assert!(ils.contains(&5) && ils.contains(&7), "{ils:?}");
}

#[test]
fn uncaught_runs_finally_and_leaves() {
    let f = try_finally_catch(TypeId(4242));
    let mut log = 0usize;
    let at = &raw mut log as usize;
    assert_eq!(run(f, [0, at, 0, 0]), Err(1001));
    assert_eq!(run(f, [4242, at, 0, 0]), Ok(4243));
    assert_eq!(log, 2);
}

#[test]
fn filter_reads_and_writes_live_locals() {
    let host = Host::new();
    let info = code(&host, sig(I8, &[REF, I8]), |b| {
        let parents = b.func.arg_count + 1;
        let shared = local(b, Ty::I64, I8);
        // Filter: shared += exception; accept if arg1 != 0.
        let mut f = FuncBuilder::empty("filter".into(), None, sig(I4, &[REF, I8]));
        for l in b.func.locals.values() {
            f.push_local(l.clone());
        }
        f.func.parent_locals = Some(parents);
        let exception = f.temp(Ty::Ref, REF);
        let e = f.get(exception);
        let e = f.conv(ConvOp::RefToInt, e, Ty::I64);
        let s = f.get(shared);
        let s = f.bin(BinOp::Add, s, e);
        f.set(shared, s);
        let accept = f.get(Local::from_u32(1));
        let zero = f.iconst64(0);
        let r = f.cmp(Cond::Ne, accept, zero);
        f.ret(Some(r));
        b.func.filters.push(f.finish());

        let handler = b.create_block();
        let (c, _, _) = clause(b, ClauseKind::Filter(0), handler);
        let p = b.intern_protect(vec![c]);
        b.set_protect(p);
        let body = b.create_block();
        let n = b.iconst64(10000);
        b.set(shared, n);
        b.jump(body);
        b.switch_to(body);
        let x = b.arg(0);
        let x = b.get(x);
        b.helper_void(Helper::Throw, vec![x]);
        b.terminate(Term::Unreachable);
        b.switch_to(handler);
        let s = b.get(shared);
        b.ret(Some(s));
    });
    assert_eq!(run(info, [3, 1, 0, 0]), Ok(10003));
    assert_eq!(run(info, [3, 0, 0, 0]), Err(3));
}

#[test]
fn callee_saved_registers_survive_a_throw_through_frames() {
    let host = Host::new();
    let thrower = code(&host, sig(I8, &[I8, REF]), |b| {
        let x = b.arg(1);
        let x = b.get(x);
        b.helper_void(Helper::Throw, vec![x]);
        b.terminate(Term::Unreachable);
    });
    let slot: &'static usize = Box::leak(Box::new(thrower.start));
    let middle = code(&host, sig(I8, &[I8, REF]), |b| {
        let (n, e) = (b.arg(0), b.arg(1));
        let n = b.get(n);
        let e = b.get(e);
        let keep: Vec<_> = (2..9)
            .map(|k| {
                let k = b.iconst64(k);
                b.bin(BinOp::Mul, n, k)
            })
            .collect();
        let callee = Callee::Direct {
            method: corten_jit::ids::MethodId(1),
            entry_slot: slot as *const _ as u64,
        };
        let mut r = b.emit(
            Op::Call {
                callee,
                sig: sig(I8, &[I8, REF]),
                args: vec![n, e],
                tail: false,
            },
            Ty::I64,
        );
        for k in keep {
            r = b.bin(BinOp::Add, r, k);
        }
        b.ret(Some(r));
    });
    let slot: &'static usize = Box::leak(Box::new(middle.start));
    let outer = code(&host, sig(I8, &[I8, REF]), |b| {
        let handler = b.create_block();
        let (c, _, _) = clause(b, ClauseKind::Catch(REF), handler);
        let p = b.intern_protect(vec![c]);
        b.set_protect(p);
        let body = b.create_block();
        b.jump(body);
        b.switch_to(body);
        let (n, e) = (b.arg(0), b.arg(1));
        let n = b.get(n);
        let e = b.get(e);
        let callee = Callee::Direct {
            method: corten_jit::ids::MethodId(1),
            entry_slot: slot as *const _ as u64,
        };
        let r = b.emit(
            Op::Call {
                callee,
                sig: sig(I8, &[I8, REF]),
                args: vec![n, e],
                tail: false,
            },
            Ty::I64,
        );
        b.ret(Some(r));
        b.switch_to(handler);
        let n = b.arg(0);
        let n = b.get(n);
        b.ret(Some(n));
    });
    for i in 0..100 {
        assert_eq!(run(outer, [i, 99, 0, 0]), Ok(i));
    }
}

#[test]
fn ckfinite_raises() {
    let host = Host::new();
    let info = code(&host, sig(I8, &[I8]), |b| {
        let x = b.arg(0);
        let x = b.get(x);
        let x = b.conv(ConvOp::BitcastI64F64, x, Ty::F64);
        b.emit_void(Op::CkFinite(x));
        let x = b.conv(ConvOp::BitcastF64I64, x, Ty::I64);
        b.ret(Some(x));
    });
    assert_eq!(run(info, [f64::NAN.to_bits() as usize, 0, 0, 0]), Err(1005));
    assert_eq!(run(info, [f64::NEG_INFINITY.to_bits() as usize, 0, 0, 0]), Err(1005));
    assert_eq!(
        run(info, [1.5f64.to_bits() as usize, 0, 0, 0]),
        Ok(1.5f64.to_bits() as usize)
    );
}
