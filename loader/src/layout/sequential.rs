//! Sequential layout: declaration order, natural alignment limited by the packing size.

use super::{FieldInput, Placed};

/// Default packing: no limit below the largest alignment of any type.
const DEFAULT_PACK: u32 = 64;

pub(super) fn place(base: u32, pack: u32, class_size: u32, inputs: &[FieldInput]) -> Placed {
    let pack = if pack == 0 { DEFAULT_PACK } else { pack };
    let mut at = base;
    let mut largest = 1;
    let mut offsets = Vec::with_capacity(inputs.len());
    for f in inputs {
        let align = f.align.min(pack).max(1);
        largest = largest.max(align);
        at = at.next_multiple_of(align);
        offsets.push(at);
        at = at.saturating_add(f.size);
    }
    Placed {
        offsets,
        end: at,
        align: largest,
        class_size,
    }
}
