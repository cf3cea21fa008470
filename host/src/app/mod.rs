//! The application: from the command line to what the engine gets.

pub mod deps;
pub mod image;
mod json;
mod launch;
mod probing;
mod references;
mod runtime_config;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use corten_runtime::RuntimeConfig;
use corten_runtime::stats::Part;

use crate::error::{HostError, one_line};
use crate::framework::{self, Framework, Request, Version};
use crate::output;
use deps::DepsFile;
use launch::Launch;
use probing::Probed;
use references::MissingReference;
use runtime_config::RuntimeConfigFile;

/// What the command line says about the application to run.
#[derive(Debug)]
pub struct LaunchOptions {
    /// The path as given.
    pub app: PathBuf,
    /// The application's arguments.
    pub args: Vec<OsString>,
    /// `--framework`.
    pub framework: Option<PathBuf>,
    /// `--stats`.
    pub stats: Option<Part>,
    /// `--trace`.
    pub trace: Option<PathBuf>,
    /// `--verify`: do not run what is not verifiable.
    pub verify: bool,
    /// `--explain`: report and do not run.
    pub explain: bool,
}

/// Runs an application; returns its exit code, of which the system keeps the low eight bits.
///
/// # Errors
/// Everything that keeps it from starting.
pub fn run(options: LaunchOptions) -> Result<ExitCode, HostError> {
    let (explain, verify) = (options.explain, options.verify);
    let launch = prepare(options)?;
    if explain {
        output::print(launch)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(missing) = launch.fatal_reference() {
        return Err(missing_reference(&launch, missing));
    }
    if verify {
        crate::verify::require_verifiable(&launch.config.app, &launch.config.tpa, &launch.framework.dir)?;
    }
    let code = corten_runtime::run(launch.config).map_err(|e| HostError::Engine(one_line(&e.to_string())))?;
    let [low, ..] = code.to_le_bytes();
    Ok(ExitCode::from(low))
}

/// What the engine needs to load and compile assemblies, of which `first` is one, without running a program.
///
/// # Errors
/// No framework, or unreadable folders.
pub fn configure_without_entry(first: &Path, framework: Option<&Path>) -> Result<RuntimeConfig, HostError> {
    let app_dir = first.parent().unwrap_or(Path::new("/"));
    let framework = find_framework(framework, None, app_dir)?;
    let probed = probing::probe(first, app_dir, None, &framework.dir)?;
    Ok(RuntimeConfig {
        app: first.to_owned(),
        tpa: probed.tpa,
        native_search_dirs: probed.native_dirs,
        ..RuntimeConfig::default()
    })
}

fn missing_reference(launch: &Launch, missing: &MissingReference) -> HostError {
    let (a, b, c, d) = missing.version;
    let (name, app) = (&missing.name, &launch.config.app);
    let reason = format!(
        "Main uses the assembly {name} {a}.{b}.{c}.{d}, which is neither beside the application nor in the framework {}; \
         copy {name}.dll to {}",
        launch.framework.dir.display(),
        app.parent().unwrap_or(Path::new(".")).display()
    );
    HostError::BadApp {
        path: app.clone(),
        reason,
    }
}

/// Finds and checks everything that the engine needs.
fn prepare(options: LaunchOptions) -> Result<Launch, HostError> {
    let module = image::open_app(&options.app)?;
    let app = std::path::absolute(&options.app).map_err(|e| HostError::io(&options.app, e))?;
    let app_dir = app.parent().unwrap_or(Path::new("/")).to_owned();

    let config_path = app.with_extension("runtimeconfig.json");
    let policy_override = env::var("DOTNET_ROLL_FORWARD").ok().filter(|policy| !policy.is_empty());
    let config_file = match config_path.is_file() {
        true => Some(RuntimeConfigFile::read(&config_path, policy_override.as_deref())?),
        false => None,
    };
    let framework = find_framework(options.framework.as_deref(), config_file.as_ref(), &app_dir)?;

    let deps_path = app.with_extension("deps.json");
    let deps = if deps_path.is_file() {
        Some(DepsFile::read(&deps_path)?)
    } else {
        None
    };
    let listed = deps.as_ref().map(|deps| (deps_path.as_path(), deps));
    let probed = probing::probe(&app, &app_dir, listed, &framework.dir)?;

    let mut properties = host_properties(&app_dir, listed.map(|(path, _)| path), &framework.version, &probed);
    if let Ok(hooks) = env::var("DOTNET_STARTUP_HOOKS") {
        properties.push((launch::STARTUP_HOOKS.to_owned(), hooks));
    }
    add_configured(
        &mut properties,
        config_file.map(|file| file.properties).unwrap_or_default(),
    );
    let missing_references = references::missing(&module, probed.tpa.iter().map(|(name, _)| name.as_str()));
    // As on every Unix, arguments are UTF-8 for the class library; what is not gets replacement characters.
    let args = options.args.iter().map(|arg| arg.to_string_lossy().into_owned());
    let config = RuntimeConfig {
        app,
        args: args.collect(),
        tpa: probed.tpa,
        properties,
        native_search_dirs: probed.native_dirs,
        stats: options.stats,
        trace: options.trace.clone(),
    };
    Ok(Launch {
        config,
        framework,
        missing_references,
    })
}

fn find_framework(
    chosen: Option<&Path>,
    config: Option<&RuntimeConfigFile>,
    app_dir: &Path,
) -> Result<Framework, HostError> {
    let search = framework::Search::from_environment(chosen);
    match config {
        // Self-contained: the application is its own framework, unless the user chose another one.
        Some(RuntimeConfigFile { request: None, .. }) if chosen.is_none() && framework::is_framework_dir(app_dir) => {
            framework::Search::from_environment(Some(app_dir)).resolve(&Request::any())
        }
        Some(RuntimeConfigFile {
            request: Some(request), ..
        }) => search.resolve(request),
        Some(RuntimeConfigFile { request: None, .. }) | None => search.resolve(&Request::any()),
    }
}

/// The properties that .NET's own host passes to the engine and the class library.
fn host_properties(app_dir: &Path, deps: Option<&Path>, version: &Version, probed: &Probed) -> Vec<(String, String)> {
    let join = |paths: &mut dyn Iterator<Item = &PathBuf>| {
        paths.map(|path| path.to_string_lossy()).collect::<Vec<_>>().join(":")
    };
    let base = format!("{}/", app_dir.to_string_lossy().trim_end_matches('/'));
    let properties = [
        (
            "TRUSTED_PLATFORM_ASSEMBLIES",
            join(&mut probed.tpa.iter().map(|(_, path)| path)),
        ),
        ("NATIVE_DLL_SEARCH_DIRECTORIES", join(&mut probed.native_dirs.iter())),
        ("PLATFORM_RESOURCE_ROOTS", join(&mut probed.resource_roots.iter())),
        ("APP_CONTEXT_BASE_DIRECTORY", base.clone()),
        ("APP_PATHS", base),
        (
            "APP_CONTEXT_DEPS_FILES",
            deps.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        ),
        ("FX_PRODUCT_VERSION", version.to_string()),
        ("RUNTIME_IDENTIFIER", "linux-x64".to_owned()),
    ];
    properties.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Adds the application's `configProperties`; the host's own names cannot be overridden. Cultures other than the invariant one
/// need ICU, which the engine does not load, so the invariant mode is on unless the application or the user decided.
fn add_configured(properties: &mut Vec<(String, String)>, configured: Vec<(String, String)>) {
    const INVARIANT: &str = "System.Globalization.Invariant";
    for (name, value) in configured {
        if !properties.iter().any(|(known, _)| *known == name) {
            properties.push((name, value));
        }
    }
    let decided = env::var_os("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT").is_some();
    if !decided && !properties.iter().any(|(name, _)| name == INVARIANT) {
        properties.push((INVARIANT.to_owned(), "true".to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_properties_do_not_replace_the_hosts() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let mut properties = vec![pair("APP_PATHS", "/a/")];
        let invariant = pair("System.Globalization.Invariant", "false");
        add_configured(
            &mut properties,
            vec![pair("APP_PATHS", "/evil/"), pair("X", "1"), invariant.clone()],
        );
        assert_eq!(properties, [pair("APP_PATHS", "/a/"), pair("X", "1"), invariant]);
    }

    #[test]
    fn the_base_directory_ends_with_a_slash() {
        let properties = host_properties(Path::new("/a/b"), None, &Version::new(9, 0, 5), &Probed::default());
        let value = |name: &str| {
            properties
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(value("APP_CONTEXT_BASE_DIRECTORY"), Some("/a/b/"));
        assert_eq!(value("FX_PRODUCT_VERSION"), Some("9.0.5"));
    }
}
