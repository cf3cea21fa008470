//! Instance field layout. Offsets are those of CoreCLR, because precompiled code contains them.
//!
//! Positions in this module are relative to the first byte of the value; for classes to the first byte after
//! the MethodTable pointer.

mod auto;
mod explicit;
pub(crate) mod gc_series;
mod sequential;

use corten_gc_hooks::gcdesc::GcDesc;
use corten_metadata::{TypeAttributes, sig};

use crate::{
    class::{ArrayInfo, InstanceLayout, LoadLevel},
    element_type::ElementType,
    error::{LoadError, Result},
    field_desc::FieldKind,
    method_table::{MethodTable, flags},
    resolve::GenericContext,
    type_def::{Category, TypeDefInfo},
    type_handle::TypeHandle,
    type_loader::{ensure, make_fields, type_load},
};

/// Largest instance, in bytes.
const MAX_SIZE: u64 = 0x07FF_FFFF;
/// Largest `[InlineArray]`.
const MAX_INLINE_ARRAY: u64 = 1 << 20;

/// What an algorithm needs to know about one instance field.
pub(crate) struct FieldInput {
    /// Index among the declared fields.
    pub index: usize,
    /// Bytes.
    pub size: u32,
    /// Natural alignment.
    pub align: u32,
    /// How it is grouped by the automatic algorithm.
    pub class: FieldClass,
    /// Exact type of struct fields.
    pub ty: Option<TypeHandle>,
}

/// Groups of the automatic algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldClass {
    /// Object reference.
    Reference,
    /// Managed pointer in a `ref struct`.
    ByRef,
    /// Number, enum or pointer: size is a power of two up to 8.
    Primitive,
    /// Struct.
    Struct,
}

/// Result of an algorithm.
pub(crate) struct Placed {
    /// Offset per input field.
    pub offsets: Vec<u32>,
    /// End of the fields before size rounding.
    pub end: u32,
    /// Alignment of the whole.
    pub align: u32,
    /// Explicitly requested size (ClassLayout), 0 for none.
    pub class_size: u32,
}

impl FieldInput {
    fn contains_refs(&self) -> bool {
        match self.class {
            FieldClass::Reference => true,
            FieldClass::Struct => self.ty.is_some_and(|t| t.contains_gc_pointers()),
            _ => false,
        }
    }
}

/// Level Parents -> Layout.
pub(crate) fn load_layout(mt: &'static MethodTable) -> Result<()> {
    if let Some(a) = mt.class().array {
        return array_layout(mt, a);
    }
    let class = mt.class();
    let Some(def) = class.def else { return Ok(()) };
    let parent_layout = match mt.parent() {
        Some(p) if !mt.is_value_type() => {
            ensure(p, LoadLevel::Layout)?;
            Some(p.class().layout())
        }
        Some(p) => {
            ensure(p, LoadLevel::Layout)?;
            None
        }
        None => None,
    };
    let fields = make_fields(mt)?;
    let _ = class.fields.set(fields);
    if def.is_interface() {
        if mt.fields().iter().any(|f| f.kind() == FieldKind::Instance) {
            return Err(def.type_load("an interface has instance fields"));
        }
        let _ = class.layout.set(InstanceLayout {
            field_alignment: 8,
            ..InstanceLayout::default()
        });
        return Ok(());
    }
    let inputs = collect(mt, def)?;
    let mut base = parent_layout.map_or(0, |l| l.unaligned_size);
    if needs_aligned_base(mt) {
        base = base.next_multiple_of(8);
    }

    let mut layout = if def.category() == Category::Primitive || def.element_type() == ElementType::Void {
        primitive_layout(def, &inputs)
    } else {
        compute(mt, def, base, &inputs)?
    };
    if let Some(n) = def.inline_array_length() {
        inline_array(def, &inputs, n, &mut layout)?;
    }
    special_alignment(def, &mut layout);
    for (f, o) in inputs.iter().zip(&layout.gc_refs_offsets) {
        mt.fields()[f.index]
            .offset
            .store(*o, std::sync::atomic::Ordering::Release);
    }
    let mut gc_refs: Vec<u32> = parent_layout.map_or_else(Vec::new, |l| l.gc_refs.to_vec());
    let mut byrefs = Vec::new();
    let copies = def.inline_array_length().unwrap_or(1);
    for (f, o) in inputs.iter().zip(&layout.gc_refs_offsets) {
        for k in 0..copies {
            let at = o + k * f.size;
            match f.class {
                FieldClass::Reference => gc_refs.push(at),
                FieldClass::ByRef => byrefs.push(at),
                FieldClass::Struct => {
                    if let Some(l) = f.ty.and_then(|t| t.as_method_table()).map(|m| m.class().layout()) {
                        gc_refs.extend(l.gc_refs.iter().map(|r| at + r));
                        byrefs.extend(l.byrefs.iter().map(|r| at + r));
                    }
                }
                FieldClass::Primitive => {}
            }
        }
    }
    gc_refs.sort_unstable();
    gc_refs.dedup();
    byrefs.sort_unstable();
    byrefs.dedup();
    let result = InstanceLayout {
        size: layout.size,
        unaligned_size: layout.unaligned,
        field_alignment: layout.align,
        gc_refs: gc_refs.into(),
        byrefs: byrefs.into(),
        auto_layout: layout.auto,
        has_overlap: layout.overlap,
        not_tightly_packed: layout.overlap || has_gaps(&inputs, &layout, base),
    };
    write_header(mt, &result)?;
    let _ = class.layout.set(result);
    Ok(())
}

