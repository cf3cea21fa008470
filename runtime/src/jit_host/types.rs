//! Types and fields as the compiler sees them.

use super::{EngineHost, field_id, method_id, type_id};
use crate::error::{ExceptionKind, Raise};
use corten_jit::host_api::*;
use corten_jit::ids::TypeId;
use corten_loader::{
    ElementType, FieldDesc, FieldKind, LoadLevel, MethodDesc, MethodTable, TypeHandle, WellKnown, type_loader,
};

/// Kind of a value of the type on the evaluation stack and in memory.
pub fn kind_of(t: TypeHandle) -> TypeKind {
    use ElementType as E;
    let element = t.internal_element_type();
    match element {
        E::Void => TypeKind::Void,
        E::Boolean | E::U1 => TypeKind::U1,
        E::Char | E::U2 => TypeKind::U2,
        E::I1 => TypeKind::I1,
        E::I2 => TypeKind::I2,
        E::I4 => TypeKind::I4,
        E::U4 => TypeKind::U4,
        E::I8 => TypeKind::I8,
        E::U8 => TypeKind::U8,
        E::R4 => TypeKind::R4,
        E::R8 => TypeKind::R8,
        E::I => TypeKind::NInt,
        E::U | E::Ptr | E::FnPtr => TypeKind::NUInt,
        E::ByRef => TypeKind::ByRef,
        E::ValueType | E::TypedByRef => TypeKind::Struct,
        _ => TypeKind::Ref,
    }
}

/// `Namespace.Outer+Inner` of the definition behind a type (arrays and TypeDescs: their display name).
pub fn definition_name(t: TypeHandle) -> String {
    match t.as_method_table().and_then(|m| m.class().definition()) {
        Some(d) => d.full_name(),
        None => t.display_name(),
    }
}

/// Whether an object whose static type is `t` has exactly that type: sealed classes, value types, and arrays of them.
pub fn is_exact(t: TypeHandle) -> bool {
    let Some(mt) = t.as_method_table() else { return false };
    if let Some(element) = mt.array_element_type() {
        // int[] and uint[] (or an enum's array) are castable to each other.
        return is_exact(element) && !element.internal_element_type().is_primitive();
    }
    mt.is_value_type()
        || (mt
            .class()
            .attributes()
            .contains(corten_metadata::TypeAttributes::SEALED)
            && !mt.has_variance())
}

/// Bytes of the vector types that code generation knows.
fn vector_bytes(name: &str) -> Option<u32> {
    Some(match name {
        "System.Runtime.Intrinsics.Vector64`1" => 8,
        "System.Runtime.Intrinsics.Vector128`1" | "System.Numerics.Vector`1" => 16,
        "System.Runtime.Intrinsics.Vector256`1" => 32,
        "System.Runtime.Intrinsics.Vector512`1" => 64,
        _ => return None,
    })
}

fn primitive_size(k: TypeKind) -> u32 {
    match k {
        TypeKind::Void => 0,
        TypeKind::I1 | TypeKind::U1 => 1,
        TypeKind::I2 | TypeKind::U2 => 2,
        TypeKind::I4 | TypeKind::U4 | TypeKind::R4 => 4,
        _ => 8,
    }
}

