//! Where the locals of a function live in its frame.
//!
//! The layout depends only on the locals and their order, so a filter function computes the same offsets for the locals of
//! its parent, and OSR will for its predecessor.

use crate::host_api::{CompilerHost, HostResult, TypeInfo, TypeKind};
use crate::ids::TypeId;
use crate::ir::{Func, Local, Ty};

/// What a frame slot that the collector looks at holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum GcKind {
    /// Object reference.
    Ref,
    /// Managed (possibly interior) pointer.
    ByRef,
}

/// A frame slot that the collector looks at, by its offset in the area of the locals and temporaries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AreaSlot {
    /// Byte offset in the area.
    pub offset: u32,
    /// What it holds.
    pub kind: GcKind,
    /// The referent must not move.
    pub pinned: bool,
}

/// Place of one local.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalPlace {
    /// Byte offset in the area of its frame (of the parent's frame for the parent's locals of a filter).
    pub offset: u32,
    /// Meaningful bytes.
    pub size: u32,
    /// Memory kind: small integers are stored in their width; `Struct` for value types.
    pub kind: TypeKind,
    /// Lives in the parent's frame.
    pub in_parent: bool,
}

/// Frame layout of the locals.
#[derive(Clone, Debug, Default)]
pub struct FrameLayout {
    /// By index of the local.
    pub locals: Vec<LocalPlace>,
    /// Bytes of this frame's own area of locals, a multiple of 8.
    pub size: u32,
    /// References in own locals.
    pub gc_slots: Vec<AreaSlot>,
    /// Byte ranges of own locals to zero at entry (offset, bytes), multiples of 8, in order. Arguments are not among them.
    pub zero: Vec<(u32, u32)>,
    /// A local needs 16-byte alignment.
    pub align16: bool,
}

/// References in a value of this type: (offset, kind), each offset once.
pub fn gc_pieces(info: &TypeInfo) -> impl Iterator<Item = (u32, GcKind)> + '_ {
    let mut last = None;
    info.fields.iter().filter_map(move |f| {
        let kind = match f.kind {
            TypeKind::Ref => GcKind::Ref,
            TypeKind::ByRef => GcKind::ByRef,
            _ => return None,
        };
        if last == Some(f.offset) {
            return None;
        }
        last = Some(f.offset);
        Some((f.offset, kind))
    })
}

fn scalar_kind(ty: Ty) -> TypeKind {
    match ty {
        Ty::I32 => TypeKind::I4,
        Ty::I64 => TypeKind::I8,
        Ty::F32 => TypeKind::R4,
        Ty::F64 => TypeKind::R8,
        Ty::Ref => TypeKind::Ref,
        Ty::ByRef => TypeKind::ByRef,
        // Accesses go by the type of the local.
        Ty::V128 | Ty::Struct(_) => TypeKind::Struct,
    }
}

impl FrameLayout {
    /// Lays out the locals of `func`.
    pub fn of(func: &Func, host: &dyn CompilerHost) -> HostResult<Self> {
        Self::with_registers(func, host, |_| false)
    }

    /// The same where some locals (scalars without references) live in registers: they get no memory, except in functions
    /// with filters, which must find the other locals at their usual places.
    pub(crate) fn with_registers(
        func: &Func,
        host: &dyn CompilerHost,
        in_register: impl Fn(Local) -> bool,
    ) -> HostResult<Self> {
        let parents = func.parent_locals.unwrap_or(0);
        let mut layout = FrameLayout {
            locals: Vec::with_capacity(func.locals.len()),
            ..Default::default()
        };
        let mut parent_size = 0u32;
        for (local, data) in func.locals.iter() {
            let in_parent = local_index(local) < parents;
            let top = if in_parent { &mut parent_size } else { &mut layout.size };
            let mut place = LocalPlace {
                offset: 0,
                size: 8,
                kind: scalar_kind(data.ty),
                in_parent,
            };
            let mut info = None;
            match data.ty {
                Ty::Struct(id) => {
                    let ty = host.type_info(id)?;
                    place.size = ty.size.max(1);
                    if ty.align >= 16 {
                        *top = top.next_multiple_of(16);
                        layout.align16 |= !in_parent;
                    }
                    info = Some(ty);
                }
                Ty::I32 if data.type_id != TypeId(0) => {
                    let kind = host.type_info(data.type_id)?.kind;
                    if matches!(kind, TypeKind::I1 | TypeKind::U1 | TypeKind::I2 | TypeKind::U2) {
                        place.kind = kind;
                    }
                    place.size = 4;
                }
                Ty::I32 | Ty::F32 => place.size = 4,
                Ty::V128 => place.size = 16,
                _ => {}
            }
            let promoted = in_register(local);
            let fixed = func.patchpoints.is_some() && local_index(local) < func.fixed_locals;
            if promoted && func.filters.is_empty() && !fixed {
                layout.locals.push(place);
                continue;
            }
            place.offset = *top;
            let bytes = place.size.next_multiple_of(8);
            *top = top.saturating_add(bytes);
            layout.locals.push(place);
            if in_parent || promoted {
                continue;
            }
            let before = layout.gc_slots.len();
            match data.ty {
                Ty::Ref => layout.gc_slots.push(AreaSlot {
                    offset: place.offset,
                    kind: GcKind::Ref,
                    pinned: data.pinned,
                }),
                Ty::ByRef => {
                    layout.gc_slots.push(AreaSlot {
                        offset: place.offset,
                        kind: GcKind::ByRef,
                        pinned: data.pinned,
                    });
                }
                Ty::Struct(_) => {
                    if let Some(info) = &info {
                        layout.gc_slots.extend(gc_pieces(info).map(|(offset, kind)| AreaSlot {
                            offset: place.offset + offset,
                            kind,
                            pinned: data.pinned,
                        }));
                    }
                }
                _ => {}
            }
            let has_gc = layout.gc_slots.len() > before;
            let is_arg = parents == 0 && local_index(local) < func.arg_count;
            if !is_arg && (has_gc || data.zero_init) {
                match layout.zero.last_mut() {
                    Some((offset, len)) if *offset + *len == place.offset => *len += bytes,
                    _ => layout.zero.push((place.offset, bytes)),
                }
            }
        }
        Ok(layout)
    }

    /// Place of a local.
    pub fn place(&self, local: Local) -> LocalPlace {
        self.locals[local_index(local)]
    }
}

fn local_index(local: Local) -> usize {
    use cranelift_entity::EntityRef;
    local.index()
}
