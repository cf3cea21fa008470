//! Where modules come from.

use std::collections::HashMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_metadata::Module;

/// A module, shared or living as long as the process (as an engine keeps the modules it has loaded).
#[derive(Clone)]
pub enum ModuleHandle {
    /// Counted.
    Shared(Arc<Module>),
    /// Never freed.
    Static(&'static Module),
}

impl Deref for ModuleHandle {
    type Target = Module;

    fn deref(&self) -> &Module {
        match self {
            ModuleHandle::Shared(module) => module,
            ModuleHandle::Static(module) => module,
        }
    }
}

impl From<Module> for ModuleHandle {
    fn from(module: Module) -> Self {
        ModuleHandle::Shared(Arc::new(module))
    }
}

/// Finds referenced assemblies. The verifier asks once for each name, while a [`crate::Universe`] is built; implement it to
/// verify against an engine's loaded modules, an archive, a test's in-memory images.
pub trait AssemblySource {
    /// The assembly with this simple name, none if there is none. A file that exists but cannot be read counts as none: what
    /// needs it is then reported as unresolved.
    fn find(&self, simple_name: &str) -> Option<ModuleHandle>;
}

/// No references at all.
impl AssemblySource for () {
    fn find(&self, _: &str) -> Option<ModuleHandle> {
        None
    }
}

/// Files by simple name, from folders and single files; of two files with one name the first added wins.
#[derive(Clone, Debug, Default)]
pub struct ReferencePath {
    files: HashMap<String, PathBuf>,
}

impl ReferencePath {
    /// No files.
    pub fn new() -> ReferencePath {
        ReferencePath::default()
    }

    /// Adds a file, or every `.dll` and `.exe` in a folder (not in those below it).
    ///
    /// # Errors
    /// The path does not exist or the folder cannot be listed.
    pub fn add(&mut self, path: &Path) -> std::io::Result<()> {
        if !std::fs::metadata(path)?.is_dir() {
            self.add_file(path);
            return Ok(());
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path)? {
            files.push(entry?.path());
        }
        files.sort();
        for file in files {
            let extension = file.extension().and_then(|e| e.to_str());
            if extension.is_some_and(|e| e.eq_ignore_ascii_case("dll") || e.eq_ignore_ascii_case("exe")) {
                self.add_file(&file);
            }
        }
        Ok(())
    }

    fn add_file(&mut self, file: &Path) {
        if let Some(stem) = file.file_stem().and_then(|s| s.to_str()) {
            let name = stem.to_ascii_lowercase();
            self.files.entry(name).or_insert_with(|| file.to_owned());
        }
    }
}

impl AssemblySource for ReferencePath {
    fn find(&self, simple_name: &str) -> Option<ModuleHandle> {
        let file = self.files.get(&simple_name.to_ascii_lowercase())?;
        Module::open(file).ok().map(ModuleHandle::from)
    }
}
