//! Static field storage: native, non-moving memory, allocated on first use of a type's statics.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use corten_metadata::{TableId, Token};

use crate::{
    collectible::Collectible,
    element_type::ElementType,
    error::{LoadError, Result},
    field_desc::{FieldDesc, FieldKind},
    method_table::MethodTable,
};

/// What the loader needs of the collector for statics.
pub trait StaticsHook: Sync {
    /// `count` consecutive object reference slots starting at `slots` are roots for ever.
    fn register_static_refs(&self, slots: *mut usize, count: usize);
    /// As `register_static_refs`, as long as the group lives.
    fn register_collectible_refs(&self, group: &'static Collectible, slots: *mut usize, count: usize);
    /// While `group` lives, `other` does.
    fn keep_alive(&self, group: &'static Collectible, other: &'static Collectible);
}

static HOOK: OnceLock<&'static dyn StaticsHook> = OnceLock::new();

/// The collector's hook.
pub(crate) fn hook() -> Option<&'static dyn StaticsHook> {
    HOOK.get().copied()
}

/// Installs the collector's hook (once, at startup). Storage allocated earlier is not reported.
pub fn set_statics_hook(hook: &'static dyn StaticsHook) {
    let _ = HOOK.set(hook);
}

/// Where the parts of a type's static storage lie. One allocation holds, in this order: the GC block (one word per
/// reference and per boxed struct), the non-GC block (numbers, by falling size), and the boxes themselves. The
/// first two are addressed by precompiled code, with the offsets of the reference runtime.
#[derive(Debug, Clone, Default)]
pub struct StaticsLayout {
    /// Bytes in all.
    pub size: u32,
    /// Alignment in bytes.
    pub align: u32,
    /// Start of the non-GC block; the GC block starts at 0.
    pub non_gc_start: u32,
    /// Offsets of object references, those inside boxes included.
    pub ref_offsets: Box<[u32]>,
    /// Boxed structs: (offset of the slot that points to the box, offset of the box object, its type).
    pub boxes: Box<[(u32, u32, &'static MethodTable)]>,
}

impl StaticsLayout {
    /// Writes the box headers and the slots that point to them into a zeroed block.
    ///
    /// # Safety
    /// `base` must point to `size` writable bytes aligned to `align`.
    pub unsafe fn initialize_block(&self, base: *mut u8) {
        for (slot, object, mt) in &self.boxes {
            // SAFETY: offsets lie inside the block by construction of the layout and are 8-aligned.
            unsafe {
                let object = base.add(*object as usize);
                object.cast::<usize>().write(mt.address());
                base.add(*slot as usize).cast::<*mut u8>().write(object);
            }
        }
    }
}

/// Static storage of one type.
#[derive(Debug)]
pub struct StaticStorage {
    base: usize,
    /// Where the parts are.
    pub layout: StaticsLayout,
}

impl StaticStorage {
    /// Address of byte 0, which [`FieldDesc::offset`] counts from.
    pub fn base(&self) -> *mut u8 {
        self.base as *mut u8
    }

    /// Base address of references and boxed structs for precompiled code.
    pub fn gc_base(&self) -> *mut u8 {
        self.base as *mut u8
    }

    /// Base address of all other statics for precompiled code.
    pub fn non_gc_base(&self) -> *mut u8 {
        (self.base + self.layout.non_gc_start as usize) as *mut u8
    }
}

/// Layout of a type's thread statics; the runtime owns the per-thread memory and calls
/// [`StaticsLayout::initialize_block`] on each new block.
#[derive(Debug, Clone)]
pub struct ThreadStaticsLayout {
    /// Process-wide number of this block.
    pub index: u32,
    /// Bytes.
    pub size: u32,
    /// Alignment in bytes.
    pub align: u32,
    /// Offsets of object references.
    pub ref_offsets: Box<[u32]>,
    /// All parts.
    pub layout: StaticsLayout,
}

/// Precompiled code counts thread statics from 16 bytes before their block (an array header there).
pub const THREAD_STATICS_BIAS: u32 = 16;

static NEXT_THREAD_STATICS: AtomicU32 = AtomicU32::new(0);

fn too_large(f: &FieldDesc) -> LoadError {
    crate::type_loader::type_load(f.owner.handle(), "static fields too large")
}

/// Places the fields of one kind.
fn place(fields: &[&'static FieldDesc]) -> Result<StaticsLayout> {
    let mut references = Vec::new();
    let mut structs: Vec<(&'static FieldDesc, &'static MethodTable)> = Vec::new();
    let mut numbers: [Vec<&'static FieldDesc>; 4] = Default::default();
    for f in fields {
        // A reference needs no more than a slot: its class may be missing as long as nothing uses it.
        if f.element_type() == ElementType::Class {
            references.push(*f);
            continue;
        }
        let ty = f.field_type()?;
        if ty.is_byref() || ty.is_byref_like() {
            return Err(crate::type_loader::type_load(
                f.owner.handle(),
                "a static field cannot be a byref or byref-like",
            ));
        }
        match (ty.internal_element_type().primitive_size(), ty.as_method_table()) {
            (Some(size), _) => numbers[size.trailing_zeros() as usize & 3].push(f),
            (None, Some(mt)) if mt.is_value_type() => structs.push((f, mt)),
            _ => references.push(*f),
        }
    }
    let mut layout = StaticsLayout {
        align: 8,
        ..StaticsLayout::default()
    };
    let (mut at, mut refs, mut boxes) = (0u32, Vec::new(), Vec::new());
    // Slots of boxes come before references.
    at += 8 * structs.len() as u32;
    for f in references {
        f.offset.store(at, Ordering::Release);
        refs.push(at);
        at += 8;
    }
    layout.non_gc_start = at;
    for (log2, group) in numbers.iter().enumerate().rev() {
        for f in group {
            f.offset.store(at, Ordering::Release);
            at += 1 << log2;
        }
    }
    for (i, (f, mt)) in structs.into_iter().enumerate() {
        let class = mt.class();
        let align = class.field_alignment().max(8);
        layout.align = layout.align.max(align);
        // Header word, MethodTable pointer, payload (aligned).
        let payload = at.checked_add(16).ok_or_else(|| too_large(f))?.next_multiple_of(align);
        boxes.push((8 * i as u32, payload - 8, mt));
        refs.extend(class.layout().gc_refs.iter().map(|r| payload + r));
        f.offset.store(payload, Ordering::Release);
        at = payload.checked_add(class.instance_size()).ok_or_else(|| too_large(f))?;
    }
    layout.size = at;
    layout.ref_offsets = refs.into();
    layout.boxes = boxes.into();
    Ok(layout)
}

/// Offset of a static field as precompiled code counts it, and whether it is in the GC block (then a struct's slot
/// holds its box). Valid after the storage of the owner has been laid out.
pub fn precompiled_offset(f: &FieldDesc) -> Option<(bool, u32)> {
    let (layout, bias) = match f.kind() {
        FieldKind::Static => (&f.owner.class().statics.get()?.layout, 0),
        FieldKind::ThreadStatic => (&f.owner.class().thread_statics.get()?.layout, THREAD_STATICS_BIAS),
        _ => return None,
    };
    let at = f.offset();
    if let Some((slot, ..)) = layout.boxes.iter().find(|b| b.1 + 8 == at) {
        return Some((true, slot + bias));
    }
    Some(if at < layout.non_gc_start {
        (true, at + bias)
    } else {
        (false, at - layout.non_gc_start + bias)
    })
}

fn declared(mt: &'static MethodTable, kind: FieldKind) -> Vec<&'static FieldDesc> {
    mt.fields().iter().filter(|f| f.kind() == kind).collect()
}

/// Allocates (once) the static storage of `mt`.
///
/// # Errors
/// When a static field's type cannot be loaded.
pub fn ensure_statics(mt: &'static MethodTable) -> Result<&'static StaticStorage> {
    let class = mt.class();
    if let Some(s) = class.statics.get() {
        return Ok(s);
    }
    let _guard = crate::sync::enter_loader();
    if let Some(s) = class.statics.get() {
        return Ok(s);
    }
    if mt.contains_generic_variables() {
        return Err(LoadError::InvalidProgram {
            reason: format!("static fields of the open type {} have no storage", mt.handle()),
        });
    }
    let layout = place(&declared(mt, FieldKind::Static))?;
    let base = crate::arena::alloc_zeroed(layout.size.max(8) as usize, layout.align as usize);
    // SAFETY: freshly allocated with this size and alignment.
    unsafe { layout.initialize_block(base as *mut u8) };
    if let Some(hook) = HOOK.get() {
        for run in layout.ref_offsets.chunk_by(|a, b| *b == *a + 8) {
            let slots = (base + run[0] as usize) as *mut usize;
            match class.collectible() {
                Some(group) => hook.register_collectible_refs(group, slots, run.len()),
                None => hook.register_static_refs(slots, run.len()),
            }
        }
    }
    Ok(class.statics.get_or_init(|| StaticStorage { base, layout }))
}

/// Layout (once) of the thread statics of `mt`.
///
/// # Errors
/// When a field's type cannot be loaded.
pub fn ensure_thread_statics(mt: &'static MethodTable) -> Result<&'static ThreadStaticsLayout> {
    let class = mt.class();
    if let Some(s) = class.thread_statics.get() {
        return Ok(s);
    }
    let _guard = crate::sync::enter_loader();
    if let Some(s) = class.thread_statics.get() {
        return Ok(s);
    }
    let layout = place(&declared(mt, FieldKind::ThreadStatic))?;
    let index = NEXT_THREAD_STATICS.fetch_add(1, Ordering::Relaxed);
    Ok(class.thread_statics.get_or_init(|| ThreadStaticsLayout {
        index,
        size: layout.size,
        align: layout.align,
        ref_offsets: layout.ref_offsets.clone(),
        layout,
    }))
}

/// Number of thread static blocks handed out so far.
pub fn thread_statics_count() -> u32 {
    NEXT_THREAD_STATICS.load(Ordering::Relaxed)
}

/// Address of a static (or RVA) field; of the payload for a boxed struct.
///
/// # Errors
/// For instance, thread static and literal fields, or when the storage cannot be made.
pub fn static_field_address(fd: &'static FieldDesc) -> Result<*mut u8> {
    match fd.kind() {
        FieldKind::Rva(addr) => Ok(addr as *mut u8),
        FieldKind::Static => {
            let s = ensure_statics(fd.owner)?;
            Ok((s.base + fd.offset() as usize) as *mut u8)
        }
        FieldKind::Literal => Err(LoadError::MissingField {
            class: fd.owner.handle().display_name(),
            field: fd.name().to_owned(),
        }),
        kind => Err(LoadError::InvalidProgram {
            reason: format!("{fd:?} ({kind:?}) has no static address"),
        }),
    }
}

/// `[ThreadStatic]` test used when FieldDescs are made.
pub(crate) fn is_thread_static(module: &'static crate::module::Module, field_rid: u32) -> bool {
    module
        .metadata()
        .has_attribute(Token::new(TableId::Field, field_rid), "System", "ThreadStaticAttribute")
}
