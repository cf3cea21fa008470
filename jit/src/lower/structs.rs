//! Struct values: places, temporaries, copies.

use super::{Addr, LowerError, Lowerer, NONE, Result, StructPlace, Val, plain, temp_key, uses};
use crate::abi::{Piece, RegClass, scalar_size};
use crate::host_api::{TypeInfo, TypeKind};
use crate::ids::TypeId;
use crate::ir::{Helper, Local, MemTy, Op, Ty, Value};
use crate::layout::{AreaSlot, gc_pieces};
use cranelift_codegen::ir::{self, InstBuilder, types};
use cranelift_entity::EntityRef;
use smallvec::SmallVec;

/// Larger blocks are copied and cleared by calls.
const INLINE_BYTES: u32 = 128;
/// How far the search for a clobber of an aliased source looks.
const ALIAS_WINDOW: u32 = 64;
/// Values with more fields are copied in large pieces.
const FIELDWISE: usize = 6;

/// Where an aliased struct value comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Local(Local),
    Memory,
}

impl Lowerer<'_> {
    pub(super) fn struct_place(&self, v: Value) -> Result<StructPlace> {
        match self.vals[v.index()] {
            Val::Struct { place, .. } => Ok(place),
            Val::Unset => Err(LowerError::Malformed(format!(
                "{v} is not defined before its use in the block"
            ))),
            _ => Err(LowerError::Malformed(format!("{v} is a scalar, a struct is needed"))),
        }
    }

    pub(super) fn struct_type(&self, v: Value) -> Result<TypeId> {
        match self.func.values[v] {
            Ty::Struct(id) => Ok(id),
            other => Err(LowerError::Malformed(format!(
                "{v} has type {other:?}, a struct is needed"
            ))),
        }
    }

    /// A temporary for a value of this type; its references are valid (zero or stale).
    pub(super) fn alloc_temp(&mut self, info: &TypeInfo) -> Result<u32> {
        let key = temp_key(info);
        if let Some(offset) = self.free_temps.get_mut(&key).and_then(Vec::pop) {
            return Ok(offset);
        }
        let bytes = info.size.max(1).next_multiple_of(8);
        let offset = self.alloc_area(bytes)?;
        if info.has_gc_pointers {
            for (o, kind) in gc_pieces(info) {
                self.gc_slots.push(AreaSlot {
                    offset: offset + o,
                    kind,
                    pinned: false,
                });
            }
            self.add_zero(offset, bytes);
        }
        Ok(offset)
    }

    /// Records a struct value that owns a temporary.
    pub(super) fn set_temp(&mut self, result: Value, temp: u32) {
        self.vals[result.index()] = Val::Struct {
            place: StructPlace::At(Addr::Frame(temp)),
            temp,
        };
    }

    /// Records a value of a 16-byte vector type.
    fn set_vector_struct(&mut self, result: Value, v: ir::Value) {
        self.vals[result.index()] = Val::Struct {
            place: StructPlace::Register(v),
            temp: NONE,
        };
    }

    /// Records a struct value read from `src`: an alias where its last use comes before any change of the source.
    pub(super) fn set_struct_from(
        &mut self,
        index: u32,
        result: Value,
        ty: TypeId,
        src: Addr,
        from: Source,
    ) -> Result<()> {
        if self.type_info(ty)?.vector_size == Some(16) {
            let v = self.load(types::I8X16, src);
            self.set_vector_struct(result, v);
            return Ok(());
        }
        if self.alias_is_safe(index, result, from) {
            self.vals[result.index()] = Val::Struct {
                place: StructPlace::At(src),
                temp: NONE,
            };
            return Ok(());
        }
        let info = self.type_info(ty)?;
        let temp = self.alloc_temp(&info)?;
        self.copy_struct(Addr::Frame(temp), src, &info);
        self.set_temp(result, temp);
        Ok(())
    }

    fn alias_is_safe(&self, index: u32, result: Value, from: Source) -> bool {
        let last = self.last_use[result.index()];
        if last == NONE {
            return true;
        }
        if last - index > ALIAS_WINDOW {
            return false;
        }
        let from = match from {
            Source::Local(l) if self.layout.place(l).in_parent => Source::Memory,
            other => other,
        };
        let insts = &self.func.blocks[self.block].insts;
        let between = &insts[index as usize + 1..last as usize];
        let user = insts.get(last as usize).map(|i| &i.op);
        // The address of the temporary escapes: never alias.
        if matches!(user, Some(Op::StructAddr(_))) || between.iter().any(|i| i.op == Op::StructAddr(result)) {
            return false;
        }
        match from {
            Source::Local(l) => {
                let exposed = self.exposed[l.index()];
                !between.iter().any(|i| match i.op {
                    Op::LocalSet(set, _) => set == l,
                    ref op => exposed && uses::writes_memory(op),
                })
            }
            Source::Memory => !between
                .iter()
                .any(|i| matches!(i.op, Op::LocalSet(..)) || uses::writes_memory(&i.op)),
        }
    }

    /// Address of a struct value in memory; zeroes are written to a temporary.
    pub(super) fn materialise(&mut self, v: Value) -> Result<Addr> {
        match self.struct_place(v)? {
            StructPlace::At(addr) => Ok(addr),
            StructPlace::Zero => {
                let id = self.struct_type(v)?;
                let info = self.type_info(id)?;
                let temp = self.alloc_temp(&info)?;
                self.zero_memory(Addr::Frame(temp), info.size);
                self.set_temp(v, temp);
                Ok(Addr::Frame(temp))
            }
            StructPlace::Register(value) => {
                let id = self.struct_type(v)?;
                let info = self.type_info(id)?;
                let temp = self.alloc_temp(&info)?;
                self.store(value, Addr::Frame(temp));
                self.set_temp(v, temp);
                Ok(Addr::Frame(temp))
            }
        }
    }

    /// Writes a struct value to memory, without barriers.
    pub(super) fn store_struct(&mut self, dst: Addr, v: Value, info: &TypeInfo) -> Result<()> {
        match self.struct_place(v)? {
            StructPlace::Zero => self.zero_memory(dst, info.size),
            StructPlace::Register(v) => self.store(v, dst),
            StructPlace::At(src) => {
                if src != dst {
                    self.copy_struct(dst, src, info);
                }
            }
        }
        Ok(())
    }

    /// Copies a value field by field where it has few: a wider load than the store before it would stall.
    pub(super) fn copy_struct(&mut self, dst: Addr, src: Addr, info: &TypeInfo) {
        if info.vector_size.is_some() || !info.vectors.is_empty() && !info.has_gc_pointers {
            return self.copy_memory(dst, src, info.size, false);
        }
        if info.fields.len() > FIELDWISE || info.size > INLINE_BYTES {
            return self.copy_memory(dst, src, info.size, info.has_gc_pointers);
        }
        let mut at = 0;
        let mut moves: SmallVec<[(u32, ir::Type); 16]> = SmallVec::new();
        let gap = |from: u32, to: u32, moves: &mut SmallVec<[(u32, ir::Type); 16]>| {
            // Padding counts: fixed buffers and explicit sizes hide data there.
            moves.extend(chunks(to - from, false).map(|(o, ty)| (from + o, ty)));
        };
        for field in info.fields.iter() {
            let size = scalar_size(field.kind);
            if field.offset < at || field.offset + size > info.size {
                return self.copy_memory(dst, src, info.size, true);
            }
            gap(at, field.offset, &mut moves);
            let ty = match size {
                1 => types::I8,
                2 => types::I16,
                4 => types::I32,
                _ => types::I64,
            };
            moves.push((field.offset, ty));
            at = field.offset + size;
        }
        gap(at, info.size, &mut moves);
        for (offset, ty) in moves {
            let v = self.load(ty, src.plus(offset));
            self.store(v, dst.plus(offset));
        }
    }

    pub(super) fn copy_memory(&mut self, dst: Addr, src: Addr, bytes: u32, words: bool) {
        if bytes > INLINE_BYTES {
            let d = self.addr_value(dst);
            let s = self.addr_value(src);
            let n = self.iconst(types::I64, i64::from(bytes));
            self.call_leaf(Helper::MemMove, &[d, s, n]);
            return;
        }
        for (offset, ty) in chunks(bytes, !words) {
            let v = self.load(ty, src.plus(offset));
            self.store(v, dst.plus(offset));
        }
    }

    pub(super) fn zero_memory(&mut self, dst: Addr, bytes: u32) {
        if bytes > INLINE_BYTES {
            let d = self.addr_value(dst);
            let zero = self.iconst(types::I32, 0);
            let n = self.iconst(types::I64, i64::from(bytes));
            self.call_leaf(Helper::MemSet, &[d, zero, n]);
        } else {
            self.zero_inline(dst, bytes);
        }
    }

    /// The same, by stores whatever the size.
    pub(super) fn zero_inline(&mut self, dst: Addr, bytes: u32) {
        let mut vector = None;
        for (offset, ty) in chunks(bytes, true) {
            let v = if ty == types::I8X16 {
                *vector.get_or_insert_with(|| self.zero_vector())
            } else {
                self.iconst(ty, 0)
            };
            self.store(v, dst.plus(offset));
        }
    }

    /// Loads a register-sized piece of a struct value for a call or return.
    pub(super) fn load_piece(&mut self, addr: Addr, piece: &Piece, padded: bool) -> ir::Value {
        let addr = addr.plus(piece.offset);
        if piece.class() == RegClass::Sse {
            return self.load(piece.clif_type(), addr);
        }
        match piece.size {
            8 => self.load(types::I64, addr),
            _ if padded => self.load(types::I64, addr),
            4 => {
                let (p, o) = self.base(addr);
                self.cur.ins().uload32(plain(), p, o)
            }
            size => {
                // 1, 2, 3, 5, 6, 7 bytes: gather without reading past the end.
                let mut whole = None;
                for (offset, ty) in chunks(u32::from(size), false) {
                    let part = self.load(ty, addr.plus(offset));
                    let mut part = self.cur.ins().uextend(types::I64, part);
                    if offset > 0 {
                        let amount = self.iconst(types::I64, i64::from(offset * 8));
                        part = self.cur.ins().ishl(part, amount);
                    }
                    whole = Some(match whole {
                        None => part,
                        Some(w) => self.cur.ins().bor(w, part),
                    });
                }
                match whole {
                    Some(w) => w,
                    None => self.iconst(types::I64, 0),
                }
            }
        }
    }

    /// Pieces of a struct value in registers.
    pub(super) fn struct_pieces(&mut self, v: Value, pieces: &[Piece], out: &mut Vec<ir::Value>) -> Result<()> {
        let mut place = self.struct_place(v)?;
        if let StructPlace::Register(_) = place {
            place = StructPlace::At(self.materialise(v)?);
        }
        for piece in pieces {
            let value = match place {
                StructPlace::Zero => match piece.clif_type() {
                    types::F64 => self.cur.ins().f64const(0.0),
                    types::F32 => self.cur.ins().f32const(0.0),
                    ty => self.iconst(ty, 0),
                },
                StructPlace::Register(_) => return Err(LowerError::Malformed("pieces of a vector".into())),
                // Everything in the area is padded to 8 bytes.
                StructPlace::At(addr) => self.load_piece(addr, piece, matches!(addr, Addr::Frame(_))),
            };
            out.push(value);
        }
        Ok(())
    }

    pub(super) fn lower_struct_field(
        &mut self,
        index: u32,
        result: Value,
        value: Value,
        offset: u32,
        ty: MemTy,
    ) -> Result<()> {
        let mut place = self.struct_place(value)?;
        if let StructPlace::Register(v) = place {
            if ty == MemTy::V128 && offset == 0 {
                self.set_plain(result, v);
                return Ok(());
            }
            place = StructPlace::At(self.materialise(value)?);
        }
        if let MemTy::Struct(id) = ty {
            match place {
                StructPlace::Register(_) => return Err(LowerError::Malformed("field of a vector".into())),
                StructPlace::Zero => {
                    self.vals[result.index()] = Val::Struct {
                        place: StructPlace::Zero,
                        temp: NONE,
                    };
                }
                StructPlace::At(addr) => {
                    // The outer value's temporary may be reused after its last use: alias only if it is used later still.
                    let outer_lives = self.last_use[value.index()] > self.last_use[result.index()];
                    let owned = matches!(self.vals[value.index()], Val::Struct { temp, .. } if temp != NONE);
                    if owned && outer_lives && self.last_use[result.index()] != NONE {
                        let place = StructPlace::At(addr.plus(offset));
                        self.vals[result.index()] = Val::Struct { place, temp: NONE };
                    } else {
                        let _ = index;
                        let info = self.type_info(id)?;
                        let temp = self.alloc_temp(&info)?;
                        self.copy_struct(Addr::Frame(temp), addr.plus(offset), &info);
                        self.set_temp(result, temp);
                    }
                }
            }
            return Ok(());
        }
        let v = match place {
            StructPlace::At(addr) => self.load_mem(ty, addr.plus(offset), plain())?,
            StructPlace::Register(_) => return Err(LowerError::Malformed("field of a vector".into())),
            StructPlace::Zero if ty == MemTy::V128 => self.zero_vector(),
            StructPlace::Zero => match Self::clif_type(self.func.values[result])? {
                types::F64 => self.cur.ins().f64const(0.0),
                types::F32 => self.cur.ins().f32const(0.0),
                t => self.iconst(t, 0),
            },
        };
        self.set(result, v);
        Ok(())
    }

    pub(super) fn lower_struct_make(&mut self, result: Value, ty: TypeId, parts: &[(u32, MemTy, Value)]) -> Result<()> {
        let info = self.type_info(ty)?;
        if let (Some(16), &[(0, MemTy::V128, v)]) = (info.vector_size, parts) {
            let v = self.vector_value(v)?;
            self.set_vector_struct(result, v);
            return Ok(());
        }
        let temp = self.alloc_temp(&info)?;
        let mut covered = 0;
        for (_, mem, _) in parts {
            covered += match mem {
                MemTy::Struct(id) => self.type_info(*id)?.size,
                MemTy::I8 | MemTy::U8 => 1,
                MemTy::I16 | MemTy::U16 => 2,
                MemTy::I32 | MemTy::F32 => 4,
                MemTy::V128 => 16,
                _ => 8,
            };
        }
        if covered < info.size {
            self.zero_memory(Addr::Frame(temp), info.size);
        }
        for &(offset, mem, v) in parts {
            let dst = Addr::Frame(temp + offset);
            if let MemTy::Struct(id) = mem {
                let part = self.type_info(id)?;
                self.store_struct(dst, v, &part)?;
            } else {
                let v = self.get(v)?;
                self.store_mem(mem, v, dst, plain())?;
            }
        }
        self.set_temp(result, temp);
        Ok(())
    }

    /// Address of the temporary of a value; the temporary is never reused then.
    pub(super) fn lower_struct_addr(&mut self, result: Value, value: Value) -> Result<()> {
        let id = self.struct_type(value)?;
        let info = self.type_info(id)?;
        let addr = self.materialise(value)?;
        let owned = matches!(self.vals[value.index()], Val::Struct { temp, .. } if temp != NONE);
        let addr = if owned {
            addr
        } else {
            let temp = self.alloc_temp(&info)?;
            self.copy_struct(Addr::Frame(temp), addr, &info);
            Addr::Frame(temp)
        };
        self.vals[value.index()] = Val::Struct {
            place: StructPlace::At(addr),
            temp: NONE,
        };
        let p = self.addr_value(addr);
        self.set_plain(result, p);
        Ok(())
    }
}

