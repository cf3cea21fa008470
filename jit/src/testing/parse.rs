//! Declarations of a test file.

use super::asm::Assembler;
use super::host::{BodyDecl, MockHost, Tables};
use crate::host_api::*;
use crate::ids::{FieldId, TypeId};
use std::sync::Arc;

/// Splits at whitespace, keeping parenthesised and bracketed pieces together.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word = String::new();
    let mut depth = 0i32;
    for c in line.chars() {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => depth -= 1,
            _ => {}
        }
        if c.is_whitespace() && depth == 0 {
            if !word.is_empty() {
                out.push(std::mem::take(&mut word));
            }
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        out.push(word);
    }
    out
}

fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("number expected, not {text}"))
}

fn at(words: &[String], index: usize) -> Result<&str, String> {
    words
        .get(index)
        .map(String::as_str)
        .ok_or_else(|| format!("word {index} is missing in {words:?}"))
}

/// `a, b, c` inside of brackets; generic commas inside of `<>` and array ranks stay together.
fn list(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let (mut depth, mut item) = (0, String::new());
    for c in text.chars() {
        match c {
            '<' | '[' => depth += 1,
            '>' | ']' => depth -= 1,
            ',' if depth == 0 => {
                out.push(std::mem::take(&mut item).trim().to_string());
                continue;
            }
            _ => {}
        }
        item.push(c);
    }
    if !item.trim().is_empty() {
        out.push(item.trim().to_string());
    }
    out
}

/// `(int, object)` to types.
pub(super) fn types(tables: &mut Tables, text: &str) -> Result<Vec<TypeId>, String> {
    let inner = text
        .strip_prefix('(')
        .and_then(|t| t.strip_suffix(')'))
        .ok_or("(types) expected")?;
    list(inner).iter().map(|t| tables.type_named(t)).collect()
}

impl MockHost {
    /// Reads a test file.
    pub fn parse(text: &str) -> Result<MockHost, String> {
        let mut host = MockHost::empty();
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let line = line.split(';').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            let mut outcome = if line.starts_with(".test") {
                let mut block = Vec::new();
                for (n, line) in lines.by_ref() {
                    let line = line.split(';').next().unwrap_or("").trim();
                    if line == ".end" {
                        break;
                    }
                    if !line.is_empty() {
                        block.push((n, line));
                    }
                }
                test(&mut host, line, &block)
            } else {
                declaration(&mut host.tables.lock(), line)
            };
            outcome = outcome.map_err(|e| format!("line {}: {e}", number + 1));
            outcome?;
        }
        Ok(host)
    }
}

fn declaration(tables: &mut Tables, line: &str) -> Result<(), String> {
    let words = words(line);
    match at(&words, 0)? {
        ".class" => class(tables, &words),
        ".struct" => structure(tables, &words),
        ".field" | ".static" | ".threadstatic" => field(tables, &words),
        ".method" => method(tables, &words),
        ".seen" => seen(tables, &words),
        ".counts" => counts(tables, &words),
        ".override" => implementation(tables, &words),
        other => Err(format!("unknown directive {other}")),
    }
}

fn instantiation(tables: &mut Tables, name: &str) -> Result<Arc<[TypeId]>, String> {
    match name.split_once('<').and_then(|(_, rest)| rest.strip_suffix('>')) {
        Some(args) => list(args)
            .iter()
            .map(|t| tables.type_named(t))
            .collect::<Result<Vec<_>, _>>()
            .map(Into::into),
        None => Ok(Arc::new([])),
    }
}

fn class(tables: &mut Tables, words: &[String]) -> Result<(), String> {
    let name = at(words, 1)?;
    let instantiation = instantiation(tables, name)?;
    let has = |flag: &str| words.iter().any(|w| w == flag);
    let mut bases = vec![tables.type_named("object")?];
    if let Some(i) = words.iter().position(|w| w == ":") {
        for base in list(at(words, i + 1)?) {
            bases.push(tables.type_named(&base)?);
        }
    }
    tables.add_type(name, TypeKind::Ref, 8, |t| {
        let info = Arc::make_mut(&mut t.info);
        info.is_exact = has("sealed");
        info.is_interface = has("interface");
        info.is_delegate = has("delegate");
        info.instantiation = instantiation;
        t.bases = bases;
    });
    Ok(())
}

