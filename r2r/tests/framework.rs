//! The genuine framework: all of its precompiled code is read, and what is read is checked against the code itself, the IL and the
//! neighbours.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, HashSet};

use corten_metadata::{Module, TableId, Token};
use corten_r2r::gc_info::Position;
use corten_r2r::*;
use support::for_each_image;

/// Entry points with the row in MethodDef, if it is known without resolving anything.
fn entry_points<'a>(image: &Image<'a>) -> Vec<(EntryPoint<'a>, Option<u32>)> {
    let mut all = Vec::new();
    for rid in 1..=image.method_count() {
        if let Some(entry) = image.method(rid).unwrap() {
            all.push((entry, Some(rid)));
        }
    }
    for instance in image.instances() {
        all.push((instance.unwrap().entry_point, None));
    }
    all
}

/// Functions of each method by the id of the first: one past the last.
fn method_ends(image: &Image<'_>, entries: &[(EntryPoint<'_>, Option<u32>)]) -> BTreeMap<FunctionId, u32> {
    let mut starts: Vec<_> = entries.iter().map(|(entry, _)| entry.function).collect();
    starts.sort_unstable();
    starts.dedup();
    let ends = starts
        .iter()
        .skip(1)
        .map(|next| next.0)
        .chain([image.functions().len() as u32]);
    starts.iter().copied().zip(ends).collect()
}

/// Images of 9.0.5: methods with code, instances, functions, methods with clauses.
const COUNTS_9_0_5: [(&str, [usize; 4]); 3] = [
    ("System.Private.CoreLib", [20_769, 24_767, 47_301, 1_371]),
    ("System.Linq", [72, 1_409, 1_679, 192]),
    ("System.Private.Xml", [12_613, 241, 14_148, 895]),
];

#[test]
fn counts() {
    let mut images = 0;
    let there = for_each_image(|image, name| {
        images += 1;
        assert_eq!((image.header().major, image.header().minor), (10, 1), "{name}");
        let compiler = image.header().section(SectionKind::CompilerIdentifier).unwrap();
        let compiler = image.module().pe().rva_range(compiler.rva, compiler.size).unwrap();
        if !compiler.starts_with(b"Crossgen2 9.0.525.21509") {
            return;
        }
        let Some((_, expected)) = COUNTS_9_0_5.iter().find(|(known, _)| *known == name) else {
            return;
        };
        let methods = (1..=image.method_count()).filter(|&rid| image.method(rid).unwrap().is_some());
        let entries = entry_points(image);
        let ends = method_ends(image, &entries);
        let with_clauses = ends.keys().filter(|&&function| {
            let begin = image.functions().get(function).unwrap().begin;
            !image.clauses(begin).unwrap().is_empty()
        });
        let found = [
            methods.count(),
            image.instances().count(),
            image.functions().len(),
            with_clauses.count(),
        ];
        assert_eq!(found, *expected, "{name}");
    });
    if there {
        assert!(images > 80, "{images} images with code");
    }
}

/// Ends of the call instructions in code that begins at offset 0.
fn call_ends(code: &[u8]) -> (HashSet<u32>, Vec<u32>) {
    let mut ends = HashSet::new();
    let mut starts = Vec::new();
    let mut decoder = iced_x86::Decoder::with_ip(64, code, 0, iced_x86::DecoderOptions::NONE);
    for instruction in &mut decoder {
        starts.push(instruction.ip() as u32);
        if matches!(
            instruction.flow_control(),
            iced_x86::FlowControl::Call | iced_x86::FlowControl::IndirectCall
        ) {
            ends.insert(instruction.next_ip() as u32);
        }
    }
    (ends, starts)
}

