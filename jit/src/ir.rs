//! The JIT's own intermediate representation, between IL and CLIF.
//!
//! * A [`Func`] is a list of basic blocks of instructions in SSA form; a value is used only in the block that defines it
//!   (values that cross blocks go through locals; the Tier-1 passes promote locals to block parameters).
//! * Struct values are values like others (`Ty::Struct`); lowering keeps them in memory. 128-bit vectors (`Ty::V128`) are scalars
//!   whose operations ([`VecOp`]) name the lanes; the vector types of the class library are structs of one such scalar.
//! * Everything that can throw, allocate or reach a safepoint is an explicit operation.
//! * Exception regions are explicit: each block names the list of clauses that protect it ([`ProtectId`]).
//!   `leave` and `endfinally` are already expanded by the importer into selector locals and switches, so lowering only
//!   makes landing pads: the pad of a catch stores the exception in `exception_local` and jumps to the handler; the pad of
//!   a finally/fault stores exception, dispatch record and selector 0, and jumps to the handler.

mod func;
mod helper;
mod vector;
mod visit;
mod x86;

pub use func::{BlockData, Clause, ClauseKind, Func, InlineSite, LocalData, OSR_CALL, Pace};
pub use helper::Helper;
pub use vector::{Lane, VecOp};
pub(crate) use visit::{for_each_use, map_uses, successors, term_use};
pub use x86::{Permutation, X86Op};

use crate::host_api::Signature;
use crate::ids::{MethodId, TypeId};
use cranelift_entity::{PrimaryMap, entity_impl};
use rustc_hash::FxHashMap;

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
    SiteId,
    "site",
    "Where instructions come from: the method itself (0), or a call in it that was inlined."
);
entity!(
    ClauseId,
    "clause",
    "Index of an EH clause, in the order of the method's EH table."
);

impl SiteId {
    /// The function itself.
    pub const ROOT: SiteId = SiteId(0);
}

/// Type of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Ty {
    /// 32 bits; narrower integers are extended to it when loaded (ECMA-335 III.1.1).
    I32,
    /// 64 bits: `int64`, `native int` and unmanaged pointers.
    I64,
    /// Single precision: results are rounded after each operation.
    F32,
    /// Double precision.
    F64,
    /// Object reference.
    Ref,
    /// Managed pointer.
    ByRef,
    /// 128 bits in a vector register; operations name their lanes ([`VecOp`]).
    V128,
    /// A value type that is not one of the above.
    Struct(TypeId),
}

/// Type of a memory access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum MemTy {
    /// Sign-extended to I32 by a load.
    I8,
    /// Zero-extended to I32 by a load.
    U8,
    /// Sign-extended to I32 by a load.
    I16,
    /// Zero-extended to I32 by a load.
    U16,
    /// 4 bytes, signed or unsigned.
    I32,
    /// 8 bytes, signed or unsigned; also native integers.
    I64,
    /// `float32`.
    F32,
    /// `float64`.
    F64,
    /// Object reference: stores need a [`Barrier`].
    Ref,
    /// Managed pointer: only ever on the stack.
    ByRef,
    /// 16 bytes, with any alignment.
    V128,
    /// All bytes of a value type.
    Struct(TypeId),
}

/// Arithmetic that never raises. Operands and result have the same type, but shift amounts are I32.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum BinOp {
    /// `add`.
    Add,
    /// `sub`.
    Sub,
    /// `mul`.
    Mul,
    /// Signed/unsigned division: operands were checked by [`Op::DivCheck`] before.
    Div,
    /// `div.un`: the quotient of unsigned integers.
    DivUn,
    /// `rem`; of floats as C's `fmod`.
    Rem,
    /// `rem.un`.
    RemUn,
    /// `and`.
    And,
    /// `or`.
    Or,
    /// `xor`.
    Xor,
    /// `shl`; the amount is taken modulo the width.
    Shl,
    /// `shr`: keeps the sign.
    Shr,
    /// `shr.un`: fills with zeroes.
    ShrUn,
}

/// Checked arithmetic; raises OverflowException.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum OvfOp {
    /// `add.ovf`.
    Add,
    /// `add.ovf.un`.
    AddUn,
    /// `sub.ovf`.
    Sub,
    /// `sub.ovf.un`.
    SubUn,
    /// `mul.ovf`.
    Mul,
    /// `mul.ovf.un`.
    MulUn,
}

