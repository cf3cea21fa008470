//! Stack traces: what an exception's `_stackTrace` holds, and the frames of running threads.
//!
//! `_stackTrace` is an `IntPtr[]` (opaque to managed code): word 0 the number of frames, then three words per frame: MethodDesc,
//! offset of the return address in the code, and IL offset (low 32 bits) with flags (high 32 bits). No addresses: a trace may
//! outlive the code. The array is replaced when it is full and never shrinks; `GetFrozenStackTrace`
//! copies it, so what was captured does not change. Where frames are of `DynamicMethod`s it is an `object[]`: that array, then their
//! resolvers, which are what their names are asked of.

// Object and mark arguments come from managed code, which passes live objects and addresses of its locals.
#![allow(clippy::not_unsafe_ptr_arg_deref)]

use super::frames::{Frame, Step, Walk};
use crate::error::{VmResult, icall_body};
use crate::icall_table;
use crate::icalls::reflection::dynamic_method;
use crate::objects::{self, ExceptionObject, StackFrameHelperObject, elements, store, view};
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::object::{ObjPtr, array_length};
use corten_gc_hooks::scope::Local;
use corten_loader::{MethodDesc, MethodKind, TypeHandle, WellKnown};
use corten_metadata::TypeSig;
use smallvec::SmallVec;

/// Flag of a frame: the trace before it came from another throw (`ExceptionDispatchInfo`); "End of stack trace from previous
/// location" follows it.
pub const FLAG_FOREIGN: u32 = 1;

const WORDS_PER_FRAME: usize = 3;
/// IL offset of frames without a known one (`StackFrame.OFFSET_UNKNOWN`).
pub const OFFSET_UNKNOWN: u32 = u32::MAX;

/// One recorded frame.
#[derive(Clone, Copy, Debug)]
pub struct TraceFrame {
    /// The method.
    pub method: &'static MethodDesc,
    /// Byte offset of the return address in the code.
    pub native_offset: u32,
    /// IL offset of the call, or [`OFFSET_UNKNOWN`].
    pub il_offset: u32,
    /// [`FLAG_FOREIGN`] or 0.
    pub flags: u32,
}

impl TraceFrame {
    /// Of a live frame: one for each method in it, inlined ones first; none for stubs.
    pub fn of(frame: &Frame) -> impl Iterator<Item = TraceFrame> + use<> {
        let native_offset = frame.native_offset();
        frame.traced_methods().map(move |(method, il)| TraceFrame {
            method,
            native_offset,
            il_offset: il.unwrap_or(OFFSET_UNKNOWN),
            flags: 0,
        })
    }

    fn words(&self) -> [usize; WORDS_PER_FRAME] {
        [
            self.method.address(),
            self.native_offset as usize,
            self.il_offset as usize | (self.flags as usize) << 32,
        ]
    }

    fn from_words(words: &[usize]) -> TraceFrame {
        // SAFETY: the array is written by this module only; MethodDescs are leaked.
        let method = unsafe { &*(words[0] as *const MethodDesc) };
        TraceFrame {
            method,
            native_offset: words[1] as u32,
            il_offset: words[2] as u32,
            flags: (words[2] >> 32) as u32,
        }
    }
}

/// How a dispatch came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// `throw`: a fresh trace, unless it continues a captured one.
    Throw,
    /// `rethrow` in the frame that caught.
    Rethrow,
    /// Native code raises or hands on.
    Native,
}

/// Collects the frames that pass 1 visits and appends them to the exception in batches.
#[derive(Debug)]
pub struct TraceBuilder {
    pending: SmallVec<[TraceFrame; 16]>,
    /// The next frame is left out if it is of this method: a rethrow begins in the frame that caught.
    skip_if: Option<*const MethodDesc>,
}

impl TraceBuilder {
    /// Prepares `exception`'s trace: a fresh throw clears it unless it continues a captured one.
    pub fn start(exception: &Local<'_>, origin: Origin, continues: bool) -> TraceBuilder {
        let mut skip_if = None;
        // SAFETY: a live Exception (the dispatcher wraps other objects); nothing here reaches a safepoint.
        unsafe {
            let e: &mut ExceptionObject = view(exception.get());
            if origin == Origin::Throw && !continues {
                store(&mut e.stack_trace, std::ptr::null_mut());
                store(&mut e.stack_trace_string, std::ptr::null_mut());
            } else if is_trace(e.stack_trace) {
                let words: &mut [usize] = elements(words_of(e.stack_trace));
                let count = words[0];
                if count > 0 {
                    let last = &mut words[1 + (count - 1) * WORDS_PER_FRAME..];
                    match origin {
                        Origin::Rethrow => skip_if = Some(last[0] as *const MethodDesc),
                        Origin::Throw => last[2] |= (FLAG_FOREIGN as usize) << 32,
                        Origin::Native => {}
                    }
                }
            }
        }
        TraceBuilder {
            pending: SmallVec::new(),
            skip_if,
        }
    }

