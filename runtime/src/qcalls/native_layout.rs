//! Native layout of structs and classes with sequential or explicit layout: sizes and offsets as the marshaller sees them
//! (ECMA-335 II.22.17 field marshalling; default rules of .NET on Unix).

use crate::error::{ExceptionKind, Raise, VmResult};
use corten_loader::{ElementType, FieldDesc, FieldKind, MethodTable, TypeHandle};
use corten_metadata::TypeAttributes;

/// `UnmanagedType` values of field marshalling blobs (ECMA-335 II.23.4).
mod native_type {
    pub const BOOLEAN: u8 = 0x02;
    pub const I1: u8 = 0x03;
    pub const U1: u8 = 0x04;
    pub const I2: u8 = 0x05;
    pub const U2: u8 = 0x06;
    pub const I4: u8 = 0x07;
    pub const U4: u8 = 0x08;
    pub const I8: u8 = 0x09;
    pub const U8: u8 = 0x0A;
    pub const R4: u8 = 0x0B;
    pub const R8: u8 = 0x0C;
    pub const BY_VAL_TSTR: u8 = 0x17;
    pub const BY_VAL_ARRAY: u8 = 0x1E;
    pub const VARIANT_BOOL: u8 = 0x25;
}

/// Native size and alignment in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NativeSize {
    pub size: u32,
    pub align: u32,
    /// Managed and native representation are the same.
    pub blittable: bool,
}

const POINTER: NativeSize = NativeSize { size: 8, align: 8, blittable: false };

fn scalar(size: u32, blittable: bool) -> NativeSize {
    NativeSize { size, align: size, blittable }
}

/// Place of one field in its native struct.
#[derive(Clone, Copy, Debug)]
pub struct NativeField {
    pub field: &'static FieldDesc,
    pub offset: u32,
    pub size: NativeSize,
}

fn not_marshalable(t: &MethodTable) -> Raise {
    Raise::new(
        ExceptionKind::Argument,
        format!(
            "Type '{}' cannot be marshaled as an unmanaged structure; no meaningful size or offset can be computed.",
            t.class().name()
        ),
    )
}

fn is_unicode(mt: &MethodTable) -> bool {
    // AutoClass means Unicode on .NET's Unix as well as Windows.
    mt.class().attributes().intersects(TypeAttributes::UNICODE_CLASS | TypeAttributes::AUTO_CLASS)
}

/// Native size of a struct or class with layout.
///
/// # Errors
/// ArgumentException if the type has no native layout.
pub fn size_of(mt: &'static MethodTable) -> VmResult<NativeSize> {
    if let Some(size) = primitive_size(mt) {
        return Ok(size);
    }
    Ok(layout_of(mt)?.0)
}

fn primitive_size(mt: &'static MethodTable) -> Option<NativeSize> {
    let e = mt.internal_element_type();
    if !(mt.is_true_primitive() || mt.is_enum()) {
        return None;
    }
    Some(match e {
        ElementType::Boolean => scalar(4, false),
        ElementType::Char => scalar(1, false),
        other => scalar(other.primitive_size()?, true),
    })
}

/// Native layout of a struct or class: total size and its fields.
///
/// # Errors
/// ArgumentException if the type has no native layout.
pub fn layout_of(mt: &'static MethodTable) -> VmResult<(NativeSize, Vec<NativeField>)> {
    let attributes = mt.class().attributes();
    let kind = attributes & TypeAttributes::LAYOUT_MASK;
    let explicit = kind == TypeAttributes::EXPLICIT_LAYOUT;
    if mt.is_interface() || !(explicit || kind == TypeAttributes::SEQUENTIAL_LAYOUT) || mt.contains_generic_variables() {
        return Err(not_marshalable(mt));
    }
    let metadata = mt.module().metadata();
    let declared = metadata.class_layout_of(mt.class().typedef().rid());
    let (pack, class_size) = declared.map_or((0, 0), |l| (u32::from(l.packing_size), l.class_size));
    let pack = if pack == 0 { 8 } else { pack };
    let mut end = 0;
    let mut align = 1;
    let mut blittable = true;
    let mut fields = Vec::new();
    if !mt.is_value_type()
        && let Some(parent) = mt.parent().filter(|p| p.parent().is_some())
    {
        let (base, inherited) = layout_of(parent)?;
        (end, align, blittable) = (base.size, base.align, base.blittable);
        fields = inherited;
    }
    for field in mt.fields() {
        if !matches!(field.kind(), FieldKind::Instance) {
            continue;
        }
        let size = field_size(mt, field)?;
        let field_align = size.align.min(pack).max(1);
        let offset = if explicit {
            metadata.field_offset(field.token().rid()).ok_or_else(|| not_marshalable(mt))?
        } else {
            end.next_multiple_of(field_align)
        };
        end = end.max(offset + size.size);
        align = align.max(field_align);
        let same_place = offset == field.offset();
        blittable &= size.blittable && same_place;
        fields.push(NativeField { field, offset, size });
    }
    let size = end.max(1).next_multiple_of(align).max(class_size);
    Ok((NativeSize { size, align, blittable }, fields))
}