#[test]
fn gc_info_fits_the_code() {
    let (mut safe_points, mut live, mut ranges) = (0, 0, 0);
    for_each_image(|image, name| {
        let functions = image.functions();
        let entries = entry_points(image);
        for (&function, &end) in &method_ends(image, &entries) {
            let what = || format!("{name}, {function:?}");
            let first = functions.get(function).unwrap();
            let last = functions.get(FunctionId(end - 1)).unwrap();
            let (unwind, gc_info) = functions.unwind(function).unwrap();
            assert!(u32::from(unwind.prolog_size) <= first.end - first.begin, "{}", what());
            let info = GcInfo::read(gc_info).unwrap();
            assert_eq!(info.code_length, last.end - first.begin, "{}", what());

            let mut calls = HashSet::new();
            let mut starts = Vec::new();
            for id in function.0..end {
                let part = functions.get(FunctionId(id)).unwrap();
                let offset = part.begin - first.begin;
                let (part_calls, part_starts) = call_ends(functions.code(FunctionId(id)).unwrap());
                calls.extend(part_calls.iter().map(|at| at + offset));
                starts.extend(part_starts.iter().map(|at| at + offset));
                functions.unwind(FunctionId(id)).unwrap();
            }
            for &at in &info.safe_points {
                assert!(calls.contains(&at), "{}: {at:#x} is not behind a call", what());
                let slots = info.live_slots(Position::Return(at)).unwrap();
                let all = info.live_slots(Position::Instruction(at)).unwrap();
                assert!(slots.iter().all(|slot| all.contains(slot)), "{} at {at:#x}", what());
                live += slots.len();
            }
            safe_points += info.safe_points.len();
            ranges += info.interruptible_ranges.len();
            for &at in &starts {
                if info.interruptible_ranges.iter().any(|r| (r.0..r.1).contains(&at)) {
                    live += info.live_slots(Position::Instruction(at)).unwrap().len();
                }
            }
        }
    });
    println!("{safe_points} safe points, {ranges} interruptible ranges, {live} live slots");
}

#[test]
fn il_maps_and_clauses_fit_code_and_il() {
    let (mut positions, mut outside) = (0u32, 0u32);
    for_each_image(|image, name| {
        let functions = image.functions();
        let entries = entry_points(image);
        let ends = method_ends(image, &entries);
        for (entry, rid) in &entries {
            let what = || format!("{name}, {:?}", entry.function);
            let first = functions.get(entry.function).unwrap();
            let last = functions.get(FunctionId(ends[&entry.function] - 1)).unwrap();
            let length = last.end - first.begin;
            // P/Invokes have code, but no IL.
            let il = rid.and_then(|rid| image.module().method_body(rid).unwrap());
            let il_size = il.map_or(u32::MAX, |il| il.code.len() as u32);
            for mapping in image.il_map(entry.function).unwrap() {
                assert!(mapping.native <= length, "{}: {mapping:?}", what());
                if let IlPosition::Offset(at) = mapping.il {
                    positions += 1;
                    outside += u32::from(at > il_size);
                }
            }
            let funclets: HashSet<u32> = (entry.function.0 + 1..ends[&entry.function])
                .map(|id| functions.get(FunctionId(id)).unwrap().begin - first.begin)
                .collect();
            for clause in image.clauses(first.begin).unwrap() {
                // A mark of a copy of a finally handler; its "handler" is in the method.
                if clause.protected.0 == clause.protected.1 && clause.kind == HandlerKind::Finally {
                    assert!(clause.duplicated, "{}: {clause:?}", what());
                    continue;
                }
                assert!(clause.protected.1 <= length, "{}: {clause:?}", what());
                assert!(funclets.contains(&clause.handler.0), "{}: {clause:?}", what());
                match clause.kind {
                    HandlerKind::Catch(class) => assert!(
                        matches!(
                            class.table(),
                            Some(TableId::TypeDef | TableId::TypeRef | TableId::TypeSpec)
                        ),
                        "{}: {clause:?}",
                        what()
                    ),
                    HandlerKind::Filter { offset } => assert!(funclets.contains(&offset), "{}: {clause:?}", what()),
                    HandlerKind::Finally | HandlerKind::Fault => {}
                }
            }
        }
    });
    // The compiler has its own IL for some intrinsics.
    println!("{outside} of {positions} positions are outside of the IL");
    assert!(outside <= positions / 1000, "{outside} of {positions}");
}

