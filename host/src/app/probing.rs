//! Where the binder may find assemblies and native libraries: the trusted platform assemblies (TPA) and the folders beside.
//!
//! The application's own files come first, then the framework's. Where both have an assembly of the same name, the
//! application's copy is used only if its assembly version is higher.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::deps::{Asset, DepsFile, Library};
use super::image;
use crate::error::HostError;

/// The result of probing.
#[derive(Debug, Default)]
pub struct Probed {
    /// Simple names and paths; each name once.
    pub tpa: Vec<(String, PathBuf)>,
    /// Folders with native libraries, in search order.
    pub native_dirs: Vec<PathBuf>,
    /// Folders whose culture-named subfolders hold satellite assemblies.
    pub resource_roots: Vec<PathBuf>,
}

/// Lists what an application in `app_dir` may use. Without a deps.json every assembly beside the application belongs to it.
///
/// # Errors
/// A file listed in the deps.json does not exist, or the framework's folder cannot be read.
pub fn probe(
    app: &Path,
    app_dir: &Path,
    deps: Option<(&Path, &DepsFile)>,
    framework_dir: &Path,
) -> Result<Probed, HostError> {
    let mut list = Tpa::default();
    list.add(app);
    let mut probed = Probed {
        native_dirs: vec![app_dir.to_owned()],
        ..Probed::default()
    };
    match deps {
        Some((path, deps)) => {
            for library in &deps.libraries {
                for asset in &library.runtime {
                    list.add(&locate(app_dir, path, library, asset)?);
                }
                for asset in &library.native {
                    let file = locate(app_dir, path, library, asset)?;
                    add_once(&mut probed.native_dirs, file.parent().unwrap_or(app_dir));
                }
                let has_satellites = library
                    .resources
                    .iter()
                    .any(|(asset, culture)| app_dir.join(culture).join(asset.file_name()).is_file());
                if has_satellites {
                    add_once(&mut probed.resource_roots, app_dir);
                }
            }
        }
        None if app_dir != framework_dir => assemblies_in(app_dir)?.iter().for_each(|path| list.add(path)),
        None => {}
    }
    for path in assemblies_in(framework_dir)? {
        list.add_framework(&path);
    }
    add_once(&mut probed.native_dirs, framework_dir);
    probed.tpa = list.entries;
    Ok(probed)
}

fn add_once(dirs: &mut Vec<PathBuf>, dir: &Path) {
    if !dirs.iter().any(|known| known == dir) {
        dirs.push(dir.to_owned());
    }
}

fn locate(app_dir: &Path, deps_path: &Path, library: &Library, asset: &Asset) -> Result<PathBuf, HostError> {
    let file = app_dir.join(asset.path_in_app());
    if file.is_file() {
        return Ok(file);
    }
    Err(HostError::BadConfig {
        path: deps_path.to_owned(),
        reason: format!(
            "lists {} of {} {}, but {} does not exist; publish or copy the application again with all its files",
            asset.file_name(),
            library.name,
            library.version,
            file.display()
        ),
    })
}

/// The managed assemblies (by their extension) in a folder, sorted by name.
fn assemblies_in(dir: &Path) -> Result<Vec<PathBuf>, HostError> {
    let entries = std::fs::read_dir(dir).map_err(|e| HostError::io(dir, e))?;
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case("dll"))
        })
        .collect();
    paths.sort();
    Ok(paths)
}

/// The list being built; names are compared without regard to case, as the binder does.
#[derive(Default)]
struct Tpa {
    entries: Vec<(String, PathBuf)>,
    index: HashMap<String, usize>,
}

impl Tpa {
    /// Adds an assembly of the application; the first of a name wins.
    fn add(&mut self, path: &Path) {
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else {
            return;
        };
        if let std::collections::hash_map::Entry::Vacant(slot) = self.index.entry(name.to_ascii_lowercase()) {
            slot.insert(self.entries.len());
            self.entries.push((name.to_owned(), path.to_owned()));
        }
    }

    /// Adds an assembly of the framework; it replaces the application's copy unless that one is newer.
    fn add_framework(&mut self, path: &Path) {
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else {
            return;
        };
        match self
            .index
            .get(&name.to_ascii_lowercase())
            .and_then(|&at| self.entries.get_mut(at))
        {
            Some((_, own)) => {
                // A copy that cannot be read has no version, so it is never newer.
                let newer = image::assembly_version(own).ok() > image::assembly_version(path).ok();
                if !newer {
                    path.clone_into(own);
                }
            }
            None => self.add(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().expect("has a parent")).expect("create");
        std::fs::write(path, b"").expect("write");
    }

    fn names(probed: &Probed) -> Vec<&str> {
        probed.tpa.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn without_deps_the_apps_folder_is_the_list() {
        let temp = tempfile::tempdir().expect("tempdir");
        let (app_dir, framework) = (temp.path().join("app"), temp.path().join("fx"));
        for file in ["app.dll", "Lib.dll", "notes.txt", "system.runtime.dll"] {
            touch(&app_dir.join(file));
        }
        for file in [
            "System.Private.CoreLib.dll",
            "System.Runtime.dll",
            "libSystem.Native.so",
        ] {
            touch(&framework.join(file));
        }
        let probed = probe(&app_dir.join("app.dll"), &app_dir, None, &framework).expect("probes");
        assert_eq!(
            names(&probed),
            ["app", "Lib", "system.runtime", "System.Private.CoreLib"]
        );
        assert_eq!(
            probed.tpa[2].1,
            framework.join("System.Runtime.dll"),
            "the framework's copy wins a tie"
        );
        assert_eq!(probed.native_dirs, [app_dir, framework]);
    }

    #[test]
    fn deps_decide_and_must_exist() {
        let temp = tempfile::tempdir().expect("tempdir");
        let (app_dir, framework) = (temp.path().join("app"), temp.path().join("fx"));
        for file in [
            "app.dll",
            "Unlisted.dll",
            "Pkg.dll",
            "runtimes/linux-x64/native/libp.so",
            "de/Pkg.resources.dll",
        ] {
            touch(&app_dir.join(file));
        }
        touch(&framework.join("System.Private.CoreLib.dll"));
        let text = r#"{"runtimeTarget": "T", "targets": {"T": {
            "app/1.0.0": {"runtime": {"app.dll": {}}},
            "Pkg/2.0.0": {"runtime": {"lib/net8.0/Pkg.dll": {}}, "resources": {"lib/net8.0/de/Pkg.resources.dll": {"locale": "de"}},
              "runtimeTargets": {"runtimes/linux-x64/native/libp.so": {"rid": "linux-x64", "assetType": "native"}}}}}}"#;
        let deps_path = app_dir.join("app.deps.json");
        let deps = DepsFile::parse(&deps_path, text).expect("valid");
        let run = || {
            probe(
                &app_dir.join("app.dll"),
                &app_dir,
                Some((&deps_path, &deps)),
                &framework,
            )
        };
        let probed = run().expect("probes");
        assert_eq!(names(&probed), ["app", "Pkg", "System.Private.CoreLib"]);
        assert_eq!(probed.native_dirs[1], app_dir.join("runtimes/linux-x64/native"));
        assert_eq!(probed.resource_roots, std::slice::from_ref(&app_dir));
        std::fs::remove_file(app_dir.join("Pkg.dll")).expect("remove");
        let text = run().expect_err("Pkg.dll is missing").to_string();
        assert!(
            text.contains("app.deps.json: lists Pkg.dll of Pkg 2.0.0") && !text.contains('\n'),
            "{text}"
        );
    }
}
