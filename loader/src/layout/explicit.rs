//! Explicit layout: offsets come from metadata; references must not overlap anything else.

use super::{FieldClass, FieldInput, Placed};
use crate::{error::Result, type_def::TypeDefInfo};

/// Places fields; the flag tells whether any overlap.
pub(super) fn place(
    def: &'static TypeDefInfo,
    base: u32,
    pack: u32,
    class_size: u32,
    inputs: &[FieldInput],
) -> Result<(Placed, bool)> {
    let pack = if pack == 0 { 64 } else { pack };
    let md = def.module().metadata();
    let rids = def.field_rids();
    let mut offsets = Vec::with_capacity(inputs.len());
    let mut end = base;
    let mut largest = 1;
    for f in inputs {
        let declared = md
            .field_offset(rids.get(f.index).copied().unwrap_or(0))
            .ok_or_else(|| {
                let row = rids.get(f.index).and_then(|rid| md.field(*rid).ok());
                let name = row.map_or("", |row| row.name);
                def.type_load(format!("because field '{name}' was not given an explicit offset"))
            })?;
        let at = u64::from(base) + u64::from(declared);
        if at + u64::from(f.size) > super::MAX_SIZE {
            return Err(def.type_load("a field offset is too large"));
        }
        let at = at as u32;
        largest = largest.max(f.align.min(pack));
        offsets.push(at);
        end = end.max(at + f.size);
    }
    let overlap = check_overlap(def, base, inputs, &offsets)?;
    Ok((
        Placed {
            offsets,
            end,
            align: largest,
            class_size,
        },
        overlap,
    ))
}

/// Rejects references that are not aligned or overlap non-references (or other references partially), field by field.
fn check_overlap(def: &'static TypeDefInfo, base: u32, inputs: &[FieldInput], offsets: &[u32]) -> Result<bool> {
    // Intervals of references and of plain bytes of the fields so far.
    let mut refs: Vec<(u32, u32)> = Vec::new();
    let mut plain: Vec<(u32, u32)> = Vec::new();
    for (f, at) in inputs.iter().zip(offsets) {
        let (mut own_refs, mut own_plain) = (Vec::new(), Vec::new());
        match f.class {
            FieldClass::Reference | FieldClass::ByRef => own_refs.push((*at, *at + 8)),
            FieldClass::Primitive => own_plain.push((*at, *at + f.size)),
            FieldClass::Struct => {
                let mut inner: Vec<u32> = Vec::new();
                if let Some(l) = f.ty.and_then(|t| t.as_method_table()).map(|m| m.class().layout()) {
                    inner.extend(l.gc_refs.iter().chain(l.byrefs.iter()).map(|r| at + r));
                }
                inner.sort_unstable();
                let mut from = *at;
                for r in inner {
                    if r > from {
                        own_plain.push((from, r));
                    }
                    own_refs.push((r, r + 8));
                    from = r + 8;
                }
                if at + f.size > from {
                    own_plain.push((from, at + f.size));
                }
            }
        }
        let meets = |x: &(u32, u32), y: &(u32, u32)| x.0 < y.1 && y.0 < x.1;
        let clash = own_refs
            .iter()
            .any(|r| plain.iter().any(|p| meets(p, r)) || refs.iter().any(|o| o != r && meets(o, r)))
            || own_plain.iter().any(|p| refs.iter().any(|r| meets(p, r)));
        let is_reference = f.contains_refs() || f.class == FieldClass::ByRef || f.ty.is_some_and(|t| t.is_byref_like());
        if clash || is_reference && !at.is_multiple_of(8) {
            // The later of two fields is named.
            return Err(def.type_load(format!(
                "because it contains an object field at offset {} that is incorrectly aligned or overlapped by a non-object field",
                at - base
            )));
        }
        refs.append(&mut own_refs);
        plain.append(&mut own_plain);
    }
    let mut all: Vec<(u32, u32)> = inputs.iter().zip(offsets).map(|(f, o)| (*o, *o + f.size)).collect();
    all.sort_unstable();
    Ok(all.windows(2).any(|w| w[0].1 > w[1].0))
}
