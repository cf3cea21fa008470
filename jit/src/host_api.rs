//! The JIT-EE interface: everything the compiler asks of the engine, in one trait.
//!
//! The model is CoreCLR's `ICorJitInfo` (docs/design/coreclr/jit): the compiler owns IL semantics and code generation, the
//! host owns types, tokens, layouts and addresses. A mock host is enough to compile and test a method without a VM.

use crate::ids::{FieldId, MethodId, TypeId};
use crate::ir::Helper;
use crate::profile::{ClassProfile, TargetProfile};
use corten_metadata::{MethodBody, Token};
use std::sync::Arc;

/// How a value of a type behaves on the evaluation stack and in memory (ECMA-335 III.1.1, I.12.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum TypeKind {
    /// No value: only as a result.
    Void,
    /// Integers by their memory width; `Bool` and `Char` are `U1` and `U2`, enums are their underlying type.
    I1,
    /// `uint8`, `bool`.
    U1,
    /// `int16`.
    I2,
    /// `uint16`, `char`.
    U2,
    /// `int32`.
    I4,
    /// `uint32`.
    U4,
    /// `int64`.
    I8,
    /// `uint64`.
    U8,
    /// `IntPtr`, unmanaged pointers and function pointers.
    NInt,
    /// `UIntPtr`.
    NUInt,
    /// `float32`.
    R4,
    /// `float64`.
    R8,
    /// Object reference.
    Ref,
    /// Managed pointer.
    ByRef,
    /// Any other value type: see [`TypeInfo::fields`].
    Struct,
}

/// One primitive piece of a flattened value type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct FlatField {
    /// Byte offset in the value.
    pub offset: u32,
    /// Never `Struct` nor `Void`.
    pub kind: TypeKind,
}

/// What the compiler knows of a type. Shared and immutable.
#[derive(Clone, Debug)]
pub struct TypeInfo {
    /// The type itself.
    pub id: TypeId,
    /// Representation of its values.
    pub kind: TypeKind,
    /// Size in bytes of a value (of a reference for reference types).
    pub size: u32,
    /// Alignment in bytes.
    pub align: u32,
    /// Derives from `System.ValueType` (primitives and enums too).
    pub is_value_type: bool,
    /// For `Struct`: all primitive pieces in offset order (explicit layouts may overlap; inline arrays are repeated).
    pub fields: Arc<[FlatField]>,
    /// Contains object references or managed pointers.
    pub has_gc_pointers: bool,
    /// `Some(n)` for Vector64/128/256/512&lt;T&gt; and Vector&lt;T&gt;: bytes.
    pub vector_size: Option<u32>,
    /// Offsets of the fields of such a type of 16 bytes, at any depth, ascending.
    pub vectors: Arc<[u32]>,
    /// `Nullable<T>`: the T and the offset of its value; `hasValue` is at 0.
    pub nullable_of: Option<(TypeId, u32)>,
    /// Derives from `System.MulticastDelegate`.
    pub is_delegate: bool,
    /// An interface: casts and calls go through other tables.
    pub is_interface: bool,
    /// Sealed class, value type or array of such: exact type known from a static type.
    pub is_exact: bool,
    /// Namespace-qualified name for diagnostics and intrinsic recognition, without instantiation (`System.Span`1`).
    pub name: Arc<str>,
    /// Exact type arguments.
    pub instantiation: Arc<[TypeId]>,
    /// Value to store in an object's header word 0 (`MethodTable*`), for types that have objects (boxed for value types).
    pub method_table: u64,
}

/// A signature with every type closed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Signature {
    /// There is a `this` before the parameters.
    pub has_this: bool,
    /// Type of the result; `System.Void` for none.
    pub ret: TypeId,
    /// Without `this`.
    pub params: Arc<[TypeId]>,
    /// Who may call and how.
    pub convention: Convention,
}

/// Calling convention (ECMA-335 II.15.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Convention {
    /// System V with `this` first, the return buffer second and the thread in r15.
    Managed,
    /// Unmanaged, through a GC transition.
    Unmanaged,
    /// Unmanaged with `SuppressGCTransition`.
    UnmanagedSuppressGc,
    /// Managed with a variable number of arguments: not compiled.
    VarArg,
}

/// How a call of a method must be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// Not virtual, or final/sealed: call through the entry slot.
    Direct,
    /// `call [[obj] + offset]`, offset from the MethodTable address.
    Vtable {
        /// Of the slot, in bytes.
        offset: u32,
    },
    /// Resolve on the receiver's type, through a dispatch stub.
    Interface,
    /// Generic virtual method: helper resolves to code address.
    GenericVirtual,
}

