//! The instructions: what each takes from the stack, demands of it, and leaves on it.

use corten_metadata::{Opcode, Token};

use super::decode::{Operand, switch_targets};
use super::flow::Then;
use super::prefixes::Prefixes;
use super::stack::{Kind, StackValue};
use super::{Check, MethodVerifier, Stop};
use crate::code::Code;
use crate::types::{FieldRef, Member, MethodRef, Ty};
use crate::universe::WellKnown;

impl<'u> MethodVerifier<'_, 'u> {
    /// What a token names; one that names nothing ends the method.
    fn resolve(&mut self, token: Token) -> Check<Member<'u>> {
        match self.types.resolve_token(&self.context, token)? {
            Some(member) => Ok(member),
            None => {
                self.push_finding(Code::TokenResolve, format!("token {token:?} does not resolve"));
                Err(Stop::Reported)
            }
        }
    }

    pub(super) fn resolve_type(&mut self, token: Token) -> Check<Ty> {
        match self.resolve(token)? {
            Member::Type(ty) => Ok(ty),
            _ => self.wrong_token(Code::ExpectedTypeToken),
        }
    }

    pub(super) fn resolve_method(&mut self, token: Token) -> Check<MethodRef<'u>> {
        match self.resolve(token)? {
            Member::Method(method) => Ok(method),
            _ => self.wrong_token(Code::ExpectedMethodToken),
        }
    }

    pub(super) fn resolve_field(&mut self, token: Token) -> Check<FieldRef<'u>> {
        match self.resolve(token)? {
            Member::Field(field) => Ok(field),
            _ => self.wrong_token(Code::ExpectedFieldToken),
        }
    }

    fn wrong_token<T>(&mut self, code: Code) -> Check<T> {
        self.report(code);
        Err(Stop::Reported)
    }

    /// Applies one instruction.
    pub(super) fn execute(&mut self, opcode: Option<Opcode>, operand: Operand) -> Check<Then> {
        let Some(opcode) = opcode else {
            self.report(Code::UnknownOpcode);
            return Ok(Then::End);
        };
        match operand {
            Operand::None => self.execute_plain(opcode),
            Operand::Index(index) => self.execute_index(opcode, index),
            Operand::Token(token) => self.execute_token(opcode, token),
            Operand::Target(target) => {
                match opcode {
                    Opcode::Leave | Opcode::LeaveS => self.leave(target)?,
                    _ => self.branch(opcode, target)?,
                }
                Ok(Then::End)
            }
            Operand::Switch(start, count) => {
                self.switch(start, count)?;
                Ok(Then::End)
            }
        }
    }

    fn execute_index(&mut self, opcode: Opcode, index: u16) -> Check<Then> {
        match opcode {
            Opcode::LdargS | Opcode::Ldarg => self.load_argument(index)?,
            Opcode::LdargaS | Opcode::Ldarga => self.address_of_argument(index)?,
            Opcode::StargS | Opcode::Starg => self.store_argument(index)?,
            Opcode::LdlocS | Opcode::Ldloc => self.load_local(index)?,
            Opcode::LdlocaS | Opcode::Ldloca => self.address_of_local(index)?,
            Opcode::StlocS | Opcode::Stloc => self.store_local(index)?,
            Opcode::Unaligned => {
                self.add_prefix(Prefixes::UNALIGNED, Prefixes::VOLATILE);
                return Ok(Then::Prefix);
            }
            Opcode::No => {
                self.report(Code::Unverifiable);
                self.add_prefix(0, 0);
                return Ok(Then::Prefix);
            }
            // ldc.i4.s
            _ => self.push(StackValue::primitive(Kind::Int32))?,
        }
        Ok(Then::Next)
    }

    fn execute_token(&mut self, opcode: Opcode, token: Token) -> Check<Then> {
        match opcode {
            Opcode::Call | Opcode::Callvirt | Opcode::Newobj => self.call(opcode, token)?,
            Opcode::Calli => self.call_indirect(token)?,
            Opcode::Jmp => {
                self.report(Code::Unverifiable);
                self.resolve_method(token)?;
                return Ok(Then::End);
            }
            Opcode::Ldftn => self.load_function(token, false)?,
            Opcode::Ldvirtftn => self.load_function(token, true)?,
            Opcode::Ldfld => self.load_field(token, false)?,
            Opcode::Ldsfld => self.load_field(token, true)?,
            Opcode::Ldflda => self.address_of_field(token, false)?,
            Opcode::Ldsflda => self.address_of_field(token, true)?,
            Opcode::Stfld => self.store_field(token, false)?,
            Opcode::Stsfld => self.store_field(token, true)?,
            Opcode::Ldobj => {
                let ty = self.resolve_type(token)?;
                self.load_indirect(Some(ty))?;
            }
            Opcode::Stobj => {
                let ty = self.resolve_type(token)?;
                self.store_indirect(Some(ty))?;
            }
            Opcode::Cpobj => self.copy_object(token)?,
            Opcode::Initobj => self.init_object(token)?,
            Opcode::Box => self.box_value(token)?,
            Opcode::Unbox => self.unbox(token, false)?,
            Opcode::UnboxAny => self.unbox(token, true)?,
            Opcode::Castclass | Opcode::Isinst => self.cast(token)?,
            Opcode::Newarr => self.new_array(token)?,
            Opcode::Ldelem => {
                let element = self.resolve_type(token)?;
                self.load_element(Some(element))?;
            }
            Opcode::Stelem => {
                let element = self.resolve_type(token)?;
                self.store_element(Some(element))?;
            }
            Opcode::Ldelema => self.address_of_element(token)?,
            Opcode::Ldstr => self.load_string(token)?,
            Opcode::Ldtoken => self.load_token(token)?,
            Opcode::Sizeof => {
                self.resolve_type(token)?;
                self.push(StackValue::primitive(Kind::Int32))?;
            }
            Opcode::Mkrefany => self.make_typed_reference(token)?,
            Opcode::Refanyval => self.typed_reference_value(token)?,
            Opcode::Constrained => {
                self.constrained_prefix(token)?;
                return Ok(Then::Prefix);
            }
            _ => {
                self.report(Code::UnknownOpcode);
                return Ok(Then::End);
            }
        }
        Ok(Then::Next)
    }

    fn execute_plain(&mut self, opcode: Opcode) -> Check<Then> {
        use Opcode::*;
        match opcode {
            Nop | Break => {}
            Ldarg0 | Ldarg1 | Ldarg2 | Ldarg3 => self.load_argument(opcode as u16 - Ldarg0 as u16)?,
            Ldloc0 | Ldloc1 | Ldloc2 | Ldloc3 => self.load_local(opcode as u16 - Ldloc0 as u16)?,
            Stloc0 | Stloc1 | Stloc2 | Stloc3 => self.store_local(opcode as u16 - Stloc0 as u16)?,
            Ldnull => self.push(StackValue::null())?,
            LdcI4M1 | LdcI40 | LdcI41 | LdcI42 | LdcI43 | LdcI44 | LdcI45 | LdcI46 | LdcI47 | LdcI48 | LdcI4 => {
                self.push(StackValue::primitive(Kind::Int32))?;
            }
            LdcI8 => self.push(StackValue::primitive(Kind::Int64))?,
            LdcR4 | LdcR8 => self.push(StackValue::primitive(Kind::Float))?,
            Dup => {
                let value = self.pop_any()?;
                self.delegate_start = Some(self.offset);
                self.push(value)?;
                self.push(value)?;
            }
            Pop => {
                self.pop_any()?;
            }
            Ret => {
                self.ret()?;
                return Ok(Then::End);
            }
            LdindRef => self.load_indirect(None)?,
            StindRef => self.store_indirect(None)?,
            LdindI1 | LdindU1 | LdindI2 | LdindU2 | LdindI4 | LdindU4 | LdindI8 | LdindI | LdindR4 | LdindR8 => {
                let ty = self.accessed(opcode);
                self.load_indirect(Some(ty))?;
            }
            StindI1 | StindI2 | StindI4 | StindI8 | StindI | StindR4 | StindR8 => {
                let ty = self.accessed(opcode);
                self.store_indirect(Some(ty))?;
            }
            LdelemRef => self.load_element(None)?,
            StelemRef => self.store_element(None)?,
            LdelemI1 | LdelemU1 | LdelemI2 | LdelemU2 | LdelemI4 | LdelemU4 | LdelemI8 | LdelemI | LdelemR4
            | LdelemR8 => {
                let ty = self.accessed(opcode);
                self.load_element(Some(ty))?;
            }
            StelemI1 | StelemI2 | StelemI4 | StelemI8 | StelemI | StelemR4 | StelemR8 => {
                let ty = self.accessed(opcode);
                self.store_element(Some(ty))?;
            }
            Ldlen => self.load_length()?,
            Add | Sub | Mul | Div | Rem => self.binary(false)?,
            DivUn | RemUn | And | Or | Xor | AddOvf | AddOvfUn | MulOvf | MulOvfUn | SubOvf | SubOvfUn => {
                self.binary(true)?;
            }
            Shl | Shr | ShrUn => self.shift()?,
            Neg => self.unary(false)?,
            Not => self.unary(true)?,
            Ceq | Cgt | CgtUn | Clt | CltUn => {
                self.compare(opcode)?;
                self.push(StackValue::primitive(Kind::Int32))?;
            }
            Ckfinite => self.check_finite()?,
            Throw => {
                self.throw()?;
                return Ok(Then::End);
            }
            Rethrow => {
                self.rethrow();
                return Ok(Then::End);
            }
            Endfinally => {
                self.end_finally();
                return Ok(Then::End);
            }
            Endfilter => {
                self.end_filter()?;
                return Ok(Then::End);
            }
            Localloc => self.local_allocate()?,
            Cpblk | Initblk => self.block_operation(opcode == Initblk)?,
            Arglist => self.push(StackValue::value(self.known(WellKnown::RuntimeArgumentHandle)))?,
            Refanytype => self.typed_reference_type()?,
            Volatile => {
                self.add_prefix(Prefixes::VOLATILE, Prefixes::UNALIGNED);
                return Ok(Then::Prefix);
            }
            Tail => {
                self.tail_prefix();
                return Ok(Then::Prefix);
            }
            Readonly => {
                self.add_prefix(Prefixes::READ_ONLY, 0);
                return Ok(Then::Prefix);
            }
            _ => match conversion(opcode) {
                Some(kind) => self.convert(kind)?,
                None => {
                    self.report(Code::UnknownOpcode);
                    return Ok(Then::End);
                }
            },
        }
        Ok(Then::Next)
    }

    /// The type that an instruction's name gives to the memory it accesses.
    fn accessed(&self, opcode: Opcode) -> Ty {
        use Opcode::*;
        self.known(match opcode {
            LdindI1 | StindI1 | LdelemI1 | StelemI1 => WellKnown::SByte,
            LdindU1 | LdelemU1 => WellKnown::Byte,
            LdindI2 | StindI2 | LdelemI2 | StelemI2 => WellKnown::Int16,
            LdindU2 | LdelemU2 => WellKnown::UInt16,
            LdindI4 | StindI4 | LdelemI4 | StelemI4 => WellKnown::Int32,
            LdindU4 | LdelemU4 => WellKnown::UInt32,
            LdindI8 | StindI8 | LdelemI8 | StelemI8 => WellKnown::Int64,
            LdindR4 | StindR4 | LdelemR4 | StelemR4 => WellKnown::Single,
            LdindR8 | StindR8 | LdelemR8 | StelemR8 => WellKnown::Double,
            _ => WellKnown::IntPtr,
        })
    }

    fn branch(&mut self, opcode: Opcode, target: i64) -> Check {
        use Opcode::*;
        match opcode {
            Br | BrS => {}
            Brfalse | BrfalseS | Brtrue | BrtrueS => {
                let value = self.pop()?;
                let is_condition = value.is_integer() || matches!(value.kind, Kind::ObjRef | Kind::ByRef);
                self.expect_found(is_condition, Code::StackUnexpected, value);
            }
            _ => self.compare(opcode)?,
        }
        if let Some(block) = self.branch_target(target)? {
            self.propagate(block, false)?;
        }
        if matches!(opcode, Br | BrS) {
            return Ok(());
        }
        self.fall_through()
    }

    /// Hands the stack to the block behind a conditional branch.
    fn fall_through(&mut self) -> Check {
        match self.block_starting_at(i64::from(self.next)) {
            Some(block) => self.propagate(block, true),
            None => {
                self.report(Code::MethodFallthrough);
                Ok(())
            }
        }
    }

    fn switch(&mut self, start: u32, count: u32) -> Check {
        let value = self.pop()?;
        self.check_assignable(value, StackValue::primitive(Kind::Int32))?;
        for target in switch_targets(self.code, start, count) {
            if let Some(block) = self.branch_target(target)? {
                self.propagate(block, false)?;
            }
        }
        self.fall_through()
    }

    fn leave(&mut self, target: i64) -> Check {
        self.stack.clear();
        let (Some(source), Some(target)) = (self.current, self.branch_target(target)?) else {
            return Ok(());
        };
        self.propagate_this(target);
        self.mark(target);
        self.check_leave(source, target);
        Ok(())
    }
}

/// The kind of number a conversion makes.
fn conversion(opcode: Opcode) -> Option<Kind> {
    use Opcode::*;
    Some(match opcode {
        ConvI1 | ConvU1 | ConvI2 | ConvU2 | ConvI4 | ConvU4 | ConvOvfI1 | ConvOvfU1 | ConvOvfI2 | ConvOvfU2
        | ConvOvfI4 | ConvOvfU4 | ConvOvfI1Un | ConvOvfU1Un | ConvOvfI2Un | ConvOvfU2Un | ConvOvfI4Un | ConvOvfU4Un => {
            Kind::Int32
        }
        ConvI8 | ConvU8 | ConvOvfI8 | ConvOvfU8 | ConvOvfI8Un | ConvOvfU8Un => Kind::Int64,
        ConvI | ConvU | ConvOvfI | ConvOvfU | ConvOvfIUn | ConvOvfUUn => Kind::NativeInt,
        ConvR4 | ConvR8 | ConvRUn => Kind::Float,
        _ => return None,
    })
}
