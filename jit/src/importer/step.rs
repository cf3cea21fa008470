//! One IL instruction after the other.

use super::stack::{Entry, Known};
use super::{Importer, Prefixes, Step, Stop, invalid};
use crate::host_api::TypeKind;
use crate::ir::*;
use corten_metadata::Token;
use corten_metadata::il::{Instruction, Opcode, Operand};

/// Where control goes after an instruction.
pub(crate) enum Flow {
    /// On to the next instruction.
    Next,
    /// On, after skipping that many instructions that were part of a pattern.
    Skip(usize),
    /// The block has its terminator.
    End,
}

fn token(ins: &Instruction) -> Step<Token> {
    match ins.operand {
        Operand::Token(token) | Operand::String(token) => Ok(token),
        _ => invalid("token expected"),
    }
}

fn branch_target(ins: &Instruction) -> Step<u32> {
    match ins.operand {
        Operand::Branch(target) => Ok(target),
        _ => invalid("branch target expected"),
    }
}

fn variable(ins: &Instruction) -> usize {
    match ins.operand {
        Operand::U8(n) => usize::from(n),
        Operand::U16(n) => usize::from(n),
        _ => 0,
    }
}

impl Importer<'_, '_> {
    /// Imports the IL block at an offset.
    pub fn import_block(&mut self, offset: u32) -> Step<()> {
        self.at = offset;
        self.b.set_il(offset);
        self.open_block(offset);
        self.prefixes = Prefixes::default();
        if !self.stack.is_empty() && self.body.clauses.iter().any(|c| c.try_offset == offset) {
            return invalid("values on the evaluation stack at the start of a protected region");
        }
        let layout = self.layout;
        let Some(mut i) = layout.index_of(offset) else {
            return invalid("branch into the middle of an instruction");
        };
        loop {
            let Some(ins) = layout.instructions.get(i) else {
                return invalid("control falls off the end of the method");
            };
            self.b.set_il(ins.offset);
            if ins.offset != offset && layout.is_leader(ins.offset) && !self.falls_into_prefixed(i) {
                return self.jump_to_next(ins.offset);
            }
            self.at = ins.offset;
            self.stats.il_instructions += 1;
            let is_prefix = ins.opcode.is_prefix();
            let depth = self.stack.len();
            if !is_prefix {
                self.check_prefixes(ins.opcode)?;
            }
            match self.step(i, ins) {
                Ok(Flow::Next) => i += 1,
                Ok(Flow::Skip(n)) => i += 1 + n,
                Ok(Flow::End) => return Ok(()),
                Err(Stop::AtUse { cookie }) => {
                    self.throw_deferred(cookie);
                    return Ok(());
                }
                Err(stop) => return Err(stop),
            }
            if self.stack.len() > depth && self.stack.len() > usize::from(self.body.max_stack) {
                return invalid(format!(
                    "evaluation stack overflow: .maxstack is {}",
                    self.body.max_stack
                ));
            }
            if !is_prefix {
                self.prefixes = Prefixes::default();
            }
        }
    }

    /// Every pending prefix must be one of the instruction's (III.2).
    fn check_prefixes(&self, op: Opcode) -> Step<()> {
        use Opcode as O;
        let p = &self.prefixes;
        let is_call = matches!(op, O::Call | O::Callvirt);
        let accesses_memory = matches!(
            op,
            O::Ldfld | O::Stfld | O::Ldobj | O::Stobj | O::Cpblk | O::Initblk | O::StindI
        ) || (O::LdindI1 as u16..=O::StindR8 as u16).contains(&(op as u16));
        let is_static_field = matches!(op, O::Ldsfld | O::Stsfld);
        let wrong = if p.constrained.is_some() && !is_call && op != O::Ldftn {
            "constrained."
        } else if p.readonly && op != O::Ldelema && !is_call {
            "readonly."
        } else if p.tail && !is_call && op != O::Calli {
            "tail."
        } else if p.flags.volatile && !accesses_memory && !is_static_field {
            "volatile."
        } else if p.flags.unaligned.is_some() && !accesses_memory {
            "unaligned."
        } else {
            return Ok(());
        };
        invalid(format!("prefix {wrong} before {}", op.mnemonic()))
    }

    /// The instruction before is a prefix of this one: a branch between them does not end the block.
    fn falls_into_prefixed(&self, index: usize) -> bool {
        index > 0 && self.layout.instructions[index - 1].opcode.is_prefix()
    }

