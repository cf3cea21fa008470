//! The tables of all types and instantiated methods, and the creation of new ones at level Allocated.

use std::sync::{
    OnceLock, RwLock,
    atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use corten_gc_hooks::object::{MethodTableAux, MethodTableHeader};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::{
    class::{ArrayInfo, Class, LoadLevel, init_state},
    collectible::{self, Collectible},
    error::Result,
    layout,
    method_desc::MethodDesc,
    method_table::{MethodTable, VTABLE_OFFSET, flags},
    resolve::{read, write},
    type_def::{Category, TypeDefInfo},
    type_desc::{FnPtrSignature, TypeDesc, TypeDescKind},
    type_handle::TypeHandle,
    well_known,
};

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

/// A function pointer type. Which unmanaged convention it has is no part of its identity: that is said by modifiers, too.
pub fn make_fnptr(mut sig: FnPtrSignature) -> TypeHandle {
    const UNMANAGED: u8 = 9;
    if matches!(sig.calling_convention & 0x0f, 1..=4) {
        sig.calling_convention = sig.calling_convention & 0xf0 | UNMANAGED;
    }
    if let Some(d) = read(&interned().fnptrs).get(&sig) {
        return d.handle();
    }
    let mut m = write(&interned().fnptrs);
    m.entry(sig.clone())
        .or_insert_with(|| Box::leak(Box::new(TypeDesc::new(TypeDescKind::FnPtr(sig)))))
        .handle()
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
            "=The generic type '{}' was used with the wrong number of generic arguments in assembly '{}'.",
            def.plain_name(),
            def.module().assembly_display_name()
        )));
    }
    for a in &args {
        if a.is_byref()
            || a.is_void()
            || crate::WellKnown::try_get().is_some_and(|w| w.typed_reference.handle() == *a)
            || a.as_type_desc()
                .is_some_and(|d| matches!(d.kind(), TypeDescKind::Pointer(_) | TypeDescKind::FnPtr(_)))
        {
            return Err(def.type_load(format!(
                "=The generic type '{}' was used with an invalid instantiation in assembly '{}'.",
                def.plain_name(),
                def.module().assembly_display_name()
            )));
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

/// Display name of the assembly that a type is defined in.
fn assembly_of(mut t: TypeHandle) -> String {
    while let Some(e) = t.element_type() {
        t = e;
    }
    t.as_method_table()
        .map_or_else(String::new, |mt| mt.module().assembly_display_name())
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
        let dimensions = ",".repeat(rank.saturating_sub(1).min(255) as usize);
        return Err(array.type_load(format!(
            "='{element}[{dimensions}]' from assembly '{}' has too many dimensions.",
            assembly_of(element)
        )));
    }
    let why = if element.is_byref() {
        Some(("", "ByRef"))
    } else if element.is_void() {
        Some(("[]", "System.Void"))
    } else if element.is_byref_like() {
        Some(("[]", "ByRef-like"))
    } else {
        None
    };
    if let Some((suffix, kind)) = why {
        return Err(array.type_load(format!(
            "=Could not create array type '{element}{suffix}' from assembly '{}' because the element type is {kind}.",
            assembly_of(element)
        )));
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

/// The group of a new type: of its module and its arguments.
fn collectible_of(
    module: &'static crate::module::Module,
    array: Option<ArrayInfo>,
    arguments: &[TypeHandle],
) -> Option<&'static Collectible> {
    if !collectible::any() {
        return None;
    }
    let own = module.assembly().and_then(|a| collectible::of_context(a.context()));
    let element = array.and_then(|a| a.element.collectible());
    let groups = arguments.iter().filter_map(|t| t.collectible());
    let groups: SmallVec<[&'static Collectible; 4]> = groups.chain(own).chain(element).collect();
    let first = collectible::youngest(groups.iter().copied())?;
    for other in groups.iter().filter(|g| **g != first) {
        if let Some(hook) = crate::statics::hook() {
            hook.keep_alive(first, other);
        }
    }
    Some(first)
}

fn new_class(
    module: &'static crate::module::Module,
    def: Option<&'static TypeDefInfo>,
    array: Option<ArrayInfo>,
    instantiation: Box<[TypeHandle]>,
    bound: u32,
) -> &'static Class {
    let needs_init = def.is_some_and(|d| d.cctor_rid().is_some());
    let collectible = collectible_of(module, array, &instantiation);
    Box::leak(Box::new(Class {
        module,
        def,
        array,
        instantiation,
        collectible,
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
        flags: f | if class.collectible.is_some() {
            flags::COLLECTIBLE
        } else {
            0
        },
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
