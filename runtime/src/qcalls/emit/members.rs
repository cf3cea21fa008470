//! Members: methods and their bodies, fields, properties, events, and references to members.

use super::{bytes, open, text};
use crate::error::{VmResult, qcall_body};
use crate::icalls::reflection::support::method_arg;
use crate::qcall_table;
use crate::qcalls::reflection::handles::{QCallModule, QCallType};
use corten_loader::Module;
use corten_metadata::writer::Writer;
use corten_metadata::{TableId, Token};

/// Row of the type that a definition goes to; nil stands for the global type.
fn owner_row(owner: u32) -> u32 {
    Token(owner).rid().max(1)
}

extern "C" fn define_method(
    m: QCallModule,
    owner: u32,
    name: *const u16,
    sig: *const u8,
    length: i32,
    flags: u32,
) -> u32 {
    qcall_body(|_| {
        let (_, mut w) = open(m)?;
        // Managed code may not set the reserved flags; these names imply them (ECMA-335 II.10.5).
        const SPECIAL: u32 = 0x1800;
        let name = text(name);
        let flags = if matches!(&*name, ".ctor" | ".cctor") {
            flags | SPECIAL
        } else {
            flags
        };
        let (name, sig) = (w.string(&name), w.blob(bytes(sig, length)));
        Ok(
            w.add_owned(TableId::MethodDef, owner_row(owner), &[0, 0, flags, name, sig])
                .0,
        )
    })
}

extern "C" fn define_field(
    m: QCallModule,
    owner: u32,
    name: *const u16,
    sig: *const u8,
    length: i32,
    flags: u32,
) -> u32 {
    qcall_body(|_| {
        let (_, mut w) = open(m)?;
        const SPECIAL: u32 = 0x600;
        let name = text(name);
        let flags = if name == "value__" { flags | SPECIAL } else { flags };
        let (name, sig) = (w.string(&name), w.blob(bytes(sig, length)));
        Ok(w.add_owned(TableId::Field, owner_row(owner), &[flags, name, sig]).0)
    })
}

/// Map row of a type.
fn map(w: &mut Writer, table: TableId, owner: u32) -> u32 {
    w.add_unique(table, &[Token(owner).rid()]).rid()
}

extern "C" fn define_property(
    m: QCallModule,
    owner: u32,
    name: *const u16,
    flags: u32,
    sig: *const u8,
    length: i32,
) -> u32 {
    qcall_body(|_| {
        let (_, mut w) = open(m)?;
        let (name, sig) = (w.string(&text(name)), w.blob(bytes(sig, length)));
        let owner = map(&mut w, TableId::PropertyMap, owner);
        Ok(w.add_owned(TableId::Property, owner, &[flags, name, sig]).0)
    })
}

extern "C" fn define_event(m: QCallModule, owner: u32, name: *const u16, flags: u32, ty: u32) -> u32 {
    qcall_body(|_| {
        let (_, mut w) = open(m)?;
        let name = w.string(&text(name));
        let owner = map(&mut w, TableId::EventMap, owner);
        Ok(
            w.add_owned(TableId::Event, owner, &[flags, name, Writer::type_ref_cell(Token(ty))])
                .0,
        )
    })
}

extern "C" fn define_semantics(m: QCallModule, association: u32, semantics: u32, method: u32) {
    qcall_body(|_| {
        let cells = [
            semantics,
            Token(method).rid(),
            Writer::semantics_cell(Token(association)),
        ];
        open(m)?.1.add(TableId::MethodSemantics, &cells);
        Ok(())
    });
}

extern "C" fn define_method_impl(m: QCallModule, ty: u32, body: u32, declaration: u32) {
    qcall_body(|_| {
        let cells = [
            Token(ty).rid(),
            Writer::method_cell(Token(body)),
            Writer::method_cell(Token(declaration)),
        ];
        open(m)?.1.add(TableId::MethodImpl, &cells);
        Ok(())
    });
}

extern "C" fn define_method_spec(m: QCallModule, method: u32, sig: *const u8, length: i32) -> u32 {
    qcall_body(|_| {
        let (_, mut w) = open(m)?;
        let sig = w.blob(bytes(sig, length));
        Ok(
            w.add_unique(TableId::MethodSpec, &[Writer::method_cell(Token(method)), sig])
                .0,
        )
    })
}

extern "C" fn set_method_impl(m: QCallModule, method: u32, flags: u32) {
    qcall_body(|_| {
        open(m)?.1.set(Token(method), 1, flags);
        Ok(())
    });
}

extern "C" fn set_param_info(m: QCallModule, method: u32, sequence: u32, flags: u32, name: *const u16) -> u32 {
    qcall_body(|_| {
        let (_, mut w) = open(m)?;
        let name = w.string(&text(name));
        let method = Token(method).rid();
        Ok(match w.find_param(method, sequence) {
            Some(token) => {
                w.set(token, 0, flags);
                w.set(token, 2, name);
                token.0
            }
            None => w.add_owned(TableId::Param, method, &[flags, sequence, name]).0,
        })
    })
}

