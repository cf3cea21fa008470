//! SafeHandle, CriticalHandle and StringBuilder as native code sees them: through their own managed methods.

use super::convert::Place;
use super::text;
use crate::error::{ExceptionKind, Raise, VmResult};
use crate::managed::ManagedCall;
use crate::thread::Thread;
use corten_gc_hooks::heap::Heap;
use corten_gc_hooks::object::{self, ObjPtr};
use corten_gc_hooks::scope::Local;
use corten_gc_hooks::{HandleScope, Safepoints};
use corten_loader::{MethodDesc, MethodTable, corelib_type};
use std::sync::OnceLock;

/// Offset of `SafeHandle.handle` and of `CriticalHandle.handle`.
const HANDLE: usize = 8;

struct Methods {
    add_ref: &'static MethodDesc,
    release: &'static MethodDesc,
    builder_to_string: &'static MethodDesc,
    builder_capacity: &'static MethodDesc,
    builder_set_length: &'static MethodDesc,
    builder_append: &'static MethodDesc,
    builder_new: &'static MethodDesc,
}

fn method(mt: &'static MethodTable, name: &str, params: usize) -> VmResult<&'static MethodDesc> {
    mt.find_method_with_params(name, params).ok_or_else(|| {
        Raise::new(
            ExceptionKind::MissingMethod,
            format!("Method not found: '{}.{name}'.", mt.handle()),
        )
    })
}

fn methods() -> VmResult<&'static Methods> {
    static METHODS: OnceLock<Methods> = OnceLock::new();
    if let Some(m) = METHODS.get() {
        return Ok(m);
    }
    let safe = corelib_type("System.Runtime.InteropServices", "SafeHandle")?;
    let builder = corelib_type("System.Text", "StringBuilder")?;
    let string = corten_loader::WellKnown::get().string.handle();
    let append = builder
        .methods()
        .named("Append")
        .find(|m| m.signature().is_ok_and(|s| *s.params == [string]))
        .ok_or_else(|| {
            Raise::new(
                ExceptionKind::MissingMethod,
                "Method not found: 'StringBuilder.Append(string)'.",
            )
        })?;
    let m = Methods {
        add_ref: method(safe, "DangerousAddRef", 1)?,
        release: method(safe, "DangerousRelease", 0)?,
        builder_to_string: method(builder, "ToString", 0)?,
        builder_capacity: method(builder, "get_Capacity", 0)?,
        builder_set_length: method(builder, "set_Length", 1)?,
        builder_append: append,
        builder_new: crate::exceptions::create::constructor(builder, &[string])?,
    };
    Ok(METHODS.get_or_init(|| m))
}

fn null_handle() -> Raise {
    Raise::about(ExceptionKind::ArgumentNull, "SafeHandle cannot be null.", "pHandle")
}

/// Loads what the conversions need (preemptive mode, while a stub is built).
///
/// # Errors
/// Load errors.
pub fn prepare() -> VmResult<()> {
    methods().map(|_| ())
}

/// `DangerousAddRef` of the SafeHandle at `place`; its value.
///
/// # Errors
/// ArgumentNullException, ObjectDisposedException.
pub fn add_ref(_thread: &Thread, place: Place) -> VmResult<usize> {
    let m = methods()?;
    if place.reference().is_null() {
        return Err(null_handle());
    }
    let mut success = 0u8;
    ManagedCall::new()
        .obj(place.reference())
        .ptr(&raw mut success)
        .invoke(m.add_ref)?;
    Ok(handle_value(place.reference()))
}

/// `DangerousRelease`.
///
/// # Errors
/// What `ReleaseHandle` raises.
pub fn release(o: ObjPtr) -> VmResult<()> {
    let m = methods()?;
    ManagedCall::new().obj(o).invoke(m.release)?;
    Ok(())
}

/// The handle word of a live SafeHandle or CriticalHandle.
pub fn handle_value(o: ObjPtr) -> usize {
    // SAFETY: both classes have the handle at this offset (contract/layouts.md).
    unsafe { *o.cast::<u8>().add(HANDLE).cast::<usize>() }
}

/// Value of the CriticalHandle at `place`.
///
/// # Errors
/// NullReferenceException.
pub fn critical_value(place: Place) -> VmResult<usize> {
    if place.reference().is_null() {
        return Err(Raise::of(ExceptionKind::NullReference));
    }
    Ok(handle_value(place.reference()))
}

/// A new SafeHandle or CriticalHandle of that class with a value from native code.
///
/// # Errors
/// MissingMethodException without a parameterless constructor, MarshalDirectiveException for abstract classes; what the
/// constructor raises.
pub fn new_handle(thread: &Thread, mt: &'static MethodTable, value: usize) -> VmResult<ObjPtr> {
    if mt
        .class()
        .attributes()
        .contains(corten_metadata::TypeAttributes::ABSTRACT)
    {
        return Err(super::marshal_error(
            "Cannot marshal 'return value': Returned SafeHandles cannot be abstract.",
        ));
    }
    let constructor = mt.class().default_constructor().ok_or_else(|| {
        Raise::new(
            ExceptionKind::MissingMethod,
            format!("No parameterless constructor defined for type '{}'.", mt.handle()),
        )
    })?;
    crate::class_init::ensure(mt)?;
    let scope = HandleScope::new(&thread.header);
    let object = scope.root(Heap::get().alloc_object(&thread.header, mt.as_gc_ptr())?);
    ManagedCall::new().obj(object.get()).invoke(constructor)?;
    // SAFETY: as in `handle_value`.
    unsafe { *object.get().cast::<u8>().add(HANDLE).cast::<usize>() = value };
    Ok(object.get())
}

