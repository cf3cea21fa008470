//! `Class`: everything about one exact type that only the engine needs (the cold half of a MethodTable).

use std::sync::{
    OnceLock,
    atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use corten_metadata::{Token, TypeAttributes};

use crate::{
    error::LoadError,
    field_desc::FieldDesc,
    method_desc::MethodDesc,
    method_table::MethodTable,
    methods::{MethodCells, Methods},
    module::Module,
    statics::{StaticStorage, ThreadStaticsLayout},
    type_def::TypeDefInfo,
    type_handle::TypeHandle,
};

/// Values of [`Class::init_state`].
pub mod init_state {
    /// The static constructor has not been started.
    pub const NOT_STARTED: u8 = 0;
    /// Initialised: generated code may use statics without a call.
    pub const DONE: u8 = 1;
    /// Some thread runs the static constructor.
    pub const RUNNING: u8 = 2;
    /// The static constructor failed; every access throws TypeInitializationException.
    pub const FAILED: u8 = 3;
}

/// Load levels; each includes the ones before it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoadLevel {
    /// Identity exists (address, category flags, instantiation).
    Allocated = 0,
    /// Exact parent and interface map are known.
    Parents = 1,
    /// Instance layout and GC descriptor are known.
    Layout = 2,
    /// Methods and vtable exist.
    Vtable = 3,
    /// Everything the type depends on is loaded too.
    Full = 4,
}

/// Element type and rank of an array type.
#[derive(Clone, Copy, Debug)]
pub struct ArrayInfo {
    /// Element type.
    pub element: TypeHandle,
    /// Number of dimensions.
    pub rank: u32,
    /// Single-dimensional with lower bound zero.
    pub sz: bool,
}

/// Result of instance field layout. Offsets are in [`FieldDesc`]s.
#[derive(Clone, Debug, Default)]
pub struct InstanceLayout {
    /// Bytes of all instance fields including base classes; for value types the size of a value.
    pub size: u32,
    /// End of the last field before trailing padding (where a derived class may continue).
    pub unaligned_size: u32,
    /// Alignment a field of this (value) type needs.
    pub field_alignment: u32,
    /// Byte offsets (value-relative; for classes relative to the first byte after the MethodTable pointer)
    /// of every object reference.
    pub gc_refs: Box<[u32]>,
    /// Byte offsets of managed pointers (only `ref struct`s have them).
    pub byrefs: Box<[u32]>,
    /// Fields were placed by the automatic algorithm (or contain such a value type).
    pub auto_layout: bool,
    /// Explicit layout with overlapping fields.
    pub has_overlap: bool,
    /// Bytes not covered by any field exist (bitwise comparison is wrong).
    pub not_tightly_packed: bool,
}

/// Cold data of one MethodTable.
pub struct Class {
    pub(crate) module: &'static Module,
    pub(crate) def: Option<&'static TypeDefInfo>,
    pub(crate) array: Option<ArrayInfo>,
    pub(crate) instantiation: Box<[TypeHandle]>,
    pub(crate) collectible: Option<&'static crate::collectible::Collectible>,
    pub(crate) method_table: AtomicPtr<MethodTable>,
    pub(crate) level: AtomicU8,
    /// Level that the current thread is computing (loader lock), to detect cycles.
    pub(crate) in_progress: AtomicU8,
    pub(crate) failure: OnceLock<LoadError>,
    pub(crate) interfaces: OnceLock<Box<[&'static MethodTable]>>,
    pub(crate) declared_interfaces: OnceLock<Box<[&'static MethodTable]>>,
    pub(crate) layout: OnceLock<InstanceLayout>,
    pub(crate) fields: OnceLock<Box<[FieldDesc]>>,
    pub(crate) methods: OnceLock<MethodCells>,
    pub(crate) vtable: OnceLock<Box<[&'static MethodDesc]>>,
    pub(crate) statics: OnceLock<StaticStorage>,
    pub(crate) thread_statics: OnceLock<ThreadStaticsLayout>,
    pub(crate) gc_series_bound: u32,
    pub(crate) dispatch_cache: crate::dispatch::DispatchCache,

    /// Class initialisation state ([`init_state`]); generated code tests the byte at this address for 1.
    pub init_state: AtomicU8,
    /// Thread (runtime's id) that runs the static constructor, 0 when none.
    pub init_owner: AtomicU64,
    /// The runtime's record of a failed initialisation (a handle slot), 0 when none.
    pub init_failure: AtomicUsize,
    /// Address of the frozen `RuntimeType` object, 0 until the runtime has made it.
    pub exposed_object: AtomicUsize,
    /// Free for the runtime (for example cached allocation helpers).
    pub runtime_data: AtomicUsize,
    /// Free for the runtime: bit set of facts computed lazily.
    pub runtime_flags: AtomicU32,
}

impl Class {
    /// Defining module.
    pub fn module(&self) -> &'static Module {
        self.module
    }

    /// The group that the type is unloaded with.
    pub fn collectible(&self) -> Option<&'static crate::collectible::Collectible> {
        self.collectible
    }

    /// Metadata view of the definition; `None` for arrays.
    pub fn definition(&self) -> Option<&'static TypeDefInfo> {
        self.def
    }

    /// TypeDef token; nil for arrays.
    pub fn typedef(&self) -> Token {
        self.def.map_or(Token::NIL, |d| d.token())
    }

