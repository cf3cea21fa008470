//! `System.Reflection.MetadataImport`: raw reads of a module's metadata. The scope handle is the address of the loader's
//! Module; results are HRESULTs; names and blobs are addresses inside the mapped image.

use super::support::{BAD_IMAGE, RECORD_NOT_FOUND, S_OK, module_arg, raw_module};
use crate::error::icall_body;
use crate::icall_table;
use corten_gc_hooks::object::ObjPtr;
use corten_metadata::{Module as Metadata, TableId, Token};

/// `System.Reflection.ConstArray`: length and address of a blob.
#[repr(C)]
#[derive(Debug)]
pub struct ConstArray {
    length: i32,
    data: *const u8,
}

fn scope(handle: usize) -> Option<&'static Metadata> {
    raw_module(handle).ok().map(|m| m.metadata())
}

/// Stores through an `out` parameter.
fn put<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: managed code passes the address of a local for each `out` parameter.
        unsafe { to.write(value) }
    }
}

fn put_blob(to: *mut ConstArray, blob: &[u8]) {
    put(
        to,
        ConstArray {
            length: blob.len() as i32,
            data: if blob.is_empty() {
                std::ptr::null()
            } else {
                blob.as_ptr()
            },
        },
    );
}

/// Runs a read; a missing row or scope is an HRESULT.
fn reading(handle: usize, body: impl FnOnce(&'static Metadata) -> Option<i32>) -> i32 {
    match scope(handle) {
        Some(m) => body(m).unwrap_or(RECORD_NOT_FOUND),
        None => BAD_IMAGE,
    }
}

extern "C" fn get_metadata_import(module: ObjPtr) -> usize {
    icall_body(|_| Ok(std::ptr::from_ref(module_arg(module)?) as usize))
}

/// What managed code takes for "no constant".
const ELEMENT_VOID: i32 = 0x01;
const ELEMENT_CLASS: i32 = 0x12;
const ELEMENT_STRING: i32 = 0x0e;

extern "C" fn get_default_value(
    handle: usize,
    token: u32,
    value: *mut i64,
    text: *mut *const u16,
    length: *mut i32,
    element: *mut i32,
) -> i32 {
    put(value, 0);
    put(text, std::ptr::null());
    put(length, 0);
    put(element, 0);
    reading(handle, |m| {
        let Some(row) = m.constant_of(Token(token)) else {
            put(element, ELEMENT_VOID);
            return Some(S_OK);
        };
        let kind = i32::from(row.ty);
        put(element, kind);
        match kind {
            ELEMENT_STRING => {
                put(text, row.value.as_ptr().cast());
                put(length, row.value.len() as i32 / 2);
            }
            ELEMENT_CLASS => {}
            _ => {
                let mut bytes = [0u8; 8];
                let n = row.value.len().min(8);
                bytes[..n].copy_from_slice(&row.value[..n]);
                let raw = i64::from_le_bytes(bytes);
                // Signed kinds are sign-extended, as managed code narrows with a plain conversion either way.
                let signed = match kind {
                    0x04 => i64::from(raw as i8),
                    0x06 => i64::from(raw as i16),
                    0x08 => i64::from(raw as i32),
                    _ => raw,
                };
                put(value, signed);
            }
        }
        Some(S_OK)
    })
}

extern "C" fn get_user_string(handle: usize, token: u32, text: *mut *const u16, length: *mut i32) -> i32 {
    put(text, std::ptr::null());
    put(length, 0);
    reading(handle, |m| {
        let s = m.user_string(Token(token)).ok()?;
        put(text, s.bytes().as_ptr().cast());
        put(length, s.len() as i32);
        Some(S_OK)
    })
}

fn name_of(m: &'static Metadata, token: Token) -> Option<&'static str> {
    let rid = token.rid();
    Some(match token.table()? {
        TableId::Module => m.module_row().ok()?.name,
        TableId::TypeRef => m.type_ref(rid).ok()?.name,
        TableId::TypeDef => m.type_def(rid).ok()?.name,
        TableId::Field => m.field(rid).ok()?.name,
        TableId::MethodDef => m.method_def(rid).ok()?.name,
        TableId::Param => m.param(rid).ok()?.name,
        TableId::MemberRef => m.member_ref(rid).ok()?.name,
        TableId::Event => m.event(rid).ok()?.name,
        TableId::Property => m.property(rid).ok()?.name,
        TableId::ModuleRef => m.module_ref(rid).ok()?.name,
        TableId::AssemblyRef => m.assembly_ref(rid).ok()?.name,
        TableId::Assembly => m.assembly().ok()??.name,
        TableId::File => m.file(rid).ok()?.name,
        TableId::ExportedType => m.exported_type(rid).ok()?.name,
        TableId::ManifestResource => m.manifest_resource(rid).ok()?.name,
        TableId::GenericParam => m.generic_param(rid).ok()?.name,
        _ => return None,
    })
}

extern "C" fn get_name(handle: usize, token: u32, name: *mut *const u8) -> i32 {
    put(name, c"".as_ptr().cast());
    reading(handle, |m| {
        let n = name_of(m, Token(token))?;
        if !n.is_empty() {
            put(name, n.as_ptr());
        }
        Some(S_OK)
    })
}

extern "C" fn get_namespace(handle: usize, token: u32, namespace: *mut *const u8) -> i32 {
    put(namespace, c"".as_ptr().cast());
    reading(handle, |m| {
        let token = Token(token);
        let n = match token.table()? {
            TableId::TypeDef => m.type_def(token.rid()).ok()?.namespace,
            TableId::TypeRef => m.type_ref(token.rid()).ok()?.namespace,
            TableId::ExportedType => m.exported_type(token.rid()).ok()?.namespace,
            _ => return None,
        };
        if !n.is_empty() {
            put(namespace, n.as_ptr());
        }
        Some(S_OK)
    })
}

extern "C" fn get_event_props(handle: usize, token: u32, name: *mut *const u8, attributes: *mut i32) -> i32 {
    reading(handle, |m| {
        let row = m.event(Token(token).rid()).ok()?;
        put(name, row.name.as_ptr());
        put(attributes, i32::from(row.flags.bits()));
        Some(S_OK)
    })
}

extern "C" fn get_field_def_props(handle: usize, token: u32, attributes: *mut i32) -> i32 {
    reading(handle, |m| {
        put(attributes, i32::from(m.field(Token(token).rid()).ok()?.flags.bits()));
        Some(S_OK)
    })
}

extern "C" fn get_property_props(
    handle: usize,
    token: u32,
    name: *mut *const u8,
    attributes: *mut i32,
    signature: *mut ConstArray,
) -> i32 {
    reading(handle, |m| {
        let row = m.property(Token(token).rid()).ok()?;
        put(name, row.name.as_ptr());
        put(attributes, i32::from(row.flags.bits()));
        put_blob(signature, row.signature);
        Some(S_OK)
    })
}

fn parent_of(m: &'static Metadata, token: Token) -> Option<Token> {
    let rid = token.rid();
    let type_def = |rid: u32| Token::new(TableId::TypeDef, rid);
    Some(match token.table()? {
        TableId::TypeDef => m.enclosing_type(rid).map_or(Token::new(TableId::TypeDef, 0), type_def),
        TableId::MethodDef => type_def(m.owner_of_method(rid)?),
        TableId::Field => type_def(m.owner_of_field(rid)?),
        TableId::Property => type_def(m.owner_of_property(rid)?),
        TableId::Event => type_def(m.owner_of_event(rid)?),
        TableId::Param => Token::new(TableId::MethodDef, m.owner_of_param(rid)?),
        TableId::MemberRef => m.member_ref(rid).ok()?.class,
        TableId::MethodSpec => m.method_spec(rid).ok()?.method,
        TableId::TypeRef => m.type_ref(rid).ok()?.resolution_scope,
        TableId::CustomAttribute => m.custom_attribute(rid).ok()?.parent,
        TableId::GenericParam => m.generic_param(rid).ok()?.owner,
        _ => return None,
    })
}

extern "C" fn get_parent_token(handle: usize, token: u32, parent: *mut u32) -> i32 {
    put(parent, 0);
    reading(handle, |m| {
        put(parent, parent_of(m, Token(token))?.0);
        Some(S_OK)
    })
}

extern "C" fn get_param_def_props(handle: usize, token: u32, sequence: *mut i32, attributes: *mut i32) -> i32 {
    reading(handle, |m| {
        let row = m.param(Token(token).rid()).ok()?;
        put(sequence, i32::from(row.sequence));
        put(attributes, i32::from(row.flags.bits()));
        Some(S_OK)
    })
}

extern "C" fn get_generic_param_props(handle: usize, token: u32, flags: *mut i32) -> i32 {
    reading(handle, |m| {
        put(flags, i32::from(m.generic_param(Token(token).rid()).ok()?.flags.bits()));
        Some(S_OK)
    })
}

extern "C" fn get_scope_props(handle: usize, mvid: *mut [u8; 16]) -> i32 {
    reading(handle, |m| {
        put(mvid, m.mvid().ok()?);
        Some(S_OK)
    })
}

extern "C" fn get_sig_of_method_def(handle: usize, token: u32, signature: *mut ConstArray) -> i32 {
    reading(handle, |m| {
        put_blob(signature, m.method_def(Token(token).rid()).ok()?.signature);
        Some(S_OK)
    })
}

extern "C" fn get_signature_from_token(handle: usize, token: u32, signature: *mut ConstArray) -> i32 {
    reading(handle, |m| {
        let token = Token(token);
        let blob = match token.table()? {
            TableId::StandAloneSig => m.stand_alone_sig(token.rid()).ok()?.signature,
            TableId::TypeSpec => m.type_spec(token.rid()).ok()?.signature,
            TableId::MethodSpec => m.method_spec(token.rid()).ok()?.instantiation,
            _ => return None,
        };
        put_blob(signature, blob);
        Some(S_OK)
    })
}

extern "C" fn get_member_ref_props(handle: usize, token: u32, signature: *mut ConstArray) -> i32 {
    reading(handle, |m| {
        put_blob(signature, m.member_ref(Token(token).rid()).ok()?.signature);
        Some(S_OK)
    })
}

extern "C" fn get_custom_attribute_props(
    handle: usize,
    token: u32,
    constructor: *mut u32,
    blob: *mut ConstArray,
) -> i32 {
    reading(handle, |m| {
        let row = m.custom_attribute(Token(token).rid()).ok()?;
        put(constructor, row.ctor.0);
        put_blob(blob, row.value);
        Some(S_OK)
    })
}

extern "C" fn get_class_layout(handle: usize, token: u32, pack: *mut i32, size: *mut i32) -> i32 {
    put(pack, 0);
    put(size, 0);
    reading(handle, |m| {
        if let Some(row) = m.class_layout_of(Token(token).rid()) {
            put(pack, i32::from(row.packing_size));
            put(size, row.class_size as i32);
        }
        Some(S_OK)
    })
}

extern "C" fn get_field_offset(handle: usize, _class: u32, field: u32, offset: *mut i32, found: *mut u8) -> i32 {
    put(offset, 0);
    put(found, 0);
    reading(handle, |m| {
        if let Some(o) = m.field_offset(Token(field).rid()) {
            put(offset, o as i32);
            put(found, 1);
        }
        Some(S_OK)
    })
}

extern "C" fn get_sig_of_field_def(handle: usize, token: u32, signature: *mut ConstArray) -> i32 {
    reading(handle, |m| {
        put_blob(signature, m.field(Token(token).rid()).ok()?.signature);
        Some(S_OK)
    })
}

extern "C" fn get_field_marshal(handle: usize, token: u32, blob: *mut ConstArray) -> i32 {
    put_blob(blob, &[]);
    reading(handle, |m| {
        if let Some(native) = m.field_marshal_of(Token(token)) {
            put_blob(blob, native);
        }
        Some(S_OK)
    })
}

extern "C" fn get_pinvoke_map(
    handle: usize,
    token: u32,
    attributes: *mut i32,
    name: *mut *const u8,
    library: *mut *const u8,
) -> i32 {
    put(attributes, 0);
    put(name, c"".as_ptr().cast());
    put(library, c"".as_ptr().cast());
    reading(handle, |m| {
        let row = m.impl_map_of(Token(token).rid())?;
        put(attributes, i32::from(row.mapping_flags.bits()));
        if !row.import_name.is_empty() {
            put(name, row.import_name.as_ptr());
        }
        if let Ok(module) = m.module_ref(row.import_scope) {
            put(library, module.name.as_ptr());
        }
        Some(S_OK)
    })
}

extern "C" fn is_valid_token(handle: usize, token: u32) -> bool {
    scope(handle).is_some_and(|m| {
        let token = Token(token);
        if token.is_user_string() {
            m.user_string(token).is_ok()
        } else {
            !token.is_nil() && m.has_row(token)
        }
    })
}

/// Reader of native-type blobs (ECMA-335 II.23.4).
struct Native<'a> {
    blob: &'a [u8],
    at: usize,
}

impl<'a> Native<'a> {
    fn done(&self) -> bool {
        self.at >= self.blob.len()
    }
    fn number(&mut self) -> Option<u32> {
        let mut reader = corten_metadata::sig::SigReader::new(self.blob.get(self.at..)?);
        let n = reader.unsigned().ok()?;
        self.at += reader.position();
        Some(n)
    }
    /// A counted string; managed code gets its first byte and reads to a NUL, so it is copied with one.
    fn text(&mut self) -> Option<*const u8> {
        let n = self.number()? as usize;
        let bytes: &'a [u8] = self.blob.get(self.at..self.at + n)?;
        self.at += n;
        let mut copy = bytes.to_vec();
        copy.push(0);
        Some(Box::leak(copy.into_boxed_slice()).as_ptr())
    }
}

#[allow(clippy::too_many_arguments)]
extern "C" fn get_marshal_as(
    native: *const u8,
    length: i32,
    unmanaged: *mut i32,
    safe_array_sub: *mut i32,
    safe_array_user: *mut *const u8,
    array_sub: *mut i32,
    size_param: *mut i32,
    size_const: *mut i32,
    marshal_type: *mut *const u8,
    marshal_cookie: *mut *const u8,
    iid_param: *mut i32,
) -> bool {
    const FIXED_SYS_STRING: u32 = 0x17;
    const SAFE_ARRAY: u32 = 0x1d;
    const FIXED_ARRAY: u32 = 0x1e;
    const ARRAY: u32 = 0x2a;
    const CUSTOM: u32 = 0x2c;
    const INTERFACES: [u32; 3] = [0x19, 0x1a, 0x1c];
    /// NATIVE_TYPE_MAX: no element type given.
    const NONE: i32 = 0x50;
    put(unmanaged, 0);
    put(safe_array_sub, 0);
    put(safe_array_user, std::ptr::null());
    put(array_sub, 0);
    put(size_param, 0);
    put(size_const, 0);
    put(marshal_type, std::ptr::null());
    put(marshal_cookie, std::ptr::null());
    put(iid_param, 0);
    if native.is_null() || length <= 0 {
        return false;
    }
    // SAFETY: managed code passes a blob that it got from `GetFieldMarshal`.
    let blob = unsafe { std::slice::from_raw_parts(native, length as usize) };
    let mut r = Native { blob, at: 0 };
    let mut read = || -> Option<()> {
        let kind = r.number()?;
        put(unmanaged, kind as i32);
        match kind {
            FIXED_SYS_STRING => put(size_const, r.number()? as i32),
            SAFE_ARRAY => {
                if !r.done() {
                    put(safe_array_sub, r.number()? as i32);
                }
                if !r.done() {
                    put(safe_array_user, r.text()?);
                }
            }
            FIXED_ARRAY => {
                put(size_const, r.number()? as i32);
                put(array_sub, if r.done() { NONE } else { r.number()? as i32 });
            }
            ARRAY => {
                put(array_sub, if r.done() { NONE } else { r.number()? as i32 });
                if !r.done() {
                    put(size_param, r.number()? as i32);
                }
                if !r.done() {
                    put(size_const, r.number()? as i32);
                }
            }
            CUSTOM => {
                r.text()?;
                r.text()?;
                put(marshal_type, r.text()?);
                put(marshal_cookie, r.text()?);
            }
            k if INTERFACES.contains(&k) && !r.done() => put(iid_param, r.number()? as i32),
            _ => {}
        }
        Some(())
    };
    read().is_some()
}

icall_table! {
    /// Metadata reads.
    TABLE: "System.Reflection.MetadataImport" {
        "GetMetadataImport" => get_metadata_import,
        "GetDefaultValue" => get_default_value,
        "GetUserString" => get_user_string,
        "GetName" => get_name,
        "GetNamespace" => get_namespace,
        "GetEventProps" => get_event_props,
        "GetFieldDefProps" => get_field_def_props,
        "GetPropertyProps" => get_property_props,
        "GetParentToken" => get_parent_token,
        "GetParamDefProps" => get_param_def_props,
        "GetGenericParamProps" => get_generic_param_props,
        "GetScopeProps" => get_scope_props,
        "GetSigOfMethodDef" => get_sig_of_method_def,
        "GetSignatureFromToken" => get_signature_from_token,
        "GetMemberRefProps" => get_member_ref_props,
        "GetCustomAttributeProps" => get_custom_attribute_props,
        "GetClassLayout" => get_class_layout,
        "GetFieldOffset" => get_field_offset,
        "GetSigOfFieldDef" => get_sig_of_field_def,
        "GetFieldMarshal" => get_field_marshal,
        "GetPInvokeMap" => get_pinvoke_map,
        "IsValidToken" => is_valid_token,
        "GetMarshalAs" => get_marshal_as,
    }
}
