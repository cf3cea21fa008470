//! What the reader says about a small assembly made by the C# compiler (`fixtures/features.cs`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use corten_metadata::attribute::{ArgumentType, AttributeValue, EnumRef, Primitive};
use corten_metadata::*;
use std::path::Path;

const FIXTURE: &[u8] = include_bytes!("fixtures/features.dll");

fn module() -> Module {
    Module::from_bytes(FIXTURE, "features.dll").unwrap()
}

fn find_type(m: &Module, name: &str) -> u32 {
    m.find_type_by_reflection_name(name)
        .unwrap_or_else(|| panic!("no type {name}"))
}

fn find_method(m: &Module, ty: &str, name: &str) -> u32 {
    let mut methods = m.type_def(find_type(m, ty)).unwrap().method_list;
    methods
        .find(|r| m.method_def(*r).unwrap().name == name)
        .unwrap_or_else(|| panic!("no method {name}"))
}

fn attributes<'a>(m: &'a Module, parent: Token, name: &str) -> Vec<attribute::CustomAttributeValue<'a>> {
    let rows = m
        .custom_attributes(parent)
        .filter(|r| m.attribute_type_name(*r).unwrap().1 == name);
    rows.map(|r| m.custom_attribute_value(r, &mut |e| m.resolve_local_enum(e)).unwrap())
        .collect()
}

#[test]
fn custom_attributes() {
    let m = module();
    let ty = Token::new(TableId::TypeDef, find_type(&m, "Features.Base`2"));
    let note = attributes(&m, ty, "NoteAttribute").remove(0);
    let AttributeValue::Boxed(kind, big) = &note.fixed[0] else {
        panic!("{note:?}")
    };
    assert!(matches!(**kind, ArgumentType::Enum(EnumRef::Name(n), Primitive::U2) if n.starts_with("Features.Kind")));
    assert!(matches!(&**big, AttributeValue::Enum(_, v) if **v == AttributeValue::UInt(Primitive::U2, 40000)));
    assert!(matches!(note.fixed[1], AttributeValue::Type(Some(n)) if n.contains("Dictionary`2[[System.String")));
    let AttributeValue::Array(Some(numbers)) = &note.fixed[2] else {
        panic!("{note:?}")
    };
    assert_eq!(numbers[1], AttributeValue::Int(Primitive::I4, -2));
    assert_eq!(note.named("Weight"), Some(&AttributeValue::R8(2.5f64.to_bits())));
    let Some(AttributeValue::Boxed(_, extra)) = note.named("Extra") else {
        panic!("{note:?}")
    };
    assert!(matches!(&**extra, AttributeValue::Array(Some(items)) if items.len() == 3));

    let typed = attributes(&m, ty, "TypedAttribute`1").remove(0);
    assert_eq!(typed.fixed, [AttributeValue::Int(Primitive::I8, -5)]);

    let assembly = attributes(&m, Token::new(TableId::Assembly, 1), "NoteAttribute").remove(0);
    assert_eq!(assembly.fixed, [AttributeValue::String(Some("assembly"))]);
    assert!(assembly.named[0].is_field);
}

#[test]
fn types_and_layout() {
    let m = module();
    let overlay = find_type(&m, "Features.Overlay");
    assert_eq!(m.class_layout_of(overlay).unwrap().class_size, 16);
    let offsets: Vec<_> = m
        .type_def(overlay)
        .unwrap()
        .field_list
        .map(|f| m.field_offset(f))
        .collect();
    assert_eq!(offsets, [Some(0), Some(4), Some(8)]);
    let base = find_type(&m, "Features.Base`2");
    let inner = find_type(&m, "Features.Base`2+Inner`1");
    assert_eq!(m.enclosing_type(inner), Some(base));
    assert!(m.nested_types(base).contains(&inner));
    let params = m.generic_params(Token::new(TableId::TypeDef, base));
    assert_eq!(params.len(), 2);
    let first = m.generic_param(params.start).unwrap();
    assert!(
        first.name == "TKey"
            && first
                .flags
                .contains(GenericParamAttributes::NOT_NULLABLE_VALUE_TYPE_CONSTRAINT)
    );
    assert_eq!(m.generic_param_constraints(params.start).len(), 2);
    assert_eq!(m.interface_impls(base).len(), 2);
    assert_eq!(m.method_impls(base).len(), 4);
    let property = m
        .properties_of(base)
        .find(|p| m.property(*p).unwrap().name == "Item")
        .unwrap();
    let signature = sig::parse_property(m.property(property).unwrap().signature).unwrap();
    assert!(
        signature.has_this && signature.ty == TypeSig::Var(1) && signature.params == [TypeSig::Var(0), TypeSig::I4]
    );
    assert_eq!(m.events_of(base).len(), 1);
    let event = Token::new(TableId::Event, m.events_of(base).start);
    assert_eq!(m.semantics_of(event).len(), 2);
    // `ref readonly` returns carry a required modifier.
    let getter = find_method(&m, "Features.Base`2", "get_Reference");
    let signature = sig::parse_method(m.method_def(getter).unwrap().signature).unwrap();
    assert!(
        matches!(signature.ret, TypeSig::Modified { required: true, .. }),
        "{signature:?}"
    );
}

