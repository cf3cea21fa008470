//! Everything about an application that is decided before the engine starts.

use std::fmt;

use corten_runtime::RuntimeConfig;

use super::references::MissingReference;
use crate::framework::Framework;

/// What the engine gets, and what is only worth telling the user.
#[derive(Debug)]
pub struct Launch {
    /// The engine's input. Paths are absolute, names occur once.
    pub config: RuntimeConfig,
    /// Where the class library comes from.
    pub framework: Framework,
    /// References of the application that the binder will not find by itself.
    pub missing_references: Vec<MissingReference>,
}

/// The property with the assemblies whose `StartupHook.Initialize` the class library calls before `Main`.
pub const STARTUP_HOOKS: &str = "STARTUP_HOOKS";

impl Launch {
    /// A missing reference without which `Main` cannot run. A startup hook runs before `Main` and may supply what is missing.
    pub fn fatal_reference(&self) -> Option<&MissingReference> {
        let hooks = self.config.properties.iter().any(|(name, _)| name == STARTUP_HOOKS);
        let mut missing = self.missing_references.iter();
        missing.find(|reference| reference.needed_by_main && !hooks)
    }
}

/// The answer to `--explain`.
impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        writeln!(f, "application: {}", config.app.display())?;
        writeln!(f, "arguments: {}", config.args.len())?;
        for (index, arg) in config.args.iter().enumerate() {
            writeln!(f, "  {index}: {arg}")?;
        }
        let Framework { version, dir, origin } = &self.framework;
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
        for reference in &self.missing_references {
            let (a, b, c, d) = reference.version;
            let weight = if reference.needed_by_main {
                "needed by Main"
            } else {
                "an error only where it is used"
            };
            writeln!(f, "missing reference: {} {a}.{b}.{c}.{d} ({weight})", reference.name)?;
        }
        writeln!(f, "statistics: {}", if config.stats.is_some() { "yes" } else { "no" })
    }
}