/// Operations with one operand of the result's type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum UnOp {
    /// `neg`: two's complement, or flips the sign of a float.
    Neg,
    /// `not`: complements the bits of an integer.
    Not,
}

/// Conversions. Sources are I32, I64 (ByRef/Ref only for the identity-like `RefToInt`), F32, F64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ConvOp {
    /// Truncate an integer to the width and extend back to I32.
    Sext8,
    /// `conv.u1`.
    Zext8,
    /// `conv.i2`.
    Sext16,
    /// `conv.u2`.
    Zext16,
    /// I64 -> I32.
    Trunc,
    /// I32 -> I64.
    SextI64,
    /// I32, read as unsigned, to I64.
    ZextI64,
    /// Float -> integer, saturating, NaN -> 0 (.NET 9).
    FloatToI32,
    /// `conv.u4`, negative numbers to 0.
    FloatToU32,
    /// `conv.i8`.
    FloatToI64,
    /// `conv.u8`, negative numbers to 0.
    FloatToU64,
    /// Integer (I32 or I64) -> float, signed or unsigned source.
    I2F32,
    /// `conv.r8`.
    I2F64,
    /// `conv.r.un`, rounded once to single precision.
    U2F32,
    /// `conv.r.un`.
    U2F64,
    /// Exact.
    F32ToF64,
    /// Rounds to nearest, ties to even.
    F64ToF32,
    /// Same bits, other tracking: a managed pointer or reference becomes an I64 and the reverse.
    RefToInt,
    /// I64 -> ByRef; the collector ignores addresses outside the heap.
    IntToByRef,
    /// Reference -> managed pointer (`Unsafe.As` on references, pinning) and ByRef -> Ref for `Unsafe` tricks.
    RefToByRef,
    /// ByRef -> Ref, of the start of an object.
    ByRefToRef,
    /// Same width, other register file.
    BitcastF32I32,
    /// `BitConverter.Int32BitsToSingle`.
    BitcastI32F32,
    /// `BitConverter.DoubleToInt64Bits`.
    BitcastF64I64,
    /// `BitConverter.Int64BitsToDouble`.
    BitcastI64F64,
}

/// `conv.ovf.*`: target width and signedness, from a signed or unsigned integer or a float; raises OverflowException.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct ConvOvf {
    /// 8, 16, 32 or 64.
    pub bits: u8,
    /// Whether the target is signed.
    pub signed: bool,
    /// Source is treated as unsigned (`.un`).
    pub from_unsigned: bool,
}

/// Comparison of two values of the same type; signed for integers, and false for floats if an operand is NaN (but `Ne`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Cond {
    /// Equal (`ceq`).
    Eq,
    /// Not equal, or unordered.
    Ne,
    /// Less (`clt`).
    Lt,
    /// Less or equal (`ble`).
    Le,
    /// Greater (`cgt`).
    Gt,
    /// Greater or equal (`bge`).
    Ge,
    /// Unsigned for integers; unordered-or for floats.
    LtUn,
    /// `ble.un`; as `LtUn`.
    LeUn,
    /// `cgt.un`; as `LtUn`.
    GtUn,
    /// `bge.un`; as `LtUn`.
    GeUn,
    /// Floats only: unordered or not equal (`bne.un`) is `Ne` already; this is ordered equality negated exactly.
    Unordered,
}

/// Extra properties of a memory access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct MemFlags {
    /// `volatile.` prefix: a load acquires, a store releases.
    pub volatile: bool,
    /// Known alignment if smaller than natural (`unaligned.` prefix): 1, 2, 4.
    pub unaligned: Option<u8>,
    /// The address may be null, and the access raises NullReferenceException then (Tier 1, outside of protected regions).
    pub faults: bool,
    /// The address is an object, and this class declares the field ([`FieldInfo::family`]); 0: not known.
    ///
    /// [`FieldInfo::family`]: crate::host_api::FieldInfo::family
    pub family: u32,
}

impl MemFlags {
    /// Neither volatile nor unaligned nor faulting.
    pub fn is_plain(self) -> bool {
        self == MemFlags {
            family: self.family,
            ..MemFlags::default()
        }
    }
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
    /// `Interlocked.ExchangeAdd`.
    Add,
    /// `Interlocked.And`.
    And,
    /// `Interlocked.Or`.
    Or,
    /// `Interlocked.Exchange`.
    Xchg,
}