#[test]
fn constants_data_and_imports() {
    let m = module();
    let base = m.type_def(find_type(&m, "Features.Base`2")).unwrap();
    let constant = |name: &str| {
        let rid = base
            .field_list
            .clone()
            .find(|f| m.field(*f).unwrap().name == name)
            .unwrap();
        m.constant_of(Token::new(TableId::Field, rid)).unwrap()
    };
    let text: Vec<u16> = "na\u{ef}ve \u{1f600}".encode_utf16().collect();
    let bytes: Vec<u8> = text.iter().flat_map(|u| u.to_le_bytes()).collect();
    assert_eq!((constant("Name").ty, constant("Name").value), (0x0e, &bytes[..]));
    assert_eq!(
        (constant("Large").ty, constant("Large").value),
        (0x0a, &i64::MIN.to_le_bytes()[..])
    );

    let data = (1..=m.row_count(TableId::FieldRva)).map(|r| m.field_rva(r).unwrap());
    let primes: Vec<u8> = [2i32, 3, 5, 7, 11, 13].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert!(
        data.into_iter()
            .any(|row| m.pe().rva_range(row.rva, 24) == Some(&primes[..]))
    );

    let import = m.impl_map_of(find_method(&m, "Features.Code", "ProcessId")).unwrap();
    assert_eq!(
        (import.import_name, m.module_ref(import.import_scope).unwrap().name),
        ("getpid", "libc")
    );
    assert!(import.mapping_flags.contains(PInvokeAttributes::SUPPORTS_LAST_ERROR));
    let open = m.method_def(find_method(&m, "Features.Code", "Open")).unwrap();
    let marshalled: Vec<_> = open
        .param_list
        .filter_map(|p| m.field_marshal_of(Token::new(TableId::Param, p)))
        .collect();
    assert_eq!(marshalled, [&[0x02][..], &[0x15][..]]);
}

#[test]
fn bodies() {
    let m = module();
    let body = m
        .method_body(find_method(&m, "Features.Code", "Handlers"))
        .unwrap()
        .unwrap();
    assert!(body.init_locals && body.local_var_sig.is_some());
    let kinds: Vec<_> = body.clauses.iter().map(|c| c.kind).collect();
    assert!(
        matches!(kinds[..], [EhKind::Filter { .. }, EhKind::Catch(_), EhKind::Finally]),
        "{kinds:?}"
    );
    let body = m
        .method_body(find_method(&m, "Features.Code", "Switch"))
        .unwrap()
        .unwrap();
    let mut switches = Decoder::new(body.code)
        .map(|i| i.unwrap())
        .filter(|i| i.opcode == Opcode::Switch);
    assert!(matches!(&switches.next().unwrap().operand, Operand::Switch(t) if t.len() == 4));
    assert!(
        m.method_body(find_method(&m, "Features.Code", "ProcessId"))
            .unwrap()
            .is_none()
    );
    assert!(m.user_strings().any(|(_, s)| s.to_string_lossy() == "three"));
}

#[test]
fn embedded_pdb() {
    let m = module();
    let pdb = m.portable_pdb().expect("embedded PDB");
    let method = find_method(&m, "Features.Code", "Handlers");
    let points = pdb.sequence_points(method).unwrap();
    assert!(points.windows(2).all(|w| w[0].il_offset < w[1].il_offset));
    let visible: Vec<_> = points.iter().filter(|p| !p.hidden).collect();
    assert!(visible.len() >= 4, "{points:?}");
    assert!(pdb.document_name(visible[0].document).unwrap().ends_with("features.cs"));
    let source = include_str!("fixtures/features.cs");
    let line = source.lines().nth(visible[0].start_line as usize - 1).unwrap();
    let columns = visible[0].start_column as usize - 1..visible[0].end_column as usize - 1;
    assert_eq!(&line[columns], "return checked(n * n) / (n - 1);");
    assert_eq!(pdb.find_line(method, 3).unwrap().as_ref(), Some(visible[0]));
    let names: Vec<_> = (1..=m.row_count(TableId::MethodDef))
        .flat_map(|r| pdb.local_variables(r).unwrap())
        .collect();
    assert!(names.iter().any(|v| v.name == "block"), "{names:?}");
}