fn structure(tables: &mut Tables, words: &[String]) -> Result<(), String> {
    let name = at(words, 1)?;
    let size = number(at(words, 2)?)? as u32;
    let body = at(words, 3)?.trim_start_matches('{').trim_end_matches('}');
    let mut fields = Vec::new();
    for piece in list(body) {
        let (ty, offset) = piece.split_once(' ').ok_or("type and offset expected")?;
        let ty = tables.type_named(ty)?;
        let kind = tables.types[ty.0 as usize].info.kind;
        fields.push(FlatField {
            offset: number(offset.trim())? as u32,
            kind,
        });
    }
    let nullable = match words.iter().position(|w| w == "nullable") {
        Some(i) => Some((tables.type_named(at(words, i + 1)?)?, number(at(words, i + 2)?)? as u32)),
        None => None,
    };
    let gc = fields.iter().any(|f| matches!(f.kind, TypeKind::Ref | TypeKind::ByRef));
    let vector = words.iter().any(|w| w == "vector");
    let instantiation = instantiation(tables, name)?;
    tables.add_type(name, TypeKind::Struct, size, |t| {
        let info = Arc::make_mut(&mut t.info);
        info.fields = fields.into();
        info.has_gc_pointers = gc;
        info.nullable_of = nullable;
        if vector {
            info.vector_size = Some(size);
            info.vectors = Arc::new([0]);
        }
        info.instantiation = instantiation;
    });
    Ok(())
}

fn field(tables: &mut Tables, words: &[String]) -> Result<(), String> {
    let owner = tables.type_named(at(words, 1)?)?;
    let ty = tables.type_named(at(words, 2)?)?;
    let name = at(words, 3)?;
    let place = number(at(words, 4)?)?;
    let place = match at(words, 0)? {
        ".field" => FieldPlace::Instance { offset: place as u32 },
        ".static" => FieldPlace::Static { address: place },
        _ => FieldPlace::ThreadStatic {
            key: place,
            place: None,
        },
    };
    if let Some(i) = words.iter().position(|w| w == "init") {
        tables.class_init.insert(owner, number(at(words, i + 1)?)?);
    }
    let id = FieldId(tables.fields.len() as u64);
    let readonly = words.iter().position(|w| w == "readonly");
    if let Some(i) = readonly {
        let value = match tables.type_named(at(words, i + 1)?) {
            Ok(class) => StaticValue::Object(class),
            Err(_) => StaticValue::Bits(number(at(words, i + 1)?)?),
        };
        tables.static_values.insert(id, value);
    }
    tables.fields.push(Arc::new(FieldInfo {
        id,
        owner,
        ty,
        place,
        is_static: !matches!(place, FieldPlace::Instance { .. }),
        is_init_only: readonly.is_some(),
        family: owner.0 as u32 + 1,
        name: name.into(),
    }));
    tables.field_names.insert(format!("{}::{name}", at(words, 1)?), id);
    Ok(())
}

