//! Verifying modules: selection, distribution over threads, order of findings.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use corten_metadata::{TableId, Token};

use crate::filter::Filter;
use crate::finding::Finding;
use crate::types::names::def_name;
use crate::types::{RowId, TypeSystem};
use crate::universe::{DefId, ModuleId, Universe};
use crate::{method, type_rules};

/// Rows that a thread takes at a time.
const CHUNK: u32 = 128;
/// Stack of a verifying thread, bytes. Recursion is bounded; this leaves room for the bounds.
const STACK: usize = 16 << 20;

/// How to verify.
#[derive(Default)]
pub struct Options<'a> {
    /// What to verify and report.
    pub filter: Filter,
    /// Threads to use; none: as many as there are processors.
    pub threads: Option<NonZeroUsize>,
    /// Called from the verifying threads with the number of methods and types done, of so many.
    pub progress: Option<&'a (dyn Fn(usize, usize) + Sync)>,
}

/// The result of verifying modules.
#[derive(Debug, Default)]
pub struct Report {
    /// By module, then types, then methods in order of definition; of one method in order of discovery.
    pub findings: Vec<Finding>,
    /// Methods with a body that were verified.
    pub methods: usize,
    /// Types that were verified.
    pub types: usize,
}

/// A range of rows of one table.
struct Work {
    module: ModuleId,
    table: TableId,
    rows: Range<u32>,
}

/// Verifies all types and methods of the inputs that the filter selects.
pub fn verify(universe: &Universe, options: &Options<'_>) -> Report {
    let inputs: Vec<ModuleId> = universe.inputs().collect();
    verify_modules(universe, &inputs, options)
}

/// Verifies all types and methods of some modules that the filter selects.
pub fn verify_modules(universe: &Universe, modules: &[ModuleId], options: &Options<'_>) -> Report {
    let mut work = Vec::new();
    let mut total = 0;
    for &module in modules {
        for table in [TableId::TypeDef, TableId::MethodDef] {
            let end = universe.module(module).row_count(table) + 1;
            total += end as usize - 1;
            let starts = (1..end).step_by(CHUNK as usize);
            work.extend(starts.map(|start| Work {
                module,
                table,
                rows: start..end.min(start + CHUNK),
            }));
        }
    }
    let available = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = options
        .threads
        .map_or(available, NonZeroUsize::get)
        .min(work.len())
        .max(1);
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let parts: Mutex<Vec<(usize, Part)>> = Mutex::new(Vec::with_capacity(work.len()));
    let run = || {
        let mut verifier = Verifier::new(universe);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = work.get(index) else { break };
            let part = verifier.run(item, &options.filter);
            parts.lock().unwrap_or_else(PoisonError::into_inner).push((index, part));
            let now = done.fetch_add(item.rows.len(), Ordering::Relaxed) + item.rows.len();
            if let Some(progress) = options.progress {
                progress(now, total);
            }
        }
    };
    // If no thread can be started, this one does the work.
    let short = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let spawned = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
            short.fetch_or(spawned.is_err(), Ordering::Relaxed);
        }
    });
    if short.into_inner() {
        run();
    }
    let mut parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
    parts.sort_by_key(|(index, _)| *index);
    let mut report = Report::default();
    for (_, part) in parts {
        report.findings.extend(part.findings);
        report.methods += part.methods;
        report.types += part.types;
    }
    report
}

#[derive(Default)]
struct Part {
    findings: Vec<Finding>,
    methods: usize,
    types: usize,
}

/// Verifies single methods and types, for one thread. Keeps what it has computed about types, so reuse it.
pub struct Verifier<'u> {
    types: TypeSystem<'u>,
}

impl<'u> Verifier<'u> {
    /// A verifier that knows nothing yet.
    pub fn new(universe: &'u Universe) -> Verifier<'u> {
        Verifier {
            types: TypeSystem::new(universe),
        }
    }

    /// Verifies the body of the method in row `rid` of MethodDef; a method without IL has no findings, nor has a row that
    /// does not exist.
    pub fn verify_method(&mut self, module: ModuleId, rid: u32) -> Vec<Finding> {
        let image = self.types.universe.module(module);
        let Ok(row) = image.method_def(rid) else {
            return Vec::new();
        };
        let raw = method::verify(&mut self.types, RowId { module, rid });
        if raw.is_empty() {
            return Vec::new();
        }
        let owner = image.owner_of_method(rid).unwrap_or_default();
        let type_name = def_name(image, owner);
        let assembly = self.types.universe.name(module);
        let finish = |raw: method::RawFinding| Finding {
            assembly: assembly.to_owned(),
            type_name: type_name.clone(),
            method: Some(row.name.to_owned()),
            token: Token::new(TableId::MethodDef, rid),
            offset: raw.offset,
            code: raw.code,
            message: raw.message,
        };
        raw.into_iter().map(finish).collect()
    }

    /// Verifies the type in row `rid` of TypeDef, without its methods.
    pub fn verify_type(&mut self, module: ModuleId, rid: u32) -> Vec<Finding> {
        let def = DefId { module, rid };
        let universe = self.types.universe;
        let raw = type_rules::verify(&mut self.types, def);
        let finish = |raw: type_rules::TypeFinding| Finding {
            assembly: universe.name(module).to_owned(),
            type_name: def_name(universe.module(module), rid),
            method: None,
            token: Token::new(TableId::TypeDef, rid),
            offset: None,
            code: raw.code,
            message: raw.message,
        };
        raw.into_iter().map(finish).collect()
    }

    fn run(&mut self, work: &Work, filter: &Filter) -> Part {
        let mut part = Part::default();
        for rid in work.rows.clone() {
            if !filter.is_empty() && !filter.selects(&self.filter_name(work, rid)) {
                continue;
            }
            let found = if work.table == TableId::TypeDef {
                part.types += 1;
                self.verify_type(work.module, rid)
            } else {
                let row = self.types.universe.module(work.module).method_def(rid);
                part.methods += usize::from(row.is_ok_and(|row| row.rva != 0));
                self.verify_method(work.module, rid)
            };
            part.findings
                .extend(found.into_iter().filter(|f| filter.reports(f.code)));
        }
        part
    }

    /// The name that filters see.
    fn filter_name(&self, work: &Work, rid: u32) -> String {
        let image = self.types.universe.module(work.module);
        let assembly = self.types.universe.name(work.module);
        if work.table == TableId::TypeDef {
            return format!("[{assembly}]{}", def_name(image, rid));
        }
        let owner = image
            .owner_of_method(rid)
            .map_or_else(String::new, |owner| def_name(image, owner));
        let name = image.method_def(rid).map_or("", |row| row.name);
        format!("[{assembly}]{owner}.{name}")
    }
}
