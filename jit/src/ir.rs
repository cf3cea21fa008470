//! The JIT's own intermediate representation, between IL and CLIF.
//!
//! * A [`Func`] is a list of basic blocks of instructions in SSA form; a value is used only in the block that defines it
//!   (values that cross blocks go through locals; the Tier-1 passes promote locals to block parameters).
//! * Struct values are values like others (`Ty::Struct`); lowering keeps them in memory.
//! * Everything that can throw, allocate or reach a safepoint is an explicit operation.
//! * Exception regions are explicit: each block names the list of clauses that protect it ([`ProtectId`]).
//!   `leave` and `endfinally` are already expanded by the importer into selector locals and switches, so lowering only
//!   makes landing pads: the pad of a catch stores the exception in `exception_local` and jumps to the handler; the pad of
//!   a finally/fault stores exception, dispatch record and selector 0, and jumps to the handler.
#![allow(
    missing_docs,
    reason = "variants and their operands are named after the IL or machine operation they stand for; what a name does not say is documented"
)]

use crate::host_api::Signature;
use crate::ids::{MethodId, TypeId};
use cranelift_entity::{PrimaryMap, entity_impl};

macro_rules! entity {
    ($name:ident, $prefix:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u32);
        entity_impl!($name, $prefix);
    };
}
entity!(Value, "v", "An SSA value.");
entity!(Block, "block", "A basic block.");
entity!(
    Local,
    "loc",
    "A local variable: IL arguments first, then IL locals, then importer temporaries."
);
entity!(
    ProtectId,
    "protect",
    "An interned list of clauses that protect a block, innermost first. Id 0 is the empty list."
);
entity!(
    ClauseId,
    "clause",
    "Index of an EH clause, in the order of the method's EH table."
);

/// Type of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Ty {
    I32,
    I64,
    F32,
    F64,
    /// Object reference.
    Ref,
    /// Managed pointer.
    ByRef,
    /// A value type that is not one of the above.
    Struct(TypeId),
}

/// Type of a memory access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum MemTy {
    I8,
    U8,
    I16,
    U16,
    I32,
    I64,
    F32,
    F64,
    Ref,
    ByRef,
    Struct(TypeId),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum BinOp {
    Add,
    Sub,
    Mul,
    /// Signed/unsigned division: operands were checked by [`Op::DivCheck`] before.
    Div,
    DivUn,
    Rem,
    RemUn,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    ShrUn,
}

/// Checked arithmetic; raises OverflowException.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum OvfOp {
    Add,
    AddUn,
    Sub,
    SubUn,
    Mul,
    MulUn,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum UnOp {
    Neg,
    Not,
}

/// Conversions. Sources are I32, I64 (ByRef/Ref only for the identity-like `RefToInt`), F32, F64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ConvOp {
    /// Truncate an integer to the width and extend back to I32.
    Sext8,
    Zext8,
    Sext16,
    Zext16,
    /// I64 -> I32.
    Trunc,
    /// I32 -> I64.
    SextI64,
    ZextI64,
    /// Float -> integer, saturating, NaN -> 0 (.NET 9).
    FloatToI32,
    FloatToU32,
    FloatToI64,
    FloatToU64,
    /// Integer (I32 or I64) -> float, signed or unsigned source.
    I2F32,
    I2F64,
    U2F32,
    U2F64,
    F32ToF64,
    F64ToF32,
    /// Same bits, other tracking: a managed pointer or reference becomes an I64 and the reverse.
    RefToInt,
    IntToByRef,
    /// Reference -> managed pointer (`Unsafe.As` on references, pinning) and ByRef -> Ref for `Unsafe` tricks.
    RefToByRef,
    ByRefToRef,
    /// Same width, other register file.
    BitcastF32I32,
    BitcastI32F32,
    BitcastF64I64,
    BitcastI64F64,
}

/// `conv.ovf.*`: target width and signedness, from a signed or unsigned integer or a float; raises OverflowException.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct ConvOvf {
    /// 8, 16, 32 or 64.
    pub bits: u8,
    pub signed: bool,
    /// Source is treated as unsigned (`.un`).
    pub from_unsigned: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Cond {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Unsigned for integers; unordered-or for floats.
    LtUn,
    LeUn,
    GtUn,
    GeUn,
    /// Floats only: unordered or not equal (`bne.un`) is `Ne` already; this is ordered equality negated exactly.
    Unordered,
}

/// Extra properties of a memory access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct MemFlags {
    pub volatile: bool,
    /// Known alignment if smaller than natural (`unaligned.` prefix): 1, 2, 4.
    pub unaligned: Option<u8>,
}

