//! Internal calls of `System.Signature`: parsed signatures as reflection sees them (ECMA-335 II.23.2).

use super::runtime_type_handle::module_of;
use super::support::{
    field_arg, method_info_arg, null_argument, read, resolve_sig, table_of, type_arg, type_array, write, write_ref,
};
use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use crate::icall_table;
use crate::type_objects::type_object;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::object::{ObjPtr, array_data, array_length};
use corten_loader::{MethodDesc, Module, TypeHandle};
use corten_metadata::sig::SigReader;
use corten_metadata::{CallingConvention, TypeSig};

/// Field offsets of `System.Signature`.
const ARGUMENTS: usize = 8;
const DECLARING_TYPE: usize = 16;
const RETURN_TYPE: usize = 24;
const BLOB: usize = 40;
const CONVENTION: usize = 48;
const STACK_SIZE: usize = 52;
const BLOB_LENGTH: usize = 56;
const METHOD: usize = 64;

/// `System.Reflection.CallingConventions`.
mod conventions {
    pub const STANDARD: i32 = 1;
    pub const VAR_ARGS: i32 = 2;
    pub const HAS_THIS: i32 = 0x20;
    pub const EXPLICIT_THIS: i32 = 0x40;
}

struct Parsed {
    ret: TypeHandle,
    arguments: Vec<TypeHandle>,
    convention: i32,
}

fn convention(kind: CallingConvention, has_this: bool, explicit_this: bool) -> i32 {
    let base = if kind == CallingConvention::VarArg {
        conventions::VAR_ARGS
    } else {
        conventions::STANDARD
    };
    let this = if has_this { conventions::HAS_THIS } else { 0 };
    base | this | if explicit_this { conventions::EXPLICIT_THIS } else { 0 }
}

fn of_method(method: &'static MethodDesc) -> VmResult<Parsed> {
    let s = method.signature()?;
    Ok(Parsed {
        ret: s.ret,
        arguments: s.params.to_vec(),
        convention: convention(s.calling_convention, s.has_this, s.explicit_this),
    })
}

/// Parses a field, property or method signature of `module`.
fn of_blob(
    module: &'static Module,
    blob: &[u8],
    class_inst: &[TypeHandle],
    method_inst: &[TypeHandle],
) -> VmResult<Parsed> {
    let bad = |e: corten_metadata::sig::SigError| Raise::new(ExceptionKind::BadImageFormat, e.to_string());
    let resolve = |t: &TypeSig| resolve_sig(module, t, class_inst, method_inst);
    if corten_metadata::sig::is_field(blob) {
        let ty = corten_metadata::sig::parse_field(blob).map_err(bad)?;
        return Ok(Parsed {
            ret: resolve(&ty)?,
            arguments: Vec::new(),
            convention: 0,
        });
    }
    if blob.first().is_some_and(|b| b & 0x0f == 8) {
        let property = corten_metadata::sig::parse_property(blob).map_err(bad)?;
        return Ok(Parsed {
            ret: resolve(&property.ty)?,
            arguments: property.params.iter().map(resolve).collect::<VmResult<_>>()?,
            convention: convention(CallingConvention::Default, property.has_this, false),
        });
    }
    let method = corten_metadata::sig::parse_method(blob).map_err(bad)?;
    Ok(Parsed {
        ret: resolve(&method.ret)?,
        arguments: method.params.iter().map(resolve).collect::<VmResult<_>>()?,
        convention: convention(method.calling_convention, method.has_this, method.explicit_this),
    })
}

