//! Prints, for every concrete type of the given assemblies, its interfaces and the method each interface method
//! dispatches to: `dump_interface_map NAME ..` (simple names or paths). For comparison with
//! `Type.GetInterfaces` and `Type.GetInterfaceMap` of a reference runtime.

use std::path::Path;

use corten_loader::{
    AssemblyName, Binder, BinderConfig, TypeNameFlags, WellKnown, format_type, resolve_interface,
    resolve_static_virtual,
};
use corten_metadata::{TableId, TypeAttributes};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = corten_metadata::testing::framework_dir().ok_or("no framework found: set CORTEN_FRAMEWORK")?;
    let binder = Binder::init(BinderConfig::from_directory(&dir)?);
    WellKnown::init()?;
    let name = |t| format_type(t, TypeNameFlags::NAMESPACE);
    for arg in std::env::args().skip(1) {
        let assembly = if arg.ends_with(".dll") {
            binder.load_from_path(Path::new(&arg), 0)
        } else {
            binder.load_by_name(&AssemblyName::simple(&arg), 0, None)
        };
        let Ok(assembly) = assembly else { continue };
        let module = assembly.module();
        // Row 1 is the global type, which reflection does not list.
        for rid in 2..=module.metadata().row_count(TableId::TypeDef) {
            let Ok(mt) = module.typical_type(rid) else { continue };
            let token = mt.class().typedef().0;
            if mt.is_interface()
                || mt.class().attributes().contains(TypeAttributes::ABSTRACT)
                || mt.contains_generic_variables()
            {
                continue;
            }
            let interfaces: Vec<String> = mt.interfaces().iter().map(|i| name(i.handle())).collect();
            println!("I\t{arg}\t{token:08x}\t{}", interfaces.join(";"));
            for i in mt.interfaces() {
                for m in i.methods().iter().filter(|m| m.is_virtual()) {
                    let r = if m.is_static() {
                        resolve_static_virtual(mt, m)
                    } else {
                        resolve_interface(mt, m)
                    };
                    let target = match r {
                        Ok(t) => format!("{}\t{:08x}", name(t.owner().handle()), t.token().0),
                        Err(_) => "null".to_owned(),
                    };
                    println!(
                        "M\t{arg}\t{token:08x}\t{}\t{:08x}\t{target}",
                        name(i.handle()),
                        m.token().0
                    );
                }
            }
        }
    }
    Ok(())
}
