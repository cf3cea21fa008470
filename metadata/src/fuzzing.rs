//! Oracles of the fuzz targets, also called by the bounded tests of this crate. Each takes any bytes and must return.

use crate::attribute::{self, ArgumentType, EnumRef, Primitive};
use crate::module::Module;
use crate::pdb::PortablePdb;
use crate::token::{TableId, Token};
use crate::{Decoder, body, inspect, sig, visit};

/// Opens an image and visits and prints everything in it. True if it was accepted.
pub fn image(data: &[u8]) -> bool {
    // As a PDB too: it has the same root and tables.
    if let Ok(pdb) = PortablePdb::from_bytes(data) {
        for rid in 1..=pdb.row_count(TableId::Document).min(1000) {
            let _ = pdb.document_name(rid);
        }
        for rid in 1..=pdb.row_count(TableId::MethodDebugInformation).min(1000) {
            let _ = pdb.sequence_points(rid);
        }
    }
    let Ok(module) = Module::from_bytes(data, "fuzz") else {
        return false;
    };
    let accepted = visit::visit_everything(&module).is_ok();
    let out = &mut std::io::sink();
    // Views stop at the first fault: that is their business. That they return is ours.
    let _ = inspect::overview(&module, out);
    let _ = inspect::types(&module, out);
    let _ = inspect::methods(&module, out);
    let _ = inspect::tables(&module, out);
    for rid in 1..=module.row_count(TableId::MethodDef).min(1000) {
        let _ = inspect::disassemble(&module, rid, out);
    }
    // Lookups with keys that may lie outside every table.
    for rid in 0..=module.row_count(TableId::TypeDef).min(1000) + 1 {
        let token = Token::new(TableId::TypeDef, rid);
        let _ = (
            module.enclosing_type(rid),
            module.nested_types(rid),
            module.class_layout_of(rid),
        );
        let _ = (
            module.properties_of(rid),
            module.events_of(rid),
            module.generic_params(token),
        );
        let _ = module.has_attribute(token, "System", "ObsoleteAttribute");
    }
    let _ = module.find_type_def("System", "Object");
    let _ = module.find_exported_type("System", "Object");
    accepted
}

/// Reads any bytes as every kind of signature and as an attribute value.
pub fn signature(data: &[u8]) {
    let _ = sig::parse_method(data);
    let _ = sig::parse_field(data);
    let _ = sig::parse_locals(data);
    let _ = sig::parse_type_spec(data);
    let _ = sig::parse_method_spec(data);
    let _ = sig::parse_property(data);
    let _ = sig::definition_of_type_spec(data);
    let types = [
        ArgumentType::Object,
        ArgumentType::String,
        ArgumentType::Array(Box::new(ArgumentType::Object)),
        ArgumentType::Enum(EnumRef::Name("E"), Primitive::I4),
    ];
    let mut resolver = |_: EnumRef<'_>| Some(Primitive::U1);
    for count in 0..=types.len() {
        let _ = attribute::parse_value(data, &types[..count], &mut resolver);
    }
}

/// Decodes any bytes as IL and as a method body with its header.
pub fn il(data: &[u8]) {
    let _ = Decoder::new(data).count();
    let _ = Decoder::new(data).decode_at(data.len() as u32 / 2);
    if let Ok(body) = body::parse(data, 0, Token::new(TableId::MethodDef, 1)) {
        let _ = Decoder::new(body.code).count();
    }
}
