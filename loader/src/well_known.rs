//! Types of System.Private.CoreLib that the engine knows by name.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    binder::Binder,
    element_type::ElementType,
    error::{LoadError, Result},
    method_desc::{MethodDesc, NO_SLOT},
    method_table::MethodTable,
    sig_compare,
    type_def::TypeDefInfo,
    type_loader,
};

/// Definition of a top-level CoreLib type.
pub(crate) fn core_def(namespace: &str, name: &str) -> Result<&'static TypeDefInfo> {
    let core = Binder::require()?.load_core_library()?;
    match core.module().metadata().find_type_def(namespace, name) {
        Some(rid) => core.module().type_def(rid),
        None => Err(LoadError::TypeLoad {
            type_name: format!("{namespace}.{name}"),
            assembly: core.display_name(),
            reason: String::new(),
        }),
    }
}

/// A CoreLib type (or open generic definition) at level Allocated.
pub(crate) fn core_type(namespace: &str, name: &str) -> Result<&'static MethodTable> {
    let def = core_def(namespace, name)?;
    def.module().typical_allocated(def.rid())
}

static ELEMENTS: [AtomicUsize; 0x20] = [const { AtomicUsize::new(0) }; 0x20];

/// The CoreLib type of a primitive, void, string, object or typed reference, at level Allocated.
pub(crate) fn core_element(e: ElementType) -> Result<&'static MethodTable> {
    let cell = &ELEMENTS[e as usize & 0x1F];
    let p = cell.load(Ordering::Acquire);
    if p != 0 {
        // SAFETY: only addresses of leaked MethodTables are stored.
        return Ok(unsafe { &*(p as *const MethodTable) });
    }
    let name = e.corelib_name().ok_or_else(|| LoadError::NotSupported {
        what: format!("{e:?} is not a CoreLib type"),
    })?;
    let mt = core_type("System", name)?;
    cell.store(mt.address(), Ordering::Release);
    Ok(mt)
}

/// Fully loaded type of an element code (void, primitives, string, object, typedref).
///
/// # Errors
/// Load errors of CoreLib.
pub fn primitive_type(e: ElementType) -> Result<&'static MethodTable> {
    let mt = core_element(e)?;
    type_loader::ensure_full(mt)?;
    Ok(mt)
}

/// A CoreLib type (or open generic definition) by name, fully loaded. Nested types: `Outer+Inner`.
///
/// # Errors
/// TypeLoad when CoreLib has no such type.
pub fn corelib_type(namespace: &str, name: &str) -> Result<&'static MethodTable> {
    let mut parts = name.split('+');
    let mut def = core_def(namespace, parts.next().unwrap_or(name))?;
    for inner in parts {
        def = def
            .module()
            .find_nested(def.rid(), inner)?
            .ok_or_else(|| def.type_load(format!("no nested type '{inner}'")))?;
    }
    def.module().typical_type(def.rid())
}

/// Vtable slot of `Object.Finalize`.
pub(crate) fn finalize_slot() -> Option<u16> {
    static SLOT: OnceLock<u16> = OnceLock::new();
    let s = match SLOT.get() {
        Some(s) => *s,
        None => {
            let def = core_def("System", "Object").ok()?;
            let shape = def.vtable_shape().ok()?;
            let i = def.methods().iter().position(|m| m.is_named("Finalize"))?;
            let s = shape.method_slots.get(i).copied().unwrap_or(NO_SLOT);
            *SLOT.get_or_init(|| s)
        }
    };
    (s != NO_SLOT).then_some(s)
}

