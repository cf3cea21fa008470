//! The engine's side of the JIT-EE interface: answers the compiler's questions from the loader's structures.
//!
//! `TypeId` is the raw TypeHandle, `MethodId` the address of the MethodDesc, `FieldId` the address of the FieldDesc.

mod access;
mod comparers;
mod methods;
mod shared;
mod statics;
mod synthetic;
mod tokens;
pub mod types;

use crate::error::Raise;
use corten_jit::host_api::*;
use corten_jit::ids::{FieldId, MethodId, TypeId};
use corten_jit::ir::Helper;
use corten_jit::profile::{ClassProfile, TargetProfile};
use corten_loader::{FieldDesc, LoadError, MethodDesc, MethodKind, TypeHandle};
use corten_metadata::{MethodBody, Token};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Implements [`CompilerHost`] over the loader; one for the process.
#[derive(Default)]
pub struct EngineHost {
    types: RwLock<FxHashMap<TypeId, Arc<TypeInfo>>>,
    methods: RwLock<FxHashMap<MethodId, Arc<MethodInfo>>>,
    fields: RwLock<FxHashMap<FieldId, Arc<FieldInfo>>>,
    shared: shared::Shared,
    deferred: Mutex<Vec<DeferredError>>,
}

/// An error met while compiling, to be raised when the instruction executes.
#[derive(Clone, Debug)]
pub struct DeferredError {
    /// Class of the exception.
    pub kind: crate::error::ExceptionKind,
    /// `Message`, or `None` for the class's default.
    pub message: Option<String>,
    /// As in [`Raise::New`].
    pub subject: Option<String>,
}

/// Raw TypeHandle <-> TypeId.
pub fn type_id(t: TypeHandle) -> TypeId {
    TypeId(t.raw() as u64)
}
/// See [`type_id`].
pub fn type_handle(t: TypeId) -> TypeHandle {
    // SAFETY: TypeIds are only made from TypeHandles, which live for ever.
    match unsafe { TypeHandle::from_raw(t.0 as usize) } {
        Some(h) => h,
        None => crate::engine::fatal("a null TypeId reached the engine"),
    }
}
/// MethodDesc <-> MethodId.
pub fn method_id(m: &'static MethodDesc) -> MethodId {
    MethodId(m as *const MethodDesc as u64)
}
/// See [`method_id`].
pub fn method_desc(m: MethodId) -> &'static MethodDesc {
    // SAFETY: MethodIds are only made from MethodDescs, which live for ever.
    unsafe { &*(m.0 as *const MethodDesc) }
}
/// See [`method_id`].
pub fn field_id(f: &'static FieldDesc) -> FieldId {
    FieldId(f as *const FieldDesc as u64)
}
/// See [`method_id`].
pub fn field_desc(f: FieldId) -> &'static FieldDesc {
    // SAFETY: FieldIds are only made from FieldDescs, which live for ever.
    unsafe { &*(f.0 as *const FieldDesc) }
}

impl EngineHost {
    /// Keeps a load error for `Helper::ThrowDeferred`.
    pub(crate) fn defer(&self, e: &LoadError) -> HostError {
        self.defer_raise(crate::exceptions::from_load_error(e))
    }

    /// An error that is raised when the instruction executes.
    pub(crate) fn at_use(&self, raise: Raise) -> HostError {
        match self.defer_raise(raise) {
            HostError::Deferred { cookie, message } => HostError::AtUse { cookie, message },
            other => other,
        }
    }

    /// As [`Self::defer`], for an error of the engine.
    pub(crate) fn defer_raise(&self, raise: Raise) -> HostError {
        let text = raise.to_string();
        let (kind, message, subject) = match raise {
            Raise::New { kind, message, subject } => (kind, message, subject),
            Raise::Pending => (crate::error::ExceptionKind::TypeLoad, None, None),
        };
        let mut list = self.deferred.lock();
        list.push(DeferredError { kind, message, subject });
        HostError::Deferred {
            cookie: list.len() as u64 - 1,
            message: text,
        }
    }

    /// The error behind a cookie.
    pub fn deferred(&self, cookie: u64) -> Option<DeferredError> {
        self.deferred.lock().get(cookie as usize).cloned()
    }

