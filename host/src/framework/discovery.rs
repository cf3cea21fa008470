//! Finds frameworks: explicit choice, then .NET installations, then the user's cache.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{CORE_LIBRARY, FRAMEWORK_NAME, Framework, Request, SUPPORTED, Version, is_framework_dir, roll_forward};
use crate::app::image;
use crate::error::HostError;

/// A place where frameworks may be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The user said so: a framework folder, or an installation. It not being one is an error.
    Chosen(PathBuf, &'static str),
    /// A .NET installation: versions are folders under `shared/Microsoft.NETCore.App`.
    Installation(PathBuf, &'static str),
    /// The cache of `corten framework install`: versions are folders in it.
    Cache(PathBuf),
}

/// The places to look in, best first.
#[derive(Clone, Debug)]
pub struct Search {
    places: Vec<Place>,
}

impl Search {
    /// The search order of this process: `chosen` (the `--framework` option) or `CORTEN_FRAMEWORK` alone if given; else
    /// `DOTNET_ROOT`, the usual installation folders, the user's own installation and the cache.
    pub fn from_environment(chosen: Option<&Path>) -> Self {
        Self::from_variables(chosen, |name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn from_variables(chosen: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let explicit = chosen.map(|dir| (dir.to_owned(), "--framework"));
        let explicit = explicit.or_else(|| Some((variable("CORTEN_FRAMEWORK")?.into(), "CORTEN_FRAMEWORK")));
        if let Some((dir, origin)) = explicit {
            return Search {
                places: vec![Place::Chosen(dir, origin)],
            };
        }
        let mut places = Vec::new();
        for name in ["DOTNET_ROOT_X64", "DOTNET_ROOT"] {
            places.extend(variable(name).map(|dir| Place::Installation(dir.into(), "DOTNET_ROOT")));
        }
        for dir in ["/usr/share/dotnet", "/usr/lib/dotnet", "/usr/local/share/dotnet"] {
            places.push(Place::Installation(dir.into(), "installed"));
        }
        if let Some(home) = variable("HOME") {
            places.push(Place::Installation(
                Path::new(&home).join(".dotnet"),
                "installed for the user",
            ));
        }
        places.extend(cache_dir(variable).map(Place::Cache));
        Search { places }
    }

    /// Every framework in the places searched, whatever its version; best place first, in a place the highest version first.
    ///
    /// # Errors
    /// The folder that the user chose holds no framework.
    pub fn find_all(&self) -> Result<Vec<Framework>, HostError> {
        let mut found = Vec::new();
        for place in &self.places {
            found.extend(place.frameworks()?);
        }
        Ok(found)
    }

    /// The framework that an application with this request gets: the best place that has one wins.
    ///
    /// # Errors
    /// No framework at all, or none that satisfies the request; the message says what was asked, what there is, and where.
    pub fn resolve(&self, request: &Request) -> Result<Framework, HostError> {
        let mut present = Vec::new();
        for place in &self.places {
            let frameworks = place.frameworks()?;
            let usable: Vec<&Framework> = frameworks.iter().filter(|f| f.is_supported()).collect();
            let versions: Vec<&Version> = usable.iter().map(|f| &f.version).collect();
            let request = match place {
                Place::Chosen(..) => &request.of_any_patch(),
                Place::Installation(..) | Place::Cache(_) => request,
            };
            if let Some(version) = roll_forward::choose(&request.version, request.policy, &versions)
                && let Some(framework) = usable.iter().find(|f| f.version == *version)
            {
                return Ok((*framework).clone());
            }
            present.extend(frameworks);
        }
        Err(if present.is_empty() {
            self.nothing_found()
        } else {
            self.none_fits(request, &present)
        })
    }

    /// The error for a machine without any framework.
    pub fn nothing_found(&self) -> HostError {
        HostError::NoFramework(format!(
            "no .NET {}.{} framework found (looked in {}); run `corten framework install` or set DOTNET_ROOT",
            SUPPORTED.0,
            SUPPORTED.1,
            self.looked_in()
        ))
    }

    fn none_fits(&self, request: &Request, present: &[Framework]) -> HostError {
        let asks = match &request.asked_by {
            Some(path) => format!("{} asks for", path.display()),
            None => "needed:".to_owned(),
        };
        let list: Vec<String> = present
            .iter()
            .map(|f| format!("{} in {}", f.version, f.dir.display()))
            .collect();
        let (major, minor) = SUPPORTED;
        HostError::NoFramework(format!(
            "{asks} {FRAMEWORK_NAME} {} (rollForward {:?}), but Corten runs on {major}.{minor}.x only and what is here is {}; \
             install a fitting {major}.{minor}.x, or retarget the application",
            request.version,
            request.policy,
            list.join(", "),
        ))
    }

    fn looked_in(&self) -> String {
        let dirs: Vec<String> = self
            .places
            .iter()
            .map(|place| place.dir().display().to_string())
            .collect();
        dirs.join(", ")
    }
}

impl Place {
    fn dir(&self) -> &Path {
        match self {
            Place::Chosen(dir, _) | Place::Installation(dir, _) | Place::Cache(dir) => dir,
        }
    }

    fn frameworks(&self) -> Result<Vec<Framework>, HostError> {
        Ok(match self {
            Place::Chosen(dir, origin) => {
                let found = if is_framework_dir(dir) {
                    let name = dir
                        .file_name()
                        .and_then(|name| name.to_str())
                        .and_then(|name| name.parse().ok());
                    let version = name.map_or_else(|| core_library_version(dir), Ok)?;
                    vec![Framework {
                        version,
                        dir: dir.clone(),
                        origin: (*origin).to_owned(),
                    }]
                } else {
                    versions_in(&installation_folder(dir), origin)
                };
                if found.is_empty() {
                    return Err(HostError::NoFramework(format!(
                        "{}: named by {origin}, but it has neither {CORE_LIBRARY} nor shared/{FRAMEWORK_NAME}; name the folder \
                         of a .NET {}.{} framework",
                        dir.display(),
                        SUPPORTED.0,
                        SUPPORTED.1
                    )));
                }
                found
            }
            Place::Installation(dir, origin) => versions_in(&installation_folder(dir), origin),
            Place::Cache(dir) => versions_in(dir, "cache of `corten framework install`"),
        })
    }
}

fn installation_folder(root: &Path) -> PathBuf {
    root.join("shared").join(FRAMEWORK_NAME)
}

/// The version folders in `dir` that hold a class library, highest first. An unreadable or absent folder holds none.
fn versions_in(dir: &Path, origin: &str) -> Vec<Framework> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<Framework> = entries
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let dir = entry.path();
            is_framework_dir(&dir).then(|| Framework {
                version,
                dir,
                origin: origin.to_owned(),
            })
        })
        .collect();
    found.sort_by(|a, b| b.version.cmp(&a.version));
    found
}

