//! `DynamicMethod`: methods whose IL, locals, exception clauses and tokens managed code supplies through a `Resolver`
//! object (`System.Reflection.Emit.DynamicResolver`).
//!
//! The method is a MethodDesc of kind `Dynamic` whose `runtime_data` is the address of its [`DynamicMethod`]. While it is
//! compiled, the compiler's host takes body, locals and tokens from here instead of from metadata.

use super::dynamic_sig;
use super::runtime_method_handle::associated_method;
use super::support::{field_arg, method_arg, method_table_of, module_arg, null_argument, raw_type};
use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use crate::managed::ManagedCall;
use crate::reclaim::OwnedCode;
use crate::thread::Thread;
use crate::type_objects::method_stub_object;
use corten_gc_hooks::handles::HandleKind;
use corten_gc_hooks::heap::Heap;
use corten_gc_hooks::object::{ObjPtr, array_data, array_length};
use corten_loader::{FieldDesc, MethodDesc, MethodKind, MethodSignature, TypeHandle};
use corten_metadata::{EhClause, EhKind, MethodBody, Token};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Native part of a dynamic method; leaked with its MethodDesc.
#[derive(Debug)]
pub struct DynamicMethod {
    /// Weak handle to the resolver, which lives as long as its `DynamicMethod` (delegates refer to that) and as frames of its code;
    /// null when it is dead. Read in cooperative mode.
    resolver: AtomicPtr<ObjPtr>,
    body: OnceLock<DynamicBody>,
    code: OwnedCode,
}

/// Body of a dynamic method.
#[derive(Debug)]
pub struct DynamicBody {
    /// IL.
    pub code: Box<[u8]>,
    /// Stack depth.
    pub max_stack: u16,
    /// Locals start as zero.
    pub init_locals: bool,
    /// Types of locals, and whether they are pinned.
    pub locals: Vec<(TypeHandle, bool)>,
    /// Exception clauses; catch tokens are resolved like all others.
    pub clauses: Vec<EhClause>,
}

