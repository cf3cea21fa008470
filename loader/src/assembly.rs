//! Assemblies and their names.

use std::{
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize},
};

use corten_metadata::{TableId, Token};

use crate::{
    binder::Binder,
    error::{LoadError, Result},
    module::Module,
    type_def::TypeDefInfo,
};

/// Identity of an assembly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AssemblyName {
    /// Simple name.
    pub name: String,
    /// Major, minor, build, revision; `None` in a partial reference.
    pub version: Option<(u16, u16, u16, u16)>,
    /// Culture; empty for neutral.
    pub culture: String,
    /// Last 8 bytes of the key's SHA-1, reversed; `None` for unsigned or unspecified.
    pub public_key_token: Option<[u8; 8]>,
}

impl AssemblyName {
    /// A reference by simple name only.
    pub fn simple(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Parses a display name (`Name, Version=1.2.3.4, Culture=neutral, PublicKeyToken=...`). Unknown parts are
    /// ignored, malformed ones too.
    pub fn parse(display: &str) -> Self {
        let mut parts = display.split(',').map(str::trim);
        let mut n = Self::simple(parts.next().unwrap_or("").trim_matches('"'));
        for part in parts {
            let Some((key, value)) = part.split_once('=') else {
                continue;
            };
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "version" => {
                    let mut it = value.split('.').map(|v| v.parse::<u16>().unwrap_or(0));
                    let mut next = || it.next().unwrap_or(0);
                    n.version = Some((next(), next(), next(), next()));
                }
                "culture" if !value.eq_ignore_ascii_case("neutral") => n.culture = value.to_owned(),
                "publickeytoken" => n.public_key_token = parse_token(value),
                _ => {}
            }
        }
        n
    }
}

fn parse_token(hex: &str) -> Option<[u8; 8]> {
    if hex.len() != 16 {
        return None;
    }
    let mut out = [0; 8];
    for (i, b) in out.iter_mut().enumerate() {
        *b = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(out)
}

impl fmt::Display for AssemblyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some((a, b, c, d)) = self.version {
            write!(f, ", Version={a}.{b}.{c}.{d}")?;
        }
        write!(
            f,
            ", Culture={}",
            if self.culture.is_empty() {
                "neutral"
            } else {
                &self.culture
            }
        )?;
        f.write_str(", PublicKeyToken=")?;
        match &self.public_key_token {
            None => f.write_str("null"),
            Some(t) => t.iter().try_for_each(|b| write!(f, "{b:02x}")),
        }
    }
}

/// A loaded assembly (one module). Leaked; compared by address.
pub struct Assembly {
    pub(crate) name: AssemblyName,
    pub(crate) module: &'static Module,
    pub(crate) path: String,
    /// Assembly load context id; 0 is the default context.
    pub(crate) context: u64,
    /// Address of the runtime's `RuntimeAssembly` object slot, 0 until made.
    pub exposed_object: AtomicUsize,
    /// Free for the runtime.
    pub runtime_data: AtomicU64,
}

impl PartialEq for Assembly {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
impl Eq for Assembly {}
impl fmt::Debug for Assembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

impl Assembly {
    /// Identity.
    pub fn name(&self) -> &AssemblyName {
        &self.name
    }
    /// Simple name.
    pub fn simple_name(&self) -> &str {
        &self.name.name
    }
    /// Version.
    pub fn version(&self) -> (u16, u16, u16, u16) {
        self.name.version.unwrap_or_default()
    }
    /// Culture; empty for neutral.
    pub fn culture(&self) -> &str {
        &self.name.culture
    }
    /// Public key token.
    pub fn public_key_token(&self) -> Option<[u8; 8]> {
        self.name.public_key_token
    }
    /// Full display name.
    pub fn display_name(&self) -> String {
        self.name.to_string()
    }
    /// The manifest module.
    pub fn module(&self) -> &'static Module {
        self.module
    }
    /// File it was loaded from; empty when loaded from memory.
    pub fn path(&self) -> &str {
        &self.path
    }
    /// Assembly load context.
    pub fn context(&self) -> u64 {
        self.context
    }
    /// Created by reflection emit.
    pub fn is_dynamic(&self) -> bool {
        self.module.dynamic_scope().is_some()
    }
    /// Entry point method token of the image, if it has one.
    pub fn entry_point(&self) -> Option<Token> {
        self.module.metadata().pe().entry_point_token()
    }

    /// Finds a top-level type definition here or behind type forwarders. `Ok(None)`: no such type.
    ///
    /// # Errors
    /// When a forwarder's target assembly cannot be loaded.
    pub fn find_type_def(&'static self, namespace: &str, name: &str) -> Result<Option<&'static TypeDefInfo>> {
        self.find_type_def_depth(namespace, name, 0)
    }

    fn find_type_def_depth(
        &'static self,
        namespace: &str,
        name: &str,
        depth: u32,
    ) -> Result<Option<&'static TypeDefInfo>> {
        let md = self.module.metadata();
        if let Some(rid) = md.find_type_def(namespace, name) {
            return self.module.type_def(rid).map(Some);
        }
        let Some(rid) = md.find_exported_type(namespace, name) else {
            return Ok(None);
        };
        let row = md.exported_type(rid).map_err(|e| self.module.bad_image(e))?;
        match row.implementation.table() {
            Some(TableId::AssemblyRef) if depth < 32 => {
                let target = self.module.resolve_assembly_ref(row.implementation.rid())?;
                target.find_type_def_depth(namespace, name, depth + 1)
            }
            Some(TableId::AssemblyRef) => Err(self.module.bad_image("type forwarders form a cycle")),
            Some(TableId::File) => Err(LoadError::NotSupported {
                what: "multi-module assemblies".into(),
            }),
            _ => Ok(None),
        }
    }

    /// Like [`find_type_def`](Self::find_type_def), but a missing type is a TypeLoad error.
    ///
    /// # Errors
    /// TypeLoad when there is no such type; errors of forwarder targets.
    pub fn require_type_def(&'static self, namespace: &str, name: &str) -> Result<&'static TypeDefInfo> {
        self.find_type_def(namespace, name)?.ok_or_else(|| LoadError::TypeLoad {
            type_name: if namespace.is_empty() {
                name.to_owned()
            } else {
                format!("{namespace}.{name}")
            },
            assembly: self.display_name(),
            reason: String::new(),
        })
    }

    /// Whether this is `System.Private.CoreLib`.
    pub fn is_core_library(&self) -> bool {
        Binder::get().is_some_and(|b| b.core_library() == Some(self))
    }
}
