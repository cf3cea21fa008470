//! Fields, instance and static (ECMA-335 III.4.10 - III.4.30).

use super::stack::Entry;
use super::{Importer, Step, invalid};
use crate::builder::loaded_ty;
use crate::host_api::{ClassInit, FieldInfo, FieldPlace, StaticValue};
use crate::ids::TypeId;
use crate::ir::*;
use corten_metadata::Token;
use std::sync::Arc;

impl Importer<'_, '_> {
    fn field(&mut self, token: Token) -> Step<Arc<FieldInfo>> {
        Ok(self.host.resolve_field(self.method, token)?)
    }

    /// Runs the initialiser of a type unless that is not needed.
    pub fn class_init(&mut self, ty: TypeId) -> Step<()> {
        if self.initialised.contains(&ty) {
            return Ok(());
        }
        if let ClassInit::Check { flag_address } = self.host.class_init(ty, self.method)? {
            self.b.emit_void(Op::ClassInit { ty, flag_address });
            self.initialised.push(ty);
        }
        Ok(())
    }

    /// Address of a static field, and whether it lies in a registered static area (no barrier).
    fn static_address(&mut self, field: &FieldInfo) -> Step<(Value, bool)> {
        self.class_init(field.owner)?;
        match field.place {
            FieldPlace::Static { address } => Ok((self.b.emit(Op::Address(address), Ty::ByRef), true)),
            FieldPlace::ThreadStatic { key, place } => {
                let mut args = vec![self.b.iconst64(key as i64)];
                if let Some((index, offset)) = place {
                    args.push(self.b.iconst64(8 * i64::from(index)));
                    args.push(self.b.iconst64(i64::from(offset)));
                }
                Ok((self.b.helper(Helper::ThreadStaticAddress, args, Ty::ByRef), false))
            }
            FieldPlace::Instance { .. } => invalid(format!("static access to instance field {}", field.name)),
        }
    }

    /// `ldsfld`
    pub fn ldsfld(&mut self, token: Token) -> Step<()> {
        let field = self.field(token)?;
        self.load_static(&field)
    }

    fn load_static(&mut self, field: &FieldInfo) -> Step<()> {
        let (_, mem) = self.value_type(field.ty)?;
        let (addr, _) = self.static_address(field)?;
        let flags = self.prefixes.flags;
        let known = if field.is_init_only && flags == MemFlags::default() {
            self.host.static_value(field.id)
        } else {
            None
        };
        if let Some(StaticValue::Bits(bits)) = known
            && self.push_constant(mem, bits)
        {
            return Ok(());
        }
        let value = self.b.emit(
            Op::Load {
                ty: mem,
                addr,
                offset: 0,
                flags,
            },
            loaded_ty(mem),
        );
        match known {
            Some(StaticValue::Object(class)) if mem == MemTy::Ref => self.push(Entry::new(value, Ty::Ref).exact(class)),
            _ => self.push_typed(value, field.ty),
        }
        Ok(())
    }

    /// Pushes what a load of these bytes gives, if it is a number.
    fn push_constant(&mut self, mem: MemTy, bits: u64) -> bool {
        let number = match mem {
            MemTy::I8 => i64::from(bits as i8),
            MemTy::U8 => i64::from(bits as u8),
            MemTy::I16 => i64::from(bits as i16),
            MemTy::U16 => i64::from(bits as u16),
            MemTy::I32 => i64::from(bits as i32),
            MemTy::I64 => bits as i64,
            MemTy::F32 | MemTy::F64 => {
                let value = self.b.emit(Op::FConst(bits), loaded_ty(mem));
                self.push_value(value);
                return true;
            }
            MemTy::Ref | MemTy::ByRef | MemTy::Struct(_) | MemTy::V128 => return false,
        };
        self.push(Entry::int(loaded_ty(mem), number));
        true
    }

    /// `ldsflda`
    pub fn ldsflda(&mut self, token: Token) -> Step<()> {
        let field = self.field(token)?;
        self.push_static_address(&field)
    }

    fn push_static_address(&mut self, field: &FieldInfo) -> Step<()> {
        let (addr, _) = self.static_address(field)?;
        self.push(Entry::new(addr, Ty::ByRef).non_null());
        Ok(())
    }

    /// `stsfld`
    pub fn stsfld(&mut self, token: Token) -> Step<()> {
        let field = self.field(token)?;
        let value = self.pop()?;
        self.store_static(&field, value)
    }

    fn store_static(&mut self, field: &FieldInfo, value: Entry) -> Step<()> {
        let (_, mem) = self.value_type(field.ty)?;
        let is_null = value.is_null();
        let value = self.coerce(value, loaded_ty(mem))?;
        let (addr, in_static_area) = self.static_address(field)?;
        let barrier = self.barrier_for(mem, in_static_area, is_null)?;
        let flags = self.prefixes.flags;
        self.b.emit_void(Op::Store {
            ty: mem,
            addr,
            offset: 0,
            value,
            barrier,
            flags,
        });
        Ok(())
    }

