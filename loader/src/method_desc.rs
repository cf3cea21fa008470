//! `MethodDesc`: one method of one exact type (or one exact instantiation of a generic method).

use std::sync::{
    OnceLock,
    atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering},
};

use corten_metadata::{
    MethodAttributes, MethodBody, MethodImplAttributes, TableId, Token,
    sig::{CallingConvention, MethodSig},
};

use crate::{
    error::{LoadError, Result},
    method_table::MethodTable,
    module::Module,
    precode::{BackpatchSlots, EntryCell},
    resolve::GenericContext,
    type_handle::TypeHandle,
};

/// How a method's code comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MethodKind {
    /// Has (or will have) an IL body; abstract methods too.
    Il,
    /// `[MethodImpl(InternalCall)]`: implemented by the VM.
    InternalCall,
    /// P/Invoke (including QCalls).
    PInvoke,
    /// Delegate constructor (object, native int).
    DelegateCtor,
    /// Delegate `Invoke`.
    DelegateInvoke,
    /// Delegate `BeginInvoke`.
    DelegateBeginInvoke,
    /// Delegate `EndInvoke`.
    DelegateEndInvoke,
    /// Array constructor with one length per dimension.
    ArrayCtor,
    /// Array constructor with lower bound and length per dimension (multi-dimensional), or the constructor
    /// of a jagged array that also creates `n` inner levels.
    ArrayCtorBounds,
    /// `Get(int, ...)`.
    ArrayGet,
    /// `Set(int, ..., T)`.
    ArraySet,
    /// `Address(int, ...)`.
    ArrayAddress,
    /// A stub or DynamicMethod whose body the runtime supplies.
    Dynamic,
}

/// Resolved signature of a method: exact types.
#[derive(Clone, Debug)]
pub struct MethodSignature {
    /// Has a `this` argument.
    pub has_this: bool,
    /// `this` is spelled out as first parameter.
    pub explicit_this: bool,
    /// Calling convention.
    pub calling_convention: CallingConvention,
    /// Number of generic parameters of the method.
    pub generic_param_count: u32,
    /// Return type (`System.Void` for none; may be a byref).
    pub ret: TypeHandle,
    /// Parameters without `this`.
    pub params: Box<[TypeHandle]>,
    /// Index of the first variable argument at a vararg call site.
    pub sentinel: Option<usize>,
}

/// Slot value of methods outside the vtable.
pub const NO_SLOT: u16 = u16::MAX;

/// A method. The first word is the address that `call [md]` reaches; see `precode`.
#[repr(C)]
pub struct MethodDesc {
    pub(crate) entry: EntryCell,
    pub(crate) owner: &'static MethodTable,
    pub(crate) module: &'static Module,
    /// Address of this method's 32-byte precode (stable entry; temporary entry at +16).
    pub(crate) precode: AtomicUsize,
    pub(crate) rid: u32,
    pub(crate) slot: u16,
    pub(crate) index: u16,
    pub(crate) attributes: MethodAttributes,
    pub(crate) impl_flags: MethodImplAttributes,
    pub(crate) kind: MethodKind,
    /// Declares generic parameters and is not instantiated over arguments.
    pub(crate) is_generic_definition: bool,
    pub(crate) param_count: u16,
    pub(crate) name: &'static str,
    pub(crate) signature_blob: &'static [u8],
    pub(crate) instantiation: Box<[TypeHandle]>,
    pub(crate) adapter: AtomicUsize,
    pub(crate) slots: BackpatchSlots,
    /// Most methods of a program are never called, and their MethodDescs are many: the signature is not part of them.
    pub(crate) sig: OnceLock<Box<MethodSignature>>,
    /// Free for the runtime: its code versions.
    pub code_versions: AtomicPtr<()>,
    /// Free for the runtime: cached `RuntimeMethodInfoStub` or similar.
    pub exposed_object: AtomicUsize,
    /// Free for the runtime: resolver of a dynamic method, P/Invoke target, internal call address...
    pub runtime_data: AtomicUsize,
    /// Free for the runtime: call counter or flags.
    pub runtime_flags: AtomicU32,
}

impl PartialEq for MethodDesc {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
impl Eq for MethodDesc {}
impl std::hash::Hash for MethodDesc {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (std::ptr::from_ref(self) as usize).hash(state);
    }
}
impl std::fmt::Debug for MethodDesc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SAFETY: all MethodDescs are leaked.
        f.write_str(&unsafe { &*std::ptr::from_ref(self) }.display_name())
    }
}

