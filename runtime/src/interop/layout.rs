//! Native layouts of value types and of classes with `[StructLayout]`: field offsets by the C rules with the packing that
//! metadata asks for, each field in its native form.

use super::marshaler::{CharSet, Marshaler, Position, choose};
use super::native_type;
use crate::error::{ExceptionKind, Raise, VmResult};
use crate::jit_host::type_id;
use corten_jit::host_api::{FlatField, TypeInfo, TypeKind};
use corten_jit::ids::TypeId;
use corten_loader::{FieldDesc, FieldKind, LoadLevel, MethodTable, TypeHandle};
use corten_metadata::TypeAttributes;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// One field.
#[derive(Debug)]
pub struct NativeField {
    pub field: &'static FieldDesc,
    /// From the first byte of the value, or from the first byte after the MethodTable pointer.
    pub managed_offset: u32,
    pub native_offset: u32,
    pub marshaler: Marshaler,
}

/// Native form of a type. Leaked; one per type.
#[derive(Debug)]
pub struct NativeLayout {
    pub ty: &'static MethodTable,
    pub size: u32,
    pub align: u32,
    /// Fields of base classes first.
    pub fields: Vec<NativeField>,
    /// Managed and native form are the same bits.
    pub blittable: bool,
}

impl NativeLayout {
    /// Type that stands for the native form in compiled stubs: the type itself if it is blittable.
    pub fn type_id(&'static self) -> TypeId {
        if self.blittable && self.ty.is_value_type() {
            return type_id(self.ty.handle());
        }
        // TypeHandles are even.
        TypeId(std::ptr::from_ref(self) as u64 | 1)
    }