    /// All errors kept so far, each once.
    pub fn deferred_messages(&self) -> std::collections::BTreeSet<String> {
        let text = |d: &DeferredError| match &d.message {
            Some(message) => format!("{:?}: {message}", d.kind),
            None => format!("{:?}", d.kind),
        };
        self.deferred.lock().iter().map(text).collect()
    }
}

impl CompilerHost for EngineHost {
    fn method_info(&self, method: MethodId) -> HostResult<Arc<MethodInfo>> {
        if let Some(m) = self.methods.read().get(&method) {
            return Ok(m.clone());
        }
        let info = Arc::new(self.make_method_info(method_desc(method))?);
        self.methods.write().insert(method, info.clone());
        Ok(info)
    }
    fn method_body(&self, method: MethodId) -> HostResult<MethodBody<'_>> {
        self.il_body(method_desc(method))
    }
    fn local_types(&self, method: MethodId) -> HostResult<Vec<(TypeId, bool)>> {
        self.make_local_types(method_desc(method))
    }
    fn method_display(&self, method: MethodId) -> String {
        method_desc(method).display_name()
    }
    fn type_info(&self, ty: TypeId) -> HostResult<Arc<TypeInfo>> {
        if let Some(t) = self.types.read().get(&ty) {
            return Ok(t.clone());
        }
        let info = Arc::new(self.make_type_info(type_handle(ty))?);
        self.types.write().insert(ty, info.clone());
        Ok(info)
    }
    fn well_known(&self, ty: WellKnownType) -> TypeId {
        self.well_known_type(ty)
    }
    fn byref_of(&self, ty: TypeId) -> HostResult<TypeId> {
        Ok(type_id(corten_loader::type_loader::make_byref(type_handle(ty))))
    }
    fn element_type(&self, ty: TypeId) -> HostResult<TypeId> {
        let t = type_handle(ty);
        match t.element_type() {
            Some(e) => Ok(type_id(e)),
            None => Err(HostError::InvalidProgram(format!(
                "{} has no element type",
                t.display_name()
            ))),
        }
    }
    fn szarray_of(&self, element: TypeId) -> HostResult<TypeId> {
        self.load(corten_loader::type_loader::make_array(type_handle(element), 1, true))
            .map(type_id)
    }
    fn dispatch_stub(&self, method: MethodId) -> HostResult<u64> {
        Ok(crate::stubs::dispatch::stub_of(method_desc(method)) as u64)
    }
    fn load_for_cast(&self, ty: TypeId) -> HostResult<()> {
        match type_handle(ty).as_method_table() {
            Some(mt) => self.load(corten_loader::ensure_full(mt)),
            None => Ok(()),
        }
    }
    fn compare_types_for_cast(&self, from: TypeId, to: TypeId) -> Option<bool> {
        self.static_cast_answer(type_handle(from), type_handle(to))
    }
    fn has_hidden_bytes(&self, ty: TypeId) -> bool {
        self.hides_bytes(type_handle(ty))
    }
    fn plain_object(&self, method_table: u64) -> Option<TypeId> {
        let ty = type_handle(TypeId(method_table));
        let mt = ty.as_method_table()?;
        (!mt.has_finalizer()).then(|| type_id(ty))
    }
    fn class_init(&self, ty: TypeId, from: MethodId) -> HostResult<ClassInit> {
        self.class_init_answer(type_handle(ty), method_desc(from))
    }
    fn static_value(&self, field: FieldId) -> Option<StaticValue> {
        statics::value(field_desc(field))
    }
    fn class_init_before(&self, method: MethodId) -> HostResult<ClassInit> {
        let md = method_desc(method);
        if crate::prestub::needs_class_init(md) {
            self.class_init_answer(md.owner().handle(), md)
        } else {
            Ok(ClassInit::NotNeeded)
        }
    }
    fn resolve_type(&self, scope: MethodId, token: Token) -> HostResult<TypeId> {
        self.token_type(method_desc(scope), token).map(type_id)
    }
    fn resolve_method(&self, scope: MethodId, token: Token) -> HostResult<Arc<MethodInfo>> {
        let from = method_desc(scope);
        let m = self.token_method(from, token)?;
        if token != synthetic::TARGET && !access::may_call(from, m) {
            return Err(self.at_use(access::denied_call(from, m)));
        }
        self.method_info(method_id(m))
    }
    fn resolve_field(&self, scope: MethodId, token: Token) -> HostResult<Arc<FieldInfo>> {
        let from = method_desc(scope);
        let f = self.token_field(from, token)?;
        if token != synthetic::TARGET && !access::may_use_field(from, f) {
            return Err(self.at_use(access::denied_field(from, f)));
        }
        self.field_info(f)
    }
    fn is_byref_like(&self, ty: TypeId) -> bool {
        type_handle(ty).as_method_table().is_some_and(|mt| mt.is_byref_like())
    }
    fn is_abstract_class(&self, ty: TypeId) -> bool {
        type_handle(ty).as_method_table().is_some_and(|mt| {
            mt.class()
                .attributes()
                .contains(corten_metadata::TypeAttributes::ABSTRACT)
        })
    }
    fn misuse(&self, misuse: Misuse) -> HostError {
        use crate::error::ExceptionKind as K;
        self.defer_raise(match misuse {
            Misuse::AbstractCall => Raise::new(K::BadImageFormat, "Bad IL format."),
            Misuse::AbstractNew => Raise::new(K::InvalidOperation, "Instances of abstract classes cannot be created."),
            Misuse::Arglist => Raise::new(K::InvalidProgram, "Vararg calling convention not supported."),
        })
    }
    fn resolve_signature(&self, scope: MethodId, token: Token) -> HostResult<Signature> {
        self.token_signature(method_desc(scope), token)
    }
    fn native_call_stub(&self, scope: MethodId, sig: &Signature) -> HostResult<Option<u64>> {
        crate::stubs::marshal::native_call_stub(method_desc(scope), sig)
            .map(|stub| stub.map(|address| address as u64))
            .map_err(|e| self.at_use(e))
    }
    fn resolve_handle(&self, scope: MethodId, token: Token) -> HostResult<TokenHandle> {
        self.token_handle(method_desc(scope), token)
    }
    fn resolve_constrained(&self, constrained: TypeId, method: MethodId) -> HostResult<Constrained> {
        self.constrained_answer(type_handle(constrained), method_desc(method))
    }
    fn field_by_name(&self, ty: TypeId, name: &str) -> Option<Arc<FieldInfo>> {
        let mt = type_handle(ty).as_method_table()?;
        let f = mt
            .class()
            .fields()
            .iter()
            .find(|f| f.name() == name && !f.is_static())?;
        self.field_info(f).ok()
    }
    fn closes_simply(&self, method: MethodId) -> bool {
        let md = method_desc(method);
        !md.is_static() && !md.is_value_type_instance_method() && md.collectible().is_none()
    }
    fn string_literal(&self, scope: MethodId, token: Token) -> HostResult<u64> {
        self.literal(method_desc(scope), token)
    }
    fn runtime_type_object(&self, ty: TypeId) -> HostResult<u64> {
        Ok(crate::type_objects::type_object(type_handle(ty)) as u64)
    }
    fn runtime_handle_object(&self, handle: TokenHandle) -> HostResult<u64> {
        Ok(match handle {
            TokenHandle::Type(t) => crate::type_objects::type_object(type_handle(t)) as u64,
            TokenHandle::Method(m) => crate::type_objects::method_stub_object(method_desc(m)) as u64,
            TokenHandle::Field(f) => crate::type_objects::field_stub_object(field_desc(f)) as u64,
        })
    }
    fn stable_entry(&self, method: MethodId) -> HostResult<u64> {
        let md = method_desc(method);
        if crate::stubs::reverse::is_unmanaged_callers_only(md) {
            return crate::stubs::reverse::native_entry(md)
                .map(|a| a as u64)
                .map_err(|e| self.defer_raise(e));
        }
        Ok(md.stable_entry() as u64)
    }
    fn near_entry(&self, method: MethodId) -> Option<u64> {
        Some(method_desc(method).stable_entry() as u64)
    }
    fn final_code(&self, method: MethodId) -> Option<u64> {
        let md = method_desc(method);
        let code = crate::tiering::newest(md)?;
        // Code that was published has run its class initialiser, or something in front of the entry still has to.
        let is_final = code.tier == corten_tiering::Tier::Tier1
            && md.kind() == MethodKind::Il
            && md.collectible().is_none()
            && md.entry() == code.address;
        is_final.then_some(code.address as u64)
    }
    fn profile_cell(&self, method: MethodId, il: u32) -> Option<u64> {
        Some(std::ptr::from_ref(crate::tiering::profile::record(method_desc(method), il)) as u64)
    }
    fn block_counters(&self, method: MethodId, blocks: &[u32]) -> Option<u64> {
        let counters = crate::tiering::profile::block_counters(method_desc(method), blocks);
        Some(counters.as_ptr() as u64)
    }
    fn block_counts(&self, method: MethodId) -> Option<Vec<(u32, u32)>> {
        crate::tiering::profile::block_counts(method_desc(method))
    }
    fn class_profile(&self, method: MethodId, il: u32) -> Option<ClassProfile> {
        crate::tiering::profile::classes(method_desc(method), il)
    }
    fn target_profile(&self, method: MethodId, il: u32) -> Option<TargetProfile> {
        crate::tiering::profile::targets(method_desc(method), il)
    }
    fn method_on_class(&self, class: TypeId, method: MethodId) -> Option<Arc<MethodInfo>> {
        let (mt, method) = (type_handle(class).as_method_table()?, method_desc(method));
        // Code that is never reached may call methods of another class (`Unsafe.As` after a test of the type).
        if self.static_cast_answer(type_handle(class), method.owner().handle()) != Some(true) {
            return None;
        }
        let target = if method.is_interface_method() {
            corten_loader::dispatch::resolve_interface(mt, method)
        } else {
            corten_loader::dispatch::resolve_virtual(mt, method)
        };
        let target = target.ok().filter(|t| t.kind() == corten_loader::MethodKind::Il)?;
        self.method_info(method_id(target)).ok()
    }
    fn helper_address(&self, helper: Helper) -> u64 {
        crate::helpers::address(helper)
    }
    fn tail_call_fields(&self) -> Option<(i32, i32)> {
        use crate::thread::offsets::{TAIL_STACK_BYTES, TAIL_TARGET};
        Some((TAIL_TARGET as i32, TAIL_STACK_BYTES as i32))
    }
    fn default_comparer(&self, getter: MethodId) -> Option<TypeId> {
        comparers::default_comparer(method_desc(getter)).map(type_id)
    }
    fn inline_barrier(&self) -> Option<InlineBarrier> {
        use corten_gc_hooks::barrier::{BarrierBounds, CARD_SHIFT, barrier_bounds};
        use std::mem::offset_of;
        Some(InlineBarrier {
            words: barrier_bounds() as u64,
            start: offset_of!(BarrierBounds, young_start) as i32,
            size: offset_of!(BarrierBounds, young_size) as i32,
            heap_start: offset_of!(BarrierBounds, heap_start) as i32,
            heap_size: offset_of!(BarrierBounds, heap_size) as i32,
            table: offset_of!(BarrierBounds, card_base) as i32,
            shift: CARD_SHIFT as u8,
        })
    }
    fn thread_static_table(&self) -> Option<ThreadStaticTable> {
        use crate::thread::offsets::{THREAD_STATICS_BASE, THREAD_STATICS_BYTES};
        Some(ThreadStaticTable {
            base: THREAD_STATICS_BASE as i32,
            bytes: THREAD_STATICS_BYTES as i32,
        })
    }
    fn cpu(&self) -> CpuFeatures {
        crate::engine::cpu_features()
    }
}

impl EngineHost {
    /// Adds the description of a type that the loader does not know: the native form of a structure, in marshalling stubs.
    pub(crate) fn add_type(&self, info: TypeInfo) {
        self.types.write().insert(info.id, Arc::new(info));
    }
    /// Maps a loader result.
    pub(crate) fn load<T>(&self, r: Result<T, LoadError>) -> HostResult<T> {
        r.map_err(|e| self.defer(&e))
    }
    /// Cached description of a field.
    pub(crate) fn field_info(&self, f: &'static FieldDesc) -> HostResult<Arc<FieldInfo>> {
        let id = field_id(f);
        if let Some(i) = self.fields.read().get(&id) {
            return Ok(i.clone());
        }
        let info = Arc::new(self.make_field_info(f)?);
        self.fields.write().insert(id, info.clone());
        Ok(info)
    }
}