impl EngineHost {
    pub(super) fn make_type_info(&self, t: TypeHandle) -> HostResult<TypeInfo> {
        let kind = kind_of(t);
        let mt = t.as_method_table();
        let is_value_type = t.is_value_type();
        let name = self.shared.name(&definition_name(t));
        let instantiation = self.shared.types(t.instantiation().iter().map(|a| type_id(*a)));
        let mut vectors = Vec::new();
        let (size, align, fields) = if kind == TypeKind::Struct {
            let mt = mt.ok_or_else(|| HostError::InvalidProgram(format!("{} has no layout", t.display_name())))?;
            self.load(type_loader::ensure(mt, LoadLevel::Layout))?;
            let mut fields = Vec::new();
            self.flatten(mt, 0, &mut fields, &mut vectors)?;
            vectors.sort_unstable();
            fields.sort_by_key(|f| f.offset);
            (mt.value_size(), t.align(), fields)
        } else {
            (primitive_size(kind), primitive_size(kind).max(1), Vec::new())
        };
        let nullable_of = match t.nullable_argument() {
            Some(u) => {
                let mt = mt.ok_or_else(|| HostError::InvalidProgram("Nullable without MethodTable".into()))?;
                let value = mt
                    .class()
                    .fields()
                    .iter()
                    .find(|f| f.name() == "value" && !f.is_static());
                value.map(|v| (type_id(u), v.offset()))
            }
            None => None,
        };
        let vector_size = vector_bytes(&name);
        Ok(TypeInfo {
            id: type_id(t),
            kind,
            size,
            align,
            is_value_type,
            has_gc_pointers: fields
                .iter()
                .any(|f: &FlatField| matches!(f.kind, TypeKind::Ref | TypeKind::ByRef))
                || matches!(kind, TypeKind::Ref | TypeKind::ByRef),
            fields: fields.into(),
            vector_size,
            vectors: vectors.into(),
            nullable_of,
            is_delegate: t.is_delegate(),
            is_interface: t.is_interface(),
            is_exact: is_exact(t),
            name,
            instantiation,
            method_table: t.raw() as u64,
        })
    }

    fn flatten(
        &self,
        mt: &'static MethodTable,
        base: u32,
        out: &mut Vec<FlatField>,
        vectors: &mut Vec<u32>,
    ) -> HostResult<()> {
        let repeat = mt.class().inline_array_length();
        let (start, first_vector) = (out.len(), vectors.len());
        for f in mt.class().fields().iter().filter(|f| !f.is_static()) {
            let offset = base + f.offset();
            // References are all alike: their classes need not exist.
            if f.element_type() == ElementType::Class {
                out.push(FlatField {
                    offset,
                    kind: TypeKind::Ref,
                });
                continue;
            }
            let ty = self.load(f.field_type())?;
            match kind_of(ty) {
                TypeKind::Struct => match ty.as_method_table() {
                    Some(inner) => {
                        self.load(type_loader::ensure(inner, LoadLevel::Layout))?;
                        let nested = vectors.len();
                        self.flatten(inner, offset, out, vectors)?;
                        if inner.value_size() == 16 && vector_bytes(&definition_name(ty)) == Some(16) {
                            vectors.truncate(nested);
                            vectors.push(offset);
                        }
                    }
                    None => return Err(HostError::InvalidProgram(format!("field type {}", ty.display_name()))),
                },
                kind => out.push(FlatField { offset, kind }),
            }
        }
        if let Some(n) = repeat {
            vectors.truncate(first_vector);
            let one: Vec<FlatField> = out[start..].to_vec();
            let stride = mt.value_size() / n.max(1);
            for i in 1..n {
                out.extend(one.iter().map(|f| FlatField {
                    offset: f.offset + i * stride,
                    kind: f.kind,
                }));
            }
        }
        Ok(())
    }

    /// Whether a value type, or one inside of it, is larger than its fields and their alignment make it.
    pub(super) fn hides_bytes(&self, t: TypeHandle) -> bool {
        let Some(mt) = t.as_method_table().filter(|_| kind_of(t) == TypeKind::Struct) else {
            return false;
        };
        let mut end = 0;
        for f in mt.class().fields().iter().filter(|f| !f.is_static()) {
            let Ok(ty) = f.field_type() else { return true };
            let kind = kind_of(ty);
            let size = match (kind, ty.as_method_table()) {
                (TypeKind::Struct, Some(inner)) => inner.value_size(),
                _ => primitive_size(kind),
            };
            end = end.max(f.offset() + size);
            if self.hides_bytes(ty) {
                return true;
            }
        }
        let repeat = mt.class().inline_array_length().unwrap_or(1);
        mt.value_size() > end.next_multiple_of(t.align().max(1)).saturating_mul(repeat)
    }

