//! `corten jit-all`: compiles every method of assemblies without running any; finds what the compiler rejects.

use crate::engine;
use crate::jit_host::method_id;
use crate::startup::{RuntimeConfig, StartError};
use corten_jit::importer::{self, ImportError};
use corten_jit::isa::Tier;
use corten_loader::{Binder, MethodDesc, MethodKind, MethodTable, Module, type_loader};
use corten_metadata::TableId;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Result over all assemblies.
#[derive(Debug, Default)]
pub struct Report {
    /// Methods with IL that were tried.
    pub methods: usize,
    /// Bytes of machine code made.
    pub code_bytes: usize,
    /// Wall time.
    pub elapsed: Duration,
    /// The compiler failed or does not support the IL: (method, reason).
    pub internal_errors: Vec<(String, String)>,
    /// IL or types that .NET itself rejects: (method or type, reason).
    pub rejected: Vec<(String, String)>,
    /// Slowest methods.
    pub slowest: Vec<(Duration, String)>,
}

/// Compiles all non-generic methods of the assemblies (and of non-generic nested types) at Tier 0 on all processors.
///
/// # Errors
/// When the engine cannot start or an assembly cannot be opened.
pub fn run(config: &RuntimeConfig, assemblies: &[PathBuf]) -> Result<Report, StartError> {
    crate::startup::init(config)?;
    let binder = Binder::get().ok_or_else(|| StartError::Engine("no binder".into()))?;
    let mut methods: Vec<&'static MethodDesc> = Vec::new();
    let mut report = Report::default();
    let start = Instant::now();
    for path in assemblies {
        let assembly = binder.load_from_path(path, 0)?;
        collect(assembly.module(), &mut methods, &mut report);
    }
    report.methods = methods.len();
    let shared = Mutex::new(report);
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|s| {
        for _ in 0..workers {
            s.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(md) = methods.get(i) else { return };
                    compile_one(md, &shared);
                }
            });
        }
    });
    let mut report = shared.into_inner().unwrap_or_else(|e| e.into_inner());
    report.elapsed = start.elapsed();
    report.slowest.sort_by(|a, b| b.0.cmp(&a.0));
    report.slowest.truncate(10);
    Ok(report)
}

fn collect(module: &'static Module, methods: &mut Vec<&'static MethodDesc>, report: &mut Report) {
    for rid in 1..=module.metadata().row_count(TableId::TypeDef) {
        let loaded = module.typical_type(rid).and_then(|mt: &'static MethodTable| {
            type_loader::ensure_full(mt)?;
            Ok(mt)
        });
        match loaded {
            Ok(mt) if mt.contains_generic_variables() => {}
            Ok(mt) => methods.extend(
                mt.methods()
                    .iter()
                    .filter(|m| m.kind() == MethodKind::Il && !m.is_abstract() && !m.contains_generic_variables()),
            ),
            Err(e) => report
                .rejected
                .push((format!("type 0x02{rid:06x} of {}", module.name()), e.to_string())),
        }
    }
}

fn compile_one(md: &'static MethodDesc, report: &Mutex<Report>) {
    let start = Instant::now();
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
    if elapsed > Duration::from_millis(2) {
        r.slowest.push((elapsed, md.display_name()));
    }
}
