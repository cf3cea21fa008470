//! Signatures made by `SignatureHelper` at run time: like those of metadata (ECMA-335 II.23.2), but types appear as raw
//! TypeHandles behind `ELEMENT_TYPE_INTERNAL`, also as the definition of a generic instantiation.

use super::support::{corelib, raw_type, table_of};
use crate::error::{ExceptionKind, Raise, VmResult};
use corten_loader::{ElementType, FnPtrSignature, GenericContext, MethodSignature, Module, TypeHandle};
use corten_metadata::CallingConvention;
use corten_metadata::sig::SigReader;

const INTERNAL: u8 = 0x21;
const CMOD_REQUIRED: u8 = 0x1f;
const CMOD_OPTIONAL: u8 = 0x20;
const CMOD_INTERNAL: u8 = 0x22;
const PINNED: u8 = 0x45;
const SENTINEL: u8 = 0x41;
const LOCALS: u8 = 0x07;
const MAX_DEPTH: u32 = 128;

fn malformed(what: impl std::fmt::Display) -> Raise {
    Raise::new(ExceptionKind::BadImageFormat, format!("dynamic signature: {what}"))
}

struct Reader<'a> {
    sig: SigReader<'a>,
    module: &'static Module,
    depth: u32,
}

impl Reader<'_> {
    fn byte(&mut self) -> VmResult<u8> {
        self.sig.byte().map_err(malformed)
    }

    fn count(&mut self) -> VmResult<u32> {
        self.sig.unsigned().map_err(malformed)
    }

    fn raw_handle(&mut self) -> VmResult<TypeHandle> {
        let mut raw = [0u8; 8];
        for b in &mut raw {
            *b = self.byte()?;
        }
        raw_type(usize::from_le_bytes(raw))
    }

    fn token_type(&mut self) -> VmResult<TypeHandle> {
        let token = self.sig.type_token().map_err(malformed)?;
        Ok(self.module.resolve_type(token, GenericContext::default())?)
    }

    fn skip_modifiers(&mut self) -> VmResult<()> {
        loop {
            match self.sig.peek().map_err(malformed)? {
                CMOD_REQUIRED | CMOD_OPTIONAL => {
                    self.byte()?;
                    self.sig.type_token().map_err(malformed)?;
                }
                CMOD_INTERNAL => {
                    // Required flag, then the handle.
                    self.byte()?;
                    self.byte()?;
                    self.raw_handle()?;
                }
                _ => return Ok(()),
            }
        }
    }

    fn ty(&mut self) -> VmResult<TypeHandle> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(malformed("nested too deeply"));
        }
        let result = self.ty_inner();
        self.depth -= 1;
        result
    }

    fn ty_inner(&mut self) -> VmResult<TypeHandle> {
        self.skip_modifiers()?;
        let code = self.byte()?;
        if let Some(name) = ElementType::CORELIB
            .into_iter()
            .find(|e| *e as u8 == code)
            .and_then(|e| e.corelib_name())
        {
            return corelib("System", name);
        }
        Ok(match code {
            INTERNAL => self.raw_handle()?,
            // Value type, class.
            0x11 | 0x12 => self.token_type()?,
            0x0f => corten_loader::make_pointer(self.ty()?),
            0x10 => corten_loader::make_byref(self.ty()?),
            0x1d => corten_loader::make_array(self.ty()?, 1, true)?,
            0x14 => {
                let element = self.ty()?;
                let rank = self.count()?;
                for _ in 0..self.count()? {
                    self.count()?;
                }
                for _ in 0..self.count()? {
                    self.sig.signed().map_err(malformed)?;
                }
                if rank == 0 || rank > 32 {
                    return Err(malformed("array rank"));
                }
                corten_loader::make_array(element, rank, false)?
            }
            0x15 => {
                let definition = match self.byte()? {
                    INTERNAL => self.raw_handle()?,
                    0x11 | 0x12 => self.token_type()?,
                    other => return Err(malformed(format!("generic definition {other:#x}"))),
                };
                let count = self.count()?;
                let mut arguments = Vec::new();
                for _ in 0..count {
                    arguments.push(self.ty()?);
                }
                corten_loader::instantiate(table_of(definition)?, &arguments)?
            }
            0x1b => {
                let calling_convention = self.byte()?;
                let count = self.count()?;
                let ret = self.ty()?;
                let mut params = Vec::new();
                for _ in 0..count {
                    params.push(self.ty()?);
                }
                corten_loader::make_fnptr(FnPtrSignature {
                    calling_convention,
                    ret,
                    params: params.into(),
                })
            }
            other => return Err(malformed(format!("element type {other:#x}"))),
        })
    }
}

fn reader<'a>(module: &'static Module, blob: &'a [u8]) -> Reader<'a> {
    Reader {
        sig: SigReader::new(blob),
        module,
        depth: 0,
    }
}

/// A method or call-site signature.
///
/// # Errors
/// BadImageFormatException, load errors.
pub fn parse_method(module: &'static Module, blob: &[u8]) -> VmResult<MethodSignature> {
    let mut r = reader(module, blob);
    let header = r.byte()?;
    let calling_convention = match header & 0x0f {
        0 => CallingConvention::Default,
        1 => CallingConvention::C,
        2 => CallingConvention::StdCall,
        3 => CallingConvention::ThisCall,
        4 => CallingConvention::FastCall,
        5 => CallingConvention::VarArg,
        9 => CallingConvention::Unmanaged,
        other => return Err(malformed(format!("calling convention {other:#x}"))),
    };
    let generic_param_count = if header & 0x10 != 0 { r.count()? } else { 0 };
    let count = r.count()?;
    let ret = r.ty()?;
    let mut params = Vec::new();
    let mut sentinel = None;
    for i in 0..count as usize {
        if r.sig.peek().map_err(malformed)? == SENTINEL {
            r.byte()?;
            sentinel = Some(i);
        }
        params.push(r.ty()?);
    }
    Ok(MethodSignature {
        has_this: header & 0x20 != 0,
        explicit_this: header & 0x40 != 0,
        calling_convention,
        generic_param_count,
        ret,
        params: params.into(),
        sentinel,
    })
}

/// Local variable types and whether they are pinned.
///
/// # Errors
/// BadImageFormatException, load errors.
pub fn parse_locals(module: &'static Module, blob: &[u8]) -> VmResult<Vec<(TypeHandle, bool)>> {
    let mut r = reader(module, blob);
    if r.byte()? != LOCALS {
        return Err(malformed("not a local variable signature"));
    }
    let count = r.count()?;
    let mut locals = Vec::new();
    for _ in 0..count {
        let mut pinned = false;
        loop {
            r.skip_modifiers()?;
            if r.sig.peek().map_err(malformed)? != PINNED {
                break;
            }
            r.byte()?;
            pinned = true;
        }
        locals.push((r.ty()?, pinned));
    }
    Ok(locals)
}
