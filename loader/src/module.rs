//! `Module`: one image and everything found in it so far (token caches).

use std::sync::{
    Mutex, OnceLock, RwLock,
    atomic::{AtomicPtr, AtomicUsize, Ordering},
};

use corten_metadata::{TableId, Token, UserString};
use rustc_hash::FxHashMap;

use crate::{
    assembly::{Assembly, AssemblyName},
    binder::Binder,
    dynamic_module::{Cells, DynamicScope},
    error::{LoadError, Result},
    field_desc::FieldDesc,
    method_desc::MethodDesc,
    method_table::MethodTable,
    resolve::ResolvedMethod,
    type_def::TypeDefInfo,
    type_desc::TypeDesc,
    type_handle::TypeHandle,
};

/// A loaded module. Leaked; compared by address.
pub struct Module {
    metadata: AtomicPtr<corten_metadata::Module>,
    pub(crate) emit: OnceLock<&'static DynamicScope>,
    is_core: bool,
    assembly: OnceLock<&'static Assembly>,
    typedefs: Cells<OnceLock<&'static TypeDefInfo>>,
    pub(crate) typical: Cells<AtomicUsize>,
    typerefs: Cells<OnceLock<&'static TypeDefInfo>>,
    pub(crate) assembly_refs: Cells<OnceLock<&'static Assembly>>,
    pub(crate) variables: Mutex<FxHashMap<u32, &'static TypeDesc>>,
    pub(crate) closed_types: RwLock<FxHashMap<u32, TypeHandle>>,
    pub(crate) closed_methods: RwLock<FxHashMap<u32, ResolvedMethod>>,
    pub(crate) closed_fields: RwLock<FxHashMap<u32, &'static FieldDesc>>,
    pub(crate) rva_copies: Mutex<FxHashMap<u64, usize>>,
    /// Address of the runtime's `RuntimeModule` object slot, 0 until made.
    pub exposed_object: AtomicUsize,
    /// Free for the runtime (for example the ReadyToRun image).
    pub runtime_data: AtomicUsize,
}

impl PartialEq for Module {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
impl Eq for Module {}
impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.current().path())
    }
}

impl Module {
    pub(crate) fn new(metadata: corten_metadata::Module, is_core: bool) -> Self {
        Self {
            typedefs: Cells::new(metadata.row_count(TableId::TypeDef)),
            typical: Cells::new(metadata.row_count(TableId::TypeDef)),
            typerefs: Cells::new(metadata.row_count(TableId::TypeRef)),
            assembly_refs: Cells::new(metadata.row_count(TableId::AssemblyRef)),
            metadata: AtomicPtr::new(Box::into_raw(Box::new(metadata))),
            emit: OnceLock::new(),
            is_core,
            assembly: OnceLock::new(),
            variables: Mutex::default(),
            closed_types: RwLock::default(),
            closed_methods: RwLock::default(),
            closed_fields: RwLock::default(),
            rva_copies: Mutex::default(),
            exposed_object: AtomicUsize::new(0),
            runtime_data: AtomicUsize::new(0),
        }
    }

    pub(crate) fn attach(&self, assembly: &'static Assembly) {
        let _ = self.assembly.set(assembly);
    }

    /// The metadata reader.
    pub fn metadata(&'static self) -> &'static corten_metadata::Module {
        self.current()
    }

    fn current(&self) -> &'static corten_metadata::Module {
        // SAFETY: leaked by `new` and `replace_metadata`.
        unsafe { &*self.metadata.load(Ordering::Acquire) }
    }

    /// Makes a later state of a dynamic module's metadata visible. The former one stays readable.
    pub(crate) fn replace_metadata(&self, metadata: corten_metadata::Module) {
        self.metadata
            .store(Box::into_raw(Box::new(metadata)), Ordering::Release);
    }

