//! The binder: from assembly names to loaded assemblies.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock, RwLock,
        atomic::{AtomicU64, AtomicUsize},
    },
};

use rustc_hash::FxHashMap;
use sha1::{Digest, Sha1};

use crate::{
    assembly::{Assembly, AssemblyName},
    error::{LoadError, Result},
    module::Module,
};

/// Simple name of the class library core.
pub const CORE_LIBRARY: &str = "System.Private.CoreLib";

/// When the resolve hook is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveStage {
    /// A custom context, before the trusted platform assemblies (`AssemblyLoadContext.Load`).
    ContextLoad,
    /// Nothing was found (`Resolving` events, satellite resolution, `AssemblyResolve`).
    NotFound,
}

/// Lets the runtime take part in binding. May run managed code; the loader lock may be held by the caller.
pub trait ResolveHook: Sync {
    /// An assembly for `name` wanted by `requesting` in `context`; `None` to go on.
    fn resolve(
        &self,
        stage: ResolveStage,
        context: u64,
        name: &AssemblyName,
        requesting: Option<&'static Assembly>,
    ) -> Result<Option<&'static Assembly>>;
    /// An assembly has been loaded (for `AssemblyLoad` events and diagnostics).
    fn loaded(&self, assembly: &'static Assembly);
}

/// Process-wide binder.
pub struct Binder {
    /// Lower-case simple name -> path of the trusted platform assemblies.
    tpa: FxHashMap<String, PathBuf>,
    app_paths: Vec<PathBuf>,
    resource_roots: Vec<PathBuf>,
    loaded: RwLock<FxHashMap<(u64, String), &'static Assembly>>,
    all: RwLock<Vec<&'static Assembly>>,
    core: OnceLock<&'static Assembly>,
    hook: OnceLock<&'static dyn ResolveHook>,
    opening: Mutex<()>,
}

static BINDER: OnceLock<Binder> = OnceLock::new();

/// Where assemblies are found.
#[derive(Clone, Debug, Default)]
pub struct BinderConfig {
    /// Full paths of all framework and application assemblies (must include System.Private.CoreLib.dll).
    pub trusted_assemblies: Vec<PathBuf>,
    /// Extra directories probed for `<name>.dll`.
    pub app_paths: Vec<PathBuf>,
    /// Directories with `<culture>/<name>.dll` satellite assemblies.
    pub resource_roots: Vec<PathBuf>,
}

impl BinderConfig {
    /// All `*.dll` of a directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn from_directory(dir: &Path) -> std::io::Result<Self> {
        let mut trusted_assemblies = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "dll") {
                trusted_assemblies.push(path);
            }
        }
        Ok(Self {
            trusted_assemblies,
            ..Self::default()
        })
    }
}

