//! Failures of loading; every variant corresponds to one .NET exception type, which the runtime raises.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// An exception object, of which only the engine knows what it is.
#[derive(Clone)]
pub struct ThrownException(Arc<dyn Any + Send + Sync>);

impl ThrownException {
    /// Keeps what the engine refers to an exception by; it is dropped with the last copy.
    pub fn new(exception: impl Any + Send + Sync) -> Self {
        Self(Arc::new(exception))
    }
    /// What [`new`](Self::new) was given.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for ThrownException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ThrownException")
    }
}

/// Why an assembly, type or member could not be loaded. Cheap to clone: failed loads are remembered
/// and reported again to every later request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    /// `System.TypeLoadException`.
    #[error("{}", TypeLoadMessage { type_name, assembly, reason })]
    TypeLoad {
        /// Full name of the type (generic arguments are not included).
        type_name: String,
        /// Display name of the assembly that should have defined it.
        assembly: String,
        /// What is wrong; empty when the type simply does not exist. A reason that starts with `=` is the
        /// whole message, one that starts with `because ` continues the standard sentence.
        reason: String,
    },
    /// `System.IO.FileNotFoundException`: an assembly is on no probing path.
    #[error("Could not load file or assembly '{name}'. The system cannot find the file specified.")]
    FileNotFound {
        /// Display name of the assembly asked for.
        name: String,
        /// Paths that were tried.
        probed: Vec<String>,
    },
    /// `System.IO.FileLoadException`: found, but refused (for example a lower version).
    #[error("Could not load file or assembly '{name}'. {reason}")]
    FileLoad {
        /// Display name of the assembly asked for.
        name: String,
        /// Why it was refused.
        reason: String,
    },
    /// Whatever managed code threw that was asked for an assembly.
    #[error("Could not load file or assembly '{name}'. {message}")]
    Thrown {
        /// Display name of the assembly asked for.
        name: String,
        /// What the exception says.
        message: String,
        /// The exception.
        exception: ThrownException,
    },
    /// `System.BadImageFormatException`.
    #[error("{}", bad_format_message(.name, .reason))]
    BadImageFormat {
        /// Module path or name.
        name: String,
        /// The rule that is broken; a reason that starts with `=` is the whole message.
        reason: String,
    },
    /// `System.BadImageFormatException` about a whole file or block of memory.
    #[error("{}", bad_image_message(.path))]
    BadImageFile {
        /// The file; empty for an image in memory.
        path: String,
        /// The rule that is broken.
        reason: String,
    },
    /// `System.BadImageFormatException`: a ClassLayout row asks for an impossible packing (ECMA-335 II.22.8).
    #[error(
        "ClassLayout has invalid PackingSize; valid set of values is {{1,2,4,...,128}}. The format of the file '{path}' is invalid."
    )]
    PackingSize {
        /// The file; empty for an image in memory.
        path: String,
    },
    /// `System.Runtime.InteropServices.COMException`, as CoreCLR reports a field of type `void`.
    #[error("Illegal 'void' in signature. (0x80131B24)")]
    VoidInSignature,
    /// `System.MissingMethodException`.
    #[error("Method not found: '{signature}'.")]
    MissingMethod {
        /// Full name of the class that was searched.
        class: String,
        /// Simple method name.
        method: String,
        /// Displayable signature.
        signature: String,
    },
    /// `System.MissingFieldException`.
    #[error("Field not found: '{class}.{field}'.")]
    MissingField {
        /// Full name of the class that was searched.
        class: String,
        /// Simple field name.
        field: String,
    },
    /// `System.EntryPointNotFoundException`: an interface method has no implementation.
    #[error(
        "Could not call method '{method}' on type '{interface}' with an instance of '{type_name}' from assembly '{assembly}' because there is no implementation for the method."
    )]
    EntryPointNotFound {
        /// The type that was dispatched on.
        type_name: String,
        /// Its assembly.
        assembly: String,
        /// The interface.
        interface: String,
        /// The interface method.
        method: String,
    },
    /// `System.Runtime.AmbiguousImplementationException`: no most specific default implementation.
    #[error(
        "Could not call method '{method}' on interface '{interface}' with type '{type_name}' from assembly '{assembly}' because there are multiple incompatible interface methods overriding this method."
    )]
    AmbiguousImplementation {
        /// The type that was dispatched on.
        type_name: String,
        /// Its assembly.
        assembly: String,
        /// The interface.
        interface: String,
        /// The interface method.
        method: String,
    },
    /// `System.Security.VerificationException`: a method's type argument violates a constraint.
    #[error("Method {method}: type argument '{argument}' violates the constraint of type parameter '{parameter}'.")]
    MethodConstraint {
        /// Displayable method.
        method: String,
        /// The argument.
        argument: String,
        /// Name of the generic parameter.
        parameter: String,
    },
    /// `System.InvalidProgramException`.
    #[error("Invalid program: {reason}")]
    InvalidProgram {
        /// What is wrong.
        reason: String,
    },
    /// A feature this loader does not have; the runtime raises `System.NotSupportedException`.
    #[error("Not supported by the loader: {what}")]
    NotSupported {
        /// The feature.
        what: String,
    },
}