extern "C" fn get_signature(
    this: ObjPtr,
    blob: *const u8,
    blob_length: i32,
    field: usize,
    method: ObjPtr,
    declaring: ObjPtr,
) {
    icall_body(|thread| {
        if this.is_null() {
            return Err(null_argument());
        }
        let scope = HandleScope::new(&thread.header);
        let this = scope.root(this);
        let method = if method.is_null() {
            None
        } else {
            Some(method_info_arg(method)?)
        };
        let field = if field == 0 { None } else { Some(field_arg(field)?) };
        let declaring_type = if declaring.is_null() {
            None
        } else {
            Some(type_arg(declaring)?)
        };
        let class_inst: &[TypeHandle] = match (declaring_type, method, field) {
            (Some(t), ..) if !t.instantiation().is_empty() => t.instantiation(),
            (_, Some(m), _) => m.owner().instantiation(),
            (_, _, Some(f)) => f.owner().instantiation(),
            _ => &[],
        };
        let method_inst: &[TypeHandle] = method.map_or(&[], |m| m.instantiation());
        let (parsed, data): (Parsed, &[u8]) = if !blob.is_null() {
            // SAFETY: managed code passes a blob that it got from metadata.
            let data = unsafe { std::slice::from_raw_parts(blob, blob_length.max(0) as usize) };
            let module = match (declaring_type, method) {
                (Some(t), _) => module_of(t)?,
                (None, Some(m)) => m.module(),
                (None, None) => return Err(null_argument()),
            };
            (of_blob(module, data, class_inst, method_inst)?, data)
        } else if let Some(f) = field {
            let parsed = Parsed {
                ret: f.field_type()?,
                arguments: Vec::new(),
                convention: 0,
            };
            (parsed, f.signature())
        } else if let Some(m) = method {
            (of_method(m)?, m.signature_blob())
        } else {
            return Err(null_argument());
        };
        let array = type_array(thread, &parsed.arguments, true)?;
        // SAFETY: Signature's fields; RuntimeTypes are frozen.
        unsafe {
            write_ref(this.get(), ARGUMENTS, array);
            write_ref(this.get(), RETURN_TYPE, type_object(parsed.ret));
            if let Some(t) = declaring_type {
                write_ref(this.get(), DECLARING_TYPE, type_object(t));
            }
            write(this.get(), BLOB, data.as_ptr() as usize);
            write(this.get(), BLOB_LENGTH, data.len() as i32);
            write(this.get(), CONVENTION, parsed.convention);
            write(this.get(), STACK_SIZE, -1i32);
            write(this.get(), METHOD, method.map_or(0, |m| m.address()));
        }
        Ok(())
    })
}

extern "C" fn compare_sig(left: ObjPtr, right: ObjPtr) -> bool {
    icall_body(|_| {
        if left.is_null() || right.is_null() {
            return Err(null_argument());
        }
        // SAFETY: two live Signature objects; nothing here reaches a safepoint.
        unsafe {
            if read::<i32>(left, CONVENTION) & 0xff != read::<i32>(right, CONVENTION) & 0xff
                || read::<ObjPtr>(left, RETURN_TYPE) != read::<ObjPtr>(right, RETURN_TYPE)
            {
                return Ok(false);
            }
            let (a, b) = (read::<ObjPtr>(left, ARGUMENTS), read::<ObjPtr>(right, ARGUMENTS));
            if a.is_null() || b.is_null() {
                return Ok(a == b);
            }
            let slice = |o: ObjPtr| std::slice::from_raw_parts(array_data(o).cast::<ObjPtr>(), array_length(o));
            Ok(slice(a) == slice(b))
        }
    })
}

/// The signature blob of a Signature object.
///
/// # Safety
/// `this` is a live Signature.
unsafe fn blob_of(this: ObjPtr) -> VmResult<&'static [u8]> {
    if this.is_null() {
        return Err(null_argument());
    }
    // SAFETY: the blob lies in a mapped image that is never unmapped.
    unsafe {
        let data = read::<usize>(this, BLOB) as *const u8;
        let length = read::<i32>(this, BLOB_LENGTH).max(0) as usize;
        Ok(if data.is_null() {
            &[]
        } else {
            std::slice::from_raw_parts(data, length)
        })
    }
}

fn malformed(e: impl std::fmt::Display) -> Raise {
    Raise::new(ExceptionKind::BadImageFormat, e.to_string())
}

fn tail(blob: &[u8], offset: i32) -> VmResult<&[u8]> {
    usize::try_from(offset)
        .ok()
        .and_then(|o| blob.get(o..))
        .ok_or_else(|| malformed("signature offset out of range"))
}

const CMOD_REQUIRED: u8 = 0x1f;
const CMOD_OPTIONAL: u8 = 0x20;
const SENTINEL: u8 = 0x41;

/// Skips one type including its modifiers; `void` is allowed.
fn skip_type(reader: &mut SigReader<'_>) -> VmResult<()> {
    if reader.peek().map_err(malformed)? == SENTINEL {
        reader.byte().map_err(malformed)?;
    }
    reader.return_type().map_err(malformed)?;
    Ok(())
}

/// Skips `(modreq|modopt token)*`.
fn skip_modifiers(reader: &mut SigReader<'_>) -> VmResult<()> {
    while matches!(reader.peek().map_err(malformed)?, CMOD_REQUIRED | CMOD_OPTIONAL) {
        reader.byte().map_err(malformed)?;
        reader.type_token().map_err(malformed)?;
    }
    Ok(())
}

