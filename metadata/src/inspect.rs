//! Text views of an image: what `corten inspect` prints.

use crate::body::{EhKind, MethodBody};
use crate::error::Error;
use crate::flags::{MethodAttributes, TypeAttributes};
use crate::il::{Decoder, Instruction, Operand};
use crate::module::Module;
use crate::names::Names;
use crate::sig::{self, TypeSig};
use crate::tables::schema;
use crate::token::{TableId, Token};
use std::io::{self, Write};

/// Why a view could not be printed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The image is malformed.
    #[error(transparent)]
    Image(#[from] Error),
    /// The output could not be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
    /// No type or method of that name.
    #[error("no {what} {name:?} in this image")]
    NotFound {
        /// `type` or `method`.
        what: &'static str,
        /// The name asked for.
        name: String,
    },
    /// The name is not of the form `Namespace.Type::Method`.
    #[error("{0:?} is not of the form Namespace.Type::Method")]
    Name(String),
}

type Outcome = Result<(), InspectError>;

/// Identity, headers, references and the totals of a full visit.
pub fn overview(module: &Module, out: &mut dyn Write) -> Outcome {
    let pe = module.pe();
    writeln!(
        out,
        "file:        {} ({} bytes)",
        module.path(),
        module.image_bytes().len()
    )?;
    if let Some(a) = module.assembly()? {
        writeln!(
            out,
            "assembly:    {}, Version={}{}",
            a.name,
            version(a.version),
            culture(a.culture)
        )?;
    }
    let row = module.module_row()?;
    writeln!(out, "module:      {}, mvid {}", row.name, guid_text(&row.mvid))?;
    let form = if pe.is_pe32_plus() { "PE32+" } else { "PE32" };
    writeln!(
        out,
        "image:       {form}, machine {:#06x}, base {:#x}",
        pe.machine(),
        pe.image_base()
    )?;
    writeln!(
        out,
        "metadata:    {}, flags {:?}",
        module.metadata_version(),
        pe.cor_flags()
    )?;
    if let Some((rva, size)) = pe.managed_native_header() {
        writeln!(out, "precompiled: header at RVA {rva:#x}, {size} bytes")?;
    }
    if let Some(token) = pe.entry_point_token() {
        writeln!(out, "entry point: {token} {}", Names::new(module).token(token))?;
    }
    for s in pe.sections() {
        writeln!(
            out,
            "section:     {:<8} RVA {:#010x}, {} bytes",
            s.name(),
            s.virtual_address,
            s.raw_size
        )?;
    }
    for rid in 1..=module.row_count(TableId::AssemblyRef) {
        let r = module.assembly_ref(rid)?;
        writeln!(
            out,
            "reference:   {}, Version={}{}",
            r.name,
            version(r.version),
            culture(r.culture)
        )?;
    }
    for rid in 1..=module.row_count(TableId::ManifestResource) {
        let r = module.manifest_resource(rid)?;
        let size = module.manifest_resource_data(rid)?.map(<[u8]>::len);
        match size {
            Some(size) => writeln!(out, "resource:    {} ({size} bytes)", r.name)?,
            None => writeln!(out, "resource:    {} (in another file)", r.name)?,
        }
    }
    let s = crate::visit::visit_everything(module)?;
    writeln!(
        out,
        "contents:    {} types, {} fields, {} methods, {} rows",
        s.types, s.fields, s.methods, s.rows
    )?;
    writeln!(
        out,
        "code:        {} bodies, {} bytes, {} instructions, {} exception clauses",
        s.bodies, s.il_bytes, s.instructions, s.clauses
    )?;
    writeln!(
        out,
        "everything decodes: {} signatures, {} attributes",
        s.signatures, s.attributes
    )?;
    Ok(())
}

fn version(v: (u16, u16, u16, u16)) -> String {
    format!("{}.{}.{}.{}", v.0, v.1, v.2, v.3)
}

fn culture(c: &str) -> String {
    if c.is_empty() {
        String::new()
    } else {
        format!(", Culture={c}")
    }
}

/// A GUID in its usual form; the first three groups are little-endian.
fn guid_text(g: &[u8; 16]) -> String {
    let hex = |bytes: &mut dyn Iterator<Item = &u8>| bytes.map(|b| format!("{b:02x}")).collect::<String>();
    [
        hex(&mut g[..4].iter().rev()),
        hex(&mut g[4..6].iter().rev()),
        hex(&mut g[6..8].iter().rev()),
        hex(&mut g[8..10].iter()),
        hex(&mut g[10..].iter()),
    ]
    .join("-")
}

