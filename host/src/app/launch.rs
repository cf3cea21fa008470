//! What the engine gets: everything about the application that was decided before it starts.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::references::MissingReference;
use crate::framework::Framework;

/// The input of the engine.
#[derive(Debug)]
pub struct RuntimeConfig {
    /// The application's assembly: an absolute path.
    pub app: PathBuf,
    /// Its arguments, as `Main` gets them.
    pub args: Vec<OsString>,
    /// Assemblies that the binder may use: simple name and absolute path, each name once.
    pub tpa: Vec<(String, PathBuf)>,
    /// Properties for `AppContext`, in the order in which they are passed; each name once.
    pub properties: Vec<(String, String)>,
    /// Folders with native libraries, in search order.
    pub native_search_dirs: Vec<PathBuf>,
    /// References of the application that are not in `tpa`.
    pub missing_references: Vec<MissingReference>,
    /// Print statistics at exit.
    pub stats: bool,
}

/// The answer to `--explain`.
pub struct Explanation<'a> {
    pub config: &'a RuntimeConfig,
    pub framework: &'a Framework,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.config;
        writeln!(f, "application: {}", config.app.display())?;
        writeln!(f, "arguments: {}", config.args.len())?;
        for (index, arg) in config.args.iter().enumerate() {
            writeln!(f, "  {index}: {}", arg.to_string_lossy())?;
        }
        let Framework { version, dir, origin } = self.framework;
        writeln!(f, "framework: {version} in {} ({origin})", dir.display())?;
        writeln!(f, "native libraries are searched in:")?;
        for dir in &config.native_search_dirs {
            writeln!(f, "  {}", dir.display())?;
        }
        writeln!(f, "properties:")?;
        for (name, value) in &config.properties {
            // The list of assemblies follows in a readable form.
            if name != "TRUSTED_PLATFORM_ASSEMBLIES" {
                writeln!(f, "  {name} = {value}")?;
            }
        }
        writeln!(f, "assemblies: {}", config.tpa.len())?;
        for (name, path) in &config.tpa {
            writeln!(f, "  {name}: {}", path.display())?;
        }
        for reference in &config.missing_references {
            let (a, b, c, d) = reference.version;
            let weight = if reference.needed_by_main {
                "needed by Main"
            } else {
                "an error only where it is used"
            };
            writeln!(f, "missing reference: {} {a}.{b}.{c}.{d} ({weight})", reference.name)?;
        }
        writeln!(f, "statistics: {}", if config.stats { "yes" } else { "no" })
    }
}