macro_rules! well_known {
    ($($(#[$doc:meta])* $field:ident = $ns:literal, $name:literal;)*) => {
        /// Frequently needed CoreLib types, loaded at startup.
        #[derive(Debug)]
        pub struct WellKnown {
            $($(#[$doc])* pub $field: &'static MethodTable,)*
        }

        impl WellKnown {
            fn load() -> Result<Self> {
                Ok(Self { $($field: corelib_type($ns, $name)?,)* })
            }
        }
    };
}

well_known! {
    /// `System.Object`
    object = "System", "Object";
    /// `System.String`
    string = "System", "String";
    /// `System.Array`
    array = "System", "Array";
    /// `System.ValueType`
    value_type = "System", "ValueType";
    /// `System.Enum`
    enum_ = "System", "Enum";
    /// `System.Void`
    void = "System", "Void";
    /// `System.Boolean`
    boolean = "System", "Boolean";
    /// `System.Char`
    char_ = "System", "Char";
    /// `System.SByte`
    sbyte = "System", "SByte";
    /// `System.Byte`
    byte = "System", "Byte";
    /// `System.Int16`
    int16 = "System", "Int16";
    /// `System.UInt16`
    uint16 = "System", "UInt16";
    /// `System.Int32`
    int32 = "System", "Int32";
    /// `System.UInt32`
    uint32 = "System", "UInt32";
    /// `System.Int64`
    int64 = "System", "Int64";
    /// `System.UInt64`
    uint64 = "System", "UInt64";
    /// `System.Single`
    single = "System", "Single";
    /// `System.Double`
    double = "System", "Double";
    /// `System.IntPtr`
    intptr = "System", "IntPtr";
    /// `System.UIntPtr`
    uintptr = "System", "UIntPtr";
    /// `System.TypedReference`
    typed_reference = "System", "TypedReference";
    /// `System.Delegate`
    delegate = "System", "Delegate";
    /// `System.MulticastDelegate`
    multicast_delegate = "System", "MulticastDelegate";
    /// `System.Exception`
    exception = "System", "Exception";
    /// `System.RuntimeType`
    runtime_type = "System", "RuntimeType";
    /// `System.RuntimeTypeHandle`
    runtime_type_handle = "System", "RuntimeTypeHandle";
    /// `System.RuntimeMethodHandle`
    runtime_method_handle = "System", "RuntimeMethodHandle";
    /// `System.RuntimeFieldHandle`
    runtime_field_handle = "System", "RuntimeFieldHandle";
    /// `System.RuntimeMethodInfoStub`
    runtime_method_info_stub = "System", "RuntimeMethodInfoStub";
    /// `System.RuntimeFieldInfoStub`
    runtime_field_info_stub = "System", "RuntimeFieldInfoStub";
    /// `System.RuntimeArgumentHandle`
    runtime_argument_handle = "System", "RuntimeArgumentHandle";
    /// `System.Nullable<>`
    nullable = "System", "Nullable`1";
    /// `System.Span<>`
    span = "System", "Span`1";
    /// `System.ReadOnlySpan<>`
    read_only_span = "System", "ReadOnlySpan`1";
    /// `System.SZArrayHelper`
    sz_array_helper = "System", "SZArrayHelper";
    /// `System.Threading.Thread`
    thread = "System.Threading", "Thread";
    /// `System.Reflection.RuntimeAssembly`
    runtime_assembly = "System.Reflection", "RuntimeAssembly";
    /// `System.Reflection.RuntimeModule`
    runtime_module = "System.Reflection", "RuntimeModule";
    /// `System.__Canon`
    canon = "System", "__Canon";
}

static WELL_KNOWN: OnceLock<WellKnown> = OnceLock::new();

impl WellKnown {
    /// Loads CoreLib and these types; idempotent.
    ///
    /// # Errors
    /// Load errors of CoreLib.
    pub fn init() -> Result<&'static WellKnown> {
        if let Some(w) = WELL_KNOWN.get() {
            return Ok(w);
        }
        let w = Self::load()?;
        Ok(WELL_KNOWN.get_or_init(|| w))
    }

    /// The types, once they are there: types of the core library itself load before.
    pub fn try_get() -> Option<&'static WellKnown> {
        WELL_KNOWN.get()
    }

    /// The types, after [`init`](Self::init).
    ///
    /// # Panics
    /// When `init` has not succeeded before: an error of the program, not of its input.
    #[allow(clippy::expect_used)]
    pub fn get() -> &'static WellKnown {
        WELL_KNOWN
            .get()
            .expect("WellKnown::init runs before anything else of the loader")
    }
}

/// `newobj String::.ctor(..)` calls the static `String.Ctor` with the same parameters, which returns the string.
///
/// # Errors
/// MissingMethod when there is no such `Ctor`.
pub fn string_ctor_target(ctor: &'static MethodDesc) -> Result<Option<&'static MethodDesc>> {
    if !ctor.is_ctor() || !ctor.owner().is_string() {
        return Ok(None);
    }
    let wanted = ctor.parse_signature()?;
    for m in ctor.owner().methods().named("Ctor") {
        let have = m.parse_signature()?;
        let same =
            have.params.len() == wanted.params.len()
                && have.params.iter().zip(&wanted.params).all(|(a, b)| {
                    sig_compare::types_equal(ctor.module(), a, None, m.module(), b, None).unwrap_or(false)
                });
        if same {
            return Ok(Some(m));
        }
    }
    Err(LoadError::MissingMethod {
        class: "System.String".into(),
        method: "Ctor".into(),
        signature: ctor.display_name(),
    })
}
