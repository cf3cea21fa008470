//! The set of modules one verification looks at: inputs and everything they refer to, directly or not. It does not change
//! once built, so any number of threads can share it.

use std::collections::HashMap;
use std::sync::OnceLock;

use corten_metadata::{Module, TableId, Token};
use rustc_hash::FxHashMap;

use crate::source::{AssemblySource, ModuleHandle};

/// A module of a [`Universe`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ModuleId(pub(crate) u32);

/// A TypeDef row of a module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DefId {
    /// Where it is defined.
    pub module: ModuleId,
    /// 1-based row.
    pub rid: u32,
}

/// Why no [`Universe`] could be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UniverseError {
    /// Nothing among inputs and references defines System.Object (fault of the references given).
    #[error(
        "no core library: neither the inputs nor the references define System.Object; give the framework's folder as a reference"
    )]
    NoCoreLibrary,
    /// The core library lacks a type that verification needs.
    #[error("the core library {library} does not define {name}")]
    MissingCoreType {
        /// Name of the core library.
        library: String,
        /// Full name of the type.
        name: &'static str,
    },
}

/// Names deeper than this many forwarders away are taken for unresolved.
const MAX_FORWARDERS: u32 = 16;

pub(crate) struct LoadedModule {
    pub module: ModuleHandle,
    pub name: String,
    assembly_refs: Vec<Option<ModuleId>>,
    type_refs: Vec<OnceLock<Option<DefId>>>,
    /// Assemblies that may see internals: simple name and, if given, public key.
    friends: Vec<(String, Option<Vec<u8>>)>,
    /// Assemblies whose access checks this one waives.
    ignores: Vec<String>,
    public_key: Vec<u8>,
}

/// Inputs and their references.
pub struct Universe {
    modules: Vec<LoadedModule>,
    inputs: usize,
    core: ModuleId,
    well_known: FxHashMap<DefId, WellKnown>,
    well_known_defs: Vec<DefId>,
}

macro_rules! well_known {
    ($($name:ident: $namespace:literal, $type:literal;)*) => {
        /// Types of the core library that rules mention.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub(crate) enum WellKnown { $($name),* }
        impl WellKnown {
            const ALL: &'static [(WellKnown, &'static str, &'static str, &'static str)] =
                &[$((WellKnown::$name, $namespace, $type, concat!($namespace, ".", $type))),*];
        }
    };
}

well_known! {
    Void: "System", "Void";
    Boolean: "System", "Boolean";
    Char: "System", "Char";
    SByte: "System", "SByte";
    Byte: "System", "Byte";
    Int16: "System", "Int16";
    UInt16: "System", "UInt16";
    Int32: "System", "Int32";
    UInt32: "System", "UInt32";
    Int64: "System", "Int64";
    UInt64: "System", "UInt64";
    IntPtr: "System", "IntPtr";
    UIntPtr: "System", "UIntPtr";
    Single: "System", "Single";
    Double: "System", "Double";
    String: "System", "String";
    Object: "System", "Object";
    ValueType: "System", "ValueType";
    Enum: "System", "Enum";
    Array: "System", "Array";
    MulticastDelegate: "System", "MulticastDelegate";
    Nullable: "System", "Nullable`1";
    Exception: "System", "Exception";
    TypedReference: "System", "TypedReference";
    RuntimeTypeHandle: "System", "RuntimeTypeHandle";
    RuntimeMethodHandle: "System", "RuntimeMethodHandle";
    RuntimeFieldHandle: "System", "RuntimeFieldHandle";
    RuntimeArgumentHandle: "System", "RuntimeArgumentHandle";
    IList: "System.Collections.Generic", "IList`1";
    ICollection: "System.Collections.Generic", "ICollection`1";
    IEnumerable: "System.Collections.Generic", "IEnumerable`1";
    IReadOnlyList: "System.Collections.Generic", "IReadOnlyList`1";
    IReadOnlyCollection: "System.Collections.Generic", "IReadOnlyCollection`1";
}

