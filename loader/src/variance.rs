//! Where variant type parameters may stand in the signatures of their interface or delegate (ECMA-335 II.9.7).

use corten_metadata::{
    MethodAttributes,
    sig::{self, TypeSig},
};

use crate::{
    error::Result,
    module::Module,
    type_def::{MethodRow, TypeDefInfo},
};

/// What a place in a signature allows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Neither kind of variant parameter.
    Invariant,
    /// Covariant ones: results.
    Covariant,
    /// Contravariant ones: arguments.
    Contravariant,
}

impl Place {
    fn of_flags(bits: u8) -> Place {
        match bits {
            1 => Place::Covariant,
            2 => Place::Contravariant,
            _ => Place::Invariant,
        }
    }

    /// The place of an argument for a parameter of that variance, in a type at this place.
    fn inside(self, parameter: Place) -> Place {
        match (self, parameter) {
            (_, Place::Invariant) | (Place::Invariant, _) => Place::Invariant,
            (place, Place::Covariant) => place,
            (Place::Covariant, Place::Contravariant) => Place::Contravariant,
            (Place::Contravariant, Place::Contravariant) => Place::Covariant,
        }
    }
}

/// Checks the virtual methods of a type with variant parameters.
///
/// # Errors
/// TypeLoad, worded as CoreCLR does.
pub(crate) fn check(def: &'static TypeDefInfo) -> Result<()> {
    if !def.has_variance() {
        return Ok(());
    }
    let is_virtual = |m: &&MethodRow| m.attributes.contains(MethodAttributes::VIRTUAL);
    for method in def.methods().iter().filter(is_virtual) {
        let module = def.module();
        let signature = sig::parse_method(method.signature()).map_err(|e| module.bad_image(e))?;
        let error = |what: &str| {
            def.type_load(format!(
                "because a covariant or contravariant type parameter was used illegally in the signature for {what} in method '{}'",
                method.name()
            ))
        };
        if !allowed(def, module, &signature.ret, Place::Covariant)? {
            return Err(error("the result type"));
        }
        for parameter in &signature.params {
            if !allowed(def, module, parameter, Place::Contravariant)? {
                return Err(error("an argument"));
            }
        }
    }
    Ok(())
}

fn allowed(def: &TypeDefInfo, module: &'static Module, ty: &TypeSig, place: Place) -> Result<bool> {
    Ok(match ty {
        TypeSig::Var(n) => {
            let own = Place::of_flags(def.variance().get(*n as usize).copied().unwrap_or(0));
            own == Place::Invariant || own == place
        }
        TypeSig::ByRef(t) | TypeSig::Ptr(t) => allowed(def, module, t, Place::Invariant)?,
        TypeSig::SzArray(t) | TypeSig::Array { element: t, .. } => allowed(def, module, t, place)?,
        TypeSig::Pinned(t) | TypeSig::Modified { inner: t, .. } => allowed(def, module, t, place)?,
        TypeSig::GenericInst { definition, args, .. } => {
            let generic = module.resolve_type_def(*definition)?;
            for (i, arg) in args.iter().enumerate() {
                let parameter = Place::of_flags(generic.variance().get(i).copied().unwrap_or(0));
                if !allowed(def, module, arg, place.inside(parameter))? {
                    return Ok(false);
                }
            }
            true
        }
        _ => true,
    })
}
