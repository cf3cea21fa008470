//! The codes of findings. Names are ILVerify's public ones (`VerifierError`, and for what does not load `ExceptionStringID`),
//! so that filters and suppressions written for that tool keep working.

use std::fmt;
use std::str::FromStr;

macro_rules! codes {
    ($($name:ident: $text:literal,)*) => {
        /// Why a method or type does not verify.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[non_exhaustive]
        pub enum Code { $(#[doc = $text] $name,)* }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// The public name.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$name => stringify!($name)),* }
            }

            /// What the code means, as a sentence without a full stop.
            pub const fn description(self) -> &'static str {
                match self { $(Code::$name => $text),* }
            }
        }
    };
}

codes! {
    UnknownOpcode: "no instruction has this opcode",
    MethodFallthrough: "control runs off the end of the method",
    EHClauseOutOfRange: "an exception clause reaches outside the code",
    FallthroughException: "control runs off the end of a protected block, filter or handler",
    FallthroughIntoHandler: "control runs into an exception handler",
    FallthroughIntoFilter: "control runs into an exception filter",
    LeaveIntoTry: "leave enters a protected block",
    LeaveIntoHandler: "leave enters an exception handler",
    LeaveIntoFilter: "leave enters an exception filter",
    LeaveOutOfFilter: "leave exits an exception filter",
    LeaveOutOfFinally: "leave exits a finally handler",
    LeaveOutOfFault: "leave exits a fault handler",
    Rethrow: "rethrow outside a catch handler",
    Endfinally: "endfinally outside a finally or fault handler",
    Endfilter: "endfilter elsewhere than at the end of a filter",
    BranchIntoTry: "branch enters a protected block",
    BranchIntoHandler: "branch enters an exception handler",
    BranchIntoFilter: "branch enters an exception filter",
    BranchOutOfTry: "branch exits a protected block",
    BranchOutOfHandler: "branch exits an exception handler",
    BranchOutOfFilter: "branch exits an exception filter",
    BranchOutOfFinally: "branch exits a finally handler",
    ReturnFromTry: "return inside a protected block",
    ReturnFromHandler: "return inside an exception handler",
    ReturnFromFilter: "return inside an exception filter",
    BadJumpTarget: "branch or leave into the middle of an instruction",
    PathStackUnexpected: "paths that join have values of incompatible types on the stack",
    PathStackDepth: "paths that join have stacks of different depths",
    ThisUninitStore: "the uninitialised 'this' is overwritten or its address is taken",
    ThisUninitReturn: "the constructor returns without having called a base constructor",
    LdftnCtor: "function pointer to a constructor",
    StackUnexpected: "the value on the stack has the wrong type",
    StackUnexpectedArrayType: "the array on the stack has the wrong element type",
    StackOverflow: "more values on the stack than the method declares",
    StackUnderflow: "too few values on the stack",
    UninitStack: "the uninitialised 'this' is used",
    ExpectedIntegerType: "an integer is expected",
    ExpectedFloatType: "a floating-point number is expected",
    ExpectedNumericType: "a number is expected",
    StackObjRef: "an object reference is expected",
    StackByRef: "a managed pointer is expected",
    StackMethod: "a function pointer from ldftn or ldvirtftn is expected",
    UnrecognizedLocalNumber: "the method has no such local variable",
    UnrecognizedArgumentNumber: "the method has no such argument",
    ExpectedTypeToken: "the token does not name a type",
    TokenResolve: "the token does not resolve",
    ExpectedMethodToken: "the token does not name a method",
    ExpectedFieldToken: "the token does not name a field",
    Unverifiable: "the instruction is never verifiable",
    StringOperand: "the token does not name a string",
    ReturnPtrToStack: "the returned reference may point into the method's own frame",
    ReturnVoid: "a method without result returns a value",
    ReturnMissing: "no value to return",
    ReturnEmpty: "more than the result on the stack at return",
    ExpectedArray: "a one-dimensional zero-based array is expected",
    ValueTypeExpected: "a value type is expected",
    TypeAccess: "the type is not accessible here",
    MethodAccess: "the method is not accessible here",
    FieldAccess: "the field is not accessible here",
    ExpectedStaticField: "a static field is expected",
    InitOnly: "an initonly field is changed outside the constructor",
    CallVirtOnValueType: "callvirt of a method of a value type",
    CtorExpected: "a constructor is expected",
    CtorSig: "newobj of a static or abstract method",
    ArrayByRef: "array of managed pointers or by-ref-like values",
    ByrefOfByref: "managed pointer to a managed pointer",
    CodeSizeZero: "the method has no code",
    TailCall: "tail. is not followed by a call",
    TailByRef: "a tail call passes a managed pointer",
    TailRet: "a tail call is not followed by ret",
    TailRetVoid: "a tail call and its caller must both return nothing or both a value",
    TailRetType: "the result of the tail call does not fit the caller's",
    TailStackEmpty: "values are left on the stack below a tail call",
    MethodEnd: "the method ends inside an instruction",
    BadBranch: "branch out of the method",
    Volatile: "volatile. is not followed by a memory access",
    Unaligned: "unaligned. is not followed by a memory access through a pointer",
    CallAbstract: "non-virtual call of an abstract method",
    TryNonEmptyStack: "a protected block is entered with values on the stack",
    FilterOrCatchUnexpectedStack: "a filter or catch handler is entered other than by an exception",
    FinOrFaultNonEmptyStack: "a finally or fault handler is entered with values on the stack",
    DelegateCtor: "the function does not fit the delegate type",
    DelegatePattern: "a delegate must be created by ldftn, newobj or dup, ldvirtftn, newobj in one block",
    BoxByRef: "boxing of a managed pointer or by-ref-like value",
    EndfilterStack: "more than the result on the stack at endfilter",
    DelegateCtorSigI: "the second parameter of the delegate's constructor is not a native integer",
    DelegateCtorSigO: "the target of the delegate is not an object",
    CatchByRef: "a managed pointer cannot be caught",
    ThrowOrCatchOnlyExceptionType: "what is thrown or caught must derive from System.Exception",
    LdvirtftnOnStatic: "ldvirtftn of a static method",
    CallVirtOnStatic: "callvirt of a static method",
    InitLocals: "a local variable is read in a method that does not zero its locals",
    CallCtor: "a constructor is called other than to initialise 'this' in a constructor",
    ExpectedValClassObjRefVariable: "a value type, reference type or generic parameter is expected",
    ReadOnly: "readonly. is not followed by ldelema or a call",
    Constrained: "constrained. is not followed by callvirt",
    UnsatisfiedMethodInst: "the type arguments of the method break its constraints",
    UnsatisfiedMethodParentInst: "the type arguments of the method's type break its constraints",
    UnsatisfiedFieldParentInst: "the type arguments of the field's type break its constraints",
    UnsatisfiedBoxOperand: "the type arguments of the boxed type break its constraints",
    ConstrainedCallWithNonByRefThis: "the receiver of a constrained call is not a managed pointer",
    ReadonlyUnexpectedCallee: "readonly. before a call of something else than an array's Address",
    ReadOnlyIllegalWrite: "write through a read-only managed pointer",
    TailCallInsideER: "tail call inside a protected block, filter or handler",
    BackwardBranch: "a block that is only reached from below starts with values on the stack",
    NewobjAbstractClass: "an abstract class is instantiated",
    UnmanagedPointer: "unmanaged pointers are not verifiable",
    LdftnNonFinalVirtual: "ldftn of an overridable method for a receiver that may override it",
    ThisMismatch: "non-virtual call of an overridable method on something else than 'this'",
    InterfaceImplHasDuplicate: "the type lists the interface twice",
    InterfaceMethodNotImplemented: "the type does not implement a method of its interface",
    LocallocStackNotEmpty: "values are on the stack below localloc",
    InvalidBaseType: "the base type is not allowed",
    BadTypeSpec: "the type specification is malformed",
    ConstrainedTypeNoInterfaceImpl: "the constrained type does not implement the interface of the static virtual method",
    ClassLoadGeneral: "the type does not load",
    ClassLoadBadFormat: "the type's metadata is malformed",
    MissingMethod: "the method does not exist",
    MissingField: "the field does not exist",
    FileLoadErrorGeneric: "the assembly is not found",
    BadImageFormatGeneric: "the image is malformed",
    InvalidProgramDefault: "the method is malformed",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No code has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown code '{0}'")]
pub struct UnknownCode(pub String);

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(name: &str) -> Result<Code, UnknownCode> {
        let found = Code::ALL.iter().find(|c| c.name().eq_ignore_ascii_case(name));
        found.copied().ok_or_else(|| UnknownCode(name.to_owned()))
    }
}
