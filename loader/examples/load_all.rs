//! Loads every type of the given assemblies, resolves every token of every body and every interface method,
//! and prints each failure: `load_all A.dll B.dll ..`. Exit status 0 unless an image cannot be opened.

use std::{path::Path, time::Instant};

use corten_loader::{Binder, BinderConfig, LoadError, Module, WellKnown, resolve_interface, resolve_static_virtual};
use corten_metadata::{Decoder, Operand, TableId};

fn visit(module: &'static Module, fail: &mut dyn FnMut(String, LoadError)) {
    for rid in 1..=module.metadata().row_count(TableId::TypeDef) {
        let name = module
            .metadata()
            .type_def(rid)
            .map_or_else(|_| format!("{rid:#x}"), |r| r.name.to_owned());
        let mt = match module.typical_type(rid) {
            Ok(mt) => mt,
            Err(e) => {
                fail(name, e);
                continue;
            }
        };
        for f in mt.fields() {
            if let Err(e) = f.field_type() {
                fail(format!("{f:?}"), e);
            }
        }
        if !mt.contains_generic_variables()
            && let Err(e) = corten_loader::ensure_statics(mt)
        {
            fail(format!("statics of {name}"), e);
        }
        if !mt.is_interface() && mt.class().attributes().bits() & 0x80 == 0 {
            for i in mt.interfaces() {
                for m in i.methods().iter().filter(|m| m.is_virtual()) {
                    let r = if m.is_static() {
                        resolve_static_virtual(mt, m)
                    } else {
                        resolve_interface(mt, m)
                    };
                    if let Err(e) = r {
                        fail(format!("{name} implements {}.{}", i.handle(), m.name()), e);
                    }
                }
            }
        }
        for m in mt.methods() {
            if let Err(e) = m.signature() {
                fail(format!("signature of {name}.{}", m.name()), e);
            }
            let body = match m.body() {
                Ok(Some(b)) => b,
                Ok(None) => continue,
                Err(e) => {
                    fail(format!("body of {name}.{}", m.name()), e);
                    continue;
                }
            };
            if let Some(Err(e)) = body.local_var_sig.map(|t| module.resolve_locals(t, m.context())) {
                fail(format!("locals of {name}.{}", m.name()), e);
            }
            for i in Decoder::new(body.code) {
                let Ok(i) = i else { break };
                let Operand::Token(t) = i.operand else { continue };
                let r = if t.is(TableId::StandAloneSig) {
                    module.resolve_standalone_sig(t, m.context()).map(|_| ())
                } else {
                    module.resolve_member(t, m.context()).map(|_| ())
                };
                if let Err(e) = r {
                    fail(format!("{name}.{} IL_{:04x} {t:?}", m.name(), i.offset), e);
                }
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = corten_metadata::testing::framework_dir().ok_or("no framework found: set CORTEN_FRAMEWORK")?;
    let binder = Binder::init(BinderConfig::from_directory(&dir)?);
    WellKnown::init()?;
    let quiet = std::env::var_os("LOAD_ALL_QUIET").is_some();
    let mut unopened = 0;
    for (i, path) in std::env::args().skip(1).enumerate() {
        // Own contexts, so that images of one name do not shadow each other.
        let start = Instant::now();
        match binder.load_from_path(Path::new(&path), i as u64 + 1) {
            Err(e) => {
                unopened += 1;
                println!("{path}: {e}");
            }
            Ok(a) => {
                let mut failures = 0;
                visit(a.module(), &mut |what, e| {
                    failures += 1;
                    if !quiet {
                        println!("{path}: {what}: {e}");
                    }
                });
                println!("{path}: {failures} failures, {:?}", start.elapsed());
            }
        }
    }
    if unopened != 0 {
        println!("{unopened} images could not be opened");
    }
    Ok(())
}