/// Offset of parameter `index` in a signature; 0 is the return (or field, or property) type.
fn parameter_offset(blob: &[u8], index: i32) -> VmResult<usize> {
    let mut reader = SigReader::new(blob);
    let header = reader.byte().map_err(malformed)?;
    if header & 0x0f != 6 {
        if header & 0x10 != 0 {
            reader.unsigned().map_err(malformed)?;
        }
        let count = reader.unsigned().map_err(malformed)?;
        if index < 0 || index as u32 > count {
            return Err(Raise::of(ExceptionKind::ArgumentOutOfRange));
        }
        for _ in 0..index {
            skip_type(&mut reader)?;
        }
    }
    Ok(reader.position())
}

extern "C" fn get_parameter_offset(this: ObjPtr, index: i32) -> i32 {
    icall_body(|_| {
        // SAFETY: called on a Signature.
        let blob = unsafe { blob_of(this)? };
        Ok(parameter_offset(blob, index)? as i32)
    })
}

extern "C" fn get_type_parameter_offset(this: ObjPtr, offset: i32, index: i32) -> i32 {
    icall_body(|_| {
        // SAFETY: called on a Signature.
        let blob = unsafe { blob_of(this)? };
        let mut reader = SigReader::new(tail(blob, offset)?);
        skip_modifiers(&mut reader)?;
        let element = reader.byte().map_err(malformed)?;
        match element {
            // Pointer, byref, array, single-dimensional array: the element type follows.
            0x0f | 0x10 | 0x14 | 0x1d if index == 0 => {}
            // Generic instantiation: kind, token, count, arguments.
            0x15 => {
                reader.byte().map_err(malformed)?;
                reader.type_token().map_err(malformed)?;
                let count = reader.unsigned().map_err(malformed)?;
                if index < 0 || index as u32 >= count {
                    return Err(Raise::of(ExceptionKind::ArgumentOutOfRange));
                }
                for _ in 0..index {
                    skip_type(&mut reader)?;
                }
            }
            // Function pointer: convention, count, return type, parameters.
            0x1b => {
                let header = reader.byte().map_err(malformed)?;
                if header & 0x10 != 0 {
                    reader.unsigned().map_err(malformed)?;
                }
                let count = reader.unsigned().map_err(malformed)?;
                if index < 0 || index as u32 > count {
                    return Err(Raise::of(ExceptionKind::ArgumentOutOfRange));
                }
                for _ in 0..index {
                    skip_type(&mut reader)?;
                }
            }
            _ => return Err(Raise::of(ExceptionKind::ArgumentOutOfRange)),
        }
        Ok(offset + reader.position() as i32)
    })
}

extern "C" fn get_calling_convention_at(this: ObjPtr, offset: i32) -> i32 {
    icall_body(|_| {
        // SAFETY: called on a Signature.
        let blob = unsafe { blob_of(this)? };
        let mut reader = SigReader::new(tail(blob, offset)?);
        skip_modifiers(&mut reader)?;
        if reader.byte().map_err(malformed)? != 0x1b {
            return Err(malformed("not a function pointer"));
        }
        Ok(i32::from(reader.byte().map_err(malformed)? & 0x0f))
    })
}

extern "C" fn get_custom_modifiers_at(this: ObjPtr, offset: i32, required: bool) -> ObjPtr {
    icall_body(|thread| {
        // SAFETY: called on a Signature.
        let blob = unsafe { blob_of(this)? };
        // SAFETY: Signature.m_declaringType and m_pMethod.
        let (declaring, method) = unsafe { (read::<ObjPtr>(this, DECLARING_TYPE), read::<usize>(this, METHOD)) };
        let owner = if declaring.is_null() {
            super::support::method_arg(method)?.owner()
        } else {
            table_of(type_arg(declaring)?)?
        };
        let module = owner.module();
        let mut reader = SigReader::new(tail(blob, offset)?);
        let mut types = Vec::new();
        while let kind @ (CMOD_REQUIRED | CMOD_OPTIONAL) = reader.peek().map_err(malformed)? {
            reader.byte().map_err(malformed)?;
            let token = reader.type_token().map_err(malformed)?;
            if (kind == CMOD_REQUIRED) == required {
                types.push(resolve_sig(module, &TypeSig::Class(token), owner.instantiation(), &[])?);
            }
        }
        // As CoreCLR gives them: the last one of the signature first.
        types.reverse();
        type_array(thread, &types, false)
    })
}

icall_table! {
    /// Signature calls.
    TABLE: "System.Signature" {
        "GetSignature" => get_signature,
        "CompareSig" => compare_sig,
        "GetParameterOffset" => get_parameter_offset,
        "GetTypeParameterOffset" => get_type_parameter_offset,
        "GetCallingConventionFromFunctionPointerAtOffset" => get_calling_convention_at,
        "GetCustomModifiersAtOffset" => get_custom_modifiers_at,
    }
}