/// Precompiled code of an assembly must not depend on the exact size of base classes that other assemblies
/// define: own fields start at a word boundary then.
fn needs_aligned_base(mt: &'static MethodTable) -> bool {
    let module = mt.module();
    !mt.is_value_type()
        && module.metadata().pe().managed_native_header().is_some()
        && mt
            .ancestry()
            .skip(1)
            .any(|a| a.parent().is_some() && a.module() != module)
}

/// Working result before references are collected.
struct Working {
    gc_refs_offsets: Vec<u32>,
    size: u32,
    unaligned: u32,
    align: u32,
    auto: bool,
    overlap: bool,
}

fn has_gaps(inputs: &[FieldInput], w: &Working, base: u32) -> bool {
    let used: u64 = inputs.iter().map(|f| u64::from(f.size)).sum();
    let nested = inputs.iter().any(|f| {
        f.class == FieldClass::Struct
            && f.ty
                .and_then(|t| t.as_method_table())
                .is_some_and(|m| m.class().layout().not_tightly_packed)
    });
    nested || used != u64::from(w.size - base.min(w.size))
}

/// Instance fields with sizes and alignments; loads struct field types to level Layout.
fn collect(mt: &'static MethodTable, def: &'static TypeDefInfo) -> Result<Vec<FieldInput>> {
    let mut out = Vec::new();
    let ctx = GenericContext::of_type(mt);
    let self_primitive = def.category() == Category::Primitive;
    for (index, f) in mt.fields().iter().enumerate() {
        if f.kind() != FieldKind::Instance {
            continue;
        }
        if self_primitive {
            let size = def.element_type().primitive_size().unwrap_or(1);
            out.push(FieldInput {
                index,
                size,
                align: size,
                class: FieldClass::Primitive,
                ty: None,
            });
            continue;
        }
        let input = match f.element_type() {
            ElementType::ByRef => {
                if !def.is_byref_like() {
                    return Err(def.type_load("=A ByRef or ByRef-like type cannot be used as the type for an instance field in a non-ByRef-like type."));
                }
                FieldInput {
                    index,
                    size: 8,
                    align: 8,
                    class: FieldClass::ByRef,
                    ty: None,
                }
            }
            ElementType::ValueType | ElementType::Void => {
                let parsed = sig::parse_field(f.signature()).map_err(|e| mt.module().bad_image(e))?;
                let t = mt.module().load_sig(&parsed, ctx)?;
                let Some(ft) = t.as_method_table().filter(|m| m.is_value_type() && !t.is_void()) else {
                    return Err(def.type_load(format!("field '{}' has an illegal type", f.name())));
                };
                if ft == mt {
                    return Err(def.type_load(format!(
                        "=Could not load the value type '{}' from assembly '{}' because it has an instance field of itself.",
                        def.plain_name(),
                        def.module().assembly_display_name()
                    )));
                }
                ensure(ft, LoadLevel::Layout)?;
                let _ = f.ty.set(t);
                if ft.is_byref_like() && !def.is_byref_like() {
                    return Err(def.type_load("=A ByRef or ByRef-like type cannot be used as the type for an instance field in a non-ByRef-like type."));
                }
                match ft.internal_element_type().primitive_size() {
                    Some(size) => FieldInput {
                        index,
                        size,
                        align: size,
                        class: FieldClass::Primitive,
                        ty: Some(t),
                    },
                    None => FieldInput {
                        index,
                        size: ft.class().instance_size(),
                        align: ft.class().field_alignment(),
                        class: FieldClass::Struct,
                        ty: Some(t),
                    },
                }
            }
            e => match e.primitive_size() {
                Some(size) => FieldInput {
                    index,
                    size,
                    align: size,
                    class: FieldClass::Primitive,
                    ty: None,
                },
                None => FieldInput {
                    index,
                    size: 8,
                    align: 8,
                    class: FieldClass::Reference,
                    ty: None,
                },
            },
        };
        out.push(input);
    }
    if def.is_enum() && out.len() != 1 {
        return Err(def.type_load(format!(
            "=Type '{}' from assembly '{}' has a field of an illegal type.",
            def.plain_name(),
            def.module().assembly_display_name()
        )));
    }
    Ok(out)
}