/// Write barrier of a reference store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Barrier {
    /// Destination is on the stack or known not to be in the heap.
    None,
    /// Destination is known to be inside a heap object.
    Heap,
    /// Unknown (through a byref).
    Checked,
}

/// Atomic read-modify-write operations (width by [`MemTy`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum AtomicOp {
    Add,
    And,
    Or,
    Xchg,
}

/// Operations that CoreLib expects the JIT to expand and that are single machine ideas.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum IntrinsicOp {
    PopCount,
    LeadingZeros,
    TrailingZeros,
    ByteSwap16,
    ByteSwap,
    RotateLeft,
    RotateRight,
    Sqrt,
    Abs,
    Floor,
    Ceil,
    Trunc,
    RoundEven,
    CopySign,
    Fma,
    /// (a, b) IEEE 754-2019 minimum/maximum as Math.Min/Max.
    Min,
    Max,
    /// High half of the product.
    MulHighS,
    MulHighU,
    /// `pause`.
    SpinWait,
    /// Full fence.
    Fence,
}

/// Services of the engine, called through [`CompilerHost::helper_address`](crate::host_api::CompilerHost::helper_address).
/// "GC" helpers may collect and may raise; they use the managed ABI with the arguments shown, plus r15.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Helper {
    /// (mt) -> ref. GC.
    NewObject,
    /// (array mt, len i64) -> ref. GC; negative length raises OverflowException.
    NewArray,
    /// (array type handle, rank i64, dims: *i32 of rank lengths or 2*rank (lower bound, length) pairs, count i64) -> ref. GC.
    NewMdArray,
    /// (type handle, addr of value) -> ref. GC. Handles Nullable.
    Box,
    /// (type handle, obj) -> byref to the value; raises NullReference/InvalidCast. Exact type test (enum/underlying rules).
    Unbox,
    /// (type handle `Nullable<T>`, obj, dest addr): unbox.any to a Nullable.
    UnboxNullable,
    /// (type handle, obj) -> obj; raises InvalidCastException.
    CastClass,
    /// (type handle, obj) -> obj or null.
    IsInst,
    /// (array, index i64, obj): stelem.ref with range, null and covariance checks. GC (raises).
    StoreElemRef,
    /// (array, index i64, element type handle) -> byref: ldelema of a reference type with exact type check. Raises.
    LdElemaRef,
    /// (type handle): run the class initialiser if needed. GC, raises.
    ClassInit,
    /// (key) -> address of a thread static; allocates. GC.
    ThreadStaticAddress,
    /// (obj, method id) -> code address: interface dispatch. Raises NullReference, EntryPointNotFound… GC.
    ResolveInterface,
    /// (obj, method id) -> code address for generic virtual methods and ldvirtftn. GC.
    ResolveVirtual,
    /// (delegate obj, target obj, code address, method id): initialise a delegate (closed or open static). GC.
    InitDelegate,
    /// (exception ref): raise. Null raises NullReferenceException. Never returns.
    Throw,
    /// (exception ref): raise keeping the stack trace. Never returns.
    Rethrow,
    /// (exception ref, dispatch record i64): continue the second pass. Never returns.
    Resume,
    /// (): raise the exception. Never return.
    ThrowNullReference,
    ThrowIndexOutOfRange,
    ThrowDivideByZero,
    ThrowOverflow,
    /// ArithmeticException (ckfinite).
    ThrowArithmetic,
    ThrowPlatformNotSupported,
    ThrowInvalidProgram,
    /// (cookie): raise the exception the host described. Never returns.
    ThrowDeferred,
    /// Entry of a `tail.` call: target and stack argument bytes are in the thread (see
    /// [`CompilerHost::tail_call_fields`](crate::host_api::CompilerHost::tail_call_fields)), the arguments where the callee
    /// expects them; replaces the caller's frame by the callee's.
    TailCall,
    /// (): safepoint. GC.
    Poll,
    /// (dst, ref): store with barrier. Leaf: no GC.
    WriteBarrier,
    CheckedWriteBarrier,
    /// (dst, src, type handle): copy a value type that contains references with barriers. Leaf.
    CopyStructBarrier,
    /// (dst, src, bytes): memmove. Leaf.
    MemMove,
    /// (dst, byte, bytes). Leaf.
    MemSet,
    /// (f64, f64) -> f64 and (f32, f32) -> f32. Leaf.
    FmodF64,
    FmodF32,
    /// (obj) and (obj): Synchronized methods; static ones pass the RuntimeType. GC.
    MonitorEnter,
    MonitorExit,
    /// (dst byref, new ref) -> old; (dst, new, comparand) -> old. With barrier. Leaf.
    ExchangeRef,
    CompareExchangeRef,
    /// (): GC transition around native calls made inline by stubs.
    EnterPreemptive,
    LeavePreemptive,
    /// (dst: *TypedReference handling) reserved for refanyval: (type handle, addr of TypedReference) -> byref. Raises InvalidCast.
    RefAnyVal,
    /// (MD array, value): covariance check of a store of a reference; raises ArrayTypeMismatch.
    ArrayStoreCheck,
    /// (MD array, element type handle): `Address` of an array of references: exact element type; raises ArrayTypeMismatch.
    ArrayAddressCheck,
    /// (type handle) -> RuntimeType ref (refanytype). GC.
    RuntimeTypeOfHandle,
    /// (): address zero-extension for stack probes when localloc is large: raises StackOverflow (fatal).
    StackProbe,
}

