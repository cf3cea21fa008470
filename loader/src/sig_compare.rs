//! Comparison of signatures of different modules without loading types (ECMA-335 II.15.. name and
//! signature matching). Variables of base classes are read through substitutions.

use corten_metadata::{
    CallingConvention, Token,
    sig::{self, MethodSig, TypeSig},
};

use crate::{error::Result, module::Module, resolve::GenericContext, type_handle::TypeHandle};

/// How to read `!n` of a base class: as argument n of the reference to it, in the module that made it.
pub(crate) struct Subst<'a> {
    pub module: &'static Module,
    pub args: &'a [TypeSig],
    pub next: Option<&'a Subst<'a>>,
}

type Ctx<'a> = Option<&'a Subst<'a>>;

/// Replaces a variable at the head by what it stands for.
fn head<'a>(
    mut module: &'static Module,
    mut ty: &'a TypeSig,
    mut subst: Ctx<'a>,
) -> (&'static Module, &'a TypeSig, Ctx<'a>) {
    while let (TypeSig::Var(n), Some(s)) = (ty, subst) {
        match s.args.get(*n as usize) {
            Some(arg) => {
                module = s.module;
                ty = arg;
                subst = s.next;
            }
            None => break,
        }
    }
    (module, ty, subst)
}

/// Whether two type signatures denote the same type.
pub(crate) fn types_equal(
    ma: &'static Module,
    a: &TypeSig,
    sa: Ctx<'_>,
    mb: &'static Module,
    b: &TypeSig,
    sb: Ctx<'_>,
) -> Result<bool> {
    let (ma, a, sa) = head(ma, a, sa);
    let (mb, b, sb) = head(mb, b, sb);
    use TypeSig::*;
    Ok(match (a, b) {
        (Class(x), Class(y)) | (ValueType(x), ValueType(y)) => same_def(ma, *x, mb, *y)?,
        (
            GenericInst {
                definition: x,
                args: xa,
                ..
            },
            GenericInst {
                definition: y,
                args: ya,
                ..
            },
        ) => xa.len() == ya.len() && same_def(ma, *x, mb, *y)? && all_equal(ma, xa, sa, mb, ya, sb)?,
        (Ptr(x), Ptr(y)) | (ByRef(x), ByRef(y)) | (SzArray(x), SzArray(y)) | (Pinned(x), Pinned(y)) => {
            types_equal(ma, x, sa, mb, y, sb)?
        }
        (Array { element: x, shape: p }, Array { element: y, shape: q }) => {
            p.rank == q.rank && types_equal(ma, x, sa, mb, y, sb)?
        }
        (FnPtr(x), FnPtr(y)) => methods_equal(ma, x, sa, mb, y, sb)?,
        (
            Modified {
                required: p,
                modifier: x,
                inner: i,
            },
            Modified {
                required: q,
                modifier: y,
                inner: j,
            },
        ) => p == q && same_def(ma, *x, mb, *y)? && types_equal(ma, i, sa, mb, j, sb)?,
        // Some compilers spell CoreLib's own types by token.
        (Class(t), String | Object) => names_corelib(ma, *t, if *b == String { "String" } else { "Object" }),
        (String | Object, Class(t)) => names_corelib(mb, *t, if *a == String { "String" } else { "Object" }),
        _ => a == b,
    })
}

fn names_corelib(m: &'static Module, t: Token, name: &str) -> bool {
    m.metadata().type_name(t).ok() == Some(("System", name))
        && m.resolve_type_def(t).is_ok_and(|d| d.is_corelib_type("System", name))
}