/// Types with their kind, base and number of members, one per line.
pub fn types(module: &Module, out: &mut dyn Write) -> Outcome {
    let names = Names::new(module);
    for rid in 1..=module.row_count(TableId::TypeDef) {
        let row = module.type_def(rid)?;
        let token = Token::new(TableId::TypeDef, rid);
        write!(
            out,
            "{token} {} {}",
            type_kind(module, row.flags, row.extends),
            names.type_token(token)
        )?;
        if !row.extends.is_nil() {
            write!(out, " : {}", names.type_token(row.extends))?;
        }
        let interfaces = module.interface_impls(rid).len();
        let (fields, methods) = (row.field_list.len(), row.method_list.len());
        writeln!(out, " ({fields} fields, {methods} methods, {interfaces} interfaces)")?;
    }
    Ok(())
}

fn type_kind(module: &Module, flags: TypeAttributes, extends: Token) -> &'static str {
    if flags.contains(TypeAttributes::INTERFACE) {
        return "interface";
    }
    match module.type_name(extends) {
        Ok(("System", "Enum")) => "enum",
        Ok(("System", "ValueType")) => "struct",
        Ok(("System", "MulticastDelegate")) => "delegate",
        _ => "class",
    }
}

/// Methods with their signature and code size, one per line.
pub fn methods(module: &Module, out: &mut dyn Write) -> Outcome {
    let names = Names::new(module);
    for rid in 1..=module.row_count(TableId::MethodDef) {
        let row = module.method_def(rid)?;
        let token = Token::new(TableId::MethodDef, rid);
        write!(out, "{token} {}", names.token(token))?;
        if let Some(import) = module.impl_map_of(rid) {
            let library = module.module_ref(import.import_scope).map_or("?", |r| r.name);
            let name = if import.import_name.is_empty() {
                row.name
            } else {
                import.import_name
            };
            write!(out, " [imports {library}!{name}]")?;
        }
        match module.method_body(rid) {
            Ok(Some(body)) => writeln!(out, " [{} bytes of IL]", body.code.len())?,
            Ok(None) | Err(Error::Unsupported { .. }) => {
                writeln!(out, " [no IL, implementation flags {:#x}]", row.impl_flags.bits())?
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Tables with their row counts and sizes.
pub fn tables(module: &Module, out: &mut dyn Write) -> Outcome {
    writeln!(
        out,
        "{:<4} {:<24} {:>8} {:>8} {:>10}",
        "id", "table", "rows", "row size", "bytes"
    )?;
    for table in TableId::ALL {
        let (rows, size) = (module.row_count(*table), module.row_size(*table));
        if rows != 0 {
            let bytes = rows as usize * size;
            writeln!(
                out,
                "{:#04x} {:<24} {rows:>8} {size:>8} {bytes:>10}",
                *table as u8,
                table.name()
            )?;
        }
    }
    Ok(())
}

/// All rows of one table with raw cell values in hexadecimal.
pub fn table_rows(module: &Module, table: TableId, out: &mut dyn Write) -> Outcome {
    let columns: Vec<&str> = schema::columns(table).iter().map(|c| c.0).collect();
    writeln!(out, "{}: {}", table.name(), columns.join(", "))?;
    for rid in 1..=module.row_count(table) {
        let cells: Vec<String> = module.raw_row(table, rid)?.iter().map(|c| format!("{c:x}")).collect();
        writeln!(out, "{rid:>6}: {}", cells.join(" "))?;
    }
    Ok(())
}

/// Disassembles every method of that name: `Namespace.Type::Method`, nested types after `+` or `/`.
pub fn il(module: &Module, method: &str, out: &mut dyn Write) -> Outcome {
    let Some((type_name, method_name)) = method.rsplit_once("::") else {
        return Err(InspectError::Name(method.to_owned()));
    };
    let type_rid = module.find_type_by_reflection_name(&type_name.replace('/', "+"));
    let not_found = |what, name: &str| InspectError::NotFound {
        what,
        name: name.to_owned(),
    };
    let type_rid = type_rid.ok_or_else(|| not_found("type", type_name))?;
    let mut found = false;
    for rid in module.type_def(type_rid)?.method_list {
        if module.method_def(rid)?.name == method_name {
            found = true;
            disassemble(module, rid, out)?;
        }
    }
    if found {
        Ok(())
    } else {
        Err(not_found("method", method))
    }
}

/// Disassembles one method (MethodDef row).
pub fn disassemble(module: &Module, rid: u32, out: &mut dyn Write) -> Outcome {
    let names = Names::new(module);
    let row = module.method_def(rid)?;
    let token = Token::new(TableId::MethodDef, rid);
    writeln!(out, "{}{}", modifiers(row.flags), names.token(token))?;
    writeln!(out, "{{")?;
    writeln!(
        out,
        "  // token {token}, RVA {:#x}, implementation {:?}",
        row.rva, row.impl_flags
    )?;
    if let Some(body) = module.method_body(rid)? {
        write_body(module, &names, &body, out)?;
    }
    writeln!(out, "}}")?;
    Ok(())
}

fn modifiers(flags: MethodAttributes) -> String {
    let access = match flags & MethodAttributes::MEMBER_ACCESS_MASK {
        MethodAttributes::PUBLIC => "public ",
        MethodAttributes::FAM_OR_ASSEM => "famorassem ",
        MethodAttributes::FAMILY => "family ",
        MethodAttributes::ASSEM => "assembly ",
        MethodAttributes::FAM_AND_ASSEM => "famandassem ",
        MethodAttributes::PRIVATE => "private ",
        _ => "privatescope ",
    };
    let words = [
        (MethodAttributes::STATIC, "static "),
        (MethodAttributes::ABSTRACT, "abstract "),
        (MethodAttributes::VIRTUAL, "virtual "),
        (MethodAttributes::FINAL, "final "),
        (MethodAttributes::NEW_SLOT, "newslot "),
        (MethodAttributes::PINVOKE_IMPL, "pinvokeimpl "),
    ];
    let set = words.iter().filter(|(f, _)| flags.contains(*f)).map(|(_, w)| *w);
    std::iter::once(access).chain(set).collect()
}

fn write_body(module: &Module, names: &Names<'_>, body: &MethodBody<'_>, out: &mut dyn Write) -> Outcome {
    writeln!(out, "  .maxstack {}", body.max_stack)?;
    if let Some(token) = body.local_var_sig {
        let blob = module.stand_alone_sig(token.rid())?.signature;
        let locals = sig::parse_locals(blob).map_err(|e| module.signature_error(blob, e))?;
        writeln!(out, "  .locals{}", if body.init_locals { " init" } else { "" })?;
        for (i, ty) in locals.iter().enumerate() {
            writeln!(out, "    [{i}] {}", names.type_sig(ty))?;
        }
    }
    for instruction in Decoder::new(body.code) {
        let i = instruction.map_err(|e| module.il_error(body.code, e))?;
        write_edges(names, body, i.offset, out)?;
        writeln!(out, "  {}", instruction_text(names, &i))?;
    }
    write_edges(names, body, body.code.len() as u32, out)
}

/// Marks where exception regions begin and end.
fn write_edges(names: &Names<'_>, body: &MethodBody<'_>, offset: u32, out: &mut dyn Write) -> Outcome {
    for c in &body.clauses {
        if c.try_offset + c.try_length == offset {
            writeln!(out, "  // end of try IL_{:04x}", c.try_offset)?;
        }
        if c.handler_offset + c.handler_length == offset {
            writeln!(out, "  // end of handler IL_{:04x}", c.handler_offset)?;
        }
    }
    // Outer regions come later in the list and begin first.
    for c in body.clauses.iter().rev() {
        if c.try_offset == offset {
            writeln!(out, "  // try, handler at IL_{:04x}", c.handler_offset)?;
        }
        if matches!(c.kind, EhKind::Filter { filter_offset } if filter_offset == offset) {
            writeln!(out, "  // filter of try IL_{:04x}", c.try_offset)?;
        }
        if c.handler_offset == offset {
            let kind = match c.kind {
                EhKind::Catch(token) => format!("catch {}", names.type_token(token)),
                EhKind::Filter { .. } => "filter handler".to_owned(),
                EhKind::Finally => "finally".to_owned(),
                EhKind::Fault => "fault".to_owned(),
            };
            writeln!(out, "  // {kind} of try IL_{:04x}", c.try_offset)?;
        }
    }
    Ok(())
}

/// One instruction as text, its tokens resolved to names: `IL_0004: call void System.Console::WriteLine(string)`.
pub fn instruction_text(names: &Names<'_>, i: &Instruction) -> String {
    let operand = match &i.operand {
        Operand::None => String::new(),
        Operand::I8(v) => v.to_string(),
        Operand::U8(v) => v.to_string(),
        Operand::U16(v) => v.to_string(),
        Operand::I32(v) => v.to_string(),
        Operand::I64(v) => v.to_string(),
        Operand::F32(bits) => format!("{:?}", f32::from_bits(*bits)),
        Operand::F64(bits) => format!("{:?}", f64::from_bits(*bits)),
        Operand::Token(t) | Operand::String(t) => names.token(*t),
        Operand::Branch(target) => format!("IL_{target:04x}"),
        Operand::Switch(targets) => {
            let targets: Vec<String> = targets.iter().map(|t| format!("IL_{t:04x}")).collect();
            format!("({})", targets.join(", "))
        }
    };
    let text = format!("IL_{:04x}: {} {operand}", i.offset, i.opcode.mnemonic());
    text.trim_end().to_owned()
}

/// Signature text of a field, for views that list fields.
pub fn field_text(module: &Module, rid: u32) -> Result<String, InspectError> {
    let row = module.field(rid)?;
    let ty: TypeSig = sig::parse_field(row.signature).map_err(|e| module.signature_error(row.signature, e))?;
    Ok(format!("{} {}", Names::new(module).type_sig(&ty), row.name))
}