/// What the compiler knows of a method.
#[derive(Clone, Debug)]
pub struct MethodInfo {
    /// The method itself.
    pub id: MethodId,
    /// Exact type that declares it.
    pub owner: TypeId,
    /// Closed signature.
    pub sig: Signature,
    /// `Namespace.Type` of the owner without instantiation, and the method's name: intrinsic recognition.
    pub owner_name: Arc<str>,
    /// See `owner_name`.
    pub name: Arc<str>,
    /// Method instantiation.
    pub instantiation: Arc<[TypeId]>,
    /// Has no `this`.
    pub is_static: bool,
    /// Marked `virtual`; may still be dispatched directly.
    pub is_virtual: bool,
    /// Has no body.
    pub is_abstract: bool,
    /// Marked `[Intrinsic]` (or its type is): look the name up.
    pub is_intrinsic: bool,
    /// Named `.ctor`.
    pub is_constructor: bool,
    /// `MethodImplOptions.NoInlining`.
    pub no_inlining: bool,
    /// `MethodImplOptions.AggressiveInlining`.
    pub aggressive_inlining: bool,
    /// `MethodImplOptions.Synchronized`: the body holds a lock.
    pub synchronized: bool,
    /// How `callvirt` finds the code.
    pub dispatch: Dispatch,
    /// Address of the 8-byte entry slot that holds the current code address.
    pub entry_slot: u64,
    /// Runtime-provided: `Invoke` of a delegate.
    pub is_delegate_invoke: bool,
    /// Constructor of a delegate `(object, native int)`.
    pub is_delegate_ctor: bool,
    /// `newobj` on this constructor calls that static factory instead (String..ctor -> String.Ctor).
    pub string_factory: Option<MethodId>,
    /// Array accessor (`Get`, `Set`, `Address`, `.ctor`) of `owner`.
    pub array_accessor: Option<ArrayAccessor>,
}

/// Methods of arrays that the runtime provides (ECMA-335 II.14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrayAccessor {
    /// Value of an element: (indices).
    Get,
    /// Stores an element: (indices, value).
    Set,
    /// Managed pointer to an element: (indices).
    Address,
    /// `.ctor` with that many int parameters (rank, or 2*rank with lower bounds).
    Ctor,
}

/// Where a field lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldPlace {
    /// Byte offset from the object pointer (reference types: includes the 8 bytes of the MethodTable word) or from the
    /// start of the value (value types).
    Instance {
        /// In bytes.
        offset: u32,
    },
    /// Fixed address for ever (statics, RVA data).
    Static {
        /// Of the value; for statics of a struct type, of the struct itself.
        address: u64,
    },
    /// Ask the helper for the address on the current thread: `key` is passed to `Helper::ThreadStaticAddress`.
    ThreadStatic {
        /// Names the field to the helper.
        key: u64,
        /// Where the field is once the thread has used the class ([`ThreadStaticTable`]): index of the class's block, and
        /// bytes in the block.
        place: Option<(u32, u32)>,
    },
}

/// Where a thread keeps the addresses of its blocks of thread statics: offsets from the thread register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadStaticTable {
    /// Address of the table; an entry is null as long as the thread has not used the class.
    pub base: i32,
    /// Size of the table, in bytes.
    pub bytes: i32,
}

/// What the compiler knows of a field.
#[derive(Clone, Debug)]
pub struct FieldInfo {
    /// The field itself.
    pub id: FieldId,
    /// Exact type that declares it.
    pub owner: TypeId,
    /// Its closed type.
    pub ty: TypeId,
    /// Where its value is.
    pub place: FieldPlace,
    /// Static, thread static or RVA field.
    pub is_static: bool,
    /// `initonly`: constant once the class initialiser has run.
    pub is_init_only: bool,
    /// A non-zero number of the class that declares it, the same for all its instantiations: fields of classes with different
    /// numbers are different memory. (Others may share it.)
    pub family: u32,
    /// Its name in metadata.
    pub name: Arc<str>,
}

/// What a write barrier does: if the value stored lies in a range, the byte of a table that stands for the destination becomes 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InlineBarrier {
    /// Address of these words, which change only at safepoints.
    pub words: u64,
    /// Where among them the start of the range is, and its size in bytes.
    pub start: i32,
    /// See `start`.
    pub size: i32,
    /// The heap, in the same way: destinations elsewhere are not recorded.
    pub heap_start: i32,
    /// See `heap_start`.
    pub heap_size: i32,
    /// Where the address of the table's byte for address 0 is.
    pub table: i32,
    /// Bits of an address that one byte stands for.
    pub shift: u8,
}