    /// Adds a frame.
    pub fn push(&mut self, frame: &Frame) {
        for f in TraceFrame::of(frame) {
            if let Some(skip) = self.skip_if.take()
                && std::ptr::eq(skip, f.method)
            {
                continue;
            }
            self.pending.push(f);
        }
    }

    /// Writes the collected frames into the exception. May collect. Without memory the frames are lost.
    pub fn flush(&mut self, thread: &Thread, exception: &Local<'_>) {
        if self.pending.is_empty() {
            return;
        }
        if !super::create::is_preallocated(exception.get()) {
            let _ = append(thread, exception, &self.pending);
        }
        self.pending.clear();
    }
}

/// Whether `array` is a trace array (an application cannot make one, but `_stackTrace` may be null).
fn is_trace(array: ObjPtr) -> bool {
    // SAFETY: non-null values of `_stackTrace` are only written by this module.
    !array.is_null() && unsafe { array_length(array) } > 0
}

/// Whether a `_stackTrace` value keeps resolvers.
fn keeps(trace: ObjPtr) -> bool {
    // SAFETY: null or a live array.
    !trace.is_null() && unsafe { (*(*trace).mt).contains_gc_pointers() }
}

/// The array of words of a `_stackTrace` value, which may be null.
fn words_of(trace: ObjPtr) -> ObjPtr {
    if !keeps(trace) {
        return trace;
    }
    // SAFETY: an `object[]` whose first element is the array.
    unsafe { elements::<ObjPtr>(trace)[0] }
}

