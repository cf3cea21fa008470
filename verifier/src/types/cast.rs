//! Which references can be used as which (ECMA-335 I.8.7), as casts at run time see it: value types count as boxed.

use super::{Category, MAX_CHAIN, RowId, Ty, TyKind, TypeResult, TypeSystem};
use crate::universe::WellKnown;
use corten_metadata::GenericParamAttributes;

/// Deepest nesting of questions about type arguments.
const MAX_CAST_DEPTH: u32 = 64;

/// The variance questions being answered: a question inside itself is answered with no.
type Pending<'a> = &'a mut Vec<(Ty, Ty)>;

impl<'u> TypeSystem<'u> {
    /// Whether a reference to `from` can be used as one to `to`.
    pub fn can_cast(&mut self, from: Ty, to: Ty) -> TypeResult<bool> {
        if from == to {
            return Ok(true);
        }
        if let Some(&known) = self.caches.casts.get(&(from, to)) {
            return Ok(known);
        }
        let result = self.cast(from, to, &mut Vec::new())?;
        self.caches.casts.insert((from, to), result);
        Ok(result)
    }

    fn cast(&mut self, from: Ty, to: Ty, pending: Pending<'_>) -> TypeResult<bool> {
        if from == to {
            return Ok(true);
        }
        if self.caches.cast_depth >= MAX_CAST_DEPTH {
            return Ok(false);
        }
        self.caches.cast_depth += 1;
        let result = self.cast_distinct(from, to, pending);
        self.caches.cast_depth -= 1;
        result
    }

    fn cast_distinct(&mut self, from: Ty, to: Ty, pending: Pending<'_>) -> TypeResult<bool> {
        match self.kind(from).clone() {
            TyKind::Param(param) => self.cast_param(param, to, pending),
            TyKind::Var(_) | TyKind::MVar(_) => Ok(self.is_known(to, WellKnown::Object)),
            TyKind::SzArray(element) => match *self.kind(to) {
                TyKind::SzArray(other) | TyKind::Array(other, 1) => self.cast_element(element, other, pending),
                _ if self.def_of(to).is_some() => self.cast_to_def(from, to, pending),
                _ => Ok(false),
            },
            TyKind::Array(element, rank) => match *self.kind(to) {
                TyKind::Array(other, other_rank) if other_rank == rank => self.cast_element(element, other, pending),
                _ if self.def_of(to).is_some() => self.cast_to_def(from, to, pending),
                _ => Ok(false),
            },
            TyKind::ByRef(target) => match *self.kind(to) {
                TyKind::ByRef(other) => self.cast_element(target, other, pending),
                _ => Ok(false),
            },
            TyKind::Ptr(target) => match *self.kind(to) {
                TyKind::Ptr(other) => self.cast_element(target, other, pending),
                _ => Ok(false),
            },
            TyKind::FnPtr(_) => Ok(false),
            TyKind::Def(_) | TyKind::Inst(..) => self.cast_to_def(from, to, pending),
        }
    }

