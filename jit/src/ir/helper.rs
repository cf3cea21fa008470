//! The services that generated code calls.

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
    /// (key) -> address of a thread static; allocates. GC. If its place is known, (key, bytes into the thread's table, bytes
    /// into the block): code looks there first.
    ThreadStaticAddress,
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
    /// IndexOutOfRangeException.
    ThrowIndexOutOfRange,
    /// DivideByZeroException.
    ThrowDivideByZero,
    /// OverflowException.
    ThrowOverflow,
    /// What ckfinite raises: OverflowException, as in CoreCLR.
    ThrowArithmetic,
    /// PlatformNotSupportedException.
    ThrowPlatformNotSupported,
    /// InvalidProgramException.
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
    /// (dst, ref): the same if `dst` is in the heap, else a plain store. Leaf.
    CheckedWriteBarrier,
    /// (dst, src, type handle): copy a value type that contains references with barriers. Leaf.
    CopyStructBarrier,
    /// (dst, src, bytes): memmove. Leaf.
    MemMove,
    /// (dst, byte, bytes). Leaf.
    MemSet,
    /// (f64, f64) -> f64 and (f32, f32) -> f32. Leaf.
    FmodF64,
    /// See `FmodF64`.
    FmodF32,
    /// (obj) and (obj): Synchronized methods; static ones pass the RuntimeType. GC.
    MonitorEnter,
    /// See `MonitorEnter`; raises SynchronizationLockException.
    MonitorExit,
    /// (dst byref, new ref) -> old; (dst, new, comparand) -> old. With barrier. Leaf.
    ExchangeRef,
    /// See `ExchangeRef`.
    CompareExchangeRef,
    /// (): GC transition around native calls made inline by stubs.
    EnterPreemptive,
    /// (): back to cooperative mode; waits for a collection in progress. GC.
    LeavePreemptive,
    /// (dst: *TypedReference handling) reserved for refanyval: (type handle, addr of TypedReference) -> byref. Raises InvalidCast.
    RefAnyVal,
    /// (MD array, value): covariance check of a store of a reference; raises ArrayTypeMismatch.
    ArrayStoreCheck,
    /// (MD array, element type handle): `Address` of an array of references: exact element type; raises ArrayTypeMismatch.
    ArrayAddressCheck,
    /// (type handle) -> RuntimeType ref (refanytype). GC.
    RuntimeTypeOfHandle,
    /// (method, in r10): its Tier-0 code was called as often as its counter says. Leaf; preserves every register. Called before
    /// the method's frame is made.
    CallCounted,
    /// (record, object): counts the object's class. Leaf.
    ProfileClass,
    /// (record, delegate): counts the method that the delegate calls. Leaf.
    ProfileTarget,
    /// (method, IL offset, address of the frame's counter of iterations) -> address of a function to go on with, or 0. A safepoint
    /// poll; if the counter is negative, it is set anew. GC; never raises.
    Patchpoint,
    /// (): address zero-extension for stack probes when localloc is large: raises StackOverflow (fatal).
    StackProbe,
}