/// Operations that CoreLib expects the JIT to expand and that are single machine ideas.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum IntrinsicOp {
    /// Number of bits that are set.
    PopCount,
    /// Zero bits above the highest set one; the width for 0.
    LeadingZeros,
    /// Zero bits below the lowest set one; the width for 0.
    TrailingZeros,
    /// Swaps the two low bytes of an I32; the rest becomes zero.
    ByteSwap16,
    /// Reverses the bytes of an I32 or I64.
    ByteSwap,
    /// (value, amount I32), modulo the width.
    RotateLeft,
    /// (value, amount I32), modulo the width.
    RotateRight,
    /// Square root, correctly rounded.
    Sqrt,
    /// Clears the sign of a float; of integers the magnitude, MIN stays.
    Abs,
    /// Rounds toward negative infinity.
    Floor,
    /// Rounds toward positive infinity.
    Ceil,
    /// Rounds toward zero.
    Trunc,
    /// Rounds to nearest, ties to even (`Math.Round`).
    RoundEven,
    /// (magnitude, sign).
    CopySign,
    /// (a, b, c): a*b + c, rounded once.
    Fma,
    /// (a, b) IEEE 754-2019 minimum/maximum as Math.Min/Max.
    Min,
    /// See `Min`.
    Max,
    /// High half of the product.
    MulHighS,
    /// High half of the product of unsigned integers.
    MulHighU,
    /// `pause`.
    SpinWait,
    /// Full fence.
    Fence,
}

/// Who is called.
#[derive(Clone, Debug, PartialEq)]
pub enum Callee {
    /// Through the entry slot of a method.
    Direct {
        /// For diagnostics and the receiver's ABI.
        method: MethodId,
        /// Address of the 8-byte slot that holds the current code address.
        entry_slot: u64,
    },
    /// The same of a static method that returns one object for ever and does nothing else that matters: the call may be left out
    /// if nothing uses its result.
    Getter {
        /// See `Direct`.
        method: MethodId,
        /// See `Direct`.
        entry_slot: u64,
    },
    /// Through the vtable: receiver is `args[0]` (null-checked before).
    Vtable {
        /// The method named at the call, not the override.
        method: MethodId,
        /// Of the slot from the MethodTable address, in bytes.
        offset: u32,
    },
    /// Through the method's dispatch stub ([`CompilerHost::dispatch_stub`](crate::host_api::CompilerHost::dispatch_stub));
    /// receiver is `args[0]` (null-checked before).
    Interface {
        /// The interface's method.
        method: MethodId,
    },
    /// `calli` of a managed function pointer (first of `args` is NOT the pointer).
    Pointer {
        /// Code address (I64).
        target: Value,
    },
    /// Unmanaged function pointer or known native address; lowering does no GC transition by itself.
    Native {
        /// Address (I64) of a function with the System V ABI.
        target: Value,
    },
    /// Delegate invoke: `args[0]` is the delegate (null-checked before); calls `[d+24]` with `[d+8]` as `this`.
    DelegateInvoke,
}

