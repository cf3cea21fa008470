//! Upper bounds for the number of GC series, computed from signatures before any layout exists, so that a
//! MethodTable can be given its final address first.

use corten_metadata::{
    FieldAttributes,
    sig::{self, TypeSig},
};

use crate::{
    error::Result,
    module::Module,
    type_def::{Category, TypeDefInfo},
    type_handle::TypeHandle,
};

/// More series than this are refused: 64 K runs of references in one object.
const MAX_SERIES: u32 = 1 << 16;

/// Bound for one field of a loaded type.
pub(crate) fn bound_of(t: TypeHandle) -> u32 {
    match t.as_method_table() {
        Some(m) if m.is_value_type() => m.class().gc_series_bound,
        Some(_) => 1,
        None => u32::from(t.is_generic_variable()),
    }
}

/// Bound for instances of a definition whose arguments have the bounds `args`.
pub(crate) fn bound_of_definition(def: &'static TypeDefInfo, args: &[u32]) -> Result<u32> {
    let n = definition(def, args, &mut Vec::new())?;
    if n > MAX_SERIES {
        return Err(def.type_load("the type contains too many references"));
    }
    Ok(n)
}

/// `path`: the definitions whose fields are being looked at. A value type inside of itself has no layout; what is counted for it
/// does not matter.
fn definition(def: &'static TypeDefInfo, args: &[u32], path: &mut Vec<&'static TypeDefInfo>) -> Result<u32> {
    if matches!(
        def.category(),
        Category::Enum | Category::Primitive | Category::Interface
    ) || path.len() > 40
        || path.iter().any(|d| std::ptr::eq(*d, def))
    {
        return Ok(0);
    }
    path.push(def);
    let total = fields(def, args, path);
    path.pop();
    total
}

fn fields(def: &'static TypeDefInfo, args: &[u32], path: &mut Vec<&'static TypeDefInfo>) -> Result<u32> {
    let module = def.module();
    let md = module.metadata();
    let mut total: u32 = 0;
    for &rid in def.field_rids() {
        let row = md.field(rid).map_err(|e| module.bad_image(e))?;
        if row.flags.contains(FieldAttributes::STATIC) {
            continue;
        }
        let s = sig::parse_field(row.signature).map_err(|e| module.bad_image(e))?;
        total = total.saturating_add(signature(module, &s, args, path)?);
    }
    if let Some(n) = def.inline_array_length() {
        total = total.saturating_mul(n);
    }
    if let Some(p) = def.parent().filter(|_| !def.is_value_type()) {
        let parent_args = p
            .args
            .iter()
            .map(|a| signature(module, a, args, path))
            .collect::<Result<Vec<_>>>()?;
        total = total.saturating_add(definition(p.def, &parent_args, path)?);
    }
    Ok(total)
}

fn signature(module: &'static Module, s: &TypeSig, args: &[u32], path: &mut Vec<&'static TypeDefInfo>) -> Result<u32> {
    Ok(match s {
        TypeSig::String | TypeSig::Object | TypeSig::Class(_) | TypeSig::SzArray(_) | TypeSig::Array { .. } => 1,
        TypeSig::Var(n) => args.get(*n as usize).copied().unwrap_or(1),
        TypeSig::MVar(_) => 1,
        TypeSig::GenericInst {
            is_value_type: false, ..
        } => 1,
        TypeSig::GenericInst {
            definition: d, args: a, ..
        } => {
            let inner = a
                .iter()
                .map(|x| signature(module, x, args, path))
                .collect::<Result<Vec<_>>>()?;
            definition(module.resolve_type_def(*d)?, &inner, path)?
        }
        TypeSig::ValueType(t) => definition(module.resolve_type_def(*t)?, &[], path)?,
        TypeSig::Modified { inner, .. } | TypeSig::Pinned(inner) => signature(module, inner, args, path)?,
        TypeSig::Internal(_) => 1,
        _ => 0,
    })
}
