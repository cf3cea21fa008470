//! The sync word of the object header.

/// The object's finalizer is suppressed.
pub const FINALIZER_RUN: u32 = 0x4000_0000;