/// Makes the exception keep the resolvers of dynamic methods among `frames`.
fn keep_resolvers(thread: &Thread, exception: &Local<'_>, frames: &[TraceFrame]) -> VmResult<()> {
    // SAFETY: a live Exception; nothing here reaches a safepoint.
    let trace = unsafe { view::<ExceptionObject>(exception.get()) }.stack_trace;
    let kept: &[ObjPtr] = if keeps(trace) {
        // SAFETY: an `object[]`.
        unsafe { elements(trace) }
    } else {
        &[trace]
    };
    let mut new: SmallVec<[ObjPtr; 4]> = SmallVec::new();
    for resolver in frames.iter().map(|f| dynamic_method::resolver_of(f.method)) {
        if !resolver.is_null() && !kept.contains(&resolver) && !new.contains(&resolver) {
            new.push(resolver);
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    let scope = HandleScope::new(&thread.header);
    let all: Vec<Local<'_>> = kept.iter().chain(&new).map(|&object| scope.root(object)).collect();
    let list = objects::new_array(thread, WellKnown::get().object.handle(), all.len())?;
    // SAFETY: a live array with as many elements, and a live Exception; nothing reaches a safepoint.
    unsafe {
        for (slot, object) in elements::<ObjPtr>(list).iter_mut().zip(&all) {
            store(slot, object.get());
        }
        store(&mut view::<ExceptionObject>(exception.get()).stack_trace, list);
    }
    Ok(())
}

fn append(thread: &Thread, exception: &Local<'_>, frames: &[TraceFrame]) -> VmResult<()> {
    // SAFETY: as in `start`.
    let old = words_of(unsafe { view::<ExceptionObject>(exception.get()) }.stack_trace);
    let (count, capacity) = if is_trace(old) {
        // SAFETY: a trace array.
        let words: &[usize] = unsafe { elements(old) };
        (words[0], (words.len() - 1) / WORDS_PER_FRAME)
    } else {
        (0, 0)
    };
    let needed = count + frames.len();
    if needed > capacity {
        let room = needed.max(capacity * 2).max(8);
        let new = objects::new_array(thread, WellKnown::get().intptr.handle(), 1 + room * WORDS_PER_FRAME)?;
        // SAFETY: both are live arrays of machine words, and nothing reaches a safepoint until the store.
        unsafe {
            let e: &mut ExceptionObject = view(exception.get());
            if count > 0 {
                let used = 1 + count * WORDS_PER_FRAME;
                elements::<usize>(new)[..used].copy_from_slice(&elements::<usize>(words_of(e.stack_trace))[..used]);
            }
            if keeps(e.stack_trace) {
                store(&mut elements(e.stack_trace)[0], new);
            } else {
                store(&mut e.stack_trace, new);
            }
        }
    }
    // SAFETY: as above; the array has room for `needed` frames.
    let words: &mut [usize] = unsafe { elements(words_of(view::<ExceptionObject>(exception.get()).stack_trace)) };
    for (i, f) in frames.iter().enumerate() {
        let at = 1 + (count + i) * WORDS_PER_FRAME;
        words[at..at + WORDS_PER_FRAME].copy_from_slice(&f.words());
    }
    words[0] = needed;
    keep_resolvers(thread, exception, frames)
}

/// Forgets the frames of an exception that is thrown a second time.
pub fn begin_again(exception: ObjPtr) {
    // SAFETY: a live Exception; nothing here reaches a safepoint.
    unsafe {
        let e: &mut ExceptionObject = view(exception);
        store(&mut e.stack_trace, std::ptr::null_mut());
        store(&mut e.stack_trace_string, std::ptr::null_mut());
    }
}

/// Adds a frame to the pending exception of the thread for a method that has no frame of its own: one that could not be
/// compiled, or an internal call. Without memory the frame is lost.
pub fn add_frame_of(thread: &Thread, method: &'static MethodDesc) {
    let scope = HandleScope::new(&thread.header);
    let exception = scope.root(thread.header.pending_exception.get());
    let is_exception = !exception.is_null()
        && objects::method_table_of(exception.get()).is_or_derives_from(WellKnown::get().exception);
    if !is_exception || super::create::is_preallocated(exception.get()) {
        return;
    }
    let frame = TraceFrame {
        method,
        native_offset: 0,
        il_offset: OFFSET_UNKNOWN,
        flags: 0,
    };
    let _ = append(thread, &exception, &[frame]);
    thread.header.pending_exception.set(exception.get());
}

/// The frames recorded in a `_stackTrace` value.
pub fn frames_of(stack_trace: ObjPtr) -> Vec<TraceFrame> {
    if !is_trace(stack_trace) {
        return Vec::new();
    }
    // SAFETY: a trace array; no safepoint while it is read.
    let words: &[usize] = unsafe { elements(words_of(stack_trace)) };
    words[1..]
        .chunks_exact(WORDS_PER_FRAME)
        .take(words[0])
        .map(TraceFrame::from_words)
        .collect()
}

/// The managed frames of the current thread, innermost first, through all native transitions.
pub fn current_frames(thread: &Thread) -> Vec<TraceFrame> {
    let mut walk = Walk::from_transition(thread);
    let mut all = Vec::new();
    loop {
        match walk.step() {
            Step::Managed(frame) => all.extend(TraceFrame::of(&frame)),
            Step::Entry(_) => {}
            Step::End => return all,
        }
    }
}

/// Values of `System.Threading.StackCrawlMark`.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrawlMark {
    /// The method that declares the mark.
    LookForMe = 0,
    /// Its caller.
    LookForMyCaller = 1,
    /// The caller of that.
    LookForMyCallersCaller = 2,
    /// The innermost frame.
    LookForThread = 3,
}

/// The method that a stack crawl mark at address `mark` (a local of a managed frame) names, or `None` if the stack ends
/// before. Frames of reflection plumbing in CoreLib are passed over, as CoreCLR does.
pub fn find_caller(thread: &Thread, mark: *const i32) -> Option<&'static MethodDesc> {
    // SAFETY: managed code passes the address of its local, or null.
    let kind = if mark.is_null() { 0 } else { unsafe { *mark } };
    let mut walk = Walk::from_transition(thread);
    let mut skip = kind;
    let mut found_mark = mark.is_null();
    loop {
        match walk.step() {
            Step::Managed(frame) => {
                // The frame that holds the mark: the first whose frame pointer is above it. Methods with a mark are not
                // inlined: what is inlined into them does not count.
                if !found_mark && frame.fp <= mark as usize {
                    continue;
                }
                // The mark may be in a frame whose method goes on in a replacement.
                let replaced = !found_mark && frame.is_replaced();
                let own = if replaced {
                    frame.method()
                } else {
                    frame.traced_method()
                };
                let Some(own) = own else { continue };
                let shown = frame.traced_methods().map(|(method, _)| method);
                let methods = replaced.then_some(own).into_iter().chain(shown);
                let holder = (!std::mem::replace(&mut found_mark, true)).then_some(own);
                for method in methods.skip_while(|&m| holder.is_some_and(|h| !std::ptr::eq(h, m))) {
                    if skip > 0 {
                        skip -= 1;
                        continue;
                    }
                    if kind > 0 && is_reflection_plumbing(method) {
                        continue;
                    }
                    return Some(method);
                }
            }
            Step::Entry(_) => {}
            Step::End => return None,
        }
    }
}