/// What a token of a dynamic method names.
#[derive(Clone, Copy, Debug)]
pub enum DynamicToken {
    /// A type.
    Type(TypeHandle),
    /// An exact method.
    Method(&'static MethodDesc),
    /// A field of an exact type.
    Field(&'static FieldDesc),
}

fn native(md: &'static MethodDesc) -> Option<&'static DynamicMethod> {
    if md.kind() != MethodKind::Dynamic {
        return None;
    }
    // SAFETY: the runtime data of a dynamic method is null or a leaked DynamicMethod.
    unsafe { (md.runtime_data.load(Ordering::Acquire) as *const DynamicMethod).as_ref() }
}

fn require(md: &'static MethodDesc) -> VmResult<&'static DynamicMethod> {
    native(md).ok_or_else(|| {
        Raise::new(
            ExceptionKind::InvalidOperation,
            format!("{} has no resolver", md.display_name()),
        )
    })
}

/// The `DynamicResolver` of a dynamic method, or null. Cooperative mode.
pub fn resolver_of(md: &'static MethodDesc) -> ObjPtr {
    let handle = resolver_slot(md);
    if handle.is_null() {
        return std::ptr::null_mut();
    }
    // SAFETY: a handle that is freed when the resolver is dead, and so is whoever asks for it.
    unsafe { handle.read() }
}

/// The handle to the resolver of a dynamic method, for the collector; null if there is none (any more).
pub fn resolver_slot(md: &'static MethodDesc) -> *mut ObjPtr {
    native(md).map_or(std::ptr::null_mut(), |d| d.resolver.load(Ordering::Acquire))
}

/// Where code of a dynamic method is noted.
pub fn code_of(md: &'static MethodDesc) -> Option<&'static OwnedCode> {
    native(md).map(|d| &d.code)
}

/// `RuntimeMethodHandle.Destroy`: the resolver is dead.
pub fn destroy(md: &'static MethodDesc) {
    let Some(native) = native(md) else { return };
    let handle = native.resolver.swap(std::ptr::null_mut(), Ordering::AcqRel);
    if handle.is_null() {
        return;
    }
    // Whoever has kept a bare address gets an exception.
    crate::prestub::forget(md);
    // SAFETY: the handle made in `get_dynamic_method`; the resolver is dead: frames and delegates would have kept it.
    unsafe {
        Heap::get().handles().free(handle);
        native.code.free();
    }
}

static ANY: AtomicBool = AtomicBool::new(false);

/// Whether there ever was a dynamic method.
pub fn any() -> bool {
    ANY.load(Ordering::Acquire)
}

/// Whether a method's body comes from a resolver.
pub fn is_dynamic(md: &'static MethodDesc) -> bool {
    native(md).is_some()
}

/// `ModuleHandle.GetDynamicMethod`.
pub extern "C" fn get_dynamic_method(
    _method: ObjPtr,
    module: ObjPtr,
    name: ObjPtr,
    signature: ObjPtr,
    resolver: ObjPtr,
) -> ObjPtr {
    icall_body(|_| {
        if signature.is_null() || resolver.is_null() {
            return Err(null_argument());
        }
        let module = module_arg(module)?;
        let name = crate::strings::to_rust(name);
        let handle = Heap::get().handles().alloc(HandleKind::WeakLong, resolver);
        let signature = dynamic_sig::parse_method(module, &copy_bytes(signature))?;
        let owner = module.global_type()?;
        let md = corten_loader::new_dynamic_method(&name, owner, module, signature)?;
        let native: &'static DynamicMethod = Box::leak(Box::new(DynamicMethod {
            resolver: AtomicPtr::new(handle),
            body: OnceLock::new(),
            code: OwnedCode::default(),
        }));
        md.runtime_data
            .store(std::ptr::from_ref(native) as usize, Ordering::Release);
        ANY.store(true, Ordering::Release);
        Ok(method_stub_object(md))
    })
}

fn malformed(e: impl std::fmt::Display) -> Raise {
    Raise::new(ExceptionKind::InvalidProgram, e.to_string())
}

/// Contents of a byte array object (null: empty).
fn copy_bytes(array: ObjPtr) -> Vec<u8> {
    if array.is_null() {
        return Vec::new();
    }
    // SAFETY: a live byte[]; no safepoint while it is copied.
    unsafe { std::slice::from_raw_parts(array_data(array), array_length(array)) }.to_vec()
}

/// Calls a virtual method of the resolver.
fn ask(md: &'static MethodDesc, name: &str, arguments: impl FnOnce(ManagedCall) -> ManagedCall) -> VmResult<u64> {
    let resolver = resolver_of(md);
    if resolver.is_null() {
        return Err(Raise::of(ExceptionKind::InvalidOperation));
    }
    let mut at = Some(method_table_of(resolver));
    let method = loop {
        match at {
            Some(mt) => match mt.find_method(name) {
                Some(m) => break m,
                None => at = mt.parent(),
            },
            None => {
                return Err(Raise::new(
                    ExceptionKind::MissingMethod,
                    format!("DynamicResolver.{name}"),
                ));
            }
        }
    };
    // `this` is read last: nothing before this line reaches a safepoint.
    Ok(arguments(ManagedCall::new().obj(resolver_of(md))).invoke(method)?.rax)
}

/// Runs `body` in cooperative mode.
fn cooperative<T>(body: impl FnOnce(&'static Thread) -> VmResult<T>) -> VmResult<T> {
    let thread = Thread::current();
    let _cooperative = crate::transitions::enter_cooperative(thread);
    body(Thread::current())
}

/// `Resolver.CORINFO_EH_CLAUSE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct NativeClause {
    flags: i32,
    try_offset: i32,
    try_length: i32,
    handler_offset: i32,
    handler_length: i32,
    token_or_filter: i32,
}

impl NativeClause {
    fn to_clause(self) -> EhClause {
        let kind = match self.flags & 7 {
            1 => EhKind::Filter {
                filter_offset: self.token_or_filter as u32,
            },
            2 => EhKind::Finally,
            4 => EhKind::Fault,
            _ => EhKind::Catch(Token(self.token_or_filter as u32)),
        };
        EhClause {
            kind,
            try_offset: self.try_offset as u32,
            try_length: self.try_length as u32,
            handler_offset: self.handler_offset as u32,
            handler_length: self.handler_length as u32,
        }
    }
}

/// Clauses of an exception section as it follows a method body (ECMA-335 II.25.4.5).
fn parse_section(section: &[u8]) -> Option<Vec<EhClause>> {
    let u16_at = |at: usize| Some(i32::from(u16::from_le_bytes(section.get(at..at + 2)?.try_into().ok()?)));
    let i32_at = |at: usize| Some(i32::from_le_bytes(section.get(at..at + 4)?.try_into().ok()?));
    let mut clauses = Vec::new();
    if section.first()? & 0x40 != 0 {
        let size = (i32_at(0)? as u32 >> 8) as usize;
        for at in (4..size.min(section.len())).step_by(24) {
            clauses.push(NativeClause {
                flags: i32_at(at)?,
                try_offset: i32_at(at + 4)?,
                try_length: i32_at(at + 8)?,
                handler_offset: i32_at(at + 12)?,
                handler_length: i32_at(at + 16)?,
                token_or_filter: i32_at(at + 20)?,
            });
        }
    } else {
        let size = usize::from(*section.get(1)?);
        for at in (4..size.min(section.len())).step_by(12) {
            clauses.push(NativeClause {
                flags: u16_at(at)?,
                try_offset: u16_at(at + 2)?,
                try_length: i32::from(*section.get(at + 4)?),
                handler_offset: u16_at(at + 5)?,
                handler_length: i32::from(*section.get(at + 7)?),
                token_or_filter: i32_at(at + 8)?,
            });
        }
    }
    Some(clauses.into_iter().map(NativeClause::to_clause).collect())
}

/// The body of a dynamic method, asked from its resolver once. Any mode; runs managed code.
///
/// # Errors
/// What the resolver throws, malformed signatures.
pub fn body(md: &'static MethodDesc) -> VmResult<&'static DynamicBody> {
    let native = require(md)?;
    if let Some(b) = native.body.get() {
        return Ok(b);
    }
    let made = cooperative(|_| read_body(md))?;
    Ok(native.body.get_or_init(|| made))
}

fn read_body(md: &'static MethodDesc) -> VmResult<DynamicBody> {
    let (mut stack, mut init_locals, mut clause_count) = (0i32, 0i32, 0i32);
    let (a, b, c) = (&raw mut stack, &raw mut init_locals, &raw mut clause_count);
    let code = copy_bytes(ask(md, "GetCodeInfo", |call| call.ptr(a).ptr(b).ptr(c))? as ObjPtr);
    let signature = copy_bytes(ask(md, "GetLocalsSignature", |call| call)? as ObjPtr);
    let section = copy_bytes(ask(md, "GetRawEHInfo", |call| call)? as ObjPtr);
    let clauses = if !section.is_empty() {
        parse_section(&section).ok_or_else(|| malformed("exception section"))?
    } else {
        let mut clauses = Vec::new();
        for i in 0..clause_count {
            let mut clause = NativeClause::default();
            let address = &raw mut clause;
            ask(md, "GetEHInfo", |call| call.int(i as u64).ptr(address))?;
            clauses.push(clause.to_clause());
        }
        clauses
    };
    let locals = if signature.is_empty() {
        Vec::new()
    } else {
        dynamic_sig::parse_locals(md.module(), &signature)?
    };
    Ok(DynamicBody {
        code: code.into_boxed_slice(),
        max_stack: stack.clamp(0, i32::from(u16::MAX)) as u16,
        init_locals: init_locals != 0,
        locals,
        clauses,
    })
}

/// The body in the form that the importer takes.
///
/// # Errors
/// As [`body`].
pub fn method_body(md: &'static MethodDesc) -> VmResult<MethodBody<'static>> {
    let b = body(md)?;
    Ok(MethodBody {
        max_stack: b.max_stack,
        init_locals: b.init_locals,
        local_var_sig: None,
        code: &b.code,
        clauses: b.clauses.clone(),
    })
}

/// What a type, method or field token of the body names. Any mode; runs managed code.
///
/// # Errors
/// InvalidProgramException for an unknown token, load errors.
pub fn resolve(md: &'static MethodDesc, token: Token) -> VmResult<DynamicToken> {
    require(md)?;
    cooperative(|_| {
        let (mut ty, mut method, mut field) = (0usize, 0usize, 0usize);
        let (a, b, c) = (&raw mut ty, &raw mut method, &raw mut field);
        ask(md, "ResolveToken", |call| {
            call.int(u64::from(token.0)).ptr(a).ptr(b).ptr(c)
        })?;
        let context = if ty == 0 { None } else { Some(raw_type(ty)?) };
        if method != 0 {
            return Ok(DynamicToken::Method(associated_method(
                method_arg(method)?,
                context,
                &[],
            )?));
        }
        if field != 0 {
            let field = field_arg(field)?;
            let owner = context.and_then(TypeHandle::as_method_table);
            let exact = match owner {
                Some(mt) if mt != field.owner() => mt.fields().iter().find(|f| f.token() == field.token()),
                _ => Some(field),
            };
            return exact
                .map(DynamicToken::Field)
                .ok_or_else(|| malformed("a field token of another type"));
        }
        context
            .map(DynamicToken::Type)
            .ok_or_else(|| malformed(format!("unknown token {token:?}")))
    })
}

/// The interned string of an `ldstr` token: a frozen object. Any mode; runs managed code.
///
/// # Errors
/// InvalidProgramException for an unknown token.
pub fn string_literal(md: &'static MethodDesc, token: Token) -> VmResult<ObjPtr> {
    require(md)?;
    cooperative(|_| {
        let text = ask(md, "GetStringLiteral", |call| call.int(u64::from(token.0)))? as ObjPtr;
        if text.is_null() {
            return Err(malformed("unknown string token"));
        }
        Ok(crate::strings::literal(&crate::strings::to_utf16(text))?)
    })
}

/// The signature of a `calli` token. Any mode; runs managed code.
///
/// # Errors
/// InvalidProgramException for an unknown token or malformed signature.
pub fn call_site_signature(md: &'static MethodDesc, token: Token) -> VmResult<MethodSignature> {
    require(md)?;
    let blob = cooperative(|_| {
        let blob = ask(md, "ResolveSignature", |call| call.int(u64::from(token.0)).int(0))?;
        Ok(copy_bytes(blob as ObjPtr))
    })?;
    dynamic_sig::parse_method(md.module(), &blob)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_fat_sections_give_the_same_clauses() {
        let mut small = vec![1, 16, 0, 0];
        small.extend_from_slice(&[2, 0, 1, 0, 5, 6, 0, 3, 0, 0, 0, 0]);
        let mut fat = vec![0x41, 28, 0, 0];
        for v in [2i32, 1, 5, 6, 3, 0] {
            fat.extend_from_slice(&v.to_le_bytes());
        }
        let (a, b) = (parse_section(&small).unwrap(), parse_section(&fat).unwrap());
        assert_eq!(a.len(), 1);
        assert!(matches!(a[0].kind, EhKind::Finally));
        assert_eq!(
            (
                a[0].try_offset,
                a[0].try_length,
                a[0].handler_offset,
                a[0].handler_length
            ),
            (1, 5, 6, 3)
        );
        assert_eq!(
            (
                b[0].try_offset,
                b[0].try_length,
                b[0].handler_offset,
                b[0].handler_length
            ),
            (1, 5, 6, 3)
        );
    }

    #[test]
    fn a_truncated_section_is_refused() {
        assert!(parse_section(&[0x41, 28, 0, 0, 1]).is_none());
    }
}