/// `System.Reflection.Emit.ExceptionHandler` (contract/fieldlayout.tsv).
#[repr(C)]
struct Handler {
    class: u32,
    try_start: u32,
    try_end: u32,
    filter: u32,
    handler_start: u32,
    handler_end: u32,
    kind: u32,
}

extern "C" fn set_method_il(
    m: QCallModule,
    method: u32,
    init_locals: i32,
    code: *const u8,
    code_length: i32,
    locals: *const u8,
    locals_length: i32,
    max_stack: i32,
    handlers: *const Handler,
    handler_count: i32,
    _fixups: *const i32,
    _fixup_count: i32,
) {
    const FAT: u16 = 0x3003;
    const INIT_LOCALS: u16 = 0x10;
    const MORE_SECTIONS: u16 = 8;
    const FAT_EH_SECTION: u32 = 0x41;
    qcall_body(|_| {
        let (_, mut w) = open(m)?;
        let code = bytes(code, code_length);
        let locals = bytes(locals, locals_length);
        let locals = if locals.is_empty() {
            0
        } else {
            let blob = w.blob(locals);
            w.add_unique(TableId::StandAloneSig, &[blob]).0
        };
        let handlers: &[Handler] = if handlers.is_null() || handler_count <= 0 {
            &[]
        } else {
            // SAFETY: managed code passes a pinned array and its length.
            unsafe { std::slice::from_raw_parts(handlers, handler_count as usize) }
        };
        let mut flags = FAT;
        if init_locals != 0 {
            flags |= INIT_LOCALS;
        }
        if !handlers.is_empty() {
            flags |= MORE_SECTIONS;
        }
        let mut body = Vec::with_capacity(code.len() + 12);
        body.extend_from_slice(&flags.to_le_bytes());
        body.extend_from_slice(&(max_stack.clamp(0, 0xffff) as u16).to_le_bytes());
        body.extend_from_slice(&(code.len() as u32).to_le_bytes());
        body.extend_from_slice(&locals.to_le_bytes());
        body.extend_from_slice(code);
        if !handlers.is_empty() {
            body.resize(body.len().next_multiple_of(4), 0);
            let mut word = |v: u32| body.extend_from_slice(&v.to_le_bytes());
            word((handlers.len() as u32 * 24 + 4) << 8 | FAT_EH_SECTION);
            for h in handlers {
                word(h.kind);
                word(h.try_start);
                word(h.try_end.wrapping_sub(h.try_start));
                word(h.handler_start);
                word(h.handler_end.wrapping_sub(h.handler_start));
                word(if h.kind == 1 { h.filter } else { h.class });
            }
        }
        let rva = w.data(&body);
        w.set(Token(method), 0, rva);
        Ok(())
    });
}

extern "C" fn set_pinvoke_data(m: QCallModule, dll: *const u16, name: *const u16, method: u32, flags: u32) {
    qcall_body(|_| {
        let (_, mut w) = open(m)?;
        let (dll, name) = (w.string(&text(dll)), w.string(&text(name)));
        let scope = w.add_unique(TableId::ModuleRef, &[dll]).rid();
        w.add(
            TableId::ImplMap,
            &[flags, Writer::forwarded_cell(Token(method)), name, scope],
        );
        Ok(())
    });
}

extern "C" fn set_field_offset(m: QCallModule, field: u32, offset: u32) {
    qcall_body(|_| {
        let (_, mut w) = open(m)?;
        match w.find(TableId::FieldLayout, 1, Token(field).rid()) {
            Some(row) => w.set(row, 0, offset),
            None => drop(w.add(TableId::FieldLayout, &[offset, Token(field).rid()])),
        }
        Ok(())
    });
}

extern "C" fn set_field_rva(m: QCallModule, field: u32, data: *const u8, length: i32) {
    const HAS_RVA: u32 = 0x100;
    qcall_body(|_| {
        let (_, mut w) = open(m)?;
        let rva = w.data(bytes(data, length));
        w.add(TableId::FieldRva, &[rva, Token(field).rid()]);
        let flags = w.cell(Token(field), 0) | HAS_RVA;
        w.set(Token(field), 0, flags);
        Ok(())
    });
}

