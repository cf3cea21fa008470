//! What marshalling stubs call: conversions before and after a call, errno. All but the errno functions are entered in
//! cooperative mode through transition stubs.

use crate::error::{ExceptionKind, Raise, VmResult, icall_body};
use crate::interop::convert::{Conversion, Kept, Place};
use crate::interop::layout::NativeLayout;
use crate::interop::marshaler::{ArrayMarshaler, Marshaler};
use crate::interop::signature::{ParamPlan, Pass, Plan, area};
use crate::thread::Thread;
use corten_gc_hooks::object::ObjPtr;
use std::sync::OnceLock;

macro_rules! stub {
    ($(#[$doc:meta])* $name:ident => $function:path) => {
        $(#[$doc])*
        pub fn $name() -> usize {
            static STUB: OnceLock<usize> = OnceLock::new();
            *STUB.get_or_init(|| {
                crate::engine::install_stub(&crate::asm::transition_stub_code($function as *const () as usize))
            })
        }
    };
}

stub! {
    /// (plan, area): arguments to native.
    marshal_in_stub => marshal_in
}
stub! {
    /// (plan, area, HRESULT): results to managed, cleanup.
    marshal_out_stub => marshal_out
}
stub! {
    /// (plan, area): native arguments of a callback to managed.
    reverse_in_stub => reverse_in
}
stub! {
    /// (plan, area): results of a callback to native.
    reverse_out_stub => reverse_out
}
stub! {
    /// () -> the delegate that the innermost native-to-managed thunk belongs to.
    callback_target_stub => callback_target
}
stub! {
    /// (layout, address of the managed pointer, native, operation).
    struct_marshal_stub => struct_marshal
}

/// The area of a running stub.
#[derive(Clone, Copy)]
struct Frame {
    base: *mut u8,
}

impl Frame {
    fn at(self, offset: u32) -> *mut u8 {
        self.base.wrapping_add(offset as usize)
    }
    fn word(self, offset: u32) -> *mut usize {
        self.at(offset).cast()
    }
    fn get(self, offset: u32) -> usize {
        // SAFETY: the stub's area has all offsets of its plan.
        unsafe { *self.word(offset) }
    }
    fn set(self, offset: u32, value: usize) {
        // SAFETY: as above.
        unsafe { *self.word(offset) = value }
    }
    /// Address of managed value `i`: a slot of the stub's frame.
    fn value(self, i: usize) -> *mut u8 {
        self.get(Plan::value_word(i)) as *mut u8
    }
    /// The managed value of a by-reference or by-value parameter.
    fn place(self, p: &ParamPlan, i: usize) -> Place {
        if p.byref {
            Place::through(self.value(i).cast(), 0)
        } else {
            Place::fixed(self.value(i))
        }
    }
    /// Clears everything but the addresses of the managed values.
    fn clear(self, plan: &Plan) {
        self.set(area::KEPT, 0);
        self.set(area::DONE, 0);
        let start = plan.count_word(0);
        // SAFETY: the rest of the area.
        unsafe { std::ptr::write_bytes(self.at(start), 0, (plan.area - start) as usize) };
    }
    fn take_kept(self) -> Kept {
        let p = self.get(area::KEPT) as *mut Kept;
        self.set(area::KEPT, 0);
        if p.is_null() {
            return Kept::new();
        }
        // SAFETY: stored by `put_kept`, taken once.
        *unsafe { Box::from_raw(p) }
    }
    fn put_kept(self, kept: Kept) {
        if !kept.is_empty() {
            self.set(area::KEPT, Box::into_raw(Box::new(kept)) as usize);
        }
    }
}

/// Value of an integer parameter that holds an array's length.
fn length_parameter(plan: &Plan, frame: Frame, a: &ArrayMarshaler) -> usize {
    let constant = a.size_const.unwrap_or(0) as usize;
    let Some(i) = a.size_param.map(|i| i as usize) else {
        return constant;
    };
    let Some(p) = plan.params.get(i) else { return constant };
    let mut value = 0u64;
    let size = p.marshaler.native_size().min(8) as usize;
    // SAFETY: an integer of `size` bytes; the address is read right before.
    unsafe { std::ptr::copy_nonoverlapping(frame.place(p, i).address(), (&raw mut value).cast(), size) };
    constant + (value as u32) as usize
}

/// Frees the native forms of the first `done` parameters (and of the result), releases SafeHandles.
fn clean_up(cx: &mut Conversion<'_>, plan: &Plan, frame: Frame, done: usize, with_ret: bool) -> VmResult<()> {
    for (i, p) in plan.params.iter().enumerate().take(done) {
        if matches!(p.pass, Pass::Convert) {
            cx.count = frame.get(plan.count_word(i));
            if !p.byref {
                cx.free(&p.marshaler, frame.at(p.slot));
            } else if frame.get(p.slot) != 0 {
                cx.free(&p.marshaler, frame.at(p.storage));
            }
        }
    }
    if let (Some(r), true) = (&plan.ret, with_ret)
        && (matches!(r.pass, Pass::Convert) || !plan.preserve_sig)
    {
        cx.free(
            &r.marshaler,
            frame.at(if plan.preserve_sig { r.slot } else { r.storage }),
        );
    }
    cx.release_kept()
}

extern "C" fn marshal_in(plan: &'static Plan, frame: *mut u8) {
    let frame = Frame { base: frame };
    icall_body(|thread| {
        frame.clear(plan);
        let mut kept = Kept::new();
        let mut cx = Conversion {
            thread,
            kept: &mut kept,
            count: 0,
            copy_in: true,
        };
        let mut result = Ok(());
        let mut done = 0;
        for (i, p) in plan.params.iter().enumerate() {
            done = i + 1;
            if !matches!(p.pass, Pass::Convert) {
                continue;
            }
            cx.copy_in = p.is_in;
            cx.count = 0;
            result = if p.byref {
                if frame.place(p, i).address().is_null() {
                    continue;
                }
                frame.set(p.slot, frame.at(p.storage) as usize);
                if p.is_in {
                    cx.write_native(&p.marshaler, frame.place(p, i), frame.at(p.storage))
                } else {
                    Ok(())
                }
            } else {
                cx.write_native(&p.marshaler, frame.place(p, i), frame.at(p.slot))
            };
            frame.set(plan.count_word(i), cx.count);
            if result.is_err() {
                break;
            }
        }
        if result.is_err() {
            keep_error(&mut cx, |cx| clean_up(cx, plan, frame, done, false));
            return result;
        }
        frame.put_kept(kept);
        Ok(())
    });
}

/// Runs a cleanup while an exception may be pending: that one wins.
fn keep_error(cx: &mut Conversion<'_>, clean: impl FnOnce(&mut Conversion<'_>) -> VmResult<()>) {
    let scope = corten_gc_hooks::HandleScope::new(&cx.thread.header);
    let pending = scope.root(cx.thread.header.pending_exception.get());
    cx.thread.header.pending_exception.set(std::ptr::null_mut());
    let _ = clean(cx);
    cx.thread.header.pending_exception.set(pending.get());
}

fn results(cx: &mut Conversion<'_>, plan: &Plan, frame: Frame) -> VmResult<()> {
    if let Some(r) = &plan.ret
        && (matches!(r.pass, Pass::Convert) || !plan.preserve_sig)
    {
        if let Marshaler::Array(a) = &r.marshaler {
            cx.count = length_parameter(plan, frame, a);
        }
        let native = frame.at(if plan.preserve_sig { r.slot } else { r.storage });
        cx.write_managed(&r.marshaler, native, Place::fixed(frame.value(plan.params.len())))?;
    }
    for (i, p) in plan.params.iter().enumerate() {
        if !matches!(p.pass, Pass::Convert) || !p.is_out || (p.byref && frame.get(p.slot) == 0) {
            continue;
        }
        cx.count = frame.get(plan.count_word(i));
        if !p.byref {
            cx.copy_back(&p.marshaler, frame.at(p.slot), frame.place(p, i))?;
            continue;
        }
        if let Marshaler::Array(a) = &p.marshaler {
            if a.size_param.is_some() || a.size_const.is_some_and(|n| n != 0) {
                cx.count = length_parameter(plan, frame, a);
            } else if !p.is_in {
                // Nothing tells the length of an array that native code made: one element.
                cx.count = 1;
            }
            frame.set(plan.count_word(i), cx.count);
        }
        if let Marshaler::SafeHandle(_) | Marshaler::CriticalHandle(_) = &p.marshaler
            && p.is_in
        {
            // The same handle came back: keep the object.
            let old = frame.place(p, i).reference();
            if !old.is_null() && crate::interop::handles::handle_value(old) == frame.get(p.storage) {
                continue;
            }
        }
        cx.write_managed(&p.marshaler, frame.at(p.storage), frame.place(p, i))?;
    }
    Ok(())
}

extern "C" fn marshal_out(plan: &'static Plan, frame: *mut u8, hresult: i64) {
    let frame = Frame { base: frame };
    icall_body(|thread| {
        let mut kept = frame.take_kept();
        let mut cx = Conversion {
            thread,
            kept: &mut kept,
            count: 0,
            copy_in: true,
        };
        let result = if hresult < 0 {
            Err(hresult_error(hresult as i32))
        } else {
            results(&mut cx, plan, frame)
        };
        if result.is_err() {
            keep_error(&mut cx, |cx| clean_up(cx, plan, frame, plan.params.len(), true));
            return result;
        }
        clean_up(&mut cx, plan, frame, plan.params.len(), true)
    });
}

/// The exception of a failed HRESULT.
fn hresult_error(hr: i32) -> Raise {
    match crate::qcalls::marshal::create_for_hresult(hr) {
        Ok(exception) => {
            Thread::current().header.pending_exception.set(exception);
            Raise::Pending
        }
        Err(e) => e,
    }
}

extern "C" fn reverse_in(plan: &'static Plan, frame: *mut u8) {
    let frame = Frame { base: frame };
    icall_body(|thread| {
        frame.set(area::KEPT, 0);
        let mut kept = Kept::new();
        let mut cx = Conversion {
            thread,
            kept: &mut kept,
            count: 0,
            copy_in: true,
        };
        for (i, p) in plan.params.iter().enumerate() {
            if !matches!(p.pass, Pass::Convert) {
                continue;
            }
            if let Marshaler::Array(a) = &p.marshaler {
                cx.count = native_length(plan, frame, a);
            }
            let managed = Place::fixed(frame.value(i));
            if !p.byref {
                cx.write_managed(&p.marshaler, frame.at(p.slot), managed)?;
            } else if p.is_in && frame.get(p.slot) != 0 {
                cx.write_managed(&p.marshaler, frame.get(p.slot) as *const u8, managed)?;
            }
        }
        Ok(())
    });
}

/// As [`length_parameter`], from the native arguments of a callback: all of them are in their slots.
fn native_length(plan: &Plan, frame: Frame, a: &ArrayMarshaler) -> usize {
    let constant = a.size_const.unwrap_or(0) as usize;
    let Some(p) = a.size_param.and_then(|i| plan.params.get(i as usize)) else {
        return constant;
    };
    let at = if p.byref {
        frame.get(p.slot) as *const u8
    } else {
        frame.at(p.slot).cast_const()
    };
    if at.is_null() {
        return constant;
    }
    let mut value = 0u64;
    // SAFETY: an integer of that size.
    unsafe { std::ptr::copy_nonoverlapping(at, (&raw mut value).cast(), p.marshaler.native_size().min(8) as usize) };
    constant + (value as u32) as usize
}

extern "C" fn reverse_out(plan: &'static Plan, frame: *mut u8) {
    let frame = Frame { base: frame };
    icall_body(|thread| {
        let mut kept = Kept::new();
        let mut cx = Conversion {
            thread,
            kept: &mut kept,
            count: 0,
            copy_in: true,
        };
        for (i, p) in plan.params.iter().enumerate() {
            if !matches!(p.pass, Pass::Convert) || !p.is_out {
                continue;
            }
            let managed = Place::fixed(frame.value(i));
            let native = frame.get(p.slot) as *mut u8;
            if native.is_null() {
                continue;
            }
            if p.byref {
                // SAFETY: native code passed the address of a value of that form.
                unsafe { std::ptr::write_bytes(native, 0, p.marshaler.native_size() as usize) };
                cx.write_native(&p.marshaler, managed, native)?;
            } else {
                cx.contents_to_native(&p.marshaler, managed, native)?;
            }
        }
        if let Some(r) = &plan.ret
            && matches!(r.pass, Pass::Convert)
        {
            // SAFETY: the result's slot.
            unsafe { std::ptr::write_bytes(frame.at(r.slot), 0, r.marshaler.native_size() as usize) };
            cx.write_native(
                &r.marshaler,
                Place::fixed(frame.value(plan.params.len())),
                frame.at(r.slot),
            )?;
        }
        Ok(())
    });
}

extern "C" fn callback_target() -> ObjPtr {
    let thread = Thread::current();
    // SAFETY: called by a reverse stub only, whose thunk's frame is the innermost entry frame.
    unsafe { super::reverse::delegate_of_frame(thread.header.entry_frame.get().cast()) }
}

/// Operations of `System.StubHelpers.MarshalOperation`.
mod operation {
    pub const TO_NATIVE: usize = 0;
    pub const TO_MANAGED: usize = 1;
    pub const CLEAN_UP: usize = 2;
}

extern "C" fn struct_marshal(layout: &'static NativeLayout, managed: *const *mut u8, native: *mut u8, op: usize) {
    icall_body(|thread| {
        let mut kept = Kept::new();
        let mut cx = Conversion {
            thread,
            kept: &mut kept,
            count: 0,
            copy_in: true,
        };
        let place = Place::through(managed, 0);
        match op {
            operation::TO_NATIVE => {
                if native.is_null() {
                    return Err(Raise::of(ExceptionKind::NullReference));
                }
                // SAFETY: managed code passes a block of the native size.
                unsafe { std::ptr::write_bytes(native, 0, layout.size as usize) };
                let result = cx.fields_to_native(layout, place, native);
                if result.is_err() {
                    keep_error(&mut cx, |cx| {
                        cx.free_fields(layout, native);
                        cx.release_kept()
                    });
                }
                result?;
                cx.release_kept()
            }
            operation::TO_MANAGED => cx.fields_to_managed(layout, native, place),
            operation::CLEAN_UP => {
                cx.free_fields(layout, native);
                Ok(())
            }
            other => Err(Raise::new(
                ExceptionKind::Argument,
                format!("Marshalling operation {other}."),
            )),
        }
    });
}

/// `errno = 0`. Preemptive mode.
pub extern "C" fn clear_errno() {
    // SAFETY: the calling thread's errno.
    unsafe { *libc::__errno_location() = 0 };
}

/// Keeps errno for `Marshal.GetLastPInvokeError`. Preemptive mode.
pub extern "C" fn save_errno() {
    // SAFETY: the calling thread's errno.
    let error = unsafe { *libc::__errno_location() };
    Thread::current().last_pinvoke_error.set(error);
}
