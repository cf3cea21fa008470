//! An image with precompiled code: where its parts are.

use corten_metadata::Module;

use crate::clauses::Clauses;
use crate::entry_points::{EntryPoint, Instance, Instances};
use crate::error::{Fault, FormatError, Result};
use crate::functions::{FunctionId, RuntimeFunctions};
use crate::header::{Header, HeaderError, Rejection, SectionKind};
use crate::il_map::IlMaps;
use crate::imports::ImportSections;
use crate::reader::Reader;
use crate::tables::{HashTable, SparseArray};

/// Why the code of an image is not used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// The header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The image is made for something else.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// A table cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// A ReadyToRun image. Addresses are relative to the image's base (RVA).
#[derive(Clone, Debug)]
pub struct Image<'a> {
    module: &'a Module,
    header: Header,
    functions: RuntimeFunctions<'a>,
    imports: ImportSections<'a>,
    methods: SparseArray<'a>,
    instances: Option<HashTable<'a>>,
    clauses: Clauses<'a>,
    il_maps: Option<IlMaps<'a>>,
}

impl<'a> Image<'a> {
    /// The precompiled part of `module`; `None` if it is IL only.
    ///
    /// # Errors
    /// The reason why the code cannot be used.
    pub fn open(module: &'a Module) -> std::result::Result<Option<Self>, OpenError> {
        let Some(header) = Header::read(module)? else {
            return Ok(None);
        };
        if let Some(rejection) = header.rejection() {
            return Err(rejection.into());
        }
        let section = |kind, what| {
            let section = header.section(kind)?;
            let bytes = module.pe().rva_range(section.rva, section.size)?;
            Some(Reader::new(what, section.rva, bytes))
        };
        let needed = |kind, what| section(kind, what).ok_or(OpenError::from(Rejection::MissingSection(kind)));
        let functions = needed(SectionKind::RuntimeFunctions, "runtime functions")?;
        let methods = needed(SectionKind::MethodDefEntryPoints, "entry points")?;
        let imports = needed(SectionKind::ImportSections, "import sections")?;
        let instances = section(SectionKind::InstanceMethodEntryPoints, "entry points of instantiations");
        let clauses = section(SectionKind::ExceptionInfo, "exception clauses");
        let il_maps = section(SectionKind::DebugInfo, "debug information");
        let image = Self {
            module,
            functions: RuntimeFunctions::new(module, functions),
            imports: ImportSections::new(module, imports)?,
            methods: SparseArray::new(methods)?,
            instances: instances.map(HashTable::new).transpose()?,
            clauses: Clauses::new(module, clauses)?,
            il_maps: il_maps.map(IlMaps::new).transpose()?,
            header,
        };
        Ok(Some(image))
    }

    /// The assembly.
    pub fn module(&self) -> &'a Module {
        self.module
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Ranges of code with their unwind and GC info.
    pub fn functions(&self) -> &RuntimeFunctions<'a> {
        &self.functions
    }

    /// Indirection cells.
    pub fn imports(&self) -> &ImportSections<'a> {
        &self.imports
    }

    /// Exception clauses of the method whose code begins at `rva`; empty if it has none.
    ///
    /// # Errors
    /// The table contradicts itself.
    pub fn clauses(&self, rva: u32) -> Result<Vec<crate::clauses::Clause>> {
        self.clauses.of(rva)
    }

    /// Where the code of a method (by its row in MethodDef) is; `None` if there is none. Methods that are generic, or whose type
    /// is, have their code in [`Self::instances`].
    ///
    /// # Errors
    /// The table contradicts itself.
    pub fn method(&self, rid: u32) -> Result<Option<EntryPoint<'a>>> {
        let Some(index) = rid.checked_sub(1) else {
            return Ok(None);
        };
        match self.methods.get(index)? {
            Some(at) => self.checked(EntryPoint::read(at)?, at).map(Some),
            None => Ok(None),
        }
    }

    /// Rows in MethodDef that the image knows: [`Self::method`] finds nothing beyond.
    pub fn method_count(&self) -> u32 {
        self.methods.count()
    }

    /// Instantiations of generic methods, and methods of instantiated types, that have code.
    pub fn instances(&self) -> Instances<'_, 'a> {
        Instances::new(self, self.instances.map(|table| table.entries()))
    }

    /// Those of [`Self::instances`] that may have this hash code ([`crate::hash`]).
    pub fn instances_with_hash(&self, hash: u32) -> Instances<'_, 'a> {
        Instances::new(self, self.instances.map(|table| table.lookup(hash)))
    }

    pub(crate) fn instance(&self, entry: crate::tables::Entry<'a>) -> Result<Instance<'a>> {
        let instance = Instance::read(entry)?;
        self.checked(instance.entry_point, entry.contents)?;
        Ok(instance)
    }

    fn checked(&self, entry: EntryPoint<'a>, at: Reader<'a>) -> Result<EntryPoint<'a>> {
        if entry.function.0 as usize >= self.functions.len() {
            return Err(at.error(Fault::Value(entry.function.0)));
        }
        Ok(entry)
    }

    /// What positions in IL the positions in the code of a function stand for; empty if the image does not say.
    ///
    /// # Errors
    /// The table contradicts itself.
    pub fn il_map(&self, function: FunctionId) -> Result<Vec<crate::il_map::Mapping>> {
        match &self.il_maps {
            Some(maps) => maps.of(function),
            None => Ok(Vec::new()),
        }
    }
}