    pub(super) fn make_field_info(&self, f: &'static FieldDesc) -> HostResult<FieldInfo> {
        let owner = f.owner();
        let place = match f.kind() {
            FieldKind::Instance => {
                self.load(type_loader::ensure(owner, LoadLevel::Layout))?;
                let offset = if owner.is_value_type() {
                    f.offset()
                } else {
                    f.object_offset()
                };
                FieldPlace::Instance { offset }
            }
            FieldKind::ThreadStatic => FieldPlace::ThreadStatic {
                key: f as *const FieldDesc as u64,
                place: corten_loader::statics::ensure_thread_statics(owner)
                    .ok()
                    .map(|layout| (layout.index, f.offset())),
            },
            FieldKind::Static | FieldKind::Rva(_) => FieldPlace::Static {
                address: self.load(corten_loader::statics::static_field_address(f))? as u64,
            },
            FieldKind::Literal => {
                return Err(self.defer_raise(Raise::new(
                    ExceptionKind::MissingField,
                    format!("Field not found: '{}.{}'.", owner.handle(), f.name()),
                )));
            }
        };
        Ok(FieldInfo {
            id: field_id(f),
            owner: type_id(owner.handle()),
            ty: type_id(self.load(f.field_type())?),
            place,
            is_static: f.is_static(),
            is_init_only: f.is_init_only(),
            family: family(owner),
            name: self.shared.name(f.name()),
        })
    }

    pub(super) fn well_known_type(&self, w: WellKnownType) -> TypeId {
        use WellKnownType as W;
        let k = WellKnown::get();
        type_id(TypeHandle::of(match w {
            W::Void => k.void,
            W::Object => k.object,
            W::String => k.string,
            W::Boolean => k.boolean,
            W::Char => k.char_,
            W::SByte => k.sbyte,
            W::Byte => k.byte,
            W::Int16 => k.int16,
            W::UInt16 => k.uint16,
            W::Int32 => k.int32,
            W::UInt32 => k.uint32,
            W::Int64 => k.int64,
            W::UInt64 => k.uint64,
            W::IntPtr => k.intptr,
            W::UIntPtr => k.uintptr,
            W::Single => k.single,
            W::Double => k.double,
            W::TypedReference => k.typed_reference,
            W::RuntimeTypeHandle => k.runtime_type_handle,
            W::RuntimeMethodHandle => k.runtime_method_handle,
            W::RuntimeFieldHandle => k.runtime_field_handle,
            W::Exception => k.exception,
            W::RuntimeType => k.runtime_type,
        }))
    }

    pub(super) fn static_cast_answer(&self, from: TypeHandle, to: TypeHandle) -> Option<bool> {
        if corten_loader::cast::can_cast_to(from, to) {
            return Some(true);
        }
        // An object of the static type `from` may be of a derived type unless `from` is exact.
        if is_exact(from) && !from.is_nullable() {
            Some(false)
        } else {
            None
        }
    }

    pub(super) fn class_init_answer(&self, t: TypeHandle, _from: &'static MethodDesc) -> HostResult<ClassInit> {
        let Some(mt) = t.as_method_table() else {
            return Ok(ClassInit::NotNeeded);
        };
        let class = mt.class();
        if !class.has_cctor() || class.is_initialized() {
            return Ok(ClassInit::NotNeeded);
        }
        Ok(ClassInit::Check {
            flag_address: class.init_state_address() as u64,
        })
    }

    pub(super) fn constrained_answer(&self, t: TypeHandle, m: &'static MethodDesc) -> HostResult<Constrained> {
        if !t.is_value_type() && !m.is_static() {
            return Ok(Constrained::Dereference);
        }
        let r = self.load(corten_loader::resolve_constrained(t, m))?;
        Ok(if r.dereference {
            Constrained::Dereference
        } else if r.needs_box {
            Constrained::Box
        } else {
            Constrained::Direct(method_id(r.method))
        })
    }

    /// Exact declaring type of a method as a handle.
    pub(super) fn owner_of(&self, m: &'static MethodDesc) -> TypeHandle {
        m.owner().handle()
    }
}

/// A number of the definition of a class ([`FieldInfo::family`]).
fn family(mt: &MethodTable) -> u32 {
    use std::hash::{Hash, Hasher};
    let mut hasher = rustc_hash::FxHasher::default();
    (std::ptr::from_ref(mt.module()) as usize, mt.class().typedef()).hash(&mut hasher);
    hasher.finish() as u32 | 1
}