fn is_reflection_plumbing(method: &MethodDesc) -> bool {
    let class = method.owner().class();
    let plumbing = matches!(
        (class.namespace(), class.name()),
        (
            "System.Reflection",
            "MethodBaseInvoker"
                | "MethodInvoker"
                | "ConstructorInvoker"
                | "RuntimeMethodInfo"
                | "RuntimeConstructorInfo"
                | "MethodBase"
                | "MethodInvokerCommon"
                | "ConstructorInfo"
        ) | ("System", "RuntimeMethodHandle" | "RuntimeType" | "Activator")
    );
    plumbing && class.module().is_core_library()
}

/// `StackTrace.GetStackFramesInternal`: fills a StackFrameHelper from an exception or from the current thread.
extern "C" fn get_stack_frames(helper: ObjPtr, skip: i32, need_file_info: bool, exception: ObjPtr) {
    icall_body(|thread| {
        let mut frames = if exception.is_null() {
            current_frames(thread)
        } else {
            // SAFETY: an Exception object; no safepoint while it is read.
            frames_of(unsafe { view::<ExceptionObject>(exception) }.stack_trace)
        };
        frames.drain(..(skip.max(0) as usize).min(frames.len()));
        let scope = HandleScope::new(&thread.header);
        let helper = scope.root(helper);
        fill_helper(thread, &helper, &frames, need_file_info)
    });
}

/// The IL offset that a frame is shown at: CoreCLR keeps no positions inside of expressions.
fn statement_start(frame: &TraceFrame) -> u32 {
    let (method, il) = (frame.method, frame.il_offset);
    if il == OFFSET_UNKNOWN || method.kind() != MethodKind::Il {
        return il;
    }
    let metadata = method.module().metadata();
    let returns = method.parse_signature().is_ok_and(|s| s.ret != TypeSig::Void);
    match metadata.method_body(method.token().rid()) {
        Ok(Some(body)) => metadata.statement_start(&body, returns, il),
        _ => il,
    }
}

fn fill_helper(thread: &Thread, helper: &Local<'_>, frames: &[TraceFrame], file_info: bool) -> VmResult<()> {
    type Helper = StackFrameHelperObject;
    fn array<'a, T: Copy>(
        thread: &Thread,
        helper: &Local<'_>,
        element: TypeHandle,
        values: &[T],
        field: impl FnOnce(&'a mut Helper) -> &'a mut ObjPtr,
    ) -> VmResult<()> {
        let array = objects::new_array(thread, element, values.len())?;
        // SAFETY: a fresh array of that element size; the helper is live and of that class.
        unsafe {
            elements::<T>(array).copy_from_slice(values);
            store(field(view(helper.get())), array);
        }
        Ok(())
    }
    let w = WellKnown::get();
    let all = |f: &dyn Fn(&TraceFrame) -> i32| frames.iter().map(f).collect::<Vec<i32>>();
    let offsets = all(&|f| f.native_offset as i32);
    let il_offsets = all(&|f| statement_start(f) as i32);
    let methods: Vec<usize> = frames.iter().map(|f| f.method.address()).collect();
    let foreign: Vec<u8> = frames.iter().map(|f| (f.flags & FLAG_FOREIGN) as u8).collect();
    array(thread, helper, w.int32.handle(), &offsets, |h| &mut h.offsets)?;
    array(thread, helper, w.int32.handle(), &il_offsets, |h| &mut h.il_offsets)?;
    array(thread, helper, w.intptr.handle(), &methods, |h| &mut h.method_handles)?;
    array(thread, helper, w.boolean.handle(), &foreign, |h| {
        &mut h.last_frame_from_foreign
    })?;
    if file_info {
        fill_file_info(thread, helper, frames)?;
    }
    // SAFETY: a live StackFrameHelper.
    unsafe { view::<Helper>(helper.get()) }.frame_count = frames.len() as i32;
    Ok(())
}