fn all_equal(
    ma: &'static Module,
    a: &[TypeSig],
    sa: Ctx<'_>,
    mb: &'static Module,
    b: &[TypeSig],
    sb: Ctx<'_>,
) -> Result<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (x, y) in a.iter().zip(b) {
        if !types_equal(ma, x, sa, mb, y, sb)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether two tokens name the same definition.
fn same_def(ma: &'static Module, a: Token, mb: &'static Module, b: Token) -> Result<bool> {
    if ma == mb && a == b {
        return Ok(true);
    }
    // Different simple names can only be the same type through a renaming that does not exist.
    if let (Ok((_, na)), Ok((_, nb))) = (ma.metadata().type_name(a), mb.metadata().type_name(b))
        && na != nb
    {
        return Ok(false);
    }
    match (ma.resolve_type_def(a), mb.resolve_type_def(b)) {
        (Ok(x), Ok(y)) => Ok(std::ptr::eq(x, y)),
        // A type that cannot be found equals another reference to it by name.
        (Err(_), Err(_)) => Ok(ma.metadata().type_name(a).ok() == mb.metadata().type_name(b).ok()),
        _ => Ok(false),
    }
}

/// Whether two method signatures are the same (ECMA-335 II.10.3: convention, generic arity, types).
pub(crate) fn methods_equal(
    ma: &'static Module,
    a: &MethodSig,
    sa: Ctx<'_>,
    mb: &'static Module,
    b: &MethodSig,
    sb: Ctx<'_>,
) -> Result<bool> {
    Ok(a.calling_convention == b.calling_convention
        && a.has_this == b.has_this
        && a.generic_param_count == b.generic_param_count
        && a.params.len() == b.params.len()
        && types_equal(ma, &a.ret, sa, mb, &b.ret, sb)?
        && all_equal(ma, &a.params, sa, mb, &b.params, sb)?)
}

/// Whether a MemberRef's signature names the method with signature blob `def_blob`.
pub(crate) fn method_ref_matches(
    mr: &'static Module,
    r: &MethodSig,
    md: &'static Module,
    def_blob: &[u8],
    subst: Ctx<'_>,
) -> Result<bool> {
    let Ok(d) = sig::parse_method(def_blob) else {
        return Ok(false);
    };
    if r.calling_convention == CallingConvention::VarArg && d.calling_convention == CallingConvention::VarArg {
        let fixed = r.sentinel.unwrap_or(r.params.len());
        return Ok(r.has_this == d.has_this
            && fixed == d.params.len()
            && types_equal(mr, &r.ret, None, md, &d.ret, subst)?
            && all_equal(mr, &r.params[..fixed], None, md, &d.params, subst)?);
    }
    methods_equal(mr, r, None, md, &d, subst)
}

/// Compares two signature blobs.
pub(crate) fn method_blobs_equal(
    ma: &'static Module,
    a: &[u8],
    sa: Ctx<'_>,
    mb: &'static Module,
    b: &[u8],
    sb: Ctx<'_>,
) -> Result<bool> {
    if std::ptr::eq(ma, mb) && sa.is_none() && sb.is_none() && a == b {
        return Ok(true);
    }
    // Convention and (for non-generic methods) parameter counts are the first two bytes.
    if a.first() != b.first() || a.get(1) != b.get(1) {
        return Ok(false);
    }
    match (sig::parse_method(a), sig::parse_method(b)) {
        (Ok(x), Ok(y)) => methods_equal(ma, &x, sa, mb, &y, sb),
        _ => Ok(false),
    }
}

/// Whether two types denote the same exact type when `!n` of each stands for the given arguments. Method
/// variables correspond by position. Loads only what a variable is compared with.
pub(crate) fn types_equal_exact(
    ma: &'static Module,
    a: &TypeSig,
    ia: &[TypeHandle],
    mb: &'static Module,
    b: &TypeSig,
    ib: &[TypeHandle],
) -> bool {
    use TypeSig::*;
    let load = |m: &'static Module, s: &TypeSig, inst: &[TypeHandle]| {
        m.load_sig(
            s,
            GenericContext {
                class_inst: inst,
                method_inst: &[],
            },
        )
        .ok()
    };
    match (a, b) {
        (Var(x), Var(y)) => ia.get(*x as usize).is_some_and(|h| Some(h) == ib.get(*y as usize)),
        (Var(x), _) => ia.get(*x as usize).is_some_and(|h| load(mb, b, ib) == Some(*h)),
        (_, Var(y)) => ib.get(*y as usize).is_some_and(|h| load(ma, a, ia) == Some(*h)),
        (
            GenericInst {
                definition: x,
                args: xa,
                ..
            },
            GenericInst {
                definition: y,
                args: ya,
                ..
            },
        ) => {
            xa.len() == ya.len()
                && same_def(ma, *x, mb, *y).unwrap_or(false)
                && xa.iter().zip(ya).all(|(p, q)| types_equal_exact(ma, p, ia, mb, q, ib))
        }
        (Ptr(x), Ptr(y)) | (ByRef(x), ByRef(y)) | (SzArray(x), SzArray(y)) | (Pinned(x), Pinned(y)) => {
            types_equal_exact(ma, x, ia, mb, y, ib)
        }
        (Array { element: x, shape: p }, Array { element: y, shape: q }) => {
            p.rank == q.rank && types_equal_exact(ma, x, ia, mb, y, ib)
        }
        (FnPtr(x), FnPtr(y)) => methods_equal_exact(ma, x, ia, mb, y, ib),
        (
            Modified {
                required: p,
                modifier: x,
                inner: i,
            },
            Modified {
                required: q,
                modifier: y,
                inner: j,
            },
        ) => p == q && same_def(ma, *x, mb, *y).unwrap_or(false) && types_equal_exact(ma, i, ia, mb, j, ib),
        _ => types_equal(ma, a, None, mb, b, None).unwrap_or(false),
    }
}

/// Method signatures compared with [`types_equal_exact`].
pub(crate) fn methods_equal_exact(
    ma: &'static Module,
    a: &MethodSig,
    ia: &[TypeHandle],
    mb: &'static Module,
    b: &MethodSig,
    ib: &[TypeHandle],
) -> bool {
    a.calling_convention == b.calling_convention
        && a.has_this == b.has_this
        && a.generic_param_count == b.generic_param_count
        && a.params.len() == b.params.len()
        && types_equal_exact(ma, &a.ret, ia, mb, &b.ret, ib)
        && a.params
            .iter()
            .zip(&b.params)
            .all(|(p, q)| types_equal_exact(ma, p, ia, mb, q, ib))
}