/// Who is called.
#[derive(Clone, Debug, PartialEq)]
pub enum Callee {
    /// Through the entry slot of a method.
    Direct { method: MethodId, entry_slot: u64 },
    /// Through the vtable: receiver is `args[0]` (null-checked before).
    Vtable { method: MethodId, offset: u32 },
    /// Through an inline cache, else `Helper::ResolveInterface`; receiver is `args[0]` (null-checked before).
    Interface { method: MethodId },
    /// `calli` of a managed function pointer (first of `args` is NOT the pointer).
    Pointer { target: Value },
    /// Unmanaged function pointer or known native address; lowering does no GC transition by itself.
    Native { target: Value },
    /// Delegate invoke: `args[0]` is the delegate (null-checked before); calls `[d+24]` with `[d+8]` as `this`.
    DelegateInvoke,
}

/// One operation. `Value` operands must be defined earlier in the same block.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    IConst(i64),
    /// Bits of the float.
    FConst(u64),
    Null,
    /// Address of an immovable object, or any constant pointer. Result type says which (Ref, I64, ByRef).
    Address(u64),
    LocalGet(Local),
    LocalSet(Local, Value),
    /// Managed pointer (result type ByRef) or native pointer (I64) to a local.
    LocalAddr(Local),
    Bin(BinOp, Value, Value),
    BinOvf(OvfOp, Value, Value),
    /// Raises DivideByZero; for signed also Overflow on MIN / -1. (dividend, divisor)
    DivCheck {
        signed: bool,
        a: Value,
        b: Value,
    },
    Un(UnOp, Value),
    Conv(ConvOp, Value),
    ConvOvf(ConvOvf, Value),
    /// Result I32 0 or 1.
    Cmp(Cond, Value, Value),
    /// Raises ArithmeticException if not finite.
    CkFinite(Value),
    Select {
        cond: Value,
        if_true: Value,
        if_false: Value,
    },
    Load {
        ty: MemTy,
        addr: Value,
        offset: i32,
        flags: MemFlags,
    },
    Store {
        ty: MemTy,
        addr: Value,
        offset: i32,
        value: Value,
        barrier: Barrier,
        flags: MemFlags,
    },
    /// Copy a value type from memory to memory (`cpobj`).
    CopyStruct {
        ty: TypeId,
        dst: Value,
        src: Value,
        barrier: Barrier,
    },
    /// Zero a value in memory (`initobj`).
    ZeroStruct {
        ty: TypeId,
        dst: Value,
    },
    /// A struct value of zeroes (`default(T)`).
    StructZero(TypeId),
    /// Field of a struct value: byte offset.
    StructField {
        value: Value,
        offset: u32,
        ty: MemTy,
    },
    /// A struct value built from pieces at byte offsets (the rest zero).
    StructMake {
        ty: TypeId,
        parts: Vec<(u32, MemTy, Value)>,
    },
    /// Address of the temporary that holds a struct value (result ByRef).
    StructAddr(Value),
    CopyBlock {
        dst: Value,
        src: Value,
        bytes: Value,
        flags: MemFlags,
    },
    InitBlock {
        dst: Value,
        byte: Value,
        bytes: Value,
        flags: MemFlags,
    },
    /// Raises NullReferenceException if the value (Ref, ByRef or I64) is null. No result.
    NullCheck(Value),
    /// Raises IndexOutOfRange unless index < length, unsigned; both I32 or both I64.
    BoundsCheck {
        index: Value,
        length: Value,
    },
    /// Length of an SZ array (I32); null-checked before.
    ArrayLen(Value),
    /// Address of an element of an SZ array: array + 16 + index*size; checked before; index I32 (zero-extended) or I64.
    ElemAddr {
        array: Value,
        index: Value,
        size: u32,
    },
    /// Byref/pointer plus I64.
    PtrAdd(Value, Value),
    /// A call of a helper with the operands as arguments; result type by the instruction's result.
    CallHelper {
        helper: Helper,
        args: Vec<Value>,
    },
    Call {
        callee: Callee,
        sig: Signature,
        args: Vec<Value>,
        tail: bool,
    },
    /// Runs the class initialiser unless the flag byte is non-zero.
    ClassInit {
        ty: TypeId,
        flag_address: u64,
    },
    /// Native memory on the frame: bytes I64; zeroed if `zero`. Result I64; 0 bytes gives null.
    LocAlloc {
        bytes: Value,
        zero: bool,
    },
    Intrinsic {
        op: IntrinsicOp,
        args: Vec<Value>,
    },
    AtomicRmw {
        op: AtomicOp,
        ty: MemTy,
        addr: Value,
        value: Value,
    },
    AtomicCas {
        ty: MemTy,
        addr: Value,
        expected: Value,
        value: Value,
    },
    /// Address (I64) of a static area of the frame of that many bytes, 8-aligned, undefined contents, private to this
    /// instruction (dimension lists of MD arrays). Holds no references.
    Scratch {
        bytes: u32,
    },
    /// The thread register.
    CurrentThread,
    /// Back-edge poll.
    SafepointPoll,
}

