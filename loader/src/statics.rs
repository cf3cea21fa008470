//! Static field storage: native, non-moving memory, allocated on first use of a type's statics.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use corten_metadata::{TableId, Token};

use crate::{
    error::{LoadError, Result},
    field_desc::{FieldDesc, FieldKind},
    method_table::MethodTable,
};

/// What the loader needs of the collector for statics.
pub trait StaticsHook: Sync {
    /// `count` consecutive object reference slots starting at `slots` are roots for ever.
    fn register_static_refs(&self, slots: *mut usize, count: usize);
}

static HOOK: OnceLock<&'static dyn StaticsHook> = OnceLock::new();

/// Installs the collector's hook (once, at startup). Storage allocated earlier is not reported.
pub fn set_statics_hook(hook: &'static dyn StaticsHook) {
    let _ = HOOK.set(hook);
}

/// Static storage of one type.
#[derive(Debug)]
pub struct StaticStorage {
    base: usize,
    /// Bytes.
    pub size: u32,
    /// Number of reference slots at the start.
    pub ref_slots: u32,
}

impl StaticStorage {
    /// Address of byte 0.
    pub fn base(&self) -> *mut u8 {
        self.base as *mut u8
    }
}

/// Layout of a type's thread statics; the runtime owns the per-thread memory.
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
}

static NEXT_THREAD_STATICS: AtomicU32 = AtomicU32::new(0);

struct Placement {
    size: u32,
    align: u32,
    refs: Vec<u32>,
}

/// Places the fields of one kind: references first, then structs with references, then the rest by
/// decreasing alignment.
fn place(fields: &[&'static FieldDesc]) -> Result<Placement> {
    let mut p = Placement {
        size: 0,
        align: 8,
        refs: Vec::new(),
    };
    let mut pending = Vec::new();
    for f in fields {
        let ty = f.field_type()?;
        if ty.is_byref() || ty.is_byref_like() {
            return Err(crate::type_loader::type_load(
                f.owner.handle(),
                "a static field cannot be a byref or byref-like",
            ));
        }
        if ty.is_reference_type() {
            f.offset.store(p.size, Ordering::Release);
            p.refs.push(p.size);
            p.size += 8;
        } else {
            pending.push((*f, ty));
        }
    }
    // Stable sort: by containing references, then by alignment descending.
    pending.sort_by_key(|(_, t)| (!t.contains_gc_pointers(), std::cmp::Reverse(t.align())));
    for (f, ty) in pending {
        let align = ty.align().max(if ty.contains_gc_pointers() { 8 } else { 1 });
        let at = p.size.next_multiple_of(align);
        f.offset.store(at, Ordering::Release);
        p.align = p.align.max(align);
        if let Some(mt) = ty.as_method_table() {
            p.refs.extend(mt.class().layout().gc_refs.iter().map(|r| at + r));
        }
        p.size = at
            .checked_add(ty.size_in_field())
            .ok_or_else(|| crate::type_loader::type_load(f.owner.handle(), "static fields too large"))?;
    }
    Ok(p)
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
    let p = place(&declared(mt, FieldKind::Static))?;
    let base = crate::arena::alloc_zeroed(p.size.max(8) as usize, p.align.max(8) as usize);
    if let Some(hook) = HOOK.get() {
        let mut i = 0;
        while i < p.refs.len() {
            let mut n = 1;
            while i + n < p.refs.len() && p.refs[i + n] == p.refs[i] + 8 * n as u32 {
                n += 1;
            }
            hook.register_static_refs((base + p.refs[i] as usize) as *mut usize, n);
            i += n;
        }
    }
    let leading = p
        .refs
        .iter()
        .enumerate()
        .take_while(|(i, r)| **r == 8 * *i as u32)
        .count();
    Ok(class.statics.get_or_init(|| StaticStorage {
        base,
        size: p.size,
        ref_slots: leading as u32,
    }))
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
    let p = place(&declared(mt, FieldKind::ThreadStatic))?;
    let index = NEXT_THREAD_STATICS.fetch_add(1, Ordering::Relaxed);
    Ok(class.thread_statics.get_or_init(|| ThreadStaticsLayout {
        index,
        size: p.size,
        align: p.align,
        ref_offsets: p.refs.into(),
    }))
}

/// Number of thread static blocks handed out so far.
pub fn thread_statics_count() -> u32 {
    NEXT_THREAD_STATICS.load(Ordering::Relaxed)
}

/// Address of a static (or RVA) field.
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
