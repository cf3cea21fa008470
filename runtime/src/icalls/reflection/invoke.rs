//! Calling any managed method with arguments in memory: reflection's invoke, attribute constructors, activation.

use super::boxing::{ValueBuffer, box_value};
use super::support::{ensure_initialized, method_table_of, object_data, table_of};
use crate::asm::CallResult;
use crate::error::{ExceptionKind, Raise, VmResult};
use crate::managed::ManagedCall;
use crate::thread::Thread;
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::{HandleScope, Local};
use corten_jit::abi::{AbiSignature, ArgLoc, Place, RetLoc};
use corten_jit::host_api::TypeKind;
use corten_loader::{ElementType, MethodDesc, TypeHandle};

/// `this` of a call.
#[derive(Clone, Copy, Debug)]
pub enum Receiver<'s> {
    /// Static method.
    None,
    /// An object (for methods of value types: the box).
    Object(Local<'s>),
}

pub use crate::stubs::host_error;

/// The calling convention of a method.
pub fn abi_of(method: &'static MethodDesc) -> VmResult<AbiSignature> {
    let Some(host) = crate::engine::host() else {
        return Err(Raise::new(ExceptionKind::ExecutionEngine, "the engine is not started"));
    };
    let signature = host.method_signature(method).map_err(host_error)?;
    AbiSignature::of(&signature, host).map_err(host_error)
}

/// The method that a call of `method` on this object reaches.
pub fn virtual_target(object: ObjPtr, method: &'static MethodDesc) -> VmResult<&'static MethodDesc> {
    if !method.is_virtual() || method.is_static() {
        return Ok(method);
    }
    let mt = method_table_of(object);
    if method.owner().is_interface() {
        return Ok(corten_loader::dispatch::resolve_interface(mt, method)?);
    }
    if method.owner() == mt && method.is_final() {
        return Ok(method);
    }
    Ok(corten_loader::dispatch::resolve_virtual(mt, method)?)
}

struct Words {
    int: [u64; 6],
    sse: [u64; 8],
    stack: Vec<u64>,
}

impl Words {
    fn put(&mut self, place: Place, value: u64) {
        match place {
            Place::Int(i) => self.int[usize::from(i) % 6] = value,
            Place::Sse(i) => self.sse[usize::from(i) % 8] = value,
            Place::Stack(offset) => {
                if let Some(word) = self.stack.get_mut(offset as usize / 8) {
                    *word = value;
                }
            }
        }
    }
}

/// Reads 1 to 8 bytes.
///
/// # Safety
/// `from` is readable for `size` bytes.
unsafe fn load(from: *const u8, size: u8) -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the caller's promise; at most 8 bytes.
    unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), usize::from(size).min(8)) };
    u64::from_le_bytes(bytes)
}

fn extend(kind: Option<TypeKind>, raw: u64) -> u64 {
    match kind {
        Some(TypeKind::I1) => raw as u8 as i8 as i64 as u64,
        Some(TypeKind::I2) => raw as u16 as i16 as i64 as u64,
        Some(TypeKind::I4) => raw as u32 as i32 as i64 as u64,
        _ => raw,
    }
}

/// Calls `method` exactly (no virtual dispatch). `arguments(i)` gives the address of argument `i`'s value (for a by-ref
/// parameter: the address itself is the argument); it is asked right before the call. The result comes back boxed (null for
/// void). May collect and run anything.
///
/// # Errors
/// What the method throws, as it is.
pub fn call(
    thread: &Thread,
    method: &'static MethodDesc,
    receiver: Receiver<'_>,
    arguments: &dyn Fn(usize) -> *mut u8,
) -> VmResult<ObjPtr> {
    let signature = method.signature()?;
    let abi = abi_of(method)?;
    if method.is_static() || method.is_ctor() {
        let owner = method.owner();
        if !owner.class().is_before_field_init() {
            ensure_initialized(owner)?;
        }
    }
    let buffer = match (&abi.ret, signature.ret.as_method_table()) {
        (RetLoc::Buffer, Some(mt)) => Some(ValueBuffer::new(mt)),
        _ => None,
    };
    let entry = method.stable_entry();
    let mut words = Words {
        int: [0; 6],
        sse: [0; 8],
        stack: vec![0; abi.stack_bytes.div_ceil(8) as usize],
    };
    // From here to the call nothing may reach a safepoint: raw references are in `words`.
    if let (Some(ArgLoc::Pieces(pieces)), Receiver::Object(object)) = (&abi.this, receiver) {
        let object = object.get();
        let this = if method.is_value_type_instance_method() {
            object_data(object) as u64
        } else {
            object as u64
        };
        for piece in pieces {
            words.put(piece.place, this);
        }
    }
    if let (Some(place), Some(buffer)) = (abi.ret_buffer, &buffer) {
        words.put(place, buffer.data() as u64);
    }
    for (i, (loc, ty)) in abi.args.iter().zip(signature.params.iter()).enumerate() {
        let address = arguments(i);
        match loc {
            ArgLoc::Pieces(pieces) => {
                for piece in pieces {
                    let value = if ty.is_byref() {
                        address as u64
                    } else {
                        // SAFETY: `address` holds a value of the parameter type.
                        extend(piece.kind, unsafe {
                            load(address.wrapping_add(piece.offset as usize), piece.size)
                        })
                    };
                    words.put(piece.place, value);
                }
            }
            ArgLoc::Memory { stack, .. } => {
                let size = ty.size_in_field() as usize;
                let first = *stack as usize / 8;
                if let Some(to) = words.stack.get_mut(first..) {
                    let size = size.min(to.len() * 8);
                    // SAFETY: `address` holds a value of the parameter type, and the words have room for it.
                    unsafe { std::ptr::copy_nonoverlapping(address, to.as_mut_ptr().cast::<u8>(), size) };
                }
            }
        }
    }
    let mut managed = ManagedCall::new();
    for word in words.int {
        managed = managed.int(word);
    }
    for word in words.sse {
        managed = managed.sse(word);
    }
    for word in words.stack {
        managed = managed.stack_word(word);
    }
    let result = managed.invoke_address(entry)?;
    box_result(thread, signature.ret, &abi.ret, result, buffer.as_ref())
}