/// What a static read-only field holds for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaticValue {
    /// A number: its bytes, zero-extended.
    Bits(u64),
    /// An object of exactly this class, which may move.
    Object(TypeId),
}

/// What must happen before a static member of a type is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassInit {
    /// No initialiser, or it has run.
    NotNeeded,
    /// Test the byte at `flag_address` (non-zero: initialised); else call `Helper::ClassInit(type)`.
    Check {
        /// Of the byte.
        flag_address: u64,
    },
}

/// Result of resolving a `constrained.` call (ECMA-335 III.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constrained {
    /// The constrained type is a reference type: dereference the pointer and call virtually.
    Dereference,
    /// Call this method directly with the managed pointer as `this` (value type implements it) or as a static method.
    Direct(MethodId),
    /// Box the value, then call virtually.
    Box,
}

/// Why a token or method cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HostError {
    /// Something does not load: calls of the method raise this exception, and no code of it is kept, so that the next call
    /// tries again.
    #[error("{message}")]
    Deferred {
        /// Names the exception to the helper.
        cookie: u64,
        /// For diagnostics of the compiler.
        message: String,
    },
    /// The exception is raised when the instruction executes (`cookie` is passed to [`Helper::ThrowDeferred`]).
    #[error("{message}")]
    AtUse {
        /// Names the exception to the helper.
        cookie: u64,
        /// For diagnostics of the compiler.
        message: String,
    },
    /// The body is malformed: the whole method is rejected.
    #[error("invalid program: {0}")]
    InvalidProgram(String),
}

/// Uses of members that make the host refuse a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// A non-virtual call of an abstract method.
    AbstractCall,
    /// `newobj` of an abstract class.
    AbstractNew,
    /// `arglist`.
    Arglist,
}

/// Answer of `ldtoken`.
#[derive(Clone, Copy, Debug)]
pub enum TokenHandle {
    /// A `RuntimeTypeHandle`.
    Type(TypeId),
    /// A `RuntimeMethodHandle`.
    Method(MethodId),
    /// A `RuntimeFieldHandle`.
    Field(FieldId),
}

/// A standalone or deduced callsite.
pub type HostResult<T> = Result<T, HostError>;

/// Everything the compiler needs from its surroundings. Implementations must be callable from several threads.
pub trait CompilerHost: Sync {
    /// Whether values of a type cannot be boxed.
    fn is_byref_like(&self, _ty: TypeId) -> bool {
        false
    }
    /// Whether `newobj` of a class is an error.
    fn is_abstract_class(&self, _ty: TypeId) -> bool {
        false
    }
    /// The error for IL that uses a member in a way that it does not allow.
    fn misuse(&self, misuse: Misuse) -> HostError {
        HostError::InvalidProgram(format!("{misuse:?}"))
    }
    // --- the method being compiled
    /// Properties of a method; the same object at each call.
    fn method_info(&self, method: MethodId) -> HostResult<Arc<MethodInfo>>;
    /// IL body (for `Func`s imported from IL).
    fn method_body(&self, method: MethodId) -> HostResult<MethodBody<'_>>;
    /// Closed local variable types: (type, pinned).
    fn local_types(&self, method: MethodId) -> HostResult<Vec<(TypeId, bool)>>;
    /// Full display name, `Namespace.Type:Method(args)`.
    fn method_display(&self, method: MethodId) -> String;