    /// Type attributes; arrays are public sealed serializable.
    pub fn attributes(&self) -> TypeAttributes {
        self.def.map_or(
            TypeAttributes::PUBLIC | TypeAttributes::SEALED | TypeAttributes::SERIALIZABLE,
            |d| d.attributes(),
        )
    }

    /// Simple name (arrays: empty; use the formatter).
    pub fn name(&self) -> &'static str {
        self.def.map_or("", |d| d.name())
    }

    /// Namespace (of a nested type: empty).
    pub fn namespace(&self) -> &'static str {
        self.def.map_or("", |d| d.namespace())
    }

    /// The definition this type is nested in.
    pub fn enclosing(&self) -> Option<&'static TypeDefInfo> {
        self.def.and_then(|d| d.enclosing())
    }

    /// The MethodTable this belongs to.
    pub fn method_table(&self) -> &'static MethodTable {
        // SAFETY: set once at allocation, before the Class becomes reachable.
        unsafe { &*self.method_table.load(Ordering::Acquire) }
    }

    /// Array element and rank.
    pub fn array(&self) -> Option<ArrayInfo> {
        self.array
    }

    /// Exact type arguments.
    pub fn instantiation(&self) -> &'static [TypeHandle] {
        // SAFETY: Classes are leaked and the box is never replaced.
        unsafe { &*std::ptr::from_ref::<[TypeHandle]>(&self.instantiation) }
    }

    /// The generic definition (typical instantiation) of a generic type; the type itself otherwise.
    pub fn typical(&self) -> Result<&'static MethodTable, LoadError> {
        match self.def {
            Some(d) if d.generic_arity() != 0 => self.module.typical_type(d.token().rid()),
            _ => Ok(self.method_table()),
        }
    }

    /// Level reached so far.
    pub fn level(&self) -> LoadLevel {
        match self.level.load(Ordering::Acquire) {
            0 => LoadLevel::Allocated,
            1 => LoadLevel::Parents,
            2 => LoadLevel::Layout,
            3 => LoadLevel::Vtable,
            _ => LoadLevel::Full,
        }
    }

    /// Declared fields in metadata order (empty before level Layout).
    pub fn fields(&self) -> &'static [FieldDesc] {
        self.leak(self.fields.get().map_or(&[], |b| &b[..]))
    }

    /// Declared methods in metadata order (each made on first use).
    pub fn methods(&self) -> Methods {
        if self.methods.get().is_none() {
            // A failure has been reported by the load of this type; an unloadable type has no methods.
            let _ = crate::type_loader::ensure_methods(self.method_table());
        }
        Methods::new(self.method_table(), self.methods.get().map(|m| self.leak(m)))
    }

    /// Method per vtable slot (empty before level Vtable).
    pub fn vtable(&self) -> &'static [&'static MethodDesc] {
        self.leak(self.vtable.get().map_or(&[], |b| &b[..]))
    }

    /// Complete interface map.
    pub fn interfaces(&self) -> &'static [&'static MethodTable] {
        self.leak(self.interfaces.get().map_or(&[], |b| &b[..]))
    }

    /// Interfaces listed by this very type (and those they inherit), i.e. (re)implemented here.
    pub fn declared_interfaces(&self) -> &'static [&'static MethodTable] {
        self.leak(self.declared_interfaces.get().map_or(&[], |b| &b[..]))
    }

    fn leak<T: ?Sized>(&self, r: &T) -> &'static T {
        // SAFETY: Classes are leaked; the OnceLock contents are never replaced or dropped.
        unsafe { &*std::ptr::from_ref(r) }
    }

    /// Instance layout (default values before level Layout).
    pub fn layout(&self) -> &'static InstanceLayout {
        static EMPTY: OnceLock<InstanceLayout> = OnceLock::new();
        self.leak(
            self.layout
                .get()
                .unwrap_or_else(|| EMPTY.get_or_init(InstanceLayout::default)),
        )
    }

    /// Bytes of instance fields; the size of a value for value types.
    pub fn instance_size(&self) -> u32 {
        self.layout().size
    }

    /// Alignment of a field of this value type (at least 1).
    pub fn field_alignment(&self) -> u32 {
        self.layout().field_alignment.max(1)
    }

    /// `[InlineArray(N)]` length.
    pub fn inline_array_length(&self) -> Option<u32> {
        self.def.and_then(|d| d.inline_array_length())
    }

    /// Static constructor.
    pub fn cctor(&self) -> Option<&'static MethodDesc> {
        self.methods().with_rid(self.def?.cctor_rid()?)
    }

    /// Parameterless instance constructor of any visibility.
    pub fn default_constructor(&self) -> Option<&'static MethodDesc> {
        self.methods().with_rid(self.def?.default_ctor_rid()?)
    }

    /// `beforefieldinit`: the static constructor runs at first static field access at the latest.
    pub fn is_before_field_init(&self) -> bool {
        self.attributes().contains(TypeAttributes::BEFORE_FIELD_INIT)
    }

    /// Whether nothing needs to run before statics are used.
    pub fn is_initialized(&self) -> bool {
        self.init_state.load(Ordering::Acquire) == init_state::DONE
    }

    /// Address of the initialisation byte, stable for generated code.
    pub fn init_state_address(&self) -> usize {
        std::ptr::from_ref(&self.init_state) as usize
    }

    /// Whether the type has a static constructor that may have to run.
    pub fn has_cctor(&self) -> bool {
        self.def.is_some_and(|d| d.cctor_rid().is_some())
    }
}