    /// Falls through to a leader.
    fn jump_to_next(&mut self, offset: u32) -> Step<()> {
        self.check_flow(offset)?;
        let block = self.edge(offset)?;
        self.b.jump(block);
        Ok(())
    }

    fn argument(&self, n: usize) -> Step<Local> {
        if n >= self.il_args {
            return invalid(format!("argument {n} of {}", self.il_args));
        }
        Ok(Local::from_u32(n as u32))
    }

    fn local(&self, n: usize) -> Step<Local> {
        if n >= self.il_locals {
            return invalid(format!("local {n} of {}", self.il_locals));
        }
        Ok(Local::from_u32((self.il_args + n) as u32))
    }

    fn load_local(&mut self, local: Local) {
        let entry = self.local_entry(local);
        self.push(entry);
    }

    fn store_local(&mut self, local: Local) -> Step<()> {
        let ty = self.b.local_ty(local);
        let entry = self.pop()?;
        let non_null = entry.non_null;
        let value = self.coerce(entry, ty)?;
        self.b.set(local, value);
        self.local_changed(local);
        if non_null && ty == Ty::Ref && !self.layout.is_exposed(local, self.il_args) {
            self.non_null.push(local);
        }
        Ok(())
    }

    fn load_local_address(&mut self, local: Local) {
        let value = self.b.local_addr(local);
        // The local may change behind our back from now on.
        self.local_changed(local);
        self.push(Entry::new(value, Ty::ByRef).non_null().on_stack(true));
    }

