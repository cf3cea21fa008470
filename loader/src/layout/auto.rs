//! Automatic layout: references first, then numbers from large to small, structs last; small fields fill the
//! unaligned tail of the base class.

use super::{FieldClass, FieldInput, Placed};

const LOG2_POINTER: usize = 3;

pub(super) fn place(is_value_type: bool, base: u32, pack: u32, inputs: &[FieldInput]) -> Placed {
    let limit = if pack == 0 { 64 } else { pack };
    let mut offsets = vec![0; inputs.len()];
    let mut references = Vec::new();
    let mut structs = Vec::new();
    let mut sized: [std::collections::VecDeque<usize>; 4] = Default::default();
    for (i, f) in inputs.iter().enumerate() {
        match f.class {
            FieldClass::Reference | FieldClass::ByRef => references.push(i),
            FieldClass::Struct => structs.push(i),
            FieldClass::Primitive => sized[f.size.trailing_zeros() as usize].push_back(i),
        }
    }
    let mut at = base;
    fill_base_tail(&mut at, &mut sized, !references.is_empty(), &mut offsets);

    for log2 in (0..=LOG2_POINTER).rev() {
        let align = (1u32 << log2).min(limit);
        if log2 == LOG2_POINTER {
            for i in &references {
                at = at.next_multiple_of(8);
                offsets[*i] = at;
                at += 8;
            }
        }
        for i in &sized[log2] {
            at = at.next_multiple_of(align);
            offsets[*i] = at;
            at += 1 << log2;
        }
    }
    let mut largest = 1;
    for i in structs {
        let f = &inputs[i];
        // Structs with references are word-aligned, others need no more than their own alignment.
        let align = if f.contains_refs() {
            f.align.max(8)
        } else {
            f.align.max(1)
        };
        largest = largest.max(f.align);
        at = at.next_multiple_of(align);
        offsets[i] = at;
        at = at.saturating_add(f.size);
    }
    // Values larger than a word are padded to whole words, smaller ones to a power of two.
    let align = if !is_value_type {
        8
    } else if at > 8 {
        largest.max(8)
    } else {
        at.max(1).next_power_of_two()
    };
    Placed {
        offsets,
        end: at,
        align,
        class_size: 0,
    }
}

/// Places small fields until the position is aligned for the larger ones that remain.
fn fill_base_tail(
    at: &mut u32,
    sized: &mut [std::collections::VecDeque<usize>; 4],
    has_references: bool,
    offsets: &mut [u32],
) {
    if (*at).is_multiple_of(8) {
        return;
    }
    let mut i = 0;
    while i < LOG2_POINTER {
        if (*at).is_multiple_of(1 << (i + 1)) {
            i += 1;
            continue;
        }
        let larger_remain =
            (i + 1..=LOG2_POINTER).any(|j| !sized[j].is_empty() || (j == LOG2_POINTER && has_references));
        if !larger_remain {
            break;
        }
        let Some(j) = (0..=i).rev().find(|j| !sized[*j].is_empty()) else {
            break;
        };
        if let Some(f) = sized[j].pop_front() {
            *at = at.next_multiple_of(1 << j);
            offsets[f] = *at;
            *at += 1 << j;
        }
        i = j + 1;
    }
}