fn primitive_layout(def: &TypeDefInfo, inputs: &[FieldInput]) -> Working {
    let size = def.element_type().primitive_size().unwrap_or(1);
    Working {
        gc_refs_offsets: vec![0; inputs.len()],
        size,
        unaligned: size,
        align: size,
        auto: false,
        overlap: false,
    }
}

fn compute(mt: &'static MethodTable, def: &'static TypeDefInfo, base: u32, inputs: &[FieldInput]) -> Result<Working> {
    let kind = def.attributes() & TypeAttributes::LAYOUT_MASK;
    let class_layout = def.module().metadata().class_layout_of(def.rid());
    let pack = class_layout.as_ref().map_or(0, |l| u32::from(l.packing_size));
    let size = class_layout.as_ref().map_or(0, |l| l.class_size);
    if pack > 128 || (pack & pack.wrapping_sub(1)) != 0 {
        return Err(LoadError::PackingSize {
            path: def.module().path().to_owned(),
        });
    }
    if size > i32::MAX as u32 {
        return Err(def.type_load("the type is too large"));
    }
    let mut overlap = false;
    let mut auto_layout = false;
    let placed = if kind == TypeAttributes::EXPLICIT_LAYOUT {
        if mt.has_instantiation() {
            return Err(def.type_load("a generic type cannot have explicit layout"));
        }
        let (p, o) = explicit::place(def, base, pack, size, inputs)?;
        overlap = o;
        p
    } else if def.is_enum() || (kind == TypeAttributes::SEQUENTIAL_LAYOUT && is_managed_sequential(mt, inputs)) {
        sequential::place(base, pack, size, inputs)
    } else {
        auto_layout = true;
        auto::place(mt.is_value_type(), base, pack, inputs)
    };
    if u64::from(placed.end) > MAX_SIZE {
        return Err(def.type_load("the type is too large"));
    }
    let mut unaligned = placed.end;
    if mt.is_value_type() && unaligned == 0 {
        unaligned = 1;
    }
    let mut total = unaligned;
    if placed.class_size != 0 {
        total = total.max(base + placed.class_size);
        unaligned = total;
    } else if mt.is_value_type() {
        total = total.next_multiple_of(placed.align.max(1));
        unaligned = total;
    }
    Ok(Working {
        gc_refs_offsets: placed.offsets,
        size: total,
        unaligned,
        align: placed.align.max(1),
        auto: auto_layout,
        overlap,
    })
}