/// What `System.Diagnostics.StackTraceSymbols` needs to find source lines in portable PDBs.
fn fill_file_info(thread: &Thread, helper: &Local<'_>, frames: &[TraceFrame]) -> VmResult<()> {
    type Helper = StackFrameHelperObject;
    let w = WellKnown::get();
    let n = frames.len();
    let assembly_class = corten_loader::corelib_type("System.Reflection", "Assembly")?.handle();
    type Field = fn(&mut Helper) -> &mut ObjPtr;
    let layout: [(TypeHandle, Field); 11] = [
        (w.string.handle(), |h| &mut h.assembly_paths),
        (assembly_class, |h| &mut h.assemblies),
        (w.intptr.handle(), |h| &mut h.loaded_pe_addresses),
        (w.int32.handle(), |h| &mut h.loaded_pe_sizes),
        (w.boolean.handle(), |h| &mut h.is_file_layout),
        (w.intptr.handle(), |h| &mut h.in_memory_pdb_addresses),
        (w.int32.handle(), |h| &mut h.in_memory_pdb_sizes),
        (w.int32.handle(), |h| &mut h.method_tokens),
        (w.string.handle(), |h| &mut h.file_names),
        (w.int32.handle(), |h| &mut h.line_numbers),
        (w.int32.handle(), |h| &mut h.column_numbers),
    ];
    for (element, field) in layout {
        let array = objects::new_array(thread, element, n)?;
        // SAFETY: the helper is live and of that class.
        unsafe { store(field(view(helper.get())), array) };
    }
    for (i, f) in frames.iter().enumerate() {
        let module: &'static corten_loader::Module = f.method.module();
        let path = crate::strings::new_string(thread, module.metadata().path())?;
        let image = module.metadata().pe().file_bytes();
        // SAFETY: the arrays were made above with `n` elements each; stores of references go through the barrier.
        unsafe {
            let h: &mut Helper = view(helper.get());
            store(&mut elements::<ObjPtr>(h.assembly_paths)[i], path);
            elements::<usize>(h.loaded_pe_addresses)[i] = image.as_ptr() as usize;
            elements::<i32>(h.loaded_pe_sizes)[i] = image.len() as i32;
            elements::<u8>(h.is_file_layout)[i] = 1;
        }
        // Source lines are looked up by assembly object: without one the token stays 0, which means "no source".
        let assembly = match module.assembly() {
            Some(a) => crate::reflection_objects::assembly_object(a)?,
            None => continue,
        };
        // SAFETY: as above.
        unsafe {
            let h: &mut Helper = view(helper.get());
            store(&mut elements::<ObjPtr>(h.assemblies)[i], assembly);
            elements::<u32>(h.method_tokens)[i] = f.method.token().0;
        }
    }
    Ok(())
}

/// `Exception.GetFrozenStackTrace`: a copy that later throws do not change.
extern "C" fn get_frozen_stack_trace(exception: ObjPtr) -> ObjPtr {
    icall_body(|thread| {
        // SAFETY: a live Exception.
        let trace = unsafe { view::<ExceptionObject>(exception) }.stack_trace;
        if !is_trace(trace) {
            return Ok(std::ptr::null_mut());
        }
        let scope = HandleScope::new(&thread.header);
        let trace = scope.root(trace);
        // SAFETY: a trace array.
        let used = 1 + unsafe { elements::<usize>(words_of(trace.get())) }[0] * WORDS_PER_FRAME;
        let copy = objects::new_array(thread, WellKnown::get().intptr.handle(), used)?;
        // SAFETY: both arrays are live and have `used` words.
        unsafe { elements::<usize>(copy).copy_from_slice(&elements::<usize>(words_of(trace.get()))[..used]) };
        if !keeps(trace.get()) {
            return Ok(copy);
        }
        let copy = scope.root(copy);
        // SAFETY: a live array, as is the new one, which is as long; nothing reaches a safepoint between them.
        unsafe {
            let list = objects::new_array(thread, WellKnown::get().object.handle(), array_length(trace.get()))?;
            store(&mut elements(list)[0], copy.get());
            for (to, from) in elements::<ObjPtr>(list)
                .iter_mut()
                .zip(elements::<ObjPtr>(trace.get()))
                .skip(1)
            {
                store(to, *from);
            }
            Ok(list)
        }
    })
}

extern "C" fn is_immutable_agile_exception(exception: ObjPtr) -> bool {
    super::create::is_preallocated(exception)
}

extern "C" fn prepare_for_foreign_exception_raise() {
    super::dispatch::continue_trace_at_next_throw(Thread::current());
}

extern "C" fn get_exception_count() -> u32 {
    super::dispatch::exceptions_thrown()
}

icall_table! {
    /// Stack traces and the native side of `System.Exception`.
    TABLE:
    "System.Diagnostics.StackTrace" { "GetStackFramesInternal" => get_stack_frames }
    "System.Exception" {
        "GetFrozenStackTrace" => get_frozen_stack_trace,
        "IsImmutableAgileException" => is_immutable_agile_exception,
        "PrepareForForeignExceptionRaise" => prepare_for_foreign_exception_raise,
        "GetExceptionCount" => get_exception_count,
    }
}
