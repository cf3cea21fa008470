//! `APP.deps.json`: the assemblies and native libraries that belong to an application.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::json;
use crate::error::HostError;

/// Runtime identifiers that this machine can use, most specific first.
const RUNTIME_IDENTIFIERS: [&str; 6] = ["linux-x64", "linux", "unix-x64", "unix", "any", "base"];

/// The part of a deps.json that matters at run time, for this machine.
#[derive(Debug, Default)]
pub struct DepsFile {
    pub libraries: Vec<Library>,
}

/// One library (project, package, or a part of the framework) and its files.
#[derive(Debug, Default)]
pub struct Library {
    pub name: String,
    pub version: String,
    /// Managed assemblies.
    pub runtime: Vec<Asset>,
    /// Native libraries.
    pub native: Vec<Asset>,
    /// Satellite assemblies: path and culture.
    pub resources: Vec<(Asset, String)>,
}

/// A file of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// Path in the library's package, with slashes.
    pub path: String,
    /// Built for certain runtimes: then it keeps its relative path in the application's folder, else only its file name.
    pub runtime_specific: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Root {
    runtime_target: RuntimeTarget,
    #[serde(default)]
    targets: BTreeMap<String, BTreeMap<String, TargetLibrary>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RuntimeTarget {
    Object { name: String },
    Name(String),
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct TargetLibrary {
    runtime: BTreeMap<String, serde_json::Value>,
    native: BTreeMap<String, serde_json::Value>,
    resources: BTreeMap<String, Resource>,
    runtime_targets: BTreeMap<String, RuntimeSpecific>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    locale: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeSpecific {
    rid: String,
    asset_type: String,
}

impl DepsFile {
    /// Reads `path`.
    ///
    /// # Errors
    /// An unreadable or malformed file, or one without its own target.
    pub fn read(path: &Path) -> Result<Self, HostError> {
        let text = std::fs::read_to_string(path).map_err(|e| HostError::io(path, e))?;
        Self::parse(path, &text)
    }

    /// Parses `text`; `path` is for messages.
    ///
    /// # Errors
    /// As [`DepsFile::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, HostError> {
        let mut root: Root = json::parse(path, text)?;
        let (RuntimeTarget::Object { name } | RuntimeTarget::Name(name)) = root.runtime_target;
        let target = root.targets.remove(&name).ok_or_else(|| HostError::BadConfig {
            path: path.to_owned(),
            reason: format!("its runtimeTarget '{name}' is not among its targets; rebuild the application"),
        })?;
        Ok(DepsFile {
            libraries: target.into_iter().map(|(key, library)| library.resolve(&key)).collect(),
        })
    }
}

impl TargetLibrary {
    /// Picks the files for this machine: those for the most specific runtime replace those for every runtime.
    fn resolve(self, key: &str) -> Library {
        let (name, version) = key.split_once('/').unwrap_or((key, ""));
        let plain = |paths: BTreeMap<String, serde_json::Value>| {
            // `_._` marks a deliberately empty folder of a package.
            let real = paths.into_keys().filter(|path| !path.ends_with("/_._"));
            real.map(|path| Asset {
                path,
                runtime_specific: false,
            })
            .collect::<Vec<_>>()
        };
        let specific = |asset_type: &str| {
            let of_type = || {
                self.runtime_targets
                    .iter()
                    .filter(|(_, target)| target.asset_type == asset_type)
            };
            let best = RUNTIME_IDENTIFIERS
                .into_iter()
                .find(|rid| of_type().any(|(_, target)| target.rid == *rid))?;
            let paths = of_type().filter(|(path, target)| target.rid == best && !path.ends_with("/_._"));
            Some(
                paths
                    .map(|(path, _)| Asset {
                        path: path.clone(),
                        runtime_specific: true,
                    })
                    .collect::<Vec<_>>(),
            )
        };
        let (runtime, native) = (specific("runtime"), specific("native"));
        let resources = self.resources.into_iter();
        Library {
            name: name.to_owned(),
            version: version.to_owned(),
            runtime: runtime.unwrap_or_else(|| plain(self.runtime)),
            native: native.unwrap_or_else(|| plain(self.native)),
            resources: resources
                .map(|(path, r)| {
                    (
                        Asset {
                            path,
                            runtime_specific: false,
                        },
                        r.locale,
                    )
                })
                .collect(),
        }
    }
}

impl Asset {
    /// The last part of the path.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Where the file lies in the application's folder.
    pub fn path_in_app(&self) -> &str {
        if self.runtime_specific {
            &self.path
        } else {
            self.file_name()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{
      "runtimeTarget": { "name": ".NETCoreApp,Version=v9.0", "signature": "" },
      "compilationOptions": {},
      "targets": { ".NETCoreApp,Version=v9.0": {
        "app/1.0.0": { "dependencies": { "Pkg": "2.1.0" }, "runtime": { "app.dll": {} } },
        "Pkg/2.1.0": {
          "runtime": { "lib/net8.0/Pkg.dll": { "assemblyVersion": "2.1.0.0", "fileVersion": "2.1.0.0" }, "lib/net8.0/_._": {} },
          "resources": { "lib/net8.0/de/Pkg.resources.dll": { "locale": "de" } },
          "runtimeTargets": {
            "runtimes/win/lib/net8.0/Pkg.dll": { "rid": "win", "assetType": "runtime" },
            "runtimes/unix/lib/net8.0/Pkg.dll": { "rid": "unix", "assetType": "runtime" },
            "runtimes/linux-arm64/native/libpkg.so": { "rid": "linux-arm64", "assetType": "native" },
            "runtimes/linux-x64/native/libpkg.so": { "rid": "linux-x64", "assetType": "native" },
            "runtimes/unix/native/libother.so": { "rid": "unix", "assetType": "native" } } },
        "WindowsOnly/1.0.0": {
          "runtime": { "lib/net8.0/WindowsOnly.dll": {} },
          "runtimeTargets": { "runtimes/win/lib/net8.0/WindowsOnly.dll": { "rid": "win", "assetType": "runtime" } } } } },
      "libraries": { "app/1.0.0": { "type": "project", "serviceable": false, "sha512": "" } }
    }"#;

    fn library<'a>(deps: &'a DepsFile, name: &str) -> &'a Library {
        deps.libraries
            .iter()
            .find(|library| library.name == name)
            .expect("is there")
    }

    #[test]
    fn files_for_this_machine_are_picked() {
        let deps = DepsFile::parse(Path::new("app.deps.json"), TEXT).expect("valid");
        assert_eq!(deps.libraries.len(), 3);
        let package = library(&deps, "Pkg");
        assert_eq!(package.version, "2.1.0");
        let paths = |assets: &[Asset]| assets.iter().map(|a| a.path_in_app().to_owned()).collect::<Vec<_>>();
        assert_eq!(paths(&package.runtime), ["runtimes/unix/lib/net8.0/Pkg.dll"]);
        assert_eq!(paths(&package.native), ["runtimes/linux-x64/native/libpkg.so"]);
        assert_eq!(
            (package.resources[0].0.file_name(), &*package.resources[0].1),
            ("Pkg.resources.dll", "de")
        );
        assert_eq!(paths(&library(&deps, "WindowsOnly").runtime), ["WindowsOnly.dll"]);
        assert_eq!(paths(&library(&deps, "app").runtime), ["app.dll"]);
    }

    #[test]
    fn placeholders_are_no_files() {
        let text = r#"{"runtimeTarget": "T", "targets": {"T": {"P/1": {"runtime": {"lib/net8.0/_._": {}}}}}}"#;
        let deps = DepsFile::parse(Path::new("x"), text).expect("valid");
        assert!(library(&deps, "P").runtime.is_empty());
    }

    #[test]
    fn faults_name_the_file() {
        for (text, part) in [
            (
                r#"{"runtimeTarget": {"name": "T"}, "targets": {"U": {}}}"#,
                "'T' is not among",
            ),
            ("{}", "runtimeTarget"),
            ("[", "not valid"),
        ] {
            let message = DepsFile::parse(Path::new("app.deps.json"), text)
                .expect_err(text)
                .to_string();
            assert!(
                message.starts_with("app.deps.json: ") && message.contains(part),
                "{message}"
            );
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
