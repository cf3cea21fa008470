//! A compiler host without an engine and a small IL assembler, for filetests.
//!
//! A test file declares types, fields and methods, then IL methods:
//!
//! ```text
//! .class Shape [: Base,Interface] [sealed] [interface] [delegate]
//! .struct Point 8 { int 0, int 4 } [nullable int 4] [gc] [vector]    (one of the vector types of the class library)
//! .field Shape int x 8
//! .static Shape object root 0x1000 [init 0x2000] [readonly 7|Circle]    (its number, or the class of its object)
//! .threadstatic Shape int counter 7
//! .method [static] int Shape::Area(int) [as NAME] [vtable 80|interface|gvirtual] [intrinsic] [inst T,U]
//!         [delegate_invoke] [delegate_ctor] [factory NAME] [vararg]
//! .override Shape Base::Area Name::test
//! .seen Name 12 Shape=60,Circle=40            (receivers of the call at IL offset 12, or targets of a delegate)
//! .counts Name 0=100,12=40                    (how often the blocks at these IL offsets ran)
//! .test Name [instance Shape] [synchronized] [noinlining] [aggressive] int (int, object)
//! .locals init (int, pinned object)
//! label: ldarg.0
//!        br label
//! .try start end catch Type handler handler_end
//! .try start end filter filter handler handler_end
//! .try start end finally handler handler_end
//! .end
//! ```
//!
//! A test method can be called as `Name::test`. Types are C# keywords, declared names (with `<...>` instantiation), `T[]`, `T[,]`, `T&`, `T*`. An operand
//! `deferred:anything` fails to resolve with a deferred error.

mod asm;
mod host;
mod parse;

pub use host::MockHost;

use crate::importer::{ImportOptions, import};
use crate::ir::Func;
use crate::{ir_check, ir_print};

/// Parses a file, imports every `.test` method and prints IR or the error.
pub fn import_text(text: &str) -> Result<String, String> {
    let host = MockHost::parse(text)?;
    let mut out = String::new();
    for method in host.tests() {
        match import(&host, method, &ImportOptions::default()) {
            Ok(func) => {
                out.push_str(&ir_print::print(&func));
                if let Err(error) = ir_check::check(&func) {
                    return Err(format!("{error}\n{out}"));
                }
            }
            Err(error) => {
                out.push_str(&format!("error: {error}\n"));
            }
        }
    }
    Ok(out)
}

/// What `print` says of every `.test` method, which may change it.
fn of_each(text: &str, mut print: impl FnMut(&mut Func, &MockHost, &mut String)) -> Result<String, String> {
    let host = MockHost::parse(text)?;
    let mut out = String::new();
    for method in host.tests() {
        let mut func = import(&host, method, &ImportOptions::default()).map_err(|e| e.to_string())?;
        print(&mut func, &host, &mut out);
        ir_check::check(&func).map_err(|error| format!("{error}\n{out}"))?;
    }
    Ok(out)
}

/// IR that counts its blocks.
pub fn count_blocks_text(text: &str) -> Result<String, String> {
    of_each(text, |func, host, out| {
        let counts = crate::block_counts::instrument(func, host);
        out.push_str(&format!("counts: {counts}\n{}", ir_print::print(func)));
    })
}

/// Like [`import_text`], with one of the optimiser's passes run over the IR.
pub fn optimise_text(text: &str, pass: &str) -> Result<String, String> {
    of_each(text, |func, host, out| {
        crate::opt::optimise(func, host, |name| name == pass);
        out.push_str(&ir_print::print(func));
    })
}

/// IR as imported and after all passes of the optimiser.
pub fn tier1_text(text: &str) -> Result<String, String> {
    of_each(text, |func, host, out| {
        out.push_str(&format!("imported:\n{}", ir_print::print(func)));
        crate::opt::optimise(func, host, |_| true);
        out.push_str(&format!("optimised:\n{}", ir_print::print(func)));
    })
}

/// IR before and after a pass of the optimiser; `before`: the passes that run first.
pub fn pass_text(text: &str, before: &[&str], pass: &str) -> Result<String, String> {
    of_each(text, |func, host, out| {
        crate::opt::optimise(func, host, |name| before.contains(&name));
        out.push_str(&format!("before {pass}:\n{}", ir_print::print(func)));
        crate::opt::optimise(func, host, |name| name == pass);
        out.push_str(&format!("after {pass}:\n{}", ir_print::print(func)));
    })
}
