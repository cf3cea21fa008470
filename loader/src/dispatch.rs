//! Which method a virtual or interface call reaches (ECMA-335 II.12.2, default interface methods).

use std::sync::{OnceLock, RwLock};

use corten_metadata::{MethodAttributes, TableId};
use rustc_hash::FxHashMap;

use crate::{
    cast,
    class::ArrayInfo,
    error::{LoadError, Result},
    method_desc::MethodDesc,
    method_table::MethodTable,
    resolve::{GenericContext, read, write},
    sig_compare, well_known,
};

/// A MethodImpl of an exact type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExactImpl {
    pub declaration: &'static MethodDesc,
    pub body: &'static MethodDesc,
}

/// Per-type memory of interface dispatch.
#[derive(Default)]
pub struct DispatchCache {
    found: RwLock<FxHashMap<usize, Result<&'static MethodDesc>>>,
    impls: OnceLock<Result<Box<[ExactImpl]>>>,
}

/// The method a virtual call of `decl` on an object of type `mt` reaches. Interface declarations are
/// dispatched as by [`resolve_interface`]; generic virtual methods come back instantiated.
///
/// # Errors
/// As [`resolve_interface`].
pub fn resolve_virtual(mt: &'static MethodTable, decl: &'static MethodDesc) -> Result<&'static MethodDesc> {
    if decl.owner().is_interface() && !decl.is_static() {
        return resolve_interface(mt, decl);
    }
    let Some(m) = decl.slot().and_then(|s| mt.vtable_method(s)) else {
        return Ok(decl);
    };
    instantiate_like(m, decl)
}

fn instantiate_like(m: &'static MethodDesc, decl: &'static MethodDesc) -> Result<&'static MethodDesc> {
    if decl.has_method_instantiation() && !decl.is_generic_method_definition() {
        m.instantiate(decl.instantiation())
    } else {
        Ok(m)
    }
}

/// The method an interface call of `decl` (exact, possibly an instantiated generic method) on an object of
/// type `mt` reaches. May be a default interface method (its owner is an interface) or, for arrays, a
/// generic method of `SZArrayHelper`; both take the object itself as `this`. A method of a value type takes
/// the unboxed payload ([`MethodDesc::unboxing_stub`]).
///
/// # Errors
/// EntryPointNotFound when the type does not implement the method, AmbiguousImplementation when several
/// default implementations compete, load errors of signature types.
pub fn resolve_interface(mt: &'static MethodTable, decl: &'static MethodDesc) -> Result<&'static MethodDesc> {
    let definition = decl.generic_definition();
    let cache = &mt.class().dispatch_cache;
    let cached = read(&cache.found).get(&definition.address()).cloned();
    let found = match cached {
        Some(r) => r,
        None => {
            let r = find(mt, definition);
            if !r.as_ref().is_err_and(LoadError::is_transient) {
                write(&cache.found).insert(definition.address(), r.clone());
            }
            r
        }
    }?;
    if array_helper(mt, decl) {
        return Ok(found);
    }
    instantiate_like(found, decl)
}

fn array_helper(mt: &MethodTable, decl: &'static MethodDesc) -> bool {
    mt.is_sz_array() && cast::is_array_interface(decl.owner())
}

fn find(mt: &'static MethodTable, decl: &'static MethodDesc) -> Result<&'static MethodDesc> {
    let iface = decl.owner();
    if !iface.is_interface() {
        return decl.slot().and_then(|s| mt.vtable_method(s)).map_or(Ok(decl), Ok);
    }
    if let (true, Some(ArrayInfo { .. })) = (array_helper(mt, decl), mt.class().array())
        && cast::can_cast_to(mt.handle(), iface.handle())
    {
        let helper = well_known::corelib_type("System", "SZArrayHelper")?;
        let generic = helper.find_method(decl.name()).ok_or_else(|| not_found(mt, decl))?;
        return generic.instantiate(iface.instantiation());
    }
    if let Some(m) = find_in_classes(mt, iface, decl)? {
        return Ok(m);
    }
    find_default(mt, decl)
}

fn not_found(mt: &'static MethodTable, decl: &'static MethodDesc) -> LoadError {
    LoadError::EntryPointNotFound {
        type_name: mt.handle().display_name(),
        assembly: mt.module().assembly_display_name(),
        interface: decl.owner().handle().display_name(),
        method: decl.display_name(),
    }
}