#[test]
fn pdb_beside_the_image() {
    let m = module();
    let dir = tempfile::tempdir().unwrap();
    let (dll, pdb) = (dir.path().join("features.dll"), dir.path().join("features.pdb"));
    // The same image without its embedded PDB: the kind of that debug directory entry is changed.
    let directory = m.pe().directory(6);
    let mut image = FIXTURE.to_vec();
    let at = m.pe().rva_to_offset(directory.rva).unwrap();
    for i in 0..directory.size as usize / 28 {
        let kind = at + 28 * i + 12;
        if image[kind] == 17 {
            image[kind] = 99;
        }
    }
    std::fs::write(&dll, image).unwrap();
    let stripped = Module::open(&dll).unwrap();
    assert!(stripped.portable_pdb().is_none());
    std::fs::write(&pdb, m.portable_pdb().unwrap().bytes()).unwrap();
    let found = stripped.portable_pdb().expect("PDB beside the image");
    let method = find_method(&m, "Features.Code", "Handlers");
    assert_eq!(
        found.sequence_points(method).unwrap(),
        m.portable_pdb().unwrap().sequence_points(method).unwrap()
    );
    // One of another build is not taken.
    let mut other = found.bytes().to_vec();
    let id = other.windows(20).position(|w| w == found.id()).unwrap();
    other[id] ^= 1;
    std::fs::write(&pdb, other).unwrap();
    assert!(stripped.portable_pdb().is_none());
}

#[test]
fn views() {
    let m = module();
    let print = |view: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        view(&mut out);
        String::from_utf8(out).unwrap()
    };
    let text = print(&|o| inspect::overview(&m, o).unwrap());
    assert!(
        text.contains("assembly:    features, Version=0.0.0.0") && text.contains("everything decodes"),
        "{text}"
    );
    let text = print(&|o| inspect::types(&m, o).unwrap());
    assert!(text.contains("enum Features.Kind : System.Enum (3 fields"), "{text}");
    let text = print(&|o| inspect::methods(&m, o).unwrap());
    assert!(
        text.contains("int32 Features.Code::ProcessId() [imports libc!getpid]"),
        "{text}"
    );
    let text = print(&|o| inspect::tables(&m, o).unwrap());
    assert!(text.contains("TypeDef"), "{text}");
    let text = print(&|o| inspect::table_rows(&m, TableId::ModuleRef, o).unwrap());
    assert_eq!(text.lines().count(), 3, "{text}");
    let text = print(&|o| inspect::il(&m, "Features.Code::Handlers", o).unwrap());
    assert!(text.contains("call void System.Console::WriteLine(int32)"), "{text}");
    assert!(text.contains("catch System.DivideByZeroException"), "{text}");
    let error = inspect::il(&m, "Features.Code::None", &mut std::io::sink()).unwrap_err();
    assert_eq!(error.to_string(), "no method \"Features.Code::None\" in this image");
}

/// Sets bytes at an offset of the fixture and opens it.
fn open_with(at: usize, bytes: &[u8]) -> Result<Module> {
    let mut image = FIXTURE.to_vec();
    image[at..at + bytes.len()].copy_from_slice(bytes);
    Module::from_bytes(image, "changed")
}

fn position(needle: &[u8]) -> usize {
    FIXTURE.windows(needle.len()).position(|w| w == needle).unwrap()
}

#[test]
fn refuses_what_it_does_not_read() {
    let stream_name = position(b"#~\0\0");
    let error = open_with(stream_name, b"#-").unwrap_err();
    assert!(
        matches!(error, Error::Unsupported { offset, .. } if offset as usize == stream_name - 8),
        "{error}"
    );
    assert!(error.to_string().contains("uncompressed metadata"));

    let root = position(b"BSJB");
    let tables = u32::from_le_bytes(FIXTURE[stream_name - 8..stream_name - 4].try_into().unwrap()) as usize + root;
    let error = open_with(tables + 6, &[0x20]).unwrap_err();
    assert!(error.to_string().contains("edit-and-continue delta"), "{error}");
    // The Module row count belongs to EncLog if the bits of the two tables are swapped.
    let valid = u64::from_le_bytes(FIXTURE[tables + 8..tables + 16].try_into().unwrap());
    let error = open_with(tables + 8, &(valid & !1 | 1 << 0x1e).to_le_bytes()).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    let error = open_with(tables + 8, &(valid | 1 << 63).to_le_bytes()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::BadImage {
                fault: Fault::Value {
                    field: "table number",
                    ..
                },
                ..
            }
        ),
        "{error}"
    );

    assert!(matches!(
        open_with(0, b"ZM").unwrap_err(),
        Error::BadImage {
            fault: Fault::Magic(_),
            offset: 0
        }
    ));
    let error = Module::open(Path::new("/no/such/file.dll")).unwrap_err();
    assert!(matches!(
        error,
        Error::Io {
            kind: std::io::ErrorKind::NotFound,
            ..
        }
    ));
}