impl Universe {
    /// Takes the inputs and opens all they refer to, directly or through other references. An input also serves as
    /// reference for the others. References that `source` does not find are left out: what needs them is reported.
    ///
    /// # Errors
    /// [`UniverseError`], if there is no core library.
    pub fn new(inputs: Vec<ModuleHandle>, source: &dyn AssemblySource) -> Result<Universe, UniverseError> {
        let mut modules: Vec<ModuleHandle> = inputs;
        let inputs = modules.len();
        let mut by_name: HashMap<String, Option<ModuleId>> = HashMap::new();
        for (i, module) in modules.iter().enumerate() {
            by_name
                .entry(simple_name(module).to_ascii_lowercase())
                .or_insert(Some(ModuleId(i as u32)));
        }
        let core_name = "system.private.corelib";
        if !by_name.contains_key(core_name)
            && let Some(core) = source.find("System.Private.CoreLib")
        {
            by_name.insert(core_name.to_owned(), Some(ModuleId(modules.len() as u32)));
            modules.push(core);
        }
        let mut references: Vec<Vec<Option<ModuleId>>> = Vec::new();
        while references.len() < modules.len() {
            let module = modules[references.len()].clone();
            let mut found = Vec::new();
            for rid in 1..=module.row_count(TableId::AssemblyRef) {
                let Ok(row) = module.assembly_ref(rid) else {
                    found.push(None);
                    continue;
                };
                let key = row.name.to_ascii_lowercase();
                let id = *by_name.entry(key).or_insert_with(|| {
                    source.find(row.name).map(|handle| {
                        modules.push(handle);
                        ModuleId(modules.len() as u32 - 1)
                    })
                });
                found.push(id);
            }
            references.push(found);
        }
        let modules: Vec<LoadedModule> = modules
            .into_iter()
            .zip(references)
            .map(|(module, assembly_refs)| LoadedModule::new(module, assembly_refs))
            .collect();
        let core = modules.iter().position(|m| {
            let object = m.module.find_type_def("System", "Object");
            object.is_some_and(|rid| m.module.type_def(rid).is_ok_and(|row| row.extends.is_nil()))
        });
        let core = ModuleId(core.ok_or(UniverseError::NoCoreLibrary)? as u32);
        let library = &modules[core.0 as usize];
        let mut well_known = FxHashMap::default();
        let mut well_known_defs = Vec::new();
        for (which, namespace, name, full_name) in WellKnown::ALL {
            let rid = library.module.find_type_def(namespace, name);
            let rid = rid.ok_or_else(|| UniverseError::MissingCoreType {
                library: library.name.clone(),
                name: full_name,
            })?;
            let def = DefId { module: core, rid };
            well_known.insert(def, *which);
            well_known_defs.push(def);
        }
        Ok(Universe {
            modules,
            inputs,
            core,
            well_known,
            well_known_defs,
        })
    }

    /// The inputs, in the order given.
    pub fn inputs(&self) -> impl Iterator<Item = ModuleId> + use<> {
        (0..self.inputs as u32).map(ModuleId)
    }

    /// The image of a module.
    pub fn module(&self, id: ModuleId) -> &Module {
        &self.loaded(id).module
    }

    /// Simple name of a module's assembly (file name of a module without manifest).
    pub fn name(&self, id: ModuleId) -> &str {
        &self.loaded(id).name
    }

    /// The module that defines System.Object.
    pub fn core_library(&self) -> ModuleId {
        self.core
    }

    pub(crate) fn loaded(&self, id: ModuleId) -> &LoadedModule {
        &self.modules[id.0 as usize]
    }

    pub(crate) fn well_known(&self, def: DefId) -> Option<WellKnown> {
        self.well_known.get(&def).copied()
    }

    pub(crate) fn well_known_def(&self, which: WellKnown) -> DefId {
        self.well_known_defs[which as usize]
    }

    /// By position in [`WellKnown`].
    pub(crate) fn well_known_def_at(&self, index: usize) -> DefId {
        self.well_known_defs[index]
    }

    /// The definition a TypeDef or TypeRef token names; none if it does not resolve.
    pub(crate) fn resolve(&self, module: ModuleId, token: Token) -> Option<DefId> {
        let rid = token.rid();
        match token.table()? {
            TableId::TypeDef => self.module(module).has_row(token).then_some(DefId { module, rid }),
            TableId::TypeRef => {
                let cell = self.loaded(module).type_refs.get(rid.checked_sub(1)? as usize)?;
                if let Some(known) = cell.get() {
                    return *known;
                }
                let found = self.resolve_type_ref(module, rid, 0);
                Some(*cell.get_or_init(|| found)).flatten()
            }
            _ => None,
        }
    }

    fn resolve_type_ref(&self, module: ModuleId, rid: u32, depth: u32) -> Option<DefId> {
        if depth > MAX_FORWARDERS {
            return None;
        }
        let row = self.module(module).type_ref(rid).ok()?;
        let scope = row.resolution_scope;
        match scope.table() {
            _ if scope.is_nil() => self.find_exported(module, row.namespace, row.name, 0),
            Some(TableId::Module) => self.find(module, row.namespace, row.name, 0),
            Some(TableId::AssemblyRef) => {
                let target = self.assembly_ref(module, scope.rid())?;
                self.find(target, row.namespace, row.name, 0)
            }
            Some(TableId::TypeRef) => {
                let outer = self.resolve_type_ref(module, scope.rid(), depth + 1)?;
                let rid = self.module(outer.module).find_nested_type(outer.rid, row.name)?;
                Some(DefId { rid, ..outer })
            }
            _ => None,
        }
    }

    pub(crate) fn assembly_ref(&self, module: ModuleId, rid: u32) -> Option<ModuleId> {
        *self.loaded(module).assembly_refs.get(rid.checked_sub(1)? as usize)?
    }

