//! `MetadataImport_Enum`: lists of tokens.

use super::handles::{ObjectHandle, put};
use crate::error::{VmResult, qcall_body};
use crate::icalls::reflection::support::{alloc_sz_array, corelib, raw_module};
use crate::qcall_table;
use corten_gc_hooks::object::array_data;
use corten_metadata::{Module as Metadata, TableId, Token};

/// Tokens of `table` that belong to `parent`.
fn children(m: &'static Metadata, table: TableId, parent: Token) -> Vec<Token> {
    let rid = parent.rid();
    // Positions equal rows for tables without lists.
    let tokens = |rids: std::ops::Range<u32>| {
        m.list_rows(table, rids)
            .map(|r| Token::new(table, r))
            .collect::<Vec<_>>()
    };
    let is_type = parent.is(TableId::TypeDef);
    match table {
        TableId::TypeDef if is_type => m.nested_types(rid).into_iter().map(|r| Token::new(table, r)).collect(),
        TableId::TypeDef => tokens(2..m.row_count(TableId::TypeDef) + 1),
        TableId::ExportedType
        | TableId::AssemblyRef
        | TableId::File
        | TableId::ManifestResource
        | TableId::ModuleRef => tokens(1..m.row_count(table) + 1),
        TableId::CustomAttribute => tokens(m.custom_attributes(parent)),
        TableId::Param => m.method_def(rid).map(|row| tokens(row.param_list)).unwrap_or_default(),
        TableId::Field => m.type_def(rid).map(|row| tokens(row.field_list)).unwrap_or_default(),
        TableId::MethodDef => m.type_def(rid).map(|row| tokens(row.method_list)).unwrap_or_default(),
        TableId::Property => tokens(m.properties_of(rid)),
        TableId::Event => tokens(m.events_of(rid)),
        TableId::GenericParam => tokens(m.generic_params(parent)),
        TableId::InterfaceImpl => tokens(m.interface_impls(rid)),
        _ => Vec::new(),
    }
}

/// Accessors of a property or event as managed code reads them: (method token, semantics) pairs.
fn associates(m: &'static Metadata, association: Token) -> Vec<u32> {
    m.semantics_of(association)
        .filter_map(|rid| m.method_semantics(rid).ok())
        .flat_map(|row| {
            [
                Token::new(TableId::MethodDef, row.method).0,
                u32::from(row.semantics.bits()),
            ]
        })
        .collect()
}

fn enumerate(handle: usize, kind: u32, parent: u32) -> VmResult<Vec<u32>> {
    let m = raw_module(handle)?.metadata();
    let (kind, parent) = (Token(kind), Token(parent));
    if kind.is(TableId::MethodDef) && (parent.is(TableId::Property) || parent.is(TableId::Event)) {
        return Ok(associates(m, parent));
    }
    Ok(match kind.table() {
        Some(table) => children(m, table, parent).into_iter().map(|t| t.0).collect(),
        None => Vec::new(),
    })
}

extern "C" fn enum_tokens(
    scope: usize,
    kind: u32,
    parent: u32,
    length: *mut i32,
    short_result: *mut u32,
    long_result: ObjectHandle,
) {
    qcall_body(|thread| {
        let tokens = enumerate(scope, kind, parent)?;
        // SAFETY: managed code passes the capacity of `short_result`.
        let capacity = unsafe { length.read() }.max(0) as usize;
        put(length, tokens.len() as i32);
        let to = if tokens.len() <= capacity {
            short_result
        } else {
            let array = alloc_sz_array(thread, corelib("System", "Int32")?, tokens.len())?;
            long_result.set(array);
            // SAFETY: a fresh int array.
            unsafe { array_data(array).cast::<u32>() }
        };
        // SAFETY: both places have room for that many tokens.
        unsafe { std::ptr::copy_nonoverlapping(tokens.as_ptr(), to, tokens.len()) };
        Ok(())
    });
}

qcall_table! {
    /// Metadata QCalls.
    TABLE:
    "MetadataImport_Enum" => enum_tokens,
}
