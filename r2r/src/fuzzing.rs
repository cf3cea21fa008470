//! Oracle of the fuzz target, also called by the bounded test of this crate. Takes any bytes and must return.

use corten_metadata::Module;

use crate::gc_info::Position;
use crate::{CellId, EntryPoint, FunctionId, GcInfo, Image};

/// What is looked at of one kind: images may claim more than they have.
const MOST: usize = 300;

/// Reads everything of an image. True if it has code that could be used.
pub fn image(data: &[u8]) -> bool {
    let Ok(module) = Module::from_bytes(data, "fuzz") else {
        return false;
    };
    let Ok(Some(image)) = Image::open(&module) else {
        return false;
    };
    for rid in (0..=image.method_count()).take(MOST) {
        if let Ok(Some(entry)) = image.method(rid) {
            visit_entry(&image, entry);
        }
    }
    for instance in image.instances().take(MOST).flatten() {
        visit_entry(&image, instance.entry_point);
        let hash = instance.bucket << 8 | u32::from(instance.low_hash);
        let _ = image.instances_with_hash(hash).take(MOST).count();
    }
    for id in (0..=image.functions().len() as u32).take(MOST) {
        visit_function(&image, FunctionId(id));
    }
    for section in 0..=image.imports().sections().len() as u32 {
        for slot in 0..MOST as u32 {
            let cell = CellId { section, slot };
            let _ = (image.imports().fixup(cell), image.imports().argument_map(cell));
        }
    }
    true
}

fn visit_entry(image: &Image<'_>, entry: EntryPoint<'_>) {
    for cell in entry.fixups().take(MOST).flatten() {
        let _ = image.imports().fixup(cell);
    }
    let _ = image.il_map(entry.function);
    if let Ok(function) = image.functions().get(entry.function) {
        let _ = image.clauses(function.begin);
    }
}

fn visit_function(image: &Image<'_>, id: FunctionId) {
    let _ = image.functions().code(id);
    let _ = image.functions().get(id).map(|f| image.functions().containing(f.begin));
    if let Ok((_, gc_info)) = image.functions().unwind(id)
        && let Ok(info) = GcInfo::read(gc_info)
    {
        for &at in info.safe_points.iter().take(MOST) {
            let _ = info.live_slots(Position::Return(at));
        }
        for range in info.interruptible_ranges.iter().take(MOST) {
            for at in (range.0..range.1).take(MOST) {
                let _ = info.live_slots(Position::Instruction(at));
            }
        }
    }
}