    #[allow(clippy::too_many_lines, reason = "the table of instructions")]
    fn step(&mut self, index: usize, ins: &Instruction) -> Step<Flow> {
        use Opcode as O;
        use TypeKind as K;
        let next = ins.offset + ins.len;
        match ins.opcode {
            O::Nop | O::Break => {}
            // --- variables and constants
            O::Ldarg0 | O::Ldarg1 | O::Ldarg2 | O::Ldarg3 => {
                let local = self.argument(ins.opcode as usize - O::Ldarg0 as usize)?;
                self.load_local(local);
            }
            O::LdargS | O::Ldarg => {
                let local = self.argument(variable(ins))?;
                self.load_local(local);
            }
            O::LdargaS | O::Ldarga => {
                let local = self.argument(variable(ins))?;
                self.load_local_address(local);
            }
            O::StargS | O::Starg => {
                let local = self.argument(variable(ins))?;
                self.store_local(local)?;
            }
            O::Ldloc0 | O::Ldloc1 | O::Ldloc2 | O::Ldloc3 => {
                let local = self.local(ins.opcode as usize - O::Ldloc0 as usize)?;
                self.load_local(local);
            }
            O::LdlocS | O::Ldloc => {
                let local = self.local(variable(ins))?;
                self.load_local(local);
            }
            O::LdlocaS | O::Ldloca => {
                let local = self.local(variable(ins))?;
                self.load_local_address(local);
            }
            O::Stloc0 | O::Stloc1 | O::Stloc2 | O::Stloc3 => {
                let local = self.local(ins.opcode as usize - O::Stloc0 as usize)?;
                self.store_local(local)?;
            }
            O::StlocS | O::Stloc => {
                let local = self.local(variable(ins))?;
                self.store_local(local)?;
            }
            O::Ldnull => self.push(Entry::lazy(Ty::Ref, Known::Null)),
            O::LdcI4M1
            | O::LdcI40
            | O::LdcI41
            | O::LdcI42
            | O::LdcI43
            | O::LdcI44
            | O::LdcI45
            | O::LdcI46
            | O::LdcI47
            | O::LdcI48 => self.push_int(i32::from(ins.opcode as u16) - i32::from(O::LdcI40 as u16)),
            O::LdcI4S | O::LdcI4 => match ins.operand {
                Operand::I8(n) => self.push_int(i32::from(n)),
                Operand::I32(n) => self.push_int(n),
                _ => return invalid("constant expected"),
            },
            O::LdcI8 => match ins.operand {
                Operand::I64(n) => self.push(Entry::int(Ty::I64, n)),
                _ => return invalid("constant expected"),
            },
            O::LdcR4 | O::LdcR8 => {
                let value = match ins.operand {
                    Operand::F32(bits) => self.b.emit(Op::FConst(u64::from(bits)), Ty::F32),
                    Operand::F64(bits) => self.b.emit(Op::FConst(bits), Ty::F64),
                    _ => return invalid("constant expected"),
                };
                self.push_value(value);
            }
            O::Ldstr => {
                let address = self.host.string_literal(self.method, token(ins)?)?;
                let value = self.b.frozen(address);
                let string = self.host.well_known(crate::host_api::WellKnownType::String);
                self.push(Entry::new(value, Ty::Ref).exact(string));
            }
            O::Dup => {
                let mut entry = self.pop()?;
                if entry.known == Known::Nothing {
                    self.value(&mut entry)?;
                }
                self.push(entry);
                self.push(entry);
            }
            O::Pop => {
                self.pop()?;
            }
            // --- calls
            O::Call => return self.call(token(ins)?, false, index),
            O::Callvirt => return self.call(token(ins)?, true, index),
            O::Calli => self.calli(token(ins)?, index)?,
            O::Jmp => {
                self.jmp(token(ins)?)?;
                return Ok(Flow::End);
            }
            O::Newobj => self.newobj(token(ins)?)?,
            O::Ldftn => self.ldftn(token(ins)?)?,
            O::Ldvirtftn => self.ldvirtftn(token(ins)?)?,
            O::Ret => {
                self.ret()?;
                return Ok(Flow::End);
            }
            // --- branches
            O::Br | O::BrS => {
                self.jump_to(branch_target(ins)?)?;
                return Ok(Flow::End);
            }
            O::Brfalse | O::BrfalseS | O::Brtrue | O::BrtrueS => {
                let when = matches!(ins.opcode, O::Brtrue | O::BrtrueS);
                self.branch_bool(when, branch_target(ins)?, next)?;
                return Ok(Flow::End);
            }
            O::Beq | O::BeqS => return self.branch(Cond::Eq, ins),
            O::Bge | O::BgeS => return self.branch(Cond::Ge, ins),
            O::Bgt | O::BgtS => return self.branch(Cond::Gt, ins),
            O::Ble | O::BleS => return self.branch(Cond::Le, ins),
            O::Blt | O::BltS => return self.branch(Cond::Lt, ins),
            O::BneUn | O::BneUnS => return self.branch(Cond::Ne, ins),
            O::BgeUn | O::BgeUnS => return self.branch(Cond::GeUn, ins),
            O::BgtUn | O::BgtUnS => return self.branch(Cond::GtUn, ins),
            O::BleUn | O::BleUnS => return self.branch(Cond::LeUn, ins),
            O::BltUn | O::BltUnS => return self.branch(Cond::LtUn, ins),
            O::Switch => {
                let Operand::Switch(targets) = &ins.operand else {
                    return invalid("switch targets expected");
                };
                self.switch(targets, next)?;
                return Ok(Flow::End);
            }
            O::Ceq => self.compare(Cond::Eq)?,
            O::Cgt => self.compare(Cond::Gt)?,
            O::CgtUn => self.compare(Cond::GtUn)?,
            O::Clt => self.compare(Cond::Lt)?,
            O::CltUn => self.compare(Cond::LtUn)?,
            // --- exceptions
            O::Throw => {
                self.throw()?;
                return Ok(Flow::End);
            }
            O::Rethrow => {
                self.rethrow()?;
                return Ok(Flow::End);
            }
            O::Leave | O::LeaveS => {
                self.leave(branch_target(ins)?)?;
                return Ok(Flow::End);
            }
            O::Endfinally => {
                self.end_finally()?;
                return Ok(Flow::End);
            }
            O::Endfilter => {
                self.end_filter()?;
                return Ok(Flow::End);
            }
            // --- arithmetic
            O::Add => self.binary(BinOp::Add)?,
            O::Sub => self.binary(BinOp::Sub)?,
            O::Mul => self.binary(BinOp::Mul)?,
            O::Div => self.binary(BinOp::Div)?,
            O::DivUn => self.binary(BinOp::DivUn)?,
            O::Rem => self.binary(BinOp::Rem)?,
            O::RemUn => self.binary(BinOp::RemUn)?,
            O::And => self.binary(BinOp::And)?,
            O::Or => self.binary(BinOp::Or)?,
            O::Xor => self.binary(BinOp::Xor)?,
            O::Shl => self.shift(BinOp::Shl)?,
            O::Shr => self.shift(BinOp::Shr)?,
            O::ShrUn => self.shift(BinOp::ShrUn)?,
            O::Neg => self.unary(UnOp::Neg)?,
            O::Not => self.unary(UnOp::Not)?,
            O::AddOvf => self.binary_ovf(OvfOp::Add)?,
            O::AddOvfUn => self.binary_ovf(OvfOp::AddUn)?,
            O::SubOvf => self.binary_ovf(OvfOp::Sub)?,
            O::SubOvfUn => self.binary_ovf(OvfOp::SubUn)?,
            O::MulOvf => self.binary_ovf(OvfOp::Mul)?,
            O::MulOvfUn => self.binary_ovf(OvfOp::MulUn)?,
            O::Ckfinite => self.check_finite()?,
            // --- conversions
            O::ConvI1 => self.convert(K::I1)?,
            O::ConvU1 => self.convert(K::U1)?,
            O::ConvI2 => self.convert(K::I2)?,
            O::ConvU2 => self.convert(K::U2)?,
            O::ConvI4 => self.convert(K::I4)?,
            O::ConvU4 => self.convert(K::U4)?,
            O::ConvI8 => self.convert(K::I8)?,
            O::ConvU8 => self.convert(K::U8)?,
            O::ConvI => self.convert(K::NInt)?,
            O::ConvU => self.convert(K::NUInt)?,
            O::ConvR4 => self.convert(K::R4)?,
            O::ConvR8 => self.convert(K::R8)?,
            O::ConvRUn => self.convert_r_un()?,
            O::ConvOvfI1 => self.convert_ovf(K::I1, false)?,
            O::ConvOvfU1 => self.convert_ovf(K::U1, false)?,
            O::ConvOvfI2 => self.convert_ovf(K::I2, false)?,
            O::ConvOvfU2 => self.convert_ovf(K::U2, false)?,
            O::ConvOvfI4 => self.convert_ovf(K::I4, false)?,
            O::ConvOvfU4 => self.convert_ovf(K::U4, false)?,
            O::ConvOvfI8 => self.convert_ovf(K::I8, false)?,
            O::ConvOvfU8 => self.convert_ovf(K::U8, false)?,
            O::ConvOvfI => self.convert_ovf(K::NInt, false)?,
            O::ConvOvfU => self.convert_ovf(K::NUInt, false)?,
            O::ConvOvfI1Un => self.convert_ovf(K::I1, true)?,
            O::ConvOvfU1Un => self.convert_ovf(K::U1, true)?,
            O::ConvOvfI2Un => self.convert_ovf(K::I2, true)?,
            O::ConvOvfU2Un => self.convert_ovf(K::U2, true)?,
            O::ConvOvfI4Un => self.convert_ovf(K::I4, true)?,
            O::ConvOvfU4Un => self.convert_ovf(K::U4, true)?,
            O::ConvOvfI8Un => self.convert_ovf(K::I8, true)?,
            O::ConvOvfU8Un => self.convert_ovf(K::U8, true)?,
            O::ConvOvfIUn => self.convert_ovf(K::NInt, true)?,
            O::ConvOvfUUn => self.convert_ovf(K::NUInt, true)?,
            // --- memory
            O::LdindI1 => self.load_indirect(MemTy::I8)?,
            O::LdindU1 => self.load_indirect(MemTy::U8)?,
            O::LdindI2 => self.load_indirect(MemTy::I16)?,
            O::LdindU2 => self.load_indirect(MemTy::U16)?,
            O::LdindI4 | O::LdindU4 => self.load_indirect(MemTy::I32)?,
            O::LdindI8 | O::LdindI => self.load_indirect(MemTy::I64)?,
            O::LdindR4 => self.load_indirect(MemTy::F32)?,
            O::LdindR8 => self.load_indirect(MemTy::F64)?,
            O::LdindRef => self.load_indirect(MemTy::Ref)?,
            O::StindI1 => self.store_indirect(MemTy::U8)?,
            O::StindI2 => self.store_indirect(MemTy::U16)?,
            O::StindI4 => self.store_indirect(MemTy::I32)?,
            O::StindI8 | O::StindI => self.store_indirect(MemTy::I64)?,
            O::StindR4 => self.store_indirect(MemTy::F32)?,
            O::StindR8 => self.store_indirect(MemTy::F64)?,
            O::StindRef => self.store_indirect(MemTy::Ref)?,
            O::Ldobj => self.ldobj(token(ins)?)?,
            O::Stobj => self.stobj(token(ins)?)?,
            O::Cpobj => self.cpobj(token(ins)?)?,
            O::Initobj => self.initobj(token(ins)?)?,
            O::Cpblk => self.cpblk()?,
            O::Initblk => self.initblk()?,
            O::Localloc => self.localloc()?,
            // --- fields
            O::Ldfld => self.ldfld(token(ins)?)?,
            O::Ldflda => self.ldflda(token(ins)?)?,
            O::Stfld => self.stfld(token(ins)?)?,
            O::Ldsfld => self.ldsfld(token(ins)?)?,
            O::Ldsflda => self.ldsflda(token(ins)?)?,
            O::Stsfld => self.stsfld(token(ins)?)?,
            // --- arrays
            O::Newarr => self.newarr(token(ins)?)?,
            O::Ldlen => self.ldlen()?,
            O::Ldelema => self.ldelema(token(ins)?)?,
            O::LdelemI1 => self.ldelem(MemTy::I8, 1)?,
            O::LdelemU1 => self.ldelem(MemTy::U8, 1)?,
            O::LdelemI2 => self.ldelem(MemTy::I16, 2)?,
            O::LdelemU2 => self.ldelem(MemTy::U16, 2)?,
            O::LdelemI4 | O::LdelemU4 => self.ldelem(MemTy::I32, 4)?,
            O::LdelemI8 | O::LdelemI => self.ldelem(MemTy::I64, 8)?,
            O::LdelemR4 => self.ldelem(MemTy::F32, 4)?,
            O::LdelemR8 => self.ldelem(MemTy::F64, 8)?,
            O::LdelemRef => self.ldelem(MemTy::Ref, 8)?,
            O::Ldelem => self.ldelem_token(token(ins)?)?,
            O::StelemI1 => self.stelem(MemTy::U8, 1)?,
            O::StelemI2 => self.stelem(MemTy::U16, 2)?,
            O::StelemI4 => self.stelem(MemTy::I32, 4)?,
            O::StelemI8 | O::StelemI => self.stelem(MemTy::I64, 8)?,
            O::StelemR4 => self.stelem(MemTy::F32, 4)?,
            O::StelemR8 => self.stelem(MemTy::F64, 8)?,
            O::StelemRef => self.stelem_ref()?,
            O::Stelem => self.stelem_token(token(ins)?)?,
            // --- objects and types
            O::Box => return self.box_token(token(ins)?, index),
            O::Unbox => self.unbox(token(ins)?)?,
            O::UnboxAny => self.unbox_any(token(ins)?)?,
            O::Castclass => {
                let ty = self.host.resolve_type(self.method, token(ins)?)?;
                self.castclass(ty)?;
            }
            O::Isinst => {
                let ty = self.host.resolve_type(self.method, token(ins)?)?;
                self.isinst(ty)?;
            }
            O::Ldtoken => self.ldtoken(token(ins)?)?,
            O::Sizeof => {
                let ty = self.host.resolve_type(self.method, token(ins)?)?;
                let info = self.type_info(ty)?;
                if info.kind == TypeKind::Void {
                    return invalid("sizeof void");
                }
                self.push_int(info.size as i32);
            }
            O::Mkrefany => self.mkrefany(token(ins)?)?,
            O::Refanytype => self.refanytype()?,
            O::Refanyval => self.refanyval(token(ins)?)?,
            O::Arglist => return Err(self.host.misuse(crate::host_api::Misuse::Arglist).into()),
            // --- prefixes
            O::Constrained => {
                let ty = self.host.resolve_type(self.method, token(ins)?)?;
                self.prefixes.constrained = Some(ty);
            }
            O::Readonly => self.prefixes.readonly = true,
            O::Tail => self.prefixes.tail = true,
            O::Volatile => self.prefixes.flags.volatile = true,
            O::Unaligned => match ins.operand {
                Operand::U8(n @ (1 | 2 | 4)) => self.prefixes.flags.unaligned = Some(n),
                _ => return invalid("unaligned. needs 1, 2 or 4"),
            },
            // Not implemented by CoreCLR either.
            O::No => return invalid("prefix no."),
            #[allow(unreachable_patterns, reason = "the opcode table may grow")]
            other => return Err(Stop::Unsupported(other.mnemonic().to_string())),
        }
        Ok(Flow::Next)
    }

    fn branch(&mut self, cond: Cond, ins: &Instruction) -> Step<Flow> {
        self.branch_compare(cond, branch_target(ins)?, ins.offset + ins.len)?;
        Ok(Flow::End)
    }
}
