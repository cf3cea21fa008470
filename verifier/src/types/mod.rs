//! The verifier's view of types: every type is a small number ([`Ty`]), equal types have equal numbers.
//!
//! A [`TypeSystem`] belongs to one thread; it interns types and caches what it computes about definitions. The modules
//! below it ([`Universe`]) are shared. Nothing here is trusted to be well formed: chains and nesting are bounded, and what
//! does not resolve is a [`LoadFailure`].

mod access;
mod cast;
mod constraints;
mod defs;
mod interfaces;
mod merge;
pub(crate) mod names;
mod resolve;
mod signature;
mod virtuals;

use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::code::Code;
use crate::universe::{DefId, ModuleId, Universe, WellKnown};

pub(crate) use defs::{Category, DefInfo, FieldInfo, MethodInfo};
pub(crate) use resolve::{Context, FieldRef, Member, MethodRef};
pub(crate) use signature::Sig;

/// A type, unique in its [`TypeSystem`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Ty(u32);

/// A row of a module's table: MethodDef, Field or GenericParam by the context.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct RowId {
    pub module: ModuleId,
    pub rid: u32,
}

/// What a [`Ty`] is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum TyKind {
    /// A definition without type arguments (also: a generic definition as such).
    Def(DefId),
    /// A generic definition with its arguments.
    Inst(DefId, Rc<[Ty]>),
    SzArray(Ty),
    Array(Ty, u8),
    ByRef(Ty),
    Ptr(Ty),
    FnPtr(Rc<Sig>),
    /// A generic parameter of the method being verified or of its type, as a type of its own (GenericParam row).
    Param(RowId),
    /// Parameter of the type by position, in signatures as they are written.
    Var(u32),
    /// Parameter of the method by position, in signatures as they are written.
    MVar(u32),
}

struct TyData {
    kind: TyKind,
    /// Nesting; bounded by [`MAX_DEPTH`].
    depth: u16,
    /// Nodes of the type written out; bounded by [`MAX_SIZE`].
    size: u32,
    /// Whether it contains [`TyKind::Var`] or [`TyKind::MVar`].
    has_vars: bool,
}

/// Deepest nesting of a type; recursion over types is bounded by it.
const MAX_DEPTH: u16 = 100;
/// Most nodes of a type.
const MAX_SIZE: u32 = 20_000;
/// Longest chain of base or enclosing types.
pub(crate) const MAX_CHAIN: usize = 1000;

/// Why something about a type cannot be answered: its metadata is malformed or refers to what does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadFailure {
    pub code: Code,
    pub message: String,
}

impl LoadFailure {
    pub fn new<T>(code: Code, message: impl Into<String>) -> TypeResult<T> {
        let message = message.into();
        Err(Box::new(LoadFailure { code, message }))
    }

    pub fn metadata(error: &corten_metadata::Error) -> Box<LoadFailure> {
        let message = error.to_string();
        let code = Code::BadImageFormatGeneric;
        Box::new(LoadFailure { code, message })
    }
}

pub(crate) type TypeResult<T> = Result<T, Box<LoadFailure>>;

pub(crate) struct TypeSystem<'u> {
    pub universe: &'u Universe,
    data: Vec<TyData>,
    numbers: FxHashMap<TyKind, Ty>,
    well_known: Vec<Ty>,
    caches: Caches<'u>,
}

#[derive(Default)]
struct Caches<'u> {
    defs: FxHashMap<DefId, TypeResult<Rc<DefInfo<'u>>>>,
    enum_underlying: FxHashMap<DefId, Ty>,
    method_names: FxHashMap<DefId, Rc<FxHashMap<&'u str, Vec<u32>>>>,
    methods: FxHashMap<RowId, TypeResult<Rc<MethodInfo<'u>>>>,
    fields: FxHashMap<RowId, TypeResult<Rc<FieldInfo<'u>>>>,
    params: FxHashMap<RowId, TypeResult<Rc<constraints::ParamInfo>>>,
    type_specs: FxHashMap<RowId, TypeResult<Ty>>,
    member_refs: FxHashMap<RowId, resolve::Found>,
    interfaces: FxHashMap<Ty, Rc<[Ty]>>,
    casts: FxHashMap<(Ty, Ty), bool>,
    accessible: FxHashMap<(DefId, Ty), bool>,
    /// Types whose interfaces are being computed: a type among its own interfaces.
    computing: Vec<Ty>,
    def_depth: u32,
    cast_depth: u32,
}

