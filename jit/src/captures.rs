//! Which locals' addresses may be known to somebody after the operation that uses them.
//!
//! An address is *captured* when it is stored, returned, kept across blocks or handed to what is not looked into. Reading and
//! writing through it captures nothing, nor does a call of a method whose IL only does the same with its parameter. So nobody
//! knows an address that is never captured while control is between two instructions of the function: the local may be moved.

use crate::host_api::{CompilerHost, Convention};
use crate::ids::MethodId;
use crate::importer::{ImportOptions, import};
use crate::ir::*;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap;

/// Calls below calls that are looked into.
const MAX_DEPTH: u32 = 4;
/// Methods that are looked into for one function.
const MAX_METHODS: u32 = 32;
/// IL bytes of a method that is looked into.
const MAX_IL: usize = 400;

/// By local: is its address captured? (Filters are not looked into.)
pub(crate) fn captured_locals(func: &Func, host: &dyn CompilerHost) -> Vec<bool> {
    let mut search = Search {
        host,
        methods_left: MAX_METHODS,
        known: FxHashMap::default(),
    };
    let mut captured = vec![false; func.locals.len()];
    search.function(
        func,
        0,
        |op| match *op {
            Op::LocalAddr(l) => Some(l),
            _ => None,
        },
        &mut captured,
    );
    captured
}

struct Search<'h> {
    host: &'h dyn CompilerHost,
    methods_left: u32,
    /// What is captured of the parameters of methods; `None` while the method is being looked into.
    known: FxHashMap<MethodId, Option<Vec<bool>>>,
}

impl Search<'_> {
    /// Sets `captured` for the locals whose address, as `source` finds it, is captured somewhere in a function.
    fn function(&mut self, func: &Func, depth: u32, source: impl Fn(&Op) -> Option<Local>, captured: &mut [bool]) {
        for data in func.blocks.values() {
            let mut from: FxHashMap<Value, Local> = FxHashMap::default();
            for inst in &data.insts {
                if let (Some(local), Some(result)) = (source(&inst.op), inst.result) {
                    from.insert(result, local);
                    continue;
                }
                if from.is_empty() {
                    continue;
                }
                self.inst(inst, depth, &mut from, captured);
            }
            if let Some(local) = term_use(&data.term).and_then(|v| from.get(&v)) {
                captured[local.index()] |= matches!(data.term, Term::Return(_));
            }
        }
    }

    fn inst(&mut self, inst: &Inst, depth: u32, from: &mut FxHashMap<Value, Local>, captured: &mut [bool]) {
        match inst.op {
            Op::Load { .. } | Op::ZeroStruct { .. } | Op::CopyStruct { .. } | Op::NullCheck(_) | Op::Cmp(..) => {}
            Op::Store { value, .. } => {
                if let Some(local) = from.get(&value) {
                    captured[local.index()] = true;
                }
            }
            Op::PtrAdd(base, offset) => {
                if let Some(local) = from.get(&offset) {
                    captured[local.index()] = true;
                }
                if let (Some(&local), Some(result)) = (from.get(&base), inst.result) {
                    from.insert(result, local);
                }
            }
            Op::Call {
                callee: Callee::Direct { method, .. },
                ref args,
                tail: false,
                ..
            } if args.iter().any(|a| from.contains_key(a)) => {
                let params = self.parameters(method, depth, args.len());
                for (i, arg) in args.iter().enumerate() {
                    if let Some(local) = from.get(arg) {
                        captured[local.index()] |= params.as_ref().is_none_or(|p| p[i]);
                    }
                }
            }
            ref op => for_each_use(op, |v| {
                if let Some(local) = from.get(&v) {
                    captured[local.index()] = true;
                }
            }),
        }
    }

    /// Which of a method's parameters it captures, if that can be found out.
    fn parameters(&mut self, method: MethodId, depth: u32, count: usize) -> Option<Vec<bool>> {
        if let Some(known) = self.known.get(&method) {
            return known.clone().filter(|p| p.len() == count);
        }
        self.known.insert(method, None);
        let params = self.look_into(method, depth)?;
        self.known.insert(method, Some(params.clone()));
        (params.len() == count).then_some(params)
    }

    fn look_into(&mut self, method: MethodId, depth: u32) -> Option<Vec<bool>> {
        if depth >= MAX_DEPTH {
            return None;
        }
        self.methods_left = self.methods_left.checked_sub(1)?;
        let info = self.host.method_info(method).ok()?;
        if info.is_abstract || info.sig.convention != Convention::Managed {
            return None;
        }
        if self.host.method_body(method).ok()?.code.len() > MAX_IL {
            return None;
        }
        let func = import(self.host, method, &ImportOptions::default()).ok()?;
        // A parameter that is written or whose own address is taken is not followed.
        let mut captured = vec![!func.filters.is_empty(); func.locals.len()];
        for inst in func.blocks.values().flat_map(|b| &b.insts) {
            if let Op::LocalSet(l, _) | Op::LocalAddr(l) = inst.op {
                captured[l.index()] = true;
            }
        }
        let count = func.arg_count;
        self.function(
            &func,
            depth + 1,
            |op| match *op {
                Op::LocalGet(l) if l.index() < count => Some(l),
                _ => None,
            },
            &mut captured,
        );
        captured.truncate(count);
        Some(captured)
    }
}