/// One operation. `Value` operands must be defined earlier in the same block.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Integer constant; the low half for I32.
    IConst(i64),
    /// Bits of the float.
    FConst(u64),
    /// The null reference.
    Null,
    /// Address of an immovable object, or any constant pointer. Result type says which (Ref, I64, ByRef).
    Address(u64),
    /// `ldloc`/`ldarg`.
    LocalGet(Local),
    /// `stloc`/`starg`; narrow integers are truncated to the local's type.
    LocalSet(Local, Value),
    /// Managed pointer (result type ByRef) or native pointer (I64) to a local.
    LocalAddr(Local),
    /// Arithmetic that does not raise.
    Bin(BinOp, Value, Value),
    /// `add.ovf` and its like: raises OverflowException.
    BinOvf(OvfOp, Value, Value),
    /// Raises DivideByZero; for signed also Overflow on MIN / -1. (dividend, divisor)
    DivCheck {
        /// Whether the division is `div` or `rem`.
        signed: bool,
        /// Dividend.
        a: Value,
        /// Divisor.
        b: Value,
    },
    /// `neg`, `not`.
    Un(UnOp, Value),
    /// `conv.*` and reinterpretations.
    Conv(ConvOp, Value),
    /// `conv.ovf.*`.
    ConvOvf(ConvOvf, Value),
    /// Result I32 0 or 1.
    Cmp(Cond, Value, Value),
    /// Raises ArithmeticException if not finite.
    CkFinite(Value),
    /// The one or the other value without a branch; both are evaluated.
    Select {
        /// I32; non-zero selects `if_true`.
        cond: Value,
        /// Result for a non-zero condition.
        if_true: Value,
        /// Result for zero.
        if_false: Value,
    },
    /// `ldind`, `ldfld`, `ldobj`…; does not check for null.
    Load {
        /// Type of the memory.
        ty: MemTy,
        /// Base address: Ref, ByRef or I64.
        addr: Value,
        /// Bytes added to the base.
        offset: i32,
        /// Volatility and alignment.
        flags: MemFlags,
    },
    /// `stind`, `stfld`, `stobj`…; does not check for null.
    Store {
        /// Type of the memory.
        ty: MemTy,
        /// Base address: Ref, ByRef or I64.
        addr: Value,
        /// Bytes added to the base.
        offset: i32,
        /// What is stored; I32 is truncated to the width.
        value: Value,
        /// What is known of the destination.
        barrier: Barrier,
        /// Volatility and alignment.
        flags: MemFlags,
    },
    /// Copy a value type from memory to memory (`cpobj`).
    CopyStruct {
        /// Type of the memory.
        ty: TypeId,
        /// Address of the destination: ByRef or I64.
        dst: Value,
        /// Address of the source: ByRef or I64.
        src: Value,
        /// What is known of the destination.
        barrier: Barrier,
    },
    /// Zero a value in memory (`initobj`).
    ZeroStruct {
        /// Type of the memory.
        ty: TypeId,
        /// Address of the destination: ByRef or I64.
        dst: Value,
    },
    /// A struct value of zeroes (`default(T)`).
    StructZero(TypeId),
    /// Field of a struct value: byte offset.
    StructField {
        /// The struct.
        value: Value,
        /// Of the field in the struct, in bytes.
        offset: u32,
        /// Type of the field.
        ty: MemTy,
    },
    /// A struct value built from pieces at byte offsets (the rest zero).
    StructMake {
        /// The value type.
        ty: TypeId,
        /// Byte offset, type and value of each piece.
        parts: Vec<(u32, MemTy, Value)>,
    },
    /// Address of the temporary that holds a struct value (result ByRef).
    StructAddr(Value),
    /// `cpblk`; source and destination may overlap.
    CopyBlock {
        /// Address of the destination: ByRef or I64.
        dst: Value,
        /// Address of the source: ByRef or I64.
        src: Value,
        /// Number of bytes (I64).
        bytes: Value,
        /// Volatility and alignment.
        flags: MemFlags,
    },
    /// `initblk`.
    InitBlock {
        /// Address of the destination: ByRef or I64.
        dst: Value,
        /// I32 whose low byte is stored.
        byte: Value,
        /// Number of bytes (I64).
        bytes: Value,
        /// Volatility and alignment.
        flags: MemFlags,
    },
    /// Raises NullReferenceException if the value (Ref, ByRef or I64) is null. No result.
    NullCheck(Value),
    /// Raises IndexOutOfRange unless index < length, unsigned; both I32 or both I64.
    BoundsCheck {
        /// Index of the element.
        index: Value,
        /// Length of the array or span.
        length: Value,
    },
    /// Length of an SZ array (I32); null-checked before.
    ArrayLen(Value),
    /// Address of an element of an SZ array: array + 16 + index*size; checked before; index I32 (zero-extended) or I64.
    ElemAddr {
        /// The array.
        array: Value,
        /// Index of the element.
        index: Value,
        /// Of an element, in bytes.
        size: u32,
    },
    /// Byref/pointer plus I64.
    PtrAdd(Value, Value),
    /// A call of a helper with the operands as arguments; result type by the instruction's result.
    CallHelper {
        /// The service.
        helper: Helper,
        /// As the helper's documentation lists them.
        args: Vec<Value>,
    },
    /// `call`, `callvirt` or `calli`.
    Call {
        /// Where the code address comes from.
        callee: Callee,
        /// Types of the arguments and of the result.
        sig: Signature,
        /// `this` first if the signature has it.
        args: Vec<Value>,
        /// `tail.` prefix: followed by a return of the result.
        tail: bool,
    },
    /// Runs the class initialiser unless the flag byte is non-zero.
    ClassInit {
        /// The type to initialise.
        ty: TypeId,
        /// Of the byte that is non-zero once the initialiser has run.
        flag_address: u64,
    },
    /// Native memory on the frame: bytes I64; zeroed if `zero`. Result I64; 0 bytes gives null.
    LocAlloc {
        /// Size in bytes (I64).
        bytes: Value,
        /// Whether the memory is cleared (`.locals init`).
        zero: bool,
    },
    /// An operation with a short sequence of machine instructions.
    Intrinsic {
        /// Which.
        op: IntrinsicOp,
        /// Its operands.
        args: Vec<Value>,
    },
    /// An operation on 128-bit vectors.
    Vector {
        /// Which.
        op: VecOp,
        /// What its elements are.
        lane: Lane,
        /// Its operands.
        args: Vec<Value>,
    },
    /// An operation of x86 that is called; result as its signature says.
    X86 {
        /// Which.
        op: X86Op,
        /// Its operands.
        args: Vec<Value>,
    },
    /// Sequentially consistent read-modify-write. The result is the old value.
    AtomicRmw {
        /// How old value and operand combine.
        op: AtomicOp,
        /// Type of the memory.
        ty: MemTy,
        /// Base address: Ref, ByRef or I64.
        addr: Value,
        /// The operand.
        value: Value,
    },
    /// Sequentially consistent compare-exchange. The result is the old value.
    AtomicCas {
        /// Type of the memory.
        ty: MemTy,
        /// Base address: Ref, ByRef or I64.
        addr: Value,
        /// Comparand.
        expected: Value,
        /// Stored if memory holds the comparand.
        value: Value,
    },
    /// Address (I64) of a static area of the frame of that many bytes, 8-aligned, undefined contents, private to this
    /// instruction (dimension lists of MD arrays). Holds no references.
    Scratch {
        /// Size in bytes.
        bytes: u32,
    },
    /// The thread register.
    CurrentThread,
    /// Back-edge poll.
    SafepointPoll,
    /// Tier 0, first in a block that a loop enters with an empty evaluation stack: when the frame's counter
    /// ([`Func::patchpoints`]) is used up, asks [`Helper::Patchpoint`] for a function to go on with. A safepoint poll, too.
    Patchpoint {
        /// IL offset of the block.
        il: u32,
    },
    /// Instrumented Tier 0: adds one to the 32-bit counter at `cell` ([`crate::block_counts`]).
    CountBlock {
        /// Address of the counter.
        cell: u64,
    },
    /// In a function made for on-stack replacement ([`Func::osr`]): address of the Tier-0 frame's area of locals. Result I64, or
    /// ByRef where it is the base of a managed pointer to a local.
    FrameBase,
}

/// An operation with its results (0 or 1) and source position.
#[derive(Clone, Debug)]
pub struct Inst {
    /// What is done.
    pub op: Op,
    /// The value it defines, if any.
    pub result: Option<Value>,
    /// IL offset in the method of `site`, or `NO_IL`.
    pub il: u32,
    /// Whose IL.
    pub site: SiteId,
}
/// No IL offset.
pub const NO_IL: u32 = u32::MAX;

/// End of a block.
#[derive(Clone, Debug)]
pub enum Term {
    /// Goes to the block.
    Jump(Block),
    /// Nonzero I32/I64/Ref/ByRef: first target.
    Branch {
        /// What is compared with zero.
        cond: Value,
        /// Target for a non-zero condition.
        then: Block,
        /// Target for zero.
        other: Block,
    },
    /// Index I32; out of range goes to `default`.
    Switch {
        /// Unsigned index of the target.
        index: Value,
        /// Targets of 0, 1, 2 …
        targets: Vec<Block>,
        /// Target of any other index.
        default: Block,
    },
    /// `ret`, with the function's result.
    Return(Option<Value>),
    /// After a helper that does not return (throw).
    Unreachable,
}