/// Implementation by a class of the hierarchy, the most derived class first; at each class the exact interface
/// comes before variant ones.
fn find_in_classes(
    mt: &'static MethodTable,
    iface: &'static MethodTable,
    decl: &'static MethodDesc,
) -> Result<Option<&'static MethodDesc>> {
    let final_override = |m: &'static MethodDesc| m.slot().and_then(|s| mt.vtable_method(s)).unwrap_or(m);
    for cur in mt.ancestry() {
        if cur.interfaces().contains(&iface)
            && let Some(m) = provided_by(cur, iface, decl)?
        {
            return Ok(Some(final_override(m)));
        }
        if iface.has_variance() {
            for i in cur.interfaces() {
                if *i != iface
                    && cast::variant_compatible(i, iface)
                    && let Some(m) = provided_by(cur, i, decl.on_owner(i)?)?
                {
                    return Ok(Some(final_override(m)));
                }
            }
        }
    }
    Ok(None)
}

/// What class `cur` itself says about `decl`: a MethodImpl or, where it (re)declares the interface, a public
/// method of the same name and signature (inherited ones only if no base implements the interface).
fn provided_by(
    cur: &'static MethodTable,
    iface: &'static MethodTable,
    decl: &'static MethodDesc,
) -> Result<Option<&'static MethodDesc>> {
    if let Some(i) = exact_impls(cur)?.iter().find(|i| i.declaration == decl) {
        return Ok(Some(i.body));
    }
    if !cur.class().declared_interfaces().contains(&iface) {
        return Ok(None);
    }
    if let Some(m) = match_by_name(cur, decl, false)? {
        return Ok(Some(m));
    }
    if cur.parent().is_some_and(|p| p.interfaces().contains(&iface)) {
        return Ok(None);
    }
    for base in cur.ancestry().skip(1) {
        if let Some(m) = match_by_name(base, decl, false)? {
            return Ok(Some(m));
        }
    }
    Ok(None)
}

/// A public virtual (or, for static declarations, static) method of `on` with the declaration's name and signature.
fn match_by_name(
    on: &'static MethodTable,
    decl: &'static MethodDesc,
    statics: bool,
) -> Result<Option<&'static MethodDesc>> {
    let mut want = None;
    for m in on.methods().named(decl.name()) {
        if m.param_count() != decl.param_count()
            || m.is_static() != statics
            || (!statics && !m.is_virtual())
            || m.attributes() & MethodAttributes::MEMBER_ACCESS_MASK != MethodAttributes::PUBLIC
        {
            continue;
        }
        let want = match &want {
            Some(w) => w,
            None => want.insert(decl.parse_signature()?),
        };
        let have = m.parse_signature()?;
        if sig_compare::methods_equal_exact(
            decl.module(),
            want,
            decl.owner().instantiation(),
            m.module(),
            &have,
            on.instantiation(),
        ) {
            return Ok(Some(m));
        }
    }
    Ok(None)
}

/// MethodImpls of an exact type against interfaces.
pub(crate) fn exact_impls(mt: &'static MethodTable) -> Result<&'static [ExactImpl]> {
    let cell = &mt.class().dispatch_cache.impls;
    let r = match cell.get() {
        Some(r) => r,
        None => {
            let computed = match compute_impls(mt) {
                Err(e) if e.is_transient() => return Err(e),
                settled => settled,
            };
            cell.get_or_init(|| computed)
        }
    };
    r.as_ref().map(|b| &b[..]).map_err(Clone::clone)
}

fn compute_impls(mt: &'static MethodTable) -> Result<Box<[ExactImpl]>> {
    let Some(def) = mt.class().definition() else {
        return Ok(Box::default());
    };
    let ctx = GenericContext::of_type(mt);
    let mut out = Vec::new();
    for d in &def.vtable_shape()?.deferred {
        let declaration = def.module().resolve_method(d.declaration, ctx)?.method;
        let body = if d.body.is(TableId::MethodDef) {
            def.method_index(d.body.rid())
                .and_then(|i| mt.methods().get(i))
                .ok_or_else(|| def.type_load("a method override's body belongs to another type"))?
        } else {
            def.module().resolve_method(d.body, ctx)?.method
        };
        out.push(ExactImpl { declaration, body });
    }
    Ok(out.into())
}

/// The most specific default implementation among the interfaces of `mt`.
fn find_default(mt: &'static MethodTable, decl: &'static MethodDesc) -> Result<&'static MethodDesc> {
    let iface = decl.owner();
    let matches = |i: &'static MethodTable| i == iface || cast::variant_compatible(i, iface);
    // (interface that provides the body, body)
    let mut candidates: Vec<(&'static MethodTable, &'static MethodDesc)> = Vec::new();
    let own = mt.is_interface().then_some(mt);
    for i in mt.interfaces().iter().copied().chain(own) {
        if matches(i) {
            let m = decl.on_owner(i)?;
            if !m.is_abstract() {
                candidates.push((i, m));
            }
        } else if i.interfaces().iter().any(|b| matches(b)) {
            for x in exact_impls(i)? {
                let d = x.declaration;
                if d.token() == decl.token() && d.module() == decl.module() && matches(d.owner()) {
                    candidates.push((i, x.body));
                    break;
                }
            }
        }
    }
    let best: Vec<_> = candidates
        .iter()
        .filter(|(i, _)| !candidates.iter().any(|(o, _)| o != i && o.interfaces().contains(i)))
        .collect();
    match best.as_slice() {
        [(_, m)] if !m.is_abstract() => Ok(m),
        [] | [_] => Err(not_found(mt, decl)),
        // An exact match wins over variant ones.
        many => match many.iter().find(|(i, m)| *i == iface && !m.is_abstract()) {
            Some((_, m)) => Ok(m),
            None => Err(LoadError::AmbiguousImplementation {
                type_name: mt.handle().display_name(),
                assembly: mt.module().assembly_display_name(),
                interface: decl.owner().handle().display_name(),
                method: decl.display_name(),
            }),
        },
    }
}