    /// # Errors
    /// TypeLoadException for the first field, here or in an embedded structure, that has no native form.
    pub fn check(&self) -> VmResult<()> {
        for f in &self.fields {
            match &f.marshaler {
                Marshaler::Illegal(why) => return Err(Raise::new(ExceptionKind::TypeLoad, why.to_string())),
                Marshaler::Struct(l) | Marshaler::EmbeddedClass(l) => l.check()?,
                Marshaler::FixedArray { element, .. } => {
                    if let Marshaler::Struct(l) = &**element {
                        l.check()?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A field of the type itself has no native form: nothing is known of its size.
    pub fn is_illegal(&self) -> bool {
        self.fields.iter().any(|f| matches!(f.marshaler, Marshaler::Illegal(_)))
    }

    fn type_info(&'static self) -> VmResult<TypeInfo> {
        let mut flat = Vec::new();
        for f in &self.fields {
            f.marshaler.flatten(f.native_offset, &mut flat)?;
        }
        flat.sort_by_key(|f| f.0);
        Ok(TypeInfo {
            id: self.type_id(),
            kind: TypeKind::Struct,
            size: self.size,
            align: self.align,
            is_value_type: true,
            fields: flat
                .into_iter()
                .map(|(offset, kind)| FlatField { offset, kind })
                .collect(),
            has_gc_pointers: false,
            vector_size: None,
            vectors: [].into(),
            nullable_of: None,
            is_delegate: false,
            is_interface: false,
            is_exact: true,
            name: format!("native {}", self.ty.handle().display_name()).into(),
            instantiation: [].into(),
            method_table: 0,
        })
    }
}

static LAYOUTS: Mutex<Option<FxHashMap<usize, &'static NativeLayout>>> = Mutex::new(None);

/// `[StructLayout]` with a layout other than automatic, on the type and all its bases but Object.
pub fn has_layout(mt: &'static MethodTable) -> bool {
    if mt.is_array() || mt.is_string() {
        return false;
    }
    mt.ancestry()
        .take_while(|m| m.parent().is_some() && !is_value_base(m))
        .all(|m| m.class().attributes() & TypeAttributes::LAYOUT_MASK != TypeAttributes::empty())
        && mt.parent().is_some()
        && !is_value_base(mt)
        && !mt.is_interface()
}

fn is_value_base(mt: &'static MethodTable) -> bool {
    let w = corten_loader::WellKnown::get();
    mt == w.value_type || mt == w.enum_
}

/// Default form of strings in fields of a type.
pub fn charset_of(mt: &'static MethodTable) -> CharSet {
    if mt.class().attributes() & TypeAttributes::STRING_FORMAT_MASK == TypeAttributes::UNICODE_CLASS {
        CharSet::Unicode
    } else {
        CharSet::Ansi
    }
}

/// The error of `Marshal.SizeOf` and its like for types without a native form.
pub fn cannot_marshal(t: TypeHandle) -> Raise {
    Raise::new(
        ExceptionKind::Argument,
        format!(
            "Type '{}' cannot be marshaled as an unmanaged structure; no meaningful size or offset can be computed.",
            t.display_name()
        ),
    )
}

/// Native layout of a value type or class with layout.
///
/// # Errors
/// ArgumentException for types without layout, load errors. Fields without native form are reported by [`NativeLayout::check`].
pub fn of(mt: &'static MethodTable) -> VmResult<&'static NativeLayout> {
    if let Some(l) = LAYOUTS.lock().get_or_insert_default().get(&mt.address()) {
        return Ok(l);
    }
    if !has_layout(mt) {
        return Err(cannot_marshal(mt.handle()));
    }
    corten_loader::type_loader::ensure(mt, LoadLevel::Layout)?;
    let layout: &'static NativeLayout = Box::leak(Box::new(compute(mt)?));
    let info = layout.type_info()?;
    let mut table = LAYOUTS.lock();
    let table = table.get_or_insert_default();
    if let Some(first) = table.get(&mt.address()) {
        return Ok(first);
    }
    if !(layout.blittable && mt.is_value_type())
        && let Some(host) = crate::engine::host()
    {
        host.add_type(info);
    }
    table.insert(mt.address(), layout);
    Ok(layout)
}

fn field_error(f: &'static FieldDesc, why: &str) -> Box<str> {
    let owner = f.owner().class().definition();
    format!(
        "Cannot marshal field '{}' of type '{}': {why}",
        f.name(),
        owner.map_or_else(String::new, |d| d.plain_name()),
    )
    .into()
}

/// Position and size of one field before placement.
pub(super) struct FieldForm {
    pub size: u32,
    pub align: u32,
    /// Explicit layout: offset from the start of the declaring type's own fields.
    pub explicit: Option<u32>,
}

/// Where the fields of one type go. `base` is the native size of the base class. Gives the offsets, the total size and the
/// alignment (the base's excluded).
pub(super) fn place(
    fields: &[FieldForm],
    base: u32,
    pack: u32,
    class_size: u32,
    base_align: u32,
) -> (Vec<u32>, u32, u32) {
    // As CoreCLR: no natural alignment is restricted (128-bit integers have 16).
    let pack = if pack == 0 { 32 } else { pack };
    let mut end = base;
    let mut align = base_align.max(1);
    let mut offsets = Vec::with_capacity(fields.len());
    for f in fields {
        let field_align = f.align.max(1).min(pack);
        align = align.max(field_align);
        let offset = match f.explicit {
            Some(o) => base + o,
            None => end.next_multiple_of(field_align),
        };
        offsets.push(offset);
        end = end.max(offset.saturating_add(f.size));
    }
    let mut size = end.next_multiple_of(align);
    if class_size != 0 {
        size = size.max(base + class_size);
        if base + class_size >= end {
            size = base + class_size;
        }
    }
    (offsets, size.max(1), align)
}

fn compute(mt: &'static MethodTable) -> VmResult<NativeLayout> {
    let (mut fields, mut base_size, mut base_align) = (Vec::new(), 0, 1);
    if !mt.is_value_type()
        && let Some(parent) = mt.parent().filter(|p| p.parent().is_some())
    {
        let l = of(parent)?;
        fields.extend(self::fields_of(parent, l)?);
        let empty = l.fields.is_empty();
        base_size = if empty { 0 } else { l.size };
        base_align = l.align;
    }
    let charset = charset_of(mt);
    let metadata = mt.module().metadata();
    let row = mt
        .class()
        .definition()
        .and_then(|d| metadata.class_layout_of(d.token().rid()));
    let (pack, class_size) = row.map_or((0, 0), |r| (u32::from(r.packing_size), r.class_size));
    let explicit = mt.class().attributes() & TypeAttributes::LAYOUT_MASK == TypeAttributes::EXPLICIT_LAYOUT;
    let mut own = Vec::new();
    let mut forms = Vec::new();
    for f in mt.fields().iter().filter(|f| f.kind() == FieldKind::Instance) {
        let marshaler = field_marshaler(f, charset)?;
        forms.push(FieldForm {
            size: marshaler.native_size(),
            align: marshaler.native_align(),
            explicit: if explicit {
                Some(metadata.field_offset(f.token().rid()).unwrap_or(0))
            } else {
                None
            },
        });
        own.push((f, marshaler));
    }
    let (offsets, mut size, align) = place(&forms, base_size, pack, class_size, base_align);
    if let (Some(n), [form]) = (mt.class().inline_array_length(), &forms[..]) {
        size = form.size.saturating_mul(n);
    }
    for ((field, marshaler), native_offset) in own.into_iter().zip(offsets) {
        fields.push(NativeField {
            field,
            managed_offset: field.offset(),
            native_offset,
            marshaler,
        });
    }
    let blittable = fields
        .iter()
        .all(|f| f.marshaler.is_blittable() && f.managed_offset == f.native_offset)
        && (!mt.is_value_type() || size == mt.value_size());
    // Vectors are aligned to more than their fields are.
    let align = if blittable && mt.is_value_type() {
        mt.handle().align()
    } else {
        align
    };
    Ok(NativeLayout {
        ty: mt,
        size,
        align,
        fields,
        blittable,
    })
}

/// The fields of a base class again (marshalers are not shared).
fn fields_of(mt: &'static MethodTable, l: &'static NativeLayout) -> VmResult<Vec<NativeField>> {
    let mut out = Vec::with_capacity(l.fields.len());
    for f in &l.fields {
        let charset = charset_of(f.field.owner());
        let marshaler = field_marshaler(f.field, charset)?;
        out.push(NativeField {
            field: f.field,
            managed_offset: f.managed_offset,
            native_offset: f.native_offset,
            marshaler,
        });
    }
    debug_assert_eq!(mt.address(), l.ty.address());
    Ok(out)
}

fn field_marshaler(f: &'static FieldDesc, charset: CharSet) -> VmResult<Marshaler> {
    let ty = f.field_type()?;
    let spec = match f.owner().module().metadata().field_marshal_of(f.token()) {
        Some(blob) => Some(native_type::parse(blob)?),
        None => None,
    };
    match choose(ty, spec.as_ref(), charset, Position::Field) {
        Err(Raise::New {
            kind: ExceptionKind::MarshalDirective,
            message,
            ..
        }) => Ok(Marshaler::Illegal(field_error(f, &message.unwrap_or_default()))),
        other => other,
    }
}

/// Native size of any type that `Marshal.SizeOf` accepts.
///
/// # Errors
/// ArgumentException for types without native form.
pub fn size_of(t: TypeHandle) -> VmResult<u32> {
    let Some(mt) = t.as_method_table() else {
        return if t.is_pointer() || t.is_function_pointer() {
            Ok(8)
        } else {
            Err(cannot_marshal(t))
        };
    };
    if t.is_enum() || t.is_array() || mt.is_string() || t.is_nullable() || t.is_interface() {
        return Err(cannot_marshal(t));
    }
    if t.is_value_type() && t.internal_element_type().primitive_size().is_some() {
        return Ok(choose(t, None, CharSet::Ansi, Position::Field)?.native_size());
    }
    match of(mt) {
        Ok(l) if !l.is_illegal() => Ok(l.size),
        Ok(_) => Err(cannot_marshal(t)),
        Err(Raise::New {
            kind: ExceptionKind::TypeLoad | ExceptionKind::Argument,
            ..
        }) => Err(cannot_marshal(t)),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(size: u32, align: u32) -> FieldForm {
        FieldForm {
            size,
            align,
            explicit: None,
        }
    }

    #[test]
    fn c_rules() {
        // byte, long, short, char, int (bool), double, 16-byte decimal, guid
        let fields = [(1, 1), (8, 8), (2, 2), (1, 1), (4, 4), (8, 8), (16, 8), (16, 4)].map(|(s, a)| form(s, a));
        let (offsets, size, align) = place(&fields, 0, 0, 0, 1);
        assert_eq!(offsets, [0, 8, 16, 18, 20, 24, 32, 48]);
        assert_eq!((size, align), (64, 8));
    }

    #[test]
    fn packing_and_size() {
        let fields = [form(1, 1), form(8, 8), form(2, 2)];
        let (offsets, size, align) = place(&fields, 0, 1, 0, 1);
        assert_eq!((offsets, size, align), (vec![0, 1, 9], 11, 1));
        let (offsets, size, _) = place(&[form(1, 1), form(8, 8)], 0, 4, 40, 1);
        assert_eq!((offsets, size), (vec![0, 4], 40));
        assert_eq!(place(&[], 0, 0, 0, 1), (vec![], 1, 1));
    }

    #[test]
    fn explicit_offsets_round_up_at_the_end() {
        let at = |size, align, o| FieldForm {
            size,
            align,
            explicit: Some(o),
        };
        let (offsets, size, _) = place(
            &[at(4, 4, 0), at(1, 1, 0), at(2, 2, 2), at(8, 8, 12), at(1, 1, 3)],
            0,
            0,
            0,
            1,
        );
        assert_eq!((offsets, size), (vec![0, 0, 2, 12, 3], 24));
    }

    #[test]
    fn derived_class_continues_after_its_base() {
        let (offsets, size, align) = place(&[form(8, 8), form(8, 8)], 8, 0, 0, 4);
        assert_eq!((offsets, size, align), (vec![8, 16], 24, 8));
    }
}