macro_rules! attr {
    ($($(#[$doc:meta])* $name:ident = $flag:ident;)*) => {
        $($(#[$doc])* pub fn $name(&self) -> bool { self.attributes.contains(MethodAttributes::$flag) })*
    };
}

impl MethodDesc {
    /// Rebuilds a reference from the pointer that managed code holds (`RuntimeMethodHandleInternal`).
    ///
    /// # Safety
    /// `ptr` must be the address of a MethodDesc of this crate.
    pub unsafe fn from_ptr(ptr: usize) -> &'static MethodDesc {
        // SAFETY: the caller's promise; MethodDescs are leaked.
        unsafe { &*(ptr as *const MethodDesc) }
    }

    /// Address of this MethodDesc; also the address of its entry word.
    pub fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Declaring type, exact.
    pub fn owner(&self) -> &'static MethodTable {
        self.owner
    }

    /// Module of the declaration (for arrays: of the innermost element).
    pub fn module(&self) -> &'static Module {
        self.module
    }

    /// MethodDef token; nil for array methods and dynamic methods.
    pub fn token(&self) -> Token {
        if self.rid == 0 {
            Token::NIL
        } else {
            Token::new(TableId::MethodDef, self.rid)
        }
    }

    /// Name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Position among the declared methods of the owner (definition order).
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Number of parameters without `this`.
    pub fn param_count(&self) -> usize {
        usize::from(self.param_count)
    }

    /// Attributes.
    pub fn attributes(&self) -> MethodAttributes {
        self.attributes
    }

    /// Implementation flags.
    pub fn impl_flags(&self) -> MethodImplAttributes {
        self.impl_flags
    }

    /// How its code comes to be.
    pub fn kind(&self) -> MethodKind {
        self.kind
    }

    attr! {
        /// `static`.
        is_static = STATIC;
        /// `virtual` (including interface methods and static virtual members).
        is_virtual = VIRTUAL;
        /// `abstract`.
        is_abstract = ABSTRACT;
        /// `sealed`/`final`.
        is_final = FINAL;
        /// Has a special meaning to the runtime (.ctor, .cctor).
        is_rt_special_name = RT_SPECIAL_NAME;
    }

    /// Instance constructor.
    pub fn is_ctor(&self) -> bool {
        !self.is_static() && self.is_rt_special_name() && self.name == ".ctor"
    }

    /// Type initialiser.
    pub fn is_cctor(&self) -> bool {
        self.is_static() && self.is_rt_special_name() && self.name == ".cctor"
    }

    /// Implemented by an internal call.
    pub fn is_internal_call(&self) -> bool {
        self.kind == MethodKind::InternalCall
    }

    /// P/Invoke.
    pub fn is_pinvoke(&self) -> bool {
        self.kind == MethodKind::PInvoke
    }

    /// Code supplied by the runtime: delegate and array methods.
    pub fn is_runtime_provided(&self) -> bool {
        !matches!(
            self.kind,
            MethodKind::Il | MethodKind::InternalCall | MethodKind::PInvoke
        )
    }

    /// `[MethodImpl(Synchronized)]`.
    pub fn is_synchronized(&self) -> bool {
        self.impl_flags.contains(MethodImplAttributes::SYNCHRONIZED)
    }

    /// Declared on an interface.
    pub fn is_interface_method(&self) -> bool {
        self.owner.is_interface()
    }

    /// Vtable slot, for instance virtual methods of classes and value types; for interface methods their
    /// index among the interface's instance virtual methods.
    pub fn slot(&self) -> Option<u16> {
        if self.slot == NO_SLOT { None } else { Some(self.slot) }
    }

    /// Generic arguments of the method itself (own variables for a definition).
    pub fn instantiation(&self) -> &'static [TypeHandle] {
        // SAFETY: MethodDescs are leaked and the box is never replaced.
        unsafe { &*std::ptr::from_ref::<[TypeHandle]>(&self.instantiation) }
    }

    /// Has generic parameters of its own (definition or instantiated).
    pub fn has_method_instantiation(&self) -> bool {
        !self.instantiation.is_empty()
    }

    /// The group that the method's code is unloaded with.
    pub fn collectible(&self) -> Option<&'static crate::collectible::Collectible> {
        if !crate::collectible::any() {
            return None;
        }
        let arguments = self.instantiation.iter().filter_map(|t| t.collectible());
        crate::collectible::youngest(arguments.chain(self.owner.class().collectible()))
    }

    /// An uninstantiated generic method.
    pub fn is_generic_method_definition(&self) -> bool {
        self.is_generic_definition
    }

    /// Whether the method or its owner is open; such a method is never executed.
    pub fn contains_generic_variables(&self) -> bool {
        self.owner.contains_generic_variables() || self.instantiation.iter().any(|t| t.contains_generic_variables())
    }

    /// Generic context for resolving tokens of this method's body and signature.
    pub fn context(&'static self) -> GenericContext<'static> {
        GenericContext {
            class_inst: self.owner.instantiation(),
            method_inst: self.instantiation(),
        }
    }

    /// Raw signature blob; empty for array and dynamic methods.
    pub fn signature_blob(&self) -> &'static [u8] {
        self.signature_blob
    }

    /// Parsed (unresolved) signature.
    pub fn parse_signature(&self) -> Result<MethodSig> {
        corten_metadata::sig::parse_method(self.signature_blob).map_err(|e| self.module.bad_image(e))
    }

    /// Exact signature; loads the types it names.
    pub fn signature(&'static self) -> Result<&'static MethodSignature> {
        if let Some(s) = self.sig.get() {
            return Ok(s);
        }
        let s = crate::resolve::resolve_method_desc_signature(self)?;
        Ok(self.sig.get_or_init(|| Box::new(s)))
    }

    /// As [`signature`](Self::signature), but with `object` in place of classes that cannot be loaded: callers need not know
    /// them.
    ///
    /// # Errors
    /// Load errors of value types.
    pub fn call_site_signature(&'static self) -> Result<MethodSignature> {
        let sig = self.parse_signature()?;
        self.module.resolve_lenient_sig(&sig, self.context())
    }

    /// IL body; `None` for methods without one (abstract, extern, runtime-provided).
    pub fn body(&self) -> Result<Option<MethodBody<'static>>> {
        if self.rid == 0 || self.kind != MethodKind::Il {
            return Ok(None);
        }
        self.module
            .metadata()
            .method_body(self.rid)
            .map_err(|e| self.module.bad_image(e))
    }

    /// The same method on the generic definition of its owner, uninstantiated.
    pub fn typical_definition(&'static self) -> Result<&'static MethodDesc> {
        let owner = self.owner.class().typical()?;
        if owner == self.owner && (self.instantiation.is_empty() || self.is_generic_definition) {
            return Ok(self);
        }
        self.on_owner(owner)
    }

    /// The uninstantiated method on the same exact owner.
    pub fn generic_definition(&'static self) -> &'static MethodDesc {
        if self.instantiation.is_empty() || self.is_generic_definition {
            return self;
        }
        self.owner.methods().get(usize::from(self.index)).unwrap_or(self)
    }

    /// The same declaration on another exact instantiation of the owner's definition (uninstantiated).
    pub fn on_owner(&self, owner: &'static MethodTable) -> Result<&'static MethodDesc> {
        owner
            .methods()
            .load(usize::from(self.index))?
            .filter(|m| m.rid == self.rid)
            .ok_or_else(|| LoadError::MissingMethod {
                class: owner.handle().display_name(),
                method: self.name.to_owned(),
                signature: self.name.to_owned(),
            })
    }

    /// Instantiates this generic method definition over `args` (checked against its constraints).
    pub fn instantiate(&'static self, args: &[TypeHandle]) -> Result<&'static MethodDesc> {
        crate::generics::instantiate_method(self, args)
    }

    /// `ret Type::Name(params)`-like text for messages.
    pub fn display_name(&'static self) -> String {
        crate::names::format_method(self)
    }

    // ---- code entry ----

    /// Current target of `call [md]`.
    pub fn entry(&self) -> usize {
        self.entry.load(Ordering::Acquire)
    }

    /// A permanent address for function pointers and delegates: `jmp [md.entry]`.
    pub fn stable_entry(&self) -> usize {
        self.precode.load(Ordering::Acquire)
    }

    /// The entry that leads to the prestub whatever has been published.
    pub fn temporary_entry(&self) -> usize {
        self.stable_entry() + crate::precode::TEMPORARY_OFFSET
    }

    /// Whether code has been published.
    pub fn has_code(&self) -> bool {
        self.entry() != self.temporary_entry()
    }

    /// Publishes code: later calls through the entry word and registered vtable slots reach `code`.
    pub fn publish(&self, code: usize) {
        crate::precode::publish(&self.entry, &self.slots, code);
    }

    /// Takes published code back (next call enters the prestub again).
    pub fn reset_entry(&self) {
        crate::precode::publish(&self.entry, &self.slots, self.temporary_entry());
    }

    /// Address that expects `this` as a boxed object and calls this value type method with its payload.
    pub fn unboxing_stub(&self) -> Result<usize> {
        crate::precode::unboxing_stub(self)
    }

    /// For a static method with a return buffer: address that expects its first argument where instance methods have `this`,
    /// in front of the buffer, as delegates closed over it pass it.
    pub fn receiver_first_stub(&self) -> Result<usize> {
        crate::precode::receiver_first_stub(self)
    }

    /// What a vtable slot holds for this method on `on`: the unboxing stub for value types, else code or
    /// the stable entry.
    pub fn is_value_type_instance_method(&self) -> bool {
        self.owner.is_value_type() && !self.is_static()
    }
}
