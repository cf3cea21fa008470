//! Creating exception objects: by kind with a message, wrapped, preallocated.

use crate::error::{ExceptionKind, Raise, VmResult};
use crate::managed::ManagedCall;
use crate::objects::{ExceptionObject, TypeLoadExceptionObject, method_table_of, store, view};
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::heap::Heap;
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::scope::Local;
use corten_loader::{MethodDesc, MethodTable, TypeHandle, WellKnown, corelib_type};
use std::sync::OnceLock;

/// The class of a kind.
fn class_of(kind: ExceptionKind) -> VmResult<&'static MethodTable> {
    let (namespace, name) = kind.class_name();
    Ok(corelib_type(namespace, name)?)
}

/// The instance constructor with exactly these parameter types.
///
/// # Errors
/// MissingMethodException, or a load error of its signature.
pub fn constructor(mt: &'static MethodTable, params: &[TypeHandle]) -> VmResult<&'static MethodDesc> {
    for m in mt.methods().named(".ctor") {
        if m.param_count() == params.len() && *m.signature()?.params == *params {
            return Ok(m);
        }
    }
    Err(Raise::new(
        ExceptionKind::MissingMethod,
        format!("Method not found: '{}..ctor'.", mt.handle().display_name()),
    ))
}

/// An instance of `mt` on which no constructor has run.
pub(crate) fn allocate(thread: &Thread, mt: &'static MethodTable) -> VmResult<ObjPtr> {
    Ok(Heap::get().alloc_object(&thread.header, mt.as_gc_ptr())?)
}

/// Text between the first pair of quotes: the file name in the loader's messages.
fn quoted(message: &str) -> Option<&str> {
    let start = message.find('\'')? + 1;
    let end = start + message[start..].find('\'')?;
    Some(&message[start..end])
}

/// A new exception of `kind`. Without a message the parameterless constructor supplies the class's own text. For
/// ArgumentNull and ArgumentOutOfRange a message of one word is the parameter name, as their constructors have it; with a
/// sentence the subject is.
///
/// Cooperative mode; may collect and runs the constructor.
///
/// # Errors
/// What the allocation or the constructor raises.
pub fn create(kind: ExceptionKind, message: Option<&str>, subject: Option<&str>) -> VmResult<ObjPtr> {
    let thread = Thread::current();
    let mt = class_of(kind)?;
    let string = WellKnown::get().string.handle();
    let with_file = matches!(
        kind,
        ExceptionKind::FileNotFound | ExceptionKind::FileLoad | ExceptionKind::BadImageFormat
    );
    let sentence = matches!(kind, ExceptionKind::ArgumentNull | ExceptionKind::ArgumentOutOfRange)
        && message.is_some_and(|m| m.contains(' '));
    let parameter = subject.filter(|_| sentence);
    let subject = subject.or_else(|| message.and_then(quoted));
    let file = if with_file {
        subject.filter(|s| !s.is_empty())
    } else {
        None
    };
    let constructor = match (message, file) {
        (None, _) => constructor(mt, &[])?,
        (Some(_), None) if !sentence => constructor(mt, &[string])?,
        (Some(_), _) => constructor(mt, &[string, string])?,
    };
    let scope = HandleScope::new(&thread.header);
    let text = match message {
        Some(m) => scope.root(crate::strings::new_string(thread, m)?),
        None => scope.root(std::ptr::null_mut()),
    };
    let file_name = match file.or(parameter) {
        Some(f) => scope.root(crate::strings::new_string(thread, f)?),
        None => scope.root(std::ptr::null_mut()),
    };
    let exception = scope.root(allocate(thread, mt)?);
    let mut call = ManagedCall::new().obj(exception.get());
    if sentence {
        call = call.obj(file_name.get());
    }
    if message.is_some() {
        call = call.obj(text.get());
    }
    if file.is_some() {
        call = call.obj(file_name.get());
    }
    call.invoke(constructor)?;
    if kind == ExceptionKind::OutOfMemory && message.is_none() {
        // The engine's own has no text.
        // SAFETY: a live Exception.
        unsafe {
            store(
                &mut view::<ExceptionObject>(exception.get()).message,
                std::ptr::null_mut(),
            )
        };
    }
    if kind == ExceptionKind::TypeLoad
        && let Some(type_name) = subject
    {
        let name = crate::strings::new_string(thread, type_name)?;
        // SAFETY: a live TypeLoadException, whose first own field is `_className`.
        unsafe { store(&mut view::<TypeLoadExceptionObject>(exception.get()).class_name, name) };
    }
    Ok(exception.get())
}

/// As [`create`], but always gives an exception: the one that creation raised, or a preallocated one.
pub fn create_or_fallback(kind: ExceptionKind, message: Option<&str>, subject: Option<&str>) -> ObjPtr {
    if kind == ExceptionKind::StackOverflow {
        super::unhandled::stack_overflow();
    }
    match create(kind, message, subject) {
        Ok(exception) => exception,
        Err(Raise::Pending) => {
            let thread = Thread::current();
            thread.header.pending_exception.replace(std::ptr::null_mut())
        }
        Err(Raise::New {
            kind: ExceptionKind::OutOfMemory,
            ..
        }) => out_of_memory(),
        Err(other) => crate::engine::fatal(&format!("cannot create {kind:?}: {other}")),
    }
}

/// Makes an exception of a CoreLib class that is no [`ExceptionKind`] pending; the result is to be returned as the error.
pub fn raise_named(namespace: &str, name: &str, message: Option<&str>) -> Raise {
    let created = (|| {
        let thread = Thread::current();
        let mt = corelib_type(namespace, name)?;
        let scope = HandleScope::new(&thread.header);
        let exception = scope.root(allocate(thread, mt)?);
        match message {
            None => ManagedCall::new().obj(exception.get()).invoke(constructor(mt, &[])?)?,
            Some(text) => {
                let constructor = constructor(mt, &[WellKnown::get().string.handle()])?;
                let text = crate::strings::new_string(thread, text)?;
                ManagedCall::new().obj(exception.get()).obj(text).invoke(constructor)?
            }
        };
        thread.header.pending_exception.set(exception.get());
        Ok(())
    })();
    match created {
        Ok(()) => Raise::Pending,
        Err(raise) => raise,
    }
}

/// `COR_E_OUTOFMEMORY`.
const E_OUTOFMEMORY: i32 = 0x8007_000E_u32 as i32;
/// Default of `Exception._xcode`.
const EXCEPTION_COMPLUS: i32 = 0xE043_4352_u32 as i32;

static OUT_OF_MEMORY: OnceLock<usize> = OnceLock::new();

/// The frozen OutOfMemoryException for when there is no memory for another one.
fn out_of_memory() -> ObjPtr {
    match OUT_OF_MEMORY.get() {
        Some(p) => *p as ObjPtr,
        None => crate::engine::fatal("out of memory"),
    }
}

/// Makes the preallocated exceptions; called once at startup.
///
/// # Errors
/// Load errors of the classes, or no memory.
pub fn preallocate() -> VmResult<()> {
    let mt = class_of(ExceptionKind::OutOfMemory)?;
    let exception = Heap::get().alloc_frozen(mt.as_gc_ptr(), mt.base_size() as usize)?;
    // SAFETY: a fresh frozen object of an Exception class.
    unsafe {
        let e: &mut ExceptionObject = view(exception);
        e.hresult = E_OUTOFMEMORY;
        e.xcode = EXCEPTION_COMPLUS;
    }
    let _ = OUT_OF_MEMORY.set(exception as usize);
    Ok(())
}

/// Whether `exception` is shared by all that get it, so that its trace is not recorded.
pub fn is_preallocated(exception: ObjPtr) -> bool {
    OUT_OF_MEMORY.get() == Some(&(exception as usize))
}

/// Wraps a thrown object that is no Exception in a RuntimeWrappedException (ECMA-335 II.10.5 note;
/// `RuntimeCompatibilityAttribute.WrapNonExceptionThrows`).
pub(super) fn wrap_if_not_exception(thread: &Thread, thrown: &Local<'_>) {
    let class = method_table_of(thrown.get());
    let is_exception = class.is_or_derives_from(WellKnown::get().exception);
    if is_exception {
        return;
    }
    let wrapped = (|| {
        let mt = corelib_type("System.Runtime.CompilerServices", "RuntimeWrappedException")?;
        let constructor = constructor(mt, &[WellKnown::get().object.handle()])?;
        let scope = HandleScope::new(&thread.header);
        let wrapper = scope.root(allocate(thread, mt)?);
        ManagedCall::new()
            .obj(wrapper.get())
            .obj(thrown.get())
            .invoke(constructor)?;
        Ok(wrapper.get())
    })();
    thrown.set(match wrapped {
        Ok(w) => w,
        Err(raise) => {
            super::set_pending(raise);
            Thread::current().header.pending_exception.replace(std::ptr::null_mut())
        }
    });
}

/// Replaces the pending exception by a TargetInvocationException that holds it; the result is to be returned as the error.
pub fn wrap_pending_in_target_invocation() -> Raise {
    let wrapped = (|| {
        let thread = Thread::current();
        let scope = HandleScope::new(&thread.header);
        let inner = scope.root(thread.header.pending_exception.replace(std::ptr::null_mut()));
        let class = class_of(ExceptionKind::TargetInvocation)?;
        let constructor = constructor(class, &[WellKnown::get().exception.handle()])?;
        let wrapper = scope.root(allocate(thread, class)?);
        ManagedCall::new()
            .obj(wrapper.get())
            .obj(inner.get())
            .invoke(constructor)?;
        thread.header.pending_exception.set(wrapper.get());
        Ok(())
    })();
    match wrapped {
        Ok(()) => Raise::Pending,
        Err(raise) => raise,
    }
}

/// Replaces the pending exception by a TypeInitializationException of `mt` that holds it.
///
/// # Errors
/// What creating the wrapper raises (then that is pending).
pub fn wrap_pending_in_type_initialization(mt: &'static MethodTable) -> VmResult<()> {
    let thread = Thread::current();
    let scope = HandleScope::new(&thread.header);
    let inner = scope.root(thread.header.pending_exception.replace(std::ptr::null_mut()));
    let class = class_of(ExceptionKind::TypeInitialization)?;
    let w = WellKnown::get();
    let constructor = constructor(class, &[w.string.handle(), w.exception.handle()])?;
    // As CoreCLR has it: without enclosing types.
    let full_name = match mt.class().definition() {
        Some(d) if d.namespace().is_empty() => d.name().to_owned(),
        Some(d) => format!("{}.{}", d.namespace(), d.name()),
        None => mt.handle().display_name(),
    };
    let name = scope.root(crate::strings::new_string(thread, &full_name)?);
    let wrapper = scope.root(allocate(thread, class)?);
    ManagedCall::new()
        .obj(wrapper.get())
        .obj(name.get())
        .obj(inner.get())
        .invoke(constructor)?;
    thread.header.pending_exception.set(wrapper.get());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn file_names_are_found_in_messages() {
        assert_eq!(
            quoted("Could not load file or assembly 'A, Version=1.0'. Reason."),
            Some("A, Version=1.0")
        );
        assert_eq!(quoted("no quotes"), None);
    }
}