    /// A top-level type by name, through forwarders.
    fn find(&self, module: ModuleId, namespace: &str, name: &str, depth: u32) -> Option<DefId> {
        match self.module(module).find_type_def(namespace, name) {
            Some(rid) => Some(DefId { module, rid }),
            None => self.find_exported(module, namespace, name, depth),
        }
    }

    fn find_exported(&self, module: ModuleId, namespace: &str, name: &str, depth: u32) -> Option<DefId> {
        if depth > MAX_FORWARDERS {
            return None;
        }
        let image = self.module(module);
        let row = image.exported_type(image.find_exported_type(namespace, name)?).ok()?;
        let to = row.implementation;
        let target = to
            .is(TableId::AssemblyRef)
            .then(|| self.assembly_ref(module, to.rid()))??;
        self.find(target, namespace, name, depth + 1)
    }

    /// Whether `module` lets `friend` see its internals.
    pub(crate) fn grants_friend_access(&self, module: ModuleId, friend: ModuleId) -> bool {
        if module == friend {
            return true;
        }
        let friend = self.loaded(friend);
        self.loaded(module).friends.iter().any(|(name, key)| {
            let key_fits = match key {
                Some(key) => *key == friend.public_key,
                None => true,
            };
            key_fits && name.eq_ignore_ascii_case(&friend.name)
        })
    }

    /// Whether `accessing` waives access checks to `accessed`.
    pub(crate) fn ignores_access_checks(&self, accessing: ModuleId, accessed: ModuleId) -> bool {
        let list = &self.loaded(accessing).ignores;
        accessing != accessed && list.iter().any(|n| n.eq_ignore_ascii_case(&self.loaded(accessed).name))
    }
}

impl LoadedModule {
    fn new(module: ModuleHandle, assembly_refs: Vec<Option<ModuleId>>) -> LoadedModule {
        let mut friends = Vec::new();
        let mut ignores = Vec::new();
        for rid in module.custom_attributes(Token::new(TableId::Assembly, 1)) {
            let Ok((namespace, name)) = module.attribute_type_name(rid) else {
                continue;
            };
            if namespace != "System.Runtime.CompilerServices" {
                continue;
            }
            let value = module
                .custom_attribute(rid)
                .ok()
                .and_then(|row| first_string(row.value));
            match (name, value) {
                ("InternalsVisibleToAttribute", Some(text)) => friends.push(parse_friend(&text)),
                ("IgnoresAccessChecksToAttribute", Some(text)) => ignores.push(parse_friend(&text).0),
                _ => {}
            }
        }
        let public_key = match module.assembly() {
            Ok(Some(row)) => row.public_key.to_vec(),
            _ => Vec::new(),
        };
        let type_refs = (0..module.row_count(TableId::TypeRef))
            .map(|_| OnceLock::new())
            .collect();
        LoadedModule {
            name: simple_name(&module),
            module,
            assembly_refs,
            type_refs,
            friends,
            ignores,
            public_key,
        }
    }
}

fn simple_name(module: &Module) -> String {
    if let Ok(Some(row)) = module.assembly() {
        return row.name.to_owned();
    }
    module
        .module_row()
        .map_or_else(|_| String::new(), |row| row.name.to_owned())
}

/// The first fixed argument of an attribute value if that is a string (ECMA-335 II.23.3).
fn first_string(value: &[u8]) -> Option<String> {
    let rest = value.strip_prefix(&[1, 0])?;
    let (len, at): (usize, usize) = match *rest.first()? {
        b if b & 0x80 == 0 => (usize::from(b), 1),
        b if b & 0xc0 == 0x80 => (usize::from(b & 0x3f) << 8 | usize::from(*rest.get(1)?), 2),
        _ => return None,
    };
    let bytes = rest.get(at..at.checked_add(len)?)?;
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// Splits `Name, PublicKey=0024..` into name and key.
fn parse_friend(text: &str) -> (String, Option<Vec<u8>>) {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default().trim().to_owned();
    let key = parts.find_map(|part| {
        let (what, value) = part.split_once('=')?;
        if !what.trim().eq_ignore_ascii_case("PublicKey") {
            return None;
        }
        let digits: Vec<u32> = value.trim().chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
        let bytes = digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8);
        Some(bytes.collect())
    });
    (name, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn friends_are_split() {
        assert_eq!(parse_friend("A.B"), ("A.B".to_owned(), None));
        assert_eq!(
            parse_friend(" X , PublicKey=00ff"),
            ("X".to_owned(), Some(vec![0, 255]))
        );
    }

    #[test]
    fn attribute_strings() {
        assert_eq!(first_string(&[1, 0, 2, b'h', b'i', 0, 0]).as_deref(), Some("hi"));
        assert_eq!(first_string(&[1, 0, 9, b'h']), None);
        assert_eq!(first_string(&[]), None);
    }
}
