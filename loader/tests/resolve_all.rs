//! Resolves every token of every method body and every interface method of every class of the framework.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeMap;

use corten_loader::{LoadError, Module, resolve_interface, resolve_static_virtual};
use corten_metadata::{Decoder, Operand, TableId, TypeAttributes, sig};

#[derive(Default)]
struct Failures(BTreeMap<String, (u32, String)>);

impl Failures {
    fn add(&mut self, e: LoadError, at: impl FnOnce() -> String) {
        let key = match &e {
            LoadError::TypeLoad { reason, .. } => format!("TypeLoad {reason}"),
            other => format!("{:?}", other.exception_type()),
        };
        self.0.entry(key).or_insert_with(|| (0, format!("{}: {e}", at()))).0 += 1;
    }
    fn report(&self) {
        for (reason, (n, example)) in &self.0 {
            println!("{n:6} {reason}\n        e.g. {example}");
        }
        assert!(self.0.is_empty());
    }
}

fn modules() -> Vec<&'static Module> {
    let Some(binder) = common::binder() else {
        return Vec::new();
    };
    let mut paths: Vec<_> = binder.trusted_paths().map(|p| p.to_owned()).collect();
    paths.sort();
    paths
        .iter()
        .filter_map(|p| binder.load_from_path(p, 0).ok())
        .map(|a| a.module())
        .collect()
}

#[test]
fn every_token_resolves() {
    let mut failures = Failures::default();
    let (mut tokens, mut signatures) = (0u64, 0u64);
    for module in modules() {
        for rid in 1..=module.metadata().row_count(TableId::MethodDef) {
            let Ok(m) = module.typical_method(rid) else { continue };
            if let Err(e) = m.signature() {
                failures.add(e, || format!("signature of {} {}", m.owner().handle(), m.name()));
            }
            signatures += 1;
            let body = match m.body() {
                Ok(Some(b)) => b,
                Ok(None) => continue,
                Err(e) => {
                    failures.add(e, || format!("body of {m:?}"));
                    continue;
                }
            };
            let ctx = m.context();
            if let Some(Err(e)) = body.local_var_sig.map(|t| module.resolve_locals(t, ctx)) {
                failures.add(e, || format!("locals of {m:?}"));
            }
            for i in Decoder::new(body.code) {
                let Ok(i) = i else { break };
                let Operand::Token(t) = i.operand else { continue };
                tokens += 1;
                let r = if t.is(TableId::StandAloneSig) {
                    module.resolve_standalone_sig(t, ctx).map(|_| ())
                } else {
                    module.resolve_member(t, ctx).map(|_| ())
                };
                if let Err(e) = r {
                    failures.add(e, || format!("{m:?} IL_{:04x} {t:?}", i.offset));
                }
            }
        }
    }
    println!("{signatures} signatures, {tokens} tokens");
    failures.report();
}

#[test]
fn every_interface_method_has_an_implementation() {
    let mut failures = Failures::default();
    let mut resolved = 0u64;
    for module in modules() {
        for rid in 1..=module.metadata().row_count(TableId::TypeDef) {
            let Ok(mt) = module.typical_type(rid) else { continue };
            if mt.is_interface() || mt.class().attributes().contains(TypeAttributes::ABSTRACT) {
                continue;
            }
            for i in mt.interfaces() {
                for m in i.methods().iter().filter(|m| m.is_virtual()) {
                    let r = if m.is_static() {
                        resolve_static_virtual(mt, m)
                    } else {
                        resolve_interface(mt, m)
                    };
                    match r {
                        Ok(found) => {
                            resolved += 1;
                            assert_eq!(found.param_count(), m.param_count(), "{mt:?} {m:?} -> {found:?}");
                        }
                        Err(e) => failures.add(e, || format!("{mt:?} {m:?}")),
                    }
                }
            }
        }
    }
    println!("{resolved} interface methods resolved");
    failures.report();
}

#[test]
fn every_field_type_loads() {
    let mut failures = Failures::default();
    for module in modules() {
        for rid in 1..=module.metadata().row_count(TableId::TypeDef) {
            let Ok(mt) = module.typical_type(rid) else { continue };
            for f in mt.fields() {
                if let Err(e) = f.field_type() {
                    failures.add(e, || format!("{f:?} {:?}", sig::parse_field(f.signature())));
                }
            }
        }
    }
    failures.report();
}
