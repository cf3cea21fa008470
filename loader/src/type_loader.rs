//! Creation of types and their load levels: Allocated -> Parents -> Layout -> Vtable -> Full.
//!
//! A MethodTable has its address from the first level on, so that recursion through generic arguments is
//! legal (`class Foo : IComparable<Foo>`). Everything here runs under the loader lock.

use std::{
    cell::Cell,
    sync::{
        OnceLock, RwLock,
        atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use corten_gc_hooks::object::{MethodTableAux, MethodTableHeader};
use corten_metadata::{FieldAttributes, MethodAttributes, MethodImplAttributes, sig};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::{
    class::{ArrayInfo, Class, LoadLevel, init_state},
    element_type::ElementType,
    error::{LoadError, Result},
    field_desc::{FieldDesc, FieldKind, NO_OFFSET},
    layout,
    method_desc::{MethodDesc, MethodKind, NO_SLOT},
    method_table::{MethodTable, VTABLE_OFFSET, flags},
    precode::{BackpatchSlots, EntryCell},
    resolve::{GenericContext, primitive_of, read, write},
    type_def::{Category, TypeDefInfo},
    type_desc::{FnPtrSignature, TypeDesc, TypeDescKind},
    type_handle::TypeHandle,
    well_known,
};

/// Deepest recursion of loading.
const MAX_DEPTH: u32 = 400;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Counts nested loads on this thread; dropping it leaves.
pub(crate) struct Depth(());

impl Depth {
    pub(crate) fn enter(error: impl FnOnce() -> LoadError) -> Result<Depth> {
        DEPTH.with(|d| {
            if d.get() >= MAX_DEPTH {
                return Err(error());
            }
            d.set(d.get() + 1);
            Ok(Depth(()))
        })
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        DEPTH.with(|d| d.set(d.get() - 1));
    }
}

pub(crate) type Args = SmallVec<[TypeHandle; 4]>;

#[derive(Default)]
pub(crate) struct Interned {
    types: RwLock<FxHashMap<(usize, Args), &'static MethodTable>>,
    arrays: RwLock<FxHashMap<(TypeHandle, u32, bool), &'static MethodTable>>,
    pointers: RwLock<FxHashMap<TypeHandle, &'static TypeDesc>>,
    byrefs: RwLock<FxHashMap<TypeHandle, &'static TypeDesc>>,
    fnptrs: RwLock<FxHashMap<FnPtrSignature, &'static TypeDesc>>,
    pub(crate) methods: RwLock<FxHashMap<(usize, Args), &'static MethodDesc>>,
}

pub(crate) fn interned() -> &'static Interned {
    static I: OnceLock<Interned> = OnceLock::new();
    I.get_or_init(Interned::default)
}

/// A TypeLoad error about a type.
pub(crate) fn type_load(t: TypeHandle, reason: impl Into<String>) -> LoadError {
    match t.as_method_table().and_then(|m| m.class().definition()) {
        Some(d) => d.type_load(reason),
        None => LoadError::TypeLoad {
            type_name: t.display_name(),
            assembly: t
                .as_method_table()
                .map_or_else(String::new, |m| m.module().assembly_display_name()),
            reason: reason.into(),
        },
    }
}

// ---- TypeDescs ----

fn intern_desc(
    map: &RwLock<FxHashMap<TypeHandle, &'static TypeDesc>>,
    key: TypeHandle,
    kind: fn(TypeHandle) -> TypeDescKind,
) -> TypeHandle {
    if let Some(d) = read(map).get(&key) {
        return d.handle();
    }
    let mut m = write(map);
    m.entry(key)
        .or_insert_with(|| Box::leak(Box::new(TypeDesc::new(kind(key)))))
        .handle()
}

/// `T*`.
pub fn make_pointer(t: TypeHandle) -> TypeHandle {
    intern_desc(&interned().pointers, t, TypeDescKind::Pointer)
}

/// `T&`.
pub fn make_byref(t: TypeHandle) -> TypeHandle {
    intern_desc(&interned().byrefs, t, TypeDescKind::ByRef)
}

/// A function pointer type.
pub fn make_fnptr(sig: FnPtrSignature) -> TypeHandle {
    if let Some(d) = read(&interned().fnptrs).get(&sig) {
        return d.handle();
    }
    let mut m = write(&interned().fnptrs);
    m.entry(sig.clone())
        .or_insert_with(|| Box::leak(Box::new(TypeDesc::new(TypeDescKind::FnPtr(sig)))))
        .handle()
}

/// Array of `element`; `sz` for `T[]`, otherwise a general array of `rank` dimensions.
///
/// # Errors
/// Any load error of the element; TypeLoad for impossible element types or ranks.
pub fn make_array(element: TypeHandle, rank: u32, sz: bool) -> Result<TypeHandle> {
    let mt = allocate_array(element, rank, sz)?;
    ensure_full(mt)?;
    Ok(mt.handle())
}

/// Instantiates a generic definition over arguments and loads the result fully.
///
/// # Errors
/// TypeLoad when the number of arguments or a constraint does not fit; any load error.
pub fn instantiate(definition: &'static MethodTable, args: &[TypeHandle]) -> Result<TypeHandle> {
    let def = definition
        .class()
        .definition()
        .ok_or_else(|| type_load(definition.handle(), "not a generic type"))?;
    let mt = allocate(def, args.into())?;
    ensure_full(mt)?;
    Ok(mt.handle())
}

// ---- allocation ----

/// The (interned) exact type of a definition and arguments, at least at level Allocated.
pub(crate) fn allocate(def: &'static TypeDefInfo, args: Box<[TypeHandle]>) -> Result<&'static MethodTable> {
    let key = (std::ptr::from_ref(def) as usize, Args::from_slice(&args));
    if let Some(mt) = read(&interned().types).get(&key) {
        return Ok(mt);
    }
    let _guard = crate::sync::enter_loader();
    if let Some(mt) = read(&interned().types).get(&key) {
        return Ok(mt);
    }
    if args.len() != usize::from(def.generic_arity()) {
        return Err(def.type_load(format!(
            "expected {} generic arguments, found {}",
            def.generic_arity(),
            args.len()
        )));
    }
    for a in &args {
        if a.is_byref()
            || a.is_void()
            || a.as_type_desc()
                .is_some_and(|d| matches!(d.kind(), TypeDescKind::Pointer(_) | TypeDescKind::FnPtr(_)))
        {
            return Err(def.type_load(format!("'{a}' cannot be a generic argument")));
        }
    }
    let num_virtuals = def.vtable_shape()?.slots.len();
    let bounds: SmallVec<[u32; 4]> = args.iter().map(|a| layout::gc_series::bound_of(*a)).collect();
    let bound = layout::gc_series::bound_of_definition(def, &bounds)?;

    let open = args.iter().any(|a| a.contains_generic_variables());
    let mut f = match def.category() {
        Category::Class => flags::CATEGORY_CLASS,
        Category::Interface => flags::CATEGORY_INTERFACE,
        Category::Struct => flags::CATEGORY_VALUE_TYPE,
        Category::Enum => flags::CATEGORY_PRIMITIVE,
        Category::Primitive => flags::CATEGORY_TRUE_PRIMITIVE,
        Category::Nullable => flags::CATEGORY_NULLABLE,
    };
    if open {
        f |= flags::CONTAINS_GENERIC_VARIABLES;
    }
    let is_string = def.is_corelib_type("System", "String");
    if is_string {
        f |= flags::HAS_COMPONENT_SIZE | 2;
    } else {
        if !args.is_empty() {
            f |= if is_typical(def, &args) {
                flags::LOW_GENERIC_TYPE_DEF
            } else {
                flags::LOW_GENERIC_INST
            };
        }
        if def.is_byref_like() {
            f |= flags::LOW_BYREF_LIKE;
        }
        if def.default_ctor_rid().is_some() {
            f |= flags::LOW_HAS_DEFAULT_CTOR;
        }
    }
    let class = new_class(def.module(), Some(def), None, args, bound);
    let mt = new_method_table(
        class,
        f,
        if def.is_interface() { 0 } else { num_virtuals as u16 },
        bound,
        def.rid(),
    );
    write(&interned().types).insert(key, mt);
    Ok(mt)
}

fn is_typical(def: &'static TypeDefInfo, args: &[TypeHandle]) -> bool {
    args.iter().enumerate().all(|(i, a)| {
        a.as_type_desc()
            .and_then(|d| d.as_variable())
            .is_some_and(|v| v.module == def.module() && v.owner == def.token() && usize::from(v.index) == i)
    })
}

/// The (interned) array type, at least at level Allocated.
pub(crate) fn allocate_array(element: TypeHandle, rank: u32, sz: bool) -> Result<&'static MethodTable> {
    let key = (element, rank, sz);
    if let Some(mt) = read(&interned().arrays).get(&key) {
        return Ok(mt);
    }
    let _guard = crate::sync::enter_loader();
    if let Some(mt) = read(&interned().arrays).get(&key) {
        return Ok(mt);
    }
    let array = well_known::core_def("System", "Array")?;
    if rank == 0 || rank > 32 {
        return Err(array.type_load("an array has 1 to 32 dimensions"));
    }
    if element.is_byref() || element.is_void() || element.is_byref_like() {
        return Err(array.type_load(format!("'{element}' cannot be an array element")));
    }
    let num_virtuals = array.vtable_shape()?.slots.len() as u16;
    let bound = layout::gc_series::bound_of(element) + 2;
    let mut f = flags::HAS_COMPONENT_SIZE
        | if sz {
            flags::CATEGORY_SZ_ARRAY
        } else {
            flags::CATEGORY_ARRAY
        };
    if element.contains_generic_variables() {
        f |= flags::CONTAINS_GENERIC_VARIABLES;
    }
    let module = match element.as_method_table() {
        Some(m) => m.module(),
        None => array.module(),
    };
    let class = new_class(
        module,
        None,
        Some(ArrayInfo { element, rank, sz }),
        Box::default(),
        bound,
    );
    let mt = new_method_table(class, f, num_virtuals, bound, 0);
    // SAFETY: `mt` is not published yet and the loader lock is held.
    unsafe { (*mt.header_ptr()).element_type_or_inst = element.raw() };
    class.init_state.store(init_state::DONE, Ordering::Release);
    write(&interned().arrays).insert(key, mt);
    Ok(mt)
}

fn new_class(
    module: &'static crate::module::Module,
    def: Option<&'static TypeDefInfo>,
    array: Option<ArrayInfo>,
    instantiation: Box<[TypeHandle]>,
    bound: u32,
) -> &'static Class {
    let needs_init = def.is_some_and(|d| d.cctor_rid().is_some());
    Box::leak(Box::new(Class {
        module,
        def,
        array,
        instantiation,
        method_table: AtomicPtr::default(),
        level: AtomicU8::new(LoadLevel::Allocated as u8),
        in_progress: AtomicU8::new(0),
        failure: OnceLock::new(),
        interfaces: OnceLock::new(),
        declared_interfaces: OnceLock::new(),
        layout: OnceLock::new(),
        fields: OnceLock::new(),
        methods: OnceLock::new(),
        vtable: OnceLock::new(),
        statics: OnceLock::new(),
        thread_statics: OnceLock::new(),
        gc_series_bound: bound,
        dispatch_cache: Default::default(),
        init_state: AtomicU8::new(if needs_init {
            init_state::NOT_STARTED
        } else {
            init_state::DONE
        }),
        init_owner: AtomicU64::new(0),
        init_failure: AtomicUsize::new(0),
        exposed_object: AtomicUsize::new(0),
        runtime_data: AtomicUsize::new(0),
        runtime_flags: AtomicU32::new(0),
    }))
}