fn field_size(owner: &'static MethodTable, field: &'static FieldDesc) -> VmResult<NativeSize> {
    let marshal = owner.module().metadata().field_marshal_of(field.token()).unwrap_or(&[]);
    let ty: TypeHandle = field.field_type()?;
    let character = if is_unicode(owner) { 2 } else { 1 };
    match marshal.first() {
        None => {}
        Some(&native_type::BY_VAL_TSTR) => {
            let count = compressed(&marshal[1..]).ok_or_else(|| not_marshalable(owner))?;
            return Ok(NativeSize { size: count * character, align: character, blittable: false });
        }
        Some(&native_type::BY_VAL_ARRAY) => {
            let count = compressed(&marshal[1..]).unwrap_or(1);
            let element = ty.element_type().ok_or_else(|| not_marshalable(owner))?;
            let element = element_size(owner, element, character)?;
            return Ok(NativeSize { size: count * element.size, align: element.align, blittable: false });
        }
        Some(&kind) => {
            let forced = match kind {
                native_type::I1 | native_type::U1 => Some(1),
                native_type::I2 | native_type::U2 | native_type::VARIANT_BOOL => Some(2),
                native_type::I4 | native_type::U4 | native_type::BOOLEAN | native_type::R4 => Some(4),
                native_type::I8 | native_type::U8 | native_type::R8 => Some(8),
                _ => None,
            };
            if let Some(size) = forced {
                let e = ty.internal_element_type();
                let same = !matches!(e, ElementType::Boolean | ElementType::Char) && e.primitive_size() == Some(size);
                return Ok(scalar(size, same || (e == ElementType::Char && size == 2)));
            }
        }
    }
    element_size(owner, ty, character)
}

/// Size of a value without explicit marshalling.
fn element_size(owner: &'static MethodTable, ty: TypeHandle, character: u32) -> VmResult<NativeSize> {
    let Some(mt) = ty.as_method_table() else {
        // Pointers and function pointers.
        return Ok(NativeSize { blittable: true, ..POINTER });
    };
    if mt.is_value_type() {
        if mt.internal_element_type() == ElementType::Char && mt.is_true_primitive() {
            return Ok(scalar(character, character == 2));
        }
        return size_of(mt);
    }
    if mt.is_array() && ty.element_type().is_none() {
        return Err(not_marshalable(owner));
    }
    // Strings, delegates, objects, arrays, interfaces: a pointer; classes with layout inside a struct are embedded.
    let layout = mt.class().attributes() & TypeAttributes::LAYOUT_MASK;
    let embedded = !mt.is_string()
        && !mt.is_delegate()
        && !mt.is_array()
        && !mt.is_interface()
        && (layout == TypeAttributes::SEQUENTIAL_LAYOUT || layout == TypeAttributes::EXPLICIT_LAYOUT);
    if embedded { Ok(NativeSize { blittable: false, ..size_of(mt)? }) } else { Ok(POINTER) }
}

/// A compressed unsigned integer (ECMA-335 II.23.2).
fn compressed(bytes: &[u8]) -> Option<u32> {
    let first = u32::from(*bytes.first()?);
    if first & 0x80 == 0 {
        Some(first)
    } else if first & 0xC0 == 0x80 {
        Some((first & 0x3F) << 8 | u32::from(*bytes.get(1)?))
    } else {
        let rest = bytes.get(1..4)?;
        Some((first & 0x1F) << 24 | u32::from(rest[0]) << 16 | u32::from(rest[1]) << 8 | u32::from(rest[2]))
    }
}