/// Splits a block into moves: offset and type.
fn chunks(bytes: u32, vectors: bool) -> impl Iterator<Item = (u32, ir::Type)> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let (size, ty) = match bytes - offset {
            0 => return None,
            n if n >= 16 && vectors => (16, types::I8X16),
            n if n >= 8 => (8, types::I64),
            n if n >= 4 => (4, types::I32),
            n if n >= 2 => (2, types::I16),
            _ => (1, types::I8),
        };
        offset += size;
        Some((offset - size, ty))
    })
}

/// Memory type of a scalar kind; `None` for `Struct` and `Void`.
pub(super) fn mem_ty(kind: TypeKind) -> Option<MemTy> {
    Some(match kind {
        TypeKind::I1 => MemTy::I8,
        TypeKind::U1 => MemTy::U8,
        TypeKind::I2 => MemTy::I16,
        TypeKind::U2 => MemTy::U16,
        TypeKind::I4 | TypeKind::U4 => MemTy::I32,
        TypeKind::I8 | TypeKind::U8 | TypeKind::NInt | TypeKind::NUInt => MemTy::I64,
        TypeKind::R4 => MemTy::F32,
        TypeKind::R8 => MemTy::F64,
        TypeKind::Ref => MemTy::Ref,
        TypeKind::ByRef => MemTy::ByRef,
        TypeKind::Struct | TypeKind::Void => return None,
    })
}