/// Buffer of a StringBuilder's capacity with its contents; the buffer's size in native characters (with the terminator).
/// Null gives null.
///
/// # Errors
/// OutOfMemoryException.
pub fn string_builder_to_native(
    thread: &Thread,
    place: Place,
    wide: bool,
    copy_in: bool,
) -> VmResult<(*mut u8, usize)> {
    let m = methods()?;
    if place.reference().is_null() {
        return Ok((std::ptr::null_mut(), 0));
    }
    let capacity = ManagedCall::new()
        .obj(place.reference())
        .invoke(m.builder_capacity)?
        .rax as u32 as usize;
    let contents = if copy_in {
        let scope = HandleScope::new(&thread.header);
        let s = scope.root(
            ManagedCall::new()
                .obj(place.reference())
                .invoke(m.builder_to_string)?
                .rax as ObjPtr,
        );
        let safepoints = Safepoints::of(thread);
        let chars = s.borrow(&safepoints).map(|s| {
            // SAFETY: a live string; no safepoint can be reached before the copy is made.
            unsafe { object::string_chars(s.as_ptr()) }.to_vec()
        });
        chars.unwrap_or_default()
    } else {
        Vec::new()
    };
    // A UTF-16 unit takes at most three bytes of UTF-8; native code may also write a terminator past the capacity.
    let units = if wide { capacity + 1 } else { capacity * 3 + 4 };
    let width = if wide { 2 } else { 1 };
    let buffer = text::allocate((units + 1) * width)?;
    // SAFETY: the buffer holds at least `capacity` characters of any kind, and the contents are no longer than that.
    unsafe {
        if wide {
            let n = contents.len().min(units - 1);
            std::ptr::copy_nonoverlapping(contents.as_ptr().cast(), buffer, n * 2);
        } else {
            let bytes = text::utf8(&contents);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, bytes.len().min(units - 1));
        }
    }
    Ok((buffer, units))
}

/// Replaces the contents of a StringBuilder by the native buffer up to its terminator.
///
/// # Errors
/// What `Append` raises.
pub fn string_builder_from_native(
    thread: &Thread,
    builder: Local<'_>,
    buffer: *const u8,
    wide: bool,
    units: usize,
) -> VmResult<()> {
    let m = methods()?;
    // SAFETY: the buffer has `units` characters.
    let contents: Vec<u16> = unsafe {
        if wide {
            std::slice::from_raw_parts(buffer.cast::<u16>(), units)
                .iter()
                .copied()
                .take_while(|u| *u != 0)
                .collect()
        } else {
            let bytes = std::slice::from_raw_parts(buffer, units);
            text::utf16(bytes.split(|b| *b == 0).next().unwrap_or_default())
        }
    };
    ManagedCall::new()
        .obj(builder.get())
        .int(0)
        .invoke(m.builder_set_length)?;
    let s = crate::strings::new_string_utf16(thread, &contents)?;
    ManagedCall::new().obj(builder.get()).obj(s).invoke(m.builder_append)?;
    Ok(())
}

/// Contents of a StringBuilder that a callback got, back into the buffer of the native caller, with a terminator. Native code
/// promises room, as for any buffer behind a pointer.
///
/// # Errors
/// OutOfMemoryException.
pub fn string_builder_contents(thread: &Thread, builder: Local<'_>, buffer: *mut u8, wide: bool) -> VmResult<()> {
    let m = methods()?;
    let scope = HandleScope::new(&thread.header);
    let s = scope.root(ManagedCall::new().obj(builder.get()).invoke(m.builder_to_string)?.rax as ObjPtr);
    // SAFETY: a live string, and no safepoint while it is copied.
    unsafe {
        let units = object::string_chars(s.get());
        if wide {
            std::ptr::copy_nonoverlapping(units.as_ptr().cast(), buffer, units.len() * 2);
            buffer.add(units.len() * 2).cast::<u16>().write_unaligned(0);
        } else {
            let bytes = text::utf8(units);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, bytes.len());
            buffer.add(bytes.len()).write(0);
        }
    }
    Ok(())
}

/// A new StringBuilder with these contents.
///
/// # Errors
/// What its constructor raises.
pub fn new_string_builder(thread: &Thread, units: &[u16]) -> VmResult<ObjPtr> {
    let m = methods()?;
    let scope = HandleScope::new(&thread.header);
    let contents = scope.root(crate::strings::new_string_utf16(thread, units)?);
    let mt = m.builder_new.owner();
    let builder = scope.root(Heap::get().alloc_object(&thread.header, mt.as_gc_ptr())?);
    ManagedCall::new()
        .obj(builder.get())
        .obj(contents.get())
        .invoke(m.builder_new)?;
    Ok(builder.get())
}
