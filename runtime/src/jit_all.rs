//! `corten jit-all`: compiles every method of assemblies without running any; finds what the compiler rejects.

use crate::engine;
use crate::jit_host::method_id;
use crate::startup::{RuntimeConfig, StartError};
use corten_gc_hooks::safepoint::ThreadRegistry;
use corten_jit::importer::{self, ImportError};
use corten_loader::{
    Assembly, Binder, GenericContext, MethodDesc, MethodKind, MethodTable, Module, TypeHandle, type_loader,
};
use corten_metadata::{TableId, Token};
use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::thread::Thread;

/// How many of the slowest methods a report names.
const SLOWEST: usize = 10;

/// Result over all assemblies.
#[derive(Debug, Default)]
pub struct Report {
    /// Methods with IL that were tried, instantiations included.
    pub methods: usize,
    /// Of these, methods of generic instantiations that signatures name.
    pub instantiated: usize,
    /// Bytes of machine code made.
    pub code_bytes: usize,
    /// Wall time of compiling, loading of types included.
    pub elapsed: Duration,
    /// The compiler failed or does not support the IL: (method, reason).
    pub internal_errors: Vec<(String, String)>,
    /// IL or types that .NET itself rejects: (method or type, reason).
    pub rejected: Vec<(String, String)>,
    /// Exceptions that compiled code raises in place of instructions whose operands do not load, each once.
    pub deferred: BTreeSet<String>,
    /// Slowest methods, slowest first.
    pub slowest: Vec<(Duration, String)>,
}

/// Compiles, at Tier 0 and on all processors, the non-generic methods of the assemblies and the methods of the generic
/// instantiations that their signatures name.
///
/// # Errors
/// When the engine cannot start or an assembly cannot be opened.
pub fn run(config: &RuntimeConfig, assemblies: &[PathBuf]) -> Result<Report, StartError> {
    crate::startup::init(config)?;
    // The compiler runs in preemptive mode.
    let main = Thread::current();
    ThreadRegistry::get().enter_preemptive(&main.header);
    let mut report = Report::default();
    let start = Instant::now();
    let mut work = Work::default();
    for path in assemblies {
        let assembly = open(path)?;
        work.add_definitions(assembly.module(), &mut report);
    }
    let defined = work.methods.len();
    for path in assemblies {
        work.add_instantiations(open(path)?.module());
    }
    let methods = work.methods;
    report.methods = methods.len();
    report.instantiated = methods.len() - defined;
    let shared = Mutex::new(report);
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(md) = methods.get(next.fetch_add(1, Ordering::Relaxed)) {
                    compile_one(md, &shared);
                }
            });
        }
    });
    let mut report = shared.into_inner().unwrap_or_else(|e| e.into_inner());
    report.elapsed = start.elapsed();
    if let Some(host) = engine::host() {
        report.deferred = host.deferred_messages();
    }
    report.slowest.sort_by_key(|s| std::cmp::Reverse(s.0));
    report.slowest.truncate(SLOWEST);
    report.internal_errors.sort();
    report.rejected.sort();
    ThreadRegistry::get().leave_preemptive(&main.header);
    Ok(report)
}

/// The assembly of a file; the trusted assemblies have been opened under the same names.
fn open(path: &std::path::Path) -> Result<&'static Assembly, StartError> {
    let binder = Binder::get().ok_or_else(|| StartError::Engine("no binder".into()))?;
    Ok(binder.load_from_path(path, 0)?)
}

/// What is to be compiled, in the order found.
#[derive(Default)]
struct Work {
    methods: Vec<&'static MethodDesc>,
    seen_methods: HashSet<usize>,
    seen_types: HashSet<usize>,
}

impl Work {
    fn add_method(&mut self, md: &'static MethodDesc) {
        let compiled = md.kind() == MethodKind::Il && !md.is_abstract() && !md.contains_generic_variables();
        if compiled && self.seen_methods.insert(std::ptr::from_ref(md) as usize) {
            self.methods.push(md);
        }
    }

    fn add_definitions(&mut self, module: &'static Module, report: &mut Report) {
        for rid in 1..=module.metadata().row_count(TableId::TypeDef) {
            match module.typical_type(rid).and_then(full) {
                Ok(mt) if mt.contains_generic_variables() => {}
                Ok(mt) => mt.methods().iter().for_each(|md| self.add_method(md)),
                Err(e) => report
                    .rejected
                    .push((format!("type 0x02{rid:06x} of {}", module.name()), e.to_string())),
            }
        }
    }

    /// Closed instances in the TypeSpec and MethodSpec tables and in the signatures of non-generic methods and their locals.
    /// What cannot be loaded there shows where it is used.
    fn add_instantiations(&mut self, module: &'static Module) {
        let md = module.metadata();
        let tokens = |table| (1..=md.row_count(table)).map(move |rid| Token::new(table, rid));
        let closed = GenericContext::default();
        for token in tokens(TableId::TypeSpec) {
            if let Ok(t) = module.resolve_type(token, closed) {
                self.add_type(t);
            }
        }
        for token in tokens(TableId::MethodSpec).chain(tokens(TableId::MemberRef)) {
            if let Ok(resolved) = module.resolve_method(token, closed) {
                self.add_type(resolved.owner);
                self.add_method(resolved.method);
            }
        }
        let own: Vec<_> = self.methods.iter().copied().filter(|m| m.module() == module).collect();
        for method in own {
            if let Ok(signature) = method.signature() {
                signature.params.iter().for_each(|t| self.add_type(*t));
                self.add_type(signature.ret);
            }
        }
    }

    /// The methods of an instantiated type; arrays and pointers stand for their elements.
    fn add_type(&mut self, t: TypeHandle) {
        if t.contains_generic_variables() {
            return;
        }
        if let Some(element) = t.element_type() {
            return self.add_type(element);
        }
        let Some(mt) = t.as_method_table() else { return };
        if mt.instantiation().is_empty() || !self.seen_types.insert(t.raw()) {
            return;
        }
        if let Ok(mt) = full(mt) {
            mt.methods().iter().for_each(|md| self.add_method(md));
        }
    }
}

fn full(mt: &'static MethodTable) -> corten_loader::Result<&'static MethodTable> {
    type_loader::ensure_full(mt)?;
    Ok(mt)
}

fn compile_one(md: &'static MethodDesc, report: &Mutex<Report>) {
    let start = Instant::now();
    // A panic in the compiler is what this command looks for.
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let host = engine::compiler_host();
        match importer::import(host, method_id(md), &importer::ImportOptions::default()) {
            Ok(func) => engine::compile_only(&func).map_err(|e| (true, e)),
            Err(e @ ImportError::Unsupported { .. }) => Err((true, e.to_string())),
            Err(e) => Err((false, e.to_string())),
        }
    }));
    let elapsed = start.elapsed();
    let mut r = report.lock().unwrap_or_else(|e| e.into_inner());
    match result {
        Ok(Ok(bytes)) => r.code_bytes += bytes,
        Ok(Err((true, e))) => r.internal_errors.push((md.display_name(), e)),
        Ok(Err((false, e))) => r.rejected.push((md.display_name(), e)),
        Err(_) => r.internal_errors.push((md.display_name(), "panic".to_string())),
    }
    let least = r.slowest.last().map_or(Duration::ZERO, |s| s.0);
    if r.slowest.len() < SLOWEST || elapsed > least {
        r.slowest.push((elapsed, md.display_name()));
        r.slowest.sort_by_key(|s| std::cmp::Reverse(s.0));
        r.slowest.truncate(SLOWEST);
    }
}