#[test]
fn signatures_lie_close_together() {
    let mut all = 0;
    for_each_image(|image, name| {
        // Where each signature begins and where reading it ended: the next one begins there.
        let mut extents = BTreeMap::new();
        for (section, cells) in image.imports().sections().iter().enumerate() {
            for slot in 0..cells.count {
                let cell = CellId {
                    section: section as u32,
                    slot,
                };
                assert_eq!(
                    image.imports().cell_at(image.imports().cell_rva(cell).unwrap()),
                    Some(cell)
                );
                if let Some(mut at) = image.imports().signature(cell).unwrap() {
                    let begin = at.rva();
                    Fixup::read(&mut at).unwrap_or_else(|e| panic!("{name}, {cell:?}: {e}"));
                    extents.insert(begin, at.rva());
                }
            }
        }
        all += extents.len();
        let gaps = extents
            .values()
            .zip(extents.keys().skip(1))
            .filter(|(end, next)| end != next);
        for (end, next) in gaps {
            // Between groups there may be something else, but a signature never ends behind the start of the next one.
            assert!(
                end < next,
                "{name}: a signature ends at {end:#x}, the next begins at {next:#x}"
            );
        }
        // Lists of cells refer to cells that exist.
        for (entry, _) in entry_points(image) {
            for cell in entry.fixups() {
                assert!(image.imports().fixup(cell.unwrap()).unwrap().is_some(), "{name}");
            }
        }
    });
    println!("{all} signatures");
}

/// The argument map that a call of a method has by its signature; `None` where that takes more than the signature.
fn expected_arguments(module: &Module, rid: u32) -> Option<Vec<(ArgumentLocation, ArgumentKind)>> {
    let row = module.method_def(rid).unwrap();
    let sig = corten_metadata::sig::parse_method(row.signature).unwrap();
    use corten_metadata::sig::TypeSig as Sig;
    let mut words = Vec::new();
    if sig.has_this {
        let owner = module.type_def(module.owner_of_method(rid)?).unwrap();
        let base = owner.extends;
        // Interfaces; and constructors of strings, which take no object.
        if base.is_nil() || (owner.name == "String" && row.name == ".ctor") {
            return None;
        }
        let base_name = match base.table() {
            Some(TableId::TypeDef) => module.type_def(base.rid()).unwrap().name,
            Some(TableId::TypeRef) => module.type_ref(base.rid()).unwrap().name,
            // Generic bases.
            _ => return None,
        };
        words.push(match base_name {
            "ValueType" | "Enum" if owner.name != "Enum" => Some(ArgumentKind::Interior),
            _ => Some(ArgumentKind::Reference),
        });
    }
    if matches!(sig.ret, Sig::ValueType(_) | Sig::GenericInst { .. } | Sig::TypedByRef) || sig.generic_param_count > 0 {
        return None;
    }
    for parameter in &sig.params {
        words.push(match parameter.strip_modifiers() {
            Sig::Class(_) | Sig::String | Sig::Object | Sig::SzArray(_) | Sig::Array { .. } => {
                Some(ArgumentKind::Reference)
            }
            Sig::ByRef(_) => Some(ArgumentKind::Interior),
            Sig::R4 | Sig::R8 => continue,
            Sig::ValueType(_) | Sig::GenericInst { .. } | Sig::Var(_) | Sig::MVar(_) | Sig::TypedByRef => return None,
            _ => None,
        });
    }
    let located = words.into_iter().enumerate().filter_map(|(i, kind)| {
        let location = match i {
            0..6 => ArgumentLocation::Register(i as u8),
            _ => ArgumentLocation::Stack(i as u32 - 6),
        };
        Some((location, kind?))
    });
    Some(located.collect())
}

