//! Disassembles the methods of a name.
//!
//! `cargo run -p corten-metadata --example disassemble -- FILE Namespace.Type::Method`

use corten_metadata::{Module, inspect};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, method] = args.as_slice() else {
        eprintln!("usage: disassemble FILE Namespace.Type::Method");
        return ExitCode::from(2);
    };
    let module = match Module::open(Path::new(file)) {
        Ok(module) => module,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    match inspect::il(&module, method, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