/// An operation with its results (0 or 1) and source position.
#[derive(Clone, Debug)]
pub struct Inst {
    pub op: Op,
    pub result: Option<Value>,
    /// IL offset, or `NO_IL`.
    pub il: u32,
}
/// No IL offset.
pub const NO_IL: u32 = u32::MAX;

/// End of a block.
#[derive(Clone, Debug)]
pub enum Term {
    Jump(Block),
    /// Nonzero I32/I64/Ref/ByRef: first target.
    Branch {
        cond: Value,
        then: Block,
        other: Block,
    },
    /// Index I32; out of range goes to `default`.
    Switch {
        index: Value,
        targets: Vec<Block>,
        default: Block,
    },
    Return(Option<Value>),
    /// After a helper that does not return (throw).
    Unreachable,
}

#[derive(Clone, Debug)]
pub struct BlockData {
    pub insts: Vec<Inst>,
    pub term: Term,
    pub term_il: u32,
    pub protect: ProtectId,
    /// Rarely executed (throw paths).
    pub cold: bool,
}

#[derive(Clone, Debug)]
pub struct LocalData {
    pub ty: Ty,
    /// Exact type (for structs and for narrow integers whose store truncates).
    pub type_id: TypeId,
    /// `pinned` local: its referent must not move while it is set.
    pub pinned: bool,
    /// Must be zeroed at entry even without references (`.locals init`).
    pub zero_init: bool,
}

#[derive(Clone, Debug)]
pub enum ClauseKind {
    Catch(TypeId),
    /// Separate function `i32 (exception, parent frame locals base)`, index in [`Func::filters`].
    Filter(usize),
    Finally,
    Fault,
}

#[derive(Clone, Debug)]
pub struct Clause {
    pub kind: ClauseKind,
    pub handler: Block,
    /// Receives the exception object.
    pub exception_local: Local,
    /// Finally/fault: receives the dispatch record (I64) and the selector (I32, 0 = exceptional entry).
    pub record_local: Option<Local>,
    pub selector_local: Option<Local>,
    /// IL ranges, for diagnostics.
    pub try_range: (u32, u32),
    pub handler_range: (u32, u32),
}

/// A function in IR.
#[derive(Clone, Debug)]
pub struct Func {
    /// Display name.
    pub name: String,
    pub method: Option<MethodId>,
    pub sig: Signature,
    /// Type of `this` when `sig.has_this`: Ref, or ByRef for value types.
    pub this_is_byref: bool,
    /// `locals[0..arg_count]` are the arguments in order (`this` first).
    pub arg_count: usize,
    pub locals: PrimaryMap<Local, LocalData>,
    pub values: PrimaryMap<Value, Ty>,
    pub blocks: PrimaryMap<Block, BlockData>,
    pub entry: Block,
    /// Interned protection lists; index 0 is empty.
    pub protects: PrimaryMap<ProtectId, Vec<ClauseId>>,
    pub clauses: PrimaryMap<ClauseId, Clause>,
    /// Filter bodies. Their `parent_locals` first locals are those of this function, reached through the base pointer.
    pub filters: Vec<Func>,
    /// For a filter: how many of `locals` live in the parent's frame (same indices and layout as the parent's).
    pub parent_locals: Option<usize>,
    /// `SkipLocalsInit` etc.: default for locals without references.
    pub init_locals: bool,
}