    fn cast_param(&mut self, param: RowId, to: Ty, pending: Pending<'_>) -> TypeResult<bool> {
        if self.is_known(to, WellKnown::Object) {
            return Ok(true);
        }
        let info = self.param(param)?;
        let is_struct = info
            .flags
            .contains(GenericParamAttributes::NOT_NULLABLE_VALUE_TYPE_CONSTRAINT);
        if is_struct && self.is_known(to, WellKnown::ValueType) {
            return Ok(true);
        }
        for &constraint in &info.constraints {
            if self.cast(constraint, to, pending)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Elements of arrays and targets of pointers: references by inheritance, integers by size, the rest exactly.
    fn cast_element(&mut self, from: Ty, to: Ty, pending: Pending<'_>) -> TypeResult<bool> {
        if from == to {
            return Ok(true);
        }
        let underlying = self.underlying(from)?;
        let category = self.category(underlying)?;
        if category.is_reference() || self.is_reference_param(from)? {
            return self.cast(from, to, pending);
        }
        Ok(category.is_primitive() && self.same_size_integers(category, to)?)
    }

    /// Whether `to` is, or is an enumeration over, the same integer type but for the sign.
    fn same_size_integers(&mut self, from: Category, to: Ty) -> TypeResult<bool> {
        let underlying = self.underlying(to)?;
        Ok(unsigned_as_signed(self.category(underlying)?) == unsigned_as_signed(from))
    }

    fn is_reference_param(&mut self, ty: Ty) -> TypeResult<bool> {
        let TyKind::Param(param) = *self.kind(ty) else {
            return Ok(false);
        };
        let info = self.param(param)?;
        let marked = info.flags.contains(GenericParamAttributes::REFERENCE_TYPE_CONSTRAINT);
        Ok(marked || self.constrained_to_reference(param, 0)?)
    }

    fn constrained_to_reference(&mut self, param: RowId, depth: usize) -> TypeResult<bool> {
        if depth > 16 {
            return Ok(false);
        }
        for &constraint in &self.param(param)?.constraints.clone() {
            if let TyKind::Param(other) = *self.kind(constraint) {
                if self.constrained_to_reference(other, depth + 1)? {
                    return Ok(true);
                }
                continue;
            }
            let general = [WellKnown::Object, WellKnown::ValueType, WellKnown::Enum];
            let is_general = general.iter().any(|w| self.is_known(constraint, *w));
            let category = self.category(constraint)?;
            if category != Category::Interface && category.is_reference() && !is_general {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn cast_to_def(&mut self, from: Ty, to: Ty, pending: Pending<'_>) -> TypeResult<bool> {
        if self.category(to)? == Category::Interface {
            self.cast_to_interface(from, to, pending)
        } else {
            self.cast_to_class(from, to, pending)
        }
    }

    fn has_variance(&mut self, ty: Ty) -> TypeResult<bool> {
        match self.def_of(ty) {
            Some(def) => Ok(self.def(def)?.has_variance),
            None => Ok(false),
        }
    }

    fn cast_to_interface(&mut self, from: Ty, to: Ty, pending: Pending<'_>) -> TypeResult<bool> {
        // The generic interfaces of arrays behave as covariant, whatever their parameters say.
        let from_array = matches!(self.kind(from), TyKind::SzArray(_));
        let array_covariance = from_array && matches!(self.kind(to), TyKind::Inst(..));
        if !array_covariance && !self.has_variance(to)? {
            return Ok(self.interfaces(from)?.contains(&to));
        }
        if self.cast_by_variance(from, to, pending, false)? {
            return Ok(true);
        }
        for &interface in self.interfaces(from)?.iter() {
            if self.cast_by_variance(interface, to, pending, array_covariance)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn cast_by_variance(&mut self, from: Ty, to: Ty, pending: Pending<'_>, covariant: bool) -> TypeResult<bool> {
        if from == to {
            return Ok(true);
        }
        let (TyKind::Inst(def, from_args), TyKind::Inst(to_def, to_args)) = (self.kind(from), self.kind(to)) else {
            return Ok(false);
        };
        if def != to_def {
            return Ok(false);
        }
        let (def, from_args, to_args) = (*def, from_args.clone(), to_args.clone());
        if pending.contains(&(from, to)) {
            return Ok(false);
        }
        pending.push((from, to));
        let params = self.def(def)?.params.clone();
        let mut all = true;
        for ((param, &arg), &target) in params.iter().zip(from_args.iter()).zip(to_args.iter()) {
            if arg == target {
                continue;
            }
            let flags = self.universe.module(param.module).generic_param(param.rid);
            let variance =
                flags.map_or(GenericParamAttributes::empty(), |row| row.flags) & GenericParamAttributes::VARIANCE_MASK;
            all = if covariant || variance == GenericParamAttributes::COVARIANT {
                self.cast_argument(arg, target, pending, covariant)?
            } else if variance == GenericParamAttributes::CONTRAVARIANT {
                self.cast_argument(target, arg, pending, covariant)?
            } else {
                false
            };
            if !all {
                break;
            }
        }
        pending.pop();
        Ok(all)
    }

    /// Variance holds for references only; in array interfaces also for integers of one size.
    fn cast_argument(&mut self, from: Ty, to: Ty, pending: Pending<'_>, of_array: bool) -> TypeResult<bool> {
        let underlying = self.underlying(from)?;
        let category = self.category(underlying)?;
        if category.is_reference() || self.is_reference_param(from)? {
            return self.cast(from, to, pending);
        }
        Ok(of_array && category.is_primitive() && self.same_size_integers(category, to)?)
    }

    fn cast_to_class(&mut self, from: Ty, to: Ty, pending: Pending<'_>) -> TypeResult<bool> {
        if self.is_known(to, WellKnown::Object) && self.category(from)? == Category::Interface {
            return Ok(true);
        }
        let variant = self.has_variance(from)?;
        if !variant
            && self.category(to)? == Category::Nullable
            && self.category(from)? != Category::Nullable
            && let Some(&inner) = self.args_of(to).first()
        {
            return self.cast(from, inner, pending);
        }
        let mut current = Some(from);
        for _ in 0..MAX_CHAIN {
            let Some(ty) = current else { break };
            if ty == to || (variant && self.cast_by_variance(ty, to, pending, false)?) {
                return Ok(true);
            }
            current = self.base(ty)?;
        }
        Ok(false)
    }
}

/// Integers that differ in their sign only are interchangeable in arrays; bool and char are not.
fn unsigned_as_signed(category: Category) -> Category {
    match category {
        Category::Byte => Category::SByte,
        Category::UInt16 => Category::Int16,
        Category::UInt32 => Category::Int32,
        Category::UInt64 => Category::Int64,
        Category::UIntPtr => Category::IntPtr,
        other => other,
    }
}

impl<'u> TypeSystem<'u> {
    /// The reduced type (ECMA-335 I.8.7): integers without their sign, enumerations as their integers.
    pub fn reduced(&mut self, ty: Ty) -> TypeResult<Ty> {
        let ty = self.underlying(ty)?;
        let known = match self.category(ty)? {
            Category::Byte => WellKnown::SByte,
            Category::UInt16 => WellKnown::Int16,
            Category::UInt32 => WellKnown::Int32,
            Category::UInt64 => WellKnown::Int64,
            Category::UIntPtr => WellKnown::IntPtr,
            _ => return Ok(ty),
        };
        Ok(self.known(known))
    }

    /// The verification type (ECMA-335 I.8.7): as reduced, and bool and char as integers.
    pub fn verification_type(&mut self, ty: Ty) -> TypeResult<Ty> {
        if let TyKind::ByRef(to) = *self.kind(ty) {
            let to = self.verification_type(to)?;
            return self.by_ref(to);
        }
        let reduced = self.reduced(ty)?;
        Ok(match self.category(reduced)? {
            Category::Boolean => self.known(WellKnown::SByte),
            Category::Char => self.known(WellKnown::Int16),
            _ => reduced,
        })
    }
}
