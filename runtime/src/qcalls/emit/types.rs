//! Definitions: types, generic parameters, layout, references to types, and their completion.

use super::{bytes, open, text, tokens};
use crate::error::qcall_body;
use crate::qcall_table;
use crate::qcalls::reflection::handles::{ObjectHandle, QCallModule};
use crate::qcalls::reflection::load_context;
use crate::type_objects::type_object;
use corten_metadata::writer::Writer;
use corten_metadata::{TableId, Token};

/// Namespace and name of a full name.
fn split(full: &str) -> (&str, &str) {
    match full.rfind('.') {
        // A name may begin with a dot.
        Some(at) if at > 0 => (&full[..at], &full[at + 1..]),
        _ => ("", full),
    }
}

extern "C" fn define_type(
    module: QCallModule,
    name: *const u16,
    parent: u32,
    attributes: u32,
    enclosing: u32,
    interfaces: *const u32,
) -> u32 {
    qcall_body(|_| {
        let (_, mut w) = open(module)?;
        let full = text(name);
        let (namespace, name) = split(&full);
        let (name, namespace) = (w.string(name), w.string(namespace));
        let token = w.add(
            TableId::TypeDef,
            &[attributes, name, namespace, Writer::type_ref_cell(Token(parent))],
        );
        if Token(enclosing).rid() != 0 {
            w.add(TableId::NestedClass, &[token.rid(), Token(enclosing).rid()]);
        }
        for i in tokens(interfaces) {
            w.add_unique(TableId::InterfaceImpl, &[token.rid(), Writer::type_ref_cell(Token(i))]);
        }
        Ok(token.0)
    })
}

extern "C" fn add_interface_impl(module: QCallModule, ty: u32, interface: u32) {
    qcall_body(|_| {
        let (_, mut w) = open(module)?;
        w.add_unique(
            TableId::InterfaceImpl,
            &[Token(ty).rid(), Writer::type_ref_cell(Token(interface))],
        );
        Ok(())
    });
}

extern "C" fn set_parent_type(module: QCallModule, ty: u32, parent: u32) {
    qcall_body(|_| {
        open(module)?.1.set(Token(ty), 3, Writer::type_ref_cell(Token(parent)));
        Ok(())
    });
}

extern "C" fn set_class_layout(module: QCallModule, ty: u32, packing: u32, size: u32) {
    qcall_body(|_| {
        let (_, mut w) = open(module)?;
        match w.find(TableId::ClassLayout, 2, Token(ty).rid()) {
            Some(row) => {
                w.set(row, 0, packing);
                w.set(row, 1, size);
            }
            None => drop(w.add(TableId::ClassLayout, &[packing, size, Token(ty).rid()])),
        }
        Ok(())
    });
}

extern "C" fn define_generic_param(
    module: QCallModule,
    name: *const u16,
    owner: u32,
    attributes: u32,
    position: u32,
    constraints: *const u32,
) -> u32 {
    qcall_body(|_| {
        let (_, mut w) = open(module)?;
        let name = w.string(&text(name));
        let owner = Writer::generic_owner_cell(Token(owner));
        let token = w.add(TableId::GenericParam, &[position, attributes, owner, name]);
        for c in tokens(constraints) {
            w.add(
                TableId::GenericParamConstraint,
                &[token.rid(), Writer::type_ref_cell(Token(c))],
            );
        }
        Ok(token.0)
    })
}

extern "C" fn term_create_class(module: QCallModule, ty: u32, result: ObjectHandle) {
    qcall_body(|_| {
        let module = module.module()?;
        let rid = Token(ty).rid().max(1);
        let mut asked = Vec::new();
        let mt = loop {
            match module.create_type(rid) {
                Ok(mt) => break mt,
                Err(e) => match e.unfinished_type() {
                    Some(name) if !asked.iter().any(|n| n == name) => {
                        asked.push(name.to_owned());
                        if !load_context::resolve_type(module, name)? {
                            return Err(e.into());
                        }
                    }
                    _ => return Err(e.into()),
                },
            }
        };
        result.set(type_object(mt.handle()));
        Ok(())
    });
}

extern "C" fn get_type_ref(module: QCallModule, name: *const u16, target: QCallModule, scope: u32) -> u32 {
    qcall_body(|_| {
        let (target, full) = (target.module()?, text(name));
        let (me, w) = open(module)?;
        drop(w);
        let scope = if Token(scope).rid() != 0 {
            Token(scope)
        } else if target == me {
            Token(1)
        } else {
            me.reference_assembly(crate::icalls::reflection::support::assembly_of(target)?)?
        };
        let (_, mut w) = open(module)?;
        let (namespace, name) = split(&full);
        let (name, namespace) = (w.string(name), w.string(namespace));
        Ok(
            w.add_unique(TableId::TypeRef, &[Writer::scope_cell(scope), name, namespace])
                .0,
        )
    })
}

extern "C" fn token_from_type_spec(module: QCallModule, sig: *const u8, length: i32) -> u32 {
    qcall_body(|_| {
        let (_, mut w) = open(module)?;
        let blob = w.blob(bytes(sig, length));
        Ok(w.add_unique(TableId::TypeSpec, &[blob]).0)
    })
}

extern "C" fn token_from_sig(module: QCallModule, sig: *const u8, length: i32) -> u32 {
    qcall_body(|_| {
        let (_, mut w) = open(module)?;
        let blob = w.blob(bytes(sig, length));
        Ok(w.add_unique(TableId::StandAloneSig, &[blob]).0)
    })
}

extern "C" fn string_constant(module: QCallModule, text: *const u16, length: i32) -> u32 {
    qcall_body(|_| {
        let (_, mut w) = open(module)?;
        let units: Vec<u16> = bytes(text.cast(), length.saturating_mul(2))
            .chunks_exact(2)
            .map(|c| u16::from_le_bytes([c[0], c[1]]))
            .collect();
        Ok(w.user_string(&units).0)
    })
}

extern "C" fn define_custom_attribute(module: QCallModule, on: u32, ctor: u32, value: *const u8, length: i32) {
    qcall_body(|_| {
        let (me, mut w) = open(module)?;
        let on = Token(on);
        if super::pseudo::translate(&mut w, on, Token(ctor), bytes(value, length)) {
            return Ok(());
        }
        let blob = w.blob(bytes(value, length));
        let (parent, ctor) = (
            Writer::attribute_parent_cell(on),
            Writer::attribute_ctor_cell(Token(ctor)),
        );
        w.add(TableId::CustomAttribute, &[parent, ctor, blob]);
        drop(w);
        let created = on.is(TableId::TypeDef) && me.dynamic_scope().is_some_and(|s| s.is_created(on.rid()));
        if created || on.is(TableId::Module) || on.is(TableId::Assembly) {
            me.commit()?;
        }
        Ok(())
    });
}

qcall_table! {
    /// Types of reflection emit.
    TABLE:
    "TypeBuilder_DefineType" => define_type,
    "TypeBuilder_AddInterfaceImpl" => add_interface_impl,
    "TypeBuilder_SetParentType" => set_parent_type,
    "TypeBuilder_SetClassLayout" => set_class_layout,
    "TypeBuilder_DefineGenericParam" => define_generic_param,
    "TypeBuilder_TermCreateClass" => term_create_class,
    "TypeBuilder_DefineCustomAttribute" => define_custom_attribute,
    "TypeBuilder_GetTokenFromSig" => token_from_sig,
    "ModuleBuilder_GetTypeRef" => get_type_ref,
    "ModuleBuilder_GetTokenFromTypeSpec" => token_from_type_spec,
    "ModuleBuilder_GetStringConstant" => string_constant,
}