/// The version of a framework whose folder is not named after it. The assembly tells major and minor version only.
fn core_library_version(dir: &Path) -> Result<Version, HostError> {
    let path = dir.join(CORE_LIBRARY);
    let (major, minor, ..) = image::assembly_version(&path)?;
    Ok(Version::new(major.into(), minor.into(), 0))
}

/// `$XDG_CACHE_HOME/corten/framework`, or the same under `~/.cache`; `None` without a home.
fn cache_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let base = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute());
    let base = base.or_else(|| Some(Path::new(&variable("HOME")?).join(".cache")))?;
    Some(base.join("corten").join("framework"))
}

/// The cache folder of this user.
pub fn user_cache_dir() -> Option<PathBuf> {
    cache_dir(|name| env::var_os(name).filter(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::RollForward;

    fn variables(pairs: &[(&str, &Path)]) -> impl Fn(&str) -> Option<OsString> + use<> {
        let pairs: Vec<(String, OsString)> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        move |name| {
            pairs
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        }
    }

    /// Enough for discovery, which opens the file only if the folder is not named after a version.
    fn add_framework(dir: &Path) {
        std::fs::create_dir_all(dir).expect("create");
        std::fs::write(dir.join(CORE_LIBRARY), b"").expect("write");
    }

    /// Only places under `root`, whatever this machine has installed.
    fn search_under(root: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Search {
        let mut search = Search::from_variables(None, variable);
        search.places.retain(|place| place.dir().starts_with(root));
        search
    }

    #[test]
    fn order_is_environment_installations_home_cache() {
        let search = Search::from_variables(
            None,
            variables(&[("DOTNET_ROOT", Path::new("/opt/dn")), ("HOME", Path::new("/home/u"))]),
        );
        let dirs: Vec<&str> = search.places.iter().filter_map(|place| place.dir().to_str()).collect();
        assert_eq!(
            dirs,
            [
                "/opt/dn",
                "/usr/share/dotnet",
                "/usr/lib/dotnet",
                "/usr/local/share/dotnet",
                "/home/u/.dotnet",
                "/home/u/.cache/corten/framework"
            ]
        );
    }

    #[test]
    fn an_explicit_choice_excludes_everything_else() {
        let both = variables(&[
            ("CORTEN_FRAMEWORK", Path::new("/env")),
            ("DOTNET_ROOT", Path::new("/root")),
        ]);
        let search = Search::from_variables(Some(Path::new("/option")), &both);
        assert_eq!(search.places, [Place::Chosen("/option".into(), "--framework")]);
        let search = Search::from_variables(None, &both);
        assert_eq!(search.places, [Place::Chosen("/env".into(), "CORTEN_FRAMEWORK")]);
    }

    #[test]
    fn xdg_cache_home_counts_only_if_absolute() {
        let home = ("HOME", Path::new("/h"));
        assert_eq!(
            cache_dir(variables(&[home, ("XDG_CACHE_HOME", Path::new("/x"))])),
            Some(PathBuf::from("/x/corten/framework"))
        );
        assert_eq!(
            cache_dir(variables(&[home, ("XDG_CACHE_HOME", Path::new("x"))])),
            Some(PathBuf::from("/h/.cache/corten/framework"))
        );
        assert_eq!(cache_dir(variables(&[])), None);
    }

    #[test]
    fn the_first_place_that_fits_wins_and_in_it_the_policy() {
        let temp = tempfile::tempdir().expect("tempdir");
        let (root, home) = (temp.path().join("root"), temp.path().join("home"));
        for version in ["8.0.1", "9.0.1", "9.0.3", "9.0.4-rc.1", "10.0.0"] {
            add_framework(&installation_folder(&root).join(version));
        }
        std::fs::create_dir_all(installation_folder(&root).join("9.0.9")).expect("an empty folder is no framework");
        add_framework(&home.join(".cache/corten/framework/9.0.5"));
        let search = search_under(temp.path(), variables(&[("DOTNET_ROOT", &root), ("HOME", &home)]));
        assert_eq!(search.find_all().expect("list").len(), 6);
        let resolve = |version: &str, policy| {
            let request = Request {
                version: version.parse().expect("a version"),
                policy,
                asked_by: Some("app.json".into()),
            };
            search.resolve(&request)
        };
        assert_eq!(
            resolve("9.0.0", RollForward::Minor).expect("found").version,
            Version::new(9, 0, 3)
        );
        assert_eq!(
            resolve("9.0.1", RollForward::Disable).expect("found").version,
            Version::new(9, 0, 1)
        );
        assert_eq!(
            resolve("9.0.5", RollForward::Minor).expect("found").version,
            Version::new(9, 0, 5)
        );
        assert_eq!(
            resolve("8.0.0", RollForward::Major).expect("found").version,
            Version::new(9, 0, 3)
        );
        let text = resolve("8.0.0", RollForward::Minor).expect_err("no 8.x").to_string();
        for part in [
            "app.json",
            "8.0.0",
            "rollForward Minor",
            "9.0.5 in ",
            "10.0.0 in ",
            "root/shared",
        ] {
            assert!(text.contains(part), "{part} in: {text}");
        }
        assert!(!text.contains('\n'));
    }

    #[test]
    fn nothing_at_all_says_where_it_looked() {
        let temp = tempfile::tempdir().expect("tempdir");
        let search = search_under(temp.path(), variables(&[("HOME", temp.path())]));
        let text = search.resolve(&Request::any()).expect_err("nothing").to_string();
        assert!(
            text.contains(".dotnet") && text.contains("corten framework install"),
            "{text}"
        );
    }

    #[test]
    fn a_wrong_explicit_choice_is_an_error() {
        let temp = tempfile::tempdir().expect("tempdir");
        let search = Search::from_variables(Some(temp.path()), |_| None);
        let text = search.resolve(&Request::any()).expect_err("empty folder").to_string();
        assert!(text.contains("--framework") && text.contains(CORE_LIBRARY), "{text}");
        add_framework(&temp.path().join("shared").join(FRAMEWORK_NAME).join("9.0.2"));
        let mut request = Request::any();
        assert_eq!(
            search.resolve(&request).expect("an installation").version,
            Version::new(9, 0, 2)
        );
        // The user's choice beats the patch that the application asks for, but not its minor version.
        (request.version, request.policy) = (Version::new(9, 0, 7), RollForward::Disable);
        assert_eq!(
            search.resolve(&request).expect("any patch").version,
            Version::new(9, 0, 2)
        );
        request.version = Version::new(9, 1, 0);
        assert!(search.resolve(&request).is_err());
    }
}