impl<'u> TypeSystem<'u> {
    pub fn new(universe: &'u Universe) -> TypeSystem<'u> {
        let mut this = TypeSystem {
            universe,
            data: Vec::new(),
            numbers: FxHashMap::default(),
            well_known: Vec::new(),
            caches: Caches::default(),
        };
        for which in 0..=WellKnown::IReadOnlyCollection as usize {
            let def = universe.well_known_def_at(which);
            let ty = this.add(TyKind::Def(def), 1, 1, false);
            this.well_known.push(ty);
        }
        this
    }

    /// A well-known type (generic ones as definitions).
    pub fn known(&self, which: WellKnown) -> Ty {
        self.well_known[which as usize]
    }

    pub fn kind(&self, ty: Ty) -> &TyKind {
        &self.data[ty.0 as usize].kind
    }

    fn add(&mut self, kind: TyKind, depth: u16, size: u32, has_vars: bool) -> Ty {
        if let Some(&ty) = self.numbers.get(&kind) {
            return ty;
        }
        let ty = Ty(self.data.len() as u32);
        self.numbers.insert(kind.clone(), ty);
        self.data.push(TyData {
            kind,
            depth,
            size,
            has_vars,
        });
        ty
    }

    /// The number of a type.
    pub fn intern(&mut self, kind: TyKind) -> TypeResult<Ty> {
        if let Some(&ty) = self.numbers.get(&kind) {
            return Ok(ty);
        }
        let mut depth = 0;
        let mut size = 1u32;
        let mut has_vars = matches!(kind, TyKind::Var(_) | TyKind::MVar(_));
        let mut add = |part: Ty| {
            let data = &self.data[part.0 as usize];
            depth = depth.max(data.depth);
            size = size.saturating_add(data.size);
            has_vars |= data.has_vars;
        };
        match &kind {
            TyKind::Inst(_, args) => args.iter().copied().for_each(&mut add),
            TyKind::SzArray(t) | TyKind::Array(t, _) | TyKind::ByRef(t) | TyKind::Ptr(t) => add(*t),
            TyKind::FnPtr(sig) => {
                add(sig.ret);
                sig.params.iter().copied().for_each(&mut add);
            }
            TyKind::Def(_) | TyKind::Param(_) | TyKind::Var(_) | TyKind::MVar(_) => {}
        }
        if depth >= MAX_DEPTH || size > MAX_SIZE {
            return LoadFailure::new(Code::ClassLoadGeneral, "type is nested too deeply");
        }
        Ok(self.add(kind, depth + 1, size, has_vars))
    }

    pub fn by_ref(&mut self, to: Ty) -> TypeResult<Ty> {
        self.intern(TyKind::ByRef(to))
    }

    pub fn sz_array(&mut self, element: Ty) -> TypeResult<Ty> {
        self.intern(TyKind::SzArray(element))
    }

    /// The generic definition with arguments, or the definition itself if there are none.
    pub fn instance(&mut self, def: DefId, args: Rc<[Ty]>) -> TypeResult<Ty> {
        if args.is_empty() {
            self.intern(TyKind::Def(def))
        } else {
            self.intern(TyKind::Inst(def, args))
        }
    }

    /// The definition behind a type, none for arrays, pointers and parameters.
    pub fn def_of(&self, ty: Ty) -> Option<DefId> {
        match self.kind(ty) {
            TyKind::Def(def) | TyKind::Inst(def, _) => Some(*def),
            _ => None,
        }
    }

    /// Type arguments; empty for all but generic instances.
    pub fn args_of(&self, ty: Ty) -> Rc<[Ty]> {
        match self.kind(ty) {
            TyKind::Inst(_, args) => args.clone(),
            _ => Rc::new([]),
        }
    }

    /// What an array, pointer or managed pointer is made of.
    pub fn element_of(&self, ty: Ty) -> Option<Ty> {
        match self.kind(ty) {
            TyKind::SzArray(t) | TyKind::Array(t, _) | TyKind::ByRef(t) | TyKind::Ptr(t) => Some(*t),
            _ => None,
        }
    }

    pub fn is_known(&self, ty: Ty, which: WellKnown) -> bool {
        self.known(which) == ty
    }
}
