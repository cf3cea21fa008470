//! Failures inside the engine that become managed exceptions.

use crate::thread::Thread;
use corten_loader::LoadError;
use std::fmt;

/// A managed exception on its way out of native code. The object, if it exists already, is kept in
/// `Thread.pending_exception` (a root), so that this value may live across safepoints.
#[derive(Debug)]
pub enum Raise {
    /// The object is in `Thread.pending_exception`.
    Pending,
    /// To be created.
    New {
        /// Its class.
        kind: ExceptionKind,
        /// `Message`, or `None` for the class's default.
        message: Option<String>,
        /// The type or file that the exception is about, if the message does not begin with it.
        subject: Option<String>,
    },
}

/// Result of engine code that can raise a managed exception.
pub type VmResult<T> = Result<T, Raise>;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident => $ns:literal . $name:literal,)*) => {
        /// Exception classes that the engine itself creates.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum ExceptionKind {
            $(
                #[doc = concat!("`", $ns, ".", $name, "`.")]
                $(#[$doc])*
                $variant,
            )*
        }
        impl ExceptionKind {
            /// Namespace and name of the class in CoreLib.
            pub fn class_name(self) -> (&'static str, &'static str) {
                match self { $(ExceptionKind::$variant => ($ns, $name),)* }
            }
        }
    };
}
kinds! {
    Exception => "System"."Exception",
    SystemException => "System"."SystemException",
    NullReference => "System"."NullReferenceException",
    IndexOutOfRange => "System"."IndexOutOfRangeException",
    DivideByZero => "System"."DivideByZeroException",
    Overflow => "System"."OverflowException",
    Arithmetic => "System"."ArithmeticException",
    InvalidCast => "System"."InvalidCastException",
    ArrayTypeMismatch => "System"."ArrayTypeMismatchException",
    OutOfMemory => "System"."OutOfMemoryException",
    StackOverflow => "System"."StackOverflowException",
    ExecutionEngine => "System"."ExecutionEngineException",
    InsufficientExecutionStack => "System"."InsufficientExecutionStackException",
    InvalidProgram => "System"."InvalidProgramException",
    TypeLoad => "System"."TypeLoadException",
    TypeInitialization => "System"."TypeInitializationException",
    MissingMethod => "System"."MissingMethodException",
    MemberAccess => "System"."MemberAccessException",
    MissingField => "System"."MissingFieldException",
    MethodAccess => "System"."MethodAccessException",
    FieldAccess => "System"."FieldAccessException",
    EntryPointNotFound => "System"."EntryPointNotFoundException",
    DllNotFound => "System"."DllNotFoundException",
    BadImageFormat => "System"."BadImageFormatException",
    FileNotFound => "System.IO"."FileNotFoundException",
    FileLoad => "System.IO"."FileLoadException",
    Argument => "System"."ArgumentException",
    ArgumentNull => "System"."ArgumentNullException",
    ArgumentOutOfRange => "System"."ArgumentOutOfRangeException",
    InvalidOperation => "System"."InvalidOperationException",
    NotSupported => "System"."NotSupportedException",
    NotImplemented => "System"."NotImplementedException",
    PlatformNotSupported => "System"."PlatformNotSupportedException",
    AmbiguousImplementation => "System.Runtime"."AmbiguousImplementationException",
    AmbiguousMatch => "System.Reflection"."AmbiguousMatchException",
    TargetInvocation => "System.Reflection"."TargetInvocationException",
    TargetParameterCount => "System.Reflection"."TargetParameterCountException",
    SynchronizationLock => "System.Threading"."SynchronizationLockException",
    ThreadInterrupted => "System.Threading"."ThreadInterruptedException",
    ThreadState => "System.Threading"."ThreadStateException",
    ThreadStart => "System.Threading"."ThreadStartException",
    MarshalDirective => "System.Runtime.InteropServices"."MarshalDirectiveException",
    Verification => "System.Security"."VerificationException",
    Security => "System.Security"."SecurityException",
    Com => "System.Runtime.InteropServices"."COMException",
    RankException => "System"."RankException",
    TypeAccess => "System"."TypeAccessException",
    CustomAttributeFormat => "System.Reflection"."CustomAttributeFormatException",
}

impl Raise {
    /// With a message.
    pub fn new(kind: ExceptionKind, message: impl Into<String>) -> Raise {
        Raise::New {
            kind,
            message: Some(message.into()),
            subject: None,
        }
    }
    /// With a message about a type or file, which the exception tells apart from its text.
    pub fn about(kind: ExceptionKind, message: impl Into<String>, subject: impl Into<String>) -> Raise {
        Raise::New {
            kind,
            message: Some(message.into()),
            subject: Some(subject.into()),
        }
    }
    /// With the class's own default message.
    pub fn of(kind: ExceptionKind) -> Raise {
        Raise::New {
            kind,
            message: None,
            subject: None,
        }
    }
}

impl From<corten_gc_hooks::heap::OutOfMemory> for Raise {
    fn from(_: corten_gc_hooks::heap::OutOfMemory) -> Raise {
        Raise::of(ExceptionKind::OutOfMemory)
    }
}

impl From<LoadError> for Raise {
    fn from(e: LoadError) -> Raise {
        crate::exceptions::from_load_error(&e)
    }
}

impl fmt::Display for Raise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raise::Pending => f.write_str("a pending managed exception"),
            Raise::New { kind, message, .. } => {
                let (ns, name) = kind.class_name();
                write!(f, "{ns}.{name}: {}", message.as_deref().unwrap_or(""))
            }
        }
    }
}

/// Types that have a neutral value to return while an exception is pending.
pub trait Neutral {
    /// The value (never looked at by managed code).
    fn neutral() -> Self;
}
macro_rules! neutral {
    ($($t:ty => $v:expr),* $(,)?) => { $(impl Neutral for $t { fn neutral() -> Self { $v } })* };
}
neutral!(() => (), bool => false, i8 => 0, u8 => 0, i16 => 0, u16 => 0, i32 => 0, u32 => 0, i64 => 0, u64 => 0, isize => 0, usize => 0, f32 => 0.0, f64 => 0.0);
impl<T> Neutral for *mut T {
    fn neutral() -> Self {
        std::ptr::null_mut()
    }
}
impl<T> Neutral for *const T {
    fn neutral() -> Self {
        std::ptr::null()
    }
}

/// Body of an internal call or JIT helper (cooperative mode, entered through a transition stub): an error is raised at the
/// managed call site by replacing the return address that the transition stub recorded.
#[inline]
pub fn icall_body<T: Neutral>(body: impl FnOnce(&'static Thread) -> VmResult<T>) -> T {
    let thread = Thread::current();
    match body(thread) {
        Ok(value) => value,
        Err(raise) => {
            crate::exceptions::raise_at_return(raise);
            T::neutral()
        }
    }
}

/// Body of a QCall (preemptive mode, called by a P/Invoke stub): switches to cooperative mode for the body; an error becomes
/// the pending exception which the stub raises after the call.
pub fn qcall_body<T: Neutral>(body: impl FnOnce(&'static Thread) -> VmResult<T>) -> T {
    let thread = Thread::current();
    let _cooperative = crate::transitions::enter_cooperative(thread);
    match body(thread) {
        Ok(value) => value,
        Err(raise) => {
            crate::exceptions::set_pending(raise);
            T::neutral()
        }
    }
}