impl Binder {
    /// Creates the process-wide binder. A second call returns the existing one and ignores `config`.
    pub fn init(config: BinderConfig) -> &'static Binder {
        BINDER.get_or_init(|| {
            let mut tpa = FxHashMap::default();
            for p in config.trusted_assemblies {
                if let Some(stem) = p.file_stem().and_then(|s| s.to_str()) {
                    // The first of several wins, as in the reference host.
                    tpa.entry(stem.to_ascii_lowercase()).or_insert(p);
                }
            }
            Binder {
                tpa,
                app_paths: config.app_paths,
                resource_roots: config.resource_roots,
                loaded: RwLock::default(),
                all: RwLock::default(),
                core: OnceLock::new(),
                hook: OnceLock::new(),
                opening: Mutex::new(()),
            }
        })
    }

    /// The binder, once initialised.
    pub fn get() -> Option<&'static Binder> {
        BINDER.get()
    }

    pub(crate) fn require() -> Result<&'static Binder> {
        Self::get().ok_or_else(|| LoadError::FileNotFound {
            name: CORE_LIBRARY.into(),
            probed: Vec::new(),
        })
    }

    /// Installs the runtime's hook (once).
    pub fn set_resolve_hook(&self, hook: &'static dyn ResolveHook) {
        let _ = self.hook.set(hook);
    }

    /// `System.Private.CoreLib` if already loaded.
    pub fn core_library(&self) -> Option<&'static Assembly> {
        self.core.get().copied()
    }

    /// Loads `System.Private.CoreLib`.
    ///
    /// # Errors
    /// FileNotFound or BadImageFormat.
    pub fn load_core_library(&self) -> Result<&'static Assembly> {
        match self.core.get() {
            Some(a) => Ok(a),
            None => self.load_by_name(&AssemblyName::simple(CORE_LIBRARY), 0, None),
        }
    }

    /// All assemblies loaded so far, in load order.
    pub fn assemblies(&self) -> Vec<&'static Assembly> {
        read(&self.all).clone()
    }

    /// Paths of the trusted platform assemblies.
    pub fn trusted_paths(&self) -> impl Iterator<Item = &Path> {
        self.tpa.values().map(PathBuf::as_path)
    }

    /// Already loaded assembly of a context.
    pub fn find_loaded(&self, context: u64, simple_name: &str) -> Option<&'static Assembly> {
        self.find_key(context, &load_key(simple_name, ""))
    }

    fn find_key(&self, context: u64, key: &str) -> Option<&'static Assembly> {
        read(&self.loaded).get(&(context, key.to_owned())).copied()
    }

    /// Binds a reference made in `context` by `requesting`.
    ///
    /// # Errors
    /// FileNotFound (also for a version that is too low), BadImageFormat, or what the hook reports.
    pub fn load_by_name(
        &self,
        name: &AssemblyName,
        context: u64,
        requesting: Option<&'static Assembly>,
    ) -> Result<&'static Assembly> {
        let key = load_key(&name.name, &name.culture);
        // An assembly of a lower version than asked for counts as not found, as in the reference.
        if let Some(a) = self.find_key(context, &key).filter(|a| satisfies_version(a, name)) {
            return Ok(a);
        }
        let is_core = name.name.eq_ignore_ascii_case(CORE_LIBRARY);
        // There is one core library, and it has any version.
        if is_core && let Some(a) = self.find_key(0, &key) {
            return Ok(a);
        }
        if context != 0
            && !is_core
            && let Some(hook) = self.hook.get()
            && let Some(a) = hook.resolve(ResolveStage::ContextLoad, context, name, requesting)?
        {
            return Ok(a);
        }
        if context != 0
            && let Some(a) = self.find_key(0, &key).filter(|a| satisfies_version(a, name))
        {
            return Ok(a);
        }
        let mut probed = Vec::new();
        let candidates: Vec<PathBuf> = if name.culture.is_empty() {
            let file = format!("{}.dll", name.name);
            let lower = name.name.to_ascii_lowercase();
            self.tpa
                .get(&lower)
                .cloned()
                .into_iter()
                .chain(self.app_paths.iter().map(|d| d.join(&file)))
                .collect()
        } else {
            let file = format!("{}/{}.dll", name.culture, name.name);
            self.resource_roots
                .iter()
                .chain(&self.app_paths)
                .map(|d| d.join(&file))
                .collect()
        };
        for path in candidates {
            if path.exists() {
                let a = self.load_from_path(&path, 0)?;
                if a.name.name.eq_ignore_ascii_case(&name.name) && satisfies_version(a, name) {
                    return Ok(a);
                }
            }
            probed.push(path.display().to_string());
        }
        if !is_core
            && let Some(hook) = self.hook.get()
            && let Some(a) = hook.resolve(ResolveStage::NotFound, context, name, requesting)?
        {
            return Ok(a);
        }
        Err(LoadError::FileNotFound {
            name: name.to_string(),
            probed,
        })
    }

    /// Loads a file into a context; if the assembly is there already, that one is returned instead.
    ///
    /// # Errors
    /// FileNotFound or BadImageFormat; FileLoad for another assembly of a name that is taken.
    pub fn load_from_path(&self, path: &Path, context: u64) -> Result<&'static Assembly> {
        if !path.exists() {
            return Err(LoadError::FileNotFound {
                name: path.display().to_string(),
                probed: Vec::new(),
            });
        }
        let metadata = corten_metadata::Module::open(path).map_err(|e| LoadError::BadImageFile {
            path: path.display().to_string(),
            reason: e.to_string(),
        })?;
        self.add(metadata, path.display().to_string(), context)
    }

    /// Loads an image from memory into a context.
    ///
    /// # Errors
    /// BadImageFormat; FileLoad for another assembly of a name that is taken.
    pub fn load_from_bytes(&self, bytes: Vec<u8>, name: &str, context: u64) -> Result<&'static Assembly> {
        let metadata = corten_metadata::Module::from_bytes(bytes, name).map_err(|e| LoadError::BadImageFile {
            path: String::new(),
            reason: e.to_string(),
        })?;
        self.add(metadata, String::new(), context)
    }

    fn add(&self, metadata: corten_metadata::Module, path: String, context: u64) -> Result<&'static Assembly> {
        let bad = |reason: String| LoadError::BadImageFile {
            path: path.clone(),
            reason,
        };
        let (name, token) = {
            let row = metadata
                .assembly()
                .map_err(|e| bad(e.to_string()))?
                .ok_or_else(|| bad("the module has no assembly manifest".into()))?;
            let token = (!row.public_key.is_empty()).then(|| public_key_token(row.public_key));
            (
                AssemblyName {
                    name: row.name.to_owned(),
                    version: Some(row.version),
                    culture: row.culture.to_owned(),
                    public_key_token: token,
                },
                token,
            )
        };
        let _ = token;
        let _guard = self.opening.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (context, load_key(&name.name, &name.culture));
        if let Some(existing) = read(&self.loaded).get(&key) {
            let same = existing.module.metadata().mvid().ok() == metadata.mvid().ok();
            return if same {
                Ok(existing)
            } else {
                Err(LoadError::FileLoad {
                    name: name.to_string(),
                    reason: "Assembly with same name is already loaded".into(),
                })
            };
        }
        let is_core = name.name == CORE_LIBRARY && self.core.get().is_none();
        let module: &'static Module = Box::leak(Box::new(Module::new(metadata, is_core)));
        let assembly: &'static Assembly = Box::leak(Box::new(Assembly {
            name,
            module,
            path,
            context,
            exposed_object: AtomicUsize::new(0),
            runtime_data: AtomicU64::new(0),
        }));
        module.attach(assembly);
        if is_core {
            let _ = self.core.set(assembly);
        }
        write(&self.loaded).insert(key, assembly);
        write(&self.all).push(assembly);
        drop(_guard);
        if let Some(hook) = self.hook.get() {
            hook.loaded(assembly);
        }
        Ok(assembly)
    }
}

/// Key of an assembly within a context: names are case-insensitive.
fn load_key(name: &str, culture: &str) -> String {
    let mut key = name.to_ascii_lowercase();
    if !culture.is_empty() && !culture.eq_ignore_ascii_case("neutral") {
        key.push('/');
        key.push_str(&culture.to_ascii_lowercase());
    }
    key
}

fn satisfies_version(a: &Assembly, wanted: &AssemblyName) -> bool {
    match (a.name.version, wanted.version) {
        (Some(have), Some(want)) => have >= want,
        _ => true,
    }
}

/// The public key token: the last eight bytes of the SHA-1 of the key, reversed (ECMA-335 II.6.2.1.3).
pub fn public_key_token(key: &[u8]) -> [u8; 8] {
    let digest = Sha1::digest(key);
    let mut out = [0; 8];
    for (i, b) in out.iter_mut().enumerate() {
        *b = digest[19 - i];
    }
    out
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}