fn new_method_table(class: &'static Class, f: u32, num_virtuals: u16, gc_bound: u32, rid: u32) -> &'static MethodTable {
    let gc_bytes = 8 * (2 + 2 * gc_bound as usize);
    let size = gc_bytes + VTABLE_OFFSET + 8 * usize::from(num_virtuals);
    let base = crate::arena::alloc_zeroed(size, 16) + gc_bytes;
    let aux = crate::arena::alloc_zeroed(size_of::<MethodTableAux>(), 8) as *mut MethodTableAux;
    let header = MethodTableHeader {
        flags: f,
        base_size: 0,
        flags2: rid << 8,
        num_virtuals,
        num_interfaces: 0,
        parent: std::ptr::null(),
        module: std::ptr::from_ref(class.module).cast(),
        aux,
        class: std::ptr::from_ref(class).cast(),
        element_type_or_inst: class.instantiation.as_ptr() as usize,
        interface_map: std::ptr::null(),
    };
    // SAFETY: `base` has room for the header and `num_virtuals` words, freshly allocated and zeroed, so the
    // aux structure (atomics and integers) is valid too.
    let mt = unsafe {
        (base as *mut MethodTableHeader).write(header);
        &*(base as *const MethodTable)
    };
    class
        .method_table
        .store(std::ptr::from_ref(mt).cast_mut(), Ordering::Release);
    mt
}

// ---- levels ----

/// Loads a handle fully (for TypeDescs: what it refers to).
pub(crate) fn ensure_full_handle(t: TypeHandle) -> Result<()> {
    match t.as_type_desc() {
        None => t.as_method_table().map_or(Ok(()), ensure_full),
        Some(d) => match d.kind() {
            TypeDescKind::Pointer(e) | TypeDescKind::ByRef(e) => ensure_full_handle(*e),
            // Function pointer signatures are loaded when called; variables have nothing to load.
            TypeDescKind::FnPtr(_) | TypeDescKind::Variable(_) => Ok(()),
        },
    }
}

/// Loads a type fully.
///
/// # Errors
/// The type's load failure, remembered for later requests.
pub fn ensure_full(mt: &'static MethodTable) -> Result<()> {
    ensure(mt, LoadLevel::Full)
}

/// Loads a type to a level.
///
/// # Errors
/// The type's load failure, remembered for later requests.
pub fn ensure(mt: &'static MethodTable, target: LoadLevel) -> Result<()> {
    let class = mt.class();
    if class.level() >= target {
        return Ok(());
    }
    let _guard = crate::sync::enter_loader();
    let _depth = Depth::enter(|| type_load(mt.handle(), "the type refers to itself without end"))?;
    loop {
        if let Some(e) = class.failure.get() {
            return Err(e.clone());
        }
        let level = class.level();
        if level >= target {
            return Ok(());
        }
        let bit = 1u8 << level as u8;
        let busy = class.in_progress.load(Ordering::Relaxed);
        if busy & bit != 0 {
            // Re-entered: full loading may be cyclic, the outer call completes it.
            return match level {
                LoadLevel::Vtable => Ok(()),
                _ => Err(type_load(mt.handle(), "the type contains or inherits itself")),
            };
        }
        class.in_progress.store(busy | bit, Ordering::Relaxed);
        let (done, next) = match level {
            LoadLevel::Allocated => (load_parents(mt), LoadLevel::Parents),
            LoadLevel::Parents => (layout::load_layout(mt), LoadLevel::Layout),
            LoadLevel::Layout => (load_vtable(mt), LoadLevel::Vtable),
            LoadLevel::Vtable | LoadLevel::Full => (load_dependents(mt), LoadLevel::Full),
        };
        class
            .in_progress
            .store(class.in_progress.load(Ordering::Relaxed) & !bit, Ordering::Relaxed);
        match done {
            Ok(()) => class.level.store(next as u8, Ordering::Release),
            Err(e) => {
                let _ = class.failure.set(e.clone());
                return Err(e);
            }
        }
    }
}

fn load_parents(mt: &'static MethodTable) -> Result<()> {
    let class = mt.class();
    let ctx = GenericContext::of_type(mt);
    let parent = match class.def {
        None => Some(well_known::core_type("System", "Array")?),
        Some(def) => match def.parent() {
            None => None,
            Some(p) => {
                let args = p
                    .args
                    .iter()
                    .map(|a| class.module.load_sig(a, ctx))
                    .collect::<Result<Box<[_]>>>()?;
                if p.def.is_interface()
                    || (p.def.attributes().contains(corten_metadata::TypeAttributes::SEALED) && !mt.is_value_type())
                {
                    return Err(def.type_load("the base type is sealed or an interface"));
                }
                Some(allocate(p.def, args)?)
            }
        },
    };
    let mut map: Vec<&'static MethodTable> = Vec::new();
    if let Some(p) = parent {
        ensure(p, LoadLevel::Parents)?;
        map.extend_from_slice(p.interfaces());
        // SAFETY: loader lock held, level not published yet.
        unsafe { (*mt.header_ptr()).parent = p.as_gc_ptr() };
    }
    let mut declared = Vec::new();
    match class.def {
        Some(def) => {
            let md = class.module.metadata();
            for rid in md.interface_impls(def.rid()) {
                let token = md.interface_impl(rid).map_err(|e| class.module.bad_image(e))?.interface;
                let iface = class.module.load_token(token, ctx)?;
                let iface = iface
                    .as_method_table()
                    .filter(|m| m.is_interface())
                    .ok_or_else(|| def.type_load(format!("'{iface}' is not an interface")))?;
                add_interface(&mut declared, iface)?;
            }
        }
        None => {
            if let Some(ArrayInfo { element, sz: true, .. }) = class.array {
                if element
                    .as_type_desc()
                    .is_none_or(|d| matches!(d.kind(), TypeDescKind::Variable(_)))
                {
                    for name in ["IList`1", "IReadOnlyList`1"] {
                        let def = well_known::core_def("System.Collections.Generic", name)?;
                        add_interface(&mut declared, allocate(def, Box::new([element]))?)?;
                    }
                }
            }
        }
    }
    for i in &declared {
        if !map.contains(i) {
            map.push(i);
        }
    }
    if map.len() > usize::from(u16::MAX) {
        return Err(type_load(mt.handle(), "too many interfaces"));
    }
    let castable = map.iter().any(|i| {
        i.class()
            .def
            .is_some_and(|d| d.is_corelib_type("System.Runtime.InteropServices", "IDynamicInterfaceCastable"))
    });
    let _ = class.declared_interfaces.set(declared.into());
    let map = class.interfaces.get_or_init(|| map.into());
    // SAFETY: loader lock held, level not published yet; the map is leaked with the Class and
    // `&MethodTable` has the representation of a pointer.
    unsafe {
        let h = mt.header_ptr();
        (*h).num_interfaces = map.len() as u16;
        (*h).interface_map = map.as_ptr().cast();
        if castable && !mt.is_interface() {
            (*h).flags |= flags::IDYNAMIC_INTERFACE_CASTABLE;
        }
    }
    Ok(())
}

/// Adds an interface and those it inherits.
fn add_interface(list: &mut Vec<&'static MethodTable>, iface: &'static MethodTable) -> Result<()> {
    if list.contains(&iface) {
        return Ok(());
    }
    list.push(iface);
    ensure(iface, LoadLevel::Parents)?;
    for base in iface.interfaces() {
        if !list.contains(base) {
            list.push(base);
        }
    }
    Ok(())
}

/// Makes the FieldDescs of a type (without offsets).
pub(crate) fn make_fields(mt: &'static MethodTable) -> Result<Box<[FieldDesc]>> {
    let class = mt.class();
    let Some(def) = class.def else {
        return Ok(Box::default());
    };
    let md = class.module.metadata();
    let mut fields = Vec::with_capacity(def.field_rids().len());
    for (index, rid) in def.field_rids().enumerate() {
        let row = md.field(rid).map_err(|e| class.module.bad_image(e))?;
        let kind = if !row.flags.contains(FieldAttributes::STATIC) {
            FieldKind::Instance
        } else if row.flags.contains(FieldAttributes::LITERAL) {
            FieldKind::Literal
        } else if row.flags.contains(FieldAttributes::HAS_FIELD_RVA) {
            FieldKind::Rva(0)
        } else if crate::statics::is_thread_static(class.module, rid) {
            FieldKind::ThreadStatic
        } else {
            FieldKind::Static
        };
        fields.push(FieldDesc {
            owner: mt,
            name: row.name,
            signature: row.signature,
            rid,
            index: index as u16,
            attributes: row.flags,
            element: ElementType::End,
            kind,
            offset: std::sync::atomic::AtomicU32::new(NO_OFFSET),
            ty: OnceLock::new(),
        });
    }
    for f in &mut fields {
        let sig = sig::parse_field(f.signature).map_err(|e| class.module.bad_image(e))?;
        f.element = element_of(&sig, mt);
        if f.kind == FieldKind::Rva(0) {
            f.kind = FieldKind::Rva(crate::rva::field_data(class.module, f.rid, &sig, mt)?);
        }
    }
    Ok(fields.into())
}

/// Element kind of a signature as far as visible without loading.
fn element_of(sig: &sig::TypeSig, mt: &'static MethodTable) -> ElementType {
    use sig::TypeSig;
    if let Some(e) = primitive_of(sig) {
        return match e {
            ElementType::String | ElementType::Object => ElementType::Class,
            ElementType::TypedByRef => ElementType::ValueType,
            e => e,
        };
    }
    match sig {
        TypeSig::Class(_) | TypeSig::SzArray(_) | TypeSig::Array { .. } => ElementType::Class,
        TypeSig::ValueType(_) => ElementType::ValueType,
        TypeSig::GenericInst { is_value_type, .. } => {
            if *is_value_type {
                ElementType::ValueType
            } else {
                ElementType::Class
            }
        }
        TypeSig::Ptr(_) => ElementType::Ptr,
        TypeSig::ByRef(_) => ElementType::ByRef,
        TypeSig::FnPtr(_) => ElementType::FnPtr,
        TypeSig::Var(n) => match mt.instantiation().get(*n as usize) {
            Some(t) if t.is_value_type() => match t.cor_element_type() {
                e if e.is_primitive() => e,
                _ => ElementType::ValueType,
            },
            Some(t)
                if t.as_type_desc()
                    .is_some_and(|d| !matches!(d.kind(), TypeDescKind::Variable(_))) =>
            {
                t.cor_element_type()
            }
            _ => ElementType::Class,
        },
        TypeSig::Pinned(t) => element_of(t, mt),
        TypeSig::Modified { inner, .. } => element_of(inner, mt),
        _ => ElementType::Class,
    }
}

/// Exact type of a field, fully loaded.
pub(crate) fn load_field_type(f: &FieldDesc) -> Result<TypeHandle> {
    let module = f.owner.module();
    let sig = sig::parse_field(f.signature).map_err(|e| module.bad_image(e))?;
    module.resolve_type_sig(
        &sig,
        GenericContext {
            class_inst: f.owner.instantiation(),
            method_inst: &[],
        },
    )
}

/// Makes the MethodDescs of a type.
pub(crate) fn ensure_methods(mt: &'static MethodTable) -> Result<()> {
    let class = mt.class();
    if class.methods.get().is_some() {
        return Ok(());
    }
    let _guard = crate::sync::enter_loader();
    if class.methods.get().is_some() {
        return Ok(());
    }
    let methods = match (class.def, class.array) {
        (Some(def), _) => def_methods(mt, def)?,
        (None, Some(a)) => array_methods(mt, a),
        (None, None) => Vec::new(),
    };
    let methods: Box<[MethodDesc]> = methods.into();
    crate::precode::attach_precode(&methods)?;
    let _ = class.methods.set(methods);
    Ok(())
}

fn def_methods(mt: &'static MethodTable, def: &'static TypeDefInfo) -> Result<Vec<MethodDesc>> {
    let shape = def.vtable_shape()?;
    let module = def.module();
    let mut out = Vec::with_capacity(def.methods().len());
    for (i, row) in def.methods().iter().enumerate() {
        let rid = def.method_rid(i);
        // Signature: convention byte, then for generic methods the arity, then the parameter count.
        let generic = row.signature.first().is_some_and(|b| b & 0x10 != 0);
        let mut reader = sig::SigReader::new(row.signature);
        let counts = reader.byte().and_then(|_| {
            let arity = if generic { reader.unsigned()? } else { 0 };
            Ok((arity, reader.unsigned()?))
        });
        let (_, params) = counts.map_err(|e| module.bad_image(e))?;
        let variables = if generic {
            crate::generics::own_variables(
                module,
                corten_metadata::Token::new(corten_metadata::TableId::MethodDef, rid),
            )?
        } else {
            Box::default()
        };
        let kind = method_kind(def, row.name, row.attributes, row.impl_flags);
        out.push(MethodDesc {
            is_generic_definition: !variables.is_empty(),
            ..blank_method(
                mt,
                module,
                kind,
                rid,
                i as u16,
                shape.method_slots.get(i).copied().unwrap_or(NO_SLOT),
                row.name,
                row.signature,
                row.attributes,
                row.impl_flags,
                params as u16,
                variables,
            )
        });
    }
    Ok(out)
}

fn method_kind(
    def: &TypeDefInfo,
    name: &str,
    attributes: MethodAttributes,
    impl_flags: MethodImplAttributes,
) -> MethodKind {
    if attributes.contains(MethodAttributes::PINVOKE_IMPL) {
        return MethodKind::PInvoke;
    }
    if impl_flags.contains(MethodImplAttributes::INTERNAL_CALL) {
        return MethodKind::InternalCall;
    }
    if impl_flags & MethodImplAttributes::CODE_TYPE_MASK == MethodImplAttributes::RUNTIME && def.is_delegate() {
        return match name {
            ".ctor" => MethodKind::DelegateCtor,
            "BeginInvoke" => MethodKind::DelegateBeginInvoke,
            "EndInvoke" => MethodKind::DelegateEndInvoke,
            _ => MethodKind::DelegateInvoke,
        };
    }
    MethodKind::Il
}

#[allow(clippy::too_many_arguments)]
pub(crate) fn blank_method(
    owner: &'static MethodTable,
    module: &'static crate::module::Module,
    kind: MethodKind,
    rid: u32,
    index: u16,
    slot: u16,
    name: &'static str,
    signature: &'static [u8],
    attributes: MethodAttributes,
    impl_flags: MethodImplAttributes,
    params: u16,
    instantiation: Box<[TypeHandle]>,
) -> MethodDesc {
    MethodDesc {
        entry: EntryCell::new(0),
        owner,
        module,
        precode: AtomicUsize::new(0),
        rid,
        slot,
        index,
        attributes,
        impl_flags,
        kind,
        is_generic_definition: false,
        param_count: params,
        name,
        signature_blob: signature,
        instantiation,
        unboxing_stub: AtomicUsize::new(0),
        slots: BackpatchSlots::default(),
        sig: OnceLock::new(),
        code_versions: AtomicPtr::default(),
        exposed_object: AtomicUsize::new(0),
        runtime_data: AtomicUsize::new(0),
        runtime_flags: AtomicU32::new(0),
    }
}

fn array_methods(mt: &'static MethodTable, a: ArrayInfo) -> Vec<MethodDesc> {
    let rank = a.rank as u16;
    let accessor = MethodAttributes::PUBLIC;
    let ctor = MethodAttributes::PUBLIC | MethodAttributes::SPECIAL_NAME | MethodAttributes::RT_SPECIAL_NAME;
    let mut list = vec![
        (MethodKind::ArrayGet, "Get", rank, accessor),
        (MethodKind::ArraySet, "Set", rank + 1, accessor),
        (MethodKind::ArrayAddress, "Address", rank, accessor),
        (MethodKind::ArrayCtor, ".ctor", rank, ctor),
    ];
    if a.sz {
        // Jagged arrays: one constructor per number of levels it creates.
        let mut inner = a.element.as_method_table();
        let mut levels = 1;
        while let Some(ArrayInfo { element, sz: true, .. }) = inner.and_then(|m| m.class().array()) {
            levels += 1;
            list.push((MethodKind::ArrayCtorBounds, ".ctor", levels, ctor));
            inner = element.as_method_table();
        }
    } else {
        list.push((MethodKind::ArrayCtorBounds, ".ctor", 2 * rank, ctor));
    }
    list.into_iter()
        .enumerate()
        .map(|(i, (kind, name, params, attributes))| {
            blank_method(
                mt,
                mt.module(),
                kind,
                0,
                i as u16,
                NO_SLOT,
                name,
                &[],
                attributes,
                MethodImplAttributes::empty(),
                params,
                Box::default(),
            )
        })
        .collect()
}

fn load_vtable(mt: &'static MethodTable) -> Result<()> {
    let class = mt.class();
    ensure_methods(mt)?;
    let mut table: Vec<&'static MethodDesc> = Vec::with_capacity(usize::from(mt.num_virtuals()));
    if let Some(p) = mt.parent() {
        ensure(p, LoadLevel::Vtable)?;
        table.extend_from_slice(p.class().vtable());
    }
    if let Some(def) = class.def.filter(|d| !d.is_interface()) {
        let methods = mt.methods();
        for (slot, index) in &def.vtable_shape()?.own {
            let m = &methods[usize::from(*index)];
            match table.get_mut(usize::from(*slot)) {
                Some(s) => *s = m,
                None => table.push(m),
            }
        }
    } else if class.def.is_some() {
        table.clear();
    }
    if table.len() != usize::from(mt.num_virtuals()) {
        return Err(type_load(mt.handle(), "inconsistent virtual slots"));
    }
    let open = mt.contains_generic_variables();
    for (i, m) in table.iter().enumerate() {
        let Some(cell) = mt.vtable_slot_cell(i as u16) else {
            continue;
        };
        if m.owner.is_value_type() {
            cell.store(m.unboxing_stub()?, Ordering::Release);
        } else if open {
            cell.store(m.stable_entry(), Ordering::Release);
        } else {
            crate::precode::fill_slot(m, cell);
        }
    }
    if let Some(f) = table.first() {
        // Object's slot 0 is Finalize; a type that replaces it has a finalizer.
        if let Some(finalize) = well_known::finalize_slot() {
            let f = table.get(usize::from(finalize)).unwrap_or(f);
            let object = well_known::core_element(ElementType::Object)?;
            if f.owner != object && !mt.is_interface() && !mt.is_value_type() {
                // SAFETY: loader lock held, level not published yet.
                unsafe { (*mt.header_ptr()).flags |= flags::HAS_FINALIZER };
                let critical = mt.ancestry().any(|a| {
                    a.class().def.is_some_and(|d| {
                        d.is_corelib_type("System.Runtime.ConstrainedExecution", "CriticalFinalizerObject")
                    })
                });
                if critical && !mt.has_component_size() {
                    // SAFETY: as above.
                    unsafe { (*mt.header_ptr()).flags |= 2 };
                }
            }
        }
    }
    let _ = class.vtable.set(table.into());
    Ok(())
}

fn load_dependents(mt: &'static MethodTable) -> Result<()> {
    if let Some(p) = mt.parent() {
        ensure_full(p)?;
    }
    for i in mt.interfaces() {
        ensure_full(i)?;
    }
    for a in mt.instantiation() {
        ensure_full_handle(*a)?;
    }
    if let Some(a) = mt.class().array {
        ensure_full_handle(a.element)?;
    }
    for f in mt.fields() {
        if f.kind == FieldKind::Instance {
            if let Some(t) = f.ty.get() {
                ensure_full_handle(*t)?;
            }
        }
    }
    if !mt.contains_generic_variables() && mt.has_instantiation() {
        crate::generics::check_type_constraints(mt)?;
    }
    if needs_implementation_check(mt) {
        crate::dispatch::check_implemented(mt)?;
    }
    Ok(())
}

/// Concrete classes of assemblies that have not been precompiled (a compiler that checked them made the others).
fn needs_implementation_check(mt: &'static MethodTable) -> bool {
    mt.class().def.is_some_and(|d| {
        !d.is_interface()
            && !d.attributes().contains(corten_metadata::TypeAttributes::ABSTRACT)
            && d.module().metadata().pe().managed_native_header().is_none()
    }) && !mt.contains_generic_variables()
        && !mt.interfaces().is_empty()
}