    /// What reflection emit has defined, in modules made by it.
    pub fn dynamic_scope(&self) -> Option<&'static DynamicScope> {
        self.emit.get().copied()
    }

    /// The assembly (set right after construction).
    pub fn assembly(&self) -> Option<&'static Assembly> {
        self.assembly.get().copied()
    }

    /// Display name of the assembly, for messages.
    pub fn assembly_display_name(&self) -> String {
        self.assembly()
            .map_or_else(|| self.current().path().to_owned(), Assembly::display_name)
    }

    /// Whether this is System.Private.CoreLib.
    pub fn is_core_library(&self) -> bool {
        self.is_core
    }

    /// Module file name from its metadata.
    pub fn name(&'static self) -> &'static str {
        self.current().module_row().map_or("", |r| r.name)
    }

    /// File of the module; empty for an image in memory.
    pub fn path(&self) -> &str {
        self.current().path()
    }

    /// A BadImageFormat error about this module.
    pub fn bad_image(&self, reason: impl std::fmt::Display) -> LoadError {
        LoadError::BadImageFormat {
            name: self.current().path().to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Definition by TypeDef row.
    ///
    /// # Errors
    /// BadImageFormat, or failures to resolve the base class.
    pub fn type_def(&'static self, rid: u32) -> Result<&'static TypeDefInfo> {
        let cell = self
            .typedefs
            .get(rid as usize)
            .filter(|_| rid != 0)
            .ok_or_else(|| self.bad_image(format!("no TypeDef row {rid}")))?;
        if let Some(d) = cell.get() {
            return Ok(d);
        }
        let _guard = crate::sync::enter_loader();
        if let Some(d) = cell.get() {
            return Ok(d);
        }
        let _depth =
            crate::type_loader::Depth::enter(|| self.bad_image("base classes nest too deeply or form a cycle"))?;
        let info = TypeDefInfo::read(self, rid)?;
        if self.dynamic_scope().is_some_and(|s| !s.is_created(rid)) {
            return Ok(Box::leak(Box::new(info)));
        }
        Ok(cell.get_or_init(|| Box::leak(Box::new(info))))
    }

    /// Definition that a TypeDef, TypeRef or TypeSpec (its head) token names.
    ///
    /// # Errors
    /// TypeLoad for a missing type, assembly errors, BadImageFormat.
    pub fn resolve_type_def(&'static self, token: Token) -> Result<&'static TypeDefInfo> {
        match token.table() {
            Some(TableId::TypeDef) => self.type_def(token.rid()),
            Some(TableId::TypeRef) => {
                let cell = self
                    .typerefs
                    .get(token.rid() as usize)
                    .ok_or_else(|| self.bad_image("TypeRef out of range"))?;
                if let Some(d) = cell.get() {
                    return Ok(d);
                }
                let d = self.resolve_type_ref(token.rid(), 0)?;
                if d.module().dynamic_scope().is_some_and(|s| !s.is_created(d.rid())) {
                    return Ok(d);
                }
                Ok(cell.get_or_init(|| d))
            }
            Some(TableId::TypeSpec) => {
                let blob = self
                    .current()
                    .type_spec(token.rid())
                    .map_err(|e| self.bad_image(e))?
                    .signature;
                match corten_metadata::sig::definition_of_type_spec(blob).map_err(|e| self.bad_image(e))? {
                    Some(t) if !t.is(TableId::TypeSpec) => self.resolve_type_def(t),
                    _ => Err(self.bad_image("a TypeSpec does not name a type definition")),
                }
            }
            _ => Err(self.bad_image(format!("{token:?} is not a type"))),
        }
    }

    fn resolve_type_ref(&'static self, rid: u32, depth: u32) -> Result<&'static TypeDefInfo> {
        let row = self.current().type_ref(rid).map_err(|e| self.bad_image(e))?;
        let missing = |assembly: String| LoadError::TypeLoad {
            type_name: if row.namespace.is_empty() {
                row.name.to_owned()
            } else {
                format!("{}.{}", row.namespace, row.name)
            },
            assembly,
            reason: String::new(),
        };
        if row.resolution_scope.is_nil() {
            let me = self
                .assembly()
                .ok_or_else(|| self.bad_image("module without assembly"))?;
            return me
                .find_type_def(row.namespace, row.name)?
                .ok_or_else(|| missing(self.assembly_display_name()));
        }
        match row.resolution_scope.table() {
            Some(TableId::Module) => match self.current().find_type_def(row.namespace, row.name) {
                Some(rid) => self.type_def(rid),
                None => Err(missing(self.assembly_display_name())),
            },
            Some(TableId::AssemblyRef) => {
                let target = self.resolve_assembly_ref(row.resolution_scope.rid())?;
                target
                    .find_type_def(row.namespace, row.name)?
                    .ok_or_else(|| missing(target.display_name()))
            }
            Some(TableId::TypeRef) if depth < 64 => {
                let outer_rid = row.resolution_scope.rid();
                let outer = match self.typerefs.get(outer_rid as usize).and_then(|c| c.get()) {
                    Some(d) => *d,
                    None => self.resolve_type_ref(outer_rid, depth + 1)?,
                };
                outer
                    .module()
                    .find_nested(outer.rid(), row.name)?
                    .ok_or_else(|| missing(outer.module().assembly_display_name()))
            }
            Some(TableId::ModuleRef) => Err(LoadError::NotSupported {
                what: "multi-module assemblies".into(),
            }),
            _ => Err(self.bad_image("TypeRef scopes nest too deeply")),
        }
    }

    /// A type nested in definition `outer`.
    ///
    /// # Errors
    /// BadImageFormat.
    pub fn find_nested(&'static self, outer: u32, name: &str) -> Result<Option<&'static TypeDefInfo>> {
        match self.current().find_nested_type(outer, name) {
            Some(rid) => self.type_def(rid).map(Some),
            None => Ok(None),
        }
    }

    /// Identity that an AssemblyRef row names.
    ///
    /// # Errors
    /// BadImageFormat.
    pub fn assembly_ref_name(&'static self, rid: u32) -> Result<AssemblyName> {
        let row = self.current().assembly_ref(rid).map_err(|e| self.bad_image(e))?;
        let key = row.public_key_or_token;
        Ok(AssemblyName {
            name: row.name.to_owned(),
            version: Some(row.version),
            culture: row.culture.to_owned(),
            public_key_token: match key.len() {
                0 => None,
                8 => key.try_into().ok(),
                _ => Some(crate::binder::public_key_token(key)),
            },
        })
    }

    /// Loads the assembly of an AssemblyRef row.
    ///
    /// # Errors
    /// Binder errors.
    pub fn resolve_assembly_ref(&'static self, rid: u32) -> Result<&'static Assembly> {
        let cell = self
            .assembly_refs
            .get(rid as usize)
            .ok_or_else(|| self.bad_image("AssemblyRef out of range"))?;
        if let Some(a) = cell.get() {
            return Ok(a);
        }
        let name = self.assembly_ref_name(rid)?;
        let me = self.assembly();
        let a = Binder::require()?.load_by_name(&name, me.map_or(0, |a| a.context()), me)?;
        Ok(cell.get_or_init(|| a))
    }

    /// The type itself, or the open generic definition, of a TypeDef row; fully loaded.
    ///
    /// # Errors
    /// Any load error of the type.
    pub fn typical_type(&'static self, rid: u32) -> Result<&'static MethodTable> {
        let mt = self.typical_allocated(rid)?;
        crate::type_loader::ensure_full(mt)?;
        Ok(mt)
    }

    pub(crate) fn typical_allocated(&'static self, rid: u32) -> Result<&'static MethodTable> {
        let cell = self
            .typical
            .get(rid as usize)
            .filter(|_| rid != 0)
            .ok_or_else(|| self.bad_image(format!("no TypeDef row {rid}")))?;
        let p = cell.load(Ordering::Acquire);
        if p != 0 {
            // SAFETY: only addresses of leaked MethodTables are stored.
            return Ok(unsafe { &*(p as *const MethodTable) });
        }
        let _guard = crate::sync::enter_loader();
        let p = cell.load(Ordering::Acquire);
        if p != 0 {
            // SAFETY: as above.
            return Ok(unsafe { &*(p as *const MethodTable) });
        }
        let def = self.type_def(rid)?;
        if rid != 1 && self.dynamic_scope().is_some_and(|s| !s.is_created(rid)) {
            return Err(def.type_load(crate::error::NOT_CREATED));
        }
        let args = crate::generics::own_variables(self, def.token())?;
        let mt = crate::type_loader::allocate(def, args)?;
        cell.store(mt.address(), Ordering::Release);
        Ok(mt)
    }

    /// The method of a MethodDef row on its typical owner.
    ///
    /// # Errors
    /// Any load error of the owner.
    pub fn typical_method(&'static self, rid: u32) -> Result<&'static MethodDesc> {
        let owner = self
            .current()
            .owner_of_method(rid)
            .ok_or_else(|| self.bad_image(format!("MethodDef {rid} has no owner")))?;
        let mt = self.typical_allocated(owner)?;
        crate::type_loader::ensure_methods(mt)?;
        let def = self.type_def(owner)?;
        let found = def.method_index(rid).map(|i| mt.methods().load(i)).transpose()?;
        found
            .flatten()
            .ok_or_else(|| self.bad_image(format!("no MethodDef row {rid}")))
    }

    /// A literal from the user string heap (token 0x70xxxxxx).
    ///
    /// # Errors
    /// BadImageFormat.
    pub fn user_string(&'static self, token: Token) -> Result<UserString<'static>> {
        self.current().user_string(token).map_err(|e| self.bad_image(e))
    }

    /// The global type `<Module>`.
    ///
    /// # Errors
    /// Any load error.
    pub fn global_type(&'static self) -> Result<&'static MethodTable> {
        self.typical_type(1)
    }
}