/// Sequential layout is honoured for structs without references whose struct fields are sequential too, and
/// for blittable classes; everything else is laid out automatically.
fn is_managed_sequential(mt: &'static MethodTable, inputs: &[FieldInput]) -> bool {
    let ok_fields = inputs.iter().all(|f| match f.class {
        FieldClass::Reference => false,
        FieldClass::Primitive | FieldClass::ByRef => true,
        FieldClass::Struct => !f.contains_refs(),
    });
    if !ok_fields {
        return false;
    }
    if mt.is_value_type() {
        return true;
    }
    // A class: its bases must be blittable with layout, up to Object.
    let mut p = mt.parent();
    while let Some(b) = p {
        if b.parent().is_none() {
            break;
        }
        if b.class().attributes() & TypeAttributes::LAYOUT_MASK == TypeAttributes::empty() || !is_blittable_fields(b) {
            return false;
        }
        p = b.parent();
    }
    is_blittable_inputs(mt, inputs)
}

fn is_blittable_element(e: ElementType) -> bool {
    !matches!(
        e,
        ElementType::Boolean | ElementType::Char | ElementType::Class | ElementType::ByRef
    )
}

fn is_blittable_fields(mt: &'static MethodTable) -> bool {
    mt.fields().iter().filter(|f| f.kind() == FieldKind::Instance).all(|f| {
        is_blittable_element(f.element_type())
            && f.ty
                .get()
                .and_then(|t| t.as_method_table())
                .is_none_or(is_blittable_struct)
    })
}

fn is_blittable_struct(mt: &'static MethodTable) -> bool {
    match mt.internal_element_type() {
        ElementType::ValueType => {
            mt.class().attributes() & TypeAttributes::LAYOUT_MASK != TypeAttributes::empty()
                && !mt.contains_gc_pointers()
                && is_blittable_fields(mt)
        }
        e => is_blittable_element(e),
    }
}

fn is_blittable_inputs(mt: &'static MethodTable, inputs: &[FieldInput]) -> bool {
    inputs.iter().all(|f| {
        is_blittable_element(mt.fields()[f.index].element_type())
            && f.ty.and_then(|t| t.as_method_table()).is_none_or(is_blittable_struct)
    })
}

fn inline_array_rule(def: &TypeDefInfo, rule: &str) -> crate::LoadError {
    def.type_load(format!(
        "=InlineArrayAttribute requires that {rule}. Type: '{}'. Assembly: '{}'.",
        def.plain_name(),
        def.module().assembly_display_name()
    ))
}

fn inline_array(def: &'static TypeDefInfo, inputs: &[FieldInput], n: u32, w: &mut Working) -> Result<()> {
    let [field] = inputs else {
        return Err(inline_array_rule(def, "the target type has a single instance field"));
    };
    if n == 0 {
        return Err(inline_array_rule(def, "the length argument is greater than 0"));
    }
    if def.attributes() & TypeAttributes::LAYOUT_MASK == TypeAttributes::EXPLICIT_LAYOUT {
        return Err(def.type_load(format!(
            "=InlineArrayAttribute cannot be applied to a type with explicit layout. Type: '{}'. Assembly: '{}'.",
            def.plain_name(),
            def.module().assembly_display_name()
        )));
    }
    let total = u64::from(field.size) * u64::from(n);
    if total > MAX_INLINE_ARRAY {
        return Err(def.type_load(format!(
            "=Size of field of type '{}' from assembly '{}' is too large.",
            def.plain_name(),
            def.module().assembly_display_name()
        )));
    }
    w.size = total as u32;
    w.unaligned = w.size;
    Ok(())
}

