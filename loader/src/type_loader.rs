//! The load levels: Allocated -> Parents -> Layout -> Vtable -> Full.
//!
//! A MethodTable has its address from the first level on, so that recursion through generic arguments is
//! legal (`class Foo : IComparable<Foo>`). Everything here runs under the loader lock.

use std::{cell::Cell, sync::atomic::Ordering};

use crate::{
    class::{ArrayInfo, LoadLevel},
    element_type::ElementType,
    error::{LoadError, Result},
    field_desc::FieldKind,
    layout,
    method_desc::MethodDesc,
    method_table::{MethodTable, flags},
    resolve::GenericContext,
    type_desc::TypeDescKind,
    type_handle::TypeHandle,
    well_known,
};

pub use crate::intern::{make_byref, make_fnptr, make_pointer};
pub(crate) use crate::{
    intern::{Args, allocate, allocate_array, interned},
    members::{blank_method, ensure_methods, load_field_type, make_fields},
};

/// Why a type whose bases or interfaces expand without end is refused.
pub(crate) const RECURSIVE: &str = "because it has recursive generic definition";

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
    let _depth = Depth::enter(|| type_load(mt.handle(), RECURSIVE))?;
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
                _ => Err(type_load(mt.handle(), "")),
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
            Err(mut e) => {
                // Not the innermost of the endless chain is to blame but the definition that starts it.
                if matches!(&e, LoadError::TypeLoad { reason, .. } if reason == RECURSIVE) {
                    // Of value types that contain themselves CoreCLR says no more than that.
                    let reason = if next == LoadLevel::Layout { "" } else { RECURSIVE };
                    e = type_load(mt.handle(), reason);
                }
                if !e.is_transient() {
                    let _ = class.failure.set(e.clone());
                }
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
                if p.def.is_interface() {
                    return Err(def.type_load("because the parent type is an interface"));
                }
                let is_sealed = p.def.attributes().contains(corten_metadata::TypeAttributes::SEALED)
                    || p.def.is_corelib_type("System", "Array");
                if is_sealed && !mt.is_value_type() {
                    return Err(def.type_load("because the parent type is sealed"));
                }
                if p.def.is_corelib_type("System", "Delegate") && !class.module.is_core_library() {
                    return Err(def.type_load("because it cannot inherit directly from the delegate class"));
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
                    .ok_or_else(|| def.type_load("because it attempts to implement a class as an interface"))?;
                add_interface(&mut declared, iface)?;
            }
        }
        None => {
            if let Some(ArrayInfo { element, sz: true, .. }) = class.array
                && element
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
            let Some(m) = methods.load(usize::from(*index))? else {
                return Err(type_load(mt.handle(), "inconsistent virtual slots"));
            };
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
                    unsafe { (*mt.header_ptr()).flags |= corten_gc_hooks::object::mt_flags::HAS_CRITICAL_FINALIZER };
                }
                // A derived class may have a finalizer of its own.
                let weak = class.def.is_some_and(|d| {
                    ["WeakReference", "WeakReference`1"]
                        .iter()
                        .any(|n| d.is_corelib_type("System", n))
                });
                if weak {
                    // SAFETY: as above.
                    unsafe { (*mt.header_ptr()).flags |= corten_gc_hooks::object::mt_flags::HAS_EAGER_FINALIZER };
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
        if i.module().is_core_library() {
            // Known to be right. It is loaded when somebody names it or calls one of its own methods; only casts look at it before.
            for a in i.instantiation() {
                ensure_full_handle(*a)?;
            }
        } else {
            ensure_full(i)?;
        }
    }
    for a in mt.instantiation() {
        ensure_full_handle(*a)?;
    }
    if let Some(a) = mt.class().array {
        ensure_full_handle(a.element)?;
    }
    for f in mt.fields() {
        if f.kind == FieldKind::Instance
            && let Some(t) = f.ty.get()
        {
            ensure_full_handle(*t)?;
        }
    }
    if !mt.contains_generic_variables() && mt.has_instantiation() {
        crate::generics::check_type_constraints(mt)?;
    }
    crate::type_rules::check(mt)?;
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
