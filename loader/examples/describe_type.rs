//! Prints what the loader knows about a type: `describe_type System.Collections.Generic.List\`1 [assembly]`.

use corten_loader::{AssemblyName, Binder, BinderConfig, FieldKind, WellKnown};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "System.String".into());
    let assembly = args.next().unwrap_or_else(|| "System.Private.CoreLib".into());
    let dir = corten_metadata::testing::framework_dir().ok_or("no framework found: set CORTEN_FRAMEWORK")?;
    let binder = Binder::init(BinderConfig::from_directory(&dir)?);
    WellKnown::init()?;
    let assembly = binder.load_by_name(&AssemblyName::simple(&assembly), 0, None)?;
    let mut parts = name.split('+');
    let top = parts.next().unwrap_or(&name);
    let (ns, simple) = top.rsplit_once('.').unwrap_or(("", top));
    let mut def = assembly.require_type_def(ns, simple)?;
    for nested in parts {
        def = def
            .module()
            .find_nested(def.rid(), nested)?
            .ok_or("no such nested type")?;
    }
    let mt = def.module().typical_type(def.rid())?;

    println!("{} ({})", mt.handle(), def.module().assembly_display_name());
    println!(
        "  MethodTable {:#x}, flags {:#010x}, base size {}, component size {}",
        mt.address(),
        mt.flags(),
        mt.base_size(),
        mt.component_size()
    );
    if let Some(p) = mt.parent() {
        println!("  extends {}", p.handle());
    }
    for i in mt.interfaces() {
        println!("  implements {}", i.handle());
    }
    let mut fields: Vec<_> = mt.fields().iter().collect();
    fields.sort_by_key(|f| (f.is_static(), f.offset()));
    for f in fields {
        let ty = f.field_type().map_or_else(|e| e.to_string(), |t| t.display_name());
        match f.kind() {
            FieldKind::Instance if mt.is_value_type() => println!("  +{:<4} {} {}", f.offset(), ty, f.name()),
            FieldKind::Instance => println!("  +{:<4} {} {}", f.object_offset(), ty, f.name()),
            kind => println!("  {kind:?} {ty} {}", f.name()),
        }
    }
    println!("  references at {:?}", mt.class().layout().gc_refs);
    for (i, m) in mt.class().vtable().iter().enumerate() {
        println!("  slot {i:3} {m:?}");
    }
    for m in mt.methods().iter().filter(|m| m.slot().is_none()) {
        println!("  {:?} {m:?}", m.kind());
    }
    Ok(())
}