/// Types whose alignment the ABI fixes.
fn special_alignment(def: &TypeDefInfo, w: &mut Working) {
    if !def.is_intrinsic() && !def.is_corelib_type("System", "Int128") && !def.is_corelib_type("System", "UInt128") {
        return;
    }
    if !def.module().is_core_library() || !def.is_value_type() {
        return;
    }
    match (def.namespace(), def.name()) {
        ("System", "Int128" | "UInt128") => w.align = 16,
        ("System.Runtime.Intrinsics", "Vector64`1") => w.align = 8,
        ("System.Runtime.Intrinsics", "Vector128`1") => w.align = 16,
        ("System.Runtime.Intrinsics", "Vector256`1") => w.align = 32,
        ("System.Runtime.Intrinsics", "Vector512`1") => w.align = 64,
        ("System.Numerics", "Vector`1") => {
            // Declared as two 64-bit fields: 128 bits.
            w.align = 16;
        }
        _ => {}
    }
}

fn write_header(mt: &'static MethodTable, l: &InstanceLayout) -> Result<()> {
    let base_size = if mt.is_string() {
        22
    } else {
        (l.size + 16).next_multiple_of(8).max(24)
    };
    let h = mt.header_ptr();
    // SAFETY: loader lock held, level not published yet.
    unsafe { (*h).base_size = base_size };
    if l.gc_refs.is_empty() {
        return Ok(());
    }
    // SAFETY: as above.
    unsafe { (*h).flags |= flags::CONTAINS_GC_POINTERS };
    let offsets: Vec<usize> = l.gc_refs.iter().map(|o| *o as usize + 8).collect();
    write_gc_desc(mt, &GcDesc::from_offsets(&offsets), base_size)
}

fn write_gc_desc(mt: &'static MethodTable, desc: &GcDesc, base_size: u32) -> Result<()> {
    let words = desc.encode(base_size);
    if words.len() > 2 + 2 * mt.class().gc_series_bound as usize {
        return Err(type_load(mt.handle(), "inconsistent GC descriptor"));
    }
    let n = words.len();
    for (i, w) in words.iter().enumerate() {
        // SAFETY: `new_method_table` reserved this many words below the header; lock held. The encoder gives
        // the words in ascending address order, the last one at -8.
        unsafe { ((mt.address() - 8 * (n - i)) as *mut u64).write(*w) };
    }
    Ok(())
}

fn array_layout(mt: &'static MethodTable, a: ArrayInfo) -> Result<()> {
    if let Some(p) = mt.parent() {
        ensure(p, LoadLevel::Layout)?;
    }
    if let Some(e) = a.element.as_method_table().filter(|m| m.is_value_type()) {
        ensure(e, LoadLevel::Layout)?;
    }
    let component = a.element.size_in_field();
    if component > 0xFFFF {
        let element = a.element.as_method_table();
        return Err(type_load(
            mt.handle(),
            format!(
                "=Array of type '{}' from assembly '{}' cannot be created because base value type is too large.",
                a.element.display_name(),
                element.map_or_else(String::new, |m| m.module().assembly_display_name())
            ),
        ));
    }
    let base_size = if a.sz { 24 } else { 24 + 8 * a.rank };
    let h = mt.header_ptr();
    // SAFETY: loader lock held, level not published yet.
    unsafe {
        (*h).flags |= component;
        (*h).base_size = base_size;
    }
    let data = base_size as usize - 8;
    let desc = if a.element.is_reference_type() {
        Some(GcDesc::RefArray { data_offset: data })
    } else {
        let refs = a
            .element
            .as_method_table()
            .map_or(&[][..], |m| &m.class().layout().gc_refs);
        let offsets: Vec<usize> = refs.iter().map(|r| *r as usize).collect();
        (!offsets.is_empty()).then(|| GcDesc::for_struct_array(data, component as usize, &offsets))
    };
    if let Some(d) = desc {
        // SAFETY: as above.
        unsafe { (*h).flags |= flags::CONTAINS_GC_POINTERS };
        write_gc_desc(mt, &d, base_size)?;
    }
    let _ = mt.class().fields.set(Box::default());
    let _ = mt.class().layout.set(InstanceLayout {
        field_alignment: 8,
        ..InstanceLayout::default()
    });
    Ok(())
}
