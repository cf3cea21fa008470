//! Signatures to types, and substitution of type arguments.

use std::rc::Rc;

use corten_metadata::sig;
use corten_metadata::{CallingConvention, MethodSig, SigError, TypeSig};

use super::{LoadFailure, Ty, TyKind, TypeResult, TypeSystem};
use crate::code::Code;
use crate::universe::{ModuleId, WellKnown};

/// A method signature. As written it contains [`TyKind::Var`] and [`TyKind::MVar`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Sig {
    pub convention: Convention,
    pub has_this: bool,
    pub generic_count: u32,
    pub ret: Ty,
    pub params: Vec<Ty>,
}

/// Calling convention, as far as the verifier tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Convention {
    Managed,
    VarArg,
    Unmanaged,
}

impl<'u> TypeSystem<'u> {
    pub(super) fn bad_signature(error: SigError) -> Box<LoadFailure> {
        Box::new(LoadFailure {
            code: Code::BadImageFormatGeneric,
            message: format!("bad signature: {error}"),
        })
    }

    /// A type as it is written in `module`.
    pub fn written_type(&mut self, module: ModuleId, signature: &TypeSig) -> TypeResult<Ty> {
        let known = match signature {
            TypeSig::Void => WellKnown::Void,
            TypeSig::Boolean => WellKnown::Boolean,
            TypeSig::Char => WellKnown::Char,
            TypeSig::I1 => WellKnown::SByte,
            TypeSig::U1 => WellKnown::Byte,
            TypeSig::I2 => WellKnown::Int16,
            TypeSig::U2 => WellKnown::UInt16,
            TypeSig::I4 => WellKnown::Int32,
            TypeSig::U4 => WellKnown::UInt32,
            TypeSig::I8 => WellKnown::Int64,
            TypeSig::U8 => WellKnown::UInt64,
            TypeSig::R4 => WellKnown::Single,
            TypeSig::R8 => WellKnown::Double,
            TypeSig::I => WellKnown::IntPtr,
            TypeSig::U => WellKnown::UIntPtr,
            TypeSig::String => WellKnown::String,
            TypeSig::Object => WellKnown::Object,
            TypeSig::TypedByRef => WellKnown::TypedReference,
            TypeSig::Class(token) | TypeSig::ValueType(token) => {
                let def = self.named(module, *token)?;
                return self.intern(TyKind::Def(def));
            }
            TypeSig::GenericInst { definition, args, .. } => {
                let def = self.named(module, *definition)?;
                let args = self.written_types(module, args)?;
                if self.def(def)?.params.len() != args.len() {
                    let message = "wrong number of type arguments";
                    return LoadFailure::new(Code::ClassLoadBadFormat, message);
                }
                return self.intern(TyKind::Inst(def, args.into()));
            }
            TypeSig::Var(index) => return self.intern(TyKind::Var(*index)),
            TypeSig::MVar(index) => return self.intern(TyKind::MVar(*index)),
            TypeSig::Ptr(to) => {
                let to = self.written_type(module, to)?;
                return self.intern(TyKind::Ptr(to));
            }
            TypeSig::ByRef(to) => {
                let to = self.written_type(module, to)?;
                return self.by_ref(to);
            }
            TypeSig::SzArray(element) => {
                let element = self.written_type(module, element)?;
                return self.sz_array(element);
            }
            TypeSig::Array { element, shape } => {
                let element = self.written_type(module, element)?;
                return self.intern(TyKind::Array(element, shape.rank.min(255) as u8));
            }
            TypeSig::FnPtr(signature) => {
                let signature = self.written_sig(module, signature)?;
                return self.intern(TyKind::FnPtr(Rc::new(signature)));
            }
            TypeSig::Pinned(inner) | TypeSig::Modified { inner, .. } => return self.written_type(module, inner),
            TypeSig::Internal(_) => {
                return LoadFailure::new(Code::BadImageFormatGeneric, "a type handle in a file's signature");
            }
        };
        Ok(self.known(known))
    }

    fn written_types(&mut self, module: ModuleId, types: &[TypeSig]) -> TypeResult<Vec<Ty>> {
        types.iter().map(|t| self.written_type(module, t)).collect()
    }

    /// A method signature as it is written in `module`.
    pub fn written_sig(&mut self, module: ModuleId, signature: &MethodSig) -> TypeResult<Sig> {
        Ok(Sig {
            convention: match signature.calling_convention {
                CallingConvention::Default => Convention::Managed,
                CallingConvention::VarArg => Convention::VarArg,
                _ => Convention::Unmanaged,
            },
            has_this: signature.has_this,
            generic_count: signature.generic_param_count,
            ret: self.written_type(module, &signature.ret)?,
            params: self.written_types(module, &signature.params)?,
        })
    }

    pub fn parse_sig(&mut self, module: ModuleId, blob: &[u8]) -> TypeResult<Sig> {
        let parsed = sig::parse_method(blob).map_err(Self::bad_signature)?;
        self.written_sig(module, &parsed)
    }

    /// Puts arguments in the place of [`TyKind::Var`] and [`TyKind::MVar`].
    ///
    /// An index beyond the arguments given is a malformed signature, unless there are no arguments of that sort at all:
    /// then it stays.
    pub fn substitute(&mut self, ty: Ty, type_args: &[Ty], method_args: &[Ty]) -> TypeResult<Ty> {
        if !self.data[ty.0 as usize].has_vars {
            return Ok(ty);
        }
        let pick = |args: &[Ty], index: u32| match args.get(index as usize) {
            Some(&arg) => Ok(arg),
            None if args.is_empty() => Ok(ty),
            None => LoadFailure::new(
                Code::ClassLoadBadFormat,
                format!("there is no generic parameter {index}"),
            ),
        };
        let kind = match self.kind(ty).clone() {
            TyKind::Var(index) => return pick(type_args, index),
            TyKind::MVar(index) => return pick(method_args, index),
            TyKind::Inst(def, args) => TyKind::Inst(def, self.substitute_all(&args, type_args, method_args)?.into()),
            TyKind::SzArray(t) => TyKind::SzArray(self.substitute(t, type_args, method_args)?),
            TyKind::Array(t, rank) => TyKind::Array(self.substitute(t, type_args, method_args)?, rank),
            TyKind::ByRef(t) => TyKind::ByRef(self.substitute(t, type_args, method_args)?),
            TyKind::Ptr(t) => TyKind::Ptr(self.substitute(t, type_args, method_args)?),
            TyKind::FnPtr(sig) => TyKind::FnPtr(Rc::new(self.substitute_sig(&sig, type_args, method_args)?)),
            kind @ (TyKind::Def(_) | TyKind::Param(_)) => kind,
        };
        self.intern(kind)
    }

    pub fn substitute_all(&mut self, types: &[Ty], type_args: &[Ty], method_args: &[Ty]) -> TypeResult<Vec<Ty>> {
        let one = |t: &Ty| self.substitute(*t, type_args, method_args);
        types.iter().map(one).collect()
    }

    pub fn substitute_sig(&mut self, sig: &Sig, type_args: &[Ty], method_args: &[Ty]) -> TypeResult<Sig> {
        Ok(Sig {
            ret: self.substitute(sig.ret, type_args, method_args)?,
            params: self.substitute_all(&sig.params, type_args, method_args)?,
            ..*sig
        })
    }
}
