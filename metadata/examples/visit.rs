//! Visits everything in the given files and reports what is there, or the first fault.
//!
//! `cargo run -p corten-metadata --example visit -- FILE...`

use corten_metadata::Module;
use corten_metadata::visit::visit_everything;
use std::path::Path;
use std::time::Instant;

fn main() {
    for file in std::env::args().skip(1) {
        let start = Instant::now();
        let result = Module::open(Path::new(&file)).and_then(|m| visit_everything(&m));
        let elapsed = start.elapsed().as_secs_f64() * 1e3;
        match result {
            Ok(s) => println!(
                "{file}: ok, {} methods, {} instructions, {elapsed:.1} ms",
                s.methods, s.instructions
            ),
            Err(e) => println!("{file}: error, {e}, {elapsed:.1} ms"),
        }
    }
}