/// Reason of the load error for types that reflection emit has not finished.
pub(crate) const NOT_CREATED: &str = "the type has not been created yet";

/// Result alias of the crate.
pub type Result<T, E = LoadError> = std::result::Result<T, E>;

fn bad_format_message(name: &str, reason: &str) -> String {
    match reason.strip_prefix('=') {
        Some(whole) => whole.to_owned(),
        None => format!("Bad image format in '{name}': {reason}"),
    }
}

fn bad_image_message(path: &str) -> String {
    match path {
        "" => "Bad IL format.".to_owned(),
        path => format!("Bad IL format. The format of the file '{path}' is invalid."),
    }
}

struct TypeLoadMessage<'a> {
    type_name: &'a str,
    assembly: &'a str,
    reason: &'a str,
}

impl fmt::Display for TypeLoadMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(whole) = self.reason.strip_prefix('=') {
            return f.write_str(whole);
        }
        // Of a nested type under construction the reference knows the last name only.
        let name = match self.reason {
            NOT_CREATED => self.type_name.rsplit('+').next().unwrap_or_default(),
            _ => self.type_name,
        };
        write!(f, "Could not load type '{name}' from assembly '{}'", self.assembly)?;
        match self.reason {
            NOT_CREATED => f.write_str("."),
            "" => f.write_str("."),
            r if r.starts_with("because ") => write!(f, " {r}."),
            r => write!(f, ": {r}."),
        }
    }
}

impl LoadError {
    /// Whether the failure may go away (an assembly that a resolve handler installed later provides), so that it must
    /// not be remembered.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::FileNotFound { .. } | Self::FileLoad { .. } | Self::Thrown { .. }
        ) || self.unfinished_type().is_some()
    }

    /// Full name of the type under construction that was needed.
    pub fn unfinished_type(&self) -> Option<&str> {
        match self {
            Self::TypeLoad { type_name, reason, .. } if reason == NOT_CREATED => Some(type_name),
            _ => None,
        }
    }

    /// Full name of the .NET exception type that reports this error.
    pub fn exception_type(&self) -> (&'static str, &'static str) {
        match self {
            Self::TypeLoad { .. } => ("System", "TypeLoadException"),
            Self::FileNotFound { .. } => ("System.IO", "FileNotFoundException"),
            Self::FileLoad { .. } | Self::Thrown { .. } => ("System.IO", "FileLoadException"),
            Self::VoidInSignature => ("System.Runtime.InteropServices", "COMException"),
            Self::BadImageFormat { .. } | Self::BadImageFile { .. } | Self::PackingSize { .. } => {
                ("System", "BadImageFormatException")
            }
            Self::MissingMethod { .. } => ("System", "MissingMethodException"),
            Self::MissingField { .. } => ("System", "MissingFieldException"),
            Self::EntryPointNotFound { .. } => ("System", "EntryPointNotFoundException"),
            Self::AmbiguousImplementation { .. } => ("System.Runtime", "AmbiguousImplementationException"),
            Self::MethodConstraint { .. } => ("System.Security", "VerificationException"),
            Self::InvalidProgram { .. } => ("System", "InvalidProgramException"),
            Self::NotSupported { .. } => ("System", "NotSupportedException"),
        }
    }
}