/// The implementation of a static virtual interface member for `mt`.
///
/// # Errors
/// As [`resolve_interface`].
pub fn resolve_static_virtual(mt: &'static MethodTable, decl: &'static MethodDesc) -> Result<&'static MethodDesc> {
    let definition = decl.generic_definition();
    let cache = &mt.class().dispatch_cache;
    let cached = read(&cache.found).get(&definition.address()).cloned();
    let found = match cached {
        Some(r) => r?,
        None => {
            let r = find_static(mt, definition);
            if !r.as_ref().is_err_and(LoadError::is_transient) {
                write(&cache.found).insert(definition.address(), r.clone());
            }
            r?
        }
    };
    instantiate_like(found, decl)
}

fn find_static(mt: &'static MethodTable, decl: &'static MethodDesc) -> Result<&'static MethodDesc> {
    let iface = decl.owner();
    if !iface.is_interface() {
        return Ok(decl);
    }
    let variants = mt
        .interfaces()
        .iter()
        .copied()
        .filter(|i| *i != iface && cast::variant_compatible(i, iface));
    for i in mt.interfaces().iter().copied().filter(|i| *i == iface).chain(variants) {
        let d = decl.on_owner(i)?;
        for cur in mt.ancestry() {
            if let Some(x) = exact_impls(cur)?.iter().find(|x| x.declaration == d) {
                return Ok(x.body);
            }
            if cur.class().declared_interfaces().contains(&i)
                && let Some(m) = match_by_name(cur, d, true)?
            {
                return Ok(m);
            }
        }
    }
    find_default(mt, decl)
}

/// Whether any interface of `mt` takes part in implementing `decl` (then a failing dispatch is the caller's
/// error, not the type's).
fn has_default_candidate(mt: &'static MethodTable, decl: &'static MethodDesc) -> Result<bool> {
    for i in mt.interfaces() {
        if exact_impls(i)?
            .iter()
            .any(|x| x.declaration.token() == decl.token() && x.declaration.module() == decl.module())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A concrete class must implement every abstract method of its interfaces.
///
/// # Errors
/// TypeLoad naming the first method without implementation.
pub(crate) fn check_implemented(mt: &'static MethodTable) -> Result<()> {
    let Some(def) = mt.class().definition() else {
        return Ok(());
    };
    for i in mt.interfaces() {
        // Interfaces that only the base class lists have been checked there.
        if mt.parent().is_some_and(|p| p.interfaces().contains(i)) {
            continue;
        }
        let virtuals = MethodAttributes::VIRTUAL | MethodAttributes::ABSTRACT;
        for m in i.methods().filtered(|_, row| row.attributes.contains(virtuals)) {
            // A re-abstraction of an inherited interface's method is not a member of its own.
            if exact_impls(i)?.iter().any(|x| x.body == m) {
                continue;
            }
            let found = if m.is_static() { find_static(mt, m) } else { find(mt, m) };
            match found {
                Err(LoadError::EntryPointNotFound { .. }) if !has_default_candidate(mt, m)? => {
                    return Err(LoadError::TypeLoad {
                        type_name: def.plain_name(),
                        assembly: def.module().assembly_display_name(),
                        reason: if m.is_static() {
                            format!(
                                "=Virtual static method '{}' is not implemented on type '{}' from assembly '{}'.",
                                m.name(),
                                def.plain_name(),
                                def.module().assembly_display_name()
                            )
                        } else {
                            format!(
                                "=Method '{}' in type '{}' from assembly '{}' does not have an implementation.",
                                m.name(),
                                def.plain_name(),
                                def.module().assembly_display_name()
                            )
                        },
                    });
                }
                _ => {}
            }
        }
    }
    Ok(())
}