    // --- types
    /// Properties of a type; the same object at each call.
    fn type_info(&self, ty: TypeId) -> HostResult<Arc<TypeInfo>>;
    /// Does a value type hold data that [`TypeInfo::fields`] does not show (fixed buffers, explicit sizes)?
    fn has_hidden_bytes(&self, ty: TypeId) -> bool {
        let _ = ty;
        false
    }
    /// The class of the objects with this MethodTable, if making one does nothing but take memory (no finalizer).
    fn plain_object(&self, method_table: u64) -> Option<TypeId> {
        let _ = method_table;
        None
    }
    /// A well-known type.
    fn well_known(&self, ty: WellKnownType) -> TypeId;
    /// The type `T&`.
    fn byref_of(&self, ty: TypeId) -> HostResult<TypeId>;
    /// Element type of an array, byref or pointer.
    fn element_type(&self, ty: TypeId) -> HostResult<TypeId>;
    /// The type `T[]`.
    fn szarray_of(&self, element: TypeId) -> HostResult<TypeId>;
    /// Address that calls of an interface method go to: takes the method's arguments, finds the code for the receiver's class
    /// and jumps there.
    fn dispatch_stub(&self, method: MethodId) -> HostResult<u64>;
    /// Loads what a cast to `ty` asks about, so that the cast itself, which is a leaf call, loads nothing.
    fn load_for_cast(&self, _ty: TypeId) -> HostResult<()> {
        Ok(())
    }
    /// Static answer to "is a value of `from` always/never/maybe castable to `to`".
    fn compare_types_for_cast(&self, from: TypeId, to: TypeId) -> Option<bool>;
    /// What a use of a static member of `ty` in the method `from` must do first.
    fn class_init(&self, ty: TypeId, from: MethodId) -> HostResult<ClassInit>;
    /// The value of a static `initonly` field whose class is initialised; `None` if it is not known or is null.
    fn static_value(&self, field: FieldId) -> Option<StaticValue> {
        let _ = field;
        None
    }
    /// Initialiser that a call of `method` runs before its body (precise static constructors, ECMA-335 II.10.5.3): what
    /// inlined code must do instead. The type is the method's owner.
    fn class_init_before(&self, method: MethodId) -> HostResult<ClassInit> {
        let _ = method;
        Ok(ClassInit::NotNeeded)
    }

    // --- tokens, resolved in the generic context of `scope`
    /// A TypeDef, TypeRef or TypeSpec.
    fn resolve_type(&self, scope: MethodId, token: Token) -> HostResult<TypeId>;
    /// A MethodDef, MemberRef or MethodSpec.
    fn resolve_method(&self, scope: MethodId, token: Token) -> HostResult<Arc<MethodInfo>>;
    /// A Field or MemberRef.
    fn resolve_field(&self, scope: MethodId, token: Token) -> HostResult<Arc<FieldInfo>>;
    /// The StandAloneSig of a `calli`.
    fn resolve_signature(&self, scope: MethodId, token: Token) -> HostResult<Signature>;
    /// Managed code that a `calli` of a native function with this signature goes through because values must be converted; it
    /// takes the function after the arguments. `None`: the call is direct.
    fn native_call_stub(&self, scope: MethodId, sig: &Signature) -> HostResult<Option<u64>> {
        let _ = (scope, sig);
        Ok(None)
    }
    /// Operand of `ldtoken`.
    fn resolve_handle(&self, scope: MethodId, token: Token) -> HostResult<TokenHandle>;
    /// Type of the exception that a catch clause catches.
    fn resolve_constrained(&self, constrained: TypeId, method: MethodId) -> HostResult<Constrained>;
    /// Field lookup by name in an exact type, for intrinsics and runtime-known classes (`_value` of Nullable …).
    fn field_by_name(&self, ty: TypeId, name: &str) -> Option<Arc<FieldInfo>>;
    /// Whether a delegate of that method, closed over an object, needs its target and code address only: an instance method of
    /// a class, and nothing has to keep the code alive.
    fn closes_simply(&self, method: MethodId) -> bool {
        let _ = method;
        false
    }
    /// Address of the frozen String object of a literal.
    fn string_literal(&self, scope: MethodId, token: Token) -> HostResult<u64>;
    /// Address of the frozen RuntimeType object.
    fn runtime_type_object(&self, ty: TypeId) -> HostResult<u64>;
    /// Address of a frozen `RuntimeMethodInfoStub`/`RuntimeFieldInfoStub` object for ldtoken.
    fn runtime_handle_object(&self, handle: TokenHandle) -> HostResult<u64>;
    /// Permanent entry address of a method (ldftn).
    fn stable_entry(&self, method: MethodId) -> HostResult<u64>;
    /// A permanent address that managed code may call instead of going through the method's entry slot.
    fn near_entry(&self, method: MethodId) -> Option<u64> {
        let _ = method;
        None
    }

    /// Where the code of a method starts that is never made again, if it is there already.
    fn final_code(&self, method: MethodId) -> Option<u64> {
        let _ = method;
        None
    }

