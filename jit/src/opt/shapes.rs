//! How value types fall apart into scalar fields.

use crate::builder::mem_ty;
use crate::host_api::{CompilerHost, TypeInfo, TypeKind};
use crate::ids::TypeId;
use crate::ir::{ConvOp, MemTy, Ty};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// Values with more fields stay in memory.
const MAX_FIELDS: usize = 16;

/// One scalar of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Field {
    /// In bytes.
    pub offset: u32,
    /// Never a struct.
    pub mem: MemTy,
}

/// The scalars that make up a value type, in order.
#[derive(Debug)]
pub(super) struct Shape {
    pub fields: Vec<Field>,
    /// Of the whole, in bytes.
    pub size: u32,
}

/// What an access to a part of a value touches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// One scalar.
    Scalar(usize),
    /// Whole fields: first and number.
    Fields(usize, usize),
}

/// Shapes of types, asked once each.
pub(super) struct Shapes<'a> {
    host: &'a dyn CompilerHost,
    known: FxHashMap<TypeId, Option<Rc<Shape>>>,
}

/// Bytes of a scalar.
pub(super) fn scalar_bytes(mem: MemTy) -> u32 {
    match mem {
        MemTy::I8 | MemTy::U8 => 1,
        MemTy::I16 | MemTy::U16 => 2,
        MemTy::I32 | MemTy::F32 => 4,
        MemTy::I64 | MemTy::F64 | MemTy::Ref | MemTy::ByRef => 8,
        MemTy::V128 => 16,
        MemTy::Struct(_) => 0,
    }
}

impl<'a> Shapes<'a> {
    pub fn new(host: &'a dyn CompilerHost) -> Self {
        Shapes {
            host,
            known: FxHashMap::default(),
        }
    }

    /// The shape of a value type; `None` if it cannot be taken apart.
    pub fn of(&mut self, ty: TypeId) -> Option<Rc<Shape>> {
        if let Some(known) = self.known.get(&ty) {
            return known.clone();
        }
        let shape = self
            .host
            .type_info(ty)
            .ok()
            .and_then(|info| make(&info))
            .filter(|_| !self.host.has_hidden_bytes(ty))
            .map(Rc::new);
        self.known.insert(ty, shape.clone());
        shape
    }

    /// What an access of type `mem` at `offset` of a value of that shape touches.
    pub fn part(&mut self, shape: &Shape, offset: i64, mem: MemTy) -> Option<Part> {
        let offset = u32::try_from(offset).ok()?;
        let first = shape.fields.partition_point(|f| f.offset < offset);
        let MemTy::Struct(ty) = mem else {
            let field = shape.fields.get(first)?;
            let fits = field.offset == offset && (field.mem == mem || cast(field.mem, mem).is_some());
            return fits.then_some(Part::Scalar(first));
        };
        let inner = self.of(ty)?;
        if offset.checked_add(inner.size)? > shape.size {
            return None;
        }
        let count = inner.fields.len();
        let fields = shape.fields.get(first..first + count)?;
        let same = fields
            .iter()
            .zip(&inner.fields)
            .all(|(f, g)| f.offset == offset + g.offset && f.mem == g.mem);
        // Nothing of the outer value may be in the inner one's padding.
        let end = offset + inner.size;
        let apart = shape.fields.get(first + count).is_none_or(|f| f.offset >= end);
        (same && apart).then_some(Part::Fields(first, count))
    }
}

fn make(info: &TypeInfo) -> Option<Shape> {
    if info.kind != TypeKind::Struct {
        return None;
    }
    if let Some(size @ (8 | 16)) = info.vector_size {
        // One scalar: the whole register, or the integer of its bits. (Larger ones are pairs of 16-byte vectors.)
        let mem = if size == 16 { MemTy::V128 } else { MemTy::I64 };
        return Some(Shape {
            fields: vec![Field { offset: 0, mem }],
            size,
        });
    }
    if info.fields.is_empty() || info.fields.len() > MAX_FIELDS {
        return None;
    }
    let mut fields = Vec::with_capacity(info.fields.len());
    let mut end = 0;
    let mut vectors = info.vectors.iter().copied().peekable();
    let mut vector_end = 0;
    for field in info.fields.iter() {
        if vectors.next_if_eq(&field.offset).is_some() {
            if field.offset < end {
                return None;
            }
            (end, vector_end) = (field.offset + 16, field.offset + 16);
            fields.push(Field {
                offset: field.offset,
                mem: MemTy::V128,
            });
            continue;
        }
        if field.offset < vector_end {
            // A piece of that vector.
            continue;
        }
        let mem = mem_ty(field.kind, TypeId(0)).filter(|m| !matches!(m, MemTy::Struct(_)))?;
        if field.offset < end {
            return None;
        }
        end = field.offset + scalar_bytes(mem);
        fields.push(Field {
            offset: field.offset,
            mem,
        });
    }
    (end <= info.size).then_some(Shape {
        fields,
        size: info.size,
    })
}

/// Conversion of the value of a field of type `from` into what a load of type `to` of the same bytes gives, if there is one.
pub(super) fn cast(from: MemTy, to: MemTy) -> Option<(ConvOp, Ty)> {
    Some(match (from, to) {
        (MemTy::I8, MemTy::U8) => (ConvOp::Zext8, Ty::I32),
        (MemTy::U8, MemTy::I8) => (ConvOp::Sext8, Ty::I32),
        (MemTy::I16, MemTy::U16) => (ConvOp::Zext16, Ty::I32),
        (MemTy::U16, MemTy::I16) => (ConvOp::Sext16, Ty::I32),
        (MemTy::I32, MemTy::F32) => (ConvOp::BitcastI32F32, Ty::F32),
        (MemTy::F32, MemTy::I32) => (ConvOp::BitcastF32I32, Ty::I32),
        (MemTy::I64, MemTy::F64) => (ConvOp::BitcastI64F64, Ty::F64),
        (MemTy::F64, MemTy::I64) => (ConvOp::BitcastF64I64, Ty::I64),
        (MemTy::ByRef, MemTy::I64) => (ConvOp::RefToInt, Ty::I64),
        (MemTy::I64, MemTy::ByRef) => (ConvOp::IntToByRef, Ty::ByRef),
        _ => return None,
    })
}