    fn instance_offset(field: &FieldInfo) -> Step<i32> {
        match field.place {
            FieldPlace::Instance { offset } => match i32::try_from(offset) {
                Ok(offset) => Ok(offset),
                Err(_) => invalid("field offset"),
            },
            _ => invalid(format!("instance access to static field {}", field.name)),
        }
    }

    /// Flags of an access to a field through a value of that type.
    fn field_flags(&self, field: &FieldInfo, through: Ty) -> MemFlags {
        MemFlags {
            family: if through == Ty::Ref { field.family } else { 0 },
            ..self.prefixes.flags
        }
    }

    /// `ldfld`: of an object, through a pointer, or of a value.
    pub fn ldfld(&mut self, token: Token) -> Step<()> {
        let field = self.field(token)?;
        if field.is_static {
            // Legal (III.4.10): the object is evaluated and dropped.
            self.pop()?;
            return self.load_static(&field);
        }
        let (_, mem) = self.value_type(field.ty)?;
        let offset = Self::instance_offset(&field)?;
        let mut entry = self.pop()?;
        if matches!(entry.ty, Ty::I32 | Ty::F32 | Ty::F64) {
            return self.field_of_scalar(entry, mem, offset);
        }
        let value = self.value(&mut entry)?;
        let result = match entry.ty {
            Ty::Struct(_) => self.b.emit(
                Op::StructField {
                    value,
                    offset: offset as u32,
                    ty: mem,
                },
                loaded_ty(mem),
            ),
            _ => {
                self.check_null(&entry, value);
                let flags = self.field_flags(&field, entry.ty);
                self.b.emit(
                    Op::Load {
                        ty: mem,
                        addr: value,
                        offset,
                        flags,
                    },
                    loaded_ty(mem),
                )
            }
        };
        self.push_typed(result, field.ty);
        Ok(())
    }

    /// `ldfld m_value` of a primitive by value.
    fn field_of_scalar(&mut self, entry: Entry, mem: MemTy, offset: i32) -> Step<()> {
        if offset != 0 {
            return invalid("field of a primitive value");
        }
        let value = self.coerce(entry, loaded_ty(mem))?;
        self.push_value(value);
        Ok(())
    }

    /// `ldflda`
    pub fn ldflda(&mut self, token: Token) -> Step<()> {
        let field = self.field(token)?;
        if field.is_static {
            self.pop()?;
            return self.push_static_address(&field);
        }
        let offset = Self::instance_offset(&field)?;
        let mut entry = self.pop()?;
        match entry.ty {
            Ty::Struct(_) | Ty::I32 | Ty::F32 | Ty::F64 => return invalid("ldflda of a value"),
            _ => {}
        }
        let value = self.value(&mut entry)?;
        let is_object = entry.ty == Ty::Ref;
        // Native pointers may be null here: that is how C# computes offsets.
        if entry.ty != Ty::I64 {
            self.check_null(&entry, value);
        }
        let base = if is_object {
            self.coerce_value(value, Ty::ByRef)?
        } else {
            value
        };
        let addr = self.b.ptr_add_const(base, i64::from(offset));
        let ty = self.b.ty(addr);
        let mut result = Entry::new(addr, ty).on_stack(entry.stack_addr);
        result.non_null = is_object || (entry.ty == Ty::ByRef && self.options.check_pointers) || entry.non_null;
        self.push(result);
        Ok(())
    }

    /// `stfld`
    pub fn stfld(&mut self, token: Token) -> Step<()> {
        let field = self.field(token)?;
        let value = self.pop()?;
        if field.is_static {
            self.pop()?;
            return self.store_static(&field, value);
        }
        let (_, mem) = self.value_type(field.ty)?;
        let offset = Self::instance_offset(&field)?;
        let is_null = value.is_null();
        let value = self.coerce(value, loaded_ty(mem))?;
        let mut target = self.pop()?;
        match target.ty {
            Ty::Struct(_) | Ty::I32 | Ty::F32 | Ty::F64 => return invalid("stfld on a value"),
            _ => {}
        }
        let addr = self.value(&mut target)?;
        self.check_null(&target, addr);
        let barrier = match self.barrier_for(mem, target.stack_addr, is_null)? {
            Barrier::Checked if target.ty == Ty::Ref => Barrier::Heap,
            other => other,
        };
        let flags = self.field_flags(&field, target.ty);
        self.b.emit_void(Op::Store {
            ty: mem,
            addr,
            offset,
            value,
            barrier,
            flags,
        });
        Ok(())
    }
}