    // --- profiles
    /// Address of the record of a virtual, interface or delegate call, for instrumented code: first argument of
    /// [`Helper::ProfileClass`] and [`Helper::ProfileTarget`]. `None`: not profiled.
    fn profile_cell(&self, method: MethodId, il: u32) -> Option<u64> {
        let _ = (method, il);
        None
    }
    /// What was seen at a call (see [`crate::profile`]).
    fn class_profile(&self, method: MethodId, il: u32) -> Option<ClassProfile> {
        let _ = (method, il);
        None
    }
    /// What was seen at a delegate call: methods whose [`CompilerHost::stable_entry`] is in the delegate, as `_methodPtr` of
    /// instance methods, as `_methodPtrAux` of static ones.
    fn target_profile(&self, method: MethodId, il: u32) -> Option<TargetProfile> {
        let _ = (method, il);
        None
    }
    /// Address of 32-bit counters for the blocks of a method that begin at these IL offsets (in ascending order), for
    /// instrumented code. `None`: they are not counted.
    fn block_counters(&self, method: MethodId, blocks: &[u32]) -> Option<u64> {
        let _ = (method, blocks);
        None
    }
    /// What these counters have counted: (IL offset, count) in ascending order of offsets.
    fn block_counts(&self, method: MethodId) -> Option<Vec<(u32, u32)>> {
        let _ = method;
        None
    }
    /// The method that a virtual or interface call of `method` reaches on a receiver of exactly that class; `None` if such an
    /// object cannot be one.
    fn method_on_class(&self, class: TypeId, method: MethodId) -> Option<Arc<MethodInfo>> {
        let _ = (class, method);
        None
    }

    // --- code
    /// Address of a helper's entry stub, callable with rel32 or absolute from generated code.
    fn helper_address(&self, helper: Helper) -> u64;
    /// Native function pointer cell of a P/Invoke/QCall/FCall is resolved by the stub builder, not here.
    /// Offsets from the thread register of the two words that [`Helper::TailCall`] reads: target address, and bytes of stack
    /// arguments (low half: of the callee; high half: of the caller). `None`: `tail.` calls are ordinary calls.
    fn tail_call_fields(&self) -> Option<(i32, i32)> {
        None
    }
    /// Where code finds thread statics without the helper.
    fn thread_static_table(&self) -> Option<ThreadStaticTable> {
        None
    }
    /// The exact class of what a static method returns that does nothing but return an object, the same each time: the default
    /// comparers of the class library.
    fn default_comparer(&self, getter: MethodId) -> Option<TypeId> {
        let _ = getter;
        None
    }
    /// How code records references without [`Helper::WriteBarrier`].
    fn inline_barrier(&self) -> Option<InlineBarrier> {
        None
    }
    /// Instruction sets that code may assume.
    fn cpu(&self) -> CpuFeatures;
}

/// The one value asked by intrinsics and R2R fixups (ARCHITECTURE.md Decision 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuFeatures {
    /// Everything up to SSE4.2, POPCNT (x64 V2) is present.
    pub x64_v2: bool,
    /// `lzcnt` instruction.
    pub lzcnt: bool,
    /// `movbe` instruction.
    pub movbe: bool,
    /// `andn`, `blsr`, `tzcnt` …
    pub bmi1: bool,
    /// `shlx`, `mulx`, `pdep` …
    pub bmi2: bool,
    /// Fused multiplication and addition; with the operating system's support of the registers that they name.
    pub fma: bool,
    /// Three-operand (VEX) forms of the 128-bit operations, with the operating system's support of the registers.
    pub avx: bool,
    /// The same for AVX2: broadcasts from registers and memory.
    pub avx2: bool,
}

/// Types of CoreLib that IL semantics name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum WellKnownType {
    /// `System.Void`.
    Void,
    /// `System.Object`.
    Object,
    /// `System.String`.
    String,
    /// `bool`: 1 byte.
    Boolean,
    /// `char`: a UTF-16 code unit.
    Char,
    /// `int8`.
    SByte,
    /// `uint8`.
    Byte,
    /// `int16`.
    Int16,
    /// `uint16`.
    UInt16,
    /// `int32`.
    Int32,
    /// `uint32`.
    UInt32,
    /// `int64`.
    Int64,
    /// `uint64`.
    UInt64,
    /// `native int`.
    IntPtr,
    /// `native unsigned int`.
    UIntPtr,
    /// `float32`.
    Single,
    /// `float64`.
    Double,
    /// `typedref`: a managed pointer with its type.
    TypedReference,
    /// What `ldtoken` of a type gives.
    RuntimeTypeHandle,
    /// What `ldtoken` of a method gives.
    RuntimeMethodHandle,
    /// What `ldtoken` of a field gives.
    RuntimeFieldHandle,
    /// `System.Exception`: base of what is thrown.
    Exception,
    /// `System.RuntimeType`.
    RuntimeType,
}
