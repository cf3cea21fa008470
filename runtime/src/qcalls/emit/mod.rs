//! QCalls of reflection emit: `RuntimeTypeBuilder`, `RuntimeModuleBuilder`. They write into the module's
//! [`DynamicScope`](corten_loader::dynamic_module::DynamicScope).

use super::reflection::handles::QCallModule;
use crate::error::{ExceptionKind, Raise, VmResult};
use corten_loader::Module;
use corten_metadata::writer::Writer;
use std::sync::MutexGuard;

pub mod members;
mod pseudo;
pub mod types;

/// The module and its writer.
fn open(module: QCallModule) -> VmResult<(&'static Module, MutexGuard<'static, Writer>)> {
    let module = module.module()?;
    match module.dynamic_scope() {
        Some(scope) => Ok((module, scope.writer())),
        None => Err(Raise::new(
            ExceptionKind::InvalidOperation,
            "The module is not dynamic.",
        )),
    }
}

fn text(p: *const u16) -> String {
    // SAFETY: managed code passes a pinned string or null.
    unsafe { super::utf16_argument(p) }.unwrap_or_default()
}

fn bytes<'a>(p: *const u8, length: i32) -> &'a [u8] {
    if p.is_null() || length <= 0 {
        return &[];
    }
    // SAFETY: managed code passes a pinned array and its length.
    unsafe { std::slice::from_raw_parts(p, length as usize) }
}

/// Tokens up to a zero.
fn tokens(mut p: *const u32) -> Vec<u32> {
    let mut out = Vec::new();
    while !p.is_null() {
        // SAFETY: managed code passes null or a zero-terminated array.
        let v = unsafe { p.read() };
        if v & 0x00ff_ffff == 0 {
            break;
        }
        out.push(v);
        // SAFETY: as above.
        p = unsafe { p.add(1) };
    }
    out
}