fn method(tables: &mut Tables, words: &[String]) -> Result<(), String> {
    let is_static = at(words, 1)? == "static";
    let rest = &words[if is_static { 2 } else { 1 }..];
    let ret = tables.type_named(at(rest, 0)?)?;
    let full = at(rest, 1)?;
    let open = full.find('(').ok_or("parameters expected")?;
    let params = types(tables, &full[open..])?;
    let (owner, name) = full[..open].split_once("::").ok_or("Owner::Name expected")?;
    let owner_id = tables.type_named(owner)?;
    let has = |flag: &str| rest.iter().any(|w| w == flag);
    let after = |flag: &str| rest.iter().position(|w| w == flag).map(|i| at(rest, i + 1)).transpose();
    let key = after("as")?.map_or_else(|| full[..open].to_string(), str::to_string);
    let dispatch = match after("vtable")? {
        Some(offset) => Dispatch::Vtable {
            offset: number(offset)? as u32,
        },
        None if has("interface") => Dispatch::Interface,
        None if has("gvirtual") => Dispatch::GenericVirtual,
        None => Dispatch::Direct,
    };
    let instantiation = match after("inst")? {
        Some(args) => list(args)
            .iter()
            .map(|t| tables.type_named(t))
            .collect::<Result<Vec<_>, _>>()?,
        None => Vec::new(),
    };
    let factory = after("factory")?.map(|f| tables.method_named(f)).transpose()?;
    let convention = if has("vararg") {
        Convention::VarArg
    } else {
        Convention::Managed
    };
    let sig = Signature {
        has_this: !is_static,
        ret,
        params: params.into(),
        convention,
    };
    tables.add_method(&key, owner_id, name, sig, |m| {
        m.dispatch = dispatch;
        m.is_virtual = dispatch != Dispatch::Direct;
        m.is_intrinsic = has("intrinsic");
        m.is_delegate_invoke = has("delegate_invoke");
        m.is_delegate_ctor = has("delegate_ctor");
        m.string_factory = factory;
        m.instantiation = instantiation.into();
    });
    Ok(())
}

/// What profiles say.
fn seen(tables: &mut Tables, words: &[String]) -> Result<(), String> {
    let site = (at(words, 1)?.to_string(), number(at(words, 2)?)? as u32);
    for item in list(at(words, 3)?) {
        let (name, count) = item.split_once('=').ok_or("name=count expected")?;
        let count = number(count)? as u32;
        if let Ok(class) = tables.type_named(name) {
            tables
                .classes_seen
                .entry(site.clone())
                .or_default()
                .push((class, count));
        } else {
            let target = name.to_string();
            tables
                .targets_seen
                .entry(site.clone())
                .or_default()
                .push((target, count));
        }
    }
    Ok(())
}

/// How often blocks ran.
fn counts(tables: &mut Tables, words: &[String]) -> Result<(), String> {
    let mut counts = Vec::new();
    for item in list(at(words, 2)?) {
        let (il, count) = item.split_once('=').ok_or("offset=count expected")?;
        counts.push((number(il)? as u32, number(count)? as u32));
    }
    tables.counts.insert(at(words, 1)?.to_string(), counts);
    Ok(())
}

fn implementation(tables: &mut Tables, words: &[String]) -> Result<(), String> {
    let class = tables.type_named(at(words, 1)?)?;
    let method = tables.method_named(at(words, 2)?)?;
    let target = at(words, 3)?.to_string();
    tables.overrides.insert((class, method), target);
    Ok(())
}

fn test(host: &mut MockHost, header: &str, lines: &[(usize, &str)]) -> Result<(), String> {
    let words = words(header);
    let mut tables = host.tables.lock();
    let name = at(&words, 1)?.to_string();
    let instance = words.iter().position(|w| w == "instance");
    let owner = match instance {
        Some(i) => tables.type_named(at(&words, i + 1)?)?,
        None => tables.type_named("object")?,
    };
    let params = types(&mut tables, words.last().map_or("", String::as_str))?;
    let ret = tables.type_named(at(&words, words.len().saturating_sub(2))?)?;
    let sig = Signature {
        has_this: instance.is_some(),
        ret,
        params: params.into(),
        convention: Convention::Managed,
    };
    let has = |flag: &str| words.iter().any(|w| w == flag);
    let key = format!("{name}::test");
    let id = tables.add_method(&key, owner, &name, sig, |m| {
        m.synchronized = has("synchronized");
        m.no_inlining = has("noinlining");
        m.aggressive_inlining = has("aggressive");
    });
    let mut body = BodyDecl::default();
    Assembler::new(&mut tables).assemble(lines, &mut body)?;
    drop(tables);
    host.bodies.insert(id, body);
    host.tests.push(id);
    Ok(())
}
