//! What the collector asks of the runtime: the roots of each thread.

use crate::icalls::reflection::dynamic_method;
use crate::objects::WeakReferenceObject;
use crate::thread::{EntryFrame, PrestubFrame, Thread};
use corten_gc_hooks::object::ObjPtr;
use corten_gc_hooks::safepoint::World;
use corten_gc_hooks::thread::ThreadHeader;
use corten_gc_hooks::{Heap, RootProvider, RootVisitor};
use corten_jit::abi::{AbiSignature, ArgLoc, Place};
use corten_jit::host_api::{CompilerHost, TypeKind};
use corten_jit::layout::GcKind;
use corten_loader::MethodDesc;

/// Reports stacks, in-flight exceptions, prestub arguments and thread statics.
#[derive(Debug)]
pub struct EngineRoots;

impl RootProvider for EngineRoots {
    fn visit_thread(&self, t: *const ThreadHeader, v: &mut dyn RootVisitor) {
        // SAFETY: ThreadHeader is the first field of Thread (repr(C)) and every attached header belongs to one; the world is
        // stopped.
        let thread = unsafe { &*t.cast::<Thread>() };
        visit_frames(thread, v);
        let mut frame = thread.prestub_frames.get();
        while !frame.is_null() {
            // SAFETY: linked frames are live on the stopped thread's stack.
            let f = unsafe { &*frame };
            visit_prestub_frame(f, v);
            frame = f.prev;
        }
        thread.thread_statics.visit(v);
        thread.interrupt.visit(v);
    }

    fn visit_globals(&self, _v: &mut dyn RootVisitor) {}

    /// Weak references end their handle (`WeakReference.Finalize`), which would otherwise be looked at by each collection until the
    /// finalizer thread comes to it. As in CoreCLR (`GCToEEInterface::EagerFinalized`).
    fn finalize_eagerly(&self, obj: ObjPtr) {
        let reference: *mut WeakReferenceObject = obj.cast();
        // SAFETY: types with an eager finalizer are `WeakReference` and `WeakReference<T>`, which are laid out alike; the object is
        // unreachable, and its handle came from the table.
        unsafe {
            let tagged = (*reference).tagged_handle;
            (*reference).tagged_handle = tagged & WeakReferenceObject::TRACKS_RESURRECTION;
            let handle = (tagged & !WeakReferenceObject::TAGS) as *mut ObjPtr;
            if !handle.is_null() {
                Heap::get().handles().free(handle);
            }
        }
    }

    fn collected(&self, world: &World<'_>, at_once: bool) {
        crate::reclaim::collected(world, at_once);
    }
}

/// Running code keeps its collectible group, and the resolver of a `DynamicMethod`, alive.
fn visit_owner(md: &'static MethodDesc, v: &mut dyn RootVisitor) {
    if let Some(group) = md.collectible() {
        v.slot(group.anchor_slot().cast());
    }
    let resolver = dynamic_method::resolver_slot(md);
    if !resolver.is_null() {
        v.slot(resolver);
    }
}

/// Walks all managed segments of a thread from its innermost transition outwards.
fn visit_frames(thread: &Thread, v: &mut dyn RootVisitor) {
    let mut pc = thread.header.transition_pc.get();
    let mut fp = thread.header.transition_fp.get();
    let mut entry = thread.header.entry_frame.get().cast::<EntryFrame>();
    let unloadable = corten_loader::collectible::any() || dynamic_method::any();
    loop {
        while let Some(info) = crate::engine::code_at(pc) {
            if unloadable && let Some(id) = info.method {
                visit_owner(crate::jit_host::method_desc(id), v);
            }
            for slot in &info.gc_slots {
                let address = fp.wrapping_add_signed(slot.fp_offset as isize);
                if slot.pinned {
                    // SAFETY: a slot of a live frame.
                    v.conservative(unsafe { *(address as *const usize) });
                }
                match slot.kind {
                    GcKind::ByRef => v.byref(address as *mut *mut u8),
                    GcKind::Ref => v.slot(address as *mut ObjPtr),
                }
            }
            // SAFETY: managed frames keep the rbp chain: [fp] = caller's fp, [fp + 8] = return address.
            unsafe {
                pc = *((fp + 8) as *const usize);
                fp = *(fp as *const usize);
            }
        }
        if entry.is_null() {
            return;
        }
        // SAFETY: entry frames are live on the stack of their thread.
        let e = unsafe { &*entry };
        pc = e.saved_pc;
        fp = e.saved_fp;
        entry = e.prev;
    }
}

/// Reports the reference arguments of a call that waits in the prestub.
fn visit_prestub_frame(f: &PrestubFrame, v: &mut dyn RootVisitor) {
    let Some(host) = crate::engine::host() else { return };
    // SAFETY: MethodDescs are leaked.
    let md = unsafe { &*f.method };
    visit_owner(md, v);
    let Ok(sig) = host.method_signature(md) else { return };
    let Ok(abi) = AbiSignature::of(&sig, host) else { return };
    let word = |place: Place| match place {
        Place::Int(register) => Some(f.int_registers.wrapping_add(register as usize).cast::<u8>()),
        Place::Stack(offset) => Some(f.stack_args.cast::<u8>().wrapping_add(offset as usize)),
        Place::Sse(_) => None,
    };
    let mut report = |address: *mut u8, kind: TypeKind| match kind {
        TypeKind::Ref => v.slot(address.cast()),
        TypeKind::ByRef => v.byref(address.cast()),
        _ => {}
    };
    if let Some(ArgLoc::Pieces(p)) = &abi.this {
        let kind = if md.owner().is_value_type() {
            TypeKind::ByRef
        } else {
            TypeKind::Ref
        };
        if let Some(a) = p.first().and_then(|p| word(p.place)) {
            report(a, kind);
        }
    }
    if let Some(a) = abi.ret_buffer.and_then(word) {
        report(a, TypeKind::ByRef);
    }
    for (loc, &param) in abi.args.iter().zip(sig.params.iter()) {
        let Ok(info) = host.type_info(param) else { continue };
        match loc {
            ArgLoc::Pieces(pieces) => {
                for piece in pieces {
                    let kind = match piece.kind {
                        Some(k) => Some(k),
                        None => info.fields.iter().find(|f| f.offset == piece.offset).map(|f| f.kind),
                    };
                    if let (Some(kind), Some(a)) = (kind, word(piece.place)) {
                        report(a, kind);
                    }
                }
            }
            ArgLoc::Memory { stack, .. } => {
                for field in info.fields.iter() {
                    report(
                        f.stack_args.cast::<u8>().wrapping_add((stack + field.offset) as usize),
                        field.kind,
                    );
                }
            }
        }
    }
}