extern "C" fn set_constant(m: QCallModule, on: u32, element: u32, value: *const u8) {
    qcall_body(|_| {
        let (_, mut w) = open(m)?;
        let units;
        let value = match element {
            0x02 | 0x04 | 0x05 => bytes(value, 1),
            0x03 | 0x06 | 0x07 => bytes(value, 2),
            0x08 | 0x09 | 0x0c => bytes(value, 4),
            0x0a | 0x0b | 0x0d => bytes(value, 8),
            0x0e => {
                units = text(value.cast())
                    .encode_utf16()
                    .flat_map(u16::to_le_bytes)
                    .collect::<Vec<u8>>();
                &units[..]
            }
            _ => &[0; 4],
        };
        let blob = w.blob(value);
        let parent = Writer::constant_parent_cell(Token(on));
        w.add(TableId::Constant, &[element, parent, blob]);
        const HAS_DEFAULT: [(TableId, u32); 3] = [
            (TableId::Field, 0x8000),
            (TableId::Param, 0x1000),
            (TableId::Property, 0x1000),
        ];
        for (_, flag) in HAS_DEFAULT.into_iter().filter(|(t, _)| Token(on).is(*t)) {
            let flags = w.cell(Token(on), 0) | flag;
            w.set(Token(on), 0, flags);
        }
        Ok(())
    });
}

fn member_ref(m: QCallModule, parent: u32, name: &str, sig: &[u8]) -> VmResult<u32> {
    let (_, mut w) = open(m)?;
    let (name, sig) = (w.string(name), w.blob(sig));
    Ok(w.add_unique(
        TableId::MemberRef,
        &[Writer::member_parent_cell(Token(parent)), name, sig],
    )
    .0)
}

extern "C" fn member_ref_from_sig(m: QCallModule, parent: u32, name: *const u16, sig: *const u8, length: i32) -> u32 {
    qcall_body(|_| member_ref(m, parent, &text(name), bytes(sig, length)))
}

extern "C" fn array_method(m: QCallModule, spec: u32, name: *const u16, sig: *const u8, length: i32) -> u32 {
    qcall_body(|_| member_ref(m, spec, &text(name), bytes(sig, length)))
}

extern "C" fn member_ref_of_method(m: QCallModule, parent: u32, method: usize) -> u32 {
    qcall_body(|_| {
        let md = method_arg(method)?;
        let sig = m.module()?.import_signature(md.module(), md.signature_blob())?;
        member_ref(m, parent, md.name(), &sig)
    })
}

/// Name and signature of a MethodDef or Field as far as it is defined.
fn describe(from: &'static Module, token: Token) -> VmResult<(String, Vec<u8>)> {
    let column = if token.is(TableId::Field) { 1 } else { 3 };
    if let Some(scope) = from.dynamic_scope() {
        let w = scope.writer();
        return Ok((w.string_at(w.cell(token, column)), w.blob_at(w.cell(token, column + 1))));
    }
    let (md, bad) = (from.metadata(), |e| from.bad_image(e));
    Ok(if token.is(TableId::Field) {
        let row = md.field(token.rid()).map_err(bad)?;
        (row.name.to_owned(), row.signature.to_vec())
    } else {
        let row = md.method_def(token.rid()).map_err(bad)?;
        (row.name.to_owned(), row.signature.to_vec())
    })
}

extern "C" fn member_ref_of_token(m: QCallModule, from: QCallModule, parent: u32, token: u32) -> u32 {
    qcall_body(|_| {
        let from = from.module()?;
        let (name, sig) = describe(from, Token(token))?;
        let sig = m.module()?.import_signature(from, &sig)?;
        member_ref(m, parent, &name, &sig)
    })
}

extern "C" fn member_ref_of_field(m: QCallModule, parent: u32, owner: QCallType, field: u32) -> u32 {
    qcall_body(|_| {
        let from = owner.table()?.module();
        let (name, sig) = describe(from, Token(field))?;
        let sig = m.module()?.import_signature(from, &sig)?;
        member_ref(m, parent, &name, &sig)
    })
}

qcall_table! {
    /// Members of reflection emit.
    TABLE:
    "TypeBuilder_DefineMethod" => define_method,
    "TypeBuilder_DefineField" => define_field,
    "TypeBuilder_DefineProperty" => define_property,
    "TypeBuilder_DefineEvent" => define_event,
    "TypeBuilder_DefineMethodSemantics" => define_semantics,
    "TypeBuilder_DefineMethodImpl" => define_method_impl,
    "TypeBuilder_DefineMethodSpec" => define_method_spec,
    "TypeBuilder_SetMethodImpl" => set_method_impl,
    "TypeBuilder_SetMethodIL" => set_method_il,
    "TypeBuilder_SetParamInfo" => set_param_info,
    "TypeBuilder_SetPInvokeData" => set_pinvoke_data,
    "TypeBuilder_SetFieldLayoutOffset" => set_field_offset,
    "TypeBuilder_SetConstantValue" => set_constant,
    "ModuleBuilder_SetFieldRVAContent" => set_field_rva,
    "ModuleBuilder_GetMemberRefFromSignature" => member_ref_from_sig,
    "ModuleBuilder_GetArrayMethodToken" => array_method,
    "ModuleBuilder_GetMemberRefOfMethodInfo" => member_ref_of_method,
    "ModuleBuilder_GetMemberRefOfFieldInfo" => member_ref_of_field,
    "ModuleBuilder_GetMemberRef" => member_ref_of_token,
}