fn box_result(
    thread: &Thread,
    ty: TypeHandle,
    place: &RetLoc,
    result: CallResult,
    buffer: Option<&ValueBuffer>,
) -> VmResult<ObjPtr> {
    match place {
        RetLoc::Void => Ok(std::ptr::null_mut()),
        RetLoc::Buffer => match (buffer, ty.as_method_table()) {
            (Some(buffer), Some(mt)) => box_value(thread, mt, &|| buffer.data()),
            _ => Err(Raise::new(
                ExceptionKind::NotSupported,
                format!("result of type {}", ty.display_name()),
            )),
        },
        RetLoc::Pieces(pieces) => {
            if ty.is_byref() {
                return box_referent(thread, ty, result.rax as *mut u8);
            }
            if ty.is_pointer() {
                return box_pointer(thread, ty, result.rax as usize);
            }
            if !ty.is_value_type() && !ty.is_function_pointer() {
                return Ok(result.rax as ObjPtr);
            }
            let mt = if ty.is_function_pointer() {
                table_of(super::support::corelib("System", "IntPtr")?)?
            } else {
                table_of(ty)?
            };
            let buffer = ValueBuffer::new(mt);
            for piece in pieces {
                let word = match piece.place {
                    Place::Int(0) => result.rax,
                    Place::Int(_) => result.rdx,
                    Place::Sse(0) => result.xmm0,
                    Place::Sse(_) => result.xmm1,
                    Place::Stack(_) => 0,
                };
                // SAFETY: the buffer has at least two words; a piece is at most 8 bytes at offset 0 or 8.
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        word.to_le_bytes().as_ptr(),
                        buffer.data().add(piece.offset as usize),
                        usize::from(piece.size),
                    );
                }
            }
            box_value(thread, mt, &|| buffer.data())
        }
    }
}

/// Boxes what a by-ref result refers to.
fn box_referent(thread: &Thread, byref: TypeHandle, address: *mut u8) -> VmResult<ObjPtr> {
    if address.is_null() {
        return Err(Raise::new(
            ExceptionKind::NullReference,
            "The target method returned a null reference.",
        ));
    }
    let Some(ty) = byref.element_type() else {
        return Err(Raise::of(ExceptionKind::InvalidProgram));
    };
    match ty.as_method_table() {
        Some(mt) if mt.is_value_type() => {
            // The referent may be inside a heap object: copy it out before the allocation of the box.
            let buffer = ValueBuffer::new(mt);
            // SAFETY: the callee returned the address of a value of `mt`; no safepoint since.
            unsafe { std::ptr::copy_nonoverlapping(address, buffer.data(), mt.value_size() as usize) };
            box_value(thread, mt, &|| buffer.data())
        }
        Some(_) => {
            // SAFETY: the address of a reference.
            Ok(unsafe { address.cast::<ObjPtr>().read() })
        }
        None => {
            // SAFETY: the address of a pointer-sized value.
            let value = unsafe { address.cast::<usize>().read() };
            box_pointer(thread, ty, value)
        }
    }
}

/// `System.Reflection.Pointer` for pointers, `IntPtr` for function pointers.
pub fn box_pointer(thread: &Thread, ty: TypeHandle, value: usize) -> VmResult<ObjPtr> {
    use super::support::{alloc_object, corelib, write, write_ref};
    if ty.cor_element_type() == ElementType::FnPtr {
        let mt = table_of(corelib("System", "IntPtr")?)?;
        let boxed = alloc_object(thread, mt)?;
        // SAFETY: an IntPtr box holds one word.
        unsafe { object_data(boxed).cast::<usize>().write(value) };
        return Ok(boxed);
    }
    let mt = table_of(corelib("System.Reflection", "Pointer")?)?;
    let boxed = alloc_object(thread, mt)?;
    // SAFETY: System.Reflection.Pointer: _ptrType at 8, _ptr at 16.
    unsafe {
        write_ref(boxed, 8, crate::type_objects::type_object(ty));
        write(boxed, 16, value);
    }
    Ok(boxed)
}

/// Allocates an object of the constructor's class and runs the constructor on it. May collect.
pub fn construct(thread: &Thread, ctor: &'static MethodDesc, arguments: &dyn Fn(usize) -> *mut u8) -> VmResult<ObjPtr> {
    let owner = ctor.owner();
    let scope = HandleScope::new(&thread.header);
    let object = scope.root(super::support::alloc_object(thread, owner)?);
    call(thread, ctor, Receiver::Object(object), arguments)?;
    super::boxing::rebox_from_nullable(thread, object.get())
}
