//! Shows an image, or one method of it with everything that belongs to its code:
//! `cargo run -p corten-r2r --example dump -- IMAGE [ROW_IN_METHODDEF]`.

use std::error::Error;
use std::path::Path;

use corten_metadata::Module;
use corten_r2r::{FunctionId, GcInfo, Image};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: dump IMAGE [ROW_IN_METHODDEF]")?;
    let module = Module::open(Path::new(&path))?;
    let Some(image) = Image::open(&module)? else {
        println!("{path}: IL only");
        return Ok(());
    };
    match arguments.next() {
        Some(rid) => method(&image, rid.parse()?),
        None => summary(&image),
    }
}

fn summary(image: &Image<'_>) -> Result<(), Box<dyn Error>> {
    let header = image.header();
    println!(
        "ReadyToRun {}.{}, flags {:#x}",
        header.major, header.minor, header.flags
    );
    for section in &header.sections {
        println!("  {:?}: {} bytes at {:#x}", section.kind, section.size, section.rva);
    }
    let mut methods = 0;
    for rid in 1..=image.method_count() {
        methods += usize::from(image.method(rid)?.is_some());
    }
    println!(
        "{} functions, {methods} methods, {} instances",
        image.functions().len(),
        image.instances().count()
    );
    for (index, section) in image.imports().sections().iter().enumerate() {
        println!(
            "  cells {index}: {} at {:#x}, {:?}, {:?}",
            section.count, section.cells, section.kind, section.flags
        );
    }
    Ok(())
}

fn method(image: &Image<'_>, rid: u32) -> Result<(), Box<dyn Error>> {
    println!("{}", image.module().method_def(rid)?.name);
    let Some(entry) = image.method(rid)? else {
        println!("  no code");
        return Ok(());
    };
    for cell in entry.fixups() {
        let cell = cell?;
        println!("  needs {cell:?}: {:x?}", image.imports().fixup(cell)?);
    }
    let first = image.functions().get(entry.function)?;
    let (_, gc_info) = image.functions().unwind(entry.function)?;
    let gc_info = GcInfo::read(gc_info)?;
    let mut id = entry.function;
    // The GC info of the method tells where its last funclet ends.
    while let Ok(part) = image.functions().get(id)
        && part.begin < first.begin + gc_info.code_length
    {
        let (unwind, _) = image.functions().unwind(id)?;
        println!("  {id:?} {:#x}..{:#x} {unwind:?}", part.begin, part.end);
        id = FunctionId(id.0 + 1);
    }
    println!("  {gc_info:#x?}");
    for clause in image.clauses(first.begin)? {
        println!("  {clause:x?}");
    }
    for mapping in image.il_map(entry.function)? {
        println!("  {mapping:x?}");
    }
    Ok(())
}
