//! Helpers that raise.

use crate::error::{ExceptionKind, Raise, icall_body};

macro_rules! throw_helper {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {$(
        $(#[$doc])*
        pub extern "C" fn $name() {
            icall_body(|_| Err::<(), _>(Raise::of(ExceptionKind::$kind)));
        }
    )*};
}
throw_helper! {
    /// NullReferenceException.
    null_reference => NullReference;
    /// IndexOutOfRangeException.
    index_out_of_range => IndexOutOfRange;
    /// DivideByZeroException.
    divide_by_zero => DivideByZero;
    /// OverflowException.
    overflow => Overflow;
    /// PlatformNotSupportedException.
    platform_not_supported => PlatformNotSupported;
    /// InvalidProgramException.
    invalid_program => InvalidProgram;
}

/// Raises the error that the compiler met at this instruction.
pub extern "C" fn deferred(cookie: u64) {
    icall_body(|_| {
        let error = crate::engine::host().and_then(|h| h.deferred(cookie));
        Err::<(), _>(match error {
            Some(d) => Raise::New {
                kind: d.kind,
                message: d.message,
                subject: d.subject,
            },
            None => Raise::of(ExceptionKind::InvalidProgram),
        })
    });
}

/// A localloc that does not fit the stack: fatal, as in CoreCLR.
pub extern "C" fn stack_probe() {
    crate::exceptions::unhandled::stack_overflow();
}
