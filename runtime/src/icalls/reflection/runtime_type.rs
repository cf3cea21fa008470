//! Internal calls of `System.RuntimeType`, `System.Type`, `System.Object`, `MethodTable` and `System.IO.Stream`.

use super::support::{method_table_of, raw_type, read, table_of, type_arg};
use crate::error::{ExceptionKind, Raise, icall_body};
use crate::icall_table;
use crate::type_objects::{RUNTIME_TYPE_HANDLE, type_object};
use corten_gc_hooks::object::ObjPtr;
use corten_loader::{ElementType, MethodTable, TypeHandle};

extern "C" fn object_get_type(this: ObjPtr) -> ObjPtr {
    icall_body(|_| {
        if this.is_null() {
            return Err(Raise::of(ExceptionKind::NullReference));
        }
        Ok(type_object(method_table_of(this).handle()))
    })
}

extern "C" fn get_type_from_handle_unsafe(handle: usize) -> ObjPtr {
    icall_body(|_| {
        if handle == 0 {
            Ok(std::ptr::null_mut())
        } else {
            Ok(type_object(raw_type(handle)?))
        }
    })
}

fn parse_guid(text: &str) -> Option<[u8; 16]> {
    let hex: String = text.chars().filter(|c| c.is_ascii_hexdigit()).collect();
    if hex.len() != 32 {
        return None;
    }
    let mut bytes = [0u8; 16];
    for (i, b) in bytes.iter_mut().enumerate() {
        *b = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    // The first three groups are little-endian numbers.
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    Some(bytes)
}

/// The text of `[Guid("...")]`: prolog, then one counted string.
fn guid_attribute(t: TypeHandle) -> Option<[u8; 16]> {
    let definition = t.as_method_table()?.class().definition()?;
    let metadata = definition.module().metadata();
    let rid = metadata.find_attribute(definition.token(), "System.Runtime.InteropServices", "GuidAttribute")?;
    let value = metadata.custom_attribute(rid).ok()?.value;
    let mut reader = corten_metadata::sig::SigReader::new(value.get(2..)?);
    let length = reader.unsigned().ok()? as usize;
    let at = 2 + reader.position();
    parse_guid(std::str::from_utf8(value.get(at..at + length)?).ok()?)
}

/// GUID of the attribute or of the name; null for what has no definition.
fn guid_of(t: TypeHandle) -> [u8; 16] {
    let definition = t.as_method_table().and_then(|mt| mt.class().definition());
    guid_attribute(t)
        .or_else(|| definition.map(super::type_guid::of_definition))
        .unwrap_or_default()
}

extern "C" fn get_guid(this: ObjPtr, result: *mut [u8; 16]) {
    icall_body(|_| {
        // SAFETY: called on a RuntimeType.
        let t = raw_type(unsafe { read::<usize>(this, RUNTIME_TYPE_HANDLE) })?;
        // SAFETY: managed code passes a reference to a Guid.
        unsafe { result.write(guid_of(t)) };
        Ok(())
    });
}

/// Primitive types that a value of `from` widens to (ECMA-335 I.8.3.2 as reflection binds it): bit n = CorElementType n.
fn widening_targets(from: ElementType) -> u32 {
    use ElementType as E;
    let bits = |list: &[E]| list.iter().fold(0u32, |acc, e| acc | 1 << (*e as u8));
    match from {
        E::Boolean => bits(&[E::Boolean]),
        E::Char => bits(&[E::Char, E::U2, E::I4, E::U4, E::I8, E::U8, E::R4, E::R8]),
        E::I1 => bits(&[E::I1, E::I2, E::I4, E::I8, E::R4, E::R8]),
        E::U1 => bits(&[E::U1, E::Char, E::I2, E::U2, E::I4, E::U4, E::I8, E::U8, E::R4, E::R8]),
        E::I2 => bits(&[E::I2, E::I4, E::I8, E::R4, E::R8]),
        E::U2 => bits(&[E::U2, E::Char, E::I4, E::U4, E::I8, E::U8, E::R4, E::R8]),
        E::I4 => bits(&[E::I4, E::I8, E::R4, E::R8]),
        E::U4 => bits(&[E::U4, E::I8, E::U8, E::R4, E::R8]),
        E::I8 => bits(&[E::I8, E::R4, E::R8]),
        E::U8 => bits(&[E::U8, E::R4, E::R8]),
        E::R4 => bits(&[E::R4, E::R8]),
        E::R8 => bits(&[E::R8]),
        E::I => bits(&[E::I]),
        E::U => bits(&[E::U]),
        _ => 0,
    }
}

extern "C" fn can_value_special_cast(value: ObjPtr, target: ObjPtr) -> bool {
    icall_body(|_| {
        let (value, target) = (type_arg(value)?, type_arg(target)?);
        let is_int_ptr = value.cor_element_type() == ElementType::I;
        if target.is_pointer() {
            return Ok(is_int_ptr || corten_loader::cast::can_cast_to(value, target));
        }
        if target.is_function_pointer() {
            return Ok(is_int_ptr);
        }
        let (from, to) = (value.internal_element_type(), target.internal_element_type());
        Ok(to.is_primitive() && widening_targets(from) & (1 << (to as u8)) != 0)
    })
}

extern "C" fn get_num_instance_field_bytes(mt: usize) -> u32 {
    icall_body(|_| {
        // SAFETY: managed code passes a MethodTable.
        let mt = unsafe { MethodTable::from_ptr(mt as *const _) };
        Ok(mt.value_size())
    })
}

extern "C" fn get_primitive_cor_element_type(mt: usize) -> u8 {
    icall_body(|_| {
        // SAFETY: managed code passes a MethodTable.
        let mt = unsafe { MethodTable::from_ptr(mt as *const _) };
        Ok(mt.internal_element_type() as u8)
    })
}

/// Whether the class of `stream` overrides one of two virtual methods of `System.IO.Stream`.
fn overrides(stream: ObjPtr, names: [&str; 2]) -> crate::error::VmResult<bool> {
    let mt = method_table_of(stream);
    let base = table_of(super::support::corelib("System.IO", "Stream")?)?;
    for name in names {
        for method in base.methods().named(name) {
            let current = method.slot().and_then(|slot| mt.vtable_method(slot));
            if current.is_some_and(|m| m.owner() != base) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

extern "C" fn has_overridden_begin_end_read(this: ObjPtr) -> bool {
    icall_body(|_| overrides(this, ["BeginRead", "EndRead"]))
}

extern "C" fn has_overridden_begin_end_write(this: ObjPtr) -> bool {
    icall_body(|_| overrides(this, ["BeginWrite", "EndWrite"]))
}

/// Call-site marker in invocation stubs made by reflection; the address is only wanted by tail calls through helpers, which
/// this engine does not have.
extern "C" fn next_call_return_address() -> usize {
    0
}

icall_table! {
    /// Type and object calls.
    TABLE: "System.Object" {
        "GetType" => object_get_type,
    }
    "System.Type" {
        "GetTypeFromHandleUnsafe" => get_type_from_handle_unsafe,
    }
    "System.RuntimeType" {
        "GetGUID" => get_guid,
        "CanValueSpecialCast" => can_value_special_cast,
    }
    "System.Runtime.CompilerServices.MethodTable" {
        "GetNumInstanceFieldBytes" => get_num_instance_field_bytes,
        "GetPrimitiveCorElementType" => get_primitive_cor_element_type,
    }
    "System.StubHelpers.StubHelpers" {
        "NextCallReturnAddress" => next_call_return_address,
    }
    "System.IO.Stream" {
        "HasOverriddenBeginEndRead" => has_overridden_begin_end_read,
        "HasOverriddenBeginEndWrite" => has_overridden_begin_end_write,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guid_text_becomes_its_memory_form() {
        let g = parse_guid("00112233-4455-6677-8899-aabbccddeeff").unwrap();
        assert_eq!(g[..8], [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66]);
        assert_eq!(g[8..], [0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
        assert!(parse_guid("no guid").is_none());
    }

    #[test]
    fn widening_follows_the_table() {
        let can = |from, to: ElementType| widening_targets(from) & (1 << (to as u8)) != 0;
        assert!(can(ElementType::I4, ElementType::I8));
        assert!(!can(ElementType::I8, ElementType::I4));
        assert!(!can(ElementType::I4, ElementType::U8));
        assert!(can(ElementType::Char, ElementType::I4));
    }
}