#[test]
fn argument_maps_fit_signatures() {
    let (mut checked, mut all) = (0, 0);
    for_each_image(|image, name| {
        let module = image.module();
        for (section, cells) in image.imports().sections().iter().enumerate() {
            for slot in 0..cells.count {
                let section = section as u32;
                let cell = CellId { section, slot };
                let Some(map) = image.imports().argument_map(cell).unwrap() else {
                    continue;
                };
                all += 1;
                let Some(Fixup {
                    what: What::MethodEntry(method) | What::VirtualEntry(method),
                    ..
                }) = image.imports().fixup(cell).unwrap()
                else {
                    continue;
                };
                let MethodId::Token(token) = method.method else {
                    continue;
                };
                if token.table() != Some(TableId::MethodDef) || method != MethodSig::of_token(token) {
                    continue;
                }
                // Methods of generic types have hidden arguments.
                let owner = Token::new(TableId::TypeDef, module.owner_of_method(token.rid()).unwrap());
                if !module.generic_params(owner).is_empty() {
                    continue;
                }
                if let Some(expected) = expected_arguments(module, token.rid()) {
                    assert_eq!(map, expected, "{name}, {cell:?}: {token:?}");
                    checked += 1;
                }
            }
        }
    });
    println!("{checked} of {all} argument maps");
    assert!(checked * 4 >= all, "{checked} of {all}");
}

/// Hash code of a type of the image's module; `None` if another module has to be asked.
fn hash_of(module: &Module, sig: &TypeSig) -> Option<u32> {
    Some(match sig {
        TypeSig::Primitive(primitive) => hash::type_name("System", primitive.name()),
        TypeSig::Canon => hash::type_name("System", "__Canon"),
        TypeSig::Class(token) | TypeSig::ValueType(token) => hash_of_token(module, *token)?,
        TypeSig::Generic { definition, arguments } => {
            let arguments: Option<Vec<u32>> = arguments.iter().map(|a| hash_of(module, a)).collect();
            hash::instantiation(hash_of(module, definition)?, arguments?)
        }
        TypeSig::SzArray(element) => hash::array(hash_of(module, element)?, 1),
        TypeSig::Pointer(target) => hash::pointer(hash_of(module, target)?),
        TypeSig::ByRef(target) => hash::byref(hash_of(module, target)?),
        _ => return None,
    })
}

fn hash_of_token(module: &Module, token: Token) -> Option<u32> {
    match token.table()? {
        TableId::TypeDef => {
            let row = module.type_def(token.rid()).unwrap();
            let hash = hash::type_name(row.namespace, row.name);
            match module.enclosing_type(token.rid()) {
                Some(outer) => Some(hash::nested_type(
                    hash_of_token(module, Token::new(TableId::TypeDef, outer))?,
                    hash,
                )),
                None => Some(hash),
            }
        }
        TableId::TypeRef => {
            let row = module.type_ref(token.rid()).unwrap();
            let hash = hash::type_name(row.namespace, row.name);
            if row.resolution_scope.table() == Some(TableId::TypeRef) {
                return Some(hash::nested_type(hash_of_token(module, row.resolution_scope)?, hash));
            }
            Some(hash)
        }
        _ => None,
    }
}

#[test]
fn instances_are_found_by_hash_code() {
    let (mut checked, mut all) = (0, 0);
    for_each_image(|image, name| {
        let module = image.module();
        for instance in image.instances() {
            let instance = instance.unwrap();
            all += 1;
            let MethodId::Token(token) = instance.method.method else {
                continue;
            };
            let (method_name, owner) = match token.table() {
                Some(TableId::MethodDef) => {
                    let owner = module.owner_of_method(token.rid()).unwrap();
                    let owner = TypeSig::Class(Token::new(TableId::TypeDef, owner));
                    (module.method_def(token.rid()).unwrap().name, Some(owner))
                }
                _ => (module.member_ref(token.rid()).unwrap().name, None),
            };
            let Some(owner) = instance.method.owner.clone().or(owner) else {
                continue;
            };
            let arguments: Option<Vec<u32>> = instance
                .method
                .instantiation
                .iter()
                .map(|a| hash_of(module, a))
                .collect();
            let (Some(owner), Some(arguments)) = (hash_of(module, &owner), arguments) else {
                continue;
            };
            let mut method = hash::name(method_name);
            if !arguments.is_empty() {
                method = hash::instantiation(method, arguments);
            }
            let hash = hash::method(owner, method);
            let found = image
                .instances_with_hash(hash)
                .any(|candidate| candidate.unwrap().method == instance.method);
            assert!(found, "{name}: {:?} with hash code {hash:#x}", instance.method);
            checked += 1;
        }
    });
    println!("{checked} of {all} instances");
    assert!(checked * 10 >= all * 8, "{checked} of {all}");
}
